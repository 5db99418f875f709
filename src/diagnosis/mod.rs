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
pub mod detectors;
pub mod finding;
#[cfg(test)]
pub(crate) mod fixture;
pub mod hooks;
pub mod logs;
pub mod moments;
pub mod place;
pub mod progress;
pub mod references;
#[cfg(test)]
mod scenes;
pub mod services;
pub mod supply;
pub mod symptoms;
pub mod tries;

pub use answer::{Diagnosis, Link, RootCause};
pub use chain::diagnose_with;
pub use finding::{Certainty, Citation, Class, Detector, Finding, Slug};

use crate::evidence::Evidence;

/// What can be said at this moment.
pub fn diagnose(evidence: &Evidence) -> Diagnosis {
    diagnose_with(evidence, detectors::DETECTORS)
}
