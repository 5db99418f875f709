use serde_json::json;

use super::*;
use crate::diagnosis::fixture::*;

const SLUG: &str = "duplicate-env";

fn plain() -> Value {
    json!({"name": "LEDGER_KEY", "value": "abc"})
}

fn referring() -> Value {
    json!({"name": "LEDGER_KEY", "valueFrom": {"secretKeyRef": {"name": "ledger", "key": "key"}}})
}

fn ledger(env: &[Value]) -> Value {
    deployment("ledger", json!({"image": "ledger:1", "env": env}), 1).0
}

fn failing(manifest: Vec<Value>, words: &str) -> Scene {
    let mut scene = Scene::new();
    scene
        .engine(10_000, "watcher")
        .at(100)
        .record("pending-install", vec![], manifest.clone());
    scene.at(400).record("failed", vec![], manifest).at(450);
    scene.engine_says(&format!("Error: UPGRADE FAILED: {words}")).engine_ends(1);
    scene
}

fn applied(kind: &str) -> String {
    format!(
        "server-side apply failed for object shop/ledger apps/v1, Kind={kind}: failed to create typed patch object (shop/ledger; apps/v1, \
         Kind={kind}): .spec.template.spec.containers[name=\"ledger\"].env: duplicate entries for key [name=\"LEDGER_KEY\"]"
    )
}

fn merged(container: usize) -> String {
    format!(
        "cannot patch \"ledger\" with kind Deployment: Deployment.apps \"ledger\" is invalid: \
         spec.template.spec.containers[{container}].env[0].valueFrom: Invalid value: \"\": may not be specified when `value` is not empty"
    )
}

#[test]
fn every_pattern_compiles() {
    assert!([&APPLIED, &DUPLICATE, &INVALID, &BOTH].iter().all(|pattern| pattern.is_some()));
}

#[test]
fn both_entries_are_cited_and_no_value_is() {
    for words in [applied("Deployment"), merged(0)] {
        let scene = failing(
            vec![ledger(&[plain(), json!({"name": "LEVEL", "value": "debug"}), referring()])],
            &words,
        );
        scene.settles_on(&[(SLUG, "Deployment/ledger")]);
        let cause = &scene.diagnosis().causes[0];
        assert_eq!(
            cause.statement,
            "container ledger of Deployment ledger has LEDGER_KEY twice in its environment: value, then valueFrom"
        );
        let cited: Vec<_> = cause.citations.iter().map(|citation| citation.text.as_str()).collect();
        assert_eq!(cited[0], "spec.template.spec.containers[0].env[0]: LEDGER_KEY by value");
        assert_eq!(cited[1], "spec.template.spec.containers[0].env[2]: LEDGER_KEY by valueFrom");
        assert!(
            cited[2].contains("duplicate entries for key") || cited[2].contains("may not be specified"),
            "{}",
            cited[2]
        );
        assert!(
            cited[2].starts_with("\".spec.template") || cited[2].starts_with("\"spec.template"),
            "{}",
            cited[2]
        );
        assert!(!cited.concat().contains("abc"));
        assert_eq!(cause.chain.len(), 1);
    }
}

#[test]
fn words_that_name_it_need_no_record() {
    let mut scene = Scene::new();
    scene.engine(10_000, "watcher").at(450);
    let escaped = applied("StatefulSet").replace('"', "\\\"");
    scene.engine_says(&format!("level=ERROR msg=\"{escaped}\"")).engine_ends(1);
    scene.settles_on(&[(SLUG, "StatefulSet/ledger")]);
}

#[test]
fn a_hook_and_an_init_container_count_as_well() {
    let mut hook = hook_job("ledger", "pre-upgrade", json!({"image": "ledger:1"}));
    hook["spec"]["template"]["spec"]["initContainers"] = json!([{"name": "wait", "env": [plain(), referring()]}]);
    let words = "pre-upgrade hooks failed: warning: Hook pre-upgrade failed: Job.batch \"ledger\" is invalid: \
         spec.template.spec.initContainers[0].env[1].valueFrom: Invalid value: \"\": may not be specified when `value` is not empty";
    let mut scene = Scene::new();
    scene.engine(10_000, "watcher").at(100);
    let recorded = scene.hook(&hook, "pre-upgrade");
    scene
        .record("failed", vec![recorded], vec![])
        .at(450)
        .engine_says(words)
        .engine_ends(1);
    scene.settles_on(&[(SLUG, "Job/ledger")]);
}

#[test]
fn another_order_of_the_containers_does_not_matter() {
    let mut two = ledger(&[plain(), referring()]);
    let other = json!({"name": "proxy", "env": [plain()]});
    two["spec"]["template"]["spec"]["containers"].as_array_mut().unwrap().push(other);
    failing(vec![two], &merged(1)).settles_on(&[(SLUG, "Deployment/ledger")]);
}

#[test]
fn the_same_name_in_two_containers_is_no_duplicate() {
    let mut two = ledger(&[plain()]);
    let other = json!({"name": "proxy", "env": [referring()]});
    two["spec"]["template"]["spec"]["containers"].as_array_mut().unwrap().push(other);
    // Somebody has set a value by hand where the chart has a reference: the same words, and not for a name that is there twice.
    failing(vec![two], &merged(1)).never_certain();
}

#[test]
fn duplicates_of_ports_and_a_record_that_is_not_there_are_another_story() {
    let ports = applied("Deployment")
        .replace(".env:", ".ports:")
        .replace("[name=\"LEDGER_KEY\"]", "[containerPort=80]");
    failing(vec![ledger(&[plain(), referring()])], &ports).never_certain();
    let mut scene = Scene::new();
    scene.engine(10_000, "watcher").at(450).engine_says(&merged(0)).engine_ends(1);
    scene.never_certain();
}

#[test]
fn a_chart_that_installs_with_a_warning_is_not_diagnosed() {
    let mut scene = Scene::new();
    let manifest = vec![ledger(&[plain(), referring()])];
    scene
        .engine(10_000, "legacy")
        .at(100)
        .record("pending-install", vec![], manifest.clone());
    scene.engine_says(
        "spec.template.spec.containers[0].env[1]: hides previous definition of \"LEDGER_KEY\", which may be dropped when using apply",
    );
    scene.at(400).record("deployed", vec![], manifest).engine_ends(0);
    scene.never_certain();
}
