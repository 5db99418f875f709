//! Follows the log of every container from its start.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use futures::{AsyncBufReadExt, StreamExt};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::api::LogParams;
use kube::{Api, Client};
use serde_json::Value;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::task::JoinSet;

use super::before::Printed;
use super::hosts::{Hosts, Need, Seen};
use crate::evidence::model::{Change, Fact, LogLine};
use crate::evidence::recorder::Recorder;
use crate::evidence::wording::{Complaint, complaint};

/// The most lines that are kept of one container, and the most bytes of one line.
const LINES: usize = 5_000;
const BYTES: usize = 8 << 10;

/// The latest stamp of each container whose lines were noted: two follows of the same container may overlap at a restart.
type Stamps = Arc<Mutex<Printed>>;

/// Starts to follow each container that a pod reports, until the collector ends. Hosts that pods are told of, in ConfigMaps too, or
/// complain about, are passed on.
pub async fn follow(
    client: Client,
    namespace: String,
    recorder: Recorder,
    printed: Printed,
    mut seen: UnboundedReceiver<Seen>,
    hosts: UnboundedSender<Need>,
) {
    let api: Api<Pod> = Api::namespaced(client, &namespace);
    let mut followed = HashSet::new();
    let stamps = Stamps::new(Mutex::new(printed));
    let mut tasks = JoinSet::new();
    let mut known = Hosts::new(hosts.clone());
    while let Some(seen) = seen.recv().await {
        known.see(&seen);
        let Seen { change, object: pod } = seen;
        if change == Change::Deleted || pod.pointer("/kind").and_then(Value::as_str) != Some("Pod") {
            continue;
        }
        let text = |pointer: &str| pod.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (name, uid) = (text("/metadata/name"), text("/metadata/uid"));
        for list in ["/status/initContainerStatuses", "/status/containerStatuses"] {
            for status in pod.pointer(list).and_then(Value::as_array).into_iter().flatten() {
                let field = |name: &str| status.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
                let id = field("containerID");
                if id.is_empty() || !followed.insert(id) {
                    continue;
                }
                let restart = status
                    .get("restartCount")
                    .and_then(Value::as_u64)
                    .and_then(|count| u32::try_from(count).ok())
                    .unwrap_or(0);
                let line = LogLine {
                    pod: name.clone(),
                    pod_uid: uid.clone(),
                    container: field("name"),
                    restart,
                    stamp: Timestamp::UNIX_EPOCH,
                    text: String::new(),
                };
                tasks.spawn(follow_container(api.clone(), line, recorder.clone(), stamps.clone(), hosts.clone()));
            }
        }
        // Those that ended need not be kept.
        while tasks.try_join_next().is_some() {}
    }
}

async fn follow_container(api: Api<Pod>, template: LogLine, recorder: Recorder, stamps: Stamps, hosts: UnboundedSender<Need>) {
    let parameters = LogParams {
        container: Some(template.container.clone()),
        follow: true,
        timestamps: true,
        ..LogParams::default()
    };
    let what = || format!("log of pod {}, container {}", template.pod, template.container);
    let mut lines = match api.log_stream(&template.pod, &parameters).await {
        Ok(stream) => stream.lines(),
        Err(error) => {
            recorder.record(Fact::NotReadable {
                what: what(),
                reason: error.to_string(),
            });
            return;
        }
    };
    let key = (template.pod_uid.clone(), template.container.clone());
    while let Some(Ok(line)) = lines.next().await {
        let Some((stamp, text)) = line.split_once(' ') else { continue };
        let Ok(stamp) = stamp.parse::<Timestamp>() else { continue };
        {
            let mut stamps = stamps.lock().unwrap_or_else(PoisonError::into_inner);
            let (last, count) = stamps.entry(key.clone()).or_insert((Timestamp::UNIX_EPOCH, 0));
            if stamp <= *last {
                continue;
            }
            *last = stamp;
            *count += 1;
            if *count > LINES {
                recorder.record(Fact::NotReadable {
                    what: what(),
                    reason: format!("it has more than {LINES} lines"),
                });
                return;
            }
        }
        let end = (0..=BYTES.min(text.len()))
            .rev()
            .find(|end| text.is_char_boundary(*end))
            .unwrap_or(0);
        let text = text[..end].trim_end().to_owned();
        if let Some(Complaint::Unresolved { host }) = complaint(&text)
            && let Some(need) = Need::host(&host, &template.pod_uid)
        {
            let _ = hosts.send(need);
        }
        recorder.record(Fact::Log(LogLine {
            stamp,
            text,
            ..template.clone()
        }));
    }
}
