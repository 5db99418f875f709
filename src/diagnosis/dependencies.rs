//! What objects of Flux's depend on, and how that stands.

use super::attempt::{DEPENDENCY_NOT_READY, attempt, message, reason};
use super::progress::plain;
use crate::evidence::manifest::text;
use crate::evidence::{Evidence, Life, ObjectRef};

/// How a dependency stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// There is no object of this kind and name.
    Absent,
    /// Nothing is done for it, because somebody said so.
    Suspended,
    /// It waits for a dependency of its own.
    Waits,
    /// Its last attempt failed.
    Failed,
    /// Its controller is at it, or has not looked at it yet.
    Progressing,
    Ready,
}

/// One entry of `spec.dependsOn`.
#[derive(Debug, Clone)]
pub struct Dependency<'a> {
    pub reference: ObjectRef,
    pub life: Option<&'a Life>,
    pub standing: Standing,
}

impl Dependency<'_> {
    /// How it stands, as a clause for people: `HelmRelease postgres is suspended`.
    pub fn statement(&self) -> String {
        let name = format!("{} {}", self.reference.kind, self.reference.name);
        match (self.standing, self.life) {
            (Standing::Absent, _) => format!("{name} does not exist"),
            (Standing::Suspended, _) => format!("{name} is suspended and not ready"),
            (Standing::Waits, _) => format!("{name} waits for a dependency of its own"),
            (Standing::Failed, Some(life)) if life.condition("Stalled") == "True" => format!("{name} is stalled"),
            (Standing::Failed, _) => format!("{name} failed"),
            (Standing::Progressing, _) => format!("{name} is not ready yet"),
            (Standing::Ready, _) => format!("{name} is ready"),
        }
    }
}

/// Whether the controller says that an object waits for its dependencies.
pub fn waits(life: &Life) -> bool {
    life.condition("Ready") == "False" && reason(life) == DEPENDENCY_NOT_READY
}

/// Everything that an object depends on, in the order in which it is named. Dependencies are of its own kind.
pub fn dependencies<'a>(evidence: &'a Evidence, life: &Life) -> Vec<Dependency<'a>> {
    let kind = life.text("/kind");
    let entries = life.list("/spec/dependsOn").iter();
    entries
        .map(|entry| {
            let namespace = match text(entry, "/namespace") {
                "" => life.text("/metadata/namespace"),
                namespace => namespace,
            };
            let name = text(entry, "/name");
            let found = evidence.get(kind, namespace, name);
            Dependency {
                reference: ObjectRef::new(kind, Some(namespace), name),
                life: found,
                standing: found.map_or(Standing::Absent, standing),
            }
        })
        .collect()
}

/// Of the dependencies of an object that waits for them, those that are not ready. What lies in a namespace that nobody looked at is left
/// out: that it is not there is not known.
pub fn unmet<'a>(evidence: &'a Evidence, life: &Life) -> Vec<Dependency<'a>> {
    let namespace = life.text("/metadata/namespace");
    dependencies(evidence, life)
        .into_iter()
        .filter(|dependency| dependency.standing != Standing::Ready)
        .filter(|dependency| dependency.life.is_some() || dependency.reference.namespace.as_deref() == Some(namespace))
        .collect()
}

fn standing(life: &Life) -> Standing {
    let suspended = life.at("/spec/suspend").and_then(serde_json::Value::as_bool) == Some(true);
    let observed = life.number("/status/observedGeneration") == life.number("/metadata/generation");
    match life.condition("Ready") {
        "True" if observed => Standing::Ready,
        _ if suspended => Standing::Suspended,
        "False" if waits(life) => Standing::Waits,
        "False" if !message(life).is_empty() => Standing::Failed,
        _ => Standing::Progressing,
    }
}

/// Whether following the dependencies of an object leads back to it; the circle, beginning with it.
pub fn circle(evidence: &Evidence, life: &Life) -> Option<Vec<ObjectRef>> {
    let begin = plain(&life.reference());
    let mut open = vec![(life, vec![begin.clone()])];
    let mut seen: Vec<ObjectRef> = Vec::new();
    while let Some((at, path)) = open.pop() {
        for next in dependencies(evidence, at) {
            if next.reference.same(&begin) {
                return Some(path);
            }
            if let Some(life) = next.life.filter(|_| seen.iter().all(|known| !known.same(&next.reference))) {
                seen.push(next.reference.clone());
                open.push((life, [path.clone(), vec![next.reference]].concat()));
            }
        }
    }
    None
}

/// Whether an object is part of a circle of dependencies.
pub fn in_a_circle(evidence: &Evidence, life: &Life) -> bool {
    circle(evidence, life).is_some()
}

/// The object of the other kind that bears the name of a dependency which does not exist.
pub fn other_kind<'a>(evidence: &'a Evidence, wanted: &ObjectRef) -> Option<&'a Life> {
    let other = if wanted.kind == "HelmRelease" {
        "Kustomization"
    } else {
        "HelmRelease"
    };
    evidence.get(other, wanted.namespace.as_deref().unwrap_or_default(), &wanted.name)
}

/// An object of Flux's that has not applied anything yet and is going to. The one that the attempt itself is about does not count, nor does
/// one that has applied what is `blocked`: it has begun already.
pub fn on_its_way(evidence: &Evidence, blocked: &[ObjectRef]) -> Option<ObjectRef> {
    let own = attempt(evidence).map(|attempt| attempt.subject());
    let begun: Vec<&str> = blocked
        .iter()
        .filter_map(|object| {
            evidence
                .ever_named(&object.kind, object.namespace.as_deref().unwrap_or_default(), &object.name)
                .last()
        })
        .filter_map(|object| Some(deliverer(evidence, object)?.uid()))
        .collect();
    let mut all = ["HelmRelease", "Kustomization"].iter().flat_map(|kind| evidence.all(kind));
    let found = all.find(|life| {
        let nothing_yet = life.list("/status/inventory/entries").is_empty() && life.list("/status/history").is_empty();
        nothing_yet && !begun.contains(&life.uid()) && comes(evidence, life, own.as_ref(), &mut Vec::new())
    });
    found.map(|life| plain(&life.reference()))
}

/// Whether an object is being worked at, or waits only for such ones; `own` is what everybody waits for already.
fn comes<'a>(evidence: &'a Evidence, life: &'a Life, own: Option<&ObjectRef>, seen: &mut Vec<&'a str>) -> bool {
    if own.is_some_and(|own| own.same(&life.reference())) || seen.contains(&life.uid()) {
        return false;
    }
    seen.push(life.uid());
    match standing(life) {
        Standing::Progressing => true,
        Standing::Waits => unmet(evidence, life)
            .iter()
            .all(|one| one.life.is_some_and(|life| comes(evidence, life, own, seen))),
        _ => false,
    }
}

/// Whether an object is Ready only once what it delivers is.
pub fn waits_for_its_own(life: &Life) -> bool {
    let told = |pointer: &str| life.at(pointer).and_then(serde_json::Value::as_bool) == Some(true);
    match life.text("/kind") {
        "Kustomization" => told("/spec/wait") || !life.list("/spec/healthChecks").is_empty(),
        _ => !told("/spec/install/disableWait"),
    }
}

/// The object of Flux's that has applied this one, by the labels that both controllers leave.
pub fn deliverer<'a>(evidence: &'a Evidence, object: &Life) -> Option<&'a Life> {
    [("Kustomization", "kustomize"), ("HelmRelease", "helm")]
        .iter()
        .find_map(|(kind, group)| {
            let label = |what: &str| {
                object
                    .at("/metadata/labels")?
                    .get(format!("{group}.toolkit.fluxcd.io/{what}"))?
                    .as_str()
            };
            evidence.get(kind, label("namespace")?, label("name")?)
        })
}
