//! Builds citations.

use jiff::Timestamp;

use super::finding::Citation;
use super::hooks::Task;
use super::logs::quoted;
use super::progress::event_text;
use super::scheduling::Placement;
use crate::evidence::{Basis, ObjectRef, PrintedLine};

/// Something that was seen.
pub fn observed(object: &ObjectRef, text: impl Into<String>, at: Option<Timestamp>) -> Citation {
    of(Basis::Observed, object, text, at)
}

/// Something that a specification says.
pub fn declared(object: &ObjectRef, text: impl Into<String>) -> Citation {
    of(Basis::Declared, object, text, None)
}

/// Which hook a task is, or that it is none.
pub fn hook(task: &Task<'_>) -> Citation {
    match task.latest.annotation("helm.sh/hook") {
        Some(event) => declared(&task.reference, format!("metadata.annotations[helm.sh/hook]: {event}")),
        None => declared(&task.reference, format!("kind: {}", task.reference.kind)),
    }
}

/// Why the scheduler has no node for a pod.
pub fn refusal(placement: &Placement<'_>) -> Citation {
    let pod = placement.pod.reference();
    match placement.refused {
        Some(event) => observed(
            &pod,
            format!("event FailedScheduling: {}", event_text(event)),
            Some(event.first_seen()),
        ),
        None => {
            let text = format!("condition PodScheduled: False, Unschedulable: {}", placement.refusal);
            observed(&pod, text, Some(placement.since))
        }
    }
}

/// Something that follows.
pub fn inferred(object: &ObjectRef, text: impl Into<String>) -> Citation {
    of(Basis::Inferred, object, text, None)
}

/// A printed line.
pub fn printed(pod: &ObjectRef, line: &PrintedLine) -> Citation {
    observed(pod, quoted(&line.line.text), Some(line.line.stamp))
}

fn of(basis: Basis, object: &ObjectRef, text: impl Into<String>, at: Option<Timestamp>) -> Citation {
    Citation {
        basis,
        object: object.clone(),
        text: text.into(),
        at,
    }
}
