//! Builds evidence for tests of pods that wait for a node.

use serde_json::{Value, json};

use super::fixture::{pod_of, running, warning};

pub const UNFIT: &str = "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector. preemption: 0/1 nodes are available: \
    1 Preemption is not helpful for scheduling.";

/// A pod of this owner that no node takes, in the scheduler's words.
pub fn unplaced(owner: &Value, suffix: &str, words: &str) -> Value {
    let mut pod = pod_of(owner, suffix, json!({}));
    pod["status"] = json!({"phase": "Pending", "conditions": [
        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": words},
    ]});
    pod
}

/// The pod on a node, not ready yet.
pub fn placed(owner: &Value, suffix: &str, node: &str) -> Value {
    let mut pod = pod_of(owner, suffix, json!({"waiting": {"reason": "ContainerCreating"}}));
    pod["spec"]["nodeName"] = json!(node);
    pod["status"]["conditions"] = json!([{"type": "PodScheduled", "status": "True"}, {"type": "Ready", "status": "False"}]);
    pod
}

/// The pod on a node, and ready.
pub fn up(owner: &Value, suffix: &str, node: &str) -> Value {
    let mut pod = placed(owner, suffix, node);
    pod["status"] = pod_of(owner, suffix, running())["status"].clone();
    pod["status"]["conditions"] = json!([{"type": "PodScheduled", "status": "True"}, {"type": "Ready", "status": "True"}]);
    pod
}

pub fn failed_scheduling(pod: &Value, words: &str) -> Value {
    warning(pod, "FailedScheduling", words)
}

/// What the autoscaler says when it starts a node.
pub fn starts_node(pod: &Value) -> Value {
    let mut event = warning(pod, "TriggeredScaleUp", "pod triggered scale-up: [{burst 0->1 (max: 3)}]");
    event["type"] = json!("Normal");
    event["source"] = json!({"component": "cluster-autoscaler"});
    event
}

/// What it says when it does not.
pub fn refuses_node(pod: &Value, why: &str) -> Value {
    let mut event = warning(pod, "NotTriggerScaleUp", &format!("pod didn't trigger scale-up: {why}"));
    event["type"] = json!("Normal");
    event["source"] = json!({"component": "cluster-autoscaler"});
    event
}

/// A node with these labels, and with this taint if it has a key.
pub fn node(name: &str, labels: Value, taint: &str) -> Value {
    let taints = if taint.is_empty() {
        json!([])
    } else {
        json!([{"key": taint, "effect": "NoSchedule"}])
    };
    json!({"kind": "Node", "metadata": {"name": name, "labels": labels}, "spec": {"taints": taints}})
}
