//! # What it detects
//!
//! A HelmRelease or Kustomization that never begins, because what it depends on is suspended, does not exist, or failed for a reason that
//! is not known.
//!
//! # Why it happens
//!
//! `spec.dependsOn` lets Flux wait until another object of the same kind is Ready. It waits for ever and does not stall: all that it says
//! is that the dependency is not ready. Why that is stands at the dependency, and people look at the dependant.
//!
//! # Evidence
//!
//! The condition Ready of the dependant with the reason `DependencyNotReady`; the entry of its `spec.dependsOn`; of the dependency that it
//! is not there, its `spec.suspend`, or what its own condition Ready says. A dependency whose controller is still at it is only suspected,
//! and one whose own cause is known is a link on the way to that cause. A circle of dependencies is `depends-on-drift`.
//!
//! # Remedy
//!
//! `resume` for one that is suspended, `create-dependency` for one that does not exist, else `retry-dependency` once its cause is mended.
//! As an alternative `drop-dependency`.

use crate::diagnosis::attempt::{attempt, engine_gave_up, message, of_flux, reason};
use crate::diagnosis::cite;
use crate::diagnosis::dependencies::{Dependency, Standing, in_a_circle, other_kind, unmet, waits};
use crate::diagnosis::logs::quoted;
use crate::diagnosis::progress::{not_seen_since_remedy, plain, pods_behind, pods_of};
use crate::diagnosis::rollout::consists_of;
use crate::diagnosis::writers::wrote;
use crate::diagnosis::{Certainty, Citation, Class, Detector, Finding};
use crate::evidence::{Evidence, Life, ObjectRef};
use crate::remedy::Remedy;

pub const DETECTOR: Detector = Detector {
    slug: "dependency-not-ready",
    summary: "a HelmRelease or Kustomization waits for a dependency that is suspended, missing or failed",
    class: Class::Specific,
    remedies: &["create-dependency", "drop-dependency", "resume", "retry-dependency"],
    detect,
};

fn detect(evidence: &Evidence) -> Vec<Finding> {
    let dependants = ["HelmRelease", "Kustomization"]
        .iter()
        .flat_map(|kind| evidence.all(kind))
        .filter(|life| waits(life) && !in_a_circle(evidence, life));
    dependants
        .flat_map(|dependant| {
            let unmet = unmet(evidence, dependant).into_iter();
            let unmet = unmet.filter(|dependency| dependency.life.is_none_or(|life| !not_seen_since_remedy(evidence, life)));
            unmet
                .filter_map(|dependency| finding(evidence, dependant, &dependency))
                .collect::<Vec<_>>()
        })
        .collect()
}

fn finding(evidence: &Evidence, dependant: &Life, dependency: &Dependency<'_>) -> Option<Finding> {
    // Of a namespace at which somebody looks once, nobody knows for how long it has been so.
    let gave_up = engine_gave_up(evidence) || attempt(evidence).is_none_or(|attempt| attempt.engine.is_none());
    let (certainty, why) = match dependency.standing {
        // What waits itself is a link, and its own dependency is told of.
        Standing::Ready | Standing::Waits => return None,
        Standing::Absent if other_kind(evidence, &dependency.reference).is_some() => return None,
        Standing::Suspended => (Certainty::Certain, "nothing is done for it until somebody resumes it"),
        Standing::Absent if gave_up => (Certainty::Certain, "nobody made it for as long as it was waited for"),
        Standing::Absent => (Certainty::Suspected, "somebody may still make it"),
        Standing::Failed if dependency.life.is_some_and(|life| life.condition("Stalled") == "True") => {
            (Certainty::Certain, "its controller does not try again")
        }
        Standing::Failed if gave_up => (Certainty::Certain, "it had not recovered for as long as it was waited for"),
        Standing::Failed => (Certainty::Suspected, "its controller tries again"),
        Standing::Progressing => (Certainty::Suspected, "its controller may still be at it"),
    };
    let subject = dependency.reference.clone();
    let reference = plain(&dependant.reference());
    Some(Finding {
        slug: DETECTOR.slug,
        statement: dependency.statement(),
        certainty,
        why: why.to_owned(),
        since: dependency.life.map_or_else(|| dependant.first_seen(), Life::first_seen),
        citations: citations(dependant, &reference, dependency),
        explains: vec![reference],
        blames: [
            vec![subject.clone()],
            dependency.life.map(|life| parts(evidence, life)).unwrap_or_default(),
        ]
        .concat(),
        remedy: Some(remedy(dependency)),
        alternatives: vec![drop(dependant, dependency)],
        subject,
    })
}

/// All that a dependency consists of: whatever holds one of these up is the deeper cause.
fn parts(evidence: &Evidence, dependency: &Life) -> Vec<ObjectRef> {
    let attempt = of_flux(evidence, dependency);
    let mut parts = consists_of(&attempt);
    let pods: Vec<ObjectRef> = parts
        .iter()
        .filter_map(|part| {
            evidence
                .ever_named(&part.kind, part.namespace.as_deref().unwrap_or_default(), &part.name)
                .last()
        })
        .flat_map(|life| {
            if life.text("/kind") == "Job" {
                pods_of(evidence, life)
            } else {
                pods_behind(evidence, life)
            }
        })
        .map(Life::reference)
        .collect();
    parts.extend(pods);
    parts
}

fn citations(dependant: &Life, reference: &ObjectRef, dependency: &Dependency<'_>) -> Vec<Citation> {
    let said = format!("condition Ready: False, {}: {}", reason(dependant), quoted(message(dependant)));
    let mut citations = vec![
        cite::observed(reference, said, dependant.versions.last().map(|version| version.at)),
        cite::declared(reference, format!("spec.dependsOn: {}", dependency.reference.name)),
    ];
    let object = &dependency.reference;
    let namespace = object.namespace.as_deref().unwrap_or_default();
    match (dependency.standing, dependency.life) {
        (Standing::Suspended, life) => {
            citations.push(cite::declared(object, "spec.suspend: true"));
            citations.extend(life.and_then(|life| wrote(life, &["spec.suspend".to_owned()])));
        }
        (Standing::Absent, _) => citations.push(cite::inferred(
            object,
            format!("namespace {namespace} has no {} {}", object.kind, object.name),
        )),
        (_, Some(life)) if !message(life).is_empty() => {
            let said = format!(
                "condition Ready: {}, {}: {}",
                life.condition("Ready"),
                reason(life),
                quoted(message(life))
            );
            citations.push(cite::observed(object, said, life.versions.last().map(|version| version.at)));
        }
        _ => {}
    }
    citations
}

fn remedy(dependency: &Dependency<'_>) -> Remedy {
    let ObjectRef { kind, name, .. } = &dependency.reference;
    let (remedy, sentence) = match dependency.standing {
        Standing::Suspended => ("resume", format!("resume {kind} {name}")),
        Standing::Absent => (
            "create-dependency",
            format!("create {kind} {name}, or correct its name in spec.dependsOn"),
        ),
        _ => ("retry-dependency", format!("mend what {kind} {name} says, and have it tried again")),
    };
    Remedy::new(remedy, sentence).with("kind", kind).with("name", name)
}

fn drop(dependant: &Life, dependency: &Dependency<'_>) -> Remedy {
    let sentence = format!(
        "take {} out of spec.dependsOn of {} {}, if it does without",
        dependency.reference.name,
        dependant.text("/kind"),
        dependant.name()
    );
    Remedy::new("drop-dependency", sentence).with("name", &dependency.reference.name)
}

#[cfg(test)]
mod tests;
