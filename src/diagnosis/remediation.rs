//! What Flux does about attempts that failed: how often it has tried, and whether it ever stops.

use super::attempt::{Attempt, State};
use super::symptoms::Symptoms;
use super::{Certainty, Citation, Finding, cite};
use crate::evidence::{Evidence, ObjectRef};
use crate::remedy::Remedy;

/// Attempts without an end.
#[derive(Debug, Clone, Copy)]
pub struct Endless {
    /// Failures of the action itself.
    pub counted: i64,
    /// All failures since the last success, those of remediation included.
    pub failures: i64,
    retries: i64,
}

/// What is said of one kind of attempts without an end.
pub struct Kind {
    pub slug: &'static str,
    /// `install` or `upgrade`
    pub action: &'static str,
    pub statement: fn(&Attempt<'_>, &Endless) -> String,
    /// What is cited beside the counts.
    pub more: fn(&Evidence, &Attempt<'_>) -> Vec<Citation>,
}

/// The attempts that have no end, as a link to whatever keeps them from it, and as a cause where nothing else is known.
pub fn finding(evidence: &Evidence, attempt: &Attempt<'_>, kind: &Kind) -> Option<Finding> {
    let endless = endless(attempt, kind.action)?;
    let (certainty, why) = endless.certainty(attempt);
    let subject = attempt.subject();
    let mut citations = endless.citations(attempt, kind.action);
    citations.extend((kind.more)(evidence, attempt));
    Some(Finding {
        slug: kind.slug,
        statement: (kind.statement)(attempt, &endless),
        certainty,
        why,
        since: attempt.started_at,
        citations,
        explains: vec![subject.clone()],
        blames: reasons(evidence, attempt),
        subject,
        remedy: Some(Remedy::new(
            "bound-retries",
            format!(
                "let the retries end, so that the last failure stays to be looked at: spec.{}.remediation.retries",
                kind.action
            ),
        )),
        alternatives: Vec::new(),
    })
}

/// How often an action, `install` or `upgrade`, or what follows it, failed that is tried for ever; nothing below two failures.
fn endless(attempt: &Attempt<'_>, action: &str) -> Option<Endless> {
    let release = attempt.helm_release?;
    let retries = release.number(&format!("/spec/{action}/remediation/retries"))?;
    let counted = release
        .number(&format!("/status/{action}Failures"))
        .filter(|counted| *counted > 0)?;
    // A rollback that fails is tried again as well, and does not count as another failure of the upgrade.
    let failures = release.number("/status/failures").unwrap_or_default().max(counted);
    let stalled = release.condition("Stalled") == "True";
    (attempt.state != State::Succeeded && retries < 0 && failures >= 2 && !stalled).then_some(Endless {
        counted,
        failures,
        retries,
    })
}

impl Endless {
    fn citations(&self, attempt: &Attempt<'_>, action: &str) -> Vec<Citation> {
        let subject = attempt.subject();
        vec![
            cite::observed(&subject, format!("status.{action}Failures: {}", self.counted), attempt.ended_at),
            cite::observed(&subject, format!("status.failures: {}", self.failures), attempt.ended_at),
            cite::declared(&subject, format!("spec.{action}.remediation.retries: {}", self.retries)),
        ]
    }

    /// As long as somebody waits for it, the next attempt may succeed.
    fn certainty(&self, attempt: &Attempt<'_>) -> (Certainty, String) {
        match attempt.state {
            State::Failed => (
                Certainty::Certain,
                format!("{} attempts ended alike, and nothing bounds them", self.failures),
            ),
            _ => (Certainty::Suspected, "the next attempt may succeed".to_owned()),
        }
    }
}

/// Everything below the release that is not well, and the release itself: whatever explains one of these is why it is tried again.
fn reasons(evidence: &Evidence, attempt: &Attempt<'_>) -> Vec<ObjectRef> {
    let mut reasons = vec![attempt.subject()];
    for symptom in Symptoms::of(evidence).all {
        for object in std::iter::once(symptom.subject).chain(symptom.about) {
            if !reasons.contains(&object) {
                reasons.push(object);
            }
        }
    }
    reasons
}
