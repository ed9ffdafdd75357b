use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use hubs_relay::wire::{Frame, StreamDecoder, TransactionId};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{connection::MOST_WAITING, *};
use crate::{
    check::Context,
    target::{Name, TURN},
    testing::{Authority, DOMAIN, Identity, TurnServer, context, tls_server},
};

const RULES: &str = "[auth]\nusers = { ann = 'correct horse' }\nsecrets = ['s3cret']\n[peers]\n\
                     allow = ['127.0.0.1:1024-65535', '[2001:db8::9]:40000']\n\
                     map = [{ announced = '203.0.113.9', actual = '127.0.0.1' }]";

fn stream_host() -> String {
    format!("stream.{DOMAIN}")
}

fn at(server: SocketAddr) -> Arc<Context> {
    context(None, &[(Name::Stream, TURN, server)])
}

async fn connect(server: SocketAddr) -> Client {
    Client::connect(&at(server).net, &stream_host(), TURN).await.unwrap()
}

fn user(name: &str, password: &str) -> Login {
    Login::given(&TurnLogin::User { name: name.to_owned(), password: password.to_owned() })
}

async fn allocate(server: SocketAddr, login: &Login) -> Result<Allocation, TurnError> {
    let mut client = connect(server).await;
    let challenge = client.challenge().await?;
    client.allocate(challenge, login).await
}

fn relay() -> TurnServer {
    TurnServer::start(&Authority::new().issue(&[&stream_host()], -1..30), RULES)
}

/// A peer that sends back what it gets, known to the relay's clients under its announced address.
async fn echo() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let port = socket.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut bytes = [0; 2048];
        while let Ok((len, from)) = socket.recv_from(&mut bytes).await {
            socket.send_to(&bytes[..len], from).await.unwrap();
        }
    });
    ([203, 0, 113, 9], port).into()
}

#[tokio::test]
async fn datagrams_go_to_a_peer_and_back_in_indications_and_on_a_channel() {
    let relay = relay();
    let peer = echo().await;
    let mut allocation = allocate(relay.address, &user("ann", "correct horse")).await.unwrap();
    assert!(allocation.relayed().ip().is_loopback());
    allocation.permit(peer).await.unwrap();
    for (datagram, bind) in [(&b"by indication"[..], true), (&b"on a channel"[..], false)] {
        allocation.send(datagram, peer).await.unwrap();
        assert_eq!(allocation.receive().await.unwrap(), (datagram.to_vec(), peer));
        if bind {
            allocation.bind_channel(peer).await.unwrap();
        }
    }
    allocation.release().await.unwrap();
}

#[tokio::test]
async fn a_server_at_an_ipv6_address_relays_from_ipv4() {
    if let Err(e) = std::net::TcpListener::bind("[::1]:0") {
        return eprintln!("skipped: this machine has no IPv6 loopback ({e})");
    }
    let relay = TurnServer::start_at("[::1]:0", &Authority::new().issue(&[&stream_host()], -1..30), RULES);
    let allocation = allocate(relay.address, &user("ann", "correct horse")).await.unwrap();
    assert!(relay.address.is_ipv6() && allocation.relayed().is_ipv4());
    assert!(allocation.mapped().unwrap().is_ipv6());
    allocation.release().await.unwrap();
}

#[tokio::test]
async fn a_secret_makes_a_login_as_reticulum_does() {
    let relay = relay();
    let login = Login::given(&TurnLogin::Secret("s3cret".to_owned()));
    assert!(login.username.ends_with(":coturn"), "{}", login.username);
    assert_eq!(login.expired_for(), None);
    allocate(relay.address, &login).await.unwrap().release().await.unwrap();
}

#[tokio::test]
async fn a_wrong_password_is_refused_with_401_and_a_foreign_peer_with_403() {
    let relay = relay();
    let refused = allocate(relay.address, &user("ann", "wrong")).await.unwrap_err();
    assert_refused(&refused, Request::Allocate, ErrorCode::UNAUTHENTICATED);
    let mut allocation = allocate(relay.address, &user("ann", "correct horse")).await.unwrap();
    let refused = allocation.permit("10.0.0.1:40000".parse().unwrap()).await.unwrap_err();
    assert_refused(&refused, Request::CreatePermission, ErrorCode::FORBIDDEN);
}

#[tokio::test]
async fn a_peer_of_another_family_is_refused_as_such() {
    let relay = relay();
    let mut allocation = allocate(relay.address, &user("ann", "correct horse")).await.unwrap();
    let refused = allocation.permit("[2001:db8::9]:40000".parse().unwrap()).await.unwrap_err();
    assert_refused(&refused, Request::CreatePermission, ErrorCode::PEER_ADDRESS_FAMILY_MISMATCH);
}

#[track_caller]
fn assert_refused(error: &TurnError, asked: Request, with: ErrorCode) {
    let TurnError::Refused { request, refusal } = error else { panic!("{error:?}") };
    assert_eq!((*request, refusal.code), (asked, with));
}

#[tokio::test]
async fn what_a_browser_makes_of_the_certificate_is_kept() {
    let server = tls_server(Identity::self_signed("dialog", &[]), |_| std::future::ready(())).await;
    assert!(matches!(connect(server).await.judgement(), Some(Judgement::Refused(_))));
}

/// A server that answers the requests on each connection as `answer` says, which is told how many it had before.
async fn scripted(answer: impl Fn(usize, &Message) -> Vec<u8> + Clone + Send + Sync + 'static) -> SocketAddr {
    tls_server(Identity::self_signed("dialog", &[]), move |mut stream| {
        let answer = answer.clone();
        async move {
            let mut frames = StreamDecoder::new(StreamDecoder::MAX_FRAME);
            let mut bytes = [0; 4096];
            let mut heard = 0;
            while let Ok(len @ 1..) = stream.read(&mut bytes).await {
                let mut out = Vec::new();
                let decoded = frames.decode(&bytes[..len], |frame| {
                    if let Frame::Message(message) = frame {
                        out.extend(answer(heard, &Message::parse(message).unwrap()));
                        heard += 1;
                    }
                });
                decoded.unwrap();
                if stream.write_all(&out).await.is_err() || out.ends_with(CLOSE) {
                    let _ = stream.shutdown().await;
                    return;
                }
            }
        }
    })
    .await
}

/// With this at the end of an answer the scripted server closes the connection.
const CLOSE: &[u8] = b"\x01\x13\x00";

fn error(request: &Message, code: ErrorCode) -> Vec<u8> {
    Builder::error(request, code).realm("turkey").nonce("abcdef").finish()
}

async fn challenged(
    answer: impl Fn(usize, &Message) -> Vec<u8> + Clone + Send + Sync + 'static,
) -> TurnError {
    connect(scripted(answer).await).await.challenge().await.unwrap_err()
}

#[tokio::test]
async fn a_server_that_takes_and_says_nothing_is_waited_for_so_long_and_no_longer() {
    let mut client = connect(scripted(|_, _| Vec::new()).await).await;
    // Only from here on, since the clock of a paused runtime runs ahead of real sockets.
    tokio::time::pause();
    assert!(matches!(client.challenge().await, Err(TurnError::Silent(Request::Allocate))));
}

#[tokio::test]
async fn an_end_in_the_middle_of_an_answer_is_an_end() {
    assert!(matches!(challenged(|_, _| CLOSE.to_vec()).await, TurnError::Closed));
}

#[tokio::test]
async fn what_speaks_another_protocol_is_no_turn_server() {
    assert!(matches!(challenged(|_, _| b"HTTP/1.1 400 Bad Request".to_vec()).await, TurnError::NotTurn(_)));
}

#[tokio::test]
async fn each_code_is_passed_on() {
    for code in [300, 400, 420, 486, 508] {
        let code = ErrorCode(code);
        assert_refused(&challenged(move |_, m| error(m, code)).await, Request::Allocate, code);
    }
}

#[tokio::test]
async fn answers_that_make_no_sense_are_malformed() {
    let without_nonce = |_: usize, m: &Message| Builder::error(m, ErrorCode::UNAUTHENTICATED).finish();
    assert!(matches!(challenged(without_nonce).await, TurnError::Malformed { .. }));
    let open = |_: usize, m: &Message| Builder::success(m).finish();
    assert!(matches!(challenged(open).await, TurnError::Open));
    let without_code =
        |_: usize, m: &Message| Builder::new(Class::Error, m.method(), m.transaction()).finish();
    assert!(matches!(challenged(without_code).await, TurnError::Malformed { .. }));
}

#[tokio::test]
async fn an_answer_to_another_request_is_no_answer() {
    let answer = |_: usize, m: &Message| {
        let other = Message::parse(&Builder::request(Method::Allocate, TransactionId([1; 12])).finish());
        let other = error(&other.unwrap(), ErrorCode(508));
        [&other, &error(m, ErrorCode::UNAUTHENTICATED)[..], &other].concat()
    };
    let challenge = connect(scripted(answer).await).await.challenge().await.unwrap();
    assert_eq!(challenge.realm, "turkey");
}

#[tokio::test]
async fn a_nonce_that_is_always_stale_ends_after_a_few() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    let server = scripted(move |heard, m| {
        counter.fetch_add(1, Ordering::Relaxed);
        error(m, if heard == 0 { ErrorCode::UNAUTHENTICATED } else { ErrorCode::STALE_NONCE })
    })
    .await;
    assert!(matches!(allocate(server, &user("ann", "x")).await, Err(TurnError::AlwaysStale)));
    assert_eq!(asked.load(Ordering::Relaxed), 1 + MOST_NONCES);
}

#[tokio::test]
async fn a_success_that_is_not_signed_is_none() {
    let relayed = SocketAddr::from(([198, 51, 100, 1], 50_000));
    let server = scripted(move |heard, m| match heard {
        0 => error(m, ErrorCode::UNAUTHENTICATED),
        _ => Builder::success(m).xor_relayed_address(relayed).finish(),
    })
    .await;
    let allocated = allocate(server, &user("ann", "x")).await;
    assert!(matches!(allocated, Err(TurnError::Unsigned(Request::Allocate))));
}

#[tokio::test]
async fn datagrams_that_nobody_asked_for_do_not_pile_up() {
    let flood = |_: usize, m: &Message| {
        let datagram = Builder::new(Class::Indication, Method::Data, TransactionId([2; 12]))
            .xor_peer_address(([198, 51, 100, 1], 9).into())
            .data(b"flood")
            .finish();
        [datagram.repeat(10 * MOST_WAITING), error(m, ErrorCode::UNAUTHENTICATED)].concat()
    };
    let mut client = connect(scripted(flood).await).await;
    client.challenge().await.unwrap();
    assert_eq!(client.connection.inbox.datagrams.len(), MOST_WAITING);
}

/// A client that reaches `server` in datagrams.
async fn in_datagrams(server: SocketAddr) -> Client {
    Client::over_udp(&at(server).net, &stream_host(), TURN).await.unwrap()
}

#[tokio::test]
async fn in_datagrams_it_is_the_same() {
    let text =
        format!("listen = ['udp://127.0.0.1:0']\n[relay]\naddress = '127.0.0.1'\nworkers = 1\n{RULES}");
    let relay = hubs_relay::Relay::start(&hubs_relay::Config::from_text(&text, None, []).unwrap()).unwrap();
    let peer = echo().await;
    let mut client = in_datagrams(relay.listeners()[0].address).await;
    assert!(client.judgement().is_none());
    let challenge = client.challenge().await.unwrap();
    let mut allocation = client.allocate(challenge, &user("ann", "correct horse")).await.unwrap();
    allocation.permit(peer).await.unwrap();
    // Three bytes, which a stream would have to pad.
    for bind in [true, false] {
        allocation.send(b"abc", peer).await.unwrap();
        assert_eq!(allocation.receive().await.unwrap(), (b"abc".to_vec(), peer));
        if bind {
            allocation.bind_channel(peer).await.unwrap();
        }
    }
    assert!(allocation.round_trip(Request::ChannelBind).is_some());
    allocation.release().await.unwrap();
}

#[tokio::test]
async fn a_datagram_that_is_lost_is_sent_again_and_what_is_no_turn_is_passed_over() {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let server = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut bytes = [0; 2048];
        let mut first = None;
        loop {
            let (len, from) = socket.recv_from(&mut bytes).await.unwrap();
            let Some(lost) = &first else {
                first = Some(bytes[..len].to_vec());
                continue;
            };
            assert_eq!(&bytes[..len], lost, "a repetition is the same request");
            socket.send_to(b"HTTP/1.1 400 Bad Request", from).await.unwrap();
            let request = Message::parse(&bytes[..len]).unwrap();
            socket.send_to(&error(&request, ErrorCode::UNAUTHENTICATED), from).await.unwrap();
        }
    });
    let challenge = in_datagrams(server).await.challenge().await.unwrap();
    assert_eq!(challenge.realm, "turkey");
}

#[tokio::test]
async fn what_was_given_back_is_not_there_any_more() {
    let relay = relay();
    let allocation = allocate(relay.address, &user("ann", "correct horse")).await.unwrap();
    let again = allocation.release_for_good().await.unwrap().unwrap_err();
    assert_refused(&again, Request::Refresh, ErrorCode::ALLOCATION_MISMATCH);
}
