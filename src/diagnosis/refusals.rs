//! What the API server refuses to create for a workload: pods that there will never be, and claims of a StatefulSet.

use jiff::Timestamp;
use serde_json::Value;

use super::progress::{JobState, concerns, controller, event_text, job_state, relevant};
use super::{Citation, cite};
use crate::evidence::{Evidence, Life, ObjectRef, moment};

/// One refusal that still stands.
#[derive(Debug)]
pub struct Refusal<'a> {
    /// What a person would name: Deployment rather than ReplicaSet.
    pub top: ObjectRef,
    pub message: &'a str,
    pub since: Timestamp,
    pub citation: Citation,
    /// All that is without pods because of it.
    pub explains: Vec<ObjectRef>,
}

/// Every workload that has fewer pods than it should, because the API server refuses them.
pub fn refusals(evidence: &Evidence) -> Vec<Refusal<'_>> {
    let kinds = ["DaemonSet", "Job", "ReplicaSet", "StatefulSet"];
    let all = kinds.iter().flat_map(|kind| relevant(evidence, kind));
    all.filter_map(|workload| refusal(evidence, workload)).collect()
}

/// Why a workload has fewer pods than it should, if the API server refuses them. The newest event says what it is refused for now; the
/// condition says so as long as there is one, in the words of the first refusal.
pub fn refusal<'a>(evidence: &'a Evidence, workload: &'a Life) -> Option<Refusal<'a>> {
    if !short(workload) {
        return None;
    }
    let own = workload.reference();
    let condition = condition(workload);
    let (message, since, citation) = match (refused(evidence, workload), condition) {
        (Some(event), _) => {
            let (message, said) = (event_text(event), first(event));
            let since = condition.and_then(|(_, since)| since).map_or(said, |since| since.min(said));
            (
                message,
                since,
                cite::observed(&own, format!("event FailedCreate: {message}"), Some(said)),
            )
        }
        (None, Some((message, since))) => {
            let citation = cite::observed(&own, format!("condition ReplicaFailure: {message}"), since);
            (message, since.unwrap_or_else(|| workload.first_seen()), citation)
        }
        (None, None) => return None,
    };
    let top = controller(evidence, workload);
    let mut explains = vec![own];
    if !explains.iter().any(|object| object.same(&top)) {
        explains.push(top.clone());
    }
    Some(Refusal {
        top,
        message,
        since,
        citation,
        explains,
    })
}

/// The newest event that tells of a refusal, unless something was created after it.
fn refused<'a>(evidence: &'a Evidence, workload: &Life) -> Option<&'a Life> {
    let newest = |reason: &str| {
        let events = evidence.events_about(workload);
        let own = events.filter(|event| event.text("/reason") == reason && concerns(event, workload));
        own.max_by_key(|event| last(event))
    };
    let refused = newest("FailedCreate")?;
    newest("SuccessfulCreate")
        .is_none_or(|created| last(created) <= last(refused))
        .then_some(refused)
}

/// Whether there are fewer pods than there should be.
fn short(workload: &Life) -> bool {
    let number = |pointer: &str| workload.number(pointer).unwrap_or(0);
    match workload.text("/kind") {
        "DaemonSet" => number("/status/currentNumberScheduled") < number("/status/desiredNumberScheduled"),
        "Job" => job_state(workload) == JobState::Running && number("/status/active") == 0,
        _ => number("/status/replicas") < workload.number("/spec/replicas").unwrap_or(1),
    }
}

fn condition(workload: &Life) -> Option<(&str, Option<Timestamp>)> {
    let found = workload.condition_object("ReplicaFailure")?;
    let text = |key: &str| found.get(key).and_then(Value::as_str);
    let refused = text("status") == Some("True") && text("reason") == Some("FailedCreate");
    let since = text("lastTransitionTime").and_then(moment::parse);
    text("message").filter(|_| refused).map(|message| (message, since))
}

/// When an event was said last.
fn last(event: &Life) -> Timestamp {
    let times = ["/series/lastObservedTime", "/lastTimestamp"];
    times.iter().find_map(|pointer| event.time(pointer)).unwrap_or_else(|| first(event))
}

/// When an event was first said.
pub fn first(event: &Life) -> Timestamp {
    let times = ["/firstTimestamp", "/eventTime", "/metadata/creationTimestamp"];
    times
        .iter()
        .find_map(|pointer| event.time(pointer))
        .unwrap_or_else(|| event.first_seen())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::diagnosis::fixture::*;

    #[test]
    fn a_condition_an_event_and_neither() {
        let (deployment, mut set) = deployment("web", json!({"image": "a"}), 0);
        set["status"] = json!({"replicas": 0});
        let mut scene = Scene::new();
        scene.object(deployment).object(set.clone());
        assert!(refusals(&scene.evidence()).is_empty());
        set["status"] = json!({"replicas": 0, "conditions": [{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "first"}]});
        scene.object(set.clone());
        assert_eq!(refusals(&scene.evidence())[0].message, "first");
        scene.at(1000).object(warning(&set, "FailedCreate", "newer"));
        let evidence = scene.evidence();
        let found = refusals(&evidence);
        assert_eq!((found[0].top.to_string().as_str(), found[0].message), ("Deployment/web", "newer"));
        // It has them now.
        set["status"] = json!({"replicas": 1});
        scene.object(set);
        assert!(refusals(&scene.evidence()).is_empty());
    }

    #[test]
    fn a_job_without_a_pod() {
        let mut refused = job("seed", json!({"image": "a"}));
        refused["status"] = json!({});
        let mut scene = Scene::new();
        scene
            .object(refused.clone())
            .object(warning(&refused, "FailedCreate", "Error creating: no"));
        assert_eq!(refusals(&scene.evidence())[0].top.to_string(), "Job/seed");
        scene.at(2000).object(warning(&refused, "SuccessfulCreate", "Created pod: seed-x"));
        assert!(refusals(&scene.evidence()).is_empty());
    }
}
