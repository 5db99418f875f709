mod near_misses;
mod polls;
mod upgrades;

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::DETECTOR;
use crate::diagnosis::fixture::*;
use crate::diagnosis::{Finding, RootCause};
use crate::evidence::{Answer, EngineStart, Fact, ReleaseRecord};

const SLUG: &str = "ttl-deleted-job";
const NS: &str = "harbour";
const NAME: &str = "quay";
const JOB: &str = "quay-schema";
const WEB: &str = "quay-web";

/// What an engine is told.
fn start(wait: &str, operation: &str) -> EngineStart {
    EngineStart {
        engine: if wait == "legacy" { "helm-3" } else { "helm-4" }.into(),
        version: "v0".into(),
        operation: operation.into(),
        release: NAME.into(),
        namespace: NS.into(),
        wait: wait.into(),
        wait_for_jobs: true,
        timeout_ms: 20_000,
        kustomization: false,
    }
}

fn record(scene: &Scene, revision: u32, status: &str, description: &str, manifest: &[Value]) -> ReleaseRecord {
    ReleaseRecord {
        name: NAME.into(),
        namespace: NS.into(),
        revision,
        status: status.into(),
        description: description.into(),
        chart: "quay".into(),
        chart_version: "3.1.0".into(),
        first_deployed: Some(scene.stamp()),
        last_deployed: Some(scene.stamp()),
        hooks: Vec::new(),
        manifest: manifest.to_vec(),
        lookups: Vec::new(),
        sources: std::collections::BTreeMap::new(),
    }
}

fn release(scene: &mut Scene, record: ReleaseRecord) -> &mut Scene {
    scene.push(Fact::Release(Arc::new(record)))
}

fn here(mut object: Value) -> Value {
    object["metadata"]["namespace"] = json!(NS);
    object
}

/// A Job of the release with this TTL.
fn schema(ttl: i64) -> Value {
    let mut job = here(job(JOB, json!({"image": "quay:1", "command": ["migrate"]})));
    job["spec"]["ttlSecondsAfterFinished"] = json!(ttl);
    job["metadata"]["annotations"] = json!({"meta.helm.sh/release-name": NAME});
    job
}

fn web(available: u32) -> (Value, Value) {
    let (deployment, set) = deployment(WEB, json!({"image": "quay:1"}), available);
    (here(deployment), here(set))
}

/// A time as the API writes it: whole seconds.
fn seconds(scene: &Scene) -> String {
    let at = Timestamp::from_second(scene.stamp().as_second()).expect("a time");
    at.to_string()
}

fn ended(scene: &Scene, condition: &str, job: Value) -> Value {
    let mut job = with_condition(job, condition, "");
    job["status"]["conditions"][0]["lastTransitionTime"] = json!(seconds(scene));
    job
}

/// The Job as the TTL controller leaves it to the garbage collector.
fn leaving(scene: &Scene, mut job: Value) -> Value {
    job["metadata"]["deletionTimestamp"] = json!(seconds(scene));
    job["metadata"]["finalizers"] = json!(["foregroundDeletion"]);
    job
}

/// An attempt until just before the Job ends: the Deployment is not ready yet.
fn applied(start: EngineStart, revision: u32, job: &Value) -> Scene {
    let mut scene = Scene::new();
    let status = format!("pending-{}", start.operation);
    let (deployment, set) = web(0);
    scene.push(Fact::EngineStarted(start)).at(100);
    let pending = record(&scene, revision, &status, "", &[deployment.clone(), job.clone()]);
    release(&mut scene, pending).at(200).object(deployment).object(set.clone());
    let mut pod = here(pod_of(&set, "p", running()));
    pod["status"]["conditions"] = json!([{"type": "Ready", "status": "False"}]);
    scene.at(250).object(job.clone()).at(900).object(pod);
    scene.at(1000).object(here(pod_of(job, "x", running())));
    scene
}

/// The Job ends at 3.2 s and goes after a TTL of 1 s.
fn removed(scene: &mut Scene, job: &Value) {
    scene.at(3200);
    let complete = ended(scene, "Complete", job.clone());
    scene.object(complete.clone()).at(4300);
    let leaving = leaving(scene, complete);
    scene.object(leaving.clone());
    scene.deleted(here(pod_of(job, "x", terminated(0)))).at(4400).deleted(leaving);
}

/// The Deployment gets ready.
fn web_is_ready(scene: &mut Scene, at: i64) {
    let (deployment, set) = web(1);
    scene
        .at(at)
        .object(here(as_ready(pod_of(&set, "p", running()))))
        .at(at + 50)
        .object(deployment);
}

fn subject() -> Vec<(&'static str, &'static str)> {
    vec![(SLUG, "Job/quay-schema")]
}

/// What the detector says by itself, also where it explains nothing that is to be seen.
fn alone(scene: &Scene) -> Vec<Finding> {
    (DETECTOR.detect)(&scene.evidence())
}

fn only(scene: &Scene) -> RootCause {
    let mut causes = scene.diagnosis().causes;
    assert_eq!(causes.len(), 1, "{causes:?}");
    causes.remove(0)
}

/// Whether it is known before the engine's end.
fn early(scene: &Scene, first: usize) -> bool {
    let ended = |fact: &Fact| matches!(fact, Fact::EngineEnded { .. } | Fact::EngineLine { .. });
    let end = scene.timeline().entries.iter().position(|entry| ended(&entry.fact));
    end.is_some_and(|end| first < end)
}

const NOT_FOUND: &str = "resource Job/harbour/quay-schema not ready. status: NotFound, message: Resource not found";

fn watched(words: &[&str]) -> Scene {
    let mut scene = applied(start("watcher", "install"), 1, &schema(1));
    removed(&mut scene, &schema(1));
    web_is_ready(&mut scene, 9000);
    scene.at(20_300);
    gives_up(&mut scene, words);
    scene
}

/// The engine writes its record first, then its words.
fn gives_up(scene: &mut Scene, words: &[&str]) {
    if !words.is_empty() {
        let description = format!(
            "Release \"quay\" failed: {}",
            words.join("\n").trim_start_matches("Error: INSTALLATION FAILED: ")
        );
        let failed = record(scene, 1, "failed", &description, &[web(0).0, schema(1)]);
        release(scene, failed);
    }
    for line in words {
        scene.engine_says(line);
    }
    scene.engine_ends(1);
}

#[test]
fn a_watcher_waits_for_what_never_comes_back() {
    let scene = watched(&[&format!("Error: INSTALLATION FAILED: {NOT_FOUND}"), "context deadline exceeded"]);
    let first = scene.settles_on(&subject());
    assert!(early(&scene, first), "known at {first}");
    let cause = only(&scene);
    assert_eq!(
        cause.statement,
        "Job quay-schema was removed by its TTL of 1s while the install still waited for Deployment quay-web"
    );
    let cited: Vec<_> = cause.citations.iter().map(|citation| citation.text.as_str()).collect();
    assert_eq!(
        cited,
        [
            "spec.ttlSecondsAfterFinished: 1",
            "condition Complete at 03:04:08Z",
            "deleted at 03:04:09Z, when end + TTL had come: 03:04:08Z + 1s = 03:04:09Z",
            "status.availableReplicas: 0 of 1",
            "\"Error: INSTALLATION FAILED: resource Job/harbour/quay-schema not ready. status: NotFound, message: Resource not found\"",
            "wait: watcher with Jobs, timeout: 20s",
        ]
    );
    let chain: Vec<_> = cause.chain.iter().map(|link| link.statement.as_str()).collect();
    assert_eq!(
        chain,
        [
            "quay: its install timed out after 20s waiting for Job quay-schema",
            "Job quay-schema completed and is not there any more"
        ]
    );
}

#[test]
fn while_it_waits_the_chain_says_so() {
    let mut scene = applied(start("watcher", "install"), 1, &schema(1));
    removed(&mut scene, &schema(1));
    web_is_ready(&mut scene, 9000);
    let cause = only(&scene);
    assert_eq!(cause.chain[0].statement, "the install of quay is waiting for Job quay-schema");
    assert_eq!(
        cause.why,
        "the engine has to find the Job complete once the rest is ready, and nothing makes it again"
    );
}

#[test]
fn the_remedy_is_above_the_wait_and_the_others_are_named() {
    let cause = only(&watched(&[NOT_FOUND, "context deadline exceeded"]));
    let remedy = cause.remedy.expect("a remedy");
    let parameter = |name: &str| remedy.parameters[name].as_str();
    assert_eq!(
        (
            remedy.kind.as_str(),
            parameter("job"),
            parameter("at_least"),
            parameter("at_least_seconds")
        ),
        ("raise-ttl", JOB, "80s", "80")
    );
    let kinds: Vec<_> = cause.alternatives.iter().map(|remedy| remedy.kind.as_str()).collect();
    assert_eq!(kinds, ["make-hook", "drop-ttl", "run-outside-release"]);
    assert!(cause.alternatives.iter().all(|remedy| remedy.parameters["job"] == JOB));
    let mut all = [kinds, vec![remedy.kind.as_str()]].concat();
    all.sort_unstable();
    assert_eq!(all, DETECTOR.remedies);
}

#[test]
fn a_hook_that_runs_before_and_after_may_have_run_before() {
    let mut scene = Scene::new();
    scene.push(Fact::EngineStarted(start("watcher", "install"))).at(100);
    let pending = record(&scene, 1, "pending-install", "", &[web(0).0, schema(1)]);
    let hook = here(hook_job("quay-check", "pre-install,post-install", json!({"image": "quay:1"})));
    release(&mut scene, pending).object(with_condition(hook, "Complete", ""));
    let (deployment, set) = web(0);
    scene.at(200).object(deployment).object(set).object(schema(1));
    removed(&mut scene, &schema(1));
    scene.at(6000).lookup("x", Answer::NoSuchName);
    assert_eq!(only(&scene).slug, SLUG);
}

#[test]
fn a_record_that_comes_late_changes_nothing() {
    let mut scene = watched(&[NOT_FOUND, "context deadline exceeded"]);
    let mut timeline = scene.timeline();
    let index = timeline
        .entries
        .iter()
        .position(|entry| matches!(entry.fact, Fact::Release(_)))
        .expect("a record");
    let mut entry = timeline.entries.remove(index);
    entry.at = timeline.entries[index + 1].at;
    timeline.entries.insert(index + 2, entry);
    scene = Scene::new();
    for entry in timeline.entries {
        let after = entry.at.duration_since(scene.stamp());
        let now = scene.stamp().duration_since(timeline.header.observed_at) + after;
        scene.at(i64::try_from(now.as_millis()).expect("a short time")).push(entry.fact);
    }
    scene.settles_on(&subject());
}

#[test]
fn a_watcher_misses_jobs_that_it_was_not_told_to_wait_for_and_a_poll_does_not() {
    for (wait, sure) in [("watcher", true), ("legacy", false), ("hookOnly", false), ("", false)] {
        let told = EngineStart {
            wait_for_jobs: false,
            ..start(wait, "install")
        };
        let mut scene = applied(told, 1, &schema(1));
        removed(&mut scene, &schema(1));
        web_is_ready(&mut scene, 9000);
        assert_eq!(scene.diagnosis().causes.len(), usize::from(sure), "{wait}");
    }
}

#[test]
fn a_poller_takes_a_job_that_has_gone_for_done() {
    let mut scene = applied(start("poller", "install"), 1, &schema(1));
    removed(&mut scene, &schema(1));
    web_is_ready(&mut scene, 9000);
    assert_eq!(scene.diagnosis().causes.len(), 0);
    let mut scene = applied(start("legacy", "install"), 1, &schema(1));
    removed(&mut scene, &schema(1));
    web_is_ready(&mut scene, 9000);
    assert_eq!(scene.diagnosis().causes.len(), 1, "told to wait as Helm 3 does, it misses it");
}

#[test]
fn what_holds_up_the_rest_is_the_cause() {
    let mut scene = applied(start("watcher", "install"), 1, &schema(1));
    let (_, set) = web(0);
    let mut set = set;
    set["spec"]["template"]["spec"]["containers"][0]["imagePullPolicy"] = json!("Never");
    let never = "Container image \"quay:1\" is not present with pull policy of Never";
    scene.at(1200).object(here(pod_of(&set, "p", waiting("ErrImageNeverPull", never))));
    removed(&mut scene, &schema(1));
    scene.at(9000).lookup("x", Answer::NoSuchName);
    scene
        .at(20_300)
        .engine_says("resource Deployment/harbour/quay-web not ready. status: InProgress, message: Available: 0/1")
        .engine_says(NOT_FOUND)
        .engine_says("context deadline exceeded")
        .engine_ends(1);
    scene.settles_on(&[("image-not-loaded", "Deployment/quay-web")]);
}

#[test]
fn a_rollout_that_is_too_slow_as_well_is_a_cause_of_its_own() {
    let mut scene = applied(start("watcher", "install"), 1, &schema(1));
    removed(&mut scene, &schema(1));
    scene
        .at(20_300)
        .engine_says("resource Deployment/harbour/quay-web not ready. status: InProgress, message: Available: 0/1")
        .engine_says(NOT_FOUND)
        .engine_says("context deadline exceeded")
        .engine_ends(1);
    web_is_ready(&mut scene, 26_000);
    assert_eq!(
        scene.diagnosis().identity(),
        [
            ("rollout-timeout-too-short".to_owned(), "Deployment/quay-web".to_owned()),
            (SLUG.to_owned(), "Job/quay-schema".to_owned())
        ]
    );
}

#[test]
fn an_end_that_only_the_pod_tells_of_is_enough() {
    let job = schema(1);
    let mut scene = applied(start("watcher", "install"), 1, &job);
    scene.at(3200);
    let mut pod = here(phase(pod_of(&job, "x", terminated(0)), "Succeeded"));
    pod["status"]["containerStatuses"][0]["state"]["terminated"]["finishedAt"] = json!(seconds(&scene));
    // Nobody saw when the Job went.
    scene.object(pod).at(16_000).push(Fact::Gap {
        kind: "Job".into(),
        reason: "the watch ended and everything was listed again".into(),
    });
    scene.deleted(job);
    web_is_ready(&mut scene, 18_000);
    let cause = only(&scene);
    assert_eq!(cause.slug, SLUG);
    let cited: Vec<_> = cause.citations.iter().map(|citation| citation.text.as_str()).collect();
    assert_eq!(cited[1], "status.phase: Succeeded, ended at 03:04:08Z");
    assert_eq!(cause.chain[1].statement, "Job quay-schema is not there any more");
}

#[test]
fn nothing_is_said_after_the_remedy() {
    let mut scene = watched(&[NOT_FOUND, "context deadline exceeded"]);
    scene.at(21_000).remedy("raise-ttl").at(21_100);
    scene.push(Fact::EngineStarted(start("watcher", "upgrade"))).at(21_200);
    let pending = record(&scene, 2, "pending-upgrade", "", &[web(0).0, schema(80)]);
    release(&mut scene, pending).at(21_300).object(schema(80)).at(23_000);
    assert_eq!(scene.diagnosis().identity(), []);
    let complete = ended(&scene, "Complete", schema(80));
    scene.object(complete).at(23_200).engine_ends(0);
    assert_eq!(scene.diagnosis(), crate::diagnosis::Diagnosis::default());
}

fn helm_release(message: &str) -> Value {
    let conditions = json!([{"type": "Released", "status": "False", "reason": "InstallFailed", "message": message}]);
    json!({"kind": "HelmRelease", "metadata": {"name": NAME, "namespace": NS}, "spec": {"timeout": "20s"}, "status": {"conditions": conditions}})
}

#[test]
fn an_engine_that_nobody_watched_tells_by_its_object() {
    let flux = |message: &str, status: &str| {
        let mut scene = Scene::new();
        let (deployment, set) = web(0);
        let pending = record(&scene, 1, "pending-install", "", &[deployment.clone(), schema(1)]);
        release(&mut scene, pending.clone()).object(helm_release(""));
        scene.at(200).object(deployment).object(set).at(250).object(schema(1));
        removed(&mut scene, &schema(1));
        web_is_ready(&mut scene, 9000);
        scene.at(10_000).object(helm_release(message));
        let ended = ReleaseRecord {
            status: status.to_owned(),
            ..pending
        };
        release(&mut scene, ended);
        scene
    };
    let message = r#"Helm install failed for release harbour/quay with chart quay@3.1.0: jobs.batch "quay-schema" not found"#;
    flux(message, "failed").settles_on(&subject());
    // Newer ones do not miss it.
    flux("", "deployed").never_certain();
}
