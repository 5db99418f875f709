//! What installs a chart.

mod helm;

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

pub use helm::Helm;

use crate::command::CommandError;

/// Every engine, in the order in which they are listed.
pub const NAMES: &[&str] = &["helm-4"];

/// What an engine does to a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    Install,
    Upgrade,
}

impl Operation {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Install => "install",
            Self::Upgrade => "upgrade",
        }
    }
}

/// What an engine is told.
#[derive(Debug, Clone)]
pub struct Request {
    pub operation: Operation,
    pub release: String,
    pub namespace: String,
    pub chart: PathBuf,
    pub values: Vec<PathBuf>,
    /// Values that come last; for an upgrade they are laid over those of the release.
    pub overlay: Value,
    /// Single values by dotted path.
    pub set: Vec<(String, String)>,
    pub timeout: Duration,
}

/// How an engine ended.
#[derive(Debug, Clone)]
pub struct Ended {
    pub exit_code: Option<i32>,
    /// Its last words: what it printed to standard error.
    pub words: String,
    pub elapsed: Duration,
}

impl Ended {
    pub fn succeeded(&self) -> bool {
        self.exit_code == Some(0)
    }
}

/// Why an engine could not be run at all. That it ran and failed is no error.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error("failed to write the values for {release}: {source}")]
    Values { release: String, source: std::io::Error },
    #[error("failed to run the engine for {release}: {source}")]
    Command { release: String, source: CommandError },
}
