//! What forgets a flow on which nothing was sent for a while, and lets in nothing more of it: the load balancer, or a firewall.

use serde::Deserialize;

use super::Namespace;

/// Which flows, and after how long.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Forgets {
    /// In nftables' words, such as `tcp dport 5349`.
    flows: String,
    seconds: u32,
}

impl Forgets {
    /// Sets it up on a router. Whether a flow is awake, only packets from `device` tell.
    pub(super) fn set_up(&self, router: &Namespace, device: &str) {
        let Self { flows, seconds } = self;
        let flow = "ip saddr . th sport . ip daddr . th dport";
        router.nft(&format!(
            "table ip idle {{
  set known {{
    typeof {flow}
    flags dynamic
  }}
  set awake {{
    typeof {flow}
    flags dynamic,timeout
    timeout {seconds}s
  }}
  chain pass {{
    {flow} @known {flow} != @awake drop
    add @known {{ {flow} }}
    update @awake {{ {flow} }}
  }}
  chain forward {{
    type filter hook forward priority filter - 1;
    iifname {device} {flows} jump pass
  }}
}}
"
        ));
    }
}
