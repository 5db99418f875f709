//! # What it detects
//!
//! A container of a chart whose environment has one name twice, refused by the API server when the engine applies it.
//!
//! # Why it happens
//!
//! Templates put the environment together from several places: a plain value here, a reference to a Secret there, a list of the user's at
//! the end. With some values two of them write the same name. The list is a map by name to whoever merges: server-side apply (Helm 4 and
//! Flux 2.9) takes no such object at all. Helm 3 and Flux 2.7 create it, with a warning that is easily missed, and fail when they upgrade
//! to it, because merging both entries gives one that has a value and a reference at once.
//!
//! # Evidence
//!
//! The words of the engine: `duplicate entries for key [name="…"]` below the container's `env`, or `valueFrom: Invalid value: "": may not be
//! specified when` …; the two entries in the manifest of the revision that failed. The second wording is that of any entry with both, also of
//! one that was changed by hand: without a name that the manifest has twice, nothing is said of it.
//!
//! # Remedy
//!
//! `drop-duplicate-env`: of the two, leave one.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

use crate::diagnosis::attempt::{Attempt, State, attempt};
use crate::diagnosis::cite;
use crate::diagnosis::logs::quoted;
use crate::diagnosis::{Certainty, Citation, Class, Detector, Finding};
use crate::evidence::manifest::{list, pod_spec, text};
use crate::evidence::{Evidence, ObjectRef};
use crate::remedy::Remedy;

pub const DETECTOR: Detector = Detector {
    slug: "duplicate-env",
    summary: "a container's environment has one name twice, and the API server refuses it",
    class: Class::Specific,
    remedies: &["drop-duplicate-env"],
    detect,
};

fn detect(evidence: &Evidence) -> Vec<Finding> {
    let Some(attempt) = attempt(evidence).filter(|attempt| attempt.state == State::Failed) else {
        return Vec::new();
    };
    let words = attempt.words();
    let mut seen = BTreeSet::new();
    refusals(&words)
        .into_iter()
        .filter_map(|refusal| twice(&attempt, refusal))
        .filter(|twice| seen.insert((twice.object.clone(), twice.container.clone(), twice.name.clone())))
        .map(|twice| finding(&attempt, twice))
        .collect()
}

/// Which container of an object was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Refused {
    /// By its name, with the name that it has twice.
    Duplicate { container: String, name: String },
    /// By its place in the list of the object that the merge gave.
    Both { index: usize },
}

/// What the API server said of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Refusal {
    kind: String,
    /// Empty where it was not said.
    namespace: String,
    object: String,
    /// `containers`, `initContainers`
    list: String,
    refused: Refused,
    words: String,
}

static APPLIED: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"failed to create typed [a-z]+ object \(([^/;\s]*)/([^;\s]+); [^;()]*\bKind=([A-Za-z]+)\)").ok());
static DUPLICATE: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(
        r#"\.((?:init|ephemeral)?[cC]ontainers)\[name=\\?"([^"\\]+)\\?"\]\.env: duplicate entries for key \[name=\\?"([^"\\]+)\\?"\]"#,
    )
    .ok()
});
static INVALID: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r#"\b([A-Z][A-Za-z]*)(?:\.[a-z0-9.-]+)? \\?"([^"\\]+)\\?" is invalid: "#).ok());
static BOTH: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r#"\.?((?:initC|c)ontainers)\[(\d+)\]\.env\[\d+\]\.valueFrom: Invalid value: \\?"\\?": may not be specified when .{0,3}value.{0,3} is not empty"#).ok()
});

/// Everything that was refused because of an environment. Each is of the object that was named last before it.
fn refusals(words: &str) -> Vec<Refusal> {
    let mut found = Vec::new();
    let (Some(applied), Some(duplicate), Some(invalid), Some(both)) =
        (APPLIED.as_ref(), DUPLICATE.as_ref(), INVALID.as_ref(), BOTH.as_ref())
    else {
        return found;
    };
    for captures in duplicate.captures_iter(words) {
        let Some(whole) = captures.get(0) else { continue };
        let Some(object) = applied.captures_iter(&words[..whole.start()]).last() else {
            continue;
        };
        found.push(Refusal {
            kind: object[3].to_owned(),
            namespace: object[1].to_owned(),
            object: object[2].to_owned(),
            list: captures[1].to_owned(),
            refused: Refused::Duplicate {
                container: captures[2].to_owned(),
                name: captures[3].to_owned(),
            },
            words: said(words, whole.start(), whole.end()),
        });
    }
    for captures in both.captures_iter(words) {
        let Some(whole) = captures.get(0) else { continue };
        let Some(object) = invalid.captures_iter(&words[..whole.start()]).last() else {
            continue;
        };
        found.push(Refusal {
            kind: object[1].to_owned(),
            namespace: String::new(),
            object: object[2].to_owned(),
            list: captures[1].to_owned(),
            refused: Refused::Both {
                index: captures[2].parse().unwrap_or(usize::MAX),
            },
            words: said(words, whole.start(), whole.end()),
        });
    }
    found
}

/// What was said from the beginning of the field's path on; quotes in a quoted message are escaped.
fn said(words: &str, field: usize, end: usize) -> String {
    let path = words[..field].rfind(char::is_whitespace).map_or(0, |space| space + 1);
    words[path..end].replace('\\', "")
}

/// A name that a container has twice.
#[derive(Debug)]
struct Twice {
    object: ObjectRef,
    container: String,
    name: String,
    /// `value, then valueFrom`, as far as the manifest is known.
    entries: Vec<(String, &'static str)>,
    words: String,
}

fn twice(attempt: &Attempt<'_>, refusal: Refusal) -> Option<Twice> {
    let manifest = manifest(attempt, &refusal);
    let declared = manifest.map(|manifest| text(manifest, "/metadata/namespace")).unwrap_or_default();
    let namespace = [refusal.namespace.as_str(), declared, attempt.namespace.as_str()]
        .into_iter()
        .find(|namespace| !namespace.is_empty());
    let object = ObjectRef::new(&refusal.kind, namespace, &refusal.object);
    let containers = manifest
        .and_then(pod_spec)
        .map(|spec| list(spec, &refusal.list))
        .unwrap_or_default();
    let (container, name) = match refusal.refused {
        Refused::Duplicate { container, name } => (container, name),
        Refused::Both { index } => {
            let at = containers.get(index).and_then(|container| Some((container, mixed(container)?)));
            // The object that the merge gave may list its containers in another order.
            let (container, name) = at.or_else(|| containers.iter().find_map(|container| Some((container, mixed(container)?))))?;
            (text(container, "/name").to_owned(), name.to_owned())
        }
    };
    let entries = containers
        .iter()
        .enumerate()
        .find(|(_, candidate)| text(candidate, "/name") == container)
        .map(|(at, candidate)| entries(manifest, &refusal.list, at, candidate, &name))
        .unwrap_or_default();
    Some(Twice {
        object,
        container,
        name,
        entries,
        words: refusal.words,
    })
}

/// The object in the revision that failed, hooks included.
fn manifest<'a>(attempt: &Attempt<'a>, refusal: &Refusal) -> Option<&'a Value> {
    let record = attempt.record?;
    let hooks = record.hooks.iter().map(|hook| &hook.manifest);
    record
        .manifest
        .iter()
        .chain(hooks)
        .find(|manifest| text(manifest, "/kind") == refusal.kind && text(manifest, "/metadata/name") == refusal.object)
}

/// The name that a container has at least once with a value and once with a reference.
fn mixed(container: &Value) -> Option<&str> {
    let env = list(container, "env");
    let has = |name: &str, what: &str| env.iter().any(|entry| text(entry, "/name") == name && form(entry) == what);
    env.iter()
        .map(|entry| text(entry, "/name"))
        .find(|name| has(name, "value") && has(name, "valueFrom"))
}

/// How an entry says what the variable is. What it says is nobody's business here: it may be a password.
fn form(entry: &Value) -> &'static str {
    if entry.get("valueFrom").is_some() { "valueFrom" } else { "value" }
}

/// Each entry of this name: its path, and how it says what the variable is.
fn entries(manifest: Option<&Value>, list_name: &str, at: usize, container: &Value, name: &str) -> Vec<(String, &'static str)> {
    let above = match manifest.map(|manifest| text(manifest, "/kind")) {
        Some("Pod") => "spec",
        Some("CronJob") => "spec.jobTemplate.spec.template.spec",
        _ => "spec.template.spec",
    };
    list(container, "env")
        .iter()
        .enumerate()
        .filter(|(_, entry)| text(entry, "/name") == name)
        .map(|(index, entry)| (format!("{above}.{list_name}[{at}].env[{index}]"), form(entry)))
        .collect()
}

fn finding(attempt: &Attempt<'_>, twice: Twice) -> Finding {
    let Twice {
        container, name, object, ..
    } = &twice;
    let forms: Vec<&str> = twice.entries.iter().map(|(_, form)| *form).collect();
    let how = if forms.len() < 2 {
        String::new()
    } else {
        format!(": {}", forms.join(", then "))
    };
    Finding {
        slug: DETECTOR.slug,
        statement: format!(
            "container {container} of {} {} has {name} twice in its environment{how}",
            object.kind, object.name
        ),
        certainty: Certainty::Certain,
        why: "the API server refused it, and does so each time that this manifest is applied".to_owned(),
        since: attempt.started_at,
        citations: citations(attempt, &twice),
        explains: vec![object.clone(), attempt.subject()],
        blames: Vec::new(),
        remedy: Some(
            Remedy::new(
                "drop-duplicate-env",
                format!("leave one entry for {name} in container {container}: the chart writes it from two of its values"),
            )
            .with("name", name)
            .with("container", container),
        ),
        subject: twice.object,
        alternatives: Vec::new(),
    }
}

fn citations(attempt: &Attempt<'_>, twice: &Twice) -> Vec<Citation> {
    let name = &twice.name;
    let mut citations: Vec<Citation> = twice
        .entries
        .iter()
        .map(|(path, form)| cite::declared(&twice.object, format!("{path}: {name} by {form}")))
        .collect();
    citations.push(cite::observed(&attempt.subject(), quoted(&twice.words), attempt.ended_at));
    citations
}

#[cfg(test)]
mod tests;
