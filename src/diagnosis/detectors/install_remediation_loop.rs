//! # What it detects
//!
//! An install that fails, is uninstalled, and is tried again for ever.
//!
//! # Why it happens
//!
//! With `spec.install.remediation.retries: -1` Flux never gives up. Before each new attempt it takes everything away that the last one has
//! left, and with it what would tell why that failed: pods, their logs, the release record. What is seen is a namespace that fills and
//! empties.
//!
//! # Evidence
//!
//! The retries in the specification, the failures in the status, and how many records of the first revision came and went. Whatever keeps
//! the attempts from their end is the cause, and this only a link of its chain; alone it is a cause where nothing else is known.
//!
//! # Remedy
//!
//! That of the cause, and then a reset. `bound-retries`, where no cause is known: the last failure then stays to be looked at.

use crate::diagnosis::attempt::{Attempt, attempt};
use crate::diagnosis::cite;
use crate::diagnosis::remediation::{Kind, finding};
use crate::diagnosis::{Citation, Class, Detector, Finding};
use crate::evidence::{Evidence, Life};

pub const DETECTOR: Detector = Detector {
    slug: "install-remediation-loop",
    summary: "failed installs are taken away and tried again without an end",
    class: Class::Specific,
    remedies: &["bound-retries"],
    detect,
};

const KIND: Kind = Kind {
    slug: DETECTOR.slug,
    action: "install",
    statement: |_, endless| {
        format!(
            "its install failed {} times, and each time everything is taken away and tried again",
            endless.counted
        )
    },
    more: came_and_went,
};

fn detect(evidence: &Evidence) -> Vec<Finding> {
    let attempt = attempt(evidence);
    attempt.and_then(|attempt| finding(evidence, &attempt, &KIND)).into_iter().collect()
}

/// How many records of a first revision there were, and how many of them are gone.
fn came_and_went(evidence: &Evidence, attempt: &Attempt<'_>) -> Vec<Citation> {
    let name = format!("sh.helm.release.v1.{}.v1", attempt.release);
    let records = evidence.ever_named("Secret", &attempt.namespace, &name);
    let came: Vec<_> = records.iter().filter(|life| life.first_seen() >= attempt.started_at).collect();
    let gone = came.iter().filter(|life| !life.exists()).count();
    let text = format!("revision 1 was recorded {} times, and removed {gone} times", came.len());
    let cited = |first: &&Life| cite::observed(&first.reference(), text, Some(first.first_seen()));
    came.first().map(cited).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::diagnosis::fixture::*;

    const SLUG: &str = "install-remediation-loop";

    fn release(retries: i64, failures: i64) -> Value {
        json!({
            "kind": "HelmRelease", "metadata": {"name": RELEASE}, "spec": {"install": {"remediation": {"retries": retries}}},
            "status": {"installFailures": failures, "failures": failures},
        })
    }

    /// Attempts that are uninstalled each: they time out at a Deployment whose pod misses a Secret, or something is refused.
    fn scene(retries: i64, failures: i64, misses: bool) -> Scene {
        let container = json!({"image": "app:1", "env": [{"name": "P", "valueFrom": {"secretKeyRef": {"name": "db-login", "key": "p"}}}]});
        let (deployment, set) = deployment("billing", container, 0);
        let state = waiting("CreateContainerConfigError", "secret \"db-login\" not found");
        let words = match misses {
            true => "context deadline exceeded",
            false => "admission webhook \"policy.invalid\" denied the request",
        };
        let record = json!({"kind": "Secret", "type": "helm.sh/release.v1", "metadata": {"name": "sh.helm.release.v1.store.v1"}});
        let mut scene = Scene::new();
        scene.object(release(retries, 0)).engine(5000, "poller");
        for attempt in 1..=failures {
            let pod = pod_of(&set, &format!("p{attempt}"), state.clone());
            scene.at(attempt * 10_000).object(record.clone());
            scene.record("pending-install", vec![], vec![deployment.clone()]);
            if misses {
                scene.object(deployment.clone()).object(set.clone()).object(pod.clone());
            }
            scene.at(attempt * 10_000 + 5000).object(release(retries, attempt));
            scene.engine_says(&format!(
                "Released=False InstallFailed: Helm install failed for release shop/store: {words}"
            ));
            if attempt < failures {
                scene.deleted(record.clone());
            }
            if attempt < failures && misses {
                scene.deleted(pod).deleted(set.clone()).deleted(deployment.clone());
            }
        }
        scene.engine_ends(1);
        scene
    }

    #[test]
    fn it_is_a_link_between_the_release_and_its_cause() {
        let scene = scene(-1, 3, true);
        scene.settles_on(&[("secret-missing", "Secret/db-login")]);
        let links: Vec<_> = scene.diagnosis().causes[0]
            .chain
            .iter()
            .map(|link| (link.subject.to_string(), link.slug.clone()))
            .collect();
        assert_eq!(links[0], ("HelmRelease/store".to_owned(), None));
        assert_eq!(links[1], ("HelmRelease/store".to_owned(), Some(SLUG.to_owned())));
        assert_eq!(links.last().map(|(subject, _)| subject.as_str()), Some("Pod/billing-7f9c-p3"));
    }

    #[test]
    fn it_is_a_cause_where_nothing_else_is_known() {
        let scene = scene(-1, 3, false);
        scene.settles_on(&[(SLUG, "HelmRelease/store")]);
        let cause = &scene.diagnosis().causes[0];
        let cited: Vec<_> = cause.citations.iter().map(|citation| citation.text.as_str()).collect();
        assert_eq!(
            cited,
            [
                "status.installFailures: 3",
                "status.failures: 3",
                "spec.install.remediation.retries: -1",
                "revision 1 was recorded 3 times, and removed 2 times"
            ]
        );
    }

    #[test]
    fn retries_that_end_and_a_first_failure_are_none() {
        for (retries, failures) in [(1, 2), (-1, 1)] {
            let diagnosis = scene(retries, failures, false).diagnosis();
            assert!(!diagnosis.identity().iter().any(|(slug, _)| slug == SLUG), "{retries} {failures}");
        }
    }
}
