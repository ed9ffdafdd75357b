//! Azure's rules, as the given files declare them, held against what the other checks saw.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

use super::addresses::MEDIA_PORTS;
use crate::{
    candidate::Kind,
    check::{Context, Outcome, Stop},
    facts::Reached,
    nsg::{self, Declared, Observed, Owner, Reality, Wanted},
    target::{DIALOG, HTTPS, Name, TURN},
};

/// What is wrong with the rules themselves.
pub(crate) fn rules(cx: &Context) -> Outcome {
    Ok(nsg::judge_rules(given(cx)?))
}

/// What they let in, and what became of it.
pub(crate) fn flows(cx: &Context) -> Outcome {
    let declared = given(cx)?;
    let entrance =
        cx.facts.addresses.get().ok().and_then(|known| known.get(&Name::Stream)).cloned().unwrap_or_default();
    let entrance =
        entrance.into_iter().filter(|ip| matches!(Kind::of_address(*ip), Kind::Public(_))).collect();
    let gateway = gateway(cx).iter().map(|(address, _)| *address).collect();
    let media = media_ports(cx.facts.asked_ports.get().map(Vec::as_slice).unwrap_or_default());
    let wanted = Wanted { entrance, gateway, media, ..Wanted::default() };
    Ok(nsg::flows(declared, &wanted, Some(&reality(cx, declared))))
}

fn given(cx: &Context) -> Result<&Declared, Stop> {
    let reason =
        "no rules were given: --nsg FILE, with what `az network nsg list -g NODE_GROUP -o json` prints";
    cx.options.nsg.as_deref().ok_or_else(|| Stop::Skip(reason.to_owned()))
}

/// The lowest and the highest of dialog's ports that were seen, where one of them is none of those that Hubs has: rules for those are
/// of no use then.
fn media_ports(asked: &[(SocketAddr, bool)]) -> Option<(u16, u16)> {
    let ports = || asked.iter().map(|(address, _)| address.port());
    let is_usual = ports().all(|port| MEDIA_PORTS.contains(&port));
    ports().min().zip(ports().max()).filter(|_| !is_usual)
}

/// The UDP ports of the media gateway that were tried.
fn gateway(cx: &Context) -> &[(SocketAddr, bool)] {
    cx.facts.gateway_ports.get().map(Vec::as_slice).unwrap_or_default()
}

fn reality(cx: &Context, declared: &Declared) -> Reality {
    let reached = cx.facts.entrances.get().map(Vec::as_slice).unwrap_or_default();
    let signalling = cx.facts.signalling(&cx.target).port;
    let turn = cx.facts.room.get().ok().and_then(|room| room.turn.as_ref());
    let turn = turn.map_or_else(|| vec![TURN], |turn| turn.ports.clone());
    let announced = cx.facts.announced.get().map(Vec::as_slice).unwrap_or_default();
    let asked = cx.facts.asked_ports.get().map(Vec::as_slice).unwrap_or_default();
    Reality {
        entrance: at_ports(reached, &[HTTPS, DIALOG, signalling]),
        turn: at_ports(reached, &turn),
        gateway: through_gateway(gateway(cx)),
        media: media(announced, cx.facts.answering.get().ok().map(Vec::as_slice), asked),
        owner: owner(cx, declared, announced),
        ports: asked.iter().map(|(address, answered)| (address.port(), *answered)).collect(),
    }
}

/// What became of connections to these ports: the worst of it.
fn at_ports(reached: &[(u16, Reached)], ports: &[u16]) -> Observed {
    let of = |wanted: Reached| -> Vec<String> {
        let at = reached.iter().filter(|(port, how)| ports.contains(port) && *how == wanted);
        let ports: BTreeSet<_> = at.map(|(port, _)| port).collect();
        ports.into_iter().map(u16::to_string).collect()
    };
    let text = |what: &str, ports: &[String]| format!("{what} at {}", ports.join(", "));
    match (of(Reached::Silent), of(Reached::Refused), of(Reached::Answered)) {
        (silent, ..) if !silent.is_empty() => Observed::Silent(text("nobody answers", &silent)),
        (_, refused, _) if !refused.is_empty() => {
            Observed::Refused(text("the connection is refused", &refused))
        }
        (.., answered) if !answered.is_empty() => Observed::Open(text("somebody answers", &answered)),
        _ => Observed::Unknown,
    }
}

fn through_gateway(asked: &[(SocketAddr, bool)]) -> Observed {
    let places = |answered: bool| {
        let at = asked.iter().filter(|it| it.1 == answered).map(|(address, _)| address.to_string());
        at.collect::<Vec<_>>().join(", ")
    };
    match (places(true), places(false)) {
        (open, _) if !open.is_empty() => Observed::Open(format!("dialog answers through {open}")),
        (_, silent) if !silent.is_empty() => Observed::Silent(format!("no answer through {silent}")),
        _ => Observed::Unknown,
    }
}

fn media(
    announced: &[SocketAddr],
    answering: Option<&[SocketAddr]>,
    asked: &[(SocketAddr, bool)],
) -> Observed {
    let places = |addresses: &mut dyn Iterator<Item = IpAddr>| {
        let distinct: BTreeSet<_> = addresses.collect();
        distinct.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    };
    let open = asked.iter().filter(|(_, answered)| *answered).count();
    let counted = if asked.is_empty() { String::new() } else { format!(", {open} of {} ports", asked.len()) };
    match answering {
        Some(answering) => Observed::Open(format!(
            "dialog answers at {}{counted}",
            places(&mut answering.iter().map(SocketAddr::ip))
        )),
        None if open > 0 => Observed::Open(format!("dialog answers{counted}")),
        None if announced.is_empty() => Observed::Unknown,
        None => Observed::Silent(format!(
            "no answer from {}{counted}",
            places(&mut announced.iter().map(SocketAddr::ip))
        )),
    }
}

/// Whose the announced address is, as far as files and names say.
fn owner(cx: &Context, declared: &Declared, announced: &[SocketAddr]) -> Owner {
    let is_among = |known: &[IpAddr]| announced.iter().any(|address| known.contains(&address.ip()));
    let names = cx.facts.addresses.get().ok().and_then(|known| known.get(&Name::Stream));
    if is_among(&declared.node_addresses) {
        Owner::Node
    } else if is_among(&declared.outbound_addresses) {
        Owner::Outbound
    } else if is_among(&declared.frontends) || names.is_some_and(|names| is_among(names)) {
        Owner::LoadBalancer
    } else {
        Owner::Unknown
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        check::Options, codes::Code, finding::Status, net::NetOptions, nsg::Source, testing::bare_context,
    };

    const RULES: &str = r#"[{
      "name": "nodes", "id": "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/networkSecurityGroups/nodes",
      "securityRules": [{
        "name": "media", "priority": 200, "direction": "Inbound", "access": "Allow", "protocol": "Udp",
        "sourceAddressPrefix": "Internet", "sourcePortRange": "*", "destinationAddressPrefix": "*", "destinationPortRange": "40000-49999"
      }],
      "networkInterfaces": [{"id": "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/networkInterfaces/n"}]
    }]"#;

    #[test]
    fn the_rules_are_asked_about_the_ports_that_dialog_was_moved_to() {
        let asked = |ports: &[u16]| {
            let nsg = Some(Arc::new(nsg::read(&[Source::file("nsg.json", RULES)]).unwrap()));
            let options = Options { nsg, ..Options::default() };
            let cx = Context { options, ..bare_context(NetOptions::default()) };
            let ports = ports.iter().map(|port| (([203, 0, 113, 9], *port).into(), false));
            cx.facts.asked_ports.learn(ports.collect());
            let found = flows(&cx).unwrap().into_iter().find(|it| it.code == Code::MediaAdmitted).unwrap();
            (found.target.unwrap(), found.status)
        };
        assert_eq!(asked(&[40_001, 49_999]), ("udp/40000-49999".to_owned(), Status::Pass));
        assert_eq!(asked(&[50_100, 49_998, 50_000]), ("udp/49998-50100".to_owned(), Status::Warn));
        assert_eq!(asked(&[]), ("udp/40000-49999".to_owned(), Status::Pass));
    }
}
