//! What the expected and the observed make of a trial: one verdict.
#[derive(Debug, Clone)]
pub struct Outcome {}
