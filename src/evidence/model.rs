//! The facts that evidence consists of, in the form in which they are recorded.
//!
//! Everything here is detached from the cluster and serialisable. Nothing here holds the value of a Secret: see `redact`.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::command::Stream;
use crate::evidence::moment;

/// Names one object of the cluster. Two references are the same object when kind, namespace and name agree and no UID contradicts.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct ObjectRef {
    pub kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
}

impl ObjectRef {
    pub fn new(kind: impl Into<String>, namespace: Option<&str>, name: impl Into<String>) -> Self {
        Self {
            kind: kind.into(),
            namespace: namespace.map(str::to_owned),
            name: name.into(),
            uid: None,
        }
    }

    /// The reference to an object as the API returns it.
    pub fn of(object: &Value) -> Self {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
        Self {
            kind: text("/kind").unwrap_or_default().to_owned(),
            namespace: text("/metadata/namespace").map(str::to_owned),
            name: text("/metadata/name").unwrap_or_default().to_owned(),
            uid: text("/metadata/uid").map(str::to_owned),
        }
    }

    /// Whether both may be the same object.
    pub fn same(&self, other: &Self) -> bool {
        self.kind == other.kind
            && self.namespace == other.namespace
            && self.name == other.name
            && self.uid.as_ref().zip(other.uid.as_ref()).is_none_or(|(a, b)| a == b)
    }
}

/// `Job/keycloak-config`, as kubectl writes it.
impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.name)
    }
}

/// How a fact is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Basis {
    /// Seen in the cluster or in what a program printed.
    Observed,
    /// Stands in a manifest, in values or in what the engine was told.
    Declared,
    /// Follows from other facts.
    Inferred,
}

/// What the engine was told, and when it began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EngineStart {
    /// `helm-4`
    pub engine: String,
    /// `v4.3.1`
    pub version: String,
    /// `install` or `upgrade`; of a Kustomization `reconciliation`
    pub operation: String,
    pub release: String,
    pub namespace: String,
    /// As the engine names it: `watcher`, `legacy`, `poller`, `hookOnly`; empty where it does not wait.
    pub wait: String,
    pub wait_for_jobs: bool,
    /// What the engine gives to each wait: to the resources, and to every single hook. In milliseconds.
    pub timeout_ms: u64,
    /// It is no release but a Kustomization of Flux's of that name.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub kustomization: bool,
}

impl EngineStart {
    pub fn timeout(&self) -> SignedDuration {
        moment::lasting(SignedDuration::from_millis(i64::try_from(self.timeout_ms).unwrap_or(i64::MAX)))
    }

    /// Whether the engine waits for the resources of a release, beside its hooks (for hooks it always does).
    pub fn waits_for_resources(&self) -> bool {
        matches!(self.wait.as_str(), "watcher" | "legacy" | "poller")
    }
}

/// Whether an object was there, or has just gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// Added or modified: this is how it looks now.
    Applied,
    /// Deleted: this is how it looked last.
    Deleted,
}

/// Where somebody stood who looked up a name or tried an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Vantage {
    /// With the resolver and routes of a pod in the cluster.
    Inside,
    /// On the machine that the cluster runs on.
    Outside,
}

/// What a resolver said about a name, or a server about a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "answer")]
pub enum Answer {
    /// The name has these addresses.
    Addresses { addresses: Vec<String> },
    /// The resolver says that there is no such name.
    NoSuchName,
    /// An HTTP server answered.
    Http { status: u16 },
    /// Nothing came, for this reason.
    Nothing { reason: String },
}

/// One line that a container printed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogLine {
    pub pod: String,
    pub pod_uid: String,
    pub container: String,
    /// How often the container had been restarted when it printed this.
    #[serde(default)]
    pub restart: u32,
    /// The kubelet's own time stamp.
    #[serde(deserialize_with = "moment::clamped")]
    pub stamp: Timestamp,
    pub text: String,
}

/// One hook in a release record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Hook {
    pub kind: String,
    pub name: String,
    /// `pre-install`, `post-upgrade`, `test`, …
    pub events: Vec<String>,
    pub weight: i64,
    /// Empty where the chart names none (Helm then behaves as with `before-hook-creation`).
    pub delete_policies: Vec<String>,
    #[serde(default, deserialize_with = "moment::optional")]
    pub started_at: Option<Timestamp>,
    #[serde(default, deserialize_with = "moment::optional")]
    pub completed_at: Option<Timestamp>,
    /// `Running`, `Succeeded`, `Failed`, `Unknown`; empty when it never ran.
    pub phase: String,
    /// The manifest as rendered, Secret values taken out; null where it did not parse.
    pub manifest: Value,
}

/// A release as the engine's storage Secret tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReleaseRecord {
    pub name: String,
    pub namespace: String,
    pub revision: u32,
    /// `pending-install`, `deployed`, `failed`, `superseded`, …
    pub status: String,
    /// The engine's own words, with which it ended.
    pub description: String,
    pub chart: String,
    pub chart_version: String,
    #[serde(default, deserialize_with = "moment::optional")]
    pub first_deployed: Option<Timestamp>,
    #[serde(default, deserialize_with = "moment::optional")]
    pub last_deployed: Option<Timestamp>,
    pub hooks: Vec<Hook>,
    /// The objects of the manifest as rendered, without hooks, Secret values taken out.
    pub manifest: Vec<Value>,
    /// What the chart's templates asked the cluster for, where they name it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lookups: Vec<TemplateLookup>,
    /// The template that each object was rendered from, by `Kind/name`, where the record tells: `web/templates/job.yaml`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sources: BTreeMap<String, String>,
}

/// An object that a template looks up while it is rendered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TemplateLookup {
    /// `templates/token.yaml`
    pub template: String,
    pub kind: String,
    /// Empty where it cannot be told.
    pub namespace: String,
    pub name: String,
    /// The names that the template writes out; `*-token` where only the end is.
    pub names: Vec<String>,
}

impl ReleaseRecord {
    /// The name of the Secret in which Helm keeps it.
    pub fn storage(&self) -> String {
        format!("sh.helm.release.v1.{}.v{}", self.name, self.revision)
    }
}

/// Somebody who wrote fields of an object, as the API server remembers it: whoever came last to each field that is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Writer {
    /// What the program calls itself: `helm`, `kubectl-edit`, `helm-controller`
    pub manager: String,
    /// `Apply` or `Update`
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub operation: String,
    /// `scale`, where it was not the object itself that was written.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub subresource: String,
    /// When it wrote last.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "moment::optional")]
    pub time: Option<Timestamp>,
    /// `spec.template.spec.containers[web].image`; the highest of them, without their values.
    pub fields: Vec<String>,
    /// It wrote further ones.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
}

/// One thing that was noticed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "fact")]
pub enum Fact {
    /// An engine began to work on the release.
    EngineStarted(EngineStart),
    /// The engine printed a line.
    EngineLine { stream: Stream, text: String },
    /// The engine ended; no exit code where a signal ended it.
    EngineEnded { exit_code: Option<i32> },
    /// All objects of these kinds that were there have been noted: from here on, one that is not in the evidence does not exist.
    Listed { kinds: Vec<String> },
    /// An object is there, changed, or went.
    Object {
        change: Change,
        object: Arc<Value>,
        /// Who wrote it, the newest first and no more than a few; those who only reported a status are left out.
        #[serde(default, skip_serializing_if = "<[Writer]>::is_empty")]
        writers: Arc<[Writer]>,
    },
    /// A container printed a line.
    Log(LogLine),
    /// The storage Secret of a release was written.
    Release(Arc<ReleaseRecord>),
    /// A name was looked up. `tried` are the names that the resolver was asked for, in the order of a pod's search list.
    Lookup {
        host: String,
        vantage: Vantage,
        tried: Vec<String>,
        #[serde(flatten)]
        answer: Answer,
    },
    /// A URL was asked for.
    Request {
        url: String,
        vantage: Vantage,
        #[serde(flatten)]
        answer: Answer,
    },
    /// From here to the next complete list, changes of this kind may have been missed.
    Gap { kind: String, reason: String },
    /// This could not be looked at; what it would have told is unknown, not absent.
    NotReadable { what: String, reason: String },
    /// The harness began to apply the remedy of this kind.
    RemedyStarted { kind: String },
}

/// A fact and the moment at which it was received.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Entry {
    #[serde(deserialize_with = "moment::clamped")]
    pub at: Timestamp,
    #[serde(flatten)]
    pub fact: Fact,
}

/// What a timeline says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Header {
    /// The version of this form, [`Header::FORMAT`] when it was written.
    pub format: u32,
    /// `rekindle` and its version.
    pub recorder: String,
    /// When somebody began to look; nothing before it was seen.
    #[serde(deserialize_with = "moment::clamped")]
    pub observed_at: Timestamp,
    pub namespace: String,
    pub kubernetes_version: String,
    /// The kinds of which everything was known from the beginning; see [`Fact::Listed`] for those that were listed later.
    pub watched: Vec<String>,
    /// What else is known about the surroundings; free text for people.
    #[serde(default)]
    pub notes: BTreeMap<String, String>,
}

impl Header {
    pub const FORMAT: u32 = 1;

    /// What is written by this rekindle, which begins to look at a namespace now and knows nothing yet.
    pub fn begin(namespace: &str, observed_at: Timestamp) -> Self {
        Self {
            format: Self::FORMAT,
            recorder: concat!("rekindle ", env!("CARGO_PKG_VERSION")).to_owned(),
            observed_at,
            namespace: namespace.to_owned(),
            kubernetes_version: String::new(),
            watched: Vec::new(),
            notes: BTreeMap::new(),
        }
    }
}

/// Everything that was noticed, in the order of its receipt. Each earlier moment is a prefix.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Timeline {
    pub header: Header,
    pub entries: Vec<Entry>,
}

impl Timeline {
    /// Nothing was noticed yet.
    pub fn begin(header: Header) -> Self {
        Self {
            header,
            entries: Vec::new(),
        }
    }
}
