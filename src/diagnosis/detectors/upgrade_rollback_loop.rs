//! # What it detects
//!
//! An upgrade that fails, is rolled back, and is tried again for ever.
//!
//! # Why it happens
//!
//! With `spec.upgrade.remediation.retries: -1` Flux never gives up: it rolls back after each failure, and where the cause lies under both
//! versions, the rollback fails as well. The revisions run up, the history is cut to the newest ones, and the words of the rollback stand
//! over those of the upgrade.
//!
//! # Evidence
//!
//! The retries in the specification, the failures in the status, the revisions that are recorded, and what became of the rollbacks.
//! Whatever keeps the attempts from their end is the cause, and this only a link of its chain; alone it is a cause where nothing else is
//! known.
//!
//! # Remedy
//!
//! That of the cause, and then a reset. `bound-retries`, where no cause is known: the last failure then stays to be looked at.

use crate::diagnosis::attempt::{Attempt, attempt};
use crate::diagnosis::cite;
use crate::diagnosis::logs::quoted;
use crate::diagnosis::remediation::{Endless, Kind, finding};
use crate::diagnosis::{Citation, Class, Detector, Finding};
use crate::evidence::Evidence;

pub const DETECTOR: Detector = Detector {
    slug: "upgrade-rollback-loop",
    summary: "failed upgrades are rolled back and tried again without an end",
    class: Class::Specific,
    remedies: &["bound-retries"],
    detect,
};

const KIND: Kind = Kind {
    slug: DETECTOR.slug,
    action: "upgrade",
    statement,
    more: rollbacks,
};

fn detect(evidence: &Evidence) -> Vec<Finding> {
    let attempt = attempt(evidence);
    attempt.and_then(|attempt| finding(evidence, &attempt, &KIND)).into_iter().collect()
}

fn statement(attempt: &Attempt<'_>, endless: &Endless) -> String {
    if rollback_failed(attempt) {
        format!(
            "its upgrade fails, the rollback fails as well, {} times in all, and it goes on",
            endless.failures
        )
    } else {
        format!(
            "its upgrade failed {} times, and each time it is rolled back and tried again",
            endless.counted
        )
    }
}

/// Whether a rollback failed during the attempts, by the words that were kept of it.
fn rollback_failed(attempt: &Attempt<'_>) -> bool {
    let said = attempt.engine.is_some_and(|engine| engine.error().contains("RollbackFailed"));
    let condition = attempt.helm_release.and_then(|life| life.condition_object("Remediated"));
    said || condition.is_some_and(|found| found.get("reason").and_then(serde_json::Value::as_str) == Some("RollbackFailed"))
}

fn rollbacks(evidence: &Evidence, attempt: &Attempt<'_>) -> Vec<Citation> {
    let mut citations = Vec::new();
    let newest = evidence.release(&attempt.release).map(|record| record.revision);
    let subject = attempt.subject();
    citations.extend(newest.map(|revision| cite::observed(&subject, format!("the newest revision is {revision}"), attempt.ended_at)));
    let remediated = attempt.helm_release.and_then(|life| life.condition_object("Remediated"));
    citations.extend(remediated.map(|found| {
        let field = |name: &str| found.get(name).and_then(serde_json::Value::as_str).unwrap_or_default();
        let text = format!(
            "condition Remediated: {}, {}: {}",
            field("status"),
            field("reason"),
            quoted(field("message"))
        );
        cite::observed(&subject, text, attempt.ended_at)
    }));
    citations
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::diagnosis::fixture::*;

    const SLUG: &str = "upgrade-rollback-loop";

    fn release(retries: i64, failures: i64) -> Value {
        json!({
            "kind": "HelmRelease", "metadata": {"name": RELEASE}, "spec": {"upgrade": {"remediation": {"retries": retries}}},
            "status": {"upgradeFailures": failures, "failures": failures * 2 - 1, "conditions": [
                {"type": "Remediated", "status": "False", "reason": "RollbackFailed", "message": "Helm rollback failed"}]},
        })
    }

    fn scene(retries: i64, failures: i64, misses: bool) -> Scene {
        let container = json!({"image": "app:1", "env": [{"name": "P", "valueFrom": {"secretKeyRef": {"name": "db-login", "key": "p"}}}]});
        let (deployment, set) = deployment("billing", container, 0);
        let mut scene = Scene::new();
        let state = waiting("CreateContainerConfigError", "secret \"db-login\" not found");
        let words = match misses {
            true => "context deadline exceeded",
            false => "admission webhook \"policy.invalid\" denied the request",
        };
        scene.object(release(retries, 0)).engine(5000, "poller").at(1000);
        scene.record("pending-upgrade", vec![], vec![deployment.clone()]);
        if misses {
            scene.object(deployment).object(set.clone()).object(pod_of(&set, "p", state));
        }
        for failure in 1..=failures {
            scene.at(failure * 10_000).object(release(retries, failure));
            scene.engine_says(&format!(
                "Released=False UpgradeFailed: Helm upgrade failed for release shop/store: {words}"
            ));
        }
        scene.engine_ends(1);
        scene
    }

    #[test]
    fn it_is_a_link_between_the_release_and_its_cause() {
        let scene = scene(-1, 3, true);
        scene.settles_on(&[("secret-missing", "Secret/db-login")]);
        let chain = &scene.diagnosis().causes[0].chain;
        assert_eq!(chain[1].slug.as_deref(), Some(SLUG));
        assert_eq!(
            chain[1].statement,
            "its upgrade fails, the rollback fails as well, 5 times in all, and it goes on"
        );
    }

    #[test]
    fn it_is_a_cause_where_nothing_else_is_known() {
        scene(-1, 3, false).settles_on(&[(SLUG, "HelmRelease/store")]);
    }

    #[test]
    fn retries_that_end_and_a_first_failure_are_none() {
        for (retries, failures) in [(1, 2), (-1, 1)] {
            let diagnosis = scene(retries, failures, false).diagnosis();
            assert!(!diagnosis.identity().iter().any(|(slug, _)| slug == SLUG), "{retries} {failures}");
        }
    }
}
