//! What is to be seen of the release: what the engine waits for, or what it gave up on.

use jiff::SignedDuration;

use super::{Symptom, Symptoms, workloads};
use crate::diagnosis::attempt::{Attempt, State, attempt, duration, message, of_flux};
use crate::diagnosis::dependencies::{Standing, unmet, waits};
use crate::diagnosis::hooks::{Blocker, blockers, title};
use crate::diagnosis::logs::quoted;
use crate::diagnosis::progress::plain;
use crate::diagnosis::writers::conflict;
use crate::evidence::{Evidence, Life};

/// Adds the release, and below it everything that it waits for.
pub fn add(evidence: &Evidence, symptoms: &mut Symptoms) {
    let Some(attempt) = attempt(evidence) else { return };
    match attempt.flux().filter(|life| attempt.state != State::Succeeded && waits(life)) {
        Some(life) => add_waiting(evidence, symptoms, life, None, attempt.state == State::Failed),
        None => add_attempt(evidence, symptoms, &attempt, None),
    }
}

/// Adds an object of Flux's that waits for its dependencies, and below it what is to be seen of those.
fn add_waiting(evidence: &Evidence, symptoms: &mut Symptoms, life: &Life, parent: Option<usize>, settled: bool) {
    let unmet = unmet(evidence, life);
    let (kind, name, namespace) = (life.text("/kind"), life.name(), life.text("/metadata/namespace"));
    let titles: Vec<String> = unmet
        .iter()
        .map(|one| format!("{} {}", one.reference.kind, one.reference.name))
        .collect();
    let what = match titles.as_slice() {
        [] => format!("its dependencies: {}", quoted(message(life))),
        titles => titles.join(" and "),
    };
    let at = symptoms.push(Symptom {
        subject: plain(&life.reference()),
        about: unmet.iter().map(|one| one.reference.clone()).collect(),
        statement: format!("{kind} {namespace}/{name} does not begin, because it waits for {what}"),
        since: life.first_seen(),
        by: evidence.now,
        parent,
        settled,
    });
    for one in unmet {
        let Some(dependency) = one
            .life
            .filter(|_| matches!(one.standing, Standing::Waits | Standing::Failed | Standing::Progressing))
        else {
            continue;
        };
        // Those of a circle have been told of.
        if symptoms.all.iter().any(|symptom| symptom.subject.same(&one.reference)) {
            continue;
        }
        match one.standing {
            Standing::Waits => add_waiting(evidence, symptoms, dependency, Some(at), settled),
            _ => add_attempt(evidence, symptoms, &of_flux(evidence, dependency), Some(at)),
        }
    }
}

/// Adds an attempt, and below it everything that it waits for.
fn add_attempt(evidence: &Evidence, symptoms: &mut Symptoms, attempt: &Attempt<'_>, parent: Option<usize>) {
    if attempt.state == State::Succeeded {
        return;
    }
    let blockers = blockers(evidence, attempt);
    if attempt.state == State::Running && blockers.is_empty() {
        if let (None, Some(record)) = (attempt.engine, attempt.record)
            && attempt.flux().is_none()
        {
            symptoms.push(under_way(evidence, attempt, &record.status, parent));
        }
        return;
    }
    let settled = attempt.state == State::Failed;
    // It timed out when it did, not when it began; while it waits, it does so since it came to the first of these.
    let waits_since = blockers.iter().map(|blocker| blocker.since).min().unwrap_or(attempt.started_at);
    let since = attempt.ended_at.unwrap_or(waits_since);
    let by = attempt.ended_at.unwrap_or(evidence.now);
    let parent = match stalled(attempt) {
        None => parent,
        Some(statement) => Some(symptoms.push(Symptom {
            subject: attempt.subject(),
            about: Vec::new(),
            statement,
            since,
            by,
            parent,
            settled,
        })),
    };
    let release = symptoms.push(Symptom {
        subject: attempt.subject(),
        about: blockers.iter().map(|blocker| blocker.reference.clone()).collect(),
        statement: statement(evidence, attempt, &blockers),
        since,
        by,
        parent,
        settled,
    });
    for blocker in &blockers {
        workloads::add_below(evidence, symptoms, release, blocker, settled);
    }
}

/// What a record alone tells of an attempt that nobody has seen: that it has not ended.
fn under_way(evidence: &Evidence, attempt: &Attempt<'_>, status: &str, parent: Option<usize>) -> Symptom {
    let ago = evidence.now.duration_since(attempt.started_at);
    Symptom {
        subject: attempt.subject(),
        about: Vec::new(),
        statement: format!(
            "{} is {status}: its {} began {} ago and has not ended",
            attempt.release,
            attempt.operation,
            duration(ago)
        ),
        since: attempt.started_at,
        by: evidence.now,
        parent,
        settled: false,
    }
}

/// `HelmRelease openhands/openhands is stalled after 2 attempts`
fn stalled(attempt: &Attempt<'_>) -> Option<String> {
    let life = attempt.flux().filter(|life| life.condition("Stalled") == "True")?;
    let failures = life
        .number("/status/installFailures")
        .or(life.number("/status/upgradeFailures"))
        .or(life.number("/status/failures"))
        .filter(|failures| *failures > 0);
    let after = match failures {
        Some(1) => " after 1 attempt".to_owned(),
        Some(failures) => format!(" after {failures} attempts"),
        None => String::new(),
    };
    let namespace = life.text("/metadata/namespace");
    Some(format!("{} {namespace}/{} is stalled{after}", life.text("/kind"), life.name()))
}

/// What Helm adds in a line of its own to what it was refused.
const ADVICE: &str = "ensure CRDs are installed first";
/// How the lines begin that name the fields which somebody else owns, below the line that says so.
const OWNED: &str = "- .";

fn statement(evidence: &Evidence, attempt: &Attempt<'_>, blockers: &[Blocker]) -> String {
    let (release, operation) = (&attempt.release, &attempt.operation);
    let titles: Vec<String> = blockers
        .iter()
        .map(|blocker| title(&blocker.reference, blocker.event.as_deref()))
        .collect();
    let what = match titles.as_slice() {
        [] => String::new(),
        [one] => one.clone(),
        [some @ .., last] => format!("{} and {last}", some.join(", ")),
    };
    if attempt.state == State::Running {
        return format!("the {operation} of {release} is waiting for {what}");
    }
    let timed_out = attempt.timeout.filter(|timeout| {
        let tolerance = SignedDuration::from_secs(1);
        let words = attempt.words();
        blockers.iter().any(|blocker| {
            blocker
                .until
                .is_some_and(|until| until.duration_since(blocker.since) + tolerance >= *timeout)
        }) && !words.contains("BackoffLimitExceeded")
            || attempt.says_time_ran_out()
    });
    match (timed_out, what.as_str()) {
        (Some(timeout), "") => format!("{release}: its {operation} timed out after {}", duration(timeout)),
        (Some(timeout), what) => format!(
            "{release}: its {operation} timed out after {} waiting for {what}",
            duration(timeout)
        ),
        (None, what) => {
            let at = if what.is_empty() { String::new() } else { format!(" at {what}") };
            // Of what it waited for, the objects tell; of what it was refused or missed, only its words.
            let waited = !blockers.is_empty() && (attempt.ended_in_a_wait() || blockers.iter().any(|blocker| blocker.event.is_some()));
            let words = attempt.words();
            let tells = |line: &&str| !line.is_empty() && *line != ADVICE && !line.starts_with(OWNED);
            match words.lines().rev().map(str::trim).find(tells) {
                Some(line) if !waited => {
                    let owner = conflict(evidence, &words).map_or_else(String::new, |told| format!("; {told}"));
                    format!("{release}: its {operation} failed{at}: {}{owner}", quoted(line))
                }
                _ => format!("{release}: its {operation} failed{at}"),
            }
        }
    }
}
