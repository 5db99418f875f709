//! Somebody who looks at what a trial has broken, before its remedy: what the cluster is like on the day something breaks.

use std::path::Path;

use futures::future::BoxFuture;

use super::stage::Stage;
use crate::diagnosis::Diagnosis;
use crate::engine::Engine;
use crate::look::Subject;
use crate::outcome::{ExpectedCause, TrialId};
use crate::scenario::Content;

/// What has broken, and has been diagnosed as expected.
#[derive(Debug, Clone)]
pub struct Broken<'a> {
    pub trial: &'a TrialId,
    pub kubeconfig: &'a Path,
    pub namespace: &'a str,
    /// What the engine was to bring.
    pub subject: Subject,
    /// The causes that the scenario expects.
    pub causes: &'a [ExpectedCause],
    /// What was said by whoever had watched from the beginning.
    pub diagnosis: &'a Diagnosis,
}

/// Who looks. The trial waits meanwhile; it does not depend on what is seen.
pub trait Onlooker: std::fmt::Debug + Send + Sync {
    fn look<'a>(&'a self, broken: Broken<'a>) -> BoxFuture<'a, ()>;
}

/// Has the onlooker look, where there is one.
pub(super) async fn look_on(stage: &Stage<'_>, diagnosis: &Diagnosis) {
    let Some(onlooker) = stage.trial.onlooker else { return };
    let scenario = stage.trial.scenario;
    let release = scenario.release.clone();
    let subject = match (&stage.engine, &scenario.content) {
        (Engine::Helm(_), _) => Subject::Release(release),
        (Engine::Flux(_), Content::Chart(_)) => Subject::HelmRelease(release),
        (Engine::Flux(_), Content::Manifests(_)) => Subject::Kustomization(release),
    };
    let broken = Broken {
        trial: &stage.trial.id,
        kubeconfig: &stage.ground.kubeconfig,
        namespace: &stage.namespace.name,
        subject,
        causes: &scenario.causes,
        diagnosis,
    };
    onlooker.look(broken).await;
}
