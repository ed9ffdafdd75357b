//! Rules that are of no use, or of too much: those that others leave nothing to decide, and those that let in more than anybody
//! asked for.

use std::collections::HashMap;

use super::{
    ranges::{Addresses, Ports},
    read::Declared,
    region::{Hull, Protocols, Region},
    rules::{Access, Direction, Group, Reach, Rule},
};

/// A rule that never decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shadowed<'d> {
    pub(crate) group: &'d Group,
    pub(crate) rule: &'d Rule,
    /// Those that decide in its place.
    pub(crate) by: Vec<&'d Rule>,
}

/// Which rules never decide, as far as that was found out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Order<'d> {
    pub(crate) shadowed: Vec<Shadowed<'d>>,
    /// Of so many it would take too long.
    pub(crate) untold: usize,
}

/// So many times one group's rules may be held against a part of one that others may cover.
const MOST_EFFORT: usize = 500_000;

/// Rules that others before them leave nothing to decide. Only what is sure of those counts, and all that is possible of it.
pub(crate) fn order(declared: &Declared) -> Order<'_> {
    let mut order = Order::default();
    for group in &declared.groups {
        for direction in [Direction::Inbound, Direction::Outbound] {
            let (rules, reaches): (Vec<_>, Vec<_>) =
                group.directed(direction).filter_map(|(at, rule)| Some((rule, group.reach(at)?))).unzip();
            let mut before = Before::default();
            for (at, Reach { sure, possible, .. }) in reaches.iter().enumerate() {
                let is_own = !rules[at].is_default && rules[at].direction.is_some();
                if is_own && !possible.is_empty() {
                    match before.covering(possible) {
                        Some(by) if by.is_empty() => {}
                        Some(by) => {
                            let by = by.into_iter().map(|at| rules[at]).collect();
                            order.shadowed.push(Shadowed { group, rule: rules[at], by });
                        }
                        None => order.untold += 1,
                    }
                }
                before.add(sure);
            }
        }
    }
    order
}

/// The rules before, by the ports and by the networks that they name, so that each is compared only with those that it can have to
/// do with.
struct Before<'d> {
    rules: Vec<(Hull, &'d Region)>,
    ports: Lists,
    sources: Lists,
    /// How many looks at a part are left.
    effort: usize,
}

/// Rules by numbers that they name.
#[derive(Default)]
struct Lists {
    by_number: HashMap<u16, Vec<usize>>,
    /// Those that name so many that they are looked at always.
    wide: Vec<usize>,
}

/// So many ports share a number.
const BUCKET: u16 = 256;
/// Rules that name more numbers are wide.
const WIDE: usize = 16;

impl Default for Before<'_> {
    fn default() -> Self {
        Self { rules: Vec::new(), ports: Lists::default(), sources: Lists::default(), effort: MOST_EFFORT }
    }
}

impl<'d> Before<'d> {
    fn add(&mut self, region: &'d Region) {
        let at = self.rules.len();
        self.rules.push((region.hull(), region));
        if !region.is_empty() {
            self.ports.add(at, buckets(&region.ports));
            self.sources.add(at, networks(region));
        }
    }

    /// The rules that leave nothing of it, in their order; none if something is left, and nothing if that takes too long.
    fn covering(&mut self, region: &Region) -> Option<Vec<usize>> {
        if !self.may_cover(region)? {
            return Some(Vec::new());
        }
        let hull = region.hull();
        let mut around = self.around(region);
        around.retain(|at| self.meets(*at, &hull, region));
        let others = around.iter().map(|at| self.rules[*at].1);
        Some(if region.is_covered(&mut self.effort, others)? { around } else { Vec::new() })
    }

    fn meets(&self, at: usize, hull: &Hull, region: &Region) -> bool {
        self.rules[at].0.meets(hull) && self.rules[at].1.overlaps(region)
    }

    /// Whether they cover the first packet of it, and then its first port: without that, they do not cover it.
    fn may_cover(&mut self, region: &Region) -> Option<bool> {
        let (Some(packet), Some(first)) = (region.first(), region.ports.first()) else { return Some(false) };
        let by_port = self.ports.of(first / BUCKET);
        let by_network = networks(region).next().map(|network| self.sources.of(network));
        let count = |lists: &[&[usize]; 2]| lists[0].len() + lists[1].len();
        let near = by_network.filter(|it| count(it) < count(&by_port)).unwrap_or(by_port);
        let hull = packet.hull();
        let has_it = |at: &usize| self.rules[*at].0.meets(&hull) && self.rules[*at].1.has(&packet);
        if !near.into_iter().flatten().any(has_it) {
            return Some(false);
        }
        let port = Region { ports: Ports::span(first, first), ..region.clone() };
        let hull = port.hull();
        let near = by_port.into_iter().flatten().filter(|at| self.meets(**at, &hull, &port));
        let near: Vec<_> = near.map(|at| self.rules[*at].1).collect();
        port.is_covered(&mut self.effort, near)
    }

    /// Every rule that may share a port with it, in order. Where that is most of them, it is all.
    fn around(&self, region: &Region) -> Vec<usize> {
        let listed = || buckets(&region.ports).filter_map(|it| self.ports.by_number.get(&it));
        if listed().map(Vec::len).sum::<usize>() + self.ports.wide.len() >= self.rules.len() {
            return (0..self.rules.len()).collect();
        }
        let mut around: Vec<_> = listed().flatten().chain(&self.ports.wide).copied().collect();
        around.sort_unstable();
        around.dedup();
        around
    }
}

impl Lists {
    fn add(&mut self, at: usize, numbers: impl Iterator<Item = u16> + Clone) {
        if numbers.clone().nth(WIDE).is_some() {
            self.wide.push(at);
            return;
        }
        for number in numbers {
            let rules = self.by_number.entry(number).or_default();
            // Two ranges of a rule may share one.
            if rules.last() != Some(&at) {
                rules.push(at);
            }
        }
    }

    /// The rules that may name the number.
    fn of(&self, number: u16) -> [&[usize]; 2] {
        [self.by_number.get(&number).map(Vec::as_slice).unwrap_or_default(), &self.wide]
    }
}

fn buckets(ports: &Ports) -> impl Iterator<Item = u16> + Clone {
    ports.iter().flat_map(|(first, last)| first / BUCKET..=last / BUCKET)
}

/// The networks of 16 bits, by these bits, from which packets of IPv4 come.
fn networks(region: &Region) -> impl Iterator<Item = u16> + Clone {
    region.sources.v4_blocks().flat_map(|(first, last)| first..=last)
}

/// A rule that lets in more than anybody asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Broad<'d> {
    pub(crate) group: &'d Group,
    pub(crate) rule: &'d Rule,
    pub(crate) why: String,
}

/// More ports than this are more than Hubs' documentation ever named for media.
const MANY: u32 = 30_000;
/// So many ports of TCP come with none of Hubs' needs.
const SEVERAL: u32 = 100;

/// Rules by which the internet comes in to more than what Hubs needs.
pub(crate) fn broad(declared: &Declared) -> Vec<Broad<'_>> {
    let internet = declared.knowledge.internet().difference(&Addresses::private()).v4_only();
    let mut found = Vec::new();
    for group in &declared.groups {
        for (at, rule) in group.directed(Direction::Inbound) {
            if rule.is_default || rule.access == Some(Access::Deny) || rule.access.is_none() {
                continue;
            }
            let Some(Reach { sure, .. }) = group.reach(at) else { continue };
            if !sure.sources.covers(&internet) {
                continue;
            }
            let count = sure.ports.count();
            let is_tcp = sure.protocols.covers(Protocols::TCP);
            let why = if count > MANY {
                format!("lets everybody in to {count} ports, {}", sure.protocols)
            } else if is_tcp && count > SEVERAL {
                format!("lets everybody in to {count} ports of TCP, where Hubs needs four")
            } else {
                continue;
            };
            found.push(Broad { group, rule, why });
        }
    }
    found
}
