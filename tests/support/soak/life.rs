//! One client's life: it joins, talks with a peer of its own, refreshes, and leaves in one of the ways that clients do.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::STRANGER_TIMEOUT;
use super::client::{Client, Framing};
use super::link::Link;
use super::payload::owner;
use super::world::World;
use crate::bed::{ANNOUNCED, NODE, STREAM};

/// How long the relay may take to notice that an allocation is over.
const NOTICE: Duration = Duration::from_secs(5);
/// The lifetime that it grants (RFC 8656 section 3.2), and that time.
pub(super) const EXPIRY: Duration = Duration::from_mins(10).saturating_add(NOTICE);
/// The longest time from one refresh to the next: permissions last five minutes.
const LONGEST_PAUSE: Duration = Duration::from_mins(4);

/// How a client leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Departure {
    /// It gives its allocation back.
    Release,
    /// It gives its allocation back and is gone before it hears of it.
    ReleaseUnheard,
    /// It closes its connection in order.
    Close,
    /// Its connection breaks off, with packets on their way.
    BreakOff,
    /// Nothing is heard of it any more, and nothing is closed.
    Vanish,
}

/// A whole life, until then. Clients differ by their numbers.
pub(super) async fn live(world: &Rc<World>, number: u64, until: Instant) {
    let is_tls = number.is_multiple_of(2);
    if let Err(error) = try_live(world, number, is_tls, until).await {
        let transport = if is_tls { "TLS" } else { "UDP" };
        world.note(format!("session {number} over {transport}: {error}"));
    }
}

async fn try_live(world: &Rc<World>, number: u64, is_tls: bool, until: Instant) -> io::Result<()> {
    let link = if is_tls {
        let connector = &world.connectors[(number / 4 % 2) as usize];
        Link::tls(world.tls, connector, STREAM).await?
    } else {
        Link::udp(world.udp).await?
    };
    let framing = if (number / 2).is_multiple_of(2) { Framing::Channel } else { Framing::Indications };
    let peer = Peer::start(world, number).await?;
    let credential = world.credential();
    let mut client = Client::new(Rc::clone(world), link, &credential, number, framing, peer.address);
    let code = client.allocate().await?;
    if code != 0 {
        return Err(io::Error::other(format!("Allocate was answered with {code}")));
    }
    world.count(|it| (it.joins, it.sessions) = (it.joins + 1, it.sessions + 1));
    let lived = stay(world, &mut client, until).await;
    world.count(|it| it.sessions -= 1);
    lived?;
    leave(world, client, peer, number).await
}

/// From the first permission to the last packet.
async fn stay(world: &World, client: &mut Client, until: Instant) -> io::Result<()> {
    client.permit().await?;
    let pause = (until.saturating_duration_since(Instant::now()) / 3).min(LONGEST_PAUSE);
    loop {
        client.talk(until.min(Instant::now() + pause), world.gap).await?;
        if Instant::now() >= until {
            return Ok(());
        }
        client.refresh().await?;
        world.count(|it| it.refreshes += 1);
    }
}

async fn leave(world: &Rc<World>, mut client: Client, peer: Peer, number: u64) -> io::Result<()> {
    let departure = departure(world, number, client.is_stream());
    if departure != Departure::BreakOff {
        let lost = client.settle().await? as u64;
        world.count(|it| *(if client.is_stream() { &mut it.lost_tls } else { &mut it.lost_udp }) += lost);
    }
    match departure {
        Departure::Release => client.release().await?,
        Departure::ReleaseUnheard => client.release_unheard().await?,
        Departure::Close => client.shut_down().await?,
        Departure::BreakOff => world.count(|it| it.abandoned += client.out() as u64),
        Departure::Vanish => {
            world.vanished.borrow_mut().spawn_local(vanish(Rc::clone(world), client, peer, number));
        }
    }
    world.count(|it| match departure {
        Departure::Release | Departure::ReleaseUnheard => it.released += 1,
        Departure::Close | Departure::BreakOff => it.disconnected += 1,
        Departure::Vanish => it.vanished += 1,
    });
    Ok(())
}

/// Vanishing is for a few, and for those whose allocation has the time to expire.
fn departure(world: &World, number: u64, is_stream: bool) -> Departure {
    if let (left @ 1.., Some(before)) = world.may_vanish.get()
        && Instant::now() < before
    {
        world.may_vanish.set((left - 1, Some(before)));
        return Departure::Vanish;
    }
    match number / 4 % 4 {
        _ if !is_stream => Departure::Release,
        0 => Departure::Release,
        1 => Departure::ReleaseUnheard,
        2 => Departure::Close,
        _ => Departure::BreakOff,
    }
}

/// Says nothing more, and sees that the relay gives it up when the allocation is over, and not before. Its sockets stay
/// open: another client that got the port would be taken for it.
async fn vanish(world: Rc<World>, mut client: Client, peer: Peer, number: u64) {
    drop(peer);
    let gone = client.renewed() + EXPIRY;
    let fault = if client.is_stream() {
        let early = timeout_at(gone - NOTICE * 2, client.wait_until_closed()).await.is_ok();
        let late = timeout_at(gone + STRANGER_TIMEOUT * 2, client.wait_until_closed()).await.is_err();
        (early || late).then(|| format!("its connection was closed too early: {early}; too late: {late}"))
    } else {
        sleep_until(gone).await;
        match client.try_refresh().await {
            Ok(437) => None,
            other => Some(format!("its Refresh was answered with {other:?}")),
        }
    };
    if let Some(fault) = fault {
        world.note(format!("session {number}, which had vanished: {fault}"));
    }
    world.may_vanish.update(|(left, before)| (left + 1, before));
}

/// A peer that sends back what its client sends. It ends with its owner.
struct Peer {
    /// Its address as clients know it.
    address: SocketAddr,
    task: AbortHandle,
}

impl Peer {
    async fn start(world: &Rc<World>, number: u64) -> io::Result<Self> {
        let socket = UdpSocket::bind((NODE, 0)).await?;
        let announced = ANNOUNCED.parse().map_err(io::Error::other)?;
        let address = SocketAddr::new(announced, socket.local_addr()?.port());
        let echo = echo(Rc::clone(world), socket, number);
        Ok(Self { address, task: tokio::task::spawn_local(echo).abort_handle() })
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn echo(world: Rc<World>, socket: UdpSocket, number: u64) {
    let mut bytes = [0; 2048];
    while let Ok((len, from)) = socket.recv_from(&mut bytes).await {
        let payload = &bytes[..len];
        if owner(payload) != Some(number) {
            world.note(format!("the peer of session {number} got {len} bytes of {:?}", owner(payload)));
        }
        let _ = socket.send_to(payload, from).await;
    }
}
