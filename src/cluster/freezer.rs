//! Thawing what a killed node froze.
//!
//! On cgroup v1 the runc inside a node freezes a container's group for a moment whenever it sets up its devices. When the node is killed
//! in that moment, nobody thaws it again; a frozen process does not die of SIGKILL there, the node waits for it for ever, and Docker
//! gives up with "did not receive an exit event". Version 2 lets frozen processes die, so nothing is to be done there.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

const HIERARCHY: &str = "/sys/fs/cgroup/freezer";
const INTERVAL: Duration = Duration::from_millis(200);
/// Docker's own groups lie at most this deep: `system.slice/docker-….scope`, `docker/…`, or one level further where Docker is nested.
const DEPTH: usize = 4;

/// Thaws everything inside these containers, again and again until `done`: a freeze may come between a look and the kill.
pub async fn thaw_until(containers: &[String], done: &CancellationToken) {
    let root = Path::new(HIERARCHY);
    while root.exists() && !done.is_cancelled() {
        for group in groups_of(root, containers, DEPTH) {
            thaw(&group);
        }
        crate::wait::pause(INTERVAL, done).await;
    }
}

/// The groups whose names hold the id of one of the containers.
fn groups_of(dir: &Path, containers: &[String], depth: usize) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for group in children(dir) {
        let name = group.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if containers.iter().any(|id| name.contains(id.as_str())) {
            found.push(group);
        } else if depth > 1 {
            found.extend(groups_of(&group, containers, depth - 1));
        }
    }
    found
}

fn thaw(group: &Path) {
    for child in children(group) {
        thaw(&child);
    }
    let state = group.join("freezer.state");
    if std::fs::read_to_string(&state).is_ok_and(|state| state.trim() != "THAWED") {
        // The group may be gone by now, and somebody without root may not write: then Docker's own words tell the rest.
        let _ = std::fs::write(&state, "THAWED");
    }
}

fn children(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_groups_inside_the_named_containers_are_thawed() {
        let root = tempfile::tempdir().unwrap();
        let group = |path: &str| {
            let group = root.path().join(path);
            std::fs::create_dir_all(&group).unwrap();
            std::fs::write(group.join("freezer.state"), "FROZEN\n").unwrap();
            group.join("freezer.state")
        };
        let ours = group("docker/abc123/kubelet.slice/pod.slice/cri.scope");
        let other = group("docker/def456/kubelet.slice");
        let by_systemd = group("system.slice/docker-abc123.scope/inner");
        for found in groups_of(root.path(), &["abc123".to_owned()], DEPTH) {
            thaw(&found);
        }
        let read = |path| std::fs::read_to_string(path).unwrap();
        assert_eq!((read(ours), read(by_systemd)), ("THAWED".to_owned(), "THAWED".to_owned()));
        assert_eq!(read(other), "FROZEN\n");
    }
}
