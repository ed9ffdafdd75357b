//! Puts together what was read: which groups stand on the way to which nodes, what tags and groups stand for, which addresses are
//! whose.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use super::{Association, Declared, Forwarded, Forwarding, Interface, Oddity, ReadGroup, Reader};
use crate::nsg::{
    evaluate::Way,
    ranges::{Addresses, Ports},
    rules::{Direction, Group, Knowledge, Layer, Operand, PortOperand, Rule, default_rules, last_part},
};

impl Reader {
    pub(super) fn finish(mut self) -> Declared {
        self.place_loose_rules();
        // What is in effect replaces all that was declared.
        if self.effective.is_empty() {
            self.place_associations();
            self.add_what_was_not_given();
        }
        let public = self.public.iter().map(|it| (it.id.clone(), it.address)).collect::<BTreeMap<_, _>>();
        let knowledge = self.knowledge();
        let (frontends, outbound_addresses) = self.entrances(&public);
        let node_addresses = self.node_addresses(&public);
        let mut groups: Vec<_> = Vec::new();
        for read in &mut self.groups {
            let rules = std::mem::take(&mut read.rules);
            groups.push(Group::new(read.name.clone(), read.id.clone(), read.resource_group.clone(), rules));
        }
        let ways = self.ways(&mut groups);
        for group in &mut groups {
            group.resolve(&knowledge);
        }
        let rules = groups.iter().flat_map(Group::rules).filter(|rule| !rule.is_default).count();
        let mut oddities = std::mem::take(&mut self.oddities);
        oddities.extend(groups.iter().flat_map(twice));
        let mut forwarded: Vec<_> =
            self.forwarding.iter().flat_map(|it| self.at_frontend(it, &public)).collect();
        forwarded.sort_unstable();
        forwarded.dedup();
        let frontends = if frontends.is_empty() { of_aks(&groups) } else { frontends };
        Declared {
            groups,
            knowledge,
            ways,
            frontends,
            node_addresses,
            outbound_addresses,
            forwarded: self.is_forwarding_known.then_some(forwarded),
            oddities,
            rules,
            sources: Vec::new(),
        }
    }

    /// Rules that were given by themselves go to their group; if it was not given, what is known of it is these rules.
    fn place_loose_rules(&mut self) {
        for (name, rules) in std::mem::take(&mut self.loose) {
            if let Some(group) = self.groups.iter_mut().find(|it| it.name == name) {
                group.rules.extend(rules);
                continue;
            }
            let place = rules.first().map(|rule| rule.place.clone()).unwrap_or_default();
            let has_defaults = rules.iter().any(|rule| rule.is_default);
            let defaults = if has_defaults { Vec::new() } else { default_rules(&place) };
            self.groups.push(ReadGroup {
                name,
                id: None,
                resource_group: None,
                rules: rules.into_iter().chain(defaults).collect(),
                place,
                subnets: Vec::new(),
                interfaces: Vec::new(),
                is_given: true,
            });
        }
    }

    /// Associations of which both ends are known go to their group; otherwise some group stands there, and what it does is unknown.
    fn place_associations(&mut self) {
        let all = std::mem::take(&mut self.associations);
        let (whole, open): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|it| it.of.is_some() && it.group.is_some());
        for Association { layer, of, group, place } in whole.into_iter().chain(open) {
            let may_be = of.clone().map_or_else(|| self.without_group(layer), |of| vec![of]);
            let id = group.filter(|_| of.is_some());
            let what = match (&of, &id) {
                (Some(_), Some(_)) => "no file has the rules of this group",
                (Some(_), None) => "which group this is will be known when it is applied",
                (None, _) => "which group stands before what will be known when it is applied",
            };
            let group = self.group_of_reference(id, "a group that is not known yet", what, &place);
            match layer {
                Layer::Interface => group.interfaces.extend(may_be),
                Layer::Subnet | Layer::Admin => group.subnets.extend(may_be),
            }
        }
    }

    /// The subnets or interfaces before which no group stands as far as it is known, or one that was not given.
    fn without_group(&self, layer: Layer) -> Vec<String> {
        let has = |lists: fn(&ReadGroup) -> &Vec<String>, id: &String| {
            self.groups.iter().any(|it| lists(it).contains(id))
        };
        let subnets = || self.subnets.iter().filter(|it| it.group.is_none()).map(|it| &it.id);
        let interfaces = || self.interfaces.iter().filter(|it| it.group.is_none()).map(|it| &it.id);
        let ids: Vec<_> = match layer {
            Layer::Interface => interfaces().filter(|id| !has(|it| &it.interfaces, id)).cloned().collect(),
            Layer::Subnet | Layer::Admin => {
                subnets().filter(|id| !has(|it| &it.subnets, id)).cloned().collect()
            }
        };
        if ids.is_empty() { vec![String::new()] } else { ids }
    }

    /// What interfaces and subnets refer to and no file has is on the way all the same.
    fn add_what_was_not_given(&mut self) {
        for at in 0..self.interfaces.len() {
            let Interface { subnets, place, .. } = &mut self.interfaces[at];
            if subnets.is_empty() {
                subnets.push("a subnet without an identifier".to_owned());
            }
            let (id, place) = (subnets[0].clone(), place.clone());
            let is_known = self.subnets.iter().any(|it| it.id == id)
                || self.groups.iter().any(|it| it.subnets.contains(&id));
            if !is_known {
                let name = format!("the group of {}", called(&id));
                let what =
                    "no file has the subnet of this interface: whether a group stands before it is not known";
                self.group_of_reference(None, &name, what, &place).subnets.push(id);
            }
        }
        let of_subnets = self.subnets.iter().map(|it| (&it.group, &it.place));
        let of_interfaces = self.interfaces.iter().map(|it| (&it.group, &it.place));
        let named = of_subnets.chain(of_interfaces);
        let named: Vec<_> =
            named.filter_map(|(group, place)| Some((group.clone()?, place.clone()))).collect();
        for (id, place) in named {
            let what = format!("no file has the group {id} that is named here");
            self.group_of_reference(Some(id.clone()), called(&id), &what, &place);
        }
    }

    /// The group of this identifier; if it was not given, one that may do anything.
    fn group_of_reference(
        &mut self,
        id: Option<String>,
        name: &str,
        what: &str,
        place: &str,
    ) -> &mut ReadGroup {
        let is_meant = |it: &ReadGroup| match (&it.id, &id) {
            (Some(own), Some(id)) => own.eq_ignore_ascii_case(id),
            _ => false,
        };
        let at = self.groups.iter().position(is_meant).unwrap_or_else(|| {
            self.oddities.push(Oddity { place: place.to_owned(), what: what.to_owned() });
            self.groups.push(ReadGroup {
                name: name.to_owned(),
                id,
                resource_group: None,
                rules: vec![unknown_rule(what, place)],
                place: place.to_owned(),
                subnets: Vec::new(),
                interfaces: Vec::new(),
                is_given: false,
            });
            self.groups.len() - 1
        });
        &mut self.groups[at]
    }

    fn knowledge(&self) -> Knowledge {
        let mut groups: BTreeMap<String, Vec<IpAddr>> = BTreeMap::new();
        for interface in &self.interfaces {
            for group in &interface.security_groups {
                groups.entry(group.clone()).or_default().extend(&interface.addresses);
            }
        }
        // Somebody of it is somewhere else.
        let elsewhere = self.interfaces.iter().filter(|it| it.addresses.is_empty());
        for group in elsewhere.flat_map(|it| &it.security_groups) {
            groups.remove(group);
        }
        let tags = self.tags.iter().filter_map(|(tag, known)| Some((tag.clone(), known.clone()?)));
        Knowledge {
            network: self.networks.iter().cloned().collect(),
            is_network_unclear: self.is_network_unclear,
            tags: tags.collect(),
            groups: groups.into_iter().map(|(id, members)| (id, members.into_iter().collect())).collect(),
        }
    }

    fn address(&self, frontend: &super::Frontend, public: &BTreeMap<String, IpAddr>) -> Option<IpAddr> {
        let by_reference = frontend.public.as_ref().and_then(|id| public.get(id).copied());
        let by_owner =
            self.public.iter().find(|it| it.owner.as_ref() == Some(&frontend.id)).map(|it| it.address);
        frontend.address.or(by_reference).or(by_owner)
    }

    /// What is forwarded, with the address at which it is.
    fn at_frontend(&self, forwarding: &Forwarding, public: &BTreeMap<String, IpAddr>) -> Vec<Forwarded> {
        let id = forwarding.frontend.as_ref();
        let at = self.frontends.iter().find(|it| Some(&it.id) == id).and_then(|it| self.address(it, public));
        forwarding.forwarded.iter().map(|it| Forwarded { frontend: at, ..*it }).collect()
    }

    /// Where the load balancer takes what it forwards, and with which addresses nodes go out.
    fn entrances(&self, public: &BTreeMap<String, IpAddr>) -> (Vec<IpAddr>, Vec<IpAddr>) {
        let address = |frontend: &super::Frontend| self.address(frontend, public);
        let is_outbound = |frontend: &super::Frontend| {
            let is_named = |id: &str| self.outbound.iter().any(|it| it == id);
            let forwards = self.forwarding.iter().any(|it| it.frontend.as_ref() == Some(&frontend.id));
            !forwards && (is_named(&frontend.id) || frontend.public.as_deref().is_some_and(is_named))
        };
        let (outbound, frontends): (Vec<_>, Vec<_>) = self.frontends.iter().partition(|it| is_outbound(it));
        let directly = self.outbound.iter().filter_map(|id| public.get(id).copied());
        let frontends: Vec<_> = frontends.into_iter().filter_map(address).collect();
        let outbound =
            outbound.into_iter().filter_map(address).chain(directly.filter(|it| !frontends.contains(it)));
        (distinct(frontends.iter().copied()), distinct(outbound))
    }

    fn node_addresses(&self, public: &BTreeMap<String, IpAddr>) -> Vec<IpAddr> {
        let of_interfaces =
            self.interfaces.iter().flat_map(|it| &it.public).filter_map(|id| public.get(id).copied());
        let is_of_node =
            |id: &str| id.contains("/virtualmachinescalesets/") || id.contains("/networkinterfaces/");
        let by_owner =
            self.public.iter().filter(|it| is_of_node(&it.id) || it.owner.as_deref().is_some_and(is_of_node));
        distinct(of_interfaces.chain(by_owner.map(|it| it.address)))
    }

    fn ways(&mut self, groups: &mut Vec<Group>) -> Vec<Way> {
        let mut ways = if !self.effective.is_empty() {
            self.ways_in_effect(groups)
        } else if !self.interfaces.is_empty() {
            self.ways_to_interfaces(groups)
        } else {
            self.ways_by_association(groups)
        };
        if !self.admin.is_empty() {
            let name = "the rules of Virtual Network Manager".to_owned();
            groups.push(Group::new(name, None, None, std::mem::take(&mut self.admin)));
            for way in &mut ways {
                way.layers.push((Layer::Admin, groups.len() - 1));
            }
        }
        ways
    }

    fn ways_in_effect(&mut self, groups: &mut Vec<Group>) -> Vec<Way> {
        // What is in effect replaces what was declared of the same group.
        let mut ways: Vec<Way> = Vec::new();
        let mut own: Vec<Group> = Vec::new();
        for effective in std::mem::take(&mut self.effective) {
            let mut layers = Vec::new();
            for (layer, group) in effective.layers {
                let known = own.iter().position(|it| it.id == group.id && alike(it, &group));
                layers.push((
                    layer,
                    known.unwrap_or_else(|| {
                        own.push(group);
                        own.len() - 1
                    }),
                ));
            }
            let nodes = self.nodes_called(&effective.name);
            match ways.iter_mut().find(|way| way.layers == layers) {
                Some(way) => way.nodes = way.nodes.union(&nodes),
                None => ways.push(Way { name: effective.name, layers, nodes }),
            }
        }
        *groups = own;
        ways
    }

    fn nodes_called(&self, name: &str) -> Addresses {
        let named = self
            .interfaces
            .iter()
            .filter(|it| !name.is_empty() && last_part(&it.id).eq_ignore_ascii_case(name));
        named.flat_map(|it| it.addresses.iter().copied()).collect()
    }

    fn ways_to_interfaces(&self, groups: &[Group]) -> Vec<Way> {
        let by_id = |id: &str| {
            groups.iter().position(|it| it.id.as_deref().is_some_and(|own| own.eq_ignore_ascii_case(id)))
        };
        let mut ways: Vec<Way> = Vec::new();
        for interface in &self.interfaces {
            let subnet_id = interface.subnets.first();
            let subnet = self.subnets.iter().find(|it| Some(&it.id) == subnet_id);
            let of_subnet = subnet.and_then(|it| by_id(it.group.as_ref()?));
            let of_subnet = of_subnet.or_else(|| {
                self.groups.iter().position(|it| subnet_id.is_some_and(|id| it.subnets.contains(id)))
            });
            let of_interface = interface.group.as_deref().and_then(by_id);
            let of_interface = of_interface
                .or_else(|| self.groups.iter().position(|it| it.interfaces.contains(&interface.id)));
            let subnets = of_subnet.map(|at| (Layer::Subnet, at));
            let layers: Vec<_> =
                subnets.into_iter().chain(of_interface.map(|at| (Layer::Interface, at))).collect();
            let nodes: Addresses = interface.addresses.iter().copied().collect();
            match ways.iter_mut().find(|way| way.layers == layers) {
                Some(way) => way.nodes = way.nodes.union(&nodes),
                None => ways.push(Way { name: last_part(&interface.id).to_owned(), layers, nodes }),
            }
        }
        ways
    }

    /// Where no interface was given: every group of a subnet with every group of interfaces.
    fn ways_by_association(&mut self, groups: &[Group]) -> Vec<Way> {
        let named = |it: &ReadGroup| {
            let id = it.id.as_deref().map(str::to_ascii_lowercase);
            self.subnets.iter().any(|subnet| subnet.group.is_some() && subnet.group == id)
        };
        let of_subnets: Vec<_> = self
            .groups
            .iter()
            .enumerate()
            .filter(|(_, it)| !it.subnets.is_empty() || named(it))
            .map(|(at, _)| at)
            .collect();
        let of_interfaces: Vec<_> = self
            .groups
            .iter()
            .enumerate()
            .filter(|(_, it)| !it.interfaces.is_empty())
            .map(|(at, _)| at)
            .collect();
        let is_apart = |at: &usize| !of_subnets.contains(at) && !of_interfaces.contains(at);
        let apart: Vec<_> = (0..groups.len()).filter(is_apart).collect();
        let nodes: Addresses = self.subnets.iter().map(|it| it.prefixes.clone()).collect();
        let nodes = if self.subnets.len() == 1 { nodes } else { Addresses::default() };
        let way = |name: String, layers: Vec<(Layer, usize)>| Way { name, layers, nodes: nodes.clone() };
        let name = |at: &usize| groups[*at].name.clone();
        if of_subnets.is_empty() && of_interfaces.is_empty() {
            // Nothing says to what they belong, as in a template of one group: each may be the one.
            if apart.is_empty() && !self.subnets.is_empty() {
                return vec![way(String::new(), Vec::new())];
            }
            return apart.into_iter().map(|at| way(name(&at), vec![(Layer::Subnet, at)])).collect();
        }
        // One of them may be the one that is not known.
        let is_all_known = self.groups.iter().all(|it| it.is_given);
        for at in apart.into_iter().filter(|_| is_all_known) {
            let place = self.groups[at].place.clone();
            let what = format!(
                "{} belongs to no subnet and to no interface, and so it decides nothing",
                groups[at].name
            );
            self.oddities.push(Oddity { place, what });
        }
        let mut ways = Vec::new();
        for subnet in &of_subnets {
            for interface in &of_interfaces {
                let name = format!("{} and {}", name(subnet), name(interface));
                ways.push(way(name, vec![(Layer::Subnet, *subnet), (Layer::Interface, *interface)]));
            }
        }
        match (of_subnets.is_empty(), of_interfaces.is_empty()) {
            (false, true) => of_subnets.iter().map(|at| way(name(at), vec![(Layer::Subnet, *at)])).collect(),
            (true, false) => {
                of_interfaces.iter().map(|at| way(name(at), vec![(Layer::Interface, *at)])).collect()
            }
            _ => ways,
        }
    }
}

/// What people call it: the name in an identifier, and the whole of what is none.
fn called(id: &str) -> &str {
    if id.starts_with('/') { last_part(id) } else { id }
}

/// What stands for the rules of a group of which nothing is known.
pub(super) fn unknown_rule(why: &str, place: &str) -> Rule {
    let any = || vec![Operand::Unclear(why.to_owned())];
    let ports = || PortOperand { known: Ports::default(), unclear: Some(why.to_owned()) };
    Rule {
        name: "an unknown rule".to_owned(),
        priority: None,
        direction: None,
        access: None,
        protocols: None,
        sources: any(),
        source_ports: ports(),
        destinations: any(),
        ports: ports(),
        is_default: true,
        place: place.to_owned(),
    }
}

fn alike(one: &Group, other: &Group) -> bool {
    let bare = |group: &Group| -> Vec<_> {
        group
            .rules()
            .iter()
            .cloned()
            .map(|mut rule| {
                rule.place.clear();
                rule
            })
            .collect()
    };
    bare(one) == bare(other)
}

fn distinct(addresses: impl IntoIterator<Item = IpAddr>) -> Vec<IpAddr> {
    addresses.into_iter().collect::<BTreeSet<_>>().into_iter().collect()
}

/// Where no load balancer was given: the addresses in the rules that AKS makes for its own.
fn of_aks(groups: &[Group]) -> Vec<IpAddr> {
    let rules = groups.iter().flat_map(Group::rules).filter(|rule| rule.is_of_aks());
    let known = rules.flat_map(|rule| &rule.destinations).filter_map(|it| match it {
        Operand::Known(addresses) if !addresses.is_all() => Some(addresses.difference(&Addresses::private())),
        _ => None,
    });
    let words = known.flat_map(|addresses| addresses.words());
    distinct(words.filter_map(|word| word.parse().ok()))
}

/// Priorities that two rules of a direction have, which Azure does not take.
fn twice(group: &Group) -> Vec<Oddity> {
    let mut seen: BTreeMap<(Direction, u32), &str> = BTreeMap::new();
    let mut oddities = Vec::new();
    for rule in group.rules() {
        let (Some(direction), Some(priority)) = (rule.direction, rule.priority) else { continue };
        if let Some(other) = seen.insert((direction, priority), &rule.name) {
            let what = format!("{} and {other} both have the priority {priority}", rule.name);
            oddities.push(Oddity { place: rule.place.clone(), what });
        }
    }
    oddities
}
