//! One file per detector, one line each in the sorted list.

use super::Detector;

/// Every detector, sorted by slug.
pub const DETECTORS: &[&Detector] = &[];
