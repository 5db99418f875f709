//! Who wrote what a cause hinges on, inferred from the managed fields of objects: of what happened before anybody looked, they are what is
//! left. Only the writer of the very field is named; that somebody has written something says nothing.

use std::sync::LazyLock;

use jiff::{SignedDuration, Timestamp};
use regex::Regex;

use super::progress::{controller, plain};
use super::{Citation, Finding, cite};
use crate::evidence::manifest::{list, pod_spec, text};
use crate::evidence::{Evidence, Life, ObjectRef, Writer};

/// What deploys what somebody has declared elsewhere: a change by another one is not in its source.
const TOOLS: &[&str] = &[
    "argocd-application-controller",
    "argocd-controller",
    "helm",
    "helm-controller",
    "kustomize-controller",
];
/// Of these, what writes on behalf of a release.
const HELM: &[&str] = &["helm", "helm-controller"];

/// How far apart times may lie that are of one moment: each is cut to its second, and something lies between two writes.
const AT_ONCE: SignedDuration = SignedDuration::from_secs(2);
/// How soon what an operation broke shows.
const SOON: SignedDuration = SignedDuration::from_secs(60);

/// Whether a written path is a field, lies in it, or holds it.
fn covers(path: &str, field: &str) -> bool {
    let below = |inner: &str, outer: &str| {
        inner
            .strip_prefix(outer)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    below(path, field) || below(field, path)
}

/// A field with a name that somebody has chosen: `metadata.labels.app`, `metadata.labels[app.kubernetes.io/name]`
pub fn field(of: &str, name: &str) -> String {
    if name.contains(['.', '/', '[']) {
        format!("{of}[{name}]")
    } else {
        format!("{of}.{name}")
    }
}

/// What a writer wrote of some fields.
fn written<'a>(writer: &'a Writer, fields: &[String]) -> Option<&'a str> {
    let covered = |path: &&String| fields.iter().any(|field| covers(path, field));
    writer.fields.iter().find(covered).map(String::as_str)
}

fn is_tool(writer: &Writer) -> bool {
    TOOLS.contains(&writer.manager.as_str())
}

fn at(time: Option<Timestamp>) -> String {
    time.map_or_else(String::new, |time| format!(" at {time}"))
}

fn citation(life: &Life, told: &str) -> Citation {
    cite::inferred(&plain(&life.reference()), format!("managed fields: {told}"))
}

/// Who wrote one of these fields last, whoever it was.
pub fn wrote(life: &Life, fields: &[String]) -> Option<Citation> {
    let (writer, path) = life.writers().iter().find_map(|writer| Some((writer, written(writer, fields)?)))?;
    Some(citation(life, &format!("{} wrote {path}{}", writer.manager, at(writer.time))))
}

/// Who else wrote one of these fields of an object that a tool deploys. A field that the tool wrote as well has the tool's value.
pub fn by_hand(life: &Life, fields: &[String]) -> Option<Citation> {
    let tool = life.writers().iter().find(|writer| is_tool(writer))?;
    let agrees = life
        .writers()
        .iter()
        .any(|writer| is_tool(writer) && written(writer, fields).is_some());
    // Of a tool that wrote more than is known, only what came after it is known to be other than its own.
    let differs = |writer: &&Writer| !is_tool(writer) && (!tool.more || writer.time > tool.time);
    let mut others = life.writers().iter().filter(differs);
    let (writer, path) = others
        .find_map(|writer| Some((writer, written(writer, fields)?)))
        .filter(|_| !agrees)?;
    let told = format!(
        "{} wrote {path}{}, which {} deployed{}",
        writer.manager,
        at(writer.time),
        tool.manager,
        at(tool.time)
    );
    Some(citation(life, &told))
}

/// The same of what a pod runs by: a field of its specification, in what somebody would edit. A pod from before the change knows nothing of it.
pub fn by_hand_in_pod(evidence: &Evidence, pod: &Life, field: &str) -> Option<Citation> {
    let top = controller(evidence, pod);
    let life = evidence.meant(&top)?;
    let (own, path) = match life.text("/kind") {
        "Pod" => (true, "spec"),
        "CronJob" => (false, "spec.jobTemplate.spec.template.spec"),
        _ => (false, "spec.template.spec"),
    };
    let fields = [format!("{path}.{field}")];
    let last = life
        .writers()
        .iter()
        .find(|writer| !is_tool(writer) && written(writer, &fields).is_some())?;
    let made = pod.time("/metadata/creationTimestamp");
    if !own && last.time.zip(made).is_some_and(|(written, made)| written > made + AT_ONCE) {
        return None;
    }
    by_hand(life, &fields)
}

/// The same of a field of one of its containers: `image`, `readinessProbe`.
pub fn by_hand_in_container(evidence: &Evidence, pod: &Life, container: &str, field: &str) -> Option<Citation> {
    let spec = pod_spec(pod.object())?;
    let lists = ["containers", "initContainers"];
    let of = lists
        .iter()
        .find(|key| list(spec, key).iter().any(|of| text(of, "/name") == container))?;
    by_hand_in_pod(evidence, pod, &format!("{of}[{container}].{field}"))
}

/// Who made an object that is somebody else's: whose last write is as old as the object, else whoever wrote it first of those that are known.
pub fn made(life: &Life) -> Option<Citation> {
    let created = life.time("/metadata/creationTimestamp")?;
    let first = |writer: &&Writer| writer.time.is_some_and(|time| time <= created + AT_ONCE);
    if let Some(writer) = life.writers().iter().rev().find(first) {
        return Some(citation(life, &format!("{} made it{}", writer.manager, at(writer.time))));
    }
    let oldest = life.writers().iter().rev().find(|writer| writer.time.is_some())?;
    Some(citation(life, &format!("{} wrote it{}", oldest.manager, at(oldest.time))))
}

/// Adds that it began with an operation on a release, where no record tells of that: whoever looks may not read Secrets.
pub fn note_operation(evidence: &Evidence, finding: &mut Finding) {
    if evidence.engine().is_some() {
        return;
    }
    let objects = finding.explains.iter().chain([&finding.subject]);
    let operation = objects.filter_map(|object| evidence.meant(object)).find_map(|life| {
        let release = life.annotation("meta.helm.sh/release-name")?;
        if evidence.release(release).is_some() {
            return None;
        }
        let writer = life.writers().iter().find(|writer| HELM.contains(&writer.manager.as_str()))?;
        let time = writer.time?;
        let began = finding.since + AT_ONCE >= time && finding.since <= time + SOON;
        let told = format!(
            "{} wrote it for release {release} at {time}, just before this began",
            writer.manager
        );
        began.then(|| citation(life, &told))
    });
    if let Some(operation) = operation.filter(|operation| !finding.citations.contains(operation)) {
        finding.citations.push(operation);
    }
}

static OBJECT: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"conflict occurred while applying object ([^/\s]*)/(\S+) [^\s,]+, Kind=([A-Za-z0-9]+)").ok());
static OTHER: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r#"conflicts? with \\?"([^"\\]+)\\?"(?: with subresource \\?"([^"\\]+)\\?")?"#).ok());
static FIELD: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r#"(?m)(?:^\s*-|: )\s*(\.[a-z]\S*)"#).ok());

/// When the fields were written that an apply on the server's side would have taken over, and by whom, where the engine's words say that it was
/// refused for that: `kubectl-edit wrote spec.replicas of Deployment web at …`
pub fn conflict(evidence: &Evidence, words: &str) -> Option<String> {
    let named = OBJECT.as_ref()?.captures(words)?;
    let said = &words[named.get(0)?.end()..];
    let object = ObjectRef::new(&named[3], Some(&named[1]).filter(|namespace| !namespace.is_empty()), &named[2]);
    let life = evidence.meant(&object)?;
    let fields: Vec<String> = FIELD.as_ref()?.captures_iter(said).map(|found| path(&found[1])).collect();
    OTHER.as_ref()?.captures_iter(said).find_map(|other| {
        let subresource = other.get(2).map_or("", |name| name.as_str());
        let is = |writer: &&Writer| writer.manager == other[1] && writer.subresource == subresource;
        let (writer, path) = life
            .writers()
            .iter()
            .filter(is)
            .find_map(|writer| Some((writer, written(writer, &fields)?)))?;
        let time = writer.time?;
        let what = format!("{} {}", object.kind, object.name);
        Some(format!(
            "{} wrote {path} of {what} at {time}, inferred from managed fields",
            writer.manager
        ))
    })
}

/// `.spec.template.spec.containers[name="web"].image` as it is told of writers.
fn path(told: &str) -> String {
    let mut path = String::new();
    let mut parts = told.trim_start_matches('.').split('[');
    path.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let (keys, rest) = part.split_once(']').unwrap_or((part, ""));
        let key = keys.split(',').find_map(|key| {
            let (key, value) = key.split_once('=')?;
            matches!(key, "name" | "containerPort" | "port").then(|| value.trim_matches(['"', '\\']))
        });
        path.push_str(&format!("[{}]{rest}", key.unwrap_or_default()));
    }
    path
}

#[cfg(test)]
mod tests;
