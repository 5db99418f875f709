//! The resources of a release that an engine waits for, and which of them were ready at a moment.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::attempt::{Attempt, State};
use super::engine_words::{Named, named};
use super::hooks::Blocker;
use super::progress::{CANNOT_START, containers, event, event_text, pods_behind, ready};
use crate::evidence::manifest::text;
use crate::evidence::{Evidence, Life, ObjectRef};

/// The kinds that have a notion of ready.
const KINDS: &[&str] = &["DaemonSet", "Deployment", "Job", "PersistentVolumeClaim", "Pod", "StatefulSet"];

/// What keeps the wait for resources from its end, or did when the engine gave up.
pub fn resource_blockers(evidence: &Evidence, attempt: &Attempt<'_>) -> Vec<Blocker> {
    let failed = attempt.state == State::Failed;
    let missed = if failed { missed_jobs(attempt) } else { Vec::new() };
    let over = wait_is_over(evidence, attempt);
    if !attempt.waits_for_resources || over || failed && missed.is_empty() && !attempt.ended_in_a_wait() {
        return Vec::new();
    }
    let mut blockers: Vec<Blocker> = waited_for(evidence, attempt)
        .into_iter()
        .filter_map(|(reference, life)| {
            let then = attempt.ended_at.and_then(|end| life.until(end));
            let life = then.as_ref().unwrap_or(life);
            // An engine that goes back takes its objects away itself: which Job it missed before, it says.
            let missed = if failed {
                missed.iter().any(|missed| missed.same(&reference))
            } else {
                gone_within(attempt, life)
            };
            let waits = !ready(life) && !jobs_are_ignored(attempt, life);
            (waits || missed).then(|| Blocker {
                reference,
                event: None,
                since: life.first_seen(),
                until: attempt.ended_at,
                missed,
            })
        })
        .collect();
    let seen = |object: &ObjectRef| {
        !evidence
            .ever_named(&object.kind, object.namespace.as_deref().unwrap_or_default(), &object.name)
            .is_empty()
    };
    let never = attempt.kustomization.map(checked).unwrap_or_default().into_iter().filter(|object| {
        evidence.watched(&object.kind) && object.namespace.as_deref() == Some(evidence.header.namespace.as_str()) && !seen(object)
    });
    // It has begun to check once it lists what it has applied.
    let checks = attempt
        .kustomization
        .is_some_and(|life| !life.list("/status/inventory/entries").is_empty());
    blockers.extend(never.filter(|_| checks).map(|reference| Blocker {
        reference,
        event: None,
        since: attempt.started_at,
        until: attempt.ended_at,
        missed: true,
    }));
    // The wait of Helm 3 asks for one after the other, and ends with the first that is missed.
    if failed && !attempt.says_time_ran_out() && !missed.is_empty() {
        blockers.retain(|blocker| blocker.missed);
    }
    blockers
}

/// The Jobs that the engine says it looked for and did not find.
pub fn missed_jobs(attempt: &Attempt<'_>) -> Vec<ObjectRef> {
    let named = named(attempt).into_iter().filter(Named::misses_job);
    named.map(|named| named.object).collect()
}

/// Whether a Job is none that the engine waits for, as long as it exists.
fn jobs_are_ignored(attempt: &Attempt<'_>, life: &Life) -> bool {
    life.text("/kind") == "Job" && !attempt.wait_for_jobs
}

/// Whether a Job went during the attempt, so that an engine that looks for Jobs misses it.
fn gone_within(attempt: &Attempt<'_>, life: &Life) -> bool {
    attempt.misses_jobs() && life.text("/kind") == "Job" && life.deleted_at.is_some_and(|gone| gone >= attempt.started_at)
}

/// What the release consists of and an engine looks at, each with its newest life; sorted by name. Nothing has been applied yet where
/// nothing is seen.
pub fn waited_for<'a>(evidence: &'a Evidence, attempt: &Attempt<'_>) -> Vec<(ObjectRef, &'a Life)> {
    let manifests = attempt.record.map(|record| record.manifest.as_slice()).unwrap_or_default();
    let of_record = manifests.iter().map(|manifest| {
        let namespace = match text(manifest, "/metadata/namespace") {
            "" => attempt.namespace.as_str(),
            namespace => namespace,
        };
        ObjectRef::new(text(manifest, "/kind"), Some(namespace), text(manifest, "/metadata/name"))
    });
    let mut found: Vec<(ObjectRef, &Life)> = of_record
        .chain(attempt.kustomization.map(checked).unwrap_or_default())
        .filter_map(|object| {
            let (name, namespace) = (object.name.as_str(), object.namespace.as_deref().unwrap_or_default());
            let kind = KINDS.iter().find(|known| **known == object.kind)?;
            let newest = evidence.ever_named(kind, namespace, name).last()?;
            Some((ObjectRef::new(*kind, Some(namespace), name), newest))
        })
        .collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

/// All that an attempt has applied or would have: the release's manifest and hooks, or what the Kustomization lists.
pub fn consists_of(attempt: &Attempt<'_>) -> Vec<ObjectRef> {
    let record = attempt.record.into_iter();
    let of_record = record.flat_map(|record| record.manifest.iter().chain(record.hooks.iter().map(|hook| &hook.manifest)));
    let of_record = of_record.map(|manifest| {
        let namespace = Some(text(manifest, "/metadata/namespace")).filter(|namespace| !namespace.is_empty());
        ObjectRef::new(
            text(manifest, "/kind"),
            Some(namespace.unwrap_or(&attempt.namespace)),
            text(manifest, "/metadata/name"),
        )
    });
    of_record.chain(attempt.kustomization.map(inventory).unwrap_or_default()).collect()
}

/// What a Kustomization waits for: with `wait` all that it has applied, else its health checks.
fn checked(kustomization: &Life) -> Vec<ObjectRef> {
    if kustomization.at("/spec/wait").and_then(Value::as_bool) == Some(true) {
        return inventory(kustomization);
    }
    let checks = kustomization.list("/spec/healthChecks").iter();
    checks
        .map(|check| {
            let namespace = Some(text(check, "/namespace")).filter(|namespace| !namespace.is_empty());
            let namespace = namespace.unwrap_or(kustomization.text("/metadata/namespace"));
            ObjectRef::new(text(check, "/kind"), Some(namespace), text(check, "/name"))
        })
        .collect()
}

/// What a Kustomization has applied, as its status lists it: `namespace_name_group_kind`, a colon in a name written as two underscores.
pub fn inventory(kustomization: &Life) -> Vec<ObjectRef> {
    let entries = kustomization.list("/status/inventory/entries").iter();
    entries
        .filter_map(|entry| {
            let (namespace, rest) = text(entry, "/id").split_once('_')?;
            let (rest, kind) = rest.rsplit_once('_')?;
            let (name, _group) = rest.rsplit_once('_')?;
            let namespace = Some(namespace).filter(|namespace| !namespace.is_empty());
            Some(ObjectRef::new(kind, namespace, name.replace("__", ":")))
        })
        .collect()
}

/// What the engine waited for and was not ready at a moment, as it was then. Objects that were gone are left out.
pub fn not_ready_at(evidence: &Evidence, attempt: &Attempt<'_>, moment: Timestamp) -> Vec<(ObjectRef, Life)> {
    waited_for(evidence, attempt)
        .into_iter()
        .filter_map(|(reference, life)| Some((reference, life.until(moment)?)))
        .filter(|(_, life)| life.exists() && !ready(life) && !jobs_are_ignored(attempt, life))
        .collect()
}

/// Whether the engine has come to the hooks that run after its resources got ready.
pub fn wait_is_over(evidence: &Evidence, attempt: &Attempt<'_>) -> bool {
    let event = format!("post-{}", attempt.operation);
    let begun = attempt.started_at - SignedDuration::from_secs(2);
    let hooks = attempt.record.map(|record| record.hooks.as_slice()).unwrap_or_default();
    let recorded = hooks
        .iter()
        .filter(|hook| hook.events.contains(&event))
        .any(|hook| hook.started_at.is_some_and(|started| started >= begun));
    // The record may be on its way still.
    let seen = || {
        let of_event = |life: &&Life| {
            life.annotation("helm.sh/hook")
                .is_some_and(|events| events.split(',').any(|found| found.trim() == event))
        };
        ["Job", "Pod"]
            .iter()
            .flat_map(|kind| evidence.ever(kind))
            .filter(of_event)
            .any(|life| life.first_seen() >= attempt.started_at && !runs_before(life, attempt))
    };
    recorded || seen()
}

/// Whether a hook runs before the resources, too: that it was seen does not tell which of its runs this is.
fn runs_before(life: &Life, attempt: &Attempt<'_>) -> bool {
    let event = format!("pre-{}", attempt.operation);
    life.annotation("helm.sh/hook")
        .is_some_and(|events| events.split(',').any(|found| found.trim() == event))
}

/// How the pods behind an object were at a moment.
pub fn pods_at(evidence: &Evidence, object: &Life, moment: Timestamp) -> Vec<Life> {
    let pods = match object.text("/kind") {
        "Pod" => vec![object],
        _ => pods_behind(evidence, object),
    };
    pods.into_iter().filter_map(|pod| pod.until(moment)).filter(Life::exists).collect()
}

/// Whether a pod could not start for want of something that does not come by itself: an image, a Secret, a valid specification.
pub fn lacks_something(evidence: &Evidence, pod: &Life) -> bool {
    let started = containers(pod).any(|container| container.running());
    containers(pod).any(|container| CANNOT_START.contains(&container.waiting()))
        || !started && event(evidence, pod, &["FailedMount"]).is_some_and(|event| event_text(event).contains("not found"))
}

/// How far an object is, as a field with its path: `status.availableReplicas: 0 of 1`.
pub fn readiness(life: &Life) -> String {
    let number = |pointer| life.number(pointer).unwrap_or(0);
    let wanted = life.number("/spec/replicas").unwrap_or(1);
    match life.text("/kind") {
        "Deployment" if number("/status/updatedReplicas") < wanted => {
            format!("status.updatedReplicas: {} of {wanted}", number("/status/updatedReplicas"))
        }
        "Deployment" => format!("status.availableReplicas: {} of {wanted}", number("/status/availableReplicas")),
        "StatefulSet" => format!("status.readyReplicas: {} of {wanted}", number("/status/readyReplicas")),
        "DaemonSet" => format!(
            "status.numberReady: {} of {}",
            number("/status/numberReady"),
            number("/status/desiredNumberScheduled")
        ),
        "Job" => format!(
            "status.succeeded: {} of {}",
            number("/status/succeeded"),
            life.at("/spec/completions").and_then(Value::as_i64).unwrap_or(1)
        ),
        "Pod" if life.text("/status/phase") == "Running" => "condition Ready: False".to_owned(),
        _ => format!("status.phase: {}", life.text("/status/phase")),
    }
}
