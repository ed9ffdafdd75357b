//! A port of the laptop's that is one of the node's, as `kubectl port-forward` has it: through the cluster's API, where no rule
//! on packets counts.

use std::io;
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::thread;

use super::Namespace;

/// Forwards from `port` on the loopback of `here` to the same one of `there`, until the test's process ends.
pub(super) fn start(here: &Namespace, there: &Namespace, port: u16) {
    let address = (Ipv4Addr::LOCALHOST, port);
    let listener = here.run(|| TcpListener::bind(address).unwrap());
    // Threads are on the network of who starts them.
    there.run(|| {
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // Where nobody listens the client finds its connection closed, as kubectl has it.
                if let Ok(server) = TcpStream::connect(address) {
                    pass_on(&client, &server);
                    pass_on(&server, &client);
                }
            }
        });
    });
}

fn pass_on(from: &TcpStream, to: &TcpStream) {
    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
    thread::spawn(move || {
        let _ = io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    });
}
