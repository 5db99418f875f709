//! What others have installed before: the releases that a scenario finds in its namespace.

use tokio_util::sync::CancellationToken;

use super::stage::{Stage, TrialError};
use crate::engine::{Request, Told, Wait};
use crate::scenario::GivenRelease;

impl Stage<'_> {
    /// What others have installed before.
    pub async fn given(&self, cancel: &CancellationToken) -> Result<(), TrialError> {
        for release in &self.trial.scenario.releases {
            self.phase("given", self.engine.title(&self.beside_request(release)), Some(self.pace.timeout));
            self.beside(release, cancel).await?;
        }
        Ok(())
    }

    /// Installs a release that is not the one in question; nobody waits for its resources.
    pub async fn beside(&self, release: &GivenRelease, cancel: &CancellationToken) -> Result<(), TrialError> {
        let ended = match self.engine.run(&self.beside_request(release), None, cancel).await {
            Err(_) if cancel.is_cancelled() => return Err(TrialError::Interrupted),
            ended => ended?,
        };
        if ended.succeeded() {
            return Ok(());
        }
        Err(TrialError::Given {
            release: release.name.clone(),
            words: ended.words,
        })
    }

    pub fn beside_request(&self, release: &GivenRelease) -> Request {
        Request {
            release: release.name.clone(),
            chart: release.chart.value.clone(),
            told: Told {
                wait: Some(Wait::HookOnly),
                ..Told::default()
            },
            ..self.install(None)
        }
    }

    /// Takes away what was installed, and sets up what was given, as if nothing had been tried yet.
    pub async fn start_anew(&self, request: &Request, cancel: &CancellationToken) -> Result<(), TrialError> {
        self.engine.uninstall(request, cancel).await?;
        for release in &self.trial.scenario.releases {
            self.engine.uninstall(&self.beside_request(release), cancel).await?;
        }
        if let Some(machine) = &self.machine {
            machine.cool().await?;
        }
        self.given(cancel).await
    }

    /// The same, as commands that a person would type: what was given goes and comes again.
    pub fn anew_commands(&self) -> Vec<String> {
        let requests: Vec<_> = self
            .trial
            .scenario
            .releases
            .iter()
            .map(|release| self.beside_request(release))
            .collect();
        let go = requests.iter().map(|request| self.engine.display_uninstall(request));
        go.chain(requests.iter().map(|request| self.engine.display(request))).collect()
    }
}
