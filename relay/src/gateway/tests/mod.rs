//! Workers, browsers and dialog in virtual time: no sockets, no sleeping.

mod harness;
mod hostile;
mod properties;
mod rebinding;
mod signalling;
mod ways;
