//! Finds the names in evidence: of objects, also of those that are missing, of hosts, images, users and the values of labels.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::LazyLock;

use regex::Regex;
use serde_json::{Map, Value};

use super::LABELS;
use super::programs::is_public_program;
use super::system::is_system_domain;
use crate::evidence::address::{Address, is_loopback};
use crate::evidence::declared::names_a_host;
use crate::evidence::manifest::text;
use crate::evidence::model::{Fact, ReleaseRecord, Timeline};
use crate::evidence::script::urls;

/// What a name is the name of, as far as its stand-in tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sort {
    Namespace,
    Node,
    User,
    Object,
    Program,
}

impl Sort {
    pub fn word(self) -> &'static str {
        match self {
            Self::Namespace => "namespace",
            Self::Node => "node",
            Self::User => "user",
            Self::Object => "object",
            Self::Program => "program",
        }
    }
}

/// Fields that hold the name of an object.
const NAMES: &[&str] = &[
    "claimName",
    "configMapName",
    "ingressClassName",
    "jobName",
    "priorityClassName",
    "releaseName",
    "secretName",
    "serviceAccount",
    "serviceAccountName",
    "serviceName",
    "storageClassName",
    "volumeName",
];
/// Fields below which `name` is the name of an object or of a container.
const REFERENCES: &[&str] = &[
    "chartRef",
    "claimRef",
    "configMap",
    "configMapKeyRef",
    "configMapRef",
    "containerStatuses",
    "containers",
    "dependsOn",
    "ephemeralContainers",
    "healthChecks",
    "imagePullSecrets",
    "initContainerStatuses",
    "initContainers",
    "involvedObject",
    "ownerReferences",
    "regarding",
    "related",
    "roleRef",
    "scaleTargetRef",
    "secret",
    "secretKeyRef",
    "secretRef",
    "secrets",
    "service",
    "sourceRef",
    "subjects",
    "targetRef",
    "valuesFrom",
];

/// `secret "db-login"`, `Job/migrate`, `jobs.batch "migrate"`.
const NAMED: &str = r#"(?i)\b(?:secret|configmap|service|job|pod|deployment|statefulset|daemonset|replicaset|serviceaccount|persistentvolumeclaim|helmrelease|kustomization|node|ingress|cronjob|role|rolebinding)s?(?:\.[a-z0-9.]+)?(?:/| ["'])(?P<n>[a-z0-9][a-z0-9.-]*)"#;
const USER: &str = r#"User "(?P<n>[^":]+)""#;

static TOLD: LazyLock<Option<(Regex, Regex)>> = LazyLock::new(|| Some((Regex::new(NAMED).ok()?, Regex::new(USER).ok()?)));

#[derive(Default)]
pub struct Found {
    pub names: BTreeMap<String, Sort>,
    pub hosts: BTreeSet<String>,
    /// Without their tags.
    pub images: BTreeSet<String>,
    pub labels: BTreeSet<(String, String)>,
}

impl Found {
    fn add(&mut self, name: &str, sort: Sort) {
        // Of a name with a template in it, only what stands before the template is one.
        let name = name.split("{{").next().unwrap_or_default().trim_end_matches(['-', '.']);
        let is_name = name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'));
        if !name.is_empty() && (is_name || matches!(sort, Sort::User | Sort::Program)) {
            let known = self.names.entry(name.to_owned()).or_insert(sort);
            *known = (*known).min(sort);
        }
    }

    pub fn timeline(&mut self, timeline: &Timeline) {
        self.add(&timeline.header.namespace, Sort::Namespace);
        for entry in &timeline.entries {
            match &entry.fact {
                Fact::EngineStarted(start) => {
                    self.add(&start.release, Sort::Object);
                    self.add(&start.namespace, Sort::Namespace);
                }
                Fact::EngineLine { text, .. } => self.told(text),
                Fact::Object { object, writers, .. } => {
                    self.object(object);
                    for writer in writers.iter().filter(|writer| !is_public_program(&writer.manager)) {
                        self.add(&writer.manager, Sort::Program);
                    }
                }
                Fact::Log(line) => {
                    self.add(&line.pod, Sort::Object);
                    self.add(&line.container, Sort::Object);
                    self.told(&line.text);
                }
                Fact::Release(record) => self.record(record),
                Fact::Lookup { host, .. } => self.host(host),
                Fact::Request { url, .. } => self.told(url),
                Fact::NotReadable { reason, .. } | Fact::Gap { reason, .. } => self.told(reason),
                Fact::EngineEnded { .. } | Fact::Listed { .. } | Fact::RemedyStarted { .. } => {}
            }
        }
    }

    fn record(&mut self, record: &ReleaseRecord) {
        self.add(&record.name, Sort::Object);
        self.add(&record.namespace, Sort::Namespace);
        self.add(&record.chart, Sort::Object);
        self.told(&record.description);
        for hook in &record.hooks {
            self.add(&hook.name, Sort::Object);
            self.object(&hook.manifest);
        }
        record.manifest.iter().for_each(|object| self.object(object));
        for lookup in &record.lookups {
            self.add(lookup.name.trim_start_matches("*-"), Sort::Object);
            self.add(&lookup.namespace, Sort::Namespace);
        }
    }

    fn object(&mut self, object: &Value) {
        let kind = text(object, "/kind");
        let sort = match kind {
            "Node" => Sort::Node,
            "Namespace" => Sort::Namespace,
            _ => Sort::Object,
        };
        // Events are called after what they are about.
        if kind != "Event" {
            self.add(text(object, "/metadata/name"), sort);
        }
        self.walk(object, "");
    }

    fn walk(&mut self, value: &Value, within: &str) {
        match value {
            Value::String(text) => self.told(text),
            Value::Array(items) => {
                for item in items {
                    match item {
                        Value::String(host) if within == "hosts" => self.host(host),
                        item => self.walk(item, within),
                    }
                }
            }
            Value::Object(fields) => {
                let field = |key: &str| fields.get(key).and_then(Value::as_str).unwrap_or_default();
                if within == "env"
                    && names_a_host(field("name"))
                    && let Some(address) = Address::parse(field("value"), true)
                {
                    self.host(&address.host);
                }
                for (key, value) in fields {
                    if key == "annotations" || LABELS.contains(&key.as_str()) {
                        let keys = value.as_object().into_iter().flat_map(Map::keys);
                        keys.filter_map(|key| key.split_once('/'))
                            .for_each(|(domain, _)| self.domain(domain));
                    }
                    match value {
                        Value::Object(labels) if LABELS.contains(&key.as_str()) && labels.values().all(Value::is_string) => {
                            let pairs = labels
                                .iter()
                                .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())));
                            self.labels.extend(pairs);
                        }
                        Value::String(text) => match key.as_str() {
                            "namespace" | "targetNamespace" | "storageNamespace" => self.add(text, Sort::Namespace),
                            "nodeName" => self.add(text, Sort::Node),
                            "name" if within == "subjects" && field("kind") != "ServiceAccount" => self.add(text, Sort::User),
                            "name" if REFERENCES.contains(&within) => self.add(text, Sort::Object),
                            key if NAMES.contains(&key) => self.add(text, Sort::Object),
                            "apiVersion" => self.domain(text.split('/').next().unwrap_or_default()),
                            "host" | "hostname" => self.host(text),
                            "image" => self.image(text),
                            _ => self.told(text),
                        },
                        value => self.walk(value, key),
                    }
                }
            }
            _ => {}
        }
    }

    /// What a text names.
    fn told(&mut self, told: &str) {
        let Some((named, user)) = TOLD.as_ref() else { return };
        if told.contains("://") {
            let addresses: Vec<_> = urls(told).iter().filter_map(|url| Address::parse(url, false)).collect();
            addresses.iter().for_each(|address| self.host(&address.host));
        }
        for (pattern, sort) in [(named, Sort::Object), (user, Sort::User)] {
            let names: Vec<String> = pattern
                .captures_iter(told)
                .filter_map(|groups| Some(groups.name("n")?.as_str().to_owned()))
                .collect();
            // A sentence ends there as often as not.
            names.iter().for_each(|name| self.add(name.trim_end_matches(['.', '-']), sort));
        }
    }

    /// In the cluster a host is the name of a Service, and of its namespace; elsewhere it is its own.
    fn host(&mut self, host: &str) {
        let host = host.trim_start_matches("*.").trim_end_matches('.').to_lowercase();
        if host.is_empty() || is_loopback(&host) || host.parse::<IpAddr>().is_ok() {
            return;
        }
        let inside = host.strip_suffix(".cluster.local").unwrap_or(&host);
        let labels: Vec<&str> = inside.split('.').collect();
        match labels.as_slice() {
            [service] => self.add(service, Sort::Object),
            [.., service, namespace, "svc"] => {
                self.add(service, Sort::Object);
                self.add(namespace, Sort::Namespace);
            }
            [service, namespace] if self.names.get(*namespace) == Some(&Sort::Namespace) => self.add(service, Sort::Object),
            _ => {
                self.hosts.insert(host);
            }
        }
    }

    /// What somebody has put before the names of labels, or before the kinds that they have defined.
    fn domain(&mut self, domain: &str) {
        if domain.contains('.') && !is_system_domain(domain) {
            self.host(domain);
        }
    }

    fn image(&mut self, image: &str) {
        let image = image.split('@').next().unwrap_or(image);
        let slash = image.rfind('/').map_or(0, |at| at + 1);
        let end = image[slash..].find(':').map_or(image.len(), |at| slash + at);
        let repository = &image[..end];
        if let Some((registry, _)) = repository.split_once('/')
            && registry.contains('.')
            && !super::is_public_image(repository)
        {
            self.host(registry.split(':').next().unwrap_or(registry));
        }
        self.images.insert(repository.to_owned());
    }
}
