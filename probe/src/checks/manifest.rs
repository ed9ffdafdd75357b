//! The manifest that the deployment was made from, and what the cluster has, looked through for what cannot work.

use std::sync::Arc;

use futures_util::future::join_all;

use crate::{
    check::{Context, Outcome, Stop},
    codes::Code,
    finding::{Finding, Status},
    lint::{self, Live, Shown},
    net::{Net, TlsError, Trust},
    target::HTTPS,
};

/// What is wrong with either. Beside what packets show, what is declared is no more than a warning: a file may be another cluster's,
/// and of what a cluster has, people may need nothing.
pub(crate) fn lint(cx: &Context) -> Outcome {
    let (manifest, cluster) = (&cx.options.manifest, &cx.options.cluster);
    if manifest.is_none() && cluster.is_none() {
        return Err(Stop::Skip("no manifest was given: --manifest hcce.yaml".to_owned()));
    }
    let of_file = manifest.iter().flat_map(|source| lint::lint(&source.name, &source.text).findings);
    let of_cluster = cluster.iter().flat_map(|live| lint::lint_live(live));
    let softened = |finding: Finding| {
        let status = if finding.status == Status::Fail { Status::Warn } else { finding.status };
        Finding { status, ..finding }
    };
    Ok(of_file.chain(of_cluster).map(softened).collect())
}

/// Whether hosts show the certificates that lie in the cluster.
pub(crate) async fn served(cx: Arc<Context>) -> Outcome {
    let Some(live) = &cx.options.cluster else {
        return Err(Stop::Skip("no cluster was given that could be asked what its secrets have".to_owned()));
    };
    Ok(compare(&cx.net, live).await)
}

/// Each host's certificate beside the one of its secret.
pub(crate) async fn compare(net: &Net, live: &Live) -> Vec<Finding> {
    let found = join_all(live.shown().iter().map(|shown| compare_one(net, shown))).await;
    found.into_iter().map(|it| live.named_in(it)).collect()
}

async fn compare_one(net: &Net, shown: &Shown) -> Finding {
    let code = Code::SecretsServed;
    let Shown { host, secret, certificate, place } = shown;
    let finding = match net.tls(host, HTTPS, Trust::Anything).await {
        Ok((_, presented)) if presented.chain.first() == Some(certificate) => {
            Finding::pass(code, format!("{host} shows the certificate of {secret}"))
        }
        Ok(_) => Finding::fail(code, format!("{host} shows another certificate than the one in {secret}"))
            .because("haproxy did not read the secret since it was written, shows its default certificate, or the name leads elsewhere")
            .fix(
                "Let haproxy read it again, and see whether the name leads to this cluster:",
                ["kubectl rollout restart deployment/haproxy -n hcce", "kubectl get service lb -n hcce"],
            ),
        Err(error) => Finding::error(code, unable(host, &error)),
    };
    finding.located_in(place).at(host)
}

fn unable(host: &str, error: &TlsError) -> String {
    format!("what {host} shows could not be compared with its secret: {error}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        target::Name,
        testing::{Authority, DOMAIN, context, tls_server},
    };

    #[tokio::test]
    async fn a_host_that_shows_another_certificate_than_its_secret_is_told() {
        let authority = Authority::new();
        let (shown, kept) = (authority.issue(&[DOMAIN], -1..60), authority.issue(&[DOMAIN], -1..60));
        let live = |pem: String| {
            let ingress = json!({ "metadata": { "name": "ret" }, "spec": { "tls": [{ "hosts": [DOMAIN], "secretName": "cert" }] } });
            let secret = json!({ "metadata": { "name": "cert" }, "stringData": { "tls.crt": pem } });
            Live::new("cluster".to_owned(), "rooms", [("Ingress", ingress), ("Secret", secret)])
        };
        let (of_shown, of_kept) = (live(shown.chain_pem()), live(kept.chain_pem()));
        let address = tls_server(shown, |_| async {}).await;
        let cx = context(Some(authority.root_pem()), &[(Name::Root, HTTPS, address)]);
        let found = compare(&cx.net, &of_shown).await;
        assert_eq!((found[0].code, found[0].status), (Code::SecretsServed, Status::Pass), "{found:?}");
        let found = compare(&cx.net, &of_kept).await;
        assert_eq!(found[0].status, Status::Fail, "{found:?}");
        let location = found[0].location.as_ref().map(|it| it.file.as_str());
        assert_eq!(location, Some("Ingress/rooms/ret spec.tls[0].secretName"));
        let commands = &found[0].remedy.as_ref().unwrap().commands;
        assert!(commands.iter().all(|it| it.ends_with(" -n rooms")), "{commands:?}");
        let nowhere = context(None, &[(Name::Root, HTTPS, ([127, 0, 0, 1], 1).into())]);
        assert_eq!(compare(&nowhere.net, &of_kept).await[0].status, Status::Error);
    }
}
