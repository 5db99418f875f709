//! What detectors say.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::evidence::{Basis, Evidence, ObjectRef};
use crate::remedy::Remedy;

/// The name of one documented failure: `hook-target-unreachable`.
pub type Slug = &'static str;

/// How sure a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Certainty {
    /// Something that is still progressing in the evidence could supply what is missing.
    Suspected,
    /// Nothing could, or the engine has given up.
    Certain,
}

/// Which findings win where several explain the same object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Names the thing that is missing or wrong.
    Specific,
    /// Names a limit that was too tight; whatever specific held things up makes the limit innocent.
    Limit,
    /// Names only how it shows; a specific finding about the same object makes it a consequence.
    Generic,
    /// From the manifests alone: a cause only where it explains the symptom, else advice.
    Static,
}

/// A fact that a finding rests on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Citation {
    pub basis: Basis,
    /// Where it can be seen.
    pub object: ObjectRef,
    /// What is seen there: a printed line in double quotes, a field as `path: value`.
    pub text: String,
    /// When it was first seen.
    pub at: Option<Timestamp>,
}

/// One fact that matters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub slug: Slug,
    /// What is wrong.
    pub subject: ObjectRef,
    /// One clause for people, without a full stop: `auth.example.invalid does not resolve inside the cluster`.
    pub statement: String,
    pub certainty: Certainty,
    /// Why it is certain, or what it still depends on, as a clause.
    pub why: String,
    /// From when on it was so. Effects come later than their causes.
    pub since: Timestamp,
    pub citations: Vec<Citation>,
    /// The objects that do not get ready because of this: usually a pod.
    pub explains: Vec<ObjectRef>,
    /// The objects whose fault it would be: a finding that explains one of them is the deeper cause.
    pub blames: Vec<ObjectRef>,
    pub remedy: Option<Remedy>,
    /// What would put it right as well. Only the remedy is chosen; people and other forms of a chart may do better with one of these.
    pub alternatives: Vec<Remedy>,
}

/// One detector: what it is called, what it says, and the function.
#[derive(Debug)]
pub struct Detector {
    pub slug: Slug,
    /// One line for `rekindle list` and the catalogue.
    pub summary: &'static str,
    pub class: Class,
    /// The kinds of remedy that it may choose or name as an alternative.
    pub remedies: &'static [&'static str],
    pub detect: fn(&Evidence) -> Vec<Finding>,
}
