//! Findings, asked by what they mean.

use super::End;
use crate::{
    codes::Code,
    finding::{Finding, Remedy, Status},
};

/// What was seen.
pub(super) struct Seen<'a> {
    /// Of which deployment.
    pub(super) domain: &'a str,
    /// In the order of the report.
    pub(super) findings: &'a [Finding],
    /// How the run ended.
    pub(super) end: End,
}

/// Whether media reaches dialog without TURN: straight, or through the media gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direct {
    Works,
    Dead,
    Unknown,
}

/// Whether media reaches dialog through TURN as a browser uses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    Works,
    Broken,
    Untried,
}

/// What keeps browsers from a port whose certificate is good in itself.
pub(super) const TOO_OLD: &[Code] = &[Code::CertificateStrength, Code::TlsVersions];

/// What shows that media gets there without TURN.
const WITHOUT_TURN: [Code; 3] = [Code::DirectPath, Code::GatewayUdp, Code::GatewayTcp];

/// On the way through TURN, what fails behind one of these fails because of it.
const TURN_STEPS: [Code; 5] =
    [Code::TurnChallenges, Code::TurnAllocates, Code::TurnPermits, Code::RelayedPath, Code::RelayedDtls];

impl<'a> Seen<'a> {
    pub(super) fn direct(&self) -> Direct {
        let has = |status| WITHOUT_TURN.iter().any(|code| self.has(*code, status));
        match (has(Status::Pass), has(Status::Warn) || has(Status::Fail)) {
            (true, _) => Direct::Works,
            // D05: then nothing is known of the way that others have.
            (false, true) if !self.lacks_udp() && !has(Status::Error) => Direct::Dead,
            (false, _) => Direct::Unknown,
        }
    }

    /// Whether media reaches dialog over UDP, as it should.
    pub(super) fn works_over_udp(&self) -> bool {
        [Code::DirectPath, Code::GatewayUdp].iter().any(|code| self.has(*code, Status::Pass))
    }

    /// The ways without TURN that work, in words.
    pub(super) fn ways(&self) -> Vec<&'static str> {
        let through = match [Code::GatewayUdp, Code::GatewayTcp].map(|code| self.has(code, Status::Pass)) {
            [true, _] => Some("through the gateway"),
            [false, true] => Some("through the gateway over TCP"),
            [false, false] => None,
        };
        let straight = self.has(Code::DirectPath, Status::Pass).then_some("directly");
        straight.into_iter().chain(through).collect()
    }

    /// Whether this network lets no UDP out, so that whatever is silent over UDP may answer others.
    pub(super) fn lacks_udp(&self) -> bool {
        self.has(Code::UdpLeaves, Status::Warn) && !self.has(Code::UdpLeaves, Status::Pass)
    }

    pub(super) fn turn(&self) -> Turn {
        if self.is_told_of_turn() && self.relayed_as_in_a_browser() {
            return Turn::Works;
        }
        let is_broken = !self.is_told_of_turn()
            || self.certificate_faults(is_turn).next().is_some()
            || TURN_STEPS.iter().any(|code| self.has(*code, Status::Fail));
        if is_broken { Turn::Broken } else { Turn::Untried }
    }

    /// A room that names no TURN server is a warning: its browsers go without, whatever given credentials prove.
    fn is_told_of_turn(&self) -> bool {
        !self.has(Code::RoomJoined, Status::Warn)
    }

    /// The checks of TURN go on behind a certificate that a browser refuses, so what they reach counts only together with
    /// a certificate that was accepted at the same place.
    fn relayed_as_in_a_browser(&self) -> bool {
        let accepted = |f: &&Finding| {
            is_certificate(f.code)
                && matches!(f.status, Status::Pass | Status::Warn)
                && f.target.as_deref().is_some_and(is_turn)
        };
        let is_refused =
            |f: &&Finding| self.certificate_faults(is_turn).any(|fault| fault.target == f.target);
        let refused = self.certificate_faults(is_turn).next().is_some();
        self.with(Code::RelayedDtls, Status::Pass).any(|relayed| {
            let mut accepted = self.findings.iter().filter(accepted).filter(|f| !is_refused(f));
            accepted.any(|f| !refused || f.target == relayed.target)
        })
    }

    /// Failures of the certificate, or of the port that should show one, where `place` holds of the URL.
    fn certificate_faults(&self, place: impl Fn(&str) -> bool) -> impl Iterator<Item = &'a Finding> {
        self.findings.iter().filter(move |f| {
            f.status == Status::Fail
                && (is_certificate(f.code) || TOO_OLD.contains(&f.code))
                && f.target.as_deref().is_some_and(&place)
        })
    }

    /// Whether the way through TURN ends where credentials would be needed, and no room was named to give them. A run that was
    /// cut short may have had a room to join.
    pub(super) fn lacks_credentials(&self) -> bool {
        let tried = self.findings.iter().any(|f| f.code == Code::TurnAllocates && f.status != Status::Skip);
        // A room that could not be looked for was named all the same.
        let is_unnamed = |f: &Finding| f.needs.is_none() && f.left_out.is_none();
        self.end == End::Complete && !tried && self.with(Code::RoomJoined, Status::Skip).any(is_unnamed)
    }

    /// How to try TURN with what a room gives.
    pub(super) fn name_a_room(&self) -> Remedy {
        Remedy {
            text: "Open a room in a browser and give its URL, so that TURN can be tried with the room's credentials:"
                .to_owned(),
            commands: vec![format!("hubs-probe check {0} --room https://{0}/ROOM", self.domain)],
        }
    }

    pub(super) fn has(&self, code: Code, status: Status) -> bool {
        self.with(code, status).next().is_some()
    }

    pub(super) fn with(&self, code: Code, status: Status) -> impl Iterator<Item = &'a Finding> {
        self.findings.iter().filter(move |f| f.code == code && f.status == status)
    }

    /// Codes that failed or warned, each once.
    pub(super) fn symptoms(&self) -> Vec<Code> {
        let mut codes: Vec<_> = self
            .findings
            .iter()
            .filter(|f| matches!(f.status, Status::Fail | Status::Warn))
            .map(|f| f.code)
            .collect();
        codes.sort_unstable();
        codes.dedup();
        codes
    }
}

/// Whether the code is about a certificate, or about the port that should show one.
pub(super) fn is_certificate(code: Code) -> bool {
    (Code::CertificateValid..=Code::TlsAnswers).contains(&code)
}

/// Whether the URL is TURN's.
pub(super) fn is_turn(url: &str) -> bool {
    url.starts_with("turns:")
}
