//! # What it detects
//!
//! A hook that would have succeeded, and needs longer than it gets: longer than the engine's timeout, or than its own
//! `activeDeadlineSeconds`.
//!
//! # Why it happens
//!
//! Engines give the whole `timeout` to every single hook. A migration that grows, a cold cache or a slow server need more than that one
//! day, and the engine's words are the same as for a hook that never ends.
//!
//! # Evidence
//!
//! That the hook's Job completed after the engine had given up; or that it failed with `DeadlineExceeded`, or was taken away, while its
//! lines still advanced or an autoscaler was starting the node of the server that it asks. As long as it runs this is never certain; a
//! line that is only repeated is no advance. A loop that ends by itself is another failure (`hook-budget-below-cold-start`).
//!
//! # Remedy
//!
//! `raise-timeout` or `raise-active-deadline`: to at least one and a half times of what it needs.

use jiff::{SignedDuration, Timestamp};

use crate::diagnosis::attempt::{Attempt, State, attempt, duration};
use crate::diagnosis::cite;
use crate::diagnosis::held_up::{HeldUp, cold_start};
use crate::diagnosis::hooks::{Task, seen_complete, tasks};
use crate::diagnosis::limit;
use crate::diagnosis::logs::{lines, no_progress};
use crate::diagnosis::progress::JobState;
use crate::diagnosis::scheduling::Scheduling;
use crate::diagnosis::waits::Ending;
use crate::diagnosis::{Certainty, Citation, Class, Detector, Finding};
use crate::evidence::{Evidence, Life, PrintedLine, moment};

pub const DETECTOR: Detector = Detector {
    slug: "hook-timeout-too-short",
    summary: "a hook would succeed but needs longer than it gets",
    class: Class::Limit,
    remedies: &["raise-active-deadline", "raise-timeout"],
    detect,
};

fn detect(evidence: &Evidence) -> Vec<Finding> {
    let attempt = attempt(evidence).filter(|attempt| attempt.state != State::Succeeded);
    let scheduling = Scheduling::of(evidence);
    tasks(evidence)
        .iter()
        .filter(|task| task.reference.kind == "Job")
        .filter_map(|task| {
            // A loop that ended by itself needed more than itself.
            let held = cold_start(evidence, &scheduling, task).filter(|held| !matches!(held.wait.ending, Ending::GaveUp { .. }));
            own_deadline(evidence, task, held.as_ref()).or_else(|| engines_timeout(evidence, task, attempt.as_ref()?, held.as_ref()))
        })
        .collect()
}

/// A limit, what was needed, and how that is known.
struct Case {
    certainty: Certainty,
    why: String,
    kind: &'static str,
    budget: SignedDuration,
    /// Known where it came to its end.
    need: Option<SignedDuration>,
    begun: Timestamp,
    citations: Vec<Citation>,
}

/// The hook against the engine's patience.
fn engines_timeout(evidence: &Evidence, task: &Task<'_>, attempt: &Attempt<'_>, held: Option<&HeldUp<'_>>) -> Option<Finding> {
    task.event.as_ref()?;
    let budget = attempt.timeout?;
    let begun = started(task);
    let case = match (task.state(), attempt.state, attempt.ended_at) {
        (JobState::Complete { at }, State::Failed, Some(gave_up)) => {
            // Times of the API are whole seconds; the receipt says which side of the engine's end this was on.
            let end = at.unwrap_or(gave_up).max(seen_complete(task.latest)?);
            if end <= gave_up || end.duration_since(begun) < budget {
                return None;
            }
            Case {
                certainty: Certainty::Certain,
                why: "it completed after the engine had given up".to_owned(),
                kind: "raise-timeout",
                budget,
                need: Some(end.duration_since(begun)),
                begun,
                citations: advancing(evidence, task)
                    .map(|(pod, line)| cite::printed(&pod.reference(), line))
                    .into_iter()
                    .chain([
                        cite::observed(
                            &task.reference,
                            format!("condition Complete after {}", duration(end.duration_since(begun))),
                            Some(end),
                        ),
                        cite::observed(
                            &attempt.subject(),
                            format!("the engine gave up after {}", duration(budget)),
                            Some(gave_up),
                        ),
                    ])
                    .collect(),
            }
        }
        (JobState::Running, state, _) => {
            let (mut citations, need) = on_its_way(evidence, task, held)?;
            citations.push(cite::declared(&attempt.subject(), format!("timeout: {}", duration(budget))));
            // Without its Job nothing will tell any more whether it would have come to its end; that its server came up late does.
            let cut_off = state == State::Failed && !task.latest.exists() && held.is_some();
            let (certainty, why) = match cut_off {
                true => (
                    Certainty::Certain,
                    "the engine took it away while it waited for a server that was on its way",
                ),
                false => (Certainty::Suspected, "it advances and has not come to its end"),
            };
            Case {
                certainty,
                why: why.to_owned(),
                kind: "raise-timeout",
                budget,
                need,
                begun,
                citations,
            }
        }
        _ => return None,
    };
    Some(finding(task, case))
}

/// The hook against its own deadline.
fn own_deadline(evidence: &Evidence, task: &Task<'_>, held: Option<&HeldUp<'_>>) -> Option<Finding> {
    let seconds = task.latest.number("/spec/activeDeadlineSeconds")?;
    let JobState::Failed { reason, at } = task.state() else {
        return None;
    };
    if reason != "DeadlineExceeded" {
        return None;
    }
    let (mut citations, need) = on_its_way(evidence, task, held)?;
    citations.insert(
        citations.len().min(1),
        cite::observed(&task.reference, "condition Failed: DeadlineExceeded", at),
    );
    citations.push(cite::declared(&task.reference, format!("spec.activeDeadlineSeconds: {seconds}")));
    Some(finding(
        task,
        Case {
            certainty: Certainty::Certain,
            why: match held {
                Some(_) => "its own deadline ended it while it waited for a server that was on its way".to_owned(),
                None => "it still advanced when its own deadline ended it".to_owned(),
            },
            kind: "raise-active-deadline",
            budget: moment::seconds(seconds),
            need,
            begun: started(task),
            citations,
        },
    ))
}

/// What shows that a hook would come to its end: its own lines, or that its server does; with the time that it needs for that, where
/// that was seen.
fn on_its_way(evidence: &Evidence, task: &Task<'_>, held: Option<&HeldUp<'_>>) -> Option<(Vec<Citation>, Option<SignedDuration>)> {
    if let Some(held) = held {
        let need = held.placement.ready_at.map(|ready| ready.duration_since(started(task)));
        return Some((held.citations(evidence), need));
    }
    let (pod, line) = advancing(evidence, task)?;
    Some((vec![cite::printed(&pod.reference(), line)], None))
}

fn started(task: &Task<'_>) -> Timestamp {
    task.latest.time("/status/startTime").unwrap_or_else(|| task.created())
}

/// The newest line of a Job that advances: most of its lines are neither complaints nor those of somebody who waits, and they differ.
/// Of a series ("tile 32/32 rendered") its newest says more than a closing word.
fn advancing<'a>(evidence: &'a Evidence, task: &Task<'a>) -> Option<(&'a Life, &'a PrintedLine)> {
    let pod = task.pods.last()?;
    let logs = evidence
        .logs_of(pod.uid())
        .map(|(container, _)| lines(evidence, pod.uid(), container));
    let line = logs
        .filter_map(|printed| {
            let recent = &printed[printed.len().saturating_sub(10)..];
            let steps: Vec<&PrintedLine> = recent.iter().filter(|line| !no_progress(line)).collect();
            let mut texts: Vec<&str> = steps.iter().map(|line| line.line.text.trim()).collect();
            texts.sort_unstable();
            texts.dedup();
            if texts.len() < 2 || steps.len() * 2 < recent.len() {
                return None;
            }
            let goes_on = |line: &&&PrintedLine| {
                let differs = |other: &&PrintedLine| other.shape == line.shape && other.line.text != line.line.text;
                steps.iter().any(differs)
            };
            steps.iter().rev().find(goes_on).or(steps.last()).copied()
        })
        .max_by_key(|line| line.line.stamp)?;
    Some((pod, line))
}

fn finding(task: &Task<'_>, case: Case) -> Finding {
    let takes = match case.need {
        Some(need) => format!("needs {}", duration(need)),
        None => format!("needs more than {}", duration(case.budget)),
    };
    let whose = if case.kind == "raise-timeout" { "gets" } else { "gives itself" };
    let what = if case.kind == "raise-timeout" {
        "the engine's timeout"
    } else {
        "activeDeadlineSeconds"
    };
    let remedy = limit::raise(case.kind, what, case.budget, case.need).with("job", &task.reference.name);
    Finding {
        slug: DETECTOR.slug,
        subject: task.reference.clone(),
        statement: format!("{} {takes} and {whose} {}", task.title(), duration(case.budget)),
        certainty: case.certainty,
        why: case.why,
        since: task.created().min(case.begun),
        citations: [case.citations, vec![cite::hook(task)]].concat(),
        explains: task.explains(),
        blames: Vec::new(),
        remedy: Some(remedy),
        alternatives: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::diagnosis::fixture::*;

    const SLUG: &str = "hook-timeout-too-short";

    fn begin(job: &Value) -> Scene {
        let mut scene = Scene::new();
        // The resources take their time first.
        scene.engine(8000, "watcher").later(7000).at(1000);
        let hook = scene.running_hook(job, "post-install");
        scene
            .record("pending-install", vec![hook], vec![])
            .object(job.clone())
            .at(1200)
            .object(pod_of(job, "x", running()));
        for step in 0..6 {
            scene
                .at(2000 + step * 1000)
                .log("reindex-x", "reindex", &format!("shard {step} indexed"));
        }
        scene
    }

    fn reindex() -> Value {
        hook_job("reindex", "post-install", json!({"image": "search:1"}))
    }

    #[test]
    fn a_hook_that_completes_after_the_engine_gave_up() {
        let mut scene = begin(&reindex());
        scene
            .at(9000)
            .engine_says("Error: failed post-install: timed out waiting for the condition")
            .engine_ends(1);
        scene.never_certain();
        assert_eq!(scene.diagnosis().suspected.len(), 1);
        scene
            .at(12_900)
            .log("reindex-x", "reindex", "done")
            .object(phase(pod_of(&reindex(), "x", terminated(0)), "Succeeded"));
        scene.at(13_000).object(with_condition(reindex(), "Complete", ""));
        scene.settles_on(&[(SLUG, "Job/reindex")]);
        let cause = &scene.diagnosis().causes[0];
        assert_eq!(cause.statement, "Job reindex (post-install hook) needs 12s and gets 8s");
        let remedy = cause.remedy.as_ref().expect("a remedy");
        assert_eq!(
            (remedy.kind.as_str(), remedy.parameters["at_least"].as_str()),
            ("raise-timeout", "18s")
        );
        let cited: Vec<_> = cause.citations.iter().map(|citation| citation.text.as_str()).collect();
        assert_eq!(
            cited,
            [
                "\"shard 5 indexed\"",
                "condition Complete after 12s",
                "the engine gave up after 8s",
                "metadata.annotations[helm.sh/hook]: post-install",
            ]
        );
    }

    #[test]
    fn a_hook_that_its_own_deadline_ends_while_it_advances() {
        let mut job = reindex();
        job["spec"]["activeDeadlineSeconds"] = json!(7);
        let mut scene = begin(&job);
        scene
            .at(8000)
            .object(with_condition(job, "Failed", "DeadlineExceeded"))
            .at(8100)
            .engine_ends(1);
        scene.settles_on(&[(SLUG, "Job/reindex")]);
        let remedy = scene.diagnosis().causes[0].remedy.clone().expect("a remedy");
        assert_eq!(
            (remedy.kind.as_str(), remedy.parameters["at_least"].as_str()),
            ("raise-active-deadline", "11s")
        );
    }

    #[test]
    fn one_that_ends_just_inside_is_silent() {
        let mut scene = begin(&reindex());
        scene
            .at(8500)
            .object(with_condition(reindex(), "Complete", ""))
            .at(8900)
            .engine_ends(0);
        scene.never_certain();
        assert_eq!(scene.diagnosis().suspected, []);
    }

    #[test]
    fn a_repeated_line_is_no_advance() {
        let mut scene = Scene::new();
        let job = reindex();
        scene
            .engine(8000, "hookOnly")
            .at(1000)
            .object(job.clone())
            .object(pod_of(&job, "x", running()));
        for turn in 0..9 {
            scene
                .at(1500 + turn * 800)
                .log("reindex-x", "reindex", &format!("attempt {turn}: waiting for the cluster"));
        }
        scene.at(9100).engine_says("timed out waiting for the condition").engine_ends(1);
        assert_eq!(scene.diagnosis().suspected, []);
        assert_eq!(scene.diagnosis().unexplained.len(), 2);
    }
}
