//! `rekindle up`: a cluster that stays.

use tokio_util::sync::CancellationToken;

use crate::cluster::{self, Cluster, ClusterError};
use crate::engine::FluxError;
use crate::engine::flux::system;
use crate::events::Events;
use crate::report::shell::quoted;
use crate::toolchain::{self, Flux, Toolchain, ToolchainError};

/// Create the cluster, or attach to the one that is up, and keep it.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name of the cluster.
    #[arg(long, default_value = cluster::DEFAULT_NAME, value_parser = cluster::read_name)]
    pub name: String,
    /// Port of this machine for the API server; 0 lets Docker choose.
    #[arg(long, default_value_t = 0, value_name = "PORT")]
    pub api_port: u16,
    /// Nodes that do not exist until a scenario's autoscaler starts them.
    #[arg(long, default_value_t = 0, value_name = "NODES", value_parser = clap::value_parser!(u32).range(..=cluster::POOL_MAX))]
    pub pool: u32,
    /// A node image of your own instead of the one that is built.
    #[arg(long, value_name = "IMAGE")]
    pub node_image: Option<String>,
}

/// Why there is no cluster.
#[derive(Debug, thiserror::Error)]
pub enum ProvisionError {
    #[error(transparent)]
    Toolchain(#[from] ToolchainError),
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    #[error(transparent)]
    Flux(#[from] FluxError),
}

/// Everything that stands between a command and its cluster: the toolchain, what dead runs left, the preflight checks, the cluster.
///
/// # Errors
/// [`ProvisionError`]; nothing of a cluster that could not be had is left.
pub async fn provision(
    options: &cluster::Options,
    toolchain: &toolchain::Options,
    events: &Events,
    cancel: &CancellationToken,
) -> Result<(Toolchain, Cluster), ProvisionError> {
    let tools = toolchain::prepare(toolchain, events, cancel).await?;
    cluster::reap(&options.state, events, cancel).await?;
    // One that is there already has its place on this machine.
    if !cluster::noted(&options.state, &options.name)? {
        let checks = cluster::preflight::preflight(options, &toolchain.cache, cancel).await;
        cluster::preflight::require(&checks)?;
    }
    let mut cluster = Cluster::up(options, &tools, events, cancel).await?;
    let Some(flux) = &tools.flux else { return Ok((tools, cluster)) };
    match start_flux(flux, &tools, &mut cluster, events, cancel).await {
        Ok(()) => Ok((tools, cluster)),
        Err(error) => {
            // It says itself what it leaves.
            if let Err(left) = cluster.leave(false, events).await {
                events.note(left.to_string());
            }
            Err(error)
        }
    }
}

async fn start_flux(
    flux: &Flux,
    tools: &Toolchain,
    cluster: &mut Cluster,
    events: &Events,
    cancel: &CancellationToken,
) -> Result<(), ProvisionError> {
    let step = events.step("Load the images of Flux");
    let loaded = cluster.load_archive(&flux.archive, &flux.built(), events, cancel).await?;
    for image in flux.foreign() {
        cluster.load(&image, cancel).await?;
    }
    if loaded {
        step.done()
    } else {
        step.cached()
    }
    Ok(system::install(&cluster.client, flux, &tools.images.standin.reference, events, cancel).await?)
}

/// Runs the command; the answer is what to print.
///
/// # Errors
/// See [`provision`].
pub async fn run(
    args: &Args,
    toolchain: &toolchain::Options,
    events: &Events,
    cancel: &CancellationToken,
) -> Result<String, ProvisionError> {
    let options = cluster::Options {
        name: args.name.clone(),
        keep: true,
        api_port: args.api_port,
        pool: args.pool,
        pool_at_least: args.pool,
        ..cluster::Options::new(&toolchain.state)
    };
    let (tools, cluster) = provision(&options, toolchain, events, cancel).await?;
    Ok(how_to_use(&cluster, &tools))
}

fn how_to_use(cluster: &Cluster, tools: &Toolchain) -> String {
    let state = if cluster.fresh() { "is up" } else { "was up already" };
    let named = cluster::named(&cluster.name);
    format!(
        "The cluster {} {state} (Kubernetes {}).\n\n  export KUBECONFIG={}\n  {} get pods --all-namespaces\n\nIt stays until `rekindle down{named}`.",
        cluster.name,
        tools.kubernetes_version,
        quoted(&cluster.kubeconfig.display().to_string()),
        quoted(&tools.kubectl.display().to_string()),
    )
}
