//! MX (RFC 5321 section 5): does mail to the sender's domain arrive anywhere? Azure does not need it to send, and receivers look
//! down on senders whom nobody can answer.

use super::{Domain, ask};
use crate::{
    check::Context,
    codes::Code,
    finding::Finding,
    net::{Data, Kind, Reply},
};

/// As many exchangers as are looked at; honest domains have fewer.
const MOST_EXCHANGERS: usize = 4;

pub(super) async fn judge(cx: &Context, domain: &Domain) -> Finding {
    let code = Code::MailExchanger;
    let name = &domain.name;
    let Some(reply) = ask(cx, name, Kind::Mx).await else {
        return Finding::error(code, format!("the resolver does not say who takes mail for {name}"));
    };
    let exchangers: Vec<_> = reply
        .answers
        .iter()
        .filter_map(|record| match &record.data {
            Data::Exchanger(host) => Some(host.as_str()),
            _ => None,
        })
        .take(MOST_EXCHANGERS)
        .collect();
    if exchangers.is_empty() {
        // RFC 5321 section 5.1: then the name itself is its exchanger.
        return nowhere(
            Finding::warn(code, format!("{name} has no MX record, so mail goes to its web server")),
            name,
        );
    }
    if exchangers.iter().all(|host| host.is_empty()) {
        return nowhere(
            Finding::warn(code, format!("{name} says that it wants no mail at all (a null MX)")),
            name,
        );
    }
    for host in &exchangers {
        if has_address(cx, host).await {
            return Finding::pass(code, format!("answers to login mail arrive at {host}"));
        }
    }
    nowhere(Finding::warn(code, format!("none of the exchangers of {name} has an address")), name)
        .seen("MX", exchangers.join(", "))
}

async fn has_address(cx: &Context, host: &str) -> bool {
    let (v4, v6) = tokio::join!(ask(cx, host, Kind::A), ask(cx, host, Kind::Aaaa));
    [v4, v6].iter().flatten().any(|reply: &Reply| !reply.addresses().is_empty())
}

fn nowhere(finding: Finding, name: &str) -> Finding {
    finding
        .because("reports of mail that was not delivered come to nobody, and large receivers look down on senders whom they cannot answer")
        .advise(format!("Enter an MX record for {name} that leads to a mail server which takes its mail"))
}
