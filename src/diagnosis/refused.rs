//! Who was refused something for want of a right, and what does not get on because of it.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::attempt::{State, attempt, engine_is_patient};
use super::cite;
use super::denials::{Denial, User, denials};
use super::logs::{gone_on, lines, quoted};
use super::progress::{containers, controller, event_text, killed, ready, relevant};
use super::rbac::{Grant, allowed_now, allows_resource, best_role, grants, taken_away};
use super::{Certainty, Citation, Finding, Slug};
use crate::evidence::manifest::text;
use crate::evidence::{Evidence, Life, ObjectRef, PrintedLine};
use crate::remedy::Remedy;

/// One right that is missing, where that was said, and whom it stops.
#[derive(Debug)]
pub struct Refused<'a> {
    pub denial: Denial,
    pub grants: Vec<Grant<'a>>,
    said: Vec<Citation>,
    explains: Vec<ObjectRef>,
    since: Timestamp,
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
        let pod = was.as_ref();
        if ready(pod) {
            continue;
        }
        let created = pod.time("/metadata/creationTimestamp").unwrap_or_else(|| pod.first_seen());
        for (denial, line) in said_by(evidence, pod) {
            let citation = cite::printed(&pod.reference(), line);
            let explains = [pod.reference(), controller(evidence, pod)];
            note(evidence, &mut found, (denial, line.line.stamp), citation, &explains, created);
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

/// One finding for each who was refused something.
pub fn findings(evidence: &Evidence, slug: Slug, refused: Vec<Refused<'_>>) -> Vec<Finding> {
    let mut by_user: BTreeMap<User, Vec<Refused<'_>>> = BTreeMap::new();
    for one in refused {
        by_user.entry(one.denial.user.clone()).or_default().push(one);
    }
    by_user
        .into_iter()
        .filter_map(|(user, refused)| finding(evidence, slug, &user, &refused))
        .collect()
}

fn finding(evidence: &Evidence, slug: Slug, user: &User, refused: &[Refused<'_>]) -> Option<Finding> {
    let subject = match user {
        User::ServiceAccount { namespace, name } => ObjectRef::new("ServiceAccount", Some(namespace), name),
        User::Other(name) => ObjectRef::new("User", None, name),
    };
    let (certainty, why) = match still_to_come(evidence) {
        Some(object) => (
            Certainty::Suspected,
            format!("{object} belongs to the release and was not applied yet"),
        ),
        None => (Certainty::Certain, "nothing that is unfinished gives it that right".to_owned()),
    };
    let mut citations: Vec<Citation> = Vec::new();
    let given = refused.iter().flat_map(|one| bound(evidence, &subject, one));
    for citation in refused.iter().flat_map(|one| one.said.clone()).chain(given) {
        if !citations.contains(&citation) {
            citations.push(citation);
        }
    }
    let mut explains: Vec<ObjectRef> = refused.iter().flat_map(|one| one.explains.clone()).collect();
    explains.sort();
    explains.dedup();
    let lacking: Vec<String> = rights(refused).into_iter().map(|right| right.told()).collect();
    let shown = lacking.iter().take(3).cloned().collect::<Vec<_>>().join(", nor ");
    let more = match lacking.len().saturating_sub(3) {
        0 => String::new(),
        more => format!(", and {more} more"),
    };
    Some(Finding {
        slug,
        statement: format!("{user} may not {shown}{more}"),
        certainty,
        why,
        since: refused.iter().map(|one| one.since).min()?,
        citations,
        explains,
        blames: vec![subject.clone()],
        remedy: Some(remedy(user, refused)),
        alternatives: Vec::new(),
        subject,
    })
}

/// The verbs that are missing for one resource in one place.
struct Right<'a> {
    denial: &'a Denial,
    verbs: Vec<&'a str>,
}

impl Right<'_> {
    /// `get and list jobs/status in namespace lab`
    fn told(&self) -> String {
        format!("{} {} {}", self.verbs.join(" and "), self.denial.what(), self.denial.place())
    }

    /// As it stands in a role.
    fn rule(&self) -> String {
        let list = |words: &[&str]| words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", ");
        match &self.denial.path {
            Some(path) => format!("{{nonResourceURLs: [\"{path}\"], verbs: [{}]}}", list(&self.verbs)),
            None => format!(
                "{{apiGroups: [\"{}\"], resources: [\"{}\"], verbs: [{}]}}",
                self.denial.group,
                self.denial.what(),
                list(&self.verbs)
            ),
        }
    }
}

fn rights<'a>(refused: &'a [Refused<'_>]) -> Vec<Right<'a>> {
    let mut rights: Vec<Right<'_>> = Vec::new();
    for one in refused {
        let denial = &one.denial;
        let same = |right: &&mut Right<'_>| {
            right.denial.what() == denial.what() && right.denial.group == denial.group && right.denial.namespace == denial.namespace
        };
        match rights.iter_mut().find(same) {
            Some(right) => right.verbs.push(&denial.verb),
            None => rights.push(Right {
                denial,
                verbs: vec![&denial.verb],
            }),
        }
    }
    rights
}

fn remedy(user: &User, refused: &[Refused<'_>]) -> Remedy {
    let rights = rights(refused);
    let rules: Vec<String> = rights.iter().map(Right::rule).collect();
    let namespaced = refused.iter().all(|one| one.denial.namespace.is_some());
    let role = refused
        .iter()
        .find_map(|one| best_role(&one.grants))
        .filter(|grant| namespaced || grant.binding.text("/kind") == "ClusterRoleBinding");
    let place = refused.first().map(|one| one.denial.place()).unwrap_or_default();
    let noun = if rules.len() == 1 { "rule" } else { "rules" };
    let listed = rules.join(" and ");
    let sentence = match (role, namespaced) {
        (Some(role), _) => format!("add the {noun} {listed} to {}", role.title()),
        (None, true) => format!("bind a Role with the {noun} {listed} to {user} {place}"),
        (None, false) => format!("bind a ClusterRole with the {noun} {listed} to {user}, by a ClusterRoleBinding"),
    };
    let (namespace, name) = match user {
        User::ServiceAccount { namespace, name } => (namespace.as_str(), name.as_str()),
        User::Other(name) => ("", name.as_str()),
    };
    let first = rights.first();
    Remedy::new("grant-rule", sentence)
        .with("account", name)
        .with("namespace", namespace)
        .with("role", role.map(|role| role.role_name).unwrap_or_default())
        .with("rules", rules.join(" "))
        .with("group", first.map(|right| right.denial.group.clone()).unwrap_or_default())
        .with("resource", first.map(|right| right.denial.what()).unwrap_or_default())
        .with("verbs", first.map(|right| right.verbs.join(",")).unwrap_or_default())
}

/// What can be read of the rights that there are.
fn bound(evidence: &Evidence, subject: &ObjectRef, refused: &Refused<'_>) -> Vec<Citation> {
    if let Some(grant) = allows_resource(&refused.grants, &refused.denial).or_else(|| best_role(&refused.grants)) {
        let binding = cite::declared(&grant.binding.reference(), format!("roleRef: {}", grant.title()));
        let rules = grant
            .role
            .map(|role| cite::declared(&role.reference(), format!("rules: {}", told(role))));
        return [Some(binding), rules].into_iter().flatten().collect();
    }
    let kind = if refused.denial.namespace.is_some() {
        "RoleBinding"
    } else {
        "ClusterRoleBinding"
    };
    let names = refused.grants.iter().filter(|grant| grant.binding.exists());
    let mut missing: Vec<Citation> = names
        .filter(|grant| grant.role.is_none_or(|role| !role.exists()) && evidence.watched(grant.role_kind))
        .map(|grant| {
            let text = format!("roleRef: {}, which was not found", grant.title());
            cite::declared(&grant.binding.reference(), text)
        })
        .collect();
    if refused.grants.is_empty() && evidence.watched(kind) {
        missing.push(cite::inferred(subject, format!("no {kind} {} names it", refused.denial.place())));
    }
    missing
}

/// `get, list of jobs; get of pods`
fn told(role: &Life) -> String {
    let rules = role.list("/rules").iter().take(5).map(|rule| {
        let words = |key: &str| {
            let words = rule.get(key).and_then(serde_json::Value::as_array).into_iter().flatten();
            words.filter_map(serde_json::Value::as_str).collect::<Vec<_>>().join(", ")
        };
        format!("{} of {}", words("verbs"), words("resources"))
    });
    let all = rules.collect::<Vec<_>>().join("; ");
    if all.is_empty() { "none".to_owned() } else { all }
}

/// A role or a binding of the release that an engine at work has not applied yet.
fn still_to_come(evidence: &Evidence) -> Option<ObjectRef> {
    const KINDS: &[&str] = &["ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"];
    if !engine_is_patient(evidence) {
        return None;
    }
    let record = attempt(evidence)?.record?;
    let hooks = record.hooks.iter().map(|hook| &hook.manifest);
    let mut all = record.manifest.iter().chain(hooks).map(ObjectRef::of);
    all.find(|object| {
        let read = evidence.watched(&object.kind) || evidence.ever(&object.kind).next().is_some();
        KINDS.contains(&object.kind.as_str()) && read && evidence.ever(&object.kind).all(|life| life.name() != object.name)
    })
}
