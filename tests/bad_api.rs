//! An API that does badly what it does: whatever it is, `diagnose` answers with one sentence or with a part of the truth that says what is
//! missing, in bounded time, and never panics.

mod api;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use api::{Answer, Api, list, listed, status, stderr, well};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rekindle::command::Output;
use serde_json::{Value, json};

/// What a look may take at the most, with what the machine does besides.
const BOUND: Duration = Duration::from_secs(40);

fn pod(name: &str) -> Value {
    json!({"metadata": {"name": name, "namespace": "shop", "uid": format!("uid-{name}"), "resourceVersion": "7", "creationTimestamp": "2026-01-02T03:00:00Z"},
        "spec": {"containers": [{"name": "main", "image": "tools.invalid/tools:1", "env": [{"name": "P", "valueFrom": {"secretKeyRef": {"name": "db-login", "key": "p"}}}]}]},
        "status": {"phase": "Pending", "containerStatuses": [{"name": "main", "ready": false, "restartCount": 0,
            "state": {"waiting": {"reason": "CreateContainerConfigError", "message": "secret \"db-login\" not found"}}}]}})
}

fn crashing(name: &str) -> Value {
    let mut pod = pod(name);
    pod["spec"]["containers"] = json!([{"name": "main", "image": "tools.invalid/tools:1"}]);
    pod["status"] = json!({"phase": "Running", "containerStatuses": [{"name": "main", "containerID": "c://1", "ready": false, "restartCount": 1,
        "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}}, "lastState": {"terminated": {"exitCode": 3, "reason": "Error", "startedAt": "2026-01-02T03:03:00Z", "finishedAt": "2026-01-02T03:03:05Z"}}}]});
    pod
}

/// A namespace in which one pod lacks a Secret; what is asked for otherwise is answered by the test.
fn else_well(path: &str) -> Answer {
    match listed(path) {
        _ if well(path).is_some() => well(path).unwrap_or(Answer::Hangs),
        Some("pods") => list(&[pod("billing")]),
        Some(_) => list(&[]),
        None => status(404, "NotFound", "there is nothing here"),
    }
}

/// One look: what came of it, and that it came in time and without a bug.
async fn look(handler: impl Fn(&str, &str) -> Answer + Send + Sync + 'static) -> (Output, Arc<std::sync::Mutex<Vec<String>>>) {
    let api = Api::serve("quiet-token", handler).await;
    let begin = Instant::now();
    let output = api.diagnose(&[]).await;
    assert!(begin.elapsed() < BOUND, "it took {:?}", begin.elapsed());
    let said = stderr(&output);
    assert!(
        !said.contains("has a bug") && output.status.code().is_some_and(|code| code < 100),
        "{said}"
    );
    (output, api.requests.clone())
}

fn cause(output: &Output) {
    assert!(
        output.status.success() && output.text().contains("Secret db-login does not exist"),
        "{}{}",
        output.text(),
        stderr(output)
    );
}

/// The output with its line breaks taken out: how long a line may be is not what is tested.
fn flat(output: &Output) -> String {
    output.text().split_whitespace().collect::<Vec<_>>().join(" ")
}

fn one_sentence(output: &Output, words: &str) {
    let said = stderr(output);
    assert_eq!(output.status.code(), Some(8), "{said}");
    assert!(
        said.starts_with("error: ") && said.lines().count() == 1 && said.contains(words),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_says_nothing_is_given_up() {
    let (output, _) = look(|_, _| Answer::Hangs).await;
    one_sentence(&output, "did not answer within 10s");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_never_comes_is_missing() {
    let (output, _) = look(|path, _| {
        if path.ends_with("/events") {
            Answer::Hangs
        } else {
            else_well(path)
        }
    })
    .await;
    cause(&output);
    assert!(
        flat(&output).contains("Event: the API did not list it within 10s"),
        "{}",
        output.text()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_throttles_is_asked_again_when_it_wants_to_be() {
    let asked = AtomicUsize::new(0);
    // As priority and fairness words it, for the first few requests.
    let (output, _) = look(move |path, _| {
        if asked.fetch_add(1, Ordering::SeqCst).is_multiple_of(3) {
            return Answer::Raw(
                429,
                "retry-after: 1\r\ncontent-type: text/plain\r\n",
                b"Too many requests, please try again later.\n".to_vec(),
            );
        }
        else_well(path)
    })
    .await;
    cause(&output);
    // A webhook or a proxy words it as a status.
    let (output, requests) = look(|path, _| {
        if path.ends_with("/services") {
            let details = json!({"retryAfterSeconds": 3});
            return Answer::Json(
                429,
                json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 429, "reason": "TooManyRequests", "message": "too many", "details": details}),
            );
        }
        else_well(path)
    })
    .await;
    cause(&output);
    assert!(
        flat(&output).contains("Service: the API did not list it within 10s: too many"),
        "{}",
        output.text()
    );
    let asked = requests
        .lock()
        .expect("nobody panics")
        .iter()
        .filter(|path| path.contains("/services"))
        .count();
    assert!((2..=5).contains(&asked), "{asked}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_forbidden_is_listed() {
    let forbidden = |plural: &str| {
        let message =
            format!("{plural} is forbidden: User \"jane\" cannot list resource \"{plural}\" in API group \"\" in the namespace \"shop\"");
        status(403, "Forbidden", &message)
    };
    let (output, _) = look(move |path, _| match listed(path) {
        Some(plural @ ("secrets" | "events")) => forbidden(plural),
        _ => else_well(path),
    })
    .await;
    assert!(
        output.status.success() && flat(&output).contains("Event, Secret: jane may not list them"),
        "{}",
        output.text()
    );
    // Not even the version may be asked for.
    let (output, _) = look(move |path, _| forbidden(path.rsplit('/').next().unwrap_or_default())).await;
    assert!(output.status.success(), "{}", stderr(&output));
    let told = flat(&output);
    assert!(
        told.contains("jane may not list them") && told.contains("could not be read"),
        "{told}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_breaks_off_is_missing() {
    let (output, _) = look(|path, _| match listed(path) {
        Some("services") => Answer::BreaksOff(b"{\"kind\":\"ServiceList\",\"items\":[{\"metadata\":{\"na".to_vec()),
        Some("jobs") => Answer::Raw(200, "", b"{\"kind\":\"JobList\",\"items\":[{".to_vec()),
        Some("deployments") => Answer::Raw(200, "", "[".repeat(100_000).into_bytes()),
        Some("ingresses") => Answer::Raw(502, "", b"<html>Bad gateway</html>".to_vec()),
        _ => else_well(path),
    })
    .await;
    cause(&output);
    let told = flat(&output);
    for kind in ["Service", "Job", "Deployment", "Ingress"] {
        assert!(
            told.contains(&format!("{kind}: the API did not list it within 10s: ")),
            "{kind}: {told}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_is_out_of_date_is_gone_on_with() {
    let page = |names: &[&str], token: &str| {
        let pods: Vec<Value> = names.iter().map(|name| pod(name)).collect();
        Answer::Json(
            200,
            json!({"kind": "PodList", "apiVersion": "v1", "metadata": {"resourceVersion": "9", "continue": token}, "items": pods}),
        )
    };
    let gone = |token: Option<&str>| {
        let mut body = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 410, "reason": "Expired",
            "message": "The provided continue parameter is too old"});
        if let Some(token) = token {
            body["metadata"] = json!({"continue": token});
        }
        Answer::Json(410, body)
    };
    // It says how to go on.
    let (output, requests) = look(move |path, query| match (listed(path), query) {
        (Some("pods"), query) if query.contains("continue=b") => page(&["orders"], ""),
        (Some("pods"), query) if query.contains("continue=a") => gone(Some("b")),
        (Some("pods"), _) => page(&["billing"], "a"),
        _ => else_well(path),
    })
    .await;
    cause(&output);
    assert!(!flat(&output).contains("Pod:"), "{}", output.text());
    assert!(
        requests
            .lock()
            .expect("nobody panics")
            .iter()
            .any(|path| path.contains("continue=b"))
    );
    // It does not; and one that is out of date again is left at that.
    let (output, _) = look(move |path, query| match (listed(path), query) {
        (Some("pods"), query) if query.contains("continue=") => gone(None),
        (Some("pods"), _) => page(&["billing"], "a"),
        _ => else_well(path),
    })
    .await;
    cause(&output);
    assert!(
        flat(&output).contains("Pod: the list changed faster than it could be read to its end"),
        "{}",
        output.text()
    );
    // One that leads to itself is no list.
    let (output, _) = look(move |path, _| match listed(path) {
        Some("pods") => page(&["billing"], "a"),
        _ => else_well(path),
    })
    .await;
    cause(&output);
    assert!(
        flat(&output).contains("Pod: the API gave the same part of the list again"),
        "{}",
        output.text()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_need_not_be_text_nor_have_lines() {
    let stamp = "2026-01-02T03:04:05.000000001Z ";
    let logs: HashMap<&str, Vec<u8>> = HashMap::from([
        (
            "long",
            [stamp.as_bytes(), &vec![b'x'; 1 << 20], b"\n", stamp.as_bytes(), b"end\n"].concat(),
        ),
        (
            "bytes",
            [stamp.as_bytes(), b"fatal: \xff\xfe\x00 no shard is configured\n"].concat(),
        ),
        ("endless", format!("{stamp}waiting\n").repeat(1 << 18).into_bytes()),
    ]);
    let (output, _) = look(move |path, query| {
        if listed(path) == Some("pods") {
            return list(&["long", "bytes", "endless", "broken", "refused"].map(crashing));
        }
        if path.ends_with("/log") {
            let pod = path.rsplit('/').nth(1).unwrap_or_default();
            return match pod {
                _ if query.contains("previous=true") => status(400, "BadRequest", "previous terminated container not found"),
                "broken" => Answer::BreaksOff(format!("{stamp}fatal: half a li").into_bytes()),
                "refused" => status(
                    500,
                    "InternalError",
                    "Get \"https://10.0.0.7:10250/containerLogs\": dial tcp: i/o timeout",
                ),
                pod => Answer::Raw(200, "content-type: text/plain\r\n", logs.get(pod).cloned().unwrap_or_default()),
            };
        }
        else_well(path)
    })
    .await;
    assert!(output.status.success(), "{}", stderr(&output));
    let told = flat(&output);
    assert!(told.contains("no shard is configured"), "{told}");
    assert!(told.contains("log of pod broken, container main: it broke off"), "{told}");
    assert!(
        told.contains("log of pod refused, container main: ") && told.contains("i/o timeout"),
        "{told}"
    );
    assert!(
        !told.contains("log of pod long") && !told.contains("log of pod bytes") && !told.contains("log of pod endless"),
        "{told}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn who_wrote_which_field_may_be_any_number_of_things() {
    let mut fields = serde_json::Map::new();
    for n in 0..100_000 {
        fields.insert(format!("f:field-{n}"), json!({}));
    }
    let writers: Vec<Value> = (0..1000)
        .map(|n| json!({"manager": format!("m{n}"), "operation": "Update", "apiVersion": "v1", "time": "2026-01-02T03:00:00Z", "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {"f:x": {}}}}))
        .collect();
    let mut one = pod("billing");
    one["metadata"]["managedFields"] = json!([{"manager": "kubectl-edit", "operation": "Update", "apiVersion": "v1", "time": "2026-01-02T03:00:00Z", "fieldsType": "FieldsV1",
        "fieldsV1": {"f:spec": fields}}]);
    let mut other = pod("orders");
    other["metadata"]["managedFields"] = Value::from(writers);
    let mut odd = pod("odd");
    odd["metadata"]["managedFields"] = json!([{"manager": "", "fieldsV1": {"k:{\"": {"v:\"": {}, ".": {}}, "f:": []}}, {}]);
    let api = Api::serve("quiet-token", move |path, _| match listed(path) {
        Some("pods") => list(&[one.clone(), other.clone(), odd.clone()]),
        _ => else_well(path),
    })
    .await;
    let file = api.file("one.rekindle");
    let output = api.diagnose(&["--save", &file.to_string_lossy()]).await;
    cause(&output);
    let bytes = std::fs::metadata(&file).expect("it was written").len();
    assert!(bytes < 20_000, "{bytes}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storage_secret_that_is_corrupt_is_told() {
    let gzip = STANDARD.encode(STANDARD.encode([0x1f, 0x8b, 8, 0, 1, 2, 3]));
    for (release, words) in [
        ("???".to_owned(), "its entry `release` is not base64"),
        (gzip, "its entry `release` does not unpack"),
        (
            STANDARD.encode(STANDARD.encode("{\"name\":7}")),
            "its entry `release` is no release record",
        ),
    ] {
        let secret = json!({"type": "helm.sh/release.v1", "metadata": {"name": "sh.helm.release.v1.web.v1", "namespace": "shop", "uid": "s"}, "data": {"release": release}});
        let (output, _) = look(move |path, _| match listed(path) {
            Some("secrets") => list(std::slice::from_ref(&secret)),
            _ => else_well(path),
        })
        .await;
        cause(&output);
        assert!(
            flat(&output).contains(&format!("storage Secret sh.helm.release.v1.web.v1: {words}")),
            "{}",
            output.text()
        );
    }
}

/// A watch that breaks off in the middle, then is told that it is too old, and a list that has moved on meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_watch_that_is_dropped_goes_on_where_the_list_is() {
    let (lists, watches) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let api = Api::serve("quiet-token", move |path, query| {
        let watched = query.contains("watch=");
        match listed(path) {
            Some("pods") if watched => match watches.fetch_add(1, Ordering::SeqCst) {
                0 => Answer::BreaksOff(br#"{"type":"ADDED","object":{"kind":"Pod","metadata":{"na"#.to_vec()),
                1 => Answer::Json(
                    200,
                    json!({"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version"}}),
                ),
                _ => Answer::Hangs,
            },
            Some("pods") => match lists.fetch_add(1, Ordering::SeqCst) {
                0 => list(&[]),
                _ => list(&[pod("billing")]),
            },
            _ if watched => Answer::Hangs,
            _ => else_well(path),
        }
    })
    .await;
    let (kubeconfig, saved) = (api.file("kubeconfig"), api.file("saved.rekindle"));
    let words = [
        "watch",
        "--release",
        "web",
        "--timeout",
        "20s",
        "--context",
        "fake",
        "--namespace",
        "shop",
    ];
    let files = [("--kubeconfig", &kubeconfig), ("--save", &saved)];
    let files = files
        .iter()
        .flat_map(|(option, file)| [(*option).to_owned(), file.to_string_lossy().into_owned()]);
    let output = api::rekindle(words.iter().map(|word| (*word).to_owned()).chain(files).collect()).await;
    let said = stderr(&output);
    assert!(said.contains("Secret db-login does not exist"), "{said}");
    // Nobody installs it, and what was seen is kept all the same.
    assert_eq!(output.status.code(), Some(8), "{said}");
    assert!(said.contains("release web neither succeeded nor failed within 20s"), "{said}");
    let replayed = api::rekindle(vec!["replay".to_owned(), saved.to_string_lossy().into_owned()]).await;
    assert!(flat(&replayed).contains("Secret db-login does not exist"), "{}", replayed.text());
}
