//! What keeps people out: certificates, pages, and permissions that dialog does not believe.

use super::*;

const HOME: &str = "https://example.org";
const DIALOG: &str = "wss://stream.example.org:4443";

fn the_rules(with: impl IntoIterator<Item = Finding>) -> Vec<&'static str> {
    rules(&diagnosed(with).1)
}

#[test]
fn each_fault_of_the_pages_has_a_cause_of_its_own() {
    for (code, rule, headline) in [
        (Code::PageReached, "web.redirected", "does not lead browsers to its own page"),
        (Code::PageHosts, "web.hosts", "send browsers to other servers"),
        (Code::AssetsThere, "web.files", "files that they cannot do without"),
        (Code::PagePolicy, "web.policy", "Nobody gets into a room: the security policy"),
        (Code::AssetsShared, "web.sharing", "do not let the pages read files"),
        (Code::PhoenixSocket, "web.socket", "Nobody gets into a room: the connection"),
    ] {
        let diagnoses = diagnosed([fail(code).at(HOME)]).1;
        assert_eq!(rules(&diagnoses), [rule]);
        assert!(diagnoses[0].headline.contains(headline), "{}", diagnoses[0].headline);
    }
    let unfilled = fail(Code::PageHosts).seen("in its place", "{{rawhubs-base-assets-path}}/hub.js");
    assert!(diagnosed([unfilled]).1[0].headline.contains("stay empty"));
}

#[test]
fn connections_of_which_some_are_lost_explain_whatever_one_of_them_was_needed_for() {
    let lost = || fail(Code::ConnectionsTaken).at("tcp:192.0.2.7:443");
    let silent = |code| fail(code).seen("said", "192.0.2.7:443 does not answer within 4 s");
    let others = [
        silent(Code::TlsAnswers).at(DIALOG),
        silent(Code::AssetsThere),
        silent(Code::PhoenixSocket).at(HOME),
    ];
    assert_eq!(the_rules([lost()].into_iter().chain(others)), ["entrance.some"]);
    // What was answered, a certificate that was seen, and TURN's own port are what they are.
    for other in [fail(Code::RoomJoined), fail(Code::TurnAllocates), silent(Code::TlsAnswers).at(TURN)] {
        assert!(the_rules([lost(), other.clone()]).len() > 1, "{other:#?}");
    }
    assert_eq!(
        the_rules([lost(), fail(Code::CertificateDates).at(HOME)]),
        ["entrance.some", "entrance.closed"]
    );
}

#[test]
fn what_is_beside_rooms_does_not_silence_them() {
    for code in [Code::CorsProxy, Code::Thumbnails] {
        let diagnoses = diagnosed([fail(code).at("https://cors.example.org/"), direct(Status::Pass)]).1;
        assert_eq!(rules(&diagnoses), ["rest"]);
        assert!(diagnoses[0].headline.starts_with("Voice works, but"), "{}", diagnoses[0].headline);
    }
}

#[test]
fn a_domain_that_leads_elsewhere_explains_that_hubs_is_not_there() {
    let (findings, diagnoses) = diagnosed([fail(Code::PageReached), fail(Code::HubsName)]);
    assert_eq!(rules(&diagnoses), ["web.redirected"]);
    assert_eq!(codes(&findings, &diagnoses[0].explains), [Code::HubsName]);
}

#[test]
fn a_socket_that_is_dead_explains_that_the_room_is_closed_and_is_explained_by_a_dead_reticulum() {
    let closed = || [fail(Code::PhoenixSocket), fail(Code::RoomJoined)];
    let (findings, diagnoses) = diagnosed(closed());
    assert_eq!(rules(&diagnoses), ["web.socket"]);
    assert_eq!(codes(&findings, &diagnoses[0].explains), [Code::RoomJoined]);
    assert_eq!(the_rules(closed().into_iter().chain([fail(Code::HubsHealthy)])), ["web.dead"]);
}

#[test]
fn a_permission_that_dialog_does_not_believe_silences_everybody_and_is_told_by_its_kind() {
    for (code, why) in [
        (Code::PermissionSignature, "its key is not the one that Reticulum signs with"),
        (Code::PermissionKey, "it cannot read the key"),
        (Code::PermissionDates, "its clock"),
        (Code::PermissionAccepted, "does not accept"),
    ] {
        let silenced = Finding::skip(Code::AudioTurnTls, "dialog lets nobody speak");
        let (findings, diagnoses) = diagnosed([fail(code).at(DIALOG), direct(Status::Pass), silenced]);
        assert_eq!(rules(&diagnoses), ["dialog.permission"]);
        let headline = &diagnoses[0].headline;
        assert!(headline.starts_with("Nobody can be heard") && headline.contains(why), "{headline}");
        assert_eq!(codes(&findings, &diagnoses[0].explains), [Code::AudioTurnTls]);
    }
}

#[test]
fn credentials_that_are_old_when_they_are_given_explain_that_turn_refuses_them() {
    let old = || turn_broken_at(Code::TurnAllocates).into_iter().chain([fail(Code::CredentialDates)]);
    let (findings, diagnoses) = diagnosed(old());
    assert_eq!(diagnoses[0].rule, "turn.clock");
    assert!(codes(&findings, &diagnoses[0].explains).contains(&Code::TurnAllocates));
    assert!(!rules(&diagnoses).contains(&"turn.login"));
    // A relay that knows about it lets people in all the same.
    assert_eq!(the_rules([fail(Code::CredentialDates)]), ["rest"]);
}

#[test]
fn that_a_certificate_which_ran_out_is_an_old_one_is_no_fault_of_its_own() {
    for (place, beside, rule) in [
        (DIALOG, "https://stream.example.org", "entrance.closed"),
        (TURN, TURN, "turn.refused"),
        ("https://cors.example.org", "https://cors.example.org", "rest"),
    ] {
        let old = Finding::warn(Code::CertificateNewest, "an old one").at(place);
        let left_out = fail(Code::CertificatesTogether).at(beside);
        let (findings, diagnoses) = diagnosed([fail(Code::CertificateDates).at(place), old, left_out]);
        assert_eq!(diagnoses[0].rule, rule);
        assert!(!rules(&diagnoses)[1..].contains(&"rest"), "{diagnoses:#?}");
        let explained = codes(&findings, &diagnoses[0].explains);
        assert_eq!(explained, [Code::CertificateNewest, Code::CertificatesTogether], "{place}");
    }
}

#[test]
fn an_unknown_issuer_on_some_ports_only_may_be_this_machines_network() {
    let unknown = || fail(Code::CertificateUnknownIssuer).at(HOME);
    let diagnosis = &diagnosed([unknown(), pass(Code::CertificateValid).at(TURN)]).1[0];
    assert_eq!((diagnosis.rule, diagnosis.confidence), ("entrance.closed", Confidence::Likely));
    assert!(diagnosis.detail.contains("check from another network"), "{}", diagnosis.detail);
    let turn = fail(Code::CertificateUnknownIssuer).at(TURN);
    let alone = diagnose("example.org", &[unknown(), turn], End::Complete).diagnoses;
    assert_eq!((alone[0].rule, alone[0].confidence), ("entrance.closed", Confidence::Certain));
    assert!(!alone[0].detail.contains("another network"), "{}", alone[0].detail);
}

#[test]
fn encryption_that_is_too_old_keeps_people_out_where_it_is_spoken() {
    for code in [Code::CertificateStrength, Code::TlsVersions] {
        assert_eq!(the_rules([fail(code).at(DIALOG)]), ["entrance.old"]);
        assert_eq!(the_rules([fail(code).at(TURN)])[0], "turn.old");
    }
    let firefox = &diagnosed([fail(Code::CertificateStapled).at(HOME)]).1[0];
    assert_eq!(firefox.rule, "entrance.staple");
    assert!(firefox.headline.starts_with("Nobody with Firefox"), "{}", firefox.headline);
}

#[test]
fn the_certificate_that_haproxy_falls_back_on_is_called_that() {
    let diagnosis = &diagnosed([fail(Code::CertificateDefault).at(HOME)]).1[0];
    assert!(diagnosis.headline.contains("the one that haproxy falls back on"), "{}", diagnosis.headline);
}
