//! Whom the containers of pods that are not well ask in vain.

use super::hooks::tasks;
use super::inits::blocked;
use super::logs::{lines, of_last_run};
use super::place::Place;
use super::progress::{JobState, containers, ready, relevant};
use super::services::pods_and_owners;
use super::supply::place_of;
use super::tries::tries;
use crate::evidence::address::{host_of, is_loopback};
use crate::evidence::wording::Complaint;
use crate::evidence::{Evidence, Life, ObjectRef};

/// How many of the last lines of a container tell why it is not well.
const LAST: usize = 20;

/// The Services of which a container has complained in its last words, whether they exist or not.
pub fn complained_of(evidence: &Evidence, pod: &Life, container: &str) -> Vec<ObjectRef> {
    let printed = of_last_run(lines(evidence, pod.uid(), container));
    let mut found = Vec::new();
    for line in &printed[printed.len().saturating_sub(LAST)..] {
        let host = match &line.complaint {
            Some(Complaint::Unresolved { host }) => host_of(host),
            Some(Complaint::Unreachable { target: Some(target), .. }) => host_of(target),
            _ => continue,
        };
        if !host.is_empty() && !is_loopback(&host) {
            found.extend(service(evidence, &host, pod.text("/metadata/namespace")));
        }
    }
    found.sort();
    found.dedup();
    found
}

fn service(evidence: &Evidence, host: &str, namespace: &str) -> Option<ObjectRef> {
    match place_of(evidence, host, namespace) {
        Place::Service { namespace, name } => Some(ObjectRef::new("Service", Some(&namespace), name)),
        _ => None,
    }
}

/// The Services of which a container has complained, and what stands behind them: whose fault it would be.
pub fn blamed_by(evidence: &Evidence, pod: &Life, container: &str) -> Vec<ObjectRef> {
    let mut blamed = complained_of(evidence, pod, container);
    for service in blamed.clone() {
        if let Some(life) = evidence.meant(&service) {
            blamed.extend(pods_and_owners(evidence, life));
        }
    }
    // Whoever asks itself does not blame itself.
    blamed.retain(|object| !object.same(&pod.reference()));
    blamed
}

/// Every Service that something which is not well needs.
pub fn needed(evidence: &Evidence) -> Vec<ObjectRef> {
    let mut needed = Vec::new();
    for pod in relevant(evidence, "Pod").into_iter().filter(|pod| !ready(pod)) {
        for container in containers(pod).filter(|container| !container.succeeded()) {
            needed.extend(complained_of(evidence, pod, container.name));
        }
    }
    for blocked in blocked(evidence) {
        needed.extend(service(evidence, &blocked.tries.host, blocked.pod.text("/metadata/namespace")));
    }
    for task in tasks(evidence)
        .iter()
        .filter(|task| !matches!(task.state(), JobState::Complete { .. }))
    {
        for tries in tries(evidence, task) {
            needed.extend(service(evidence, &tries.host, task.latest.text("/metadata/namespace")));
        }
    }
    needed.sort();
    needed.dedup();
    needed
}
