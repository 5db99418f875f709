//! What is left of a timeline at its end: what somebody finds who comes then, has watched nothing and only looks once.
//!
//! Whatever a recording tells can so be asked as `rekindle diagnose` would: without the engine's words, without what has gone meanwhile, and
//! without the times at which anything was seen to change.

use jiff::SignedDuration;

use super::fold::Evidence;
use super::model::{Change, Entry, Fact, Header, Timeline};

/// Nobody looks at the very moment at which an engine gives up.
const LATER: SignedDuration = SignedDuration::from_secs(5);

/// One look at the state that this evidence describes, as a timeline of one moment.
pub fn left(evidence: &Evidence) -> Timeline {
    let at = evidence.now + LATER;
    let header = Header {
        observed_at: at,
        watched: Vec::new(),
        ..evidence.header.clone()
    };
    let mut facts = Vec::new();
    let objects: Vec<_> = evidence.all_but(&[]).collect();
    let exists = |storage: &str, namespace: &str| evidence.get("Secret", namespace, storage).is_some();
    for (_, record) in evidence.releases.values() {
        if exists(&record.storage(), &record.namespace) {
            facts.push(Fact::Release(record.clone()));
        }
    }
    for life in &objects {
        if let Some(version) = life.versions.last() {
            facts.push(Fact::Object {
                change: Change::Applied,
                object: version.object.clone(),
                writers: version.writers.clone(),
            });
        }
    }
    for pod in objects.iter().filter(|life| life.text("/kind") == "Pod") {
        for (_, log) in evidence.logs_of(pod.uid()) {
            let newest = log.lines.last().map_or(0, |printed| printed.line.restart);
            // The kubelet keeps the log of the container that runs and of the one before it.
            let kept = log.lines.iter().filter(|printed| printed.line.restart + 1 >= newest);
            facts.extend(kept.map(|printed| Fact::Log(printed.line.clone())));
        }
    }
    // Whoever looks asks the resolver, too.
    for ((host, vantage), look) in &evidence.lookups {
        facts.push(Fact::Lookup {
            host: host.clone(),
            vantage: *vantage,
            tried: look.tried.clone(),
            answer: look.answer.clone(),
        });
    }
    for (what, reason) in &evidence.not_readable {
        facts.push(Fact::NotReadable {
            what: what.clone(),
            reason: reason.clone(),
        });
    }
    facts.push(Fact::Listed {
        kinds: evidence.header.watched.clone(),
    });
    Timeline {
        header,
        entries: facts.into_iter().map(|fact| Entry { at, fact }).collect(),
    }
}
