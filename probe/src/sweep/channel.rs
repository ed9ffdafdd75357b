//! Asks the agent.

use std::ops::RangeInclusive;

use hubs_relay::sweep::{
    Token,
    channel::{Caller, ChannelError, Request, SEAL, Session, Sighting},
};
use hyper::body::Bytes;

use super::AgentAddress;
use crate::{
    net::{HttpError, Net},
    random,
};

/// Why the agent did not tell.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AgentError {
    #[error("the agent at {agent} cannot be asked: {source}")]
    Http { agent: AgentAddress, source: HttpError },
    #[error("the agent at {0} does not know our token")]
    Refused(AgentAddress),
    #[error("what answers at {agent} is no agent that has our token: {source}")]
    Foreign { agent: AgentAddress, source: ChannelError },
    #[error("the agent at {agent} does not do it: {reason}")]
    Unwilling { agent: AgentAddress, reason: String },
}

/// Opens a session.
pub(super) async fn open(
    net: &Net,
    agent: &AgentAddress,
    token: &Token,
    range: &RangeInclusive<u16>,
) -> Result<Session, AgentError> {
    let caller = Caller::new(token.clone(), random::bytes(), range);
    let Told { seal, body } = ask(net, agent, caller.request()).await?;
    caller.opened(&seal, &body).map_err(|source| AgentError::Foreign { agent: agent.clone(), source })
}

/// What was answered, unread.
#[derive(Debug)]
pub(super) struct Told {
    seal: String,
    body: Bytes,
}

/// Reads the answer to a request of a session's.
pub(super) fn read(
    agent: &AgentAddress,
    session: &Session,
    request: &Request,
    told: &Told,
) -> Result<Sighting, AgentError> {
    session
        .told(request, &told.seal, &told.body)
        .map_err(|source| AgentError::Foreign { agent: agent.clone(), source })
}

/// Sends a request.
pub(super) async fn ask(net: &Net, agent: &AgentAddress, request: &Request) -> Result<Told, AgentError> {
    let header = (SEAL, request.seal.as_str());
    let answer = net
        .post_plain(agent.host(), agent.port(), request.path, header, request.body.clone())
        .await
        .map_err(|source| AgentError::Http { agent: agent.clone(), source })?;
    match answer.status.as_u16() {
        200 => Ok(Told { seal: answer.header(SEAL).unwrap_or_default().to_owned(), body: answer.body }),
        401 => Err(AgentError::Refused(agent.clone())),
        _ => Err(AgentError::Unwilling { agent: agent.clone(), reason: answer.text().trim().to_owned() }),
    }
}
