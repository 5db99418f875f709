//! The records that Helm keeps of a release, as far as they are in the way of its next run.

use jiff::Timestamp;

use super::Citation;
use super::attempt::Attempt;
use super::cite;
use super::logs::quoted;
use crate::evidence::{Evidence, ObjectRef, ReleaseRecord};

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
pub fn citations(attempt: &Attempt<'_>, newest: &Newest<'_>, refusal: Option<&str>) -> Vec<Citation> {
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
