//! Folds a timeline into what detectors look at: the state at one moment, with the history that led to it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value};

use super::index::Index;
use super::model::{Answer, Change, EngineStart, Entry, Fact, Header, LogLine, ObjectRef, ReleaseRecord, Timeline, Vantage, Writer};
use super::wording::{Complaint, complaint, shape};
use crate::command::Stream;
use crate::evidence::moment;

/// How an object looked from one moment on.
#[derive(Debug, Clone)]
pub struct Version {
    pub at: Timestamp,
    pub object: Arc<Value>,
    pub writers: Arc<[Writer]>,
}

/// One object from its first sight to its deletion. An object of the same name with another UID has a life of its own.
#[derive(Debug, Clone)]
pub struct Life {
    pub versions: Vec<Version>,
    pub deleted_at: Option<Timestamp>,
}

impl Life {
    /// How it looks now, or looked last.
    pub fn object(&self) -> &Value {
        static NULL: Value = Value::Null;
        self.versions.last().map_or(&NULL, |version| &version.object)
    }

    /// Who wrote it as it is, as far as is known, the newest first.
    pub fn writers(&self) -> &[Writer] {
        self.versions.last().map_or(&[], |version| &version.writers)
    }

    pub fn reference(&self) -> ObjectRef {
        ObjectRef::of(self.object())
    }

    pub fn first_seen(&self) -> Timestamp {
        self.versions.first().map_or(Timestamp::UNIX_EPOCH, |version| version.at)
    }

    pub fn exists(&self) -> bool {
        self.deleted_at.is_none()
    }

    /// What was known of it at a moment; nothing where it had not been seen by then.
    pub fn until(&self, moment: Timestamp) -> Option<Self> {
        let known = self.versions.partition_point(|version| version.at <= moment);
        (known > 0).then(|| Self {
            versions: self.versions[..known].to_vec(),
            deleted_at: self.deleted_at.filter(|gone| *gone <= moment),
        })
    }

    /// The same; or how it was found where nobody had looked by then, and its controller has seen nothing newer of it since.
    pub fn until_or_found(&self, moment: Timestamp) -> Option<Self> {
        let found = self.versions.first().map(|version| version.at);
        self.until(moment).or_else(|| {
            let first = self.until(found?)?;
            let attempted = first
                .number("/status/lastAttemptedGeneration")
                .or_else(|| first.number("/status/observedGeneration"));
            (attempted.is_some() && attempted == first.number("/metadata/generation")).then_some(first)
        })
    }

    /// How it was before it was told to go: what a pod says of itself while it is taken away tells nothing of what it lacked.
    pub fn before_leaving(&self) -> Cow<'_, Self> {
        let leaves = |version: &Version| version.object.pointer("/metadata/deletionTimestamp").is_some();
        match self.versions.iter().position(leaves) {
            Some(known @ 1..) => Cow::Owned(Self {
                versions: self.versions[..known].to_vec(),
                deleted_at: self.deleted_at,
            }),
            _ => Cow::Borrowed(self),
        }
    }

    pub fn uid(&self) -> &str {
        self.text("/metadata/uid")
    }

    pub fn name(&self) -> &str {
        self.text("/metadata/name")
    }

    /// What is at a JSON pointer. Detectors ask for thousands of these after every few facts, so nothing is allocated for the usual ones.
    pub fn at(&self, pointer: &str) -> Option<&Value> {
        if pointer.contains('~') {
            return self.object().pointer(pointer);
        }
        pointer.split('/').skip(1).try_fold(self.object(), |value, key| match value {
            Value::Object(fields) => fields.get(key),
            Value::Array(items) => items.get(key.parse::<usize>().ok()?),
            _ => None,
        })
    }

    /// The string at a JSON pointer; empty where there is none.
    pub fn text(&self, pointer: &str) -> &str {
        self.at(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    /// The number at a JSON pointer.
    pub fn number(&self, pointer: &str) -> Option<i64> {
        self.at(pointer).and_then(Value::as_i64)
    }

    /// The list at a JSON pointer; empty where there is none.
    pub fn list(&self, pointer: &str) -> &[Value] {
        self.at(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    /// The time at a JSON pointer, as the API writes it.
    pub fn time(&self, pointer: &str) -> Option<Timestamp> {
        moment::parse(self.at(pointer)?.as_str()?)
    }

    /// The status of a condition: `True`, `False`, `Unknown`; empty where it has none of this type.
    pub fn condition(&self, condition: &str) -> &str {
        self.condition_object(condition)
            .and_then(|found| found.get("status")?.as_str())
            .unwrap_or_default()
    }

    pub fn condition_object(&self, condition: &str) -> Option<&Value> {
        self.list("/status/conditions")
            .iter()
            .find(|found| found.get("type").and_then(Value::as_str) == Some(condition))
    }

    /// An annotation's value; `None` where it is not there.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.at("/metadata/annotations")?.get(key)?.as_str()
    }

    /// Whether the object with this UID is among its owners.
    pub fn owned_by(&self, uid: &str) -> bool {
        !uid.is_empty()
            && self
                .list("/metadata/ownerReferences")
                .iter()
                .any(|owner| owner.get("uid").and_then(Value::as_str) == Some(uid))
    }
}

/// A line of a log with what it complains about.
#[derive(Debug, Clone)]
pub struct PrintedLine {
    pub at: Timestamp,
    pub line: LogLine,
    pub complaint: Option<Complaint>,
    /// The same for lines that differ only in numbers and times: what a loop prints again and again.
    pub shape: u64,
}

/// What one container printed, over its restarts.
#[derive(Debug, Clone, Default)]
pub struct Log {
    pub lines: Vec<PrintedLine>,
}

/// A name that was looked up or a URL that was asked for.
#[derive(Debug, Clone)]
pub struct Look {
    pub at: Timestamp,
    /// The first time that this vantage gave this answer without another in between.
    pub since: Timestamp,
    /// How often in a row.
    pub times: u32,
    pub tried: Vec<String>,
    pub answer: Answer,
}

/// How an engine ended.
#[derive(Debug, Clone)]
pub struct EngineEnd {
    pub at: Timestamp,
    pub exit_code: Option<i32>,
}

/// One run of an engine.
#[derive(Debug, Clone)]
pub struct Engine {
    pub started_at: Timestamp,
    pub start: EngineStart,
    pub lines: Vec<(Stream, String)>,
    pub end: Option<EngineEnd>,
}

impl Engine {
    pub fn running(&self) -> bool {
        self.end.is_none()
    }

    /// Ended without success.
    pub fn failed(&self) -> bool {
        self.end.as_ref().is_some_and(|end| end.exit_code != Some(0))
    }

    /// All that it printed to standard error, a line each.
    pub fn error(&self) -> String {
        let lines: Vec<_> = self
            .lines
            .iter()
            .filter(|(stream, _)| *stream == Stream::Stderr)
            .map(|(_, text)| text.as_str())
            .collect();
        lines.join("\n")
    }
}

type Key = (String, String, String);

/// Everything known at one moment. Detectors read it; only [`Evidence::apply`] changes it.
#[derive(Debug, Clone)]
pub struct Evidence {
    pub header: Header,
    /// The receipt of the latest fact: the only "now" there is.
    pub now: Timestamp,
    /// The engine's runs, in their order.
    pub engines: Vec<Engine>,
    /// Release records by name and revision, as they are now.
    pub releases: BTreeMap<(String, u32), (Timestamp, Arc<ReleaseRecord>)>,
    pub lookups: BTreeMap<(String, Vantage), Look>,
    pub requests: BTreeMap<(String, Vantage), Look>,
    pub gaps: Vec<(Timestamp, String, String)>,
    pub not_readable: Vec<(String, String)>,
    pub remedy_started: Option<Timestamp>,
    /// Until when what was there before came in: of what was seen by then it is not known since when it is so.
    found_until: Option<Timestamp>,
    lives: BTreeMap<Key, Vec<Life>>,
    index: Index,
    logs: BTreeMap<(String, String), Log>,
}

impl Evidence {
    pub fn new(header: Header) -> Self {
        Self {
            now: header.observed_at,
            header,
            engines: Vec::new(),
            releases: BTreeMap::new(),
            lookups: BTreeMap::new(),
            requests: BTreeMap::new(),
            gaps: Vec::new(),
            not_readable: Vec::new(),
            remedy_started: None,
            found_until: None,
            lives: BTreeMap::new(),
            index: Index::default(),
            logs: BTreeMap::new(),
        }
    }

    /// All of a timeline.
    pub fn of(timeline: &Timeline) -> Self {
        let mut evidence = Self::new(timeline.header.clone());
        for entry in &timeline.entries {
            evidence.apply(entry);
        }
        evidence
    }

    /// Takes in the next entry of the timeline.
    pub fn apply(&mut self, entry: &Entry) {
        self.now = self.now.max(entry.at);
        match &entry.fact {
            Fact::EngineStarted(start) => {
                self.engines.push(Engine {
                    started_at: entry.at,
                    start: start.clone(),
                    lines: Vec::new(),
                    end: None,
                });
            }
            Fact::EngineLine { stream, text } => {
                if let Some(engine) = self.engines.last_mut() {
                    engine.lines.push((*stream, text.clone()));
                }
            }
            Fact::EngineEnded { exit_code } => {
                if let Some(engine) = self.engines.last_mut() {
                    engine.end = Some(EngineEnd {
                        at: entry.at,
                        exit_code: *exit_code,
                    });
                }
            }
            Fact::Listed { kinds } => {
                self.found_until.get_or_insert(entry.at);
                let new: Vec<_> = kinds.iter().filter(|kind| !self.watched(kind)).cloned().collect();
                self.header.watched.extend(new);
            }
            Fact::Object { change, object, writers } => {
                let version = Version {
                    at: entry.at,
                    object: object.clone(),
                    writers: writers.clone(),
                };
                self.apply_object(*change, version);
            }
            Fact::Log(line) => {
                let log = self.logs.entry((line.pod_uid.clone(), line.container.clone())).or_default();
                log.lines.push(PrintedLine {
                    at: entry.at,
                    line: line.clone(),
                    complaint: complaint(&line.text),
                    shape: shape(&line.text),
                });
            }
            Fact::Release(record) => {
                self.releases
                    .insert((record.name.clone(), record.revision), (entry.at, record.clone()));
            }
            Fact::Lookup {
                host,
                vantage,
                tried,
                answer,
            } => {
                look(&mut self.lookups, (host.clone(), *vantage), entry.at, tried, answer);
            }
            Fact::Request { url, vantage, answer } => look(&mut self.requests, (url.clone(), *vantage), entry.at, &[], answer),
            Fact::Gap { kind, reason } => self.gaps.push((entry.at, kind.clone(), reason.clone())),
            Fact::NotReadable { what, reason } => self.not_readable.push((what.clone(), reason.clone())),
            Fact::RemedyStarted { .. } => self.remedy_started = Some(entry.at),
        }
    }

    fn apply_object(&mut self, change: Change, version: Version) {
        let (at, reference) = (version.at, ObjectRef::of(&version.object));
        let namespace = reference.namespace.unwrap_or_default();
        self.index.add(&version.object, &reference.kind, &namespace, &reference.name);
        let lives = self.lives.entry((reference.kind, namespace, reference.name)).or_default();
        let uid = reference.uid.unwrap_or_default();
        let index = lives.iter().position(|life| life.uid() == uid).unwrap_or_else(|| {
            lives.push(Life {
                versions: Vec::new(),
                deleted_at: None,
            });
            lives.len() - 1
        });
        let life = &mut lives[index];
        life.versions.push(version);
        life.deleted_at = (change == Change::Deleted).then_some(at);
    }

    /// Every object of a kind that exists now.
    pub fn all<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Life> {
        self.ever(kind).filter(|life| life.exists())
    }

    /// Every object of a kind that was ever seen, deleted ones included.
    pub fn ever<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Life> {
        let from = (kind.to_owned(), String::new(), String::new());
        self.lives
            .range(from..)
            .take_while(move |(key, _)| key.0 == kind)
            .flat_map(|(_, lives)| lives)
    }

    /// Every object of this name that was ever seen, in the order of their first sight. The namespace is empty for cluster-wide kinds.
    pub fn ever_named(&self, kind: &str, namespace: &str, name: &str) -> &[Life] {
        let key = (kind.to_owned(), namespace.to_owned(), name.to_owned());
        self.lives.get(&key).map_or(&[], Vec::as_slice)
    }

    /// The object of this name that exists now. The namespace is empty for cluster-wide kinds.
    pub fn get(&self, kind: &str, namespace: &str, name: &str) -> Option<&Life> {
        self.ever_named(kind, namespace, name).iter().rev().find(|life| life.exists())
    }

    /// The object that a reference without UID means, as far as it exists now.
    pub fn meant(&self, reference: &ObjectRef) -> Option<&Life> {
        self.get(&reference.kind, reference.namespace.as_deref().unwrap_or_default(), &reference.name)
    }

    /// Every object of a kind that was ever seen and is, or was last, owned by the object with this UID; in the order of [`Evidence::ever`].
    pub fn ever_owned<'a>(&'a self, kind: &str, uid: &str) -> impl Iterator<Item = &'a Life> + use<'a> {
        let (kind, uid) = (kind.to_owned(), uid.to_owned());
        let places = self.index.owned(&kind, &uid);
        let lives = places.flat_map(move |(namespace, name)| self.ever_named(&kind, namespace, name));
        lives.filter(move |life| life.owned_by(&uid))
    }

    /// The objects of a kind that exist now and are owned by the object with this UID.
    pub fn owned<'a>(&'a self, kind: &str, uid: &str) -> impl Iterator<Item = &'a Life> + use<'a> {
        self.ever_owned(kind, uid).filter(|life| life.exists())
    }

    /// Every pod or EndpointSlice that was ever seen and has, or had last, all labels of a selector; in the order of [`Evidence::ever`]. A
    /// selector without labels selects nothing.
    pub fn ever_selected<'a>(&'a self, kind: &'a str, selector: &'a Map<String, Value>) -> impl Iterator<Item = &'a Life> + use<'a> {
        let places = self.index.labelled(kind, selector);
        let lives = places.flat_map(move |(namespace, name)| self.ever_named(kind, namespace, name));
        lives.filter(move |life| {
            let labels = life.at("/metadata/labels");
            selector
                .iter()
                .all(|(key, value)| labels.and_then(|labels| labels.get(key)) == Some(value))
        })
    }

    /// The events that exist now and may be about this object: kind and name agree.
    pub fn events_about<'a>(&'a self, about: &Life) -> impl Iterator<Item = &'a Life> + use<'a> {
        let places = self.index.about(about.text("/kind"), about.name());
        places
            .flat_map(|(namespace, name)| self.ever_named("Event", namespace, name))
            .filter(|event| event.exists())
    }

    /// What a container printed.
    pub fn log(&self, pod_uid: &str, container: &str) -> Option<&Log> {
        self.logs.get(&(pod_uid.to_owned(), container.to_owned()))
    }

    /// Every log of a pod with the name of its container.
    pub fn logs_of<'a>(&'a self, pod_uid: &'a str) -> impl Iterator<Item = (&'a str, &'a Log)> {
        self.logs
            .range((pod_uid.to_owned(), String::new())..)
            .take_while(move |(key, _)| key.0 == pod_uid)
            .map(|(key, log)| (key.1.as_str(), log))
    }

    /// Every object that exists now and whose kind is not among the given ones.
    pub fn all_but<'a>(&'a self, kinds: &'a [&'a str]) -> impl Iterator<Item = &'a Life> {
        self.lives
            .iter()
            .filter(|(key, _)| !kinds.contains(&key.0.as_str()))
            .flat_map(|(_, lives)| lives)
            .filter(|life| life.exists())
    }

    /// The newest record of a release with the moment of its receipt.
    pub fn release_received(&self, name: &str) -> Option<(Timestamp, &ReleaseRecord)> {
        self.releases
            .range((name.to_owned(), 0)..=(name.to_owned(), u32::MAX))
            .next_back()
            .map(|(_, (at, record))| (*at, record.as_ref()))
    }

    /// Whether a time is no later than when what was there before had come in.
    pub fn was_found(&self, since: Timestamp) -> bool {
        self.found_until.is_some_and(|until| since <= until)
    }

    /// Whether every object of this kind would be here if it existed.
    pub fn watched(&self, kind: &str) -> bool {
        self.header.watched.iter().any(|watched| watched == kind)
    }

    /// The engine's run that is under way or was the last.
    pub fn engine(&self) -> Option<&Engine> {
        self.engines.last()
    }

    /// The newest record of a release.
    pub fn release(&self, name: &str) -> Option<&ReleaseRecord> {
        self.revisions(name).next()
    }

    /// Every record of a release, the newest revision first.
    pub fn revisions<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a ReleaseRecord> + use<'a> {
        self.releases
            .range((name.to_owned(), 0)..=(name.to_owned(), u32::MAX))
            .rev()
            .map(|(_, (_, record))| record.as_ref())
    }

    /// How much of its timeout the running engine still has for what it waits for now: the hook that runs, else the resources.
    pub fn time_left(&self) -> Option<SignedDuration> {
        let engine = self.engine().filter(|engine| engine.running())?;
        let hooks = self
            .release(&engine.start.release)
            .map(|record| record.hooks.as_slice())
            .unwrap_or_default();
        let running = hooks
            .iter()
            .filter(|hook| hook.completed_at.is_none())
            .filter_map(|hook| hook.started_at);
        let since = running
            .filter(|started| *started >= engine.started_at)
            .max()
            .unwrap_or(engine.started_at);
        Some(engine.start.timeout() - self.now.duration_since(since))
    }

    /// How long ago a moment was, as far as the evidence reaches.
    pub fn since(&self, moment: Timestamp) -> SignedDuration {
        self.now.duration_since(moment)
    }
}

fn look(looks: &mut BTreeMap<(String, Vantage), Look>, key: (String, Vantage), at: Timestamp, tried: &[String], answer: &Answer) {
    match looks.get_mut(&key) {
        Some(look) if look.answer == *answer => {
            look.at = at;
            look.times += 1;
        }
        _ => {
            looks.insert(
                key,
                Look {
                    at,
                    since: at,
                    times: 1,
                    tried: tried.to_vec(),
                    answer: answer.clone(),
                },
            );
        }
    }
}
