//! What a diagnosed remedy means in a scenario's chart.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::{Deed, Remedy};
use crate::scenario::duration::Span;
use crate::scenario::{ObjectName, Reset, Step};

/// Why a remedy cannot be applied here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    #[error("the diagnosis names no remedy")]
    NoRemedy,
    #[error("the diagnosed remedy is `{kind}`, and the scenario has no steps for it; it has {known}")]
    NoSteps { kind: String, known: String },
    #[error("the steps for `{kind}` need `{{{parameter}}}`, which the diagnosis could not tell")]
    NoParameter { kind: String, parameter: String },
    #[error("the steps for `{kind}` set the timeout to {reason}")]
    Timeout { kind: String, reason: String },
    #[error("only objects can be made, changed or deleted here; `set`, `timeout`, `spec` and `reset` are for remedies")]
    NotBeside,
}

/// Everything that is to be done, parameters filled in.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    pub set: Vec<(String, String)>,
    pub timeout: Option<Duration>,
    /// What the HelmRelease says, as a merge patch; null where nothing changes.
    pub spec: Value,
    pub reset: Option<Reset>,
    /// The release goes before everything else, and is installed anew.
    pub uninstall: bool,
    /// What is done before the engine runs again, in this order.
    pub deeds: Vec<Deed>,
}

impl Plan {
    /// Fills the scenario's steps for these remedies.
    ///
    /// # Errors
    /// When a remedy has no steps here, or a step needs what the diagnosis could not tell.
    pub fn of<'a>(
        remedies: impl IntoIterator<Item = Option<&'a Remedy>>,
        mapping: &BTreeMap<String, Vec<Step>>,
    ) -> Result<Self, PlanError> {
        let mut plan = Self::default();
        for remedy in remedies {
            let remedy = remedy.ok_or(PlanError::NoRemedy)?;
            let steps = mapping.get(&remedy.kind).ok_or_else(|| PlanError::NoSteps {
                kind: remedy.kind.clone(),
                known: mapping.keys().map(String::as_str).collect::<Vec<_>>().join(", "),
            })?;
            for step in steps {
                plan.add(step, remedy)?;
            }
        }
        Ok(plan)
    }

    /// What steps do beside the release that is in question.
    ///
    /// # Errors
    /// When one of them is about that release, or needs what only a diagnosis could tell.
    pub fn deeds(steps: &[Step]) -> Result<Vec<Deed>, PlanError> {
        let nobody = Remedy::new("afterwards", "");
        let mut plan = Self::default();
        for step in steps {
            plan.add(step, &nobody)?;
        }
        let beside = plan.set.is_empty() && plan.timeout.is_none() && plan.spec.is_null() && plan.reset.is_none();
        beside.then_some(plan.deeds).ok_or(PlanError::NotBeside)
    }

    fn add(&mut self, step: &Step, remedy: &Remedy) -> Result<(), PlanError> {
        match step {
            Step::Set(values) => {
                for (path, value) in values {
                    self.set.push((path.clone(), fill(value, remedy)?));
                }
            }
            Step::Timeout(value) => {
                let Some(value) = fill_if_known(value, remedy)? else {
                    return Ok(());
                };
                let span = Span::parse(&value).map_err(|reason| PlanError::Timeout {
                    kind: remedy.kind.clone(),
                    reason,
                })?;
                self.timeout = Some(self.timeout.map_or(span.0, |timeout| timeout.max(span.0)));
            }
            Step::Spec(spec) => {
                let spec = fill_all(spec, remedy)?;
                if self.spec.is_null() {
                    self.spec = spec;
                } else {
                    json_patch::merge(&mut self.spec, &spec);
                }
            }
            Step::Reset(reset) => self.reset = Some(*reset),
            Step::Uninstall => self.uninstall = true,
            Step::Rollback(revision) => self.deeds.push(Deed::Rollback(fill(revision, remedy)?)),
            Step::CreateSecret { name, literals } => self.deeds.push(Deed::CreateSecret {
                name: fill(name, remedy)?,
                literals: literals.clone(),
            }),
            Step::CreateConfigMap { name, literals } => self.deeds.push(Deed::CreateConfigMap {
                name: fill(name, remedy)?,
                literals: literals.clone(),
            }),
            Step::Install(release) => self.deeds.push(Deed::Install(release.clone())),
            Step::Apply(file) => self.deeds.push(Deed::Apply(file.value.clone())),
            Step::Delete(object) => self.deeds.push(Deed::Delete(named(object, remedy)?)),
            Step::Patch { object, patch } => self.deeds.push(Deed::Patch {
                object: named(object, remedy)?,
                patch: fill_all(patch, remedy)?,
            }),
        }
        Ok(())
    }
}

/// An object whose name a remedy may know.
fn named(object: &ObjectName, remedy: &Remedy) -> Result<ObjectName, PlanError> {
    Ok(ObjectName {
        name: fill(&object.name, remedy)?,
        ..object.clone()
    })
}

/// Every text in a value, filled in.
fn fill_all(value: &Value, remedy: &Remedy) -> Result<Value, PlanError> {
    Ok(match value {
        Value::String(text) => Value::String(fill(text, remedy)?),
        Value::Array(items) => Value::Array(items.iter().map(|item| fill_all(item, remedy)).collect::<Result<_, _>>()?),
        Value::Object(fields) => {
            let filled = fields.iter().map(|(key, value)| Ok((key.clone(), fill_all(value, remedy)?)));
            Value::Object(filled.collect::<Result<_, PlanError>>()?)
        }
        other => other.clone(),
    })
}

/// As [`fill`]; nothing where a parameter that is written `{name?}` is not known: then the step is not needed.
fn fill_if_known(text: &str, remedy: &Remedy) -> Result<Option<String>, PlanError> {
    let Some(name) = text.strip_prefix('{').and_then(|text| text.strip_suffix("?}")) else {
        return fill(text, remedy).map(Some);
    };
    Ok(remedy.parameters.get(name).cloned())
}

/// Puts parameters in the place of their names in braces.
fn fill(text: &str, remedy: &Remedy) -> Result<String, PlanError> {
    let mut filled = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        // `${…}` is the trial's, not the remedy's.
        if before.ends_with('$') {
            filled.push_str(before);
            filled.push('{');
            rest = after;
            continue;
        }
        let Some((name, after)) = after.split_once('}') else { break };
        let value = remedy.parameters.get(name).ok_or_else(|| PlanError::NoParameter {
            kind: remedy.kind.clone(),
            parameter: name.to_owned(),
        })?;
        filled.push_str(before);
        filled.push_str(value);
        rest = after;
    }
    filled.push_str(rest);
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping() -> BTreeMap<String, Vec<Step>> {
        BTreeMap::from([
            (
                "use-url".to_owned(),
                vec![Step::Set(BTreeMap::from([("config.url".to_owned(), "{url}/x".to_owned())]))],
            ),
            ("raise-timeout".to_owned(), vec![Step::Timeout("{at_least}".to_owned())]),
        ])
    }

    #[test]
    fn fills_what_the_detector_knew() {
        let url = Remedy::new("use-url", "").with("url", "http://keycloak");
        let raise = Remedy::new("raise-timeout", "").with("at_least", "420s");
        let plan = Plan::of([Some(&url), Some(&raise)], &mapping()).unwrap();
        assert_eq!(plan.set, [("config.url".to_owned(), "http://keycloak/x".to_owned())]);
        assert_eq!(plan.timeout, Some(Duration::from_mins(7)));
    }

    #[test]
    fn what_the_trial_knows_is_left_to_it() {
        let url = Remedy::new("use-url", "").with("url", "http://keycloak");
        assert_eq!(
            fill("{url}.${namespace}/{url}", &url).unwrap(),
            "http://keycloak.${namespace}/http://keycloak"
        );
    }

    #[test]
    fn what_is_done_beside_the_release() {
        let secret = |name: &str| Step::CreateSecret {
            name: name.to_owned(),
            literals: BTreeMap::new(),
        };
        assert_eq!(Plan::deeds(&[secret("a"), secret("b")]).unwrap().len(), 2);
        let refused = |step: Step| Plan::deeds(&[secret("a"), step]).unwrap_err();
        assert_eq!(refused(Step::Timeout("7m".to_owned())), PlanError::NotBeside);
        assert_eq!(refused(Step::Reset(Reset::default())), PlanError::NotBeside);
        assert_eq!(refused(Step::Spec(serde_json::json!({"suspend": true}))), PlanError::NotBeside);
        assert!(refused(secret("{name}")).to_string().contains("`{name}`"));
    }

    #[test]
    fn says_what_is_missing() {
        let says = |remedy: Option<&Remedy>| Plan::of([remedy], &mapping()).unwrap_err().to_string();
        assert_eq!(says(None), "the diagnosis names no remedy");
        assert!(says(Some(&Remedy::new("pray", ""))).contains("it has raise-timeout, use-url"));
        assert_eq!(
            says(Some(&Remedy::new("use-url", ""))),
            "the steps for `use-url` need `{url}`, which the diagnosis could not tell"
        );
        assert!(says(Some(&Remedy::new("raise-timeout", "").with("at_least", "soon"))).contains("`soon` is no duration"));
    }
}
