//! Scenes of pods that no node takes.

use serde_json::{Value, json};

use crate::diagnosis::fixture::*;
use crate::diagnosis::pool_fixture::*;
use crate::remedy::Remedy;

const SLUG: &str = "node-selector-unsatisfiable";
const RENDER: (&str, &str) = (SLUG, "Deployment/render");
const REFUSAL: &str = "1 node(s) didn't match Pod's node affinity/selector";

/// A Deployment whose pod asks for these labels, and its pod that no node takes.
fn begin(nodes: &[Value], selector: Value) -> (Scene, Value) {
    let (mut deployment, mut set) = deployment("render", json!({"image": "render:1"}), 0);
    for owner in [&mut deployment, &mut set] {
        owner["spec"]["template"]["spec"]["nodeSelector"] = selector.clone();
    }
    let mut scene = Scene::new();
    for node in nodes {
        scene.object(node.clone());
    }
    scene
        .engine(20_000, "watcher")
        .at(100)
        .record("pending-install", vec![], vec![deployment.clone()]);
    scene.at(200).object(deployment).object(set.clone());
    (scene, set)
}

fn pending(scene: &mut Scene, set: &Value, words: &str) -> Value {
    let pod = unplaced(set, "p", words);
    scene.at(400).object(pod.clone()).object(failed_scheduling(&pod, words));
    pod
}

fn remedy(scene: &Scene) -> Remedy {
    scene.diagnosis().causes[0].remedy.clone().expect("a remedy")
}

#[test]
fn an_autoscaler_that_refuses_makes_it_certain_early() {
    let nodes = [node("a", json!({"pool": "render-v2"}), ""), node("b", json!({"pool": "web"}), "")];
    let (mut scene, set) = begin(&nodes, json!({"pool": "render-v1"}));
    let pod = pending(&mut scene, &set, UNFIT);
    scene.never_certain();
    assert_eq!(scene.diagnosis().suspected.len(), 1);
    scene.at(9000).object(refuses_node(&pod, REFUSAL));
    let first = scene.settles_on(&[RENDER]);
    assert_eq!(first + 1, scene.diagnoses().len());
    scene
        .at(20_300)
        .engine_says("resource Deployment/shop/render not ready. status: InProgress")
        .engine_ends(1);
    scene.settles_on(&[RENDER]);
    let cause = &scene.diagnosis().causes[0];
    assert_eq!(cause.statement, "no node has pool=render-v1, which Deployment render selects");
    let cited: Vec<_> = cause.citations.iter().map(|citation| citation.text.as_str()).collect();
    assert_eq!(
        cited,
        [
            &format!("event FailedScheduling: {UNFIT}"),
            "spec.nodeSelector: pool=render-v1",
            "label pool of the nodes: render-v2 (1), web (1)",
            &format!("event NotTriggerScaleUp: pod didn't trigger scale-up: {REFUSAL}"),
        ]
    );
    let remedy = remedy(&scene);
    assert_eq!(remedy.kind, "fix-node-selector");
    let parameters = ["key", "value", "available"].map(|name| remedy.parameters[name].as_str());
    assert_eq!(parameters, ["pool", "render-v1", "render-v2"]);
    assert_eq!(
        cause.chain.last().map(|link| link.statement.clone()),
        Some(format!("pod render-7f9c-p is Pending: {UNFIT}"))
    );
}

#[test]
fn without_an_autoscaler_it_is_certain_when_the_engine_gives_up() {
    let (mut scene, set) = begin(
        &[node("a", json!({"kubernetes.io/os": "linux"}), "")],
        json!({"gpu.example/model": "t4"}),
    );
    pending(&mut scene, &set, UNFIT);
    scene.at(15_000).object(unplaced(&set, "p", UNFIT));
    scene.never_certain();
    scene.at(20_300).engine_says("context deadline exceeded").engine_ends(1);
    scene.settles_on(&[RENDER]);
    assert_eq!(remedy(&scene).kind, "drop-node-selector");
    assert_eq!(remedy(&scene).parameters["key"], "gpu.example/model");
    assert!(!remedy(&scene).parameters.contains_key("available"));
}

#[test]
fn an_autoscaler_at_work_is_given_time_to_speak() {
    let (mut scene, set) = begin(&[node("a", json!({}), "")], json!({"pool": "x"}));
    let other = unplaced(
        &json!({"kind": "Job", "metadata": {"name": "other"}, "spec": {"template": {"spec": {"containers": [{"name": "c"}]}}}}),
        "o",
        UNFIT,
    );
    scene.object(other.clone()).object(starts_node(&other));
    let pod = unplaced(&set, "p", UNFIT);
    scene.at(14_000).object(pod.clone()).object(failed_scheduling(&pod, UNFIT));
    scene.at(20_300).engine_says("context deadline exceeded").engine_ends(1);
    scene.never_certain();
    scene.at(25_000).object(pod);
    scene.settles_on(&[RENDER]);
}

#[test]
fn a_node_that_is_on_its_way_is_waited_for() {
    let (mut scene, set) = begin(&[node("a", json!({}), "")], json!({"pool": "burst"}));
    let pod = pending(&mut scene, &set, UNFIT);
    scene.at(1000).object(starts_node(&pod));
    scene.at(20_300).engine_says("context deadline exceeded").engine_ends(1);
    scene.never_certain();
    assert!(scene.diagnosis().suspected.iter().all(|cause| cause.slug != SLUG));
    // It refused at first: the pool was not known to it yet.
    let (mut scene, set) = begin(&[node("a", json!({}), "")], json!({"pool": "burst"}));
    let pod = pending(&mut scene, &set, UNFIT);
    scene.at(1000).object(refuses_node(&pod, "1 max node group size reached"));
    scene.at(5000).object(starts_node(&pod)).at(20_300).engine_ends(1);
    scene.never_certain();
}

#[test]
fn what_is_used_up_is_not_the_selectors_fault() {
    for words in [
        "0/2 nodes are available: 2 Insufficient cpu.",
        "0/2 nodes are available: 1 Insufficient memory, 1 node(s) didn't match Pod's node affinity/selector. preemption: not helpful.",
        "0/2 nodes are available: 2 node(s) didn't match pod anti-affinity rules.",
        "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims.",
        "0/2 nodes are available: 2 node(s) had untolerated taint {node.kubernetes.io/not-ready: }.",
    ] {
        let taint = if words.contains("not-ready") {
            "node.kubernetes.io/not-ready"
        } else {
            ""
        };
        let (mut scene, set) = begin(&[node("a", json!({"pool": "x"}), taint)], json!({"pool": "x"}));
        let pod = pending(&mut scene, &set, words);
        scene.at(9000).object(refuses_node(&pod, "1 Insufficient cpu"));
        scene.at(20_300).engine_says("context deadline exceeded").engine_ends(1);
        scene.never_certain();
        let suspected = scene.diagnosis().suspected;
        assert!(suspected.iter().all(|cause| cause.slug != SLUG), "{words}: {suspected:?}");
    }
}

#[test]
fn a_pool_that_is_at_its_end_is_selected_well() {
    let (mut scene, set) = begin(&[node("a", json!({}), "")], json!({"pool": "x"}));
    let pod = pending(&mut scene, &set, UNFIT);
    scene
        .at(9000)
        .object(refuses_node(&pod, &format!("{REFUSAL}, 1 max node group size reached")));
    scene.at(20_300).engine_ends(1);
    scene.never_certain();
}

#[test]
fn a_node_with_the_label_that_comes_later_heals_it() {
    let (mut scene, set) = begin(&[node("a", json!({}), "")], json!({"pool": "x"}));
    pending(&mut scene, &set, UNFIT);
    scene.at(5000).object(node("b", json!({"pool": "x"}), ""));
    scene.at(5500).object(placed(&set, "p", "b")).at(6000).object(up(&set, "p", "b"));
    scene
        .object(deployment("render", json!({"image": "render:1"}), 1).0)
        .at(6500)
        .engine_ends(0);
    scene.never_certain();
    assert_eq!(scene.diagnosis().suspected, []);
}

#[test]
fn a_taint_that_nothing_tolerates() {
    const TAINTED: &str =
        "0/2 nodes are available: 1 node(s) didn't match Pod's node affinity/selector, 1 node(s) had untolerated taint {team: }.";
    let nodes = [node("a", json!({"pool": "gpu"}), "team"), node("b", json!({}), "")];
    let (mut scene, set) = begin(&nodes, json!({"pool": "gpu"}));
    let pod = pending(&mut scene, &set, TAINTED);
    scene
        .at(9000)
        .object(refuses_node(&pod, "1 node(s) had untolerated taint {team: }"));
    scene.settles_on(&[RENDER]);
    assert_eq!(remedy(&scene).kind, "tolerate-taint");
    let cause = &scene.diagnosis().causes[0];
    assert_eq!(
        cause.statement,
        "Deployment render does not tolerate the taint team:NoSchedule, and no other node would take it"
    );
    // The same label on an untainted node would do, and only the value is wrong.
    let nodes = [node("a", json!({"pool": "gpu"}), "team"), node("b", json!({"pool": "cpu"}), "")];
    let (mut scene, set) = begin(&nodes, json!({"pool": "gpus"}));
    pending(&mut scene, &set, TAINTED);
    scene.at(20_300).engine_ends(1);
    scene.settles_on(&[RENDER]);
    assert_eq!(
        (remedy(&scene).kind.as_str(), remedy(&scene).parameters["available"].as_str()),
        ("fix-node-selector", "cpu")
    );
}

#[test]
fn a_live_namespace_is_certain_after_a_minute() {
    let mut scene = Scene::new();
    scene.object(node("a", json!({"disk": "hdd"}), ""));
    let mut pod = unplaced(
        &job("sort", json!({})),
        "x",
        "0/1 nodes are available: 1 node(s) didn't match node selector.",
    );
    pod["metadata"] = json!({"name": "sorter"});
    pod["spec"] = json!({"containers": [{"name": "c"}], "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
        "nodeSelectorTerms": [{"matchExpressions": [{"key": "disk", "operator": "In", "values": ["ssd", "nvme"]}]}],
    }}}});
    scene.at(1000).object(pod.clone()).at(40_000).object(pod.clone());
    scene.never_certain();
    scene.at(62_000).object(pod);
    scene.settles_on(&[(SLUG, "Pod/sorter")]);
    assert_eq!(
        scene.diagnosis().causes[0].statement,
        "no node has disk in (ssd, nvme), which Pod sorter selects"
    );
    assert_eq!(remedy(&scene).parameters["value"], "ssd,nvme");
}

#[test]
fn a_pod_that_was_replaced_does_not_count_and_one_that_was_removed_does() {
    let nodes = [node("a", json!({}), "")];
    let (mut scene, set) = begin(&nodes, json!({"pool": "x"}));
    let pod = pending(&mut scene, &set, UNFIT);
    scene.at(3000).deleted(pod).object(up(&set, "q", "a"));
    scene.at(20_300).engine_says("context deadline exceeded").engine_ends(1);
    scene.never_certain();
    let (mut scene, set) = begin(&nodes, json!({"pool": "x"}));
    let pod = pending(&mut scene, &set, UNFIT);
    let (gone, _) = deployment("render", json!({"image": "render:1"}), 0);
    scene.at(20_100).deleted(pod).deleted(set).deleted(gone);
    scene
        .at(20_300)
        .engine_says("release store failed, and has been uninstalled: context deadline exceeded")
        .engine_ends(1);
    assert_eq!(scene.diagnosis().identity(), [(SLUG.to_owned(), "Deployment/render".to_owned())]);
}

#[test]
fn a_hook_that_asks_for_it_fails_for_the_same_reason() {
    let script = "for i in $(seq 1 6); do curl -sf http://render && exit 0; echo \"no answer ($i/6)\"; sleep 1; done; exit 1";
    for hidden in [true, false] {
        let (mut scene, set) = begin(&[node("a", json!({"pool": "y"}), "")], json!({"pool": "x"}));
        scene.object(service("render", "render", 80));
        let pod = pending(&mut scene, &set, UNFIT);
        let job = hook_job("publish", "pre-install", json!({"command": ["sh", "-c", script]}));
        let hook = scene.at(1000).running_hook(&job, "pre-install");
        scene
            .record("pending-install", vec![hook], vec![])
            .object(job.clone())
            .at(1200)
            .object(pod_of(&job, "x", running()));
        for turn in 1..=6 {
            scene
                .at(1500 + turn * 1000)
                .log("publish-x", "publish", &format!("no answer ({turn}/6)"));
            if !hidden {
                scene.log(
                    "publish-x",
                    "publish",
                    "curl: (7) Failed to connect to render port 80: Connection refused",
                );
            }
        }
        scene.at(8600).object(phase(pod_of(&job, "x", terminated(1)), "Failed"));
        scene.at(8700).object(with_condition(job, "Failed", "BackoffLimitExceeded"));
        scene
            .at(8900)
            .engine_says("failed pre-install: job publish failed: BackoffLimitExceeded")
            .engine_ends(1);
        scene.at(9500).object(refuses_node(&pod, REFUSAL));
        scene.settles_on(&[RENDER]);
        let cause = &scene.diagnosis().causes[0];
        assert_eq!(cause.chain[0].subject.to_string(), "Release/store");
        assert!(
            cause.chain.iter().any(|link| link.statement.contains("gave up after 6 tries")),
            "{:?}",
            cause.chain
        );
        assert_eq!(scene.diagnosis().unexplained, []);
        assert_eq!(scene.diagnosis().suspected, []);
    }
}
