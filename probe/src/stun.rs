//! Who answers STUN over UDP (RFC 8489): several servers are asked at once from one socket, so that what the NAT makes of it can
//! be compared, and one server with packets of several lengths at once, so that the longest that gets through is known after a
//! round trip.
//!
//! Any answer counts: dialog refuses a Binding without credentials with 400, and that shows as well that it got there.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use hubs_relay::wire::{AttrType, Builder, Class, Message, Method, TransactionId};
use quinn_udp::{UdpSockRef, UdpSocketState};
use tokio::{
    net::UdpSocket,
    time::{Instant, timeout_at},
};

use crate::{ice::Agent, random};

/// How often a server is asked, how far apart, and how long the last answer is waited for: three of four packets may be lost,
/// and a round trip may take a second.
const TRIES: u32 = 8;
const INTERVAL: Duration = Duration::from_millis(150);
const LAST_WAIT: Duration = Duration::from_millis(1200);

/// How much longer than the first answer the others may take; some will never come.
const GRACE: Duration = Duration::from_millis(200);

/// How often packets of each length are sent.
const LENGTH_TRIES: u32 = 5;

/// Longer than any honest answer, and than those to all lengths together.
const LONGEST_ANSWER: usize = 8192;

/// An attribute that nobody knows, which servers pass over (RFC 8489 section 14).
const PADDING: AttrType = AttrType(0xfff0);

const HEADER: usize = 20;

/// A server to ask.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    /// With these credentials, if it is dialog.
    pub(crate) agent: Option<Agent>,
}

impl Server {
    fn finish(&self, request: Builder) -> Vec<u8> {
        match &self.agent {
            Some(agent) => agent.sign(request),
            None => request.fingerprint().finish(),
        }
    }
}

/// Somebody answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// Who was asked.
    pub(crate) server: SocketAddr,
    /// Where we are by its word, if it said so.
    pub(crate) mapped: Option<SocketAddr>,
    pub(crate) round_trip: Duration,
}

/// What came of asking.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    /// In the order in which they came, one of each server.
    pub(crate) answers: Vec<Answer>,
    /// Why this machine could not send, if not one packet left it.
    pub(crate) unsent: Option<io::Error>,
}

struct Request {
    transaction: TransactionId,
    server: usize,
    since: Instant,
}

/// Asks `servers`, all of one family, until all have answered or the others take too long.
pub(crate) async fn survey(servers: &[Server]) -> io::Result<Survey> {
    let Some(first) = servers.first() else { return Ok(Survey::default()) };
    let socket = open(first.address).await?;
    let (mut survey, mut sent) = (Survey::default(), Vec::<Request>::new());
    let mut bytes = vec![0; LONGEST_ANSWER];
    // After the first answer, when to stop.
    let mut enough: Option<Instant> = None;
    for round in 1..=TRIES {
        for (number, server) in servers.iter().enumerate() {
            if survey.answers.iter().any(|answer| answer.server == server.address) {
                continue;
            }
            let transaction = TransactionId(random::bytes());
            let request = server.finish(Builder::request(Method::Binding, transaction));
            match socket.send_to(&request, server.address).await {
                Ok(_) => sent.push(Request { transaction, server: number, since: Instant::now() }),
                Err(e) => survey.unsent = Some(e),
            }
        }
        let wait = if round == TRIES { LAST_WAIT } else { INTERVAL };
        let deadline = Instant::now() + wait;
        loop {
            let until = enough.map_or(deadline, |enough| enough.min(deadline));
            let Ok(received) = timeout_at(until, socket.recv_from(&mut bytes)).await else { break };
            // What a router says about one of the packets is no answer, and no reason to stop.
            let Ok((length, _)) = received else { continue };
            let Some((request, mapped)) = read(&bytes[..length], &sent, servers) else { continue };
            let server = servers[request.server].address;
            if survey.answers.iter().any(|answer| answer.server == server) {
                continue;
            }
            let round_trip = request.since.elapsed();
            survey.answers.push(Answer { server, mapped, round_trip });
            if survey.answers.len() == servers.len() {
                return Ok(sent_at_least_one(survey, &sent));
            }
            enough.get_or_insert_with(|| Instant::now() + GRACE.max(round_trip));
        }
        if enough.is_some_and(|enough| enough <= Instant::now()) || sent.is_empty() {
            break;
        }
    }
    Ok(sent_at_least_one(survey, &sent))
}

fn sent_at_least_one(mut survey: Survey, sent: &[Request]) -> Survey {
    if !sent.is_empty() {
        survey.unsent = None;
    }
    survey
}

/// Which request a datagram answers, and where we are by its word.
fn read<'a>(
    datagram: &[u8],
    sent: &'a [Request],
    servers: &[Server],
) -> Option<(&'a Request, Option<SocketAddr>)> {
    let message = Message::parse(datagram).ok()?;
    if message.method() != Method::Binding || !matches!(message.class(), Class::Success | Class::Error) {
        return None;
    }
    let request = sent.iter().find(|request| request.transaction == message.transaction())?;
    let mapped = match &servers[request.server].agent {
        // Only somebody with the password is believed.
        Some(agent) => agent.read(datagram)?.verdict.ok(),
        None => message.xor_mapped_address().ok().flatten(),
    };
    Some((request, mapped))
}

/// How long packets to a server may be, the IP header counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lengths {
    /// The longest of those that were tried which is answered although it must not be cut up; nothing if none is.
    pub(crate) whole: Option<usize>,
    /// The same where it may be: a server that does not answer long packets at all is no narrow path.
    pub(crate) cut_up: Option<usize>,
}

/// Tries `lengths` at a server that answers. Whether what is too long for the path gets there in parts is only looked at if less
/// than `needed` gets there in one.
pub(crate) async fn lengths(server: &Server, lengths: &[usize], needed: usize) -> io::Result<Lengths> {
    let socket = open(server.address).await?;
    socket.connect(server.address).await?;
    // It sets "don't fragment", whatever the system believes to know of the path.
    let _ = UdpSocketState::new(UdpSockRef::from(&socket))?;
    let whole = longest(&socket, server, lengths, needed).await;
    if whole >= Some(needed) {
        return Ok(Lengths { whole, cut_up: whole });
    }
    let socket = open(server.address).await?;
    socket.connect(server.address).await?;
    let cut_up = longest(&socket, server, lengths, needed).await.max(whole);
    Ok(Lengths { whole, cut_up })
}

/// The longest of `lengths` that is answered. When one of at least `enough` is, the longer ones are not waited for to the end.
async fn longest(socket: &UdpSocket, server: &Server, lengths: &[usize], enough: usize) -> Option<usize> {
    let mut sent: Vec<(TransactionId, usize, Instant)> = Vec::new();
    let mut bytes = vec![0; LONGEST_ANSWER];
    let (mut longest, most) = (None, lengths.iter().copied().max());
    let mut end: Option<Instant> = None;
    for round in 1..=LENGTH_TRIES {
        for length in lengths.iter().copied().filter(|length| Some(*length) > longest) {
            let transaction = TransactionId(random::bytes());
            // One that is too long for this machine's own interface does not leave it.
            if socket.send(&padded(transaction, length, server)).await.is_ok() {
                sent.push((transaction, length, Instant::now()));
            }
        }
        let wait = if round == LENGTH_TRIES { LAST_WAIT } else { INTERVAL };
        let deadline = Instant::now() + wait;
        loop {
            let until = end.map_or(deadline, |end: Instant| end.min(deadline));
            let Ok(received) = timeout_at(until, socket.recv(&mut bytes)).await else { break };
            // So routers say that a packet was too long.
            let Ok(received) = received else { continue };
            for message in messages(&bytes[..received]) {
                let Some((_, length, since)) = sent.iter().find(|(id, ..)| *id == message.transaction())
                else {
                    continue;
                };
                longest = longest.max(Some(*length));
                if longest >= Some(enough) {
                    end.get_or_insert_with(|| Instant::now() + GRACE.max(since.elapsed()));
                }
            }
            if longest == most {
                return longest;
            }
        }
        if end.is_some_and(|end| end <= Instant::now()) {
            break;
        }
    }
    longest
}

/// The messages in what the system gave us at once: several of one length may come as one (UDP GRO).
fn messages(mut bytes: &[u8]) -> Vec<Message> {
    let mut messages = Vec::new();
    while let Some(length) = bytes.get(2..4).map(|l| HEADER + usize::from(u16::from_be_bytes([l[0], l[1]]))) {
        let Some((message, rest)) = bytes.split_at_checked(length) else { break };
        messages.extend(Message::parse(message));
        bytes = rest;
    }
    messages
}

/// A request that makes an IP packet of this length.
fn padded(transaction: TransactionId, length: usize, server: &Server) -> Vec<u8> {
    let headers = if server.address.is_ipv4() { 20 } else { 40 } + 8;
    let with = |padding: &[u8]| {
        server.finish(Builder::request(Method::Binding, transaction).attribute(PADDING, padding))
    };
    let padding = length.saturating_sub(headers + with(&[]).len());
    with(&vec![0; padding & !3])
}

async fn open(towards: SocketAddr) -> io::Result<UdpSocket> {
    let any: SocketAddr = match towards {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    UdpSocket::bind(any).await
}

/// For the fuzzer: what the system gave us at once.
#[cfg(fuzzing)]
pub(crate) fn fuzz(bytes: &[u8]) {
    drop(messages(bytes));
}

#[cfg(test)]
mod tests {
    use hubs_relay::wire::ErrorCode;
    use proptest::prelude::*;

    use super::*;
    use crate::ice::Credentials;
    use crate::testing::stun_server;

    const MAPPED: &str = "198.51.100.7:50000";

    fn plain(address: SocketAddr) -> Server {
        Server { address, agent: None }
    }

    #[tokio::test]
    async fn whoever_answers_is_heard_and_a_refusal_is_an_answer() {
        let answers = |request: &Message, _| {
            Some(Builder::success(request).xor_mapped_address(MAPPED.parse().unwrap()).finish())
        };
        let refuses = |request: &Message, _| Some(Builder::error(request, ErrorCode::BAD_REQUEST).finish());
        let servers = [plain(stun_server(answers).await), plain(stun_server(refuses).await)];
        let mut found = survey(&servers).await.unwrap().answers;
        found.sort_by_key(|answer| answer.mapped);
        let mapped: Vec<_> = found.iter().map(|a| (a.server, a.mapped)).collect();
        assert_eq!(mapped, [(servers[1].address, None), (servers[0].address, Some(MAPPED.parse().unwrap()))]);
    }

    #[tokio::test]
    async fn the_silent_ones_are_not_waited_for_when_somebody_answered() {
        let mute = stun_server(|_, _| None).await;
        let answers =
            |request: &Message, from| Some(Builder::success(request).xor_mapped_address(from).finish());
        let servers = [plain(mute), plain(stun_server(answers).await)];
        let begin = Instant::now();
        assert_eq!(survey(&servers).await.unwrap().answers.len(), 1);
        assert!(begin.elapsed() < LAST_WAIT, "{:?}", begin.elapsed());
    }

    #[tokio::test]
    async fn most_packets_may_be_lost() {
        let mut arrived = 0;
        let server = stun_server(move |request, from| {
            arrived += 1;
            (arrived == TRIES).then(|| Builder::success(request).xor_mapped_address(from).finish())
        })
        .await;
        assert_eq!(survey(&[plain(server)]).await.unwrap().answers.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn silence_ends() {
        // Nobody may have this address (RFC 5737), so nothing comes from there.
        let server = plain("203.0.113.9:3478".parse().unwrap());
        assert_eq!(survey(&[server]).await.unwrap().answers, []);
        assert!(survey(&[]).await.unwrap().answers.is_empty());
    }

    const LENGTHS: [usize; 12] = [576, 1200, 1280, 1320, 1360, 1400, 1420, 1440, 1460, 1480, 1492, 1500];

    fn refused(request: &Message) -> Vec<u8> {
        Builder::error(request, ErrorCode::BAD_REQUEST).finish()
    }

    #[tokio::test]
    async fn the_longest_packet_that_is_answered_is_found_although_all_answers_come_at_once() {
        let server = stun_server(|request, _| Some(refused(request))).await;
        let found = lengths(&plain(server), &LENGTHS, 1280).await.unwrap();
        assert_eq!(found, Lengths { whole: Some(1500), cut_up: Some(1500) });
        let credentials = Credentials::new("dialog".to_owned(), "dialogspassword0123456".to_owned());
        let dialog = Server { address: server, agent: Some(Agent::new(&credentials.unwrap())) };
        for length in LENGTHS {
            for server in [&plain(server), &dialog] {
                assert_eq!(padded(TransactionId([0; 12]), length, server).len(), length - 28);
            }
        }
    }

    #[tokio::test]
    async fn a_server_that_answers_short_packets_only_is_no_narrow_path() {
        let server = stun_server(|request, _| {
            let padding = request.attribute(PADDING).map_or(0, <[u8]>::len);
            (padding < 1000).then(|| refused(request))
        })
        .await;
        let found = lengths(&plain(server), &LENGTHS, 1280).await.unwrap();
        assert_eq!(found, Lengths { whole: Some(576), cut_up: Some(576) });
    }

    #[test]
    fn what_comes_in_one_piece_is_taken_apart_and_what_is_no_message_ends_it() {
        let request = Builder::request(Method::Binding, TransactionId([7; 12])).fingerprint().finish();
        assert_eq!(messages(&[request.clone(), request.clone()].concat()).len(), 2);
        assert_eq!(messages(&[&request[..], &[0, 1, 0xff]].concat()).len(), 1);
        assert!(messages(&[0xff; 30]).is_empty() && messages(&[]).is_empty());
    }

    proptest! {
        #[test]
        fn no_bytes_are_taken_for_an_answer_to_what_was_not_asked(
            noise in prop::collection::vec(any::<u8>(), 0..200),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        ) {
            let servers = [plain("192.0.2.7:3478".parse().unwrap())];
            let transaction = TransactionId([7; 12]);
            let sent = [Request { transaction, server: 0, since: Instant::now() }];
            let request = Builder::request(Method::Binding, transaction).fingerprint().finish();
            let request = Message::parse(&request).unwrap();
            let mut answer = Builder::success(&request).xor_mapped_address(MAPPED.parse().unwrap()).finish();
            prop_assert!(read(&answer, &sent, &servers).is_some());
            for (at, byte) in changes {
                let at = at.index(answer.len());
                answer[at] = byte;
            }
            let _ = read(&answer, &sent, &servers);
            prop_assert!(read(&noise, &sent, &servers).is_none() || noise.len() >= HEADER);
            prop_assert!(messages(&[answer, noise].concat()).len() <= 1 + 200 / HEADER);
        }
    }
}
