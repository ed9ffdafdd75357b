//! Why packets do not pass although somebody made a rule for them, and the smallest rule that lets them pass.

use std::{borrow::Cow, collections::BTreeSet};

use super::{
    answer::Answer,
    evaluate::{Decider, Extent, Fate, Piece, Way, evaluate},
    question::Purpose,
    ranges::{Addresses, Ports},
    region::{Protocols, Region},
    rules::{Access, Direction, Group, Layer, Operand, PortOperand, Reach, Rule},
};

/// In what a rule differs from the packets for which somebody may have meant it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Difference {
    /// In nothing: another rule stands before it.
    Order,
    Destination,
    Protocol,
    Source,
    SourcePort,
    Ports,
}

/// A rule that nearly lets packets pass, or would.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NearMiss {
    pub(crate) difference: Difference,
    pub(crate) rule: Decider,
    /// What denies them in its place.
    pub(crate) denier: Decider,
    /// Why it does not.
    pub(crate) text: String,
}

/// As many as one reads through.
const MOST_MISSES: usize = 4;
/// For so many pieces of what is denied they are looked for.
const MOST_PIECES: usize = 8;

/// The rules that somebody may have thought of, in the groups that deny.
pub(crate) fn near_misses(answer: &Answer<'_>) -> Vec<NearMiss> {
    let declared = answer.declared();
    let mut misses: Vec<(Difference, Decider, Decider, &Region)> = Vec::new();
    let mut known = BTreeSet::new();
    // The largest pieces are those that somebody means.
    let mut pieces: Vec<_> = answer.pieces.iter().collect();
    pieces.sort_by_key(|piece| std::cmp::Reverse(piece.region.ports.count()));
    for piece in pieces.into_iter().take(MOST_PIECES) {
        let Fate::Denied(denier) = piece.fate else { continue };
        let Some(group) = declared.groups.get(denier.group) else { continue };
        for (at, rule) in group.directed(answer.question.flow.direction) {
            let by = Decider { rule: at, ..denier };
            if rule.access != Some(Access::Allow) || rule.is_default || known.contains(&by) {
                continue;
            }
            let Some(Reach { possible, .. }) = group.reach(at) else { continue };
            if let Some(difference) = differs(possible, &piece.region) {
                known.insert(by);
                misses.push((difference, by, denier, &piece.region));
            }
        }
    }
    misses.sort_by_key(|(difference, by, ..)| (*difference, *by));
    misses.truncate(MOST_MISSES);
    let named = |(difference, by, denier, packets): (_, Decider, _, _)| {
        let rule = &declared.groups.get(by.group)?.reach(by.rule)?.possible;
        Some(NearMiss {
            difference,
            rule: by,
            denier,
            text: words(difference, rule, packets, answer, denier),
        })
    };
    misses.into_iter().filter_map(named).collect()
}

/// The one thing in which the rule differs from the packets, if it is one.
fn differs(rule: &Region, packets: &Region) -> Option<Difference> {
    let has_protocol = !rule.protocols.intersection(packets.protocols).is_empty();
    let has_ports = rule.ports.overlaps(&packets.ports);
    if !has_protocol && !has_ports {
        return None;
    }
    let mut found = Difference::Order;
    // Most rules differ in two, and the third is not looked for.
    for difference in [
        Difference::Protocol,
        Difference::Ports,
        Difference::Source,
        Difference::Destination,
        Difference::SourcePort,
    ] {
        let has_it = match difference {
            Difference::Protocol => has_protocol,
            Difference::Ports => has_ports,
            Difference::Source => rule.sources.overlaps(&packets.sources),
            Difference::Destination => rule.destinations.overlaps(&packets.destinations),
            Difference::SourcePort => rule.source_ports.overlaps(&packets.source_ports),
            Difference::Order => true,
        };
        if has_it {
            continue;
        }
        if found != Difference::Order {
            return None;
        }
        found = difference;
    }
    Some(found)
}

fn words(
    difference: Difference,
    rule: &Region,
    packets: &Region,
    answer: &Answer<'_>,
    denier: Decider,
) -> String {
    match difference {
        Difference::Order => format!("would let them pass, but {} comes first", answer.named(denier)),
        Difference::Protocol => {
            format!("is for {}, and these packets are {}", rule.protocols, packets.protocols)
        }
        Difference::Ports => format!("is for ports {}", rule.ports),
        Difference::SourcePort => {
            format!("is for packets from ports {}, and people's come from any", rule.source_ports)
        }
        Difference::Source => format!("is for packets from {}", rule.sources),
        Difference::Destination => format!(
            "is for {}, and when rules are asked these packets have the address of {}",
            rule.destinations, answer.question.flow.destination.text
        ),
    }
}

/// Whether interfaces let pass what their subnet does not: the copy of a rule that is missing.
pub(crate) fn lacks_copy(answer: &Answer<'_>) -> bool {
    let denied: Vec<_> = answer.pieces.iter().filter(|it| matches!(it.fate, Fate::Denied(_))).collect();
    let is_by_subnet = |piece: &&Piece| matches!(piece.fate, Fate::Denied(by) if by.layer == Layer::Subnet);
    let interface = answer.way.layers.iter().find(|(layer, _)| *layer == Layer::Interface);
    let Some(interface) = interface.filter(|_| !denied.is_empty() && denied.iter().all(is_by_subnet)) else {
        return false;
    };
    let alone = Way { layers: vec![*interface], ..answer.way.clone() };
    let declared = answer.declared();
    let mut flow = answer.question.flow.clone();
    flow.ports = answer.denied_ports();
    evaluate(&alone, &declared.groups, &declared.knowledge, &flow)
        .iter()
        .all(|piece| matches!(piece.fate, Fate::Allowed(_)))
}

/// A rule that would let pass what is denied, in one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fix {
    /// The group.
    pub(crate) group: usize,
    pub(crate) rule: Rule,
    source: Vec<String>,
    destination: Vec<String>,
}

/// Why there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NoFix {
    /// The rules of an administrator come first.
    Admin,
    /// No priority before this rule is free.
    Crowded(Decider),
}

/// Priorities that AKS leaves to people: its own begin with 500.
const FREE: std::ops::Range<u32> = 100..500;
/// Where a new rule goes if nothing speaks against it, so that there is room before it.
const USUAL: u32 = 200;

/// What each group that denies lacks.
pub(crate) fn fixes(answer: &Answer<'_>) -> Result<Vec<Fix>, NoFix> {
    let declared = answer.declared();
    let mut fixes: Vec<Fix> = Vec::new();
    let way = answer.way;
    let mut groups: Vec<Cow<'_, Group>> = declared.groups.iter().map(Cow::Borrowed).collect();
    let mut pieces = Cow::Borrowed(&answer.pieces);
    let mut asked = way.in_order(answer.question.flow.direction).into_iter().peekable();
    // In the order in which they are asked: what one lets pass then, the next one may deny.
    while let Some((_, group)) = asked.next() {
        let first = pieces.iter().find_map(|it| match it.fate {
            Fate::Denied(by) if by.group == group => Some(by),
            _ => None,
        });
        let Some(first) = first else { continue };
        if first.layer == Layer::Admin {
            return Err(NoFix::Admin);
        }
        let denied =
            pieces.iter().filter(|it| matches!(it.fate, Fate::Denied(by) if by.group == first.group));
        let ports: Ports = denied.clone().flat_map(|it| it.region.ports.iter()).collect();
        let before = denied.filter_map(|it| match it.fate {
            Fate::Denied(by) => Some((groups.get(by.group)?.rules().get(by.rule)?.priority?, by)),
            _ => None,
        });
        let (before, by) = before.min().unwrap_or((0, first));
        let nth = answer.denied_before.len();
        let priority = free_priority(&groups[first.group], answer.question.flow.direction, before, nth);
        let fix = fix(answer, first.group, ports, priority.ok_or(NoFix::Crowded(by))?);
        if asked.peek().is_some() {
            groups[first.group] = Cow::Owned(groups[first.group].with(fix.rule.clone(), &declared.knowledge));
            pieces = Cow::Owned(evaluate(way, &groups, &declared.knowledge, &answer.question.flow));
        }
        fixes.push(fix);
    }
    Ok(fixes)
}

/// A priority that no rule of the direction has, before the one of `before`: the `nth` of them, because the others are for what else is
/// denied.
fn free_priority(group: &Group, direction: Direction, before: u32, nth: usize) -> Option<u32> {
    let is_free =
        |it: &u32| *it < before && !group.directed(direction).any(|(_, rule)| rule.priority == Some(*it));
    (USUAL..FREE.end).chain((FREE.start..USUAL).rev()).filter(is_free).nth(nth)
}

fn fix(answer: &Answer<'_>, group: usize, ports: Ports, priority: u32) -> Fix {
    let flow = &answer.question.flow;
    let internet = answer.declared().knowledge.internet();
    let operand = |end: &super::evaluate::End| -> (Operand, Vec<String>) {
        if end.addresses == internet.difference(&Addresses::private()).v4_only()
            || end.addresses == internet.difference(&Addresses::private())
        {
            return (Operand::Tag("Internet".to_owned()), vec!["Internet".to_owned()]);
        }
        // Nodes come and go.
        if end.extent == Extent::One || end.text.starts_with("the nodes") {
            return (Operand::Known(Addresses::all()), vec!["*".to_owned()]);
        }
        match end.text.as_str() {
            "the virtual network" => {
                (Operand::Tag("VirtualNetwork".to_owned()), vec!["VirtualNetwork".to_owned()])
            }
            "Azure's health probes" => {
                (Operand::Tag("AzureLoadBalancer".to_owned()), vec!["AzureLoadBalancer".to_owned()])
            }
            _ => (Operand::Known(end.addresses.clone()), end.addresses.words()),
        }
    };
    let ((sources, source), (destinations, destination)) =
        (operand(&flow.source), operand(&flow.destination));
    let name = match answer.purpose() {
        Purpose::Entrance => "hubs-entrance",
        Purpose::Turn => "hubs-turn",
        Purpose::Gateway => "hubs-gateway",
        Purpose::Media => "hubs-media",
        Purpose::Inside => "hubs-inside",
        Purpose::Probes => "hubs-probes",
        Purpose::Out => "hubs-out",
        Purpose::Admin | Purpose::Asked => "hubs-allow",
    };
    let taken = |name: &str| {
        answer.declared().groups[group].rules().iter().any(|rule| rule.name.eq_ignore_ascii_case(name))
    };
    let is_taken = taken(name) || answer.denied_before.contains(&answer.purpose());
    let name = if is_taken { format!("{name}-{priority}") } else { name.to_owned() };
    let rule = Rule {
        name,
        priority: Some(priority),
        direction: Some(flow.direction),
        access: Some(Access::Allow),
        protocols: Some(flow.protocol),
        sources: vec![sources],
        source_ports: PortOperand { known: Ports::all(), unclear: None },
        destinations: vec![destinations],
        ports: PortOperand { known: ports, unclear: None },
        is_default: false,
        place: String::new(),
    };
    Fix { group, rule, source, destination }
}

/// What people send to the ports of Hubs, the media gateway's among them.
const NEEDED_TCP: [u16; 4] = [80, 443, 4443, 5349];
const NEEDED_UDP: [(u16, u16); 2] = [(3478, 3478), (40_000, 49_999)];

/// How to take out of a rule what Hubs does not need; nothing if it has nothing that Hubs needs.
pub(crate) fn narrowed(group: &Group, rule: &Rule) -> Option<String> {
    let protocols = rule.protocols?;
    let tcp = NEEDED_TCP.map(|port| (port, port)).into_iter().filter(|_| protocols.covers(Protocols::TCP));
    let udp = NEEDED_UDP.into_iter().filter(|_| protocols.covers(Protocols::UDP));
    let ports = tcp.chain(udp).collect::<Ports>().intersection(&rule.ports.known);
    (!ports.is_empty()).then(|| {
        format!(
            "az network nsg rule update -g {} --nsg-name {} -n {} --destination-port-ranges {}",
            shell_word(group.container.as_deref().unwrap_or("NODE_GROUP")),
            shell_word(&group.name),
            shell_word(&rule.name),
            ports.words().join(" "),
        )
    })
}

impl Fix {
    /// What to type.
    pub(crate) fn command(&self, groups: &[Group]) -> String {
        let group = &groups[self.group];
        let words = |words: &[String]| words.iter().map(|it| shell_word(it)).collect::<Vec<_>>().join(" ");
        format!(
            "az network nsg rule create -g {} --nsg-name {} -n {} --priority {} --direction {} --access Allow --protocol {} --source-address-prefixes {} --source-port-ranges '*' --destination-address-prefixes {} --destination-port-ranges {}",
            shell_word(group.container.as_deref().unwrap_or("NODE_GROUP")),
            shell_word(&group.name),
            shell_word(&self.rule.name),
            self.rule.priority.unwrap_or(USUAL),
            self.rule.direction.unwrap_or(Direction::Inbound).word(),
            shell_word(self.rule.protocols.unwrap_or(Protocols::ALL).word()),
            words(&self.source),
            words(&self.destination),
            words(&self.rule.ports.known.words()),
        )
    }
}

/// A word that a shell takes as it is.
pub(crate) fn shell_word(word: &str) -> String {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"._-/:,".contains(&b);
    if !word.is_empty() && word.bytes().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}
