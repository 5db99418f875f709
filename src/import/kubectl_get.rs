//! What `kubectl get … -o yaml` or `-o json` printed: one file, several, or a folder of them.
//!
//! A single object, or a list of kind `List` whose items name their kinds. Such a list does not say what was asked for: whether it holds all
//! pods, those with a label or two that were named. So nothing that is not in it is taken to be absent.

/// Why a kind of which there is no complete list is not known.
pub const OPEN: &str = "what `kubectl get` printed does not say whether it is complete, so that nothing is taken to be absent";
