//! Whether objects are ready, still on their way, or stuck; and which of them count at this moment.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

use super::attempt::{State, attempt};
use crate::evidence::{Evidence, Life, ObjectRef, moment};

/// How a Job stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobState {
    Running,
    Complete { at: Option<Timestamp> },
    Failed { reason: String, at: Option<Timestamp> },
}

/// How a Job stands by its conditions.
pub fn job_state(job: &Life) -> JobState {
    let since = |condition: &str| {
        job.condition_object(condition)
            .and_then(|found| moment::parse(found.get("lastTransitionTime")?.as_str()?))
    };
    if job.condition("Complete") == "True" || job.condition("SuccessCriteriaMet") == "True" {
        return JobState::Complete {
            at: job.time("/status/completionTime").or_else(|| since("Complete")),
        };
    }
    for condition in ["Failed", "FailureTarget"] {
        if job.condition(condition) == "True" {
            let reason = job
                .condition_object(condition)
                .and_then(|found| found.get("reason")?.as_str())
                .unwrap_or_default();
            return JobState::Failed {
                reason: reason.to_owned(),
                at: since(condition),
            };
        }
    }
    JobState::Running
}

/// Whether engines would call this object ready; kinds without a notion of it always are.
pub fn ready(object: &Life) -> bool {
    let number = |pointer| object.number(pointer).unwrap_or(0);
    let wanted = object.number("/spec/replicas").unwrap_or(1);
    let observed = number("/status/observedGeneration") >= number("/metadata/generation");
    match object.text("/kind") {
        "Deployment" => observed && number("/status/availableReplicas") >= wanted && number("/status/updatedReplicas") >= wanted,
        "StatefulSet" => observed && number("/status/readyReplicas") >= wanted,
        "ReplicaSet" => number("/status/readyReplicas") >= wanted,
        "DaemonSet" => observed && number("/status/numberReady") >= number("/status/desiredNumberScheduled"),
        "Job" => matches!(job_state(object), JobState::Complete { .. }),
        "Pod" => object.condition("Ready") == "True" || object.text("/status/phase") == "Succeeded",
        "PersistentVolumeClaim" => object.text("/status/phase") == "Bound",
        _ => true,
    }
}

/// The kinds that run pods, and bare pods.
pub const WORKLOADS: &[&str] = &["DaemonSet", "Deployment", "Job", "Pod", "ReplicaSet", "StatefulSet"];

/// Objects of a kind that count now: those that exist, and those that an attempt which did not succeed took away again, unless one
/// of the same name has come since. What ended before the remedy does not count.
pub fn relevant<'a>(evidence: &'a Evidence, kind: &'a str) -> Vec<&'a Life> {
    let mut newest: BTreeMap<(&str, &str), &Life> = BTreeMap::new();
    let removed_since = attempt(evidence)
        .filter(|attempt| attempt.state != State::Succeeded)
        .map(|attempt| attempt.started_at);
    for life in evidence.ever(kind) {
        let counts = life.exists() || life.deleted_at.zip(removed_since).is_some_and(|(gone, since)| gone >= since);
        if counts && !over_before_remedy(evidence, life) {
            // Lives of one name come in the order of their first sight.
            newest.insert((life.text("/metadata/namespace"), life.name()), life);
        }
    }
    newest.into_values().collect()
}

/// Whether the object was gone or had failed for good before the remedy began; or is a pod from before it whose owner has gone since, and
/// which goes with it.
pub fn over_before_remedy(evidence: &Evidence, life: &Life) -> bool {
    evidence.remedy_started.is_some_and(|remedy| {
        life.deleted_at.is_some_and(|gone| gone <= remedy)
            || life.text("/kind") == "Job" && matches!(job_state(life), JobState::Failed { at, .. } if at.is_none_or(|at| at <= remedy))
            || life.text("/kind") == "Pod" && life.first_seen() <= remedy && owner(evidence, life).is_some_and(|owner| !owner.exists())
    })
}

/// Whether an object still looks as it did before the remedy, which may be about to change it.
pub fn not_seen_since_remedy(evidence: &Evidence, life: &Life) -> bool {
    evidence
        .remedy_started
        .is_some_and(|remedy| life.versions.last().is_none_or(|version| version.at <= remedy))
}

/// The object that owns this one, if it was ever seen.
fn owner<'a>(evidence: &'a Evidence, life: &Life) -> Option<&'a Life> {
    let owner = life.list("/metadata/ownerReferences").first()?;
    let text = |key: &str| owner.get(key).and_then(Value::as_str).unwrap_or_default();
    evidence
        .ever_named(text("kind"), life.text("/metadata/namespace"), text("name"))
        .iter()
        .find(|found| found.uid() == text("uid"))
}

/// The pods of an owner (by UID) that count: those that exist and are not leaving, and where the owner is a Job or is gone itself, all
/// that it ever had, because what they printed is still what happened.
pub fn pods_of<'a>(evidence: &'a Evidence, owner: &Life) -> Vec<&'a Life> {
    let keep_gone = owner.text("/kind") == "Job" || !owner.exists();
    let mut pods: Vec<&Life> = evidence
        .ever_owned("Pod", owner.uid())
        .filter(|pod| keep_gone || pod.exists() && pod.text("/metadata/deletionTimestamp").is_empty())
        .filter(|pod| !over_before_remedy(evidence, pod))
        .collect();
    pods.sort_by_key(|pod| (pod.first_seen(), pod.name().to_owned()));
    pods
}

/// The pods of a Deployment's ReplicaSets, or of a workload that owns its pods itself.
pub fn pods_behind<'a>(evidence: &'a Evidence, workload: &'a Life) -> Vec<&'a Life> {
    if workload.text("/kind") != "Deployment" {
        return pods_of(evidence, workload);
    }
    let sets = evidence
        .ever_owned("ReplicaSet", workload.uid())
        .filter(|set| set.exists() || !workload.exists());
    sets.flat_map(|set| pods_of(evidence, set)).collect()
}

/// The object at the top of the owners of a pod that a person would name: Deployment rather than ReplicaSet; the pod if it has none.
pub fn controller(evidence: &Evidence, object: &Life) -> ObjectRef {
    let own = plain(&object.reference());
    let Some(owner) = object.list("/metadata/ownerReferences").first() else {
        return own;
    };
    let text = |key: &str| owner.get(key).and_then(Value::as_str).unwrap_or_default();
    let (kind, name) = (text("kind"), text("name"));
    if !WORKLOADS.contains(&kind) {
        return own;
    }
    let namespace = object.text("/metadata/namespace");
    let owner = evidence
        .ever_named("ReplicaSet", namespace, name)
        .iter()
        .find(|life| life.uid() == text("uid"));
    match owner.filter(|_| kind == "ReplicaSet") {
        Some(replica_set) => controller(evidence, replica_set),
        None => ObjectRef::new(kind, Some(namespace), name),
    }
}

/// The reference without its UID: the same object over its re-creations.
pub fn plain(reference: &ObjectRef) -> ObjectRef {
    ObjectRef::new(reference.kind.clone(), reference.namespace.as_deref(), reference.name.clone())
}

/// A container of a pod with its status.
#[derive(Debug, Clone, Copy)]
pub struct Container<'a> {
    pub name: &'a str,
    pub status: &'a Value,
    pub init: bool,
}

impl<'a> Container<'a> {
    fn text(&self, pointer: &str) -> &'a str {
        self.status.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    /// The reason for which it waits; empty where it does not.
    pub fn waiting(&self) -> &'a str {
        self.text("/state/waiting/reason")
    }

    pub fn waiting_message(&self) -> &'a str {
        self.text("/state/waiting/message")
    }

    pub fn running(&self) -> bool {
        self.status.pointer("/state/running").is_some()
    }

    pub fn restarts(&self) -> u32 {
        self.status
            .get("restartCount")
            .and_then(Value::as_u64)
            .and_then(|count| u32::try_from(count).ok())
            .unwrap_or(0)
    }

    /// How it ended last: now, or before its latest restart.
    pub fn ended(&self) -> Option<&'a Value> {
        self.status
            .pointer("/state/terminated")
            .or_else(|| self.status.pointer("/lastState/terminated"))
    }

    /// The exit code of its last end.
    pub fn exit_code(&self) -> Option<i64> {
        self.ended()?.get("exitCode")?.as_i64()
    }

    /// Whether it has ended with success and is not started again.
    pub fn succeeded(&self) -> bool {
        self.status.pointer("/state/terminated/exitCode").and_then(Value::as_i64) == Some(0)
    }
}

/// The containers of a pod that have a status, init containers first.
pub fn containers(pod: &Life) -> impl Iterator<Item = Container<'_>> {
    let of = |pointer: &str, init: bool| {
        pod.list(pointer).iter().map(move |status| Container {
            name: status.get("name").and_then(Value::as_str).unwrap_or_default(),
            status,
            init,
        })
    };
    of("/status/initContainerStatuses", true).chain(of("/status/containerStatuses", false))
}

/// Whether the container ended because its pod was deleted, as a Job does with its pods at its deadline: that is no error of its own.
pub fn killed(pod: &Life, container: &Container<'_>) -> bool {
    let grace = pod.number("/metadata/deletionGracePeriodSeconds").unwrap_or(0);
    let asked = pod.time("/metadata/deletionTimestamp").map(|gone| gone - moment::seconds(grace));
    let ended = container
        .ended()
        .and_then(|ended| moment::parse(ended.get("finishedAt")?.as_str()?));
    let ended_then = asked.zip(ended).is_some_and(|(asked, ended)| ended >= asked);
    (ended_then || asked.is_some() && never_ran(container)) && matches!(container.exit_code(), Some(137 | 143))
}

/// Whether a container is said to have ended and was never started: of one that is not there when its pod ends, the kubelet says 137.
pub fn never_ran(container: &Container<'_>) -> bool {
    container.ended().is_some_and(|ended| {
        let text = |field: &str| ended.get(field).and_then(Value::as_str).unwrap_or_default();
        text("reason") == "ContainerStatusUnknown" && text("startedAt").is_empty()
    })
}

/// Reasons for which a container waits that do not pass by themselves within moments.
pub const CANNOT_START: &[&str] = &[
    "CreateContainerConfigError",
    "CreateContainerError",
    "ErrImageNeverPull",
    "ErrImagePull",
    "ImageInspectError",
    "ImagePullBackOff",
    "InvalidImageName",
    "RunContainerError",
];

/// Whether a pod is stuck rather than on its way: it cannot start, crashes, or has failed.
pub fn stuck(pod: &Life) -> bool {
    pod.text("/status/phase") == "Failed"
        || containers(pod).any(|container| {
            CANNOT_START.contains(&container.waiting())
                || container.waiting() == "CrashLoopBackOff"
                || container.exit_code().is_some_and(|code| code != 0) && !container.running()
        })
}

/// The newest event about an object, of one of these reasons.
pub fn event<'a>(evidence: &'a Evidence, about: &Life, reasons: &[&str]) -> Option<&'a Life> {
    evidence
        .events_about(about)
        .filter(|event| reasons.contains(&event.text("/reason")))
        .filter(|event| concerns(event, about))
        .max_by_key(|event| event.versions.last().map(|version| version.at))
}

/// Whether an event is about this object.
pub fn concerns(event: &Life, about: &Life) -> bool {
    ["/involvedObject", "/regarding"].iter().any(|pointer| {
        event.object().pointer(pointer).is_some_and(|object| {
            let text = |key: &str| object.get(key).and_then(Value::as_str).unwrap_or_default();
            text("kind") == about.text("/kind") && text("name") == about.name() && (text("uid").is_empty() || text("uid") == about.uid())
        })
    })
}

/// What an event says, whichever API wrote it.
pub fn event_text(event: &Life) -> &str {
    match event.text("/message") {
        "" => event.text("/note"),
        message => message,
    }
}
