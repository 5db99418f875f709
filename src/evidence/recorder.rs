//! Writes the one timeline of a run, in the order of receipt.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::Notify;

use super::model::{Change, Entry, Fact, Header, Timeline};
use super::redact::Redactor;
use super::release;

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
}

impl Recorder {
    /// A recorder with an empty timeline. `key` is the key of the hashes that stand for Secret values.
    pub fn new(header: Header, key: [u8; 32]) -> Self {
        let state = State {
            timeline: Timeline {
                header,
                entries: Vec::new(),
            },
            redactor: Redactor::new(key),
        };
        Self(Arc::new(Inner {
            state: Mutex::new(state),
            news: Notify::new(),
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a fact, texts redacted.
    pub fn record(&self, fact: Fact) {
        let mut state = self.state();
        let fact = match fact {
            Fact::Log(mut line) => {
                line.text = state.redactor.text(&line.text);
                Fact::Log(line)
            }
            Fact::EngineLine { stream, text } => Fact::EngineLine {
                stream,
                text: state.redactor.text(&text),
            },
            other => other,
        };
        push(&mut state, fact);
        drop(state);
        self.0.news.notify_one();
    }

    /// Notes how an object looks, and what it says if it is a release record.
    pub fn record_object(&self, change: Change, mut object: Value) {
        let mut state = self.state();
        if release::is_storage(&object) && change == Change::Applied {
            match release::decode(&object, &mut state.redactor) {
                Ok(record) => push(&mut state, Fact::Release(Arc::new(record))),
                Err(error) => {
                    let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
                    let what = format!("storage Secret {name}");
                    push(
                        &mut state,
                        Fact::NotReadable {
                            what,
                            reason: error.to_string(),
                        },
                    );
                }
            }
        }
        state.redactor.object(&mut object);
        push(
            &mut state,
            Fact::Object {
                change,
                object: Arc::new(object),
            },
        );
        drop(state);
        self.0.news.notify_one();
    }

    /// The entries after the first `known`.
    pub fn since(&self, known: usize) -> Vec<Entry> {
        self.state().timeline.entries.get(known..).unwrap_or_default().to_vec()
    }

    /// The same words as they may leave: Secret values taken out.
    pub fn redacted(&self, text: &str) -> String {
        self.state().redactor.text(text)
    }

    pub fn header(&self) -> Header {
        self.state().timeline.header.clone()
    }

    /// Says which kinds are watched completely, once that is known.
    pub fn set_watched(&self, watched: Vec<String>) {
        self.state().timeline.header.watched = watched;
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

/// Stamps under the lock: the order of the entries is the order of their times.
fn push(state: &mut State, fact: Fact) {
    let now = Timestamp::now();
    let at = state.timeline.entries.last().map_or(now, |last| now.max(last.at));
    state.timeline.entries.push(Entry { at, fact });
}
