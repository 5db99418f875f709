//! # What it detects
//!
//! A HelmRelease whose values hold a template, `{{ .Release.Revision }}`, which reaches an object as it is and is refused there.
//!
//! # Why it happens
//!
//! Templates of a chart are rendered, values are not: neither Helm nor Flux looks into them, unless the chart itself hands one to `tpl`.
//! Whoever writes a name that changes with each revision into the values gets the braces into the name.
//!
//! # Evidence
//!
//! What was refused, in the words of the API server or of the kubelet, with the braces in it; the field of the HelmRelease's values, or of
//! the ConfigMap that they come from, in which the very same expression stands. Braces that nobody refuses, in the data of a ConfigMap say,
//! are meant as they are.
//!
//! # Remedy
//!
//! `plain-values`: the value without a template.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

use crate::diagnosis::attempt::{Attempt, State, attempt};
use crate::diagnosis::cite;
use crate::diagnosis::logs::quoted;
use crate::diagnosis::progress::{containers, controller, relevant};
use crate::diagnosis::{Certainty, Citation, Class, Detector, Finding};
use crate::evidence::manifest::{list, pod_spec, spec_containers, text};
use crate::evidence::{Evidence, Life, ObjectRef};
use crate::remedy::Remedy;

pub const DETECTOR: Detector = Detector {
    slug: "values-not-templated",
    summary: "a HelmRelease's values hold a template, which nobody renders",
    class: Class::Specific,
    remedies: &["plain-values"],
    detect,
};

fn detect(evidence: &Evidence) -> Vec<Finding> {
    let Some(attempt) = attempt(evidence).filter(|attempt| attempt.state != State::Succeeded) else {
        return Vec::new();
    };
    let refusals = refusals(evidence, &attempt);
    let written = written(evidence, &attempt);
    let mut findings: Vec<Finding> = Vec::new();
    for refusal in refusals {
        let Some(place) = written.iter().find(|place| refusal.expressions.contains(&place.expression)) else {
            continue;
        };
        if !findings.iter().any(|known| known.statement == statement(place)) {
            findings.push(finding(&attempt, &refusal, place));
        }
    }
    findings
}

/// Something that was refused with a template in it.
struct Refusal {
    expressions: BTreeSet<String>,
    citation: Citation,
    explains: Vec<ObjectRef>,
}

/// Where a template stands in the values.
struct Place {
    object: ObjectRef,
    /// `spec.values.fullnameOverride`
    path: String,
    value: String,
    expression: String,
}

static EXPRESSION: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"\{\{.*?\}\}").ok());
/// `ConfigMap "a-{{ .Release.Revision }}" is invalid: metadata.name: Invalid value: "a-{{ .Release.Revision }}": …`
static REFUSED: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r#"(?:[A-Za-z.]+ \\?"[^"]*" is invalid: \[?)?[A-Za-z.\[\]0-9]+: Invalid value: \\?"[^"]*""#).ok());

fn expressions(text: &str) -> BTreeSet<String> {
    let found = EXPRESSION.iter().flat_map(|pattern| pattern.find_iter(text));
    found.map(|found| plain(found.as_str())).collect()
}

/// As it is written, whoever has quoted it meanwhile.
fn plain(text: &str) -> String {
    text.replace('\\', "").split_whitespace().collect::<Vec<_>>().join(" ")
}

fn refusals(evidence: &Evidence, attempt: &Attempt<'_>) -> Vec<Refusal> {
    let mut found = Vec::new();
    let words = attempt.words();
    let refused = REFUSED
        .iter()
        .filter(|_| attempt.state == State::Failed)
        .flat_map(|pattern| pattern.find_iter(&words));
    for refused in refused {
        found.push(Refusal {
            expressions: expressions(refused.as_str()),
            citation: cite::observed(&attempt.subject(), quoted(refused.as_str()), attempt.ended_at),
            explains: vec![attempt.subject()],
        });
    }
    for pod in relevant(evidence, "Pod") {
        let waits = containers(pod).filter(|container| container.waiting() == "InvalidImageName");
        for container in waits {
            let spec = pod_spec(pod.object()).and_then(|spec| spec_containers(spec).find(|of| text(of, "/name") == container.name));
            let image = spec.map(|of| text(of, "/image")).unwrap_or_default();
            found.push(Refusal {
                expressions: expressions(image),
                citation: cite::observed(
                    &pod.reference(),
                    format!(
                        "container {} waits: InvalidImageName: {}",
                        container.name,
                        container.waiting_message()
                    ),
                    pod.versions.last().map(|version| version.at),
                ),
                explains: vec![pod.reference(), controller(evidence, pod)],
            });
        }
    }
    found.retain(|refusal| !refusal.expressions.is_empty());
    found
}

/// Every template in the values of the release, also in those that it takes from ConfigMaps.
fn written(evidence: &Evidence, attempt: &Attempt<'_>) -> Vec<Place> {
    let Some(release) = attempt.helm_release else { return Vec::new() };
    let mut found = Vec::new();
    if let Some(values) = release.at("/spec/values") {
        search(values, "spec.values", &attempt.subject(), &mut found);
    }
    let sources = release.at("/spec").map_or(&[][..], |spec| list(spec, "valuesFrom"));
    for source in sources.iter().filter(|source| text(source, "/kind") == "ConfigMap") {
        let namespace = release.text("/metadata/namespace");
        let map: Option<&Life> = evidence.get("ConfigMap", namespace, text(source, "/name"));
        if let Some((map, data)) = map.and_then(|map| Some((map, map.at("/data")?))) {
            search(data, "data", &map.reference(), &mut found);
        }
    }
    found
}

fn search(value: &Value, path: &str, object: &ObjectRef, found: &mut Vec<Place>) {
    match value {
        Value::String(text) => found.extend(expressions(text).into_iter().map(|expression| Place {
            object: object.clone(),
            path: path.to_owned(),
            value: text.clone(),
            expression,
        })),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                search(item, &format!("{path}[{index}]"), object, found);
            }
        }
        Value::Object(fields) => {
            for (key, field) in fields {
                search(field, &format!("{path}.{key}"), object, found);
            }
        }
        _ => {}
    }
}

fn statement(place: &Place) -> String {
    format!(
        "{} holds the template {}, and values are not rendered",
        place.path, place.expression
    )
}

fn finding(attempt: &Attempt<'_>, refusal: &Refusal, place: &Place) -> Finding {
    let value = match place.value.lines().count() {
        0 | 1 => place.value.clone(),
        _ => format!("… {} …", place.expression),
    };
    Finding {
        slug: DETECTOR.slug,
        subject: attempt.subject(),
        statement: statement(place),
        certainty: Certainty::Certain,
        why: "it was refused as it is, and the next attempt hands it on in the same way".to_owned(),
        since: attempt.started_at,
        citations: vec![
            cite::declared(&place.object, format!("{}: {value}", place.path)),
            refusal.citation.clone(),
        ],
        explains: refusal.explains.clone(),
        blames: Vec::new(),
        remedy: Some(
            Remedy::new(
                "plain-values",
                format!(
                    "write {} without a template: {} is not rendered there",
                    place.path, place.expression
                ),
            )
            .with("path", place.path.trim_start_matches("spec.values."))
            .with("expression", &place.expression),
        ),
        alternatives: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::diagnosis::fixture::*;

    const SLUG: &str = "values-not-templated";

    fn release(values: Value) -> Value {
        json!({"kind": "HelmRelease", "metadata": {"name": RELEASE}, "spec": {"values": values}})
    }

    fn failed(values: Value, words: &str) -> Scene {
        let mut scene = Scene::new();
        scene.object(release(values)).engine(10_000, "legacy").at(900).engine_says(words);
        scene.at(1000).engine_ends(1);
        scene
    }

    const WORDS: &str = r#"Released=False InstallFailed: Helm install failed for release a/pub with chart pub@1.0.0: failed to create resource: ConfigMap "cellar-{{ .Release.Revision }}-rules" is invalid: metadata.name: Invalid value: "cellar-{{ .Release.Revision }}-rules": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters"#;

    #[test]
    fn a_template_in_a_name() {
        let values = json!({"cellar": {"fullnameOverride": "cellar-{{ .Release.Revision }}"}, "note": "{{ .Other }}"});
        let scene = failed(values, WORDS);
        scene.settles_on(&[(SLUG, "HelmRelease/store")]);
        let cause = &scene.diagnosis().causes[0];
        assert_eq!(
            cause.statement,
            "spec.values.cellar.fullnameOverride holds the template {{ .Release.Revision }}, and values are not rendered"
        );
        assert_eq!(
            cause.citations[0].text,
            "spec.values.cellar.fullnameOverride: cellar-{{ .Release.Revision }}"
        );
        let chain: Vec<_> = cause.chain.iter().map(|link| link.subject.to_string()).collect();
        assert_eq!(chain, ["HelmRelease/store"]);
        let remedy = cause.remedy.as_ref();
        assert_eq!(
            remedy.map(|remedy| remedy.parameters["path"].as_str()),
            Some("cellar.fullnameOverride")
        );
    }

    #[test]
    fn values_that_come_from_a_config_map() {
        let mut release = release(json!({}));
        release["spec"]["valuesFrom"] = json!([{"kind": "ConfigMap", "name": "pub-values"}]);
        let mut scene = Scene::new();
        let map = json!({"kind": "ConfigMap", "metadata": {"name": "pub-values"}, "data": {"values.yaml": "name: cellar-{{.Release.Revision}}\nsize: 1\n"}});
        scene.object(map).object(release).engine(10_000, "legacy").at(900);
        scene.engine_says(&WORDS.replace("{{ .Release.Revision }}", "{{.Release.Revision}}"));
        scene.at(1000).engine_ends(1);
        scene.settles_on(&[(SLUG, "HelmRelease/store")]);
        assert_eq!(
            scene.diagnosis().causes[0].citations[0].text,
            "data.values.yaml: … {{.Release.Revision}} …"
        );
    }

    #[test]
    fn a_template_in_an_image() {
        let image = "registry.invalid/pub:{{ .Chart.AppVersion }}";
        let (deployment, set) = deployment("pub", json!({"image": image}), 0);
        let mut scene = Scene::new();
        scene.object(release(json!({"image": image}))).engine(10_000, "legacy").at(100);
        scene
            .record("pending-install", vec![], vec![deployment.clone()])
            .object(deployment)
            .object(set.clone());
        scene.at(900).object(pod_of(
            &set,
            "p",
            waiting("InvalidImageName", "Failed to apply default image tag: couldn't parse image name"),
        ));
        scene.settles_on(&[(SLUG, "HelmRelease/store")]);
    }

    #[test]
    fn what_nobody_refuses_is_meant_so() {
        // A rule that an alert manager renders itself, beside another failure.
        let values = json!({"rules": "{{ $labels.instance }} is down"});
        let scene = failed(values, "Helm install failed for release a/pub: context deadline exceeded");
        scene.never_certain();
        // What was refused is not what stands in the values.
        let scene = failed(json!({"rules": "{{ $labels.instance }}"}), WORDS);
        scene.never_certain();
        let scene = failed(json!({"name": "Cellar"}), &WORDS.replace("{{ .Release.Revision }}", "Cellar"));
        scene.never_certain();
    }
}
