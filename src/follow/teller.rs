//! What a person is told while an engine is followed: what it waits for when that changes, and each cause once it is certain.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::mpsc::UnboundedSender;

use crate::diagnosis::Diagnosis;
use crate::diagnosis::symptoms::Symptoms;
use crate::evidence::Evidence;

/// How long something has to have been waited for before it is worth a line.
const WORTH: SignedDuration = SignedDuration::from_secs(2);

/// One thing to tell.
#[derive(Debug, Clone, PartialEq)]
pub enum Told {
    /// What is waited for now, from the release down to what it hangs on.
    Waiting(Vec<String>),
    /// A cause has become certain; with how much of the wait is left.
    Certain {
        diagnosis: Diagnosis,
        known_after: Option<SignedDuration>,
        left: Option<SignedDuration>,
    },
    /// What was certain is so no more.
    Mended,
}

/// Remembers what was told.
pub struct Teller {
    told: UnboundedSender<Told>,
    waiting: Vec<String>,
    seen: Option<(Vec<String>, Timestamp)>,
    causes: BTreeSet<(String, String)>,
    certain_since: Option<Timestamp>,
}

impl Teller {
    pub fn new(told: UnboundedSender<Told>) -> Self {
        Self {
            told,
            waiting: Vec::new(),
            seen: None,
            causes: BTreeSet::new(),
            certain_since: None,
        }
    }

    /// Tells what is new, and says since when a cause is certain.
    pub fn look(&mut self, evidence: &Evidence, diagnosis: &Diagnosis) -> Option<Timestamp> {
        let causes: BTreeSet<_> = diagnosis.identity().into_iter().collect();
        let now = evidence.now;
        if causes != self.causes {
            if causes.is_empty() {
                let _ = self.told.send(Told::Mended);
            } else {
                let engine = evidence.engine();
                let _ = self.told.send(Told::Certain {
                    diagnosis: diagnosis.clone(),
                    known_after: engine.map(|engine| now.duration_since(engine.started_at)),
                    left: evidence.time_left(),
                });
            }
            self.certain_since = (!causes.is_empty()).then_some(self.certain_since.unwrap_or(now));
            self.causes = causes;
        } else if self.causes.is_empty() {
            self.wait(evidence);
        }
        self.certain_since
    }

    fn wait(&mut self, evidence: &Evidence) {
        let symptoms = Symptoms::of(evidence);
        let deepest = (0..symptoms.all.len()).max_by_key(|index| (std::cmp::Reverse(symptoms.top(*index)), symptoms.depth(*index)));
        let path = deepest.map_or_else(Vec::new, |index| symptoms.path(index));
        let lines: Vec<String> = path.into_iter().map(|index| symptoms.all[index].statement.clone()).collect();
        if lines.is_empty() || lines == self.waiting {
            return;
        }
        match &self.seen {
            Some((seen, since)) if *seen == lines => {
                if evidence.now.duration_since(*since) >= WORTH {
                    self.waiting.clone_from(&lines);
                    let _ = self.told.send(Told::Waiting(lines));
                }
            }
            _ => self.seen = Some((lines, evidence.now)),
        }
    }
}
