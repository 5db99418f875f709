//! # What it detects
//!
//! A workload without pods, or a release that is refused, because a ResourceQuota leaves no room for what it asks for.
//!
//! # Why it happens
//!
//! The quota is smaller than what the chart requests, or others have used it up; a rolling update needs room for one more pod than there
//! are. The API server refuses the pod before there is one, so that there is nothing to look at: a Job simply never begins.
//!
//! # Evidence
//!
//! The condition `ReplicaFailure`, the event `FailedCreate` or the engine's last words with `exceeded quota: NAME, requested: …, used: …,
//! limited: …`. What asks for more than the whole quota never fits. Else others could still make room: pods that are going, and Jobs that
//! run to an end, make it only suspected.
//!
//! # Remedy
//!
//! `raise-quota` to what is used and requested together; alternatively `lower-requests`.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use jiff::{SignedDuration, Timestamp};
use regex::Regex;

use crate::diagnosis::attempt::{State, attempt, engine_gave_up};
use crate::diagnosis::cite;
use crate::diagnosis::hooks::tasks;
use crate::diagnosis::logs::quoted;
use crate::diagnosis::progress::{JobState, stuck};
use crate::diagnosis::quantity::{quantity, written};
use crate::diagnosis::refusals::refusals;
use crate::diagnosis::{Certainty, Citation, Class, Detector, Finding};
use crate::evidence::{Evidence, ObjectRef};
use crate::remedy::Remedy;

pub const DETECTOR: Detector = Detector {
    slug: "quota-exceeded",
    summary: "a quota leaves no room for the pods of a workload",
    class: Class::Specific,
    remedies: &["lower-requests", "raise-quota"],
    detect,
};

static EXCEEDED: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let amounts = r"((?:[A-Za-z0-9./_-]+=[0-9A-Za-z.+-]+,?)+)";
    Regex::new(&format!(
        "exceeded quota: ([^,\\s]+), requested: {amounts},? used: {amounts},? limited: {amounts}"
    ))
    .ok()
});

/// What a rollout or a Job that has just ended may still give back by itself.
const SETTLES: SignedDuration = SignedDuration::from_secs(10);

/// One amount of a quota that does not suffice.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Short {
    resource: String,
    requested: String,
    used: String,
    limited: String,
}

impl Short {
    /// Whether it would not fit into the whole quota either.
    fn never_fits(&self) -> bool {
        quantity(&self.requested)
            .zip(quantity(&self.limited))
            .is_some_and(|(requested, limited)| requested > limited)
    }

    fn needed(&self) -> Option<String> {
        Some(written(quantity(&self.requested)? + quantity(&self.used)?, &self.limited))
    }
}

/// The quota that a message names, and what of it does not suffice.
fn exceeded(message: &str) -> Option<(String, Vec<Short>)> {
    let captures = EXCEEDED.iter().find_map(|pattern| pattern.captures(message))?;
    let amounts = |text: &str| -> BTreeMap<String, String> {
        let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
        pairs.map(|(resource, amount)| (resource.to_owned(), amount.to_owned())).collect()
    };
    let (used, limited) = (amounts(&captures[3]), amounts(&captures[4]));
    let short = amounts(&captures[2]).into_iter().map(|(resource, requested)| Short {
        used: used.get(&resource).cloned().unwrap_or_default(),
        limited: limited.get(&resource).cloned().unwrap_or_default(),
        resource,
        requested,
    });
    Some((captures[1].to_owned(), short.collect()))
}

/// What is known of one quota.
struct Known {
    short: Vec<Short>,
    since: Timestamp,
    citations: Vec<Citation>,
    explains: Vec<ObjectRef>,
}

fn detect(evidence: &Evidence) -> Vec<Finding> {
    let mut found: BTreeMap<(String, String), Known> = BTreeMap::new();
    for refusal in refusals(evidence) {
        let namespace = refusal.top.namespace.clone().unwrap_or_default();
        note(
            &mut found,
            namespace,
            refusal.message,
            refusal.since,
            refusal.citation,
            refusal.explains,
        );
    }
    if let Some(attempt) = attempt(evidence).filter(|attempt| attempt.state == State::Failed) {
        let words = attempt.words();
        if let Some(line) = words.lines().find(|line| exceeded(line).is_some()) {
            let subject = attempt.subject();
            let citation = cite::observed(&subject, quoted(line), attempt.ended_at);
            note(
                &mut found,
                attempt.namespace.clone(),
                line,
                attempt.started_at,
                citation,
                vec![subject],
            );
        }
    }
    found
        .into_iter()
        .map(|((namespace, name), known)| finding(evidence, &namespace, &name, known))
        .collect()
}

fn note(
    found: &mut BTreeMap<(String, String), Known>,
    namespace: String,
    message: &str,
    since: Timestamp,
    citation: Citation,
    explains: Vec<ObjectRef>,
) {
    let Some((name, short)) = exceeded(message) else { return };
    let known = found.entry((namespace, name)).or_insert_with(|| Known {
        short: Vec::new(),
        since,
        citations: Vec::new(),
        explains: Vec::new(),
    });
    known.since = known.since.min(since);
    known.citations.push(citation);
    known.explains.extend(explains);
    for one in short {
        match known.short.iter_mut().find(|other| other.resource == one.resource) {
            // The largest request decides what the quota needs.
            Some(other) if quantity(&other.requested) < quantity(&one.requested) => *other = one,
            Some(_) => {}
            None => known.short.push(one),
        }
    }
}

fn finding(evidence: &Evidence, namespace: &str, name: &str, known: Known) -> Finding {
    let subject = ObjectRef::new("ResourceQuota", Some(namespace), name);
    let (certainty, why) = if let Some(short) = known.short.iter().find(|short| short.never_fits()) {
        let why = format!("{}={} does not fit into all of {}", short.resource, short.requested, short.limited);
        (Certainty::Certain, why)
    } else if engine_gave_up(evidence) {
        (Certainty::Certain, "the engine has given up".to_owned())
    } else if let Some(object) = makes_room(evidence, &known.explains) {
        (Certainty::Suspected, format!("{object} may still make room"))
    } else if evidence.since(known.since) < SETTLES {
        (Certainty::Suspected, "somebody may just be making room".to_owned())
    } else {
        (Certainty::Certain, "nothing is about to make room".to_owned())
    };
    let told: Vec<String> = known
        .short
        .iter()
        .map(|short| {
            format!(
                "{} of {}, of which {} is used, and {} is requested",
                short.limited, short.resource, short.used, short.requested
            )
        })
        .collect();
    let mut citations = known.citations;
    if let Some(quota) = evidence.get("ResourceQuota", namespace, name) {
        let amounts = known.short.iter().map(|short| {
            let amount = |map: &str| {
                let value = quota.at(map).and_then(|map| map.get(&short.resource)?.as_str());
                value.unwrap_or("nothing").to_owned()
            };
            format!("{} {}/{}", short.resource, amount("/status/used"), amount("/status/hard"))
        });
        let text = format!("status, used/hard: {}", amounts.collect::<Vec<_>>().join(", "));
        citations.push(cite::observed(&quota.reference(), text, None));
    }
    let needed: Vec<String> = known
        .short
        .iter()
        .filter_map(|short| Some(format!("{}={}", short.resource, short.needed()?)))
        .collect();
    let sentence = match needed.is_empty() {
        true => format!("raise ResourceQuota {name} in namespace {namespace}"),
        false => format!(
            "raise ResourceQuota {name} in namespace {namespace} to at least {}",
            needed.join(" and ")
        ),
    };
    let with = |remedy: Remedy| {
        remedy
            .with("name", name)
            .with("namespace", namespace)
            .with("at_least", needed.join(","))
    };
    let lower = "request less, or remove what uses the quota and is not needed";
    Finding {
        slug: DETECTOR.slug,
        statement: format!("ResourceQuota {name} allows {}", told.join("; and ")),
        certainty,
        why,
        since: known.since,
        citations,
        explains: known.explains,
        blames: vec![subject.clone()],
        subject,
        remedy: Some(with(Remedy::new("raise-quota", sentence))),
        alternatives: vec![with(Remedy::new("lower-requests", lower))],
    }
}

/// Something that holds a part of the quota and is about to end.
fn makes_room(evidence: &Evidence, blocked: &[ObjectRef]) -> Option<ObjectRef> {
    let going = evidence.all("Pod").find(|pod| !pod.text("/metadata/deletionTimestamp").is_empty());
    if let Some(pod) = going {
        return Some(pod.reference());
    }
    let task = tasks(evidence).into_iter().find(|task| {
        let works = task.pods.last().is_some_and(|pod| pod.exists() && !stuck(pod));
        works && task.state() == JobState::Running && !blocked.iter().any(|blocked| blocked.same(&task.reference))
    });
    task.map(|task| task.reference)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::diagnosis::fixture::*;

    const TEAM: (&str, &str) = (DETECTOR.slug, "ResourceQuota/team");

    fn words(requested: &str) -> String {
        format!(
            "Error creating: pods \"etl-x\" is forbidden: exceeded quota: team, requested: limits.memory={requested},pods=1, used: limits.memory=1Gi,pods=4, limited: limits.memory=2Gi,pods=4"
        )
    }

    /// A Job of a live namespace whose pod is refused.
    fn scene(requested: &str) -> (Scene, Value) {
        let mut job = job("etl", json!({"image": "etl:1"}));
        job["status"] = json!({});
        let mut scene = Scene::new();
        scene.object(
            json!({"kind": "ResourceQuota", "metadata": {"name": "team"}, "status": {"used": {"pods": "4"}, "hard": {"pods": "4"}}}),
        );
        scene
            .object(job.clone())
            .at(100)
            .object(warning(&job, "FailedCreate", &words(requested)));
        (scene, job)
    }

    #[test]
    fn the_pattern_compiles() {
        assert!(EXCEEDED.is_some());
    }

    #[test]
    fn what_never_fits_is_certain_at_once() {
        let (scene, _) = scene("3Gi");
        assert_eq!(scene.diagnosis().identity(), [(TEAM.0.to_owned(), TEAM.1.to_owned())]);
        let diagnosis = scene.diagnosis();
        let cause = &diagnosis.causes[0];
        assert_eq!(
            cause.statement,
            "ResourceQuota team allows 2Gi of limits.memory, of which 1Gi is used, and 3Gi is requested; and 4 of pods, of which 4 is used, and 1 is requested"
        );
        assert_eq!(cause.remedy.as_ref().unwrap().parameters["at_least"], "limits.memory=4Gi,pods=5");
        assert!(
            cause
                .citations
                .iter()
                .any(|citation| citation.text == "status, used/hard: limits.memory nothing/nothing, pods 4/4")
        );
    }

    #[test]
    fn what_others_hold_is_certain_when_nobody_makes_room() {
        let (mut scene, job) = scene("512Mi");
        scene.never_certain();
        scene.at(12_000).object(job);
        scene.settles_on(&[TEAM]);
    }

    #[test]
    fn who_ends_soon_makes_room() {
        let (mut scene, refused) = scene("512Mi");
        let other = job("report", json!({"image": "report:1"}));
        scene.object(other.clone()).object(pod_of(&other, "r", running()));
        scene.at(12_000).object(refused.clone());
        scene.never_certain();
        assert_eq!(scene.diagnosis().suspected[0].slug, TEAM.0);
        scene.at(14_000).object(phase(pod_of(&other, "r", terminated(0)), "Succeeded"));
        scene.object(with_condition(other, "Complete", "")).at(15_000).object(refused);
        scene.settles_on(&[TEAM]);
    }

    #[test]
    fn the_engine_says_it() {
        let mut scene = Scene::new();
        scene.engine(10_000, "watcher").at(500);
        scene.engine_says("Error: INSTALLATION FAILED: persistentvolumeclaims \"data\" is forbidden: exceeded quota: storage, requested: requests.storage=10Gi, used: requests.storage=5Gi, limited: requests.storage=8Gi");
        scene.engine_ends(1);
        scene.settles_on(&[(DETECTOR.slug, "ResourceQuota/storage")]);
    }

    #[test]
    fn a_quota_that_wants_requests_stated_is_another_failure() {
        let mut job = job("etl", json!({"image": "etl:1"}));
        job["status"] = json!({});
        let mut scene = Scene::new();
        let words = "Error creating: pods \"etl-x\" is forbidden: failed quota: team: must specify limits.memory for: etl";
        scene
            .object(job.clone())
            .object(warning(&job, "FailedCreate", words))
            .at(20_000)
            .object(job);
        scene.never_certain();
        assert!(scene.diagnosis().unexplained[0].statement.ends_with(words));
    }
}
