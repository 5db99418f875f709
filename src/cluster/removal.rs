//! Removing a run completely: what exists is looked at until nothing is left, and only then is the run forgotten.

use std::time::Duration;

use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::ClusterError;
use super::config::RUN_LABEL;
use super::docker;
use super::freezer;
use super::journal::{Entry, Journal, Phase};
use super::owner;
use crate::events::Events;
use crate::wait::{Seen, until};

/// How long a removal may take in all. A node with a full disk takes Docker some ten seconds.
const DEADLINE: Duration = Duration::from_secs(120);
/// Between two looks. After the first, everything that a killed creation had under way in the daemon has come to light.
const INTERVAL: Duration = Duration::from_millis(250);

/// What was removed, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Removed {
    pub run_id: String,
    pub cluster: String,
    pub containers: Vec<String>,
    pub networks: Vec<String>,
    pub volumes: Vec<String>,
}

impl std::fmt::Display for Removed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut parts = Vec::new();
        for (what, names) in [
            ("container", &self.containers),
            ("network", &self.networks),
            ("volume", &self.volumes),
        ] {
            match names.as_slice() {
                [] => {}
                [one] => parts.push(format!("{what} {}", short(one))),
                many => parts.push(format!("{} {what}s", many.len())),
            }
        }
        if parts.is_empty() {
            f.write_str("nothing but its journal entry")
        } else {
            f.write_str(&parts.join(", "))
        }
    }
}

/// Anonymous volumes have names of 64 characters.
fn short(name: &str) -> &str {
    if name.len() == 64 { &name[..12] } else { name }
}

/// Removes everything of a run. The caller holds its lock alone.
///
/// The exit codes of the single steps are not looked at: what counts is what is there afterwards.
///
/// # Errors
/// [`ClusterError::LeftBehind`] when something is still there at the deadline; the journal then still names it.
pub async fn remove(journal: &Journal, mut entry: Entry, events: &Events) -> Result<Removed, ClusterError> {
    // An interrupt is the reason for many removals and must not end them half-way; the deadline does.
    let cancel = CancellationToken::new();
    let step = events.step(format!("Remove cluster {}", entry.cluster));
    let killed_while_creating = entry.phase == Phase::Creating;
    if entry.phase == Phase::Parked {
        // What is paused does not hear that it is to end. Where this fails, the looks below say what is left.
        let _ = docker::docker(["unpause"]).args(&entry.nodes).run(&cancel).await;
    }
    entry.phase = Phase::Removing;
    journal.write(&entry)?;

    let removed = Removed {
        run_id: entry.run_id.clone(),
        cluster: entry.cluster.clone(),
        ..Removed::default()
    };
    let run_id = entry.run_id.clone();
    let under_way = Mutex::new(UnderWay {
        entry,
        removed,
        names_free: !killed_while_creating,
        empty_looks: 0,
    });
    until("an empty list of what it made", DEADLINE, INTERVAL, &cancel, || async {
        let mut under_way = under_way.lock().await;
        match under_way.look(journal, &cancel).await {
            Ok(left) if left.is_empty() => {
                under_way.empty_looks += 1;
                // A daemon that was asked for a container just before the asker was killed may show it a moment later.
                if under_way.empty_looks > usize::from(killed_while_creating) {
                    Seen::Done(Ok(()))
                } else {
                    Seen::NotYet("nothing, once".to_owned())
                }
            }
            Ok(left) => {
                under_way.empty_looks = 0;
                Seen::NotYet(left.join(", "))
            }
            Err(error) => Seen::Done(Err(error)),
        }
    })
    .await
    .map_err(|source| ClusterError::LeftBehind { run_id, source })??;

    let UnderWay { entry, removed, .. } = under_way.into_inner();
    if let Some(dir) = entry.kubeconfig.parent() {
        match std::fs::remove_dir_all(dir) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                return Err(ClusterError::Folder {
                    doing: "removed",
                    path: dir.to_owned(),
                    source,
                });
            }
            _ => {}
        }
    }
    journal.remove(&entry.run_id)?;
    step.done();
    Ok(removed)
}

struct UnderWay {
    entry: Entry,
    removed: Removed,
    /// No creation of one of the nodes is under way in Docker.
    names_free: bool,
    empty_looks: usize,
}

impl UnderWay {
    /// Removes what is there, and says what was there when it came.
    async fn look(&mut self, journal: &Journal, cancel: &CancellationToken) -> Result<Vec<String>, ClusterError> {
        let Self {
            entry,
            removed,
            names_free,
            ..
        } = self;
        let mut left = Vec::new();

        let mut filters: Vec<String> = entry.nodes.iter().map(|node| docker::named(node)).collect();
        filters.push(format!("label={RUN_LABEL}={}", entry.run_id));
        let mut containers = docker::containers(&filters, cancel).await?;
        containers.retain(|container| owner::owns_container(container, entry));
        if !containers.is_empty() {
            let known = entry.volumes.len();
            for volume in containers.iter().flat_map(|container| &container.volumes) {
                if !entry.volumes.contains(volume) {
                    entry.volumes.push(volume.clone());
                }
            }
            if entry.volumes.len() > known {
                journal.write(entry)?;
            }
            let ids: Vec<String> = containers.iter().map(|container| container.id.clone()).collect();
            let gone = CancellationToken::new();
            let removing = async {
                let said = try_to(&["container", "rm", "--force", "--volumes"], &ids, cancel).await;
                gone.cancel();
                said
            };
            let (said, ()) = tokio::join!(removing, freezer::thaw_until(&ids, &gone));
            for container in containers {
                left.push(format!("container {} ({said})", container.name));
                note(&mut removed.containers, container.name);
            }
        }

        if left.is_empty() && !*names_free {
            *names_free = true;
            for node in &entry.nodes {
                if let Some(reason) = docker::name_taken(node, &entry.node_image, &entry.run_id, cancel).await? {
                    *names_free = false;
                    left.push(format!("container {node}, which Docker is still creating ({reason})"));
                }
            }
        }

        let volumes = docker::volumes(&entry.volumes, &entry.run_id, cancel).await?;
        if !volumes.is_empty() {
            let said = try_to(&["volume", "rm"], &volumes, cancel).await;
            left.extend(volumes.iter().map(|volume| format!("volume {volume} ({said})")));
        }
        // Most went with their containers; all that were known and are gone now were removed.
        removed.volumes.clone_from(&entry.volumes);

        if let Some(network) = docker::network(&entry.network, cancel).await?
            && owner::owns_network(&network, entry)
        {
            let said = try_to(&["network", "rm"], std::slice::from_ref(&entry.network), cancel).await;
            let users = if network.containers.is_empty() {
                String::new()
            } else {
                format!(", used by {}", network.containers.join(", "))
            };
            left.push(format!("network {}{users} ({said})", network.name));
            note(&mut removed.networks, network.name);
        }

        if journal.being_made(&entry.run_id)? {
            left.push("a kind process that is still creating it".to_owned());
        }
        Ok(left)
    }
}

/// Asks Docker to remove things, and returns what it said: whether it did so is seen at the next look.
async fn try_to(words: &[&str], names: &[String], cancel: &CancellationToken) -> String {
    match docker::docker(words).args(names).run_any_status(cancel).await {
        Ok(output) => output.last_line(),
        Err(error) => error.to_string(),
    }
}

fn note(names: &mut Vec<String>, name: String) {
    if !names.contains(&name) {
        names.push(name);
    }
}
