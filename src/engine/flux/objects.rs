//! What a person who uses Flux would write: the release, and where its chart comes from.

use std::path::PathBuf;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::chart::Package;
use crate::engine::{Request, Wait};
use crate::scenario::duration::human;
use crate::scenario::{Content, Reset};

/// How often Flux tries an install again that failed, as in the documents.
const RETRIES: u32 = 1;
/// Nobody waits for a reconciliation that nothing asks for.
const INTERVAL: &str = "1h";
/// Tells which controller a release belongs to.
pub const SHARD: &str = "sharding.fluxcd.io/key";

/// Why values cannot be given to Flux.
#[derive(Debug, thiserror::Error)]
pub enum ValuesError {
    #[error("reading {path} failed: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{path} is no YAML: {source}")]
    Yaml { path: PathBuf, source: Box<serde_saphyr::Error> },
}

/// The source of a chart. What it holds is said in its status, by [`artifact`].
pub fn source(name: &str, namespace: &str) -> Value {
    json!({
        "apiVersion": "source.toolkit.fluxcd.io/v1",
        "kind": "ExternalArtifact",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {},
    })
}

/// The status of a source that serves this package at `url`.
pub fn artifact(package: &Package, url: &str, now: Timestamp) -> Value {
    let now = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    json!({"status": {
        "artifact": {
            "url": url,
            "path": url.rsplit('/').next().unwrap_or_default(),
            "digest": format!("sha256:{}", package.sha256),
            "revision": package.version,
            "lastUpdateTime": now,
        },
        "conditions": [{
            "type": "Ready", "status": "True", "reason": "Succeeded", "message": "stored artifact", "lastTransitionTime": now,
        }],
    }})
}

/// The release that a request asks for.
///
/// # Errors
/// When its values cannot be read.
fn release(request: &Request, shard: &str) -> Result<Value, ValuesError> {
    let wait = request.told.wait;
    let mut action = json!({"remediation": {"retries": RETRIES}});
    if wait == Some(Wait::HookOnly) {
        action["disableWait"] = true.into();
    }
    let mut spec = json!({
        "interval": INTERVAL,
        "timeout": human(request.timeout),
        "releaseName": request.release,
        "chartRef": {"kind": "ExternalArtifact", "name": request.release},
        "install": action,
        "upgrade": action,
        "values": values(request)?,
    });
    match wait {
        Some(Wait::Legacy) => spec["waitStrategy"] = json!({"name": "legacy"}),
        Some(Wait::Watcher | Wait::HookOnly) | None => {}
    }
    if !request.spec.is_null() {
        json_patch::merge(&mut spec, &request.spec);
    }
    Ok(json!({
        "apiVersion": "helm.toolkit.fluxcd.io/v2",
        "kind": "HelmRelease",
        "metadata": {"name": request.release, "namespace": request.namespace, "labels": {SHARD: shard}},
        "spec": spec,
    }))
}

/// What a request asks for: a release, or a Kustomization.
///
/// # Errors
/// When its values cannot be read.
pub fn asked(request: &Request, shard: &str) -> Result<Value, ValuesError> {
    match &request.content {
        Content::Chart(_) => release(request, shard),
        Content::Manifests(_) => Ok(kustomization(request)),
    }
}

/// The Kustomization that a request asks for.
fn kustomization(request: &Request) -> Value {
    let mut spec = json!({
        "interval": INTERVAL,
        "timeout": human(request.timeout),
        // Whoever follows it has seen enough after the first try; the next one may be the remedy's.
        "retryInterval": INTERVAL,
        "sourceRef": {"kind": "ExternalArtifact", "name": request.release},
        "path": "./",
        "prune": true,
        "targetNamespace": request.namespace,
        "wait": request.told.wait != Some(Wait::HookOnly),
    });
    if !request.spec.is_null() {
        json_patch::merge(&mut spec, &request.spec);
    }
    json!({
        "apiVersion": "kustomize.toolkit.fluxcd.io/v1",
        "kind": "Kustomization",
        "metadata": {"name": request.release, "namespace": request.namespace},
        "spec": spec,
    })
}

/// All values of a request, the later ones over the earlier, as Helm lays them.
fn values(request: &Request) -> Result<Value, ValuesError> {
    let mut values = Value::Object(Map::new());
    for path in &request.values {
        let text = std::fs::read_to_string(path).map_err(|source| ValuesError::Read {
            path: path.clone(),
            source,
        })?;
        let read: Value = serde_saphyr::from_str(&text).map_err(|source| ValuesError::Yaml {
            path: path.clone(),
            source: Box::new(source),
        })?;
        lay_over(&mut values, read);
    }
    lay_over(&mut values, request.overlay.clone());
    for (path, value) in &request.set {
        let nested = path.rsplit('.').fold(typed(value), |inner, key| json!({key: inner}));
        lay_over(&mut values, nested);
    }
    Ok(values)
}

fn lay_over(below: &mut Value, above: Value) {
    match (below, above) {
        (Value::Object(below), Value::Object(above)) => {
            for (key, value) in above {
                lay_over(below.entry(key).or_insert(Value::Null), value);
            }
        }
        (_, Value::Null) => {}
        (below, above) => *below = above,
    }
}

/// A value as `--set` understands it.
fn typed(text: &str) -> Value {
    match text {
        "true" => true.into(),
        "false" => false.into(),
        // A leading zero is no number to Helm.
        "0" => 0.into(),
        text if text.starts_with('0') => text.into(),
        text => text.parse::<i64>().map_or_else(|_| text.into(), Value::from),
    }
}

/// What of a release or a Kustomization a person changes, as `kubectl patch` takes it: the timeout, the values, and what is special about it.
pub fn patch(release: &Value, special: &Value) -> Value {
    let mut spec = json!({"timeout": release["spec"]["timeout"]});
    if let Some(values) = release["spec"].get("values") {
        spec["values"] = values.clone();
    }
    for key in special.as_object().into_iter().flat_map(Map::keys) {
        spec[key] = release["spec"].get(key).cloned().unwrap_or(Value::Null);
    }
    json!({"spec": spec})
}

/// The merge patch that makes one of the other; null where they are the same.
pub fn difference(before: &Value, after: &Value) -> Value {
    let (Value::Object(old), Value::Object(new)) = (before, after) else {
        return if before == after { Value::Null } else { after.clone() };
    };
    let mut patch = Map::new();
    for (key, value) in new {
        let known = old.get(key).unwrap_or(&Value::Null);
        if known != value {
            patch.insert(key.clone(), difference(known, value));
        }
    }
    for key in old.keys().filter(|key| !new.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    if patch.is_empty() { Value::Null } else { Value::Object(patch) }
}

/// The annotations that ask the controller to try again, each with this token, as `flux reconcile helmrelease --reset` writes them.
pub fn requests(reset: Option<Reset>, token: &str) -> Value {
    let mut annotations = json!({"reconcile.fluxcd.io/requestedAt": token});
    if let Some(reset) = reset {
        annotations["reconcile.fluxcd.io/resetAt"] = token.into();
        if reset.force {
            annotations["reconcile.fluxcd.io/forceAt"] = token.into();
        }
    }
    annotations
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::engine::{Operation, Told};

    fn request() -> Request {
        Request {
            operation: Operation::Install,
            release: "openhands".to_owned(),
            namespace: "a".to_owned(),
            content: Content::Chart("chart".into()),
            values: Vec::new(),
            overlay: json!({"images": {"tools": "t"}}),
            set: vec![
                ("migrationJob.ttl".to_owned(), "240".to_owned()),
                ("migrationJob.hook".to_owned(), "true".to_owned()),
                ("keycloak.url".to_owned(), "http://keycloak".to_owned()),
            ],
            timeout: Duration::from_secs(240),
            told: Told::default(),
            spec: Value::Null,
            reset: None,
            kill: None,
        }
    }

    #[test]
    fn a_release_is_what_the_documents_show() {
        let release = release(&request(), "flux-2.7").unwrap();
        assert_eq!(
            release["spec"],
            json!({
                "interval": "1h",
                "timeout": "4m00s",
                "releaseName": "openhands",
                "chartRef": {"kind": "ExternalArtifact", "name": "openhands"},
                "install": {"remediation": {"retries": 1}},
                "upgrade": {"remediation": {"retries": 1}},
                "values": {
                    "images": {"tools": "t"},
                    "migrationJob": {"ttl": 240, "hook": true},
                    "keycloak": {"url": "http://keycloak"},
                },
            })
        );
        assert_eq!(release["metadata"]["labels"][SHARD], "flux-2.7");
    }

    #[test]
    fn it_waits_as_it_is_told() {
        let spec = |wait| {
            let told = Told { wait, ..Told::default() };
            release(&Request { told, ..request() }, "s").unwrap()["spec"].clone()
        };
        assert_eq!(spec(Some(Wait::Legacy))["waitStrategy"], json!({"name": "legacy"}));
        assert_eq!(spec(Some(Wait::HookOnly))["install"]["disableWait"], true);
        assert_eq!(spec(None).get("waitStrategy"), None);
    }

    #[test]
    fn only_what_differs_is_patched() {
        let before = json!({"spec": {"timeout": "8s", "values": {"a": {"b": 1, "c": 2}, "gone": true}}});
        let after = json!({"spec": {"timeout": "8s", "values": {"a": {"b": 3, "c": 2}, "new": [1]}}});
        let expected = json!({"spec": {"values": {"a": {"b": 3}, "gone": null, "new": [1]}}});
        assert_eq!(difference(&before, &after), expected);
        assert_eq!(difference(&after, &after), Value::Null);
    }

    #[test]
    fn values_are_read_as_helm_reads_them() {
        assert_eq!(
            [typed("0"), typed("012"), typed("1.5"), typed("-3"), typed("")],
            [json!(0), json!("012"), json!("1.5"), json!(-3), json!("")]
        );
    }
}
