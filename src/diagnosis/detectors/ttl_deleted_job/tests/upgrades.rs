//! Jobs that were there before the engine began, or come again.

use serde_json::{Value, json};

use super::*;
use crate::diagnosis::{Certainty, Diagnosis};

/// A release whose first revision is deployed and whose Job has completed long ago.
fn deployed(job: &Value) -> Scene {
    let mut scene = Scene::new();
    let complete = ended(&scene, "Complete", job.clone());
    let (deployment, set) = web(1);
    let first = record(&scene, 1, "deployed", "Install complete", &[deployment.clone(), job.clone()]);
    release(&mut scene, first).object(deployment).object(set).object(complete);
    scene.at(60_000).later(60_000);
    scene
}

#[test]
fn an_upgrade_makes_a_job_again_that_had_gone_before() {
    let job = schema(1);
    let mut scene = deployed(&job);
    let complete = ended(&scene, "Complete", job.clone());
    scene
        .deleted(complete)
        .push(Fact::EngineStarted(start("watcher", "upgrade")))
        .at(100);
    let pending = record(&scene, 2, "pending-upgrade", "", &[web(0).0, job.clone()]);
    release(&mut scene, pending);
    let (deployment, _) = web(0);
    scene.at(200).object(deployment).at(2000).object(job.clone());
    // It runs on until the Deployment is ready.
    web_is_ready(&mut scene, 6000);
    scene.at(6500);
    let complete = ended(&scene, "Complete", job);
    scene.object(complete).at(6600).engine_ends(0);
    scene.never_certain();
    assert_eq!(scene.diagnosis(), Diagnosis::default());
}

#[test]
fn an_upgrade_that_gives_a_ttl_to_a_job_that_ended_long_ago() {
    let mut bare = schema(1);
    bare["spec"]
        .as_object_mut()
        .expect("a specification")
        .remove("ttlSecondsAfterFinished");
    let mut scene = deployed(&bare);
    scene.push(Fact::EngineStarted(start("legacy", "upgrade"))).at(100);
    let pending = record(&scene, 2, "pending-upgrade", "", &[web(0).0, schema(1)]);
    release(&mut scene, pending);
    let (deployment, _) = web(0);
    scene.at(200).object(deployment).at(300);
    let mut complete = with_condition(schema(1), "Complete", "");
    complete["status"]["conditions"][0]["lastTransitionTime"] = json!("2026-01-02T03:04:05Z");
    scene.object(complete.clone()).at(400);
    let leaving = leaving(&scene, complete);
    scene.object(leaving.clone()).at(450).deleted(leaving);
    web_is_ready(&mut scene, 6000);
    scene
        .at(8000)
        .engine_says(r#"Error: UPGRADE FAILED: jobs.batch "quay-schema" not found"#)
        .engine_ends(1);
    let first = scene.settles_on(&subject());
    assert!(early(&scene, first), "known at {first}");
}

#[test]
fn a_rollback_that_makes_the_job_again_does_not_hide_it() {
    let mut scene = applied(start("legacy", "upgrade"), 2, &schema(1));
    removed(&mut scene, &schema(1));
    web_is_ready(&mut scene, 9000);
    scene.at(10_100);
    let words = r#"Upgrade "quay" failed: jobs.batch "quay-schema" not found"#;
    let failed = record(&scene, 2, "failed", words, &[web(0).0, schema(1)]);
    release(&mut scene, failed);
    let back = record(&scene, 3, "pending-rollback", "Rollback to 1", &[web(0).0, schema(1)]);
    release(&mut scene, back).at(10_300).object(schema(1)).at(11_300);
    let complete = ended(&scene, "Complete", schema(1));
    scene.object(complete);
    let words = r#"Error: UPGRADE FAILED: release quay failed, and has been rolled back due to atomic being set: jobs.batch "quay-schema" not found"#;
    scene.at(11_500).engine_says(words).engine_ends(1);
    assert_eq!(scene.diagnosis().identity(), [(SLUG.to_owned(), "Job/quay-schema".to_owned())]);
}

#[test]
fn an_early_one_that_was_there_before_may_be_made_again() {
    let mut scene = Scene::new();
    let job = schema(30);
    let complete = ended(&scene, "Complete", job.clone());
    scene.object(complete.clone()).at(29_500).later(29_500);
    scene.push(Fact::EngineStarted(start("watcher", "upgrade"))).at(100);
    let pending = record(&scene, 2, "pending-upgrade", "", &[web(0).0, job.clone()]);
    let (deployment, set) = web(0);
    release(&mut scene, pending).at(200).object(deployment).object(set).at(1000);
    let leaving = leaving(&scene, complete);
    scene
        .object(leaving.clone())
        .at(1100)
        .deleted(leaving)
        .at(5000)
        .lookup("x", Answer::NoSuchName);
    let diagnosis = scene.diagnosis();
    assert_eq!(diagnosis.identity(), []);
    assert_eq!(diagnosis.suspected[0].certainty, Certainty::Suspected);
    scene
        .at(20_300)
        .engine_says(NOT_FOUND)
        .engine_says("context deadline exceeded")
        .engine_ends(1);
    web_is_ready(&mut scene, 20_400);
    assert!(
        scene
            .diagnosis()
            .identity()
            .contains(&(SLUG.to_owned(), "Job/quay-schema".to_owned()))
    );
}

#[test]
fn one_that_goes_while_the_engine_goes_back_is_not_why_it_failed() {
    let mut scene = applied(start("watcher", "upgrade"), 2, &schema(18));
    scene.at(3200);
    let complete = ended(&scene, "Complete", schema(18));
    scene.object(complete.clone()).at(20_300);
    let words = r#"Upgrade "quay" failed: resource Deployment/harbour/quay-web not ready. status: InProgress, message: Available: 0/1"#;
    let failed = record(&scene, 2, "failed", words, &[web(0).0, schema(18)]);
    release(&mut scene, failed).at(21_500);
    let leaving = leaving(&scene, complete);
    scene
        .object(leaving.clone())
        .at(21_600)
        .deleted(leaving)
        .at(25_000)
        .lookup("x", Answer::NoSuchName);
    scene.never_certain();
}
