//! `rekindle doctor`: what the machine has, what a cluster needs, and what to do about the difference.

use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::cluster::preflight::{Check, Verdict};
use crate::cluster::{self, preflight};
use crate::toolchain::{self, Survey};

/// Check whether this machine can make clusters, and say what to do where it cannot.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name of the cluster that would be made.
    #[arg(long, default_value = cluster::DEFAULT_NAME, value_parser = cluster::read_name)]
    pub name: String,
    /// Port of this machine that the API server would get; 0 lets Docker choose.
    #[arg(long, default_value_t = 0, value_name = "PORT")]
    pub api_port: u16,
    /// Nodes that its pool would have.
    #[arg(long, default_value_t = 0, value_name = "NODES", value_parser = clap::value_parser!(u32).range(..=cluster::POOL_MAX))]
    pub pool: u32,
    /// How to print the answer.
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub format: Format,
}

/// For whom the answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    Human,
    Json,
}

/// The answer, and whether something fails.
#[derive(Debug)]
pub struct Examination {
    pub text: String,
    pub well: bool,
}

#[derive(Serialize)]
struct Report<'a> {
    well: bool,
    checks: &'a [Check],
    toolchain: Vec<Part<'a>>,
}

#[derive(Serialize)]
struct Part<'a> {
    name: &'a str,
    present: bool,
    detail: &'a str,
}

/// Runs the command. It changes nothing.
pub async fn run(args: &Args, toolchain: &toolchain::Options, cancel: &CancellationToken) -> Examination {
    let options = cluster::Options {
        name: args.name.clone(),
        api_port: args.api_port,
        pool: args.pool,
        ..cluster::Options::new(&toolchain.state)
    };
    let (checks, survey) = tokio::join!(
        preflight::preflight(&options, &toolchain.cache, cancel),
        toolchain::survey(toolchain, cancel)
    );
    let well = checks.iter().all(|check| check.verdict != Verdict::Fail);
    let text = match args.format {
        Format::Human => table(&checks, &survey),
        Format::Json => json(well, &checks, &survey),
    };
    Examination { text, well }
}

fn json(well: bool, checks: &[Check], survey: &[Survey]) -> String {
    let part = |survey: &'_ Survey| -> (String, bool, String) { (survey.name.clone(), survey.present, survey.detail.clone()) };
    let parts: Vec<_> = survey.iter().map(part).collect();
    let toolchain = parts
        .iter()
        .map(|(name, present, detail)| Part {
            name,
            present: *present,
            detail,
        })
        .collect();
    let report = Report { well, checks, toolchain };
    serde_json::to_string_pretty(&report).unwrap_or_default()
}

fn table(checks: &[Check], survey: &[Survey]) -> String {
    let new_table = |header: [&str; 4]| {
        let mut table = Table::new();
        table
            .load_style(presets::NOTHING)
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_header(header);
        table
    };
    let mut machine = new_table(["", "machine", "found", "needed"]);
    for check in checks {
        let mark = match check.verdict {
            Verdict::Ok => "ok",
            Verdict::Warn => "warn",
            Verdict::Fail => "FAIL",
        };
        machine.add_row([mark, check.name, &check.found, &check.limit]);
    }
    let mut parts = new_table(["", "toolchain", "", ""]);
    for part in survey {
        parts.add_row([if part.present { "ok" } else { "todo" }, &part.name, &part.detail, ""]);
    }
    let mut text = format!("{}\n\n{}\n", trimmed(&machine), trimmed(&parts));
    for check in checks {
        if let Some(cure) = &check.cure {
            text.push_str(&format!("\n{} is {}; {} is needed: {cure}.", check.name, check.found, check.limit));
        }
    }
    if checks.iter().all(|check| check.verdict == Verdict::Ok) {
        text.push_str("\nThis machine can make clusters.");
    }
    text
}

fn trimmed(table: &Table) -> String {
    table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checks() -> Vec<Check> {
        vec![
            Check {
                name: "memory",
                verdict: Verdict::Fail,
                found: "1.0 GiB available".into(),
                limit: "3.0 GiB".into(),
                cure: Some("end other programs".into()),
            },
            Check {
                name: "clock",
                verdict: Verdict::Ok,
                found: "0 s from Docker's".into(),
                limit: "60 s".into(),
                cure: None,
            },
        ]
    }

    #[test]
    fn the_table_ends_with_what_to_do() {
        let text = table(&checks(), &[]);
        assert!(
            text.contains("FAIL") && text.ends_with("memory is 1.0 GiB available; 3.0 GiB is needed: end other programs."),
            "{text}"
        );
    }

    #[test]
    fn json_says_the_same() {
        let value: serde_json::Value = serde_json::from_str(&json(false, &checks(), &[])).unwrap();
        assert_eq!(value["well"], false);
        assert_eq!(value["checks"][0]["cure"], "end other programs");
        assert!(value["checks"][1].get("cure").is_none());
    }
}
