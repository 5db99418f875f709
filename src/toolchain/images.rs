//! Images in the Docker engine.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use super::cache::Cache;
use super::docker::Engine;
use super::error::ToolchainError;
use crate::command::{Command, CommandError};

/// Label with the full key of what an image was made from.
pub(super) const KEY_LABEL: &str = "dev.rekindle.key";
/// Label on whatever exists only while an image is built; its value names the cache that the build belongs to.
pub(super) const BUILD_LABEL: &str = "dev.rekindle.build";
const ASK_DEADLINE: Duration = Duration::from_secs(30);
const WORK_DEADLINE: Duration = Duration::from_mins(10);

/// Those of `references` that the engine has, with their [`KEY_LABEL`], asked for in one call.
pub(super) async fn inspect(references: &[&str], cancel: &CancellationToken) -> Result<BTreeMap<String, Option<String>>, ToolchainError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Inspected {
        repo_tags: Option<Vec<String>>,
        config: Option<Config>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Config {
        labels: Option<BTreeMap<String, String>>,
    }
    // A missing one makes the status 1; the others are printed all the same.
    let output = Engine::command(ASK_DEADLINE, ["image", "inspect"])
        .args(references)
        .run_any_status(cancel)
        .await;
    let output = output.map_err(ToolchainError::step("asking the engine for images"))?;
    let images: Vec<Inspected> = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let mut found = BTreeMap::new();
    for image in images {
        let key = image
            .config
            .and_then(|config| config.labels)
            .and_then(|mut labels| labels.remove(KEY_LABEL));
        for tag in image.repo_tags.unwrap_or_default() {
            found.insert(tag, key.clone());
        }
    }
    Ok(found)
}

/// What the engine calls an image, if it has it.
pub(super) async fn id_of(reference: &str, cancel: &CancellationToken) -> Result<Option<String>, ToolchainError> {
    let asked = Engine::command(ASK_DEADLINE, ["image", "inspect", "--format", "{{.Id}}", reference])
        .run_any_status(cancel)
        .await;
    let output = asked.map_err(ToolchainError::step("asking the engine for an image"))?;
    Ok(output.status.success().then(|| output.text()))
}

/// Loads an archive of images.
pub(super) async fn load(archive: &Path, cancel: &CancellationToken) -> Result<(), ToolchainError> {
    let loaded = Engine::command(WORK_DEADLINE, ["load", "--input"]).arg(archive).run(cancel).await;
    loaded
        .map(drop)
        .map_err(ToolchainError::step(format!("loading {} into the engine", archive.display())))
}

/// The label of builds that belong to this cache. Whoever holds the lock of the build may remove what carries it.
pub(super) fn build_label(cache: &Cache) -> String {
    let key = super::content::Key::of([("cache", cache.root().as_os_str().as_encoded_bytes())]);
    format!("{BUILD_LABEL}={}", key.short())
}

/// Removes containers and unnamed images that builds of this cache left. Only for the holder of the build's lock.
pub(super) async fn remove_leftovers(cache: &Cache, cancel: &CancellationToken) -> Result<(), ToolchainError> {
    let filter = format!("label={}", build_label(cache));
    let listed = Engine::command(ASK_DEADLINE, ["ps", "--all", "--quiet", "--filter", &filter])
        .run(cancel)
        .await;
    let containers = listed
        .map_err(ToolchainError::step("looking for containers that a build left"))?
        .text();
    if !containers.is_empty() {
        let remove = Engine::command(WORK_DEADLINE, ["rm", "--force", "--volumes"])
            .args(containers.lines())
            .run(cancel)
            .await;
        remove.map_err(ToolchainError::step("removing containers that a build left"))?;
    }
    let prune = Engine::command(WORK_DEADLINE, ["image", "prune", "--force", "--filter", &filter])
        .run(cancel)
        .await;
    prune.map(drop).map_err(ToolchainError::step("removing images that a build left"))
}

/// A container that exists while an image is built.
pub(super) struct BuildContainer {
    id: String,
}

impl BuildContainer {
    /// Starts one from `image` that does nothing by itself and reaches no network.
    pub async fn start(image: &str, cache: &Cache, cancel: &CancellationToken) -> Result<Self, ToolchainError> {
        let label = build_label(cache);
        let run = [
            "run",
            "--detach",
            "--privileged",
            "--network",
            "none",
            "--label",
            &label,
            "--entrypoint",
            "sleep",
            image,
            "infinity",
        ];
        let started = Engine::command(WORK_DEADLINE, run).run(cancel).await;
        Ok(Self {
            id: started
                .map_err(ToolchainError::step("starting a container to build the node image in"))?
                .text(),
        })
    }

    /// Copies what is in the folder `from` into the container's folder `to`.
    pub async fn copy(&self, from: &Path, to: &str, cancel: &CancellationToken) -> Result<(), ToolchainError> {
        let copy = Engine::command(WORK_DEADLINE, ["cp"])
            .arg(from.join("."))
            .arg(format!("{}:{to}", self.id))
            .run(cancel)
            .await;
        copy.map(drop)
            .map_err(ToolchainError::step(format!("copying {} into the node image", from.display())))
    }

    /// A command inside the container, to be completed and run.
    pub fn exec(&self, flags: &[&str], args: &[&str]) -> Command {
        Engine::command(WORK_DEADLINE, ["exec"]).args(flags).arg(&self.id).args(args)
    }

    /// Makes an image of what the container has become.
    pub async fn commit(&self, changes: &[String], reference: &str, cancel: &CancellationToken) -> Result<(), ToolchainError> {
        let changes = changes.iter().flat_map(|change| ["--change", change.as_str()]);
        let commit = Engine::command(WORK_DEADLINE, ["commit"])
            .args(changes)
            .args([&self.id, reference])
            .run(cancel)
            .await;
        commit.map(drop).map_err(ToolchainError::step(format!("committing {reference}")))
    }

    /// Removes it with its volumes, also when the run is being interrupted.
    pub async fn remove(self) -> Result<(), ToolchainError> {
        let removal = Engine::command(WORK_DEADLINE, ["rm", "--force", "--volumes", &self.id])
            .run(&CancellationToken::new())
            .await;
        removal
            .map(drop)
            .map_err(ToolchainError::step("removing the container that the node image was built in"))
    }
}

/// Imports a root file system as an image without a name; its id.
pub(super) async fn import(tar: &PathBuf, cache: &Cache, cancel: &CancellationToken) -> Result<String, ToolchainError> {
    let label = build_label(cache);
    let imported = Engine::command(WORK_DEADLINE, ["import", "--change", &format!("LABEL {label}")])
        .arg(tar)
        .run(cancel)
        .await;
    Ok(imported
        .map_err(ToolchainError::step("importing the node's root file system"))?
        .text())
}

/// Gets an image that the engine does not have from where its name points to.
pub(super) async fn pull(image: &str, cancel: &CancellationToken) -> Result<(), ToolchainError> {
    match Engine::command(WORK_DEADLINE, ["pull", "--quiet", image]).run(cancel).await {
        Ok(_) => Ok(()),
        Err(CommandError::Interrupted { .. }) => Err(ToolchainError::Interrupted),
        Err(error) => Err(ToolchainError::NoNodeImage {
            image: image.to_owned(),
            last: super::error::last_line(&error),
        }),
    }
}
