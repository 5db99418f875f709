//! What kind, CoreDNS and the cluster are told: pure text, decided before anything runs.

use std::path::Path;

use sha2::{Digest, Sha256};

/// The label that marks everything Docker keeps for a run.
pub const RUN_LABEL: &str = "dev.rekindle.run";
/// The label that every node of ours carries in Kubernetes.
pub const NODE_LABEL: &str = "rekindle.dev/run-id";
/// The label and the taint by which the nodes of the pool are told apart: its value is the name of the lease. A pool node that is only
/// just being made has the taint without a value, so that nothing is scheduled there.
pub const POOL_LABEL: &str = "rekindle.dev/pool";
/// The ConfigMap in `kube-system` that says whose cluster it is.
pub const OWNER: &str = "rekindle-owner";
/// The label by which kind marks its node containers.
pub const KIND_LABEL: &str = "io.x-k8s.kind.cluster";
/// Stated in kind's configuration, not left to its default: the nodes get a route for it.
pub const SERVICE_SUBNET: &str = "10.96.0.0/16";
/// The Service of the API server, by Kubernetes' own rule the first address.
pub const API_SERVICE: &str = "10.96.0.1";
/// Stated likewise, for what comes from pods.
const POD_SUBNET: &str = "10.244.0.0/16";

/// Names longer than this make host names of nodes that Linux refuses.
const NAME_MAX: usize = 45;

/// Says what is wrong with a cluster's name, in words that fit after "the cluster name x".
pub fn name_fault(name: &str) -> Option<&'static str> {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if name.is_empty() {
        Some("is empty")
    } else if name.len() > NAME_MAX {
        Some("is longer than 45 characters")
    } else if !name.chars().all(inner) {
        Some("has characters other than a-z, 0-9, '-' and '.'")
    } else if !name.starts_with(edge) || !name.ends_with(edge) {
        Some("does not begin and end with a letter or digit")
    } else {
        None
    }
}

/// Names of the nodes of a cluster with so many pool nodes, as kind derives them; the control plane comes first.
pub fn node_names(cluster: &str, pool: u32) -> Vec<String> {
    let workers = (1..=pool).map(|n| match n {
        1 => format!("{cluster}-worker"),
        n => format!("{cluster}-worker{n}"),
    });
    std::iter::once(format!("{cluster}-control-plane")).chain(workers).collect()
}

/// kind's configuration of a cluster with one node, and so many workers as the nodes of its pool.
///
/// The patches name no version of kubeadm's format and give their arguments as a map: kind applies such patches to whichever version it
/// writes for the Kubernetes at hand, and keeps the arguments that it sets itself. Only the kind of its keys is asked for in another way by
/// each version: elliptic curves, because sixteen RSA keys keep one core busy for two seconds while nothing else can begin.
///
/// One control plane with nothing to lose needs no leader election, which also costs controllers 11 s after a pause, and no fsync in etcd.
/// The controller manager asks for an account per controller at its start: with its usual 20 requests a second that alone takes five
/// seconds, in which no pod is created.
///
/// A node whose cluster was parked has not been heard of for as long; that is no reason to give it up. What its kubelet sees first after
/// that is that nothing has been heard of the container runtime either, and it says that it is not ready: with its usual ten seconds between
/// two looks at itself, no pod would be started for as long. A look costs a few milliseconds, and it is told to the cluster when it changes.
/// The lease, which says that the node is there, is renewed four times in its duration.
///
/// kubeadm's last phase would restart the kubelet so that it renews its certificate from a file; that one holds for a year as it is. And the
/// kubelet fetches a ConfigMap or a Secret when it mounts it instead of watching each from the moment it hears of the pod: it often hears
/// before the API server's authorizer does, is refused, and tries again after a second ("no relationship found between node …").
///
/// kind takes the control plane's taint away from a cluster's only node; beside workers it has to be told. The workers have a taint of
/// their own from the first moment: nothing of the cluster may settle on a machine that is to vanish again.
///
/// `images` is a folder of this machine that the nodes see under `mounted`.
pub fn kind_config(cluster: &str, run_id: &str, api_port: u16, pool: u32, images: &Path, mounted: &str) -> String {
    // -1 lets Docker choose. kind's own choice of 0 looks for a free port first and uses it later, when it may be taken.
    let port = if api_port == 0 { "-1".to_owned() } else { api_port.to_string() };
    // JSON's quotes are YAML's, too.
    let images = serde_json::Value::from(images.to_string_lossy());
    let mut config = format!(
        r#"kind: Cluster
apiVersion: kind.x-k8s.io/v1alpha4
name: {cluster}
networking:
  ipFamily: ipv4
  apiServerAddress: 127.0.0.1
  apiServerPort: {port}
  podSubnet: {POD_SUBNET}
  serviceSubnet: {SERVICE_SUBNET}
kubeadmConfigPatches:
- |
  kind: ClusterConfiguration
  controllerManager:
    extraArgs:
      leader-elect: "false"
      kube-api-qps: "300"
      kube-api-burst: "600"
      node-monitor-grace-period: 24h0m0s
  scheduler:
    extraArgs:
      leader-elect: "false"
  etcd:
    local:
      extraArgs:
        unsafe-no-fsync: "true"
- |
  kind: ClusterConfiguration
  apiVersion: kubeadm.k8s.io/v1beta3
  featureGates:
    PublicKeysECDSA: true
- |
  kind: ClusterConfiguration
  apiVersion: kubeadm.k8s.io/v1beta4
  encryptionAlgorithm: ECDSA-P256
- |
  kind: InitConfiguration
  skipPhases:
  - preflight
  - kubelet-finalize
- |
  kind: KubeletConfiguration
  configMapAndSecretChangeDetectionStrategy: Get
  nodeStatusUpdateFrequency: 1s
  nodeStatusReportFrequency: 5m0s
  nodeLeaseDurationSeconds: 4
nodes:
"#
    );
    let node = |role: &str, patch: &str| {
        format!(
            r#"- role: {role}
  labels:
    {NODE_LABEL}: "{run_id}"
  extraMounts:
  - hostPath: {images}
    containerPath: {mounted}
    readOnly: true
{patch}"#
        )
    };
    let untainted = r"  kubeadmConfigPatches:
  - |
    kind: InitConfiguration
    nodeRegistration:
      taints: []
";
    let tainted = format!(
        r"  kubeadmConfigPatches:
  - |
    kind: JoinConfiguration
    nodeRegistration:
      taints:
      - key: {POOL_LABEL}
        effect: NoSchedule
"
    );
    config.push_str(&node("control-plane", if pool == 0 { "" } else { untainted }));
    (0..pool).for_each(|_| config.push_str(&node("worker", &tainted)));
    config
}

/// A hash of all that clusters of this rekindle are told beside what is their own: a parked one of another recipe is of no use.
pub fn recipe() -> String {
    let own = kind_config("", "", 0, 0, Path::new(""), "");
    let told = [env!("CARGO_PKG_VERSION"), &own, COREFILE, &seal_script()].join("\n");
    Sha256::digest(told).iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

/// CoreDNS for a cluster without an outside: names of the cluster, and NXDOMAIN at once for all others.
///
/// Nothing is cached: a scenario that creates a Service must not wait for a negative answer to grow old.
pub const COREFILE: &str = "\
cluster.local:53 in-addr.arpa:53 ip6.arpa:53 {
    errors
    health
    ready
    kubernetes cluster.local in-addr.arpa ip6.arpa {
        pods insecure
        ttl 5
    }
    loadbalance
    reload 2s
}
.:53 {
    errors
    template ANY ANY {
        rcode NXDOMAIN
    }
    reload 2s
}
";

/// Runs in a node: takes away the way out, and keeps a way to Services for what runs in the node's own network.
///
/// The API server calls webhooks by their Service's address; before kube-proxy's rules rewrite that address, the kernel wants a route
/// for it, and there is no default one any more. What a pod sends to a Service's address that no rule rewrote would take that route, too,
/// and time out after seconds; it is refused at once instead, as it is where there are no endpoints. A hook that tries again every second
/// has to fail as fast each time: so with a reset, which no limit holds back, and without the kernel's limit of one ICMP error a second,
/// under which kube-proxy's own refusals fall.
pub fn seal_script() -> String {
    let refused = |how: &str| {
        let rule = format!("FORWARD -s {POD_SUBNET} -d {SERVICE_SUBNET} {how}");
        format!("iptables -w -C {rule} 2>/dev/null || iptables -w -A {rule}\n")
    };
    let tcp = refused("-p tcp -j REJECT --reject-with tcp-reset");
    let others = refused("-j REJECT --reject-with icmp-port-unreachable");
    format!(
        "set -e\n\
         ip route replace {SERVICE_SUBNET} dev eth0\n\
         echo 0 >/proc/sys/net/ipv4/icmp_ratelimit\n\
         {tcp}{others}\
         while ip route show default | grep -q .; do ip route del default; done\n\
         while ip -6 route show default | grep -q .; do ip -6 route del default; done\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_kind_or_linux_would_refuse_are_told_apart() {
        for good in ["rekindle", "a", "ci-7.x"] {
            assert_eq!(name_fault(good), None, "{good}");
        }
        for bad in ["", "Rekindle", "a b", "-a", "a-", "a/b", &"a".repeat(46)] {
            assert!(name_fault(bad).is_some(), "{bad}");
        }
    }

    #[test]
    fn the_patches_hold_for_every_kubernetes_version() {
        let kind_config = |port, pool| kind_config("x", "aa11", port, pool, Path::new("/a \"b\""), "/images");
        let config = kind_config(0, 2);
        assert!(config.contains(r#"hostPath: "/a \"b\"""#), "{config}");
        // A patch with a version applies to that version only, so one that names any needs a sibling for each other.
        let bound: Vec<_> = config.match_indices("kubeadm.k8s.io/").map(|(at, _)| &config[at..][..22]).collect();
        assert_eq!(bound, ["kubeadm.k8s.io/v1beta3", "kubeadm.k8s.io/v1beta4"]);
        assert!(!config.contains("name: leader-elect"), "a list of arguments is refused before 1.36");
        assert!(config.contains("apiServerPort: -1"));
        assert!(kind_config(6443, 0).contains("apiServerPort: 6443"));
        assert!(config.contains("rekindle.dev/run-id: \"aa11\""));
    }

    #[test]
    fn a_pool_is_workers_that_nothing_settles_on() {
        let config = |pool| kind_config("x", "aa11", 0, pool, Path::new("/i"), "/images");
        let alone = config(0);
        assert!(!alone.contains("worker") && !alone.contains("taints"), "{alone}");
        let two = config(2);
        assert_eq!(two.matches("- role: worker").count(), 2);
        assert_eq!(two.matches("rekindle.dev/run-id: \"aa11\"").count(), 3);
        assert_eq!(two.matches("containerPath: /images").count(), 3);
        assert_eq!(two.matches("- key: rekindle.dev/pool").count(), 2);
        assert!(two.starts_with(&alone), "the control plane is the same: {two}");
        assert_eq!(node_names("x", 2), ["x-control-plane", "x-worker", "x-worker2"]);
    }

    #[test]
    fn coredns_asks_nobody() {
        for plugin in ["forward", "resolv.conf", "cache"] {
            assert!(!COREFILE.contains(plugin), "{plugin}");
        }
        // Without fallthrough an unknown address inside the cluster ends here, too.
        assert!(!COREFILE.contains("fallthrough"));
        assert_eq!(COREFILE.matches('{').count(), COREFILE.matches('}').count());
    }
}
