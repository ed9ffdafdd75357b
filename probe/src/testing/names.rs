//! A DNS of one's own: records, a server that knows them, as resolver or as server of the zone, and what may be wrong with it.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use hickory_proto::{
    op::{Message, ResponseCode},
    rr::{
        Name, RData, Record, RecordType,
        rdata::{A, AAAA, CAA, CNAME, MX, NS, NULL, SOA, TXT},
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, UdpSocket},
};

use super::bare_context;
use crate::{check::Context, net::NetOptions};

/// Any resolver gives up on aliases at some length.
const MOST_STEPS: usize = 16;

/// Records, and how they are served.
#[derive(Clone, Debug, Default)]
pub(crate) struct Zone {
    records: Vec<Record>,
    /// Names that end so are a SERVFAIL.
    failing: Option<String>,
    /// Only what is not to be checked is answered.
    bogus: bool,
    /// The signatures are said to be good.
    authentic: bool,
    /// It is one of the zone's servers, and no resolver.
    authoritative: bool,
    over_udp: OverUdp,
}

/// What comes over UDP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum OverUdp {
    /// Everything.
    #[default]
    All,
    /// That there is more.
    Truncated,
    Nothing,
}

impl Zone {
    pub(crate) fn a(self, host: &str, address: [u8; 4]) -> Self {
        self.with(host, 60, RData::A(A(Ipv4Addr::from(address))))
    }

    pub(crate) fn aaaa(self, host: &str, address: &str) -> Self {
        self.with(host, 60, RData::AAAA(AAAA(address.parse().unwrap())))
    }

    pub(crate) fn cname(self, host: &str, target: &str) -> Self {
        self.with(host, 60, RData::CNAME(CNAME(name(target))))
    }

    pub(crate) fn txt(self, host: &str, text: &str) -> Self {
        // In parts, as longer texts are.
        let parts = text.as_bytes().chunks(200).collect();
        self.with(host, 60, RData::TXT(TXT::from_bytes(parts)))
    }

    /// An empty exchanger means that mail is not wanted.
    pub(crate) fn mx(self, host: &str, exchanger: &str) -> Self {
        self.with(host, 60, RData::MX(MX::new(10, name(exchanger))))
    }

    pub(crate) fn ns(self, host: &str, server: &str) -> Self {
        self.with(host, 60, RData::NS(NS(name(server))))
    }

    pub(crate) fn soa(self, host: &str, serial: u32) -> Self {
        let soa = SOA::new(name("ns.example.test"), name("hostmaster.example.test"), serial, 60, 60, 60, 60);
        self.with(host, 60, RData::SOA(soa))
    }

    /// An exclamation mark before the tag makes it critical.
    pub(crate) fn caa(self, host: &str, tag: &str, value: &str) -> Self {
        let mut caa = CAA::new_issue(tag.starts_with('!'), None, Vec::new());
        caa.tag = tag.trim_start_matches('!').to_owned();
        caa.value = value.as_bytes().to_vec();
        self.with(host, 60, RData::CAA(caa))
    }

    pub(crate) fn ds(self, host: &str) -> Self {
        let rdata = NULL::with(vec![0x30, 0x39, 13, 2, 0xab, 0xcd]);
        self.with(host, 60, RData::Unknown { code: RecordType::DS, rdata })
    }

    pub(crate) fn with(mut self, host: &str, ttl: u32, data: RData) -> Self {
        self.records.push(Record::from_rdata(name(host), ttl, data));
        self
    }

    /// Names that end with `suffix` are a SERVFAIL.
    pub(crate) fn failing(mut self, suffix: &str) -> Self {
        self.failing = Some(suffix.to_owned());
        self
    }

    /// With signatures that do not hold.
    pub(crate) fn bogus(mut self) -> Self {
        self.bogus = true;
        self
    }

    /// With signatures that hold.
    pub(crate) fn authentic(mut self) -> Self {
        self.authentic = true;
        self
    }

    pub(crate) fn authoritative(mut self) -> Self {
        self.authoritative = true;
        self
    }

    pub(crate) fn over_udp(mut self, over_udp: OverUdp) -> Self {
        self.over_udp = over_udp;
        self
    }

    /// Serves it over UDP and TCP.
    pub(crate) async fn serve(self) -> SocketAddr {
        let (udp, tcp) = loop {
            let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            // Somebody else may have the port for TCP.
            if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
                break (udp, tcp);
            }
        };
        let address = udp.local_addr().unwrap();
        let zone = Arc::new(self);
        tokio::spawn({
            let zone = Arc::clone(&zone);
            async move {
                let mut buffer = [0; 1500];
                while let Ok((length, from)) = udp.recv_from(&mut buffer).await {
                    let mut answer = zone.answer(&buffer[..length]);
                    match zone.over_udp {
                        OverUdp::Nothing => continue,
                        OverUdp::Truncated => {
                            answer.answers.clear();
                            answer.metadata.truncation = true;
                        }
                        OverUdp::All => {}
                    }
                    udp.send_to(&answer.to_vec().unwrap(), from).await.unwrap();
                }
            }
        });
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = tcp.accept().await {
                let length = stream.read_u16().await.unwrap();
                let mut query = vec![0; usize::from(length)];
                stream.read_exact(&mut query).await.unwrap();
                let answer = zone.answer(&query).to_vec().unwrap();
                stream.write_u16(answer.len() as u16).await.unwrap();
                stream.write_all(&answer).await.unwrap();
            }
        });
        address
    }

    /// A context whose resolver knows this and nothing else.
    pub(crate) async fn resolver(self) -> Arc<Context> {
        self.resolver_beside(&[]).await
    }

    /// The same, where these servers of the zone are at these addresses.
    pub(crate) async fn resolver_beside(self, servers: &[(&str, SocketAddr)]) -> Arc<Context> {
        let detour = |(host, address): &(&str, SocketAddr)| format!("{host}:53:{address}").parse().unwrap();
        let connect_to = servers.iter().map(detour).collect();
        let resolver = Some(self.serve().await);
        Arc::new(bare_context(NetOptions { resolver, connect_to, ..NetOptions::default() }))
    }

    fn answer(&self, query: &[u8]) -> Message {
        let query = Message::from_vec(query).unwrap();
        let question = query.queries[0].clone();
        let unchecked = query.metadata.checking_disabled;
        let mut answer = Message::response(query.metadata.id, query.metadata.op_code);
        answer.add_query(question.clone());
        answer.metadata.authoritative = self.authoritative;
        answer.metadata.recursion_available = !self.authoritative;
        answer.metadata.authentic_data = self.authentic;
        let fails =
            |suffix: &String| question.name().to_ascii().trim_end_matches('.').ends_with(suffix.as_str());
        if self.failing.as_ref().is_some_and(fails) || (self.bogus && !unchecked) {
            answer.metadata.response_code = ResponseCode::ServFail;
            answer.metadata.authoritative = false;
            return answer;
        }
        let mut host = question.name().clone();
        for _ in 0..MOST_STEPS {
            let Some(records) = self.at(&host) else {
                answer.metadata.response_code = ResponseCode::NXDomain;
                return answer;
            };
            let wanted = records.iter().filter(|r| r.record_type() == question.query_type());
            answer.add_answers(wanted.cloned());
            let alias = records.iter().find_map(|record| match &record.data {
                RData::CNAME(target) => Some((record.clone(), target.0.clone())),
                _ => None,
            });
            match alias.filter(|_| question.query_type() != RecordType::CNAME) {
                Some((record, target)) => {
                    answer.add_answer(record);
                    host = target;
                }
                None => return answer,
            }
        }
        answer.metadata.response_code = ResponseCode::ServFail;
        answer
    }

    /// The records of a name, a wildcard's included (RFC 4592); nothing if there is no such name.
    fn at(&self, host: &Name) -> Option<Vec<Record>> {
        let of = |owner: &Name| self.records.iter().filter(|r| r.name == *owner).cloned().collect::<Vec<_>>();
        let exists = |owner: &Name| self.records.iter().any(|r| owner.zone_of(&r.name));
        if exists(host) {
            return Some(of(host));
        }
        let mut encloser = host.base_name();
        while !encloser.is_root() && !exists(&encloser) {
            encloser = encloser.base_name();
        }
        let mut found = of(&Name::from_ascii("*").unwrap().append_domain(&encloser).unwrap());
        for record in &mut found {
            record.name = host.clone();
        }
        (!found.is_empty()).then_some(found)
    }
}

fn name(text: &str) -> Name {
    Name::from_ascii(format!("{text}.")).unwrap()
}
