//! Takes the values of Secrets out of everything before it becomes evidence.
//!
//! A value that stands in a Secret is learnt when the Secret is read, and is then replaced wherever it turns up: in logs, arguments,
//! manifests, in what an engine prints, in base64 too. What remains is its length and a hash whose key lives as long as the collection, so
//! that two values can be compared and none can be guessed from a recording. What was noted before a value was learnt is searched again.

use std::collections::HashSet;
use std::sync::Arc;

use aho_corasick::{AhoCorasick, MatchKind};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Map, Value, json};
use sha2::Sha256;

use super::model::{Answer, Fact, ReleaseRecord};

/// Shorter values are not searched for in other texts: `true` or `8080` stand everywhere. In the Secret itself they are replaced too.
const SHORTEST: usize = 6;
/// The same for one line of a value of several.
const SHORTEST_LINE: usize = 16;

/// Fields that name objects and tie them together. They stay as they are: a user name in a Secret is often the name of the release as
/// well, and an object whose name changes when the Secret is read would be two.
const IDENTITY: &[&str] = &[
    "apiVersion",
    "claimName",
    "generateName",
    "key",
    "kind",
    "labels",
    "matchLabels",
    "name",
    "namespace",
    "nodeName",
    "resourceVersion",
    "secretName",
    "selector",
    "serviceAccountName",
    "uid",
];

/// A form of a value with what stands in its place.
type Form = (String, String);

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

    fn learn(&mut self, value: &[u8], encoded: Option<&str>) {
        let (length, hash) = self.stands_for(value);
        let replacement = format!("[redacted: {length} bytes, {hash}]");
        let mut forms = Vec::from_iter(encoded.map(str::to_owned));
        if let Ok(text) = std::str::from_utf8(value) {
            forms.push(text.trim().to_owned());
            // Keys and certificates are printed line by line. A line with blanks in it is more often a setting that stands elsewhere too.
            let key = |line: &&str| line.len() >= SHORTEST_LINE && !line.contains(char::is_whitespace);
            forms.extend(text.lines().map(str::trim).filter(key).map(str::to_owned));
        }
        // Whoever prints a value leaves out the line break at its end, or not.
        let value = value.trim_ascii();
        if value.len() >= SHORTEST {
            forms.extend(within_base64(value));
        }
        for form in forms {
            if form.len() >= SHORTEST && self.forms.insert(form.clone()) {
                self.known.push((form, replacement.clone()));
                self.search = None;
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

    /// Replaces every known value in a text.
    pub fn text(&mut self, text: &str) -> String {
        if self.learning {
            return text.to_owned();
        }
        self.search().text(text).unwrap_or_else(|| text.to_owned())
    }

    /// Replaces every known value in the texts of a fact that was seen or printed. Objects go through [`Redactor::object`].
    pub fn fact(&mut self, fact: &mut Fact) {
        self.search().fact(fact);
    }

    /// Takes out of an object what may not be kept, and what nobody needs.
    pub fn object(&mut self, object: &mut Value) {
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("managedFields");
            if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
                annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
            }
        }
        if object.get("kind").and_then(Value::as_str) == Some("Secret") {
            self.secret(object);
        }
        // First all that is to be learnt: a credential may stand in an object before the variable that names it as one.
        self.environments(object);
        if !self.learning {
            self.search().value(object);
        }
    }

    fn secret(&mut self, secret: &mut Value) {
        let release = secret.get("type").and_then(Value::as_str) == Some("helm.sh/release.v1");
        for (field, encoded) in [("data", true), ("stringData", false)] {
            let Some(entries) = secret.get_mut(field).and_then(Value::as_object_mut) else {
                continue;
            };
            for (_, entry) in entries.iter_mut() {
                let text = match entry {
                    Value::String(text) => text.clone(),
                    Value::Null => String::new(),
                    // It has been taken out before.
                    _ => continue,
                };
                let value = if encoded {
                    STANDARD.decode(&text).unwrap_or_else(|_| text.clone().into_bytes())
                } else {
                    text.clone().into_bytes()
                };
                // A release record is read by its own decoder; as a whole it turns up nowhere else.
                if !release {
                    self.learn(&value, encoded.then_some(text.as_str()));
                }
                let (length, hash) = self.stands_for(&value);
                *entry = json!({"length": length, "hash": hash});
            }
        }
    }

    fn environments(&mut self, value: &mut Value) {
        match value {
            Value::Array(items) => items.iter_mut().for_each(|item| self.environments(item)),
            Value::Object(fields) => {
                self.environment(fields);
                fields.values_mut().for_each(|field| self.environments(field));
            }
            _ => {}
        }
    }

    /// A literal in the environment whose name says that it is a credential.
    fn environment(&mut self, fields: &mut Map<String, Value>) {
        let Some(name) = fields.get("name").and_then(Value::as_str).map(str::to_ascii_uppercase) else {
            return;
        };
        let credential = [
            "PASSWORD",
            "PASSWD",
            "TOKEN",
            "SECRET",
            "API_KEY",
            "APIKEY",
            "PRIVATE_KEY",
            "CREDENTIAL",
        ];
        if !credential.iter().any(|word| name.contains(word)) {
            return;
        }
        if let Some(Value::String(text)) = fields.get("value")
            && !text.is_empty()
            && !text.contains("$(")
        {
            let text = text.clone();
            self.learn(text.as_bytes(), None);
            let (length, hash) = self.stands_for(text.as_bytes());
            fields.insert("value".to_owned(), Value::String(format!("[redacted: {length} bytes, {hash}]")));
        }
    }
}

/// What the base64 of any text holds that has the value in it: one form for each place at which the value can begin in a group of three
/// bytes, without the digits that its neighbours have a part in.
fn within_base64(value: &[u8]) -> Vec<String> {
    let mut forms = Vec::new();
    for before in 0..3 {
        let padded = [&[0; 2][..before], value].concat();
        let (from, to) = ((before * 8).div_ceil(6), padded.len() * 8 / 6);
        for alphabet in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
            forms.push(alphabet.encode(&padded)[from..to].to_owned());
        }
    }
    forms
}

/// Finds values and replaces them, and learns nothing.
pub struct Search {
    find: Option<AhoCorasick>,
    replacements: Vec<String>,
}

impl Search {
    fn of(forms: &[Form]) -> Self {
        let build = || {
            AhoCorasick::builder()
                .match_kind(MatchKind::LeftmostLongest)
                .build(forms.iter().map(|(form, _)| form))
                .unwrap_or_else(|_| unreachable!("the forms of a megabyte of values fit into an automaton"))
        };
        Self {
            find: (!forms.is_empty()).then(build),
            replacements: forms.iter().map(|(_, replacement)| replacement.clone()).collect(),
        }
    }

    /// The text without the values; nothing where it holds none.
    pub fn text(&self, text: &str) -> Option<String> {
        let find = self.find.as_ref().filter(|find| find.is_match(text))?;
        let mut out = String::new();
        find.replace_all_with(text, &mut out, |found, _, out| {
            out.push_str(&self.replacements[found.pattern().as_usize()]);
            true
        });
        Some(out)
    }

    fn string(&self, text: &mut String) -> bool {
        let clean = self.text(text);
        let found = clean.is_some();
        if let Some(clean) = clean {
            *text = clean;
        }
        found
    }

    /// Takes the values out of everything but the fields that name objects; whether there were any.
    pub fn value(&self, value: &mut Value) -> bool {
        match value {
            Value::String(text) => self.string(text),
            // All of them, and not only as far as the first that holds one.
            Value::Array(items) => items.iter_mut().filter_map(|item| self.value(item).then_some(())).count() > 0,
            Value::Object(fields) => {
                let free = fields.iter_mut().filter(|(key, _)| !IDENTITY.contains(&key.as_str()));
                free.filter_map(|(_, field)| self.value(field).then_some(())).count() > 0
            }
            _ => false,
        }
    }

    /// Whether [`Search::value`] would change anything.
    fn finds(&self, value: &Value) -> bool {
        match value {
            Value::String(text) => self.find.as_ref().is_some_and(|find| find.is_match(text)),
            Value::Array(items) => items.iter().any(|item| self.finds(item)),
            Value::Object(fields) => fields
                .iter()
                .any(|(key, field)| !IDENTITY.contains(&key.as_str()) && self.finds(field)),
            _ => false,
        }
    }

    fn shared(&self, shared: &mut Arc<Value>) -> bool {
        self.finds(shared) && self.value(Arc::make_mut(shared))
    }

    fn record(&self, shared: &mut Arc<ReleaseRecord>) -> bool {
        let hooks = shared.hooks.iter().map(|hook| &hook.manifest);
        let found = self.text(&shared.description).is_some() || shared.manifest.iter().chain(hooks).any(|manifest| self.finds(manifest));
        if found {
            let record = Arc::make_mut(shared);
            self.string(&mut record.description);
            let hooks = record.hooks.iter_mut().map(|hook| &mut hook.manifest);
            for manifest in record.manifest.iter_mut().chain(hooks) {
                self.value(manifest);
            }
        }
        found
    }

    fn answer(&self, answer: &mut Answer) -> bool {
        match answer {
            Answer::Nothing { reason } => self.string(reason),
            Answer::Addresses { .. } | Answer::NoSuchName | Answer::Http { .. } => false,
        }
    }

    /// Takes the values out of a fact; whether there were any. Names of objects and hosts stay.
    pub fn fact(&self, fact: &mut Fact) -> bool {
        match fact {
            Fact::EngineLine { text, .. } => self.string(text),
            Fact::Object { object, .. } => self.shared(object),
            Fact::Log(line) => self.string(&mut line.text),
            Fact::Release(record) => self.record(record),
            Fact::Lookup { answer, .. } => self.answer(answer),
            Fact::Request { url, answer, .. } => {
                let found = self.string(url);
                self.answer(answer) || found
            }
            Fact::Gap { reason, .. } | Fact::NotReadable { reason, .. } => self.string(reason),
            Fact::EngineStarted(_) | Fact::EngineEnded { .. } | Fact::Listed { .. } | Fact::RemedyStarted { .. } => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_value_is_replaced_wherever_it_turns_up() {
        let mut redactor = Redactor::new([7; 32]);
        let mut secret =
            json!({"kind": "Secret", "metadata": {"name": "s"}, "data": {"password": STANDARD.encode("canary-1234"), "on": "MQ=="}});
        redactor.object(&mut secret);
        assert_eq!(secret["data"]["password"]["length"], 11);
        assert_eq!(secret["data"]["on"]["length"], 1);
        let mut pod = json!({"kind": "Pod", "spec": {"containers": [{"args": ["--url=http://admin:canary-1234@db"], "env": [
            {"name": "DB_PASSWORD", "value": "canary-5678"}, {"name": "MODE", "value": "1"}]}]}});
        redactor.object(&mut pod);
        let log = redactor.text(&format!(
            "token={} or canary-1234, then canary-5678",
            STANDARD.encode("canary-1234")
        ));
        for text in [secret.to_string(), pod.to_string(), log] {
            assert!(
                !text.contains("canary") && !text.contains(&STANDARD.encode("canary-1234")),
                "{text}"
            );
        }
        assert_eq!(pod["spec"]["containers"][0]["env"][1]["value"], "1");
    }

    #[test]
    fn an_object_keeps_its_name_when_a_secret_holds_the_same_word() {
        let mut redactor = Redactor::new([7; 32]);
        redactor.learn(b"parcels", None);
        let mut pod = json!({"kind": "Pod", "metadata": {"name": "parcels-x", "labels": {"app": "parcels"}}, "spec": {"containers": [
            {"name": "parcels", "args": ["--login=parcels"]}]}});
        redactor.object(&mut pod);
        assert_eq!(pod["metadata"]["name"], "parcels-x");
        assert_eq!(pod["metadata"]["labels"]["app"], "parcels");
        assert!(!pod["spec"]["containers"][0]["args"][0].as_str().unwrap().contains("parcels"));
    }

    #[test]
    fn hashes_compare_within_a_collection_only() {
        let hash = |key| Redactor::new([key; 32]).stands_for(b"canary");
        assert_eq!(hash(1), hash(1));
        assert_ne!(hash(1), hash(2));
    }
}
