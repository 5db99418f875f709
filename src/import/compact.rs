//! Keeps what was read as text until its namespace is looked at: a tree of values takes five times the memory.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use crate::evidence::manifest::text;
use crate::evidence::{Change, Fact, Intake, Writer, moment};

/// An object, and what it says if it is a release record.
#[derive(Debug)]
pub struct Compact {
    record: Option<Fact>,
    text: Box<str>,
    writers: Arc<[Writer]>,
    pub age: Age,
}

/// When an object was created, and its version: of one that stands in several files the latest counts.
pub type Age = (Option<Timestamp>, Option<u64>);

pub fn age(object: &Value) -> Age {
    let version = text(object, "/metadata/resourceVersion").parse().ok();
    (moment::parse(text(object, "/metadata/creationTimestamp")), version)
}

impl Compact {
    /// Takes an object in. Its fields must not lie deeper within each other than they can be read again: see [`super::Limits`].
    pub fn new(object: Value, intake: &mut Intake) -> Self {
        let age = age(&object);
        let (record, object) = intake.object(object);
        let (text, writers) = match object {
            Fact::Object { object, writers, .. } => (object.to_string(), writers),
            _ => (String::new(), Arc::default()),
        };
        Self {
            record,
            text: text.into_boxed_str(),
            writers,
            age,
        }
    }

    /// The facts that it was made of, in their order.
    pub fn facts(self) -> impl Iterator<Item = Fact> {
        let object = serde_json::from_str(&self.text).ok().map(|object: Value| Fact::Object {
            change: Change::Applied,
            object: Arc::new(object),
            writers: self.writers,
        });
        self.record.into_iter().chain(object)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_comes_out_is_what_was_taken_in() {
        let object = json!({"kind": "Pod", "metadata": {"name": "p", "uid": "u", "resourceVersion": "12", "creationTimestamp": "2026-01-02T03:04:05Z",
            "managedFields": [{"manager": "helm", "time": "2026-01-02T03:04:05Z", "fieldsV1": {"f:spec": {"f:nodeName": {}}}}]},
            "spec": {"z": [1.5, -3, 18_446_744_073_709_551_615_u64, 1e300, null], "a": "\u{e9} \" \\ \n", "m": {"z": {}, "a": [[]]}}});
        let mut intake = Intake::new([1; 32]);
        let (_, expected) = intake.object(object.clone());
        let compact = Compact::new(object, &mut intake);
        assert_eq!(compact.age, ("2026-01-02T03:04:05Z".parse().ok(), Some(12)));
        assert_eq!(compact.facts().collect::<Vec<_>>(), [expected]);
    }
}
