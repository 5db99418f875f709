//! A trial that is left as it is between two steps, which may be those of different processes.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::namespace::TrialNamespace;
use super::outside;
use super::stage::{Opening, Stage, TrialError, random};
use super::{Ground, Place, Trial, broken};
use crate::cluster::PoolError;
use crate::evidence::Timeline;
use crate::outcome::{Outcome, Verdict};

/// What the next step has to know beside the timeline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    pub namespace: String,
    /// Whether it has a machine of the pool.
    pub machine: bool,
    /// The key of the hashes that stand for Secret values in the timeline. It lies beside the cluster's kubeconfig, with which anybody
    /// can read the values themselves.
    key: [u8; 32],
    /// What is known so far; what was not tried yet is absent.
    pub outcome: Outcome,
}

/// A step after the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Say anew what can be said now.
    Diagnose,
    /// Apply the diagnosed remedy.
    Remedy,
    /// Look on for the stability window.
    Verify,
}

impl Kept {
    /// What is known before anything was made.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn begin(trial: &Trial<'_>, ground: &Ground, place: &Place, provision: Duration) -> std::io::Result<Self> {
        Ok(Self {
            namespace: place.namespace.clone(),
            machine: place.lease.is_some(),
            key: random()?,
            outcome: trial.blank(ground, provision),
        })
    }
}

#[cfg(test)]
impl Kept {
    /// For tests that make nothing.
    pub fn of(namespace: &str, outcome: Outcome) -> Self {
        Self {
            namespace: namespace.to_owned(),
            machine: false,
            key: [7; 32],
            outcome,
        }
    }
}

impl Trial<'_> {
    /// Breaks it, diagnoses it, and leaves it like that. The outcome says `pass` where both went as documented.
    ///
    /// # Errors
    /// When it could not be carried out; what was made is then for [`remove`].
    pub async fn light(&self, ground: &Ground, place: Place, kept: &mut Kept, cancel: &CancellationToken) -> Result<Timeline, TrialError> {
        let namespace = TrialNamespace::named(&ground.client, place.namespace);
        let opening = Opening {
            lease: place.lease,
            key: kept.key,
            left: None,
        };
        let stage = Stage::set(self, ground, &namespace, opening, cancel).await?;
        let judged = match broken::break_and_diagnose(&stage, &mut kept.outcome, cancel).await {
            Ok(judged) => judged,
            Err(error) => {
                stage.abandon().await;
                return Err(error);
            }
        };
        (kept.outcome.verdict, kept.outcome.sentence) =
            judged.unwrap_or_else(|| (Verdict::Pass, "broke as documented, and was diagnosed".to_owned()));
        stage.keep().await
    }

    /// Goes on from where another process has left it, and leaves it again. The timeline comes back longer, also where the step failed.
    ///
    /// # Errors
    /// When the step could not be carried out; nothing was taken away then.
    pub async fn go_on(
        &self,
        ground: &Ground,
        kept: &mut Kept,
        timeline: Timeline,
        step: Step,
        cancel: &CancellationToken,
    ) -> Result<Timeline, TrialError> {
        let lease = match kept.machine {
            true => Some(ground.pool.resume(&kept.namespace).await?),
            false => None,
        };
        let namespace = TrialNamespace::named(&ground.client, kept.namespace.clone());
        let opening = Opening {
            lease,
            key: kept.key,
            left: Some(timeline),
        };
        let stage = Stage::set(self, ground, &namespace, opening, cancel).await?;
        stage.catches_up(cancel).await?;
        let outcome = &mut kept.outcome;
        let judged = match step {
            Step::Diagnose => {
                // What is healthy has no cause any more; the one that it had is still what there is to say.
                if !outcome.remedy.as_ref().is_some_and(|remedy| remedy.healthy) {
                    outcome.diagnosis = stage.watch.conclude();
                }
                None
            }
            Step::Remedy => {
                let sentence = "broke as documented, was diagnosed and remedied".to_owned();
                broken::remedy(&stage, outcome, cancel).await?.or(Some((Verdict::Pass, sentence)))
            }
            Step::Verify => Some(broken::verify(&stage, outcome, cancel).await?),
        };
        if let Some(judged) = judged.filter(|_| may_change(outcome.verdict)) {
            (outcome.verdict, outcome.sentence) = judged;
        }
        stage.keep().await
    }
}

/// Whether the remedy and what follows it decide on the verdict: a failure that was not the documented one stays that, however well it can
/// be remedied.
fn may_change(verdict: Verdict) -> bool {
    matches!(verdict, Verdict::Pass | Verdict::NotRemedied | Verdict::Relapsed)
}

/// Removes all that was left standing of a trial, and returns once it is gone.
///
/// # Errors
/// When something is still there at the deadline.
pub async fn remove(ground: &Ground, kept: &Kept) -> Result<(), TrialError> {
    TrialNamespace::named(&ground.client, kept.namespace.clone()).delete(true).await?;
    outside::remove_all(&kept.namespace).await?;
    match ground.pool.resume(&kept.namespace).await {
        // Clean-up is not interrupted: it has a deadline of its own.
        Ok(lease) => lease.give_back(&CancellationToken::new()).await?,
        // It had none, or it was cut off: then the next one that leases the machine puts it back.
        Err(PoolError::Lost { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_remedy_makes_good_what_broke_otherwise() {
        for verdict in [Verdict::Pass, Verdict::NotRemedied, Verdict::Relapsed] {
            assert!(may_change(verdict), "{verdict}");
        }
        for verdict in [
            Verdict::NotReproduced,
            Verdict::WrongFailure,
            Verdict::Undetected,
            Verdict::Misdiagnosed,
        ] {
            assert!(!may_change(verdict), "{verdict}");
        }
    }
}
