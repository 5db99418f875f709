//! Builds evidence for tests: a scene that is told moment by moment, and the objects that appear in it.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{Detector, Diagnosis, diagnose, diagnose_with};
use crate::command::Stream;
use crate::evidence::{
    Answer, Change, EngineStart, Entry, Evidence, Fact, Header, Hook, LogLine, ReleaseRecord, Timeline, Vantage, writers,
};

/// The namespace of every scene.
pub const NAMESPACE: &str = "shop";
pub const RELEASE: &str = "store";

const KINDS: &[&str] = &[
    "ConfigMap",
    "DaemonSet",
    "Deployment",
    "EndpointSlice",
    "Event",
    "Job",
    "Node",
    "PersistentVolumeClaim",
    "Pod",
    "ReplicaSet",
    "ResourceQuota",
    "Role",
    "RoleBinding",
    "Secret",
    "Service",
    "ServiceAccount",
    "StatefulSet",
    "StorageClass",
];

/// What happens, in its order. Times are milliseconds since the beginning.
pub struct Scene {
    begin: Timestamp,
    now: i64,
    shift: i64,
    entries: Vec<Entry>,
    uids: BTreeMap<String, u32>,
}

impl Scene {
    pub fn new() -> Self {
        Self {
            begin: "2026-01-02T03:04:05Z".parse().expect("a time"),
            now: 0,
            shift: 0,
            entries: Vec::new(),
            uids: BTreeMap::new(),
        }
    }

    /// The moment of what follows.
    pub fn at(&mut self, milliseconds: i64) -> &mut Self {
        let milliseconds = milliseconds + self.shift;
        assert!(milliseconds >= self.now, "time goes on");
        self.now = milliseconds;
        self
    }

    /// Moves all that follows to a later time.
    pub fn later(&mut self, milliseconds: i64) -> &mut Self {
        self.shift += milliseconds;
        self
    }

    pub fn stamp(&self) -> Timestamp {
        self.begin + SignedDuration::from_millis(self.now)
    }

    /// Anything else that is noticed now.
    pub fn push(&mut self, fact: Fact) -> &mut Self {
        let at = self.stamp();
        self.entries.push(Entry { at, fact });
        self
    }

    /// An object as it is from now on. Namespace, UID and creation are filled in where they are not given; `metadata.managedFields` may be
    /// there as the API server writes them.
    pub fn object(&mut self, object: Value) -> &mut Self {
        let mut object = self.filled(object);
        let writers = writers::take(&mut object);
        self.push(Fact::Object {
            change: Change::Applied,
            object: Arc::new(object),
            writers: writers.into(),
        })
    }

    /// An object in the form in which it was last.
    pub fn deleted(&mut self, object: Value) -> &mut Self {
        let mut object = self.filled(object);
        let writers = writers::take(&mut object);
        let kind = object["kind"].as_str().unwrap_or_default().to_owned();
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        *self.uids.entry(format!("{kind}/{name}")).or_default() += 1;
        self.push(Fact::Object {
            change: Change::Deleted,
            object: Arc::new(object),
            writers: writers.into(),
        })
    }

    fn filled(&self, mut object: Value) -> Value {
        let uid = self.uid(
            object["kind"].as_str().unwrap_or_default(),
            object["metadata"]["name"].as_str().unwrap_or_default(),
        );
        let created = self
            .entries
            .iter()
            .find_map(|entry| match &entry.fact {
                Fact::Object { object, .. } if object["metadata"]["uid"] == uid.as_str() => {
                    object["metadata"]["creationTimestamp"].as_str()
                }
                _ => None,
            })
            .map_or_else(|| self.stamp().to_string(), str::to_owned);
        let owners = object["metadata"]["ownerReferences"].as_array_mut();
        for owner in owners.into_iter().flatten() {
            let of = self.uid(
                owner["kind"].as_str().unwrap_or_default(),
                owner["name"].as_str().unwrap_or_default(),
            );
            owner["uid"] = json!(of);
        }
        const CLUSTER_WIDE: &[&str] = &["ClusterRole", "ClusterRoleBinding", "Namespace", "Node", "StorageClass"];
        let cluster_wide = object["kind"].as_str().is_some_and(|kind| CLUSTER_WIDE.contains(&kind));
        let metadata = &mut object["metadata"];
        if metadata["namespace"].is_null() && !cluster_wide {
            metadata["namespace"] = json!(NAMESPACE);
        }
        metadata["uid"] = json!(uid);
        if metadata["creationTimestamp"].is_null() {
            metadata["creationTimestamp"] = json!(created);
        }
        object
    }

    fn uid(&self, kind: &str, name: &str) -> String {
        let key = format!("{kind}/{name}");
        let life = self.uids.get(&key).copied().unwrap_or(0);
        format!("{key}/{life}")
    }

    /// Flux at a Kustomization of the release's name, which gives this much to its wait.
    pub fn kustomization(&mut self, timeout_ms: u64) -> &mut Self {
        self.push(Fact::EngineStarted(EngineStart {
            engine: "flux-2.9".into(),
            version: "v1.9.5".into(),
            operation: "reconciliation".into(),
            release: RELEASE.into(),
            namespace: NAMESPACE.into(),
            wait: "poller".into(),
            wait_for_jobs: true,
            timeout_ms,
            kustomization: true,
        }))
    }

    /// An engine that installs the release and gives this much to each wait.
    pub fn engine(&mut self, timeout_ms: u64, wait: &str) -> &mut Self {
        self.push(Fact::EngineStarted(EngineStart {
            engine: "helm-4".into(),
            version: "v4.3.1".into(),
            operation: "install".into(),
            release: RELEASE.into(),
            namespace: NAMESPACE.into(),
            wait: wait.into(),
            wait_for_jobs: true,
            timeout_ms,
            kustomization: false,
        }))
    }

    pub fn engine_says(&mut self, text: &str) -> &mut Self {
        self.push(Fact::EngineLine {
            stream: Stream::Stderr,
            text: text.into(),
        })
    }

    pub fn engine_ends(&mut self, exit_code: i32) -> &mut Self {
        self.push(Fact::EngineEnded {
            exit_code: Some(exit_code),
        })
    }

    /// A record of the release with these hooks and this manifest.
    pub fn record(&mut self, status: &str, hooks: Vec<Hook>, manifest: Vec<Value>) -> &mut Self {
        let at = self.stamp();
        self.push(Fact::Release(Arc::new(ReleaseRecord {
            name: RELEASE.into(),
            namespace: NAMESPACE.into(),
            revision: 1,
            status: status.into(),
            description: String::new(),
            chart: "store".into(),
            chart_version: "0.1.0".into(),
            first_deployed: Some(at),
            last_deployed: Some(at),
            hooks,
            manifest,
            lookups: Vec::new(),
            sources: std::collections::BTreeMap::new(),
        })))
    }

    /// A hook that the engine has just started.
    pub fn running_hook(&self, job: &Value, event: &str) -> Hook {
        Hook {
            started_at: Some(self.stamp()),
            phase: "Running".into(),
            ..self.hook(job, event)
        }
    }

    /// A hook that has not run.
    pub fn hook(&self, object: &Value, event: &str) -> Hook {
        Hook {
            kind: object["kind"].as_str().unwrap_or_default().into(),
            name: object["metadata"]["name"].as_str().unwrap_or_default().into(),
            events: vec![event.into()],
            weight: 0,
            delete_policies: Vec::new(),
            started_at: None,
            completed_at: None,
            phase: String::new(),
            manifest: object.clone(),
        }
    }

    pub fn log(&mut self, pod: &str, container: &str, text: &str) -> &mut Self {
        self.log_of(pod, container, 0, text)
    }

    /// A line that a container prints after this many restarts.
    pub fn log_of(&mut self, pod: &str, container: &str, restart: u32, text: &str) -> &mut Self {
        let stamp = self.stamp();
        let pod_uid = self.uid("Pod", pod);
        self.push(Fact::Log(LogLine {
            pod: pod.into(),
            pod_uid,
            container: container.into(),
            restart,
            stamp,
            text: text.into(),
        }))
    }

    pub fn lookup(&mut self, host: &str, answer: Answer) -> &mut Self {
        self.push(Fact::Lookup {
            host: host.into(),
            vantage: Vantage::Inside,
            tried: vec![format!("{host}.{NAMESPACE}.svc.cluster.local"), host.into()],
            answer,
        })
    }

    pub fn answers_outside(&mut self, url: &str) -> &mut Self {
        self.push(Fact::Request {
            url: url.into(),
            vantage: Vantage::Outside,
            answer: Answer::Http { status: 200 },
        })
    }

    pub fn remedy(&mut self, kind: &str) -> &mut Self {
        self.push(Fact::RemedyStarted { kind: kind.into() })
    }

    pub fn timeline(&self) -> Timeline {
        Timeline {
            header: Header {
                format: Header::FORMAT,
                recorder: "test".into(),
                observed_at: self.begin,
                namespace: NAMESPACE.into(),
                kubernetes_version: "v1.34.4".into(),
                watched: KINDS.iter().map(|kind| (*kind).to_owned()).collect(),
                notes: BTreeMap::new(),
            },
            entries: self.entries.clone(),
        }
    }

    pub fn evidence(&self) -> Evidence {
        Evidence::of(&self.timeline())
    }

    pub fn diagnosis(&self) -> Diagnosis {
        diagnose(&self.evidence())
    }

    pub fn diagnosis_with(&self, detectors: &[&Detector]) -> Diagnosis {
        diagnose_with(&self.evidence(), detectors)
    }

    /// The diagnosis at every moment, in their order.
    pub fn diagnoses(&self) -> Vec<Diagnosis> {
        let mut evidence = Evidence::new(self.timeline().header);
        self.entries
            .iter()
            .map(|entry| {
                evidence.apply(entry);
                diagnose(&evidence)
            })
            .collect()
    }

    /// Checks that this is the whole diagnosis now, and that once it was right it stayed right. Returns the index of that first moment.
    pub fn settles_on(&self, expected: &[(&str, &str)]) -> usize {
        let expected: Vec<_> = expected
            .iter()
            .map(|(slug, subject)| ((*slug).to_owned(), (*subject).to_owned()))
            .collect();
        let identities: Vec<_> = self.diagnoses().iter().map(Diagnosis::identity).collect();
        assert_eq!(identities.last(), Some(&expected));
        let first = identities.iter().position(|identity| *identity == expected).unwrap_or(0);
        for (index, identity) in identities.iter().enumerate() {
            let before = index < first && identity.iter().all(|cause| expected.contains(cause));
            assert!(before || *identity == expected, "at {index}: {identity:?} after {first}");
        }
        first
    }

    /// Checks that nothing was ever certain.
    pub fn never_certain(&self) {
        for (index, diagnosis) in self.diagnoses().iter().enumerate() {
            assert_eq!(diagnosis.identity(), [], "at {index}");
        }
    }
}

/// A Job with one container of this name, whose specification is the given one.
pub fn job(name: &str, container: Value) -> Value {
    let mut container = container;
    container["name"] = json!(name);
    json!({"kind": "Job", "metadata": {"name": name}, "spec": {"backoffLimit": 6, "template": {"spec": {"containers": [container]}}}, "status": {"active": 1}})
}

/// The same as a hook.
pub fn hook_job(name: &str, event: &str, container: Value) -> Value {
    let mut job = job(name, container);
    job["metadata"]["annotations"] = json!({"helm.sh/hook": event});
    job
}

/// The Job with a condition that is true.
pub fn with_condition(mut object: Value, condition: &str, reason: &str) -> Value {
    object["status"]["conditions"] = json!([{"type": condition, "status": "True", "reason": reason}]);
    object
}

/// A pod of a Job, or of anything that owns pods, with its containers in this state.
pub fn pod_of(owner: &Value, suffix: &str, state: Value) -> Value {
    let name = owner["metadata"]["name"].as_str().unwrap_or_default();
    let spec = owner["spec"]["template"]["spec"].clone();
    let running = state.get("running").is_some();
    let statuses: Vec<_> = spec["containers"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|container| json!({"name": container["name"], "restartCount": 0, "state": state.clone()}))
        .collect();
    json!({
        "kind": "Pod",
        "metadata": {
            "name": format!("{name}-{suffix}"),
            "labels": owner["spec"]["template"]["metadata"]["labels"],
            "ownerReferences": [{"kind": owner["kind"], "name": name}],
        },
        "spec": spec,
        "status": {"phase": if running { "Running" } else { "Pending" }, "containerStatuses": statuses},
    })
}

pub fn running() -> Value {
    json!({"running": {"startedAt": "2026-01-02T03:04:05Z"}})
}

pub fn waiting(reason: &str, message: &str) -> Value {
    json!({"waiting": {"reason": reason, "message": message}})
}

pub fn terminated(exit_code: i32) -> Value {
    json!({"terminated": {"exitCode": exit_code, "reason": if exit_code == 0 { "Completed" } else { "Error" }}})
}

/// The pod with a condition `Ready`.
pub fn as_ready(mut pod: Value) -> Value {
    pod["status"]["conditions"] = json!([{"type": "Ready", "status": "True"}]);
    pod
}

/// The pod after this many restarts, the last end with this exit code.
pub fn restarted(mut pod: Value, times: u32, exit_code: i32) -> Value {
    pod["status"]["containerStatuses"][0]["restartCount"] = json!(times);
    pod["status"]["containerStatuses"][0]["lastState"] = terminated(exit_code);
    pod
}

/// The pod in this phase.
pub fn phase(mut pod: Value, phase: &str) -> Value {
    pod["status"]["phase"] = json!(phase);
    pod
}

/// A Deployment with one replica, and its ReplicaSet.
pub fn deployment(name: &str, container: Value, available: u32) -> (Value, Value) {
    let mut container = container;
    container["name"] = json!(name);
    let template = json!({"metadata": {"labels": {"app": name}}, "spec": {"containers": [container]}});
    let deployment = json!({
        "kind": "Deployment", "metadata": {"name": name, "generation": 1}, "spec": {"replicas": 1, "template": template},
        "status": {"observedGeneration": 1, "updatedReplicas": 1, "availableReplicas": available, "readyReplicas": available},
    });
    let set = json!({
        "kind": "ReplicaSet", "metadata": {"name": format!("{name}-7f9c"), "ownerReferences": [{"kind": "Deployment", "name": name}]},
        "spec": {"replicas": 1, "template": deployment["spec"]["template"]}, "status": {"readyReplicas": available},
    });
    (deployment, set)
}

/// A Service that selects `app: <app>`.
pub fn service(name: &str, app: &str, port: u16) -> Value {
    json!({"kind": "Service", "metadata": {"name": name}, "spec": {"clusterIP": "10.96.4.5", "selector": {"app": app}, "ports": [{"name": "http", "port": port}]}})
}

/// A warning about an object.
pub fn warning(about: &Value, reason: &str, message: &str) -> Value {
    let name = about["metadata"]["name"].as_str().unwrap_or_default();
    json!({
        "kind": "Event", "metadata": {"name": format!("{name}.{reason}")}, "reason": reason, "message": message, "type": "Warning",
        "involvedObject": {"kind": about["kind"], "name": name},
    })
}
