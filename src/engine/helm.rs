//! Helm 3 and 4, through their real binaries.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::{Ended, EngineError, Request, Wait};
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

/// Which Helm; what it is told differs between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Major {
    Three,
    Four,
}

impl Major {
    /// The one that an engine's name means.
    pub fn of(engine: &str) -> Self {
        if engine == "helm-3" { Self::Three } else { Self::Four }
    }

    fn engine(self) -> &'static str {
        match self {
            Self::Three => "helm-3",
            Self::Four => "helm-4",
        }
    }

    /// How it waits where nobody says.
    fn usual_wait(self) -> Wait {
        match self {
            Self::Three => Wait::Legacy,
            Self::Four => Wait::Watcher,
        }
    }

    /// What it is told about waiting; Helm 3 waits for hooks only where it is told nothing.
    fn waiting(self, request: &Request) -> Vec<&'static str> {
        let mut arguments = match (self, request.told.wait.unwrap_or(self.usual_wait())) {
            (_, Wait::HookOnly) => Vec::new(),
            (Self::Three, _) => vec!["--wait", "--wait-for-jobs"],
            (Self::Four, Wait::Watcher) => vec!["--wait=watcher", "--wait-for-jobs"],
            (Self::Four, Wait::Legacy) => vec!["--wait=legacy", "--wait-for-jobs"],
        };
        if request.told.rollback_on_failure {
            arguments.push(match self {
                Self::Three => "--atomic",
                Self::Four => "--rollback-on-failure",
            });
        }
        arguments
    }
}

/// Helm with a kubeconfig and folders of its own; it sees no plugins and no repositories of the user's.
#[derive(Debug, Clone)]
pub struct Helm {
    major: Major,
    binary: PathBuf,
    version: String,
    kubeconfig: PathBuf,
    home: PathBuf,
}

impl Helm {
    /// `home` is a folder for Helm's own cache and configuration.
    pub fn new(major: Major, binary: &Path, version: &str, kubeconfig: &Path, home: &Path) -> Self {
        Self {
            major,
            binary: binary.to_owned(),
            version: version.to_owned(),
            kubeconfig: kubeconfig.to_owned(),
            home: home.join(major.engine()),
        }
    }

    pub fn version(&self) -> &str {
        &self.version
    }

    fn arguments(&self, request: &Request) -> Vec<String> {
        let mut arguments = vec![
            request.operation.as_str().to_owned(),
            request.release.clone(),
            request.content.folder().display().to_string(),
        ];
        arguments.extend(["--namespace".to_owned(), request.namespace.clone()]);
        for values in &request.values {
            arguments.extend(["--values".to_owned(), values.display().to_string()]);
        }
        for (path, value) in &request.set {
            arguments.extend([
                "--set".to_owned(),
                format!("{path}={}", value.replace('\\', r"\\").replace(',', r"\,")),
            ]);
        }
        arguments.extend(self.major.waiting(request).into_iter().map(str::to_owned));
        arguments.extend(["--timeout".to_owned(), human(request.timeout)]);
        arguments
    }

    /// The request as a person would type it.
    pub fn display(&self, request: &Request) -> String {
        Command::new("helm", Duration::ZERO).args(self.arguments(request)).display()
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
    pub fn display_uninstall(&self, request: &Request) -> String {
        Command::new("helm", Duration::ZERO)
            .args(Self::uninstall_arguments(request))
            .display()
    }

    /// Removes the release of a request.
    ///
    /// # Errors
    /// When Helm fails, too: there is nothing to be learnt from that here.
    pub async fn uninstall(&self, request: &Request, cancel: &CancellationToken) -> Result<(), EngineError> {
        self.beside(request, Self::uninstall_arguments(request), cancel).await
    }

    /// Removes the release of a request, and keeps its records.
    ///
    /// # Errors
    /// When Helm fails, too: there is nothing to be learnt from that here.
    pub async fn uninstall_keeping_history(&self, request: &Request, cancel: &CancellationToken) -> Result<(), EngineError> {
        let arguments = Self::uninstall_arguments(request).into_iter();
        self.beside(request, arguments.chain(["--keep-history".to_owned()]), cancel).await
    }

    fn rollback_arguments(request: &Request, revision: &str) -> [String; 8] {
        let timeout = human(request.timeout);
        let (release, namespace) = (request.release.as_str(), request.namespace.as_str());
        [
            "rollback",
            release,
            revision,
            "--namespace",
            namespace,
            "--wait",
            "--timeout",
            &timeout,
        ]
        .map(str::to_owned)
    }

    /// The way back to a revision as a person would type it.
    pub fn display_rollback(&self, request: &Request, revision: &str) -> String {
        Command::new("helm", Duration::ZERO)
            .args(Self::rollback_arguments(request, revision))
            .display()
    }

    /// Takes the release of a request back to a revision.
    ///
    /// # Errors
    /// When Helm fails, too: there is nothing to be learnt from that here.
    pub async fn rollback(&self, request: &Request, revision: &str, cancel: &CancellationToken) -> Result<(), EngineError> {
        self.beside(request, Self::rollback_arguments(request, revision), cancel).await
    }

    /// What is done to a release beside what is diagnosed.
    async fn beside(
        &self,
        request: &Request,
        arguments: impl IntoIterator<Item = String>,
        cancel: &CancellationToken,
    ) -> Result<(), EngineError> {
        let command = self.command(request.timeout * 2 + SLACK).args(arguments);
        let ran = command.run(cancel).await.map_err(|source| EngineError::Command {
            release: request.release.clone(),
            source,
        });
        ran.map(drop)
    }

    /// Runs Helm to its end, and records what it was told, what it printed, and how it ended. Without a recorder it is only run: what
    /// others installed before is no part of what is diagnosed.
    ///
    /// # Errors
    /// When it could not be run or was interrupted; that it failed is in [`Ended`].
    pub async fn run(&self, request: &Request, recorder: Option<&Recorder>, cancel: &CancellationToken) -> Result<Ended, EngineError> {
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

        let mut command = self.command(request.timeout * WAITS + SLACK).args(self.arguments(request));
        if request.overlay != Value::Null {
            command = command.arg("--values").arg(overlay.path());
        }

        let record = |fact: Fact| {
            if let Some(recorder) = recorder {
                recorder.record(fact);
            }
        };
        let wait = request.told.wait.unwrap_or(self.major.usual_wait());
        record(Fact::EngineStarted(EngineStart {
            engine: self.major.engine().to_owned(),
            version: self.version.clone(),
            operation: request.operation.as_str().to_owned(),
            release: request.release.clone(),
            namespace: request.namespace.clone(),
            wait: wait.as_str().to_owned(),
            wait_for_jobs: wait != Wait::HookOnly,
            timeout_ms: u64::try_from(request.timeout.as_millis()).unwrap_or(u64::MAX),
            kustomization: false,
        }));
        let started = Instant::now();
        if let Some(lines) = recorder.cloned() {
            command = command.on_line(move |stream, text| {
                lines.record(Fact::EngineLine {
                    stream,
                    text: text.to_owned(),
                });
            });
        }
        if let Some(kill) = &request.kill {
            command = command.killed_by(kill);
        }
        let output = command.run_any_status(cancel).await.map_err(|source| EngineError::Command {
            release: request.release.clone(),
            source,
        })?;
        record(Fact::EngineEnded {
            exit_code: output.status.code(),
        });
        let stderr = String::from_utf8_lossy(&output.stderr);
        let words = recorder.map_or_else(|| stderr.trim().to_owned(), |recorder| recorder.redacted(stderr.trim()));
        Ok(Ended {
            exit_code: output.status.code(),
            words,
            elapsed: started.elapsed(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Operation, Told};
    use super::*;
    use crate::scenario::Content;

    fn helm(major: Major) -> Helm {
        Helm::new(major, Path::new("helm"), "v1.2.3", Path::new("kubeconfig"), Path::new("home"))
    }

    fn request(told: Told) -> Request {
        Request {
            operation: Operation::Upgrade,
            release: "openhands".to_owned(),
            namespace: "a".to_owned(),
            content: Content::Chart("chart".into()),
            values: vec!["twin.yaml".into()],
            overlay: Value::Null,
            set: vec![("config.url".to_owned(), "http://a,b".to_owned())],
            timeout: Duration::from_secs(240),
            told,
            spec: Value::Null,
            reset: None,
            kill: None,
        }
    }

    #[test]
    fn a_request_reads_as_one_would_type_it() {
        let shared = r"helm upgrade openhands chart --namespace a --values twin.yaml --set 'config.url=http://a\,b'";
        let typed = |major, wait, rollback_on_failure| {
            let displayed = helm(major).display(&request(Told {
                wait,
                rollback_on_failure,
                ..Told::default()
            }));
            displayed.strip_prefix(shared).map(str::to_owned).unwrap_or(displayed)
        };
        assert_eq!(typed(Major::Four, None, false), " --wait=watcher --wait-for-jobs --timeout 4m00s");
        assert_eq!(
            typed(Major::Four, Some(Wait::Legacy), true),
            " --wait=legacy --wait-for-jobs --rollback-on-failure --timeout 4m00s"
        );
        assert_eq!(typed(Major::Four, Some(Wait::HookOnly), false), " --timeout 4m00s");
        assert_eq!(typed(Major::Three, None, true), " --wait --wait-for-jobs --atomic --timeout 4m00s");
        assert_eq!(typed(Major::Three, Some(Wait::HookOnly), false), " --timeout 4m00s");
    }
}
