//! Frames in, frames out, on one connection: both bounded.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::exchange::now;
use super::presence::Presence;
use crate::config::Transport;
use crate::turn::{Client, Link};
use crate::wire::{NotTurn, Opening, PacketDecoder, PacketTooLong, StreamDecoder};

/// The longest frame that a client without an allocation may send; requests are far shorter.
const STRANGER_FRAME: usize = 2048;
/// How much is read at once; a TLS record holds 16 KiB.
const READ_SIZE: usize = 16 << 10;
/// How often a connection is read until others have their turn.
const READS: usize = 4;
/// Why a connection is over.
#[derive(Debug, Error)]
pub(super) enum End {
    #[error("the client closed it")]
    Closed,
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    NotTurn(#[from] NotTurn),
    #[error(transparent)]
    PacketTooLong(#[from] PacketTooLong),
    #[error("it begins with nothing that is served here")]
    Junk,
    #[error("no allocation for {}s", .0.as_secs())]
    Stranger(Duration),
    #[error("a frame was not finished for {}s", .0.as_secs())]
    Unfinished(Duration),
}

/// What may be spoken on a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Spoken {
    /// STUN and TURN.
    Turn,
    /// The same, or the gateway's packets: its first bytes tell.
    TurnOrPackets,
}

/// Serves the client of a connection until it is over.
pub(super) async fn serve_frames<S: AsyncRead + AsyncWrite + Unpin>(
    presence: &mut Presence,
    stream: S,
    (transport, spoken): (Transport, Spoken),
    remote: SocketAddr,
    local: SocketAddr,
) -> End {
    let outbox = presence.exchange.borrow_mut().open_outbox(transport);
    let client = Client { remote, local, link: Link::Stream(outbox) };
    presence.client = Some(client);
    let decoder = match spoken {
        Spoken::Turn => Decoder::Turn(StreamDecoder::new(STRANGER_FRAME)),
        Spoken::TurnOrPackets => Decoder::Undecided(Vec::new()),
    };
    let mut connection =
        Connection { presence, stream, decoder, client, outbox, has_finished: false, patience: None };
    let Err(end) = poll_fn(|cx| connection.poll(cx)).await;
    end
}

/// What takes a connection's bytes apart.
enum Decoder {
    /// Too little has come to tell.
    Undecided(Vec<u8>),
    Turn(StreamDecoder),
    Packets(PacketDecoder),
}

impl Decoder {
    fn set_limit(&mut self, limit: usize) {
        match self {
            Self::Undecided(_) => {}
            Self::Turn(decoder) => decoder.set_limit(limit),
            Self::Packets(decoder) => decoder.set_limit(limit),
        }
    }

    /// Whether the beginning of something is waiting for its rest.
    const fn is_waiting(&self) -> bool {
        match self {
            Self::Undecided(begun) => !begun.is_empty(),
            Self::Turn(decoder) => decoder.is_waiting(),
            Self::Packets(decoder) => decoder.is_waiting(),
        }
    }
}

struct Connection<'a, S> {
    presence: &'a mut Presence,
    stream: S,
    decoder: Decoder,
    client: Client,
    /// The number of its outbox.
    outbox: u32,
    /// Whether a frame has been finished since `patience` began.
    has_finished: bool,
    /// Runs while there is no allocation, or a frame without an end.
    patience: Option<Pin<Box<Sleep>>>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<'_, S> {
    /// Moves bytes both ways until neither can go on, or others have waited for long enough.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Infallible, End>> {
        for _ in 0..READS {
            self.poll_write(cx)?;
            if self.poll_read(cx)?.is_pending() {
                return self.poll_patience(cx);
            }
        }
        // There may be more, for which it comes back behind the others of this worker.
        cx.waker().wake_by_ref();
        self.poll_patience(cx)
    }

    /// Writes as much of the outbox as the stream takes.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Result<(), End> {
        let mut exchange = self.presence.exchange.borrow_mut();
        let Some(outbox) = exchange.outbox(self.outbox) else { return Err(End::Closed) };
        outbox.waker = Some(cx.waker().clone());
        while !outbox.bytes.is_empty() {
            match Pin::new(&mut self.stream).poll_write(cx, outbox.bytes.as_slices().0)? {
                Poll::Ready(0) => return Err(End::Closed),
                Poll::Ready(written) => outbox.consume(written),
                Poll::Pending => break,
            }
        }
        let _ = Pin::new(&mut self.stream).poll_flush(cx)?;
        Ok(())
    }

    /// Reads what there is and hands its frames to the exchange.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Result<Poll<()>, End> {
        let mut bytes = [MaybeUninit::uninit(); READ_SIZE];
        let mut buffer = ReadBuf::uninit(&mut bytes);
        match Pin::new(&mut self.stream).poll_read(cx, &mut buffer)? {
            Poll::Pending => return Ok(Poll::Pending),
            Poll::Ready(()) if buffer.filled().is_empty() => return Err(End::Closed),
            Poll::Ready(()) => {}
        }
        self.take(buffer.filled())?;
        Ok(Poll::Ready(()))
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), End> {
        if let Decoder::Undecided(begun) = &mut self.decoder {
            let mut begun = std::mem::take(begun);
            begun.extend_from_slice(bytes);
            self.decoder = match Opening::tell(&begun) {
                None => Decoder::Undecided(begun),
                Some(opening) => {
                    self.decoder = match opening {
                        Opening::Turn => Decoder::Turn(StreamDecoder::new(STRANGER_FRAME)),
                        Opening::Packets => Decoder::Packets(PacketDecoder::new(STRANGER_FRAME)),
                        Opening::Proxy | Opening::Tls | Opening::Junk => return Err(End::Junk),
                    };
                    return self.take(&begun);
                }
            };
            return Ok(());
        }
        let now = now();
        let mut exchange = self.presence.exchange.borrow_mut();
        let result = match &mut self.decoder {
            Decoder::Undecided(_) => Ok(()),
            Decoder::Turn(decoder) => decoder
                .decode(bytes, |frame| {
                    self.has_finished = true;
                    exchange.take_frame(now, self.client, frame);
                })
                .map_err(End::from),
            Decoder::Packets(decoder) => decoder
                .decode(bytes, |packet| {
                    self.has_finished = true;
                    exchange.take_from_browser(now, self.client, packet);
                })
                .map_err(End::from),
        };
        exchange.flush();
        result
    }

    /// A client without an allocation may stay for a while, and may send short frames only. One that has an allocation
    /// may stay, but has to finish what it begins to send.
    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<Result<Infallible, End>> {
        let is_stranger = !self.presence.exchange.borrow().is_allocated(&self.client);
        let limit = self.presence.exchange.borrow().limits().stranger_timeout;
        if is_stranger != self.presence.is_stranger {
            self.presence.set_stranger(is_stranger);
            self.decoder.set_limit(if is_stranger { STRANGER_FRAME } else { StreamDecoder::MAX_FRAME });
            self.patience = None;
        }
        if !is_stranger && !self.decoder.is_waiting() {
            return Poll::Pending;
        }
        let patience = self.patience.get_or_insert_with(|| Box::pin(sleep(limit)));
        loop {
            ready!(patience.as_mut().poll(cx));
            if is_stranger {
                return Poll::Ready(Err(End::Stranger(limit)));
            }
            // Media often ends a read within a frame. The timer is not wound up for each of these, but looks back.
            if !std::mem::take(&mut self.has_finished) {
                return Poll::Ready(Err(End::Unfinished(limit)));
            }
            patience.as_mut().reset(tokio::time::Instant::now() + limit);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::exchange::tests::exchange;
    use super::*;
    use crate::wire::{Builder, Class, Method, TransactionId};

    /// A client that always has something to say, for so many times.
    struct Talkative(usize);

    impl AsyncRead for Talkative {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            if self.0 > 0 {
                self.0 -= 1;
                let said = Builder::new(Class::Indication, Method::Binding, TransactionId([1; 12]));
                buffer.put_slice(&said.finish());
            }
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncWrite for Talkative {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn a_connection_that_is_never_empty_leaves_others_their_turn_and_is_read_to_its_end() {
        let exchange = exchange();
        let mut presence = Presence::stranger(&exchange).unwrap();
        let (remote, local) = ("192.0.2.7:1".parse().unwrap(), "192.0.2.1:2".parse().unwrap());
        let what = (Transport::Tcp, Spoken::Turn);
        let mut served = std::pin::pin!(serve_frames(&mut presence, Talkative(100), what, remote, local));
        tokio::select! {
            biased;
            end = &mut served => panic!("nobody else had a turn: {end}"),
            () = std::future::ready(()) => {}
        }
        assert!(matches!(served.await, End::Closed));
    }
}
