//! Who belongs to whom: so that a few objects are found without a look at all of them.

use std::collections::{BTreeSet, HashMap};

use serde_json::Value;

/// Namespace and name.
pub type Place = (String, String);

/// Grows with the evidence, and forgets nothing: what it finds has to be asked whether that still holds.
#[derive(Debug, Clone, Default)]
pub struct Index {
    /// By the owner's UID and the kind of what it owns.
    owned: HashMap<(String, String), BTreeSet<Place>>,
    /// Events, by kind and name of what they are about.
    about: HashMap<(String, String), BTreeSet<Place>>,
}

impl Index {
    /// Takes in how an object looks.
    pub fn add(&mut self, object: &Value, kind: &str, namespace: &str, name: &str) {
        let place = || (namespace.to_owned(), name.to_owned());
        let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let owners = object.pointer("/metadata/ownerReferences").and_then(Value::as_array);
        for owner in owners.into_iter().flatten() {
            self.owned.entry((text(owner, "uid"), kind.to_owned())).or_default().insert(place());
        }
        if kind == "Event" {
            for about in ["involvedObject", "regarding"].iter().filter_map(|key| object.get(key)) {
                self.about
                    .entry((text(about, "kind"), text(about, "name")))
                    .or_default()
                    .insert(place());
            }
        }
    }

    /// Where objects of a kind are that have or had this owner, sorted.
    pub fn owned<'a>(&'a self, kind: &str, uid: &str) -> impl Iterator<Item = &'a Place> + use<'a> {
        self.owned.get(&(uid.to_owned(), kind.to_owned())).into_iter().flatten()
    }

    /// Where the events about an object of this kind and name are, sorted.
    pub fn about<'a>(&'a self, kind: &str, name: &str) -> impl Iterator<Item = &'a Place> + use<'a> {
        self.about.get(&(kind.to_owned(), name.to_owned())).into_iter().flatten()
    }
}
