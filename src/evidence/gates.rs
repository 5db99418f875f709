//! What a chart's templates ask the cluster for while they are rendered.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

use super::model::TemplateLookup;

/// How many names of one template are kept.
const NAMES: usize = 50;

static COMMENT: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"(?s)\{\{-?\s*/\*.*?\*/\s*-?\}\}").ok());
static ASSIGNED: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r#"(\$\w+)\s*:=\s*("[^"]*"|\.[\w.]+)"#).ok());
static LOOKUP: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r#"\blookup\s+"[^"]*"\s+"(\w+)"\s+("[^"]*"|[$.][\w.]+)\s+("[^"]*"|[$.][\w.]+)"#).ok());
/// A name that is written out, and the end of one that begins with something that is rendered.
static NAME: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r#"(?m)"([a-z0-9][a-z0-9.-]*[a-z0-9])"|\bname:\s*(?:([a-z0-9][a-z0-9.-]*[a-z0-9])\s*$|[^\n]*\}\}(-[a-z0-9-]+)\s*$)"#).ok()
});

/// What may stand in the place of an argument.
pub struct Surroundings<'a> {
    pub namespace: &'a str,
    pub release: &'a str,
    /// The user's values, which come first, and the chart's own.
    pub values: [&'a Value; 2],
}

/// The lookups of a template that name an object, each once.
pub fn lookups(template: &str, source: &str, around: &Surroundings<'_>) -> Vec<TemplateLookup> {
    let Some(comment) = COMMENT.as_ref() else { return Vec::new() };
    let source = comment.replace_all(source, "");
    let assigned: BTreeMap<&str, &str> = ASSIGNED
        .iter()
        .flat_map(|pattern| pattern.captures_iter(&source))
        .filter_map(|found| Some((found.get(1)?.as_str(), found.get(2)?.as_str())))
        .collect();
    let resolve = |argument: &str| {
        let argument = assigned.get(argument).copied().unwrap_or(argument);
        resolved(argument, around)
    };
    let mut found: Vec<TemplateLookup> = Vec::new();
    for lookup in LOOKUP.iter().flat_map(|pattern| pattern.captures_iter(&source)) {
        let lookup = TemplateLookup {
            template: template.to_owned(),
            kind: lookup[1].to_owned(),
            namespace: resolve(&lookup[2]),
            name: resolve(&lookup[3]),
            names: Vec::new(),
        };
        if !lookup.name.is_empty() && !found.contains(&lookup) {
            found.push(lookup);
        }
    }
    if !found.is_empty() {
        let names = names(&source);
        found.iter_mut().for_each(|lookup| lookup.names.clone_from(&names));
    }
    found
}

/// A literal, or the value of a path; empty where that cannot be told.
fn resolved(argument: &str, around: &Surroundings<'_>) -> String {
    let path = argument.trim_start_matches('$');
    match path {
        ".Release.Namespace" => around.namespace.to_owned(),
        ".Release.Name" => around.release.to_owned(),
        _ => match path.strip_prefix(".Values.") {
            Some(path) => {
                let pointer = format!("/{}", path.replace('.', "/"));
                let mut held = around.values.iter().filter_map(|values| values.pointer(&pointer)?.as_str());
                held.next().unwrap_or_default().to_owned()
            }
            None if argument.starts_with('"') => argument.trim_matches('"').to_owned(),
            None => String::new(),
        },
    }
}

/// The names that a template writes out; `*-token` where only the end is.
fn names(source: &str) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for found in NAME.iter().flat_map(|pattern| pattern.captures_iter(source)) {
        let whole = found.get(1).or(found.get(2)).map(|name| name.as_str().to_owned());
        let end = found.get(3).map(|end| format!("*{}", end.as_str()));
        names.extend(whole.or(end).filter(|name| !names.contains(name)));
    }
    names.truncate(NAMES);
    names
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(source: &str) -> Vec<TemplateLookup> {
        let (user, own) = (
            json!({"db": {"secret": "mine"}}),
            json!({"db": {"secret": "default", "namespace": "data"}}),
        );
        let around = Surroundings {
            namespace: "shop",
            release: "store",
            values: [&user, &own],
        };
        lookups("templates/t.yaml", source, &around)
    }

    fn asked(source: &str) -> Vec<String> {
        of(source)
            .into_iter()
            .map(|lookup| format!("{} {}/{}", lookup.kind, lookup.namespace, lookup.name))
            .collect()
    }

    #[test]
    fn literals_variables_and_values() {
        assert_eq!(
            asked(r#"{{- $s := lookup "v1" "Secret" "gitea" "gitea-admin" -}}"#),
            ["Secret gitea/gitea-admin"]
        );
        let variables = "{{ $name := \"token\" }}{{ $ns := .Release.Namespace }}{{ if (lookup \"v1\" \"Secret\" $ns $name) }}{{ end }}";
        assert_eq!(asked(variables), ["Secret shop/token"]);
        assert_eq!(
            asked(r#"{{ if lookup "v1" "ConfigMap" .Values.db.namespace .Values.db.secret }}"#),
            ["ConfigMap data/mine"]
        );
        assert_eq!(asked(r#"{{ lookup "v1" "Secret" $.Release.Namespace "a" }}"#), ["Secret shop/a"]);
    }

    #[test]
    fn what_is_said_in_a_comment_or_asks_for_many_is_none() {
        assert_eq!(asked("{{- /*\nlookup \"v1\" \"Secret\" \"a\" \"b\"\n*/ -}}"), [] as [&str; 0]);
        assert_eq!(asked(r#"{{ range (lookup "v1" "Pod" "" "").items }}"#), [] as [&str; 0]);
        assert_eq!(
            asked(r#"{{ lookup "v1" "Secret" "a" (printf "%s-b" .Release.Name) }}"#),
            [] as [&str; 0]
        );
    }

    #[test]
    fn the_names_that_a_template_writes_out() {
        let source = "{{ $s := lookup \"v1\" \"Secret\" \"ns\" \"admin\" }}\nmetadata:\n  name: store-token\n---\nmetadata:\n  name: {{ .Release.Name }}-mint\n";
        let names = of(source).remove(0).names;
        assert!(
            names.contains(&"store-token".to_owned()) && names.contains(&"*-mint".to_owned()),
            "{names:?}"
        );
    }
}
