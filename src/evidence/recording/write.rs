//! Writes a recording, entry by entry.

use std::io::{self, Write};
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Serialize;

use super::{End, Ending, Limits, Preamble, Problem, RecordingError};
use crate::evidence::model::Entry;
use crate::whole::WholeFile;

/// A recording that is being written. It is in its place once it is finished.
pub struct Writer {
    path: std::path::PathBuf,
    packed: GzEncoder<WholeFile>,
    line: Vec<u8>,
    entries: usize,
}

impl Writer {
    /// Begins a recording; its folder is made where it is missing.
    ///
    /// # Errors
    /// When nothing can be written there.
    pub fn create(path: &Path, preamble: &Preamble) -> Result<Self, RecordingError> {
        let failed = |error| RecordingError::new(path, Problem::Write(error));
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder).map_err(failed)?;
        }
        let mut writer = Self {
            path: path.to_owned(),
            packed: GzEncoder::new(WholeFile::create(path).map_err(failed)?, Compression::best()),
            line: Vec::new(),
            entries: 0,
        };
        writer.line(preamble)?;
        Ok(writer)
    }

    /// Adds the next entry.
    ///
    /// # Errors
    /// When it cannot be written; or would be refused when it is read.
    pub fn entry(&mut self, entry: &Entry) -> Result<(), RecordingError> {
        self.entries += 1;
        self.line(entry)
    }

    /// Adds the last line, and puts the file in its place. The number of entries is filled in.
    ///
    /// # Errors
    /// When it cannot be written; then there is no file.
    pub fn finish(mut self, ending: Ending) -> Result<(), RecordingError> {
        let entries = self.entries;
        self.line(&End {
            end: Ending { entries, ..ending },
        })?;
        let kept = self.packed.finish().and_then(WholeFile::keep);
        kept.map_err(|error| RecordingError::new(&self.path, Problem::Write(error)))
    }

    fn line(&mut self, value: &impl Serialize) -> Result<(), RecordingError> {
        self.line.clear();
        let written = serde_json::to_writer(&mut self.line, value)
            .map_err(io::Error::other)
            .and_then(|()| {
                if self.line.len() > Limits::default().line {
                    return Err(io::Error::other(format!(
                        "entry {} is larger than any that can be read",
                        self.entries
                    )));
                }
                self.line.push(b'\n');
                self.packed.write_all(&self.line)
            });
        written.map_err(|error| RecordingError::new(&self.path, Problem::Write(error)))
    }
}
