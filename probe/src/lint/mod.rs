//! What a manifest of Hubs declares, or a cluster has, looked through for what cannot work. Pure: it reads no file and asks nobody.
//!
//! `yaml` keeps the place of everything, `manifest` finds objects and containers in it, and a module for each concern says what is wrong.
//! What can be put right without a decision comes with edits, which `fix` makes in a copy.

mod certificates;
mod domain;
mod entrance;
mod fix;
#[cfg_attr(
    not(any(test, feature = "kube")),
    expect(dead_code, reason = "only what asks a cluster makes anything of it")
)]
mod live;
mod manifest;
mod pods;
mod settings;
mod storage;
#[cfg(test)]
mod tests;
mod turn;
mod yaml;

use time::OffsetDateTime;

pub(crate) use self::certificates::{Shown, ShownBy};
pub(crate) use self::live::{Live, in_context};
#[cfg(feature = "kube")]
pub(crate) use self::live::{Untold, grants};
use self::{fix::Mend, manifest::Manifest, yaml::Place};
use crate::{
    codes::Code,
    finding::{Finding, Status},
};

/// All that is wrong with the text of a manifest, which findings call by that name.
pub fn findings(file: &str, text: &str) -> Vec<Finding> {
    lint(file, text).findings
}

/// What came of looking through a file.
#[derive(Debug)]
pub(crate) struct Linted {
    pub(crate) findings: Vec<Finding>,
    /// What mends them, each with the place of its finding.
    mends: Vec<(usize, Mend)>,
    text: String,
}

/// The copy that is mended, and what is to be said of it.
#[derive(Debug)]
pub(crate) struct Fixed<'l> {
    pub(crate) text: String,
    /// What was mended.
    pub(crate) changed: Vec<&'l Finding>,
    /// What needs no decision and stays as it is all the same, and why.
    pub(crate) left: Vec<(&'l Finding, &'static str)>,
}

/// Something that was found, and what mends it.
struct Found {
    finding: Finding,
    mend: Mend,
}

impl From<Finding> for Found {
    fn from(finding: Finding) -> Self {
        Self { finding, mend: Mend::Decision }
    }
}

/// What the rules look at.
struct Sheet<'y> {
    origin: Origin<'y>,
    /// The lines of a file.
    lines: Vec<&'y str>,
    now: OffsetDateTime,
    manifest: Manifest<'y>,
    /// The domain of the deployment, if it can be told.
    domain: Option<String>,
}

/// Where it is from, and what places are therefore.
#[derive(Clone, Copy, Debug)]
enum Origin<'y> {
    /// A file, with lines and columns.
    File(&'y str),
    /// A cluster, with paths.
    Cluster(&'y Live),
}

impl Sheet<'_> {
    /// A finding with its place.
    fn at(&self, finding: Finding, place: Place) -> Finding {
        match self.origin {
            Origin::File(file) => finding.located(file, place.line(), place.column()),
            Origin::Cluster(live) => finding.located_in(&live.path(place)),
        }
    }

    /// Whether what is not there is nowhere else either.
    fn is_whole(&self) -> bool {
        matches!(self.origin, Origin::Cluster(_))
    }

    /// Whether it would be here if it was anywhere, as far as the origin can tell of such.
    fn tells(&self, kind: &str, name: &str) -> bool {
        match self.origin {
            Origin::File(_) => true,
            Origin::Cluster(live) => live.tells(kind, name),
        }
    }
}

/// A rule: what it finds, and what it says if it finds nothing and there was something to look at.
type Rule = fn(&Sheet<'_>) -> Vec<Found>;

const RULES: &[Rule] = &[
    turn::secrets,
    turn::names,
    turn::certificate,
    turn::peers,
    turn::ports,
    domain::certificates,
    certificates::paired,
    certificates::current,
    certificates::named,
    domain::default_certificate,
    settings::perms_key,
    settings::placeholders,
    storage::claims,
    storage::host_paths,
    entrance::ports,
    pods::probes,
    pods::images,
    domain::domains,
];

/// How evidence names each host that a finding is about, and each port, if it is about any that browsers open.
pub(crate) const HOST: &str = "host";
pub(crate) const PORT: &str = "port";
/// How it names the context in which commands are to be typed, if one was asked for.
pub(crate) const CONTEXT: &str = "context";

/// How to get a manifest of which something can be said.
const WHOLE: (&str, &str) = (
    "Give the hcce.yaml that the generator made, or what the cluster has:",
    "kubectl get -n hcce -o yaml deploy,svc,ing,cm,secret,pvc > hcce.yaml",
);

/// Looks through a file.
pub(crate) fn lint(file: &str, text: &str) -> Linted {
    let (documents, broken) = yaml::read(text);
    let manifest = Manifest::new(&documents);
    let first = judge_reading(file, text, &manifest, broken.as_ref());
    let (findings, mends) = rules(Origin::File(file), text, manifest, first);
    Linted { findings, mends, text: text.to_owned() }
}

/// Looks through a cluster.
pub(crate) fn lint_live(live: &Live) -> Vec<Finding> {
    let manifest = Manifest::new(&live.documents);
    let first = match manifest.objects.len() {
        0 => Finding::error(Code::ManifestRead, format!("there is nothing of Hubs in the {}", live.name)).fix(
            "See in which namespace Hubs is, and name it with --namespace, or another cluster with --context:",
            ["kubectl get deployments -A", "kubectl config get-contexts"],
        ),
        count => Finding::pass(Code::ManifestRead, format!("{count} objects are in the {}", live.name)),
    };
    let first = match live.context() {
        Some(context) => first.seen(CONTEXT, context),
        None => first,
    };
    let (findings, _) = rules(Origin::Cluster(live), "", manifest, first);
    let mut findings: Vec<_> = findings.into_iter().map(|it| live.named_in(it)).collect();
    findings.splice(1..1, live.judge_rights());
    findings
}

fn rules(
    origin: Origin<'_>,
    text: &str,
    manifest: Manifest<'_>,
    first: Finding,
) -> (Vec<Finding>, Vec<(usize, Mend)>) {
    let (lines, now) = (text.lines().collect(), OffsetDateTime::now_utc());
    let sheet = Sheet { origin, lines, now, domain: domain::of(&manifest), manifest };
    let (mut findings, mut mends) = (vec![first], Vec::new());
    for Found { finding, mend } in RULES.iter().flat_map(|rule| rule(&sheet)) {
        if mend != Mend::Decision {
            mends.push((findings.len(), mend));
        }
        findings.push(finding);
    }
    // These are said of anything.
    let is_of_anything = |it: &Finding| matches!(it.code, Code::ManifestRead | Code::ValuesPutIn);
    if findings.iter().all(|it| it.status == Status::Pass && is_of_anything(it)) {
        let summary = format!("{}, and nothing of Hubs among them", findings[0].summary);
        findings[0] = Finding::error(Code::ManifestRead, summary).fix(WHOLE.0, [WHOLE.1]);
    }
    (findings, mends)
}

impl Linted {
    /// The text with everything mended that needs no decision. If it would be something else then, it stays as it is.
    pub(crate) fn fixed(&self) -> Fixed<'_> {
        let (mut edits, mut changed, mut left) = (Vec::new(), Vec::new(), Vec::new());
        let lines: Vec<_> = self.text.lines().collect();
        for (at, mend) in &self.mends {
            match mend {
                Mend::Decision => {}
                Mend::Edits(of_finding) if of_finding.iter().any(|it| it.touches_marks(&lines)) => {
                    left.push((&self.findings[*at], "the value has an anchor or a tag, or is an alias"));
                }
                Mend::Edits(of_finding) => {
                    edits.extend(of_finding);
                    changed.push(&self.findings[*at]);
                }
                Mend::Unable(why) => left.push((&self.findings[*at], *why)),
            }
        }
        let text = fix::apply(&self.text, edits);
        if changed.is_empty() || declares_the_same(&self.text, &text) {
            return Fixed { text, changed, left };
        }
        left.extend(
            changed.into_iter().map(|it| (it, "the copy could not be read, or would be of something else")),
        );
        Fixed { text: self.text.clone(), changed: Vec::new(), left }
    }
}

/// Whether both can be read to their ends, and declare the same objects in the same order.
fn declares_the_same(one: &str, other: &str) -> bool {
    let [(of_one, None), (of_other, None)] = [yaml::read(one), yaml::read(other)] else { return false };
    let names = |documents: &[yaml::Node<'_>]| -> Vec<(String, String)> {
        let objects = Manifest::new(documents).objects;
        objects.into_iter().map(|it| (it.kind.to_owned(), it.name.to_owned())).collect()
    };
    of_one.len() == of_other.len() && names(&of_one) == names(&of_other)
}

fn judge_reading(file: &str, text: &str, manifest: &Manifest<'_>, broken: Option<&yaml::Broken>) -> Finding {
    let code = Code::ManifestRead;
    let count = manifest.objects.len();
    if let Some(broken) = broken {
        let (line, column) = (broken.place.line(), broken.place.column());
        let finding = Finding::fail(code, format!("the file is no YAML from line {line} on: {}", broken.why))
            .because("kubectl reads nothing of a file that breaks, and what stands behind the break was not examined")
            .located(file, line, column)
            .fix("Mind the indentation and the quotes there, or let the generator make the file again:", ["npm run gen-hcce"]);
        // The line itself, and the one before: what breaks often began there.
        let lines = text.lines().enumerate().skip(line.saturating_sub(2)).take(2);
        let finding = lines
            .fold(finding, |finding, (at, line)| finding.seen(&format!("line {}", at + 1), masked(line)));
        return finding.seen("before it", format!("{count} objects"));
    }
    if text.trim().is_empty() {
        return Finding::error(code, "the file is empty").fix(WHOLE.0, [WHOLE.1]);
    }
    if count == 0 {
        return Finding::error(code, "the file declares nothing of Kubernetes").fix(WHOLE.0, [WHOLE.1]);
    }
    let declared =
        if count == 1 { "1 object is declared".to_owned() } else { format!("{count} objects are declared") };
    Finding::pass(code, declared)
}

/// Keys whose values name things or count them.
const SHOWN: [&str; 22] = [
    "apiVersion",
    "claimName",
    "clusterIP",
    "containerPort",
    "dnsPolicy",
    "hostNetwork",
    "hostPort",
    "image",
    "imagePullPolicy",
    "kind",
    "mountPath",
    "name",
    "namespace",
    "nodePort",
    "number",
    "pathType",
    "port",
    "protocol",
    "replicas",
    "restartPolicy",
    "secretName",
    "targetPort",
];

/// The line without any value of which it is not known that it is no secret: where YAML breaks, nothing says what stands there.
fn masked(line: &str) -> String {
    const MASK: &str = "••••";
    let content = line.trim();
    if matches!(content, "" | "-" | "---" | "...") {
        return line.to_owned();
    }
    let mut rest = line.trim_start();
    while let Some(behind) = rest.strip_prefix("- ") {
        rest = behind.trim_start();
    }
    let before = &line[..line.len() - rest.len()];
    let Some((key, value)) = rest.split_once(':').filter(|(key, value)| is_key(key) && is_apart(value))
    else {
        return format!("{before}{MASK}");
    };
    let is_shown = match value.trim() {
        "" | "[" | "{" | "|" | ">" | "|-" | ">-" => true,
        value => SHOWN.contains(&key.trim_matches(['"', '\''])) && is_name(value),
    };
    if is_shown { line.to_owned() } else { format!("{before}{key}: {MASK}") }
}

/// Whether what stands behind a colon makes a key of what stands before it.
fn is_apart(value: &str) -> bool {
    value.is_empty() || value.starts_with([' ', '\t'])
}

/// Whether this is the name of a field, and no piece of a text.
fn is_key(key: &str) -> bool {
    let of_name = |it: char| it.is_ascii_alphanumeric() || matches!(it, '_' | '-' | '.' | '/');
    let name = key.trim_matches(['"', '\'']);
    (1..=64).contains(&name.len()) && name.chars().all(of_name)
}

/// Whether it is a single name, number or image, within quotes or not.
fn is_name(value: &str) -> bool {
    let of_name = |it: char| it.is_ascii_alphanumeric() || matches!(it, '_' | '-' | '.' | '/' | ':' | '@');
    value.trim_matches(['"', '\'']).chars().all(of_name)
}
