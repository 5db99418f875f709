//! What a look finds, an export of the same state finds as well, or something on the way to it, and says what it lacks. It never finds
//! anything else.
//!
//! The state is the one that each broken scenario's recording had come to when its run took its diagnosis; it is written down as each tool
//! would have exported it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rekindle::diagnosis::{Diagnosis, diagnose};
use rekindle::evidence::{Evidence, Fact, Recording, ReleaseRecord, Timeline, left};
use rekindle::import::{self, Format, Options};
use serde_json::{Value, json};

/// Kind, plural, and the group's folder in a must-gather.
const KINDS: &[(&str, &str, &str)] = &[
    ("Secret", "secrets", "core"),
    ("ConfigMap", "configmaps", "core"),
    ("Event", "events", "core"),
    ("PersistentVolumeClaim", "persistentvolumeclaims", "core"),
    ("Pod", "pods", "core"),
    ("Service", "services", "core"),
    ("DaemonSet", "daemonsets", "apps"),
    ("Deployment", "deployments", "apps"),
    ("ReplicaSet", "replicasets", "apps"),
    ("StatefulSet", "statefulsets", "apps"),
    ("CronJob", "cronjobs", "batch"),
    ("Job", "jobs", "batch"),
    ("EndpointSlice", "endpointslices", "discovery.k8s.io"),
    ("HelmRelease", "helmreleases", "helm.toolkit.fluxcd.io"),
    ("Kustomization", "kustomizations", "kustomize.toolkit.fluxcd.io"),
];

struct State {
    namespace: String,
    evidence: Evidence,
}

impl State {
    /// What was there when the run took its diagnosis.
    fn of(recording: &Recording) -> Option<Self> {
        let conclusion = recording.ending.as_ref()?.conclusion.as_ref()?;
        let header = recording.header().clone();
        let entries = recording.entries[..conclusion.entries].to_vec();
        let mut timeline = left(&Evidence::of(&Timeline { header, entries }));
        // An export cannot be asked for names.
        timeline
            .entries
            .retain(|entry| !matches!(entry.fact, Fact::Lookup { .. } | Fact::Request { .. }));
        Some(Self {
            namespace: timeline.header.namespace.clone(),
            evidence: Evidence::of(&timeline),
        })
    }

    fn objects(&self, kind: &str) -> Vec<Value> {
        let lives = self.evidence.all(kind);
        let mut objects: Vec<Value> = lives.map(|life| life.object().clone()).collect();
        if kind == "Secret" {
            let records: BTreeMap<String, &ReleaseRecord> = self
                .evidence
                .releases
                .values()
                .map(|(_, record)| (record.storage(), record.as_ref()))
                .collect();
            for secret in &mut objects {
                let name = secret["metadata"]["name"].as_str().unwrap_or_default();
                if let Some(record) = records.get(name) {
                    secret["data"]["release"] = Value::from(storage(record));
                }
            }
        }
        objects
    }

    fn list(&self, kind: &str) -> String {
        let objects = self.objects(kind);
        let version = objects.first().map_or(json!("v1"), |object| object["apiVersion"].clone());
        let version = match (kind, version) {
            (_, version) if !objects.is_empty() => version,
            ("Job" | "CronJob", _) => json!("batch/v1"),
            ("Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet", _) => json!("apps/v1"),
            (_, version) => version,
        };
        json!({"kind": format!("{kind}List"), "apiVersion": version, "items": objects}).to_string()
    }

    fn logs(&self) -> Vec<Log> {
        let mut logs = Vec::new();
        for pod in self.evidence.all("Pod") {
            for (container, log) in self.evidence.logs_of(pod.uid()) {
                let newest = log.lines.last().map_or(0, |line| line.line.restart);
                for previous in [true, false] {
                    let lines = log.lines.iter().filter(|line| (line.line.restart < newest) == previous);
                    let stamp = |stamp: jiff::Timestamp| format!("{stamp:.9}");
                    let lines: Vec<_> = lines.map(|line| (stamp(line.line.stamp), line.line.text.clone())).collect();
                    if !lines.is_empty() {
                        logs.push(Log {
                            pod: pod.name().to_owned(),
                            container: container.to_owned(),
                            previous,
                            lines,
                        });
                    }
                }
            }
        }
        logs
    }
}

struct Log {
    pod: String,
    container: String,
    /// It is of the container before the last restart.
    previous: bool,
    /// With their stamps.
    lines: Vec<(String, String)>,
}

/// A release record as Helm keeps it.
fn storage(record: &ReleaseRecord) -> String {
    let documents: String = record.manifest.iter().map(|object| format!("---\n{object}\n")).collect();
    let hooks: Vec<Value> = record
        .hooks
        .iter()
        .map(|hook| {
            json!({"name": hook.name, "kind": hook.kind, "manifest": hook.manifest.to_string(), "events": hook.events, "weight": hook.weight,
                "delete_policies": hook.delete_policies, "last_run": {"started_at": hook.started_at.map(|at| at.to_string()).unwrap_or_default(),
                "completed_at": hook.completed_at.map(|at| at.to_string()).unwrap_or_default(), "phase": hook.phase}})
        })
        .collect();
    let templates: Vec<Value> = record
        .lookups
        .iter()
        .map(|lookup| {
            let asked = format!("lookup \"v1\" {:?} {:?} {:?}", lookup.kind, lookup.namespace, lookup.name);
            let names: String = lookup
                .names
                .iter()
                .map(|name| format!("---\nkind: Secret\nmetadata:\n  name: {name}\n"))
                .collect();
            json!({"name": lookup.template, "data": STANDARD.encode(format!("{{{{- if {asked} }}}}\n{names}{{{{- end }}}}\n"))})
        })
        .collect();
    let time = |at: Option<jiff::Timestamp>| at.map(|at| at.to_string()).unwrap_or_default();
    let raw = json!({"name": record.name, "namespace": record.namespace, "version": record.revision, "manifest": documents, "hooks": hooks,
        "info": {"status": record.status, "description": record.description, "first_deployed": time(record.first_deployed), "last_deployed": time(record.last_deployed)},
        "chart": {"metadata": {"name": record.chart, "version": record.chart_version}, "templates": templates}});
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(raw.to_string().as_bytes()).expect("it is written to memory");
    STANDARD.encode(STANDARD.encode(gzip.finish().expect("it is written to memory")))
}

type Files = Vec<(String, String)>;

struct Tool {
    format: &'static str,
    write: fn(&State) -> Files,
}

const TOOLS: &[Tool] = &[
    Tool {
        format: "kubectl get",
        write: kubectl_get,
    },
    Tool {
        format: "cluster-info dump",
        write: cluster_dump,
    },
    Tool {
        format: "must-gather",
        write: must_gather,
    },
    Tool {
        format: "support bundle",
        write: support_bundle,
    },
];

fn text(lines: &[(String, String)], stamped: bool) -> String {
    let line = |(stamp, text): &(String, String)| {
        if stamped {
            format!("{stamp} {text}\n")
        } else {
            format!("{text}\n")
        }
    };
    lines.iter().map(line).collect()
}

fn kubectl_get(state: &State) -> Files {
    let kinds = KINDS.iter().flat_map(|(kind, ..)| state.objects(kind)).chain(state.objects("Node"));
    let list = json!({"apiVersion": "v1", "kind": "List", "items": kinds.collect::<Vec<_>>()});
    vec![("all.json".to_owned(), list.to_string())]
}

fn cluster_dump(state: &State) -> Files {
    let namespace = &state.namespace;
    let mut files = vec![("nodes.json".to_owned(), state.list("Node"))];
    for kind in ["Event", "Service", "DaemonSet", "Deployment", "ReplicaSet", "Pod"] {
        let plural = KINDS.iter().find(|(of, ..)| *of == kind).map_or("", |(_, plural, _)| plural);
        files.push((format!("{namespace}/{plural}.json"), state.list(kind)));
    }
    for Log {
        pod,
        container,
        previous,
        lines,
    } in state.logs()
    {
        if !previous {
            let of = format!("container {container} of pod {namespace}/{pod} ====\n");
            let block = format!("==== START logs for {of}{}==== END logs for {of}", text(&lines, false));
            files.push((format!("{namespace}/{pod}/logs.txt"), block));
        }
    }
    // A pod with several containers has one file.
    let mut whole: BTreeMap<String, String> = BTreeMap::new();
    for (name, text) in files {
        whole.entry(name).or_default().push_str(&text);
    }
    whole.into_iter().collect()
}

fn must_gather(state: &State) -> Files {
    let namespace = &state.namespace;
    let root = format!("must-gather.local.1/image/namespaces/{namespace}");
    let mut files = Files::new();
    for (kind, plural, group) in KINDS {
        let mut list = state.list(kind);
        if *kind == "Secret" {
            let mut secrets: Value = serde_json::from_str(&list).expect("it was written a moment ago");
            for secret in secrets["items"].as_array_mut().into_iter().flatten() {
                for value in secret["data"].as_object_mut().into_iter().flatten().map(|(_, value)| value) {
                    let length = value.get("length").and_then(Value::as_u64).unwrap_or(0);
                    *value = Value::from(STANDARD.encode(format!("{length} bytes long")));
                }
            }
            list = secrets.to_string();
        }
        files.push((format!("{root}/{group}/{plural}.yaml"), list));
    }
    for Log {
        pod,
        container,
        previous,
        lines,
    } in state.logs()
    {
        let file = if previous { "previous" } else { "current" };
        files.push((
            format!("{root}/pods/{pod}/{container}/{container}/logs/{file}.log"),
            text(&lines, true),
        ));
    }
    files
}

fn support_bundle(state: &State) -> Files {
    let namespace = &state.namespace;
    let root = "support-bundle-1/cluster-resources";
    let mut files = vec![(format!("{root}/nodes.json"), state.list("Node"))];
    for (kind, plural, group) in KINDS.iter().filter(|(kind, ..)| *kind != "Secret") {
        let folder = match *kind {
            "PersistentVolumeClaim" => "pvcs".to_owned(),
            "HelmRelease" | "Kustomization" => format!("custom-resources/{plural}.{group}"),
            _ => (*plural).to_owned(),
        };
        files.push((format!("{root}/{folder}/{namespace}.json"), state.list(kind)));
    }
    for Log {
        pod,
        container,
        previous,
        lines,
    } in state.logs()
    {
        let file = if previous {
            format!("{container}-previous")
        } else {
            container.clone()
        };
        files.push((format!("{root}/pods/logs/{namespace}/{pod}/{file}.log"), text(&lines, false)));
    }
    files
}

fn imported(files: &Files, namespace: &str) -> Timeline {
    let folder = tempfile::tempdir().expect("there is room for it");
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().expect("it has one")).expect("there is room for it");
        fs::write(path, text).expect("there is room for it");
    }
    let options = Options::new(Some(namespace.to_owned()), [1; 32]);
    let imported = import::read(folder.path(), &options).unwrap_or_else(|error| panic!("{error}"));
    imported.timelines.last().expect("there is one at least")
}

fn recordings() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let folders = root.read_dir().expect("the scenarios are there").flatten();
    let folders = folders.filter_map(|scenario| scenario.path().join("recordings").read_dir().ok());
    let mut files: Vec<_> = folders.flatten().flatten().map(|file| file.path()).collect();
    files.retain(|file| file.to_string_lossy().contains("--broken"));
    files.sort();
    files
}

fn causes(diagnosis: &Diagnosis) -> BTreeSet<(String, String)> {
    diagnosis.identity().into_iter().collect()
}

#[test]
fn an_export_tells_what_a_look_tells_or_what_it_lacks() {
    let (mut looks, mut wrong) = (0, Vec::new());
    let mut same: BTreeMap<&str, u32> = BTreeMap::new();
    for file in recordings() {
        let recording = Recording::read(&file).unwrap_or_else(|error| panic!("{error}"));
        let Some(state) = State::of(&recording) else { continue };
        let look = diagnose(&state.evidence);
        if look.causes.is_empty() {
            continue;
        }
        looks += 1;
        for Tool { format, write } in TOOLS {
            let imported = imported(&write(&state), &state.namespace);
            let evidence = Evidence::of(&imported);
            let (expected, found) = (causes(&look), causes(&diagnose(&evidence)));
            let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            // Where the deepest cause is not to be seen, what it led to may be.
            let story = serde_json::to_string(&look.causes).expect("causes have a form");
            let strange = |(_, subject): &(String, String)| !story.contains(subject.rsplit('/').next().unwrap_or_default());
            if found.difference(&expected).any(strange) {
                wrong.push(format!("{name} as {format}: {found:?} and not {expected:?}"));
            } else if found != expected {
                println!("{name} as {format}: {found:?} of {expected:?}");
                if evidence.not_readable.is_empty() {
                    wrong.push(format!("{name} as {format} does not say what it lacks"));
                }
            } else {
                *same.entry(format).or_default() += 1;
            }
        }
    }
    println!("of {looks} looks with a cause, the same: {same:?}");
    assert_eq!(wrong, [""; 0], "{} of them", wrong.len());
    // A list does not say whether it is complete. The other two hold no Secrets, and so no release records: what went of itself, as a Job by its
    // TTL, is told by those alone.
    for (format, least) in [("kubectl get", 2.0 / 3.0), ("must-gather", 0.5), ("support bundle", 0.5)] {
        let same = same.get(format).copied().unwrap_or_default();
        assert!(f64::from(same) >= f64::from(looks) * least, "{same} of {looks} as {format}");
    }
}

/// What the real programs wrote of one broken trial, `ttl-deleted-job--configmap-missing`: kubectl 1.34, and support-bundle of troubleshoot 0.133.
#[test]
fn what_the_tools_themselves_wrote_tells_the_same_cause() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/exports/configmap-missing");
    for (name, format) in [
        ("cluster-info-dump", Format::ClusterDump),
        ("kubectl-get", Format::KubectlGet),
        ("support-bundle", Format::SupportBundle),
    ] {
        let path = folder.join(format!("{name}.tar.gz"));
        let imported = import::read(&path, &Options::new(None, [1; 32])).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(imported.format, format, "{name}");
        // A support bundle holds some of its files twice, as links.
        let links = imported.missing.iter().find(|missing| missing.why.contains("links"));
        assert_eq!(links, None, "{name}");
        let found: BTreeSet<_> = imported
            .timelines
            .flat_map(|timeline| diagnose(&Evidence::of(&timeline)).identity())
            .map(|(slug, subject)| (slug, subject.rsplit('/').next().unwrap_or_default().to_owned()))
            .collect();
        let expected = ("configmap-missing".to_owned(), "litellm-settings".to_owned());
        assert_eq!(found, BTreeSet::from([expected]), "{name}");
    }
}
