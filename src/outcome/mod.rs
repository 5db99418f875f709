//! What the expected and the observed make of a trial: one verdict.

pub mod judge;

use std::fmt;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::diagnosis::Diagnosis;
use crate::remedy::Remedy;

/// The verdict on one trial, from the best to the gravest: a run with several exits with the gravest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It broke as documented, was diagnosed right, remedied, and stayed healthy; or the twin stayed undiagnosed.
    Pass,
    /// It does not break on this engine any more, as expected.
    FixedUpstream,
    /// Nothing was tried.
    NotRun,
    /// It no longer breaks.
    NotReproduced,
    /// It broke otherwise than documented.
    WrongFailure,
    /// It broke as documented, and no cause was found.
    Undetected,
    /// Another cause was found, or one too many, or one too few.
    Misdiagnosed,
    /// The twin was diagnosed.
    FalseAlarm,
    /// The diagnosed remedy did not put it right, or the scenario has none of its kind.
    NotRemedied,
    /// It was healthy after the remedy, and then was not.
    Relapsed,
    /// Docker, kind, disk, network or the harness failed; no detector is to blame.
    Infra,
}

impl Verdict {
    pub const ALL: [Self; 11] = [
        Self::Pass,
        Self::FixedUpstream,
        Self::NotRun,
        Self::NotReproduced,
        Self::WrongFailure,
        Self::Undetected,
        Self::Misdiagnosed,
        Self::FalseAlarm,
        Self::NotRemedied,
        Self::Relapsed,
        Self::Infra,
    ];

    /// `not-reproduced`
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::FixedUpstream => "fixed-upstream",
            Self::NotRun => "not-run",
            Self::NotReproduced => "not-reproduced",
            Self::WrongFailure => "wrong-failure",
            Self::Undetected => "undetected",
            Self::Misdiagnosed => "misdiagnosed",
            Self::FalseAlarm => "false-alarm",
            Self::NotRemedied => "not-remedied",
            Self::Relapsed => "relapsed",
            Self::Infra => "infra",
        }
    }

    /// Whether a run with nothing worse succeeds.
    pub fn passed(self) -> bool {
        matches!(self, Self::Pass | Self::FixedUpstream)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The broken chart or its healthy twin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Variant {
    Broken,
    Twin,
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Broken => "broken",
            Self::Twin => "twin",
        })
    }
}

/// Documented durations scaled down, their order kept, or as documented.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    Fast,
    Faithful,
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Profile {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fast => "fast",
            Self::Faithful => "faithful",
        }
    }
}

/// Which trial: scenario × engine × variant, in a profile.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct TrialId {
    /// `<slug>` or `<slug>--<form>`
    pub scenario: String,
    pub engine: String,
    pub variant: Variant,
    pub profile: Profile,
}

/// `hook-target-unreachable::helm-4::broken`, as a test is named; the profile is the run's.
impl fmt::Display for TrialId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}::{}::{}", self.scenario, self.engine, self.variant)
    }
}

/// A cause that a scenario expects.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct ExpectedCause {
    pub slug: String,
    /// `Job/keycloak-config`; any subject where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Texts that the citations have to contain: the right answer for the right reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub citing: Vec<String>,
    /// Slugs of documented failures that its chain has to lead through: what is only a consequence of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub through: Vec<String>,
}

/// What was done to put it right.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RemedyReport {
    pub remedy: Remedy,
    /// The steps as commands that a person would type.
    pub commands: Vec<String>,
    /// Whether the workload got healthy after it.
    pub healthy: bool,
}

/// Where a trial was recorded to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RecordingReport {
    pub file: PathBuf,
    /// Why it is not there, or not to be relied on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

/// How a trial ended. All durations are milliseconds; `break_ms` and `first_correct_ms` count from the engine's start.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Outcome {
    #[serde(flatten)]
    pub trial: TrialId,
    pub engine_version: String,
    pub kubernetes_version: String,
    pub verdict: Verdict,
    /// One sentence: what the verdict rests on.
    pub sentence: String,
    /// What the engine was told, as a command.
    pub engine_command: String,
    /// The engine's own last words.
    pub engine_words: String,
    pub expected_causes: Vec<ExpectedCause>,
    pub diagnosis: Diagnosis,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<RemedyReport>,
    pub provision_ms: u64,
    /// Installing what is there before: other releases, and the version that is upgraded.
    #[serde(default)]
    pub given_ms: u64,
    /// Until the engine gave up; absent where it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub break_ms: Option<u64>,
    /// Until the diagnosis was right and stayed right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_correct_ms: Option<u64>,
    /// At the most so long after the first fact from which the right diagnosis follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag_ms: Option<u64>,
    /// What the engine still had to wait when the diagnosis was right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_ms: Option<u64>,
    /// Looking on after the engine gave up, until the diagnosis was settled.
    #[serde(default)]
    pub observe_ms: u64,
    /// Applying the remedy until healthy, the stability window not included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy_ms: Option<u64>,
    /// How long it was watched staying healthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window_ms: Option<u64>,
    /// What the harness itself added: total less engine, waits, window and remedy.
    pub overhead_ms: u64,
    pub total_ms: u64,
    /// Absent where it was not recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recording: Option<RecordingReport>,
}

impl Outcome {
    /// The outcome of a trial that was not tried, and why.
    pub fn not_run(trial: TrialId, expected_causes: Vec<ExpectedCause>, sentence: String) -> Self {
        Self {
            trial,
            engine_version: String::new(),
            kubernetes_version: String::new(),
            verdict: Verdict::NotRun,
            sentence,
            engine_command: String::new(),
            engine_words: String::new(),
            expected_causes,
            diagnosis: Diagnosis::default(),
            remedy: None,
            provision_ms: 0,
            given_ms: 0,
            break_ms: None,
            first_correct_ms: None,
            lag_ms: None,
            left_ms: None,
            observe_ms: 0,
            remedy_ms: None,
            window_ms: None,
            overhead_ms: 0,
            total_ms: 0,
            recording: None,
        }
    }
}
