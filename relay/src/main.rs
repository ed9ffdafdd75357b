<<<<<<< HEAD
//! The binary `hubs-relay`.

=======
//! Skeleton.
>>>>>>> a5453d5 (Test bed in Rust: certificates, processes, ingress, database, browsers; browsers refuse coturn as shipped)
fn main() {}
