//! What is to be seen of workloads: those that the engine waits for, and those that are plainly not well.

use super::pods::{doing, ended_over_pods, trouble};
use super::{Symptom, Symptoms};
use crate::diagnosis::attempt::{State, attempt};
use crate::diagnosis::hooks::{Blocker, Task, tasks};
use crate::diagnosis::inits::{blocked, current};
use crate::diagnosis::progress::{JobState, controller, event, event_text, job_state, plain, pods_behind, ready, relevant, stuck};
use crate::diagnosis::refusals::{Refusal, refusal};
use crate::diagnosis::refused::refused;
use crate::evidence::{Evidence, Life, ObjectRef};

/// Adds what a release waits for, and below it what its pods do.
pub fn add_below(evidence: &Evidence, symptoms: &mut Symptoms, parent: usize, blocker: &Blocker, settled: bool) {
    let reference = &blocker.reference;
    let task = tasks(evidence).into_iter().find(|task| task.reference.same(reference));
    if let Some(task) = task {
        let missed = blocker.missed && !task.latest.exists();
        let parent = match task.state() {
            JobState::Failed { reason, .. } if task.latest.text("/kind") == "Job" => symptoms.push(Symptom {
                subject: task.reference.clone(),
                about: Vec::new(),
                statement: match (reason.as_str(), missed) {
                    ("", false) => format!("Job {} failed", reference.name),
                    ("", true) => format!("Job {} failed and is not there any more", reference.name),
                    (reason, false) => format!("Job {} failed: {reason}", reference.name),
                    (reason, true) => format!("Job {} failed and is not there any more: {reason}", reference.name),
                },
                since: task.created(),
                by: evidence.now,
                parent: Some(parent),
                settled: true,
            }),
            _ if missed => return add_missed(symptoms, parent, &task, settled),
            // What ended well after all has no pod that is not well.
            JobState::Complete { .. } => return,
            // A Job that runs has nothing to say that its pods do not say better; a Job without pods has.
            _ if task.pods.is_empty() => return add_without_pods(evidence, symptoms, Some(parent), task.latest, settled),
            _ => parent,
        };
        // Earlier pods of a Job failed for what the latest one fails for, or are told of by it.
        add_pods_of_task(evidence, symptoms, parent, &task, settled);
        return;
    }
    let workload = relevant(evidence, &reference.kind)
        .into_iter()
        .find(|life| plain(&life.reference()).same(reference));
    let Some(workload) = workload else { return };
    if !ready(workload) {
        return add_workload(evidence, symptoms, Some(parent), workload, settled);
    }
    // What is ready has come too late, or was never waited for: the API server refused to change it.
    if blocker.until.and_then(|end| workload.until(end)).is_some_and(|then| !ready(&then)) {
        symptoms.push(Symptom {
            subject: plain(&workload.reference()),
            about: Vec::new(),
            statement: format!("{} {} got ready only after the engine had given up", reference.kind, reference.name),
            since: created(workload),
            by: evidence.now,
            parent: Some(parent),
            settled,
        });
    }
}

/// Adds a Job of the release that the engine misses, because it is gone.
fn add_missed(symptoms: &mut Symptoms, parent: usize, task: &Task<'_>, settled: bool) {
    let name = &task.reference.name;
    symptoms.push(Symptom {
        subject: task.reference.clone(),
        about: task.pods.iter().map(|pod| pod.reference()).collect(),
        statement: match task.state() {
            JobState::Complete { .. } => format!("Job {name} completed and is not there any more"),
            _ => format!("Job {name} is not there any more"),
        },
        since: task.latest.deleted_at.unwrap_or_else(|| task.created()),
        by: task.latest.deleted_at.unwrap_or_else(|| task.created()),
        parent: Some(parent),
        settled,
    });
}

/// Adds workloads that nobody is known to wait for and that are stuck all the same.
pub fn add_unhealthy(evidence: &Evidence, symptoms: &mut Symptoms) {
    let patient = attempt(evidence).is_some_and(|attempt| attempt.state == State::Running);
    // Without an engine, a pod that waits at an init container is all that there is to see.
    let blocked = if attempt(evidence).is_none() {
        blocked(evidence)
    } else {
        Vec::new()
    };
    let waits = |pod: &Life| blocked.iter().any(|blocked| blocked.pod.uid() == pod.uid());
    for kind in ["DaemonSet", "Deployment", "StatefulSet"] {
        for workload in relevant(evidence, kind) {
            if ready(workload) || symptoms.holds(&plain(&workload.reference())) {
                continue;
            }
            let pods = pods_behind(evidence, workload);
            if pods.iter().any(|pod| stuck(pod) || trouble(evidence, pod).is_some() || waits(pod)) || refuses(evidence, workload).is_some()
            {
                add_workload(evidence, symptoms, None, workload, !patient);
            }
        }
    }
    for task in tasks(evidence) {
        let failed = matches!(task.state(), JobState::Failed { .. });
        let running = matches!(task.state(), JobState::Running);
        let last = task
            .pods
            .last()
            .filter(|pod| running && (stuck(pod) || trouble(evidence, pod).is_some()));
        // Without an engine, a Job that runs in a loop is all that there is to see.
        let looping = running && attempt(evidence).is_none() && task.pods.last().is_some_and(|pod| doing(evidence, pod).is_some());
        let without_pods = running && task.pods.is_empty() && refusal(evidence, task.latest).is_some();
        if symptoms.holds(&task.reference) || !(failed || last.is_some() || looping || without_pods) {
            continue;
        }
        if without_pods {
            add_without_pods(evidence, symptoms, None, task.latest, !patient);
        } else {
            add_task(evidence, symptoms, &task);
        }
    }
    let jobs_unlisted = !evidence.watched("Job") && attempt(evidence).is_none();
    let mut alone: Vec<(ObjectRef, &Life)> = Vec::new();
    for pod in relevant(evidence, "Pod") {
        // A pod of a Job is ready while it runs in a loop; where Jobs are known, that is told of the Job.
        let looping = jobs_unlisted && pod.text("/metadata/ownerReferences/0/kind") == "Job" && doing(evidence, pod).is_some();
        // Most pods are ready, and whose they are takes longer to find out.
        if ready(pod) && !looping || symptoms.holds(&pod.reference()) {
            continue;
        }
        let troubled = trouble(evidence, pod).is_some() || waits(pod);
        if !troubled && !looping {
            continue;
        }
        let top = controller(evidence, pod);
        let own = top == plain(&pod.reference());
        // Some exports hold pods and no Jobs: their pods have to speak for themselves.
        if own && troubled || !own && unlisted(evidence, &top) && !symptoms.holds(&top) {
            alone.push((top, pod));
        }
    }
    // What is tried again and again fails for what its latest pod fails for.
    alone.sort_by_cached_key(|(top, pod)| (top.clone(), created(pod)));
    for (index, (top, pod)) in alone.iter().enumerate() {
        if alone.get(index + 1).is_some_and(|(next, _)| next == top) {
            continue;
        }
        add_pod(evidence, symptoms, None, pod, !patient);
    }
}

/// Whether nothing is known of an object, and nothing follows from that.
fn unlisted(evidence: &Evidence, object: &ObjectRef) -> bool {
    let namespace = object.namespace.as_deref().unwrap_or_default();
    !evidence.watched(&object.kind) && evidence.ever_named(&object.kind, namespace, &object.name).is_empty()
}

/// Adds pods that are ready and are refused what they ask for again and again.
pub fn add_refused(evidence: &Evidence, symptoms: &mut Symptoms) {
    let patient = attempt(evidence).is_some_and(|attempt| attempt.state == State::Running);
    for refused in refused(evidence) {
        for pod in &refused.ready {
            let top = controller(evidence, pod);
            if symptoms.holds(&top) {
                continue;
            }
            let (denial, name) = (&refused.denial, pod.name());
            symptoms.push(Symptom {
                subject: top,
                about: vec![pod.reference()],
                statement: format!(
                    "pod {name} is ready, and asks in vain to {} {} {}",
                    denial.verb,
                    denial.what(),
                    denial.place()
                ),
                since: created(pod),
                by: evidence.now,
                parent: None,
                settled: !patient,
            });
        }
    }
}

/// Adds a Job or a hook pod that nobody is known to wait for, and below it what its pods do.
pub fn add_task(evidence: &Evidence, symptoms: &mut Symptoms, task: &Task<'_>) {
    let patient = attempt(evidence).is_some_and(|attempt| attempt.state == State::Running);
    let settled = !patient || matches!(task.state(), JobState::Failed { .. });
    let statement = match task.state() {
        JobState::Failed { reason, .. } if !reason.is_empty() => format!("{} failed: {reason}", task.title()),
        JobState::Failed { .. } => format!("{} failed", task.title()),
        _ => format!("{} does not come to its end", task.title()),
    };
    let parent = symptoms.push(Symptom {
        subject: task.reference.clone(),
        about: Vec::new(),
        statement,
        since: task.created(),
        by: evidence.now,
        parent: None,
        settled,
    });
    if task.reference.kind != "Pod" {
        add_pods_of_task(evidence, symptoms, parent, task, settled);
    }
}

fn add_workload(evidence: &Evidence, symptoms: &mut Symptoms, parent: Option<usize>, workload: &Life, settled: bool) {
    let pods = pods_behind(evidence, workload);
    if pods.is_empty() {
        return add_without_pods(evidence, symptoms, parent, workload, settled);
    }
    let index = symptoms.push(Symptom {
        subject: plain(&workload.reference()),
        about: Vec::new(),
        statement: match refuses(evidence, workload) {
            Some(refusal) => format!("{}: {}", not_ready(workload), refusal.message),
            None => not_ready(workload),
        },
        since: created(workload),
        by: evidence.now,
        parent,
        settled,
    });
    for pod in pods.iter().filter(|pod| !ready(pod)) {
        add_pod(evidence, symptoms, Some(index), pod, settled);
    }
}

fn created(life: &Life) -> jiff::Timestamp {
    life.time("/metadata/creationTimestamp").unwrap_or_else(|| life.first_seen())
}

fn not_ready(workload: &Life) -> String {
    let (kind, name) = (workload.text("/kind"), workload.name());
    let wanted = workload.number("/spec/replicas").unwrap_or(1);
    match kind {
        "Deployment" => {
            let number = |pointer: &str| workload.number(pointer).unwrap_or(0);
            let (available, updated) = (number("/status/availableReplicas"), number("/status/updatedReplicas"));
            // The pods of an earlier revision are as available as ever.
            if available >= wanted && updated < wanted {
                return format!("{kind} {name} has {updated} of {wanted} pods of its latest revision");
            }
            format!("{kind} {name} has {available} of {wanted} pods available")
        }
        "StatefulSet" => {
            let ready = workload.number("/status/readyReplicas").unwrap_or(0);
            format!("{kind} {name} has {ready} of {wanted} pods ready")
        }
        "PersistentVolumeClaim" => format!("{kind} {name} is {}", workload.text("/status/phase")),
        "Job" => match job_state(workload) {
            JobState::Failed { reason, .. } => format!("Job {name} failed: {reason}"),
            _ => format!("Job {name} has not completed"),
        },
        _ => format!("{kind} {name} is not ready"),
    }
}

fn add_without_pods(evidence: &Evidence, symptoms: &mut Symptoms, parent: Option<usize>, workload: &Life, settled: bool) {
    let said = || event(evidence, workload, &["FailedCreate", "ProvisioningFailed", "FailedBinding"]).map(event_text);
    let reason = refuses(evidence, workload).map(|refusal| refusal.message).or_else(said);
    symptoms.push(Symptom {
        subject: plain(&workload.reference()),
        about: Vec::new(),
        statement: match reason {
            Some(reason) => format!("{}: {reason}", not_ready(workload)),
            None => not_ready(workload),
        },
        since: created(workload),
        by: evidence.now,
        parent,
        settled,
    });
}

/// Why there are no pods, or too few, if the API server refuses them: of a Deployment, its ReplicaSets know.
fn refuses<'a>(evidence: &'a Evidence, workload: &'a Life) -> Option<Refusal<'a>> {
    if workload.text("/kind") != "Deployment" {
        return refusal(evidence, workload);
    }
    let mut sets = evidence.owned("ReplicaSet", workload.uid());
    sets.find_map(|set| refusal(evidence, set))
}

fn says(evidence: &Evidence, pod: &Life) -> (String, jiff::Timestamp) {
    let was = pod.before_leaving();
    let pod = was.as_ref();
    trouble(evidence, pod)
        .or_else(|| doing(evidence, pod))
        .or_else(|| {
            Some((
                format!("pod {} is at its init container {}", pod.name(), current(pod)?.name),
                created(pod),
            ))
        })
        .unwrap_or_else(|| (format!("pod {} is not ready", pod.name()), created(pod)))
}

/// The newest pod of a Job stands for all; where they ended alike, what is said is said of all.
fn add_pods_of_task(evidence: &Evidence, symptoms: &mut Symptoms, parent: usize, task: &Task<'_>, settled: bool) {
    let Some(pod) = task.pods.last() else { return };
    add_pod(evidence, symptoms, Some(parent), pod, settled);
    let Some(symptom) = symptoms.all.last_mut() else { return };
    symptom.about.extend(task.pods.iter().rev().skip(1).map(|pod| pod.reference()));
    if let Some((statement, since)) = ended_over_pods(&task.reference.name, &task.pods) {
        symptom.statement = statement;
        symptom.since = since;
    }
}

fn add_pod(evidence: &Evidence, symptoms: &mut Symptoms, parent: Option<usize>, pod: &Life, settled: bool) {
    let (statement, since) = says(evidence, pod);
    symptoms.push(Symptom {
        subject: pod.reference(),
        about: Vec::new(),
        statement,
        since,
        by: since,
        parent,
        settled,
    });
}
