//! # What it detects
//!
//! A release whose resources get ready by themselves, and need longer than the engine's `timeout`.
//!
//! # Why it happens
//!
//! Engines give the whole `timeout` to the wait for the resources. Large images, migrations at the start, slow probes or a node that comes
//! late take longer than that, and the engine's words are the same as for a rollout that never ends.
//!
//! # Evidence
//!
//! That the wait for the resources used up the timeout and no hook came after it (`last_run` is empty); what was not ready then; that all
//! of it got ready afterwards, unchanged and without anything being made or changed beside it. What could not start for want of
//! something else is no matter of time.
//!
//! # Remedy
//!
//! `raise-timeout`: to at least one and a half times of what the slowest needs.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::diagnosis::attempt::{Attempt, State, attempt, duration};
use crate::diagnosis::cite;
use crate::diagnosis::hooks::blockers;
use crate::diagnosis::limit;
use crate::diagnosis::progress::{JobState, job_state, pods_behind, ready, stuck};
use crate::diagnosis::rollout::{lacks_something, not_ready_at, pods_at, readiness, wait_is_over, waited_for};
use crate::diagnosis::{Certainty, Citation, Class, Detector, Finding};
use crate::evidence::{Evidence, Life, ObjectRef};

pub const DETECTOR: Detector = Detector {
    slug: "rollout-timeout-too-short",
    summary: "the resources of a release need longer than the engine's timeout",
    class: Class::Limit,
    remedies: &["raise-timeout"],
    detect,
};

/// How many slow objects are cited.
const CITED: usize = 3;

fn detect(evidence: &Evidence) -> Vec<Finding> {
    let found = || {
        let attempt = attempt(evidence).filter(|attempt| attempt.state == State::Failed)?;
        let wait = Wait::of(evidence, &attempt)?;
        let slow = slow(evidence, &attempt, &wait)?;
        finding(evidence, &attempt, &wait, &slow)
    };
    found().into_iter().collect()
}

/// The wait for the resources that used up its time.
struct Wait {
    begun: Timestamp,
    budget: SignedDuration,
    gave_up: Timestamp,
}

impl Wait {
    /// Nothing where the engine ended otherwise: in a hook, in a refusal, or before its time.
    fn of(evidence: &Evidence, attempt: &Attempt<'_>) -> Option<Self> {
        let (budget, gave_up) = (attempt.timeout?, attempt.ended_at?);
        let ran_out = attempt.waits_for_resources && attempt.says_time_ran_out() && attempt.took_its_time();
        let of_hooks = || blockers(evidence, attempt).iter().any(|blocker| blocker.event.is_some());
        if !ran_out || attempt.says_hook_failed() || wait_is_over(evidence, attempt) || of_hooks() {
            return None;
        }
        // An engine that went back waited for what was there before, too.
        let newest = evidence.release(&attempt.release).map(|record| record.revision);
        if attempt.record.is_some_and(|record| Some(record.revision) != newest) {
            return None;
        }
        // Hooks that come before the resources have a timeout of their own each: this wait began one timeout before its end.
        let begun = attempt.engine.map(|_| gave_up - budget);
        Some(Self {
            begun: begun.unwrap_or(attempt.started_at).max(attempt.started_at),
            budget,
            gave_up,
        })
    }
}

/// Something that was not ready in time.
struct Slow<'a> {
    reference: ObjectRef,
    then: Life,
    now: &'a Life,
    /// When it got ready after all.
    ready_at: Option<Timestamp>,
}

/// Everything that was not ready in time; nothing where one of it went, was changed, lacked something, or fails still.
fn slow<'a>(evidence: &'a Evidence, attempt: &Attempt<'_>, wait: &Wait) -> Option<Vec<Slow<'a>>> {
    let newest = waited_for(evidence, attempt);
    let late = not_ready_at(evidence, attempt, wait.gave_up);
    let slow: Vec<Slow<'a>> = late
        .into_iter()
        .map(|(reference, then)| {
            let (_, now) = newest
                .iter()
                .find(|(known, life)| known.same(&reference) && life.uid() == then.uid())?;
            let same = now.exists() && now.at("/metadata/generation") == then.at("/metadata/generation");
            let pods = |moment| pods_at(evidence, now, moment);
            let lacked = || pods(wait.gave_up).iter().any(|pod| lacks_something(evidence, pod));
            let ready_at = ready_after(now, wait.gave_up);
            // One that crashed and then got ready needed the time to do so; one that crashes still is told of by that.
            let fails = || matches!(job_state(now), JobState::Failed { .. }) || pods(evidence.now).iter().any(stuck);
            (same && !lacked() && (ready_at.is_some() || !fails())).then_some(Slow {
                reference,
                then,
                now,
                ready_at,
            })
        })
        .collect::<Option<_>>()?;
    (!slow.is_empty()).then_some(slow)
}

/// When an object was first seen ready after a moment.
fn ready_after(life: &Life, moment: Timestamp) -> Option<Timestamp> {
    let later = life.versions.iter().filter(|version| version.at > moment);
    later
        .map(|version| version.at)
        .find(|at| life.until(*at).is_some_and(|then| ready(&then)))
}

/// Something that somebody made or changed between two moments: then what got ready in between did not do so by itself. What has an owner
/// is made by a controller, and what a controller writes is not in the specification.
fn touched(evidence: &Evidence, from: Timestamp, to: Timestamp) -> Option<ObjectRef> {
    const MADE_BY_PEOPLE: &[&str] = &[
        "ConfigMap",
        "DaemonSet",
        "Deployment",
        "Job",
        "Secret",
        "Service",
        "ServiceAccount",
        "StatefulSet",
    ];
    let content = |object: &Value| ["data", "spec"].map(|key| object.get(key).cloned());
    let changed = |life: &&Life| {
        let by_then = life.until(to);
        match (life.until(from), by_then) {
            (None, Some(_)) => true,
            (Some(before), Some(after)) => content(before.object()) != content(after.object()),
            _ => false,
        }
    };
    MADE_BY_PEOPLE
        .iter()
        .flat_map(|kind| evidence.ever(kind))
        .filter(|life| life.list("/metadata/ownerReferences").is_empty())
        // Engines write their records after their end, too.
        .filter(|life| life.text("/type") != "helm.sh/release.v1")
        .find(changed)
        .map(Life::reference)
}

fn finding(evidence: &Evidence, attempt: &Attempt<'_>, wait: &Wait, slow: &[Slow<'_>]) -> Option<Finding> {
    // What is not ready yet is slower than all that is.
    let mut slow: Vec<&Slow<'_>> = slow.iter().collect();
    slow.sort_by_key(|slow| (std::cmp::Reverse(slow.ready_at.unwrap_or(Timestamp::MAX)), slow.reference.clone()));
    let slowest = slow.first()?;
    let need = slowest.ready_at.map(|at| at.duration_since(wait.begun));
    let touched = slowest.ready_at.and_then(|at| touched(evidence, wait.gave_up, at));
    let (certainty, why) = match (need, touched) {
        (None, _) => (
            Certainty::Suspected,
            "it is not ready yet, and nothing says that it cannot get ready".to_owned(),
        ),
        (Some(_), Some(object)) => (
            Certainty::Suspected,
            format!("it got ready after {object} was made or changed, which may be why"),
        ),
        (Some(_), None) => (
            Certainty::Certain,
            "everything got ready by itself after the engine had given up".to_owned(),
        ),
    };
    let name = format!("{} {}", slowest.reference.kind, slowest.reference.name);
    let takes = match need {
        Some(need) => duration(whole(need)),
        None => format!("more than {}", duration(wait.budget)),
    };
    let mut explains: Vec<ObjectRef> = Vec::new();
    for one in &slow {
        explains.push(one.reference.clone());
        explains.extend(pods_behind(evidence, one.now).iter().map(|pod| pod.reference()));
    }
    Some(Finding {
        slug: DETECTOR.slug,
        subject: slowest.reference.clone(),
        statement: format!("{name} needs {takes} to get ready and is given {}", duration(wait.budget)),
        certainty,
        why,
        since: attempt.started_at,
        citations: citations(attempt, wait, &slow),
        explains,
        blames: Vec::new(),
        remedy: Some(limit::raise("raise-timeout", "the engine's timeout", wait.budget, need)),
        alternatives: Vec::new(),
    })
}

/// Whole seconds, rounded up: what needs 8.4 s does not fit into 8 s.
fn whole(duration: SignedDuration) -> SignedDuration {
    SignedDuration::from_secs(duration.as_secs() + i64::from(duration.subsec_nanos() > 0))
}

fn citations(attempt: &Attempt<'_>, wait: &Wait, slow: &[&Slow<'_>]) -> Vec<Citation> {
    let mut citations = Vec::new();
    for one in slow.iter().take(CITED) {
        let then = format!("{} when the engine gave up", readiness(&one.then));
        citations.push(cite::observed(&one.reference, then, Some(wait.gave_up)));
        citations.extend(one.ready_at.map(|at| {
            let after = duration(whole(at.duration_since(wait.begun)));
            cite::observed(&one.reference, format!("ready {after} after the wait began"), Some(at))
        }));
    }
    citations.push(cite::observed(
        &attempt.subject(),
        format!("the engine gave up after {}", duration(wait.budget)),
        Some(wait.gave_up),
    ));
    let hooks = attempt.record.map(|record| record.hooks.as_slice()).unwrap_or_default();
    let later = hooks
        .iter()
        .filter(|hook| hook.started_at.is_none() && hook.events.iter().any(|event| event != "test"));
    citations.extend(later.take(CITED).map(|hook| {
        let reference = ObjectRef::new(hook.kind.clone(), Some(&attempt.namespace), hook.name.clone());
        cite::observed(&reference, "last_run: none, this hook never ran", Some(wait.gave_up))
    }));
    citations
}

#[cfg(test)]
mod tests;
