//! Reads a release record from the Secret in which Helm keeps it.

use std::collections::BTreeMap;
use std::io::Read;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::read::GzDecoder;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::gates::{Surroundings, lookups};
use super::manifest::text;
use super::model::{Hook, ReleaseRecord, TemplateLookup};
use super::redact::Redactor;
use crate::evidence::moment;

/// The most that a record may become when it is unpacked, in bytes. Kubernetes keeps at most 1 MiB of it packed.
const LARGEST: u64 = 64 << 20;

/// Why a storage Secret could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    #[error("it has no entry `release`")]
    NoRelease,
    #[error("its entry `release` had been taken out before")]
    TakenOut,
    #[error("its entry `release` is not base64: {0}")]
    Base64(#[from] base64::DecodeError),
    #[error("its entry `release` does not unpack: {0}")]
    Gzip(#[from] std::io::Error),
    #[error("its entry `release` unpacks to more than {} MiB", LARGEST >> 20)]
    TooLarge,
    #[error("its entry `release` is no release record: {0}")]
    Json(#[from] serde_json::Error),
}

#[derive(Deserialize)]
struct Raw {
    name: String,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    version: u32,
    #[serde(default)]
    info: RawInfo,
    #[serde(default)]
    chart: RawChart,
    #[serde(default)]
    manifest: String,
    #[serde(default)]
    hooks: Option<Vec<RawHook>>,
    /// The user's values. They never leave this module, but for the names of objects.
    #[serde(default)]
    config: Value,
}

#[derive(Deserialize, Default)]
struct RawInfo {
    #[serde(default)]
    status: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    first_deployed: String,
    #[serde(default)]
    last_deployed: String,
}

#[derive(Deserialize, Default)]
struct RawChart {
    #[serde(default)]
    metadata: RawMetadata,
    #[serde(default)]
    templates: Option<Vec<RawTemplate>>,
    #[serde(default)]
    values: Value,
}

#[derive(Deserialize, Default)]
struct RawTemplate {
    #[serde(default)]
    name: String,
    #[serde(default)]
    data: String,
}

#[derive(Deserialize, Default)]
struct RawMetadata {
    #[serde(default)]
    name: String,
    #[serde(default)]
    version: String,
}

#[derive(Deserialize)]
struct RawHook {
    #[serde(default)]
    name: String,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    path: String,
    #[serde(default)]
    manifest: String,
    #[serde(default)]
    events: Option<Vec<String>>,
    #[serde(default)]
    weight: i64,
    #[serde(default)]
    delete_policies: Option<Vec<String>>,
    #[serde(default)]
    last_run: RawRun,
}

#[derive(Deserialize, Default)]
struct RawRun {
    #[serde(default)]
    started_at: String,
    #[serde(default)]
    completed_at: String,
    #[serde(default)]
    phase: String,
}

/// Whether an object is a storage Secret of Helm's.
pub fn is_storage(object: &Value) -> bool {
    object.get("kind").and_then(Value::as_str) == Some("Secret") && object.get("type").and_then(Value::as_str) == Some("helm.sh/release.v1")
}

/// Decodes the record, Secret values taken out.
///
/// # Errors
/// What is wrong with the Secret, as a clause that fits after its name.
pub fn decode(secret: &Value, redactor: &mut Redactor) -> Result<ReleaseRecord, ReleaseError> {
    let outer = match secret.pointer("/data/release") {
        Some(Value::String(outer)) => outer,
        Some(Value::Object(_)) => return Err(ReleaseError::TakenOut),
        _ => return Err(ReleaseError::NoRelease),
    };
    let packed = STANDARD.decode(STANDARD.decode(outer)?)?;
    // Helm packs what is long enough, and keeps the rest as it is.
    let mut text = Vec::new();
    if packed.starts_with(&[0x1f, 0x8b]) {
        GzDecoder::new(packed.as_slice()).take(LARGEST + 1).read_to_end(&mut text)?;
        if text.len() as u64 > LARGEST {
            return Err(ReleaseError::TooLarge);
        }
    } else {
        text = packed;
    }
    let raw: Raw = serde_json::from_slice(&text)?;
    redactor.learn_values(&raw.config);
    redactor.learn_values(&raw.chart.values);
    let lookups = looked_up(&raw);
    let sources = sources(&raw);
    let hooks = raw
        .hooks
        .unwrap_or_default()
        .into_iter()
        .map(|hook| Hook {
            manifest: documents(&hook.manifest, redactor).into_iter().next().unwrap_or_default(),
            kind: hook.kind,
            name: hook.name,
            events: hook.events.unwrap_or_default(),
            weight: hook.weight,
            delete_policies: hook.delete_policies.unwrap_or_default(),
            started_at: time(&hook.last_run.started_at),
            completed_at: time(&hook.last_run.completed_at),
            phase: hook.last_run.phase,
        })
        .collect();
    let manifest = documents(&raw.manifest, redactor);
    Ok(ReleaseRecord {
        name: raw.name,
        namespace: raw.namespace,
        revision: raw.version,
        status: raw.info.status,
        description: redactor.text(&raw.info.description),
        chart: raw.chart.metadata.name,
        chart_version: raw.chart.metadata.version,
        first_deployed: time(&raw.info.first_deployed),
        last_deployed: time(&raw.info.last_deployed),
        hooks,
        manifest,
        lookups,
        sources,
    })
}

/// Which template each object comes from: Helm writes it above each document, and beside each hook.
fn sources(raw: &Raw) -> BTreeMap<String, String> {
    let hooks = raw.hooks.iter().flatten();
    let hooks = hooks.filter(|hook| !hook.path.is_empty());
    let mut sources: BTreeMap<String, String> = hooks
        .map(|hook| (format!("{}/{}", hook.kind, hook.name), hook.path.clone()))
        .collect();
    for document in raw.manifest.split("\n---") {
        let template = document.lines().find_map(|line| line.strip_prefix("# Source: "));
        let Some(template) = template else { continue };
        let Ok(object) = serde_saphyr::from_str::<Value>(document.trim_start_matches("---")) else {
            continue;
        };
        let (kind, name) = (text(&object, "/kind"), text(&object, "/metadata/name"));
        if !name.is_empty() {
            sources.insert(format!("{kind}/{name}"), template.trim().to_owned());
        }
    }
    sources
}

fn looked_up(raw: &Raw) -> Vec<TemplateLookup> {
    let around = Surroundings {
        namespace: &raw.namespace,
        release: &raw.name,
        values: [&raw.config, &raw.chart.values],
    };
    let templates = raw.chart.templates.iter().flatten();
    let source = |template: &RawTemplate| String::from_utf8(STANDARD.decode(&template.data).ok()?).ok();
    templates
        .filter_map(|template| Some(lookups(&template.name, &source(template)?, &around)))
        .flatten()
        .collect()
}

/// Helm writes the zero time for what has not happened.
fn time(text: &str) -> Option<Timestamp> {
    moment::parse(text).filter(|time| *time > Timestamp::UNIX_EPOCH)
}

fn documents(manifest: &str, redactor: &mut Redactor) -> Vec<Value> {
    // Document by document: one that does not parse must not hide the others.
    let mut found: Vec<Value> = manifest
        .split("\n---")
        .map(|document| document.trim_start_matches("---"))
        .filter_map(|document| serde_saphyr::from_str::<Value>(document).ok())
        .filter(Value::is_object)
        .collect();
    // Secrets first, so that their values are known when the others are read.
    for document in &mut found {
        if document.get("kind").and_then(Value::as_str) == Some("Secret") {
            redactor.object(document);
        }
    }
    for document in &mut found {
        redactor.object(document);
    }
    found
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use serde_json::json;

    use super::*;

    pub fn storage(record: &Value) -> Value {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
        gzip.write_all(record.to_string().as_bytes()).unwrap();
        let inner = STANDARD.encode(gzip.finish().unwrap());
        json!({"kind": "Secret", "type": "helm.sh/release.v1", "data": {"release": STANDARD.encode(inner)}})
    }

    #[test]
    fn reads_hooks_and_manifest_without_secret_values() {
        let secret = storage(&json!({
            "name": "app", "namespace": "b", "version": 2, "config": {"password": "canary-1"},
            "info": {"status": "failed", "description": "Release \"app\" failed: canary-1234", "first_deployed": "2026-01-01T00:00:00Z"},
            "chart": {"metadata": {"name": "app", "version": "0.1.0"}, "templates": [
                {"name": "templates/t.yaml", "data": STANDARD.encode("{{ if lookup \"v1\" \"Secret\" .Release.Namespace \"admin\" }}")},
                {"name": "templates/binary", "data": "???"},
            ]},
            "manifest": "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {p: canary-1234}\n---\nkind: Secret\nmetadata: {name: s}\nstringData: {p: canary-1234}\n---\n{{ broken",
            "hooks": [{"name": "h", "kind": "Job", "manifest": "kind: Job\nmetadata: {name: h}", "events": ["post-install"],
                "last_run": {"started_at": "2026-01-01T00:00:01Z", "completed_at": "0001-01-01T00:00:00Z", "phase": "Running"}}],
        }));
        let record = decode(&secret, &mut Redactor::new([1; 32])).unwrap();
        assert_eq!(
            (record.revision, record.status.as_str(), record.hooks[0].phase.as_str()),
            (2, "failed", "Running")
        );
        assert_eq!((record.hooks[0].started_at.is_some(), record.hooks[0].completed_at), (true, None));
        assert_eq!(record.manifest.len(), 2);
        assert_eq!(record.manifest[1]["stringData"]["p"]["length"], 11);
        let asked: Vec<_> = record
            .lookups
            .iter()
            .map(|lookup| (lookup.namespace.as_str(), lookup.name.as_str()))
            .collect();
        assert_eq!(asked, [("b", "admin")]);
        let all = serde_json::to_string(&record).unwrap();
        assert!(!all.contains("canary"), "{all}");
    }

    #[test]
    fn a_corrupt_secret_is_an_error_with_a_reason() {
        let corrupt = |release: &str| {
            decode(&json!({"data": {"release": release}}), &mut Redactor::new([1; 32]))
                .unwrap_err()
                .to_string()
        };
        assert!(corrupt("???").contains("is not base64"));
        assert!(corrupt(&STANDARD.encode(STANDARD.encode("{}"))).contains("is no release record"));
        assert!(corrupt(&STANDARD.encode(STANDARD.encode([0x1f, 0x8b, 1]))).contains("does not unpack"));
    }
}
