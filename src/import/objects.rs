//! Reads the text of one object, and finds out what it is.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::{Map, Value, json};

use super::must_gather::left_out;
use super::pieces::Syntax;
use super::support_bundle::HIDDEN;
use crate::evidence::collect::{KINDS, Kind};
use crate::evidence::writers::{CARRIED, List, Writers};

/// The latest moment of which a bundle tells.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    latest: Option<Timestamp>,
    /// Clocks go wrong; what is later than this was written by one that does.
    limit: Timestamp,
}

impl Moment {
    pub fn until(limit: Timestamp) -> Self {
        Self { latest: None, limit }
    }

    pub fn saw(&mut self, time: Timestamp) {
        if time <= self.limit && self.latest.is_none_or(|latest| time > latest) {
            self.latest = Some(time);
        }
    }

    pub fn written(&mut self, time: &str) {
        if let Ok(time) = time.parse() {
            self.saw(time);
        }
    }

    pub fn get(&self) -> Option<Timestamp> {
        self.latest
    }

    /// Takes in the times at which something about an object was noticed. Times that are still to come are none of these.
    pub fn object(&mut self, object: &Value) {
        const TIMES: &[&str] = &[
            "/metadata/creationTimestamp",
            "/firstTimestamp",
            "/lastTimestamp",
            "/eventTime",
            "/series/lastObservedTime",
        ];
        for time in TIMES.iter().filter_map(|pointer| object.pointer(pointer)?.as_str()) {
            self.written(time);
        }
        let list = |pointer: &str| object.pointer(pointer).and_then(Value::as_array).into_iter().flatten();
        for condition in list("/status/conditions") {
            for time in ["lastTransitionTime", "lastUpdateTime", "lastHeartbeatTime", "lastProbeTime"] {
                if let Some(time) = condition.get(time).and_then(Value::as_str) {
                    self.written(time);
                }
            }
        }
        for status in list("/status/initContainerStatuses").chain(list("/status/containerStatuses")) {
            for state in [
                "/state/running/startedAt",
                "/state/terminated/finishedAt",
                "/lastState/terminated/finishedAt",
            ] {
                if let Some(time) = status.pointer(state).and_then(Value::as_str) {
                    self.written(time);
                }
            }
        }
    }
}

/// Reads a text as JSON or YAML; nothing where it is none.
pub fn parse(text: &[u8], syntax: Syntax, moment: &mut Moment) -> Option<Value> {
    let lossy;
    let text = match std::str::from_utf8(text) {
        Ok(text) => text,
        Err(_) => {
            lossy = String::from_utf8_lossy(text).into_owned();
            &lossy
        }
    };
    match syntax {
        Syntax::Json if text.trim_start().starts_with('{') => {
            let mut json = serde_json::Deserializer::from_str(text);
            let object = Whole(moment).deserialize(&mut json).ok()?;
            json.end().ok()?;
            Some(Value::Object(object))
        }
        Syntax::Json => serde_json::from_str(text).ok(),
        Syntax::Yaml => serde_saphyr::from_str(text).ok(),
    }
}

/// An object with no more than is kept of who wrote which field: that part of it can be larger than all the rest.
struct Whole<'a>(&'a mut Moment);

impl<'de> DeserializeSeed<'de> for Whole<'_> {
    type Value = Map<String, Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Whole<'_> {
    type Value = Map<String, Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self::Value, A::Error> {
        let mut object = Map::new();
        let mut writers = Writers::default();
        while let Some(key) = fields.next_key::<String>()? {
            let value = if key == "metadata" {
                let (metadata, found) = fields.next_value_seed(Metadata(&mut *self.0))?;
                writers = found;
                metadata
            } else {
                fields.next_value()?
            };
            object.insert(key, value);
        }
        if let Some(writers) = writers.carried() {
            object.insert(CARRIED.to_owned(), writers);
        }
        Ok(object)
    }
}

struct Metadata<'a>(&'a mut Moment);

impl<'de> DeserializeSeed<'de> for Metadata<'_> {
    type Value = (Value, Writers);

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Metadata<'_> {
    type Value = (Value, Writers);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the metadata of an object")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Self::Value, E> {
        Ok((Value::Null, Writers::default()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self::Value, A::Error> {
        let mut metadata = Map::new();
        let mut writers = Writers::default();
        while let Some(key) = fields.next_key::<String>()? {
            if key == "managedFields" {
                writers = fields.next_value_seed(List(&mut |time| self.0.written(time)))?;
                continue;
            }
            if metadata.len() > 1000 {
                return Err(A::Error::custom("no object has that many fields"));
            }
            metadata.insert(key, fields.next_value()?);
        }
        Ok((Value::Object(metadata), writers))
    }
}

/// What kind of object one is.
#[derive(Clone, Copy)]
pub enum Known {
    /// One that a live look reads as well.
    Kept(&'static Kind),
    /// One of a later version of the API than is known here.
    Newer(&'static Kind),
    Other,
}

/// What kind an API version and a kind mean.
pub fn known(api_version: &str, kind: &str) -> Known {
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
    // The same events, seen through another group.
    let group = if kind == "Event" && group == "events.k8s.io" { "" } else { group };
    let Some(found) = KINDS.iter().find(|known| known.kind == kind && known.group == group) else {
        return Known::Other;
    };
    match (rank(version), rank(found.version)) {
        (Some(rank), Some(known)) if rank <= known => Known::Kept(found),
        _ => Known::Newer(found),
    }
}

/// The kind that has this plural.
pub fn of_plural(plural: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.plural == plural)
}

/// `v1`, as it stands in an object of this kind.
pub fn api_version(kind: &Kind) -> String {
    if kind.group.is_empty() {
        kind.version.to_owned()
    } else {
        format!("{}/{}", kind.group, kind.version)
    }
}

/// Versions in their order: `v1alpha1`, `v1beta1`, `v1`, `v2beta1`.
fn rank(version: &str) -> Option<(u32, u32, u32)> {
    let rest = version.strip_prefix('v')?;
    for (word, stage) in [("alpha", 0), ("beta", 1)] {
        if let Some((major, minor)) = rest.split_once(word) {
            return Some((major.parse().ok()?, stage, minor.parse().ok()?));
        }
    }
    Some((rest.parse().ok()?, 2, 0))
}

/// Puts a length where a tool has put words for it, and nothing where it has put stars: neither is the value.
pub fn unseal(secret: &mut Value) {
    for field in ["data", "stringData"] {
        let Some(entries) = secret.get_mut(field).and_then(Value::as_object_mut) else {
            continue;
        };
        for entry in entries.values_mut() {
            let Value::String(text) = entry else { continue };
            let decoded = STANDARD
                .decode(text.as_bytes())
                .ok()
                .and_then(|bytes| String::from_utf8(bytes).ok());
            let words = decoded.as_deref().unwrap_or(text);
            if words.trim() == HIDDEN || text.trim() == HIDDEN {
                *entry = json!({"hash": ""});
            } else if let Some(length) = left_out(words) {
                *entry = json!({"length": length, "hash": ""});
            }
        }
    }
}

/// Names what an event of the other group says as the older one does, where it does not do so already.
pub fn event(event: &mut Value) {
    const NAMES: &[(&str, &str)] = &[
        ("regarding", "involvedObject"),
        ("note", "message"),
        ("deprecatedCount", "count"),
        ("deprecatedFirstTimestamp", "firstTimestamp"),
        ("deprecatedLastTimestamp", "lastTimestamp"),
        ("deprecatedSource", "source"),
    ];
    let Some(fields) = event.as_object_mut() else { return };
    for (from, to) in NAMES {
        if !fields.contains_key(*to)
            && let Some(value) = fields.get(*from).cloned()
        {
            fields.insert((*to).to_owned(), value);
        }
    }
}

/// How large an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    pub values: usize,
    /// How deep its values lie within each other at the most.
    pub depth: usize,
}

pub fn size(value: &Value) -> Size {
    let leaf = Size { values: 1, depth: 1 };
    let with = |of: Size, part: &Value| {
        let part = size(part);
        Size {
            values: of.values + part.values,
            depth: of.depth.max(part.depth + 1),
        }
    };
    match value {
        Value::Array(items) => items.iter().fold(leaf, with),
        Value::Object(fields) => fields.values().fold(leaf, with),
        _ => leaf,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::writers::take;

    fn moment() -> Moment {
        Moment::until("2030-01-01T00:00:00Z".parse().unwrap())
    }

    #[test]
    fn of_who_wrote_which_field_little_is_kept_and_each_time_counts() {
        let fields: Vec<String> = (0..100_000).map(|n| format!("\"f:a{n}\":{{}}")).collect();
        let text = format!(
            r#"{{"kind":"Pod","metadata":{{"name":"a","managedFields":[{{"manager":"m","time":"2026-01-02T03:04:05Z","fieldsV1":{{{}}}}},{{"manager":"kubelet","time":"2026-01-02T03:05:06Z","fieldsV1":{{"f:a":{{}}}}}}]}},"spec":{{}}}}"#,
            fields.join(",")
        );
        let mut moment = moment();
        let mut pod = parse(text.as_bytes(), Syntax::Json, &mut moment).unwrap();
        let writers = take(&mut pod);
        assert_eq!(pod, json!({"kind": "Pod", "metadata": {"name": "a"}, "spec": {}}));
        assert_eq!((writers.len(), writers[0].fields.len(), writers[0].more), (1, 20, true));
        // The kubelet is nobody of whom anything is kept.
        assert_eq!(moment.get(), "2026-01-02T03:05:06Z".parse().ok());
    }

    #[test]
    fn a_clock_that_goes_wrong_is_not_believed() {
        let mut moment = moment();
        moment.object(
            &json!({"metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"}, "lastTimestamp": "2126-01-01T00:00:00Z", "eventTime": null}),
        );
        assert_eq!(moment.get(), "2026-01-01T00:00:00Z".parse().ok());
    }

    #[test]
    fn a_version_from_the_future_is_not_taken_for_the_one_that_is_known() {
        assert!(matches!(known("apps/v1", "Deployment"), Known::Kept(_)));
        assert!(matches!(known("apps/v1beta2", "Deployment"), Known::Kept(_)));
        assert!(matches!(known("apps/v2", "Deployment"), Known::Newer(_)));
        assert!(matches!(known("apps/v2alpha1", "Deployment"), Known::Newer(_)));
        assert!(matches!(known("apps/next", "Deployment"), Known::Newer(_)));
        assert!(matches!(known("serving.knative.dev/v1", "Service"), Known::Other));
        assert!(matches!(known("events.k8s.io/v1", "Event"), Known::Kept(_)));
    }

    #[test]
    fn what_stands_for_a_value_is_not_taken_for_one() {
        let encoded = |text: &str| STANDARD.encode(text);
        let mut secret =
            json!({"data": {"a": encoded("24 bytes long"), "b": "***HIDDEN***", "c": encoded("***HIDDEN***"), "d": encoded("value")}});
        unseal(&mut secret);
        let hidden = json!({"hash": ""});
        assert_eq!(
            secret["data"],
            json!({"a": {"length": 24, "hash": ""}, "b": hidden, "c": hidden, "d": encoded("value")})
        );
    }

    #[test]
    fn bytes_that_are_no_text_are_replaced() {
        let pod = parse(b"{\"kind\":\"Pod\",\"a\":\"x\xff\"}", Syntax::Json, &mut moment()).unwrap();
        assert_eq!(pod["a"], "x\u{fffd}");
        let pod = parse(b"kind: Pod\na: x\xff\n", Syntax::Yaml, &mut moment()).unwrap();
        assert_eq!(pod["a"], "x\u{fffd}");
    }

    #[test]
    fn depth_is_bounded() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(parse(deep.as_bytes(), Syntax::Json, &mut moment()), None);
        let deep = format!("a: {}{}\n", "[".repeat(10_000), "]".repeat(10_000));
        assert_eq!(parse(deep.as_bytes(), Syntax::Yaml, &mut moment()), None);
        let bomb = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e]\ng: [*f,*f,*f,*f,*f,*f,*f,*f,*f]\n";
        assert_eq!(parse(bomb.as_bytes(), Syntax::Yaml, &mut moment()), None);
    }
}
