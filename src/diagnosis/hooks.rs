//! Hooks and other Jobs that run to an end: which there are, which one the engine waits for, and their pods.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::attempt::{Attempt, State, attempt};
use super::engine_words::named;
use super::progress::{JobState, job_state, over_before_remedy, plain, pods_of};
use super::rollout::resource_blockers;
use crate::evidence::{Evidence, Hook, Life, ObjectRef};

/// A Job, or a bare pod that is a hook, over its re-creations within one run of the engine.
#[derive(Debug)]
pub struct Task<'a> {
    /// Without UID.
    pub reference: ObjectRef,
    /// How it is now, or was last.
    pub latest: &'a Life,
    /// All of its pods, in the order of their first sight.
    pub pods: Vec<&'a Life>,
    /// `post-install`, where it is a hook.
    pub event: Option<String>,
}

impl Task<'_> {
    /// `Job keycloak-config (post-install hook)`
    pub fn title(&self) -> String {
        title(&self.reference, self.event.as_deref())
    }

    pub fn state(&self) -> JobState {
        state(self.latest)
    }

    /// Since when it is what it is.
    pub fn created(&self) -> Timestamp {
        self.latest
            .time("/metadata/creationTimestamp")
            .unwrap_or_else(|| self.latest.first_seen())
    }

    /// It and its pods: what does not get ready if it does not end.
    pub fn explains(&self) -> Vec<ObjectRef> {
        let mut explains = vec![self.reference.clone()];
        explains.extend(self.pods.iter().map(|pod| pod.reference()));
        explains
    }
}

/// `Job keycloak-config (post-install hook)`
pub fn title(reference: &ObjectRef, event: Option<&str>) -> String {
    let hook = event.map(|event| format!(" ({event} hook)")).unwrap_or_default();
    format!("{} {}{hook}", reference.kind, reference.name)
}

/// How a Job, or a pod that runs to an end, stands.
pub fn state(life: &Life) -> JobState {
    if life.text("/kind") != "Pod" {
        return job_state(life);
    }
    match life.text("/status/phase") {
        "Succeeded" => JobState::Complete { at: None },
        "Failed" => JobState::Failed {
            reason: life.text("/status/reason").to_owned(),
            at: None,
        },
        _ => JobState::Running,
    }
}

/// The hook event of an object by its own annotation, as far as the operation has one: `pre-install,pre-upgrade` is `pre-upgrade` in an upgrade.
pub fn event_of(life: &Life, operation: Option<&str>) -> Option<String> {
    let annotation = life.annotation("helm.sh/hook")?;
    let events: Vec<_> = annotation.split(',').map(str::trim).collect();
    let of_operation = operation.and_then(|operation| events.iter().find(|event| event.ends_with(operation)));
    of_operation.or(events.first()).map(|event| (*event).to_owned())
}

/// Every Job and hook pod that counts now, sorted by name.
pub fn tasks(evidence: &Evidence) -> Vec<Task<'_>> {
    let attempt = attempt(evidence);
    let since = attempt
        .as_ref()
        .filter(|attempt| attempt.state != State::Succeeded)
        .map(|attempt| attempt.started_at);
    let operation = attempt.as_ref().map(|attempt| attempt.operation.clone());
    let hook_pods = evidence.ever("Pod").filter(|pod| pod.annotation("helm.sh/hook").is_some());
    let mut lives: BTreeMap<(&str, &str, &str), Vec<&Life>> = BTreeMap::new();
    for life in evidence.ever("Job").chain(hook_pods) {
        let counts = life.exists() || life.deleted_at.zip(since).is_some_and(|(gone, since)| gone >= since);
        // A hook that an earlier attempt had left, and that this one takes away to make it anew, says nothing of this one.
        let replaced = life.annotation("helm.sh/hook").is_some() && since.is_some_and(|since| life.first_seen() < since);
        let counts = counts && (life.exists() || !replaced);
        if counts && !over_before_remedy(evidence, life) {
            let key = (life.text("/kind"), life.text("/metadata/namespace"), life.name());
            lives.entry(key).or_default().push(life);
        }
    }
    lives
        .into_values()
        .filter_map(|lives| {
            let latest = lives.last().copied()?;
            let mut pods: Vec<_> = match latest.text("/kind") {
                "Pod" => lives.clone(),
                _ => lives.iter().flat_map(|life| pods_of(evidence, life)).collect(),
            };
            pods.sort_by_key(|pod| pod.first_seen());
            Some(Task {
                reference: plain(&latest.reference()),
                latest,
                pods,
                event: event_of(latest, operation.as_deref()),
            })
        })
        .collect()
}

/// What the engine waits for, or gave up on.
#[derive(Debug, Clone)]
pub struct Blocker {
    pub reference: ObjectRef,
    /// The event, where it is a hook.
    pub event: Option<String>,
    /// When the engine began to wait for it.
    pub since: Timestamp,
    /// When the engine ended its wait.
    pub until: Option<Timestamp>,
    /// It is a Job of the release that is gone, and the engine misses it.
    pub missed: bool,
}

/// What keeps the attempt from its end; nothing where that is not known.
pub fn blockers(evidence: &Evidence, attempt: &Attempt<'_>) -> Vec<Blocker> {
    if attempt.state == State::Succeeded {
        return Vec::new();
    }
    let hooks = hook_blockers(evidence, attempt);
    if !hooks.is_empty() {
        return hooks;
    }
    let resources = resource_blockers(evidence, attempt);
    if !resources.is_empty() || attempt.state == State::Running {
        return resources;
    }
    named_blockers(attempt)
}

fn hook_blockers(evidence: &Evidence, attempt: &Attempt<'_>) -> Vec<Blocker> {
    let begun = attempt.started_at - SignedDuration::from_secs(2);
    let mut hooks: Vec<&Hook> = attempt.record.map(|record| record.hooks.iter().collect()).unwrap_or_default();
    hooks.sort_by_key(|hook| (hook.weight, hook.name.clone(), hook.kind.clone()));
    let blocker = |hook: &Hook| Blocker {
        reference: ObjectRef::new(hook.kind.clone(), Some(&attempt.namespace), hook.name.clone()),
        event: event_of_hook(hook, &attempt.operation),
        since: hook.started_at.unwrap_or(attempt.started_at),
        until: hook.completed_at.or(attempt.ended_at),
        missed: false,
    };
    let started =
        |hook: &&&Hook| hook.started_at.is_some_and(|started| started >= begun) && !hook.events.iter().all(|event| event == "test");
    let failed: Vec<_> = hooks
        .iter()
        .filter(started)
        .filter(|hook| hook.phase == "Failed")
        .map(|hook| blocker(hook))
        .collect();
    if !failed.is_empty() {
        return failed;
    }
    // The record is written before a hook and not after the last one: whether that has ended, its object tells.
    let running: Vec<_> = hooks
        .iter()
        .filter(started)
        .filter(|hook| hook.completed_at.is_none() && hook.phase != "Succeeded")
        .filter(|hook| !has_succeeded(evidence, &hook.kind, &hook.name, attempt.ended_at))
        .map(|hook| blocker(hook))
        .collect();
    if !running.is_empty() {
        return running;
    }
    // The record may be on its way still, or unreadable.
    let recorded = |life: &Life| hooks.iter().any(|hook| hook.name == life.name() && hook.started_at.is_some());
    tasks(evidence)
        .iter()
        .filter(|task| task.latest.first_seen() >= begun && !recorded(task.latest))
        .filter(|task| !of_another_release(evidence, attempt, task.latest))
        .filter(|task| !matches!(task.state(), JobState::Complete { .. }))
        .filter(|task| task.event.as_ref().is_some_and(|event| event.ends_with(&attempt.operation)))
        .map(|task| Blocker {
            reference: task.reference.clone(),
            event: task.event.clone(),
            since: task.latest.first_seen(),
            until: attempt.ended_at,
            missed: false,
        })
        .collect()
}

/// Whether another release has a hook of this kind and name.
fn of_another_release(evidence: &Evidence, attempt: &Attempt<'_>, life: &Life) -> bool {
    let others = evidence.releases.values().filter(|(_, record)| record.name != attempt.release);
    others
        .flat_map(|(_, record)| &record.hooks)
        .any(|hook| hook.kind == life.text("/kind") && hook.name == life.name())
}

/// The event of a recorded hook that belongs to the operation.
pub fn event_of_hook(hook: &Hook, operation: &str) -> Option<String> {
    hook.events
        .iter()
        .find(|event| event.ends_with(operation))
        .or(hook.events.first())
        .cloned()
}

/// Whether the object had ended with success before the engine's end; for kinds that do not run, whether it is there.
fn has_succeeded(evidence: &Evidence, kind: &str, name: &str, until: Option<Timestamp>) -> bool {
    let newest = evidence
        .ever(kind)
        .filter(|life| life.name() == name)
        .max_by_key(|life| life.first_seen());
    newest.is_some_and(|life| match kind {
        "Job" | "Pod" => {
            matches!(state(life), JobState::Complete { .. })
                && until.is_none_or(|until| seen_complete(life).is_some_and(|complete| complete <= until))
        }
        _ => true,
    })
}

/// When a Job or a pod that runs to an end was first seen to have ended with success.
pub fn seen_complete(life: &Life) -> Option<Timestamp> {
    let complete = |object: &Value| {
        let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
        let text = |found: &Value, key: &str| found.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        conditions
            .into_iter()
            .flatten()
            .any(|found| matches!(text(found, "type").as_str(), "Complete" | "SuccessCriteriaMet") && text(found, "status") == "True")
            || object.pointer("/status/phase").and_then(Value::as_str) == Some("Succeeded")
    };
    life.versions
        .iter()
        .find(|version| complete(&version.object))
        .map(|version| version.at)
}

/// The objects that the engine names in its last words.
fn named_blockers(attempt: &Attempt<'_>) -> Vec<Blocker> {
    let mut blockers: Vec<Blocker> = Vec::new();
    for named in named(attempt) {
        let missed = named.misses_job();
        match blockers.iter_mut().find(|known| known.reference.same(&named.object)) {
            Some(known) => known.missed |= missed,
            None => blockers.push(Blocker {
                reference: named.object,
                event: None,
                since: attempt.started_at,
                until: attempt.ended_at,
                missed,
            }),
        }
    }
    blockers
}
