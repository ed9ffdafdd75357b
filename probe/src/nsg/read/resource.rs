//! What is not a rule: subnets, interfaces, addresses, load balancers, and the groups in effect at an interface.

use std::net::IpAddr;

use super::{
    Effective, Forwarded, Forwarding, Frontend, Interface, PublicAddress, Reader, Subnet,
    json::{Value, array, get, list, reference, text, texts},
    rule::{Dialect, network},
};
use crate::nsg::{
    ranges::Addresses,
    region::Protocols,
    rules::{Group, Layer, last_part},
};

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
            self.tag_map(value);
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

    fn tag_map(&mut self, value: &Value<'_>) {
        let Some(tags) = get(value, "tagMap").and_then(Value::fields) else { return };
        for (tag, prefixes) in tags {
            let words = texts(prefixes).unwrap_or_default();
            let known: Addresses = words.into_iter().filter_map(network).collect();
            if tag.eq_ignore_ascii_case("VirtualNetwork") {
                self.networks.push(known);
            } else {
                self.tags.insert(tag.to_ascii_lowercase(), known);
            }
        }
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

    pub(super) fn subnet(&mut self, value: &Value<'_>) {
        let words = [get(value, "addressPrefix"), get(value, "addressPrefixes")];
        let words = words.into_iter().flatten().filter_map(texts).flatten();
        self.subnets.push(Subnet {
            id: text(value, "id").or_else(|| text(value, "name")).unwrap_or_default().to_ascii_lowercase(),
            prefixes: words.filter_map(network).collect(),
            group: reference(value, "networkSecurityGroup").map(str::to_ascii_lowercase),
        });
    }

    pub(super) fn network(&mut self, value: &Value<'_>) {
        let space = get(value, "addressSpace").and_then(|space| get(space, "addressPrefixes"));
        let words = space.and_then(texts).unwrap_or_default();
        self.networks.push(words.into_iter().filter_map(network).collect());
        for subnet in list(value, "subnets") {
            self.subnet(subnet);
        }
    }

    pub(super) fn interface(&mut self, value: &Value<'_>) {
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
            group: reference(value, "networkSecurityGroup").map(str::to_ascii_lowercase),
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

    pub(super) fn load_balancer(&mut self, value: &Value<'_>) {
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
        for rule in list(value, "loadBalancingRules") {
            let frontend = ["frontendIPConfiguration", "frontendIpConfiguration"];
            let port = get(rule, "frontendPort").and_then(Value::count).and_then(|it| u16::try_from(it).ok());
            let is_floating = ["enableFloatingIP", "enableFloatingIp"].iter().find_map(|it| get(rule, it));
            let backend =
                get(rule, "backendPort").and_then(Value::count).and_then(|it| u16::try_from(it).ok());
            let node_port = backend.filter(|_| is_floating.and_then(Value::bool) == Some(false));
            let protocols = match text(rule, "protocol").unwrap_or_default().to_ascii_lowercase().as_str() {
                "tcp" => vec![Protocols::TCP],
                "udp" => vec![Protocols::UDP],
                _ => vec![Protocols::TCP, Protocols::UDP],
            };
            self.forwarding.push(Forwarding {
                frontend: frontend.iter().find_map(|it| reference(rule, it)).map(str::to_ascii_lowercase),
                forwarded: protocols
                    .into_iter()
                    .zip(port.into_iter().cycle())
                    .map(|(protocol, port)| Forwarded { protocol, port, node_port })
                    .collect(),
            });
        }
        for rule in list(value, "outboundRules") {
            let frontends = [list(rule, "frontendIPConfigurations"), list(rule, "frontendIpConfigurations")];
            let ids = frontends.into_iter().flatten().filter_map(|it| text(it, "id"));
            self.outbound.extend(ids.map(str::to_ascii_lowercase));
        }
    }

    /// Of `az aks show`, the addresses with which nodes go out.
    pub(super) fn cluster(&mut self, value: &Value<'_>) {
        let profile = get(value, "networkProfile").and_then(|it| get(it, "loadBalancerProfile"));
        let Some(profile) = profile else { return };
        let addresses = [list(profile, "effectiveOutboundIPs"), list(profile, "effectiveOutboundIps")];
        let ids = addresses.into_iter().flatten().filter_map(|it| text(it, "id"));
        self.outbound.extend(ids.map(str::to_ascii_lowercase));
    }

    /// A Service of Kubernetes: what the load balancer is told to forward.
    pub(super) fn service(&mut self, value: &Value<'_>) {
        let spec = value.get("spec");
        if spec.and_then(|spec| text(spec, "type")) != Some("LoadBalancer") {
            return;
        }
        self.is_forwarding_known = true;
        let ports = spec.map(|spec| list(spec, "ports")).unwrap_or_default();
        let forwarded = ports.iter().filter_map(|port| {
            let protocol =
                if text(port, "protocol") == Some("UDP") { Protocols::UDP } else { Protocols::TCP };
            let port = u16::try_from(port.get("port")?.count()?).ok()?;
            Some(Forwarded { protocol, port, node_port: None })
        });
        self.forwarding.push(Forwarding { frontend: None, forwarded: forwarded.collect() });
        let ingress = value.get("status").and_then(|it| it.get("loadBalancer")?.get("ingress"));
        for (at, address) in ingress.map(array).unwrap_or_default().iter().enumerate() {
            let address = text(address, "ip").and_then(|it| it.parse().ok());
            self.frontends.push(Frontend { id: format!("service {at}"), public: None, address });
        }
    }
}
