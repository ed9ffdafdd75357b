//! RFC 5769's vectors, properties, and an independent codec (`stun-types`, `turn-types`) as the oracle.

use std::net::SocketAddr;
use std::time::Duration;

use proptest::prelude::*;
use stun_types::message as oracle;
use turn_types::channel as oracle_channel;

use super::*;

const TRANSACTION: TransactionId = TransactionId(*b"transaction!");

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

mod rfc5769 {
    use super::*;

    const PASSWORD: &str = "VOkJxbRl1RmTxUk/WvJxBt";
    const ID: TransactionId =
        TransactionId([0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae]);

    #[test]
    fn section_2_1_sample_request() {
        let bytes = hex("00010058 2112a442 b7e7a701 bc34d686 fa87dfae
             80220010 5354554e 20746573 7420636c 69656e74
             00240004 6e0001ff
             80290008 932ff9b1 51263b36
             00060009 6576746a 3a683676 59202020
             00080014 9aeaa70c bfd8cb56 781ef2b5 b2d3f249 c1b571a2
             80280004 e57a3bcf");
        let message = Message::parse(&bytes).unwrap();
        assert_eq!((message.class(), message.method()), (Class::Request, Method::Binding));
        assert_eq!(message.transaction(), ID);
        assert_eq!(message.software(), Ok(Some("STUN test client")));
        assert_eq!(message.attribute(attribute::PRIORITY), Some(&[0x6e, 0x00, 0x01, 0xff][..]));
        assert_eq!(message.username(), Ok(Some("evtj:h6vY")));
        assert!(message.verify(&IntegrityKey::short_term(PASSWORD)));
        assert!(!message.verify(&IntegrityKey::short_term("another")));
    }

    #[test]
    fn section_2_2_sample_ipv4_response() {
        let bytes = hex("0101003c 2112a442 b7e7a701 bc34d686 fa87dfae
             8022000b 74657374 20766563 746f7220
             00200008 0001a147 e112a643
             00080014 2b91f599 fd9e90c3 8c7489f9 2af9ba53 f06be7d7
             80280004 c07d4c96");
        let message = Message::parse(&bytes).unwrap();
        assert_eq!((message.class(), message.method()), (Class::Success, Method::Binding));
        assert_eq!(message.software(), Ok(Some("test vector")));
        assert_eq!(message.xor_mapped_address(), Ok(Some("192.0.2.1:32853".parse().unwrap())));
        assert!(message.verify(&IntegrityKey::short_term(PASSWORD)));
    }

    #[test]
    fn section_2_3_sample_ipv6_response() {
        let bytes = hex("01010048 2112a442 b7e7a701 bc34d686 fa87dfae
             8022000b 74657374 20766563 746f7220
             00200014 0002a147 0113a9fa a5d3f179 bc25f4b5 bed2b9d9
             00080014 a382954e 4be67bf1 1784c97c 8292c275 bfe3ed41
             80280004 c8fb0b4c");
        let message = Message::parse(&bytes).unwrap();
        let mapped = "[2001:db8:1234:5678:11:2233:4455:6677]:32853".parse().unwrap();
        assert_eq!(message.xor_mapped_address(), Ok(Some(mapped)));
        assert!(message.verify(&IntegrityKey::short_term(PASSWORD)));
    }

    #[test]
    fn section_2_4_sample_request_with_long_term_authentication() {
        let bytes = hex("00010060 2112a442 78ad3433 c6ad72c0 29da412e
             00060012 e3839ee3 8388e383 aae38383 e382afe3 82b90000
             0015001c 662f2f34 39396b39 35346436 4f4c3334 6f4c3946 53547679 36347341
             0014000b 6578616d 706c652e 6f726700
             00080014 f6702465 6dd64a3e 02b8e071 2e85c9a2 8ca89666");
        let message = Message::parse(&bytes).unwrap();
        assert_eq!(message.username(), Ok(Some("マトリックス")));
        assert_eq!(message.nonce(), Ok(Some("f//499k954d6OL34oL9FSTvy64sA")));
        assert_eq!(message.realm(), Ok(Some("example.org")));
        // The password is given after SASLprep, which makes "TheMatrIX" of what a person typed.
        assert!(message.verify(&IntegrityKey::long_term("マトリックス", "example.org", "TheMatrIX")));
        // Without padding bytes of its own choice, the vector is what the builder writes.
        let built = Builder::request(Method::Binding, message.transaction())
            .username("マトリックス")
            .nonce("f//499k954d6OL34oL9FSTvy64sA")
            .realm("example.org")
            .integrity(&IntegrityKey::long_term("マトリックス", "example.org", "TheMatrIX"))
            .finish();
        assert_eq!(built, bytes);
    }
}

/// RFC 8489 appendix B.1, a request with a USERHASH, SHA-256 and MESSAGE-INTEGRITY-SHA256.
#[test]
fn rfc8489_sample_request_with_long_term_authentication() {
    let bytes = hex("00010090 2112a442 78ad3433 c6ad72c0 29da412e
         001e0020 4a3cf38f ef6992bd a952c678 0417da0f 24819415 569e60b2 05c46e41 407f1704
         00150029 6f624d61 744a6f73 32414141 43662f2f 3439396b 39353464 364f4c33 346f4c39 46535476 79363473
                  41000000
         0014000b 6578616d 706c652e 6f726700
         001d0004 00020000
         001c0020 b5c7bf00 5b6c52a2 1c51c5e8 92f81924 136296cb 927c4314 9309278c c6518e65");
    let message = Message::parse(&bytes).unwrap();
    assert_eq!(message.integrity(), Some(Integrity::Sha256));
    let (username, realm) = ("マトリックス", "example.org");
    let hash = userhash(username, realm);
    assert_eq!(message.userhash(), Ok(Some(hash)));
    let key = |algorithm| IntegrityKey::derived(algorithm, username, realm, "TheMatrIX");
    assert!(message.verify(&key(PasswordAlgorithm::Sha256)));
    assert!(!message.verify(&key(PasswordAlgorithm::Md5)));
    let built = Builder::request(Method::Binding, message.transaction())
        .userhash(&hash)
        .nonce("obMatJos2AAACf//499k954d6OL34oL9FSTvy64sA")
        .realm(realm)
        .password_algorithm(PasswordAlgorithm::Sha256)
        .sign(Integrity::Sha256, &key(PasswordAlgorithm::Sha256))
        .finish();
    assert_eq!(built, bytes);
}

#[test]
fn of_two_signatures_the_stronger_one_counts_and_covers_the_other() {
    let key = IntegrityKey::short_term("secret");
    let both = allocate(&key).sign(Integrity::Sha256, &key).fingerprint().finish();
    let message = Message::parse(&both).unwrap();
    assert_eq!(message.integrity(), Some(Integrity::Sha256));
    assert!(message.verify(&key));
    // A byte of the weaker one changes.
    let mut tampered = allocate(&key).sign(Integrity::Sha256, &key).finish();
    let weaker = tampered.len() - 36 - 1;
    tampered[weaker] ^= 1;
    assert!(!Message::parse(&tampered).unwrap().verify(&key));
    // In the wrong order only the first one is there.
    let request = Builder::request(Method::Allocate, TRANSACTION);
    let wrong_order =
        request.sign(Integrity::Sha256, &key).sign(Integrity::Sha1, &IntegrityKey::short_term("x"));
    let message = Message::parse(&wrong_order.finish()).unwrap();
    assert_eq!(message.integrity(), Some(Integrity::Sha256));
    assert!(message.verify(&key));
}

#[test]
fn a_message_integrity_sha256_may_be_cut_to_half_and_no_further() {
    let key = IntegrityKey::short_term("secret");
    for (len, is_good) in
        [(0, false), (12, false), (15, false), (16, true), (18, false), (28, true), (36, false)]
    {
        let request = Builder::request(Method::Allocate, TRANSACTION);
        // The HMAC covers a length that ends with the attribute, as long as it is (RFC 8489 section 14.6).
        let unsigned = request.clone().attribute(attribute::MESSAGE_INTEGRITY_SHA256, &vec![0; len]).finish();
        let mut covered = unsigned[..20].to_vec();
        covered[2..4].copy_from_slice(&(len as u16 + 4).to_be_bytes());
        let tag = ring::hmac::sign(&ring::hmac::Key::new(ring::hmac::HMAC_SHA256, b"secret"), &covered);
        let mac = [tag.as_ref(), &[0; 4]].concat();
        let signed = request.attribute(attribute::MESSAGE_INTEGRITY_SHA256, &mac[..len]).finish();
        assert_eq!(Message::parse(&signed).unwrap().verify(&key), is_good, "{len} bytes");
    }
}

/// RFC 8656 section 18.13: 7 bits for the type, 9 for the code. (The oracle takes 8 for each.)
#[test]
fn an_icmp_attribute_looks_as_in_the_rfcs_figure() {
    let icmp = Icmp { kind: 3, code: 4, data: 1280 };
    let bytes = Builder::new(Class::Indication, Method::Data, TRANSACTION).icmp(icmp).finish();
    assert_eq!(bytes[MESSAGE_HEADER_LEN..], [0x80, 0x04, 0, 8, 0, 0, 0b0000_0110, 0b0000_0100, 0, 0, 5, 0]);
    assert_eq!(Message::parse(&bytes).unwrap().icmp(), Ok(Some(icmp)));
}

#[test]
fn an_address_error_code_says_what_the_oracle_reads() {
    let lacks = (Family::V6, ErrorCode::ADDRESS_FAMILY_NOT_SUPPORTED);
    let bytes =
        Builder::new(Class::Success, Method::Allocate, TRANSACTION).address_error_code(lacks.0, lacks.1);
    let bytes = bytes.finish();
    assert_eq!(Message::parse(&bytes).unwrap().address_error_code(), Ok(Some(lacks)));
    let theirs = oracle::Message::from_bytes(&bytes).unwrap();
    let theirs = theirs.attribute::<turn_types::attribute::AddressErrorCode>().unwrap();
    assert_eq!(theirs.error().code(), 440);
}

fn allocate(key: &IntegrityKey) -> Builder {
    Builder::request(Method::Allocate, TRANSACTION)
        .requested_transport(PROTOCOL_UDP)
        .username("1700000000:coturn")
        .integrity(key)
}

#[test]
fn attributes_behind_message_integrity_are_not_there() {
    let key = IntegrityKey::short_term("secret");
    let bytes = allocate(&key).lifetime(Duration::from_secs(5)).attribute(AttrType(0x7777), &[]).finish();
    let message = Message::parse(&bytes).unwrap();
    assert!(message.verify(&key));
    assert_eq!(message.lifetime(), Ok(None));
    assert_eq!(message.requested_transport(), Ok(Some(PROTOCOL_UDP)));
    assert!(message.unknown_required(&[attribute::REQUESTED_TRANSPORT, attribute::USERNAME]).is_empty());
}

#[test]
fn the_first_of_two_equal_attributes_counts() {
    let first: SocketAddr = "192.0.2.1:1".parse().unwrap();
    let second: SocketAddr = "192.0.2.2:2".parse().unwrap();
    let bytes = Builder::request(Method::ChannelBind, TRANSACTION)
        .xor_peer_address(first)
        .xor_peer_address(second)
        .lifetime(Duration::from_secs(1))
        .lifetime(Duration::from_secs(2))
        .finish();
    let message = Message::parse(&bytes).unwrap();
    assert_eq!(message.xor_peer_address(), Ok(Some(first)));
    assert_eq!(message.xor_peer_addresses().collect::<Vec<_>>(), [Ok(first), Ok(second)]);
    assert_eq!(message.lifetime(), Ok(Some(Duration::from_secs(1))));
}

#[test]
fn a_wrong_or_misplaced_fingerprint_makes_a_message_malformed() {
    let request = Builder::request(Method::Binding, TRANSACTION);
    let mut bytes = request.clone().fingerprint().finish();
    assert!(Message::parse(&bytes).is_ok());
    let misplaced = request.fingerprint().software("late").finish();
    assert_eq!(Message::parse(&misplaced).unwrap_err(), Malformed::Fingerprint);
    *bytes.last_mut().unwrap() ^= 1;
    assert_eq!(Message::parse(&bytes).unwrap_err(), Malformed::Fingerprint);
}

#[test]
fn unknown_attributes_are_those_that_must_be_understood_each_once() {
    let bytes = Builder::request(Method::Allocate, TRANSACTION)
        .attribute(AttrType(0x7fff), &[1])
        .attribute(AttrType(0x8000), &[2])
        .attribute(AttrType(0x7fff), &[3])
        .username("known")
        .finish();
    let message = Message::parse(&bytes).unwrap();
    assert_eq!(message.unknown_required(&[attribute::USERNAME]), [AttrType(0x7fff)]);
}

#[test]
fn of_unknown_attributes_no_more_are_looked_for_than_an_answer_lists() {
    let request = Builder::request(Method::Allocate, TRANSACTION);
    let many = (0x4000..0x7000).fold(request, |request, number| request.attribute(AttrType(number), &[]));
    let unknown = Message::parse(&many.finish()).unwrap().unknown_required(&[AttrType(0x4000)]);
    assert_eq!(unknown, (0x4001..=0x4010).map(AttrType).collect::<Vec<_>>());
}

#[test]
fn a_message_integrity_of_the_wrong_length_verifies_with_no_key() {
    let bytes = Builder::request(Method::Binding, TRANSACTION)
        .attribute(attribute::MESSAGE_INTEGRITY, &[0; 4])
        .finish();
    let message = Message::parse(&bytes).unwrap();
    assert_eq!(message.integrity(), Some(Integrity::Sha1));
    assert!(!message.verify(&IntegrityKey::short_term("secret")));
}

#[test]
fn an_address_whose_length_does_not_fit_its_family_is_malformed() {
    let bytes = Builder::request(Method::CreatePermission, TRANSACTION)
        .attribute(attribute::XOR_PEER_ADDRESS, &[0, 1, 0, 0, 1, 2])
        .finish();
    let message = Message::parse(&bytes).unwrap();
    assert_eq!(message.xor_peer_address(), Err(BadAttribute(attribute::XOR_PEER_ADDRESS)));
}

#[test]
fn channels_outside_0x4000_to_0x7fff_do_not_exist() {
    for number in [0x3fff_u16, 0x8000, 0xffff] {
        let [high, low] = number.to_be_bytes();
        assert_eq!(ChannelNumber::new(number), None);
        assert_eq!(Frame::of_datagram(&[high, low, 0, 0]), None);
    }
    for number in [0x4000_u16, 0x7fff] {
        let [high, low] = number.to_be_bytes();
        assert!(matches!(Frame::of_datagram(&[high, low, 0, 0]), Some(Frame::ChannelData(_))));
    }
}

#[test]
fn a_channel_data_length_beyond_the_datagram_is_no_frame() {
    assert_eq!(Frame::of_datagram(&[0x40, 0, 0, 5, 1, 2, 3, 4]), None);
    let padded = [0x40, 0, 0, 3, 1, 2, 3, 0];
    let Some(Frame::ChannelData(data)) = Frame::of_datagram(&padded) else { panic!("a frame") };
    assert_eq!(data.payload, [1, 2, 3]);
}

#[test]
fn a_send_indication_with_an_unknown_attribute_is_discarded() {
    let send = Builder::new(Class::Indication, Method::Send, TRANSACTION)
        .xor_peer_address("192.0.2.1:40000".parse().unwrap())
        .data(b"media");
    assert!(Indication::read(&send.clone().finish()).is_some());
    assert!(Indication::read(&send.clone().software("optional").fingerprint().finish()).is_some());
    assert_eq!(Indication::read(&send.clone().attribute(AttrType(0x7777), &[]).finish()), None);
    let whole = send.clone().dont_fragment().finish();
    assert_eq!(Indication::read(&whole).unwrap().fragmentation, Fragmentation::Forbidden);
    let mut bad_crc = send.fingerprint().finish();
    *bad_crc.last_mut().unwrap() ^= 1;
    assert_eq!(Indication::read(&bad_crc), None);
}

#[test]
fn a_fingerprint_that_is_not_the_last_attribute_of_an_indication_makes_it_discarded() {
    let send = Builder::new(Class::Indication, Method::Send, TRANSACTION)
        .xor_peer_address("192.0.2.1:40000".parse().unwrap())
        .data(b"media");
    let at = send.clone().finish().len();
    for behind in [send.clone().fingerprint().software("late"), send.fingerprint().fingerprint()] {
        let mut bytes = behind.finish();
        // Right for what stands before it.
        let crc = rtc_stun::fingerprint::fingerprint_value(&bytes[..at]);
        bytes[at + 4..at + 8].copy_from_slice(&crc.to_be_bytes());
        assert_eq!(Indication::read(&bytes), None);
    }
}

#[test]
fn a_key_does_not_print() {
    assert_eq!(format!("{:?}", IntegrityKey::short_term("hunter2")), "IntegrityKey(…)");
}

#[test]
fn a_stream_that_is_not_turn_is_refused_at_the_first_byte_that_tells() {
    let refused = |bytes: &[u8]| StreamDecoder::new(2048).decode(bytes, |_| {}).is_err();
    // "GE" is a channel number and "T " a length, which is where a stranger's limit helps.
    assert!(refused(b"GET / HTTP/1.1\r\n"));
    assert!(refused(&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01]), "a TLS hello");
    assert!(refused(&[0xff, 0xff, 0, 0]));
    assert!(refused(&[0, 1, 0, 3]));
    assert!(!refused(&[0, 1, 0, 4, 0x21, 0x12]));
}

#[test]
fn a_stream_frame_longer_than_the_limit_is_refused_by_its_header_alone() {
    let mut decoder = StreamDecoder::new(100);
    let result = decoder.decode(&[0x40, 0, 0, 97], |_| {});
    assert_eq!(result, Err(NotTurn::TooLong { len: 104, limit: 100 }));
}

/// One frame as it travels on a stream, and what the decoder has to make of it.
#[derive(Clone, Debug)]
enum Sent {
    Message(Vec<u8>),
    ChannelData(u16, Vec<u8>),
}

fn sent() -> impl Strategy<Value = Sent> {
    let payload = || proptest::collection::vec(any::<u8>(), 0..200);
    prop_oneof![
        payload().prop_map(|data| {
            Sent::Message(Builder::new(Class::Indication, Method::Data, TRANSACTION).data(&data).finish())
        }),
        (0x4000_u16..=0x7fff, payload()).prop_map(|(channel, data)| Sent::ChannelData(channel, data)),
    ]
}

impl Sent {
    fn write(&self, stream: &mut Vec<u8>) {
        match self {
            Self::Message(bytes) => stream.extend_from_slice(bytes),
            Self::ChannelData(channel, data) => {
                let channel = ChannelNumber::new(*channel).unwrap();
                stream.extend_from_slice(&ChannelData::header(channel, data.len() as u16));
                stream.extend_from_slice(data);
                stream.resize(stream.len() + ChannelData::stream_padding(data.len()), 0);
            }
        }
    }

    fn of(frame: Frame<'_>) -> Self {
        match frame {
            Frame::Message(bytes) => Self::Message(bytes.to_vec()),
            Frame::ChannelData(data) => Self::ChannelData(data.channel.get(), data.payload.to_vec()),
        }
    }
}

impl PartialEq for Sent {
    fn eq(&self, other: &Self) -> bool {
        let [mut left, mut right] = [vec![], vec![]];
        self.write(&mut left);
        other.write(&mut right);
        left == right
    }
}

/// Bytes that get past the header check often enough to be interesting.
fn nearly_messages() -> impl Strategy<Value = Vec<u8>> {
    (any::<[u8; 2]>(), any::<[u8; 12]>(), proptest::collection::vec(any::<[u8; 4]>(), 0..40)).prop_map(
        |([high, low], transaction, words)| {
            let body: Vec<u8> = words.concat();
            let mut bytes = vec![high & 0x3f, low];
            bytes.extend_from_slice(&(body.len() as u16).to_be_bytes());
            bytes.extend_from_slice(&MAGIC_COOKIE);
            bytes.extend_from_slice(&transaction);
            bytes.extend_from_slice(&body);
            bytes
        },
    )
}

/// Well-formed attributes of arbitrary types and values.
fn attributes() -> impl Strategy<Value = Vec<(u16, Vec<u8>)>> {
    let attr = prop_oneof![any::<u16>(), 0_u16..0x30, Just(0x0012), Just(0x0013), Just(0x8028)];
    proptest::collection::vec((attr, proptest::collection::vec(any::<u8>(), 0..30)), 0..8)
}

fn build(attributes: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let start = Builder::request(Method::Allocate, TRANSACTION);
    attributes.iter().fold(start, |message, (attr, value)| message.attribute(AttrType(*attr), value)).finish()
}

/// Reads a message with every accessor there is; only a panic could go wrong.
fn read_everything(message: &Message) {
    let _ = (message.username(), message.realm(), message.nonce(), message.software(), message.error_code());
    let _ =
        (message.xor_mapped_address(), message.xor_relayed_address(), message.xor_peer_addresses().count());
    let _ = (message.lifetime(), message.channel_number(), message.requested_transport(), message.data());
    let _ = (message.requested_address_family(), message.unknown_required(&[]), message.userhash());
    let _ = (message.additional_address_family(), message.address_error_code(), message.icmp());
    let _ = message.verify(&IntegrityKey::short_term("key"));
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(message) = Message::parse(&bytes) {
            read_everything(&message);
        }
        let _ = (Frame::of_datagram(&bytes), Indication::read(&bytes));
        let _ = StreamDecoder::new(100).decode(&bytes, |_| {});
    }

    #[test]
    fn nearly_correct_messages_never_panic_and_parse_where_the_oracle_parses(bytes in nearly_messages()) {
        let ours = Message::parse(&bytes);
        let theirs = oracle::Message::from_bytes(&bytes);
        if let Ok(message) = &ours {
            read_everything(message);
            prop_assert!(theirs.is_ok(), "{:?}", theirs);
        }
        let _ = Indication::read(&bytes);
    }

    #[test]
    fn attributes_read_as_the_oracle_reads_them(attributes in attributes()) {
        let bytes = build(&attributes);
        let (Ok(ours), Ok(theirs)) = (Message::parse(&bytes), oracle::Message::from_bytes(&bytes)) else {
            return Ok(());
        };
        read_everything(&ours);
        if ours.integrity().is_some() {
            return Ok(());
        }
        for (attr, _) in &attributes {
            // The codec takes 0x8020, from a draft, for XOR-MAPPED-ADDRESS.
            if !matches!(attr, 0x0020 | 0x8020) {
                let raw = theirs.raw_attribute((*attr).into());
                prop_assert_eq!(ours.attribute(AttrType(*attr)), raw.as_ref().map(|it| &*it.value));
            }
        }
        let peer = theirs.attribute::<turn_types::attribute::XorPeerAddress>().ok();
        prop_assert_eq!(
            ours.xor_peer_address().ok().flatten(),
            peer.map(|it| it.addr(theirs.transaction_id()))
        );
    }

    #[test]
    fn what_we_sign_the_oracle_verifies(username in "\\PC{0,20}", password in "\\PC{1,20}", software in "\\PC{0,30}") {
        let key = IntegrityKey::long_term(&username, "turkey", &password);
        let bytes = Builder::request(Method::Refresh, TRANSACTION)
            .username(&username)
            .software(&software)
            .integrity(&key)
            .fingerprint()
            .finish();
        prop_assert!(Message::parse(&bytes).unwrap().verify(&key));
        let theirs = oracle::Message::from_bytes(&bytes).unwrap();
        let credentials = oracle::LongTermKeyCredentials::new(username, password, "turkey".to_owned());
        prop_assert!(theirs.validate_integrity(&credentials.into()).is_ok());
    }

    #[test]
    fn what_the_oracle_signs_with_sha256_we_verify(username in "\\PC{1,20}", password in "\\PC{1,20}") {
        use oracle::{MessageWrite as _, MessageWriteExt as _};
        let key = IntegrityKey::derived(PasswordAlgorithm::Sha256, &username, "turkey", &password);
        let credentials = oracle::LongTermKeyCredentials::new(username, password, "turkey".to_owned());
        let mut theirs = oracle::Message::builder_request(stun_types::message::BINDING, oracle::MessageWriteVec::new());
        theirs.add_message_integrity(&credentials.into(), oracle::IntegrityAlgorithm::Sha256).unwrap();
        let ours = Message::parse(&theirs.finish()).unwrap();
        prop_assert_eq!(ours.integrity(), Some(Integrity::Sha256));
        prop_assert!(ours.verify(&key));
    }

    #[test]
    fn addresses_survive_the_round_trip(address: SocketAddr, id: [u8; 12]) {
        let address = SocketAddr::new(address.ip(), address.port());
        let bytes = Builder::new(Class::Success, Method::Allocate, TransactionId(id))
            .xor_mapped_address(address)
            .xor_relayed_address(address)
            .finish();
        let message = Message::parse(&bytes).unwrap();
        prop_assert_eq!(message.xor_mapped_address(), Ok(Some(address)));
        prop_assert_eq!(message.xor_relayed_address(), Ok(Some(address)));
    }

    #[test]
    fn an_indication_written_in_place_is_what_the_codec_writes(
        peer: SocketAddr, id: [u8; 12], payload in proptest::collection::vec(any::<u8>(), 0..2000),
    ) {
        let peer = SocketAddr::new(peer.ip(), peer.port());
        let mut bytes = [0; Indication::MAX_HEADER_LEN].to_vec();
        let len = IndicationKind::Data.write_header(TransactionId(id), peer, payload.len(), &mut bytes).unwrap();
        bytes.truncate(len);
        bytes.extend_from_slice(&payload);
        bytes.resize(bytes.len() + IndicationKind::padding(payload.len()), 0);
        let by_codec = Builder::new(Class::Indication, Method::Data, TransactionId(id))
            .xor_peer_address(peer)
            .data(&payload)
            .finish();
        prop_assert_eq!(&bytes, &by_codec);
        let read = Indication::read(&bytes).unwrap();
        let (kind, fragmentation) = (IndicationKind::Data, Fragmentation::Allowed);
        prop_assert_eq!(read, Indication { kind, peer, fragmentation, payload: &payload });
    }

    #[test]
    fn indications_read_as_the_oracle_reads_them(attributes in attributes()) {
        let start = Builder::new(Class::Indication, Method::Send, TRANSACTION);
        let add = |message: Builder, (attr, value): &(u16, Vec<u8>)| message.attribute(AttrType(*attr), value);
        let bytes = attributes.iter().fold(start, add).finish();
        if let Some(ours) = Indication::read(&bytes) {
            let theirs = oracle::Message::from_bytes(&bytes).unwrap();
            let peer = theirs.attribute::<turn_types::attribute::XorPeerAddress>().unwrap();
            prop_assert_eq!(ours.peer, peer.addr(theirs.transaction_id()));
            let data = theirs.attribute::<turn_types::attribute::Data<'_>>().unwrap();
            prop_assert_eq!(ours.payload, data.data());
        }
    }

    #[test]
    fn channel_data_reads_as_the_oracle_reads_it(bytes in proptest::collection::vec(any::<u8>(), 0..20)) {
        if let Some(ours) = ChannelData::read(&bytes) {
            let theirs = oracle_channel::ChannelData::parse(&bytes).unwrap();
            prop_assert_eq!((ours.channel.get(), ours.payload), (theirs.id(), theirs.data()));
        }
    }

    #[test]
    fn frames_survive_any_cut_of_the_stream(
        frames in proptest::collection::vec(sent(), 0..8), cuts in proptest::collection::vec(1_usize..50, 1..20),
    ) {
        let mut stream = Vec::new();
        for frame in &frames {
            frame.write(&mut stream);
        }
        let mut decoder = StreamDecoder::new(StreamDecoder::MAX_FRAME);
        let mut received = Vec::new();
        let (mut rest, mut cuts) = (stream.as_slice(), cuts.iter().cycle());
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at(rest.len().min(*cuts.next().unwrap()));
            decoder.decode(piece, |frame| received.push(Sent::of(frame))).unwrap();
            rest = behind;
        }
        prop_assert!(!decoder.is_waiting());
        prop_assert_eq!(received, frames);
    }

    #[test]
    fn any_cut_of_any_stream_is_judged_alike(
        bytes in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..60),
            proptest::collection::vec(prop_oneof![Just(0x40_u8), Just(0), 0_u8..8], 0..60),
            nearly_messages(),
        ],
        cut in 0_usize..60,
    ) {
        let decode = |pieces: &[&[u8]]| {
            let mut decoder = StreamDecoder::new(1000);
            let mut frames = 0;
            let refused = pieces.iter().any(|piece| decoder.decode(piece, |_| frames += 1).is_err());
            (refused, frames)
        };
        let (first, second) = bytes.split_at(cut.min(bytes.len()));
        prop_assert_eq!(decode(&[&bytes]), decode(&[first, second]));
    }
}
