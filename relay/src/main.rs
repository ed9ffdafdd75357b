//! The binary `hubs-relay`; see `hubs-relay --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    hubs_relay::cli::main()
}
