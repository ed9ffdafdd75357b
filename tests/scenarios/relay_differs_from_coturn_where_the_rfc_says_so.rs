//! The same requests go to hubs-relay and to Debian's coturn. Where the answers differ, `DIFFERENCES` says which section of
//! which RFC decides it; a difference that it does not list fails, and so does one that it lists and that is gone.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use hubs_relay::wire::{
    AttrType, Builder, ChannelNumber, Class, Family, IntegrityKey, Message, Method, PROTOCOL_UDP,
    ReservationToken, TransactionId, attribute,
};
use hubs_relay::{Config, Relay};
use hubs_tests::bed::{REALM, loopback};
use hubs_tests::coturn;
use hubs_tests::need::{Need, skip};
use hubs_tests::port;
use tempfile::TempDir;

/// What a server says to one request: 0 for success, the code of an error, or [`SILENCE`].
type Answer = u16;
/// A client that nobody knows yet sends some requests; these are the answers.
type Sequence = fn(&mut Player) -> Vec<Answer>;

const SILENCE: Answer = u16::MAX;
const USERS: [(&str, &str); 2] = [("ann", "correct horse"), ("bob", "battery staple")];
/// A peer that may be reached, one that may not, and one of the family that an allocation does not have.
const PEER: &str = "127.0.0.1:40000";
const REFUSED: &str = "10.0.0.1:40000";
const IPV6_PEER: &str = "[2001:db8::5]:40000";
const UNKNOWN: AttrType = AttrType(0x7777);
const ADDITIONAL_ADDRESS_FAMILY: AttrType = AttrType(0x8000);
/// How long an answer may take; nothing waits this long on success.
const PATIENCE: Duration = Duration::from_secs(10);

const CORPUS: &[(&str, Sequence)] = &[
    ("a Binding", |it| vec![it.unsigned(Method::Binding, |it| it)]),
    ("a Binding with an unknown attribute", |it| {
        vec![it.unsigned(Method::Binding, |it| it.attribute(UNKNOWN, b""))]
    }),
    ("requests without credentials", |it| {
        [Method::Allocate, Method::Refresh, Method::CreatePermission, Method::ChannelBind]
            .map(|method| it.unsigned(method, |it| it))
            .to_vec()
    }),
    ("an unknown method", |it| {
        let mut request = it.request(Method::Refresh).finish();
        request[..2].copy_from_slice(&[0x02, 0xee]);
        vec![it.try_exchange(&request)]
    }),
    ("an Allocate, its retransmission, and another", |it| {
        let request = it.sign(Method::Allocate, |it| it.requested_transport(PROTOCOL_UDP));
        vec![it.exchange(&request), it.exchange(&request), it.allocate()]
    }),
    ("an Allocate without transport", |it| vec![it.signed(Method::Allocate, |it| it)]),
    ("an Allocate for TCP", |it| vec![it.signed(Method::Allocate, |it| it.requested_transport(6))]),
    ("an Allocate for a transport that there is not", |it| {
        vec![it.signed(Method::Allocate, |it| it.requested_transport(99))]
    }),
    ("an Allocate with an unknown attribute", |it| vec![it.allocate_with(|it| it.attribute(UNKNOWN, b""))]),
    ("DONT-FRAGMENT", |it| vec![it.allocate_with(|it| it.attribute(attribute::DONT_FRAGMENT, b""))]),
    ("EVEN-PORT", |it| vec![it.allocate_with(|it| it.even_port(false))]),
    ("EVEN-PORT that reserves", |it| vec![it.allocate_with(|it| it.even_port(true))]),
    ("a made up RESERVATION-TOKEN", |it| {
        vec![it.allocate_with(|it| it.reservation_token(ReservationToken([1; 8])))]
    }),
    ("a RESERVATION-TOKEN with EVEN-PORT", |it| {
        vec![it.allocate_with(|it| it.reservation_token(ReservationToken([1; 8])).even_port(false))]
    }),
    ("IPv4 asked for", |it| vec![it.allocate_with(|it| it.requested_address_family(Family::V4))]),
    ("IPv6 asked for where there is none", |it| {
        vec![it.allocate_with(|it| it.requested_address_family(Family::V6))]
    }),
    ("a family that there is not", |it| {
        vec![it.allocate_with(|it| it.attribute(attribute::REQUESTED_ADDRESS_FAMILY, &[9, 0, 0, 0]))]
    }),
    ("both families asked for where IPv6 is missing", |it| {
        vec![it.allocate_with(|it| it.attribute(ADDITIONAL_ADDRESS_FAMILY, &[2, 0, 0, 0]))]
    }),
    ("requests without an allocation", |it| vec![it.refresh(600), it.permit(&[PEER]), it.bind(0x4000, PEER)]),
    ("a Refresh, the last one, and one too many", |it| {
        vec![it.allocate(), it.refresh(600), it.refresh(0), it.refresh(600)]
    }),
    ("an Allocate after the last Refresh", |it| vec![it.allocate(), it.refresh(0), it.allocate()]),
    ("a Refresh for another family", |it| {
        vec![it.allocate(), it.signed(Method::Refresh, |it| it.requested_address_family(Family::V6))]
    }),
    ("another user's requests", |it| {
        let mut answers = vec![it.allocate()];
        it.user = USERS[1];
        answers.extend([it.refresh(600), it.permit(&[PEER]), it.bind(0x4000, PEER), it.allocate()]);
        answers
    }),
    ("a wrong password", |it| {
        it.user = ("ann", "wrong horse");
        vec![it.allocate()]
    }),
    ("a user that there is not", |it| {
        it.user = ("eve", "guess");
        vec![it.allocate()]
    }),
    ("a nonce that nobody gave", |it| {
        let _ = it.allocate();
        it.nonce = Some("made up".to_owned());
        vec![it.refresh(600)]
    }),
    ("MESSAGE-INTEGRITY without USERNAME", |it| {
        let nonce = it.challenge();
        let request = it.request(Method::Allocate).requested_transport(PROTOCOL_UDP).realm(REALM);
        vec![it.exchange(&request.nonce(&nonce).integrity(&it.key()).finish())]
    }),
    ("permissions for one, for two, and for none", |it| {
        vec![it.allocate(), it.permit(&[PEER]), it.permit(&[PEER, "127.0.0.2:40000"]), it.permit(&[])]
    }),
    ("permissions that are refused, alone and in company", |it| {
        vec![it.allocate(), it.permit(&[REFUSED]), it.permit(&[PEER, REFUSED])]
    }),
    ("a permission with port 0", |it| vec![it.allocate(), it.permit(&["127.0.0.1:0"])]),
    ("a permission and a channel for the other family", |it| {
        vec![it.allocate(), it.permit(&[IPV6_PEER]), it.bind(0x4000, IPV6_PEER)]
    }),
    ("a channel, and the same again", |it| vec![it.allocate(), it.bind(0x4000, PEER), it.bind(0x4000, PEER)]),
    ("a channel for two peers", |it| {
        vec![it.allocate(), it.bind(0x4000, PEER), it.bind(0x4000, "127.0.0.1:40001")]
    }),
    ("two channels for a peer", |it| vec![it.allocate(), it.bind(0x4000, PEER), it.bind(0x4001, PEER)]),
    ("a channel that is refused", |it| vec![it.allocate(), it.bind(0x4000, REFUSED)]),
    ("channels at the edges of the range", |it| {
        let mut answers = vec![it.allocate()];
        for (channel, port) in [(0x3fff, 1), (0x4fff, 2), (0x5000, 3), (0x7fff, 4), (0x8000, 5), (0xffff, 6)]
        {
            answers.push(it.bind(channel, &format!("127.0.0.1:4000{port}")));
        }
        answers
    }),
    ("a ChannelBind without its peer, and without its number", |it| {
        vec![
            it.allocate(),
            it.signed(Method::ChannelBind, |it| it.channel_number(ChannelNumber::MIN)),
            it.signed(Method::ChannelBind, |it| it.xor_peer_address(at(PEER))),
        ]
    }),
    ("an attribute behind MESSAGE-INTEGRITY", |it| {
        let mut answers = vec![it.allocate()];
        let nonce = it.challenge();
        let (user, _) = it.user;
        let request = it.request(Method::Refresh).username(user).realm(REALM).nonce(&nonce);
        let request = request.integrity(&it.key()).lifetime(Duration::ZERO).finish();
        answers.extend([it.exchange(&request), it.refresh(600)]);
        answers
    }),
];

/// Which sequence, what hubs-relay answers, what coturn does, and what decides.
const DIFFERENCES: &[(&str, &[Answer], &[Answer], &str)] = &[
    ("an unknown method", &[SILENCE], &[401], "RFC 8489 section 6.3: it is discarded"),
    ("an Allocate for TCP", &[442], &[400], "RFC 8656 section 7.2: we relay UDP only, on purpose"),
    ("an Allocate for a transport that there is not", &[442], &[400], "RFC 8656 section 7.2"),
    ("DONT-FRAGMENT", &[420], &[0], "RFC 8656 section 7.2: who does not set the bit says 420"),
    ("a made up RESERVATION-TOKEN", &[508], &[404], "RFC 8656 section 7.2"),
    ("requests without an allocation", &[437, 437, 437], &[437, 400, 400], "RFC 8656 section 5"),
    (
        "a Refresh, the last one, and one too many",
        &[0, 0, 0, 437],
        &[0, 0, 0, 0],
        "RFC 8656 section 8.2: with lifetime 0 the allocation is deleted",
    ),
    (
        "an Allocate after the last Refresh",
        &[0, 0, 0],
        &[0, 0, 437],
        "RFC 8656 section 8.2: with lifetime 0 the allocation is deleted",
    ),
];

#[test]
fn relay_differs_from_coturn_where_the_rfc_says_so() {
    if skip(&[&[Need::Program("turnserver")]]) {
        return;
    }
    let folder = TempDir::new().unwrap();
    let coturns = loopback(port::free());
    let _coturn = coturn::start(folder.path(), coturns, &USERS);
    let text = format!(
        "realm = '{REALM}'\nlisten = ['udp://127.0.0.1:0']\nrelay.address = '127.0.0.1'\n\
         auth.users = {{ ann = 'correct horse', bob = 'battery staple' }}\n\
         peers.allow = ['127.0.0.0/8:1024-65535', '[2001:db8::5]:1024-65535']\n"
    );
    let relay = Relay::start(&Config::from_text(&text, None, []).unwrap()).unwrap();

    let mut wrong = Vec::new();
    for (name, play) in CORPUS {
        let ours = play(&mut Player::new(relay.listeners()[0].address));
        let theirs = play(&mut Player::new(coturns));
        let listed = DIFFERENCES.iter().find(|it| it.0 == *name);
        let is_right = match listed {
            Some((_, expected, coturns, _)) => ours == *expected && theirs == *coturns,
            None => ours == theirs,
        };
        if !is_right {
            wrong.push(format!("{name}: hubs-relay {ours:?}, coturn {theirs:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let stray = DIFFERENCES.iter().find(|it| !CORPUS.iter().any(|(name, _)| *name == it.0) || it.1 == it.2);
    assert_eq!(stray, None);
}

/// A client on a port of its own.
struct Player {
    socket: UdpSocket,
    user: (&'static str, &'static str),
    /// Instead of one that the server gives.
    nonce: Option<String>,
    transaction: u8,
}

impl Player {
    fn new(server: SocketAddr) -> Self {
        let socket = UdpSocket::bind(loopback(0)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.connect(server).unwrap();
        Self { socket, user: USERS[0], nonce: None, transaction: 0 }
    }

    fn allocate(&mut self) -> Answer {
        self.allocate_with(|it| it)
    }

    fn allocate_with(&mut self, fill: impl FnOnce(Builder) -> Builder) -> Answer {
        self.signed(Method::Allocate, |it| fill(it.requested_transport(PROTOCOL_UDP)))
    }

    fn refresh(&mut self, seconds: u64) -> Answer {
        self.signed(Method::Refresh, |it| it.lifetime(Duration::from_secs(seconds)))
    }

    fn permit(&mut self, peers: &[&str]) -> Answer {
        self.signed(Method::CreatePermission, |it| {
            peers.iter().fold(it, |it, peer| it.xor_peer_address(at(peer)))
        })
    }

    fn bind(&mut self, channel: u16, peer: &str) -> Answer {
        let value = [&channel.to_be_bytes()[..], &[0, 0]].concat();
        self.signed(Method::ChannelBind, |it| {
            it.attribute(attribute::CHANNEL_NUMBER, &value).xor_peer_address(at(peer))
        })
    }

    fn unsigned(&mut self, method: Method, fill: impl FnOnce(Builder) -> Builder) -> Answer {
        let request = fill(self.request(method)).finish();
        self.exchange(&request)
    }

    fn signed(&mut self, method: Method, fill: impl FnOnce(Builder) -> Builder) -> Answer {
        let request = self.sign(method, fill);
        self.exchange(&request)
    }

    fn sign(&mut self, method: Method, fill: impl FnOnce(Builder) -> Builder) -> Vec<u8> {
        let nonce = self.challenge();
        let request = fill(self.request(method)).username(self.user.0).realm(REALM).nonce(&nonce);
        request.integrity(&self.key()).finish()
    }

    fn key(&self) -> IntegrityKey {
        let (user, password) = self.user;
        IntegrityKey::long_term(user, REALM, password)
    }

    fn request(&mut self, method: Method) -> Builder {
        self.transaction += 1;
        Builder::request(method, TransactionId([self.transaction; 12]))
    }

    fn challenge(&mut self) -> String {
        if let Some(nonce) = &self.nonce {
            return nonce.clone();
        }
        let request = self.request(Method::Refresh).finish();
        self.socket.send(&request).unwrap();
        self.receive().nonce().unwrap().unwrap().to_owned()
    }

    fn exchange(&mut self, request: &[u8]) -> Answer {
        self.socket.send(request).unwrap();
        let answer = self.receive();
        assert_eq!(answer.transaction().0, request[8..20]);
        code(&answer)
    }

    /// The same for a request without credentials that may get no answer. A Binding behind it tells: coturn answers both on
    /// the same thread.
    fn try_exchange(&mut self, request: &[u8]) -> Answer {
        self.socket.send(request).unwrap();
        let binding = self.request(Method::Binding);
        self.socket.send(&binding.finish()).unwrap();
        let first = self.receive();
        if first.transaction().0 != request[8..20] {
            return SILENCE;
        }
        let _ = self.receive();
        code(&first)
    }

    fn receive(&self) -> Message {
        let mut bytes = [0; 1500];
        let len = self.socket.recv(&mut bytes).unwrap();
        Message::parse(&bytes[..len]).unwrap()
    }
}

fn code(answer: &Message) -> Answer {
    match answer.class() {
        Class::Success => 0,
        _ => answer.error_code().unwrap().unwrap().0.0,
    }
}

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}
