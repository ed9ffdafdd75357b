//! Certificates and keys in the secrets that an Ingress names or a pod mounts. Nothing of a key is ever shown.

use std::collections::BTreeSet;

use rustls::{Error, InconsistentKeys, crypto::ring::sign::any_supported_type, sign::CertifiedKey};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use time::OffsetDateTime;
use x509_parser::{certificate::X509Certificate, extensions::GeneralName, prelude::FromDer};

use super::{
    Found, HOST, Sheet,
    domain::covers,
    manifest::{Manifest, Object},
    turn,
    yaml::{Node, Place},
};
use crate::{codes::Code, finding::Finding};

/// A host whose certificate comes from a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) host: String,
    pub(crate) by: ShownBy,
    pub(crate) secret: String,
    pub(crate) certificate: CertificateDer<'static>,
    /// Where the secret is named.
    pub(crate) place: String,
}

/// Who has to show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ShownBy {
    /// haproxy, on the port of pages.
    Pages,
    /// haproxy, on dialog's port.
    Dialog,
    /// haproxy, which does TLS for TURN.
    IngressOfTurn,
    /// The TURN server itself.
    Turn,
}

const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";

/// With what the name begins to which people come for dialog and TURN.
const STREAM: &str = "stream.";

/// What makes new ones.
const ISSUE: [&str; 1] = ["npm run gen-ssl"];
const ISSUE_TEXT: &str = "Let them be issued again; Hubs' own script does it:";

const ASIDE: &str = "haproxy leaves such a secret aside, and shows its default certificate in place of it";

/// A secret with a certificate, as far as it can be read.
struct Pair<'y> {
    secret: Object<'y>,
    node: &'y Node<'y>,
    chain: Vec<CertificateDer<'static>>,
    key: Option<PrivateKeyDer<'static>>,
}

/// What of a certificate counts here.
struct Leaf {
    names: Vec<String>,
    from: OffsetDateTime,
    until: OffsetDateTime,
}

/// The secrets that somebody takes a certificate from.
fn pairs<'y>(manifest: &Manifest<'y>) -> Vec<Pair<'y>> {
    let of_ingresses = manifest
        .of_kind("Ingress")
        .flat_map(|it| it.node.items_at("spec.tls"))
        .filter_map(|it| it.text_at("secretName"));
    let of_pods = manifest
        .pods()
        .flat_map(|pod| pod.spec.items_at("volumes"))
        .filter_map(|volume| volume.text_at("secret.secretName"));
    let names: BTreeSet<_> = of_ingresses.chain(of_pods).collect();
    names.into_iter().filter_map(|name| pair(manifest, manifest.find("Secret", name)?)).collect()
}

fn pair<'y>(manifest: &Manifest<'y>, secret: Object<'y>) -> Option<Pair<'y>> {
    let of_data = |field: &str| secret.node.get(field)?.field(CERTIFICATE);
    let (node, _) = of_data("stringData").or_else(|| of_data("data"))?;
    let read = |key| manifest.setting(secret.name, key).map(|it| it.value);
    let chain = read(CERTIFICATE).and_then(|pem| {
        let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
        all.ok()
    });
    let key = read(KEY).and_then(|pem| PrivateKeyDer::from_pem_slice(pem.as_bytes()).ok());
    Some(Pair { secret, node, chain: chain.unwrap_or_default(), key })
}

impl Pair<'_> {
    fn leaf(&self) -> Option<Leaf> {
        let (_, certificate) = X509Certificate::from_der(self.chain.first()?).ok()?;
        let extension = certificate.subject_alternative_name().ok().flatten();
        let names = extension.iter().flat_map(|it| &it.value.general_names).filter_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            _ => None,
        });
        Some(Leaf {
            names: names.collect(),
            from: certificate.validity().not_before.to_datetime(),
            until: certificate.validity().not_after.to_datetime(),
        })
    }

    fn target(&self) -> String {
        format!("Secret/{}", self.secret.name)
    }
}

/// Each certificate can be read, and so can its key, which belongs to it.
pub(super) fn paired(sheet: &Sheet<'_>) -> Vec<Found> {
    each(sheet, Code::SecretsPaired, "each certificate's key is its own", |pair| {
        let name = pair.secret.name;
        let broken = |summary: String, cause| {
            vec![Finding::fail(Code::SecretsPaired, summary).because(cause).fix(ISSUE_TEXT, ISSUE)]
        };
        if pair.leaf().is_none() {
            return broken(format!("the certificate in {name} cannot be read"), ASIDE);
        }
        let Some(key) = pair.key.as_ref().and_then(|key| any_supported_type(key).ok()) else {
            return broken(format!("the key in {name} is missing, or cannot be read"), ASIDE);
        };
        let mismatch = Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch));
        // Of a kind of key that does not tell its other half, nothing is known.
        if CertifiedKey::new(pair.chain.clone(), key).keys_match() == mismatch {
            return broken(
                format!("the key in {name} does not belong to the certificate beside it"),
                "no handshake succeeds with a key of another certificate: haproxy refuses the pair, and hubs-relay does not start with it",
            );
        }
        Vec::new()
    })
}

/// Each certificate is valid today.
pub(super) fn current(sheet: &Sheet<'_>) -> Vec<Found> {
    each(sheet, Code::SecretsCurrent, "each certificate is in force", |pair| {
        let Some(leaf) = pair.leaf() else { return Vec::new() };
        let name = pair.secret.name;
        let (summary, date) = if leaf.until < sheet.now {
            (format!("the certificate in {name} ran out on {}", leaf.until.date()), leaf.until)
        } else if sheet.now < leaf.from {
            (format!("the certificate in {name} is not valid before {}", leaf.from.date()), leaf.from)
        } else {
            return Vec::new();
        };
        let finding = Finding::fail(Code::SecretsCurrent, summary)
            .because("browsers refuse it, whoever shows it: whatever renews certificates no longer does, or they were put there by hand");
        vec![finding.seen("date", date.date()).fix(ISSUE_TEXT, ISSUE)]
    })
}

/// Each certificate names the hosts for which it is meant.
pub(super) fn named(sheet: &Sheet<'_>) -> Vec<Found> {
    each(sheet, Code::SecretsNamed, "each certificate names its hosts", |pair| {
        let Some(leaf) = pair.leaf() else { return Vec::new() };
        let lacking: BTreeSet<_> = hosts(&sheet.manifest)
            .filter(|(_, name, host)| {
                *name == pair.secret.name && !leaf.names.iter().any(|it| covers(it, host))
            })
            .map(|(.., host)| host)
            .collect();
        let lacking: Vec<_> = lacking.into_iter().collect();
        if lacking.is_empty() {
            return Vec::new();
        }
        let names = if leaf.names.is_empty() { "no name at all".to_owned() } else { leaf.names.join(", ") };
        let finding = Finding::fail(
            Code::SecretsNamed,
            format!("the certificate in {} does not name {}", pair.secret.name, lacking.join(", ")),
        );
        let cause = "browsers ask for the host that they open, and refuse a certificate of other names";
        vec![finding.because(cause).seen("it names", names).fix(ISSUE_TEXT, ISSUE)]
    })
}

fn each<'y>(
    sheet: &Sheet<'y>,
    code: Code,
    good: &str,
    find: impl Fn(&Pair<'y>) -> Vec<Finding>,
) -> Vec<Found> {
    let pairs = pairs(&sheet.manifest);
    let placed = |pair: &Pair<'y>, finding: Finding| {
        let of_pair = hosts(&sheet.manifest).filter(|(_, name, _)| *name == pair.secret.name);
        let of_pair: BTreeSet<_> = of_pair.map(|(.., host)| host).collect();
        sheet.at(of_pair.iter().fold(finding, |finding, host| finding.seen(HOST, host)), pair.node.start)
    };
    let found = pairs.iter().flat_map(|pair| {
        find(pair).into_iter().map(|finding| placed(pair, finding).at(pair.target()).into())
    });
    let mut found: Vec<Found> = found.collect();
    if let (true, Some(first)) = (found.is_empty(), pairs.first()) {
        let pass = pairs.iter().fold(Finding::pass(code, good), |finding, pair| placed(pair, finding));
        found.push(sheet.at(pass, first.node.start).into());
    }
    found
}

/// Each host for which an Ingress names a secret, and where.
fn hosts<'y>(manifest: &Manifest<'y>) -> impl Iterator<Item = (Place, &'y str, &'y str)> {
    let entries = manifest.of_kind("Ingress").flat_map(|it| it.node.items_at("spec.tls"));
    let named = entries.filter_map(|entry| Some((entry, entry.get("secretName")?)));
    named.flat_map(|(entry, secret)| {
        let hosts = entry.items_at("hosts").iter().filter_map(Node::text);
        hosts.filter_map(move |host| Some((secret.start, secret.text()?, host)))
    })
}

/// Each host with the certificate that its secret has. A wildcard is no host that anybody opens. For dialog and TURN people come to
/// one of them, and there TURN may have the secret to itself.
pub(super) fn shown(manifest: &Manifest<'_>, path: impl Fn(Place) -> String) -> Vec<Shown> {
    let pairs = pairs(manifest);
    let shown = |by, host: &str, secret: &str, place| {
        let pair = pairs.iter().find(|it| it.secret.name == secret)?;
        let certificate = pair.chain.first()?.clone();
        Some(Shown { host: host.to_owned(), by, secret: secret.to_owned(), certificate, place: path(place) })
    };
    let mut seen = BTreeSet::new();
    let hosts: Vec<_> =
        hosts(manifest).filter(|(.., host)| !host.contains('*') && seen.insert(*host)).collect();
    let pages = hosts.iter().filter_map(|(place, secret, host)| shown(ShownBy::Pages, host, secret, *place));
    let stream = hosts.iter().find(|(.., host)| host.starts_with(STREAM));
    let dialog = stream.and_then(|(place, secret, host)| shown(ShownBy::Dialog, host, secret, *place));
    let turn = stream.and_then(|(place, secret, host)| {
        if turn::is_behind_tls(manifest) {
            return shown(ShownBy::IngressOfTurn, host, secret, *place);
        }
        turn::secrets_of_pod(manifest).find_map(|node| shown(ShownBy::Turn, host, node.text()?, node.start))
    });
    pages.chain(dialog).chain(turn).collect()
}
