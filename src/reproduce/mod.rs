//! `rekindle reproduce`: one failure, lit and left as it is, and then put out step by step, each step a process of its own.

mod session;

use std::num::NonZeroUsize;

use tokio_util::sync::CancellationToken;

pub use session::{Place, Reached, Session, SessionError};

use crate::cli::ProvisionError;
use crate::cluster::{self, ClusterError};
use crate::events::{Event, Events};
use crate::outcome::Variant;
use crate::run::{self, Options, Standing};
use crate::toolchain;
use crate::trial::kept::{self, Kept};
use crate::trial::{Trial, TrialError};

/// Why a step could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum ReproduceError {
    #[error(transparent)]
    Provision(Box<ProvisionError>),
    #[error(transparent)]
    Trial(Box<TrialError>),
    #[error(transparent)]
    Session(#[from] SessionError),
    #[error("another process takes a step of {scenario} right now; wait for it, or end it")]
    Busy { scenario: String },
    #[error("{scenario} is lit already, on {engine} in namespace {namespace}; go on with `--step`, or remove it first with `--step clean`")]
    Lit {
        scenario: String,
        engine: String,
        namespace: String,
    },
    #[error(
        "{scenario} is not lit on the cluster {cluster}; begin with `rekindle reproduce {scenario}{}`",
        cluster::named(cluster)
    )]
    NotLit { scenario: String, cluster: String },
    #[error(
        "there is nothing to verify before the remedy; apply it with `rekindle reproduce {scenario}{} --step remedy`",
        cluster::named(cluster)
    )]
    NotRemedied { scenario: String, cluster: String },
    #[error(
        "the remedy was applied before; go on with `rekindle reproduce {scenario}{} --step verify`, or remove all with `--step clean`",
        cluster::named(cluster)
    )]
    Remedied { scenario: String, cluster: String },
    #[error(
        "the cluster {cluster} in which {scenario} was lit is gone, and the reproduction with it; begin anew with `rekindle reproduce {scenario}{}`",
        cluster::named(cluster)
    )]
    Gone { scenario: String, cluster: String },
}

impl ReproduceError {
    /// Whether the order of the steps was wrong, and nothing was tried.
    pub fn out_of_turn(&self) -> bool {
        matches!(
            self,
            Self::Lit { .. } | Self::NotLit { .. } | Self::NotRemedied { .. } | Self::Remedied { .. } | Self::Busy { .. }
        )
    }
}

impl From<ProvisionError> for ReproduceError {
    fn from(error: ProvisionError) -> Self {
        Self::Provision(Box::new(error))
    }
}

impl From<ClusterError> for ReproduceError {
    fn from(error: ClusterError) -> Self {
        ProvisionError::from(error).into()
    }
}

impl From<TrialError> for ReproduceError {
    fn from(error: TrialError) -> Self {
        Self::Trial(Box::new(error))
    }
}

/// One failure on one engine, and the cluster that it is lit in.
pub struct Reproduction {
    pub options: Options,
    pub place: Place,
}

/// The only trial that is wanted of these options: broken, on their one engine.
fn trial(options: &Options) -> Option<Trial<'_>> {
    run::trials(options).into_iter().find(|trial| trial.id.variant == Variant::Broken)
}

impl Reproduction {
    /// `options` name one scenario and one engine.
    pub fn new(mut options: Options) -> Self {
        options.keep = true;
        options.jobs = Some(NonZeroUsize::MIN);
        let cluster = options.cluster.as_deref().unwrap_or(cluster::DEFAULT_NAME);
        let id = options.scenarios.first().map_or("", |scenario| scenario.id.as_str());
        Self {
            place: Place::of(&options.toolchain.state, cluster, id),
            options,
        }
    }

    fn scenario(&self) -> String {
        self.options
            .scenarios
            .first()
            .map_or_else(String::new, |scenario| scenario.id.clone())
    }

    fn cluster(&self) -> String {
        self.options.cluster.clone().unwrap_or_else(|| cluster::DEFAULT_NAME.to_owned())
    }

    fn turn(&self) -> Result<cluster::lock::Lock, ReproduceError> {
        self.place.turn()?.ok_or_else(|| ReproduceError::Busy { scenario: self.scenario() })
    }

    /// The session that stands.
    ///
    /// # Errors
    /// [`ReproduceError::NotLit`], where there is none.
    pub fn session(&self) -> Result<Session, ReproduceError> {
        match self.place.load()? {
            Some(session) if session.reached > Reached::Begun => Ok(session),
            _ => Err(self.not_lit()),
        }
    }

    /// Breaks it, looks on until it is diagnosed, and leaves everything as it is.
    ///
    /// # Errors
    /// When that could not be carried out, or was interrupted; then nothing is left.
    pub async fn light(&self, events: &Events, cancel: &CancellationToken) -> Result<Session, ReproduceError> {
        let Some(trial) = trial(&self.options) else {
            return Err(self.not_lit());
        };
        if let Some(session) = self.place.load()? {
            if session.reached > Reached::Begun {
                return Err(self.lit(session));
            }
            // If somebody is still at it, it was not cut off.
            drop(self.turn()?);
            events.note("what a reproduction that was cut off had left is removed first");
            self.clean(events, cancel).await?;
        }
        let standing = run::stand(&self.options, events, cancel).await?;
        let _turn = self.turn()?;
        // Somebody may have been faster.
        if let Some(session) = self.place.load()? {
            return Err(self.lit(session));
        }
        let (kept, error) = match self.light_on(&standing, &trial, events, cancel).await {
            Ok(session) => return Ok(session),
            Err(failed) => failed,
        };
        let mut left = None;
        if let Some(kept) = kept {
            left = kept::remove(&standing.ground, &kept).await.err().map(|error| error.to_string());
        }
        if left.is_none() {
            self.place.remove()?;
        }
        // What could not be removed has to be told; the error tells why it was tried.
        for failure in left.into_iter().chain(self.give_up(standing, events).await) {
            events.note(failure);
        }
        Err(error)
    }

    fn lit(&self, session: Session) -> ReproduceError {
        ReproduceError::Lit {
            scenario: self.scenario(),
            engine: session.kept.outcome.trial.engine,
            namespace: session.kept.namespace,
        }
    }

    /// Removes the cluster again if it was made just now; tells what could not be removed.
    async fn give_up(&self, standing: Standing, events: &Events) -> Vec<String> {
        let mut failures = Vec::new();
        let Standing { cluster, ground, .. } = standing;
        drop(ground);
        if cluster.fresh()
            && let Err(error) = cluster.down(events).await
        {
            failures.push(error.to_string());
        }
        // Not interrupted: it has deadlines of its own.
        if let Err(error) = toolchain::release_docker(&self.options.toolchain, &CancellationToken::new()).await {
            failures.push(error.to_string());
        }
        failures
    }

    async fn light_on(
        &self,
        standing: &Standing,
        trial: &Trial<'_>,
        events: &Events,
        cancel: &CancellationToken,
    ) -> Result<Session, (Option<Kept>, ReproduceError)> {
        let ground = &standing.ground;
        let place = trial.place(ground, cancel).await.map_err(|error| (None, error.into()))?;
        let kept = Kept::begin(trial, ground, &place, standing.provision).map_err(|error| (None, TrialError::from(error).into()))?;
        let mut session = Session::begin(standing, kept);
        // Before the deed: whoever comes after a kill finds what is to be removed.
        self.place.save(&session).map_err(|error| (None, error.into()))?;
        events.send(Event::RunStarted { trials: 1 });
        events.send(Event::TrialStarted {
            trial: trial.id.to_string(),
        });
        let lit = trial.light(ground, place, &mut session.kept, cancel).await;
        let saved = lit.map_err(ReproduceError::from).and_then(|timeline| {
            session.reached = Reached::Broken;
            Ok(self.place.save_all(&session, timeline, &standing.cluster.kubeconfig)?)
        });
        match saved {
            Ok(()) => Ok(session),
            Err(error) => Err((Some(session.kept), error)),
        }
    }

    /// Takes one more step of what is lit.
    ///
    /// # Errors
    /// Where it is not this step's turn; where the step could not be carried out, and then everything is as it was left.
    pub async fn step(&self, step: kept::Step, events: &Events, cancel: &CancellationToken) -> Result<Session, ReproduceError> {
        self.session()?;
        let _turn = self.turn()?;
        let mut session = self.session()?;
        match (step, session.reached) {
            (kept::Step::Remedy, Reached::Remedied | Reached::Verified) => {
                return Err(ReproduceError::Remedied {
                    scenario: self.scenario(),
                    cluster: self.cluster(),
                });
            }
            (kept::Step::Verify, Reached::Begun | Reached::Broken) => {
                return Err(ReproduceError::NotRemedied {
                    scenario: self.scenario(),
                    cluster: self.cluster(),
                });
            }
            _ => {}
        }
        let timeline = self.place.timeline()?;
        let (standing, trial) = self.stand_again(&session, events, cancel).await?;
        events.send(Event::RunStarted { trials: 1 });
        events.send(Event::TrialStarted {
            trial: trial.id.to_string(),
        });
        let timeline = trial.go_on(&standing.ground, &mut session.kept, timeline, step, cancel).await?;
        let well = session.kept.outcome.remedy.as_ref().is_some_and(|remedy| remedy.healthy);
        session.reached = match step {
            kept::Step::Remedy if well => Reached::Remedied,
            kept::Step::Verify => Reached::Verified,
            _ => session.reached,
        };
        self.place.save_all(&session, timeline, &standing.cluster.kubeconfig)?;
        Ok(session)
    }

    /// Removes what was lit; the cluster as well, where nobody wanted it before and nothing else is lit in it. Tells what is left.
    ///
    /// # Errors
    /// Where nothing is lit; where something is still there afterwards.
    pub async fn clean(&self, events: &Events, cancel: &CancellationToken) -> Result<Cleaned, ReproduceError> {
        let Some(session) = self.place.load()? else {
            return Err(self.not_lit());
        };
        let turn = self.turn()?;
        let state = &self.options.toolchain.state;
        if session.own_cluster && self.place.others().is_empty() {
            cluster::wake_docker(&self.options.toolchain, events, cancel)
                .await
                .map_err(ProvisionError::from)?;
            cluster::down(state, &session.cluster, events).await?;
            drop(turn);
            toolchain::release_docker(&self.options.toolchain, cancel)
                .await
                .map_err(ProvisionError::from)?;
            return Ok(Cleaned::Cluster);
        }
        let (standing, _) = self.stand_again(&session, events, cancel).await?;
        kept::remove(&standing.ground, &session.kept).await?;
        self.place.remove()?;
        drop(turn);
        Ok(Cleaned::Namespace)
    }

    /// The cluster in which it was lit.
    async fn stand_again(
        &self,
        session: &Session,
        events: &Events,
        cancel: &CancellationToken,
    ) -> Result<(Standing, Trial<'_>), ReproduceError> {
        let trial = trial(&self.options).ok_or_else(|| self.not_lit())?;
        let standing = run::stand(&self.options, events, cancel).await?;
        if standing.cluster.run_id == session.run_id {
            return Ok((standing, trial));
        }
        // A new one was made under its name: that is not what was asked for.
        for failure in self.give_up(standing, events).await {
            events.note(failure);
        }
        Err(ReproduceError::Gone {
            scenario: self.scenario(),
            cluster: session.cluster.clone(),
        })
    }

    fn not_lit(&self) -> ReproduceError {
        ReproduceError::NotLit {
            scenario: self.scenario(),
            cluster: self.cluster(),
        }
    }
}

/// What was removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cleaned {
    Cluster,
    Namespace,
}
