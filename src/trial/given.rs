//! What there is before a trial's engine starts, and the same anew; and what a remedy does beside the engine.

use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::objects::Objects;
use super::stage::{Stage, TrialError};
use crate::engine::{Request, Told, Wait};
use crate::remedy::Deed;
use crate::scenario::{Given, GivenRelease, Settings};

impl Stage<'_> {
    fn before(&self) -> &Given {
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
            self.objects().apply(&file.value, &self.values()).await?;
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
        let ended = match self.engine.run(&request, None, cancel).await {
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
        let settings = Settings {
            values: release.values.as_ref().map(|values| values.value.clone()),
            spec: release.spec.clone(),
        };
        Request {
            release: release.name.clone(),
            content: release.content(),
            // Who is not awaited does as it always does.
            told: Told {
                wait: release.awaited.then_some(Wait::HookOnly),
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
            Deed::Apply(file) => Ok(self.objects().apply(file, &self.values()).await?),
            Deed::Patch { object, patch } => Ok(self.objects().patch(object, patch).await?),
            Deed::Delete(object) => Ok(self.objects().delete(object, cancel).await?),
        }
    }

    /// The same as a person would type it.
    pub fn display_deed(&self, deed: &Deed) -> String {
        match deed {
            Deed::Install(release) => self.engine.display(&self.beside_request(release)),
            deed => deed.command(&self.namespace.name).unwrap_or_default(),
        }
    }
}
