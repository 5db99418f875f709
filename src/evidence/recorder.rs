//! Writes the one timeline of a run, in the order of receipt.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::Notify;

use super::model::{Change, Entry, Fact, Header, Timeline};
use super::redact::Redactor;
use super::release;
use super::writers;

/// Takes facts from everybody who sees something. Nothing passes it unredacted.
#[derive(Clone)]
pub struct Recorder(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    news: Notify,
}

struct State {
    timeline: Timeline,
    redactor: Redactor,
    /// How often entries that were noted before were changed: a value turned out to be a Secret's.
    rewritten: u64,
}

/// How far a reader of the timeline has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bookmark {
    pub entries: usize,
    rewritten: u64,
}

/// What a reader does not know yet.
#[derive(Debug, Clone, PartialEq)]
pub struct News {
    /// What was read before was changed since: the entries are all from the first on.
    pub anew: bool,
    pub entries: Vec<Entry>,
}

impl Recorder {
    /// A recorder with an empty timeline. `key` is the key of the hashes that stand for Secret values.
    pub fn new(header: Header, key: [u8; 32]) -> Self {
        Self::resume(Timeline::begin(header), key)
    }

    /// A recorder that goes on with a timeline. With the `key` that it was begun with, a value has the same hash as before.
    pub fn resume(timeline: Timeline, key: [u8; 32]) -> Self {
        let inner = Inner {
            news: Notify::new(),
            state: Mutex::new(State {
                timeline,
                redactor: Redactor::new(key),
                rewritten: 0,
            }),
        };
        // What is there already is news to the one who listens.
        inner.news.notify_one();
        Self(Arc::new(inner))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a fact, texts redacted.
    pub fn record(&self, mut fact: Fact) {
        let mut state = self.state();
        state.redactor.fact(&mut fact);
        rewrite(&mut state);
        push(&mut state, fact);
        drop(state);
        self.0.news.notify_one();
    }

    /// Notes many facts that are no objects, such as the lines of a log. It comes to the same as one after the other.
    pub fn record_all(&self, mut facts: Vec<Fact>) {
        let mut state = self.state();
        state.redactor.learn_only(true);
        facts.iter_mut().for_each(|fact| state.redactor.fact(fact));
        state.redactor.learn_only(false);
        note(&mut state, facts);
        drop(state);
        self.0.news.notify_one();
    }

    /// Notes how an object looks, and what it says if it is a release record.
    pub fn record_object(&self, change: Change, object: Value) {
        let mut state = self.state();
        let (record, object) = taken(&mut state.redactor, change, object);
        rewrite(&mut state);
        record.into_iter().chain([object]).for_each(|fact| push(&mut state, fact));
        drop(state);
        self.0.news.notify_one();
    }

    /// Notes many objects that are there. It comes to the same as one after the other, and is much faster where they hold many values.
    pub fn record_objects(&self, objects: Vec<Value>) {
        let mut state = self.state();
        state.redactor.learn_only(true);
        let mut facts = Vec::new();
        for object in objects {
            let (record, object) = taken(&mut state.redactor, Change::Applied, object);
            facts.extend(record);
            facts.push(object);
        }
        state.redactor.learn_only(false);
        note(&mut state, facts);
        drop(state);
        self.0.news.notify_one();
    }

    /// What came after a bookmark, which is moved to the end.
    pub fn since(&self, mark: &mut Bookmark) -> News {
        let state = self.state();
        let anew = mark.rewritten != state.rewritten;
        let from = if anew { 0 } else { mark.entries };
        *mark = Bookmark {
            entries: state.timeline.entries.len(),
            rewritten: state.rewritten,
        };
        News {
            anew,
            entries: state.timeline.entries.get(from..).unwrap_or_default().to_vec(),
        }
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.state().timeline.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The same words as they may leave: Secret values taken out.
    pub fn redacted(&self, text: &str) -> String {
        self.state().redactor.text(text)
    }

    pub fn header(&self) -> Header {
        self.state().timeline.header.clone()
    }

    /// A copy of everything so far.
    pub fn timeline(&self) -> Timeline {
        self.state().timeline.clone()
    }

    /// Returns once something was noted that nobody was told of yet. For one listener.
    pub async fn news(&self) {
        self.0.news.notified().await;
    }
}

impl Timeline {
    /// The same once more without what may not be kept: somebody else may have written it, or a rekindle that knew less.
    pub fn redacted(mut self, key: [u8; 32]) -> Self {
        let mut redactor = Redactor::new(key);
        redactor.learn_only(true);
        for entry in &mut self.entries {
            match &mut entry.fact {
                Fact::Object { object, writers, .. } => {
                    redactor.object(Arc::make_mut(object));
                    redactor.writers(writers);
                }
                Fact::Release(record) => redactor.record(Arc::make_mut(record)),
                fact => redactor.fact(fact),
            }
        }
        redactor.learn_only(false);
        let search = redactor.search();
        for entry in &mut self.entries {
            search.fact(&mut entry.fact);
        }
        self
    }
}

/// An object as it may be noted, and before it what it says if it is a release record.
pub(super) fn taken(redactor: &mut Redactor, change: Change, mut object: Value) -> (Option<Fact>, Fact) {
    let mut record = None;
    if release::is_storage(&object) && change == Change::Applied {
        record = Some(match release::decode(&object, redactor) {
            Ok(record) => Fact::Release(Arc::new(record)),
            Err(error) => {
                let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
                Fact::NotReadable {
                    what: format!("storage Secret {name}"),
                    reason: error.to_string(),
                }
            }
        });
    }
    let mut writers = writers::take(&mut object).into();
    redactor.object(&mut object);
    redactor.writers(&mut writers);
    let object = Arc::new(object);
    (record, Fact::Object { change, object, writers })
}

/// Notes what was learnt from, once it was searched for all that is known by then.
fn note(state: &mut State, mut facts: Vec<Fact>) {
    rewrite(state);
    let search = state.redactor.search();
    for fact in &mut facts {
        search.fact(fact);
    }
    facts.into_iter().for_each(|fact| push(state, fact));
}

/// Takes out of the earlier entries what has only now turned out to be the value of a Secret.
fn rewrite(state: &mut State) {
    let Some(search) = state.redactor.fresh() else { return };
    let mut found = false;
    for entry in &mut state.timeline.entries {
        found |= search.fact(&mut entry.fact);
    }
    state.rewritten += u64::from(found);
}

/// Stamps under the lock: the order of the entries is the order of their times.
fn push(state: &mut State, fact: Fact) {
    let last = state
        .timeline
        .entries
        .last()
        .map_or(state.timeline.header.observed_at, |last| last.at);
    let at = Timestamp::now().max(last);
    state.timeline.entries.push(Entry { at, fact });
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE};
    use serde_json::json;

    use super::*;
    use crate::command::Stream;
    use crate::evidence::model::{Answer, LogLine, Vantage};
    use crate::evidence::recording::{Preamble, Recording};
    use crate::evidence::release::tests::storage;

    fn recorder() -> Recorder {
        let header = Header {
            format: Header::FORMAT,
            recorder: "test".into(),
            observed_at: "2026-01-02T03:04:05Z".parse().unwrap(),
            namespace: "shop".into(),
            kubernetes_version: "v1.34.4".into(),
            watched: Vec::new(),
            notes: std::collections::BTreeMap::new(),
        };
        Recorder::new(header, [9; 32])
    }

    fn log(text: &str) -> Fact {
        Fact::Log(LogLine {
            pod: "p".into(),
            pod_uid: "u".into(),
            container: "c".into(),
            restart: 0,
            stamp: Timestamp::UNIX_EPOCH,
            text: text.into(),
        })
    }

    /// Writes down a value everywhere where one turns up in clusters.
    fn spill(recorder: &Recorder, value: &str) {
        let encoded = STANDARD.encode(value);
        recorder.record(log(&format!("token={value}")));
        recorder.record(log(&format!("Authorization: Basic {}", STANDARD.encode(format!("admin:{value}")))));
        recorder.record(log(&format!("echo | base64: {}", STANDARD.encode(format!("{value}\n")))));
        recorder.record(log(&format!("jwt {}", URL_SAFE.encode(format!("{{{value}}}")))));
        recorder.record(Fact::EngineLine {
            stream: Stream::Stderr,
            text: format!("cannot use {encoded}"),
        });
        recorder.record(Fact::Request {
            url: format!("https://u:{value}@host/"),
            vantage: Vantage::Outside,
            answer: Answer::Nothing {
                reason: format!("{value} was refused"),
            },
        });
        recorder.record(Fact::NotReadable {
            what: "a log".into(),
            reason: format!("got {value}"),
        });
        recorder.record_object(
            Change::Applied,
            json!({"kind": "Pod", "metadata": {"name": "p", "uid": "u", "annotations": {"seen": encoded, "kubectl.kubernetes.io/last-applied-configuration": value},
                "managedFields": [{"x": value}]}, "spec": {"containers": [{"name": "c", "args": [format!("--url=http://u:{value}@db")], "env": [{"name": "A", "value": value}]}]}}),
        );
        recorder.record_object(
            Change::Applied,
            json!({"kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": format!("x: {value}")}}),
        );
    }

    /// Everything that stands in a recording of what the recorder has noted.
    fn recorded(recorder: &Recorder) -> String {
        let timeline = recorder.timeline();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("r.rekindle");
        let recording = Recording {
            preamble: Preamble::new(timeline.header),
            entries: timeline.entries,
            ending: None,
        };
        recording.write(&path).unwrap();
        let mut text = String::new();
        flate2::read::GzDecoder::new(std::fs::File::open(path).unwrap())
            .read_to_string(&mut text)
            .unwrap();
        text
    }

    /// Any sequence of bytes of the value, in base64 of any alignment, that is too long to be chance.
    fn holds(text: &str, value: &str) -> bool {
        let aligned = (0..3).any(|before| {
            let encoded = STANDARD.encode([&vec![0; before], value.as_bytes()].concat());
            let inner = &encoded[(before * 8).div_ceil(6)..(before + value.len()) * 8 / 6];
            text.contains(inner) || text.contains(&inner.replace('+', "-").replace('/', "_"))
        });
        aligned || text.contains(value)
    }

    #[test]
    fn no_value_of_a_secret_gets_into_a_recording() {
        let values = ["canary-1-quiet", "canary-2>>>???", "canary-3-\u{e9}t\u{e9}", "canary-4-literal"];
        // Nothing but its Secret tells what it is.
        let plain = "canary-5-plainly";
        let secret = json!({"kind": "Secret", "metadata": {"name": "s", "uid": "s"}, "data": {"a": STANDARD.encode(values[0]), "b": STANDARD.encode(format!("{}\n", values[1])), "c": STANDARD.encode(plain)}});
        let release = storage(&json!({
            "name": "app", "namespace": "shop", "version": 1, "config": {"password": values[2]},
            "info": {"status": "failed", "description": format!("failed: {}", values[0])},
            "chart": {"metadata": {"name": "app", "version": "0.1.0"}},
            "manifest": format!("kind: ConfigMap\nmetadata: {{name: c}}\ndata: {{p: '{0}'}}\n---\nkind: Secret\nmetadata: {{name: t}}\nstringData: {{p: '{0}'}}", values[2]),
            "hooks": [{"name": "h", "kind": "Job", "manifest": format!("kind: Job\nmetadata: {{name: h}}\nspec: {{a: '{}'}}", values[1])}],
        }));
        let pod = json!({"kind": "Pod", "metadata": {"name": "q", "uid": "q"}, "spec": {"containers": [{"args": [values[3]], "env": [{"name": "DB_PASSWORD", "value": values[3]}]}]}});
        let recorder = recorder();
        // Before the Secrets are seen, and after it.
        for value in values {
            spill(&recorder, value);
        }
        recorder.record(log(&format!("the word is {plain}")));
        let mut mark = Bookmark::default();
        recorder.since(&mut mark);
        for object in [&secret, &release, &pod] {
            recorder.record_object(Change::Applied, object.clone());
        }
        assert!(recorder.since(&mut mark).anew);
        for value in values {
            spill(&recorder, value);
        }
        assert!(!recorder.since(&mut mark).anew);
        for object in [secret, release, pod] {
            recorder.record_object(Change::Deleted, object);
        }
        let text = recorded(&recorder);
        for value in values.into_iter().chain([plain]) {
            assert!(!holds(&text, value), "{value} in {text}");
        }
        assert!(text.contains("[redacted: 14 bytes, ") && text.contains("\"length\":14"), "{text}");
        assert!(text.contains("\"fact\":\"release\""), "{text}");
    }

    #[test]
    fn many_objects_at_once_come_to_the_same_as_one_after_the_other() {
        let secret = json!({"kind": "Secret", "metadata": {"name": "s", "uid": "s"}, "data": {"a": STANDARD.encode("canary-1-quiet")}});
        let release = storage(&json!({
            "name": "app", "namespace": "shop", "version": 1, "info": {"status": "failed", "description": "failed: canary-1-quiet canary-2-env"},
            "manifest": "kind: ConfigMap\nmetadata: {name: c}\ndata: {p: canary-1-quiet, q: canary-3-chart}\n---\nkind: Secret\nmetadata: {name: t}\nstringData: {p: canary-3-chart}",
        }));
        let pod = json!({"kind": "Pod", "metadata": {"name": "q", "uid": "q"}, "spec": {"containers": [{"args": ["canary-1-quiet", "canary-3-chart"], "env": [{"name": "DB_PASSWORD", "value": "canary-2-env"}]}]}});
        // Whatever comes first.
        for objects in [[&secret, &release, &pod], [&pod, &release, &secret]] {
            let (one, many) = (recorder(), recorder());
            for recorder in [&one, &many] {
                recorder.record(log("canary-1-quiet canary-2-env canary-3-chart"));
            }
            for object in objects {
                one.record_object(Change::Applied, object.clone());
            }
            many.record_objects(objects.into_iter().cloned().collect());
            let facts = |recorder: &Recorder| recorder.timeline().entries.into_iter().map(|entry| entry.fact).collect::<Vec<_>>();
            assert_eq!(facts(&many), facts(&one));
            assert!(!recorded(&many).contains("canary"));
        }
    }

    #[test]
    fn a_reader_is_told_what_is_new_and_what_has_changed() {
        let recorder = recorder();
        let mut mark = Bookmark::default();
        recorder.record(log("the word is parcels-and-more"));
        assert_eq!(recorder.since(&mut mark).entries.len(), 1);
        let news = recorder.since(&mut mark);
        assert_eq!((news.anew, news.entries.len()), (false, 0));
        recorder.record_object(
            Change::Applied,
            json!({"kind": "Secret", "metadata": {"name": "s"}, "data": {"p": STANDARD.encode("parcels-and-more")}}),
        );
        let news = recorder.since(&mut mark);
        assert_eq!((news.anew, news.entries.len(), mark.entries), (true, 2, 2));
        // The same value in another Secret changes nothing any more.
        recorder.record_object(
            Change::Applied,
            json!({"kind": "Secret", "metadata": {"name": "t"}, "data": {"p": STANDARD.encode("parcels-and-more")}}),
        );
        let news = recorder.since(&mut mark);
        assert_eq!((news.anew, news.entries.len()), (false, 1));
    }

    #[test]
    fn time_never_goes_back() {
        let mut header = recorder().header();
        header.observed_at = "2126-01-02T03:04:05Z".parse().unwrap();
        let recorder = Recorder::new(header.clone(), [9; 32]);
        recorder.record(log("a"));
        assert_eq!(recorder.timeline().entries[0].at, header.observed_at);
    }
}
