//! A browser's conversation with dialog: what is asked and answered in it about transports.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use serde::Deserialize;
use serde_json::Value;

use super::candidates::{Offer, reachable_port};
use super::frames::{Frames, LONGEST, LONGEST_ASKED, Piece, text_frame};
use crate::gateway::{Directory, TransportId};
use crate::wire::IntegrityKey;

/// Requests of one browser that wait for their answers, of those that matter here. For more it gets dialog's own words.
const PENDING: usize = 64;

/// What has been counted in one conversation.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    /// Answers whose candidates were replaced.
    pub rewritten: u64,
    /// Answers left as they were, because there are too many transports.
    pub limited: u64,
    /// The same, because the conversation has too many.
    pub limited_of_one: u64,
}

/// One WebSocket between a browser and dialog. When it goes, its transports are forgotten, as dialog does it.
#[derive(Debug)]
pub struct Signalling {
    directory: Arc<Directory>,
    /// Where this dialog's media is.
    dialog: IpAddr,
    /// Transports of all conversations, and of this one.
    limits: (usize, usize),
    from_browser: Frames,
    from_dialog: Frames,
    pending: HashMap<u64, Pending>,
    /// By dialog's names for them.
    transports: HashMap<String, TransportId>,
    counts: Counts,
}

/// What a request asks for.
#[derive(Debug)]
enum Pending {
    Create,
    Restart(String),
    Close(String),
}

#[derive(Deserialize)]
struct Asked {
    request: bool,
    id: u64,
    method: String,
    #[serde(default)]
    data: Value,
}

impl Signalling {
    /// One that begins, with the dialog whose media is at this address. `limits` are the transports that there may be: of
    /// all, and of this one.
    pub fn new(directory: Arc<Directory>, dialog: IpAddr, limits: (usize, usize)) -> Self {
        Self {
            directory,
            dialog,
            limits,
            from_browser: Frames::new(LONGEST_ASKED),
            from_dialog: Frames::new(LONGEST),
            pending: HashMap::new(),
            transports: HashMap::new(),
            counts: Counts::default(),
        }
    }

    /// The browser says something, which goes on to dialog as it is.
    pub fn handle_browser(&mut self, bytes: &[u8]) {
        let pending = &mut self.pending;
        self.from_browser.read(bytes, |piece| {
            if let Piece::Text { text, .. } = piece
                && let Ok(Asked { request: true, id, method, data }) = serde_json::from_slice(text)
                && pending.len() < PENDING
            {
                let transport = || data["transportId"].as_str().map(str::to_owned);
                let asked = match method.as_str() {
                    "createWebRtcTransport" => Some(Pending::Create),
                    "restartIce" => transport().map(Pending::Restart),
                    "closeWebRtcTransport" => transport().map(Pending::Close),
                    _ => None,
                };
                if let Some(asked) = asked {
                    pending.insert(id, asked);
                }
            }
        });
    }

    /// Dialog says something; `out` gets what the browser shall hear.
    pub fn handle_dialog(&mut self, now: Instant, bytes: &[u8], offer: &Offer, out: &mut Vec<u8>) {
        let mut frames = std::mem::replace(&mut self.from_dialog, Frames::new(LONGEST));
        frames.read(bytes, |piece| match piece {
            Piece::Pass(bytes) => out.extend_from_slice(bytes),
            Piece::Text { raw, text } => match self.answer(now, text, offer) {
                Some(rewritten) => out.extend_from_slice(&text_frame(&rewritten)),
                None => out.extend_from_slice(raw),
            },
        });
        self.from_dialog = frames;
    }

    /// What has been counted since the last time.
    pub fn take_counts(&mut self) -> Counts {
        std::mem::take(&mut self.counts)
    }

    /// What stands in the place of a message of dialog's, if anything does.
    fn answer(&mut self, now: Instant, text: &[u8], offer: &Offer) -> Option<Vec<u8>> {
        if self.pending.is_empty() {
            return None;
        }
        let mut answer: Value = serde_json::from_slice(text).ok()?;
        if answer["response"] != true {
            return None;
        }
        let asked = self.pending.remove(&answer["id"].as_u64()?)?;
        if answer["ok"] != true {
            return None;
        }
        match asked {
            Pending::Create => {
                self.create(answer.get_mut("data")?, offer)?;
                self.counts.rewritten += 1;
                serde_json::to_vec(&answer).ok()
            }
            Pending::Restart(transport) => {
                let (name, key) = credentials(&answer["data"])?;
                let id = *self.transports.get(&transport)?;
                // A name that another transport has could only be dialog's mistake.
                let _ = self.directory.rename(now, id, name, key);
                None
            }
            Pending::Close(transport) => {
                if let Some(id) = self.transports.remove(&transport) {
                    self.directory.close(id);
                }
                None
            }
        }
    }

    /// Dialog has made a transport.
    fn create(&mut self, data: &mut Value, offer: &Offer) -> Option<()> {
        if offer.is_empty() {
            return None;
        }
        let transport = data["id"].as_str()?.to_owned();
        let (name, key) = credentials(&data["iceParameters"])?;
        let candidates = data["iceCandidates"].as_array()?;
        let target = SocketAddr::new(self.dialog, reachable_port(candidates)?);
        let (limit, limit_of_one) = self.limits;
        if self.transports.len() >= limit_of_one {
            self.counts.limited_of_one += 1;
            return None;
        }
        let Ok(id) = self.directory.open(name, key, target, limit) else {
            self.counts.limited += 1;
            return None;
        };
        if let Some(old) = self.transports.insert(transport, id) {
            self.directory.close(old);
        }
        data["iceCandidates"] = offer.instead_of(candidates);
        Some(())
    }
}

impl Drop for Signalling {
    fn drop(&mut self) {
        for id in self.transports.values() {
            self.directory.close(*id);
        }
    }
}

/// How checks of a transport will look.
fn credentials(parameters: &Value) -> Option<(&str, IntegrityKey)> {
    let name = parameters["usernameFragment"].as_str()?;
    let password = parameters["password"].as_str()?;
    // What ICE allows (RFC 8839 section 5.4), and an empty password would be nobody's secret.
    let is_name = (4..=256).contains(&name.len()) && !name.contains(':');
    (is_name && password.len() >= 22).then(|| (name, IntegrityKey::short_term(password)))
}
