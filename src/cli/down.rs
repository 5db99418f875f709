//! `rekindle down`: the opposite of `up`.

use tokio_util::sync::CancellationToken;

use super::up::ProvisionError;
use crate::cluster;
use crate::events::Events;
use crate::toolchain;

/// Remove the cluster and everything that belongs to it.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name of the cluster.
    #[arg(long, default_value = cluster::DEFAULT_NAME, value_parser = cluster::read_name)]
    pub name: String,
}

/// Runs the command; the answer is what to print. Nothing to remove is a good end, too.
///
/// # Errors
/// When the cluster is in use, or something of it is still there afterwards.
pub async fn run(
    args: &Args,
    toolchain: &toolchain::Options,
    events: &Events,
    cancel: &CancellationToken,
) -> Result<String, ProvisionError> {
    if !cluster::anything(&toolchain.state)? {
        toolchain::release_docker(toolchain, cancel).await?;
        return Ok(nothing(&args.name));
    }
    cluster::wake_docker(toolchain, events, cancel).await?;
    let removed = cluster::down(&toolchain.state, &args.name, events).await?;
    cluster::reap(&toolchain.state, events, cancel).await?;
    toolchain::release_docker(toolchain, cancel).await?;
    Ok(match removed.as_slice() {
        [] => nothing(&args.name),
        runs => runs
            .iter()
            .map(|run| format!("Removed the cluster {}: {run}.", run.cluster))
            .collect::<Vec<_>>()
            .join("\n"),
    })
}

fn nothing(name: &str) -> String {
    format!("There is no cluster {name}; nothing was removed.")
}
