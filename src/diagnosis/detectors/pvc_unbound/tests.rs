use serde_json::{Value, json};

use super::*;
use crate::diagnosis::fixture::*;

const DATA: (&str, &str) = (DETECTOR.slug, "PersistentVolumeClaim/data");

fn claim(class: Option<&str>) -> Value {
    let mut claim = json!({"kind": "PersistentVolumeClaim", "metadata": {"name": "data"}, "status": {"phase": "Pending"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "2Gi"}}}});
    if let Some(class) = class {
        claim["spec"]["storageClassName"] = json!(class);
    }
    claim
}

fn storage_class(name: &str) -> Value {
    json!({"kind": "StorageClass", "metadata": {"name": name}, "provisioner": "disks.example"})
}

const UNBOUND: &str = "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims. preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.";

/// A pod of a live namespace that waits for the claim; `said` is an event about that.
fn scene(claim: Value, said: &[(&str, &str)], refusal: &str) -> (Scene, Value) {
    let (deployment, set) = deployment("db", json!({"image": "db:1"}), 0);
    let mut pod = pod_of(&set, "p", json!({}));
    pod["spec"]["volumes"] = json!([{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]);
    pod["status"] = json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": refusal}]});
    let mut scene = Scene::new();
    scene.object(claim.clone()).object(deployment).object(set).object(pod.clone());
    scene.object(warning(&pod, "FailedScheduling", refusal)).at(500);
    for (reason, message) in said {
        scene.object(warning(&claim, reason, message));
    }
    (scene, pod)
}

fn kind(scene: &Scene) -> String {
    scene.diagnosis().causes[0].remedy.as_ref().unwrap().kind.clone()
}

#[test]
fn the_pattern_compiles() {
    assert!(NO_CLASS.is_some());
}

#[test]
fn a_class_of_another_cluster() {
    let said = [("ProvisioningFailed", "storageclass.storage.k8s.io \"gp3\" not found")];
    let (mut scene, pod) = scene(claim(Some("gp3")), &said, UNBOUND);
    scene.never_certain();
    scene.at(7000).object(pod.clone());
    scene.settles_on(&[DATA]);
    assert_eq!(kind(&scene), "create-storage-class");
    scene.object(storage_class("disks"));
    assert_eq!(kind(&scene), "use-storage-class");
    let diagnosis = scene.diagnosis();
    let cause = &diagnosis.causes[0];
    assert_eq!(
        cause.statement,
        "PersistentVolumeClaim data wants the StorageClass gp3, which does not exist"
    );
    assert!(
        cause
            .citations
            .iter()
            .any(|citation| citation.text == "the cluster has the StorageClasses disks")
    );
    // Somebody makes it.
    scene.at(9000).object(storage_class("gp3")).object(pod);
    assert_eq!(scene.diagnosis().identity(), []);
}

#[test]
fn no_class_at_all_and_no_volume() {
    let said = [("FailedBinding", NONE_SET)];
    let (mut scene, pod) = scene(claim(None), &said, UNBOUND);
    scene.at(7000).object(pod);
    scene.settles_on(&[DATA]);
    assert_eq!(kind(&scene), "create-volume");
    let (mut scene, pod) = self::scene(claim(Some("")), &said, UNBOUND);
    scene.at(40_000).object(pod);
    scene.settles_on(&[DATA]);
    assert_eq!(
        scene.diagnosis().causes[0].statement,
        "there is no volume that fits PersistentVolumeClaim data"
    );
}

#[test]
fn a_provisioner_that_says_nothing_or_fails() {
    let waits =
        "Waiting for a volume to be created either by the external provisioner 'disks.example' or manually by the system administrator.";
    let (mut scene, pod) = scene(claim(Some("disks")), &[("ExternalProvisioning", waits)], UNBOUND);
    scene.object(storage_class("disks")).at(50_000).object(pod.clone());
    scene.never_certain();
    scene.at(70_000).object(pod);
    scene.settles_on(&[DATA]);
    assert_eq!(
        scene.diagnosis().causes[0].remedy.as_ref().unwrap().parameters["provisioner"],
        "disks.example"
    );
    let fails = "failed to provision volume with StorageClass \"disks\": rpc error: code = ResourceExhausted desc = no space";
    let (mut scene, pod) = self::scene(claim(Some("disks")), &[("ProvisioningFailed", fails)], UNBOUND);
    scene.object(storage_class("disks")).at(40_000).object(pod);
    scene.settles_on(&[DATA]);
    assert_eq!(kind(&scene), "fix-provisioner");
    let by_hand = "no volume plugin matched name: kubernetes.io/no-provisioner";
    let (mut scene, pod) = self::scene(claim(Some("local")), &[("ProvisioningFailed", by_hand)], UNBOUND);
    scene.object(storage_class("local")).at(40_000).object(pod);
    scene.settles_on(&[DATA]);
    assert_eq!(kind(&scene), "create-volume");
}

#[test]
fn one_that_waits_for_its_consumer_or_is_at_work_is_well() {
    let other = "0/1 nodes are available: 1 Insufficient cpu.";
    let said = [("WaitForFirstConsumer", "waiting for first consumer to be created before binding")];
    let (mut scene, pod) = scene(claim(Some("disks")), &said, other);
    scene.object(storage_class("disks")).at(90_000).object(pod);
    scene.never_certain();
    let said = [
        (
            "ExternalProvisioning",
            "Waiting for a volume to be created either by the external provisioner 'disks.example' or …",
        ),
        (
            "Provisioning",
            "External provisioner is provisioning volume for claim \"shop/data\"",
        ),
    ];
    let (mut scene, pod) = self::scene(claim(Some("disks")), &said, UNBOUND);
    scene.object(storage_class("disks")).at(90_000).object(pod);
    scene.never_certain();
}

#[test]
fn a_local_volume_that_the_scheduler_does_not_find() {
    let refusal = "0/1 nodes are available: 1 node(s) didn't find available persistent volumes to bind.";
    let said = [("WaitForFirstConsumer", "waiting for first consumer to be created before binding")];
    let (mut scene, pod) = scene(claim(Some("local")), &said, refusal);
    scene.object(storage_class("local")).at(40_000).object(pod);
    scene.settles_on(&[DATA]);
}

#[test]
fn claims_that_lack_the_same_class_have_one_cause() {
    let said = [("ProvisioningFailed", "storageclass.storage.k8s.io \"gp3\" not found")];
    let (mut scene, pod) = scene(claim(Some("gp3")), &said, UNBOUND);
    let mut other = claim(Some("gp3"));
    other["metadata"]["name"] = json!("logs");
    scene.object(other).at(40_000).object(pod);
    assert_eq!(scene.diagnosis().identity(), [(DATA.0.to_owned(), DATA.1.to_owned())]);
    assert_eq!(
        scene.diagnosis().causes[0].statement,
        "PersistentVolumeClaims data, logs want the StorageClass gp3, which does not exist"
    );
}

#[test]
fn one_that_is_bound_by_now_is_well() {
    let mut bound = claim(Some("gp3"));
    bound["status"]["phase"] = json!("Bound");
    let said = [("ProvisioningFailed", "storageclass.storage.k8s.io \"gp3\" not found")];
    let (mut scene, pod) = scene(bound, &said, UNBOUND);
    scene.at(40_000).object(pod);
    scene.never_certain();
}
