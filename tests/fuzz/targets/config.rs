//! Any configuration is one, or is refused with a message on one line.

#![no_main]

use hubs_relay::Config;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, &str, &str)| {
    let (text, name, value) = input;
    let variable = (format!("HUBS_RELAY_{name}"), value.to_owned());
    if let Err(error) = Config::from_text(text, Some("relay.toml"), [variable]) {
        assert!(!error.to_string().is_empty());
    }
});
