//! One talk: two people in a room, of whom one speaks and the other one listens, both over the same kind of way.

use std::time::Duration;

use futures_util::future::{join, try_join};
use tokio::time::{Instant, interval, timeout_at};

use super::way::{Obstacle, Way};
use crate::{
    audio::{FRAME, Figures, Journey, Opus},
    facts::{DialogFacts, PermsToken},
    media::{Media, Purpose},
    net::{Net, Trust},
    protoo::{Dialog, Transport, own_room},
    random,
};

/// For how long nothing may be heard at all.
const PATIENCE: Duration = Duration::from_secs(3);

/// For how long the last packets may be on their way.
const STRAGGLERS: Duration = Duration::from_secs(1);

/// Less than any packet of sound takes with all that is wrapped around it.
const PACKET_LEN: u64 = 60;

/// How to get to dialog and into a room, and how long to talk there.
pub(super) struct Signalling<'a> {
    pub(super) net: &'a Net,
    pub(super) endpoint: &'a DialogFacts,
    pub(super) token: &'a PermsToken,
    pub(super) length: Duration,
}

/// Somebody in the room.
struct Person {
    dialog: Dialog,
    transport: Transport,
}

/// Speaks and listens over connections that come about within `limit`, and leaves nothing behind.
pub(super) async fn talk<W: Way>(
    signalling: &Signalling<'_>,
    way: &W,
    limit: Duration,
) -> Result<Figures, Obstacle> {
    let room = own_room();
    let joining = try_join(signalling.join(&room, Role::Speaker), signalling.join(&room, Role::Listener));
    let (mut speaker, mut listener) = Box::pin(joining).await?;
    let opus = Opus::new(u32::from_be_bytes(random::bytes()));
    let heard = converse(way, limit, &mut speaker, &mut listener, opus, signalling.length).await;
    // The ends of both WebSockets end all that is left.
    Box::pin(join(speaker.leave(), listener.leave())).await;
    heard
}

async fn converse<W: Way>(
    way: &W,
    limit: Duration,
    speaker: &mut Person,
    listener: &mut Person,
    opus: Opus,
    length: Duration,
) -> Result<Figures, Obstacle> {
    speaker.dialog.produce(&speaker.transport.id, opus).await?;
    let offer = listener.dialog.offered().await?;
    let (mouth, mut ear) = try_join(
        connect(way, limit, speaker, Purpose::Speaking(opus)),
        connect(way, limit, listener, Purpose::Listening(offer.opus)),
    )
    .await?;
    listener.dialog.accept(&offer).await?;
    let before = speaker.received().await;
    let journey = speak(&mouth, &mut ear, opus, length).await;
    let figures = if let Some(figures) = journey.figures() {
        Ok(figures)
    } else {
        let arrived =
            before.zip(speaker.received().await).map(|(before, after)| after.saturating_sub(before));
        Err(Obstacle::Silent { sent: journey.sent() as u64 * PACKET_LEN, arrived })
    };
    for path in [mouth.close().await, ear.close().await].into_iter().flatten() {
        W::close(path).await;
    }
    figures
}

async fn connect<W: Way>(
    way: &W,
    limit: Duration,
    person: &mut Person,
    purpose: Purpose,
) -> Result<Media<W::Path>, Obstacle> {
    let (path, peer) = way.open(&person.transport, purpose).await?;
    let mut media = Media::prepare(path, peer, purpose).await?;
    person.dialog.connect_transport(&person.transport.id, media.fingerprint()).await?;
    match media.connect(&person.transport, limit).await {
        Ok(()) => Ok(media),
        Err(e) => {
            if let Some(path) = media.close().await {
                W::close(path).await;
            }
            Err(e.into())
        }
    }
}

/// Speaks until it was heard for long enough, or not at all for too long.
async fn speak<P: crate::ice::Path<Error: Send> + 'static>(
    mouth: &Media<P>,
    ear: &mut Media<P>,
    opus: Opus,
    length: Duration,
) -> Journey {
    let packets = |duration: Duration| (duration.as_millis() / FRAME.as_millis()) as usize;
    let mut journey = Journey::new(opus);
    let mut clock = interval(FRAME);
    loop {
        tokio::select! {
            _ = clock.tick() => {
                let is_unheard = journey.heard_for() == 0 && journey.sent() >= packets(PATIENCE);
                if is_unheard || journey.heard_for() >= packets(length) {
                    break;
                }
                if mouth.speak(journey.send(Instant::now())).await.is_err() {
                    break;
                }
            }
            heard = ear.hear() => match heard {
                Some(heard) => journey.hear(&heard.packet, heard.at),
                None => break,
            },
        }
    }
    let end = Instant::now() + STRAGGLERS;
    while !journey.is_complete() {
        match timeout_at(end, ear.hear()).await {
            Ok(Some(heard)) => journey.hear(&heard.packet, heard.at),
            Ok(None) | Err(_) => break,
        }
    }
    journey
}

#[derive(Clone, Copy)]
enum Role {
    Speaker,
    Listener,
}

impl Signalling<'_> {
    async fn join(&self, room: &str, role: Role) -> Result<Person, Obstacle> {
        let DialogFacts { host, port } = self.endpoint;
        let mut dialog = Dialog::open_in(self.net, host, *port, Trust::Anything, room).await?;
        let transport = match role {
            Role::Speaker => dialog.create_transport().await?,
            Role::Listener => dialog.create_consuming_transport().await?,
        };
        dialog.enter(self.token).await.map_err(Obstacle::NotLetIn)?;
        Ok(Person { dialog, transport })
    }
}

impl Person {
    async fn received(&mut self) -> Option<u64> {
        Some(self.dialog.transport_stats(&self.transport.id).await.ok()?.bytes_received)
    }

    async fn leave(mut self) {
        let _ = self.dialog.close_transport(&self.transport.id).await;
        self.dialog.close().await;
    }
}
