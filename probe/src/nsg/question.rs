//! What is asked of the rules: what Hubs needs them to let pass, what they had better keep out, and whatever a person names.

use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use super::{
    evaluate::{End, Extent, Flow, Way},
    ranges::{Addresses, Ports},
    read::{self, Declared, port_ranges},
    region::Protocols,
    rules::{Direction, Group, Operand, PLATFORM},
};

/// Dialog's ports.
const MEDIA: (u16, u16) = (40_000, 49_999);
/// From which ports Kubernetes takes those at which it is asked whether a node is well.
pub(super) const NODE_PORTS: (u16, u16) = (30_000, 32_767);

/// What a flow is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Pages and signalling come in.
    Entrance,
    /// TURN comes in.
    Turn,
    /// Media goes to the media gateway.
    Gateway,
    /// Media goes straight to dialog.
    Media,
    /// haproxy and the TURN server reach dialog.
    Inside,
    /// The load balancer finds out which nodes are well.
    Probes,
    /// Nodes ask for their address, and fetch images.
    Out,
    /// Nobody reads dialog's reports.
    Admin,
    /// The person wants to know.
    Asked,
}

/// A flow, and what it is for.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    pub(crate) purpose: Purpose,
    /// Whether nothing says that this is what the ports are for: other things are forwarded as well.
    is_supposed: bool,
    /// The ports to which people send, which are those of the flow unless a load balancer puts others in their place.
    public: Ports,
    pub(crate) flow: Flow,
}

impl Question {
    /// What stands for it where findings have their target.
    pub(crate) fn target(&self) -> String {
        let protocol = self.flow.protocol.word().to_ascii_lowercase();
        format!("{protocol}/{}", self.public.words().join(","))
    }
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} from {} to {}", self.target(), self.flow.source.text, self.flow.destination.text)?;
        f.write_str(if self.is_supposed { ", if that is hubs-relay's gateway" } else { "" })
    }
}

/// A flow as people name it: `udp/40000-49999`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NamedFlow {
    protocol: Protocols,
    ports: Ports,
}

/// The text names no flow.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is no flow: give a protocol and ports, such as udp/40000-49999 or tcp/443,4443")]
pub(crate) struct FlowError(String);

impl FromStr for NamedFlow {
    type Err = FlowError;

    fn from_str(text: &str) -> Result<Self, FlowError> {
        let bad = || FlowError(text.to_owned());
        let (protocol, ports) = text.split_once('/').ok_or_else(bad)?;
        let protocol = match protocol.to_ascii_lowercase().as_str() {
            "tcp" => Protocols::TCP,
            "udp" => Protocols::UDP,
            _ => return Err(bad()),
        };
        Ok(Self { protocol, ports: port_ranges(ports).filter(|it| !it.is_empty()).ok_or_else(bad)? })
    }
}

/// An end of a flow as people name it: an address, a network, or one of the names that Azure and we have for some.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Internet,
    Network,
    Platform,
    Node,
    Entrance,
    /// The load balancer, at these of its addresses.
    Frontends(Vec<IpAddr>),
    Addresses(Addresses),
}

/// The text names no place.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "{0:?} is no place: give an address, a network, Internet, VirtualNetwork, AzureLoadBalancer, Node or Entrance"
)]
pub(crate) struct PlaceError(String);

impl FromStr for Place {
    type Err = PlaceError;

    fn from_str(text: &str) -> Result<Self, PlaceError> {
        match text.to_ascii_lowercase().as_str() {
            "internet" => Ok(Self::Internet),
            "virtualnetwork" => Ok(Self::Network),
            "azureloadbalancer" => Ok(Self::Platform),
            "node" => Ok(Self::Node),
            "entrance" => Ok(Self::Entrance),
            _ => read::network(text).map(Self::Addresses).ok_or_else(|| PlaceError(text.to_owned())),
        }
    }
}

/// What the person asks for; nothing of it means Hubs' own needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) flows: Vec<NamedFlow>,
    pub(crate) from: Option<Place>,
    pub(crate) to: Option<Place>,
    /// Where people come in, if that is known otherwise than from the documents.
    pub(crate) entrance: Vec<IpAddr>,
    /// Where the media gateway waits for datagrams, as it tells browsers.
    pub(crate) gateway: Vec<SocketAddr>,
    /// The ports that dialog was seen to use, the lowest and the highest, if they are others than Hubs has.
    pub(crate) media: Option<(u16, u16)>,
}

impl Wanted {
    /// The questions about one way.
    pub(crate) fn questions(&self, declared: &Declared, way: &Way) -> Vec<Question> {
        let ends = Ends { declared, way, entrance: &self.entrance };
        if self.flows.is_empty() { self.needs(&ends) } else { self.asked(&ends) }
    }

    fn asked(&self, ends: &Ends<'_>) -> Vec<Question> {
        let from = self.from.clone().unwrap_or(Place::Internet);
        let is_out = match self.to {
            Some(Place::Internet) => true,
            Some(Place::Addresses(_)) => self.from == Some(Place::Node),
            _ => false,
        };
        let from = if is_out && self.from.is_none() { Place::Node } else { from };
        let to = self.to.clone().unwrap_or(Place::Node);
        let direction = if is_out { Direction::Outbound } else { Direction::Inbound };
        let question = |it: &NamedFlow, (public, ports, to): (Ports, Ports, Place)| {
            let flow = ends.flow(direction, it.protocol, ports, &from, &to);
            Question { purpose: Purpose::Asked, is_supposed: false, public, flow }
        };
        let arriving = |it: &NamedFlow| match to {
            Place::Entrance => ends.arriving(it.protocol, &it.ports),
            _ => vec![(it.ports.clone(), it.ports.clone(), to.clone())],
        };
        let questions =
            self.flows.iter().flat_map(|it| arriving(it).into_iter().map(move |to| question(it, to)));
        questions.collect()
    }

    fn needs(&self, ends: &Ends<'_>) -> Vec<Question> {
        use Direction::{Inbound, Outbound};
        let from = self.from.clone().unwrap_or(Place::Internet);
        let to = |place: Place| self.to.clone().unwrap_or(place);
        // Who asks about the entrance means where its packets come to.
        let entrance = |place| self.to.clone().filter(|it| *it != Place::Entrance).unwrap_or(place);
        let one = |port: u16| Ports::span(port, port);
        let range = |(first, last)| Ports::span(first, last);
        let mut questions = Vec::new();
        for (purpose, ports) in [(Purpose::Entrance, &[80, 443, 4443][..]), (Purpose::Turn, &[5349][..])] {
            let ports = ports.iter().map(|port| (*port, *port)).collect();
            for (public, arriving, place) in ends.arriving(Protocols::TCP, &ports) {
                let flow = ends.flow(Inbound, Protocols::TCP, arriving, &from, &entrance(place));
                questions.push(Question { purpose, is_supposed: false, public, flow });
            }
        }
        for (port, address) in ends.gateways(&self.gateway) {
            for (public, arriving, place) in ends.arriving(Protocols::UDP, &one(port)) {
                // It may have an address of its own.
                let place = match (place, address) {
                    (Place::Entrance | Place::Frontends(_), Some(address)) => {
                        Place::Addresses([address].into_iter().collect())
                    }
                    (place, _) => place,
                };
                let flow = ends.flow(Inbound, Protocols::UDP, arriving, &from, &entrance(place));
                let is_supposed = address.is_none();
                questions.push(Question { purpose: Purpose::Gateway, is_supposed, public, flow });
            }
        }
        let mut ask = |purpose, direction, protocol, ports: Ports, from: &Place, to: &Place| {
            let flow = ends.flow(direction, protocol, ports.clone(), from, to);
            questions.push(Question { purpose, is_supposed: false, public: ports, flow });
        };
        let media = range(self.media.unwrap_or(MEDIA));
        ask(Purpose::Media, Inbound, Protocols::UDP, media.clone(), &from, &to(Place::Node));
        if self.from.is_none() {
            let inside = [(Protocols::UDP, media), (Protocols::TCP, one(4443))];
            for (protocol, ports) in inside {
                ask(Purpose::Inside, Inbound, protocol, ports, &Place::Network, &to(Place::Node));
            }
            ask(
                Purpose::Probes,
                Inbound,
                Protocols::TCP,
                range(NODE_PORTS),
                &Place::Platform,
                &to(Place::Node),
            );
            ask(Purpose::Out, Outbound, Protocols::TCP, one(443), &to(Place::Node), &Place::Internet);
        }
        if let Some(from) = ends.outside(from) {
            ask(Purpose::Admin, Inbound, Protocols::TCP, one(7000), &from, &to(Place::Node));
        }
        questions
    }
}

/// What stands for the ends of flows on one way.
struct Ends<'a> {
    declared: &'a Declared,
    way: &'a Way,
    entrance: &'a [IpAddr],
}

impl Ends<'_> {
    /// What of the place belongs to the internet. Who is inside anyway reaches more than what rules keep from strangers.
    fn outside(&self, place: Place) -> Option<Place> {
        match place {
            Place::Internet => Some(place),
            Place::Network | Place::Platform | Place::Node | Place::Entrance | Place::Frontends(_) => None,
            Place::Addresses(addresses) => {
                let outside = addresses.intersection(&self.declared.knowledge.internet());
                let outside = outside.difference(&Addresses::private());
                (!outside.is_empty()).then_some(Place::Addresses(outside))
            }
        }
    }

    /// The ports at which the media gateway waits: those that are `known`, and otherwise what is forwarded of UDP.
    fn gateways(&self, known: &[SocketAddr]) -> Vec<(u16, Option<IpAddr>)> {
        if !known.is_empty() {
            return known.iter().map(|it| (it.port(), Some(it.ip()))).collect();
        }
        let forwarded = self.declared.forwarded.iter().flatten();
        // Where all ports are forwarded, none of them is any more the gateway's than another.
        forwarded
            .filter(|it| it.protocol == Protocols::UDP)
            .filter_map(|it| Some((it.port()?, None)))
            .collect()
    }

    /// Packets for these ports of the load balancer, and at which ports of which place they come to the rules: where no address
    /// floats, at the node's.
    fn arriving(&self, protocol: Protocols, ports: &Ports) -> Vec<(Ports, Ports, Place)> {
        let forwarded = self.declared.forwarded.iter().flatten().filter(|it| it.protocol == protocol);
        let is_any_floating = forwarded.clone().any(|it| it.node_ports.is_none());
        let is_none_forwarded = forwarded.clone().next().is_none();
        let (mut at_node, mut arriving, mut floating) =
            (Ports::default(), Ports::default(), Ports::default());
        for it in forwarded {
            let asked = ports.intersection(&Ports::span(it.ports.0, it.ports.1));
            match it.node_ports {
                _ if asked.is_empty() => {}
                Some(same) if same == it.ports => {
                    at_node = at_node.union(&asked);
                    arriving = arriving.union(&asked);
                }
                Some((first, last)) => {
                    at_node = at_node.union(&asked);
                    arriving = arriving.union(&Ports::span(first, last));
                }
                None => floating = floating.union(&asked),
            }
        }
        let mut rest = ports.difference(&at_node).union(&floating);
        let place = if is_any_floating || is_none_forwarded { Place::Entrance } else { Place::Node };
        let mut all = vec![(at_node, arriving, Place::Node)];
        let apart =
            if is_none_forwarded { self.apart(protocol, &rest) } else { self.apart(protocol, &floating) };
        for (ports, addresses) in apart {
            rest = rest.difference(&ports);
            all.push((ports.clone(), ports, Place::Frontends(addresses)));
        }
        all.push((rest.clone(), rest, place));
        all.retain(|(public, ..)| !public.is_empty());
        all
    }

    /// Where there are several load balancers' addresses, which of these ports are forwarded at which of them: rules are asked about no
    /// others.
    fn apart(&self, protocol: Protocols, ports: &Ports) -> Vec<(Ports, Vec<IpAddr>)> {
        if !self.entrance.is_empty() || self.declared.frontends.len() < 2 {
            return Vec::new();
        }
        let mut at: BTreeMap<IpAddr, Ports> = BTreeMap::new();
        let mut add = |frontend: IpAddr, there: Ports| {
            let there = there.intersection(ports);
            at.entry(frontend).and_modify(|known| *known = known.union(&there)).or_insert(there);
        };
        for it in self.declared.forwarded.iter().flatten() {
            if it.protocol != protocol || it.node_ports.is_some() {
                continue;
            }
            // Where one is not known, it may be any of them.
            let Some(frontend) = it.frontend else { return Vec::new() };
            add(frontend, Ports::span(it.ports.0, it.ports.1));
        }
        if self.declared.forwarded.is_none() {
            // AKS makes a rule for what it forwards, with the address at which it does.
            let of_aks = self
                .declared
                .groups
                .iter()
                .flat_map(Group::rules)
                .filter(|rule| rule.is_of_aks() && rule.protocols.is_some_and(|it| it.covers(protocol)));
            for rule in of_aks {
                let names = |frontend: &IpAddr| {
                    let has =
                        |it: &_| matches!(it, Operand::Known(addresses) if addresses.contains(*frontend));
                    rule.destinations.iter().any(has)
                };
                let frontends = self.declared.frontends.iter().copied().filter(names);
                frontends.for_each(|frontend| add(frontend, rule.ports.known.clone()));
            }
        }
        let mut apart: Vec<(Ports, Vec<IpAddr>)> = Vec::new();
        for (frontend, ports) in at.into_iter().filter(|(_, ports)| !ports.is_empty()) {
            match apart.iter_mut().find(|(known, _)| *known == ports) {
                Some((_, frontends)) => frontends.push(frontend),
                None => apart.push((ports, vec![frontend])),
            }
        }
        apart
    }

    fn flow(
        &self,
        direction: Direction,
        protocol: Protocols,
        ports: Ports,
        from: &Place,
        to: &Place,
    ) -> Flow {
        let (source, destination) = (self.end(from), self.end(to));
        // Who has no address of IPv6 is sent none of its packets.
        let far = if direction == Direction::Inbound { &destination } else { &source };
        let is_v4 = !far.addresses.has_v6() || far.extent == Extent::One;
        let cut = |end: End| if is_v4 { End { addresses: end.addresses.v4_only(), ..end } } else { end };
        Flow { direction, protocol, ports, source: cut(source), destination: cut(destination) }
    }

    fn end(&self, place: &Place) -> End {
        let knowledge = &self.declared.knowledge;
        let every = |addresses: Addresses, text: String| End { addresses, extent: Extent::Every, text };
        match place {
            Place::Internet => {
                every(knowledge.internet().difference(&Addresses::private()), "the internet".to_owned())
            }
            Place::Network => every(self.network(), "the virtual network".to_owned()),
            Place::Platform => every([PLATFORM].into_iter().collect(), "Azure's health probes".to_owned()),
            Place::Addresses(addresses) => every(addresses.clone(), addresses.to_string()),
            Place::Node if self.way.nodes.is_empty() => {
                End { addresses: self.network(), extent: Extent::One, text: "a node".to_owned() }
            }
            Place::Node => {
                let text = format!("the nodes ({})", self.way.nodes);
                End { addresses: self.way.nodes.clone(), extent: Extent::Every, text }
            }
            Place::Entrance => {
                let known = if self.entrance.is_empty() { &self.declared.frontends } else { self.entrance };
                let known: Addresses = known.iter().copied().collect();
                if known.is_empty() {
                    let addresses = knowledge.internet().difference(&Addresses::private());
                    return End { addresses, extent: Extent::One, text: "the load balancer".to_owned() };
                }
                every(known.clone(), format!("the load balancer ({known})"))
            }
            Place::Frontends(known) => {
                let known: Addresses = known.iter().copied().collect();
                every(known.clone(), format!("the load balancer ({known})"))
            }
        }
    }

    fn network(&self) -> Addresses {
        self.declared.knowledge.virtual_network().difference(&[PLATFORM].into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flows_and_places_are_read_as_people_name_them() {
        for (text, target) in
            [("udp/40000-49999", "udp/40000-49999"), ("TCP/443,4443", "tcp/443,4443"), ("tcp/*", "tcp/*")]
        {
            let flow: NamedFlow = text.parse().unwrap();
            let wanted = Wanted { flows: vec![flow], ..Wanted::default() };
            let way = Way { name: String::new(), layers: Vec::new(), nodes: Addresses::default() };
            assert_eq!(wanted.questions(&Declared::default(), &way)[0].target(), target);
        }
        for text in ["", "udp", "icmp/8", "udp/9-1", "udp/", "udp/65536", "tcp/x"] {
            assert!(text.parse::<NamedFlow>().is_err(), "{text}");
        }
        assert_eq!("internet".parse(), Ok(Place::Internet));
        assert!("10.224.0.0/16".parse::<Place>().is_ok() && "10.224.0.4".parse::<Place>().is_ok());
        assert!("somewhere".parse::<Place>().is_err());
    }
}
