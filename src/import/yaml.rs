//! Finds documents, and the items of lists, in a stream of YAML by their lines, as Kubernetes' tools write them.
//!
//! YAML is slow to read, and half of what the API returns is who wrote which field. So that part is taken out before anything is read: see
//! [`managed`](super::managed).

use std::io::{self, BufRead};

use super::limits::Limits;
use super::managed::Managed;
use super::pieces::{End, Held, Sink, Syntax, begins, line, log_block};

/// Lines that are no YAML of Kubernetes' before a file counts as something else.
const FOREIGN: usize = 200;

/// Reads documents, one after the other, and the logs between them.
pub fn read(reader: &mut dyn BufRead, limits: &Limits, sink: &mut dyn Sink) -> io::Result<Held> {
    let mut documents = Documents::new(limits);
    let mut text = Vec::new();
    let mut lines = 0;
    loop {
        match line(reader, limits.object, &mut text) {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) => {
                documents.end(sink, false);
                return Err(error);
            }
        }
        if let Some(log) = begins(&text) {
            documents.end(sink, true);
            documents.seen = true;
            log_block(reader, log, sink)?;
            continue;
        }
        documents.line(&text, sink);
        lines += 1;
        if lines >= FOREIGN && !documents.seen {
            return Ok(Held::Other);
        }
    }
    documents.end(sink, true);
    Ok(if documents.seen { Held::Pieces } else { Held::Other })
}

/// Text that is being collected, without who wrote which field.
struct Part<'a> {
    limits: &'a Limits,
    text: Vec<u8>,
    lines: usize,
    over: bool,
    /// How far its fields are indented.
    base: usize,
    /// The field of the object that the lines belong to is its metadata.
    metadata: bool,
    /// The lines belong to the metadata's managed fields.
    writers: bool,
    managed: Managed,
}

impl<'a> Part<'a> {
    fn new(limits: &'a Limits) -> Self {
        Self {
            limits,
            text: Vec::new(),
            lines: 0,
            over: false,
            base: 0,
            metadata: false,
            writers: false,
            managed: Managed::default(),
        }
    }

    fn begin(&mut self, base: usize) {
        self.text.clear();
        (self.lines, self.over, self.base) = (0, false, base);
        (self.metadata, self.writers) = (false, false);
        self.managed = Managed::default();
    }

    /// The text, and behind it what is kept of who wrote which field, as a field of the object's.
    fn whole(&mut self) -> &[u8] {
        if let Some(line) = std::mem::take(&mut self.managed).carried() {
            self.text.resize(self.text.len() + self.base, b' ');
            self.text.extend_from_slice(line.as_bytes());
        }
        &self.text
    }

    fn push(&mut self, line: &[u8], sink: &mut dyn Sink) {
        let indent = indent(line);
        let body = &line[indent..];
        if !body.is_empty() {
            let inner = self.base + 2;
            let entry = indent == inner && (body.starts_with(b"- ") || body == b"-");
            if indent == self.base {
                (self.metadata, self.writers) = (body == b"metadata:", false);
            } else if indent <= inner && !entry {
                self.writers = self.metadata && indent == inner && body == b"managedFields:";
            }
        }
        if self.writers {
            if body != b"managedFields:"
                && let Some(time) = self.managed.line(indent, &String::from_utf8_lossy(body))
            {
                sink.written(&time);
            }
            return;
        }
        self.lines += 1;
        self.over |= self.text.len() + line.len() >= self.limits.object || self.lines > self.limits.values;
        if self.over {
            self.text = Vec::new();
        } else {
            self.text.extend_from_slice(line);
            self.text.push(b'\n');
        }
    }
}

struct Documents<'a> {
    envelope: Part<'a>,
    item: Part<'a>,
    /// The lines are items, each of which begins with a dash so far indented.
    items: Option<Option<usize>>,
    in_item: bool,
    list: bool,
    /// There was something of Kubernetes'.
    seen: bool,
}

impl<'a> Documents<'a> {
    fn new(limits: &'a Limits) -> Self {
        Self {
            envelope: Part::new(limits),
            item: Part::new(limits),
            items: None,
            in_item: false,
            list: false,
            seen: false,
        }
    }

    fn line(&mut self, line: &[u8], sink: &mut dyn Sink) {
        if line == b"---" || line.starts_with(b"--- ") || line == b"..." {
            self.end(sink, true);
            return;
        }
        let indent = indent(line);
        let body = &line[indent..];
        if let Some(dash) = self.items {
            let begins = body.starts_with(b"- ") || body == b"-";
            if begins && dash.is_none_or(|dash| dash == indent) {
                self.end_item(sink);
                self.items = Some(Some(indent));
                self.in_item = true;
                self.item.begin(indent + 2);
                let mut first = vec![b' '; indent + 1];
                first.extend_from_slice(&body[1..]);
                self.item.push(&first, sink);
                return;
            }
            if body.is_empty() || body.starts_with(b"#") || dash.is_some_and(|dash| indent > dash) {
                if self.in_item {
                    self.item.push(line, sink);
                }
                return;
            }
            self.end_item(sink);
            self.items = None;
        }
        if line == b"items:" {
            self.items = Some(None);
            (self.list, self.seen) = (true, true);
            return;
        }
        self.seen |= ["apiVersion:", "kind:"].iter().any(|key| line.starts_with(key.as_bytes()));
        self.envelope.push(line, sink);
    }

    fn end_item(&mut self, sink: &mut dyn Sink) {
        if !std::mem::take(&mut self.in_item) {
            return;
        }
        if self.item.over {
            sink.too_large();
        } else {
            sink.item(self.item.whole(), Syntax::Yaml);
        }
    }

    /// Ends a document. One that is cut off has a last item that is not whole either; it shows because tools write the kind of a list
    /// behind its items.
    fn end(&mut self, sink: &mut dyn Sink, whole: bool) {
        let list = std::mem::take(&mut self.list);
        let kind = || {
            self.envelope
                .text
                .split(|byte| *byte == b'\n')
                .any(|line| line.starts_with(b"kind:"))
        };
        let whole = whole && (!list || kind());
        if whole {
            self.end_item(sink);
        }
        (self.items, self.in_item) = (None, false);
        if self.envelope.over {
            sink.too_large();
        } else if self.seen && (list || self.envelope.text.iter().any(|byte| !byte.is_ascii_whitespace())) {
            sink.document(self.envelope.whole(), Syntax::Yaml, End { whole, list });
        }
        self.envelope.begin(0);
    }
}

fn indent(line: &[u8]) -> usize {
    line.iter().take_while(|byte| **byte == b' ').count()
}

#[cfg(test)]
mod tests {
    use super::super::pieces::tests::told;
    use super::*;

    #[test]
    fn items_come_before_their_list() {
        let text = "apiVersion: v1\nitems:\n- metadata:\n    name: a\n  spec: |\n    - x\n\n    y\n- kind: B\nkind: PodList\nmetadata:\n  resourceVersion: \"7\"\n---\napiVersion: v1\nkind: C\n";
        assert_eq!(
            told(text, &Limits::default()),
            [
                "item   metadata:\n    name: a\n  spec: |\n    - x\n\n    y\n",
                "item   kind: B\n",
                "document apiVersion: v1\nkind: PodList\nmetadata:\n  resourceVersion: \"7\"\n",
                "document apiVersion: v1\nkind: C\n",
            ]
        );
        let indented = "kind: List\nitems:\n  - kind: A\n    spec:\n      - 1\n  - kind: B\n";
        assert_eq!(
            told(indented, &Limits::default()),
            [
                "item     kind: A\n    spec:\n      - 1\n",
                "item     kind: B\n",
                "document kind: List\n"
            ]
        );
    }

    #[test]
    fn who_wrote_which_field_is_not_for_the_parser() {
        let item = "- apiVersion: v1\n  kind: Pod\n  metadata:\n    managedFields:\n    - apiVersion: v1\n      fieldsV1:\n        f:metadata: {}\n      time: \"2026-01-02T03:04:05Z\"\n    name: a\n  spec:\n    managedFields:\n    - b\n";
        let found = told(&format!("apiVersion: v1\nitems:\n{item}kind: List\n"), &Limits::default());
        assert_eq!(found[0], "written 2026-01-02T03:04:05Z");
        assert_eq!(
            found[1],
            "item   apiVersion: v1\n  kind: Pod\n  metadata:\n    name: a\n  spec:\n    managedFields:\n    - b\n"
        );
        let found = told(
            "kind: Pod\nmetadata:\n  managedFields:\n  - manager: x\n    time: \"T\"\n  name: a\nspec: {}\n",
            &Limits::default(),
        );
        assert_eq!(found, ["written T", "document kind: Pod\nmetadata:\n  name: a\nspec: {}\n"]);
    }

    #[test]
    fn logs_stand_between_documents() {
        let text = "kind: PodList\nitems: []\n==== START logs for container c of pod n/p ====\nkind: Pod\n==== END logs for container c of pod n/p ====\n---\nkind: A\n";
        assert_eq!(
            told(text, &Limits::default()),
            [
                "document kind: PodList\nitems: []\n",
                "log p",
                "line kind: Pod",
                "end",
                "document kind: A\n"
            ]
        );
    }

    #[test]
    fn the_last_item_of_half_a_list_is_not_whole() {
        let found = told("apiVersion: v1\nitems:\n- kind: A\n- kind: B\n  spe", &Limits::default());
        assert_eq!(found, ["item   kind: A\n", "part apiVersion: v1\n"]);
    }

    #[test]
    fn other_texts_are_nothing() {
        assert_eq!(told(&"some words: here\n".repeat(500), &Limits::default()), [""; 0]);
    }
}
