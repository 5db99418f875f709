use serde_json::{Value, json};

use super::*;
use crate::diagnosis::fixture::*;

const LOGIN: (&str, &str) = (DETECTOR.slug, "Secret/db-login");

fn secret(keys: &[&str]) -> Value {
    let data: serde_json::Map<String, Value> = keys
        .iter()
        .map(|key| ((*key).to_owned(), json!({"length": 12, "hash": "0a1b2c"})))
        .collect();
    json!({"kind": "Secret", "metadata": {"name": "db-login"}, "data": data})
}

fn asks(optional: bool) -> Value {
    json!({"image": "app:1", "env": [{"name": "DB_PASS", "valueFrom": {"secretKeyRef": {"name": "db-login", "key": "password", "optional": optional}}}]})
}

fn refuses() -> Value {
    waiting("CreateContainerConfigError", "couldn't find key password in Secret shop/db-login")
}

/// A namespace that nobody installs anything in.
fn live(container: Value) -> (Scene, Value) {
    let (deployment, set) = deployment("billing", container, 0);
    let mut scene = Scene::new();
    scene.object(deployment).object(set.clone());
    (scene, set)
}

#[test]
fn every_pattern_compiles() {
    assert!(ENV.is_some() && VOLUME.is_some());
}

#[test]
fn the_object_is_there_and_the_key_is_not() {
    let (mut scene, set) = live(asks(false));
    scene.object(secret(&["DB_PASSWORD", "user"])).object(pod_of(&set, "p", refuses()));
    scene.settles_on(&[LOGIN]);
    let cause = &scene.diagnosis().causes[0];
    assert_eq!(cause.statement, "Secret db-login has no key password");
    let remedy = cause.remedy.as_ref().unwrap();
    assert_eq!(
        (remedy.kind.as_str(), remedy.parameters["key"].as_str()),
        ("use-key", "DB_PASSWORD")
    );
    assert!(
        cause
            .citations
            .iter()
            .any(|citation| citation.text == "data: the keys DB_PASSWORD, user")
    );
}

#[test]
fn a_file_of_a_volume_and_a_config_map() {
    let (mut scene, set) = live(json!({"image": "app:1"}));
    let mut pod = pod_of(&set, "p", waiting("ContainerCreating", ""));
    pod["spec"]["volumes"] = json!([{"name": "rules", "projected": {"sources": [{"configMap": {"name": "rules", "items": [{"key": "main.yaml", "path": "r"}]}}]}}]);
    scene.object(json!({"kind": "ConfigMap", "metadata": {"name": "rules"}, "data": {"other.yaml": ""}}));
    scene.object(pod.clone());
    scene.at(800).object(warning(
        &pod,
        "FailedMount",
        "MountVolume.SetUp failed for volume \"rules\" : configmap references non-existent config key: main.yaml",
    ));
    scene.settles_on(&[(DETECTOR.slug, "ConfigMap/rules")]);
    assert_eq!(scene.diagnosis().causes[0].remedy.as_ref().unwrap().kind, "add-key");
}

#[test]
fn who_may_not_read_secrets_has_the_kubelets_word() {
    let (mut scene, set) = live(asks(false));
    scene.object(pod_of(&set, "p", refuses()));
    let mut timeline = scene.timeline();
    timeline.header.watched.retain(|kind| kind != "Secret");
    let diagnosis = crate::diagnosis::diagnose(&Evidence::of(&timeline));
    assert_eq!(diagnosis.identity(), [(LOGIN.0.to_owned(), LOGIN.1.to_owned())]);
}

#[test]
fn a_key_that_is_there_an_optional_one_and_one_that_has_come_are_not_missing() {
    let (mut scene, set) = live(asks(false));
    scene
        .object(secret(&["password"]))
        .object(pod_of(&set, "p", waiting("ContainerCreating", "")));
    scene.at(20_000).object(set.clone());
    scene.never_certain();
    let (mut scene, set) = live(asks(true));
    scene
        .object(secret(&[]))
        .object(pod_of(&set, "p", waiting("ContainerCreating", "")));
    scene.at(20_000).object(set.clone());
    scene.never_certain();
    // What the kubelet said before somebody added it does not count any more.
    let (mut scene, set) = live(asks(false));
    scene.object(secret(&["password"])).object(pod_of(&set, "p", refuses()));
    scene.never_certain();
}

#[test]
fn an_object_that_does_not_exist_is_another_failure() {
    let (mut scene, set) = live(asks(false));
    let message = "secret \"db-login\" not found";
    scene.object(pod_of(&set, "p", waiting("CreateContainerConfigError", message)));
    scene.settles_on(&[("secret-missing", "Secret/db-login")]);
}

#[test]
fn what_a_controller_makes_may_still_come() {
    let external = |ready: &str| {
        json!({"kind": "ExternalSecret", "metadata": {"name": "db"}, "spec": {"target": {"name": "db-login"}},
            "status": {"conditions": [{"type": "Ready", "status": ready}]}})
    };
    let (mut scene, set) = live(asks(false));
    scene
        .object(secret(&["user"]))
        .object(external("Unknown"))
        .object(pod_of(&set, "p", refuses()));
    scene.never_certain();
    // It is done, and has made what it was told to.
    scene.at(3000).object(external("True"));
    scene.settles_on(&[LOGIN]);
}

#[test]
fn two_pods_and_two_keys_are_one_cause() {
    let (mut scene, set) = live(asks(false));
    let second = json!({"image": "app:2", "env": [{"name": "USER", "valueFrom": {"secretKeyRef": {"name": "db-login", "key": "login"}}}]});
    let (other, other_set) = deployment("invoices", second, 0);
    scene.object(other).object(other_set.clone()).object(secret(&["x"]));
    scene.object(pod_of(&set, "p", refuses()));
    let message = "couldn't find key login in Secret shop/db-login";
    scene
        .at(500)
        .object(pod_of(&other_set, "q", waiting("CreateContainerConfigError", message)));
    scene.settles_on(&[LOGIN]);
    assert_eq!(scene.diagnosis().causes[0].statement, "Secret db-login has no keys login, password");
}

#[test]
fn which_key_is_meant() {
    let held = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(nearest("db-password", &held(&["DB_PASSWORD", "password"])), Some("DB_PASSWORD"));
    assert_eq!(nearest("pasword", &held(&["password", "user"])), Some("password"));
    assert_eq!(nearest("token", &held(&["password", "user"])), None);
    assert_eq!(nearest("ca.crt", &held(&["tls.crt"])), None);
}
