//! One object over time.

use std::borrow::Cow;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use super::model::{ObjectRef, Writer};
use super::moment;

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
