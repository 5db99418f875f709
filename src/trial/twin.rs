//! The healthy twin: it installs, stays healthy, and is diagnosed at no time.

use std::time::Instant;

use tokio_util::sync::CancellationToken;

use super::millis;
use super::stage::{Stage, TrialError};
use crate::engine::Helm;
use crate::evidence::health;
use crate::outcome::{Outcome, Verdict};
use crate::wait::{Seen, WaitError, until};

/// Carries it out; the verdict and all that it rests on go into the outcome.
pub async fn carry_out(stage: &Stage<'_>, outcome: &mut Outcome, cancel: &CancellationToken) -> Result<(), TrialError> {
    let request = stage.install(stage.trial.scenario.twin_values.as_ref());
    outcome.engine_command = Helm::display(&request);
    let ended = stage.engine(&request, "install", cancel).await?;
    outcome.engine_words.clone_from(&ended.words);
    outcome.remedy_ms = Some(millis(ended.elapsed));

    let window = Instant::now();
    let stayed = if ended.succeeded() {
        stays_healthy(stage, cancel).await?
    } else {
        Ok(())
    };
    outcome.window_ms = Some(millis(window.elapsed()));

    let diagnosed = stage.watch.moments().into_iter().find(|moment| !moment.diagnosis.causes.is_empty());
    (outcome.verdict, outcome.sentence) = if let Some(moment) = diagnosed {
        outcome.diagnosis = moment.diagnosis;
        let causes: Vec<_> = outcome
            .diagnosis
            .causes
            .iter()
            .map(|cause| format!("{}: {}", cause.slug, cause.statement))
            .collect();
        (
            Verdict::FalseAlarm,
            format!("the healthy twin was diagnosed: {}", causes.join("; ")),
        )
    } else if !ended.succeeded() {
        (Verdict::WrongFailure, format!("the healthy twin did not install: {}", ended.words))
    } else if let Err(reason) = stayed {
        (Verdict::WrongFailure, format!("the healthy twin did not stay healthy: {reason}"))
    } else {
        (Verdict::Pass, "installed, stayed healthy, and was diagnosed at no time".to_owned())
    };
    Ok(())
}

/// Looks on for the stability window: everything stays ready, and nothing is diagnosed.
pub async fn stays_healthy(stage: &Stage<'_>, cancel: &CancellationToken) -> Result<Result<(), String>, TrialError> {
    stage.phase(
        "stay healthy",
        "the end of the stability window".to_owned(),
        Some(stage.pace.window),
    );
    let look = || {
        let trouble = stage.watch.read(|evidence, diagnosis| {
            let mut trouble = health::unhealthy(evidence);
            trouble.extend(diagnosis.causes.iter().map(|cause| format!("{}: {}", cause.slug, cause.statement)));
            trouble
        });
        async move {
            if trouble.is_empty() {
                Seen::NotYet("all is well".to_owned())
            } else {
                Seen::Done(trouble.join("; "))
            }
        }
    };
    // The good end is that the deadline passes without trouble.
    match until("trouble", stage.pace.window, std::time::Duration::from_millis(100), cancel, look).await {
        Ok(trouble) => Ok(Err(trouble)),
        Err(WaitError::Deadline { .. }) => Ok(Ok(())),
        Err(WaitError::Interrupted { .. }) => Err(TrialError::Interrupted),
    }
}
