//! What becomes of packets: for every port, and for every address at both ends, the rule that decides.
//!
//! The groups on the way are asked one after the other, and each has to let a packet pass; in each the first rule that matches
//! decides. What a rule may match is carried on as a doubt: if all that could happen comes to the same, nothing is in doubt, and
//! otherwise it is said that it is not known.

use std::borrow::Borrow;

use super::{
    ranges::{Addresses, Ports},
    region::{Dimension, MANY, Part, Protocols, Region, fewer, joined},
    rules::{Access, Direction, Group, Knowledge, Layer, Reach, Rule},
};

/// The groups on the way between a node and the rest of the world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Way {
    /// For people, where there are several: which interfaces or subnets it leads to.
    pub(crate) name: String,
    /// The groups that are asked, of which each layer has one at most.
    pub(crate) layers: Vec<(Layer, usize)>,
    /// The addresses of the nodes at its end, if they are known.
    pub(crate) nodes: Addresses,
}

impl Way {
    /// The groups in the order in which they are asked: in, the subnet's before the interface's; out, the other way round; an
    /// administrator's rules always first.
    pub(crate) fn in_order(&self, direction: Direction) -> Vec<(Layer, usize)> {
        let mut layers = self.layers.clone();
        layers.sort_by_key(|(layer, _)| match (layer, direction) {
            (Layer::Admin, _) => 0,
            (Layer::Subnet, Direction::Inbound) | (Layer::Interface, Direction::Outbound) => 1,
            (Layer::Interface, Direction::Inbound) | (Layer::Subnet, Direction::Outbound) => 2,
        });
        layers
    }
}

/// Whether a set stands for all of its members or for one of them that is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    Every,
    One,
}

/// One end of a flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) addresses: Addresses,
    pub(crate) extent: Extent,
    /// In words, such as `the internet`.
    pub(crate) text: String,
}

/// Packets that somebody wants to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Flow {
    pub(crate) direction: Direction,
    pub(crate) protocol: Protocols,
    pub(crate) ports: Ports,
    pub(crate) source: End,
    pub(crate) destination: End,
}

impl Flow {
    fn region(&self) -> Region {
        Region {
            protocols: self.protocol,
            sources: self.source.addresses.clone(),
            source_ports: Ports::every(),
            destinations: self.destination.addresses.clone(),
            ports: self.ports.clone(),
        }
    }
}

/// A rule of a group, both by their places.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Decider {
    pub(crate) layer: Layer,
    pub(crate) group: usize,
    pub(crate) rule: usize,
}

/// What becomes of a packet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fate {
    /// Each of these lets it pass.
    Allowed(Vec<Decider>),
    Denied(Decider),
    /// No group lets it in, and without one a public address is closed.
    Closed,
    /// It depends on what these rules match, or do.
    Unknown(Vec<Decider>),
    /// The rules before this one left so many parts that it and those behind it were not asked.
    Unfinished(Decider),
}

/// Packets that all come to the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Piece {
    pub(crate) fate: Fate,
    pub(crate) region: Region,
}

/// What becomes of the flow on this way, in pieces that have nothing in common and together are the whole of it.
pub(crate) fn evaluate(
    way: &Way,
    groups: &[impl Borrow<Group>],
    knowledge: &Knowledge,
    flow: &Flow,
) -> Vec<Piece> {
    let layers = way.in_order(flow.direction);
    let mut under_way = vec![Passing { region: flow.region(), by: Vec::new(), doubts: Vec::new() }];
    let mut pieces = Vec::new();
    for (layer, group) in &layers {
        let asked = Asked { layer: *layer, group: *group, rules: groups[*group].borrow(), flow };
        under_way = asked.pass(&under_way, &mut pieces);
    }
    let has_group = layers.iter().any(|(layer, _)| *layer != Layer::Admin);
    let is_from_outside =
        flow.direction == Direction::Inbound && !knowledge.virtual_network().covers(&flow.source.addresses);
    pieces.extend(under_way.into_iter().map(|passing| {
        let fate = match passing.doubts.is_empty() {
            _ if !has_group && is_from_outside => Fate::Closed,
            true => Fate::Allowed(passing.by),
            false => Fate::Unknown(passing.doubts),
        };
        Piece { fate, region: passing.region }
    }));
    merged(pieces)
}

/// So many times one group may be asked about a part. A thousand rules of all kinds need a tenth of it; thousands that differ in all
/// dimensions would need hundreds of times as much.
const MOST_EFFORT: usize = 500_000;

/// Packets that nobody denied so far.
struct Passing {
    region: Region,
    by: Vec<Decider>,
    /// Rules of groups before that may have denied them.
    doubts: Vec<Decider>,
}

/// A group that is asked.
struct Asked<'a> {
    layer: Layer,
    group: usize,
    rules: &'a Group,
    flow: &'a Flow,
}

/// Packets about which no rule of the group decided yet.
struct Waiting {
    region: Region,
    /// Rules before that may have matched.
    maybe: Vec<usize>,
    /// Which of the packets that came in they are.
    passing: usize,
}

impl Asked<'_> {
    /// Lets the group decide. What it denies ends among `pieces`; what it lets pass goes on.
    fn pass(&self, before: &[Passing], pieces: &mut Vec<Piece>) -> Vec<Passing> {
        let mut after = Vec::new();
        let mut waiting: Vec<_> = before
            .iter()
            .enumerate()
            .map(|(passing, it)| Waiting { region: it.region.clone(), maybe: Vec::new(), passing })
            .collect();
        let whole = self.flow.region();
        let mut many = MANY;
        let mut effort = 0;
        for (at, rule) in self.rules.directed(self.flow.direction) {
            if waiting.is_empty() {
                break;
            }
            waiting = fewer(waiting, &mut many);
            let Some(Reach { sure, possible, doubts }) = self.rules.reach(at) else { continue };
            if !possible.overlaps(&whole) {
                continue;
            }
            effort += waiting.len();
            if effort > MOST_EFFORT {
                let by = Decider { layer: self.layer, group: self.group, rule: at };
                let unfinished = |it: Waiting| Piece { fate: Fate::Unfinished(by), region: it.region };
                pieces.extend(std::mem::take(&mut waiting).into_iter().map(unfinished));
                break;
            }
            waiting = split(waiting, sure, |decided| {
                let passing = &before[decided.passing];
                self.decide(decided, Some((at, rule)), passing, pieces, &mut after);
                None
            });
            if doubts.is_empty() {
                continue;
            }
            waiting = split(waiting, possible, |mut doubtful| {
                doubtful.maybe.push(at);
                Some(doubtful)
            });
        }
        for rest in waiting {
            let passing = &before[rest.passing];
            self.decide(rest, None, passing, pieces, &mut after);
        }
        after
    }

    fn decide(
        &self,
        decided: Waiting,
        rule: Option<(usize, &Rule)>,
        before: &Passing,
        pieces: &mut Vec<Piece>,
        after: &mut Vec<Passing>,
    ) {
        let named = |rule| Decider { layer: self.layer, group: self.group, rule };
        let Waiting { region, maybe, .. } = decided;
        let own = self.effect(rule.map(|(_, rule)| rule));
        let others: Vec<_> = maybe.iter().map(|at| self.effect(self.rules.rules().get(*at))).collect();
        let rule = rule.map(|(at, _)| named(at));
        let mut doubts = before.doubts.clone();
        let is_clear = own != Effect::Unsure && others.iter().all(|it| *it == own);
        if is_clear {
            match (own, rule) {
                // Whatever may have happened before, here it ends.
                (Effect::Stop, Some(rule)) => pieces.push(Piece { fate: Fate::Denied(rule), region }),
                (Effect::Admit, Some(rule)) if doubts.is_empty() => {
                    pieces.push(Piece { fate: Fate::Allowed(vec![rule]), region });
                }
                _ => {
                    let by = before.by.iter().copied().chain(rule).collect();
                    after.push(Passing { region, by, doubts });
                }
            }
            return;
        }
        doubts.extend(maybe.into_iter().map(named));
        let may_be_last = |effect: &Effect| match effect {
            Effect::Admit => true,
            Effect::Unsure => self.layer == Layer::Admin,
            Effect::Pass | Effect::Stop => false,
        };
        if doubts.is_empty() || may_be_last(&own) || others.iter().any(may_be_last) {
            doubts.extend(rule);
            pieces.push(Piece { fate: Fate::Unknown(doubts), region });
        } else {
            // If a later group denies it in any case, that is what counts.
            after.push(Passing { region, by: before.by.clone(), doubts });
        }
    }

    /// What the rule does, or what happens without any.
    fn effect(&self, rule: Option<&Rule>) -> Effect {
        match rule.map(|rule| rule.access) {
            Some(Some(Access::Allow)) => Effect::Pass,
            Some(Some(Access::Deny)) => Effect::Stop,
            Some(Some(Access::AlwaysAllow)) => Effect::Admit,
            // An administrator's rules need not decide.
            None if self.layer == Layer::Admin => Effect::Pass,
            Some(None) | None => Effect::Unsure,
        }
    }
}

/// What a group does with packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    /// The next group is asked.
    Pass,
    Stop,
    /// No other group is asked.
    Admit,
    Unsure,
}

/// Hands what lies in `region` to `take`, and keeps the rest and what it gives back.
fn split(
    mut waiting: Vec<Waiting>,
    region: &Region,
    mut take: impl FnMut(Waiting) -> Option<Waiting>,
) -> Vec<Waiting> {
    let Some(first) = waiting.iter().position(|it| it.region.overlaps(region)) else { return waiting };
    let rest = waiting.split_off(first);
    let mut left = waiting;
    for it in rest {
        if !it.region.overlaps(region) {
            left.push(it);
            continue;
        }
        let Waiting { region: whole, maybe, passing } = it;
        let cut = whole.cut(region);
        let outside = cut.outside.into_iter();
        left.extend(outside.map(|region| Waiting { region, maybe: maybe.clone(), passing }));
        left.extend(take(Waiting { region: cut.inside, maybe, passing }));
    }
    left
}

impl Part for Piece {
    fn region(&self) -> &Region {
        &self.region
    }

    fn region_mut(&mut self) -> &mut Region {
        &mut self.region
    }

    fn label(&self) -> impl Ord {
        &self.fate
    }
}

impl Part for Waiting {
    fn region(&self) -> &Region {
        &self.region
    }

    fn region_mut(&mut self) -> &mut Region {
        &mut self.region
    }

    fn label(&self) -> impl Ord {
        (self.passing, &self.maybe)
    }
}

/// Pieces that differ in nothing but their ports become one.
fn merged(pieces: Vec<Piece>) -> Vec<Piece> {
    let mut merged = joined(pieces, Dimension::Ports);
    // The first address alone mostly decides, and is at hand.
    merged.sort_by_cached_key(|it| {
        (it.region.ports.first(), it.region.sources.first(), it.region.sources.clone())
    });
    merged
}
