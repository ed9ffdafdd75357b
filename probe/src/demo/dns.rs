//! The demo's DNS: the deployment's four names, the zone that they are in, and nothing else. It is the resolver and the zone's
//! server in one, as small name servers are.

use std::{collections::BTreeSet, net::Ipv4Addr};

use hickory_proto::{
    op::{Message, MessageType, ResponseCode},
    rr::{
        Name, RData, Record, RecordType,
        rdata::{A, NS, SOA},
    },
};
use tokio::net::UdpSocket;

/// Longer than any query about one name.
const LONGEST_QUERY: usize = 512;

const TTL_SECONDS: u32 = 60;

/// What it knows.
pub(super) struct Zone {
    /// The name that the zone begins with.
    pub(super) apex: String,
    /// The name of this server.
    pub(super) server: String,
    /// The names in the zone, all of which are at one address.
    pub(super) hosts: BTreeSet<String>,
    pub(super) address: Ipv4Addr,
}

/// Answers queries about `zone`.
pub(super) async fn serve(socket: UdpSocket, zone: Zone) {
    let mut query = [0; LONGEST_QUERY];
    // A socket that is connected to nobody is not told of what happened to its answers: there is no error but for good.
    while let Ok((len, from)) = socket.recv_from(&mut query).await {
        if let Some(response) = zone.answer(&query[..len]) {
            let _ = socket.send_to(&response, from).await;
        }
    }
}

impl Zone {
    fn answer(&self, query: &[u8]) -> Option<Vec<u8>> {
        let query = Message::from_vec(query).ok()?;
        let question = query.queries.first().filter(|_| query.metadata.message_type == MessageType::Query)?;
        let mut response = Message::response(query.metadata.id, query.metadata.op_code);
        response.add_query(question.clone());
        // Who asks for recursion takes it for a resolver.
        response.metadata.recursion_available = query.metadata.recursion_desired;
        response.metadata.authoritative = !query.metadata.recursion_desired;
        let host = question.name().to_utf8().trim_end_matches('.').to_ascii_lowercase();
        if self.hosts.contains(&host) {
            let data = self.data(&host, question.query_type());
            response
                .add_answers(data.map(|data| Record::from_rdata(question.name().clone(), TTL_SECONDS, data)));
        } else {
            response.metadata.response_code = ResponseCode::NXDomain;
        }
        response.to_vec().ok()
    }

    /// What a name in the zone has of this type.
    fn data(&self, host: &str, wanted: RecordType) -> Option<RData> {
        let is_apex = host == self.apex;
        let server = || Name::from_ascii(format!("{}.", self.server)).ok();
        Some(match wanted {
            RecordType::A => RData::A(A(self.address)),
            RecordType::NS if is_apex => RData::NS(NS(server()?)),
            RecordType::SOA if is_apex => {
                let again = TTL_SECONDS.cast_signed();
                RData::SOA(SOA::new(server()?, server()?, 1, again, again, again, TTL_SECONDS))
            }
            _ => return None,
        })
    }
}
