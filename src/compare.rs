//! What changed between two states of a namespace, each the end of a recording: causes, releases, objects.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;

use crate::diagnosis::detectors::DETECTORS;
use crate::diagnosis::differences::differences;
use crate::diagnosis::{Diagnosis, RootCause};
use crate::evidence::{Evidence, Recording};
use crate::replay::Replay;

/// Kinds that come and go while nothing changes.
const RESTLESS: &[&str] = &["EndpointSlice", "Event", "Lease", "Node"];
/// Fields that change while nothing changes: who wrote when, and how often.
const RESTLESS_FIELDS: &[&str] = &[
    "generation",
    "lastHeartbeatTime",
    "lastProbeTime",
    "lastTransitionTime",
    "lastUpdateTime",
    "managedFields",
    "observedGeneration",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// Everything that differs.
#[derive(Debug, Default, Serialize)]
pub struct Comparison {
    /// Certain causes that were there and are no more.
    pub gone: Vec<RootCause>,
    /// Certain causes that were not there.
    pub come: Vec<RootCause>,
    /// Certain causes of both.
    pub still: Vec<RootCause>,
    /// `web: revision 1 failed → revision 2 deployed`
    pub releases: Vec<String>,
    pub objects: Vec<Changed>,
}

/// An object that is only in one of both, or not the same in both.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Changed {
    /// `Deployment/web`
    pub object: String,
    pub how: How,
    /// `spec.replicas: 1 → 2`
    pub fields: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum How {
    Gone,
    Come,
    Changed,
}

impl Comparison {
    /// Of two recordings, each at the moment at which its diagnosis was taken, else at its end.
    ///
    /// # Errors
    /// When a recording does not reach to that moment.
    pub fn of(before: &Recording, after: &Recording) -> Result<Self, crate::replay::ReplayError> {
        let (before, after) = (State::of(before)?, State::of(after)?);
        let identity = |cause: &RootCause| (cause.slug.clone(), cause.subject.to_string());
        let known: BTreeSet<_> = before.diagnosis.causes.iter().map(identity).collect();
        let now: BTreeSet<_> = after.diagnosis.causes.iter().map(identity).collect();
        let (still, come) = after
            .diagnosis
            .causes
            .iter()
            .cloned()
            .partition(|cause| known.contains(&identity(cause)));
        let gone = before.diagnosis.causes.iter().filter(|cause| !now.contains(&identity(cause)));
        Ok(Self {
            gone: gone.cloned().collect(),
            come,
            still,
            releases: releases(&before.evidence, &after.evidence),
            objects: objects(&before.evidence, &after.evidence),
        })
    }

    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.gone.is_empty() && self.come.is_empty() && self.releases.is_empty() && self.objects.is_empty()
    }
}

struct State {
    evidence: Evidence,
    diagnosis: Diagnosis,
}

impl State {
    fn of(recording: &Recording) -> Result<Self, crate::replay::ReplayError> {
        let replay = Replay {
            recording,
            detectors: DETECTORS,
        };
        let entries = replay.prefix(None)?.entries;
        let mut evidence = Evidence::new(recording.header().clone());
        for entry in recording.entries.iter().take(entries) {
            evidence.apply(entry);
        }
        Ok(Self {
            diagnosis: replay.diagnosis(entries),
            evidence,
        })
    }
}

fn releases(before: &Evidence, after: &Evidence) -> Vec<String> {
    let names = |evidence: &Evidence| evidence.releases.keys().map(|(name, _)| name.clone()).collect::<BTreeSet<_>>();
    let stands = |evidence: &Evidence, name: &str| {
        let record = evidence.release(name);
        record.map_or_else(
            || "none".to_owned(),
            |record| format!("revision {} {}", record.revision, record.status),
        )
    };
    let all: BTreeSet<String> = names(before).union(&names(after)).cloned().collect();
    all.iter()
        .map(|name| (name, stands(before, name), stands(after, name)))
        .filter(|(_, before, after)| before != after)
        .map(|(name, before, after)| format!("{name}: {before} → {after}"))
        .collect()
}

fn objects(before: &Evidence, after: &Evidence) -> Vec<Changed> {
    let (before, after) = (steady(before), steady(after));
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let mut changed = Vec::new();
    for name in names {
        let (how, fields) = match (before.get(name), after.get(name)) {
            (Some(_), None) => (How::Gone, Vec::new()),
            (None, Some(_)) => (How::Come, Vec::new()),
            (Some(before), Some(after)) => {
                let found = differences(before, after, "");
                let fields: Vec<String> = found
                    .iter()
                    .map(|difference| difference.text().trim_start_matches('.').to_owned())
                    .collect();
                if fields.is_empty() {
                    continue;
                }
                (How::Changed, fields)
            }
            (None, None) => continue,
        };
        changed.push(Changed {
            object: name.clone(),
            how,
            fields,
        });
    }
    changed
}

/// Every object without what is never the same twice.
fn steady(evidence: &Evidence) -> BTreeMap<String, Value> {
    let all = evidence.all_but(RESTLESS);
    all.map(|life| {
        let mut object = life.object().clone();
        settle(&mut object);
        (life.reference().to_string(), object)
    })
    .collect()
}

fn settle(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            // What stands for the value of a Secret: its hash has another key in each recording.
            if fields.contains_key("length") {
                fields.remove("hash");
            }
            fields.retain(|key, _| !RESTLESS_FIELDS.contains(&key.as_str()));
            fields.values_mut().for_each(settle);
        }
        Value::Array(items) => items.iter_mut().for_each(settle),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::evidence::{Change, Header, Recorder};

    fn state(objects: &[Value]) -> Recording {
        let recorder = Recorder::new(Header::begin("shop", "2026-01-02T03:04:05Z".parse().unwrap()), [1; 32]);
        for object in objects {
            recorder.record_object(Change::Applied, object.clone());
        }
        Recording::of(&recorder.timeline(), None)
    }

    fn deployment(name: &str, version: &str, replicas: u32) -> Value {
        json!({"kind": "Deployment", "metadata": {"name": name, "namespace": "shop", "uid": name, "resourceVersion": version}, "spec": {"replicas": replicas}})
    }

    #[test]
    fn only_what_means_something_differs() {
        let before = state(&[deployment("web", "1", 1), deployment("old", "1", 1), deployment("same", "1", 1)]);
        let after = state(&[deployment("web", "2", 2), deployment("new", "1", 1), deployment("same", "9", 1)]);
        let found = Comparison::of(&before, &after).unwrap();
        let told: Vec<_> = found
            .objects
            .iter()
            .map(|changed| (changed.object.as_str(), changed.how, changed.fields.join("; ")))
            .collect();
        assert_eq!(
            told,
            [
                ("Deployment/new", How::Come, String::new()),
                ("Deployment/old", How::Gone, String::new()),
                ("Deployment/web", How::Changed, "spec.replicas: 1 → 2".to_owned()),
            ]
        );
        assert!(Comparison::of(&before, &before).unwrap().is_empty());
    }
}
