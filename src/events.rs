//! What the runner says while it works. Reporters only consume it; nothing is decided from it.

use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::outcome::Outcome;

/// One moment of a run.
#[derive(Debug, Clone)]
pub enum Event {
    /// A piece of set-up, provisioning or clean-up began. `step` is its identity and what a person reads: "Build kubeadm v1.34.4".
    StepStarted {
        step: String,
    },
    /// What a step is at right now.
    StepProgress {
        step: String,
        detail: String,
    },
    /// A step ended well. `cached`: its content-keyed result was already there.
    StepFinished {
        step: String,
        elapsed: Duration,
        cached: bool,
    },
    /// A step failed; the error itself is returned to the caller.
    StepFailed {
        step: String,
        elapsed: Duration,
    },
    /// Something a person should know that is neither progress nor an error.
    Note {
        text: String,
    },
    /// How many trials will be run.
    RunStarted {
        trials: usize,
    },
    /// A trial began; `trial` is its identity: "hook-target-unreachable::helm-4::broken".
    TrialStarted {
        trial: String,
    },
    /// What a trial waits for right now; `left` is the time its deadline still gives.
    TrialPhase {
        trial: String,
        phase: &'static str,
        waiting_for: String,
        left: Option<Duration>,
    },
    /// The diagnosis became certain, before the engine gave up or at that moment.
    CauseKnown {
        trial: String,
        cause: String,
        after: Duration,
        /// What the engine still had to wait then; absent where it had given up or waits for nothing.
        left: Option<Duration>,
    },
    TrialFinished {
        trial: String,
        outcome: Box<Outcome>,
    },
}

/// Where the stages put their events. Cheap to clone; a consumer that is gone is no error.
#[derive(Debug, Clone)]
pub struct Events {
    sender: UnboundedSender<Event>,
    causes: bool,
}

impl Events {
    /// A sender and the receiver that a reporter reads.
    pub fn channel() -> (Self, UnboundedReceiver<Event>) {
        let (sender, receiver) = unbounded_channel();
        (Self { sender, causes: true }, receiver)
    }

    /// For callers that nobody watches.
    pub fn silent() -> Self {
        Self::channel().0
    }

    /// The same without the causes that become known: for somebody who wants to find them out.
    pub fn without_causes(self) -> Self {
        Self { causes: false, ..self }
    }

    pub fn send(&self, event: Event) {
        if !self.causes && matches!(event, Event::CauseKnown { .. }) {
            return;
        }
        let _ = self.sender.send(event);
    }

    pub fn note(&self, text: impl Into<String>) {
        self.send(Event::Note { text: text.into() });
    }

    /// Starts a step; finish it with [`Step::done`] or [`Step::cached`]. Dropped without either, it is reported as failed.
    pub fn step(&self, name: impl Into<String>) -> Step {
        let step = name.into();
        self.send(Event::StepStarted { step: step.clone() });
        Step {
            events: self.clone(),
            step,
            started: std::time::Instant::now(),
            ended: false,
        }
    }
}

/// A step under way.
#[derive(Debug)]
pub struct Step {
    events: Events,
    step: String,
    started: std::time::Instant,
    ended: bool,
}

impl Step {
    pub fn progress(&self, detail: impl Into<String>) {
        self.events.send(Event::StepProgress {
            step: self.step.clone(),
            detail: detail.into(),
        });
    }

    pub fn done(self) {
        self.finish(false);
    }

    pub fn cached(self) {
        self.finish(true);
    }

    fn finish(mut self, cached: bool) {
        self.ended = true;
        self.events.send(Event::StepFinished {
            step: self.step.clone(),
            elapsed: self.started.elapsed(),
            cached,
        });
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if !self.ended {
            self.events.send(Event::StepFailed {
                step: self.step.clone(),
                elapsed: self.started.elapsed(),
            });
        }
    }
}
