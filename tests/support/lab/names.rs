//! The DNS of the lab: who knows a zone, and who asks them for others. Each answers until the test's process ends.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::thread;
use std::time::Duration;

use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CAA, CNAME, MX, NS, SOA, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use serde::Deserialize;

use super::Namespace;

/// Names and their addresses. A name without any exists and has none.
pub(super) type Addresses = BTreeMap<String, Vec<IpAddr>>;

/// How a question is asked again upstream, and after how long: more than half of the packets may be lost.
const TRIES: usize = 20;
const TRY_AGAIN: Duration = Duration::from_millis(200);

/// As much as a datagram holds; what is longer is to be asked for over TCP.
const LONGEST_DATAGRAM: usize = 1232;

/// Aliases lead no further than this.
const MOST_STEPS: usize = 8;

const TTL_SECONDS: u32 = 60;

/// What a server knows.
#[derive(Debug, Clone, Default)]
pub(super) struct Zone {
    /// Names and their addresses; one that begins with `*.` stands for all below it that are not there.
    pub(super) addresses: Addresses,
    /// What names have besides.
    pub(super) records: Vec<Entry>,
    /// With what the zone begins, and the names of its servers, if it is one.
    pub(super) servers: Option<(&'static str, Vec<&'static str>)>,
}

/// A record that is no address.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    name: String,
    #[serde(rename = "type")]
    kind: Kind,
    value: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum Kind {
    Txt,
    Cname,
    Mx,
    /// Its value is the authority that may issue.
    Caa,
}

/// What the zone's signatures are worth to a resolver that checks them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Signatures {
    /// There are none.
    #[default]
    None,
    /// They do not hold.
    Broken,
}

/// Starts a server that knows `zone` and nothing else.
pub(super) fn know(zone: Zone, at: SocketAddr, namespace: &Namespace) {
    let (udp, tcp) = namespace.run(|| (UdpSocket::bind(at).unwrap(), TcpListener::bind(at).unwrap()));
    let over_tcp = zone.clone();
    thread::spawn(move || {
        each_query(&udp, |query, client| {
            let mut answer = zone.answer(query);
            if answer.to_vec().unwrap().len() > LONGEST_DATAGRAM {
                answer.answers.clear();
                answer.metadata.truncation = true;
            }
            let _ = udp.send_to(&answer.to_vec().unwrap(), client);
        });
    });
    thread::spawn(move || {
        while let Ok((stream, _)) = tcp.accept() {
            // Who opens a connection and says nothing waits for nobody else.
            let _ = stream.set_read_timeout(Some(Duration::from_secs(1)));
            let _ = answer_over_tcp(&over_tcp, stream);
        }
    });
}

fn answer_over_tcp(zone: &Zone, mut stream: std::net::TcpStream) -> std::io::Result<()> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut query = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut query)?;
    let Ok(query) = Message::from_vec(&query) else { return Ok(()) };
    let answer = zone.answer(query).to_vec().unwrap();
    let length = u16::try_from(answer.len()).unwrap();
    stream.write_all(&[&length.to_be_bytes(), answer.as_slice()].concat())
}

/// Starts a resolver that asks `upstream`, except for what it remembers from earlier. With signatures that do not hold it gives
/// what is below `domain` to nobody who wants it checked.
pub(super) fn ask(
    upstream: SocketAddr,
    remembered: Addresses,
    refused: Option<&'static str>,
    at: SocketAddr,
    namespace: &Namespace,
) {
    let socket = namespace.run(|| UdpSocket::bind(at).unwrap());
    let remembered = Zone { addresses: remembered, ..Zone::default() };
    let serve = move || {
        each_query(&socket, |query, client| {
            let name = name_asked(&query);
            let wanted = query.queries.first().map(Query::query_type);
            let is_for_address = matches!(wanted, Some(RecordType::A | RecordType::AAAA));
            if is_for_address && remembered.addresses.contains_key(&name) {
                let answer = as_resolver(remembered.answer(query));
                let _ = socket.send_to(&answer.to_vec().unwrap(), client);
                return;
            }
            if refused.is_some_and(|domain| name.ends_with(domain)) && !query.metadata.checking_disabled {
                let mut answer = as_resolver(query.into_response());
                answer.metadata.response_code = ResponseCode::ServFail;
                let _ = socket.send_to(&answer.to_vec().unwrap(), client);
                return;
            }
            let socket = socket.try_clone().unwrap();
            // What a thread inside of a namespace starts is inside as well.
            thread::spawn(move || {
                if let Some(answer) = ask_upstream(&query, upstream) {
                    let _ = socket.send_to(&as_resolver(answer).to_vec().unwrap(), client);
                }
            });
        });
    };
    namespace.run(|| drop(thread::spawn(serve)));
}

fn as_resolver(mut answer: Message) -> Message {
    answer.metadata.authoritative = false;
    answer.metadata.recursion_available = true;
    answer
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
    plain(&name)
}

fn plain(name: &str) -> String {
    name.trim_end_matches('.').to_lowercase()
}

fn name(text: &str) -> Name {
    Name::from_ascii(format!("{text}.")).unwrap()
}

impl Zone {
    fn answer(&self, query: Message) -> Message {
        let mut host = name_asked(&query);
        let mut answer = query.into_response();
        answer.metadata.authoritative = true;
        let Some(wanted) = answer.queries.first().map(Query::query_type) else {
            return answer;
        };
        for _ in 0..MOST_STEPS {
            let Some(known) = self.known(&host) else {
                answer.metadata.response_code = ResponseCode::NXDomain;
                return answer;
            };
            let data = self.data(&known);
            let is_alias = |data: &RData| matches!(data, RData::CNAME(_));
            let alias = data.iter().find(|data| is_alias(data) && wanted != RecordType::CNAME).cloned();
            let matching = data.into_iter().filter(|data| data.record_type() == wanted);
            answer.add_answers(
                matching.chain(alias.clone()).map(|data| Record::from_rdata(name(&host), TTL_SECONDS, data)),
            );
            match alias {
                Some(RData::CNAME(target)) => host = plain(&target.0.to_ascii()),
                _ => return answer,
            }
        }
        answer
    }

    /// Under which name the records of this one stand: its own, or that of a wildcard. Nothing if there is neither.
    fn known(&self, host: &str) -> Option<String> {
        let is_there = |name: &str| {
            let below = format!(".{name}");
            let is_at = |known: &str| known == name || known.ends_with(&below);
            let apex = self.servers.iter().map(|(apex, _)| *apex);
            let names =
                self.addresses.keys().map(String::as_str).chain(self.records.iter().map(|r| r.name.as_str()));
            names.chain(apex).any(is_at)
        };
        if is_there(host) {
            return Some(host.to_owned());
        }
        let mut above = host;
        while let Some((_, rest)) = above.split_once('.') {
            let wildcard = format!("*.{rest}");
            if is_there(&wildcard) {
                return Some(wildcard);
            }
            if is_there(rest) {
                return None;
            }
            above = rest;
        }
        None
    }

    /// All that a name has.
    fn data(&self, host: &str) -> Vec<RData> {
        let addresses = self.addresses.get(host).into_iter().flatten().map(|address| match address {
            IpAddr::V4(address) => RData::A(A(*address)),
            IpAddr::V6(address) => RData::AAAA(AAAA(*address)),
        });
        let mut data: Vec<_> = addresses.collect();
        data.extend(self.records.iter().filter(|record| record.name == host).map(Entry::data));
        for (_, servers) in self.servers.iter().filter(|(apex, _)| *apex == host) {
            data.extend(servers.iter().map(|server| RData::NS(NS(name(server)))));
            let again = TTL_SECONDS.cast_signed();
            let start = SOA::new(name(servers[0]), name(host), 1, again, again, again, TTL_SECONDS);
            data.push(RData::SOA(start));
        }
        data
    }
}

impl Entry {
    fn data(&self) -> RData {
        match self.kind {
            Kind::Txt => RData::TXT(TXT::from_bytes(self.value.as_bytes().chunks(200).collect())),
            Kind::Cname => RData::CNAME(CNAME(name(&self.value))),
            Kind::Mx => RData::MX(MX::new(10, name(&self.value))),
            Kind::Caa => {
                let mut caa = CAA::new_issue(false, None, Vec::new());
                caa.value = self.value.clone().into_bytes();
                RData::CAA(caa)
            }
        }
    }
}

/// Where the first of the zone's servers is in IPv6.
pub(super) const SERVER_IPV6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x54, 0, 0, 0, 0, 0x54);

/// The names of the zone's servers, and where each is.
pub(super) const SERVERS: [(&str, Ipv4Addr); 2] =
    [("ns1.hubs.test", Ipv4Addr::new(192, 0, 2, 54)), ("ns2.hubs.test", Ipv4Addr::new(192, 0, 2, 55))];
