//! Connections to the entrance: is each of them taken, or only some?
//!
//! A load balancer deals connections out to nodes by their addresses and ports. If one of the nodes has no haproxy, or cannot be reached, what
//! is dealt to it gets lost, and the others do not: whoever reloads the page often enough gets in. It is looked at after the other
//! checks of the web, since whoever counts connections must not hold these against them.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use futures_util::future::join_all;
use tokio::time::Instant;

use crate::{
    check::{Context, Outcome, Stop},
    codes::Code,
    finding::Finding,
    net::{ConnectError, Net},
    target::{HTTPS, Name},
};

/// How many connections. Of a node in three that is deaf, they miss one time in seventy.
const CONNECTIONS: usize = 16;

/// So many at a time, fewer than a browser opens.
const AT_A_TIME: usize = 4;

/// So many have to be lost; one alone may be an accident.
const ENOUGH: usize = 2;

/// A connection that takes so much longer than the fastest one was begun again, because packets were lost (RFC 6298 section 2).
const BEGUN_AGAIN: Duration = Duration::from_millis(800);

const POLICY: &str = "kubectl get service lb -n hcce -o jsonpath='{.spec.externalTrafficPolicy}'";
const PODS: &str = "kubectl get pods -n hcce -l app=haproxy -o wide";
const PROBES: &str = "az network lb probe list -g NODE_GROUP --lb-name kubernetes -o table";

pub(crate) async fn steady(cx: Arc<Context>) -> Outcome {
    cx.facts.has_address(Name::Root)?;
    let addresses = cx.net.route(&cx.target.host(Name::Root), HTTPS).await;
    let mut addresses = addresses.map_err(|e| Stop::Unable(e.to_string()))?;
    addresses.sort_by_key(SocketAddr::is_ipv6);
    for address in addresses {
        let tried = open_all(&cx.net, address).await;
        if tried.iter().any(|it| *it != Tried::Unable) {
            return Ok(vec![judge(&tried, address).at(format!("tcp:{address}"))]);
        }
    }
    Err(Stop::Skip("this machine has no way to any address of the entrance, see tls.certificates".to_owned()))
}

/// Some at a time, so that there are never many at once. Each is closed as soon as it is taken.
async fn open_all(net: &Net, address: SocketAddr) -> Vec<Tried> {
    let mut tried = Vec::new();
    while tried.len() < CONNECTIONS {
        let some = join_all((0..AT_A_TIME).map(async |_| {
            let since = Instant::now();
            match net.connect_address(address).await {
                Ok(_) => Tried::Taken(since.elapsed()),
                Err(ConnectError::Refused(_)) => Tried::Refused,
                Err(ConnectError::Silent(_)) => Tried::Silent,
                Err(ConnectError::Io { source, .. }) if source.kind() == io::ErrorKind::HostUnreachable => {
                    Tried::Unreachable
                }
                Err(ConnectError::Io { .. } | ConnectError::Resolve(_)) => Tried::Unable,
            }
        }));
        tried.extend(some.await);
        if tried.iter().all(|it| *it == Tried::Unable) {
            break;
        }
    }
    tried
}

/// What became of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tried {
    Taken(Duration),
    Refused,
    Silent,
    /// Somebody on the way says that it leads nowhere.
    Unreachable,
    /// This machine could not try.
    Unable,
}

impl Tried {
    fn time(self) -> Option<Duration> {
        match self {
            Self::Taken(time) => Some(time),
            Self::Refused | Self::Silent | Self::Unreachable | Self::Unable => None,
        }
    }
}

/// `tried` in the order in which they were opened.
fn judge(tried: &[Tried], address: SocketAddr) -> Finding {
    let code = Code::ConnectionsTaken;
    let all = tried.len();
    let count = |what: Tried| tried.iter().filter(|it| **it == what).count();
    let times: Vec<_> = tried.iter().filter_map(|it| it.time()).collect();
    let Some(fastest) = times.iter().min() else {
        return Finding::skip(code, format!("{address} takes no connection, see tls.certificates"));
    };
    let begun_again = times.iter().filter(|time| **time > *fastest + BEGUN_AGAIN).count();
    let lost = all - times.len();
    let finding = if lost < ENOUGH {
        let summary = match lost {
            0 => format!("all {all} connections to {address} are taken"),
            _ => format!("all but one of {all} connections to {address} are taken"),
        };
        return Finding::pass(code, summary);
    } else if count(Tried::Unable) > 0 {
        Finding::skip(code, "this machine could not open all of the connections")
    } else if begun_again > 0 {
        Finding::skip(
            code,
            "packets get lost on the way, so connections that are lost for another reason cannot be told from those",
        )
    } else if !is_mixed(tried) {
        Finding::skip(
            code,
            "connections are taken up to a number and none after it: somebody, perhaps in this network, allows only so many",
        )
    } else {
        Finding::fail(code, format!("{lost} of {all} connections to {address} are lost, and the others are taken at once"))
            .because("the load balancer deals connections out to several nodes, and one of them does not answer: it has no haproxy and is not taken out (externalTrafficPolicy Local needs the health probe), or a rule keeps it apart")
            .fix("Look at which nodes have haproxy, and whether the load balancer's probes find those that have not; run the check from another network to rule out this one:", [PODS, POLICY, PROBES])
    };
    let rows = [
        ("taken", times.len()),
        ("silent", count(Tried::Silent)),
        ("refused", count(Tried::Refused)),
        ("unreachable", count(Tried::Unreachable)),
        ("begun again", begun_again),
    ];
    let rows = rows.into_iter().filter(|(_, number)| *number > 0);
    rows.fold(finding, |finding, (what, number)| finding.seen(what, number))
}

/// Whether one was taken after one that was lost. Whoever allows so many connections and no more loses the last ones.
fn is_mixed(tried: &[Tried]) -> bool {
    let first_lost = tried.iter().position(|it| it.time().is_none());
    first_lost.is_some_and(|at| tried[at..].iter().any(|it| it.time().is_some()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        finding::Status,
        net::NetOptions,
        testing::{bare_context, context, tcp_server},
    };

    const FAST: Tried = Tried::Taken(Duration::from_millis(20));
    const SLOW: Tried = Tried::Taken(Duration::from_millis(1020));

    /// Of connections in this order: `o` is taken at once, `l` late, `-` silent, `r` refused, `u` unreachable, `x` not tried.
    fn status(pattern: &str) -> Status {
        let tried = pattern.chars().map(|c| match c {
            'o' => FAST,
            'l' => SLOW,
            '-' => Tried::Silent,
            'r' => Tried::Refused,
            'u' => Tried::Unreachable,
            _ => Tried::Unable,
        });
        judge(&tried.collect::<Vec<_>>(), ([192, 0, 2, 7], HTTPS).into()).status
    }

    #[test]
    fn some_connections_that_are_lost_among_others_that_are_taken_at_once_are_a_fault() {
        for pattern in ["o-oo-ooo", "ro-or-oo", "uoouoooo"] {
            assert_eq!(status(pattern), Status::Fail, "{pattern}");
        }
        for pattern in ["oooooooo", "ooo-oooo", "ooorrooo".replace("rr", "ro").as_str()] {
            assert_eq!(status(pattern), Status::Pass, "{pattern}");
        }
    }

    #[test]
    fn where_packets_get_lost_or_connections_are_counted_nobody_is_accused() {
        for pattern in ["o-ol-ooo", "oooo----", "oooorrrr", "o-o-oxxx", "--------", "xxxxxxxx"] {
            assert_eq!(status(pattern), Status::Skip, "{pattern}");
        }
        assert_eq!(status("ollololo"), Status::Pass);
    }

    #[tokio::test]
    async fn a_server_that_takes_each_connection_passes() {
        let server = tcp_server(|_| std::future::ready(())).await;
        let findings = steady(context(None, &[(Name::Root, HTTPS, server)])).await.unwrap();
        assert_eq!((findings[0].code, findings[0].status), (Code::ConnectionsTaken, Status::Pass));
    }

    #[tokio::test]
    async fn what_this_machine_cannot_try_is_no_finding() {
        // Datagrams may go to a broadcast address, connections may not: the system says so itself.
        let cx = bare_context(NetOptions {
            connect_to: vec!["hubs.example.test:443:255.255.255.255:9".parse().unwrap()],
            ..NetOptions::default()
        });
        cx.facts.addresses.learn([(Name::Root, vec![[255, 255, 255, 255].into()])].into());
        assert!(matches!(steady(Arc::new(cx)).await, Err(Stop::Skip(_))));
    }
}
