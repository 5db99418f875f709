//! Pods that do not get past an init container, and the server that it waits for.

use jiff::{SignedDuration, Timestamp};

use super::hooks::Task;
use super::place::Place;
use super::progress::{Container, containers, controller, relevant, stuck};
use super::references::declared_addresses;
use super::services::{Backing, backing, pods_behind};
use super::supply::place_of;
use super::symptoms::trouble;
use super::tries::{Miss, Tries, began, tries};
use crate::evidence::manifest::{pod_spec, spec_containers, text};
use crate::evidence::{Evidence, Life};

/// A pod at an init container that waits for somebody.
#[derive(Debug)]
pub struct Blocked<'a> {
    /// The pod as something that runs to an end, which its init containers do.
    pub task: Task<'a>,
    pub pod: &'a Life,
    pub container: Container<'a>,
    pub tries: Tries<'a>,
    pub began: Timestamp,
}

/// Every pod that does not get past an init container because of somebody whom that waits for. Jobs and hooks are left out: they are
/// waited for themselves.
pub fn blocked(evidence: &Evidence) -> Vec<Blocked<'_>> {
    let pods = relevant(evidence, "Pod").into_iter();
    pods.filter(|pod| pod.exists() && pod.text("/metadata/deletionTimestamp").is_empty())
        .filter(|pod| pod.text("/status/phase") == "Pending" && pod.annotation("helm.sh/hook").is_none())
        .filter_map(|pod| {
            let container = current(pod)?;
            let top = controller(evidence, pod);
            if top.kind == "Job" {
                return None;
            }
            let task = Task {
                reference: top,
                latest: pod,
                pods: vec![pod],
                event: None,
            };
            let began = began(pod, container.name);
            let told = tries(evidence, &task).into_iter().find(|tries| tries.container == container.name);
            let tries = told.or_else(|| silent(evidence, pod, &container, began))?;
            hopeless(evidence, pod, &tries).then_some(Blocked {
                task,
                pod,
                container,
                tries,
                began,
            })
        })
        .collect()
}

/// The init container at which a pod is: the first that has not ended with success. One that is started again for ever is a sidecar.
pub fn current(pod: &Life) -> Option<Container<'_>> {
    let sidecar = |name: &str| {
        let spec = pod_spec(pod.object()).and_then(|spec| spec_containers(spec).find(|of| text(of, "/name") == name));
        spec.is_some_and(|spec| text(spec, "/restartPolicy") == "Always")
    };
    let first = containers(pod).find(|container| container.init && !container.succeeded() && !sidecar(container.name))?;
    (first.running() || first.exit_code().is_some_and(|code| code != 0)).then_some(first)
}

/// `0/3`: how many of the init containers of a pod have ended with success.
pub fn progress(pod: &Life) -> String {
    let done = containers(pod).filter(|container| container.init && container.succeeded()).count();
    format!("{done}/{}", pod.list("/spec/initContainers").len())
}

/// Whether a container waits for somebody by its script, and that one is a Service with nobody behind it, though it does not complain.
fn silent<'a>(evidence: &'a Evidence, pod: &'a Life, container: &Container<'_>, began: Timestamp) -> Option<Tries<'a>> {
    let namespace = pod.text("/metadata/namespace");
    let given = declared_addresses(evidence, pod);
    let mut asked = given
        .into_iter()
        .filter(|declared| declared.container == container.name && declared.used != Some(false))
        .filter(|declared| match place_of(evidence, &declared.address.host, namespace) {
            Place::Service { namespace, name } => evidence
                .get("Service", &namespace, &name)
                .is_none_or(|service| backing(evidence, service) != Backing::Ready),
            _ => false,
        });
    let declared = asked.next()?;
    if declared.used.is_none() && asked.any(|other| other.address.host != declared.address.host) {
        return None;
    }
    let port = declared.address.port.map(|port| format!(":{port}")).unwrap_or_default();
    let waited = evidence.since(began);
    Some(Tries {
        container: container.name.to_owned(),
        host: declared.address.host.clone(),
        target: format!("{}{port}", declared.address.host),
        miss: Miss::Unreachable {
            reason: "no answer".to_owned(),
        },
        // What is not said can only be told from how long it lasts.
        times: if waited >= SILENT { 3 } else { 1 },
        first: began,
        last: evidence.now,
        line: None,
        transient: false,
        sure: true,
        declared: Some(declared),
    })
}

/// How long a container may wait in silence before it counts as waiting in vain.
const SILENT: SignedDuration = SignedDuration::from_secs(5);

/// Whether the server is more than slow: it is not there, nothing stands behind it, or what does is not well.
fn hopeless(evidence: &Evidence, pod: &Life, tries: &Tries<'_>) -> bool {
    let Place::Service { namespace, name } = place_of(evidence, &tries.host, pod.text("/metadata/namespace")) else {
        return true;
    };
    let Some(service) = evidence.get("Service", &namespace, &name) else {
        return true;
    };
    match backing(evidence, service) {
        Backing::Ready => false,
        Backing::Empty | Backing::Stuck(_) => true,
        Backing::Coming(_) => {
            pods_behind(evidence, service).any(|pod| stuck(pod) || trouble(evidence, pod).is_some() || current(pod).is_some())
        }
    }
}
