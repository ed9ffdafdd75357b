//! DMARC (RFC 7489): does the domain say what receivers shall do with mail that is not its own?

use super::{Domain, MISPLACED, ask, entered_as};
use crate::{
    check::Context,
    checks::dns::zone::ancestors,
    codes::Code,
    finding::Finding,
    net::{Kind, Reply},
};

pub(super) async fn judge(cx: &Context, domain: &Domain) -> Finding {
    let code = Code::DmarcPolicy;
    let name = &domain.name;
    // Without a record of its own, that of the organisation's domain holds (RFC 7489 section 6.6.3).
    let mut found = None;
    for above in ancestors(name) {
        let Some(reply) = ask(cx, &format!("_dmarc.{above}"), Kind::Txt).await else {
            return Finding::error(code, format!("the resolver does not say what is at _dmarc.{above}"));
        };
        let there = records(&reply);
        if !there.is_empty() {
            found = Some((above, there));
            break;
        }
    }
    let Some((owner, there)) = found else {
        let finding = Finding::warn(code, "no DMARC record says what shall become of mail that only pretends to come from here")
            .because("large receivers treat mail of such domains with suspicion, login mail included")
            .advise(format!("Enter, as a line of the zone file: _dmarc.{name}. TXT \"v=DMARC1; p=quarantine; rua=mailto:postmaster@{name}\""));
        return match domain.doubled(cx, &format!("_dmarc.{name}"), is_dmarc).await {
            Some(place) => finding.seen(MISPLACED, entered_as(&place)),
            None => finding,
        };
    };
    let [record] = there.as_slice() else {
        return Finding::warn(
            code,
            format!("there are {} DMARC records at _dmarc.{owner}, which is as good as none", there.len()),
        )
        .because("receivers that find more than one evaluate none of them (RFC 7489 section 6.6.3)")
        .advise("Delete all but one");
    };
    // A domain above may have a policy of its own for those below.
    let own = tag(record, "p");
    let policy = if owner == *name { own } else { tag(record, "sp").or(own) }.unwrap_or_default();
    let finding = match policy.as_str() {
        "quarantine" | "reject" => Finding::pass(
            code,
            format!("receivers are to {policy} mail that only pretends to come from here"),
        ),
        "none" => Finding::warn(
            code,
            "the DMARC record lets through mail that only pretends to come from here (p=none)",
        )
        .because("that is meant for the first weeks, while reports show who sends mail in this name")
        .advise("When the reports show nobody but Azure and those whom you know, set p=quarantine"),
        _ => Finding::warn(
            code,
            "the DMARC record has no policy that receivers understand, so it counts as none",
        )
        .because("its tag p has to be none, quarantine or reject")
        .advise("Set p=quarantine"),
    };
    finding.seen(&format!("_dmarc.{owner}"), record)
}

fn records(reply: &Reply) -> Vec<String> {
    reply.texts().filter(|text| is_dmarc(text)).map(str::to_owned).collect()
}

fn is_dmarc(text: &str) -> bool {
    text.split(';').next().is_some_and(|first| first.replace(' ', "").eq_ignore_ascii_case("v=DMARC1"))
}

fn tag(record: &str, wanted: &str) -> Option<String> {
    record.split(';').find_map(|part| {
        let (name, value) = part.split_once('=')?;
        name.trim().eq_ignore_ascii_case(wanted).then(|| value.trim().to_ascii_lowercase())
    })
}
