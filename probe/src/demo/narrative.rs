//! What the demo tells about itself, for somebody who has never heard of TURN.

use std::fmt::Write as _;

use super::{Deployment, Play, Scene, Turn, deployment::ANNOUNCED, turn};
use crate::report::human::{self, Style};

/// What there is to say when a scene changes.
pub(crate) fn scene(scene: &Scene<'_>, style: Style) -> String {
    match scene {
        Scene::Begins(Turn::Shipped, deployment) => opening(deployment, style),
        Scene::Begins(Turn::Relay, deployment) => exchange(deployment, style),
        Scene::Ends(report) => human::render(report, style),
    }
}

/// What there is to say at the end.
pub(crate) fn end(play: &Play, style: Style) -> String {
    let mut text = format!("\n{}\n", style.heading("What you saw"));
    for (when, report) in ["as shipped", "with hubs-relay"].into_iter().zip(play.reports()) {
        let _ = writeln!(text, "  {when:<15}  {}", report.verdict.headline);
    }
    text += if play.went_as_announced() {
        "\nYour own deployment:  hubs-probe check <domain> --room <a room's URL>\n"
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
  DNS       {dns:<17} knows the four names of {domain}
  ingress   {front:<17} pages, rooms, and dialog's signalling, over HTTPS
  dialog    {announced:<17} the media server; this is where it says that it is
  TURN      {turn:<17} carries media for whoever cannot reach dialog

{heading}

  A browser sends voice straight to dialog. Here as in a cluster nobody ever arrives at {announced}: it is the
  address with which the cluster goes out, and nothing leads in there. What is left is TURN, and Hubs ships it with
  a certificate that browsers refuse. See what `hubs-probe check` makes of that:\n\n",
        title = style.heading("A deployment of Hubs in this process, on loopback"),
        heading = style.heading("Act one: as Hubs ships it"),
        dns = deployment.resolver(),
        front = deployment.front(),
        announced = ANNOUNCED,
        turn = deployment.turn_address(),
        domain = deployment.target(),
    )
}

fn exchange(deployment: &Deployment, style: Style) -> String {
    let peers = turn::peers(ANNOUNCED).replace('\n', "\n    ");
    format!(
        "\n{heading}

  The same port {port}, the same logins, and dialog is what it was. New is who answers there: hubs-relay, with the
  real certificate of stream.{domain}, with the secret by which Reticulum makes logins, and with two lines that say
  whom it may reach and where {ANNOUNCED} really is:

    {peers}

  The same check again:\n\n",
        heading = style.heading("Act two: hubs-relay in TURN's place"),
        port = deployment.turn_address().port(),
        domain = deployment.target(),
    )
}
