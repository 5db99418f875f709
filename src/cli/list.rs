//! `rekindle list`: what there is.

use std::path::PathBuf;

use clap::Args;

use super::failure::Failure;
use super::run::Format;
use super::scenarios::{self, Entry};
use super::terminal::{Terminal, put};
use crate::exit_code::{self, ExitCode};
use crate::report::text::{Paint, pad, width, wrap};

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  rekindle list\n  rekindle list --format json | jq -r '.[].id'")]
pub struct ListArgs {
    /// The folder of the scenarios
    #[arg(long, value_name = "DIR", default_value = "scenarios")]
    scenarios: PathBuf,
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Prints the scenarios.
pub fn run(args: &ListArgs, terminal: Terminal) -> Result<ExitCode, Failure> {
    let entries: Vec<Entry> = scenarios::load(&args.scenarios)?.iter().map(Entry::from).collect();
    put(&match args.format {
        Format::Human => table(&entries, terminal.columns, terminal.out),
        Format::Json => {
            let json = serde_json::to_string_pretty(&entries);
            json.map_err(|error| Failure::new(exit_code::INTERNAL, format!("the list could not be written: {error}")))? + "\n"
        }
    })?;
    Ok(exit_code::PASS)
}

/// With less room than this beside its name, a title stands below it.
const ROOM: usize = 24;

fn table(entries: &[Entry], columns: Option<usize>, paint: Paint) -> String {
    if entries.is_empty() {
        return "there are no scenarios here yet\n".to_owned();
    }
    let rows: Vec<[String; 3]> = entries
        .iter()
        .map(|entry| [entry.id.clone(), entry.engines.join(","), entry.title.clone()])
        .collect();
    let widest = |n: usize, head: &str| rows.iter().map(|row| width(&row[n])).max().unwrap_or(0).max(width(head));
    let (ids, engines) = (widest(0, "SCENARIO"), widest(1, "ENGINES"));
    let left = |id: &str, engine: &str| format!("{}  {}  ", pad(id, ids), pad(engine, engines));
    let mut text = format!("{}\n", paint.dim(&format!("{}TITLE", left("SCENARIO", "ENGINES"))));
    for [id, engine, title] in &rows {
        let start = left(id, engine);
        // In a pipe a line is an entry. On a terminal a title goes on below itself, or stands below its name where there is no room.
        let (below, titles) = match columns.map(|columns| (columns, columns.saturating_sub(width(&start)))) {
            None => (0, vec![title.clone()]),
            Some((columns, room)) if room < ROOM => {
                let below = wrap(title, columns.saturating_sub(2));
                (2, [String::new()].into_iter().chain(below).collect())
            }
            Some((_, room)) => (width(&start), wrap(title, room)),
        };
        for (n, title) in titles.iter().enumerate() {
            let line = match n {
                0 => format!("{}{}{title}", paint.bold(id), &start[id.len()..]),
                _ => format!("{}{title}", " ".repeat(below)),
            };
            text.push_str(line.trim_end());
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(id: &str, engines: &[&str], title: &str) -> Entry {
        Entry {
            id: id.to_owned(),
            slug: id.to_owned(),
            title: title.to_owned(),
            source: "O".to_owned(),
            engines: engines.iter().map(|engine| (*engine).to_owned()).collect(),
            readme: PathBuf::new(),
        }
    }

    #[test]
    fn a_table() {
        let entries = [
            entry(
                "hook-target-unreachable",
                &["helm-3", "helm-4"],
                "A hook waits for a name that only exists outside",
            ),
            entry(
                "ttl-deleted-job",
                &["flux-2.7"],
                "A Job is deleted by its TTL while the engine waits",
            ),
        ];
        insta::assert_snapshot!(table(&entries, Some(80), Paint::PLAIN), @r"
        SCENARIO                 ENGINES        TITLE
        hook-target-unreachable  helm-3,helm-4  A hook waits for a name that only exists
                                                outside
        ttl-deleted-job          flux-2.7       A Job is deleted by its TTL while the
                                                engine waits
        ");
        insta::assert_snapshot!(table(&entries, Some(50), Paint::PLAIN), @r"
        SCENARIO                 ENGINES        TITLE
        hook-target-unreachable  helm-3,helm-4
          A hook waits for a name that only exists outside
        ttl-deleted-job          flux-2.7
          A Job is deleted by its TTL while the engine
          waits
        ");
        assert!(table(&entries, None, Paint::PLAIN).contains("only exists outside\n"));
        assert_eq!(table(&[], None, Paint::PLAIN), "there are no scenarios here yet\n");
    }
}
