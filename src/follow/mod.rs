//! Follows an engine that somebody else runs, or that was started here for him, and says what it waits for and why it fails, while it waits.
//!
//! It watches the namespace as a trial does, and changes nothing in it. Nothing is polled for it: what is new is looked at as it comes.

pub mod helm_line;
mod teller;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kube::Client;
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use teller::Teller;
pub use teller::Told;

use crate::command::{Command, CommandError, Stream};
use crate::diagnosis::Diagnosis;
use crate::diagnosis::attempt::{State, of_flux};
use crate::diagnosis::detectors::DETECTORS;
use crate::evidence::{CollectError, Collector, EngineStart, Evidence, Fact, Life, Recorder, Timeline};
use crate::look::Subject;
use crate::trial::watch::Watch;
use crate::wait::{Seen, WaitError, until};

/// How long a cause has to have been certain before a wait is called hopeless and ended.
const HOPELESS: Duration = Duration::from_secs(3);
/// After the engine's end, for how long nothing new has to have come, and how long that may take at the most.
const SETTLED: Duration = Duration::from_millis(500);
const SETTLE: Duration = Duration::from_secs(5);
/// Nothing is asked of the cluster here: this only reads what has come.
const LOOK: Duration = Duration::from_millis(50);

/// What is followed.
pub struct Follow {
    pub client: Client,
    pub namespace: String,
    pub recorder: Recorder,
    pub told: UnboundedSender<Told>,
    /// End the wait once a cause has been certain for some seconds.
    pub stop_when_hopeless: bool,
}

/// How it came out.
#[derive(Debug)]
pub struct Followed {
    /// The engine's own; absent where a signal ended it, or nobody here ran it.
    pub exit_code: Option<i32>,
    pub succeeded: bool,
    /// It was ended because it could not succeed any more.
    pub stopped: bool,
    /// It had not ended when there was no more time to follow it: how it stood then, in one sentence.
    pub unfinished: Option<String>,
    pub timeline: Timeline,
    pub evidence: Evidence,
    pub diagnosis: Diagnosis,
}

/// Why nothing could be followed to its end.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    #[error(transparent)]
    Collect(#[from] CollectError),
    #[error(transparent)]
    Command(#[from] CommandError),
    #[error("it was interrupted")]
    Interrupted,
}

impl Follow {
    /// Runs a command, which is the engine's, to its end. What it prints goes to `print` as it comes, and into the evidence. With
    /// `or_install`, an upgrade of what is not there is an install, as `helm upgrade --install` has it.
    ///
    /// # Errors
    /// When the namespace cannot be watched, or the command cannot be started.
    pub async fn command(
        self,
        mut start: EngineStart,
        or_install: bool,
        command: Command,
        print: impl Fn(Stream, &str) + Send + Sync + 'static,
        cancel: &CancellationToken,
    ) -> Result<Followed, FollowError> {
        let stop = CancellationToken::new();
        let (watch, collector, _hopeless) = self.watch(&stop).await?;
        if or_install && Evidence::of(&self.recorder.timeline()).release(&start.release).is_none() {
            "install".clone_into(&mut start.operation);
        }
        self.recorder.record(Fact::EngineStarted(start));
        let lines = self.recorder.clone();
        let command = command.stopped_by(&stop).on_line(move |stream, text| {
            print(stream, text);
            let text = text.to_owned();
            lines.record(Fact::EngineLine { stream, text });
        });
        let output = command.run_any_status(cancel).await.map_err(|error| match error {
            CommandError::Interrupted { .. } => FollowError::Interrupted,
            error => FollowError::Command(error),
        })?;
        let exit_code = output.status.code();
        self.recorder.record(Fact::EngineEnded { exit_code });
        self.settle(&watch, cancel).await;
        drop(collector);
        Ok(self.followed(&watch, exit_code, exit_code == Some(0), stop.is_cancelled()))
    }

    /// Follows what is under way until it has succeeded or failed, or until the deadline. What was seen by then is an answer as well.
    ///
    /// # Errors
    /// When the namespace cannot be watched.
    pub async fn subject(self, subject: &Subject, deadline: Duration, cancel: &CancellationToken) -> Result<Followed, FollowError> {
        let stop = CancellationToken::new();
        let (watch, collector, _hopeless) = self.watch(&stop).await?;
        let ended = until("its end", deadline, LOOK, cancel, || {
            let state = watch.read(|evidence, _| state(evidence, subject));
            let stopped = stop.is_cancelled();
            async move {
                match state {
                    Ok(succeeded) => Seen::Done(succeeded),
                    Err(_) if stopped => Seen::Done(false),
                    Err(last) => Seen::NotYet(last),
                }
            }
        });
        let (succeeded, unfinished) = match ended.await {
            Ok(succeeded) => (succeeded, None),
            Err(WaitError::Interrupted { .. }) => return Err(FollowError::Interrupted),
            Err(WaitError::Deadline { last, .. }) => {
                let (kind, name, seconds) = (subject.kind(), subject.name(), deadline.as_secs());
                let sentence = format!(
                    "{kind} {name} neither succeeded nor failed within {seconds}s; last seen: {last}; --timeout follows it for longer"
                );
                (false, Some(sentence))
            }
        };
        self.settle(&watch, cancel).await;
        drop(collector);
        let followed = self.followed(&watch, None, succeeded, stop.is_cancelled());
        Ok(Followed { unfinished, ..followed })
    }

    /// The third ends a hopeless wait, for as long as it is held. Time makes a wait hopeless, and not what happens: where nothing new comes
    /// any more, it has to end as well.
    async fn watch(&self, stop: &CancellationToken) -> Result<(Watch, Collector, JoinSet<()>), FollowError> {
        let certain = Arc::new(Mutex::new(None));
        let (mut teller, since) = (Teller::new(self.told.clone()), certain.clone());
        let watch = Watch::start(self.recorder.clone(), DETECTORS, move |evidence, diagnosis| {
            *since.lock().unwrap_or_else(PoisonError::into_inner) = teller.look(evidence, diagnosis);
        });
        let mut hopeless = JoinSet::new();
        if self.stop_when_hopeless {
            let stop = stop.clone();
            hopeless.spawn(async move {
                while !stop.is_cancelled() {
                    crate::wait::pause(LOOK, &stop).await;
                    let since: Option<Timestamp> = *certain.lock().unwrap_or_else(PoisonError::into_inner);
                    if since.is_some_and(|since| Timestamp::now().duration_since(since).unsigned_abs() >= HOPELESS) {
                        stop.cancel();
                    }
                }
            });
        }
        let collector = Collector::start(&self.client, &self.namespace, &self.recorder).await?;
        Ok((watch, collector, hopeless))
    }

    /// Waits until everything that has come was looked at and nothing new comes; what is on its way for longer is not waited for.
    async fn settle(&self, watch: &Watch, cancel: &CancellationToken) {
        let mut quiet = (self.recorder.len(), Instant::now());
        let looked = until("the last facts", SETTLE, LOOK, cancel, || {
            let noted = self.recorder.len();
            if noted != quiet.0 {
                quiet = (noted, Instant::now());
            }
            let settled = watch.entries() == noted && quiet.1.elapsed() >= SETTLED;
            async move {
                if settled {
                    Seen::Done(())
                } else {
                    Seen::NotYet(format!("{noted} entries"))
                }
            }
        });
        // What was seen by then is what is answered with.
        let _ = looked.await;
    }

    fn followed(&self, watch: &Watch, exit_code: Option<i32>, succeeded: bool, stopped: bool) -> Followed {
        let diagnosis = watch.conclude();
        Followed {
            exit_code,
            succeeded,
            stopped,
            unfinished: None,
            timeline: self.recorder.timeline(),
            evidence: watch.read(|evidence, _| evidence.clone()),
            diagnosis,
        }
    }
}

/// Whether what is followed has succeeded; while it is under way, how it stands.
fn state(evidence: &Evidence, subject: &Subject) -> Result<bool, String> {
    let flux = |kind: &str, name: &str| {
        let life = evidence.all(kind).find(|life| life.name() == name);
        let life = life.ok_or_else(|| format!("there is no {kind} {name}"))?;
        let observed = life.number("/status/observedGeneration") == life.number("/metadata/generation");
        match of_flux(evidence, life).state {
            State::Succeeded if observed => Ok(true),
            State::Failed if observed && gave_up(life) => Ok(false),
            _ => Err(crate::diagnosis::attempt::message(life).to_owned()),
        }
    };
    match subject {
        Subject::HelmRelease(name) => flux("HelmRelease", name),
        Subject::Kustomization(name) => flux("Kustomization", name),
        Subject::Release(name) => {
            let record = evidence.release(name).ok_or_else(|| format!("there is no release {name} yet"))?;
            match record.status.as_str() {
                "deployed" => Ok(true),
                "failed" | "uninstalled" => Ok(false),
                status => Err(format!("revision {} is {status}", record.revision)),
            }
        }
    }
}

/// A HelmRelease is not tried again once it is stalled; a Kustomization is, but only an interval later.
fn gave_up(life: &Life) -> bool {
    life.condition("Stalled") == "True" || life.text("/kind") == "Kustomization" && life.condition("Reconciling") != "True"
}
