//! What a container runs, as far as it can be read, and what that connects to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

use super::address::{Address, is_host};
use super::declared::ConfigMaps;
use super::manifest::{list, text};

/// A text that a container runs.
#[derive(Debug)]
pub struct Part<'a> {
    pub text: &'a str,
    /// `command of gate`, `script gate.sh of ConfigMap ledger-gate`
    pub origin: String,
}

/// Command, arguments, and the keys of mounted ConfigMaps that look like scripts.
pub fn parts<'a>(spec: &'a Value, container: &'a Value, config_maps: ConfigMaps<'a>) -> Vec<Part<'a>> {
    let mut parts = Vec::new();
    for key in ["command", "args"] {
        parts.extend(list(container, key).iter().filter_map(Value::as_str).map(|text| Part {
            text,
            origin: format!("command of {}", self::text(container, "/name")),
        }));
    }
    let mut scripts: Vec<(&str, Part<'a>)> = Vec::new();
    for mount in list(container, "volumeMounts") {
        let volume = list(spec, "volumes")
            .iter()
            .find(|volume| text(volume, "/name") == text(mount, "/name"));
        let map_name = volume.map_or("", |volume| text(volume, "/configMap/name"));
        let data = config_maps(map_name).and_then(|map| map.get("data")?.as_object());
        for (key, content) in data.into_iter().flatten() {
            let Some(content) = content.as_str() else { continue };
            if content.starts_with("#!") || content.contains("curl") || content.contains("wget") {
                let origin = format!("script {key} of ConfigMap {map_name}");
                scripts.push((key, Part { text: content, origin }));
            }
        }
    }
    // One ConfigMap often holds the scripts of several containers: those that are called by name are meant, and what these call.
    let mut called = parts.iter().any(|part| scripts.iter().any(|(key, _)| part.text.contains(key)));
    if !called {
        parts.extend(scripts.drain(..).map(|(_, part)| part));
    }
    while called {
        let (now, later) = scripts
            .into_iter()
            .partition::<Vec<_>, _>(|(key, _)| parts.iter().any(|part| part.text.contains(key)));
        called = !now.is_empty();
        parts.extend(now.into_iter().map(|(_, part)| part));
        scripts = later;
    }
    parts
}

static VARIABLE: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"\$(?:\{(\w+)(?::?[-=]([^}]*))?\}|\((\w+)\)|(\w+))").ok());

/// Puts in the variables whose values are known, with the shell's defaults for those that are not.
pub fn expand(script: &str, environment: &BTreeMap<String, String>) -> String {
    let Some(variable) = VARIABLE.as_ref() else {
        return script.to_owned();
    };
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

/// What stands for a password in one is a part of it, blanks and all.
static URL: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r#"[a-z][a-z0-9+]*://(?:\[redacted: \d+ bytes, [0-9a-f]+\]|[^\s"'`<>|;,)\\])+"#).ok());

/// The URLs in a text.
pub fn urls(text: &str) -> BTreeSet<String> {
    URL.as_ref().map_or_else(BTreeSet::new, |url| {
        url.find_iter(text).map(|found| found.as_str().to_owned()).collect()
    })
}

/// What a script connects to.
pub struct Used {
    pub variables: BTreeSet<String>,
    pub hosts: BTreeSet<String>,
    /// Hosts that stand alone, as `nc -z host port` has them.
    pub bare: BTreeSet<String>,
}

/// The commands with which scripts connect.
pub static CONNECTS: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"\b(?:curl|wget|nc|ncat|netcat|ping|getent|nslookup|psql|pg_isready|mysql|mysqladmin|mariadb|redis-cli|mongosh?|ssh|git|grpcurl|http|https|wait-for-it(?:\.sh)?|wait-for|dockerize|/dev/tcp)\b|/dev/tcp/").ok()
});

static ASSIGNS: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"^\s*(?:export\s+|local\s+)?(\w+)=(.*)$").ok());

static BARE: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"\b(?:nc|ncat|netcat|ping|nslookup|getent (?:hosts|ahosts|ahostsv4))\s+(?:-\S+\s+(?:\d+\s+)?)*([A-Za-z0-9][A-Za-z0-9.-]*)|/dev/tcp/([A-Za-z0-9.-]+)|pg_isready.*?-h\s*(\S+)|\b(?:psql|mysqladmin|mysql|redis-cli)\b.*?\s-h\s*(\S+)").ok()
});

impl Used {
    /// Nothing where the script holds no command that connects: then the program itself does, and what it uses is unknown.
    pub fn of(script: &str, environment: &BTreeMap<String, String>) -> Option<Self> {
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
        let hosts = urls(&expanded)
            .iter()
            .filter_map(|url| Address::parse(url, false))
            .map(|address| address.host)
            .collect();
        let bare = bare
            .captures_iter(&expanded)
            .filter_map(|found| {
                found
                    .iter()
                    .skip(1)
                    .flatten()
                    .next()
                    .map(|host| host.as_str().trim_matches(['"', '\'']).to_lowercase())
            })
            .filter(|host| is_host(host))
            .collect();
        Some(Self { variables, hosts, bare })
    }
}
