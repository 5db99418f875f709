//! Makes timelines of what was gathered: as if somebody had looked at each namespace at the moment of which the bundle tells.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;
use serde_json::Value;

use super::compact::Compact;
use super::gather::{Gathered, Key};
use super::logs::Tail;
use super::pods::Container;
use super::{Format, Imported, Missing, Options, helm_storage, kubectl_get};
use crate::evidence::collect::KINDS;
use crate::evidence::wording::{Complaint, complaint};
use crate::evidence::{Entry, Fact, Header, Intake, LogLine, Timeline};

pub fn imported(mut gathered: Gathered<'_>, options: &Options) -> Imported {
    let format = format(&gathered);
    let observed_at = gathered.moment.get().unwrap_or_else(Timestamp::now);
    let header = header(format, &gathered, observed_at);
    let mut missing = left_out(&gathered);
    let (mut logs, mut unread) = logs(&mut gathered, observed_at);
    missing.append(&mut unread.of_all);
    // The bundle tells the reasons in its own words.
    let intake = &mut gathered.intake;
    let mut clean = |missing: &mut Missing| {
        missing.what = intake.text(&missing.what);
        missing.why = intake.text(&missing.why);
    };
    missing
        .iter_mut()
        .chain(unread.by_namespace.values_mut().flatten())
        .for_each(&mut clean);
    gathered.refused.values_mut().for_each(|reason| *reason = intake.text(reason));

    let namespaces: Vec<String> = gathered.namespaces.iter().cloned().collect();
    let wanted = match &options.namespace {
        Some(namespace) => vec![namespace.clone()],
        None if namespaces.is_empty() => vec!["default".to_owned()],
        None => namespaces.clone(),
    };
    // Secrets come first among the kinds, as in a live look.
    let mut objects: Vec<(Key, Compact)> = std::mem::take(&mut gathered.objects).into_iter().collect();
    objects.sort_by_key(|(key, _)| KINDS.iter().position(|kind| kind.kind == key.0));
    let mut by_namespace: HashMap<String, Held> = HashMap::new();
    for ((_, namespace, _), object) in objects {
        by_namespace.entry(namespace).or_default().objects.push(object);
    }
    for (namespace, lines) in logs.drain() {
        by_namespace.entry(namespace).or_default().lines = lines;
    }
    let mut made = Namespaces {
        header,
        format,
        listed: gathered.listed,
        refused: gathered.refused,
        intake: gathered.intake,
        missing: missing.clone(),
        unread: unread.by_namespace,
        common: Vec::new(),
        by_namespace,
        wanted: wanted.into_iter(),
    };
    made.common = made.facts("");
    Imported {
        format,
        timelines: Timelines::Made(Box::new(made)),
        namespaces,
        missing,
    }
}

/// The timelines of a bundle, in the order of the names of their namespaces. Each is made when it is asked for, so that whoever lets go of one
/// before the next never holds all of them.
#[derive(Debug)]
pub enum Timelines {
    One(Option<Timeline>),
    Made(Box<Namespaces>),
}

impl Iterator for Timelines {
    type Item = Timeline;

    fn next(&mut self) -> Option<Timeline> {
        match self {
            Self::One(timeline) => timeline.take(),
            Self::Made(namespaces) => namespaces.made(),
        }
    }
}

/// The facts of a namespace, not swept yet.
#[derive(Debug, Default)]
struct Held {
    objects: Vec<Compact>,
    lines: Vec<Fact>,
}

/// What is known of all namespaces.
#[derive(Debug)]
pub struct Namespaces {
    header: Header,
    format: Format,
    /// The kinds of which everything is here, with their namespace.
    listed: BTreeSet<(&'static str, String)>,
    /// Why kinds were not collected, by kind and namespace.
    refused: BTreeMap<(&'static str, String), String>,
    intake: Intake,
    missing: Vec<Missing>,
    unread: BTreeMap<String, Vec<Missing>>,
    /// What belongs to no namespace and is of all of them.
    common: Vec<Fact>,
    by_namespace: HashMap<String, Held>,
    wanted: std::vec::IntoIter<String>,
}

impl Namespaces {
    /// The timeline of the next one.
    fn made(&mut self) -> Option<Timeline> {
        let namespace = self.wanted.next()?;
        let mut facts = self.common.clone();
        facts.extend(self.facts(&namespace));
        let (watched, unknown) = self.watched(&namespace, &facts);
        let own = self.unread.remove(&namespace).into_iter().flatten();
        for Missing { what, why } in self.missing.iter().cloned().chain(own).chain(unknown) {
            facts.push(Fact::NotReadable { what, reason: why });
        }
        facts.push(Fact::Listed { kinds: watched });
        let at = self.header.observed_at;
        Some(Timeline {
            header: Header {
                namespace,
                ..self.header.clone()
            },
            entries: facts.into_iter().map(|fact| Entry { at, fact }).collect(),
        })
    }

    fn facts(&mut self, namespace: &str) -> Vec<Fact> {
        let Held { objects, lines } = self.by_namespace.remove(namespace).unwrap_or_default();
        let mut facts: Vec<Fact> = objects.into_iter().flat_map(Compact::facts).chain(lines).collect();
        facts.iter_mut().for_each(|fact| self.intake.sweep(fact));
        facts
    }

    /// Which kinds are known completely in a namespace, and what is not.
    fn watched(&self, namespace: &str, facts: &[Fact]) -> (Vec<String>, Vec<Missing>) {
        let mut watched = Vec::new();
        let mut absent: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for kind in KINDS {
            let of = if kind.namespaced { namespace } else { "" };
            let refused = [of, ""].iter().find_map(|of| self.refused.get(&(kind.kind, (*of).to_owned())));
            if let Some(reason) = refused {
                absent.entry(reason.clone()).or_default().push(kind.kind);
            } else if self.listed.contains(&(kind.kind, of.to_owned())) {
                watched.push(kind.kind.to_owned());
            } else if kind.built_in || speaks_of(facts, kind.group) {
                let why = match self.format {
                    Format::HelmStorage => helm_storage::ALONE.to_owned(),
                    Format::KubectlGet => kubectl_get::OPEN.to_owned(),
                    format => format!("{format} holds no complete list of it"),
                };
                absent.entry(why).or_default().push(kind.kind);
            }
        }
        let missing = absent.into_iter().map(|(why, kinds)| Missing {
            what: kinds.join(", "),
            why,
        });
        (watched, missing.collect())
    }
}

/// What the bundle is, by what was found in it.
fn format(gathered: &Gathered<'_>) -> Format {
    let placed = gathered
        .formats
        .iter()
        .max_by_key(|(format, files)| (**files, std::cmp::Reverse(**format)));
    match placed {
        Some((format, _)) => *format,
        None if helm_storage::is_all(gathered) => Format::HelmStorage,
        // Nobody else writes lists one after the other that are of one kind each.
        None if gathered.open_lists == 0 && gathered.listed.len() > 3 => Format::ClusterDump,
        None => Format::KubectlGet,
    }
}

fn header(format: Format, gathered: &Gathered<'_>, observed_at: Timestamp) -> Header {
    Header {
        format: Header::FORMAT,
        recorder: concat!("rekindle ", env!("CARGO_PKG_VERSION")).to_owned(),
        observed_at,
        namespace: String::new(),
        kubernetes_version: gathered.kubelet.clone(),
        watched: Vec::new(),
        notes: BTreeMap::from([("imported from".to_owned(), format.to_string())]),
    }
}

fn left_out(gathered: &Gathered<'_>) -> Vec<Missing> {
    let missing = |(why, (count, first)): (&String, &(usize, String))| Missing {
        what: match count {
            _ if first.is_empty() => "the file".to_owned(),
            1 => first.clone(),
            2 => format!("{first} and another one"),
            _ => format!("{first} and {} others", count - 1),
        },
        why: why.clone(),
    };
    gathered.left_out.iter().map(missing).collect()
}

/// Whether objects say that something of this group has made them.
fn speaks_of(facts: &[Fact], group: &str) -> bool {
    let labels = |object: &Value| {
        let labels = object.pointer("/metadata/labels").and_then(Value::as_object);
        labels.is_some_and(|labels| labels.keys().any(|key| key.split('/').next() == Some(group)))
    };
    facts
        .iter()
        .any(|fact| matches!(fact, Fact::Object { object, .. } if labels(object)))
}

/// What is not known of logs.
#[derive(Default)]
struct Unread {
    of_all: Vec<Missing>,
    by_namespace: BTreeMap<String, Vec<Missing>>,
}

/// The lines of the logs of pods that are not well by namespace, and what is not known of them.
fn logs(gathered: &mut Gathered<'_>, observed_at: Timestamp) -> (HashMap<String, Vec<Fact>>, Unread) {
    let (mut noted, mut unread) = (HashMap::<String, Vec<Fact>>::new(), Unread::default());
    let (mut strangers, mut unstamped, mut unresolved) = (BTreeSet::new(), false, false);
    // What a container printed before its restart comes first.
    let mut logs: Vec<Tail> = std::mem::take(&mut gathered.logs);
    logs.sort_by(|one, other| {
        let order = |log: &Tail| {
            (
                log.place.namespace.clone(),
                log.place.pod.clone(),
                log.place.container.clone(),
                !log.place.previous,
            )
        };
        order(one).cmp(&order(other))
    });
    for log in &logs {
        let Some((name, pod)) = gathered.pods.pod(log) else {
            strangers.insert(log.place.pod.as_str());
            continue;
        };
        let named = |container: &&Container| log.place.container.as_ref().is_none_or(|name| *name == container.name);
        let Some(container) = pod.containers.iter().find(named).filter(|_| pod.matters) else {
            continue;
        };
        let namespace = gathered.pods.namespaces.get(&pod.uid).cloned().unwrap_or_default();
        if log.place.error {
            unread.by_namespace.entry(namespace).or_default().push(Missing {
                what: format!("log of pod {name}, container {}", container.name),
                why: log.lines().last().unwrap_or_default().to_owned(),
            });
            continue;
        }
        let template = LogLine {
            pod: name.to_owned(),
            pod_uid: pod.uid.clone(),
            container: container.name.clone(),
            restart: container.restarts.saturating_sub(u32::from(log.place.previous)),
            stamp: observed_at,
            text: String::new(),
        };
        let ended = container.ended[usize::from(log.place.previous)].unwrap_or(observed_at);
        let (lines, kubelet) = log.stamped(&template, ended);
        unstamped |= !kubelet && !lines.is_empty();
        unresolved |= lines
            .iter()
            .any(|line| matches!(complaint(&line.text), Some(Complaint::Unresolved { .. })));
        let mut lines: Vec<Fact> = lines.into_iter().map(Fact::Log).collect();
        lines.iter_mut().for_each(|line| gathered.intake.fact(line));
        noted.entry(namespace).or_default().append(&mut lines);
    }
    if let Some(first) = strangers.first() {
        unread.of_all.push(Missing {
            what: format!("the logs of {} pods, such as {first}", strangers.len()),
            why: "the bundle does not describe these pods".to_owned(),
        });
    }
    if unstamped {
        unread.of_all.push(Missing {
            what: "when lines of logs were printed".to_owned(),
            why: "they carry no time stamps of the kubelet's".to_owned(),
        });
    }
    if unresolved {
        unread.of_all.push(Missing {
            what: "what the cluster's resolver says".to_owned(),
            why: "a bundle cannot be asked for the names that containers could not resolve".to_owned(),
        });
    }
    (noted, unread)
}
