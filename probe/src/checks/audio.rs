//! Sound: does what one person says come back through dialog to another one, over each way that media has?
//!
//! Both people are we, in a room of our own that nobody else is in, with the permission that the given room gave us. What is sent is
//! encrypted and decrypted as in a browser, and each packet is compared with what was sent.

mod talk;
mod way;

use std::{sync::Arc, time::Duration};

use futures_util::future::{join, join_all};

use self::{
    talk::{Obstacle, Signalling, talk},
    way::{Direct, Through, Ways},
};
use crate::{
    audio::Figures,
    check::{Context, Outcome, Stop},
    checks::turn::{LOG, PODS, holds, milliseconds},
    codes::Code,
    facts::TurnCertificate,
    finding::Finding,
    media::MediaError,
    protoo::ProtooError,
};

/// Above these sound begins to suffer: words get lost, or people talk into each other.
const MOST_LOSS: f32 = 0.05;
const LONGEST_ROUND_TRIP: Duration = Duration::from_millis(500);
const MOST_JITTER: Duration = Duration::from_millis(60);

const DIALOG: [&str; 2] =
    ["kubectl logs -n hcce deployment/dialog --tail=50", "kubectl rollout restart deployment dialog -n hcce"];

const NONE: [&str; 0] = [];

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
        let reason = "dialog answers neither directly nor through TURN, see ice.direct and turn.media";
        return Err(Stop::Skip(reason.to_owned()));
    }
    let signalling = Signalling { net: &cx.net, endpoint, token, length };
    let direct = join_all(ways.direct.iter().map(async |direct: &Direct| {
        judge(Code::AudioDirect, &talk(&signalling, direct).await, TurnCertificate::Accepted)
            .at(direct.to_string())
    }));
    let relayed = join_all(ways.through.iter().map(async |through: &Through<'_>| {
        judge(through.code(), &talk(&signalling, through).await, through.certificate())
            .at(through.to_string())
    }));
    let (mut findings, relayed) = join(direct, relayed).await;
    findings.extend(relayed);
    Ok(findings)
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
            .fix("Compare it with the other ways, and run the check from another network:", NONE)
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
