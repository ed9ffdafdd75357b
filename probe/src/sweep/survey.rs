//! What to ask next, what came of it, and when enough is known. Pure: time, answers and what the agent saw come in; packets to
//! send and questions to the agent come out.
//!
//! Silence is only believed when it cannot be chance: packets to ports that are known to be reached measure what the way loses,
//! and each silent port is asked again until all of its packets being lost is too unlikely to happen to any of them.

use std::{collections::VecDeque, ops::RangeInclusive, time::Duration};

use hubs_relay::sweep::{Kind, Packet, channel::Sighting};
use tokio::time::Instant;

use super::{Progress, pace::Pace};

/// How often the agent is asked meanwhile.
const ASK_EVERY: Duration = Duration::from_millis(200);
/// Of so many packets, one measures.
const MEASURE_EVERY: u32 = 10;
/// How many ports that are known to be reached take the measuring in turn.
const MEASURED: usize = 64;
/// Measures of which a share can be told.
const ENOUGH: u32 = 20;
/// How likely it may be that any port that is called silent is not.
const MOST_DOUBT: f64 = 0.05;
/// How often a port is asked at most.
const MOST_ROUNDS: u32 = 15;
/// So many ports cannot all have been unlucky.
const MANY: usize = 500;
/// How long packets may be on their way, if that is not known.
const LONG: Duration = Duration::from_secs(1);
/// How long at least and at most they are waited for.
const WAIT: (Duration, Duration) = (Duration::from_millis(400), Duration::from_millis(2_500));

/// What is known of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum State {
    /// A packet got there, and its answer came back.
    Open,
    /// A packet got there. Something on the node has the port, so no answer could be sent.
    InUse,
    /// A packet got there, and its answer did not come back.
    OneWay,
    /// Something on the way, or the node, says that it is closed.
    Refused,
    /// Nothing was heard of it.
    Silent,
    /// It was not asked.
    Unasked,
}

impl State {
    /// Whether packets get there.
    pub(crate) const fn arrives(self) -> bool {
        matches!(self, Self::Open | Self::InUse | Self::OneWay)
    }

    /// How it is called.
    pub(crate) const fn words(self) -> &'static str {
        match self {
            Self::Open => "open both ways",
            Self::InUse => "in, and in use on the node",
            Self::OneWay => "in only",
            Self::Refused => "refused",
            Self::Silent => "silent",
            Self::Unasked => "not asked",
        }
    }
}

#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is something that was or was not seen")]
struct Port {
    asked: bool,
    arrived: bool,
    answered: bool,
    heard: bool,
    refused: bool,
}

/// A sweep of UDP ports.
#[derive(Debug)]
pub(super) struct Survey {
    range: RangeInclusive<u16>,
    ports: Vec<Port>,
    session: u64,
    begun: Instant,
    pace: Pace,
    queue: VecDeque<u16>,
    round: u32,
    sequence: u32,
    known: Vec<u16>,
    marks: u32,
    /// How many marks there were when, so that it is known which should have arrived.
    sent_marks: VecDeque<(Instant, u32)>,
    /// Measures and marks that the agent told of last.
    told: (u32, u32),
    /// How many ports answered, and how often those had been asked by then.
    heard: (u32, u32),
    round_trip: Option<Duration>,
    phase: Phase,
    asked_agent: Instant,
    is_waiting_for_agent: bool,
    /// What the agent said last is of packets that were sent at an earlier pace.
    stale_until: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Sending,
    /// All is sent, and may be on its way until then.
    Waiting(Instant),
    /// What the agent says next is all there is to know of this round.
    Asking,
    Done,
}

impl Survey {
    pub(super) fn new(range: RangeInclusive<u16>, session: u64, now: Instant) -> Self {
        let mut survey = Self {
            ports: vec![Port::default(); range.len()],
            queue: VecDeque::new(),
            range,
            session,
            begun: now,
            pace: Pace::new(now),
            round: 0,
            sequence: 0,
            known: Vec::new(),
            marks: 0,
            sent_marks: VecDeque::new(),
            told: (0, 0),
            heard: (0, 0),
            round_trip: None,
            phase: Phase::Sending,
            asked_agent: now,
            is_waiting_for_agent: false,
            stale_until: now,
        };
        let all: Vec<_> = survey.range.clone().collect();
        survey.begin_round(&all);
        survey
    }

    /// The next packet that may be sent now.
    pub(super) fn poll_packet(&mut self, now: Instant) -> Option<Packet> {
        if self.phase != Phase::Sending || !self.pace.admit(now) {
            return None;
        }
        let is_measure = !self.known.is_empty() && self.sequence.is_multiple_of(MEASURE_EVERY);
        let (kind, port, mark) = if is_measure {
            let mark = self.marks;
            self.marks += 1;
            (Kind::Measure, self.known[mark as usize % self.known.len()], mark)
        } else {
            let port = self.queue.pop_front()?;
            self.port(port).asked = true;
            if self.queue.is_empty() {
                self.phase = Phase::Waiting(now + self.way());
            }
            (Kind::Question, port, 0)
        };
        let (sequence, session) = (self.sequence, self.session);
        self.sequence += 1;
        let time = now.duration_since(self.begun).as_millis() as u32;
        Some(Packet { kind, port, session, sequence, time, mark })
    }

    /// Whether the agent is to be asked now; it then counts as asked.
    pub(super) fn poll_question(&mut self, now: Instant) -> bool {
        let is_due = match self.phase {
            Phase::Sending => now.duration_since(self.asked_agent) >= ASK_EVERY,
            Phase::Waiting(until) => now >= until,
            Phase::Asking | Phase::Done => false,
        };
        if !is_due || self.is_waiting_for_agent {
            return false;
        }
        if matches!(self.phase, Phase::Waiting(_)) {
            self.phase = Phase::Asking;
        }
        self.asked_agent = now;
        self.is_waiting_for_agent = true;
        self.sent_marks.push_back((now, self.marks));
        true
    }

    /// An answer that carries our signature came from this port.
    pub(super) fn handle_answer(&mut self, now: Instant, from_port: u16, answer: Packet) {
        let is_ours = answer.kind == Kind::Answer && answer.session == self.session;
        if !is_ours || answer.port != from_port || !self.range.contains(&from_port) {
            return;
        }
        let sent = self.begun + Duration::from_millis(answer.time.into());
        let took = now.saturating_duration_since(sent);
        self.round_trip = Some(self.round_trip.map_or(took, |longest| longest.max(took)));
        if !std::mem::replace(&mut self.port(from_port).heard, true) {
            self.heard = (self.heard.0 + 1, self.heard.1 + self.round);
        }
        self.learn_arrived(from_port);
    }

    /// ICMP says that the port is closed.
    pub(super) fn handle_refusal(&mut self, port: u16) {
        if self.range.contains(&port) {
            self.port(port).refused = true;
        }
    }

    /// The agent told what it saw.
    pub(super) fn handle_sighting(&mut self, now: Instant, sighting: &Sighting) {
        self.is_waiting_for_agent = false;
        for port in sighting.arrived.iter() {
            self.learn_arrived(port);
        }
        for (number, port) in self.range.clone().zip(&mut self.ports) {
            port.answered = sighting.answered.contains(number);
        }
        self.judge_loss(now, (sighting.seen.measures, sighting.seen.marks));
        if self.phase == Phase::Asking {
            self.end_round();
        }
    }

    /// The agent did not tell.
    pub(super) fn handle_no_sighting(&mut self, now: Instant) {
        self.is_waiting_for_agent = false;
        if self.phase == Phase::Asking {
            self.phase = Phase::Waiting(now + ASK_EVERY);
        }
    }

    /// Whether all is known that can be.
    pub(super) fn is_done(&self) -> bool {
        self.phase == Phase::Done
    }

    /// What is known of each port.
    pub(super) fn states(&self) -> Vec<(u16, State)> {
        let state = |port: &Port| match port {
            Port { heard: true, .. } => State::Open,
            Port { arrived: true, answered: true, .. } => State::OneWay,
            Port { arrived: true, .. } => State::InUse,
            Port { refused: true, .. } => State::Refused,
            Port { asked: true, .. } => State::Silent,
            _ => State::Unasked,
        };
        self.range.clone().zip(self.ports.iter().map(state)).collect()
    }

    pub(super) fn progress(&self) -> Progress {
        Progress {
            asked: self.ports.iter().filter(|port| port.asked).count(),
            total: self.ports.len(),
            arrived: self.ports.iter().filter(|port| port.arrived).count(),
            rate: self.pace.rate(),
        }
    }

    /// How many packets measured, and how many of them were lost, as far as the agent told.
    pub(super) fn measured(&self) -> (u32, u32) {
        (self.told.1, self.told.1.saturating_sub(self.told.0))
    }

    fn port(&mut self, port: u16) -> &mut Port {
        let at = usize::from(port - self.range.start());
        &mut self.ports[at]
    }

    fn learn_arrived(&mut self, port: u16) {
        let is_new = !std::mem::replace(&mut self.port(port).arrived, true);
        if is_new && self.known.len() < MEASURED {
            self.known.push(port);
        }
    }

    /// How long packets may be on their way there and back.
    fn way(&self) -> Duration {
        self.round_trip.map_or(LONG, |it| (it * 2).clamp(WAIT.0, WAIT.1))
    }

    fn judge_loss(&mut self, now: Instant, told: (u32, u32)) {
        let before = self.told;
        self.told = (told.0.max(before.0), told.1.max(before.1));
        if self.known.is_empty() {
            self.pace.goes_blind();
            return;
        }
        // Marks that must have arrived by now, or never will.
        let long_ago = now.checked_sub(self.way().max(LONG));
        let mut due = 0;
        while let Some((_, marks)) =
            self.sent_marks.front().filter(|it| long_ago.is_some_and(|ago| it.0 <= ago))
        {
            due = *marks;
            self.sent_marks.pop_front();
        }
        let arrived = self.told.0 - before.0;
        let expected = self.told.1.max(due).saturating_sub(before.1);
        if expected < ENOUGH / 2 || now < self.stale_until {
            return;
        }
        let rate = self.pace.rate();
        self.pace.hears(1.0 - (f64::from(arrived) / f64::from(expected)).min(1.0));
        if self.pace.rate() < rate {
            self.stale_until = now + self.way();
        }
    }

    /// In an order in which neighbours are far apart: what is lost together must not look like a rule.
    fn begin_round(&mut self, ports: &[u16]) {
        if ports.is_empty() {
            self.phase = Phase::Done;
            return;
        }
        self.round += 1;
        let (count, step) = (ports.len(), coprime(ports.len(), self.round));
        self.queue = (0..count).map(|n| ports[n * step % count]).collect();
        self.phase = Phase::Sending;
    }

    fn end_round(&mut self) {
        let silent: Vec<u16> = self.with(|port| !port.arrived);
        let unheard: Vec<u16> = self.with(|port| port.arrived && port.answered && !port.heard);
        let is_silence_sure = match self.ports.len() - silent.len() {
            0 => self.ports.len() >= MANY || self.round >= 3,
            arrived => self.doubt(arrived, self.measured()) <= MOST_DOUBT,
        };
        // There and back, something is lost twice.
        let is_no_answer_sure = match self.heard {
            (0, _) => self.round >= 2,
            (heard, asked) => self.doubt(heard as usize, (asked, asked - heard)) <= MOST_DOUBT,
        };
        let mut again = Vec::new();
        if self.round < MOST_ROUNDS {
            again.extend(silent.into_iter().filter(|_| !is_silence_sure));
            again.extend(unheard.into_iter().filter(|_| !is_no_answer_sure));
        }
        again.sort_unstable();
        self.begin_round(&again);
    }

    fn with(&self, test: impl Fn(&Port) -> bool) -> Vec<u16> {
        self.range.clone().zip(&self.ports).filter(|(_, port)| test(port)).map(|(number, _)| number).collect()
    }

    /// How likely at least one port besides so many good ones is as good and had bad luck each time, if so many packets were
    /// sent to good ones and so many of them lost.
    fn doubt(&self, good: usize, (sent, lost): (u32, u32)) -> f64 {
        if sent < ENOUGH {
            // Nothing was measured: as many tries as a bad way takes.
            return if self.round >= 5 { 0.0 } else { 1.0 };
        }
        // What is lost at most, 95 times of 100.
        let (lost, sent) = (f64::from(lost), f64::from(sent));
        let share = ((lost + 2.0 * lost.sqrt() + 3.0) / sent).min(0.95);
        1.0 - (1.0 - share.powi(self.round.cast_signed())).powf(good as f64)
    }
}

/// A step with which each of `count` ports, of which there is one at least, is met once; another one in each round.
fn coprime(count: usize, round: u32) -> usize {
    let divisor = |mut a: usize, mut b: usize| {
        while b != 0 {
            (a, b) = (b, a % b);
        }
        a
    };
    let begin = count * 618 / 1000 + round as usize;
    // 1 more than a multiple of it always is one.
    (begin.max(1)..=begin + count + 1).find(|step| divisor(*step, count) <= 1).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use hubs_relay::sweep::{PortSet, channel::Seen};
    use proptest::prelude::*;

    use super::*;

    /// A network with a node behind it, in virtual time.
    struct World {
        rule: fn(u16) -> State,
        /// Of a thousand packets, how many are lost in each direction.
        lost: u64,
        /// How many get through in a second.
        capacity: usize,
        random: u64,
    }

    /// What came of a sweep there.
    struct Swept {
        states: Vec<(u16, State)>,
        took: Duration,
        packets: usize,
    }

    impl World {
        fn loses_one(&mut self) -> bool {
            self.random =
                self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.random >> 33) % 1000 < self.lost
        }

        fn sweep(&mut self, range: RangeInclusive<u16>) -> Swept {
            let begun = Instant::now();
            let (step, trip) = (Duration::from_millis(2), Duration::from_millis(30));
            let mut survey = Survey::new(range.clone(), 7, begun);
            let (mut arrived, mut answered) = (PortSet::new(range.clone()), PortSet::new(range));
            let (mut measures, mut marks, mut packets) = (0, 0, 0);
            let (mut answers, mut report) = (VecDeque::new(), None);
            let mut now = begun;
            while !survey.is_done() {
                now += step;
                assert!(now < begun + Duration::from_mins(10), "it does not end");
                let mut room = (self.capacity as f64 * step.as_secs_f64()).ceil() as usize;
                while let Some(packet) = survey.poll_packet(now) {
                    packets += 1;
                    let is_lost = room == 0 || self.loses_one();
                    room = room.saturating_sub(1);
                    let state = (self.rule)(packet.port);
                    match (is_lost, state, packet.kind) {
                        (true, ..) | (_, State::Silent | State::Unasked, _) => {}
                        (_, State::Refused, _) => survey.handle_refusal(packet.port),
                        (_, _, Kind::Measure) => {
                            measures += 1;
                            marks = marks.max(packet.mark + 1);
                        }
                        (_, state, _) => {
                            arrived.insert(packet.port);
                            if state != State::InUse {
                                answered.insert(packet.port);
                            }
                            if state == State::Open && !self.loses_one() {
                                answers.push_back((now + trip, packet.answer()));
                            }
                        }
                    }
                }
                while let Some((_, answer)) = answers.pop_front_if(|it: &mut (Instant, Packet)| it.0 <= now) {
                    survey.handle_answer(now, answer.port, answer);
                }
                if let Some(sighting) = report.take_if(|it: &mut (Instant, Sighting)| it.0 <= now) {
                    survey.handle_sighting(now, &sighting.1);
                }
                if survey.poll_question(now) {
                    let seen = Seen { measures, marks, ..Seen::default() };
                    let connected = PortSet::new(arrived.range());
                    let (arrived, answered) = (arrived.clone(), answered.clone());
                    report = Some((now + trip, Sighting { arrived, answered, connected, seen }));
                }
            }
            Swept { states: survey.states(), took: now - begun, packets }
        }
    }

    const ALL: RangeInclusive<u16> = 35_000..=60_000;

    fn mixed(port: u16) -> State {
        match port {
            36_000..=39_999 | 45_000 => State::Open,
            40_000..=40_009 => State::InUse,
            50_000..=50_499 => State::OneWay,
            52_000..=52_099 => State::Refused,
            _ => State::Silent,
        }
    }

    fn is_told(swept: &Swept, rule: fn(u16) -> State) {
        let wrong: Vec<_> =
            swept.states.iter().filter(|(port, state)| *state != rule(*port)).take(20).collect();
        assert!(wrong.is_empty(), "{wrong:?}");
    }

    #[test]
    fn where_nothing_is_lost_each_port_is_told_in_less_than_ten_seconds() {
        for rule in [
            mixed,
            |_| State::Open,
            |_| State::Silent,
            |port| if port % 2 == 0 { State::Open } else { State::Silent },
        ] {
            let swept = World { rule, lost: 0, capacity: usize::MAX, random: 1 }.sweep(ALL);
            is_told(&swept, rule);
            assert!(swept.took < Duration::from_secs(10), "{:?}", swept.took);
        }
    }

    #[test]
    fn where_a_third_is_lost_each_port_is_told_as_well() {
        let swept = World { rule: mixed, lost: 300, capacity: usize::MAX, random: 1 }.sweep(35_000..=42_000);
        is_told(&swept, mixed);
    }

    #[test]
    fn a_slow_way_is_not_flooded() {
        let rule = |port| if port < 37_500 { State::Open } else { State::Silent };
        let swept = World { rule, lost: 0, capacity: 1_000, random: 1 }.sweep(35_000..=40_000);
        is_told(&swept, rule);
        let rate = swept.packets as f64 / swept.took.as_secs_f64();
        assert!(rate < 2_000.0, "{rate} packets a second");
    }

    #[test]
    fn a_sweep_of_few_ports_ends_whatever_they_are() {
        for rule in
            [|_| State::Open, |_| State::Silent, |_| State::InUse, |_| State::OneWay, |_| State::Refused]
        {
            for range in [443..=443, 1..=2, 65_530..=65_535] {
                let swept = World { rule, lost: 0, capacity: usize::MAX, random: 1 }.sweep(range);
                is_told(&swept, rule);
            }
        }
    }

    #[test]
    fn an_answer_for_another_port_or_of_another_session_counts_for_nothing() {
        let now = Instant::now();
        let mut survey = Survey::new(1..=2, 7, now);
        let answer = Packet { kind: Kind::Answer, port: 1, session: 7, sequence: 0, time: 0, mark: 0 };
        survey.handle_answer(now, 2, answer);
        survey.handle_answer(now, 1, Packet { session: 8, ..answer });
        survey.handle_answer(now, 1, Packet { kind: Kind::Question, ..answer });
        survey.handle_answer(now, 3, Packet { port: 3, ..answer });
        assert_eq!(survey.states(), [(1, State::Unasked), (2, State::Unasked)]);
        survey.handle_answer(now, 1, answer);
        assert_eq!(survey.states()[0], (1, State::Open));
    }

    proptest! {
        #[test]
        fn each_port_is_met_once_in_each_round(count in 1_usize..30_000, round in 1_u32..20) {
            let step = coprime(count, round);
            let met: std::collections::BTreeSet<usize> = (0..count).map(|n| n * step % count).collect();
            prop_assert_eq!(met.len(), count);
        }
    }
}
