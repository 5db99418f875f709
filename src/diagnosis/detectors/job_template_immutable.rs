//! # What it detects
//!
//! An upgrade that changes the pod template of a Job which the release tracks and which is still there.
//!
//! # Why it happens
//!
//! A Job's pod template cannot be changed once the Job exists, and engines update what they track. So the first new image tag, value or
//! label that reaches the template of a migration Job breaks the upgrade, and every further one.
//!
//! A TTL that removes the finished Job has been added against this, and linters ask for one: then `ttl-deleted-job` lies in wait, because
//! the engine may look for the Job after it has gone. The two are each other's false friend. A hook and a name per content are free of
//! both.
//!
//! # Evidence
//!
//! That the API server refused the Job's `spec.template` (the words of the engine, whose middle can be kilobytes), and what differs
//! there between the previous release's manifest and the new one, or else between the Job that exists and the new manifest.
//!
//! # Remedy
//!
//! `make-hook`. Else `name-per-content`, or `replace-job` for this one time.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

use crate::diagnosis::attempt::{Attempt, State, attempt};
use crate::diagnosis::cite;
use crate::diagnosis::differences::{Difference, contradictions, differences};
use crate::diagnosis::engine_words::pieces;
use crate::diagnosis::logs::quoted;
use crate::diagnosis::{Certainty, Citation, Class, Detector, Finding};
use crate::evidence::manifest::text;
use crate::evidence::{Evidence, Life, ObjectRef, ReleaseRecord};
use crate::remedy::Remedy;

pub const DETECTOR: Detector = Detector {
    slug: "job-template-immutable",
    summary: "an upgrade changes the pod template of a tracked Job that exists",
    class: Class::Specific,
    remedies: &["make-hook", "name-per-content", "replace-job"],
    detect,
};

/// How many fields that differ are cited.
const CITED: usize = 3;
const TEMPLATE: &str = "spec.template";

fn detect(evidence: &Evidence) -> Vec<Finding> {
    let Some(attempt) = attempt(evidence).filter(|attempt| attempt.state == State::Failed) else {
        return Vec::new();
    };
    refused(&attempt.words())
        .into_iter()
        .filter_map(|refusal| of_job(evidence, &attempt, &refusal))
        .collect()
}

/// What the API server said of a Job.
#[derive(Debug, PartialEq, Eq)]
struct Refusal {
    job: String,
    words: String,
}

static INVALID: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r#"Job\.batch \\?"([^"\\]+)\\?" is invalid: "#).ok());

const IMMUTABLE: &str = "field is immutable";

/// The Jobs whose template was refused. `Job.batch "x" is invalid: ` begins it, with this field alone or in a list, and `field is
/// immutable` ends it, after all of the template.
fn refused(words: &str) -> Vec<Refusal> {
    let Some(pattern) = INVALID.as_ref() else { return Vec::new() };
    let mut refusals: Vec<Refusal> = Vec::new();
    for (found, said) in pieces(pattern, words) {
        let job = found[1].to_owned();
        let Some(field) = said
            .find("spec.template: Invalid value")
            .filter(|_| refusals.iter().all(|known| known.job != job))
        else {
            continue;
        };
        let words = match said[field..].find(IMMUTABLE) {
            Some(at) => &said[..field + at + IMMUTABLE.len()],
            None => said.lines().next().unwrap_or_default(),
        };
        let words = words.to_owned();
        refusals.push(Refusal { job, words });
    }
    refusals
}

fn of_job(evidence: &Evidence, attempt: &Attempt<'_>, refusal: &Refusal) -> Option<Finding> {
    let wanted = attempt.record.and_then(|record| manifest(record, &refusal.job));
    let namespace = wanted
        .map(|wanted| text(wanted, "/metadata/namespace"))
        .filter(|namespace| !namespace.is_empty());
    let namespace = namespace.unwrap_or(&attempt.namespace);
    let reference = ObjectRef::new("Job", Some(namespace), &refusal.job);
    let live = evidence.ever_named("Job", namespace, &refusal.job).last();
    if is_hook(attempt, &refusal.job) || wanted.is_none() && live.is_some_and(|life| life.annotation("helm.sh/hook").is_some()) {
        return None;
    }
    let before = attempt.record.and_then(|record| previous(evidence, record));
    let changes = changes(before, wanted, live, &refusal.job);
    let name = &refusal.job;
    let operation = &attempt.operation;
    let what = match changes.as_slice() {
        [] => String::new(),
        [one] => format!(" ({})", one.path.trim_start_matches("spec.template.")),
        [one, rest @ ..] => format!(" ({} and {} more)", one.path.trim_start_matches("spec.template."), rest.len()),
    };
    Some(Finding {
        slug: DETECTOR.slug,
        statement: format!("the {operation} changes the pod template of Job {name}{what}, which exists and cannot be changed"),
        certainty: Certainty::Certain,
        why: "the API server refused it, and does so each time as long as this Job is there".to_owned(),
        since: attempt.started_at,
        citations: citations(attempt, &reference, refusal, &changes, live),
        explains: vec![reference.clone()],
        blames: Vec::new(),
        subject: reference,
        remedy: Some(
            Remedy::new(
                "make-hook",
                format!("make Job {name} a hook, which engines delete and create again instead of changing it"),
            )
            .with("job", name),
        ),
        alternatives: vec![
            Remedy::new(
                "name-per-content",
                format!("give Job {name} a name that changes with its template, so that each upgrade makes a new one"),
            )
            .with("job", name),
            Remedy::new("replace-job", format!("delete Job {name} this once, and upgrade again")).with("job", name),
        ],
    })
}

fn is_hook(attempt: &Attempt<'_>, job: &str) -> bool {
    let hooks = attempt.record.map(|record| record.hooks.as_slice()).unwrap_or_default();
    hooks.iter().any(|hook| hook.kind == "Job" && hook.name == job)
}

fn manifest<'a>(record: &'a ReleaseRecord, job: &str) -> Option<&'a Value> {
    record
        .manifest
        .iter()
        .find(|manifest| text(manifest, "/kind") == "Job" && text(manifest, "/metadata/name") == job)
}

/// The release that is in the cluster: the newest one before this that succeeded.
fn previous<'a>(evidence: &'a Evidence, record: &ReleaseRecord) -> Option<&'a ReleaseRecord> {
    evidence
        .revisions(&record.name)
        .find(|earlier| earlier.revision < record.revision && matches!(earlier.status.as_str(), "deployed" | "superseded"))
}

/// What differs in the template: between the two manifests, or where that tells nothing, between the Job that exists and the new one.
fn changes(before: Option<&ReleaseRecord>, wanted: Option<&Value>, live: Option<&Life>, job: &str) -> Vec<Difference> {
    let template = |manifest: &Value| manifest.pointer("/spec/template").cloned();
    let Some(after) = wanted.and_then(template) else {
        return Vec::new();
    };
    let of_manifests = before
        .and_then(|record| manifest(record, job))
        .and_then(template)
        .map(|before| differences(&before, &after, TEMPLATE))
        .unwrap_or_default();
    if !of_manifests.is_empty() {
        return of_manifests;
    }
    let live = live.and_then(|life| template(life.object()));
    live.map(|live| contradictions(&live, &after, TEMPLATE)).unwrap_or_default()
}

fn citations(attempt: &Attempt<'_>, job: &ObjectRef, refusal: &Refusal, changes: &[Difference], live: Option<&Life>) -> Vec<Citation> {
    let mut citations: Vec<Citation> = changes
        .iter()
        .take(CITED)
        .map(|change| cite::declared(job, change.text()))
        .collect();
    let words = cite::observed(&attempt.subject(), quoted(&refusal.words), attempt.ended_at);
    citations.insert(citations.len().min(2), words);
    let created = live.map(|life| (life, text(life.object(), "/metadata/creationTimestamp")));
    citations.extend(
        created
            .filter(|(_, created)| !created.is_empty())
            .map(|(life, created)| cite::observed(job, format!("metadata.creationTimestamp: {created}"), Some(life.first_seen()))),
    );
    citations
}

#[cfg(test)]
mod tests;
