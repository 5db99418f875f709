//! # What it detects
//!
//! A release that needs a kind, a webhook or a Secret which another release delivers, and that does not wait for that one.
//!
//! # Why it happens
//!
//! Two releases are handed over at the same time. One defines a kind, stands behind a webhook or has a Secret, the other one needs it, and
//! nothing says that the first has to be there before: whether it works depends on who is faster. It works on a cluster that has both
//! already, which is where it was tried.
//!
//! # Evidence
//!
//! The words `no matches for kind "X" in version "g/v1"`, or those of a webhook whose Service is not there or has no endpoints, or a pod that
//! misses a Secret; the record of another release whose manifest has exactly that kind, Service or Secret, with its status; that
//! `spec.dependsOn` does not name that release. Where it does, the dependency was ready too early, and that is another story; where no known
//! release delivers it, it is `crd-missing` or `secret-missing`.
//!
//! # Remedy
//!
//! `depends-on`: name the other release in `spec.dependsOn`. With Helm alone, install the other one first.

use super::secret_missing::SOUGHT;
use crate::diagnosis::attempt::{Attempt, State, attempt};
use crate::diagnosis::deliveries::{delivers_later, unanswered};
use crate::diagnosis::logs::quoted;
use crate::diagnosis::missing::{Product, findings};
use crate::diagnosis::no_matches::{Said, Supplier, depends_on, finding, refused, supplier};
use crate::diagnosis::{Certainty, Citation, Class, Detector, Finding, cite};
use crate::evidence::{Evidence, ObjectRef, ReleaseRecord};
use crate::remedy::Remedy;

pub const DETECTOR: Detector = Detector {
    slug: "depends-on-missing",
    summary: "a release needs something of another release, and does not wait for that one",
    class: Class::Specific,
    remedies: &["depends-on"],
    detect,
};

fn detect(evidence: &Evidence) -> Vec<Finding> {
    let mut found = kinds(evidence);
    if let Some(attempt) = attempt(evidence).filter(|attempt| attempt.state == State::Failed) {
        found.extend(webhooks(evidence, &attempt));
        found.extend(secrets(evidence, &attempt));
    }
    found
}

/// A release that delivers what another one did not wait for.
struct Late<'a> {
    record: &'a ReleaseRecord,
    /// By which it is depended on: Flux knows it by the name of its HelmRelease.
    name: &'a str,
}

impl<'a> Late<'a> {
    /// Nothing where the attempt waits for it.
    fn of(evidence: &'a Evidence, attempt: &Attempt<'_>, record: &'a ReleaseRecord) -> Option<Self> {
        let other = evidence
            .all("HelmRelease")
            .find(|release| release.text("/spec/releaseName") == record.name || release.name() == record.name);
        let name = other.map_or(record.name.as_str(), |release| release.name());
        (!depends_on(attempt, name)).then_some(Self { record, name })
    }

    /// `what` is delivered, as `defines Ledger of books.example/v1`.
    fn citations(&self, attempt: &Attempt<'_>, what: &str) -> Vec<Citation> {
        let Self { record, name } = self;
        let storage = ObjectRef::new("Secret", Some(&record.namespace), record.storage());
        let mut citations = vec![
            cite::declared(&storage, format!("the manifest of release {} {what}", record.name)),
            cite::observed(&storage, format!("info.status: {}", record.status), record.last_deployed),
        ];
        if attempt.helm_release.is_some() {
            citations.push(cite::declared(&attempt.subject(), format!("spec.dependsOn: does not name {name}")));
        }
        citations
    }

    fn said(&self, attempt: &Attempt<'_>, needs: &str, what: &str) -> Said {
        let (release, operation) = (&attempt.release, &attempt.operation);
        let Self { record, name } = self;
        Said {
            slug: DETECTOR.slug,
            statement: format!(
                "{release} needs {needs}, which release {} delivers ({}), and does not wait for it",
                record.name, record.status
            ),
            certainty: Certainty::Certain,
            why: format!("the {operation} began before it was there, and would each time that it is faster"),
            citations: self.citations(attempt, what),
            remedy: Remedy::new(
                "depends-on",
                format!("let {release} depend on {name}, so that it begins once that is ready"),
            )
            .with("name", *name),
            alternatives: Vec::new(),
        }
    }
}

fn kinds(evidence: &Evidence) -> Vec<Finding> {
    let Some((attempt, unserved)) = refused(evidence) else {
        return Vec::new();
    };
    let of_kind = unserved.iter().filter_map(|unserved| {
        let Supplier::Release(record) = supplier(evidence, &attempt, unserved) else {
            return None;
        };
        let late = Late::of(evidence, &attempt, record)?;
        let said = late.said(&attempt, &unserved.kind, &format!("defines {}", unserved.title()));
        Some(finding(&attempt, unserved, said))
    });
    of_kind.collect()
}

fn webhooks(evidence: &Evidence, attempt: &Attempt<'_>) -> Vec<Finding> {
    let of_webhook = unanswered(attempt).into_iter().filter_map(|webhook| {
        let service = &webhook.service;
        let record = delivers_later(evidence, attempt, |record, manifest| service.same(&placed(record, manifest)))?;
        let late = Late::of(evidence, attempt, record)?;
        let needs = format!("webhook {}", webhook.name);
        let said = late.said(attempt, &needs, &format!("has Service {}", service.name));
        let cited = cite::observed(&attempt.subject(), quoted(&webhook.words), attempt.ended_at);
        Some(told(
            said,
            service.clone(),
            attempt.started_at,
            vec![cited],
            vec![attempt.subject()],
        ))
    });
    of_webhook.collect()
}

fn secrets(evidence: &Evidence, attempt: &Attempt<'_>) -> Vec<Finding> {
    let delivers = |secret: &ObjectRef| {
        let product = Product {
            kind: SOUGHT.kind,
            makers: SOUGHT.makers,
            namespace: secret.namespace.as_deref().unwrap_or_default(),
            name: &secret.name,
            exists: false,
        };
        delivers_later(evidence, attempt, |record, manifest| {
            product.made_by(manifest) && placed(record, manifest).namespace == secret.namespace
        })
    };
    // Whoever has no neighbours has nobody to wait for.
    let others = evidence.releases.values().any(|(_, record)| record.name != attempt.release);
    let missing = if others { findings(evidence, &SOUGHT) } else { Vec::new() };
    let of_secret = missing.into_iter().filter_map(|missing| {
        let secret = missing.subject;
        let late = Late::of(evidence, attempt, delivers(&secret)?)?;
        let needs = format!("Secret {}", secret.name);
        let said = late.said(attempt, &needs, &format!("has {needs}"));
        let explains = [missing.explains, vec![secret.clone()]].concat();
        Some(told(said, secret, missing.since, missing.citations, explains))
    });
    of_secret.collect()
}

/// An object of a release, with the namespace in which it comes to be.
fn placed(record: &ReleaseRecord, manifest: &serde_json::Value) -> ObjectRef {
    let mut object = ObjectRef::of(manifest);
    object.namespace.get_or_insert_with(|| record.namespace.clone());
    object
}

fn told(said: Said, subject: ObjectRef, since: jiff::Timestamp, cited: Vec<Citation>, explains: Vec<ObjectRef>) -> Finding {
    Finding {
        slug: said.slug,
        subject,
        statement: said.statement,
        certainty: said.certainty,
        why: said.why,
        since,
        citations: [cited, said.citations].concat(),
        explains,
        blames: Vec::new(),
        remedy: Some(said.remedy),
        alternatives: said.alternatives,
    }
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

    fn secret(name: &str) -> Value {
        json!({"kind": "Secret", "metadata": {"name": name}})
    }

    /// A Deployment that needs a Secret, beside another release.
    fn misses(spec: Value, status: &str, manifest: Vec<Value>) -> Scene {
        let container = json!({"image": "app:1", "env": [{"name": "P", "valueFrom": {"secretKeyRef": {"name": "db-login", "key": "p"}}}]});
        let (deployment, set) = deployment("billing", container, 0);
        let state = waiting("CreateContainerConfigError", "secret \"db-login\" not found");
        let mut scene = Scene::new();
        let progressing = json!({"conditions": [{"type": "Ready", "status": "Unknown", "reason": "Progressing"}]});
        scene.object(json!({"kind": "HelmRelease", "metadata": {"name": "operators"}, "spec": {}, "status": progressing}));
        other(&mut scene, status, manifest, vec![]);
        scene.at(100).engine(10_000, "poller").object(release(spec)).at(300);
        scene.record("pending-install", vec![], vec![deployment.clone()]);
        scene
            .object(deployment)
            .object(set.clone())
            .object(pod_of(&set, "p", state))
            .at(10_300);
        scene.engine_says("Released=False InstallFailed: Helm install failed for release shop/store: context deadline exceeded");
        scene.engine_ends(1);
        scene
    }

    #[test]
    fn a_secret_of_another_release_is_not_there_yet() {
        let scene = misses(json!({}), "pending-install", vec![secret("db-login")]);
        scene.settles_on(&[(SLUG, "Secret/db-login")]);
        let cause = &scene.diagnosis().causes[0];
        assert_eq!(
            cause.statement,
            "store needs Secret db-login, which release operators delivers (pending-install), and does not wait for it"
        );
        let cited: Vec<_> = cause.citations.iter().map(|citation| citation.text.as_str()).collect();
        assert!(
            cited.contains(&"the manifest of release operators has Secret db-login"),
            "{cited:?}"
        );
        assert!(cause.chain.iter().any(|link| link.subject.to_string() == "Pod/billing-7f9c-p"));
    }

    #[test]
    fn a_secret_that_no_release_is_about_to_deliver_is_missing() {
        for (status, manifest) in [
            ("pending-install", vec![secret("db-logins")]),
            ("uninstalled", vec![secret("db-login")]),
            ("deployed", vec![secret("db-login")]),
        ] {
            let diagnosis = misses(json!({}), status, manifest).diagnosis();
            assert!(!diagnosis.identity().iter().any(|(slug, _)| slug == SLUG), "{status}");
        }
        let spec = json!({"dependsOn": [{"name": "operators"}]});
        let diagnosis = misses(spec, "pending-install", vec![secret("db-login")]).diagnosis();
        assert!(!diagnosis.identity().iter().any(|(slug, _)| slug == SLUG));
    }

    const WEBHOOK: &str = "Released=False InstallFailed: Helm install failed for release shop/store with chart store@0.1.0: Internal error occurred: \
                           failed calling webhook \"ledgers.books.example\": failed to call webhook: Post \
                           \"https://books-webhook.shop.svc:443/validate?timeout=10s\": ";

    fn unanswered(words: &str, spec: Value, status: &str, service: &str) -> Scene {
        let mut scene = Scene::new();
        let service = json!({"kind": "Service", "metadata": {"name": service}});
        other(&mut scene, status, vec![service], vec![]);
        scene.at(100).engine(10_000, "poller").object(release(spec)).at(4000);
        scene.engine_says(&format!("{WEBHOOK}{words}")).engine_ends(1);
        scene
    }

    #[test]
    fn a_webhook_of_another_release_does_not_answer_yet() {
        for words in [
            "no endpoints available for service \"books-webhook\"",
            "service \"books-webhook\" not found",
        ] {
            let scene = unanswered(words, json!({}), "pending-install", "books-webhook");
            scene.settles_on(&[(SLUG, "Service/books-webhook")]);
            assert_eq!(
                scene.diagnosis().causes[0].statement,
                "store needs webhook ledgers.books.example, which release operators delivers (pending-install), and does not wait for it"
            );
        }
    }

    #[test]
    fn a_webhook_that_refuses_or_that_nobody_is_about_to_deliver_is_another_story() {
        let words = "no endpoints available for service \"books-webhook\"";
        unanswered(words, json!({}), "deployed", "books-webhook").never_certain();
        unanswered(words, json!({}), "pending-install", "books").never_certain();
        let spec = json!({"dependsOn": [{"name": "operators"}]});
        unanswered(words, spec, "pending-install", "books-webhook").never_certain();
        unanswered("context deadline exceeded", json!({}), "pending-install", "books-webhook").never_certain();
    }
}
