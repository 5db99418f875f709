//! `scenario.yaml` as it is written.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use serde_saphyr::Spanned;

use super::duration::Span;
use crate::outcome::ExpectedCause;

/// The file of one scenario and its forms.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ScenarioFile {
    /// The documented failure that it shows.
    pub slug: String,
    /// One line: what happens.
    pub title: String,
    /// The document that it comes from.
    pub source: String,
    /// The name of the release, as documented.
    pub release: String,
    /// The chart, relative to this file.
    #[schemars(with = "PathBuf")]
    pub chart: Spanned<PathBuf>,
    /// What installs it.
    #[schemars(with = "Vec<String>")]
    pub engines: Vec<Spanned<String>>,
    pub profiles: Profiles,
    /// What has to hold between the durations, in every profile, for the failure to happen.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub inequalities: Vec<Spanned<String>>,
    #[serde(default)]
    pub given: Given,
    pub broken: Broken,
    pub twin: Twin,
    /// The same chart failing for other reasons, each a trial of its own named `<slug>--<form>`.
    #[serde(default)]
    pub forms: BTreeMap<String, Form>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Profiles {
    pub fast: ProfileFile,
    pub faithful: ProfileFile,
}

/// How long things take in a profile.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ProfileFile {
    /// What the engine is told.
    pub timeout: Span,
    /// How long it has to stay healthy after the remedy.
    pub window: Span,
    /// The chart gets them in seconds as `durations.<name>`.
    #[serde(default)]
    pub durations: BTreeMap<String, Span>,
}

/// What there is before the engine starts.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Given {
    /// Servers that answer on this machine and not in the cluster.
    #[serde(default)]
    pub outside: Vec<Outside>,
}

/// A container beside the cluster.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Outside {
    /// The address that people outside use, and that does not exist inside.
    pub url: url::Url,
    /// What the standin is told to play.
    pub standin: Vec<String>,
}

/// The broken chart.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Broken {
    /// Values beside the chart's own.
    #[schemars(with = "Option<PathBuf>")]
    pub values: Option<Spanned<PathBuf>>,
    pub knowable: Knowable,
    pub expect: Expect,
    /// What each kind of remedy means in this chart.
    pub remedies: BTreeMap<String, Vec<Step>>,
    /// How long to go on looking after the engine gave up; the name of a duration.
    #[schemars(with = "Option<String>")]
    pub observe: Option<Spanned<String>>,
}

/// The healthy twin: nearly the same, and not broken.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Twin {
    #[schemars(with = "PathBuf")]
    pub values: Spanned<PathBuf>,
}

/// Another reason for which the same chart fails.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Form {
    pub title: String,
    #[schemars(with = "Option<PathBuf>")]
    pub values: Option<Spanned<PathBuf>>,
    pub knowable: Knowable,
    pub expect: Expect,
    pub remedies: BTreeMap<String, Vec<Step>>,
    #[schemars(with = "Option<String>")]
    pub observe: Option<Spanned<String>>,
    /// What has to hold beside the scenario's own inequalities.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub inequalities: Vec<Spanned<String>>,
}

impl Form {
    /// The broken chart in this form.
    pub fn broken(&self) -> Broken {
        Broken {
            values: self.values.clone(),
            knowable: self.knowable,
            expect: self.expect.clone(),
            remedies: self.remedies.clone(),
            observe: self.observe.clone(),
        }
    }
}

/// When the cause can be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Knowable {
    /// While the engine still waits.
    Early,
    /// Only once the engine has given up.
    AtFailure,
}

/// How it has to break, and what has to be said of it.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Expect {
    /// By engine: texts that its last words hold, in this order.
    pub engine_fails: BTreeMap<String, Vec<String>>,
    /// Exactly these root causes.
    pub causes: Vec<ExpectedCause>,
}

/// One step of a remedy. `{name}` stands for a parameter that the detector knew.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum Step {
    /// Values of the chart, by dotted path.
    Set(BTreeMap<String, String>),
    /// What the engine is told.
    Timeout(String),
    /// A Secret of these literal entries.
    CreateSecret { name: String, literals: BTreeMap<String, String> },
}

/// Values as a chart takes them.
pub type Values = Value;
