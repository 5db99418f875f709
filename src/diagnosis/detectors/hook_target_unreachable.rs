//! # What it detects
//!
//! A hook, or another Job, that waits for an address which does not exist inside the cluster: the name does not resolve there, or
//! nothing answers at it.
//!
//! # Why it happens
//!
//! One value is both the address that browsers use and the one that the Job connects to. The public name lives in a DNS zone or behind
//! a gateway that pods cannot see, least of all while the release that would make it answer is being installed. The engine waits for
//! the hook, the hook waits for the address, and the engine's timeout is all that anybody gets to read.
//!
//! # Evidence
//!
//! The Job and its hook event; the line that it prints again and again; the complaint of the program that cannot connect, or, where
//! the script hides it, what the cluster's own resolver says about the addresses that the container was given; where that address
//! comes from; and that it answers outside, where somebody asked. A name that a Service could still supply while something progresses
//! is only suspected; a server that waits for a node which an autoscaler has begun to start is none.
//!
//! # Remedy
//!
//! `use-in-cluster-url`: this Job alone gets the address of the Service inside the cluster.

use crate::diagnosis::attempt::attempt;
use crate::diagnosis::cite;
use crate::diagnosis::held_up::cold_start;
use crate::diagnosis::hooks::{Task, tasks};
use crate::diagnosis::logs::{lines, most_repeated, quoted};
use crate::diagnosis::scheduling::Scheduling;
use crate::diagnosis::services::{Wanted, in_cluster_address};
use crate::diagnosis::supply::judge;
use crate::diagnosis::tries::{Miss, Tries, asked, looked_up, tries};
use crate::diagnosis::vain::vain;
use crate::diagnosis::{Citation, Class, Detector, Finding};
use crate::evidence::{Answer, Evidence, PrintedLine, Vantage};
use crate::remedy::Remedy;

pub const DETECTOR: Detector = Detector {
    slug: "hook-target-unreachable",
    summary: "a hook waits for an address that does not exist inside the cluster",
    class: Class::Specific,
    remedies: &["use-in-cluster-url"],
    detect,
};

fn detect(evidence: &Evidence) -> Vec<Finding> {
    let mut findings = Vec::new();
    let scheduling = Scheduling::of(evidence);
    for task in tasks(evidence) {
        // A server whose node is being started is not unreachable but late.
        if cold_start(evidence, &scheduling, &task).is_some() {
            continue;
        }
        for tries in tries(evidence, &task) {
            findings.extend(finding(evidence, &task, &tries));
        }
    }
    findings
}

fn finding(evidence: &Evidence, task: &Task<'_>, tries: &Tries<'_>) -> Option<Finding> {
    let mut verdict = judge(evidence, task, tries)?;
    // A patch that was to give it another address, and does not, is the deeper cause.
    verdict.blames.extend(vain(evidence, task, tries).map(|vain| vain.release));
    Some(Finding {
        slug: DETECTOR.slug,
        subject: task.reference.clone(),
        statement: statement(tries),
        certainty: verdict.certainty,
        why: verdict.why,
        since: task.created().min(tries.first),
        citations: citations(evidence, task, tries),
        explains: task.explains(),
        blames: verdict.blames,
        remedy: Some(remedy(evidence, task, tries)),
        alternatives: Vec::new(),
    })
}

fn statement(tries: &Tries<'_>) -> String {
    match &tries.miss {
        Miss::Unresolved => format!("{} does not resolve inside the cluster", tries.host),
        Miss::Unreachable { reason } if reason.starts_with("no ") => format!("{} does not answer inside the cluster", tries.target),
        Miss::Unreachable { reason } => {
            let mut letters = reason.chars();
            let reason: String = letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).collect();
            format!("{} does not answer inside the cluster ({reason})", tries.target)
        }
    }
}

/// The strongest first: what the program says, what it was given, what the resolver says, what answers elsewhere.
fn citations(evidence: &Evidence, task: &Task<'_>, tries: &Tries<'_>) -> Vec<Citation> {
    let mut citations = Vec::new();
    let repeated = task.pods.last().and_then(|pod| {
        let repeated = most_repeated(lines(evidence, pod.uid(), &tries.container))?;
        let text = format!("{} {} times", quoted(&repeated.text), repeated.times);
        Some(cite::observed(&pod.reference(), text, Some(repeated.since)))
    });
    let own_words = match &tries.line {
        Some((pod, line)) => {
            citations.push(cite::observed(
                &pod.reference(),
                complaint(evidence, task, tries, line),
                Some(line.line.stamp),
            ));
            repeated
        }
        // One that does not complain is known by what it repeats.
        None => {
            citations.extend(repeated);
            None
        }
    };
    if let Some(declared) = &tries.declared {
        citations.push(cite::declared(
            &task.reference,
            format!("{}: {}", declared.origin, declared.address),
        ));
    }
    if let Some(look) = looked_up(evidence, &tries.host) {
        let text = match &look.answer {
            Answer::NoSuchName => "no such name inside the cluster".to_owned(),
            Answer::Addresses { addresses } => format!("{} is {} inside the cluster", tries.host, addresses.join(", ")),
            Answer::Nothing { reason } => format!("lookup of {} inside the cluster: {reason}", tries.host),
            Answer::Http { status } => format!("HTTP {status} inside the cluster"),
        };
        citations.push(cite::observed(&task.reference, text, Some(look.since)));
    }
    if let Some((_, look)) = asked(evidence, &tries.host, Vantage::Outside)
        && let Answer::Http { status } = look.answer
    {
        citations.push(cite::observed(&task.reference, format!("HTTP {status} outside"), Some(look.since)));
    }
    citations.extend(own_words);
    citations.push(cite::hook(task));
    citations
}

/// `"curl: (6) Could not resolve host: auth…" 19 times`
fn complaint(evidence: &Evidence, task: &Task<'_>, tries: &Tries<'_>, line: &PrintedLine) -> String {
    let printed = task.pods.iter().flat_map(|pod| lines(evidence, pod.uid(), &tries.container));
    let text = quoted(&line.line.text);
    match printed.filter(|other| other.shape == line.shape).count() {
        0 | 1 => text,
        times => format!("{text} {times} times"),
    }
}

fn remedy(evidence: &Evidence, task: &Task<'_>, tries: &Tries<'_>) -> Remedy {
    let env = tries.declared.as_ref().and_then(|declared| declared.env.clone());
    let pod_lines = task
        .pods
        .last()
        .map(|pod| lines(evidence, pod.uid(), &tries.container))
        .unwrap_or_default();
    let mut hints: Vec<String> = vec![env.clone().unwrap_or_default(), tries.host.clone()];
    hints.push(most_repeated(pod_lines).map(|repeated| repeated.text).unwrap_or_default());
    hints.extend([tries.container.clone(), task.reference.name.clone()]);
    let release = attempt(evidence).map(|attempt| attempt.release).unwrap_or_default();
    let url = in_cluster_address(
        evidence,
        &Wanted {
            namespace: task.latest.text("/metadata/namespace"),
            release: &release,
            hints,
            address: tries.declared.as_ref().map(|declared| &declared.address),
        },
    );
    let sentence = match &url {
        Some(url) => format!("give this {} the in-cluster URL {url}", task.reference.kind),
        None => format!(
            "give this {} an address that exists inside the cluster instead of {}",
            task.reference.kind, tries.host
        ),
    };
    let mut remedy = Remedy::new("use-in-cluster-url", sentence)
        .with("job", &task.reference.name)
        .with("container", &tries.container)
        .with("host", &tries.host);
    if let Some(env) = env {
        remedy = remedy.with("env", env);
    }
    if let Some(url) = url {
        remedy = remedy.with("url", url);
    }
    remedy
}

#[cfg(test)]
mod tests;
