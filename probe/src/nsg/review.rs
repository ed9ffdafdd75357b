//! Rules that are of no use, or of too much: those that others leave nothing to decide, and those that let in more than anybody
//! asked for.

use super::{
    ranges::Ports,
    read::Declared,
    region::{Protocols, Region},
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

/// Rules that others before them leave nothing to decide. Only what is sure of those counts, and all that is possible of it.
pub(crate) fn shadowed(declared: &Declared) -> Vec<Shadowed<'_>> {
    let mut found = Vec::new();
    for group in &declared.groups {
        for direction in [Direction::Inbound, Direction::Outbound] {
            let (rules, reaches): (Vec<_>, Vec<_>) =
                group.directed(direction).filter_map(|(at, rule)| Some((rule, group.reach(at)?))).unzip();
            let mut index = Index::default();
            for (at, Reach { sure, possible, .. }) in reaches.iter().enumerate() {
                let is_own = !rules[at].is_default && rules[at].direction.is_some();
                if is_own && !possible.is_empty() && index.may_be_covered(possible, &reaches) {
                    let mut before = index.around(possible, at);
                    before.retain(|at| reaches[*at].sure.overlaps(possible));
                    if possible.without(before.iter().map(|at| &reaches[*at].sure)).is_empty() {
                        let by = before.iter().map(|at| rules[*at]).collect();
                        found.push(Shadowed { group, rule: rules[at], by });
                    }
                }
                index.add(at, sure);
            }
        }
    }
    found
}

/// The rules before, by the ports that they name, so that each is compared only with those that it can have to do with.
struct Index {
    buckets: Vec<Vec<usize>>,
}

/// So many ports share a bucket.
const BUCKET: u16 = 256;

impl Default for Index {
    fn default() -> Self {
        Self { buckets: vec![Vec::new(); usize::from(u16::MAX / BUCKET) + 1] }
    }
}

impl Index {
    fn add(&mut self, at: usize, region: &Region) {
        if region.is_empty() {
            return;
        }
        for bucket in buckets(&region.ports) {
            // Two ranges of a rule may share one.
            if self.buckets[bucket].last() != Some(&at) {
                self.buckets[bucket].push(at);
            }
        }
    }

    /// Whether something before covers the first packet of it, and then its first port: without that, it is not covered.
    fn may_be_covered(&self, region: &Region, reaches: &[&Reach]) -> bool {
        let Some(packet) = region.first() else { return false };
        let Some(first) = region.ports.first() else { return false };
        let bucket = &self.buckets[usize::from(first / BUCKET)];
        let candidates = bucket.iter().map(|at| &reaches[*at].sure);
        if !candidates.clone().any(|it| it.has(&packet)) {
            return false;
        }
        let port = Region { ports: Ports::span(first, first), ..region.clone() };
        port.without(candidates.filter(|it| it.overlaps(&port))).is_empty()
    }

    /// Every rule before the one at `at` that shares a bucket with it, in order. Where that is most of them, it is all.
    fn around(&self, region: &Region, at: usize) -> Vec<usize> {
        let listed = || buckets(&region.ports).map(|it| &self.buckets[it]);
        if listed().map(Vec::len).sum::<usize>() >= at {
            return (0..at).collect();
        }
        let mut around: Vec<_> = listed().flatten().copied().collect();
        around.sort_unstable();
        around.dedup();
        around
    }
}

fn buckets(ports: &Ports) -> impl Iterator<Item = usize> {
    ports.iter().flat_map(|(first, last)| usize::from(first / BUCKET)..=usize::from(last / BUCKET))
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
    let internet = declared.knowledge.internet().v4_only();
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
