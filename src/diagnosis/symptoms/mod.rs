//! Symptoms: what a person sees, as a tree from the release down to what a pod does.

mod pods;
mod release;
mod services;
mod waiting;
mod workloads;

use jiff::Timestamp;

pub use pods::trouble;

use crate::diagnosis::answer::Link;
use crate::evidence::{Evidence, ObjectRef};

/// One thing that a person sees is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Symptom {
    pub subject: ObjectRef,
    /// Further objects that it is about, such as the hook that a release waits for.
    pub about: Vec<ObjectRef>,
    /// One clause for people, without a full stop.
    pub statement: String,
    pub since: Timestamp,
    /// A cause of it has to have begun by then: what lasts can have a cause that is younger than its beginning.
    pub by: Timestamp,
    /// The index of the symptom that is the consequence of this one.
    pub parent: Option<usize>,
    /// Nobody waits for it any more, or it cannot progress any more.
    pub settled: bool,
}

impl Symptom {
    /// Whether this is about an object.
    pub fn concerns(&self, object: &ObjectRef) -> bool {
        self.subject.same(object) || self.about.iter().any(|about| about.same(object))
    }

    pub fn link(&self) -> Link {
        Link {
            subject: self.subject.clone(),
            statement: self.statement.clone(),
            since: self.since,
            slug: None,
        }
    }
}

/// The symptoms of one moment. A parent comes before its children.
#[derive(Debug, Clone, Default)]
pub struct Symptoms {
    pub all: Vec<Symptom>,
}

impl Symptoms {
    /// Everything that is to be seen: what the engine waits for or gave up on, and below it what that is; then what else is not well.
    pub fn of(evidence: &Evidence) -> Self {
        let mut symptoms = Self::default();
        release::add(evidence, &mut symptoms);
        waiting::add(evidence, &mut symptoms);
        workloads::add_unhealthy(evidence, &mut symptoms);
        workloads::add_refused(evidence, &mut symptoms);
        services::add(evidence, &mut symptoms);
        symptoms
    }

    fn push(&mut self, symptom: Symptom) -> usize {
        self.all.push(symptom);
        self.all.len() - 1
    }

    /// How many symptoms are above this one.
    pub fn depth(&self, index: usize) -> usize {
        self.path(index).len()
    }

    /// From the top down to this symptom, and with it.
    pub fn path(&self, index: usize) -> Vec<usize> {
        let mut path = vec![index];
        let mut at = index;
        // A parent comes before its children, so this ends.
        while let Some(parent) = self.all[at].parent.filter(|parent| *parent < at) {
            path.push(parent);
            at = parent;
        }
        path.reverse();
        path
    }

    pub fn top(&self, index: usize) -> usize {
        self.path(index).first().copied().unwrap_or(index)
    }

    fn holds(&self, subject: &ObjectRef) -> bool {
        self.all.iter().any(|symptom| symptom.concerns(subject))
    }
}
