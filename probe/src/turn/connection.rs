//! Messages and datagrams between a TURN client and its server, over TLS or in datagrams (RFC 8656 section 2.1).

use std::{collections::VecDeque, fmt, io, net::SocketAddr, time::Duration};

use hubs_relay::wire::{
    Builder, ChannelData, ChannelNumber, Class, Frame, Indication, IndicationKind, Message, StreamDecoder,
    TransactionId,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UdpSocket,
    time::{Instant, timeout, timeout_at},
};

use super::{Request, TurnError};
use crate::{net::TlsStream, random};

/// How long the server may take to answer a request.
pub(super) const ANSWER_LIMIT: Duration = Duration::from_secs(4);

/// How long the server may take to let us say goodbye.
const CLOSE_LIMIT: Duration = Duration::from_secs(1);

/// After this time a request in a datagram is sent again, then after twice as long, and so on, as libwebrtc does it.
const FIRST_REPEAT: Duration = Duration::from_millis(250);

/// How many datagrams wait to be received. Those that do not fit are lost, as on the way.
pub(super) const MOST_WAITING: usize = 64;

/// Nothing longer is taken from a server. Media fits into 1500 bytes; what is no TURN often reads like a huge frame.
const LONGEST_FRAME: usize = 2048;

/// One client's connection.
pub(super) struct Connection {
    carrier: Carrier,
    pub(super) inbox: Inbox,
}

/// What takes the bytes there.
enum Carrier {
    Tls(Box<TlsStream>, StreamDecoder),
    Udp(UdpSocket),
}

/// What came, and what is waited for.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    pub(super) channels: Vec<(ChannelNumber, SocketAddr)>,
    /// The request whose answer is waited for, and that answer, once it is there.
    awaited: TransactionId,
    answer: Option<Message>,
    pub(super) datagrams: VecDeque<(Vec<u8>, SocketAddr)>,
}

impl Connection {
    pub(super) fn over_tls(stream: TlsStream) -> Self {
        Self::over(Carrier::Tls(Box::new(stream), StreamDecoder::new(LONGEST_FRAME)))
    }

    /// `socket` is connected to the server.
    pub(super) fn over_udp(socket: UdpSocket) -> Self {
        Self::over(Carrier::Udp(socket))
    }

    fn over(carrier: Carrier) -> Self {
        Self { carrier, inbox: Inbox::default() }
    }

    /// Sends a request and waits for its answer, which is given with the time that it took. Datagrams that come meanwhile are
    /// kept.
    pub(super) async fn exchange(
        &mut self,
        request: Request,
        describe: impl FnOnce(Builder) -> Builder,
    ) -> Result<(Message, Duration), TurnError> {
        self.inbox.awaited = TransactionId(random::bytes());
        let message = describe(Builder::request(request.into(), self.inbox.awaited)).finish();
        let begin = Instant::now();
        let end = begin + ANSWER_LIMIT;
        let mut patience = match self.carrier {
            Carrier::Tls(..) => ANSWER_LIMIT,
            Carrier::Udp(_) => FIRST_REPEAT,
        };
        while Instant::now() < end {
            self.write(&message).await?;
            let until = (Instant::now() + patience).min(end);
            patience *= 2;
            if let Ok(answer) = timeout_at(until, self.answer()).await {
                return Ok((answer?, begin.elapsed()));
            }
        }
        Err(TurnError::Silent(request))
    }

    async fn answer(&mut self) -> Result<Message, TurnError> {
        loop {
            self.read().await?;
            if let Some(answer) = self.inbox.answer.take() {
                return Ok(answer);
            }
        }
    }

    /// Sends a datagram: on the peer's channel if it has one, else in a Send indication (RFC 8656 section 11).
    pub(super) async fn send(&mut self, datagram: &[u8], to: SocketAddr) -> Result<(), TurnError> {
        let len = datagram.len();
        let channel = self.inbox.channels.iter().find(|(_, peer)| *peer == to).map(|(channel, _)| *channel);
        let framed = if let Some(channel) = channel {
            let header = ChannelData::header(channel, len as u16);
            [&header[..], datagram, &[0; 3][..ChannelData::stream_padding(len)]].concat()
        } else {
            let mut header = [0; Indication::MAX_HEADER_LEN];
            let transaction = TransactionId(random::bytes());
            let too_long = || TurnError::Broken(io::ErrorKind::InvalidInput.into());
            let header_len =
                IndicationKind::Send.write_header(transaction, to, len, &mut header).ok_or_else(too_long)?;
            [&header[..header_len], datagram, &[0; 3][..IndicationKind::padding(len)]].concat()
        };
        self.write(&framed).await
    }

    /// Takes in what comes next. Dropping the future loses nothing, because what was read is taken in without waiting.
    pub(super) async fn read(&mut self) -> Result<(), TurnError> {
        let mut bytes = [0; 4096];
        let Self { carrier, inbox } = self;
        match carrier {
            Carrier::Tls(stream, decoder) => {
                let len = match stream.read(&mut bytes).await {
                    Ok(0) => return Err(TurnError::Closed),
                    Ok(len) => len,
                    Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Err(TurnError::Closed),
                    Err(e) if e.kind() == io::ErrorKind::ConnectionReset => return Err(TurnError::Closed),
                    Err(e) => return Err(TurnError::Broken(e)),
                };
                decoder.decode(&bytes[..len], |frame| inbox.take(&frame))?;
            }
            Carrier::Udp(socket) => {
                let len = socket.recv(&mut bytes).await.map_err(TurnError::Broken)?;
                // Anybody can send a datagram that is none of TURN's; it is passed over.
                if let Some(frame) = Frame::of_datagram(&bytes[..len]) {
                    inbox.take(&frame);
                }
            }
        }
        Ok(())
    }

    /// Says goodbye, where the carrier has a word for it.
    pub(super) async fn shutdown(&mut self) {
        if let Carrier::Tls(stream, _) = &mut self.carrier {
            let _ = timeout(CLOSE_LIMIT, stream.shutdown()).await;
        }
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), TurnError> {
        let write = async {
            match &mut self.carrier {
                Carrier::Tls(stream, _) => {
                    stream.write_all(bytes).await?;
                    stream.flush().await
                }
                Carrier::Udp(socket) => socket.send(bytes).await.map(drop),
            }
        };
        match timeout(ANSWER_LIMIT, write).await {
            Ok(written) => written.map_err(TurnError::Broken),
            Err(_) => Err(TurnError::Broken(io::ErrorKind::TimedOut.into())),
        }
    }
}

impl Inbox {
    fn take(&mut self, frame: &Frame<'_>) {
        match frame {
            Frame::ChannelData(ChannelData { channel, payload }) => {
                if let Some((_, peer)) = self.channels.iter().find(|(number, _)| number == channel) {
                    self.keep(payload, *peer);
                }
            }
            Frame::Message(bytes) => match Indication::read(bytes) {
                Some(Indication { kind: IndicationKind::Data, peer, payload, .. }) => {
                    self.keep(payload, peer);
                }
                Some(_) => {}
                None => {
                    let is_awaited = |m: &Message| is_answer(m) && m.transaction() == self.awaited;
                    if let Some(message) = Message::parse(bytes).ok().filter(is_awaited) {
                        self.answer = Some(message);
                    }
                }
            },
        }
    }

    fn keep(&mut self, payload: &[u8], from: SocketAddr) {
        if self.datagrams.len() < MOST_WAITING {
            self.datagrams.push_back((payload.to_vec(), from));
        }
    }
}

fn is_answer(message: &Message) -> bool {
    matches!(message.class(), Class::Success | Class::Error)
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("channels", &self.inbox.channels).finish_non_exhaustive()
    }
}
