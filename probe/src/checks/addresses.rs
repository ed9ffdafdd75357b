//! Whose are the addresses and ports that dialog announces, and what else answers there?

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use futures_util::future::join_all;
use tokio::time::timeout;

use crate::{
    candidate::{Candidate, Kind, Protocol, Whose},
    check::{Context, Outcome, Stop},
    codes::Code,
    finding::Finding,
    net::{ConnectError, HttpError, Net, TlsError},
    target::Name,
};

/// What Hubs' documentation and rules speak of.
pub(super) const MEDIA_PORTS: std::ops::RangeInclusive<u16> = 40_000..=49_999;

/// Where dialog answers its operators, without asking who they are.
const ADMIN: u16 = 7000;

/// How long it may take to answer. A firewall says nothing, and is not worth more time.
const ADMIN_LIMIT: Duration = Duration::from_secs(2);

const DIALOG_ENV: &str =
    "kubectl get deployment dialog -n hcce -o jsonpath='{.spec.template.spec.containers[0].env}'";
const PODS: &str = "kubectl get pods -n hcce -o wide -l 'app in (dialog, coturn)'";
const RULES: &str = "az network nsg list -g NODE_GROUP --query '[].securityRules[]' -o table";

/// Compares what dialog announces with what the names lead to, with what it announces in another room, and with the documentation.
pub(crate) fn addresses(cx: &Context) -> Outcome {
    let candidates = cx.facts.candidates.get()?;
    let sampled = cx.facts.sampled.get().map(Vec::as_slice).unwrap_or_default();
    let names = cx.facts.addresses.get()?.get(&Name::Stream).map(Vec::as_slice).unwrap_or_default();
    let answering = cx.facts.answering.get().map(Vec::as_slice).unwrap_or_default();
    let mut findings = Vec::new();
    findings.extend(judge_owner(&public(candidates), names, answering, &cx.target.host(Name::Stream)));
    findings.extend(judge_dialogs(candidates, sampled));
    findings.push(judge_ports(candidates, sampled));
    Ok(findings)
}

fn public(candidates: &[Candidate]) -> BTreeSet<IpAddr> {
    let public = candidates.iter().filter(|c| matches!(c.kind, Kind::Public(_)));
    public.filter_map(Candidate::direct).map(|address| address.ip()).collect()
}

/// Nothing if dialog announces no public address, which is a finding of `dialog.candidates`.
fn judge_owner(
    announced: &BTreeSet<IpAddr>,
    names: &[IpAddr],
    answering: &[SocketAddr],
    stream: &str,
) -> Option<Finding> {
    let code = Code::AnnouncedApart;
    let shared: Vec<_> = announced.iter().filter(|ip| names.contains(ip)).collect();
    let answers = |ip: &IpAddr| answering.iter().any(|address| address.ip() == *ip);
    if announced.is_empty() {
        return None;
    }
    let finding = match shared.as_slice() {
        [] => Finding::pass(code, format!("dialog announces an address to which {stream} does not lead")).seen(
            "whose it is",
            "that of a node, or the one with which the cluster goes out to the internet: only an answer tells",
        ),
        [ip, ..] if answers(ip) => {
            Finding::pass(code, format!("dialog announces the address of {stream}, and answers there"))
                .seen("whose it is", "one machine's, which is node and entrance in one")
        }
        [..] => Finding::warn(code, format!("dialog announces the address of {stream}, where it does not answer"))
            .because("it is the load balancer's, which forwards single ports of TCP to the ingress and no UDP to dialog")
            .fix(
                "None is needed where TURN works. Otherwise let dialog announce the public address of its node:",
                [DIALOG_ENV, "kubectl get nodes -o wide"],
            ),
    };
    let list =
        |ips: &mut dyn Iterator<Item = &IpAddr>| ips.map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let names = if names.is_empty() { "nowhere".to_owned() } else { list(&mut names.iter()) };
    Some(finding.seen("announced", list(&mut announced.iter())).seen(&format!("{stream} leads to"), names))
}

/// Each look at dialog was in a room of its own, and the ingress chooses the dialog by the room.
fn judge_dialogs(candidates: &[Candidate], sampled: &[Vec<Candidate>]) -> Option<Finding> {
    let code = Code::OneDialog;
    let texts = |candidates: &[Candidate]| {
        let own = candidates.iter().filter(|c| c.whose == Whose::Dialogs);
        own.map(|c| c.text.clone()).collect::<BTreeSet<_>>()
    };
    let (one, other) = (texts(candidates), texts(sampled.first()?));
    if one.is_empty() && other.is_empty() {
        return None;
    }
    let show = |texts: &BTreeSet<String>| texts.iter().cloned().collect::<Vec<_>>().join(", ");
    Some(if one == other {
        Finding::pass(code, "two rooms were sent to a dialog that announces the same addresses")
    } else {
        Finding::warn(code, "two rooms were sent to dialogs that announce different addresses")
            .because("several dialogs run, or it restarted on another node while we looked")
            .seen("in one room", show(&one))
            .seen("in another room", show(&other))
            .fix("Hubs is made for one dialog, and so is a TURN server that was told one address: look at how many there are", [PODS])
    })
}

fn judge_ports(candidates: &[Candidate], sampled: &[Vec<Candidate>]) -> Finding {
    let code = Code::MediaPorts;
    let all = candidates.iter().chain(sampled.iter().flatten());
    let is_own_udp = |c: &&Candidate| c.whose == Whose::Dialogs && c.protocol == Protocol::Udp;
    let ports: BTreeSet<_> = all.filter(is_own_udp).map(|c| c.port).collect();
    let (Some(first), Some(last)) = (ports.first(), ports.last()) else {
        return Finding::skip(code, "dialog offers no UDP port");
    };
    let strange: Vec<_> = ports.iter().filter(|p| !MEDIA_PORTS.contains(p)).map(u16::to_string).collect();
    let finding = if strange.is_empty() {
        Finding::pass(code, "dialog's ports are between 40000 and 49999, as Hubs has them")
    } else {
        Finding::warn(code, "dialog uses ports outside of 40000-49999, of which rules and relays know nothing")
            .seen("outside", strange.join(", "))
            .because("MEDIASOUP_MIN_PORT or MEDIASOUP_MAX_PORT was set")
            .fix("Open the range that dialog is set to, and allow it in hubs-relay's [peers], or take the setting out:", [DIALOG_ENV])
    };
    finding.seen("seen", format!("{} ports between {first} and {last}", ports.len()))
}

/// Whether dialog and TURN draw their ports from one pot, as far as the relayed addresses that were given out tell.
pub(crate) fn ranges(cx: &Context) -> Outcome {
    let candidates = cx.facts.candidates.get()?;
    let relayed = cx.facts.relayed_addresses.get()?;
    Ok(vec![judge_ranges(&public(candidates), relayed)])
}

fn judge_ranges(announced: &BTreeSet<IpAddr>, relayed: &[SocketAddr]) -> Finding {
    let code = Code::RangesApart;
    let (inside, outside): (Vec<&SocketAddr>, Vec<_>) =
        relayed.iter().partition(|address| MEDIA_PORTS.contains(&address.port()));
    let finding = match inside.iter().find(|address| announced.contains(&address.ip())).or_else(|| inside.first()).copied() {
        None => Finding::pass(code, format!("none of {} relayed ports is one of dialog's", outside.len())),
        Some(address) if announced.contains(&address.ip()) => {
            Finding::warn(code, format!("TURN gave out {address}, which may be a port of dialog's"))
                .because("both run on one node and draw from ranges that overlap: Hubs gives dialog 40000-49999 and coturn 49152-51609")
                .fix(
                    "Let the TURN server draw from elsewhere (coturn: min-port; hubs-relay: relay.ports), or keep them on two nodes:",
                    [PODS],
                )
        }
        Some(address) if matches!(Kind::of_address(address.ip()), Kind::Public(_)) => {
            Finding::pass(code, "TURN's ports are those of another address than dialog's")
        }
        Some(address) => Finding::skip(
            code,
            format!("TURN gave out {address}, and whether that is on dialog's node cannot be seen from here: kubectl get pods -n hcce -o wide"),
        ),
    };
    let list: Vec<_> = relayed.iter().map(ToString::to_string).collect();
    finding.seen("relayed addresses", list.join(", "))
}

/// Asks for dialog's reports where everybody can ask.
pub(crate) async fn admin(cx: Arc<Context>) -> Outcome {
    let mut places = public(cx.facts.candidates.get()?);
    let names = cx.facts.addresses.get()?.get(&Name::Stream).into_iter().flatten();
    places.extend(names.filter(|ip| matches!(Kind::of_address(**ip), Kind::Public(_))));
    places.retain(|ip| cx.net.family().admits(*ip));
    if places.is_empty() {
        return Err(Stop::Skip("the deployment has no public address".to_owned()));
    }
    let asked = join_all(places.iter().map(async |ip| (*ip, ask_admin(&cx.net, *ip).await))).await;
    Ok(vec![judge_admin(&asked)])
}

/// What is behind the admin port.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Behind {
    /// Dialog, which tells everything.
    Dialog(String),
    /// Somebody else.
    Another(String),
    /// Nobody that we could talk to.
    Nobody(String),
    /// This machine could not ask.
    Unknown(String),
}

async fn ask_admin(net: &Net, ip: IpAddr) -> Behind {
    match timeout(ADMIN_LIMIT, net.get_plain(&ip.to_string(), ADMIN, "/meta")).await {
        Ok(Ok(answer)) => {
            let text = answer.text();
            let is_dialogs =
                serde_json::from_str::<serde_json::Value>(&text).is_ok_and(|meta| meta["cap"].is_number());
            if is_dialogs {
                Behind::Dialog(text)
            } else {
                Behind::Another(format!("answers {}", answer.status))
            }
        }
        Ok(Err(HttpError::Tls(TlsError::Connect(ConnectError::Refused(_))))) => {
            Behind::Nobody("refuses".to_owned())
        }
        Ok(Err(HttpError::Tls(e @ TlsError::Connect(ConnectError::Io { .. })))) => {
            Behind::Unknown(e.to_string())
        }
        Ok(Err(HttpError::Tls(e))) => Behind::Nobody(e.to_string()),
        Ok(Err(e @ (HttpError::Silent | HttpError::Malformed(_)))) => Behind::Another(e.to_string()),
        Err(_) => Behind::Nobody("does not answer".to_owned()),
    }
}

fn judge_admin(asked: &[(IpAddr, Behind)]) -> Finding {
    let code = Code::AdminClosed;
    let open = asked.iter().find_map(|(ip, behind)| match behind {
        Behind::Dialog(meta) => Some((ip, meta)),
        Behind::Another(_) | Behind::Nobody(_) | Behind::Unknown(_) => None,
    });
    let is_known = asked.iter().any(|(_, behind)| !matches!(behind, Behind::Unknown(_)));
    let finding = match open {
        Some((ip, meta)) => Finding::fail(code, format!("anybody can read dialog's reports at http://{}", SocketAddr::new(*ip, ADMIN)))
            .because("dialog asks nobody who he is on this port: GET /report lists each room and each person in it, with their connections; the rule that lets media in also lets TCP 7000 in")
            .seen("GET /meta", meta)
            .fix(
                "Let in UDP 40000-49999 and nothing else. Find the rule that opens TCP 7000, and narrow it:",
                [RULES, "az network nsg rule update -g NODE_GROUP --nsg-name NSG -n RULE --protocol Udp --destination-port-ranges 40000-49999"],
            ),
        None if !is_known => Finding::skip(code, "no way leads from this machine to where it would be"),
        None => Finding::pass(code, "dialog's admin port does not answer from here"),
    };
    asked.iter().fold(finding, |finding, (ip, behind)| match behind {
        Behind::Dialog(_) => finding,
        Behind::Another(what) => {
            finding.seen(&SocketAddr::new(*ip, ADMIN).to_string(), format!("not dialog: {what}"))
        }
        Behind::Nobody(why) | Behind::Unknown(why) => {
            finding.seen(&SocketAddr::new(*ip, ADMIN).to_string(), why)
        }
    })
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::{
        finding::Status,
        net::NetOptions,
        testing::{bare_context, tcp_server},
    };

    const STREAM: &str = "stream.hubs.example.test";

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn candidates(places: &[(&str, u16)]) -> Vec<Candidate> {
        places
            .iter()
            .map(|(text, port)| Candidate::new((*text).to_owned(), *port, Protocol::Udp, 1))
            .collect()
    }

    fn owner(announced: &str, names: &[&str], answering: &[&str]) -> Status {
        let names: Vec<_> = names.iter().map(|n| ip(n)).collect();
        let answering: Vec<_> = answering.iter().map(|a| SocketAddr::new(ip(a), 40_001)).collect();
        let announced = public(&candidates(&[("127.0.0.1", 40_000), (announced, 40_001)]));
        judge_owner(&announced, &names, &answering, STREAM).unwrap().status
    }

    #[test]
    fn the_load_balancers_address_is_no_place_for_media_unless_dialog_answers_there() {
        assert_eq!(owner("203.0.113.9", &["198.51.100.1"], &[]), Status::Pass);
        assert_eq!(owner("203.0.113.9", &["203.0.113.9"], &[]), Status::Warn);
        assert_eq!(owner("203.0.113.9", &["203.0.113.9"], &["203.0.113.9"]), Status::Pass);
        assert_eq!(owner("203.0.113.9", &[], &[]), Status::Pass);
        let private = public(&candidates(&[("10.0.0.4", 40_000)]));
        assert_eq!(judge_owner(&private, &[ip("198.51.100.1")], &[], STREAM), None);
    }

    #[test]
    fn what_the_gateway_offers_says_nothing_of_dialogs_own_addresses_and_ports() {
        let gateways = || {
            let candidate = Candidate::new("203.0.113.10".to_owned(), 3478, Protocol::Udp, 1);
            candidate.of_foundation("gatewayudp0")
        };
        let mut both = candidates(&[("203.0.113.9", 40_000)]);
        both.push(gateways());
        assert_eq!(public(&both), [ip("203.0.113.9")].into());
        assert_eq!(judge_ports(&both, &[]).status, Status::Pass);
        let alone = vec![gateways()];
        assert_eq!(judge_ports(&alone, &[]).status, Status::Skip);
        assert_eq!(judge_dialogs(&alone, std::slice::from_ref(&alone)), None);
    }

    #[test]
    fn dialogs_that_announce_different_addresses_are_several() {
        let (one, other) = (candidates(&[("203.0.113.9", 40_000)]), candidates(&[("203.0.113.10", 40_001)]));
        assert_eq!(judge_dialogs(&one, std::slice::from_ref(&one)).unwrap().status, Status::Pass);
        let several = judge_dialogs(&one, &[other]).unwrap();
        assert_eq!((several.code, several.status), (Code::OneDialog, Status::Warn));
        assert_eq!(judge_dialogs(&one, &[]), None);
    }

    #[test]
    fn ports_that_no_documentation_knows_are_told() {
        let usual = candidates(&[("203.0.113.9", 40_000), ("203.0.113.9", 49_999)]);
        assert_eq!(judge_ports(&usual, &[]).status, Status::Pass);
        let finding = judge_ports(&usual, &[candidates(&[("203.0.113.9", 50_000)])]);
        assert_eq!((finding.code, finding.status), (Code::MediaPorts, Status::Warn));
        assert_eq!(finding.evidence[0].value, "50000");
        assert_eq!(judge_ports(&[], &[]).status, Status::Skip);
    }

    #[test]
    fn ranges_overlap_only_where_they_were_seen_to() {
        let ranges = |relayed: &str| judge_ranges(&[ip("203.0.113.9")].into(), &[relayed.parse().unwrap()]);
        assert_eq!(ranges("203.0.113.9:49500").code, Code::RangesApart);
        assert_eq!(ranges("203.0.113.9:49500").status, Status::Warn);
        assert_eq!(ranges("203.0.113.9:50000").status, Status::Pass);
        assert_eq!(ranges("203.0.113.10:49500").status, Status::Pass);
        assert_eq!(ranges("10.0.0.7:49500").status, Status::Skip);
        assert_eq!(ranges("10.0.0.7:50000").status, Status::Pass);
    }

    /// What is behind port 7000 of an address that answers so.
    async fn behind(answer: &'static str) -> Behind {
        let server = tcp_server(move |mut stream| async move {
            let mut request = [0; 1024];
            let len = stream.read(&mut request).await.unwrap();
            assert!(request[..len].starts_with(b"GET /meta HTTP/1.1\r\n"), "{request:?}");
            stream.write_all(answer.as_bytes()).await.unwrap();
        })
        .await;
        let connect_to = vec![format!("203.0.113.9:{ADMIN}:{server}").parse().unwrap()];
        let cx = bare_context(NetOptions { connect_to, ..NetOptions::default() });
        ask_admin(&cx.net, ip("203.0.113.9")).await
    }

    #[tokio::test]
    async fn an_admin_port_that_is_open_to_the_world_is_a_fault_with_its_risk() {
        let behind = behind("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{\"cap\": 9}").await;
        assert_eq!(behind, Behind::Dialog("{\"cap\": 9}".to_owned()));
        let finding = judge_admin(&[(ip("203.0.113.9"), behind)]);
        assert_eq!((finding.code, finding.status), (Code::AdminClosed, Status::Fail));
        assert!(finding.cause.unwrap().contains("each person"));
    }

    #[tokio::test]
    async fn somebody_else_on_that_port_is_not_dialog() {
        let another = behind("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").await;
        assert!(matches!(another, Behind::Another(_)), "{another:?}");
        assert_eq!(judge_admin(&[(ip("203.0.113.9"), another)]).status, Status::Pass);
    }

    #[tokio::test]
    async fn a_closed_port_is_closed() {
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let connect_to = vec![format!("203.0.113.9:{ADMIN}:{closed}").parse().unwrap()];
        let cx = bare_context(NetOptions { connect_to, ..NetOptions::default() });
        let asked = ask_admin(&cx.net, ip("203.0.113.9")).await;
        assert_eq!(asked, Behind::Nobody("refuses".to_owned()));
        assert_eq!(judge_admin(&[(ip("203.0.113.9"), asked)]).status, Status::Pass);
        let unknown = Behind::Unknown("network is unreachable".to_owned());
        assert_eq!(judge_admin(&[(ip("203.0.113.9"), unknown)]).status, Status::Skip);
    }
}
