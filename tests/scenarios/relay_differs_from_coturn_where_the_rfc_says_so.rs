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
/// How long an answer may be late that none is expected of.
const A_WHILE: Duration = Duration::from_millis(100);

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
    ("EVEN-PORT of a wrong length", |it| {
        vec![it.allocate_with(|it| it.attribute(attribute::EVEN_PORT, b"evenly"))]
    }),
    ("a RESERVATION-TOKEN of a wrong length", |it| {
        vec![it.allocate_with(|it| it.attribute(attribute::RESERVATION_TOKEN, b"token"))]
    }),
    ("a RESERVATION-TOKEN with a family", |it| {
        let (reserved, token) = it.reserve();
        let mut other = it.another();
        let both = |it: Builder| it.reservation_token(token).requested_address_family(Family::V4);
        vec![reserved, other.allocate_with(both)]
    }),
    ("a reserved port, claimed and claimed again", |it| {
        let (reserved, token) = it.reserve();
        let claim = || it.another().allocate_with(|it| it.reservation_token(token));
        vec![reserved, claim(), claim()]
    }),
    ("a reserved port that outlives its allocation", |it| {
        let (reserved, token) = it.reserve();
        let released = it.refresh(0);
        vec![reserved, released, it.another().allocate_with(|it| it.reservation_token(token))]
    }),
    ("a retransmission of a claim", |it| {
        let (reserved, token) = it.reserve();
        let mut other = it.another();
        let claim = |it: Builder| it.requested_transport(PROTOCOL_UDP).reservation_token(token);
        let claim = other.sign(Method::Allocate, claim);
        vec![reserved, other.exchange(&claim), other.exchange(&claim)]
    }),
    ("EVEN-PORT again and again", |it| {
        (0..40).map(|_| it.another()).map(|mut it| it.allocate_with(|it| it.even_port(false))).collect()
    }),
    ("lifetimes of an Allocate, as they are granted", |it| {
        let asked = [None, Some(0), Some(1), Some(600), Some(3599), Some(3600), Some(u64::from(u32::MAX))];
        asked.map(|asked| it.another().granted(Method::Allocate, asked)).to_vec()
    }),
    ("lifetimes of a Refresh, as they are granted", |it| {
        let mut answers = vec![it.allocate()];
        for asked in [None, Some(1), Some(600), Some(3599), Some(3600), Some(u64::from(u32::MAX))] {
            answers.push(it.granted(Method::Refresh, asked));
        }
        answers
    }),
    ("a LIFETIME of a wrong length", |it| {
        let wrong = |it: Builder| it.attribute(attribute::LIFETIME, &[0, 0, 1]);
        vec![it.allocate_with(wrong), it.allocate(), it.signed(Method::Refresh, wrong)]
    }),
    ("a channel whose number is bound again to another host, port, or family", |it| {
        let mut answers = vec![it.allocate(), it.bind(0x4000, PEER)];
        for peer in ["127.0.0.2:40000", "127.0.0.1:40001", IPV6_PEER, PEER] {
            answers.push(it.bind(0x4000, peer));
        }
        answers
    }),
    ("a channel again with a number that is taken and one that is free", |it| {
        let bound = [it.allocate(), it.bind(0x4000, PEER), it.bind(0x4001, "127.0.0.2:40000")];
        let again = [it.bind(0x4001, PEER), it.bind(0x4002, PEER), it.bind(0x4000, PEER)];
        [bound, again].concat()
    }),
    ("a channel for a host that has a permission, and a permission for one that has a channel", |it| {
        let other = "127.0.0.2:40000";
        vec![
            it.allocate(),
            it.permit(&[PEER]),
            it.bind(0x4000, PEER),
            it.bind(0x4001, other),
            it.permit(&[other]),
        ]
    }),
    ("a channel for port 0", |it| vec![it.allocate(), it.bind(0x4000, "127.0.0.1:0")]),
    ("a permission for a host twice in one request", |it| vec![it.allocate(), it.permit(&[PEER, PEER])]),
    ("a permission for an address that is none", |it| {
        let broken = |it: Builder| it.attribute(attribute::XOR_PEER_ADDRESS, &[0, 1, 2, 3]);
        let of_no_family = |it: Builder| it.attribute(attribute::XOR_PEER_ADDRESS, &[0, 9, 0, 0, 1, 2, 3, 4]);
        let refused = [broken as fn(Builder) -> Builder, of_no_family];
        let mut answers = vec![it.allocate()];
        answers.extend(refused.map(|refused| it.signed(Method::CreatePermission, refused)));
        answers
    }),
    ("methods of RFC 6062, and of nobody, with credentials", |it| {
        let mut answers = vec![it.allocate()];
        for method in [0x00a, 0x00b, 0x00c, 0x2ee, 0x7ff] {
            answers.push(it.try_signed(method, Class::Request));
        }
        answers
    }),
    ("what is an indication, as a request", |it| {
        let mut answers = vec![it.allocate()];
        answers.extend([SEND, DATA].map(|method| it.try_signed(method, Class::Request)));
        answers
    }),
    ("requests as indications, and as answers", |it| {
        let mut answers = vec![it.allocate()];
        for class in [Class::Indication, Class::Success, Class::Error] {
            for method in [BINDING, ALLOCATE, REFRESH, CREATE_PERMISSION, CHANNEL_BIND] {
                answers.push(it.try_signed(method, class));
            }
        }
        answers.push(it.refresh(600));
        answers
    }),
    ("REQUESTED-TRANSPORT twice, and the first counts", |it| {
        let [udp_first, tcp_first] = [[PROTOCOL_UDP, 6], [6, PROTOCOL_UDP]].map(|protocols| {
            it.another().signed(Method::Allocate, |it| {
                protocols.iter().fold(it, |it, one| it.requested_transport(*one))
            })
        });
        vec![udp_first, tcp_first]
    }),
    ("XOR-PEER-ADDRESS twice in a ChannelBind, and the first counts", |it| {
        let mut answers = vec![it.allocate()];
        for peers in [[REFUSED, PEER], [PEER, REFUSED]] {
            answers.push(it.signed(Method::ChannelBind, |it| {
                peers
                    .iter()
                    .fold(it.channel_number(ChannelNumber::MIN), |it, peer| it.xor_peer_address(at(peer)))
            }));
        }
        answers
    }),
    ("LIFETIME twice, and the first counts", |it| {
        let allocated = it.allocate();
        let twice = |it: Builder| it.lifetime(Duration::from_mins(15)).lifetime(Duration::ZERO);
        vec![allocated, it.signed(Method::Refresh, twice), it.refresh(600)]
    }),
    ("CHANNEL-NUMBER twice, and the first counts", |it| {
        let twice = |it: Builder| {
            let numbers = [0x4007, 0x3fff].map(|number: u16| [&number.to_be_bytes()[..], &[0, 0]].concat());
            let it = numbers.iter().fold(it, |it, number| it.attribute(attribute::CHANNEL_NUMBER, number));
            it.xor_peer_address(at(PEER))
        };
        vec![it.allocate(), it.signed(Method::ChannelBind, twice), it.bind(0x4007, PEER)]
    }),
    ("long names that nobody has", |it| {
        [508, 509, 512, 513, 763]
            .map(|length| it.another().allocate_as(&"n".repeat(length), "guess"))
            .to_vec()
    }),
    ("an empty name, and one of spaces", |it| {
        ["", " "].map(|name| it.another().allocate_as(name, "guess")).to_vec()
    }),
    ("a name with what follows it", |it| {
        ["ann ", "ann\0", "Ann", "ann:correct horse"]
            .map(|name| it.another().allocate_as(name, "correct horse"))
            .to_vec()
    }),
    ("a realm of somebody else's", |it| {
        let nonce = it.challenge();
        let request =
            it.request(Method::Allocate).requested_transport(PROTOCOL_UDP).username("ann").realm("elsewhere");
        let key = IntegrityKey::long_term("ann", "elsewhere", "correct horse");
        vec![it.exchange(&request.nonce(&nonce).integrity(&key).finish())]
    }),
    ("no NONCE, an empty one, and a long one", |it| {
        let request =
            it.request(Method::Allocate).requested_transport(PROTOCOL_UDP).username("ann").realm(REALM);
        let long = "0".repeat(700);
        let mut answers = vec![it.try_exchange(&request.clone().integrity(&it.key()).finish())];
        for nonce in ["", &long] {
            let request =
                it.request(Method::Allocate).requested_transport(PROTOCOL_UDP).username("ann").realm(REALM);
            answers.push(it.try_exchange(&request.nonce(nonce).integrity(&it.key()).finish()));
        }
        answers
    }),
    ("a FINGERPRINT that is right, and one that is wrong", |it| {
        let request = it.request(Method::Binding).fingerprint().finish();
        let mut wrong = it.request(Method::Binding).fingerprint().finish();
        *wrong.last_mut().unwrap() ^= 1;
        vec![it.try_exchange(&request), it.try_exchange(&wrong)]
    }),
    ("a MESSAGE-INTEGRITY that is cut off", |it| {
        let nonce = it.challenge();
        let request = it.request(Method::Allocate).requested_transport(PROTOCOL_UDP);
        let request = request.username("ann").realm(REALM).nonce(&nonce).integrity(&it.key()).finish();
        let mut cut = request[..request.len() - 4].to_vec();
        let len = u16::try_from(cut.len() - 20).unwrap();
        cut[2..4].copy_from_slice(&len.to_be_bytes());
        let at = cut.len() - 18;
        cut[at..at + 2].copy_from_slice(&16_u16.to_be_bytes());
        vec![it.try_exchange(&cut)]
    }),
];

/// Methods, by their numbers.
const BINDING: u16 = 0x001;
const ALLOCATE: u16 = 0x003;
const REFRESH: u16 = 0x004;
const SEND: u16 = 0x006;
const DATA: u16 = 0x007;
const CREATE_PERMISSION: u16 = 0x008;
const CHANNEL_BIND: u16 = 0x009;

/// Which sequence, what hubs-relay answers, what coturn does, and what decides.
const DIFFERENCES: &[(&str, &[Answer], &[Answer], &str)] = &[
    ("an unknown method", &[SILENCE], &[401], "RFC 8489 section 6.3: it is discarded"),
    ("an Allocate for TCP", &[442], &[400], "RFC 8656 section 7.2: we relay UDP only, on purpose"),
    ("an Allocate for a transport that there is not", &[442], &[400], "RFC 8656 section 7.2"),
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
    (
        "EVEN-PORT of a wrong length",
        &[400],
        &[0],
        "RFC 8656 section 18.6: it has one octet; RFC 8489 section 14.8",
    ),
    (
        "a reserved port, claimed and claimed again",
        &[0, 0, 508],
        &[0, 0, 404],
        "RFC 8656 section 7.2: a token that is not valid any more is a 508",
    ),
    (
        "a channel for port 0",
        &[0, 403],
        &[0, 400],
        "RFC 8656 section 12.2: whoever may not be reached is a 403",
    ),
    (
        "a permission for an address that is none",
        &[0, 400, 400],
        &[0, 0, 0],
        "RFC 8656 section 10.2: an attribute that is not valid is a 400",
    ),
    (
        "methods of RFC 6062, and of nobody, with credentials",
        &[0, SILENCE, SILENCE, SILENCE, SILENCE, SILENCE],
        &[0, 403, 400, 400, 400, 400],
        "RFC 8489 section 6.3: a method that is not known is discarded",
    ),
    (
        "what is an indication, as a request",
        &[0, SILENCE, SILENCE],
        &[0, 400, 400],
        "RFC 8489 section 6.3: a class that its method does not have is discarded",
    ),
    (
        "REQUESTED-TRANSPORT twice, and the first counts",
        &[0, 442],
        &[400, 400],
        "RFC 8489 section 14: of equal attributes the first is to be read",
    ),
    (
        "XOR-PEER-ADDRESS twice in a ChannelBind, and the first counts",
        &[0, 403, 0],
        &[0, 0, 400],
        "RFC 8489 section 14: of equal attributes the first is to be read",
    ),
    (
        "CHANNEL-NUMBER twice, and the first counts",
        &[0, 0, 0],
        &[0, 400, 0],
        "RFC 8489 section 14: of equal attributes the first is to be read",
    ),
    (
        "an empty name, and one of spaces",
        &[401, 401],
        &[401, 400],
        "RFC 8489 section 9.2.4: a name that is not valid is a 401",
    ),
    (
        "a name with what follows it",
        &[401, 401, 401, 401],
        &[400, 401, 401, 400],
        "RFC 8489 section 9.2.4: a name that is not valid is a 401",
    ),
    (
        "a realm of somebody else's",
        &[401],
        &[437],
        "RFC 8489 section 9.2.4: the key is not the right one, which is a 401",
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
    // A reserved port is kept by the worker that opened it, and the kernel chooses the worker of whoever claims it.
    let text = format!(
        "realm = '{REALM}'\nlisten = ['udp://127.0.0.1:0']\n\
         relay = {{ address = '127.0.0.1', workers = 1 }}\n\
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

/// A client on a port of its own: a server that was not told that one left has its allocation still, by its port.
struct Player {
    socket: UdpSocket,
    user: (&'static str, &'static str),
    /// Instead of one that the server gives.
    nonce: Option<String>,
    transaction: u8,
}

impl Player {
    fn new(server: SocketAddr) -> Self {
        let socket = UdpSocket::bind(loopback(port::free())).unwrap();
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

    /// A client on another port.
    fn another(&self) -> Self {
        Self::new(self.socket.peer_addr().unwrap())
    }

    /// Asks for an even port and the one above it, and returns the token for that.
    fn reserve(&mut self) -> (Answer, ReservationToken) {
        let request = self.sign(Method::Allocate, |it| it.requested_transport(PROTOCOL_UDP).even_port(true));
        let answer = self.answer(&request);
        (code(&answer), answer.reservation_token().unwrap().unwrap())
    }

    /// Asks for a lifetime, and returns the one that is granted.
    fn granted(&mut self, method: Method, asked: Option<u64>) -> Answer {
        let request = self.sign(method, |it| {
            let it = if method == Method::Allocate { it.requested_transport(PROTOCOL_UDP) } else { it };
            asked.map(Duration::from_secs).into_iter().fold(it, Builder::lifetime)
        });
        self.answer(&request).lifetime().unwrap().unwrap().as_secs() as Answer
    }

    fn allocate_as(&mut self, username: &str, password: &str) -> Answer {
        let nonce = self.challenge();
        let request = self.request(Method::Allocate).requested_transport(PROTOCOL_UDP);
        let key = IntegrityKey::long_term(username, REALM, password);
        let request = request.username(username).realm(REALM).nonce(&nonce).integrity(&key);
        self.exchange(&request.finish())
    }

    /// Something of this method and class with all that anything could need, which may get no answer.
    fn try_signed(&mut self, method: u16, class: Class) -> Answer {
        let nonce = self.challenge();
        let id = self.request(Method::Binding).finish()[8..20].try_into().map(TransactionId).unwrap();
        let it = Builder::new(class, numbered(method), id).requested_transport(PROTOCOL_UDP);
        let it = it.channel_number(ChannelNumber::MIN).xor_peer_address(at(PEER)).data(b"data");
        let it = it.username(self.user.0).realm(REALM).nonce(&nonce).integrity(&self.key());
        self.try_exchange(&it.finish())
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
        self.answer(&request).nonce().unwrap().unwrap().to_owned()
    }

    fn exchange(&mut self, request: &[u8]) -> Answer {
        code(&self.answer(request))
    }

    /// The same for a request that may get no answer. A Binding behind it tells, and a while longer: coturn asks another
    /// thread for a user.
    fn try_exchange(&mut self, request: &[u8]) -> Answer {
        self.socket.send(request).unwrap();
        let binding = self.request(Method::Binding).finish();
        self.socket.send(&binding).unwrap();
        let mut answers = Vec::new();
        while !answers.iter().any(|answer| is_to(answer, &binding)) {
            answers.extend(self.receive());
        }
        if !answers.iter().any(|answer| is_to(answer, request)) {
            self.socket.set_read_timeout(Some(A_WHILE)).unwrap();
            answers.extend(self.receive());
            self.socket.set_read_timeout(Some(PATIENCE)).unwrap();
        }
        answers.iter().find(|answer| is_to(answer, request)).map_or(SILENCE, code)
    }

    /// The answer to a request that gets one.
    fn answer(&self, request: &[u8]) -> Message {
        self.socket.send(request).unwrap();
        let mut answers = std::iter::from_fn(|| self.receive());
        answers.find(|answer| is_to(answer, request)).expect("an answer")
    }

    /// The next answer, if one comes.
    fn receive(&self) -> Option<Message> {
        let mut bytes = [0; 1500];
        let len = self.socket.recv(&mut bytes).ok()?;
        Some(Message::parse(&bytes[..len]).unwrap())
    }
}

/// The method with this number, whose bits do not lie together in a message (RFC 8489 section 5).
fn numbered(method: u16) -> Method {
    let mut bytes = Builder::request(Method::Binding, TransactionId([0; 12])).finish();
    let spread = method & 0xf | (method & 0x70) << 1 | (method & 0xf80) << 2;
    bytes[..2].copy_from_slice(&spread.to_be_bytes());
    Message::parse(&bytes).unwrap().method()
}

fn is_to(answer: &Message, request: &[u8]) -> bool {
    answer.transaction().0 == request[8..20]
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
