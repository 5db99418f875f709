//! The answer: root causes with their chains and remedies, in the form in which it is reported and compared.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Certainty, Citation};
use crate::evidence::ObjectRef;
use crate::remedy::Remedy;

/// One step of a cause chain, from what a person sees towards the root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Link {
    pub subject: ObjectRef,
    /// One clause for people, without a full stop.
    pub statement: String,
    pub since: Timestamp,
    /// Set where this link is itself a documented failure, and only not the deepest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slug: Option<String>,
}

/// A finding that nothing else explains.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RootCause {
    pub slug: String,
    pub subject: ObjectRef,
    pub statement: String,
    pub certainty: Certainty,
    /// Why it is certain, or what it still depends on.
    pub why: String,
    pub since: Timestamp,
    pub citations: Vec<Citation>,
    /// From the symptom that a person sees down to, and without, this cause.
    pub chain: Vec<Link>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<Remedy>,
    /// What would put it right as well.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alternatives: Vec<Remedy>,
}

/// The answer at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Diagnosis {
    /// The certain root causes, sorted by slug and subject. Only they are a diagnosis.
    pub causes: Vec<RootCause>,
    /// What would be a cause if nothing changes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub suspected: Vec<RootCause>,
    /// Static findings that explain no symptom.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub advice: Vec<RootCause>,
    /// Symptoms that no certain cause explains, once the engine has given up: unknown, with the facts that matter.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unexplained: Vec<Link>,
}

impl Diagnosis {
    /// Slug and subject of every certain cause: what an expectation is compared with.
    pub fn identity(&self) -> Vec<(String, String)> {
        self.causes
            .iter()
            .map(|cause| (cause.slug.clone(), cause.subject.to_string()))
            .collect()
    }
}
