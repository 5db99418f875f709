//! What is left when nobody watched: the engine's words, the manifest with its TTL, and for an hour the event of the Job's end.

use jiff::Timestamp;

use super::{Removal, clock, due, finding, tracked_in};
use crate::diagnosis::attempt::{Attempt, State};
use crate::diagnosis::progress::event_text;
use crate::diagnosis::{Certainty, Finding, cite};
use crate::evidence::manifest::text;
use crate::evidence::{Evidence, Life, ObjectRef, moment};

/// Jobs that the engine says it did not find, that the manifest gives a TTL, and that nobody saw go.
pub fn findings(evidence: &Evidence, attempt: &Attempt<'_>, missed: &[ObjectRef]) -> Vec<Finding> {
    if attempt.engine.is_some() || attempt.state != State::Failed || !evidence.watched("Job") {
        return Vec::new();
    }
    let of = |job: &ObjectRef| {
        let namespace = job.namespace.as_deref().unwrap_or(&attempt.namespace);
        // One that was seen is judged by what was seen.
        if !evidence.ever_named("Job", namespace, &job.name).is_empty() {
            return None;
        }
        let manifest = tracked_in(attempt, namespace, &job.name)?;
        let ttl = manifest.pointer("/spec/ttlSecondsAfterFinished")?.as_i64()?;
        let job = ObjectRef::new("Job", Some(namespace), &job.name);
        match ended(evidence, &job) {
            End::Failed => None,
            End::Completed(event, at) => {
                let due = due(at, ttl);
                let removal = Removal {
                    ttl,
                    due,
                    gone: due,
                    end: cite::observed(&event.reference(), format!("{} at {}", event_text(event), clock(at)), Some(at)),
                    ended_at: at,
                    seen: false,
                };
                let why = "the engine says that it did not find the Job; that its TTL removed it is inferred from its end, because nobody saw it go";
                Some(finding(attempt, &job, &removal, &[], Certainty::Certain, why, Vec::new()))
            }
            End::Unknown => {
                let removal = Removal {
                    ttl,
                    due: attempt.started_at,
                    gone: attempt.started_at,
                    end: cite::inferred(&job, "its end: no event tells of it any more".to_owned()),
                    ended_at: attempt.started_at,
                    seen: false,
                };
                let why = "the engine says that it did not find the Job, and it has a TTL; when it ended is missing, and without that somebody may have deleted it";
                Some(finding(attempt, &job, &removal, &[], Certainty::Suspected, why, Vec::new()))
            }
        }
    };
    missed.iter().filter_map(of).collect()
}

enum End<'a> {
    Completed(&'a Life, Timestamp),
    Failed,
    Unknown,
}

/// How a Job ended, as far as the Job controller's events tell.
fn ended<'a>(evidence: &'a Evidence, job: &ObjectRef) -> End<'a> {
    let about = |event: &&Life| {
        let object = |field: &str| event.text(&format!("/involvedObject/{field}"));
        object("kind") == "Job" && object("name") == job.name && Some(object("namespace")) == job.namespace.as_deref()
    };
    let mut end = End::Unknown;
    for event in evidence.all("Event").filter(about) {
        match event.text("/reason") {
            "BackoffLimitExceeded" | "DeadlineExceeded" | "PodFailurePolicy" => return End::Failed,
            "Completed" => {
                let times = ["/lastTimestamp", "/eventTime", "/metadata/creationTimestamp"];
                if let Some(at) = times.iter().find_map(|field| moment::parse(text(event.object(), field))) {
                    end = End::Completed(event, at);
                }
            }
            _ => {}
        }
    }
    end
}
