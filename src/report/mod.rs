//! Reports: what a person sees while it runs, what stays afterwards.
//!
//! Reporters only consume events and outcomes; nothing is decided from what they print.

pub mod chain;
mod comparison;
pub mod difference;
pub mod human;
pub mod json;
pub mod junit;
pub mod look;
pub mod markdown;
mod matrix;
mod progress;
pub mod replay;
pub mod reproduction;
#[cfg(test)]
mod samples;
pub mod shell;
pub mod summary;
pub mod text;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::outcome::{Outcome, Profile, Verdict};
use crate::whole::WholeFile;

/// What was used, as each says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Versions {
    pub rekindle: String,
    pub kubernetes: String,
    pub kind: String,
    /// By engine: `helm-4` → `v4.3.1`.
    pub engines: BTreeMap<String, String>,
}

/// Everything that a run has to say. All durations are milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(title = "rekindle report")]
pub struct Report {
    /// Where the schema of this file is.
    #[serde(rename = "$schema")]
    pub schema: String,
    /// The version of this form: 1.
    pub schema_version: u32,
    pub versions: Versions,
    pub profile: Profile,
    pub started_at: Timestamp,
    pub wall_ms: u64,
    /// The most memory that the harness itself had resident, without the cluster.
    pub peak_memory_bytes: u64,
    pub clusters_created: u32,
    /// Clusters that are still there although nobody asked for them to be kept.
    pub clusters_left: u32,
    /// The gravest verdict of all outcomes; `not-run` where there are none.
    pub verdict: Verdict,
    /// Whether somebody stopped it: what had not ended by then is `not-run`.
    pub interrupted: bool,
    pub outcomes: Vec<Outcome>,
    /// Failures while cleaning up that belong to no single trial.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cleanup_failures: Vec<String>,
}

/// What the runner knows about a run beside its outcomes.
#[derive(Debug, Clone)]
pub struct Run {
    pub versions: Versions,
    pub profile: Profile,
    pub started_at: Timestamp,
    pub wall: std::time::Duration,
    pub clusters_created: u32,
    pub clusters_left: u32,
    pub interrupted: bool,
    pub cleanup_failures: Vec<String>,
}

impl Report {
    pub const SCHEMA_VERSION: u32 = 1;
    pub const SCHEMA: &str = "https://github.com/rekindle-dev/rekindle/raw/main/docs/report.schema.json";

    /// Puts a report together: outcomes sorted, the gravest verdict found, the harness's own memory read.
    pub fn new(run: Run, mut outcomes: Vec<Outcome>) -> Self {
        outcomes.sort_by(|a, b| a.trial.cmp(&b.trial));
        let verdict = outcomes.iter().map(|outcome| outcome.verdict).max().unwrap_or(Verdict::NotRun);
        Self {
            schema: Self::SCHEMA.to_owned(),
            schema_version: Self::SCHEMA_VERSION,
            versions: run.versions,
            profile: run.profile,
            started_at: run.started_at,
            wall_ms: u64::try_from(run.wall.as_millis()).unwrap_or(u64::MAX),
            peak_memory_bytes: peak_memory(),
            clusters_created: run.clusters_created,
            clusters_left: run.clusters_left,
            verdict,
            interrupted: run.interrupted,
            outcomes,
            cleanup_failures: run.cleanup_failures,
        }
    }

    /// How many passed, failed, and were not run.
    pub fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        for outcome in &self.outcomes {
            tally.add(outcome.verdict);
        }
        tally
    }

    /// Writes `report.json` and `junit.xml` into a folder, which is made where it is missing. Each file is there whole or not at all.
    ///
    /// # Errors
    /// [`WriteError`] with the file that could not be written.
    pub fn write(&self, dir: &Path) -> Result<Vec<PathBuf>, WriteError> {
        std::fs::create_dir_all(dir).map_err(|source| WriteError {
            path: dir.to_owned(),
            source,
        })?;
        let files = [
            ("report.json", json::render(self).map_err(std::io::Error::other)),
            ("junit.xml", junit::render(self).map_err(std::io::Error::other)),
        ];
        let mut written = Vec::new();
        for (name, content) in files {
            let path = dir.join(name);
            content
                .and_then(|content| write_whole(&path, &content))
                .map_err(|source| WriteError {
                    path: path.clone(),
                    source,
                })?;
            written.push(path);
        }
        Ok(written)
    }
}

/// How many passed, failed, and were not run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    pub passed: usize,
    pub failed: usize,
    pub skipped: usize,
}

impl Tally {
    pub fn add(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::NotRun => self.skipped += 1,
            verdict if verdict.passed() => self.passed += 1,
            _ => self.failed += 1,
        }
    }
}

/// `7 passed, 0 failed`, and `, 2 skipped` where something was not run.
impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)?;
        match self.skipped {
            0 => Ok(()),
            skipped => write!(f, ", {skipped} skipped"),
        }
    }
}

/// Why a report is not on disk.
#[derive(Debug, thiserror::Error)]
#[error("the report {} could not be written: {source}", path.display())]
pub struct WriteError {
    pub path: PathBuf,
    pub source: std::io::Error,
}

/// Writes a report so that nobody reads half of it.
fn write_whole(path: &Path, content: &str) -> std::io::Result<()> {
    let mut file = WholeFile::create(path)?;
    file.write_all(content.as_bytes())?;
    file.keep()
}

/// The most memory that this process had resident; 0 where the system does not say.
pub fn peak_memory() -> u64 {
    std::fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|status| parse_peak(&status))
        .unwrap_or(0)
}

fn parse_peak(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gravest_verdict_wins() {
        let report = samples::report(samples::every_verdict());
        assert_eq!(report.verdict, Verdict::Infra);
        assert_eq!(report.tally().to_string(), "3 passed, 8 failed, 1 skipped");
        assert_eq!(samples::report(Vec::new()).verdict, Verdict::NotRun);
    }

    #[test]
    fn peak_memory_is_read() {
        assert_eq!(parse_peak("Name:\tx\nVmHWM:\t   2048 kB\n"), Some(2 << 20));
        assert!(peak_memory() > 1 << 20);
    }

    #[test]
    fn reports_are_whole_and_leave_nothing_beside_them() {
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("a/b");
        let report = samples::report(samples::every_verdict());
        for _ in 0..2 {
            report.write(&inner).unwrap();
        }
        let mut names: Vec<_> = std::fs::read_dir(&inner).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["junit.xml", "report.json"]);
        let read: Report = serde_json::from_str(&std::fs::read_to_string(inner.join("report.json")).unwrap()).unwrap();
        assert_eq!(read, report);
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("file"), "").unwrap();
        let error = samples::report(Vec::new()).write(&dir.path().join("file/x")).unwrap_err();
        assert!(error.to_string().contains("file/x could not be written"), "{error}");
    }
}
