//! `rekindle record`: runs scenarios and keeps their recordings beside them.

use clap::Args;

use super::Context;
use super::failure::Failure;
use super::run::{Common, run_and_record};
use crate::exit_code::ExitCode;
use crate::trial::Recordings;

const EXAMPLES: &str = "\
Examples:
  rekindle record                                     every scenario anew
  rekindle record hook-target-unreachable             one failure, all of its forms
  rekindle record --engine helm-4                     for one engine

Each trial that passes is written to scenarios/SCENARIO/recordings/, in the place of the recording before it. One that fails is not: \
use `rekindle run --record DIR` to look into it. Commit the recordings: `cargo test --test replay` diagnoses each of them at every \
moment, in seconds and without a cluster.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct RecordArgs {
    #[command(flatten)]
    common: Common,
}

/// Runs scenarios as `run` does, and keeps the recordings.
pub async fn run(args: RecordArgs, context: &Context) -> Result<ExitCode, Failure> {
    run_and_record(args.common, Some(Recordings::BesideScenarios), context).await
}
