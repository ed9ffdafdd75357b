//! The demo's TURN server, three times on the same port: as wrong as Hubs ships it, as it should be, and with the media gateway
//! besides. Each time it is hubs-relay; only the configuration differs, and the first one does not answer over UDP.

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use hubs_relay::{Config, Relay, StartError, auth::Secret, config::ConfigError};

use super::{authority::Identity, dialog};
use crate::target::{STUN, TURN};

/// Where browsers are told that the media gateway is: the address of the load balancer, of which the demo has none.
pub(super) const GATEWAY: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 10));

/// Why there is no TURN server.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TurnError {
    #[error("cannot write {}: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Start(#[from] StartError),
}

/// What they have in common.
pub(super) struct Place<'a> {
    /// Where it listens.
    pub(super) listen: SocketAddr,
    /// For the files of its certificate.
    pub(super) folder: &'a Path,
}

/// As Hubs ships it: a certificate that no browser accepts, a secret that is not Reticulum's, which makes every login a
/// 401 as the missing table does, and nobody whom it could reach.
pub(super) fn as_shipped(place: &Place<'_>, identity: &Identity) -> Result<Relay, TurnError> {
    start(place, "coturn", identity, &Secret::from(crate::random::name::<32>()), "", None)
}

/// As it should be.
pub(super) fn repaired(
    place: &Place<'_>,
    identity: &Identity,
    secret: &Secret,
    announced: IpAddr,
) -> Result<Relay, TurnError> {
    let udp = SocketAddr::new(place.listen.ip(), 0);
    start(place, "hubs-relay", identity, secret, &peers(announced), Some(udp))
}

/// The same, and in front of dialog's signalling, which is at `dialog`, as the media gateway.
pub(super) fn with_gateway(
    place: &Place<'_>,
    identity: &Identity,
    secret: &Secret,
    announced: IpAddr,
    dialog: SocketAddr,
) -> Result<Relay, TurnError> {
    let here = SocketAddr::new(place.listen.ip(), 0);
    let rest = format!(
        "{}\n[gateway]\nlisten = \"tls://{here}\"\ndialog = [\"{dialog}\"]\n{}",
        peers(announced),
        told()
    );
    start(place, "hubs-relay", identity, secret, &rest, Some(here))
}

/// The lines of the configuration by which browsers hear of the gateway.
pub(super) fn told() -> String {
    format!("udp = [\"{GATEWAY}:{STUN}\"]\ntcp = [\"{GATEWAY}:{TURN}\"]")
}

/// The lines of the configuration by which dialog is reached.
pub(super) fn peers(announced: IpAddr) -> String {
    let (actual, first, last) = (dialog::ACTUAL, dialog::PORTS.start(), dialog::PORTS.end());
    format!(
        "allow = [\"{actual}:{first}-{last}\"]\nmap = [{{ announced = \"{announced}\", actual = \"{actual}\" }}]"
    )
}

fn start(
    place: &Place<'_>,
    name: &str,
    identity: &Identity,
    secret: &Secret,
    rest: &str,
    udp: Option<SocketAddr>,
) -> Result<Relay, TurnError> {
    let write = |extension: &str, text: String| {
        let path = place.folder.join(format!("{name}.{extension}"));
        match fs::write(&path, text) {
            Ok(()) => Ok(path),
            Err(source) => Err(TurnError::Write { path, source }),
        }
    };
    let certificate = write("crt", identity.certificate_pem())?;
    let key = write("key", identity.key_pem())?;
    let udp = udp.map(|udp| format!(", \"udp://{udp}\"")).unwrap_or_default();
    let text = format!(
        "listen = [\"tls://{}\"{udp}]\ntls = {{ certificate = {:?}, private_key = {:?} }}\n\
         relay = {{ address = \"{}\", workers = 1 }}\nauth.secrets = [\"{}\"]\n[peers]\n{rest}\n",
        place.listen,
        certificate.display().to_string(),
        key.display().to_string(),
        dialog::ACTUAL,
        secret.expose(),
    );
    Ok(Relay::start(&Config::from_text(&text, Some("the demo's configuration"), [])?)?)
}
