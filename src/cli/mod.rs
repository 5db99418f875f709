//! The command line: one file per command.

mod answer;
mod clean;
mod diagnose;
mod diff;
mod doctor;
mod down;
mod explain;
pub mod failure;
pub mod interrupt;
mod list;
mod record;
mod replay;
mod reproduce;
mod run;
pub mod scenarios;
mod schema;
pub mod terminal;
mod up;
mod watch;

pub use up::{ProvisionError, provision};

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use etcetera::BaseStrategy as _;

use crate::exit_code::{self, ExitCode};
use crate::toolchain;
use failure::Failure;
use interrupt::Interrupt;
use terminal::{ColorWhen, Terminal};

const ABOUT: &str = "Lights documented Kubernetes deployment failures again on real kind clusters, proves that each is detected for the \
                     right reason, applies the remedy, and proves that it lasts.";

const EXAMPLES: &str = "\
Examples:
  rekindle list                                       what there is
  rekindle explain hook-target-unreachable            one failure: symptom, cause, remedy
  rekindle run hook-target-unreachable                break it, diagnose it, mend it
  rekindle run --engine helm-4                        every scenario, one engine
  rekindle reproduce ttl-deleted-job                  break it, and look around in it
  rekindle replay FILE --at 8s                        what was known 8 s after the engine began
  rekindle diagnose -n NAMESPACE --context NAME       what is wrong in a namespace of yours
  rekindle clean                                      remove all that rekindle left behind

Each verdict and each class of error has an exit code of its own: see README.md.";

/// The arguments of the program.
#[derive(Debug, Parser)]
#[command(name = "rekindle", version, about = ABOUT, after_help = EXAMPLES, max_term_width = 100, infer_long_args = false)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    global: Global,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
struct Global {
    /// Colours: `auto` on a terminal only, and not where NO_COLOR is set
    #[arg(long, global = true, value_enum, value_name = "WHEN", default_value_t)]
    color: ColorWhen,
    /// Where tools and images that were built are kept [default: rekindle in the user's cache folder]
    #[arg(long, global = true, value_name = "DIR", env = "REKINDLE_CACHE", hide_env_values = true)]
    cache: Option<PathBuf>,
    /// Where is written down which clusters are ours [default: rekindle in the user's state folder]
    #[arg(long, global = true, value_name = "DIR", env = "REKINDLE_STATE", hide_env_values = true)]
    state: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run scenarios: break, diagnose, remedy, and watch that it lasts
    Run(run::RunArgs),
    /// Run scenarios, and keep what was seen beside them, for `replay` and for the tests
    Record(record::RecordArgs),
    /// Diagnose a recording, at any of its moments, without a cluster
    Replay(replay::ReplayArgs),
    /// Diagnose a namespace of any cluster as it is now; it is only read
    Diagnose(diagnose::DiagnoseArgs),
    /// Run or follow an engine, and name the cause as soon as it is certain
    Watch(watch::WatchArgs),
    /// Tell what changed between two recordings
    Diff(diff::DiffArgs),
    /// Light one failure and leave it as it is, with a shell; then put it out step by step
    Reproduce(reproduce::ReproduceArgs),
    /// List the scenarios
    List(list::ListArgs),
    /// Explain one failure: symptom, cause, detection, remedy
    Explain(explain::ExplainArgs),
    /// Create a cluster that stays, with everything loaded
    Up(up::Args),
    /// Remove the cluster: one that `up` made, or that a run has parked
    Down(down::Args),
    /// Remove every cluster of rekindle's, what dead runs left, and unfinished builds
    Clean(clean::Args),
    /// Check whether this machine can make clusters, and say what to do where it cannot
    Doctor(doctor::Args),
    /// Print the JSON schema of a file that rekindle writes
    Schema(schema::SchemaArgs),
}

/// What every command may need.
#[derive(Debug, Clone)]
pub struct Context {
    pub terminal: Terminal,
    pub dirs: Dirs,
    pub interrupt: Interrupt,
}

impl Context {
    /// Where the toolchain finds and keeps what it builds, every engine included.
    pub fn toolchain(&self, node_image: Option<String>) -> toolchain::Options {
        toolchain::Options {
            node_image,
            engines: crate::engine::NAMES.iter().map(|name| (*name).to_owned()).collect(),
            ..toolchain::Options::new(&self.dirs.cache, &self.dirs.state)
        }
    }
}

/// Where things are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dirs {
    /// Tools and images, each under the key of what it is made of; may be removed at any time.
    pub cache: PathBuf,
    /// The journal of clusters, leases and kubeconfigs.
    pub state: PathBuf,
    /// Whether `CI` is set: then nothing is kept for a next run on this machine.
    pub ci: bool,
}

impl Dirs {
    /// The folders that a program without arguments uses: those of the environment, else the usual ones.
    ///
    /// # Errors
    /// Where neither is known.
    #[allow(clippy::disallowed_methods, reason = "the tests take the same two variables as the command line")]
    pub fn from_environment() -> Result<Self, Failure> {
        let folder = |name| std::env::var_os(name).map(PathBuf::from);
        Self::find(&Global {
            color: ColorWhen::Auto,
            cache: folder("REKINDLE_CACHE"),
            state: folder("REKINDLE_STATE"),
        })
    }

    fn find(global: &Global) -> Result<Self, Failure> {
        let homeless = |_| {
            Failure::usage("the home folder is not known, so that there is no place for the cache")
                .hint("set HOME, or both REKINDLE_CACHE and REKINDLE_STATE")
        };
        let (cache, state) = match (&global.cache, &global.state) {
            (Some(cache), Some(state)) => (cache.clone(), state.clone()),
            (cache, state) => {
                let base = etcetera::choose_base_strategy().map_err(homeless)?;
                let kept = base.state_dir().unwrap_or_else(|| base.data_dir());
                (
                    cache.clone().unwrap_or_else(|| base.cache_dir().join("rekindle")),
                    state.clone().unwrap_or_else(|| kept.join("rekindle")),
                )
            }
        };
        // Children run in other folders.
        let absolute = |path: PathBuf| {
            std::path::absolute(&path).map_err(|error| Failure::usage(format!("{} cannot be used: {error}", path.display())))
        };
        Ok(Self {
            cache: absolute(cache)?,
            state: absolute(state)?,
            ci: in_ci(),
        })
    }
}

/// Whether this runs where nobody will want the cluster again: `CI` is set, as every CI system does.
#[allow(clippy::disallowed_methods, reason = "the one place where it is asked for")]
fn in_ci() -> bool {
    std::env::var_os("CI").is_some_and(|value| !value.is_empty() && value != "false" && value != "0")
}

/// The whole program: reads the arguments, does what they say, and answers with the exit code.
pub fn main() -> std::process::ExitCode {
    std::panic::set_hook(Box::new(report_bug));
    let ended = std::panic::catch_unwind(|| {
        let cli = match Cli::try_parse() {
            Ok(cli) => cli,
            Err(error) => {
                // Nobody may be reading; `--help | head` is no error.
                let _ = error.print();
                return if error.use_stderr() { exit_code::USAGE } else { exit_code::PASS };
            }
        };
        let terminal = Terminal::detect(cli.global.color);
        start(cli, terminal).unwrap_or_else(|failure| {
            failure.print(terminal.err);
            failure.exit
        })
    });
    ended.unwrap_or(exit_code::INTERNAL).into()
}

fn start(cli: Cli, terminal: Terminal) -> Result<ExitCode, Failure> {
    // What needs neither a runtime nor signals answers in milliseconds.
    match &cli.command {
        Command::List(args) => return list::run(args, terminal),
        Command::Explain(args) => return explain::run(args, terminal),
        Command::Replay(args) => return replay::run(args, terminal),
        Command::Schema(args) => return schema::run(args),
        Command::Diff(args) => return diff::run(args, terminal),
        _ => {}
    }
    let dirs = Dirs::find(&cli.global)?;
    let no_runtime = |error: std::io::Error| Failure::new(exit_code::RESOURCES, format!("the runtime could not be started: {error}"));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(no_runtime)?;
    let ended = runtime.block_on(async {
        let context = Context {
            terminal,
            dirs,
            interrupt: Interrupt::listen().map_err(no_runtime)?,
        };
        let ended = match cli.command {
            Command::Run(args) => run::run(args, &context).await,
            Command::Record(args) => record::run(args, &context).await,
            Command::Reproduce(args) => reproduce::run(args, &context).await,
            Command::Diagnose(args) => diagnose::run(&args, &context).await,
            Command::Watch(args) => watch::run(args, &context).await,
            Command::Up(args) => answer::up(&args, &context).await,
            Command::Down(args) => answer::down(&args, &context).await,
            Command::Clean(args) => answer::clean(&args, &context).await,
            Command::Doctor(args) => answer::doctor(&args, &context).await,
            Command::List(_) | Command::Explain(_) | Command::Replay(_) | Command::Schema(_) | Command::Diff(_) => Ok(exit_code::PASS),
        };
        // An interrupted command fails in many ways; what ended it is the signal.
        match (context.interrupt.exit(), ended) {
            (None, ended) => ended,
            (Some(exit), Ok(_)) => Ok(exit),
            (Some(exit), Err(failure)) => Err(Failure { exit, ..failure }),
        }
    });
    // A thread that still waits for something must not keep the program.
    runtime.shutdown_background();
    ended
}

/// Tells a bug in one sentence; a backtrace helps nobody who did not write this.
fn report_bug(panic: &std::panic::PanicHookInfo<'_>) {
    let place = panic
        .location()
        .map_or_else(String::new, |location| format!(" at {}:{}", location.file(), location.line()));
    let words = panic.payload_as_str().unwrap_or("no words");
    terminal::complain(&format!("error: rekindle {} has a bug{place}: {words}", env!("CARGO_PKG_VERSION")));
    terminal::complain(&format!(
        " hint: please report this line at {}/issues",
        env!("CARGO_PKG_REPOSITORY")
    ));
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn named_folders_are_made_absolute() {
        let global = Global {
            color: ColorWhen::Auto,
            cache: Some("c".into()),
            state: Some("/s".into()),
        };
        let dirs = Dirs::find(&global).unwrap();
        assert!(dirs.cache.is_absolute() && dirs.cache.ends_with("c"));
        assert_eq!(dirs.state, PathBuf::from("/s"));
    }
}
