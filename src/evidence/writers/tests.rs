use serde_json::json;

use super::*;

/// What is kept of these, each with the paths of its fields.
fn kept(managed: Value) -> Vec<(String, Vec<String>)> {
    let mut object = json!({"kind": "Deployment", "metadata": {"name": "web", "managedFields": managed}, "spec": {}});
    let writers = take(&mut object);
    assert_eq!(object, json!({"kind": "Deployment", "metadata": {"name": "web"}, "spec": {}}));
    writers.into_iter().map(|writer| (writer.manager, writer.fields)).collect()
}

fn wrote(manager: &str, minute: u32, fields: Value) -> Value {
    json!({"manager": manager, "operation": "Update", "apiVersion": "apps/v1", "time": format!("2026-01-02T03:{minute:02}:00Z"),
        "fieldsType": "FieldsV1", "fieldsV1": fields})
}

#[test]
fn fields_are_told_by_their_paths_and_without_values() {
    let fields = json!({
        "f:metadata": {"f:annotations": {".": {}, "f:meta.helm.sh/release-name": {}}, "f:finalizers": {".": {}, "v:\"canary\"": {}}},
        "f:spec": {
            "f:replicas": {},
            "f:selector": {},
            "f:template": {"f:spec": {"f:containers": {"k:{\"name\":\"web\"}": {".": {}, "f:image": {}, "f:ports": {"k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}}},
                "f:volumeMounts": {"k:{\"mountPath\":\"canary\"}": {"f:name": {}}}}}}},
        },
        "f:status": {"f:replicas": {}},
    });
    assert_eq!(
        kept(json!([wrote("helm", 1, fields)])),
        [(
            "helm".to_owned(),
            [
                "spec.replicas",
                "spec.selector",
                "spec.template.spec.containers[web].image",
                "spec.template.spec.containers[web].ports[80]",
                "spec.template.spec.containers[web].volumeMounts[].name",
                "metadata.finalizers",
                "metadata.annotations[meta.helm.sh/release-name]",
            ]
            .map(str::to_owned)
            .to_vec()
        )]
    );
}

#[test]
fn the_newest_writers_stay_and_those_that_decide_nothing_do_not() {
    let one = || json!({"f:spec": {"f:replicas": {}}});
    let mut managed: Vec<Value> = (0..1000).map(|n| wrote(&format!("m{n}"), n % 50, one())).collect();
    managed.push(json!({"manager": "of-no-time", "fieldsV1": one()}));
    managed.push(wrote("kubelet", 59, one()));
    managed.push(wrote("kube-controller-manager", 59, one()));
    managed.push(wrote("says-nothing", 59, json!({})));
    managed.push(wrote("status-only", 59, json!({"f:status": {"f:phase": {}}})));
    let mut status = wrote("operator", 59, one());
    status["subresource"] = json!("status");
    managed.push(status);
    let mut scaled = wrote("kube-controller-manager", 58, one());
    scaled["subresource"] = json!("scale");
    managed.push(scaled);
    managed.push(wrote(&"x".repeat(500), 59, one()));
    let names: Vec<String> = kept(Value::from(managed)).into_iter().map(|(manager, _)| manager).collect();
    assert_eq!(names, ["kube-controller-manager", "m49", "m99", "m149", "m199"]);
}

#[test]
fn of_many_fields_the_highest_stay() {
    let mut deep = serde_json::Map::new();
    for n in 0..100_000 {
        deep.insert(format!("f:field-{n}"), json!({"f:x": {}}));
    }
    let mut managed = json!([wrote("kubectl-edit", 1, json!({"f:metadata": deep.clone(), "f:spec": deep}))]);
    managed[0]["fieldsV1"]["f:spec"]["f:replicas"] = json!({});
    managed[0]["fieldsV1"]["f:spec"]["f:set"] = json!({(format!("v:{}", "x".repeat(10_000))): {}});
    managed[0]["fieldsV1"]["f:spec"][format!("f:{}", "x".repeat(10_000))] = json!({});
    let mut object = json!({"metadata": {"managedFields": managed}});
    let writers = take(&mut object);
    assert_eq!(writers[0].fields.len(), MOST_FIELDS);
    assert_eq!(writers[0].fields[..2], ["spec.replicas", "spec.set"]);
    assert!(
        writers[0]
            .fields
            .iter()
            .all(|field| field.starts_with("spec.") && field.len() <= LONGEST_PATH)
    );
    assert!(writers[0].more);
}

#[test]
fn whatever_else_stands_there_is_left_out() {
    let deep = (0..100).fold(json!({}), |inner, _| json!({"f:a": inner}));
    let odd = json!([
        wrote("odd", 1, json!({"k:{\"": {"v:\"": {}, ".": {}}, "f:": [], "": 7, "f:b": [1, {"f:c": {}}], "i:x": {}, "f:list": {"i:0": {}}})),
        wrote("deep", 2, deep),
        wrote("none", 3, Value::Null),
        {"manager": 7, "time": [], "fieldsV1": {"f:a": {}}},
        {},
    ]);
    let kept = kept(odd);
    assert_eq!(kept.len(), 2);
    assert_eq!(kept[0].1.len(), 1);
    assert_eq!(kept[1].1, ["[]", "b", "list[0]"]);
    for managed in [json!(null), json!("x"), json!({}), json!([1])] {
        assert_eq!(take(&mut json!({"metadata": {"managedFields": managed}})), []);
    }
    assert_eq!(take(&mut json!([])), []);
}

#[test]
fn what_an_object_carries_is_what_kube_read() {
    let managed = json!([
        wrote("kubectl-scale", 2, json!({"f:spec": {"f:replicas": {}}})),
        wrote("kubelet", 1, json!({"f:spec": {}}))
    ]);
    let entries: Vec<ManagedFieldsEntry> = serde_json::from_value(managed.clone()).unwrap();
    let mut raw = json!({"metadata": {"managedFields": managed}});
    let mut carrying = json!({"metadata": {}, CARRIED: Writers::of_entries(&entries).carried()});
    let writers = take(&mut raw);
    assert_eq!(writers.len(), 1);
    assert_eq!(take(&mut carrying), writers);
    assert_eq!(carrying, json!({"metadata": {}}));
    let mut event = json!({"kind": "Event", "metadata": {"managedFields": managed}});
    assert_eq!(take(&mut event), []);
    assert_eq!(event, json!({"kind": "Event", "metadata": {}}));
}

#[test]
fn values_of_secrets_are_taken_out_whenever_they_are_seen() {
    use crate::evidence::{Change, Header, Recorder};

    let recorder = Recorder::new(Header::begin("shop", Timestamp::UNIX_EPOCH), [9; 32]);
    let written = |name: &str| {
        let fields = json!({"f:data": {"f:canary-in-a-key": {}, "v:\"canary-in-a-set\"": {}}, "f:list": {"k:{\"key\":\"canary-in-a-list\"}": {"f:a": {}}}});
        json!({"kind": "ConfigMap", "metadata": {"name": name, "managedFields": [wrote("canary-in-a-key", 1, fields), wrote("kubectl-edit", 2,
            json!({"f:data": {"f:db_password=hunter2-canary": {}}}))]}})
    };
    recorder.record_object(Change::Applied, written("before"));
    recorder.record_object(
        Change::Applied,
        json!({"kind": "Secret", "metadata": {"name": "s"}, "stringData": {"p": "canary-in-a-key"}}),
    );
    recorder.record_object(Change::Applied, written("after"));
    recorder.record_objects(vec![written("later")]);
    let text = serde_json::to_string(&recorder.timeline().entries).unwrap();
    assert!(!text.contains("canary"), "{text}");
    assert_eq!(text.matches("kubectl-edit").count(), 3, "{text}");
    let again = serde_json::to_string(&recorder.timeline().redacted([1; 32]).entries).unwrap();
    assert_eq!(again, text);
}

#[test]
fn names_in_it_have_stand_ins() {
    use crate::evidence::{Change, Header, Names, Recorder};

    let recorder = Recorder::new(Header::begin("acme-billing", Timestamp::UNIX_EPOCH), [9; 32]);
    let container = json!({"f:spec": {"f:template": {"f:spec": {"f:containers": {"k:{\"name\":\"ledger\"}": {"f:image": {}}}}}}});
    let managed = json!([
        wrote("acme-deployer", 1, container.clone()),
        wrote("system:acme deployer", 2, container.clone()),
        wrote("kubectl-edit", 3, container.clone()),
        wrote("ledger", 4, container),
    ]);
    recorder.record_object(
        Change::Applied,
        json!({"kind": "Deployment", "metadata": {"name": "ledger", "namespace": "acme-billing", "annotations": {"a": "by acme-deployer"}, "managedFields": managed},
            "spec": {"template": {"spec": {"containers": [{"name": "ledger"}]}}}}),
    );
    let timeline = recorder.timeline();
    let text = serde_json::to_string(&Names::of([&timeline]).timeline(timeline).entries).unwrap();
    assert!(!text.contains("acme") && !text.contains("ledger"), "{text}");
    for word in [
        "\"kubectl-edit\"",
        "\"program-anchor\"",
        "by program-anchor",
        "spec.template.spec.containers[object-anchor].image",
    ] {
        assert!(text.contains(word), "{word} in {text}");
    }
}
