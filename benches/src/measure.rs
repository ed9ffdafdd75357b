//! One measurement: a fresh server, its joins, its idle sessions, its traffic.

use std::thread::sleep;
use std::time::Duration;

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
    let mut echo = EchoPeer::new().map_err(LoadError::io("cannot open the peer's socket"))?;
    let peer = echo.address().map_err(LoadError::io("cannot open the peer's socket"))?;
    let server = Server::start(program, setup.server_core, setup.generator_core, &setup.identity, peer)?;
    let join = |_| Session::join(&server, transport, &setup.identity.client, setup.framing, peer);
    let pid = server.pid();
    let cpu = |pid| usage::cpu_time(pid).map_err(LoadError::io("cannot read a server's CPU time"));
    let resident = || usage::resident(pid).map_err(LoadError::io("cannot read a server's memory"));

    let first = (0..FIRST_SESSIONS).map(join).collect::<Result<Vec<_>, _>>()?;
    sleep(SETTLE);
    let (cpu_before, resident_before) = (cpu(pid)?, resident()?);
    let mut sessions = (0..setup.sessions).map(join).collect::<Result<Vec<_>, _>>()?;
    sleep(SETTLE);
    let joins = cpu(pid)?.saturating_sub(cpu_before);
    let idle = resident()?.saturating_sub(resident_before);

    let observe = || Ok([cpu(pid)?, cpu(std::process::id())?]);
    let outcome = traffic::run(program.name(), &mut sessions, &mut echo, setup.traffic, observe)?;
    drop(first);
    Ok(Measured::new(setup, joins, idle, &outcome))
}
