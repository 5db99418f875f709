//! # What it detects
//!
//! A container that exits with an error again and again, or a Job whose pods did so until it was given up.
//!
//! # Why it happens
//!
//! For many reasons, and this names none of them: any finding that does wins over it.
//!
//! # Evidence
//!
//! The exit code and reason of the container's last end, how often it was started, the back-off, and its last lines.
//!
//! # Remedy
//!
//! `fix-container`: whatever its last lines say.

use crate::diagnosis::attempt::{attempt, engine_gave_up, engine_is_patient};
use crate::diagnosis::cite;
use crate::diagnosis::hooks::{blockers, tasks};
use crate::diagnosis::logs::{last, lines};
use crate::diagnosis::progress::{Container, JobState, containers, controller, job_state, relevant};
use crate::diagnosis::references::text;
use crate::diagnosis::{Certainty, Class, Detector, Finding};
use crate::evidence::{Evidence, Life, ObjectRef};
use crate::remedy::Remedy;

pub const DETECTOR: Detector = Detector {
    slug: "crash-loop",
    summary: "a container exits with an error again and again",
    class: Class::Generic,
    remedies: &["fix-container"],
    detect,
};

fn detect(evidence: &Evidence) -> Vec<Finding> {
    let mut findings: Vec<Finding> = relevant(evidence, "Pod")
        .into_iter()
        .filter(|pod| !pod.list("/metadata/ownerReferences").iter().any(|owner| text(owner, "/kind") == "Job"))
        .filter_map(|pod| of_pod(evidence, pod))
        .collect();
    findings.extend(tasks(evidence).iter().filter(|task| task.reference.kind == "Job").filter_map(|task| {
        let failed = matches!(job_state(task.latest), JobState::Failed { .. });
        if matches!(job_state(task.latest), JobState::Complete { .. }) {
            return None;
        }
        let crashed = task.pods.iter().filter(|pod| crash(pod).is_some()).count();
        let pod = task.pods.iter().rev().find(|pod| crash(pod).is_some())?;
        let container = crash(pod)?;
        // One end may be the first of few; a second one says that it is the rule.
        if !failed && crashed < 2 && container.restarts() < 1 && !engine_gave_up(evidence) {
            return None;
        }
        let (certainty, why) = match job_state(task.latest) {
            JobState::Failed { reason, .. } => (Certainty::Certain, format!("the Job has failed for good: {reason}")),
            _ if engine_gave_up(evidence) => (Certainty::Certain, "the engine has given up".to_owned()),
            _ => (Certainty::Suspected, "the Job may still try again".to_owned()),
        };
        let mut finding = finding(evidence, pod, &container, task.reference.clone(), certainty, why);
        finding.explains = task.explains();
        finding.since = task.created();
        Some(finding)
    }));
    findings
}

/// The container of a pod that has ended with an error and was not left at that.
fn crash(pod: &Life) -> Option<Container<'_>> {
    containers(pod).find(|container| container.exit_code().is_some_and(|code| code != 0) && !container.succeeded())
}

fn of_pod(evidence: &Evidence, pod: &Life) -> Option<Finding> {
    let container = crash(pod)?;
    // One that runs and is ready again has recovered.
    if container.running() && pod.condition("Ready") == "True" {
        return None;
    }
    let restarts = container.restarts();
    let in_loop = container.waiting() == "CrashLoopBackOff" || restarts >= 2;
    if !in_loop && !(engine_gave_up(evidence) && restarts >= 1) {
        return None;
    }
    let top = controller(evidence, pod);
    let waited_for = engine_is_patient(evidence)
        && attempt(evidence).is_some_and(|attempt| blockers(evidence, &attempt).iter().any(|blocker| blocker.reference.same(&top)));
    let (certainty, why) = if engine_gave_up(evidence) {
        (Certainty::Certain, "the engine has given up".to_owned())
    } else if waited_for || restarts < 3 {
        (Certainty::Suspected, "it is started again and may recover".to_owned())
    } else {
        (Certainty::Certain, format!("it was started again {restarts} times without success"))
    };
    Some(finding(evidence, pod, &container, top, certainty, why))
}

fn finding(evidence: &Evidence, pod: &Life, container: &Container<'_>, subject: ObjectRef, certainty: Certainty, why: String) -> Finding {
    let code = container.exit_code().unwrap_or_default();
    let ended = container.ended();
    let reason = ended.map(|ended| text(ended, "/reason")).filter(|reason| !matches!(*reason, "" | "Error"));
    let reason = reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
    let at = ended.and_then(|ended| text(ended, "/finishedAt").parse().ok());
    let status = format!("container {} terminated: exit code {code}{reason}, {} restarts", container.name, container.restarts());
    let mut citations = vec![cite::observed(&pod.reference(), status, at)];
    if container.waiting() == "CrashLoopBackOff" {
        let text = format!("container {} waits: CrashLoopBackOff: {}", container.name, container.waiting_message());
        citations.push(cite::observed(&pod.reference(), text, None));
    }
    let printed = lines(evidence, pod.uid(), container.name);
    citations.extend(last(printed, 3).into_iter().map(|line| cite::printed(&pod.reference(), line)));
    let remedy = Remedy::new("fix-container", format!("mend what container {} exits with {code} for", container.name))
        .with("container", container.name)
        .with("exit_code", code.to_string());
    Finding {
        slug: DETECTOR.slug,
        statement: format!("container {} exits with {code}{reason} again and again", container.name),
        certainty,
        why,
        since: pod.time("/metadata/creationTimestamp").unwrap_or_else(|| pod.first_seen()),
        citations,
        explains: vec![pod.reference(), subject.clone()],
        blames: Vec::new(),
        subject,
        remedy: Some(remedy),
    }
}
