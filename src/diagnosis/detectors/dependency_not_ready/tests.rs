use serde_json::{Value, json};

use crate::diagnosis::fixture::*;

const SLUG: &str = "dependency-not-ready";

fn flux(kind: &str, name: &str, spec: Value, ready: (&str, &str, &str)) -> Value {
    let (status, reason, message) = ready;
    json!({
        "kind": kind, "metadata": {"name": name, "generation": 1}, "spec": spec,
        "status": {"observedGeneration": 1, "conditions": [{"type": "Ready", "status": status, "reason": reason, "message": message}]},
    })
}

/// A release that waits for `ledger`.
fn waiting(kind: &str) -> Value {
    let message = "dependency 'shop/ledger' is not ready";
    flux(
        kind,
        RELEASE,
        json!({"dependsOn": [{"name": "ledger"}]}),
        ("False", "DependencyNotReady", message),
    )
}

fn scene() -> Scene {
    let mut scene = Scene::new();
    scene.engine(10_000, "poller");
    scene
}

fn of_kustomization() -> Scene {
    let mut scene = Scene::new();
    scene.kustomization(10_000);
    scene
}

#[test]
fn one_that_is_suspended_is_certain_at_once() {
    let mut scene = scene();
    scene
        .at(100)
        .object(json!({"kind": "HelmRelease", "metadata": {"name": "ledger", "generation": 1}, "spec": {"suspend": true}}));
    scene.at(300).object(waiting("HelmRelease"));
    scene.settles_on(&[(SLUG, "HelmRelease/ledger")]);
    let cause = &scene.diagnosis().causes[0];
    assert_eq!(cause.statement, "HelmRelease ledger is suspended and not ready");
    assert_eq!(
        cause.chain[0].statement,
        "HelmRelease shop/store does not begin, because it waits for HelmRelease ledger"
    );
    assert_eq!(cause.remedy.as_ref().map(|remedy| remedy.kind.as_str()), Some("resume"));
}

#[test]
fn one_that_is_absent_is_certain_once_nobody_waits_any_more() {
    let mut scene = of_kustomization();
    scene.at(300).object(waiting("Kustomization"));
    scene.never_certain();
    scene
        .at(10_300)
        .engine_says("Ready=False DependencyNotReady: dependency 'shop/ledger' not found")
        .engine_ends(1);
    scene.settles_on(&[(SLUG, "Kustomization/ledger")]);
}

#[test]
fn one_that_is_on_its_way_or_lives_elsewhere_is_not_certain() {
    let mut progressing = scene();
    progressing.object(flux(
        "HelmRelease",
        "ledger",
        json!({}),
        ("Unknown", "Progressing", "Running 'install'"),
    ));
    progressing.at(300).object(waiting("HelmRelease")).at(10_300).engine_ends(1);
    progressing.never_certain();
    let mut elsewhere = scene();
    let mut waiting = waiting("HelmRelease");
    waiting["spec"]["dependsOn"][0]["namespace"] = json!("bank");
    elsewhere.at(300).object(waiting).at(10_300).engine_ends(1);
    elsewhere.never_certain();
}

#[test]
fn a_cause_within_the_dependency_is_the_root_and_told_once() {
    let mut scene = of_kustomization();
    let (deployment, set) = deployment(
        "ledger",
        json!({"image": "app:1", "env": [{"name": "P", "valueFrom": {"secretKeyRef": {"name": "vault", "key": "p"}}}]}),
        0,
    );
    let pod = pod_of(
        &set,
        "p",
        super::super::super::fixture::waiting("CreateContainerConfigError", "secret \"vault\" not found"),
    );
    scene.object(deployment).object(set).object(pod);
    let stalled = "Failed to install after 2 attempt(s)";
    let mut ledger = flux(
        "Kustomization",
        "ledger",
        json!({"wait": true}),
        ("False", "HealthCheckFailed", stalled),
    );
    ledger["status"]["inventory"] = json!({"entries": [{"id": "shop_ledger_apps_Deployment", "v": "v1"}]});
    scene.at(200).object(ledger);
    scene.at(300).object(waiting("Kustomization"));
    let mut other = waiting("Kustomization");
    other["metadata"]["name"] = json!("reports");
    scene.object(other);
    scene.at(10_300).engine_ends(1);
    scene.settles_on(&[("secret-missing", "Secret/vault")]);
    let chain: Vec<_> = scene.diagnosis().causes[0]
        .chain
        .iter()
        .map(|link| link.statement.clone())
        .collect();
    assert_eq!(
        chain[0],
        "Kustomization shop/store does not begin, because it waits for Kustomization ledger"
    );
}

#[test]
fn a_chain_of_dependencies_ends_at_its_last_one() {
    let mut scene = scene();
    let middle = flux(
        "HelmRelease",
        "ledger",
        json!({"dependsOn": [{"name": "base"}]}),
        ("False", "DependencyNotReady", "dependency 'shop/base' is not ready"),
    );
    scene
        .at(100)
        .object(json!({"kind": "HelmRelease", "metadata": {"name": "base", "generation": 1}, "spec": {"suspend": true}}));
    scene.object(middle).at(300).object(waiting("HelmRelease"));
    scene.settles_on(&[(SLUG, "HelmRelease/base")]);
    let statements: Vec<_> = scene.diagnosis().causes[0]
        .chain
        .iter()
        .map(|link| link.statement.clone())
        .collect();
    assert_eq!(
        statements,
        [
            "HelmRelease shop/store does not begin, because it waits for HelmRelease ledger",
            "HelmRelease shop/ledger does not begin, because it waits for HelmRelease base"
        ]
    );
}
