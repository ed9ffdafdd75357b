//! What a browser is told instead of dialog's candidates.

use std::net::{IpAddr, SocketAddr};

use serde_json::{Value, json};

/// Where browsers reach the gateway, from the one to try first on.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Offer {
    /// Over UDP.
    pub udp: Vec<SocketAddr>,
    /// Over TCP, where the gateway waits for connections (RFC 6544).
    pub tcp: Vec<SocketAddr>,
    /// Whether dialog's own candidates come behind: they are what TURN leads to.
    pub keeps_dialogs: bool,
}

/// Mediasoup's candidates are hosts with this type preference (RFC 8445 section 5.1.2.1), and at most 10,000 below it. Ours
/// come first.
const UDP_PRIORITY: u32 = (64 << 24) + (20_000 << 8) + 255;
/// What browsers try when UDP does not get through.
const TCP_PRIORITY: u32 = 1_015_019_007;
/// From one candidate to the next.
const STEP: u32 = 100 << 8;

impl Offer {
    /// Whether there is anything to tell.
    pub const fn is_empty(&self) -> bool {
        self.udp.is_empty() && self.tcp.is_empty()
    }

    /// Instead of these candidates of dialog's.
    pub(super) fn instead_of(&self, dialogs: &[Value]) -> Value {
        let udp = self.udp.iter().zip(0..).map(|(place, number)| {
            json!({
                "foundation": format!("gatewayudp{number}"),
                "priority": UDP_PRIORITY - number * STEP,
                "ip": place.ip().to_string(),
                "protocol": "udp",
                "port": place.port(),
                "type": "host",
            })
        });
        let tcp = self.tcp.iter().zip(0..).map(|(place, number)| {
            json!({
                "foundation": format!("gatewaytcp{number}"),
                "priority": TCP_PRIORITY - number * STEP,
                "ip": place.ip().to_string(),
                "protocol": "tcp",
                "port": place.port(),
                "type": "host",
                "tcpType": "passive",
            })
        });
        let kept = dialogs.iter().filter(|it| self.keeps_dialogs && !is_loopback(it)).cloned();
        udp.chain(tcp).chain(kept).collect()
    }
}

/// The port on which dialog waits on an address that others reach: the first UDP candidate that is not for its own node.
pub(super) fn reachable_port(dialogs: &[Value]) -> Option<u16> {
    let is_meant = |it: &&Value| it["protocol"] == "udp" && !is_loopback(it);
    let port = dialogs.iter().find(is_meant)?["port"].as_u64()?;
    u16::try_from(port).ok().filter(|port| *port > 0)
}

fn is_loopback(candidate: &Value) -> bool {
    let ip = candidate["ip"].as_str().and_then(|ip| ip.parse::<IpAddr>().ok());
    ip.is_some_and(|ip| ip.is_loopback())
}
