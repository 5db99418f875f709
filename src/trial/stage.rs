//! What every trial stands on: the namespace, the servers beside it, the collector, the live diagnosis and the engine.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::machine::{ColdMachine, MachineError};
use super::namespace::{NamespaceError, TrialNamespace};
use super::objects::ObjectsError;
use super::outside::{Beside, OutsideError};
use super::watch::Watch;
use super::{Ground, Trial};
use crate::cluster::slots::SlotError;
use crate::cluster::{JournalError, Lease, PoolError};
use crate::engine::{Ended, Engine, EngineError, Operation, Request};
use crate::events::Event;
use crate::evidence::{CollectError, Collector, Evidence, Header, Recorder, Timeline, health};
use crate::outcome::Variant;
use crate::scenario::placeholders::filled_in;
use crate::scenario::{Given, Pace, Settings};
use crate::wait::{Seen, WaitError, until};

/// How often a condition is looked at; looking costs no request.
pub const LOOK: Duration = Duration::from_millis(50);

/// How long the last facts may still be on their way.
pub const SETTLE: Duration = Duration::from_millis(500);
/// How long it may take to look at all that was noted before.
const CATCH_UP: Duration = Duration::from_secs(30);

/// Why a trial could not be carried out. None of it is the fault of a detector.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    #[error(transparent)]
    Outside(#[from] OutsideError),
    #[error(transparent)]
    Collect(#[from] CollectError),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error("there is no `{engine}` here; run again with --engine {engine}")]
    NoEngine { engine: String },
    #[error("failed to install the release {release}, which has to be there before: {words}")]
    Given { release: String, words: String },
    #[error(transparent)]
    Objects(#[from] ObjectsError),
    #[error(transparent)]
    Pool(#[from] PoolError),
    #[error(transparent)]
    Machine(#[from] MachineError),
    #[error(transparent)]
    Slot(#[from] SlotError),
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error("failed to read randomness for a namespace's name: {0}")]
    Random(#[from] std::io::Error),
    #[error("the run was interrupted")]
    Interrupted,
}

/// What a stage is set up from.
pub struct Opening {
    pub lease: Option<Lease>,
    /// The key of the hashes that stand for Secret values.
    pub key: [u8; 32],
    /// What was noted, where another process has left everything as it is; else nothing is there yet.
    pub left: Option<Timeline>,
}

/// A trial that is set up.
pub struct Stage<'a> {
    pub trial: &'a Trial<'a>,
    pub ground: &'a Ground,
    pub pace: &'a Pace,
    pub namespace: &'a TrialNamespace,
    pub recorder: Recorder,
    pub watch: Watch,
    pub engine: Engine,
    _collector: Collector,
    /// Servers beside the cluster that are on their way, and those that stand.
    starting: Mutex<Vec<JoinHandle<Result<Beside, OutsideError>>>>,
    beside: Mutex<Vec<Beside>>,
    pub machine: Option<ColdMachine>,
}

impl<'a> Stage<'a> {
    /// Watches before anything happens; or goes on watching.
    pub async fn set(
        trial: &'a Trial<'a>,
        ground: &'a Ground,
        namespace: &'a TrialNamespace,
        opening: Opening,
        cancel: &CancellationToken,
    ) -> Result<Self, TrialError> {
        let pace = trial.scenario.pace(trial.id.profile, &trial.id.engine);
        let name = &trial.id.engine;
        let engine = ground
            .engines
            .get(name)
            .ok_or_else(|| TrialError::NoEngine { engine: name.clone() })?;
        let engine = engine.clone();
        let Opening { lease, key, left } = opening;
        let new = left.is_none();
        let timeline = left.unwrap_or_else(|| Timeline::begin(header(ground, namespace)));
        let recorder = Recorder::resume(timeline, key);
        // A namespace can be watched before it exists: so everything in it is seen from its beginning.
        let set_up = async {
            let create = async {
                match new {
                    true => Ok::<_, TrialError>(namespace.create(&ground.run_id, cancel).await?),
                    false => Ok(()),
                }
            };
            let collector = async { Ok(Collector::start(&ground.client, &namespace.name, &recorder).await?) };
            let ((), collector) = futures::try_join!(create, collector)?;
            Ok::<_, TrialError>(collector)
        };
        // Docker takes a second for a container, and nobody asks for one before the engine has installed something.
        let starting = trial
            .scenario
            .given(trial.id.variant)
            .outside
            .iter()
            .filter(|_| new)
            .map(|outside| {
                let (outside, ground, recorder, namespace) = (outside.clone(), ground.clone(), recorder.clone(), namespace.name.clone());
                tokio::spawn(async move { Beside::start(&outside, &ground.standin_image, &ground.run_id, &namespace, &recorder).await })
            });
        let starting = Mutex::new(starting.collect());
        let collector = tokio::select! {
            set_up = set_up => set_up?,
            () = cancel.cancelled() => return Err(TrialError::Interrupted),
        };
        let machine = lease.zip(pace.provisioning).map(|(lease, provisioning)| {
            let (client, namespace) = (&ground.client, &namespace.name);
            ColdMachine::new(client, namespace, provisioning, lease, cancel)
        });
        let (events, name, started) = (ground.events.clone(), trial.id.to_string(), Instant::now());
        let (mut known, mut waited_for) = (!new, String::new());
        let phase = match trial.id.variant {
            Variant::Broken => "break",
            Variant::Twin => "install",
        };
        let watch = Watch::start(recorder.clone(), trial.detectors, move |evidence, diagnosis| {
            let left = evidence.time_left().and_then(|left| left.try_into().ok());
            if let Some(waiting_for) = engine_waits_for(evidence)
                && waited_for != waiting_for
            {
                waited_for.clone_from(&waiting_for);
                events.send(Event::TrialPhase {
                    trial: name.clone(),
                    phase,
                    waiting_for,
                    left,
                });
            }
            if let Some(cause) = diagnosis.causes.first()
                && !known
            {
                known = true;
                let cause = format!("{}: {}", cause.slug, cause.statement);
                events.send(Event::CauseKnown {
                    trial: name.clone(),
                    cause,
                    after: started.elapsed(),
                    left,
                });
            }
        });
        Ok(Self {
            trial,
            ground,
            pace,
            namespace,
            recorder,
            watch,
            engine,
            _collector: collector,
            starting,
            beside: Mutex::default(),
            machine,
        })
    }

    /// Returns once the diagnosis rests on all that was noted, before and in the first look.
    pub async fn catches_up(&self, cancel: &CancellationToken) -> Result<(), TrialError> {
        let since = Instant::now();
        let look = || async {
            let (seen, noted) = (self.watch.entries(), self.recorder.len());
            if seen == noted && since.elapsed() >= SETTLE {
                Seen::Done(())
            } else {
                Seen::NotYet(format!("{seen} of {noted} entries were looked at"))
            }
        };
        match until("a look at everything", CATCH_UP, LOOK, cancel, look).await {
            Err(WaitError::Interrupted { .. }) => Err(TrialError::Interrupted),
            // A busy namespace never stands still.
            _ => Ok(()),
        }
    }

    /// Makes sure that what answers beside the cluster does: without it the failure would not be the documented one.
    pub async fn outside_stands(&self) -> Result<(), TrialError> {
        for starting in self.starting.lock().await.drain(..) {
            let started = starting.await.map_err(|_| TrialError::Interrupted)?;
            self.beside.lock().await.push(started?);
        }
        Ok(())
    }

    /// Ends what stands beside the cluster, while others go on. The machine is left to whoever removes the namespace.
    pub fn strike(self) -> Option<ColdMachine> {
        let (starting, stand) = (self.starting.into_inner(), self.beside.into_inner());
        self.ground.sweeper.sweep(async move {
            let late = futures::future::join_all(starting).await.into_iter().flatten().flatten();
            for beside in stand.into_iter().chain(late) {
                let stopped = beside.stop().await;
                stopped.map_err(|error| format!("failed to remove a container beside the cluster: {error}"))?;
            }
            Ok::<_, String>(())
        });
        self.machine
    }

    /// Leaves everything to whoever removes it; what is still on its way beside the cluster is waited for, so that it can be found.
    pub async fn abandon(self) {
        let late = futures::future::join_all(self.starting.into_inner())
            .await
            .into_iter()
            .flatten()
            .flatten();
        self.beside.into_inner().into_iter().chain(late).for_each(Beside::keep);
    }

    /// Leaves everything as it is, for another process: what was noted.
    ///
    /// # Errors
    /// When the machine cannot be left.
    pub async fn keep(self) -> Result<Timeline, TrialError> {
        self.outside_stands().await?;
        self.beside.into_inner().into_iter().for_each(Beside::keep);
        if let Some(machine) = self.machine {
            machine.keep().await?;
        }
        Ok(self.recorder.timeline())
    }

    /// The request that installs the chart in this trial's variant.
    pub fn install(&self, settings: &Settings) -> Request {
        let held = Given::holds(self.before().releases.iter(), &self.trial.scenario.release);
        Request {
            operation: if held { Operation::Upgrade } else { Operation::Install },
            release: self.trial.scenario.release.clone(),
            namespace: self.namespace.name.clone(),
            content: self.trial.scenario.content.clone(),
            values: settings.values.iter().cloned().collect(),
            overlay: self.overlay(),
            set: Vec::new(),
            timeout: self.pace.timeout,
            told: self.trial.scenario.told,
            spec: filled_in(&settings.spec, &self.values()),
            reset: None,
            kill: None,
        }
    }

    /// What the harness tells each chart: where its images are, the durations of the profile in seconds, and how the machine of the pool
    /// is selected.
    pub(super) fn overlay(&self) -> Value {
        let durations: serde_json::Map<String, Value> = self
            .pace
            .durations
            .iter()
            .map(|(name, duration)| (name.clone(), seconds(*duration)))
            .collect();
        let images = json!({"tools": self.ground.tools_image, "standin": self.ground.standin_image});
        match &self.machine {
            None => json!({"images": images, "durations": durations}),
            Some(machine) => {
                let (label, name) = machine.label();
                json!({"images": images, "durations": durations, "pool": {"label": label, "name": name}})
            }
        }
    }

    /// Runs the engine.
    pub async fn engine(&self, request: &Request, phase: &'static str, cancel: &CancellationToken) -> Result<Ended, TrialError> {
        self.phase(phase, self.engine.title(request), Some(request.timeout));
        match self.engine.run(request, Some(&self.recorder), cancel).await {
            Err(_) if cancel.is_cancelled() => Err(TrialError::Interrupted),
            ended => Ok(ended?),
        }
    }

    /// Waits until everything is ready. The engine's own waiting came first, so what is missing is at most on its way here.
    pub async fn becomes_healthy(&self, cancel: &CancellationToken) -> Result<Result<(), String>, TrialError> {
        let look = || {
            let unhealthy = self.watch.read(|evidence, _| health::unhealthy(evidence));
            async move {
                if unhealthy.is_empty() {
                    Seen::Done(())
                } else {
                    Seen::NotYet(unhealthy.join(", "))
                }
            }
        };
        match until("a healthy release", self.pace.timeout, LOOK, cancel, look).await {
            Ok(()) => Ok(Ok(())),
            Err(WaitError::Interrupted { .. }) => Err(TrialError::Interrupted),
            Err(error) => Ok(Err(error.to_string())),
        }
    }

    /// Becomes healthy, and stays so for the stability window.
    pub async fn lasts(&self, cancel: &CancellationToken) -> Result<Result<(), String>, TrialError> {
        match self.becomes_healthy(cancel).await? {
            Ok(()) => self.stays_healthy(cancel).await,
            unhealthy => Ok(unhealthy),
        }
    }

    /// Looks on for the stability window: everything stays ready, and nothing is diagnosed.
    pub async fn stays_healthy(&self, cancel: &CancellationToken) -> Result<Result<(), String>, TrialError> {
        self.phase("stay healthy", "the end of the stability window".to_owned(), Some(self.pace.window));
        let begun = self.watch.read(|evidence, _| evidence.now);
        let look = || {
            let trouble = self.watch.read(|evidence, diagnosis| {
                let mut trouble = health::unhealthy(evidence);
                if trouble.is_empty() {
                    trouble = health::unhealthy_since(evidence, begun);
                }
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
        match until("trouble", self.pace.window, LOOK, cancel, look).await {
            Ok(trouble) => Ok(Err(trouble)),
            Err(WaitError::Deadline { .. }) => Ok(Ok(())),
            Err(WaitError::Interrupted { .. }) => Err(TrialError::Interrupted),
        }
    }

    /// Tells what the trial waits for.
    pub fn phase(&self, phase: &'static str, waiting_for: String, left: Option<Duration>) {
        let trial = self.trial.id.to_string();
        self.ground.events.send(Event::TrialPhase {
            trial,
            phase,
            waiting_for,
            left,
        });
    }
}

fn header(ground: &Ground, namespace: &TrialNamespace) -> Header {
    Header {
        format: Header::FORMAT,
        recorder: concat!("rekindle ", env!("CARGO_PKG_VERSION")).to_owned(),
        observed_at: jiff::Timestamp::now(),
        namespace: namespace.name.clone(),
        kubernetes_version: ground.kubernetes_version.clone(),
        watched: Vec::new(),
        notes: std::collections::BTreeMap::new(),
    }
}

/// The hook that the first run of the engine waits for now, for people.
fn engine_waits_for(evidence: &Evidence) -> Option<String> {
    let engine = evidence.engine().filter(|engine| engine.running() && evidence.engines.len() == 1)?;
    let hook = evidence
        .release(&engine.start.release)?
        .hooks
        .iter()
        .find(|hook| hook.phase == "Running")?;
    Some(format!(
        "{} {} ({} hook)",
        hook.kind,
        hook.name,
        hook.events.first().map_or("", String::as_str)
    ))
}

/// Whole seconds as a whole number, so that a shell can count with them.
fn seconds(duration: Duration) -> Value {
    if duration.subsec_nanos() == 0 {
        Value::from(duration.as_secs())
    } else {
        Value::from(duration.as_secs_f64())
    }
}

/// Bytes that nobody can guess.
pub fn random<const N: usize>() -> Result<[u8; N], std::io::Error> {
    use std::io::Read;
    let mut bytes = [0; N];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}
