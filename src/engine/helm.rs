//! Helm 4, through its real binary.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::{Ended, EngineError, Operation, Request};
use crate::command::Command;
use crate::evidence::{EngineStart, Fact, Recorder};
use crate::scenario::duration::human;

/// What Helm may take beyond all the time that it gives to its waits.
const SLACK: Duration = Duration::from_secs(60);
/// A release may have several hooks, and each gets the whole timeout.
const WAITS: u32 = 8;
/// Variables of the caller's that would change what Helm does.
const FOREIGN: &[&str] = &[
    "HELM_BURST_LIMIT",
    "HELM_DEBUG",
    "HELM_DRIVER",
    "HELM_KUBEAPISERVER",
    "HELM_KUBEASGROUPS",
    "HELM_KUBEASUSER",
    "HELM_KUBECAFILE",
    "HELM_KUBECONTEXT",
    "HELM_KUBEINSECURE_SKIP_TLS_VERIFY",
    "HELM_KUBETLS_SERVER_NAME",
    "HELM_KUBETOKEN",
    "HELM_MAX_HISTORY",
    "HELM_NAMESPACE",
    "HELM_QPS",
];

/// Helm with a kubeconfig and folders of its own; it sees no plugins and no repositories of the user's.
#[derive(Debug, Clone)]
pub struct Helm {
    binary: PathBuf,
    version: String,
    kubeconfig: PathBuf,
    home: PathBuf,
}

impl Helm {
    /// `home` is a folder for Helm's own cache and configuration.
    pub fn new(binary: &Path, version: &str, kubeconfig: &Path, home: &Path) -> Self {
        Self {
            binary: binary.to_owned(),
            version: version.to_owned(),
            kubeconfig: kubeconfig.to_owned(),
            home: home.to_owned(),
        }
    }

    pub fn version(&self) -> &str {
        &self.version
    }

    fn arguments(request: &Request) -> Vec<String> {
        let mut arguments = vec![
            request.operation.as_str().to_owned(),
            request.release.clone(),
            request.chart.display().to_string(),
        ];
        arguments.extend(["--namespace".to_owned(), request.namespace.clone()]);
        if request.operation == Operation::Upgrade {
            arguments.push("--reuse-values".to_owned());
        }
        for values in &request.values {
            arguments.extend(["--values".to_owned(), values.display().to_string()]);
        }
        for (path, value) in &request.set {
            arguments.extend([
                "--set-string".to_owned(),
                format!("{path}={}", value.replace('\\', r"\\").replace(',', r"\,")),
            ]);
        }
        arguments.extend(["--wait=watcher", "--wait-for-jobs", "--timeout"].map(str::to_owned));
        arguments.push(human(request.timeout));
        arguments
    }

    /// The request as a person would type it.
    pub fn display(request: &Request) -> String {
        Command::new("helm", Duration::ZERO).args(Self::arguments(request)).display()
    }

    /// Helm with everything of its own, and nothing of the caller's.
    fn command(&self, deadline: Duration) -> Command {
        let mut command = Command::new(&self.binary, deadline).env("KUBECONFIG", &self.kubeconfig);
        for name in FOREIGN {
            command = command.env_remove(name);
        }
        for folder in ["CACHE", "CONFIG", "DATA"] {
            command = command.env(format!("HELM_{folder}_HOME"), self.home.join(folder.to_lowercase()));
        }
        command
            .env("HELM_PLUGINS", self.home.join("plugins"))
            .env("KUBECACHEDIR", self.home.join("kube"))
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
    }

    fn uninstall_arguments(request: &Request) -> [String; 7] {
        let timeout = human(request.timeout);
        [
            "uninstall",
            &request.release,
            "--namespace",
            &request.namespace,
            "--wait",
            "--timeout",
            &timeout,
        ]
        .map(str::to_owned)
    }

    /// The removal of a request's release as a person would type it.
    pub fn display_uninstall(request: &Request) -> String {
        Command::new("helm", Duration::ZERO)
            .args(Self::uninstall_arguments(request))
            .display()
    }

    /// Removes the release of a request.
    ///
    /// # Errors
    /// When Helm fails, too: there is nothing to be learnt from that here.
    pub async fn uninstall(&self, request: &Request, cancel: &CancellationToken) -> Result<(), EngineError> {
        let command = self.command(request.timeout * 2 + SLACK).args(Self::uninstall_arguments(request));
        let failed = |source| EngineError::Command {
            release: request.release.clone(),
            source,
        };
        command.run(cancel).await.map_err(failed)?;
        Ok(())
    }

    /// Runs Helm to its end, and records what it was told, what it printed, and how it ended.
    ///
    /// # Errors
    /// When it could not be run or was interrupted; that it failed is in [`Ended`].
    pub async fn run(&self, request: &Request, recorder: &Recorder, cancel: &CancellationToken) -> Result<Ended, EngineError> {
        let values_error = |source| EngineError::Values {
            release: request.release.clone(),
            source,
        };
        let mut overlay = tempfile::Builder::new()
            .prefix("values-")
            .suffix(".json")
            .tempfile()
            .map_err(values_error)?;
        overlay.write_all(request.overlay.to_string().as_bytes()).map_err(values_error)?;

        let mut command = self.command(request.timeout * WAITS + SLACK).args(Self::arguments(request));
        if request.overlay != Value::Null {
            command = command.arg("--values").arg(overlay.path());
        }

        recorder.record(Fact::EngineStarted(EngineStart {
            engine: "helm-4".to_owned(),
            version: self.version.clone(),
            operation: request.operation.as_str().to_owned(),
            release: request.release.clone(),
            namespace: request.namespace.clone(),
            wait: "watcher".to_owned(),
            wait_for_jobs: true,
            timeout_ms: u64::try_from(request.timeout.as_millis()).unwrap_or(u64::MAX),
        }));
        let started = Instant::now();
        let lines = recorder.clone();
        let output = command
            .on_line(move |stream, text| {
                lines.record(Fact::EngineLine {
                    stream,
                    text: text.to_owned(),
                })
            })
            .run_any_status(cancel)
            .await
            .map_err(|source| EngineError::Command {
                release: request.release.clone(),
                source,
            })?;
        recorder.record(Fact::EngineEnded {
            exit_code: output.status.code(),
        });
        let words = recorder.redacted(String::from_utf8_lossy(&output.stderr).trim());
        Ok(Ended {
            exit_code: output.status.code(),
            words,
            elapsed: started.elapsed(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_reads_as_one_would_type_it() {
        let request = Request {
            operation: Operation::Upgrade,
            release: "openhands".to_owned(),
            namespace: "a".to_owned(),
            chart: "chart".into(),
            values: vec!["twin.yaml".into()],
            overlay: Value::Null,
            set: vec![("config.url".to_owned(), "http://a,b".to_owned())],
            timeout: Duration::from_secs(240),
        };
        assert_eq!(
            Helm::display(&request),
            r"helm upgrade openhands chart --namespace a --reuse-values --values twin.yaml --set-string 'config.url=http://a\,b' --wait=watcher --wait-for-jobs --timeout 4m00s"
        );
    }
}
