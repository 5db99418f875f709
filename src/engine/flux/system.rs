//! Flux in a cluster of ours: the definitions, the controllers, and the server that charts are fetched from.
//!
//! source-controller is not among them: the helm-controllers take an ExternalArtifact, whose status is written by whoever serves the chart.

use std::path::Path;
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DynamicObject, ListParams, LogParams, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::chart::Package;
use super::objects::SHARD;
use super::{FluxError, MANAGER};
use crate::events::Events;
use crate::toolchain::Flux;
use crate::wait::{Seen, WaitError, until};

/// Where Flux lives in every cluster.
const NAMESPACE: &str = "flux-system";
const ARTIFACTS: &str = "artifacts";
/// The folder of the artifact server in which it keeps what it is sent.
const FOLDER: &str = "/artifacts";
const READY: Duration = Duration::from_secs(90);
const LOOK: Duration = Duration::from_millis(100);

/// Installs Flux, or finds that it is there, and waits until its controllers are ready.
///
/// # Errors
/// When the API refuses something, or a controller does not get ready: with what its Deployment says.
pub async fn install(
    client: &Client,
    flux: &Flux,
    standin_image: &str,
    events: &Events,
    cancel: &CancellationToken,
) -> Result<(), FluxError> {
    let step = events.step("Start Flux");
    let definitions = definitions(&flux.definitions)?;
    let names: Vec<&str> = definitions
        .iter()
        .filter_map(|one| one.pointer("/metadata/name")?.as_str())
        .collect();
    futures::future::try_join_all(definitions.iter().map(|definition| apply(client, definition))).await?;
    apply(client, &namespace()).await?;
    futures::future::try_join_all(around(standin_image).iter().map(|object| apply(client, object))).await?;
    let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
    until("the definitions of Flux's objects", READY, LOOK, cancel, || async {
        for name in &names {
            match crds.get(name).await {
                Ok(crd) if established(&crd) => {}
                Ok(_) => return Seen::NotYet(format!("{name} is not established")),
                Err(error) => return Seen::NotYet(error.to_string()),
            }
        }
        Seen::Done(())
    })
    .await?;
    let controllers = controllers(flux);
    futures::future::try_join_all(controllers.iter().map(|object| apply(client, object))).await?;
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), NAMESPACE);
    let wanted: Vec<&str> = controllers
        .iter()
        .filter_map(|one| one.pointer("/metadata/name")?.as_str())
        .chain([ARTIFACTS])
        .collect();
    let mut late = None;
    let ready = until("Flux's controllers", READY, LOOK, cancel, || async {
        for name in &wanted {
            match deployments.get(name).await {
                Ok(deployment) if available(&deployment) => {}
                Ok(_) => {
                    step.progress(format!("waiting: {name} is not ready"));
                    return Seen::NotYet((*name).to_owned());
                }
                Err(error) => return Seen::NotYet(error.to_string()),
            }
        }
        Seen::Done(())
    })
    .await;
    if let Err(WaitError::Deadline { last, .. }) = &ready {
        late = wanted.iter().find(|name| *name == last);
    }
    if let Some(name) = late {
        return Err(unready(client, name).await);
    }
    ready?;
    step.done();
    Ok(())
}

/// What a controller that does not get ready is at, and the end of its log.
async fn unready(client: &Client, controller: &str) -> FluxError {
    let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    let newest = pods.list(&ListParams::default().labels(&format!("app={controller}"))).await;
    let pod = newest
        .ok()
        .and_then(|pods| pods.items.into_iter().max_by_key(|pod| pod.metadata.creation_timestamp.clone()));
    let (mut state, mut log) = (format!("it has no pod after {}s", READY.as_secs()), None);
    if let Some(pod) = pod {
        let status = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref()?.first());
        let waiting = status.and_then(|status| status.state.as_ref()?.waiting.as_ref()?.reason.clone());
        let restarts = status.map_or(0, |status| status.restart_count);
        let doing = waiting.unwrap_or_else(|| "it runs and does not say that it is ready".to_owned());
        state = format!("{doing}, {restarts} restarts within {}s", READY.as_secs());
        log = last_lines(&pods, &pod.name_any(), restarts > 0).await;
    }
    FluxError::Controller {
        controller: controller.to_owned(),
        state,
        log,
    }
}

/// The last lines of a container; of the one before, where it was started again.
async fn last_lines(pods: &Api<Pod>, pod: &str, previous: bool) -> Option<String> {
    let wanted = LogParams {
        tail_lines: Some(3),
        previous,
        ..LogParams::default()
    };
    let lines = pods.logs(pod, &wanted).await.ok()?;
    let lines: Vec<&str> = lines.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    (!lines.is_empty()).then(|| lines.join(" / "))
}

/// Gives the artifact server a package, and says where it is to be fetched from.
pub(super) async fn store(client: &Client, package: &Package) -> Result<String, FluxError> {
    let file = format!("{FOLDER}/{}.tgz", package.sha256);
    let doing = format!("store the chart {} in the cluster", package.name);
    let request = hyper::Request::put(format!("/api/v1/namespaces/{NAMESPACE}/services/{ARTIFACTS}:80/proxy{file}"))
        .body(package.bytes.clone())
        .map_err(|error| FluxError::api(doing.clone())(kube::Error::HttpError(error)))?;
    client.request_text(request).await.map_err(FluxError::api(doing))?;
    Ok(format!("http://{ARTIFACTS}.{NAMESPACE}.svc.cluster.local{file}"))
}

async fn apply(client: &Client, object: &Value) -> Result<(), FluxError> {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let (kind, name) = (text("/kind"), text("/metadata/name"));
    let (group, version) = text("/apiVersion").split_once('/').unwrap_or(("", text("/apiVersion")));
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    let api: Api<DynamicObject> = match text("/metadata/namespace") {
        "" => Api::all_with(client.clone(), &resource),
        namespace => Api::namespaced_with(client.clone(), namespace, &resource),
    };
    let applied = api.patch(name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(object)).await;
    applied.map(drop).map_err(FluxError::api(format!("apply {kind} {name}")))
}

/// Every definition in the folder's files.
fn definitions(folder: &Path) -> Result<Vec<Value>, FluxError> {
    let unreadable = |source| FluxError::Definitions {
        path: folder.to_owned(),
        source,
    };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let text = std::fs::read_to_string(entry.map_err(unreadable)?.path()).map_err(unreadable)?;
        for document in text.split("\n---").map(|document| document.trim_start_matches("---")) {
            let read: Value = serde_saphyr::from_str(document).map_err(|error| unreadable(std::io::Error::other(error.to_string())))?;
            if read.is_object() {
                found.push(read);
            }
        }
    }
    Ok(found)
}

fn established(crd: &CustomResourceDefinition) -> bool {
    let conditions = crd.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|all| all.iter().any(|one| one.type_ == "Established" && one.status == "True"))
}

fn available(deployment: &Deployment) -> bool {
    let Some(status) = &deployment.status else { return false };
    status.observed_generation == deployment.metadata.generation
        && status.updated_replicas == Some(1)
        && status.ready_replicas == Some(1)
        && status.replicas == Some(1)
}

fn namespace() -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
}

/// What the controllers stand on: their rights, and the server of artifacts.
fn around(standin_image: &str) -> Vec<Value> {
    let mut server = deployment(ARTIFACTS, standin_image, &["serve", "--keep", FOLDER]);
    server["spec"]["template"]["spec"]["containers"][0]["readinessProbe"] =
        json!({"tcpSocket": {"port": 8080}, "periodSeconds": 1, "initialDelaySeconds": 0});
    vec![
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "rekindle-flux"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": NAMESPACE}],
        }),
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": ARTIFACTS, "namespace": NAMESPACE},
            "spec": {"selector": {"app": ARTIFACTS}, "ports": [{"port": 80, "targetPort": 8080}]},
        }),
        server,
    ]
}

/// The helm-controllers, each with a shard of its own, and kustomize-controller.
fn controllers(flux: &Flux) -> Vec<Value> {
    const COMMON: [&str; 8] = [
        "--watch-all-namespaces",
        "--log-encoding=json",
        "--feature-gates=ExternalArtifact=true",
        // Flux's own 30 s, and up to a quarter of an hour after failures, would be most of what a scenario waits for.
        "--requeue-dependency=1s",
        "--max-retry-delay=3s",
        // Whoever waits for several releases at once runs out of the usual 50 a second just before its timeout, and then says that its own
        // limiter would exceed the deadline instead of what it waited for.
        "--kube-api-qps=500",
        "--kube-api-burst=1000",
        // Each release that waits holds a worker. With the usual 4, four trials that fail slowly keep the controller from even beginning
        // with a fifth, whose failure is over by then.
        "--concurrent=32",
    ];
    let sharded = |(engine, controller): &(String, crate::toolchain::Controller)| {
        let shard = format!("--watch-label-selector={SHARD}={engine}");
        let arguments: Vec<&str> = COMMON.into_iter().chain([shard.as_str()]).collect();
        // An object's name may hold dots, the name of a label's value may, and that of a container may not.
        controller_of(
            &format!("helm-controller-{}", engine.replace('.', "-")),
            &controller.image,
            &arguments,
        )
    };
    let mut all: Vec<Value> = flux.helm.iter().map(sharded).collect();
    all.push(controller_of("kustomize-controller", &flux.kustomize.image, &COMMON));
    all
}

fn controller_of(name: &str, image: &str, arguments: &[&str]) -> Value {
    let mut made = deployment(name, image, arguments);
    let container = &mut made["spec"]["template"]["spec"]["containers"][0];
    container["env"] = json!([{"name": "RUNTIME_NAMESPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}}]);
    container["readinessProbe"] = json!({"httpGet": {"path": "/readyz", "port": 9440}, "periodSeconds": 1});
    container["volumeMounts"] = json!([{"name": "temp", "mountPath": "/tmp"}]);
    made["spec"]["template"]["spec"]["volumes"] = json!([{"name": "temp", "emptyDir": {}}]);
    made
}

fn deployment(name: &str, image: &str, arguments: &[&str]) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "replicas": 1,
            // Two of the same shard would work on the same releases.
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {
                    "terminationGracePeriodSeconds": 5,
                    "containers": [{"name": "manager", "image": image, "imagePullPolicy": "Never", "args": arguments}],
                },
            },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toolchain::Controller;

    #[test]
    fn each_version_has_a_shard_of_its_own() {
        let controller = |image: &str| Controller {
            image: image.to_owned(),
            version: "v1".to_owned(),
        };
        let flux = Flux {
            helm: vec![
                ("flux-2.7".to_owned(), controller("old")),
                ("flux-2.9".to_owned(), controller("new")),
            ],
            kustomize: controller("kustomize"),
            archive: "archive".into(),
            definitions: "definitions".into(),
        };
        let all = controllers(&flux);
        let shown: Vec<_> = all
            .iter()
            .map(|one| {
                let container = &one["spec"]["template"]["spec"]["containers"][0];
                let shard = container["args"].as_array().unwrap().iter().filter_map(Value::as_str);
                let shard = shard.filter_map(|argument| argument.strip_prefix("--watch-label-selector=")).next();
                (
                    one["metadata"]["name"].as_str().unwrap(),
                    container["image"].as_str().unwrap(),
                    shard,
                )
            })
            .collect();
        assert_eq!(
            shown,
            [
                ("helm-controller-flux-2-7", "old", Some("sharding.fluxcd.io/key=flux-2.7")),
                ("helm-controller-flux-2-9", "new", Some("sharding.fluxcd.io/key=flux-2.9")),
                ("kustomize-controller", "kustomize", None),
            ]
        );
    }
}
