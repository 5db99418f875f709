//! What somebody exported: how long 100 MB take, and how much memory.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use crate::frame::{Error, line, look, median};

const MEGABYTES: usize = 100;
const TIMES: usize = 5;
const SECONDS: f64 = 2.0;
const MEMORY: f64 = 150e6;
/// How many objects a namespace has, and one of how many namespaces has something that is wrong.
const WORKLOADS: usize = 40;

/// Writes a bundle to a path.
type Bundle = fn(&Path) -> Result<(), Error>;

pub fn measure() -> Result<bool, Error> {
    let folder = tempfile::tempdir()?;
    let bundles: [(&str, Bundle); 4] = [
        ("a support bundle, tar.gz, half of it logs", support_bundle),
        ("a must-gather, YAML, half of it logs", must_gather),
        ("kubectl get -A -o json, many namespaces", many_namespaces),
        ("kubectl get -o json, a single namespace", one_namespace),
    ];
    let mut holds = true;
    for (what, write) in bundles {
        let path = folder.path().join("bundle");
        write(&path)?;
        let (mut times, mut peaks) = (Vec::new(), Vec::new());
        for _ in 0..TIMES {
            let looked = look(&["--from".as_ref(), path.as_os_str(), "--format".as_ref(), "json".as_ref()])?;
            if !looked.answer.contains("secret-missing") {
                return Err(format!("what is wrong was not found in {what}").into());
            }
            times.push(looked.seconds);
            peaks.push(looked.peak);
        }
        let (time, peak) = (median(&mut times), median(&mut peaks));
        let measured = format!("{time:.2}s, {:.0} MB", peak / 1e6);
        holds &= line(
            &format!("{MEGABYTES} MB: {what}"),
            TIMES,
            measured,
            "<= 2s, <= 150 MB",
            time <= SECONDS && peak <= MEMORY,
        );
        if path.is_dir() {
            fs::remove_dir_all(&path)?;
        } else {
            fs::remove_file(&path)?;
        }
    }
    Ok(holds)
}

/// Counts what is written.
struct Counted<W>(W, usize);

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.0.write(bytes)?;
        self.1 += written;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

const TOTAL: usize = MEGABYTES * 1_000_000;

fn many_namespaces(path: &Path) -> Result<(), Error> {
    kubectl_get(path, |n| format!("ns-{}", n / WORKLOADS))
}

fn one_namespace(path: &Path) -> Result<(), Error> {
    kubectl_get(path, |_| "shop".to_owned())
}

fn kubectl_get(path: &Path, namespace: impl Fn(usize) -> String) -> Result<(), Error> {
    let mut file = Counted(BufWriter::new(File::create(path)?), 0);
    file.write_all(b"{\n    \"apiVersion\": \"v1\",\n    \"items\": [\n")?;
    let mut n = 0;
    while file.1 < TOTAL {
        for (_, _, object) in workload(n, &namespace(n)) {
            serde_json::to_writer_pretty(&mut file, &object)?;
            file.write_all(b",\n")?;
        }
        n += 1;
    }
    file.write_all(b"{}\n],\n\"kind\": \"List\"\n}\n")?;
    Ok(file.flush()?)
}

/// The lists of a namespace by the plural of their kind, and its logs.
struct Namespace {
    name: String,
    lists: Vec<(&'static str, &'static str, Vec<Value>)>,
    logs: Vec<(String, String)>,
}

fn namespace(number: usize) -> Namespace {
    let name = format!("ns-{number}");
    let mut lists: Vec<(&str, &str, Vec<Value>)> = Vec::new();
    let mut logs = Vec::new();
    for n in number * WORKLOADS..(number + 1) * WORKLOADS {
        for (group, plural, object) in workload(n, &name) {
            if plural == "pods" {
                let pod = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
                logs.push((pod, log(n)));
            }
            match lists.iter_mut().find(|list| list.1 == plural) {
                Some(list) => list.2.push(object),
                None => lists.push((group, plural, vec![object])),
            }
        }
    }
    Namespace { name, lists, logs }
}

fn log(n: usize) -> String {
    let lines = (0..200).map(|line| {
        let at = line % 60;
        format!(
            "2026-01-02T03:04:{at:02}.123456789Z level=info request={n}-{line} method=GET path=/api/v1/items/{line} status=200 took=12ms\n"
        )
    });
    lines.collect()
}

fn support_bundle(path: &Path) -> Result<(), Error> {
    let gzip = GzEncoder::new(BufWriter::new(File::create(path)?), Compression::fast());
    let mut tar = tar::Builder::new(gzip);
    let (mut total, mut number) = (0, 0);
    while total < TOTAL {
        let namespace = namespace(number);
        let mut file = |name: String, text: &str| {
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            total += text.len();
            tar.append_data(&mut header, format!("support-bundle/cluster-resources/{name}"), text.as_bytes())
        };
        for (_, plural, items) in &namespace.lists {
            let kind = items[0]["kind"].as_str().unwrap_or_default();
            let list = json!({"kind": format!("{kind}List"), "apiVersion": items[0]["apiVersion"], "metadata": {}, "items": items});
            file(format!("{plural}/{}.json", namespace.name), &serde_json::to_string_pretty(&list)?)?;
        }
        for (pod, log) in &namespace.logs {
            file(format!("pods/logs/{}/{pod}/main.log", namespace.name), log)?;
        }
        number += 1;
    }
    tar.into_inner()?.finish()?.flush()?;
    Ok(())
}

fn must_gather(path: &Path) -> Result<(), Error> {
    let (mut total, mut number) = (0, 0);
    while total < TOTAL {
        let namespace = namespace(number);
        let root = path.join("quay-io").join("namespaces").join(&namespace.name);
        let mut file = |name: String, text: &str| -> Result<(), Error> {
            let path = root.join(name);
            fs::create_dir_all(path.parent().ok_or("a file lies in a folder")?)?;
            total += text.len();
            Ok(fs::write(path, text)?)
        };
        for (group, plural, items) in &namespace.lists {
            let mut text = "---\napiVersion: v1\nitems:\n".to_owned();
            for item in items {
                yaml(item, 2, true, &mut text);
            }
            text.push_str("kind: List\nmetadata: {}\n");
            file(format!("{group}/{plural}.yaml"), &text)?;
        }
        for (pod, log) in &namespace.logs {
            file(format!("pods/{pod}/main/main/logs/current.log"), log)?;
        }
        number += 1;
    }
    Ok(())
}

/// As Kubernetes' tools write it, in blocks; the first field behind a dash where it is an item.
fn yaml(value: &Value, indent: usize, item: bool, text: &mut String) {
    let mut first = item;
    for (key, value) in value.as_object().into_iter().flatten() {
        let blank = " ".repeat(if first { indent - 2 } else { indent });
        text.push_str(&format!("{blank}{}{key}:", if first { "- " } else { "" }));
        first = false;
        match value {
            Value::Object(fields) if !fields.is_empty() => {
                text.push('\n');
                yaml(value, indent + 2, false, text);
            }
            Value::Array(items) if !items.is_empty() => {
                text.push('\n');
                for item in items {
                    if item.is_object() {
                        yaml(item, indent + 2, true, text);
                    } else {
                        text.push_str(&format!("{}- {item}\n", " ".repeat(indent)));
                    }
                }
            }
            Value::String(words) if words.starts_with(|char: char| char.is_ascii_lowercase()) && !words.contains([':', '#', '\n']) => {
                text.push_str(&format!(" {words}\n"));
            }
            other => text.push_str(&format!(" {other}\n")),
        }
    }
}

/// A Deployment with all that belongs to it: folder in a must-gather, plural, object. The pod of one in a thousand lacks a Secret.
fn workload(n: usize, namespace: &str) -> Vec<(&'static str, &'static str, Value)> {
    let name = format!("app-{n}");
    let app = name.clone();
    let lacks = n % 1000 == 7;
    let written = json!([{"apiVersion": "apps/v1", "fieldsType": "FieldsV1", "manager": "kube-controller-manager", "operation": "Update",
        "time": "2026-01-02T03:04:05Z", "fieldsV1": {"f:metadata": {"f:labels": {".": {}, "f:app": {}}}, "f:spec": {"f:containers": {
            "k:{\"name\":\"main\"}": {".": {}, "f:env": {".": {}, "k:{\"name\":\"LEVEL\"}": {".": {}, "f:name": {}, "f:value": {}}}, "f:image": {}, "f:ports": {}}}}}}]);
    let object = |api_version: &str, kind: &str, name: &str, owner: Option<(&str, &str)>, rest: Value| {
        let owners: Vec<Value> = owner
            .map(|(kind, name)| json!({"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": uid(kind, name, n), "controller": true}))
            .into_iter()
            .collect();
        let mut object = json!({"apiVersion": api_version, "kind": kind, "metadata": {
            "annotations": {"meta.helm.sh/release-name": "shop", "meta.helm.sh/release-namespace": namespace},
            "creationTimestamp": "2026-01-02T03:04:05Z", "labels": {"app": app, "app.kubernetes.io/managed-by": "Helm"},
            "managedFields": written, "name": name, "namespace": namespace, "ownerReferences": owners, "resourceVersion": "123456",
            "uid": uid(kind, name, n)}});
        for (key, value) in rest.as_object().into_iter().flatten() {
            object[key] = value.clone();
        }
        object
    };
    let mut env = vec![
        json!({"name": "LEVEL", "value": "info"}),
        json!({"name": "URL", "value": format!("http://{name}.{namespace}.svc:8080")}),
    ];
    if lacks {
        env.push(json!({"name": "P", "valueFrom": {"secretKeyRef": {"name": format!("{name}-login"), "key": "password"}}}));
    }
    let spec = json!({"containers": [{"name": "main", "image": "registry.invalid/main:1.2.3", "imagePullPolicy": "IfNotPresent", "env": env,
            "command": ["sh", "-c", "exec server --port 8080"], "ports": [{"containerPort": 8080, "name": "http", "protocol": "TCP"}],
            "readinessProbe": {"failureThreshold": 3, "httpGet": {"path": "/healthz", "port": "http", "scheme": "HTTP"}, "periodSeconds": 10},
            "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}}, "terminationMessagePath": "/dev/termination-log",
            "volumeMounts": [{"mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "name": "kube-api-access", "readOnly": true}]}],
        "dnsPolicy": "ClusterFirst", "nodeName": "node-a", "restartPolicy": "Always", "schedulerName": "default-scheduler", "serviceAccountName": "default",
        "tolerations": [{"effect": "NoExecute", "key": "node.kubernetes.io/not-ready", "operator": "Exists", "tolerationSeconds": 300}],
        "volumes": [{"name": "kube-api-access", "projected": {"sources": [{"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}}]}}]});
    let template = json!({"metadata": {"labels": {"app": name}}, "spec": spec});
    let running = json!({"phase": "Running", "podIP": "10.244.0.7", "qosClass": "Burstable",
        "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-02T03:04:05Z"}],
        "containerStatuses": [{"name": "main", "restartCount": 0, "ready": true, "image": "registry.invalid/main:1.2.3", "imageID": "sha256:0123456789abcdef",
            "state": {"running": {"startedAt": "2026-01-02T03:04:06Z"}}}]});
    let waiting = json!({"phase": "Pending", "containerStatuses": [{"name": "main", "restartCount": 0, "ready": false,
        "state": {"waiting": {"reason": "CreateContainerConfigError", "message": format!("secret \"{name}-login\" not found")}}}]});
    let set = format!("{name}-7f9c6d");
    let pod = format!("{set}-x2b4k");
    let ready = u32::from(!lacks);
    let selector = json!({"matchLabels": {"app": name}});
    let mut objects = vec![
        (
            "core",
            "services",
            object(
                "v1",
                "Service",
                &name,
                None,
                json!({"spec": {"clusterIP": "10.96.1.2", "selector": {"app": name}, "ports": [{"name": "http", "port": 80}]}}),
            ),
        ),
        (
            "core",
            "configmaps",
            object(
                "v1",
                "ConfigMap",
                &format!("{name}-config"),
                None,
                json!({"data": {"settings.yaml": "level: info\nurl: http://db\n".repeat(10)}}),
            ),
        ),
        (
            "apps",
            "deployments",
            object(
                "apps/v1",
                "Deployment",
                &name,
                None,
                json!({"spec": {"replicas": 1, "selector": selector, "template": template},
            "status": {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "readyReplicas": ready, "availableReplicas": ready}}),
            ),
        ),
        (
            "apps",
            "replicasets",
            object(
                "apps/v1",
                "ReplicaSet",
                &set,
                Some(("Deployment", &name)),
                json!({"spec": {"replicas": 1, "selector": selector, "template": template},
            "status": {"replicas": 1, "readyReplicas": ready}}),
            ),
        ),
        (
            "core",
            "pods",
            object(
                "v1",
                "Pod",
                &pod,
                Some(("ReplicaSet", &set)),
                json!({"spec": spec, "status": if lacks { waiting } else { running }}),
            ),
        ),
    ];
    for reason in ["Scheduled", "Pulled", "Started"] {
        objects.push(("core", "events", object("v1", "Event", &format!("{pod}.{reason}"), None, json!({"reason": reason, "type": "Normal", "count": 1,
            "involvedObject": {"kind": "Pod", "namespace": namespace, "name": pod, "uid": uid("Pod", &pod, n)}, "message": format!("{reason} {pod}"),
            "firstTimestamp": "2026-01-02T03:04:05Z", "lastTimestamp": "2026-01-02T03:04:05Z", "source": {"component": "kubelet", "host": "node-a"}}))));
    }
    objects
}

fn uid(kind: &str, name: &str, n: usize) -> String {
    format!("{:08x}-9b0f-4a92-9b0f-{:012x}", n * 31 + kind.len(), n * 7919 + name.len())
}
