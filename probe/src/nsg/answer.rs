//! What the rules say to a question, on each way on which it can be asked, in words.

use std::{collections::BTreeSet, fmt::Write as _};

use super::{
    evaluate::{Decider, Extent, Fate, Piece, Way, evaluate},
    question::{Purpose, Question, Wanted},
    ranges::{Addresses, Ports},
    read::Declared,
    rules::{Layer, Rule},
};

/// What it amounts to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// All of it passes.
    Open,
    /// Part of it passes.
    Partly,
    /// None of it passes.
    Closed,
    /// It depends on what is not known.
    Unknown,
}

/// A question, and what becomes of its packets on one way.
#[derive(Clone, Debug)]
pub(crate) struct Answer<'d> {
    pub(crate) question: Question,
    pub(crate) way: &'d Way,
    pub(crate) pieces: Vec<Piece>,
    /// What else is denied on the way, as far as it was asked before: each of them needs a rule of its own.
    pub(crate) denied_before: Vec<Purpose>,
    declared: &'d Declared,
}

/// Every question on every way.
pub(crate) fn answers<'d>(declared: &'d Declared, wanted: &Wanted) -> Vec<Answer<'d>> {
    let of_way = |way: &'d Way| {
        let mut denied = Vec::new();
        wanted.questions(declared, way).into_iter().map(move |question| {
            let pieces = evaluate(way, &declared.groups, &declared.knowledge, &question.flow);
            let answer = Answer { question, way, pieces, denied_before: denied.clone(), declared };
            if matches!(answer.state(), State::Closed | State::Partly) && answer.kept_out().is_none() {
                denied.push(answer.purpose());
            }
            answer
        })
    };
    declared.ways.iter().flat_map(of_way).collect()
}

impl Answer<'_> {
    pub(crate) fn purpose(&self) -> Purpose {
        self.question.purpose
    }

    pub(crate) fn state(&self) -> State {
        let flow = &self.question.flow;
        // What holds of some of the addresses, of which one is meant, says nothing.
        let is_of_all = |piece: &&Piece| {
            let is_whole = |extent, part, whole| extent == Extent::Every || part == whole;
            is_whole(flow.source.extent, &piece.region.sources, &flow.source.addresses)
                && is_whole(flow.destination.extent, &piece.region.destinations, &flow.destination.addresses)
        };
        let passes = |piece: &&Piece| matches!(piece.fate, Fate::Allowed(_));
        let is_open = |piece: &&Piece| !matches!(piece.fate, Fate::Denied(_) | Fate::Closed);
        let pieces = || self.pieces.iter();
        let denied = pieces().filter(|piece| !is_open(piece)).count();
        if pieces().all(|piece| passes(&piece)) {
            State::Open
        } else if denied == self.pieces.len() {
            State::Closed
        } else if pieces().filter(|piece| !is_open(piece)).any(|piece| is_of_all(&piece)) {
            State::Partly
        } else {
            State::Unknown
        }
    }

    /// The ports that do not pass, from wherever to wherever.
    pub(crate) fn denied_ports(&self) -> Ports {
        let denied = self.pieces.iter().filter(|it| matches!(it.fate, Fate::Denied(_) | Fate::Closed));
        denied.flat_map(|it| it.region.ports.iter()).collect()
    }

    /// Whether a packet to this port passes, from and to everywhere; nothing if that is not the same for all.
    pub(crate) fn passes(&self, port: u16) -> Option<bool> {
        let fates = self.pieces.iter().filter(|it| it.region.ports.has(port));
        let mut passes = fates.map(|it| match it.fate {
            Fate::Allowed(_) => Some(true),
            Fate::Denied(_) | Fate::Closed => Some(false),
            Fate::Unknown(_) | Fate::Unfinished(_) => None,
        });
        let first = passes.next()??;
        passes.all(|it| it == Some(first)).then_some(first)
    }

    /// Those few who are kept out, where a rule of one's own does that and the others come in at all ports.
    pub(crate) fn kept_out(&self) -> Option<Addresses> {
        let whole = &self.question.flow.source.addresses;
        let mut out = Addresses::default();
        let mut passing = Ports::default();
        for piece in &self.pieces {
            match &piece.fate {
                Fate::Allowed(_) => passing = passing.union(&piece.region.ports),
                Fate::Denied(by) => {
                    let group = self.declared.groups.get(by.group)?;
                    let (rule, reach) = (self.rule(*by)?, group.reach(by.rule)?);
                    // A rule against everybody is no exception to another one.
                    if rule.is_default || reach.possible.sources.covers(whole) {
                        return None;
                    }
                    out = out.union(&piece.region.sources);
                }
                Fate::Closed | Fate::Unknown(_) | Fate::Unfinished(_) => return None,
            }
        }
        // Where most are, it is what several rules against some come to that keeps people out.
        let are_few = !out.is_empty() && out.v4_count() < whole.v4_count() / 2;
        (are_few && passing.covers(&self.question.flow.ports)).then_some(out)
    }

    /// The rules that deny something, each once.
    pub(crate) fn deniers(&self) -> BTreeSet<Decider> {
        let deniers = self.pieces.iter().filter_map(|it| match it.fate {
            Fate::Denied(by) => Some(by),
            Fate::Allowed(_) | Fate::Closed | Fate::Unknown(_) | Fate::Unfinished(_) => None,
        });
        deniers.collect()
    }

    pub(crate) fn rule(&self, by: Decider) -> Option<&Rule> {
        self.declared.groups.get(by.group)?.rules().get(by.rule)
    }

    /// Each interval of ports, and what becomes of it.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (String, String)> {
        let flow = &self.question.flow;
        let line = move |piece: &Piece| {
            let mut text = self.fate(&piece.fate);
            if piece.region.sources != flow.source.addresses {
                let _ = write!(text, ", from {}", piece.region.sources);
            }
            if piece.region.destinations != flow.destination.addresses {
                let _ = write!(text, ", to {}", piece.region.destinations);
            }
            if !piece.region.source_ports.is_all() {
                let _ = write!(text, ", from the ports {}", piece.region.source_ports);
            }
            (piece.region.ports.to_string(), text)
        };
        self.pieces.iter().map(line)
    }

    fn fate(&self, fate: &Fate) -> String {
        let named = |by: &Decider| self.named(*by);
        match fate {
            Fate::Allowed(by) if by.is_empty() => "allowed: no group is on the way".to_owned(),
            Fate::Allowed(by) => {
                format!("allowed by {}", by.iter().map(named).collect::<Vec<_>>().join(" and by "))
            }
            Fate::Denied(by) => format!("denied by {}", named(by)),
            Fate::Closed => "closed: no group is on the way, and without one nothing comes in".to_owned(),
            Fate::Unknown(doubts) => {
                let doubts = doubts.iter().map(|by| format!("{}{}", named(by), self.doubt(*by)));
                format!("not known: it depends on {}", doubts.collect::<Vec<_>>().join(" and on "))
            }
            Fate::Unfinished(by) => {
                format!("not worked out from {} on, since too many parts are left there", named(by))
            }
        }
    }

    /// A rule because of which it is not known what becomes of something.
    pub(crate) fn doubted(&self) -> Option<Decider> {
        self.pieces.iter().find_map(|it| match &it.fate {
            Fate::Unknown(doubts) => doubts.first().copied(),
            Fate::Unfinished(by) => Some(*by),
            Fate::Allowed(_) | Fate::Denied(_) | Fate::Closed => None,
        })
    }

    /// Whether of some packets it was not worked out what becomes of them.
    pub(crate) fn is_unfinished(&self) -> bool {
        self.pieces.iter().any(|it| matches!(it.fate, Fate::Unfinished(_)))
    }

    fn doubt(&self, by: Decider) -> String {
        let reach = self.declared.groups.get(by.group).and_then(|group| group.reach(by.rule));
        let doubts = reach.map(|reach| reach.doubts.as_slice()).unwrap_or_default();
        doubts.first().map(|doubt| format!(" ({doubt})")).unwrap_or_default()
    }

    /// A rule with its group and where that stands.
    pub(crate) fn named(&self, by: Decider) -> String {
        let group = self.declared.groups.get(by.group).map_or("a group", |it| it.name.as_str());
        let layer = match by.layer {
            Layer::Admin => "administrator",
            Layer::Subnet => "subnet",
            Layer::Interface => "network interface",
        };
        match self.rule(by) {
            Some(rule) => format!("{rule} of {group} ({layer})"),
            None => format!("{group} ({layer})"),
        }
    }

    pub(crate) fn declared(&self) -> &Declared {
        self.declared
    }
}
