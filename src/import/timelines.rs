//! Makes timelines of what was gathered: as if somebody had looked at each namespace at the moment of which the bundle tells.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;
use serde_json::Value;

use super::gather::{Gathered, Key};
use super::logs::Tail;
use super::{Format, Imported, Missing, Options, helm_storage, kubectl_get};
use crate::evidence::collect::{KINDS, matters};
use crate::evidence::manifest::{list, text};
use crate::evidence::wording::{Complaint, complaint};
use crate::evidence::{Entry, Fact, Header, LogLine, Recorder, Timeline, moment};

pub fn imported(mut gathered: Gathered<'_>, options: &Options) -> Imported {
    let format = format(&gathered);
    let observed_at = gathered.moment.get().unwrap_or_else(Timestamp::now);
    let recorder = Recorder::new(header(format, &gathered, observed_at), options.key);
    let pods = Pods::of(&gathered.objects);
    // Secrets come first among the kinds, so that their values are known when the others are noted.
    let mut objects: Vec<(Key, Value)> = std::mem::take(&mut gathered.objects).into_iter().collect();
    objects.sort_by_key(|(key, _)| KINDS.iter().position(|kind| kind.kind == key.0));
    recorder.record_objects(objects.into_iter().map(|(_, object)| object).collect());
    let mut missing = left_out(&gathered);
    let unread = note_logs(&gathered, &pods, &recorder, observed_at);
    missing.extend(unread.of_all);
    // The bundle tells the reasons in its own words.
    let clean = |missing: Missing| Missing {
        what: recorder.redacted(&missing.what),
        why: recorder.redacted(&missing.why),
    };
    let missing: Vec<Missing> = missing.into_iter().map(clean).collect();

    let namespaces: Vec<String> = gathered.namespaces.iter().cloned().collect();
    let wanted = match &options.namespace {
        Some(namespace) => vec![namespace.clone()],
        None if namespaces.is_empty() => vec!["default".to_owned()],
        None => namespaces.clone(),
    };
    let noted = recorder.timeline();
    let mut by_namespace = apart(&noted, &pods);
    let common = by_namespace.remove("").unwrap_or_default();
    let timelines = wanted.iter().map(|namespace| {
        let mut facts = common.clone();
        facts.extend(by_namespace.remove(namespace).unwrap_or_default());
        let (watched, unknown) = watched(&gathered, format, namespace, &facts);
        let own = unread.by_namespace.get(namespace).into_iter().flatten();
        for Missing { what, why } in missing.iter().chain(own).cloned().chain(unknown).map(clean) {
            facts.push(Fact::NotReadable { what, reason: why });
        }
        facts.push(Fact::Listed { kinds: watched });
        Timeline {
            header: Header {
                namespace: namespace.clone(),
                ..noted.header.clone()
            },
            entries: facts.into_iter().map(|fact| Entry { at: observed_at, fact }).collect(),
        }
    });
    Imported {
        format,
        timelines: timelines.collect(),
        namespaces,
        missing,
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
    let nodes = gathered.objects.iter().filter(|(key, _)| key.0 == "Node").map(|(_, node)| node);
    let versions = nodes.map(|node| text(node, "/status/nodeInfo/kubeletVersion"));
    Header {
        format: Header::FORMAT,
        recorder: concat!("rekindle ", env!("CARGO_PKG_VERSION")).to_owned(),
        observed_at,
        namespace: String::new(),
        kubernetes_version: versions.max().unwrap_or_default().to_owned(),
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

/// Which kinds are known completely in a namespace, and what is not.
fn watched(gathered: &Gathered<'_>, format: Format, namespace: &str, facts: &[Fact]) -> (Vec<String>, Vec<Missing>) {
    let mut watched = Vec::new();
    let mut absent: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for kind in KINDS {
        let of = if kind.namespaced { namespace } else { "" };
        let refused = [of, ""].iter().find_map(|of| gathered.refused.get(&(kind.kind, (*of).to_owned())));
        if let Some(reason) = refused {
            absent.entry(reason.clone()).or_default().push(kind.kind);
        } else if gathered.listed.contains(&(kind.kind, of.to_owned())) {
            watched.push(kind.kind.to_owned());
        } else if kind.built_in || speaks_of(facts, kind.group) {
            let why = match format {
                Format::HelmStorage => helm_storage::ALONE.to_owned(),
                Format::KubectlGet => kubectl_get::OPEN.to_owned(),
                _ => format!("{format} holds no complete list of it"),
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

/// The facts by namespace; what belongs to none is of all of them.
fn apart(noted: &Timeline, pods: &Pods) -> HashMap<String, Vec<Fact>> {
    let mut apart: HashMap<String, Vec<Fact>> = HashMap::new();
    // What a storage Secret says stands before it.
    let mut before: Vec<Fact> = Vec::new();
    for entry in &noted.entries {
        let fact = entry.fact.clone();
        match &fact {
            Fact::Object { object, .. } => {
                let facts = apart.entry(text(object, "/metadata/namespace").to_owned()).or_default();
                facts.append(&mut before);
                facts.push(fact);
            }
            Fact::Log(line) => {
                let namespace = pods.namespaces.get(&line.pod_uid).cloned().unwrap_or_default();
                apart.entry(namespace).or_default().push(fact);
            }
            _ => before.push(fact),
        }
    }
    apart.entry(String::new()).or_default().append(&mut before);
    apart
}

/// What has to be known of pods to read their logs.
struct Pods {
    /// By namespace and name.
    pods: BTreeMap<(String, String), Pod>,
    /// By UID.
    namespaces: HashMap<String, String>,
}

struct Pod {
    uid: String,
    matters: bool,
    containers: Vec<Container>,
}

struct Container {
    name: String,
    restarts: u32,
    /// When this one ended, and the one before it.
    ended: [Option<Timestamp>; 2],
}

impl Pods {
    fn of(objects: &BTreeMap<Key, Value>) -> Self {
        let mut found = Self {
            pods: BTreeMap::new(),
            namespaces: HashMap::new(),
        };
        for ((_, namespace, name), pod) in objects.iter().filter(|(key, _)| key.0 == "Pod") {
            // Pods of the control plane have no UID in some exports.
            let uid = text(pod, "/metadata/uid").to_owned();
            found.namespaces.insert(uid.clone(), namespace.clone());
            let pod = Pod {
                uid,
                matters: matters(pod),
                containers: statuses(pod).map(container).collect(),
            };
            found.pods.insert((namespace.clone(), name.clone()), pod);
        }
        found
    }

    /// The pod of a log, with its name's exact spelling.
    fn pod(&self, log: &Tail) -> Option<(&str, &Pod)> {
        if let Some(namespace) = &log.place.namespace {
            let key = (namespace.clone(), log.place.pod.clone());
            return self.pods.get_key_value(&key).map(|((_, name), pod)| (name.as_str(), pod));
        }
        let mut named = self.pods.iter().filter(|((_, name), _)| *name == log.place.pod);
        let (key, pod) = named.next()?;
        named.next().is_none().then_some((key.1.as_str(), pod))
    }
}

fn statuses(pod: &Value) -> impl Iterator<Item = &Value> {
    let status = pod.get("status").unwrap_or(&Value::Null);
    list(status, "initContainerStatuses")
        .iter()
        .chain(list(status, "containerStatuses"))
}

fn container(status: &Value) -> Container {
    let restarts = status.get("restartCount").and_then(Value::as_u64);
    let ended = |pointer| moment::parse(text(status, pointer));
    Container {
        name: text(status, "/name").to_owned(),
        restarts: restarts.and_then(|count| u32::try_from(count).ok()).unwrap_or(0),
        ended: [ended("/state/terminated/finishedAt"), ended("/lastState/terminated/finishedAt")],
    }
}

/// What is not known of logs.
#[derive(Default)]
struct Unread {
    of_all: Vec<Missing>,
    by_namespace: BTreeMap<String, Vec<Missing>>,
}

/// Notes the logs of pods that are not well, and tells what is not known of them.
fn note_logs(gathered: &Gathered<'_>, pods: &Pods, recorder: &Recorder, observed_at: Timestamp) -> Unread {
    let mut unread = Unread::default();
    let (mut strangers, mut unstamped, mut unresolved) = (BTreeSet::new(), false, false);
    // What a container printed before its restart comes first.
    let mut logs: Vec<&Tail> = gathered.logs.iter().collect();
    logs.sort_by_key(|log| (&log.place.namespace, &log.place.pod, &log.place.container, !log.place.previous));
    for log in logs {
        let Some((name, pod)) = pods.pod(log) else {
            strangers.insert(log.place.pod.as_str());
            continue;
        };
        let named = |container: &&Container| log.place.container.as_ref().is_none_or(|name| *name == container.name);
        let Some(container) = pod.containers.iter().find(named).filter(|_| pod.matters) else {
            continue;
        };
        if log.place.error {
            let namespace = pods.namespaces.get(&pod.uid).cloned().unwrap_or_default();
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
        recorder.record_all(lines.into_iter().map(Fact::Log).collect());
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
    unread
}
