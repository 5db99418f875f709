//! The tools that run on this machine: from the PATH where the version fits, else from the cache, else built.

use std::path::PathBuf;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::cache::Cache;
use super::error::ToolchainError;
use super::gotools::{ENGINES, Go, GoTool, KIND, KUBECTL};
use super::host::find_programs;
use super::version::{Fit, version_in};
use crate::command::Command;
use crate::events::Events;

const ASK_DEADLINE: Duration = Duration::from_secs(20);

/// A tool that can be used, with its version.
#[derive(Debug, Clone)]
pub(super) struct Tool {
    pub path: PathBuf,
    pub version: String,
}

/// What is on the PATH.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub kind: Option<Tool>,
    pub helm: Option<Tool>,
    pub kubectl: Option<Tool>,
    pub go: Option<Go>,
}

impl Found {
    /// Looks, and asks each tool for its version; a tool that does not answer is as good as none.
    pub async fn look(cancel: &CancellationToken) -> Result<Self, ToolchainError> {
        let [kind, helm, kubectl, go] = find_programs(["kind", "helm", "kubectl", "go"], cancel).await?;
        let ask = async |path: Option<PathBuf>, args: &'static [&'static str]| -> Option<Tool> {
            let path = path?;
            let answer = Command::new(&path, ASK_DEADLINE).args(args).run(cancel).await.ok()?.text();
            version_in(&answer).map(|version| Tool {
                path,
                version: version.to_owned(),
            })
        };
        let who = async {
            match go {
                Some(go) => Go::at(go, cancel).await.map(Some),
                None => Ok(None),
            }
        };
        let (kind, helm, kubectl, go) = tokio::join!(
            ask(kind, &["version"]),
            ask(helm, &["version", "--short"]),
            ask(kubectl, &["version", "--client"]),
            who
        );
        Ok(Self {
            kind,
            helm,
            kubectl,
            go: go?,
        })
    }
}

/// How close to the pinned version a tool from the PATH must be.
fn fit(tool: &GoTool) -> Fit {
    match tool.name {
        name if ENGINES.iter().any(|engine| engine.name == name) => Fit::SameMajor,
        name if name == KUBECTL.name => Fit::WithinOneMinor,
        _ => Fit::SameMinor,
    }
}

/// Whether `found` may be used where `wanted` is pinned.
pub(super) fn fits(tool: &GoTool, found: Option<&Tool>, wanted: &str) -> bool {
    found.is_some_and(|found| fit(tool).accepts(&found.version, wanted))
}

/// The tool from the PATH if it fits the pinned version, else our own.
pub(super) async fn pick(
    tool: &GoTool,
    found: Option<Tool>,
    cache: &Cache,
    go: Option<&Go>,
    events: &Events,
    cancel: &CancellationToken,
) -> Result<Tool, ToolchainError> {
    pick_for(tool, tool.version(), found, cache, go, events, cancel).await
}

/// The tool from the PATH if it fits `wanted`, else our own.
pub(super) async fn pick_for(
    tool: &GoTool,
    wanted: &str,
    found: Option<Tool>,
    cache: &Cache,
    go: Option<&Go>,
    events: &Events,
    cancel: &CancellationToken,
) -> Result<Tool, ToolchainError> {
    if let Some(found) = found.filter(|found| fits(tool, Some(found), wanted)) {
        events
            .step(format!("{} {} from {}", tool.title, found.version, found.path.display()))
            .cached();
        return Ok(found);
    }
    let path = tool.binaries(cache, go, events, cancel).await?.join(tool.binary());
    if tool.name != KIND.name && !fit(tool).accepts(tool.version(), wanted) {
        events.note(format!(
            "{} {} is used with Kubernetes {wanted}, which is further apart than either supports",
            tool.title,
            tool.version()
        ));
    }
    Ok(Tool {
        path,
        version: tool.version().to_owned(),
    })
}
