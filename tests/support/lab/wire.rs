//! A link that takes its time. Many kernels cannot delay packets (netem), so it is made of two TUN interfaces, and this
//! process carries each packet from one to the other when it is due.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use tun_rs::{DeviceBuilder, Layer, SyncDevice};

use super::Namespace;

/// As many packets are on their way at most; others are lost, as in any network.
const ROOM: usize = 10_000;

/// Packets on their way in one direction. Owns neither clock nor interface.
#[derive(Debug)]
struct Line {
    delay: Duration,
    /// In the order of arrival, which is also that of departure.
    on_their_way: VecDeque<(Instant, Vec<u8>)>,
}

impl Line {
    fn new(delay: Duration) -> Self {
        Self { delay, on_their_way: VecDeque::new() }
    }

    /// A packet enters.
    fn enter(&mut self, now: Instant, packet: Vec<u8>) {
        if self.on_their_way.len() < ROOM {
            self.on_their_way.push_back((now + self.delay, packet));
        }
    }

    /// The next packet that has arrived by now.
    fn leave(&mut self, now: Instant) -> Option<Vec<u8>> {
        (self.next_arrival()? <= now).then(|| self.on_their_way.pop_front())?.map(|(_, packet)| packet)
    }

    /// When the next packet arrives.
    fn next_arrival(&self) -> Option<Instant> {
        self.on_their_way.front().map(|(due, _)| *due)
    }
}

/// Lays a cable on which a packet takes `delay`, until the test's process ends.
pub(super) fn connect(here: (&Namespace, &str), there: (&Namespace, &str), delay: Duration) {
    let open = |(namespace, name): (&Namespace, &str)| {
        let device = namespace.run(|| DeviceBuilder::new().name(name).layer(Layer::L3).build_sync());
        Arc::new(device.unwrap())
    };
    let (here, there) = (open(here), open(there));
    carry(&here, &there, delay);
    carry(&there, &here, delay);
}

fn carry(from: &Arc<SyncDevice>, to: &Arc<SyncDevice>, delay: Duration) {
    let (from, to) = (from.clone(), to.clone());
    let (packets, arriving) = channel();
    thread::spawn(move || {
        let mut packet = vec![0; 65_536];
        while let Ok(length) = from.recv(&mut packet) {
            if packets.send((Instant::now(), packet[..length].to_vec())).is_err() {
                return;
            }
        }
    });
    thread::spawn(move || deliver(&arriving, &to, Line::new(delay)));
}

fn deliver(entering: &Receiver<(Instant, Vec<u8>)>, to: &SyncDevice, mut line: Line) {
    loop {
        let entered = match line.next_arrival() {
            None => entering.recv().map_err(RecvTimeoutError::from),
            Some(due) => entering.recv_timeout(due.saturating_duration_since(Instant::now())),
        };
        match entered {
            Ok((now, packet)) => line.enter(now, packet),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        while let Some(packet) = line.leave(Instant::now()) {
            // The other end may not be up yet, or no more.
            let _ = to.send(&packet);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_leave_in_order_and_not_before_their_time() {
        let (start, delay) = (Instant::now(), Duration::from_millis(300));
        let mut line = Line::new(delay);
        line.enter(start, vec![1]);
        line.enter(start + Duration::from_millis(10), vec![2]);
        assert_eq!(line.next_arrival(), Some(start + delay));
        assert_eq!(line.leave(start + Duration::from_millis(299)), None);
        assert_eq!(line.leave(start + delay), Some(vec![1]));
        assert_eq!(line.leave(start + delay), None);
        assert_eq!(line.leave(start + Duration::from_secs(1)), Some(vec![2]));
        assert_eq!(line.next_arrival(), None);
    }

    #[test]
    fn a_line_that_is_full_loses_what_comes() {
        let now = Instant::now();
        let mut line = Line::new(Duration::ZERO);
        for _ in 0..=ROOM {
            line.enter(now, Vec::new());
        }
        let arrived = std::iter::from_fn(|| line.leave(now)).count();
        assert_eq!(arrived, ROOM);
    }
}
