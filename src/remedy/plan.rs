//! What a diagnosed remedy means in a scenario's chart.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Remedy;
use crate::scenario::duration::Span;
use crate::scenario::{GivenRelease, Step};

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
}

/// Everything that is to be done, parameters filled in.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    pub set: Vec<(String, String)>,
    pub timeout: Option<Duration>,
    pub secrets: Vec<(String, BTreeMap<String, String>)>,
    pub config_maps: Vec<(String, BTreeMap<String, String>)>,
    pub releases: Vec<GivenRelease>,
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
            Step::CreateSecret { name, literals } => self.secrets.push((fill(name, remedy)?, literals.clone())),
            Step::CreateConfigMap { name, literals } => self.config_maps.push((fill(name, remedy)?, literals.clone())),
            Step::Install(release) => self.releases.push(release.clone()),
        }
        Ok(())
    }

    /// The steps before the engine runs again, as a person would type them.
    pub fn commands(&self, namespace: &str) -> Vec<String> {
        let secrets = self.secrets.iter().map(|(name, literals)| {
            let keys: String = literals.keys().map(|key| format!(" --from-literal={key}=…")).collect();
            format!("kubectl --namespace {namespace} create secret generic {name}{keys}")
        });
        let config_maps = self.config_maps.iter().map(|(name, literals)| {
            let entries: String = literals
                .iter()
                .map(|(key, value)| format!(" --from-literal={key}={value}"))
                .collect();
            format!("kubectl --namespace {namespace} create configmap {name}{entries}")
        });
        secrets.chain(config_maps).collect()
    }
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
