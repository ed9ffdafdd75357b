//! What the gateway reads in dialog's signalling, and the one thing that it changes there.
//!
//! Dialog and browsers talk protoo: JSON over a WebSocket. All bytes pass as they are, but for the answer to
//! `createWebRtcTransport`, of which the candidates are replaced; that and the answer to `restartIce` say how checks of a
//! transport will look. What is not understood passes. A browser that hides its requests from us gets dialog's own
//! candidates, and harms nobody else.

mod answers;
mod candidates;
mod frames;

pub use answers::{Counts, Signalling};
pub use candidates::Offer;
