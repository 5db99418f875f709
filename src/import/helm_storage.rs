//! Helm's storage Secrets alone, as YAML or JSON: the records of releases, and nothing of what became of them.
//!
//! A record is base64 of base64 of gzip of JSON; `evidence::release` decodes it. It tells the status, the engine's last words, the hooks with
//! their times, and the manifest as rendered.

use super::gather::Gathered;

/// Whether nothing else is there.
pub fn is_all(gathered: &Gathered<'_>) -> bool {
    !gathered.objects.is_empty() && gathered.logs.is_empty() && !gathered.others
}

/// Why nothing but Secrets is known.
pub const ALONE: &str = "there are only Helm's records of releases";
