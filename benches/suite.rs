//! `make bench`, the part that is about whole runs: a parked cluster, and the suite against a script.
//!
//! 1. A cluster that was parked: until its API answers, until it is proven ours and ready, and until a new pod runs. Arguments are further
//!    pauses in seconds.
//! 2. Three scenarios on Helm 3 and 4, broken and twin, on a parked cluster; and what of it `baseline.sh` can do, by both.
//! 3. Every scenario on every engine.
//! 4. One look at namespaces of three sizes, against `kubectl describe`.
//!
//! Arguments that name a part (`parked`, `suite`, `whole`, `looks`) choose it; without one, all are measured.
//!
//! Machines are noisy: every line says n and the median.

#![allow(clippy::disallowed_methods, reason = "a benchmark lets time pass to measure what happens in it")]

mod frame;
mod looks;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use frame::{Error, line, median};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, PostParams};
use rekindle::cli::Dirs;
use rekindle::cluster::{self, Cluster};
use rekindle::command::Command;
use rekindle::events::Events;
use rekindle::outcome::Profile;
use rekindle::run::{self, Options};
use rekindle::scenario::{self, Scenario};
use rekindle::toolchain::{self, Toolchain};
use rekindle::trial::Recordings;
use serde_json::json;
use tokio_util::sync::CancellationToken;

/// The scenarios that the script knows, and the one with a machine that comes late.
const BASELINE: [&str; 3] = ["hook-target-unreachable", "ttl-deleted-job", "hook-budget-below-cold-start"];
const PARTS: [&str; 4] = ["parked", "suite", "whole", "looks"];
/// How long the cluster is parked when nothing else is said, and how often.
const PAUSES: [u64; 5] = [2, 2, 2, 35, 35];
/// How long to wait for something that takes a second.
const DEADLINE: Duration = Duration::from_secs(60);
/// The baseline takes some minutes.
const SCRIPT: Duration = Duration::from_mins(30);
const LOOK: Duration = Duration::from_millis(10);

fn main() -> ExitCode {
    frame::is_rekindle().unwrap_or_else(|| frame::run(|| tokio::runtime::Runtime::new()?.block_on(measure())))
}

async fn measure() -> Result<bool, Error> {
    let dirs = Dirs::from_environment()?;
    let toolchain = toolchain::Options::new(dirs.cache, dirs.state);
    let everything = scenario::load_all("scenarios".as_ref())?;
    let mut scenarios = everything.clone();
    // Forms are more of the same: the baseline knows none.
    scenarios.retain(|scenario| BASELINE.contains(&scenario.id.as_str()));
    let options = Options {
        park: true,
        cluster: Some("rekindle-bench".to_owned()),
        // Where one does not pass, what it saw is what the reason is found by.
        recordings: Some(Recordings::Folder("target/recordings/bench".into())),
        // What the baseline can run.
        engines: ["helm-3", "helm-4"].map(str::to_owned).into(),
        ..Options::new(scenarios, Profile::Fast, toolchain)
    };
    let cancel = CancellationToken::new();
    let with_engines = toolchain::Options {
        engines: vec!["helm-3".to_owned(), "helm-4".to_owned()],
        ..options.toolchain.clone()
    };
    let tools = toolchain::prepare(&with_engines, &Events::silent(), &cancel).await?;
    let named: Vec<String> = std::env::args().filter(|argument| PARTS.contains(&argument.as_str())).collect();
    let wanted = |part: &str| named.is_empty() || named.iter().any(|named| named == part);
    let measured = async {
        let mut holds = true;
        if wanted("parked") {
            holds &= parked(&options, &tools, &cancel).await?;
        }
        if wanted("suite") {
            holds &= suite(&options, &tools, &cancel).await?;
        }
        if wanted("whole") {
            let all = Options {
                scenarios: everything,
                engines: Vec::new(),
                ..options.clone()
            };
            holds &= whole(&all, &cancel).await?;
        }
        if wanted("looks") {
            holds &= looks(&options, &tools, &cancel).await?;
        }
        Ok::<bool, Error>(holds)
    };
    let measured = measured.await;
    cluster::down(&options.toolchain.state, "rekindle-bench", &Events::silent()).await?;
    toolchain::release_docker(&options.toolchain, &cancel).await?;
    measured
}

/// Parks a cluster and wakes it again.
async fn parked(options: &Options, tools: &Toolchain, cancel: &CancellationToken) -> Result<bool, Error> {
    let silent = Events::silent();
    let mut wanted = cluster::Options::new(&options.toolchain.state);
    wanted.name = "rekindle-bench".to_owned();
    // As for the whole suite, so that it need not be made anew for it.
    wanted.pool = 3;
    let cluster = Cluster::up(&wanted, tools, &silent, cancel).await?;
    let client = cluster.client.clone();
    cluster.leave(true, &silent).await?;
    let further = std::env::args().filter_map(|argument| argument.parse().ok());
    let (mut answers, mut ready, mut pods) = (Vec::new(), Vec::new(), Vec::new());
    let mut holds = true;
    for (n, pause) in PAUSES.into_iter().chain(further).enumerate() {
        tokio::time::sleep(Duration::from_secs(pause)).await;
        let started = Instant::now();
        let asked = client.clone();
        let answer = tokio::spawn(async move {
            while asked.apiserver_version().await.is_err() {
                tokio::time::sleep(LOOK).await;
            }
            started.elapsed().as_secs_f64()
        });
        let cluster = Cluster::up(&wanted, tools, &silent, cancel).await?;
        if cluster.fresh() {
            return Err(format!("after {pause}s the cluster was not woken, but made anew").into());
        }
        let (up, answer) = (started.elapsed().as_secs_f64(), answer.await?);
        let pod = pod(&cluster, tools).await?;
        cluster.leave(true, &silent).await?;
        if n < PAUSES.len() {
            answers.push(answer);
            ready.push(up);
            pods.push(pod);
        } else {
            let measured = format!("{answer:.2}s, {up:.2}s, {pod:.2}s");
            let what = format!("parked for {pause}s: API, ready, new pod after it");
            holds &= line(&what, 1, measured, "<= 0.5s, -, 2s", answer <= 0.5 && pod <= 2.0);
        }
    }
    for (what, values, bound) in [
        ("parked for 2s and 35s: until the API answers", &mut answers, Some(0.5)),
        ("until it is proven ours and ready", &mut ready, None),
        ("and then until a new pod runs", &mut pods, Some(2.0)),
    ] {
        let worst = values.iter().copied().fold(0.0, f64::max);
        let measured = format!("{:.2}s, worst {worst:.2}s", median(values));
        let words = bound.map_or_else(String::new, |bound: f64| format!("<= {bound}s"));
        holds &= line(what, PAUSES.len(), measured, &words, bound.is_none_or(|bound| worst <= bound));
    }
    Ok(holds)
}

/// How long a new pod takes until its container runs, in seconds.
async fn pod(cluster: &Cluster, tools: &Toolchain) -> Result<f64, Error> {
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), "default");
    let pod = serde_json::from_value(json!({
        "metadata": {"name": "bench"},
        "spec": {"terminationGracePeriodSeconds": 0, "containers": [
            {"name": "sleep", "image": tools.images.tools.reference, "imagePullPolicy": "Never", "command": ["sleep", "600"]}]},
    }))?;
    let started = Instant::now();
    pods.create(&PostParams::default(), &pod).await?;
    let running = |pod: &Pod| pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running");
    while !running(&pods.get("bench").await?) {
        if started.elapsed() > DEADLINE {
            return Err("a new pod does not run".into());
        }
        tokio::time::sleep(LOOK).await;
    }
    let took = started.elapsed().as_secs_f64();
    pods.delete("bench", &DeleteParams::default().grace_period(0)).await?;
    while pods.get_opt("bench").await?.is_some() {
        tokio::time::sleep(LOOK).await;
    }
    Ok(took)
}

/// One look, at namespaces of a cluster that does nothing else.
async fn looks(options: &Options, tools: &Toolchain, cancel: &CancellationToken) -> Result<bool, Error> {
    let mut wanted = cluster::Options::new(&options.toolchain.state);
    wanted.name = "rekindle-bench".to_owned();
    let cluster = Cluster::up(&wanted, tools, &Events::silent(), cancel).await?;
    looks::measure(&cluster, tools).await
}

/// The whole suite warm; then what the baseline can do, by both.
async fn suite(options: &Options, tools: &Toolchain, cancel: &CancellationToken) -> Result<bool, Error> {
    let cores = std::thread::available_parallelism()?.get();
    let (whole, outcomes) = warm(options, cancel).await?;
    let mut holds = line(
        "three scenarios on Helm 3 and 4, a warm run",
        outcomes,
        format!("{whole:.0}s"),
        "<= 120s",
        whole <= 120.0,
    );
    // The baseline has no machines that come late.
    let common: Vec<Scenario> = options
        .scenarios
        .iter()
        .filter(|scenario| scenario.pace(Profile::Fast, "helm-4").provisioning.is_none())
        .cloned()
        .collect();
    let share = Options {
        scenarios: common.clone(),
        ..options.clone()
    };
    let (ours, _) = warm(&share, cancel).await?;
    let busy = processor_time()?;
    let theirs = baseline(&common, tools, cancel).await?;
    let processor = processor_time()? - busy;

    #[allow(clippy::cast_precision_loss, reason = "a handful of cores")]
    let floor = processor / cores as f64;
    let trials = run::trials(&share);
    let longest = trials
        .iter()
        .map(|trial| trial.scenario.pace(Profile::Fast, &trial.id.engine).timeout.as_secs_f64())
        .fold(0.0, f64::max);
    let floor = floor.max(longest);
    let measured = format!("{ours:.0}s / {theirs:.0}s = 1/{:.1}", theirs / ours);
    holds &= line(
        "run / baseline.sh, the same outcomes",
        trials.len(),
        measured,
        "<= 1/5",
        theirs >= ours * 5.0,
    );
    let measured = format!("{ours:.0}s / {floor:.0}s = {:.2}", ours / floor);
    holds &= line("run / floor", trials.len(), measured, "<= 1.3", ours <= floor * 1.3);
    Ok(holds)
}

/// Every scenario on every engine, against what no harness could do without: the longest wait, or the processor time over all cores. That
/// time is the run's own, so that the ratio tells how well the machine is used, and not whether less would have done.
async fn whole(options: &Options, cancel: &CancellationToken) -> Result<bool, Error> {
    let busy = processor_time()?;
    let (took, outcomes) = warm(options, cancel).await?;
    #[allow(clippy::cast_precision_loss, reason = "a handful of cores")]
    let floor = (processor_time()? - busy) / std::thread::available_parallelism()?.get() as f64;
    let trials = run::trials(options);
    let longest = trials
        .iter()
        .map(|trial| trial.scenario.pace(Profile::Fast, &trial.id.engine).timeout.as_secs_f64())
        .fold(0.0, f64::max);
    let floor = floor.max(longest);
    let measured = format!("{took:.0}s / {floor:.0}s = {:.2}", took / floor);
    Ok(line(
        "every scenario on every engine / floor",
        outcomes,
        measured,
        "<= 1.3",
        took <= floor * 1.3,
    ))
}

/// A run on the parked cluster, in seconds; all of its trials have to pass.
async fn warm(options: &Options, cancel: &CancellationToken) -> Result<(f64, usize), Error> {
    let started = Instant::now();
    let report = run::run(options, &Events::silent(), cancel)
        .await
        .map_err(|none| none.error.to_string())?;
    let took = started.elapsed().as_secs_f64();
    match report.outcomes.iter().find(|outcome| !outcome.verdict.passed()) {
        Some(outcome) => Err(format!("{} did not pass: {}", outcome.trial, outcome.sentence).into()),
        None => Ok((took, report.outcomes.len())),
    }
}

/// The script, in seconds.
async fn baseline(scenarios: &[Scenario], tools: &Toolchain, cancel: &CancellationToken) -> Result<f64, Error> {
    let mut command = Command::new("benches/baseline.sh", SCRIPT)
        .env("KIND", &tools.kind)
        .env("KUBECTL", &tools.kubectl)
        .env("NODE_IMAGE", &tools.node_image)
        .env("TOOLS_IMAGE", &tools.images.tools.reference)
        .env("STANDIN_IMAGE", &tools.images.standin.reference);
    for scenario in scenarios {
        for engine in scenario.engines.iter().filter(|engine| tools.engines.contains_key(*engine)) {
            let binary = tools
                .engines
                .get(engine)
                .ok_or("an engine is missing")?
                .binary
                .display()
                .to_string();
            let words = scenario
                .engine_fails
                .get(engine)
                .and_then(|words| words.last())
                .map_or("", String::as_str);
            let remedy = match scenario.id.as_str() {
                "hook-target-unreachable" => "keycloakConfig.url=http://keycloak",
                "ttl-deleted-job" => "migrationJob.ttlSecondsAfterFinished=90",
                other => return Err(format!("the baseline knows no remedy of {other}").into()),
            };
            let path = |path: &std::path::Path| path.display().to_string();
            let twin = scenario
                .twin
                .as_ref()
                .and_then(|twin| twin.values.as_deref())
                .map_or_else(String::new, path);
            let timeout = format!("{}s", scenario.pace(Profile::Fast, engine).timeout.as_secs());
            command = command.args([
                binary,
                path(scenario.content.folder()),
                scenario.release.clone(),
                twin,
                timeout,
                words.to_owned(),
                remedy.to_owned(),
            ]);
        }
    }
    let started = Instant::now();
    command.run(cancel).await?;
    Ok(started.elapsed().as_secs_f64())
}

/// What all processes of this machine have used of its processors so far, in seconds.
fn processor_time() -> Result<f64, Error> {
    let stat = std::fs::read_to_string("/proc/stat")?;
    let fields: Vec<f64> = stat
        .lines()
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .skip(1)
        .filter_map(|field| field.parse().ok())
        .collect();
    // All but idle and iowait.
    let ticks: f64 = fields
        .iter()
        .enumerate()
        .filter(|(n, _)| !matches!(n, 3 | 4) && *n < 8)
        .map(|(_, ticks)| ticks)
        .sum();
    #[allow(clippy::cast_precision_loss, reason = "a hundred a second")]
    Ok(ticks / rustix::param::clock_ticks_per_second() as f64)
}
