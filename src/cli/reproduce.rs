//! `rekindle reproduce`: one failure, lit and left for somebody to look at, and then put out step by step.

use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::Context;
use super::answer::with_progress;
use super::failure::{Failure, unknown};
use super::run::{Format, profile};
use super::scenarios::{self, Entry};
use super::terminal::{complain, put};
use crate::cluster;
use crate::command;
use crate::exit_code::{self, ExitCode};
use crate::outcome::{Outcome, Profile};
use crate::report::reproduction;
use crate::reproduce::{Cleaned, Place, Reached, ReproduceError, Reproduction, Session, SessionError};
use crate::run::Options;
use crate::scenario::Scenario;
use crate::trial::kept;

const EXAMPLES: &str = "\
Examples:
  rekindle reproduce ttl-deleted-job                  break it, say why, and open a shell in it
  rekindle reproduce ttl-deleted-job --step remedy    apply the diagnosed remedy
  rekindle reproduce ttl-deleted-job --step verify    watch that it lasts
  rekindle reproduce ttl-deleted-job --step clean     remove it again

It stays as it is between the steps. In the shell, kubectl and helm are those of the reproduction, with its namespace as the default.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ReproduceArgs {
    /// The scenario: `<slug>` or `<slug>--<form>`
    #[arg(value_name = "SCENARIO")]
    scenario: String,
    /// One step alone, without a shell [default: break and diagnose, then a shell where there is a terminal]
    #[arg(long, value_enum, value_name = "STEP")]
    step: Option<Step>,
    /// The engine to break it with [default: the newest of the scenario's]
    #[arg(long, value_name = "ENGINE", help_heading = "What to break")]
    engine: Option<String>,
    /// Durations: `fast` scales the documented ones down, `faithful` keeps them
    #[arg(long, default_value = "fast", value_parser = profile, help_heading = "What to break")]
    profile: Profile,
    /// The folder of the scenarios
    #[arg(long, value_name = "DIR", default_value = "scenarios", help_heading = "What to break")]
    scenarios: PathBuf,
    /// The name of the cluster: one that is up is used, else it is made, and goes with the reproduction [default: rekindle]
    #[arg(long, value_name = "NAME", value_parser = crate::cluster::read_name, help_heading = "Where")]
    name: Option<String>,
    /// A node image of your own instead of the one that is built
    #[arg(long, value_name = "IMAGE", help_heading = "Where")]
    node_image: Option<String>,
    /// What to print
    #[arg(long, value_enum, default_value_t, help_heading = "What to print")]
    format: Format,
}

/// The steps, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Step {
    Break,
    Diagnose,
    Remedy,
    Verify,
    Clean,
}

impl From<ReproduceError> for Failure {
    fn from(error: ReproduceError) -> Self {
        if error.out_of_turn() {
            return Self::usage(error.to_string());
        }
        match error {
            ReproduceError::Provision(error) => (*error).into(),
            ReproduceError::Trial(error) => Self::new(exit_code::INFRA, error.to_string()),
            ReproduceError::Session(SessionError::Recording(error)) => error.into(),
            ReproduceError::Session(error) => Self::new(exit_code::OUTPUT, error.to_string()),
            error => Self::new(exit_code::CLUSTER, error.to_string()),
        }
    }
}

/// Takes a step, and tells what there is now and how to go on.
pub async fn run(args: ReproduceArgs, context: &Context) -> Result<ExitCode, Failure> {
    let reproduction = reproduction(&args, context)?;
    if args.step == Some(Step::Clean) {
        let cleaned = with_progress(context, |events| async move {
            reproduction.clean(&events, &context.interrupt.cancel).await
        })
        .await?;
        put(match cleaned {
            Cleaned::Cluster => "Everything is removed, its cluster included.\n",
            Cleaned::Namespace => "Everything of it is removed; the cluster stays.\n",
        })?;
        return Ok(exit_code::PASS);
    }
    let (reproduction, step) = (&reproduction, args.step);
    let lit = reproduction.session().is_ok();
    // Somebody who wants to find the cause out is not told it.
    let causes = step != Some(Step::Break);
    let session = with_progress(context, |events| async move {
        let events = if causes { events } else { events.without_causes() };
        let cancel = &context.interrupt.cancel;
        match step {
            // What is lit is not lit again, but looked at again.
            None | Some(Step::Diagnose) if lit => reproduction.step(kept::Step::Diagnose, &events, cancel).await,
            None | Some(Step::Break) => reproduction.light(&events, cancel).await,
            Some(Step::Remedy) => reproduction.step(kept::Step::Remedy, &events, cancel).await,
            Some(Step::Verify) => reproduction.step(kept::Step::Verify, &events, cancel).await,
            Some(Step::Diagnose | Step::Clean) => reproduction.session(),
        }
    })
    .await?;
    let place = &reproduction.place;
    match args.format {
        Format::Json => put(&json(&session, place)?)?,
        Format::Human => {
            let (columns, paint) = (context.terminal.page(), context.terminal.out);
            complain("");
            let told = match step {
                Some(Step::Break) => reproduction::broken(&session, columns, paint),
                Some(Step::Remedy | Step::Verify) => reproduction::remedied(&session, columns, paint),
                _ => reproduction::known(&session, columns, paint),
            };
            put(&(told + &reproduction::next(&session, place, causes, paint)))?;
            if step.is_none() && std::io::stdin().is_terminal() && std::io::stdout().is_terminal() {
                shell(&session, place)?;
            }
        }
    }
    Ok(ExitCode::of(session.kept.outcome.verdict))
}

/// Which trial is meant: what the arguments say, and else what is lit.
fn reproduction(args: &ReproduceArgs, context: &Context) -> Result<Reproduction, Failure> {
    let all = scenarios::load(&args.scenarios)?;
    let scenario = only(all, &args.scenario)?;
    let toolchain = context.toolchain(args.node_image.clone());
    let cluster = args.name.as_deref().unwrap_or(cluster::DEFAULT_NAME);
    let lit = Place::of(&toolchain.state, cluster, &scenario.id)
        .load()
        .map_err(ReproduceError::from)?;
    let lit = lit.map(|session| session.kept.outcome.trial);
    if let Some(engine) = args.engine.as_ref().filter(|engine| !scenario.engines.contains(engine)) {
        return Err(unknown("engine", engine, scenario.engines.iter().map(String::as_str)));
    }
    let engine = match (&args.engine, &lit) {
        (Some(engine), Some(lit)) if *engine != lit.engine => {
            return Err(
                Failure::usage(format!("{} is lit on {}, not on {engine}", scenario.id, lit.engine)).hint(format!(
                    "remove it first: rekindle reproduce {}{} --step clean",
                    scenario.id,
                    cluster::named(cluster)
                )),
            );
        }
        (_, Some(lit)) => Some(lit.engine.clone()),
        (engine, None) => engine.clone().or_else(|| scenario.engines.iter().max().cloned()),
    };
    let profile = lit.map_or(args.profile, |lit| lit.profile);
    let options = Options {
        engines: engine.into_iter().collect(),
        cluster: args.name.clone(),
        ..Options::new(vec![scenario], profile, toolchain)
    };
    Ok(Reproduction::new(options))
}

/// The one scenario of that name; a slug means the scenario that bears it.
fn only(all: Vec<Scenario>, name: &str) -> Result<Scenario, Failure> {
    let entries: Vec<Entry> = all.iter().map(Entry::from).collect();
    let meant = scenarios::select(entries, &[name.to_owned()])?;
    let id = match meant.as_slice() {
        [one] => one.id.clone(),
        many if many.iter().any(|entry| entry.id == name) => name.to_owned(),
        many => {
            let ids: Vec<&str> = many.iter().map(|entry| entry.id.as_str()).collect();
            return Err(Failure::usage(format!("`{name}` is shown by several scenarios: {}", ids.join(", "))).hint("name one of them"));
        }
    };
    all.into_iter()
        .find(|scenario| scenario.id == id)
        .ok_or_else(|| Failure::usage(format!("there is no scenario `{name}`")))
}

/// Opens the user's shell on what was left, and waits for its end.
#[allow(clippy::disallowed_methods, reason = "the user's own shell and path")]
fn shell(session: &Session, place: &Place) -> Result<(), Failure> {
    let program = std::env::var_os("SHELL")
        .filter(|shell| !shell.is_empty())
        .unwrap_or_else(|| "/bin/sh".into());
    let inherited = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(session.path.iter().cloned().chain(std::env::split_paths(&inherited))).unwrap_or(inherited);
    let envs: [(&str, OsString); 3] = [
        ("KUBECONFIG", place.kubeconfig().into()),
        ("HELM_NAMESPACE", session.kept.namespace.clone().into()),
        ("PATH", path),
    ];
    complain("\nThis is a shell in it. It ends with `exit`, which removes nothing.");
    command::hand_over(&program, &envs).map_err(|error| {
        Failure::new(
            exit_code::OUTPUT,
            format!("the shell {} did not start: {error}", program.to_string_lossy()),
        )
    })?;
    complain(&format!(
        "It stays as you left it; remove it with: rekindle reproduce {}{} --step clean",
        session.kept.outcome.trial.scenario,
        cluster::named(&session.cluster)
    ));
    Ok(())
}

/// What there is now, for programs.
#[derive(Serialize)]
struct Now<'a> {
    reached: Reached,
    cluster: &'a str,
    namespace: &'a str,
    kubeconfig: PathBuf,
    recording: PathBuf,
    outcome: &'a Outcome,
}

fn json(session: &Session, place: &Place) -> Result<String, Failure> {
    let now = Now {
        reached: session.reached,
        cluster: &session.cluster,
        namespace: &session.kept.namespace,
        kubeconfig: place.kubeconfig(),
        recording: place.recording(),
        outcome: &session.kept.outcome,
    };
    let text = serde_json::to_string_pretty(&now);
    text.map(|text| text + "\n")
        .map_err(|error| Failure::new(exit_code::INTERNAL, format!("the answer could not be written: {error}")))
}
