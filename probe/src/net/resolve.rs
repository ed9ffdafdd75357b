//! Names to addresses, with the system's resolver or the one that the command line names.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use hickory_proto::rr::RecordType;
use hickory_resolver::{
    Resolver, TokioResolver,
    config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts},
    net::{DnsError, NetError as DnsFailure, runtime::TokioRuntimeProvider},
};

use super::{Net, NetError};

/// One query, and how often it is sent.
const QUERY_LIMIT: Duration = Duration::from_secs(2);
const ATTEMPTS: usize = 2;

/// More addresses than any deployment has; what a hostile server sends beyond them is not looked at.
const MOST_ADDRESSES: usize = 16;

/// The addresses of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lookup {
    /// IPv4 first; only of the families that are in use.
    pub addresses: Vec<IpAddr>,
}

/// Why a name gave no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// The DNS says that the name does not exist, or has no address.
    #[error("{host} has no address in the DNS")]
    NoAddress {
        /// The name.
        host: String,
    },
    /// The text can't be a name.
    #[error("{host:?} is no host name")]
    BadName {
        /// The text.
        host: String,
    },
    /// The resolver did not tell.
    #[error("the resolver {resolver} gives no answer about {host}: {reason}")]
    Resolver {
        /// The name.
        host: String,
        /// Which resolver.
        resolver: String,
        /// What it said or did.
        reason: String,
    },
}

/// The resolver, and what to call it in messages.
pub(super) fn resolver(given: Option<SocketAddr>) -> Result<(TokioResolver, String), NetError> {
    let failed = |e: DnsFailure| NetError::Resolver(e.to_string());
    let (mut builder, name) = match given {
        None => (Resolver::builder_tokio().map_err(failed)?, "of this machine".to_owned()),
        Some(address) => {
            let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut c| {
                c.port = address.port();
                c
            });
            let server = NameServerConfig::new(address.ip(), true, connections.into());
            let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
            let mut options = ResolverOpts::default();
            options.use_hosts_file = ResolveHosts::Never;
            let builder =
                Resolver::builder_with_config(config, TokioRuntimeProvider::default()).with_options(options);
            (builder, address.to_string())
        }
    };
    let options = builder.options_mut();
    options.timeout = QUERY_LIMIT;
    options.attempts = ATTEMPTS;
    Ok((builder.build().map_err(failed)?, name))
}

impl Net {
    /// The addresses of `host`, of the families in use.
    pub async fn lookup(&self, host: &str) -> Result<Lookup, ResolveError> {
        // A final dot: the search list of this machine has nothing to do with the deployment.
        let name = hickory_proto::rr::Name::from_utf8(format!("{}.", host.trim_end_matches('.')))
            .map_err(|_| ResolveError::BadName { host: host.to_owned() })?;
        let (v4, v6) = tokio::join!(
            self.addresses(host, &name, RecordType::A, self.family().admits(IpAddr::from([0; 4]))),
            self.addresses(host, &name, RecordType::AAAA, self.family().admits(IpAddr::from([0; 16]))),
        );
        let addresses = match (v4, v6) {
            (Ok(v4), Ok(v6)) => [v4, v6].concat(),
            // One family suffices to go on with, and its failure shows where it matters.
            (Ok(some), Err(_)) | (Err(_), Ok(some)) if !some.is_empty() => some,
            (Err(e), _) | (_, Err(e)) => return Err(e),
        };
        if addresses.is_empty() {
            return Err(ResolveError::NoAddress { host: host.to_owned() });
        }
        Ok(Lookup { addresses })
    }

    async fn addresses(
        &self,
        host: &str,
        name: &hickory_proto::rr::Name,
        kind: RecordType,
        wanted: bool,
    ) -> Result<Vec<IpAddr>, ResolveError> {
        if !wanted {
            return Ok(Vec::new());
        }
        match self.resolver.lookup(name.clone(), kind).await {
            Ok(lookup) => Ok(lookup
                .answers()
                .iter()
                .filter_map(|record| record.data.ip_addr())
                .take(MOST_ADDRESSES)
                .collect()),
            Err(e) if e.is_no_records_found() => Ok(Vec::new()),
            Err(e) => Err(ResolveError::Resolver {
                host: host.to_owned(),
                resolver: self.resolver_name.clone(),
                reason: match e {
                    DnsFailure::Timeout => "no answer in time".to_owned(),
                    DnsFailure::NoConnections => "it cannot be reached from here".to_owned(),
                    DnsFailure::Dns(DnsError::ResponseCode(code)) => format!("it says {code}"),
                    other => other.to_string(),
                },
            }),
        }
    }
}
