//! Watches a namespace and writes what it sees into the timeline. The only part of the evidence that holds a Kubernetes client.

mod before;
mod hosts;
mod logs;
mod look;
mod lookups;
mod objects;

use std::time::Duration;

use kube::Client;
use tokio::sync::mpsc::unbounded_channel;
use tokio::task::JoinSet;

use super::model::Fact;
use super::recorder::Recorder;
use before::Before;
pub use look::{look, matters};
pub use objects::{KINDS, Kind};

/// How long the first complete look at a namespace may take.
const FIRST_LOOK: Duration = Duration::from_secs(30);

/// Why nothing could be collected.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    #[error("the namespace {namespace} was not completely listed within {}s; missing: {missing}", FIRST_LOOK.as_secs())]
    FirstLook { namespace: String, missing: String },
}

/// Watches until it is dropped.
pub struct Collector {
    _tasks: JoinSet<()>,
}

impl Collector {
    /// Starts to watch, and returns once everything that is there has been noted: what happens from now on is seen. A timeline that was
    /// begun before is gone on with: what has vanished since is noted as deleted, and nothing is noted twice.
    ///
    /// # Errors
    /// When the first look does not come to its end. A kind that may not be read is no error; it is noted.
    pub async fn start(client: &Client, namespace: &str, recorder: &Recorder) -> Result<Self, CollectError> {
        let mut tasks = JoinSet::new();
        let (seen, all_seen) = unbounded_channel();
        let (hosts, hosts_seen) = unbounded_channel();
        let mut before = Before::of(&recorder.timeline());
        let printed = std::mem::take(&mut before.printed);
        let mut listed = objects::watch(client, namespace, recorder, before, &seen, &mut tasks);
        tasks.spawn(logs::follow(
            client.clone(),
            namespace.to_owned(),
            recorder.clone(),
            printed,
            all_seen,
            hosts,
        ));
        tasks.spawn(lookups::look_up(client.clone(), namespace.to_owned(), recorder.clone(), hosts_seen));

        let mut missing: Vec<&str> = objects::KINDS.iter().map(|kind| kind.kind).collect();
        let mut watched = Vec::new();
        let first_look = async {
            while !missing.is_empty() {
                let Some((kind, readable)) = listed.recv().await else { break };
                missing.retain(|name| *name != kind);
                if readable {
                    watched.push(kind.to_owned());
                }
            }
        };
        let done = tokio::time::timeout(FIRST_LOOK, first_look).await;
        if done.is_err() {
            return Err(CollectError::FirstLook {
                namespace: namespace.to_owned(),
                missing: missing.join(", "),
            });
        }
        recorder.record(Fact::Listed { kinds: watched });
        Ok(Self { _tasks: tasks })
    }
}
