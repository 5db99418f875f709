//! What a trial makes outside of its namespace: the kinds that it defines, and classes of storage. Those are the whole cluster's, so the
//! trial's namespace is one part of their name (of a kind, of its group's), and what bears it goes with the namespace, whoever made it.

use std::fmt::Debug;

use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, ListParams};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;

/// Whether what has this name belongs to a trial: `externalsecrets.external-secrets.<namespace>.invalid`, `disks.<namespace>`.
pub fn belongs_to(name: &str, namespace: &str) -> bool {
    name.split('.').skip(1).any(|part| part == namespace)
}

/// Deletes all of it. With each kind go the objects of that kind.
///
/// # Errors
/// When the API refuses it.
pub async fn delete(client: &Client, namespace: &str) -> Result<(), kube::Error> {
    delete_of::<CustomResourceDefinition>(client, namespace).await?;
    delete_of::<StorageClass>(client, namespace).await
}

async fn delete_of<K>(client: &Client, namespace: &str) -> Result<(), kube::Error>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    let objects: Api<K> = Api::all(client.clone());
    let known = objects.list_metadata(&ListParams::default()).await?;
    for name in known.iter().map(ResourceExt::name_any).filter(|name| belongs_to(name, namespace)) {
        match objects.delete(&name, &DeleteParams::default()).await {
            Err(kube::Error::Api(status)) if status.is_not_found() => {}
            deleted => drop(deleted?),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_bears_the_namespace_belongs_to_the_trial() {
        let namespace = "crd-missing-0a1b2c";
        assert!(belongs_to("externalsecrets.external-secrets.crd-missing-0a1b2c.invalid", namespace));
        assert!(!belongs_to(
            "externalsecrets.external-secrets.crd-missing-0a1b2cd.invalid",
            namespace
        ));
        assert!(belongs_to("disks.crd-missing-0a1b2c", namespace) && !belongs_to("disks", namespace));
        assert!(!belongs_to("crd-missing-0a1b2c.external-secrets.invalid", namespace));
        assert!(!belongs_to("helmreleases.helm.toolkit.fluxcd.io", namespace));
    }
}
