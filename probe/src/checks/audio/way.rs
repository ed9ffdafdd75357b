//! The ways that sound can take: those over which dialog has answered ICE, the gateway's among them, and TURN in datagrams, where it
//! is offered.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use futures_util::future::{BoxFuture, join_all};
use tokio::time::timeout;

use crate::{
    candidate::{Candidate, Protocol},
    check::Context,
    codes::Code,
    facts::{TurnCertificate, TurnFacts},
    ice::{DirectPath, Path},
    media::{MediaError, Purpose},
    net::Net,
    protoo::{ProtooError, Transport},
    target::STUN,
    turn::{Allocation, Client, TurnError},
};

/// How long a server that takes datagrams may take to say so. No browser is told of it, so it is no loss if it does not.
const OFFER_LIMIT: Duration = Duration::from_secs(1);

/// Why nothing was heard.
#[derive(Debug, thiserror::Error)]
pub(super) enum Obstacle {
    /// Dialog does not let us join.
    #[error("dialog does not let us join: {0}")]
    NotLetIn(ProtooError),
    /// Dialog does not do its part.
    #[error(transparent)]
    Dialog(#[from] ProtooError),
    /// What worked before does not any more.
    #[error("this way worked a moment ago, and now: {0}")]
    Lost(String),
    /// The connection does not come about.
    #[error(transparent)]
    Media(#[from] MediaError),
    /// Both connections stand, and nothing is heard.
    #[error("both connections stand, and no sound comes back")]
    Silent {
        /// Bytes of sound that were sent.
        sent: u64,
        /// How many more bytes arrived at dialog meanwhile, if it says.
        arrived: Option<u64>,
    },
}

/// A way to dialog.
pub(super) trait Way: Sync {
    /// What datagrams take.
    type Path: Path<Error: Send> + 'static;

    /// The way to this transport, and the address that it leads to.
    fn open<'a>(
        &'a self,
        transport: &'a Transport,
        purpose: Purpose,
    ) -> BoxFuture<'a, Result<(Self::Path, SocketAddr), Obstacle>>;

    /// Gives back what servers hold for it.
    fn close(path: Self::Path) -> BoxFuture<'static, ()>;
}

/// All of them.
pub(super) struct Ways<'a> {
    pub(super) direct: Option<Direct>,
    pub(super) gateway: Option<Gateway<'a>>,
    pub(super) through: Vec<Through<'a>>,
}

impl<'a> Ways<'a> {
    pub(super) async fn of(cx: &'a Context) -> Self {
        let direct = cx.facts.answering.get().ok().and_then(|known| known.first());
        let mut through = Vec::new();
        let relayed = (cx.facts.turn.get(), cx.facts.relayed.get(), cx.facts.turn_certificate.get());
        if let (Ok(server), Ok(&peer), Ok(&certificate)) = relayed {
            let way = |carrier, port| Through { net: &cx.net, server, carrier, port, peer, certificate };
            through.push(way(Carrier::Tls, server.port));
            // The certificate is none of datagrams' business.
            let offered = offered(&cx.net, server).await;
            through.extend(
                offered.map(|port| Through {
                    certificate: TurnCertificate::Accepted,
                    ..way(Carrier::Udp, port)
                }),
            );
        }
        let over = cx.facts.gateway.get().map(Vec::as_slice).unwrap_or_default();
        Self {
            direct: direct.map(|address| Direct { ip: address.ip() }),
            gateway: over.contains(&Protocol::Udp).then_some(Gateway { net: &cx.net }),
            through,
        }
    }

    pub(super) fn is_none(&self) -> bool {
        self.direct.is_none() && self.gateway.is_none() && self.through.is_empty()
    }
}

/// The port on which the TURN server takes datagrams, if it does.
async fn offered(net: &Net, server: &TurnFacts) -> Option<u16> {
    let ask = async |port| {
        let mut client = Client::over_udp(net, &server.host, port).await.ok()?;
        let challenge = timeout(OFFER_LIMIT, client.challenge()).await;
        matches!(challenge, Ok(Ok(_))).then_some(port)
    };
    join_all([STUN, server.port].map(ask)).await.into_iter().flatten().next()
}

/// Straight to the address at which dialog answers.
pub(super) struct Direct {
    pub(super) ip: IpAddr,
}

impl Way for Direct {
    type Path = DirectPath;

    fn open<'a>(
        &'a self,
        transport: &'a Transport,
        _: Purpose,
    ) -> BoxFuture<'a, Result<(DirectPath, SocketAddr), Obstacle>> {
        Box::pin(async {
            let peer = at(transport, self.ip)?;
            Ok((DirectPath::open(peer).await.map_err(|e| Obstacle::Lost(e.to_string()))?, peer))
        })
    }

    fn close(_: DirectPath) -> BoxFuture<'static, ()> {
        Box::pin(std::future::ready(()))
    }
}

impl fmt::Display for Direct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "udp:{}", self.ip)
    }
}

/// Through the media gateway, over UDP.
pub(super) struct Gateway<'a> {
    net: &'a Net,
}

impl Way for Gateway<'_> {
    type Path = DirectPath;

    fn open<'a>(
        &'a self,
        transport: &'a Transport,
        _: Purpose,
    ) -> BoxFuture<'a, Result<(DirectPath, SocketAddr), Obstacle>> {
        Box::pin(async {
            let udp = transport.candidates.iter().filter(|c| c.protocol == Protocol::Udp);
            let peer = udp.filter_map(Candidate::gateway).find(|peer| self.net.family().admits(peer.ip()));
            let gone = || Obstacle::Lost("browsers are not told of the gateway any more".to_owned());
            let peer = peer.ok_or_else(gone)?;
            let detour = self.net.route(&peer.ip().to_string(), peer.port()).await;
            let detour = detour.ok().and_then(|ways| ways.first().copied()).unwrap_or(peer);
            let path = DirectPath::open_by(detour, peer).await;
            Ok((path.map_err(|e| Obstacle::Lost(e.to_string()))?, peer))
        })
    }

    fn close(_: DirectPath) -> BoxFuture<'static, ()> {
        Box::pin(std::future::ready(()))
    }
}

impl fmt::Display for Gateway<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("gateway:udp")
    }
}

/// Through the TURN server.
pub(super) struct Through<'a> {
    net: &'a Net,
    server: &'a TurnFacts,
    carrier: Carrier,
    port: u16,
    peer: IpAddr,
    certificate: TurnCertificate,
}

/// What takes us to the TURN server.
#[derive(Clone, Copy)]
enum Carrier {
    Tls,
    Udp,
}

impl Through<'_> {
    pub(super) fn code(&self) -> Code {
        match self.carrier {
            Carrier::Tls => Code::AudioTurnTls,
            Carrier::Udp => Code::AudioTurnUdp,
        }
    }

    pub(super) fn certificate(&self) -> TurnCertificate {
        self.certificate
    }

    async fn allocate(&self) -> Result<Allocation, TurnError> {
        let mut client = match self.carrier {
            Carrier::Tls => Client::connect(self.net, &self.server.host, self.port).await?,
            Carrier::Udp => Client::over_udp(self.net, &self.server.host, self.port).await?,
        };
        let challenge = client.challenge().await?;
        client.allocate(challenge, &self.server.login).await
    }
}

impl Way for Through<'_> {
    type Path = Allocation;

    /// Who speaks does it on a channel, as Chromium, and who listens hears in indications, as Firefox.
    fn open<'a>(
        &'a self,
        transport: &'a Transport,
        purpose: Purpose,
    ) -> BoxFuture<'a, Result<(Allocation, SocketAddr), Obstacle>> {
        Box::pin(async move {
            let peer = at(transport, self.peer)?;
            let lost = |e: TurnError| Obstacle::Lost(e.to_string());
            let mut allocation = self.allocate().await.map_err(lost)?;
            allocation.permit(peer).await.map_err(lost)?;
            if matches!(purpose, Purpose::Speaking(_)) {
                allocation.bind_channel(peer).await.map_err(lost)?;
            }
            Ok((allocation, peer))
        })
    }

    fn close(allocation: Allocation) -> BoxFuture<'static, ()> {
        Box::pin(async {
            // Whether it is answered or not: it ends with the connection, or in ten minutes.
            let _ = allocation.release().await;
        })
    }
}

impl fmt::Display for Through<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.carrier {
            Carrier::Tls => write!(f, "turns:{}:{}", self.server.host, self.port),
            Carrier::Udp => write!(f, "turn:{}:{}?transport=udp", self.server.host, self.port),
        }
    }
}

/// Where the transport is at the address that answered a moment ago.
fn at(transport: &Transport, ip: IpAddr) -> Result<SocketAddr, Obstacle> {
    let addresses = transport.candidates.iter();
    addresses
        .filter_map(Candidate::direct)
        .find(|address| address.ip() == ip)
        .ok_or_else(|| Obstacle::Lost(format!("dialog announced {ip} a moment ago, and does not any more")))
}
