use serde_json::{Value, json};

use super::*;
use crate::diagnosis::fixture::*;

const BEGIN: &str = "2026-01-02T03:04:05Z";

/// An object that these have written: who, how many seconds after the scene began, and what.
fn by(mut object: Value, writers: &[(&str, i64, Value)]) -> Value {
    let begin: Timestamp = BEGIN.parse().unwrap();
    let written = |(manager, second, fields): &(&str, i64, Value)| {
        let (manager, subresource) = manager.split_once('/').unwrap_or((manager, ""));
        json!({"manager": manager, "operation": "Update", "subresource": subresource, "time": (begin + SignedDuration::from_secs(*second)).to_string(),
            "fieldsV1": fields})
    };
    object["metadata"]["managedFields"] = writers.iter().map(written).collect();
    object
}

fn in_container(field: &str) -> Value {
    json!({"f:spec": {"f:template": {"f:spec": {"f:containers": {"k:{\"name\":\"web\"}": {(format!("f:{field}")): {}}}}}}})
}

fn selector() -> Value {
    json!({"f:spec": {"f:selector": {}}})
}

/// A Deployment whose image is not on the node since it was changed at 60 s, written by these.
fn changed(writers: &[(&str, i64, Value)]) -> Scene {
    let (deployment, set) = deployment("web", json!({"image": "web:2", "imagePullPolicy": "Never"}), 0);
    let mut scene = Scene::new();
    let message = "Container image \"web:2\" is not present with pull policy of Never";
    scene.at(60_000).object(by(deployment, writers)).object(set.clone());
    scene.object(pod_of(&set, "p", waiting("ErrImageNeverPull", message)));
    scene.settles_on(&[("image-not-loaded", "Deployment/web")]);
    scene
}

/// What is said of managed fields in the citations of the only cause.
fn told(scene: &Scene) -> Vec<String> {
    let cause = scene.diagnosis().causes.remove(0);
    let told = cause
        .citations
        .into_iter()
        .filter(|citation| citation.text.starts_with("managed fields: "));
    told.map(|citation| {
        assert_eq!(citation.basis, crate::evidence::Basis::Inferred);
        format!("{} {}", citation.object, citation.text.trim_start_matches("managed fields: "))
    })
    .collect()
}

#[test]
fn every_pattern_compiles() {
    assert!(OBJECT.is_some() && OTHER.is_some() && FIELD.is_some());
}

#[test]
fn an_image_that_somebody_changed_after_the_release_was_deployed() {
    let scene = changed(&[("kubectl-set", 60, in_container("image")), ("helm", 0, in_container("name"))]);
    assert_eq!(
        told(&scene),
        [
            "Deployment/web kubectl-set wrote spec.template.spec.containers[web].image at 2026-01-02T03:05:05Z, which helm deployed at 2026-01-02T03:04:05Z"
        ]
    );
}

#[test]
fn who_has_nothing_to_do_with_it_is_not_cited() {
    let helm = || ("helm", 0, in_container("image"));
    for writers in [
        // Another field, and another container's.
        vec![("kubectl-edit", 60, in_container("imagePullPolicy")), helm()],
        vec![("kubectl-scale/scale", 60, json!({"f:spec": {"f:replicas": {}}})), helm()],
        // Helm wrote the same value; nobody but Helm; and what was never Helm's is nobody's change.
        vec![("kubectl-set", 60, in_container("image")), helm()],
        vec![helm()],
        vec![("kubectl-client-side-apply", 0, in_container("image"))],
        // It was put right, and this pod is from before that.
        vec![("kubectl-set", 90, in_container("image")), ("helm", 0, in_container("name"))],
        vec![],
    ] {
        assert_eq!(told(&changed(&writers)), [""; 0], "{writers:?}");
    }
}

#[test]
fn of_a_tool_that_wrote_more_than_is_known_only_what_came_later_is_told() {
    let mut much = in_container("name");
    for n in 0..30 {
        much["f:spec"][format!("f:a{n}")] = json!({});
    }
    let writers = |second| [("kubectl-set", second, in_container("image")), ("helm", 30, much.clone())];
    assert_eq!(told(&changed(&writers(60))).len(), 1);
    assert_eq!(told(&changed(&writers(20))), [""; 0]);
}

fn unselected(service: Value, pods: &[(&str, i64, Value)]) -> Scene {
    let mut scene = Scene::new();
    let (deployment, set) = deployment("store-web", json!({"image": "web:1"}), 1);
    scene.object(service).object(by(deployment, pods)).object(set.clone());
    scene.object(as_ready(pod_of(&set, "p", running())));
    scene.at(30_000).object(json!({"kind": "ConfigMap", "metadata": {"name": "later"}}));
    scene.settles_on(&[("service-without-endpoints", "Service/web")]);
    scene
}

#[test]
fn a_selector_or_the_labels_that_somebody_changed() {
    let labels = |key: &str| json!({"f:spec": {"f:template": {"f:metadata": {"f:labels": {(format!("f:{key}")): {}}}}}});
    let spec = || json!({"f:spec": {"f:type": {}}});
    let edited = by(service("web", "web", 80), &[("kubectl-patch", 9, selector()), ("helm", 0, spec())]);
    assert_eq!(
        told(&unselected(edited, &[])),
        ["Service/web kubectl-patch wrote spec.selector at 2026-01-02T03:04:14Z, which helm deployed at 2026-01-02T03:04:05Z"]
    );
    let pods = [("kubectl-edit", 9, labels("app")), ("helm-controller", 0, spec())];
    assert!(
        told(&unselected(service("web", "web", 80), &pods))[0]
            .starts_with("Deployment/store-web kubectl-edit wrote spec.template.metadata.labels.app at")
    );
    // Another label, and a Service of which something else was changed.
    let near = by(service("web", "web", 80), &[("kubectl-edit", 9, spec()), ("helm", 0, selector())]);
    let pods = [("kubectl-edit", 9, labels("team")), ("helm", 0, spec())];
    assert_eq!(told(&unselected(near, &pods)), [""; 0]);
}

#[test]
fn who_suspended_a_dependency() {
    let waits = json!({"kind": "HelmRelease", "metadata": {"name": RELEASE, "generation": 1}, "spec": {"dependsOn": [{"name": "ledger"}]},
        "status": {"observedGeneration": 1, "conditions": [{"type": "Ready", "status": "False", "reason": "DependencyNotReady", "message": "dependency 'shop/ledger' is not ready"}]}});
    let ledger = json!({"kind": "HelmRelease", "metadata": {"name": "ledger", "generation": 1}, "spec": {"suspend": true}});
    let scene = |writers: &[(&str, i64, Value)]| {
        let mut scene = Scene::new();
        scene
            .engine(10_000, "poller")
            .at(100)
            .object(by(ledger.clone(), writers))
            .object(waits.clone());
        scene.settles_on(&[("dependency-not-ready", "HelmRelease/ledger")]);
        scene
    };
    let suspend = ("flux", -3600, json!({"f:spec": {"f:suspend": {}}}));
    let chart = ("kustomize-controller", 0, json!({"f:spec": {"f:chartRef": {}}}));
    assert_eq!(
        told(&scene(&[suspend, chart.clone()])),
        ["HelmRelease/ledger flux wrote spec.suspend at 2026-01-02T02:04:05Z"]
    );
    assert_eq!(told(&scene(&[chart])), [""; 0]);
}

#[test]
fn who_made_the_object_that_a_release_may_not_take_over() {
    let words = "Error: INSTALLATION FAILED: Unable to continue with install: ConfigMap \"rates\" in namespace \"shop\" exists and cannot be imported into the current release: invalid ownership metadata; label validation error: missing key \"app.kubernetes.io/managed-by\": must be set to \"Helm\"";
    let data = |key: &str| json!({"f:data": {(format!("f:{key}")): {}}});
    let scene = |annotations: Value, writers: &[(&str, i64, Value)]| {
        let rates = json!({"kind": "ConfigMap", "metadata": {"name": "rates", "creationTimestamp": BEGIN, "annotations": annotations}, "data": {"a": "1"}});
        let mut scene = Scene::new();
        scene.object(by(rates, writers)).at(60_000).engine(10_000, "watcher").at(60_300);
        scene.engine_says(words).engine_ends(1);
        scene.settles_on(&[("resource-not-owned", "ConfigMap/rates")]);
        scene
    };
    let writers = [("kubectl-edit", 30, data("a")), ("kubectl-create", 0, data("b"))];
    assert_eq!(
        told(&scene(json!({}), &writers)),
        ["ConfigMap/rates kubectl-create made it at 2026-01-02T03:04:05Z"]
    );
    assert_eq!(
        told(&scene(json!({}), &writers[..1])),
        ["ConfigMap/rates kubectl-edit wrote it at 2026-01-02T03:04:35Z"]
    );
    assert_eq!(told(&scene(json!({}), &[])), [""; 0]);
    let own = json!({"meta.helm.sh/release-name": RELEASE, "meta.helm.sh/release-namespace": NAMESPACE});
    assert_eq!(told(&scene(own, &writers)), [""; 0]);
}

#[test]
fn without_records_the_operation_after_which_it_began_is_told() {
    let scene = |second: i64, record: bool| {
        let (mut deployment, set) = deployment("web", json!({"image": "web:2", "imagePullPolicy": "Never"}), 0);
        deployment["metadata"]["annotations"] = json!({"meta.helm.sh/release-name": RELEASE});
        let mut scene = Scene::new();
        scene
            .at(60_000)
            .object(by(deployment, &[("helm", second, in_container("image"))]))
            .object(set.clone());
        if record {
            scene.record("deployed", vec![], vec![]);
        }
        let message = "Container image \"web:2\" is not present with pull policy of Never";
        scene.object(pod_of(&set, "p", waiting("ErrImageNeverPull", message)));
        told(&scene)
    };
    assert_eq!(
        scene(58, false),
        ["Deployment/web helm wrote it for release store at 2026-01-02T03:05:03Z, just before this began"]
    );
    // Long before, only after it, and where the record says so itself.
    for silent in [scene(-600, false), scene(90, false), scene(58, true)] {
        assert_eq!(silent, [""; 0]);
    }
}

const CONFLICT: &str = "Error: UPGRADE FAILED: conflict occurred while applying object shop/web apps/v1, Kind=Deployment: Apply failed with 1 conflict: conflict with \"kubectl\" with subresource \"scale\" using apps/v1: .spec.replicas";

fn refused(words: &str, writers: &[(&str, i64, Value)]) -> String {
    let (deployment, _) = deployment("web", json!({"image": "web:1"}), 1);
    let mut scene = Scene::new();
    scene
        .object(by(deployment, writers))
        .at(60_000)
        .engine(10_000, "watcher")
        .at(60_300);
    scene.engine_says(words).engine_ends(1);
    scene.never_certain();
    let unexplained = scene.diagnosis().unexplained;
    assert_eq!(unexplained.len(), 1, "{unexplained:?}");
    unexplained[0].statement.clone()
}

#[test]
fn who_owns_what_helm_4_may_not_take_over() {
    let replicas = || json!({"f:spec": {"f:replicas": {}}});
    let told = refused(CONFLICT, &[("kubectl/scale", 30, replicas()), ("helm", 0, in_container("image"))]);
    assert!(
        told.ends_with("\"; kubectl wrote spec.replicas of Deployment web at 2026-01-02T03:04:35Z, inferred from managed fields"),
        "{told}"
    );
    // Several fields, each on a line of its own.
    let several = CONFLICT.replace("1 conflict: conflict with \"kubectl\" with subresource \"scale\" using apps/v1: .spec.replicas", "2 conflicts: conflicts with \"kubectl-edit\" using apps/v1:\n- .spec.template.spec.containers[name=\"web\"].image\n- .spec.template.spec.containers[name=\"web\"].env[name=\"A\"].value");
    let told = refused(
        &several,
        &[("kubectl-edit", 30, in_container("image")), ("kubectl/scale", 40, replicas())],
    );
    assert!(told.contains("Apply failed with 2 conflicts"), "{told}");
    assert!(
        told.contains("\"; kubectl-edit wrote spec.template.spec.containers[web].image of Deployment web at"),
        "{told}"
    );
}

#[test]
fn another_writer_owns_nothing_of_what_helm_4_may_not_take_over() {
    let replicas = || json!({"f:spec": {"f:replicas": {}}});
    for writers in [
        vec![("kubectl", 30, replicas()), ("kubectl-edit", 30, replicas())],
        vec![("kubectl/scale", 30, in_container("image"))],
        vec![],
    ] {
        assert!(!refused(CONFLICT, &writers).contains("managed fields"), "{writers:?}");
    }
    assert!(!refused("Error: UPGRADE FAILED: context canceled", &[("kubectl/scale", 30, replicas())]).contains("managed fields"));
}

#[test]
fn paths_of_the_api_are_those_of_writers() {
    for (told, expected) in [
        (".spec.replicas", "spec.replicas"),
        (".spec.a[name=\"x\"].b[containerPort=80,protocol=\"TCP\"].c", "spec.a[x].b[80].c"),
        (".spec.a[mountPath=\"/x\"]", "spec.a[]"),
        ("", ""),
    ] {
        assert_eq!(path(told), expected);
    }
    assert!(covers("spec.a", "spec.a[x].b") && covers("spec.a[x]", "spec.a") && !covers("spec.ab", "spec.a"));
}
