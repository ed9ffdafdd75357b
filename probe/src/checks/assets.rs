//! The files that the pages load: are they there, and may the pages' scripts read them?
//!
//! Each is asked for once, with HEAD. Files of third parties are counted and not asked for.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::future::join_all;
use hyper::HeaderMap;
use tokio::time::Instant;
use url::{Position, Url};

use crate::{
    check::{Context, Outcome},
    codes::Code,
    facts::{Entity, PageFacts},
    finding::Finding,
    html::{File, Kind},
    net::{Answer, HttpError, Scheme, Site, Trust},
    target::{HTTPS, Name, Target},
};

/// How many connections to one host browsers have.
const CONNECTIONS: usize = 6;

/// How long new files are asked for. A server that takes longer over a page's files is slow, and they are there or not as before.
const PATIENCE: Duration = Duration::from_secs(10);

/// As many as a person reads; the rest is counted.
const MOST_LISTED: usize = 12;

/// The icons that an administrator may set, and that are not there until one does.
const SET_BY_HAND: [&str; 2] = ["/favicon.ico", "/app-icon.png"];

/// What pictures begin with that those who make thumbnails can read.
const PICTURES: [&[u8]; 3] = [b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF"];

pub(crate) async fn assets(cx: Arc<Context>) -> Outcome {
    let pages = cx.facts.pages.get()?;
    let looked = look(&cx, pages).await;
    if let Some(picture) = find_picture(&cx, &looked).await {
        cx.facts.picture.learn(picture);
    }
    let of = |wanted: &dyn Fn(Entity) -> bool| {
        let named: BTreeSet<_> = pages
            .iter()
            .filter(|p| wanted(p.entity))
            .flat_map(|p| p.page.files.iter().map(|f| &f.url))
            .collect();
        looked.iter().filter(|l| named.contains(&l.file.url)).collect::<Vec<_>>()
    };
    let mut findings = vec![judge_hubs(&of(&|e| e != Entity::Spoke), pages, &cx.target)];
    if let Some(spoke) = pages.iter().find(|p| p.entity == Entity::Spoke) {
        findings.push(judge_spoke(&of(&|e| e == Entity::Spoke), spoke));
    }
    findings.extend(judge_sharing(&looked, &cx.target));
    Ok(findings)
}

/// A file, and what became of asking for it.
struct Looked {
    file: File,
    answer: Result<Answer, HttpError>,
}

impl Looked {
    /// Why a browser does not get it, if it does not.
    fn fault(&self) -> Option<String> {
        match &self.answer {
            // Not every server knows HEAD.
            Ok(answer) if matches!(answer.status.as_u16(), 405 | 501) => None,
            Ok(answer) if answer.status.is_client_error() || answer.status.is_server_error() => {
                Some(answer.status.as_u16().to_string())
            }
            Ok(answer) => {
                let is_page = answer.header("content-type").is_some_and(|t| t.starts_with("text/html"));
                let is_program = matches!(self.file.kind, Kind::Script | Kind::Style);
                (is_page && is_program).then(|| "a page in its place".to_owned())
            }
            Err(HttpError::Silent) => Some("no answer".to_owned()),
            Err(e) => Some(e.to_string()),
        }
    }

    fn is_set_by_hand(&self, target: &Target) -> bool {
        self.file.url.host_str() == Some(target.domain()) && SET_BY_HAND.contains(&self.file.url.path())
    }
}

/// Asks for each of the deployment's own files, as many at a time as browsers do.
async fn look(cx: &Context, pages: &[PageFacts]) -> Vec<Looked> {
    let mut files: BTreeMap<String, VecDeque<File>> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for file in pages.iter().flat_map(|p| &p.page.files) {
        if let Some(host) = own_host(&file.url, &cx.target)
            && seen.insert(&file.url)
        {
            files.entry(host.to_owned()).or_default().push_back(file.clone());
        }
    }
    let end = Instant::now() + PATIENCE;
    let looked = join_all(files.into_iter().map(|(host, files)| async move {
        let connections = files.len().min(CONNECTIONS);
        let files = Mutex::new(files);
        let next = || files.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let asked = join_all((0..connections).map(|_| async {
            let mut site =
                cx.net.site(Scheme::Https, &host, HTTPS, Trust::Anything).from_page_of(cx.target.domain());
            let mut looked = Vec::new();
            while Instant::now() < end
                && let Some(file) = next()
            {
                let answer = site.head(path(&file.url)).await;
                let gave_up = matches!(answer, Err(HttpError::Tls(_) | HttpError::Silent));
                looked.push(Looked { file, answer });
                if gave_up {
                    // It would be the same for each of them, and take as long.
                    break;
                }
            }
            looked
        }))
        .await;
        asked.into_iter().flatten().collect::<Vec<_>>()
    }))
    .await;
    looked.into_iter().flatten().collect()
}

fn path(url: &Url) -> &str {
    &url[Position::BeforePath..Position::AfterQuery]
}

/// The deployment's host that has the file, at the port where browsers look.
fn own_host<'a>(url: &'a Url, target: &Target) -> Option<&'a str> {
    let host = url.host_str().filter(|_| url.scheme() == "https" && url.port().is_none())?;
    Name::ALL.iter().any(|name| target.host(*name) == host).then_some(host)
}

/// A picture that we got whole ourselves: those who make thumbnails do not bear what is none.
async fn find_picture(cx: &Context, looked: &[Looked]) -> Option<Url> {
    let is_picture = |l: &&Looked| {
        l.answer.as_ref().is_ok_and(|answer| {
            let kind = answer.header("content-type").unwrap_or_default();
            answer.status == 200
                && ["image/png", "image/jpeg", "image/webp"].iter().any(|k| kind.starts_with(k))
        })
    };
    // nearspark decodes what looks percent-encoded.
    let url = &looked.iter().find(|l| is_picture(l) && !l.file.url.as_str().contains('%'))?.file.url;
    let mut site: Site<'_> = cx.net.site(Scheme::Https, url.host_str()?, HTTPS, Trust::Anything);
    let answer = site.get(path(url)).await.ok()?;
    let is_one = PICTURES.iter().any(|magic| answer.body.starts_with(magic));
    (answer.status == 200 && is_one).then(|| url.clone())
}

fn judge_hubs(looked: &[&Looked], pages: &[PageFacts], target: &Target) -> Finding {
    let code = Code::AssetsThere;
    let (unset, examined): (Vec<_>, Vec<_>) =
        looked.iter().copied().partition(|l| l.is_set_by_hand(target) && l.fault().as_deref() == Some("404"));
    let missing: Vec<_> = examined.iter().filter(|l| l.fault().is_some()).collect();
    let needed = missing.iter().any(|l| matches!(l.file.kind, Kind::Script | Kind::Style));
    let others = pages.iter().filter(|p| p.entity != Entity::Spoke).flat_map(|p| &p.page.files);
    let others =
        others.filter(|f| own_host(&f.url, target).is_none()).map(|f| &f.url).collect::<BTreeSet<_>>();

    let finding = if missing.is_empty() {
        Finding::pass(code, format!("{} files of the pages are there", examined.len() + unset.len()))
    } else {
        let summary =
            format!("{} of {} files that the pages load are not there", missing.len(), looked.len());
        let finding = if needed {
            Finding::fail(code, summary)
                .because("the pages were built with other files than the pod of hubs has, or that pod does not answer: browsers show an empty page")
        } else {
            Finding::warn(code, summary).because("the pages name files that nobody put there")
        };
        finding.seen("missing", list(missing.iter().map(|l| **l))).fix(
            "Look at the pod of hubs; restart Reticulum, which keeps old pages in memory:",
            [
                "kubectl get pods -n hcce -l app=hubs",
                "kubectl rollout restart deployment hubs reticulum -n hcce",
            ],
        )
    };
    let finding = match unset.first() {
        Some(_) => finding.seen("not set by an administrator", list(unset.iter().copied())),
        None => finding,
    };
    let finding = match others.len() {
        0 => finding,
        number => finding.seen("of third parties, not asked for", number),
    };
    let named = pages.iter().filter(|p| p.entity != Entity::Spoke).flat_map(|p| &p.page.files);
    let own: BTreeSet<_> = named.filter(|f| own_host(&f.url, target).is_some()).map(|f| &f.url).collect();
    let is_cut_short = pages.iter().any(|p| p.page.is_cut_short());
    match own.len() - looked.len() {
        0 if !is_cut_short => finding,
        0 => finding.seen("not asked for", "what the pages name beyond the first files"),
        left => finding.seen("not asked for, since the server is slow", left),
    }
    .at(format!("https://{}", target.domain()))
}

/// Spoke's images are known to have broken links, which do not keep anybody from a room.
fn judge_spoke(looked: &[&Looked], spoke: &PageFacts) -> Finding {
    let code = Code::SpokeAssets;
    let missing: Vec<_> = looked.iter().filter(|l| l.fault().is_some()).collect();
    let finding = match (&spoke.page.placeholder, missing.is_empty()) {
        (None, true) => Finding::pass(code, format!("{} files of Spoke's page are there", looked.len())),
        (Some(placeholder), _) => Finding::warn(code, "Spoke's page names no place for some of its files")
            .seen("in its place", placeholder),
        (None, false) => Finding::warn(
            code,
            format!("{} of {} files of Spoke's page are not there", missing.len(), looked.len()),
        )
        .seen("missing", list(missing.into_iter().copied())),
    };
    if finding.status == crate::finding::Status::Pass {
        return finding.at(&spoke.url);
    }
    finding
        .because("Spoke's image is built with a placeholder for the place of its files, which its pod fills in at its start, and not everywhere")
        .fix("Look at its log, and restart it; what is then still missing is cosmetic:", [
            "kubectl logs -n hcce deploy/spoke --tail=50",
            "kubectl rollout restart deployment spoke -n hcce",
        ])
        .at(&spoke.url)
}

/// Scripts of the pages fetch models, sounds and other scripts from the assets' host, which has to allow it.
fn judge_sharing(looked: &[Looked], target: &Target) -> Option<Finding> {
    let code = Code::AssetsShared;
    let host = target.host(Name::Assets);
    let mut there =
        looked.iter().filter(|l| l.file.url.host_str() == Some(host.as_str()) && l.fault().is_none());
    let (url, answer) = there.find_map(|l| Some((&l.file.url, l.answer.as_ref().ok()?)))?;
    let finding = match allows(&answer.headers, target.domain()) {
        Ok(()) => Finding::pass(code, "scripts of the pages may read the assets"),
        Err(said) => Finding::fail(code, "browsers keep the pages' scripts from reading the assets")
            .seen("access-control-allow-origin", said)
            .because("an ingress or a proxy takes away or adds the header that allows it")
            .fix(
                "Look at the annotation haproxy.org/response-set-header:",
                ["kubectl get ingress ret -n hcce -o yaml"],
            ),
    };
    Some(finding.at(url))
}

/// Whether a page of `domain` may read the answer; if not, what the header says.
pub(super) fn allows(headers: &HeaderMap, domain: &str) -> Result<(), String> {
    let values: Vec<_> = headers
        .get_all("access-control-allow-origin")
        .iter()
        .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        .collect();
    match values.as_slice() {
        [one] if one == "*" || *one == format!("https://{domain}") => Ok(()),
        [] => Err("not sent".to_owned()),
        [one] => Err(one.clone()),
        several => Err(format!("{}, where one alone counts", several.join(" and "))),
    }
}

fn list<'a>(looked: impl Iterator<Item = &'a Looked>) -> String {
    let all: Vec<_> = looked.map(|l| format!("{} ({})", l.file.url, l.fault().unwrap_or_default())).collect();
    match all.len().checked_sub(MOST_LISTED) {
        Some(more @ 1..) => format!("{}, and {more} more", all[..MOST_LISTED].join(", ")),
        _ => all.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        finding::Status,
        html::Page,
        testing::{Authority, DOMAIN, context, web_server},
    };

    const ALLOWED: &str = "access-control-allow-origin: https://hubs.example.test\r\n";

    /// What is found for a page of Hubs and one of Spoke, of which each file that answers has this status and these headers.
    async fn found(
        hubs: &str,
        spoke: Option<&str>,
        answer: impl Fn(&str) -> (u16, &'static str) + Clone + Send + Sync + 'static,
    ) -> (Arc<Context>, Vec<Finding>) {
        let authority = Authority::new();
        let identity = authority.issue(&[DOMAIN, "assets.hubs.example.test"], -1..60);
        let server = web_server(identity, move |path| {
            let (status, headers) = answer(path);
            let body = if path == "/app-icon.png" { "\u{89}PNG" } else { "" };
            (status, headers.to_owned(), body.to_owned())
        })
        .await;
        let cx = context(
            Some(authority.root_pem()),
            &[(Name::Root, HTTPS, server), (Name::Assets, HTTPS, server)],
        );
        let page = |entity, path: &str, html: &str| {
            let url: Url = format!("https://{DOMAIN}{path}").parse().unwrap();
            PageFacts { entity, page: Page::read(html, &url), url }
        };
        let mut pages = vec![page(Entity::Home, "/", hubs)];
        pages.extend(spoke.map(|html| page(Entity::Spoke, "/spoke", html)));
        cx.facts.pages.learn(pages);
        let findings = assets(Arc::clone(&cx)).await.unwrap();
        (cx, findings)
    }

    const HUBS: &str = "<link rel=icon href=/favicon.ico><link rel=stylesheet href=https://fonts.example.org/a.css>\
        <script src=https://assets.hubs.example.test/hubs/hub.js></script>\
        <img src=https://assets.hubs.example.test/hubs/logo.gif>";

    #[track_caller]
    fn assert_found(finding: &Finding, code: Code, status: Status) {
        assert_eq!((finding.code, finding.status), (code, status), "{finding:#?}");
        assert_eq!(finding.remedy.is_some(), status != Status::Pass, "{finding:#?}");
    }

    #[tokio::test]
    async fn files_that_are_there_pass_and_those_of_third_parties_are_left_alone() {
        let (cx, findings) = found(HUBS, Some("<script src=/spoke.js></script>"), |path| match path {
            // Not there until an administrator sets it, as in each new deployment.
            "/favicon.ico" => (404, ""),
            _ => (200, ALLOWED),
        })
        .await;
        assert_found(&findings[0], Code::AssetsThere, Status::Pass);
        assert_eq!(
            findings[0].evidence.iter().map(|e| e.value.as_str()).collect::<Vec<_>>(),
            ["https://hubs.example.test/favicon.ico (404)", "1"]
        );
        assert_found(&findings[1], Code::SpokeAssets, Status::Pass);
        assert_found(&findings[2], Code::AssetsShared, Status::Pass);
        assert!(cx.facts.picture.get().is_err());
    }

    #[tokio::test]
    async fn a_missing_program_is_a_fault_and_a_missing_picture_a_warning() {
        for (missing, status) in [("/hubs/hub.js", Status::Fail), ("/hubs/logo.gif", Status::Warn)] {
            let (_, findings) =
                found(HUBS, None, move |path| (if path == missing { 404 } else { 200 }, ALLOWED)).await;
            assert_found(&findings[0], Code::AssetsThere, status);
            assert!(findings[0].evidence[0].value.contains(missing), "{findings:#?}");
        }
        let (_, findings) = found(HUBS, None, |_| (200, "content-type: text/html; charset=utf-8\r\n")).await;
        assert_found(&findings[0], Code::AssetsThere, Status::Fail);
    }

    #[tokio::test]
    async fn what_is_missing_of_spoke_is_a_warning() {
        let spoke = "<script src=https://assets.hubs.example.test/spoke/index.js></script>";
        let (_, findings) =
            found(HUBS, Some(spoke), |path| (if path.contains("spoke") { 404 } else { 200 }, ALLOWED)).await;
        assert_found(&findings[0], Code::AssetsThere, Status::Pass);
        assert_found(&findings[1], Code::SpokeAssets, Status::Warn);
        let spoke = "<img src='{{rawspoke-base-assets-path}}/logo.png'>";
        let (_, findings) = found(HUBS, Some(spoke), |_| (200, ALLOWED)).await;
        assert_found(&findings[1], Code::SpokeAssets, Status::Warn);
    }

    #[tokio::test]
    async fn assets_that_scripts_may_not_read_are_a_fault() {
        for headers in [
            "",
            "access-control-allow-origin: https://old.example.test\r\n",
            "access-control-allow-origin: *\r\naccess-control-allow-origin: https://hubs.example.test\r\n",
        ] {
            let (_, findings) = found(HUBS, None, move |_| (200, headers)).await;
            assert_found(&findings[1], Code::AssetsShared, Status::Fail);
        }
        let (_, findings) = found(HUBS, None, |_| (200, "access-control-allow-origin: *\r\n")).await;
        assert_found(&findings[1], Code::AssetsShared, Status::Pass);
    }

    #[tokio::test]
    async fn a_picture_is_one_only_if_it_begins_like_one() {
        let page = "<link rel=apple-touch-icon href=/app-icon.png>";
        // The server's body is no PNG: its first character takes two bytes.
        let (cx, _) = found(page, None, |_| (200, "content-type: image/png\r\n")).await;
        assert!(cx.facts.picture.get().is_err());
    }

    #[tokio::test]
    async fn a_page_without_measure_is_asked_for_a_bounded_number_of_files() {
        let page: Vec<_> = (0..5000).map(|n| format!("<script src=/{n}.js></script>")).collect();
        let (_, findings) = found(&page.concat(), None, |_| (404, "")).await;
        assert_found(&findings[0], Code::AssetsThere, Status::Fail);
        assert!(findings[0].summary.starts_with("96 of 96"), "{findings:#?}");
        assert!(findings[0].evidence[0].value.ends_with("and 84 more"), "{findings:#?}");
    }
}
