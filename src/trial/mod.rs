//! Trials: one scenario on one engine, broken or as its healthy twin, from the namespace to the verdict.

mod broken;
mod namespace;
mod outside;
mod record;
mod stage;
mod twin;
pub mod watch;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

pub use record::Recordings;
pub use stage::TrialError;

use crate::diagnosis::Detector;
use crate::events::{Event, Events};
use crate::outcome::{Outcome, TrialId, Variant, Verdict};
use crate::scenario::Scenario;
use namespace::TrialNamespace;
use stage::random;

/// What all trials of a run share.
#[derive(Clone)]
pub struct Ground {
    pub client: kube::Client,
    pub kubeconfig: PathBuf,
    pub run_id: String,
    pub kubernetes_version: String,
    pub helm: PathBuf,
    pub helm_version: String,
    /// A folder for Helm's own cache and configuration.
    pub helm_home: PathBuf,
    pub tools_image: String,
    pub standin_image: String,
    pub events: Events,
    pub recordings: Option<Recordings>,
    pub cleanup: Cleanup,
}

/// What becomes of a trial's namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cleanup {
    /// It stays, for somebody to look at.
    Keep,
    /// It is deleted, and its end is waited for.
    Namespace,
    /// It is deleted, so that its pods are in nobody's way; its end is that of the cluster.
    WithCluster,
}

/// One trial to be.
#[derive(Debug, Clone)]
pub struct Trial<'a> {
    pub id: TrialId,
    pub scenario: &'a Scenario,
    pub detectors: &'static [&'static Detector],
}

impl Trial<'_> {
    /// Carries the trial out. Whatever happens, there is an outcome, and the namespace is gone unless it is to be kept.
    pub async fn run(&self, ground: &Ground, provision: Duration, cancel: &CancellationToken) -> Outcome {
        ground.events.send(Event::TrialStarted {
            trial: self.id.to_string(),
        });
        let started = Instant::now();
        let mut outcome = self.blank(ground, provision);
        let namespace = match self.namespace_name() {
            Ok(name) => Some(TrialNamespace::named(&ground.client, name)),
            Err(error) => {
                judge_error(&mut outcome, &error, cancel);
                None
            }
        };
        if let Some(namespace) = &namespace
            && let Err(error) = self.carry_out(ground, namespace, &mut outcome, cancel).await
        {
            judge_error(&mut outcome, &error, cancel);
        }
        outcome.total_ms = millis(started.elapsed());
        let known: u64 = [outcome.break_ms, outcome.remedy_ms, outcome.window_ms]
            .into_iter()
            .flatten()
            .sum::<u64>()
            + outcome.observe_ms;
        outcome.overhead_ms = outcome.total_ms.saturating_sub(known);
        if let Some(namespace) = namespace
            && ground.cleanup != Cleanup::Keep
        {
            // Cleaning up is not interrupted: it has deadlines of its own.
            let wait = ground.cleanup == Cleanup::Namespace;
            if let Err(error) = namespace.delete(wait, &CancellationToken::new()).await {
                outcome.cleanup_failures.push(error.to_string());
            }
        }
        ground.events.send(Event::TrialFinished {
            trial: self.id.to_string(),
            outcome: Box::new(outcome.clone()),
        });
        outcome
    }

    /// A name that says what it is for, and that nobody else has.
    fn namespace_name(&self) -> Result<String, TrialError> {
        let suffix: String = random::<3>()?.iter().map(|byte| format!("{byte:02x}")).collect();
        let readable: String = self.id.scenario.chars().take(40).collect();
        Ok(format!("{}-{suffix}", readable.trim_end_matches('-')))
    }

    async fn carry_out(
        &self,
        ground: &Ground,
        namespace: &TrialNamespace,
        outcome: &mut Outcome,
        cancel: &CancellationToken,
    ) -> Result<(), TrialError> {
        let stage = stage::Stage::set(self, ground, namespace, cancel).await?;
        let carried_out = match self.id.variant {
            Variant::Broken => broken::carry_out(&stage, outcome, cancel).await,
            Variant::Twin => twin::carry_out(&stage, outcome, cancel).await,
        };
        if let Err(error) = &carried_out {
            judge_error(outcome, error, cancel);
        }
        record::conclude(&stage, outcome).await;
        outcome.cleanup_failures.extend(stage.strike().await);
        carried_out
    }

    fn blank(&self, ground: &Ground, provision: Duration) -> Outcome {
        let mut outcome = self.not_run(String::new());
        outcome.engine_version.clone_from(&ground.helm_version);
        outcome.kubernetes_version.clone_from(&ground.kubernetes_version);
        outcome.provision_ms = millis(provision);
        outcome
    }

    /// The outcome of a trial that was not tried, and why.
    pub fn not_run(&self, sentence: String) -> Outcome {
        let expected = match self.id.variant {
            Variant::Broken => self.scenario.causes.clone(),
            Variant::Twin => Vec::new(),
        };
        Outcome::not_run(self.id.clone(), expected, sentence)
    }
}

fn judge_error(outcome: &mut Outcome, error: &TrialError, cancel: &CancellationToken) {
    // Whatever an interruption breaks is nobody's fault.
    (outcome.verdict, outcome.sentence) = match error {
        _ if cancel.is_cancelled() => (Verdict::NotRun, "the run was interrupted before it had ended".to_owned()),
        error => (Verdict::Infra, error.to_string()),
    };
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
