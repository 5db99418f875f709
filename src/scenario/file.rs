//! `scenario.yaml` as it is written.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::de::{IntoDeserializer, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_saphyr::Spanned;

use super::duration::Span;
use crate::engine::Told;
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
    #[schemars(with = "Option<PathBuf>")]
    pub chart: Option<Spanned<PathBuf>>,
    /// Instead of a chart: a folder of manifests, which a Kustomization of Flux's applies.
    #[schemars(with = "Option<PathBuf>")]
    pub manifests: Option<Spanned<PathBuf>>,
    /// What installs it.
    #[schemars(with = "Vec<String>")]
    pub engines: Vec<Spanned<String>>,
    /// What the engines are told beside the chart and the timeout.
    #[serde(default)]
    pub engine: Told,
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
    /// By engine: durations that are others there. Flux tries twice, say, so that what comes too late has to come later.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, BTreeMap<String, Span>>")]
    pub engines: BTreeMap<String, BTreeMap<String, Spanned<Span>>>,
}

/// What there is before the engine starts.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Given {
    /// Manifests that somebody has applied, relative to the scenario's file, in this order and before the releases. `${namespace}`,
    /// `${images.tools}`, `${images.standin}` and `${durations.NAME}` stand for what the trial has.
    #[serde(default)]
    #[schemars(with = "Vec<PathBuf>")]
    pub objects: Vec<Spanned<PathBuf>>,
    /// Servers that answer on this machine and not in the cluster.
    #[serde(default)]
    pub outside: Vec<Outside>,
    /// Releases that others have installed before, by the same engine, whose resources nobody waits for.
    #[serde(default)]
    pub releases: Vec<GivenRelease>,
    /// A machine of the cold pool, and an autoscaler that starts it once a pod wants it.
    pub pool: Option<GivenPool>,
}

impl Given {
    /// Whether a release of this name is there after these, so that whoever comes next upgrades it, as `helm upgrade --install` does.
    pub fn holds<'a>(mut releases: impl DoubleEndedIterator<Item = &'a GivenRelease>, name: &str) -> bool {
        releases
            .rfind(|release| release.name == name)
            .is_some_and(|release| matches!(release.fate, Some(Fate::Killed) | None))
    }
}

/// A release that is there before, or was; one of the same name as another before it is an upgrade.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GivenRelease {
    pub name: String,
    /// Relative to the scenario's file.
    #[schemars(with = "Option<PathBuf>")]
    pub chart: Option<Spanned<PathBuf>>,
    /// Instead of a chart: a folder of manifests, which a Kustomization of Flux's applies.
    #[schemars(with = "Option<PathBuf>")]
    pub manifests: Option<Spanned<PathBuf>>,
    /// Values beside the chart's own.
    #[schemars(with = "Option<PathBuf>")]
    pub values: Option<Spanned<PathBuf>>,
    /// What its HelmRelease or Kustomization says beside what every one does, as a merge patch, filled in as objects are; Flux only.
    #[serde(default)]
    pub spec: Value,
    /// Whether it has to be there before anything else begins. One that is not awaited may fail; Flux only.
    #[serde(default = "yes")]
    pub awaited: bool,
    /// What became of it.
    pub fate: Option<Fate>,
}

/// What became of a release before anything else began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// It was uninstalled, and all of it went in time.
    Removed,
    /// It was uninstalled, and the time was over before all of it had gone.
    UninstallTimedOut,
    /// It was uninstalled with `--keep-history`; Helm only.
    Uninstalled,
    /// Its Helm was killed while it waited for the pods; Helm only.
    Killed,
}

impl Fate {
    /// Whether only somebody who runs Helm can bring it about.
    pub fn is_for_helm(self) -> bool {
        matches!(self, Self::Uninstalled | Self::Killed)
    }
}

fn yes() -> bool {
    true
}

/// A node that does not exist until somebody needs it.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GivenPool {
    /// How long the machine takes to come; the name of a duration.
    #[schemars(with = "String")]
    pub provisioning: Spanned<String>,
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
    /// What the HelmRelease says beside what every one does, as a merge patch; Flux only.
    #[serde(default)]
    pub spec: Value,
    /// The values with which the release was installed before; then it is an upgrade that breaks.
    #[schemars(with = "Option<PathBuf>")]
    pub upgrade_from: Option<Spanned<PathBuf>>,
    /// What somebody does once that release is installed, and before it is upgraded.
    #[serde(default)]
    pub between: Vec<Step>,
    pub knowable: KnowableBy,
    pub expect: Expect,
    /// What somebody does once the engine has given up and before anybody asks why: objects that are made, changed or deleted.
    #[serde(default)]
    pub afterwards: Vec<Step>,
    /// What each kind of remedy means in this chart.
    pub remedies: BTreeMap<String, Vec<Step>>,
    /// The kind of remedy that is applied, where it is not the one that the detector prefers but another that it offers.
    pub remedy: Option<String>,
    /// The remedy is tried on everything made anew: what failed has healed meanwhile, and would succeed without it.
    #[serde(default)]
    pub from_scratch: bool,
    /// How long to go on looking after the engine gave up; the name of a duration.
    #[schemars(with = "Option<String>")]
    pub observe: Option<Spanned<String>>,
}

/// The healthy twin: nearly the same, and not broken.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Twin {
    #[schemars(with = "Option<PathBuf>")]
    pub values: Option<Spanned<PathBuf>>,
    /// As for the broken chart; nothing of that one's is taken over.
    #[serde(default)]
    pub spec: Value,
    /// What there is before, instead of what the scenario says.
    pub given: Option<Given>,
}

/// Another reason for which the same chart fails.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Form {
    pub title: String,
    /// The engines on which it breaks so; those of the scenario where it does not say.
    #[schemars(with = "Option<Vec<String>>")]
    pub engines: Option<Vec<Spanned<String>>>,
    /// What the engines are told, instead of what the scenario says.
    pub engine: Option<Told>,
    /// What there is before, instead of what the scenario says: nothing where it does not say.
    #[serde(default)]
    pub given: Given,
    #[schemars(with = "Option<PathBuf>")]
    pub values: Option<Spanned<PathBuf>>,
    #[serde(default)]
    pub spec: Value,
    #[schemars(with = "Option<PathBuf>")]
    pub upgrade_from: Option<Spanned<PathBuf>>,
    #[serde(default)]
    pub between: Vec<Step>,
    pub knowable: KnowableBy,
    pub expect: Expect,
    #[serde(default)]
    pub afterwards: Vec<Step>,
    pub remedies: BTreeMap<String, Vec<Step>>,
    pub remedy: Option<String>,
    #[serde(default)]
    pub from_scratch: bool,
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
            spec: self.spec.clone(),
            upgrade_from: self.upgrade_from.clone(),
            between: self.between.clone(),
            knowable: self.knowable.clone(),
            expect: self.expect.clone(),
            afterwards: self.afterwards.clone(),
            remedies: self.remedies.clone(),
            remedy: self.remedy.clone(),
            from_scratch: self.from_scratch,
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

/// When the cause can be known: on every engine alike, or by engine.
#[derive(Debug, Clone, JsonSchema)]
#[serde(untagged)]
pub enum KnowableBy {
    Same(Knowable),
    Engine(BTreeMap<String, Knowable>),
}

// Derived, an untagged enum says only that nothing fits, and not what would.
impl<'de> Deserialize<'de> for KnowableBy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = KnowableBy;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("early, at-failure, or one of them by engine")
            }

            fn visit_str<E: serde::de::Error>(self, word: &str) -> Result<KnowableBy, E> {
                Knowable::deserialize(word.into_deserializer()).map(KnowableBy::Same)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<KnowableBy, A::Error> {
                BTreeMap::deserialize(MapAccessDeserializer::new(map)).map(KnowableBy::Engine)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl KnowableBy {
    /// When it can be known on this engine; `None` where that is not said.
    pub fn on(&self, engine: &str) -> Option<Knowable> {
        match self {
            Self::Same(knowable) => Some(*knowable),
            Self::Engine(by) => by.get(engine).copied(),
        }
    }
}

/// How it has to break, and what has to be said of it.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Expect {
    /// By engine: texts that its last words hold, in this order.
    pub engine_fails: BTreeMap<String, Vec<String>>,
    /// By engine on which it does not break any more: what mended it, such as `helm-controller 1.5.0`. It has to succeed there, stay
    /// healthy, and be diagnosed at no time.
    #[serde(default)]
    pub fixed_upstream: BTreeMap<String, String>,
    /// Exactly these root causes.
    pub causes: Vec<ExpectedCause>,
    /// What was the cause until somebody did what stands under `afterwards`.
    #[serde(default)]
    pub before: Vec<ExpectedCause>,
}

/// One step of a remedy. `{name}` stands for a parameter that the detector knew.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum Step {
    /// Values of the chart, by dotted path.
    Set(BTreeMap<String, String>),
    /// What the engine is told; with `{name?}`, only where the detector knew that it has to be told another timeout.
    Timeout(String),
    /// A Secret of these literal entries.
    CreateSecret { name: String, literals: BTreeMap<String, String> },
    /// A ConfigMap of these literal entries.
    CreateConfigMap { name: String, literals: BTreeMap<String, String> },
    /// Another release, whose resources nobody waits for.
    Install(GivenRelease),
    /// What the HelmRelease or Kustomization says, as a merge patch; Flux only.
    Spec(Value),
    /// What an object says, as a merge patch.
    Patch { object: ObjectName, patch: Value },
    /// An object, if it is there; its end is waited for.
    Delete(ObjectName),
    /// A file of manifests, relative to the scenario's file, filled in as those that are given.
    Apply(#[schemars(with = "PathBuf")] Spanned<PathBuf>),
    /// Asks Flux to forget its failures and to try again, as `flux reconcile helmrelease --reset` does; Flux only.
    Reset(Reset),
    /// The release goes with all of its records before anything else, and is installed anew.
    Uninstall,
    /// The release goes back to this revision, as `helm rollback` does; Helm only.
    Rollback(String),
}

/// Names an object of the trial's namespace.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ObjectName {
    /// `apps/v1`
    pub api_version: String,
    pub kind: String,
    pub name: String,
}

/// How Flux is asked to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Reset {
    /// Also where nothing has changed, as with `--force`.
    #[serde(default)]
    pub force: bool,
}

/// Values as a chart takes them.
pub type Values = Value;
