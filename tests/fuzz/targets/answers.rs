//! Whatever a server sends to hubs-probe. The first byte says who reads the others.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| hubs_probe::fuzzing::read_from_server(bytes));
