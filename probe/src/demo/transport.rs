//! One of dialog's transports: ICE-lite and DTLS over a few ports, and what `getTransportStats` says of them. Without a
//! socket: datagrams go in, [`Transport::poll_transmit`] gives those to send.

use std::{collections::VecDeque, net::SocketAddr, sync::Arc, time::Instant};

use serde_json::{Value, json};

use super::{
    dtls::{Dtls, Identity, Role},
    ice_lite::{IceLite, IceState, Tuple},
    srtp::Srtp,
};
use crate::{protoo::Fingerprint, random};

/// Packets that wait to be passed on.
const MOST_HEARD: usize = 64;

/// A media connection that waits for its client.
#[derive(Debug)]
pub(super) struct Transport {
    id: String,
    ice: IceLite,
    dtls: Dtls,
    /// What the client's `connectWebRtcTransport` left to us, once it has come.
    role: Option<Role>,
    /// The keys of the media, once they are needed.
    srtp: Option<Srtp>,
    /// Packets of RTP that came.
    heard: VecDeque<Vec<u8>>,
    outgoing: VecDeque<Datagram>,
    received: usize,
    sent: usize,
}

/// Bytes to send along a path.
#[derive(Debug)]
pub(super) struct Datagram {
    pub(super) tuple: Tuple,
    pub(super) bytes: Vec<u8>,
}

impl Transport {
    pub(super) fn new(identity: Arc<Identity>) -> Self {
        Self {
            id: random::name::<36>(),
            ice: IceLite::new(),
            dtls: Dtls::new(identity),
            role: None,
            srtp: None,
            heard: VecDeque::new(),
            outgoing: VecDeque::new(),
            received: 0,
            sent: 0,
        }
    }

    /// Takes what the client says of itself. It can be said only once.
    pub(super) fn connect(
        &mut self,
        now: Instant,
        ours: Role,
        theirs: Fingerprint,
    ) -> Result<(), &'static str> {
        if self.role.is_some() {
            return Err("connect() already called [method:transport.connect]");
        }
        self.role = Some(ours);
        self.dtls.announce(theirs);
        self.run_dtls(now);
        Ok(())
    }

    /// Takes a datagram. What it is, its first byte tells (RFC 7983 section 7).
    pub(super) fn handle(&mut self, now: Instant, tuple: Tuple, datagram: &[u8]) {
        self.received += datagram.len();
        match datagram.first() {
            Some(0..=3) => {
                if let Some(bytes) = self.ice.handle(tuple, datagram) {
                    self.outgoing.push_back(Datagram { tuple, bytes });
                }
                self.run_dtls(now);
            }
            Some(20..=63) if self.ice.knows(tuple) => {
                // The client sends along the path that it has chosen, whether it has said so or not.
                self.ice.select(tuple);
                self.dtls.handle(now, datagram);
            }
            Some(128..=191) if self.ice.knows(tuple) => {
                let packet = self.srtp().and_then(|srtp| srtp.decrypt(datagram));
                self.heard.extend(packet.filter(|_| self.heard.len() < MOST_HEARD));
            }
            _ => {}
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        self.dtls.handle_timeout(now);
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.dtls.poll_timeout()
    }

    /// Sends a packet of RTP to the client, once there are keys for it.
    pub(super) fn say(&mut self, packet: &[u8]) {
        let datagram = self.srtp().and_then(|srtp| srtp.encrypt(packet));
        if let (Some(tuple), Some(bytes)) = (self.ice.selected(), datagram) {
            self.outgoing.push_back(Datagram { tuple, bytes });
        }
    }

    /// The next packet of RTP that the client sent.
    pub(super) fn poll_heard(&mut self) -> Option<Vec<u8>> {
        self.heard.pop_front()
    }

    fn srtp(&mut self) -> Option<&mut Srtp> {
        if self.srtp.is_none() {
            self.srtp = self.dtls.srtp();
        }
        self.srtp.as_mut()
    }

    /// The next datagram to send.
    pub(super) fn poll_transmit(&mut self) -> Option<Datagram> {
        let datagram = self.outgoing.pop_front().or_else(|| {
            let tuple = self.ice.selected()?;
            self.dtls.poll_transmit().map(|bytes| Datagram { tuple, bytes: bytes.to_vec() })
        })?;
        self.sent += datagram.bytes.len();
        Some(datagram)
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// What a client needs to find it at `candidates`: what dialog announces for each of its ports.
    pub(super) fn describe(&self, candidates: &[SocketAddr], fingerprints: &[Fingerprint]) -> Value {
        let candidates: Vec<_> = candidates.iter().enumerate().map(|(n, at)| candidate(n, *at)).collect();
        let fingerprints: Vec<_> =
            fingerprints.iter().map(|f| json!({ "algorithm": f.algorithm, "value": f.value })).collect();
        json!({
            "id": self.id,
            "iceParameters": {
                "iceLite": true,
                "password": self.ice.password(),
                "usernameFragment": self.ice.ufrag(),
            },
            "iceCandidates": candidates,
            "dtlsParameters": { "fingerprints": fingerprints, "role": "auto" },
        })
    }

    /// What mediasoup says of a transport, without the bit rates that it averages.
    pub(super) fn stats(&self, uptime_ms: u64) -> Value {
        let mut stats = json!({
            "bytesReceived": self.received,
            "bytesSent": self.sent,
            "dtlsState": self.dtls.state(),
            "iceRole": "controlled",
            "iceState": self.ice.state(),
            "probationBytesSent": 0,
            "rtpBytesReceived": 0,
            "rtpBytesSent": 0,
            "rtxBytesReceived": 0,
            "rtxBytesSent": 0,
            "timestamp": uptime_ms,
            "transportId": self.id,
            "type": "webrtc-transport",
        });
        if let Some(tuple) = self.ice.selected() {
            stats["iceSelectedTuple"] = json!({
                "localIp": tuple.local.ip().to_string(),
                "localPort": tuple.local.port(),
                "protocol": "udp",
                "remoteIp": tuple.remote.ip().to_string(),
                "remotePort": tuple.remote.port(),
            });
        }
        json!([stats])
    }

    /// mediasoup begins as soon as there is a path: as server unless it was told otherwise.
    fn run_dtls(&mut self, now: Instant) {
        if self.ice.state() != IceState::New {
            self.dtls.run(now, self.role.unwrap_or(Role::Server));
        }
    }
}

/// mediasoup's priorities: those of host candidates (RFC 8445 section 5.1.2), each a little lower than the one before.
fn candidate(number: usize, at: SocketAddr) -> Value {
    let priority = 1_076_302_079 - 25_600 * number;
    json!({
        "foundation": "udpcandidate",
        "ip": at.ip().to_string(),
        "port": at.port(),
        "priority": priority,
        "protocol": "udp",
        "type": "host",
    })
}

#[cfg(test)]
mod tests {
    use hubs_relay::wire::TransactionId;

    use super::*;
    use crate::ice::{Agent, Credentials};

    fn tuple() -> Tuple {
        Tuple { local: ([127, 0, 0, 1], 40_230).into(), remote: ([127, 0, 0, 1], 58_464).into() }
    }

    fn transport() -> Transport {
        Transport::new(Arc::new(Identity::new().unwrap()))
    }

    fn fingerprint() -> Fingerprint {
        Fingerprint::new("sha-256".to_owned(), ["AB"; 32].join(":")).unwrap()
    }

    fn check(transport: &mut Transport) {
        let (ufrag, password) = (transport.ice.ufrag().to_owned(), transport.ice.password().to_owned());
        let request = Agent::new(&Credentials::new(ufrag, password).unwrap()).request(TransactionId([7; 12]));
        transport.handle(Instant::now(), tuple(), &request);
    }

    /// The names in an object, and in the objects within it.
    fn names(value: &Value) -> Vec<String> {
        let Some(object) = value.as_object() else { return Vec::new() };
        let mut names: Vec<String> = object
            .iter()
            .flat_map(|(name, value)| {
                let inner = names(value).into_iter().map(move |inner| format!("{name}.{inner}"));
                std::iter::once(name.clone()).chain(inner)
            })
            .collect();
        names.sort();
        names
    }

    /// What mediasoup 3.11.8 said through dialog's getTransportStats, before and after a first check.
    const RECORDED: [&str; 2] = [
        r#"{"bytesReceived":0,"bytesSent":0,"dtlsState":"new","iceRole":"controlled","iceState":"new","probationBytesSent":0,"probationSendBitrate":0,"recvBitrate":0,"rtpBytesReceived":0,"rtpBytesSent":0,"rtpRecvBitrate":0,"rtpSendBitrate":0,"rtxBytesReceived":0,"rtxBytesSent":0,"rtxRecvBitrate":0,"rtxSendBitrate":0,"sendBitrate":0,"timestamp":1000303,"transportId":"b1689656-a04a-4629-b03f-e4d53daf6dfd","type":"webrtc-transport"}"#,
        r#"{"bytesReceived":968,"bytesSent":416,"dtlsState":"connecting","iceRole":"controlled","iceSelectedTuple":{"localIp":"0.0.0.0","localPort":40230,"protocol":"udp","remoteIp":"127.0.0.1","remotePort":58464},"iceState":"connected","probationBytesSent":0,"probationSendBitrate":0,"recvBitrate":5280,"rtpBytesReceived":0,"rtpBytesSent":0,"rtpRecvBitrate":0,"rtpSendBitrate":0,"rtxBytesReceived":0,"rtxBytesSent":0,"rtxRecvBitrate":0,"rtxSendBitrate":0,"sendBitrate":2176,"timestamp":1001817,"transportId":"b1689656-a04a-4629-b03f-e4d53daf6dfd","type":"webrtc-transport"}"#,
    ];

    #[test]
    fn statistics_have_the_form_of_mediasoups() {
        let mut transport = transport();
        let before = transport.stats(1)[0].take();
        check(&mut transport);
        let after = transport.stats(2)[0].take();
        for (ours, recorded) in [before, after].iter().zip(RECORDED) {
            let recorded: Value = serde_json::from_str(recorded).unwrap();
            let mut expected = names(&recorded);
            expected.retain(|name| !name.ends_with("Bitrate"));
            assert_eq!(names(ours), expected);
            for name in ["type", "iceRole", "iceState", "dtlsState"] {
                assert_eq!(ours[name], recorded[name]);
            }
        }
    }

    #[test]
    fn every_byte_is_counted() {
        let mut transport = transport();
        transport.handle(Instant::now(), tuple(), &[0x80; 100]);
        check(&mut transport);
        let sent = transport.poll_transmit().unwrap().bytes.len();
        let stats = transport.stats(1)[0].take();
        assert!(stats["bytesReceived"].as_u64().unwrap() > 100);
        assert_eq!(stats["bytesSent"], sent);
    }

    #[test]
    fn a_transport_is_connected_once() {
        let mut transport = transport();
        assert_eq!(transport.connect(Instant::now(), Role::Server, fingerprint()), Ok(()));
        assert!(transport.connect(Instant::now(), Role::Server, fingerprint()).is_err());
    }

    #[test]
    fn left_to_begin_it_begins_as_soon_as_there_is_a_path() {
        let mut transport = transport();
        transport.connect(Instant::now(), Role::Client, fingerprint()).unwrap();
        assert!(transport.poll_transmit().is_none());
        check(&mut transport);
        let first_bytes: Vec<_> =
            std::iter::from_fn(|| transport.poll_transmit()).map(|datagram| datagram.bytes[0]).collect();
        assert_eq!(first_bytes, [1, 22], "the answer to the check, then a DTLS handshake record");
    }

    #[test]
    fn dtls_along_a_path_that_has_not_passed_ice_changes_nothing() {
        let mut transport = transport();
        check(&mut transport);
        let before = transport.stats(1)[0]["iceSelectedTuple"].take();
        let strange = Tuple { remote: ([127, 0, 0, 1], 9).into(), ..tuple() };
        transport.handle(Instant::now(), strange, &[22, 254, 253]);
        assert_eq!(transport.stats(1)[0]["iceSelectedTuple"], before);
    }
}
