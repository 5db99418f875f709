//! # What it detects
//!
//! A pod that cannot start because a Secret that it needs does not exist.
//!
//! # Why it happens
//!
//! The chart expects a Secret that somebody else makes: a person, another release, an operator. Kubernetes starts the pod all the
//! same, and the kubelet tries again for ever; the engine reports a rollout that does not end.
//!
//! # Evidence
//!
//! The container's waiting reason `CreateContainerConfigError` or a `FailedMount` event, each with `secret "x" not found`; the
//! reference in the pod's specification; that no such Secret is among those watched. Optional references do not count. Something that
//! is unfinished and mentions the Secret could still make it: then it is only suspected.
//!
//! # Remedy
//!
//! `create-secret`: with the keys that the pod refers to. Nothing is known about their values.

use crate::diagnosis::missing::{MAKERS_OF_SECRETS, Sought, findings};
use crate::diagnosis::references::SECRETS;
use crate::diagnosis::{Class, Detector, Finding};
use crate::evidence::Evidence;

pub const DETECTOR: Detector = Detector {
    slug: "secret-missing",
    summary: "a pod needs a Secret that does not exist",
    class: Class::Specific,
    remedies: &["create-secret"],
    detect,
};

pub(super) const SOUGHT: Sought = Sought {
    slug: DETECTOR.slug,
    kind: "Secret",
    fields: &SECRETS,
    makers: MAKERS_OF_SECRETS,
    made_anyway: &[],
    remedy: "create-secret",
};

fn detect(evidence: &Evidence) -> Vec<Finding> {
    findings(evidence, &SOUGHT)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::diagnosis::fixture::*;

    const SLUG: &str = "secret-missing";

    fn needs(optional: bool) -> Value {
        json!({"image": "app:1", "env": [{"name": "DB_PASS", "valueFrom": {"secretKeyRef": {"name": "db-login", "key": "password", "optional": optional}}}]})
    }

    fn scene(container: Value) -> (Scene, Value) {
        let (deployment, set) = deployment("billing", container, 0);
        let mut scene = Scene::new();
        scene
            .engine(10_000, "watcher")
            .at(100)
            .record("pending-install", vec![], vec![deployment.clone()]);
        scene.at(200).object(deployment).object(set.clone());
        (scene, set)
    }

    #[test]
    fn a_container_that_cannot_be_configured_is_certain_at_once() {
        let (mut scene, set) = scene(needs(false));
        scene.at(300).object(pod_of(&set, "p", waiting("ContainerCreating", "")));
        scene.at(900).object(pod_of(
            &set,
            "p",
            waiting("CreateContainerConfigError", "secret \"db-login\" not found"),
        ));
        let first = scene.settles_on(&[(SLUG, "Secret/db-login")]);
        assert_eq!(first + 1, scene.diagnoses().len());
        scene
            .at(10_300)
            .engine_says("resource Deployment/shop/billing not ready. status: InProgress")
            .engine_says("context deadline exceeded");
        scene.engine_ends(1);
        scene.settles_on(&[(SLUG, "Secret/db-login")]);
        let cause = &scene.diagnosis().causes[0];
        let chain: Vec<_> = cause.chain.iter().map(|link| link.statement.as_str()).collect();
        assert_eq!(
            chain,
            [
                "store: its install timed out after 10s waiting for Deployment billing",
                "Deployment billing has 0 of 1 pods available",
                "pod billing-7f9c-p cannot start its container billing: CreateContainerConfigError",
            ]
        );
        assert_eq!(
            cause.remedy.as_ref().map(|remedy| remedy.parameters["keys"].as_str()),
            Some("password")
        );
    }

    #[test]
    fn a_volume_that_cannot_be_mounted_counts_without_a_watch_of_secrets() {
        let (mut scene, set) = scene(json!({"image": "app:1"}));
        let mut pod = pod_of(&set, "p", waiting("ContainerCreating", ""));
        pod["spec"]["volumes"] = json!([{"name": "certs", "secret": {"secretName": "billing-tls"}}]);
        scene.at(300).object(pod.clone());
        scene.at(900).object(warning(
            &pod,
            "FailedMount",
            "MountVolume.SetUp failed for volume \"certs\" : secret \"billing-tls\" not found",
        ));
        scene.settles_on(&[(SLUG, "Secret/billing-tls")]);
    }

    #[test]
    fn what_a_pod_says_while_it_is_taken_away_does_not_count() {
        let (mut scene, set) = scene(needs(false));
        scene.at(900).object(pod_of(
            &set,
            "p",
            waiting("CreateContainerConfigError", "secret \"db-login\" not found"),
        ));
        let leaving = |state: Value| {
            let mut pod = pod_of(&set, "p", state);
            pod["metadata"]["deletionTimestamp"] = json!("2026-01-02T03:04:16Z");
            pod
        };
        scene.at(10_300).engine_says("context deadline exceeded").engine_ends(1);
        scene.at(10_400).object(leaving(waiting("ContainerCreating", "")));
        let gone = phase(leaving(terminated(137)), "Failed");
        scene.at(11_000).object(gone.clone()).deleted(gone).deleted(set.clone());
        scene.settles_on(&[(SLUG, "Secret/db-login")]);
    }

    #[test]
    fn an_optional_one_and_one_that_is_there_are_not_missing() {
        let (mut scene, set) = scene(needs(true));
        scene
            .at(300)
            .object(pod_of(&set, "p", waiting("ContainerCreating", "")))
            .at(9000)
            .object(set.clone());
        scene.never_certain();
        let (mut scene, set) = self::scene(needs(false));
        scene.at(250).object(json!({"kind": "Secret", "metadata": {"name": "db-login"}}));
        scene.at(300).object(pod_of(
            &set,
            "p",
            waiting("CreateContainerConfigError", "secret \"db-login\" not found"),
        ));
        scene.never_certain();
    }

    #[test]
    fn one_that_a_running_job_makes_is_only_suspected() {
        let (mut scene, set) = scene(needs(false));
        let maker = job(
            "mint",
            json!({"command": ["sh", "-c", "kubectl create secret generic db-login --from-literal=password=$P"]}),
        );
        scene.object(maker.clone()).at(300).object(pod_of(&maker, "m", running()));
        scene
            .object(pod_of(
                &set,
                "p",
                waiting("CreateContainerConfigError", "secret \"db-login\" not found"),
            ))
            .at(5000);
        scene.log("mint-m", "mint", "minting");
        scene.never_certain();
        assert_eq!(
            scene
                .diagnosis()
                .suspected
                .iter()
                .map(|cause| cause.slug.as_str())
                .collect::<Vec<_>>(),
            [SLUG]
        );
        // It ends without having made it.
        scene.at(6000).object(with_condition(maker, "Complete", ""));
        scene.settles_on(&[(SLUG, "Secret/db-login")]);
    }

    #[test]
    fn two_workloads_that_miss_the_same_secret_have_one_cause() {
        let (mut scene, set) = scene(needs(false));
        let (other, other_set) = deployment("invoices", needs(false), 0);
        scene.object(other).object(other_set.clone());
        for set in [&set, &other_set] {
            scene.at(900).object(pod_of(
                set,
                "p",
                waiting("CreateContainerConfigError", "secret \"db-login\" not found"),
            ));
        }
        scene.settles_on(&[(SLUG, "Secret/db-login")]);
    }
}
