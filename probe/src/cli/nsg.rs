//! `hubs-probe nsg`.

use std::path::PathBuf;

use clap::Args;

use super::{azure::Cluster, declared::declared, output::ReportArgs, usage::UsageError};
use crate::{
    checks::CHECKS,
    diagnose::Subject,
    finding::printable,
    nsg::{self, NamedFlow, Place, Wanted},
};

/// The options of `nsg`.
#[derive(Debug, Args)]
pub(super) struct NsgArgs {
    /// What declares the rules, in JSON; `-` is standard input.
    #[arg(required_unless_present = "azure")]
    files: Vec<PathBuf>,
    /// Ask Azure about this cluster, besides or instead, through the `az` that you are logged in with; it only shows and lists.
    #[arg(long, value_name = "GROUP/CLUSTER")]
    azure: Option<Cluster>,
    /// Ask about this instead of what Hubs needs: udp/40000-49999, tcp/443,4443; can be given several times.
    #[arg(long, value_name = "PROTOCOL/PORTS")]
    flow: Vec<NamedFlow>,
    /// Where it comes from: `Internet`, `VirtualNetwork`, `AzureLoadBalancer`, `Node`, an address or a network [default: Internet].
    #[arg(long, value_name = "PLACE")]
    from: Option<Place>,
    /// Where it goes: Node, Entrance (the load balancer), Internet for outbound, an address or a network [default: Node].
    #[arg(long, value_name = "PLACE")]
    to: Option<Place>,
    #[command(flatten)]
    told: ReportArgs,
}

/// Evaluates what the files declare, and reports.
pub(super) fn nsg(args: &NsgArgs) -> Result<u8, UsageError> {
    let declared = declared(&args.files, args.azure.as_ref())?.unwrap_or_default();
    let wanted = Wanted {
        flows: args.flow.clone(),
        from: args.from.clone(),
        to: args.to.clone(),
        ..Wanted::default()
    };
    let found =
        [("nsg.rules", nsg::judge_rules(&declared)), ("nsg.flows", nsg::flows(&declared, &wanted, None))];
    let row = |id| CHECKS.iter().find(|check| check.id == id);
    let checks = found.into_iter().filter_map(|(id, findings)| Some((row(id)?, findings)));
    let files = args.files.iter().map(|path| printable(&path.display().to_string()));
    let names: Vec<_> = files.chain(args.azure.iter().map(|_| "Azure".to_owned())).collect();
    args.told.tell(Subject::Rules, names.join(", "), checks.collect())
}
