//! # What it detects
//!
//! A release that Flux has given up on, although what it failed for has been put right since.
//!
//! # Why it happens
//!
//! Once the retries are used up, Flux waits for a new chart, specification or values: only these set the count of failures back. What lay
//! outside of them, a Secret that somebody had to make, is put right without anybody telling Flux. So the release stays failed while
//! everything that it consists of may be running.
//!
//! # Evidence
//!
//! The condition `Stalled`, True for `RetriesExceeded`; the Secret or ConfigMap that a pod of the attempts missed; that it was created
//! after Flux had given up. Where anything else is wrong still, or the specification has changed, nothing is said.
//!
//! # Remedy
//!
//! `reset`: `reconcile.fluxcd.io/resetAt` with the value of `requestedAt`. Suspend and resume does the same.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

use crate::diagnosis::attempt::{Attempt, State, attempt};
use crate::diagnosis::cite;
use crate::diagnosis::logs::quoted;
use crate::diagnosis::missing::not_found;
use crate::diagnosis::progress::{Container, containers, controller, event_text, relevant, stuck};
use crate::diagnosis::references::{CONFIG_MAPS, SECRETS, needed};
use crate::diagnosis::{Certainty, Citation, Class, Detector, Finding};
use crate::evidence::manifest::{pod_spec, text};
use crate::evidence::{Evidence, Life, ObjectRef, moment};
use crate::remedy::Remedy;

pub const DETECTOR: Detector = Detector {
    slug: "release-stalled",
    summary: "Flux has given up on a release, and what it failed for has been put right since",
    class: Class::Specific,
    remedies: &["reset"],
    detect,
};

fn detect(evidence: &Evidence) -> Vec<Finding> {
    let found = || {
        let attempt = attempt(evidence).filter(|attempt| attempt.state == State::Failed)?;
        let stalled = Stalled::of(&attempt)?;
        let mended = mended(evidence, &attempt, &stalled);
        (!mended.is_empty() && !goes_on_failing(evidence, &mended)).then(|| finding(&attempt, &stalled, &mended))
    };
    found().into_iter().collect()
}

/// How Flux said that it has given up.
struct Stalled {
    since: Timestamp,
    message: String,
}

impl Stalled {
    /// Nothing where it will try again by itself, because it has not seen the newest specification.
    fn of(attempt: &Attempt<'_>) -> Option<Self> {
        let release = attempt.helm_release.filter(|life| life.condition("Stalled") == "True")?;
        let condition = release.condition_object("Stalled")?;
        let field = |name: &str| condition.get(name).and_then(Value::as_str).unwrap_or_default();
        let current = release.number("/metadata/generation") == release.number("/status/observedGeneration");
        let stated = moment::parse(field("lastTransitionTime"));
        let ended = attempt.ended_at?;
        (field("reason") == "RetriesExceeded" && current).then(|| Self {
            since: stated.unwrap_or(ended).min(ended),
            message: field("message").to_owned(),
        })
    }
}

/// Something that was missing, and has come since.
struct Mended<'a> {
    object: &'a Life,
    /// Who said that it was missing.
    said: Citation,
    explains: Vec<ObjectRef>,
}

fn mended<'a>(evidence: &'a Evidence, attempt: &Attempt<'_>, stalled: &Stalled) -> Vec<Mended<'a>> {
    let mut found: BTreeMap<ObjectRef, Mended<'a>> = BTreeMap::new();
    let of_attempt = |life: &&Life| life.deleted_at.is_none_or(|gone| gone >= attempt.started_at);
    for pod in evidence.ever("Pod").filter(of_attempt) {
        for (kind, name, said) in missed(evidence, pod) {
            let Some(object) = evidence.get(kind, pod.text("/metadata/namespace"), &name) else {
                continue;
            };
            let came = object.time("/metadata/creationTimestamp").unwrap_or_else(|| object.first_seen());
            if came < stalled.since {
                continue;
            }
            let known = found.entry(object.reference()).or_insert_with(|| Mended {
                object,
                said,
                explains: Vec::new(),
            });
            known.explains.extend([pod.reference(), controller(evidence, pod)]);
        }
    }
    found.into_values().collect()
}

/// What a pod was ever said to miss.
fn missed(evidence: &Evidence, pod: &Life) -> Vec<(&'static str, String, Citation)> {
    let mut found: Vec<(&'static str, String, Citation)> = Vec::new();
    for version in &pod.versions {
        let statuses = ["/status/initContainerStatuses", "/status/containerStatuses"]
            .iter()
            .filter_map(|pointer| version.object.pointer(pointer)?.as_array())
            .flatten();
        for status in statuses.filter(|status| text(status, "/state/waiting/reason") == "CreateContainerConfigError") {
            let message = text(status, "/state/waiting/message");
            for (kind, name) in not_found(message) {
                let said = format!("container {} waited: CreateContainerConfigError: {message}", text(status, "/name"));
                found.push((kind, name, cite::observed(&pod.reference(), said, Some(version.at))));
            }
        }
    }
    for event in evidence.events_about(pod).filter(|event| event.text("/reason") == "FailedMount") {
        for (kind, name) in not_found(event_text(event)) {
            let said = format!("event FailedMount: {}", event_text(event));
            found.push((kind, name, cite::observed(&pod.reference(), said, Some(event.first_seen()))));
        }
    }
    found
}

/// Whether a pod cannot start or crashes for anything but what has come since: then that is the cause.
fn goes_on_failing(evidence: &Evidence, mended: &[Mended<'_>]) -> bool {
    let come = |(kind, name): &(&str, String)| {
        let is = |mended: &Mended<'_>| mended.object.text("/kind") == *kind && mended.object.name() == name;
        mended.iter().any(is)
    };
    // What the kubelet said last may be older than what has come.
    let as_before = |container: &Container<'_>| {
        container.waiting() == "CreateContainerConfigError" && not_found(container.waiting_message()).iter().all(come)
    };
    let pods = relevant(evidence, "Pod").into_iter().filter(|pod| pod.exists());
    pods.into_iter()
        .any(|pod| stuck(pod) && !containers(pod).any(|container| as_before(&container)) || lacks(evidence, pod))
}

/// Whether something else that a pod which has not started needs is not there.
fn lacks(evidence: &Evidence, pod: &Life) -> bool {
    let Some(spec) = pod_spec(pod.object()).filter(|_| pod.text("/status/phase") == "Pending") else {
        return false;
    };
    let namespace = pod.text("/metadata/namespace");
    let absent = |kind: &str, name: &str| evidence.watched(kind) && evidence.get(kind, namespace, name).is_none();
    needed(spec, &SECRETS).iter().any(|reference| absent("Secret", &reference.name))
        || needed(spec, &CONFIG_MAPS)
            .iter()
            .any(|reference| reference.name != "kube-root-ca.crt" && absent("ConfigMap", &reference.name))
}

fn finding(attempt: &Attempt<'_>, stalled: &Stalled, mended: &[Mended<'_>]) -> Finding {
    let subject = attempt.subject();
    let names: Vec<String> = mended
        .iter()
        .map(|mended| format!("{} {}", mended.object.text("/kind"), mended.object.name()))
        .collect();
    let names = names.join(" and ");
    let mut citations = vec![cite::observed(
        &subject,
        format!("condition Stalled: True, RetriesExceeded: {}", quoted(&stalled.message)),
        Some(stalled.since),
    )];
    for mended in mended {
        citations.push(mended.said.clone());
        let created = mended.object.text("/metadata/creationTimestamp");
        let text = format!("metadata.creationTimestamp: {created}, after Flux had given up");
        citations.push(cite::observed(&mended.object.reference(), text, Some(mended.object.first_seen())));
    }
    let mut explains = vec![subject.clone()];
    explains.extend(mended.iter().flat_map(|mended| mended.explains.clone()));
    Finding {
        slug: DETECTOR.slug,
        statement: format!("it failed for {names}, which has come since, and nothing is tried any more"),
        certainty: Certainty::Certain,
        why: "only a new chart, specification or values would set the count of failures back".to_owned(),
        since: stalled.since,
        citations,
        explains,
        blames: Vec::new(),
        remedy: Some(
            Remedy::new(
                "reset",
                format!(
                    "let Flux forget its failures and try again: flux reconcile helmrelease {} --reset",
                    subject.name
                ),
            )
            .with("name", &subject.name)
            .with("namespace", subject.namespace.clone().unwrap_or_default()),
        ),
        alternatives: Vec::new(),
        subject,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::diagnosis::fixture::*;

    const SLUG: &str = "release-stalled";

    fn release(stalled: &str, generation: i64) -> Value {
        json!({
            "kind": "HelmRelease", "metadata": {"name": RELEASE, "generation": generation},
            "status": {"observedGeneration": 1, "installFailures": 2, "conditions": [
                {"type": "Stalled", "status": stalled, "reason": "RetriesExceeded", "message": "Failed to install after 2 attempt(s)"}]},
        })
    }

    fn needs(names: &[&str]) -> Value {
        let env: Vec<Value> = names
            .iter()
            .map(|name| json!({"name": name, "valueFrom": {"secretKeyRef": {"name": name, "key": "p"}}}))
            .collect();
        json!({"image": "app:1", "env": env})
    }

    fn secret(name: &str) -> Value {
        json!({"kind": "Secret", "metadata": {"name": name}, "data": {"p": {"length": 12, "hash": "0a"}}})
    }

    /// An install that timed out because a pod misses its first Secret.
    fn stalled(names: &[&str], release: Value) -> (Scene, Value) {
        let (deployment, set) = deployment("billing", needs(names), 0);
        let mut scene = Scene::new();
        scene.object(self::release("False", 1)).engine(10_000, "poller").at(100);
        scene.record("pending-install", vec![], vec![deployment.clone()]);
        scene.object(deployment).object(set.clone());
        let message = format!("secret \"{}\" not found", names[0]);
        scene
            .at(900)
            .object(pod_of(&set, "p", waiting("CreateContainerConfigError", &message)));
        scene.at(10_500).object(release);
        scene.engine_says("Released=False InstallFailed: Helm install failed for release shop/store: context deadline exceeded");
        scene.engine_ends(1);
        (scene, set)
    }

    #[test]
    fn what_it_failed_for_has_come_since() {
        let (mut scene, set) = stalled(&["db-login"], release("True", 1));
        assert_eq!(scene.diagnosis().causes[0].slug, "secret-missing");
        scene.at(20_000).object(secret("db-login"));
        let expected = [(SLUG.to_owned(), "HelmRelease/store".to_owned())];
        assert_eq!(scene.diagnosis().identity(), expected);
        // The kubelet tries again by itself, and Flux does not.
        scene.at(31_000).object(as_ready(pod_of(&set, "p", running())));
        let (ready, set) = deployment("billing", needs(&["db-login"]), 1);
        scene.object(set).object(ready);
        assert_eq!(scene.diagnosis().identity(), expected);
        let cause = &scene.diagnosis().causes[0];
        let cited: Vec<_> = cause.citations.iter().map(|citation| citation.text.as_str()).collect();
        assert_eq!(
            cited,
            [
                "condition Stalled: True, RetriesExceeded: \"Failed to install after 2 attempt(s)\"",
                "container billing waited: CreateContainerConfigError: secret \"db-login\" not found",
                "metadata.creationTimestamp: 2026-01-02T03:04:25Z, after Flux had given up",
            ]
        );
        assert_eq!(cause.remedy.as_ref().map(|remedy| remedy.kind.as_str()), Some("reset"));
    }

    #[test]
    fn where_something_else_is_missing_that_is_the_cause() {
        let (mut scene, _) = stalled(&["db-login", "mail-login"], release("True", 1));
        scene.at(20_000).object(secret("db-login"));
        let missing = ("secret-missing".to_owned(), "Secret/mail-login".to_owned());
        assert_eq!(scene.diagnosis().identity(), [missing]);
    }

    #[test]
    fn where_it_crashes_now_that_is_the_cause() {
        let (mut scene, set) = stalled(&["db-login"], release("True", 1));
        scene.at(20_000).object(secret("db-login"));
        let crashed = pod_of(&set, "p", waiting("CrashLoopBackOff", "back-off"));
        scene.at(40_000).object(restarted(crashed, 3, 1));
        let slugs: Vec<_> = scene.diagnosis().causes.into_iter().map(|cause| cause.slug).collect();
        assert_eq!(slugs, ["crash-loop"]);
    }

    #[test]
    fn retries_that_still_run_are_none() {
        for release in [release("False", 1), release("True", 2)] {
            let (mut scene, _) = stalled(&["db-login"], release);
            scene.at(20_000).object(secret("db-login"));
            assert!(!scene.diagnosis().identity().iter().any(|(slug, _)| slug == SLUG));
        }
    }
}
