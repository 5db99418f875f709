//! What the scheduler and an autoscaler say about the pods that no node takes, and what becomes of them.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use jiff::{SignedDuration, Timestamp};
use regex::Regex;
use serde_json::Value;

use super::progress::{concerns, event_text};
use crate::evidence::{Evidence, Life, moment};

/// Everything that schedulers and autoscalers said, by namespace and name of the pod.
#[derive(Debug)]
pub struct Scheduling<'a> {
    evidence: &'a Evidence,
    words: BTreeMap<(&'a str, &'a str), Vec<&'a Life>>,
    /// The pods that were not placed at once.
    unplaced: Vec<&'a Life>,
}

/// What an autoscaler said last about a pod.
#[derive(Debug, Clone, Copy)]
pub enum Autoscaler<'a> {
    /// `TriggeredScaleUp`: it has begun to start a node.
    Starts(&'a Life),
    /// `NotTriggerScaleUp`: it will not start one.
    Refuses(&'a Life),
}

/// How it went with a pod that no node took at first.
#[derive(Debug, Clone)]
pub struct Placement<'a> {
    pub pod: &'a Life,
    /// Since when it waits for a node.
    pub since: Timestamp,
    /// The scheduler's words, and the event that holds them, where one was seen.
    pub refusal: &'a str,
    pub refused: Option<&'a Life>,
    pub autoscaler: Option<Autoscaler<'a>>,
    /// When a node took it, and since when it was ready, where that has come.
    pub scheduled_at: Option<Timestamp>,
    pub ready_at: Option<Timestamp>,
}

const FAILED: &str = "FailedScheduling";
const STARTS: &str = "TriggeredScaleUp";
const REFUSES: &str = "NotTriggerScaleUp";

impl<'a> Scheduling<'a> {
    pub fn of(evidence: &'a Evidence) -> Self {
        let mut words: BTreeMap<(&str, &str), Vec<&Life>> = BTreeMap::new();
        for event in evidence.ever("Event") {
            if matches!(event.text("/reason"), FAILED | STARTS | REFUSES) {
                let name = ["/involvedObject/name", "/regarding/name"].map(|pointer| event.text(pointer));
                let name = name.into_iter().find(|name| !name.is_empty()).unwrap_or_default();
                words.entry((event.text("/metadata/namespace"), name)).or_default().push(event);
            }
        }
        let unplaced = evidence.ever("Pod").filter(|pod| {
            let told = || words.contains_key(&(pod.text("/metadata/namespace"), pod.name()));
            before_its_node(pod).any(|object| unschedulable(object).is_some()) || told()
        });
        Self {
            unplaced: unplaced.collect(),
            words,
            evidence,
        }
    }

    /// The pods that no node took at once, in the order of their names.
    pub fn unplaced(&self) -> &[&'a Life] {
        &self.unplaced
    }

    /// Whether an autoscaler has said anything about any pod.
    pub fn has_autoscaler(&self) -> bool {
        self.said(STARTS) || self.said(REFUSES)
    }

    /// Whether an autoscaler has ever begun to start a node.
    pub fn starts_nodes(&self) -> bool {
        self.said(STARTS)
    }

    fn said(&self, reason: &str) -> bool {
        self.words.values().flatten().any(|event| event.text("/reason") == reason)
    }

    /// Nothing for a pod that a node took at once.
    pub fn placement(&self, pod: &'a Life) -> Option<Placement<'a>> {
        let newest = |reason: &str| {
            let key = (pod.text("/metadata/namespace"), pod.name());
            let about = self.words.get(&key).into_iter().flatten().copied();
            about
                .filter(|event| event.text("/reason") == reason && concerns(event, pod))
                .max_by_key(|event| said_at(event))
        };
        let (refused, starts, refuses) = (newest(FAILED), newest(STARTS), newest(REFUSES));
        let unschedulable = before_its_node(pod).rev().find_map(unschedulable);
        let refusal = unschedulable.or_else(|| refused.map(event_text)).or_else(|| starts.map(|_| ""))?;
        let autoscaler = match (starts, refuses) {
            (Some(starts), Some(refuses)) if said_at(refuses) > said_at(starts) => Some(Autoscaler::Refuses(refuses)),
            (Some(starts), _) => Some(Autoscaler::Starts(starts)),
            (None, refuses) => refuses.map(Autoscaler::Refuses),
        };
        Some(Placement {
            pod,
            since: pod.time("/metadata/creationTimestamp").unwrap_or_else(|| pod.first_seen()),
            refusal,
            refused,
            autoscaler,
            scheduled_at: turned_true(pod, "PodScheduled"),
            ready_at: ready_at(pod),
        })
    }

    /// The node that took the pod, if it registered only after the pod had begun to wait.
    pub fn late_node(&self, placement: &Placement<'a>) -> Option<(&'a Life, Timestamp)> {
        let name = placement.pod.text("/spec/nodeName");
        let node = self.evidence.ever("Node").filter(|node| node.name() == name).last()?;
        let registered = node.time("/metadata/creationTimestamp").unwrap_or_else(|| node.first_seen());
        (registered >= placement.since).then_some((node, registered))
    }
}

impl<'a> Placement<'a> {
    /// The event with which an autoscaler said that it starts a node, if it has not taken that back.
    pub fn scale_up(&self) -> Option<&'a Life> {
        match self.autoscaler {
            Some(Autoscaler::Starts(event)) => Some(event),
            _ => None,
        }
    }

    /// Whether a node had not taken it at a moment.
    pub fn unplaced_at(&self, moment: Timestamp) -> bool {
        self.scheduled_at.is_none_or(|scheduled| scheduled > moment)
    }
}

/// How a pod looked before it had a node.
fn before_its_node(pod: &Life) -> impl DoubleEndedIterator<Item = &Value> {
    let placed = |object: &Value| object.pointer("/spec/nodeName").is_some();
    let until = pod
        .versions
        .iter()
        .position(|version| placed(&version.object))
        .unwrap_or(pod.versions.len());
    pod.versions[..until].iter().map(|version| version.object.as_ref())
}

/// The scheduler's words in a pod's condition.
fn unschedulable(pod: &Value) -> Option<&str> {
    let conditions = pod.pointer("/status/conditions").and_then(Value::as_array)?;
    let text = |condition: &'_ Value, key: &str, value: &str| condition.get(key).and_then(Value::as_str) == Some(value);
    let found = conditions.iter().find(|condition| {
        text(condition, "type", "PodScheduled") && text(condition, "status", "False") && text(condition, "reason", "Unschedulable")
    })?;
    Some(found.get("message").and_then(Value::as_str).unwrap_or_default())
}

/// Since when a pod was ready for the first time.
pub fn ready_at(pod: &Life) -> Option<Timestamp> {
    turned_true(pod, "Ready")
}

/// When a condition of a pod was true for the first time: as it was received, or as the API says where that was not seen.
fn turned_true(pod: &Life, condition: &str) -> Option<Timestamp> {
    let of = |object: &Value| {
        let conditions = object.pointer("/status/conditions").and_then(Value::as_array)?;
        let found = conditions
            .iter()
            .find(|found| found.get("type").and_then(Value::as_str) == Some(condition))?;
        let is_true = found.get("status").and_then(Value::as_str) == Some("True");
        is_true.then(|| found.get("lastTransitionTime").and_then(Value::as_str).and_then(moment::parse))
    };
    let (index, stated) = pod
        .versions
        .iter()
        .enumerate()
        .find_map(|(index, version)| Some((index, of(&version.object)?)))?;
    let received = pod.versions[index].at;
    // The API's times are whole seconds, so the receipt is nearer; a list or a gap brings old news.
    const NEWS: SignedDuration = SignedDuration::from_secs(3);
    let stated = stated.unwrap_or(received);
    Some(if index > 0 && received.duration_since(stated) < NEWS {
        received
    } else {
        stated
    })
}

/// When an event was said last: in the API's time, and in the order of receipt within a second of it.
fn said_at(event: &Life) -> (Timestamp, Timestamp) {
    let received = event.versions.last().map_or(event.first_seen(), |version| version.at);
    let pointers = ["/series/lastObservedTime", "/lastTimestamp", "/eventTime", "/firstTimestamp"];
    let stated = pointers.iter().find_map(|pointer| event.time(pointer)).unwrap_or(received);
    let second = Timestamp::from_second(stated.as_second()).unwrap_or(stated);
    (second, received)
}

/// Why a node does not take a pod, in the scheduler's or the autoscaler's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Objection {
    /// The pod selects other nodes.
    Selector,
    /// The pod does not tolerate the node's taint; key and value, where the words tell them.
    Taint(Option<(String, String)>),
    /// Anything else: what it has is used up, a volume is elsewhere, …
    Other(String),
}

static TAINT: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"taint(?:\(s\)|s)?(?: \{([^:}]*):? ?([^}]*)\})?").ok());
static SELECTOR: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"didn't match (?:Pod's )?node (?:affinity|selector)").ok());

/// The objections in `0/3 nodes are available: 2 node(s) didn't match Pod's node affinity/selector, 1 Insufficient cpu. preemption: …`
/// and in `pod didn't trigger scale-up: 1 max node group size reached`.
pub fn objections(message: &str) -> Vec<Objection> {
    let told = message.split(" preemption:").next().unwrap_or_default();
    // Schedulers before 1.22 say the second half of it behind a comma.
    let told = told.replace(", that the pod didn't tolerate", "");
    let Some((_, list)) = told.split_once(": ") else {
        return Vec::new();
    };
    list.split(", ")
        .map(|item| {
            item.trim()
                .trim_end_matches('.')
                .trim_start_matches(|c: char| c.is_ascii_digit() || c == ' ')
        })
        .filter(|item| !item.is_empty())
        .map(|item| {
            if SELECTOR.as_ref().is_some_and(|selector| selector.is_match(item)) {
                return Objection::Selector;
            }
            // A node that is cordoned has a taint of its own for that.
            if item.contains("were unschedulable") {
                return Objection::Taint(Some(("node.kubernetes.io/unschedulable".to_owned(), String::new())));
            }
            match TAINT.as_ref().and_then(|taint| taint.captures(item)) {
                Some(found) => {
                    let group = |index: usize| found.get(index).map(|group| group.as_str().trim().to_owned());
                    Objection::Taint(group(1).map(|key| (key, group(2).unwrap_or_default())))
                }
                None => Objection::Other(item.to_owned()),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_schedulers_say() {
        use Objection::{Other, Selector, Taint};
        let taint = |key: &str, value: &str| Taint(Some((key.to_owned(), value.to_owned())));
        assert_eq!(
            objections(
                "0/4 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint {node-role.kubernetes.io/control-plane: }, \
                 2 node(s) didn't match Pod's node affinity/selector. preemption: 0/4 nodes are available: 4 Preemption is not helpful."
            ),
            [
                Other("Insufficient cpu".to_owned()),
                taint("node-role.kubernetes.io/control-plane", ""),
                Selector
            ]
        );
        assert_eq!(
            objections(
                "0/2 nodes are available: 1 node(s) didn't match node selector, 1 node(s) had taint {team: red}, that the pod didn't tolerate."
            ),
            [Selector, taint("team", "red")]
        );
        assert_eq!(
            objections("0/1 nodes are available: 1 node(s) had untolerated taint(s)."),
            [Taint(None)]
        );
        assert_eq!(
            objections("0/1 nodes are available: 1 node(s) didn't match pod anti-affinity rules."),
            [Other("node(s) didn't match pod anti-affinity rules".to_owned())]
        );
    }

    #[test]
    fn reads_what_autoscalers_say() {
        assert_eq!(
            objections("pod didn't trigger scale-up: 2 node(s) didn't match Pod's node affinity/selector, 1 max node group size reached"),
            [Objection::Selector, Objection::Other("max node group size reached".to_owned())]
        );
        assert_eq!(
            objections("pod didn't trigger scale-up (it wouldn't fit if a new node is added): 1 node(s) didn't match node selector"),
            [Objection::Selector]
        );
        assert_eq!(objections("pod didn't trigger scale-up: "), []);
    }
}
