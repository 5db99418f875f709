//! What the specification of a pod refers to: addresses, Secrets, and names of anything.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

use super::address::{Address, is_loopback};
use crate::evidence::{Evidence, Life};

/// The specification of the pods that an object runs, or of the pod that it is.
pub fn pod_spec(object: &Value) -> Option<&Value> {
    match object.get("kind").and_then(Value::as_str)? {
        "Pod" => object.get("spec"),
        "CronJob" => object.pointer("/spec/jobTemplate/spec/template/spec"),
        _ => object.pointer("/spec/template/spec"),
    }
}

/// The list at a key; empty where there is none.
pub fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The string at a JSON pointer; empty where there is none.
pub fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// All containers of a pod's specification, init containers first.
pub fn spec_containers(spec: &Value) -> impl Iterator<Item = &Value> {
    list(spec, "initContainers").iter().chain(list(spec, "containers"))
}

/// Whether an object's specification (or a ConfigMap's data) mentions a name as a word of its own.
pub fn mentions(object: &Value, name: &str) -> bool {
    ["spec", "data"].iter().any(|key| object.get(key).is_some_and(|value| holds_word(value, name)))
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
        && text.match_indices(name).any(|(index, _)| {
            !text[..index].ends_with(part_of_name) && !text[index + name.len()..].starts_with(part_of_name)
        })
}

/// An address that a container was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declared {
    pub container: String,
    pub address: Address,
    /// The environment variable that holds it, if one does.
    pub env: Option<String>,
    /// `env KEYCLOAK_SERVER_URL of keycloak-config`
    pub origin: String,
    /// Whether the container's script connects to it; unknown where there is no script to read.
    pub used: Option<bool>,
}

/// Finds a ConfigMap of the pod's namespace.
pub type ConfigMaps<'a> = &'a dyn Fn(&str) -> Option<&'a Value>;

/// The addresses that the containers of an object's pods were given: in the environment, ConfigMaps included, in arguments and scripts.
pub fn declared_addresses<'a>(evidence: &'a Evidence, object: &'a Life) -> Vec<Declared> {
    let namespace = object.text("/metadata/namespace").to_owned();
    let config_map = move |name: &str| evidence.get("ConfigMap", &namespace, name).map(Life::object);
    pod_spec(object.object()).map_or_else(Vec::new, |spec| addresses_of(spec, &config_map))
}

/// The same for the specification of a pod alone; the collector looks these hosts up.
pub fn addresses_of<'a>(spec: &'a Value, config_maps: ConfigMaps<'a>) -> Vec<Declared> {
    let mut found = Vec::new();
    for container in spec_containers(spec) {
        let name = text(container, "/name");
        let environment = environment(container, config_maps);
        let script = script(spec, container, config_maps);
        let used = Used::of(&script, &environment);
        for (variable, value) in &environment {
            let expanded = expand(value, &environment);
            let Some(address) = Address::parse(&expanded, names_a_host(variable)) else {
                continue;
            };
            found.push(Declared {
                container: name.to_owned(),
                used: used.as_ref().map(|used| used.variables.contains(variable) || used.hosts.contains(&address.host)),
                address,
                env: Some(variable.clone()),
                origin: format!("env {variable} of {name}"),
            });
        }
        for written in urls(&expand(&script, &environment)) {
            let Some(address) = Address::parse(&written, false) else { continue };
            if found.iter().any(|known: &Declared| known.container == name && known.address.host == address.host) {
                continue;
            }
            found.push(Declared {
                container: name.to_owned(),
                used: used.as_ref().map(|used| used.hosts.contains(&address.host)),
                address,
                env: None,
                origin: format!("command of {name}"),
            });
        }
        for host in used.iter().flat_map(|used| &used.bare) {
            let known = found.iter().any(|known: &Declared| known.container == name && known.address.host == *host);
            if let Some(address) = Address::parse(host, true).filter(|_| !known) {
                found.push(Declared {
                    container: name.to_owned(),
                    address,
                    env: None,
                    origin: format!("command of {name}"),
                    used: Some(true),
                });
            }
        }
    }
    found.retain(|declared| !is_loopback(&declared.address.host));
    found
}

/// Whether a variable's name says that its value is a host rather than any other word.
fn names_a_host(variable: &str) -> bool {
    let upper = variable.to_uppercase();
    ["HOST", "HOSTNAME", "ADDR", "ADDRESS", "SERVER", "ENDPOINT", "BROKER", "BROKERS", "URL", "URI"]
        .iter()
        .any(|word| upper.split('_').next_back() == Some(word) || upper.ends_with(&format!("_{word}")) || upper == *word)
        || upper == "PGHOST"
}

/// The variables of a container, as far as their values are known, in order.
fn environment<'a>(container: &'a Value, config_maps: ConfigMaps<'a>) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    for source in list(container, "envFrom") {
        let prefix = text(source, "/prefix");
        let data = config_maps(text(source, "/configMapRef/name")).and_then(|map| map.get("data")?.as_object());
        for (key, value) in data.into_iter().flatten() {
            if let Some(value) = value.as_str() {
                variables.insert(format!("{prefix}{key}"), value.to_owned());
            }
        }
    }
    for variable in list(container, "env") {
        let name = text(variable, "/name").to_owned();
        let value = match variable.get("value").and_then(Value::as_str) {
            Some(value) => Some(value),
            None => {
                let key = text(variable, "/valueFrom/configMapKeyRef/key");
                config_maps(text(variable, "/valueFrom/configMapKeyRef/name")).and_then(|map| map.get("data")?.get(key)?.as_str())
            }
        };
        if let Some(value) = value {
            variables.insert(name, value.to_owned());
        }
    }
    variables
}

/// What a container runs, as far as it can be read: command, arguments, and the mounted ConfigMap keys that look like scripts.
fn script<'a>(spec: &'a Value, container: &'a Value, config_maps: ConfigMaps<'a>) -> String {
    let mut script: Vec<&str> = Vec::new();
    for key in ["command", "args"] {
        script.extend(list(container, key).iter().filter_map(Value::as_str));
    }
    for mount in list(container, "volumeMounts") {
        let volume = list(spec, "volumes").iter().find(|volume| text(volume, "/name") == text(mount, "/name"));
        let map = volume.and_then(|volume| config_maps(text(volume, "/configMap/name")));
        for content in map.and_then(|map| map.get("data")?.as_object()).into_iter().flatten().filter_map(|(_, value)| value.as_str()) {
            if content.starts_with("#!") || content.contains("curl") || content.contains("wget") {
                script.push(content);
            }
        }
    }
    script.join("\n")
}

static VARIABLE: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"\$(?:\{(\w+)(?::?[-=]([^}]*))?\}|\((\w+)\)|(\w+))").ok());

/// Puts in the variables whose values are known, with the shell's defaults for those that are not.
fn expand(script: &str, environment: &BTreeMap<String, String>) -> String {
    let Some(variable) = VARIABLE.as_ref() else { return script.to_owned() };
    if !script.contains('$') {
        return script.to_owned();
    }
    variable
        .replace_all(script, |found: &regex::Captures<'_>| {
            let name = found.get(1).or(found.get(3)).or(found.get(4)).map_or("", |name| name.as_str());
            let default = || found.get(2).map(|default| default.as_str().to_owned());
            let whole = || found.get(0).map_or("", |whole| whole.as_str()).to_owned();
            environment.get(name).cloned().or_else(default).unwrap_or_else(whole)
        })
        .into_owned()
}

static URL: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r#"[a-z][a-z0-9+]*://[^\s"'`<>|;,)\\]+"#).ok());

fn urls(text: &str) -> BTreeSet<String> {
    URL.as_ref().map_or_else(BTreeSet::new, |url| url.find_iter(text).map(|found| found.as_str().to_owned()).collect())
}

/// What a script connects to.
struct Used {
    variables: BTreeSet<String>,
    hosts: BTreeSet<String>,
    /// Hosts that stand alone, as `nc -z host port` has them.
    bare: BTreeSet<String>,
}

static CONNECTS: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"\b(?:curl|wget|nc|ncat|netcat|ping|getent|nslookup|psql|pg_isready|mysql|mysqladmin|mariadb|redis-cli|mongosh?|ssh|git|grpcurl|http|https|wait-for-it(?:\.sh)?|wait-for|dockerize|/dev/tcp)\b|/dev/tcp/").ok()
});

static ASSIGNS: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"^\s*(?:export\s+|local\s+)?(\w+)=(.*)$").ok());

static BARE: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"\b(?:nc|ncat|netcat|ping|nslookup|getent (?:hosts|ahosts|ahostsv4))\s+(?:-\S+\s+(?:\d+\s+)?)*([A-Za-z0-9][A-Za-z0-9.-]*)|/dev/tcp/([A-Za-z0-9.-]+)|pg_isready.*?-h\s*(\S+)|\b(?:psql|mysqladmin|mysql|redis-cli)\b.*?\s-h\s*(\S+)").ok()
});

impl Used {
    /// Nothing where the script holds no command that connects: then the program itself does, and what it uses is unknown.
    fn of(script: &str, environment: &BTreeMap<String, String>) -> Option<Self> {
        let (connects, assigns, variable, bare) = (CONNECTS.as_ref()?, ASSIGNS.as_ref()?, VARIABLE.as_ref()?, BARE.as_ref()?);
        // A command that goes on in the next line is one.
        let script = script.replace("\\\n", " ");
        let lines: Vec<&str> = script.lines().map(str::trim).filter(|line| !line.starts_with('#')).collect();
        let mut used = String::new();
        for line in lines.iter().filter(|line| connects.is_match(line) && !line.starts_with("echo")) {
            used.push_str(line);
            used.push('\n');
        }
        if used.is_empty() {
            return None;
        }
        let variables_in = |text: &str| -> BTreeSet<String> {
            variable
                .captures_iter(text)
                .filter_map(|found| found.get(1).or(found.get(3)).or(found.get(4)).map(|name| name.as_str().to_owned()))
                .collect()
        };
        let mut variables = variables_in(&used);
        // A script often gives a variable a shorter name first; two steps of it are enough for what people write.
        for _ in 0..2 {
            for line in &lines {
                if let Some(found) = assigns.captures(line)
                    && variables.contains(&found[1])
                {
                    used.push_str(&found[2]);
                    used.push('\n');
                    variables.extend(variables_in(&found[2]));
                }
            }
        }
        let expanded = expand(&used, environment);
        let hosts = urls(&expanded).iter().filter_map(|url| Address::parse(url, false)).map(|address| address.host).collect();
        let bare = bare
            .captures_iter(&expanded)
            .filter_map(|found| found.iter().skip(1).flatten().next().map(|host| host.as_str().trim_matches(['"', '\'']).to_lowercase()))
            .filter(|host| super::address::is_host(host))
            .collect();
        Some(Self { variables, hosts, bare })
    }
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
        let parts = projected.iter().filter_map(|source| source.get("secret")).map(|secret| (text(secret, "/name"), secret));
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

    fn hosts(spec: &Value) -> Vec<(String, Option<bool>)> {
        addresses_of(spec, &|_| None).into_iter().map(|declared| (declared.address.host, declared.used)).collect()
    }

    #[test]
    fn finds_what_a_script_connects_to() {
        let spec = json!({"containers": [{
            "name": "c",
            "command": ["sh", "-c", "KC=\"${SERVER_URL}\"\n# curl $PUBLIC_URL\nuntil curl -sf \"$KC/health\" >/dev/null; do\n echo waiting; sleep 1; done"],
            "env": [{"name": "SERVER_URL", "value": "https://a.example"}, {"name": "PUBLIC_URL", "value": "https://b.example"}],
        }]});
        assert_eq!(hosts(&spec), [("b.example".to_owned(), Some(false)), ("a.example".to_owned(), Some(true))]);
    }

    #[test]
    fn without_a_script_every_address_may_be_used() {
        let spec = json!({"containers": [{"name": "c", "env": [
            {"name": "DB_HOST", "value": "db"}, {"name": "LEVEL", "value": "debug"}, {"name": "DB_PORT", "value": "5432"},
        ]}]});
        assert_eq!(hosts(&spec), [("db".to_owned(), None)]);
    }

    #[test]
    fn variables_within_urls_and_bare_hosts() {
        let spec = json!({"containers": [{
            "name": "c", "args": ["curl https://auth.${DOMAIN}/x; nc -z -w 2 queue 5672"], "env": [{"name": "DOMAIN", "value": "x.invalid"}],
        }]});
        assert_eq!(hosts(&spec), [("auth.x.invalid".to_owned(), Some(true)), ("queue".to_owned(), Some(true))]);
    }

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
