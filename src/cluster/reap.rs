//! Removes clusters without using them: those that a person is done with, and what dead runs left.

use std::path::Path;

use tokio_util::sync::CancellationToken;

use super::journal::{Entry, Journal};
use super::removal::{self, Removed};
use super::{ClusterError, docker, in_use};
use crate::events::Events;
use crate::toolchain::{self, ToolchainError};

/// Removes the clusters of that name that are in the journal; an empty answer when there is none.
///
/// # Errors
/// [`ClusterError::InUse`] when a process uses one of them, [`ClusterError::LeftBehind`] when something of it is still there.
pub async fn down(state: &Path, name: &str, events: &Events) -> Result<Vec<Removed>, ClusterError> {
    remove_where(state, events, |entry| entry.cluster == name).await
}

/// Removes every run of this journal, standing clusters included.
///
/// # Errors
/// As for [`down`]; the first run that cannot be removed ends it.
pub async fn clean(state: &Path, events: &Events) -> Result<Vec<Removed>, ClusterError> {
    remove_where(state, events, |_| true).await
}

async fn remove_where(state: &Path, events: &Events, wanted: impl Fn(&Entry) -> bool) -> Result<Vec<Removed>, ClusterError> {
    let journal = Journal::open(state)?;
    let mut removed = Vec::new();
    let mut busy = None;
    for entry in journal.entries()?.into_iter().filter(wanted) {
        // One that is in use must not keep what nobody uses.
        let Some(_lock) = journal.claim(&entry.run_id)? else {
            busy = Some(in_use(&entry));
            continue;
        };
        if let Some(entry) = journal.entry(&entry.run_id)? {
            removed.push(removal::remove(&journal, entry, events).await?);
        } else {
            journal.remove(&entry.run_id)?;
        }
    }
    busy.map_or(Ok(removed), Err)
}

/// What dead runs had left and what was removed of it.
#[derive(Debug, Clone, Default)]
pub struct Reaped {
    pub runs: Vec<Removed>,
}

/// Whether the journal of this state folder names anything at all; Docker is only needed when it does.
///
/// # Errors
/// When the journal cannot be read.
pub fn anything(state: &Path) -> Result<bool, ClusterError> {
    Ok(!Journal::open(state)?.entries()?.is_empty())
}

/// Whether the journal names a cluster of that name.
///
/// # Errors
/// When the journal cannot be read.
pub fn noted(state: &Path, name: &str) -> Result<bool, ClusterError> {
    Ok(Journal::open(state)?.entries()?.iter().any(|entry| entry.cluster == name))
}

/// Removes what dead runs left: those whose lock is free and that were not made to stand. Called at the start of every command that
/// provisions.
///
/// # Errors
/// When something cannot be removed; it then stays in the journal.
pub async fn reap(state: &Path, events: &Events, cancel: &CancellationToken) -> Result<Reaped, ClusterError> {
    let journal = Journal::open(state)?;
    let mut reaped = Reaped::default();
    for entry in journal.entries()? {
        if cancel.is_cancelled() {
            return Err(ClusterError::Interrupted { what: "reaping" });
        }
        reaped.runs.extend(reap_one(&journal, &entry, events).await?);
    }
    Ok(reaped)
}

/// Makes sure that Docker answers, starting it when it does not: what the journal names can only be removed with it.
///
/// # Errors
/// When it cannot be started.
pub async fn wake_docker(options: &toolchain::Options, events: &Events, cancel: &CancellationToken) -> Result<(), ToolchainError> {
    if docker::docker(["version", "--format", "{{.Server.Version}}"])
        .run(cancel)
        .await
        .is_ok()
    {
        return Ok(());
    }
    toolchain::prepare(options, events, cancel).await.map(drop)
}

/// The same for one entry; nothing where it is in use or stays.
pub(super) async fn reap_one(journal: &Journal, entry: &Entry, events: &Events) -> Result<Option<Removed>, ClusterError> {
    if entry.phase.stays() {
        return Ok(None);
    }
    let Some(_lock) = journal.claim(&entry.run_id)? else {
        return Ok(None);
    };
    // Only what it says under the lock counts: its owner may have finished meanwhile.
    let Some(entry) = journal.entry(&entry.run_id)? else {
        journal.remove(&entry.run_id)?;
        return Ok(None);
    };
    if entry.phase.stays() {
        return Ok(None);
    }
    let removed = removal::remove(journal, entry, events).await?;
    events.note(format!(
        "a run that died ({}, cluster {}) had left {removed}; it is removed",
        removed.run_id, removed.cluster
    ));
    Ok(Some(removed))
}
