//! `rekindle schema`: the JSON schemas, generated from the types.

use clap::{Args, ValueEnum};

use super::failure::Failure;
use super::terminal::put;
use crate::evidence::recording;
use crate::exit_code::{self, ExitCode};
use crate::report::json;

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  rekindle schema report > report.schema.json\n  rekindle schema recording")]
pub struct SchemaArgs {
    /// The file whose schema is wanted
    file: File,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum File {
    /// `report.json`, as `rekindle run` writes it
    Report,
    /// Each line of a recording, as `rekindle run --record` and `record` write it
    Recording,
}

/// Prints the schema.
pub fn run(args: &SchemaArgs) -> Result<ExitCode, Failure> {
    let schema = match args.file {
        File::Report => json::schema(),
        File::Recording => recording::schema(),
    };
    let schema = schema.map_err(|error| Failure::new(exit_code::INTERNAL, format!("the schema could not be written: {error}")))?;
    put(&schema)?;
    Ok(exit_code::PASS)
}
