//! Takes the values of Secrets, and whatever else looks like a credential, out of everything before it becomes evidence.
//!
//! A value that stands in a Secret is learnt when the Secret is read, and is then replaced wherever it turns up: in logs, arguments,
//! manifests, in what an engine prints, in base64 too. What remains is its length and a hash whose key lives as long as the collection, so
//! that two values can be compared and none can be guessed from a recording. What was noted before a value was learnt is searched again.
//!
//! What stands in no Secret is told by what stands around it: see `scan` for texts and `credential` for names.

mod credential;
mod objects;
mod remembered;
mod scan;
mod search;

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::model::{Fact, ReleaseRecord};
use credential::{is_replaced, is_telling};
use remembered::Remembered;
use scan::credentials;
use search::{Form, SHORTEST, forms};
pub use search::{Search, reason};

/// How many values are learnt from texts, beside those of Secrets and of environments: each is looked for in all that was noted before.
const MOST_OF_TEXTS: usize = 512;
/// The lines after which a private key in a log has ended, whether its end was seen or not. One of 16,384 bits has 200.
const LONGEST_KEY: usize = 250;
/// A line of a log that is nothing but this many digits of base64 is a part of a key whose beginning was not read.
const BLOCK: usize = 40;

/// Learns the values of Secrets and takes them out.
pub struct Redactor {
    key: [u8; 32],
    known: Vec<Form>,
    forms: HashSet<String>,
    /// How many of the known forms [`Redactor::fresh`] has given out.
    told: usize,
    search: Option<Search>,
    /// Values are learnt, and not searched for yet.
    learning: bool,
    /// How many were learnt from texts.
    of_texts: usize,
    /// The logs that are in the middle of a private key, with the lines of it so far.
    keys: HashMap<String, usize>,
    remembered: Remembered,
}

impl Redactor {
    /// A redactor with a key of its own.
    pub fn new(key: [u8; 32]) -> Self {
        Self {
            key,
            known: Vec::new(),
            forms: HashSet::new(),
            told: 0,
            search: None,
            learning: false,
            of_texts: 0,
            keys: HashMap::new(),
            remembered: Remembered::default(),
        }
    }

    /// What stands for a value: its length in bytes and the first 48 bits of its keyed hash.
    fn stands_for(&self, value: &[u8]) -> (usize, String) {
        use std::fmt::Write as _;
        let mut text = String::new();
        if let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.key) {
            mac.update(value);
            for byte in mac.finalize().into_bytes().iter().take(6) {
                let _ = write!(text, "{byte:02x}");
            }
        }
        (value.len(), text)
    }

    fn stand_in(&self, value: &[u8]) -> String {
        let (length, hash) = self.stands_for(value);
        format!("[redacted: {length} bytes, {hash}]")
    }

    /// Puts its stand-in in the place of a text, if it is none yet.
    fn replace(&self, text: &mut String) {
        if !is_replaced(text) {
            *text = self.stand_in(text.as_bytes());
        }
    }

    fn learn(&mut self, value: &[u8], encoded: Option<&str>) {
        let replacement = self.stand_in(value);
        for form in forms(value, encoded) {
            if form.len() >= SHORTEST && self.forms.insert(form.clone()) {
                self.known.push((form, replacement.clone()));
                self.search = None;
            }
        }
    }

    /// Learns what stood in a text, with its escapes or percent signs or without, where it is likely to stand for nothing else elsewhere.
    fn learn_of_text(&mut self, value: &str) {
        if !is_telling(value) || self.forms.contains(value) || self.of_texts >= MOST_OF_TEXTS {
            return;
        }
        self.of_texts += 1;
        self.learn(value.as_bytes(), None);
        let plain = serde_json::from_str::<String>(&format!("\"{value}\"")).ok();
        for other in plain.into_iter().chain(search::percent_decoded(value)) {
            if other != value && is_telling(&other) {
                self.learn(other.as_bytes(), None);
            }
        }
    }

    /// A search for what was learnt since this was called last; nothing where nothing was.
    pub fn fresh(&mut self) -> Option<Search> {
        let fresh = self.known.get(self.told..).filter(|fresh| !fresh.is_empty()).map(Search::of);
        self.told = self.known.len();
        fresh
    }

    /// Begins or ends a time in which values are learnt only. A search has to be made anew for each value that is learnt before it: whoever
    /// has many objects at once lets all of them be learnt from, and searches them after that, with [`Redactor::search`].
    pub fn learn_only(&mut self, learning: bool) {
        self.learning = learning;
    }

    /// The search for everything that was learnt so far.
    pub fn search(&mut self) -> &Search {
        self.search.get_or_insert_with(|| Search::of(&self.known))
    }

    /// Replaces every known value in a text, and what looks like a credential.
    pub fn text(&mut self, text: &str) -> String {
        let text = self.scanned(text).unwrap_or_else(|| text.to_owned());
        if self.learning {
            return text;
        }
        self.search().text(&text).unwrap_or(text)
    }

    /// The text without what looks like a credential, which is learnt; nothing where it holds none.
    fn scanned(&mut self, text: &str) -> Option<String> {
        if self.remembered.is_clean(text) {
            return None;
        }
        let found = credentials(text);
        if found.is_empty() {
            self.remembered.clean(text);
            return None;
        }
        let mut out = String::new();
        let mut rest = 0;
        for Range { start, end } in found {
            self.learn_of_text(&text[start..end]);
            out.push_str(&text[rest..start]);
            out.push_str(&self.stand_in(&text.as_bytes()[start..end]));
            rest = end;
        }
        out.push_str(&text[rest..]);
        Some(out)
    }

    fn scan(&mut self, text: &mut String) {
        if let Some(clean) = self.scanned(text) {
            *text = clean;
        }
    }

    /// A line of a log or of what a program prints. A key in it goes on over many.
    fn line(&mut self, of: String, text: &mut String) {
        if let Some(lines) = self.keys.get_mut(&of) {
            *lines += 1;
            if text.contains("-----END") || *lines > LONGEST_KEY {
                self.keys.remove(&of);
            } else {
                *text = self.stand_in(text.as_bytes());
                return;
            }
        } else if text.contains("PRIVATE KEY") && text.contains("-----BEGIN") && !text.contains("-----END") {
            self.keys.insert(of, 0);
        }
        let part = text.trim();
        let has = |kind: fn(&u8) -> bool| part.as_bytes().iter().any(kind);
        let base64 = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
        let block = part.len() >= BLOCK && part.bytes().all(base64) && !part.starts_with('/');
        if block && has(u8::is_ascii_lowercase) && has(u8::is_ascii_uppercase) && has(u8::is_ascii_digit) {
            *text = self.stand_in(part.as_bytes());
        } else {
            self.scan(text);
        }
    }

    /// Replaces every known value in the texts of a fact that was seen or printed, and what looks like a credential. Objects go through
    /// [`Redactor::object`].
    pub fn fact(&mut self, fact: &mut Fact) {
        match fact {
            Fact::EngineLine { stream, text } => self.line(format!("{stream:?}"), text),
            Fact::Log(line) => self.line(format!("{}/{}", line.pod_uid, line.container), &mut line.text),
            Fact::Request { url, answer, .. } => {
                self.scan(url);
                search::reason(answer).into_iter().for_each(|reason| self.scan(reason));
            }
            Fact::Lookup { answer, .. } => search::reason(answer).into_iter().for_each(|reason| self.scan(reason)),
            Fact::NotReadable { what, reason } => {
                self.scan(what);
                self.scan(reason);
            }
            Fact::Gap { reason, .. } => self.scan(reason),
            // Both went through [`Redactor::object`].
            Fact::Object { .. } | Fact::Release(_) => {}
            Fact::EngineStarted(_) | Fact::EngineEnded { .. } | Fact::Listed { .. } | Fact::RemedyStarted { .. } => {}
        }
        if !self.learning {
            self.search().fact(fact);
        }
    }

    /// The same for a release record that was decoded before.
    pub fn record(&mut self, record: &mut ReleaseRecord) {
        self.scan(&mut record.description);
        let hooks = record.hooks.iter_mut().map(|hook| &mut hook.manifest);
        for manifest in record.manifest.iter_mut().chain(hooks) {
            self.object(manifest);
        }
    }
}

/// The text of a message that is no evidence, without what looks like a credential.
pub fn scrubbed(text: &str) -> String {
    let mut out = text.to_owned();
    for range in credentials(text).into_iter().rev() {
        out.replace_range(range, "[redacted]");
    }
    out
}

#[cfg(test)]
mod tests;
