//! # What it detects
//!
//! A container that may not run as root, and whose image names its user by a name, so that the kubelet cannot tell who that is.
//!
//! # Why it happens
//!
//! `USER runner` in the Dockerfile and `runAsNonRoot: true` in the chart are each right by themselves. The kubelet does not look into the
//! image's `/etc/passwd`: it accepts a number only, from the image or from the pod.
//!
//! # Evidence
//!
//! The container's waiting reason `CreateContainerConfigError` with `container has runAsNonRoot and image has non-numeric user (runner)`; the
//! `runAsNonRoot` that applies, and that no `runAsUser` does. An image that runs as root, and a `runAsUser: 0`, are refused in other words:
//! those need another image or another number, and are not this.
//!
//! # Remedy
//!
//! `set-run-as-user`: the number of that user, in the container or the pod. Which it is, the image's `/etc/passwd` says.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

use crate::diagnosis::cite;
use crate::diagnosis::progress::{Container, containers, controller, relevant};
use crate::diagnosis::{Certainty, Class, Detector, Finding};
use crate::evidence::manifest::{pod_spec, spec_containers, text};
use crate::evidence::{Evidence, Life};
use crate::remedy::Remedy;

pub const DETECTOR: Detector = Detector {
    slug: "run-as-non-root-named-user",
    summary: "a container may not run as root, and its image names its user by a name",
    class: Class::Specific,
    remedies: &["set-run-as-user"],
    detect,
};

static NAMED: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"runAsNonRoot and image has non-numeric user \(([^)]*)\)").ok());

fn detect(evidence: &Evidence) -> Vec<Finding> {
    let mut findings = Vec::new();
    for pod in relevant(evidence, "Pod") {
        let was = pod.before_leaving();
        let pod = was.as_ref();
        for container in containers(pod) {
            let pattern = NAMED.iter().find_map(|pattern| pattern.captures(container.waiting_message()));
            if let Some(found) = pattern {
                findings.push(finding(evidence, pod, &container, &found[1]));
            }
        }
    }
    findings
}

/// Where `runAsNonRoot` is said: of the container, or of all of the pod's.
fn said_at(pod: &Life, name: &str) -> Option<String> {
    const FIELD: &str = "/securityContext/runAsNonRoot";
    let spec = pod_spec(pod.object())?;
    let told = |value: &Value| value.pointer(FIELD).and_then(Value::as_bool) == Some(true);
    let own = spec_containers(spec).find(|of| text(of, "/name") == name).is_some_and(told);
    match (own, told(spec)) {
        (true, _) => Some(format!("securityContext.runAsNonRoot of {name}: true, and no runAsUser")),
        (false, true) => Some("securityContext.runAsNonRoot of the pod: true, and no runAsUser".to_owned()),
        (false, false) => None,
    }
}

fn finding(evidence: &Evidence, pod: &Life, container: &Container<'_>, user: &str) -> Finding {
    let subject = controller(evidence, pod);
    let name = container.name;
    let image = pod_spec(pod.object())
        .and_then(|spec| spec_containers(spec).find(|of| text(of, "/name") == name))
        .map_or_else(|| text(container.status, "/image"), |of| text(of, "/image"));
    let said = format!("container {name} waits: {}: {}", container.waiting(), container.waiting_message());
    let mut citations = vec![cite::observed(
        &pod.reference(),
        said,
        pod.versions.last().map(|version| version.at),
    )];
    citations.extend(said_at(pod, name).map(|text| cite::declared(&subject, text)));
    citations.push(cite::declared(&subject, format!("image of {name}: {image}")));
    let sentence = format!("set runAsUser (and runAsGroup) of container {name} to the number that {user} has in the image, often 1000");
    Finding {
        slug: DETECTOR.slug,
        statement: format!("the image of container {name} runs as {user}, which is a name, and runAsNonRoot needs a number"),
        certainty: Certainty::Certain,
        why: "neither the image nor the pod changes by itself".to_owned(),
        since: pod.time("/metadata/creationTimestamp").unwrap_or_else(|| pod.first_seen()),
        citations,
        explains: vec![pod.reference(), subject.clone()],
        blames: Vec::new(),
        subject,
        remedy: Some(
            Remedy::new("set-run-as-user", sentence)
                .with("container", name)
                .with("user", user)
                .with("image", image),
        ),
        alternatives: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::NAMED;
    use crate::diagnosis::fixture::*;

    const SLUG: &str = "run-as-non-root-named-user";

    fn refused(words: &str) -> Value {
        waiting(
            "CreateContainerConfigError",
            &format!("container {words} (pod: \"runs-7f9c-p_shop(0a1b)\", container: runs)"),
        )
    }

    const NAME: &str = "has runAsNonRoot and image has non-numeric user (runner), cannot verify user is non-root";

    #[test]
    fn the_pattern_compiles() {
        assert!(NAMED.is_some());
    }

    #[test]
    fn a_name_is_no_number() {
        let (deployment, set) = deployment("runs", json!({"image": "runs:3"}), 0);
        let mut pod = pod_of(&set, "p", refused(NAME));
        pod["spec"]["securityContext"] = json!({"runAsNonRoot": true});
        let mut scene = Scene::new();
        scene.object(deployment).object(set).object(pod);
        scene.settles_on(&[(SLUG, "Deployment/runs")]);
        let diagnosis = scene.diagnosis();
        let cause = &diagnosis.causes[0];
        assert_eq!(cause.remedy.as_ref().unwrap().parameters["user"], "runner");
        assert_eq!(
            cause.citations[1].text,
            "securityContext.runAsNonRoot of the pod: true, and no runAsUser"
        );
        assert_eq!(cause.citations[2].text, "image of runs: runs:3");
    }

    #[test]
    fn a_job_and_an_init_container() {
        let job = job("runs", json!({"image": "runs:3", "securityContext": {"runAsNonRoot": true}}));
        let mut pod = pod_of(&job, "p", refused(NAME));
        let status = pod["status"]["containerStatuses"].take();
        pod["status"]["initContainerStatuses"] = status;
        let mut scene = Scene::new();
        scene.object(job).object(pod);
        scene.settles_on(&[(SLUG, "Job/runs")]);
    }

    #[test]
    fn its_siblings_are_other_failures() {
        for words in ["has runAsNonRoot and image will run as root", "'s runAsUser breaks non-root policy"] {
            let (deployment, set) = deployment("runs", json!({"image": "runs:3"}), 0);
            let mut scene = Scene::new();
            scene
                .object(deployment)
                .object(set.clone())
                .object(pod_of(&set, "p", refused(words)));
            scene.never_certain();
            assert!(!scene.diagnosis().unexplained.is_empty());
        }
    }
}
