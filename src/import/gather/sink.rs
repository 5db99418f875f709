//! Takes the pieces of a file as they are found in it.

use serde_json::Value;

use super::Gathered;
use crate::import::Format;
use crate::import::cluster_dump::log_error;
use crate::import::logs::Tail;
use crate::import::objects::{Known, api_version, known, of_plural, parse};
use crate::import::pieces::{End, Sink, Syntax};
use crate::import::place::LogPlace;

impl Sink for Gathered<'_> {
    fn item(&mut self, text: &[u8], syntax: Syntax) {
        match parse(text, syntax, &mut self.moment) {
            Some(item) if item.get("kind").is_some_and(Value::is_string) => self.add(item),
            Some(item) => self.wait(item),
            None => self.note(
                &format!("an object in {}", self.file.path.clone()),
                "it cannot be read as JSON or YAML",
            ),
        }
    }

    fn document(&mut self, text: &[u8], syntax: Syntax, end: End) {
        let pending = std::mem::take(&mut self.file.pending);
        self.file.values = 0;
        let envelope = parse(text, syntax, &mut self.moment);
        if !end.whole {
            self.note(&format!("the end of {}", self.file.path.clone()), "it was cut off");
        }
        let field = |key: &str| {
            envelope
                .as_ref()
                .and_then(|envelope| envelope.get(key)?.as_str())
                .unwrap_or_default()
        };
        // Go writes a list without items as null.
        let empty = |list: &Value| list.get("items").is_some_and(|items| items.is_array() || items.is_null());
        let list = end.list || envelope.as_ref().is_some_and(empty);
        if !list {
            self.file.of.clear();
            match envelope {
                Some(object) if object.get("kind").is_some_and(Value::is_string) => self.add(object),
                Some(_) => {}
                None if end.whole => self.note(&self.file.path.clone(), "it cannot be read as JSON or YAML"),
                None => {}
            }
            return;
        }
        let hinted = || self.file.hints.plural.as_deref().and_then(of_plural);
        let stated = field("kind").strip_suffix("List").unwrap_or_default();
        let kind = match known(field("apiVersion"), stated) {
            Known::Kept(kind) => Some(kind),
            Known::Newer(_) => None,
            // An array has no kind, and neither have its items.
            Known::Other if field("kind").is_empty() => hinted(),
            Known::Other => None,
        };
        let version = field("apiVersion").to_owned();
        let goes_on = envelope.as_ref().and_then(|list| list.pointer("/metadata/continue")?.as_str());
        let complete = end.whole && goes_on.unwrap_or_default().is_empty();
        let newer = matches!(known(&version, stated), Known::Newer(_));
        let generic = field("kind") == "List";
        let stated = stated.to_owned();
        for mut item in pending {
            if !item.is_object() {
                continue;
            }
            if let Some(kind) = kind {
                item["kind"] = Value::from(kind.kind);
                item["apiVersion"] = Value::from(if version.is_empty() { api_version(kind) } else { version.clone() });
            } else if newer {
                item["kind"] = Value::from(stated.as_str());
                item["apiVersion"] = Value::from(version.as_str());
            } else {
                continue;
            }
            self.add(item);
        }
        self.open_lists += usize::from(generic);
        match kind {
            Some(kind) if complete => self.listed(kind),
            _ => self.file.of.clear(),
        }
    }

    fn too_large(&mut self) {
        self.note(
            &format!("an object in {}", self.file.path.clone()),
            "it is larger than Kubernetes keeps one",
        );
    }

    fn log(&mut self, log: LogPlace) {
        if self.file.format.is_none() && log.namespace.is_some() {
            // The lines before and behind a log say which program wrote them.
            self.file.format = Some(Format::ClusterDump);
        }
        if let Some(namespace) = &log.namespace
            && self.file.hints.namespace.is_none()
        {
            self.file.group.1 = Some(namespace.clone());
            self.settle_group();
        }
        self.file.log = Some(Tail::new(log));
    }

    fn line(&mut self, line: &[u8]) {
        if let Some(log) = &mut self.file.log {
            log.push(line);
        }
    }

    fn log_end(&mut self) {
        let Some(mut log) = self.file.log.take() else { return };
        let refused = log.lines().last().and_then(log_error).is_some();
        log.place.error |= refused && log.lines().count() == 1;
        if self.is_wanted(log.place.namespace.as_deref().unwrap_or_default()) {
            self.keep_log(log);
        }
    }

    fn written(&mut self, time: &str) {
        self.moment.written(time);
    }
}
