//! Services: whether something answers behind one, and which one is meant by a name from outside.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::progress::{controller, ready, stuck};
use crate::evidence::address::Address;
use crate::evidence::manifest::{list, pod_spec, spec_containers, text};
use crate::evidence::{Evidence, Life, ObjectRef};

/// What stands behind a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Backing {
    /// At least one pod that is ready, or an endpoint that says so.
    Ready,
    /// Pods that are on their way, or none yet.
    Coming(String),
    /// Pods that are stuck, and what runs them.
    Stuck(Vec<ObjectRef>),
    /// Nothing selects it and nothing fills it.
    Empty,
}

/// Whether the labels of an object hold everything that a selector asks for.
pub fn selects(selector: &Value, labels: Option<&Value>) -> bool {
    selector.as_object().is_some_and(|selector| {
        !selector.is_empty()
            && selector
                .iter()
                .all(|(key, value)| labels.and_then(|labels| labels.get(key)) == Some(value))
    })
}

/// The pods behind a Service.
pub fn pods_behind<'a>(evidence: &'a Evidence, service: &'a Life) -> impl Iterator<Item = &'a Life> {
    pods_ever_behind(evidence, service).filter(|pod| pod.exists())
}

/// The pods that are or were behind a Service.
pub fn pods_ever_behind<'a>(evidence: &'a Evidence, service: &'a Life) -> impl Iterator<Item = &'a Life> {
    let selector = service.at("/spec/selector").and_then(Value::as_object);
    let pods = selector.into_iter().flat_map(|selector| evidence.ever_selected("Pod", selector));
    pods.filter(|pod| is_behind(service, pod))
}

/// Whether a Service selects a pod.
pub fn is_behind(service: &Life, pod: &Life) -> bool {
    let selector = service.object().pointer("/spec/selector");
    pod.text("/metadata/namespace") == service.text("/metadata/namespace")
        && selector.is_some_and(|selector| selects(selector, pod.object().pointer("/metadata/labels")))
}

/// The name of a port that the Service asks for and that no pod behind it has, where it has no other port.
pub fn unknown_port<'a>(evidence: &'a Evidence, service: &'a Life) -> Option<&'a str> {
    let pods: Vec<&Life> = pods_behind(evidence, service).collect();
    let has = |name: &str| {
        let containers = pods.iter().filter_map(|pod| pod_spec(pod.object())).flat_map(spec_containers);
        containers
            .flat_map(|container| list(container, "ports"))
            .any(|port| text(port, "/name") == name)
    };
    let ports = service.list("/spec/ports");
    let unknown = |port: &'a Value| {
        port.get("targetPort")?
            .as_str()
            .filter(|name| name.parse::<u16>().is_err() && !has(name))
    };
    let first = ports.first().and_then(unknown).filter(|_| !pods.is_empty())?;
    ports.iter().all(|port| unknown(port).is_some()).then_some(first)
}

/// What stands behind a Service now.
pub fn backing(evidence: &Evidence, service: &Life) -> Backing {
    if unknown_port(evidence, service).is_some() {
        return Backing::Empty;
    }
    if has_ready_endpoint(evidence, service) {
        return Backing::Ready;
    }
    let pods: Vec<_> = pods_behind(evidence, service).collect();
    if pods.iter().any(|pod| pod.condition("Ready") == "True") {
        return Backing::Ready;
    }
    if !pods.is_empty() && pods.iter().all(|pod| stuck(pod)) {
        return Backing::Stuck(pods_and_owners(evidence, service));
    }
    if let Some(pod) = pods.first() {
        return Backing::Coming(format!("pod {} behind it is on its way", pod.name()));
    }
    let coming = ["Deployment", "StatefulSet", "DaemonSet"]
        .iter()
        .flat_map(|kind| evidence.all(kind))
        .find(|workload| {
            !ready(workload)
                && service
                    .object()
                    .pointer("/spec/selector")
                    .is_some_and(|selector| selects(selector, workload.object().pointer("/spec/template/metadata/labels")))
        });
    match coming {
        Some(workload) => Backing::Coming(format!("{} behind it is on its way", workload.reference())),
        None => Backing::Empty,
    }
}

/// The pods behind a Service, and what runs them.
pub fn pods_and_owners(evidence: &Evidence, service: &Life) -> Vec<ObjectRef> {
    let mut found: Vec<ObjectRef> = pods_behind(evidence, service).map(Life::reference).collect();
    found.extend(pods_behind(evidence, service).map(|pod| controller(evidence, pod)));
    found.sort();
    found.dedup();
    found
}

/// Whether an endpoint of it is ready, whoever has made it.
pub fn has_ready_endpoint(evidence: &Evidence, service: &Life) -> bool {
    let namespace = service.text("/metadata/namespace");
    let label = Map::from_iter([("kubernetes.io/service-name".to_owned(), Value::from(service.name()))]);
    let sliced = evidence
        .ever_selected("EndpointSlice", &label)
        .filter(|slice| slice.exists() && slice.text("/metadata/namespace") == namespace)
        .flat_map(|slice| slice.list("/endpoints"))
        .any(|endpoint| endpoint.pointer("/conditions/ready").and_then(Value::as_bool) != Some(false));
    sliced
        || evidence.get("Endpoints", namespace, service.name()).is_some_and(|endpoints| {
            endpoints.list("/subsets").iter().any(|subset| {
                subset
                    .get("addresses")
                    .and_then(Value::as_array)
                    .is_some_and(|found| !found.is_empty())
            })
        })
}

/// Words in names that say nothing about which service is meant.
const GENERIC: &[&str] = &[
    "addr",
    "address",
    "api",
    "app",
    "base",
    "cluster",
    "com",
    "config",
    "configure",
    "default",
    "endpoint",
    "example",
    "external",
    "headless",
    "host",
    "hostname",
    "http",
    "https",
    "init",
    "internal",
    "invalid",
    "io",
    "job",
    "local",
    "migrate",
    "migration",
    "net",
    "org",
    "port",
    "public",
    "server",
    "service",
    "setup",
    "svc",
    "test",
    "tls",
    "uri",
    "url",
    "wait",
    "www",
];

/// The words of a name or a line that say which service is meant.
pub fn words(text: &str) -> BTreeSet<String> {
    text.split(|c: char| !c.is_ascii_alphanumeric())
        .map(str::to_lowercase)
        .filter(|word| word.len() >= 2 && word.parse::<u64>().is_err() && !GENERIC.contains(&word.as_str()))
        .collect()
}

/// What is known about the server that a container looks for.
#[derive(Debug, Default)]
pub struct Wanted<'a> {
    pub namespace: &'a str,
    pub release: &'a str,
    /// From the most telling to the least: the variable's name, the host, the lines, the container, the Job.
    pub hints: Vec<String>,
    pub address: Option<&'a Address>,
}

/// The one Service with a ready endpoint that fits best, as an address in the form in which the old one was written.
pub fn in_cluster_address(evidence: &Evidence, wanted: &Wanted<'_>) -> Option<String> {
    let ignored = words(wanted.release);
    let hints: Vec<BTreeSet<String>> = wanted.hints.iter().map(|hint| words(hint)).collect();
    let mut scored: Vec<(i64, &Life)> = evidence
        .all("Service")
        .filter(|service| service.text("/metadata/namespace") == wanted.namespace && service.text("/spec/type") != "ExternalName")
        .filter_map(|service| {
            let all = words(service.name());
            let mut own: Vec<&String> = all.iter().filter(|word| !ignored.contains(*word)).collect();
            // A Service that is called like the release is not told apart by its other words.
            if own.is_empty() {
                own.extend(&all);
            }
            let weight = |index: usize| 10 * i64::try_from(hints.len() - index).unwrap_or(1);
            let matched: i64 = own
                .iter()
                .filter_map(|word| hints.iter().position(|hint| hint.contains(*word)))
                .map(weight)
                .sum();
            let unmatched = own.iter().filter(|word| !hints.iter().any(|hint| hint.contains(**word))).count();
            let headless = i64::from(service.text("/spec/clusterIP") == "None" || service.name().ends_with("headless"));
            (matched > 0).then(|| (matched - i64::try_from(unmatched).unwrap_or(0) * 3 - headless, service))
        })
        .filter(|(_, service)| backing(evidence, service) == Backing::Ready)
        .collect();
    scored.sort_by_key(|(score, service)| (-score, service.name().to_owned()));
    match scored.as_slice() {
        [] => None,
        [(first, _), (second, _), ..] if first == second => None,
        [(_, service), ..] => Some(origin(service, wanted.address)),
    }
}

/// How the Service is addressed from within its namespace.
fn origin(service: &Life, address: Option<&Address>) -> String {
    let ports = service.list("/spec/ports");
    let number = |port: &Value| port.get("port").and_then(Value::as_u64).unwrap_or(80);
    let name = |port: &Value| port.get("name").and_then(Value::as_str).unwrap_or_default().to_lowercase();
    let secure = |port: &Value| number(port) == 443 || name(port).starts_with("https");
    let scheme = address.map_or("http", |address| address.scheme.as_str());
    let path = address.map_or("", |address| address.path.as_str());
    if matches!(scheme, "http" | "https") {
        let port = ports
            .iter()
            .find(|port| number(port) == 80 || name(port) == "http")
            .or_else(|| ports.iter().find(|port| !secure(port)))
            .or(ports.first());
        let (scheme, number) = port.map_or(("http", 80), |port| (if secure(port) { "https" } else { "http" }, number(port)));
        let usual = if scheme == "https" { 443 } else { 80 };
        let port = if number == usual { String::new() } else { format!(":{number}") };
        return format!("{scheme}://{}{port}{path}", service.name());
    }
    let wanted = address.and_then(|address| address.port);
    let port = wanted.and_then(|wanted| {
        let kept = ports.iter().map(number).find(|number| *number == u64::from(wanted));
        kept.or_else(|| ports.first().map(number))
    });
    let port = port.map(|port| format!(":{port}")).unwrap_or_default();
    let scheme = if scheme.is_empty() { String::new() } else { format!("{scheme}://") };
    format!("{scheme}{}{port}{path}", service.name())
}
