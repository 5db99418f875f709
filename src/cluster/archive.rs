//! The images that go into every cluster, as one file that its node reads.
//!
//! Streaming them out of Docker and back into a node costs more than a second of two processors while Kubernetes starts. The file is
//! made once for a set of images, whose references name their content, and mounted into the node.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use super::ClusterError;
use crate::command::{Command, CommandError};

/// Where a node finds the folder.
pub const MOUNTED: &str = "/rekindle-images";
/// Writing some hundred megabytes to a slow disk.
const SAVE: Duration = Duration::from_secs(180);

/// A file with a set of images.
#[derive(Debug)]
pub struct Archive {
    pub dir: PathBuf,
    pub file: String,
}

impl Archive {
    /// Finds or makes the file for these images; older ones are removed. The caller holds the right to create.
    ///
    /// # Errors
    /// [`ClusterError::Load`] when Docker does not give them.
    pub async fn of(images: &[String], state: &Path, cancel: &CancellationToken) -> Result<Self, ClusterError> {
        let dir = folder(state);
        let file = name(images);
        let path = dir.join(&file);
        if !path.exists() {
            let failed = |source| ClusterError::Folder {
                doing: "written",
                path: dir.clone(),
                source,
            };
            match std::fs::remove_dir_all(&dir) {
                Err(source) if source.kind() != std::io::ErrorKind::NotFound => return Err(failed(source)),
                _ => {}
            }
            std::fs::create_dir_all(&dir).map_err(failed)?;
            let temporary = dir.join(".new");
            let save = Command::new("docker", SAVE)
                .args(["image", "save", "--output"])
                .arg(&temporary)
                .args(images);
            match save.run(cancel).await {
                Ok(_) => std::fs::rename(&temporary, &path).map_err(failed)?,
                Err(CommandError::Interrupted { .. }) => return Err(ClusterError::Interrupted { what: "saving images" }),
                Err(source) => {
                    return Err(ClusterError::Save {
                        image: images.join(" "),
                        source,
                    });
                }
            }
        }
        Ok(Self { dir, file })
    }
}

/// The folder of a state folder in which the file lies.
pub fn folder(state: &Path) -> PathBuf {
    // A relative path would mean something else to the Docker engine.
    std::path::absolute(state).unwrap_or_else(|_| state.to_owned()).join("images")
}

fn name(images: &[String]) -> String {
    let digest = Sha256::digest(images.join("\n").as_bytes());
    let key: String = digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    format!("{key}.tar")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_image_is_another_file() {
        let set = |tag: &str| vec!["rekindle.local/tools:1".to_owned(), format!("rekindle.local/standin:{tag}")];
        assert_eq!(name(&set("a")), name(&set("a")));
        assert_ne!(name(&set("a")), name(&set("b")));
    }
}
