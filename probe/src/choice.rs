//! Which checks run and which findings count, as the person asked for.

use std::{
    collections::BTreeSet,
    fmt,
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use wildmatch::WildMatch;

use crate::{
    check::Check,
    codes::{Code, UnknownCode},
    finding::{Finding, Status, Suppressed},
};

/// A name of a check or a code, in which `*` stands for any text and `?` for any character.
#[derive(Clone, Debug)]
pub struct Pattern(WildMatch);

impl Pattern {
    fn matches(&self, text: &str) -> bool {
        self.0.matches(text)
    }

    fn names(&self, check: &Check) -> bool {
        self.matches(check.id)
    }

    fn names_code(&self, code: Code) -> bool {
        self.matches(&code.to_string())
    }
}

impl From<&str> for Pattern {
    fn from(text: &str) -> Self {
        Self(WildMatch::new_case_insensitive(text))
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.pattern())
    }
}

/// What the person asked for. The default is everything.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    /// Only these checks, by name or by a code that they report, and what they come after. Empty: all.
    pub only: Vec<Pattern>,
    /// Not these checks, and not what has these codes.
    pub skip: Vec<Pattern>,
    /// Known faults.
    pub suppress: Vec<Suppression>,
}

/// Why there is nothing to choose.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChoiceError {
    /// A pattern means nothing here.
    #[error("no check and no code is called {0:?}: `hubs-probe list` shows them all")]
    Unknown(String),
    /// Everything is left out.
    #[error("--only and --skip leave nothing that would be checked")]
    Nothing,
}

impl Choice {
    /// That each pattern means a check or a code (one that does not is misspelt, and would silently choose nothing), and that
    /// something is left.
    pub fn validate(&self, checks: &[Check]) -> Result<(), ChoiceError> {
        let is_known = |pattern: &&Pattern| {
            checks.iter().any(|c| pattern.names(c)) || Code::ALL.iter().any(|c| pattern.names_code(*c))
        };
        if let Some(pattern) = self.only.iter().chain(&self.skip).find(|pattern| !is_known(pattern)) {
            return Err(ChoiceError::Unknown(pattern.to_string()));
        }
        let is_skipped = |check: &Check| self.skip.iter().any(|it| it.names(check));
        let has_codes =
            |check: &Check| check.codes().any(|code| !self.skip.iter().any(|it| it.names_code(code)));
        if checks.iter().any(|it| self.wants(it) && !is_skipped(it) && has_codes(it)) {
            Ok(())
        } else {
            Err(ChoiceError::Nothing)
        }
    }

    /// Whether the person asked for it itself, and not only for what comes after it.
    fn wants(&self, check: &Check) -> bool {
        let is_named = |it: &Pattern| it.names(check) || check.codes().any(|code| it.names_code(code));
        self.only.is_empty() || self.only.iter().any(is_named)
    }

    /// Why this check of `checks` is not to run, if it is not.
    pub fn leaves_out(&self, check: &Check, checks: &[Check]) -> Option<String> {
        if let Some(pattern) = self.skip.iter().find(|pattern| pattern.names(check)) {
            return Some(format!("left out by --skip {pattern}"));
        }
        if self.wants(check) {
            return None;
        }
        let wanted = checks.iter().filter(|it| self.wants(it));
        if wanted.flat_map(|wanted| before(wanted, checks)).any(|id| id == check.id) {
            return None;
        }
        Some(format!("left out by {}", self.only_option()))
    }

    fn only_option(&self) -> String {
        let only: Vec<_> = self.only.iter().map(|it| format!("--only {it}")).collect();
        only.join(" ")
    }

    /// Leaves out what has a code that is not wanted, and marks what is known.
    pub fn judge(&self, findings: &mut Vec<Finding>) {
        let mut named = BTreeSet::new();
        findings.retain_mut(|finding| {
            let Some(pattern) = self.skip.iter().find(|it| it.names_code(finding.code)) else {
                finding.suppressed = self.suppress.iter().find_map(|it| it.suppresses(finding));
                return true;
            };
            let reason = format!("left out by --skip {pattern}");
            *finding = Finding::skip(finding.code, &reason).left_out(&reason);
            named.insert(finding.code)
        });
    }

    /// Marks the faults of what ran only because something else comes after it. They do not count, unless they kept what the
    /// person asked for from being examined.
    pub fn spare(&self, findings: &mut [Finding], checks: &[Check]) {
        let is_wanted = |id| checks.iter().any(|check| check.id == id && self.wants(check));
        let needs = |of: &dyn Fn(&'static str) -> bool| -> Vec<_> {
            findings.iter().filter(|it| of(it.check)).filter_map(|it| it.needs).collect()
        };
        let mut missed: BTreeSet<_> = needs(&is_wanted).into_iter().collect();
        for _ in checks {
            missed.extend(needs(&|id| missed.contains(id)));
        }
        let spared = findings.iter_mut().filter(|it| !is_wanted(it.check) && !missed.contains(it.check));
        for finding in spared.filter(|it| is_fault(it)) {
            finding.suppressed.get_or_insert_with(|| Suppressed {
                by: self.only_option(),
                reason: Some("examined only for what comes after it".to_owned()),
            });
        }
    }
}

/// Whether there is anything that could count.
fn is_fault(finding: &Finding) -> bool {
    matches!(finding.status, Status::Warn | Status::Fail | Status::Error)
}

/// Every check that `check` comes after, however far back.
fn before(check: &Check, checks: &[Check]) -> BTreeSet<&'static str> {
    let mut before = BTreeSet::new();
    let mut due: Vec<_> = check.after.to_vec();
    while let Some(id) = due.pop() {
        if before.insert(id) {
            due.extend(checks.iter().filter(|c| c.id == id).flat_map(|c| c.after));
        }
    }
    before
}

/// A fault that is known, and why it is to be lived with.
#[derive(Clone, Debug)]
pub struct Suppression {
    text: String,
    code: Code,
    target: Option<Pattern>,
    reason: Option<String>,
    /// Whether there was such a fault. Copies have it in common.
    met: Arc<AtomicBool>,
}

impl Suppression {
    /// Whether it suppressed anything.
    pub fn has_met(&self) -> bool {
        self.met.load(Ordering::Relaxed)
    }

    fn suppresses(&self, finding: &Finding) -> Option<Suppressed> {
        let fits = |pattern: &Pattern| {
            let target = finding.target.as_deref().unwrap_or_default();
            let place = finding.host_and_port();
            let host = finding.host();
            pattern.matches(target) || place.into_iter().chain(host).any(|it| pattern.matches(it))
        };
        if !is_fault(finding) || self.code != finding.code || !self.target.as_ref().is_none_or(fits) {
            return None;
        }
        self.met.store(true, Ordering::Relaxed);
        Some(Suppressed { by: self.text.clone(), reason: self.reason.clone() })
    }
}

impl fmt::Display for Suppression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Suppression {
    type Err = UnknownCode;

    /// Reads `HP0203`, `HP0203=assets.example.org`, `HP0203=https://*:known since Monday` or `HP0203:known`.
    fn from_str(text: &str) -> Result<Self, UnknownCode> {
        let (code, rest) = match text.find(['=', ':']) {
            Some(at) => text.split_at(at),
            None => (text, ""),
        };
        let code = code.parse()?;
        let (target, reason) = match rest.strip_prefix('=') {
            Some(rest) => {
                let (target, reason) = rest.split_at(end_of_target(rest));
                (Some(Pattern::from(target)), reason)
            }
            None => (None, rest),
        };
        let reason = reason.strip_prefix(':').map(str::trim).filter(|reason| !reason.is_empty());
        let printable = crate::finding::printable;
        let (text, reason) = (printable(text), reason.map(printable));
        Ok(Self { text, code, target, reason, met: Arc::default() })
    }
}

/// Where the target ends and the colon before the reason stands. A colon behind a scheme, or before a port, is the target's.
fn end_of_target(text: &str) -> usize {
    let is_scheme = |before: &str| !before.is_empty() && before.bytes().all(|b| b.is_ascii_lowercase());
    let is_port = |after: &str| {
        let digits = after.bytes().take_while(u8::is_ascii_digit).count();
        let rest = &after[digits..];
        after.starts_with('*') || digits > 0 && (rest.is_empty() || rest.starts_with([':', '/']))
    };
    let colons = text.match_indices(':').map(|(at, _)| at);
    colons.into_iter().find(|at| !is_scheme(&text[..*at]) && !is_port(&text[at + 1..])).unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::CHECKS;

    fn choice(only: &[&str], skip: &[&str]) -> Choice {
        let patterns = |texts: &[&str]| texts.iter().map(|text| Pattern::from(*text)).collect();
        Choice { only: patterns(only), skip: patterns(skip), suppress: Vec::new() }
    }

    fn running(choice: &Choice) -> Vec<&'static str> {
        CHECKS.iter().filter(|c| choice.leaves_out(c, CHECKS).is_none()).map(|c| c.id).collect()
    }

    #[test]
    fn only_chooses_checks_by_name_or_code_with_what_they_come_after() {
        assert_eq!(running(&choice(&["dns.*"], &[])).first(), Some(&"dns.addresses"));
        let direct = running(&choice(&["ice.direct"], &[]));
        for id in ["dns.addresses", "room.join", "dialog.candidates", "ice.direct"] {
            assert!(direct.contains(&id), "{id} is not in {direct:?}");
        }
        assert!(!direct.contains(&"turn.allocate") && !direct.contains(&"http.hubs"), "{direct:?}");
        assert_eq!(running(&choice(&["hp0501"], &[])), direct);
        assert_eq!(running(&choice(&[], &[])).len(), CHECKS.len());
    }

    #[test]
    fn skip_wins_over_only_and_both_say_so() {
        let choice = choice(&["http.*"], &["http.dialog"]);
        let why = |id| choice.leaves_out(CHECKS.iter().find(|c| c.id == id).unwrap(), CHECKS);
        assert_eq!(why("http.hubs"), None);
        assert_eq!(why("http.dialog").unwrap(), "left out by --skip http.dialog");
        assert_eq!(why("ice.direct").unwrap(), "left out by --only http.*");
    }

    #[test]
    fn what_has_an_unwanted_code_is_left_out_and_named_once() {
        let mut findings = vec![
            Finding::pass(Code::NameResolves, "fine"),
            Finding::fail(Code::NamesAgree, "one"),
            Finding::fail(Code::NamesAgree, "other"),
        ];
        choice(&[], &["HP0102"]).judge(&mut findings);
        let found: Vec<_> = findings.iter().map(|f| (f.status, f.left_out.as_deref())).collect();
        assert_eq!(found, [(Status::Pass, None), (Status::Skip, Some("left out by --skip HP0102"))]);
    }

    #[test]
    fn a_pattern_that_means_nothing_is_a_mistake() {
        assert_eq!(choice(&["turn.*"], &["HP02??"]).validate(CHECKS), Ok(()));
        let misspelt = choice(&["trun.*"], &[]).validate(CHECKS).unwrap_err();
        assert!(misspelt.to_string().contains("trun.*"), "{misspelt}");
    }

    #[test]
    fn a_choice_that_leaves_nothing_is_a_mistake() {
        for (only, skip) in [(&[][..], &["*"][..]), (&[], &["HP*"]), (&["dns.*"], &["dns.*"])] {
            assert_eq!(choice(only, skip).validate(CHECKS), Err(ChoiceError::Nothing), "{only:?} {skip:?}");
        }
        // Of what is skipped, what comes before it is not left.
        assert_eq!(choice(&["ice.direct"], &["ice.direct"]).validate(CHECKS), Err(ChoiceError::Nothing));
        assert_eq!(choice(&[], &["dns.*", "HP02*"]).validate(CHECKS), Ok(()));
    }

    fn of(check: &'static str, status: Status, needs: Option<&'static str>) -> Finding {
        Finding { check, needs, ..Finding::new(Code::NamesAgree, status, "so") }
    }

    #[test]
    fn what_runs_only_for_what_comes_after_it_does_not_count() {
        let found = vec![
            of("dns.addresses", Status::Warn, None),
            of("dns.caa", Status::Warn, None),
            of("tls.certificates", Status::Pass, None),
            of("tls.certificates", Status::Fail, None),
        ];
        let spared = |only: &[&str], mut findings: Vec<Finding>| {
            choice(only, &[]).spare(&mut findings, CHECKS);
            findings.iter().map(|it| it.suppressed.is_some()).collect::<Vec<_>>()
        };
        assert_eq!(spared(&["dns.*"], found.clone()), [false, false, false, true]);
        assert_eq!(spared(&["dns.caa"], found.clone()), [true, false, false, true]);
        assert_eq!(spared(&[], found), [false; 4]);
    }

    #[test]
    fn what_keeps_the_wanted_from_being_examined_counts() {
        let mut findings = vec![
            of("dns.addresses", Status::Fail, None),
            of("room.join", Status::Skip, Some("dns.addresses")),
            of("tls.certificates", Status::Fail, None),
            of("turn.allocate", Status::Skip, Some("room.join")),
        ];
        choice(&["turn.*"], &[]).spare(&mut findings, CHECKS);
        let spared: Vec<_> = findings.iter().map(|it| it.suppressed.is_some()).collect();
        assert_eq!(spared, [false, false, true, false]);
    }

    #[test]
    fn a_suppression_knows_whether_there_was_anything_to_suppress() {
        for (text, has_met) in [
            ("HP0204", true),
            ("HP0204=turns:stream.example.org:5349", true),
            ("HP0204=stream.example.org:5349", true),
            ("HP0204=stream.example.org:5349:known", true),
            ("HP0204=stream.example.org", true),
            ("HP0204=stream.example.org:443", false),
            ("HP0204=example.org", false),
            ("HP0203", false),
        ] {
            let known: Suppression = text.parse().unwrap();
            let choice = Choice { suppress: vec![known.clone()], ..Choice::default() };
            let at = "turns:stream.example.org:5349";
            choice.judge(&mut vec![
                Finding::fail(Code::CertificateOfCoturn, "dialog's").at(at),
                Finding::pass(Code::CertificateDefault, "its own").at(at),
            ]);
            assert_eq!(known.has_met(), has_met, "{text}");
        }
    }

    #[test]
    fn a_suppression_is_read_with_and_without_place_and_reason() {
        for (text, target, reason) in [
            ("HP0206", None, None),
            ("HP0206:known", None, Some("known")),
            ("HP0206=assets.example.org", Some("assets.example.org"), None),
            (
                "hp0206=assets.example.org: comes on Monday: 9:30",
                Some("assets.example.org"),
                Some("comes on Monday: 9:30"),
            ),
            (
                "HP0206=turns:stream.example.org:5349:known",
                Some("turns:stream.example.org:5349"),
                Some("known"),
            ),
            ("HP0206=https://*.example.org/x:known", Some("https://*.example.org/x"), Some("known")),
            ("HP0206=wss://stream.example.org:4443", Some("wss://stream.example.org:4443"), None),
            ("HP0206=*:*", Some("*:*"), None),
        ] {
            let read: Suppression = text.parse().unwrap();
            let target_read = read.target.as_ref().map(ToString::to_string);
            assert_eq!((target_read.as_deref(), read.reason.as_deref()), (target, reason), "{text}");
        }
        assert!("HP9999=x".parse::<Suppression>().is_err());
        assert!("".parse::<Suppression>().is_err());
    }

    #[test]
    fn a_suppression_marks_what_has_its_code_at_its_place_and_nothing_else() {
        let suppression = "HP0206=assets.example.org:known".parse().unwrap();
        let choice = Choice { suppress: vec![suppression], ..Choice::default() };
        let mut findings = vec![
            Finding::fail(Code::CertificateDates, "run out").at("https://assets.example.org"),
            Finding::fail(Code::CertificateDates, "run out").at("https://example.org"),
            Finding::fail(Code::CertificateChain, "short").at("https://assets.example.org"),
        ];
        choice.judge(&mut findings);
        let suppressed: Vec<_> =
            findings.iter().map(|f| f.suppressed.as_ref().and_then(|s| s.reason.as_deref())).collect();
        assert_eq!(suppressed, [Some("known"), None, None]);
        assert!(findings.iter().all(|f| f.status == Status::Fail));
    }
}
