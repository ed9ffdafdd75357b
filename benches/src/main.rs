//! `hubs-load`: see `hubs_benches::cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    hubs_benches::cli::main()
}
