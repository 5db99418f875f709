//! A run: every chosen trial on one cluster, and the report.

mod lengths;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Instant;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use jiff::Timestamp;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use lengths::Lengths;

use crate::cli::{ProvisionError, provision};
use crate::cluster::slots::{self, Slot};
use crate::cluster::{self, Cluster};
use crate::diagnosis::Detector;
use crate::diagnosis::detectors::DETECTORS;
use crate::engine::{Engine, Flux, Helm, Major};
use crate::events::{Event, Events};
use crate::outcome::{Outcome, Profile, TrialId, Variant};
use crate::report::{Report, Run, Versions};
use crate::scenario::{Scenario, State};
use crate::toolchain::{self, Toolchain};
use crate::trial::{Cleanup, Ground, LiveState, Recordings, Sweeper, Trial, TrialError};

/// What a trial takes of the machine's memory at the most, in bytes; half a dozen small pods and their processes.
const MEMORY_PER_TRIAL: u64 = 400 << 20;
/// How large the cold pool is at the most: each machine takes memory and a moment of every cluster's creation.
const POOL: u32 = 3;
/// Trials wait most of the time: so many share a core.
const TRIALS_PER_CORE: usize = 3;

/// Everything the runner is told.
#[derive(Debug, Clone)]
pub struct Options {
    /// The scenarios to run.
    pub scenarios: Vec<Scenario>,
    /// The engines to run them on; empty for each that a scenario is for.
    pub engines: Vec<String>,
    pub profile: Profile,
    pub jobs: Option<NonZeroUsize>,
    /// The cluster and the namespaces stay.
    pub keep: bool,
    /// A cluster that this run made is paused for the next one, instead of removed.
    pub park: bool,
    /// The name of the cluster; the usual one unless it is set.
    pub cluster: Option<String>,
    /// Where trials are recorded to, if they are.
    pub recordings: Option<Recordings>,
    pub toolchain: toolchain::Options,
    pub detectors: &'static [&'static Detector],
}

impl Options {
    /// Every engine and detector, everything removed at the end, nothing recorded.
    pub fn new(scenarios: Vec<Scenario>, profile: Profile, toolchain: toolchain::Options) -> Self {
        Self {
            scenarios,
            engines: Vec::new(),
            profile,
            jobs: None,
            keep: false,
            park: false,
            cluster: None,
            recordings: None,
            toolchain,
            detectors: DETECTORS,
        }
    }
}

/// The trials that these options ask for, in the order in which they start: the longest waits first.
pub fn trials(options: &Options) -> Vec<Trial<'_>> {
    let mut trials = Vec::new();
    for scenario in &options.scenarios {
        for engine in scenario
            .engines
            .iter()
            .filter(|engine| options.engines.is_empty() || options.engines.contains(engine))
        {
            for variant in [Variant::Broken, Variant::Twin] {
                if variant == Variant::Broken || scenario.twin.is_some() {
                    let id = TrialId {
                        scenario: scenario.id.clone(),
                        engine: engine.clone(),
                        variant,
                        profile: options.profile,
                    };
                    trials.push(Trial {
                        id,
                        scenario,
                        detectors: options.detectors,
                        onlooker: None,
                    });
                }
            }
        }
    }
    trials.sort_by_key(|trial| {
        let pace = trial.scenario.pace(trial.id.profile, &trial.id.engine);
        (trial.id.variant, std::cmp::Reverse(pace.timeout + pace.observe))
    });
    trials
}

/// The ground for trials: a cluster that is up and proven ours, with everything loaded.
pub struct Standing {
    pub cluster: Cluster,
    pub tools: Toolchain,
    pub ground: Ground,
    pub provision: std::time::Duration,
    state: PathBuf,
    /// How many trials at once.
    jobs: usize,
    turns: Semaphore,
}

/// Sets everything up.
///
/// # Errors
/// See [`ProvisionError`]; nothing of a cluster that could not be had is left.
pub async fn stand(options: &Options, events: &Events, cancel: &CancellationToken) -> Result<Standing, ProvisionError> {
    let started = Instant::now();
    let mut wanted = cluster::Options::new(&options.toolchain.state);
    wanted.keep = options.keep;
    wanted.pool = pool_nodes(options);
    // With fewer, trials that want one wait for each other.
    wanted.pool_at_least = wanted.pool.min(1);
    if let Some(name) = &options.cluster {
        wanted.name.clone_from(name);
    }
    let toolchain = toolchain::Options {
        engines: trials(options).into_iter().map(|trial| trial.id.engine).collect(),
        ..options.toolchain.clone()
    };
    let (tools, cluster) = provision(&wanted, &toolchain, events, cancel).await?;
    let ground = Ground {
        client: cluster.client.clone(),
        kubeconfig: cluster.kubeconfig.clone(),
        run_id: cluster.run_id.clone(),
        kubernetes_version: tools.kubernetes_version.clone(),
        engines: engines(&tools, &cluster, &options.toolchain.state.join("engines")),
        pool: cluster.pool(events),
        tools_image: tools.images.tools.reference.clone(),
        standin_image: tools.images.standin.reference.clone(),
        named_user_image: tools.images.named_user.reference.clone(),
        events: events.clone(),
        recordings: options.recordings.clone(),
        cleanup: match (options.keep, cluster.fresh() && !options.park) {
            (true, _) => Cleanup::Keep,
            (false, true) => Cleanup::WithCluster,
            (false, false) => Cleanup::Namespace,
        },
        sweeper: Sweeper::default(),
    };
    Ok(Standing {
        cluster,
        tools,
        ground,
        provision: started.elapsed(),
        state: options.toolchain.state.clone(),
        jobs: jobs(options),
        turns: Semaphore::new(jobs(options)),
    })
}

/// Every engine that can be used: the programs of this machine, and the controllers in the cluster.
fn engines(tools: &Toolchain, cluster: &Cluster, home: &Path) -> BTreeMap<String, Engine> {
    let programs = tools.engines.iter().map(|(name, program)| {
        let helm = Helm::new(Major::of(name), &program.binary, &program.version, &cluster.kubeconfig, home);
        (name.clone(), Engine::Helm(helm))
    });
    let controllers = tools.flux.iter().flat_map(|flux| {
        flux.helm.iter().map(|(name, controller)| {
            let engine = Flux::new(name, &controller.version, &flux.kustomize.version, &cluster.client);
            (name.clone(), Engine::Flux(engine))
        })
    });
    programs.chain(controllers).collect()
}

impl Standing {
    /// Carries one trial out, once one of so many slots that all processes share is free.
    pub async fn carry_out(&self, trial: &Trial<'_>, events: &Events, cancel: &CancellationToken) -> Outcome {
        let ground = Ground {
            events: events.clone(),
            ..self.ground.clone()
        };
        // Whoever waits for a machine of the pool keeps no slot from others meanwhile, and once it has one it goes ahead: such trials are
        // the longest, and the machines bound them.
        let place = match trial.place(&ground, cancel).await {
            Ok(place) => place,
            Err(error) => return not_run(trial, error.to_string(), events, cancel),
        };
        // In this process one after the other, in their order; the slots bound what all processes do together.
        let _turn = match place.on_a_machine() {
            true => None,
            false => Some(self.turns.acquire().await),
        };
        let slots = self.jobs + self.ground.pool.size();
        match Slot::take(&self.state, slots, cancel).await {
            Ok(_slot) => {
                if let Err(error) = slots::calm(&self.state, cancel).await {
                    return not_run(trial, error.to_string(), events, cancel);
                }
                trial.run(&ground, place, self.provision, cancel).await
            }
            Err(error) => not_run(trial, error.to_string(), events, cancel),
        }
    }

    /// Has somebody look at a live state, once one of the slots that trials share is free.
    ///
    /// # Errors
    /// When the state cannot be set up.
    pub async fn show<T>(
        &self,
        state: &State,
        cancel: &CancellationToken,
        look: impl AsyncFnOnce(&LiveState) -> T,
    ) -> Result<T, TrialError> {
        let _turn = self.turns.acquire().await;
        let count = self.jobs + self.ground.pool.size();
        let _slot = Slot::take(&self.state, count, cancel).await?;
        slots::calm(&self.state, cancel).await?;
        state.show(&self.ground, cancel, look).await
    }

    /// Removes what this run made, its cluster included unless that is parked, and stops the Docker engine if nobody else uses it.
    pub async fn clear(self, options: &Options, events: &Events) -> Cleared {
        let mut failures = self.ground.sweeper.finish().await;
        drop(self.ground);
        let mut cluster_left = false;
        if options.keep {
            drop(self.cluster);
        } else {
            // A cluster in which something is left is not for the next run.
            let park = options.park && failures.is_empty();
            if let Err(error) = self.cluster.leave(park, events).await {
                failures.push(error.to_string());
                cluster_left = true;
            }
        }
        release(options, &mut failures).await;
        Cleared { failures, cluster_left }
    }
}

/// The outcome of a trial that found no place; told at once where that is no interruption's fault.
fn not_run(trial: &Trial<'_>, reason: String, events: &Events, cancel: &CancellationToken) -> Outcome {
    let outcome = trial.not_run(reason);
    if !cancel.is_cancelled() {
        events.send(Event::TrialFinished {
            trial: trial.id.to_string(),
            outcome: Box::new(outcome.clone()),
        });
    }
    outcome
}

/// How the removal of all that a run made ended.
#[derive(Debug)]
pub struct Cleared {
    /// A sentence for each thing that is still there.
    pub failures: Vec<String>,
    /// Whether the cluster that was to go is among them.
    pub cluster_left: bool,
}

async fn release(options: &Options, failures: &mut Vec<String>) {
    // Not interrupted: it has deadlines of its own.
    if let Err(error) = toolchain::release_docker(&options.toolchain, &CancellationToken::new()).await {
        failures.push(error.to_string());
    }
}

/// There was no ground to run on. Nothing is left; the report says of every trial that it was not run.
#[derive(Debug)]
pub struct NoGround {
    pub error: ProvisionError,
    pub report: Box<Report>,
}

/// Runs every trial and reports on all of them, also when it is interrupted.
///
/// # Errors
/// [`NoGround`], with a report of its own.
pub async fn run(options: &Options, events: &Events, cancel: &CancellationToken) -> Result<Report, NoGround> {
    let (started_at, started) = (Timestamp::now(), Instant::now());
    let mut lengths = Lengths::read(&options.toolchain.state);
    let mut trials = trials(options);
    trials.sort_by_key(|trial| std::cmp::Reverse(lengths.of(trial)));
    let mut run = Run {
        versions: Versions {
            rekindle: env!("CARGO_PKG_VERSION").to_owned(),
            ..Versions::default()
        },
        profile: options.profile,
        started_at,
        wall: started.elapsed(),
        clusters_created: 0,
        clusters_left: 0,
        interrupted: false,
        cleanup_failures: Vec::new(),
    };
    let standing = match stand(options, events, cancel).await {
        Ok(standing) => standing,
        Err(error) => {
            release(options, &mut run.cleanup_failures).await;
            run.wall = started.elapsed();
            run.interrupted = cancel.is_cancelled();
            let outcomes = trials.iter().map(|trial| trial.not_run(error.to_string())).collect();
            let report = Box::new(Report::new(run, outcomes));
            return Err(NoGround { error, report });
        }
    };
    events.send(Event::RunStarted { trials: trials.len() });
    let outcomes = carry_out(&trials, &standing, cancel).await;
    lengths.remember(&outcomes);
    run.versions.kubernetes.clone_from(&standing.tools.kubernetes_version);
    run.versions.kind.clone_from(&standing.tools.kind_version);
    for (name, engine) in &standing.ground.engines {
        run.versions.engines.insert(name.clone(), engine.version().to_owned());
    }
    run.clusters_created = u32::from(standing.cluster.fresh());
    let cleared = standing.clear(options, events).await;
    run.clusters_left = u32::from(cleared.cluster_left);
    run.cleanup_failures = cleared.failures;
    run.wall = started.elapsed();
    run.interrupted = cancel.is_cancelled();
    Ok(Report::new(run, outcomes))
}

/// Carries trials out, as many at once as there are slots.
pub async fn carry_out(trials: &[Trial<'_>], standing: &Standing, cancel: &CancellationToken) -> Vec<Outcome> {
    let events = &standing.ground.events;
    let mut running: FuturesUnordered<_> = trials.iter().map(|trial| standing.carry_out(trial, events, cancel)).collect();
    let mut outcomes = Vec::new();
    while let Some(outcome) = running.next().await {
        outcomes.push(outcome);
    }
    outcomes
}

/// How many machines the cold pool needs: one for each trial that wants one, as far as they run at once.
fn pool_nodes(options: &Options) -> u32 {
    let wanting = trials(options)
        .iter()
        .filter(|trial| trial.scenario.pace(options.profile, &trial.id.engine).provisioning.is_some())
        .count();
    u32::try_from(wanting.min(jobs(options))).map_or(POOL, |wanted| wanted.min(POOL))
}

/// How many trials at once: as many as memory and cores bear.
pub fn jobs(options: &Options) -> usize {
    options.jobs.map_or_else(
        || {
            let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
            let memory = usize::try_from(available_memory() / MEMORY_PER_TRIAL).unwrap_or(usize::MAX);
            (cores * TRIALS_PER_CORE).min(memory).max(1)
        },
        NonZeroUsize::get,
    )
}

/// The memory that can be had without swapping, in bytes; 0 where the system does not tell.
fn available_memory() -> u64 {
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok())
        .map_or(0, |kib| kib << 10)
}
