//! What is to be seen of a pod.

use jiff::Timestamp;
use serde_json::Value;

use crate::diagnosis::logs::{lines, most_repeated, quoted};
use crate::diagnosis::progress::{CANNOT_START, Container, containers, event, event_text};
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
            let ends = times(ends(container));
            return Some((format!("pod {name}: its container {of} exited with {code}{ends}"), created));
        }
    }
    let mount = pod.text("/status/phase") == "Pending" && !containers(pod).any(|container| container.running());
    if let Some(found) = mount
        .then(|| event(evidence, pod, &["FailedMount", "FailedAttachVolume", "FailedCreatePodSandBox"]))
        .flatten()
    {
        return Some((format!("pod {name} cannot start: {}", event_text(found)), created));
    }
    let running = pod.text("/status/phase") == "Running" && pod.condition("Ready") != "True";
    let unhealthy = running.then(|| event(evidence, pod, &["Unhealthy"])).flatten()?;
    Some((format!("pod {name} is not ready: {}", quoted(event_text(unhealthy))), created))
}

/// What ended the pods of a Job one after the other: a container with the same code as in the newest one.
pub fn ended_over_pods(job: &str, pods: &[&Life]) -> Option<Said> {
    let newest = pods.last()?;
    let container = containers(newest).find(|container| !container.running() && container.exit_code().is_some_and(|code| code != 0))?;
    let code = container.exit_code()?;
    let same = |pod: &&&Life| containers(pod).any(|other| other.name == container.name && other.exit_code() == Some(code));
    let ended: Vec<&&Life> = pods.iter().filter(same).collect();
    if ended.len() < 2 {
        return None;
    }
    let all = ended
        .iter()
        .flat_map(|pod| containers(pod).filter(|other| other.name == container.name).map(ends))
        .sum();
    let first = ended.first()?;
    let since = first.time("/metadata/creationTimestamp").unwrap_or_else(|| first.first_seen());
    let of = container.name;
    Some((format!("Job {job}: its container {of} exited with {code}{}", times(all)), since))
}

/// How often a container has ended.
fn ends(container: Container<'_>) -> u32 {
    // One that runs again has ended once less than it has started.
    container.restarts() + u32::from(!container.running())
}

/// `, 4 times`
fn times(count: u32) -> String {
    if count < 2 { String::new() } else { format!(", {count} times") }
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
    let unfinished = containers(pod)
        .filter(|container| !container.succeeded())
        .map(|container| container.name.to_owned());
    for container in unfinished {
        let lines = lines(evidence, pod.uid(), &container);
        if let Some(repeated) = most_repeated(lines) {
            let statement = format!("pod {name} printed {} {} times", quoted(&repeated.text), repeated.times);
            return Some((statement, repeated.since));
        }
    }
    None
}
