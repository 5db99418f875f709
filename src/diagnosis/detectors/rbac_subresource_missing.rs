//! # What it detects
//!
//! A program that does not get on because its role allows a resource, and not the subresource of it that the program asks for.
//!
//! # Why it happens
//!
//! `jobs` and `jobs/status`, `pods` and `pods/log`, `pods` and `pods/exec` are different resources to RBAC. Whoever writes the role sees that
//! Jobs can be read and takes the rest for granted.
//!
//! # Evidence
//!
//! The API server's words `User "…" cannot VERB resource "R/SUB" …` where the program failed, and the role bound to the account that has `R`
//! and not `R/SUB`. Where the roles cannot be read, or allow neither, it is `rbac-forbidden`.
//!
//! # Remedy
//!
//! `grant-rule`: the subresource, in the role that has the resource.

use crate::diagnosis::refused::refused;
use crate::diagnosis::rights::findings;
use crate::diagnosis::{Class, Detector, Finding};
use crate::evidence::Evidence;

pub const DETECTOR: Detector = Detector {
    slug: "rbac-subresource-missing",
    summary: "a role allows a resource, and not the subresource that a program asks for",
    class: Class::Specific,
    remedies: &["grant-rule"],
    detect,
};

fn detect(evidence: &Evidence) -> Vec<Finding> {
    let mut refused = refused(evidence);
    refused.retain(|one| one.lacks_subresource());
    findings(evidence, DETECTOR.slug, refused)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::diagnosis::fixture::*;

    const RUNNER: &str = "ServiceAccount/runner";

    fn words(resource: &str) -> String {
        format!(
            r#"HTTP response body: {{"message":"jobs.batch \"run-7\" is forbidden: User \"system:serviceaccount:shop:runner\" cannot get resource \"{resource}\" in API group \"batch\" in the namespace \"shop\"","code":403}}"#
        )
    }

    fn role(resources: &[&str]) -> Value {
        json!({"kind": "ClusterRole", "metadata": {"name": "runner"}, "rules": [{"apiGroups": ["batch"], "resources": resources, "verbs": ["create", "get"]}]})
    }

    /// A Deployment whose container asks for this, is refused and crashes.
    fn scene(role: Option<Value>, resource: &str) -> Scene {
        let (deployment, set) = deployment("agent", json!({"image": "agent:1"}), 0);
        let mut scene = Scene::new();
        scene.object(json!({"kind": "ServiceAccount", "metadata": {"name": "runner"}}));
        scene.object(deployment).object(set.clone());
        scene.object(json!({"kind": "RoleBinding", "metadata": {"name": "runs"}, "subjects": [{"kind": "ServiceAccount", "name": "runner", "namespace": "shop"}],
            "roleRef": {"kind": "ClusterRole", "name": "runner"}}));
        if let Some(role) = role {
            scene.object(role);
        }
        scene
            .object(pod_of(&set, "p", running()))
            .at(600)
            .log("agent-7f9c-p", "agent", &words(resource));
        scene
            .at(900)
            .object(restarted(pod_of(&set, "p", waiting("CrashLoopBackOff", "")), 4, 1));
        scene
    }

    #[test]
    fn the_resource_is_allowed_and_its_status_is_not() {
        let scene = scene(Some(role(&["jobs"])), "jobs/status");
        scene.settles_on(&[(DETECTOR.slug, RUNNER)]);
        let diagnosis = scene.diagnosis();
        let remedy = diagnosis.causes[0].remedy.as_ref().unwrap();
        assert_eq!(
            remedy.sentence,
            "add the rule {apiGroups: [\"batch\"], resources: [\"jobs/status\"], verbs: [\"get\"]} to ClusterRole runner"
        );
        assert_eq!(
            (remedy.parameters["resource"].as_str(), remedy.parameters["role"].as_str()),
            ("jobs/status", "runner")
        );
    }

    #[test]
    fn without_the_resource_or_without_its_role_it_is_the_general_failure() {
        scene(Some(role(&["cronjobs"])), "jobs/status").settles_on(&[("rbac-forbidden", RUNNER)]);
        scene(None, "jobs/status").settles_on(&[("rbac-forbidden", RUNNER)]);
        scene(Some(role(&["jobs/status"])), "jobs").settles_on(&[("rbac-forbidden", RUNNER)]);
    }

    #[test]
    fn what_is_allowed_by_now_is_none() {
        let scene = scene(Some(role(&["jobs", "jobs/status"])), "jobs/status");
        scene.settles_on(&[("crash-loop", "Deployment/agent")]);
    }
}
