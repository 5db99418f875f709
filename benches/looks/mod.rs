//! What one look takes, beside what people do now: `kubectl describe` of everything, and the events.

use std::ffi::OsStr;
use std::path::Path;
use std::time::{Duration, Instant};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use kube::Client;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::config::Kubeconfig;
use rekindle::cluster::Cluster;
use rekindle::toolchain::Toolchain;
use serde_json::{Value, json};

use crate::frame::{Error, line, look, median, timed};

struct Size {
    namespace: &'static str,
    objects: usize,
    /// How often each way is measured.
    times: usize,
    seconds: f64,
    megabytes: f64,
}

const SIZES: [Size; 3] = [
    Size {
        namespace: "bench-small",
        objects: 0,
        times: 15,
        seconds: 0.1,
        megabytes: 150.0,
    },
    Size {
        namespace: "bench-200",
        objects: 200,
        times: 9,
        seconds: 0.3,
        megabytes: 150.0,
    },
    Size {
        namespace: "bench-5000",
        objects: 5_000,
        times: 5,
        seconds: 4.0,
        megabytes: 150.0,
    },
];
/// Everything that `rekindle` looks at as well and that has a namespace.
const DESCRIBED: &str = "secrets,configmaps,persistentvolumeclaims,pods,resourcequotas,services,serviceaccounts,daemonsets,deployments,replicasets,\
                         statefulsets,cronjobs,jobs,endpointslices,ingresses,roles,rolebindings";
/// From how many objects on `kubectl describe`, which asks for each of them again, is measured once.
const MANY: usize = 1_000;
/// How many objects are made at once.
const AT_ONCE: usize = 32;
const DEADLINE: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(200);

pub async fn measure(cluster: &Cluster, tools: &Toolchain) -> Result<bool, Error> {
    let context = Kubeconfig::read_from(&cluster.kubeconfig)?
        .current_context
        .ok_or("the kubeconfig has no context")?;
    let mut holds = true;
    for size in &SIZES {
        furnish(&cluster.client, size, &tools.images.tools.reference).await?;
        holds &= compared(size, cluster.kubeconfig.as_path(), &context, tools)?;
        let namespaces: Api<DynamicObject> = Api::all_with(cluster.client.clone(), &resource("", "v1", "Namespace", "namespaces"));
        namespaces.delete(size.namespace, &DeleteParams::default().grace_period(0)).await?;
    }
    Ok(holds)
}

/// Both ways in turn, so that both meet the same machine.
fn compared(size: &Size, kubeconfig: &Path, context: &str, tools: &Toolchain) -> Result<bool, Error> {
    let to: [&OsStr; 6] = ["--context", context, "--kubeconfig", "", "--namespace", size.namespace].map(OsStr::new);
    let mut to = to;
    to[3] = kubeconfig.as_os_str();
    let (mut ours, mut peaks, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
    for n in 0..size.times {
        let looked = look(&[to.as_slice(), &["--format".as_ref(), "json".as_ref()]].concat())?;
        if !looked.answer.contains("crash-loop") {
            return Err(format!("what is wrong in {} was not found: {}", size.namespace, looked.answer).into());
        }
        ours.push(looked.seconds);
        peaks.push(looked.peak);
        if n == 0 || size.objects < MANY {
            let (describe, _) = timed(
                tools.kubectl.as_os_str(),
                &[&["describe".as_ref(), DESCRIBED.as_ref()], to.as_slice()].concat(),
            )?;
            let (events, _) = timed(
                tools.kubectl.as_os_str(),
                &[&["get".as_ref(), "events".as_ref()], to.as_slice()].concat(),
            )?;
            theirs.push(describe + events);
        }
    }
    let worst = peaks.iter().copied().fold(0.0, f64::max) / 1e6;
    let (n, peers) = (ours.len(), theirs.len());
    let (ours, theirs) = (median(&mut ours), median(&mut theirs));
    let what = match size.objects {
        0 => "a look at a small namespace".to_owned(),
        objects => format!("a look at {objects} objects"),
    };
    let bound = format!("<= {}s, {} MB", size.seconds, size.megabytes);
    let holds = line(
        &what,
        n,
        format!("{ours:.3}s, {worst:.0} MB"),
        &bound,
        ours <= size.seconds && worst <= size.megabytes,
    );
    line(
        "  / kubectl describe and get events",
        peers,
        format!("{theirs:.2}s = 1/{:.1}", theirs / ours),
        "",
        true,
    );
    Ok(holds)
}

fn resource(group: &str, version: &str, kind: &str, plural: &str) -> ApiResource {
    let api_version = if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    };
    ApiResource {
        group: group.to_owned(),
        version: version.to_owned(),
        api_version,
        kind: kind.to_owned(),
        plural: plural.to_owned(),
    }
}

/// A namespace with something that is wrong, and so many objects that are well.
async fn furnish(client: &Client, size: &Size, image: &str) -> Result<(), Error> {
    let namespaces: Api<DynamicObject> = Api::all_with(client.clone(), &resource("", "v1", "Namespace", "namespaces"));
    let namespace = object("v1", "Namespace", size.namespace, json!({}))?;
    namespaces.create(&PostParams::default(), &namespace).await?;
    let made = small(image)
        .into_iter()
        .chain((0..size.objects / 10).flat_map(|n| well(n, size.namespace)));
    stream::iter(made)
        .map(|(resource, object, status)| {
            let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), size.namespace, &resource);
            async move {
                let object = object?;
                api.create(&PostParams::default(), &object).await?;
                if let Some(status) = status {
                    let name = object.metadata.name.clone().unwrap_or_default();
                    api.patch_status(&name, &PatchParams::default(), &Patch::Merge(json!({"status": status})))
                        .await?;
                }
                Ok::<(), Error>(())
            }
        })
        .buffer_unordered(AT_ONCE)
        .try_collect::<Vec<()>>()
        .await?;
    let pods: Api<DynamicObject> = Api::namespaced_with(client.clone(), size.namespace, &resource("", "v1", "Pod", "pods"));
    let started = Instant::now();
    let crashes = |pod: &DynamicObject| {
        let waiting = pod.data.pointer("/status/containerStatuses/0/state/waiting/reason");
        waiting.and_then(Value::as_str) == Some("CrashLoopBackOff")
    };
    while !pods
        .list(&ListParams::default().labels("app=orders"))
        .await?
        .items
        .iter()
        .any(crashes)
    {
        if started.elapsed() > DEADLINE {
            return Err("the container that is to crash does not".into());
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

type Made = (ApiResource, Result<DynamicObject, serde_json::Error>, Option<Value>);

fn object(api_version: &str, kind: &str, name: &str, rest: Value) -> Result<DynamicObject, serde_json::Error> {
    let mut object = json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name, "labels": {"app": name}}});
    for (key, value) in rest.as_object().into_iter().flatten() {
        object[key] = value.clone();
    }
    serde_json::from_value(object)
}

/// A web server, its Service, and a Deployment that crashes.
fn small(image: &str) -> Vec<Made> {
    let deployment = |name: &str, script: &str| {
        let container = json!({"name": name, "image": image, "imagePullPolicy": "Never", "command": ["sh", "-c", script],
            "env": [{"name": "LEVEL", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "level"}}}]});
        let template =
            json!({"metadata": {"labels": {"app": name}}, "spec": {"terminationGracePeriodSeconds": 0, "containers": [container]}});
        let spec = json!({"replicas": 1, "selector": {"matchLabels": {"app": name}}, "template": template});
        let made = object("apps/v1", "Deployment", name, json!({"spec": spec}));
        (resource("apps", "v1", "Deployment", "deployments"), made, None)
    };
    let service = json!({"spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}});
    vec![
        (
            resource("", "v1", "ConfigMap", "configmaps"),
            object("v1", "ConfigMap", "settings", json!({"data": {"level": "info"}})),
            None,
        ),
        (
            resource("", "v1", "Service", "services"),
            object("v1", "Service", "web", service),
            None,
        ),
        deployment("web", "exec sleep 3600"),
        deployment("orders", "echo reading settings; echo fatal: no shard is configured; exit 3"),
    ]
}

/// Ten objects that are well. No kubelet runs these pods, so that a small machine has thousands.
fn well(n: usize, namespace: &str) -> Vec<Made> {
    let name = |what: &str| format!("{what}-{n}");
    let mut made = Vec::new();
    for part in ["a", "b", "c"] {
        let data = json!({"data": {"settings.yaml": format!("level: info\nurl: http://db-{n}\n").repeat(20)}});
        let made_here = object("v1", "ConfigMap", &name(&format!("settings-{part}")), data);
        made.push((resource("", "v1", "ConfigMap", "configmaps"), made_here, None));
    }
    let secret = object(
        "v1",
        "Secret",
        &name("login"),
        json!({"stringData": {"password": format!("quiet-{n}-canary-value")}}),
    );
    made.push((resource("", "v1", "Secret", "secrets"), secret, None));
    let service = json!({"spec": {"clusterIP": "None", "selector": {"app": name("app")}, "ports": [{"port": 80}]}});
    made.push((
        resource("", "v1", "Service", "services"),
        object("v1", "Service", &name("app"), service),
        None,
    ));
    let container = json!({"name": "main", "image": "registry.invalid/main:1.2.3", "command": ["serve"], "env": [{"name": "URL", "value": "http://db"}],
        "ports": [{"containerPort": 8080}], "readinessProbe": {"httpGet": {"path": "/healthz", "port": 8080}}});
    let spec = json!({"schedulerName": "nobody", "containers": [container]});
    let template = json!({"metadata": {"labels": {"app": name("app")}}, "spec": spec});
    let deployment = json!({"spec": {"replicas": 0, "selector": {"matchLabels": {"app": name("app")}}, "template": template}});
    let deployment = object("apps/v1", "Deployment", &name("app"), deployment);
    made.push((resource("apps", "v1", "Deployment", "deployments"), deployment, None));
    let ready = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}], "containerStatuses": [{"name": "main", "ready": true,
        "restartCount": 0, "image": "registry.invalid/main:1.2.3", "imageID": "", "state": {"running": {"startedAt": "2026-01-02T03:04:05Z"}}}]});
    let pod = object("v1", "Pod", &name("pod"), json!({"spec": spec}));
    made.push((resource("", "v1", "Pod", "pods"), pod, Some(ready)));
    for reason in ["Scheduled", "Started"] {
        let about = json!({"kind": "Pod", "name": name("pod"), "namespace": namespace});
        let event = json!({"involvedObject": about, "reason": reason, "type": "Normal", "message": format!("{reason} main"), "count": 1});
        let event = object("v1", "Event", &name(&format!("pod.{}", reason.to_lowercase())), event);
        made.push((resource("", "v1", "Event", "events"), event, None));
    }
    // The ReplicaSet of the Deployment is the tenth.
    made
}
