//! # What it detects
//!
//! Dependencies between objects of Flux's that can never be met: a circle, or a name that only an object of the other kind bears.
//!
//! # Why it happens
//!
//! `spec.dependsOn` names objects of the same kind only: a HelmRelease cannot wait for a Kustomization. When things are moved from one to
//! the other, or two sides each declare that they come second, the graph that was meant and the one that is written have drifted apart.
//! Flux says nothing about that but that a dependency is not ready.
//!
//! # Evidence
//!
//! The entries of `spec.dependsOn`; that following them leads back, or that there is no object of that kind and one of the other kind. It
//! follows from the objects alone, and is a root cause where one of them waits.
//!
//! # Remedy
//!
//! `drop-dependency`: take one edge of the circle out, or the entry that names the wrong kind, and depend on what really delivers it.

use std::collections::BTreeSet;

use crate::diagnosis::attempt::{message, reason};
use crate::diagnosis::cite;
use crate::diagnosis::dependencies::{Standing, circle, dependencies, other_kind, waits};
use crate::diagnosis::logs::quoted;
use crate::diagnosis::progress::{not_seen_since_remedy, plain};
use crate::diagnosis::{Certainty, Citation, Class, Detector, Finding};
use crate::evidence::{Evidence, Life, ObjectRef};
use crate::remedy::Remedy;

pub const DETECTOR: Detector = Detector {
    slug: "depends-on-drift",
    summary: "dependencies of HelmReleases or Kustomizations form a circle, or name an object of the other kind",
    class: Class::Static,
    remedies: &["drop-dependency"],
    detect,
};

fn detect(evidence: &Evidence) -> Vec<Finding> {
    let mut told: BTreeSet<ObjectRef> = BTreeSet::new();
    let mut found = Vec::new();
    for life in ["HelmRelease", "Kustomization"].iter().flat_map(|kind| evidence.all(kind)) {
        let reference = plain(&life.reference());
        if told.contains(&reference) {
            continue;
        }
        if not_seen_since_remedy(evidence, life) {
            continue;
        }
        if let Some(circle) = circle(evidence, life) {
            told.extend(circle.iter().cloned());
            let stale = |one: &ObjectRef| evidence.meant(one).is_some_and(|life| not_seen_since_remedy(evidence, life));
            if circle.iter().any(stale) {
                continue;
            }
            found.push(of_circle(evidence, life, &circle));
            continue;
        }
        let strangers = dependencies(evidence, life)
            .into_iter()
            .filter(|one| one.standing == Standing::Absent);
        found.extend(strangers.filter_map(|one| Some(of_kind(life, &one.reference, other_kind(evidence, &one.reference)?))));
    }
    found
}

/// What the controller says of one that waits.
fn said(life: &Life) -> Option<Citation> {
    let text = format!("condition Ready: False, {}: {}", reason(life), quoted(message(life)));
    waits(life).then(|| cite::observed(&plain(&life.reference()), text, life.versions.last().map(|version| version.at)))
}

fn of_circle(evidence: &Evidence, life: &Life, circle: &[ObjectRef]) -> Finding {
    let subject = plain(&life.reference());
    let lives = circle.iter().filter_map(|one| evidence.meant(one));
    let mut citations = Vec::new();
    for life in lives {
        let names: Vec<String> = dependencies(evidence, life).into_iter().map(|one| one.reference.name).collect();
        citations.push(cite::declared(
            &plain(&life.reference()),
            format!("spec.dependsOn: {}", names.join(", ")),
        ));
        citations.extend(said(life));
    }
    let way: Vec<&str> = circle.iter().chain([&subject]).map(|one| one.name.as_str()).collect();
    let last = circle.last().unwrap_or(&subject);
    Finding {
        slug: DETECTOR.slug,
        statement: match circle.len() {
            1 => format!("{} {} depends on itself", subject.kind, subject.name),
            _ => format!("the {}s {} depend on each other in a circle", subject.kind, way.join(" → ")),
        },
        certainty: Certainty::Certain,
        why: "each waits for another of them, so that none can ever begin".to_owned(),
        since: life.first_seen(),
        citations,
        explains: circle.to_vec(),
        blames: Vec::new(),
        remedy: Some(
            Remedy::new(
                "drop-dependency",
                format!("take {} out of spec.dependsOn of {} {}", subject.name, last.kind, last.name),
            )
            .with("of", &last.name)
            .with("name", &subject.name),
        ),
        alternatives: Vec::new(),
        subject,
    }
}

fn of_kind(life: &Life, wanted: &ObjectRef, other: &Life) -> Finding {
    let subject = plain(&life.reference());
    let mut citations = vec![
        cite::declared(&subject, format!("spec.dependsOn: {}", wanted.name)),
        cite::observed(
            &plain(&other.reference()),
            format!("there is a {} {}, and no {}", other.text("/kind"), other.name(), wanted.kind),
            Some(other.first_seen()),
        ),
    ];
    citations.extend(said(life));
    Finding {
        slug: DETECTOR.slug,
        statement: format!(
            "{} {} depends on {}, which is a {} and no {}",
            subject.kind,
            subject.name,
            wanted.name,
            other.text("/kind"),
            wanted.kind
        ),
        certainty: Certainty::Certain,
        why: format!("a {} can wait for its own kind only", subject.kind),
        since: life.first_seen(),
        citations,
        explains: vec![subject.clone()],
        blames: Vec::new(),
        remedy: Some(
            Remedy::new(
                "drop-dependency",
                format!(
                    "take {} out of spec.dependsOn, and let the Kustomization that applies {} {} depend on it",
                    wanted.name, subject.kind, subject.name
                ),
            )
            .with("of", &subject.name)
            .with("name", &wanted.name),
        ),
        alternatives: Vec::new(),
        subject,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::diagnosis::fixture::*;

    const SLUG: &str = "depends-on-drift";

    fn release(name: &str, on: &[&str], waits: bool) -> Value {
        let on: Vec<Value> = on.iter().map(|name| json!({"name": name})).collect();
        let (status, reason) = if waits {
            ("False", "DependencyNotReady")
        } else {
            ("True", "InstallSucceeded")
        };
        json!({
            "kind": "HelmRelease", "metadata": {"name": name, "generation": 1}, "spec": {"dependsOn": on},
            "status": {"observedGeneration": 1, "conditions": [{"type": "Ready", "status": status, "reason": reason, "message": "dependency is not ready"}]},
        })
    }

    #[test]
    fn a_circle_is_one_cause_however_many_wait_in_it() {
        let mut scene = Scene::new();
        scene.engine(10_000, "poller");
        scene
            .at(100)
            .object(release("base", &[RELEASE], true))
            .object(release("ledger", &["base"], true));
        scene.at(300).object(release(RELEASE, &["ledger"], true));
        scene.settles_on(&[(SLUG, "HelmRelease/base")]);
        let cause = &scene.diagnosis().causes[0];
        assert_eq!(
            cause.statement,
            "the HelmReleases base → store → ledger → base depend on each other in a circle"
        );
        assert_eq!(cause.remedy.as_ref().map(|remedy| remedy.parameters["of"].as_str()), Some("ledger"));
    }

    #[test]
    fn one_of_the_other_kind_is_named() {
        let mut scene = Scene::new();
        scene.engine(10_000, "poller");
        scene
            .at(100)
            .object(json!({"kind": "Kustomization", "metadata": {"name": "ledger"}}));
        scene.at(300).object(release(RELEASE, &["ledger"], true));
        scene.settles_on(&[(SLUG, "HelmRelease/store")]);
    }

    #[test]
    fn what_is_met_or_merely_absent_is_none() {
        let mut scene = Scene::new();
        scene.engine(10_000, "poller");
        scene
            .at(100)
            .object(release("ledger", &["base"], false))
            .object(release("base", &[], false));
        scene.at(300).object(release(RELEASE, &["ledger", "nobody"], true));
        scene.never_certain();
        assert_eq!(scene.diagnosis().advice, []);
    }
}
