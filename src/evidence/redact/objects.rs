//! Takes credentials out of objects, whose fields tell by their names what they hold.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::Redactor;
use super::credential::{Named, is_name, is_telling, is_value, named, named_in_environment};
use super::scan::credentials;
use super::search::inside;
use crate::evidence::model::Writer;

/// Annotations of Secrets that tell whose they are. All others may hold what the Secret holds.
const ABOUT_SECRETS: &[&str] = &["helm.sh/", "kubernetes.io/", "fluxcd.io/", "argoproj.io/", "cert-manager.io/"];

impl Redactor {
    /// Takes out of an object what may not be kept, and what nobody needs.
    pub fn object(&mut self, object: &mut Value) {
        without_copies(object);
        match object.get("kind").and_then(Value::as_str) {
            Some("Secret") => self.secret(object),
            Some("ConfigMap") => self.config_map(object),
            _ => {}
        }
        // First all that is to be learnt: a credential may stand in an object before the variable that names it as one.
        self.walk(object, false);
        if !self.learning {
            self.search().value(object);
        }
    }

    /// Takes out of what is known of who wrote an object what looks like a credential.
    pub fn writers(&mut self, writers: &mut Arc<[Writer]>) {
        for writer in Arc::make_mut(writers) {
            self.scan(&mut writer.manager);
            writer.fields.iter_mut().for_each(|field| self.scan(field));
        }
        if !self.learning {
            self.search().writers(writers);
        }
    }

    /// Of a Secret no more is kept than what it is, whose it is, and what stands for its values.
    fn secret(&mut self, secret: &mut Value) {
        const KEPT: &[&str] = &["apiVersion", "data", "immutable", "kind", "metadata", "stringData", "type"];
        if let Some(fields) = secret.as_object_mut() {
            fields.retain(|key, _| KEPT.contains(&key.as_str()));
        }
        let annotations = secret.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut);
        for (key, value) in annotations.into_iter().flatten() {
            let about = key.rsplit_once('/').is_some_and(|(domain, _)| {
                let domain = format!("{domain}/");
                ABOUT_SECRETS
                    .iter()
                    .any(|known| domain == **known || domain.ends_with(&format!(".{known}")))
            });
            if let Value::String(text) = value
                && !about
            {
                self.replace(text);
            }
        }
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
                    Value::Object(_) => continue,
                    // What the API would refuse stands in charts all the same.
                    ref other => other.to_string(),
                };
                let value = if encoded {
                    STANDARD.decode(&text).unwrap_or_else(|_| text.clone().into_bytes())
                } else {
                    text.clone().into_bytes()
                };
                // A release record is read by its own decoder; as a whole it turns up nowhere else.
                if !release {
                    self.learn(&value, encoded.then_some(text.as_str()));
                    self.learn_within(&value);
                }
                let (length, hash) = self.stands_for(&value);
                *entry = json!({"length": length, "hash": hash});
            }
        }
    }

    /// Learns the credentials that a value of a Secret consists of: a configuration file, a URL, the logins for registries.
    fn learn_within(&mut self, value: &[u8]) {
        let Ok(text) = std::str::from_utf8(value) else { return };
        for range in credentials(text) {
            if is_telling(&text[range.clone()]) {
                self.learn(&value[range], None);
            }
        }
        let registries = serde_json::from_str::<Value>(text).ok();
        let registries = registries.as_ref().and_then(|file| file.get("auths")?.as_object());
        for login in registries
            .into_iter()
            .flatten()
            .filter_map(|(_, registry)| registry.get("auth")?.as_str())
        {
            self.learn(login.as_bytes(), None);
            let login = STANDARD.decode(login).ok().and_then(|login| String::from_utf8(login).ok());
            if let Some((_, password)) = login.as_deref().and_then(|login| login.split_once(':')) {
                self.learn(password.as_bytes(), None);
            }
        }
    }

    /// Learns the credentials among the values of a chart. What is rendered from them may have another name.
    pub fn learn_values(&mut self, values: &Value) {
        match values {
            Value::Array(items) => items.iter().for_each(|item| self.learn_values(item)),
            Value::Object(fields) => {
                for (key, field) in fields {
                    match field {
                        Value::String(text) if named(key) == Some(Named::Credential) && is_value(Named::Credential, text) => {
                            self.learn_of_text(text);
                        }
                        field => self.learn_values(field),
                    }
                }
            }
            Value::String(text) => {
                for range in credentials(text) {
                    self.learn_of_text(&text[range]);
                }
            }
            _ => {}
        }
    }

    /// Where Helm was told to keep its records in ConfigMaps, they hold the values of the user and the Secrets of the chart. Binary data
    /// are nothing that anybody reads.
    fn config_map(&mut self, config_map: &mut Value) {
        let record = config_map.pointer("/metadata/labels/owner").and_then(Value::as_str) == Some("helm");
        if record && let Some(Value::String(text)) = config_map.pointer_mut("/data/release") {
            self.replace(text);
        }
        let binary = config_map.get_mut("binaryData").and_then(Value::as_object_mut);
        for (_, value) in binary.into_iter().flatten() {
            if let Value::String(text) = value {
                self.replace(text);
            }
        }
    }

    /// Takes the credentials out of the texts of an object. In `free` form somebody else has chosen the names of the fields.
    fn walk(&mut self, value: &mut Value, free: bool) {
        match value {
            Value::String(text) => self.scan(text),
            Value::Array(items) => {
                self.flags(items);
                items.iter_mut().for_each(|item| self.walk(item, free));
            }
            // What stands for the value of a Secret.
            Value::Object(fields) if fields.contains_key("hash") && fields.contains_key("length") => {}
            Value::Object(fields) => {
                self.pair(fields);
                for (key, field) in fields.iter_mut() {
                    let Some(free) = inside(key, free) else { continue };
                    match (self.remembered.named(key), field) {
                        (Some(kind), Value::String(text)) if is_value(kind, text) => self.take_out(text),
                        (Some(Named::Credential), number @ Value::Number(_)) if free => {
                            let mut text = number.to_string();
                            self.take_out(&mut text);
                            *number = Value::String(text);
                        }
                        (_, field) if free && is_all_secret(key) => self.take_out_all(field),
                        (_, field) => self.walk(field, free),
                    }
                }
            }
            _ => {}
        }
    }

    /// Replaces a whole value.
    fn take_out(&mut self, text: &mut String) {
        self.learn_of_text(text);
        *text = self.stand_in(text.as_bytes());
    }

    fn take_out_all(&mut self, value: &mut Value) {
        match value {
            Value::String(text) if !is_name(text) && is_value(Named::Credential, text) => self.take_out(text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.take_out_all(item)),
            Value::Object(fields) => fields.values_mut().for_each(|field| self.take_out_all(field)),
            _ => {}
        }
    }

    /// A flag that names a credential, with the credential as the next argument.
    fn flags(&mut self, items: &mut [Value]) {
        for at in 1..items.len() {
            let (before, from) = items.split_at_mut(at);
            let (Some(Value::String(flag)), Some(Value::String(value))) = (before.last(), from.first_mut()) else {
                continue;
            };
            let is_flag = flag.starts_with('-') && !flag.contains(['=', ' ']) && !value.starts_with('-');
            if is_flag && named(flag).is_some_and(|kind| is_value(kind, value)) {
                self.take_out(value);
            } else if matches!(flag.as_str(), "-u" | "--user")
                && let Some((user, password)) = value.split_once(':')
                && is_value(Named::Credential, password)
            {
                let mut password = password.to_owned();
                let user = user.to_owned();
                self.take_out(&mut password);
                *value = format!("{user}:{password}");
            }
        }
    }

    /// A variable, a header or a parameter whose name says that it is a credential.
    fn pair(&mut self, fields: &mut Map<String, Value>) {
        let name = ["name", "key"].iter().find_map(|key| fields.get(*key)?.as_str());
        let Some(Value::String(text)) = fields.get("value") else { return };
        let credential = name.is_some_and(|name| named_in_environment(name, text));
        if credential && is_value(Named::Credential, text) {
            let text = text.clone();
            self.learn(text.as_bytes(), None);
            self.learn_within(text.as_bytes());
            fields.insert("value".to_owned(), Value::String(self.stand_in(text.as_bytes())));
        }
    }
}

/// Whether all that stands below a field of this name are credentials, or the names of Secrets.
fn is_all_secret(key: &str) -> bool {
    ["secrets", "credentials", "passwords", "tokens"]
        .iter()
        .any(|word| key.eq_ignore_ascii_case(word))
}

/// Takes out of the metadata what only says the same again: who wrote which field, of which [`writers`](crate::evidence::writers) has kept
/// what tells something, and copies of the whole object, as plain text or packed.
fn without_copies(object: &mut Value) {
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else {
        return;
    };
    metadata.remove("managedFields");
    let annotations = metadata.get_mut("annotations").and_then(Value::as_object_mut);
    if let Some(annotations) = annotations {
        annotations.retain(|key, value| {
            let text = value.as_str().unwrap_or_default().trim_start();
            let copy = text.starts_with('{') && text.contains("\"kind\"") || text.starts_with("H4sI");
            key != "kubectl.kubernetes.io/last-applied-configuration" && !copy
        });
    }
}
