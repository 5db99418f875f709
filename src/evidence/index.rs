//! Who belongs to whom: so that a few objects are found without a look at all of them.

use std::collections::{BTreeSet, HashMap};

use serde_json::{Map, Value};

/// Namespace and name.
pub type Place = (String, String);

/// Grows with the evidence, and forgets nothing: what it finds has to be asked whether that still holds.
#[derive(Debug, Clone, Default)]
pub struct Index {
    /// By the owner's UID and the kind of what it owns.
    owned: HashMap<(String, String), BTreeSet<Place>>,
    /// Events, by kind and name of what they are about.
    about: HashMap<(String, String), BTreeSet<Place>>,
    /// Pods and EndpointSlices, by kind, and key and value of a label.
    labelled: HashMap<&'static str, HashMap<(String, String), BTreeSet<Place>>>,
}

/// The kinds that are asked for by their labels.
const LABELLED: &[&str] = &["EndpointSlice", "Pod"];

impl Index {
    /// Takes in how an object looks.
    pub fn add(&mut self, object: &Value, kind: &str, namespace: &str, name: &str) {
        let place = || (namespace.to_owned(), name.to_owned());
        let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let owners = object.pointer("/metadata/ownerReferences").and_then(Value::as_array);
        for owner in owners.into_iter().flatten() {
            self.owned.entry((text(owner, "uid"), kind.to_owned())).or_default().insert(place());
        }
        if let Some(kind) = LABELLED.iter().find(|labelled| **labelled == kind) {
            let labels = object.pointer("/metadata/labels").and_then(Value::as_object);
            for (key, value) in labels.into_iter().flatten() {
                let Some(value) = value.as_str() else { continue };
                let places = self.labelled.entry(kind).or_default();
                places.entry((key.clone(), value.to_owned())).or_default().insert(place());
            }
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

    /// Where the objects of a kind are that have or had one of these labels: the one that the fewest have. Sorted; nothing of a kind that is
    /// not asked for by labels.
    pub fn labelled<'a>(&'a self, kind: &str, labels: &Map<String, Value>) -> impl Iterator<Item = &'a Place> + use<'a> {
        let of_kind = self.labelled.get(kind);
        let places = labels.iter().map(|(key, value)| {
            let value = value.as_str()?;
            of_kind?.get(&(key.clone(), value.to_owned()))
        });
        // A label that no object has ever had is the rarest.
        let rarest = places.min_by_key(|places| places.map_or(0, BTreeSet::len)).flatten();
        rarest.into_iter().flatten()
    }

    /// Where the events about an object of this kind and name are, sorted.
    pub fn about<'a>(&'a self, kind: &str, name: &str) -> impl Iterator<Item = &'a Place> + use<'a> {
        self.about.get(&(kind.to_owned(), name.to_owned())).into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::diagnosis::fixture::{Scene, warning};
    use crate::evidence::{Evidence, Life};

    fn names<'a>(lives: impl Iterator<Item = &'a Life>) -> Vec<(String, bool)> {
        lives.map(|life| (life.name().to_owned(), life.exists())).collect()
    }

    /// What the index finds, and what a look at all objects finds.
    fn owned(evidence: &Evidence, uid: &str) -> [Vec<(String, bool)>; 2] {
        let all = evidence.ever("Pod").filter(|pod| pod.owned_by(uid));
        [names(evidence.ever_owned("Pod", uid)), names(all)]
    }

    #[test]
    fn finds_what_a_look_at_all_objects_finds() {
        let pod = |name: &str, owner: &str| json!({"kind": "Pod", "metadata": {"name": name, "ownerReferences": [{"kind": "Job", "name": owner}]}});
        let mut scene = Scene::new();
        scene
            .object(pod("b", "x"))
            .object(pod("a", "x"))
            .object(pod("c", "y"))
            .object(pod("d", "x"));
        // Adopted by another, gone, and gone and there again.
        scene
            .at(1)
            .object(pod("d", "y"))
            .deleted(pod("b", "x"))
            .deleted(pod("a", "x"))
            .object(pod("a", "x"));
        let evidence = scene.evidence();
        for (uid, expected) in [
            ("Job/x/0", &["a", "a", "b"][..]),
            ("Job/y/0", &["c", "d"]),
            ("Job/z/0", &[]),
            ("", &[]),
        ] {
            let [found, all] = owned(&evidence, uid);
            assert_eq!(found, all, "{uid}");
            assert_eq!(found.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), expected, "{uid}");
        }
        assert_eq!(names(evidence.owned("Pod", "Job/x/0")), [("a".to_owned(), true)]);
    }

    #[test]
    fn finds_what_labels_select() {
        let pod = |name: &str, labels: serde_json::Value| json!({"kind": "Pod", "metadata": {"name": name, "labels": labels}});
        let mut scene = Scene::new();
        scene
            .object(pod("b", json!({"app": "x", "tier": "web"})))
            .object(pod("a", json!({"app": "x", "tier": "web"})))
            .object(pod("c", json!({"app": "y", "tier": "web"})))
            .object(pod("d", json!({"app": "x"})));
        // One that was relabelled, and one that is gone.
        scene
            .at(1)
            .object(pod("d", json!({"app": "y"})))
            .deleted(pod("a", json!({"app": "x", "tier": "web"})));
        let evidence = scene.evidence();
        let selected = |selector: serde_json::Value| names(evidence.ever_selected("Pod", selector.as_object().unwrap()));
        assert_eq!(
            selected(json!({"app": "x", "tier": "web"})),
            [("a".to_owned(), false), ("b".to_owned(), true)]
        );
        assert_eq!(selected(json!({"app": "y"})), [("c".to_owned(), true), ("d".to_owned(), true)]);
        for nothing in [
            json!({}),
            json!({"app": "x", "tier": "db"}),
            json!({"app": 7}),
            json!({"zone": "x"}),
        ] {
            assert_eq!(selected(nothing), []);
        }
    }

    #[test]
    fn finds_the_events_about_an_object() {
        let (pod, other) = (
            json!({"kind": "Pod", "metadata": {"name": "p"}}),
            json!({"kind": "Job", "metadata": {"name": "p"}}),
        );
        let mut scene = Scene::new();
        scene
            .object(pod.clone())
            .object(warning(&pod, "Failed", "a"))
            .object(warning(&pod, "BackOff", "b"));
        scene.object(warning(&other, "Created", "c")).deleted(warning(&pod, "Failed", "a"));
        let evidence = scene.evidence();
        let life = evidence.get("Pod", "shop", "p").unwrap();
        assert_eq!(names(evidence.events_about(life)), [("p.BackOff".to_owned(), true)]);
    }
}
