//! A WebRTC connection as a browser's (ICE, DTLS, SRTP keys), whose packets take one given [`Path`] and no other.
//!
//! The `webrtc` crate takes sockets from a runtime of the caller's choice. Ours gives it one whose datagrams are carried over the
//! path. Dropping a [`Media`] ends everything that it started.

mod repeat;
mod runtime;

use std::{
    fmt,
    future::pending,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use rtc::{
    ice::mdns::MulticastDnsMode,
    media_stream::MediaStreamTrack,
    peer_connection::configuration::media_engine::MIME_TYPE_OPUS,
    rtp,
    rtp_transceiver::rtp_sender::{
        RTCRtpCodec, RTCRtpCodecParameters, RTCRtpCodingParameters, RTCRtpEncodingParameters, RtpCodecKind,
    },
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::{Instant, sleep_until, timeout},
};
use webrtc::{
    media_stream::{
        track_local::{TrackLocal, static_rtp::TrackLocalStaticRTP},
        track_remote::{TrackRemote, TrackRemoteEvent},
    },
    peer_connection::{
        MediaEngine, PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler,
        RTCPeerConnectionState, RTCSessionDescription, SettingEngineBuilder,
    },
    rtp_transceiver::{RTCRtpTransceiverDirection, RTCRtpTransceiverInit},
};

use self::{repeat::Repeats, runtime::OverPath};
use crate::{
    audio::Opus,
    ice::Path,
    protoo::{Fingerprint, Transport},
};

/// How long ICE and DTLS take at most. Where datagrams get lost DTLS asks for the other end's last flight after a second, then after
/// two, then after four.
pub const CONNECT_LIMIT: Duration = Duration::from_secs(9);

/// How many datagrams wait each way. Those that do not fit are lost, as in any socket.
const MOST_WAITING: usize = 64;

type Datagram = (Vec<u8>, SocketAddr);

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To be there: nothing is sent over it.
    Presence,
    /// For audio from us.
    Speaking(Opus),
    /// For audio from dialog.
    Listening(Opus),
}

impl Purpose {
    fn payload_type(self) -> u8 {
        match self {
            Self::Presence => Opus::CUSTOMARY,
            Self::Speaking(opus) | Self::Listening(opus) => opus.payload_type,
        }
    }

    /// What the other end does, in SDP's words.
    fn other_end(self) -> &'static str {
        match self {
            Self::Presence | Self::Listening(_) => "sendonly",
            Self::Speaking(_) => "recvonly",
        }
    }
}

/// A packet of audio that came, decrypted.
#[derive(Clone, Debug)]
pub struct Heard {
    /// The packet.
    pub packet: rtp::Packet,
    /// When.
    pub at: Instant,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum MediaError {
    /// Our own side could not be set up.
    #[error("the connection could not be prepared: {0}")]
    Unable(String),
    /// It failed before its time was over.
    #[error("the connection fails")]
    Failed,
    /// Its time was over.
    #[error("the connection does not come about within {} s", .0.as_secs())]
    TimedOut(Duration),
    /// The path ended.
    #[error("the path of the packets breaks")]
    PathBroken,
}

impl From<webrtc::error::Error> for MediaError {
    fn from(error: webrtc::error::Error) -> Self {
        Self::Unable(error.to_string())
    }
}

/// A WebRTC connection towards one transport of dialog.
pub struct Media<P: Path> {
    connection: Box<dyn PeerConnection>,
    peer: SocketAddr,
    mid: String,
    fingerprint: Fingerprint,
    state: watch::Receiver<RTCPeerConnectionState>,
    /// Closed when the path breaks.
    outgoing: mpsc::Sender<Datagram>,
    carrier: JoinHandle<Result<P, P::Error>>,
    purpose: Purpose,
    /// What we speak into, if we do.
    track: Option<Arc<TrackLocalStaticRTP>>,
    heard: mpsc::Receiver<Heard>,
}

impl<P: Path> fmt::Debug for Media<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Media")
            .field("peer", &self.peer)
            .field("state", &*self.state.borrow())
            .finish_non_exhaustive()
    }
}

impl<P: Path<Error: Send> + 'static> Media<P> {
    /// Prepares a connection to `peer` over `path`, and makes the certificate for it.
    pub async fn prepare(path: P, peer: SocketAddr, purpose: Purpose) -> Result<Self, MediaError> {
        let (outgoing, to_send) = mpsc::channel(MOST_WAITING);
        let (received, incoming) = mpsc::channel(MOST_WAITING);
        let carrier = tokio::spawn(carry(path, to_send, received));
        let (states, state) = watch::channel(RTCPeerConnectionState::New);
        let runtime = OverPath::new(outgoing.clone(), incoming);
        let (hear, heard) = mpsc::channel(MOST_WAITING);
        let mut media_engine = MediaEngine::default();
        let codec = RTCRtpCodecParameters { rtp_codec: codec(), payload_type: purpose.payload_type() };
        media_engine.register_codec(codec, RtpCodecKind::Audio)?;
        let settings = SettingEngineBuilder::new()
            .with_include_loopback_candidate(true)
            .with_multicast_dns_mode(MulticastDnsMode::Disabled)
            .build();
        let builder = PeerConnectionBuilder::new()
            .with_runtime(Arc::new(runtime))
            .with_handler(Arc::new(Watcher { states, hear }))
            .with_media_engine(media_engine)
            .with_setting_engine(settings)
            .with_udp_addrs(vec![loopback_for(peer)])
            // With a reactor of its own a connection ends when it is dropped; without one it goes on for ever.
            .with_dedicated_reactor_pool_size(1);
        let connection = Box::pin(builder.build()).await?;
        let init = |direction| Some(RTCRtpTransceiverInit { direction, ..RTCRtpTransceiverInit::default() });
        let track = match purpose {
            Purpose::Presence | Purpose::Listening(_) => {
                let receive = init(RTCRtpTransceiverDirection::Recvonly);
                connection.add_transceiver_from_kind(RtpCodecKind::Audio, receive).await?;
                None
            }
            Purpose::Speaking(opus) => {
                let track = Arc::new(microphone(opus));
                let send = init(RTCRtpTransceiverDirection::Sendonly);
                let speaking = Arc::clone(&track) as Arc<dyn TrackLocal>;
                connection.add_transceiver_from_track(speaking, send).await?;
                Some(track)
            }
        };
        let offer = connection.create_offer(None).await?;
        let mid = attribute(&offer.sdp, "mid").unwrap_or("0").to_owned();
        let fingerprint = read_fingerprint(&offer.sdp)
            .ok_or_else(|| MediaError::Unable("the offer names no fingerprint".to_owned()))?;
        connection.set_local_description(offer).await?;
        Ok(Self {
            connection: Box::new(connection),
            peer,
            mid,
            fingerprint,
            state,
            outgoing,
            carrier,
            purpose,
            track,
            heard,
        })
    }

    /// What dialog has to be told before [`Self::connect`].
    pub const fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }

    /// Connects within `limit`: ICE, then DTLS, in which `remote` has to show the certificate that it announced.
    pub async fn connect(&mut self, remote: &Transport, limit: Duration) -> Result<(), MediaError> {
        let answer = RTCSessionDescription::answer(describe(remote, self.peer, &self.mid, self.purpose))?;
        self.connection.set_remote_description(answer).await?;
        let settled = self.state.wait_for(|state| {
            matches!(
                state,
                RTCPeerConnectionState::Connected
                    | RTCPeerConnectionState::Failed
                    | RTCPeerConnectionState::Closed
            )
        });
        tokio::select! {
            settled = timeout(limit, settled) => match settled {
                Ok(Ok(state)) if *state == RTCPeerConnectionState::Connected => Ok(()),
                Ok(_) => Err(MediaError::Failed),
                Err(_) => Err(MediaError::TimedOut(limit)),
            },
            () = self.outgoing.closed() => Err(MediaError::PathBroken),
        }
    }

    /// Sends a packet of audio, on a connection for speaking. What is not connected loses it.
    pub async fn speak(&self, packet: rtp::Packet) -> Result<(), MediaError> {
        match &self.track {
            Some(track) => Ok(track.write_rtp(packet).await?),
            None => Ok(()),
        }
    }

    /// The next packet of audio; nothing when the connection has ended. Dropping the future loses nothing.
    pub async fn hear(&mut self) -> Option<Heard> {
        self.heard.recv().await
    }

    /// Ends the connection and gives the path back, if it still stands.
    pub async fn close(self) -> Option<P> {
        let _ = self.connection.close().await;
        drop((self.connection, self.outgoing));
        self.carrier.await.ok()?.ok()
    }
}

/// Carries datagrams until nobody has any more to send.
async fn carry<P: Path>(
    mut path: P,
    mut to_send: mpsc::Receiver<Datagram>,
    received: mpsc::Sender<Datagram>,
) -> Result<P, P::Error> {
    let mut repeats = Repeats::default();
    loop {
        tokio::select! {
            datagram = to_send.recv() => match datagram {
                Some((datagram, to)) => {
                    path.send(&datagram, to).await?;
                    repeats.sent(Instant::now(), (datagram, to));
                }
                None => return Ok(path),
            },
            datagram = path.receive() => {
                let _ = received.try_send(datagram?);
            }
            () = at(repeats.next()) => {
                if let Some((datagram, to)) = repeats.take(Instant::now()) {
                    path.send(&datagram, to).await?;
                }
            }
        }
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => pending().await,
    }
}

/// The address that the crate believes to send from. Of the peer's family, since it pairs only such.
fn loopback_for(peer: SocketAddr) -> SocketAddr {
    match peer {
        SocketAddr::V4(_) => (Ipv4Addr::LOCALHOST, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::LOCALHOST, 0).into(),
    }
}

/// The answer that a Hubs client writes on dialog's behalf, since dialog itself speaks no SDP (RFC 8839, RFC 8842).
fn describe(remote: &Transport, peer: SocketAddr, mid: &str, purpose: Purpose) -> String {
    let (payload_type, direction) = (purpose.payload_type(), purpose.other_end());
    let (ip, port) = (peer.ip(), peer.port());
    let (ufrag, password) = (remote.ice.ufrag(), remote.ice.password());
    // The crate knows no other algorithm, and fails at the first that it does not know; dialog offers five, in any order.
    let known = remote.fingerprints.iter().filter(|f| f.algorithm == "sha-256");
    let fingerprints: String =
        known.flat_map(|f| ["a=fingerprint:", &f.algorithm, " ", &f.value, "\r\n"]).collect();
    format!(
        "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=ice-lite\r\na=group:BUNDLE {mid}\r\n\
         {fingerprints}m=audio 7 UDP/TLS/RTP/SAVPF {payload_type}\r\nc=IN IP4 127.0.0.1\r\na=mid:{mid}\r\na={direction}\r\n\
         a=rtpmap:{payload_type} opus/48000/2\r\na=rtcp-mux\r\na=setup:passive\r\na=ice-ufrag:{ufrag}\r\na=ice-pwd:{password}\r\n\
         a=candidate:1 1 udp 1076276479 {ip} {port} typ host\r\na=end-of-candidates\r\n"
    )
}

fn attribute<'a>(sdp: &'a str, name: &str) -> Option<&'a str> {
    sdp.lines().find_map(|line| line.strip_prefix("a=")?.strip_prefix(name)?.strip_prefix(':'))
}

fn read_fingerprint(sdp: &str) -> Option<Fingerprint> {
    let (algorithm, value) = attribute(sdp, "fingerprint")?.split_once(' ')?;
    Fingerprint::new(algorithm.to_owned(), value.to_owned())
}

/// What is sent comes from here.
/// Opus, as browsers offer it.
fn codec() -> RTCRtpCodec {
    RTCRtpCodec {
        mime_type: MIME_TYPE_OPUS.to_owned(),
        clock_rate: 48_000,
        channels: 2,
        ..RTCRtpCodec::default()
    }
}

fn microphone(opus: Opus) -> TrackLocalStaticRTP {
    let coding = RTCRtpEncodingParameters {
        rtp_coding_parameters: RTCRtpCodingParameters {
            ssrc: Some(opus.ssrc),
            ..RTCRtpCodingParameters::default()
        },
        codec: codec(),
        active: true,
        ..RTCRtpEncodingParameters::default()
    };
    let name = || "hubs-probe".to_owned();
    TrackLocalStaticRTP::new(MediaStreamTrack::new(name(), name(), name(), RtpCodecKind::Audio, vec![coding]))
}

/// Hands on how the connection is, and what is heard over it.
struct Watcher {
    states: watch::Sender<RTCPeerConnectionState>,
    hear: mpsc::Sender<Heard>,
}

#[async_trait::async_trait]
impl PeerConnectionEventHandler for Watcher {
    async fn on_connection_state_change(&self, state: RTCPeerConnectionState) {
        self.states.send_replace(state);
    }

    async fn on_track(&self, track: Arc<dyn TrackRemote>) {
        let hear = self.hear.clone();
        // Ends with the track, whose last event is that it has none any more.
        tokio::spawn(async move {
            while let Some(event) = track.poll().await {
                if let TrackRemoteEvent::OnRtpPacket(packet) = event {
                    // What does not fit is lost, as in any player.
                    let _ = hear.try_send(Heard { packet, at: Instant::now() });
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ice::Credentials;

    const PEER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9)), 40_001);

    fn remote() -> Transport {
        let fingerprint =
            |algorithm: &str| Fingerprint::new(algorithm.to_owned(), ["AB"; 32].join(":")).unwrap();
        Transport {
            id: "0f1e".to_owned(),
            ice: Credentials::new("u".repeat(32), "p".repeat(32)).unwrap(),
            candidates: Vec::new(),
            fingerprints: ["sha-1", "sha-256", "sha-512"].map(fingerprint).into(),
        }
    }

    /// A path on which nothing comes back, or which ends as soon as something is sent.
    struct DeadEnd {
        breaks: bool,
        sent: mpsc::UnboundedSender<SocketAddr>,
    }

    impl Path for DeadEnd {
        type Error = ();

        async fn send(&mut self, _: &[u8], to: SocketAddr) -> Result<(), ()> {
            let _ = self.sent.send(to);
            if self.breaks { Err(()) } else { Ok(()) }
        }

        async fn receive(&mut self) -> Result<Datagram, ()> {
            pending().await
        }
    }

    async fn over_dead_end(breaks: bool) -> (Media<DeadEnd>, mpsc::UnboundedReceiver<SocketAddr>) {
        let (sent, heard) = mpsc::unbounded_channel();
        (Media::prepare(DeadEnd { breaks, sent }, PEER, Purpose::Presence).await.unwrap(), heard)
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_may_have_an_ipv6_address() {
        let peer = "[2001:db8::9]:40001".parse().unwrap();
        let (sent, mut heard) = mpsc::unbounded_channel();
        match Media::prepare(DeadEnd { breaks: true, sent }, peer, Purpose::Presence).await {
            Ok(mut media) => {
                assert!(matches!(media.connect(&remote(), CONNECT_LIMIT).await, Err(MediaError::PathBroken)));
                assert_eq!(heard.try_recv(), Ok(peer));
            }
            Err(e) => eprintln!("skipped: this machine has no IPv6 loopback ({e})"),
        }
    }

    #[test]
    fn of_dialogs_fingerprints_the_one_is_named_that_the_crate_knows() {
        let sdp = describe(&remote(), PEER, "0", Purpose::Presence);
        assert_eq!(sdp.matches("a=fingerprint:").count(), 1);
        assert!(sdp.contains("a=fingerprint:sha-256 AB:"));
    }

    #[tokio::test(start_paused = true)]
    async fn everything_goes_over_the_path_and_silence_there_is_waited_for_so_long_only() {
        let (mut media, mut heard) = over_dead_end(false).await;
        assert_eq!(media.fingerprint().algorithm, "sha-256");
        assert!(matches!(media.connect(&remote(), CONNECT_LIMIT).await, Err(MediaError::TimedOut(_))));
        assert_eq!(heard.try_recv(), Ok(PEER));
        assert!(media.close().await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_path_that_breaks_is_not_given_back() {
        let (mut media, _heard) = over_dead_end(true).await;
        assert!(matches!(media.connect(&remote(), CONNECT_LIMIT).await, Err(MediaError::PathBroken)));
        assert!(media.close().await.is_none());
    }

    #[tokio::test]
    async fn what_was_started_ends_when_it_is_dropped() {
        let (media, mut heard) = over_dead_end(false).await;
        drop(media);
        // The path is dropped with whoever carried over it.
        assert_eq!(timeout(CONNECT_LIMIT, heard.recv()).await, Ok(None));
    }
}
