//! `make bench`, the part that needs no cluster: how long a recording takes to be diagnosed, and how that grows with its size.
//!
//! 1. From the file to the diagnosis, for each recording in the repository.
//! 2. The same for 1,000, 10,000 and 100,000 objects: what fails in one release, among more and more of others that are well.
//! 3. The same for more and more that fail at once, without a bound: each may be the other's cause.
//! 4. What somebody exported, 100 MB of it.
//!
//! Arguments that name a part (`recordings`, `imports`) choose it; without one, all is measured.
//!
//! Machines are noisy: every line says n and the median.

mod frame;
mod imports;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use frame::{Error, line, median};
use rekindle::diagnosis::detectors::DETECTORS;
use rekindle::evidence::recording::Preamble;
use rekindle::evidence::{Change, EngineStart, Entry, Fact, Header, Recorder, Recording};
use rekindle::replay::Replay;
use rekindle::report;
use serde_json::{Value, json};

/// How often each recording is diagnosed.
const TIMES: usize = 30;
/// How often one of each size is.
const SIZES: [(usize, usize); 3] = [(1_000, 30), (10_000, 9), (100_000, 3)];
/// How many failures at once, each among twenty objects.
const FAULTS: [(usize, usize); 2] = [(30, 9), (300, 3)];
/// Ten times the objects may take so many times as long: memory that is farther away is slower.
const GROWTH: f64 = 14.0;

fn main() -> ExitCode {
    frame::is_rekindle().unwrap_or_else(|| frame::run(measure))
}

fn measure() -> Result<bool, Error> {
    let named = |part: &str| std::env::args().any(|argument| argument == part);
    let mut holds = true;
    if !named("imports") {
        holds &= replays()?;
    }
    if !named("recordings") {
        holds &= imports::measure()?;
    }
    Ok(holds)
}

fn replays() -> Result<bool, Error> {
    let folder = tempfile::tempdir()?;
    let mut holds = true;
    let mut files = recordings()?;
    if files.is_empty() {
        let path = folder.path().join("one.rekindle");
        grown(100, None).write(&path)?;
        files.push(path);
    }
    let (mut medians, mut worst) = (Vec::new(), 0.0_f64);
    for file in &files {
        let mut times = Vec::new();
        for _ in 0..TIMES {
            times.push(timed(|| diagnosed(file))?.0);
        }
        worst = worst.max(median(&mut times));
        medians.push(median(&mut times));
    }
    let measured = format!("{:.1}ms, worst {:.1}ms", median(&mut medians) * 1e3, worst * 1e3);
    holds &= line(
        "a recording, from the file to the diagnosis",
        files.len() * TIMES,
        measured,
        "<= 20ms",
        worst <= 0.02,
    );

    let pair = pair(&files)?;
    let path = folder.path().join("grown.rekindle");
    let sizes = SIZES.into_iter().map(|(objects, times)| (grown(objects, pair.as_ref()), times));
    holds &= grows("objects", &path, Some(GROWTH), sizes)?;
    let faults = FAULTS.into_iter().map(|(faults, times)| (made_up(faults * 20, faults), times));
    holds &= grows("objects, each 20th fails", &path, None, faults)?;
    let peak = report::peak_memory() as f64 / 1e6;
    line("peak memory with 100,000 objects", 1, format!("{peak:.0} MB"), "", true);
    Ok(holds)
}

/// Larger and larger recordings, each diagnosed so many times. What is compared is processor time.
fn grows(what: &str, path: &Path, growth: Option<f64>, recordings: impl IntoIterator<Item = (Recording, usize)>) -> Result<bool, Error> {
    let mut holds = true;
    let mut before: Option<f64> = None;
    for (recording, times) in recordings {
        recording.write(path)?;
        let noted = objects(&recording);
        let (mut whole, mut alone) = (Vec::new(), Vec::new());
        for _ in 0..times {
            alone.push(timed(|| said(&recording))?.1);
        }
        drop(recording);
        for _ in 0..times {
            whole.push(timed(|| diagnosed(path))?.1);
        }
        let (whole, alone) = (median(&mut whole), median(&mut alone));
        let bound = before.zip(growth);
        let measured = format!("{:.0}ms, of it read {:.0}ms", whole * 1e3, (whole - alone) * 1e3);
        holds &= line(
            &format!("{noted} {what}"),
            times,
            measured,
            &bound.map_or_else(String::new, |(before, growth)| format!("<= {growth:.0} x {:.0}ms", before * 1e3)),
            bound.is_none_or(|(before, growth)| whole <= before * growth),
        );
        before = Some(whole);
    }
    Ok(holds)
}

fn objects(recording: &Recording) -> usize {
    recording
        .entries
        .iter()
        .filter(|entry| matches!(entry.fact, Fact::Object { .. }))
        .count()
}

/// Every recording in the repository, sorted.
fn recordings() -> Result<Vec<PathBuf>, Error> {
    let mut files = Vec::new();
    for scenario in std::fs::read_dir("scenarios")? {
        let Ok(folder) = std::fs::read_dir(scenario?.path().join("recordings")) else {
            continue;
        };
        files.extend(folder.filter_map(Result::ok).map(|entry| entry.path()));
    }
    files.sort();
    Ok(files)
}

/// A broken trial and its healthy twin, where there are recordings of both; without machines that come late, whose Nodes, with the names of
/// all images, would be most of what is copied.
fn pair(files: &[PathBuf]) -> Result<Option<(Recording, Recording)>, Error> {
    let mut broken: BTreeMap<String, Recording> = BTreeMap::new();
    for file in files {
        let recording = Recording::read(file)?;
        let Some(trial) = recording.preamble.trial.clone().filter(|_| !starts_nodes(&recording)) else {
            continue;
        };
        if trial.variant == "broken" {
            broken.insert(trial.scenario, recording);
        } else if let Some(broken) = broken.remove(&trial.scenario) {
            return Ok(Some((broken, recording)));
        }
    }
    Ok(None)
}

fn starts_nodes(recording: &Recording) -> bool {
    let scales_up = |entry: &Entry| matches!(&entry.fact, Fact::Object { object, .. } if object["reason"] == "TriggeredScaleUp");
    recording.entries.iter().any(scales_up)
}

/// How long something takes: by the clock, and in processor time, which other programs on the machine have no part in.
fn timed<T>(work: impl FnOnce() -> Result<T, Error>) -> Result<(f64, f64), Error> {
    let (started, before) = (Instant::now(), processor_time()?);
    let done = work()?;
    let (elapsed, used) = (started.elapsed(), processor_time()? - before);
    drop(done);
    Ok((elapsed.as_secs_f64(), used))
}

/// The seconds that this thread has run.
fn processor_time() -> Result<f64, Error> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    Ok(text.split(' ').next().unwrap_or_default().parse::<f64>()? / 1e9)
}

fn diagnosed(file: &Path) -> Result<Recording, Error> {
    let recording = Recording::read(file)?;
    said(&recording)?;
    Ok(recording)
}

fn said(recording: &Recording) -> Result<(), Error> {
    let replay = Replay {
        recording,
        detectors: DETECTORS,
    };
    let diagnosis = replay.diagnosis(replay.prefix(None)?.entries);
    // What was recorded knows what there is to find: nothing in a twin, and nothing where an engine has mended a failure.
    let conclusion = recording.ending.as_ref().and_then(|ending| ending.conclusion.as_ref());
    let fails = match conclusion {
        Some(conclusion) => conclusion.diagnosis["causes"].as_array().is_some_and(|causes| !causes.is_empty()),
        None => recording.preamble.trial.is_none(),
    };
    if diagnosis.causes.is_empty() && fails {
        let trial = recording
            .preamble
            .trial
            .as_ref()
            .map_or("what is made up", |trial| trial.scenario.as_str());
        return Err(format!("among {} objects, what fails was not found: {trial}", objects(recording)).into());
    }
    Ok(())
}

/// A recording with about so many objects: the broken one, and before it copies of the twin; else the same of what is made up here.
fn grown(wanted: usize, pair: Option<&(Recording, Recording)>) -> Recording {
    let Some((broken, twin)) = pair else { return made_up(wanted, 1) };
    let copies = wanted.saturating_sub(objects(broken)) / objects(twin).max(1);
    let begin = broken.header().observed_at;
    let own = names(twin);
    let mut grown = broken.clone();
    let mut entries: Vec<Entry> = Vec::new();
    for copy in 0..copies {
        for entry in &twin.entries {
            let Fact::Object { change, object, writers } = &entry.fact else {
                continue;
            };
            let mut object = Value::clone(object);
            renamed(&mut object, &own, copy);
            let object = Arc::new(object);
            entries.push(Entry {
                at: begin,
                fact: Fact::Object {
                    change: *change,
                    object,
                    writers: writers.clone(),
                },
            });
        }
    }
    let before = entries.len();
    entries.append(&mut grown.entries);
    grown.entries = entries;
    if let Some(conclusion) = grown.ending.as_mut().and_then(|ending| ending.conclusion.as_mut()) {
        conclusion.entries += before;
    }
    grown
}

/// The names and UIDs of the objects of a namespace.
fn names(recording: &Recording) -> Vec<String> {
    let mut names = Vec::new();
    for entry in &recording.entries {
        if let Fact::Object { object, .. } = &entry.fact
            && object.pointer("/metadata/namespace").is_some()
        {
            let metadata = ["/metadata/name", "/metadata/uid"].map(|pointer| object.pointer(pointer).and_then(Value::as_str));
            names.extend(metadata.into_iter().flatten().map(str::to_owned));
        }
    }
    names.sort();
    names.dedup();
    names
}

/// Gives each name its copy's number, wherever it stands.
fn renamed(value: &mut Value, names: &[String], copy: usize) {
    match value {
        Value::String(text) if names.binary_search(text).is_ok() => text.push_str(&format!("-{copy}")),
        Value::Array(items) => items.iter_mut().for_each(|item| renamed(item, names, copy)),
        Value::Object(fields) => fields.values_mut().for_each(|field| renamed(field, names, copy)),
        _ => {}
    }
}

/// Hooks that miss a Secret each, among workloads that are well.
fn made_up(objects: usize, faults: usize) -> Recording {
    let header = Header {
        format: Header::FORMAT,
        recorder: "bench".to_owned(),
        observed_at: jiff::Timestamp::now(),
        namespace: "shop".to_owned(),
        kubernetes_version: "v1.34.4".to_owned(),
        watched: ["Secret", "Service", "Pod"].map(str::to_owned).to_vec(),
        notes: BTreeMap::new(),
    };
    let recorder = Recorder::new(header.clone(), [7; 32]);
    let mut copy = 0;
    while recorder.len() + 10 + 2 * faults <= objects {
        well(&recorder, &format!("app-{copy}"));
        copy += 1;
    }
    recorder.record(Fact::EngineStarted(EngineStart {
        engine: "helm-4".to_owned(),
        version: "v4.3.1".to_owned(),
        operation: "install".to_owned(),
        release: "shop".to_owned(),
        namespace: "shop".to_owned(),
        wait: "watcher".to_owned(),
        wait_for_jobs: true,
        timeout_ms: 20_000,
        kustomization: false,
    }));
    for fault in 0..faults {
        broken(&recorder, &format!("seed-{fault}"));
    }
    recorder.record(Fact::EngineEnded { exit_code: Some(1) });
    Recording {
        preamble: Preamble::new(header),
        entries: recorder.timeline().entries,
        ending: None,
    }
}

fn note(recorder: &Recorder, kind: &str, name: &str, owner: Option<(&str, &str)>, mut rest: Value) {
    let owners: Vec<Value> = owner
        .map(|(kind, name)| json!({"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": uid(kind, name), "controller": true}))
        .into_iter()
        .collect();
    rest["apiVersion"] = json!("v1");
    rest["kind"] = json!(kind);
    rest["metadata"] = json!({
        "name": name, "namespace": "shop", "uid": uid(kind, name), "creationTimestamp": "2026-01-02T03:04:05Z", "generation": 1,
        "labels": {"app.kubernetes.io/name": name, "app.kubernetes.io/managed-by": "Helm", "app": owner.map_or(name, |(_, owner)| owner)},
        "annotations": {"meta.helm.sh/release-name": "shop", "meta.helm.sh/release-namespace": "shop"}, "ownerReferences": owners,
    });
    recorder.record_object(Change::Applied, rest);
}

fn uid(kind: &str, name: &str) -> String {
    format!("{kind}-{name}-3b0f-4a92-9b0f-03ed7a278c9d")
}

fn template(name: &str) -> Value {
    json!({"metadata": {"labels": {"app": name}}, "spec": {"restartPolicy": "Always", "serviceAccountName": "default", "dnsPolicy": "ClusterFirst",
        "containers": [{"name": "main", "image": "registry.invalid/main:1.2.3", "imagePullPolicy": "Never",
            "command": ["sh", "-c", "until curl -sS http://app-0; do echo waiting; sleep 1; done"],
            "env": [{"name": "URL", "value": "http://app-0"}, {"name": "LEVEL", "value": "info"}],
            "ports": [{"containerPort": 8080, "name": "http", "protocol": "TCP"}],
            "readinessProbe": {"httpGet": {"path": "/healthz", "port": "http", "scheme": "HTTP"}, "periodSeconds": 1, "timeoutSeconds": 1},
            "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}}, "terminationMessagePath": "/dev/termination-log"}],
        "tolerations": [{"effect": "NoExecute", "key": "node.kubernetes.io/not-ready", "operator": "Exists", "tolerationSeconds": 300}]}})
}

/// A Deployment with all that belongs to it: ten objects, or versions of them.
fn well(recorder: &Recorder, name: &str) {
    let template = template(name);
    let deployment = |ready: u32| {
        json!({"spec": {"replicas": 1, "selector": {"matchLabels": {"app": name}}, "template": template.clone()},
            "status": {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "availableReplicas": ready, "readyReplicas": ready}})
    };
    let (set, pod) = (format!("{name}-7f9c6d"), format!("{name}-7f9c6d-x2b4k"));
    let state = |ready: &str, state: Value| {
        let mut spec = template.clone();
        spec["status"] = json!({"phase": if ready == "True" { "Running" } else { "Pending" }, "podIP": "10.244.0.7", "qosClass": "Burstable",
            "conditions": [{"type": "PodScheduled", "status": "True"}, {"type": "Ready", "status": ready}],
            "containerStatuses": [{"name": "main", "restartCount": 0, "ready": ready == "True", "state": state, "imageID": "sha256:0123456789abcdef"}]});
        spec
    };
    note(
        recorder,
        "Service",
        name,
        None,
        json!({"spec": {"clusterIP": "10.96.1.2", "selector": {"app": name}, "ports": [{"name": "http", "port": 80}]}}),
    );
    note(recorder, "Deployment", name, None, deployment(0));
    note(recorder, "ReplicaSet", &set, Some(("Deployment", name)), deployment(1));
    note(
        recorder,
        "Pod",
        &pod,
        Some(("ReplicaSet", &set)),
        state("False", json!({"waiting": {"reason": "ContainerCreating"}})),
    );
    let event = |reason: &str| {
        json!({"involvedObject": {"kind": "Pod", "namespace": "shop", "name": pod, "uid": uid("Pod", &pod)}, "reason": reason, "type": "Normal",
            "message": format!("{reason} container main of {pod}"), "count": 1, "source": {"component": "kubelet"}})
    };
    for reason in ["Scheduled", "Unhealthy"] {
        note(recorder, "Event", &format!("{pod}.{reason}"), None, event(reason));
    }
    note(
        recorder,
        "Pod",
        &pod,
        Some(("ReplicaSet", &set)),
        state("True", json!({"running": {"startedAt": "2026-01-02T03:04:06Z"}})),
    );
    note(
        recorder,
        "EndpointSlice",
        &format!("{name}-abcde"),
        Some(("Service", name)),
        json!({"endpoints": [{"addresses": ["10.244.0.7"], "conditions": {"ready": true}}]}),
    );
    note(recorder, "Deployment", name, None, deployment(1));
    note(
        recorder,
        "ConfigMap",
        &format!("{name}-config"),
        None,
        json!({"data": {"settings.yaml": "level: info\nurl: http://app-0\n"}}),
    );
}

/// A Job whose pod waits for a Secret that is not there.
fn broken(recorder: &Recorder, name: &str) {
    let (pod, secret) = (format!("{name}-k8x2p"), format!("{name}-login"));
    let mut template = template(name);
    template["spec"]["containers"][0]["env"] = json!([{"name": "P", "valueFrom": {"secretKeyRef": {"name": secret, "key": "password"}}}]);
    note(
        recorder,
        "Job",
        name,
        None,
        json!({"spec": {"backoffLimit": 6, "template": template.clone()}, "status": {"active": 1}}),
    );
    template["status"] = json!({"phase": "Pending", "containerStatuses": [{"name": "main", "restartCount": 0, "state":
        {"waiting": {"reason": "CreateContainerConfigError", "message": format!("secret \"{secret}\" not found")}}}]});
    note(recorder, "Pod", &pod, Some(("Job", name)), template);
}
