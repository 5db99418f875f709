//! One node of the pool: put back into its cold state, and started.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use kube::{Client, ResourceExt};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::routes::{self, Hop};
use super::{Ground, PoolError};
use crate::cluster::archive;
use crate::cluster::config::{self, POOL_LABEL};
use crate::cluster::inside::{LOAD, last_words, load};
use crate::command::{Command, CommandError, Output};
use crate::wait::{Seen, WaitError, until};

const PUT_BACK: &str = include_str!("put-back.sh");
const LEFT: &str = include_str!("left.sh");
const FURNISH: &str = include_str!("furnish.sh");
const START: &str = include_str!("start.sh");
const SERVED: &str = include_str!("served.sh");

/// Ending some containers and a restart of containerd, on a busy machine.
const COLD: Duration = Duration::from_secs(120);
/// From the kubelet's start to a Node that is Ready; on an idle machine that takes two seconds.
const UP: Duration = Duration::from_secs(120);
const SCRIPT: Duration = Duration::from_secs(50);
/// How much longer than a script its asker waits.
const GRACE: Duration = Duration::from_secs(10);
/// The status of `timeout` when its time was over.
const TIMED_OUT: i32 = 124;
const LOOK: Duration = Duration::from_millis(50);
/// The taint that keeps pods from a node until it reaches the pods of the others and the Services; clouds have such taints, too.
const STARTING: &str = "rekindle.dev/starting";

/// How a node came up, counted from the start of its kubelet; nothing took any time where it was up before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Started {
    /// Until its Node object was there, with a pod CIDR.
    pub registered: Duration,
    /// Until it was Ready.
    pub ready: Duration,
    /// Until it reached the pods of the other nodes and the Services, so that pods could be scheduled there.
    pub open: Duration,
}

/// A node that can be cold or up.
pub struct Machine<'a> {
    pub ground: &'a Ground,
    pub node: &'a str,
}

impl Machine<'_> {
    fn nodes(&self) -> Api<Node> {
        Api::all(self.ground.client.clone())
    }

    /// Makes it a machine that does not exist yet, and proves it.
    pub async fn put_back(&self, cancel: &CancellationToken) -> Result<(), PoolError> {
        let what = format!("the cold state of {}", self.node);
        let script = format!("{PUT_BACK}{}", config::seal_script());
        let swept = AtomicBool::new(false);
        until(&what, COLD, LOOK, cancel, || async {
            if !swept.load(Relaxed) {
                // First of all, because without a kubelet nobody starts or registers anything again.
                match self.run(&script, &[], SCRIPT, cancel).await {
                    Ok(_) => swept.store(true, Relaxed),
                    Err(error) => return Seen::NotYet(words(error)),
                }
            }
            match forget(&self.ground.client, self.node).await {
                Ok(None) => {}
                Ok(Some(left)) => return Seen::NotYet(left),
                Err(error) => return Seen::NotYet(error.to_string()),
            }
            match self.left(cancel).await {
                None => Seen::Done(()),
                Some(left) => {
                    swept.store(false, Relaxed);
                    Seen::NotYet(left)
                }
            }
        })
        .await
        .map_err(|source| self.not_cold(source))
    }

    /// Whether there is nothing of it, in the cluster or in its container.
    pub async fn is_cold(&self, cancel: &CancellationToken) -> bool {
        matches!(self.nodes().get_metadata_opt(self.node).await, Ok(None)) && self.left(cancel).await.is_none()
    }

    /// Whether the cluster knows it as a node.
    pub async fn is_registered(&self) -> bool {
        matches!(self.nodes().get_metadata_opt(self.node).await, Ok(Some(_)))
    }

    /// Sees to it that pods find their images there when it comes.
    pub async fn furnish(&self, cancel: &CancellationToken) -> Result<(), PoolError> {
        let images = &self.ground.images;
        let args: Vec<&str> = std::iter::once(archive::MOUNTED).chain(images.iter().map(String::as_str)).collect();
        let output = self.run(FURNISH, &args, LOAD, cancel).await.map_err(|error| match error {
            CommandError::Interrupted { .. } => PoolError::Interrupted { what: "loading images" },
            error => PoolError::Images {
                node: self.node.to_owned(),
                last: words(error),
            },
        })?;
        let missing: Vec<String> = output.text().lines().map(str::to_owned).collect();
        if missing.is_empty() {
            return Ok(());
        }
        load(&missing, self.node, cancel).await.map_err(|error| match error {
            error if error.interrupted() => PoolError::Interrupted { what: "loading images" },
            error => PoolError::Load(Box::new(error)),
        })
    }

    /// What its container still has that a machine which does not exist has not.
    async fn left(&self, cancel: &CancellationToken) -> Option<String> {
        match self.run(LEFT, &[], SCRIPT, cancel).await {
            Ok(output) if output.stdout.is_empty() => None,
            Ok(output) => Some(output.text().replace('\n', ", ")),
            Err(error) => Some(words(error)),
        }
    }

    /// Starts its kubelet, with the label and the taint of a lease, and returns when pods can be scheduled there.
    pub async fn start(&self, lease: &str, cancel: &CancellationToken) -> Result<Started, PoolError> {
        // A pod that is bound to a node of this name would be started with it.
        let clean = until("an unused name", COLD, LOOK, cancel, || async {
            match forget(&self.ground.client, self.node).await {
                Ok(None) => Seen::Done(()),
                Ok(Some(left)) => Seen::NotYet(left),
                Err(error) => Seen::NotYet(error.to_string()),
            }
        });
        clean.await.map_err(|source| self.not_cold(source))?;

        let started = Instant::now();
        let label = format!("{POOL_LABEL}={lease}");
        let taints = format!("{label}:NoSchedule,{STARTING}=:NoSchedule");
        let begun = self.run(START, &[&label, &taints], SCRIPT, cancel).await;
        begun.map_err(|error| self.not_started(error))?;

        self.comes("its Node", cancel, |node| match Hop::of(node) {
            Some(_) => Ok(()),
            None => Err("it has no address or no pod CIDR".to_owned()),
        })
        .await?;
        let registered = started.elapsed();
        routes::follow(self.ground, cancel).await?;
        self.comes("a Node that is Ready", cancel, |node| {
            let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
            match conditions.into_iter().flatten().find(|condition| condition.type_ == "Ready") {
                Some(ready) if ready.status == "True" => Ok(()),
                Some(ready) => Err(ready.message.clone().unwrap_or_else(|| "it is not ready".to_owned())),
                None => Err("its kubelet has said nothing yet".to_owned()),
            }
        })
        .await?;
        let ready = started.elapsed();
        let served = self.run(SERVED, &[config::API_SERVICE], SCRIPT, cancel).await;
        served.map_err(|error| self.not_started(error))?;
        self.open(cancel).await?;
        Ok(Started {
            registered,
            ready,
            open: started.elapsed(),
        })
    }

    /// Runs a script in the node, with a deadline.
    ///
    /// It goes on there when the one who asked for it is killed, and whoever comes next must not meet it: so only one runs at a time, and
    /// its time is over before its asker gives up on it.
    async fn run(&self, script: &str, args: &[&str], deadline: Duration, cancel: &CancellationToken) -> Result<Output, CommandError> {
        let seconds = deadline.as_secs().to_string();
        Command::new("docker", deadline + GRACE)
            .args(["exec", self.node, "timeout", "--kill-after=1", &seconds])
            .args(["flock", "/run/rekindle-pool.lock", "sh", "-c", script, "sh"])
            .args(args)
            .run(cancel)
            .await
    }

    /// Waits until its Node is as wanted.
    async fn comes(&self, what: &str, cancel: &CancellationToken, wanted: impl Fn(&Node) -> Result<(), String>) -> Result<(), PoolError> {
        let nodes = self.nodes();
        let waited = until(what, UP, LOOK, cancel, || async {
            match nodes.get_opt(self.node).await {
                Ok(Some(node)) => match wanted(&node) {
                    Ok(()) => Seen::Done(()),
                    Err(seen) => Seen::NotYet(seen),
                },
                Ok(None) => Seen::NotYet("it has not registered".to_owned()),
                Err(error) => Seen::NotYet(error.to_string()),
            }
        });
        match waited.await {
            Ok(()) => Ok(()),
            Err(source) => Err(self.not_up(source).await),
        }
    }

    /// Lets pods be scheduled there.
    async fn open(&self, cancel: &CancellationToken) -> Result<(), PoolError> {
        let nodes = self.nodes();
        let waited = until("the end of its first taint", UP, LOOK, cancel, || async {
            match untaint(&nodes, self.node).await {
                Ok(()) => Seen::Done(()),
                Err(error) => Seen::NotYet(error.to_string()),
            }
        });
        match waited.await {
            Ok(()) => Ok(()),
            Err(source) => Err(self.not_up(source).await),
        }
    }

    fn not_started(&self, error: CommandError) -> PoolError {
        match error {
            CommandError::Interrupted { .. } => PoolError::Interrupted {
                what: "starting a pool node",
            },
            error => PoolError::Start {
                node: self.node.to_owned(),
                last: words(error),
            },
        }
    }

    fn not_cold(&self, source: WaitError) -> PoolError {
        match source {
            WaitError::Interrupted { .. } => PoolError::Interrupted {
                what: "putting a pool node back",
            },
            source => PoolError::NotCold {
                node: self.node.to_owned(),
                source,
            },
        }
    }

    async fn not_up(&self, source: WaitError) -> PoolError {
        match source {
            WaitError::Interrupted { .. } => PoolError::Interrupted {
                what: "starting a pool node",
            },
            source => PoolError::NotUp {
                node: self.node.to_owned(),
                source,
                words: last_words(self.node).await,
            },
        }
    }
}

/// Takes the first taint away. The API replaces a node's taints as a whole, so others must not have changed any of them meanwhile.
async fn untaint(nodes: &Api<Node>, name: &str) -> Result<(), kube::Error> {
    let node = nodes.get(name).await?;
    let version = node.resource_version();
    let mut taints = node.spec.and_then(|spec| spec.taints).unwrap_or_default();
    taints.retain(|taint| taint.key != STARTING);
    let patch = Patch::Merge(json!({ "metadata": { "resourceVersion": version }, "spec": { "taints": taints } }));
    nodes.patch(name, &PatchParams::default(), &patch).await.map(drop)
}

/// What a script in a node said last; the shell is not what failed.
fn words(error: CommandError) -> String {
    match error {
        CommandError::Failed { status, .. } if status.code() == Some(TIMED_OUT) => "a script in it did not come to its end".to_owned(),
        CommandError::Failed { last, .. } => last,
        error => error.to_string(),
    }
}

/// Deletes a Node and, as the control plane does with pods of a machine that is gone, every pod that is bound to it, at once. Says what
/// is still there.
async fn forget(client: &Client, node: &str) -> Result<Option<String>, kube::Error> {
    let nodes: Api<Node> = Api::all(client.clone());
    absent(nodes.delete(node, &DeleteParams::default()).await.map(drop))?;
    let all: Api<Pod> = Api::all(client.clone());
    let bound = ListParams::default().fields(&format!("spec.nodeName={node}"));
    for pod in all.list_metadata(&bound).await? {
        let pods: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace().unwrap_or_default());
        absent(
            pods.delete(&pod.name_any(), &DeleteParams::default().grace_period(0))
                .await
                .map(drop),
        )?;
    }
    let left: Vec<String> = all.list_metadata(&bound).await?.iter().map(ResourceExt::name_any).collect();
    Ok((!left.is_empty()).then(|| format!("the pods bound to it: {}", left.join(", "))))
}

fn absent(deleted: Result<(), kube::Error>) -> Result<(), kube::Error> {
    match deleted {
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        deleted => deleted,
    }
}
