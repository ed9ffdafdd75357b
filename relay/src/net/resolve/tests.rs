//! DNS as a server of the test's own, which says what it is told to.

use std::sync::{Arc, Mutex};

use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::{RData, Record, RecordType};
use tokio::net::UdpSocket;
use tokio::task::spawn_local;

use super::*;

/// A server that knows a name by its first label.
pub(crate) struct Server {
    pub(crate) names: Names,
    records: Arc<Mutex<BTreeMap<String, Vec<IpAddr>>>>,
}

impl Server {
    /// Starts one on the tasks of this thread.
    pub(crate) async fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let names = Names::Of(socket.local_addr().unwrap());
        let records = Arc::<Mutex<BTreeMap<_, _>>>::default();
        let server = Self { names, records: Arc::clone(&records) };
        spawn_local(async move {
            let mut query = [0; 512];
            loop {
                let (len, from) = socket.recv_from(&mut query).await.unwrap();
                let answer = answer(&query[..len], &records.lock().unwrap());
                if let Some(answer) = answer {
                    socket.send_to(&answer, from).await.unwrap();
                }
            }
        });
        server
    }

    /// From now on this name has these addresses. Without any there is no such name.
    pub(crate) fn say(&self, label: &str, addresses: &[&str]) {
        let addresses = addresses.iter().map(|it| it.parse().unwrap()).collect();
        self.records.lock().unwrap().insert(label.to_owned(), addresses);
    }
}

/// A resolver that asks this server.
pub(super) fn builder(server: SocketAddr) -> ResolverBuilder<TokioRuntimeProvider> {
    let mut connection = ConnectionConfig::udp();
    connection.port = server.port();
    let server = NameServerConfig::new(server.ip(), true, vec![connection]);
    let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
    TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
}

/// What the server says; nothing of a name that begins with "silent".
fn answer(query: &[u8], records: &BTreeMap<String, Vec<IpAddr>>) -> Option<Vec<u8>> {
    let query = Message::from_vec(query).unwrap();
    let question = query.queries[0].clone();
    let mut answer = Message::response(query.metadata.id, query.metadata.op_code);
    answer.metadata.recursion_available = true;
    let name = question.name().to_utf8();
    if name.starts_with("silent") {
        return None;
    }
    let addresses = records.get(name.split('.').next().unwrap()).map_or(&[][..], Vec::as_slice);
    if addresses.is_empty() {
        answer.metadata.response_code = ResponseCode::NXDomain;
    }
    let is_asked = |it: &&IpAddr| match question.query_type() {
        RecordType::A => it.is_ipv4(),
        RecordType::AAAA => it.is_ipv6(),
        _ => false,
    };
    let data = addresses.iter().filter(is_asked).map(|it| RData::from(*it));
    answer.add_answers(data.map(|data| Record::from_rdata(question.name().clone(), 60, data)));
    answer.add_query(question.clone());
    Some(answer.to_vec().unwrap())
}
