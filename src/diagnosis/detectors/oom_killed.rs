//! # What it detects
//!
//! A container that is killed because it wants more memory than its limit.
//!
//! # Why it happens
//!
//! The limit was set for less data, fewer workers or another runtime; a JVM or a cache sizes itself by the node and not by the limit; or
//! the program leaks.
//!
//! # Evidence
//!
//! The reason `OOMKilled` of the container's end, how often it was started again, and its memory limit. Exit code 137 alone says only that
//! somebody killed it: a probe, a deadline, a node that went away.
//!
//! # Remedy
//!
//! `raise-memory-limit`, or let the program use less.

use crate::diagnosis::attempt::engine_gave_up;
use crate::diagnosis::cite;
use crate::diagnosis::logs::{last, lines};
use crate::diagnosis::progress::{Container, JobState, containers, controller, job_state, relevant};
use crate::diagnosis::writers::by_hand_in_container;
use crate::diagnosis::{Certainty, Class, Detector, Finding};
use crate::evidence::manifest::{pod_spec, spec_containers, text};
use crate::evidence::{Evidence, Life, moment};
use crate::remedy::Remedy;

pub const DETECTOR: Detector = Detector {
    slug: "oom-killed",
    summary: "a container is killed because it wants more memory than its limit",
    class: Class::Specific,
    remedies: &["raise-memory-limit"],
    detect,
};

fn detect(evidence: &Evidence) -> Vec<Finding> {
    let pods = relevant(evidence, "Pod").into_iter();
    pods.flat_map(|pod| containers(pod).map(move |container| (pod, container)))
        .filter(|(_, container)| container.ended().is_some_and(|ended| text(ended, "/reason") == "OOMKilled"))
        .filter_map(|(pod, container)| finding(evidence, pod, &container))
        .collect()
}

fn finding(evidence: &Evidence, pod: &Life, container: &Container<'_>) -> Option<Finding> {
    // One that runs and is ready again has recovered.
    if container.running() && pod.condition("Ready") == "True" {
        return None;
    }
    let subject = controller(evidence, pod);
    let owner = evidence.get(&subject.kind, subject.namespace.as_deref().unwrap_or_default(), &subject.name);
    let job = owner.filter(|owner| owner.text("/kind") == "Job").map(job_state);
    if matches!(job, Some(JobState::Complete { .. })) {
        return None;
    }
    let restarts = container.restarts();
    let (certainty, why) = if engine_gave_up(evidence) {
        (Certainty::Certain, "the engine has given up".to_owned())
    } else if let Some(JobState::Failed { reason, .. }) = &job {
        (Certainty::Certain, format!("the Job has failed for good: {reason}"))
    } else if restarts >= 2 {
        (Certainty::Certain, format!("it was started again {restarts} times without success"))
    } else if pod.text("/spec/restartPolicy") == "Never" && job.is_none() {
        (Certainty::Certain, "it is not started again".to_owned())
    } else {
        (Certainty::Suspected, "its next start may need less".to_owned())
    };
    let spec = pod_spec(pod.object()).and_then(|spec| spec_containers(spec).find(|of| text(of, "/name") == container.name));
    let limit = spec.map(|spec| text(spec, "/resources/limits/memory")).unwrap_or_default();
    let name = container.name;
    let (statement, field) = match limit {
        "" => (
            format!("container {name} is killed for its memory, and has no limit of its own: the node or the pod has no more"),
            format!("resources.limits.memory of {name}: none"),
        ),
        limit => (
            format!("container {name} is killed because it wants more memory than its limit of {limit}"),
            format!("resources.limits.memory of {name}: {limit}"),
        ),
    };
    let ended = container.ended()?;
    let code = container.exit_code().unwrap_or_default();
    let status = format!("container {name} terminated: OOMKilled, exit code {code}, {restarts} restarts");
    let mut citations = vec![
        cite::observed(&pod.reference(), status, moment::parse(text(ended, "/finishedAt"))),
        cite::declared(&subject, field),
    ];
    citations.extend(by_hand_in_container(evidence, pod, name, "resources.limits.memory"));
    let printed = last(lines(evidence, pod.uid(), name), 1);
    citations.extend(printed.into_iter().map(|line| cite::printed(&pod.reference(), line)));
    let remedy = Remedy::new(
        "raise-memory-limit",
        format!("give container {name} more memory, or let it use less"),
    );
    Some(Finding {
        slug: DETECTOR.slug,
        statement,
        certainty,
        why,
        since: pod.time("/metadata/creationTimestamp").unwrap_or_else(|| pod.first_seen()),
        citations,
        explains: vec![pod.reference(), subject.clone()],
        blames: Vec::new(),
        subject,
        remedy: Some(remedy.with("container", name).with("limit", limit)),
        alternatives: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::diagnosis::fixture::*;

    const SLUG: &str = "oom-killed";

    fn killed(reason: &str) -> Value {
        json!({"terminated": {"exitCode": 137, "reason": reason}})
    }

    fn ended(mut pod: Value, restarts: u32, reason: &str) -> Value {
        pod["status"]["containerStatuses"][0]["restartCount"] = json!(restarts);
        pod["status"]["containerStatuses"][0]["lastState"] = killed(reason);
        pod
    }

    fn scene(restarts: u32, reason: &str) -> (Scene, Value) {
        let (deployment, set) = deployment("index", json!({"image": "index:1", "resources": {"limits": {"memory": "64Mi"}}}), 0);
        let mut scene = Scene::new();
        let pod = pod_of(&set, "p", waiting("CrashLoopBackOff", "back-off 20s restarting failed container"));
        scene
            .object(deployment)
            .object(set.clone())
            .at(20_000)
            .object(ended(pod, restarts, reason));
        (scene, set)
    }

    #[test]
    fn again_and_again() {
        let (scene, _) = scene(3, "OOMKilled");
        scene.settles_on(&[(SLUG, "Deployment/index")]);
        let cause = &scene.diagnosis().causes[0];
        assert_eq!(
            cause.statement,
            "container index is killed because it wants more memory than its limit of 64Mi"
        );
        let cited: Vec<&str> = cause.citations.iter().map(|citation| citation.text.as_str()).collect();
        assert_eq!(
            cited,
            [
                "container index terminated: OOMKilled, exit code 137, 3 restarts",
                "resources.limits.memory of index: 64Mi"
            ]
        );
    }

    #[test]
    fn exit_code_137_alone_is_not_this() {
        let (scene, _) = scene(3, "Error");
        assert!(detect(&scene.evidence()).is_empty());
        scene.settles_on(&[("crash-loop", "Deployment/index")]);
    }

    #[test]
    fn one_that_recovers_is_silent() {
        let (mut scene, set) = scene(1, "OOMKilled");
        scene.never_certain();
        let (deployment, _) = deployment("index", json!({"image": "index:1"}), 1);
        scene
            .at(40_000)
            .object(deployment)
            .object(ended(as_ready(pod_of(&set, "p", running())), 1, "OOMKilled"));
        scene.never_certain();
        assert_eq!(scene.diagnosis().suspected, []);
    }

    #[test]
    fn a_job_that_failed_of_it() {
        let job = job("import", json!({"image": "import:1", "resources": {"limits": {"memory": "1Gi"}}}));
        let mut scene = Scene::new();
        scene
            .object(job.clone())
            .at(1000)
            .object(phase(pod_of(&job, "a", killed("OOMKilled")), "Failed"));
        scene.never_certain();
        scene.at(9000).object(with_condition(job, "Failed", "BackoffLimitExceeded"));
        scene.settles_on(&[(SLUG, "Job/import")]);
    }
}
