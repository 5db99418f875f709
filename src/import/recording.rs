//! Recordings of rekindle's own: they are timelines already, and keep their times.

use std::path::Path;

use super::error::ImportError;
use super::{Format, Imported, Missing, Options, Timelines};
use crate::evidence::{Recording, Timeline};

/// Reads a recording, as far as it goes.
pub fn read(path: &Path, options: &Options) -> Result<Imported, ImportError> {
    let (recording, problem) = Recording::read_part(path)?;
    let header = recording.preamble.header;
    if let Some(namespace) = &options.namespace
        && *namespace != header.namespace
    {
        return Err(ImportError::Namespace {
            path: path.to_owned(),
            namespace: namespace.clone(),
            known_namespaces: vec![header.namespace],
        });
    }
    let missing = problem.map(|error| Missing {
        what: "the end of the recording".to_owned(),
        why: error.problem.to_string(),
    });
    let namespaces = vec![header.namespace.clone()];
    let timeline = Timeline {
        header,
        entries: recording.entries,
    };
    Ok(Imported {
        format: Format::Recording,
        namespaces,
        timelines: Timelines::One(Some(timeline.redacted(options.key))),
        missing: missing.into_iter().collect(),
    })
}
