//! Flux, through the API: its controllers do the work, and what they say of a release is followed to its end.

mod chart;
mod follow;
mod objects;
pub mod system;

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Client, ResourceExt};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::{Ended, EngineError, Operation, Request, Wait};
use crate::command::{Command, Stream};
use crate::evidence::{EngineStart, Fact, Recorder};
use crate::scenario::Content;
use crate::wait::{Seen, WaitError, until};
use follow::Follower;

/// Whose fields these are, to server-side apply.
const MANAGER: &str = "rekindle";
/// A release may have several hooks, each gets the whole timeout, and it is tried twice.
const WAITS: u32 = 12;
/// What a controller may take beyond all the time that it gives to its waits.
const SLACK: Duration = Duration::from_secs(60);
/// What the controllers say is one small object.
const LOOK: Duration = Duration::from_millis(200);

/// Why Flux could not be asked. That a release failed is no error.
#[derive(Debug, thiserror::Error)]
pub enum FluxError {
    #[error("failed to pack {}: {source}", folder.display())]
    Chart { folder: PathBuf, source: chart::ChartError },
    #[error("failed to put the values of {release} together: {source}")]
    Values { release: String, source: objects::ValuesError },
    #[error("failed to read the definitions of Flux's objects in {}: {source}; run `rekindle clean` to have them made again", path.display())]
    Definitions { path: PathBuf, source: std::io::Error },
    #[error("failed to {doing}: {source}")]
    Api { doing: String, source: Box<kube::Error> },
    #[error(
        "{kind} {name} could not be begun, because Flux did not get what it was given: {message}; this is the harness's failure, and no scenario's"
    )]
    Artifact { kind: &'static str, name: String, message: String },
    #[error("{controller} does not get ready: {state}{}", log.as_ref().map(|log| format!("; its log ends with: {log}")).unwrap_or_default())]
    Controller {
        controller: String,
        state: String,
        log: Option<String>,
    },
    #[error(transparent)]
    Wait(#[from] WaitError),
}

impl FluxError {
    fn api(doing: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        let doing = doing.into();
        |source| Self::Api {
            doing,
            source: Box::new(source),
        }
    }
}

/// One of the helm-controllers in a cluster.
#[derive(Clone)]
pub struct Flux {
    /// `flux-2.9`; also the name of its shard.
    name: String,
    /// "v1.6.4"
    version: String,
    /// Of the kustomize-controller, which all shards share.
    kustomize: String,
    client: Client,
}

impl Flux {
    /// The controller of an engine's name, which [`system::install`] has started.
    pub fn new(name: &str, version: &str, kustomize: &str, client: &Client) -> Self {
        Self {
            name: name.to_owned(),
            version: version.to_owned(),
            kustomize: kustomize.to_owned(),
            client: client.clone(),
        }
    }

    pub fn version(&self) -> &str {
        &self.version
    }

    pub fn kustomize_version(&self) -> &str {
        &self.kustomize
    }

    /// How it waits where nobody says: with Helm's own code, or with the watcher's rules, asked again and again.
    fn usual_wait(&self, content: &Content) -> &'static str {
        match content {
            Content::Chart(_) if self.name == "flux-2.7" => "legacy",
            _ => "poller",
        }
    }

    /// The request as a person would type it.
    pub fn display(&self, request: &Request) -> String {
        let own = Request {
            // Where the images of this cluster are, and the profile's durations, is the harness's business.
            overlay: Value::Null,
            ..request.clone()
        };
        let Ok(release) = objects::asked(&own, &self.name) else {
            return String::new();
        };
        let kubectl = Command::new("kubectl", Duration::ZERO);
        let resource = request.content.kind().to_lowercase();
        if let Some(reset) = request.reset {
            let flux = Command::new("flux", Duration::ZERO).args(["--namespace", &request.namespace]);
            let reconcile = flux.args(["reconcile", &resource, &request.release, "--reset"]);
            return if reset.force { reconcile.arg("--force") } else { reconcile }.display();
        }
        match request.operation {
            Operation::Install => {
                let written = Command::new("echo", Duration::ZERO).arg(release.to_string());
                format!("{} | {}", written.display(), kubectl.args(["apply", "--filename", "-"]).display())
            }
            Operation::Upgrade => kubectl
                .args(["--namespace", &request.namespace, "patch", &resource, &request.release])
                .args(["--type", "merge", "--patch", &objects::patch(&release, &request.spec).to_string()])
                .display(),
        }
    }

    /// What differs from the request before, as a person would type it; where nothing does, there is nothing but to ask again, or to wait.
    pub fn display_again(&self, request: &Request, before: &Request) -> Vec<String> {
        let asked = |request: &Request| {
            let own = Request {
                overlay: Value::Null,
                ..request.clone()
            };
            objects::asked(&own, &self.name)
        };
        let (Ok(now), Ok(then)) = (asked(request), asked(before)) else {
            return Vec::new();
        };
        let (namespace, name) = (request.namespace.as_str(), request.release.as_str());
        let resource = request.content.kind().to_lowercase();
        let kubectl = || Command::new("kubectl", Duration::ZERO).args(["--namespace", namespace]);
        let mut commands = Vec::new();
        let differs = objects::difference(&then, &now);
        if !differs.is_null() {
            let patch = kubectl().args(["patch", &resource, name, "--type", "merge", "--patch", &differs.to_string()]);
            commands.push(patch.display());
        }
        if request.reset.is_some() {
            commands.push(self.display(request));
        } else if commands.is_empty() && matches!(request.content, Content::Manifests(_)) {
            let flux = Command::new("flux", Duration::ZERO).args(["--namespace", namespace]);
            commands.push(flux.args(["reconcile", &resource, name]).display());
        } else if commands.is_empty() {
            let timeout = format!("--timeout={}s", request.timeout.as_secs());
            let wait = kubectl().args(["wait", &format!("{resource}/{name}"), "--for=condition=Ready", &timeout]);
            commands.push(wait.display());
        }
        commands
    }

    /// The removal of a request's release as a person would type it.
    pub fn display_uninstall(&self, request: &Request) -> String {
        let resource = request.content.kind().to_lowercase();
        Command::new("kubectl", Duration::ZERO)
            .args(["--namespace", &request.namespace, "delete", &resource, &request.release])
            .display()
    }

    fn api(&self, group: &str, version: &str, kind: &str, namespace: &str) -> Api<DynamicObject> {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        Api::namespaced_with(self.client.clone(), namespace, &resource)
    }

    /// The objects of the kind that a request is for.
    fn of(&self, request: &Request) -> Api<DynamicObject> {
        match request.content {
            Content::Chart(_) => self.api("helm.toolkit.fluxcd.io", "v2", "HelmRelease", &request.namespace),
            Content::Manifests(_) => self.api("kustomize.toolkit.fluxcd.io", "v1", "Kustomization", &request.namespace),
        }
    }

    /// Deletes the release of a request and waits until the controller has uninstalled it.
    ///
    /// # Errors
    /// When the API refuses it, or it does not go.
    pub async fn uninstall(&self, request: &Request, cancel: &CancellationToken) -> Result<(), EngineError> {
        let (name, kind) = (request.release.as_str(), request.content.kind());
        let releases = self.of(request);
        match releases.delete(name, &DeleteParams::default()).await {
            Err(kube::Error::Api(status)) if status.is_not_found() => return Ok(()),
            deleted => drop(deleted.map_err(FluxError::api(format!("delete {kind} {name}")))?),
        }
        let what = format!("the end of {kind} {name}");
        let gone = until(&what, request.timeout * 2 + SLACK, LOOK, cancel, || async {
            match releases.get_opt(name).await {
                Ok(None) => Seen::Done(()),
                Ok(Some(left)) => Seen::NotYet(follow::status(&serde_json::to_value(&left).unwrap_or_default())),
                Err(error) => Seen::NotYet(error.to_string()),
            }
        });
        gone.await.map_err(FluxError::from)?;
        Ok(())
    }

    /// Hands the request to the controller.
    ///
    /// # Errors
    /// When the chart does not pack, or the API refuses the release.
    pub async fn hand_over(&self, request: &Request) -> Result<(), EngineError> {
        self.publish(request).await?;
        self.apply(request).await.map(drop)
    }

    /// Applies the release; what was applied, and the token under which it was asked to try again.
    async fn apply(&self, request: &Request) -> Result<(DynamicObject, Option<String>), EngineError> {
        let mut release = objects::asked(request, &self.name).map_err(|source| FluxError::Values {
            release: request.release.clone(),
            source,
        })?;
        // A Kustomization that has not changed is not looked at before its interval is over: what others have put right does not count until then.
        let asks = request.reset.is_some() || matches!(request.content, Content::Manifests(_));
        let token = asks.then(|| Timestamp::now().to_string());
        if let Some(token) = &token {
            release["metadata"]["annotations"] = objects::requests(request.reset, token);
        }
        let applied = self
            .of(request)
            .patch(&request.release, &PatchParams::apply(MANAGER).force(), &Patch::Apply(&release))
            .await
            .map_err(FluxError::api(format!("apply {} {}", request.content.kind(), request.release)))?;
        Ok((applied, token))
    }

    /// Hands the request to the controller, and follows the release until it is ready, or nothing comes of it any more.
    ///
    /// # Errors
    /// When the chart does not pack, the API refuses the release, or the controller says nothing for too long.
    pub async fn run(&self, request: &Request, recorder: Option<&Recorder>, cancel: &CancellationToken) -> Result<Ended, EngineError> {
        self.publish(request).await?;
        let record = |fact: Fact| {
            if let Some(recorder) = recorder {
                recorder.record(fact);
            }
        };
        let wait = request.told.wait.map_or(self.usual_wait(&request.content), Wait::as_str);
        record(Fact::EngineStarted(EngineStart {
            engine: self.name.clone(),
            version: match request.content {
                Content::Chart(_) => self.version.clone(),
                Content::Manifests(_) => self.kustomize.clone(),
            },
            operation: match request.content {
                Content::Chart(_) => request.operation.as_str().to_owned(),
                Content::Manifests(_) => "reconciliation".to_owned(),
            },
            release: request.release.clone(),
            namespace: request.namespace.clone(),
            wait: wait.to_owned(),
            wait_for_jobs: request.told.wait != Some(Wait::HookOnly),
            timeout_ms: u64::try_from(request.timeout.as_millis()).unwrap_or(u64::MAX),
            kustomization: matches!(request.content, Content::Manifests(_)),
        }));
        let started = Instant::now();
        let (applied, token) = self.apply(request).await?;
        let releases = self.of(request);
        let generation = applied.metadata.generation.unwrap_or_default();
        let follower = Mutex::new(Follower::new(generation, token, request.timeout));
        let what = format!("the end of {} {}", request.content.kind(), request.release);
        let ended = until(&what, request.timeout * WAITS + SLACK, LOOK, cancel, || async {
            let object = match releases.get(&request.release).await {
                Ok(object) => serde_json::to_value(&object).unwrap_or_default(),
                Err(error) => return Seen::NotYet(error.to_string()),
            };
            let mut follower = follower.lock().unwrap_or_else(PoisonError::into_inner);
            for (stream, text) in follower.news(&object) {
                record(Fact::EngineLine { stream, text });
            }
            match follower.ended(&object, Instant::now()) {
                Some(succeeded) => Seen::Done(succeeded),
                None => Seen::NotYet(follow::status(&object)),
            }
        });
        let succeeded = ended.await.map_err(FluxError::from)?;
        let refused = follower.lock().unwrap_or_else(PoisonError::into_inner).unfetched();
        if let Some(message) = refused {
            let (kind, name) = (request.content.kind(), request.release.clone());
            return Err(FluxError::Artifact { kind, name, message }.into());
        }
        let exit_code = Some(i32::from(!succeeded));
        record(Fact::EngineEnded { exit_code });
        let follower = follower.into_inner().unwrap_or_else(PoisonError::into_inner);
        let words = if succeeded { String::new() } else { follower.complaints() };
        Ok(Ended {
            exit_code,
            words: recorder.map_or_else(|| words.clone(), |recorder| recorder.redacted(&words)),
            elapsed: started.elapsed(),
        })
    }

    /// Serves the chart inside the cluster, and says so in a source that the release refers to.
    async fn publish(&self, request: &Request) -> Result<(), FluxError> {
        let packed = match &request.content {
            Content::Chart(folder) => chart::pack(folder),
            Content::Manifests(folder) => {
                let mut values = request.overlay.clone();
                values["namespace"] = request.namespace.as_str().into();
                chart::pack_manifests(folder, &request.release, &values)
            }
        };
        let package = packed.map_err(|source| FluxError::Chart {
            folder: request.content.folder().to_owned(),
            source,
        })?;
        let url = system::store(&self.client, &package).await?;
        let source = objects::source(&request.release, &request.namespace);
        let sources = self.api("source.toolkit.fluxcd.io", "v1", "ExternalArtifact", &request.namespace);
        let name = request.release.as_str();
        let parameters = PatchParams::apply(MANAGER).force();
        let made = sources
            .patch(name, &parameters, &Patch::Apply(&source))
            .await
            .map_err(FluxError::api(format!("apply ExternalArtifact {name}")))?;
        let status: Value = objects::artifact(&package, &url, Timestamp::now());
        let told = sources
            .patch_status(&made.name_any(), &PatchParams::default(), &Patch::Merge(&status))
            .await;
        told.map(drop)
            .map_err(FluxError::api(format!("say what ExternalArtifact {name} holds")))
    }
}

/// What a person reads of a line that the controller said.
fn stream(failed: bool) -> Stream {
    if failed { Stream::Stderr } else { Stream::Stdout }
}
