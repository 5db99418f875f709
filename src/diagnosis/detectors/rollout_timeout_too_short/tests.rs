use std::sync::Arc;

use serde_json::{Value, json};

use super::DETECTOR;
use crate::diagnosis::RootCause;
use crate::diagnosis::fixture::*;
use crate::evidence::{EngineStart, Fact, Hook, ReleaseRecord};

const SLUG: &str = "rollout-timeout-too-short";
const WORDS: &str = "Error: INSTALLATION FAILED: context deadline exceeded";

/// Deployments by name, whose pods run and are not ready yet; given are 8 s, which begin after 1 s.
fn begun(wait: &str, names: &[&str], hooks: Vec<Hook>) -> Scene {
    let mut scene = Scene::new();
    scene.push(Fact::EngineStarted(EngineStart {
        engine: if wait == "legacy" { "helm-3" } else { "helm-4" }.into(),
        version: "v0".into(),
        operation: "install".into(),
        release: RELEASE.into(),
        namespace: NAMESPACE.into(),
        wait: wait.into(),
        wait_for_jobs: true,
        timeout_ms: 8000,
        kustomization: false,
    }));
    let manifest: Vec<Value> = names.iter().map(|name| rolling(name, 0).0).collect();
    scene.at(900).record("pending-install", hooks, manifest).at(1000);
    for name in names {
        let (deployment, set) = rolling(name, 0);
        scene.object(deployment).object(set.clone());
    }
    for name in names {
        scene.at(1500).object(pod_of(&rolling(name, 0).1, "p", running()));
    }
    scene
}

fn rolling(name: &str, available: u32) -> (Value, Value) {
    deployment(name, json!({"image": "depot:1"}), available)
}

fn gets_ready(scene: &mut Scene, at: i64, name: &str) {
    let (deployment, set) = rolling(name, 1);
    scene.at(at).object(as_ready(pod_of(&set, "p", running()))).object(deployment);
}

fn gives_up(scene: &mut Scene) {
    scene.at(9050).engine_says(WORDS).engine_ends(1);
}

fn only(scene: &Scene) -> RootCause {
    let mut causes = scene.diagnosis().causes;
    assert_eq!(causes.len(), 1, "{causes:?}");
    causes.remove(0)
}

#[test]
fn everything_gets_ready_after_the_engine_gave_up() {
    for wait in ["legacy", "watcher"] {
        let later = Scene::new().hook(&hook_job("greet", "post-install", json!({"image": "depot:1"})), "post-install");
        let mut scene = begun(wait, &["depot"], vec![later]);
        gives_up(&mut scene);
        scene.never_certain();
        assert_eq!(scene.diagnosis().suspected.len(), 1);
        gets_ready(&mut scene, 12_600, "depot");
        scene.settles_on(&[(SLUG, "Deployment/depot")]);
        let cause = only(&scene);
        assert_eq!(cause.statement, "Deployment depot needs 12s to get ready and is given 8s");
        let cited: Vec<_> = cause.citations.iter().map(|citation| citation.text.as_str()).collect();
        assert_eq!(
            cited,
            [
                "status.availableReplicas: 0 of 1 when the engine gave up",
                "ready 12s after the wait began",
                "the engine gave up after 8s",
                "last_run: none, this hook never ran",
            ]
        );
        let chain: Vec<_> = cause.chain.iter().map(|link| link.statement.as_str()).collect();
        assert_eq!(
            chain,
            [
                "store: its install timed out after 8s waiting for Deployment depot",
                "Deployment depot got ready only after the engine had given up"
            ]
        );
        let remedy = cause.remedy.expect("a remedy");
        let parameters: Vec<_> = remedy.parameters.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(remedy.kind, "raise-timeout");
        assert_eq!(parameters, ["at_least=18s", "budget=8s", "need=12s"]);
    }
}

#[test]
fn one_that_is_just_inside_is_silent() {
    let mut scene = begun("watcher", &["depot"], vec![]);
    gets_ready(&mut scene, 8700, "depot");
    scene.at(8800).engine_ends(0);
    scene.never_certain();
    assert_eq!(scene.diagnosis().suspected, []);
}

#[test]
fn of_several_the_slowest_counts_and_all_have_to_come() {
    let mut scene = begun("watcher", &["depot", "ledger", "porch"], vec![]);
    gets_ready(&mut scene, 5000, "porch");
    gives_up(&mut scene);
    gets_ready(&mut scene, 10_000, "ledger");
    scene.never_certain();
    gets_ready(&mut scene, 14_000, "depot");
    scene.settles_on(&[(SLUG, "Deployment/depot")]);
    let cited = only(&scene).citations;
    assert!(cited.iter().any(|citation| citation.object.name == "ledger"));
    assert!(cited.iter().all(|citation| citation.object.name != "porch"));
}

#[test]
fn a_hook_that_ran_is_another_limit() {
    let hook = hook_job("greet", "post-install", json!({"image": "depot:1"}));
    for recorded in [true, false] {
        let mut scene = begun("watcher", &["depot"], vec![]);
        gets_ready(&mut scene, 3000, "depot");
        scene.at(3100);
        if recorded {
            let running = scene.running_hook(&hook, "post-install");
            scene.record("pending-install", vec![running], vec![rolling("depot", 0).0]);
        }
        scene.object(hook.clone()).at(3300).object(pod_of(&hook, "h", running()));
        // It is unready for a moment when the engine gives up on the hook.
        let (unready, _) = rolling("depot", 0);
        scene.at(11_000).object(unready);
        scene
            .at(11_100)
            .engine_says("Error: INSTALLATION FAILED: failed post-install: timed out waiting for the condition")
            .engine_ends(1);
        gets_ready(&mut scene, 12_000, "depot");
        for diagnosis in scene.diagnoses() {
            assert!(diagnosis.causes.iter().chain(&diagnosis.suspected).all(|cause| cause.slug != SLUG));
        }
    }
}

/// What the detector says by itself after all of it got ready.
fn alone(words: &str, hooks: Vec<Hook>) -> usize {
    let mut scene = begun("watcher", &["depot"], hooks);
    scene.at(9050).engine_says(words).engine_ends(1);
    gets_ready(&mut scene, 12_000, "depot");
    (DETECTOR.detect)(&scene.evidence()).len()
}

#[test]
fn the_words_of_a_hook_and_its_last_run_each_tell_that_the_wait_was_another() {
    let hook = |event: &str, phase: &str| {
        let mut scene = Scene::new();
        let job = hook_job("greet", event, json!({"image": "depot:1"}));
        let started = scene.at(500).running_hook(&job, event);
        Hook {
            phase: phase.into(),
            completed_at: (phase != "Running").then(|| scene.at(800).stamp()),
            ..started
        }
    };
    assert_eq!(alone(WORDS, vec![]), 1);
    assert_eq!(alone(WORDS, vec![hook("pre-install", "Succeeded")]), 1);
    assert_eq!(alone(WORDS, vec![hook("pre-install", "Running")]), 0);
    assert_eq!(alone(WORDS, vec![hook("post-install", "Succeeded")]), 0);
    for words in [
        "Error: INSTALLATION FAILED: failed pre-install: timed out waiting for the condition",
        "Error: UPGRADE FAILED: post-upgrade hooks failed: context deadline exceeded",
    ] {
        assert_eq!(alone(words, vec![]), 0, "{words}");
    }
}

#[test]
fn what_lacks_something_is_no_matter_of_time() {
    let mut scene = begun("watcher", &["depot"], vec![]);
    let (_, set) = rolling("depot", 0);
    let message = "secret \"depot-key\" not found";
    let mut pod = pod_of(&set, "p", waiting("CreateContainerConfigError", message));
    pod["spec"]["containers"][0]["envFrom"] = json!([{"secretRef": {"name": "depot-key"}}]);
    scene.at(2000).object(pod);
    gives_up(&mut scene);
    assert_eq!(
        scene.diagnosis().identity(),
        [("secret-missing".to_owned(), "Secret/depot-key".to_owned())]
    );
    // Somebody makes it.
    scene
        .at(11_000)
        .object(json!({"kind": "Secret", "metadata": {"name": "depot-key"}, "data": {}}));
    gets_ready(&mut scene, 12_000, "depot");
    for diagnosis in scene.diagnoses() {
        assert!(diagnosis.causes.iter().chain(&diagnosis.suspected).all(|cause| cause.slug != SLUG));
    }
}

#[test]
fn what_somebody_changed_did_not_get_ready_by_itself() {
    // Without a complaint of the pod: a file that it waits for.
    let mut scene = begun("legacy", &["depot"], vec![]);
    scene.object(json!({"kind": "ConfigMap", "metadata": {"name": "depot-routes"}, "data": {"open": "no"}}));
    gives_up(&mut scene);
    scene
        .at(10_000)
        .object(json!({"kind": "ConfigMap", "metadata": {"name": "depot-routes"}, "data": {"open": "yes"}}));
    gets_ready(&mut scene, 11_000, "depot");
    scene.never_certain();
    // The Deployment itself.
    let mut scene = begun("legacy", &["depot"], vec![]);
    gives_up(&mut scene);
    let (mut deployment, set) = rolling("depot", 1);
    deployment["metadata"]["generation"] = json!(2);
    deployment["status"]["observedGeneration"] = json!(2);
    scene.at(11_000).object(as_ready(pod_of(&set, "p", running()))).object(deployment);
    scene.never_certain();
    assert_eq!(scene.diagnosis().suspected, []);
}

#[test]
fn one_that_crashes_still_is_told_of_by_that() {
    let mut scene = begun("watcher", &["depot"], vec![]);
    let (_, set) = rolling("depot", 0);
    let crashing = |times| restarted(pod_of(&set, "p", waiting("CrashLoopBackOff", "back-off")), times, 3);
    scene.at(4000).object(crashing(2));
    gives_up(&mut scene);
    scene.at(12_000).object(crashing(4));
    assert_eq!(
        scene.diagnosis().identity(),
        [("crash-loop".to_owned(), "Deployment/depot".to_owned())]
    );
    // One that recovers by itself needed that long.
    let mut ready = as_ready(restarted(pod_of(&set, "p", running()), 5, 3));
    ready["status"]["containerStatuses"][0]["ready"] = json!(true);
    scene.at(20_000).object(ready).object(rolling("depot", 1).0);
    assert_eq!(scene.diagnosis().identity(), [(SLUG.to_owned(), "Deployment/depot".to_owned())]);
}

#[test]
fn an_engine_that_ended_before_its_time_or_was_refused_or_went_back_is_silent() {
    let with = |at: i64, words: &str| {
        let mut scene = begun("watcher", &["depot"], vec![]);
        scene.at(at).engine_says(words).engine_ends(1);
        gets_ready(&mut scene, 12_000, "depot");
        scene
    };
    with(3000, WORDS).never_certain();
    with(9050, "Error: INSTALLATION FAILED: job tidy failed: BackoffLimitExceeded").never_certain();
    with(9050, "Error: INSTALLATION FAILED: services \"depot\" is forbidden").never_certain();
    let mut scene = begun("watcher", &["depot"], vec![]);
    let at = scene.stamp();
    scene.at(9000).push(Fact::Release(Arc::new(ReleaseRecord {
        name: RELEASE.into(),
        namespace: NAMESPACE.into(),
        revision: 2,
        status: "deployed".into(),
        description: "Rollback to 0".into(),
        chart: "store".into(),
        chart_version: "0.1.0".into(),
        first_deployed: Some(at),
        last_deployed: Some(at),
        hooks: Vec::new(),
        manifest: Vec::new(),
        lookups: Vec::new(),
        sources: std::collections::BTreeMap::new(),
    })));
    gives_up(&mut scene);
    gets_ready(&mut scene, 12_000, "depot");
    scene.never_certain();
}

#[test]
fn a_job_of_the_release_can_be_the_slow_one() {
    let mut scene = Scene::new();
    let tidy = job("tidy", json!({"image": "depot:1"}));
    scene
        .engine(8000, "watcher")
        .at(900)
        .record("pending-install", vec![], vec![tidy.clone()]);
    scene.at(1000).object(tidy.clone()).at(1300).object(pod_of(&tidy, "t", running()));
    scene
        .at(9050)
        .engine_says("resource Job/shop/tidy not ready. status: InProgress, message: Job in progress")
        .engine_says("context deadline exceeded")
        .engine_ends(1);
    scene.at(13_000).object(with_condition(tidy, "Complete", ""));
    scene.settles_on(&[(SLUG, "Job/tidy")]);
    assert_eq!(only(&scene).citations[0].text, "status.succeeded: 0 of 1 when the engine gave up");
}

#[test]
fn nothing_is_said_after_the_remedy() {
    let mut scene = begun("watcher", &["depot"], vec![]);
    gives_up(&mut scene);
    gets_ready(&mut scene, 12_600, "depot");
    scene.at(13_000).remedy("raise-timeout");
    assert_eq!(scene.diagnosis(), crate::diagnosis::Diagnosis::default());
}
