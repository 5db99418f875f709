//! # What it detects
//!
//! A pod that cannot start because a ConfigMap that it needs does not exist.
//!
//! # Why it happens
//!
//! The chart expects a ConfigMap that somebody else makes: another release, a generator that adds a hash to its name, a person. Kubernetes
//! starts the pod all the same, and the kubelet tries again for ever; the engine reports a rollout or a hook that does not end.
//!
//! # Evidence
//!
//! The container's waiting reason `CreateContainerConfigError` or a `FailedMount` event, each with `configmap "x" not found`; the
//! reference in the pod's specification; that no such ConfigMap is among those watched. Optional references do not count. Something that
//! is unfinished and would make the ConfigMap could still do so: then it is only suspected.
//!
//! # Remedy
//!
//! `create-configmap`: with the keys that the pod refers to. Nothing is known about their values.

use crate::diagnosis::missing::{MAKERS_OF_CONFIG_MAPS, Sought, findings};
use crate::diagnosis::references::CONFIG_MAPS;
use crate::diagnosis::{Class, Detector, Finding};
use crate::evidence::Evidence;

pub const DETECTOR: Detector = Detector {
    slug: "configmap-missing",
    summary: "a pod needs a ConfigMap that does not exist",
    class: Class::Specific,
    remedies: &["create-configmap"],
    detect,
};

const SOUGHT: Sought = Sought {
    slug: DETECTOR.slug,
    kind: "ConfigMap",
    fields: &CONFIG_MAPS,
    makers: MAKERS_OF_CONFIG_MAPS,
    // Every pod mounts it, and the controller manager may be a moment later than the first pod of a new namespace.
    made_anyway: &["kube-root-ca.crt"],
    remedy: "create-configmap",
};

fn detect(evidence: &Evidence) -> Vec<Finding> {
    findings(evidence, &SOUGHT)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::diagnosis::fixture::*;

    const SLUG: &str = "configmap-missing";
    const RULES: (&str, &str) = (SLUG, "ConfigMap/fraud-rules");

    fn not_found(kind: &str, name: &str) -> Value {
        waiting("CreateContainerConfigError", &format!("{kind} \"{name}\" not found"))
    }

    fn reads(optional: bool) -> Value {
        json!({"image": "risk:4", "envFrom": [{"configMapRef": {"name": "fraud-rules", "optional": optional}}]})
    }

    fn scene(container: Value) -> (Scene, Value) {
        let (deployment, set) = deployment("risk", container, 0);
        let mut scene = Scene::new();
        scene
            .engine(10_000, "legacy")
            .at(100)
            .record("pending-install", vec![], vec![deployment.clone()]);
        scene.at(200).object(deployment).object(set.clone());
        (scene, set)
    }

    #[test]
    fn each_place_that_names_one() {
        let key = json!({"valueFrom": {"configMapKeyRef": {"name": "fraud-rules", "key": "limits"}}, "name": "LIMITS"});
        for container in [reads(false), json!({"image": "risk:4", "env": [key]})] {
            let (mut scene, set) = scene(container);
            scene.at(300).object(pod_of(&set, "p", waiting("ContainerCreating", "")));
            scene.at(700).object(pod_of(&set, "p", not_found("configmap", "fraud-rules")));
            let first = scene.settles_on(&[RULES]);
            assert_eq!(first + 1, scene.diagnoses().len());
            scene.at(10_300).engine_says("context deadline exceeded").engine_ends(1);
            scene.settles_on(&[RULES]);
            let remedy = scene.diagnosis().causes[0].remedy.clone().expect("a remedy");
            assert_eq!(
                (remedy.kind.as_str(), remedy.parameters["name"].as_str()),
                ("create-configmap", "fraud-rules")
            );
        }
        let projected =
            json!({"projected": {"sources": [{"secret": {"name": "here", "optional": true}}, {"configMap": {"name": "fraud-rules"}}]}});
        for mut volume in [json!({"configMap": {"name": "fraud-rules"}}), projected] {
            volume["name"] = json!("rules");
            let (mut scene, set) = scene(json!({"image": "risk:4"}));
            let mut pod = pod_of(&set, "p", waiting("ContainerCreating", ""));
            pod["spec"]["volumes"] = json!([volume, {"name": "others", "configMap": {"name": "others"}}]);
            scene
                .at(300)
                .object(json!({"kind": "ConfigMap", "metadata": {"name": "others"}}))
                .object(pod.clone());
            scene.never_certain();
            let words = "MountVolume.SetUp failed for volume \"rules\" : configmap \"fraud-rules\" not found";
            scene.at(900).object(warning(&pod, "FailedMount", words));
            scene.settles_on(&[RULES]);
        }
    }

    #[test]
    fn two_volumes_of_one_pod_are_two_causes() {
        let (mut scene, set) = scene(json!({"image": "risk:4"}));
        let mut pod = pod_of(&set, "p", waiting("ContainerCreating", ""));
        pod["spec"]["volumes"] = json!([
            {"name": "a", "configMap": {"name": "alpha"}}, {"name": "b", "secret": {"secretName": "beta"}}, {"name": "c", "configMap": {"name": "gamma"}},
        ]);
        scene.at(300).object(pod.clone());
        for (volume, what) in [("c", "configmap \"gamma\""), ("b", "secret \"beta\""), ("a", "configmap \"alpha\"")] {
            let mut event = warning(
                &pod,
                "FailedMount",
                &format!("MountVolume.SetUp failed for volume \"{volume}\" : {what} not found"),
            );
            event["metadata"]["name"] = json!(format!("mount-{volume}"));
            scene.at(900).object(event);
        }
        scene.settles_on(&[
            (SLUG, "ConfigMap/alpha"),
            (SLUG, "ConfigMap/gamma"),
            ("secret-missing", "Secret/beta"),
        ]);
    }

    #[test]
    fn an_optional_one_one_that_is_there_and_one_that_the_cluster_makes() {
        let (mut scene, set) = scene(reads(true));
        scene
            .at(300)
            .object(pod_of(&set, "p", waiting("ContainerCreating", "")))
            .at(15_000)
            .object(set);
        scene.never_certain();
        assert_eq!(scene.diagnosis().suspected, []);
        let (mut scene, set) = self::scene(reads(false));
        scene
            .at(250)
            .object(json!({"kind": "ConfigMap", "metadata": {"name": "fraud-rules"}}));
        scene.at(300).object(pod_of(&set, "p", not_found("configmap", "fraud-rules")));
        scene.never_certain();
        let (mut scene, set) = self::scene(json!({"image": "risk:4"}));
        let mut pod = pod_of(&set, "p", waiting("ContainerCreating", ""));
        pod["spec"]["volumes"] = json!([{"name": "token", "projected": {"sources": [{"configMap": {"name": "kube-root-ca.crt"}}]}}]);
        scene.at(300).object(pod.clone());
        scene
            .at(400)
            .object(warning(&pod, "FailedMount", "configmap \"kube-root-ca.crt\" not found"));
        scene.never_certain();
    }

    #[test]
    fn a_secret_of_the_same_name_is_none() {
        let (mut scene, set) = scene(reads(false));
        scene.at(250).object(json!({"kind": "Secret", "metadata": {"name": "fraud-rules"}}));
        scene.at(300).object(pod_of(&set, "p", not_found("configmap", "fraud-rules")));
        scene.settles_on(&[RULES]);
    }

    #[test]
    fn one_of_the_release_that_is_not_applied_yet_is_suspected() {
        let job = hook_job("warm-up", "pre-install", reads(false));
        let mut scene = Scene::new();
        scene.engine(10_000, "hookOnly").at(100);
        let hook = scene.running_hook(&job, "pre-install");
        let rules = json!({"kind": "ConfigMap", "metadata": {"name": "fraud-rules"}, "data": {}});
        scene.record("pending-install", vec![hook], vec![rules]).object(job.clone());
        scene.at(700).object(pod_of(&job, "x", not_found("configmap", "fraud-rules")));
        scene.never_certain();
        let suspected: Vec<_> = scene.diagnosis().suspected.iter().map(|cause| cause.why.clone()).collect();
        assert_eq!(suspected, ["ConfigMap fraud-rules may still make it"]);
        // It never comes to that: its hook waits for what comes after it.
        scene
            .at(10_200)
            .engine_says("failed pre-install: timed out waiting for the condition")
            .engine_ends(1);
        scene.settles_on(&[RULES]);
    }

    #[test]
    fn who_makes_it_and_who_only_reads_it() {
        let maker = json!({"command": ["sh", "-c", "kubectl create configmap fraud-rules --from-file=/rules"]});
        for (container, certain) in [(maker, false), (reads(false), true)] {
            let (mut scene, set) = scene(reads(false));
            let other = hook_job("publish", "post-install", container);
            let hook = scene.hook(&other, "post-install");
            scene.at(250).record("pending-install", vec![hook], vec![]);
            scene.at(300).object(pod_of(&set, "p", not_found("configmap", "fraud-rules")));
            assert_eq!(!scene.diagnosis().causes.is_empty(), certain);
        }
    }
}
