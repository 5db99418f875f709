//! The proof that a cluster is ours, taken before anything in it is changed.

use k8s_openapi::api::core::v1::{ConfigMap, Node};
use kube::api::{Api, ListParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use sha2::{Digest, Sha256};
use std::path::Path;

use super::ClusterError;
use super::config::{KIND_LABEL, NODE_LABEL, OWNER, RUN_LABEL};
use super::docker::{Container, Network};
use super::journal::Entry;

/// What was seen of a cluster that claims to be the one in the journal.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    pub server: String,
    pub ca_sha256: Option<String>,
    pub nodes: Vec<NodeFacts>,
    pub planted: Option<String>,
}

/// What a node says of itself.
#[derive(Debug, Clone, Default)]
pub struct NodeFacts {
    pub name: String,
    pub provider_id: Option<String>,
    pub run_id: Option<String>,
}

/// Says what speaks against it being the cluster of this entry; nothing when all is as it should be.
pub fn doubt(facts: &Facts, entry: &Entry) -> Option<String> {
    if !is_loopback(&facts.server) {
        return Some(format!("its API server is {}, which is not on this machine", facts.server));
    }
    match (&facts.ca_sha256, &entry.ca_sha256) {
        (None, _) => return Some("its kubeconfig has no CA certificate".to_owned()),
        (Some(found), Some(known)) if found != known => return Some("its CA certificate is another one".to_owned()),
        _ => {}
    }
    if facts.nodes.is_empty() {
        return Some("it has no nodes".to_owned());
    }
    for node in &facts.nodes {
        let wanted = format!("kind://docker/{}/{}", entry.cluster, node.name);
        if node.provider_id.as_deref() != Some(wanted.as_str()) {
            let found = node.provider_id.as_deref().unwrap_or("none");
            return Some(format!("the provider ID of node {} is {found}, not {wanted}", node.name));
        }
        if node.run_id.as_deref() != Some(entry.run_id.as_str()) {
            let found = node.run_id.as_deref().unwrap_or("none");
            return Some(format!("the label {NODE_LABEL} of node {} is {found}", node.name));
        }
    }
    match facts.planted.as_deref() {
        Some(planted) if planted == entry.run_id => None,
        Some(planted) => Some(format!("the ConfigMap kube-system/{OWNER} names the run {planted}")),
        None => Some(format!("it has no ConfigMap kube-system/{OWNER}")),
    }
}

/// Whether a container may be removed with the run of this entry.
///
/// kind cannot label its nodes, but the network that a container was created for carries the run's random id in its name.
pub fn owns_container(container: &Container, entry: &Entry) -> bool {
    let labelled = container.labels.get(RUN_LABEL) == Some(&entry.run_id);
    let node = entry.nodes.contains(&container.name)
        && container.labels.get(KIND_LABEL) == Some(&entry.cluster)
        && container.network_mode == entry.network;
    labelled || node
}

/// Whether a network may be removed with the run of this entry.
pub fn owns_network(network: &Network, entry: &Entry) -> bool {
    network.name == entry.network && network.labels.get(RUN_LABEL) == Some(&entry.run_id)
}

fn is_loopback(server: &str) -> bool {
    url::Url::parse(server).is_ok_and(|url| match url.host() {
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        Some(url::Host::Domain(_)) | None => false,
    })
}

/// A kubeconfig of ours: the client for it, and what it says of the cluster.
pub struct Access {
    pub client: kube::Client,
    pub server: String,
    pub ca_sha256: Option<String>,
}

/// Opens a kubeconfig by its path, never the user's own.
///
/// # Errors
/// When it is not there or not usable.
pub async fn open(name: &str, path: &Path) -> Result<Access, ClusterError> {
    let text = std::fs::read_to_string(path).map_err(|error| unusable(name, path, error.to_string()))?;
    access(name, path, &text).await
}

/// Opens a kubeconfig that was read from the node, before kind has exported one; `server` replaces the address inside Docker's network.
///
/// # Errors
/// When it is not usable.
pub async fn open_inner(name: &str, path: &Path, text: &str, server: &str) -> Result<Access, ClusterError> {
    let mut kubeconfig = Kubeconfig::from_yaml(text).map_err(|error| unusable(name, path, error.to_string()))?;
    for cluster in kubeconfig.clusters.iter_mut().filter_map(|named| named.cluster.as_mut()) {
        cluster.server = Some(server.to_owned());
    }
    access_of(name, path, kubeconfig).await
}

async fn access(name: &str, path: &Path, text: &str) -> Result<Access, ClusterError> {
    let kubeconfig = Kubeconfig::from_yaml(text).map_err(|error| unusable(name, path, error.to_string()))?;
    access_of(name, path, kubeconfig).await
}

async fn access_of(name: &str, path: &Path, kubeconfig: Kubeconfig) -> Result<Access, ClusterError> {
    let cluster = kubeconfig.clusters.first().and_then(|named| named.cluster.clone());
    let (server, ca) = cluster.map_or((None, None), |cluster| (cluster.server, cluster.certificate_authority_data));
    let server = server.ok_or_else(|| unusable(name, path, "it names no server".to_owned()))?;
    let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .map_err(|error| unusable(name, path, error.to_string()))?;
    // The cluster is on this machine: a proxy from the environment is not asked.
    config.proxy_url = None;
    let client = kube::Client::try_from(config).map_err(|error| unusable(name, path, error.to_string()))?;
    Ok(Access {
        client,
        server,
        ca_sha256: ca.map(|ca| sha256(ca.trim())),
    })
}

fn unusable(name: &str, path: &Path, reason: String) -> ClusterError {
    ClusterError::Kubeconfig {
        name: name.to_owned(),
        path: path.to_owned(),
        reason,
    }
}

fn sha256(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Looks at the cluster.
///
/// # Errors
/// When its API server does not answer.
pub async fn facts(access: &Access) -> Result<Facts, kube::Error> {
    let nodes: Api<Node> = Api::all(access.client.clone());
    let planted: Api<ConfigMap> = Api::namespaced(access.client.clone(), "kube-system");
    let everything = ListParams::default();
    let (nodes, planted) = tokio::try_join!(nodes.list(&everything), planted.get_opt(OWNER))?;
    Ok(Facts {
        server: access.server.clone(),
        ca_sha256: access.ca_sha256.clone(),
        nodes: nodes
            .into_iter()
            .map(|node| NodeFacts {
                name: node.metadata.name.unwrap_or_default(),
                provider_id: node.spec.and_then(|spec| spec.provider_id),
                run_id: node.metadata.labels.and_then(|mut labels| labels.remove(NODE_LABEL)),
            })
            .collect(),
        planted: planted.and_then(|map| map.data).and_then(|mut data| data.remove("run-id")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Entry {
        let mut entry = Entry::new("aa11".into(), "x", 1, "image", "kubeconfig".into());
        entry.ca_sha256 = Some("ca".into());
        entry
    }

    fn facts() -> Facts {
        Facts {
            server: "https://127.0.0.1:40000".into(),
            ca_sha256: Some("ca".into()),
            nodes: vec![NodeFacts {
                name: "x-control-plane".into(),
                provider_id: Some("kind://docker/x/x-control-plane".into()),
                run_id: Some("aa11".into()),
            }],
            planted: Some("aa11".into()),
        }
    }

    fn doubted(change: impl FnOnce(&mut Facts)) -> String {
        let mut facts = facts();
        change(&mut facts);
        doubt(&facts, &entry()).unwrap()
    }

    #[test]
    fn a_cluster_of_ours_is_not_doubted() {
        assert_eq!(doubt(&facts(), &entry()), None);
    }

    #[test]
    fn every_single_proof_is_needed() {
        for server in ["https://10.0.0.1:6443", "https://prod.example:443", "nonsense", ""] {
            assert!(doubted(|facts| facts.server = server.into()).contains("not on this machine"));
        }
        assert!(doubted(|facts| facts.ca_sha256 = Some("other".into())).contains("another one"));
        assert!(doubted(|facts| facts.ca_sha256 = None).contains("no CA"));
        assert!(doubted(|facts| facts.nodes.clear()).contains("no nodes"));
        assert!(doubted(|facts| facts.nodes[0].provider_id = Some("aws:///i-1".into())).contains("aws:///i-1"));
        assert!(doubted(|facts| facts.nodes[0].provider_id = Some("kind://docker/y/x-control-plane".into())).contains("docker/y/"));
        assert!(doubted(|facts| facts.nodes[0].run_id = None).contains("is none"));
        assert!(doubted(|facts| facts.nodes.push(NodeFacts::default())).contains("provider ID"));
        assert!(doubted(|facts| facts.planted = Some("bb22".into())).contains("bb22"));
        assert!(doubted(|facts| facts.planted = None).contains("no ConfigMap"));
    }

    fn container(name: &str, labels: &[(&str, &str)], network: &str) -> Container {
        Container {
            id: "1".into(),
            name: name.into(),
            running: true,
            paused: false,
            labels: labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            network_mode: network.into(),
            volumes: Vec::new(),
            api_port: None,
            address: None,
        }
    }

    #[test]
    fn a_node_is_ours_by_name_label_and_network_together() {
        let entry = entry();
        let kind = [(KIND_LABEL, "x")];
        assert!(owns_container(&container("x-control-plane", &kind, "rekindle-aa11"), &entry));
        assert!(owns_container(&container("x-worker", &kind, "rekindle-aa11"), &entry));
        assert!(!owns_container(&container("x-worker2", &kind, "rekindle-aa11"), &entry));
        assert!(!owns_container(&container("x-control-plane", &kind, "kind"), &entry));
        assert!(!owns_container(&container("x-control-plane", &[], "rekindle-aa11"), &entry));
        assert!(!owns_container(&container("y-control-plane", &kind, "rekindle-aa11"), &entry));
        assert!(owns_container(&container("any", &[(RUN_LABEL, "aa11")], "bridge"), &entry));
        assert!(!owns_container(&container("any", &[(RUN_LABEL, "bb22")], "bridge"), &entry));
    }
}
