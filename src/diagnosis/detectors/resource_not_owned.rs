//! # What it detects
//!
//! An object of the chart that exists already and is not this release's, so that the engine refuses to begin.
//!
//! # Why it happens
//!
//! Somebody applied it by hand, another tool made it, or another release has one of the same name. Helm writes its own label and two
//! annotations on what it makes, and takes over nothing that does not carry them: else a removal of the release would remove what was never
//! its own. Flux takes such objects over, unless it is told `disableTakeOwnership`.
//!
//! # Evidence
//!
//! The words `exists and cannot be imported into the current release: invalid ownership metadata`, with the object and the values that were
//! expected; what the object says instead, where its kind is watched: its labels and annotations, since when it exists, and who made it, as far
//! as its managed fields tell.
//!
//! # Remedy
//!
//! `adopt`: the label and the annotations on exactly that object. Where it belongs to another release that is still there, `rename`
//! comes first: adopting it would take it from that release.

use std::sync::LazyLock;

use regex::Regex;

use crate::diagnosis::attempt::{Attempt, State, attempt};
use crate::diagnosis::cite;
use crate::diagnosis::logs::quoted;
use crate::diagnosis::writers::made;
use crate::diagnosis::{Certainty, Citation, Class, Detector, Finding};
use crate::evidence::{Evidence, Life, ObjectRef};
use crate::remedy::Remedy;

pub const DETECTOR: Detector = Detector {
    slug: "resource-not-owned",
    summary: "an object of the chart exists already and is not this release's",
    class: Class::Specific,
    remedies: &["adopt", "rename"],
    detect,
};

const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
const RELEASE_NAME: &str = "meta.helm.sh/release-name";
const RELEASE_NAMESPACE: &str = "meta.helm.sh/release-namespace";

static REFUSED: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(
        r#"\b([A-Z][A-Za-z0-9]*) \\?"([^"\\]+)\\?" in namespace \\?"([^"\\]*)\\?" exists and cannot be imported into the current release: invalid ownership metadata"#,
    )
    .ok()
});
static WANTED: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r#"key \\?"meta\.helm\.sh/(release-name|release-namespace)\\?"(?:: must be set to| must equal) \\?"([^"\\]+)\\?""#).ok()
});

fn detect(evidence: &Evidence) -> Vec<Finding> {
    let Some(attempt) = attempt(evidence).filter(|attempt| attempt.state == State::Failed) else {
        return Vec::new();
    };
    let words = attempt.words();
    let Some(pattern) = REFUSED.as_ref() else { return Vec::new() };
    let mut found: Vec<Finding> = Vec::new();
    for captures in pattern.captures_iter(&words) {
        let Some(whole) = captures.get(0) else { continue };
        let object = ObjectRef::new(
            &captures[1],
            Some(&captures[3]).filter(|namespace| !namespace.is_empty()),
            &captures[2],
        );
        if found.iter().any(|known| known.subject.same(&object)) {
            continue;
        }
        // What is wrong with it comes after the object, on the same line.
        let said = words[whole.start()..].lines().next().unwrap_or_default();
        found.push(of_object(evidence, &attempt, object, said));
    }
    found
}

/// Who an object is said to belong to.
struct Owner {
    release: String,
    namespace: String,
}

fn of_object(evidence: &Evidence, attempt: &Attempt<'_>, object: ObjectRef, said: &str) -> Finding {
    let life = live(evidence, &object);
    let said_owner = life.and_then(owner);
    let own = said_owner.as_ref().is_some_and(|owner| is_own(attempt, owner));
    let owner = said_owner.filter(|_| !own);
    let other = owner.as_ref().filter(|owner| is_there(evidence, owner, attempt));
    let (kind, name, release) = (&object.kind, &object.name, &attempt.release);
    let whose = match (&owner, life) {
        _ if own => "does not say that Helm manages it".to_owned(),
        (Some(owner), _) => format!("belongs to release {} of namespace {}", owner.release, owner.namespace),
        (None, Some(life)) if life.text("/metadata/labels/app.kubernetes.io~1managed-by") == "Helm" => {
            "does not say which release it belongs to".to_owned()
        }
        (None, _) => "was not made by any release".to_owned(),
    };
    let (wanted_release, wanted_namespace) = wanted(said, attempt);
    let adopt = Remedy::new(
        "adopt",
        format!(
            "let release {release} adopt {kind} {name}: label it as managed by Helm, and annotate it with this release and its namespace"
        ),
    )
    .with("kind", kind)
    .with("name", name)
    .with("release", wanted_release)
    .with("namespace", wanted_namespace);
    let rename = Remedy::new(
        "rename",
        format!("give the chart's {kind} another name, and leave {name} to whom it belongs"),
    )
    .with("kind", kind)
    .with("name", name);
    let (remedy, alternative) = if other.is_some() { (rename, adopt) } else { (adopt, rename) };
    Finding {
        slug: DETECTOR.slug,
        statement: format!("{kind} {name} exists already and {whose}, so release {release} may not take it over"),
        certainty: Certainty::Certain,
        why: "the engine looks before it begins, and refuses as long as the object is there and is not its own".to_owned(),
        since: life.map_or(attempt.started_at, Life::first_seen).min(attempt.started_at),
        citations: citations(attempt, &object, said, life, own),
        explains: vec![object.clone(), attempt.subject()],
        blames: Vec::new(),
        subject: object,
        remedy: Some(remedy),
        alternatives: vec![alternative],
    }
}

/// The object that is in the way. Some kinds have no namespace, though the engine names one.
fn live<'a>(evidence: &'a Evidence, object: &ObjectRef) -> Option<&'a Life> {
    let namespace = object.namespace.as_deref().unwrap_or_default();
    evidence.get(&object.kind, namespace, &object.name)
}

/// Who the object says that it belongs to.
fn owner(life: &Life) -> Option<Owner> {
    let release = life.annotation(RELEASE_NAME)?.to_owned();
    let namespace = life.annotation(RELEASE_NAMESPACE).unwrap_or_default().to_owned();
    Some(Owner { release, namespace })
}

fn is_own(attempt: &Attempt<'_>, owner: &Owner) -> bool {
    owner.release == attempt.release && owner.namespace == attempt.namespace
}

/// Whether that release is there: as far as is known, where it is in another namespace.
fn is_there(evidence: &Evidence, owner: &Owner, attempt: &Attempt<'_>) -> bool {
    if owner.namespace != attempt.namespace {
        return true;
    }
    let kept = |secret: &str| !evidence.watched("Secret") || evidence.get("Secret", &owner.namespace, secret).is_some();
    evidence
        .release(&owner.release)
        .is_some_and(|record| record.status != "uninstalled" && kept(&record.storage()))
}

/// The values that the engine wants to see on the object.
fn wanted(said: &str, attempt: &Attempt<'_>) -> (String, String) {
    let of = |key: &str| {
        let pattern = WANTED.as_ref()?;
        pattern
            .captures_iter(said)
            .find(|found| &found[1] == key)
            .map(|found| found[2].to_owned())
    };
    (
        of("release-name").unwrap_or_else(|| attempt.release.clone()),
        of("release-namespace").unwrap_or_else(|| attempt.namespace.clone()),
    )
}

fn citations(attempt: &Attempt<'_>, object: &ObjectRef, said: &str, life: Option<&Life>, own: bool) -> Vec<Citation> {
    let mut citations = vec![cite::observed(&attempt.subject(), quoted(said), attempt.ended_at)];
    let Some(life) = life else { return citations };
    // Of an object of its own it is not the question who made it.
    citations.extend(made(life).filter(|_| !own));
    let seen = Some(life.first_seen());
    let manager = life.text("/metadata/labels/app.kubernetes.io~1managed-by");
    let label = if manager.is_empty() { "absent" } else { manager };
    citations.push(cite::observed(object, format!("metadata.labels[{MANAGED_BY}]: {label}"), seen));
    for key in [RELEASE_NAME, RELEASE_NAMESPACE] {
        let value = life.annotation(key).unwrap_or("absent");
        citations.push(cite::observed(object, format!("metadata.annotations[{key}]: {value}"), seen));
    }
    let created = life.text("/metadata/creationTimestamp");
    if !created.is_empty() {
        citations.push(cite::observed(object, format!("metadata.creationTimestamp: {created}"), seen));
    }
    citations
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::diagnosis::fixture::*;

    const SLUG: &str = "resource-not-owned";

    fn helm_3() -> String {
        "Error: INSTALLATION FAILED: Unable to continue with install: ConfigMap \"rates\" in namespace \"shop\" exists and cannot be imported into \
         the current release: invalid ownership metadata; label validation error: missing key \"app.kubernetes.io/managed-by\": must be set to \
         \"Helm\"; annotation validation error: missing key \"meta.helm.sh/release-name\": must be set to \"store\"; annotation validation error: \
         missing key \"meta.helm.sh/release-namespace\": must be set to \"shop\""
            .to_owned()
    }

    fn rates(labels: Value, annotations: Value) -> Value {
        json!({"kind": "ConfigMap", "metadata": {"name": "rates", "labels": labels, "annotations": annotations}, "data": {"a": "1"}})
    }

    fn refused(object: Option<Value>, words: &str) -> Scene {
        let mut scene = Scene::new();
        if let Some(object) = object {
            scene.object(object);
        }
        scene.at(60_000).later(60_000).engine(10_000, "watcher").at(300);
        scene.engine_says(words).engine_ends(1);
        scene
    }

    #[test]
    fn every_pattern_compiles() {
        assert!(REFUSED.is_some() && WANTED.is_some());
    }

    #[test]
    fn what_somebody_applied_is_adopted() {
        let scene = refused(Some(rates(json!({"app": "rates"}), json!({}))), &helm_3());
        scene.settles_on(&[(SLUG, "ConfigMap/rates")]);
        let cause = &scene.diagnosis().causes[0];
        assert_eq!(
            cause.statement,
            "ConfigMap rates exists already and was not made by any release, so release store may not take it over"
        );
        let remedy = cause.remedy.as_ref().expect("a remedy");
        assert_eq!((remedy.kind.as_str(), remedy.parameters["release"].as_str()), ("adopt", "store"));
        assert_eq!(remedy.parameters["namespace"], "shop");
        let cited: Vec<_> = cause.citations.iter().map(|citation| citation.text.as_str()).collect();
        assert_eq!(cited[1], "metadata.labels[app.kubernetes.io/managed-by]: absent");
        assert_eq!(cited[4], "metadata.creationTimestamp: 2026-01-02T03:04:05Z");
    }

    #[test]
    fn what_another_release_has_is_left_to_it() {
        let annotations = json!({"meta.helm.sh/release-name": "prices", "meta.helm.sh/release-namespace": "finance"});
        let words = "level=ERROR msg=\"unable to continue with install: ConfigMap \\\"rates\\\" in namespace \\\"shop\\\" exists and cannot be \
                     imported into the current release: invalid ownership metadata; annotation validation error: key \
                     \\\"meta.helm.sh/release-name\\\" must equal \\\"store\\\": current value is \\\"prices\\\"\"";
        let scene = refused(Some(rates(json!({"app.kubernetes.io/managed-by": "Helm"}), annotations)), words);
        scene.settles_on(&[(SLUG, "ConfigMap/rates")]);
        let cause = &scene.diagnosis().causes[0];
        assert!(cause.statement.contains("belongs to release prices of namespace finance"));
        assert_eq!(cause.remedy.as_ref().map(|remedy| remedy.kind.as_str()), Some("rename"));
        assert_eq!(cause.alternatives[0].kind, "adopt");
    }

    #[test]
    fn what_a_release_of_this_namespace_left_is_adopted() {
        let annotations = json!({"meta.helm.sh/release-name": "prices", "meta.helm.sh/release-namespace": "shop"});
        let scene = refused(Some(rates(json!({"app.kubernetes.io/managed-by": "Helm"}), annotations)), &helm_3());
        let cause = &scene.diagnosis().causes[0];
        assert_eq!(cause.remedy.as_ref().map(|remedy| remedy.kind.as_str()), Some("adopt"));
    }

    #[test]
    fn one_that_only_lacks_the_label_says_so() {
        let annotations = json!({"meta.helm.sh/release-name": "store", "meta.helm.sh/release-namespace": "shop"});
        let scene = refused(Some(rates(json!({}), annotations)), &helm_3());
        let cause = &scene.diagnosis().causes[0];
        assert!(cause.statement.contains("does not say that Helm manages it"), "{}", cause.statement);
        assert_eq!(cause.remedy.as_ref().map(|remedy| remedy.kind.as_str()), Some("adopt"));
    }

    #[test]
    fn a_kind_that_is_not_watched_is_named_all_the_same() {
        let words = helm_3().replace(
            "ConfigMap \"rates\" in namespace \"shop\"",
            "ClusterRole \"rates\" in namespace \"\"",
        );
        refused(None, &words).settles_on(&[(SLUG, "ClusterRole/rates")]);
    }

    #[test]
    fn an_object_that_is_in_the_way_otherwise_is_another_story() {
        let words = "Error: INSTALLATION FAILED: failed pre-install: configmaps \"rates\" already exists";
        refused(Some(rates(json!({}), json!({}))), words).never_certain();
        // It belongs to nobody, and the engine does not mind.
        let mut scene = Scene::new();
        scene.object(rates(json!({}), json!({})));
        scene
            .engine(10_000, "poller")
            .at(100)
            .record("deployed", vec![], vec![])
            .engine_ends(0);
        scene.never_certain();
    }
}
