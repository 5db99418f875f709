//! What installs a chart.

/// Every engine, in the order in which they are listed.
pub const NAMES: &[&str] = &["helm-4"];
