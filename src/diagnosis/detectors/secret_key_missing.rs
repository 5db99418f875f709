//! # What it detects
//!
//! A pod that cannot start because a Secret or a ConfigMap that it needs is there and does not hold the key that it asks for.
//!
//! # Why it happens
//!
//! The chart and whoever made the object call the key by different names: `password` and `DB_PASSWORD`, `tls.crt` and `cert.pem`. That the
//! object exists hides it from every check that asks for nothing else.
//!
//! # Evidence
//!
//! The container's waiting reason `CreateContainerConfigError` with `couldn't find key K in Secret ns/x`, or a `FailedMount` event with
//! `references non-existent secret key: K`; the reference in the pod's specification; the names of the keys that the object holds. Optional
//! references do not count. Something that is unfinished and makes the object could still add the key: then it is only suspected.
//!
//! # Remedy
//!
//! `use-key` where the object holds one that is called nearly so; else `add-key`. Nothing is known about its value.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use jiff::Timestamp;
use regex::Regex;
use serde_json::Value;

use crate::diagnosis::cite;
use crate::diagnosis::hooks::{Task, tasks};
use crate::diagnosis::missing::{LAG, MAKERS_OF_CONFIG_MAPS, MAKERS_OF_SECRETS, Makers, Producer, Product, started};
use crate::diagnosis::progress::{concerns, containers, controller, event_text, relevant, stuck};
use crate::diagnosis::references::{CONFIG_MAPS, Fields, Reference, SECRETS, needed};
use crate::diagnosis::{Certainty, Citation, Class, Detector, Finding};
use crate::evidence::manifest::pod_spec;
use crate::evidence::{Evidence, Life, ObjectRef};
use crate::remedy::Remedy;

pub const DETECTOR: Detector = Detector {
    slug: "secret-key-missing",
    summary: "a Secret or ConfigMap does not hold the key that a pod needs",
    class: Class::Specific,
    remedies: &["add-key", "use-key"],
    detect,
};

struct Sought {
    kind: &'static str,
    fields: &'static Fields,
    makers: Makers,
}

const SOUGHT: [Sought; 2] = [
    Sought {
        kind: "Secret",
        fields: &SECRETS,
        makers: MAKERS_OF_SECRETS,
    },
    Sought {
        kind: "ConfigMap",
        fields: &CONFIG_MAPS,
        makers: MAKERS_OF_CONFIG_MAPS,
    },
];

/// What is known about one object that lacks keys.
#[derive(Default)]
struct Lacking {
    since: Option<Timestamp>,
    keys: BTreeSet<String>,
    citations: Vec<Citation>,
    explains: Vec<ObjectRef>,
    said: bool,
}

fn detect(evidence: &Evidence) -> Vec<Finding> {
    let mut lacking: BTreeMap<(usize, String, String), Lacking> = BTreeMap::new();
    for pod in relevant(evidence, "Pod") {
        let was = pod.before_leaving();
        let pod = was.as_ref();
        if started(pod) || !pod.exists() && !stuck(pod) {
            continue;
        }
        let Some(spec) = pod_spec(pod.object()) else { continue };
        let namespace = pod.text("/metadata/namespace");
        for (index, sought) in SOUGHT.iter().enumerate() {
            for reference in needed(spec, sought.fields) {
                let Some(key) = &reference.key else { continue };
                let said = said(evidence, pod, sought.kind, &reference, key);
                let lacks = match evidence.get(sought.kind, namespace, &reference.name) {
                    Some(object) => !keys(object).contains(key),
                    // Who may not read it has only the kubelet's word; what does not exist lacks more than a key.
                    None => said.is_some() && !evidence.watched(sought.kind),
                };
                if lacks {
                    let at = (index, namespace.to_owned(), reference.name.clone());
                    note(lacking.entry(at).or_default(), evidence, pod, sought, &reference, said);
                }
            }
        }
    }
    if lacking.is_empty() {
        return Vec::new();
    }
    let tasks = tasks(evidence);
    lacking
        .into_iter()
        .filter_map(|((index, namespace, name), lacking)| Some(finding(evidence, SOUGHT.get(index)?, &tasks, &namespace, &name, lacking)))
        .collect()
}

/// When an object was changed last, as far as that is known.
fn changed(evidence: &Evidence, kind: &str, namespace: &str, name: &str) -> Timestamp {
    let Some(object) = evidence.get(kind, namespace, name) else {
        return Timestamp::UNIX_EPOCH;
    };
    let created = object.time("/metadata/creationTimestamp");
    let seen = object.versions.get(1..).and_then(|later| later.last()).map(|version| version.at);
    seen.or(created).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// The names of the keys that an object holds.
fn keys(object: &Life) -> BTreeSet<String> {
    let fields = ["/data", "/binaryData", "/stringData"].iter();
    let maps = fields.filter_map(|pointer| object.at(pointer).and_then(Value::as_object));
    maps.flat_map(|map| map.keys().cloned()).collect()
}

static ENV: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"couldn't find key (\S+) in (Secret|ConfigMap) (?:[^\s/]+/)?([^\s/,;]+)").ok());
static VOLUME: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"references non-existent (secret|config) key: ([^\s,;\]]+)").ok());

/// What the kubelet said of this reference of a pod.
fn said(evidence: &Evidence, pod: &Life, kind: &str, reference: &Reference, key: &str) -> Option<Citation> {
    let of_env = |message: &str| {
        let mut found = ENV.iter().flat_map(|pattern| pattern.captures_iter(message));
        found.any(|found| &found[1] == key && &found[2] == kind && found[3] == *reference.name)
    };
    let container =
        containers(pod).find(|container| container.waiting() == "CreateContainerConfigError" && of_env(container.waiting_message()));
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
    // The event names the volume and the key, and not the object.
    let volume = reference.origin.strip_prefix("volume ")?;
    let word = if kind == "Secret" { "secret" } else { "config" };
    let of_volume = |message: &str| {
        let mut found = VOLUME.iter().flat_map(|pattern| pattern.captures_iter(message));
        message.contains(&format!("\"{volume}\"")) && found.any(|found| &found[1] == word && &found[2] == key)
    };
    let mount = evidence
        .events_about(pod)
        .find(|event| event.text("/reason") == "FailedMount" && of_volume(event_text(event)) && concerns(event, pod))?;
    let text = format!("event FailedMount: {}", event_text(mount));
    Some(cite::observed(&pod.reference(), text, Some(mount.first_seen())))
}

fn note(known: &mut Lacking, evidence: &Evidence, pod: &Life, sought: &Sought, reference: &Reference, said: Option<Citation>) {
    let top = controller(evidence, pod);
    let created = pod.time("/metadata/creationTimestamp").unwrap_or_else(|| pod.first_seen());
    known.since = Some(known.since.map_or(created, |since| since.min(created)));
    known.said |= said.is_some();
    known.keys.extend(reference.key.clone());
    let key = reference.key.as_deref().unwrap_or_default();
    let text = format!("{}: {} {}, key {key}", reference.origin, sought.kind, reference.name);
    for citation in said.into_iter().chain([cite::declared(&top, text)]) {
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

fn finding(evidence: &Evidence, sought: &Sought, tasks: &[Task<'_>], namespace: &str, name: &str, lacking: Lacking) -> Finding {
    let kind = sought.kind;
    let subject = ObjectRef::new(kind, Some(namespace), name);
    let since = lacking.since.unwrap_or(evidence.now);
    let product = Product {
        kind,
        makers: sought.makers,
        namespace,
        name,
        exists: true,
    };
    let producer = product.producer(evidence, tasks, &lacking.explains);
    let (certainty, why) = match &producer {
        Some(Producer { waits: true, what, .. }) => (Certainty::Suspected, format!("{what} may still add it")),
        _ if !lacking.said && evidence.since(since.max(changed(evidence, kind, namespace, name))) < LAG => {
            (Certainty::Suspected, "the kubelet has not looked yet".to_owned())
        }
        Some(Producer { what, .. }) => (Certainty::Certain, format!("{what} makes it, and adds nothing any more")),
        None => (Certainty::Certain, "nothing that is unfinished mentions it".to_owned()),
    };
    let mut citations = lacking.citations;
    let held = evidence.get(kind, namespace, name).map(keys);
    if let Some(held) = &held {
        let names = match held.len() {
            0 => "no keys".to_owned(),
            1 => format!("the key {}", list(held)),
            _ => format!("the keys {}", list(held)),
        };
        citations.push(cite::observed(&subject, format!("data: {names}"), None));
    }
    let wanted = list(&lacking.keys);
    let noun = if lacking.keys.len() == 1 { "key" } else { "keys" };
    let add = Remedy::new(
        "add-key",
        format!("add the {noun} {wanted} to {kind} {name} in namespace {namespace}"),
    );
    let near = match (lacking.keys.first(), &held) {
        (Some(key), Some(held)) if lacking.keys.len() == 1 => nearest(key, held),
        _ => None,
    };
    let with = |remedy: Remedy| {
        remedy
            .with("kind", kind)
            .with("name", name)
            .with("namespace", namespace)
            .with("keys", wanted.replace(", ", ","))
    };
    let (remedy, alternatives) = match near {
        Some(near) => {
            let sentence = format!("refer to the key {near} of {kind} {name}, or add {wanted} to it");
            (with(Remedy::new("use-key", sentence).with("key", near)), vec![with(add)])
        }
        None => (with(add), Vec::new()),
    };
    Finding {
        slug: DETECTOR.slug,
        statement: format!("{kind} {name} has no {noun} {wanted}"),
        certainty,
        why,
        since,
        citations,
        explains: lacking.explains,
        blames: [
            vec![subject.clone()],
            producer.and_then(|producer| producer.object).into_iter().collect(),
        ]
        .concat(),
        subject,
        remedy: Some(remedy),
        alternatives,
    }
}

fn list(keys: &BTreeSet<String>) -> String {
    keys.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}

/// Of the keys that an object holds the one that is meant: the same but for case and separators, or what the other one ends in, or nearly
/// the same letters.
fn nearest<'a>(wanted: &str, held: &'a BTreeSet<String>) -> Option<&'a str> {
    let letters = |key: &str| {
        key.chars()
            .filter(char::is_ascii_alphanumeric)
            .collect::<String>()
            .to_ascii_lowercase()
    };
    let meant = letters(wanted);
    let ends = |a: &str, b: &str| a.len().min(b.len()) >= 4 && (a.ends_with(b) || b.ends_with(a));
    let mut near = held.iter().filter_map(|key| {
        let other = letters(key);
        let distance = match () {
            () if other == meant => 0,
            () if ends(&other, &meant) => 1,
            () if strsim::damerau_levenshtein(&other, &meant) <= meant.len() / 4 => 2,
            () => return None,
        };
        Some((distance, key.as_str()))
    });
    let first = near.next()?;
    let (_, key) = near.fold(first, |best, other| if other.0 < best.0 { other } else { best });
    Some(key)
}

#[cfg(test)]
mod tests;
