//! Routes between nodes: each node reaches the pods of every other one through that node's address.
//!
//! A node that registers again may get another pod CIDR, so the routes are not kept but made from what the Nodes say whenever one comes
//! or goes. The node's own side, its CNI configuration, follows by itself (`images/node/follow-pod-cidr.sh`).

use std::fs::File;
use std::net::Ipv4Addr;
use std::time::Duration;

use futures::future::try_join_all;
use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use tokio_util::sync::CancellationToken;

use super::{Ground, PoolError};
use crate::cluster::inside::exec;
use crate::cluster::lock::take;
use crate::command::CommandError;
use crate::wait::{Seen, WaitError, until};

const DEADLINE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(50);
/// The number by which the kernel keeps our routes apart from others; any that is not registered in iproute2's `rt_protos`.
const PROTOCOL: u8 = 201;

/// A node as far as routes need to know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hop {
    pub node: String,
    pub address: Ipv4Addr,
    /// Checked to be one, because it becomes part of a script.
    pub pod_cidr: String,
}

impl Hop {
    /// Nothing as long as the Node has no address or no pod CIDR yet.
    pub fn of(node: &Node) -> Option<Self> {
        let pod_cidr = node.spec.as_ref()?.pod_cidr.clone()?;
        let (network, bits) = pod_cidr.split_once('/')?;
        if network.parse::<Ipv4Addr>().is_err() || !bits.parse::<u8>().is_ok_and(|bits| bits <= 32) {
            return None;
        }
        let addresses = node.status.as_ref()?.addresses.as_ref()?;
        let internal = addresses.iter().find(|address| address.type_ == "InternalIP")?;
        Some(Self {
            node: node.name_any(),
            address: internal.address.parse().ok()?,
            pod_cidr,
        })
    }
}

/// Brings the routes of all registered nodes up to date with their pod CIDRs, one process at a time: who lists later knows more.
pub async fn follow(ground: &Ground, cancel: &CancellationToken) -> Result<(), PoolError> {
    let failed = |source| match source {
        WaitError::Interrupted { .. } => PoolError::Interrupted { what: "setting routes" },
        source => PoolError::Routes {
            cluster: ground.cluster.clone(),
            source,
        },
    };
    let path = ground.locks.join("routes.lock");
    let turn = until("the turn to set routes", DEADLINE, LOOK, cancel, || async {
        match take(&path, File::try_lock) {
            Ok(Some(lock)) => Seen::Done(Ok(lock)),
            Ok(None) => Seen::NotYet("another process sets them".to_owned()),
            Err(error) => Seen::Done(Err(error)),
        }
    });
    let _turn = turn.await.map_err(failed)??;
    let nodes: Api<Node> = Api::all(ground.client.clone());
    let everything = ListParams::default();
    until("routes between all nodes", DEADLINE, LOOK, cancel, || async {
        let listed = match nodes.list(&everything).await {
            Ok(listed) => listed,
            Err(error) => return Seen::NotYet(error.to_string()),
        };
        let hops: Vec<Hop> = listed.iter().filter_map(Hop::of).collect();
        let setting = hops.iter().map(|hop| set(hop, &hops, cancel));
        match try_join_all(setting).await {
            Ok(_) => Seen::Done(()),
            Err(error) => Seen::NotYet(error.to_string()),
        }
    })
    .await
    .map_err(failed)
}

async fn set(hop: &Hop, hops: &[Hop], cancel: &CancellationToken) -> Result<(), CommandError> {
    exec(&hop.node, &script(hop, hops), DEADLINE, cancel).await.map(drop)
}

/// What a node is told: routes to the pods of all others, and none of ours besides.
fn script(own: &Hop, hops: &[Hop]) -> String {
    let others: Vec<&Hop> = hops.iter().filter(|hop| hop.node != own.node).collect();
    let kept: String = others.iter().map(|hop| format!("{} ", hop.pod_cidr)).collect();
    let mut script = format!(
        "set -e\n\
         ip -4 route show proto {PROTOCOL} | while read -r cidr rest; do\n\
         case ' {kept}' in *\" $cidr \"*) ;; *) ip route del \"$cidr\" proto {PROTOCOL} ;; esac\n\
         done\n"
    );
    for hop in others {
        script.push_str(&format!("ip route replace {} via {} proto {PROTOCOL}\n", hop.pod_cidr, hop.address));
    }
    script
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn node(name: &str, cidr: Option<&str>, address: &str) -> Node {
        serde_json::from_value(json!({
            "metadata": { "name": name },
            "spec": { "podCIDR": cidr },
            "status": { "addresses": [
                { "type": "Hostname", "address": name },
                { "type": "InternalIP", "address": address },
            ] },
        }))
        .unwrap()
    }

    #[test]
    fn a_node_is_a_hop_once_it_has_a_cidr_and_an_address() {
        let hop = Hop::of(&node("a", Some("10.244.3.0/24"), "172.18.0.2")).unwrap();
        assert_eq!(
            (hop.pod_cidr.as_str(), hop.address.to_string().as_str()),
            ("10.244.3.0/24", "172.18.0.2")
        );
        for (cidr, address) in [
            (None, "172.18.0.2"),
            (Some("10.244.3.0/24; reboot"), "172.18.0.2"),
            (Some("10.244.3.0/24"), ""),
        ] {
            assert_eq!(Hop::of(&node("a", cidr, address)), None, "{cidr:?} {address}");
        }
    }

    #[test]
    fn a_node_gets_routes_to_the_others_and_loses_old_ones() {
        let hops: Vec<Hop> = [("a", "10.244.0.0/24", "172.18.0.2"), ("b", "10.244.3.0/24", "172.18.0.3")]
            .iter()
            .filter_map(|(name, cidr, address)| Hop::of(&node(name, Some(cidr), address)))
            .collect();
        let told = script(&hops[0], &hops);
        assert!(told.contains("ip route replace 10.244.3.0/24 via 172.18.0.3 proto 201"), "{told}");
        assert!(told.contains("case ' 10.244.3.0/24 ' in"), "{told}");
        assert!(!told.contains("10.244.0.0/24"), "{told}");
        assert!(script(&hops[1], &hops[1..]).contains("case ' ' in"));
    }
}
