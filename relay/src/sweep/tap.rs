//! Sees the packets that the node gets, whoever they are for, and disturbs none of them: a socket for each family beside the
//! network stack (packet(7)), with a [filter] in the kernel. It takes the right to (`CAP_NET_RAW`).

use std::io::{self, Read as _};
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::time::Duration;

use nix::libc;
use nix::sys::socket::{getsockopt, sockopt::GetStruct};
use socket2::{Domain, Protocol, SockFilter, Socket, Type};

use super::filter::{self, Instruction};

/// Asked for; the kernel gives what it may.
const BUFFER: usize = 4 << 20;
/// More than this a packet of ours has not.
const LONGEST: usize = 256;
/// How long nothing may come until whoever waits looks whether it still should.
const PATIENCE: Duration = Duration::from_millis(250);

nix::getsockopt_impl!(
    Statistics,
    libc::SOL_PACKET,
    libc::PACKET_STATISTICS,
    libc::tpacket_stats,
    GetStruct<libc::tpacket_stats>
);

/// What the kernel counted since it was last asked.
#[derive(Clone, Copy, Debug)]
struct Statistics;

/// Both sockets.
#[derive(Debug)]
pub(super) struct Tap {
    ipv4: Socket,
    ipv6: Socket,
}

/// One of them, to be read.
#[derive(Debug)]
pub(super) struct Reader {
    socket: Socket,
    buffer: [u8; LONGEST],
}

impl Tap {
    /// Begins to look.
    pub(super) fn open() -> io::Result<Self> {
        let open = |protocol: i32| {
            let protocol = i32::from((protocol as u16).to_be());
            let socket = Socket::new(Domain::PACKET, Type::DGRAM, Some(Protocol::from(protocol)))?;
            socket.set_read_timeout(Some(PATIENCE))?;
            // A smaller one serves as well.
            let _ = socket.set_recv_buffer_size(BUFFER);
            io::Result::Ok(socket)
        };
        let tap = Self { ipv4: open(libc::ETH_P_IP)?, ipv6: open(libc::ETH_P_IPV6)? };
        tap.watch(&[])?;
        Ok(tap)
    }

    /// Lets the beginnings of TCP connections from these addresses through as well.
    pub(super) fn watch(&self, probers: &[IpAddr]) -> io::Result<()> {
        let (v4, v6) = filter::by_family(probers);
        attach(&self.ipv4, &filter::ipv4(&v4))?;
        attach(&self.ipv6, &filter::ipv6(&v6))
    }

    /// What is to be read, a thread for each.
    pub(super) fn readers(&self) -> io::Result<[Reader; 2]> {
        let reader = |socket: &Socket| {
            Ok::<_, io::Error>(Reader { socket: socket.try_clone()?, buffer: [0; LONGEST] })
        };
        Ok([reader(&self.ipv4)?, reader(&self.ipv6)?])
    }

    /// Packets for which there was no room, since this was last asked.
    pub(super) fn missed(&self) -> u32 {
        let missed = |socket: &Socket| getsockopt(&socket.as_fd(), Statistics).map_or(0, |it| it.tp_drops);
        missed(&self.ipv4).saturating_add(missed(&self.ipv6))
    }
}

impl Reader {
    /// Waits for the next packet; nothing if none came for a while. What came before the filter was there is among them.
    pub(super) fn next(&mut self) -> io::Result<Option<&[u8]>> {
        match self.socket.read(&mut self.buffer) {
            Ok(length) => Ok(Some(&self.buffer[..length])),
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted => Ok(None),
                _ => Err(error),
            },
        }
    }
}

fn attach(socket: &Socket, program: &[Instruction]) -> io::Result<()> {
    let program: Vec<_> =
        program.iter().map(|it| SockFilter::new(it.code, it.if_true, it.if_false, it.value)).collect();
    socket.attach_filter(&program)
}
