//! What is said of rights that are missing: one finding for each who lacks some, with the rules that give them.

use std::collections::BTreeMap;

use super::attempt::{attempt, engine_is_patient};
use super::cite;
use super::denials::{Denial, User};
use super::rbac::{allows_resource, best_role};
use super::refused::Refused;
use super::{Certainty, Citation, Finding, Slug};
use crate::evidence::{Evidence, Life, ObjectRef};
use crate::remedy::Remedy;

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
