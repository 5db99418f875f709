//! What is done before the engine runs again, and how a person would type it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::command::Command;
use crate::scenario::{GivenRelease, ObjectName};

/// One thing that is done in the trial's namespace.
#[derive(Debug, Clone)]
pub enum Deed {
    CreateSecret {
        name: String,
        literals: BTreeMap<String, String>,
    },
    CreateConfigMap {
        name: String,
        literals: BTreeMap<String, String>,
    },
    /// Another release is installed; nobody waits for its resources.
    Install(GivenRelease),
    /// A file of manifests is applied.
    Apply(PathBuf),
    /// A merge patch.
    Patch {
        object: ObjectName,
        patch: Value,
    },
    /// The object goes, and its end is waited for.
    Delete(ObjectName),
    /// The release goes back to this revision.
    Rollback(String),
}

impl Deed {
    /// As a person would type it; nothing where that is the engine's business.
    pub fn command(&self, namespace: &str) -> Option<String> {
        let kubectl = || Command::new("kubectl", Duration::ZERO).args(["--namespace", namespace]);
        let literals = |entries: &BTreeMap<String, String>, shown: bool| -> String {
            let entry = |(key, value): (&String, &String)| format!(" --from-literal={key}={}", if shown { value.as_str() } else { "…" });
            entries.iter().map(entry).collect()
        };
        Some(match self {
            Self::CreateSecret { name, literals: entries } => {
                let create = kubectl().args(["create", "secret", "generic", name.as_str()]);
                format!("{}{}", create.display(), literals(entries, false))
            }
            Self::CreateConfigMap { name, literals: entries } => {
                let create = kubectl().args(["create", "configmap", name.as_str()]);
                format!("{}{}", create.display(), literals(entries, true))
            }
            Self::Install(_) | Self::Rollback(_) => return None,
            Self::Apply(file) => kubectl().args(["apply", "--filename", &file.display().to_string()]).display(),
            // What Flux has a word of its own for.
            Self::Patch { object, patch } if object.api_version.contains("toolkit.fluxcd.io/") && is_suspension(patch).is_some() => {
                let verb = if is_suspension(patch) == Some(true) { "suspend" } else { "resume" };
                let flux = Command::new("flux", Duration::ZERO).args(["--namespace", namespace, verb]);
                flux.args([object.resource().as_str(), object.name.as_str()]).display()
            }
            Self::Patch { object, patch } => {
                let (kind, patch) = (object.resource(), patch.to_string());
                let patched = kubectl().args(["patch", kind.as_str(), object.name.as_str()]);
                patched.args(["--type", "merge", "--patch", patch.as_str()]).display()
            }
            Self::Delete(object) => kubectl()
                .args(["delete", object.resource().as_str(), object.name.as_str()])
                .display(),
        })
    }
}

/// Whether a patch does nothing but suspend or resume.
fn is_suspension(patch: &Value) -> Option<bool> {
    let spec = patch.get("spec")?.as_object()?;
    let alone = spec.len() == 1 && patch.as_object()?.len() == 1;
    spec.get("suspend")?.as_bool().filter(|_| alone)
}

impl ObjectName {
    /// As kubectl takes a kind: `secret`, `helmrelease`.
    fn resource(&self) -> String {
        self.kind.to_lowercase()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn deeds_read_as_one_would_type_them() {
        let secret = ObjectName {
            api_version: "v1".to_owned(),
            kind: "Secret".to_owned(),
            name: "db".to_owned(),
        };
        let literals = BTreeMap::from([("password".to_owned(), "x".to_owned())]);
        let typed = |deed: Deed| deed.command("shop").unwrap_or_default();
        assert_eq!(
            typed(Deed::CreateSecret {
                name: "db".to_owned(),
                literals
            }),
            "kubectl --namespace shop create secret generic db --from-literal=password=…"
        );
        assert_eq!(typed(Deed::Delete(secret.clone())), "kubectl --namespace shop delete secret db");
        let release = ObjectName {
            api_version: "helm.toolkit.fluxcd.io/v2".to_owned(),
            kind: "HelmRelease".to_owned(),
            name: "db".to_owned(),
        };
        let resumed = json!({"spec": {"suspend": false}});
        assert_eq!(
            typed(Deed::Patch {
                object: release,
                patch: resumed
            }),
            "flux --namespace shop resume helmrelease db"
        );
        let patch = json!({"metadata": {"finalizers": null}});
        assert_eq!(
            typed(Deed::Patch { object: secret, patch }),
            r#"kubectl --namespace shop patch secret db --type merge --patch '{"metadata":{"finalizers":null}}'"#
        );
    }
}
