//! Scenes of patches that do not get to their Job, and of some that nobody can blame.

use serde_json::{Value, json};

use crate::diagnosis::fixture::*;
use crate::diagnosis::post_renderers::ORIGIN;

const SLUG: &str = "post-renderer-no-effect";
const OTHER: &str = "hook-target-unreachable";

fn asks(env: Value) -> Value {
    json!({"command": ["sh", "-c", "until curl -sS \"$IDENTITY_URL/health\"; do echo waiting for identity; sleep 1; done"], "env": env})
}

fn public() -> Value {
    json!([{"name": "IDENTITY_URL", "value": "https://login.shop.invalid"}])
}

/// The parts of an object that give the Job this address.
fn merge(url: &str) -> String {
    let part = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "realm-setup"}, "spec": {"template": {"spec": {
        "containers": [{"name": "realm-setup", "env": [{"name": "IDENTITY_URL", "value": url}]}]}}}});
    part.to_string()
}

fn release(target: Value, patch: &str) -> Value {
    json!({
        "kind": "HelmRelease", "metadata": {"name": RELEASE},
        "spec": {"postRenderers": [{"kustomize": {"patches": [{"target": target, "patch": patch}]}}]},
    })
}

fn target(name: &str) -> Value {
    json!({"kind": "Job", "name": name})
}

/// A Job that waits for the public name, under a release; `hook` or tracked.
fn scene(release: Value, mut job: Value, hook: bool) -> Scene {
    job["apiVersion"] = json!("batch/v1");
    let mut scene = Scene::new();
    scene.object(release).engine(20_000, "legacy");
    let (deployment, set) = deployment("identity", json!({"image": "identity:1"}), 1);
    let pod = as_ready(pod_of(&set, "abcde", running()));
    scene
        .at(200)
        .object(deployment.clone())
        .object(set)
        .object(pod)
        .object(service("identity", "identity", 80));
    let hooks = Vec::from_iter(hook.then(|| scene.at(1000).running_hook(&job, "post-install")));
    let tracked = Vec::from_iter((!hook).then(|| job.clone()));
    let manifest = [vec![deployment.clone()], tracked].concat();
    scene.record("pending-install", hooks, manifest).object(job.clone());
    scene.at(1500).object(pod_of(&job, "x", running()));
    for turn in 0..4 {
        scene.at(2000 + turn * 1000).log(
            "realm-setup-x",
            "realm-setup",
            "curl: (6) Could not resolve host: login.shop.invalid",
        );
        scene.log("realm-setup-x", "realm-setup", "waiting for identity");
    }
    scene
}

fn hook() -> Value {
    hook_job("realm-setup", "post-install", asks(public()))
}

fn labelled(mut job: Value) -> Value {
    job["metadata"]["labels"] = json!({ORIGIN: RELEASE});
    job
}

fn remedies(scene: &Scene) -> Vec<String> {
    let cause = &scene.diagnosis().causes[0];
    cause
        .remedy
        .iter()
        .chain(&cause.alternatives)
        .map(|remedy| remedy.kind.clone())
        .collect()
}

#[test]
fn a_hook_that_is_not_post_rendered() {
    let scene = scene(release(target("realm-setup"), &merge("http://identity")), hook(), true);
    scene.settles_on(&[(SLUG, "HelmRelease/store")]);
    let cause = &scene.diagnosis().causes[0];
    let chain: Vec<_> = cause
        .chain
        .iter()
        .map(|link| (link.statement.as_str(), link.slug.as_deref()))
        .collect();
    assert_eq!(
        chain,
        [
            ("the install of store is waiting for Job realm-setup (post-install hook)", None),
            ("pod realm-setup-x printed \"waiting for identity\" 4 times", None),
            ("login.shop.invalid does not resolve inside the cluster", Some(OTHER)),
        ]
    );
    let cited: Vec<_> = cause.citations.iter().map(|citation| citation.text.as_str()).collect();
    assert_eq!(
        cited,
        [
            "spec.postRenderers[0].kustomize.patches[0]: for Job realm-setup, env IDENTITY_URL of realm-setup: http://identity",
            "env IDENTITY_URL of realm-setup: https://login.shop.invalid",
            "metadata.labels: no helm.toolkit.fluxcd.io/name, which Flux gives everything that it post-renders",
            "\"curl: (6) Could not resolve host: login.shop.invalid\"",
        ]
    );
    assert_eq!(remedies(&scene), ["use-chart-value"]);
    assert_eq!(
        cause.remedy.as_ref().map(|remedy| remedy.parameters["url"].as_str()),
        Some("http://identity")
    );
}

#[test]
fn hooks_that_the_release_leaves_out() {
    let mut release = release(target("realm-setup"), &merge("http://identity"));
    release["spec"]["postRenderStrategy"] = json!("nohooks");
    let scene = scene(release, hook(), true);
    scene.settles_on(&[(SLUG, "HelmRelease/store")]);
    assert_eq!(remedies(&scene), ["use-chart-value", "post-render-hooks"]);
}

#[test]
fn a_target_that_is_nothing_of_the_release() {
    let tracked = labelled(job("realm-setup", asks(public())));
    for target in [
        target("store-realm-setup"),
        json!({"kind": "Job", "name": "realm-setup", "namespace": NAMESPACE}),
    ] {
        let scene = scene(release(target, &merge("http://identity")), tracked.clone(), false);
        scene.settles_on(&[(SLUG, "HelmRelease/store")]);
        assert_eq!(remedies(&scene), ["right-target", "use-chart-value"]);
    }
    // Where hooks are not post-rendered, the right target is of no use.
    let scene = scene(release(target("store-realm-setup"), &merge("http://identity")), hook(), true);
    scene.settles_on(&[(SLUG, "HelmRelease/store")]);
    assert_eq!(remedies(&scene), ["use-chart-value"]);
}

#[test]
fn an_entry_before_the_one_that_wins() {
    let env =
        json!([{"name": "IDENTITY_URL", "value": "http://identity"}, {"name": "IDENTITY_URL", "value": "https://login.shop.invalid"}]);
    let insertion = "- op: add\n  path: /spec/template/spec/containers/0/env/0\n  value: {name: IDENTITY_URL, value: http://identity}\n";
    let scene = scene(
        release(target("realm-setup"), insertion),
        labelled(job("realm-setup", asks(env))),
        false,
    );
    scene.settles_on(&[(SLUG, "HelmRelease/store")]);
    let cause = &scene.diagnosis().causes[0];
    assert!(
        cause
            .citations
            .iter()
            .any(|citation| citation.text == "env IDENTITY_URL of realm-setup (the last of 2): https://login.shop.invalid")
    );
    assert_eq!(remedies(&scene), ["strategic-merge", "use-chart-value"]);
}

/// The address is unreachable all the same, and the patch is not to blame for it.
fn blames_the_address(scene: &Scene) {
    scene.settles_on(&[(OTHER, "Job/realm-setup")]);
}

#[test]
fn a_patch_that_would_not_have_helped_is_not_to_blame() {
    // Its address does not exist either.
    blames_the_address(&scene(release(target("realm-setup"), &merge("http://idp")), hook(), true));
    // It is for another variable.
    let other = merge("http://identity").replace("IDENTITY_URL", "LOG_URL");
    blames_the_address(&scene(release(target("realm-setup"), &other), hook(), true));
    // It is for another object, which it reaches.
    let mut release_of_two = release(json!({"kind": "Deployment"}), &merge("http://identity"));
    blames_the_address(&scene(release_of_two.clone(), labelled(job("realm-setup", asks(public()))), false));
    // Nobody can tell what it selects.
    release_of_two["spec"]["postRenderers"][0]["kustomize"]["patches"][0]["target"] = json!({"labelSelector": "app in (identity)"});
    blames_the_address(&scene(release_of_two, labelled(job("realm-setup", asks(public()))), false));
}

#[test]
fn a_patch_that_takes_effect_is_nothing() {
    let mut scene = scene(
        release(target("realm-setup"), &merge("http://identity")),
        labelled(job(
            "realm-setup",
            asks(json!([{"name": "IDENTITY_URL", "value": "http://identity"}])),
        )),
        false,
    );
    scene.at(6000).log("realm-setup-x", "realm-setup", "the realm is there");
    for diagnosis in scene.diagnoses() {
        assert!(!diagnosis.identity().iter().any(|(slug, _)| slug == SLUG));
    }
}

#[test]
fn an_engine_that_goes_back_takes_away_what_the_patch_named() {
    let mut scene = scene(release(target("realm-setup"), &merge("http://identity")), hook(), true);
    scene.at(6000).deleted(service("identity", "identity", 80));
    scene.settles_on(&[(SLUG, "HelmRelease/store")]);
}
