//! Who is in which of dialog's rooms, and how what one of them says gets to the others.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::mpsc;

/// Packets that may wait for somebody; what does not fit is lost, as on any network.
const QUEUE: usize = 64;

/// All rooms. One is there for as long as somebody is in it.
#[derive(Clone, Debug, Default)]
pub(super) struct Rooms(Arc<Mutex<BTreeMap<String, Vec<Member>>>>);

#[derive(Debug)]
struct Member {
    id: String,
    post: mpsc::Sender<News>,
    speaks: bool,
}

/// What somebody in a room hears of another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// This one begins to speak.
    Speaks(String),
    /// It says something: a packet of RTP.
    Says(String, Arc<[u8]>),
}

/// Being in a room. It ends when it is dropped.
#[derive(Debug)]
pub(super) struct Presence {
    rooms: Rooms,
    room: String,
    id: String,
    pub(super) news: mpsc::Receiver<News>,
}

impl Rooms {
    /// Lets somebody in, who hears at once of those that speak already.
    pub(super) fn enter(&self, room: &str, id: &str) -> Presence {
        let (post, news) = mpsc::channel(QUEUE);
        self.with(room, |members| {
            for speaker in members.iter().filter(|m| m.speaks) {
                let _ = post.try_send(News::Speaks(speaker.id.clone()));
            }
            members.push(Member { id: id.to_owned(), post, speaks: false });
        });
        Presence { rooms: self.clone(), room: room.to_owned(), id: id.to_owned(), news }
    }

    fn with(&self, room: &str, change: impl FnOnce(&mut Vec<Member>)) {
        let mut rooms = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let members = rooms.entry(room.to_owned()).or_default();
        change(members);
        if members.is_empty() {
            rooms.remove(room);
        }
    }
}

impl Presence {
    /// Tells the others that sound will come.
    pub(super) fn speak(&self) {
        self.tell(&News::Speaks(self.id.clone()));
        self.rooms.with(&self.room, |members| {
            members.iter_mut().filter(|m| m.id == self.id).for_each(|m| m.speaks = true);
        });
    }

    /// Passes a packet on to the others.
    pub(super) fn say(&self, packet: Vec<u8>) {
        self.tell(&News::Says(self.id.clone(), packet.into()));
    }

    fn tell(&self, news: &News) {
        self.rooms.with(&self.room, |members| {
            for other in members.iter().filter(|m| m.id != self.id) {
                let _ = other.post.try_send(news.clone());
            }
        });
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.rooms.with(&self.room, |members| members.retain(|m| m.id != self.id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(presence: &mut Presence) -> Vec<News> {
        std::iter::from_fn(|| presence.news.try_recv().ok()).collect()
    }

    #[test]
    fn those_in_a_room_hear_each_other_and_nobody_else() {
        let rooms = Rooms::default();
        let (mut ann, mut bob) = (rooms.enter("one", "ann"), rooms.enter("one", "bob"));
        let mut eve = rooms.enter("another", "eve");
        ann.speak();
        ann.say(vec![1]);
        let said = [News::Speaks("ann".to_owned()), News::Says("ann".to_owned(), [1].into())];
        assert_eq!(heard(&mut bob), said);
        assert_eq!((heard(&mut ann), heard(&mut eve)), (vec![], vec![]));
        assert_eq!(heard(&mut rooms.enter("one", "late")), said[..1]);
    }

    #[test]
    fn a_room_ends_with_the_last_who_is_in_it() {
        let rooms = Rooms::default();
        let (ann, mut bob) = (rooms.enter("one", "ann"), rooms.enter("one", "bob"));
        drop(rooms.enter("one", "eve"));
        ann.say(vec![1]);
        assert_eq!(heard(&mut bob).len(), 1);
        drop((ann, bob));
        assert!(rooms.0.lock().unwrap().is_empty());
    }
}
