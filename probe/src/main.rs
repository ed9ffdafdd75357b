<<<<<<< HEAD
//! `hubs-probe`: see `hubs_probe::cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    hubs_probe::cli::main()
}
=======
//! Skeleton.
fn main() {}
>>>>>>> a5453d5 (Test bed in Rust: certificates, processes, ingress, database, browsers; browsers refuse coturn as shipped)
