//! What the containers of a Job tried to reach without success: told by their lines, or by what they were given and lookups of it.

use jiff::{SignedDuration, Timestamp};

use super::hooks::{Task, state};
use super::logs::{gone_on, lines, most_repeated, no_progress, of_last_run};
use super::place::{Place, place};
use super::progress::{JobState, containers};
use super::references::declared_addresses;
use super::scheduling::ready_at;
use super::services::{Backing, backing, pods_behind};
use crate::evidence::address::{Address, host_of, is_loopback};
use crate::evidence::declared::Declared;
use crate::evidence::wording::Complaint;
use crate::evidence::{Answer, Evidence, Life, Look, PrintedLine, Vantage, moment};

/// Why an address was not reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Miss {
    Unresolved,
    Unreachable { reason: String },
}

/// Tries of one container to reach one host.
#[derive(Debug)]
pub struct Tries<'a> {
    pub container: String,
    pub host: String,
    /// As it was printed or declared: `host` or `host:port`.
    pub target: String,
    pub miss: Miss,
    /// How often, lookups on its behalf included.
    pub times: usize,
    pub first: Timestamp,
    pub last: Timestamp,
    /// The last line that complains, with its pod.
    pub line: Option<(&'a Life, &'a PrintedLine)>,
    /// The resolver may only have been busy.
    pub transient: bool,
    /// Whether it is sure that this is what the container waits for.
    pub sure: bool,
    /// Where the address comes from.
    pub declared: Option<Declared>,
}

/// Complaints nearer to each other than this are one try in several lines.
const ONE_TRY: SignedDuration = SignedDuration::from_millis(300);

/// Tries that are not over: the container has neither gone on nor ended with success. The most telling one per container.
pub fn tries<'a>(evidence: &'a Evidence, task: &Task<'a>) -> Vec<Tries<'a>> {
    if matches!(task.state(), JobState::Complete { .. }) {
        return Vec::new();
    }
    let mut names: Vec<&str> = Vec::new();
    for pod in &task.pods {
        for name in containers(pod)
            .map(|container| container.name)
            .chain(evidence.logs_of(pod.uid()).map(|(name, _)| name))
        {
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    let declared = declared_addresses(evidence, task.latest);
    names
        .into_iter()
        .filter_map(|name| of_container(evidence, task, name, &declared))
        .collect()
}

fn of_container<'a>(evidence: &'a Evidence, task: &Task<'a>, container: &str, declared: &[Declared]) -> Option<Tries<'a>> {
    let newest = task.pods.last()?;
    let ended_well = containers(newest).any(|status| status.name == container && status.succeeded());
    if ended_well || matches!(state(newest), JobState::Complete { .. }) {
        return None;
    }
    let declared: Vec<&Declared> = declared.iter().filter(|declared| declared.container == container).collect();
    let printed: Vec<(&'a Life, &'a PrintedLine)> = task
        .pods
        .iter()
        .flat_map(|pod| lines(evidence, pod.uid(), container).iter().map(|line| (*pod, line)))
        .collect();
    let all: Vec<&PrintedLine> = printed.iter().map(|(_, line)| *line).collect();
    let Some(last) = all.iter().rposition(|line| line.complaint.is_some()) else {
        return silent(evidence, task, container, &declared);
    };
    // Where the container has gone on since, earlier complaints are settled.
    if gone_on(&all, last) {
        return None;
    }
    let mut groups: Vec<Tries<'a>> = Vec::new();
    for (pod, line) in &printed {
        let Some(complaint) = &line.complaint else { continue };
        let Some((host, target, miss)) = aim(complaint, &declared) else {
            continue;
        };
        let transient = line.line.text.contains("emporary failure") || line.line.text.contains("EAI_AGAIN");
        let stamp = line.line.stamp;
        match groups.iter_mut().find(|group| group.host == host) {
            Some(group) => {
                if stamp.duration_since(group.last) >= ONE_TRY {
                    group.times += 1;
                }
                group.last = stamp;
                group.line = Some((*pod, *line));
                group.miss = miss;
                group.target = target;
                group.transient &= transient;
            }
            None => groups.push(Tries {
                container: container.to_owned(),
                declared: declared
                    .iter()
                    .find(|declared| declared.address.host == host)
                    .map(|declared| (*declared).clone()),
                host,
                target,
                miss,
                times: 1,
                first: stamp,
                last: stamp,
                line: Some((*pod, *line)),
                transient,
                sure: true,
            }),
        }
    }
    let latest = groups.iter().map(|group| group.last).max()?;
    // Of several hosts, one that was reached in the end is not complained about any more.
    groups.retain(|group| latest.duration_since(group.last) <= interval(group).max(SignedDuration::from_secs(1)) * 3);
    groups.sort_by_key(|group| (group.first, group.host.clone()));
    let namespace = task.latest.text("/metadata/namespace");
    let mut found = groups
        .into_iter()
        .find(|group| !refuted(evidence, group) && !answers(evidence, namespace, group, &all))?;
    confirm(evidence, &mut found);
    Some(found)
}

fn interval(group: &Tries<'_>) -> SignedDuration {
    let gaps = i32::try_from(group.times.saturating_sub(1)).unwrap_or(i32::MAX);
    if gaps == 0 {
        SignedDuration::ZERO
    } else {
        group.last.duration_since(group.first) / gaps
    }
}

/// Whom a complaint is about. A line that names nobody is about the only address that the container uses, if there is only one.
fn aim(complaint: &Complaint, declared: &[&Declared]) -> Option<(String, String, Miss)> {
    let (target, miss) = match complaint {
        Complaint::Unresolved { host } => (host.clone(), Miss::Unresolved),
        Complaint::Unreachable { target, reason } => (target.clone().unwrap_or_default(), Miss::Unreachable { reason: reason.clone() }),
    };
    if !target.is_empty() {
        let host = host_of(&target);
        return (!is_loopback(&host)).then_some((host, target, miss));
    }
    let address = only(declared)?;
    let port = address.port.map(|port| format!(":{port}")).unwrap_or_default();
    Some((address.host.clone(), format!("{}{port}", address.host), miss))
}

fn only<'a>(declared: &[&'a Declared]) -> Option<&'a Address> {
    let mut used = declared
        .iter()
        .filter(|declared| declared.used != Some(false))
        .map(|declared| &declared.address);
    let first = used.next()?;
    used.all(|other| other.host == first.host).then_some(first)
}

/// What the cluster's own resolver said last about a host, if it was asked since the remedy.
pub fn looked_up<'a>(evidence: &'a Evidence, host: &str) -> Option<&'a Look> {
    let look = evidence.lookups.get(&(host.to_owned(), Vantage::Inside))?;
    evidence.remedy_started.is_none_or(|remedy| look.at >= remedy).then_some(look)
}

/// What the last request to a host was answered.
pub fn asked<'a>(evidence: &'a Evidence, host: &str, vantage: Vantage) -> Option<(&'a str, &'a Look)> {
    evidence
        .requests
        .iter()
        .filter(|((_, from), look)| *from == vantage && evidence.remedy_started.is_none_or(|remedy| look.at >= remedy))
        .find(|((url, _), _)| Address::parse(url, true).is_some_and(|address| address.host == host))
        .map(|((url, _), look)| (url.as_str(), look))
}

/// Whether the resolver has found since what could not be resolved.
fn refuted(evidence: &Evidence, group: &Tries<'_>) -> bool {
    group.miss == Miss::Unresolved
        && looked_up(evidence, &group.host).is_some_and(|look| matches!(look.answer, Answer::Addresses { .. }) && look.at > group.last)
}

/// Whether the server has been ready since, and the container has printed something since then and complained no more.
fn answers(evidence: &Evidence, namespace: &str, group: &Tries<'_>, printed: &[&PrintedLine]) -> bool {
    let Place::Service { namespace, name } = place(evidence, &group.host, namespace) else {
        return false;
    };
    let service = evidence.get("Service", &namespace, &name);
    let ready = service.and_then(|service| pods_behind(evidence, service).filter_map(ready_at).min());
    let since = ready.map(|ready| printed.partition_point(|line| line.line.stamp <= ready));
    since.is_some_and(|since| since < printed.len() && printed[since..].iter().all(|line| line.complaint.is_none()))
}

/// Counts lookups that agree as tries of their own.
fn confirm(evidence: &Evidence, group: &mut Tries<'_>) {
    if let Some(look) = looked_up(evidence, &group.host).filter(|look| look.answer == Answer::NoSuchName && group.miss == Miss::Unresolved)
    {
        group.times += look.times as usize;
        group.transient = false;
    }
}

/// How long a container has to say what it misses before it counts as one that does not say so.
const SILENT: SignedDuration = SignedDuration::from_secs(3);

/// When a container was started last.
pub fn began(pod: &Life, container: &str) -> Timestamp {
    let status = containers(pod).find(|status| status.name == container);
    let started = [
        "/state/running/startedAt",
        "/state/terminated/startedAt",
        "/lastState/terminated/startedAt",
    ]
    .iter()
    .find_map(|pointer| moment::parse(status?.status.pointer(pointer)?.as_str()?));
    started.unwrap_or_else(|| pod.first_seen())
}

/// A container that does not say what it waits for: of what it was given, what does not resolve or answer.
fn silent<'a>(evidence: &'a Evidence, task: &Task<'a>, container: &str, declared: &[&Declared]) -> Option<Tries<'a>> {
    let at_work = |pod: &&&Life| {
        let status = containers(pod).find(|status| status.name == container);
        status.is_some_and(|status| status.running() || status.exit_code().is_some_and(|code| code != 0))
    };
    let newest = task.pods.iter().rev().find(at_work)?;
    let candidates: Vec<&&Declared> = declared.iter().filter(|declared| declared.used != Some(false)).collect();
    let (missed, declared) = candidates
        .iter()
        .find_map(|declared| Some((missed(evidence, &declared.address.host)?, **declared)))?;
    // What one start after another prints is no loop of the container's own.
    let printed = of_last_run(lines(evidence, newest.uid(), container));
    let waits = |text: &str| printed.iter().rev().find(|line| line.line.text == text).is_some_and(no_progress);
    let used = declared.used == Some(true);
    let repeated = most_repeated(printed);
    let in_a_loop = repeated.as_ref().is_some_and(|repeated| used || waits(&repeated.text));
    let quiet = used && printed.iter().all(no_progress) && evidence.since(began(newest, container)) >= SILENT;
    if !in_a_loop && !quiet {
        return None;
    }
    let others_answer = candidates
        .iter()
        .filter(|other| other.address.host != declared.address.host)
        .all(|other| missed_or_answers(evidence, task, &other.address.host));
    let (miss, look) = missed;
    // Who looks only once asks the resolver once; that the loop goes on is as good as asking again.
    let turns = repeated
        .filter(|_| in_a_loop && evidence.engine().is_none())
        .map_or(0, |repeated| repeated.times);
    let port = declared.address.port.map(|port| format!(":{port}")).unwrap_or_default();
    Some(Tries {
        container: container.to_owned(),
        host: declared.address.host.clone(),
        target: format!("{}{port}", declared.address.host),
        miss,
        times: turns.max(look.times as usize),
        first: look.since,
        last: look.at,
        line: None,
        transient: !matches!(look.answer, Answer::NoSuchName),
        sure: others_answer,
        declared: Some(declared.clone()),
    })
}

fn missed<'a>(evidence: &'a Evidence, host: &str) -> Option<(Miss, &'a Look)> {
    if let Some(look) = looked_up(evidence, host).filter(|look| matches!(look.answer, Answer::NoSuchName | Answer::Nothing { .. })) {
        return Some((Miss::Unresolved, look));
    }
    let (_, look) = asked(evidence, host, Vantage::Inside)?;
    match &look.answer {
        Answer::Nothing { reason } => Some((Miss::Unreachable { reason: reason.clone() }, look)),
        _ => None,
    }
}

/// Whether another address that the container uses is out of the question: it is missing as well, or it answers.
fn missed_or_answers(evidence: &Evidence, task: &Task<'_>, host: &str) -> bool {
    if missed(evidence, host).is_some() {
        return true;
    }
    let namespace = task.latest.text("/metadata/namespace");
    match place(evidence, host, namespace) {
        Place::Service { namespace, name } => evidence
            .get("Service", &namespace, &name)
            .is_some_and(|service| backing(evidence, service) == Backing::Ready),
        Place::Itself => true,
        Place::Outside => looked_up(evidence, host).is_some_and(|look| matches!(look.answer, Answer::Addresses { .. })),
    }
}
