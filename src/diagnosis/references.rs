//! What the specification of a pod refers to: addresses, Secrets, and names of anything.

use serde_json::Value;

use crate::evidence::declared::{Declared, addresses_of};
use crate::evidence::manifest::{list, pod_spec, spec_containers, text};
use crate::evidence::{Evidence, Life};

/// Whether an object's specification (or a ConfigMap's data) mentions a name as a word of its own.
pub fn mentions(object: &Value, name: &str) -> bool {
    ["spec", "data"]
        .iter()
        .any(|key| object.get(key).is_some_and(|value| holds_word(value, name)))
}

fn holds_word(value: &Value, name: &str) -> bool {
    match value {
        Value::String(text) => is_word_of(text, name),
        Value::Array(items) => items.iter().any(|item| holds_word(item, name)),
        Value::Object(fields) => fields.values().any(|field| holds_word(field, name)),
        _ => false,
    }
}

/// Whether a name stands in a text, not as a part of a longer name.
pub fn is_word_of(text: &str, name: &str) -> bool {
    let part_of_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    !name.is_empty()
        && text
            .match_indices(name)
            .any(|(index, _)| !text[..index].ends_with(part_of_name) && !text[index + name.len()..].starts_with(part_of_name))
}

/// The addresses that the containers of an object's pods were given: in the environment, ConfigMaps included, in arguments and scripts.
pub fn declared_addresses(evidence: &Evidence, object: &Life) -> Vec<Declared> {
    let namespace = object.text("/metadata/namespace");
    // A ConfigMap that is a hook itself may be gone when its Job is still asked about.
    let config_map = |name: &str| {
        let last = || {
            let same = |life: &&Life| life.name() == name && life.text("/metadata/namespace") == namespace;
            evidence.ever("ConfigMap").filter(same).last()
        };
        evidence.get("ConfigMap", namespace, name).or_else(last).map(Life::object)
    };
    pod_spec(object.object()).map_or_else(Vec::new, |spec| addresses_of(spec, &config_map))
}

/// A Secret that a pod cannot start without.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SecretReference {
    pub name: String,
    /// Only where keys are named.
    pub key: Option<String>,
    /// `env DB_PASS of app`, `volume certs`
    pub origin: String,
}

/// The Secrets that a pod cannot start without; optional references are left out.
pub fn secrets(spec: &Value) -> Vec<SecretReference> {
    let needed = |reference: &Value| reference.get("optional").and_then(Value::as_bool) != Some(true);
    let mut found = Vec::new();
    let mut push = |name: &str, key: Option<&str>, origin: String| {
        if !name.is_empty() {
            found.push(SecretReference {
                name: name.to_owned(),
                key: key.map(str::to_owned),
                origin,
            });
        }
    };
    for container in spec_containers(spec) {
        let of = text(container, "/name");
        for variable in list(container, "env") {
            if let Some(reference) = variable.pointer("/valueFrom/secretKeyRef").filter(|reference| needed(reference)) {
                let key = reference.get("key").and_then(Value::as_str);
                push(text(reference, "/name"), key, format!("env {} of {of}", text(variable, "/name")));
            }
        }
        for source in list(container, "envFrom") {
            if let Some(reference) = source.get("secretRef").filter(|reference| needed(reference)) {
                push(text(reference, "/name"), None, format!("envFrom of {of}"));
            }
        }
    }
    for volume in list(spec, "volumes") {
        let origin = format!("volume {}", text(volume, "/name"));
        let projected = volume.get("projected").map_or(&[][..], |projected| list(projected, "sources"));
        let whole = volume.get("secret").map(|secret| (text(secret, "/secretName"), secret));
        let parts = projected
            .iter()
            .filter_map(|source| source.get("secret"))
            .map(|secret| (text(secret, "/name"), secret));
        for (name, secret) in whole.into_iter().chain(parts).filter(|(_, secret)| needed(secret)) {
            let keys: Vec<&str> = list(secret, "items").iter().map(|item| text(item, "/key")).collect();
            if keys.is_empty() {
                push(name, None, origin.clone());
            }
            for key in keys {
                push(name, Some(key), origin.clone());
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn optional_secrets_are_not_needed() {
        let spec = json!({"containers": [{"name": "c", "env": [
            {"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "a"}}},
            {"name": "B", "valueFrom": {"secretKeyRef": {"name": "t", "key": "b", "optional": true}}},
        ]}], "volumes": [{"name": "v", "secret": {"secretName": "u"}}]});
        let found: Vec<_> = secrets(&spec).into_iter().map(|secret| (secret.name, secret.key)).collect();
        assert_eq!(found, [("s".to_owned(), Some("a".to_owned())), ("u".to_owned(), None)]);
    }

    #[test]
    fn words_are_whole() {
        assert!(is_word_of("kubectl create secret generic app-db --from", "app-db"));
        assert!(!is_word_of("app-db-2", "app-db"));
        assert!(!is_word_of("my-app-db", "app-db"));
    }
}
