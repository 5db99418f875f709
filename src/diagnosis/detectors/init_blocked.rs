//! # What it detects
//!
//! A pod that does not get past an init container, because that waits for a server which does not come.
//!
//! # Why it happens
//!
//! Init containers that wait for a database or a queue hold a pod at `Init:0/3` for as long as the other does not answer: its Service has
//! another name, selects nothing, was never installed, or its pods are not well themselves.
//!
//! # Evidence
//!
//! The pod's init containers that are done, and the one that is not; the line that it repeats, or the address in its script; what stands
//! behind that Service: nothing, no such Service, or pods that are stuck. Whatever keeps those from coming up is the deeper cause. A server
//! that is only slow is none.
//!
//! # Remedy
//!
//! `provide-service`, or `fix-address` where the address is none of this cluster.

use jiff::SignedDuration;

use crate::diagnosis::attempt::{duration, engine_gave_up};
use crate::diagnosis::cite;
use crate::diagnosis::inits::{Blocked, blocked, progress};
use crate::diagnosis::logs::{lines, most_repeated, quoted};
use crate::diagnosis::place::Place;
use crate::diagnosis::services::{Backing, backing};
use crate::diagnosis::supply::{judge, place_of};
use crate::diagnosis::tries::Miss;
use crate::diagnosis::{Certainty, Citation, Class, Detector, Finding};
use crate::evidence::{Evidence, ObjectRef};
use crate::remedy::Remedy;

pub const DETECTOR: Detector = Detector {
    slug: "init-blocked",
    summary: "an init container waits for a server that does not come",
    class: Class::Specific,
    remedies: &["fix-address", "provide-service"],
    detect,
};

/// What is applied in one go may come in any order, and takes its time to start.
const TOGETHER: SignedDuration = SignedDuration::from_secs(15);

fn detect(evidence: &Evidence) -> Vec<Finding> {
    let all = blocked(evidence);
    all.iter().filter_map(|blocked| finding(evidence, blocked)).collect()
}

fn finding(evidence: &Evidence, blocked: &Blocked<'_>) -> Option<Finding> {
    let Blocked { task, pod, tries, .. } = blocked;
    let verdict = judge(evidence, task, tries)?;
    let (name, target) = (blocked.container.name, &tries.target);
    let place = place_of(evidence, &tries.host, pod.text("/metadata/namespace"));
    let (what, remedy) = match &place {
        Place::Service { namespace, name: service } => {
            let what = match evidence.get("Service", namespace, service).map(|life| backing(evidence, life)) {
                None => format!("there is no Service {service}"),
                Some(Backing::Empty) => format!("nothing stands behind Service {service}"),
                Some(Backing::Stuck(_)) => format!("every pod behind Service {service} is stuck"),
                Some(Backing::Coming(why)) => format!("its Service has no endpoint: {why}"),
                Some(Backing::Ready) => return None,
            };
            let sentence = format!("let {target} answer, or let init container {name} wait for what does");
            (what, Remedy::new("provide-service", sentence).with("service", service))
        }
        _ => {
            let what = match &tries.miss {
                Miss::Unresolved => "this name does not resolve inside the cluster".to_owned(),
                Miss::Unreachable { reason } => format!("it does not answer ({reason})"),
            };
            let sentence = format!("give init container {name} an address that answers inside the cluster");
            (what, Remedy::new("fix-address", sentence))
        }
    };
    let waited = evidence.since(blocked.pod.time("/metadata/creationTimestamp").unwrap_or(blocked.began));
    let (certainty, why) = if waited < TOGETHER && !engine_gave_up(evidence) {
        (Certainty::Suspected, "what it waits for may still come".to_owned())
    } else {
        (verdict.certainty, verdict.why)
    };
    let subject = task.reference.clone();
    Some(Finding {
        slug: DETECTOR.slug,
        statement: format!("init container {name} waits for {target}, and {what}"),
        certainty,
        why,
        since: pod.time("/metadata/creationTimestamp").unwrap_or_else(|| pod.first_seen()),
        citations: citations(evidence, blocked, &place, &what),
        explains: vec![pod.reference(), subject.clone()],
        blames: [verdict.blames, of_place(&place)].concat(),
        subject,
        remedy: Some(remedy.with("container", name).with("target", target)),
        alternatives: Vec::new(),
    })
}

fn of_place(place: &Place) -> Vec<ObjectRef> {
    match place {
        Place::Service { namespace, name } => vec![ObjectRef::new("Service", Some(namespace), name)],
        _ => Vec::new(),
    }
}

fn citations(evidence: &Evidence, blocked: &Blocked<'_>, place: &Place, what: &str) -> Vec<Citation> {
    let Blocked { pod, tries, task, .. } = blocked;
    let (name, own) = (blocked.container.name, pod.reference());
    let mut citations = Vec::new();
    if let Some((of, line)) = &tries.line {
        citations.push(cite::printed(&of.reference(), line));
    } else if let Some(repeated) = most_repeated(lines(evidence, pod.uid(), name)) {
        let text = format!("{} {} times", quoted(&repeated.text), repeated.times);
        citations.push(cite::observed(&own, text, Some(repeated.since)));
    }
    if let Some(declared) = &tries.declared {
        citations.push(cite::declared(
            &task.reference,
            format!("{}: {}", declared.origin, declared.address),
        ));
    }
    let waits = match blocked.container.running() {
        true => format!("has been running for {}", duration(evidence.since(blocked.began))),
        false => format!("ended with exit code {}", blocked.container.exit_code().unwrap_or_default()),
    };
    let status = format!(
        "Init:{}: init container {name} {waits}, {} restarts",
        progress(pod),
        blocked.container.restarts()
    );
    citations.push(cite::observed(&own, status, Some(blocked.began)));
    citations.extend(of_place(place).first().map(|service| cite::inferred(service, what)));
    citations
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::diagnosis::fixture::*;

    const SLUG: &str = "init-blocked";

    /// A Deployment whose pods wait for `db` at the first of two init containers.
    fn waiting_for_db(scene: &mut Scene) -> Value {
        let (mut deployment, mut set) = deployment("orders", json!({"image": "orders:1"}), 0);
        let inits = json!([
            {"name": "wait-for-db", "command": ["sh", "-c", "until nc -z db 5432; do echo waiting for the database; sleep 2; done"]},
            {"name": "migrate", "image": "orders:1"},
        ]);
        deployment["spec"]["template"]["spec"]["initContainers"] = inits.clone();
        set["spec"]["template"]["spec"]["initContainers"] = inits;
        let mut pod = pod_of(&set, "p", waiting("PodInitializing", ""));
        pod["status"]["initContainerStatuses"] = json!([
            {"name": "wait-for-db", "restartCount": 0, "state": {"running": {"startedAt": "2026-01-02T03:04:06Z"}}},
            {"name": "migrate", "restartCount": 0, "state": {"waiting": {"reason": "PodInitializing"}}},
        ]);
        scene.object(deployment).object(set.clone()).at(1000).object(pod);
        set
    }

    fn loops(scene: &mut Scene) {
        for turn in 1..12 {
            scene
                .at(2000 + turn * 2000)
                .log("orders-7f9c-p", "wait-for-db", "waiting for the database");
        }
    }

    #[test]
    fn there_is_no_such_service() {
        let mut scene = Scene::new();
        waiting_for_db(&mut scene);
        loops(&mut scene);
        scene.settles_on(&[(SLUG, "Deployment/orders")]);
        let cause = &scene.diagnosis().causes[0];
        assert_eq!(
            cause.statement,
            "init container wait-for-db waits for db, and there is no Service db"
        );
        let cited: Vec<&str> = cause.citations.iter().map(|citation| citation.text.as_str()).collect();
        assert_eq!(cited[0], "\"waiting for the database\" 11 times");
        assert!(
            cited[2].starts_with("Init:0/2: init container wait-for-db has been running for"),
            "{cited:?}"
        );
    }

    #[test]
    fn what_keeps_the_server_from_coming_is_the_cause() {
        let mut scene = Scene::new();
        scene.object(service("db", "postgres", 5432));
        waiting_for_db(&mut scene);
        let (postgres, set) = deployment("postgres", json!({"image": "postgres:dev", "imagePullPolicy": "Never"}), 0);
        let never = "Container image \"postgres:dev\" is not present with pull policy of Never";
        scene
            .object(postgres)
            .object(set.clone())
            .object(pod_of(&set, "b", waiting("ErrImageNeverPull", never)));
        loops(&mut scene);
        scene.settles_on(&[("image-not-loaded", "Deployment/postgres")]);
    }

    #[test]
    fn the_service_that_selects_nothing_is_the_cause() {
        let mut scene = Scene::new();
        scene.object(service("db", "postgres", 5432));
        waiting_for_db(&mut scene);
        let (postgres, set) = deployment("store-postgres", json!({"image": "postgres:18"}), 1);
        scene
            .object(postgres)
            .object(set.clone())
            .object(as_ready(pod_of(&set, "b", running())));
        loops(&mut scene);
        scene.settles_on(&[("service-without-endpoints", "Service/db")]);
        let chain = &scene.diagnosis().causes[0].chain;
        assert_eq!(chain[0].subject.to_string(), "Deployment/orders");
        assert!(chain.iter().any(|link| link.slug.as_deref() == Some(SLUG)), "{chain:?}");
    }

    #[test]
    fn a_server_that_is_only_slow() {
        let mut scene = Scene::new();
        scene.object(service("db", "postgres", 5432));
        let set = waiting_for_db(&mut scene);
        let (postgres, of) = deployment("postgres", json!({"image": "postgres:18"}), 0);
        scene.object(postgres).object(of.clone()).object(pod_of(&of, "b", running()));
        loops(&mut scene);
        scene.never_certain();
        let (orders, _) = deployment("orders", json!({"image": "orders:1"}), 1);
        scene.at(40_000).object(orders).object(as_ready(pod_of(&set, "p", running())));
        scene.never_certain();
        assert_eq!(scene.diagnosis().suspected, []);
    }

    #[test]
    fn within_the_first_moments_it_is_suspected() {
        let mut scene = Scene::new();
        waiting_for_db(&mut scene);
        for turn in 1..5 {
            scene
                .at(2000 + turn * 2000)
                .log("orders-7f9c-p", "wait-for-db", "waiting for the database");
        }
        scene.never_certain();
        assert_eq!(scene.diagnosis().suspected[0].slug, SLUG);
    }
}
