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
use crate::diagnosis::needs::blamed_by;
use crate::diagnosis::progress::{Container, JobState, containers, controller, job_state, killed, relevant};
use crate::diagnosis::{Certainty, Citation, Class, Detector, Finding};
use crate::evidence::manifest::text;
use crate::evidence::{Evidence, Life, ObjectRef, moment};
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
        .filter(|pod| {
            !pod.list("/metadata/ownerReferences")
                .iter()
                .any(|owner| text(owner, "/kind") == "Job")
        })
        .filter_map(|pod| of_pod(evidence, pod))
        .collect();
    findings.extend(
        tasks(evidence)
            .iter()
            .filter(|task| task.reference.kind == "Job")
            .filter_map(|task| {
                let failed = matches!(job_state(task.latest), JobState::Failed { .. });
                if matches!(job_state(task.latest), JobState::Complete { .. }) {
                    return None;
                }
                let crashed: Vec<&Life> = task.pods.iter().copied().filter(|pod| crash(pod).is_some()).collect();
                let pod = *crashed.last()?;
                let container = crash(pod)?;
                // One end may be the first of few; a second one says that it is the rule.
                if !failed && crashed.len() < 2 && container.restarts() < 1 && !engine_gave_up(evidence) {
                    return None;
                }
                let (certainty, why) = match job_state(task.latest) {
                    JobState::Failed { reason, .. } => (Certainty::Certain, format!("the Job has failed for good: {reason}")),
                    _ if engine_gave_up(evidence) => (Certainty::Certain, "the engine has given up".to_owned()),
                    _ => (Certainty::Suspected, "the Job may still try again".to_owned()),
                };
                let mut finding = finding(evidence, &crashed, &container, task.reference.clone(), certainty, why)?;
                if let JobState::Failed { reason, at } = job_state(task.latest) {
                    let condition = cite::observed(&task.reference, format!("condition Failed: {reason}"), at);
                    finding.citations.insert(finding.citations.len().min(2), condition);
                }
                finding.explains = task.explains();
                finding.since = task.created();
                Some(finding)
            }),
    );
    findings
}

/// The container of a pod that has ended with an error and was not left at that.
fn crash(pod: &Life) -> Option<Container<'_>> {
    containers(pod).find(|container| {
        container.exit_code().is_some_and(|code| code != 0)
            && !container.succeeded()
            && !(container.restarts() == 0 && killed(pod, container))
    })
}

fn of_pod(evidence: &Evidence, pod: &Life) -> Option<Finding> {
    let container = crash(pod)?;
    // One that runs and is ready again has recovered.
    if container.running() && pod.condition("Ready") == "True" {
        return None;
    }
    let restarts = container.restarts();
    let in_loop = container.waiting() == "CrashLoopBackOff" || restarts >= 2;
    let gave_up = engine_gave_up(evidence);
    if !in_loop && (!gave_up || restarts == 0) {
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
    finding(evidence, &[pod], &container, top, certainty, why)
}

/// `pods` are those that ended so, the newest last; `container` is the newest one's.
fn finding(
    evidence: &Evidence,
    pods: &[&Life],
    container: &Container<'_>,
    subject: ObjectRef,
    certainty: Certainty,
    why: String,
) -> Option<Finding> {
    let pod = pods.last()?;
    let code = container.exit_code().unwrap_or_default();
    let ended = container.ended();
    let reason = ended
        .map(|ended| text(ended, "/reason"))
        .filter(|reason| !matches!(*reason, "" | "Error"));
    let reason = reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
    let at = ended.and_then(|ended| moment::parse(text(ended, "/finishedAt")));
    let times = match (pods.len(), container.restarts()) {
        (2.., 0) => format!(", in {} pods", pods.len()),
        (2.., restarts) => format!(", in {} pods, the last one with {restarts} restarts", pods.len()),
        (_, 0) => String::new(),
        (_, restarts) => format!(", {restarts} restarts"),
    };
    let again = if times.is_empty() {
        format!("exited with {code}{reason}")
    } else {
        format!("exits with {code}{reason} again and again")
    };
    let status = format!("container {} terminated: exit code {code}{reason}{times}", container.name);
    let printed = last(lines(evidence, pod.uid(), container.name), 3);
    let printed = printed.into_iter().rev().map(|line| cite::printed(&pod.reference(), line));
    let mut citations: Vec<Citation> = printed.collect();
    // Its last words tell most, and of them the last.
    citations.insert(citations.len().min(1), cite::observed(&pod.reference(), status, at));
    if container.waiting() == "CrashLoopBackOff" {
        let text = format!(
            "container {} waits: CrashLoopBackOff: {}",
            container.name,
            container.waiting_message()
        );
        citations.push(cite::observed(&pod.reference(), text, None));
    }
    let remedy = Remedy::new(
        "fix-container",
        format!("mend what container {} exits with {code} for", container.name),
    )
    .with("container", container.name)
    .with("exit_code", code.to_string());
    Some(Finding {
        slug: DETECTOR.slug,
        statement: format!("container {} {again}", container.name),
        certainty,
        why,
        since: pod.time("/metadata/creationTimestamp").unwrap_or_else(|| pod.first_seen()),
        citations,
        explains: vec![pod.reference(), subject.clone()],
        // Whoever does not answer it is why it ends.
        blames: blamed_by(evidence, pod, container.name),
        subject,
        remedy: Some(remedy),
        alternatives: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::diagnosis::fixture::*;

    const SLUG: &str = "crash-loop";

    fn crashing(set: &Value, times: u32) -> Value {
        restarted(
            pod_of(set, "p", waiting("CrashLoopBackOff", "back-off 10s restarting failed container")),
            times,
            137,
        )
    }

    #[test]
    fn a_deployment_that_crashes_is_certain_when_the_engine_gives_up() {
        let (deployment, set) = deployment("search", json!({"image": "search:1"}), 0);
        let mut scene = Scene::new();
        scene
            .engine(20_000, "watcher")
            .at(100)
            .record("pending-install", vec![], vec![deployment.clone()])
            .object(deployment)
            .object(set.clone());
        for (times, at) in [(1, 2000), (2, 6000), (3, 15_000)] {
            scene
                .at(at)
                .object(pod_of(&set, "p", running()))
                .log("search-7f9c-p", "search", "cannot read index");
            scene.at(at + 500).object(crashing(&set, times));
        }
        scene.never_certain();
        scene.at(20_200).engine_says("context deadline exceeded").engine_ends(1);
        scene.settles_on(&[(SLUG, "Deployment/search")]);
        let cause = &scene.diagnosis().causes[0];
        assert!(cause.citations.iter().any(|citation| citation.text == "\"cannot read index\""));
        assert_eq!(
            cause.remedy.as_ref().map(|remedy| remedy.parameters["exit_code"].as_str()),
            Some("137")
        );
    }

    #[test]
    fn a_job_that_failed_for_good_is_certain() {
        let job = hook_job("seed", "post-install", json!({"image": "seed:1"}));
        let mut scene = Scene::new();
        scene.engine(60_000, "hookOnly").at(100);
        let hook = scene.running_hook(&job, "post-install");
        scene.record("pending-install", vec![hook], vec![]).object(job.clone());
        scene.at(1000).object(phase(pod_of(&job, "a", terminated(2)), "Failed"));
        scene.at(12_000).object(phase(pod_of(&job, "b", terminated(2)), "Failed"));
        scene
            .log("seed-b", "seed", "usage: seed FILE")
            .log("seed-b", "seed", "no seeds given");
        scene.never_certain();
        scene.at(12_100).object(with_condition(job, "Failed", "BackoffLimitExceeded"));
        scene.settles_on(&[(SLUG, "Job/seed")]);
        let cause = &scene.diagnosis().causes[0];
        assert_eq!(cause.statement, "container seed exits with 2 again and again");
        let chain: Vec<_> = cause.chain.iter().map(|link| link.statement.as_str()).collect();
        assert_eq!(
            chain[1..],
            [
                "Job seed failed: BackoffLimitExceeded",
                "Job seed: its container seed exited with 2, 2 times"
            ]
        );
        let cited: Vec<_> = cause.citations.iter().map(|citation| citation.text.as_str()).collect();
        assert_eq!(
            cited,
            [
                "\"no seeds given\"",
                "container seed terminated: exit code 2, in 2 pods",
                "condition Failed: BackoffLimitExceeded",
                "\"usage: seed FILE\"",
            ]
        );
    }

    #[test]
    fn a_pod_that_its_jobs_deadline_ended_did_not_crash() {
        let job = hook_job("seed", "post-install", json!({"image": "seed:1"}));
        let mut scene = Scene::new();
        scene.engine(60_000, "hookOnly").at(100).object(job.clone());
        scene.at(1000).object(pod_of(&job, "a", running()));
        let mut ended = phase(pod_of(&job, "a", terminated(143)), "Failed");
        ended["metadata"]["deletionTimestamp"] = json!("2026-01-02T03:04:26Z");
        ended["metadata"]["deletionGracePeriodSeconds"] = json!(1);
        ended["status"]["containerStatuses"][0]["state"]["terminated"]["finishedAt"] = json!("2026-01-02T03:04:25Z");
        scene
            .at(20_000)
            .object(with_condition(job, "Failed", "DeadlineExceeded"))
            .at(20_200)
            .object(ended)
            .at(20_400)
            .engine_ends(1);
        scene.never_certain();
        assert!(!scene.diagnosis().unexplained.is_empty());
    }

    #[test]
    fn one_that_recovers_is_silent() {
        let (deployment_, set) = deployment("search", json!({"image": "search:1"}), 0);
        let mut scene = Scene::new();
        scene.engine(20_000, "").at(100).object(deployment_).object(set.clone());
        scene.at(1000).object(crashing(&set, 1)).at(3000).object(crashing(&set, 2));
        scene.at(9000).object(as_ready(restarted(pod_of(&set, "p", running()), 2, 1)));
        scene
            .object(deployment("search", json!({"image": "search:1"}), 1).0)
            .at(9500)
            .engine_ends(0);
        scene.never_certain();
        assert_eq!(scene.diagnosis().suspected, []);
    }
}
