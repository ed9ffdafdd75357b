//! What a rule is, and how the rules are applied.
//!
//! A rule is written down in the module of its stretch of the path, as data with a few functions of its own:
//!
//! ```ignore
//! Rule::new("web.dead", &[Code::HubsHealthy], |_, _| "Hubs itself does not answer as it should".into())
//!     .means(pages_do_not_work)
//!     .explains(&[Code::HubsName, Code::HubsMeta, Code::RoomJoined])
//!     .contradicted_by(&[(Code::RoomJoined, Status::Pass)])
//! ```

use super::{Cause, Confidence, Diagnosis, Whose, manifest, seen::Seen};
use crate::{
    baseline::was_well,
    codes::Code,
    finding::{Finding, Remedy, Status, Suppressed},
};

/// Something that holds of a finding, or not.
type Test = fn(&Seen<'_>, &Finding) -> bool;
/// Something that holds between a cause and another finding, or not.
type Relation = fn(&Seen<'_>, &Finding, &Finding) -> bool;

/// One cause.
#[derive(Clone, Copy)]
pub(super) struct Rule {
    name: &'static str,
    /// What shows the cause: findings with one of these codes. Each code among them is a cause of its own. None: any code.
    causes: &'static [Code],
    status: Status,
    at: Test,
    when: Test,
    says: fn(&Seen<'_>, &Finding) -> String,
    means: fn(&Seen<'_>, &Finding, &str) -> String,
    note: fn(&Seen<'_>, &Finding) -> String,
    explains: &'static [Code],
    folds: Relation,
    supported_by: &'static [(Code, Status)],
    supports: Relation,
    contradicted_by: &'static [(Code, Status)],
    contradicts: Relation,
    confidence: Confidence,
    whose: Whose,
}

impl Rule {
    /// A rule by which a failure with one of `causes` is a cause. `says` what is broken, as the end of a sentence.
    pub(super) const fn new(
        name: &'static str,
        causes: &'static [Code],
        says: fn(&Seen<'_>, &Finding) -> String,
    ) -> Self {
        Self {
            name,
            causes,
            status: Status::Fail,
            at: |_, _| true,
            when: |_, _| true,
            says,
            means: |_, _, why| sentence(why),
            note: |_, _| String::new(),
            explains: &[],
            folds: |_, _, _| false,
            supported_by: &[],
            supports: |_, _, _| false,
            contradicted_by: &[],
            contradicts: |_, _, _| false,
            confidence: Confidence::Certain,
            whose: Whose::Deployment,
        }
    }

    /// The same under another name.
    pub(super) const fn named(mut self, name: &'static str) -> Self {
        self.name = name;
        self
    }

    /// The cause shows as this status instead of a failure.
    pub(super) const fn status(mut self, status: Status) -> Self {
        self.status = status;
        self
    }

    /// Only findings about such a place belong to it.
    pub(super) const fn at(mut self, at: Test) -> Self {
        self.at = at;
        self
    }

    /// It is only a cause when this holds of the finding that shows it; the others that belong to it follow suit.
    pub(super) const fn when(mut self, when: Test) -> Self {
        self.when = when;
        self
    }

    /// What it does to people: a headline around what `says` says.
    pub(super) const fn means(mut self, means: fn(&Seen<'_>, &Finding, &str) -> String) -> Self {
        self.means = means;
        self
    }

    /// More to be said about it: sentences, each with a space before it.
    pub(super) const fn note(mut self, note: fn(&Seen<'_>, &Finding) -> String) -> Self {
        self.note = note;
        self
    }

    /// Whatever of these codes does not pass, fails because of it.
    pub(super) const fn explains(mut self, codes: &'static [Code]) -> Self {
        self.explains = codes;
        self
    }

    /// What else fails because of it.
    pub(super) const fn folds(mut self, folds: Relation) -> Self {
        self.folds = folds;
        self
    }

    /// What speaks for it, wherever it was seen.
    pub(super) const fn supported_by(mut self, supported_by: &'static [(Code, Status)]) -> Self {
        self.supported_by = supported_by;
        self
    }

    /// What else speaks for it.
    pub(super) const fn supports(mut self, supports: Relation) -> Self {
        self.supports = supports;
        self
    }

    /// What speaks against it, wherever it was seen: it then is one degree less sure.
    pub(super) const fn contradicted_by(mut self, contradicted_by: &'static [(Code, Status)]) -> Self {
        self.contradicted_by = contradicted_by;
        self
    }

    /// What else speaks against it.
    pub(super) const fn contradicts(mut self, contradicts: Relation) -> Self {
        self.contradicts = contradicts;
        self
    }

    /// How sure it is when nothing speaks against it.
    pub(super) const fn confidence(mut self, confidence: Confidence) -> Self {
        self.confidence = confidence;
        self
    }

    /// The cause lies on the side of the person who looks: nothing is known to be wrong with the deployment.
    pub(super) const fn on_this_side(mut self) -> Self {
        self.whose = Whose::Person;
        self
    }

    #[cfg(test)]
    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    fn belongs(&self, seen: &Seen<'_>, finding: &Finding) -> bool {
        finding.status == self.status
            && (self.causes.is_empty() || self.causes.contains(&finding.code))
            && (self.at)(seen, finding)
    }

    fn is_explained(&self, seen: &Seen<'_>, cause: &Finding, finding: &Finding) -> bool {
        finding.status != Status::Pass
            && (self.explains.contains(&finding.code)
                || (self.folds)(seen, cause, finding)
                || manifest::is_unlike_its_secret(cause, finding))
    }

    fn is_support(&self, seen: &Seen<'_>, cause: &Finding, finding: &Finding) -> bool {
        self.supported_by.contains(&(finding.code, finding.status))
            || (self.supports)(seen, cause, finding)
            || manifest::declares(finding, cause)
    }

    fn is_contradiction(&self, seen: &Seen<'_>, cause: &Finding, finding: &Finding) -> bool {
        self.contradicted_by.contains(&(finding.code, finding.status))
            || (self.contradicts)(seen, cause, finding)
    }
}

/// The causes among what was seen, in the order of the rules.
pub(super) fn apply(seen: &Seen<'_>, rules: &[&[Rule]]) -> Vec<Diagnosis> {
    let mut accounts = Accounts { seen, accounted: vec![None; seen.findings.len()], diagnoses: Vec::new() };
    for rule in rules.iter().copied().flatten() {
        while let Some(cause) = accounts.next_cause(rule) {
            accounts.diagnose(rule, cause);
        }
    }
    accounts.fold_skips();
    accounts.diagnoses
}

/// Which diagnosis accounts for which finding.
struct Accounts<'s> {
    seen: &'s Seen<'s>,
    accounted: Vec<Option<usize>>,
    diagnoses: Vec<Diagnosis>,
}

impl Accounts<'_> {
    fn next_cause(&self, rule: &Rule) -> Option<usize> {
        let is_cause = |(at, finding): &(usize, &Finding)| {
            self.accounted[*at].is_none()
                && rule.belongs(self.seen, finding)
                && (rule.when)(self.seen, finding)
        };
        self.seen.findings.iter().enumerate().find(is_cause).map(|(at, _)| at)
    }

    fn diagnose(&mut self, rule: &Rule, at: usize) {
        let (seen, findings) = (self.seen, self.seen.findings);
        let cause = &findings[at];
        let (mut supports, mut contradicts, mut explains) = (vec![at], Vec::new(), Vec::new());
        let mut alike = vec![cause];
        for (other, finding) in findings.iter().enumerate().filter(|(other, _)| *other != at) {
            let is_free = self.accounted[other].is_none();
            if is_free && is_alike(cause, finding) && rule.belongs(seen, finding) {
                self.accounted[other] = Some(self.diagnoses.len());
                alike.push(finding);
                supports.push(other);
            } else if is_free && rule.is_explained(seen, cause, finding) {
                self.accounted[other] = Some(self.diagnoses.len());
                explains.push(other);
            } else if rule.is_contradiction(seen, cause, finding) {
                contradicts.push(other);
            } else if rule.is_support(seen, cause, finding) {
                supports.push(other);
            }
        }
        self.accounted[at] = Some(self.diagnoses.len());
        let why = (rule.says)(seen, cause);
        self.diagnoses.push(Diagnosis {
            rule: rule.name,
            whose: rule.whose,
            headline: (rule.means)(seen, cause, &why),
            cause: Cause { code: cause.code, sentence: sentence(&why) },
            detail: format!(
                "Because {}.{}{}{}{}",
                cause.cause.as_ref().unwrap_or(&cause.summary),
                before(cause),
                (rule.note)(seen, cause),
                manifest::note(findings, &alike),
                known(cause)
            ),
            confidence: if contradicts.is_empty() { rule.confidence } else { rule.confidence.lowered() },
            supports,
            contradicts,
            explains,
            remedy: manifest::remedy(findings, &alike).or_else(|| remedy(&alike)),
            suppressed: cause.suppressed.is_some(),
        });
    }

    /// What was skipped for want of what another check would have found is explained by what explains that check's own
    /// failure, as long as that is a single diagnosis.
    fn fold_skips(&mut self) {
        let findings = self.seen.findings;
        // Each pass goes one check further down the graph, which has fewer checks than there are findings.
        for _ in findings {
            let mut has_changed = false;
            for (at, finding) in findings.iter().enumerate() {
                if self.accounted[at].is_some() || finding.status != Status::Skip {
                    continue;
                }
                let Some(by) = finding.needs.and_then(|check| self.accounts_for_check(check)) else {
                    continue;
                };
                self.accounted[at] = Some(by);
                self.diagnoses[by].explains.push(at);
                has_changed = true;
            }
            if !has_changed {
                break;
            }
        }
        for diagnosis in &mut self.diagnoses {
            diagnosis.explains.sort_unstable();
        }
    }

    /// The diagnosis that accounts for the failures of `check`, or else for whatever kept it from finding anything.
    fn accounts_for_check(&self, check: &str) -> Option<usize> {
        let of = |is_meant: fn(Status) -> bool| {
            let findings = self.seen.findings.iter().zip(&self.accounted);
            let mut by: Vec<_> = findings
                .filter(|(finding, _)| finding.check == check && is_meant(finding.status))
                .map(|(_, by)| *by)
                .collect();
            by.sort_unstable();
            by.dedup();
            by
        };
        let failures = of(|status| status == Status::Fail);
        let by = if failures.is_empty() { of(|status| status != Status::Pass) } else { failures };
        match by.as_slice() {
            [Some(by)] => Some(*by),
            _ => None,
        }
    }
}

/// Whether one fault was seen twice. What is known of one place says nothing of another.
fn is_alike(cause: &Finding, finding: &Finding) -> bool {
    cause.code == finding.code && cause.suppressed.is_some() == finding.suppressed.is_some()
}

/// What an earlier report said of it.
fn before(cause: &Finding) -> String {
    was_well(cause).map(|when| format!(" It was well {when}.")).unwrap_or_default()
}

/// That the person knows of it, and lives with it.
fn known(cause: &Finding) -> String {
    match &cause.suppressed {
        None => String::new(),
        Some(Suppressed { reason: Some(reason), .. }) => format!(" It is suppressed: {reason}."),
        Some(Suppressed { reason: None, .. }) => " It is suppressed.".to_owned(),
    }
}

/// What to do about findings of one kind: the first one's remedy, and of the others the commands that it lacks.
fn remedy(alike: &[&Finding]) -> Option<Remedy> {
    let mut remedies = alike.iter().filter_map(|finding| finding.remedy.as_ref());
    let mut remedy = remedies.next()?.clone();
    for command in remedies.flat_map(|other| &other.commands) {
        if !remedy.commands.contains(command) {
            remedy.commands.push(command.clone());
        }
    }
    Some(remedy)
}

/// `text` as a sentence. A name of a host stays as it is written.
pub(super) fn sentence(text: &str) -> String {
    let first = text.split(' ').next().unwrap_or_default();
    let is_word = !first.contains(['.', ':', '/', '_']);
    let mut letters = text.chars();
    match letters.next() {
        Some(letter) if is_word => format!("{}{}.", letter.to_uppercase(), letters.as_str()),
        _ => format!("{text}."),
    }
}
