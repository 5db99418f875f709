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

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use jiff::{SignedDuration, Timestamp};
use regex::Regex;
use serde_json::Value;

use crate::diagnosis::attempt::{attempt, engine_is_patient};
use crate::diagnosis::cite;
use crate::diagnosis::hooks::tasks;
use crate::diagnosis::progress::{JobState, WORKLOADS, containers, controller, event, event_text, relevant, stuck};
use crate::diagnosis::references::{SecretReference, mentions, secrets};
use crate::diagnosis::{Certainty, Citation, Class, Detector, Finding};
use crate::evidence::manifest::{pod_spec, text};
use crate::evidence::{Evidence, Life, ObjectRef};
use crate::remedy::Remedy;

pub const DETECTOR: Detector = Detector {
    slug: "secret-missing",
    summary: "a pod needs a Secret that does not exist",
    class: Class::Specific,
    remedies: &["create-secret"],
    detect,
};

/// What is known about one missing Secret.
#[derive(Default)]
struct Missing {
    since: Option<Timestamp>,
    keys: BTreeSet<String>,
    citations: Vec<Citation>,
    explains: Vec<ObjectRef>,
    /// Somebody said so, and it is not only absent from what was watched.
    said: bool,
}

fn detect(evidence: &Evidence) -> Vec<Finding> {
    let mut missing: BTreeMap<(String, String), Missing> = BTreeMap::new();
    for pod in relevant(evidence, "Pod") {
        if started(pod) || !pod.exists() && !stuck(pod) {
            continue;
        }
        let Some(spec) = pod_spec(pod.object()) else { continue };
        let namespace = pod.text("/metadata/namespace");
        for reference in secrets(spec) {
            if evidence.get("Secret", namespace, &reference.name).is_some() {
                continue;
            }
            let said = said(evidence, pod, &reference.name);
            if said.is_none() && !evidence.watched("Secret") {
                continue;
            }
            let known = missing.entry((namespace.to_owned(), reference.name.clone())).or_default();
            note(known, evidence, pod, &reference, said);
        }
    }
    missing
        .into_iter()
        .map(|((namespace, name), missing)| finding(evidence, &namespace, &name, missing))
        .collect()
}

/// Whether every container of a pod has started once: then nothing that it refers to kept it from that.
fn started(pod: &Life) -> bool {
    matches!(pod.text("/status/phase"), "Running" | "Succeeded" | "Failed")
        && !containers(pod).any(|container| container.waiting() == "CreateContainerConfigError")
}

fn note(known: &mut Missing, evidence: &Evidence, pod: &Life, reference: &SecretReference, said: Option<Citation>) {
    let top = controller(evidence, pod);
    let created = pod.time("/metadata/creationTimestamp").unwrap_or_else(|| pod.first_seen());
    known.since = Some(known.since.map_or(created, |since| since.min(created)));
    known.said |= said.is_some();
    known.keys.extend(reference.key.clone());
    let key = reference.key.as_ref().map(|key| format!(", key {key}")).unwrap_or_default();
    let declared = cite::declared(&top, format!("{}: Secret {}{key}", reference.origin, reference.name));
    for citation in said.into_iter().chain([declared]) {
        if !known.citations.contains(&citation) {
            known.citations.push(citation);
        }
    }
    for object in [pod.reference(), top] {
        if !known.explains.contains(&object) {
            known.explains.push(object);
        }
    }
}

static NOT_FOUND: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r#"secrets? "([^"]+)" not found"#).ok());

/// What the kubelet said about this Secret and this pod.
fn said(evidence: &Evidence, pod: &Life, name: &str) -> Option<Citation> {
    let names = |message: &str| {
        NOT_FOUND.as_ref().is_some_and(|pattern| {
            pattern
                .captures_iter(message)
                .any(|found| found[1].rsplit('/').next() == Some(name))
        })
    };
    let container =
        containers(pod).find(|container| container.waiting() == "CreateContainerConfigError" && names(container.waiting_message()));
    if let Some(container) = container {
        let text = format!(
            "container {} waits: CreateContainerConfigError: {}",
            container.name,
            container.waiting_message()
        );
        return Some(cite::observed(
            &pod.reference(),
            text,
            pod.versions.last().map(|version| version.at),
        ));
    }
    let mount = event(evidence, pod, &["FailedMount"]).filter(|found| names(event_text(found)))?;
    let text = format!("event FailedMount: {}", event_text(mount));
    Some(cite::observed(&pod.reference(), text, Some(mount.first_seen())))
}

/// How long the kubelet may take to say so itself, and a watch of Secrets to catch up with one of pods.
const LAG: SignedDuration = SignedDuration::from_secs(10);

fn finding(evidence: &Evidence, namespace: &str, name: &str, missing: Missing) -> Finding {
    let subject = ObjectRef::new("Secret", Some(namespace), name);
    let since = missing.since.unwrap_or(evidence.now);
    let producer = producer(evidence, namespace, name, &missing.explains);
    let (certainty, why) = match &producer {
        Some(Producer { waits: true, what, .. }) => (Certainty::Suspected, format!("{what} may still make it")),
        _ if !missing.said && evidence.since(since) < LAG => (Certainty::Suspected, "it may not have been seen yet".to_owned()),
        Some(Producer { what, .. }) => (Certainty::Certain, format!("{what} would make it and does not come to it any more")),
        None => (Certainty::Certain, "nothing that is unfinished mentions it".to_owned()),
    };
    let mut citations = missing.citations;
    if evidence.watched("Secret") {
        let text = format!("namespace {namespace} has no Secret {name}");
        citations.push(cite::inferred(&subject, text));
    }
    let keys: Vec<&str> = missing.keys.iter().map(String::as_str).collect();
    let remedy = Remedy::new("create-secret", format!("create Secret {name} in namespace {namespace}"))
        .with("name", name)
        .with("namespace", namespace)
        .with("keys", keys.join(","));
    Finding {
        slug: DETECTOR.slug,
        statement: format!("Secret {name} does not exist"),
        certainty,
        why,
        since,
        citations,
        explains: missing.explains,
        blames: [
            vec![subject.clone()],
            producer.and_then(|producer| producer.object).into_iter().collect(),
        ]
        .concat(),
        subject,
        remedy: Some(remedy),
        alternatives: Vec::new(),
    }
}

/// Something that makes the Secret.
struct Producer {
    what: String,
    object: Option<ObjectRef>,
    /// Whether it can still come to that.
    waits: bool,
}

impl Producer {
    fn of(object: ObjectRef, waits: bool) -> Self {
        Self {
            what: format!("{} {}", object.kind, object.name),
            object: Some(object),
            waits,
        }
    }
}

/// Kinds whose controllers make Secrets, with where they say its name.
const MAKERS: &[(&str, &str)] = &[
    ("Certificate", "/spec/secretName"),
    ("ExternalSecret", "/spec/target/name"),
    ("PushSecret", "/spec/selector/secret/name"),
    ("SealedSecret", "/spec/template/metadata/name"),
    ("VaultStaticSecret", "/spec/destination/name"),
    ("Secret", "/metadata/name"),
];

fn makes(manifest: &Value, name: &str) -> bool {
    MAKERS.iter().any(|(kind, pointer)| {
        text(manifest, "/kind") == *kind
            && (text(manifest, pointer) == name || text(manifest, pointer).is_empty() && text(manifest, "/metadata/name") == name)
    })
}

/// What would make the Secret: an object of a controller, a part of the release that has not been applied, or a Job that mentions it.
fn producer(evidence: &Evidence, namespace: &str, name: &str, blocked: &[ObjectRef]) -> Option<Producer> {
    let patient = engine_is_patient(evidence);
    let made = MAKERS
        .iter()
        .flat_map(|(kind, _)| evidence.all(kind))
        .find(|life| life.text("/metadata/namespace") == namespace && makes(life.object(), name));
    if let Some(maker) = made {
        // One that says that it cannot is not on its way.
        return Some(Producer::of(maker.reference(), maker.condition("Ready") != "False"));
    }
    let attempt = attempt(evidence);
    let record = attempt.as_ref().and_then(|attempt| attempt.record);
    for manifest in record.map(|record| record.manifest.as_slice()).unwrap_or_default() {
        let mut object = ObjectRef::of(manifest);
        object.namespace.get_or_insert_with(|| namespace.to_owned());
        if makes(manifest, name) && evidence.ever(&object.kind).all(|life| life.name() != object.name) {
            return Some(Producer::of(object, patient));
        }
    }
    for hook in record.map(|record| record.hooks.as_slice()).unwrap_or_default() {
        let object = ObjectRef::new(hook.kind.clone(), Some(namespace), hook.name.clone());
        let own = blocked.iter().any(|blocked| blocked.same(&object));
        let relevant = (makes(&hook.manifest, name) || runs(&hook.kind) && mentions(&hook.manifest, name)) && !own;
        if relevant && hook.completed_at.is_none() && hook.events.iter().any(|event| event != "test") {
            return Some(Producer::of(object, patient));
        }
    }
    let task = tasks(evidence).into_iter().find(|task| {
        task.state() == JobState::Running
            && !blocked.iter().any(|blocked| blocked.same(&task.reference))
            && !task.pods.last().is_some_and(|pod| stuck(pod))
            && mentions(task.latest.object(), name)
    });
    task.map(|task| Producer::of(task.reference.clone(), true))
}

fn runs(kind: &str) -> bool {
    WORKLOADS.contains(&kind)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
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
