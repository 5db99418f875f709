//! Takes the values of Secrets out of everything before it becomes evidence.
//!
//! A value that stands in a Secret is learnt when the Secret is read, and is then replaced wherever it turns up: in logs, arguments,
//! manifests, in what an engine prints. What remains is its length and a hash whose key lives as long as the collection, so that two
//! values can be compared and none can be guessed from a recording.

use aho_corasick::{AhoCorasick, MatchKind};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Map, Value, json};
use sha2::Sha256;

/// Shorter values are not searched for in other texts: `true` or `8080` stand everywhere. In the Secret itself they are replaced too.
const SHORTEST: usize = 6;

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

/// Replaces the values of Secrets.
pub struct Redactor {
    key: [u8; 32],
    known: Vec<(String, String)>,
    search: Option<AhoCorasick>,
}

impl Redactor {
    /// A redactor with a key of its own.
    pub fn new(key: [u8; 32]) -> Self {
        Self {
            key,
            known: Vec::new(),
            search: None,
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
        let plain = std::str::from_utf8(value).ok().map(str::trim);
        for form in [plain, encoded].into_iter().flatten() {
            if form.len() >= SHORTEST && !self.known.iter().any(|(known, _)| known == form) {
                self.known.push((form.to_owned(), replacement.clone()));
                self.search = None;
            }
        }
    }

    /// Replaces every known value in a text.
    pub fn text(&mut self, text: &str) -> String {
        if self.known.is_empty() {
            return text.to_owned();
        }
        let known = &self.known;
        let search = self.search.get_or_insert_with(|| {
            AhoCorasick::builder()
                .match_kind(MatchKind::LeftmostLongest)
                .build(known.iter().map(|(value, _)| value))
                .unwrap_or_else(|_| {
                    AhoCorasick::new([""; 0]).unwrap_or_else(|_| unreachable!("an automaton without patterns can be built"))
                })
        });
        if !search.is_match(text) {
            return text.to_owned();
        }
        let mut out = String::new();
        search.replace_all_with(text, &mut out, |found, _, out| {
            out.push_str(&known[found.pattern().as_usize()].1);
            true
        });
        out
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
        self.value(object);
    }

    fn secret(&mut self, secret: &mut Value) {
        let release = secret.get("type").and_then(Value::as_str) == Some("helm.sh/release.v1");
        for (field, encoded) in [("data", true), ("stringData", false)] {
            let Some(entries) = secret.get_mut(field).and_then(Value::as_object_mut) else {
                continue;
            };
            for (_, entry) in entries.iter_mut() {
                let text = entry.as_str().unwrap_or_default().to_owned();
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

    fn value(&mut self, value: &mut Value) {
        match value {
            Value::String(text) => {
                let clean = self.text(text);
                if clean != *text {
                    *text = clean;
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.value(item)),
            Value::Object(fields) => {
                self.environment(fields);
                fields
                    .iter_mut()
                    .filter(|(key, _)| !IDENTITY.contains(&key.as_str()))
                    .for_each(|(_, field)| self.value(field));
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
