//! SARIF 2.1.0, as code scanning reads it: a rule per slug, a result per cause.
//!
//! A cause in a cluster has no file. Its place is a logical one, `namespace/Kind/name`; where the template is known that the object was
//! rendered from, that is its file.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::diagnosis::RootCause;
use crate::diagnosis::detectors::DETECTORS;
use crate::look::Looked;

/// The whole log.
pub fn of(looks: &[Looked]) -> Value {
    let mut results = Vec::new();
    let mut rules: BTreeMap<&str, &str> = BTreeMap::new();
    for look in looks {
        let diagnosis = &look.diagnosis;
        for (level, causes) in [
            ("error", &diagnosis.causes),
            ("warning", &diagnosis.suspected),
            ("note", &diagnosis.advice),
        ] {
            for cause in causes {
                let summary = DETECTORS.iter().find(|detector| detector.slug == cause.slug);
                rules.insert(&cause.slug, summary.map_or("", |detector| detector.summary));
                results.push(result(level, look, cause));
            }
        }
    }
    let rules: Vec<Value> = rules
        .into_iter()
        .map(|(slug, summary)| json!({"id": slug, "shortDescription": {"text": summary}}))
        .collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "rekindle",
                "semanticVersion": env!("CARGO_PKG_VERSION"),
                "informationUri": env!("CARGO_PKG_REPOSITORY"),
                "rules": rules,
            }},
            "results": results,
        }],
    })
}

fn result(level: &str, look: &Looked, cause: &RootCause) -> Value {
    let namespace = &look.evidence.header.namespace;
    let chain: Vec<&str> = cause.chain.iter().map(|link| link.statement.as_str()).collect();
    let mut text = format!("{}: {}", cause.subject, cause.statement);
    if !chain.is_empty() {
        text.push_str(&format!("; seen as: {}", chain.join(", because ")));
    }
    if let Some(remedy) = &cause.remedy {
        text.push_str(&format!("; remedy: {}", remedy.sentence));
    }
    let name = format!("{namespace}/{}", cause.subject);
    let mut location = json!({"logicalLocations": [{"fullyQualifiedName": name, "kind": "resource"}]});
    if let Some(template) = look.template(&cause.subject) {
        location["physicalLocation"] = json!({"artifactLocation": {"uri": template}});
    }
    json!({
        "ruleId": cause.slug,
        "level": level,
        "message": {"text": text},
        "locations": [location],
        "partialFingerprints": {"rekindle/v1": format!("{}:{name}", cause.slug)},
    })
}
