//! # What it detects
//!
//! A release whose newest record says that something is being done to it, though whoever did it is dead.
//!
//! # Why it happens
//!
//! Before Helm begins it writes down that it is about to install, upgrade or roll back, and when it ends, how it ended. A Helm that is killed
//! in between (a CI job that is cancelled, a pod that is evicted, memory that runs out) never writes the second. The record is a lock: no
//! later upgrade begins as long as it is the newest one. Flux unlocks such a release by itself.
//!
//! # Evidence
//!
//! The words `another operation (install/upgrade/rollback) is in progress`; the newest record of this release with its status `pending-…`; that
//! its engine was seen to end, or that it was written longer ago than all of Helm's waits can take. Until then it is only suspected: somebody
//! may be at work right now.
//!
//! # Remedy
//!
//! `rollback` to the revision before. A first revision has none: it can only be uninstalled (`uninstall`). In both cases
//! `remove-release-record`, for exactly that Secret, does as well.

use jiff::SignedDuration;

use crate::diagnosis::attempt::{Attempt, State, attempt, duration};
use crate::diagnosis::records::{self, IN_USE, Newest, Verdict, newest, refusal, removal};
use crate::diagnosis::{Certainty, Class, Detector, Finding, cite};
use crate::evidence::{Engine, Evidence};
use crate::remedy::Remedy;

pub const DETECTOR: Detector = Detector {
    slug: "release-pending-lock",
    summary: "a release is locked by an operation whose engine is dead",
    class: Class::Specific,
    remedies: &["remove-release-record", "rollback", "uninstall"],
    detect,
};

const LOCKED: &str = "another operation (install/upgrade/rollback) is in progress";
/// What Helm gives to each wait where nobody says.
const USUAL_TIMEOUT: SignedDuration = SignedDuration::from_mins(5);
/// How much earlier than its engine was noted to begin a record may be received.
const RECEIPT: SignedDuration = SignedDuration::from_secs(1);

fn detect(evidence: &Evidence) -> Vec<Finding> {
    let Some(attempt) = attempt(evidence) else { return Vec::new() };
    let pending = newest(evidence, &attempt).filter(|newest| newest.record.status.starts_with("pending-"));
    let Some(newest) = pending else { return Vec::new() };
    let said = match attempt.state {
        State::Failed => refusal(&attempt, &[LOCKED]).or_else(|| refusal(&attempt, IN_USE)),
        // Nobody watched an engine. The record alone says that one is at work, which is as it should be, until it is very old.
        State::Running if attempt.engine.is_none() && attempt.flux().is_none() => {
            if !matches!(holder(evidence, &attempt, &newest), Holder::TooLong(_)) {
                return Vec::new();
            }
            None
        }
        _ => return Vec::new(),
    };
    if attempt.state == State::Failed && said.is_none() {
        return Vec::new();
    }
    vec![finding(evidence, &attempt, &newest, said.as_deref())]
}

/// What is known of whoever holds the lock.
enum Holder<'a> {
    /// It was seen to end, and did not take the lock away.
    Ended(&'a Engine),
    /// No engine waits for as long as this.
    TooLong(SignedDuration),
    /// It may be at work.
    Unknown,
}

fn holder<'a>(evidence: &'a Evidence, attempt: &Attempt<'_>, newest: &Newest<'_>) -> Holder<'a> {
    let ended = evidence.engines.iter().rev().find(|engine| {
        let own = engine.start.release == attempt.release && engine.start.namespace == attempt.namespace;
        let wrote = newest.at + RECEIPT >= engine.started_at && engine.end.as_ref().is_some_and(|end| newest.at <= end.at + RECEIPT);
        // Whoever was refused has written nothing.
        own && wrote && engine.started_at < attempt.started_at
    });
    if let Some(engine) = ended {
        return Holder::Ended(engine);
    }
    let began = newest.record.last_deployed.unwrap_or(newest.at);
    let age = evidence.now.duration_since(began);
    let waits = i32::try_from(newest.record.hooks.len()).unwrap_or(i32::MAX).saturating_add(2);
    let timeout = attempt.timeout.unwrap_or(USUAL_TIMEOUT).max(USUAL_TIMEOUT);
    if age > timeout.saturating_mul(waits) {
        Holder::TooLong(age)
    } else {
        Holder::Unknown
    }
}

fn finding(evidence: &Evidence, attempt: &Attempt<'_>, newest: &Newest<'_>, said: Option<&str>) -> Finding {
    let (release, secret, status) = (&attempt.release, &newest.secret.name, newest.record.status.as_str());
    let revision = newest.record.revision;
    let mut more = Vec::new();
    let (certainty, who, why) = match holder(evidence, attempt, newest) {
        Holder::Ended(engine) => {
            let end = engine.end.as_ref();
            let how = match end.and_then(|end| end.exit_code) {
                Some(code) => format!("ended with exit code {code}"),
                None => "was ended by a signal".to_owned(),
            };
            let text = format!("the {} that wrote it {how}", engine.start.operation);
            more.push(cite::observed(&newest.secret, text, end.map(|end| end.at)));
            let why = "only the engine that wrote the record would have written another one";
            (Certainty::Certain, "its engine is dead", why.to_owned())
        }
        // Nobody was refused, and how long whoever is at work may wait is not known.
        Holder::TooLong(age) if said.is_none() => {
            let why = format!(
                "it was written {} ago, longer than Helm's usual waits; whether somebody is at work cannot be seen",
                duration(age)
            );
            (Certainty::Suspected, "its engine may be dead", why)
        }
        Holder::TooLong(age) => {
            let why = format!("it was written {} ago, and all of Helm's waits together take less", duration(age));
            (Certainty::Certain, "nobody is at work on it any more", why)
        }
        Holder::Unknown => {
            let why = "whoever wrote it may be at work still".to_owned();
            (Certainty::Suspected, "its engine may be dead", why)
        }
    };
    let (remedy, alternatives) = remedies(evidence, attempt, newest);
    let verdict = Verdict {
        slug: DETECTOR.slug,
        statement: format!("revision {revision} of {release} is {status}, which locks the release, and {who} ({secret})"),
        certainty,
        why,
        more,
        remedy,
        alternatives,
    };
    records::finding(attempt, newest, said, verdict)
}

fn remedies(evidence: &Evidence, attempt: &Attempt<'_>, newest: &Newest<'_>) -> (Remedy, Vec<Remedy>) {
    let release = &attempt.release;
    let remove = removal(newest, "run Helm again: it takes over what is there");
    let before = evidence
        .revisions(release)
        .find(|record| record.revision < newest.record.revision && matches!(record.status.as_str(), "deployed" | "superseded"));
    let remedy = match before {
        Some(before) => Remedy::new(
            "rollback",
            format!("roll {release} back to revision {}, and upgrade it again", before.revision),
        )
        .with("revision", before.revision.to_string()),
        None => Remedy::new(
            "uninstall",
            format!("uninstall {release} and install it again: its first revision has none to go back to"),
        ),
    };
    (remedy, vec![remove])
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use crate::diagnosis::fixture::*;
    use crate::evidence::{Fact, ReleaseRecord};

    const SLUG: &str = "release-pending-lock";
    const WORDS: &str = "Error: UPGRADE FAILED: another operation (install/upgrade/rollback) is in progress";
    const V2: &str = "Secret/sh.helm.release.v1.store.v2";

    fn record(scene: &mut Scene, revision: u32, status: &str) {
        let record = ReleaseRecord {
            name: RELEASE.into(),
            namespace: NAMESPACE.into(),
            revision,
            status: status.into(),
            description: "Preparing upgrade".into(),
            chart: "store".into(),
            chart_version: "0.1.0".into(),
            first_deployed: Some(scene.stamp()),
            last_deployed: Some(scene.stamp()),
            hooks: Vec::new(),
            manifest: Vec::new(),
            lookups: Vec::new(),
            sources: std::collections::BTreeMap::new(),
        };
        let secret = json!({"kind": "Secret", "type": "helm.sh/release.v1", "metadata": {"name": record.storage()}});
        scene.push(Fact::Release(Arc::new(record))).object(secret);
    }

    /// An upgrade that is killed, or of which nothing is known.
    fn pending(seen: bool) -> Scene {
        let mut scene = Scene::new();
        record(&mut scene, 1, "deployed");
        scene.at(10_000);
        if seen {
            scene.engine(20_000, "watcher").at(10_200);
        }
        record(&mut scene, 2, "pending-upgrade");
        if seen {
            scene.at(13_000).push(Fact::EngineEnded { exit_code: None });
        }
        scene
    }

    fn refused(scene: &mut Scene, after: i64) {
        scene.at(after).engine(20_000, "watcher").at(after + 300);
        scene.engine_says(WORDS).engine_ends(1);
    }

    #[test]
    fn what_nobody_watched_is_suspected_once_it_is_old() {
        let pending = |age: i64| {
            let mut scene = Scene::new();
            scene
                .at(100)
                .record("pending-install", vec![], vec![])
                .at(age)
                .object(json!({"kind": "ConfigMap", "metadata": {"name": "c"}}));
            let suspected = scene.diagnosis().suspected;
            suspected.iter().map(|cause| cause.slug.clone()).collect::<Vec<_>>()
        };
        assert_eq!(pending(30_000), [""; 0]);
        assert_eq!(pending(3_600_000), [SLUG]);
    }

    #[test]
    fn an_engine_that_was_seen_to_be_killed_holds_no_lock() {
        let mut scene = pending(true);
        refused(&mut scene, 20_000);
        scene.settles_on(&[(SLUG, V2)]);
        let cause = &scene.diagnosis().causes[0];
        assert!(
            cause
                .statement
                .starts_with("revision 2 of store is pending-upgrade, which locks the release, and its engine is dead")
        );
        assert!(
            cause
                .citations
                .iter()
                .any(|citation| citation.text.contains("was ended by a signal"))
        );
        let remedy = cause.remedy.as_ref().expect("a remedy");
        assert_eq!((remedy.kind.as_str(), remedy.parameters["revision"].as_str()), ("rollback", "1"));
        assert_eq!(cause.alternatives[0].parameters["secret"], "sh.helm.release.v1.store.v2");
    }

    #[test]
    fn an_operation_that_is_running_now_is_only_suspected() {
        let mut scene = pending(false);
        refused(&mut scene, 30_000);
        scene.never_certain();
        let suspected: Vec<_> = scene.diagnosis().suspected.iter().map(|cause| cause.slug.clone()).collect();
        assert_eq!(suspected, [SLUG]);
    }

    #[test]
    fn one_that_takes_longer_than_any_wait_is_dead() {
        let mut scene = pending(false);
        refused(&mut scene, 3_600_000);
        scene.settles_on(&[(SLUG, V2)]);
    }

    #[test]
    fn a_first_revision_can_only_be_uninstalled() {
        let mut scene = Scene::new();
        scene.engine(20_000, "watcher").at(200);
        record(&mut scene, 1, "pending-install");
        scene.at(3000).push(Fact::EngineEnded { exit_code: None });
        scene.at(4000).engine(20_000, "watcher").at(4300);
        scene
            .engine_says("Error: INSTALLATION FAILED: cannot reuse a name that is still in use")
            .engine_ends(1);
        scene.settles_on(&[(SLUG, "Secret/sh.helm.release.v1.store.v1")]);
        let cause = &scene.diagnosis().causes[0];
        assert_eq!(cause.remedy.as_ref().map(|remedy| remedy.kind.as_str()), Some("uninstall"));
    }

    #[test]
    fn a_lock_that_nobody_runs_into_and_one_that_was_taken_away_say_nothing() {
        let mut scene = pending(true);
        scene.at(20_000).engine(20_000, "watcher").at(20_300);
        scene
            .engine_says("Error: UPGRADE FAILED: resource Deployment/shop/a not ready. status: InProgress")
            .engine_ends(1);
        scene.never_certain();
        let mut scene = pending(true);
        scene
            .at(15_000)
            .deleted(json!({"kind": "Secret", "metadata": {"name": "sh.helm.release.v1.store.v2"}}));
        refused(&mut scene, 20_000);
        scene.never_certain();
    }
}
