//! Reads what somebody has exported from a cluster, so that it can be diagnosed as a live look is.
//!
//! One direction: files → facts → a timeline for each namespace. What a file holds is told by its content, and where it names nothing itself
//! by its place in the bundle. Everything goes through the recorder, which takes the values of Secrets out. A bundle is somebody else's: it
//! may be cut off, damaged or made to do harm, so that everything is read while it comes in, within [`Limits`], and nothing is written.
//!
//! A bundle holds a part of what a cluster would tell. Only a kind of which a complete list is there counts as watched; what is not there is
//! part of the answer, in [`Imported::missing`] and in the timelines.

mod archive;
mod cluster_dump;
mod compact;
mod error;
mod gather;
mod helm_storage;
mod json;
mod kubectl_get;
mod limits;
mod links;
mod logs;
mod managed;
mod must_gather;
mod objects;
mod pieces;
mod place;
mod pods;
mod recording;
mod source;
mod support_bundle;
#[cfg(test)]
mod tests;
mod timelines;
mod yaml;

use std::fmt;
use std::io::{self, Cursor, Read, Write};
use std::path::Path;

use jiff::Timestamp;

pub use error::ImportError;
pub use limits::Limits;

use gather::Gathered;
use source::{Opened, Visitor};
pub use timelines::Timelines;

/// How an import is to be done.
#[derive(Debug, Clone)]
pub struct Options {
    /// Only this namespace; else every one of which there is anything.
    pub namespace: Option<String>,
    /// The key of the hashes that stand for the values of Secrets.
    pub key: [u8; 32],
    pub limits: Limits,
}

impl Options {
    pub fn new(namespace: Option<String>, key: [u8; 32]) -> Self {
        Self {
            namespace,
            key,
            limits: Limits::default(),
        }
    }
}

/// What a bundle was taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Format {
    SupportBundle,
    MustGather,
    ClusterDump,
    KubectlGet,
    HelmStorage,
    Recording,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SupportBundle => "a support bundle of troubleshoot's",
            Self::MustGather => "a must-gather",
            Self::ClusterDump => "a dump of `kubectl cluster-info dump`",
            Self::KubectlGet => "what `kubectl get` printed",
            Self::HelmStorage => "Helm's storage Secrets",
            Self::Recording => "a recording of rekindle's",
        })
    }
}

/// Something that a live look would have told and the bundle does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    pub what: String,
    pub why: String,
}

/// What was read.
#[derive(Debug)]
pub struct Imported {
    pub format: Format,
    /// One for each namespace; at least one.
    pub timelines: Timelines,
    /// Every namespace of which the bundle holds anything, also those that were not asked for.
    pub namespaces: Vec<String>,
    /// What is not known, of the bundle as a whole. The timelines have it, too, as what could not be read.
    pub missing: Vec<Missing>,
}

/// Reads what lies at a path; `-` is standard input.
///
/// # Errors
/// When there is nothing that can be diagnosed. What could not be read of a bundle is part of the answer.
pub fn read(path: &Path, options: &Options) -> Result<Imported, ImportError> {
    let opened = if path == Path::new("-") {
        source::stream(path, Box::new(io::stdin()), &options.limits)?
    } else {
        source::open(path, &options.limits)?
    };
    if matches!(opened, Opened::Recording) {
        return recording::read(path, options);
    }
    opened_as(opened, path, options)
}

/// Reads what is in memory already: the whole content of a file.
///
/// # Errors
/// As with [`read`].
pub fn from_bytes(bytes: &[u8], options: &Options) -> Result<Imported, ImportError> {
    let path = Path::new("-");
    let reader: Box<dyn Read> = Box::new(Cursor::new(bytes.to_vec()));
    let opened = source::stream(path, reader, &options.limits)?;
    if !matches!(opened, Opened::Recording) {
        return opened_as(opened, path, options);
    }
    // Recordings are read from files.
    let of_writing = |source| ImportError::Read {
        path: path.to_owned(),
        source,
    };
    let mut file = tempfile::NamedTempFile::new().map_err(of_writing)?;
    file.write_all(bytes).map_err(of_writing)?;
    recording::read(file.path(), options)
}

fn opened_as(opened: Opened, path: &Path, options: &Options) -> Result<Imported, ImportError> {
    let mut gathered = Gathered::new(options, Timestamp::now());
    match opened {
        Opened::Folder => source::folder(path, &options.limits, &mut gathered),
        Opened::Archive(mut reader) => archive::read(&mut reader, &options.limits, &mut gathered),
        Opened::Single(mut reader) => {
            if let Err(error) = gathered.file("", &mut reader) {
                gathered.left_out("the rest", &source::told(&error));
            }
        }
        Opened::Recording => {}
    }
    let foreign = |namespace: &String| !gathered.namespaces.is_empty() && !gathered.namespaces.contains(namespace);
    let empty = gathered.objects.is_empty() && gathered.logs.is_empty();
    if empty || options.namespace.as_ref().is_some_and(foreign) {
        return Err(nothing(&gathered, path, options));
    }
    Ok(timelines::imported(gathered, options))
}

/// Why nothing at all was found.
fn nothing(gathered: &Gathered<'_>, path: &Path, options: &Options) -> ImportError {
    let path = path.to_owned();
    if let Some(namespace) = &options.namespace
        && !gathered.namespaces.is_empty()
    {
        return ImportError::Namespace {
            path,
            namespace: namespace.clone(),
            known_namespaces: gathered.namespaces.iter().cloned().collect(),
        };
    }
    let mut held = match gathered.files {
        0 => "no file in it was read".to_owned(),
        1 => "one file, which describes no object of Kubernetes'".to_owned(),
        files => format!("{files} files, none of which describes an object of Kubernetes'"),
    };
    if let Some((why, (_, first))) = gathered.left_out.iter().next() {
        held = match first.as_str() {
            "" => format!("{held} ({why})"),
            first => format!("{held} ({first}: {why})"),
        };
    }
    ImportError::Foreign { path, held }
}
