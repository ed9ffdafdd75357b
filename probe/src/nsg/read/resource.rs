//! What is not a rule: subnets, interfaces, addresses, load balancers, and the groups in effect at an interface.

use std::net::IpAddr;

use super::{
    Effective, Forwarded, Forwarding, Frontend, Interface, PublicAddress, Reader, Subnet,
    json::{Value, array, get, is_nothing, list, reference, text, texts},
    place_of, port,
    rule::{Dialect, network},
};
use crate::nsg::{
    question::NODE_PORTS,
    ranges::Addresses,
    rules::{Group, Layer, last_part},
};

/// With it AKS gives packets the address of a node and the port at which Kubernetes takes them there.
const NO_FLOATING_IP: &str = "service.beta.kubernetes.io/azure-disable-load-balancer-floating-ip";

impl Reader {
    /// What `az network nic list-effective-nsg` prints of one interface.
    pub(super) fn effective(&mut self, values: &[Value<'_>], path: &str) {
        self.recognised += 1;
        let mut layers = Vec::new();
        let mut name = String::new();
        for (at, value) in values.iter().enumerate() {
            let place = format!("{path}[{at}].effectiveSecurityRules");
            let association = get(value, "association");
            let of = |field: &str| association.and_then(|it| reference(it, field));
            let layer = match (of("networkManager"), of("subnet"), of("networkInterface")) {
                (Some(_), ..) => Layer::Admin,
                (None, _, Some(interface)) => {
                    last_part(interface).clone_into(&mut name);
                    Layer::Interface
                }
                (None, ..) => Layer::Subnet,
            };
            let dialect = if layer == Layer::Admin { Dialect::Admin } else { Dialect::Effective };
            let mut rules = self.rules(list(value, "effectiveSecurityRules"), &place, Dialect::Effective);
            if dialect == Dialect::Admin {
                rules = self.admin_access(rules, list(value, "effectiveSecurityRules"));
            }
            let id = reference(value, "networkSecurityGroup").or_else(|| of("networkManager"));
            let group_name =
                id.map_or_else(|| "a group without a name".to_owned(), |id| last_part(id).to_owned());
            let resource_group = id.and_then(super::resource_group);
            layers.push((layer, Group::new(group_name, id.map(str::to_owned), resource_group, rules)));
            self.tag_map(value, &format!("{path}[{at}]"));
        }
        if !layers.is_empty() {
            self.effective.push(Effective { name, layers });
        }
    }

    /// In effect an administrator's rules are printed as others are, but for what they can do.
    fn admin_access(&mut self, rules: Vec<super::Rule>, values: &[Value<'_>]) -> Vec<super::Rule> {
        let is_final = |value: &Value<'_>| {
            text(value, "access").is_some_and(|it| it.eq_ignore_ascii_case("AlwaysAllow"))
        };
        let rules = rules.into_iter().zip(values).map(|(mut rule, value)| {
            if is_final(value) {
                rule.access = Some(super::super::rules::Access::AlwaysAllow);
                self.oddities.retain(|odd| odd.place != rule.place || !odd.what.contains("access"));
            }
            rule
        });
        rules.collect()
    }

    fn tag_map(&mut self, value: &Value<'_>, path: &str) {
        let place = place_of(value, "tagMap", path);
        let Some(tags) = get(value, "tagMap").and_then(Value::fields) else { return };
        for (tag, prefixes) in tags {
            let (known, is_whole) = self.prefixes(Some(prefixes), &format!("{place}.{tag}"));
            if tag.eq_ignore_ascii_case("VirtualNetwork") {
                self.space(known, is_whole);
            } else {
                let known = is_whole.then_some(known);
                let tag = self.tags.entry(tag.to_ascii_lowercase()).or_insert_with(|| known.clone());
                // Of two that disagree in this, nothing is known.
                *tag = tag.take().and(known);
            }
        }
    }

    /// The networks that could be read, and whether that is all of them.
    pub(super) fn prefixes(&mut self, prefixes: Option<&Value<'_>>, place: &str) -> (Addresses, bool) {
        let (known, odd) = match prefixes.map(texts) {
            None => (Addresses::default(), None),
            Some(None) => (Addresses::default(), Some("this is no text and no list of texts".to_owned())),
            Some(Some(words)) => {
                let unread = words.iter().find(|word| network(word.trim()).is_none());
                let odd =
                    unread.map(|word| format!("{word:?} is no network: the whole is taken for unknown"));
                (words.iter().filter_map(|word| network(word.trim())).collect(), odd)
            }
        };
        let is_whole = odd.is_none();
        self.note(place, odd);
        (known, is_whole)
    }

    /// Networks that are the virtual network's.
    pub(super) fn space(&mut self, known: Addresses, is_whole: bool) {
        self.networks.push(known);
        self.is_network_unclear |= !is_whole;
    }

    /// What Network Watcher shows of a machine's interfaces.
    pub(super) fn watcher(&mut self, value: &Value<'_>, path: &str) {
        for (at, interface) in list(value, "networkInterfaces").iter().enumerate() {
            let Some(associations) = get(interface, "securityRuleAssociations") else { continue };
            let path = format!("{path}.networkInterfaces[{at}].securityRuleAssociations");
            let defaults = list(associations, "defaultSecurityRules");
            let defaults = self.rules(defaults, &format!("{path}.defaultSecurityRules"), Dialect::Declared);
            let mut layers = Vec::new();
            for (field, layer) in
                [("subnetAssociation", Layer::Subnet), ("networkInterfaceAssociation", Layer::Interface)]
            {
                let Some(association) = get(associations, field) else { continue };
                let place = format!("{path}.{field}.securityRules");
                let mut rules = self.rules(list(association, "securityRules"), &place, Dialect::Declared);
                rules.extend(defaults.iter().cloned().map(|rule| super::Rule { is_default: true, ..rule }));
                let id = text(association, "id").map(str::to_owned);
                let name = id.as_deref().map_or("a group without a name", last_part).to_owned();
                layers.push((
                    layer,
                    Group::new(
                        format!("the group of {name}"),
                        None,
                        id.as_deref().and_then(super::resource_group),
                        rules,
                    ),
                ));
            }
            let name = text(interface, "id").map(last_part).unwrap_or_default().to_owned();
            self.effective.push(Effective { name, layers });
        }
    }

    /// A subnet. One without an identifier is known by its network's and its name.
    pub(super) fn subnet(&mut self, value: &Value<'_>, network: Option<&str>, path: &str) {
        let (mut prefixes, mut is_whole) = (Addresses::default(), true);
        for field in ["addressPrefix", "addressPrefixes"] {
            let written = get(value, field).filter(|it| !is_nothing(it));
            let (more, is_all) = self.prefixes(written, &place_of(value, field, path));
            prefixes = prefixes.union(&more);
            is_whole &= is_all;
        }
        let name = text(value, "name").unwrap_or_default();
        let id = text(value, "id").map(str::to_owned);
        let id =
            id.or_else(|| Some(format!("{}/subnets/{name}", network?))).unwrap_or_else(|| name.to_owned());
        let subnet = Subnet {
            id: id.to_ascii_lowercase(),
            prefixes: if is_whole { prefixes } else { Addresses::default() },
            group: group_of(value),
            place: path.to_owned(),
        };
        // Templates tell of a subnet in its network and by itself.
        match self.subnets.iter_mut().find(|it| it.id == subnet.id && it.id.starts_with('/')) {
            Some(known) => known.group = known.group.take().or(subnet.group),
            None => self.subnets.push(subnet),
        }
    }

    pub(super) fn network(&mut self, value: &Value<'_>, path: &str) {
        let space = get(value, "addressSpace").and_then(|space| get(space, "addressPrefixes"));
        let place = format!("{}.addressPrefixes", place_of(value, "addressSpace", path));
        let (known, is_whole) = self.prefixes(space, &place);
        self.space(known, is_whole);
        let inner = place_of(value, "subnets", path);
        for (at, subnet) in list(value, "subnets").iter().enumerate() {
            self.subnet(subnet, text(value, "id"), &format!("{inner}[{at}]"));
        }
    }

    pub(super) fn interface(&mut self, value: &Value<'_>, path: &str) {
        let configurations = list(value, "ipConfigurations");
        let address = |it: &Value<'_>| {
            let text = text(it, "privateIPAddress").or_else(|| text(it, "privateIpAddress"));
            text.and_then(|text| text.parse::<IpAddr>().ok())
        };
        let ids = |field: &str| -> Vec<String> {
            configurations.iter().filter_map(|it| reference(it, field)).map(str::to_ascii_lowercase).collect()
        };
        let groups = configurations.iter().flat_map(|it| list(it, "applicationSecurityGroups"));
        self.interfaces.push(Interface {
            id: text(value, "id").unwrap_or_default().to_ascii_lowercase(),
            addresses: configurations.iter().filter_map(address).collect(),
            subnets: ids("subnet"),
            group: group_of(value),
            place: path.to_owned(),
            security_groups: groups.filter_map(|it| Some(text(it, "id")?.to_ascii_lowercase())).collect(),
            public: [ids("publicIPAddress"), ids("publicIpAddress")].concat(),
        });
    }

    pub(super) fn public_address(&mut self, value: &Value<'_>) {
        let Some(address) = text(value, "ipAddress").and_then(|it| it.parse().ok()) else { return };
        self.public.push(PublicAddress {
            id: text(value, "id").unwrap_or_default().to_ascii_lowercase(),
            address,
            owner: reference(value, "ipConfiguration").map(str::to_ascii_lowercase),
        });
    }

    pub(super) fn load_balancer(&mut self, value: &Value<'_>, path: &str) {
        let frontends = [list(value, "frontendIPConfigurations"), list(value, "frontendIpConfigurations")];
        for frontend in frontends.into_iter().flatten() {
            let id = text(frontend, "id").or_else(|| text(frontend, "name")).unwrap_or_default();
            let public = get(frontend, "publicIPAddress").or_else(|| get(frontend, "publicIpAddress"));
            self.frontends.push(Frontend {
                id: id.to_ascii_lowercase(),
                public: public.and_then(|it| Some(text(it, "id")?.to_ascii_lowercase())),
                address: public.and_then(|it| text(it, "ipAddress")?.parse().ok()),
            });
        }
        self.is_forwarding_known = true;
        let inner = place_of(value, "loadBalancingRules", path);
        for (at, rule) in list(value, "loadBalancingRules").iter().enumerate() {
            let frontend = ["frontendIPConfiguration", "frontendIpConfiguration"];
            let floating = ["enableFloatingIP", "enableFloatingIp"].map(|it| get(rule, it));
            let fields = ["frontendPort", "backendPort"];
            let place = format!("{inner}[{at}]");
            let forwarded = self.forwarded(rule, fields, floating.into_iter().flatten().next(), &place);
            self.forwarding.push(Forwarding {
                frontend: frontend.iter().find_map(|it| reference(rule, it)).map(str::to_ascii_lowercase),
                forwarded,
            });
        }
        for rule in list(value, "outboundRules") {
            let frontends = [list(rule, "frontendIPConfigurations"), list(rule, "frontendIpConfigurations")];
            let ids = frontends.into_iter().flatten().filter_map(|it| text(it, "id"));
            self.outbound.extend(ids.map(str::to_ascii_lowercase));
        }
    }

    /// What a rule of a load balancer forwards, by the names of its fields. Azure's default is that it puts the node's address and the
    /// backend's port in place of its own.
    pub(super) fn forwarded(
        &mut self,
        rule: &Value<'_>,
        [frontend, backend]: [&str; 2],
        floating: Option<&Value<'_>>,
        place: &str,
    ) -> Vec<Forwarded> {
        // Azure's "HA ports": 0 stands for every port, and each comes to the node as it is.
        let ports = |field| port(rule, field).map(|it| if it == 0 { (0, u16::MAX) } else { (it, it) });
        let (front, back) = (ports(frontend), ports(backend));
        let is_floating = floating.map_or(Some(false), Value::bool);
        let node_ports = back.filter(|_| is_floating != Some(true));
        let odd = [
            (front.is_none(), "which port it forwards could not be read"),
            (is_floating.is_none(), "whether its address floats could not be read: it is taken not to"),
            (
                is_floating == Some(false) && back.is_none(),
                "to which port of nodes it sends could not be read",
            ),
        ];
        self.note(place, odd.into_iter().filter(|(is_odd, _)| *is_odd).map(|(_, what)| what.to_owned()));
        Forwarded::each(text(rule, "protocol").unwrap_or_default(), front, node_ports)
    }

    /// Of `az aks show`, the addresses with which nodes go out.
    pub(super) fn cluster(&mut self, value: &Value<'_>) {
        let profile = get(value, "networkProfile");
        for profile in
            ["loadBalancerProfile", "natGatewayProfile"].map(|it| get(profile?, it)).into_iter().flatten()
        {
            let addresses = [list(profile, "effectiveOutboundIPs"), list(profile, "effectiveOutboundIps")];
            let ids = addresses.into_iter().flatten().filter_map(|it| text(it, "id"));
            self.outbound.extend(ids.map(str::to_ascii_lowercase));
        }
    }

    /// A NAT gateway, by which whole subnets go out.
    pub(super) fn nat_gateway(&mut self, value: &Value<'_>) {
        let addresses = [list(value, "publicIpAddresses"), list(value, "publicIPAddresses")];
        let ids = addresses.into_iter().flatten().filter_map(|it| text(it, "id"));
        self.outbound.extend(ids.map(str::to_ascii_lowercase));
    }

    /// A Service of Kubernetes: what the load balancer is told to forward.
    pub(super) fn service(&mut self, value: &Value<'_>, path: &str) {
        let Some(spec) = value.get("spec").filter(|spec| text(spec, "type") == Some("LoadBalancer")) else {
            return;
        };
        self.is_forwarding_known = true;
        let annotations = value.get("metadata").and_then(|it| it.get("annotations"));
        let is_disabled = annotations.and_then(|it| text(it, NO_FLOATING_IP)) == Some("true");
        let mut forwarded = Vec::new();
        for (at, it) in list(spec, "ports").iter().enumerate() {
            let node_port = port(it, "nodePort");
            if is_disabled && node_port.is_none() {
                let what = "packets come to its nodePort, and which one that is is not said".to_owned();
                self.note(&format!("{path}.spec.ports[{at}]"), [what]);
            }
            let node_ports = node_port.map_or(NODE_PORTS, |it| (it, it));
            let protocol = text(it, "protocol").unwrap_or("TCP");
            let public = port(it, "port").map(|it| (it, it));
            forwarded.extend(Forwarded::each(protocol, public, is_disabled.then_some(node_ports)));
        }
        let ingress = value.get("status").and_then(|it| it.get("loadBalancer")?.get("ingress"));
        let addresses = ingress.map(array).unwrap_or_default().iter();
        let addresses: Vec<Option<IpAddr>> =
            addresses.map(|it| text(it, "ip").and_then(|it| it.parse().ok())).collect();
        if addresses.is_empty() {
            self.forwarding.push(Forwarding { frontend: None, forwarded: forwarded.clone() });
        }
        for address in addresses {
            let id = format!("service {}", self.frontends.len());
            self.forwarding.push(Forwarding { frontend: Some(id.clone()), forwarded: forwarded.clone() });
            self.frontends.push(Frontend { id, public: None, address });
        }
    }
}

/// The group that stands before it. One that is named in a way that cannot be read is there all the same.
fn group_of(value: &Value<'_>) -> Option<String> {
    get(value, "networkSecurityGroup").filter(|it| !is_nothing(it))?;
    let id = reference(value, "networkSecurityGroup").map(str::to_ascii_lowercase);
    Some(id.unwrap_or_else(|| "a group without an identifier".to_owned()))
}
