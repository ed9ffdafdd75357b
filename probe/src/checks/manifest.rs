//! The manifest that the deployment was made from, and what the cluster has, looked through for what cannot work.

use std::sync::Arc;

use futures_util::future::join_all;

use crate::{
    check::{Context, Outcome, Stop},
    codes::Code,
    facts::RoomFacts,
    finding::{Finding, Status},
    lint::{self, Live, Shown, ShownBy},
    net::{Net, Trust},
    target::{DIALOG, HTTPS, TURN},
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
    Ok(compare(&cx.net, live, cx.facts.room.get().ok()).await)
}

/// The certificate of each host on each port where browsers meet it, beside the one of its secret. Without a room the ports are those
/// that Hubs has.
pub(crate) async fn compare(net: &Net, live: &Live, room: Option<&RoomFacts>) -> Vec<Finding> {
    let places = live.shown().into_iter().flat_map(|shown| {
        let room = room.filter(|room| room.host == shown.host);
        let ports = match shown.by {
            ShownBy::Pages => vec![HTTPS],
            ShownBy::Dialog => vec![room.map_or(DIALOG, |room| room.port)],
            ShownBy::IngressOfTurn | ShownBy::Turn => {
                room.and_then(|room| room.turn.as_ref()).map_or_else(|| vec![TURN], |turn| turn.ports.clone())
            }
        };
        ports.into_iter().map(move |port| (shown.clone(), port))
    });
    let found = join_all(places.map(|(shown, port)| compare_one(net, shown, port))).await;
    found.into_iter().map(|it| live.named_in(it)).collect()
}

async fn compare_one(net: &Net, shown: Shown, port: u16) -> Finding {
    let code = Code::SecretsServed;
    let Shown { host, by, secret, certificate, place } = &shown;
    let at = match by {
        ShownBy::Pages => host.clone(),
        ShownBy::Dialog => format!("wss://{host}:{port}"),
        ShownBy::IngressOfTurn | ShownBy::Turn => format!("turns:{host}:{port}"),
    };
    let finding = match net.tls(host, port, Trust::Anything).await {
        Ok((_, presented)) if presented.chain.first() == Some(certificate) => {
            Finding::pass(code, format!("{at} shows the certificate of {secret}"))
        }
        Ok(_) => unlike(&at, &shown),
        Err(error) => {
            Finding::error(code, format!("what {at} shows could not be compared with its secret: {error}"))
        }
    };
    finding.located_in(place).at(at)
}

fn unlike(at: &str, shown: &Shown) -> Finding {
    let fail = Finding::fail(
        Code::SecretsServed,
        format!("{at} shows another certificate than the one in {}", shown.secret),
    );
    match shown.by {
        ShownBy::Turn => fail
            .because("the TURN server did not read the secret since it was written, which coturn never does by itself, or the port leads elsewhere")
            .fix(
                "Let it read the secret again, and see what is behind the port:",
                [
                    "kubectl rollout restart deployment/coturn -n hcce",
                    "kubectl get configmap haproxy-tcp-config -n hcce -o yaml",
                ],
            ),
        ShownBy::Pages | ShownBy::Dialog | ShownBy::IngressOfTurn => fail
            .because("haproxy did not read the secret since it was written, shows its default certificate, or the name leads elsewhere")
            .fix(
                "Let haproxy read it again, and see whether the name leads to this cluster:",
                ["kubectl rollout restart deployment/haproxy -n hcce", "kubectl get service lb -n hcce"],
            ),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        facts::RoomTurn,
        target::Name,
        testing::{Authority, DOMAIN, Identity, context, tls_server},
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
        let found = compare(&cx.net, &of_shown, None).await;
        assert_eq!((found[0].code, found[0].status), (Code::SecretsServed, Status::Pass), "{found:?}");
        let found = compare(&cx.net, &of_kept, None).await;
        assert_eq!(found[0].status, Status::Fail, "{found:?}");
        let location = found[0].location.as_ref().map(|it| it.file.as_str());
        assert_eq!(location, Some("Ingress/rooms/ret spec.tls[0].secretName"));
        let commands = &found[0].remedy.as_ref().unwrap().commands;
        assert!(commands.iter().all(|it| it.ends_with(" -n rooms")), "{commands:?}");
        let nowhere = context(None, &[(Name::Root, HTTPS, ([127, 0, 0, 1], 1).into())]);
        assert_eq!(compare(&nowhere.net, &of_kept, None).await[0].status, Status::Error);
    }

    /// A cluster in which a pod in coturn's place mounts the secret `mounted`, if any, and haproxy has this for TURN.
    fn cluster(of_stream: &Identity, mounted: Option<(&str, &Identity)>, turn: &str) -> Live {
        let stream = format!("stream.{DOMAIN}");
        let ingress = json!({ "metadata": { "name": "dialog" }, "spec": { "tls": [{ "hosts": [stream], "secretName": "cert-stream" }] } });
        let secret = |name: &str, identity: &Identity| {
            (
                "Secret",
                json!({ "metadata": { "name": name }, "stringData": { "tls.crt": identity.chain_pem() } }),
            )
        };
        let volumes = mounted.map(|(name, _)| json!({ "name": "certs", "secret": { "secretName": name } }));
        let volumes: Vec<_> = volumes.into_iter().collect();
        let pod = json!({ "metadata": { "name": "coturn" }, "spec": { "template": { "spec": {
            "containers": [{ "name": "coturn", "image": "hubs-relay" }], "volumes": volumes } } } });
        let map = json!({ "metadata": { "name": "haproxy-tcp-config" }, "data": { "5349": turn } });
        let objects =
            [("Ingress", ingress), secret("cert-stream", of_stream), ("Deployment", pod), ("ConfigMap", map)];
        let mounted = mounted.map(|(name, identity)| secret(name, identity));
        Live::new("cluster".to_owned(), "rooms", objects.into_iter().chain(mounted))
    }

    /// What is said of each place, where pages, dialog and TURN show these.
    async fn said(shown: [&Identity; 3], live: &Live) -> Vec<(String, Status, String)> {
        let mut detours = Vec::new();
        for (port, identity) in [HTTPS, DIALOG, TURN].into_iter().zip(shown) {
            detours.push((Name::Stream, port, tls_server(identity.clone(), |_| async {}).await));
        }
        let found = compare(&context(None, &detours).net, live, None).await;
        let command = |it: &Finding| it.remedy.as_ref().map(|remedy| remedy.commands[0].clone());
        found
            .iter()
            .map(|it| (it.target.clone().unwrap(), it.status, command(it).unwrap_or_default()))
            .collect()
    }

    #[tokio::test]
    async fn each_port_is_held_against_the_secret_that_it_has_to_show() {
        let authority = Authority::new();
        let stream = format!("stream.{DOMAIN}");
        let [old, new, own] = [(); 3].map(|()| authority.issue(&[&stream], -1..60));
        let (wss, turns) = (format!("wss://{stream}:4443"), format!("turns:{stream}:5349"));
        let pass = |place: &str| (place.to_owned(), Status::Pass, String::new());
        let fail = |place: &str, deployment: &str| {
            let restart = format!("kubectl rollout restart deployment/{deployment} -n rooms");
            (place.to_owned(), Status::Fail, restart)
        };
        // TURN has what the pod mounts, which may be a secret of its own.
        let passed_on = "hcce/coturn:5349";
        let mounts_streams = cluster(&new, Some(("cert-stream", &new)), passed_on);
        let expected = [pass(&stream), fail(&wss, "haproxy"), fail(&turns, "coturn")];
        assert_eq!(said([&new, &old, &old], &mounts_streams).await, expected);
        let mounts_own = cluster(&new, Some(("turn", &own)), passed_on);
        assert_eq!(said([&new, &new, &own], &mounts_own).await, [pass(&stream), pass(&wss), pass(&turns)]);
        // For one that mounts nothing no secret is meant, unless haproxy does TLS for it.
        let shipped = cluster(&new, None, passed_on);
        assert_eq!(said([&new, &new, &own], &shipped).await, [pass(&stream), pass(&wss)]);
        let behind_tls = cluster(&new, None, "hcce/coturn:5349:ssl");
        assert_eq!(said([&new, &new, &own], &behind_tls).await[2], fail(&turns, "haproxy"));
    }

    #[tokio::test]
    async fn where_a_room_sends_browsers_elsewhere_that_is_where_the_certificate_is_looked_for() {
        let authority = Authority::new();
        let stream = format!("stream.{DOMAIN}");
        let new = authority.issue(&[&stream], -1..60);
        let turn = RoomTurn { username: "u".to_owned(), credential: "c".to_owned(), ports: vec![443, 5349] };
        let room = RoomFacts { host: stream.clone(), port: 444, turn: Some(turn), perms_token: None };
        let live = cluster(&new, Some(("cert-stream", &new)), "hcce/coturn:5349");
        // Nobody listens there.
        let closed = ([127, 0, 0, 1], 1).into();
        let detours = [443, 444, 5349].map(|port| (Name::Stream, port, closed));
        let found = compare(&context(None, &detours).net, &live, Some(&room)).await;
        let places: Vec<_> = found.iter().filter_map(|it| it.target.clone()).collect();
        let expected = ["", ":444", ":443", ":5349"].map(|port| format!("{stream}{port}"));
        let places: Vec<_> =
            places.iter().map(|it| it.trim_start_matches("wss://").trim_start_matches("turns:")).collect();
        assert_eq!(places, expected);
    }
}
