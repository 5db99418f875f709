//! One look at a namespace: everything is listed once, in pages, and nothing is followed.
//!
//! It is for clusters that are somebody else's: it only reads, asks a bounded number of things, gives each a bounded time, and notes what it
//! was not told.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use futures::stream::FuturesUnordered;
use futures::{AsyncReadExt, StreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DynamicObject, ListParams, LogParams};
use kube::core::ObjectList;
use kube::{Client, Error, ResourceExt};
use serde_json::Value;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::hosts::{Hosts, Need, Seen};
use super::logs::{self, Container};
use super::lookups::Resolver;
use super::objects::{KINDS, Kind, Refused};
use crate::evidence::model::{Change, Fact, LogLine, Vantage};
use crate::evidence::recorder::Recorder;
use crate::evidence::wording::{Complaint, complaint};
use crate::wait::{Seen as Said, WaitError, pause, until};

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
    let mut first = ListParams::default().limit(PAGE);
    if let Some(labels) = kind.labels() {
        first = first.labels(labels);
    }
    let mut parameters = first.clone();
    let (mut seen, mut again) = (HashSet::new(), false);
    loop {
        let page = match page(kind, &api, &parameters).await? {
            Page::Of(page) => page,
            // The API keeps the state of a list for some minutes. It can say how to go on with the state of now; else all is asked for anew.
            Page::Expired(token) if !again => {
                again = true;
                parameters = token.map_or_else(|| first.clone(), |token| first.clone().continue_token(&token));
                continue;
            }
            Page::Expired(_) => {
                let reason = "the list changed faster than it could be read to its end".to_owned();
                return Err(Refused::Unreadable(reason));
            }
        };
        let token = page.metadata.continue_.filter(|token| !token.is_empty());
        let mut objects = page.items;
        if again || token.is_some() {
            objects.retain(|object| object.uid().is_none_or(|uid| seen.insert(uid)));
        }
        found(objects.into_iter().filter_map(|object| kind.whole(object)).collect()).await;
        match token {
            // One that only leads to itself has no end.
            Some(token) if parameters.continue_token.as_ref() == Some(&token) => {
                return Err(Refused::Unreadable("the API gave the same part of the list again".to_owned()));
            }
            Some(token) => parameters = parameters.continue_token(&token),
            None => return Ok(()),
        }
    }
}

/// What the API gave when it was asked for a part of a list.
enum Page {
    Of(ObjectList<DynamicObject>),
    /// It does not know any more where the part began; where it would go on instead, if it says so.
    Expired(Option<String>),
}

/// One page; where the API is too busy to answer, it is asked again for some time.
async fn page(kind: &Kind, api: &Api<DynamicObject>, parameters: &ListParams) -> Result<Page, Refused> {
    let never = CancellationToken::new();
    let busy = Mutex::new(None);
    let asked = until("the list", PATIENCE, AGAIN, &never, || async {
        match api.list(parameters).await {
            Ok(page) => Said::Done(Ok(Page::Of(page))),
            Err(Error::Api(status)) if status.code == 410 && parameters.continue_token.is_some() => Said::Done(Ok(Page::Expired(
                status.metadata.and_then(|list| list.continue_).filter(|token| !token.is_empty()),
            ))),
            Err(Error::Api(status)) if status.code == 429 || status.code >= 500 => {
                *busy.lock().unwrap_or_else(PoisonError::into_inner) = Some(status.message.clone());
                // It says itself when it wants to be asked again.
                let seconds = status.details.as_ref().map_or(0, |details| details.retry_after_seconds);
                pause(Duration::from_secs(seconds.into()), &never).await;
                Said::NotYet(status.message.clone())
            }
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
        let last = busy.into_inner().unwrap_or_else(PoisonError::into_inner).unwrap_or(last);
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
        let (bytes, broken) = read;
        let restart = container.template.restart.saturating_sub(u32::from(previous));
        let mut lines = Vec::new();
        for line in String::from_utf8_lossy(&bytes).lines() {
            let Some(line) = logs::line(&container.template, line) else {
                continue;
            };
            if let Some(Complaint::Unresolved { host }) = complaint(&line.text)
                && let Some(need) = Need::host(&host, &line.pod_uid)
            {
                let _ = hosts.send(need);
            }
            lines.push(Fact::Log(LogLine { restart, ..line }));
        }
        recorder.record_all(lines);
        // The kubelet removes what a container before this one has left whenever it likes.
        if let Some(reason) = broken.filter(|_| !previous) {
            recorder.record(Fact::NotReadable {
                what: container.what(),
                reason,
            });
        }
    }
}

/// The end of a log, as far as it came, and why it did not come to its end.
async fn read_log(api: &Api<Pod>, container: &Container, previous: bool) -> (Vec<u8>, Option<String>) {
    let parameters = LogParams {
        container: Some(container.template.container.clone()),
        previous,
        tail_lines: Some(LINES),
        limit_bytes: Some(BYTES),
        timestamps: true,
        ..LogParams::default()
    };
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(PATIENCE, read_into(&mut bytes, api, &container.template.pod, &parameters)).await;
    let broken = match read {
        Ok(read) => read.err(),
        Err(_) => Some(format!("it did not come within {}s", PATIENCE.as_secs())),
    };
    (bytes, broken)
}

async fn read_into(bytes: &mut Vec<u8>, api: &Api<Pod>, pod: &str, parameters: &LogParams) -> Result<(), String> {
    let never = CancellationToken::new();
    let stream = loop {
        match api.log_stream(pod, parameters).await {
            Ok(stream) => break stream,
            Err(Error::Api(status)) if status.code == 429 => pause(AGAIN, &never).await,
            Err(error) => return Err(error.to_string()),
        }
    };
    let most = usize::try_from(BYTES).unwrap_or(usize::MAX);
    // A server that does not know the limit would send all there is.
    let mut stream = Box::pin(stream).take(most as u64);
    let read = stream.read_to_end(bytes).await.map(drop);
    if bytes.len() >= most {
        // The last line ends where the limit was, which may be in the middle of a credential.
        let end = bytes.iter().rposition(|byte| *byte == b'\n').filter(|end| *end > 0);
        bytes.truncate(end.unwrap_or(most));
    }
    read.map_err(|error| format!("it broke off: {error}"))
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
