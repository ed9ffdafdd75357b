//! The binary `hubs-relay`.

fn main() {}
