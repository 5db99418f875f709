//! What programs print when a connection does not come about.
//!
//! The texts are those of the programs themselves; anything else a line says is for people.

/// What a printed line complains about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Complaint {
    /// A name has no address.
    Unresolved { host: String },
    /// A host was found, and nothing listens there, or it cannot be reached.
    Unreachable { target: Option<String>, reason: String },
}

/// Reads the complaint in a line, if it holds one.
pub fn complaint(_line: &str) -> Option<Complaint> {
    None
}
