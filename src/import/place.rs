//! What the place of a file in its bundle says about its content.

use super::Format;
use super::{cluster_dump, must_gather, support_bundle};

/// What a file holds, as far as its place tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Objects, if anything.
    Objects(Hints),
    /// What a container printed.
    Log(LogPlace),
    /// Why something was not collected: the plural of its kind.
    Errors { plural: String },
    /// Nothing that tells of a failure.
    Nothing,
}

/// What is not said by the objects of a file themselves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hints {
    /// The namespace that a list was made of.
    pub namespace: Option<String>,
    /// The plural of the kind of what has no kind.
    pub plural: Option<String>,
}

/// Whose log a file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogPlace {
    /// Absent where the place does not tell.
    pub namespace: Option<String>,
    pub pod: String,
    /// Absent where the pod has a single one.
    pub container: Option<String>,
    /// It is the log of the container before the last restart.
    pub previous: bool,
    /// It tells why there is no log.
    pub error: bool,
}

/// How the files of a format lie.
#[derive(Debug)]
pub struct Layout {
    /// Absent where other formats have such files as well.
    pub format: Option<Format>,
    pub place: fn(&[&str]) -> Option<Place>,
}

const LAYOUTS: &[&Layout] = &[
    &support_bundle::LAYOUT,
    &must_gather::LAYOUT,
    &cluster_dump::LAYOUT,
    &support_bundle::COLLECTED,
];

/// What the place of a file says, and in which format it is one.
pub fn place(path: &str) -> (Option<Format>, Place) {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    let known = LAYOUTS.iter().find_map(|layout| Some((layout.format, (layout.place)(&parts)?)));
    known.unwrap_or_else(|| (None, Place::Objects(Hints::default())))
}

/// The name of a file without its ending, where it has one of these.
pub fn stem<'a>(name: &'a str, endings: &[&str]) -> Option<&'a str> {
    let (stem, ending) = name.rsplit_once('.')?;
    (!stem.is_empty() && endings.contains(&ending)).then_some(stem)
}
