//! Batches of datagrams, in and out: one system call for many packets.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};

use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSockRef, UdpSocketState};

use super::fragmentation;
use crate::wire::Fragmentation;

/// No datagram, and no row of datagrams that the kernel merged, is longer.
const MAX_LEN: usize = 1 << 16;
/// What one merged send may carry: a UDP payload's maximum over IPv4.
const MAX_SEND: usize = 65_507;

/// Room for a batch of received datagrams, used by all sockets of a worker in turn.
pub(super) struct Received {
    /// Untouched pages of it cost nothing.
    bytes: Vec<u8>,
    meta: [RecvMeta; BATCH_SIZE],
    state: UdpSocketState,
}

/// One datagram of a batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Datagram<'a> {
    /// Who sent it.
    pub(super) from: SocketAddr,
    /// The address of ours that it was sent to, where the socket reports that.
    pub(super) to: Option<IpAddr>,
    pub(super) payload: &'a [u8],
}

impl Received {
    pub(super) fn new(state: UdpSocketState) -> Self {
        Self { bytes: vec![0; BATCH_SIZE * MAX_LEN], meta: [RecvMeta::default(); BATCH_SIZE], state }
    }

    /// Takes up to `limit` messages from a socket, hands out their datagrams, and says whether the socket is empty now.
    pub(super) fn receive<'s>(
        &mut self,
        socket: impl Into<UdpSockRef<'s>>,
        limit: usize,
        mut each: impl FnMut(Datagram<'_>),
    ) -> io::Result<bool> {
        let limit = limit.min(BATCH_SIZE);
        let mut chunks = self.bytes.chunks_exact_mut(MAX_LEN);
        let mut slices: [IoSliceMut<'_>; BATCH_SIZE] =
            std::array::from_fn(|_| IoSliceMut::new(chunks.next().unwrap_or_default()));
        let count = self.state.recv(socket.into(), &mut slices[..limit], &mut self.meta[..limit])?;
        for (meta, bytes) in self.meta[..count].iter().zip(self.bytes.chunks_exact(MAX_LEN)) {
            // Source port 0 cannot be answered, and is never a client. Neither is who speaks to many at once: no answer can
            // have such an address as its source.
            if meta.addr.port() != 0 && !meta.dst_ip.is_some_and(is_of_many) {
                let datagram = |payload| Datagram { from: meta.addr, to: meta.dst_ip, payload };
                let row = &bytes[..meta.len];
                if row.is_empty() {
                    each(datagram(row));
                }
                row.chunks(meta.stride.max(1)).for_each(|payload| each(datagram(payload)));
            }
        }
        Ok(count < limit)
    }
}

/// Whether an address stands for more than one machine. That of a network's broadcasts cannot be told from others.
fn is_of_many(address: IpAddr) -> bool {
    address.is_multicast() || matches!(address, IpAddr::V4(address) if address.is_broadcast())
}

impl std::fmt::Debug for Received {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Received").finish_non_exhaustive()
    }
}

/// Where the datagrams of a [`Sending`] go: out of which socket, to whom, and from which address of ours.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Destination {
    /// The socket, by the exchange's number for it.
    pub(super) socket: usize,
    pub(super) to: SocketAddr,
    /// The source address, for a socket that has several.
    pub(super) from: Option<IpAddr>,
    pub(super) fragmentation: Fragmentation,
}

/// A row of datagrams of equal length to one destination, of which the last may be shorter: what the kernel can
/// cut up by itself (UDP segmentation offload).
#[derive(Debug, Default)]
pub(super) struct Sending {
    destination: Option<Destination>,
    bytes: Vec<u8>,
    /// Length of each datagram but the last.
    segment: usize,
    count: usize,
}

impl Sending {
    /// Whether a datagram of `len` bytes may be appended.
    pub(super) fn accepts(&self, destination: Destination, len: usize, state: &UdpSocketState) -> bool {
        self.destination.is_none()
            || self.destination == Some(destination)
                && len > 0
                && len <= self.segment
                && self.bytes.len() == self.segment * self.count
                && self.bytes.len() + len <= MAX_SEND
                && self.count < state.max_gso_segments()
    }

    /// Appends a datagram that is accepted; `write` puts its bytes at the end.
    pub(super) fn push(&mut self, destination: Destination, write: impl FnOnce(&mut Vec<u8>)) {
        let before = self.bytes.len();
        write(&mut self.bytes);
        if self.destination.is_none() {
            self.destination = Some(destination);
            self.segment = self.bytes.len() - before;
        }
        self.count += 1;
    }

    /// Where what is here goes, if anything is.
    pub(super) const fn destination(&self) -> Option<Destination> {
        self.destination
    }

    /// Sends what is here. What the socket does not take now is lost, as on the internet.
    pub(super) fn send(&mut self, socket: &(impl AsFd + AsRawFd), state: &UdpSocketState) {
        if let Some(destination) = self.destination.take() {
            let is_row = self.count > 1;
            let send_one = |contents: &[u8], segment_size| {
                let transmit = Transmit {
                    destination: destination.to,
                    ecn: None,
                    contents,
                    segment_size,
                    src_ip: destination.from,
                };
                let once = || state.try_send(UdpSockRef::from(socket), &transmit);
                match once() {
                    // What an earlier packet met on its way is told instead of sending this one; but once.
                    Err(error) if error.kind() != io::ErrorKind::WouldBlock => once(),
                    result => result,
                }
            };
            let send = || match send_one(&self.bytes, is_row.then_some(self.segment)) {
                // The kernel cuts up nothing that is longer than what the path takes, but fragments it one by one.
                Err(error) if is_row && error.kind() != io::ErrorKind::WouldBlock => {
                    for payload in self.bytes.chunks(self.segment) {
                        let sent = send_one(payload, None);
                        if sent.as_ref().is_err_and(|it| it.kind() == io::ErrorKind::WouldBlock) {
                            return sent;
                        }
                    }
                    Ok(())
                }
                result => result,
            };
            let _ = match destination.fragmentation {
                Fragmentation::Allowed => send(),
                Fragmentation::Forbidden => fragmentation::forbid_during(socket, destination.to, send),
            };
        }
        self.bytes.clear();
        self.count = 0;
    }
}

/// What this machine's kernel can do, found out with a socket that is not used for anything else: the crate would
/// set more options on it than a relay wants, such as "don't fragment".
pub(super) fn kernel_state(address: IpAddr) -> io::Result<UdpSocketState> {
    UdpSocketState::new(UdpSockRef::from(&UdpSocket::bind((address, 0))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket() -> UdpSocket {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        socket
    }

    fn state() -> UdpSocketState {
        kernel_state("127.0.0.1".parse().unwrap()).unwrap()
    }

    /// Sends datagrams of these lengths as a worker does, and returns what arrived and the number of sends.
    fn exchange(lens: &[usize]) -> (Vec<Vec<u8>>, usize) {
        let (here, there, state) = (socket(), socket(), state());
        let to = there.local_addr().unwrap();
        let destination = Destination { socket: 0, to, from: None, fragmentation: Fragmentation::Allowed };
        let (mut sending, mut sends) = (Sending::default(), 0);
        for (index, len) in lens.iter().enumerate() {
            if !sending.accepts(destination, *len, &state) {
                sending.send(&here, &state);
                sends += 1;
            }
            sending.push(destination, |bytes| bytes.resize(bytes.len() + len, index as u8));
        }
        sending.send(&here, &state);
        let mut received = Received::new(state);
        let mut payloads = Vec::new();
        while let Ok(is_empty) = received.receive(&there, 8, |it| {
            assert_eq!(it.from, here.local_addr().unwrap());
            payloads.push(it.payload.to_vec());
        }) {
            if is_empty {
                break;
            }
        }
        (payloads, sends + 1)
    }

    #[test]
    fn datagrams_arrive_one_by_one_whatever_their_lengths() {
        for lens in [&[5, 5, 5, 3][..], &[5, 3, 5], &[3, 5], &[0, 0], &[5, 0, 5], &[1200; 40], &[9000; 10]] {
            let (payloads, _) = exchange(lens);
            let expected: Vec<Vec<u8>> =
                lens.iter().enumerate().map(|(index, len)| vec![index as u8; *len]).collect();
            assert_eq!(payloads, expected, "{lens:?}");
        }
    }

    #[test]
    fn a_row_that_the_kernel_refuses_goes_one_by_one() {
        let (here, there, state) = (socket(), socket(), state());
        let to = there.local_addr().unwrap();
        let destination = Destination { socket: 0, to, from: None, fragmentation: Fragmentation::Allowed };
        let mut sending = Sending::default();
        // More than any kernel cuts up.
        let payloads: Vec<[u8; 2]> = (0..200).map(|number| [number, 1]).collect();
        for payload in &payloads {
            sending.push(destination, |bytes| bytes.extend_from_slice(payload));
        }
        sending.push(destination, |bytes| bytes.push(9));
        sending.send(&here, &state);
        let mut received = Vec::new();
        let mut room = Received::new(state);
        while let Ok(false) = room.receive(&there, 32, |it| received.push(it.payload.to_vec())) {}
        let expected: Vec<Vec<u8>> = payloads.iter().map(|it| it.to_vec()).chain([vec![9]]).collect();
        assert_eq!(received, expected);
    }

    #[test]
    fn what_is_sent_to_many_at_once_is_for_nobody() {
        use std::net::Ipv4Addr;

        use nix::sys::socket::{setsockopt, sockopt};

        let there = UdpSocket::bind("0.0.0.0:0").unwrap();
        there.set_nonblocking(true).unwrap();
        setsockopt(&there, sockopt::Ipv4PacketInfo, &true).unwrap();
        let group = Ipv4Addr::new(239, 1, 2, 3);
        there.join_multicast_v4(&group, &Ipv4Addr::LOCALHOST).unwrap();
        let here = socket2::Socket::from(socket());
        here.set_multicast_if_v4(&Ipv4Addr::LOCALHOST).unwrap();
        let here = UdpSocket::from(here);
        let port = there.local_addr().unwrap().port();
        here.send_to(b"to many", (group, port)).unwrap();
        here.send_to(b"to one", (Ipv4Addr::LOCALHOST, port)).unwrap();
        let mut received = Vec::new();
        let mut room = Received::new(state());
        while let Ok(false) = room.receive(&there, 1, |it| received.push(it.payload.to_vec())) {}
        assert_eq!(received, [b"to one"]);
    }

    #[test]
    fn equal_datagrams_to_one_destination_are_one_send_where_the_kernel_can() {
        if state().max_gso_segments() < 8 {
            eprintln!("skipped: this kernel has no UDP segmentation offload");
            return;
        }
        assert_eq!(exchange(&[100; 8]).1, 1);
        assert_eq!(exchange(&[100, 100, 99]).1, 1);
        assert_eq!(exchange(&[100, 99, 100]).1, 2);
        assert_eq!(exchange(&[9000; 8]).1, 2);
    }
}
