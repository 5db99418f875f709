//! One look at a namespace: everything is listed once, in pages, and nothing is followed.
//!
//! It is for clusters that are somebody else's: it only reads, asks a bounded number of things, gives each a bounded time, and notes what it
//! was not told.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::join_all;
use futures::stream::FuturesUnordered;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DynamicObject, ListParams, LogParams};
use kube::core::ObjectList;
use kube::{Client, Error};
use serde_json::Value;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::hosts::{Hosts, Need, Seen};
use super::logs::{self, Container};
use super::lookups::Resolver;
use super::objects::{KINDS, Kind, Refused};
use crate::evidence::model::{Change, Fact, Vantage};
use crate::evidence::recorder::Recorder;
use crate::evidence::wording::{Complaint, complaint};
use crate::wait::{Seen as Said, WaitError, until};

/// How many objects the API is asked for at once.
const PAGE: u32 = 500;
/// How long a page may take, with the further tries where the API is busy.
const PATIENCE: Duration = Duration::from_secs(10);
/// The pause before a further try.
const AGAIN: Duration = Duration::from_millis(500);
/// The most containers whose logs are read, and how many at once.
const LOGS: usize = 100;
const LOGS_AT_ONCE: usize = 16;
/// The last lines that are read of each log, and the most bytes of them.
const LINES: i64 = 400;
const BYTES: i64 = 256 << 10;
/// The most hosts that are looked up, and how long one may take.
const HOSTS: usize = 20;
const RESOLVED: Duration = Duration::from_secs(3);

/// Notes all that is there. What cannot be read is noted as that; once everything was asked for, the kinds that could be read are noted as
/// listed.
pub async fn look(client: &Client, namespace: &str, recorder: &Recorder) {
    // The values of Secrets have to be known before they turn up elsewhere.
    let (learnt, secrets) = watch::channel(false);
    let lists = KINDS.iter().map(|kind| {
        let (learnt, mut secrets) = ((kind.kind == "Secret").then_some(&learnt), secrets.clone());
        async move {
            let mut seen = Vec::new();
            let listed = list(kind, kind.api(client, namespace), &mut async |page: Vec<Value>| {
                if learnt.is_none() {
                    // It ends when the list of Secrets does, in whatever way.
                    let _ = secrets.wait_for(|learnt| *learnt).await;
                }
                if matches!(kind.kind, "ConfigMap" | "Pod") {
                    seen.extend(page.iter().cloned());
                }
                recorder.record_objects(page);
            })
            .await;
            if let Some(learnt) = learnt {
                learnt.send_replace(true);
            }
            let readable = match listed {
                // Of some kinds only a part is asked for.
                Ok(()) => kind.labels().is_none(),
                Err(Refused::Undefined) => false,
                Err(Refused::Unreadable(reason)) => {
                    let what = kind.kind.to_owned();
                    recorder.record(Fact::NotReadable { what, reason });
                    false
                }
            };
            (kind.kind, readable, seen)
        }
    });
    let mut watched = Vec::new();
    let (mut pods, mut config_maps) = (Vec::new(), Vec::new());
    for (kind, readable, seen) in join_all(lists).await {
        if readable {
            watched.push(kind.to_owned());
        }
        match kind {
            "Pod" => pods = seen,
            "ConfigMap" => config_maps = seen,
            _ => {}
        }
    }
    pods.retain(matters);
    // Where there are too many, these come first.
    pods.sort_by_key(|pod| !unwell(pod));
    let (hosts, mut needs) = mpsc::unbounded_channel();
    read_logs(client, namespace, &pods, recorder, &hosts).await;
    let mut known = Hosts::new(hosts);
    for object in config_maps.into_iter().chain(pods) {
        known.see(&Seen {
            change: Change::Applied,
            object,
        });
    }
    drop(known);
    let mut wanted = Vec::new();
    while let Some(need) = needs.recv().await {
        if let Need::Host { host, .. } = need
            && !wanted.contains(&host)
        {
            wanted.push(host);
        }
    }
    look_up(client, namespace, wanted, recorder).await;
    recorder.record(Fact::Listed { kinds: watched });
}

/// Everything of one kind, page by page.
async fn list(kind: &Kind, api: Api<DynamicObject>, found: &mut impl AsyncFnMut(Vec<Value>)) -> Result<(), Refused> {
    let mut parameters = ListParams::default().limit(PAGE);
    if let Some(labels) = kind.labels() {
        parameters = parameters.labels(labels);
    }
    loop {
        let page = page(kind, &api, &parameters).await?;
        let token = page.metadata.continue_.filter(|token| !token.is_empty());
        found(page.items.into_iter().filter_map(|object| kind.whole(object)).collect()).await;
        match token {
            Some(token) => parameters = parameters.continue_token(&token),
            None => return Ok(()),
        }
    }
}

/// One page; where the API is too busy to answer, it is asked again for some time.
async fn page(kind: &Kind, api: &Api<DynamicObject>, parameters: &ListParams) -> Result<ObjectList<DynamicObject>, Refused> {
    let never = CancellationToken::new();
    let asked = until("the list", PATIENCE, AGAIN, &never, || async {
        match api.list(parameters).await {
            Ok(page) => Said::Done(Ok(page)),
            Err(Error::Api(status)) if status.code == 429 || status.code >= 500 => Said::NotYet(status.message.clone()),
            Err(Error::Api(status)) => {
                let refused = kind.refused(&status);
                Said::Done(Err(refused.unwrap_or_else(|| Refused::Unreadable(status.message.clone()))))
            }
            Err(error) => Said::NotYet(error.to_string()),
        }
    });
    asked.await.unwrap_or_else(|error| {
        let last = match error {
            WaitError::Deadline { last, .. } => last,
            WaitError::Interrupted { what } => what,
        };
        let seconds = PATIENCE.as_secs();
        Err(Refused::Unreadable(format!("the API did not list it within {seconds}s: {last}")))
    })
}

/// Whether a pod is one whose logs and hosts may tell something.
pub fn matters(pod: &Value) -> bool {
    unwell(pod) || asks_the_api(pod)
}

/// Whether a pod has not come to where it should be, or was there and fell.
fn unwell(pod: &Value) -> bool {
    let phase = pod.pointer("/status/phase").and_then(Value::as_str).unwrap_or_default();
    let statuses = ["/status/initContainerStatuses", "/status/containerStatuses"];
    let mut statuses = statuses.iter().filter_map(|list| pod.pointer(list)?.as_array()).flatten();
    let job = pod
        .pointer("/metadata/ownerReferences")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .any(|owner| owner["kind"] == "Job");
    match phase {
        "Succeeded" => job,
        "Running" => {
            job || statuses.any(|status| {
                let fell = status["restartCount"].as_u64().unwrap_or(0) > 0;
                let done = status.pointer("/state/terminated/exitCode").and_then(Value::as_i64) == Some(0);
                fell || status["ready"] != Value::Bool(true) && !done
            })
        }
        _ => true,
    }
}

/// Whether a pod runs as an account that somebody has made for it. What it is refused it tells in its log only, and is ready all the same.
fn asks_the_api(pod: &Value) -> bool {
    if pod.pointer("/status/phase").and_then(Value::as_str) != Some("Running") {
        return false;
    }
    let account = pod.pointer("/spec/serviceAccountName").and_then(Value::as_str);
    let told = |pointer: &str| pod.pointer(pointer).and_then(Value::as_bool);
    account.is_some_and(|account| account != "default") && told("/spec/automountServiceAccountToken") != Some(false)
}

/// The ends of the logs of these pods, each container's and its predecessor's.
async fn read_logs(client: &Client, namespace: &str, pods: &[Value], recorder: &Recorder, hosts: &mpsc::UnboundedSender<Need>) {
    let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let mut wanted = Vec::new();
    for container in pods.iter().flat_map(logs::containers) {
        if container.restarted() {
            wanted.push((container.clone(), true));
        }
        if container.has_begun() {
            wanted.push((container, false));
        }
    }
    let over = wanted.len().saturating_sub(LOGS);
    if over > 0 {
        recorder.record(Fact::NotReadable {
            what: format!("logs of {over} containers"),
            reason: format!("no more than {LOGS} are read"),
        });
    }
    let gate = Arc::new(Semaphore::new(LOGS_AT_ONCE));
    let mut reads: FuturesUnordered<_> = wanted
        .into_iter()
        .take(LOGS)
        .map(|(container, previous)| {
            let (api, gate) = (api.clone(), gate.clone());
            async move {
                let _turn = gate.acquire().await;
                (read_log(&api, &container, previous).await, container, previous)
            }
        })
        .collect();
    while let Some((read, container, previous)) = reads.next().await {
        match read {
            Ok(text) => {
                let restart = container.template.restart.saturating_sub(u32::from(previous));
                for line in text.lines().filter_map(|line| logs::line(&container.template, line)) {
                    if let Some(Complaint::Unresolved { host }) = complaint(&line.text)
                        && let Some(need) = Need::host(&host, &line.pod_uid)
                    {
                        let _ = hosts.send(need);
                    }
                    recorder.record(Fact::Log(crate::evidence::LogLine { restart, ..line }));
                }
            }
            // The kubelet removes what a container before this one has left whenever it likes.
            Err(_) if previous => {}
            Err(reason) => recorder.record(Fact::NotReadable {
                what: container.what(),
                reason,
            }),
        }
    }
}

async fn read_log(api: &Api<Pod>, container: &Container, previous: bool) -> Result<String, String> {
    let parameters = LogParams {
        container: Some(container.template.container.clone()),
        previous,
        tail_lines: Some(LINES),
        limit_bytes: Some(BYTES),
        timestamps: true,
        ..LogParams::default()
    };
    match tokio::time::timeout(PATIENCE, api.logs(&container.template.pod, &parameters)).await {
        Ok(Ok(text)) => Ok(text),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("it did not come within {}s", PATIENCE.as_secs())),
    }
}

/// What the cluster's own resolver says of the hosts that pods are told of.
async fn look_up(client: &Client, namespace: &str, mut wanted: Vec<String>, recorder: &Recorder) {
    wanted.truncate(HOSTS);
    if wanted.is_empty() {
        return;
    }
    let resolver = Resolver::new(client.clone(), namespace);
    let asked = wanted.into_iter().map(|host| {
        let resolver = &resolver;
        async move {
            let answer = tokio::time::timeout(RESOLVED, resolver.resolve(&host)).await;
            (host, answer)
        }
    });
    let mut refused = None;
    for (host, answer) in join_all(asked).await {
        match answer {
            Ok(Ok((tried, answer))) => recorder.record(Fact::Lookup {
                host,
                vantage: Vantage::Inside,
                tried,
                answer,
            }),
            Ok(Err(reason)) => refused = Some(reason),
            Err(_) => refused = Some(format!("it did not answer within {}s", RESOLVED.as_secs())),
        }
    }
    if let Some(reason) = refused {
        recorder.record(Fact::NotReadable {
            what: "the cluster's resolver".to_owned(),
            reason,
        });
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(phase: &str, status: Value) -> Value {
        json!({"kind": "Pod", "metadata": {"name": "p"}, "status": {"phase": phase, "containerStatuses": [status]}})
    }

    #[test]
    fn a_pod_that_is_well_has_nothing_to_tell() {
        assert!(!matters(&pod("Running", json!({"ready": true, "restartCount": 0}))));
        assert!(!matters(&pod("Succeeded", json!({"ready": false, "restartCount": 0}))));
        assert!(matters(&pod("Running", json!({"ready": false, "restartCount": 0}))));
        assert!(matters(&pod("Running", json!({"ready": true, "restartCount": 3}))));
        assert!(matters(&pod("Pending", json!({}))));
        assert!(matters(&pod("Failed", json!({"restartCount": 0}))));
        let done = json!({"ready": false, "restartCount": 0, "state": {"terminated": {"exitCode": 0}}});
        assert!(!matters(&pod("Running", done)));
        let mut job = pod("Running", json!({"ready": true, "restartCount": 0}));
        job["metadata"]["ownerReferences"] = json!([{"kind": "Job"}]);
        assert!(matters(&job));
        let mut account = pod("Running", json!({"ready": true, "restartCount": 0}));
        account["spec"] = json!({"serviceAccountName": "default"});
        assert!(!matters(&account));
        account["spec"] = json!({"serviceAccountName": "controller"});
        assert!(matters(&account));
        account["spec"]["automountServiceAccountToken"] = json!(false);
        assert!(!matters(&account));
    }
}
