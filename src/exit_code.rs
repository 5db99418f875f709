//! Exit codes: one per verdict, one per class of error.
//!
//! They are part of what rekindle promises: a code never changes its meaning. The table in README.md is checked against them.

use crate::outcome::Verdict;

/// A documented exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExitCode {
    pub code: u8,
    /// The verdict, or the class of error, in one word.
    pub name: &'static str,
    /// One clause for people.
    pub meaning: &'static str,
}

const fn exit(code: u8, name: &'static str, meaning: &'static str) -> ExitCode {
    ExitCode { code, name, meaning }
}

pub const PASS: ExitCode = exit(0, "pass", "everything that was asked for passed, `fixed-upstream` included");
pub const FOUND: ExitCode = exit(
    1,
    "found",
    "`diagnose --exit-code` found a cause, `diff` a difference, or what `watch` followed failed; of `watch -- helm …` it is Helm's own code",
);
pub const USAGE: ExitCode = exit(2, "usage", "an argument, a scenario's name or an engine's name is wrong");
pub const SCENARIO: ExitCode = exit(3, "bad-scenario", "a scenario's file is wrong");
pub const DOCKER: ExitCode = exit(4, "docker", "Docker is not there, does not answer, or cannot be set up");
pub const RESOURCES: ExitCode = exit(5, "resources", "disk, inodes, memory or another limit of this machine is too small");
pub const FOREIGN: ExitCode = exit(
    6,
    "foreign-cluster",
    "the cluster could not be proven to be ours; nothing was changed",
);
pub const TOOLCHAIN: ExitCode = exit(7, "toolchain", "a tool or an image could not be built");
pub const CLUSTER: ExitCode = exit(8, "cluster", "a cluster could not be made, reached or removed");
pub const OUTPUT: ExitCode = exit(9, "output", "a report or another file could not be written or read");
pub const RECORDING: ExitCode = exit(
    10,
    "bad-recording",
    "a recording is cut off, damaged, of a newer rekindle, or none at all",
);
pub const NOT_RUN: ExitCode = exit(20, "not-run", "something was not tried; that never counts as passed");
pub const NOT_REPRODUCED: ExitCode = exit(21, "not-reproduced", "a scenario no longer breaks");
pub const WRONG_FAILURE: ExitCode = exit(22, "wrong-failure", "a scenario broke otherwise than documented");
pub const UNDETECTED: ExitCode = exit(23, "undetected", "it broke as documented, and no cause was found");
pub const MISDIAGNOSED: ExitCode = exit(24, "misdiagnosed", "another cause was found, or one too many, or one too few");
pub const FALSE_ALARM: ExitCode = exit(25, "false-alarm", "a healthy twin was diagnosed");
pub const NOT_REMEDIED: ExitCode = exit(26, "not-remedied", "the diagnosed remedy did not put it right");
pub const RELAPSED: ExitCode = exit(27, "relapsed", "it was healthy after the remedy, and then was not");
pub const INFRA: ExitCode = exit(30, "infra", "Docker, kind, disk, network or the harness failed during a trial");
pub const INTERNAL: ExitCode = exit(70, "internal", "a bug in rekindle; please report it");
pub const INTERRUPTED: ExitCode = exit(130, "interrupted", "Ctrl-C; what was known by then is in the reports");
pub const TERMINATED: ExitCode = exit(143, "terminated", "SIGTERM; what was known by then is in the reports");

/// Every exit code, in the order of the numbers.
pub const ALL: &[ExitCode] = &[
    PASS,
    FOUND,
    USAGE,
    SCENARIO,
    DOCKER,
    RESOURCES,
    FOREIGN,
    TOOLCHAIN,
    CLUSTER,
    OUTPUT,
    RECORDING,
    NOT_RUN,
    NOT_REPRODUCED,
    WRONG_FAILURE,
    UNDETECTED,
    MISDIAGNOSED,
    FALSE_ALARM,
    NOT_REMEDIED,
    RELAPSED,
    INFRA,
    INTERNAL,
    INTERRUPTED,
    TERMINATED,
];

impl ExitCode {
    /// The exit code of a run whose gravest verdict is this one. The numbers rise with the gravity.
    pub const fn of(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Pass | Verdict::FixedUpstream => PASS,
            Verdict::NotRun => NOT_RUN,
            Verdict::NotReproduced => NOT_REPRODUCED,
            Verdict::WrongFailure => WRONG_FAILURE,
            Verdict::Undetected => UNDETECTED,
            Verdict::Misdiagnosed => MISDIAGNOSED,
            Verdict::FalseAlarm => FALSE_ALARM,
            Verdict::NotRemedied => NOT_REMEDIED,
            Verdict::Relapsed => RELAPSED,
            Verdict::Infra => INFRA,
        }
    }

    /// The table of the README.
    pub fn table() -> String {
        let rows = ALL
            .iter()
            .map(|exit| format!("| {} | `{}` | {} |\n", exit.code, exit.name, exit.meaning));
        std::iter::once("| code | name | meaning |\n|---|---|---|\n".to_owned())
            .chain(rows)
            .collect()
    }
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(exit: ExitCode) -> Self {
        Self::from(exit.code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_has_one_meaning() {
        assert!(ALL.is_sorted_by(|a, b| a.code < b.code), "sorted, and no number twice");
    }

    #[test]
    fn a_graver_verdict_has_a_higher_code() {
        let codes: Vec<u8> = Verdict::ALL.iter().map(|verdict| ExitCode::of(*verdict).code).collect();
        assert!(codes.is_sorted(), "{codes:?}");
        for verdict in Verdict::ALL.into_iter().filter(|verdict| !verdict.passed()) {
            assert_eq!(ExitCode::of(verdict).name, verdict.as_str());
        }
    }

    #[test]
    fn the_readme_has_the_table() {
        let readme = include_str!("../README.md");
        assert!(
            readme.contains(&ExitCode::table()),
            "README.md has to contain this table:\n\n{}",
            ExitCode::table()
        );
    }
}
