//! What installs a chart.

pub mod flux;
mod helm;

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use schemars::JsonSchema;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

pub use flux::{Flux, FluxError};
pub use helm::{Helm, Major};

use crate::command::CommandError;
use crate::evidence::Recorder;
use crate::scenario::{Content, Reset};

/// Every engine, in the order in which they are listed.
pub const NAMES: &[&str] = &["helm-3", "helm-4", "flux-2.7", "flux-2.9"];

/// How an engine waits for resources, in the words of Helm 4's `--wait`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Wait {
    /// Watches until everything is what kstatus calls current. Helm 4 only.
    Watcher,
    /// Asks every 2 s; all that Helm 3 knows.
    Legacy,
    /// For hooks only.
    HookOnly,
}

impl Wait {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Watcher => "watcher",
            Self::Legacy => "legacy",
            Self::HookOnly => "hookOnly",
        }
    }
}

/// What a scenario tells its engine beside the chart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Told {
    /// How it waits; `watcher` where it can, else `legacy`.
    pub wait: Option<Wait>,
    /// Helm 4's `--rollback-on-failure`, Helm 3's `--atomic`.
    #[serde(default)]
    pub rollback_on_failure: bool,
    /// To upgrade, whatever is there: `helm upgrade` without `--install`. Helm only; Flux looks first.
    #[serde(default)]
    pub upgrade: bool,
}

/// Why an engine cannot be told something.
///
/// # Errors
/// A clause for people, where it knows no such wait.
pub fn understands(engine: &str, told: Told) -> Result<(), String> {
    if told.upgrade && !engine.starts_with("helm-") {
        return Err(format!("`{engine}` upgrades or installs as it sees fit; `upgrade` is for Helm"));
    }
    match (engine, told.wait) {
        ("helm-3" | "flux-2.7", Some(Wait::Watcher)) => Err(format!("`{engine}` knows no `wait: watcher`; it has legacy and hookOnly")),
        _ => Ok(()),
    }
}

/// An engine that can be used.
#[derive(Clone)]
pub enum Engine {
    Helm(Helm),
    Flux(Flux),
}

impl Engine {
    /// "v4.3.1"
    pub fn version(&self) -> &str {
        match self {
            Self::Helm(helm) => helm.version(),
            Self::Flux(flux) => flux.version(),
        }
    }

    /// The version of that part of it which takes such content.
    pub fn version_for(&self, content: &Content) -> &str {
        match (self, content) {
            (Self::Flux(flux), Content::Manifests(_)) => flux.kustomize_version(),
            _ => self.version(),
        }
    }

    /// What it is about to do, for people: `helm install openhands`.
    pub fn title(&self, request: &Request) -> String {
        match self {
            Self::Helm(_) => format!("helm {} {}", request.operation.as_str(), request.release),
            Self::Flux(_) => format!(
                "Flux to {} {} {}",
                request.operation.as_str(),
                request.content.kind(),
                request.release
            ),
        }
    }

    /// The request as a person would type it.
    pub fn display(&self, request: &Request) -> String {
        match self {
            Self::Helm(helm) => helm.display(request),
            Self::Flux(flux) => flux.display(request),
        }
    }

    /// A request that follows another one, as a person would type it: Flux is told only what differs.
    pub fn display_again(&self, request: &Request, before: &Request) -> Vec<String> {
        match self {
            Self::Helm(helm) => vec![helm.display(request)],
            Self::Flux(flux) => flux.display_again(request, before),
        }
    }

    /// The removal of a request's release as a person would type it.
    pub fn display_uninstall(&self, request: &Request) -> String {
        match self {
            Self::Helm(helm) => helm.display_uninstall(request),
            Self::Flux(flux) => flux.display_uninstall(request),
        }
    }

    /// Carries a request out to its end, and records what it was told, what it said, and how it ended. Without a recorder it is only
    /// carried out: what others installed before is no part of what is diagnosed.
    ///
    /// # Errors
    /// When it could not be run or was interrupted; that it failed is in [`Ended`].
    pub async fn run(&self, request: &Request, recorder: Option<&Recorder>, cancel: &CancellationToken) -> Result<Ended, EngineError> {
        match self {
            Self::Helm(helm) => helm.run(request, recorder, cancel).await,
            Self::Flux(flux) => flux.run(request, recorder, cancel).await,
        }
    }

    /// Hands a request over, and does not wait for what becomes of it. Helm has nobody that it could be handed to.
    ///
    /// # Errors
    /// When it could not be handed over.
    pub async fn hand_over(&self, request: &Request) -> Result<(), EngineError> {
        match self {
            Self::Helm(_) => Ok(()),
            Self::Flux(flux) => flux.hand_over(request).await,
        }
    }

    /// Takes the release of a request back to a revision. Flux goes back by itself.
    ///
    /// # Errors
    /// When it fails, too: there is nothing to be learnt from that here.
    pub async fn rollback(&self, request: &Request, revision: &str, cancel: &CancellationToken) -> Result<(), EngineError> {
        match self {
            Self::Helm(helm) => helm.rollback(request, revision, cancel).await,
            Self::Flux(_) => Ok(()),
        }
    }

    /// The same as a person would type it.
    pub fn display_rollback(&self, request: &Request, revision: &str) -> String {
        match self {
            Self::Helm(helm) => helm.display_rollback(request, revision),
            Self::Flux(_) => String::new(),
        }
    }

    /// Removes the release of a request, and keeps its records. Flux has no such thing.
    ///
    /// # Errors
    /// When it fails, too: there is nothing to be learnt from that here.
    pub async fn uninstall_keeping_history(&self, request: &Request, cancel: &CancellationToken) -> Result<(), EngineError> {
        match self {
            Self::Helm(helm) => helm.uninstall_keeping_history(request, cancel).await,
            Self::Flux(_) => Ok(()),
        }
    }

    /// Removes the release of a request.
    ///
    /// # Errors
    /// When it fails, too: there is nothing to be learnt from that here.
    pub async fn uninstall(&self, request: &Request, cancel: &CancellationToken) -> Result<(), EngineError> {
        match self {
            Self::Helm(helm) => helm.uninstall(request, cancel).await,
            Self::Flux(flux) => flux.uninstall(request, cancel).await,
        }
    }
}

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
    pub content: Content,
    pub values: Vec<PathBuf>,
    /// Values that come last; for an upgrade they are laid over those of the release.
    pub overlay: Value,
    /// Single values by dotted path.
    pub set: Vec<(String, String)>,
    pub timeout: Duration,
    pub told: Told,
    /// What the HelmRelease says beside what every one does, as a merge patch; Flux only.
    pub spec: Value,
    /// Asks to forget earlier failures and to try again; Flux only.
    pub reset: Option<Reset>,
    /// Once this is cancelled, the engine is killed, as by a machine that goes down; Helm only.
    pub kill: Option<CancellationToken>,
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
    #[error(transparent)]
    Flux(#[from] FluxError),
}
