//! Scenarios: one folder each, with the chart, its healthy twin and the postmortem.

pub mod duration;
mod file;
mod inequality;
mod load;
pub mod placeholders;
mod state;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use file::{Fate, Given, GivenRelease, Knowable, ObjectName, Outside, Reset, ScenarioFile, Step, Values};
pub use load::{ScenarioError, load_all};
pub use state::{Condition, Field, State, load_states};

use crate::engine::Told;
use crate::outcome::{ExpectedCause, Profile, Variant};
use crate::remedy::Deed;

/// One scenario, checked: its files are there and its inequalities hold.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// `<slug>` or `<slug>--<form>`
    pub id: String,
    /// The documented failure that it shows, which is the cause that is expected first.
    pub slug: String,
    pub title: String,
    /// The document that it comes from.
    pub source: String,
    pub engines: Vec<String>,
    pub told: Told,
    pub release: String,
    /// The folder that holds it.
    pub folder: PathBuf,
    pub content: Content,
    /// What there is before; its paths are complete.
    given: Given,
    pub broken: Settings,
    /// The values of the release that was there before, where it is an upgrade that breaks.
    pub upgrade_from: Option<PathBuf>,
    /// What is done before that is upgraded.
    pub between: Vec<Deed>,
    /// A form has no twin of its own: the scenario's twin stands beside all of them.
    pub twin: Option<Settings>,
    /// What there is before the twin, where that is something else.
    twin_given: Option<Given>,
    knowable: BTreeMap<String, Knowable>,
    /// By engine: what its last words hold, in this order.
    pub engine_fails: BTreeMap<String, Vec<String>>,
    /// By engine on which it does not break any more: what mended it.
    pub fixed_upstream: BTreeMap<String, String>,
    pub causes: Vec<ExpectedCause>,
    /// What was the cause until [`Scenario::afterwards`] was done.
    pub before: Vec<ExpectedCause>,
    /// What is done once the engine has given up.
    pub afterwards: Vec<Deed>,
    pub remedies: BTreeMap<String, Vec<Step>>,
    /// The kind of remedy to apply, where it is not the one that the detector prefers.
    pub remedy: Option<String>,
    /// Whether the remedy is tried on everything made anew.
    pub from_scratch: bool,
    /// By profile and engine.
    paces: BTreeMap<(Profile, String), Pace>,
}

/// Where that which is installed lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// The folder of a chart.
    Chart(PathBuf),
    /// A folder of manifests, for a Kustomization of Flux's.
    Manifests(PathBuf),
}

impl Content {
    pub fn folder(&self) -> &Path {
        match self {
            Self::Chart(folder) | Self::Manifests(folder) => folder,
        }
    }

    /// `HelmRelease` or `Kustomization`: the kind by which Flux takes it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Chart(_) => "HelmRelease",
            Self::Manifests(_) => "Kustomization",
        }
    }
}

impl GivenRelease {
    /// Loading made sure that it has one.
    pub fn content(&self) -> Content {
        match (&self.chart, &self.manifests) {
            (None, Some(folder)) => Content::Manifests(folder.value.clone()),
            (chart, _) => Content::Chart(chart.as_ref().map(|chart| chart.value.clone()).unwrap_or_default()),
        }
    }
}

/// What a chart is given in one variant.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    pub values: Option<PathBuf>,
    /// What the HelmRelease says beside what every one does, as a merge patch.
    pub spec: Values,
}

/// How long things take in one profile.
#[derive(Debug, Clone)]
pub struct Pace {
    pub timeout: Duration,
    pub window: Duration,
    pub durations: BTreeMap<String, Duration>,
    /// How long to go on looking once the engine has given up.
    pub observe: Duration,
    /// How long a machine of the cold pool takes to come; `None` where the scenario needs none.
    pub provisioning: Option<Duration>,
}

impl Pace {
    const NONE: Self = Self {
        timeout: Duration::ZERO,
        window: Duration::ZERO,
        durations: BTreeMap::new(),
        observe: Duration::ZERO,
        provisioning: None,
    };
}

impl Scenario {
    /// How long things take on one of its engines.
    pub fn pace(&self, profile: Profile, engine: &str) -> &Pace {
        static NONE: Pace = Pace::NONE;
        // Loading made sure that each of its engines has one.
        self.paces.get(&(profile, engine.to_owned())).unwrap_or(&NONE)
    }

    /// What there is before the engine starts.
    pub fn given(&self, variant: Variant) -> &Given {
        match variant {
            Variant::Broken => &self.given,
            Variant::Twin => self.twin_given.as_ref().unwrap_or(&self.given),
        }
    }

    /// When the cause can be known on this engine.
    pub fn knowable(&self, engine: &str) -> Knowable {
        // Loading made sure that each of its engines has one.
        self.knowable.get(engine).copied().unwrap_or(Knowable::AtFailure)
    }

    /// The postmortem.
    pub fn readme(&self) -> PathBuf {
        self.folder.join("README.md")
    }
}
