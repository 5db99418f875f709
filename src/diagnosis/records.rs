//! The records that Helm keeps of a release, as far as they are in the way of its next run.

use jiff::Timestamp;

use super::attempt::Attempt;
use super::logs::quoted;
use super::{Certainty, Citation, Finding, cite};
use crate::evidence::{Evidence, ObjectRef, ReleaseRecord};
use crate::remedy::Remedy;

/// The newest record of a release, and the Secret in which it is kept.
pub struct Newest<'a> {
    pub record: &'a ReleaseRecord,
    pub secret: ObjectRef,
    /// When it was written last, as far as anybody looked.
    pub at: Timestamp,
    /// How many records of the release are kept.
    pub kept: usize,
}

/// The newest record that is kept of the attempt's release: the one that Helm looks at before it begins.
pub fn newest<'a>(evidence: &'a Evidence, attempt: &Attempt<'_>) -> Option<Newest<'a>> {
    let is_kept = |record: &&ReleaseRecord| {
        let lives = evidence.ever_named("Secret", &attempt.namespace, &record.storage());
        // Where nobody looks at Secrets, the record itself says that there is one.
        lives.is_empty() || lives.iter().any(|life| life.exists())
    };
    let mut kept = evidence
        .revisions(&attempt.release)
        .filter(|record| record.namespace.is_empty() || record.namespace == attempt.namespace)
        .filter(is_kept);
    let record = kept.next()?;
    let (at, _) = evidence.releases.get(&(record.name.clone(), record.revision))?;
    Some(Newest {
        record,
        secret: ObjectRef::new("Secret", Some(&attempt.namespace), record.storage()),
        at: *at,
        kept: 1 + kept.count(),
    })
}

/// The words with which Helm refuses to begin, if they are among the attempt's.
pub fn refusal(attempt: &Attempt<'_>, any: &[&str]) -> Option<String> {
    let words = attempt.words();
    let line = words.lines().find(|line| any.iter().any(|text| line.contains(text)))?;
    Some(line.trim().to_owned())
}

/// What Helm says where a record bears the name, of either version.
pub const IN_USE: &[&str] = &[
    "cannot re-use a name that is still in use",
    "cannot reuse a name that is still in use",
];

/// What the record says, where it is kept, and what the engine says of it, if it was heard.
fn citations(attempt: &Attempt<'_>, newest: &Newest<'_>, refusal: Option<&str>) -> Vec<Citation> {
    let Newest { record, secret, at, .. } = newest;
    let said = refusal.map(|refusal| cite::observed(&attempt.subject(), quoted(refusal), attempt.ended_at));
    let mut citations = Vec::from_iter(said);
    citations.push(cite::observed(secret, format!("info.status: {}", record.status), Some(*at)));
    if !record.description.is_empty() {
        citations.push(cite::observed(
            secret,
            format!("info.description: {}", record.description),
            Some(*at),
        ));
    }
    if let Some(deployed) = record.last_deployed {
        citations.push(cite::observed(secret, format!("info.last_deployed: {deployed}"), Some(*at)));
    }
    citations
}

/// What a record that is in the way means, and what can be done about it.
pub struct Verdict {
    pub slug: &'static str,
    pub statement: String,
    pub certainty: Certainty,
    pub why: String,
    /// What is known beside the record and the engine's words.
    pub more: Vec<Citation>,
    pub remedy: Remedy,
    pub alternatives: Vec<Remedy>,
}

/// The record that is in the way, as the cause of what the engine refused.
pub fn finding(attempt: &Attempt<'_>, newest: &Newest<'_>, refusal: Option<&str>, verdict: Verdict) -> Finding {
    let mut citations = citations(attempt, newest, refusal);
    citations.extend(verdict.more);
    let secret = &newest.secret;
    Finding {
        slug: verdict.slug,
        statement: verdict.statement,
        certainty: verdict.certainty,
        why: verdict.why,
        since: newest.at.min(attempt.started_at),
        citations,
        explains: vec![secret.clone(), attempt.subject()],
        blames: Vec::new(),
        subject: secret.clone(),
        // Whatever is done, it is about this Secret.
        remedy: Some(verdict.remedy.with("secret", &secret.name)),
        alternatives: verdict
            .alternatives
            .into_iter()
            .map(|remedy| remedy.with("secret", &secret.name))
            .collect(),
    }
}

/// Takes away the one record that is in the way, and says what comes then.
pub fn removal(newest: &Newest<'_>, then: &str) -> Remedy {
    let sentence = format!("delete exactly the Secret {}, and {then}", newest.secret.name);
    Remedy::new("remove-release-record", sentence)
}
