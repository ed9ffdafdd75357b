//! Requests and their answers (RFC 8656 sections 7 to 12), authenticated as RFC 8489 section 9.2.4 says.

use std::net::SocketAddr;
use std::time::Duration;

use tracing::debug;

use super::permissions::{BindError, Permissions};
use super::session::Session;
use super::{Client, Command, Ended, Host, Now, RelayId, RelayPort, Server};
use crate::auth::Refused;
use crate::wire::{
    AttrType, BadAttribute, Builder, Class, ErrorCode, Family, IntegrityKey, Message, Method, PROTOCOL_UDP,
    attribute,
};

/// RFC 8656 section 3.2 for the default, section 7.2 for the maximum.
const DEFAULT_LIFETIME: Duration = Duration::from_mins(10);
const MAX_LIFETIME: Duration = Duration::from_hours(1);

/// How many unknown attributes an answer lists, so that it is never much longer than the question.
const MAX_UNKNOWN_ATTRIBUTES: usize = 16;

/// What a request may carry without a 420 (RFC 8489 section 6.3.1): all that we understand, needed there or not.
const UNDERSTOOD: [AttrType; 15] = [
    attribute::MAPPED_ADDRESS,
    attribute::USERNAME,
    attribute::ERROR_CODE,
    attribute::UNKNOWN_ATTRIBUTES,
    attribute::CHANNEL_NUMBER,
    attribute::LIFETIME,
    attribute::XOR_PEER_ADDRESS,
    attribute::REALM,
    attribute::NONCE,
    attribute::XOR_RELAYED_ADDRESS,
    attribute::REQUESTED_ADDRESS_FAMILY,
    attribute::EVEN_PORT,
    attribute::REQUESTED_TRANSPORT,
    attribute::RESERVATION_TOKEN,
    attribute::XOR_MAPPED_ADDRESS,
];

/// Why a request is not granted.
#[derive(Debug)]
enum Refusal {
    /// With this code.
    Code(ErrorCode),
    /// With this code, and a realm and a fresh nonce to try again with. It goes to strangers, so it is kept short.
    Challenge(ErrorCode),
    /// 420, with the attributes.
    Unknown(Vec<AttrType>),
    /// None of the secrets that we know signed it.
    UnknownSecret,
}

impl From<ErrorCode> for Refusal {
    fn from(code: ErrorCode) -> Self {
        Self::Code(code)
    }
}

impl From<BadAttribute> for Refusal {
    fn from(_: BadAttribute) -> Self {
        Self::Code(ErrorCode::BAD_REQUEST)
    }
}

impl Server {
    pub(super) fn handle_message(&mut self, now: Now, client: Client, message: Message) {
        // Nobody can be reached at port 0.
        if message.class() != Class::Request || client.remote.port() == 0 {
            return;
        }
        match message.method() {
            Method::Binding => self.handle_binding(client, &message),
            Method::Allocate | Method::Refresh | Method::CreatePermission | Method::ChannelBind => {
                match self.authenticate(now, client, &message) {
                    Ok(key) => self.handle_authenticated(now, client, &message, &key),
                    Err(Refusal::UnknownSecret) if self.settings.secrets_rotate => {
                        self.commands.push_back(Command::Reread { client, request: Box::new(message) });
                    }
                    Err(refusal) => self.refuse(now, client, &message, refusal, None),
                }
            }
            // A method that we do not know is discarded (RFC 8489 section 6.3); Send and Data are indications.
            Method::Send | Method::Data | Method::Other(_) => {}
        }
    }

    /// The secrets were read anew because of this request, or could not be. It is not put off again.
    pub fn handle_reread(&mut self, now: Now, client: Client, request: &Message) {
        match self.authenticate(now, client, request) {
            Ok(key) => self.handle_authenticated(now, client, request, &key),
            Err(refusal) => self.refuse(now, client, request, refusal, None),
        }
    }

    /// The shell has opened a relay socket, or could not. `relayed` is what the client learns.
    pub fn handle_relay_opened(&mut self, relay: RelayId, relayed: Option<SocketAddr>) {
        let Some(session) = self.sessions.get_mut(relay) else { return };
        session.relayed = relayed;
        let (client, key) = (session.client, session.key.clone());
        if relayed.is_some() {
            debug!(client = %client.remote, username = ?session.username, ?relayed, "allocated");
            let answer = allocate_success(session);
            self.send(client, answer.integrity(&key));
        } else {
            let code = ErrorCode::INSUFFICIENT_CAPACITY;
            let answer = Builder::new(Class::Error, Method::Allocate, session.allocate);
            if let Some(token) = session.reserved {
                self.reservations.remove(token);
                self.commands.push_back(Command::CloseReserved { token });
            }
            self.sessions.remove(relay);
            self.counts.add_error(code);
            self.send(client, answer.error_code(code, code.reason()).integrity(&key));
        }
    }

    fn handle_binding(&mut self, client: Client, request: &Message) {
        let unknown = request.unknown_required(&UNDERSTOOD);
        let answer = if unknown.is_empty() {
            Builder::success(request).xor_mapped_address(client.remote)
        } else {
            self.counts.add_error(ErrorCode::UNKNOWN_ATTRIBUTE);
            unknown_attributes(request, &unknown)
        };
        self.send(client, answer);
    }

    /// The key that the request was signed with. The first request of a session asks the credentials, all others need
    /// the first one's key.
    fn authenticate(&mut self, now: Now, client: Client, request: &Message) -> Result<IntegrityKey, Refusal> {
        let unauthenticated = || Refusal::Challenge(ErrorCode::UNAUTHENTICATED);
        if !request.has_integrity() {
            return Err(unauthenticated());
        }
        let (username, realm, nonce) = (request.username()?, request.realm()?, request.nonce()?);
        let (Some(username), Some(realm), Some(nonce)) = (username, realm, nonce) else {
            return Err(ErrorCode::BAD_REQUEST.into());
        };
        if !self.settings.nonce_key.is_fresh(nonce, client.remote, now.unix) {
            return Err(Refusal::Challenge(ErrorCode::STALE_NONCE));
        }
        if realm != self.settings.realm {
            return Err(unauthenticated());
        }
        if let Some((_, session)) = self.sessions.of_client(&client) {
            if *session.username != *username {
                // RFC 8656 section 7.2 for Allocate, section 5 for the others.
                return Err(Refusal::Code(match request.method() {
                    Method::Allocate => ErrorCode::ALLOCATION_MISMATCH,
                    _ => ErrorCode::WRONG_CREDENTIALS,
                }));
            }
            let key = &session.key;
            return if request.verify(key) { Ok(key.clone()) } else { Err(unauthenticated()) };
        }
        let credentials = &self.settings.credentials;
        match credentials.authenticate(username, realm, now.unix, |key| request.verify(key)) {
            Ok(key) => {
                self.counts.authenticated += 1;
                Ok(key)
            }
            Err(reason) => {
                debug!(client = %client.remote, ?username, %reason, "not authenticated");
                if reason == Refused::UnknownSecret {
                    return Err(Refusal::UnknownSecret);
                }
                self.counts.add_refused(reason);
                Err(unauthenticated())
            }
        }
    }

    fn handle_authenticated(&mut self, now: Now, client: Client, request: &Message, key: &IntegrityKey) {
        let unknown = request.unknown_required(&UNDERSTOOD);
        let answer = if unknown.is_empty() {
            match request.method() {
                Method::Allocate => self.allocate(now, client, request, key),
                Method::Refresh => self.refresh(now, client, request).map(Some),
                Method::CreatePermission => self.create_permission(now, client, request).map(Some),
                _ => self.channel_bind(now, client, request).map(Some),
            }
        } else {
            Err(Refusal::Unknown(unknown))
        };
        match answer {
            Ok(Some(answer)) => self.send(client, answer.integrity(key)),
            Ok(None) => {}
            Err(refusal) => self.refuse(now, client, request, refusal, Some(key)),
        }
    }

    /// RFC 8656 section 7.2. The answer waits until the relay socket is open.
    fn allocate(
        &mut self,
        now: Now,
        client: Client,
        request: &Message,
        key: &IntegrityKey,
    ) -> Result<Option<Builder>, Refusal> {
        if let Some((_, session)) = self.sessions.of_client(&client) {
            let is_retransmission = session.allocate == request.transaction();
            return match session.relayed {
                Some(_) if is_retransmission => Ok(Some(allocate_success(session))),
                None if is_retransmission => Ok(None),
                _ => Err(ErrorCode::ALLOCATION_MISMATCH.into()),
            };
        }
        if self.is_draining {
            // Browsers give up this server then, and no other (RFC 8656 section 7.4).
            return Err(ErrorCode::INSUFFICIENT_CAPACITY.into());
        }
        match request.requested_transport()?.ok_or(ErrorCode::BAD_REQUEST)? {
            PROTOCOL_UDP => {}
            _ => return Err(ErrorCode::UNSUPPORTED_TRANSPORT_PROTOCOL.into()),
        }
        // `authenticate` has seen a user name.
        let username = request.username()?.unwrap_or_default();
        let (even_port, claimed) = (request.even_port()?, request.reservation_token()?);
        let family = match claimed {
            Some(_)
                if even_port.is_some()
                    || request.attribute(attribute::REQUESTED_ADDRESS_FAMILY).is_some() =>
            {
                return Err(ErrorCode::BAD_REQUEST.into());
            }
            Some(token) => {
                let reservation = self.reservations.find(token, username, now.instant);
                reservation.ok_or(ErrorCode::INSUFFICIENT_CAPACITY)?.family
            }
            None => self.relay_family(client, request)?,
        };
        let lifetime = granted(request.lifetime()?);
        let limits = self.settings.limits;
        let per_address = limits.sessions_per_address;
        let needed = match (claimed, even_port) {
            (Some(_), _) => 0,
            (None, Some(true)) => 2,
            (None, _) => 1,
        };
        let ip = client.remote.ip();
        let of_address = || self.sessions.count_of(ip) + self.reservations.count_of(ip) + needed;
        if per_address.is_some_and(|limit| of_address() > limit) {
            self.counts.limited.sessions_per_address += 1;
            return Err(ErrorCode::ALLOCATION_QUOTA_REACHED.into());
        }
        if self.sessions.len() + self.reservations.len() + needed > limits.sessions {
            self.counts.limited.sessions += 1;
            return Err(ErrorCode::INSUFFICIENT_CAPACITY.into());
        }
        let port = match (claimed, even_port) {
            (Some(token), _) => {
                self.reservations.remove(token);
                RelayPort::Reserved(token)
            }
            (None, Some(true)) => {
                let made_of = (&self.settings.nonce_key, self.settings.transaction_seed);
                let token = self.reservations.make(client, username, family, made_of, now.instant);
                RelayPort::EvenAndNext(token)
            }
            (None, Some(false)) => RelayPort::Even,
            (None, None) => RelayPort::Any,
        };
        let relay = self.sessions.insert(Session {
            client,
            username: username.into(),
            key: key.clone(),
            allocate: request.transaction(),
            family,
            relayed: None,
            reserved: if let RelayPort::EvenAndNext(token) = port { Some(token) } else { None },
            lifetime,
            expires: now.instant + lifetime,
            permissions: Permissions::default(),
        });
        self.commands.push_back(Command::OpenRelay { relay, family, port, client });
        Ok(None)
    }

    /// What the client asked for; else the family that it came by, because that is the one it can pair with
    /// its other candidates; else the one that we have.
    fn relay_family(&self, client: Client, request: &Message) -> Result<Family, ErrorCode> {
        let families = &self.settings.families;
        let preferred = match request.requested_address_family() {
            Ok(Some(family)) if families.contains(&family) => return Ok(family),
            Ok(None) => Family::of(client.remote),
            Ok(Some(_)) | Err(_) => return Err(ErrorCode::ADDRESS_FAMILY_NOT_SUPPORTED),
        };
        let available = families.iter().find(|family| **family == preferred).or_else(|| families.first());
        available.copied().ok_or(ErrorCode::INSUFFICIENT_CAPACITY)
    }

    /// RFC 8656 section 8.2.
    fn refresh(&mut self, now: Now, client: Client, request: &Message) -> Result<Builder, Refusal> {
        let (relay, session) = self.sessions.of_client(&client).ok_or(ErrorCode::ALLOCATION_MISMATCH)?;
        if request.requested_address_family()?.is_some_and(|family| family != session.family) {
            return Err(ErrorCode::PEER_ADDRESS_FAMILY_MISMATCH.into());
        }
        let lifetime = match request.lifetime()? {
            Some(Duration::ZERO) => {
                debug!(client = %client.remote, "deallocated");
                self.close(relay, Ended::Released);
                Duration::ZERO
            }
            asked => {
                let lifetime = granted(asked);
                self.sessions.set_expiry(relay, now.instant + lifetime);
                lifetime
            }
        };
        Ok(Builder::success(request).lifetime(lifetime))
    }

    /// RFC 8656 section 10.2: all hosts that the request names, or none. Their ports count for nothing.
    fn create_permission(&mut self, now: Now, client: Client, request: &Message) -> Result<Builder, Refusal> {
        let family = self.family_of(client)?;
        let requested: Vec<SocketAddr> = request.xor_peer_addresses().collect::<Result<_, _>>()?;
        if requested.is_empty() {
            return Err(ErrorCode::BAD_REQUEST.into());
        }
        let decided = requested.into_iter().map(|peer| {
            let host = self.settings.peers.decide_host(peer.ip()).ok_or(ErrorCode::FORBIDDEN)?;
            of_family(family, host, host)
        });
        let hosts = decided.collect::<Result<Vec<_>, _>>()?;
        let (_, session) = self.sessions.of_client(&client).ok_or(ErrorCode::ALLOCATION_MISMATCH)?;
        if session.permissions.permit(&hosts, self.settings.limits, now.instant) {
            Ok(Builder::success(request))
        } else {
            self.counts.limited.permissions += 1;
            Err(ErrorCode::INSUFFICIENT_CAPACITY.into())
        }
    }

    /// RFC 8656 section 12.2.
    fn channel_bind(&mut self, now: Now, client: Client, request: &Message) -> Result<Builder, Refusal> {
        let family = self.family_of(client)?;
        let (channel, requested) = (request.channel_number()?, request.xor_peer_address()?);
        let (Some(channel), Some(requested)) = (channel, requested) else {
            return Err(ErrorCode::BAD_REQUEST.into());
        };
        let peer = self.settings.peers.decide(requested).ok_or(ErrorCode::FORBIDDEN)?;
        let peer = of_family(family, peer.host(), peer)?;
        let (_, session) = self.sessions.of_client(&client).ok_or(ErrorCode::ALLOCATION_MISMATCH)?;
        match session.permissions.bind(channel, peer, self.settings.limits, now.instant) {
            Ok(()) => return Ok(Builder::success(request)),
            Err(BindError::Taken) => return Err(ErrorCode::BAD_REQUEST.into()),
            Err(BindError::Full) => self.counts.limited.channels += 1,
            Err(BindError::NoPermission) => self.counts.limited.permissions += 1,
        }
        Err(ErrorCode::INSUFFICIENT_CAPACITY.into())
    }

    fn family_of(&mut self, client: Client) -> Result<Family, ErrorCode> {
        let (_, session) = self.sessions.of_client(&client).ok_or(ErrorCode::ALLOCATION_MISMATCH)?;
        Ok(session.family)
    }

    fn refuse(
        &mut self,
        now: Now,
        client: Client,
        request: &Message,
        refusal: Refusal,
        key: Option<&IntegrityKey>,
    ) {
        debug!(client = %client.remote, method = ?request.method(), ?refusal, "refused");
        let challenge = |code| {
            Builder::new(Class::Error, request.method(), request.transaction())
                .error_code(code, "")
                .realm(&self.settings.realm)
                .nonce(&self.settings.nonce_key.issue(client.remote, now.unix))
        };
        let (code, answer) = match refusal {
            Refusal::Code(code) => (code, Builder::error(request, code)),
            Refusal::Challenge(code) => (code, challenge(code)),
            Refusal::UnknownSecret => {
                self.counts.add_refused(Refused::UnknownSecret);
                (ErrorCode::UNAUTHENTICATED, challenge(ErrorCode::UNAUTHENTICATED))
            }
            Refusal::Unknown(unknown) => {
                (ErrorCode::UNKNOWN_ATTRIBUTE, unknown_attributes(request, &unknown))
            }
        };
        self.counts.add_error(code);
        self.send(client, if let Some(key) = key { answer.integrity(key) } else { answer });
    }

    fn send(&mut self, client: Client, answer: Builder) {
        self.commands.push_back(Command::Send { client, bytes: answer.finish() });
    }
}

/// The same for a retransmission, so that a client whose first answer got lost learns the same (RFC 8656 section 7.2).
fn allocate_success(session: &Session) -> Builder {
    let answer = Builder::new(Class::Success, Method::Allocate, session.allocate);
    let answer = session.relayed.into_iter().fold(answer, Builder::xor_relayed_address);
    let answer = session.reserved.into_iter().fold(answer, Builder::reservation_token);
    answer.xor_mapped_address(session.client.remote).lifetime(session.lifetime)
}

fn unknown_attributes(request: &Message, unknown: &[AttrType]) -> Builder {
    let listed = &unknown[..unknown.len().min(MAX_UNKNOWN_ATTRIBUTES)];
    Builder::error(request, ErrorCode::UNKNOWN_ATTRIBUTE).unknown_attributes(listed)
}

/// Lets `decided` pass if an allocation of this family can reach its host. 403 has come before this 443: browsers take a
/// 403 for an answer, and what is refused is nobody's business anyway.
fn of_family<T>(family: Family, host: Host, decided: T) -> Result<T, ErrorCode> {
    if host.is_family(family) { Ok(decided) } else { Err(ErrorCode::PEER_ADDRESS_FAMILY_MISMATCH) }
}

/// The lifetime for the one that a client asks for (RFC 8656 section 7.2).
fn granted(asked: Option<Duration>) -> Duration {
    asked.map_or(DEFAULT_LIFETIME, |asked| asked.clamp(DEFAULT_LIFETIME, MAX_LIFETIME))
}
