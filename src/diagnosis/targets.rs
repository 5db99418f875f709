//! The Services that a Job asks: by what its containers complain about, else by the addresses that they were given.

use super::hooks::Task;
use super::logs::{lines, most_repeated, of_last_run};
use super::place::Place;
use super::references::declared_addresses;
use super::services::{pods_ever_behind, words};
use super::supply::place_of;
use super::tries::tries;
use crate::evidence::address::host_of;
use crate::evidence::declared::Declared;
use crate::evidence::wording::Complaint;
use crate::evidence::{Evidence, Life};

/// A Service that a container of a Job asks.
#[derive(Debug)]
pub struct Target<'a> {
    pub container: String,
    pub host: String,
    pub service: &'a Life,
    /// Where the address comes from, if it was given and not only printed.
    pub declared: Option<Declared>,
}

impl<'a> Target<'a> {
    /// The pods that are or were behind it.
    pub fn pods(&self, evidence: &'a Evidence) -> impl Iterator<Item = &'a Life> {
        pods_ever_behind(evidence, self.service)
    }
}

/// The Services that the containers of a Job ask. Where neither a script nor a complaint tells which of several, those that the container
/// names while it waits.
pub fn targets<'a>(evidence: &'a Evidence, task: &Task<'a>) -> Vec<Target<'a>> {
    let (mut found, mut told) = (Vec::new(), Vec::new());
    for tries in tries(evidence, task).into_iter().filter(|tries| tries.line.is_some()) {
        // A container that says whom it misses asks nobody else.
        told.push(tries.container.clone());
        found.extend(target(evidence, task, tries.container, tries.host, tries.declared));
    }
    for declared in declared_addresses(evidence, task.latest) {
        if declared.used != Some(false) && !told.contains(&declared.container) {
            let (container, host) = (declared.container.clone(), declared.address.host.clone());
            found.extend(target(evidence, task, container, host, Some(declared)));
        }
    }
    let unclear: Vec<bool> = found.iter().map(|target| is_unclear(target, &found)).collect();
    let mut unclear = unclear.into_iter();
    found.retain(|target| !unclear.next().unwrap_or(false) || is_named(evidence, task, target));
    found.retain(|target| told.contains(&target.container) || !misses_others(evidence, task, target));
    found
}

/// Whether the container has complained in its last run, and only of others.
fn misses_others(evidence: &Evidence, task: &Task<'_>, target: &Target<'_>) -> bool {
    let newest = task
        .pods
        .iter()
        .rev()
        .find(|pod| evidence.log(pod.uid(), &target.container).is_some());
    let printed = newest.map_or(&[][..], |pod| of_last_run(lines(evidence, pod.uid(), &target.container)));
    let mut missed = printed.iter().filter_map(|line| match line.complaint.as_ref()? {
        Complaint::Unresolved { host } => Some(host_of(host)),
        Complaint::Unreachable { target, .. } => target.as_deref().map(host_of),
    });
    let namespace = task.latest.text("/metadata/namespace");
    let own = place_of(evidence, &target.host, namespace);
    let Some(first) = missed.next() else { return false };
    ![first]
        .into_iter()
        .chain(missed)
        .any(|host| place_of(evidence, &host, namespace) == own)
}

fn target<'a>(evidence: &'a Evidence, task: &Task<'a>, container: String, host: String, declared: Option<Declared>) -> Option<Target<'a>> {
    let Place::Service { namespace, name } = place_of(evidence, &host, task.latest.text("/metadata/namespace")) else {
        return None;
    };
    let last = || {
        let same = |life: &&Life| life.name() == name && life.text("/metadata/namespace") == namespace;
        evidence.ever("Service").filter(same).last()
    };
    Some(Target {
        container,
        host,
        service: evidence.get("Service", &namespace, &name).or_else(last)?,
        declared,
    })
}

/// Whether it is one of several that the container was given, and nothing to be read says which of them it asks.
fn is_unclear(target: &Target<'_>, all: &[Target<'_>]) -> bool {
    let unread = target.declared.as_ref().is_some_and(|declared| declared.used.is_none());
    let other = |other: &Target<'_>| other.container == target.container && other.service.uid() != target.service.uid();
    unread && all.iter().any(other)
}

/// Whether the line that the container prints again and again names it.
fn is_named(evidence: &Evidence, task: &Task<'_>, target: &Target<'_>) -> bool {
    let variable = target
        .declared
        .as_ref()
        .and_then(|declared| declared.env.clone())
        .unwrap_or_default();
    let mut names = words(&target.host);
    names.extend(words(&variable));
    task.pods.iter().rev().any(|pod| {
        let repeated = most_repeated(lines(evidence, pod.uid(), &target.container));
        repeated.is_some_and(|repeated| !words(&repeated.text).is_disjoint(&names))
    })
}
