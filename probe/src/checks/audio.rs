//! Sound: does what one person says come back through dialog to another one, over each way that media has?
//!
//! Both people are we, in a room of our own that nobody else is in, with the permission that the given room gave us. What is sent is
//! encrypted and decrypted as in a browser, and each packet is compared with what was sent.

mod talk;
mod way;

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use futures_util::future::{join_all, join3};

use self::{
    talk::{Signalling, talk},
    way::{Direct, Gateway, Obstacle, Through, Way, Ways},
};
use crate::{
    audio::Figures,
    check::{Context, Outcome, Stop},
    checks::{
        commands::{LOG, PODS},
        ports::OPEN,
        turn::{holds, milliseconds},
    },
    codes::Code,
    facts::TurnCertificate,
    finding::Finding,
    media::{CONNECT_LIMIT, MediaError},
    protoo::ProtooError,
};

/// Above these sound begins to suffer: words get lost, or people talk into each other.
const MOST_LOSS: f32 = 0.05;
const LONGEST_ROUND_TRIP: Duration = Duration::from_millis(500);
const MOST_JITTER: Duration = Duration::from_millis(60);

/// How long the connections may take at first, and how often that is tried: enough for a path around the world. Where packets get
/// lost it is quicker to try anew than to wait for DTLS, which waits for twice as long with each loss.
const HASTE: Duration = Duration::from_secs(4);
const HASTY_TRIES: usize = 3;

const DIALOG: [&str; 2] =
    ["kubectl logs -n hcce deployment/dialog --tail=50", "kubectl rollout restart deployment dialog -n hcce"];

pub(crate) async fn room(cx: Arc<Context>) -> Outcome {
    let Some(length) = cx.options.audio.filter(|length| !length.is_zero()) else {
        return Err(Stop::Skip("nobody asked for it".to_owned()));
    };
    let endpoint = cx.facts.dialog.get()?;
    let room = cx.facts.room.get()?;
    let Some(token) = &room.perms_token else {
        return Err(Stop::Skip(
            "the room gave no permission to speak, without which dialog takes no sound".to_owned(),
        ));
    };
    let ways = Ways::of(&cx).await;
    if ways.is_none() {
        let reason = "dialog answers neither directly nor through the gateway nor through TURN, see ice.direct, gateway.paths and turn.media";
        return Err(Stop::Skip(reason.to_owned()));
    }
    let signalling = Signalling { net: &cx.net, endpoint, token, length };
    let asked = cx.facts.asked_ports.get().map(Vec::as_slice).unwrap_or_default();
    let direct = join_all(ways.direct.iter().map(async |direct: &Direct| {
        let talked = Box::pin(talk_patiently(&signalling, direct)).await;
        judge_direct(&talked, is_partly_closed(asked, direct.ip)).at(direct.to_string())
    }));
    let gateway = join_all(ways.gateway.iter().map(async |gateway: &Gateway<'_>| {
        let talked = Box::pin(talk_patiently(&signalling, gateway)).await;
        judge(Code::AudioGateway, &talked, TurnCertificate::Accepted).at(gateway.to_string())
    }));
    let relayed = join_all(ways.through.iter().map(async |through: &Through<'_>| {
        judge(through.code(), &Box::pin(talk_patiently(&signalling, through)).await, through.certificate())
            .at(through.to_string())
    }));
    let (mut findings, gateway, relayed) = join3(direct, gateway, relayed).await;
    findings.extend(gateway);
    findings.extend(relayed);
    Ok(findings)
}

async fn talk_patiently<W: Way>(signalling: &Signalling<'_>, way: &W) -> Result<Figures, Obstacle> {
    for _ in 0..HASTY_TRIES {
        match talk(signalling, way, HASTE).await {
            Err(Obstacle::Media(MediaError::TimedOut(_))) => {}
            other => return other,
        }
    }
    talk(signalling, way, CONNECT_LIMIT).await
}

/// Whether ports of this address were asked of which some answer and others do not.
fn is_partly_closed(asked: &[(SocketAddr, bool)], ip: IpAddr) -> bool {
    let has =
        |wanted: bool| asked.iter().any(|(address, answered)| address.ip() == ip && *answered == wanted);
    has(true) && has(false)
}

/// Each connection has ports of its own, drawn at random. Where some are closed, browsers take another way when they meet one.
fn judge_direct(talked: &Result<Figures, Obstacle>, is_partly_closed: bool) -> Finding {
    let code = Code::AudioDirect;
    match talked {
        Err(obstacle @ Obstacle::Media(MediaError::TimedOut(_) | MediaError::Failed)) if is_partly_closed => {
            Finding::warn(code, obstacle.to_string())
                .because(
                    "part of dialog's ports is closed to this machine (HP0502), and it met some of those",
                )
                .fix("Let all of dialog's ports in:", [OPEN])
        }
        talked => judge(code, talked, TurnCertificate::Accepted),
    }
}

fn judge(code: Code, talked: &Result<Figures, Obstacle>, certificate: TurnCertificate) -> Finding {
    match talked {
        Ok(figures) => judge_figures(code, figures, certificate),
        Err(obstacle) => judge_obstacle(code, obstacle),
    }
}

fn judge_figures(code: Code, figures: &Figures, certificate: TurnCertificate) -> Finding {
    let (loss, round_trip) = (figures.loss(), milliseconds(figures.round_trip));
    let summary = format!(
        "sound comes back through dialog: {} of {} packets, {round_trip} there and back",
        figures.heard, figures.sent
    );
    let poor = [
        (loss > MOST_LOSS, "many packets are lost"),
        (figures.slow_round_trip > LONGEST_ROUND_TRIP, "it takes long"),
        (figures.jitter > MOST_JITTER, "it comes unevenly"),
    ];
    let poor: Vec<_> = poor.into_iter().filter_map(|(is_so, what)| is_so.then_some(what)).collect();
    let finding = if figures.damaged > 0 {
        Finding::fail(
            code,
            format!(
                "sound comes back damaged: {} of {} packets say something else",
                figures.damaged, figures.heard
            ),
        )
        .because("dialog, or something that it sends media through, changes what people say")
        .fix("Look at dialog's log and its version:", DIALOG)
    } else if poor.is_empty() {
        holds(code, certificate, &summary)
    } else {
        Finding::warn(code, format!("{summary}, but poorly: {}", poor.join(", ")))
            .because("the way between this machine and dialog is overloaded or bad somewhere; which end it is cannot be seen from one machine")
            .advise("Compare it with the other ways, and run the check from another network:")
    };
    let finding = finding
        .seen("lost", format!("{:.1} %", loss * 100.0))
        .seen(
            "there and back",
            format!("{round_trip}, and 95 of 100 packets within {}", milliseconds(figures.slow_round_trip)),
        )
        .seen("jitter", milliseconds(figures.jitter))
        .seen("sound", format!("{:.1} kbit/s", figures.bits_per_second as f64 / 1000.0));
    [
        (figures.reordered, "overtaken by later packets"),
        (figures.misnumbered, "numbered wrongly by dialog"),
        (figures.foreign, "packets that we did not send"),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .fold(finding, |finding, (count, what)| finding.seen(what, count))
}

fn judge_obstacle(code: Code, obstacle: &Obstacle) -> Finding {
    let fail = Finding::fail(code, obstacle.to_string());
    match obstacle {
        // It is the same for each way, and says nothing of any.
        Obstacle::NotLetIn(e) => {
            Finding::skip(code, format!("dialog does not take the room's permission: {e}"))
        }
        Obstacle::Lost(_) | Obstacle::Media(MediaError::Unable(_)) => {
            Finding::error(code, obstacle.to_string())
        }
        Obstacle::Dialog(ProtooError::NotOffered { .. }) => fail
            .because("dialog takes sound from one person and does not offer it to the other one in the room")
            .fix("Look at dialog's log, then restart it:", DIALOG),
        Obstacle::Dialog(_) => fail
            .because("dialog breaks at what it does for every person in a room")
            .fix("Look at dialog's log:", DIALOG),
        Obstacle::Media(_) => {
            fail.because("a connection like it stood a moment ago: this way is not reliable").fix(
                "Run the check again; if it stays so, look at the TURN server and at dialog:",
                [LOG, DIALOG[0]],
            )
        }
        Obstacle::Silent { sent, arrived: Some(arrived) } if arrived >= sent => fail
            .because("dialog gets the sound and does not pass it on, or what it passes on gets lost")
            .seen("arrived at dialog", format!("{arrived} bytes"))
            .fix("Look at dialog's log, then restart it:", DIALOG),
        Obstacle::Silent { arrived, .. } => {
            let finding = fail
                .because("both connections stand, but the packets of sound, of which there are fifty in a second, do not come through")
                .fix("Look at what limits UDP or TURN on the way:", [LOG, PODS]);
            match arrived {
                Some(arrived) => finding.seen("arrived at dialog", format!("{arrived} bytes")),
                None => finding,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        check::Options,
        checks::{dialog, gateway, media, room as room_check, tls, turn},
        demo::{Deployment, Turn},
        finding::Status,
        target::Name,
        testing::context,
    };

    fn figures() -> Figures {
        Figures {
            sent: 250,
            heard: 250,
            damaged: 0,
            reordered: 0,
            misnumbered: 0,
            foreign: 0,
            round_trip: Duration::from_millis(41),
            slow_round_trip: Duration::from_millis(55),
            jitter: Duration::from_millis(3),
            bits_per_second: 24_000,
        }
    }

    fn judged(figures: Figures) -> Finding {
        judge(Code::AudioDirect, &Ok(figures), TurnCertificate::Accepted)
    }

    #[test]
    fn sound_that_comes_back_whole_passes_with_its_figures() {
        let finding = judged(figures());
        assert_eq!((finding.status, finding.evidence.len()), (Status::Pass, 4));
        assert_eq!(
            finding.summary,
            "sound comes back through dialog: 250 of 250 packets, 41.0 ms there and back"
        );
        let behind_refused = judge(Code::AudioTurnTls, &Ok(figures()), TurnCertificate::Refused);
        assert_eq!(behind_refused.status, Status::Warn);
    }

    #[test]
    fn poor_sound_is_warned_of_and_blamed_on_nobody() {
        for poor in [
            Figures { heard: 230, ..figures() },
            Figures { slow_round_trip: LONGEST_ROUND_TRIP * 2, ..figures() },
            Figures { jitter: MOST_JITTER * 2, ..figures() },
        ] {
            let finding = judged(poor);
            assert_eq!(finding.status, Status::Warn, "{finding:#?}");
            assert!(finding.cause.unwrap().contains("which end"));
        }
        // One packet of a hundred is what any network loses.
        assert_eq!(judged(Figures { heard: 248, ..figures() }).status, Status::Pass);
    }

    #[test]
    fn damaged_sound_is_a_fault() {
        assert_eq!(judged(Figures { damaged: 1, ..figures() }).status, Status::Fail);
        let odd = judged(Figures { reordered: 2, foreign: 1, ..figures() });
        assert_eq!((odd.status, odd.evidence.len()), (Status::Pass, 6));
    }

    fn obstacle(obstacle: Obstacle) -> Finding {
        judge(Code::AudioTurnUdp, &Err(obstacle), TurnCertificate::Accepted)
    }

    #[test]
    fn silence_is_explained_by_what_arrived_at_dialog() {
        let silent = |arrived| obstacle(Obstacle::Silent { sent: 9000, arrived });
        assert!(silent(Some(15_000)).cause.unwrap().contains("does not pass it on"));
        for arrived in [Some(200), None] {
            let finding = silent(arrived);
            assert_eq!(finding.status, Status::Fail);
            assert!(finding.cause.unwrap().contains("do not come through"));
        }
    }

    #[test]
    fn what_is_not_this_ways_fault_is_not_booked_on_it() {
        let refused =
            || ProtooError::Refused { method: "join", code: 500, reason: "invalid signature".to_owned() };
        let finding = obstacle(Obstacle::NotLetIn(refused()));
        assert_eq!(finding.status, Status::Skip);
        assert!(finding.summary.contains("invalid signature"), "{finding:#?}");
        assert_eq!(obstacle(Obstacle::Lost("no".to_owned())).status, Status::Error);
        assert_eq!(obstacle(Obstacle::Media(MediaError::Unable("no".to_owned()))).status, Status::Error);
        for fault in [
            Obstacle::Dialog(refused()),
            Obstacle::Dialog(ProtooError::NotOffered { method: "newConsumer" }),
            Obstacle::Media(MediaError::TimedOut(CONNECT_LIMIT)),
        ] {
            let finding = obstacle(fault);
            assert_eq!((finding.status, finding.remedy.is_some()), (Status::Fail, true), "{finding:#?}");
        }
    }

    #[test]
    fn ports_that_are_known_to_be_closed_in_part_are_met_now_and_then() {
        let judged = |error: MediaError, is_partly_closed| {
            judge_direct(&Err(Obstacle::Media(error)), is_partly_closed).status
        };
        assert_eq!(judged(MediaError::TimedOut(CONNECT_LIMIT), true), Status::Warn);
        assert_eq!(judged(MediaError::TimedOut(CONNECT_LIMIT), false), Status::Fail);
        assert_eq!(judged(MediaError::PathBroken, true), Status::Fail);
        let asked = |answers: [bool; 3]| {
            let addresses = ["203.0.113.40:40001", "203.0.113.40:40002", "203.0.113.41:40001"];
            addresses.map(|it| it.parse().unwrap()).into_iter().zip(answers).collect::<Vec<_>>()
        };
        let ip = [203, 0, 113, 40].into();
        assert!(is_partly_closed(&asked([true, false, true]), ip));
        // What is closed at another address is no excuse for this one.
        assert!(!is_partly_closed(&asked([true, true, false]), ip));
        assert!(!is_partly_closed(&asked([false, false, true]), ip));
    }

    async fn skipped(cx: Arc<Context>) -> String {
        match room(cx).await {
            Err(Stop::Skip(reason)) => reason,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn without_being_asked_for_nobody_speaks() {
        let cx = Arc::into_inner(context(None, &[])).unwrap();
        let options = Options { audio: None, ..Options::default() };
        assert_eq!(skipped(Arc::new(Context { options, ..cx })).await, "nobody asked for it");
        assert!(skipped(context(None, &[])).await.contains("dialog.candidates"));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn sound_goes_through_turn_to_dialog_and_back_and_says_how_it_went() {
        let deployment = Deployment::start(Turn::Relay).await.unwrap();
        let cx = deployment.context().unwrap();
        cx.facts.addresses.learn(Name::ALL.map(|name| (name, vec![[127, 0, 0, 1].into()])).into());
        room_check::join(Arc::clone(&cx)).await.unwrap();
        tls::certificates(Arc::clone(&cx)).await.unwrap();
        dialog::candidates(Arc::clone(&cx)).await.unwrap();
        turn::allocate(Arc::clone(&cx)).await.unwrap();
        assert!(skipped(Arc::clone(&cx)).await.contains("nor through TURN"));
        media::relayed(Arc::clone(&cx)).await.unwrap();
        let findings = room(Arc::clone(&cx)).await.unwrap();
        let outcomes: Vec<_> = findings.iter().map(|f| f.code).collect();
        assert_eq!(outcomes, [Code::AudioTurnTls, Code::AudioTurnUdp], "{findings:#?}");
        assert!(findings.iter().all(|f| f.summary.contains("of 50 packets")), "{findings:#?}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn sound_goes_through_the_gateway_to_dialog_and_back() {
        let deployment = Deployment::start(Turn::Gateway).await.unwrap();
        let cx = deployment.context().unwrap();
        cx.facts.addresses.learn(Name::ALL.map(|name| (name, vec![[127, 0, 0, 1].into()])).into());
        room_check::join(Arc::clone(&cx)).await.unwrap();
        dialog::candidates(Arc::clone(&cx)).await.unwrap();
        gateway::paths(Arc::clone(&cx)).await.unwrap();
        let [finding] = &room(Arc::clone(&cx)).await.unwrap()[..] else { panic!("not one finding") };
        assert_eq!((finding.code, finding.status), (Code::AudioGateway, Status::Pass), "{finding:#?}");
        assert!(finding.summary.contains("of 50 packets"), "{finding:#?}");
    }
}
