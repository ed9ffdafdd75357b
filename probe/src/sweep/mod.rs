//! Which ports of an address do packets reach? With hubs-relay's agent on the other side every port is asked, and the answer is
//! exact.
//!
//! `survey` decides what is asked next and what came of it, `pace` how fast: both without a socket or a clock. `channel`
//! asks the agent, `udp` and `tcp` send.

mod channel;
mod intervals;
mod pace;
mod survey;
mod tcp;
mod udp;

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    str::FromStr,
    time::Duration,
};

use hubs_relay::sweep::Token;

pub(crate) use intervals::{Interval, intervals};
pub(crate) use survey::State;

use crate::target::RelayAdmin;

/// What Hubs' documentation asks operators to open.
pub(crate) const USUAL: RangeInclusive<u16> = 35_000..=60_000;

/// Where dialog has its ports.
pub(crate) const DIALOG_PORTS: RangeInclusive<u16> = 40_000..=49_999;

/// Where the agent is asked, over plain HTTP: what is said there is sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentAddress(RelayAdmin);

/// The text names no agent.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is no address of an agent: give its URL, such as http://127.0.0.1:9642")]
pub struct AgentAddressError(String);

impl AgentAddress {
    fn host(&self) -> &str {
        &self.0.host
    }

    fn port(&self) -> u16 {
        self.0.port
    }
}

impl FromStr for AgentAddress {
    type Err = AgentAddressError;

    /// Reads `http://host:port`.
    fn from_str(text: &str) -> Result<Self, AgentAddressError> {
        text.parse().map(Self).map_err(|_| AgentAddressError(text.to_owned()))
    }
}

impl fmt::Display for AgentAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The agent that is asked, and what for.
#[derive(Clone, Debug)]
pub struct SweepOptions {
    /// Where it is.
    pub agent: AgentAddress,
    /// What it knows us by.
    pub token: Token,
    /// The ports.
    pub ports: RangeInclusive<u16>,
}

impl PartialEq for SweepOptions {
    fn eq(&self, other: &Self) -> bool {
        // Tokens are not compared: whoever holds one of these holds its token.
        (&self.agent, &self.ports) == (&other.agent, &other.ports)
    }
}

impl Eq for SweepOptions {}

/// Which packets are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Udp,
    Tcp,
}

impl Transport {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
        }
    }
}

/// How far a sweep is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Ports that were asked once at least.
    pub(crate) asked: usize,
    /// Ports in all.
    pub(crate) total: usize,
    /// Those that packets were seen to reach.
    pub(crate) arrived: usize,
    /// Packets a second at the moment.
    pub(crate) rate: u32,
}

/// What came of a sweep.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) transport: Transport,
    pub(crate) address: IpAddr,
    /// For each port, in their order.
    pub(crate) states: Vec<(u16, State)>,
    /// Whether it came to its end, so that a silent port is one that is closed.
    pub(crate) end: Ending,
    /// Packets to ports that are known to be reached, and how many of them were not.
    pub(crate) measured: (u32, u32),
    /// Packets that came to another port than they were sent to.
    pub(crate) moved: u32,
    /// From which addresses the agent saw us.
    pub(crate) sources: Vec<IpAddr>,
    pub(crate) took: Duration,
}

/// How a sweep ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Complete,
    Interrupted,
    /// Why it could not go on.
    Broken(String),
}

/// Why there was no sweep at all.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SweepError {
    #[error(transparent)]
    Agent(#[from] channel::AgentError),
    #[error("this machine cannot send to {to}: {source}")]
    Socket { to: SocketAddr, source: std::io::Error },
}

pub(crate) use tcp::sweep as sweep_tcp;
pub(crate) use udp::sweep as sweep_udp;
