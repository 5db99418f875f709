//! What is to be seen of a pod.

use jiff::Timestamp;
use serde_json::Value;

use crate::diagnosis::logs::{lines, most_repeated, quoted};
use crate::diagnosis::progress::{CANNOT_START, containers, event, event_text};
use crate::evidence::{Evidence, Life};

type Said = (String, Timestamp);

/// What is plainly wrong with a pod: it cannot be placed, cannot start, crashes, or is not ready because of its probe.
pub fn trouble(evidence: &Evidence, pod: &Life) -> Option<Said> {
    let name = pod.name();
    let created = pod.time("/metadata/creationTimestamp").unwrap_or_else(|| pod.first_seen());
    if let Some(message) = unplaced(pod) {
        return Some((format!("pod {name} is Pending: {message}"), created));
    }
    for container in containers(pod) {
        let (waiting, of) = (container.waiting(), container.name);
        if CANNOT_START.contains(&waiting) {
            let what = if container.init { "init container" } else { "container" };
            return Some((format!("pod {name} cannot start its {what} {of}: {waiting}"), created));
        }
        if let Some(code) = container.exit_code().filter(|code| *code != 0)
            && !container.succeeded()
            && (!container.running() || container.restarts() >= 2)
        {
            let ends = ends(container.restarts(), container.running());
            return Some((format!("pod {name}: its container {of} exited with {code}{ends}"), created));
        }
    }
    let mount = pod.text("/status/phase") == "Pending" && !containers(pod).any(|container| container.running());
    if let Some(found) = mount.then(|| event(evidence, pod, &["FailedMount", "FailedAttachVolume", "FailedCreatePodSandBox"])).flatten() {
        return Some((format!("pod {name} cannot start: {}", event_text(found)), created));
    }
    let running = pod.text("/status/phase") == "Running" && pod.condition("Ready") != "True";
    let unhealthy = running.then(|| event(evidence, pod, &["Unhealthy"])).flatten()?;
    Some((format!("pod {name} is not ready: {}", quoted(event_text(unhealthy))), created))
}

/// `, 4 times`
fn ends(restarts: u32, running: bool) -> String {
    // A container that runs again has ended once less than it has started.
    match if running { restarts } else { restarts + 1 } {
        0 | 1 => String::new(),
        times => format!(", {times} times"),
    }
}

/// Why the scheduler has no node for it.
fn unplaced(pod: &Life) -> Option<&str> {
    let scheduled = pod.condition_object("PodScheduled")?;
    if scheduled.get("status").and_then(Value::as_str) != Some("False") {
        return None;
    }
    scheduled.get("message").and_then(Value::as_str).or(Some("no node takes it"))
}

/// What a pod does that nothing is plainly wrong with: the line that it prints again and again, or the last one.
pub fn doing(evidence: &Evidence, pod: &Life) -> Option<Said> {
    let name = pod.name();
    let unfinished = containers(pod).filter(|container| !container.succeeded()).map(|container| container.name.to_owned());
    for container in unfinished {
        let lines = lines(evidence, pod.uid(), &container);
        if let Some(repeated) = most_repeated(lines) {
            let statement = format!("pod {name} printed {} {} times", quoted(&repeated.text), repeated.times);
            return Some((statement, repeated.since));
        }
    }
    None
}
