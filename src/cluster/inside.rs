//! What is done inside a node's container, from outside.

use std::path::Path;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::ClusterError;
use crate::command::{Command, CommandError, Output};

/// Loading an image of some hundred megabytes on a busy machine.
pub const LOAD: Duration = Duration::from_secs(180);

/// Runs a script in a node.
///
/// # Errors
/// See [`CommandError`].
pub async fn exec(node: &str, script: &str, deadline: Duration, cancel: &CancellationToken) -> Result<Output, CommandError> {
    let command = Command::new("docker", deadline).args(["exec", node, "sh", "-c", script]);
    command.run(cancel).await
}

/// Streams images from Docker into a node's containerd.
///
/// # Errors
/// [`ClusterError::Load`] with what either side said.
pub async fn load(images: &[String], node: &str, cancel: &CancellationToken) -> Result<(), ClusterError> {
    // Not --all-platforms, as kind does it: an archive that names platforms without holding them would be refused.
    let pipe = "set -o pipefail; node=$1; shift; docker save \"$@\" | docker exec -i \"$node\" ctr --namespace=k8s.io images import -";
    loaded(
        Command::new("bash", LOAD).args(["-c", pipe, "bash", node]).args(images),
        images,
        node,
        cancel,
    )
    .await
}

/// The same from an archive on this machine.
///
/// # Errors
/// As with [`load`].
pub async fn load_archive(archive: &Path, images: &[String], node: &str, cancel: &CancellationToken) -> Result<(), ClusterError> {
    let pipe = "docker exec -i \"$1\" ctr --namespace=k8s.io images import - <\"$2\"";
    loaded(
        Command::new("sh", LOAD).args(["-c", pipe, "sh", node]).arg(archive),
        images,
        node,
        cancel,
    )
    .await
}

async fn loaded(command: Command, images: &[String], node: &str, cancel: &CancellationToken) -> Result<(), ClusterError> {
    match command.run(cancel).await {
        Ok(_) => Ok(()),
        Err(CommandError::Interrupted { .. }) => Err(ClusterError::Interrupted { what: "loading images" }),
        Err(source) => Err(ClusterError::Load {
            image: images.join(" "),
            node: node.to_owned(),
            source: reworded(source),
        }),
    }
}

/// The shell is not what failed.
pub fn reworded(source: CommandError) -> CommandError {
    match source {
        CommandError::Failed { status, last, output, .. } => CommandError::Failed {
            program: "it".to_owned(),
            status,
            last,
            output,
        },
        other => other,
    }
}

/// What the node's kubelet complained about last, or its container when it did not get that far.
pub async fn last_words(node: &str) -> String {
    // Asked on the way to an error, possibly after an interrupt: it has its own, short deadline.
    let cancel = CancellationToken::new();
    let patience = Duration::from_secs(10);
    let kubelet =
        "journalctl --unit kubelet --no-pager --output cat --lines 400 | grep -E '^(E[0-9]{4} |F[0-9]{4} |Error|.*rror:)' | tail -n 3";
    if let Ok(output) = exec(node, kubelet, patience, &cancel).await
        && !output.text().is_empty()
    {
        return format!("kubelet: {}", output.text().replace('\n', " / "));
    }
    let logs = Command::new("docker", patience).args(["logs", "--tail", "3", node]);
    match logs.run(&cancel).await {
        Ok(output) if !output.stdout.is_empty() => output.text().replace('\n', " / "),
        Ok(output) => output.last_line(),
        Err(_) => "none, its container does not exist".to_owned(),
    }
}
