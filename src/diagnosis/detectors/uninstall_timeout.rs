//! # What it detects
//!
//! An object of a release that was deleted and does not go, because nobody takes its finalizer away: the release cannot be uninstalled, and
//! whoever installs it again meets what is still on its way out.
//!
//! # Why it happens
//!
//! A finalizer is a promise of some controller to clean up first, and the API keeps the object until that controller takes the finalizer away.
//! Where it was removed before, never started, or goes in the same moment, nobody does. An uninstall waits for the object until its time
//! is over; then the release is gone from the records, and the object is not. The next install writes into an object that will vanish with
//! all of that once somebody lets it go.
//!
//! # Evidence
//!
//! `deletionTimestamp` and `finalizers` of an object of the release, and that it is there still; what Flux said of the uninstall (reason
//! `UninstallFailed`), that the engine names the object as `Terminating` or `being deleted`, or that a pod has no node because its claim is.
//! Finalizers of Kubernetes itself do not count: those are taken away when something else has gone. While the engine is at work it is only
//! suspected, because the deletion may be slow and in time. Of a kind that is not looked at the engine's word is enough.
//!
//! # Remedy
//!
//! `clear-finalizer`: take exactly that finalizer away once it is known what its controller would have cleaned up, and install again.

use jiff::Timestamp;
use serde_json::Value;

use crate::diagnosis::attempt::{Attempt, State, attempt, duration};
use crate::diagnosis::engine_words::{Said, named};
use crate::diagnosis::logs::quoted;
use crate::diagnosis::progress::controller;
use crate::diagnosis::references::mentions;
use crate::diagnosis::{Certainty, Citation, Class, Detector, Finding, cite};
use crate::evidence::manifest::{foreign_finalizers, text};
use crate::evidence::{Evidence, Life, ObjectRef};
use crate::remedy::Remedy;

pub const DETECTOR: Detector = Detector {
    slug: "uninstall-timeout",
    summary: "a finalizer that nobody takes away keeps an object of an uninstalled release",
    class: Class::Specific,
    remedies: &["clear-finalizer"],
    detect,
};

/// The reason that Flux gives where its uninstall fails, in a condition and in an event.
const UNINSTALL_FAILED: &str = "UninstallFailed";

fn detect(evidence: &Evidence) -> Vec<Finding> {
    let Some(attempt) = attempt(evidence).filter(|attempt| attempt.state != State::Succeeded) else {
        return Vec::new();
    };
    let manifests = attempt.record.into_iter().flat_map(|record| {
        let hooks = record.hooks.iter().map(|hook| &hook.manifest);
        record.manifest.iter().chain(hooks)
    });
    let of_release = manifests.filter_map(|manifest| {
        let namespace = Some(text(manifest, "/metadata/namespace")).filter(|namespace| !namespace.is_empty());
        let (kind, name) = (text(manifest, "/kind"), text(manifest, "/metadata/name"));
        Held::of(evidence.get(kind, namespace.unwrap_or(&attempt.namespace), name)?)
    });
    let held = of_release.chain(unseen(evidence, &attempt));
    held.filter_map(|held| finding(evidence, &attempt, &held)).collect()
}

/// An object that is on its way out and that somebody holds.
struct Held<'a> {
    object: ObjectRef,
    /// Nothing where the object was not seen, and only the engine tells of it.
    seen: Option<Seen<'a>>,
}

struct Seen<'a> {
    life: &'a Life,
    deleted: Timestamp,
    finalizers: Vec<&'a str>,
}

impl<'a> Held<'a> {
    fn of(life: &'a Life) -> Option<Self> {
        let deleted = life.time("/metadata/deletionTimestamp")?;
        let finalizers = foreign_finalizers(life.object());
        let object = ObjectRef {
            uid: None,
            ..life.reference()
        };
        let seen = Seen { life, deleted, finalizers };
        (!seen.finalizers.is_empty()).then_some(Self { object, seen: Some(seen) })
    }
}

/// What the engine met on its way out, of kinds that nobody looks at. Nothing but a finalizer keeps such an object.
fn unseen<'a>(evidence: &Evidence, attempt: &Attempt<'_>) -> Vec<Held<'a>> {
    let terminating = named(attempt).into_iter().filter(|named| is_terminating(&named.said));
    let unknown = terminating.filter(|named| !evidence.watched(&named.object.kind) && evidence.meant(&named.object).is_none());
    unknown
        .map(|named| Held {
            object: named.object,
            seen: None,
        })
        .collect()
}

fn finding(evidence: &Evidence, attempt: &Attempt<'_>, held: &Held<'_>) -> Option<Finding> {
    let Held { object, seen } = held;
    let (kind, name) = (&object.kind, &object.name);
    let finalizers = seen.as_ref().map(|seen| seen.finalizers.as_slice()).unwrap_or_default();
    let since = seen.as_ref().map_or(attempt.started_at, |seen| seen.deleted);
    let said = uninstall_said(evidence, attempt);
    let met = meets(attempt, object);
    let kept_out = kept_out(evidence, object);
    let over = attempt.state == State::Failed && (said.is_some() || met.is_some() || !kept_out.is_empty());
    // A failure that nobody puts down to it has another cause.
    if attempt.state == State::Failed && !over {
        return None;
    }
    let mut citations = Vec::new();
    if let Some(Seen { life, deleted, finalizers }) = seen {
        let ever = format!("metadata.finalizers: {}", finalizers.join(", "));
        citations.push(cite::observed(
            object,
            format!("metadata.deletionTimestamp: {deleted}"),
            Some(*deleted),
        ));
        citations.push(cite::observed(object, ever, Some(life.first_seen())));
    }
    citations.extend(said);
    citations.extend(met.map(|words| cite::observed(&attempt.subject(), words, attempt.ended_at)));
    citations.extend(kept_out.iter().map(|(_, citation)| citation.clone()));
    citations.extend(finalizers.iter().filter_map(|finalizer| absent(evidence, object, finalizer)));
    let (which, it) = match finalizers {
        [] => (
            "a finalizer that nobody takes away keeps it".to_owned(),
            "the finalizer that it has".to_owned(),
        ),
        some => {
            let some = some.join(" and ");
            (format!("nobody takes its finalizer {some} away"), format!("the finalizer {some}"))
        }
    };
    let (certainty, why) = match over {
        true => (
            Certainty::Certain,
            format!(
                "it has been going for at least {}, and the engine has given up",
                duration(evidence.since(since))
            ),
        ),
        false => (
            Certainty::Suspected,
            "whoever set the finalizer may still take it away in time".to_owned(),
        ),
    };
    let mut explains = vec![object.clone(), attempt.subject()];
    for (pod, _) in kept_out {
        explains.extend([pod.reference(), controller(evidence, pod)]);
    }
    let action = format!("take {it} away from {kind} {name}, and clean up by hand what its controller would have");
    Some(Finding {
        slug: DETECTOR.slug,
        statement: format!("{kind} {name} was deleted and does not go, because {which}"),
        certainty,
        why,
        since,
        citations,
        explains,
        blames: Vec::new(),
        remedy: Some(Remedy::new("clear-finalizer", action).with("kind", kind).with("name", name)),
        subject: object.clone(),
        alternatives: Vec::new(),
    })
}

/// What Flux said of an uninstall that failed during the attempts.
fn uninstall_said(evidence: &Evidence, attempt: &Attempt<'_>) -> Option<Citation> {
    let release = attempt.helm_release?;
    let subject = attempt.subject();
    let condition = release.versions.iter().rev().find_map(|version| {
        let conditions = version.object.pointer("/status/conditions")?.as_array()?;
        let failed = conditions
            .iter()
            .find(|condition| text(condition, "/type") == "Remediated" && text(condition, "/reason") == UNINSTALL_FAILED)?;
        let said = format!(
            "condition Remediated: False, {UNINSTALL_FAILED}: {}",
            quoted(text(failed, "/message"))
        );
        Some(cite::observed(&subject, said, Some(version.at)))
    });
    // The next attempt takes the condition away; its event stays for an hour.
    condition.or_else(|| {
        let event = evidence
            .events_about(release)
            .find(|event| event.text("/reason") == UNINSTALL_FAILED)?;
        let said = format!("event {UNINSTALL_FAILED}: {}", quoted(event.text("/message")));
        Some(cite::observed(&subject, said, Some(event.first_seen())))
    })
}

fn is_terminating(said: &Said) -> bool {
    matches!(said, Said::NotReady { status } if status == "Terminating")
}

/// The words with which the engine met the object on its way out.
fn meets(attempt: &Attempt<'_>, object: &ObjectRef) -> Option<String> {
    let words = attempt.words();
    let name = format!("\"{}\"", object.name);
    let refused = |line: &&str| line.contains("object is being deleted") && line.replace('\\', "").contains(&name);
    if let Some(line) = words.lines().find(refused) {
        return Some(quoted(line));
    }
    let terminating = named(attempt)
        .into_iter()
        .any(|named| is_terminating(&named.said) && named.object.same(object));
    terminating.then(|| format!("{}/{} status: Terminating", object.kind, object.name))
}

/// The pods that get no node because the claim is on its way out: whoever does not wait for claims waits for those.
fn kept_out<'a>(evidence: &'a Evidence, object: &ObjectRef) -> Vec<(&'a Life, Citation)> {
    if object.kind != "PersistentVolumeClaim" {
        return Vec::new();
    }
    let words = format!("persistentvolumeclaim \"{}\" is being deleted", object.name);
    let beside = |pod: &&Life| object.namespace.as_deref() == Some(pod.text("/metadata/namespace"));
    let told = evidence.all("Pod").filter(beside).filter_map(|pod| {
        let message = pod.condition_object("PodScheduled")?.get("message").and_then(Value::as_str)?;
        let text = format!("condition PodScheduled: {}: {message}", pod.condition("PodScheduled"));
        message
            .contains(&words)
            .then(|| (pod, cite::observed(&pod.reference(), text, None)))
    });
    told.collect()
}

/// That nobody here would take it away, as far as pods tell what they care for.
fn absent(evidence: &Evidence, object: &ObjectRef, finalizer: &str) -> Option<Citation> {
    let (owner, _) = finalizer.split_once('/')?;
    let cares = |pod: &Life| pod.condition("Ready") == "True" && mentions(pod.object(), owner);
    let text = format!("no pod that is ready here mentions {owner}");
    (!evidence.all("Pod").any(cares)).then(|| cite::inferred(object, text))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::diagnosis::fixture::*;

    const SLUG: &str = "uninstall-timeout";
    const SUBJECT: &str = "ConfigMap/ledger";

    fn ledger(finalizers: &[&str], deleted: bool) -> Value {
        let mut object = json!({"kind": "ConfigMap", "metadata": {"name": "ledger", "finalizers": finalizers}});
        if deleted {
            object["metadata"]["deletionTimestamp"] = json!("2026-01-02T03:04:25Z");
        }
        object
    }

    fn release(conditions: &Value) -> Value {
        json!({"kind": "HelmRelease", "metadata": {"name": RELEASE}, "status": {"conditions": conditions}})
    }

    fn failed_uninstall() -> Value {
        let message = "Helm uninstall remediation for release shop/store.v1 with chart store@0.1.0 failed: context deadline exceeded";
        json!([{"type": "Remediated", "status": "False", "reason": "UninstallFailed", "message": message}])
    }

    /// An install that fails and is uninstalled while an object is held, and one more.
    fn scene(finalizers: &[&str], remediated: &Value) -> Scene {
        let mut scene = Scene::new();
        scene.object(release(&json!([]))).engine(10_000, "poller").at(100);
        scene
            .record("pending-install", vec![], vec![ledger(finalizers, false)])
            .object(ledger(finalizers, false));
        scene.at(10_100).object(ledger(finalizers, true));
        scene.at(20_200).object(release(remediated));
        scene.at(20_300).record("pending-install", vec![], vec![ledger(finalizers, false)]);
        scene
    }

    const LAST: &str = "Released=False InstallFailed: Helm install failed for release shop/store with chart store@0.1.0: timeout waiting for: \
                        [ConfigMap/shop/ledger status: 'Terminating']";

    #[test]
    fn an_object_that_the_uninstall_left_is_cited_with_its_finalizer() {
        let mut scene = scene(&["books.example/audit"], &failed_uninstall());
        scene.never_certain();
        scene
            .at(30_400)
            .object(release(&json!([])))
            .engine_says("Released=False InstallFailed: Helm install failed: context deadline exceeded")
            .engine_ends(1);
        scene.settles_on(&[(SLUG, SUBJECT)]);
        let cause = &scene.diagnosis().causes[0];
        assert_eq!(
            cause.statement,
            "ConfigMap ledger was deleted and does not go, because nobody takes its finalizer books.example/audit away"
        );
        let cited: Vec<_> = cause.citations.iter().map(|citation| citation.text.as_str()).collect();
        assert_eq!(
            cited[..2],
            [
                "metadata.deletionTimestamp: 2026-01-02T03:04:25Z",
                "metadata.finalizers: books.example/audit"
            ]
        );
        assert!(cited[2].starts_with("condition Remediated: False, UninstallFailed: "));
        assert_eq!(cited[3], "no pod that is ready here mentions books.example");
        let remedy = cause.remedy.as_ref().expect("a remedy");
        assert_eq!(
            (remedy.kind.as_str(), remedy.parameters["name"].as_str()),
            ("clear-finalizer", "ledger")
        );
    }

    #[test]
    fn one_that_the_next_install_meets_needs_no_word_of_the_uninstall() {
        for words in [
            LAST,
            "Error: INSTALLATION FAILED: resource ConfigMap/shop/ledger not ready. status: Terminating, message: Resource scheduled for deletion",
            "Error: INSTALLATION FAILED: object is being deleted: configmaps \"ledger\" already exists",
        ] {
            let mut scene = scene(&["books.example/audit"], &json!([]));
            scene.at(20_400).engine_says(words).engine_ends(1);
            scene.settles_on(&[(SLUG, SUBJECT)]);
        }
    }

    #[test]
    fn of_a_kind_that_is_not_looked_at_the_engine_tells() {
        let mut scene = Scene::new();
        scene.object(release(&json!([]))).engine(10_000, "poller").at(100);
        scene.record(
            "pending-install",
            vec![],
            vec![json!({"kind": "Organization", "metadata": {"name": "guild"}})],
        );
        scene.at(10_400);
        scene.engine_says(&LAST.replace("ConfigMap/shop/ledger", "Organization/shop/guild"));
        scene.engine_ends(1);
        scene.settles_on(&[(SLUG, "Organization/guild")]);
        let cause = &scene.diagnosis().causes[0];
        assert_eq!(
            cause.statement,
            "Organization guild was deleted and does not go, because a finalizer that nobody takes away keeps it"
        );
    }

    #[test]
    fn a_claim_that_goes_keeps_pods_from_their_node() {
        let mut claim = ledger(&["backup.example/copy", "kubernetes.io/pvc-protection"], true);
        claim["kind"] = json!("PersistentVolumeClaim");
        let (deployment, set) = deployment("billing", json!({"image": "app:1"}), 0);
        let mut pod = pod_of(&set, "p", json!({}));
        let message = "0/1 nodes are available: persistentvolumeclaim \"ledger\" is being deleted.";
        pod["status"]["conditions"] = json!([{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}]);
        let mut scene = Scene::new();
        scene.at(20_500).object(claim.clone()).engine(10_000, "legacy").at(20_600);
        scene.record("pending-install", vec![], vec![claim, deployment.clone()]);
        scene.object(deployment).object(set).object(pod);
        scene
            .at(30_800)
            .engine_says("Error: INSTALLATION FAILED: context deadline exceeded")
            .engine_ends(1);
        scene.settles_on(&[(SLUG, "PersistentVolumeClaim/ledger")]);
        let cause = &scene.diagnosis().causes[0];
        assert!(cause.citations.iter().any(|citation| citation.text.contains(message)));
        assert!(
            cause.chain.iter().any(|link| link.subject.to_string() == "Pod/billing-7f9c-p"),
            "{:?}",
            cause.chain
        );
    }

    #[test]
    fn a_failure_that_nobody_puts_down_to_it_is_another_one() {
        let mut scene = scene(&["books.example/audit"], &json!([]));
        scene
            .at(20_400)
            .engine_says("Error: INSTALLATION FAILED: context deadline exceeded")
            .engine_ends(1);
        scene.never_certain();
    }

    #[test]
    fn a_deletion_that_is_slow_and_in_time_is_none() {
        let mut scene = scene(&["books.example/audit"], &json!([]));
        scene
            .at(20_400)
            .deleted(ledger(&[], true))
            .at(20_500)
            .object(ledger(&["books.example/audit"], false));
        scene
            .at(30_400)
            .engine_says("Released=False InstallFailed: Helm install failed: context deadline exceeded")
            .engine_ends(1);
        scene.never_certain();
    }

    #[test]
    fn finalizers_of_kubernetes_and_those_of_what_stays_are_none() {
        for (finalizers, deleted) in [
            (["kubernetes.io/pvc-protection"], true),
            (["foregroundDeletion"], true),
            (["books.example/audit"], false),
        ] {
            let mut scene = Scene::new();
            scene.object(release(&json!([]))).engine(10_000, "poller").at(100);
            scene.record("pending-install", vec![], vec![ledger(&finalizers, false)]);
            scene
                .at(10_100)
                .object(ledger(&finalizers, deleted))
                .object(release(&failed_uninstall()));
            scene.at(30_400).engine_says(LAST).engine_ends(1);
            assert!(!scene.diagnosis().identity().iter().any(|(slug, _)| slug == SLUG), "{finalizers:?}");
        }
    }
}
