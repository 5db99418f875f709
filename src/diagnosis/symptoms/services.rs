//! What is to be seen of Services that nothing answers for.

use super::{Symptom, Symptoms};
use crate::diagnosis::attempt::engine_is_patient;
use crate::diagnosis::unserved::unserved;
use crate::evidence::Evidence;

/// Adds the Services that nothing answers for. Beside something else that is not well they may be on purpose.
pub fn add(evidence: &Evidence, symptoms: &mut Symptoms) {
    if engine_is_patient(evidence) {
        return;
    }
    let alone = symptoms.all.is_empty();
    for one in unserved(evidence) {
        let service = one.service;
        symptoms.push(Symptom {
            subject: one.reference(),
            about: Vec::new(),
            statement: format!("Service {} has no endpoints", service.name()),
            since: service.time("/metadata/creationTimestamp").unwrap_or_else(|| service.first_seen()),
            by: evidence.now,
            parent: None,
            settled: alone,
        });
    }
}
