//! Takes a file apart into objects and logs while it is read, so that a list of any length needs the memory of one object.

use std::io::{self, BufRead};

use super::cluster_dump::{log_begins, log_ends};
use super::limits::Limits;
use super::place::LogPlace;
use super::{json, yaml};

/// In which form the text of an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Syntax {
    Json,
    Yaml,
}

/// How a document was come to the end of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// Its end was seen.
    pub whole: bool,
    /// It is a list, whose items were passed on before.
    pub list: bool,
}

/// Takes what is found in a file, in its order.
pub trait Sink {
    /// An item of the list that is being read.
    fn item(&mut self, text: &[u8], syntax: Syntax);
    /// A document, without the items of its list.
    fn document(&mut self, text: &[u8], syntax: Syntax, end: End);
    /// An object that is too large was passed over.
    fn too_large(&mut self);
    /// Lines of this log follow; others do not.
    fn log(&mut self, log: LogPlace);
    /// A line of the log, without its end, and no more of it than [`LINE`].
    fn line(&mut self, line: &[u8]);
    /// The log is over.
    fn log_end(&mut self);
    /// When something that is left out was written, as text.
    fn written(&mut self, time: &str);
}

/// What a file turned out to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// Documents in JSON or YAML, or logs between their lines.
    Pieces,
    /// Something else.
    Other,
}

/// The most of a line of text that is looked at.
pub const LINE: usize = 8 << 10;

/// Reads a file to its end.
///
/// # Errors
/// When the file cannot be read on. What was read before has been passed on.
pub fn read(reader: &mut dyn BufRead, limits: &Limits, sink: &mut dyn Sink) -> io::Result<Held> {
    match first(reader)? {
        None => Ok(Held::Other),
        Some(b'{' | b'[' | b'=') => json::read(reader, limits, sink),
        Some(_) => yaml::read(reader, limits, sink),
    }
}

/// The first byte that is no blank; it stays in the reader.
pub fn first(reader: &mut dyn BufRead) -> io::Result<Option<u8>> {
    loop {
        let chunk = reader.fill_buf()?;
        if chunk.is_empty() {
            return Ok(None);
        }
        // Some editors of another system put a mark before everything.
        let mark = chunk.starts_with(b"\xef\xbb\xbf");
        if mark {
            reader.consume(3);
            continue;
        }
        match chunk.iter().position(|byte| !byte.is_ascii_whitespace()) {
            Some(at) => {
                let byte = chunk[at];
                reader.consume(at);
                return Ok(Some(byte));
            }
            None => {
                let length = chunk.len();
                reader.consume(length);
            }
        }
    }
}

/// Reads a line without its end, as much as `most` of it; whether there was one.
pub fn line(reader: &mut dyn BufRead, most: usize, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    let mut any = false;
    loop {
        let chunk = reader.fill_buf()?;
        if chunk.is_empty() {
            return Ok(any);
        }
        any = true;
        let end = chunk.iter().position(|byte| *byte == b'\n');
        let (used, of_line) = end.map_or((chunk.len(), chunk.len()), |end| (end + 1, end));
        let room = most.saturating_sub(line.len());
        line.extend_from_slice(&chunk[..of_line.min(room)]);
        reader.consume(used);
        if end.is_some() {
            if line.last() == Some(&b'\r') {
                line.pop();
            }
            return Ok(true);
        }
    }
}

/// Passes on the lines of a log up to its last one.
pub fn log_block(reader: &mut dyn BufRead, log: LogPlace, sink: &mut dyn Sink) -> io::Result<()> {
    sink.log(log);
    let mut text = Vec::new();
    let result = loop {
        match line(reader, LINE, &mut text) {
            Ok(true) if text.starts_with(b"====") && log_ends(&String::from_utf8_lossy(&text)) => break Ok(()),
            Ok(true) => sink.line(&text),
            Ok(false) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    sink.log_end();
    result
}

/// The log that begins with this line, if one does.
pub fn begins(line: &[u8]) -> Option<LogPlace> {
    line.starts_with(b"==== START")
        .then(|| log_begins(&String::from_utf8_lossy(line)))?
}

#[cfg(test)]
pub mod tests {
    use std::io::BufReader;

    use super::*;

    /// Writes down what it is given.
    #[derive(Default)]
    struct Told(Vec<String>);

    impl Sink for Told {
        fn item(&mut self, text: &[u8], _: Syntax) {
            self.0.push(format!("item {}", String::from_utf8_lossy(text)));
        }
        fn document(&mut self, text: &[u8], _: Syntax, end: End) {
            let word = if end.whole { "document" } else { "part" };
            self.0.push(format!("{word} {}", String::from_utf8_lossy(text)));
        }
        fn too_large(&mut self) {
            self.0.push("too large".into());
        }
        fn log(&mut self, log: LogPlace) {
            self.0.push(format!("log {}", log.pod));
        }
        fn line(&mut self, line: &[u8]) {
            self.0.push(format!("line {}", String::from_utf8_lossy(line)));
        }
        fn log_end(&mut self) {
            self.0.push("end".into());
        }
        fn written(&mut self, time: &str) {
            self.0.push(format!("written {time}"));
        }
    }

    /// What is found in a text, however its bytes come in.
    pub fn told(text: &str, limits: &Limits) -> Vec<String> {
        let mut all = Vec::new();
        for size in [1, 2, 7, 64 << 10] {
            let mut told = Told::default();
            read(&mut BufReader::with_capacity(size, text.as_bytes()), limits, &mut told).unwrap();
            all.push(told.0);
        }
        assert!(all.windows(2).all(|pair| pair[0] == pair[1]), "{all:?}");
        all.swap_remove(0)
    }

    #[test]
    fn a_line_of_any_length_is_read_in_bounded_memory() {
        let text = format!("{}\r\nshort\nlast", "x".repeat(1 << 20));
        let mut reader = BufReader::with_capacity(100, text.as_bytes());
        let mut found = Vec::new();
        assert!(line(&mut reader, LINE, &mut found).unwrap());
        assert_eq!(found.len(), LINE);
        for expected in ["short", "last"] {
            assert!(line(&mut reader, LINE, &mut found).unwrap());
            assert_eq!(found, expected.as_bytes());
        }
        assert!(!line(&mut reader, LINE, &mut found).unwrap());
    }
}
