//! What was seen by those who watched before: a timeline that is gone on with must neither repeat it nor miss its end.

use std::collections::HashMap;

use jiff::Timestamp;
use kube::ResourceExt;
use kube::api::DynamicObject;
use serde_json::Value;

use crate::evidence::model::{Change, Fact, Timeline};

/// The stamp of the latest line of each container, by the pod's UID and the container's name, and how many there are.
pub type Printed = HashMap<(String, String), (Timestamp, usize)>;

/// What a timeline says is there.
#[derive(Debug, Default)]
pub struct Before {
    /// Whether there was anybody.
    pub resumed: bool,
    /// By kind and UID, with the resource version.
    pub objects: HashMap<String, HashMap<String, (String, DynamicObject)>>,
    pub printed: Printed,
}

impl Before {
    pub fn of(timeline: &Timeline) -> Self {
        let mut before = Self {
            resumed: !timeline.entries.is_empty(),
            ..Self::default()
        };
        for entry in &timeline.entries {
            match &entry.fact {
                Fact::Object { change, object, .. } => before.object(*change, object),
                Fact::Log(line) => {
                    let key = (line.pod_uid.clone(), line.container.clone());
                    let (latest, count) = before.printed.entry(key).or_insert((line.stamp, 0));
                    *latest = line.stamp.max(*latest);
                    *count += 1;
                }
                _ => {}
            }
        }
        before
    }

    fn object(&mut self, change: Change, object: &Value) {
        let Ok(object) = serde_json::from_value::<DynamicObject>(object.clone()) else {
            return;
        };
        let (Some(types), Some(uid)) = (&object.types, object.uid()) else {
            return;
        };
        let known = self.objects.entry(types.kind.clone()).or_default();
        match change {
            Change::Applied => known.insert(uid, (object.resource_version().unwrap_or_default(), object)),
            Change::Deleted => known.remove(&uid),
        };
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::evidence::model::{Header, LogLine};
    use crate::evidence::recorder::Recorder;

    #[test]
    fn what_went_is_not_there_and_the_last_line_counts() {
        let pod = |uid: &str, version: &str| json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": uid, "uid": uid, "resourceVersion": version}, "spec": {"a": 1}});
        let line = |second: i64, text: &str| {
            Fact::Log(LogLine {
                pod: "a".into(),
                pod_uid: "a".into(),
                container: "c".into(),
                restart: 0,
                stamp: Timestamp::from_second(second).unwrap(),
                text: text.into(),
            })
        };
        let header = Header {
            format: Header::FORMAT,
            recorder: "test".into(),
            observed_at: Timestamp::UNIX_EPOCH,
            namespace: "shop".into(),
            kubernetes_version: String::new(),
            watched: Vec::new(),
            notes: std::collections::BTreeMap::new(),
        };
        let recorder = Recorder::new(header, [1; 32]);
        assert!(!Before::of(&recorder.timeline()).resumed);
        for (change, pod) in [
            (Change::Applied, pod("a", "1")),
            (Change::Applied, pod("b", "2")),
            (Change::Applied, pod("a", "3")),
            (Change::Deleted, pod("b", "4")),
        ] {
            recorder.record_object(change, pod);
        }
        recorder.record(line(5, "x"));
        recorder.record(line(6, "y"));
        let before = Before::of(&recorder.timeline());
        assert!(before.resumed);
        assert_eq!(
            before.printed[&("a".to_owned(), "c".to_owned())],
            (Timestamp::from_second(6).unwrap(), 2)
        );
        let pods = &before.objects["Pod"];
        assert_eq!(pods.keys().collect::<Vec<_>>(), ["a"]);
        let (version, object) = &pods["a"];
        assert_eq!((version.as_str(), &object.data["spec"]["a"]), ("3", &json!(1)));
    }
}
