//! From answers to findings. Without a look at the deployment a finding says what is declared; with one, what that means together
//! with what the load balancer forwards and what packets showed.

use super::{
    advise::{Difference, NoFix, fixes, lacks_copy, narrowed, near_misses, shell_word},
    answer::{Answer, State, answers},
    evaluate::{Decider, Fate},
    question::{Purpose, Wanted},
    ranges::Ports,
    read::{Declared, Forwarded},
    review::{broad, order},
    rules::{Group, Rule},
};
use crate::{
    codes::Code,
    finding::{Finding, Status},
};

/// As much of one thing as a finding tells.
const MOST: usize = 12;

const HOST_PORTS: &str =
    "az aks nodepool update -g GROUP --cluster-name CLUSTER -n POOL --allowed-host-ports 40000-49999/udp";
const SERVICE: &str = "kubectl get service lb -n hcce -o wide";
const GATEWAY: &str = "kubectl get service hubs-media -n hcce -o wide";
const NODES: &str = "kubectl get nodes -o wide";
const NARROWER: &str = "hubs-probe nsg FILE --flow udp/40000-40099 --from ADDRESS --to ADDRESS";
const AS_AZURE_HAS_IT: &str = "hubs-probe nsg --azure GROUP/CLUSTER";

/// What was seen of a flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Observed {
    /// It gets through, or to part of its ports.
    Open(String),
    /// Nobody answers.
    Silent(String),
    /// Somebody says that nobody is there.
    Refused(String),
    /// It was not tried.
    Unknown,
}

/// Whose the address is to which media is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    Node,
    LoadBalancer,
    Outbound,
    Unknown,
}

/// What packets showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reality {
    pub(crate) entrance: Observed,
    pub(crate) turn: Observed,
    pub(crate) gateway: Observed,
    pub(crate) media: Observed,
    pub(crate) owner: Owner,
    /// Ports of media that were tried, and whether they answered.
    pub(crate) ports: Vec<(u16, bool)>,
}

/// What is to be said of the rules themselves.
pub(crate) fn rules(declared: &Declared) -> Vec<Finding> {
    declared.located(vec![judge_reading(declared), judge_order(declared), judge_breadth(declared)])
}

fn judge_reading(declared: &Declared) -> Finding {
    let code = Code::RulesRead;
    let (groups, ways) = (declared.groups.len(), declared.ways.len());
    let counts = format!(
        "{} of {}, on {} to nodes",
        counted(declared.rules, "rule"),
        counted(groups, "group"),
        counted(ways, "way")
    );
    if declared.oddities.is_empty() && groups + ways == 0 {
        return Finding::error(code, "what was read declares no security group and no way to a node")
            .because("so Azure answers for a resource group in which there is none; the nodes' are in a group of their own")
            .fix(
                "Find the nodes' resource group, and give the rules of that:",
                [
                    "az aks show -g GROUP -n CLUSTER --query nodeResourceGroup -o tsv",
                    "az network nsg list -g NODE_GROUP -o json",
                ],
            );
    }
    if declared.oddities.is_empty() {
        return Finding::pass(code, format!("read: {counts}"));
    }
    let finding = Finding::warn(
        code,
        format!("{} could not be read for what it is", counted(declared.oddities.len(), "thing")),
    )
    .because("what cannot be read may match or not, and is taken for unknown; the rest counts as it is")
    .fix(
        "Where answers hang on it, give the same as Azure prints it:",
        ["az network nsg list -g NODE_GROUP -o json"],
    );
    let finding =
        declared.oddities.iter().take(MOST).fold(finding, |finding, odd| finding.seen(&odd.place, &odd.what));
    let finding =
        declared.oddities.iter().take(1).fold(finding, |finding, odd| finding.located_in(&odd.place));
    more(finding, declared.oddities.len()).seen("read", counts)
}

fn judge_order(declared: &Declared) -> Finding {
    let code = Code::RuleDecides;
    let order = order(declared);
    let found = order.shadowed;
    let untold = |finding: Finding| match order.untold {
        0 => finding,
        count => {
            finding.seen("not worked out", format!("whether {} ever decides", counted(count, "more rule")))
        }
    };
    let Some(first) = found.first() else {
        if order.untold > 0 {
            let summary = "whether each rule ever decides is not known, since they overlap in too many ways";
            return untold(Finding::error(code, summary));
        }
        return Finding::pass(code, "no rule stands behind others that leave it nothing to decide");
    };
    let text = format!(
        "{} of {} never decides: the rules before it match all that it matches",
        first.rule, first.group.name
    );
    let (group, name) = (shell_word(&first.group.name), shell_word(&first.rule.name));
    let resource_group = shell_word(first.group.container.as_deref().unwrap_or("NODE_GROUP"));
    let finding = Finding::warn(code, text)
        .because("the first rule that matches decides, and lower numbers come first")
        .fix(
            "If it is to count, give it a lower number than those; otherwise take it out:",
            [format!("az network nsg rule delete -g {resource_group} --nsg-name {group} -n {name}")],
        );
    let finding = found.iter().take(MOST).fold(finding, |finding, it| {
        let by: Vec<_> = it.by.iter().take(3).map(ToString::to_string).collect();
        finding.seen(&format!("{} of {}", it.rule, it.group.name), format!("decided by {}", by.join(", ")))
    });
    untold(more(finding, found.len())).located_in(&first.rule.place)
}

fn judge_breadth(declared: &Declared) -> Finding {
    let code = Code::RuleNarrow;
    let found = broad(declared);
    let Some(first) = found.first() else {
        return Finding::pass(code, "no rule opens more to the internet than Hubs needs");
    };
    let finding = Finding::warn(code, format!("{} of {} {}", first.rule, first.group.name, first.why))
        .because("whatever else runs on the nodes is open with it, dialog's admin port among others");
    let finding = narrow(finding, first.group, first.rule);
    let finding = found
        .iter()
        .take(MOST)
        .fold(finding, |finding, it| finding.seen(&format!("{} of {}", it.rule, it.group.name), &it.why));
    more(finding, found.len()).located_in(&first.rule.place)
}

fn more(finding: Finding, all: usize) -> Finding {
    if all > MOST { finding.seen("besides", format!("{} more", all - MOST)) } else { finding }
}

fn counted(number: usize, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

/// What is to be said of the flows that Hubs needs, or of those that the person asks about.
pub(crate) fn flows(declared: &Declared, wanted: &Wanted, reality: Option<&Reality>) -> Vec<Finding> {
    let answers = answers(declared, wanted);
    let mut findings: Vec<Finding> = Vec::new();
    let mut done = Vec::new();
    for answer in &answers {
        let found = match reality {
            None => judge(answer),
            Some(reality) => {
                let target = answer.question.target();
                let key = (answer.purpose(), target);
                if done.contains(&key) {
                    continue;
                }
                let alike: Vec<_> = answers
                    .iter()
                    .filter(|it| it.purpose() == key.0 && it.question.target() == key.1)
                    .collect();
                done.push(key);
                compare(&alike, reality)
            }
        };
        // Ways that come to the same are told once.
        if !findings.contains(&found) {
            findings.push(found);
        }
    }
    declared.located(findings)
}

/// With the place of the rule, if there is one.
fn located(finding: Finding, answer: &Answer<'_>, by: Option<Decider>) -> Finding {
    match by.and_then(|by| answer.rule(by)) {
        Some(rule) if !rule.place.is_empty() => finding.located_in(&rule.place),
        _ => finding,
    }
}

/// What is declared.
fn judge(answer: &Answer<'_>) -> Finding {
    let code = code(answer.purpose());
    let target = answer.question.target();
    let question = &answer.question;
    let finding = match (answer.state(), answer.purpose()) {
        (State::Open | State::Partly, Purpose::Admin) => return judge_admin(answer).at(target),
        (State::Closed, Purpose::Admin) => Finding::pass(code, format!("{question}: does not pass")),
        (State::Open, _) => Finding::pass(code, format!("{question}: passes")),
        (State::Unknown, _) if answer.is_unfinished() => Finding::error(
            code,
            format!("{question}: not known, since the rules cut it into more parts than are looked through"),
        )
        .fix("Ask about fewer ports and addresses at a time:", [NARROWER]),
        (State::Unknown, _) => Finding::error(
            code,
            format!("{question}: not known, since it depends on what the files do not say"),
        )
        .fix(
            "Give the files that say it, or the address with --to, and ask again:",
            [AS_AZURE_HAS_IT, "az network nsg list -g NODE_GROUP -o json"],
        ),
        (State::Closed | State::Partly, _) => return judge_denied(answer).at(target),
    };
    let finding = match answer.state() {
        State::Unknown => located(finding, answer, answer.doubted()),
        State::Open | State::Partly | State::Closed => finding,
    };
    with_lines(finding, answer).at(target)
}

fn code(purpose: Purpose) -> Code {
    match purpose {
        Purpose::Entrance => Code::EntranceAdmitted,
        Purpose::Turn => Code::TurnAdmitted,
        Purpose::Gateway => Code::GatewayAdmitted,
        Purpose::Media => Code::MediaAdmitted,
        Purpose::Inside => Code::InsideAdmitted,
        Purpose::Probes => Code::ProbesAdmitted,
        Purpose::Out => Code::OutAdmitted,
        Purpose::Admin => Code::AdminDenied,
        Purpose::Asked => Code::FlowAdmitted,
    }
}

/// How bad it is that it does not pass.
fn severity(answer: &Answer<'_>) -> Status {
    match (answer.purpose(), answer.state()) {
        // TURN carries media as well; a part of the ports may be the part that counts, or not.
        (Purpose::Gateway | Purpose::Media | Purpose::Out, _) | (Purpose::Probes, State::Partly) => {
            Status::Warn
        }
        // Browsers come back to HTTPS by themselves; who issues certificates may not.
        (Purpose::Entrance, _) if is_http_only(answer) => Status::Warn,
        _ => Status::Fail,
    }
}

fn is_http_only(answer: &Answer<'_>) -> bool {
    answer.denied_ports() == Ports::span(80, 80)
}

fn with_lines(finding: Finding, answer: &Answer<'_>) -> Finding {
    let lines = answer.lines().take(MOST);
    let finding = lines.fold(finding, |finding, (ports, fate)| finding.seen(&ports, fate));
    more(finding, answer.pieces.len())
}

/// The destination of a rule is wrong, the subnet lacks its copy, or there is none.
fn judge_denied(answer: &Answer<'_>) -> Finding {
    let question = &answer.question;
    if let Some(out) = answer.kept_out() {
        let by: Vec<_> = answer.deniers().into_iter().map(|by| answer.named(by)).collect();
        let finding =
            Finding::warn(code(answer.purpose()), format!("{question}: passes, but not from {out}"))
                .because(format!("{} keeps them out", by.join(" and ")))
                .advise("Nothing is needed if they are meant to be kept out");
        return located(with_lines(finding, answer), answer, answer.deniers().into_iter().next());
    }
    let misses = near_misses(answer);
    let has_copy_missing = lacks_copy(answer);
    let is_own = |by: Decider| answer.rule(by).is_some_and(|rule| !rule.is_default);
    // Where somebody denies them, what they would need besides is not what is wrong.
    let meant = misses.iter().find(|miss| miss.difference == Difference::Order || !is_own(miss.denier));
    let is_elsewhere = meant.is_some_and(|miss| miss.difference == Difference::Destination);
    let code = if has_copy_missing {
        Code::RuleCopied
    } else if is_elsewhere {
        Code::RuleDestination
    } else {
        code(answer.purpose())
    };
    let deniers: Vec<_> = answer.deniers().into_iter().map(|by| answer.named(by)).collect();
    let by = if deniers.is_empty() { String::new() } else { format!(" by {}", deniers.join(" and by ")) };
    let own = answer.deniers().into_iter().find(|by| is_own(*by));
    let denied = answer.denied_ports();
    let summary = match answer.state() {
        State::Partly if denied != question.flow.ports => format!("{question}: {denied} denied{by}"),
        State::Partly => format!("{question}: denied to some addresses{by}"),
        _ if by.is_empty() => format!("{question}: closed, since no group lets anything in"),
        _ => format!("{question}: denied{by}"),
    };
    let cause = if has_copy_missing {
        "the group of the network interfaces lets it in, and the subnet's group, which is asked first, does not: it lacks a copy of the rule".to_owned()
    } else if let Some(miss) = meant {
        format!("{} {}", answer.named(miss.rule), miss.text)
    } else if let Some(own) = own {
        format!("{} matches them, and no rule before it lets them pass", answer.named(own))
    } else if by.is_empty() {
        "a public address is closed until a group lets something in".to_owned()
    } else {
        "no rule before lets it pass".to_owned()
    };
    let finding = Finding::new(code, severity(answer), summary).because(cause);
    let finding = with_lines(finding, answer);
    let finding = misses.iter().fold(finding, |finding, miss| {
        finding.seen("near miss", format!("{} {}", answer.named(miss.rule), miss.text))
    });
    // What somebody meant to let it in is what is to be put right, and otherwise what denies it.
    let by = meant.map(|miss| miss.rule).or(own).or_else(|| answer.deniers().into_iter().next());
    with_fix(located(finding, answer, by), answer)
}

fn with_fix(finding: Finding, answer: &Answer<'_>) -> Finding {
    let declared = answer.declared();
    match fixes(answer) {
        Ok(fixes) if fixes.is_empty() => finding
            .fix("Let a group in, and make a rule in it:", ["az network nsg create -g NODE_GROUP -n NSG"]),
        Ok(fixes) => {
            let is_of_aks = fixes.iter().any(|fix| declared.groups[fix.group].is_of_aks());
            let commands = fixes.iter().map(|fix| fix.command(&declared.groups));
            if is_of_aks && answer.purpose() == Purpose::Media {
                let commands: Vec<_> = [HOST_PORTS.to_owned()].into_iter().chain(commands).collect();
                return finding.fix("AKS looks after one of these groups: let it open the ports, or add the rule at a priority that AKS leaves alone:", commands);
            }
            finding.fix("Let it pass, at a priority that AKS leaves to you:", commands.collect::<Vec<_>>())
        }
        Err(NoFix::Admin) => finding.advise(
            "The rules of Virtual Network Manager come before all groups: ask who administers the network",
        ),
        Err(NoFix::Crowded(by)) => finding.advise(format!(
            "No priority before {} is free: give that rule a higher number, or narrow it, first",
            answer.named(by)
        )),
    }
}

fn judge_admin(answer: &Answer<'_>) -> Finding {
    let allowed = answer.pieces.iter().find_map(|piece| match &piece.fate {
        Fate::Allowed(by) => {
            by.iter().copied().find(|by| answer.rule(*by).is_some_and(|rule| !rule.is_default))
        }
        Fate::Denied(_) | Fate::Closed | Fate::Unknown(_) | Fate::Unfinished(_) => None,
    });
    let declared = answer.declared();
    let finding = Finding::fail(Code::AdminDenied, format!("{}: passes, and it should not", answer.question))
        .because(
            "dialog asks nobody who he is on this port, and tells everything about rooms and people in them",
        );
    let finding = with_lines(finding, answer);
    let finding = located(finding, answer, allowed);
    let Some((by, rule)) = allowed.and_then(|by| Some((by, answer.rule(by)?))) else { return finding };
    narrow(finding, &declared.groups[by.group], rule)
}

/// What else comes in by the rule, only its owner knows.
fn narrow(finding: Finding, group: &Group, rule: &Rule) -> Finding {
    match narrowed(group, rule) {
        Some(command) => finding.fix("Leave of it what Hubs needs, and what else you need:", [command]),
        None => finding.advise(format!(
            "Hubs needs nothing of {rule}: leave of it what you need otherwise, or take it out"
        )),
    }
}

/// What is declared, forwarded and observed, and what that comes to. Of several ways the one counts that fits what was seen: which
/// of them leads to dialog is not known.
fn compare(answers: &[&Answer<'_>], reality: &Reality) -> Finding {
    let first = answers[0];
    let observed = match first.purpose() {
        Purpose::Entrance => &reality.entrance,
        Purpose::Turn => &reality.turn,
        Purpose::Gateway => &reality.gateway,
        Purpose::Media => &reality.media,
        Purpose::Inside | Purpose::Probes | Purpose::Out | Purpose::Admin | Purpose::Asked => {
            return judge_worst(answers);
        }
    };
    let is_open = matches!(observed, Observed::Open(_));
    if first.purpose() == Purpose::Media && !is_open && matches!(reality.gateway, Observed::Open(_)) {
        let target = first.question.target();
        return Finding::skip(
            code(Purpose::Media),
            "media goes through the gateway, and needs no port of dialog's",
        )
        .at(target);
    }
    let fits = |answer: &&&Answer<'_>| match answer.state() {
        State::Open => is_open,
        State::Closed => !is_open,
        State::Partly | State::Unknown => true,
    };
    let answer = answers.iter().find(fits).unwrap_or(&answers[0]);
    let finding = match (answer.state(), observed) {
        (State::Open, Observed::Silent(_) | Observed::Refused(_)) => judge_dead(answer, observed, reality),
        (State::Closed, Observed::Open(_)) => judge_open(answer),
        (State::Partly, Observed::Open(_))
            if answer.purpose() == Purpose::Entrance && !is_http_only(answer) =>
        {
            judge_open(answer)
        }
        (State::Partly, Observed::Open(_)) if answer.purpose() == Purpose::Media => {
            judge_part(answer, reality)
        }
        _ => judge(answer),
    };
    let seen = match observed {
        Observed::Open(text) | Observed::Silent(text) | Observed::Refused(text) => text.as_str(),
        Observed::Unknown => "not examined",
    };
    let declared = match answer.state() {
        State::Open => "let in",
        State::Partly => "let in in part",
        State::Closed => "denied",
        State::Unknown => "not known",
    };
    let finding = finding.at(answer.question.target()).seen("declared", declared);
    finding.seen("forwarded", forwarded(answer, reality)).seen("observed", seen)
}

/// Of what was not tried, what files say is no more than a warning.
fn judge_worst(answers: &[&Answer<'_>]) -> Finding {
    let findings = answers.iter().map(|answer| judge(answer));
    let worst = findings.max_by_key(|finding| finding.status).unwrap_or_else(|| judge(answers[0]));
    Finding { status: if worst.status == Status::Fail { Status::Warn } else { worst.status }, ..worst }
}

/// What says whether packets get from the public address to a node at all.
fn forwarded(answer: &Answer<'_>, reality: &Reality) -> String {
    if answer.purpose() == Purpose::Media {
        return match reality.owner {
            Owner::Node => "the address is a node's own".to_owned(),
            Owner::LoadBalancer => {
                "no: the address is the load balancer's, which forwards single ports".to_owned()
            }
            Owner::Outbound => "no: the address is the one by which the cluster goes out".to_owned(),
            Owner::Unknown => "not known: the files do not say whose the address is".to_owned(),
        };
    }
    match lacking(answer) {
        None => "not known: no file says what the load balancer forwards".to_owned(),
        Some(lacking) if lacking.is_empty() => "by the load balancer".to_owned(),
        Some(lacking) => format!("no: the load balancer has no rule for {}", lacking.join(", ")),
    }
}

/// The ports that the load balancer does not forward, if that is known.
fn lacking(answer: &Answer<'_>) -> Option<Vec<String>> {
    let forwarded = answer.declared().forwarded.as_ref()?;
    let is_forwarded = |port: u16| {
        let at_node =
            |it: &Forwarded| it.node_ports.is_some_and(|(first, last)| (first..=last).contains(&port));
        forwarded
            .iter()
            .any(|it| it.protocol == answer.question.flow.protocol && (it.has(port) || at_node(it)))
    };
    let ports = answer.question.flow.ports.iter().flat_map(|(first, last)| first..=last);
    Some(ports.filter(|port| !is_forwarded(*port)).map(|port| port.to_string()).collect())
}

/// Let in, and dead all the same.
fn judge_dead(answer: &Answer<'_>, observed: &Observed, reality: &Reality) -> Finding {
    let code = Code::AdmittedArrives;
    let question = &answer.question;
    if answer.purpose() == Purpose::Media {
        let cause = match reality.owner {
            Owner::Outbound => {
                "the address that dialog announces is the one by which the cluster goes out: nothing comes in there, whatever rules say"
            }
            Owner::LoadBalancer => {
                "the address that dialog announces is the load balancer's, which forwards single ports of TCP and no UDP"
            }
            Owner::Node => {
                "the address is a node's own, so it is not dialog's node any more, or a firewall on the node or in this network drops it"
            }
            Owner::Unknown => {
                "rules filter what gets to a node, and lead nothing there: unless nodes have public addresses of their own, the one that dialog announces is that by which the cluster goes out"
            }
        };
        return Finding::warn(code, format!("{question}: the rules let it in, and nothing arrives")).because(cause).fix(
            "None is needed where TURN works. No rule mends it: nodes need public addresses of their own",
            [NODES, "az aks nodepool add -g GROUP --cluster-name CLUSTER -n media --enable-node-public-ip --allowed-host-ports 40000-49999/udp"],
        );
    }
    let missing = lacking(answer).unwrap_or_default();
    let cause = match (missing.is_empty(), observed) {
        (false, _) => format!("the load balancer has no rule that forwards {}", missing.join(", ")),
        (true, Observed::Refused(_)) => "packets arrive, and nobody listens there".to_owned(),
        (true, _) => "the load balancer does not forward the port, or knows no node that is well, because the pods behind it do not run".to_owned(),
    };
    let (status, service) = match answer.purpose() {
        Purpose::Gateway => (severity(answer), GATEWAY),
        _ => (Status::Fail, SERVICE),
    };
    Finding::new(code, status, format!("{question}: the rules let it in, and nothing answers")).because(cause).fix(
        "Rules are not what is wrong. Look at which ports the service forwards, and whether its pods run:",
        [service, "kubectl get pods -n hcce -o wide"],
    )
}

/// Denied, and open all the same.
fn judge_open(answer: &Answer<'_>) -> Finding {
    let finding = Finding::warn(Code::DeniedIsClosed, format!("{}: the rules deny it, and it works", answer.question))
        .because("these are not the rules on the way (another group, an older state), or another path leads there, such as a second load balancer")
        .fix("Fetch the cluster's rules as Azure has them now, and check again with them:", [AS_AZURE_HAS_IT]);
    with_lines(located(finding, answer, answer.deniers().into_iter().next()), answer)
}

/// Part of the ports is let in, and of those that were tried some answered.
fn judge_part(answer: &Answer<'_>, reality: &Reality) -> Finding {
    let differs =
        |(port, answered): &(u16, bool)| answer.passes(*port).is_some_and(|passes| passes != *answered);
    let apart: Vec<_> =
        reality.ports.iter().filter(|it| differs(it)).map(|(port, _)| port.to_string()).collect();
    let finding = judge(answer);
    if apart.is_empty() {
        return finding
            .seen("ports that were tried", format!("all {} as the rules say", reality.ports.len()));
    }
    finding.seen("ports that were tried", format!("otherwise than the rules say: {}", apart.join(", ")))
}
