//! Scenarios that are wrong in one place: each has to end in the verdict that says so.

use std::path::Path;

use libtest_mimic::Failed;
use rekindle::diagnosis::Detector;
use rekindle::diagnosis::detectors::DETECTORS;
use rekindle::outcome::{Profile, TrialId, Variant, Verdict};
use rekindle::scenario::{self, Scenario};
use rekindle::trial::Trial;

const SCENARIO: &str = "hook-target-unreachable";

pub struct Mutant {
    pub name: &'static str,
    variant: Variant,
    /// In this file of the scenario, the first text becomes the second.
    edits: &'static [(&'static str, &'static str, &'static str)],
    /// The detector that is taken away.
    without: Option<&'static str>,
    pub verdict: Verdict,
}

pub const ALL: &[Mutant] = &[
    Mutant {
        name: "a_detector_is_gone",
        variant: Variant::Broken,
        edits: &[],
        without: Some("hook-target-unreachable"),
        verdict: Verdict::Undetected,
    },
    Mutant {
        name: "another_cause_is_expected",
        variant: Variant::Broken,
        edits: &[(
            "scenario.yaml",
            "slug: hook-target-unreachable\n        subject",
            "slug: secret-missing\n        subject",
        )],
        without: None,
        verdict: Verdict::Misdiagnosed,
    },
    Mutant {
        name: "another_reason_is_expected",
        variant: Variant::Broken,
        edits: &[("scenario.yaml", "Could not resolve host", "Connection refused")],
        without: None,
        verdict: Verdict::Misdiagnosed,
    },
    Mutant {
        name: "the_remedy_does_not_help",
        variant: Variant::Broken,
        edits: &[(
            "scenario.yaml",
            "set: {keycloakConfig.url: \"{url}\"}",
            "set: {keycloakConfig.url: \"{url}/elsewhere\"}",
        )],
        without: None,
        verdict: Verdict::NotRemedied,
    },
    Mutant {
        name: "the_remedy_has_no_steps",
        variant: Variant::Broken,
        edits: &[("scenario.yaml", "use-in-cluster-url:", "pray:")],
        without: None,
        verdict: Verdict::NotRemedied,
    },
    Mutant {
        name: "the_remedy_does_not_last",
        variant: Variant::Broken,
        edits: &[
            ("scenario.yaml", "window: 5s", "window: 30s"),
            (
                "scenario.yaml",
                "set: {keycloakConfig.url: \"{url}\"}",
                "set: {keycloakConfig.url: \"{url}\", openhands.dies: \"yes\"}",
            ),
            (
                "chart/templates/openhands.yaml",
                "          readinessProbe:",
                "          {{- if (.Values.openhands | default dict).dies }}\n          \
                 livenessProbe: {httpGet: {path: /gone, port: http}, initialDelaySeconds: 12, periodSeconds: 1, failureThreshold: 1}\n          \
                 {{- end }}\n          readinessProbe:",
            ),
        ],
        without: None,
        verdict: Verdict::Relapsed,
    },
    Mutant {
        name: "the_chart_is_not_broken",
        variant: Variant::Broken,
        edits: &[("chart/values.yaml", "  url: \"\"", "  url: http://keycloak")],
        without: None,
        verdict: Verdict::NotReproduced,
    },
    Mutant {
        name: "the_chart_breaks_otherwise",
        variant: Variant::Broken,
        edits: &[(
            "chart/templates/keycloak-config.yaml",
            "apiVersion: batch/v1",
            "apiVersion: batch/v0",
        )],
        without: None,
        verdict: Verdict::WrongFailure,
    },
    Mutant {
        name: "the_twin_is_broken",
        variant: Variant::Twin,
        edits: &[("values/twin.yaml", "url: http://keycloak", "url: https://auth.openhands.invalid")],
        without: None,
        verdict: Verdict::FalseAlarm,
    },
];

impl Mutant {
    /// The scenario with its fault, in a folder of its own.
    pub fn scenario(&self, scenarios: &Path, folder: &Path) -> Result<Scenario, Failed> {
        copy(&scenarios.join(SCENARIO), &folder.join(SCENARIO))?;
        for (file, from, to) in self.edits {
            let path = folder.join(SCENARIO).join(file);
            let text = std::fs::read_to_string(&path)?;
            if !text.contains(from) {
                return Err(format!("{file} does not hold {from:?} any more").into());
            }
            std::fs::write(&path, text.replacen(from, to, 1))?;
        }
        let loaded = scenario::load_all(folder)?;
        Ok(loaded.into_iter().find(|scenario| scenario.id == SCENARIO).ok_or("it is gone")?)
    }

    /// The trial of it.
    pub fn trial<'a>(&self, scenario: &'a Scenario) -> Trial<'a> {
        let kept: Vec<&'static Detector> = DETECTORS
            .iter()
            .copied()
            .filter(|detector| Some(detector.slug) != self.without)
            .collect();
        let id = TrialId {
            scenario: scenario.id.clone(),
            engine: scenario.engines[0].clone(),
            variant: self.variant,
            profile: Profile::Fast,
        };
        Trial {
            id,
            scenario,
            detectors: Box::leak(kept.into_boxed_slice()),
            onlooker: None,
        }
    }
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?
        } else {
            std::fs::copy(entry.path(), target).map(|_| ())?
        }
    }
    Ok(())
}
