//! The DNS of the lab: who knows a zone, and who asks them for others. Each answers until the test's process ends.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::thread;
use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA};
use hickory_proto::rr::{RData, Record, RecordType};

use super::Namespace;

/// Names and their addresses. A name without any exists and has none.
pub(super) type Zone = BTreeMap<String, Vec<IpAddr>>;

/// How often a question is asked again upstream, and after how long: more than half of the packets may be lost.
const TRIES: usize = 20;
const TRY_AGAIN: Duration = Duration::from_millis(200);

/// Starts a server that knows `zone` and nothing else.
pub(super) fn know(zone: Zone, at: SocketAddr, namespace: &Namespace) {
    let socket = namespace.run(|| UdpSocket::bind(at).unwrap());
    thread::spawn(move || {
        each_query(&socket, |query, client| {
            let answer = answer(&zone, query);
            let _ = socket.send_to(&answer.to_vec().unwrap(), client);
        });
    });
}

/// Starts a server that asks `upstream`, except for what it remembers from earlier.
pub(super) fn ask(upstream: SocketAddr, remembered: Zone, at: SocketAddr, namespace: &Namespace) {
    let socket = namespace.run(|| UdpSocket::bind(at).unwrap());
    let serve = move || {
        each_query(&socket, |query, client| {
            if remembered.contains_key(&name_asked(&query)) {
                let _ = socket.send_to(&answer(&remembered, query).to_vec().unwrap(), client);
                return;
            }
            let socket = socket.try_clone().unwrap();
            // What a thread inside of a namespace starts is inside as well.
            thread::spawn(move || {
                if let Some(mut answer) = ask_upstream(&query, upstream) {
                    answer.metadata.authoritative = false;
                    answer.metadata.recursion_available = true;
                    let _ = socket.send_to(&answer.to_vec().unwrap(), client);
                }
            });
        });
    };
    namespace.run(|| drop(thread::spawn(serve)));
}

fn each_query(socket: &UdpSocket, mut serve: impl FnMut(Message, SocketAddr)) {
    let mut datagram = [0; 1500];
    while let Ok((length, client)) = socket.recv_from(&mut datagram) {
        if let Ok(query) = Message::from_vec(&datagram[..length]) {
            serve(query, client);
        }
    }
}

fn ask_upstream(query: &Message, upstream: SocketAddr) -> Option<Message> {
    let any = if upstream.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any).ok()?;
    socket.connect(upstream).ok()?;
    socket.set_read_timeout(Some(TRY_AGAIN)).ok()?;
    let query = query.to_vec().ok()?;
    let mut answer = [0; 1500];
    (0..TRIES).find_map(|_| {
        socket.send(&query).ok()?;
        let length = socket.recv(&mut answer).ok()?;
        Message::from_vec(&answer[..length]).ok()
    })
}

fn name_asked(query: &Message) -> String {
    let name = query.queries.first().map(|question| question.name().to_ascii()).unwrap_or_default();
    name.trim_end_matches('.').to_lowercase()
}

fn answer(zone: &Zone, query: Message) -> Message {
    let name = name_asked(&query);
    let mut answer = query.into_response();
    answer.metadata.authoritative = true;
    let Some(question) = answer.queries.first().cloned() else { return answer };
    let Some(addresses) = zone.get(&name) else {
        answer.metadata.response_code = ResponseCode::NXDomain;
        return answer;
    };
    let data = addresses.iter().filter_map(|address| match (address, question.query_type()) {
        (IpAddr::V4(address), RecordType::A) => Some(RData::A(A(*address))),
        (IpAddr::V6(address), RecordType::AAAA) => Some(RData::AAAA(AAAA(*address))),
        _ => None,
    });
    for data in data {
        answer.add_answer(Record::from_rdata(question.name().clone(), 60, data));
    }
    answer
}
