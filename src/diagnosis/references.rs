//! What the specification of a pod refers to: addresses, Secrets, and names of anything.

use serde_json::Value;

use crate::evidence::declared::{Declared, addresses_of};
use crate::evidence::loops::{Patience, patience};
use crate::evidence::manifest::{list, pod_spec, spec_containers, text};
use crate::evidence::{Evidence, Life};

/// Whether an object's specification (or a ConfigMap's data) mentions a name as a word of its own.
pub fn mentions(object: &Value, name: &str) -> bool {
    ["spec", "data"]
        .iter()
        .any(|key| object.get(key).is_some_and(|value| holds_word(value, name)))
}

/// Whether an object's specification mentions a name elsewhere than where it uses a Secret or a ConfigMap of that name: who only reads one
/// does not make it.
pub fn mentions_otherwise(object: &Value, name: &str) -> bool {
    ["spec", "data"]
        .iter()
        .any(|key| object.get(key).is_some_and(|value| holds_word_outside(value, name, READERS)))
}

const READERS: &[&str] = &[
    "configMap",
    "configMapKeyRef",
    "configMapRef",
    "secret",
    "secretKeyRef",
    "secretRef",
];

fn holds_word(value: &Value, name: &str) -> bool {
    holds_word_outside(value, name, &[])
}

fn holds_word_outside(value: &Value, name: &str, without: &[&str]) -> bool {
    match value {
        Value::String(text) => is_word_of(text, name),
        Value::Array(items) => items.iter().any(|item| holds_word_outside(item, name, without)),
        Value::Object(fields) => fields
            .iter()
            .any(|(key, field)| !without.contains(&key.as_str()) && holds_word_outside(field, name, without)),
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
    let config_map = |name: &str| config_map(evidence, object, name);
    pod_spec(object.object()).map_or_else(Vec::new, |spec| addresses_of(spec, &config_map))
}

/// How long a container of an object's pods goes on asking a host, as far as its scripts can be read.
pub fn declared_patience(evidence: &Evidence, object: &Life, container: &str, host: &str) -> Option<Patience> {
    let config_map = |name: &str| config_map(evidence, object, name);
    patience(pod_spec(object.object())?, container, host, &config_map)
}

/// A ConfigMap of the object's namespace; one that is a hook itself may be gone when its Job is still asked about.
fn config_map<'a>(evidence: &'a Evidence, object: &Life, name: &str) -> Option<&'a Value> {
    let namespace = object.text("/metadata/namespace");
    let last = || {
        let same = |life: &&Life| life.name() == name && life.text("/metadata/namespace") == namespace;
        evidence.ever("ConfigMap").filter(same).last()
    };
    evidence.get("ConfigMap", namespace, name).or_else(last).map(Life::object)
}

/// A Secret or a ConfigMap that a pod cannot start without.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reference {
    pub name: String,
    /// Only where keys are named.
    pub key: Option<String>,
    /// `env DB_PASS of app`, `volume certs`
    pub origin: String,
}

/// Where a pod's specification names objects of one kind.
#[derive(Debug)]
pub struct Fields {
    /// In `valueFrom` of a variable.
    key_ref: &'static str,
    /// In `envFrom` of a container.
    whole_ref: &'static str,
    /// In a volume, and in the sources of a projected one.
    volume: &'static str,
    /// What the object is called in a volume; a projected source always says `name`.
    volume_name: &'static str,
}

pub const SECRETS: Fields = Fields {
    key_ref: "secretKeyRef",
    whole_ref: "secretRef",
    volume: "secret",
    volume_name: "secretName",
};

pub const CONFIG_MAPS: Fields = Fields {
    key_ref: "configMapKeyRef",
    whole_ref: "configMapRef",
    volume: "configMap",
    volume_name: "name",
};

/// The objects of a kind that a pod cannot start without; optional references are left out.
pub fn needed(spec: &Value, fields: &Fields) -> Vec<Reference> {
    let needed = |reference: &&Value| reference.get("optional").and_then(Value::as_bool) != Some(true);
    let mut found = Vec::new();
    let mut push = |name: &str, key: Option<&str>, origin: String| {
        if !name.is_empty() {
            found.push(Reference {
                name: name.to_owned(),
                key: key.map(str::to_owned),
                origin,
            });
        }
    };
    for container in spec_containers(spec) {
        let of = text(container, "/name");
        for variable in list(container, "env") {
            let reference = variable.get("valueFrom").and_then(|from| from.get(fields.key_ref)).filter(needed);
            if let Some(reference) = reference {
                let key = reference.get("key").and_then(Value::as_str);
                push(text(reference, "/name"), key, format!("env {} of {of}", text(variable, "/name")));
            }
        }
        for source in list(container, "envFrom") {
            if let Some(reference) = source.get(fields.whole_ref).filter(needed) {
                push(text(reference, "/name"), None, format!("envFrom of {of}"));
            }
        }
    }
    for volume in list(spec, "volumes") {
        let origin = format!("volume {}", text(volume, "/name"));
        let projected = volume.get("projected").map_or(&[][..], |projected| list(projected, "sources"));
        let whole = volume.get(fields.volume).map(|object| (object, fields.volume_name));
        let parts = projected.iter().filter_map(|source| Some((source.get(fields.volume)?, "name")));
        for (object, name) in whole.into_iter().chain(parts).filter(|(object, _)| needed(object)) {
            let name = object.get(name).and_then(Value::as_str).unwrap_or_default();
            let keys: Vec<&str> = list(object, "items").iter().map(|item| text(item, "/key")).collect();
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
        let found: Vec<_> = needed(&spec, &SECRETS)
            .into_iter()
            .map(|secret| (secret.name, secret.key))
            .collect();
        assert_eq!(found, [("s".to_owned(), Some("a".to_owned())), ("u".to_owned(), None)]);
        assert_eq!(needed(&spec, &CONFIG_MAPS), []);
    }

    #[test]
    fn config_maps_in_every_place() {
        let spec = json!({
            "initContainers": [{"name": "i", "envFrom": [{"configMapRef": {"name": "a"}}, {"configMapRef": {"name": "no", "optional": true}}]}],
            "containers": [{"name": "c", "env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "b", "key": "k"}}}]}],
            "volumes": [
                {"name": "v", "configMap": {"name": "c", "items": [{"key": "x"}]}},
                {"name": "w", "projected": {"sources": [{"configMap": {"name": "d"}}, {"secret": {"name": "e"}}]}},
                {"name": "x", "configMap": {"name": "no", "optional": true}},
            ],
        });
        let found: Vec<String> = needed(&spec, &CONFIG_MAPS)
            .into_iter()
            .map(|found| format!("{} {} {}", found.name, found.key.unwrap_or_default(), found.origin))
            .collect();
        assert_eq!(found, ["a  envFrom of i", "b k env A of c", "c x volume v", "d  volume w"]);
    }

    #[test]
    fn who_only_reads_it_does_not_make_it() {
        let reads = json!({"spec": {"volumes": [{"configMap": {"name": "rules"}}], "containers": [{"env": [{"valueFrom": {"configMapKeyRef": {"name": "rules"}}}]}]}});
        assert!(mentions(&reads, "rules") && !mentions_otherwise(&reads, "rules"));
        let makes = json!({"spec": {"containers": [{"args": ["kubectl create configmap rules --from-file=/r"]}]}});
        assert!(mentions_otherwise(&makes, "rules"));
    }

    #[test]
    fn words_are_whole() {
        assert!(is_word_of("kubectl create secret generic app-db --from", "app-db"));
        assert!(!is_word_of("app-db-2", "app-db"));
        assert!(!is_word_of("my-app-db", "app-db"));
    }
}
