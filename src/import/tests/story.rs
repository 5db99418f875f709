//! A namespace in which a pod lacks a Secret and a container crashes, and ways to write it down.

use std::io::Write;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use super::super::{Format, ImportError, Imported, Missing, Options, from_bytes, read};
use crate::diagnosis::{Diagnosis, diagnose};
use crate::evidence::{Evidence, Timeline};

pub const CANARY: &str = "canary-7f3a-quiet";
pub const NAMESPACE: &str = "shop";

/// What the API would return, by the plural of its kind, with its API version and kind.
pub type Lists = Vec<(&'static str, &'static str, &'static str, Vec<Value>)>;

fn object(name: &str, more: Value) -> Value {
    let mut object = json!({"metadata": {"name": name, "namespace": NAMESPACE, "uid": format!("uid-{name}"), "resourceVersion": "7",
        "creationTimestamp": "2026-01-02T03:00:00Z", "managedFields": [{"manager": "m", "time": "2026-01-02T03:03:00Z", "fieldsV1": {"f:x": {}}}]}});
    for (key, value) in more.as_object().into_iter().flatten() {
        match value.as_object().filter(|_| key == "metadata") {
            Some(fields) => fields.iter().for_each(|(key, value)| object["metadata"][key] = value.clone()),
            None => object[key] = value.clone(),
        }
    }
    object
}

fn workload(name: &str, container: Value, status: Value) -> [Value; 3] {
    let mut container = container;
    container["name"] = json!(name);
    container["image"] = json!("tools.invalid/tools:1");
    let template = json!({"metadata": {"labels": {"app": name}}, "spec": {"containers": [container]}});
    let spec = json!({"replicas": 1, "selector": {"matchLabels": {"app": name}}, "template": template});
    let deployment = object(
        name,
        json!({"spec": spec, "metadata": {"generation": 1}, "status": {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "unavailableReplicas": 1}}),
    );
    let owner = |kind: &str, name: &str| json!([{"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": format!("uid-{name}"), "controller": true}]);
    let set = format!("{name}-7f9c");
    let replica_set = object(
        &set,
        json!({"spec": spec, "metadata": {"ownerReferences": owner("Deployment", name)}, "status": {"replicas": 1}}),
    );
    let pod = object(
        &format!("{set}-x"),
        json!({"spec": template["spec"], "metadata": {"labels": {"app": name}, "ownerReferences": owner("ReplicaSet", &set)}, "status": status}),
    );
    [deployment, replica_set, pod]
}

fn event(pod: &Value, reason: &str, message: &str) -> Value {
    let name = pod["metadata"]["name"].as_str().unwrap();
    object(
        &format!("{name}.{reason}"),
        json!({"reason": reason, "message": message, "type": "Warning", "count": 20, "firstTimestamp": "2026-01-02T03:00:02Z", "lastTimestamp": "2026-01-02T03:04:05Z",
            "involvedObject": {"kind": "Pod", "namespace": NAMESPACE, "name": name, "uid": pod["metadata"]["uid"]}}),
    )
}

/// The namespace, and a node.
pub fn lists() -> Lists {
    let waiting = json!({"phase": "Pending", "containerStatuses": [{"name": "billing", "ready": false, "restartCount": 0,
        "state": {"waiting": {"reason": "CreateContainerConfigError", "message": "secret \"db-login\" not found"}}}]});
    let needs = json!({"env": [{"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "db-login", "key": "password"}}}]});
    let [billing, billing_set, billing_pod] = workload("billing", needs, waiting);
    let ended = |at: &str| json!({"exitCode": 3, "reason": "Error", "startedAt": "2026-01-02T03:03:00Z", "finishedAt": at});
    let crashed = json!({"phase": "Running", "containerStatuses": [{"name": "orders", "containerID": "c://1", "ready": false, "restartCount": 5,
        "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 2m40s restarting failed container"}}, "lastState": {"terminated": ended("2026-01-02T03:03:05Z")}}]});
    let [orders, orders_set, orders_pod] = workload("orders", json!({"command": ["serve"]}), crashed);
    let failed = event(&billing_pod, "Failed", "Error: secret \"db-login\" not found");
    let back_off = event(&orders_pod, "BackOff", "Back-off restarting failed container orders in pod");
    let secret = object("session", json!({"type": "Opaque", "data": {"key": STANDARD.encode(CANARY)}}));
    let node = json!({"metadata": {"name": "node-a", "uid": "uid-node"}, "spec": {}, "status": {"nodeInfo": {"kubeletVersion": "v1.34.4"},
        "conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": "2026-01-02T03:04:00Z"}]}});
    vec![
        ("nodes", "v1", "Node", vec![node]),
        ("events", "v1", "Event", vec![failed, back_off]),
        ("replicationcontrollers", "v1", "ReplicationController", vec![]),
        ("services", "v1", "Service", vec![]),
        ("daemonsets", "apps/v1", "DaemonSet", vec![]),
        ("deployments", "apps/v1", "Deployment", vec![billing, orders]),
        ("replicasets", "apps/v1", "ReplicaSet", vec![billing_set, orders_set]),
        ("pods", "v1", "Pod", vec![billing_pod, orders_pod]),
        ("secrets", "v1", "Secret", vec![secret]),
        ("configmaps", "v1", "ConfigMap", vec![]),
    ]
}

/// What the crashing container printed.
pub fn log() -> String {
    format!("opening the session store with {CANARY}\nfatal: no shard is configured\n")
}

/// The same with the kubelet's stamps.
pub fn stamped_log() -> String {
    let lines = log();
    let lines = lines.lines().enumerate();
    lines
        .map(|(n, line)| format!("2026-01-02T03:03:0{n}.123456789Z {line}\n"))
        .collect()
}

/// A list as Go's clients write it: its items name no kind, and there may be none.
pub fn typed(api_version: &str, kind: &str, items: &[Value]) -> Value {
    let items = if items.is_empty() { Value::Null } else { json!(items) };
    json!({"kind": format!("{kind}List"), "apiVersion": api_version, "metadata": {"resourceVersion": "9"}, "items": items})
}

/// Objects that name their kind themselves.
pub fn named(lists: &Lists, plurals: &[&str]) -> Vec<Value> {
    let lists = lists.iter().filter(|(plural, ..)| plurals.contains(plural));
    let item = |api_version: &str, kind: &str, item: &Value| {
        let mut object = json!({"apiVersion": api_version, "kind": kind});
        item.as_object()
            .unwrap()
            .iter()
            .for_each(|(key, value)| object[key] = value.clone());
        object
    };
    lists
        .flat_map(|(_, api_version, kind, items)| items.iter().map(move |of| item(api_version, kind, of)))
        .collect()
}

/// As Kubernetes' tools write YAML: fields sorted, lists as far indented as what holds them.
pub fn yaml(value: &Value) -> String {
    fn write(value: &Value, indent: usize, out: &mut String) {
        let pad = " ".repeat(indent);
        match value {
            Value::Object(fields) if !fields.is_empty() => {
                let mut sorted: Vec<_> = fields.iter().collect();
                sorted.sort_by_key(|(key, _)| *key);
                for (key, value) in sorted {
                    out.push_str(&format!("{pad}{key}:"));
                    below(value, indent, out);
                }
            }
            Value::Array(items) if !items.is_empty() => {
                for item in items {
                    let mut text = String::new();
                    write(item, indent + 2, &mut text);
                    let text = if text.starts_with(' ') {
                        text[indent + 2..].to_owned()
                    } else {
                        text
                    };
                    out.push_str(&format!("{pad}- {text}"));
                }
            }
            other => out.push_str(&format!("{other}\n")),
        }
    }
    fn below(value: &Value, indent: usize, out: &mut String) {
        match value {
            Value::Object(fields) if !fields.is_empty() => {
                out.push('\n');
                write(value, indent + 2, out);
            }
            Value::Array(items) if !items.is_empty() => {
                out.push('\n');
                write(value, indent, out);
            }
            other => out.push_str(&format!(" {other}\n")),
        }
    }
    let mut out = String::new();
    write(value, 0, &mut out);
    out
}

/// A folder with these files.
pub fn folder(files: &[(String, String)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    folder
}

/// An archive with these files, packed.
pub fn archive(files: &[(String, String)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, text) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, text.as_bytes()).unwrap();
    }
    gzip(&tar.into_inner().unwrap())
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap()
}

pub fn options() -> Options {
    Options::new(None, [7; 32])
}

/// What was read, with all timelines at once.
#[derive(Debug)]
pub struct Whole {
    pub format: Format,
    pub timelines: Vec<Timeline>,
    pub namespaces: Vec<String>,
    pub missing: Vec<Missing>,
}

impl From<Imported> for Whole {
    fn from(imported: Imported) -> Self {
        Self {
            format: imported.format,
            timelines: imported.timelines.collect(),
            namespaces: imported.namespaces,
            missing: imported.missing,
        }
    }
}

pub fn imported(bytes: &[u8]) -> Result<Whole, ImportError> {
    from_bytes(bytes, &options()).map(Whole::from)
}

pub fn imported_from(path: &Path) -> Result<Whole, ImportError> {
    read(path, &options()).map(Whole::from)
}

/// What can be said of the only namespace.
pub fn diagnosed(imported: &Whole) -> (Evidence, Diagnosis) {
    let [timeline] = imported.timelines.as_slice() else {
        panic!("{:?}", imported.namespaces)
    };
    let evidence = Evidence::of(timeline);
    let diagnosis = diagnose(&evidence);
    (evidence, diagnosis)
}

/// What is missing, each with the reason, a line each.
pub fn missing(evidence: &Evidence) -> String {
    let lines = evidence.not_readable.iter().map(|(what, why)| format!("{what}: {why}\n"));
    lines.collect()
}
