//! Whatever clients, peers and the clock do: no panic, no packet to a refused peer, no session beyond the limits.

use std::time::Duration;

use proptest::prelude::*;

use super::harness::*;
use crate::turn::Client;
use crate::wire::*;

const CLIENTS: [&str; 3] = ["198.51.100.7:50000", "198.51.100.7:50001", "[2001:db8::7]:50000"];
const PEERS: [&str; 12] = [
    ANNOUNCED,
    DIALOG,
    NEIGHBOUR,
    REFUSED,
    "10.0.0.6:22",
    "10.0.0.6:0",
    "127.0.0.1:40000",
    "0.0.0.0:40000",
    "[::ffff:10.0.0.5]:40000",
    "[::ffff:169.254.169.254]:80",
    "[2001:db8::5]:40000",
    "[64:ff9b::a9fe:a9fe]:40000",
];

#[derive(Clone, Debug)]
enum Step {
    Allocate { client: usize, ipv6: Option<bool> },
    AllocateBoth { client: usize },
    Reserve { client: usize },
    Claim { client: usize },
    Refresh { client: usize, seconds: u64 },
    Permit { client: usize, peers: Vec<usize> },
    Bind { client: usize, channel: u16, peer: usize },
    Send { client: usize, peer: usize },
    ChannelData { client: usize, channel: u16 },
    FromPeer { peer: usize },
    Junk { client: usize, bytes: Vec<u8> },
    Wait { seconds: u64 },
    Disconnect { client: usize },
    Forbid { everything: bool },
}

fn step() -> impl Strategy<Value = Step> {
    let client = 0..CLIENTS.len();
    let peer = 0..PEERS.len();
    let channel = 0x4000_u16..0x4006;
    prop_oneof![
        3 => (client.clone(), any::<Option<bool>>()).prop_map(|(client, ipv6)| Step::Allocate { client, ipv6 }),
        2 => client.clone().prop_map(|client| Step::AllocateBoth { client }),
        1 => client.clone().prop_map(|client| Step::Reserve { client }),
        1 => client.clone().prop_map(|client| Step::Claim { client }),
        1 => (client.clone(), prop_oneof![Just(0), 1..4000_u64])
            .prop_map(|(client, seconds)| Step::Refresh { client, seconds }),
        3 => (client.clone(), proptest::collection::vec(peer.clone(), 0..3))
            .prop_map(|(client, peers)| Step::Permit { client, peers }),
        3 => (client.clone(), channel.clone(), peer.clone())
            .prop_map(|(client, channel, peer)| Step::Bind { client, channel, peer }),
        4 => (client.clone(), peer.clone()).prop_map(|(client, peer)| Step::Send { client, peer }),
        4 => (client.clone(), channel).prop_map(|(client, channel)| Step::ChannelData { client, channel }),
        3 => peer.prop_map(|peer| Step::FromPeer { peer }),
        1 => (client.clone(), proptest::collection::vec(any::<u8>(), 0..60))
            .prop_map(|(client, bytes)| Step::Junk { client, bytes }),
        1 => (0..800_u64).prop_map(|seconds| Step::Wait { seconds }),
        1 => client.prop_map(|client| Step::Disconnect { client }),
        1 => any::<bool>().prop_map(|everything| Step::Forbid { everything }),
    ]
}

/// Everybody in the play, and what has been seen.
struct Play {
    world: World,
    callers: Vec<Caller>,
    /// The last port that was reserved.
    token: ReservationToken,
    /// Whether the policy lets anybody be reached.
    is_open: bool,
    /// Packets that reached a peer.
    delivered: usize,
}

impl Play {
    fn new() -> Self {
        let mut world = World::with(crate::turn::Settings {
            families: vec![Family::V4, Family::V6],
            limits: crate::turn::Limits { sessions: 2, ..settings().limits },
            ..settings()
        });
        let client = |(index, remote): (usize, &&str)| if index == 1 { stream(remote) } else { udp(remote) };
        let clients: Vec<Client> = CLIENTS.iter().enumerate().map(client).collect();
        let callers = clients.into_iter().map(|client| Caller::new(&mut world, client)).collect();
        let token = ReservationToken([0; 8]);
        Self { world, callers, token, is_open: true, delivered: 0 }
    }

    fn take(&mut self, step: &Step) {
        let Self { world, callers, token, .. } = self;
        match step {
            Step::Allocate { client, ipv6 } => {
                callers[*client].ask(world, Method::Allocate, |it| {
                    let family = ipv6.map(|it| if it { Family::V6 } else { Family::V4 });
                    family.into_iter().fold(it.requested_transport(17), Builder::requested_address_family)
                });
            }
            Step::AllocateBoth { client } => {
                callers[*client].ask(world, Method::Allocate, |it| {
                    it.requested_transport(17).additional_address_family(Family::V6)
                });
            }
            Step::Reserve { client } => {
                let answer = callers[*client]
                    .ask(world, Method::Allocate, |it| it.requested_transport(17).even_port(true));
                *token = answer.reservation_token().unwrap().unwrap_or(*token);
            }
            Step::Claim { client } => {
                callers[*client]
                    .ask(world, Method::Allocate, |it| it.requested_transport(17).reservation_token(*token));
            }
            Step::Refresh { client, seconds } => drop(callers[*client].refresh(world, *seconds)),
            Step::Permit { client, peers } => {
                let peers: Vec<&str> = peers.iter().map(|peer| PEERS[*peer]).collect();
                callers[*client].permit(world, &peers);
            }
            Step::Bind { client, channel, peer } => {
                drop(callers[*client].bind(world, *channel, PEERS[*peer]));
            }
            Step::Send { client, peer } => self.deliver(*client, &send(PEERS[*peer], b"payload")),
            Step::ChannelData { client, channel } => {
                self.deliver(*client, &channel_data(*channel, b"payload"));
            }
            Step::FromPeer { peer } => {
                for relay in world.relays.keys().copied().collect::<Vec<_>>() {
                    let received = world.peer_sends(relay, PEERS[*peer], b"payload");
                    assert!(self.is_open || received.is_none());
                    let icmp = Icmp { kind: 3, code: 1, data: 0 };
                    let told = world.network_says(relay, PEERS[*peer], icmp);
                    assert_eq!(told.is_some(), received.is_some());
                }
            }
            Step::Junk { client, bytes } => self.deliver(*client, bytes),
            Step::Wait { seconds } => {
                world.wait(Duration::from_secs(*seconds));
                // Nonces grow old; a real client takes the one that a 438 brings.
                *callers = callers.iter().map(|it| Caller::new(world, it.client)).collect();
            }
            Step::Disconnect { client } => world.disconnect(callers[*client].client),
            Step::Forbid { everything } => {
                self.is_open = !everything;
                world.server.set_peers(if *everything {
                    crate::turn::PeerPolicy::default()
                } else {
                    policy()
                });
            }
        }
    }

    fn deliver(&mut self, client: usize, bytes: &[u8]) {
        let Some(delivered) = self.world.client_sends(self.callers[client].client, bytes) else { return };
        let reachable = ["10.0.0.5", "10.0.0.6", "2001:db8::5"].map(|it| it.parse().unwrap());
        assert!(self.is_open, "a packet went out although nobody may be reached");
        assert!(reachable.contains(&delivered.peer.ip()), "{}", delivered.peer);
        assert!((40000..=49999).contains(&delivered.peer.port()), "{}", delivered.peer);
        assert_eq!(self.world.relays[&delivered.relay].is_ipv4(), delivered.peer.is_ipv4());
        self.delivered += 1;
    }
}

proptest! {
    #[test]
    fn nothing_goes_to_a_refused_peer_and_nothing_panics(steps in proptest::collection::vec(step(), 0..80)) {
        let mut play = Play::new();
        for step in &steps {
            play.take(step);
            prop_assert!(play.world.server.sessions() + play.world.reserved.len() <= 2);
        }
        play.world.wait(Duration::from_hours(2));
        prop_assert_eq!(play.world.server.sessions(), 0);
        prop_assert!(play.world.relays.is_empty() && play.world.reserved.is_empty());
    }
}

#[test]
fn the_play_is_not_empty() {
    let mut play = Play::new();
    let (client, channel, peer) = (0, 0x4000, 0);
    for step in [
        Step::Allocate { client, ipv6: None },
        Step::Bind { client, channel, peer },
        Step::ChannelData { client, channel },
        Step::Send { client, peer },
    ] {
        play.take(&step);
    }
    assert_eq!(play.delivered, 2);
}
