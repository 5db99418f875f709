//! Services that nothing answers for: their selector matches no pod, though it nearly does, or the port that they name is nobody's.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::progress::{plain, relevant};
use super::services::{has_ready_endpoint, is_behind, pods_behind, selects, unknown_port};
use crate::evidence::{Evidence, Life, ObjectRef};

/// One label that a Service asks for and that the pods do not have so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Differing {
    pub key: String,
    pub wanted: String,
    /// What the pods have instead: their value of this label, or another label with this value.
    pub found: String,
}

/// Why a Service has no endpoints.
#[derive(Debug)]
pub enum Reason<'a> {
    /// What runs pods that it nearly selects.
    Selector { nearly: &'a Life, differs: Vec<Differing> },
    /// The name of a port that none of the pods has.
    Port { name: &'a str, pods: Vec<&'a Life> },
}

/// A Service that nothing answers for.
#[derive(Debug)]
pub struct Unserved<'a> {
    pub service: &'a Life,
    pub reason: Reason<'a>,
}

impl Unserved<'_> {
    pub fn reference(&self) -> ObjectRef {
        plain(&self.service.reference())
    }
}

const RUNS_PODS: [&str; 6] = ["CronJob", "DaemonSet", "Deployment", "Job", "ReplicaSet", "StatefulSet"];

/// Every Service that nothing answers for, for a reason that its own manifest has. One without a selector, and one whose pods are not
/// there yet or not ready, are none.
pub fn unserved(evidence: &Evidence) -> Vec<Unserved<'_>> {
    let services = relevant(evidence, "Service").into_iter();
    let templates = Templates::of(evidence);
    services
        .filter(|service| service.exists() && service.text("/metadata/deletionTimestamp").is_empty())
        .filter(|service| service.text("/spec/type") != "ExternalName")
        .filter_map(|service| {
            let reason = reason(evidence, service, &templates)?;
            Some(Unserved { service, reason })
        })
        .collect()
}

fn reason<'a>(evidence: &'a Evidence, service: &'a Life, templates: &Templates<'a>) -> Option<Reason<'a>> {
    let selector = service.at("/spec/selector")?.as_object().filter(|selector| !selector.is_empty())?;
    if let Some(name) = unknown_port(evidence, service) {
        let pods = pods_behind(evidence, service).collect();
        return Some(Reason::Port { name, pods });
    }
    // What is quickly found comes first: it is so of nearly every Service.
    if pods_behind(evidence, service).next().is_some() || has_ready_endpoint(evidence, service) {
        return None;
    }
    if templates.selected(service.text("/metadata/namespace"), selector) {
        return None;
    }
    let mut near: Vec<(usize, &Life, Vec<Differing>)> = runs_pods(evidence, service)
        // Pods that another Service has are not what this one means: that is blue and green, or an old and a new one.
        .filter(|(life, _)| !has_other(evidence, service, life))
        .filter_map(|(life, labels)| {
            let differs = nearly(selector, labels?.as_object()?)?;
            Some((differs.len(), life, differs))
        })
        .collect();
    near.sort_by_key(|(count, life, _)| (*count, rank(life), life.name().to_owned()));
    let (_, nearly, differs) = near.into_iter().next()?;
    Some(Reason::Selector { nearly, differs })
}

/// A person names the Deployment, not its ReplicaSet or its pod.
fn rank(life: &Life) -> usize {
    match life.text("/kind") {
        "Deployment" | "StatefulSet" | "DaemonSet" => 0,
        "ReplicaSet" => 1,
        _ => 2,
    }
}

/// What runs pods, with the labels of these pods.
fn templates(evidence: &Evidence) -> impl Iterator<Item = (&Life, Option<&Value>)> {
    RUNS_PODS.iter().flat_map(|kind| evidence.all(kind)).map(|life| {
        let pointer = match life.text("/kind") {
            "CronJob" => "/spec/jobTemplate/spec/template/metadata/labels",
            _ => "/spec/template/metadata/labels",
        };
        (life, life.at(pointer))
    })
}

/// The labels of what runs pods, by namespace and by each of them: there may be as many as there are Services.
struct Templates<'a>(HashMap<(&'a str, &'a str, &'a str), Vec<&'a Value>>);

impl<'a> Templates<'a> {
    fn of(evidence: &'a Evidence) -> Self {
        let mut found: HashMap<_, Vec<&Value>> = HashMap::new();
        for (life, labels) in templates(evidence) {
            for (key, value) in labels.and_then(Value::as_object).into_iter().flatten() {
                let place = (life.text("/metadata/namespace"), key.as_str(), value.as_str().unwrap_or_default());
                found.entry(place).or_default().extend(labels);
            }
        }
        Self(found)
    }

    /// Whether any of them has all labels of a selector.
    fn selected(&self, namespace: &str, selector: &Map<String, Value>) -> bool {
        let found = selector
            .iter()
            .map(|(key, value)| self.0.get(&(namespace, key.as_str(), value.as_str().unwrap_or_default())));
        let rarest = found.min_by_key(|found| found.map_or(0, Vec::len)).flatten();
        let all = |labels: &Value| selector.iter().all(|(key, value)| labels.get(key) == Some(value));
        rarest.is_some_and(|found| found.iter().any(|labels| all(labels)))
    }
}

/// What runs pods in a Service's namespace, with the labels of these pods; pods themselves included.
fn runs_pods<'a>(evidence: &'a Evidence, service: &'a Life) -> impl Iterator<Item = (&'a Life, Option<&'a Value>)> {
    let namespace = service.text("/metadata/namespace");
    let pods = evidence.all("Pod").map(|pod| (pod, pod.at("/metadata/labels")));
    templates(evidence)
        .chain(pods)
        .filter(move |(life, _)| life.text("/metadata/namespace") == namespace)
}

fn has_other(evidence: &Evidence, service: &Life, life: &Life) -> bool {
    let others = || {
        evidence
            .all("Service")
            .filter(|other| other.uid() != service.uid() && other.text("/metadata/namespace") == service.text("/metadata/namespace"))
    };
    match life.text("/kind") {
        "Pod" => others().any(|other| is_behind(other, life)),
        _ => others().any(|other| {
            other
                .at("/spec/selector")
                .is_some_and(|selector| selects(selector, life.at("/spec/template/metadata/labels")))
        }),
    }
}

/// The labels that differ, where so few do, and so little, that these pods are meant.
fn nearly(selector: &Map<String, Value>, labels: &Map<String, Value>) -> Option<Vec<Differing>> {
    let mut differs = Vec::new();
    for (key, wanted) in selector {
        let wanted = wanted.as_str()?;
        let own = labels.get(key).and_then(Value::as_str);
        if own == Some(wanted) {
            continue;
        }
        let elsewhere = labels.iter().find(|(_, value)| value.as_str() == Some(wanted));
        let found = match (own, elsewhere) {
            (Some(own), _) if similar(own, wanted) => format!("{key}: {own}"),
            (None, Some((other, _))) => format!("{other}: {wanted}"),
            // What is another thing altogether may be so on purpose, unless it is the only thing that differs of several.
            (Some(own), _) if selector.len() >= 2 => format!("{key}: {own}"),
            _ => return None,
        };
        differs.push(Differing {
            key: key.clone(),
            wanted: wanted.to_owned(),
            found,
        });
    }
    let few = differs.len() == 1 || differs.len() * 2 <= selector.len();
    let alike = |one: &Differing| {
        one.found
            .split_once(": ")
            .is_some_and(|(key, own)| key != one.key || similar(own, &one.wanted))
    };
    (!differs.is_empty() && (few || differs.iter().all(alike))).then_some(differs)
}

/// Whether two values are one word in two spellings: `web` and `webb`, `web` and `store-web`.
fn similar(a: &str, b: &str) -> bool {
    let parts = |text: &str| text.to_lowercase().split(['-', '_', '.']).map(str::to_owned).collect::<Vec<_>>();
    let (one, other) = (parts(a), parts(b));
    let within = one.iter().all(|part| other.contains(part)) || other.iter().all(|part| one.contains(part));
    within || a.len().min(b.len()) >= 3 && distance(a, b) <= 2 && distance(a, b) < a.len().min(b.len()) / 2 + 1
}

/// How many letters have to be changed, added or left out.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, letter) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, other) in b.iter().enumerate() {
            let changed = diagonal + usize::from(letter != *other);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn differs(selector: Value, labels: Value) -> Option<Vec<String>> {
        let found = nearly(selector.as_object().expect("labels"), labels.as_object().expect("labels"))?;
        Some(
            found
                .into_iter()
                .map(|one| format!("{}={} {}", one.key, one.wanted, one.found))
                .collect(),
        )
    }

    #[test]
    fn what_is_nearly_the_same() {
        let some = |text: &str| Some(vec![text.to_owned()]);
        assert_eq!(differs(json!({"app": "web"}), json!({"app": "webb"})), some("app=web app: webb"));
        assert_eq!(
            differs(json!({"app": "web"}), json!({"app": "store-web"})),
            some("app=web app: store-web")
        );
        assert_eq!(
            differs(json!({"app": "web"}), json!({"app.kubernetes.io/name": "web"})),
            some("app=web app.kubernetes.io/name: web")
        );
        assert_eq!(
            differs(json!({"app": "web", "tier": "front"}), json!({"app": "web", "tier": "ui"})),
            some("tier=front tier: ui")
        );
    }

    #[test]
    fn what_is_another_thing() {
        assert_eq!(differs(json!({"app": "web"}), json!({"app": "db"})), None);
        assert_eq!(differs(json!({"app": "web"}), json!({"app": "api"})), None);
        assert_eq!(differs(json!({"app": "web", "role": "primary"}), json!({"app": "web"})), None);
        assert_eq!(
            differs(json!({"app": "web", "tier": "front"}), json!({"app": "db", "tier": "back"})),
            None
        );
    }
}
