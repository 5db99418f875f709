//! What has to be known of pods to read their logs.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use serde_json::Value;

use super::logs::Tail;
use crate::evidence::collect::matters;
use crate::evidence::manifest::{list, text};
use crate::evidence::moment;

/// The pods that were found.
#[derive(Debug, Default)]
pub struct Pods {
    /// By namespace and name.
    pods: BTreeMap<(String, String), Pod>,
    /// By UID.
    pub namespaces: HashMap<String, String>,
}

#[derive(Debug)]
pub struct Pod {
    pub uid: String,
    /// Its logs are read.
    pub matters: bool,
    /// Of a pod that matters.
    pub containers: Vec<Container>,
}

#[derive(Debug)]
pub struct Container {
    pub name: String,
    pub restarts: u32,
    /// When this one ended, and the one before it.
    pub ended: [Option<Timestamp>; 2],
}

impl Pods {
    /// Takes in how a pod looks.
    pub fn add(&mut self, namespace: &str, name: &str, pod: &Value) {
        // Pods of the control plane have no UID in some exports.
        let uid = text(pod, "/metadata/uid").to_owned();
        self.namespaces.insert(uid.clone(), namespace.to_owned());
        let matters = matters(pod);
        let pod = Pod {
            uid,
            matters,
            containers: statuses(pod).filter(|_| matters).map(container).collect(),
        };
        self.pods.insert((namespace.to_owned(), name.to_owned()), pod);
    }

    /// The pod of a log, with its name's exact spelling.
    pub fn pod(&self, log: &Tail) -> Option<(&str, &Pod)> {
        if let Some(namespace) = &log.place.namespace {
            let key = (namespace.clone(), log.place.pod.clone());
            return self.pods.get_key_value(&key).map(|((_, name), pod)| (name.as_str(), pod));
        }
        let mut named = self.pods.iter().filter(|((_, name), _)| *name == log.place.pod);
        let (key, pod) = named.next()?;
        named.next().is_none().then_some((key.1.as_str(), pod))
    }
}

fn statuses(pod: &Value) -> impl Iterator<Item = &Value> {
    let status = pod.get("status").unwrap_or(&Value::Null);
    list(status, "initContainerStatuses")
        .iter()
        .chain(list(status, "containerStatuses"))
}

fn container(status: &Value) -> Container {
    let restarts = status.get("restartCount").and_then(Value::as_u64);
    let ended = |pointer| moment::parse(text(status, pointer));
    Container {
        name: text(status, "/name").to_owned(),
        restarts: restarts.and_then(|count| u32::try_from(count).ok()).unwrap_or(0),
        ended: [ended("/state/terminated/finishedAt"), ended("/lastState/terminated/finishedAt")],
    }
}
