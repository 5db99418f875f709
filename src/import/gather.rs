//! Gathers what the files of a bundle tell, whatever its format is.

mod sink;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead};

use jiff::Timestamp;
use serde_json::Value;

use super::compact::{self, Compact};
use super::limits::Limits;
use super::logs::Tail;
use super::objects::{Known, Moment, api_version, event, known, of_plural, size, unseal};
use super::pieces::{self, Held, LINE, Sink, line};
use super::place::{Hints, Place, place};
use super::pods::Pods;
use super::source::{Visitor, Want};
use super::{Format, Options};
use crate::evidence::Intake;
use crate::evidence::collect::Kind;
use crate::evidence::manifest;

const TOO_LARGE: &str = "the objects of the bundle are too large together";
const TOO_DEEP: &str = "its fields lie too deep within each other";

/// Kind, namespace and name. The namespace is empty for kinds without one.
pub type Key = (&'static str, String, String);

/// Everything that was found.
pub struct Gathered<'a> {
    limits: &'a Limits,
    /// Only this namespace is wanted.
    wanted: Option<&'a str>,
    /// What is learnt of everything that is kept.
    pub intake: Intake,
    pub objects: BTreeMap<Key, Compact>,
    pub pods: Pods,
    /// The newest version of a node.
    pub kubelet: String,
    /// There is something else than Helm's storage Secrets.
    pub others: bool,
    values: usize,
    /// The kinds of which everything is here, with their namespace.
    pub listed: BTreeSet<(&'static str, String)>,
    /// Every namespace of which anything is here.
    pub namespaces: BTreeSet<String>,
    pub logs: Vec<Tail>,
    log_bytes: usize,
    pub moment: Moment,
    /// Why kinds were not collected, as the bundle says: by kind and namespace.
    pub refused: BTreeMap<(&'static str, String), String>,
    /// What was not read: how often, and the first one, by why.
    pub left_out: BTreeMap<String, (usize, String)>,
    /// What the places of files speak for.
    pub formats: BTreeMap<Format, usize>,
    /// How many lists do not say whether they are complete.
    pub open_lists: usize,
    pub files: usize,
    file: Reading,
}

/// The file that is being read.
#[derive(Default)]
struct Reading {
    path: String,
    format: Option<Format>,
    hints: Hints,
    /// Items of a list whose kind stands behind them, and how many values they have.
    pending: Vec<Value>,
    values: usize,
    /// The namespaces of the items of the list.
    of: BTreeSet<String>,
    log: Option<Tail>,
    /// Of lists that come one after the other, those of which the namespace is not known yet, and the one that is.
    group: (Vec<&'static str>, Option<String>),
}

impl<'a> Gathered<'a> {
    pub fn new(options: &'a Options, now: Timestamp) -> Self {
        Self {
            limits: &options.limits,
            wanted: options.namespace.as_deref(),
            intake: Intake::new(options.key),
            objects: BTreeMap::new(),
            pods: Pods::default(),
            kubelet: String::new(),
            others: false,
            values: 0,
            listed: BTreeSet::new(),
            namespaces: BTreeSet::new(),
            logs: Vec::new(),
            log_bytes: 0,
            moment: Moment::until(now),
            refused: BTreeMap::new(),
            left_out: BTreeMap::new(),
            formats: BTreeMap::new(),
            open_lists: 0,
            files: 0,
            file: Reading::default(),
        }
    }

    fn vote(&mut self) {
        if let Some(format) = self.file.format {
            *self.formats.entry(format).or_default() += 1;
        }
    }

    fn is_wanted(&self, namespace: &str) -> bool {
        namespace.is_empty() || self.wanted.is_none_or(|wanted| wanted == namespace)
    }

    /// Takes in an object, whose kind is known by now.
    fn add(&mut self, mut object: Value) {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let (kind, name) = (text("/kind").to_owned(), text("/metadata/name").to_owned());
        let found = known(text("/apiVersion"), &kind);
        let (Known::Kept(of) | Known::Newer(of)) = found else { return };
        if name.is_empty() {
            return;
        }
        let stated = text("/metadata/namespace");
        let namespace = match (of.namespaced, stated) {
            (false, _) => String::new(),
            (true, "") => self
                .file
                .hints
                .namespace
                .clone()
                .or(self.wanted.map(str::to_owned))
                .unwrap_or_else(|| "default".to_owned()),
            (true, stated) => stated.to_owned(),
        };
        self.moment.object(&object);
        if of.namespaced {
            self.namespaces.insert(namespace.clone());
            self.file.of.insert(namespace.clone());
        }
        if !self.is_wanted(&namespace) {
            return;
        }
        if let Known::Newer(of) = found {
            let version = text("/apiVersion").to_owned();
            let why = format!(
                "this rekindle knows {} and nothing later, so that nothing is concluded from it",
                api_version(of)
            );
            self.note(&format!("{kind} {name} of {version}"), &why);
            return;
        }
        let size = size(&object);
        if size.values > self.limits.values || self.values + size.values > self.limits.kept {
            self.note(&format!("{kind} {name}"), TOO_LARGE);
            return;
        }
        if size.depth > self.limits.nesting {
            self.note(&format!("{kind} {name}"), TOO_DEEP);
            return;
        }
        match of.kind {
            "Secret" => unseal(&mut object),
            "Event" => event(&mut object),
            _ => {}
        }
        object["kind"] = Value::from(of.kind);
        object["apiVersion"] = Value::from(api_version(of));
        if of.namespaced {
            object["metadata"]["namespace"] = Value::from(namespace.as_str());
        }
        self.keep((of.kind, namespace, name), object, size.values);
    }

    /// Of an object that stands in several files, the latest counts.
    fn keep(&mut self, key: Key, object: Value, values: usize) {
        if let Some(before) = self.objects.get(&key)
            && before.age >= compact::age(&object)
        {
            return;
        }
        match key.0 {
            "Pod" => self.pods.add(&key.1, &key.2, &object),
            "Node" => {
                let version = manifest::text(&object, "/status/nodeInfo/kubeletVersion");
                self.kubelet = version.to_owned().max(std::mem::take(&mut self.kubelet));
            }
            _ => {}
        }
        self.others |= manifest::text(&object, "/type") != "helm.sh/release.v1";
        self.values += values;
        self.objects.insert(key, Compact::new(object, &mut self.intake));
    }

    /// Puts an item aside whose kind stands behind it.
    fn wait(&mut self, item: Value) {
        let namespace = item.pointer("/metadata/namespace").and_then(Value::as_str).unwrap_or_default();
        if !self.is_wanted(namespace) {
            self.moment.object(&item);
            self.namespaces.insert(namespace.to_owned());
            self.file.of.insert(namespace.to_owned());
            return;
        }
        let values = size(&item).values;
        if self.values + self.file.values + values > self.limits.kept {
            self.note(&format!("an object in {}", self.file.path.clone()), TOO_LARGE);
            return;
        }
        self.file.values += values;
        self.file.pending.push(item);
    }

    fn note(&mut self, what: &str, why: &str) {
        let (count, _) = self.left_out.entry(why.to_owned()).or_insert_with(|| (0, what.to_owned()));
        *count += 1;
    }

    /// What the list that has just ended says of its kind: that all of it is here.
    fn listed(&mut self, kind: &'static Kind) {
        let of = std::mem::take(&mut self.file.of);
        if !kind.namespaced {
            self.listed.insert((kind.kind, String::new()));
            return;
        }
        if let Some(namespace) = &self.file.hints.namespace {
            self.listed.insert((kind.kind, namespace.clone()));
            self.namespaces.insert(namespace.clone());
            return;
        }
        if kind.kind == "Event" {
            // With it begins what a dump tells of a namespace.
            self.file.group = (Vec::new(), None);
        }
        self.file.group.0.push(kind.kind);
        if of.len() == 1 {
            self.file.group.1 = of.first().cloned();
        }
        for namespace in of {
            self.listed.insert((kind.kind, namespace));
        }
        self.settle_group();
    }

    /// A list without items is of the namespace that its neighbours are of.
    fn settle_group(&mut self) {
        let (kinds, Some(namespace)) = &mut self.file.group else { return };
        for kind in kinds.drain(..) {
            self.listed.insert((kind, namespace.clone()));
        }
    }

    /// Reads why a kind was not collected: a namespace for each reason, or reasons alone.
    fn errors(&mut self, plural: &str, reader: &mut dyn BufRead) -> io::Result<()> {
        let mut text = Vec::new();
        let mut rest = Vec::new();
        while rest.len() < LINE && line(reader, LINE, &mut text)? {
            rest.extend_from_slice(&text);
        }
        let Some(kind) = of_plural(plural) else { return Ok(()) };
        let reason = |value: &Value| value.as_str().map(str::to_owned).filter(|reason| !reason.is_empty());
        match serde_json::from_slice::<Value>(&rest) {
            Ok(Value::Object(of)) => {
                for (namespace, value) in of {
                    if let Some(reason) = reason(&value) {
                        self.refused.insert((kind.kind, namespace), reason);
                    }
                }
            }
            Ok(Value::Array(all)) => {
                if let Some(reason) = all.first().and_then(reason) {
                    self.refused.insert((kind.kind, String::new()), reason);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn keep_log(&mut self, tail: Tail) {
        if let Some(latest) = tail.latest() {
            self.moment.saw(latest);
        }
        let known = tail.place.namespace.as_ref().and_then(|_| self.pods.pod(&tail));
        if known.is_some_and(|(_, pod)| !pod.matters) {
            return;
        }
        if self.log_bytes + tail.bytes() > self.limits.logs {
            let pod = tail.place.pod.clone();
            self.note(&format!("the log of pod {pod}"), "the logs of the bundle are too large together");
            return;
        }
        self.log_bytes += tail.bytes();
        self.logs.push(tail);
    }
}

impl Visitor for Gathered<'_> {
    fn wants(&mut self, path: &str) -> Want {
        let (format, place) = place(path);
        let namespace = match &place {
            Place::Log(log) => log.namespace.as_deref(),
            Place::Objects(hints) => hints.namespace.as_deref(),
            _ => None,
        };
        if let Some(namespace) = namespace
            && !self.is_wanted(namespace)
        {
            self.namespaces.insert(namespace.to_owned());
            return Want::Nothing;
        }
        let known = |hints: &Hints| hints.plural.as_deref().is_none_or(|plural| of_plural(plural).is_some());
        match place {
            Place::Nothing => Want::Nothing,
            Place::Objects(hints) if format.is_some() && !known(&hints) => Want::Nothing,
            Place::Log(_) => Want::End,
            Place::Objects(_) | Place::Errors { .. } => Want::All,
        }
    }

    fn file(&mut self, path: &str, reader: &mut dyn BufRead) -> io::Result<()> {
        let (format, place) = place(path);
        self.files += 1;
        self.file = Reading {
            path: path.to_owned(),
            format,
            ..Reading::default()
        };
        match place {
            Place::Nothing => Ok(()),
            Place::Errors { plural } => self.errors(&plural, reader),
            Place::Log(log) => {
                self.vote();
                self.log(log);
                let mut text = Vec::new();
                let result = loop {
                    match line(reader, LINE, &mut text) {
                        Ok(true) => self.line(&text),
                        Ok(false) => break Ok(()),
                        Err(error) => break Err(error),
                    }
                };
                self.log_end();
                result
            }
            Place::Objects(hints) => {
                self.file.hints = hints;
                let limits = self.limits;
                match pieces::read(reader, limits, self)? {
                    Held::Pieces => self.vote(),
                    Held::Other => {}
                }
                Ok(())
            }
        }
    }

    fn left_out(&mut self, what: &str, why: &str) {
        self.note(what, why);
    }
}
