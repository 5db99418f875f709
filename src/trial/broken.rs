//! The broken variant: break → diagnose → remedy → healthy → stays healthy.

use std::path::Path;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::again::{Again, again};
use super::millis;
use super::onlooker::look_on;
use super::stage::{LOOK, SETTLE, Stage, TrialError};
use crate::diagnosis::Diagnosis;
use crate::diagnosis::moments::Moment;
use crate::engine::{Ended, Operation, Request};
use crate::evidence::Fact;
use crate::outcome::judge::Judgement;
use crate::outcome::{ExpectedCause, Outcome, RemedyReport, Verdict, judge};
use crate::remedy::{Plan, PlanError, Remedy};
use crate::scenario::Settings;
use crate::scenario::placeholders::filled_in;
use crate::wait::{Seen, WaitError, until};

/// Carries it out; the verdict and all that it rests on go into the outcome.
pub async fn carry_out(stage: &Stage<'_>, outcome: &mut Outcome, cancel: &CancellationToken) -> Result<(), TrialError> {
    let mut judged = break_and_diagnose(stage, outcome, cancel).await?;
    if judged.is_none() {
        look_on(stage, &outcome.diagnosis).await;
        judged = remedy(stage, outcome, cancel).await?;
    }
    (outcome.verdict, outcome.sentence) = match judged {
        Some(judgement) => judgement,
        None => verify(stage, outcome, cancel).await?,
    };
    Ok(())
}

/// What the engine is told.
fn request(stage: &Stage<'_>) -> Request {
    let scenario = stage.trial.scenario;
    let mut request = stage.install(&scenario.broken);
    if scenario.upgrade_from.is_some() || request.told.upgrade {
        request.operation = Operation::Upgrade;
    }
    request
}

/// Breaks it, and looks on until it is diagnosed; a judgement where either is not as documented.
pub async fn break_and_diagnose(stage: &Stage<'_>, outcome: &mut Outcome, cancel: &CancellationToken) -> Result<Judgement, TrialError> {
    let scenario = stage.trial.scenario;
    let request = request(stage);
    outcome.engine_command = stage.engine.display(&request);
    let given = Instant::now();
    stage.given(cancel).await?;
    let unfit = match &scenario.upgrade_from {
        Some(before) => first(stage, before, cancel).await?,
        None => None,
    };
    outcome.given_ms = millis(given.elapsed());
    if unfit.is_some() {
        return Ok(unfit);
    }
    let started_at = Timestamp::now();
    let ended = stage.engine(&request, "break", cancel).await?;
    stage.outside_stands().await?;
    outcome.engine_words.clone_from(&ended.words);
    if let Some(mended) = scenario.fixed_upstream.get(&stage.trial.id.engine) {
        return fixed(stage, outcome, &ended, mended, cancel).await.map(Some);
    }

    let expected_words = scenario
        .engine_fails
        .get(&stage.trial.id.engine)
        .map(Vec::as_slice)
        .unwrap_or_default();
    let broke = judge::of_break(ended.succeeded(), &ended.words, expected_words);
    outcome.break_ms = Some(millis(ended.elapsed));
    for deed in &scenario.afterwards {
        stage.carry_out(deed, cancel).await?;
    }

    outcome.diagnosis = observe(stage, &ended, outcome, cancel).await?;
    let moment = first_correct(&stage.watch.moments(), &outcome.expected_causes);
    let first_correct = moment
        .as_ref()
        .and_then(|moment| Duration::try_from(moment.known_at.duration_since(started_at)).ok());
    outcome.lag_ms = moment.map(|moment| millis(moment.lag));
    outcome.first_correct_ms = first_correct.map(millis);
    outcome.left_ms = first_correct.and_then(|known| ended.elapsed.checked_sub(known)).map(millis);

    Ok(broke.or_else(|| {
        judge::of_diagnosis(
            &outcome.expected_causes,
            &outcome.diagnosis,
            scenario.knowable(&stage.trial.id.engine),
            first_correct,
            ended.elapsed,
        )
    }))
}

/// What is expected not to break any more: it succeeds, stays healthy, and is diagnosed at no time.
async fn fixed(
    stage: &Stage<'_>,
    outcome: &mut Outcome,
    ended: &Ended,
    mended: &str,
    cancel: &CancellationToken,
) -> Result<(Verdict, String), TrialError> {
    // Nothing is to be found where nothing breaks.
    outcome.expected_causes.clear();
    if !ended.succeeded() {
        outcome.break_ms = Some(millis(ended.elapsed));
        outcome.diagnosis = observe(stage, ended, outcome, cancel).await?;
        let sentence = format!("it breaks again, though {mended} had mended it: {}", ended.words.replace('\n', " "));
        return Ok((Verdict::WrongFailure, sentence));
    }
    outcome.remedy_ms = Some(millis(ended.elapsed));
    let window = Instant::now();
    let stayed = stage.lasts(cancel).await?;
    outcome.window_ms = Some(millis(window.elapsed()));
    if let Some(moment) = stage.watch.moments().into_iter().find(|moment| !moment.diagnosis.causes.is_empty()) {
        let said: Vec<_> = moment
            .diagnosis
            .causes
            .iter()
            .map(|cause| format!("{}: {}", cause.slug, cause.statement))
            .collect();
        outcome.diagnosis = moment.diagnosis;
        return Ok((
            Verdict::Misdiagnosed,
            format!("nothing breaks here, and yet it was diagnosed: {}", said.join("; ")),
        ));
    }
    Ok(match stayed {
        Ok(()) => (
            Verdict::FixedUpstream,
            format!("it does not break here any more: {mended} mended it"),
        ),
        Err(reason) => (
            Verdict::WrongFailure,
            format!("the engine reported success, and it did not stay healthy: {reason}"),
        ),
    })
}

/// Installs what is to be upgraded; a verdict where that does not work, which is not the documented failure.
async fn first(stage: &Stage<'_>, values: &Path, cancel: &CancellationToken) -> Result<Judgement, TrialError> {
    let before = Settings {
        values: Some(values.to_owned()),
        ..stage.trial.scenario.broken.clone()
    };
    let ended = stage.engine(&stage.install(&before), "given", cancel).await?;
    if ended.succeeded() {
        for deed in &stage.trial.scenario.between {
            stage.carry_out(deed, cancel).await?;
        }
    }
    Ok((!ended.succeeded()).then(|| {
        (
            Verdict::WrongFailure,
            format!("the release that was to be upgraded did not install: {}", ended.words),
        )
    }))
}

/// Looks on until a cause is certain and its remedy could be applied, for as long as the scenario allows: what a cold start takes, say, is
/// known only when it is over.
async fn observe(stage: &Stage<'_>, ended: &Ended, outcome: &mut Outcome, cancel: &CancellationToken) -> Result<Diagnosis, TrialError> {
    let since = Instant::now();
    if !ended.succeeded() {
        stage.phase("diagnose", "a certain cause".to_owned(), Some(stage.pace.observe));
        let look = || {
            let open = stage.watch.read(|_, diagnosis| match plan(stage, diagnosis) {
                _ if diagnosis.causes.is_empty() => Some("no certain cause".to_owned()),
                _ if holds_still(stage, diagnosis) => Some("what was done afterwards has not been seen".to_owned()),
                Err(error @ PlanError::NoParameter { .. }) => Some(error.to_string()),
                _ => None,
            });
            async move {
                match open {
                    None if since.elapsed() >= SETTLE => Seen::Done(()),
                    open => Seen::NotYet(open.unwrap_or_else(|| "the last facts are on their way".to_owned())),
                }
            }
        };
        match until("a certain cause", stage.pace.observe, LOOK, cancel, look).await {
            Ok(()) | Err(WaitError::Deadline { .. }) => {}
            Err(WaitError::Interrupted { .. }) => return Err(TrialError::Interrupted),
        }
    }
    outcome.observe_ms = millis(since.elapsed());
    Ok(stage.watch.conclude())
}

/// Whether what is said is still what was the cause before somebody did something about it.
fn holds_still(stage: &Stage<'_>, diagnosis: &Diagnosis) -> bool {
    let before = &stage.trial.scenario.before;
    !before.is_empty() && judge::exactly(before, diagnosis)
}

/// The moment from which on the diagnosis was right and stayed right.
fn first_correct(moments: &[Moment], expected: &[ExpectedCause]) -> Option<Moment> {
    let last_wrong = moments.iter().rposition(|moment| !judge::exactly(expected, &moment.diagnosis));
    moments.get(last_wrong.map_or(0, |index| index + 1)).cloned()
}

/// The remedy of each cause: the one that its detector prefers, or that of its alternatives which the scenario wants to see proven.
fn chosen<'a>(stage: &Stage<'_>, diagnosis: &'a Diagnosis) -> impl Iterator<Item = Option<&'a Remedy>> {
    let wanted = stage.trial.scenario.remedy.clone();
    diagnosis.causes.iter().map(move |cause| match &wanted {
        None => cause.remedy.as_ref(),
        Some(kind) => cause.remedy.iter().chain(&cause.alternatives).find(|remedy| remedy.kind == *kind),
    })
}

fn plan(stage: &Stage<'_>, diagnosis: &Diagnosis) -> Result<Plan, PlanError> {
    Plan::of(chosen(stage, diagnosis), &stage.trial.scenario.remedies)
}

/// Applies the diagnosed remedy, and waits until all is healthy; a judgement where that does not come about.
pub async fn remedy(stage: &Stage<'_>, outcome: &mut Outcome, cancel: &CancellationToken) -> Result<Judgement, TrialError> {
    let not_remedied = |sentence: String| Some((Verdict::NotRemedied, sentence));
    let (broken, diagnosis) = (request(stage), &outcome.diagnosis);
    let plan = match plan(stage, diagnosis) {
        Ok(plan) => plan,
        Err(error) => return Ok(not_remedied(error.to_string())),
    };
    let Some(chosen) = chosen(stage, diagnosis).flatten().next().cloned() else {
        return Ok(not_remedied(PlanError::NoRemedy.to_string()));
    };
    let timeout = plan.timeout.unwrap_or(broken.timeout);
    let from_scratch = stage.trial.scenario.from_scratch;
    let Again { uninstall, operation } = stage
        .watch
        .read(|evidence, _| again(evidence, broken.operation, &plan, from_scratch));
    let request = Request {
        operation,
        set: plan.set.clone(),
        timeout,
        spec: merged(&broken.spec, &filled_in(&plan.spec, &stage.values())),
        reset: plan.reset,
        ..broken.clone()
    };
    let mut commands = Vec::new();
    if uninstall {
        commands.push(stage.engine.display_uninstall(&request));
    }
    if from_scratch {
        commands.extend(stage.anew_commands());
    }
    commands.extend(plan.deeds.iter().map(|deed| stage.display_deed(deed)));
    if from_scratch || uninstall {
        commands.push(stage.engine.display(&request));
    } else {
        commands.extend(stage.engine.display_again(&request, &broken));
    }

    let started = Instant::now();
    stage.recorder.record(Fact::RemedyStarted { kind: chosen.kind.clone() });
    if from_scratch {
        stage.start_anew(&request, cancel).await?;
    } else if uninstall {
        stage.engine.uninstall(&request, cancel).await?;
    }
    for deed in &plan.deeds {
        stage.carry_out(deed, cancel).await?;
    }
    let ended = stage.engine(&request, "remedy", cancel).await?;
    let healthy = if ended.succeeded() {
        stage.becomes_healthy(cancel).await?
    } else {
        Err(ended.words.clone())
    };
    outcome.remedy_ms = Some(millis(started.elapsed()));
    outcome.remedy = Some(RemedyReport {
        remedy: chosen.clone(),
        commands,
        healthy: healthy.is_ok(),
    });
    let unhealthy = |reason| not_remedied(format!("after the remedy `{}` it is not healthy: {reason}", chosen.kind));
    Ok(healthy.err().and_then(unhealthy))
}

/// One merge patch after the other, as one.
fn merged(before: &Value, after: &Value) -> Value {
    match (before, after) {
        (before, Value::Null) => before.clone(),
        (Value::Null, after) => after.clone(),
        (before, after) => {
            // What a patch takes away has to stay taken away in the sum, so this is no application of one to the other.
            let mut sum = before.clone();
            lay_over(&mut sum, after);
            sum
        }
    }
}

fn lay_over(below: &mut Value, above: &Value) {
    match (below, above) {
        (Value::Object(below), Value::Object(above)) => {
            for (key, value) in above {
                lay_over(below.entry(key.as_str()).or_insert(Value::Null), value);
            }
        }
        (below, above) => *below = above.clone(),
    }
}

/// Looks on for the stability window, and judges the whole.
pub async fn verify(stage: &Stage<'_>, outcome: &mut Outcome, cancel: &CancellationToken) -> Result<(Verdict, String), TrialError> {
    let window = Instant::now();
    let stayed = stage.stays_healthy(cancel).await?;
    outcome.window_ms = Some(millis(window.elapsed()));
    let remedy = outcome.remedy.as_ref().map_or("none", |report| report.remedy.kind.as_str());
    Ok(match stayed {
        Ok(()) => (
            Verdict::Pass,
            format!("broke as documented, diagnosed, remedied by `{remedy}`, and stayed healthy"),
        ),
        Err(reason) => (
            Verdict::Relapsed,
            format!("it was healthy after the remedy, and then was not: {reason}"),
        ),
    })
}
