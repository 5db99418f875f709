//! `rekindle replay`: the diagnosis of a recording, at any of its moments.

use std::path::PathBuf;

use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use super::failure::Failure;
use super::run::Format;
use super::terminal::{Terminal, complain, put};
use crate::diagnosis::Diagnosis;
use crate::diagnosis::detectors::DETECTORS;
use crate::diagnosis::moments::Moment;
use crate::evidence::recording::{Problem, RecordingError};
use crate::evidence::{Names, Recording};
use crate::exit_code::{self, ExitCode};
use crate::replay::{At, Replay, ReplayError};
use crate::report;

const EXAMPLES: &str = "\
Examples:
  rekindle run secret-missing --record recordings     record while it runs
  rekindle replay recordings/FILE.rekindle            the diagnosis that the run reported
  rekindle replay FILE.rekindle --at 8s               what could be said 8 s after the engine began
  rekindle replay FILE.rekindle --moments             when that changed
  rekindle replay FILE.rekindle --format json         the diagnosis as in report.json
  zcat FILE.rekindle | jq -c 'select(.fact == \"log\")'   what containers printed

No cluster is needed. The detectors are those of this rekindle: where they say something else than the run did, that is told.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ReplayArgs {
    /// The recording, as `run --record` and `record` write it
    file: PathBuf,
    /// The moment: how long after the engine began, such as 12s, or a time such as 2026-01-02T03:04:05Z [default: when the run took its
    /// diagnosis, else the end]
    #[arg(long, value_name = "TIME", value_parser = clap::value_parser!(At))]
    at: Option<At>,
    /// Tell when the diagnosis changed, up to the moment or the end
    #[arg(long)]
    moments: bool,
    /// Take what is there of a recording that was cut off or damaged
    #[arg(long)]
    partial: bool,
    /// Put stand-ins in the place of names, the same one for the same name everywhere
    #[arg(long)]
    redact_names: bool,
    /// What to print
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

impl From<RecordingError> for Failure {
    fn from(error: RecordingError) -> Self {
        let exit = match error.problem {
            Problem::Missing | Problem::Folder => exit_code::USAGE,
            Problem::Read(_) | Problem::Write(_) => exit_code::OUTPUT,
            _ => exit_code::RECORDING,
        };
        Self::new(exit, error.to_string())
    }
}

impl From<ReplayError> for Failure {
    fn from(error: ReplayError) -> Self {
        Self::usage(error.to_string())
    }
}

/// Prints what can be said of a recording.
pub fn run(args: &ReplayArgs, terminal: Terminal) -> Result<ExitCode, Failure> {
    let recording = if args.partial {
        let (recording, rest) = Recording::read_part(&args.file)?;
        if let Some(error) = rest {
            complain(&format!("{} {error}", terminal.err.yellow("warning:")));
        }
        recording
    } else {
        Recording::read(&args.file)?
    };
    let recording = if args.redact_names {
        let names = Names::of([&recording.timeline()]);
        recording.renamed(&names)
    } else {
        recording
    };
    let replay = Replay {
        recording: &recording,
        detectors: DETECTORS,
    };
    let prefix = replay.prefix(args.at)?;
    let text = match (args.moments, args.format) {
        (true, format) => {
            let end = if args.at.is_some() {
                prefix.entries
            } else {
                recording.entries.len()
            };
            let moments = replay.moments(end);
            match format {
                Format::Human => report::replay::moments(&replay, end, &moments, terminal.page(), terminal.out),
                Format::Json => json(&changes(&replay, moments))?,
            }
        }
        (false, Format::Human) => report::replay::diagnosis(&replay, prefix, terminal.page(), terminal.out),
        (false, Format::Json) => json(&replay.diagnosis(prefix.entries))?,
    };
    put(&text)?;
    Ok(exit_code::PASS)
}

pub fn json(value: &impl Serialize) -> Result<String, Failure> {
    let text = serde_json::to_string_pretty(value);
    text.map(|text| text + "\n")
        .map_err(|error| Failure::new(exit_code::INTERNAL, format!("the diagnosis could not be written: {error}")))
}

/// A change of the diagnosis, for programs.
#[derive(Debug, Serialize)]
struct ChangedAt {
    at: Timestamp,
    /// Since the engine began; absent where none did.
    #[serde(skip_serializing_if = "Option::is_none")]
    after_ms: Option<i64>,
    /// How many entries of the recording it rests on.
    entries: usize,
    diagnosis: Diagnosis,
}

fn changes(replay: &Replay<'_>, moments: Vec<Moment>) -> Vec<ChangedAt> {
    let start = replay.engine_started().map(|(at, _)| at);
    let of = |moment: Moment| ChangedAt {
        at: moment.known_at,
        after_ms: start.and_then(|start| i64::try_from(moment.known_at.duration_since(start).as_millis()).ok()),
        entries: moment.entries,
        diagnosis: moment.diagnosis,
    };
    moments.into_iter().map(of).collect()
}
