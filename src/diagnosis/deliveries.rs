//! What other releases are still about to deliver, and the webhooks that nobody answers for as long.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

use super::attempt::Attempt;
use crate::evidence::{Evidence, ObjectRef, ReleaseRecord};

/// The newest record of another release that has such an object in its manifest or among its hooks, and whether it was there already when
/// the attempt began.
pub fn known_to_deliver<'a>(
    evidence: &'a Evidence,
    attempt: &Attempt<'_>,
    has: impl Fn(&ReleaseRecord, &Value) -> bool,
) -> Option<(&'a ReleaseRecord, bool)> {
    let delivers = |record: &ReleaseRecord| {
        let hooks = record.hooks.iter().map(|hook| &hook.manifest);
        record.manifest.iter().chain(hooks).any(|manifest| has(record, manifest))
    };
    let mut others = evidence.releases.values().filter(|(_, record)| record.name != attempt.release);
    let (at, record) = others.rfind(|(_, record)| record.status != "uninstalled" && delivers(record))?;
    Some((record, record.status == "deployed" && *at < attempt.started_at))
}

/// The same, if it was not there yet. Of one that was, somebody has taken the object away, or it does not work.
pub fn delivers_later<'a>(
    evidence: &'a Evidence,
    attempt: &Attempt<'_>,
    has: impl Fn(&ReleaseRecord, &Value) -> bool,
) -> Option<&'a ReleaseRecord> {
    known_to_deliver(evidence, attempt, has)
        .filter(|(_, there)| !there)
        .map(|(record, _)| record)
}

/// A webhook that the API server could not call.
pub struct Unanswered {
    /// `webhook.cert-manager.io`
    pub name: String,
    /// What it would have called.
    pub service: ObjectRef,
    pub words: String,
}

static UNANSWERED: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(
        r#"failed calling webhook \\?"([^"\\]+)\\?": [^\n]*?https://([^./\s]+)\.([^./\s]+)\.svc[:/.][^\n]*?(?:no endpoints available for service \\?"[^"\\]+\\?"|service \\?"[^"\\]+\\?" not found)"#,
    )
    .ok()
});

/// The webhooks that have no Service, or one with nothing behind it, as the API server told the engine.
pub fn unanswered(attempt: &Attempt<'_>) -> Vec<Unanswered> {
    let words = attempt.words();
    let mut found: Vec<Unanswered> = Vec::new();
    for captures in UNANSWERED.iter().flat_map(|pattern| pattern.captures_iter(&words)) {
        let service = ObjectRef::new("Service", Some(&captures[3]), &captures[2]);
        if found.iter().all(|known| !known.service.same(&service)) {
            found.push(Unanswered {
                name: captures[1].to_owned(),
                service,
                words: captures[0].to_owned(),
            });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pattern_compiles() {
        assert!(UNANSWERED.is_some());
    }
}
