//! Compares what was expected with what was observed. Each judgement is a verdict with its sentence, or nothing where all is as expected.

use std::time::Duration;

use super::{ExpectedCause, Verdict};
use crate::diagnosis::{Diagnosis, RootCause};
use crate::scenario::Knowable;
use crate::scenario::duration::human;

pub type Judgement = Option<(Verdict, String)>;

/// Whether it broke as documented: the engine's last words hold the expected texts in their order.
pub fn of_break(succeeded: bool, words: &str, expected: &[String]) -> Judgement {
    if succeeded {
        return Some((
            Verdict::NotReproduced,
            "the engine reported success, and should have failed".to_owned(),
        ));
    }
    let mut rest = words;
    for text in expected {
        match rest.find(text.as_str()) {
            Some(at) => rest = &rest[at + text.len()..],
            None => {
                let sentence = format!(
                    "the engine failed, and its words do not hold “{text}” where that was expected: {}",
                    one_line(words)
                );
                return Some((Verdict::WrongFailure, sentence));
            }
        }
    }
    None
}

/// Whether a cause is the expected one, for the expected reason.
pub fn matches(expected: &ExpectedCause, cause: &RootCause) -> bool {
    is_same(expected, cause)
        && expected.citing.iter().all(|text| cites(cause, text))
        && expected.through.iter().all(|slug| leads_through(cause, slug))
}

/// Whether it is the expected one, whatever for.
fn is_same(expected: &ExpectedCause, cause: &RootCause) -> bool {
    let subject = expected.subject.as_ref();
    expected.slug == cause.slug && subject.is_none_or(|subject| *subject == cause.subject.to_string())
}

fn cites(cause: &RootCause, text: &str) -> bool {
    let mut citations = cause.citations.iter();
    cause.statement.contains(text) || citations.any(|citation| citation.text.contains(text) || citation.object.to_string().contains(text))
}

fn leads_through(cause: &RootCause, slug: &String) -> bool {
    cause.chain.iter().any(|link| link.slug.as_ref() == Some(slug))
}

/// What is missing of the expected reasons, where the causes themselves are the expected ones.
fn lacking(expected: &[ExpectedCause], diagnosis: &Diagnosis) -> Option<String> {
    let mut lacking = Vec::new();
    for expected in expected {
        let cause = diagnosis.causes.iter().find(|cause| is_same(expected, cause))?;
        let citing = expected.citing.iter().filter(|text| !cites(cause, text));
        lacking.extend(citing.map(|text| format!("{} does not cite “{text}”", cause.slug)));
        let through = expected.through.iter().filter(|slug| !leads_through(cause, slug));
        lacking.extend(through.map(|slug| format!("{} does not lead through {slug}", cause.slug)));
    }
    (expected.len() == diagnosis.causes.len() && !lacking.is_empty()).then(|| lacking.join(", and "))
}

/// Whether the certain causes are exactly the expected ones.
pub fn exactly(expected: &[ExpectedCause], diagnosis: &Diagnosis) -> bool {
    expected.len() == diagnosis.causes.len()
        && expected
            .iter()
            .all(|expected| diagnosis.causes.iter().any(|cause| matches(expected, cause)))
}

/// Whether the diagnosis is the expected one, and came in time. Both times count from the engine's start.
pub fn of_diagnosis(
    expected: &[ExpectedCause],
    diagnosis: &Diagnosis,
    knowable: Knowable,
    first_correct: Option<Duration>,
    gave_up: Duration,
) -> Judgement {
    let wanted = expected.iter().map(describe_expected).collect::<Vec<_>>().join(" and ");
    if diagnosis.causes.is_empty() {
        return Some((Verdict::Undetected, format!("no cause was found, and {wanted} was expected")));
    }
    if !exactly(expected, diagnosis) {
        let found: Vec<_> = diagnosis
            .causes
            .iter()
            .map(|cause| format!("{} ({}: {})", cause.slug, cause.subject, cause.statement))
            .collect();
        let expected = match lacking(expected, diagnosis) {
            Some(lacking) => lacking,
            None => format!("{wanted} was expected"),
        };
        return Some((Verdict::Misdiagnosed, format!("found was {}, and {expected}", found.join(" and "))));
    }
    match (knowable, first_correct) {
        (Knowable::Early, Some(known)) if known < gave_up => None,
        (Knowable::Early, _) => Some((
            Verdict::Undetected,
            format!(
                "{wanted} was found only after the engine had given up at {}, and could be known earlier",
                human(gave_up)
            ),
        )),
        (Knowable::AtFailure, _) => None,
    }
}

fn describe_expected(expected: &ExpectedCause) -> String {
    let mut text = expected.slug.clone();
    if let Some(subject) = &expected.subject {
        text.push_str(&format!(" at {subject}"));
    }
    if !expected.citing.is_empty() {
        text.push_str(&format!(" citing “{}”", expected.citing.join("”, “")));
    }
    if !expected.through.is_empty() {
        text.push_str(&format!(" through {}", expected.through.join(" and ")));
    }
    text
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::diagnosis::{Certainty, Citation, Link};
    use crate::evidence::{Basis, ObjectRef};

    fn cause(slug: &str, citation: &str) -> RootCause {
        let subject = ObjectRef::new("Job", Some("a"), "j");
        RootCause {
            slug: slug.to_owned(),
            subject: subject.clone(),
            statement: "it is so".to_owned(),
            certainty: Certainty::Certain,
            why: String::new(),
            since: Timestamp::UNIX_EPOCH,
            citations: vec![Citation {
                basis: Basis::Observed,
                object: subject,
                text: citation.to_owned(),
                at: None,
            }],
            chain: Vec::new(),
            remedy: None,
            alternatives: Vec::new(),
        }
    }

    fn expected(slug: &str, citing: &[&str]) -> ExpectedCause {
        ExpectedCause {
            slug: slug.to_owned(),
            subject: Some("Job/j".to_owned()),
            citing: citing.iter().map(|text| (*text).to_owned()).collect(),
            through: Vec::new(),
        }
    }

    fn verdict(judgement: Judgement) -> Option<Verdict> {
        judgement.map(|(verdict, _)| verdict)
    }

    #[test]
    fn it_has_to_break_in_the_documented_words() {
        let words = ["failed post-install".to_owned(), "not ready".to_owned()];
        assert_eq!(verdict(of_break(true, "", &words)), Some(Verdict::NotReproduced));
        assert_eq!(
            verdict(of_break(false, "not ready, failed post-install", &words)),
            Some(Verdict::WrongFailure)
        );
        assert_eq!(of_break(false, "Error: failed post-install: Job/a not ready", &words), None);
    }

    #[test]
    fn a_chain_has_to_lead_through_what_is_only_a_consequence() {
        let mut found = cause("a", "exit code 64");
        let mut wanted = expected("a", &[]);
        wanted.through = vec!["loop".to_owned()];
        assert!(!matches(&wanted, &found));
        found.chain = vec![Link {
            subject: found.subject.clone(),
            statement: "it is tried again".to_owned(),
            since: Timestamp::UNIX_EPOCH,
            slug: Some("loop".to_owned()),
        }];
        assert!(matches(&wanted, &found));
        assert_eq!(describe_expected(&wanted), "a at Job/j through loop");
    }

    #[test]
    fn exactly_the_expected_causes_for_the_expected_reason_in_time() {
        let judge = |causes: Vec<RootCause>, expected: &[ExpectedCause], knowable, known: Option<u64>| {
            let diagnosis = Diagnosis {
                causes,
                ..Diagnosis::default()
            };
            verdict(of_diagnosis(
                expected,
                &diagnosis,
                knowable,
                known.map(Duration::from_secs),
                Duration::from_secs(20),
            ))
        };
        let a = [expected("a", &["exit code 64"])];
        assert_eq!(judge(vec![], &a, Knowable::AtFailure, None), Some(Verdict::Undetected));
        assert_eq!(
            judge(vec![cause("b", "exit code 64")], &a, Knowable::AtFailure, Some(1)),
            Some(Verdict::Misdiagnosed)
        );
        assert_eq!(
            judge(vec![cause("a", "exit code 1")], &a, Knowable::AtFailure, Some(1)),
            Some(Verdict::Misdiagnosed)
        );
        let two = vec![cause("a", "exit code 64"), cause("b", "")];
        assert_eq!(judge(two, &a, Knowable::AtFailure, Some(1)), Some(Verdict::Misdiagnosed));
        assert_eq!(
            judge(vec![cause("a", "exit code 64")], &a, Knowable::Early, Some(21)),
            Some(Verdict::Undetected)
        );
        assert_eq!(judge(vec![cause("a", "exit code 64")], &a, Knowable::Early, Some(8)), None);
        assert_eq!(judge(vec![cause("a", "exit code 64")], &a, Knowable::AtFailure, Some(21)), None);
    }
}
