//! A live state in a namespace of its own: applied as somebody would with kubectl, without any engine, and gone afterwards.

use jiff::Timestamp;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::namespace::TrialNamespace;
use super::objects::Objects;
use super::stage::TrialError;
use super::watch::Watch;
use super::{Ground, definitions, key, unique};
use crate::diagnosis::progress::{WORKLOADS, concerns, containers};
use crate::evidence::{Collector, Evidence, Header, Life, Recorder, health};
use crate::scenario::{Condition, Field, State};

/// A state that stands.
pub struct LiveState {
    pub namespace: String,
    settled: Vec<Condition>,
    watch: Watch,
    _collector: Collector,
}

impl LiveState {
    /// What has not come about yet; nothing once the state has settled.
    pub fn unsettled(&self) -> Vec<String> {
        self.watch.read(|evidence, _| unsettled(evidence, &self.settled))
    }
}

impl State {
    /// Sets the state up, has somebody look at it, and leaves its removal to the sweeper whatever comes of it.
    ///
    /// # Errors
    /// When it cannot be set up.
    pub async fn show<T>(
        &self,
        ground: &Ground,
        cancel: &CancellationToken,
        look: impl AsyncFnOnce(&LiveState) -> T,
    ) -> Result<T, TrialError> {
        let namespace = TrialNamespace::named(&ground.client, unique(&format!("state-{}", self.slug))?);
        let seen = match self.set(ground, &namespace, cancel).await {
            Ok(live) => Ok(look(&live).await),
            Err(error) => Err(error),
        };
        let client = ground.client.clone();
        ground.sweeper.sweep(async move {
            let deleted = namespace.delete(true).await.map_err(|error| error.to_string());
            let undefined = definitions::delete(&client, &namespace.name).await;
            deleted.and(undefined.map_err(|error| format!("failed to remove what {} had defined: {error}", namespace.name)))
        });
        seen
    }

    async fn set(&self, ground: &Ground, namespace: &TrialNamespace, cancel: &CancellationToken) -> Result<LiveState, TrialError> {
        namespace.create(&ground.run_id, cancel).await?;
        let header = Header {
            kubernetes_version: ground.kubernetes_version.clone(),
            ..Header::begin(&namespace.name, Timestamp::now())
        };
        let recorder = Recorder::new(header, key()?);
        // Whether it has settled is all that is asked here; the diagnosis is that of the program.
        let watch = Watch::start(recorder.clone(), &[], |_, _| {});
        let collector = Collector::start(&ground.client, &namespace.name, &recorder).await?;
        let objects = Objects {
            client: &ground.client,
            namespace: &namespace.name,
        };
        let images = json!({"tools": ground.tools_image, "standin": ground.standin_image, "named-user": ground.named_user_image});
        let values = json!({"namespace": namespace.name, "images": images});
        objects.apply(&self.file, &values, cancel).await?;
        Ok(LiveState {
            namespace: namespace.name.clone(),
            settled: self.settled.clone(),
            watch,
            _collector: collector,
        })
    }
}

/// Without conditions, everything that runs has to be up.
fn unsettled(evidence: &Evidence, settled: &[Condition]) -> Vec<String> {
    if !settled.is_empty() {
        let open = settled.iter().filter(|condition| !holds(evidence, condition));
        return open.map(ToString::to_string).collect();
    }
    if WORKLOADS.iter().all(|kind| evidence.all(kind).next().is_none()) {
        return vec!["nothing runs".to_owned()];
    }
    health::unhealthy(evidence)
}

fn holds(evidence: &Evidence, condition: &Condition) -> bool {
    let mut named = evidence
        .all_but(&[])
        .filter(|life| life.text("/kind").eq_ignore_ascii_case(&condition.kind) && condition.names(life.name()));
    named.any(|life| is_so(evidence, life, condition))
}

fn is_so(evidence: &Evidence, life: &Life, condition: &Condition) -> bool {
    let value = condition.value.as_str();
    match &condition.field {
        Field::Condition(kind) => life.condition(kind) == value,
        Field::Phase => life.text("/status/phase") == value,
        Field::Waiting => containers(life).any(|container| container.waiting() == value),
        Field::Restarts => value
            .parse()
            .is_ok_and(|least: u32| containers(life).any(|container| container.restarts() >= least)),
        Field::Event => evidence
            .events_about(life)
            .any(|event| event.text("/reason") == value && concerns(event, life)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::diagnosis::fixture::*;

    fn open(scene: &Scene, settled: &[Condition]) -> Vec<String> {
        unsettled(&scene.evidence(), settled)
    }

    fn condition(kind: &str, field: Field, value: &str) -> Condition {
        Condition {
            kind: kind.into(),
            name: "web".into(),
            field,
            value: value.into(),
        }
    }

    #[test]
    fn nothing_and_what_is_not_up_have_not_settled() {
        let mut scene = Scene::new();
        assert_eq!(open(&scene, &[]), ["nothing runs"]);
        scene.object(deployment("web", json!({"image": "a"}), 0).0);
        assert_eq!(open(&scene, &[]), ["Deployment/web has 0 of 1 pods ready"]);
        scene.object(deployment("web", json!({"image": "a"}), 1).0);
        assert_eq!(open(&scene, &[]), [] as [&str; 0]);
    }

    #[test]
    fn each_field() {
        let (_, set) = deployment("web", json!({"image": "a"}), 0);
        let pod = restarted(pod_of(&set, "p", waiting("CrashLoopBackOff", "")), 2, 1);
        let mut scene = Scene::new();
        scene
            .object(set.clone())
            .object(pod.clone())
            .object(warning(&pod, "BackOff", "again"));
        let wanted = [
            condition("pod", Field::Waiting, "CrashLoopBackOff"),
            condition("Pod", Field::Restarts, "2"),
            condition("Pod", Field::Phase, "Pending"),
            condition("Pod", Field::Event, "BackOff"),
        ];
        assert_eq!(open(&scene, &wanted), [] as [&str; 0]);
        let unmet = [
            condition("Pod", Field::Restarts, "3"),
            condition("Pod", Field::Condition("Ready".into()), "True"),
            condition("ReplicaSet", Field::Event, "BackOff"),
        ];
        assert_eq!(open(&scene, &unmet).len(), 3);
        scene.object(as_ready(pod));
        assert_eq!(open(&scene, &unmet[1..2]), [] as [&str; 0]);
    }
}
