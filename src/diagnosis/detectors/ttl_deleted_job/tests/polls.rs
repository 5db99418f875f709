//! The wait of Helm 3, which asks for one resource after the other.

use serde_json::json;

use super::*;

const MISSED: &str = r#"Error: INSTALLATION FAILED: jobs.batch "quay-schema" not found"#;

/// Helm 3, and Helm 4 with its legacy wait, ask for the Job once the Deployment is ready.
fn polled(words: &[&str]) -> Scene {
    let mut scene = applied(start("legacy", "install"), 1, &schema(1));
    removed(&mut scene, &schema(1));
    web_is_ready(&mut scene, 9000);
    scene.at(10_100);
    gives_up(&mut scene, words);
    scene
}

#[test]
fn a_poll_misses_it_at_its_turn() {
    for words in [
        MISSED,
        r#"Error: INSTALLATION FAILED: release quay failed, and has been uninstalled due to atomic being set: jobs.batch "quay-schema" not found"#,
        r#"time=… level=ERROR msg="install failed" error="jobs.batch \"quay-schema\" not found""#,
    ] {
        let scene = polled(&[words]);
        let first = scene.settles_on(&subject());
        assert!(early(&scene, first), "known at {first}");
        let chain = only(&scene).chain;
        assert!(
            chain[0].statement.starts_with("quay: its install failed at Job quay-schema: \""),
            "{chain:?}"
        );
        assert_eq!(chain[1].statement, "Job quay-schema completed and is not there any more");
    }
}

#[test]
fn a_poll_that_missed_a_job_did_not_wait_for_what_comes_after_it() {
    let later = {
        let mut later = schema(1);
        later["metadata"]["name"] = json!("quay-tally");
        later
    };
    let mut scene = applied(start("legacy", "install"), 1, &schema(1));
    let pending = record(&scene, 1, "pending-install", "", &[web(0).0, schema(1), later.clone()]);
    release(&mut scene, pending)
        .object(later.clone())
        .object(here(pod_of(&later, "l", running())));
    removed(&mut scene, &schema(1));
    web_is_ready(&mut scene, 9000);
    scene.at(10_100).engine_says(MISSED).engine_ends(1);
    let chain = only(&scene).chain;
    assert!(
        chain[0].statement.starts_with("quay: its install failed at Job quay-schema: \""),
        "{chain:?}"
    );
}

#[test]
fn the_record_alone_tells_the_words_too() {
    let mut scene = polled(&[]);
    assert_eq!(scene.diagnosis().identity(), []);
    let words = r#"Release "quay" failed: jobs.batch "quay-schema" not found"#;
    let failed = record(&scene, 1, "failed", words, &[web(0).0, schema(1)]);
    release(&mut scene, failed);
    assert_eq!(scene.diagnosis().identity(), [(SLUG.to_owned(), "Job/quay-schema".to_owned())]);
}

#[test]
fn a_poll_that_never_came_to_the_job_says_nothing_of_it() {
    let mut scene = applied(start("legacy", "install"), 1, &schema(1));
    removed(&mut scene, &schema(1));
    scene
        .at(20_300)
        .engine_says("Error: INSTALLATION FAILED: context deadline exceeded")
        .engine_ends(1);
    web_is_ready(&mut scene, 26_000);
    assert_eq!(
        scene.diagnosis().identity(),
        [("rollout-timeout-too-short".to_owned(), "Deployment/quay-web".to_owned())]
    );
}
