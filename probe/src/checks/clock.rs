//! What time it is where Hubs runs, as far as it says so.

use time::{OffsetDateTime, PrimitiveDateTime, macros::format_description};

use crate::{
    check::Context,
    net::{Answer, Trust},
    target::{HTTPS, Name},
};

/// The clock of the domain's web server, to the second.
pub(super) async fn of_server(cx: &Context) -> Option<OffsetDateTime> {
    let host = cx.target.host(Name::Root);
    said(&cx.net.get(&host, HTTPS, "/health", Trust::Anything).await.ok()?)
}

/// The date that an answer carries.
fn said(answer: &Answer) -> Option<OffsetDateTime> {
    // RFC 9110 section 5.6.7: this form, always in GMT.
    let form = format_description!(
        "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
    );
    Some(PrimitiveDateTime::parse(answer.header("date")?, form).ok()?.assume_utc())
}
