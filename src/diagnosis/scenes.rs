//! Diagnoses of whole scenes: what detectors say together, and what becomes of it over time.

use serde_json::{Value, json};

use super::Diagnosis;
use super::fixture::*;
use crate::evidence::Answer;

fn waits_for_public_name(name: &str) -> Value {
    hook_job(
        name,
        "post-install",
        json!({
            "command": ["sh", "-c", "until curl -sS $TARGET; do echo not ready yet; sleep 1; done"],
            "env": [{"name": "TARGET", "value": "https://portal.shop.invalid"}],
        }),
    )
}

fn complain(scene: &mut Scene, pod: &str, container: &str, from: i64, times: i64) {
    for turn in 0..times {
        scene
            .at(from + turn * 1000)
            .log(pod, container, "curl: (6) Could not resolve host: portal.shop.invalid");
        scene.log(pod, container, "not ready yet");
    }
}

/// A hook that waits for a name from outside.
fn broken() -> (Scene, Value) {
    let job = waits_for_public_name("announce");
    let mut scene = Scene::new();
    scene.engine(10_000, "hookOnly").at(1000);
    let hook = scene.running_hook(&job, "post-install");
    scene
        .record("pending-install", vec![hook], vec![])
        .object(job.clone())
        .at(1500)
        .object(pod_of(&job, "x", running()));
    complain(&mut scene, "announce-x", "announce", 2000, 5);
    (scene, job)
}

#[test]
fn an_unrelated_workload_that_crashes_has_a_chain_of_its_own() {
    let (mut scene, _) = broken();
    let (deployment, set) = deployment("reports", json!({"image": "reports:1"}), 0);
    scene.at(7000).object(deployment).object(set.clone());
    scene.object(restarted(pod_of(&set, "p", waiting("CrashLoopBackOff", "back-off")), 4, 1));
    scene.at(11_000).engine_says("timed out waiting for the condition").engine_ends(1);
    let diagnosis = scene.diagnosis();
    assert_eq!(
        diagnosis.identity(),
        [
            ("crash-loop".to_owned(), "Deployment/reports".to_owned()),
            ("hook-target-unreachable".to_owned(), "Job/announce".to_owned())
        ]
    );
    assert_eq!(diagnosis.causes[0].chain[0].subject.to_string(), "Deployment/reports");
    assert_eq!(diagnosis.causes[1].chain[0].subject.to_string(), "Release/store");
    // Without the one that explains what the engine gave up on, that stays open, whatever else is known.
    let only_generic: Vec<_> = super::detectors::DETECTORS
        .iter()
        .copied()
        .filter(|detector| detector.slug == "crash-loop")
        .collect();
    let without = scene.diagnosis_with(&only_generic);
    assert_eq!(without.identity(), [("crash-loop".to_owned(), "Deployment/reports".to_owned())]);
    assert_eq!(without.unexplained[0].subject.to_string(), "Release/store");
}

#[test]
fn two_independent_faults_are_two_causes() {
    let (first, first_set) = deployment("orders", json!({"envFrom": [{"secretRef": {"name": "orders-db"}}]}), 0);
    let (second, second_set) = deployment("mailer", json!({"image": "mailer:dev", "imagePullPolicy": "Never"}), 0);
    let mut scene = Scene::new();
    scene
        .engine(10_000, "watcher")
        .at(100)
        .record("pending-install", vec![], vec![first.clone(), second.clone()]);
    scene
        .at(200)
        .object(first)
        .object(second)
        .object(first_set.clone())
        .object(second_set.clone());
    scene.at(900).object(pod_of(
        &first_set,
        "a",
        waiting("CreateContainerConfigError", "secret \"orders-db\" not found"),
    ));
    let never = "Container image \"mailer:dev\" is not present with pull policy of Never";
    scene.at(950).object(pod_of(&second_set, "b", waiting("ErrImageNeverPull", never)));
    scene.at(10_300).engine_says("context deadline exceeded").engine_ends(1);
    scene.settles_on(&[("image-not-loaded", "Deployment/mailer"), ("secret-missing", "Secret/orders-db")]);
    assert_eq!(
        scene.diagnosis().causes[0].chain[0].statement,
        "store: its install timed out after 10s waiting for Deployment mailer and Deployment orders"
    );
}

#[test]
fn generic_yields_to_specific() {
    // The hook gives up by itself and exits: it crashes, because of the name.
    let (mut scene, job) = broken();
    scene
        .at(7000)
        .log("announce-x", "announce", "giving up")
        .object(phase(pod_of(&job, "x", terminated(1)), "Failed"));
    scene
        .at(7100)
        .object(with_condition(job, "Failed", "BackoffLimitExceeded"))
        .at(7200)
        .engine_ends(1);
    scene.settles_on(&[("hook-target-unreachable", "Job/announce")]);
    assert_eq!(scene.diagnosis().suspected, []);
}

#[test]
fn nothing_counts_after_the_remedy_that_was_true_before() {
    let (mut scene, job) = broken();
    scene.at(11_000).engine_says("timed out waiting for the condition").engine_ends(1);
    assert_eq!(scene.diagnosis().causes.len(), 1);
    scene.at(12_000).remedy("use-in-cluster-url");
    assert_eq!(scene.diagnosis(), Diagnosis::default());
    scene.at(12_500).deleted(pod_of(&job, "x", running())).deleted(job);
    let mut mended = waits_for_public_name("announce");
    mended["spec"]["template"]["spec"]["containers"][0]["env"][0]["value"] = json!("http://portal");
    scene
        .at(13_000)
        .engine(10_000, "hookOnly")
        .at(13_500)
        .object(mended.clone())
        .object(pod_of(&mended, "y", running()));
    scene
        .at(14_000)
        .log("announce-y", "announce", "not ready yet")
        .at(15_000)
        .log("announce-y", "announce", "announced");
    scene
        .at(15_200)
        .object(with_condition(mended, "Complete", ""))
        .at(15_400)
        .engine_ends(0);
    let after = scene
        .timeline()
        .entries
        .iter()
        .position(|entry| entry.at >= scene.timeline().entries[0].at + jiff::SignedDuration::from_secs(12));
    for diagnosis in &scene.diagnoses()[after.expect("a remedy")..] {
        assert_eq!(diagnosis.identity(), []);
    }
    assert_eq!(scene.diagnosis(), Diagnosis::default());
}

#[test]
fn a_relapse_is_diagnosed_again() {
    let (mut scene, job) = broken();
    scene
        .at(11_000)
        .engine_ends(1)
        .at(12_000)
        .remedy("use-in-cluster-url")
        .deleted(pod_of(&job, "x", running()))
        .deleted(job.clone());
    scene
        .at(13_000)
        .engine(10_000, "hookOnly")
        .at(13_500)
        .object(job.clone())
        .object(pod_of(&job, "y", running()));
    complain(&mut scene, "announce-y", "announce", 14_000, 4);
    assert_eq!(
        scene.diagnosis().identity(),
        [("hook-target-unreachable".to_owned(), "Job/announce".to_owned())]
    );
}

#[test]
fn a_retry_of_the_same_run_does_not_unsay_it() {
    let (mut scene, job) = broken();
    scene.at(11_000).deleted(pod_of(&job, "x", running())).deleted(job.clone());
    scene.at(12_000).object(job.clone()).object(pod_of(&job, "y", running()));
    complain(&mut scene, "announce-y", "announce", 13_000, 3);
    scene.at(22_000).engine_ends(1);
    scene.settles_on(&[("hook-target-unreachable", "Job/announce")]);
}

#[test]
fn what_is_not_seen_to_be_unhealthy_is_not_a_cause() {
    let (mut scene, job) = broken();
    // Somebody else made it work: the hook ends, the engine succeeds.
    scene.at(8000).object(with_condition(job, "Complete", "")).at(8500).engine_ends(0);
    assert_eq!(scene.diagnosis(), Diagnosis::default());
}

#[test]
fn a_live_namespace_needs_no_engine() {
    let job = job(
        "nightly",
        json!({"image": "go-sync:1", "env": [{"name": "UPSTREAM_URL", "value": "https://feed.example.org"}]}),
    );
    let mut scene = Scene::new();
    scene.object(job.clone()).object(pod_of(&job, "n", running()));
    for turn in 0..3 {
        let line = "2026/01/02 03:04:05 dial tcp: lookup feed.example.org on 10.96.0.10:53: no such host";
        scene.at(1000 + turn * 5000).log("nightly-n", "nightly", line);
    }
    scene.settles_on(&[("hook-target-unreachable", "Job/nightly")]);
}

#[test]
fn a_quiet_healthy_namespace_says_nothing() {
    let (deployment, set) = deployment("web", json!({"image": "web:1"}), 1);
    let mut scene = Scene::new();
    scene
        .object(deployment)
        .object(set.clone())
        .object(as_ready(pod_of(&set, "p", running())));
    scene
        .lookup("www.shop.invalid", Answer::NoSuchName)
        .log("web-7f9c-p", "web", "GET / 200")
        .log("web-7f9c-p", "web", "GET / 200");
    assert_eq!(scene.diagnosis(), Diagnosis::default());
}
