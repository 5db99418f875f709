//! # What it detects
//!
//! A Kustomization whose health checks name a Job that is not there: it was taken out of the manifests, and its check was not.
//!
//! # Why it happens
//!
//! `spec.healthChecks` is a list of its own. Flux deletes the Job when it vanishes from the manifests, and goes on waiting for it until the
//! timeout, at every reconciliation. A check on a Job that its TTL deletes ends in the same words.
//!
//! # Evidence
//!
//! The entry of `spec.healthChecks`; that no such Job is among those of its namespace; that the Kustomization lists what it has applied in
//! its inventory, and the Job is not in it. While others have not applied what they are going to, it is only suspected.
//!
//! # Remedy
//!
//! `drop-health-check`.

use crate::diagnosis::attempt::{engine_gave_up, message, reason};
use crate::diagnosis::cite;
use crate::diagnosis::dependencies::on_its_way;
use crate::diagnosis::logs::quoted;
use crate::diagnosis::progress::{not_seen_since_remedy, plain};
use crate::diagnosis::rollout::inventory;
use crate::diagnosis::{Certainty, Class, Detector, Finding};
use crate::evidence::manifest::text;
use crate::evidence::{Evidence, Life, ObjectRef};
use crate::remedy::Remedy;

pub const DETECTOR: Detector = Detector {
    slug: "healthcheck-on-removed-job",
    summary: "a Kustomization checks the health of a Job that is not there any more",
    class: Class::Specific,
    remedies: &["drop-health-check"],
    detect,
};

fn detect(evidence: &Evidence) -> Vec<Finding> {
    if !evidence.watched("Job") {
        return Vec::new();
    }
    let unready = evidence
        .all("Kustomization")
        .filter(|life| life.condition("Ready") != "True" && !not_seen_since_remedy(evidence, life));
    unready.flat_map(|life| of_kustomization(evidence, life)).collect()
}

fn of_kustomization(evidence: &Evidence, life: &Life) -> Vec<Finding> {
    let applied = inventory(life);
    // Before it has applied anything, what it checks is not there yet.
    if applied.is_empty() {
        return Vec::new();
    }
    let own = life.text("/metadata/namespace");
    let checks = life.list("/spec/healthChecks").iter().filter(|check| text(check, "/kind") == "Job");
    checks
        .filter_map(|check| {
            let namespace = Some(text(check, "/namespace"))
                .filter(|namespace| !namespace.is_empty())
                .unwrap_or(own);
            let job = ObjectRef::new("Job", Some(namespace), text(check, "/name"));
            let known = namespace == evidence.header.namespace && evidence.get("Job", namespace, &job.name).is_none();
            (known && applied.iter().all(|object| !object.same(&job))).then(|| finding(evidence, life, job))
        })
        .collect()
}

fn finding(evidence: &Evidence, life: &Life, job: ObjectRef) -> Finding {
    let kustomization = plain(&life.reference());
    let gave_up = engine_gave_up(evidence) || life.condition("Ready") == "False";
    let (certainty, why) = match on_its_way(evidence, &[]) {
        Some(other) if !gave_up => (Certainty::Suspected, format!("{} {} may still bring it", other.kind, other.name)),
        _ => (
            Certainty::Certain,
            "the Kustomization has applied all that it consists of, and this Job is none of it".to_owned(),
        ),
    };
    let last = evidence
        .ever_named("Job", job.namespace.as_deref().unwrap_or_default(), &job.name)
        .last();
    let mut citations = vec![cite::declared(&kustomization, format!("spec.healthChecks: Job {}", job.name))];
    if !message(life).is_empty() && life.condition("Ready") == "False" {
        let said = format!("condition Ready: False, {}: {}", reason(life), quoted(message(life)));
        citations.push(cite::observed(&kustomization, said, life.versions.last().map(|version| version.at)));
    }
    citations.push(match last.and_then(|last| last.deleted_at) {
        Some(gone) => cite::observed(&job, "it was deleted", Some(gone)),
        None => cite::inferred(
            &job,
            format!("namespace {} has no Job {}", job.namespace.as_deref().unwrap_or_default(), job.name),
        ),
    });
    citations.push(cite::declared(
        &kustomization,
        format!("status.inventory: {} objects, no Job {}", inventory(life).len(), job.name),
    ));
    Finding {
        slug: DETECTOR.slug,
        statement: format!(
            "Kustomization {} checks the health of Job {}, which it does not deliver and which does not exist",
            life.name(),
            job.name
        ),
        certainty,
        why,
        since: life.first_seen(),
        citations,
        explains: vec![job.clone()],
        blames: Vec::new(),
        remedy: Some(
            Remedy::new(
                "drop-health-check",
                format!("take Job {} out of spec.healthChecks of Kustomization {}", job.name, life.name()),
            )
            .with("job", &job.name)
            .with("kustomization", life.name()),
        ),
        alternatives: Vec::new(),
        subject: job,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::diagnosis::fixture::*;

    const SLUG: &str = "healthcheck-on-removed-job";

    fn kustomization(applied: &[&str], ready: &str) -> Value {
        let entries: Vec<Value> = applied.iter().map(|id| json!({"id": id, "v": "v1"})).collect();
        json!({
            "kind": "Kustomization", "metadata": {"name": RELEASE, "generation": 1},
            "spec": {"healthChecks": [{"apiVersion": "batch/v1", "kind": "Job", "name": "seed", "namespace": NAMESPACE}]},
            "status": {"inventory": {"entries": entries}, "conditions": [{"type": "Ready", "status": ready, "reason": "HealthCheckFailed", "message": "timeout waiting"}]},
        })
    }

    #[test]
    fn a_job_that_is_not_delivered_is_certain_while_flux_waits() {
        let mut scene = Scene::new();
        scene.kustomization(10_000).at(100).object(kustomization(&[], "Unknown"));
        scene.never_certain();
        scene.at(300).object(kustomization(&["shop_web_apps_Deployment"], "Unknown"));
        scene.settles_on(&[(SLUG, "Job/seed")]);
        scene.at(10_300).object(kustomization(&["shop_web_apps_Deployment"], "False"));
        scene
            .engine_says("Ready=False HealthCheckFailed: timeout waiting for: [Job/shop/seed status: 'NotFound']")
            .engine_ends(1);
        scene.settles_on(&[(SLUG, "Job/seed")]);
        let chain: Vec<_> = scene.diagnosis().causes[0]
            .chain
            .iter()
            .map(|link| link.statement.clone())
            .collect();
        assert_eq!(chain, ["store: its reconciliation timed out after 10s waiting for Job seed"]);
    }

    #[test]
    fn a_job_that_it_delivers_or_that_is_there_is_none() {
        let mut scene = Scene::new();
        scene
            .kustomization(10_000)
            .at(300)
            .object(kustomization(&["shop_seed_batch_Job"], "Unknown"));
        scene.never_certain();
        let mut scene = Scene::new();
        scene.kustomization(10_000).object(job("seed", json!({"image": "a"})));
        scene.at(300).object(kustomization(&["shop_web_apps_Deployment"], "Unknown"));
        scene.never_certain();
    }

    #[test]
    fn one_that_another_may_bring_is_only_suspected() {
        let mut scene = Scene::new();
        scene
            .kustomization(10_000)
            .object(json!({"kind": "Kustomization", "metadata": {"name": "jobs"}}));
        scene.at(300).object(kustomization(&["shop_web_apps_Deployment"], "Unknown"));
        scene.never_certain();
    }
}
