//! Scenarios: one folder each, with the chart, its healthy twin and the postmortem.

pub mod duration;
mod file;
mod inequality;
mod load;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

pub use file::{Knowable, Outside, ScenarioFile, Step, Values};
pub use load::{ScenarioError, load_all};

use crate::outcome::{ExpectedCause, Profile};

/// One scenario, checked: its files are there and its inequalities hold.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// `<slug>` or `<slug>--<form>`
    pub id: String,
    /// The documented failure that it shows; of a form, the form's name.
    pub slug: String,
    pub title: String,
    /// The document that it comes from.
    pub source: String,
    pub engines: Vec<String>,
    pub release: String,
    /// The folder that holds it.
    pub folder: PathBuf,
    pub chart: PathBuf,
    pub outside: Vec<Outside>,
    pub broken_values: Option<PathBuf>,
    /// A form has no twin of its own: the scenario's twin stands beside all of them.
    pub twin_values: Option<PathBuf>,
    pub knowable: Knowable,
    /// By engine: what its last words hold, in this order.
    pub engine_fails: BTreeMap<String, Vec<String>>,
    pub causes: Vec<ExpectedCause>,
    pub remedies: BTreeMap<String, Vec<Step>>,
    fast: Pace,
    faithful: Pace,
}

/// How long things take in one profile.
#[derive(Debug, Clone)]
pub struct Pace {
    pub timeout: Duration,
    pub window: Duration,
    pub durations: BTreeMap<String, Duration>,
    /// How long to go on looking once the engine has given up.
    pub observe: Duration,
}

impl Scenario {
    pub fn pace(&self, profile: Profile) -> &Pace {
        match profile {
            Profile::Fast => &self.fast,
            Profile::Faithful => &self.faithful,
        }
    }

    /// The postmortem.
    pub fn readme(&self) -> PathBuf {
        self.folder.join("README.md")
    }
}
