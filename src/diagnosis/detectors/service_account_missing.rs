//! # What it detects
//!
//! A workload without pods, because the ServiceAccount that they are to run as does not exist.
//!
//! # Why it happens
//!
//! The chart makes the account under one name and its pods name another; `serviceAccount.create` is off and nobody else has made it. The
//! API server refuses every pod, so that there is none to look at: `get pods` shows nothing.
//!
//! # Evidence
//!
//! The condition `ReplicaFailure` or the event `FailedCreate` of a ReplicaSet, StatefulSet, DaemonSet or Job with `error looking up service
//! account ns/x: serviceaccount "x" not found`; the name in the pod's specification; that no such account is among those watched. The
//! account `default` of a new namespace comes by itself. What a running engine has not applied yet makes it only suspected.
//!
//! # Remedy
//!
//! `use-service-account` where one is called nearly so, else `create-service-account`.

use std::sync::LazyLock;

use jiff::SignedDuration;
use regex::Regex;

use crate::diagnosis::attempt::{attempt, engine_gave_up, engine_is_patient};
use crate::diagnosis::cite;
use crate::diagnosis::dependencies::on_its_way;
use crate::diagnosis::refusals::{Refusal, refusals};
use crate::diagnosis::{Certainty, Class, Detector, Finding};
use crate::evidence::manifest::text;
use crate::evidence::{Evidence, ObjectRef};
use crate::remedy::Remedy;

pub const DETECTOR: Detector = Detector {
    slug: "service-account-missing",
    summary: "pods are refused because their ServiceAccount does not exist",
    class: Class::Specific,
    remedies: &["create-service-account", "use-service-account"],
    detect,
};

static NOT_FOUND: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r#"looking up service account (?:[^\s/]+)/([^\s:]+): .*serviceaccounts? \\?"[^"\\]+\\?" not found"#).ok());

/// What is applied in one go may come in any order.
const TOGETHER: SignedDuration = SignedDuration::from_secs(5);
/// How long the controller manager may take for what it makes in every namespace.
const MADE_ANYWAY: SignedDuration = SignedDuration::from_secs(60);

fn detect(evidence: &Evidence) -> Vec<Finding> {
    refusals(evidence)
        .into_iter()
        .filter_map(|refusal| finding(evidence, refusal))
        .collect()
}

fn finding(evidence: &Evidence, refusal: Refusal<'_>) -> Option<Finding> {
    let captures = NOT_FOUND.iter().find_map(|pattern| pattern.captures(refusal.message))?;
    let name = captures[1].to_owned();
    let namespace = refusal.top.namespace.clone().unwrap_or_default();
    // One that has come since is found at the controller's next try.
    if evidence.get("ServiceAccount", &namespace, &name).is_some() {
        return None;
    }
    let subject = ObjectRef::new("ServiceAccount", Some(&namespace), &name);
    let patience = if name == "default" { MADE_ANYWAY } else { TOGETHER };
    let (certainty, why) = if let Some(other) = still_to_come(evidence, &subject, &refusal.explains) {
        (Certainty::Suspected, format!("{other} may still bring it"))
    } else if engine_gave_up(evidence) || evidence.since(refusal.since) >= patience {
        (Certainty::Certain, "nothing that is unfinished makes it".to_owned())
    } else {
        (Certainty::Suspected, "it may only just be on its way".to_owned())
    };
    let mut citations = vec![refusal.citation];
    citations.push(cite::declared(&refusal.top, format!("serviceAccountName: {name}")));
    if evidence.watched("ServiceAccount") {
        citations.push(cite::inferred(
            &subject,
            format!("namespace {namespace} has no ServiceAccount {name}"),
        ));
    }
    let create = Remedy::new(
        "create-service-account",
        format!("create ServiceAccount {name} in namespace {namespace}"),
    );
    let with = |remedy: Remedy| remedy.with("name", &name).with("namespace", &namespace);
    let (remedy, alternatives) = match near(evidence, &namespace, &name) {
        Some(near) => {
            let sentence = format!("let {} run as ServiceAccount {near}, which there is", refusal.top);
            let used = with(Remedy::new("use-service-account", sentence)).with("use", near);
            (used, vec![with(create)])
        }
        None => (with(create), Vec::new()),
    };
    Some(Finding {
        slug: DETECTOR.slug,
        statement: format!("ServiceAccount {name} does not exist"),
        certainty,
        why,
        since: refusal.since,
        citations,
        explains: refusal.explains,
        blames: vec![subject.clone()],
        subject,
        remedy: Some(remedy),
        alternatives,
    })
}

/// What may still bring the account: the release that is being installed, or an object of Flux's that has applied nothing yet.
fn still_to_come(evidence: &Evidence, account: &ObjectRef, blocked: &[ObjectRef]) -> Option<String> {
    let attempt = attempt(evidence).filter(|_| engine_is_patient(evidence));
    let record = attempt.as_ref().and_then(|attempt| attempt.record);
    let is = |manifest: &serde_json::Value| text(manifest, "/kind") == "ServiceAccount" && text(manifest, "/metadata/name") == account.name;
    if let Some(record) = record.filter(|record| record.manifest.iter().chain(record.hooks.iter().map(|hook| &hook.manifest)).any(is)) {
        return Some(format!("the release {}", record.name));
    }
    on_its_way(evidence, blocked).map(|other| other.to_string())
}

/// An account of the namespace whose name is nearly the same, or the other one's with something before or after it.
fn near<'a>(evidence: &'a Evidence, namespace: &str, name: &str) -> Option<&'a str> {
    let mut all = evidence
        .all("ServiceAccount")
        .filter(|account| account.text("/metadata/namespace") == namespace && account.name() != "default")
        .map(|account| account.name());
    all.find(|other| {
        let part = |whole: &str, part: &str| whole.strip_prefix(part).is_some_and(|rest| rest.starts_with('-'));
        let end = |whole: &str, part: &str| whole.strip_suffix(part).is_some_and(|rest| rest.ends_with('-'));
        part(other, name)
            || part(name, other)
            || end(other, name)
            || end(name, other)
            || strsim::damerau_levenshtein(other, name) <= name.len() / 5
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::NOT_FOUND;
    use crate::diagnosis::fixture::*;

    const AGENT: (&str, &str) = ("service-account-missing", "ServiceAccount/agent");

    fn words(name: &str) -> String {
        format!(
            r#"Error creating: pods "web-7f9c-" is forbidden: error looking up service account shop/{name}: serviceaccount "{name}" not found"#
        )
    }

    /// A Deployment of a live namespace whose pods are refused.
    fn scene(name: &str) -> (Scene, Value) {
        let (deployment, mut set) = deployment("web", json!({"image": "web:1"}), 0);
        set["status"] = json!({"replicas": 0});
        let mut scene = Scene::new();
        scene
            .object(deployment)
            .object(set.clone())
            .at(100)
            .object(warning(&set, "FailedCreate", &words(name)));
        (scene, set)
    }

    #[test]
    fn the_pattern_compiles() {
        assert!(NOT_FOUND.is_some());
    }

    #[test]
    fn a_deployment_without_pods() {
        let (mut scene, set) = scene("agent");
        scene.never_certain();
        scene.at(8000).object(set);
        scene.settles_on(&[AGENT]);
        let diagnosis = scene.diagnosis();
        let cause = &diagnosis.causes[0];
        assert_eq!(cause.remedy.as_ref().unwrap().kind, "create-service-account");
        assert_eq!(
            cause.chain.last().map(|link| link.statement.clone()),
            Some(format!("Deployment web has 0 of 1 pods available: {}", words("agent")))
        );
    }

    #[test]
    fn a_job_without_a_pod_and_an_account_that_is_nearly_called_so() {
        let mut job = job("seed", json!({"image": "seed:1"}));
        job["status"] = json!({});
        let mut scene = Scene::new();
        scene.object(json!({"kind": "ServiceAccount", "metadata": {"name": "store-agent"}}));
        scene
            .object(job.clone())
            .object(warning(&job, "FailedCreate", &words("agent")))
            .at(6000)
            .object(job);
        scene.settles_on(&[AGENT]);
        assert_eq!(
            scene.diagnosis().causes[0].remedy.as_ref().unwrap().parameters["use"],
            "store-agent"
        );
    }

    #[test]
    fn one_that_has_come_and_the_default_one_stay_silent() {
        let (mut scene, set) = scene("agent");
        scene
            .at(4000)
            .object(json!({"kind": "ServiceAccount", "metadata": {"name": "agent"}}));
        scene.at(9000).object(set);
        scene.never_certain();
        let (mut scene, set) = self::scene("default");
        scene.at(9000).object(set);
        scene.never_certain();
    }

    #[test]
    fn other_refusals_are_other_failures() {
        let (deployment, mut set) = deployment("web", json!({"image": "web:1"}), 0);
        set["status"] = json!({"replicas": 0});
        let mut scene = Scene::new();
        let words = r#"Error creating: pods "web-7f9c-x" is forbidden: violates PodSecurity "restricted:latest""#;
        scene
            .object(deployment)
            .object(set.clone())
            .object(warning(&set, "FailedCreate", words))
            .at(9000)
            .object(set);
        scene.never_certain();
        // It is not a riddle either: what the API server says is told.
        assert!(scene.diagnosis().unexplained[0].statement.ends_with(words));
    }
}
