//! Reads a recording line by line, in bounded memory, whatever the file holds.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flate2::bufread::GzDecoder;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::{End, Ending, KIND, Preamble, Problem, ReadSoFar, RecordingError};
use crate::evidence::model::{Change, Entry, Fact, Header, Writer};
use crate::evidence::moment;

/// What a recording may come to when it is unpacked.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of one line. Kubernetes keeps 1.5 MiB of an object, and 1 MiB of a release record that Helm has packed.
    pub line: usize,
    /// Bytes in all.
    pub bytes: u64,
    /// JSON values in all: each takes about a hundred bytes of memory, however short its text is.
    pub values: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            line: 32 << 20,
            bytes: 256 << 20,
            values: 16 << 20,
        }
    }
}

/// A recording that is being read.
pub struct Reader {
    lines: Lines,
    preamble: Preamble,
    ending: Option<Ending>,
}

impl Reader {
    /// Opens a recording and reads where it comes from.
    ///
    /// # Errors
    /// [`RecordingError`], where it is none, or one that this rekindle cannot read.
    pub fn open(path: &Path) -> Result<Self, RecordingError> {
        Self::open_within(path, Limits::default())
    }

    /// The same with other limits.
    ///
    /// # Errors
    /// As with [`Reader::open`].
    pub fn open_within(path: &Path, limits: Limits) -> Result<Self, RecordingError> {
        let mut lines = Lines::open(path, limits).map_err(|problem| RecordingError::new(path, problem))?;
        let preamble = lines
            .next()
            .and_then(|there| if there { first_line(&lines) } else { Err(Problem::Empty) });
        Ok(Self {
            preamble: preamble.map_err(|problem| RecordingError::new(path, problem))?,
            lines,
            ending: None,
        })
    }

    /// How many bytes are held of the file.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.lines.text.len()
    }

    pub fn preamble(&self) -> &Preamble {
        &self.preamble
    }

    /// What the run made of it; there once the last entry was read.
    pub fn ending(&self) -> Option<&Ending> {
        self.ending.as_ref()
    }

    /// The next entry; nothing once the recording has come to its proper end.
    ///
    /// # Errors
    /// [`RecordingError`], at the first line that does not belong there.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, RecordingError> {
        if self.ending.is_some() {
            return Ok(None);
        }
        self.read().map_err(|problem| RecordingError::new(&self.lines.path, problem))
    }

    fn read(&mut self) -> Result<Option<Entry>, Problem> {
        let lines = &mut self.lines;
        if !lines.next()? {
            return Err(Problem::CutOff { read: lines.read });
        }
        if lines.text.starts_with(br#"{"end":"#) {
            let End::<Ending> { end } = lines.parsed()?;
            let read = lines.read;
            if end.entries != read.entries {
                let reason = format!("it should hold {} entries", end.entries);
                return Err(Problem::Damaged { reason, read });
            }
            if end.conclusion.as_ref().is_some_and(|conclusion| conclusion.entries > end.entries) {
                let reason = "the diagnosis rests on more entries than there are".to_owned();
                return Err(Problem::Line {
                    line: lines.number,
                    reason,
                });
            }
            lines.nothing_behind()?;
            self.ending = Some(end);
            return Ok(None);
        }
        let entry = entry(lines)?;
        let before = lines.read.until.unwrap_or(self.preamble.header.observed_at);
        if entry.at < before {
            let reason = format!("it is of {}, and stands behind what is of {before}", entry.at);
            return Err(Problem::Line {
                line: lines.number,
                reason,
            });
        }
        lines.read.entries += 1;
        lines.read.until = Some(entry.at);
        Ok(Some(entry))
    }
}

/// Most of a recording are objects. Read as what they are, they take half as long as by way of a fact whose kind is to be found out; the
/// recorder writes the kind right behind the moment, and whatever has it elsewhere is read the longer way.
fn entry(lines: &Lines) -> Result<Entry, Problem> {
    #[derive(Deserialize)]
    struct Seen<'a> {
        #[serde(deserialize_with = "moment::clamped")]
        at: Timestamp,
        #[serde(borrow)]
        fact: Cow<'a, str>,
        change: Change,
        object: Arc<Value>,
        #[serde(default = "Arc::default")]
        writers: Arc<[Writer]>,
    }
    const KIND_BY: usize = 64;
    const OBJECT: &[u8] = br#""fact":"object""#;
    let head = &lines.text[..lines.text.len().min(KIND_BY)];
    if head.windows(OBJECT.len()).any(|window| window == OBJECT)
        && let Ok(Seen {
            at,
            fact,
            change,
            object,
            writers,
        }) = lines.parsed()
        && fact == "object"
    {
        return Ok(Entry {
            at,
            fact: Fact::Object { change, object, writers },
        });
    }
    lines.parsed()
}

/// Reads the first line in two steps: what a newer rekindle wrote may look otherwise from its second word on.
fn first_line(lines: &Lines) -> Result<Preamble, Problem> {
    let foreign = |reason: &str| Problem::Foreign { reason: reason.to_owned() };
    let first: Value = lines.parsed().map_err(|_| foreign("its first line is no JSON"))?;
    let text = |key: &str| first.get(key).and_then(Value::as_str);
    if text("kind") != Some(KIND) {
        return Err(foreign("its first line does not say that it is one"));
    }
    match first.get("format").and_then(Value::as_u64) {
        Some(found) if found > u64::from(Header::FORMAT) => Err(Problem::Newer {
            found,
            recorder: text("recorder").unwrap_or("a rekindle that does not say its version").to_owned(),
        }),
        Some(1..) => lines.parsed(),
        _ => Err(foreign("its first line names no format")),
    }
}

/// The lines of the file, and how far they were read.
struct Lines {
    path: PathBuf,
    unpacked: BufReader<GzDecoder<BufReader<File>>>,
    limits: Limits,
    /// The line that was read last, and its number from 1 on.
    text: Vec<u8>,
    number: usize,
    bytes: u64,
    values: u64,
    read: ReadSoFar,
}

impl Lines {
    fn open(path: &Path, limits: Limits) -> Result<Self, Problem> {
        let mut packed = BufReader::new(File::open(path).map_err(of_opening)?);
        match packed.fill_buf().map_err(of_opening)? {
            [] => return Err(Problem::Empty),
            [0x1f, 0x8b, ..] | [0x1f] => {}
            _ => {
                let reason = "it is not compressed with gzip".to_owned();
                return Err(Problem::Foreign { reason });
            }
        }
        Ok(Self {
            path: path.to_owned(),
            unpacked: BufReader::with_capacity(64 << 10, GzDecoder::new(packed)),
            limits,
            text: Vec::new(),
            number: 0,
            bytes: 0,
            values: 0,
            read: ReadSoFar::default(),
        })
    }

    /// Reads the next line into `text`, without its end; whether there was one.
    fn next(&mut self) -> Result<bool, Problem> {
        self.text.clear();
        let (line, left) = (self.limits.line as u64, self.limits.bytes - self.bytes);
        let most = line.min(left) + 1;
        let got = (&mut self.unpacked).take(most).read_until(b'\n', &mut self.text);
        match got {
            Ok(0) => return Ok(false),
            Ok(_) if self.text.last() == Some(&b'\n') => {}
            Ok(got) if got as u64 == most => {
                let (limit, of) = if line <= left {
                    (line, "in one line")
                } else {
                    (self.limits.bytes, "of text")
                };
                let limit = format!("{} MiB {of}", limit >> 20);
                return Err(Problem::TooLarge { limit });
            }
            // It ends within the line.
            Ok(_) => return Err(Problem::CutOff { read: self.read }),
            Err(error) => return Err(self.of_unpacking(error)),
        }
        self.number += 1;
        self.bytes += self.text.len() as u64;
        self.text.pop();
        self.values += self.text.iter().filter(|byte| matches!(byte, b',' | b':' | b'[' | b'{')).count() as u64;
        if self.values > self.limits.values {
            let limit = format!("{} million values", self.limits.values >> 20);
            return Err(Problem::TooLarge { limit });
        }
        Ok(true)
    }

    fn parsed<'a, T: Deserialize<'a>>(&'a self) -> Result<T, Problem> {
        let wrong = |reason: String| Problem::Line { line: self.number, reason };
        let text = std::str::from_utf8(&self.text).map_err(|error| wrong(format!("byte {} is not UTF-8", error.valid_up_to() + 1)))?;
        serde_json::from_str(text).map_err(|error| wrong(error.to_string()))
    }

    fn of_unpacking(&self, error: io::Error) -> Problem {
        let read = self.read;
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Problem::CutOff { read },
            io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData if self.number == 0 => Problem::Foreign {
                reason: "it does not unpack".to_owned(),
            },
            io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => Problem::Damaged {
                reason: error.to_string(),
                read,
            },
            _ => Problem::Read(error),
        }
    }

    /// Makes sure that the file ends where the recording does; with it the checksum, which stands at the very end.
    fn nothing_behind(&mut self) -> Result<(), Problem> {
        let more = |filled: io::Result<&[u8]>| filled.map(|bytes| !bytes.is_empty());
        match more(self.unpacked.fill_buf()) {
            Ok(false) => {}
            Ok(true) => return Err(Problem::Trailing { what: "more lines" }),
            Err(error) => return Err(self.of_unpacking(error)),
        }
        match more(self.unpacked.get_mut().get_mut().fill_buf()) {
            Ok(false) => Ok(()),
            Ok(true) => Err(Problem::Trailing {
                what: "bytes that are not its own",
            }),
            Err(error) => Err(Problem::Read(error)),
        }
    }
}

fn of_opening(error: io::Error) -> Problem {
    match error.kind() {
        io::ErrorKind::NotFound => Problem::Missing,
        io::ErrorKind::IsADirectory => Problem::Folder,
        _ => Problem::Read(error),
    }
}
