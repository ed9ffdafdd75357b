//! SIGTERM: whoever has a call keeps it for a while, whoever comes now is sent elsewhere.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::client::{self, Client, LIMIT, USER, channel, channel_data, code};
use crate::dialog::Dialog;
use crate::gateway::{Program, connect, create, talk};
use crate::program::Running;

/// A client in a call, and the peer at its other end.
struct Call {
    client: Client<UdpSocket>,
    peer: UdpSocket,
    relayed: SocketAddr,
}

impl Call {
    fn start(relay: SocketAddr) -> Self {
        let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
        peer.set_read_timeout(Some(LIMIT)).unwrap();
        let mut client = Client::new(client::udp(relay));
        let relayed = client.allocate();
        assert_eq!(client.bind(channel(0x4000), peer.local_addr().unwrap()), 0);
        Self { client, peer, relayed }
    }

    /// Something is said and answered.
    fn talk(&mut self) {
        self.client.send_on(channel(0x4000), b"hello");
        assert_eq!(client::heard(&self.peer).0, b"hello");
        self.peer.send_to(b"hi", self.relayed).unwrap();
        assert_eq!(self.client.receive().unwrap(), channel_data(channel(0x4000), b"hi"));
    }
}

fn start(drain_deadline: &str) -> (Running, SocketAddr) {
    Running::start(&[
        ("HUBS_RELAY_RELAY__ADDRESS", "127.0.0.1"),
        ("HUBS_RELAY_AUTH__USERS", &format!("{}={}", USER.0, USER.1)),
        ("HUBS_RELAY_PEERS__ALLOW", "127.0.0.1:1-65535"),
        ("HUBS_RELAY_LIMITS__DRAIN_DEADLINE", drain_deadline),
    ])
}

#[test]
fn a_call_goes_on_after_sigterm_and_the_relay_ends_with_it() {
    let (mut relay, address) = start("1h");
    let mut call = Call::start(address);
    call.talk();
    relay.signal(Signal::SIGTERM);
    relay.line_with("draining");
    for _ in 0..100 {
        call.talk();
    }
    assert_eq!(code(&Client::new(client::udp(address)).try_allocate()), 508);
    call.talk();
    assert_eq!(call.client.refresh(Duration::ZERO), 0);
    relay.line_with("stopped");
    assert_eq!(relay.exit_code(), Some(0));
}

#[test]
fn a_second_sigterm_ends_the_call() {
    let (mut relay, address) = start("1h");
    let mut call = Call::start(address);
    relay.signal(Signal::SIGTERM);
    relay.line_with("draining");
    call.talk();
    relay.signal(Signal::SIGTERM);
    relay.line_with("stopped");
    assert_eq!(relay.exit_code(), Some(0));
}

#[test]
fn after_the_deadline_the_call_is_over() {
    let (mut relay, address) = start("300ms");
    let _call = Call::start(address);
    relay.signal(Signal::SIGTERM);
    let line = relay.line_with("drain_deadline has passed");
    assert!(line.contains("sessions=1"), "{line}");
    relay.line_with("stopped");
    assert_eq!(relay.exit_code(), Some(0));
}

#[test]
fn it_ends_with_the_last_call_through_the_gateway_as_well() {
    let dialog = Dialog::start("127.0.0.1");
    let mut gateway = Program::start(&dialog, &[("HUBS_RELAY_LIMITS__DRAIN_DEADLINE", "1h")]);
    let mut browser = connect(gateway.signalling);
    let mut peer = dialog.peer();
    create(&mut browser, &dialog, &mut peer, "nameofdialogstransport");
    gateway.running.signal(Signal::SIGTERM);
    let line = gateway.running.line_with("draining");
    assert!(line.contains("sessions=0 gateway_calls=1"), "{line}");
    talk(&client::udp(gateway.udp), "nameofdialogstransport", 1);
    drop((browser, peer));
    gateway.running.line_with("stopped");
    assert_eq!(gateway.running.exit_code(), Some(0));
}

#[test]
fn after_the_deadline_the_calls_through_the_gateway_are_over_and_counted() {
    let dialog = Dialog::start("127.0.0.1");
    let mut gateway = Program::start(&dialog, &[("HUBS_RELAY_LIMITS__DRAIN_DEADLINE", "300ms")]);
    let _browsers = [(); 2].map(|()| connect(gateway.signalling));
    gateway.running.signal(Signal::SIGTERM);
    let line = gateway.running.line_with("drain_deadline has passed");
    assert!(line.contains("sessions=0 gateway_calls=2"), "{line}");
    gateway.running.line_with("stopped");
    assert_eq!(gateway.running.exit_code(), Some(0));
}

#[test]
fn what_is_changed_while_it_drains_counts() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let write = |limits: &str| {
        let (user, password) = USER;
        let text = format!("auth.users = {{ {user} = '{password}' }}\n[limits]\n{limits}\n");
        std::fs::write(&file, text).unwrap();
    };
    write("drain_deadline = '20s'");
    let path = file.path().to_str().unwrap();
    let (mut relay, address) = Running::start_with(path, &[("HUBS_RELAY_RELAY__ADDRESS", "127.0.0.1")]);
    Client::new(client::udp(address)).allocate();
    relay.signal(Signal::SIGTERM);
    relay.line_with("draining");
    write("drain_deadline = '300ms'");
    relay.signal(Signal::SIGHUP);
    relay.line_with("read anew");
    relay.line_with("drain_deadline has passed");
    assert_eq!(relay.exit_code(), Some(0));
}

#[test]
fn the_deadline_is_the_one_that_was_read_last() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let write = |deadline: &str| {
        let (user, password) = USER;
        let text =
            format!("auth.users = {{ {user} = '{password}' }}\n[limits]\ndrain_deadline = '{deadline}'\n");
        std::fs::write(&file, text).unwrap();
    };
    write("1h");
    let path = file.path().to_str().unwrap();
    let (mut relay, address) = Running::start_with(path, &[("HUBS_RELAY_RELAY__ADDRESS", "127.0.0.1")]);
    Client::new(client::udp(address)).allocate();
    write("300ms");
    relay.signal(Signal::SIGHUP);
    relay.line_with("read anew");
    relay.signal(Signal::SIGTERM);
    relay.line_with("drain_deadline has passed");
    assert_eq!(relay.exit_code(), Some(0));
}
