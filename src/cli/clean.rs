//! `rekindle clean`: leave the machine as it was found.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::up::ProvisionError;
use crate::cluster::{self, ClusterError};
use crate::command::Command;
use crate::events::Events;
use crate::toolchain;

/// Remove every cluster of rekindle, what dead runs left, and unfinished builds.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Also remove everything that was built: the cache folder and rekindle's images.
    #[arg(long)]
    pub all: bool,
}

/// Runs the command; the answer is what to print.
///
/// # Errors
/// When a cluster is in use, or something is still there afterwards.
pub async fn run(
    args: &Args,
    toolchain: &toolchain::Options,
    events: &Events,
    cancel: &CancellationToken,
) -> Result<String, ProvisionError> {
    let mut lines = Vec::new();
    if cluster::anything(&toolchain.state)? {
        cluster::wake_docker(toolchain, events, cancel).await?;
        for run in cluster::clean(&toolchain.state, events).await? {
            lines.push(format!("Removed the run {} (cluster {}): {run}.", run.run_id, run.cluster));
        }
    }
    for build in unfinished(&toolchain.cache) {
        remove_folder(&build)?;
        lines.push(format!("Removed the unfinished build {}.", build.display()));
    }
    if args.all {
        let images = remove_images(cancel).await?;
        if !images.is_empty() {
            lines.push(format!("Removed the images {}.", images.join(", ")));
        }
        let saved = cluster::saved_images(&toolchain.state);
        if saved.exists() {
            remove_folder(&saved)?;
        }
        if toolchain.cache.exists() {
            remove_folder(&toolchain.cache)?;
            lines.push(format!("Removed the cache {}.", toolchain.cache.display()));
        }
    }
    toolchain::release_docker(toolchain, cancel).await?;
    if lines.is_empty() {
        lines.push("There was nothing to remove.".to_owned());
    }
    Ok(lines.join("\n"))
}

/// Builds that were cut off: folders of the cache that were never given their final name, and that nobody works on.
fn unfinished(cache: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(cache) else {
        return Vec::new();
    };
    let mut found: Vec<PathBuf> = entries
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(".building-"))
        .map(|entry| entry.path())
        .collect();
    found.sort();
    found
}

/// Images under names that only rekindle gives. Where Docker is not there, its images are not either.
async fn remove_images(cancel: &CancellationToken) -> Result<Vec<String>, ClusterError> {
    let deadline = Duration::from_secs(120);
    let list = [
        "image",
        "ls",
        "--filter",
        "reference=rekindle.local/*",
        "--format",
        "{{.Repository}}:{{.Tag}}",
    ];
    let Ok(listed) = Command::new("docker", deadline).args(list).run(cancel).await else {
        return Ok(Vec::new());
    };
    let images: Vec<String> = listed.text().lines().map(str::to_owned).collect();
    if !images.is_empty() {
        let remove = Command::new("docker", deadline).args(["image", "rm"]).args(&images);
        remove.run(cancel).await.map_err(|source| ClusterError::Docker {
            what: "remove images",
            source,
        })?;
    }
    Ok(images)
}

fn remove_folder(path: &Path) -> Result<(), ClusterError> {
    std::fs::remove_dir_all(path).map_err(|source| ClusterError::Folder {
        doing: "removed",
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_unfinished_builds_are_found() {
        let cache = tempfile::tempdir().unwrap();
        for name in [".building-kind.x1", "kind-0123", "locks"] {
            std::fs::create_dir(cache.path().join(name)).unwrap();
        }
        assert_eq!(unfinished(cache.path()), [cache.path().join(".building-kind.x1")]);
        assert!(unfinished(&cache.path().join("none")).is_empty());
    }
}
