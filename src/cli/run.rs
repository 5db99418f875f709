//! `rekindle run`: scenarios on engines, from set-up to report.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::Context;
use super::failure::{Failure, unknown};
use super::scenarios::{self, Entry};
use super::terminal::{complain, put};
use crate::engine;
use crate::events::Events;
use crate::exit_code::{self, ExitCode};
use crate::outcome::{Outcome, Profile};
use crate::report::human::{Mode, Reporter};
use crate::report::{Report, json, summary};
use crate::run::{self, NoGround, Options};
use crate::toolchain;
use crate::trial::Recordings;

const EXAMPLES: &str = "\
Examples:
  rekindle run                                        everything
  rekindle run hook-target-unreachable                one failure, all of its forms
  rekindle run --engine helm-4 --profile faithful     durations as documented
  rekindle run secret-missing --keep                  and look at the cluster afterwards
  rekindle run --format json | jq .verdict            nothing but the report on standard output
  rekindle run --record recordings                    and diagnose again later, with `rekindle replay`

The first run sets up Docker where that is possible, and builds Kubernetes and the engines from source. That takes minutes; \
what was built is kept for the next run.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct RunArgs {
    #[command(flatten)]
    common: Common,
    /// Record each trial into a file of this folder, for `rekindle replay`
    #[arg(long, value_name = "DIR", help_heading = "What to print")]
    record: Option<PathBuf>,
}

/// What `run` and `record` are told.
#[derive(Debug, Args)]
pub struct Common {
    /// Scenarios to run: `<slug>` for all of its forms, or `<slug>--<form>` [default: all]
    #[arg(value_name = "SCENARIO")]
    names: Vec<String>,

    /// Engines to run them on, with commas between, or `all`
    #[arg(
        long,
        value_name = "ENGINE",
        value_delimiter = ',',
        default_value = "all",
        help_heading = "What to run"
    )]
    engine: Vec<String>,
    /// Durations: `fast` scales the documented ones down, `faithful` keeps them
    #[arg(long, default_value = "fast", value_parser = profile, help_heading = "What to run")]
    profile: Profile,
    /// The folder of the scenarios
    #[arg(long, value_name = "DIR", default_value = "scenarios", help_heading = "What to run")]
    scenarios: PathBuf,

    /// How many trials at once [default: what memory and cores allow]
    #[arg(long, short, value_name = "N", value_parser = jobs, help_heading = "Where to run it")]
    jobs: Option<NonZeroUsize>,
    /// Keep the cluster and the namespaces of the trials
    #[arg(long, help_heading = "Where to run it")]
    keep: bool,
    /// Remove the cluster at the end instead of parking it for the next run, as where CI is set
    #[arg(long, help_heading = "Where to run it")]
    no_park: bool,
    /// The name of the cluster: one that is up is used and stays, else it is made for this run [default: rekindle]
    #[arg(long, value_name = "NAME", value_parser = crate::cluster::read_name, help_heading = "Where to run it")]
    name: Option<String>,
    /// A node image of your own instead of the one that is built
    #[arg(long, value_name = "IMAGE", help_heading = "Where to run it")]
    node_image: Option<String>,
    /// Another image for the helm-controller of an engine, one that Docker has: `flux-2.9=docker.io/fluxcd/helm-controller:v1.6.5`
    #[arg(long, value_name = "ENGINE=IMAGE", value_parser = flux_image, help_heading = "Where to run it")]
    flux_image: Vec<(String, String)>,

    /// The folder for report.json and junit.xml
    #[arg(long, value_name = "DIR", default_value = "rekindle-report", help_heading = "What to print")]
    report: PathBuf,
    /// What to print at the end
    #[arg(long, value_enum, default_value_t, help_heading = "What to print")]
    format: Format,
    /// No progress, and at the end only what failed
    #[arg(long, short, help_heading = "What to print")]
    quiet: bool,
}

/// For people or for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    #[default]
    Human,
    Json,
}

/// Reads a profile's name.
///
/// # Errors
/// Where there is none of that name, with the nearest.
pub fn profile(name: &str) -> Result<Profile, String> {
    match name {
        "fast" => Ok(Profile::Fast),
        "faithful" => Ok(Profile::Faithful),
        _ => Err(unknown("profile", name, ["fast", "faithful"]).message),
    }
}

fn jobs(number: &str) -> Result<NonZeroUsize, &'static str> {
    number.parse().map_err(|_| "write a whole number, 1 or more")
}

fn flux_image(text: &str) -> Result<(String, String), String> {
    let flux: Vec<&str> = engine::NAMES.iter().copied().filter(|name| name.starts_with("flux-")).collect();
    match text.split_once('=') {
        Some((engine, image)) if flux.contains(&engine) && !image.is_empty() => Ok((engine.to_owned(), image.to_owned())),
        _ => Err(format!("write ENGINE=IMAGE, where ENGINE is one of {}", flux.join(", "))),
    }
}

/// Runs scenarios, writes the reports, prints the summary.
pub async fn run(args: RunArgs, context: &Context) -> Result<ExitCode, Failure> {
    run_and_record(args.common, args.record.map(Recordings::Folder), context).await
}

/// The same, and records where that is wanted.
pub async fn run_and_record(args: Common, recordings: Option<Recordings>, context: &Context) -> Result<ExitCode, Failure> {
    let mut all = scenarios::load(&args.scenarios)?;
    let entries: Vec<Entry> = all.iter().map(Entry::from).collect();
    let engines = scenarios::engines(&entries, &args.engine)?;
    let chosen = scenarios::select(entries, &args.names)?;
    all.retain(|scenario| chosen.iter().any(|entry| entry.id == scenario.id));
    scenarios::require_one(&chosen, &engines)?;
    let toolchain = toolchain::Options {
        flux_images: args.flux_image.into_iter().collect(),
        ..context.toolchain(args.node_image)
    };
    let options = Options {
        engines,
        jobs: args.jobs,
        keep: args.keep,
        park: !args.no_park && !context.dirs.ci,
        cluster: args.name,
        recordings,
        ..Options::new(all, args.profile, toolchain)
    };

    let (events, receiver) = Events::channel();
    context.interrupt.tell(&events);
    let terminal = context.terminal;
    let reporter = Reporter::start(receiver, Mode::detect(args.quiet, terminal.dumb), terminal.err);
    let report = run::run(&options, &events, &context.interrupt.cancel).await;
    drop(events);
    reporter.finish().await;
    let report = match report {
        Ok(report) => report,
        Err(NoGround { error, report }) => {
            // Whoever collects the reports learns that nothing was tried.
            report.write(&args.report)?;
            return Err(error.into());
        }
    };

    // The result is printed even where it cannot be written.
    let written = report.write(&args.report);
    let files = written.as_deref().unwrap_or_default();
    match args.format {
        Format::Human => {
            if !args.quiet {
                complain("");
            }
            put(&summary::render(&report, files, terminal.page(), args.quiet, terminal.out))?;
        }
        Format::Json => {
            let json = json::render(&report);
            put(&json.map_err(|error| Failure::new(exit_code::INTERNAL, format!("the report could not be written: {error}")))?)?;
        }
    }
    written?;
    Ok(exit(&report))
}

fn exit(report: &Report) -> ExitCode {
    if report.verdict.passed() && report.clusters_left > 0 {
        return exit_code::CLUSTER;
    }
    let unrecorded = |outcome: &Outcome| outcome.recording.as_ref().is_some_and(|recording| recording.failure.is_some());
    if report.verdict.passed() && report.outcomes.iter().any(unrecorded) {
        return exit_code::OUTPUT;
    }
    ExitCode::of(report.verdict)
}
