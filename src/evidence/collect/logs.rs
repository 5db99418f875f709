//! Follows the log of every container from its start.

use std::collections::HashSet;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use futures::{AsyncBufRead, AsyncBufReadExt};
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
use crate::evidence::moment;
use crate::evidence::recorder::Recorder;
use crate::evidence::wording::{Complaint, complaint};

/// The most lines that are kept of one container, and the most bytes of one line.
const LINES: usize = 5_000;
const BYTES: usize = 8 << 10;
/// A line is cut between two words where there is a blank so near to its end: half a credential is not known as one.
const WORD: usize = 1 << 10;

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
        for container in containers(&pod) {
            if container.id.is_empty() || !followed.insert(container.id.clone()) {
                continue;
            }
            let (api, recorder) = (api.clone(), recorder.clone());
            tasks.spawn(follow_container(api, container, recorder, stamps.clone(), hosts.clone()));
        }
        // Those that ended need not be kept.
        while tasks.try_join_next().is_some() {}
    }
}

/// A container of a pod, as its status tells of it.
#[derive(Debug, Clone)]
pub struct Container {
    /// Empty where it has never been made.
    id: String,
    /// Whether one that was made before it has ended.
    ended_before: bool,
    /// What each of its lines has in common.
    pub template: LogLine,
}

impl Container {
    /// Whether it has been made, and so has a log.
    pub fn has_begun(&self) -> bool {
        !self.id.is_empty()
    }

    /// Whether there was one before it, whose log may be there still.
    pub fn restarted(&self) -> bool {
        self.template.restart > 0 && self.ended_before
    }

    /// What it is called where it could not be read.
    pub fn what(&self) -> String {
        format!("log of pod {}, container {}", self.template.pod, self.template.container)
    }
}

/// Every container that a pod reports, the first ones first.
pub fn containers(pod: &Value) -> Vec<Container> {
    let text = |pointer: &str| pod.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (name, uid) = (text("/metadata/name"), text("/metadata/uid"));
    let lists = ["/status/initContainerStatuses", "/status/containerStatuses"];
    let statuses = lists.iter().filter_map(|list| pod.pointer(list)?.as_array()).flatten();
    let container = |status: &Value| {
        let field = |name: &str| status.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let restart = status.get("restartCount").and_then(Value::as_u64);
        Container {
            id: field("containerID"),
            ended_before: status.pointer("/lastState/terminated").is_some(),
            template: LogLine {
                pod: name.clone(),
                pod_uid: uid.clone(),
                container: field("name"),
                restart: restart.and_then(|count| u32::try_from(count).ok()).unwrap_or(0),
                stamp: Timestamp::UNIX_EPOCH,
                text: String::new(),
            },
        }
    };
    statuses.map(container).collect()
}

/// A line as the API gives it, with the kubelet's stamp before it; cut where it is very long.
pub fn line(template: &LogLine, line: &str) -> Option<LogLine> {
    let (stamp, text) = line.split_once(' ')?;
    Some(LogLine {
        stamp: moment::parse(stamp)?,
        text: cut(text, BYTES).trim_end().to_owned(),
        ..template.clone()
    })
}

/// The beginning of a text, up to the end of a word.
pub fn cut(text: &str, most: usize) -> &str {
    if text.len() <= most {
        return text;
    }
    let text = &text[..text.floor_char_boundary(most)];
    match text.rfind(char::is_whitespace) {
        Some(blank) if text.len() - blank <= WORD => &text[..blank],
        _ => text,
    }
}

/// Reads the next line, without its end and no more of it than `most` bytes; whether there was one. What a container prints need not be
/// text, and need not have lines.
///
/// # Errors
/// When the stream breaks off; what there was of the line has been read.
pub async fn next_line(reader: &mut (impl AsyncBufRead + Unpin), most: usize, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    let mut some = false;
    loop {
        let available = reader.fill_buf().await?;
        if available.is_empty() {
            return Ok(some);
        }
        some = true;
        let end = available.iter().position(|byte| *byte == b'\n');
        let part = &available[..end.unwrap_or(available.len())];
        line.extend_from_slice(&part[..part.len().min(most - line.len())]);
        let taken = part.len() + usize::from(end.is_some());
        reader.consume_unpin(taken);
        if end.is_some() {
            return Ok(true);
        }
    }
}

async fn follow_container(api: Api<Pod>, container: Container, recorder: Recorder, stamps: Stamps, hosts: UnboundedSender<Need>) {
    let template = &container.template;
    let parameters = LogParams {
        container: Some(template.container.clone()),
        follow: true,
        timestamps: true,
        ..LogParams::default()
    };
    let mut stream = match api.log_stream(&template.pod, &parameters).await {
        Ok(stream) => Box::pin(stream),
        Err(error) => {
            recorder.record(Fact::NotReadable {
                what: container.what(),
                reason: error.to_string(),
            });
            return;
        }
    };
    let key = (template.pod_uid.clone(), template.container.clone());
    let mut bytes = Vec::new();
    while let Ok(true) = next_line(&mut stream, 2 * BYTES, &mut bytes).await {
        let Some(line) = self::line(template, &String::from_utf8_lossy(&bytes)) else {
            continue;
        };
        {
            let mut stamps = stamps.lock().unwrap_or_else(PoisonError::into_inner);
            let (last, count) = stamps.entry(key.clone()).or_insert((Timestamp::UNIX_EPOCH, 0));
            if line.stamp <= *last {
                continue;
            }
            *last = line.stamp;
            *count += 1;
            if *count > LINES {
                recorder.record(Fact::NotReadable {
                    what: container.what(),
                    reason: format!("it has more than {LINES} lines"),
                });
                return;
            }
        }
        if let Some(Complaint::Unresolved { host }) = complaint(&line.text)
            && let Some(need) = Need::host(&host, &line.pod_uid)
        {
            let _ = hosts.send(need);
        }
        recorder.record(Fact::Log(line));
    }
}

#[cfg(test)]
mod tests {
    use futures::io::Cursor;

    use super::*;

    async fn lines(bytes: &[u8], most: usize) -> Vec<String> {
        let (mut reader, mut line, mut lines) = (Cursor::new(bytes), Vec::new(), Vec::new());
        while next_line(&mut reader, most, &mut line).await.unwrap() {
            lines.push(String::from_utf8_lossy(&line).into_owned());
        }
        lines
    }

    #[tokio::test]
    async fn what_is_printed_need_not_be_text_nor_have_lines() {
        assert_eq!(lines(b"a\n\nb\xff\nc", 10).await, ["a", "", "b\u{fffd}", "c"]);
        let long = [&vec![b'x'; 1 << 20][..], b"\nend"].concat();
        assert_eq!(lines(&long, 100).await, ["x".repeat(100), "end".to_owned()]);
        assert_eq!(lines(b"", 10).await, [""; 0]);
    }

    #[test]
    fn a_long_line_is_cut_between_two_words() {
        assert_eq!(cut("one two three", 9), "one two");
        assert_eq!(cut("one two", 9), "one two");
        let word = "x".repeat(3000);
        assert_eq!(cut(&word, 2048).len(), 2048);
        assert_eq!(cut("a\u{e9}", 2), "a");
    }
}
