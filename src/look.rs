//! One look at a namespace in any cluster that is named: read-only, without a history, answered in seconds.

use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use kube::Client;
use kube::api::{Api, ListParams};

use crate::diagnosis::attempt::of_flux;
use crate::diagnosis::detectors::DETECTORS;
use crate::diagnosis::{Diagnosis, diagnose_with};
use crate::evidence::collect;
use crate::evidence::manifest::text;
use crate::evidence::{Evidence, Header, Names, ObjectRef, Recorder, Timeline};

/// What one look saw, and what can be said of it.
#[derive(Debug)]
pub struct Looked {
    pub timeline: Timeline,
    pub evidence: Evidence,
    pub diagnosis: Diagnosis,
}

/// Looks once. What could not be read is part of the answer, and no error.
pub async fn look(client: &Client, namespace: &str, kubernetes_version: &str, key: [u8; 32]) -> Looked {
    let header = Header {
        kubernetes_version: kubernetes_version.to_owned(),
        ..Header::begin(namespace, Timestamp::now())
    };
    let recorder = Recorder::new(header, key);
    collect::look(client, namespace, &recorder).await;
    of(recorder.timeline())
}

/// What can be said at the end of a timeline.
pub fn of(timeline: Timeline) -> Looked {
    let evidence = Evidence::of(&timeline);
    let diagnosis = diagnose_with(&evidence, DETECTORS);
    Looked {
        timeline,
        evidence,
        diagnosis,
    }
}

/// The names of all namespaces, sorted.
///
/// # Errors
/// When the account may not list them.
pub async fn namespaces(client: &Client) -> Result<Vec<String>, kube::Error> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let listed = namespaces.list_metadata(&ListParams::default()).await?;
    let mut names: Vec<String> = listed.items.into_iter().filter_map(|namespace| namespace.metadata.name).collect();
    names.sort();
    Ok(names)
}

/// What is asked about, where it is not the whole namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    Release(String),
    HelmRelease(String),
    Kustomization(String),
}

impl Subject {
    /// What it is called where there is none of that name.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Release(_) => "release",
            Self::HelmRelease(_) => "HelmRelease",
            Self::Kustomization(_) => "Kustomization",
        }
    }

    pub fn name(&self) -> &str {
        match self {
            Self::Release(name) | Self::HelmRelease(name) | Self::Kustomization(name) => name,
        }
    }

    /// The same where everything has other names.
    #[must_use]
    pub fn renamed(&self, names: &Names) -> Self {
        match self {
            Self::Release(name) => Self::Release(names.text(name)),
            Self::HelmRelease(name) => Self::HelmRelease(names.text(name)),
            Self::Kustomization(name) => Self::Kustomization(names.text(name)),
        }
    }
}

impl Looked {
    /// Lets go of what was seen where nothing is wrong, so that a cluster of thousands of namespaces has room. What was not read stays.
    #[must_use]
    pub fn lean(mut self) -> Self {
        let Diagnosis {
            causes,
            suspected,
            advice,
            unexplained,
            ..
        } = &self.diagnosis;
        if causes.is_empty() && suspected.is_empty() && advice.is_empty() && unexplained.is_empty() {
            self.timeline.entries = Vec::new();
            let unread = std::mem::take(&mut self.evidence.not_readable);
            self.evidence = Evidence::of(&self.timeline);
            self.evidence.not_readable = unread;
        }
        self
    }

    /// Leaves out what does not concern the subject: causes and symptoms of objects that are not its own, nor those of what it waits for.
    ///
    /// # Errors
    /// With the names that there are, when there is no such release or object.
    pub fn narrow(&mut self, subject: &Subject) -> Result<(), Vec<String>> {
        let own = Own::of(&self.evidence, subject)?;
        let diagnosis = &mut self.diagnosis;
        for causes in [&mut diagnosis.causes, &mut diagnosis.suspected, &mut diagnosis.advice] {
            causes.retain(|cause| {
                let links = cause.chain.iter().map(|link| &link.subject);
                links.chain([&cause.subject]).any(|object| own.has(&self.evidence, object))
            });
        }
        diagnosis.unexplained.retain(|link| own.has(&self.evidence, &link.subject));
        Ok(())
    }

    /// The template that an object was rendered from, where a release record tells.
    pub fn template(&self, object: &ObjectRef) -> Option<&str> {
        let owners = owners(&self.evidence, object);
        let records = || self.evidence.releases.values().rev();
        let source = |object: &ObjectRef| records().find_map(|(_, record)| record.sources.get(&object.to_string()));
        [object].into_iter().chain(&owners).find_map(source).map(String::as_str)
    }
}

/// The objects that belong to a release or a Kustomization.
struct Own {
    /// `Kind/name`, as far as the record or the inventory tells.
    listed: BTreeSet<String>,
    /// Where objects say themselves whose they are: the key of the label or annotation, and its value.
    marked: Vec<(&'static str, String)>,
}

impl Own {
    fn of(evidence: &Evidence, subject: &Subject) -> Result<Self, Vec<String>> {
        let named = |kind: &str| evidence.all(kind).map(|life| life.name().to_owned()).collect::<Vec<_>>();
        match subject {
            Subject::Release(name) => {
                if evidence.release(name).is_none() {
                    return Err(evidence.releases.keys().map(|(name, _)| name.clone()).collect());
                }
                Ok(Self::release(evidence, name))
            }
            Subject::HelmRelease(name) => {
                let mut all = evidence.all("HelmRelease");
                let life = all.find(|life| life.name() == name).ok_or_else(|| named("HelmRelease"))?;
                let attempt = of_flux(evidence, life);
                let mut own = Self::release(evidence, &attempt.release);
                own.listed.insert(format!("HelmRelease/{name}"));
                Ok(own)
            }
            Subject::Kustomization(name) => {
                let mut all = evidence.all("Kustomization");
                let life = all.find(|life| life.name() == name).ok_or_else(|| named("Kustomization"))?;
                // `namespace_name_group_Kind`, as kustomize-controller writes it.
                let entries = life.list("/status/inventory/entries").iter();
                let object = |id: &str| {
                    let mut parts = id.split('_').skip(1);
                    let name = parts.next()?;
                    Some(format!("{}/{name}", parts.nth(1)?))
                };
                let mut listed: BTreeSet<String> = entries.filter_map(|entry| object(text(entry, "/id"))).collect();
                listed.insert(format!("Kustomization/{name}"));
                Ok(Self {
                    listed,
                    marked: vec![("kustomize.toolkit.fluxcd.io/name", name.clone())],
                })
            }
        }
    }

    fn release(evidence: &Evidence, name: &str) -> Self {
        let mut listed = BTreeSet::from([format!("Release/{name}")]);
        for record in evidence.revisions(name) {
            let hooks = record.hooks.iter().map(|hook| format!("{}/{}", hook.kind, hook.name));
            let objects = record.manifest.iter().map(|object| ObjectRef::of(object).to_string());
            listed.extend(hooks.chain(objects));
            listed.insert(format!("Secret/{}", record.storage()));
        }
        let flux = evidence.all("HelmRelease").filter(|life| of_flux(evidence, life).release == name);
        listed.extend(flux.map(|life| life.reference().to_string()));
        Self {
            listed,
            marked: vec![("meta.helm.sh/release-name", name.to_owned())],
        }
    }

    fn has(&self, evidence: &Evidence, object: &ObjectRef) -> bool {
        let owners = owners(evidence, object);
        let known = |object: &ObjectRef| self.listed.contains(&object.to_string()) || self.marks(evidence, object);
        known(object) || owners.iter().any(known)
    }

    fn marks(&self, evidence: &Evidence, object: &ObjectRef) -> bool {
        let Some(life) = evidence.meant(object) else { return false };
        let says = |place: &str, key: &str| life.at(place).and_then(|found| found.get(key)?.as_str()).map(str::to_owned);
        self.marked.iter().any(|(key, value)| {
            let found = says("/metadata/annotations", key).or_else(|| says("/metadata/labels", key));
            found.as_ref() == Some(value)
        })
    }
}

/// Its owners, the nearest first, as far as they are there.
fn owners(evidence: &Evidence, object: &ObjectRef) -> Vec<ObjectRef> {
    let mut owners: Vec<ObjectRef> = Vec::new();
    let mut at = evidence.meant(object);
    while let Some(life) = at {
        let Some(owner) = life.list("/metadata/ownerReferences").first() else {
            break;
        };
        let owner = ObjectRef::new(text(owner, "/kind"), object.namespace.as_deref(), text(owner, "/name"));
        if owners.contains(&owner) {
            break;
        }
        at = evidence.meant(&owner);
        owners.push(owner);
    }
    owners
}
