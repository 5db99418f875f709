//! What can be wrong with a recording, in one sentence each.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::evidence::model::Header;

/// Why a recording could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("{} {problem}", path.display())]
pub struct RecordingError {
    pub path: PathBuf,
    pub problem: Problem,
}

impl RecordingError {
    pub(super) fn new(path: &Path, problem: Problem) -> Self {
        Self {
            path: path.to_owned(),
            problem,
        }
    }
}

/// How far a recording could be read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReadSoFar {
    pub entries: usize,
    /// The moment of the last of them.
    pub until: Option<Timestamp>,
}

impl fmt::Display for ReadSoFar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.entries, self.until) {
            (0, _) | (_, None) => write!(f, "no entry of it could be read"),
            (1, Some(until)) => write!(f, "one entry could be read, of {until}"),
            (entries, Some(until)) => write!(f, "{entries} entries could be read, up to {until}"),
        }
    }
}

/// What is wrong with the file; a clause that fits after its name.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    #[error("is not there; name a file that `rekindle run --record` or `rekindle record` wrote")]
    Missing,
    #[error("is a folder; name one of the recordings in it")]
    Folder,
    #[error("could not be read: {0}")]
    Read(io::Error),
    #[error("could not be written: {0}")]
    Write(io::Error),
    #[error("is empty; record it again")]
    Empty,
    #[error("is no recording of rekindle's: {reason}; recordings are written by `rekindle run --record` and `rekindle record`")]
    Foreign { reason: String },
    #[error(
        "has format {found}, written by {recorder}, and rekindle {} reads no format above {}; use a newer rekindle",
        env!("CARGO_PKG_VERSION"),
        Header::FORMAT
    )]
    Newer { found: u64, recorder: String },
    #[error("was cut off: {read}; copy or record it again, or take what is there with --partial")]
    CutOff { read: ReadSoFar },
    #[error("is damaged: {reason}; {read}; copy or record it again, or take what is there with --partial")]
    Damaged { reason: String, read: ReadSoFar },
    #[error("is wrong in line {line}: {reason}; record it again")]
    Line { line: usize, reason: String },
    #[error("has more than {limit}; a recording of rekindle's is never that large")]
    TooLarge { limit: String },
    #[error("goes on after its end with {what}; record it again")]
    Trailing { what: &'static str },
}

impl Problem {
    /// Whether what could be read is worth something: the file was a recording and lost its end on the way.
    pub fn leaves_a_part(&self) -> bool {
        matches!(self, Self::CutOff { .. } | Self::Damaged { .. })
    }
}
