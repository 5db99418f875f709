//! The same story is told by every format, as far as it can tell it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::super::{Format, ImportError, Options, read};
use super::story::{
    CANARY, NAMESPACE, Whole, archive, diagnosed, folder, gzip, imported, imported_from, lists, log, missing, named, stamped_log, typed,
    yaml,
};
use crate::evidence::{Entry, Fact, Recording};

const DUMPED: &[&str] = &[
    "nodes",
    "events",
    "replicationcontrollers",
    "services",
    "daemonsets",
    "deployments",
    "replicasets",
    "pods",
];

fn slugs(imported: &Whole) -> Vec<(String, String)> {
    diagnosed(imported).1.identity()
}

fn both() -> Vec<(String, String)> {
    let cause = |slug: &str, subject: &str| (slug.to_owned(), subject.to_owned());
    vec![cause("secret-missing", "Secret/db-login"), cause("crash-loop", "Deployment/orders")]
}

/// Checks what every format has in common.
fn tells(imported: &Whole, format: Format, watched: &[&str]) {
    assert_eq!(imported.format, format);
    assert_eq!(imported.namespaces, [NAMESPACE]);
    let (evidence, _) = diagnosed(imported);
    assert_eq!(evidence.header.namespace, NAMESPACE);
    assert_eq!(evidence.now.to_string(), "2026-01-02T03:04:05Z");
    let mut kinds = evidence.header.watched.clone();
    kinds.sort();
    assert_eq!(kinds, watched);
    let mut found = slugs(imported);
    found.sort();
    let mut expected = both();
    expected.sort();
    assert_eq!(found, expected);
    let all = serde_json::to_string(&imported.timelines).unwrap();
    assert!(!all.contains("managedFields") && !all.contains(&STANDARD.encode(CANARY)), "{all}");
}

fn dump(write: fn(&Value) -> String, ending: &str) -> Vec<(String, String)> {
    let mut files = Vec::new();
    for (plural, api_version, kind, items) in lists() {
        if !DUMPED.contains(&plural) {
            continue;
        }
        let name = match plural {
            "nodes" => format!("nodes.{ending}"),
            "replicationcontrollers" => format!("{NAMESPACE}/replication-controllers.{ending}"),
            _ => format!("{NAMESPACE}/{plural}.{ending}"),
        };
        files.push((name, write(&typed(api_version, kind, &items))));
    }
    files.push((format!("{NAMESPACE}/orders-7f9c-x/logs.txt"), block()));
    files.push((
        format!("{NAMESPACE}/billing-7f9c-x/logs.txt"),
        block()
            .replace("orders", "billing")
            .replace(&log(), "Request log error: container \"billing\" is waiting to start\n"),
    ));
    files
}

fn block() -> String {
    let of = "container orders of pod shop/orders-7f9c-x ====";
    format!("==== START logs for {of}\n{}==== END logs for {of}\n", log())
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap()
}

const WATCHED: &[&str] = &["DaemonSet", "Deployment", "Event", "Node", "Pod", "ReplicaSet", "Service"];

#[test]
fn a_cluster_dump_in_a_folder() {
    for (write, ending) in [(pretty as fn(&Value) -> String, "json"), (yaml, "yaml")] {
        let folder = folder(&dump(write, ending));
        let imported = imported_from(folder.path()).unwrap();
        tells(&imported, Format::ClusterDump, WATCHED);
        let (evidence, _) = diagnosed(&imported);
        let missing = missing(&evidence);
        assert!(missing.contains("Secret, ConfigMap"), "{missing}");
        assert!(missing.contains("container \"billing\" is waiting to start"), "{missing}");
        assert!(missing.contains("no time stamps"), "{missing}");
        let (_, log) = evidence.logs_of("uid-orders-7f9c-x").next().unwrap();
        assert_eq!(log.lines.len(), 2);
        assert_eq!(log.lines[0].line.restart, 5);
    }
}

#[test]
fn a_cluster_dump_on_standard_output() {
    for (write, between) in [(pretty as fn(&Value) -> String, ""), (yaml, "---\n")] {
        let mut text = String::new();
        for (plural, api_version, kind, items) in lists() {
            if DUMPED.contains(&plural) {
                text.push_str(&format!("{between}{}", write(&typed(api_version, kind, &items))));
            }
        }
        text.push_str(&format!("\n{}", block()));
        tells(&imported(text.as_bytes()).unwrap(), Format::ClusterDump, WATCHED);
        // Packed, too.
        tells(&imported(&gzip(text.as_bytes())).unwrap(), Format::ClusterDump, WATCHED);
    }
}

#[test]
fn what_kubectl_get_printed() {
    let objects = named(&lists(), &["pods", "events", "deployments", "replicasets", "secrets"]);
    let list = json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": ""}, "items": objects});
    for text in [pretty(&list), yaml(&list)] {
        let imported = imported(text.as_bytes()).unwrap();
        tells(&imported, Format::KubectlGet, &[]);
        let (evidence, _) = diagnosed(&imported);
        assert!(missing(&evidence).contains("does not say whether it is complete"));
        assert_eq!(evidence.all("Secret").count(), 1);
    }
    // One file for each object.
    let files: Vec<_> = objects
        .iter()
        .enumerate()
        .map(|(n, object)| (format!("{n}.yaml"), yaml(object)))
        .collect();
    tells(&imported_from(folder(&files).path()).unwrap(), Format::KubectlGet, &[]);
}

#[test]
fn a_support_bundle() {
    for older in [false, true] {
        let root = "support-bundle-2026-01-02T03_05_00";
        let mut files = vec![(
            format!("{root}/version.yaml"),
            "apiVersion: troubleshoot.sh/v1beta2\nkind: SupportBundle\n".to_owned(),
        )];
        for (plural, api_version, kind, items) in lists() {
            if matches!(plural, "secrets" | "replicationcontrollers") {
                continue;
            }
            let content = if older {
                pretty(&json!(items))
            } else {
                pretty(&typed(api_version, kind, &items))
            };
            let name = if plural == "nodes" {
                "nodes.json".to_owned()
            } else {
                format!("{plural}/{NAMESPACE}.json")
            };
            files.push((format!("{root}/cluster-resources/{name}"), content));
        }
        let errors = pretty(&json!({NAMESPACE: "jobs.batch is forbidden: User \"u\" cannot list resource"}));
        files.push((format!("{root}/cluster-resources/jobs-errors.json"), errors));
        files.push((format!("{root}/cluster-resources/pods-errors.json"), "null".to_owned()));
        files.push((
            format!("{root}/cluster-resources/pods/logs/{NAMESPACE}/orders-7f9c-x/orders.log"),
            String::new(),
        ));
        files.push((
            format!("{root}/cluster-resources/pods/logs/{NAMESPACE}/orders-7f9c-x/orders-previous.log"),
            log(),
        ));
        files.push((format!("{root}/orders/stranger-1/orders.log"), log()));
        let imported = imported(&archive(&files)).unwrap();
        let watched = [
            "ConfigMap",
            "DaemonSet",
            "Deployment",
            "Event",
            "Node",
            "Pod",
            "ReplicaSet",
            "Service",
        ];
        tells(&imported, Format::SupportBundle, &watched);
        let (evidence, _) = diagnosed(&imported);
        let missing = missing(&evidence);
        assert!(missing.contains("Job: jobs.batch is forbidden"), "{missing}");
        assert!(missing.contains("does not describe these pods"), "{missing}");
        let (_, log) = evidence.logs_of("uid-orders-7f9c-x").next().unwrap();
        assert_eq!((log.lines.len(), log.lines[0].line.restart), (2, 4));
        assert_eq!(log.lines[1].line.stamp.to_string(), "2026-01-02T03:03:05Z");
    }
}

#[test]
fn a_must_gather() {
    let root = "must-gather.local.7/quay-io-x-sha256-abc";
    let mut files = Vec::new();
    for (plural, api_version, kind, mut items) in lists() {
        let group = api_version.rsplit_once('/').map_or("core", |(group, _)| group);
        if plural == "nodes" {
            let node = named(&lists(), &["nodes"]).remove(0);
            files.push((
                format!("{root}/cluster-scoped-resources/core/nodes/node-a.yaml"),
                format!("---\n{}", yaml(&node)),
            ));
            continue;
        }
        if plural == "secrets" {
            items[0]["data"]["key"] = json!(STANDARD.encode(format!("{} bytes long", CANARY.len())));
        }
        let list = yaml(&typed(api_version, kind, &items));
        files.push((
            format!("{root}/namespaces/{NAMESPACE}/{group}/{plural}.yaml"),
            format!("---\n{list}"),
        ));
    }
    // The same pod once more, as it was a moment before.
    let mut pod = named(&lists(), &["pods"]).remove(1);
    pod["metadata"]["resourceVersion"] = json!("6");
    pod["status"] = json!({"phase": "Running"});
    let pods = format!("{root}/namespaces/{NAMESPACE}/pods/orders-7f9c-x");
    files.push((format!("{pods}/orders-7f9c-x.yaml"), yaml(&pod)));
    files.push((format!("{pods}/orders/orders/logs/previous.log"), stamped_log().replace(CANARY, "")));
    let folder = folder(&files);
    let imported = imported_from(folder.path()).unwrap();
    let watched = [
        "ConfigMap",
        "DaemonSet",
        "Deployment",
        "Event",
        "Pod",
        "ReplicaSet",
        "Secret",
        "Service",
    ];
    tells(&imported, Format::MustGather, &watched);
    let (evidence, _) = diagnosed(&imported);
    let secret = evidence.get("Secret", NAMESPACE, "session").unwrap();
    assert_eq!(secret.number("/data/key/length"), Some(CANARY.len() as i64));
    let (_, log) = evidence.logs_of("uid-orders-7f9c-x").next().unwrap();
    assert_eq!(log.lines[1].line.stamp.to_string(), "2026-01-02T03:03:01.123456789Z");
    assert_eq!(log.lines[1].line.text, "fatal: no shard is configured");
}

#[test]
fn helms_storage_secrets_alone() {
    let record = json!({"name": "store", "namespace": NAMESPACE, "version": 1, "info": {"status": "failed", "description": "timed out waiting for the condition"},
        "chart": {"metadata": {"name": "store", "version": "0.1.0"}}, "manifest": "", "hooks": []});
    let inner = STANDARD.encode(gzip(record.to_string().as_bytes()));
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "type": "helm.sh/release.v1", "data": {"release": STANDARD.encode(inner)},
        "metadata": {"name": "sh.helm.release.v1.store.v1", "namespace": NAMESPACE, "creationTimestamp": "2026-01-02T03:04:05Z"}});
    for text in [pretty(&secret), yaml(&secret)] {
        let imported = imported(text.as_bytes()).unwrap();
        assert_eq!(imported.format, Format::HelmStorage);
        let (evidence, _) = diagnosed(&imported);
        assert_eq!(evidence.release("store").unwrap().status, "failed");
        assert!(missing(&evidence).contains("only Helm's records"));
    }
    // What was taken out before, or is corrupt, is said.
    for release in [
        json!({"length": 9, "hash": ""}),
        json!("???"),
        json!(STANDARD.encode(STANDARD.encode([0x1f, 0x8b, 8, 0]))),
    ] {
        let mut broken = secret.clone();
        broken["data"]["release"] = release;
        let (evidence, _) = diagnosed(&imported(pretty(&broken).as_bytes()).unwrap());
        assert!(missing(&evidence).contains("storage Secret sh.helm.release.v1.store.v1: its entry"));
    }
}

#[test]
fn values_of_secrets_do_not_come_in() {
    let objects = named(&lists(), &["pods", "events", "secrets"]);
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
    // The log stands before the Secret is known.
    let text = format!("{}{}", block(), pretty(&list));
    let imported = imported(text.as_bytes()).unwrap();
    let all = serde_json::to_string(&imported.timelines).unwrap();
    assert!(!all.contains(CANARY) && all.contains("[redacted: 17 bytes"), "{all}");
}

#[test]
fn every_namespace_has_a_timeline_of_its_own() {
    let text = dump(pretty, "json");
    let mut files = text.clone();
    let other = text.iter().filter(|(name, _)| name.starts_with(NAMESPACE));
    files.extend(other.map(|(name, text)| {
        (
            name.replacen("shop", "till", 1),
            text.replace("shop", "till").replace("uid-", "uid-till-"),
        )
    }));
    let folder = folder(&files);
    let all = imported_from(folder.path()).unwrap();
    assert_eq!(all.namespaces, ["shop", "till"]);
    let namespaces: Vec<_> = all.timelines.iter().map(|timeline| timeline.header.namespace.as_str()).collect();
    assert_eq!(namespaces, ["shop", "till"]);
    for timeline in &all.timelines {
        let foreign = |entry: &Entry| match &entry.fact {
            Fact::Object { object, .. } => object["metadata"]
                .get("namespace")
                .is_some_and(|of| *of != timeline.header.namespace),
            _ => false,
        };
        assert!(!timeline.entries.iter().any(foreign));
        assert!(timeline.entries.iter().any(|entry| matches!(&entry.fact, Fact::Log(_))));
    }
    let one = |namespace: &str| read(folder.path(), &Options::new(Some(namespace.to_owned()), [7; 32])).map(Whole::from);
    let shop = one("shop").unwrap();
    assert_eq!((shop.timelines.len(), shop.namespaces.len()), (1, 2));
    assert!(shop.timelines[0].entries == all.timelines[0].entries);
    let Err(error @ ImportError::Namespace { .. }) = one("elsewhere") else {
        panic!()
    };
    assert!(
        error
            .to_string()
            .ends_with("holds nothing of the namespace elsewhere; it holds shop, till"),
        "{error}"
    );
}

#[test]
fn a_recording_is_taken_as_it_is() {
    let folder = folder(&dump(pretty, "json"));
    let imported = imported_from(folder.path()).unwrap();
    let timeline = imported.timelines[0].clone();
    let recording = Recording {
        preamble: crate::evidence::recording::Preamble::new(timeline.header.clone()),
        entries: timeline.entries.clone(),
        ending: None,
    };
    let path = folder.path().join("r.rekindle");
    recording.write(&path).unwrap();
    let again = imported_from(&path).unwrap();
    assert_eq!((again.format, &again.timelines[0]), (Format::Recording, &timeline));
    let bytes = std::fs::read(&path).unwrap();
    assert_eq!(super::story::imported(&bytes).unwrap().timelines[0], timeline);
    let part = super::story::imported(&bytes[..bytes.len() / 2]).unwrap();
    assert_eq!(
        (part.format, part.missing[0].what.as_str()),
        (Format::Recording, "the end of the recording")
    );
    assert!(matches!(
        read(&path, &Options::new(Some("elsewhere".into()), [7; 32])),
        Err(ImportError::Namespace { .. })
    ));
}
