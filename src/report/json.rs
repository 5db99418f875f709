//! `report.json` and its schema, which is generated from the types.

use super::Report;

/// The report as a JSON document with a line break at its end.
///
/// # Errors
/// Where a value has no form in JSON; no type here has such values.
pub fn render(report: &Report) -> Result<String, serde_json::Error> {
    Ok(serde_json::to_string_pretty(report)? + "\n")
}

/// The JSON schema of `report.json`, as it is committed in `docs/report.schema.json`.
///
/// # Errors
/// As [`render`].
pub fn schema() -> Result<String, serde_json::Error> {
    let mut schema = schemars::schema_for!(Report);
    schema.insert("$id".to_owned(), Report::SCHEMA.into());
    Ok(serde_json::to_string_pretty(&schema)? + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples;

    #[test]
    fn the_committed_schema_is_current() {
        let committed = include_str!("../../docs/report.schema.json");
        assert!(
            committed == schema().unwrap(),
            "docs/report.schema.json is out of date: run `cargo run -- schema report > docs/report.schema.json`"
        );
    }

    #[test]
    fn a_report_keeps_its_schema() {
        let schema: serde_json::Value = serde_json::from_str(&schema().unwrap()).unwrap();
        let validator = jsonschema::validator_for(&schema).unwrap();
        for outcomes in [Vec::new(), samples::every_verdict()] {
            let report: serde_json::Value = serde_json::from_str(&render(&samples::report(outcomes)).unwrap()).unwrap();
            let errors: Vec<String> = validator.iter_errors(&report).map(|error| error.to_string()).collect();
            assert!(errors.is_empty(), "{errors:?}");
        }
        assert!(!validator.is_valid(&serde_json::json!({ "outcomes": [] })));
    }

    #[test]
    fn the_contract_names_its_fields() {
        let report: serde_json::Value = serde_json::from_str(&render(&samples::report(samples::every_verdict())).unwrap()).unwrap();
        let first = &report["outcomes"][0];
        for field in [
            "scenario",
            "engine",
            "engine_version",
            "kubernetes_version",
            "profile",
            "variant",
            "verdict",
            "expected_causes",
            "diagnosis",
            "remedy",
            "provision_ms",
            "break_ms",
            "first_correct_ms",
            "remedy_ms",
            "total_ms",
        ] {
            assert!(first.get(field).is_some(), "{field}");
        }
        let keys: Vec<&String> = report.as_object().unwrap().keys().collect();
        assert_eq!(keys[..2], ["$schema", "schema_version"]);
    }
}
