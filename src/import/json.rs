//! Finds documents, and the items of lists, in a stream of JSON without reading what is in them.

use std::io::{self, BufRead};

use super::limits::Limits;
use super::pieces::{End, Held, LINE, Sink, Syntax, begins, first, line, log_block};

/// Lines between documents that are no log before the rest counts as something else.
const FOREIGN: usize = 1000;

/// Reads documents, one after the other, and the logs between them.
pub fn read(reader: &mut dyn BufRead, limits: &Limits, sink: &mut dyn Sink) -> io::Result<Held> {
    let mut held = Held::Other;
    let mut text = Vec::new();
    // A document may have any number of others behind it; text that is none of them may not.
    let mut foreign = 0;
    while let Some(byte) = first(reader)? {
        if matches!(byte, b'{' | b'[') {
            Document::new(limits).read(reader, sink)?;
            held = Held::Pieces;
            continue;
        }
        if !line(reader, LINE, &mut text)? {
            break;
        }
        if let Some(log) = begins(&text) {
            log_block(reader, log, sink)?;
            held = Held::Pieces;
        } else {
            foreign += 1;
        }
        if foreign > FOREIGN {
            break;
        }
    }
    Ok(held)
}

/// Text that is being collected, as long as it is not too much.
struct Part<'a> {
    limits: &'a Limits,
    text: Vec<u8>,
    values: usize,
    over: bool,
}

impl<'a> Part<'a> {
    fn new(limits: &'a Limits) -> Self {
        Self {
            limits,
            text: Vec::new(),
            values: 0,
            over: false,
        }
    }

    fn push(&mut self, text: &[u8]) {
        self.over |= self.text.len() + text.len() > self.limits.object || self.values > self.limits.values;
        if self.over {
            self.text = Vec::new();
        } else {
            self.text.extend_from_slice(text);
        }
    }

    fn clear(&mut self) {
        self.text.clear();
        (self.values, self.over) = (0, false);
    }
}

/// One document: a list whose items are passed on one by one, or anything else as a whole.
struct Document<'a> {
    depth: usize,
    string: bool,
    escape: bool,
    /// The first bytes of the last string at the first level: the key, where a value begins.
    key: Vec<u8>,
    /// How deep the items lie, while the reader is among them.
    items: Option<usize>,
    /// It has a list of items.
    list: bool,
    envelope: Part<'a>,
    item: Part<'a>,
}

/// Where the bytes that are being read belong.
#[derive(Clone, Copy, PartialEq, Eq)]
enum To {
    Envelope,
    Item,
    Nowhere,
}

impl<'a> Document<'a> {
    fn new(limits: &'a Limits) -> Self {
        Self {
            depth: 0,
            string: false,
            escape: false,
            key: Vec::new(),
            items: None,
            list: false,
            envelope: Part::new(limits),
            item: Part::new(limits),
        }
    }

    fn to(&self) -> To {
        match self.items {
            None => To::Envelope,
            Some(items) if self.depth > items => To::Item,
            Some(_) => To::Nowhere,
        }
    }

    fn push(&mut self, to: To, text: &[u8]) {
        match to {
            To::Envelope => self.envelope.push(text),
            To::Item => self.item.push(text),
            To::Nowhere => {}
        }
    }

    fn read(&mut self, reader: &mut dyn BufRead, sink: &mut dyn Sink) -> io::Result<()> {
        loop {
            let chunk = match reader.fill_buf() {
                Ok([]) => {
                    self.cut_off(sink);
                    return Ok(());
                }
                Ok(chunk) => chunk,
                Err(error) => {
                    self.cut_off(sink);
                    return Err(error);
                }
            };
            let (used, over) = self.scan(chunk, sink);
            reader.consume(used);
            if over {
                return Ok(());
            }
        }
    }

    /// How much of the chunk belongs to the document, and whether it ends there.
    fn scan(&mut self, chunk: &[u8], sink: &mut dyn Sink) -> (usize, bool) {
        // From where on the bytes have not been passed on.
        let mut from = 0;
        let mut at = 0;
        while at < chunk.len() {
            if self.string {
                at = self.in_string(chunk, at);
                continue;
            }
            let byte = chunk[at];
            match byte {
                b'"' => {
                    self.string = true;
                    self.key.clear();
                }
                b'{' | b'[' => {
                    let to = self.to();
                    let list = byte == b'[' && self.items.is_none() && (self.depth == 0 || self.depth == 1 && self.key == b"items");
                    self.depth += 1;
                    self.count();
                    if list {
                        self.push(to, &chunk[from..=at]);
                        self.items = Some(self.depth);
                        self.list = true;
                        from = at + 1;
                    } else if to != self.to() {
                        // An item begins.
                        from = at;
                    }
                }
                b'}' | b']' => {
                    let to = self.to();
                    self.depth = self.depth.saturating_sub(1);
                    if self.items == Some(self.depth) && to == To::Item {
                        self.push(to, &chunk[from..=at]);
                        self.end_item(sink);
                        from = at + 1;
                    } else if self.items.is_some_and(|items| self.depth < items) {
                        self.items = None;
                        from = at;
                    }
                    if self.depth == 0 {
                        self.push(To::Envelope, &chunk[from..=at]);
                        self.end(sink, true);
                        return (at + 1, true);
                    }
                }
                b',' | b':' => self.count(),
                _ => {}
            }
            at += 1;
        }
        self.push(self.to(), &chunk[from..]);
        (chunk.len(), false)
    }

    /// Goes on to the end of the string, or of the chunk.
    fn in_string(&mut self, chunk: &[u8], mut at: usize) -> usize {
        if self.escape {
            self.escape = false;
            return at + 1;
        }
        let rest = &chunk[at..];
        let special = rest.iter().position(|byte| matches!(byte, b'"' | b'\\'));
        let plain = special.unwrap_or(rest.len());
        if self.depth == 1 && self.items.is_none() {
            const KEY: usize = 8;
            let room = KEY.saturating_sub(self.key.len());
            self.key.extend_from_slice(&rest[..plain.min(room)]);
        }
        at += plain;
        if special.is_some() {
            self.escape = chunk[at] == b'\\';
            self.string = self.escape;
            at += 1;
        }
        at
    }

    fn count(&mut self) {
        match self.to() {
            To::Envelope => self.envelope.values += 1,
            To::Item => self.item.values += 1,
            To::Nowhere => {}
        }
    }

    fn end_item(&mut self, sink: &mut dyn Sink) {
        if self.item.over {
            sink.too_large();
        } else {
            sink.item(&self.item.text, Syntax::Json);
        }
        self.item.clear();
    }

    fn end(&mut self, sink: &mut dyn Sink, whole: bool) {
        if self.envelope.over {
            sink.too_large();
        } else {
            let end = End { whole, list: self.list };
            sink.document(&self.envelope.text, Syntax::Json, end);
        }
    }

    /// What was read of a list is worth something without its end.
    fn cut_off(&mut self, sink: &mut dyn Sink) {
        if let Some(items) = self.items {
            self.envelope.push(if items == 1 { b"]" } else { b"]}" });
        }
        self.end(sink, false);
    }
}

#[cfg(test)]
mod tests {
    use super::super::pieces::tests::told;
    use super::*;

    #[test]
    fn items_come_before_their_list() {
        let limits = Limits::default();
        let found = told(
            r#"{"kind": "PodList", "items": [{"a": "]}\"{"}, {"b": [1, {}]}, 7], "metadata": {"x": []}} {"kind":"Pod"}"#,
            &limits,
        );
        assert_eq!(
            found,
            [
                r#"item {"a": "]}\"{"}"#,
                r#"item {"b": [1, {}]}"#,
                r#"document {"kind": "PodList", "items": [], "metadata": {"x": []}}"#,
                r#"document {"kind":"Pod"}"#,
            ]
        );
        assert_eq!(
            told(r#"[{"a":1},{"b":2}]"#, &limits),
            [r#"item {"a":1}"#, r#"item {"b":2}"#, "document []"]
        );
    }

    #[test]
    fn logs_stand_between_lists() {
        let text = "{\"kind\":\"PodList\",\"items\":[]}\n==== START logs for container c of pod n/p ====\n{\"not\": \"json\nx\r\n==== END logs for container c of pod n/p ====\n{\"kind\":\"A\"}";
        assert_eq!(
            told(text, &Limits::default()),
            [
                r#"document {"kind":"PodList","items":[]}"#,
                "log p",
                r#"line {"not": "json"#,
                "line x",
                "end",
                r#"document {"kind":"A"}"#
            ]
        );
    }

    #[test]
    fn what_was_read_of_half_a_list_counts() {
        let found = told(r#"{"kind":"PodList","items":[{"a":1},{"b""#, &Limits::default());
        assert_eq!(found, [r#"item {"a":1}"#, r#"part {"kind":"PodList","items":[]}"#]);
        assert_eq!(told("{\"a", &Limits::default()), ["part {\"a"]);
    }

    #[test]
    fn what_is_too_large_is_passed_over() {
        let limits = Limits {
            object: 12,
            ..Limits::default()
        };
        let found = told(r#"{"items":[{"long":"xxxxxxxxxxxxxxx"},{"a":1}]}"#, &limits);
        assert_eq!(
            found,
            ["too large", r#"item {"a":1}"#, r#"document {"items":[]}"#].map(str::to_owned)
        );
        let limits = Limits {
            values: 3,
            ..Limits::default()
        };
        let found = told(r#"{"items":[[1,2,3,4,5],{"a":1}]}"#, &limits);
        assert_eq!(found[..2], ["too large".to_owned(), r#"item {"a":1}"#.to_owned()]);
    }
}
