//! Objects that a trial applies, changes and deletes by itself: those that others would have made before, and those of a remedy.

use std::path::{Path, PathBuf};
use std::time::Duration;

use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Client, ResourceExt};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::definitions::belongs_to;
use crate::evidence::manifest;
use crate::scenario::ObjectName;
use crate::scenario::placeholders::filled;
use crate::wait::{Seen, WaitError, until};

/// Whose fields these are, to server-side apply: somebody's with kubectl.
const MANAGER: &str = "kubectl";
const GONE: Duration = Duration::from_secs(30);
const IN_EFFECT: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(100);
const DEFINITION: &str = "CustomResourceDefinition";
const QUOTA: &str = "ResourceQuota";
/// The kinds with which a trial may change more than its namespace; see [`super::definitions`].
const CLUSTER_WIDE: &[&str] = &[DEFINITION, "StorageClass"];

/// Why objects could not be had as they should be.
#[derive(Debug, thiserror::Error)]
pub enum ObjectsError {
    #[error("{}: {reason}", file.display())]
    Manifest { file: PathBuf, reason: String },
    #[error("failed to {doing}: {source}")]
    Api { doing: String, source: Box<kube::Error> },
    #[error(transparent)]
    Wait(#[from] WaitError),
}

/// The objects of one namespace.
pub struct Objects<'a> {
    pub client: &'a Client,
    pub namespace: &'a str,
}

impl Objects<'_> {
    fn api(&self, object: &ObjectName) -> Api<DynamicObject> {
        let (group, version) = object.api_version.split_once('/').unwrap_or(("", &object.api_version));
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, &object.kind));
        if CLUSTER_WIDE.contains(&object.kind.as_str()) {
            return Api::all_with(self.client.clone(), &resource);
        }
        Api::namespaced_with(self.client.clone(), self.namespace, &resource)
    }

    /// Applies every manifest of a file, in their order; `values` fills in what stands in `${…}`. What decides on the objects after it is
    /// in effect before they come.
    ///
    /// # Errors
    /// When the file is none of manifests, or the API refuses one.
    pub async fn apply(&self, file: &Path, values: &Value, cancel: &CancellationToken) -> Result<(), ObjectsError> {
        let unreadable = |reason: String| ObjectsError::Manifest {
            file: file.to_owned(),
            reason,
        };
        let text = std::fs::read_to_string(file).map_err(|error| unreadable(error.to_string()))?;
        for document in filled(&text, values).split("\n---") {
            let read: Value = serde_saphyr::from_str(document.trim_start_matches("---")).map_err(|error| unreadable(error.to_string()))?;
            if read.is_null() {
                continue;
            }
            let field = |pointer: &str| manifest::text(&read, pointer).to_owned();
            let name = ObjectName {
                api_version: field("/apiVersion"),
                kind: field("/kind"),
                name: field("/metadata/name"),
            };
            if [&name.api_version, &name.kind, &name.name].into_iter().any(String::is_empty) {
                return Err(unreadable("a manifest names no apiVersion, kind or metadata.name".to_owned()));
            }
            if CLUSTER_WIDE.contains(&name.kind.as_str()) && !belongs_to(&name.name, self.namespace) {
                return Err(unreadable(format!(
                    "the name of the {} {} does not hold ${{namespace}} after a dot; without it, it would not go with its trial",
                    name.kind, name.name
                )));
            }
            let parameters = PatchParams::apply(MANAGER).force();
            let applied = self.api(&name).patch(&name.name, &parameters, &Patch::Apply(&read)).await;
            applied.map_err(failed(&format!("apply {} {}", name.kind, name.name)))?;
            // Only whoever serves an object writes its status; where nobody does, its manifest may.
            if let Some(status) = read.get("status") {
                let status = serde_json::json!({"status": status});
                let told = self
                    .api(&name)
                    .patch_status(&name.name, &PatchParams::default(), &Patch::Merge(&status))
                    .await;
                told.map_err(failed(&format!("write the status of {} {}", name.kind, name.name)))?;
            }
            match name.kind.as_str() {
                DEFINITION => self.in_effect(&name, cancel, established).await?,
                QUOTA => self.in_effect(&name, cancel, counted).await?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Returns once the API acts on an object: serves the kind that it defines, or refuses what it does not allow.
    async fn in_effect(&self, object: &ObjectName, cancel: &CancellationToken, acts: fn(&Value) -> bool) -> Result<(), ObjectsError> {
        let api = self.api(object);
        let what = format!("{} {} to be in effect", object.kind, object.name);
        until(&what, IN_EFFECT, LOOK, cancel, || async {
            match api.get(&object.name).await {
                Ok(found) if acts(&found.data) => Seen::Done(()),
                Ok(found) => Seen::NotYet(format!("its status is {}", found.data.get("status").unwrap_or(&Value::Null))),
                Err(error) => Seen::NotYet(error.to_string()),
            }
        })
        .await?;
        Ok(())
    }

    /// Changes an object by a merge patch.
    ///
    /// # Errors
    /// When it is not there, or the API refuses the patch.
    pub async fn patch(&self, object: &ObjectName, patch: &Value) -> Result<(), ObjectsError> {
        let patched = self
            .api(object)
            .patch(&object.name, &PatchParams::default(), &Patch::Merge(patch))
            .await;
        patched.map(drop).map_err(failed(&format!("patch {} {}", object.kind, object.name)))
    }

    /// Deletes an object and waits for its end; that it is not there is no error.
    ///
    /// # Errors
    /// When the API refuses it, or it does not go.
    pub async fn delete(&self, object: &ObjectName, cancel: &CancellationToken) -> Result<(), ObjectsError> {
        let api = self.api(object);
        match api.delete(&object.name, &DeleteParams::default()).await {
            Err(kube::Error::Api(status)) if status.is_not_found() => return Ok(()),
            deleted => drop(deleted.map_err(failed(&format!("delete {} {}", object.kind, object.name)))?),
        }
        until(
            &format!("the end of {} {}", object.kind, object.name),
            GONE,
            LOOK,
            cancel,
            || async {
                match api.get_opt(&object.name).await {
                    Ok(None) => Seen::Done(()),
                    Ok(Some(left)) => Seen::NotYet(format!("it has the finalizers {}", left.finalizers().join(", "))),
                    Err(error) => Seen::NotYet(error.to_string()),
                }
            },
        )
        .await?;
        Ok(())
    }
}

fn established(definition: &Value) -> bool {
    let conditions = definition.pointer("/status/conditions").and_then(Value::as_array);
    let is = |condition: &Value| manifest::text(condition, "/type") == "Established" && manifest::text(condition, "/status") == "True";
    conditions.into_iter().flatten().any(is)
}

/// Whether what a quota limits has been counted once. Before that, the API server may not know the quota and lets everything pass.
fn counted(quota: &Value) -> bool {
    quota.pointer("/status/hard") == quota.pointer("/spec/hard")
}

fn failed(doing: &str) -> impl FnOnce(kube::Error) -> ObjectsError {
    let doing = doing.to_owned();
    |source| ObjectsError::Api {
        doing,
        source: Box::new(source),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_quota_is_in_effect_once_it_has_counted() {
        let hard = json!({"pods": "1"});
        assert!(!counted(&json!({"spec": {"hard": hard}})));
        assert!(!counted(&json!({"spec": {"hard": hard}, "status": {}})));
        assert!(!counted(&json!({"spec": {"hard": hard}, "status": {"hard": {"pods": "2"}}})));
        assert!(counted(&json!({"spec": {"hard": hard}, "status": {"hard": hard}})));
    }
}
