use serde_json::json;

use super::*;
use crate::evidence::{Change, Entry, Header};

fn timeline(objects: Vec<Value>) -> Timeline {
    let at = "2026-01-02T03:04:05Z".parse().unwrap();
    let entry = |object: Value| Entry {
        at,
        fact: Fact::Object {
            change: Change::Applied,
            object: Arc::new(object),
            writers: Arc::default(),
        },
    };
    Timeline {
        header: Header::begin("acme-billing", at),
        entries: objects.into_iter().map(entry).collect(),
    }
}

fn story() -> Timeline {
    let pod = json!({"kind": "Pod", "metadata": {"name": "ledger-7f9c8d-x2k4z", "namespace": "acme-billing", "labels": {"app": "ledger", "team": "payments", "pod-template-hash": "7f9c8d"}},
        "spec": {"nodeName": "worker-eu-7", "nodeSelector": {"acme.example/tier": "gold", "kubernetes.io/os": "linux"}, "containers": [{"name": "ledger",
            "image": "registry.acme.example:5000/billing/engine:1.2", "command": ["sh", "-c", "curl http://ledger-db.acme-billing.svc:5432 https://auth.acme.example/x"],
            "env": [{"name": "P", "valueFrom": {"secretKeyRef": {"name": "ledger-login", "key": "p"}}}]}]},
        "status": {"phase": "Pending", "containerStatuses": [{"name": "ledger", "state": {"waiting": {"reason": "CreateContainerConfigError", "message": "secret \"ledger-login\" not found"}}}]}});
    let deployment = json!({"kind": "Deployment", "metadata": {"name": "ledger", "namespace": "acme-billing"}, "spec": {"selector": {"matchLabels": {"app": "ledger", "team": "payments"}}}});
    timeline(vec![pod, deployment])
}

#[test]
fn a_name_is_the_same_stand_in_everywhere() {
    let story = story();
    let names = Names::of([&story]);
    let [pod, deployment] = names
        .timeline(story)
        .entries
        .try_into()
        .map(|entries: [Entry; 2]| {
            entries.map(|entry| match entry.fact {
                Fact::Object { object, .. } => object,
                _ => Arc::default(),
            })
        })
        .unwrap();
    let ledger = deployment["metadata"]["name"].as_str().unwrap();
    assert_eq!(pod["metadata"]["name"], format!("{ledger}-7f9c8d-x2k4z"));
    assert_eq!(pod["metadata"]["labels"]["app"], ledger);
    assert_eq!(
        pod["metadata"]["labels"]["team"],
        deployment["spec"]["selector"]["matchLabels"]["team"]
    );
    assert_eq!(pod["metadata"]["labels"]["pod-template-hash"], "7f9c8d");
    assert_eq!(pod["spec"]["nodeSelector"]["kubernetes.io/os"], "linux");
    let login = pod.pointer("/spec/containers/0/env/0/valueFrom/secretKeyRef/name").unwrap();
    assert_eq!(
        pod.pointer("/status/containerStatuses/0/state/waiting/message").unwrap(),
        &json!(format!("secret \"{}\" not found", login.as_str().unwrap()))
    );
    assert!(login.as_str().unwrap().starts_with(&format!("{ledger}-")));
    let all = format!("{pod}{deployment}");
    for name in ["ledger", "acme", "payments", "gold", "worker-eu", "engine", "auth."] {
        assert!(!all.contains(name), "{name} in {all}");
    }
    assert!(
        all.contains(".svc:5432") && all.contains("curl http://") && all.contains(":5000/image-anchor:1.2"),
        "{all}"
    );
}

#[test]
fn words_and_what_is_the_systems_own_stay() {
    for name in ["default", "kube-system", "job", "system:node:a", "sh.helm.release.v1.web.v1", "7"] {
        assert!(stays(name), "{name}");
    }
    assert!(!stays("ledger") && !stays("ledger-login"));
    assert!(is_generated("7f9c8d-x2k4z") && is_generated("0") && is_generated("v3") && !is_generated("login") && !is_generated("db-0"));
    assert!(is_public_image("busybox") && is_public_image("curlimages/curl") && !is_public_image("ghcr.io/acme/app"));
}

#[test]
fn nothing_is_nothing() {
    let empty = timeline(Vec::new());
    let names = Names::of([&empty]);
    assert_eq!(names.text("curl: (6) Could not resolve host"), "curl: (6) Could not resolve host");
    assert_eq!(names.timeline(empty).header.namespace, "namespace-anchor");
    assert_eq!(Names::default().text("a-b"), "a-b");
}

#[test]
fn stand_ins_are_never_nearly_the_same() {
    let mut given = Given::default();
    let all: Vec<String> = (0..200).map(|_| given.next("object")).collect();
    for (at, one) in all.iter().enumerate().rev() {
        for other in &all[..at] {
            let distance = strsim::damerau_levenshtein(one, other);
            let least = if at < 26 { one.len().min(other.len()) / 5 } else { 2 };
            assert!(distance > least, "{one} {other}");
        }
    }
    given.name("ledger", Sort::Object);
    assert_eq!(given.near("ledgr"), given.forms.get("ledger").map(|known| format!("{known}x")));
    assert_eq!(given.near("catalog"), None);
}
