//! # What it detects
//!
//! A hook that waits for a server in a loop of its own, and gives up before the server's pod can be there: that pod waits for a node which
//! an autoscaler has only begun to start.
//!
//! # Why it happens
//!
//! The loop was sized on a cluster whose nodes were all up. With a pool that starts at nothing, the first pod waits for a machine, its
//! system and its images; that takes minutes, and the loop has ended by then. The hook exits with an error, its Job may not try again,
//! and the engine reports a failed hook.
//!
//! # Evidence
//!
//! The event `FailedScheduling` or the condition `PodScheduled` of the pod behind the Service that the hook asks; `TriggeredScaleUp` of
//! the autoscaler; when its node registered and when it was ready, or that it still is not; the loop's budget as its script says it, what
//! it counted, and its exit. As long as the hook runs, or its Job may try again, this is suspected; it is certain once the Job has failed
//! because its loop ended, at whose last try the pod had no node. A hook that is ended from outside before its loop ends is
//! `hook-timeout-too-short`; a pod that nobody starts a node for is not on its way.
//!
//! # Remedy
//!
//! `raise-hook-budget`: above the cold start, half as much again as was measured, or twice what had passed where its end was not seen;
//! and below what the engine and the Job give the hook. Where that is too little itself, it says what it should be.

use jiff::SignedDuration;

use crate::diagnosis::attempt::{Attempt, attempt, duration, engine_gave_up};
use crate::diagnosis::cite;
use crate::diagnosis::held_up::{HeldUp, cold_start};
use crate::diagnosis::hooks::{Task, tasks};
use crate::diagnosis::logs::quoted;
use crate::diagnosis::progress::{JobState, controller};
use crate::diagnosis::scheduling::Scheduling;
use crate::diagnosis::waits::Ending;
use crate::diagnosis::{Certainty, Citation, Class, Detector, Finding};
use crate::evidence::{Evidence, moment};
use crate::remedy::Remedy;

pub const DETECTOR: Detector = Detector {
    slug: "hook-budget-below-cold-start",
    summary: "a hook's own loop gives up before an autoscaler's node is there for the server that it waits for",
    class: Class::Limit,
    remedies: &["raise-hook-budget"],
    detect,
};

fn detect(evidence: &Evidence) -> Vec<Finding> {
    let scheduling = Scheduling::of(evidence);
    if !scheduling.starts_nodes() {
        return Vec::new();
    }
    let attempt = attempt(evidence);
    let tasks = tasks(evidence);
    let held = tasks
        .iter()
        .filter_map(|task| Some((task, cold_start(evidence, &scheduling, task)?)));
    held.filter_map(|(task, held)| {
        let (certainty, why) = certainty(evidence, task, &held)?;
        let pod = held.placement.pod;
        let mut explains = task.explains();
        explains.extend([pod.reference(), controller(evidence, pod)]);
        Some(Finding {
            slug: DETECTOR.slug,
            subject: task.reference.clone(),
            statement: statement(evidence, &scheduling, task, &held),
            certainty,
            why,
            since: task.created().min(held.placement.since),
            citations: citations(evidence, &scheduling, task, &held),
            explains,
            blames: Vec::new(),
            remedy: Some(remedy(evidence, task, &held, attempt.as_ref())),
            alternatives: Vec::new(),
        })
    })
    .collect()
}

/// Nothing where the loop has no end of its own, or did not come to it.
fn certainty(evidence: &Evidence, task: &Task<'_>, held: &HeldUp<'_>) -> Option<(Certainty, String)> {
    let pod = held.placement.pod.name();
    let suspected = |why: String| Some((Certainty::Suspected, why));
    match held.wait.ending {
        Ending::Waits if held.wait.is_bounded() => suspected(format!("its loop has not ended, and pod {pod} may come up in time")),
        Ending::Waits | Ending::CutOff { .. } => None,
        Ending::GaveUp { .. } => {
            let taken_away = engine_gave_up(evidence) && !task.latest.exists();
            if !matches!(task.state(), JobState::Failed { .. }) && !taken_away {
                return suspected("its Job may still try again".to_owned());
            }
            if !held.placement.unplaced_at(held.moment(evidence.now)) && held.placement.ready_at.is_none() {
                return suspected(format!(
                    "pod {pod} had a node by then, and it is not known yet whether it gets ready"
                ));
            }
            let why = format!("its loop ended without success, and pod {pod} was still waiting for its node at the last try");
            Some((Certainty::Certain, why))
        }
    }
}

fn statement(evidence: &Evidence, scheduling: &Scheduling<'_>, task: &Task<'_>, held: &HeldUp<'_>) -> String {
    let (placement, title) = (&held.placement, task.title());
    let pod = placement.pod.name();
    let waits = match held.wait.ending {
        Ending::Waits => match held.wait.budget() {
            Some(budget) => format!("{title} gives up after {budget}"),
            None => format!("{title} gives up by itself"),
        },
        _ => format!("{title} gave up after {}", duration(held.wait.waited(evidence.now))),
    };
    let node = scheduling.late_node(placement).map(|(node, registered)| {
        let after = duration(registered.duration_since(placement.since));
        format!("node {} registered only {after} after it was created", node.name())
    });
    match placement.ready_at {
        Some(ready) => {
            let cold_start = duration(ready.duration_since(placement.since));
            let node = node.unwrap_or_else(|| "its node had to be started first".to_owned());
            format!("{waits}, and pod {pod} was ready after {cold_start}: {node}")
        }
        None => {
            let passed = duration(evidence.since(placement.since));
            let node = node.unwrap_or_else(|| "the node that an autoscaler starts for it was not there".to_owned());
            format!("{waits}, and pod {pod} was still not ready after {passed}: {node}")
        }
    }
}

/// The strongest first: the loop's budget, then the server's start, then the details of both.
fn citations(evidence: &Evidence, scheduling: &Scheduling<'_>, task: &Task<'_>, held: &HeldUp<'_>) -> Vec<Citation> {
    let (wait, placement) = (&held.wait, &held.placement);
    let asks = wait.pod.reference();
    let mut citations = Vec::new();
    if let Some((budget, patience)) = wait.budget().zip(wait.patience.as_ref()) {
        citations.push(cite::declared(&task.reference, format!("loop in {}: {budget}", patience.origin)));
    }
    let printed = wait.repeated.as_ref().map(|repeated| {
        let text = format!("{} {} times", quoted(&repeated.text), repeated.times);
        cite::observed(&asks, text, Some(repeated.since))
    });
    // Where the script cannot be read, what it prints tells its budget.
    let first = if citations.is_empty() { 0 } else { usize::MAX };
    citations.extend(held.citations(evidence));
    if let Some(printed) = printed {
        citations.insert(first.min(citations.len()), printed);
    }
    if let Ending::GaveUp { code, at } = wait.ending {
        let after = duration(wait.waited(evidence.now));
        let text = format!("container {} terminated: exit code {code}, after {after}", wait.container);
        citations.push(cite::observed(&asks, text, Some(at)));
    }
    if let Some((node, registered)) = scheduling.late_node(placement) {
        let after = duration(registered.duration_since(placement.since));
        let text = format!("registered {after} after pod {} was created", placement.pod.name());
        citations.push(cite::observed(&node.reference(), text, Some(registered)));
    }
    let service = held.target.service.reference();
    match &held.target.declared {
        Some(declared) => {
            let text = format!("{}: {}, which is {service}", declared.origin, declared.address);
            citations.push(cite::declared(&task.reference, text));
        }
        None => citations.push(cite::inferred(
            &task.reference,
            format!("it asks {}, which is {service}", held.target.host),
        )),
    }
    citations.push(cite::hook(task));
    citations
}

/// Whole seconds, rounded up, of so many halves of a duration.
fn halves(of: SignedDuration, halves: u128) -> u128 {
    (of.as_millis().unsigned_abs() * halves).div_ceil(2000)
}

/// What ends the hook from outside: the engine's timeout, and the Job's own deadline.
fn limits(task: &Task<'_>, attempt: Option<&Attempt<'_>>) -> Vec<(&'static str, SignedDuration)> {
    let waited_for = attempt.filter(|attempt| task.event.is_some() || attempt.wait_for_jobs);
    let engines = waited_for
        .and_then(|attempt| attempt.timeout)
        .map(|timeout| ("the engine's timeout", timeout));
    let own = task.latest.number("/spec/activeDeadlineSeconds");
    let own = own.map(|seconds| ("activeDeadlineSeconds", moment::seconds(seconds)));
    engines.into_iter().chain(own).collect()
}

fn remedy(evidence: &Evidence, task: &Task<'_>, held: &HeldUp<'_>, attempt: Option<&Attempt<'_>>) -> Remedy {
    let (need, measured) = held.need(task, evidence.now);
    // Half as much again: the next cold start is not as long as this one. Unmeasured, only a lower bound is known.
    let at_least = halves(need, if measured { 3 } else { 4 }).max(1);
    let need = halves(need, 2);
    let figure = match measured {
        true => format!("half as much again as the {need}s that it took"),
        false => format!("twice the {need}s that had passed, because its end was not seen"),
    };
    let job = &task.reference;
    let mut sentence = format!("let the loop of {} {} wait for at least {at_least}s, {figure}", job.kind, job.name);
    let mut remedy = Remedy::new("raise-hook-budget", "").with("job", &job.name);
    // Nobody is to apply a number that may be too small: it is told to people, and a parameter only once it was measured.
    if measured {
        remedy = remedy.with("at_least", format!("{at_least}s"));
    }
    let limits = limits(task, attempt);
    if let Some((_, below)) = limits.iter().min_by_key(|(_, limit)| *limit) {
        let below = below.as_millis().unsigned_abs() / 1000;
        sentence.push_str(&format!(", and for less than the {below}s that it gets"));
        remedy = remedy.with("below", format!("{below}s"));
    }
    // A pod has to start before its loop does, and the last try has to end: a tenth more is the least that leaves room for that.
    let too_short = |limit: SignedDuration| limit.as_millis().unsigned_abs() / 1000 * 10 <= at_least * 11;
    let timeout = (at_least * 5).div_ceil(4);
    let short: Vec<&str> = limits
        .iter()
        .filter(|(_, limit)| too_short(*limit))
        .map(|(name, _)| *name)
        .collect();
    if !short.is_empty() {
        sentence.push_str(&format!(
            "; that is too little itself: raise {} to at least {timeout}s",
            short.join(" and ")
        ));
        remedy = remedy.with("timeout_at_least", format!("{timeout}s"));
    }
    let interval = held
        .wait
        .interval()
        .map(|interval| interval.as_millis().unsigned_abs())
        .filter(|interval| *interval > 0);
    if let Some(interval) = interval {
        remedy = remedy.with("interval", format!("{}s", interval.div_ceil(1000)));
        if measured {
            remedy = remedy.with("iterations", (at_least * 1000).div_ceil(interval).to_string());
        }
    }
    remedy.sentence = sentence;
    remedy
}

#[cfg(test)]
mod tests;
