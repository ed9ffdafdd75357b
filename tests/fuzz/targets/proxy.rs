//! Any first bytes of a connection from a load balancer.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| hubs_relay::fuzzing::read_proxy_header(bytes));
