//! `terraform show -json`, of a state or of a plan: the resources of Azure's provider, with names in snake case.
//!
//! Of what a plan is going to make, the identifiers are not known. Where its configuration says that one resource refers to exactly one
//! other of the same module, Terraform's address stands for the identifier; whatever is less plain than that stays unknown.

use std::collections::BTreeMap;

use super::{
    Association, Forwarding, Frontend, GroupKey, Interface, ReadGroup, Reader,
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
    let Some(root) = values.get("root_module") else { return };
    let configuration =
        document.get("configuration").and_then(|it| it.get("root_module")).map(|configured| {
            let mut configuration = Configuration::default();
            configuration.add(configured, "");
            configuration.name(root);
            configuration
        });
    module(reader, root, configuration.as_ref(), &format!("{path}.{field}.root_module"));
}

fn module<'t>(
    reader: &mut Reader,
    module: &Value<'t>,
    configuration: Option<&Configuration<'_, 't>>,
    path: &str,
) {
    for (at, resource) in module.get("resources").map(array).unwrap_or_default().iter().enumerate() {
        let Some(values) = resource.get("values") else { continue };
        let kind = text(resource, "type").unwrap_or_default();
        let path = format!("{path}.resources[{at}].values");
        match configuration.and_then(|it| it.completed(resource, values)) {
            Some(completed) => visit(reader, kind, &completed, &path),
            None => visit(reader, kind, values, &path),
        }
    }
    for (at, child) in module.get("child_modules").map(array).unwrap_or_default().iter().enumerate() {
        self::module(reader, child, configuration, &format!("{path}.child_modules[{at}]"));
    }
}

/// What a plan says of how its resources refer to one another.
#[derive(Default)]
struct Configuration<'v, 't> {
    /// By the address without indexes.
    expressions: BTreeMap<String, &'v Value<'t>>,
    /// By the address: the identifier, or the address where none is known.
    identifiers: BTreeMap<String, &'v str>,
}

impl<'v, 't> Configuration<'v, 't> {
    fn add(&mut self, module: &'v Value<'t>, prefix: &str) {
        for resource in module.get("resources").map(array).unwrap_or_default() {
            if let (Some(address), Some(expressions)) =
                (resource.get("address").and_then(Value::text), resource.get("expressions"))
            {
                self.expressions.insert(format!("{prefix}{address}"), expressions);
            }
        }
        for (name, call) in module.get("module_calls").and_then(Value::fields).unwrap_or_default() {
            if let Some(module) = call.get("module") {
                self.add(module, &format!("{prefix}module.{name}."));
            }
        }
    }

    fn name(&mut self, module: &'v Value<'t>) {
        for resource in module.get("resources").map(array).unwrap_or_default() {
            let Some(address) = resource.get("address").and_then(Value::text) else { continue };
            let id = resource.get("values").and_then(|it| it.get("id")).and_then(Value::text);
            self.identifiers.insert(address.to_owned(), id.unwrap_or(address));
        }
        for child in module.get("child_modules").map(array).unwrap_or_default() {
            self.name(child);
        }
    }

    /// The values with identifiers that they lack.
    fn completed(&self, resource: &Value<'t>, values: &Value<'t>) -> Option<Value<'t>> {
        let address = resource.get("address").and_then(Value::text)?;
        let expressions = self.expressions.get(&without_indexes(address))?;
        let own = address.rfind(&format!("{}.", resource.get("type").and_then(Value::text)?))?;
        let mut values = self.filled(values, expressions, &address[..own]);
        if let (Value::Map(fields), Some(id)) = (&mut values, self.identifiers.get(address)) {
            fields.push(("id".into(), Value::Text((*id).to_owned().into())));
        }
        Some(values)
    }

    /// The values, and those of blocks within, with what they refer to within the module of that prefix.
    fn filled(&self, values: &Value<'t>, expressions: &Value<'t>, prefix: &str) -> Value<'t> {
        let mut values = values.clone();
        let Value::Map(fields) = &mut values else { return values };
        for (name, expression) in expressions.fields().unwrap_or_default() {
            let known = fields.iter_mut().rev().find(|(field, value)| field == name && *value != Value::Null);
            match (known, expression) {
                (Some((_, Value::List(blocks))), Value::List(expressions))
                    if blocks.len() == expressions.len() =>
                {
                    for (block, expressions) in blocks.iter_mut().zip(expressions) {
                        *block = self.filled(block, expressions, prefix);
                    }
                }
                (None, _) if name.ends_with("_id") => {
                    let id = self.referred(expression, prefix).map(|id| Value::Text(id.to_owned().into()));
                    fields.extend(id.map(|id| (name.clone(), id)));
                }
                // The group of a subnet that is declared within its network. That there is one is known in any case.
                (None, _) if name == "security_group" && expression.get("references").is_some() => {
                    let id = self.referred(expression, prefix).unwrap_or("a group that is not known yet");
                    fields.push((name.clone(), Value::Text(id.to_owned().into())));
                }
                _ => {}
            }
        }
        values
    }

    /// The one resource of which the expression takes the identifier, if it refers to nothing else.
    fn referred(&self, expression: &Value<'_>, prefix: &str) -> Option<&'v str> {
        let references = expression.get("references").map(array)?;
        // A reference to a resource's field is followed by one to the resource. Whatever stands beside may be what is taken.
        let [field, resource] = references else { return None };
        let address = field.text()?.strip_suffix(".id").filter(|it| resource.text() == Some(*it))?;
        self.identifiers.get(&format!("{prefix}{address}")).copied()
    }
}

/// `module.net[0].azurerm_subnet.nodes["a"]` as the configuration has it.
fn without_indexes(address: &str) -> String {
    let mut parts = address.split('[');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |address, part| address + part.split_once(']').map_or("", |(_, rest)| rest))
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
            let resource_group = text(values, "resource_group_name").map(str::to_owned);
            let group = GroupKey::new(text(values, "network_security_group_name"), resource_group);
            // What a group says of its rules besides is what was there when somebody looked, also in a plan of something else.
            reader.loose.entry(GroupKey { is_first: true, ..group }).or_default().push(rule);
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
            for (at, subnet) in list(values, "subnet").iter().enumerate() {
                reader.subnet(subnet, text(values, "id"), &format!("{path}.subnet[{at}]"));
            }
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
