//! Diagnosis: the root causes with their chains and remedies.
//!
//! ```text
//! evidence ─┬─► symptoms: what a person sees, as a tree ──────┐
//!           └─► detectors: findings, suspected or certain ────┴─► chains: symptom … because … root cause
//! ```

mod answer;
pub mod attempt;
mod chain;
mod cite;
pub mod deliveries;
pub mod denials;
pub mod dependencies;
pub mod detectors;
pub mod differences;
pub mod engine_words;
pub mod finding;
#[cfg(test)]
pub(crate) mod fixture;
pub mod held_up;
pub mod hooks;
pub mod inits;
pub mod limit;
pub mod logs;
pub mod missing;
pub mod moments;
pub mod needs;
pub mod no_matches;
pub mod nodes;
pub mod place;
#[cfg(test)]
pub(crate) mod pool_fixture;
pub mod post_renderers;
pub mod probes;
pub mod progress;
pub mod pulls;
pub mod quantity;
pub mod rbac;
pub mod records;
pub mod references;
pub mod refusals;
pub mod refused;
pub mod remediation;
pub mod rights;
pub mod rollout;
#[cfg(test)]
mod scenes;
pub mod scheduling;
pub mod services;
pub mod supply;
pub mod symptoms;
pub mod targets;
pub mod tries;
pub mod unserved;
pub mod vain;
pub mod waits;
pub mod writers;

pub use answer::{Diagnosis, Link, RootCause};
pub use chain::diagnose_with;
pub use finding::{Certainty, Citation, Class, Detector, Finding, Slug};

use crate::evidence::Evidence;

/// What can be said at this moment.
pub fn diagnose(evidence: &Evidence) -> Diagnosis {
    diagnose_with(evidence, detectors::DETECTORS)
}
