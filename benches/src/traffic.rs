//! Traffic at a steady rate: each session sends a packet in its turn, the peer echoes it, and what comes back is held
//! against what was sent.

use std::io;
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::time::TimeSpec;
use nix::sys::timer::TimerSetTimeFlags;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags};

use crate::echo::EchoPeer;
use crate::error::LoadError;
use crate::packet::Packet;
use crate::session::Session;

/// Before anything is counted: caches, buffers and timers settle.
const WARM_UP: Duration = Duration::from_secs(1);
/// How long the last packets have to come back.
const DRAIN: Duration = Duration::from_secs(1);
/// Events that are taken at once.
const EVENTS: usize = 64;

/// How much traffic, and of what kind.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub(crate) struct Traffic {
    /// Packets per second of each session, each way.
    pub(crate) rate: u32,
    /// Bytes in each.
    pub(crate) payload: u16,
    /// Seconds that count.
    pub(crate) seconds: u32,
}

/// What became of it.
#[derive(Clone, Debug)]
pub(crate) struct Outcome<T> {
    /// What `observe` saw when the counted time began and when it ended.
    pub(crate) observed: [T; 2],
    /// Packets that the server relayed meanwhile, both ways.
    pub(crate) relayed: u64,
    /// Packets that were sent meanwhile.
    pub(crate) sent: u64,
    /// Of those that came back, how long each was away; in order.
    pub(crate) round_trips: Vec<Duration>,
}

/// Sends through all sessions to the peer and back. `observe` is called when the counted time begins and when it ends.
pub(crate) fn run<T>(
    server: &str,
    sessions: &mut [Session],
    echoes: &mut [EchoPeer],
    traffic: Traffic,
    mut observe: impl FnMut() -> Result<T, LoadError>,
) -> Result<Outcome<T>, LoadError> {
    let gap = Duration::from_secs(1) / (traffic.rate * sessions.len() as u32);
    let in_warm_up = (WARM_UP.as_nanos() / gap.as_nanos()) as u64;
    let in_all = in_warm_up + u64::from(traffic.seconds * traffic.rate) * sessions.len() as u64;
    let events = Events::new(sessions, echoes, gap).map_err(LoadError::io("cannot wait for packets"))?;
    let mut exchange = Exchange {
        server,
        sessions,
        echoes,
        payload: traffic.payload,
        begin: Instant::now(),
        sent: 0,
        returned: vec![None; in_all as usize],
        returns: 0,
    };

    while exchange.sent < in_warm_up {
        exchange.send_due(gap, in_warm_up)?;
        exchange.receive(&events)?;
    }
    let (before, relayed_before) = (observe()?, exchange.relayed());
    while exchange.sent < in_all {
        exchange.send_due(gap, in_all)?;
        exchange.receive(&events)?;
    }
    let (after, relayed_after) = (observe()?, exchange.relayed());
    let end = Instant::now() + DRAIN;
    while exchange.returns < in_all && Instant::now() < end {
        exchange.receive(&events)?;
    }

    let mut round_trips: Vec<Duration> =
        exchange.returned[in_warm_up as usize..].iter().copied().flatten().collect();
    round_trips.sort_unstable();
    let relayed = relayed_after - relayed_before;
    Ok(Outcome { observed: [before, after], relayed, sent: in_all - in_warm_up, round_trips })
}

/// The packets on their way, and both of their ends.
struct Exchange<'a> {
    server: &'a str,
    sessions: &'a mut [Session],
    echoes: &'a mut [EchoPeer],
    payload: u16,
    begin: Instant,
    sent: u64,
    /// By number, how long each packet was away that came back.
    returned: Vec<Option<Duration>>,
    returns: u64,
}

impl Exchange<'_> {
    /// Sends what should have left by now, up to number `end`.
    fn send_due(&mut self, gap: Duration, end: u64) -> Result<(), LoadError> {
        let due = (self.begin.elapsed().as_nanos() / gap.as_nanos()) as u64;
        while self.sent < due.min(end) {
            let number = self.sent;
            let session = (number % self.sessions.len() as u64) as usize;
            let packet = Packet { number, sent: self.begin.elapsed() };
            let sent = self.sessions[session].send(self.payload, |payload| packet.write(payload));
            sent.map_err(|source| self.ended(session, source))?;
            self.sent += 1;
        }
        Ok(())
    }

    /// Waits until something arrives or is due, and takes what arrived.
    fn receive(&mut self, events: &Events) -> Result<(), LoadError> {
        let mut ready = [EpollEvent::empty(); EVENTS];
        let count = events.wait(&mut ready).map_err(LoadError::io("cannot wait for packets"))?;
        for event in &ready[..count] {
            match event.data() {
                Events::TIMER => events.rewind().map_err(LoadError::io("the timer"))?,
                echo if echo >= Events::ECHO => {
                    let echo = &mut self.echoes[(echo - Events::ECHO) as usize];
                    echo.echo().or_else(blocked).map_err(LoadError::io("the peer"))?;
                }
                session => self.receive_from(session as usize)?,
            }
        }
        Ok(())
    }

    fn receive_from(&mut self, session: usize) -> Result<(), LoadError> {
        let (now, len, count) = (self.begin.elapsed(), usize::from(self.payload), self.sessions.len());
        let mut wrong = None;
        let received = self.sessions[session].receive(|payload| {
            let packet = Packet::read(payload, len).filter(|it| it.number % count as u64 == session as u64);
            let slot = packet.and_then(|it| self.returned.get_mut(it.number as usize));
            match (packet, slot) {
                (Some(packet), Some(slot @ None)) => {
                    *slot = Some(now.saturating_sub(packet.sent));
                    self.returns += 1;
                }
                (Some(packet), Some(Some(_))) => wrong = Some(format!("packet {} twice", packet.number)),
                _ => wrong = Some(format!("{} bytes to session {session}", payload.len())),
            }
        });
        received.or_else(blocked).map_err(|source| self.ended(session, source))?;
        match wrong {
            Some(what) => Err(LoadError::Corrupt { server: self.server.to_owned(), what }),
            None => Ok(()),
        }
    }

    /// Packets that have left the server so far, and arrived.
    fn relayed(&self) -> u64 {
        self.echoes.iter().map(|it| it.received).sum::<u64>() + self.returns
    }

    fn ended(&self, session: usize, source: io::Error) -> LoadError {
        LoadError::Ended { server: self.server.to_owned(), session, source }
    }
}

/// What the generator waits for: packets, and the time to send the next one.
struct Events {
    epoll: Epoll,
    timer: TimerFd,
}

impl Events {
    const TIMER: u64 = u64::MAX;
    /// Of the first one; the others follow.
    const ECHO: u64 = 1 << 32;

    fn new(sessions: &[Session], echoes: &[EchoPeer], gap: Duration) -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK)?;
        timer.set(Expiration::Interval(TimeSpec::from_duration(gap)), TimerSetTimeFlags::empty())?;
        let readable = |data| EpollEvent::new(EpollFlags::EPOLLIN, data);
        epoll.add(&timer, readable(Self::TIMER))?;
        for (echo, number) in echoes.iter().zip(Self::ECHO..) {
            epoll.add(echo, readable(number))?;
        }
        for (session, number) in sessions.iter().zip(0..) {
            epoll.add(&session.link, readable(number))?;
        }
        Ok(Self { epoll, timer })
    }

    /// Lets the timer run again: the clock tells what is due.
    fn rewind(&self) -> io::Result<()> {
        Ok(self.timer.wait()?)
    }

    fn wait(&self, ready: &mut [EpollEvent]) -> io::Result<usize> {
        Ok(self.epoll.wait(ready, EpollTimeout::from(100_u8))?)
    }
}

fn blocked(error: io::Error) -> io::Result<()> {
    crate::link::unless_blocked(Err(error))
}
