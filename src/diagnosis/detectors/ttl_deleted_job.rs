//! # What it detects
//!
//! A Job of the release that the TTL controller removes while the engine still waits for something else, so that the engine never finds
//! everything ready together.
//!
//! # Why it happens
//!
//! A Job with `ttlSecondsAfterFinished` is removed that long after its end. An engine that tracks it has to find it complete when the
//! rest of the release is ready, too. Helm 3 and the legacy wait of Helm 4 look at one resource after the other every 2 s and come to
//! Jobs after Deployments and StatefulSets; Helm 4's watcher sees the Job go and waits for it until its timeout.
//!
//! Linters ask for a TTL on every Job, tracked ones included, and a TTL is what has been added against `job-template-immutable`. The two
//! are each other's false friend: without a TTL an upgrade that changes the Job is refused, with one the engine may miss the Job. A hook
//! and a Job outside of the release are free of both.
//!
//! # Evidence
//!
//! The TTL, the Job's end, that it was removed when end + TTL had passed and not before, what the engine was still waiting for, and
//! its words where it has given up. A hook, a Job that was removed before it was time or without an end, and one that goes when the wait
//! is over are something else; so is a Job that had failed, which the TTL only hides.
//!
//! # Remedy
//!
//! `raise-ttl`, above what the engine's wait can last. Else `make-hook`, `drop-ttl` or `run-outside-release`.

mod left;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::diagnosis::attempt::{Attempt, State, attempt, duration};
use crate::diagnosis::cite;
use crate::diagnosis::logs::quoted;
use crate::diagnosis::progress::{containers, plain, pods_of, stuck};
use crate::diagnosis::rollout::{lacks_something, missed_jobs, not_ready_at, pods_at, readiness, wait_is_over};
use crate::diagnosis::{Certainty, Citation, Class, Detector, Finding};
use crate::evidence::manifest::text;
use crate::evidence::{Evidence, Life, ObjectRef, moment};
use crate::remedy::Remedy;

pub const DETECTOR: Detector = Detector {
    slug: "ttl-deleted-job",
    summary: "a tracked Job is removed by its TTL while the engine still waits for the release",
    class: Class::Specific,
    remedies: &["drop-ttl", "make-hook", "raise-ttl", "run-outside-release"],
    detect,
};

/// How long after its time the TTL controller may come to a Job on a busy cluster. It never comes before.
const LATE: SignedDuration = SignedDuration::from_secs(10);
/// How much later than the removal of a Job other changes of that moment may be received.
const RECEIPT: SignedDuration = SignedDuration::from_secs(1);
/// What engines give to a wait where nothing else is known: the default of Helm and Flux.
const DEFAULT_TIMEOUT: SignedDuration = SignedDuration::from_mins(5);
/// What a TTL has to last beyond the wait: a Job may end while the rest of the release is still being applied.
const APPLYING: SignedDuration = SignedDuration::from_mins(1);

fn detect(evidence: &Evidence) -> Vec<Finding> {
    let Some(attempt) = attempt(evidence).filter(|attempt| attempt.state != State::Succeeded) else {
        return Vec::new();
    };
    // An engine writes its record before it ends, and may be busy with going back between the two.
    let missed = missed_jobs(&attempt);
    let seen = evidence
        .ever("Job")
        .filter_map(|job| Some((job, job.deleted_at.filter(|gone| *gone >= attempt.started_at)?)))
        .filter(|(job, _)| tracked(&attempt, job))
        .filter_map(|(job, gone)| of_job(evidence, &attempt, &missed, job, gone));
    seen.chain(left::findings(evidence, &attempt, &missed)).collect()
}

/// Whether a Job is part of what the engine installs, and not one of its hooks.
fn tracked(attempt: &Attempt<'_>, job: &Life) -> bool {
    match attempt.record {
        Some(_) => tracked_in(attempt, job.text("/metadata/namespace"), job.name()).is_some(),
        // The record may be on its way still; Helm marks what it tracks, and does not mark its hooks.
        None => job.annotation("meta.helm.sh/release-name") == Some(&attempt.release),
    }
}

/// The Job's manifest in the record, where it is not a hook.
fn tracked_in<'a>(attempt: &Attempt<'a>, job_namespace: &str, name: &str) -> Option<&'a Value> {
    attempt.record?.manifest.iter().find(|manifest| {
        let namespace = Some(text(manifest, "/metadata/namespace")).filter(|namespace| !namespace.is_empty());
        text(manifest, "/kind") == "Job"
            && text(manifest, "/metadata/name") == name
            && namespace.unwrap_or(&attempt.namespace) == job_namespace
    })
}

fn of_job(evidence: &Evidence, attempt: &Attempt<'_>, missed: &[ObjectRef], job: &Life, gone: Timestamp) -> Option<Finding> {
    let reference = plain(&job.reference());
    let said = missed.iter().any(|missed| missed.same(&reference));
    let lives = evidence.ever_named("Job", job.text("/metadata/namespace"), job.name());
    let again = lives.last().is_some_and(|newest| newest.uid() != job.uid());
    if again && !said {
        return None;
    }
    let removal = Removal::of(evidence, job, gone)?;
    // A moment later, so that what got ready together with the removal has been received as well.
    let others: Vec<(ObjectRef, Life)> = not_ready_at(evidence, attempt, gone + RECEIPT)
        .into_iter()
        .filter(|(other, _)| !other.same(&reference))
        .collect();
    let settled = evidence.now >= gone + RECEIPT && !others.is_empty();
    let (certainty, why) = judge(evidence, attempt, job, said, settled)?;
    let blames = held_up(evidence, attempt, &reference);
    Some(finding(attempt, &reference, &removal, &others, certainty, why, blames))
}

/// How sure it is that the engine misses the Job, and why; nothing where it does not.
fn judge(evidence: &Evidence, attempt: &Attempt<'_>, job: &Life, said: bool, settled: bool) -> Option<(Certainty, &'static str)> {
    if said {
        return Some((Certainty::Certain, "the engine says that it did not find the Job"));
    }
    let over = attempt.record.is_some_and(|record| !record.status.starts_with("pending-"));
    if attempt.state == State::Failed || over || !attempt.misses_jobs() || wait_is_over(evidence, attempt) {
        return None;
    }
    Some(if attempt.engine.is_none() {
        (Certainty::Suspected, "not every engine misses a Job that is gone")
    } else if !applied(attempt, job) {
        (
            Certainty::Suspected,
            "the Job was there before, and the engine may come to it only now and make it again",
        )
    } else if !settled {
        (Certainty::Suspected, "the engine's wait may have been over by then")
    } else {
        (
            Certainty::Certain,
            "the engine has to find the Job complete once the rest is ready, and nothing makes it again",
        )
    })
}

/// Whether the engine had made or changed the Job in this attempt before it went.
fn applied(attempt: &Attempt<'_>, job: &Life) -> bool {
    let created = job.time("/metadata/creationTimestamp").unwrap_or_else(|| job.first_seen());
    // Times of the API are whole seconds.
    created + SignedDuration::from_secs(1) > attempt.started_at
        || job
            .versions
            .windows(2)
            .any(|pair| pair[1].at >= attempt.started_at && pair[0].object.get("spec") != pair[1].object.get("spec"))
}

/// What the engine still waits for, or gave up on, and that cannot get ready as it is: whatever holds it up is to blame for the wait,
/// too. An engine that came to ask for the Job had found everything before it ready.
fn held_up(evidence: &Evidence, attempt: &Attempt<'_>, job: &ObjectRef) -> Vec<ObjectRef> {
    let moment = attempt.ended_at.unwrap_or(evidence.now);
    if attempt.state == State::Failed && !attempt.says_time_ran_out() {
        return Vec::new();
    }
    not_ready_at(evidence, attempt, moment)
        .into_iter()
        .filter(|(other, _)| !other.same(job))
        .filter(|(_, life)| {
            pods_at(evidence, life, moment)
                .iter()
                .any(|pod| stuck(pod) || lacks_something(evidence, pod))
        })
        .map(|(other, _)| other)
        .collect()
}

/// The removal of a Job by the TTL controller.
struct Removal {
    ttl: i64,
    /// When its time had come.
    due: Timestamp,
    /// When it was asked to go.
    gone: Timestamp,
    end: Citation,
    ended_at: Timestamp,
    /// Whether somebody saw it go.
    seen: bool,
}

impl Removal {
    /// Nothing where it went for another reason, or had failed.
    fn of(evidence: &Evidence, job: &Life, gone: Timestamp) -> Option<Self> {
        let ttl = job.number("/spec/ttlSecondsAfterFinished")?;
        let (ended_at, end) = end(evidence, job)?;
        // A TTL that is given to a Job afterwards, as by an upgrade, counts from the Job's end as well.
        let set_at = job
            .versions
            .iter()
            .find(|version| {
                version
                    .object
                    .pointer("/spec/ttlSecondsAfterFinished")
                    .and_then(|found| found.as_i64())
                    == Some(ttl)
            })
            .filter(|version| version.at > job.first_seen())
            .map(|version| version.at - RECEIPT);
        let due = due(ended_at, ttl).max(set_at.unwrap_or(ended_at));
        // The controller deletes in the foreground: when it came is in the object, whatever took long afterwards.
        let asked = job.time("/metadata/deletionTimestamp").unwrap_or(gone);
        let unseen = evidence.gaps.iter().any(|(at, kind, _)| kind == "Job" && *at >= due && *at <= gone);
        (asked >= due && (asked <= due + LATE || unseen)).then_some(Self {
            ttl,
            due,
            gone: asked,
            end,
            ended_at,
            seen: true,
        })
    }
}

/// When a TTL has passed.
fn due(ended_at: Timestamp, ttl: i64) -> Timestamp {
    ended_at + moment::seconds(ttl)
}

/// When and where a Job was seen to have ended with success: in its condition, or else in as many pods as it needs.
fn end(evidence: &Evidence, job: &Life) -> Option<(Timestamp, Citation)> {
    let reference = plain(&job.reference());
    if job.condition("Failed") == "True" || job.condition("FailureTarget") == "True" {
        return None;
    }
    if job.condition("Complete") == "True" {
        let condition = job.condition_object("Complete")?;
        let since = moment::parse(text(condition, "/lastTransitionTime"));
        let at = since.or(job.time("/status/completionTime"))?;
        let citation = cite::observed(&reference, format!("condition Complete at {}", clock(at)), Some(at));
        return Some((at, citation));
    }
    let ended = |pod: &&Life| -> Option<Timestamp> {
        let times = containers(pod).map(|container| moment::parse(text(container.ended()?, "/finishedAt")));
        (pod.text("/status/phase") == "Succeeded").then_some(())?;
        times.collect::<Option<Vec<Timestamp>>>()?.into_iter().max()
    };
    let pods = pods_of(evidence, job);
    let mut ends: Vec<(Timestamp, &Life)> = pods.iter().filter_map(|pod| Some((ended(pod)?, *pod))).collect();
    ends.sort_by_key(|(at, _)| *at);
    let wanted = usize::try_from(job.number("/spec/completions").unwrap_or(1)).ok()?;
    let (at, pod) = *ends.get(wanted.max(1) - 1)?;
    let text = format!("status.phase: Succeeded, ended at {}", clock(at));
    Some((at, cite::observed(&pod.reference(), text, Some(at))))
}

/// `03:04:05Z`
fn clock(at: Timestamp) -> String {
    at.strftime("%H:%M:%SZ").to_string()
}

fn finding(
    attempt: &Attempt<'_>,
    job: &ObjectRef,
    removal: &Removal,
    others: &[(ObjectRef, Life)],
    certainty: Certainty,
    why: &str,
    blames: Vec<ObjectRef>,
) -> Finding {
    let (name, ttl, operation) = (&job.name, removal.ttl, &attempt.operation);
    let waited = match others {
        [] => String::new(),
        [(one, _)] => format!(" for {} {}", one.kind, one.name),
        [(one, _), rest @ ..] => format!(" for {} {} and {} more", one.kind, one.name, rest.len()),
    };
    Finding {
        slug: DETECTOR.slug,
        subject: job.clone(),
        statement: format!("Job {name} was removed by its TTL of {ttl}s while the {operation} still waited{waited}"),
        certainty,
        why: why.to_owned(),
        since: removal.gone,
        citations: citations(attempt, job, removal, others),
        explains: vec![job.clone()],
        blames,
        remedy: Some(raise_ttl(attempt, name)),
        alternatives: vec![
            Remedy::new(
                "make-hook",
                format!("make Job {name} a hook, which engines do not look for again once it has completed"),
            )
            .with("job", name),
            Remedy::new(
                "drop-ttl",
                format!("give Job {name} no TTL at all; an upgrade that changes it is refused then (job-template-immutable)"),
            )
            .with("job", name),
            Remedy::new("run-outside-release", format!("run Job {name} outside of the release")).with("job", name),
        ],
    }
}

fn citations(attempt: &Attempt<'_>, job: &ObjectRef, removal: &Removal, others: &[(ObjectRef, Life)]) -> Vec<Citation> {
    let ttl = removal.ttl;
    let mut citations = vec![
        cite::declared(job, format!("spec.ttlSecondsAfterFinished: {ttl}")),
        removal.end.clone(),
        Citation {
            at: Some(removal.gone),
            ..cite::inferred(
                job,
                match removal.seen {
                    true => format!(
                        "deleted at {}, when end + TTL had come: {} + {ttl}s = {}",
                        clock(removal.gone),
                        clock(removal.ended_at),
                        clock(removal.due)
                    ),
                    false => format!("it is not there any more, and nobody saw it go; its TTL is {ttl}s"),
                },
            )
        },
    ];
    citations.extend(
        others
            .iter()
            .take(3)
            .map(|(other, life)| cite::observed(other, readiness(life), life.versions.last().map(|version| version.at))),
    );
    let words = attempt.words();
    let line = words
        .lines()
        .find(|line| line.contains(&job.name) && (line.contains("not found") || line.contains("NotFound")));
    citations.extend(line.map(|line| cite::observed(&attempt.subject(), quoted(line), attempt.ended_at)));
    if let Some(engine) = attempt.engine {
        let jobs = if attempt.wait_for_jobs { " with Jobs" } else { "" };
        let told = format!("wait: {}{jobs}, timeout: {}", engine.start.wait, duration(engine.start.timeout()));
        citations.push(cite::declared(&attempt.subject(), told));
    }
    citations
}

fn raise_ttl(attempt: &Attempt<'_>, job: &str) -> Remedy {
    let timeout = attempt.timeout.unwrap_or(DEFAULT_TIMEOUT);
    let seconds = (timeout + APPLYING).as_millis().unsigned_abs().div_ceil(1000);
    Remedy::new(
        "raise-ttl",
        format!(
            "raise ttlSecondsAfterFinished of Job {job} to at least {seconds}, above the {} that the engine waits",
            duration(timeout)
        ),
    )
    .with("at_least", format!("{seconds}s"))
    .with("at_least_seconds", seconds.to_string())
    .with("job", job)
}

#[cfg(test)]
mod tests;
