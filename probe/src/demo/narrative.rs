//! What the demo tells about itself, for somebody who has never heard of TURN.

use std::fmt::Write as _;

use super::{Deployment, Play, Scene, Turn, deployment::ANNOUNCED, turn};
use crate::report::human::{self, Style};

/// What there is to say when a scene changes.
pub(crate) fn scene(scene: &Scene<'_>, style: Style) -> String {
    match scene {
        Scene::Begins(Turn::Shipped, deployment) => opening(deployment, style),
        Scene::Begins(Turn::Relay, deployment) => exchange(deployment, style),
        Scene::Begins(Turn::Gateway, deployment) => gateway(deployment, style),
        Scene::Ends(report) => human::render(report, style),
    }
}

/// What there is to say at the end; nothing to somebody who has ended it.
pub(crate) fn end(play: &Play, style: Style) -> String {
    if play.was_interrupted() {
        return String::new();
    }
    let mut text = format!("\n{}\n", style.heading("What you saw"));
    for (when, report) in
        ["as shipped", "with hubs-relay", "with its gateway"].into_iter().zip(play.reports())
    {
        let _ = writeln!(text, "  {when:<16}  {}", style.wrapped(&report.verdict.headline, 20, 20));
    }
    text += if play.went_as_announced() {
        "\nYour own deployment:  hubs-probe check DOMAIN --room https://DOMAIN/ROOM\n"
    } else {
        "\nThat is not how the demo should go. Please report it, with what `hubs-probe demo --output json` says.\n"
    };
    text
}

/// What there is to say while the deployment waits for somebody who looks at it.
pub(crate) fn serving(deployment: &Deployment, turn: Turn, program: &str) -> String {
    let state = match turn {
        Turn::Shipped => "TURN is as Hubs ships it",
        Turn::Relay => "hubs-relay is in TURN's place",
        Turn::Gateway => "hubs-relay is in TURN's place, and its media gateway in front of dialog",
    };
    let mut text =
        format!("{} runs in this process until Ctrl-C; {state}. In another terminal:\n", deployment.target());
    for verb in ["check", "watch"] {
        let _ = writeln!(text, "\n  {}", deployment.command(program, verb).join(" \\\n    "));
    }
    text
}

fn opening(deployment: &Deployment, style: Style) -> String {
    format!(
        "{title}\n
  DNS      {dns:<16} knows the four names of {domain}
  ingress  {front:<16} pages, rooms and dialog's signalling, over HTTPS
  dialog   {ANNOUNCED:<16} the media server; this is where it says that it is
  TURN     {turn:<16} carries voice for whoever cannot reach dialog\n
{act}\n
{story}\n
  hubs-probe check {domain}\n\n",
        title = style.heading("A deployment of Hubs in this process, on loopback"),
        act = style.heading("Act one: as Hubs ships it"),
        dns = deployment.resolver().to_string(),
        front = deployment.front().to_string(),
        turn = deployment.turn_address().to_string(),
        domain = deployment.target(),
        story = paragraph(
            style,
            &format!(
                "A browser sends voice straight to dialog. Here, as in a cluster, nobody ever arrives at {ANNOUNCED}: it is \
             the address with which the cluster goes out, and nothing leads in there. What is left is TURN, and Hubs \
             ships that with a certificate that browsers refuse. Does the probe find it?"
            )
        ),
    )
}

fn exchange(deployment: &Deployment, style: Style) -> String {
    let domain = deployment.target();
    format!(
        "\n{act}\n\n{story}\n\n    {peers}\n\n  hubs-probe check {domain}\n\n",
        act = style.heading("Act two: hubs-relay in TURN's place"),
        peers = turn::peers(ANNOUNCED).replace('\n', "\n    "),
        story = paragraph(
            style,
            &format!(
                "Port {} is the same, and dialog is what it was. New is who answers: hubs-relay, with the real certificate of \
             stream.{domain}, the secret by which Reticulum makes logins, and two lines that say whom it may reach, and \
             where {ANNOUNCED} really is:",
                deployment.turn_address().port()
            )
        ),
    )
}

fn gateway(deployment: &Deployment, style: Style) -> String {
    let domain = deployment.target();
    format!(
        "\n{act}\n\n{story}\n\n    {told}\n\n  hubs-probe check {domain}\n\n",
        act = style.heading("Act three: hubs-relay as the media gateway"),
        told = turn::told().replace('\n', "\n    "),
        story = paragraph(
            style,
            "TURN is a detour, and wraps what it carries. Now hubs-relay stands in front of dialog's signalling as well, and tells \
             browsers of one port of its own, where it hands their media to dialog as it is: over UDP, and over TCP for those whose \
             network lets no UDP out. Browsers and dialog are what they were:"
        ),
    )
}

fn paragraph(style: Style, text: &str) -> String {
    format!("  {}", style.wrapped(text, 2, 2))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{End, Report, tests::sample};

    const PLAIN: Style = Style { colour: false, ascii: true, columns: Style::COLUMNS };

    #[tokio::test]
    async fn the_story_fits_a_screen_and_needs_neither_colour_nor_unicode() {
        let deployment = Deployment::start(Turn::Shipped).await.unwrap();
        for turn in [Turn::Shipped, Turn::Relay, Turn::Gateway] {
            let text = scene(&Scene::Begins(turn, &deployment), PLAIN);
            assert!(text.is_ascii() && !text.contains('\x1b'), "{text}");
            assert!(text.lines().all(|line| line.len() <= 110), "{text}");
            let coloured = scene(&Scene::Begins(turn, &deployment), Style { colour: true, ..PLAIN });
            assert!(coloured.contains("\x1b[1mAct "), "{coloured}");
        }
    }

    #[test]
    fn to_somebody_who_interrupts_there_is_nothing_more_to_say() {
        let interrupted = Report { end: End::Interrupted, ..sample() };
        assert_eq!(end(&Play { reports: vec![interrupted] }, PLAIN), "");
    }

    #[test]
    fn a_play_that_does_not_go_as_announced_says_so() {
        let text = end(&Play { reports: vec![sample()] }, PLAIN);
        assert!(text.contains(&sample().verdict.headline[..40]), "{text}");
        assert!(text.contains("That is not how the demo should go."), "{text}");
    }
}
