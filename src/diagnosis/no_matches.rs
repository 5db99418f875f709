//! The kinds that the API server does not serve, as engines name them: `no matches for kind "X" in version "g/v1"`.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

use super::attempt::{Attempt, State, attempt};
use super::cite;
use super::deliveries::known_to_deliver;
use super::logs::quoted;
use super::{Certainty, Citation, Finding, Slug};
use crate::evidence::manifest::{list, text};
use crate::evidence::{Evidence, Life, ObjectRef, ReleaseRecord};
use crate::remedy::Remedy;

/// Groups of Kubernetes itself. A version of one of these that is not served has been removed, or is not there yet: nobody can define it.
const BUILT_IN: &[&str] = &[
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "apiregistration.k8s.io",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "certificates.k8s.io",
    "coordination.k8s.io",
    "discovery.k8s.io",
    "events.k8s.io",
    "flowcontrol.apiserver.k8s.io",
    "networking.k8s.io",
    "node.k8s.io",
    "rbac.authorization.k8s.io",
    "resource.k8s.io",
    "scheduling.k8s.io",
    "storage.k8s.io",
];

/// A kind that is not served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unserved {
    pub kind: String,
    pub group: String,
    pub version: String,
    /// The objects of this kind in the chart, as far as they were named.
    pub objects: Vec<ObjectRef>,
    pub words: String,
}

impl Unserved {
    /// `ExternalSecret of external-secrets.io/v1`
    pub fn title(&self) -> String {
        format!("{} of {}/{}", self.kind, self.group, self.version)
    }

    /// What a person finds in the chart.
    pub fn subject(&self) -> ObjectRef {
        let definition = || ObjectRef::new("CustomResourceDefinition", None, format!("{}.{}", self.kind, self.group));
        self.objects.first().cloned().unwrap_or_else(definition)
    }
}

/// Who delivers a kind that is not served.
pub enum Supplier<'a> {
    /// Another release, whose manifest defines it and which was not there yet.
    Release(&'a ReleaseRecord),
    /// Another release whose manifest defines it, and which was there before: somebody has taken the definition away.
    Gone(&'a ReleaseRecord),
    /// Nobody that is known.
    Nobody,
    /// Nobody that is known, and a release of which nothing is known yet could.
    Unknown(&'a Life),
}

static NO_MATCHES: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(
        r#"(?:name: \\?"([^"\\]*)\\?" namespace: \\?"([^"\\]*)\\?" from \\?"[^"\\]*\\?": )?no matches for kind \\?"([^"\\]+)\\?" in version \\?"([^"\\]+)\\?""#,
    )
    .ok()
});

/// The kinds that the engine says are not served, each once. Those of Kubernetes itself are left out.
pub fn unserved(attempt: &Attempt<'_>) -> Vec<Unserved> {
    let words = attempt.words();
    let mut found: Vec<Unserved> = Vec::new();
    for captures in NO_MATCHES.iter().flat_map(|pattern| pattern.captures_iter(&words)) {
        let Some((group, version)) = captures[4].split_once('/') else {
            continue;
        };
        if !group.contains('.') || BUILT_IN.contains(&group) {
            continue;
        }
        let kind = captures[3].to_owned();
        let object = captures.get(1).map(|name| {
            let namespace = captures
                .get(2)
                .map(|namespace| namespace.as_str())
                .filter(|namespace| !namespace.is_empty());
            ObjectRef::new(&kind, Some(namespace.unwrap_or(&attempt.namespace)), name.as_str())
        });
        let known = found
            .iter()
            .position(|known| known.kind == kind && known.group == group)
            .unwrap_or_else(|| {
                found.push(Unserved {
                    kind: kind.clone(),
                    group: group.to_owned(),
                    version: version.to_owned(),
                    objects: Vec::new(),
                    words: captures[0].to_owned(),
                });
                found.len() - 1
            });
        let objects = &mut found[known].objects;
        objects.extend(object.filter(|object| !objects.contains(object)));
    }
    found
}

/// Who delivers it, among all that is known.
pub fn supplier<'a>(evidence: &'a Evidence, attempt: &Attempt<'_>, unserved: &Unserved) -> Supplier<'a> {
    if let Some((record, there)) = known_to_deliver(evidence, attempt, |_, manifest| defines(manifest, unserved)) {
        return if there { Supplier::Gone(record) } else { Supplier::Release(record) };
    }
    let others = || evidence.releases.values().filter(|(_, record)| record.name != attempt.release);
    let recorded = |release: &Life| {
        let named = release.text("/spec/releaseName");
        others().any(|(_, record)| record.name == named || record.name == release.name())
    };
    let own = attempt.helm_release.map(Life::uid);
    let unknown = evidence
        .all("HelmRelease")
        .filter(|release| Some(release.uid()) != own)
        .find(|release| release.condition("Ready") != "True" && !recorded(release));
    unknown.map_or(Supplier::Nobody, Supplier::Unknown)
}

/// Whether a manifest defines a kind in this version.
fn defines(manifest: &Value, unserved: &Unserved) -> bool {
    text(manifest, "/kind") == "CustomResourceDefinition"
        && text(manifest, "/spec/group") == unserved.group
        && text(manifest, "/spec/names/kind") == unserved.kind
        && serves(&manifest["spec"], &unserved.version)
}

fn serves(definition: &Value, version: &str) -> bool {
    let versions = list(definition, "versions");
    versions.is_empty() || versions.iter().any(|known| text(known, "/name") == version)
}

/// Whether the attempt's HelmRelease waits for another one to be ready.
pub fn depends_on(attempt: &Attempt<'_>, name: &str) -> bool {
    let dependencies: &[Value] = attempt
        .helm_release
        .map(|release| list(&release.object()["spec"], "dependsOn"))
        .unwrap_or_default();
    dependencies.iter().any(|dependency| text(dependency, "/name") == name)
}

/// What was refused of an attempt that has failed: what is not served, and who delivers it.
pub fn refused(evidence: &Evidence) -> Option<(Attempt<'_>, Vec<Unserved>)> {
    let attempt = attempt(evidence).filter(|attempt| attempt.state == State::Failed)?;
    let unserved = unserved(&attempt);
    Some((attempt, unserved))
}

/// What both detectors say of a kind.
pub struct Said {
    pub slug: Slug,
    pub statement: String,
    pub certainty: Certainty,
    pub why: String,
    pub citations: Vec<Citation>,
    pub remedy: Remedy,
    pub alternatives: Vec<Remedy>,
}

/// The finding about a kind that is not served.
pub fn finding(attempt: &Attempt<'_>, unserved: &Unserved, said: Said) -> Finding {
    let mut citations = vec![cite::observed(&attempt.subject(), quoted(&unserved.words), attempt.ended_at)];
    citations.extend(said.citations);
    let mut explains = unserved.objects.clone();
    explains.push(attempt.subject());
    Finding {
        slug: said.slug,
        subject: unserved.subject(),
        statement: said.statement,
        certainty: said.certainty,
        why: said.why,
        since: attempt.started_at,
        citations,
        explains,
        blames: Vec::new(),
        remedy: Some(said.remedy),
        alternatives: said.alternatives,
    }
}
