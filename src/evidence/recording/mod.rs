//! Recordings: the timeline of a run in one file, so that it can be diagnosed again without a cluster.
//!
//! The file is compressed with gzip and holds one JSON document a line:
//!
//! ```text
//! {"kind":"rekindle-recording","format":1,…}     where it comes from
//! {"at":"…","fact":"engine-started",…}            what was noted, in the order of receipt
//! …
//! {"end":{"entries":431,…}}                       what the run made of it
//! ```
//!
//! Each earlier moment is a prefix. A file without its last line was cut off. Only the recorder writes recordings: it has taken the values
//! of Secrets out before anything gets here. `docs/recording.schema.json` is the schema of the lines; whoever changes it has to ask
//! whether files that are there can still be read, and to raise [`Header::FORMAT`] where an older rekindle could not read the new ones.

mod error;
mod read;
#[cfg(test)]
mod tests;
mod write;

use std::collections::BTreeMap;
use std::path::Path;

use jiff::Timestamp;
use schemars::{JsonSchema, schema_for};
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use error::{Problem, ReadSoFar, RecordingError};
pub use read::{Limits, Reader};
pub use write::Writer;

use super::model::{Entry, Header, Timeline};
use super::names::Names;

/// The ending of a recording's name.
pub const EXTENSION: &str = "rekindle";
const KIND: &str = "rekindle-recording";
const SCHEMA: &str = "https://github.com/rekindle-dev/rekindle/raw/main/docs/recording.schema.json";

/// The first line: where the recording comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Preamble {
    /// `rekindle-recording`
    kind: String,
    #[serde(flatten)]
    pub header: Header,
    /// When the file was written.
    pub recorded_at: Timestamp,
    /// By engine: `helm-4` → `v4.3.1`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub engines: BTreeMap<String, String>,
    /// The trial that was recorded, where it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trial: Option<RecordedTrial>,
}

impl Preamble {
    /// What stands at the beginning of a recording that is written now.
    pub fn new(header: Header) -> Self {
        Self {
            kind: KIND.to_owned(),
            header,
            recorded_at: Timestamp::now(),
            engines: BTreeMap::new(),
            trial: None,
        }
    }
}

/// Which trial was recorded, in the words of the report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RecordedTrial {
    pub scenario: String,
    pub engine: String,
    pub variant: String,
    pub profile: String,
}

/// `hook-target-unreachable::helm-4::broken`, as in a report.
impl std::fmt::Display for RecordedTrial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}::{}::{}", self.scenario, self.engine, self.variant)
    }
}

/// The last line: what the run made of what it had noted.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Ending {
    /// How many entries there are.
    pub entries: usize,
    /// The verdict on the trial.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<String>,
    /// The diagnosis that was reported; absent where none was taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conclusion: Option<Conclusion>,
}

/// The diagnosis that a run reported, and the moment at which it took it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Conclusion {
    /// How many entries it rests on.
    pub entries: usize,
    /// As in `report.json`.
    pub diagnosis: Value,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct End<E> {
    end: E,
}

/// A recording that was read to its end, or as far as it goes.
#[derive(Debug, Clone, PartialEq)]
pub struct Recording {
    pub preamble: Preamble,
    pub entries: Vec<Entry>,
    /// Absent where the file was cut off.
    pub ending: Option<Ending>,
}

impl Recording {
    /// What was seen, with the diagnosis that was made of all of it, as in `report.json`.
    pub fn of(timeline: &Timeline, diagnosis: Option<Value>) -> Self {
        let entries = timeline.entries.len();
        Self {
            preamble: Preamble::new(timeline.header.clone()),
            entries: timeline.entries.clone(),
            ending: Some(Ending {
                entries,
                verdict: None,
                conclusion: diagnosis.map(|diagnosis| Conclusion { entries, diagnosis }),
            }),
        }
    }

    /// Reads a whole recording.
    ///
    /// # Errors
    /// [`RecordingError`], also where the file was cut off: then what there is can be had with [`Recording::read_part`].
    pub fn read(path: &Path) -> Result<Self, RecordingError> {
        match Self::read_part(path)? {
            (recording, None) => Ok(recording),
            (_, Some(error)) => Err(error),
        }
    }

    /// Reads a recording as far as it goes; what is wrong with the rest stands beside it.
    ///
    /// # Errors
    /// [`RecordingError`], where the file was neither cut off nor damaged on its way but never was a recording that can be read.
    pub fn read_part(path: &Path) -> Result<(Self, Option<RecordingError>), RecordingError> {
        let mut reader = Reader::open(path)?;
        let mut recording = Self {
            preamble: reader.preamble().clone(),
            entries: Vec::new(),
            ending: None,
        };
        loop {
            match reader.next_entry() {
                Ok(Some(entry)) => recording.entries.push(entry),
                Ok(None) => {
                    recording.ending = reader.ending().cloned();
                    return Ok((recording, None));
                }
                Err(error) if error.problem.leaves_a_part() => return Ok((recording, Some(error))),
                Err(error) => return Err(error),
            }
        }
    }

    /// Writes it as a file, which is there whole or not at all.
    ///
    /// # Errors
    /// [`RecordingError`], when it cannot be written, or could not be read again.
    pub fn write(&self, path: &Path) -> Result<(), RecordingError> {
        let mut writer = Writer::create(path, &self.preamble)?;
        for entry in &self.entries {
            writer.entry(entry)?;
        }
        writer.finish(self.ending.clone().unwrap_or_default())
    }

    /// What was noted, as a timeline.
    pub fn timeline(&self) -> Timeline {
        Timeline {
            header: self.preamble.header.clone(),
            entries: self.entries.clone(),
        }
    }

    /// The same with other names, in what was made of it, too.
    #[must_use]
    pub fn renamed(mut self, names: &Names) -> Self {
        let timeline = names.timeline(self.timeline());
        self.preamble.header = timeline.header;
        self.entries = timeline.entries;
        if let Some(conclusion) = self.ending.as_mut().and_then(|ending| ending.conclusion.as_mut()) {
            names.value(&mut conclusion.diagnosis);
        }
        self
    }

    pub fn header(&self) -> &Header {
        &self.preamble.header
    }
}

/// One line of a recording.
#[derive(JsonSchema)]
#[schemars(title = "a line of a rekindle recording", untagged)]
#[allow(dead_code, reason = "only its schema is wanted")]
enum Line {
    First(Preamble),
    Entry(Entry),
    Last(End<Ending>),
}

/// The JSON schema of each line of a recording, as it is committed in `docs/recording.schema.json`.
///
/// # Errors
/// Where a value has no form in JSON; no type here has such values.
pub fn schema() -> Result<String, serde_json::Error> {
    let mut schema = schema_for!(Line);
    schema.insert("$id".to_owned(), SCHEMA.into());
    Ok(serde_json::to_string_pretty(&schema)? + "\n")
}
