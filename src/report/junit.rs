//! `junit.xml`: one test case per trial, one suite per scenario. The verdict is the type of the failure; `infra` is an error, and what was
//! not run is skipped.

use std::time::Duration;

use quick_junit::{NonSuccessKind, Report as Junit, SerializeError, TestCase, TestCaseStatus, TestSuite};

use super::{Report, summary, text::Paint};
use crate::outcome::{Outcome, Verdict};

/// The report as JUnit XML.
///
/// # Errors
/// Where the XML cannot be written into memory.
pub fn render(report: &Report) -> Result<String, SerializeError> {
    let mut junit = Junit::new("rekindle");
    junit.set_time(Duration::from_millis(report.wall_ms));
    for trials in report.outcomes.chunk_by(|a, b| a.trial.scenario == b.trial.scenario) {
        let mut suite = TestSuite::new(trials.first().map_or("", |outcome| outcome.trial.scenario.as_str()));
        suite.set_time(trials.iter().map(|outcome| Duration::from_millis(outcome.total_ms)).sum());
        suite.add_test_cases(trials.iter().map(case));
        junit.add_test_suite(suite);
    }
    junit.to_string()
}

fn case(outcome: &Outcome) -> TestCase {
    let mut status = match outcome.verdict {
        Verdict::Pass | Verdict::FixedUpstream => TestCaseStatus::success(),
        Verdict::NotRun => TestCaseStatus::skipped(),
        Verdict::Infra => TestCaseStatus::non_success(NonSuccessKind::Error),
        _ => TestCaseStatus::non_success(NonSuccessKind::Failure),
    };
    if !outcome.verdict.passed() {
        status.set_type(outcome.verdict.as_str());
        status.set_message(outcome.sentence.as_str());
        if outcome.verdict != Verdict::NotRun {
            // XML keeps no escape codes, and a page in a browser is wider than a terminal.
            status.set_description(summary::details(outcome, 120, Paint::PLAIN));
        }
    }
    let mut case = TestCase::new(outcome.trial.to_string(), status);
    case.set_classname(format!("rekindle.{}", outcome.trial.scenario));
    case.set_time(Duration::from_millis(outcome.total_ms));
    let versions = [
        ("verdict", outcome.verdict.as_str()),
        ("engine_version", outcome.engine_version.as_str()),
        ("kubernetes_version", outcome.kubernetes_version.as_str()),
    ];
    case.add_properties(versions);
    if !outcome.engine_words.is_empty() {
        case.set_system_out(outcome.engine_words.as_str());
    }
    case
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples;

    #[test]
    fn one_case_per_trial() {
        insta::assert_snapshot!(render(&samples::report(samples::every_verdict())).unwrap());
    }
}
