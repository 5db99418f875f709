//! # What it detects
//!
//! A pod that no node takes and for which no autoscaler will ever start one: no node has the label that it selects, or a taint that it
//! does not tolerate keeps it away.
//!
//! # Why it happens
//!
//! A chart selects a pool by a label that is called otherwise in this cluster, or whose value was renamed; or the pool is there and is
//! tainted for others. It looks like a cold start: the pod is Pending, and `FailedScheduling` is said in the same words. But nobody is
//! on the way.
//!
//! # Evidence
//!
//! The pod's condition `PodScheduled` or the event `FailedScheduling`, whose objections are all of selectors and taints; the selector's
//! key and value; which values the nodes have for that key; and the autoscaler's `NotTriggerScaleUp`, or that none has said anything.
//! After `TriggeredScaleUp` a node is on its way, and where something else is missing on a node that would do, the selector is innocent.
//! Certain once an autoscaler has refused, once the engine has given up, or without an engine after a minute of silence.
//!
//! # Remedy
//!
//! `fix-node-selector` to the value that a node has for that key; `drop-node-selector` where no node has the key; `tolerate-taint` where
//! the labels fit and a taint does not.

use jiff::SignedDuration;

use crate::diagnosis::attempt::{State, attempt, duration};
use crate::diagnosis::cite;
use crate::diagnosis::held_up::held_up;
use crate::diagnosis::hooks::tasks;
use crate::diagnosis::nodes::{Requirement, Taint, Wish, passes, spread};
use crate::diagnosis::progress::{controller, event_text, plain, relevant};
use crate::diagnosis::scheduling::{Autoscaler, Objection, Placement, Scheduling, objections};
use crate::diagnosis::writers::by_hand_in_pod;
use crate::diagnosis::{Certainty, Class, Detector, Finding};
use crate::evidence::manifest::pod_spec;
use crate::evidence::{Evidence, Life, ObjectRef};
use crate::remedy::Remedy;

pub const DETECTOR: Detector = Detector {
    slug: "node-selector-unsatisfiable",
    summary: "no node has the labels that a pod selects, and no autoscaler will start one",
    class: Class::Specific,
    remedies: &["drop-node-selector", "fix-node-selector", "tolerate-taint"],
    detect,
};

/// How long an autoscaler that is at work may take to say something about a pod: its usual pause between two looks.
const LOOKS: SignedDuration = SignedDuration::from_secs(10);
/// After how long without an engine and without a word from any autoscaler there is none.
const SILENCE: SignedDuration = SignedDuration::from_secs(60);

fn detect(evidence: &Evidence) -> Vec<Finding> {
    let scheduling = Scheduling::of(evidence);
    if scheduling.unplaced().is_empty() {
        return Vec::new();
    }
    let nodes: Vec<&Life> = evidence.all("Node").collect();
    let mut found: Vec<(&Life, Finding)> = Vec::new();
    for pod in relevant(evidence, "Pod").into_iter().filter(|pod| counts(evidence, pod)) {
        let Some(placement) = scheduling.placement(pod) else { continue };
        let Some(cause) = cause(&placement, &nodes) else { continue };
        found.push((pod, finding(evidence, &scheduling, &placement, &cause, &nodes)));
    }
    if !found.is_empty() {
        // Whoever asks for what runs in such a pod waits for the same reason.
        for task in tasks(evidence) {
            let Some(held) = held_up(evidence, &scheduling, &task) else {
                continue;
            };
            for (_, finding) in found.iter_mut().filter(|(pod, _)| pod.uid() == held.placement.pod.uid()) {
                finding.explains.extend(task.explains());
            }
        }
    }
    found.into_iter().map(|(_, finding)| finding).collect()
}

/// Whether a pod still waits for a node, or did when an engine took it away together with what runs it.
fn counts(evidence: &Evidence, pod: &Life) -> bool {
    if !pod.text("/spec/nodeName").is_empty() || matches!(pod.text("/status/phase"), "Running" | "Succeeded" | "Failed") {
        return false;
    }
    if pod.exists() && pod.text("/metadata/deletionTimestamp").is_empty() {
        return true;
    }
    let owner = controller(evidence, pod);
    owner != plain(&pod.reference()) && !evidence.all(&owner.kind).any(|life| owner == plain(&life.reference()))
}

/// What keeps a pod away from every node.
enum Cause<'a> {
    Selector {
        requirement: Requirement,
        available: Option<&'a str>,
    },
    Taint {
        key: String,
        value: String,
        effect: String,
    },
}

fn cause<'a>(placement: &Placement<'_>, nodes: &[&'a Life]) -> Option<Cause<'a>> {
    if placement.scale_up().is_some() || placement.scheduled_at.is_some() {
        return None;
    }
    let mut objections = objections(placement.refusal);
    if objections.is_empty() {
        return None;
    }
    if let Some(Autoscaler::Refuses(event)) = placement.autoscaler {
        objections.extend(self::objections(event_text(event)));
    }
    // A node that passes the scheduler's first questions and fails at another one is selected well enough.
    if objections.iter().any(|objection| matches!(objection, Objection::Other(_))) {
        return None;
    }
    let spec = pod_spec(placement.pod.object())?;
    let wish = Wish::of(spec);
    if nodes.is_empty() && !objections.contains(&Objection::Selector) {
        return objections.into_iter().find_map(of_words);
    }
    if let Some(requirement) = wish.unsatisfied(nodes) {
        return Some(Cause::Selector {
            requirement: requirement.clone(),
            available: wish.available(requirement, nodes),
        });
    }
    let taints: Vec<Vec<Taint<'_>>> = wish.selected(nodes).into_iter().map(|node| wish.untolerated(node)).collect();
    // A node that has nothing against it was not asked yet; one whose taint passes will be asked again.
    if taints.iter().any(|taints| taints.iter().all(Taint::passes)) {
        return None;
    }
    let fewest = taints.into_iter().min_by_key(Vec::len)?;
    let taint = fewest.into_iter().find(|taint| !taint.passes())?;
    Some(Cause::Taint {
        key: taint.key.to_owned(),
        value: taint.value.to_owned(),
        effect: taint.effect.to_owned(),
    })
}

/// The taint that the scheduler names.
fn of_words(objection: Objection) -> Option<Cause<'static>> {
    match objection {
        Objection::Taint(Some((key, value))) if !passes(&key) => Some(Cause::Taint {
            key,
            value,
            effect: String::new(),
        }),
        _ => None,
    }
}

fn finding(evidence: &Evidence, scheduling: &Scheduling<'_>, placement: &Placement<'_>, cause: &Cause<'_>, nodes: &[&Life]) -> Finding {
    let pod = placement.pod;
    let subject = controller(evidence, pod);
    let (certainty, why) = certainty(evidence, scheduling, placement);
    let mut citations = vec![cite::refusal(placement)];
    match cause {
        Cause::Selector { requirement, .. } => {
            let text = format!("{}: {}", requirement.origin, requirement.describe());
            citations.push(cite::declared(&subject, text));
            citations.extend(by_hand_in_pod(evidence, pod, requirement.origin.trim_start_matches("spec.")));
            if !nodes.is_empty() {
                citations.push(cite::inferred(&subject, spread(nodes, &requirement.key)));
            }
        }
        Cause::Taint { key, value, effect } => {
            citations.push(cite::declared(
                &subject,
                format!("spec.tolerations: none for {}", taint(key, value, effect)),
            ));
        }
    }
    if let Some(Autoscaler::Refuses(event)) = placement.autoscaler {
        let text = format!("event NotTriggerScaleUp: {}", event_text(event).trim());
        citations.push(cite::observed(&pod.reference(), text, Some(event.first_seen())));
    }
    Finding {
        slug: DETECTOR.slug,
        statement: match cause {
            Cause::Selector { requirement, .. } => format!(
                "no node has {}, which {} {} selects",
                requirement.describe(),
                subject.kind,
                subject.name
            ),
            Cause::Taint { key, value, effect } => format!(
                "{} {} does not tolerate {}, and no other node would take it",
                subject.kind,
                subject.name,
                taint(key, value, effect)
            ),
        },
        certainty,
        why,
        since: placement.since,
        citations,
        explains: vec![pod.reference(), subject.clone()],
        blames: Vec::new(),
        remedy: Some(remedy(&subject, cause)),
        alternatives: Vec::new(),
        subject,
    }
}

/// `the taint team=red:NoSchedule`
fn taint(key: &str, value: &str, effect: &str) -> String {
    let value = if value.is_empty() { String::new() } else { format!("={value}") };
    let effect = if effect.is_empty() { String::new() } else { format!(":{effect}") };
    format!("the taint {key}{value}{effect}")
}

fn certainty(evidence: &Evidence, scheduling: &Scheduling<'_>, placement: &Placement<'_>) -> (Certainty, String) {
    if matches!(placement.autoscaler, Some(Autoscaler::Refuses(_))) {
        let why = "the autoscaler says that no node that it could start would take it either";
        return (Certainty::Certain, why.to_owned());
    }
    let waits = evidence.since(placement.since);
    let may_speak = scheduling.has_autoscaler() && waits < LOOKS;
    match attempt(evidence).map(|attempt| attempt.state) {
        Some(State::Failed) if !may_speak => (
            Certainty::Certain,
            "the engine has given up, and no autoscaler has said that it starts a node".to_owned(),
        ),
        None | Some(State::Succeeded) if evidence.watched("Node") && waits >= SILENCE => (
            Certainty::Certain,
            format!("no autoscaler has said anything about it in {}", duration(waits)),
        ),
        _ => (Certainty::Suspected, "an autoscaler may still start a node for it".to_owned()),
    }
}

fn remedy(subject: &ObjectRef, cause: &Cause<'_>) -> Remedy {
    let what = format!("{} {}", subject.kind, subject.name);
    let remedy = match cause {
        Cause::Selector {
            requirement,
            available: Some(available),
        } => Remedy::new(
            "fix-node-selector",
            format!("let {what} select {}={available}, which nodes have", requirement.key),
        )
        .with("available", *available)
        .with("key", &requirement.key)
        .with("value", requirement.value()),
        Cause::Selector { requirement, .. } => Remedy::new(
            "drop-node-selector",
            format!("let {what} select no {}, or give that label to a node", requirement.key),
        )
        .with("key", &requirement.key)
        .with("value", requirement.value()),
        Cause::Taint { key, value, effect } => Remedy::new("tolerate-taint", format!("let {what} tolerate {}", taint(key, value, effect)))
            .with("key", key)
            .with("value", value)
            .with("effect", effect),
    };
    remedy.with("workload", &subject.name)
}

#[cfg(test)]
mod tests;
