//! The OCI runtime for a host that lacks capabilities.
//!
//! `docker run --privileged`, which kind uses, asks for every capability there is; where the bounding set lacks one, the runtime
//! refuses with "unable to apply caps". A wrapper takes out of the request what nobody on this host can have.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::error::ToolchainError;

const WRAPPER: &str = include_str!("../../images/docker/runtime.sh");
const NAME: &str = "rekindle";

/// By number, as in `linux/capability.h`.
const CAPABILITIES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// What the kernel knows and this process's bounding set, and so every child's, lacks.
pub(super) fn missing_capabilities() -> Vec<&'static str> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let last = fs::read_to_string("/proc/sys/kernel/cap_last_cap")
        .ok()
        .and_then(|text| text.trim().parse().ok());
    missing_from(&status, last.unwrap_or(CAPABILITIES.len() - 1))
}

fn missing_from(status: &str, last: usize) -> Vec<&'static str> {
    let bounding = status
        .lines()
        .find_map(|line| line.strip_prefix("CapBnd:"))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
    // Where the kernel does not say, nothing is known to be missing.
    let Some(bounding) = bounding else { return Vec::new() };
    CAPABILITIES
        .iter()
        .enumerate()
        .take(last + 1)
        .filter(|(n, _)| bounding & (1 << n) == 0)
        .map(|(_, name)| *name)
        .collect()
}

/// Writes the wrapper and a daemon configuration with it as default runtime; the path of the configuration.
///
/// What the user's own configuration says is kept; their file is read and never written.
pub(super) fn install(dir: &Path, missing: &[&str], runc: &Path, users_config: &Path) -> Result<PathBuf, ToolchainError> {
    let wrapper = dir.join("runtime.sh");
    let script = WRAPPER
        .replace("@MISSING@", &missing.join(" "))
        .replace("@RUNTIME@", &runc.to_string_lossy());
    fs::write(&wrapper, script)
        .and_then(|()| fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)))
        .map_err(ToolchainError::file("writing the OCI runtime", &wrapper))?;

    let mut config = match fs::read(users_config) {
        Ok(text) => serde_json::from_slice(&text).map_err(|error| ToolchainError::File {
            doing: "reading Docker's configuration",
            path: users_config.to_owned(),
            source: error.into(),
        })?,
        Err(_) => serde_json::json!({}),
    };
    config["runtimes"][NAME] = serde_json::json!({ "path": wrapper });
    config["default-runtime"] = NAME.into();
    let path = dir.join("daemon.json");
    fs::write(&path, format!("{config:#}")).map_err(ToolchainError::file("writing the daemon's configuration", &path))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::command::Command;

    #[test]
    fn computes_what_the_bounding_set_lacks() {
        assert_eq!(missing_from("Name:\tx\nCapBnd:\t000001fffeffffff\n", 40), ["CAP_SYS_RESOURCE"]);
        assert_eq!(missing_from("CapBnd:\t000001fffffffffe\n", 40), ["CAP_CHOWN"]);
        // A kernel that knows fewer does not miss the others.
        assert!(missing_from("CapBnd:\t0000003fffffffff\n", 37).is_empty());
        assert!(missing_from("", 40).is_empty());
    }

    #[test]
    fn keeps_what_the_users_configuration_says() {
        let dir = tempfile::tempdir().unwrap();
        let theirs = dir.path().join("theirs.json");
        fs::write(&theirs, r#"{"data-root": "/data", "runtimes": {"other": {"path": "/x"}}}"#).unwrap();
        let path = install(dir.path(), &["CAP_CHOWN"], Path::new("/usr/sbin/runc"), &theirs).unwrap();
        let config: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        assert_eq!(
            (&config["data-root"], &config["default-runtime"]),
            (&json!("/data"), &json!("rekindle"))
        );
        assert_eq!(config["runtimes"]["other"]["path"], "/x");
    }

    /// What the wrapper makes of a request, and that the real runtime was run with the same words.
    async fn rewritten(config: &Value, pretty: bool) -> Value {
        let dir = tempfile::tempdir().unwrap();
        install(
            dir.path(),
            &["CAP_SYS_RESOURCE", "CAP_SYS_TIME"],
            Path::new("/bin/echo"),
            &dir.path().join("none"),
        )
        .unwrap();
        let bundle = dir.path().join("bundle");
        fs::create_dir(&bundle).unwrap();
        fs::write(
            bundle.join("config.json"),
            if pretty { format!("{config:#}") } else { config.to_string() },
        )
        .unwrap();
        let run = Command::new("sh", Duration::from_secs(10))
            .arg(dir.path().join("runtime.sh"))
            .args(["create", "--bundle"]);
        let output = run.arg(&bundle).arg("id").run(&CancellationToken::new()).await.unwrap();
        assert_eq!(output.text(), format!("create --bundle {} id", bundle.display()));
        serde_json::from_slice(&fs::read(bundle.join("config.json")).unwrap()).unwrap()
    }

    #[tokio::test]
    async fn the_wrapper_takes_out_what_is_missing_wherever_it_stands_in_a_list() {
        let config = |bounding: Value, effective: Value, permitted: Value| {
            json!({"process": {
                "args": ["capsh", "CAP_SYS_TIME", "--drop", "CAP_SYS_RESOURCE"],
                "env": ["NESTED={\"capabilities\":{\"x\":[\"CAP_SYS_TIME\"]}}"],
                "capabilities": {"bounding": bounding, "effective": effective, "permitted": permitted, "ambient": []},
            }})
        };
        let asked = config(
            json!(["CAP_SYS_RESOURCE", "CAP_CHOWN", "CAP_SYS_TIME", "CAP_KILL"]),
            json!(["CAP_SYS_RESOURCE"]),
            json!(["CAP_CHOWN", "CAP_SYS_TIME", "CAP_SYS_RESOURCE"]),
        );
        let expected = config(json!(["CAP_CHOWN", "CAP_KILL"]), json!([]), json!(["CAP_CHOWN"]));
        for pretty in [false, true] {
            assert_eq!(rewritten(&asked, pretty).await, expected);
        }
    }

    #[tokio::test]
    async fn the_wrapper_leaves_other_requests_alone() {
        let config = json!({"process": {"args": ["sh"], "capabilities": {"bounding": ["CAP_CHOWN"]}}});
        assert_eq!(rewritten(&config, false).await, config);
    }
}
