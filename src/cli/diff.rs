//! `rekindle diff`: what changed between two recordings.

use std::path::PathBuf;

use clap::Args;

use super::failure::Failure;
use super::run::Format;
use super::terminal::{Terminal, put};
use crate::compare::Comparison;
use crate::evidence::{Names, Recording};
use crate::exit_code::{self, ExitCode};
use crate::report;

const EXAMPLES: &str = "\
Examples:
  rekindle diagnose -n shop --context prod --save before.rekindle
  rekindle diagnose -n shop --context prod --save after.rekindle
  rekindle diff before.rekindle after.rekindle     causes, releases and objects that are others now

It answers with 0 where nothing differs and with 1 where something does, as `kubectl diff` does.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct DiffArgs {
    /// The recording of the state before
    before: PathBuf,
    /// The recording of the state after
    after: PathBuf,
    /// Put stand-ins in the place of names, the same one for the same name in both
    #[arg(long)]
    redact_names: bool,
    /// What to print
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Prints what differs.
pub fn run(args: &DiffArgs, terminal: Terminal) -> Result<ExitCode, Failure> {
    let (mut before, mut after) = (Recording::read(&args.before)?, Recording::read(&args.after)?);
    if args.redact_names {
        let names = Names::of([&before.timeline(), &after.timeline()]);
        (before, after) = (before.renamed(&names), after.renamed(&names));
    }
    let comparison = Comparison::of(&before, &after)?;
    put(&match args.format {
        Format::Human => report::difference::render(&comparison, terminal.page(), terminal.out),
        Format::Json => super::replay::json(&comparison)?,
    })?;
    Ok(if comparison.is_empty() { exit_code::PASS } else { exit_code::FOUND })
}
