//! The kinds that a trial defines. Those are the whole cluster's, so each trial has a group of its own: its namespace is one part of the
//! group's name, and what bears it goes with the namespace, whoever made it.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, ListParams};
use kube::{Api, Client, ResourceExt};

/// Whether a definition of this name belongs to a trial: `externalsecrets.external-secrets.<namespace>.invalid`.
pub fn belongs_to(definition: &str, namespace: &str) -> bool {
    definition.split('.').skip(1).any(|part| part == namespace)
}

/// Deletes all that a trial has defined. With each of them go the objects of that kind.
///
/// # Errors
/// When the API refuses it.
pub async fn delete(client: &Client, namespace: &str) -> Result<(), kube::Error> {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let known = definitions.list_metadata(&ListParams::default()).await?;
    for name in known.iter().map(ResourceExt::name_any).filter(|name| belongs_to(name, namespace)) {
        match definitions.delete(&name, &DeleteParams::default()).await {
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
        assert!(!belongs_to("crd-missing-0a1b2c.external-secrets.invalid", namespace));
        assert!(!belongs_to("helmreleases.helm.toolkit.fluxcd.io", namespace));
    }
}
