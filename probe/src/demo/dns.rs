//! The demo's DNS: the deployment's four names, and nothing else.

use std::{collections::BTreeSet, net::Ipv4Addr};

use hickory_proto::{
    op::{Message, MessageType, ResponseCode},
    rr::{RData, Record, RecordType, rdata::A},
};
use tokio::net::UdpSocket;

/// Longer than any query about one name.
const LONGEST_QUERY: usize = 512;

const TTL_SECONDS: u32 = 60;

/// Answers queries about `hosts`, all of which are at `address`.
pub(super) async fn serve(socket: UdpSocket, hosts: BTreeSet<String>, address: Ipv4Addr) {
    let mut query = [0; LONGEST_QUERY];
    // A socket that is connected to nobody is not told of what happened to its answers: there is no error but for good.
    while let Ok((len, from)) = socket.recv_from(&mut query).await {
        if let Some(response) = answer(&query[..len], &hosts, address) {
            let _ = socket.send_to(&response, from).await;
        }
    }
}

fn answer(query: &[u8], hosts: &BTreeSet<String>, address: Ipv4Addr) -> Option<Vec<u8>> {
    let query = Message::from_vec(query).ok()?;
    let question = query.queries.first().filter(|_| query.metadata.message_type == MessageType::Query)?;
    let mut response = Message::response(query.metadata.id, query.metadata.op_code);
    response.add_query(question.clone());
    let host = question.name().to_utf8().trim_end_matches('.').to_ascii_lowercase();
    if !hosts.contains(&host) {
        response.metadata.response_code = ResponseCode::NXDomain;
    } else if question.query_type() == RecordType::A {
        let name = question.name().clone();
        response.add_answers([Record::from_rdata(name, TTL_SECONDS, RData::A(A(address)))]);
    }
    response.to_vec().ok()
}
