//! Reads the fields of manifests that are always looked at: a pod's specification and its containers.

use serde_json::Value;

/// The specification of the pods that an object runs, or of the pod that it is.
pub fn pod_spec(object: &Value) -> Option<&Value> {
    match object.get("kind").and_then(Value::as_str)? {
        "Pod" => object.get("spec"),
        "CronJob" => object.pointer("/spec/jobTemplate/spec/template/spec"),
        _ => object.pointer("/spec/template/spec"),
    }
}

/// The list at a key; empty where there is none.
pub fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The string at a JSON pointer; empty where there is none.
pub fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// All containers of a pod's specification, init containers first.
pub fn spec_containers(spec: &Value) -> impl Iterator<Item = &Value> {
    list(spec, "initContainers").iter().chain(list(spec, "containers"))
}

/// Kubernetes takes these finalizers away by itself, once what they protect from is over.
const OWN_FINALIZERS: &[&str] = &[
    "batch.kubernetes.io/job-tracking",
    "customresourcecleanup.apiextensions.k8s.io",
    "foregroundDeletion",
    "kubernetes",
    "kubernetes.io/pv-protection",
    "kubernetes.io/pvc-protection",
    "orphan",
];

/// The finalizers of an object that only a controller beside Kubernetes takes away.
pub fn foreign_finalizers(object: &Value) -> Vec<&str> {
    let all = object.pointer("/metadata/finalizers").and_then(Value::as_array);
    let names = all.into_iter().flatten().filter_map(Value::as_str);
    names.filter(|name| !OWN_FINALIZERS.contains(name)).collect()
}
