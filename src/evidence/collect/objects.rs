//! Watches the kinds that deployments are made of.

use std::collections::HashMap;

use futures::StreamExt;
use kube::api::{ApiResource, DynamicObject};
use kube::core::Status;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch_stream};
use kube::{Api, Client, Resource, ResourceExt};
use serde_json::Value;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;

use super::before::Before;
use super::hosts::Seen;
use crate::evidence::model::{Change, Fact};
use crate::evidence::recorder::Recorder;
use crate::evidence::writers::{CARRIED, Writers};

/// One kind that is watched.
pub struct Kind {
    pub group: &'static str,
    pub version: &'static str,
    pub kind: &'static str,
    pub plural: &'static str,
    pub namespaced: bool,
    /// Every cluster serves it; others serve it only where somebody has defined it.
    pub built_in: bool,
}

impl Kind {
    /// `v1`, `apps/v1`
    pub fn api_version(&self) -> String {
        match self.group {
            "" => self.version.to_owned(),
            group => format!("{group}/{}", self.version),
        }
    }

    /// Where it is read: in the namespace, or in the whole cluster.
    pub fn api(&self, client: &Client, namespace: &str) -> Api<DynamicObject> {
        let resource = ApiResource {
            group: self.group.to_owned(),
            version: self.version.to_owned(),
            api_version: self.api_version(),
            kind: self.kind.to_owned(),
            plural: self.plural.to_owned(),
        };
        if self.namespaced {
            Api::namespaced_with(client.clone(), namespace, &resource)
        } else {
            Api::all_with(client.clone(), &resource)
        }
    }

    /// Only objects with these labels are asked for; all where there are none.
    pub fn labels(&self) -> Option<&'static str> {
        (self.group == RBAC && !self.namespaced).then_some(NOT_OF_ITS_OWN)
    }

    /// What may be known of an object of this kind, as the API returns one object alone; of who wrote which field, what is kept of that.
    pub fn whole(&self, object: DynamicObject) -> Option<Value> {
        let object = self.compact(object);
        let mut value = serde_json::to_value(&object).ok()?;
        // The API leaves both out in lists.
        value["kind"] = Value::from(self.kind);
        value["apiVersion"] = Value::from(self.api_version());
        Some(value)
    }

    /// The object with what is kept of who wrote which field; the whole of that may be larger than all the rest.
    fn compact(&self, mut object: DynamicObject) -> DynamicObject {
        let managed = object.meta_mut().managed_fields.take();
        // An event is written by whoever tells it.
        let managed = managed.filter(|_| self.kind != "Event");
        if let Some(writers) = managed.and_then(|entries| Writers::of_entries(&entries).carried())
            && let Value::Object(fields) = &mut object.data
        {
            fields.insert(CARRIED.to_owned(), writers);
        }
        object
    }

    /// What the answer of the API to the first list means for it: that nobody has defined it, or that it may not be read.
    pub fn refused(&self, status: &Status) -> Option<Refused> {
        match status.code {
            404 if !self.built_in => Some(Refused::Undefined),
            401 | 403 | 404 => Some(Refused::Unreadable(status.message.clone())),
            _ => None,
        }
    }
}

/// Why there is no list of a kind.
#[derive(Debug, PartialEq, Eq)]
pub enum Refused {
    /// Nobody has defined it here, so there is none.
    Undefined,
    /// It may not be read.
    Unreadable(String),
}

const fn kind(group: &'static str, version: &'static str, kind: &'static str, plural: &'static str) -> Kind {
    Kind {
        group,
        version,
        kind,
        plural,
        namespaced: true,
        built_in: true,
    }
}

const fn custom(group: &'static str, version: &'static str, name: &'static str, plural: &'static str) -> Kind {
    Kind {
        built_in: false,
        ..kind(group, version, name, plural)
    }
}

const fn wide(group: &'static str, version: &'static str, name: &'static str, plural: &'static str) -> Kind {
    Kind {
        namespaced: false,
        ..kind(group, version, name, plural)
    }
}

const RBAC: &str = "rbac.authorization.k8s.io";
/// What every API server makes by itself: seventy roles that say the same in every cluster. Of what they allow, the API server's refusals
/// tell enough.
const NOT_OF_ITS_OWN: &str = "kubernetes.io/bootstrapping!=rbac-defaults";

/// What is watched. Secrets come first: their values have to be known before they turn up elsewhere.
pub const KINDS: &[Kind] = &[
    kind("", "v1", "Secret", "secrets"),
    kind("", "v1", "ConfigMap", "configmaps"),
    kind("", "v1", "Event", "events"),
    kind("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims"),
    kind("", "v1", "Pod", "pods"),
    kind("", "v1", "ResourceQuota", "resourcequotas"),
    kind("", "v1", "Service", "services"),
    kind("", "v1", "ServiceAccount", "serviceaccounts"),
    kind("apps", "v1", "DaemonSet", "daemonsets"),
    kind("apps", "v1", "Deployment", "deployments"),
    kind("apps", "v1", "ReplicaSet", "replicasets"),
    kind("apps", "v1", "StatefulSet", "statefulsets"),
    kind("batch", "v1", "CronJob", "cronjobs"),
    kind("batch", "v1", "Job", "jobs"),
    kind("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices"),
    kind("networking.k8s.io", "v1", "Ingress", "ingresses"),
    kind(RBAC, "v1", "Role", "roles"),
    kind(RBAC, "v1", "RoleBinding", "rolebindings"),
    custom("helm.toolkit.fluxcd.io", "v2", "HelmRelease", "helmreleases"),
    custom("kustomize.toolkit.fluxcd.io", "v1", "Kustomization", "kustomizations"),
    custom("source.toolkit.fluxcd.io", "v1", "ExternalArtifact", "externalartifacts"),
    wide("", "v1", "Node", "nodes"),
    wide(RBAC, "v1", "ClusterRole", "clusterroles"),
    wide(RBAC, "v1", "ClusterRoleBinding", "clusterrolebindings"),
    wide("storage.k8s.io", "v1", "StorageClass", "storageclasses"),
];

/// Starts a watch for every kind. The receiver tells when a kind has been listed once, and whether it may be read.
pub fn watch(
    client: &Client,
    namespace: &str,
    recorder: &Recorder,
    mut before: Before,
    seen: &UnboundedSender<Seen>,
    tasks: &mut JoinSet<()>,
) -> UnboundedReceiver<(&'static str, bool)> {
    let (listed, receiver) = unbounded_channel();
    for kind in KINDS {
        let api = kind.api(client, namespace);
        let watch = Watch {
            kind,
            recorder: recorder.clone(),
            seen: matches!(kind.kind, "ConfigMap" | "Pod").then(|| seen.clone()),
            listed: Some(listed.clone()),
            resumed: before.resumed,
            known: before.objects.remove(kind.kind).unwrap_or_default(),
            before: HashMap::new(),
        };
        tasks.spawn(watch.run(api));
    }
    receiver
}

struct Watch {
    kind: &'static Kind,
    recorder: Recorder,
    /// Where kinds go that tell of containers and hosts.
    seen: Option<UnboundedSender<Seen>>,
    listed: Option<UnboundedSender<(&'static str, bool)>>,
    /// Whether somebody had watched before, and then nobody.
    resumed: bool,
    /// What exists, by UID, with its resource version.
    known: HashMap<String, (String, DynamicObject)>,
    /// What existed before the list that is coming in.
    before: HashMap<String, (String, DynamicObject)>,
}

impl Watch {
    async fn run(mut self, api: Api<DynamicObject>) {
        let config = self
            .kind
            .labels()
            .map_or_else(watcher::Config::default, |labels| watcher::Config::default().labels(labels));
        let mut stream = watch_stream(api, config.any_semantic()).default_backoff().boxed();
        let mut lists = 0;
        if self.resumed {
            self.gap("nobody watched until everything was listed again");
        }
        while let Some(event) = stream.next().await {
            match event {
                Ok(Event::Init) => {
                    lists += 1;
                    if lists > 1 {
                        self.gap("the watch ended and everything was listed again");
                    }
                    self.before = std::mem::take(&mut self.known);
                }
                Ok(Event::InitApply(object) | Event::Apply(object)) => self.applied(object),
                Ok(Event::InitDone) => {
                    for (_, (_, object)) in std::mem::take(&mut self.before) {
                        self.note(Change::Deleted, object);
                    }
                    // Of a kind of which not all is looked at, what is not seen may exist.
                    self.tell(self.kind.labels().is_none());
                }
                Ok(Event::Delete(object)) => {
                    self.known.remove(&object.uid().unwrap_or_default());
                    self.note(Change::Deleted, object);
                }
                Err(error) => match self.refused(&error) {
                    Some(refused) => {
                        if let Refused::Unreadable(reason) = refused {
                            let what = self.kind.kind.to_owned();
                            self.recorder.record(Fact::NotReadable { what, reason });
                        }
                        self.tell(false);
                        return;
                    }
                    None => self.gap(&error.to_string()),
                },
            }
        }
    }

    fn refused(&self, error: &watcher::Error) -> Option<Refused> {
        match error {
            watcher::Error::InitialListFailed(kube::Error::Api(status)) | watcher::Error::WatchStartFailed(kube::Error::Api(status)) => {
                self.kind.refused(status)
            }
            _ => None,
        }
    }

    fn applied(&mut self, object: DynamicObject) {
        let object = self.kind.compact(object);
        let uid = object.uid().unwrap_or_default();
        let version = object.resource_version().unwrap_or_default();
        let last = self
            .before
            .remove(&uid)
            .or_else(|| self.known.remove(&uid))
            .map(|(version, _)| version);
        self.known.insert(uid, (version.clone(), object.clone()));
        if last.as_deref() != Some(version.as_str()) {
            self.note(Change::Applied, object);
        }
    }

    fn note(&self, change: Change, object: DynamicObject) {
        let Some(value) = self.kind.whole(object) else { return };
        if let Some(seen) = &self.seen {
            let _ = seen.send(Seen {
                change,
                object: value.clone(),
            });
        }
        self.recorder.record_object(change, value);
    }

    fn gap(&self, reason: &str) {
        self.recorder.record(Fact::Gap {
            kind: self.kind.kind.to_owned(),
            reason: reason.to_owned(),
        });
    }

    fn tell(&mut self, readable: bool) {
        if let Some(listed) = self.listed.take() {
            let _ = listed.send((self.kind.kind, readable));
        }
    }
}
