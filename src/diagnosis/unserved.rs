//! Services that nothing answers for: their selector matches no pod, though it nearly does, or the port that they name is nobody's.

use std::cell::OnceCell;
use std::collections::HashMap;

use serde_json::{Map, Value};

use super::progress::{plain, relevant};
use super::services::{has_ready_endpoint, pods_behind, unknown_port};
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
    let (templates, around) = (Templates::of(evidence), Around::default());
    services
        .filter(|service| service.exists() && service.text("/metadata/deletionTimestamp").is_empty())
        .filter(|service| service.text("/spec/type") != "ExternalName")
        .filter_map(|service| {
            let reason = reason(evidence, service, &templates, &around)?;
            Some(Unserved { service, reason })
        })
        .collect()
}

fn reason<'a>(evidence: &'a Evidence, service: &'a Life, templates: &Templates<'a>, around: &Around<'a>) -> Option<Reason<'a>> {
    let selector = service.at("/spec/selector")?.as_object().filter(|selector| !selector.is_empty())?;
    if let Some(name) = unknown_port(evidence, service) {
        let pods = pods_behind(evidence, service).collect();
        return Some(Reason::Port { name, pods });
    }
    // What is quickly found comes first: it is so of nearly every Service.
    if pods_behind(evidence, service).next().is_some() || has_ready_endpoint(evidence, service) {
        return None;
    }
    let namespace = service.text("/metadata/namespace");
    if templates.selected(namespace, selector) {
        return None;
    }
    let mut near: Vec<(usize, &Life, Vec<Differing>)> = around
        .runs_pods(evidence, namespace)
        .iter()
        .filter_map(|(life, labels)| {
            let differs = nearly(selector, labels)?;
            // Pods that another Service has are not what this one means: that is blue and green, or an old and a new one.
            let others = life.text("/kind") != "CronJob" && around.has_other(evidence, service, labels);
            (!others).then_some((differs.len(), *life, differs))
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

/// What there is besides a Service, found once for all of them: where many are without pods at once, each would look at everything.
#[derive(Default)]
struct Around<'a> {
    runs_pods: OnceCell<HashMap<&'a str, Vec<Labelled<'a>>>>,
    /// Services by namespace and by the first label that they ask for.
    services: OnceCell<HashMap<Label<'a>, Vec<&'a Life>>>,
}

/// Namespace, key and value.
type Label<'a> = (&'a str, &'a str, &'a Value);
type Labelled<'a> = (&'a Life, &'a Map<String, Value>);

impl<'a> Around<'a> {
    /// What runs pods in a namespace, with the labels of these pods; pods themselves included.
    fn runs_pods(&self, evidence: &'a Evidence, namespace: &str) -> &[Labelled<'a>] {
        let found = self.runs_pods.get_or_init(|| {
            let mut found: HashMap<_, Vec<_>> = HashMap::new();
            let pods = evidence.all("Pod").map(|pod| (pod, pod.at("/metadata/labels")));
            for (life, labels) in templates(evidence).chain(pods) {
                let labels = labels.and_then(Value::as_object).map(|labels| (life, labels));
                found.entry(life.text("/metadata/namespace")).or_default().extend(labels);
            }
            found
        });
        found.get(namespace).map_or(&[], Vec::as_slice)
    }

    /// Whether another Service of the namespace selects these labels.
    fn has_other(&self, evidence: &'a Evidence, service: &Life, labels: &Map<String, Value>) -> bool {
        let services = self.services.get_or_init(|| {
            let mut services: HashMap<_, Vec<&Life>> = HashMap::new();
            for service in evidence.all("Service") {
                let selector = service.at("/spec/selector").and_then(Value::as_object);
                if let Some((key, value)) = selector.and_then(|selector| selector.iter().next()) {
                    let place = (service.text("/metadata/namespace"), key.as_str(), value);
                    services.entry(place).or_default().push(service);
                }
            }
            services
        });
        let namespace = service.text("/metadata/namespace");
        let asking = labels
            .iter()
            .filter_map(|(key, value)| services.get(&(namespace, key.as_str(), value)));
        let selects = |other: &&Life| {
            let selector = other.at("/spec/selector").and_then(Value::as_object);
            selector.is_some_and(|selector| selector.iter().all(|(key, value)| labels.get(key) == Some(value)))
        };
        asking.flatten().any(|other| other.uid() != service.uid() && selects(other))
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
    let shorter = a.len().min(b.len());
    within || shorter >= 3 && distance(a, b) <= (shorter / 2).min(2)
}

/// How many letters have to be changed, added or left out.
fn distance(a: &str, b: &str) -> usize {
    // What both begin and end with need not be looked at.
    let begin = a.chars().zip(b.chars()).take_while(|(one, other)| one == other);
    let begin: usize = begin.map(|(letter, _)| letter.len_utf8()).sum();
    let (a, b) = (&a[begin..], &b[begin..]);
    let end = a.chars().rev().zip(b.chars().rev()).take_while(|(one, other)| one == other);
    let end: usize = end.map(|(letter, _)| letter.len_utf8()).sum();
    let (a, b) = (&a[..a.len() - end], &b[..b.len() - end]);
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
    fn a_distance_is_one_of_letters() {
        for (a, b, letters) in [
            ("web", "web", 0),
            ("web", "webb", 1),
            ("abab", "ab", 2),
            ("", "abc", 3),
            ("caf\u{e9}s", "cafes", 1),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!((distance(a, b), distance(b, a)), (letters, letters), "{a} {b}");
        }
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
