//! A TURN client whose media goes on while it asks for something, and that looks at everything that comes.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use hubs_relay::auth::RestCredential;
use hubs_relay::wire::{
    Builder, ChannelData, ChannelNumber, Class, ErrorCode, Frame, Indication, IndicationKind, IntegrityKey,
    Message, Method, PROTOCOL_UDP, TransactionId,
};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout_at};

use super::link::Link;
use super::payload::Ledger;
use super::world::World;
use crate::bed::REALM;

/// When a request over UDP is sent again for the first time.
const RETRY: Duration = Duration::from_millis(500);
/// How long an answer may take. Who shows a secret that is not known yet waits for the database.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long the last packets may be on their way.
const SETTLING: Duration = Duration::from_secs(10);

/// How payloads travel between client and relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// On a channel, as Chromium sends media.
    Channel,
    /// In Send and Data indications, as Firefox does.
    Indications,
}

pub(super) struct Client {
    world: Rc<World>,
    link: Link,
    username: String,
    key: IntegrityKey,
    nonce: String,
    number: u64,
    /// How many transactions there were.
    transactions: u32,
    /// The answer to the last one.
    answer: Option<Message>,
    framing: Framing,
    peer: SocketAddr,
    ledger: Ledger,
    renewed: Instant,
}

impl Client {
    /// A client that has said nothing yet, and that will talk with `peer`.
    pub(super) fn new(
        world: Rc<World>,
        link: Link,
        credential: &RestCredential,
        number: u64,
        framing: Framing,
        peer: SocketAddr,
    ) -> Self {
        let key = IntegrityKey::long_term(&credential.username, REALM, credential.password.expose());
        Self {
            world,
            link,
            username: credential.username.clone(),
            key,
            nonce: String::new(),
            number,
            transactions: 0,
            answer: None,
            framing,
            peer,
            ledger: Ledger::new(number),
            renewed: Instant::now(),
        }
    }

    /// Asks for an allocation as a browser does, first without credentials; returns the code of the refusal, or 0.
    pub(super) async fn allocate(&mut self) -> io::Result<u16> {
        let request = |it: Builder| it.requested_transport(PROTOCOL_UDP);
        let challenge = self.ask(Method::Allocate, request).await?;
        match (code(&challenge), challenge.nonce()) {
            (401, Ok(Some(nonce))) => nonce.clone_into(&mut self.nonce),
            (code, _) => return Err(refused("an Allocate without credentials", code)),
        }
        let (code, answer) = self.ask_signed(Method::Allocate, request).await?;
        if code == 0 {
            self.renewed = Instant::now();
            let mapped = answer.xor_mapped_address().map_err(io::Error::other)?;
            if mapped != Some(self.link.local_addr()?) {
                return Err(io::Error::other(format!("the relay takes it for {mapped:?}")));
            }
        }
        Ok(code)
    }

    /// Gets leave to talk with its peer, or renews it. Chromium's first payload goes in an indication, then it binds a channel.
    pub(super) async fn permit(&mut self) -> io::Result<()> {
        let peer = self.peer;
        self.expect(Method::CreatePermission, |it| it.xor_peer_address(peer)).await?;
        if self.framing == Framing::Channel {
            self.send_media(Framing::Indications).await?;
            let channel = |it: Builder| it.channel_number(ChannelNumber::MIN).xor_peer_address(peer);
            self.expect(Method::ChannelBind, channel).await?;
        }
        Ok(())
    }

    /// Keeps the allocation and the leave to talk.
    pub(super) async fn refresh(&mut self) -> io::Result<()> {
        self.expect(Method::Refresh, |it| it).await?;
        self.renewed = Instant::now();
        self.permit().await
    }

    /// Sends a payload each `gap` and takes what comes back, until then.
    pub(super) async fn talk(&mut self, until: Instant, gap: Duration) -> io::Result<()> {
        let mut ticks = interval(gap);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = sleep_until(until) => return Ok(()),
                _ = ticks.tick() => self.send_media(self.framing).await?,
                heard = self.hear() => heard?,
            }
        }
    }

    /// Takes what is still to come, and returns how many payloads are lost.
    pub(super) async fn settle(&mut self) -> io::Result<usize> {
        let deadline = Instant::now() + SETTLING;
        while self.ledger.out() > 0 {
            match timeout_at(deadline, self.hear()).await {
                Ok(heard) => heard?,
                Err(_) => break,
            }
        }
        Ok(self.ledger.out())
    }

    /// Payloads that have not come back.
    pub(super) fn out(&self) -> usize {
        self.ledger.out()
    }

    /// Gives the allocation back, and hears that it is gone.
    pub(super) async fn release(&mut self) -> io::Result<()> {
        self.expect(Method::Refresh, |it| it.lifetime(Duration::ZERO)).await
    }

    /// Gives the allocation back and does not wait for the answer.
    pub(super) async fn release_unheard(&mut self) -> io::Result<()> {
        let end = self.signed(Method::Refresh, |it| it.lifetime(Duration::ZERO));
        self.link.send(end.finish()).await
    }

    /// Ends the connection in order.
    pub(super) async fn shut_down(&mut self) -> io::Result<()> {
        self.link.shut_down().await
    }

    /// When the relay heard last that somebody wants the allocation.
    pub(super) const fn renewed(&self) -> Instant {
        self.renewed
    }

    /// Waits until the relay closes the connection.
    pub(super) async fn wait_until_closed(&mut self) {
        while self.hear().await.is_ok() {}
    }

    /// The code with which a Refresh is refused, or 0.
    pub(super) async fn try_refresh(&mut self) -> io::Result<u16> {
        self.ask_signed(Method::Refresh, |it| it).await.map(|(code, _)| code)
    }

    pub(super) const fn is_stream(&self) -> bool {
        self.link.is_stream()
    }

    async fn send_media(&mut self, framing: Framing) -> io::Result<()> {
        let payload = self.ledger.issue();
        let frame = match framing {
            Framing::Channel => {
                [&ChannelData::header(ChannelNumber::MIN, payload.len() as u16), &*payload].concat()
            }
            Framing::Indications => {
                let mut frame = vec![0; IndicationKind::header_len(self.peer)];
                IndicationKind::Send.write_header(self.next_id(), self.peer, payload.len(), &mut frame);
                frame.extend(&payload);
                frame.resize(frame.len().next_multiple_of(4), 0);
                frame
            }
        };
        self.world.count(|it| it.sent += 1);
        self.link.send(frame).await
    }

    /// A signed request that has to be granted.
    async fn expect(&mut self, method: Method, fill: impl Fn(Builder) -> Builder) -> io::Result<()> {
        match self.ask_signed(method, fill).await? {
            (0, _) => Ok(()),
            (code, _) => Err(refused(&format!("{method:?}"), code)),
        }
    }

    /// A signed request, again if the nonce is no longer good; and the code of its refusal, or 0.
    async fn ask_signed(
        &mut self,
        method: Method,
        fill: impl Fn(Builder) -> Builder,
    ) -> io::Result<(u16, Message)> {
        let mut answer = self.ask_signed_once(method, &fill).await?;
        if code(&answer) == ErrorCode::STALE_NONCE.0
            && let Ok(Some(nonce)) = answer.nonce()
        {
            nonce.clone_into(&mut self.nonce);
            answer = self.ask_signed_once(method, &fill).await?;
        }
        let code = code(&answer);
        if code == 0 && !answer.verify(&self.key) {
            return Err(io::Error::other(format!("the success of {method:?} is not signed")));
        }
        Ok((code, answer))
    }

    async fn ask_signed_once(
        &mut self,
        method: Method,
        fill: impl Fn(Builder) -> Builder,
    ) -> io::Result<Message> {
        let request = self.signed(method, fill);
        self.answer_to(method, request.finish()).await
    }

    fn signed(&mut self, method: Method, fill: impl Fn(Builder) -> Builder) -> Builder {
        let request = fill(Builder::request(method, self.next_id()));
        request.username(&self.username).realm(REALM).nonce(&self.nonce).integrity(&self.key)
    }

    async fn ask(&mut self, method: Method, fill: impl Fn(Builder) -> Builder) -> io::Result<Message> {
        let request = fill(Builder::request(method, self.next_id()));
        self.answer_to(method, request.finish()).await
    }

    /// Sends a request, over UDP again and again, until its answer is there. Media goes on coming meanwhile.
    async fn answer_to(&mut self, method: Method, request: Vec<u8>) -> io::Result<Message> {
        self.answer = None;
        let (begin, mut pause) = (Instant::now(), RETRY);
        self.link.send(request.clone()).await?;
        let mut again = begin + pause;
        loop {
            tokio::select! {
                heard = self.hear() => heard?,
                () = sleep_until(again) => {
                    if begin.elapsed() > PATIENCE {
                        return Err(io::Error::other(format!("no answer to {method:?}")));
                    }
                    if !self.link.is_stream() {
                        self.world.count(|it| it.repeats += 1);
                        self.link.send(request.clone()).await?;
                    }
                    pause *= 2;
                    again = Instant::now() + pause;
                }
            }
            if let Some(answer) = self.answer.take() {
                return Ok(answer);
            }
        }
    }

    /// Reads once, and looks at what came.
    async fn hear(&mut self) -> io::Result<()> {
        let Self { link, ledger, answer, world, .. } = self;
        let (peer, number, last) = (self.peer, self.number, self.transactions);
        let mut fault = None;
        let received = link.receive(|frame| {
            let looked = match heard(frame, peer, number) {
                Ok(Heard::Payload(payload)) => {
                    ledger.redeem(payload).map(|()| world.count(|it| it.returned += 1))
                }
                Ok(Heard::Answer(transaction, message)) if transaction == last => {
                    *answer = Some(message);
                    Ok(())
                }
                // A request that was sent twice is answered twice.
                Ok(Heard::Answer(transaction, _)) if transaction < last => Ok(()),
                Ok(Heard::Answer(..)) => Err("an answer came to a request that was not made".to_owned()),
                Err(fault) => Err(fault),
            };
            fault = fault.take().or_else(|| looked.err());
        });
        received.await?;
        fault.map_or(Ok(()), |fault| Err(io::Error::other(fault)))
    }

    fn next_id(&mut self) -> TransactionId {
        self.transactions += 1;
        let mut id = [0; 12];
        id[..8].copy_from_slice(&self.number.to_be_bytes());
        id[8..].copy_from_slice(&self.transactions.to_be_bytes());
        TransactionId(id)
    }
}

/// What a relay may send.
enum Heard<'a> {
    Payload(&'a [u8]),
    /// By the number of the transaction.
    Answer(u32, Message),
}

/// Reads a frame that came to the client with this number, which talks with `peer` alone.
fn heard(frame: Frame<'_>, peer: SocketAddr, number: u64) -> Result<Heard<'_>, String> {
    match frame {
        Frame::ChannelData(data) if data.channel == ChannelNumber::MIN => Ok(Heard::Payload(data.payload)),
        Frame::ChannelData(data) => Err(format!("data came on channel {}", data.channel)),
        Frame::Message(bytes) if Indication::is_indication(bytes) => match Indication::read(bytes) {
            Some(it) if it.kind == IndicationKind::Data && it.peer == peer => Ok(Heard::Payload(it.payload)),
            _ => Err("an indication came that is no data of the peer".to_owned()),
        },
        Frame::Message(bytes) => {
            let message = Message::parse(bytes).map_err(|error| error.to_string())?;
            let id = message.transaction().0;
            match (message.class(), id.first_chunk(), id.last_chunk()) {
                (Class::Success | Class::Error, Some(owner), Some(own)) if *owner == number.to_be_bytes() => {
                    Ok(Heard::Answer(u32::from_be_bytes(*own), message))
                }
                (class, ..) => {
                    Err(format!("a {class:?} of {:?} came that was meant for another", message.method()))
                }
            }
        }
    }
}

/// The code of an error answer, or 0.
fn code(answer: &Message) -> u16 {
    match answer.error_code() {
        Ok(Some((code, _))) => code.0,
        Ok(None) => 0,
        Err(_) => u16::MAX,
    }
}

fn refused(what: &str, code: u16) -> io::Error {
    io::Error::other(format!("{what} was answered with {code}"))
}
