//! Why a node of the pool could not be had, started or put back.

use crate::cluster::ClusterError;
use crate::cluster::journal::JournalError;
use crate::wait::WaitError;

/// One sentence each: what was tried, on what, what happened, what to do.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    #[error(
        "the pool of the cluster {cluster} has {} and {wanted} {} asked for: remove the cluster with `rekindle down --name {cluster}`, then it is made anew with a larger pool",
        nodes(*has), if *wanted == 1 { "is" } else { "are" }
    )]
    TooSmall { cluster: String, wanted: u32, has: usize },
    #[error(
        "the lease name {name:?} cannot be the value of a node's label: use at most 63 letters, digits, '-', '_' and '.', with a letter or digit at both ends"
    )]
    Name { name: String },
    #[error(
        "no node of the pool of the cluster {cluster} could be leased for {name} ({source}): end the runs that hold them, or make the cluster with a larger pool"
    )]
    Busy { cluster: String, name: String, source: WaitError },
    #[error(
        "no node of the pool of the cluster {cluster} is free ({nodes}): clean these reproductions with `rekindle reproduce SCENARIO --step clean`, or use another cluster with `--name`"
    )]
    Kept { cluster: String, nodes: String },
    #[error("no node of the pool of the cluster {cluster} is kept for {name} any more: clean that reproduction, and begin anew")]
    Lost { cluster: String, name: String },
    #[error(
        "the pool node {node} could not be put back into its cold state ({source}): see `docker logs {node}`, or remove the cluster and create it again"
    )]
    NotCold { node: String, source: WaitError },
    #[error("the pool node {node} was started and did not come up ({source}); its last words: {words}")]
    NotUp { node: String, source: WaitError, words: String },
    #[error(
        "the images of scenarios could not be loaded into the pool node {node} ({last}): see `docker logs {node}`, or remove the cluster and create it again"
    )]
    Images { node: String, last: String },
    #[error("the pool node {node} could not be started ({last}): see `docker exec {node} systemctl status kubelet`")]
    Start { node: String, last: String },
    #[error(
        "the routes between the nodes of the cluster {cluster} could not be brought up to date ({source}): see `docker exec {cluster}-control-plane ip route`"
    )]
    Routes { cluster: String, source: WaitError },
    #[error(
        "the pool node {node} was asked to start after its lease {name} had been given back: this is a bug in rekindle, please report it"
    )]
    Returned { node: String, name: String },
    #[error("{what} was interrupted")]
    Interrupted { what: &'static str },
    #[error(transparent)]
    Load(Box<ClusterError>),
    #[error(transparent)]
    Lock(#[from] JournalError),
}

impl PoolError {
    /// Whether it was the user who ended it.
    pub fn interrupted(&self) -> bool {
        matches!(self, Self::Interrupted { .. })
    }
}

fn nodes(count: usize) -> String {
    match count {
        0 => "no nodes".to_owned(),
        1 => "1 node".to_owned(),
        count => format!("{count} nodes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_that_is_too_small_is_one_sentence() {
        let error = |wanted, has| {
            let cluster = "ci".to_owned();
            PoolError::TooSmall { cluster, wanted, has }.to_string()
        };
        assert_eq!(
            error(1, 0),
            "the pool of the cluster ci has no nodes and 1 is asked for: remove the cluster with `rekindle down --name ci`, then it is made \
             anew with a larger pool"
        );
        assert!(error(3, 1).starts_with("the pool of the cluster ci has 1 node and 3 are asked for: "));
    }
}
