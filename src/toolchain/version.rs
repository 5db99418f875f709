//! Versions of tools, and when one may stand in for another.

/// Whether a version that was found may stand in for the one that is pinned.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fit {
    SameMinor,
    SameMajor,
    WithinOneMinor,
}

impl Fit {
    pub fn accepts(self, found: &str, wanted: &str) -> bool {
        let (Some(found), Some(wanted)) = (numbers(found), numbers(wanted)) else {
            return false;
        };
        found.0 == wanted.0
            && match self {
                Self::SameMajor => true,
                Self::SameMinor => found.1 == wanted.1,
                Self::WithinOneMinor => found.1.abs_diff(wanted.1) <= 1,
            }
    }
}

/// Major and minor of the first word that looks like a version: `v1.34.4`, `kind v0.33.0 go1.26`, `v4.3.1+g1234`.
pub(super) fn numbers(text: &str) -> Option<(u32, u32)> {
    let version = version_in(text)?;
    let mut parts = version.trim_start_matches('v').split(['.', '-', '+']);
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// The first word of a tool's answer that is a version.
pub(super) fn version_in(text: &str) -> Option<&str> {
    text.split(|c: char| c.is_whitespace() || "\"',;".contains(c)).find(|word| {
        word.strip_prefix('v')
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()) && rest.contains('.'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_on_the_path_fits_or_does_not() {
        assert!(Fit::SameMinor.accepts("kind v0.33.2 go1.26.0 linux/amd64", "v0.33.0"));
        assert!(!Fit::SameMinor.accepts("kind v0.32.0 go1.26.0 linux/amd64", "v0.33.0"));
        assert!(Fit::SameMajor.accepts("v4.1.0+gabcdef", "v4.3.1"));
        assert!(!Fit::SameMajor.accepts("v3.22.0", "v4.3.1"));
        assert!(Fit::WithinOneMinor.accepts("Client Version: v1.35.1\nKustomize Version: v5", "v1.34.4"));
        assert!(!Fit::WithinOneMinor.accepts("Client Version: v1.32.4-dispatcher", "v1.34.4"));
        assert!(!Fit::SameMinor.accepts("no version", "v0.33.0"));
    }
}
