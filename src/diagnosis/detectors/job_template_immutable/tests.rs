use std::sync::Arc;

use serde_json::{Value, json};

use super::{DETECTOR, refused};
use crate::diagnosis::RootCause;
use crate::diagnosis::fixture::*;
use crate::evidence::{EngineStart, Fact, ReleaseRecord};

const SLUG: &str = "job-template-immutable";
const NS: &str = "library";
const NAME: &str = "shelf";
const JOB: &str = "shelf-reindex";

fn reindex(image: &str) -> Value {
    let mut job = job(JOB, json!({"image": image, "env": [{"name": "MODE", "value": "full"}]}));
    job["metadata"]["namespace"] = json!(NS);
    job
}

fn record(scene: &Scene, revision: u32, status: &str, description: &str, manifest: Vec<Value>) -> Fact {
    Fact::Release(Arc::new(ReleaseRecord {
        name: NAME.into(),
        namespace: NS.into(),
        revision,
        status: status.into(),
        description: description.into(),
        chart: "shelf".into(),
        chart_version: "1.0.0".into(),
        first_deployed: Some(scene.stamp()),
        last_deployed: Some(scene.stamp()),
        hooks: Vec::new(),
        manifest,
        lookups: Vec::new(),
        sources: std::collections::BTreeMap::new(),
    }))
}

/// An upgrade to this Job, from one that completed long ago.
fn upgrading(from: &Value, to: &Value) -> Scene {
    let mut scene = Scene::new();
    let mut live = with_condition(from.clone(), "Complete", "");
    // What the API server adds is no difference.
    live["spec"]["template"]["spec"]["restartPolicy"] = json!("Never");
    live["spec"]["template"]["metadata"]["labels"] = json!({"batch.kubernetes.io/job-name": JOB});
    let first = record(&scene, 1, "deployed", "Install complete", vec![from.clone()]);
    scene.push(first).object(live).at(30_000).later(30_000);
    scene.push(Fact::EngineStarted(EngineStart {
        engine: "helm-3".into(),
        version: "v3.22.0".into(),
        operation: "upgrade".into(),
        release: NAME.into(),
        namespace: NS.into(),
        wait: "legacy".into(),
        wait_for_jobs: true,
        timeout_ms: 20_000,
        kustomization: false,
    }));
    let pending = record(&scene, 2, "pending-upgrade", "Preparing upgrade", vec![to.clone()]);
    scene.at(50).push(pending);
    scene
}

/// What Helm 3 prints: the middle is all of the template.
fn helm_3(job: &str) -> String {
    let template = format!(
        "core.PodTemplateSpec{{ObjectMeta:v1.ObjectMeta{{Name:\"\", {}}}}}",
        "Image:\"shelf:2\", ".repeat(400)
    );
    format!(
        "cannot patch \"{job}\" with kind Job: Job.batch \"{job}\" is invalid: spec.template: Invalid value: {template}: field is immutable"
    )
}

fn helm_4(job: &str) -> String {
    let template = format!("{{\"metadata\":{{}},\"spec\":{{{}}}}}", "\"image\":\"shelf:2\",".repeat(400));
    format!(
        "server-side apply failed for object {NS}/{job} batch/v1, Kind=Job: Job.batch \"{job}\" is invalid: spec.template: Invalid value: {template}: field is immutable"
    )
}

fn failing(scene: &mut Scene, words: &str, to: &[Value]) {
    let failed = record(scene, 2, "failed", &format!("Upgrade \"{NAME}\" failed: {words}"), to.to_vec());
    scene
        .at(400)
        .push(failed)
        .at(450)
        .engine_says(&format!("Error: UPGRADE FAILED: {words}"))
        .engine_ends(1);
}

fn broken(words: &str) -> Scene {
    let mut scene = upgrading(&reindex("shelf:1"), &reindex("shelf:2"));
    failing(&mut scene, words, &[reindex("shelf:2")]);
    scene
}

fn only(scene: &Scene) -> RootCause {
    let mut causes = scene.diagnosis().causes;
    assert_eq!(causes.len(), 1, "{causes:?}");
    causes.remove(0)
}

#[test]
fn the_field_is_cited_with_both_values_and_the_ends_of_the_words() {
    for words in [helm_3(JOB), helm_4(JOB)] {
        let scene = broken(&words);
        scene.settles_on(&[(SLUG, "Job/shelf-reindex")]);
        let cause = only(&scene);
        assert_eq!(
            cause.statement,
            "the upgrade changes the pod template of Job shelf-reindex (spec.containers[shelf-reindex].image), which exists and cannot be changed"
        );
        let cited: Vec<_> = cause.citations.iter().map(|citation| citation.text.as_str()).collect();
        assert_eq!(cited.len(), 3, "{cited:?}");
        assert_eq!(cited[0], "spec.template.spec.containers[shelf-reindex].image: shelf:1 → shelf:2");
        assert!(cited[1].starts_with("\"Job.batch \"shelf-reindex\" is invalid: spec.template: Invalid value: "));
        assert!(cited[1].ends_with(": field is immutable\""), "{}", cited[1]);
        assert_eq!(cited[2], "metadata.creationTimestamp: 2026-01-02T03:04:05Z");
        assert_eq!(cause.chain.len(), 1);
        assert!(
            cause.chain[0]
                .statement
                .starts_with("shelf: its upgrade failed at Job shelf-reindex: \"Upgrade")
        );
    }
}

#[test]
fn a_hook_is_proposed_and_the_others_are_named() {
    let cause = only(&broken(&helm_3(JOB)));
    let remedy = cause.remedy.expect("a remedy");
    assert_eq!((remedy.kind.as_str(), remedy.parameters["job"].as_str()), ("make-hook", JOB));
    let kinds: Vec<_> = cause.alternatives.iter().map(|remedy| remedy.kind.as_str()).collect();
    assert_eq!(kinds, ["name-per-content", "replace-job"]);
    let mut all = [kinds, vec!["make-hook"]].concat();
    all.sort_unstable();
    assert_eq!(all, DETECTOR.remedies);
}

#[test]
fn without_the_earlier_manifest_the_live_job_tells_what_differs() {
    let mut scene = Scene::new();
    let later: Vec<Fact> = broken(&helm_4(JOB))
        .timeline()
        .entries
        .into_iter()
        .map(|entry| entry.fact)
        .collect();
    for fact in later.into_iter().skip(1) {
        scene.at(0).push(fact);
    }
    let cause = only(&scene);
    assert_eq!(
        cause.citations[0].text,
        "spec.template.spec.containers[shelf-reindex].image: shelf:1 → shelf:2"
    );
    assert!(cause.citations.iter().all(|citation| !citation.text.contains("restartPolicy")));
}

#[test]
fn each_job_that_was_refused_is_one() {
    let words = format!("{} && {}", helm_3(JOB), helm_3("shelf-clean"));
    let mut other = reindex("shelf:2");
    other["metadata"]["name"] = json!("shelf-clean");
    let mut scene = upgrading(&reindex("shelf:1"), &reindex("shelf:2"));
    failing(&mut scene, &words, &[reindex("shelf:2"), other]);
    scene.settles_on(&[(SLUG, "Job/shelf-clean"), (SLUG, "Job/shelf-reindex")]);
}

#[test]
fn words_that_were_cut_or_list_more_fields_are_recognised() {
    let job = |words: &str| refused(words).into_iter().map(|refusal| refusal.job).collect::<Vec<_>>();
    for words in [
        r#"Job.batch "a" is invalid: spec.template: Invalid value: core.PodTemplateSpec{ObjectMeta: … [truncated]"#,
        r#"Job.batch "a" is invalid: [spec.completions: Invalid value: 2: field is immutable, spec.template: Invalid value: {}: field is immutable]"#,
        r#"level=ERROR msg="upgrade failed" error="Job.batch \"a\" is invalid: spec.template: Invalid value: {}: field is immutable""#,
        // The engine's last line, and again the description of its record.
        "Job.batch \"a\" is invalid: spec.template: Invalid value: {}: field is immutable\nJob.batch \"a\" is invalid: spec.template: Invalid value: {}: field is immutable",
        r#"Job/library/a dry-run failed (Invalid): Job.batch "a" is invalid: spec.template: Invalid value: {}: field is immutable"#,
    ] {
        assert_eq!(job(words), ["a"], "{words}");
    }
    for words in [
        r#"Job.batch "a" is invalid: spec.template.spec.containers[0].image: Required value"#,
        r#"Job.batch "a" is invalid: spec.completions: Invalid value: 2: field is immutable"#,
        r#"Deployment.apps "a" is invalid: spec.selector: Invalid value: {}: field is immutable"#,
    ] {
        assert_eq!(job(words), [] as [&str; 0], "{words}");
    }
}

#[test]
fn an_unchanged_job_and_one_that_was_replaced_are_silent() {
    let mut scene = upgrading(&reindex("shelf:1"), &reindex("shelf:1"));
    scene.at(700).engine_ends(0);
    scene.never_certain();
    // A hook that is deleted before it is created again.
    let mut hook = reindex("shelf:2");
    hook["metadata"]["annotations"] = json!({"helm.sh/hook": "pre-upgrade", "helm.sh/hook-delete-policy": "before-hook-creation"});
    let mut scene = upgrading(&reindex("shelf:1"), &hook);
    scene.at(300).deleted(reindex("shelf:1")).at(400).object(hook.clone()).at(2000);
    scene.object(with_condition(hook, "Complete", "")).at(2500).engine_ends(0);
    scene.never_certain();
}

#[test]
fn a_hook_that_is_refused_is_another_failure() {
    let mut hook = reindex("shelf:2");
    hook["metadata"]["annotations"] = json!({"helm.sh/hook": "post-upgrade", "helm.sh/hook-delete-policy": "hook-failed"});
    let mut scene = upgrading(&reindex("shelf:1"), &hook);
    let words = format!("post-upgrade hooks failed: {}", helm_4(JOB));
    let Fact::Release(failed) = record(&scene, 2, "failed", &words, vec![]) else {
        unreachable!()
    };
    let mut failed = ReleaseRecord::clone(&failed);
    failed.hooks = vec![scene.hook(&hook, "post-upgrade")];
    scene
        .at(400)
        .push(Fact::Release(Arc::new(failed)))
        .engine_says(&words)
        .engine_ends(1);
    scene.never_certain();
}

#[test]
fn another_failure_of_the_same_upgrade_is_not_this() {
    let mut scene = upgrading(&reindex("shelf:1"), &reindex("shelf:2"));
    failing(
        &mut scene,
        "pre-upgrade hooks failed: timed out waiting for the condition",
        &[reindex("shelf:2")],
    );
    scene.never_certain();
}

#[test]
fn an_upgrade_that_was_rolled_back_was_still_refused() {
    let mut scene = broken("");
    let timeline = scene.timeline();
    scene = Scene::new();
    for entry in timeline
        .entries
        .into_iter()
        .filter(|entry| !matches!(entry.fact, Fact::EngineEnded { .. }))
    {
        scene.push(entry.fact);
    }
    let failed = record(
        &scene,
        2,
        "failed",
        &format!("Upgrade \"{NAME}\" failed: {}", helm_3(JOB)),
        vec![reindex("shelf:2")],
    );
    let back = record(&scene, 3, "deployed", "Rollback to 1", vec![reindex("shelf:1")]);
    let words = format!(
        "Error: UPGRADE FAILED: release {NAME} failed, and has been rolled back due to atomic being set: {}",
        helm_3(JOB)
    );
    scene.push(failed).push(back).engine_says(&words).engine_ends(1);
    let cause = only(&scene);
    assert_eq!(cause.slug, SLUG);
    assert_eq!(
        cause.citations[0].text,
        "spec.template.spec.containers[shelf-reindex].image: shelf:1 → shelf:2"
    );
}
