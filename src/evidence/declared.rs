//! The addresses that containers are given to connect to.

use std::collections::BTreeMap;

use serde_json::Value;

use super::address::{Address, is_loopback};
use super::manifest::{list, spec_containers, text};
use super::script::{Used, expand, parts, urls};

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

/// The addresses that a pod's containers were given: in the environment, ConfigMaps included, in arguments and scripts. The collector
/// looks their hosts up, and detectors read them: both have to see the same ones.
pub fn addresses_of<'a>(spec: &'a Value, config_maps: ConfigMaps<'a>) -> Vec<Declared> {
    let mut found: Vec<Declared> = Vec::new();
    for container in spec_containers(spec) {
        let name = text(container, "/name");
        let environment = environment(container, config_maps);
        let parts = parts(spec, container, config_maps);
        let texts: Vec<&str> = parts.iter().map(|part| part.text).collect();
        let used = Used::of(&texts.join("\n"), &environment);
        for (variable, value) in &environment {
            let expanded = expand(value, &environment);
            let Some(address) = Address::parse(&expanded, names_a_host(variable)) else {
                continue;
            };
            found.push(Declared {
                container: name.to_owned(),
                used: used
                    .as_ref()
                    .map(|used| used.variables.contains(variable) || used.hosts.contains(&address.host)),
                address,
                env: Some(variable.clone()),
                origin: format!("env {variable} of {name}"),
            });
        }
        let mut add = |address: Address, origin: &str, used: Option<bool>| {
            let known = |known: &Declared| known.container == name && known.address.host == address.host;
            if !found.iter().any(known) {
                found.push(Declared {
                    container: name.to_owned(),
                    address,
                    env: None,
                    origin: origin.to_owned(),
                    used,
                });
            }
        };
        for part in &parts {
            let written = expand(part.text, &environment);
            for address in urls(&written).iter().filter_map(|url| Address::parse(url, false)) {
                let is_used = used.as_ref().map(|used| used.hosts.contains(&address.host));
                add(address, &part.origin, is_used);
            }
            for host in used
                .iter()
                .flat_map(|used| &used.bare)
                .filter(|host| written.to_lowercase().contains(*host))
            {
                if let Some(address) = Address::parse(host, true) {
                    add(address, &part.origin, Some(true));
                }
            }
        }
    }
    found.retain(|declared| !is_loopback(&declared.address.host));
    found
}

/// Whether a variable's name says that its value is a host rather than any other word.
pub(super) fn names_a_host(variable: &str) -> bool {
    let upper = variable.to_uppercase();
    [
        "HOST", "HOSTNAME", "ADDR", "ADDRESS", "SERVER", "ENDPOINT", "BROKER", "BROKERS", "URL", "URI",
    ]
    .iter()
    .any(|word| upper.split('_').next_back() == Some(word) || upper.ends_with(&format!("_{word}")) || upper == *word)
        || upper == "PGHOST"
}

/// The variables of a container, as far as their values are known, in order.
pub(super) fn environment<'a>(container: &'a Value, config_maps: ConfigMaps<'a>) -> BTreeMap<String, String> {
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn hosts(spec: &Value) -> Vec<(String, Option<bool>)> {
        addresses_of(spec, &|_| None)
            .into_iter()
            .map(|declared| (declared.address.host, declared.used))
            .collect()
    }

    #[test]
    fn finds_what_a_script_connects_to() {
        let spec = json!({"containers": [{
            "name": "c",
            "command": ["sh", "-c", "KC=\"${SERVER_URL}\"\n# curl $PUBLIC_URL\nuntil curl -sf \"$KC/health\" >/dev/null; do\n echo waiting; sleep 1; done"],
            "env": [{"name": "SERVER_URL", "value": "https://a.example"}, {"name": "PUBLIC_URL", "value": "https://b.example"}],
        }]});
        assert_eq!(
            hosts(&spec),
            [("b.example".to_owned(), Some(false)), ("a.example".to_owned(), Some(true))]
        );
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
        assert_eq!(
            hosts(&spec),
            [("auth.x.invalid".to_owned(), Some(true)), ("queue".to_owned(), Some(true))]
        );
    }

    #[test]
    fn a_mounted_script_that_is_called_counts() {
        let map = json!({"data": {
            "gate.sh": "#!/bin/sh\nuntil curl -fs https://ledger.corp.invalid:8443/ready; do sleep 1; done",
            "other.sh": "#!/bin/sh\ncurl https://other.corp.invalid",
        }});
        let spec = json!({
            "containers": [{"name": "gate", "command": ["sh", "/opt/gate/gate.sh"], "volumeMounts": [{"name": "v", "mountPath": "/opt/gate"}]}],
            "volumes": [{"name": "v", "configMap": {"name": "ledger-gate"}}],
        });
        let found = addresses_of(&spec, &|name| (name == "ledger-gate").then_some(&map));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].address.to_string(), "https://ledger.corp.invalid:8443/ready");
        assert_eq!(
            (found[0].origin.as_str(), found[0].used),
            ("script gate.sh of ConfigMap ledger-gate", Some(true))
        );
        assert_eq!(hosts(&spec), []);
    }
}
