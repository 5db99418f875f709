//! Whether everything that runs in a namespace is ready.

use jiff::Timestamp;
use serde_json::Value;

use super::Evidence;
use super::life::{Life, Version};
use super::manifest::foreign_finalizers;

/// What is not ready or will not last, and why; nothing where all is well.
pub fn unhealthy(evidence: &Evidence) -> Vec<String> {
    let lives = KINDS.iter().flat_map(|kind| evidence.all(kind));
    lives.filter_map(complaint).chain(evidence.all_but(&[]).filter_map(held)).collect()
}

/// Whether an object of a release only waits for somebody to let it go: whatever an engine has written into it since goes with it.
fn held(life: &Life) -> Option<String> {
    life.time("/metadata/deletionTimestamp")?;
    life.annotation("meta.helm.sh/release-name")?;
    let finalizers = foreign_finalizers(life.object());
    let name = life.reference();
    (!finalizers.is_empty()).then(|| format!("{name} was deleted and goes once {} is taken away", finalizers.join(" and ")))
}

/// What was not ready at some moment after this one, however short; nothing where all was well. A container that is restarted may be ready
/// again within the millisecond.
pub fn unhealthy_since(evidence: &Evidence, moment: Timestamp) -> Vec<String> {
    let mut found = Vec::new();
    for life in KINDS.iter().flat_map(|kind| evidence.all(kind)) {
        let alone = |version: &Version| Life {
            versions: vec![version.clone()],
            deleted_at: None,
        };
        let versions = life.versions.iter().filter(|version| version.at > moment);
        found.extend(versions.filter_map(|version| complaint(&alone(version))).next());
    }
    found
}

const KINDS: &[&str] = &["Deployment", "StatefulSet", "DaemonSet", "Job", "Pod"];

/// Why an object is not ready, if it is one that should be.
fn complaint(life: &Life) -> Option<String> {
    let (name, number) = (life.reference(), |pointer: &str| life.number(pointer).unwrap_or(0));
    match life.text("/kind") {
        "Deployment" | "StatefulSet" => {
            let wanted = life.number("/spec/replicas").unwrap_or(1);
            let (ready, updated) = (number("/status/readyReplicas"), number("/status/updatedReplicas"));
            if outdated(life) {
                return Some(format!("{name} has not been looked at by its controller since it changed"));
            }
            (ready < wanted || updated < wanted).then(|| format!("{name} has {} of {wanted} pods ready", ready.min(updated)))
        }
        "DaemonSet" => {
            let (wanted, ready) = (number("/status/desiredNumberScheduled"), number("/status/numberReady"));
            (outdated(life) || ready < wanted).then(|| format!("{name} has {ready} of {wanted} pods ready"))
        }
        "Job" if life.condition("Failed") == "True" => {
            let failed = life.condition_object("Failed");
            let reason = failed.and_then(|found| found.get("reason")?.as_str()).unwrap_or("it failed");
            Some(format!("{name} failed: {reason}"))
        }
        "Job" => {
            let over = life.condition("Complete") == "True" || life.at("/spec/suspend") == Some(&Value::Bool(true));
            (!over).then(|| format!("{name} has not finished"))
        }
        "Pod" if life.list("/metadata/ownerReferences").is_empty() => {
            let well = life.text("/status/phase") == "Succeeded" || life.condition("Ready") == "True";
            (!well).then(|| format!("{name} is not ready"))
        }
        _ => None,
    }
}

fn outdated(life: &Life) -> bool {
    life.number("/status/observedGeneration").unwrap_or(0) < life.number("/metadata/generation").unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::diagnosis::fixture::{Scene, deployment};

    #[test]
    fn what_only_waits_to_be_let_go_is_not_healthy() {
        let object = |finalizer: &str, deleted: bool| {
            let mut object = json!({"kind": "ConfigMap", "metadata": {
                "name": "ledger", "finalizers": [finalizer], "annotations": {"meta.helm.sh/release-name": "store"},
            }});
            if deleted {
                object["metadata"]["deletionTimestamp"] = json!("2026-01-02T03:04:25Z");
            }
            object
        };
        let said = |object| {
            let mut scene = Scene::new();
            unhealthy(&scene.object(object).evidence())
        };
        let held = "ConfigMap/ledger was deleted and goes once books.example/audit is taken away";
        assert_eq!(said(object("books.example/audit", true)), [held]);
        assert_eq!(said(object("books.example/audit", false)), [] as [&str; 0]);
        assert_eq!(said(object("foregroundDeletion", true)), [] as [&str; 0]);
        let mut foreign = object("books.example/audit", true);
        foreign["metadata"]["annotations"] = json!({});
        assert_eq!(said(foreign), [] as [&str; 0]);
    }

    #[test]
    fn a_moment_without_a_ready_pod_is_seen_afterwards() {
        let (well, _) = deployment("web", json!({"image": "a"}), 1);
        let (ill, _) = deployment("web", json!({"image": "a"}), 0);
        let mut scene = Scene::new();
        scene.at(100).object(ill.clone()).at(200).object(well.clone());
        let healthy = scene.stamp();
        assert_eq!(unhealthy_since(&scene.evidence(), healthy), [] as [&str; 0]);
        scene.at(5000).object(ill).object(well);
        assert_eq!(unhealthy(&scene.evidence()), [] as [&str; 0]);
        assert_eq!(
            unhealthy_since(&scene.evidence(), healthy),
            ["Deployment/web has 0 of 1 pods ready"]
        );
    }
}
