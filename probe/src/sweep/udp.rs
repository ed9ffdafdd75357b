//! Sends what the [survey](super::survey) wants sent, and tells it what came.

use std::{
    future::Future,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    pin::pin,
    time::Duration,
};

use futures_util::{FutureExt, future::Fuse};
use hubs_relay::sweep::{Packet, channel::Session, hear_refusals, next_refusal};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::{Ending, Found, Progress, SweepError, SweepOptions, Transport, channel, survey::Survey};
use crate::net::Net;

/// How often there is something to send, and what came is looked at.
const TICK: Duration = Duration::from_millis(2);
/// Packets that are sent before what came is looked at again.
const RECEIVE_EVERY: usize = 16;
/// How often in a row the agent may not tell.
const MOST_SILENCES: u32 = 3;

/// Sweeps the ports of `address`. What was found by then is told when `stop` completes.
pub(crate) async fn sweep(
    net: &Net,
    options: &SweepOptions,
    address: IpAddr,
    tell: &(dyn Fn(Progress) + Sync),
    stop: impl Future<Output = ()>,
) -> Result<Found, SweepError> {
    let begun = Instant::now();
    let mut session = channel::open(net, &options.agent, &options.token, &options.ports).await?;
    let socket = socket(address).map_err(|source| SweepError::Socket { to: (address, 0).into(), source })?;
    let mut survey = Survey::new(options.ports.clone(), session.number, Instant::now());
    let (mut moved, mut sources, mut silences) = (0, Vec::new(), 0);
    let mut stop = pin!(stop);
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut asking = pin!(Fuse::terminated());
    let end = loop {
        tokio::select! {
            _ = ticks.tick() => {
                if let Err(error) = exchange(&socket, address, &session, &mut survey) {
                    break Ending::Broken(format!("this machine cannot send to {address}: {error}"));
                }
                if survey.poll_question(Instant::now()) {
                    let request = session.ask(None);
                    let told = async move {
                        let told = channel::ask(net, &options.agent, &request).await;
                        (request, told)
                    };
                    asking.set(told.fuse());
                }
            }
            (request, told) = &mut asking => match told
                .and_then(|told| channel::read(&options.agent, &session, &request, &told))
            {
                Ok(sighting) => {
                    silences = 0;
                    // What came meanwhile counts before a round is judged.
                    let _ = receive(&socket, &session, &mut survey);
                    survey.handle_sighting(Instant::now(), &sighting);
                    moved = sighting.seen.moved;
                    sources = sighting.seen.sources;
                    tell(survey.progress());
                }
                Err(error) if silences + 1 == MOST_SILENCES => break Ending::Broken(error.to_string()),
                Err(_) => {
                    silences += 1;
                    survey.handle_no_sighting(Instant::now());
                }
            },
            () = &mut stop => break Ending::Interrupted,
        }
        if survey.is_done() {
            break Ending::Complete;
        }
    };
    Ok(Found {
        transport: Transport::Udp,
        address,
        states: survey.states(),
        end,
        measured: survey.measured(),
        moved,
        sources,
        took: begun.elapsed(),
    })
}

/// One for the whole sweep: a router on the way remembers each port once, however often it is asked.
pub(super) fn socket(address: IpAddr) -> io::Result<UdpSocket> {
    let any: IpAddr =
        if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0))?;
    socket.set_nonblocking(true)?;
    hear_refusals(&socket, SocketAddr::new(any, 0))?;
    Ok(socket)
}

fn exchange(socket: &UdpSocket, address: IpAddr, session: &Session, survey: &mut Survey) -> io::Result<()> {
    receive(socket, session, survey)?;
    let mut sent = 0_usize;
    while let Some(packet) = survey.poll_packet(Instant::now()) {
        // What comes meanwhile must not wait until there is no room for it.
        sent += 1;
        if sent.is_multiple_of(RECEIVE_EVERY) {
            receive(socket, session, survey)?;
        }
        let (bytes, to) = (packet.to_bytes(&session.key), SocketAddr::new(address, packet.port));
        // The first try may be told of what became of an earlier packet, which is heard elsewhere.
        if let Err(error) = socket.send_to(&bytes, to).or_else(|_| socket.send_to(&bytes, to))
            && !is_passing(&error)
        {
            return Err(error);
        }
    }
    Ok(())
}

fn receive(socket: &UdpSocket, session: &Session, survey: &mut Survey) -> io::Result<()> {
    let mut buffer = [0; Packet::LENGTH + 1];
    loop {
        match socket.recv_from(&mut buffer) {
            Ok((length, from)) => {
                if let Some(answer) = Packet::read(&buffer[..length], &session.key) {
                    survey.handle_answer(Instant::now(), from.port(), answer);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) if is_passing(&error) => {}
            Err(error) => return Err(error),
        }
    }
    while let Some(refused) = next_refusal(socket) {
        survey.handle_refusal(refused.port());
    }
    Ok(())
}

/// What a packet met, and not what all will meet.
fn is_passing(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionRefused, ConnectionReset, HostUnreachable, Interrupted, PermissionDenied, WouldBlock,
    };
    matches!(
        error.kind(),
        ConnectionRefused | ConnectionReset | HostUnreachable | Interrupted | PermissionDenied | WouldBlock
    )
}
