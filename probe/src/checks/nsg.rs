//! Azure's rules, as the given files declare them, held against what the other checks saw.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

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
    let wanted = Wanted { entrance, gateway, ..Wanted::default() };
    Ok(nsg::flows(declared, &wanted, Some(&reality(cx, declared))))
}

fn given(cx: &Context) -> Result<&Declared, Stop> {
    let reason =
        "no rules were given: --nsg FILE, with what `az network nsg list -g NODE_GROUP -o json` prints";
    cx.options.nsg.as_deref().ok_or_else(|| Stop::Skip(reason.to_owned()))
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
