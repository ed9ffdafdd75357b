//! Ports besides those of web pages: company networks and hotels let out 80 and 443 and nothing else, and then dialog and TURN
//! are silent from here, whatever the server does.
//!
//! What the deployment's own ports do may be the deployment's fault. The zone's name servers, which have nothing to do with it,
//! tell the two apart.

use std::sync::Arc;

use futures_util::future::join_all;

use crate::{
    check::{Context, Outcome},
    codes::Code,
    facts::NameServers,
    finding::Finding,
    target::{HTTPS, Name, TURN},
};

pub(crate) async fn leave(cx: Arc<Context>) -> Outcome {
    cx.facts.has_address(Name::Stream)?;
    let signalling = cx.facts.signalling(&cx.target);
    let turn = cx.facts.room.get().ok().and_then(|room| room.turn.as_ref());
    let turn = turn.map_or(&[TURN][..], |turn| &turn.ports);
    let mut ports = [&[HTTPS, signalling.port], turn].concat();
    ports.sort_unstable();
    ports.dedup();
    let opened = join_all(ports.iter().map(|port| cx.net.connect(&signalling.host, *port))).await;
    let opened: Vec<_> = ports.into_iter().zip(opened).map(|(port, stream)| (port, stream.is_ok())).collect();
    Ok(vec![judge(&opened, cx.facts.name_servers.get().ok())])
}

/// `opened` is which ports of the deployment let us in.
fn judge(opened: &[(u16, bool)], names: Option<&NameServers>) -> Finding {
    let code = Code::PortsLeave;
    let list = |wanted: bool| {
        let ports = opened.iter().filter(|(port, is_open)| *port != HTTPS && *is_open == wanted);
        ports.map(|(port, _)| port.to_string()).collect::<Vec<_>>()
    };
    let (open, closed) = (list(true), list(false));
    if closed.is_empty() || !open.is_empty() {
        return Finding::pass(code, "this network lets out more than web pages");
    }
    if !opened.contains(&(HTTPS, true)) {
        return Finding::skip(code, "port 443 does not let us in either, see tls.certificates");
    }
    match names {
        Some(names) if names.over_udp + names.over_tcp_only > 0 => Finding::pass(
            code,
            "this network lets out more than web pages: the zone's name servers answer",
        ),
        Some(names) if names.silent > 0 => Finding::warn(
            code,
            format!("this network lets out web pages, and seems to let out nothing else: TCP {} is closed", closed.join(", ")),
        )
        .seen("port 443", "open")
        .seen("name servers", format!("{} are silent, over UDP and TCP", names.silent))
        .because("its firewall knows 80 and 443 only; that dialog and TURN are silent from here says nothing about the server")
        .advise(format!("Ask whoever runs this network to let out TCP {}, or run the check from another network, such as a phone's", closed.join(", "))),
        _ => Finding::skip(
            code,
            "only port 443 of the deployment lets us in, and nobody else is known whose silence would tell whether that is this network's doing",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        finding::Status,
        target::DIALOG,
        testing::{context, tcp_server},
    };

    const SILENT: NameServers = NameServers { over_udp: 0, over_tcp_only: 0, over_ipv6: false, silent: 2 };
    const ANSWERING: NameServers = NameServers { over_udp: 2, ..SILENT };

    fn status(open: &[u16], names: Option<&NameServers>) -> Status {
        let opened = [HTTPS, DIALOG, TURN].map(|port| (port, open.contains(&port)));
        let finding = judge(&opened, names);
        assert_eq!(finding.remedy.is_some(), finding.status == Status::Warn, "{finding:#?}");
        finding.status
    }

    #[test]
    fn one_other_port_that_is_open_shows_that_the_network_is() {
        assert_eq!(status(&[HTTPS, TURN], Some(&SILENT)), Status::Pass);
        assert_eq!(status(&[DIALOG], None), Status::Pass);
    }

    #[test]
    fn the_network_is_to_blame_only_if_others_are_silent_as_well() {
        assert_eq!(status(&[HTTPS], Some(&SILENT)), Status::Warn);
        assert_eq!(status(&[HTTPS], Some(&ANSWERING)), Status::Pass);
        assert_eq!(status(&[HTTPS], None), Status::Skip);
        assert_eq!(status(&[HTTPS], Some(&NameServers { silent: 0, ..SILENT })), Status::Skip);
        assert_eq!(status(&[], Some(&SILENT)), Status::Skip);
    }

    #[tokio::test]
    async fn each_port_that_a_browser_uses_is_tried() {
        let open = tcp_server(|_| std::future::ready(())).await;
        // Bound and closed again: nobody listens there now.
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let places =
            |turn| [(Name::Stream, HTTPS, open), (Name::Stream, DIALOG, closed), (Name::Stream, TURN, turn)];
        for (turn, status) in [(open, Status::Pass), (closed, Status::Warn)] {
            let cx = context(None, &places(turn));
            cx.facts.name_servers.learn(SILENT);
            let findings = leave(cx).await.unwrap();
            assert_eq!((findings[0].code, findings[0].status), (Code::PortsLeave, status), "{findings:#?}");
        }
    }
}
