//! # What it detects
//!
//! A hook, or another Job, that waits for an address which does not exist inside the cluster: the name does not resolve there, or
//! nothing answers at it.
//!
//! # Why it happens
//!
//! One value is both the address that browsers use and the one that the Job connects to. The public name lives in a DNS zone or behind
//! a gateway that pods cannot see, least of all while the release that would make it answer is being installed. The engine waits for
//! the hook, the hook waits for the address, and the engine's timeout is all that anybody gets to read.
//!
//! # Evidence
//!
//! The Job and its hook event; the line that it prints again and again; the complaint of the program that cannot connect, or, where
//! the script hides it, what the cluster's own resolver says about the addresses that the container was given; where that address
//! comes from; and that it answers outside, where somebody asked. A name that a Service could still supply while something progresses
//! is only suspected.
//!
//! # Remedy
//!
//! `use-in-cluster-url`: this Job alone gets the address of the Service inside the cluster.

use crate::diagnosis::address::{Place, declared_service, place};
use crate::diagnosis::attempt::{attempt, engine_gave_up, engine_is_patient};
use crate::diagnosis::cite;
use crate::diagnosis::hooks::{Task, tasks};
use crate::diagnosis::logs::{lines, most_repeated, quoted};
use crate::diagnosis::progress::{JobState, ready, relevant};
use crate::diagnosis::references::mentions;
use crate::diagnosis::services::{Backing, Wanted, backing, in_cluster_address};
use crate::diagnosis::tries::{Miss, Tries, asked, looked_up, tries};
use crate::diagnosis::{Certainty, Citation, Class, Detector, Finding};
use crate::evidence::{Answer, Evidence, ObjectRef, Vantage};
use crate::remedy::Remedy;

pub const DETECTOR: Detector = Detector {
    slug: "hook-target-unreachable",
    summary: "a hook waits for an address that does not exist inside the cluster",
    class: Class::Specific,
    remedies: &["use-in-cluster-url"],
    detect,
};

fn detect(evidence: &Evidence) -> Vec<Finding> {
    let mut findings = Vec::new();
    for task in tasks(evidence) {
        for tries in tries(evidence, &task) {
            findings.extend(finding(evidence, &task, &tries));
        }
    }
    findings
}

fn finding(evidence: &Evidence, task: &Task<'_>, tries: &Tries<'_>) -> Option<Finding> {
    let verdict = judge(evidence, task, tries)?;
    Some(Finding {
        slug: DETECTOR.slug,
        subject: task.reference.clone(),
        statement: statement(tries),
        certainty: verdict.certainty,
        why: verdict.why,
        since: task.created().min(tries.first),
        citations: citations(evidence, task, tries),
        explains: task.explains(),
        blames: verdict.blames,
        remedy: Some(remedy(evidence, task, tries)),
    })
}

fn statement(tries: &Tries<'_>) -> String {
    match &tries.miss {
        Miss::Unresolved => format!("{} does not resolve inside the cluster", tries.host),
        Miss::Unreachable { reason } => {
            let mut letters = reason.chars();
            let reason: String = letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).collect();
            format!("{} does not answer inside the cluster ({reason})", tries.target)
        }
    }
}

struct Verdict {
    certainty: Certainty,
    why: String,
    blames: Vec<ObjectRef>,
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

fn judge(evidence: &Evidence, task: &Task<'_>, tries: &Tries<'_>) -> Option<Verdict> {
    let namespace = task.latest.text("/metadata/namespace");
    let over = engine_gave_up(evidence) || matches!(task.state(), JobState::Failed { .. });
    match place_of(evidence, &tries.host, namespace) {
        Place::Itself => None,
        Place::Outside => Some(outside(evidence, tries, over)),
        Place::Service { namespace, name } => Some(inside(evidence, task, tries, &namespace, &name)),
    }
}

/// Where the host is; a name from outside that resolves to a Service's address is that Service.
fn place_of(evidence: &Evidence, host: &str, namespace: &str) -> Place {
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
        (false, true) => Verdict::certain(format!("nothing in the cluster supplies {host}, and it was tried {} times", tries.times)),
        (false, false) => Verdict::suspected("it was tried too few times yet"),
    }
}

/// How long an object counts as still being set up after its last change.
const SETTLES_MS: i128 = 5000;

/// Something that may still make a name known: a record for a DNS controller, or an entry that is only just being set up.
fn may_publish(evidence: &Evidence, host: &str) -> Option<ObjectRef> {
    const NOT_THESE: &[&str] = &["ConfigMap", "Event", "Job", "Pod", "ReplicaSet", "Secret", "Deployment", "StatefulSet", "HelmRelease"];
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
        let entry = matches!(kind, "Ingress" | "HTTPRoute" | "TLSRoute" | "Gateway" | "VirtualService" | "IngressRoute");
        let changed = life.versions.last().map_or(life.first_seen(), |version| version.at);
        let fresh = evidence.since(changed).as_millis() < SETTLES_MS && engine_is_patient(evidence);
        (annotated || publishes && mentions(life.object(), host) || entry && fresh && mentions(life.object(), host))
            .then(|| life.reference())
    })
}

fn inside(evidence: &Evidence, task: &Task<'_>, tries: &Tries<'_>, namespace: &str, name: &str) -> Verdict {
    // As long as an engine waits, what a Service lacks may come: this is how every slow start looks.
    let patient = engine_is_patient(evidence);
    let sure = |why: String| if patient || !tries.sure { Verdict::suspected(why) } else { Verdict::certain(why) };
    let Some(service) = evidence.get("Service", namespace, name) else {
        return match supplier(evidence, task, namespace, name) {
            Some(supplier) => Verdict::suspected(supplier),
            None if tries.times < 2 && !engine_gave_up(evidence) => Verdict::suspected("it was tried too few times yet"),
            None => sure(format!("there is no Service {name} in namespace {namespace}, and nothing is left that would make one")),
        };
    };
    match backing(evidence, service) {
        Backing::Ready => Verdict::suspected(format!("Service {name} has a ready endpoint now")),
        Backing::Coming(why) => Verdict::suspected(why),
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

fn citations(evidence: &Evidence, task: &Task<'_>, tries: &Tries<'_>) -> Vec<Citation> {
    let mut citations = Vec::new();
    match task.latest.annotation("helm.sh/hook") {
        Some(event) => citations.push(cite::declared(&task.reference, format!("metadata.annotations[helm.sh/hook]: {event}"))),
        None => citations.push(cite::declared(&task.reference, format!("kind: {}", task.reference.kind))),
    }
    if let Some(pod) = task.pods.last()
        && let Some(repeated) = most_repeated(lines(evidence, pod.uid(), &tries.container))
    {
        let text = format!("{}, {} times", quoted(&repeated.text), repeated.times);
        citations.push(cite::observed(&pod.reference(), text, Some(repeated.since)));
    }
    if let Some((pod, line)) = &tries.line {
        citations.push(cite::printed(pod, line));
    }
    if let Some(declared) = &tries.declared {
        citations.push(cite::declared(&task.reference, format!("{}: {}", declared.origin, declared.address)));
    }
    if let Some(look) = looked_up(evidence, &tries.host) {
        let said = match &look.answer {
            Answer::NoSuchName => "no such name".to_owned(),
            Answer::Addresses { addresses } => addresses.join(", "),
            Answer::Nothing { reason } => reason.clone(),
            Answer::Http { status } => status.to_string(),
        };
        let text = format!("lookup of {} inside the cluster: {said}", tries.host);
        citations.push(cite::observed(&task.reference, text, Some(look.since)));
    }
    if let Some((_, look)) = asked(evidence, &tries.host, Vantage::Outside)
        && let Answer::Http { status } = look.answer
    {
        let text = format!("{} answers outside the cluster: HTTP {status}", tries.host);
        citations.push(cite::observed(&task.reference, text, Some(look.since)));
    }
    citations
}

fn remedy(evidence: &Evidence, task: &Task<'_>, tries: &Tries<'_>) -> Remedy {
    let env = tries.declared.as_ref().and_then(|declared| declared.env.clone());
    let pod_lines = task.pods.last().map(|pod| lines(evidence, pod.uid(), &tries.container)).unwrap_or_default();
    let mut hints: Vec<String> = vec![env.clone().unwrap_or_default(), tries.host.clone()];
    hints.push(most_repeated(pod_lines).map(|repeated| repeated.text).unwrap_or_default());
    hints.extend([tries.container.clone(), task.reference.name.clone()]);
    let release = attempt(evidence).map(|attempt| attempt.release).unwrap_or_default();
    let url = in_cluster_address(
        evidence,
        &Wanted {
            namespace: task.latest.text("/metadata/namespace"),
            release: &release,
            hints,
            address: tries.declared.as_ref().map(|declared| &declared.address),
        },
    );
    let sentence = match &url {
        Some(url) => format!("give this {} the in-cluster URL {url}", task.reference.kind),
        None => format!("give this {} an address that exists inside the cluster instead of {}", task.reference.kind, tries.host),
    };
    let mut remedy = Remedy::new("use-in-cluster-url", sentence)
        .with("job", &task.reference.name)
        .with("container", &tries.container)
        .with("host", &tries.host);
    if let Some(env) = env {
        remedy = remedy.with("env", env);
    }
    if let Some(url) = url {
        remedy = remedy.with("url", url);
    }
    remedy
}
