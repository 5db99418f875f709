//! # What it detects
//!
//! A Job that failed for want of a Secret or a ConfigMap which another Kustomization or HelmRelease of Flux's delivers, and which its own
//! does not depend on.
//!
//! # Why it happens
//!
//! Objects of one Kustomization are applied together and wait for each other by themselves; between Kustomizations only `spec.dependsOn`
//! makes an order. A Job that is moved to another place in the tree loses the order that it had there. Its pods would wait for the Secret
//! for ever and be healed by it; so it shows only where something ends sooner: the Job's own deadline, or a wait.
//!
//! # Evidence
//!
//! What the pod of the Job refers to; that the kubelet did not find it; the label that tells who has applied it since; that it came after
//! the Job's pod; and that following `spec.dependsOn` from the Job's own Kustomization does not lead there.
//!
//! # Remedy
//!
//! `add-dependency`: to the one that delivers it.

use crate::diagnosis::attempt::engine_gave_up;
use crate::diagnosis::cite;
use crate::diagnosis::dependencies::{deliverer, dependencies};
use crate::diagnosis::hooks::{Task, tasks};
use crate::diagnosis::progress::{JobState, plain};
use crate::diagnosis::references::{CONFIG_MAPS, Reference, SECRETS, needed};
use crate::diagnosis::{Certainty, Citation, Class, Detector, Finding};
use crate::evidence::manifest::pod_spec;
use crate::evidence::{Evidence, Life};
use crate::remedy::Remedy;

pub const DETECTOR: Detector = Detector {
    slug: "job-before-its-secret",
    summary: "a Job ran before the Kustomization that delivers its Secret, which its own does not depend on",
    class: Class::Specific,
    remedies: &["add-dependency"],
    detect,
};

fn detect(evidence: &Evidence) -> Vec<Finding> {
    let mut findings = Vec::new();
    for task in tasks(evidence) {
        let Some(own) = deliverer(evidence, task.latest).filter(|_| !matches!(task.state(), JobState::Complete { .. })) else {
            continue;
        };
        let Some(spec) = pod_spec(task.latest.object()) else { continue };
        for (kind, fields) in [("Secret", &SECRETS), ("ConfigMap", &CONFIG_MAPS)] {
            for reference in needed(spec, fields) {
                findings.extend(finding(evidence, &task, own, kind, &reference));
            }
        }
    }
    findings
}

fn created(life: &Life) -> jiff::Timestamp {
    life.time("/metadata/creationTimestamp").unwrap_or_else(|| life.first_seen())
}

fn finding(evidence: &Evidence, task: &Task<'_>, own: &Life, kind: &str, reference: &Reference) -> Option<Finding> {
    let namespace = task.latest.text("/metadata/namespace");
    let object = evidence.get(kind, namespace, &reference.name)?;
    let from = deliverer(evidence, object).filter(|from| from.uid() != own.uid())?;
    let first_pod = task.pods.first().map(|pod| created(pod))?;
    if created(object) <= first_pod || leads_to(evidence, own, from) {
        return None;
    }
    let failed = matches!(task.state(), JobState::Failed { .. });
    let (certainty, why) = match failed || engine_gave_up(evidence) {
        true => (Certainty::Certain, "the Job had given up when it came"),
        false => (Certainty::Suspected, "the Job may still go on, now that it is there"),
    };
    let (job, name) = (&task.reference, &reference.name);
    Some(Finding {
        slug: DETECTOR.slug,
        statement: format!(
            "Job {} ran before {kind} {name} was there, which {} {} delivers and {} {} does not depend on",
            job.name,
            from.text("/kind"),
            from.name(),
            own.text("/kind"),
            own.name()
        ),
        certainty,
        why: why.to_owned(),
        since: task.created(),
        citations: citations(evidence, task, own, from, object, reference),
        explains: [task.explains(), vec![plain(&object.reference())]].concat(),
        blames: Vec::new(),
        subject: job.clone(),
        remedy: Some(
            Remedy::new(
                "add-dependency",
                format!(
                    "let {} {} depend on {} {} (spec.dependsOn)",
                    own.text("/kind"),
                    own.name(),
                    from.text("/kind"),
                    from.name()
                ),
            )
            .with("kind", from.text("/kind"))
            .with("name", from.name())
            .with("job", &job.name)
            .with("of", own.name()),
        ),
        alternatives: Vec::new(),
    })
}

/// Whether one object is applied only after another, directly or through others.
fn leads_to(evidence: &Evidence, from: &Life, to: &Life) -> bool {
    let mut open = vec![from];
    let mut seen: Vec<&str> = Vec::new();
    while let Some(life) = open.pop() {
        if life.uid() == to.uid() {
            return true;
        }
        if !seen.contains(&life.uid()) {
            seen.push(life.uid());
            open.extend(dependencies(evidence, life).into_iter().filter_map(|dependency| dependency.life));
        }
    }
    false
}

fn citations(evidence: &Evidence, task: &Task<'_>, own: &Life, from: &Life, object: &Life, reference: &Reference) -> Vec<Citation> {
    let mut citations = vec![cite::declared(
        &task.reference,
        format!("{}: {} {}", reference.origin, object.text("/kind"), reference.name),
    )];
    // What the kubelet said, while it was so.
    let missed = task.pods.iter().find_map(|pod| {
        let version = pod.versions.iter().find(|version| said_missing(&version.object, &reference.name))?;
        let text = format!(
            "container waits: CreateContainerConfigError: {} \"{}\" not found",
            object.text("/kind").to_lowercase(),
            reference.name
        );
        Some(cite::observed(&pod.reference(), text, Some(version.at)))
    });
    citations.extend(missed);
    let came = created(object).duration_since(task.created()).as_secs();
    citations.push(cite::observed(
        &plain(&object.reference()),
        format!("metadata.creationTimestamp: {came}s after that of the Job"),
        Some(object.first_seen()),
    ));
    citations.push(cite::observed(
        &plain(&object.reference()),
        format!("it was applied by {} {}", from.text("/kind"), from.name()),
        Some(object.first_seen()),
    ));
    let names: Vec<String> = dependencies(evidence, own).into_iter().map(|one| one.reference.name).collect();
    let names = if names.is_empty() { "(none)".to_owned() } else { names.join(", ") };
    citations.push(cite::declared(&plain(&own.reference()), format!("spec.dependsOn: {names}")));
    citations
}

fn said_missing(pod: &serde_json::Value, name: &str) -> bool {
    let statuses = pod.pointer("/status/containerStatuses").and_then(serde_json::Value::as_array);
    statuses.into_iter().flatten().any(|status| {
        let text = |pointer: &str| status.pointer(pointer).and_then(serde_json::Value::as_str).unwrap_or_default();
        text("/state/waiting/reason") == "CreateContainerConfigError"
            && text("/state/waiting/message").contains(&format!("\"{name}\" not found"))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::diagnosis::fixture::*;

    const SLUG: &str = "job-before-its-secret";

    fn kustomization(name: &str, on: &[&str]) -> Value {
        let on: Vec<Value> = on.iter().map(|name| json!({"name": name})).collect();
        json!({"kind": "Kustomization", "metadata": {"name": name, "generation": 1}, "spec": {"dependsOn": on, "wait": true}})
    }

    fn delivered(mut object: Value, by: &str) -> Value {
        object["metadata"]["labels"] = json!({"kustomize.toolkit.fluxcd.io/name": by, "kustomize.toolkit.fluxcd.io/namespace": NAMESPACE});
        object
    }

    fn seed() -> Value {
        delivered(
            job(
                "seed",
                json!({"env": [{"name": "P", "valueFrom": {"secretKeyRef": {"name": "vault", "key": "p"}}}]}),
            ),
            RELEASE,
        )
    }

    /// A Job that waits for a Secret, with these dependencies of its Kustomization.
    fn scene(on: &[&str]) -> Scene {
        let mut scene = Scene::new();
        scene
            .kustomization(10_000)
            .object(kustomization(RELEASE, on))
            .object(kustomization("secrets", &[]));
        scene.at(300).object(seed());
        scene.at(400).object(pod_of(
            &seed(),
            "p",
            waiting("CreateContainerConfigError", "secret \"vault\" not found"),
        ));
        scene
    }

    fn vault(by: &str) -> Value {
        delivered(json!({"kind": "Secret", "metadata": {"name": "vault"}}), by)
    }

    #[test]
    fn a_secret_that_comes_when_the_job_has_failed() {
        let mut scene = scene(&[]);
        scene.at(6000).object(with_condition(seed(), "Failed", "DeadlineExceeded"));
        scene
            .engine_says("Ready=False HealthCheckFailed: failed early due to stalled resources: [Job/shop/seed status: 'Failed']")
            .engine_ends(1);
        scene.never_certain();
        scene.at(9000).object(vault("secrets"));
        scene.settles_on(&[(SLUG, "Job/seed")]);
        let remedy = scene.diagnosis().causes[0].remedy.clone().unwrap();
        assert_eq!(
            (remedy.kind.as_str(), remedy.parameters["name"].as_str()),
            ("add-dependency", "secrets")
        );
    }

    #[test]
    fn one_that_comes_in_time_or_that_it_depends_on_is_silent() {
        let mut in_time = scene(&[]);
        in_time
            .at(3000)
            .object(vault("secrets"))
            .at(4000)
            .object(with_condition(seed(), "Complete", ""));
        in_time.never_certain();
        for mut scene in [scene(&["secrets"]), scene(&["base"])] {
            scene.object(kustomization("base", &["secrets"]));
            scene
                .at(6000)
                .object(with_condition(seed(), "Failed", "BackoffLimitExceeded"))
                .engine_ends(1)
                .at(9000)
                .object(vault("secrets"));
            assert!(scene.diagnosis().causes.iter().all(|cause| cause.slug != SLUG));
        }
    }

    #[test]
    fn a_secret_of_its_own_or_of_nobody_is_another_story() {
        for by in [RELEASE, "nobody"] {
            let mut scene = scene(&[]);
            scene
                .at(6000)
                .object(with_condition(seed(), "Failed", "DeadlineExceeded"))
                .engine_ends(1)
                .at(9000)
                .object(vault(by));
            assert!(scene.diagnosis().causes.iter().all(|cause| cause.slug != SLUG), "{by}");
        }
    }
}
