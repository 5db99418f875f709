//! # What it detects
//!
//! A probe that asks a running container for a path that it does not know, or at a port where nothing listens.
//!
//! # Why it happens
//!
//! The path or the port was copied from another application, moved in a new version of the image, or a port was renamed. The application
//! is well, and is taken out of its Services, or killed again and again.
//!
//! # Evidence
//!
//! The kubelet's words about the probe: `HTTP probe failed with statuscode: 404`, or `connection refused` at a port that no container of
//! the pod declares, or other than the one at which the container says that it listens, or a named port that does not exist; the probe's
//! path and port; that the container itself runs. A port that is right and where nothing listens yet is a slow start.
//!
//! # Remedy
//!
//! `fix-probe`.

use std::collections::BTreeSet;

use jiff::SignedDuration;

use crate::diagnosis::attempt::{duration, engine_gave_up};
use crate::diagnosis::cite;
use crate::diagnosis::logs::quoted;
use crate::diagnosis::probes::{Failure, KINDS, Kind, Port, Probe, declared_ports, failures, kills, listens, probe, runs_for};
use crate::diagnosis::progress::{Container, containers, controller, relevant};
use crate::diagnosis::writers::by_hand_in_container;
use crate::diagnosis::{Certainty, Class, Detector, Finding};
use crate::evidence::{Evidence, Life};
use crate::remedy::Remedy;

pub const DETECTOR: Detector = Detector {
    slug: "probe-path-wrong",
    summary: "a probe asks a running container for a path or a port that it does not have",
    class: Class::Specific,
    remedies: &["fix-probe"],
    detect,
};

/// How long an application may take until it knows its own paths, and opens its ports.
const STARTS: SignedDuration = SignedDuration::from_secs(15);
/// How many failures are no coincidence.
const OFTEN: i64 = 3;

fn detect(evidence: &Evidence) -> Vec<Finding> {
    let pods = relevant(evidence, "Pod").into_iter();
    pods.filter(|pod| pod.exists() && pod.text("/metadata/deletionTimestamp").is_empty())
        .flat_map(|pod| {
            containers(pod)
                .filter(|container| !container.init)
                .map(move |container| (pod, container))
        })
        .flat_map(|(pod, container)| KINDS.into_iter().filter_map(move |kind| of_probe(evidence, pod, &container, kind)))
        .collect()
}

/// What is wrong with what a probe asks.
enum Wrong<'a> {
    Path(&'a str),
    /// The port, and those that there are.
    Port(u64, BTreeSet<u64>),
    Name(&'a str),
}

/// What is wrong with what a probe asks, by the newest of its failures.
pub fn is_wrong(evidence: &Evidence, pod: &Life, container: &str, kind: Kind) -> bool {
    let Some(probe) = probe(pod, container, kind) else { return false };
    wrong(evidence, pod, container, &probe).is_some()
}

fn wrong<'a>(evidence: &'a Evidence, pod: &'a Life, container: &str, probe: &Probe<'a>) -> Option<(Wrong<'a>, Failure<'a>)> {
    let failure = failures(evidence, pod, container, probe.kind).pop()?;
    if let Some(Port::Unknown(name)) = probe.port() {
        return Some((Wrong::Name(name), failure));
    }
    if failure.message.contains("statuscode: 404") {
        return Some((Wrong::Path(probe.path()?), failure));
    }
    if !failure.message.contains("connection refused") {
        return None;
    }
    let (Port::Number(asked) | Port::Named(_, asked)) = probe.port()? else {
        return None;
    };
    let listens = listens(evidence, pod, container);
    let others = if listens.is_empty() { declared_ports(pod) } else { listens };
    (!others.is_empty() && !others.contains(&asked)).then_some((Wrong::Port(asked, others), failure))
}

fn of_probe(evidence: &Evidence, pod: &Life, container: &Container<'_>, kind: Kind) -> Option<Finding> {
    let probe = probe(pod, container.name, kind)?;
    let (wrong, failure) = wrong(evidence, pod, container.name, &probe)?;
    let killed = kills(evidence, pod, container.name).filter(|(by, ..)| *by == kind);
    // A probe that has succeeded since is not wrong.
    if kind == Kind::Readiness && pod.condition("Ready") == "True" || kind != Kind::Readiness && killed.is_none() {
        return None;
    }
    let ran = runs_for(evidence, container);
    // What ended for a reason of its own, or is not started at all, answers no probe.
    if ran.is_none() && killed.is_none() {
        return None;
    }
    let lasts = evidence.since(failure.first) >= STARTS && failure.times >= OFTEN;
    let times = killed.map_or(0, |(_, times, _)| times);
    let (certainty, why) = if engine_gave_up(evidence) {
        (Certainty::Certain, "the engine has given up".to_owned())
    } else if lasts || times >= 2 {
        (
            Certainty::Certain,
            format!(
                "it failed so {} times, and the container has been running",
                failure.times.max(times)
            ),
        )
    } else {
        (Certainty::Suspected, "the application may still be starting".to_owned())
    };
    let subject = controller(evidence, pod);
    let (name, field) = (container.name, kind.field());
    let (statement, asks) = match &wrong {
        Wrong::Path(path) => (
            format!(
                "the {} probe of container {name} asks for {path}, which the container does not know (404)",
                kind.word()
            ),
            format!("{field}.httpGet.path of {name}: {path}"),
        ),
        Wrong::Port(port, others) => {
            let others: Vec<String> = others.iter().map(u64::to_string).collect();
            let others = others.join(" and ");
            (
                format!(
                    "the {} probe of container {name} asks port {port}, where nothing listens; the container has {others}",
                    kind.word()
                ),
                format!("port of {field} of {name}: {port}; ports that it has: {others}"),
            )
        }
        Wrong::Name(port) => (
            format!(
                "the {} probe of container {name} asks port {port}, and no port of the container has this name",
                kind.word()
            ),
            format!("port of {field} of {name}: {port}"),
        ),
    };
    let said = format!(
        "event Unhealthy: {} probe failed, {} times: {}",
        kind.word(),
        failure.times,
        quoted(failure.message)
    );
    let mut citations = vec![
        cite::observed(&pod.reference(), said, Some(failure.first)),
        cite::declared(&subject, asks),
    ];
    citations.extend(by_hand_in_container(evidence, pod, name, field));
    citations.push(match (ran, times) {
        (Some(ran), 0) => cite::observed(
            &pod.reference(),
            format!("container {name} has been running for {}", duration(ran)),
            None,
        ),
        (_, times) => cite::observed(
            &pod.reference(),
            format!(
                "container {name} ran until the {} probe had it restarted, {times} times",
                kind.word()
            ),
            None,
        ),
    });
    let remedy = Remedy::new(
        "fix-probe",
        format!("let the {} probe of container {name} ask for what the container has", kind.word()),
    )
    .with("container", name)
    .with("probe", field);
    Some(Finding {
        slug: DETECTOR.slug,
        statement,
        certainty,
        why,
        since: pod.time("/metadata/creationTimestamp").unwrap_or_else(|| pod.first_seen()),
        citations,
        explains: vec![pod.reference(), subject.clone()],
        blames: Vec::new(),
        subject,
        remedy: Some(match wrong {
            Wrong::Path(path) => remedy.with("path", path),
            Wrong::Port(port, _) => remedy.with("port", port.to_string()),
            Wrong::Name(port) => remedy.with("port", port),
        }),
        alternatives: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::diagnosis::fixture::*;

    const SLUG: &str = "probe-path-wrong";
    const NOT_FOUND: &str = "Readiness probe failed: HTTP probe failed with statuscode: 404";
    const REFUSED: &str =
        "Readiness probe failed: Get \"http://10.244.0.7:9000/live\": dial tcp 10.244.0.7:9000: connect: connection refused";

    fn scene(ports: Value, message: &str) -> (Scene, Value) {
        let probe = json!({"httpGet": {"path": "/live", "port": 9000}, "periodSeconds": 2});
        let (deployment, set) = deployment("web", json!({"image": "web:1", "ports": ports, "readinessProbe": probe}), 0);
        let pod = pod_of(&set, "p", running());
        let mut scene = Scene::new();
        scene.object(deployment).object(set.clone()).at(500).object(pod.clone());
        for count in 1..=10 {
            let mut event = warning(&pod, "Unhealthy", message);
            event["count"] = json!(count);
            event["firstTimestamp"] = json!("2026-01-02T03:04:07Z");
            scene.at(2000 * count).object(event);
        }
        (scene, set)
    }

    #[test]
    fn a_path_that_is_not_there() {
        let (scene, _) = scene(json!([]), NOT_FOUND);
        scene.settles_on(&[(SLUG, "Deployment/web")]);
        let cause = &scene.diagnosis().causes[0];
        assert_eq!(
            cause.statement,
            "the readiness probe of container web asks for /live, which the container does not know (404)"
        );
        assert_eq!(cause.citations[2].text, "container web has been running for 20s");
    }

    #[test]
    fn a_port_that_no_container_declares() {
        let (scene, _) = scene(json!([{"containerPort": 8080}]), REFUSED);
        scene.settles_on(&[(SLUG, "Deployment/web")]);
        assert!(scene.diagnosis().causes[0].statement.ends_with("the container has 8080"));
    }

    #[test]
    fn a_port_other_than_the_one_where_it_listens() {
        let (mut scene, _) = scene(json!([{"containerPort": 9000}]), REFUSED);
        scene.never_certain();
        scene.log("web-7f9c-p", "web", "2026/01/02 server started, listening on [::]:8088");
        scene.settles_on(&[(SLUG, "Deployment/web")]);
    }

    #[test]
    fn a_port_where_nothing_listens_yet_is_a_slow_start() {
        let (mut scene, _) = scene(json!([{"containerPort": 9000}]), REFUSED);
        scene.log("web-7f9c-p", "web", "loading 3 models");
        scene.never_certain();
        assert_eq!(scene.diagnosis().suspected, []);
    }

    #[test]
    fn an_application_that_knows_its_path_only_later() {
        let (deployment_, set) = deployment(
            "web",
            json!({"image": "web:1", "readinessProbe": {"httpGet": {"path": "/live", "port": 9000}}}),
            0,
        );
        let pod = pod_of(&set, "p", running());
        let mut scene = Scene::new();
        scene.object(deployment_).object(set.clone()).at(500).object(pod.clone());
        scene.at(4000).object(warning(&pod, "Unhealthy", NOT_FOUND));
        scene
            .at(9000)
            .object(as_ready(pod))
            .object(deployment("web", json!({"image": "web:1"}), 1).0);
        scene.at(40_000).object(json!({"kind": "ConfigMap", "metadata": {"name": "later"}}));
        scene.never_certain();
    }

    #[test]
    fn a_named_port_that_does_not_exist() {
        let probe = json!({"httpGet": {"path": "/live", "port": "htpp"}});
        let (deployment, set) = deployment(
            "web",
            json!({"image": "web:1", "ports": [{"name": "http", "containerPort": 80}], "readinessProbe": probe}),
            0,
        );
        let pod = pod_of(&set, "p", running());
        let mut scene = Scene::new();
        scene.object(deployment).object(set).at(500).object(pod.clone());
        let mut event = warning(
            &pod,
            "Unhealthy",
            "Readiness probe errored and resulted in unknown state: couldn't find port: htpp",
        );
        event["count"] = json!(4);
        event["firstTimestamp"] = json!("2026-01-02T03:04:07Z");
        scene.at(20_000).object(event);
        scene.settles_on(&[(SLUG, "Deployment/web")]);
    }

    #[test]
    fn a_server_error_is_not_a_wrong_path() {
        let (scene, _) = scene(json!([]), "Readiness probe failed: HTTP probe failed with statuscode: 503");
        scene.never_certain();
    }
}
