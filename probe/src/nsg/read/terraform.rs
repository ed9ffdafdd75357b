//! `terraform show -json`, of a state or of a plan: the resources of Azure's provider, with names in snake case.

use super::{
    Association, Forwarding, Frontend, Interface, ReadGroup, Reader,
    json::{Value, array, get, list, reference, text},
    rule::{self, Dialect},
};
use crate::nsg::rules::{Layer, default_rules};

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
                is_given: true,
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
        "azurerm_subnet" => reader.subnet(values, None, path),
        "azurerm_virtual_network" => {
            let place = format!("{path}.address_space");
            let (known, mut is_whole) = reader.prefixes(get(values, "address_space"), &place);
            if get(values, "address_space").is_none() {
                reader.note(&place, ["it is not known before it is applied".to_owned()]);
                is_whole = false;
            }
            reader.space(known, is_whole);
        }
        "azurerm_subnet_network_security_group_association" => reader.associations.push(Association {
            layer: Layer::Subnet,
            of: id("subnet_id"),
            group: id("network_security_group_id"),
            place: path.to_owned(),
        }),
        "azurerm_network_interface_security_group_association" => reader.associations.push(Association {
            layer: Layer::Interface,
            of: id("network_interface_id"),
            group: id("network_security_group_id"),
            place: path.to_owned(),
        }),
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
                place: path.to_owned(),
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
            // It has had two names.
            let floating = ["enable_floating_ip", "floating_ip_enabled"].map(|it| get(values, it));
            let fields = ["frontend_port", "backend_port"];
            let forwarded = reader.forwarded(values, fields, floating.into_iter().flatten().next(), path);
            reader.is_forwarding_known = true;
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
