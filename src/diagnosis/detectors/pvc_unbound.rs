//! # What it detects
//!
//! A pod that waits for a PersistentVolumeClaim to which no volume will be bound.
//!
//! # Why it happens
//!
//! The claim names a StorageClass of another cluster; it names none and the cluster has no default; nobody runs the class's provisioner, or
//! it fails; the class provides nothing by itself and there is no volume that fits.
//!
//! # Evidence
//!
//! The claim's phase `Pending`; the events `ProvisioningFailed`, `FailedBinding`, `VolumeMismatch` or `ExternalProvisioning` about it, or the
//! scheduler's `didn't find available persistent volumes to bind`; the classes that there are. A claim that waits for its first consumer,
//! and one whose provisioner has said that it is at work, are no failures.
//!
//! # Remedy
//!
//! `use-storage-class` where the cluster has one; else `create-storage-class`, `create-volume` or `fix-provisioner`.

use std::sync::LazyLock;

use jiff::{SignedDuration, Timestamp};
use regex::Regex;

use crate::diagnosis::attempt::engine_gave_up;
use crate::diagnosis::cite;
use crate::diagnosis::dependencies::on_its_way;
use crate::diagnosis::logs::quoted;
use crate::diagnosis::progress::{concerns, controller, event_text, plain, relevant};
use crate::diagnosis::refusals::first;
use crate::diagnosis::{Certainty, Citation, Class, Detector, Finding};
use crate::evidence::manifest::{list, text};
use crate::evidence::{Evidence, Life, ObjectRef};
use crate::remedy::Remedy;

pub const DETECTOR: Detector = Detector {
    slug: "pvc-unbound",
    summary: "a pod waits for a claim to which no volume will be bound",
    class: Class::Specific,
    remedies: &["create-storage-class", "create-volume", "fix-provisioner", "use-storage-class"],
    detect,
};

static NO_CLASS: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r#"storageclass(?:\.storage\.k8s\.io)? \\?"([^"\\]+)\\?" not found"#).ok());
const NONE_SET: &str = "no persistent volumes available for this claim and no storage class is set";
/// A class whose volumes somebody makes by hand.
const BY_HAND: &str = "kubernetes.io/no-provisioner";
const NONE_FOUND: &str = "didn't find available persistent volumes to bind";
/// The annotation that makes a class the one of claims that name none.
const DEFAULT: &str = "storageclass.kubernetes.io/is-default-class";
/// The annotation that named a class before there was a field for it.
const OLD_FIELD: &str = "volume.beta.kubernetes.io/storage-class";

/// What is applied in one go may come in any order.
const TOGETHER: SignedDuration = SignedDuration::from_secs(5);
/// How long a provisioner that has failed may succeed at one of its next tries.
const TRIES: SignedDuration = SignedDuration::from_secs(30);
/// How long a provisioner may take until it says that it is at work.
const SILENCE: SignedDuration = SignedDuration::from_secs(60);

/// Why no volume is bound.
#[derive(Debug, PartialEq, Eq)]
enum Reason {
    NoSuchClass { class: String },
    NoClass,
    NoVolume,
    Fails,
    Silent { provisioner: String },
}

impl Reason {
    /// How long it has to be so before nothing is to be expected any more.
    fn patience(&self) -> SignedDuration {
        match self {
            Self::NoSuchClass { .. } | Self::NoClass => TOGETHER,
            Self::NoVolume | Self::Fails => TRIES,
            Self::Silent { .. } => SILENCE,
        }
    }

    /// Whether all claims that have it have it in common, so that one remedy serves them all.
    fn is_shared(&self) -> bool {
        !matches!(self, Self::NoVolume | Self::Fails)
    }
}

/// Claims that are not bound for the same reason.
struct Unbound<'a> {
    reason: Reason,
    claims: Vec<&'a Life>,
    pods: Vec<&'a Life>,
    since: Timestamp,
    citations: Vec<Citation>,
}

fn detect(evidence: &Evidence) -> Vec<Finding> {
    let mut unbound: Vec<Unbound<'_>> = Vec::new();
    for claim in relevant(evidence, "PersistentVolumeClaim") {
        if claim.text("/status/phase") != "Pending" || !claim.text("/metadata/deletionTimestamp").is_empty() {
            continue;
        }
        let pods = consumers(evidence, claim);
        let Some((reason, since, citation)) = reason(evidence, claim, &pods) else {
            continue;
        };
        match unbound.iter_mut().find(|known| known.reason == reason && reason.is_shared()) {
            Some(known) => {
                known.claims.push(claim);
                known.pods.extend(pods);
                known.since = known.since.min(since);
                known.citations.push(citation);
            }
            None => unbound.push(Unbound {
                reason,
                claims: vec![claim],
                pods,
                since,
                citations: vec![citation],
            }),
        }
    }
    unbound.into_iter().filter_map(|unbound| finding(evidence, unbound)).collect()
}

/// The pods that wait for a claim.
fn consumers<'a>(evidence: &'a Evidence, claim: &Life) -> Vec<&'a Life> {
    let namespace = claim.text("/metadata/namespace");
    let uses = |pod: &&Life| {
        let volumes = pod.list("/spec/volumes").iter();
        volumes.into_iter().any(|volume| {
            let own = volume.get("ephemeral").is_some() && claim.name() == format!("{}-{}", pod.name(), text(volume, "/name"));
            own || text(volume, "/persistentVolumeClaim/claimName") == claim.name()
        })
    };
    let pods = relevant(evidence, "Pod").into_iter();
    pods.filter(|pod| pod.text("/metadata/namespace") == namespace && pod.text("/status/phase") == "Pending")
        .filter(uses)
        .collect()
}

/// The class that a claim names; nothing where it leaves that to the cluster.
fn class(claim: &Life) -> Option<&str> {
    let field = claim.at("/spec/storageClassName").and_then(serde_json::Value::as_str);
    field.or_else(|| claim.annotation(OLD_FIELD))
}

fn reason(evidence: &Evidence, claim: &Life, pods: &[&Life]) -> Option<(Reason, Timestamp, Citation)> {
    let newest = |about: &Life, reason: &str, says: &dyn Fn(&str) -> bool| {
        let mut events: Vec<&Life> = evidence
            .events_about(about)
            .filter(|event| event.text("/reason") == reason && concerns(event, about) && says(event_text(event)))
            .collect();
        events.sort_by_key(|event| first(event));
        events.last().copied()
    };
    let cited = |about: &Life, event: &Life| {
        let said = format!("event {}: {}", event.text("/reason"), event_text(event));
        (first(event), cite::observed(&about.reference(), said, Some(first(event))))
    };
    let any = |_: &str| true;
    let created = claim.time("/metadata/creationTimestamp").unwrap_or_else(|| claim.first_seen());
    if let Some(name) = class(claim).filter(|name| !name.is_empty()) {
        let says_so = |message: &str| {
            NO_CLASS
                .iter()
                .any(|pattern| pattern.captures(message).is_some_and(|found| &found[1] == name))
        };
        let event = newest(claim, "ProvisioningFailed", &says_so);
        let exists = evidence.get("StorageClass", "", name).is_some();
        if !exists && (event.is_some() || evidence.watched("StorageClass")) {
            let reason = Reason::NoSuchClass { class: name.to_owned() };
            let (_, citation) = event.map_or_else(
                || {
                    (
                        created,
                        cite::declared(&claim.reference(), format!("spec.storageClassName: {name}")),
                    )
                },
                |event| cited(claim, event),
            );
            return Some((reason, created, citation));
        }
    }
    if let Some(event) = newest(claim, "FailedBinding", &|message| message.contains(NONE_SET)) {
        let (_, citation) = cited(claim, event);
        let reason = if class(claim) == Some("") {
            Reason::NoVolume
        } else {
            Reason::NoClass
        };
        return Some((reason, created, citation));
    }
    for refused in ["VolumeMismatch", "FailedBinding"] {
        if let Some(event) = newest(claim, refused, &any) {
            let (since, citation) = cited(claim, event);
            return Some((Reason::NoVolume, since, citation));
        }
    }
    let starts = ["Provisioning", "ProvisioningSucceeded"]
        .iter()
        .filter_map(|reason| newest(claim, reason, &any))
        .map(first)
        .max();
    if let Some(event) = newest(claim, "ProvisioningFailed", &|message| {
        !NO_CLASS.iter().any(|pattern| pattern.is_match(message))
    }) {
        let (since, citation) = cited(claim, event);
        let by_hand = event_text(event).contains(BY_HAND);
        return Some((if by_hand { Reason::NoVolume } else { Reason::Fails }, since, citation));
    }
    if let Some(event) = newest(claim, "ExternalProvisioning", &any).filter(|_| starts.is_none()) {
        let (since, citation) = cited(claim, event);
        let provisioner = class(claim)
            .and_then(|name| evidence.get("StorageClass", "", name))
            .map(|class| class.text("/provisioner"));
        let named = event_text(event).split('\'').nth(1).unwrap_or_default();
        let provisioner = provisioner.unwrap_or(named).to_owned();
        return Some((Reason::Silent { provisioner }, since, citation));
    }
    // The scheduler looks for volumes of a class that waits for its consumer.
    pods.iter().find_map(|pod| {
        let event = newest(pod, "FailedScheduling", &|message| message.contains(NONE_FOUND))?;
        let (since, citation) = cited(pod, event);
        Some((Reason::NoVolume, since, citation))
    })
}

fn finding(evidence: &Evidence, unbound: Unbound<'_>) -> Option<Finding> {
    let Unbound {
        reason,
        claims,
        pods,
        since,
        mut citations,
    } = unbound;
    let claim = *claims.first()?;
    let said = citations.first()?.text.clone();
    let mut explains: Vec<ObjectRef> = claims.iter().map(|claim| plain(&claim.reference())).collect();
    for pod in pods {
        for object in [pod.reference(), controller(evidence, pod)] {
            if !explains.contains(&object) {
                explains.push(object);
            }
        }
    }
    let (certainty, why) = if engine_gave_up(evidence) {
        (Certainty::Certain, "the engine has given up".to_owned())
    } else if let Some(other) = on_its_way(evidence, &explains) {
        (Certainty::Suspected, format!("{other} may still bring what it lacks"))
    } else if evidence.since(since) >= reason.patience() {
        (
            Certainty::Certain,
            "nothing that is unfinished would bind a volume to it".to_owned(),
        )
    } else {
        (Certainty::Suspected, "a volume may still be on its way".to_owned())
    };
    let subject = plain(&claim.reference());
    citations.push(cite::declared(
        &subject,
        match class(claim) {
            Some(class) => format!("spec.storageClassName: \"{class}\""),
            None => "spec.storageClassName: none".to_owned(),
        },
    ));
    citations.push(cite::observed(&subject, "status.phase: Pending", None));
    if evidence.watched("StorageClass") {
        citations.push(cite::inferred(&subject, format!("the cluster has {}", classes_told(evidence))));
    }
    let names: Vec<&str> = claims.iter().map(|claim| claim.name()).collect();
    let (names, one) = (names.join(", "), names.len() == 1);
    let what = if one { "PersistentVolumeClaim" } else { "PersistentVolumeClaims" };
    let what = format!("{what} {names}");
    let verb = |singular: &'static str, plural: &'static str| if one { singular } else { plural };
    let statement = match &reason {
        Reason::NoSuchClass { class } => {
            let wants = verb("wants", "want");
            format!("{what} {wants} the StorageClass {class}, which does not exist")
        }
        Reason::NoClass => {
            let name = verb("names", "name");
            format!("{what} {name} no StorageClass, and the cluster has no default one")
        }
        Reason::NoVolume => format!("there is no volume that fits {what}"),
        Reason::Fails => format!("the volume of {what} cannot be provisioned: {}", quoted(&said)),
        Reason::Silent { provisioner } => format!("nothing provisions volumes for {what}: {provisioner} does not answer"),
    };
    Some(Finding {
        slug: DETECTOR.slug,
        statement,
        certainty,
        why,
        since,
        citations,
        explains,
        blames: Vec::new(),
        remedy: Some(remedy(evidence, claim, &reason).with("claim", claim.name())),
        alternatives: Vec::new(),
        subject,
    })
}

/// The StorageClasses of the cluster, the default one first.
fn classes(evidence: &Evidence) -> Vec<&Life> {
    let mut classes: Vec<&Life> = evidence.all("StorageClass").collect();
    classes.sort_by_key(|class| (class.annotation(DEFAULT) != Some("true"), class.name().to_owned()));
    classes
}

fn classes_told(evidence: &Evidence) -> String {
    let told: Vec<String> = classes(evidence)
        .iter()
        .map(|class| match class.annotation(DEFAULT) {
            Some("true") => format!("{} (default)", class.name()),
            _ => class.name().to_owned(),
        })
        .collect();
    match told.as_slice() {
        [] => "no StorageClass".to_owned(),
        told => format!("the StorageClasses {}", told.join(", ")),
    }
}

fn remedy(evidence: &Evidence, claim: &Life, reason: &Reason) -> Remedy {
    let name = claim.name();
    let size = claim.text("/spec/resources/requests/storage");
    let modes: Vec<&str> = list(claim.object().get("spec").unwrap_or(&serde_json::Value::Null), "accessModes")
        .iter()
        .filter_map(serde_json::Value::as_str)
        .collect();
    let volume = || {
        let sentence = format!("make a PersistentVolume of {size} with {} for claim {name}", modes.join(", "));
        Remedy::new("create-volume", sentence)
            .with("size", size)
            .with("modes", modes.join(","))
    };
    let known = classes(evidence);
    let other = known.first().map(|class| class.name());
    match (reason, other) {
        (Reason::NoSuchClass { .. } | Reason::NoClass, Some(other)) => {
            let sentence = format!("make claim {name} anew with the StorageClass {other}");
            Remedy::new("use-storage-class", sentence).with("class", other)
        }
        (Reason::NoSuchClass { class }, None) => {
            let sentence = format!("make the StorageClass {class}, with a provisioner that runs in this cluster");
            Remedy::new("create-storage-class", sentence).with("class", class)
        }
        (Reason::NoClass | Reason::NoVolume, _) => volume(),
        (Reason::Fails, _) => {
            let sentence = format!("mend what the provisioner fails for; it tries again for claim {name}");
            Remedy::new("fix-provisioner", sentence)
        }
        (Reason::Silent { provisioner }, _) => {
            let sentence = format!("install or start the provisioner {provisioner}");
            Remedy::new("fix-provisioner", sentence).with("provisioner", provisioner)
        }
    }
}

#[cfg(test)]
mod tests;
