//! Container images written without a container engine: the archive that `docker load` and `ctr images import` read.
//!
//! Images that only the cluster needs never enter the machine's engine under names that are not ours.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use super::content::{hash_file, hex};
use super::error::ToolchainError;
use crate::command::Command;

const TAR_DEADLINE: Duration = Duration::from_mins(10);
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// An image to be.
#[derive(Debug, Default)]
pub(super) struct Image {
    pub reference: String,
    /// Tar files, the lowest first.
    pub layers: Vec<PathBuf>,
    pub entrypoint: Vec<String>,
    pub command: Vec<String>,
    pub user: String,
    pub labels: Vec<(&'static str, String)>,
}

/// The architecture as container images name it.
pub(super) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// A layer with some files; the same content always gives the same bytes. `place` fills the folder that becomes the layer.
pub(super) async fn layer(
    work: &Path,
    name: &str,
    place: impl FnOnce(&Path) -> std::io::Result<()>,
    cancel: &CancellationToken,
) -> Result<PathBuf, ToolchainError> {
    let (tree, tar) = (work.join(format!("{name}.tree")), work.join(format!("{name}.tar")));
    fs::create_dir_all(&tree)
        .and_then(|()| place(&tree))
        .map_err(ToolchainError::file("assembling a layer", &tree))?;
    let command = Command::new("tar", TAR_DEADLINE)
        .args([
            "--sort=name",
            "--mtime=@0",
            "--owner=0",
            "--group=0",
            "--numeric-owner",
            "--mode=go-w",
            "-cf",
        ])
        .args([tar.as_path(), Path::new("-C"), &tree, Path::new(".")]);
    command
        .run(cancel)
        .await
        .map_err(ToolchainError::step(format!("packing the layer {name}")))?;
    fs::remove_dir_all(&tree).map_err(ToolchainError::file("removing a folder", &tree))?;
    Ok(tar)
}

/// Writes all `images` into one archive inside `work`.
pub(super) async fn write(images: Vec<Image>, work: &Path, cancel: &CancellationToken) -> Result<PathBuf, ToolchainError> {
    let (dir, archive) = (work.join("archive"), work.join("archive.tar"));
    let prepared = {
        let dir = dir.clone();
        // Hashing hundreds of megabytes would keep everybody else waiting.
        tokio::task::spawn_blocking(move || prepare(&images, &dir)).await
    };
    prepared
        .map_err(std::io::Error::other)
        .flatten()
        .map_err(ToolchainError::file("writing an image archive", &dir))?;
    let command = Command::new("tar", TAR_DEADLINE).args([Path::new("-cf"), &archive, Path::new("-C"), &dir, Path::new(".")]);
    command
        .run(cancel)
        .await
        .map_err(ToolchainError::step("packing an image archive"))?;
    fs::remove_dir_all(&dir).map_err(ToolchainError::file("removing a folder", &dir))?;
    Ok(archive)
}

fn prepare(images: &[Image], dir: &Path) -> std::io::Result<()> {
    fs::create_dir_all(dir)?;
    let mut manifest = Vec::new();
    for image in images {
        let (mut digests, mut names) = (Vec::new(), Vec::new());
        for layer in &image.layers {
            let digest = hash_file(layer)?;
            let name = format!("{digest}.tar");
            // Two images may share a layer.
            if !dir.join(&name).exists() && fs::hard_link(layer, dir.join(&name)).is_err() {
                fs::copy(layer, dir.join(&name))?;
            }
            digests.push(format!("sha256:{digest}"));
            names.push(name);
        }
        let labels: serde_json::Map<_, _> = image
            .labels
            .iter()
            .map(|(key, value)| ((*key).to_owned(), value.clone().into()))
            .collect();
        let config = json!({
            "architecture": architecture(),
            "os": "linux",
            // The key says what an image is; when it was made is nobody's business and would change its digest.
            "created": "1970-01-01T00:00:00Z",
            "config": {
                "Entrypoint": image.entrypoint, "Cmd": image.command, "User": image.user, "Env": [PATH], "WorkingDir": "/", "Labels": labels,
            },
            "rootfs": {"type": "layers", "diff_ids": digests},
            "history": image.layers.iter().map(|_| json!({"created": "1970-01-01T00:00:00Z", "created_by": "rekindle"})).collect::<Vec<_>>(),
        })
        .to_string();
        let config_name = format!("{}.json", hex(&Sha256::digest(config.as_bytes())));
        fs::write(dir.join(&config_name), config)?;
        manifest.push(json!({"Config": config_name, "RepoTags": [image.reference], "Layers": names}));
    }
    fs::write(dir.join("manifest.json"), serde_json::Value::from(manifest).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_same_content_gives_the_same_archive_members() {
        let cancel = CancellationToken::new();
        let mut configs = Vec::new();
        for _ in 0..2 {
            let work = tempfile::tempdir().unwrap();
            let layer = layer(work.path(), "one", |tree| fs::write(tree.join("standin"), "x"), &cancel)
                .await
                .unwrap();
            let image = Image {
                reference: "rekindle.local/x:1".to_owned(),
                layers: vec![layer],
                ..Image::default()
            };
            let archive = write(vec![image], work.path(), &cancel).await.unwrap();
            let listed = Command::new("tar", TAR_DEADLINE)
                .arg("-tf")
                .arg(archive)
                .run(&cancel)
                .await
                .unwrap()
                .text();
            let mut names: Vec<_> = listed.lines().map(str::to_owned).collect();
            names.sort();
            configs.push(names);
        }
        assert_eq!(configs[0], configs[1]);
        assert_eq!(configs[0].len(), 4, "{:?}", configs[0]);
    }
}
