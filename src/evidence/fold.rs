//! Folds a timeline into what detectors look at: the state at one moment, with the history that led to it.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value};

use super::index::Index;
use super::life::{Life, Version};
use super::model::{Answer, Change, EngineStart, Entry, Fact, Header, LogLine, ObjectRef, ReleaseRecord, Timeline, Vantage};
use super::wording::{Complaint, complaint, shape};
use crate::command::Stream;

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
