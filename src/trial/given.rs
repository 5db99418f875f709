//! What there is before a trial's engine starts, and the same anew; and what a remedy does beside the engine.

use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::objects::Objects;
use super::stage::{LOOK, Stage, TrialError};
use crate::engine::{Ended, Operation, Request, Told, Wait};
use crate::evidence::{Evidence, Life};
use crate::remedy::Deed;
use crate::scenario::{Fate, Given, GivenRelease, Settings};
use crate::wait::{Seen, until};

impl Stage<'_> {
    pub(super) fn before(&self) -> &Given {
        self.trial.scenario.given(self.trial.id.variant)
    }

    fn objects(&self) -> Objects<'_> {
        Objects {
            client: &self.ground.client,
            namespace: &self.namespace.name,
        }
    }

    /// What manifests may name.
    pub(super) fn values(&self) -> Value {
        let mut values = self.overlay();
        values["namespace"] = self.namespace.name.as_str().into();
        values
    }

    /// What others have applied and installed before.
    pub async fn given(&self, cancel: &CancellationToken) -> Result<(), TrialError> {
        for file in &self.before().objects {
            self.objects().apply(&file.value, &self.values(), cancel).await?;
        }
        for release in &self.before().releases {
            self.phase("given", self.engine.title(&self.beside_request(release)), Some(self.pace.timeout));
            self.beside(release, cancel).await?;
        }
        Ok(())
    }

    /// Installs a release that is not the one in question; nobody waits for its resources.
    pub async fn beside(&self, release: &GivenRelease, cancel: &CancellationToken) -> Result<(), TrialError> {
        let request = self.beside_request(release);
        if !release.awaited {
            return Ok(self.engine.hand_over(&request).await?);
        }
        if release.fate == Some(Fate::Killed) {
            return self.killed(request, cancel).await.map(drop);
        }
        let ended = match self.engine.run(&request, None, cancel).await {
            Err(_) if cancel.is_cancelled() => return Err(TrialError::Interrupted),
            ended => ended?,
        };
        if !ended.succeeded() {
            return Err(TrialError::Given {
                release: release.name.clone(),
                words: ended.words,
            });
        }
        match release.fate {
            Some(Fate::Uninstalled) => Ok(self.engine.uninstall_keeping_history(&request, cancel).await?),
            Some(Fate::Removed) => Ok(self.engine.uninstall(&request, cancel).await?),
            Some(Fate::UninstallTimedOut) => self.leave_behind(&request, cancel).await,
            Some(Fate::Killed) | None => Ok(()),
        }
    }

    /// Uninstalls a release of which something does not go.
    async fn leave_behind(&self, request: &Request, cancel: &CancellationToken) -> Result<(), TrialError> {
        // Helm says that its time was over; Flux tries once more, finds no release, and is content.
        let uninstalled = self.engine.uninstall(request, cancel).await;
        if cancel.is_cancelled() {
            return Err(TrialError::Interrupted);
        }
        match (
            self.watch.read(|evidence, _| is_left_behind(evidence, &request.release)),
            uninstalled,
        ) {
            (true, _) => Ok(()),
            (false, Err(error)) => Err(error.into()),
            (false, Ok(())) => Err(TrialError::Given {
                release: request.release.clone(),
                words: "it was uninstalled with all that it had, and something was to be left".to_owned(),
            }),
        }
    }

    /// Runs the engine and kills it as soon as it waits. It is told of in the evidence, because who looked on knows that it is dead.
    async fn killed(&self, request: Request, cancel: &CancellationToken) -> Result<Ended, TrialError> {
        let kill = CancellationToken::new();
        let request = Request {
            kill: Some(kill.clone()),
            ..request
        };
        let what = format!("the engine of {} to wait", request.release);
        let look = || async {
            match self.watch.read(|evidence, _| waits_for_pods(evidence)) {
                true => Seen::Done(()),
                false => Seen::NotYet("it waits for nothing".to_owned()),
            }
        };
        let waits = async {
            let waits = until(&what, self.pace.timeout, LOOK, cancel, look).await;
            kill.cancel();
            waits
        };
        let (ended, waits) = tokio::join!(self.engine.run(&request, Some(&self.recorder), cancel), waits);
        match ended {
            Err(_) if cancel.is_cancelled() => Err(TrialError::Interrupted),
            Err(error) => Err(error.into()),
            // Whether it was killed too late, its record tells whoever comes next.
            Ok(ended) => waits.map(|()| ended).map_err(|wait| TrialError::Given {
                release: request.release.clone(),
                words: wait.to_string(),
            }),
        }
    }

    pub fn beside_request(&self, release: &GivenRelease) -> Request {
        let settings = Settings {
            values: release.values.as_ref().map(|values| values.value.clone()),
            spec: release.spec.clone(),
        };
        let earlier = self.before().releases.iter().take_while(|known| !std::ptr::eq(*known, release));
        let held = Given::holds(earlier.collect::<Vec<_>>().into_iter(), &release.name);
        let not_awaited = !release.awaited || release.fate == Some(Fate::Killed);
        Request {
            operation: if held { Operation::Upgrade } else { Operation::Install },
            release: release.name.clone(),
            content: release.content(),
            // Who is not awaited does as it always does.
            told: Told {
                wait: (!not_awaited).then_some(Wait::HookOnly),
                ..Told::default()
            },
            ..self.install(&settings)
        }
    }

    /// Takes away what was installed, and sets up what was given, as if nothing had been tried yet.
    pub async fn start_anew(&self, request: &Request, cancel: &CancellationToken) -> Result<(), TrialError> {
        self.engine.uninstall(request, cancel).await?;
        for release in &self.before().releases {
            self.engine.uninstall(&self.beside_request(release), cancel).await?;
        }
        if let Some(machine) = &self.machine {
            machine.cool().await?;
        }
        self.given(cancel).await
    }

    /// The same, as commands that a person would type: what was given goes and comes again.
    pub fn anew_commands(&self) -> Vec<String> {
        let requests: Vec<_> = self.before().releases.iter().map(|release| self.beside_request(release)).collect();
        let go = requests.iter().map(|request| self.engine.display_uninstall(request));
        go.chain(requests.iter().map(|request| self.engine.display(request))).collect()
    }

    /// Does one thing of a remedy.
    pub async fn carry_out(&self, deed: &Deed, cancel: &CancellationToken) -> Result<(), TrialError> {
        match deed {
            Deed::CreateSecret { name, literals } => Ok(self.namespace.create_secret(name, literals).await?),
            Deed::CreateConfigMap { name, literals } => Ok(self.namespace.create_config_map(name, literals).await?),
            Deed::Install(release) => self.beside(release, cancel).await,
            Deed::Apply(file) => Ok(self.objects().apply(file, &self.values(), cancel).await?),
            Deed::Patch { object, patch } => Ok(self.objects().patch(object, patch).await?),
            Deed::Delete(object) => Ok(self.objects().delete(object, cancel).await?),
            Deed::Rollback(revision) => {
                let request = self.install(&self.trial.scenario.broken);
                Ok(self.engine.rollback(&request, revision, cancel).await?)
            }
        }
    }

    /// The same as a person would type it.
    pub fn display_deed(&self, deed: &Deed) -> String {
        match deed {
            Deed::Install(release) => self.engine.display(&self.beside_request(release)),
            Deed::Rollback(revision) => {
                let request = self.install(&self.trial.scenario.broken);
                self.engine.display_rollback(&request, revision)
            }
            deed => deed.command(&self.namespace.name).unwrap_or_default(),
        }
    }
}

/// Whether something of a release was deleted and is there still.
fn is_left_behind(evidence: &Evidence, release: &str) -> bool {
    let of_release = |life: &Life| life.annotation("meta.helm.sh/release-name") == Some(release);
    let goes = |life: &Life| life.time("/metadata/deletionTimestamp").is_some();
    evidence.all_but(&[]).any(|life| of_release(life) && goes(life))
}

/// Whether the engine has written down what it is about to do, and a pod that came of it is not ready.
fn waits_for_pods(evidence: &Evidence) -> bool {
    evidence.engine().filter(|engine| engine.running()).is_some_and(|engine| {
        let pending = evidence
            .release(&engine.start.release)
            .is_some_and(|record| record.status.starts_with("pending-"));
        let new = |pod: &Life| pod.first_seen() >= engine.started_at && pod.condition("Ready") != "True";
        pending && evidence.all("Pod").any(new)
    })
}
