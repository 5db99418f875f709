//! Parked clusters: paused between two runs, where they cost no processor time, and used again once they are proven clean and ours.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Namespace, Node};
use kube::api::{Api, ListParams};
use tokio_util::sync::CancellationToken;

use super::config::NODE_LABEL;
use super::journal::{Entry, Journal, Phase};
use super::owner::{self, Access};
use super::{Cluster, ClusterError, Options, config, docker, prove};
use crate::command::CommandError;
use crate::events::Events;
use crate::toolchain::Toolchain;
use crate::wait::{Seen, WaitError, until};

/// How long a parked cluster may take to come back. It takes a second; one that was parked for an hour on a busy machine, a few.
const AWAKE: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(20);

/// Why a parked cluster is not used.
#[derive(Debug, thiserror::Error)]
pub enum Unfit {
    #[error("another version of rekindle made it")]
    Version,
    #[error("it has the node image {found}, and {wanted} is wanted")]
    Image { found: String, wanted: String },
    #[error("its pool is too small")]
    Pool,
    #[error("its nodes could not be woken: {0}")]
    Unpause(CommandError),
    #[error("it did not come back: {0}")]
    Asleep(WaitError),
    #[error("the namespace {0} of a former run is still in it")]
    Stained(String),
    #[error(transparent)]
    Cluster(Box<ClusterError>),
}

impl From<ClusterError> for Unfit {
    fn from(error: ClusterError) -> Self {
        Self::Cluster(Box::new(error))
    }
}

impl Cluster {
    /// Pauses it for the next run. This process uses it alone.
    ///
    /// # Errors
    /// When Docker does not pause it; then it is not parked, and the next start removes it.
    pub(super) async fn park(mut self, events: &Events) -> Result<(), ClusterError> {
        // Parking is the clean-up of a run, and no more interrupted than a removal.
        let never = CancellationToken::new();
        let step = events.step(format!("Park cluster {}", self.name));
        docker::docker(["pause"])
            .args(&self.entry.nodes)
            .run(&never)
            .await
            .map_err(|source| ClusterError::docker("pause the cluster's nodes", source))?;
        // Only now is it fit for the next run: one that dies before this is removed by the next start.
        self.entry.phase = Phase::Parked;
        self.journal.write(&self.entry)?;
        step.done();
        let named = super::named(&self.name);
        events.note(format!(
            "it takes no processor time, and the next run uses it; `rekindle down{named}` removes it"
        ));
        Ok(())
    }
}

/// Whether a parked cluster is what is wanted.
///
/// # Errors
/// [`Unfit`], when it is better made anew.
pub fn fits(entry: &Entry, options: &Options, toolchain: &Toolchain) -> Result<(), Unfit> {
    if entry.recipe != config::recipe() {
        return Err(Unfit::Version);
    }
    if entry.node_image != toolchain.node_image {
        return Err(Unfit::Image {
            found: entry.node_image.clone(),
            wanted: toolchain.node_image.clone(),
        });
    }
    if usize::try_from(options.pool).is_ok_and(|wanted| wanted > entry.pool().len()) {
        return Err(Unfit::Pool);
    }
    Ok(())
}

/// Brings a parked cluster back; the caller holds the right to create, so that nobody else does the same.
///
/// # Errors
/// [`Unfit`], when it is better made anew.
pub async fn wake(journal: &Journal, entry: &mut Entry, cancel: &CancellationToken) -> Result<Access, Unfit> {
    // If this process dies from here on, the next start removes what it has woken.
    entry.phase = Phase::Up;
    journal.write(entry).map_err(ClusterError::from)?;
    let since = Timestamp::now();
    let woken = docker::docker(["unpause"]).args(&entry.nodes).run(cancel).await;
    woken.map_err(|source| match source {
        CommandError::Interrupted { .. } => Unfit::from(ClusterError::Interrupted {
            what: "waking the cluster",
        }),
        source => Unfit::Unpause(source),
    })?;
    let access = owner::open(&entry.cluster, &entry.kubeconfig).await?;
    match until("the parked cluster's nodes", AWAKE, LOOK, cancel, || renewed(&access.client, since)).await {
        Ok(()) => {}
        Err(WaitError::Interrupted { .. }) => {
            return Err(Unfit::from(ClusterError::Interrupted {
                what: "waking the cluster",
            }));
        }
        Err(error) => return Err(Unfit::Asleep(error)),
    }
    prove(&access, entry).await?;
    match left_in(&access.client).await {
        Ok(None) => Ok(access),
        Ok(Some(namespace)) => Err(Unfit::Stained(namespace)),
        Err(source) => Err(ClusterError::api(&entry.cluster, "the question what is left in it", source).into()),
    }
}

/// Whether every node has said since then that it is there, and is ready for pods: before that, the control plane's picture of it is from
/// before the pause.
async fn renewed(client: &kube::Client, since: Timestamp) -> Seen<()> {
    let nodes: Api<Node> = Api::all(client.clone());
    let leases: Api<Lease> = Api::namespaced(client.clone(), "kube-node-lease");
    let everything = ListParams::default();
    let (nodes, leases) = match tokio::try_join!(nodes.list(&everything), leases.list(&everything)) {
        Ok(found) => found,
        Err(error) => return Seen::NotYet(error.to_string()),
    };
    let mut waiting = Vec::new();
    for node in &nodes {
        let name = node.metadata.name.as_deref().unwrap_or_default();
        let fresh = leases.iter().any(|lease| {
            let renewed = lease.spec.as_ref().and_then(|spec| spec.renew_time.as_ref());
            lease.metadata.name.as_deref() == Some(name) && renewed.is_some_and(|renewed| renewed.0 >= since)
        });
        if !fresh {
            waiting.push(format!("{name} has not renewed its lease"));
        } else if !takes_pods(node) {
            waiting.push(format!("{name} is not ready"));
        }
    }
    if waiting.is_empty() {
        Seen::Done(())
    } else {
        Seen::NotYet(waiting.join(", "))
    }
}

/// Whether a node is ready, and the control plane has taken note of that.
fn takes_pods(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    let ready = conditions
        .into_iter()
        .flatten()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True");
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref());
    ready
        && !taints
            .into_iter()
            .flatten()
            .any(|taint| taint.key.starts_with("node.kubernetes.io/"))
}

/// A namespace that a former run has left.
async fn left_in(client: &kube::Client) -> Result<Option<String>, kube::Error> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let left = namespaces.list_metadata(&ListParams::default().labels(NODE_LABEL)).await?;
    Ok(left.items.into_iter().find_map(|namespace| namespace.metadata.name))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::toolchain::{Image, Images};

    fn toolchain(node_image: &str) -> Toolchain {
        let image = |reference: &str| Image {
            reference: reference.to_owned(),
        };
        Toolchain {
            kind: "kind".into(),
            engines: BTreeMap::new(),
            flux: None,
            kubectl: "kubectl".into(),
            kind_version: String::new(),
            node_image: node_image.to_owned(),
            kubernetes_version: String::new(),
            images: Images {
                tools: image("tools"),
                standin: image("standin"),
                named_user: image("named-user"),
            },
        }
    }

    #[test]
    fn a_node_that_is_not_ready_or_still_taken_for_one_takes_no_pods() {
        let node = |ready: &str, taints: serde_json::Value| {
            serde_json::from_value::<Node>(serde_json::json!({
                "metadata": {"name": "n"}, "spec": {"taints": taints},
                "status": {"conditions": [{"type": "MemoryPressure", "status": "False"}, {"type": "Ready", "status": ready}]}
            }))
            .unwrap()
        };
        let taint = |key: &str| serde_json::json!([{"key": key, "effect": "NoSchedule"}]);
        assert!(takes_pods(&node("True", serde_json::json!([]))));
        assert!(takes_pods(&node("True", taint("rekindle.dev/pool"))));
        assert!(!takes_pods(&node("False", serde_json::json!([]))));
        assert!(!takes_pods(&node("True", taint("node.kubernetes.io/not-ready"))));
        assert!(!takes_pods(&Node::default()));
    }

    #[test]
    fn only_what_is_wanted_is_woken() {
        let mut options = Options::new("state");
        options.pool = 2;
        let entry = Entry::new("aa11".into(), "x", 3, "node:1", "kubeconfig".into());
        let says =
            |entry: &Entry, options: &Options, image: &str| fits(entry, options, &toolchain(image)).err().map(|unfit| unfit.to_string());
        assert_eq!(says(&entry, &options, "node:1"), None);
        assert_eq!(
            says(&entry, &options, "node:2").unwrap(),
            "it has the node image node:1, and node:2 is wanted"
        );
        let mut older = entry.clone();
        older.recipe = String::new();
        assert_eq!(says(&older, &options, "node:1").unwrap(), "another version of rekindle made it");
        options.pool = 4;
        assert_eq!(says(&entry, &options, "node:1").unwrap(), "its pool is too small");
    }
}
