//! `terraform show -json`, of a state or of a plan: the resources of Azure's provider, with names in snake case.

use super::{
    Forwarded, Forwarding, Frontend, Interface, ReadGroup, Reader,
    json::{Value, array, get, list, reference, text},
    rule::{self, Dialect, network},
};
use crate::nsg::{region::Protocols, rules::default_rules};

pub(super) fn read(reader: &mut Reader, document: &Value<'_>, path: &str) {
    let (field, values) = match (document.get("planned_values"), document.get("values")) {
        (Some(planned), _) => ("planned_values", planned),
        (None, Some(values)) => ("values", values),
        (None, None) => return,
    };
    if let Some(root) = values.get("root_module") {
        module(reader, root, &format!("{path}.{field}.root_module"));
    }
}

fn module(reader: &mut Reader, module: &Value<'_>, path: &str) {
    for (at, resource) in module.get("resources").map(array).unwrap_or_default().iter().enumerate() {
        if let Some(values) = resource.get("values") {
            let kind = text(resource, "type").unwrap_or_default();
            visit(reader, kind, values, &format!("{path}.resources[{at}].values"));
        }
    }
    for (at, child) in module.get("child_modules").map(array).unwrap_or_default().iter().enumerate() {
        self::module(reader, child, &format!("{path}.child_modules[{at}]"));
    }
}

fn visit(reader: &mut Reader, kind: &str, values: &Value<'_>, path: &str) {
    let id = |name: &str| text(values, name).map(str::to_ascii_lowercase);
    match kind {
        "azurerm_network_security_group" => {
            let own = list(values, "security_rule");
            let mut rules = reader.rules(own, &format!("{path}.security_rule"), Dialect::Declared);
            rules.extend(default_rules(path));
            reader.groups.push(ReadGroup {
                name: text(values, "name").unwrap_or("a group without a name").to_owned(),
                id: text(values, "id").map(str::to_owned),
                resource_group: text(values, "resource_group_name").map(str::to_owned),
                rules,
                place: path.to_owned(),
                subnets: Vec::new(),
                interfaces: Vec::new(),
            });
        }
        "azurerm_network_security_rule" => {
            let mut odd = Vec::new();
            let rule = rule::read(values, path.to_owned(), Dialect::Declared, &mut odd);
            let name = rule.name.clone();
            reader.note(path, odd.into_iter().map(|what| format!("{name}: {what}")));
            let group = text(values, "network_security_group_name").unwrap_or("a group without a name");
            reader.loose.entry(group.to_owned()).or_default().push(rule);
        }
        "azurerm_subnet" => reader.subnet(values),
        "azurerm_virtual_network" => {
            let words = get(values, "address_space").and_then(super::json::texts).unwrap_or_default();
            reader.networks.push(words.into_iter().filter_map(network).collect());
        }
        "azurerm_subnet_network_security_group_association" => {
            if let (Some(subnet), Some(group)) = (id("subnet_id"), id("network_security_group_id")) {
                reader.associate(&group, |it| it.subnets.push(subnet));
            }
        }
        "azurerm_network_interface_security_group_association" => {
            if let (Some(interface), Some(group)) =
                (id("network_interface_id"), id("network_security_group_id"))
            {
                reader.associate(&group, |it| it.interfaces.push(interface));
            }
        }
        "azurerm_network_interface" => {
            let configurations = list(values, "ip_configuration");
            let of = |field: &str| {
                configurations
                    .iter()
                    .filter_map(|it| text(it, field))
                    .map(str::to_ascii_lowercase)
                    .collect::<Vec<_>>()
            };
            reader.interfaces.push(Interface {
                id: id("id").unwrap_or_default(),
                addresses: of("private_ip_address").iter().filter_map(|it| it.parse().ok()).collect(),
                subnets: of("subnet_id"),
                group: None,
                security_groups: Vec::new(),
                public: of("public_ip_address_id"),
            });
        }
        "azurerm_public_ip" => reader.public_address(values),
        "azurerm_lb" => {
            reader.is_forwarding_known = true;
            for frontend in list(values, "frontend_ip_configuration") {
                let public = text(frontend, "public_ip_address_id").map(str::to_ascii_lowercase);
                let id = reference(frontend, "id").unwrap_or_default().to_ascii_lowercase();
                reader.frontends.push(Frontend { id, public, address: None });
            }
        }
        "azurerm_lb_rule" => {
            let port =
                get(values, "frontend_port").and_then(Value::count).and_then(|it| u16::try_from(it).ok());
            let protocol = match text(values, "protocol") {
                Some(word) if word.eq_ignore_ascii_case("udp") => Protocols::UDP,
                _ => Protocols::TCP,
            };
            let forwarded =
                port.map(|port| Forwarded { protocol, port, node_port: None }).into_iter().collect();
            reader.forwarding.push(Forwarding { frontend: id("frontend_ip_configuration_id"), forwarded });
        }
        // What is given to Azure as it is.
        "azapi_resource" => {
            if let Some(body) = get(values, "body").filter(|body| body.is_map()) {
                reader.visit(body, &format!("{path}.body"));
            }
        }
        _ => {}
    }
}

impl Reader {
    fn associate(&mut self, group: &str, add: impl FnOnce(&mut ReadGroup)) {
        let is_meant = |it: &&mut ReadGroup| it.id.as_ref().is_some_and(|id| id.eq_ignore_ascii_case(group));
        if let Some(found) = self.groups.iter_mut().find(is_meant) {
            add(found);
        }
    }
}
