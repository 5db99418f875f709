//! `rekindle explain`: one failure, from its page and its detector.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::Args;

use super::failure::{Failure, unknown};
use super::scenarios::{self, Entry};
use super::terminal::{Terminal, put};
use crate::diagnosis::detectors::DETECTORS;
use crate::diagnosis::{Class, Detector};
use crate::exit_code::{self, ExitCode};
use crate::report::markdown;
use crate::report::text::{Paint, pad, wrap};

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  rekindle explain hook-target-unreachable\n  rekindle explain secret-missing | less")]
pub struct ExplainArgs {
    /// The failure: a slug, or a scenario of it
    slug: String,
    /// The folder of the scenarios
    #[arg(long, value_name = "DIR", default_value = "scenarios")]
    scenarios: PathBuf,
}

/// Prints the page of a failure and what its detector says of itself.
pub fn run(args: &ExplainArgs, terminal: Terminal) -> Result<ExitCode, Failure> {
    let entries: Vec<Entry> = scenarios::load(&args.scenarios)?.iter().map(Entry::from).collect();
    let meant: Vec<&Entry> = entries.iter().filter(|entry| entry.means(&args.slug)).collect();
    let slug = meant.first().map_or(args.slug.as_str(), |entry| entry.slug.as_str());
    let detector = DETECTORS.iter().copied().find(|detector| detector.slug == slug);
    if meant.is_empty() && detector.is_none() {
        let mut known: BTreeSet<&str> = scenarios::known(&entries);
        known.extend(DETECTORS.iter().map(|detector| detector.slug));
        return Err(unknown("failure", &args.slug, known));
    }
    let mut text = String::new();
    // The page of the form that bears the slug's own name tells the failure; the other forms differ in detail.
    let page = meant.iter().find(|entry| entry.id == args.slug).or_else(|| meant.first());
    if let Some(entry) = page {
        let page = std::fs::read_to_string(&entry.readme).map_err(|error| {
            Failure::new(
                exit_code::SCENARIO,
                format!("the page {} could not be read: {error}", entry.readme.display()),
            )
        })?;
        text.push_str(&markdown::render(&page, terminal.page(), terminal.out));
    }
    text.push('\n');
    text.push_str(&facts(detector, &meant, terminal.page(), terminal.out));
    put(&text)?;
    Ok(exit_code::PASS)
}

fn facts(detector: Option<&Detector>, entries: &[&Entry], columns: usize, paint: Paint) -> String {
    let mut text = String::new();
    let mut fact = |label: &str, words: &str| {
        for (n, line) in wrap(words, columns.min(100).saturating_sub(11)).iter().enumerate() {
            let label = pad(if n == 0 { label } else { "" }, 11);
            text.push_str(&format!("{}{line}\n", paint.dim(&label)));
        }
    };
    match detector {
        Some(detector) => {
            fact("detector", &format!("{}: {}", detector.slug, detector.summary));
            fact(
                "class",
                match detector.class {
                    Class::Specific => "specific: it names the thing that is missing or wrong",
                    Class::Limit => "limit: it names a limit that was too low, and gives way to a specific cause",
                    Class::Generic => "generic: it names how it shows, and gives way to a specific cause",
                    Class::Static => "static: from the manifests alone; a cause only where it explains the symptom, else advice",
                },
            );
            if !detector.remedies.is_empty() {
                fact("remedies", &detector.remedies.join(", "));
            }
        }
        None => fact("detector", "none yet"),
    }
    for entry in entries {
        fact("run it", &format!("rekindle run {}", entry.id));
        if !entry.engines.is_empty() {
            fact("", &format!("on {}", entry.engines.join(", ")));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_detector_says() {
        let detector = Detector {
            slug: "hook-target-unreachable",
            summary: "a hook waits for an address that only exists outside the cluster",
            class: Class::Specific,
            remedies: &["use-in-cluster-url"],
            detect: |_| Vec::new(),
        };
        let entry = Entry {
            id: "hook-target-unreachable".to_owned(),
            slug: "hook-target-unreachable".to_owned(),
            title: String::new(),
            source: String::new(),
            engines: vec!["helm-4".to_owned()],
            readme: PathBuf::new(),
        };
        insta::assert_snapshot!(facts(Some(&detector), &[&entry], 60, Paint::PLAIN), @r"
        detector   hook-target-unreachable: a hook waits for an
                   address that only exists outside the cluster
        class      specific: it names the thing that is missing or
                   wrong
        remedies   use-in-cluster-url
        run it     rekindle run hook-target-unreachable
                   on helm-4
        ");
    }
}
