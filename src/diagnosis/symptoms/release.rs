//! What is to be seen of the release: what the engine waits for, or what it gave up on.

use jiff::SignedDuration;

use super::{Symptom, Symptoms, workloads};
use crate::diagnosis::attempt::{Attempt, State, attempt, duration};
use crate::diagnosis::hooks::{Blocker, blockers, title};
use crate::diagnosis::logs::quoted;
use crate::evidence::Evidence;

/// Adds the release, and below it everything that it waits for.
pub fn add(evidence: &Evidence, symptoms: &mut Symptoms) {
    let Some(attempt) = attempt(evidence).filter(|attempt| attempt.state != State::Succeeded) else {
        return;
    };
    let blockers = blockers(evidence, &attempt);
    if attempt.state == State::Running && blockers.is_empty() {
        return;
    }
    let settled = attempt.state == State::Failed;
    // A wait shows as soon as it lasts, a failure when it is there: what came about in between may be its cause.
    let since = match attempt.state {
        State::Failed => attempt.ended_at.unwrap_or(evidence.now),
        _ => blockers.iter().map(|blocker| blocker.since).min().unwrap_or(attempt.started_at),
    };
    let parent = stalled(&attempt).map(|statement| {
        symptoms.push(Symptom {
            subject: attempt.subject(),
            about: Vec::new(),
            statement,
            since,
            parent: None,
            settled,
        })
    });
    let release = symptoms.push(Symptom {
        subject: attempt.subject(),
        about: blockers.iter().map(|blocker| blocker.reference.clone()).collect(),
        statement: statement(&attempt, &blockers),
        since,
        parent,
        settled,
    });
    for blocker in &blockers {
        workloads::add_below(evidence, symptoms, release, blocker, settled);
    }
}

/// `HelmRelease openhands/openhands is stalled after 2 attempts`
fn stalled(attempt: &Attempt<'_>) -> Option<String> {
    let life = attempt.helm_release.filter(|life| life.condition("Stalled") == "True")?;
    let failures = life
        .number("/status/installFailures")
        .or(life.number("/status/upgradeFailures"))
        .or(life.number("/status/failures"))
        .filter(|failures| *failures > 0);
    let after = match failures {
        Some(1) => " after 1 attempt".to_owned(),
        Some(failures) => format!(" after {failures} attempts"),
        None => String::new(),
    };
    let namespace = life.text("/metadata/namespace");
    Some(format!("HelmRelease {namespace}/{} is stalled{after}", life.name()))
}

fn statement(attempt: &Attempt<'_>, blockers: &[Blocker]) -> String {
    let (release, operation) = (&attempt.release, &attempt.operation);
    let titles: Vec<String> = blockers
        .iter()
        .map(|blocker| title(&blocker.reference, blocker.event.as_deref()))
        .collect();
    let what = match titles.as_slice() {
        [] => String::new(),
        [one] => one.clone(),
        [some @ .., last] => format!("{} and {last}", some.join(", ")),
    };
    if attempt.state == State::Running {
        return format!("the {operation} of {release} is waiting for {what}");
    }
    let timed_out = attempt.timeout.filter(|timeout| {
        let tolerance = SignedDuration::from_secs(1);
        let words = attempt.words();
        blockers.iter().any(|blocker| {
            blocker
                .until
                .is_some_and(|until| until.duration_since(blocker.since) + tolerance >= *timeout)
        }) && !words.contains("BackoffLimitExceeded")
            || ["timed out waiting", "timeout waiting", "context deadline exceeded"].iter().any(|wait| words.contains(wait))
    });
    match (timed_out, what.as_str()) {
        (Some(timeout), "") => format!("{release}: its {operation} timed out after {}", duration(timeout)),
        (Some(timeout), what) => format!("{release}: its {operation} timed out after {} waiting for {what}", duration(timeout)),
        (None, "") => match attempt.words().lines().rev().map(str::trim).find(|line| !line.is_empty()) {
            Some(line) => format!("{release}: its {operation} failed: {}", quoted(line)),
            None => format!("{release}: its {operation} failed"),
        },
        (None, what) => format!("{release}: its {operation} failed at {what}"),
    }
}
