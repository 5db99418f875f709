//! Why nothing could be read, in one sentence each.

use std::io;
use std::path::PathBuf;

use crate::evidence::recording::RecordingError;

/// Why there is nothing to diagnose. What is wrong with a part of a bundle is no error: it is left out, and that is said.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error("{} is not there; name a bundle, a dump, a recording or a folder of them", path.display())]
    Missing { path: PathBuf },
    #[error("{} is neither a file nor a folder; name one, or write `-` and pipe it in", path.display())]
    Special { path: PathBuf },
    #[error("{} could not be read: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error(
        "{} holds nothing that can be diagnosed: {held}; name a cluster-info dump, what `kubectl get -o yaml` printed, a support bundle, \
         a must-gather, Helm's storage Secrets or a recording",
        path.display()
    )]
    Foreign { path: PathBuf, held: String },
    #[error("{} was cut off or damaged before anything could be read of it: {reason}; copy it again", path.display())]
    CutOff { path: PathBuf, reason: String },
    #[error("{} holds nothing of the namespace {namespace}; {}", path.display(), known(known_namespaces))]
    Namespace {
        path: PathBuf,
        namespace: String,
        known_namespaces: Vec<String>,
    },
    #[error(transparent)]
    Recording(#[from] RecordingError),
}

fn known(namespaces: &[String]) -> String {
    const READABLE: usize = 10;
    match namespaces {
        [] => "it names no namespace at all".to_owned(),
        [only] => format!("all that it holds is of {only}"),
        _ if namespaces.len() > READABLE => {
            let first = namespaces[..READABLE].join(", ");
            format!("it holds {first} and {} others", namespaces.len() - READABLE)
        }
        _ => format!("it holds {}", namespaces.join(", ")),
    }
}
