//! A small cluster autoscaler for the pool: one lease, one namespace, at most one node.
//!
//! It looks for pods that no node can take, and starts the leased node for those that would run there, after the time that a cloud takes
//! to make a machine. Pods are told what becomes of them by the very events of the real cluster-autoscaler
//! (`processors/status/eventing_scale_up_processor.go` of kubernetes/autoscaler), so that what is learnt from them holds elsewhere.
//!
//! As there, a look that starts a scale-up tells nobody of the others that they did not, a pod that waits for a node on its way is told
//! nothing more, and nobody is told the same twice (the real one: within five minutes).

mod fit;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::{Api, PostParams};
use kube::runtime::reflector::{self, Store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, ResourceExt};
use serde_json::json;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::config::{NODE_LABEL, POOL_LABEL};
use super::pool::{Held, Lease, PoolError, Started};
use crate::wait::pause;
use fit::{Template, is_unschedulable, misfit};

/// Between two looks at the pods; the real one looks every ten seconds (`--scan-interval`), and treats all pods of a look alike.
const SCAN: Duration = Duration::from_millis(500);
/// Who it says it is.
const COMPONENT: &str = "cluster-autoscaler";

/// Why pods did not get their node, or did not learn of it.
#[derive(Debug, thiserror::Error)]
pub enum AutoscalerError {
    #[error(
        "the autoscaler of namespace {namespace} could not record the event {reason} on pod {pod} ({source}): see the API server's answer"
    )]
    Event {
        namespace: String,
        pod: String,
        reason: &'static str,
        source: Box<kube::Error>,
    },
    #[error(transparent)]
    Pool(#[from] PoolError),
    #[error("the autoscaler of namespace {namespace} ended before it was stopped: this is a bug in rekindle, please report it")]
    Died { namespace: String },
}

/// A node that was made for pods.
#[derive(Debug, Clone)]
pub struct ScaleUp {
    pub node: String,
    /// The pods that triggered it.
    pub pods: Vec<String>,
    pub triggered_at: Timestamp,
    /// How the node came up once the provisioning time had passed; nothing while it has not, or was stopped before.
    pub started: Option<Started>,
}

/// An autoscaler at work. Dropped, it stops without being waited for.
pub struct Autoscaler {
    namespace: String,
    cancel: CancellationToken,
    task: Option<JoinHandle<Result<Option<ScaleUp>, AutoscalerError>>>,
}

impl Autoscaler {
    /// Starts it for the pods of one namespace, with the node of one lease as its pool.
    ///
    /// `provisioning` is what the cloud takes: from the event `TriggeredScaleUp` to the start of the node's kubelet.
    pub fn start(client: &Client, namespace: &str, lease: &Lease, provisioning: Duration, cancel: &CancellationToken) -> Self {
        let held = lease.held();
        let scaler = Scaler {
            client: client.clone(),
            namespace: namespace.to_owned(),
            template: Template::of(held.node(), (NODE_LABEL, held.run_id()), (POOL_LABEL, held.name())),
            held,
            provisioning,
            told: HashSet::new(),
        };
        let cancel = cancel.child_token();
        let task = tokio::spawn(scaler.run(cancel.clone()));
        Self {
            namespace: namespace.to_owned(),
            cancel,
            task: Some(task),
        }
    }

    /// Stops it, and returns once it has: what it did, if it had anything to do.
    ///
    /// # Errors
    /// When a node that was triggered did not come up, or pods could not be told.
    pub async fn stop(mut self) -> Result<Option<ScaleUp>, AutoscalerError> {
        self.cancel.cancel();
        let died = AutoscalerError::Died {
            namespace: self.namespace.clone(),
        };
        match self.task.take() {
            Some(task) => task.await.unwrap_or(Err(died)),
            None => Err(died),
        }
    }
}

impl Drop for Autoscaler {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

struct Scaler {
    client: Client,
    namespace: String,
    held: Arc<Held>,
    template: Template,
    provisioning: Duration,
    /// What was said to whom, by UID.
    told: HashSet<(String, String)>,
}

/// What one look at the pods asks for.
#[derive(Debug, Default)]
struct Look {
    /// Pods for which the node would help.
    fitting: Vec<Arc<Pod>>,
    /// Pods for which it would not, and why.
    others: Vec<(Arc<Pod>, &'static str)>,
}

impl Look {
    fn at(pods: Vec<Arc<Pod>>, template: &Template) -> Self {
        let mut look = Self::default();
        for pod in pods.into_iter().filter(|pod| is_unschedulable(pod)) {
            match pod.spec.as_ref().and_then(|spec| misfit(spec, template)) {
                None => look.fitting.push(pod),
                Some(reason) => look.others.push((pod, reason)),
            }
        }
        look.fitting.sort_by_key(|pod| pod.name_any());
        look
    }
}

impl Scaler {
    async fn run(mut self, cancel: CancellationToken) -> Result<Option<ScaleUp>, AutoscalerError> {
        let (pods, writer) = reflector::store::<Pod>();
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        let watching = watcher(api, watcher::Config::default())
            .default_backoff()
            .reflect(writer)
            .for_each(|_| std::future::ready(()));
        let namespace = self.namespace.clone();
        tokio::select! {
            ended = self.scale(&pods, &cancel) => ended,
            () = watching => Err(AutoscalerError::Died { namespace }),
        }
    }

    /// Looks until it is cancelled. What fails is tried again with the next look, and told at the end if it did not succeed by then.
    async fn scale(&mut self, pods: &Store<Pod>, cancel: &CancellationToken) -> Result<Option<ScaleUp>, AutoscalerError> {
        let mut scaled: Option<ScaleUp> = None;
        let mut trouble = Ok(());
        let mut starting: Option<JoinHandle<Result<Started, PoolError>>> = None;
        let mut seen = false;
        loop {
            tokio::select! {
                () = pause(SCAN, cancel) => {}
                started = ended(&mut starting) => {
                    starting = None;
                    if let Some(scaled) = &mut scaled {
                        scaled.started = self.unless_interrupted(started)?;
                    }
                }
            }
            if cancel.is_cancelled() {
                break;
            }
            let look = Look::at(pods.state(), &self.template);
            let wanted = scaled.is_none() && !look.fitting.is_empty() && !self.held.is_up().await;
            // Once more, so that all that one engine applies in a moment trigger it together.
            let settled = std::mem::replace(&mut seen, wanted);
            if !wanted {
                trouble = self.decline(&look.others).await;
            } else if settled {
                trouble = self.trigger(&look.fitting).await;
                if trouble.is_ok() {
                    scaled = Some(ScaleUp {
                        node: self.template.name.clone(),
                        pods: look.fitting.iter().map(|pod| pod.name_any()).collect(),
                        triggered_at: Timestamp::now(),
                        started: None,
                    });
                    starting = Some(tokio::spawn(provision(self.held.clone(), self.provisioning, cancel.clone())));
                }
            }
        }
        if let Some(starting) = starting {
            let started = self.unless_interrupted(starting.await)?;
            if let Some(scaled) = &mut scaled {
                scaled.started = started;
            }
        }
        trouble.map(|()| scaled)
    }

    fn unless_interrupted(
        &self,
        started: Result<Result<Started, PoolError>, tokio::task::JoinError>,
    ) -> Result<Option<Started>, AutoscalerError> {
        match started {
            Ok(Ok(started)) => Ok(Some(started)),
            Ok(Err(error)) if error.interrupted() => Ok(None),
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(AutoscalerError::Died {
                namespace: self.namespace.clone(),
            }),
        }
    }

    async fn trigger(&mut self, pods: &[Arc<Pod>]) -> Result<(), AutoscalerError> {
        let message = format!("pod triggered scale-up: [{{{} 0->1 (max: 1)}}]", self.held.name());
        for pod in pods {
            self.tell(pod, "TriggeredScaleUp", &message).await?;
        }
        Ok(())
    }

    async fn decline(&mut self, pods: &[(Arc<Pod>, &'static str)]) -> Result<(), AutoscalerError> {
        for (pod, reason) in pods {
            self.tell(pod, "NotTriggerScaleUp", &format!("pod didn't trigger scale-up: 1 {reason}"))
                .await?;
        }
        Ok(())
    }

    /// Records an event on a pod, once.
    async fn tell(&mut self, pod: &Pod, reason: &'static str, message: &str) -> Result<(), AutoscalerError> {
        let said = (pod.uid().unwrap_or_default(), message.to_owned());
        if self.told.contains(&said) {
            return Ok(());
        }
        let failed = |source| AutoscalerError::Event {
            namespace: self.namespace.clone(),
            pod: pod.name_any(),
            reason,
            source: Box::new(source),
        };
        let event = event(pod, reason, message, Timestamp::now()).map_err(|source| failed(kube::Error::SerdeError(source)))?;
        let events: Api<Event> = Api::namespaced(self.client.clone(), &self.namespace);
        events.create(&PostParams::default(), &event).await.map_err(failed)?;
        self.told.insert(said);
        Ok(())
    }
}

/// The end of a task that may not have been started.
async fn ended<T>(task: &mut Option<JoinHandle<T>>) -> Result<T, tokio::task::JoinError> {
    match task {
        Some(task) => task.await,
        None => std::future::pending().await,
    }
}

/// What a cloud does: it takes its time, and then there is a machine.
async fn provision(held: Arc<Held>, time: Duration, cancel: CancellationToken) -> Result<Started, PoolError> {
    pause(time, &cancel).await;
    if cancel.is_cancelled() {
        return Err(PoolError::Interrupted {
            what: "provisioning a pool node",
        });
    }
    held.start(&cancel).await
}

/// An event as the real one's recorder writes it, client-go's for `core/v1`.
fn event(pod: &Pod, reason: &str, message: &str, now: Timestamp) -> Result<Event, serde_json::Error> {
    let (name, namespace) = (pod.name_any(), pod.namespace().unwrap_or_default());
    serde_json::from_value(json!({
        "metadata": { "name": format!("{name}.{:x}", now.as_nanosecond()), "namespace": namespace },
        "involvedObject": {
            "apiVersion": "v1",
            "kind": "Pod",
            "name": name,
            "namespace": namespace,
            "uid": pod.uid(),
            "resourceVersion": pod.resource_version(),
        },
        "type": "Normal",
        "reason": reason,
        "message": message,
        "count": 1,
        // The API keeps whole seconds here.
        "firstTimestamp": now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        "lastTimestamp": now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        "source": { "component": COMPONENT },
        "reportingComponent": COMPONENT,
        "reportingInstance": "",
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn template() -> Template {
        Template::of("x-worker", (NODE_LABEL, "aa11"), (POOL_LABEL, "mine"))
    }

    fn pod(name: &str, spec: Value) -> Arc<Pod> {
        let mut pod = json!({
            "metadata": { "name": name, "namespace": "n", "uid": format!("uid-{name}"), "resourceVersion": "7" },
            "status": { "conditions": [{ "type": "PodScheduled", "status": "False", "reason": "Unschedulable" }] },
        });
        pod["spec"] = spec;
        pod["spec"]["containers"] = json!([]);
        Arc::new(serde_json::from_value(pod).unwrap())
    }

    #[test]
    fn a_look_tells_whom_the_node_would_help() {
        let tolerations = json!([{ "key": "rekindle.dev/pool", "operator": "Exists" }]);
        let wanted = |value: &str| json!({ "nodeSelector": { "rekindle.dev/pool": value }, "tolerations": tolerations });
        let mut placed = (*pod("placed", wanted("mine"))).clone();
        placed.status = None;
        let look = Look::at(
            vec![
                pod("b", wanted("mine")),
                pod("a", wanted("mine")),
                pod("other", wanted("theirs")),
                Arc::new(placed),
            ],
            &template(),
        );
        let names: Vec<_> = look.fitting.iter().map(|pod| pod.name_any()).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(look.others.len(), 1);
        assert_eq!(look.others[0].1, "node(s) didn't match Pod's node affinity/selector");
    }

    #[test]
    fn an_event_is_that_of_the_real_one() {
        let now: Timestamp = "2026-01-02T03:04:05.678Z".parse().unwrap();
        let written = serde_json::to_value(event(&pod("a", json!({})), "TriggeredScaleUp", "words", now).unwrap()).unwrap();
        assert_eq!(written["metadata"]["name"], format!("a.{:x}", now.as_nanosecond()));
        assert_eq!(written["firstTimestamp"], "2026-01-02T03:04:05Z");
        assert_eq!(written["involvedObject"]["uid"], "uid-a");
        assert_eq!(written["source"]["component"], "cluster-autoscaler");
        assert_eq!((&written["type"], &written["count"]), (&json!("Normal"), &json!(1)));
    }
}
