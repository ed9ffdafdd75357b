//! A NAT on the way of datagrams to one address, as a home router has it, which can forget all that it knows: from then on
//! everybody behind it has another address.

use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// How soon a thread notices that it is no longer needed.
const LOOK: Duration = Duration::from_millis(100);

/// A running NAT. It ends with its owner.
#[derive(Debug)]
pub struct Nat {
    inside: Arc<UdpSocket>,
    mapped: Arc<Mutex<HashMap<SocketAddr, Arc<UdpSocket>>>>,
    /// How many packets of media have gone out.
    media: Arc<(Mutex<usize>, Condvar)>,
}

/// No call that is to be heard takes longer to begin.
const PATIENCE: Duration = Duration::from_mins(1);

impl Nat {
    /// One between whoever sends to `inside` and `target`.
    pub fn between(inside: SocketAddr, target: SocketAddr) -> Self {
        let inside = Arc::new(UdpSocket::bind(inside).unwrap());
        inside.set_read_timeout(Some(LOOK)).unwrap();
        let mapped = Arc::<Mutex<HashMap<_, _>>>::default();
        let media = Arc::<(Mutex<usize>, Condvar)>::default();
        let nat =
            Self { inside: Arc::clone(&inside), mapped: Arc::clone(&mapped), media: Arc::clone(&media) };
        let (weak, weak_mapped) = (Arc::downgrade(&inside), Arc::downgrade(&mapped));
        drop((inside, mapped));
        thread::spawn(move || {
            let mut bytes = [0; 2048];
            while let (Some(inside), Some(mapped)) = (weak.upgrade(), weak_mapped.upgrade()) {
                let Ok((len, from)) = inside.recv_from(&mut bytes) else { continue };
                let mut mapped = mapped.lock().unwrap_or_else(PoisonError::into_inner);
                let outside = mapped.entry(from).or_insert_with(|| open(&inside, from, target));
                // What is not sent is lost, as on the internet.
                let _ = outside.send(&bytes[..len]);
                if is_media(&bytes[..len]) {
                    *media.0.lock().unwrap_or_else(PoisonError::into_inner) += 1;
                    media.1.notify_all();
                }
            }
        });
        nat
    }

    /// Forgets who had which address outside.
    pub fn rebind(&self) {
        self.mapped.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Waits until so many packets of media have gone out.
    ///
    /// # Panics
    /// If that takes too long.
    pub fn wait_for_media(&self, packets: usize) {
        let (count, changed) = &*self.media;
        let count = count.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = changed.wait_timeout_while(count, PATIENCE, |count| *count < packets);
        assert!(!waited.unwrap_or_else(PoisonError::into_inner).1.timed_out(), "no media has gone out");
    }

    /// Where it is reached from inside.
    pub fn inside(&self) -> SocketAddr {
        self.inside.local_addr().unwrap()
    }
}

/// Whether it is RTP (RFC 7983), and not RTCP, which shares its port (RFC 5761 section 4).
fn is_media(packet: &[u8]) -> bool {
    matches!(packet, [128..=191, kind, ..] if !(192..=223).contains(kind))
}

/// Another address outside for one inside, for as long as it is remembered.
fn open(inside: &Arc<UdpSocket>, client: SocketAddr, target: SocketAddr) -> Arc<UdpSocket> {
    let outside = Arc::new(UdpSocket::bind((target.ip(), 0)).unwrap());
    outside.connect(target).unwrap();
    outside.set_read_timeout(Some(LOOK)).unwrap();
    let (inside, weak) = (Arc::downgrade(inside), Arc::downgrade(&outside));
    thread::spawn(move || {
        let mut bytes = [0; 2048];
        while let (Some(inside), Some(outside)) = (inside.upgrade(), weak.upgrade()) {
            if let Ok(len) = outside.recv(&mut bytes) {
                let _ = inside.send_to(&bytes[..len], client);
            }
        }
    });
    outside
}
