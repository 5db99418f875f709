//! # What it detects
//!
//! A release that is in the cluster and counts as failed, because its chart's test failed.
//!
//! # Why it happens
//!
//! With `spec.test.enable` Flux runs the chart's test hooks after every install and upgrade, and takes their failure for one of the
//! release: it is uninstalled or rolled back and tried again. What is wrong can be the test, which asks for what the release does not
//! have, as well as what it tests.
//!
//! # Evidence
//!
//! The HelmRelease's condition `TestSuccess`, False for `TestFailed`; that what was tested had been released; the test hook that failed,
//! with the exit code and the last lines of its pod. Whatever else is known to keep that pod from its end is the cause of the failure.
//!
//! # Remedy
//!
//! `fix-test`. `ignore-test-failures`, where the release is to count without it.

use crate::diagnosis::attempt::{Attempt, State, attempt};
use crate::diagnosis::cite;
use crate::diagnosis::logs::{last, lines, quoted};
use crate::diagnosis::progress::{containers, pods_of};
use crate::diagnosis::{Certainty, Citation, Class, Detector, Finding};
use crate::evidence::{Evidence, Hook, Life, ObjectRef, ReleaseRecord};
use crate::remedy::Remedy;

pub const DETECTOR: Detector = Detector {
    slug: "test-failed",
    summary: "a chart's test fails, and not the release",
    class: Class::Specific,
    remedies: &["fix-test", "ignore-test-failures"],
    detect,
};

/// How many of a pod's last lines are cited.
const LINES: usize = 3;

fn detect(evidence: &Evidence) -> Vec<Finding> {
    let found = || {
        let attempt = attempt(evidence).filter(|attempt| attempt.state == State::Failed)?;
        let release = attempt.helm_release?;
        let condition = release.condition_object("TestSuccess")?;
        let said = |field: &str| condition.get(field).and_then(serde_json::Value::as_str).unwrap_or_default();
        // Where it failed for something else since, its test is not what keeps it.
        let failed = said("status") == "False" && said("reason") == "TestFailed" && release.condition("Released") == "True";
        failed.then(|| finding(evidence, &attempt, said("message")))
    };
    found().into_iter().collect()
}

fn finding(evidence: &Evidence, attempt: &Attempt<'_>, message: &str) -> Finding {
    let release = attempt.subject();
    let tests = tests(evidence, attempt);
    let mut citations = vec![cite::observed(
        &release,
        format!("condition TestSuccess: False, TestFailed: {}", quoted(message)),
        attempt.ended_at,
    )];
    let mut objects = Vec::new();
    for test in &tests {
        objects.push(test.reference.clone());
        objects.extend(test.pods.iter().map(|pod| pod.reference()));
        citations.extend(test.pods.last().map(|pod| ended(evidence, pod)).unwrap_or_default());
        citations.push(cite::declared(&test.reference, "metadata.annotations[helm.sh/hook]: test"));
    }
    let released = attempt
        .helm_release
        .and_then(|life| life.condition_object("Released")?.get("message")?.as_str());
    citations.extend(released.map(|message| cite::observed(&release, format!("condition Released: True: {}", quoted(message)), None)));
    let (subject, name) = match tests.first() {
        Some(test) => (
            test.reference.clone(),
            format!("the test {} {}", test.reference.kind, test.reference.name),
        ),
        None => (release.clone(), "the chart's test".to_owned()),
    };
    Finding {
        slug: DETECTOR.slug,
        statement: format!("{name} fails, and the release that it tests is deployed"),
        certainty: Certainty::Certain,
        why: "the engine has given up, and the release itself was installed".to_owned(),
        since: attempt.started_at,
        citations,
        explains: [vec![release], objects.clone()].concat(),
        blames: objects,
        remedy: Some(Remedy::new("fix-test", format!("correct {name}, or what it asks for")).with("test", &subject.name)),
        alternatives: vec![Remedy::new(
            "ignore-test-failures",
            "let the release count without its test: spec.test.ignoreFailures",
        )],
        subject,
    }
}

/// A test hook that failed.
struct Test<'a> {
    reference: ObjectRef,
    pods: Vec<&'a Life>,
}

/// The test hooks that failed, by the newest record that knows of any: the engine may have gone back since.
fn tests<'a>(evidence: &'a Evidence, attempt: &Attempt<'_>) -> Vec<Test<'a>> {
    let failed = |hook: &&Hook| hook.phase == "Failed" && hook.events.iter().any(|event| event == "test" || event == "test-success");
    let of = |record: &ReleaseRecord| {
        let hooks = record.hooks.iter().filter(failed);
        hooks.map(|hook| test(evidence, &record.namespace, hook)).collect::<Vec<_>>()
    };
    evidence
        .revisions(&attempt.release)
        .map(of)
        .find(|tests| !tests.is_empty())
        .unwrap_or_default()
}

fn test<'a>(evidence: &'a Evidence, namespace: &str, hook: &Hook) -> Test<'a> {
    let newest = evidence.ever_named(&hook.kind, namespace, &hook.name).last();
    let pods = match newest {
        Some(pod) if hook.kind == "Pod" => vec![pod],
        Some(owner) => pods_of(evidence, owner),
        None => Vec::new(),
    };
    Test {
        reference: ObjectRef::new(hook.kind.clone(), Some(namespace), hook.name.clone()),
        pods,
    }
}

/// How the containers of a test ended, and what they printed last.
fn ended(evidence: &Evidence, pod: &Life) -> Vec<Citation> {
    let mut citations = Vec::new();
    for container in containers(pod) {
        let Some(code) = container.exit_code().filter(|code| *code != 0) else {
            continue;
        };
        let text = format!("container {} ended with exit code {code}", container.name);
        citations.push(cite::observed(
            &pod.reference(),
            text,
            pod.versions.last().map(|version| version.at),
        ));
        let printed = last(lines(evidence, pod.uid(), container.name), LINES);
        citations.extend(printed.into_iter().map(|line| cite::printed(&pod.reference(), line)));
    }
    citations
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::diagnosis::fixture::*;
    use crate::evidence::Hook;

    const SLUG: &str = "test-failed";

    fn release(released: &str, tested: &str) -> Value {
        let condition = |kind: &str, status: &str, reason: &str| json!({"type": kind, "status": status, "reason": reason, "message": format!("Helm {reason}")});
        json!({"kind": "HelmRelease", "metadata": {"name": RELEASE}, "status": {"conditions": [
            condition("Released", released, "InstallSucceeded"), condition("TestSuccess", tested, "TestFailed"), condition("Ready", "False", "TestFailed"),
        ]}})
    }

    fn test_pod(container: Value) -> Value {
        let mut job = hook_job("store-test", "test", container);
        job["kind"] = json!("Pod");
        job["spec"] = job["spec"]["template"]["spec"].clone();
        job
    }

    fn scene(release: Value, container: Value, exit_code: i32) -> Scene {
        let mut scene = Scene::new();
        let mut pod = test_pod(container);
        scene.engine(10_000, "poller").object(release).at(100);
        scene.record("deployed", vec![scene.hook(&pod, "test")], vec![]);
        pod["status"] =
            json!({"phase": "Failed", "containerStatuses": [{"name": "store-test", "restartCount": 0, "state": terminated(exit_code)}]});
        scene.at(2000).object(pod.clone());
        scene.log("store-test", "store-test", "curl: (22) The requested URL returned error: 404");
        let failed = Hook {
            phase: "Failed".into(),
            started_at: Some(scene.stamp()),
            ..scene.hook(&pod, "test")
        };
        scene.at(2500).record("deployed", vec![failed], vec![]);
        scene.engine_says(
            "TestSuccess=False TestFailed: Helm test failed for release a/store.v1 with chart store@0.1.0: pod store-test failed",
        );
        scene.at(3000).engine_ends(1);
        scene
    }

    #[test]
    fn a_test_that_asks_for_something_else() {
        let scene = scene(release("True", "False"), json!({"image": "curl"}), 22);
        scene.settles_on(&[(SLUG, "Pod/store-test")]);
        let cause = &scene.diagnosis().causes[0];
        let cited: Vec<_> = cause.citations.iter().map(|citation| citation.text.as_str()).collect();
        assert_eq!(
            cited,
            [
                "condition TestSuccess: False, TestFailed: \"Helm TestFailed\"",
                "container store-test ended with exit code 22",
                "\"curl: (22) The requested URL returned error: 404\"",
                "metadata.annotations[helm.sh/hook]: test",
                "condition Released: True: \"Helm InstallSucceeded\"",
            ]
        );
        let first = cause.chain.first().map(|link| link.subject.to_string());
        assert_eq!(first.as_deref(), Some("HelmRelease/store"));
    }

    #[test]
    fn a_test_that_misses_a_secret_has_that_cause() {
        let container = json!({"image": "curl", "env": [{"name": "P", "valueFrom": {"secretKeyRef": {"name": "login", "key": "p"}}}]});
        let mut scene = scene(release("True", "False"), container.clone(), 1);
        let mut pod = test_pod(container);
        pod["status"] = json!({"phase": "Pending", "containerStatuses": [
            {"name": "store-test", "restartCount": 0, "state": waiting("CreateContainerConfigError", "secret \"login\" not found")}]});
        scene.object(pod);
        let missing = ("secret-missing".to_owned(), "Secret/login".to_owned());
        assert_eq!(scene.diagnosis().identity(), [missing]);
        let chain = &scene.diagnosis().causes[0].chain;
        assert!(chain.iter().any(|link| link.slug.as_deref() == Some(SLUG)), "{chain:?}");
    }

    #[test]
    fn a_release_that_failed_itself_is_something_else() {
        scene(release("False", "False"), json!({"image": "curl"}), 22).never_certain();
        scene(release("True", "True"), json!({"image": "curl"}), 22).never_certain();
    }
}
