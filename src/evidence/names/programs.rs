//! Programs that everybody can use.

use super::system::stays;

/// Whether a program that writes objects is one that everybody can use, by the name under which the API server knows it.
pub fn is_public_program(manager: &str) -> bool {
    const OWN: &[&str] = &[
        "Go-http-client",
        "Helm",
        "HashiCorp",
        "Lens",
        "Mozilla",
        "OpenAPI-Generator",
        "OpenLens",
        "Terraform",
        "agent",
        "argocd",
        "argocd-application-controller",
        "argocd-controller",
        "before-first-apply",
        "dashboard",
        "flux",
        "fluxcd",
        "image-automation-controller",
        "image-reflector-controller",
        "k9s",
        "manager",
        "node-fetch",
        "notification-controller",
        "operator",
        "pulumi-kubernetes",
        "rancher",
        "skaffold",
        "werf",
    ];
    let of_kubernetes = ["kubectl-", "kube-"].iter().any(|prefix| manager.starts_with(prefix));
    of_kubernetes || OWN.contains(&manager) || stays(manager) && !manager.contains(':')
}
