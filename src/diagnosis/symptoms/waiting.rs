//! What is to be seen of Jobs that ask for a server whose pod has no node yet: that they do, and below it the pod.

use super::workloads::add_task;
use super::{Symptom, Symptoms};
use crate::diagnosis::attempt::{attempt, duration};
use crate::diagnosis::held_up::{HeldUp, held_up};
use crate::diagnosis::hooks::{Task, tasks};
use crate::diagnosis::logs::quoted;
use crate::diagnosis::progress::{JobState, controller};
use crate::diagnosis::scheduling::Scheduling;
use crate::diagnosis::waits::Ending;
use crate::evidence::Evidence;

/// Adds what such Jobs wait for below what is to be seen of their pods.
pub fn add(evidence: &Evidence, symptoms: &mut Symptoms) {
    let scheduling = Scheduling::of(evidence);
    if scheduling.unplaced().is_empty() {
        return;
    }
    for task in tasks(evidence) {
        let Some(held) = held_up(evidence, &scheduling, &task) else {
            continue;
        };
        let failed = matches!(task.state(), JobState::Failed { .. });
        if !symptoms.holds(&task.reference) && (failed || attempt(evidence).is_none()) {
            add_task(evidence, symptoms, &task);
        }
        let asks = held.wait.pod.reference();
        let Some(index) = symptoms.all.iter().rposition(|symptom| symptom.concerns(&asks)) else {
            continue;
        };
        if let Some(statement) = gave_up(evidence, &task, &held) {
            symptoms.all[index].statement = statement;
        }
        let pod = held.placement.pod;
        symptoms.push(Symptom {
            subject: pod.reference(),
            about: vec![controller(evidence, pod)],
            statement: waited(&held),
            since: held.placement.since,
            by: evidence.now,
            parent: Some(index),
            settled: symptoms.all[index].settled,
        });
    }
}

/// `pod mint-x gave up after 60 tries in 5m00s: "waiting for the api (60/60)"`
fn gave_up(evidence: &Evidence, task: &Task<'_>, held: &HeldUp<'_>) -> Option<String> {
    let wait = &held.wait;
    if !matches!(wait.ending, Ending::GaveUp { .. }) {
        return None;
    }
    let tries = wait.tries().map(|tries| format!("{tries} tries in ")).unwrap_or_default();
    let after = duration(wait.waited(evidence.now));
    let said = wait
        .repeated
        .as_ref()
        .map(|repeated| format!(": {}", quoted(&repeated.text)))
        .unwrap_or_default();
    Some(match task.pods.len() {
        0 | 1 => format!("pod {} gave up after {tries}{after}{said}", wait.pod.name()),
        times => format!(
            "the {times} pods of {} gave up, the last one after {tries}{after}{said}",
            task.reference
        ),
    })
}

/// `pod gitea-0 is Pending: 0/1 nodes are available: …`
fn waited(held: &HeldUp<'_>) -> String {
    let placement = &held.placement;
    let name = placement.pod.name();
    match (placement.scheduled_at, placement.refusal) {
        (Some(scheduled), _) => {
            let waited = duration(scheduled.duration_since(placement.since));
            format!("pod {name} was Pending for {waited}, until there was a node for it")
        }
        (None, "") => format!("pod {name} is Pending: no node takes it"),
        (None, refusal) => format!("pod {name} is Pending: {refusal}"),
    }
}
