//! # What it detects
//!
//! A liveness or startup probe that has a container killed each time before it has started.
//!
//! # Why it happens
//!
//! An application that needs longer to start than `initialDelaySeconds` + `periodSeconds` × `failureThreshold` is killed in the middle of
//! it, and starts again from the beginning, for ever: on a slower machine, with more data, or since the probe was copied from a smaller one.
//!
//! # Evidence
//!
//! The kubelet's event `Killing` with `failed liveness probe` or `failed startup probe`; the probe's arithmetic; that the container's runs
//! took as long as that and no longer; that it ended as what is told to end (137, 143 or 0), not for its memory, and complains of nothing.
//! One that had been up and hangs runs longer than that before it is killed. A path or a port that is wrong is `probe-path-wrong`.
//!
//! # Remedy
//!
//! `raise-probe-budget`, best with a startup probe.

use jiff::SignedDuration;

use crate::diagnosis::attempt::{duration, engine_gave_up};
use crate::diagnosis::cite;
use crate::diagnosis::limit::raise;
use crate::diagnosis::logs::{last, lines, of_last_run, quoted};
use crate::diagnosis::probes::{failures, kills, last_run, probe, runs_for};
use crate::diagnosis::progress::{Container, containers, controller, relevant};
use crate::diagnosis::writers::by_hand_in_container;
use crate::diagnosis::{Certainty, Class, Detector, Finding};
use crate::evidence::manifest::text;
use crate::evidence::{Evidence, Life, moment};

use super::probe_path_wrong::is_wrong;

pub const DETECTOR: Detector = Detector {
    slug: "probe-too-tight",
    summary: "a probe has a container killed each time before it has started",
    class: Class::Limit,
    remedies: &["raise-probe-budget"],
    detect,
};

/// The API's times are whole seconds, and the kubelet begins to probe with some delay.
const IMPRECISION: SignedDuration = SignedDuration::from_secs(3);
/// How long what is told to end may take to do so, where the pod does not say.
const GRACE: i64 = 30;

fn detect(evidence: &Evidence) -> Vec<Finding> {
    let pods = relevant(evidence, "Pod").into_iter();
    pods.flat_map(|pod| {
        containers(pod)
            .filter(|container| !container.init)
            .map(move |container| (pod, container))
    })
    .filter_map(|(pod, container)| of_container(evidence, pod, &container))
    .collect()
}

fn of_container(evidence: &Evidence, pod: &Life, container: &Container<'_>) -> Option<Finding> {
    let (kind, times, since) = kills(evidence, pod, container.name)?;
    let probe = probe(pod, container.name, kind)?;
    let (budget, ran) = (probe.budget(), last_run(container)?);
    let ended = container.ended()?;
    let told_to = matches!(container.exit_code(), Some(0 | 137 | 143)) && text(ended, "/reason") != "OOMKilled";
    let grace = moment::seconds(pod.number("/spec/terminationGracePeriodSeconds").unwrap_or(GRACE));
    // Each run ends at the budget, or soon after it where the container takes its time to end.
    let at_start = ran + IMPRECISION >= budget && ran <= budget + probe.period() + grace + IMPRECISION;
    if !told_to || !at_start || is_wrong(evidence, pod, container.name, kind) {
        return None;
    }
    // One that runs for longer now has made it.
    if runs_for(evidence, container).is_some_and(|runs| runs > budget + probe.period() + IMPRECISION) {
        return None;
    }
    let newest = failures(evidence, pod, container.name, kind).pop();
    // A server that answers with an error has started.
    let answers = |message: &str| message.contains("statuscode: ") && !message.contains("statuscode: 503");
    if newest.as_ref().is_some_and(|failure| answers(failure.message)) {
        return None;
    }
    let printed = of_last_run(lines(evidence, pod.uid(), container.name));
    let complains = printed.iter().rev().find(|line| line.complaint.is_some());
    let (certainty, why) = if let Some(line) = complains {
        let said = quoted(&line.line.text);
        (
            Certainty::Suspected,
            format!("it may not start for another reason: it prints {said}"),
        )
    } else if engine_gave_up(evidence) {
        (Certainty::Certain, "the engine has given up".to_owned())
    } else if container.restarts() >= 2 {
        let restarts = container.restarts();
        (
            Certainty::Certain,
            format!("it was killed so {restarts} times, before it had answered once, and complains of nothing"),
        )
    } else {
        (Certainty::Suspected, "its next start may be faster".to_owned())
    };
    let subject = controller(evidence, pod);
    let (name, word) = (container.name, kind.word());
    let own = pod.reference();
    let code = container.exit_code().unwrap_or_default();
    let reason = text(ended, "/reason");
    let mut citations = vec![
        cite::observed(
            &own,
            format!("event Killing: container {name} failed its {word} probe, {times} times"),
            Some(since),
        ),
        cite::declared(&subject, format!("{} of {name}: {}", kind.field(), probe.arithmetic())),
        cite::observed(
            &own,
            format!(
                "container {name} ended after {} with exit code {code} ({reason}), {} restarts",
                duration(ran),
                container.restarts()
            ),
            moment::parse(text(ended, "/finishedAt")),
        ),
    ];
    citations.extend(by_hand_in_container(evidence, pod, name, kind.field()));
    citations
        .extend(newest.map(|failure| cite::observed(&own, format!("event Unhealthy: {}", quoted(failure.message)), Some(failure.first))));
    citations.extend(last(printed, 1).into_iter().map(|line| cite::printed(&own, line)));
    let what = format!("what the {word} probe of container {name} allows for its start");
    Some(Finding {
        slug: DETECTOR.slug,
        statement: format!(
            "the {word} probe has container {name} killed after {}, before it has started",
            duration(budget)
        ),
        certainty,
        why,
        since: pod.time("/metadata/creationTimestamp").unwrap_or_else(|| pod.first_seen()),
        citations,
        explains: vec![own, subject.clone()],
        blames: Vec::new(),
        subject,
        remedy: Some(
            raise("raise-probe-budget", &what, budget, None)
                .with("container", name)
                .with("probe", kind.field()),
        ),
        alternatives: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::diagnosis::fixture::*;

    const SLUG: &str = "probe-too-tight";

    fn ended(code: i64, reason: &str, finished: &str) -> Value {
        json!({"terminated": {"exitCode": code, "reason": reason, "startedAt": "2026-01-02T03:04:10Z", "finishedAt": finished}})
    }

    /// A container that its probe of 1 s + 2 s × 3 = 7 s has had killed twice.
    fn scene(last: Value, restarts: u32) -> Scene {
        let probe =
            json!({"httpGet": {"path": "/live", "port": 8080}, "initialDelaySeconds": 1, "periodSeconds": 2, "failureThreshold": 3});
        let container = json!({"image": "web:1", "ports": [{"containerPort": 8080}], "livenessProbe": probe});
        let (deployment, set) = deployment("web", container, 0);
        let mut pod = pod_of(&set, "p", waiting("CrashLoopBackOff", "back-off 10s restarting failed container"));
        pod["spec"]["terminationGracePeriodSeconds"] = json!(2);
        pod["status"]["containerStatuses"][0]["restartCount"] = json!(restarts);
        pod["status"]["containerStatuses"][0]["lastState"] = last;
        let mut scene = Scene::new();
        scene.object(deployment).object(set).at(500).object(pod_of(
            &json!({"kind": "ReplicaSet", "metadata": {"name": "web-7f9c"}, "spec": {"template": {"spec": pod["spec"]}}}),
            "p",
            running(),
        ));
        let refused = "Liveness probe failed: Get \"http://10.244.0.7:8080/live\": dial tcp 10.244.0.7:8080: connect: connection refused";
        scene.at(6000).object(warning(&pod, "Unhealthy", refused));
        scene
            .at(8000)
            .object(warning(&pod, "Killing", "Container web failed liveness probe, will be restarted"));
        scene.at(20_000).object(pod);
        scene
    }

    #[test]
    fn killed_at_its_budget_each_time() {
        for (code, reason) in [(137, "Error"), (143, "Error"), (0, "Completed")] {
            let scene = scene(ended(code, reason, "2026-01-02T03:04:18Z"), 2);
            scene.settles_on(&[(SLUG, "Deployment/web")]);
            let cause = &scene.diagnosis().causes[0];
            assert_eq!(
                cause.statement,
                "the liveness probe has container web killed after 7s, before it has started"
            );
            assert!(
                cause.citations[1]
                    .text
                    .ends_with("initialDelaySeconds 1 + periodSeconds 2 × failureThreshold 3 = 7s")
            );
            assert_eq!(cause.remedy.as_ref().expect("a remedy").parameters["at_least"], "11s");
        }
    }

    #[test]
    fn one_that_had_started_and_hangs_is_not_meant() {
        let scene = scene(ended(137, "Error", "2026-01-02T03:09:18Z"), 2);
        assert!(scene.diagnosis().causes.iter().all(|cause| cause.slug != SLUG));
    }

    #[test]
    fn what_ended_for_its_memory_or_by_itself_is_not_meant() {
        for (code, reason) in [(137, "OOMKilled"), (1, "Error")] {
            let scene = scene(ended(code, reason, "2026-01-02T03:04:18Z"), 4);
            assert!(scene.diagnosis().causes.iter().all(|cause| cause.slug != SLUG), "{reason}");
        }
    }

    #[test]
    fn one_that_complains_may_have_another_reason() {
        let mut scene = scene(ended(143, "Error", "2026-01-02T03:04:18Z"), 2);
        scene.log("web-7f9c-p", "web", "dial tcp: lookup db on 10.96.0.10:53: no such host");
        assert!(scene.diagnosis().causes.iter().all(|cause| cause.slug != SLUG));
    }

    #[test]
    fn the_first_time_is_only_suspected() {
        let scene = scene(ended(143, "Error", "2026-01-02T03:04:18Z"), 1);
        scene.never_certain();
        assert_eq!(scene.diagnosis().suspected[0].slug, SLUG);
    }
}
