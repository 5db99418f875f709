//! A Job that asks for a server whose pod has no node yet.

use jiff::{SignedDuration, Timestamp};

use super::attempt::duration;
use super::hooks::Task;
use super::progress::{JobState, event_text};
use super::scheduling::{Placement, Scheduling, ready_at};
use super::services::is_behind;
use super::targets::{Target, targets};
use super::waits::{Ending, Wait};
use super::{Citation, cite};
use crate::evidence::{Evidence, Life};

/// A container of a Job, the Service that it asks, and the pod behind that which no node took at first.
#[derive(Debug)]
pub struct HeldUp<'a> {
    pub wait: Wait<'a>,
    pub target: Target<'a>,
    pub placement: Placement<'a>,
}

impl HeldUp<'_> {
    /// The moment that counts: now while it waits, its last try once it has given up.
    pub fn moment(&self, now: Timestamp) -> Timestamp {
        moment(&self.wait, now)
    }

    /// What can be seen of the server's start: the scheduler's and the autoscaler's words, and when it was ready.
    pub fn citations(&self, evidence: &Evidence) -> Vec<Citation> {
        let placement = &self.placement;
        let pod = placement.pod.reference();
        let mut citations = vec![cite::refusal(placement)];
        if let Some(event) = placement.scale_up() {
            let text = format!("event TriggeredScaleUp: {}", event_text(event));
            citations.push(cite::observed(&pod, text, Some(event.first_seen())));
        }
        citations.push(match placement.ready_at {
            Some(ready) => {
                let text = format!(
                    "condition Ready: True, {} after its creation",
                    duration(ready.duration_since(placement.since))
                );
                cite::observed(&pod, text, Some(ready))
            }
            None => {
                let text = format!("still not Ready {} after its creation", duration(evidence.since(placement.since)));
                cite::observed(&pod, text, Some(evidence.now))
            }
        });
        citations
    }

    /// What the loop would have needed so far, or would have needed: from its own beginning, or the pod's if that is earlier, until the
    /// pod was ready. The second says whether that was seen.
    pub fn need(&self, task: &Task<'_>, now: Timestamp) -> (SignedDuration, bool) {
        let loops = task.pods.first().map_or(self.wait.began, |pod| created(pod).min(self.wait.began));
        let from = self.placement.since.min(loops);
        match self.placement.ready_at {
            Some(ready) => (ready.duration_since(from), true),
            None => (now.duration_since(from), false),
        }
    }
}

fn moment(wait: &Wait<'_>, now: Timestamp) -> Timestamp {
    match wait.ending {
        Ending::Waits => now,
        Ending::GaveUp { .. } => wait.last_try,
        Ending::CutOff { at } => at,
    }
}

/// What keeps a Job waiting, if it is a pod that no node took at first: now while it waits, else at its end. A Job that ended for
/// anything else than its wait is not kept by it.
pub fn held_up<'a>(evidence: &'a Evidence, scheduling: &Scheduling<'a>, task: &Task<'a>) -> Option<HeldUp<'a>> {
    if scheduling.unplaced().is_empty() || matches!(task.state(), JobState::Complete { .. }) {
        return None;
    }
    targets(evidence, task).into_iter().find_map(|target| {
        // Most Services have none of these pods, and all others would have to be asked.
        if !scheduling.unplaced().iter().any(|pod| is_behind(target.service, pod)) {
            return None;
        }
        let wait = Wait::of(evidence, task, &target.container, &target.host)?;
        if matches!(wait.ending, Ending::GaveUp { .. }) && !wait.is_spent() {
            return None;
        }
        let moment = moment(&wait, evidence.now);
        let there = |pod: &&Life| created(pod) <= moment && pod.deleted_at.is_none_or(|gone| gone > moment);
        let pods: Vec<&Life> = target.pods(evidence).filter(there).collect();
        if pods.iter().any(|pod| ready_at(pod).is_some_and(|ready| ready <= moment)) {
            return None;
        }
        let placement = pods
            .into_iter()
            .filter_map(|pod| scheduling.placement(pod))
            .filter(|placement| in_time(&wait, placement))
            .min_by_key(|placement| placement.since)?;
        Some(HeldUp { wait, target, placement })
    })
}

/// The same for a server whose node an autoscaler has begun to start: it is late, and comes.
pub fn cold_start<'a>(evidence: &'a Evidence, scheduling: &Scheduling<'a>, task: &Task<'a>) -> Option<HeldUp<'a>> {
    if !scheduling.starts_nodes() {
        return None;
    }
    held_up(evidence, scheduling, task).filter(|held| held.placement.scale_up().is_some())
}

fn created(pod: &Life) -> Timestamp {
    pod.time("/metadata/creationTimestamp").unwrap_or_else(|| pod.first_seen())
}

/// Whether the pod was not ready until the container's end, or so shortly before it that the loop did not ask again.
fn in_time(wait: &Wait<'_>, placement: &Placement<'_>) -> bool {
    const LEAST: SignedDuration = SignedDuration::from_secs(2);
    let Ending::GaveUp { at, .. } = wait.ending else { return true };
    let pause = wait.interval().unwrap_or_default().max(LEAST);
    placement
        .ready_at
        .is_none_or(|ready| ready > at || !wait.gone_on && at.duration_since(ready) <= pause)
}
