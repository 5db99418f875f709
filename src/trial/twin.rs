//! The healthy twin: it installs, stays healthy, and is diagnosed at no time.

use std::time::Instant;

use tokio_util::sync::CancellationToken;

use super::millis;
use super::stage::{Stage, TrialError};
use crate::outcome::{Outcome, Verdict};

/// Carries it out; the verdict and all that it rests on go into the outcome.
pub async fn carry_out(stage: &Stage<'_>, outcome: &mut Outcome, cancel: &CancellationToken) -> Result<(), TrialError> {
    let settings = stage.trial.scenario.twin.clone().unwrap_or_default();
    let request = stage.install(&settings);
    outcome.engine_command = stage.engine.display(&request);
    let given = Instant::now();
    stage.given(cancel).await?;
    outcome.given_ms = millis(given.elapsed());
    let ended = stage.engine(&request, "install", cancel).await?;
    stage.outside_stands().await?;
    outcome.engine_words.clone_from(&ended.words);
    outcome.remedy_ms = Some(millis(ended.elapsed));

    let window = Instant::now();
    let stayed = if ended.succeeded() { stage.lasts(cancel).await? } else { Ok(()) };
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
