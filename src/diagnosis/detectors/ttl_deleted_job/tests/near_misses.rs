//! What looks like it and is not.

use serde_json::{Value, json};

use super::*;
use crate::diagnosis::Diagnosis;

#[test]
fn one_that_goes_when_the_release_is_deployed_is_silent() {
    for wait in ["watcher", "legacy"] {
        let job = schema(5);
        let mut scene = applied(start(wait, "install"), 1, &job);
        scene.at(3200);
        let complete = ended(&scene, "Complete", job.clone());
        scene.object(complete.clone());
        web_is_ready(&mut scene, 6000);
        let deployed = record(&scene, 1, "deployed", "Install complete", &[web(0).0, job]);
        release(&mut scene, deployed).at(6300).engine_ends(0);
        scene.at(8300);
        let leaving = leaving(&scene, complete);
        scene
            .object(leaving.clone())
            .at(8400)
            .deleted(leaving)
            .at(12_000)
            .lookup("x", Answer::NoSuchName);
        scene.never_certain();
        assert_eq!(scene.diagnosis(), Diagnosis::default());
    }
}

#[test]
fn one_that_goes_together_with_the_end_of_the_wait_is_not_certain() {
    // The watch of Jobs is ahead of that of Deployments: the engine had found all ready.
    let mut scene = applied(start("watcher", "install"), 1, &schema(1));
    removed(&mut scene, &schema(1));
    web_is_ready(&mut scene, 4450);
    scene.at(4700).engine_ends(0).at(9000).lookup("x", Answer::NoSuchName);
    scene.never_certain();
}

#[test]
fn one_that_goes_when_all_was_ready_is_not_certain() {
    // A poll may come before or after that.
    let mut scene = applied(start("legacy", "install"), 1, &schema(1));
    web_is_ready(&mut scene, 1500);
    removed(&mut scene, &schema(1));
    scene.at(6000).lookup("x", Answer::NoSuchName);
    assert_eq!(scene.diagnosis().suspected.len(), 1);
    scene.at(6100).engine_ends(0);
    scene.never_certain();
}

#[test]
fn an_engine_that_does_not_look_for_jobs_misses_none() {
    let told = EngineStart {
        wait_for_jobs: false,
        ..start("legacy", "install")
    };
    let mut scene = applied(told, 1, &schema(1));
    removed(&mut scene, &schema(1));
    scene.at(6000).lookup("x", Answer::NoSuchName);
    assert_eq!(alone(&scene), []);
}

#[test]
fn one_that_went_before_the_engine_began_is_made_again() {
    let mut scene = Scene::new();
    let complete = ended(&scene, "Complete", schema(1));
    scene.object(complete.clone()).at(1200).deleted(complete).at(2000);
    scene.push(Fact::EngineStarted(start("watcher", "upgrade"))).at(2100);
    let pending = record(&scene, 2, "pending-upgrade", "", &[web(0).0, schema(1)]);
    let (deployment, set) = web(0);
    release(&mut scene, pending)
        .object(deployment)
        .object(set)
        .at(4000)
        .lookup("x", Answer::NoSuchName);
    assert_eq!(alone(&scene), []);
    // One that goes after that and is there again is no miss either.
    let mut scene = applied(start("watcher", "upgrade"), 2, &schema(1));
    removed(&mut scene, &schema(1));
    scene.at(6000).object(schema(1)).at(8000).lookup("x", Answer::NoSuchName);
    assert_eq!(alone(&scene), []);
}

#[test]
fn a_job_of_which_only_one_pod_succeeded_may_have_failed() {
    let mut queue = schema(1);
    queue["spec"]["parallelism"] = json!(2);
    let mut scene = applied(start("watcher", "install"), 1, &queue);
    scene.at(3200);
    let mut pod = here(phase(pod_of(&queue, "x", terminated(0)), "Succeeded"));
    pod["status"]["containerStatuses"][0]["state"]["terminated"]["finishedAt"] = json!(seconds(&scene));
    scene.object(pod);
    let failed = ended(&scene, "Failed", queue);
    scene
        .object(failed.clone())
        .at(4300)
        .deleted(failed)
        .at(6000)
        .lookup("x", Answer::NoSuchName);
    assert_eq!(alone(&scene), []);
}

#[test]
fn one_that_goes_while_a_later_hook_runs_is_silent() {
    let job = schema(1);
    let hook = here(hook_job("quay-announce", "post-install", json!({"image": "quay:1"})));
    for recorded in [true, false] {
        let mut scene = applied(start("watcher", "install"), 1, &job);
        web_is_ready(&mut scene, 1500);
        scene.at(3200);
        let complete = ended(&scene, "Complete", job.clone());
        scene.object(complete.clone()).at(3300);
        if recorded {
            let mut running = record(&scene, 1, "pending-install", "", &[web(0).0, job.clone()]);
            running.hooks = vec![scene.running_hook(&hook, "post-install")];
            release(&mut scene, running);
        }
        scene.object(hook.clone()).at(4300);
        let leaving = leaving(&scene, complete);
        scene
            .object(leaving.clone())
            .at(4400)
            .deleted(leaving)
            .at(7000)
            .object(here(pod_of(&hook, "h", running())));
        // Its pod is unready for a moment.
        scene.at(7100).object(web(0).0);
        scene.never_certain();
        assert_eq!(alone(&scene), []);
        scene
            .at(24_000)
            .engine_says("Error: failed post-install: context deadline exceeded")
            .engine_ends(1);
        scene.never_certain();
    }
}

/// The Job is gone although its time had not come, or for another reason.
fn gone_otherwise(job: &Value, condition: &str, at: i64) -> Scene {
    let mut scene = applied(start("watcher", "install"), 1, job);
    scene.at(3200);
    let mut last = job.clone();
    if !condition.is_empty() {
        last = ended(&scene, condition, last);
        scene.object(last.clone());
    }
    scene.at(at).deleted(last);
    web_is_ready(&mut scene, at + 2000);
    scene
        .at(20_300)
        .engine_says(NOT_FOUND)
        .engine_says("context deadline exceeded")
        .engine_ends(1);
    scene
}

#[test]
fn one_that_was_deleted_before_its_time_or_without_an_end_is_not_this() {
    for (what, ttl, condition, at) in [
        ("by hand, early", 30, "Complete", 6000),
        ("by hand, late: the controller would have come before", 2, "Complete", 18_000),
        ("while it ran", 1, "", 4400),
    ] {
        let scene = gone_otherwise(&schema(ttl), condition, at);
        scene.never_certain();
        assert_eq!(scene.diagnosis().suspected, [], "{what}");
        // That the Job is missing is said all the same.
        let open = scene.diagnosis().unexplained;
        assert!(
            open.iter().any(|link| link.statement.ends_with("is not there any more")),
            "{what}: {open:?}"
        );
    }
    let mut without = schema(1);
    without["spec"]
        .as_object_mut()
        .expect("a specification")
        .remove("ttlSecondsAfterFinished");
    gone_otherwise(&without, "Complete", 4400).never_certain();
}

#[test]
fn a_job_that_had_failed_is_not_said_to_have_succeeded() {
    let scene = gone_otherwise(&schema(1), "Failed", 4400);
    for diagnosis in scene.diagnoses() {
        assert!(diagnosis.causes.iter().chain(&diagnosis.suspected).all(|cause| cause.slug != SLUG));
        let said = serde_json::to_string(&diagnosis).expect("a diagnosis");
        assert!(!said.contains("completed") && !said.contains("Complete"), "{said}");
    }
    let said = serde_json::to_string(&scene.diagnosis()).expect("a diagnosis");
    assert!(said.contains("Job quay-schema failed and is not there any more"), "{said}");
}

#[test]
fn a_hook_is_none_of_the_release() {
    let mut hook = here(hook_job(JOB, "pre-install", json!({"image": "quay:1"})));
    hook["spec"]["ttlSecondsAfterFinished"] = json!(1);
    let mut scene = Scene::new();
    scene.push(Fact::EngineStarted(start("watcher", "install"))).at(100);
    let mut pending = record(&scene, 1, "pending-install", "", &[web(0).0]);
    pending.hooks = vec![scene.running_hook(&hook, "pre-install")];
    release(&mut scene, pending).at(250).object(hook.clone());
    removed(&mut scene, &hook);
    let (deployment, set) = web(0);
    scene.at(4600).object(deployment).object(set);
    web_is_ready(&mut scene, 9000);
    scene.never_certain();
    assert_eq!(scene.diagnosis().suspected, []);
}
