//! Whether anything that is still progressing could supply an address that a Job does not reach.

use super::attempt::{engine_gave_up, engine_is_patient};
use super::finding::Certainty;
use super::hooks::{Task, tasks};
use super::place::{Place, declared_service, place};
use super::progress::{JobState, ready, relevant};
use super::references::mentions;
use super::services::{Backing, backing, pods_and_owners};
use super::tries::{Miss, Tries, looked_up};
use crate::evidence::{Answer, Evidence, ObjectRef};

/// How sure it is that an address cannot be reached, why, and whose fault it would be.
pub struct Verdict {
    pub certainty: Certainty,
    pub why: String,
    pub blames: Vec<ObjectRef>,
}

impl Verdict {
    fn certain(why: impl Into<String>) -> Self {
        Self {
            certainty: Certainty::Certain,
            why: why.into(),
            blames: Vec::new(),
        }
    }

    fn suspected(why: impl Into<String>) -> Self {
        Self {
            certainty: Certainty::Suspected,
            ..Self::certain(why)
        }
    }

    fn blaming(self, blames: Vec<ObjectRef>) -> Self {
        Self { blames, ..self }
    }
}

/// What the tries of a Job come to; nothing where the address is the pod's own.
pub fn judge(evidence: &Evidence, task: &Task<'_>, tries: &Tries<'_>) -> Option<Verdict> {
    let namespace = task.latest.text("/metadata/namespace");
    let over = engine_gave_up(evidence) || matches!(task.state(), JobState::Failed { .. });
    match place_of(evidence, &tries.host, namespace) {
        Place::Itself => None,
        Place::Outside => Some(outside(evidence, tries, over)),
        Place::Service { namespace, name } => Some(inside(evidence, task, tries, &namespace, &name)),
    }
}

/// Where the host is; a name from outside that resolves to a Service's address is that Service.
pub fn place_of(evidence: &Evidence, host: &str, namespace: &str) -> Place {
    let first = place(evidence, host, namespace);
    if first != Place::Outside {
        return first;
    }
    match looked_up(evidence, host).map(|look| &look.answer) {
        Some(Answer::Addresses { addresses }) => addresses
            .iter()
            .map(|address| place(evidence, address, namespace))
            .find(|found| *found != Place::Outside)
            .unwrap_or(Place::Outside),
        _ => Place::Outside,
    }
}

fn outside(evidence: &Evidence, tries: &Tries<'_>, over: bool) -> Verdict {
    let host = &tries.host;
    if !tries.sure {
        return Verdict::suspected("the container does not say which of its addresses it waits for");
    }
    if let Some(object) = may_publish(evidence, host) {
        return Verdict::suspected(format!("{object} may still publish {host}"));
    }
    let spans = tries.last.duration_since(tries.first).as_millis();
    let often = match (&tries.miss, tries.transient) {
        (Miss::Unresolved, false) => tries.times >= 2 || spans >= 1000,
        // A resolver that is busy and a server that restarts are back within moments.
        _ => tries.times >= 3 && spans >= 2000,
    };
    match (over, often) {
        (true, _) => Verdict::certain(format!("it was tried until the end, and nothing in the cluster supplies {host}")),
        (false, true) => Verdict::certain(format!(
            "nothing in the cluster supplies {host}, and it was tried {} times",
            tries.times
        )),
        (false, false) => Verdict::suspected("it was tried too few times yet"),
    }
}

/// How long an object counts as still being set up after its last change.
const SETTLES_MS: i128 = 5000;

/// Something that may still make a name known: a record for a DNS controller, or an entry that is only just being set up.
fn may_publish(evidence: &Evidence, host: &str) -> Option<ObjectRef> {
    const NOT_THESE: &[&str] = &[
        "ConfigMap",
        "Event",
        "Job",
        "Pod",
        "ReplicaSet",
        "Secret",
        "Deployment",
        "StatefulSet",
        "HelmRelease",
    ];
    evidence.all_but(NOT_THESE).find_map(|life| {
        let kind = life.text("/kind");
        let annotated = life
            .object()
            .pointer("/metadata/annotations")
            .and_then(serde_json::Value::as_object)
            .into_iter()
            .flatten()
            .any(|(key, value)| key.starts_with("external-dns.") && value.as_str().is_some_and(|value| value.contains(host)));
        let publishes = kind == "DNSEndpoint" || life.text("/spec/type") == "ExternalName";
        let entry = matches!(
            kind,
            "Ingress" | "HTTPRoute" | "TLSRoute" | "Gateway" | "VirtualService" | "IngressRoute"
        );
        let changed = life.versions.last().map_or(life.first_seen(), |version| version.at);
        let fresh = evidence.since(changed).as_millis() < SETTLES_MS && engine_is_patient(evidence);
        (annotated || publishes && mentions(life.object(), host) || entry && fresh && mentions(life.object(), host))
            .then(|| life.reference())
    })
}

fn inside(evidence: &Evidence, task: &Task<'_>, tries: &Tries<'_>, namespace: &str, name: &str) -> Verdict {
    // As long as an engine waits, what a Service lacks may come: this is how every slow start looks.
    let patient = engine_is_patient(evidence);
    let sure = |why: String| {
        if patient || !tries.sure {
            Verdict::suspected(why)
        } else {
            Verdict::certain(why)
        }
    };
    let Some(service) = evidence.get("Service", namespace, name) else {
        return match supplier(evidence, task, namespace, name) {
            Some(supplier) => Verdict::suspected(supplier),
            None if tries.times < 2 && !engine_gave_up(evidence) => Verdict::suspected("it was tried too few times yet"),
            None => sure(format!(
                "there is no Service {name} in namespace {namespace}, and nothing is left that would make one"
            )),
        };
    };
    match backing(evidence, service) {
        Backing::Ready => Verdict::suspected(format!("Service {name} has a ready endpoint now")),
        // What keeps its pods from coming up is the deeper cause.
        Backing::Coming(why) => Verdict::suspected(why).blaming(pods_and_owners(evidence, service)),
        Backing::Stuck(pods) => sure(format!("every pod behind Service {name} is stuck")).blaming(pods),
        Backing::Empty => sure(format!("nothing stands behind Service {name}")).blaming(vec![service.reference()]),
    }
}

/// What may still make a Service that does not exist.
fn supplier(evidence: &Evidence, task: &Task<'_>, namespace: &str, name: &str) -> Option<String> {
    if namespace != evidence.header.namespace && namespace != task.latest.text("/metadata/namespace") && !evidence.watched("Namespace") {
        return Some(format!("namespace {namespace} was not watched"));
    }
    if declared_service(evidence, name).is_some() {
        return Some(format!("Service {name} belongs to the release and was not applied yet"));
    }
    let patient = engine_is_patient(evidence);
    let rolling = ["Deployment", "StatefulSet", "DaemonSet"]
        .iter()
        .flat_map(|kind| relevant(evidence, kind))
        .find(|workload| patient && !ready(workload));
    if let Some(workload) = rolling {
        return Some(format!("{} is still rolling out", workload.reference()));
    }
    let producer = tasks(evidence).into_iter().find(|other| {
        other.reference != task.reference && matches!(other.state(), JobState::Running) && mentions(other.latest.object(), name)
    });
    producer.map(|producer| format!("{} has not ended and mentions it", producer.title()))
}
