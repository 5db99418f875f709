//! Probes: what they ask, how long they bear it, and what the kubelet says of their failures.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use jiff::{SignedDuration, Timestamp};
use regex::Regex;
use serde_json::Value;

use super::logs::{lines, of_last_run};
use super::progress::{Container, concerns, event_text};
use super::refusals::first;
use crate::evidence::manifest::{list, pod_spec, spec_containers, text};
use crate::evidence::{Evidence, Life, moment};

/// Which of a container's probes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Startup,
    Liveness,
    Readiness,
}

pub const KINDS: [Kind; 3] = [Kind::Startup, Kind::Liveness, Kind::Readiness];

impl Kind {
    /// `liveness`
    pub fn word(self) -> &'static str {
        match self {
            Self::Startup => "startup",
            Self::Liveness => "liveness",
            Self::Readiness => "readiness",
        }
    }

    /// `livenessProbe`
    pub fn field(self) -> &'static str {
        match self {
            Self::Startup => "startupProbe",
            Self::Liveness => "livenessProbe",
            Self::Readiness => "readinessProbe",
        }
    }
}

/// A probe of a container as its specification has it.
#[derive(Debug, Clone, Copy)]
pub struct Probe<'a> {
    pub kind: Kind,
    pub spec: &'a Value,
    /// The container's specification.
    pub container: &'a Value,
}

/// The port that a probe asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Port<'a> {
    Number(u64),
    /// A name that one of the container's ports has.
    Named(&'a str, u64),
    /// A name that none has.
    Unknown(&'a str),
}

impl<'a> Probe<'a> {
    /// `/healthz`, where it asks for a path.
    pub fn path(&self) -> Option<&'a str> {
        let asked = self.spec.get("httpGet")?;
        Some(asked.get("path").and_then(Value::as_str).unwrap_or("/"))
    }

    pub fn port(&self) -> Option<Port<'a>> {
        let port = ["/httpGet/port", "/tcpSocket/port", "/grpc/port"]
            .iter()
            .find_map(|pointer| self.spec.pointer(pointer))?;
        if let Some(number) = port.as_u64().or_else(|| port.as_str()?.parse().ok()) {
            return Some(Port::Number(number));
        }
        let name = port.as_str()?;
        let named = list(self.container, "ports").iter().find(|port| text(port, "/name") == name);
        let number = named.and_then(|port| port.get("containerPort")?.as_u64());
        Some(number.map_or(Port::Unknown(name), |number| Port::Named(name, number)))
    }

    fn seconds(&self, key: &str, otherwise: i64) -> i64 {
        self.spec.get(key).and_then(Value::as_i64).unwrap_or(otherwise)
    }

    pub fn period(&self) -> SignedDuration {
        moment::seconds(self.seconds("periodSeconds", 10).max(1))
    }

    /// How long a container that never answers is borne.
    pub fn budget(&self) -> SignedDuration {
        let times = i32::try_from(self.seconds("failureThreshold", 3).max(1)).unwrap_or(i32::MAX);
        moment::lasting(moment::seconds(self.seconds("initialDelaySeconds", 0)).saturating_add(self.period().saturating_mul(times)))
    }

    /// `initialDelaySeconds 1 + periodSeconds 2 × failureThreshold 3 = 7s`
    pub fn arithmetic(&self) -> String {
        let delay = match self.seconds("initialDelaySeconds", 0) {
            0 => String::new(),
            delay => format!("initialDelaySeconds {delay} + "),
        };
        let (period, times) = (self.seconds("periodSeconds", 10), self.seconds("failureThreshold", 3));
        format!(
            "{delay}periodSeconds {period} × failureThreshold {times} = {}",
            super::attempt::duration(self.budget())
        )
    }
}

/// A container's probe of a kind.
pub fn probe<'a>(pod: &'a Life, container: &str, kind: Kind) -> Option<Probe<'a>> {
    let container = pod_spec(pod.object()).and_then(|spec| spec_containers(spec).find(|of| text(of, "/name") == container))?;
    let spec = container.get(kind.field())?;
    Some(Probe { kind, spec, container })
}

/// The ports that any container of a pod declares.
pub fn declared_ports(pod: &Life) -> BTreeSet<u64> {
    let containers = pod_spec(pod.object()).into_iter().flat_map(spec_containers);
    containers
        .flat_map(|container| list(container, "ports"))
        .filter_map(|port| port.get("containerPort")?.as_u64())
        .collect()
}

static LISTENS: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"(?i)\b(?:listen(?:ing|s)?|serving|started|running|bound)\b.{0,80}?(?:\bport[ =:]+\(?|:)(\d{4,5}|80|443)\b").ok()
});

/// The ports at which a container says that it listens.
pub fn listens(evidence: &Evidence, pod: &Life, container: &str) -> BTreeSet<u64> {
    let printed = of_last_run(lines(evidence, pod.uid(), container));
    let said = |line: &str| LISTENS.as_ref()?.captures(line)?.get(1)?.as_str().parse().ok();
    printed.iter().filter_map(|line| said(&line.line.text)).collect()
}

/// What the kubelet says of the failures of a probe, in one wording.
#[derive(Debug)]
pub struct Failure<'a> {
    /// `HTTP probe failed with statuscode: 404`
    pub message: &'a str,
    pub times: i64,
    pub first: Timestamp,
    pub last: Timestamp,
}

/// Whether an event is about this container of a pod: by its field, else by there being no other.
fn of_container(event: &Life, pod: &Life, container: &str) -> bool {
    let fields = ["/involvedObject/fieldPath", "/regarding/fieldPath"];
    match fields.iter().map(|pointer| event.text(pointer)).find(|field| !field.is_empty()) {
        Some(field) => field.contains(&format!("{{{container}}}")),
        None => pod.list("/spec/containers").len() == 1,
    }
}

/// The failures of a container's probe, the newest wording last.
pub fn failures<'a>(evidence: &'a Evidence, pod: &'a Life, container: &str, kind: Kind) -> Vec<Failure<'a>> {
    let begins = format!("{} probe ", kind.word());
    let mut found: Vec<Failure<'a>> = evidence
        .events_about(pod)
        .filter(|event| event.text("/reason") == "Unhealthy" && concerns(event, pod) && of_container(event, pod, container))
        .filter(|event| {
            evidence
                .remedy_started
                .is_none_or(|remedy| event.versions.last().is_some_and(|version| version.at >= remedy))
        })
        .filter_map(|event| {
            let said = event_text(event);
            said.get(..begins.len()).filter(|start| start.eq_ignore_ascii_case(&begins))?;
            Some(Failure {
                message: said.split_once(": ")?.1,
                times: event.number("/count").or_else(|| event.number("/series/count")).unwrap_or(1),
                first: first(event),
                last: ["/series/lastObservedTime", "/lastTimestamp"]
                    .iter()
                    .find_map(|pointer| event.time(pointer))
                    .unwrap_or_else(|| first(event)),
            })
        })
        .collect();
    found.sort_by_key(|failure| failure.last);
    found
}

/// Which probe has had a container restarted, and how often, by the kubelet's word.
pub fn kills(evidence: &Evidence, pod: &Life, container: &str) -> Option<(Kind, i64, Timestamp)> {
    let killed = |kind: Kind| {
        let says = format!("ontainer {container} failed {} probe", kind.word());
        let events: Vec<&Life> = evidence
            .events_about(pod)
            .filter(|event| event.text("/reason") == "Killing" && concerns(event, pod) && event_text(event).contains(&says))
            .collect();
        let times = events.iter().map(|event| event.number("/count").unwrap_or(1)).sum();
        let since = events.iter().map(|event| first(event)).min()?;
        Some((kind, times, since))
    };
    [Kind::Liveness, Kind::Startup]
        .into_iter()
        .filter_map(killed)
        .max_by_key(|(_, times, _)| *times)
}

/// How long the last run of a container that has ended took.
pub fn last_run(container: &Container<'_>) -> Option<SignedDuration> {
    let ended = container.ended()?;
    let time = |pointer: &str| moment::parse(text(ended, pointer));
    Some(time("/finishedAt")?.duration_since(time("/startedAt")?))
}

/// For how long a container has been running.
pub fn runs_for(evidence: &Evidence, container: &Container<'_>) -> Option<SignedDuration> {
    let started = moment::parse(text(container.status, "/state/running/startedAt"))?;
    Some(evidence.since(started))
}
