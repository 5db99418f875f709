//! `make bench`: how fast the harness is, as ratios to the named peer in one run. Machines are noisy: every line says n and the median.
//!
//! 1. `rekindle up` against plain `kind create cluster --wait`, same image, same number of nodes, in turn.
//! 2. What the harness adds to a trial, how long a diagnosis takes from the fact that makes it knowable, memory at its peak.
//! 3. The processor time of the harness while it waits.

#![allow(clippy::disallowed_methods, reason = "a benchmark lets time pass to measure what happens in it")]

mod frame;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use frame::{Error, line, median};
use rekindle::cli::Dirs;
use rekindle::cluster::{self, Cluster};
use rekindle::command::Command;
use rekindle::events::Events;
use rekindle::outcome::{Outcome, Profile, Variant};
use rekindle::report;
use rekindle::run::{self, Options};
use rekindle::scenario::{self, Knowable};
use rekindle::toolchain::{self, Toolchain};
use rekindle::trial::Trial;
use tokio_util::sync::CancellationToken;

/// How often each way to a cluster is measured.
const CLUSTERS: usize = 3;
/// How many diagnoses are timed at the least.
const DIAGNOSES: usize = 30;
/// How long the harness is watched while it waits.
const WAITING: Duration = Duration::from_secs(60);
const DEADLINE: Duration = Duration::from_secs(300);

fn main() -> ExitCode {
    frame::run(|| tokio::runtime::Runtime::new()?.block_on(measure()))
}

async fn measure() -> Result<bool, Error> {
    let dirs = Dirs::from_environment()?;
    let toolchain = toolchain::Options::new(dirs.cache, dirs.state);
    let options = Options {
        // Flux tries everything twice: the same would be measured in twice the time.
        engines: ["helm-3", "helm-4"].map(str::to_owned).into(),
        ..Options::new(scenario::load_all("scenarios".as_ref())?, Profile::Fast, toolchain)
    };
    let cancel = CancellationToken::new();
    let tools = toolchain::prepare(&options.toolchain, &Events::silent(), &cancel).await?;
    let mut holds = clusters(&options, &tools, &cancel).await?;
    holds &= trials(&options, &cancel).await?;
    toolchain::release_docker(&options.toolchain, &cancel).await?;
    Ok(holds)
}

/// `up` and plain kind, in turn.
async fn clusters(options: &Options, tools: &Toolchain, cancel: &CancellationToken) -> Result<bool, Error> {
    let (mut ours, mut plain) = (Vec::new(), Vec::new());
    for _ in 0..CLUSTERS {
        plain.push(kind(tools, cancel).await?.as_secs_f64());
        let started = Instant::now();
        let wanted = cluster::Options::new(&options.toolchain.state);
        let cluster = Cluster::up(&wanted, tools, &Events::silent(), cancel).await?;
        ours.push(started.elapsed().as_secs_f64());
        cluster.down(&Events::silent()).await?;
    }
    let ratio = median(&mut ours) / median(&mut plain);
    let what = "rekindle up / kind create cluster --wait";
    let measured = format!("{:.1}s / {:.1}s = {ratio:.2}", median(&mut ours), median(&mut plain));
    Ok(line(what, CLUSTERS, measured, "<= 0.95", ratio <= 0.95))
}

/// A cluster as kind makes it, nothing loaded, and gone again.
async fn kind(tools: &Toolchain, cancel: &CancellationToken) -> Result<Duration, Error> {
    let folder = tempfile::tempdir()?;
    let kubeconfig = folder.path().join("kubeconfig");
    let command = |arguments: &[&str]| {
        Command::new(&tools.kind, DEADLINE)
            .args(arguments)
            .args(["--name", "rekindle-bench-peer", "--kubeconfig"])
            .arg(&kubeconfig)
            .env("KUBECONFIG", &kubeconfig)
            .env("KIND_EXPERIMENTAL_DOCKER_NETWORK", "rekindle-bench-peer")
    };
    let started = Instant::now();
    let created = command(&["create", "cluster", "--wait", "120s", "--image", &tools.node_image])
        .run(cancel)
        .await;
    let elapsed = started.elapsed();
    command(&["delete", "cluster"]).run(cancel).await?;
    Command::new("docker", DEADLINE)
        .args(["network", "rm", "rekindle-bench-peer"])
        .run(cancel)
        .await?;
    created?;
    Ok(elapsed)
}

/// Trials until enough diagnoses have been timed; the processor time is taken while the first of them wait.
async fn trials(options: &Options, cancel: &CancellationToken) -> Result<bool, Error> {
    let standing = run::stand(options, &Events::silent(), cancel).await?;
    // Those whose cause can be known while the engine waits; the others are known only when it has given up.
    let early = |trial: &Trial<'_>| trial.id.variant == Variant::Broken && trial.scenario.knowable(&trial.id.engine) == Knowable::Early;
    let chosen: Vec<_> = run::trials(options).into_iter().filter(early).collect();
    let chosen = [chosen.clone(), chosen].concat();
    let mut outcomes: Vec<Outcome> = Vec::new();
    while outcomes.iter().filter(|outcome| outcome.lag_ms.is_some()).count() < DIAGNOSES {
        let before = outcomes.len();
        outcomes.extend(run::carry_out(&chosen, &standing, cancel).await);
        if outcomes[before..].iter().all(|outcome| outcome.lag_ms.is_none()) {
            let sentences: Vec<_> = outcomes[before..].iter().map(|outcome| outcome.sentence.as_str()).collect();
            return Err(format!("nothing is diagnosed: {}", sentences.join("; ")).into());
        }
    }
    let failed = outcomes.iter().filter(|outcome| !outcome.verdict.passed()).count();

    // Faithful durations: long enough to be watched while nothing happens but waiting.
    let faithful = Options {
        profile: Profile::Faithful,
        ..options.clone()
    };
    let waiting: Vec<_> = run::trials(&faithful)
        .into_iter()
        .filter(|trial| trial.id.scenario == trial.scenario.slug && trial.id.variant == Variant::Broken)
        .collect();
    let stop = CancellationToken::new();
    let watched = async {
        // Past the rollout, the hook waits and so does everybody else.
        tokio::time::sleep(Duration::from_secs(45)).await;
        let before = processor_time();
        tokio::time::sleep(WAITING).await;
        let used = processor_time().saturating_sub(before);
        stop.cancel();
        used
    };
    let (used, _) = tokio::join!(watched, run::carry_out(&waiting, &standing, &stop));
    let cleared = standing.clear(options, &Events::silent()).await;
    if let Some(failure) = cleared.failures.first() {
        return Err(failure.clone().into());
    }

    let mut holds = line("trials that did not pass", outcomes.len(), failed.to_string(), "0", failed == 0);
    let mut overheads: Vec<f64> = outcomes.iter().map(|outcome| seconds(outcome.overhead_ms)).collect();
    let worst = overheads.iter().copied().fold(0.0, f64::max);
    let measured = format!("{:.2}s, worst {worst:.2}s", median(&mut overheads));
    holds &= line("what the harness adds to a trial", outcomes.len(), measured, "<= 2s", worst <= 2.0);
    let mut lags: Vec<f64> = outcomes.iter().filter_map(|outcome| outcome.lag_ms).map(seconds).collect();
    let worst = lags.iter().copied().fold(0.0, f64::max);
    let measured = format!("{:.0}ms, worst {:.0}ms", median(&mut lags) * 1e3, worst * 1e3);
    holds &= line(
        "from the earliest fact to the diagnosis",
        lags.len(),
        measured,
        "worst <= 250ms",
        worst <= 0.25,
    );
    #[allow(clippy::cast_precision_loss, reason = "a handful of trials")]
    let share = used.as_secs_f64() / WAITING.as_secs_f64() / waiting.len() as f64 * 100.0;
    holds &= line(
        "processor for a trial that waits for 60s",
        waiting.len(),
        format!("{share:.2}% of a core"),
        "<= 1%",
        share <= 1.0,
    );
    let peak = report::peak_memory() as f64 / 1e6;
    holds &= line("peak memory of the harness", 1, format!("{peak:.0} MB"), "<= 100 MB", peak <= 100.0);
    Ok(holds)
}

#[allow(clippy::cast_precision_loss, reason = "milliseconds of a trial are few")]
fn seconds(ms: u64) -> f64 {
    ms as f64 / 1e3
}

/// What this process has used of the processor so far.
fn processor_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // Behind the name in parentheses, which may hold anything, the 12th and 13th fields are user and system time.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks: u64 = [11, 12].iter().filter_map(|index| fields.get(*index)?.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second())
}
