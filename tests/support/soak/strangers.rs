//! Who comes in between: wrong passwords, credentials that have run out, and all sorts of noise.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use hubs_relay::auth::Secret;
use hubs_relay::wire::{Builder, ChannelData, ChannelNumber, Method, TransactionId};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::STRANGER_TIMEOUT;
use super::client::{Client, Framing};
use super::link::Link;
use super::world::{World, credential, unix_now};
use crate::bed::{STREAM, loopback};

/// From one to the next.
const PAUSE: Duration = Duration::from_millis(250);
/// A relay that has not closed a stranger's connection by then never will.
const PATIENCE: Duration = STRANGER_TIMEOUT.saturating_mul(4);

/// Sends strangers, one kind after the other, until then.
pub(super) async fn come(world: Rc<World>, until: Instant) {
    let mut strangers = JoinSet::new();
    for kind in (0..9_u32).cycle() {
        if Instant::now() + PAUSE >= until {
            break;
        }
        let world = Rc::clone(&world);
        strangers.spawn_local(async move {
            match come_as(&world, kind).await {
                Ok(()) => world.count(|it| it.strangers += 1),
                Err(error) => world.note(format!("stranger of kind {kind}: {error}")),
            }
        });
        while strangers.try_join_next().is_some() {}
        sleep(PAUSE).await;
    }
    while strangers.join_next().await.is_some() {}
}

async fn come_as(world: &Rc<World>, kind: u32) -> io::Result<()> {
    let (guessed, expired) = (Secret::from("guessed"), unix_now() - 86_400);
    match kind {
        0 => is_refused(world, Link::udp(world.udp).await?, &guessed, unix_now()).await,
        1 => is_refused(world, tls(world).await?, &guessed, unix_now()).await,
        2 => is_refused(world, tls(world).await?, &guessed, expired).await,
        3 => binds(world).await,
        4 => makes_noise(world).await,
        // No TLS at all, TLS without anything in it, something else in TLS, a port scan, a handshake that stops.
        5 => is_closed(TcpStream::connect(world.tls).await?, b"GET / HTTP/1.1\r\n\r\n").await,
        6 => is_closed(tls_stream(world).await?, b"").await,
        7 => is_closed(tls_stream(world).await?, b"GET / HTTP/1.1\r\n\r\n").await,
        // The header of a ClientHello (RFC 8446 section 5.1), and two octets of it.
        _ => {
            drop(TcpStream::connect(world.tls).await?);
            is_closed(TcpStream::connect(world.tls).await?, &[0x16, 3, 1, 2, 0, 1, 0]).await
        }
    }
}

/// Whoever made this up, or kept it for too long, is not let in.
async fn is_refused(world: &Rc<World>, link: Link, secret: &Secret, expiry: u64) -> io::Result<()> {
    let (credential, number) = (credential(secret, expiry), world.next_number());
    let mut client = Client::new(Rc::clone(world), link, &credential, number, Framing::Channel, loopback(9));
    match client.allocate().await? {
        401 => Ok(()),
        code => Err(io::Error::other(format!("a wrong password was answered with {code}"))),
    }
}

/// Somebody wants to know his address and no more.
async fn binds(world: &World) -> io::Result<()> {
    let socket = UdpSocket::bind(loopback(0)).await?;
    socket.connect(world.udp).await?;
    let mut answer = [0; 512];
    for _ in 0..10 {
        socket.send(&Builder::request(Method::Binding, TransactionId([7; 12])).finish()).await?;
        if let Ok(len) = timeout(Duration::from_secs(1), socket.recv(&mut answer)).await {
            return len.map(drop);
        }
    }
    Err(io::Error::other("a Binding was not answered"))
}

/// Datagrams that deserve no answer.
async fn makes_noise(world: &World) -> io::Result<()> {
    let socket = UdpSocket::bind(loopback(0)).await?;
    socket.connect(world.udp).await?;
    let channel_data = [&ChannelData::header(ChannelNumber::MIN, 4)[..], b"data"].concat();
    for noise in [&b""[..], b"noise", &[0; 1400], &[0xff; 20], &channel_data] {
        socket.send(noise).await?;
    }
    let heard = timeout(PAUSE, socket.recv(&mut [0; 512])).await;
    if heard.is_ok() { Err(io::Error::other("noise was answered")) } else { Ok(()) }
}

/// The relay closes the connection, whether or not it says why.
async fn is_closed(mut stream: impl AsyncRead + AsyncWrite + Unpin, said: &[u8]) -> io::Result<()> {
    stream.write_all(said).await?;
    stream.flush().await?;
    let mut answer = Vec::new();
    match timeout(PATIENCE, stream.read_to_end(&mut answer)).await {
        // An end is an end: in order, by a reset because there was more to read, or in TLS without its last word.
        Ok(_) => Ok(()),
        Err(_) => Err(io::Error::other(format!("not closed after {} s", PATIENCE.as_secs()))),
    }
}

async fn tls(world: &World) -> io::Result<Link> {
    Link::tls(world.tls, &world.connectors[0], STREAM).await
}

async fn tls_stream(world: &World) -> io::Result<impl AsyncRead + AsyncWrite + Unpin + use<>> {
    let name = STREAM.try_into().map_err(io::Error::other)?;
    world.connectors[1].connect(name, TcpStream::connect(world.tls).await?).await
}
