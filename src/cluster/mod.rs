//! Clusters: made by kind, written down before they are made, proven to be ours before they are touched, and removed without a trace.

mod archive;
mod attach;
pub mod autoscaler;
mod config;
mod create;
mod dns;
mod docker;
mod error;
mod freezer;
mod inside;
mod journal;
pub mod lock;
mod owner;
mod park;
pub mod pool;
pub mod preflight;
mod reap;
mod removal;
pub mod slots;

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

pub use autoscaler::{Autoscaler, AutoscalerError, ScaleUp};
pub use config::{NODE_LABEL, OWNER, POOL_LABEL, RUN_LABEL, SERVICE_SUBNET};
pub use error::ClusterError;
pub use journal::{Entry, Journal, JournalError, Phase};
pub use pool::{Lease, Pool, PoolError};
pub use reap::{Reaped, anything, clean, down, noted, reap, wake_docker};
pub use removal::Removed;

use crate::events::Events;
use crate::toolchain::Toolchain;
use crate::wait::{Seen, WaitError, until};
use lock::Lock;

/// The name of a cluster that nobody named.
pub const DEFAULT_NAME: &str = "rekindle";

/// The largest pool, for the range of an argument: each trial leases one node, and more trials than this do not share a machine.
pub const POOL_MAX: i64 = 8;

/// How long to wait for another process that creates a cluster or clears up.
const TURN: Duration = Duration::from_secs(600);

/// Which cluster is wanted.
#[derive(Debug, Clone)]
pub struct Options {
    pub name: String,
    pub state: PathBuf,
    /// It stays when the process ends, until `down` or `clean`.
    pub keep: bool,
    /// The port of this machine for the API server; 0 lets Docker choose.
    pub api_port: u16,
    /// How many nodes its pool has when it is made.
    pub pool: u32,
    /// How many it has at least where it stands already: it is not made larger.
    pub pool_at_least: u32,
}

impl Options {
    pub fn new(state: impl Into<PathBuf>) -> Self {
        Self {
            name: DEFAULT_NAME.to_owned(),
            state: state.into(),
            keep: false,
            api_port: 0,
            pool: 0,
            pool_at_least: 0,
        }
    }
}

/// How a process came to its cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    Created,
    /// It was parked.
    Woken,
    /// It was up.
    Found,
}

/// A cluster that is up and proven to be ours. While it is held, no other process removes it.
pub struct Cluster {
    pub name: String,
    pub run_id: String,
    pub kubeconfig: PathBuf,
    pub network: String,
    pub client: kube::Client,
    journal: Journal,
    entry: Entry,
    lock: Lock,
    origin: Origin,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster")
            .field("name", &self.name)
            .field("run_id", &self.run_id)
            .finish_non_exhaustive()
    }
}

impl Cluster {
    /// Creates the cluster, or attaches to the one of that name that is up and proven ours.
    ///
    /// # Errors
    /// See [`ClusterError`]. What was made of a cluster that failed or was interrupted has been removed again.
    pub async fn up(options: &Options, toolchain: &Toolchain, events: &Events, cancel: &CancellationToken) -> Result<Self, ClusterError> {
        if let Some(fault) = config::name_fault(&options.name) {
            return Err(ClusterError::Name {
                name: options.name.clone(),
                fault,
            });
        }
        let journal = Journal::open(&options.state)?;
        let _turn = turn(&journal, events, cancel).await?;
        if let Some(mut cluster) = Self::attach(options, toolchain, events, cancel).await? {
            cluster.pool(events).require(options.pool_at_least)?;
            if cluster.entry.node_image != toolchain.node_image {
                events.note(format!(
                    "the cluster {} stands with the node image {}; run `rekindle down` first to have it with {}",
                    cluster.name, cluster.entry.node_image, toolchain.node_image
                ));
            }
            cluster.load_missing(&images(toolchain), cancel).await?;
            if options.keep {
                cluster.stand()?;
            }
            return Ok(cluster);
        }
        let foreign = docker::containers(&foreign_filters(options), cancel).await?;
        if let Some(container) = foreign.into_iter().next() {
            return Err(ClusterError::Foreign {
                name: options.name.clone(),
                container: container.name,
            });
        }

        let run_id = journal::new_run_id().map_err(|source| ClusterError::Folder {
            doing: "read",
            path: "/dev/urandom".into(),
            source,
        })?;
        let kubeconfig = create::kubeconfig_path(&options.state, &options.name);
        let entry = Entry::new(run_id, &options.name, options.pool, &toolchain.node_image, kubeconfig);
        let Some(lock) = journal.claim(&entry.run_id)? else {
            return Err(in_use(&entry));
        };
        journal.write(&entry)?;
        match Self::create(options, toolchain, &journal, entry.clone(), events, cancel).await {
            Ok((entry, access)) => {
                lock.share().map_err(|source| lock_failed(&options.state, source))?;
                Ok(Self::held(entry, access.client, journal, lock, Origin::Created))
            }
            Err(first) => {
                // Whatever it was that an interrupt cut off, to the user it is the creation.
                let first = if cancel.is_cancelled() {
                    ClusterError::Interrupted {
                        what: "creating the cluster",
                    }
                } else {
                    first
                };
                match removal::remove(&journal, entry, events).await {
                    Ok(_) => Err(first),
                    Err(second) => Err(ClusterError::Twice {
                        first: Box::new(first),
                        second: Box::new(second),
                    }),
                }
            }
        }
    }

    async fn create(
        options: &Options,
        toolchain: &Toolchain,
        journal: &Journal,
        mut entry: Entry,
        events: &Events,
        cancel: &CancellationToken,
    ) -> Result<(Entry, owner::Access), ClusterError> {
        let images = images(toolchain);
        let archive = archive::Archive::of(&images, &options.state, cancel).await?;
        let flux = toolchain.flux.as_ref().map(|flux| (flux.archive.as_path(), flux.built()));
        let plan = create::Plan {
            archive: &archive,
            engines: flux.as_ref().map(|(archive, images)| (*archive, images.as_slice())),
            kind: &toolchain.kind,
            images: &images,
            entry: &entry,
            journal,
            api_port: options.api_port,
        };
        let access = plan.run(events, cancel).await?;
        entry.ca_sha256.clone_from(&access.ca_sha256);
        entry.loaded = images;
        entry.archived = flux.map(|(_, images)| images).unwrap_or_default();
        entry.phase = if options.keep { Phase::Standing } else { Phase::Up };
        prove(&access, &entry).await?;
        journal.write(&entry)?;
        Ok((entry, access))
    }

    fn held(entry: Entry, client: kube::Client, journal: Journal, lock: Lock, origin: Origin) -> Self {
        Self {
            name: entry.cluster.clone(),
            run_id: entry.run_id.clone(),
            kubeconfig: entry.kubeconfig.clone(),
            network: entry.network.clone(),
            client,
            journal,
            entry,
            lock,
            origin,
        }
    }

    /// Whether this process created it; then this process removes it at its end, unless it was asked to keep it.
    pub fn fresh(&self) -> bool {
        self.origin == Origin::Created
    }

    /// Whether nobody wanted it before: this process created it, or found it parked.
    pub fn unclaimed(&self) -> bool {
        self.origin != Origin::Found
    }

    /// The names of the nodes, which are also the names of their containers.
    pub fn node_names(&self) -> &[String] {
        &self.entry.nodes
    }

    /// Its nodes that do not exist until somebody leases and starts one.
    pub fn pool(&self, events: &Events) -> Pool {
        Pool::of(&self.entry, &self.client, events)
    }

    /// Lets it stay when this process ends.
    ///
    /// # Errors
    /// When the journal cannot be written.
    pub fn stand(&mut self) -> Result<(), ClusterError> {
        if self.entry.phase != Phase::Standing {
            self.entry.phase = Phase::Standing;
            self.journal.write(&self.entry)?;
        }
        Ok(())
    }

    /// Loads an image that Docker has, once. A node of the pool gets it when it is leased next.
    ///
    /// # Errors
    /// [`ClusterError::Load`] when either side refuses.
    pub async fn load(&mut self, image: &str, cancel: &CancellationToken) -> Result<(), ClusterError> {
        self.load_missing(&[image.to_owned()], cancel).await
    }

    async fn load_missing(&mut self, images: &[String], cancel: &CancellationToken) -> Result<(), ClusterError> {
        let missing: Vec<String> = images.iter().filter(|image| !self.entry.loaded.contains(image)).cloned().collect();
        if missing.is_empty() {
            return Ok(());
        }
        inside::load(&missing, self.entry.control_plane(), cancel).await?;
        self.entry.loaded.extend(missing);
        Ok(self.journal.write(&self.entry)?)
    }

    /// Loads the images of an archive into the control plane's node, unless they are there; whether they were not. Of several processes
    /// that share the cluster, one does it.
    ///
    /// # Errors
    /// [`ClusterError::Load`] when the node does not take them.
    pub async fn load_archive(
        &mut self,
        archive: &Path,
        images: &[String],
        events: &Events,
        cancel: &CancellationToken,
    ) -> Result<bool, ClusterError> {
        let _turn = turn(&self.journal, events, cancel).await?;
        if let Some(entry) = self.journal.entry(&self.run_id)? {
            self.entry = entry;
        }
        if images.iter().all(|image| self.entry.archived.contains(image)) {
            return Ok(false);
        }
        inside::load_archive(archive, images, self.entry.control_plane(), cancel).await?;
        self.entry.archived.retain(|loaded| !images.contains(loaded));
        self.entry.archived.extend(images.iter().cloned());
        self.journal.write(&self.entry)?;
        Ok(true)
    }

    /// Removes it completely, also when the run was interrupted.
    ///
    /// # Errors
    /// [`ClusterError::InUse`] when another process uses it, [`ClusterError::LeftBehind`] when something of it is still there.
    pub async fn down(self, events: &Events) -> Result<Removed, ClusterError> {
        if !self.alone()? {
            return Err(in_use(&self.entry));
        }
        let entry = self.journal.entry(&self.run_id)?.unwrap_or(self.entry);
        removal::remove(&self.journal, entry, events).await
    }

    /// Ends this process's use of it. A cluster that was made to stand goes on, and one that others use is theirs to end; else it is
    /// parked for the next run, or removed.
    ///
    /// # Errors
    /// When it can be neither.
    pub async fn leave(self, park: bool, events: &Events) -> Result<(), ClusterError> {
        if self.entry.phase == Phase::Standing || !self.alone()? {
            return Ok(());
        }
        if park {
            self.park(events).await
        } else {
            self.down(events).await.map(drop)
        }
    }

    /// Takes it for this process alone; `false` when another process uses it.
    fn alone(&self) -> Result<bool, ClusterError> {
        self.lock.alone().map_err(|source| lock_failed(&self.kubeconfig, source))
    }
}

/// What a command for this cluster needs besides: ` --name x`, and nothing for the usual one.
pub fn named(cluster: &str) -> String {
    match cluster {
        DEFAULT_NAME => String::new(),
        name => format!(" --name {name}"),
    }
}

/// The folder of all that belongs to a cluster and goes with it.
pub fn folder(state: &Path, name: &str) -> PathBuf {
    create::folder(state, name)
}

/// The images that were saved for new nodes; nothing to keep once nothing else is.
pub fn saved_images(state: &Path) -> PathBuf {
    archive::folder(state)
}

async fn prove(access: &owner::Access, entry: &Entry) -> Result<(), ClusterError> {
    let facts = owner::facts(access)
        .await
        .map_err(|source| ClusterError::api(&entry.cluster, "the question whose cluster it is", source))?;
    match owner::doubt(&facts, entry) {
        None => Ok(()),
        Some(why) => Err(ClusterError::NotOurs {
            name: entry.cluster.clone(),
            run_id: entry.run_id.clone(),
            why,
        }),
    }
}

async fn turn(journal: &Journal, events: &Events, cancel: &CancellationToken) -> Result<Lock, ClusterError> {
    if let Some(lock) = journal.creation()? {
        return Ok(lock);
    }
    let step = events.step("Wait for another rekindle process that creates a cluster");
    let waited = until("the other process's end", TURN, Duration::from_millis(100), cancel, || async {
        match journal.creation() {
            Ok(Some(lock)) => Seen::Done(Ok(lock)),
            Ok(None) => Seen::NotYet("it is still at it".to_owned()),
            Err(error) => Seen::Done(Err(error)),
        }
    });
    match waited.await {
        Ok(lock) => {
            step.done();
            Ok(lock?)
        }
        Err(WaitError::Interrupted { .. }) => Err(ClusterError::Interrupted {
            what: "waiting for another creation",
        }),
        Err(source) => Err(ClusterError::CreationBusy { source }),
    }
}

fn images(toolchain: &Toolchain) -> Vec<String> {
    let images = &toolchain.images;
    let all = [&images.tools, &images.standin, &images.named_user];
    all.map(|image| image.reference.clone()).into()
}

/// Reads the name of a cluster, as clap wants it.
///
/// # Errors
/// What is wrong with it.
pub fn read_name(name: &str) -> Result<String, String> {
    match config::name_fault(name) {
        None => Ok(name.to_owned()),
        Some(fault) => Err(format!("the name of a cluster {fault}")),
    }
}

/// Finds what kind would stumble over: containers with its nodes' names, and a cluster with this name.
fn foreign_filters(options: &Options) -> Vec<String> {
    let nodes = config::node_names(&options.name, options.pool);
    let mut filters: Vec<String> = nodes.iter().map(|node| docker::named(node)).collect();
    filters.push(format!("label={}={}", config::KIND_LABEL, options.name));
    filters
}

fn in_use(entry: &Entry) -> ClusterError {
    ClusterError::InUse {
        name: entry.cluster.clone(),
        run_id: entry.run_id.clone(),
    }
}

fn lock_failed(path: &Path, source: std::io::Error) -> ClusterError {
    ClusterError::Folder {
        doing: "locked",
        path: path.to_owned(),
        source,
    }
}
