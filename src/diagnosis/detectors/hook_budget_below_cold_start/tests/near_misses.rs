//! What looks like it, and is silent or something else.

use serde_json::json;

use super::*;

#[test]
fn while_it_runs_it_is_suspected_and_nothing_else_is() {
    let mut story = begin(asks("http://vault-http:8200"), 60_000);
    story.scale_up(1500).tries(1, 6, REFUSED);
    story.scene.never_certain();
    let suspected: Vec<_> = story.scene.diagnosis().suspected.iter().map(|cause| cause.slug.clone()).collect();
    assert!(
        suspected.contains(&SLUG.to_owned()) && !suspected.contains(&"hook-target-unreachable".to_owned()),
        "{suspected:?}"
    );
}

#[test]
fn a_late_scale_up_that_is_in_time_is_silent() {
    let mut story = begin(asks("http://vault-http:8200"), 60_000);
    story.scale_up(1500).tries(1, 6, REFUSED).node_comes(7500);
    let job = story.job.clone();
    story.scene.at(9000).log("seed-keys-x", "seed-keys", "up");
    story.scene.object(phase(pod_of(&job, "x", ended(1, 9, 0)), "Succeeded"));
    story
        .scene
        .at(9100)
        .object(with_condition(job, "Complete", ""))
        .at(9300)
        .engine_ends(0);
    story.scene.never_certain();
    assert_eq!(story.scene.diagnosis(), crate::diagnosis::Diagnosis::default());
}

#[test]
fn a_server_that_nobody_starts_a_node_for_is_no_cold_start() {
    const FULL: &str = "0/1 nodes are available: 1 Insufficient memory.";
    let mut story = begin(asks("http://vault-http:8200"), 60_000);
    let pod = unplaced(&story.server, "0", FULL);
    story.scene.object(pod.clone()).object(failed_scheduling(&pod, FULL));
    story.tries(1, 10, REFUSED).fails(HELM_4);
    story.scene.at(20_000).object(pod);
    assert!(
        story
            .scene
            .diagnoses()
            .iter()
            .all(|diagnosis| diagnosis.identity().iter().all(|(slug, _)| slug != SLUG))
    );
    // What refuses to start one said so after it had begun to: then it does not come.
    let mut story = begin(asks("http://vault-http:8200"), 60_000);
    story.scale_up(1500);
    let refused = refuses_node(&story.pod(), "1 in backoff after failed scale-up");
    story.scene.at(1700).object(refused);
    story.tries(1, 10, REFUSED).fails(HELM_4);
    assert!(story.scene.diagnosis().identity().iter().all(|(slug, _)| slug != SLUG));
}

#[test]
fn an_exit_that_is_not_the_end_of_its_loop_is_not_meant() {
    let mut story = begin(asks("http://vault-http:8200"), 60_000);
    story.scale_up(1500).tries(1, 2, REFUSED);
    let job = story.job.clone();
    story.scene.at(3500).log("seed-keys-x", "seed-keys", "no keys given");
    story.scene.object(phase(pod_of(&job, "x", ended(1, 3, 64)), "Failed"));
    story.scene.at(3600).object(with_condition(job, "Failed", "BackoffLimitExceeded"));
    story.scene.at(3800).engine_says(HELM_4).engine_ends(1);
    story.scene.settles_on(&[("crash-loop", "Job/seed-keys")]);
}

#[test]
fn a_server_that_was_up_is_not_to_blame() {
    let mut story = begin(asks("http://vault-http:8200"), 60_000);
    story.scale_up(1500).tries(1, 5, REFUSED).node_comes(6200);
    // It answers with an error: the loop goes on, and ends.
    story.tries(7, 10, "curl: (22) The requested URL returned error: 503").fails(HELM_4);
    assert_eq!(
        story.scene.diagnosis().identity(),
        [("crash-loop".to_owned(), "Job/seed-keys".to_owned())]
    );
    assert!(
        story
            .scene
            .diagnoses()
            .iter()
            .all(|diagnosis| diagnosis.identity().iter().all(|(slug, _)| slug != SLUG))
    );
}

#[test]
fn a_job_that_may_try_again_is_only_suspected() {
    let mut story = begin(asks("http://vault-http:8200"), 60_000);
    story.job["spec"]["backoffLimit"] = json!(1);
    let job = story.job.clone();
    story.scale_up(1500).tries(1, 10, REFUSED);
    story.scene.at(12_200).object(phase(pod_of(&job, "x", ended(1, 12, 1)), "Failed"));
    story.scene.never_certain();
    story.scene.at(22_000).object(pod_of(&job, "y", started(22)));
    for turn in 1..=10 {
        let line = format!("waiting for the vault ({turn}/10)");
        story.scene.at(22_000 + turn * 1000).log("seed-keys-y", "seed-keys", &line);
    }
    story.scene.at(33_200).object(phase(pod_of(&job, "y", ended(22, 33, 1)), "Failed"));
    story.scene.never_certain();
    story.scene.at(33_400).object(with_condition(job, "Failed", "BackoffLimitExceeded"));
    story.scene.at(33_600).engine_says(HELM_3).engine_ends(1);
    story.scene.settles_on(&[(SLUG, "Job/seed-keys")]);
    let chain = &story.scene.diagnosis().causes[0].chain;
    assert!(
        chain[2]
            .statement
            .starts_with("the 2 pods of Job/seed-keys gave up, the last one after 10 tries in 11s")
    );
}

#[test]
fn its_own_deadline_ends_it_before_its_loop_does() {
    let mut story = begin(asks("http://vault-http:8200"), 60_000);
    story.job["spec"]["activeDeadlineSeconds"] = json!(6);
    let job = story.job.clone();
    story.scene.object(job.clone());
    story.scale_up(1500).tries(1, 5, REFUSED);
    let mut killed = phase(pod_of(&job, "x", ended(1, 7, 143)), "Failed");
    killed["metadata"]["deletionTimestamp"] = json!(moment(7));
    story.scene.at(7000).object(with_condition(job, "Failed", "DeadlineExceeded"));
    story.scene.at(7200).object(killed.clone()).at(7300).deleted(killed);
    story
        .scene
        .at(7500)
        .engine_says("job seed-keys failed: DeadlineExceeded")
        .engine_ends(1);
    story.scene.settles_on(&[("hook-timeout-too-short", "Job/seed-keys")]);
    story.node_comes(20_300);
    story.scene.settles_on(&[("hook-timeout-too-short", "Job/seed-keys")]);
    assert_eq!(story.parameter("need"), "21s");
}

#[test]
fn the_engine_ends_it_before_its_loop_does() {
    // It succeeds in the end: then only the engine's patience was too short.
    let mut story = begin(asks("http://vault-http:8200"), 6000);
    story.scale_up(1500).tries(1, 6, REFUSED);
    story
        .scene
        .at(7100)
        .engine_says("failed pre-install: timed out waiting for the condition")
        .engine_ends(1);
    story.tries(7, 8, REFUSED).node_comes(9100);
    story.scene.never_certain();
    let job = story.job.clone();
    story
        .scene
        .at(10_300)
        .object(phase(pod_of(&job, "x", ended(1, 10, 0)), "Succeeded"));
    story.scene.at(10_400).object(with_condition(job, "Complete", ""));
    story.scene.settles_on(&[("hook-timeout-too-short", "Job/seed-keys")]);

    // Its loop ends as well before the server is there: then both are too short.
    let mut story = begin(asks("http://vault-http:8200"), 6000);
    story.scale_up(1500).tries(1, 6, REFUSED);
    story
        .scene
        .at(7100)
        .engine_says("failed pre-install: timed out waiting for the condition")
        .engine_ends(1);
    story.tries(7, 10, REFUSED).fails("").node_comes(20_300);
    story.scene.settles_on(&[(SLUG, "Job/seed-keys")]);
    assert_eq!(
        (story.parameter("at_least"), story.parameter("timeout_at_least")),
        ("32s".to_owned(), "40s".to_owned())
    );

    // It takes the Job away.
    let mut story = begin(asks("http://vault-http:8200"), 6000);
    story.scale_up(1500).tries(1, 6, REFUSED);
    let job = story.job.clone();
    story.scene.at(7100).deleted(pod_of(&job, "x", started(1))).deleted(job);
    story
        .scene
        .at(7200)
        .engine_says("failed pre-install: timed out waiting for the condition")
        .engine_ends(1);
    story.scene.settles_on(&[("hook-timeout-too-short", "Job/seed-keys")]);
}

#[test]
fn of_several_servers_the_one_that_is_named_is_meant() {
    let env = json!([{"name": "VAULT_ADDR", "value": "vault-http:8200"}, {"name": "LEDGER_HOST", "value": "ledger"}]);
    for (asked, expected) in [("the vault", SLUG), ("the ledger", "crash-loop"), ("its turn", "crash-loop")] {
        let mut story = begin(json!({"image": "seeder:3", "env": env}), 60_000);
        story.scene.object(service("ledger", "ledger", 5432));
        story.scale_up(1500);
        for attempt in 1..=10 {
            let line = format!("waiting for {asked} ({attempt}/10)");
            story.scene.at(1000 + attempt * 1000).log("seed-keys-x", "seed-keys", &line);
        }
        story.fails(HELM_4);
        story.scene.settles_on(&[(expected, "Job/seed-keys")]);
    }
}

#[test]
fn a_script_that_complains_of_somebody_else_does_not_wait_for_it() {
    let script = "for i in $(seq 1 10); do curl -sS https://keys.shop.invalid && break; echo \"waiting ($i/10)\"; sleep 1; done; curl -f http://vault-http:8200";
    let mut story = begin(json!({"command": ["sh", "-c", script]}), 60_000);
    story.scale_up(1500);
    for turn in 1..=10 {
        story
            .scene
            .at(1000 + turn * 1000)
            .log("seed-keys-x", "seed-keys", "curl: (6) Could not resolve host: keys.shop.invalid");
        story.scene.log("seed-keys-x", "seed-keys", &format!("waiting ({turn}/10)"));
    }
    story.fails(HELM_4);
    story.scene.settles_on(&[("hook-target-unreachable", "Job/seed-keys")]);
}
