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
    /// At the most so long after the entry of the timeline that made it knowable: the time since the oldest entry that had not been
    /// looked at before.
    pub lag: Duration,
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
    /// Starts to look at what the recorder takes in. `on_look` is called after every look.
    pub fn start(
        recorder: Recorder,
        detectors: &'static [&'static Detector],
        mut on_look: impl FnMut(&Evidence, &Diagnosis) + Send + 'static,
    ) -> Self {
        let state = Arc::new(Mutex::new(State {
            evidence: Evidence::new(recorder.header()),
            entries: 0,
            moments: vec![Moment {
                known_at: Timestamp::now(),
                lag: Duration::ZERO,
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
                look(&recorder, detectors, &mut state);
                on_look(&state.evidence, &state.latest);
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

/// Takes in what is new, and says anew what can be said.
fn look(recorder: &Recorder, detectors: &[&Detector], state: &mut State) {
    let news = recorder.since(state.entries);
    for entry in &news {
        state.evidence.apply(entry);
    }
    state.entries += news.len();
    state.evidence.header = recorder.header();
    state.latest = diagnose_with(&state.evidence, detectors);
    // What a cause rests on may grow while the cause stays: that is a moment of its own.
    if state.moments.last().is_none_or(|last| last.diagnosis.causes != state.latest.causes) {
        let known_at = Timestamp::now();
        let oldest = news.first().map_or(known_at, |entry| entry.at);
        state.moments.push(Moment {
            known_at,
            lag: Duration::try_from(known_at.duration_since(oldest)).unwrap_or_default(),
            diagnosis: state.latest.clone(),
        });
    }
}
