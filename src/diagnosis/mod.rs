//! Diagnosis: the root causes with their chains and remedies.

mod answer;
pub mod detectors;
pub mod finding;

pub use answer::{Diagnosis, Link, RootCause};
pub use finding::{Certainty, Citation, Class, Detector, Finding, Slug};

use crate::evidence::Evidence;

/// What can be said at this moment.
pub fn diagnose(_evidence: &Evidence) -> Diagnosis {
    Diagnosis::default()
}

pub fn diagnose_with(_evidence: &Evidence, _detectors: &[&Detector]) -> Diagnosis {
    Diagnosis::default()
}
