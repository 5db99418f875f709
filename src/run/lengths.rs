//! How long each trial took when it ran last on this machine, so that the longest begin first.
//!
//! A run ends with its last trial: one that is long and begins late is what everybody waits for. What a trial takes follows only in part from
//! its file, so it is remembered. Nothing depends on it but the order; a file that is missing or damaged is as good as none.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::outcome::Outcome;
use crate::trial::Trial;
use crate::whole::WholeFile;

/// By profile and trial, in milliseconds.
#[derive(Debug, Default)]
pub struct Lengths {
    file: PathBuf,
    known: BTreeMap<String, u64>,
}

impl Lengths {
    /// What is known in this state folder.
    pub fn read(state: &Path) -> Self {
        let file = state.join("lengths.json");
        let known = std::fs::read(&file).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        Self {
            known: known.unwrap_or_default(),
            file,
        }
    }

    /// How long a trial takes: as it did last, else as its file lets expect.
    pub fn of(&self, trial: &Trial<'_>) -> Duration {
        let known = self.known.get(&key(&trial.id.profile.to_string(), &trial.id.to_string()));
        known.map_or_else(|| expected(trial), |ms| Duration::from_millis(*ms))
    }

    /// Remembers what these took, where they passed: one that failed may have ended early.
    pub fn remember(&mut self, outcomes: &[Outcome]) {
        for outcome in outcomes.iter().filter(|outcome| outcome.verdict.passed()) {
            let key = key(&outcome.trial.profile.to_string(), &outcome.trial.to_string());
            self.known.insert(key, outcome.total_ms);
        }
        // The next run begins in another order without it, and is none the worse.
        let _ = self.write();
    }

    fn write(&self) -> std::io::Result<()> {
        let mut file = WholeFile::create(&self.file)?;
        serde_json::to_writer_pretty(&mut file, &self.known)?;
        file.keep()
    }
}

fn key(profile: &str, trial: &str) -> String {
    format!("{profile} {trial}")
}

/// A broken trial waits for the engine to give up; a twin does not.
fn expected(trial: &Trial<'_>) -> Duration {
    let pace = trial.scenario.pace(trial.id.profile, &trial.id.engine);
    match trial.id.variant {
        crate::outcome::Variant::Broken => pace.timeout + pace.observe + pace.window,
        crate::outcome::Variant::Twin => pace.timeout / 2 + pace.window,
    }
}
