//! A NAT on the way of datagrams to one address, as a home router has it, which can forget all that it knows: from then on
//! everybody behind it has another address.

use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// How soon a thread notices that it is no longer needed.
const LOOK: Duration = Duration::from_millis(100);

/// A running NAT. It ends with its owner.
#[derive(Debug)]
pub struct Nat {
    inside: Arc<UdpSocket>,
    mapped: Arc<Mutex<HashMap<SocketAddr, Arc<UdpSocket>>>>,
}

impl Nat {
    /// One between whoever sends to `inside` and `target`.
    pub fn between(inside: SocketAddr, target: SocketAddr) -> Self {
        let inside = Arc::new(UdpSocket::bind(inside).unwrap());
        inside.set_read_timeout(Some(LOOK)).unwrap();
        let mapped = Arc::<Mutex<HashMap<_, _>>>::default();
        let nat = Self { inside: Arc::clone(&inside), mapped: Arc::clone(&mapped) };
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
            }
        });
        nat
    }

    /// Forgets who had which address outside.
    pub fn rebind(&self) {
        self.mapped.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Where it is reached from inside.
    pub fn inside(&self) -> SocketAddr {
        self.inside.local_addr().unwrap()
    }
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
