//! Every tool that is built from a Go module. A new one is a folder under `images/` and an entry here.

use super::{GoTool, RunsOn};

macro_rules! module_files {
    ($folder:literal) => {
        (
            include_str!(concat!("../../../images/", $folder, "/go.mod")),
            include_str!(concat!("../../../images/", $folder, "/go.sum")),
        )
    };
}

const KUBERNETES_FILES: (&str, &str) = module_files!("kubernetes");
const KUBERNETES_MODULE: &str = "k8s.io/kubernetes";

pub(in crate::toolchain) const KIND: GoTool = GoTool {
    name: "kind",
    title: "kind",
    module: "sigs.k8s.io/kind",
    go_mod: module_files!("kind").0,
    go_sum: module_files!("kind").1,
    commands: &[("kind", "sigs.k8s.io/kind")],
    runs_on: RunsOn::Host,
    stamp: |_| Vec::new(),
    version_args: &["version"],
    disk: 0.5,
    about: "3 s",
};

pub(in crate::toolchain) const HELM_3: GoTool = GoTool {
    name: "helm-3",
    title: "Helm 3",
    module: "helm.sh/helm/v3",
    go_mod: module_files!("helm-3").0,
    go_sum: module_files!("helm-3").1,
    commands: &[("helm", "helm.sh/helm/v3/cmd/helm")],
    stamp: |version| vec![format!("helm.sh/helm/v3/internal/version.version={version}")],
    about: "90 s",
    ..HELM_4
};

pub(in crate::toolchain) const HELM_4: GoTool = GoTool {
    name: "helm-4",
    title: "Helm 4",
    module: "helm.sh/helm/v4",
    go_mod: module_files!("helm-4").0,
    go_sum: module_files!("helm-4").1,
    commands: &[("helm", "helm.sh/helm/v4/cmd/helm")],
    runs_on: RunsOn::Host,
    stamp: |version| vec![format!("helm.sh/helm/v4/internal/version.version={version}")],
    version_args: &["version", "--short"],
    disk: 2.0,
    about: "2 min",
};

/// Runs on the host and, in the tools image, in the cluster.
pub(in crate::toolchain) const KUBECTL: GoTool = GoTool {
    name: "kubectl",
    title: "kubectl",
    commands: &[("kubectl", "k8s.io/kubernetes/cmd/kubectl")],
    version_args: &["version", "--client"],
    disk: 2.0,
    about: "2 min",
    ..KUBERNETES
};

pub(in crate::toolchain) const KUBERNETES: GoTool = GoTool {
    name: "kubernetes",
    title: "kubeadm, kubelet and four more of Kubernetes",
    module: KUBERNETES_MODULE,
    go_mod: KUBERNETES_FILES.0,
    go_sum: KUBERNETES_FILES.1,
    commands: &[
        ("kubeadm", "k8s.io/kubernetes/cmd/kubeadm"),
        ("kubelet", "k8s.io/kubernetes/cmd/kubelet"),
        ("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver"),
        ("kube-controller-manager", "k8s.io/kubernetes/cmd/kube-controller-manager"),
        ("kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler"),
        ("kube-proxy", "k8s.io/kubernetes/cmd/kube-proxy"),
    ],
    runs_on: RunsOn::Linux,
    // kubeadm takes a build without them for a version that it does not support.
    stamp: |version| {
        let mut numbers = version.trim_start_matches('v').split('.');
        let (major, minor) = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
        [
            ("gitVersion", version),
            ("gitMajor", major),
            ("gitMinor", minor),
            ("gitTreeState", "clean"),
        ]
        .map(|(name, value)| format!("k8s.io/component-base/version.{name}={value}"))
        .to_vec()
    },
    version_args: &["version"],
    disk: 5.0,
    about: "6 min",
};

pub(in crate::toolchain) const ETCD: GoTool = GoTool {
    name: "etcd",
    title: "etcd",
    module: "go.etcd.io/etcd/server/v3",
    go_mod: module_files!("etcd").0,
    go_sum: module_files!("etcd").1,
    commands: &[("etcd", "go.etcd.io/etcd/server/v3")],
    runs_on: RunsOn::Linux,
    stamp: |_| Vec::new(),
    version_args: &["--version"],
    disk: 0.5,
    about: "15 s",
};

pub(in crate::toolchain) const COREDNS: GoTool = GoTool {
    name: "coredns",
    title: "CoreDNS",
    module: "github.com/coredns/coredns",
    go_mod: module_files!("coredns").0,
    go_sum: module_files!("coredns").1,
    commands: &[("coredns", "github.com/coredns/coredns")],
    runs_on: RunsOn::Linux,
    stamp: |_| Vec::new(),
    version_args: &["-version"],
    disk: 1.5,
    about: "80 s",
};

/// Of Flux 2.7, with Helm's SDK of version 3.
pub(in crate::toolchain) const HELM_CONTROLLER_1_4: GoTool = GoTool {
    name: "helm-controller-1.4",
    go_mod: module_files!("helm-controller-1.4").0,
    go_sum: module_files!("helm-controller-1.4").1,
    ..HELM_CONTROLLER_1_6
};

/// Of Flux 2.9, with Helm's SDK of version 4.
pub(in crate::toolchain) const HELM_CONTROLLER_1_6: GoTool = GoTool {
    name: "helm-controller-1.6",
    title: "helm-controller",
    module: "github.com/fluxcd/helm-controller",
    go_mod: module_files!("helm-controller-1.6").0,
    go_sum: module_files!("helm-controller-1.6").1,
    commands: &[("helm-controller", "github.com/fluxcd/helm-controller")],
    runs_on: RunsOn::Linux,
    stamp: |_| Vec::new(),
    // They cannot be asked.
    version_args: &[],
    disk: 2.0,
    about: "2 min",
};

pub(in crate::toolchain) const KUSTOMIZE_CONTROLLER: GoTool = GoTool {
    name: "kustomize-controller",
    title: "kustomize-controller",
    module: "github.com/fluxcd/kustomize-controller",
    go_mod: module_files!("kustomize-controller").0,
    go_sum: module_files!("kustomize-controller").1,
    commands: &[("kustomize-controller", "github.com/fluxcd/kustomize-controller")],
    ..HELM_CONTROLLER_1_6
};

/// The engines that are programs of this machine, by the names that scenarios call them.
pub(in crate::toolchain) const ENGINES: &[&GoTool] = &[&HELM_3, &HELM_4];
