//! The patches in a HelmRelease's post-renderers: which objects they select, and what they would make of a container's environment.

use regex::Regex;
use serde_json::Value;

use crate::evidence::manifest::{list, pod_spec, spec_containers, text};

/// Flux gives this label to everything that went through its post-renderers, in a release without any, too.
pub const ORIGIN: &str = "helm.toolkit.fluxcd.io/name";

/// One patch of a kustomize post-renderer.
#[derive(Debug)]
pub struct Patch {
    /// `spec.postRenderers[0].kustomize.patches[0]`
    pub path: String,
    /// Which objects it is for, where it says so beside the patch.
    pub target: Option<Value>,
    pub form: Form,
}

/// What kind of patch it is.
#[derive(Debug)]
pub enum Form {
    /// Parts of objects, which are laid over those of the same kind and name, or over its target.
    Merge(Vec<Value>),
    /// Operations on paths.
    Operations(Vec<Value>),
    /// Neither of them, and why: `line 4, column 2: …`.
    Unreadable { fault: String },
}

/// What a patch would make of a variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    pub container: String,
    pub env: String,
    pub value: String,
}

/// The patches of a HelmRelease, in the order in which they are applied.
pub fn patches(release: &Value) -> Vec<Patch> {
    let renderers = release.pointer("/spec/postRenderers").and_then(Value::as_array);
    let of = |(index, renderer): (usize, &Value)| {
        let patches = renderer.get("kustomize").map_or(&[][..], |kustomize| list(kustomize, "patches"));
        let read = |(number, patch): (usize, &Value)| Patch {
            path: format!("spec.postRenderers[{index}].kustomize.patches[{number}]"),
            target: patch.get("target").filter(|target| target.is_object()).cloned(),
            form: form(text(patch, "/patch")),
        };
        patches.iter().enumerate().map(read).collect::<Vec<_>>()
    };
    renderers.into_iter().flatten().enumerate().flat_map(of).collect()
}

fn form(patch: &str) -> Form {
    let read: Result<Vec<Value>, serde_saphyr::Error> = patch
        .split("\n---")
        .map(|document| document.trim_start_matches("---"))
        .filter(|document| !document.trim().is_empty())
        .map(serde_saphyr::from_str)
        .collect();
    match read {
        Ok(documents) => match documents.as_slice() {
            [Value::Array(operations)] if !operations.is_empty() => Form::Operations(operations.clone()),
            objects if !objects.is_empty() && objects.iter().all(Value::is_object) => Form::Merge(objects.to_vec()),
            _ => Form::Unreadable {
                fault: "it is neither an object nor a list".to_owned(),
            },
        },
        Err(error) => Form::Unreadable { fault: said(&error) },
    }
}

/// `line 4, column 2: …`
fn said(error: &serde_saphyr::Error) -> String {
    let text = error.without_snippet().to_string();
    // The place stands in front here.
    let text = text.split(" at line ").next().unwrap_or_default();
    match error.location() {
        Some(at) => format!("line {}, column {}: {text}", at.line(), at.column()),
        None => text.to_owned(),
    }
}

impl Patch {
    /// `Job keycloak-config`, `every Deployment`: what it is for.
    pub fn aim(&self) -> String {
        let (kind, name) = match (&self.target, &self.form) {
            (Some(target), _) => (text(target, "/kind"), text(target, "/name")),
            (None, Form::Merge(objects)) => objects
                .first()
                .map_or(("", ""), |object| (text(object, "/kind"), text(object, "/metadata/name"))),
            (None, _) => ("", ""),
        };
        match (kind, name) {
            ("", "") => "every object".to_owned(),
            ("", name) => format!("every object {name}"),
            (kind, "") => format!("every {kind}"),
            (kind, name) => format!("{kind} {name}"),
        }
    }

    /// Whether it is applied to an object as the chart renders it; nothing where that cannot be told.
    pub fn selects(&self, object: &Value) -> Option<bool> {
        let Some(target) = &self.target else {
            return match &self.form {
                Form::Merge(objects) => Some(objects.iter().any(|part| is_part_of(part, object))),
                _ => None,
            };
        };
        let (group, version) = group_and_version(object);
        // What a chart renders without a namespace has the default one to kustomize, wherever it goes in the end.
        let namespace = match text(object, "/metadata/namespace") {
            "" => "default",
            namespace => namespace,
        };
        let parts = [
            ("group", group),
            ("version", version),
            ("kind", text(object, "/kind")),
            ("name", text(object, "/metadata/name")),
            ("namespace", namespace),
        ];
        for (field, value) in parts {
            if !matches(text(target, &format!("/{field}")), value)? {
                return Some(false);
            }
        }
        let labels = selected(text(target, "/labelSelector"), object.pointer("/metadata/labels"))?;
        let annotations = selected(text(target, "/annotationSelector"), object.pointer("/metadata/annotations"))?;
        Some(labels && annotations)
    }

    /// The variables that it would give the containers of an object's pods.
    pub fn wishes(&self, object: &Value) -> Vec<Wish> {
        match &self.form {
            Form::Merge(parts) => parts.iter().flat_map(merged).collect(),
            Form::Operations(operations) => operations.iter().flat_map(|operation| written(operation, object)).collect(),
            Form::Unreadable { .. } => Vec::new(),
        }
    }
}

/// Whether a patch without a target is for this object: the same kind of the same group, and the same name.
fn is_part_of(part: &Value, object: &Value) -> bool {
    let same = |pointer: &str| text(part, pointer) == text(object, pointer);
    same("/kind") && same("/metadata/name") && group_and_version(part).0 == group_and_version(object).0
}

fn group_and_version(object: &Value) -> (&str, &str) {
    let api_version = text(object, "/apiVersion");
    api_version.split_once('/').unwrap_or(("", api_version))
}

/// Whether a target's field, which is a regular expression for the whole of it, allows a value.
fn matches(field: &str, value: &str) -> Option<bool> {
    if field.is_empty() {
        return Some(true);
    }
    Regex::new(&format!("^(?:{field})$")).ok().map(|pattern| pattern.is_match(value))
}

/// Whether a selector of plain equalities allows these labels; nothing for other selectors.
fn selected(selector: &str, labels: Option<&Value>) -> Option<bool> {
    let mut all = true;
    for term in selector.split(',').map(str::trim).filter(|term| !term.is_empty()) {
        let (key, value) = term.split_once('=')?;
        let (key, value) = (key.trim(), value.trim_start_matches('=').trim());
        if key.ends_with('!') || key.contains(' ') {
            return None;
        }
        all &= labels.and_then(|labels| labels.get(key)?.as_str()) == Some(value);
    }
    Some(all)
}

/// The variables that a part of an object names with a value.
fn merged(part: &Value) -> Vec<Wish> {
    let containers = pod_spec(part).into_iter().flat_map(spec_containers);
    containers
        .flat_map(|container| {
            let of = text(container, "/name");
            list(container, "env").iter().filter_map(move |entry| wish(of, entry))
        })
        .collect()
}

fn wish(container: &str, entry: &Value) -> Option<Wish> {
    Some(Wish {
        container: container.to_owned(),
        env: entry.get("name")?.as_str()?.to_owned(),
        value: entry.get("value")?.as_str()?.to_owned(),
    })
}

/// The variables that an operation would write: a whole list, an entry of it, or an entry's value.
fn written(operation: &Value, object: &Value) -> Vec<Wish> {
    if !matches!(text(operation, "/op"), "add" | "replace") {
        return Vec::new();
    }
    let segments: Vec<&str> = text(operation, "/path").split('/').skip(1).collect();
    let Some(at) = segments
        .iter()
        .position(|segment| matches!(*segment, "containers" | "initContainers"))
    else {
        return Vec::new();
    };
    let [list_of, number, "env", rest @ ..] = &segments[at..] else {
        return Vec::new();
    };
    let container = pod_spec(object).and_then(|spec| list(spec, list_of).get(number.parse::<usize>().ok()?));
    let Some(container) = container else { return Vec::new() };
    let (of, value) = (text(container, "/name"), operation.get("value").unwrap_or(&Value::Null));
    match rest {
        [] => value.as_array().into_iter().flatten().filter_map(|entry| wish(of, entry)).collect(),
        [_] => wish(of, value).into_iter().collect(),
        [entry, "value"] => {
            let entry = entry.parse::<usize>().ok().and_then(|entry| list(container, "env").get(entry));
            let named = entry.and_then(|entry| Some((entry.get("name")?.as_str()?, value.as_str()?)));
            named
                .map(|(env, value)| Wish {
                    container: of.to_owned(),
                    env: env.to_owned(),
                    value: value.to_owned(),
                })
                .into_iter()
                .collect()
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn patch(target: Value, patch: &str) -> Patch {
        let release = json!({"spec": {"postRenderers": [{"kustomize": {"patches": [{"target": target, "patch": patch}]}}]}});
        patches(&release).remove(0)
    }

    fn job() -> Value {
        json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "brew", "labels": {"app": "pub"}}, "spec": {"template": {"spec": {
            "containers": [{"name": "side"}, {"name": "brew", "env": [{"name": "LEVEL", "value": "1"}, {"name": "CELLAR_URL", "value": "https://cellar.invalid"}]}],
        }}}})
    }

    const MERGE: &str = "apiVersion: batch/v1\nkind: Job\nmetadata:\n  name: brew\nspec:\n  template:\n    spec:\n      containers:\n      - name: brew\n        env:\n        - {name: CELLAR_URL, value: http://cellar}\n";

    fn wanted(of: &Patch) -> Vec<String> {
        of.wishes(&job())
            .into_iter()
            .map(|wish| format!("{} {}={}", wish.container, wish.env, wish.value))
            .collect()
    }

    #[test]
    fn a_target_is_a_pattern_for_the_whole_of_each_field() {
        let selects = |target: Value| patch(target, MERGE).selects(&job());
        assert_eq!(selects(json!({"kind": "Job", "name": "brew"})), Some(true));
        assert_eq!(selects(json!({"kind": "Job", "name": "b.*"})), Some(true));
        assert_eq!(selects(json!({"kind": "Job", "name": "bre"})), Some(false));
        assert_eq!(selects(json!({"group": "apps", "kind": "Job"})), Some(false));
        // The chart does not say where it goes.
        assert_eq!(selects(json!({"kind": "Job", "namespace": "inn"})), Some(false));
        assert_eq!(selects(json!({"labelSelector": "app=pub"})), Some(true));
        assert_eq!(selects(json!({"labelSelector": "app==inn"})), Some(false));
        assert_eq!(selects(json!({"labelSelector": "app in (inn)"})), None);
        assert_eq!(selects(json!({"name": "("})), None);
        assert_eq!(selects(Value::Null), Some(true));
        assert_eq!(
            patch(Value::Null, &MERGE.replace("brew\nspec", "bre\nspec")).selects(&job()),
            Some(false)
        );
    }

    #[test]
    fn what_a_patch_would_write() {
        assert_eq!(wanted(&patch(Value::Null, MERGE)), ["brew CELLAR_URL=http://cellar"]);
        let operations = |path: &str, value: &str| {
            let text = format!("- op: add\n  path: /spec/template/spec/containers/{path}\n  value: {value}\n");
            wanted(&patch(json!({"kind": "Job"}), &text))
        };
        assert_eq!(operations("1/env/0", "{name: A, value: b}"), ["brew A=b"]);
        assert_eq!(operations("1/env/-", "{name: A, value: b}"), ["brew A=b"]);
        assert_eq!(operations("1/env/1/value", "http://cellar"), ["brew CELLAR_URL=http://cellar"]);
        assert_eq!(operations("0/env", "[{name: A, value: b}]"), ["side A=b"]);
        assert_eq!(operations("7/env/0", "{name: A, value: b}"), [] as [&str; 0]);
        assert_eq!(operations("1/image", "x"), [] as [&str; 0]);
    }

    #[test]
    fn what_is_no_patch_wishes_nothing() {
        for text in ["", "kind: [", "just words"] {
            let patch = patch(json!({"kind": "Job"}), text);
            assert!(matches!(patch.form, Form::Unreadable { .. }), "{text}");
            assert_eq!(wanted(&patch), [] as [&str; 0]);
        }
    }

    #[test]
    fn what_it_is_for() {
        let aim = |target: Value| patch(target, MERGE).aim();
        assert_eq!(aim(json!({"kind": "Job", "name": "cellar"})), "Job cellar");
        assert_eq!(aim(json!({"kind": "Job"})), "every Job");
        assert_eq!(aim(Value::Null), "Job brew");
    }
}
