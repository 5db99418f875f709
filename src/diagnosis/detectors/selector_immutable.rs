//! # What it detects
//!
//! An upgrade that changes the selector of a Deployment, a StatefulSet or a DaemonSet which exists.
//!
//! # Why it happens
//!
//! The selector of a workload cannot be changed once it exists. Charts that put labels into it which change (a version, a component, the
//! release's new name, labels that a user may add) install well, and fail at the first upgrade that changes one.
//!
//! # Evidence
//!
//! That the API server refused `spec.selector` as immutable, in the engine's words, whose middle can be kilobytes. Of a StatefulSet it says
//! only that some field is forbidden to change: then the selectors have to differ between the previous release's manifest, or the object
//! that exists, and the new one. A changed claim template or a Job's template is refused in similar words, and is not this.
//!
//! # Remedy
//!
//! `keep-selector`. Else `replace-workload` for this one time.

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
use crate::evidence::{Evidence, ObjectRef, ReleaseRecord};
use crate::remedy::Remedy;

pub const DETECTOR: Detector = Detector {
    slug: "selector-immutable",
    summary: "an upgrade changes the selector of a workload that exists",
    class: Class::Specific,
    remedies: &["keep-selector", "replace-workload"],
    detect,
};

const SELECTOR: &str = "spec.selector";
const IMMUTABLE: &str = "field is immutable";
/// How many labels that differ are cited.
const CITED: usize = 3;

static INVALID: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r#"(Deployment|StatefulSet|DaemonSet|ReplicaSet)\.(?:apps|extensions) \\?"([^"\\]+)\\?" is invalid: "#).ok()
});
const FORBIDDEN: &str = "updates to statefulset spec for fields other than";

/// What the API server said of a workload.
#[derive(Debug, PartialEq, Eq)]
struct Refusal {
    kind: String,
    name: String,
    words: String,
    /// It names the selector.
    names_it: bool,
}

fn detect(evidence: &Evidence) -> Vec<Finding> {
    let Some(attempt) = attempt(evidence).filter(|attempt| attempt.state == State::Failed) else {
        return Vec::new();
    };
    refused(&attempt.words())
        .into_iter()
        .filter_map(|refusal| finding(evidence, &attempt, &refusal))
        .collect()
}

/// The workloads of which the selector was refused, or of which it may have been.
fn refused(words: &str) -> Vec<Refusal> {
    let Some(pattern) = INVALID.as_ref() else { return Vec::new() };
    let mut refusals: Vec<Refusal> = Vec::new();
    for (found, said) in pieces(pattern, words) {
        let (kind, name) = (&found[1], &found[2]);
        if refusals.iter().any(|known| known.kind == kind && known.name == name) {
            continue;
        }
        let field = said.find("spec.selector: Invalid value");
        let immutable = field.and_then(|at| Some(at + said[at..].find(IMMUTABLE)? + IMMUTABLE.len()));
        let forbidden = said.find(FORBIDDEN).filter(|_| kind == "StatefulSet");
        let words = match (immutable, forbidden) {
            (Some(end), _) => &said[..end],
            (None, Some(_)) => said.lines().next().unwrap_or_default(),
            (None, None) => continue,
        };
        refusals.push(Refusal {
            kind: kind.to_owned(),
            name: name.to_owned(),
            words: words.to_owned(),
            names_it: immutable.is_some(),
        });
    }
    refusals
}

fn finding(evidence: &Evidence, attempt: &Attempt<'_>, refusal: &Refusal) -> Option<Finding> {
    let (kind, name) = (&refusal.kind, &refusal.name);
    let wanted = attempt.record.and_then(|record| manifest(record, refusal));
    let namespace = wanted
        .map(|wanted| text(wanted, "/metadata/namespace"))
        .filter(|namespace| !namespace.is_empty())
        .unwrap_or(&attempt.namespace);
    let subject = ObjectRef::new(kind.clone(), Some(namespace), name);
    let changes = changes(evidence, attempt, refusal, namespace);
    if !refusal.names_it && changes.is_empty() {
        return None;
    }
    let what = match changes.as_slice() {
        [] => String::new(),
        [one] => format!(" ({})", short(one)),
        [one, rest @ ..] => format!(" ({} and {} more)", short(one), rest.len()),
    };
    let operation = &attempt.operation;
    let mut citations: Vec<Citation> = changes
        .iter()
        .take(CITED)
        .map(|change| cite::declared(&subject, change.text()))
        .collect();
    citations.push(cite::observed(&attempt.subject(), quoted(&refusal.words), attempt.ended_at));
    if let Some(life) = evidence.ever_named(kind, namespace, name).last() {
        let created = format!("metadata.creationTimestamp: {}", life.text("/metadata/creationTimestamp"));
        citations.push(cite::observed(&subject, created, Some(life.first_seen())));
    }
    let sentence = format!("leave the selector of {kind} {name} as it is, and put what changes into the pod template's labels alone");
    let once = format!("delete {kind} {name} this once, leaving its pods if need be, and upgrade again");
    Some(Finding {
        slug: DETECTOR.slug,
        statement: format!("the {operation} changes the selector of {kind} {name}{what}, which exists and cannot be changed"),
        certainty: Certainty::Certain,
        why: format!("the API server refused it, and does so each time as long as this {kind} is there"),
        since: attempt.started_at,
        citations,
        explains: vec![subject.clone()],
        blames: Vec::new(),
        subject,
        remedy: Some(Remedy::new("keep-selector", sentence).with("kind", kind).with("name", name)),
        alternatives: vec![Remedy::new("replace-workload", once).with("kind", kind).with("name", name)],
    })
}

/// `matchLabels.app`
fn short(change: &Difference) -> &str {
    change.path.trim_start_matches(SELECTOR).trim_start_matches('.')
}

fn manifest<'a>(record: &'a ReleaseRecord, refusal: &Refusal) -> Option<&'a Value> {
    let is = |manifest: &&Value| text(manifest, "/kind") == refusal.kind && text(manifest, "/metadata/name") == refusal.name;
    record.manifest.iter().find(is)
}

/// What differs in the selector: between the two manifests, or where that tells nothing, between what exists and the new one.
fn changes(evidence: &Evidence, attempt: &Attempt<'_>, refusal: &Refusal, namespace: &str) -> Vec<Difference> {
    let selector = |manifest: &Value| manifest.pointer("/spec/selector").cloned();
    let Some(record) = attempt.record else { return Vec::new() };
    let Some(after) = manifest(record, refusal).and_then(selector) else {
        return Vec::new();
    };
    let before = evidence
        .revisions(&record.name)
        .find(|earlier| earlier.revision < record.revision && matches!(earlier.status.as_str(), "deployed" | "superseded"));
    let of_manifests = before
        .and_then(|before| manifest(before, refusal))
        .and_then(selector)
        .map(|before| differences(&before, &after, SELECTOR))
        .unwrap_or_default();
    if !of_manifests.is_empty() {
        return of_manifests;
    }
    let live = evidence.ever_named(&refusal.kind, namespace, &refusal.name).last();
    let live = live.and_then(|life| selector(life.object()));
    live.map(|live| contradictions(&live, &after, SELECTOR)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::diagnosis::fixture::*;
    use crate::evidence::Fact;

    const SLUG: &str = "selector-immutable";
    const FORBIDDEN_SET: &str = "cannot patch \"web\" with kind StatefulSet: StatefulSet.apps \"web\" is invalid: spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden";

    fn workload(kind: &str, label: &str, claim: &str) -> Value {
        json!({
            "kind": kind, "metadata": {"name": "web", "namespace": NAMESPACE},
            "spec": {
                "selector": {"matchLabels": {"app": "web", "track": label}},
                "template": {"metadata": {"labels": {"app": "web", "track": label}}, "spec": {"containers": [{"name": "web", "image": "web:1"}]}},
                "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {"resources": {"requests": {"storage": claim}}}}],
            },
        })
    }

    fn record(scene: &Scene, revision: u32, status: &str, description: &str, manifest: Value) -> Fact {
        Fact::Release(Arc::new(ReleaseRecord {
            name: RELEASE.into(),
            namespace: NAMESPACE.into(),
            revision,
            status: status.into(),
            description: description.into(),
            chart: "store".into(),
            chart_version: "0.1.0".into(),
            first_deployed: Some(scene.stamp()),
            last_deployed: Some(scene.stamp()),
            hooks: Vec::new(),
            manifest: vec![manifest],
            lookups: Vec::new(),
            sources: std::collections::BTreeMap::new(),
        }))
    }

    fn upgraded(from: Value, to: Value, words: &str) -> Scene {
        let mut scene = Scene::new();
        let first = record(&scene, 1, "deployed", "Install complete", from.clone());
        scene.push(first).object(from).at(30_000).later(30_000).engine(20_000, "watcher");
        let failed = record(&scene, 2, "failed", &format!("Upgrade \"store\" failed: {words}"), to);
        scene.at(400).push(failed).at(450);
        scene.engine_says(&format!("Error: UPGRADE FAILED: {words}")).engine_ends(1);
        scene
    }

    fn of_deployment(words: &str) -> String {
        format!(
            "{words}: Deployment.apps \"web\" is invalid: spec.selector: Invalid value: v1.LabelSelector{{{}}}: field is immutable",
            "x".repeat(900)
        )
    }

    #[test]
    fn both_engines_words_and_the_label_that_differs() {
        for words in [
            "cannot patch \"web\" with kind Deployment",
            "server-side apply failed for object shop/web apps/v1, Kind=Deployment",
        ] {
            let scene = upgraded(
                workload("Deployment", "old", "1Gi"),
                workload("Deployment", "new", "1Gi"),
                &of_deployment(words),
            );
            scene.settles_on(&[(SLUG, "Deployment/web")]);
            let cause = &scene.diagnosis().causes[0];
            assert!(
                cause
                    .statement
                    .contains("selector of Deployment web (matchLabels.track), which exists"),
                "{}",
                cause.statement
            );
            assert_eq!(cause.citations[0].text, "spec.selector.matchLabels.track: old → new");
            assert!(cause.citations[1].text.ends_with("field is immutable\""));
        }
    }

    #[test]
    fn in_a_list_with_another_complaint() {
        let words = "Deployment.apps \"web\" is invalid: [spec.template.metadata.labels: Invalid value: {}: `selector` does not match template `labels`, spec.selector: Invalid value: {}: field is immutable]";
        assert_eq!(refused(words).len(), 1);
    }

    #[test]
    fn a_statefulset_whose_selector_differs() {
        let scene = upgraded(
            workload("StatefulSet", "old", "1Gi"),
            workload("StatefulSet", "new", "1Gi"),
            FORBIDDEN_SET,
        );
        scene.settles_on(&[(SLUG, "StatefulSet/web")]);
    }

    #[test]
    fn a_statefulset_whose_claims_differ_is_another_cause() {
        let scene = upgraded(
            workload("StatefulSet", "old", "1Gi"),
            workload("StatefulSet", "old", "2Gi"),
            FORBIDDEN_SET,
        );
        assert!(detect(&scene.evidence()).is_empty());
    }

    #[test]
    fn a_jobs_template_is_another_cause() {
        let words =
            "cannot patch \"web\" with kind Job: Job.batch \"web\" is invalid: spec.template: Invalid value: {}: field is immutable";
        let scene = upgraded(workload("Deployment", "old", "1Gi"), workload("Deployment", "new", "1Gi"), words);
        assert!(detect(&scene.evidence()).is_empty());
        let words = "Deployment.apps \"web\" is invalid: spec.template.spec.containers[0].image: Required value";
        let scene = upgraded(workload("Deployment", "old", "1Gi"), workload("Deployment", "new", "1Gi"), words);
        assert!(detect(&scene.evidence()).is_empty());
    }
}
