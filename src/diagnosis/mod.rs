//! Diagnosis: the root causes with their chains and remedies.

pub mod detectors;
pub mod finding;

pub use finding::{Certainty, Citation, Class, Detector, Finding, Slug};
