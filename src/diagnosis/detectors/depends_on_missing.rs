//! # What it detects
//!
//! A release that needs a kind which another release delivers, and that does not wait for that one.
//!
//! # Why it happens
//!
//! Two releases are handed over at the same time. One defines a kind, the other has an object of it, and nothing says that the first has to
//! be there before: whether it works depends on who is faster. It works on a cluster that has both already, which is where it was tried.
//!
//! # Evidence
//!
//! The words `no matches for kind "X" in version "g/v1"`; the record of another release whose manifest defines exactly that kind, with its
//! status; that `spec.dependsOn` does not name that release. Where it does, the dependency was ready too early, and that is another story;
//! where no known release defines the kind, it is `crd-missing`.
//!
//! # Remedy
//!
//! `depends-on`: name the other release in `spec.dependsOn`. With Helm alone, install the other one first.

use crate::diagnosis::no_matches::{Said, Supplier, Unserved, depends_on, finding, refused, supplier};
use crate::diagnosis::{Certainty, Class, Detector, Finding, cite};
use crate::evidence::{Evidence, ObjectRef};
use crate::remedy::Remedy;

pub const DETECTOR: Detector = Detector {
    slug: "depends-on-missing",
    summary: "a release needs a kind of another release, and does not wait for that one",
    class: Class::Specific,
    remedies: &["depends-on"],
    detect,
};

fn detect(evidence: &Evidence) -> Vec<Finding> {
    let Some((attempt, unserved)) = refused(evidence) else {
        return Vec::new();
    };
    let of_kind = |unserved: &Unserved| {
        let Supplier::Release(record) = supplier(evidence, &attempt, unserved) else {
            return None;
        };
        // Flux knows the other one by the name of its HelmRelease.
        let other = evidence
            .all("HelmRelease")
            .find(|release| release.text("/spec/releaseName") == record.name || release.name() == record.name);
        let name = other.map_or(record.name.as_str(), |release| release.name());
        if depends_on(&attempt, name) {
            return None;
        }
        let (kind, title, status) = (&unserved.kind, unserved.title(), &record.status);
        let storage = ObjectRef::new("Secret", Some(&record.namespace), record.storage());
        let mut citations = vec![
            cite::declared(&storage, format!("the manifest of release {} defines {title}", record.name)),
            cite::observed(&storage, format!("info.status: {status}"), record.last_deployed),
        ];
        if attempt.helm_release.is_some() {
            citations.push(cite::declared(&attempt.subject(), format!("spec.dependsOn: does not name {name}")));
        }
        let (release, operation) = (&attempt.release, &attempt.operation);
        Some(finding(
            &attempt,
            unserved,
            Said {
                slug: DETECTOR.slug,
                statement: format!(
                    "{release} needs {kind}, which release {} delivers ({status}), and does not wait for it",
                    record.name
                ),
                certainty: Certainty::Certain,
                why: format!("the {operation} began before the kind was there, and would each time that it is faster"),
                citations,
                remedy: Remedy::new(
                    "depends-on",
                    format!("let {release} depend on {name}, so that it begins once that is ready"),
                )
                .with("name", name),
                alternatives: Vec::new(),
            },
        ))
    };
    unserved.iter().filter_map(of_kind).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use crate::diagnosis::fixture::*;
    use crate::evidence::{Fact, Hook, ReleaseRecord};

    const SLUG: &str = "depends-on-missing";
    const WORDS: &str = "Released=False InstallFailed: Helm install failed for release shop/store with chart store@0.1.0: unable to build kubernetes \
                         objects from release manifest: resource mapping not found for name: \"ledger\" namespace: \"\" from \"\": no matches \
                         for kind \"Ledger\" in version \"books.example/v1\"";

    fn definition(group: &str, kind: &str) -> Value {
        let spec = json!({"group": group, "names": {"kind": kind}, "versions": [{"name": "v1"}]});
        json!({"kind": "CustomResourceDefinition", "metadata": {"name": format!("x.{group}")}, "spec": spec})
    }

    fn other(scene: &mut Scene, status: &str, manifest: Vec<Value>, hooks: Vec<Hook>) {
        let record = Fact::Release(Arc::new(ReleaseRecord {
            name: "operators".into(),
            namespace: NAMESPACE.into(),
            revision: 1,
            status: status.into(),
            description: String::new(),
            chart: "operators".into(),
            chart_version: "0.1.0".into(),
            first_deployed: Some(scene.stamp()),
            last_deployed: Some(scene.stamp()),
            hooks,
            manifest,
            lookups: Vec::new(),
            sources: std::collections::BTreeMap::new(),
        }));
        scene.push(record);
    }

    fn release(spec: Value) -> Value {
        json!({"kind": "HelmRelease", "metadata": {"name": RELEASE}, "spec": spec})
    }

    fn refused(spec: Value, status: &str, manifest: Vec<Value>) -> Scene {
        let mut scene = Scene::new();
        scene.object(json!({"kind": "HelmRelease", "metadata": {"name": "operators"}, "spec": {}}));
        other(&mut scene, status, manifest, vec![]);
        scene.at(100).engine(10_000, "poller").object(release(spec)).at(4000);
        scene.engine_says(WORDS).engine_ends(1);
        scene
    }

    #[test]
    fn the_release_that_delivers_it_is_named() {
        let scene = refused(json!({}), "pending-install", vec![definition("books.example", "Ledger")]);
        scene.settles_on(&[(SLUG, "Ledger/ledger")]);
        let cause = &scene.diagnosis().causes[0];
        assert_eq!(
            cause.statement,
            "store needs Ledger, which release operators delivers (pending-install), and does not wait for it"
        );
        assert!(
            cause
                .citations
                .iter()
                .any(|citation| citation.text == "spec.dependsOn: does not name operators")
        );
        assert_eq!(
            cause.remedy.as_ref().map(|remedy| remedy.parameters["name"].as_str()),
            Some("operators")
        );
    }

    #[test]
    fn a_hook_of_that_release_is_not_what_this_one_failed_at() {
        let prepare = hook_job("prepare", "pre-install", json!({"image": "tools:1"}));
        let mut scene = Scene::new();
        let hook = scene.running_hook(&prepare, "pre-install");
        other(
            &mut scene,
            "pending-install",
            vec![definition("books.example", "Ledger")],
            vec![hook],
        );
        scene
            .at(100)
            .engine(10_000, "poller")
            .object(release(json!({})))
            .at(300)
            .object(prepare);
        scene.at(4000).engine_says(WORDS).engine_ends(1);
        scene.settles_on(&[(SLUG, "Ledger/ledger")]);
        assert!(!scene.diagnosis().causes[0].chain[0].statement.contains("prepare"));
    }

    #[test]
    fn where_nobody_delivers_exactly_that_kind_it_is_missing_altogether() {
        for manifest in [
            vec![definition("books.example", "Journal")],
            vec![definition("papers.example", "Ledger")],
            vec![],
        ] {
            refused(json!({}), "deployed", manifest).settles_on(&[("crd-missing", "Ledger/ledger")]);
        }
    }

    #[test]
    fn another_version_is_another_kind_to_the_api() {
        let mut other = definition("books.example", "Ledger");
        other["spec"]["versions"] = json!([{"name": "v1beta1"}]);
        refused(json!({}), "pending-install", vec![other]).settles_on(&[("crd-missing", "Ledger/ledger")]);
    }

    #[test]
    fn a_release_that_was_there_before_was_not_too_late() {
        let scene = refused(json!({}), "deployed", vec![definition("books.example", "Ledger")]);
        scene.settles_on(&[("crd-missing", "Ledger/ledger")]);
        assert!(scene.diagnosis().causes[0].why.contains("somebody has taken the definition away"));
    }

    #[test]
    fn who_depends_on_it_already_waited() {
        let spec = json!({"dependsOn": [{"name": "operators"}]});
        refused(spec, "pending-install", vec![definition("books.example", "Ledger")]).never_certain();
        // Another dependency is not that one.
        let spec = json!({"dependsOn": [{"name": "postgres"}]});
        refused(spec, "pending-install", vec![definition("books.example", "Ledger")]).settles_on(&[(SLUG, "Ledger/ledger")]);
    }
}
