//! The cold pool: real worker nodes that do not exist until somebody who leased one starts them.
//!
//! A pool node is a kind worker whose kubelet is stopped and whose Node is deleted: a machine that has not been made yet. Whoever leases
//! one holds an `flock` on a file beside the cluster's kubeconfig, never a process id; the kernel frees it however the holder ends, and
//! what a dead holder left running is put back by the next one. Each start registers the node with the label and the taint of its lease,
//! so that nobody else's pods land there.

mod error;
mod lease;
mod machine;
mod routes;

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use kube::Client;
use tokio_util::sync::CancellationToken;

pub use error::PoolError;
pub(super) use lease::Held;
pub use lease::Lease;
pub use machine::Started;

use super::journal::{Entry, JournalError, io};
use super::lock::{Lock, take};
use crate::events::Events;
use crate::wait::{Seen, WaitError, until};
use machine::Machine;

const LOOK: Duration = Duration::from_millis(100);
/// What stands behind the name of a lease that nobody holds, and whose node is to stay as it is. No name ends like this.
const KEPT: &str = " (kept)";

/// What all nodes of a pool share.
struct Ground {
    client: Client,
    cluster: String,
    run_id: String,
    nodes: Vec<String>,
    /// What scenarios run, by reference.
    images: Vec<String>,
    /// Where the files are that are locked.
    locks: PathBuf,
    events: Events,
}

/// The pool of one cluster. Cheap to clone.
#[derive(Clone)]
pub struct Pool {
    ground: Arc<Ground>,
}

impl Pool {
    pub(super) fn of(entry: &Entry, client: &Client, events: &Events) -> Self {
        Self {
            ground: Arc::new(Ground {
                client: client.clone(),
                cluster: entry.cluster.clone(),
                run_id: entry.run_id.clone(),
                nodes: entry.pool().to_vec(),
                images: entry.loaded.clone(),
                // The folder of the kubeconfig is the cluster's own and goes with it.
                locks: entry.kubeconfig.with_file_name("pool"),
                events: events.clone(),
            }),
        }
    }

    /// How many nodes it has, leased or not.
    pub fn size(&self) -> usize {
        self.ground.nodes.len()
    }

    /// Whether it has so many nodes.
    ///
    /// # Errors
    /// [`PoolError::TooSmall`].
    pub fn require(&self, wanted: u32) -> Result<(), PoolError> {
        if usize::try_from(wanted).is_ok_and(|wanted| wanted <= self.size()) {
            return Ok(());
        }
        Err(PoolError::TooSmall {
            cluster: self.ground.cluster.clone(),
            wanted,
            has: self.size(),
        })
    }

    /// Makes every node of a new cluster cold, one beside the other. All have been tried when this returns.
    pub(super) async fn put_back_all(&self, cancel: &CancellationToken) -> Result<(), PoolError> {
        let step = match self.size() {
            0 => return Ok(()),
            1 => self.ground.events.step("Put the pool node into its cold state"),
            many => self.ground.events.step(format!("Put {many} pool nodes into their cold state")),
        };
        let machines = self.ground.nodes.iter().map(|node| self.machine(node));
        let all = join_all(machines.map(|machine| async move { machine.put_back(cancel).await })).await;
        all.into_iter().collect::<Result<(), _>>()?;
        step.done();
        Ok(())
    }

    /// Leases one node, cold and with the images of scenarios, for this process alone. Waits for its turn where all are leased.
    ///
    /// `name` becomes the value of the node's label and taint, so it has to be the lease's own: a trial's namespace is.
    ///
    /// # Errors
    /// [`PoolError::TooSmall`] at once where the pool has no nodes, [`PoolError::Busy`] with who holds them at the deadline,
    /// [`PoolError::Kept`] at once where all of them are kept for reproductions.
    pub async fn lease(&self, name: &str, deadline: Duration, cancel: &CancellationToken) -> Result<Lease, PoolError> {
        if !is_label_value(name) {
            return Err(PoolError::Name { name: name.to_owned() });
        }
        self.require(1)?;
        let locks = &self.ground.locks;
        std::fs::create_dir_all(locks).map_err(|source| io("made", locks, source))?;
        let waited = until("a free node", deadline, LOOK, cancel, || async {
            let (mut holders, mut kept) = (Vec::new(), Vec::new());
            for node in &self.ground.nodes {
                match self.try_lock(node) {
                    Ok(Ok((_, left_by))) if left_by.ends_with(KEPT) => {
                        kept.push(format!("{node} is kept for {}", left_by.trim_end_matches(KEPT)));
                    }
                    Ok(Ok((lock, left_by))) => return Seen::Done(Ok((node.clone(), lock, left_by))),
                    Ok(Err(holder)) => holders.push(format!("{node} is leased by {holder}")),
                    Err(error) => return Seen::Done(Err(PoolError::from(error))),
                }
            }
            if holders.is_empty() {
                // Nobody gives those back by himself.
                return Seen::Done(Err(PoolError::Kept {
                    cluster: self.ground.cluster.clone(),
                    nodes: kept.join(", "),
                }));
            }
            holders.extend(kept);
            Seen::NotYet(holders.join(", "))
        });
        let (node, lock, left_by) = waited.await.map_err(|source| match source {
            WaitError::Interrupted { .. } => PoolError::Interrupted {
                what: "waiting for a pool node",
            },
            source => PoolError::Busy {
                cluster: self.ground.cluster.clone(),
                name: name.to_owned(),
                source,
            },
        })??;
        lock.note(name).map_err(|source| io("written", &self.lock_path(&node), source))?;

        let machine = self.machine(&node);
        if !left_by.is_empty() {
            self.ground.events.note(format!(
                "the pool node {node} was leased by {left_by}, which ended without giving it back; it is put back first"
            ));
            machine.put_back(cancel).await?;
        } else if !machine.is_cold(cancel).await {
            // Somebody else has been at it.
            machine.put_back(cancel).await?;
        }
        machine.furnish(cancel).await?;
        Ok(Lease::new(self.ground.clone(), node, name, lock, false))
    }

    /// Takes a node back that was left as it was with [`Lease::keep`].
    ///
    /// # Errors
    /// [`PoolError::Lost`], when it was not, or another process has it.
    pub async fn resume(&self, name: &str) -> Result<Lease, PoolError> {
        for node in &self.ground.nodes {
            if let Ok((lock, left_by)) = self.try_lock(node)?
                && left_by.strip_suffix(KEPT) == Some(name)
            {
                // The note stays: should this process die, the node is still kept.
                let up = self.machine(node).is_registered().await;
                return Ok(Lease::new(self.ground.clone(), node.clone(), name, lock, up));
            }
        }
        Err(PoolError::Lost {
            cluster: self.ground.cluster.clone(),
            name: name.to_owned(),
        })
    }

    /// Locks a node and tells which lease was not given back, if any; or who holds it.
    fn try_lock(&self, node: &str) -> Result<Result<(Lock, String), String>, JournalError> {
        let path = self.lock_path(node);
        let lock = take(&path, File::try_lock)?;
        let name = std::fs::read_to_string(&path).map_err(|source| io("read", &path, source))?;
        Ok(match lock {
            Some(lock) => Ok((lock, name)),
            None if name.is_empty() => Err("somebody who has not said a name yet".to_owned()),
            None => Err(name),
        })
    }

    fn lock_path(&self, node: &str) -> PathBuf {
        self.ground.locks.join(format!("{node}.lock"))
    }

    fn machine<'a>(&'a self, node: &'a str) -> Machine<'a> {
        Machine {
            ground: &self.ground,
            node,
        }
    }
}

/// Whether it can be the value of a label.
fn is_label_value(text: &str) -> bool {
    let edge = |c: char| c.is_ascii_alphanumeric();
    (1..=63).contains(&text.len())
        && text.starts_with(edge)
        && text.ends_with(edge)
        && text.chars().all(|c| edge(c) || matches!(c, '-' | '_' | '.'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::journal::Journal;

    fn pool(state: &std::path::Path, size: u32) -> Pool {
        Journal::open(state).unwrap();
        let entry = Entry::new("aa11".into(), "x", size, "image", state.join("clusters/x/kubeconfig"));
        let config = kube::Config::new(hyper::Uri::from_static("https://127.0.0.1:1"));
        Pool::of(&entry, &Client::try_from(config).unwrap(), &Events::silent())
    }

    #[test]
    fn only_what_can_be_a_label_s_value_is_a_lease_s_name() {
        for good in ["a", "hook-budget-below-cold-start-a1b2c3", "A_b.c", &"a".repeat(63)] {
            assert!(is_label_value(good), "{good}");
        }
        for bad in ["", "-a", "a.", "a b", "a;b", "a=b", "a\"", &"a".repeat(64)] {
            assert!(!is_label_value(bad), "{bad}");
        }
    }

    #[tokio::test]
    async fn a_pool_without_nodes_says_so_at_once() {
        let state = tempfile::tempdir().unwrap();
        let pool = pool(state.path(), 0);
        let error = pool
            .lease("a", Duration::from_secs(60), &CancellationToken::new())
            .await
            .err()
            .unwrap();
        assert!(matches!(error, PoolError::TooSmall { wanted: 1, has: 0, .. }), "{error}");
        assert!(pool.require(0).is_ok());
    }

    #[tokio::test]
    async fn who_waits_in_vain_is_told_who_holds_the_nodes() {
        let state = tempfile::tempdir().unwrap();
        let pool = pool(state.path(), 2);
        std::fs::create_dir_all(&pool.ground.locks).unwrap();
        let mut locks = Vec::new();
        for node in &pool.ground.nodes {
            let (lock, left_by) = pool.try_lock(node).unwrap().unwrap();
            assert_eq!(left_by, "");
            lock.note(&format!("trial-of-{node}")).unwrap();
            locks.push(lock);
        }
        let wait = Duration::from_millis(50);
        let error = pool.lease("me", wait, &CancellationToken::new()).await.err().unwrap().to_string();
        assert!(
            error.contains("x-worker is leased by trial-of-x-worker, x-worker2 is leased by trial-of-x-worker2"),
            "{error}"
        );
        // One that is to stay as it is goes to nobody else.
        locks[0].note("reproduction (kept)").unwrap();
        drop(locks.remove(0));
        let error = pool.lease("me", wait, &CancellationToken::new()).await.err().unwrap().to_string();
        assert!(
            error.contains("x-worker2 is leased by trial-of-x-worker2, x-worker is kept for reproduction"),
            "{error}"
        );
        assert!(matches!(pool.resume("other").await.err().unwrap(), PoolError::Lost { .. }));
        assert_eq!(pool.resume("reproduction").await.unwrap().node(), "x-worker");
        let (lock, _) = pool.try_lock("x-worker").unwrap().unwrap();
        locks.insert(0, lock);
        locks[1].note("another (kept)").unwrap();
        drop(locks.remove(1));
        drop(locks.remove(0));
        let error = pool
            .lease("me", Duration::from_secs(60), &CancellationToken::new())
            .await
            .err()
            .unwrap()
            .to_string();
        assert!(
            error.contains("x-worker is kept for reproduction, x-worker2 is kept for another"),
            "{error}"
        );
        let locks: Vec<Lock> = pool
            .ground
            .nodes
            .iter()
            .map(|node| pool.try_lock(node).unwrap().unwrap().0)
            .collect();
        locks[0].note("trial-of-x-worker").unwrap();
        // A holder that ends without a word leaves its name, and somebody who gives back does not.
        locks[1].note("").unwrap();
        drop(locks);
        assert_eq!(pool.try_lock("x-worker").unwrap().unwrap().1, "trial-of-x-worker");
        assert_eq!(pool.try_lock("x-worker2").unwrap().unwrap().1, "");
    }
}
