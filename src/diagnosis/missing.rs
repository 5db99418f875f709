//! Secrets and ConfigMaps that pods need and that do not exist: one piece for both.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use jiff::{SignedDuration, Timestamp};
use regex::Regex;
use serde_json::Value;

use super::attempt::{attempt, engine_is_patient};
use super::cite;
use super::dependencies::on_its_way;
use super::hooks::{Task, tasks};
use super::progress::{JobState, WORKLOADS, concerns, containers, controller, event_text, never_ran, relevant, stuck};
use super::references::{Fields, Reference, mentions_otherwise, needed};
use super::{Certainty, Citation, Finding, Slug};
use crate::evidence::manifest::{pod_spec, text};
use crate::evidence::{Evidence, Life, ObjectRef};
use crate::remedy::Remedy;

/// What is looked for.
#[derive(Debug)]
pub struct Sought {
    pub slug: Slug,
    /// `Secret`, `ConfigMap`
    pub kind: &'static str,
    /// Where pods name them.
    pub fields: &'static Fields,
    pub makers: Makers,
    /// Those that the cluster makes in every namespace.
    pub made_anyway: &'static [&'static str],
    pub remedy: &'static str,
}

/// Kinds whose controllers make objects of another kind, with where those say the name.
pub type Makers = &'static [(&'static str, &'static str)];

pub const MAKERS_OF_SECRETS: Makers = &[
    ("Certificate", "/spec/secretName"),
    ("ExternalSecret", "/spec/target/name"),
    ("PushSecret", "/spec/selector/secret/name"),
    ("SealedSecret", "/spec/template/metadata/name"),
    ("VaultStaticSecret", "/spec/destination/name"),
];

pub const MAKERS_OF_CONFIG_MAPS: Makers = &[("Bundle", "/metadata/name")];

/// What is known about one missing object.
#[derive(Default)]
struct Missing {
    since: Option<Timestamp>,
    keys: BTreeSet<String>,
    citations: Vec<Citation>,
    explains: Vec<ObjectRef>,
    /// Somebody said so, and it is not only absent from what was watched.
    said: bool,
}

/// Everything of this kind that a pod needs and that does not exist.
pub fn findings(evidence: &Evidence, sought: &Sought) -> Vec<Finding> {
    let mut missing: BTreeMap<(String, String), Missing> = BTreeMap::new();
    for pod in relevant(evidence, "Pod") {
        let was = pod.before_leaving();
        let pod = was.as_ref();
        if started(pod) || !pod.exists() && !stuck(pod) {
            continue;
        }
        let Some(spec) = pod_spec(pod.object()) else { continue };
        let namespace = pod.text("/metadata/namespace");
        for reference in needed(spec, sought.fields) {
            let name = reference.name.as_str();
            if sought.made_anyway.contains(&name) || evidence.get(sought.kind, namespace, name).is_some() {
                continue;
            }
            let said = said(evidence, pod, sought, name);
            if said.is_none() && !evidence.watched(sought.kind) {
                continue;
            }
            let known = missing.entry((namespace.to_owned(), name.to_owned())).or_default();
            note(known, evidence, pod, sought, &reference, said);
        }
    }
    if missing.is_empty() {
        return Vec::new();
    }
    // Once for all: it looks at every Job and its pods.
    let tasks = tasks(evidence);
    missing
        .into_iter()
        .map(|((namespace, name), missing)| finding(evidence, sought, &tasks, &namespace, &name, missing))
        .collect()
}

/// Whether every container of a pod has started once: then nothing that it refers to kept it from that.
pub fn started(pod: &Life) -> bool {
    matches!(pod.text("/status/phase"), "Running" | "Succeeded" | "Failed")
        && !containers(pod).any(|container| container.waiting() == "CreateContainerConfigError" || never_ran(&container))
}

fn note(known: &mut Missing, evidence: &Evidence, pod: &Life, sought: &Sought, reference: &Reference, said: Option<Citation>) {
    let top = controller(evidence, pod);
    let created = pod.time("/metadata/creationTimestamp").unwrap_or_else(|| pod.first_seen());
    known.since = Some(known.since.map_or(created, |since| since.min(created)));
    known.said |= said.is_some();
    known.keys.extend(reference.key.clone());
    let key = reference.key.as_ref().map(|key| format!(", key {key}")).unwrap_or_default();
    let declared = cite::declared(&top, format!("{}: {} {}{key}", reference.origin, sought.kind, reference.name));
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

static NOT_FOUND: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r#"\b(secret|configmap)s? "([^"]+)" not found"#).ok());

/// What a message of the kubelet's says is not there: `Secret` or `ConfigMap`, and its name.
pub fn not_found(message: &str) -> Vec<(&'static str, String)> {
    let kind = |text: &str| if text == "secret" { "Secret" } else { "ConfigMap" };
    let found = NOT_FOUND.iter().flat_map(|pattern| pattern.captures_iter(message));
    found
        .map(|found| (kind(&found[1]), found[2].rsplit('/').next().unwrap_or_default().to_owned()))
        .collect()
}

/// What the kubelet said about this object and this pod.
fn said(evidence: &Evidence, pod: &Life, sought: &Sought, name: &str) -> Option<Citation> {
    let names = |message: &str| not_found(message).iter().any(|(kind, found)| *kind == sought.kind && found == name);
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
    // Each volume has an event of its own.
    let mount = evidence
        .all("Event")
        .find(|event| event.text("/reason") == "FailedMount" && names(event_text(event)) && concerns(event, pod))?;
    let text = format!("event FailedMount: {}", event_text(mount));
    Some(cite::observed(&pod.reference(), text, Some(mount.first_seen())))
}

/// How long the kubelet may take to say so itself, and the watch of one kind to catch up with that of pods.
pub const LAG: SignedDuration = SignedDuration::from_secs(10);

fn finding(evidence: &Evidence, sought: &Sought, tasks: &[Task<'_>], namespace: &str, name: &str, missing: Missing) -> Finding {
    let kind = sought.kind;
    let subject = ObjectRef::new(kind, Some(namespace), name);
    let since = missing.since.unwrap_or(evidence.now);
    let product = Product {
        kind,
        makers: sought.makers,
        namespace,
        name,
        exists: false,
    };
    let producer = product.producer(evidence, tasks, &missing.explains);
    let (certainty, why) = match &producer {
        Some(Producer { waits: true, what, .. }) => (Certainty::Suspected, format!("{what} may still make it")),
        _ if !missing.said && evidence.since(since) < LAG => (Certainty::Suspected, "it may not have been seen yet".to_owned()),
        Some(Producer { what, .. }) => (Certainty::Certain, format!("{what} would make it and does not come to it any more")),
        None => (Certainty::Certain, "nothing that is unfinished mentions it".to_owned()),
    };
    let mut citations = missing.citations;
    if evidence.watched(kind) {
        let text = format!("namespace {namespace} has no {kind} {name}");
        citations.push(cite::inferred(&subject, text));
    }
    let keys: Vec<&str> = missing.keys.iter().map(String::as_str).collect();
    let remedy = Remedy::new(sought.remedy, format!("create {kind} {name} in namespace {namespace}"))
        .with("name", name)
        .with("namespace", namespace)
        .with("keys", keys.join(","));
    Finding {
        slug: sought.slug,
        statement: format!("{kind} {name} does not exist"),
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

/// Something that makes the object.
pub struct Producer {
    pub what: String,
    pub object: Option<ObjectRef>,
    /// Whether it can still come to that.
    pub waits: bool,
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

/// An object that somebody has to make, or that exists and lacks something.
pub struct Product<'a> {
    pub kind: &'a str,
    pub makers: Makers,
    pub namespace: &'a str,
    pub name: &'a str,
    pub exists: bool,
}

impl Product<'_> {
    /// Whether a manifest is this object, or one whose controller makes it.
    pub fn made_by(&self, manifest: &Value) -> bool {
        let (kind, own, name) = (text(manifest, "/kind"), text(manifest, "/metadata/name"), self.name);
        let by_controller = |(maker, pointer): &(&str, &str)| {
            let said = text(manifest, pointer);
            kind == *maker && (said == name || said.is_empty() && own == name)
        };
        kind == self.kind && own == name && !self.exists || self.makers.iter().any(by_controller)
    }

    /// What would make it: an object of a controller, a part of the release that has not been applied, or a Job that mentions it.
    pub fn producer(&self, evidence: &Evidence, tasks: &[Task<'_>], blocked: &[ObjectRef]) -> Option<Producer> {
        let patient = engine_is_patient(evidence);
        let kinds = self.makers.iter().map(|(kind, _)| *kind).chain([self.kind]);
        let made = kinds
            .flat_map(|kind| evidence.all(kind))
            .find(|life| life.text("/metadata/namespace") == self.namespace && self.made_by(life.object()));
        if let Some(maker) = made {
            let ready = maker.condition("Ready");
            // One that says that it cannot is not on its way; and what is there when it says that it is done is all that it makes.
            return Some(Producer::of(
                maker.reference(),
                ready != "False" && !(self.exists && ready == "True"),
            ));
        }
        let attempt = attempt(evidence);
        let record = attempt.as_ref().and_then(|attempt| attempt.record);
        for manifest in record.map(|record| record.manifest.as_slice()).unwrap_or_default() {
            let mut object = ObjectRef::of(manifest);
            object.namespace.get_or_insert_with(|| self.namespace.to_owned());
            if self.made_by(manifest) && evidence.ever(&object.kind).all(|life| life.name() != object.name) {
                return Some(Producer::of(object, patient));
            }
        }
        for hook in record.map(|record| record.hooks.as_slice()).unwrap_or_default() {
            let object = ObjectRef::new(hook.kind.clone(), Some(self.namespace), hook.name.clone());
            let own = blocked.iter().any(|blocked| blocked.same(&object));
            let relevant = (self.made_by(&hook.manifest) || runs(&hook.kind) && mentions_otherwise(&hook.manifest, self.name)) && !own;
            if relevant && hook.completed_at.is_none() && hook.events.iter().any(|event| event != "test") {
                return Some(Producer::of(object, patient));
            }
        }
        // What another one delivers is not known before it has applied it.
        if let Some(other) = on_its_way(evidence, blocked) {
            return Some(Producer::of(other, true));
        }
        let task = tasks.iter().find(|task| {
            task.state() == JobState::Running
                && !blocked.iter().any(|blocked| blocked.same(&task.reference))
                && !task.pods.last().is_some_and(|pod| stuck(pod))
                && mentions_otherwise(task.latest.object(), self.name)
        });
        task.map(|task| Producer::of(task.reference.clone(), true))
    }
}

fn runs(kind: &str) -> bool {
    WORKLOADS.contains(&kind)
}
