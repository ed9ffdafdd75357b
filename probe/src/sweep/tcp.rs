//! TCP ports: a connection to each, and the agent sees from the first packet of it that it gets there.
//!
//! That packet cannot be signed, so the agent goes by the address that it comes from, which it learns from signed datagrams or
//! is told.

use std::{
    collections::{BTreeMap, VecDeque},
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    pin::pin,
    time::Duration,
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use hubs_relay::sweep::{
    Kind, Packet,
    channel::{Session, Sighting},
    raise_files,
};
use tokio::{
    net::TcpStream,
    time::{Instant, MissedTickBehavior, interval, timeout},
};

use super::{Ending, Found, Progress, State, SweepError, SweepOptions, Transport, channel, udp};
use crate::net::Net;

const TICK: Duration = Duration::from_millis(2);
/// As many connections are begun in each.
const PER_TICK: usize = 6;
/// At a time, at most.
const MOST_OPEN: u64 = 2_000;
/// The system repeats the first packet after a second; the answer to that one is waited for as well.
const PATIENCE: Duration = Duration::from_millis(2_200);
/// Datagrams by which the agent learns our address, spread over the ports.
const INTRODUCTIONS: u16 = 64;
/// How often silent ports are tried.
const ROUNDS: u32 = 2;

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tried {
    Connected,
    Refused,
    Silent,
}

/// Sweeps the TCP ports of `address`; `from` is where the agent sees us come from, if that is known.
pub(crate) async fn sweep(
    net: &Net,
    options: &SweepOptions,
    address: IpAddr,
    from: &[IpAddr],
    tell: &(dyn Fn(Progress) + Sync),
    stop: impl Future<Output = ()>,
) -> Result<Found, SweepError> {
    let begun = Instant::now();
    let mut session = channel::open(net, &options.agent, &options.token, &options.ports).await?;
    introduce(options, address, &session)?;
    let mut tries = BTreeMap::new();
    let mut stop = pin!(stop);
    ask(net, options, &mut session, from).await?;
    let mut end = Ending::Complete;
    for _ in 0..ROUNDS {
        let due: VecDeque<u16> = options
            .ports
            .clone()
            .filter(|port| tries.get(port).is_none_or(|it| *it == Tried::Silent))
            .collect();
        if due.is_empty() || (tries.len() > 1 && due.len() == tries.len()) {
            break;
        }
        tokio::select! {
            result = try_all(address, due, options.ports.len(), &mut tries, tell) => {
                if let Err(error) = result {
                    end = Ending::Broken(format!("this machine cannot connect to {address}: {error}"));
                    break;
                }
            }
            () = &mut stop => {
                end = Ending::Interrupted;
                break;
            }
        }
    }
    let sighting = ask(net, options, &mut session, from).await?;
    let state = |port: u16| match (tries.get(&port), sighting.connected.contains(port)) {
        (Some(Tried::Connected), _) | (Some(Tried::Refused), true) => State::Open,
        (Some(Tried::Refused), false) => State::Refused,
        (Some(Tried::Silent) | None, true) => State::OneWay,
        (Some(Tried::Silent), false) => State::Silent,
        (None, false) => State::Unasked,
    };
    Ok(Found {
        transport: Transport::Tcp,
        address,
        states: options.ports.clone().map(|port| (port, state(port))).collect(),
        end,
        measured: (0, 0),
        moved: sighting.seen.moved,
        sources: sighting.seen.sources,
        took: begun.elapsed(),
    })
}

/// Datagrams to some of the ports: one that gets there says where we are.
fn introduce(options: &SweepOptions, address: IpAddr, session: &Session) -> Result<(), SweepError> {
    let failed = |source| SweepError::Socket { to: (address, 0).into(), source };
    let socket = udp::socket(address).map_err(failed)?;
    let step = (options.ports.len() / usize::from(INTRODUCTIONS)).max(1);
    for (sequence, port) in (0..).zip(options.ports.clone().step_by(step)) {
        let packet =
            Packet { kind: Kind::Question, port, session: session.number, sequence, time: 0, mark: 0 };
        // One that does not get away is one that does not get there.
        let _ = socket.send_to(&packet.to_bytes(&session.key), (address, port));
    }
    Ok(())
}

async fn ask(
    net: &Net,
    options: &SweepOptions,
    session: &mut Session,
    from: &[IpAddr],
) -> Result<Sighting, SweepError> {
    let request = session.ask(Some(from));
    let told = channel::ask(net, &options.agent, &request).await?;
    Ok(channel::read(&options.agent, session, &request, &told)?)
}

async fn try_all(
    address: IpAddr,
    mut due: VecDeque<u16>,
    total: usize,
    tries: &mut BTreeMap<u16, Tried>,
    tell: &(dyn Fn(Progress) + Sync),
) -> io::Result<()> {
    let most = raise_files().map_or(MOST_OPEN / 4, |files| (files / 2).min(MOST_OPEN)) as usize;
    let mut open = FuturesUnordered::new();
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut told = Instant::now();
    while !due.is_empty() || !open.is_empty() {
        tokio::select! {
            _ = ticks.tick(), if !due.is_empty() && open.len() < most => {
                for port in due.drain(..PER_TICK.min(due.len())) {
                    open.push(async move { (port, try_one((address, port).into()).await) });
                }
            }
            Some((port, outcome)) = open.next() => {
                tries.insert(port, outcome?);
            }
        }
        if told.elapsed() > Duration::from_millis(200) {
            told = Instant::now();
            let arrived = tries.values().filter(|it| **it != Tried::Silent).count();
            let rate = (PER_TICK as f64 / TICK.as_secs_f64()) as u32;
            tell(Progress { asked: tries.len(), total, arrived, rate });
        }
    }
    Ok(())
}

async fn try_one(to: SocketAddr) -> io::Result<Tried> {
    match timeout(PATIENCE, TcpStream::connect(to)).await {
        Ok(Ok(_)) => Ok(Tried::Connected),
        Err(_) => Ok(Tried::Silent),
        Ok(Err(error)) => match error.kind() {
            io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::PermissionDenied
            | io::ErrorKind::HostUnreachable => Ok(Tried::Refused),
            io::ErrorKind::TimedOut => Ok(Tried::Silent),
            _ => Err(error),
        },
    }
}
