//! `hubs-probe`: see `hubs_probe::cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    hubs_probe::cli::main()
}
