//! The pages: which hosts do they tell browsers to use, and does their policy let browsers reach these?

use std::sync::Arc;

use futures_util::future::join_all;
use url::Url;

use crate::{
    check::{Context, Outcome, Stop},
    checks::no_connection,
    codes::Code,
    csp::Policies,
    facts::{DialogFacts, Entity, PageFacts},
    finding::Finding,
    html::Page,
    net::{Answer, HttpError, Scheme, Trust},
    target::{HTTPS, Name, Target},
};

const GENERATE: [&str; 3] =
    ["npm run gen-hcce", "kubectl apply -f hcce.yaml", "kubectl rollout restart deployment -n hcce"];

// A refused certificate has its own finding; what is behind it is looked at all the same.
pub(crate) async fn pages(cx: Arc<Context>) -> Outcome {
    cx.facts.has_address(Name::Root)?;
    cx.facts.reticulum.get()?;
    let mut wanted = vec![(Entity::Home, "/".to_owned())];
    wanted.extend(cx.room.iter().map(|room| (Entity::Room, format!("/{}", room.sid()))));
    wanted.push((Entity::Spoke, "/spoke".to_owned()));
    let got = join_all(wanted.iter().map(|(entity, path)| read(&cx, *entity, path))).await;

    let signalling = cx.facts.signalling(&cx.target);
    let mut pages = Vec::new();
    let mut findings = Vec::new();
    for answer in got {
        match answer {
            Ok((facts, policies)) => {
                if facts.entity != Entity::Spoke {
                    findings.push(judge_hosts(&facts.page, &cx.target).at(&facts.url));
                    findings.push(
                        judge_policy(&policies, &facts.url, &needs(&cx.target, &signalling)).at(&facts.url),
                    );
                }
                pages.push(facts);
            }
            Err(Nothing { entity: Entity::Home, error: Some(HttpError::Tls(e)) }) => {
                return Err(no_connection(&e));
            }
            // A room's or Spoke's page that is missing alone; what that means others say.
            Err(_) => {}
        }
    }
    if pages.iter().all(|page| page.entity == Entity::Spoke) {
        return Err(Stop::Skip(format!("there is no page of Hubs, see {}", Code::HubsName)));
    }
    cx.facts.pages.learn(pages);
    Ok(findings)
}

/// Why there is no page.
struct Nothing {
    entity: Entity,
    error: Option<HttpError>,
}

async fn read(cx: &Context, entity: Entity, mut path: &str) -> Result<(PageFacts, Policies), Nothing> {
    let host = cx.target.host(Name::Root);
    let mut site = cx.net.site(Scheme::Https, &host, HTTPS, Trust::Anything);
    let nothing = |error| Nothing { entity, error };
    let mut answer = site.get(path).await.map_err(|e| nothing(Some(e)))?;
    if entity == Entity::Home && answer.status.is_redirection() {
        // Before the first account is made, the domain leads to its administration. This page is there from the beginning.
        path = "/signin";
        answer = site.get(path).await.map_err(|e| nothing(Some(e)))?;
    }
    let url = Url::parse(&format!("https://{host}{path}")).map_err(|_| nothing(None))?;
    let page = Page::read(&answer.text(), &url);
    let is_hubs =
        answer.header("hub-name").is_some() || page.settings.keys().any(|name| name.starts_with("env:"));
    if !(answer.status.is_success() && is_hubs) {
        return Err(nothing(None));
    }
    Ok((PageFacts { entity, url, page }, policies(&answer)))
}

fn policies(answer: &Answer) -> Policies {
    let headers = answer.headers.get_all("content-security-policy");
    Policies::read(headers.iter().filter_map(|value| value.to_str().ok()))
}

/// A setting of the pages, as Hubs' manifest makes it.
struct Setting {
    name: &'static str,
    value: String,
    /// Whether rooms do not open without it.
    needed: bool,
}

fn settings(target: &Target) -> [Setting; 5] {
    let setting = |name, value, needed| Setting { name, value, needed };
    let (root, assets, cors) = (target.host(Name::Root), target.host(Name::Assets), target.host(Name::Cors));
    [
        setting("env:base_assets_path", format!("https://{assets}/hubs/"), true),
        setting("env:reticulum_server", root.clone(), true),
        setting("ret:phx_host", root, true),
        setting("env:cors_proxy_server", cors.clone(), false),
        setting("env:thumbnail_server", format!("{cors}/nearspark"), false),
    ]
}

fn judge_hosts(page: &Page, target: &Target) -> Finding {
    let code = Code::PageHosts;
    if let Some(placeholder) = &page.placeholder {
        return Finding::fail(code, "the page names no place for its program: browsers show an empty page")
            .seen("in its place", placeholder)
            .because("the pod of hubs was started with another program than its own, which fills that in")
            .fix(
                "Look at its log, and restart it:",
                [
                    "kubectl logs -n hcce deploy/hubs --tail=50",
                    "kubectl rollout restart deployment hubs -n hcce",
                ],
            );
    }
    let (mut wrong, mut broken) = (Vec::new(), false);
    for Setting { name, value, needed } in settings(target) {
        let Some(said) = page.settings.get(name).filter(|said| !is_same(said, &value)) else { continue };
        wrong.push((name, said, value));
        broken |= needed;
    }
    if wrong.is_empty() {
        return Finding::pass(code, "the page names the hosts of this domain");
    }
    let names: Vec<_> = wrong.iter().map(|(name, ..)| *name).collect();
    let summary =
        format!("the page sends browsers to other hosts than those of {target}: {}", names.join(", "));
    let finding = if broken { Finding::fail(code, summary) } else { Finding::warn(code, summary) };
    let finding = finding
        .because("HUB_DOMAIN was another one when the manifest was generated, or the pods of hubs were not restarted since")
        .fix("Generate and apply the manifest again, then restart all pods:", GENERATE);
    wrong.into_iter().fold(finding, |finding, (name, said, value)| {
        finding.seen(name, format!("{said} (Hubs has {value})"))
    })
}

/// Whether two settings lead to the same place.
fn is_same(said: &str, expected: &str) -> bool {
    let bare = |text: &str| text.trim_end_matches('/').trim_end_matches(":443").to_ascii_lowercase();
    bare(said) == bare(expected)
}

/// What a page must be allowed, under which directive, and whether nobody hears anybody without it.
fn needs(target: &Target, signalling: &DialogFacts) -> Vec<(&'static str, String, bool)> {
    let host = |name| target.host(name);
    let DialogFacts { host: dialog, port } = signalling;
    vec![
        ("connect-src", format!("wss://{dialog}:{port}"), true),
        ("connect-src", format!("wss://{}/socket/websocket", host(Name::Root)), true),
        ("script-src", format!("https://{}/hubs/", host(Name::Assets)), true),
        ("connect-src", format!("https://{}/hubs/", host(Name::Assets)), false),
        ("style-src", format!("https://{}/hubs/", host(Name::Assets)), false),
        ("img-src", format!("https://{}/hubs/", host(Name::Assets)), false),
        ("connect-src", format!("https://{}/https:", host(Name::Cors)), false),
        ("img-src", format!("https://{}/nearspark/", host(Name::Cors)), false),
    ]
}

fn judge_policy(policies: &Policies, page: &Url, needs: &[(&'static str, String, bool)]) -> Finding {
    let code = Code::PagePolicy;
    let mut forbidden = Vec::new();
    let mut silences = false;
    for (directive, url, needed) in needs {
        let Some(by) = url.parse().ok().and_then(|parsed| policies.forbids(directive, &parsed, page)) else {
            continue;
        };
        silences |= *needed;
        forbidden.push(format!("{url} (by {by})"));
    }
    let Some(first) = forbidden.first() else {
        return Finding::pass(code, "the page's security policy lets browsers reach dialog and all else");
    };
    let summary = format!("the page's security policy keeps browsers from {first}");
    let finding = if silences { Finding::fail(code, summary) } else { Finding::warn(code, summary) };
    finding
        .seen("forbidden", forbidden.join(", "))
        .because("Reticulum makes the policy from default_janus_host and janus_port, from assets_url and cors_proxy_url, and from what was added under Content Security Policy")
        .fix("Look at these in Reticulum's configuration, and restart it:", [
            "kubectl get configmap ret-config -n hcce -o yaml",
            "kubectl rollout restart deployment reticulum -n hcce",
        ])
}

#[cfg(test)]
mod tests {
    use std::iter;

    use super::*;
    use crate::{
        finding::Status,
        testing::{Authority, DOMAIN, context, web_server},
    };

    const HEADERS: &str = "content-type: text/html\r\nhub-name: My Hub\r\n";

    fn page_for(domain: &str) -> String {
        format!(
            "<meta name='env:base_assets_path' content='https://assets.{domain}/hubs/'>\
             <meta name='env:reticulum_server' content='{domain}'><meta name='ret:phx_host' value='{domain}'>\
             <meta name='env:cors_proxy_server' content='cors.{domain}'>\
             <meta name='env:thumbnail_server' content='cors.{domain}/nearspark'>"
        )
    }

    /// What is found where each path has such a page, with these headers besides.
    async fn found(
        answer: impl Fn(&str) -> (u16, String, String) + Clone + Send + Sync + 'static,
    ) -> (Arc<Context>, Outcome) {
        let authority = Authority::new();
        let server = web_server(authority.issue(&[DOMAIN], -1..60), answer).await;
        let cx = context(Some(authority.root_pem()), &[(Name::Root, HTTPS, server)]);
        cx.facts.reticulum.learn(());
        (Arc::clone(&cx), pages(cx).await)
    }

    #[tokio::test]
    async fn pages_that_name_the_domains_own_hosts_pass_and_become_facts() {
        let (cx, outcome) = found(|_| (200, HEADERS.to_owned(), page_for(DOMAIN))).await;
        let found: Vec<_> = outcome.unwrap().iter().map(|f| (f.code, f.status)).collect();
        assert_eq!(found, [(Code::PageHosts, Status::Pass), (Code::PagePolicy, Status::Pass)]);
        let entities: Vec<_> = cx.facts.pages.get().unwrap().iter().map(|p| p.entity).collect();
        assert_eq!(entities, [Entity::Home, Entity::Spoke]);
    }

    #[tokio::test]
    async fn a_deployment_without_an_account_is_read_at_its_sign_in() {
        let (cx, outcome) = found(|path| match path {
            "/" => (302, "location: /admin\r\n".to_owned(), String::new()),
            "/signin" => (200, String::new(), page_for(DOMAIN)),
            _ => (404, String::new(), String::new()),
        })
        .await;
        assert_eq!(outcome.unwrap()[0].status, Status::Pass);
        assert_eq!(cx.facts.pages.get().unwrap()[0].url.as_str(), "https://hubs.example.test/signin");
    }

    #[tokio::test]
    async fn pages_of_another_domain_are_a_fault_and_other_proxies_a_warning() {
        let (_, outcome) = found(|_| (200, HEADERS.to_owned(), page_for("old.example.test"))).await;
        let finding = &outcome.unwrap()[0];
        assert_eq!(
            (finding.code, finding.status, finding.evidence.len()),
            (Code::PageHosts, Status::Fail, 5)
        );
        assert!(finding.remedy.is_some());
        let (_, outcome) = found(|_| {
            let page = page_for(DOMAIN).replace("cors.hubs.example.test", "proxy.example.org");
            (200, HEADERS.to_owned(), page)
        })
        .await;
        assert_eq!(outcome.unwrap()[0].status, Status::Warn);
    }

    #[tokio::test]
    async fn a_page_whose_program_has_no_place_is_a_fault() {
        let (_, outcome) = found(|_| {
            (
                200,
                HEADERS.to_owned(),
                "<script src='{{rawhubs-base-assets-path}}/assets/js/hub.js'></script>".to_owned(),
            )
        })
        .await;
        let finding = &outcome.unwrap()[0];
        assert_eq!((finding.code, finding.status), (Code::PageHosts, Status::Fail), "{finding:?}");
    }

    #[tokio::test]
    async fn a_policy_that_keeps_browsers_from_dialog_is_a_fault_and_one_that_hides_pictures_a_warning() {
        for (policy, status) in [
            (
                "connect-src 'self' https://assets.hubs.example.test https://cors.hubs.example.test",
                Status::Fail,
            ),
            ("img-src 'self'", Status::Warn),
        ] {
            let (_, outcome) = found(move |_| {
                (200, format!("{HEADERS}content-security-policy: {policy}\r\n"), page_for(DOMAIN))
            })
            .await;
            let finding = &outcome.unwrap()[1];
            assert_eq!((finding.code, finding.status), (Code::PagePolicy, status), "{finding:?}");
            assert!(finding.remedy.is_some());
        }
    }

    #[test]
    fn the_policy_has_to_cover_dialog_where_the_room_has_it() {
        let target: Target = DOMAIN.parse().unwrap();
        let policies = Policies::read(iter::once(
            "connect-src https://*.hubs.example.test wss://hubs.example.test wss://stream.hubs.example.test:4443",
        ));
        let page = Url::parse("https://hubs.example.test/").unwrap();
        let judged = |port| {
            let signalling = DialogFacts { host: target.host(Name::Stream), port };
            judge_policy(&policies, &page, &needs(&target, &signalling)).status
        };
        assert_eq!((judged(4443), judged(7443)), (Status::Pass, Status::Fail));
    }

    #[tokio::test]
    async fn what_is_no_page_of_hubs_is_left_to_the_check_that_says_so() {
        let (cx, outcome) = found(|_| (200, String::new(), "It works!".to_owned())).await;
        assert!(matches!(outcome, Err(Stop::Skip(reason)) if reason.contains("HP0303")));
        assert!(cx.facts.pages.get().is_err());
    }
}
