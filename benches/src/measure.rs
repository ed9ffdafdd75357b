//! One measurement: a fresh server, its joins, its idle sessions, its traffic.

use std::io;
use std::net::SocketAddr;
use std::thread::sleep;
use std::time::Duration;

use crate::dialog::{self, Signalling};
use crate::echo::EchoPeer;
use crate::error::LoadError;
use crate::figures::Measured;
use crate::identity::Identity;
use crate::link::Transport;
use crate::server::{Program, Server};
use crate::session::{Framing, Session};
use crate::traffic::{self, Traffic};
use crate::usage;

/// Sessions that join before any is counted, so that what a server does once is done.
const FIRST_SESSIONS: usize = 20;
/// Lets a server finish what it does behind an answer.
const SETTLE: Duration = Duration::from_millis(300);

/// What is the same for each measurement.
#[derive(Debug)]
pub(crate) struct Setup {
    pub(crate) sessions: usize,
    pub(crate) framing: Framing,
    pub(crate) traffic: Traffic,
    pub(crate) identity: Identity,
    pub(crate) server_core: usize,
    pub(crate) generator_core: usize,
}

/// Measures one server over one transport.
pub(crate) fn measure(program: &Program, transport: Transport, setup: &Setup) -> Result<Measured, LoadError> {
    // What is no gateway is held against one for what it does with datagrams, a forwarder for all that it can do.
    let is_gateway = transport == Transport::Gateway && matches!(program, Program::HubsRelay(_));
    let transport = if is_gateway || transport == Transport::Tls { transport } else { Transport::Udp };
    let peers = if is_gateway { FIRST_SESSIONS + setup.sessions } else { 1 };
    let no_peer = || LoadError::io("cannot open the peer's socket");
    let echoes = (0..peers).map(|_| EchoPeer::new()).collect::<io::Result<Vec<_>>>();
    let mut echoes = echoes.map_err(no_peer())?;
    let places = echoes.iter().map(EchoPeer::address).collect::<io::Result<Vec<_>>>().map_err(no_peer())?;
    let dialog =
        is_gateway.then(|| dialog::serve(&setup.identity, places.iter().map(SocketAddr::port).collect()));
    let dialog = dialog.transpose().map_err(LoadError::io("cannot stand in for dialog"))?;
    let peer = places[0];
    let cores = (setup.server_core, setup.generator_core);
    let server = Server::start(program, cores.0, cores.1, &setup.identity, peer, dialog)?;
    let signalling = is_gateway.then(|| Signalling::connect(server.signalling)).transpose();
    let mut signalling = signalling.map_err(LoadError::io("the gateway's signalling"))?;
    let mut next = 0..;
    let mut join = |_| match (&mut signalling, next.next()) {
        _ if matches!(program, Program::Forwarder(_)) => Session::join_forwarder(&server, &mut echoes[0]),
        (Some(signalling), Some(number)) => Session::join_gateway(&server, signalling, &mut echoes[number]),
        _ => Session::join(&server, transport, &setup.identity.client, setup.framing, peer),
    };
    let pid = server.pid();
    let cpu = |pid| usage::cpu_time(pid).map_err(LoadError::io("cannot read a server's CPU time"));
    let resident = || usage::resident(pid).map_err(LoadError::io("cannot read a server's memory"));

    let first = (0..FIRST_SESSIONS).map(&mut join).collect::<Result<Vec<_>, _>>()?;
    sleep(SETTLE);
    let (cpu_before, resident_before) = (cpu(pid)?, resident()?);
    let mut sessions = (0..setup.sessions).map(&mut join).collect::<Result<Vec<_>, _>>()?;
    sleep(SETTLE);
    let joins = cpu(pid)?.saturating_sub(cpu_before);
    let idle = resident()?.saturating_sub(resident_before);

    let observe = || Ok([cpu(pid)?, cpu(std::process::id())?]);
    let outcome = traffic::run(program.name(), &mut sessions, &mut echoes, setup.traffic, observe)?;
    drop(first);
    Ok(Measured::new(setup.sessions, setup.traffic.seconds, joins, idle, &outcome))
}
