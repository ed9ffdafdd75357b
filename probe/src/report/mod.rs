//! The report of a run: the document that every output is made from.

pub mod html;
pub mod human;
pub mod json;
pub mod jsonl;
pub mod junit;
pub mod markdown;
pub mod prometheus;
pub mod sarif;

use time::OffsetDateTime;

pub use crate::diagnose::End;
use crate::{
    check::Group,
    checks::CHECKS,
    diagnose::{self, Diagnosed, Diagnosis, Outcome, Subject, Verdict, Whose},
    finding::{Finding, Status},
};

/// What a run found.
#[derive(Clone, Debug)]
pub struct Report {
    /// The domain, or the names of the files.
    pub target: String,
    /// What it is about.
    pub subject: Subject,
    /// When it began.
    pub started: OffsetDateTime,
    /// When it ended.
    pub finished: OffsetDateTime,
    /// How it ended.
    pub end: End,
    /// In the order of the table of checks.
    pub findings: Vec<Finding>,
    /// The causes behind what fails, in the order of the path.
    pub diagnoses: Vec<Diagnosis>,
    /// The first of them, or that there is none.
    pub verdict: Verdict,
}

/// From which status on a finding makes the exit status 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum FailOn {
    /// Failures only.
    #[default]
    Fail,
    /// Warnings, too.
    Warn,
}

/// Exit status: nothing at or above the threshold.
pub const EXIT_GOOD: u8 = 0;
/// Exit status: something is broken.
pub const EXIT_BROKEN: u8 = 1;
/// Exit status: the command line or a file named in it is wrong.
pub const EXIT_USAGE: u8 = 2;
/// Exit status: nothing is proven broken, but something essential could not be examined.
pub const EXIT_INCONCLUSIVE: u8 = 3;
/// Exit status: interrupted by the person (SIGINT), as shells count it.
pub const EXIT_INTERRUPTED: u8 = 130;
/// Exit status: asked to end (SIGTERM), as shells count it.
pub const EXIT_TERMINATED: u8 = 143;

impl Report {
    /// A report with its verdict.
    pub fn new(
        target: String,
        started: OffsetDateTime,
        finished: OffsetDateTime,
        end: End,
        findings: Vec<Finding>,
    ) -> Self {
        let Diagnosed { diagnoses, verdict } = diagnose::diagnose(&target, &findings, end);
        let subject = Subject::Deployment;
        Self { target, subject, started, finished, end, findings, diagnoses, verdict }
    }

    /// A report on files that say what is declared, at `when`. Nobody was asked anything for it.
    pub fn of_files(subject: Subject, target: String, when: OffsetDateTime, findings: Vec<Finding>) -> Self {
        let Diagnosed { diagnoses, verdict } = diagnose::declared(subject, &target, &findings);
        let (started, finished, end) = (when, when, End::Complete);
        Self { target, subject, started, finished, end, findings, diagnoses, verdict }
    }

    /// How many findings have `status`, without those that are suppressed.
    pub fn count(&self, status: Status) -> usize {
        self.findings.iter().filter(|f| f.status == status && f.suppressed.is_none()).count()
    }

    /// How many findings are suppressed.
    pub fn suppressed(&self) -> usize {
        self.findings.iter().filter(|f| f.suppressed.is_some()).count()
    }

    /// The exit status of the program.
    pub fn exit_code(&self, fail_on: FailOn) -> u8 {
        let bad = self.findings.iter().enumerate().any(|(at, f)| {
            let counts = f.status == Status::Fail && !self.is_of_this_side(at);
            f.suppressed.is_none() && (counts || (fail_on == FailOn::Warn && f.status == Status::Warn))
        });
        let is_broken = bad || self.diagnoses.iter().any(|d| !d.suppressed && d.whose == Whose::Deployment);
        match (self.end, self.verdict.outcome) {
            (End::Interrupted, _) => EXIT_INTERRUPTED,
            (End::Terminated, _) => EXIT_TERMINATED,
            _ if is_broken => EXIT_BROKEN,
            (_, Outcome::Good) => EXIT_GOOD,
            (End::Complete, _) if self.is_as_wanted() => EXIT_GOOD,
            (_, Outcome::Broken | Outcome::Inconclusive) => EXIT_INCONCLUSIVE,
        }
    }

    /// Whether the finding is so because of something on the side of the person who looks.
    fn is_of_this_side(&self, at: usize) -> bool {
        self.diagnoses.iter().any(|d| d.whose == Whose::Person && d.explains.contains(&at))
    }

    /// Whether what keeps us from calling it good is what the person told us to leave aside.
    fn is_as_wanted(&self) -> bool {
        let is_set_aside = |f: &Finding| f.left_out.is_some() || f.suppressed.is_some();
        self.findings.iter().any(is_set_aside)
            && self.findings.iter().all(|f| f.status != Status::Error || is_set_aside(f))
    }
}

/// The findings of each group that has any, in the order of the path, with their places in the report.
fn by_group(report: &Report) -> Vec<(Group, Vec<(usize, &Finding)>)> {
    let mut groups: Vec<_> = CHECKS.iter().map(|c| c.group).collect();
    groups.sort_unstable();
    groups.dedup();
    let group_of = |finding: &Finding| CHECKS.iter().find(|c| c.id == finding.check).map(|c| c.group);
    let of = |group| {
        let findings = report.findings.iter().enumerate();
        findings.filter(|(_, finding)| group_of(finding) == Some(group)).collect::<Vec<_>>()
    };
    groups.into_iter().map(|group| (group, of(group))).filter(|(_, findings)| !findings.is_empty()).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::Duration;

    use time::macros::datetime;

    use super::*;
    use crate::{codes::Code, finding::Suppressed};

    /// A report with something of everything.
    pub(crate) fn sample() -> Report {
        let mut findings = vec![
            Finding::pass(Code::NameResolves, "hubs.example.org is 192.0.2.7").at("hubs.example.org"),
            Finding::warn(Code::NamesAgree, "cors.hubs.example.org leads elsewhere than hubs.example.org")
                .seen("hubs.example.org", "192.0.2.7")
                .seen("cors.hubs.example.org", "192.0.2.8")
                .fix("Point all four at the same address", ["kubectl get service lb -n hcce"]),
            Finding::fail(Code::CertificateOfCoturn, "TURN shows coturn's built-in certificate")
                .at("turns:stream.hubs.example.org:5349")
                .seen("issuer", "CN=dialog\x1b[2J")
                .because("coturn's image is built with it")
                .fix("Put hubs-relay in coturn's place, see deploy/README.md", Vec::<String>::new()),
            Finding::error(Code::HubsHealthy, "this machine has no network"),
            Finding::skip(Code::RoomJoined, "needs a room to join: give --room"),
        ];
        let checks = ["dns.addresses", "dns.addresses", "tls.certificates", "http.hubs", "http.dialog"];
        for (finding, check) in findings.iter_mut().zip(checks) {
            finding.check = check;
            finding.duration = Duration::from_millis(42);
        }
        let started = datetime!(2026-11-22 11:30:00 UTC);
        Report::new(
            "hubs.example.org".into(),
            started,
            started + Duration::from_millis(1500),
            End::Complete,
            findings,
        )
    }

    /// The same with what the person left out and what is known.
    pub(crate) fn with_everything() -> Report {
        let Report { target, started, finished, end, mut findings, .. } = sample();
        let mut known = Finding::fail(Code::CertificateDates, "the certificate has run out")
            .at("https://cors.hubs.example.org");
        known.check = "tls.certificates";
        let reason = Some("renewed on Monday".to_owned());
        known.suppressed = Some(Suppressed { by: "HP0206=cors.hubs.example.org".to_owned(), reason });
        let left_out = Finding::skip(Code::DirectPath, "left out by --skip ice.*").left_out("--skip ice.*");
        findings.extend([known, Finding { check: "ice.direct", ..left_out }]);
        Report::new(target, started, finished, end, findings)
    }

    /// What a server says that wants to be more than text.
    pub(crate) fn hostile() -> Report {
        let text = "evil <script>x</script> <img src=x onerror=y> &amp; ]]> \"'` ``` *b* [x](https://evil) | a\\|b @everybody \u{fffe} \x1b[31m\n# x";
        let statuses = [Status::Pass, Status::Warn, Status::Fail, Status::Skip, Status::Error];
        let findings = statuses.into_iter().zip(Code::ALL).map(|(status, code)| {
            let finding = Finding::new(*code, status, text).at(text).seen(text, text).because(text);
            Finding { check: "dns.addresses", ..finding.fix(text, [text]) }
        });
        report(End::Complete, findings.collect())
    }

    /// A deployment as Hubs ships it, to a probe that joined a room.
    pub(crate) fn shipped() -> Report {
        let turn = "turns:stream.hubs.example.org:5349";
        let refused = |code, summary: &str| {
            Finding::warn(code, format!("{summary}, but no browser comes this far"))
                .at(turn)
                .because("browsers end the connection when they see the certificate; this probe went on to look further")
                .fix("Give the TURN server a certificate that browsers accept: see the finding about it", [""; 0])
        };
        let coturn = Finding::fail(
            Code::CertificateOfCoturn,
            "TURN shows coturn's built-in certificate, which no browser accepts",
        )
        .at(turn)
        .seen("subject", "CN=dialog")
        .seen("valid", "2026-11-22 to 2027-11-22")
        .because("Hubs' coturn is built with a self-signed certificate for the name \"dialog\", and haproxy passes port 5349 through as it is")
        .fix("Put hubs-relay in coturn's place with the certificate of this name, see deploy/README.md", [""; 0]);
        let login = Finding::fail(Code::TurnAllocates, "the server refuses Allocate: 401 Unauthenticated")
            .at(turn)
            .because("the server does not know the secret that made them")
            .fix("Put hubs-relay in coturn's place:", ["kubectl apply -n hcce -k deploy/kustomize"]);
        walked(
            coturn,
            [
                refused(Code::TurnChallenges, "TURN answers, and asks for credentials"),
                login,
                Finding::skip(Code::TurnPermits, "needs an allocation on the TURN server, see turn.allocate"),
                Finding::skip(Code::RelayedDtls, "needs an allocation on the TURN server, see turn.allocate"),
            ],
        )
    }

    /// The same with hubs-relay in coturn's place.
    pub(crate) fn repaired() -> Report {
        let turn = "turns:stream.hubs.example.org:5349";
        walked(
            Finding::pass(Code::CertificateValid, "accepted, valid until 2027-02-20").at(turn),
            [
                Finding::pass(Code::TurnChallenges, "TURN answers, and asks for credentials").at(turn),
                Finding::pass(Code::TurnAllocates, "TURN accepts the credentials and allocates").at(turn),
                Finding::pass(Code::TurnPermits, "TURN lets clients reach dialog").at(turn),
                Finding::pass(Code::RelayedDtls, "dialog completes DTLS through TURN in 40 ms").at(turn),
            ],
        )
    }

    fn walked(certificate: Finding, turn: [Finding; 4]) -> Report {
        let silent = Finding::warn(Code::DirectPath, "dialog does not answer at 203.0.113.9")
            .seen("203.0.113.9:40001", "no answer to 10 checks")
            .seen("dialog saw", "no check")
            .because("on AKS the announced address is the one with which the cluster goes out to the internet, and nothing leads in there")
            .fix("None is needed where TURN works: it carries all media. The direct path needs nodes with public addresses:", [
                "kubectl get nodes -o wide",
            ]);
        let before = [
            ("dns.addresses", Finding::pass(Code::NameResolves, "hubs.example.org is 192.0.2.7")),
            ("room.join", Finding::pass(Code::RoomJoined, "the room lets us in and gives TURN credentials")),
            ("tls.certificates", certificate),
            ("http.hubs", Finding::pass(Code::HubsHealthy, "Hubs says that it is healthy")),
            ("dialog.candidates", Finding::pass(Code::CandidatesUsable, "dialog announces 203.0.113.9")),
            ("ice.direct", silent),
        ];
        let through = turn.map(|finding| ("turn.allocate", finding));
        let findings = before.into_iter().chain(through).map(|(check, finding)| Finding { check, ..finding });
        report(End::Complete, findings.collect())
    }

    fn report(end: End, findings: Vec<Finding>) -> Report {
        let now = datetime!(2026-11-22 11:30:00 UTC);
        Report::new("hubs.example.org".into(), now, now, end, findings)
    }

    #[test]
    fn what_the_person_leaves_aside_does_not_count_for_the_exit_status() {
        let known = |mut finding: Finding| {
            finding.suppressed = Some(Suppressed { by: "HP".to_owned(), reason: Some("known".to_owned()) });
            finding
        };
        let code = |findings| report(End::Complete, findings).exit_code(FailOn::Warn);
        assert_eq!(code(vec![known(Finding::fail(Code::HubsMeta, "bad"))]), EXIT_GOOD);
        assert_eq!(code(vec![known(Finding::warn(Code::HubsMeta, "bad"))]), EXIT_GOOD);
        let one_known =
            vec![known(Finding::fail(Code::HubsMeta, "bad")), Finding::fail(Code::HubsHealthy, "dead")];
        assert_eq!(code(one_known.clone()), EXIT_BROKEN);
        assert!(report(End::Complete, one_known).verdict.headline.contains("Hubs itself"));
        let left_out = || Finding::skip(Code::DirectPath, "left out").left_out("--skip ice.*");
        assert_eq!(code(vec![left_out()]), EXIT_GOOD);
        let unable = Finding::error(Code::NameResolves, "no network");
        assert_eq!(code(vec![left_out(), unable]), EXIT_INCONCLUSIVE);
        assert_eq!(report(End::TimeLimit, vec![left_out()]).exit_code(FailOn::Fail), EXIT_INCONCLUSIVE);
    }

    #[test]
    fn the_exit_status_tells_broken_from_undecided_from_good() {
        let pass = || {
            vec![Finding::pass(Code::DirectPath, "answers"), Finding::pass(Code::RelayedDtls, "connected")]
        };
        let with = |extra| [pass(), vec![extra]].concat();
        let code = |findings, fail_on| report(End::Complete, findings).exit_code(fail_on);
        assert_eq!(code(pass(), FailOn::Fail), EXIT_GOOD);
        assert_eq!(code(with(Finding::warn(Code::NamesAgree, "odd")), FailOn::Fail), EXIT_GOOD);
        assert_eq!(code(with(Finding::warn(Code::NamesAgree, "odd")), FailOn::Warn), EXIT_BROKEN);
        assert_eq!(code(with(Finding::fail(Code::HubsMeta, "bad")), FailOn::Fail), EXIT_BROKEN);
        assert_eq!(code(Vec::new(), FailOn::Fail), EXIT_INCONCLUSIVE);
        assert_eq!(report(End::Interrupted, pass()).exit_code(FailOn::Fail), EXIT_INTERRUPTED);
        assert_eq!(report(End::Terminated, pass()).exit_code(FailOn::Fail), EXIT_TERMINATED);
    }
}
