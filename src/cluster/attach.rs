//! Attaching to a cluster that is there already: proven ours, woken where it is parked, made anew where it is of no use.

use std::time::Duration;

use futures::future::try_join_all;
use tokio_util::sync::CancellationToken;

use super::journal::{Entry, Journal, Phase};
use super::lock::Lock;
use super::park::{self, Unfit};
use super::reap::reap_one;
use super::{Cluster, ClusterError, Options, Origin, TURN, config, docker, in_use, inside, lock_failed, owner, prove, removal};
use crate::events::Events;
use crate::toolchain::Toolchain;
use crate::wait::{Seen, WaitError, until};

/// How long somebody who parks or removes it may take.
const HELD: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(20);

impl Cluster {
    /// The cluster of that name, when it is up and proven ours. What a dead run left under the name is removed on the way.
    ///
    /// # Errors
    /// [`ClusterError::InUse`] when somebody is creating or removing it, [`ClusterError::NotOurs`] when the proof fails.
    pub(super) async fn attach(
        options: &Options,
        toolchain: &Toolchain,
        events: &Events,
        cancel: &CancellationToken,
    ) -> Result<Option<Self>, ClusterError> {
        let journal = Journal::open(&options.state)?;
        for entry in journal.entries()? {
            if entry.cluster != options.name {
                continue;
            }
            if reap_one(&journal, &entry, events).await?.is_some() {
                continue;
            }
            let lock = join(&journal, &entry, cancel).await?;
            // It may have been removed between the listing and the lock.
            let Some(entry) = journal.entry(&entry.run_id)? else {
                continue;
            };
            let fit = if entry.phase == Phase::Parked {
                park::fits(&entry, options, toolchain)
            } else {
                Ok(())
            };
            let entered = match fit {
                Ok(()) => Self::enter(&journal, entry, lock, events, cancel).await?,
                Err(unfit) => {
                    anew(&journal, entry, &lock, &unfit.to_string(), events).await?;
                    None
                }
            };
            if let Some(cluster) = entered {
                return Ok(Some(cluster));
            }
        }
        Ok(None)
    }

    /// Proves and opens one cluster; removes it when its nodes are gone or stopped, which a reboot or a `docker rm` does.
    async fn enter(
        journal: &Journal,
        mut entry: Entry,
        lock: Lock,
        events: &Events,
        cancel: &CancellationToken,
    ) -> Result<Option<Self>, ClusterError> {
        let filters: Vec<String> = entry.nodes.iter().map(|node| docker::named(node)).collect();
        let nodes = docker::containers(&filters, cancel).await?;
        if let Some(other) = nodes.iter().find(|node| !owner::owns_container(node, &entry)) {
            return Err(ClusterError::Foreign {
                name: entry.cluster.clone(),
                container: other.name.clone(),
            });
        }
        let parked = entry.phase == Phase::Parked;
        if nodes.len() < entry.nodes.len() || nodes.iter().any(|node| !node.running || node.paused != parked) {
            anew(journal, entry, &lock, "its nodes were stopped or removed by somebody else", events).await?;
            return Ok(None);
        }
        if parked {
            let step = events.step(format!("Wake cluster {}", entry.cluster));
            return match park::wake(journal, &mut entry, cancel).await {
                Ok(access) => {
                    step.done();
                    Ok(Some(Self::held(entry, access.client, journal.clone(), lock, Origin::Woken)))
                }
                Err(Unfit::Cluster(error)) if error.interrupted() => Err(*error),
                Err(unfit) => {
                    anew(journal, entry, &lock, &unfit.to_string(), events).await?;
                    Ok(None)
                }
            };
        }
        let access = owner::open(&entry.cluster, &entry.kubeconfig).await?;
        prove(&access, &entry).await?;
        // A node that Docker restarted has its way out again.
        let script = config::seal_script();
        let sealing = entry.nodes.iter().map(|node| async {
            let sealed = inside::exec(node, &script, TURN, cancel).await;
            sealed.map(drop).map_err(|source| ClusterError::Seal {
                node: node.clone(),
                source,
            })
        });
        try_join_all(sealing).await?;
        Ok(Some(Self::held(entry, access.client, journal.clone(), lock, Origin::Found)))
    }
}

/// Takes part in its use, once nobody parks or removes it any more.
async fn join(journal: &Journal, entry: &Entry, cancel: &CancellationToken) -> Result<Lock, ClusterError> {
    let joined = until("the other process's end", HELD, LOOK, cancel, || async {
        match journal.join(&entry.run_id) {
            Ok(Some(lock)) => Seen::Done(Ok(lock)),
            Ok(None) => Seen::NotYet("it parks or removes the cluster".to_owned()),
            Err(error) => Seen::Done(Err(error)),
        }
    });
    match joined.await {
        Ok(lock) => Ok(lock?),
        Err(WaitError::Interrupted { .. }) => Err(ClusterError::Interrupted {
            what: "waiting for the cluster",
        }),
        Err(WaitError::Deadline { .. }) => Err(in_use(entry)),
    }
}

/// Removes a cluster that is of no use, so that it is made anew.
async fn anew(journal: &Journal, entry: Entry, lock: &Lock, why: &str, events: &Events) -> Result<(), ClusterError> {
    if !lock.alone().map_err(|source| lock_failed(&entry.kubeconfig, source))? {
        return Err(in_use(&entry));
    }
    events.note(format!(
        "the cluster {} cannot be used, because {why}; it is made anew",
        entry.cluster
    ));
    removal::remove(journal, entry, events).await.map(drop)
}
