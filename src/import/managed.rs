//! Reads who wrote which field from lines of YAML as Kubernetes' tools write them, without a parser: it is half of what they write.

use std::borrow::Cow;

use serde_json::Value;

use crate::evidence::writers::{CARRIED, Draft, Writers};

/// What was read so far of an object's managed fields. What stands there in another form than that of the tools is left out.
#[derive(Debug, Default)]
pub struct Managed {
    writers: Writers,
    draft: Option<Draft>,
    /// How far the dashes of the entries are indented.
    dash: Option<usize>,
    /// The lines that are indented further than this are fields of the entry.
    fields: Option<usize>,
    /// How far each of the fields is indented that the next one may lie in.
    levels: Vec<usize>,
}

impl Managed {
    /// Takes in the next line, without its indentation. Returns the time that it tells of, if it is one.
    pub fn line(&mut self, indent: usize, body: &str) -> Option<String> {
        if body.is_empty() || body.starts_with('#') {
            return None;
        }
        let entry = body.strip_prefix('-').filter(|rest| rest.is_empty() || rest.starts_with(' '));
        let (indent, body) = match entry {
            Some(rest) if self.dash.is_none_or(|dash| dash == indent) => {
                self.end_entry();
                (self.dash, self.draft) = (Some(indent), Some(Draft::default()));
                let rest_of = rest.trim_start();
                (indent + 1 + rest.len() - rest_of.len(), rest_of)
            }
            _ => (indent, body),
        };
        let draft = self.draft.as_mut()?;
        if self.fields.is_some_and(|fields| indent > fields) {
            while self.levels.last().is_some_and(|level| *level >= indent) {
                self.levels.pop();
                draft.fields.leave();
            }
            draft.fields.enter(key(body).as_deref().unwrap_or_default());
            self.levels.push(indent);
            return None;
        }
        self.fields = None;
        let (key, value) = body.split_once(':')?;
        if key == "fieldsV1" && value.trim().is_empty() {
            self.fields = Some(indent);
            return None;
        }
        let value = plain(value.trim());
        draft.say(key, &value);
        (key == "time").then(|| value.into_owned())
    }

    fn end_entry(&mut self) {
        let Some(mut draft) = self.draft.take() else { return };
        for _ in self.levels.drain(..) {
            draft.fields.leave();
        }
        self.fields = None;
        self.writers.add(draft);
    }

    /// A line of YAML with what is kept, as one text; nothing where there is nothing.
    pub fn carried(mut self) -> Option<String> {
        self.end_entry();
        let text = Value::from(self.writers.carried()?.to_string());
        Some(format!("{CARRIED}: {text}\n"))
    }
}

/// The key of a line; nothing where it is no plain one. Keys of more than 128 letters get a line of their own, which begins with `?`.
fn key(body: &str) -> Option<Cow<'_, str>> {
    let key = body.strip_suffix(": {}").or_else(|| body.strip_suffix(':'))?;
    (!key.starts_with(['?', ':'])).then(|| plain(key))
}

/// A text without the quotes that it may stand in.
fn plain(text: &str) -> Cow<'_, str> {
    let within = |quote: char| text.strip_prefix(quote)?.strip_suffix(quote);
    if within('"').is_some() {
        return Cow::Owned(serde_json::from_str(text).unwrap_or_default());
    }
    within('\'').map_or(Cow::Borrowed(text), |inner| Cow::Owned(inner.replace("''", "'")))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::json;

    use crate::evidence::writers::take;
    use crate::import::limits::Limits;
    use crate::import::objects::{Moment, parse};
    use crate::import::pieces::{self, End, Sink, Syntax};
    use crate::import::place::LogPlace;

    /// Keeps the objects that it is given.
    #[derive(Default)]
    struct Items(Vec<(String, Syntax)>);

    impl Sink for Items {
        fn item(&mut self, text: &[u8], syntax: Syntax) {
            self.0.push((String::from_utf8_lossy(text).into_owned(), syntax));
        }

        fn document(&mut self, text: &[u8], syntax: Syntax, end: End) {
            if !end.list {
                self.item(text, syntax);
            }
        }

        fn too_large(&mut self) {}
        fn log(&mut self, _: LogPlace) {}
        fn line(&mut self, _: &[u8]) {}
        fn log_end(&mut self) {}
        fn written(&mut self, _: &str) {}
    }

    fn items(text: &str) -> Vec<(String, Syntax)> {
        let mut items = Items::default();
        pieces::read(&mut std::io::BufReader::new(text.as_bytes()), &Limits::default(), &mut items).unwrap();
        items.0
    }

    #[test]
    fn json_and_yaml_tell_the_same_of_who_wrote_what() {
        let json = r#"{"kind":"Pod","metadata":{"managedFields":[
            {"apiVersion":"v1","fieldsType":"FieldsV1","fieldsV1":{"f:data":{".":{},"f:a.b":{}}},"manager":"helm","operation":"Update","time":"2026-01-02T03:00:00Z"},
            {"fieldsV1":{"f:spec":{"f:containers":{"k:{\"name\":\"web\"}":{"f:image":{}}},"f:finalizers":{"v:\"x\"":{}}}},"manager":"on: call","subresource":"scale","time":"2026-01-02T04:00:00Z"}],
            "name":"a"},"spec":{}}"#;
        let yaml = "kind: Pod\nmetadata:\n  managedFields:\n  - apiVersion: v1\n    fieldsType: FieldsV1\n    fieldsV1:\n      f:data:\n        .: {}\n        f:a.b: {}\n    manager: helm\n    operation: Update\n    time: \"2026-01-02T03:00:00Z\"\n  - fieldsV1:\n      f:spec:\n        f:containers:\n          k:{\"name\":\"web\"}:\n            f:image: {}\n        f:finalizers:\n          v:\"x\": {}\n    manager: 'on: call'\n    subresource: scale\n    time: \"2026-01-02T04:00:00Z\"\n  name: a\nspec: {}\n";
        // In another style it goes through the parser, and comes to the same.
        let flow = "kind: Pod\nmetadata: {name: a, managedFields: [{manager: 'on: call', subresource: scale, time: '2026-01-02T04:00:00Z', fieldsV1: {'f:spec': {'f:containers': {'k:{\"name\":\"web\"}': {'f:image': {}}}, 'f:finalizers': {}}}}]}\nspec: {}\n";
        let expected = json!({"kind": "Pod", "metadata": {"name": "a"}, "spec": {}});
        let of = |text: &str| {
            let mut all = items(text);
            assert_eq!(all.len(), 1, "{all:?}");
            let (text, syntax) = all.remove(0);
            let mut pod = parse(text.as_bytes(), syntax, &mut Moment::until(Timestamp::MAX)).unwrap();
            let writers = take(&mut pod);
            assert_eq!(pod, expected);
            writers
        };
        let writers = of(json);
        assert_eq!(writers, of(yaml));
        assert_eq!(
            writers
                .iter()
                .map(|writer| (writer.manager.as_str(), writer.fields.clone()))
                .collect::<Vec<_>>(),
            [
                (
                    "on: call",
                    vec!["spec.finalizers".to_owned(), "spec.containers[web].image".to_owned()]
                ),
                ("helm", vec!["data[a.b]".to_owned()])
            ]
        );
        assert_eq!(writers[..1], of(flow));
        // As an item of a list.
        let item = yaml.trim_end().replace('\n', "\n  ");
        assert_eq!(writers, of(&format!("apiVersion: v1\nitems:\n- {item}\nkind: List\n")));
    }
}
