//! Who wrote which fields of an object and when, out of what the API server keeps of it in `metadata.managedFields`.
//!
//! That part of an object can be larger than all the rest, and most of it tells nothing: which fields a controller of Kubernetes' own fills
//! in, each label of a chart. So it is read without being kept, and what stays is bounded: the newest writers, each with the fields that lie
//! highest. Values stand in it, too, as the keys of sets; none of them is kept.

use std::borrow::Cow;
use std::fmt;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::model::Writer;
use super::moment;

/// How many writers of an object are kept: the newest.
const MOST_WRITERS: usize = 5;
/// How many fields of each.
const MOST_FIELDS: usize = 20;
/// How long a path may be; an annotation's key alone may have 316 letters.
const LONGEST_PATH: usize = 200;
/// How long the API lets the name of a manager be.
const LONGEST_NAME: usize = 128;
/// How deep fields are followed.
const DEEPEST: usize = 40;

/// Where an object carries its writers, in their kept form, until they are noted beside it. No kind that is looked at has such a field.
pub const CARRIED: &str = "writtenBy";

/// Parts of Kubernetes that fill in what others have asked for. Of what they write only a number of replicas is somebody's decision: the
/// autoscaler's.
const OWN: &[&str] = &[
    "cloud-controller-manager",
    "k3s",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
];

/// Takes in the writers of one object, one after the other.
#[derive(Debug, Default)]
pub struct Writers(Vec<Writer>);

impl Writers {
    /// Those that stand in the metadata of an object as `kube` reads it.
    pub fn of_entries(entries: &[ManagedFieldsEntry]) -> Self {
        let mut writers = Self::default();
        for entry in entries {
            let text = |text: &Option<String>| text.clone().unwrap_or_default();
            let mut draft = Draft {
                manager: text(&entry.manager),
                operation: text(&entry.operation),
                subresource: text(&entry.subresource),
                time: entry.time.as_ref().and_then(|time| moment::bounded(time.0)),
                fields: Fields::default(),
            };
            if let Some(fields) = entry.fields_v1.as_ref().filter(|_| draft.matters()) {
                // What is no tree of fields has told nothing by then.
                let _ = Tree(&mut draft.fields).deserialize(&fields.0);
            }
            writers.add(draft);
        }
        writers
    }

    /// Takes in one that has been read to its end, if it tells anything.
    pub fn add(&mut self, draft: Draft) {
        if !draft.matters() || draft.fields.is_empty() {
            return;
        }
        let Draft {
            manager,
            operation,
            subresource,
            time,
            fields,
        } = draft;
        // One that does not say when comes after all that do.
        let place = self.0.partition_point(|known| known.time >= time);
        if place == MOST_WRITERS {
            return;
        }
        let more = fields.more;
        let fields = fields.kept.into_iter().map(|(_, path)| path).collect();
        self.0.insert(
            place,
            Writer {
                manager,
                operation,
                subresource,
                time,
                fields,
                more,
            },
        );
        self.0.truncate(MOST_WRITERS);
    }

    /// As an object carries them; nothing where there are none.
    pub fn carried(&self) -> Option<Value> {
        if self.0.is_empty() {
            return None;
        }
        serde_json::to_value(&self.0).ok()
    }
}

/// Takes away from an object what it carries, or what the API server keeps of its writers.
pub fn take(object: &mut Value) -> Vec<Writer> {
    let Some(fields) = object.as_object_mut() else { return Vec::new() };
    let carried = fields.remove(CARRIED);
    let metadata = fields.get_mut("metadata").and_then(Value::as_object_mut);
    let managed = metadata.and_then(|metadata| metadata.remove("managedFields"));
    // An event is written by whoever tells it.
    if fields.get("kind").and_then(Value::as_str) == Some("Event") {
        return Vec::new();
    }
    if let Some(managed) = managed {
        let mut ignored = |_: &str| {};
        return List(&mut ignored)
            .deserialize(&managed)
            .map(|writers| writers.0)
            .unwrap_or_default();
    }
    let carried = carried.and_then(|carried| match carried {
        // As one text it costs less where it goes through YAML.
        Value::String(text) => serde_json::from_str(&text).ok(),
        carried => serde_json::from_value(carried).ok(),
    });
    carried.unwrap_or_default()
}

/// One writer that is being read.
#[derive(Debug, Default)]
pub struct Draft {
    manager: String,
    operation: String,
    subresource: String,
    time: Option<Timestamp>,
    pub fields: Fields,
}

impl Draft {
    /// Takes in what is said of it beside its fields.
    pub fn say(&mut self, key: &str, value: &str) {
        match key {
            "manager" => value.clone_into(&mut self.manager),
            "operation" => value.clone_into(&mut self.operation),
            "subresource" => value.clone_into(&mut self.subresource),
            "time" => self.time = moment::parse(value),
            _ => {}
        }
    }

    /// Whether it is somebody whose writing is a decision, as far as is known yet. Who only reports a status decides nothing.
    fn matters(&self) -> bool {
        let known = |text: &str| text.len() <= LONGEST_NAME;
        let own = OWN.contains(&self.manager.as_str()) && self.subresource != "scale";
        !self.manager.is_empty() && known(&self.manager) && known(&self.operation) && self.subresource != "status" && !own
    }
}

/// Where a path comes among others: those of the metadata last, and the higher ones first.
type Rank = (bool, usize);

/// The fields of one writer. They come as a tree: each is entered and left, and one without further ones is what was written.
#[derive(Debug, Default)]
pub struct Fields {
    kept: Vec<(Rank, String)>,
    more: bool,
    path: String,
    levels: Vec<Level>,
}

#[derive(Debug, Clone, Copy)]
struct Level {
    /// How long the path above it is.
    above: usize,
    /// There was something below it.
    inner: bool,
    /// What it and all below it tell is left out.
    skipped: bool,
}

impl Fields {
    fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// Goes down to a key of the tree: `f:spec`, `k:{"name":"web"}`, `i:0`; `.` and `v:…` tell nothing beyond what they lie in.
    pub fn enter(&mut self, key: &str) {
        let above = self.path.len();
        let mut skipped = self.levels.len() >= DEEPEST || self.levels.last().is_some_and(|level| level.skipped);
        if !skipped {
            let told = above + key.len() <= LONGEST_PATH && self.step(key);
            // That it holds something is known, and not what.
            let hidden = above + key.len() > LONGEST_PATH && !key.starts_with("v:");
            if let Some(level) = self.levels.last_mut() {
                level.inner |= told || hidden;
            }
            self.more |= hidden;
            skipped = !told;
        }
        self.levels.push(Level {
            above,
            inner: false,
            skipped,
        });
    }

    /// Goes up again.
    pub fn leave(&mut self) {
        let Some(level) = self.levels.pop() else { return };
        if !level.skipped && !level.inner {
            self.keep();
        }
        self.path.truncate(level.above);
    }

    /// How many levels there are.
    pub fn depth(&self) -> usize {
        self.levels.len()
    }

    /// Adds what a key says to the path; whether it says anything that is wanted. There are many, so nothing is allocated for one.
    fn step(&mut self, key: &str) -> bool {
        let Some((sort, rest)) = key.split_once(':') else { return false };
        let top = self.path.is_empty();
        let mut add = |parts: [&str; 3]| parts.iter().for_each(|part| self.path.push_str(part));
        match sort {
            // What is reported of an object is none of what was decided.
            "f" if top && rest == "status" => return false,
            "f" if top => add(["", rest, ""]),
            "f" if rest.contains(['.', '/', '[']) => add(["[", rest, "]"]),
            "f" => add([".", rest, ""]),
            "k" => add(["[", &named(rest), "]"]),
            "i" if rest.bytes().all(|byte| byte.is_ascii_digit()) => add(["[", rest, "]"]),
            _ => return false,
        }
        true
    }

    /// Keeps the path, unless there are enough that say more.
    fn keep(&mut self) {
        let below = |field: &str| {
            self.path
                .strip_prefix(field)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        if self.path.is_empty() {
            return;
        }
        let rank = (below("metadata"), self.levels.len());
        let place = self.kept.partition_point(|(known, _)| *known <= rank);
        let full = self.kept.len() == MOST_FIELDS;
        self.more |= full;
        if place < MOST_FIELDS {
            self.kept.insert(place, (rank, self.path.clone()));
            self.kept.truncate(MOST_FIELDS);
        }
    }
}

/// What a list calls the entry with these keys. Names and numbers of ports name it; whatever else is a key may be a value.
fn named(keys: &str) -> Cow<'_, str> {
    let plain = |name: &&str| name.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\'));
    let alone = keys.strip_prefix("{\"name\":\"").and_then(|rest| rest.strip_suffix("\"}"));
    if let Some(name) = alone.filter(plain) {
        return Cow::Borrowed(name);
    }
    let keys: Value = serde_json::from_str(keys).unwrap_or_default();
    let name = keys.get("name").and_then(Value::as_str);
    let port = ["containerPort", "port"].iter().find_map(|key| keys.get(*key)?.as_u64());
    Cow::Owned(match (name, port) {
        (Some(name), _) if plain(&name) => name.to_owned(),
        (None, Some(port)) => port.to_string(),
        _ => String::new(),
    })
}

/// Reads the whole list, and passes on each time in it, also of those that are not kept.
pub struct List<'a>(pub &'a mut dyn FnMut(&str));

impl<'de> DeserializeSeed<'de> for List<'_> {
    type Value = Writers;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Writers, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for List<'_> {
    type Value = Writers;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("who wrote which fields")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Writers, E> {
        Ok(Writers::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Writers, A::Error> {
        let mut writers = Writers::default();
        while let Some(draft) = entries.next_element_seed(Entry(&mut *self.0))? {
            writers.add(draft);
        }
        Ok(writers)
    }
}

struct Entry<'a>(&'a mut dyn FnMut(&str));

impl<'de> DeserializeSeed<'de> for Entry<'_> {
    type Value = Draft;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Draft, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Entry<'_> {
    type Value = Draft;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("who wrote some fields")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entry: A) -> Result<Draft, A::Error> {
        let mut draft = Draft::default();
        while let Some(key) = entry.next_key::<String>()? {
            match key.as_str() {
                "fieldsV1" => entry.next_value_seed(Tree(&mut draft.fields))?,
                "manager" | "operation" | "subresource" | "time" => {
                    let value: Value = entry.next_value()?;
                    let text = value.as_str().unwrap_or_default();
                    if key == "time" {
                        (self.0)(text);
                    }
                    draft.say(&key, text);
                }
                _ => {
                    entry.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(draft)
    }
}

/// Reads the fields. Somebody may have put anything there, and it is left out then.
struct Tree<'a>(&'a mut Fields);

impl<'de> DeserializeSeed<'de> for Tree<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Tree<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("fields")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        while let Some(key) = fields.next_key::<Cow<'de, str>>()? {
            self.0.enter(&key);
            fields.next_value_seed(Tree(&mut *self.0))?;
            self.0.leave();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
