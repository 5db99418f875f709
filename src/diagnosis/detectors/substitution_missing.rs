//! # What it detects
//!
//! A variable of the manifests, `${SECRET_DOMAIN}`, that nobody replaced, in the host of an address that a container is given.
//!
//! # Why it happens
//!
//! Flux replaces variables only where a Kustomization has `spec.postBuild`; without it the text is applied as it stands. The API server
//! takes it for a value like any other, and so does the program, whose complaint is about a host that it cannot find or a URL that it
//! cannot read.
//!
//! # Evidence
//!
//! The value as it was applied, with the variable in the place of a host; that neither a `$` nor a brace can stand in a host's name; whether
//! the Kustomization that applied it has a `spec.postBuild`, and what it substitutes. Scripts, where a shell replaces variables, and values
//! in which the variable stands elsewhere do not count.
//!
//! # Remedy
//!
//! `define-variable`: in `spec.postBuild.substitute`, or in a Secret or ConfigMap of `substituteFrom`.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

use crate::diagnosis::cite;
use crate::diagnosis::dependencies::deliverer;
use crate::diagnosis::hooks::tasks;
use crate::diagnosis::progress::{JobState, controller, plain, ready, relevant};
use crate::diagnosis::{Certainty, Citation, Class, Detector, Finding};
use crate::evidence::manifest::{list, pod_spec, spec_containers, text};
use crate::evidence::{Evidence, Life, ObjectRef};
use crate::remedy::Remedy;

pub const DETECTOR: Detector = Detector {
    slug: "substitution-missing",
    summary: "a variable of the manifests was not replaced and stands in the host of an address",
    class: Class::Specific,
    remedies: &["define-variable"],
    detect,
};

/// A variable as Flux's substitution knows it, within the part of an address that names the host.
static IN_HOST: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"^(?:[a-z][a-z0-9+.:-]*://)?(?:[^/?#\s@]*@)?[A-Za-z0-9.-]*(\$\{([A-Za-z_][A-Za-z0-9_]*)\})[A-Za-z0-9.${}_-]*(?::\d+)?(?:[/?#]\S*)?$").ok()
});

/// A variable that a value has where a host should be, and the value.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Unreplaced {
    variable: String,
    origin: String,
    value: String,
}

fn detect(evidence: &Evidence) -> Vec<Finding> {
    let mut findings = Vec::new();
    let of_jobs = tasks(evidence)
        .into_iter()
        .filter(|task| !matches!(task.state(), JobState::Complete { .. }));
    for task in of_jobs {
        findings.extend(of_object(evidence, task.latest, task.reference.clone(), task.explains()));
    }
    for pod in relevant(evidence, "Pod").into_iter().filter(|pod| !ready(pod)) {
        let top = controller(evidence, pod);
        if top.kind != "Job" {
            findings.extend(of_object(evidence, pod, top.clone(), vec![top, pod.reference()]));
        }
    }
    findings
}

fn of_object(evidence: &Evidence, object: &Life, subject: ObjectRef, explains: Vec<ObjectRef>) -> Option<Finding> {
    let spec = pod_spec(object.object())?;
    let found = unreplaced(spec).into_iter().next()?;
    let applied = evidence
        .ever_named(&subject.kind, subject.namespace.as_deref().unwrap_or_default(), &subject.name)
        .last();
    let from = applied.and_then(|applied| deliverer(evidence, applied));
    let variable = format!("${{{}}}", found.variable);
    let place = from
        .map(|from| format!(" of {} {}", from.text("/kind"), from.name()))
        .unwrap_or_default();
    Some(Finding {
        slug: DETECTOR.slug,
        statement: format!(
            "{variable} was not replaced and stands literally in {}: {}",
            found.origin, found.value
        ),
        certainty: Certainty::Certain,
        why: "no host can have such a name, whatever comes".to_owned(),
        since: object.first_seen(),
        citations: citations(&subject, &found, from),
        explains,
        blames: Vec::new(),
        remedy: Some(
            Remedy::new(
                "define-variable",
                format!("define {} in spec.postBuild.substitute{place}", found.variable),
            )
            .with("variable", &found.variable),
        ),
        alternatives: Vec::new(),
        subject,
    })
}

fn unreplaced(spec: &Value) -> Vec<Unreplaced> {
    let Some(pattern) = IN_HOST.as_ref() else { return Vec::new() };
    spec_containers(spec)
        .flat_map(|container| {
            let name = text(container, "/name").to_owned();
            list(container, "env").iter().filter_map(move |variable| {
                let value = variable.get("value").and_then(Value::as_str)?;
                let looks = value.contains("://") || value.contains('.');
                let found = pattern.captures(value).filter(|_| looks)?;
                Some(Unreplaced {
                    variable: found[2].to_owned(),
                    origin: format!("env {} of {name}", text(variable, "/name")),
                    value: value.to_owned(),
                })
            })
        })
        .collect()
}

fn citations(subject: &ObjectRef, found: &Unreplaced, from: Option<&Life>) -> Vec<Citation> {
    let mut citations = vec![cite::declared(subject, format!("{}: {}", found.origin, found.value))];
    if let Some(from) = from {
        let kustomization = plain(&from.reference());
        let defined = from.at("/spec/postBuild/substitute").and_then(Value::as_object);
        let names: Vec<&str> = defined.into_iter().flat_map(|names| names.keys()).map(String::as_str).collect();
        let text = match (from.at("/spec/postBuild"), names.as_slice()) {
            (None, _) => "it has no spec.postBuild, so that nothing is replaced".to_owned(),
            (Some(_), []) => "spec.postBuild defines nothing by itself".to_owned(),
            (Some(_), names) => format!("spec.postBuild.substitute: {}", names.join(", ")),
        };
        citations.push(cite::declared(&kustomization, text));
    }
    citations
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::diagnosis::fixture::*;

    const SLUG: &str = "substitution-missing";

    fn scene(value: &str) -> Scene {
        let gate = job(
            "gate",
            json!({"env": [{"name": "TARGET", "value": value}], "command": ["sh", "-c", "until curl -sf \"$TARGET\"; do echo waiting; sleep 1; done"]}),
        );
        let mut scene = Scene::new();
        scene
            .kustomization(10_000)
            .object(gate.clone())
            .at(300)
            .object(pod_of(&gate, "p", running()));
        for second in 1..6 {
            scene.at(300 + second * 1000).log("gate-p", "gate", "waiting");
        }
        scene.object(gate);
        scene
    }

    #[test]
    fn a_variable_in_a_host_is_certain_while_it_is_waited_for() {
        for value in [
            "https://auth.${DOMAIN}/x",
            "http://${HOST}:8080",
            "db.${ZONE}:5432",
            "postgres://app:p@db.${ZONE}/app",
        ] {
            assert!(IN_HOST.as_ref().unwrap().is_match(value), "{value}");
        }
        let mut scene = scene("https://auth.${DOMAIN}/x");
        scene
            .at(10_300)
            .engine_says("timeout waiting for: [Job/shop/gate status: 'InProgress']")
            .engine_ends(1);
        scene.settles_on(&[(SLUG, "Job/gate")]);
    }

    #[test]
    fn a_dollar_that_is_meant_as_such_is_none() {
        let spec = |value: &str| json!({"containers": [{"name": "c", "env": [{"name": "V", "value": value}]}]});
        let found = |value: &Value| unreplaced(value).len();
        for value in [
            "${HOME}",
            "costs $5",
            "https://auth.example/login?next=${NEXT}",
            "%{host}.${x y}",
            "$(DB_HOST).example",
        ] {
            assert_eq!(found(&spec(value)), 0, "{value}");
        }
    }
}
