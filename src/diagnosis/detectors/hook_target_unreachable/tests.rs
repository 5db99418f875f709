//! Scenes of hooks that wait for an address.

use serde_json::{Value, json};

use super::*;
use crate::diagnosis::fixture::*;

const SLUG: &str = "hook-target-unreachable";

/// A hook that asks for a public URL, beside a Service that would answer.
fn begin(container: &Value, event: &str) -> (Scene, Value) {
    let job = hook_job("realm-setup", event, container.clone());
    let mut scene = Scene::new();
    scene.engine(20_000, "hookOnly");
    let (deployment, set) = deployment("identity", json!({"image": "identity:1"}), 1);
    let pod = as_ready(pod_of(&set, "abcde", running()));
    scene
        .at(200)
        .object(deployment)
        .object(set)
        .object(pod)
        .object(service("identity", "identity", 80));
    let hooks = vec![scene.at(1000).running_hook(&job, event)];
    scene
        .record("pending-install", hooks, vec![service("identity", "identity", 80)])
        .object(job.clone());
    (scene, job)
}

fn asks() -> Value {
    json!({
        "command": ["sh", "-c", "until curl -sS \"$IDENTITY_URL/health\"; do echo waiting for identity; sleep 1; done"],
        "env": [{"name": "IDENTITY_URL", "value": "https://login.shop.invalid"}],
    })
}

fn loops(scene: &mut Scene, pod: &str, complaint: &str, times: i64) {
    for turn in 0..times {
        scene.at(2000 + turn * 1000);
        if !complaint.is_empty() {
            scene.log(pod, "realm-setup", complaint);
        }
        scene.log(pod, "realm-setup", "waiting for identity");
    }
}

#[test]
fn a_loop_on_a_public_name_is_certain_after_the_second_try() {
    let (mut scene, job) = begin(&asks(), "post-install");
    scene
        .at(1500)
        .object(pod_of(&job, "x", running()))
        .answers_outside("https://login.shop.invalid/");
    loops(
        &mut scene,
        "realm-setup-x",
        "curl: (6) Could not resolve host: login.shop.invalid",
        6,
    );
    let first = scene.settles_on(&[(SLUG, "Job/realm-setup")]);
    let diagnoses = scene.diagnoses();
    let suspected: Vec<_> = diagnoses[first - 1].suspected.iter().map(|cause| cause.slug.clone()).collect();
    assert_eq!(suspected, [SLUG]);

    let cause = &scene.diagnosis().causes[0];
    assert_eq!(cause.statement, "login.shop.invalid does not resolve inside the cluster");
    let chain: Vec<_> = cause.chain.iter().map(|link| link.statement.as_str()).collect();
    assert_eq!(
        chain,
        [
            "the install of store is waiting for Job realm-setup (post-install hook)",
            "pod realm-setup-x printed \"waiting for identity\" 6 times",
        ]
    );
    let cited: Vec<_> = cause.citations.iter().map(|citation| citation.text.as_str()).collect();
    assert_eq!(
        cited,
        [
            "\"curl: (6) Could not resolve host: login.shop.invalid\" 6 times",
            "env IDENTITY_URL of realm-setup: https://login.shop.invalid",
            "HTTP 200 outside",
            "\"waiting for identity\" 6 times",
            "metadata.annotations[helm.sh/hook]: post-install",
        ]
    );
    let remedy = cause.remedy.as_ref().expect("a remedy");
    assert_eq!(remedy.parameters["url"], "http://identity");
    assert_eq!(remedy.parameters["env"], "IDENTITY_URL");
}

#[test]
fn it_stays_after_the_engine_gave_up_and_took_the_job_away() {
    let (mut scene, job) = begin(&asks(), "post-install");
    let pod = pod_of(&job, "x", running());
    scene.at(1500).object(pod.clone());
    loops(
        &mut scene,
        "realm-setup-x",
        "curl: (6) Could not resolve host: login.shop.invalid",
        3,
    );
    scene.at(21_000).deleted(pod).deleted(job);
    scene
        .at(21_100)
        .engine_says("Error: INSTALLATION FAILED: failed post-install: timed out waiting for the condition")
        .engine_ends(1);
    scene.settles_on(&[(SLUG, "Job/realm-setup")]);
    let cause = &scene.diagnosis().causes[0];
    assert_eq!(
        cause.chain[0].statement,
        "store: its install timed out after 20s waiting for Job realm-setup (post-install hook)"
    );
    assert_eq!(scene.diagnosis().unexplained, []);
    let without = scene.diagnosis_with(&[]);
    assert_eq!(without.causes, []);
    assert_eq!(without.unexplained.len(), 2);
}

#[test]
fn a_silent_loop_is_told_by_lookups() {
    let container = json!({
        "command": ["sh", "-c", "while ! curl -sf ${BROKER}/ready >/dev/null 2>&1; do echo still waiting; sleep 1; done"],
        "env": [{"name": "BROKER", "value": "http://broker.example.net:8161"}],
    });
    let (mut scene, job) = begin(&container, "pre-install");
    scene.at(1500).object(pod_of(&job, "x", running()));
    loops(&mut scene, "realm-setup-x", "", 3);
    assert_eq!(scene.diagnosis().identity(), []);
    scene.at(5000).lookup("broker.example.net", Answer::NoSuchName);
    scene
        .at(6000)
        .lookup("broker.example.net", Answer::NoSuchName)
        .log("realm-setup-x", "realm-setup", "still waiting");
    scene.settles_on(&[(SLUG, "Job/realm-setup")]);
}

#[test]
fn a_silent_loop_whose_address_stands_in_a_mounted_script() {
    let script = "#!/bin/sh\nn=0\nwhile true; do\n  n=$((n + 1))\n  if curl -fs -k -o /dev/null --max-time 3 \"https://ledger.corp.invalid:8443/ready\"; then\n    \
        echo \"ledger endpoint is up (attempt $n)\"; exit 0\n  fi\n  echo \"ledger endpoint not up yet (attempt $n)\"\n  sleep 1\ndone";
    let container = json!({"command": ["sh", "/opt/gate/gate.sh"], "volumeMounts": [{"name": "gate", "mountPath": "/opt/gate"}]});
    let mut job = hook_job("ledger-gate", "pre-install", container);
    job["spec"]["template"]["spec"]["volumes"] = json!([{"name": "gate", "configMap": {"name": "gate"}}]);
    let config_map = json!({"kind": "ConfigMap", "metadata": {"name": "gate"}, "data": {"gate.sh": script}});
    let mut scene = Scene::new();
    scene.engine(20_000, "hookOnly").at(500).object(config_map.clone()).at(1000);
    let hook = scene.running_hook(&job, "pre-install");
    scene
        .record("pending-install", vec![hook], vec![])
        .object(job.clone())
        .at(1500)
        .object(pod_of(&job, "x", running()));
    for attempt in 1..12 {
        let line = format!("ledger endpoint not up yet (attempt {attempt})");
        scene.at(1000 + attempt * 1000).log("ledger-gate-x", "ledger-gate", &line);
        if attempt < 4 {
            scene.at(1400 + attempt * 1000).lookup("ledger.corp.invalid", Answer::NoSuchName);
        }
    }
    let first = scene.settles_on(&[(SLUG, "Job/ledger-gate")]);
    let begun = scene.timeline().entries[0].at;
    let known = scene.timeline().entries[first - 1].at.duration_since(begun);
    assert!(known.as_secs() <= 4, "{known}");
    // The ConfigMap is a hook too, and may be taken away before anybody asks.
    scene
        .at(21_000)
        .deleted(config_map)
        .engine_says("timed out waiting for the condition")
        .engine_ends(1);
    scene.settles_on(&[(SLUG, "Job/ledger-gate")]);
    let cited: Vec<_> = scene.diagnosis().causes[0]
        .citations
        .iter()
        .map(|citation| citation.text.clone())
        .collect();
    assert_eq!(
        cited[..3],
        [
            "\"ledger endpoint not up yet (attempt 11)\" 11 times",
            "script gate.sh of ConfigMap gate: https://ledger.corp.invalid:8443/ready",
            "no such name inside the cluster",
        ]
    );
}

#[test]
fn a_container_gets_time_to_say_it_itself() {
    let (mut scene, job) = begin(&asks(), "post-install");
    // Somebody else needs the name too, so it was looked up before.
    for at in [1100, 1200, 1300] {
        scene.at(at).lookup("login.shop.invalid", Answer::NoSuchName);
    }
    scene.at(1500).object(pod_of(&job, "x", running()));
    loops(
        &mut scene,
        "realm-setup-x",
        "curl: (6) Could not resolve host: login.shop.invalid",
        3,
    );
    let first = scene.settles_on(&[(SLUG, "Job/realm-setup")]);
    let cited = &scene.diagnoses()[first].causes[0].citations;
    assert!(cited.iter().any(|citation| citation.text.contains("Could not resolve host")));
}

#[test]
fn a_declared_name_that_is_not_connected_to_is_innocent() {
    // The public address is only written into a realm; what is waited for is on its way.
    let container = json!({
        "command": ["sh", "-c", "until curl -sf http://cart; do echo waiting for cart; sleep 1; done; configure --public $PUBLIC_URL"],
        "env": [{"name": "PUBLIC_URL", "value": "https://www.shop.invalid"}],
    });
    let (mut scene, job) = begin(&container, "post-install");
    scene.at(1500).object(pod_of(&job, "x", running()));
    loops(&mut scene, "realm-setup-x", "", 3);
    scene.at(8000).lookup("www.shop.invalid", Answer::NoSuchName);
    scene.at(9500).lookup("www.shop.invalid", Answer::NoSuchName);
    scene.never_certain();
}

#[test]
fn a_script_that_fails_before_it_connects_is_not_meant() {
    let container = json!({
        "command": ["sh", "-c", "[ -n \"$REALM\" ] || { echo no realm given; exit 64; }; until curl -sf $IDENTITY_URL; do sleep 1; done"],
        "env": [{"name": "IDENTITY_URL", "value": "https://login.shop.invalid"}],
    });
    let (mut scene, job) = begin(&container, "post-install");
    let crashed = |times| restarted(pod_of(&job, "x", waiting("CrashLoopBackOff", "back-off 10s")), times, 64);
    for (times, at) in [(0, 2000), (1, 4000), (2, 16_000)] {
        scene.at(at).log_of("realm-setup-x", "realm-setup", times, "no realm given");
        scene
            .at(at + 100)
            .object(crashed(times))
            .lookup("login.shop.invalid", Answer::NoSuchName);
    }
    scene.at(21_000).engine_says("context deadline exceeded").engine_ends(1);
    scene.settles_on(&[("crash-loop", "Job/realm-setup")]);
}

#[test]
fn an_address_that_refuses_is_certain_after_several_tries() {
    let container = json!({"image": "migrate:2", "env": [{"name": "DATABASE_URL", "value": "postgres://u:p@10.200.0.9:5432/app"}]});
    let (mut scene, job) = begin(&container, "pre-install");
    scene.at(1500).object(pod_of(&job, "x", running()));
    for turn in 0..4 {
        scene.at(2000 + turn * 1000).log(
            "realm-setup-x",
            "realm-setup",
            "dial tcp 10.200.0.9:5432: connect: connection refused",
        );
    }
    scene.settles_on(&[(SLUG, "Job/realm-setup")]);
    let cause = &scene.diagnosis().causes[0];
    assert_eq!(
        cause.statement,
        "10.200.0.9:5432 does not answer inside the cluster (Connection refused)"
    );
    assert!(
        cause.citations.iter().all(|citation| !citation.text.contains("u:p")),
        "no password is cited"
    );
}

#[test]
fn exits_because_of_it_count_over_the_pods_of_a_job() {
    let container = json!({"image": "python:3", "args": ["migrate.py"], "env": [{"name": "IDP", "value": "https://idp.corp.example/"}]});
    let (mut scene, job) = begin(&container, "pre-install");
    for (turn, suffix) in [(0, "a"), (1, "b")] {
        scene.at(2000 + turn * 11_000).object(pod_of(&job, suffix, running()));
        let pod = format!("realm-setup-{suffix}");
        scene
            .at(3000 + turn * 11_000)
            .log(&pod, "realm-setup", "Traceback (most recent call last):");
        scene.log(&pod, "realm-setup", "HTTPSConnectionPool(host='idp.corp.example', port=443): Max retries exceeded with url: / (Caused by NameResolutionError(\"<x>: Failed to resolve 'idp.corp.example' ([Errno -2] Name or service not known)\"))");
        scene.object(phase(pod_of(&job, suffix, terminated(1)), "Failed"));
    }
    scene
        .at(16_000)
        .object(with_condition(job, "Failed", "BackoffLimitExceeded"))
        .engine_ends(1);
    scene.settles_on(&[(SLUG, "Job/realm-setup")]);
    let chain = &scene.diagnosis().causes[0].chain;
    assert_eq!(chain[1].statement, "Job realm-setup failed: BackoffLimitExceeded");
}

#[test]
fn a_service_that_comes_up_slowly_is_never_certain() {
    let container = json!({"command": ["sh", "-c", "until wget -q http://catalog:8080; do sleep 1; done"]});
    let (mut scene, job) = begin(&container, "post-install");
    let (deployment_, set) = deployment("catalog", json!({"image": "catalog:1"}), 0);
    scene.at(1500).object(pod_of(&job, "x", running()));
    for turn in 0..3 {
        scene
            .at(2000 + turn * 1000)
            .log("realm-setup-x", "realm-setup", "wget: bad address 'catalog:8080'");
    }
    scene
        .at(5000)
        .object(deployment_)
        .object(set.clone())
        .object(service("catalog", "catalog", 8080));
    scene.object(pod_of(&set, "p", running()));
    for turn in 0..3 {
        scene.at(6000 + turn * 1000).log(
            "realm-setup-x",
            "realm-setup",
            "wget: can't connect to remote host (10.96.4.5): Connection refused",
        );
    }
    scene.at(9000).object(as_ready(pod_of(&set, "p", running())));
    scene
        .at(9500)
        .log("realm-setup-x", "realm-setup", "configured")
        .object(phase(pod_of(&job, "x", terminated(0)), "Succeeded"));
    scene.at(9600).object(with_condition(job, "Complete", "")).at(9900).engine_ends(0);
    scene.never_certain();
    assert_eq!(scene.diagnosis(), crate::diagnosis::Diagnosis::default());
}

#[test]
fn an_old_complaint_followed_by_progress_is_over() {
    let (mut scene, job) = begin(&asks(), "post-install");
    scene.at(1500).object(pod_of(&job, "x", running()));
    scene.at(2000).log(
        "realm-setup-x",
        "realm-setup",
        "curl: (6) Could not resolve host: login.shop.invalid",
    );
    scene
        .at(2500)
        .log("realm-setup-x", "realm-setup", "identity is there, creating the realm");
    scene.at(9000).log("realm-setup-x", "realm-setup", "creating clients");
    scene.never_certain();
    assert_eq!(scene.diagnosis().suspected.iter().filter(|cause| cause.slug == SLUG).count(), 0);
}

#[test]
fn a_service_whose_pods_crash_leads_to_them() {
    let container = json!({"command": ["sh", "-c", "until nc -z ledger 5432; do echo waiting for ledger; sleep 1; done"]});
    let (mut scene, job) = begin(&container, "post-install");
    let (deployment_, set) = deployment("ledger", json!({"image": "ledger:1"}), 0);
    scene
        .object(deployment_)
        .object(set.clone())
        .object(service("ledger", "ledger", 5432));
    let crashing = |times| restarted(pod_of(&set, "p", waiting("CrashLoopBackOff", "back-off 20s")), times, 3);
    scene.at(1400).object(crashing(1)).at(1500).object(pod_of(&job, "x", running()));
    for turn in 0..4 {
        scene.at(2000 + turn * 1000).log(
            "realm-setup-x",
            "realm-setup",
            "nc: connect to ledger port 5432 (tcp) failed: Connection refused",
        );
        scene.log("realm-setup-x", "realm-setup", "waiting for ledger");
    }
    scene
        .at(20_000)
        .object(crashing(2))
        .at(21_000)
        .engine_says("timed out waiting for the condition")
        .engine_ends(1);
    scene.settles_on(&[("crash-loop", "Deployment/ledger")]);
    let slugs: Vec<_> = scene.diagnosis().causes[0]
        .chain
        .iter()
        .filter_map(|link| link.slug.clone())
        .collect();
    assert_eq!(slugs, [SLUG]);
}
