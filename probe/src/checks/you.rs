//! The vantage: what stands between this machine and any deployment. What is found here is at most a warning, and never a fault of
//! the server.

pub(crate) mod clock;
pub(crate) mod interception;
pub(crate) mod proxy;
pub(crate) mod udp;
