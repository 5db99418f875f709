//! # What it detects
//!
//! A dependency that counts as Ready as soon as its objects are applied, while what it delivers is not ready yet: whoever depends on it
//! begins too early, and fails.
//!
//! # Why it happens
//!
//! A Kustomization is Ready once it has applied its objects, unless it is told to `wait` or has health checks; a HelmRelease with
//! `disableWait` likewise. `spec.dependsOn` waits for Ready and for nothing else.
//!
//! # Evidence
//!
//! The entry of `spec.dependsOn`; that the dependency is Ready and neither waits nor checks; the Job of the dependant that failed; the
//! address that it was given, the Service behind it, and that the dependency has applied the workload behind that one; that this workload
//! was not ready when the Job failed.
//!
//! # Remedy
//!
//! `wait-for-dependency`: `spec.wait: true`, or health checks, at the dependency.

use jiff::Timestamp;

use crate::diagnosis::cite;
use crate::diagnosis::dependencies::{Standing, deliverer, dependencies, waits_for_its_own};
use crate::diagnosis::hooks::{Task, tasks};
use crate::diagnosis::progress::{JobState, plain, pods_behind, ready};
use crate::diagnosis::rollout::{consists_of, readiness};
use crate::diagnosis::services::is_behind;
use crate::diagnosis::targets::targets;
use crate::diagnosis::{Certainty, Citation, Class, Detector, Finding, attempt};
use crate::evidence::{Evidence, Life};
use crate::remedy::Remedy;

pub const DETECTOR: Detector = Detector {
    slug: "dependency-ready-too-early",
    summary: "a dependency is Ready before what it delivers is, and its dependant fails for that",
    class: Class::Specific,
    remedies: &["wait-for-dependency"],
    detect,
};

fn detect(evidence: &Evidence) -> Vec<Finding> {
    let mut findings = Vec::new();
    for task in tasks(evidence) {
        let JobState::Failed { at, .. } = task.state() else { continue };
        let Some(own) = deliverer(evidence, task.latest) else { continue };
        let failed = at.unwrap_or(evidence.now);
        let early = dependencies(evidence, own)
            .into_iter()
            .filter(|dependency| dependency.standing == Standing::Ready)
            .filter_map(|dependency| dependency.life)
            .filter(|life| !waits_for_its_own(life));
        for dependency in early {
            findings.extend(finding(evidence, &task, own, dependency, failed));
        }
    }
    findings
}

fn finding(evidence: &Evidence, task: &Task<'_>, own: &Life, dependency: &Life, failed: Timestamp) -> Option<Finding> {
    let delivered: Vec<&Life> = consists_of(&attempt::of_flux(evidence, dependency))
        .iter()
        .filter(|part| matches!(part.kind.as_str(), "Deployment" | "StatefulSet" | "DaemonSet"))
        .filter_map(|part| evidence.meant(part))
        .collect();
    let targets = targets(evidence, task);
    let (target, workload, then) = targets.iter().find_map(|target| {
        let behind = |workload: &&&Life| pods_behind(evidence, workload).iter().any(|pod| is_behind(target.service, pod));
        let workload = delivered.iter().find(behind)?;
        let then = workload.until(failed).filter(|then| !ready(then))?;
        Some((target, *workload, then))
    })?;
    let (kind, name) = (dependency.text("/kind"), dependency.name());
    let asks = target
        .declared
        .as_ref()
        .map(|declared| cite::declared(&task.reference, format!("{}: {}", declared.origin, declared.address)));
    let field = if kind == "Kustomization" {
        "spec.wait: false"
    } else {
        "spec.install.disableWait: true"
    };
    let mut citations: Vec<Citation> = vec![
        cite::declared(&plain(&own.reference()), format!("spec.dependsOn: {name}")),
        cite::declared(&plain(&dependency.reference()), format!("{field}, no spec.healthChecks")),
    ];
    citations.extend(asks);
    let when = failed.duration_since(workload.first_seen()).as_secs();
    let text = format!(
        "{} when Job {} failed, {when}s after it was applied",
        readiness(&then),
        task.reference.name
    );
    citations.push(cite::observed(&plain(&workload.reference()), text, Some(failed)));
    Some(Finding {
        slug: DETECTOR.slug,
        statement: format!(
            "{kind} {name} was Ready before its {} {} was",
            workload.text("/kind"),
            workload.name()
        ),
        certainty: Certainty::Certain,
        why: "it is Ready as soon as it is applied, because it neither waits nor checks".to_owned(),
        since: dependency.first_seen(),
        citations,
        explains: task.explains(),
        blames: Vec::new(),
        subject: plain(&dependency.reference()),
        remedy: Some(
            Remedy::new(
                "wait-for-dependency",
                format!(
                    "let {kind} {name} wait for what it delivers ({})",
                    if kind == "Kustomization" {
                        "spec.wait: true"
                    } else {
                        "without disableWait"
                    }
                ),
            )
            .with("kind", kind)
            .with("name", name),
        ),
        alternatives: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::diagnosis::fixture::*;

    const SLUG: &str = "dependency-ready-too-early";

    fn kustomization(name: &str, spec: Value, applied: &[&str]) -> Value {
        let entries: Vec<Value> = applied.iter().map(|id| json!({"id": id, "v": "v1"})).collect();
        json!({
            "kind": "Kustomization", "metadata": {"name": name, "generation": 1}, "spec": spec,
            "status": {"observedGeneration": 1, "inventory": {"entries": entries}, "conditions": [{"type": "Ready", "status": "True", "reason": "ReconciliationSucceeded"}]},
        })
    }

    fn delivered(mut object: Value, by: &str) -> Value {
        object["metadata"]["labels"] = json!({"kustomize.toolkit.fluxcd.io/name": by, "kustomize.toolkit.fluxcd.io/namespace": NAMESPACE});
        object
    }

    /// A Job that fails while the database of this dependency has so many pods available.
    fn scene(spec: Value, available: u32) -> Scene {
        let seed = job(
            "seed",
            json!({"env": [{"name": "DB_URL", "value": "http://db:5432"}], "command": ["sh", "-c", "curl -sf $DB_URL || exit 1"]}),
        );
        let (database, set) = deployment("db", json!({"image": "db:1"}), available);
        let pod = pod_of(&set, "p", running());
        let pod = if available > 0 { as_ready(pod) } else { pod };
        let mut scene = Scene::new();
        scene.kustomization(10_000);
        scene.object(kustomization("base", spec, &["shop_db_apps_Deployment", "shop_db__Service"]));
        scene
            .object(delivered(database, "base"))
            .object(set)
            .object(pod)
            .object(service("db", "db", 5432));
        scene.at(200).object({
            let mut own = kustomization(
                RELEASE,
                json!({"dependsOn": [{"name": "base"}], "wait": true}),
                &["shop_seed_batch_Job"],
            );
            own["status"]["conditions"][0]["status"] = json!("Unknown");
            own
        });
        let seed = delivered(seed, RELEASE);
        scene.at(300).object(seed.clone()).object(pod_of(&seed, "p", running()));
        scene
            .at(900)
            .log("seed-p", "seed", "curl: (7) Failed to connect to db port 5432: Connection refused");
        scene
            .at(1000)
            .object(pod_of(&seed, "p", terminated(1)))
            .object(with_condition(seed, "Failed", "BackoffLimitExceeded"));
        scene
            .at(1200)
            .engine_says("failed early due to stalled resources: [Job/shop/seed status: 'Failed']")
            .engine_ends(1);
        scene
    }

    #[test]
    fn what_was_applied_and_not_ready_is_the_cause() {
        let scene = scene(json!({"wait": false}), 0);
        let causes = scene.diagnosis().identity();
        assert_eq!(causes, [(SLUG.to_owned(), "Kustomization/base".to_owned())]);
    }

    #[test]
    fn one_that_waits_or_was_ready_is_none() {
        for scene in [scene(json!({"wait": true}), 0), scene(json!({"wait": false}), 1)] {
            assert!(scene.diagnosis().causes.iter().all(|cause| cause.slug != SLUG));
        }
    }
}
