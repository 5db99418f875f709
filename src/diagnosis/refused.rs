//! Who was refused something for want of a right, and what does not get on because of it.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::attempt::{State, attempt};
use super::denials::{Denial, User, denials};
use super::logs::{gone_on, lines, quoted};
use super::progress::{containers, controller, event_text, killed, ready, relevant};
use super::rbac::{Grant, allowed_now, allows_resource, grants, taken_away};
use super::{Citation, cite};
use crate::evidence::manifest::text;
use crate::evidence::{Evidence, Life, ObjectRef, PrintedLine};

/// One right that is missing, where that was said, and whom it stops.
#[derive(Debug)]
pub struct Refused<'a> {
    pub denial: Denial,
    pub grants: Vec<Grant<'a>>,
    pub said: Vec<Citation>,
    pub explains: Vec<ObjectRef>,
    pub since: Timestamp,
    /// The pods that are ready all the same.
    pub ready: Vec<&'a Life>,
}

impl Refused<'_> {
    /// Whether the role allows the resource, and only its subresource is forgotten.
    pub fn lacks_subresource(&self) -> bool {
        allows_resource(&self.grants, &self.denial).is_some()
    }
}

/// How many of a container's newest lines are read.
const LINES: usize = 50;
/// How long a container that goes on running may be silent after it was refused something before that counts as its end.
const SILENCE: SignedDuration = SignedDuration::from_secs(10);

/// Every right that is still missing and that somebody does not get on without.
pub fn refused(evidence: &Evidence) -> Vec<Refused<'_>> {
    let mut found: BTreeMap<Denial, Refused<'_>> = BTreeMap::new();
    for pod in relevant(evidence, "Pod") {
        let was = pod.before_leaving();
        let is_ready = ready(&was);
        let said = if is_ready {
            insisted_by(evidence, pod)
        } else {
            said_by(evidence, &was)
        };
        let created = pod.time("/metadata/creationTimestamp").unwrap_or_else(|| pod.first_seen());
        for (denial, line) in said {
            let citation = cite::printed(&pod.reference(), line);
            let explains = [pod.reference(), controller(evidence, pod)];
            note(
                evidence,
                &mut found,
                (denial.clone(), line.line.stamp),
                citation,
                &explains,
                created,
            );
            if let Some(known) = found.get_mut(&denial).filter(|_| is_ready) {
                known.ready.push(pod);
            }
        }
    }
    for event in evidence.all("Event").filter(|event| event.text("/type") == "Warning") {
        for denial in denials(event_text(event)) {
            let about = about(evidence, event);
            let text = format!("event {}: {}", event.text("/reason"), event_text(event));
            let Some(object) = about.first() else { continue };
            let citation = cite::observed(object, text, Some(event.first_seen()));
            note(
                evidence,
                &mut found,
                (denial, event.first_seen()),
                citation,
                &about,
                event.first_seen(),
            );
        }
    }
    if let Some(attempt) = attempt(evidence).filter(|attempt| attempt.state == State::Failed) {
        let words = attempt.words();
        for line in words.lines() {
            for denial in denials(line) {
                let subject = attempt.subject();
                let citation = cite::observed(&subject, quoted(line), attempt.ended_at);
                let at = attempt.ended_at.unwrap_or(attempt.started_at);
                note(evidence, &mut found, (denial, at), citation, &[subject], attempt.started_at);
            }
        }
    }
    found.into_values().collect()
}

fn note<'a>(
    evidence: &'a Evidence,
    found: &mut BTreeMap<Denial, Refused<'a>>,
    (denial, at): (Denial, Timestamp),
    citation: Citation,
    explains: &[ObjectRef],
    since: Timestamp,
) {
    if !found.contains_key(&denial) {
        let grants = grants(evidence, &denial);
        // What is allowed by now was mended; what was taken away was there as long as it mattered.
        if allowed_now(&grants, &denial) || taken_away(&grants, &denial, at).is_some() || is_gone(evidence, &denial.user) {
            return;
        }
        let refused = Refused {
            denial: denial.clone(),
            grants,
            said: Vec::new(),
            explains: Vec::new(),
            since,
            ready: Vec::new(),
        };
        found.insert(denial.clone(), refused);
    }
    let Some(known) = found.get_mut(&denial) else { return };
    known.since = known.since.min(since);
    // One line of each place says it.
    if known.said.iter().all(|said| said.object != citation.object) {
        known.said.push(citation);
    }
    let new: Vec<_> = explains.iter().filter(|object| !known.explains.contains(object)).cloned().collect();
    known.explains.extend(new);
}

/// Whether the account itself was taken away, and all its rights with it.
fn is_gone(evidence: &Evidence, user: &User) -> bool {
    match user {
        User::ServiceAccount { namespace, name } => {
            let looked_at = *namespace == evidence.header.namespace && evidence.watched("ServiceAccount");
            looked_at && name != "default" && evidence.get("ServiceAccount", namespace, name).is_none()
        }
        User::Other(_) => false,
    }
}

/// What the containers of a pod say they were refused and did not get on without: the last lines of one that ended with an error, or what
/// one that goes on says again and again.
fn said_by<'a>(evidence: &'a Evidence, pod: &Life) -> Vec<(Denial, &'a PrintedLine)> {
    let mut found = Vec::new();
    for container in containers(pod).filter(|container| !container.succeeded()) {
        let all = lines(evidence, pod.uid(), container.name);
        let recent: Vec<&PrintedLine> = all[all.len().saturating_sub(LINES)..]
            .iter()
            .filter(|line| says_something(line))
            .collect();
        let denied = |line: &&PrintedLine| denials(&line.line.text);
        let Some(last) = recent.iter().rposition(|line| !denied(line).is_empty()) else {
            continue;
        };
        if gone_on(&recent, last) {
            continue;
        }
        let ended = container.exit_code().is_some_and(|code| code != 0) && !killed(pod, &container);
        let line = recent[last];
        let again = recent.iter().filter(|other| other.shape == line.shape).count() >= 2;
        if !(ended || again || evidence.since(line.line.stamp) >= SILENCE) {
            continue;
        }
        for line in &recent {
            found.extend(denied(line).into_iter().map(|denial| (denial, *line)));
        }
    }
    found
}

/// How often somebody who is ready has to be refused the same before he is taken not to do without, within what time at least, and how
/// long ago it may be.
const INSISTS: usize = 3;
const WITHIN: SignedDuration = SignedDuration::from_secs(5);
const LATELY: SignedDuration = SignedDuration::from_mins(2);

/// What a pod that is ready asks for again and again all the same: a controller that may not list what it controls is as ready as ever.
fn insisted_by<'a>(evidence: &'a Evidence, pod: &Life) -> Vec<(Denial, &'a PrintedLine)> {
    let mut found: BTreeMap<Denial, (&PrintedLine, usize, &PrintedLine)> = BTreeMap::new();
    for container in containers(pod).filter(|container| pod.exists() && container.running()) {
        let all = lines(evidence, pod.uid(), container.name);
        for line in &all[all.len().saturating_sub(LINES)..] {
            for denial in denials(&line.line.text) {
                let known = found.entry(denial).or_insert((line, 0, line));
                known.1 += 1;
                known.2 = line;
            }
        }
    }
    let insists = |(first, times, last): &(&PrintedLine, usize, &PrintedLine)| {
        let lasts = last.line.stamp.duration_since(first.line.stamp) >= WITHIN;
        *times >= INSISTS && lasts && evidence.since(last.line.stamp) <= LATELY
    };
    let mut found: Vec<_> = found.into_iter().collect();
    found.retain(|(_, said)| insists(said));
    found.into_iter().map(|(denial, (_, _, last))| (denial, last)).collect()
}

/// Whether a line is more than a part of the report of an error or the announcement of an end, which come after what went wrong.
fn says_something(line: &PrintedLine) -> bool {
    const ENDS: &[&str] = &[
        "shutting down",
        "stopping",
        "terminating",
        "terminated",
        "cleaning up",
        "closing",
        "bye",
        "usage:",
    ];
    const FRAMES: &[&str] = &[
        "at ",
        "... ",
        "caused by",
        "file \"",
        "goroutine ",
        "created by",
        "traceback",
        "stack",
    ];
    let lower = line.line.text.to_lowercase();
    let text = lower.trim_start();
    let denied = lower.contains(" cannot ");
    // A frame is told further in than what it belongs to.
    let within = text.len() < lower.len() || FRAMES.iter().any(|frame| text.starts_with(frame)) || text.ends_with("()");
    denied || !within && !ENDS.iter().any(|end| text.contains(end))
}

/// What an event is about: the object, and whom it belongs to.
fn about(evidence: &Evidence, event: &Life) -> Vec<ObjectRef> {
    let pointers = ["/involvedObject", "/regarding"];
    let Some(object) = pointers.iter().find_map(|pointer| event.at(pointer)) else {
        return Vec::new();
    };
    let (kind, name) = (text(object, "/kind"), text(object, "/name"));
    let namespace = Some(text(object, "/namespace")).filter(|namespace| !namespace.is_empty());
    let namespace = namespace.unwrap_or_else(|| event.text("/metadata/namespace"));
    match evidence.get(kind, namespace, name) {
        Some(life) => vec![life.reference(), controller(evidence, life)],
        None => vec![ObjectRef::new(kind, Some(namespace), name)],
    }
}
