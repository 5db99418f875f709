//! Trials: one scenario on one engine, broken or as its healthy twin, from the namespace to the verdict.

mod again;
mod broken;
mod definitions;
mod given;
pub mod kept;
mod machine;
mod namespace;
mod objects;
mod onlooker;
mod outside;
mod record;
mod stage;
mod state;
mod sweep;
mod twin;
pub mod watch;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

pub use onlooker::{Broken, Onlooker};
pub use record::{Recordings, preamble};
pub use stage::TrialError;
pub use state::LiveState;
pub use sweep::Sweeper;

use crate::cluster::{Lease, Pool};
use crate::diagnosis::{Detector, Diagnosis};
use crate::engine::Engine;
use crate::events::{Event, Events};
use crate::outcome::{Outcome, TrialId, Variant, Verdict};
use crate::scenario::Scenario;
use machine::ColdMachine;
use namespace::TrialNamespace;
use stage::{Opening, random};

/// How long to wait for a machine of the pool: every other trial that needs one may come first.
const TURN: Duration = Duration::from_hours(2);

/// What all trials of a run share.
#[derive(Clone)]
pub struct Ground {
    pub client: kube::Client,
    pub kubeconfig: PathBuf,
    pub run_id: String,
    pub kubernetes_version: String,
    /// By name.
    pub engines: BTreeMap<String, Engine>,
    pub tools_image: String,
    pub standin_image: String,
    pub named_user_image: String,
    /// The machines that do not exist until a trial's autoscaler starts them.
    pub pool: Pool,
    pub events: Events,
    pub recordings: Option<Recordings>,
    pub cleanup: Cleanup,
    pub sweeper: Sweeper,
}

/// What becomes of a trial's namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cleanup {
    /// It stays, for somebody to look at.
    Keep,
    /// It is deleted, and its end is waited for at the end of the run.
    Namespace,
    /// It is deleted, so that its pods are in nobody's way; its end is that of the cluster.
    WithCluster,
}

/// A key for the hashes that stand for Secret values, which nobody can guess.
///
/// # Errors
/// Where there is no randomness.
pub fn key() -> std::io::Result<[u8; 32]> {
    random()
}

/// A name that says what it is for, and that nobody else has.
fn unique(readable: &str) -> std::io::Result<String> {
    let suffix: String = random::<3>()?.iter().map(|byte| format!("{byte:02x}")).collect();
    let readable: String = readable.chars().take(40).collect();
    Ok(format!("{}-{suffix}", readable.trim_end_matches('-')))
}

/// Where a trial is carried out.
pub struct Place {
    namespace: String,
    lease: Option<Lease>,
}

impl Place {
    /// Whether it has a machine of the pool.
    pub fn on_a_machine(&self) -> bool {
        self.lease.is_some()
    }
}

/// One trial to be.
#[derive(Debug, Clone)]
pub struct Trial<'a> {
    pub id: TrialId,
    pub scenario: &'a Scenario,
    pub detectors: &'static [&'static Detector],
    /// Who looks at what has broken, before its remedy.
    pub onlooker: Option<&'a dyn Onlooker>,
}

impl Trial<'_> {
    /// Carries the trial out. Whatever happens, there is an outcome, and the sweeper removes the namespace unless it is to be kept.
    pub async fn run(&self, ground: &Ground, place: Place, provision: Duration, cancel: &CancellationToken) -> Outcome {
        ground.events.send(Event::TrialStarted {
            trial: self.id.to_string(),
        });
        let started = Instant::now();
        let mut outcome = self.blank(ground, provision);
        let namespace = TrialNamespace::named(&ground.client, place.namespace);
        let machine = match self.carry_out(ground, &namespace, place.lease, &mut outcome, cancel).await {
            Ok(machine) => machine,
            Err(error) => {
                judge_error(&mut outcome, &error, cancel);
                None
            }
        };
        outcome.total_ms = millis(started.elapsed());
        let known: u64 = [outcome.break_ms, outcome.remedy_ms, outcome.window_ms]
            .into_iter()
            .flatten()
            .sum::<u64>()
            + outcome.given_ms
            + outcome.observe_ms;
        outcome.overhead_ms = outcome.total_ms.saturating_sub(known);
        if ground.cleanup != Cleanup::Keep {
            let wait = ground.cleanup == Cleanup::Namespace;
            let client = ground.client.clone();
            ground.sweeper.sweep(async move {
                let deleted = namespace.delete(wait).await.map_err(|error| error.to_string());
                let undefined = definitions::delete(&client, &namespace.name).await;
                // Its pods end better while their machine is still there.
                if let Some(machine) = machine {
                    machine.give_back().await.map_err(|error| error.to_string())?;
                }
                deleted.and(undefined.map_err(|error| format!("failed to remove the kinds that {} had defined: {error}", namespace.name)))
            });
        }
        ground.events.send(Event::TrialFinished {
            trial: self.id.to_string(),
            outcome: Box::new(outcome.clone()),
        });
        outcome
    }

    /// Finds the trial a place, and waits for a machine of the pool where it needs one.
    ///
    /// # Errors
    /// When there is no randomness for a name, or no machine gets free.
    pub async fn place(&self, ground: &Ground, cancel: &CancellationToken) -> Result<Place, TrialError> {
        let namespace = unique(&self.id.scenario)?;
        let lease = match self.scenario.pace(self.id.profile, &self.id.engine).provisioning {
            Some(_) => Some(ground.pool.lease(&namespace, TURN, cancel).await?),
            None => None,
        };
        Ok(Place { namespace, lease })
    }

    async fn carry_out(
        &self,
        ground: &Ground,
        namespace: &TrialNamespace,
        lease: Option<Lease>,
        outcome: &mut Outcome,
        cancel: &CancellationToken,
    ) -> Result<Option<ColdMachine>, TrialError> {
        let opening = Opening {
            lease,
            key: random()?,
            left: None,
        };
        let stage = stage::Stage::set(self, ground, namespace, opening, cancel).await?;
        let carried_out = match self.id.variant {
            Variant::Broken => broken::carry_out(&stage, outcome, cancel).await,
            Variant::Twin => twin::carry_out(&stage, outcome, cancel).await,
        };
        if let Err(error) = carried_out {
            judge_error(outcome, &error, cancel);
            // Whatever was known by then is told all the same.
            if outcome.diagnosis == Diagnosis::default() {
                stage.watch.conclude();
            }
        }
        record::conclude(&stage, outcome).await;
        Ok(stage.strike())
    }

    fn blank(&self, ground: &Ground, provision: Duration) -> Outcome {
        let mut outcome = self.not_run(String::new());
        if let Some(engine) = ground.engines.get(&self.id.engine) {
            outcome.engine_version = engine.version_for(&self.scenario.content).to_owned();
        }
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
