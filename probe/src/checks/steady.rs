//! Connections to the entrance: is each of them taken, or only some?
//!
//! A load balancer deals connections out to nodes by their addresses and ports. If one of the nodes has no haproxy, or cannot be reached, what
//! is dealt to it gets lost, always, and the others never: whoever reloads the page often enough gets in.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use tokio::time::Instant;

use crate::{
    check::{Context, Outcome, Stop},
    codes::Code,
    finding::Finding,
    net::ConnectError,
    target::{HTTPS, Name},
};

/// How many connections. Of a node in three that is deaf, they miss one time in seventy.
const CONNECTIONS: usize = 16;

/// So many have to be lost; one alone may be an accident.
const ENOUGH: usize = 2;

/// A connection that takes so much longer than the fastest one was begun again, because packets were lost (RFC 6298 section 2).
const BEGUN_AGAIN: Duration = Duration::from_millis(800);

const POLICY: &str = "kubectl get service lb -n hcce -o jsonpath='{.spec.externalTrafficPolicy}'";
const PODS: &str = "kubectl get pods -n hcce -l app=haproxy -o wide";
const PROBES: &str = "az network lb probe list -g NODE_GROUP --lb-name kubernetes -o table";

pub(crate) async fn steady(cx: Arc<Context>) -> Outcome {
    cx.facts.has_address(Name::Root)?;
    let host = cx.target.host(Name::Root);
    let addresses = cx.net.route(&host, HTTPS).await.map_err(|e| Stop::Unable(e.to_string()))?;
    // Of two families the other one may not be there at all, which dns.aaaa says.
    let Some(address) = addresses.iter().find(|a| a.is_ipv4()).or_else(|| addresses.first()).copied() else {
        return Err(Stop::Skip(format!("{host} has no address, see dns.addresses")));
    };
    let tried = join_all((0..CONNECTIONS).map(async |_| {
        let since = Instant::now();
        match cx.net.connect_address(address).await {
            Ok(_) => Tried::Taken(since.elapsed()),
            Err(ConnectError::Refused(_)) => Tried::Refused,
            Err(ConnectError::Silent(_)) => Tried::Silent,
            Err(ConnectError::Io { .. } | ConnectError::Resolve(_)) => Tried::Unable,
        }
    }))
    .await;
    Ok(vec![judge(&tried).at(format!("tcp:{address}"))])
}

/// What became of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tried {
    Taken(Duration),
    Refused,
    Silent,
    /// This machine could not try.
    Unable,
}

fn judge(tried: &[Tried]) -> Finding {
    let code = Code::ConnectionsTaken;
    let count = |what: Tried| tried.iter().filter(|it| **it == what).count();
    let (refused, silent) = (count(Tried::Refused), count(Tried::Silent));
    let times: Vec<_> = tried
        .iter()
        .filter_map(|it| match it {
            Tried::Taken(time) => Some(*time),
            _ => None,
        })
        .collect();
    let all = times.len() + refused + silent;
    let Some(fastest) = times.iter().min() else {
        return Finding::skip(code, "port 443 takes no connection, see tls.certificates");
    };
    let begun_again = times.iter().filter(|time| **time > *fastest + BEGUN_AGAIN).count();
    let finding = match refused + silent {
        0 => return Finding::pass(code, format!("all {all} connections that were opened at once were taken")),
        lost if lost < ENOUGH => {
            return Finding::pass(code, format!("all but one of {all} connections that were opened at once were taken"));
        }
        _ if begun_again > 0 => Finding::skip(
            code,
            "packets get lost on the way, so connections that are lost for another reason cannot be told from those",
        ),
        lost => Finding::fail(code, format!("{lost} of {all} connections to port 443 are lost, and the others are taken at once"))
            .because("the load balancer deals connections out to several nodes, and one of them does not answer: it has no haproxy and is not taken out (externalTrafficPolicy Local needs the health probe), or a rule keeps it apart")
            .fix("Look at which nodes have haproxy, and whether the load balancer's probes find those that have not:", [PODS, POLICY, PROBES]),
    };
    let rows =
        [("taken", times.len()), ("silent", silent), ("refused", refused), ("begun again", begun_again)];
    rows.into_iter()
        .filter(|(_, number)| *number > 0)
        .fold(finding, |finding, (what, number)| finding.seen(what, number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        finding::Status,
        testing::{context, tcp_server},
    };

    const FAST: Tried = Tried::Taken(Duration::from_millis(20));
    const SLOW: Tried = Tried::Taken(Duration::from_millis(1020));

    fn status(tried: &[(Tried, usize)]) -> Status {
        let tried: Vec<_> = tried.iter().flat_map(|(tried, times)| vec![*tried; *times]).collect();
        judge(&tried).status
    }

    #[test]
    fn some_connections_that_are_lost_beside_others_that_are_taken_at_once_are_a_fault() {
        for lost in [Tried::Silent, Tried::Refused] {
            assert_eq!(status(&[(FAST, 12), (lost, 4)]), Status::Fail);
            assert_eq!(status(&[(FAST, 15), (lost, 1)]), Status::Pass);
            assert_eq!(status(&[(lost, 16)]), Status::Skip);
        }
        assert_eq!(status(&[(FAST, 16)]), Status::Pass);
    }

    #[test]
    fn where_packets_get_lost_nobody_is_accused() {
        assert_eq!(status(&[(FAST, 11), (SLOW, 1), (Tried::Silent, 4)]), Status::Skip);
        assert_eq!(status(&[(FAST, 10), (SLOW, 6)]), Status::Pass);
        assert_eq!(status(&[(Tried::Unable, 16)]), Status::Skip);
    }

    #[tokio::test]
    async fn a_server_that_takes_each_connection_passes() {
        let server = tcp_server(|_| std::future::ready(())).await;
        let findings = steady(context(None, &[(Name::Root, HTTPS, server)])).await.unwrap();
        assert_eq!((findings[0].code, findings[0].status), (Code::ConnectionsTaken, Status::Pass));
    }
}
