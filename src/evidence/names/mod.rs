//! Replaces the names in evidence, so that it can be shown to somebody who should not learn them.
//!
//! It is done once, to the evidence itself and before it is judged: what is said of it then, cited from it and saved of it cannot hold a
//! name that is not there any more. The same name is the same stand-in everywhere, also within other names: the pods of `web` begin with
//! what stands for `web`, and its host in the cluster does, too. What Kubernetes, Helm and Flux have named themselves stays, and so do names
//! that are words of their messages (`job`, `server`): without these nothing could be read any more, and they tell nothing.

mod found;
mod programs;
mod system;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use aho_corasick::AhoCorasick;
use serde_json::{Map, Value};

use super::model::{Fact, Hook, ReleaseRecord, TemplateLookup, Timeline, Writer};
use found::{Found, Sort};
use programs::is_public_program;
pub use system::stays;
use system::{is_generated, is_public_image, is_system_group, is_system_label};

/// Fields whose texts are the API's own words.
const WORDS: &[&str] = &[
    "apiGroup",
    "apiGroups",
    "apiVersion",
    "kind",
    "operation",
    "operator",
    "phase",
    "reason",
    "resources",
    "resourceVersion",
    "slug",
    "status",
    "type",
    "uid",
    "verbs",
];
/// Fields that hold labels, or what is compared with them.
pub(super) const LABELS: &[&str] = &["labels", "matchLabels", "nodeSelector", "selector"];
/// Fields whose keys somebody has chosen.
const FREE: &[&str] = &[
    "annotations",
    "binaryData",
    "data",
    "stringData",
    "substitute",
    "testHooks",
    "values",
];

/// What stand-ins end with. Numbers would be as like to each other as two spellings of one name, which is what some detectors look for.
const SPELLING: &[&str] = &[
    "anchor", "bravo", "cobalt", "dolphin", "ember", "falcon", "granite", "hotel", "indigo", "juniper", "kestrel", "lantern", "meadow",
    "nutmeg", "osprey", "pepper", "quartz", "raven", "sierra", "tundra", "umbrella", "velvet", "whiskey", "xylem", "yonder", "zephyr",
];
/// With how many names a label is compared.
const MOST_NEAR: usize = 2000;

/// Stand-ins for the names in some timelines.
#[derive(Debug, Default)]
pub struct Names {
    find: Option<AhoCorasick>,
    stand_ins: Vec<String>,
    labels: BTreeMap<String, String>,
}

impl Names {
    /// Stand-ins that are the same in all of these.
    pub fn of<'a>(timelines: impl IntoIterator<Item = &'a Timeline>) -> Self {
        let mut found = Found::default();
        timelines.into_iter().for_each(|timeline| found.timeline(timeline));
        let mut given = Given::default();
        let mut names: Vec<(&String, &Sort)> = found.names.iter().collect();
        // Those that others begin with come first.
        names.sort_by_key(|(name, _)| (name.len(), name.as_str()));
        for (name, sort) in names {
            given.name(name, *sort);
        }
        for host in &found.hosts {
            given.host(host);
        }
        for image in &found.images {
            given.image(image);
        }
        let mut names = Self::searching(&given.forms);
        let mut values = Vec::new();
        for (key, value) in &found.labels {
            let mut plain = names.text(value);
            if plain == *value && !is_system_label(key) && !is_generated(value) && !stays(value) {
                let new = given.near(value).unwrap_or_else(|| given.next("value"));
                plain = names.labels.entry(value.clone()).or_insert(new).clone();
                given.values.insert(value.clone(), plain.clone());
            }
            if plain != *value {
                // As `kubectl` and taints write it.
                values.push((format!("{key}={value}"), format!("{}={plain}", names.text(key))));
            }
        }
        let labels = std::mem::take(&mut names.labels);
        given.forms.extend(values);
        Self {
            labels,
            ..Self::searching(&given.forms)
        }
    }

    fn searching(forms: &BTreeMap<String, String>) -> Self {
        Self {
            find: AhoCorasick::new(forms.keys()).ok(),
            stand_ins: forms.values().cloned().collect(),
            labels: BTreeMap::new(),
        }
    }

    /// A text with its names replaced, where they are words or parts of words that are joined by a mark.
    pub fn text(&self, text: &str) -> String {
        let Some(find) = &self.find else { return text.to_owned() };
        let bytes = text.as_bytes();
        let letter = |at: Option<usize>| at.and_then(|at| bytes.get(at)).is_some_and(u8::is_ascii_alphanumeric);
        let mut hits: Vec<_> = find
            .find_overlapping_iter(text)
            .filter(|hit| !letter(hit.start().checked_sub(1)) && !letter(Some(hit.end())))
            .collect();
        hits.sort_by_key(|hit| (hit.start(), std::cmp::Reverse(hit.end())));
        let (mut out, mut done) = (String::new(), 0);
        for hit in hits {
            if hit.start() >= done {
                out.push_str(&text[done..hit.start()]);
                out.push_str(&self.stand_ins[hit.pattern().as_usize()]);
                done = hit.end();
            }
        }
        out.push_str(&text[done..]);
        out
    }

    fn string(&self, text: &mut String) {
        *text = self.text(text);
    }

    fn label(&self, value: &str) -> String {
        self.labels.get(value).cloned().unwrap_or_else(|| self.text(value))
    }

    /// The same of an object, or of anything that was made of objects.
    pub fn value(&self, value: &mut Value) {
        match value {
            Value::String(text) => self.string(text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.value(item)),
            Value::Object(fields) => {
                for (key, field) in fields.iter_mut() {
                    let word = field.is_string() || field.as_array().is_some_and(|items| items.iter().all(Value::is_string));
                    match field {
                        Value::String(group) if key.starts_with("api") && !is_system_group(group) => self.string(group),
                        _ if word && WORDS.contains(&key.as_str()) => {}
                        labels @ Value::Object(_) if LABELS.contains(&key.as_str()) => self.labels(labels),
                        Value::Array(items) if key == "values" => {
                            for item in items {
                                match item {
                                    Value::String(text) => *text = self.label(text),
                                    other => self.value(other),
                                }
                            }
                        }
                        field => {
                            self.value(field);
                            if let Value::Object(chosen) = field
                                && FREE.contains(&key.as_str())
                            {
                                self.keys(chosen);
                            }
                        }
                    }
                }
            }
            _ => {}
        }
    }

    /// A selector may hold its labels a level further down.
    fn labels(&self, value: &mut Value) {
        match value {
            Value::String(text) => *text = self.label(text),
            Value::Object(fields) => {
                fields.values_mut().for_each(|field| self.labels(field));
                self.keys(fields);
            }
            other => self.value(other),
        }
    }

    fn keys(&self, fields: &mut Map<String, Value>) {
        *fields = std::mem::take(fields)
            .into_iter()
            .map(|(key, value)| (self.text(&key), value))
            .collect();
    }

    fn shared(&self, object: &mut Arc<Value>) {
        self.value(Arc::make_mut(object));
    }

    fn record(&self, record: &mut ReleaseRecord) {
        for text in [&mut record.name, &mut record.namespace, &mut record.description, &mut record.chart] {
            self.string(text);
        }
        for Hook { name, manifest, .. } in &mut record.hooks {
            self.string(name);
            self.value(manifest);
        }
        record.manifest.iter_mut().for_each(|object| self.value(object));
        for lookup in &mut record.lookups {
            let TemplateLookup {
                template,
                namespace,
                name,
                names,
                ..
            } = lookup;
            [template, namespace, name]
                .into_iter()
                .chain(names)
                .for_each(|text| self.string(text));
        }
        record.sources = record
            .sources
            .iter()
            .map(|(object, template)| (self.text(object), self.text(template)))
            .collect();
    }

    /// A program may call itself whatever it likes, also what is no name of an object's.
    fn writer(&self, writer: &mut Writer) {
        let new = self.text(&writer.manager);
        let told = new == writer.manager && !is_public_program(&new);
        writer.manager = if told { Sort::Program.word().to_owned() } else { new };
        writer.fields.iter_mut().for_each(|field| self.string(field));
    }

    fn fact(&self, fact: &mut Fact) {
        match fact {
            Fact::EngineStarted(start) => {
                self.string(&mut start.release);
                self.string(&mut start.namespace);
            }
            Fact::EngineLine { text, .. } => self.string(text),
            Fact::Object { object, writers, .. } => {
                self.shared(object);
                Arc::make_mut(writers).iter_mut().for_each(|writer| self.writer(writer));
            }
            Fact::Log(line) => {
                self.string(&mut line.pod);
                self.string(&mut line.container);
                self.string(&mut line.text);
            }
            Fact::Release(record) => self.record(Arc::make_mut(record)),
            Fact::Lookup { host, tried, answer, .. } => {
                self.string(host);
                tried.iter_mut().for_each(|name| self.string(name));
                super::redact::reason(answer).into_iter().for_each(|reason| self.string(reason));
            }
            Fact::Request { url, answer, .. } => {
                self.string(url);
                super::redact::reason(answer).into_iter().for_each(|reason| self.string(reason));
            }
            Fact::NotReadable { what, reason } => {
                self.string(what);
                self.string(reason);
            }
            Fact::Gap { reason, .. } => self.string(reason),
            Fact::EngineEnded { .. } | Fact::Listed { .. } | Fact::RemedyStarted { .. } => {}
        }
    }

    /// The timeline with its names replaced.
    pub fn timeline(&self, mut timeline: Timeline) -> Timeline {
        self.string(&mut timeline.header.namespace);
        timeline.header.notes.values_mut().for_each(|note| self.string(note));
        timeline.entries.iter_mut().for_each(|entry| self.fact(&mut entry.fact));
        timeline
    }
}

/// The stand-ins that were given so far, by what they stand for.
#[derive(Default)]
struct Given {
    forms: BTreeMap<String, String>,
    /// Parts of names, of hosts too.
    parts: BTreeMap<String, String>,
    /// The values of labels.
    values: BTreeMap<String, String>,
    count: BTreeMap<&'static str, usize>,
}

impl Given {
    fn next(&mut self, word: &'static str) -> String {
        let count = self.count.entry(word).or_default();
        let (mut rest, mut spelt) = (*count, String::new());
        *count += 1;
        loop {
            spelt.insert_str(0, SPELLING[rest % SPELLING.len()]);
            rest /= SPELLING.len();
            if rest == 0 {
                return format!("{word}-{spelt}");
            }
            rest -= 1;
        }
    }

    /// What stands for a label that is spelt nearly as something else: nearly as that. A slip of the pen can be what is wrong.
    fn near(&self, value: &str) -> Option<String> {
        let known = self
            .forms
            .iter()
            .chain(&self.values)
            .filter(|(known, _)| known.len().abs_diff(value.len()) <= 1);
        let near = known.take(MOST_NEAR).find(|(known, _)| {
            let distance = strsim::damerau_levenshtein(known, value);
            distance > 0 && distance <= value.len() / 4
        });
        near.map(|(_, stand_in)| format!("{stand_in}x"))
    }

    fn part(&mut self, part: &str, word: &'static str) -> String {
        if let Some(known) = self.forms.get(part).or_else(|| self.parts.get(part)) {
            return known.clone();
        }
        if stays(part) || is_generated(part) {
            return part.to_owned();
        }
        let new = self.next(word);
        self.parts.insert(part.to_owned(), new.clone());
        new
    }

    fn name(&mut self, name: &str, sort: Sort) {
        if stays(name) || self.forms.contains_key(name) {
            return;
        }
        // What is derived from another name begins with it.
        let prefix = (1..name.len())
            .rev()
            .filter(|at| matches!(name.as_bytes()[*at], b'-' | b'.'))
            .find_map(|at| Some((at, self.forms.get(&name[..at])?.clone())));
        let new = match prefix {
            Some((at, known)) => format!("{known}{}{}", &name[at..=at], self.part(&name[at + 1..], "part")),
            None => self.next(sort.word()),
        };
        // The kubelet tells of Services in variables.
        let upper = name.to_ascii_uppercase().replace(['-', '.'], "_");
        let new_upper = new.to_ascii_uppercase().replace(['-', '.'], "_");
        for end in ["SERVICE_HOST", "SERVICE_PORT", "PORT"] {
            self.forms.insert(format!("{upper}_{end}"), format!("{new_upper}_{end}"));
        }
        self.forms.insert(name.to_owned(), new);
    }

    /// All but the last label of a host, which tells of nobody.
    fn host(&mut self, host: &str) {
        let labels: Vec<&str> = host.split('.').collect();
        let Some((last, rest)) = labels.split_last().filter(|(_, rest)| !rest.is_empty()) else {
            return;
        };
        let mut new = Vec::new();
        for (at, label) in rest.iter().enumerate() {
            new.push(self.part(label, if at == 0 { "host" } else { "zone" }));
        }
        self.forms.insert(host.to_owned(), format!("{}.{last}", new.join(".")));
    }

    fn image(&mut self, image: &str) {
        let Some((registry, path)) = image.split_once('/').filter(|_| !is_public_image(image)) else {
            return;
        };
        let known = self.forms.get(registry.split(':').next().unwrap_or(registry)).cloned();
        let port = registry.split_once(':').map_or(String::new(), |(_, port)| format!(":{port}"));
        let registry = known.map_or_else(|| registry.to_owned(), |known| known + &port);
        let path = self.part(path, "image");
        self.forms.insert(image.to_owned(), format!("{registry}/{path}"));
    }
}
