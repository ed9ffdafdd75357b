//! Requests and their answers (RFC 8656 sections 7 to 12), authenticated as RFC 8489 section 9.2.4 says.

use std::net::SocketAddr;
use std::time::Duration;

use tracing::debug;

use super::nonce::Features;
use super::permissions::{BindError, Permissions};
use super::session::Session;
use super::{Client, Command, Ended, Host, Now, RelayId, RelayPort, Server};
use crate::auth::Refused;
use crate::wire::{
    AttrType, BadAttribute, Builder, Class, ErrorCode, Family, Integrity, IntegrityKey, Message, Method,
    PROTOCOL_UDP, PasswordAlgorithm, ReservationToken, attribute, userhash,
};

/// RFC 8656 section 3.2 for the default, section 7.2 for the maximum.
const DEFAULT_LIFETIME: Duration = Duration::from_mins(10);
const MAX_LIFETIME: Duration = Duration::from_hours(1);

/// What a request may carry without a 420 (RFC 8489 section 6.3.1): all that we understand, needed there or not.
const UNDERSTOOD: [AttrType; 18] = [
    attribute::MAPPED_ADDRESS,
    attribute::USERNAME,
    attribute::ERROR_CODE,
    attribute::UNKNOWN_ATTRIBUTES,
    attribute::CHANNEL_NUMBER,
    attribute::LIFETIME,
    attribute::XOR_PEER_ADDRESS,
    attribute::REALM,
    attribute::NONCE,
    attribute::PASSWORD_ALGORITHM,
    attribute::USERHASH,
    attribute::XOR_RELAYED_ADDRESS,
    attribute::REQUESTED_ADDRESS_FAMILY,
    attribute::EVEN_PORT,
    attribute::REQUESTED_TRANSPORT,
    attribute::DONT_FRAGMENT,
    attribute::RESERVATION_TOKEN,
    attribute::XOR_MAPPED_ADDRESS,
];

/// PASSWORD-ALGORITHMS: the better one first, both without parameters (RFC 8489 section 14.11).
const PASSWORD_ALGORITHMS: [u8; 8] =
    [0, PasswordAlgorithm::Sha256 as u8, 0, 0, 0, PasswordAlgorithm::Md5 as u8, 0, 0];

/// Who signed a request, and with what.
#[derive(Debug)]
struct Login {
    username: Box<str>,
    key: IntegrityKey,
}

/// Who a request says that it is from.
#[derive(Clone, Copy, Debug)]
enum Claimed<'a> {
    Name(&'a str),
    Hash([u8; 32]),
}

/// What an Allocate is to get.
#[derive(Debug)]
struct Wanted {
    /// One, or both.
    families: Vec<Family>,
    /// The one that it asks for and we do not have.
    lacks: Option<(Family, ErrorCode)>,
    port: WantedPort,
}

#[derive(Clone, Copy, Debug)]
enum WantedPort {
    Any,
    Even,
    EvenAndNext,
    Reserved(ReservationToken),
}

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
                    Ok(login) => self.handle_authenticated(now, client, &message, &login),
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
            Ok(login) => self.handle_authenticated(now, client, request, &login),
            Err(refusal) => self.refuse(now, client, request, refusal, None),
        }
    }

    /// The shell has opened a relay socket, or could not. `relayed` is what the client learns. Its Allocate is answered when
    /// the last of the sockets that it asked for has been reported.
    pub fn handle_relay_opened(&mut self, relay: RelayId, relayed: Option<SocketAddr>) {
        let Some(session) = self.sessions.get_mut(relay) else { return };
        let client = session.client;
        if relayed.is_some() {
            debug!(client = %client.remote, username = ?session.username, ?relayed, "allocated");
            session.relayed = relayed;
            if self.sessions.find(&client, |it| it.relayed.is_none().then_some(())).is_none() {
                self.answer_allocate(client);
            }
            return;
        }
        let code = ErrorCode::INSUFFICIENT_CAPACITY;
        let Some(failed) = self.sessions.remove(relay) else { return };
        if let Some(token) = failed.reserved {
            self.reservations.remove(token);
            self.commands.push_back(Command::CloseReserved { token });
        }
        if let Some((_, other)) = self.sessions.of_client(&client) {
            other.lacks = Some((failed.family, code));
            if other.relayed.is_some() {
                self.answer_allocate(client);
            }
            return;
        }
        self.counts.add_error(code);
        let answer = Builder::new(Class::Error, Method::Allocate, failed.allocate);
        self.send(client, answer.error_code(code, code.reason()).sign(failed.integrity, &failed.key));
    }

    fn answer_allocate(&mut self, client: Client) {
        let Some((_, session)) = self.sessions.of_client(&client) else { return };
        let (key, integrity) = (session.key.clone(), session.integrity);
        if let Some(answer) = self.allocate_success(client) {
            self.send(client, answer.sign(integrity, &key));
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

    /// Who signed the request. The first one of a session asks the credentials, all others need the first one's key.
    fn authenticate(&mut self, now: Now, client: Client, request: &Message) -> Result<Login, Refusal> {
        let unauthenticated = || Refusal::Challenge(ErrorCode::UNAUTHENTICATED);
        if request.integrity().is_none() {
            return Err(unauthenticated());
        }
        let (claimed, realm, nonce) = (Claimed::by(request)?, request.realm()?, request.nonce()?);
        let (Some(claimed), Some(realm), Some(nonce)) = (claimed, realm, nonce) else {
            return Err(ErrorCode::BAD_REQUEST.into());
        };
        if !self.settings.nonce_key.is_fresh(nonce, client.remote, now.unix) {
            return Err(Refusal::Challenge(ErrorCode::STALE_NONCE));
        }
        let algorithm = password_algorithm(request)?;
        if realm != self.settings.realm {
            return Err(unauthenticated());
        }
        if let Some((_, session)) = self.sessions.of_client(&client) {
            if !claimed.is(&session.username, realm) {
                // RFC 8656 section 7.2 for Allocate, section 5 for the others.
                return Err(Refusal::Code(match request.method() {
                    Method::Allocate => ErrorCode::ALLOCATION_MISMATCH,
                    _ => ErrorCode::WRONG_CREDENTIALS,
                }));
            }
            let login = Login { username: session.username.clone(), key: session.key.clone() };
            return if request.verify(&login.key) { Ok(login) } else { Err(unauthenticated()) };
        }
        let credentials = &self.settings.credentials;
        let username = match claimed {
            Claimed::Name(username) => Some(username),
            Claimed::Hash(hash) => credentials.user_of_hash(&hash, realm),
        };
        let key = username.ok_or(Refused::UnknownUser).and_then(|username| {
            credentials.authenticate(username, realm, algorithm, now.unix, |key| request.verify(key))
        });
        match key {
            Ok(key) => {
                self.counts.authenticated += 1;
                Ok(Login { username: username.unwrap_or_default().into(), key })
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

    fn handle_authenticated(&mut self, now: Now, client: Client, request: &Message, login: &Login) {
        let unknown = request.unknown_required(&UNDERSTOOD);
        let answer = if unknown.is_empty() {
            match request.method() {
                Method::Allocate => self.allocate(now, client, request, login),
                Method::Refresh => self.refresh(now, client, request).map(Some),
                Method::CreatePermission => self.create_permission(now, client, request).map(Some),
                _ => self.channel_bind(now, client, request).map(Some),
            }
        } else {
            Err(Refusal::Unknown(unknown))
        };
        match answer {
            Ok(Some(answer)) => self.send(client, sign(answer, request, &login.key)),
            Ok(None) => {}
            Err(refusal) => self.refuse(now, client, request, refusal, Some(&login.key)),
        }
    }

    /// RFC 8656 section 7.2. The answer waits until the relay sockets are open.
    fn allocate(
        &mut self,
        now: Now,
        client: Client,
        request: &Message,
        login: &Login,
    ) -> Result<Option<Builder>, Refusal> {
        if let Some((_, session)) = self.sessions.of_client(&client) {
            return if session.allocate == request.transaction() {
                Ok(self.allocate_success(client))
            } else {
                Err(ErrorCode::ALLOCATION_MISMATCH.into())
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
        let wanted = self.wanted(now, client, request, &login.username)?;
        let lifetime = granted(request.lifetime()?);
        let limits = self.settings.limits;
        let per_address = limits.sessions_per_address;
        let needed = match wanted.port {
            WantedPort::Reserved(_) => 0,
            WantedPort::EvenAndNext => 2,
            WantedPort::Any | WantedPort::Even => wanted.families.len(),
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
        for family in wanted.families {
            let port = match wanted.port {
                WantedPort::Any => RelayPort::Any,
                WantedPort::Even => RelayPort::Even,
                WantedPort::EvenAndNext => {
                    let made_of = (&self.settings.nonce_key, self.settings.transaction_seed);
                    let (reservations, username) = (&mut self.reservations, &login.username);
                    RelayPort::EvenAndNext(reservations.make(client, username, family, made_of, now.instant))
                }
                WantedPort::Reserved(token) => {
                    self.reservations.remove(token);
                    RelayPort::Reserved(token)
                }
            };
            let relay = self.sessions.insert(Session {
                client,
                username: login.username.clone(),
                key: login.key.clone(),
                integrity: integrity_of(request),
                allocate: request.transaction(),
                family,
                relayed: None,
                lacks: wanted.lacks,
                reserved: if let RelayPort::EvenAndNext(token) = port { Some(token) } else { None },
                lifetime,
                expires: now.instant + lifetime,
                permissions: Permissions::default(),
            });
            self.commands.push_back(Command::OpenRelay { relay, family, port, client });
        }
        Ok(None)
    }

    /// What an Allocate asks for, as far as we have it.
    fn wanted(&self, now: Now, client: Client, request: &Message, username: &str) -> Result<Wanted, Refusal> {
        let available = &self.settings.families;
        let unsupported = |_| ErrorCode::ADDRESS_FAMILY_NOT_SUPPORTED;
        let (even_port, token) = (request.even_port()?, request.reservation_token()?);
        let requested = request.requested_address_family().map_err(unsupported)?;
        let additional = request.additional_address_family()?;
        let has_conflict = match (token, additional) {
            (Some(_), _) => even_port.is_some() || requested.is_some() || additional.is_some(),
            // The other family is IPv6, in addition to the IPv4 that there always was.
            (None, Some(family)) => family == Family::V4 || requested.is_some() || even_port == Some(true),
            (None, None) => false,
        };
        if has_conflict {
            return Err(ErrorCode::BAD_REQUEST.into());
        }
        if let Some(token) = token {
            let reservation = self.reservations.find(token, username, now.instant);
            let family = reservation.ok_or(ErrorCode::INSUFFICIENT_CAPACITY)?.family;
            return Ok(Wanted { families: vec![family], lacks: None, port: WantedPort::Reserved(token) });
        }
        let port = match even_port {
            None => WantedPort::Any,
            Some(false) => WantedPort::Even,
            Some(true) => WantedPort::EvenAndNext,
        };
        if additional.is_some() {
            let (families, lacking): (Vec<_>, Vec<_>) =
                [Family::V4, Family::V6].into_iter().partition(|family| available.contains(family));
            let lacks = lacking.first().map(|family| (*family, ErrorCode::ADDRESS_FAMILY_NOT_SUPPORTED));
            return Ok(Wanted { families, lacks, port });
        }
        let family = match requested {
            Some(family) if available.contains(&family) => family,
            Some(_) => return Err(ErrorCode::ADDRESS_FAMILY_NOT_SUPPORTED.into()),
            // The one that the client came by, because it can pair that with its other candidates; else what we have.
            None => {
                let came_by = available.iter().find(|family| **family == Family::of(client.remote));
                *came_by.or_else(|| available.first()).ok_or(ErrorCode::INSUFFICIENT_CAPACITY)?
            }
        };
        Ok(Wanted { families: vec![family], lacks: None, port })
    }

    /// The same for a retransmission, so that a client whose first answer got lost learns the same (RFC 8656 section 7.2);
    /// nothing while a relay socket is not open yet.
    fn allocate_success(&mut self, client: Client) -> Option<Builder> {
        let relays: Vec<RelayId> = self.sessions.relays(&client).collect();
        let mut answer: Option<Builder> = None;
        for relay in relays {
            let session = self.sessions.get_mut(relay)?;
            let begun = answer.unwrap_or_else(|| {
                let answer = Builder::new(Class::Success, Method::Allocate, session.allocate);
                let answer = answer.xor_mapped_address(client.remote).lifetime(session.lifetime);
                let answer = session.reserved.into_iter().fold(answer, Builder::reservation_token);
                session
                    .lacks
                    .into_iter()
                    .fold(answer, |it, (family, code)| it.address_error_code(family, code))
            });
            answer = Some(begun.xor_relayed_address(session.relayed?));
        }
        answer
    }

    /// RFC 8656 section 8.2: one relayed address if the request names its family, else all.
    fn refresh(&mut self, now: Now, client: Client, request: &Message) -> Result<Builder, Refusal> {
        let family = request.requested_address_family()?;
        self.require_allocation(client)?;
        let relays: Vec<RelayId> = match family {
            Some(family) => {
                self.sessions.of_family(&client, family).map(|(relay, _)| relay).into_iter().collect()
            }
            None => self.sessions.relays(&client).collect(),
        };
        if relays.is_empty() {
            return Err(ErrorCode::PEER_ADDRESS_FAMILY_MISMATCH.into());
        }
        let asked = request.lifetime()?;
        let lifetime = if asked == Some(Duration::ZERO) { Duration::ZERO } else { granted(asked) };
        for relay in relays {
            if lifetime.is_zero() {
                debug!(client = %client.remote, "deallocated");
                self.close(relay, Ended::Released);
            } else {
                self.sessions.set_expiry(relay, now.instant + lifetime);
            }
        }
        Ok(Builder::success(request).lifetime(lifetime))
    }

    /// RFC 8656 section 10.2: all hosts that the request names, or none. Their ports count for nothing.
    fn create_permission(&mut self, now: Now, client: Client, request: &Message) -> Result<Builder, Refusal> {
        self.require_allocation(client)?;
        let requested: Vec<SocketAddr> = request.xor_peer_addresses().collect::<Result<_, _>>()?;
        if requested.is_empty() {
            return Err(ErrorCode::BAD_REQUEST.into());
        }
        let mut permitted: [(Family, Vec<Host>); 2] = [(Family::V4, Vec::new()), (Family::V6, Vec::new())];
        for peer in requested {
            let host = self.settings.peers.decide_host(peer.ip()).ok_or(ErrorCode::FORBIDDEN)?;
            let (family, hosts) = &mut permitted[usize::from(peer.is_ipv6())];
            self.session_for(client, host, *family)?;
            hosts.push(host);
        }
        let limits = self.settings.limits;
        for (family, hosts) in &permitted {
            let session = self.sessions.of_family(&client, *family);
            if session.is_some_and(|(_, it)| !it.permissions.has_room_for(hosts, limits, now.instant)) {
                self.counts.limited.permissions += 1;
                return Err(ErrorCode::INSUFFICIENT_CAPACITY.into());
            }
        }
        for (family, hosts) in &permitted {
            if let Some((_, session)) = self.sessions.of_family(&client, *family) {
                session.permissions.permit(hosts, now.instant);
            }
        }
        Ok(Builder::success(request))
    }

    /// RFC 8656 section 12.2.
    fn channel_bind(&mut self, now: Now, client: Client, request: &Message) -> Result<Builder, Refusal> {
        self.require_allocation(client)?;
        let (channel, requested) = (request.channel_number()?, request.xor_peer_address()?);
        let (Some(channel), Some(requested)) = (channel, requested) else {
            return Err(ErrorCode::BAD_REQUEST.into());
        };
        let peer = self.settings.peers.decide(requested).ok_or(ErrorCode::FORBIDDEN)?;
        let family = Family::of(requested);
        self.session_for(client, peer.host(), family)?;
        let has_channel =
            |it: &Session| it.family != family && it.permissions.has_channel(channel, now.instant);
        if self.sessions.find(&client, |it| has_channel(it).then_some(())).is_some() {
            // The number is one of the client's, whatever the family.
            return Err(ErrorCode::BAD_REQUEST.into());
        }
        let limits = self.settings.limits;
        let session = self.session_for(client, peer.host(), family)?;
        match session.permissions.bind(channel, peer, limits, now.instant) {
            Ok(()) => return Ok(Builder::success(request)),
            Err(BindError::Taken) => return Err(ErrorCode::BAD_REQUEST.into()),
            Err(BindError::Full) => self.counts.limited.channels += 1,
            Err(BindError::NoPermission) => self.counts.limited.permissions += 1,
        }
        Err(ErrorCode::INSUFFICIENT_CAPACITY.into())
    }

    fn require_allocation(&self, client: Client) -> Result<(), ErrorCode> {
        if self.sessions.has(&client) { Ok(()) } else { Err(ErrorCode::ALLOCATION_MISMATCH) }
    }

    /// The client's session that can reach a host. 403 has come before this 443: browsers take a 403 for an answer, and what
    /// is refused is nobody's business anyway.
    fn session_for(&mut self, client: Client, host: Host, family: Family) -> Result<&mut Session, ErrorCode> {
        let session = self.sessions.of_family(&client, family).filter(|_| host.is_family(family));
        session.map(|(_, session)| session).ok_or(ErrorCode::PEER_ADDRESS_FAMILY_MISMATCH)
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
        let features = self.features();
        let challenge = |code| {
            Builder::new(Class::Error, request.method(), request.transaction())
                .error_code(code, "")
                .realm(&self.settings.realm)
                .nonce(&self.settings.nonce_key.issue(features, client.remote, now.unix))
                .attribute(attribute::PASSWORD_ALGORITHMS, &PASSWORD_ALGORITHMS)
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
        self.send(client, if let Some(key) = key { sign(answer, request, key) } else { answer });
    }

    const fn features(&self) -> Features {
        // Rotating secrets may be some that we do not know yet.
        if self.settings.credentials.know_all_names() && !self.settings.secrets_rotate {
            Features::UsernameAnonymityToo
        } else {
            Features::PasswordAlgorithms
        }
    }

    fn send(&mut self, client: Client, answer: Builder) {
        self.commands.push_back(Command::Send { client, bytes: answer.finish() });
    }
}

impl<'a> Claimed<'a> {
    fn by(request: &'a Message) -> Result<Option<Self>, BadAttribute> {
        match request.username()? {
            Some(username) => Ok(Some(Self::Name(username))),
            None => Ok(request.userhash()?.map(Self::Hash)),
        }
    }

    fn is(self, username: &str, realm: &str) -> bool {
        match self {
            Self::Name(name) => name == username,
            Self::Hash(hash) => hash == userhash(username, realm),
        }
    }
}

/// How the request's key is made. A request that echoes another offer than ours has met somebody on the way who would like
/// it to be made in a weaker way (RFC 8489 section 9.2.4).
fn password_algorithm(request: &Message) -> Result<PasswordAlgorithm, ErrorCode> {
    let offered = request.attribute(attribute::PASSWORD_ALGORITHMS);
    match (offered, request.attribute(attribute::PASSWORD_ALGORITHM)) {
        (None, None) => Ok(PasswordAlgorithm::Md5),
        (Some(offered), Some(chosen)) if offered == PASSWORD_ALGORITHMS => match chosen {
            [0, 1, 0, 0] => Ok(PasswordAlgorithm::Md5),
            [0, 2, 0, 0] => Ok(PasswordAlgorithm::Sha256),
            _ => Err(ErrorCode::BAD_REQUEST),
        },
        _ => Err(ErrorCode::BAD_REQUEST),
    }
}

/// How a request is signed. One that is not never gets so far that somebody asks.
fn integrity_of(request: &Message) -> Integrity {
    request.integrity().unwrap_or(Integrity::Sha1)
}

/// An answer is signed as its request (RFC 8489 section 9.2.4).
fn sign(answer: Builder, request: &Message, key: &IntegrityKey) -> Builder {
    answer.sign(integrity_of(request), key)
}

fn unknown_attributes(request: &Message, unknown: &[AttrType]) -> Builder {
    Builder::error(request, ErrorCode::UNKNOWN_ATTRIBUTE).unknown_attributes(unknown)
}

/// The lifetime for the one that a client asks for (RFC 8656 section 7.2).
fn granted(asked: Option<Duration>) -> Duration {
    asked.map_or(DEFAULT_LIFETIME, |asked| asked.clamp(DEFAULT_LIFETIME, MAX_LIFETIME))
}
