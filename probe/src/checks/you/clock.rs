//! This machine's clock against the server's: credentials live for two minutes and certificates for weeks, and both are judged by
//! a clock.

use std::sync::Arc;

use time::{Duration, OffsetDateTime};

use crate::{
    check::{Context, Outcome, Stop},
    checks::clock,
    codes::Code,
    finding::Finding,
    target::Name,
};

/// An answer may be underway for some seconds, and TURN credentials live for 120.
const APART: Duration = Duration::seconds(60);

pub(crate) async fn agrees(cx: Arc<Context>) -> Outcome {
    cx.facts.has_address(Name::Root)?;
    match clock::of_server(&cx).await {
        Some(there) => Ok(vec![judge(OffsetDateTime::now_utc(), there)]),
        None => Err(Stop::Skip("the server does not say what time it is there, see http.hubs".to_owned())),
    }
}

fn judge(here: OffsetDateTime, there: OffsetDateTime) -> Finding {
    let code = Code::ClockAgrees;
    let apart = (here - there).whole_seconds();
    if apart.unsigned_abs() <= APART.whole_seconds().unsigned_abs() {
        return Finding::pass(code, "this machine's clock agrees with the server's");
    }
    let side = if apart > 0 { "ahead of" } else { "behind" };
    Finding::warn(code, format!("this machine's clock is {} s {side} the server's", apart.abs()))
        .seen("here", here.replace_nanosecond(0).unwrap_or(here))
        .seen("there", there)
        .because("one of the two is wrong; dates of certificates and credentials are then misjudged by whoever is")
        .fix(
            "Compare with a clock that you trust. Set this machine's by the network, or look at that of the cluster's nodes:",
            ["timedatectl set-ntp true", "kubectl exec -n hcce deploy/reticulum -c reticulum -- date -u"],
        )
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::{
        finding::Status,
        target::HTTPS,
        testing::{Authority, DOMAIN, context, tls_server},
    };

    #[test]
    fn seconds_on_the_way_are_no_difference_and_minutes_are() {
        let now = OffsetDateTime::UNIX_EPOCH + Duration::days(20_000);
        for (apart, status) in
            [(0, Status::Pass), (-5, Status::Pass), (61, Status::Warn), (-600, Status::Warn)]
        {
            let finding = judge(now + Duration::seconds(apart), now);
            assert_eq!(
                (finding.status, finding.remedy.is_some()),
                (status, status == Status::Warn),
                "{apart}"
            );
        }
    }

    #[tokio::test]
    async fn the_servers_word_is_its_date_header() {
        let authority = Authority::new();
        let server = async |date: &'static str| {
            tls_server(authority.issue(&[DOMAIN], -1..60), move |mut stream| async move {
                let _ = stream.read(&mut [0; 1024]).await;
                let answer = format!("HTTP/1.1 200 OK\r\nDate: {date}\r\nContent-Length: 0\r\n\r\n");
                let _ = stream.write_all(answer.as_bytes()).await;
            })
            .await
        };
        let found = async |date| {
            agrees(context(Some(authority.root_pem()), &[(Name::Root, HTTPS, server(date).await)])).await
        };
        let wrong = found("Sun, 06 Nov 1994 08:49:37 GMT").await.unwrap();
        assert_eq!((wrong[0].code, wrong[0].status), (Code::ClockAgrees, Status::Warn));
        assert!(matches!(found("yesterday").await, Err(Stop::Skip(_))));
    }
}
