//! # What it detects
//!
//! A Service that nothing answers for because of itself: its selector matches no pod though it nearly does, or it names a port that its
//! pods do not have.
//!
//! # Why it happens
//!
//! The labels of the pods were changed in one place and not in the other, `app` became `app.kubernetes.io/name`, a name has a prefix in one
//! of the two, or a port was renamed. The Service exists and resolves, and every connection to it is refused or hangs.
//!
//! # Evidence
//!
//! The selector and the labels that differ; that no other Service has these pods, which would be blue and green; that no endpoint is ready;
//! `targetPort` and the names of the containers' ports. It is a cause where something that is not well needs the Service, or where it is all
//! that there is. A Service without a selector, one of type ExternalName, and one whose pods are not up yet are none.
//!
//! # Remedy
//!
//! `fix-selector` or `fix-target-port`.

use jiff::SignedDuration;
use serde_json::Value;

use crate::diagnosis::attempt::{engine_gave_up, engine_is_patient};
use crate::diagnosis::cite;
use crate::diagnosis::needs::needed;
use crate::diagnosis::progress::plain;
use crate::diagnosis::symptoms::Symptoms;
use crate::diagnosis::unserved::{Reason, Unserved, unserved};
use crate::diagnosis::writers::{by_hand, field};
use crate::diagnosis::{Certainty, Class, Detector, Finding};
use crate::evidence::manifest::{list, pod_spec, spec_containers, text};
use crate::evidence::{Evidence, Life, ObjectRef};
use crate::remedy::Remedy;

pub const DETECTOR: Detector = Detector {
    slug: "service-without-endpoints",
    summary: "a Service selects no pod, or names a port that its pods do not have",
    class: Class::Specific,
    remedies: &["fix-selector", "fix-target-port"],
    detect,
};

/// What is applied in one go may come in any order.
const TOGETHER: SignedDuration = SignedDuration::from_secs(10);

fn detect(evidence: &Evidence) -> Vec<Finding> {
    let found = unserved(evidence);
    if found.is_empty() {
        return Vec::new();
    }
    let symptoms = Symptoms::of(evidence);
    let mut needed = needed(evidence);
    needed.retain(|service| found.iter().any(|one| one.reference().same(service)));
    let of_services = |subject: &ObjectRef| found.iter().any(|one| one.reference().same(subject));
    let alone = symptoms.all.iter().all(|symptom| of_services(&symptom.subject));
    found
        .iter()
        .map(|one| finding(evidence, one, alone, needed.iter().any(|service| service.same(&one.reference()))))
        .collect()
}

fn finding(evidence: &Evidence, unserved: &Unserved<'_>, alone: bool, needed: bool) -> Finding {
    let service = unserved.service;
    let (name, subject) = (service.name(), unserved.reference());
    let created = service.time("/metadata/creationTimestamp").unwrap_or_else(|| service.first_seen());
    let newest = match &unserved.reason {
        Reason::Selector { nearly, .. } => nearly.time("/metadata/creationTimestamp").unwrap_or_else(|| nearly.first_seen()),
        Reason::Port { .. } => created,
    };
    let (certainty, why) = if engine_gave_up(evidence) && needed {
        (Certainty::Certain, "the engine has given up".to_owned())
    } else if engine_is_patient(evidence) || evidence.since(created.max(newest)) < TOGETHER {
        (Certainty::Suspected, "what it selects may still come".to_owned())
    } else if needed {
        (Certainty::Certain, "what needs it does not get any further".to_owned())
    } else if alone {
        (
            Certainty::Certain,
            "nothing else is amiss, and no pod will answer for it".to_owned(),
        )
    } else {
        (Certainty::Suspected, "nothing that is not well is known to need it".to_owned())
    };
    let (statement, citations, remedy) = match &unserved.reason {
        Reason::Selector { nearly, differs } => {
            let pods = plain(&nearly.reference());
            let told: Vec<String> = differs
                .iter()
                .map(|one| format!("{}: {}, and the pods of {pods} have {}", one.key, one.wanted, one.found))
                .collect();
            let told = told.join("; ");
            let mut citations = vec![
                cite::declared(&subject, format!("spec.selector: {}", pairs(service.at("/spec/selector")))),
                cite::declared(&pods, format!("labels of its pods: {}", pairs(labels(nearly)))),
            ];
            // Whichever of the two was changed.
            let keys = differs.iter().map(|one| label(nearly, &one.key)).collect::<Vec<_>>();
            let changed = by_hand(service, &["spec.selector".to_owned()]);
            citations.extend(changed.or_else(|| by_hand(nearly, &keys)));
            citations.push(cite::inferred(&subject, "no pod has these labels, and no endpoint is ready"));
            let sentence = format!("let the selector of Service {name} and the labels of {pods} agree");
            let mut remedy = Remedy::new("fix-selector", sentence);
            if let Some(one) = differs.first() {
                remedy = remedy.with("label", &one.key).with("found", &one.found);
            }
            (format!("Service {name} selects no pod: it wants {told}"), citations, remedy)
        }
        Reason::Port { name: port, pods } => {
            let mut named: Vec<&str> = pods
                .iter()
                .filter_map(|pod| pod_spec(pod.object()))
                .flat_map(spec_containers)
                .flat_map(|container| list(container, "ports"))
                .map(|port| text(port, "/name"))
                .filter(|name| !name.is_empty())
                .collect();
            named.sort_unstable();
            named.dedup();
            let has = if named.is_empty() { "none".to_owned() } else { named.join(", ") };
            let mut citations = vec![cite::declared(&subject, format!("spec.ports.targetPort: {port}"))];
            let ports = service.list("/spec/ports").iter().filter_map(|port| port.get("port")?.as_u64());
            let ports: Vec<String> = ports.map(|port| format!("spec.ports[{port}].targetPort")).collect();
            citations.extend(by_hand(service, &ports));
            let pod = pods.first().map(|pod| pod.reference());
            citations.extend(pod.map(|pod| cite::declared(&pod, format!("names of its containers' ports: {has}"))));
            let sentence = format!("let Service {name} name a port that its pods have, or its number");
            (
                format!("Service {name} names the port {port}, which none of its pods has"),
                citations,
                Remedy::new("fix-target-port", sentence).with("port", *port),
            )
        }
    };
    Finding {
        slug: DETECTOR.slug,
        statement,
        certainty,
        why,
        since: created,
        citations,
        explains: vec![subject.clone()],
        blames: Vec::new(),
        subject,
        remedy: Some(remedy.with("service", name)),
        alternatives: Vec::new(),
    }
}

fn labels(life: &Life) -> Option<&Value> {
    match life.text("/kind") {
        "Pod" => life.at("/metadata/labels"),
        "CronJob" => life.at("/spec/jobTemplate/spec/template/metadata/labels"),
        _ => life.at("/spec/template/metadata/labels"),
    }
}

/// A label of the pods that something runs, as a field of it.
fn label(life: &Life, key: &str) -> String {
    let labels = match life.text("/kind") {
        "Pod" => "metadata.labels",
        "CronJob" => "spec.jobTemplate.spec.template.metadata.labels",
        _ => "spec.template.metadata.labels",
    };
    field(labels, key)
}

/// `app=web, tier=front`
fn pairs(labels: Option<&Value>) -> String {
    let all = labels.and_then(Value::as_object).into_iter().flatten();
    let told: Vec<String> = all
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    told.join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::diagnosis::fixture::*;

    const SLUG: &str = "service-without-endpoints";

    fn later(scene: &mut Scene) {
        scene.at(30_000).object(json!({"kind": "ConfigMap", "metadata": {"name": "later"}}));
    }

    fn up(scene: &mut Scene, name: &str) {
        let (deployment, set) = deployment(name, json!({"image": "web:1", "ports": [{"name": "http", "containerPort": 80}]}), 1);
        scene
            .object(deployment)
            .object(set.clone())
            .object(as_ready(pod_of(&set, "p", running())));
    }

    #[test]
    fn a_selector_that_nearly_matches_is_all_that_there_is() {
        let mut scene = Scene::new();
        scene.object(service("web", "web", 80));
        up(&mut scene, "store-web");
        later(&mut scene);
        scene.settles_on(&[(SLUG, "Service/web")]);
        assert_eq!(
            scene.diagnosis().causes[0].statement,
            "Service web selects no pod: it wants app: web, and the pods of Deployment/store-web have app: store-web"
        );
    }

    #[test]
    fn beside_another_fault_it_is_suspected() {
        let mut scene = Scene::new();
        scene.object(service("web", "web", 80));
        up(&mut scene, "store-web");
        let (other, set) = deployment("mailer", json!({"image": "mailer:dev", "imagePullPolicy": "Never"}), 0);
        let never = "Container image \"mailer:dev\" is not present with pull policy of Never";
        scene
            .object(other)
            .object(set.clone())
            .object(pod_of(&set, "b", waiting("ErrImageNeverPull", never)));
        later(&mut scene);
        scene.settles_on(&[("image-not-loaded", "Deployment/mailer")]);
        assert_eq!(scene.diagnosis().suspected[0].slug, SLUG);
        assert!(scene.diagnosis().unexplained.is_empty());
    }

    #[test]
    fn a_job_that_waits_for_it_has_it_as_its_cause() {
        let job = job(
            "seed",
            json!({"image": "tools:1", "command": ["sh", "-c", "until curl -sS http://web/; do sleep 1; done"]}),
        );
        let mut scene = Scene::new();
        scene.object(service("web", "web", 80));
        up(&mut scene, "store-web");
        scene.object(job.clone()).object(pod_of(&job, "x", running()));
        for turn in 0..12 {
            let line = "curl: (7) Failed to connect to web port 80 after 2 ms: Could not connect to server";
            scene.at(1000 + turn * 1500).log("seed-x", "seed", line);
        }
        let diagnosis = scene.diagnosis();
        assert_eq!(diagnosis.identity(), [(SLUG.to_owned(), "Service/web".to_owned())]);
        assert_eq!(diagnosis.causes[0].chain[0].subject.to_string(), "Job/seed");
    }

    #[test]
    fn a_port_that_none_of_its_pods_has() {
        let mut service = service("web", "web", 80);
        service["spec"]["ports"][0]["targetPort"] = json!("web");
        let mut scene = Scene::new();
        scene.object(service);
        up(&mut scene, "web");
        later(&mut scene);
        scene.settles_on(&[(SLUG, "Service/web")]);
        assert_eq!(
            scene.diagnosis().causes[0].citations[1].text,
            "names of its containers' ports: http"
        );
    }

    #[test]
    fn what_has_no_endpoints_on_purpose_is_silent() {
        let blue = json!({"kind": "Service", "metadata": {"name": "web-green"}, "spec": {"selector": {"app": "web", "color": "green"}, "ports": [{"port": 80}]}});
        let external = json!({"kind": "Service", "metadata": {"name": "db"}, "spec": {"type": "ExternalName", "externalName": "db.invalid", "selector": {"app": "webb"}}});
        let by_hand = json!({"kind": "Service", "metadata": {"name": "old"}, "spec": {"ports": [{"port": 80}]}});
        let mut named = service("web", "web", 80);
        named["spec"]["ports"][0]["targetPort"] = json!("http");
        let mut scene = Scene::new();
        scene
            .object(blue)
            .object(external)
            .object(by_hand)
            .object(named)
            .object(service("cache", "redis", 6379));
        up(&mut scene, "web");
        later(&mut scene);
        scene.never_certain();
        assert_eq!(scene.diagnosis().suspected, []);
    }

    #[test]
    fn pods_that_are_scaled_to_none_are_still_meant() {
        let mut scene = Scene::new();
        let (mut idle, _) = deployment("web", json!({"image": "web:1"}), 0);
        idle["spec"]["replicas"] = json!(0);
        scene.object(idle).object(service("web", "web", 80));
        up(&mut scene, "webb");
        later(&mut scene);
        scene.never_certain();
    }

    #[test]
    fn pods_with_the_label_come_within_moments() {
        let mut scene = Scene::new();
        scene.object(service("web", "web", 80));
        up(&mut scene, "store-web");
        scene.at(4000);
        up(&mut scene, "web");
        later(&mut scene);
        scene.never_certain();
    }
}
