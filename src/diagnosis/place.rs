//! What a host name can mean inside a cluster.

use std::net::IpAddr;

use crate::evidence::Evidence;
use crate::evidence::address::is_loopback;

/// What a host is, seen from a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A Service, or what hangs below its name, in this namespace.
    Service { namespace: String, name: String },
    /// An address that no Service and no pod in the evidence has, or a name that no Service can have.
    Outside,
    /// The pod itself.
    Itself,
}

/// Endings of names that are never namespaces in practice: a name of two labels that ends so is not `service.namespace`.
const ZONES: &[&str] = &[
    "app",
    "arpa",
    "biz",
    "cloud",
    "com",
    "corp",
    "dev",
    "edu",
    "example",
    "gov",
    "home",
    "info",
    "int",
    "internal",
    "invalid",
    "io",
    "lan",
    "local",
    "localdomain",
    "net",
    "online",
    "org",
    "site",
    "tech",
    "test",
    "xyz",
];

/// What a host means to a pod of this namespace.
pub fn place(evidence: &Evidence, host: &str, namespace: &str) -> Place {
    let host = host.trim_end_matches('.');
    if is_loopback(host) {
        return Place::Itself;
    }
    let service = |name: &str, namespace: &str| Place::Service {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    };
    if host.parse::<IpAddr>().is_ok() {
        let owner = evidence.all("Service").find(|service| {
            service.text("/spec/clusterIP") == host
                || service
                    .list("/spec/clusterIPs")
                    .iter()
                    .any(|address| address.as_str() == Some(host))
        });
        let pod = || evidence.all("Pod").find(|pod| pod.text("/status/podIP") == host);
        return match (owner, pod()) {
            (Some(owner), _) => service(owner.name(), owner.text("/metadata/namespace")),
            // A pod that is named by its address is inside, whatever Service it has.
            (None, Some(pod)) => service(pod.name(), pod.text("/metadata/namespace")),
            (None, None) => Place::Outside,
        };
    }
    let inner = host.strip_suffix(".cluster.local").unwrap_or(host);
    let labels: Vec<&str> = inner.split('.').collect();
    if let Some(svc) = labels
        .iter()
        .position(|label| matches!(*label, "svc" | "pod"))
        .filter(|svc| *svc >= 2)
    {
        return service(labels[svc - 2], labels[svc - 1]);
    }
    let known_namespace =
        |name: &str| name == namespace || name == evidence.header.namespace || evidence.get("Namespace", "", name).is_some();
    let known_service = |name: &str| declared_service(evidence, name).is_some() || evidence.get("Service", namespace, name).is_some();
    match labels.as_slice() {
        [name] => service(name, namespace),
        [name, of] if known_namespace(of) => service(name, of),
        // A pod of a StatefulSet below its headless Service.
        [_, name] if known_service(name) => service(name, namespace),
        [_, name, of] if known_namespace(of) && known_service(name) => service(name, of),
        [_, zone] if ZONES.contains(zone) || zone.len() == 2 => Place::Outside,
        [name, of] => service(name, of),
        _ => Place::Outside,
    }
}

/// A Service that a release's record or one of its hooks declares.
pub fn declared_service<'a>(evidence: &'a Evidence, name: &str) -> Option<&'a serde_json::Value> {
    evidence.releases.values().find_map(|(_, record)| {
        let hooks = record.hooks.iter().map(|hook| &hook.manifest);
        record.manifest.iter().chain(hooks).find(|manifest| {
            let text = |pointer: &str| manifest.pointer(pointer).and_then(serde_json::Value::as_str);
            text("/kind") == Some("Service") && text("/metadata/name") == Some(name)
        })
    })
}
