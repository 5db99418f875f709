//! What one look cannot tell of what somebody who had watched from the beginning would know.

use rekindle::diagnosis::Diagnosis;
use rekindle::outcome::ExpectedCause;

/// Scenarios and forms of which what is left tells less, or only what the cause has led to, and what is missing then.
const LESS: &[(&str, &str)] = &[
    ("crd-missing", "the words of a Helm that was refused before it wrote a record"),
    ("crd-missing--gate", "the words of a Helm that was refused before it wrote a record"),
    ("dependency-ready-too-early", "in which order things got ready"),
    ("depends-on-missing", "that the other release came later"),
    (
        "depends-on-missing--secret",
        "the pod that missed the Secret, which went with the deadline of its Job",
    ),
    ("duplicate-env", "the words of the attempt before, which Flux 2.7 shortens"),
    ("healthcheck-on-removed-job", "that the Job was there before"),
    (
        "hook-target-unreachable--hook-timeout-too-short",
        "how the hook stood when its time ran out",
    ),
    (
        "install-remediation-loop",
        "what the attempts before had made, and its removal took away",
    ),
    ("job-before-its-secret", "that the Secret came after the Job had failed"),
    (
        "post-renderer-malformed",
        "the words of the attempt, which conditions shorten in the middle",
    ),
    (
        "post-renderer-malformed--no-match",
        "the words of the attempt, which conditions shorten in the middle",
    ),
    ("release-pending-lock", "whether somebody is at work on it"),
    ("release-pending-lock--remove-record", "whether somebody is at work on it"),
    ("release-pending-lock--upgrade", "whether somebody is at work on it"),
    (
        "resource-not-owned",
        "the words of a Helm that was refused before it wrote a record",
    ),
    (
        "resource-not-owned--another-release",
        "the words of a Helm that was refused before it wrote a record",
    ),
    (
        "stale-release-secret",
        "the words of a Helm that was refused before it wrote a record",
    ),
    (
        "stale-release-secret--several-revisions",
        "the words of a Helm that was refused before it wrote a record",
    ),
    (
        "stale-release-secret--upgraded",
        "the words of a Helm that was refused before it wrote a record",
    ),
    (
        "ttl-deleted-job--rollout-timeout-too-short",
        "how the rollout stood when its time ran out",
    ),
];

/// Whether it is known that a look tells less here, and it tells nothing else: of what is expected, or of the loop that a scenario is about.
pub fn is_known(scenario: &str, expected: &[ExpectedCause], look: &Diagnosis) -> bool {
    let known = |slug: &str| expected.iter().any(|expected| expected.slug == slug) || !expected.is_empty() && scenario == slug;
    LESS.iter().any(|(id, _)| *id == scenario) && look.causes.iter().all(|cause| known(&cause.slug))
}
