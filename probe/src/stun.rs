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

/// Longer than any honest answer.
const LONGEST_ANSWER: usize = 2048;

/// An attribute that nobody knows, which servers pass over (RFC 8489 section 14).
const PADDING: AttrType = AttrType(0xfff0);

const HEADER: usize = 20;
const FINGERPRINT: usize = 8;
const ATTRIBUTE_HEADER: usize = 4;

/// A server to ask.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    /// With these credentials, if it is dialog.
    pub(crate) agent: Option<Agent>,
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
            let request = match &server.agent {
                Some(agent) => agent.request(transaction),
                None => Builder::request(Method::Binding, transaction).fingerprint().finish(),
            };
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
            enough.get_or_insert(Instant::now() + GRACE.max(round_trip));
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

/// The longest of `lengths` with which a packet, its IP header counted, gets to the server without being cut up, and is
/// answered. Nothing if none is.
pub(crate) async fn longest(server: SocketAddr, lengths: &[usize]) -> io::Result<Option<usize>> {
    let socket = open(server).await?;
    socket.connect(server).await?;
    // It sets "don't fragment", whatever the system believes to know of the path.
    let _ = UdpSocketState::new(UdpSockRef::from(&socket))?;
    let mut sent: Vec<(TransactionId, usize)> = Vec::new();
    let mut bytes = vec![0; LONGEST_ANSWER];
    let (mut longest, most) = (None, lengths.iter().copied().max());
    for round in 1..=LENGTH_TRIES {
        for length in lengths.iter().copied().filter(|length| Some(*length) > longest) {
            let transaction = TransactionId(random::bytes());
            // One that is too long for this machine's own interface does not leave it.
            if socket.send(&padded(transaction, length, server)).await.is_ok() {
                sent.push((transaction, length));
            }
        }
        let deadline = Instant::now() + if round == LENGTH_TRIES { LAST_WAIT } else { INTERVAL };
        while let Ok(received) = timeout_at(deadline, socket.recv(&mut bytes)).await {
            // So routers say that a packet was too long.
            let Ok(received) = received else { continue };
            let Ok(message) = Message::parse(&bytes[..received]) else { continue };
            let length = sent.iter().find(|(id, _)| *id == message.transaction()).map(|(_, length)| *length);
            longest = longest.max(length);
            if longest == most {
                return Ok(longest);
            }
        }
    }
    Ok(longest)
}

/// A request that makes an IP packet of this length.
fn padded(transaction: TransactionId, length: usize, to: SocketAddr) -> Vec<u8> {
    let headers = if to.is_ipv4() { 20 } else { 40 } + 8;
    let padding = length.saturating_sub(headers + HEADER + ATTRIBUTE_HEADER + FINGERPRINT);
    let padding = vec![0; padding & !3];
    Builder::request(Method::Binding, transaction).attribute(PADDING, &padding).fingerprint().finish()
}

async fn open(towards: SocketAddr) -> io::Result<UdpSocket> {
    let any: SocketAddr = match towards {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    UdpSocket::bind(any).await
}

#[cfg(test)]
mod tests {
    use hubs_relay::wire::ErrorCode;

    use super::*;
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

    #[tokio::test]
    async fn the_longest_packet_that_is_answered_is_the_paths() {
        let server =
            stun_server(|request, _| Some(Builder::error(request, ErrorCode::BAD_REQUEST).finish())).await;
        assert_eq!(longest(server, &[576, 1280, 1500]).await.unwrap(), Some(1500));
        for length in [576, 1280, 1500] {
            assert_eq!(padded(TransactionId([0; 12]), length, server).len(), length - 28);
        }
    }
}
