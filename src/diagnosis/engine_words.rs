//! What engines say in their last words of single objects: not ready, failed, not found, refused.
//!
//! A message is recognised by its stable ends; its middle can be kilobytes.

use std::sync::LazyLock;

use regex::{Captures, Regex};

use super::attempt::Attempt;
use crate::evidence::ObjectRef;
use crate::evidence::manifest::text;

/// What is said from each match of a pattern up to the next one: refusals of several objects stand one after the other.
pub fn pieces<'a>(pattern: &Regex, words: &'a str) -> Vec<(Captures<'a>, &'a str)> {
    let starts: Vec<_> = pattern
        .captures_iter(words)
        .filter_map(|found| Some((found.get(0)?.start(), found)))
        .collect();
    let ends: Vec<usize> = starts.iter().skip(1).map(|(start, _)| *start).chain([words.len()]).collect();
    let piece = |((start, found), end): ((usize, Captures<'a>), usize)| (found, &words[start..end]);
    starts.into_iter().zip(ends).map(piece).collect()
}

/// What the engine says of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// Helm 4: `resource Job/ns/x not ready. status: InProgress, message: …`; Flux: `timeout waiting for: [Job/ns/x status: 'InProgress']`.
    NotReady { status: String },
    /// Helm 3: `job x failed: BackoffLimitExceeded`.
    Failed,
    /// Helm 3, and Helm 4 with its legacy wait: `jobs.batch "x" not found`.
    NotFound,
    /// Helm 3: `cannot patch "x" with kind Job: …`; Helm 4: `server-side apply failed for object ns/x batch/v1, Kind=Job: …`.
    Refused,
}

/// An object that the engine names when it ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    pub object: ObjectRef,
    pub said: Said,
}

impl Named {
    /// Whether the engine looked for a Job and did not find it. Helm's watcher says `Unknown` of what it never saw.
    pub fn misses_job(&self) -> bool {
        let missed = match &self.said {
            Said::NotFound => true,
            Said::NotReady { status } => matches!(status.as_str(), "NotFound" | "Unknown"),
            Said::Failed | Said::Refused => false,
        };
        missed && self.object.kind == "Job"
    }
}

static MISSED: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r#"jobs\.batch \\?"([^"\\]+)\\?" not found"#).ok());
static REFUSED_PATCH: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r#"cannot patch \\?"([^"\\]+)\\?" with kind ([A-Za-z]+)\b"#).ok());
static REFUSED_APPLY: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"server-side apply failed for object ([^\s/]*)/(\S+) \S*, Kind=([A-Za-z]+)\b").ok());

/// The objects that the engine names in its last words, each once for what is said of it.
pub fn named(attempt: &Attempt<'_>) -> Vec<Named> {
    let words = attempt.words();
    let mut found: Vec<Named> = Vec::new();
    let mut push = |object: ObjectRef, said: Said| {
        let named = Named { object, said };
        if !found.contains(&named) {
            found.push(named);
        }
    };
    for captures in MISSED.iter().flat_map(|pattern| pattern.captures_iter(&words)) {
        push(of_release(attempt, "Job", &captures[1]), Said::NotFound);
    }
    for captures in REFUSED_PATCH.iter().flat_map(|pattern| pattern.captures_iter(&words)) {
        push(of_release(attempt, &captures[2], &captures[1]), Said::Refused);
    }
    for captures in REFUSED_APPLY.iter().flat_map(|pattern| pattern.captures_iter(&words)) {
        let namespace = Some(&captures[1]).filter(|namespace| !namespace.is_empty());
        push(ObjectRef::new(&captures[3], namespace, &captures[2]), Said::Refused);
    }
    let tokens: Vec<&str> = words
        .split(|c: char| c.is_whitespace() || matches!(c, '[' | ']' | ',' | ';' | '"'))
        .filter(|token| !token.is_empty())
        .collect();
    for (index, token) in tokens.iter().enumerate() {
        let next = &tokens[index + 1..tokens.len().min(index + 5)];
        let parts: Vec<&str> = token.split('/').collect();
        if let [kind, namespace, name] = parts.as_slice()
            && kind.starts_with(|c: char| c.is_ascii_uppercase())
            && let Some(at) = next.iter().take(3).position(|word| *word == "status:")
        {
            let status = next.get(at + 1).map(|status| status.trim_matches('\'').to_owned());
            let said = Said::NotReady {
                status: status.unwrap_or_default(),
            };
            push(ObjectRef::new(*kind, Some(namespace), *name), said);
        } else if *token == "job" && next.get(1).is_some_and(|word| word.starts_with("failed")) {
            push(of_release(attempt, "Job", next[0]), Said::Failed);
        }
    }
    found
}

/// An object of the release that is named without its namespace.
fn of_release(attempt: &Attempt<'_>, kind: &str, name: &str) -> ObjectRef {
    let manifests = attempt.record.map(|record| record.manifest.as_slice()).unwrap_or_default();
    let namespace = manifests
        .iter()
        .find(|manifest| text(manifest, "/kind") == kind && text(manifest, "/metadata/name") == name)
        .map(|manifest| text(manifest, "/metadata/namespace"))
        .filter(|namespace| !namespace.is_empty());
    ObjectRef::new(kind, Some(namespace.unwrap_or(&attempt.namespace)), name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::attempt::attempt;
    use crate::diagnosis::fixture::*;

    /// `kind/namespace/name what`, in the order of their discovery.
    fn said(words: &[&str]) -> Vec<String> {
        let mut scene = Scene::new();
        scene.engine(5000, "watcher");
        for line in words {
            scene.engine_says(line);
        }
        scene.at(5000).engine_ends(1);
        let evidence = scene.evidence();
        let named = named(&attempt(&evidence).expect("an attempt"));
        named
            .iter()
            .map(|named| {
                let namespace = named.object.namespace.as_deref().unwrap_or_default();
                format!("{}/{namespace}/{} {:?}", named.object.kind, named.object.name, named.said)
            })
            .collect()
    }

    #[test]
    fn every_pattern_compiles() {
        assert!(MISSED.is_some() && REFUSED_PATCH.is_some() && REFUSED_APPLY.is_some());
    }

    #[test]
    fn what_is_not_ready() {
        let helm_4 = [
            "Error: INSTALLATION FAILED: resource Deployment/inn/bar not ready. status: InProgress, message: Available: 0/1",
            "resource Job/inn/cellar not ready. status: NotFound, message: Resource not found",
            "context deadline exceeded",
        ];
        assert_eq!(
            said(&helm_4),
            [
                "Deployment/inn/bar NotReady { status: \"InProgress\" }",
                "Job/inn/cellar NotReady { status: \"NotFound\" }"
            ]
        );
        let flux =
            ["Helm install failed for release inn/pub with chart pub@2.0.0: timeout waiting for: [Job/inn/brew status: 'InProgress']"];
        assert_eq!(said(&flux), ["Job/inn/brew NotReady { status: \"InProgress\" }"]);
    }

    #[test]
    fn what_failed_is_missed_or_was_refused() {
        assert_eq!(
            said(&["Error: UPGRADE FAILED: job brew failed: BackoffLimitExceeded"]),
            ["Job/shop/brew Failed"]
        );
        for line in [
            r#"Error: INSTALLATION FAILED: jobs.batch "brew" not found"#,
            r#"Error: release pub failed, and has been uninstalled due to atomic being set: jobs.batch "brew" not found"#,
            r#"level=ERROR msg="install failed" error="jobs.batch \"brew\" not found""#,
        ] {
            assert_eq!(said(&[line]), ["Job/shop/brew NotFound"], "{line}");
        }
        let both = r#"cannot patch "brew" with kind Job: Job.batch "brew" is invalid: … && cannot patch "bar" with kind Deployment: Deployment.apps "bar" is invalid: …"#;
        assert_eq!(said(&[both]), ["Job/shop/brew Refused", "Deployment/shop/bar Refused"]);
        let applied = r#"server-side apply failed for object inn/brew batch/v1, Kind=Job: Job.batch "brew" is invalid: …"#;
        assert_eq!(said(&[applied]), ["Job/inn/brew Refused"]);
    }

    #[test]
    fn other_words_name_nothing() {
        assert_eq!(
            said(&["Error: INSTALLATION FAILED: context deadline exceeded", "secrets \"a\" not found"]),
            [] as [&str; 0]
        );
    }
}
