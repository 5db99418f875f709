//! Finds the values that are known, in each form in which they are written.

use std::sync::Arc;

use aho_corasick::{AhoCorasick, MatchKind};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use serde_json::Value;

use crate::evidence::model::{Answer, Fact, ReleaseRecord, Writer};

/// Shorter values are not searched for in other texts: `true` or `8080` stand everywhere. In the Secret itself they are replaced too.
pub const SHORTEST: usize = 6;
/// The same for one line of a value of several.
const SHORTEST_LINE: usize = 16;
/// Of longer ones, which are files, nobody writes the whole into a URL or quotes it.
const LONGEST_QUOTED: usize = 1024;

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

/// Fields below which names mean what somebody wanted them to mean.
const FREE: &[&str] = &["annotations", "binaryData", "data", "stringData", "substitute", "values"];

/// Whether what stands in a field of this name is in free form; nothing where it names an object.
pub fn inside(key: &str, free: bool) -> Option<bool> {
    (free || !IDENTITY.contains(&key)).then(|| free || FREE.contains(&key))
}

/// A form of a value with what stands in its place.
pub type Form = (String, String);

/// Every form in which a value is written: as it is, line by line, in base64, quoted, in a URL.
pub fn forms(value: &[u8], encoded: Option<&str>) -> Vec<String> {
    let mut forms = Vec::from_iter(encoded.map(str::to_owned));
    if let Ok(text) = std::str::from_utf8(value) {
        let whole = text.trim();
        forms.push(whole.to_owned());
        // Keys and certificates are printed line by line. A line with blanks in it is more often a setting that stands elsewhere too.
        let key = |line: &&str| line.len() >= SHORTEST_LINE && !line.contains(char::is_whitespace);
        forms.extend(text.lines().map(str::trim).filter(key).map(str::to_owned));
        if (SHORTEST..=LONGEST_QUOTED).contains(&whole.len()) {
            forms.extend(quoted(whole));
            forms.extend(in_urls(whole));
        }
    }
    // Whoever prints a value leaves out the line break at its end, or not.
    let value = value.trim_ascii();
    if value.len() >= SHORTEST {
        forms.extend(within_base64(value));
    }
    forms
}

/// In JSON, where it differs; Go's own writes what means something in HTML as numbers, too.
fn quoted(text: &str) -> Vec<String> {
    if !text.contains(['"', '\\', '&', '<', '>', '\'']) && !text.contains(|c: char| c.is_control()) {
        return Vec::new();
    }
    let json = Value::from(text).to_string();
    let json = json.trim_start_matches('"').strip_suffix('"').unwrap_or(&json).to_owned();
    let html = json.replace('&', "\\u0026").replace('<', "\\u003c").replace('>', "\\u003e");
    let twice = json.replace('\\', "\\\\").replace('"', "\\\"");
    let shell = text.replace('\'', "'\\''");
    vec![json, html, twice, shell]
}

/// In a URL, where it differs: each with large and with small digits, in full and as far as a path or a form need it.
fn in_urls(text: &str) -> Vec<String> {
    let escaped = |free: &[u8]| {
        let mut out = String::new();
        for byte in text.bytes() {
            if byte.is_ascii_alphanumeric() || free.contains(&byte) {
                out.push(char::from(byte));
            } else {
                out.push_str(&format!("%{byte:02X}"));
            }
        }
        out
    };
    let mut forms = vec![
        escaped(b"-._~"),
        escaped(b"-._~!'()*"),
        escaped(b"-._~!$&'()*+,;="),
        escaped(b"-._* ").replace(' ', "+"),
        escaped(b"-._~ ").replace(' ', "+"),
    ];
    let small: Vec<String> = forms.iter().map(|form| small_digits(form)).collect();
    forms.extend(small);
    forms.retain(|form| form != text);
    forms.sort();
    forms.dedup();
    forms
}

/// `%2f` for `%2F`.
fn small_digits(text: &str) -> String {
    let mut left = 0;
    let lower = |c: char| {
        left = if c == '%' { 3_usize } else { left.saturating_sub(1) };
        if left > 0 { c.to_ascii_lowercase() } else { c }
    };
    text.chars().map(lower).collect()
}

/// What a part of a URL stands for; nothing where it stands for itself.
pub fn percent_decoded(text: &str) -> Option<String> {
    if !text.contains('%') {
        return None;
    }
    let bytes = text.as_bytes();
    let mut out = Vec::new();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let digits = text.get(at + 1..at + 3).filter(|_| *byte == b'%');
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(decoded) => {
                out.push(decoded);
                at += 3;
            }
            None => {
                out.push(*byte);
                at += 1;
            }
        }
    }
    String::from_utf8(out).ok()
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

/// The words in which it is told why there is no answer.
pub fn reason(answer: &mut Answer) -> Option<&mut String> {
    match answer {
        Answer::Nothing { reason } => Some(reason),
        Answer::Addresses { .. } | Answer::NoSuchName | Answer::Http { .. } => None,
    }
}

/// Finds values and replaces them, and learns nothing.
pub struct Search {
    find: Option<AhoCorasick>,
    replacements: Vec<String>,
}

impl Search {
    pub fn of(forms: &[Form]) -> Self {
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
        self.within(value, false)
    }

    fn within(&self, value: &mut Value, free: bool) -> bool {
        match value {
            Value::String(text) => self.string(text),
            // All of them, and not only as far as the first that holds one.
            Value::Array(items) => items.iter_mut().filter_map(|item| self.within(item, free).then_some(())).count() > 0,
            Value::Object(fields) => {
                let fields = fields.iter_mut().filter_map(|(key, field)| Some((field, inside(key, free)?)));
                fields.filter_map(|(field, free)| self.within(field, free).then_some(())).count() > 0
            }
            _ => false,
        }
    }

    /// Whether [`Search::value`] would change anything.
    fn finds(&self, value: &Value, free: bool) -> bool {
        match value {
            Value::String(text) => self.find.as_ref().is_some_and(|find| find.is_match(text)),
            Value::Array(items) => items.iter().any(|item| self.finds(item, free)),
            Value::Object(fields) => {
                let mut fields = fields.iter().filter_map(|(key, field)| Some((field, inside(key, free)?)));
                fields.any(|(field, free)| self.finds(field, free))
            }
            _ => false,
        }
    }

    fn shared(&self, shared: &mut Arc<Value>) -> bool {
        self.finds(shared, false) && self.value(Arc::make_mut(shared))
    }

    /// The same of who wrote an object: the key of an entry or of an annotation may be a value as well.
    pub fn writers(&self, shared: &mut Arc<[Writer]>) -> bool {
        let finds = |text: &String| self.find.as_ref().is_some_and(|find| find.is_match(text));
        let found = shared
            .iter()
            .any(|writer| finds(&writer.manager) || writer.fields.iter().any(finds));
        if found {
            for writer in Arc::make_mut(shared) {
                self.string(&mut writer.manager);
                writer.fields.iter_mut().for_each(|field| {
                    self.string(field);
                });
            }
        }
        found
    }

    fn record(&self, shared: &mut Arc<ReleaseRecord>) -> bool {
        let hooks = shared.hooks.iter().map(|hook| &hook.manifest);
        let found =
            self.text(&shared.description).is_some() || shared.manifest.iter().chain(hooks).any(|manifest| self.finds(manifest, false));
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
        reason(answer).is_some_and(|reason| self.string(reason))
    }

    /// Takes the values out of a fact; whether there were any. Names of objects and hosts stay.
    pub fn fact(&self, fact: &mut Fact) -> bool {
        match fact {
            Fact::EngineLine { text, .. } => self.string(text),
            Fact::Object { object, writers, .. } => {
                let found = self.shared(object);
                self.writers(writers) || found
            }
            Fact::Log(line) => self.string(&mut line.text),
            Fact::Release(record) => self.record(record),
            Fact::Lookup { answer, .. } => self.answer(answer),
            Fact::Request { url, answer, .. } => {
                let found = self.string(url);
                self.answer(answer) || found
            }
            Fact::NotReadable { what, reason } => {
                let found = self.string(what);
                self.string(reason) || found
            }
            Fact::Gap { reason, .. } => self.string(reason),
            Fact::EngineStarted(_) | Fact::EngineEnded { .. } | Fact::Listed { .. } | Fact::RemedyStarted { .. } => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_known_in_quotes_and_in_urls() {
        let known = forms(b"a\"b&c/d e", None);
        for form in [
            "a\"b&c/d e",
            "a\\\"b&c/d e",
            "a\\\"b\\u0026c/d e",
            "a%22b%26c%2Fd%20e",
            "a%22b%26c%2fd%20e",
            "a%22b%26c%2Fd+e",
        ] {
            assert!(known.iter().any(|known| known == form), "{form} of {known:?}");
        }
        assert_eq!(forms(b"plain-value", None).iter().filter(|form| form.contains("plain")).count(), 1);
        assert_eq!(percent_decoded("a%2Fb%20c%"), Some("a/b c%".to_owned()));
        assert_eq!(percent_decoded("a/b"), None);
    }

    #[test]
    fn only_in_free_form_a_name_is_no_identity() {
        let search = Search::of(&[("parcels".to_owned(), "*".to_owned())]);
        let mut object = serde_json::json!({"metadata": {"name": "parcels", "labels": {"a": "parcels"}, "annotations": {"name": "parcels"}},
            "data": {"key": "parcels"}});
        assert!(search.value(&mut object));
        assert_eq!(
            object,
            serde_json::json!({"metadata": {"name": "parcels", "labels": {"a": "parcels"}, "annotations": {"name": "*"}}, "data": {"key": "*"}})
        );
    }
}
