//! What stands on the screen when a recording is replayed.

use jiff::{SignedDuration, Timestamp};

use super::chain::{self, Timing};
use super::text::{Paint, pad_left, tame, took, wrap};
use crate::diagnosis::Diagnosis;
use crate::diagnosis::moments::Moment;
use crate::evidence::{Fact, Recording};
use crate::replay::{Chosen, Drift, Prefix, Replay};

/// Where the recording comes from, which moment this is, and the diagnosis.
pub fn diagnosis(replay: &Replay<'_>, prefix: Prefix, columns: usize, paint: Paint) -> String {
    let recording = replay.recording;
    let mut text = origin(recording, columns, paint);
    let of = format!("{} of {} entries", prefix.entries, recording.entries.len());
    let moment = since_start(replay, prefix.at).unwrap_or_else(|| prefix.at.to_string());
    let which = match prefix.chosen {
        Chosen::Asked => "",
        Chosen::Concluded => ", when the run took its diagnosis",
        Chosen::Last => ", at its end",
    };
    text.push_str(&paint.dim(&format!("{moment}{which} ({of})")));
    text.push_str("\n\n");

    let diagnosis = replay.diagnosis(prefix.entries);
    let timing = timing(replay, prefix, &diagnosis);
    text.push_str(&chain::diagnosis(&diagnosis, timing, columns, paint));
    if diagnosis.causes.is_empty() {
        text.push_str("no cause is certain\n");
        if !diagnosis.suspected.is_empty() {
            text.push_str("\nsuspected:\n");
            text.push_str(&chain::causes(&diagnosis.suspected, timing, columns, paint));
        }
    }
    if prefix.chosen == Chosen::Concluded
        && let Some(drift) = replay.drift(&diagnosis)
    {
        let recorder = &recording.header().recorder;
        let words = match drift {
            Drift::Words => format!("the run itself, with {recorder}, named the same causes in other words"),
            Drift::Causes(causes) if causes.is_empty() => format!("the run itself, with {recorder}, found no cause"),
            Drift::Causes(causes) => format!("the run itself, with {recorder}, found {}", named(&causes)),
            Drift::Unreadable => format!("what the run itself, with {recorder}, said cannot be compared"),
        };
        text.push_str(&format!("\n{} {}\n", paint.yellow("note:"), tame(&words)));
    }
    text
}

/// `hook-target-unreachable::helm-4::broken, recorded at … by rekindle 0.1.0 on Kubernetes v1.34.4, helm-4 v4.3.1`
fn origin(recording: &Recording, columns: usize, paint: Paint) -> String {
    let (preamble, header) = (&recording.preamble, recording.header());
    let what = match &preamble.trial {
        Some(trial) => trial.to_string(),
        None => format!("namespace {}", header.namespace),
    };
    let engines: String = preamble
        .engines
        .iter()
        .map(|(engine, version)| format!(", {engine} {version}"))
        .collect();
    let at = preamble.recorded_at.strftime("%F %T UTC");
    let origin = tame(&format!(
        "{what}, recorded {at} by {} on Kubernetes {}{engines}",
        header.recorder, header.kubernetes_version
    ));
    wrap(&origin, columns).iter().map(|line| paint.bold(line) + "\n").collect()
}

fn since_start(replay: &Replay<'_>, at: Timestamp) -> Option<String> {
    let (start, engine) = replay.engine_started()?;
    let after = at.duration_since(start);
    Some(match after.is_negative() {
        true => format!("{} before {} began", offset(-after), engine.engine),
        false => format!("{} after {} began", offset(after), engine.engine),
    })
}

/// `8.2s`
fn offset(duration: SignedDuration) -> String {
    took(duration.unsigned_abs())
}

/// When the causes of this diagnosis were known, as the summary of a run tells it.
fn timing(replay: &Replay<'_>, prefix: Prefix, diagnosis: &Diagnosis) -> Timing {
    let Some((start, _)) = replay.engine_started().filter(|_| !diagnosis.causes.is_empty()) else {
        return Timing::default();
    };
    let moments = replay.moments(prefix.entries);
    let other = moments
        .iter()
        .rposition(|moment| moment.diagnosis.identity() != diagnosis.identity());
    let known = moments.get(other.map_or(0, |index| index + 1)).map(|moment| moment.known_at);
    let ended = replay.recording.entries[..prefix.entries]
        .iter()
        .find_map(|entry| match entry.fact {
            Fact::EngineEnded { .. } => Some(entry.at),
            _ => None,
        });
    let ms = |duration: SignedDuration| u64::try_from(duration.as_millis()).ok();
    Timing {
        known_ms: known.and_then(|known| ms(known.duration_since(start))),
        left_ms: known.zip(ended).and_then(|(known, ended)| ms(ended.duration_since(known))),
        gave_up: ended.is_some(),
    }
}

/// When what was known changed within the first so many entries, beside what the engine did.
pub fn moments(replay: &Replay<'_>, entries: usize, moments: &[Moment], columns: usize, paint: Paint) -> String {
    let recording = replay.recording;
    let begin = replay.engine_started().map_or(recording.header().observed_at, |(at, _)| at);
    let concluded = recording
        .ending
        .as_ref()
        .and_then(|ending| Some(ending.conclusion.as_ref()?.entries));
    let mut rows: Vec<(Timestamp, String)> = Vec::new();
    for (index, entry) in recording.entries.iter().take(entries).enumerate() {
        rows.extend(done(&entry.fact).map(|what| (entry.at, what)));
        if concluded == Some(index + 1) {
            rows.push((entry.at, "the run takes its diagnosis".to_owned()));
        }
    }
    let mut known = Vec::new();
    for moment in moments {
        let identity = moment.diagnosis.identity();
        if identity == known {
            continue;
        }
        let what = match identity.is_empty() {
            true => "no cause is certain any more".to_owned(),
            false => paint.red(&format!("known: {}", named(&identity))),
        };
        rows.push((moment.known_at, what));
        known = identity;
    }
    rows.sort_by_key(|(at, _)| *at);
    let mut text = origin(recording, columns, paint) + "\n";
    for (at, what) in rows {
        let after = at.duration_since(begin);
        let sign = if after.is_negative() { "-" } else { "" };
        text.push_str(&format!("{}  {what}\n", pad_left(&format!("{sign}{}", offset(after)), 8)));
    }
    text
}

/// What was done at this moment, where that is worth a line.
fn done(fact: &Fact) -> Option<String> {
    Some(match fact {
        Fact::EngineStarted(start) => tame(&format!("{} begins to {} {}", start.engine, start.operation, start.release)),
        Fact::EngineEnded { exit_code: Some(0) } => "the engine succeeds".to_owned(),
        Fact::EngineEnded { exit_code: Some(code) } => format!("the engine gives up, exit code {code}"),
        Fact::EngineEnded { exit_code: None } => "the engine is ended by a signal".to_owned(),
        Fact::RemedyStarted { kind } => tame(&format!("the remedy {kind} begins")),
        _ => return None,
    })
}

/// `secret-missing at Secret/db and crash-loop at Deployment/app`
fn named(causes: &[(String, String)]) -> String {
    let causes: Vec<_> = causes.iter().map(|(slug, subject)| format!("{slug} at {subject}")).collect();
    tame(&causes.join(" and "))
}
