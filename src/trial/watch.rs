//! Diagnoses while it happens: after every few facts, what can be said is said anew.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::diagnosis::{Detector, Diagnosis, diagnose_with};
use crate::evidence::{Evidence, Recorder};
use crate::wait::pause;

/// How long facts are gathered before they are looked at together.
const TOGETHER: Duration = Duration::from_millis(30);

/// From when on a diagnosis held.
#[derive(Debug, Clone)]
pub struct Moment {
    /// When it was known here.
    pub known_at: Timestamp,
    /// How many entries of the timeline it rests on.
    pub entries: usize,
    pub diagnosis: Diagnosis,
}

#[derive(Debug)]
struct State {
    evidence: Evidence,
    entries: usize,
    /// A moment for every change of the certain causes or of what they rest on, the first with none.
    moments: Vec<Moment>,
    latest: Diagnosis,
}

/// The live diagnosis of one trial.
#[derive(Debug)]
pub struct Watch {
    state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

impl Watch {
    /// Starts to look at what the recorder takes in. `on_change` is called with every change of the certain causes.
    pub fn start(recorder: Recorder, detectors: &'static [&'static Detector], on_change: impl Fn(&Evidence, &Diagnosis) + Send + 'static) -> Self {
        let state = Arc::new(Mutex::new(State {
            evidence: Evidence::new(recorder.header()),
            entries: 0,
            moments: vec![Moment {
                known_at: Timestamp::now(),
                entries: 0,
                diagnosis: Diagnosis::default(),
            }],
            latest: Diagnosis::default(),
        }));
        let shared = state.clone();
        let task = tokio::spawn(async move {
            let never = CancellationToken::new();
            loop {
                recorder.news().await;
                pause(TOGETHER, &never).await;
                let mut state = lock(&shared);
                if look(&recorder, detectors, &mut state) {
                    on_change(&state.evidence, &state.latest);
                }
            }
        });
        Self { state, task }
    }

    /// Reads the evidence and the diagnosis as they are now.
    pub fn read<T>(&self, read: impl FnOnce(&Evidence, &Diagnosis) -> T) -> T {
        let state = lock(&self.state);
        read(&state.evidence, &state.latest)
    }

    /// All changes of the certain causes so far.
    pub fn moments(&self) -> Vec<Moment> {
        lock(&self.state).moments.clone()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes in what is new; whether the certain causes changed.
fn look(recorder: &Recorder, detectors: &[&Detector], state: &mut State) -> bool {
    for entry in recorder.since(state.entries) {
        state.evidence.apply(&entry);
        state.entries += 1;
    }
    state.evidence.header = recorder.header();
    state.latest = diagnose_with(&state.evidence, detectors);
    let last = state.moments.last();
    let changed = last.is_none_or(|last| last.diagnosis.identity() != state.latest.identity());
    // What a cause rests on may grow while the cause stays: that is a moment of its own, and no news.
    if last.is_none_or(|last| last.diagnosis.causes != state.latest.causes) {
        state.moments.push(Moment {
            known_at: Timestamp::now(),
            entries: state.entries,
            diagnosis: state.latest.clone(),
        });
    }
    changed
}
