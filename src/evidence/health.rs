//! Whether everything that runs in a namespace is ready.

use serde_json::Value;

use super::Evidence;
use super::fold::Life;

/// What is not ready, and why; nothing where all is well.
pub fn unhealthy(evidence: &Evidence) -> Vec<String> {
    let mut found = Vec::new();
    for kind in ["Deployment", "StatefulSet"] {
        for life in evidence.all(kind) {
            let wanted = life.number("/spec/replicas").unwrap_or(1);
            let ready = life.number("/status/readyReplicas").unwrap_or(0);
            let updated = life.number("/status/updatedReplicas").unwrap_or(0);
            if outdated(life) {
                found.push(format!(
                    "{} has not been looked at by its controller since it changed",
                    life.reference()
                ));
            } else if ready < wanted || updated < wanted {
                found.push(format!("{} has {} of {wanted} pods ready", life.reference(), ready.min(updated)));
            }
        }
    }
    for life in evidence.all("DaemonSet") {
        let wanted = life.number("/status/desiredNumberScheduled").unwrap_or(0);
        let ready = life.number("/status/numberReady").unwrap_or(0);
        if outdated(life) || ready < wanted {
            found.push(format!("{} has {ready} of {wanted} pods ready", life.reference()));
        }
    }
    for life in evidence.all("Job") {
        if life.condition("Failed") == "True" {
            let reason = life
                .condition_object("Failed")
                .and_then(|found| found.get("reason")?.as_str())
                .unwrap_or("it failed");
            found.push(format!("{} failed: {reason}", life.reference()));
        } else if life.condition("Complete") != "True" && life.object().pointer("/spec/suspend") != Some(&Value::Bool(true)) {
            found.push(format!("{} has not finished", life.reference()));
        }
    }
    for life in evidence.all("Pod").filter(|life| life.list("/metadata/ownerReferences").is_empty()) {
        if life.text("/status/phase") != "Succeeded" && life.condition("Ready") != "True" {
            found.push(format!("{} is not ready", life.reference()));
        }
    }
    found
}

fn outdated(life: &Life) -> bool {
    life.number("/status/observedGeneration").unwrap_or(0) < life.number("/metadata/generation").unwrap_or(0)
}
