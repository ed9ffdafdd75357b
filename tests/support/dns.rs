//! A name server that knows the deployment's names and nothing else.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::thread;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{RData, Record, RecordType};

use crate::bed::NAMES;

/// Starts it; it answers until the test's process ends. All names of [`NAMES`] are 127.0.0.1, others do not exist.
pub fn start() -> SocketAddr {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = socket.local_addr().unwrap();
    thread::spawn(move || {
        let mut query = [0; 1500];
        while let Ok((length, client)) = socket.recv_from(&mut query) {
            let Ok(query) = Message::from_vec(&query[..length]) else { continue };
            let _ = socket.send_to(&answer(query).to_vec().unwrap(), client);
        }
    });
    address
}

fn answer(query: Message) -> Message {
    let mut answer = query.into_response();
    let Some(question) = answer.queries.first().cloned() else { return answer };
    let name = question.name().to_ascii().trim_end_matches('.').to_lowercase();
    if !NAMES.contains(&name.as_str()) {
        answer.metadata.response_code = ResponseCode::NXDomain;
    } else if question.query_type() == RecordType::A {
        let address = RData::A(A(Ipv4Addr::LOCALHOST));
        answer.add_answer(Record::from_rdata(question.name().clone(), 60, address));
    }
    answer
}
