//! Why a cluster could not be had, kept or removed.

use std::path::PathBuf;

use super::journal::JournalError;
use super::pool::PoolError;
use crate::command::CommandError;
use crate::wait::WaitError;

/// One sentence each: what was tried, on what, what happened, what to do.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    #[error("the cluster name {name:?} {fault}: choose another one with --name")]
    Name { name: String, fault: &'static str },
    #[error(
        "a kind cluster named {name} exists already (container {container}) and is not in this journal, so it was left untouched: \
         choose another name with --name, or delete it yourself with `kind delete cluster --name {name}`"
    )]
    Foreign { name: String, container: String },
    #[error("the cluster {name} (run {run_id}) is in use by another rekindle process: wait for that process or end it, then try again")]
    InUse { name: String, run_id: String },
    #[error(
        "another rekindle process has been creating a cluster for too long ({source}): wait for that process or end it, then try again"
    )]
    CreationBusy { source: WaitError },
    #[error(
        "the cluster {name} could not be proven to be the one of run {run_id} ({why}), so nothing in it was touched: \
         look at it yourself, then run `rekindle down --name {name}`"
    )]
    NotOurs { name: String, run_id: String, why: String },
    #[error("Docker could not {what} ({source}): see `docker info`, and `rekindle doctor` for the cure")]
    Docker { what: &'static str, source: CommandError },
    #[error("Docker was asked to {what} and answered something that is not understood: {last}")]
    DockerAnswer { what: &'static str, last: String },
    #[error("Docker has no free address range for the cluster's network ({last}): remove unused networks with `docker network prune`")]
    Addresses { last: String },
    #[error("kind could not create the cluster {name} ({source}); the node's last words: {node}")]
    Create { name: String, source: CommandError, node: String },
    #[error("the cluster {name} was created and did not become ready ({source}); the node's last words: {node}")]
    NotReady { name: String, source: WaitError, node: String },
    #[error("the image {image} could not be loaded into the node {node} ({source}): see `docker image inspect {image}`")]
    Load { image: String, node: String, source: CommandError },
    #[error("the images {image} could not be saved by Docker ({source}): see `docker image inspect {image}`")]
    Save { image: String, source: CommandError },
    #[error("the way out of the node {node} could not be closed ({source}): remove the cluster with `rekindle down` and create it again")]
    Seal { node: String, source: CommandError },
    #[error("the API server of the cluster {name} did not take {what}: {source}")]
    Api {
        name: String,
        what: &'static str,
        source: Box<kube::Error>,
    },
    #[error("the kubeconfig {} of the cluster {name} could not be used ({reason}): remove the cluster with `rekindle down --name {name}`", path.display())]
    Kubeconfig { name: String, path: PathBuf, reason: String },
    #[error("the folder {} could not be {doing} ({source}): check its permissions and free space", path.display())]
    Folder {
        doing: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("removing the run {run_id} left something behind ({source}): free it, then run `rekindle clean`")]
    LeftBehind { run_id: String, source: WaitError },
    #[error("{first}; and undoing it failed as well: {second}")]
    Twice {
        first: Box<ClusterError>,
        second: Box<ClusterError>,
    },
    #[error("this machine cannot make a cluster: {check} is {found}, and {limit} is needed: {cure}")]
    Preflight {
        check: &'static str,
        found: String,
        limit: String,
        cure: String,
    },
    #[error("{what} was interrupted")]
    Interrupted { what: &'static str },
    #[error(transparent)]
    Pool(#[from] PoolError),
    #[error(transparent)]
    Journal(#[from] JournalError),
}

impl ClusterError {
    pub(super) fn docker(what: &'static str, source: CommandError) -> Self {
        match source {
            CommandError::Interrupted { .. } => Self::Interrupted { what: "asking Docker" },
            source => Self::Docker { what, source },
        }
    }

    pub(super) fn api(name: &str, what: &'static str, source: kube::Error) -> Self {
        Self::Api {
            name: name.to_owned(),
            what,
            source: Box::new(source),
        }
    }

    /// Whether it was the user who ended it.
    pub fn interrupted(&self) -> bool {
        match self {
            Self::Interrupted { .. } => true,
            Self::Pool(error) => error.interrupted(),
            Self::Twice { first, .. } => first.interrupted(),
            _ => false,
        }
    }
}
