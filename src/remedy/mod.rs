//! Remedies: what a detector chooses, and the typed steps that a scenario maps it to.

mod deed;
mod plan;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use deed::Deed;
pub use plan::{Plan, PlanError};

/// What a detector says would put it right: a kind, with parameters that are known from the evidence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Remedy {
    /// `use-in-cluster-url`, `raise-timeout`, …
    pub kind: String,
    /// Named values for a scenario's mapping: `url`, `at_least`, `name`, … Durations are written `420s`.
    pub parameters: BTreeMap<String, String>,
    /// One clause in the imperative: `give this Job the in-cluster URL http://keycloak`.
    pub sentence: String,
}

impl Remedy {
    pub fn new(kind: &str, sentence: impl Into<String>) -> Self {
        Self {
            kind: kind.to_owned(),
            parameters: BTreeMap::new(),
            sentence: sentence.into(),
        }
    }

    #[must_use]
    pub fn with(mut self, parameter: &str, value: impl Into<String>) -> Self {
        self.parameters.insert(parameter.to_owned(), value.into());
        self
    }
}
