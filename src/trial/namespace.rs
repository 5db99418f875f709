//! The namespace of one trial: made for it, labelled as ours, and gone afterwards.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret, ServiceAccount};
use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::cluster::NODE_LABEL;
use crate::wait::{Seen, WaitError, until};

const READY: Duration = Duration::from_secs(30);
const GONE: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(100);
/// Part of the names of Flux's kinds and finalizers.
const FLUX: &str = "fluxcd.io";
/// Part of the names of finalizers that only a scenario can have set: nobody owns such a domain, so nobody would take them away.
const PLANTED: &str = ".invalid/";

/// What went wrong with a namespace.
#[derive(Debug, thiserror::Error)]
pub enum NamespaceError {
    #[error("failed to {doing} in namespace {namespace}: {source}")]
    Api {
        doing: &'static str,
        namespace: String,
        source: Box<kube::Error>,
    },
    #[error(transparent)]
    Wait(#[from] WaitError),
}

/// A namespace that only this trial uses.
pub struct TrialNamespace {
    client: Client,
    pub name: String,
}

impl TrialNamespace {
    /// The namespace to be; nothing is made yet.
    pub fn named(client: &Client, name: String) -> Self {
        Self {
            client: client.clone(),
            name,
        }
    }

    /// Creates it and waits until pods can be created in it.
    ///
    /// # Errors
    /// When the API refuses it, or its service account does not come.
    pub async fn create(&self, run_id: &str, cancel: &CancellationToken) -> Result<(), NamespaceError> {
        let (client, name) = (&self.client, &self.name);
        let mut namespace = Namespace::default();
        namespace.metadata.name = Some(name.clone());
        namespace.metadata.labels = Some(BTreeMap::from([(NODE_LABEL.to_owned(), run_id.to_owned())]));
        let namespaces: Api<Namespace> = Api::all(client.clone());
        namespaces
            .create(&PostParams::default(), &namespace)
            .await
            .map_err(|source| self.error("create it", source))?;
        let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), name);
        until(
            &format!("the default service account of namespace {name}"),
            READY,
            LOOK,
            cancel,
            || async {
                match accounts.get_opt("default").await {
                    Ok(Some(_)) => Seen::Done(()),
                    Ok(None) => Seen::NotYet("there is none".to_owned()),
                    Err(error) => Seen::NotYet(error.to_string()),
                }
            },
        )
        .await?;
        Ok(())
    }

    /// Creates a Secret in it.
    ///
    /// # Errors
    /// When the API refuses it.
    pub async fn create_secret(&self, name: &str, literals: &BTreeMap<String, String>) -> Result<(), NamespaceError> {
        let mut secret = Secret {
            string_data: Some(literals.clone()),
            ..Secret::default()
        };
        secret.metadata.name = Some(name.to_owned());
        self.create_object("create a Secret", &secret).await
    }

    /// Creates a ConfigMap in it.
    ///
    /// # Errors
    /// When the API refuses it.
    pub async fn create_config_map(&self, name: &str, literals: &BTreeMap<String, String>) -> Result<(), NamespaceError> {
        let mut config_map = ConfigMap {
            data: Some(literals.clone()),
            ..ConfigMap::default()
        };
        config_map.metadata.name = Some(name.to_owned());
        self.create_object("create a ConfigMap", &config_map).await
    }

    async fn create_object<K>(&self, doing: &'static str, object: &K) -> Result<(), NamespaceError>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + std::fmt::Debug + Serialize + DeserializeOwned,
    {
        let objects: Api<K> = Api::namespaced(self.client.clone(), &self.name);
        let created = objects.create(&PostParams::default(), object).await;
        created.map(drop).map_err(|source| self.error(doing, source))
    }

    /// Deletes it; with `wait`, returns once it is gone with everything in it.
    ///
    /// # Errors
    /// When it is still there at the deadline; with what it still holds, as far as the API says so.
    pub async fn delete(&self, wait: bool) -> Result<(), NamespaceError> {
        let never = CancellationToken::new();
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        match namespaces.delete(&self.name, &DeleteParams::default()).await {
            Ok(_) if wait => {}
            Ok(_) => return Ok(()),
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(()),
            Err(source) => return Err(self.error("delete everything", source)),
        }
        until(&format!("the end of namespace {}", self.name), GONE, LOOK * 3, &never, || async {
            match namespaces.get_opt(&self.name).await {
                Ok(None) => Seen::Done(()),
                Ok(Some(namespace)) => {
                    let remaining = remaining(&namespace);
                    if remaining.contains(FLUX) || remaining.contains(PLANTED) {
                        self.let_go().await;
                    }
                    Seen::NotYet(remaining)
                }
                Err(error) => Seen::NotYet(error.to_string()),
            }
        })
        .await?;
        Ok(())
    }

    /// Takes Flux's finalizers away: its controllers would first wait for what they are waiting for, minutes long, and then remove what goes
    /// with the namespace anyway. Likewise those that a scenario has set itself.
    async fn let_go(&self) {
        for (group, version, kind) in [
            ("helm.toolkit.fluxcd.io", "v2", "HelmRelease"),
            ("kustomize.toolkit.fluxcd.io", "v1", "Kustomization"),
            ("", "v1", "ConfigMap"),
        ] {
            let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
            let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &self.name, &resource);
            // What cannot be listed or changed now is still there at the next look.
            for object in api.list(&ListParams::default()).await.into_iter().flatten() {
                let others: Vec<_> = object.finalizers().iter().filter(|name| !is_ours(name)).collect();
                if others.len() == object.finalizers().len() {
                    continue;
                }
                let patch = Patch::Merge(json!({"metadata": {"finalizers": others}}));
                let _ = api.patch(&object.name_any(), &PatchParams::default(), &patch).await;
            }
        }
    }

    fn error(&self, doing: &'static str, source: kube::Error) -> NamespaceError {
        NamespaceError::Api {
            doing,
            namespace: self.name.clone(),
            source: Box::new(source),
        }
    }
}

/// Whether a finalizer may be taken away in a trial's namespace that goes.
fn is_ours(finalizer: &str) -> bool {
    finalizer.contains(FLUX) || finalizer.contains(PLANTED)
}

fn remaining(namespace: &Namespace) -> String {
    let conditions = namespace.status.as_ref().and_then(|status| status.conditions.as_ref());
    let messages: Vec<_> = conditions
        .into_iter()
        .flatten()
        .filter(|condition| condition.status == "True")
        .filter_map(|condition| condition.message.clone())
        .collect();
    if messages.is_empty() {
        "it is terminating".to_owned()
    } else {
        messages.join("; ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_flux_and_scenarios_have_set_is_taken_away() {
        assert!(is_ours("finalizers.fluxcd.io"));
        assert!(is_ours("organizations.catalyst.invalid/cleanup"));
        assert!(!is_ours("kubernetes.io/pvc-protection"));
    }
}
