//! # What it detects
//!
//! The record of a release that is over, and that keeps its name from being used again.
//!
//! # Why it happens
//!
//! Helm keeps a record of each revision in a Secret. `helm uninstall --keep-history` leaves them on purpose, an uninstall that was cut off
//! leaves them by accident, and a failed install leaves one, too. Nothing runs any more, nobody lists the release, and the next `helm
//! install` finds its name in use; `helm upgrade` finds a release that was never deployed.
//!
//! # Evidence
//!
//! The words `cannot re-use a name that is still in use` (Helm 3), `cannot reuse` … (Helm 4) or `has no deployed releases`; the newest record
//! of exactly this release, with its status. One that is deployed is no leftover but a release to upgrade, and one that is pending is a lock
//! (`release-pending-lock`). Records of other releases are nobody's business here, nor are those beside another failure.
//!
//! # Remedy
//!
//! `remove-release-record`: that one Secret, where it is the only one and its release is gone. Else `uninstall`, which takes away what is left
//! with all of its records.

use crate::diagnosis::attempt::{Attempt, State, attempt};
use crate::diagnosis::records::{self, IN_USE, Newest, Verdict, newest, refusal, removal};
use crate::diagnosis::{Certainty, Class, Detector, Finding};
use crate::evidence::Evidence;
use crate::remedy::Remedy;

pub const DETECTOR: Detector = Detector {
    slug: "stale-release-secret",
    summary: "the record of a release that is over keeps its name from being used again",
    class: Class::Specific,
    remedies: &["remove-release-record", "uninstall"],
    detect,
};

const NO_DEPLOYED: &str = "has no deployed releases";

fn detect(evidence: &Evidence) -> Vec<Finding> {
    let Some(attempt) = attempt(evidence).filter(|attempt| attempt.state == State::Failed) else {
        return Vec::new();
    };
    let no_deployed = format!("{} {NO_DEPLOYED}", attempt.release);
    let words = attempt.words().replace(['"', '\\'], "");
    let said = match refusal(&attempt, IN_USE) {
        Some(said) => said,
        None if words.contains(&no_deployed) => refusal(&attempt, &[NO_DEPLOYED]).unwrap_or_default(),
        None => return Vec::new(),
    };
    let over = |newest: &Newest<'_>| matches!(newest.record.status.as_str(), "uninstalled" | "uninstalling" | "failed");
    newest(evidence, &attempt)
        .filter(over)
        .map(|newest| finding(&attempt, &newest, &said))
        .into_iter()
        .collect()
}

fn finding(attempt: &Attempt<'_>, newest: &Newest<'_>, said: &str) -> Finding {
    let release = &attempt.release;
    let (revision, status) = (newest.record.revision, newest.record.status.as_str());
    let remove = removal(newest, "install again");
    let uninstall = Remedy::new(
        "uninstall",
        format!("uninstall {release} without keeping its history, and install it again"),
    );
    let alone = newest.kept == 1 && status == "uninstalled";
    let (remedy, alternatives) = match alone {
        true => (remove, vec![uninstall]),
        // Of several records the next one would be in the way, and what an uninstall or a failure has left would stay for ever.
        false => (uninstall, Vec::new()),
    };
    let more = match newest.kept - 1 {
        0 => String::new(),
        1 => ", beside an older one".to_owned(),
        older => format!(", beside {older} older ones"),
    };
    let verdict = Verdict {
        slug: DETECTOR.slug,
        statement: format!("revision {revision} of {release} is {status}, and its record still holds the name{more}"),
        certainty: Certainty::Certain,
        why: "Helm takes a name for free only once there is no record of it".to_owned(),
        more: Vec::new(),
        remedy,
        alternatives,
    };
    records::finding(attempt, newest, Some(said), verdict)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use crate::diagnosis::fixture::*;
    use crate::evidence::{Fact, ReleaseRecord};

    const SLUG: &str = "stale-release-secret";
    const HELM_4: &str = "Error: INSTALLATION FAILED: cannot reuse a name that is still in use";

    fn record(scene: &mut Scene, name: &str, revision: u32, status: &str) {
        let record = ReleaseRecord {
            name: name.into(),
            namespace: NAMESPACE.into(),
            revision,
            status: status.into(),
            description: "Uninstallation complete".into(),
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

    fn refused(records: &[(&str, u32, &str)], words: &str) -> Scene {
        let mut scene = Scene::new();
        for (name, revision, status) in records {
            record(&mut scene, name, *revision, status);
        }
        scene.at(60_000).later(60_000).engine(10_000, "watcher").at(300);
        scene.engine_says(words).engine_ends(1);
        scene
    }

    fn remedy(scene: &Scene) -> (String, String) {
        let cause = &scene.diagnosis().causes[0];
        let remedy = cause.remedy.as_ref().expect("a remedy");
        (remedy.kind.clone(), remedy.parameters["secret"].clone())
    }

    #[test]
    fn exactly_the_one_secret_is_cited_and_removed() {
        for words in [
            HELM_4,
            "Error: INSTALLATION FAILED: cannot re-use a name that is still in use",
            "Error: UPGRADE FAILED: \"store\" has no deployed releases",
        ] {
            let scene = refused(&[("store-old", 3, "uninstalled"), ("store", 1, "uninstalled")], words);
            scene.settles_on(&[(SLUG, "Secret/sh.helm.release.v1.store.v1")]);
            let cause = &scene.diagnosis().causes[0];
            assert_eq!(
                cause.statement,
                "revision 1 of store is uninstalled, and its record still holds the name"
            );
            assert!(cause.citations.iter().all(|citation| !citation.object.name.contains("store-old")));
            assert_eq!(cause.citations[1].text, "info.status: uninstalled");
            let expected = ("remove-release-record".to_owned(), "sh.helm.release.v1.store.v1".to_owned());
            assert_eq!(remedy(&scene), expected);
        }
    }

    #[test]
    fn several_records_and_what_is_left_of_a_release_are_uninstalled() {
        let several = refused(&[("store", 1, "superseded"), ("store", 2, "uninstalled")], HELM_4);
        several.settles_on(&[(SLUG, "Secret/sh.helm.release.v1.store.v2")]);
        assert_eq!(remedy(&several).0, "uninstall");
        for status in ["uninstalling", "failed"] {
            assert_eq!(remedy(&refused(&[("store", 1, status)], HELM_4)).0, "uninstall", "{status}");
        }
    }

    #[test]
    fn a_release_that_is_there_and_one_that_never_was_are_no_leftovers() {
        refused(&[("store", 1, "deployed")], HELM_4).never_certain();
        refused(&[("store", 1, "pending-install")], HELM_4).never_certain();
        refused(&[("store-old", 1, "uninstalled")], HELM_4).never_certain();
        let words = "Error: UPGRADE FAILED: \"store\" has no deployed releases";
        refused(&[], words).never_certain();
        refused(&[("store", 1, "uninstalled")], &words.replace("store", "stores")).never_certain();
    }

    #[test]
    fn beside_another_failure_it_is_a_decoy() {
        let words = "Error: INSTALLATION FAILED: resource Deployment/shop/billing not ready. status: InProgress";
        refused(&[("store", 1, "uninstalled")], words).never_certain();
        refused(&[("store-old", 1, "uninstalled")], words).never_certain();
    }

    #[test]
    fn a_record_whose_secret_is_gone_holds_no_name() {
        let mut scene = Scene::new();
        record(&mut scene, "store", 1, "uninstalled");
        let gone = json!({"kind": "Secret", "type": "helm.sh/release.v1", "metadata": {"name": "sh.helm.release.v1.store.v1"}});
        scene.at(10_000).deleted(gone).engine(10_000, "watcher").at(10_300);
        scene.engine_says(HELM_4).engine_ends(1);
        scene.never_certain();
    }
}
