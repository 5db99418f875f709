//! A run that never was, for the tests of the reports.

use std::time::Duration;

use jiff::Timestamp;

use super::{Report, Run, Versions};
use crate::diagnosis::{Certainty, Citation, Diagnosis, Link, RootCause};
use crate::events::Event;
use crate::evidence::{Basis, ObjectRef};
use crate::outcome::{ExpectedCause, Outcome, Profile, RemedyReport, TrialId, Variant, Verdict};
use crate::remedy::Remedy;

fn at() -> Timestamp {
    Timestamp::UNIX_EPOCH
}

fn link(kind: &str, name: &str, statement: &str) -> Link {
    Link {
        subject: ObjectRef::new(kind, Some("openhands"), name),
        statement: statement.to_owned(),
        since: at(),
        slug: None,
    }
}

fn citation(object: &str, text: &str) -> Citation {
    let (kind, name) = object.split_once('/').unwrap_or_default();
    Citation {
        basis: Basis::Observed,
        object: ObjectRef::new(kind, Some("openhands"), name),
        text: text.to_owned(),
        at: Some(at()),
    }
}

/// The cause of the design's picture.
pub fn unreachable() -> RootCause {
    RootCause {
        slug: "hook-target-unreachable".to_owned(),
        subject: ObjectRef::new("Job", Some("openhands"), "keycloak-config"),
        statement: "auth.openhands.invalid does not resolve inside the cluster".to_owned(),
        certainty: Certainty::Certain,
        why: "no object of this release or of the cluster could make that name resolve".to_owned(),
        since: at(),
        citations: vec![
            citation(
                "Pod/keycloak-config-6jglt",
                "\"curl: (6) Could not resolve host: auth.openhands.invalid\" 19 times",
            ),
            Citation {
                basis: Basis::Declared,
                ..citation(
                    "Job/keycloak-config",
                    "env KEYCLOAK_SERVER_URL of keycloak-config: https://auth.openhands.invalid",
                )
            },
            citation("Job/keycloak-config", "no such name inside the cluster"),
            citation("Job/keycloak-config", "HTTP 200 outside"),
            Citation {
                basis: Basis::Declared,
                ..citation("Job/keycloak-config", "metadata.annotations[helm.sh/hook]: post-install")
            },
        ],
        chain: vec![
            link(
                "HelmRelease",
                "openhands",
                "HelmRelease openhands/openhands is stalled after 2 attempts",
            ),
            link(
                "Job",
                "keycloak-config",
                "its install timed out after 4m00s waiting for Job keycloak-config (post-install hook)",
            ),
            link(
                "Pod",
                "keycloak-config-6jglt",
                "pod keycloak-config-6jglt printed \"waiting for Keycloak\" 231 times",
            ),
        ],
        remedy: Some(Remedy::new("use-in-cluster-url", "give this Job the in-cluster URL http://keycloak").with("url", "http://keycloak")),
        alternatives: Vec::new(),
    }
}

/// A second cause below the same symptom.
pub fn too_short() -> RootCause {
    let mut cause = unreachable();
    cause.slug = "rollout-timeout-too-short".to_owned();
    cause.subject = ObjectRef::new("Deployment", Some("openhands"), "runtime");
    cause.statement = "Deployment runtime needs 5m10s to get ready and is given 4m00s".to_owned();
    cause.why = "the engine has given up".to_owned();
    cause.citations.truncate(1);
    cause.chain.truncate(1);
    cause.remedy = Some(Remedy::new("raise-timeout", "raise the timeout to at least 7m"));
    cause.alternatives = vec![
        Remedy::new(
            "raise-replicas",
            "start with one pod of Deployment runtime and scale up once the release is deployed",
        ),
        Remedy::new("skip-wait", "install without waiting"),
    ];
    cause
}

/// One without a remedy, suspected only.
pub fn suspected() -> RootCause {
    let mut cause = too_short();
    cause.certainty = Certainty::Suspected;
    cause.why = "pod runtime-7c9 is still starting".to_owned();
    cause.remedy = None;
    cause.alternatives.clear();
    cause
}

pub fn outcome(verdict: Verdict, variant: Variant) -> Outcome {
    let broken = variant == Variant::Broken;
    let expected = ExpectedCause {
        slug: "hook-target-unreachable".to_owned(),
        subject: Some("Job/keycloak-config".to_owned()),
        citing: vec!["Could not resolve host".to_owned()],
        through: Vec::new(),
    };
    let engine_words = "Error: INSTALLATION FAILED: failed post-install: resource Job/openhands/keycloak-config not ready. \
                        status: InProgress, message: Job in progress\ncontext deadline exceeded";
    Outcome {
        trial: TrialId {
            scenario: "hook-target-unreachable".to_owned(),
            engine: "helm-4".to_owned(),
            variant,
            profile: Profile::Fast,
        },
        engine_version: "v4.3.1".to_owned(),
        kubernetes_version: "v1.34.4".to_owned(),
        verdict,
        sentence: "it broke as documented, was diagnosed right, remedied, and stayed healthy".to_owned(),
        engine_command: "helm install openhands ./chart --wait --timeout 20s".to_owned(),
        engine_words: if broken { engine_words.to_owned() } else { String::new() },
        expected_causes: if broken { vec![expected] } else { Vec::new() },
        diagnosis: Diagnosis {
            causes: if broken { vec![unreachable()] } else { Vec::new() },
            ..Diagnosis::default()
        },
        remedy: broken.then(|| RemedyReport {
            remedy: Remedy::new("use-in-cluster-url", "give this Job the in-cluster URL http://keycloak"),
            commands: vec![
                "helm upgrade openhands scenarios/hook-target-unreachable/chart --namespace openhands \
                 --set keycloak.url=http://keycloak --wait --timeout 20s"
                    .to_owned(),
            ],
            healthy: true,
        }),
        given_ms: 0,
        provision_ms: 310,
        break_ms: broken.then_some(20_140),
        first_correct_ms: broken.then_some(8_230),
        lag_ms: None,
        left_ms: broken.then_some(11_910),
        observe_ms: 0,
        remedy_ms: broken.then_some(4_100),
        window_ms: broken.then_some(10_000),
        overhead_ms: 420,
        total_ms: if broken { 35_020 } else { 14_300 },
        recording: None,
    }
}

/// A broken chart and its twin, both well.
pub fn passing() -> Vec<Outcome> {
    vec![outcome(Verdict::Pass, Variant::Broken), outcome(Verdict::Pass, Variant::Twin)]
}

/// One outcome per verdict, as a run would leave it.
pub fn every_verdict() -> Vec<Outcome> {
    let mut outcomes = passing();
    for verdict in Verdict::ALL.into_iter().filter(|verdict| *verdict != Verdict::Pass) {
        let variant = if verdict == Verdict::FalseAlarm {
            Variant::Twin
        } else {
            Variant::Broken
        };
        let mut outcome = outcome(verdict, variant);
        outcome.trial.engine = "flux-2.9".to_owned();
        outcome.engine_version = "v1.6.4".to_owned();
        outcome.trial.scenario = format!("sample--{verdict}");
        mend(&mut outcome);
        outcomes.push(outcome);
    }
    outcomes
}

/// The outcome of that verdict.
fn of(verdict: Verdict) -> Outcome {
    let mut outcome = outcome(verdict, Variant::Broken);
    mend(&mut outcome);
    outcome
}

fn mend(outcome: &mut Outcome) {
    let nothing_found = |outcome: &mut Outcome| {
        outcome.diagnosis = Diagnosis::default();
        outcome.first_correct_ms = None;
        outcome.left_ms = None;
    };
    let no_remedy = |outcome: &mut Outcome| {
        outcome.remedy = None;
        outcome.remedy_ms = None;
        outcome.window_ms = None;
    };
    let sentence = match outcome.verdict {
        Verdict::Pass => return,
        Verdict::FixedUpstream | Verdict::NotReproduced => {
            nothing_found(outcome);
            no_remedy(outcome);
            outcome.break_ms = None;
            outcome.engine_words = "Helm install succeeded for release openhands/openhands.v1 with chart openhands@0.1.0".to_owned();
            "the engine reports success after 9.1 s"
        }
        Verdict::NotRun => {
            nothing_found(outcome);
            no_remedy(outcome);
            outcome.break_ms = None;
            outcome.engine_words.clear();
            outcome.total_ms = 0;
            "it was not tried, because the run was interrupted"
        }
        Verdict::WrongFailure => {
            nothing_found(outcome);
            no_remedy(outcome);
            outcome.engine_words = "Error: INSTALLATION FAILED: cannot reuse a name that is still in use".to_owned();
            "the engine's words do not contain `failed post-install`"
        }
        Verdict::Undetected => {
            nothing_found(outcome);
            no_remedy(outcome);
            outcome.diagnosis.suspected.push(suspected());
            outcome
                .diagnosis
                .unexplained
                .push(link("Job", "keycloak-config", "Job keycloak-config never completed"));
            "no certain cause was found by the time the engine gave up"
        }
        Verdict::Misdiagnosed => {
            no_remedy(outcome);
            outcome.first_correct_ms = None;
            outcome.left_ms = None;
            outcome.diagnosis.causes.push(too_short());
            "rollout-timeout-too-short of Deployment/runtime was found and is not expected"
        }
        Verdict::FalseAlarm => {
            outcome.diagnosis.causes.push(too_short());
            "the healthy twin was diagnosed with rollout-timeout-too-short"
        }
        Verdict::NotRemedied => {
            if let Some(remedy) = &mut outcome.remedy {
                remedy.healthy = false;
            }
            outcome.remedy_ms = None;
            outcome.window_ms = None;
            "Deployment/runtime was not available 60 s after the remedy; last seen: 0 of 1 replicas"
        }
        Verdict::Relapsed => "pod keycloak-config-9zx restarted 6.2 s after the remedy",
        Verdict::Infra => {
            nothing_found(outcome);
            no_remedy(outcome);
            outcome.break_ms = None;
            outcome.engine_words.clear();
            "the API server did not answer for 30 s; last seen: connection refused; run `rekindle doctor`"
        }
    };
    sentence.clone_into(&mut outcome.sentence);
}

pub fn report(outcomes: Vec<Outcome>) -> Report {
    let run = Run {
        versions: Versions {
            rekindle: "0.1.0".to_owned(),
            kubernetes: "v1.34.4".to_owned(),
            kind: "v0.33.0".to_owned(),
            engines: [("helm-4".to_owned(), "v4.3.1".to_owned())].into(),
        },
        profile: Profile::Fast,
        started_at: at(),
        wall: Duration::from_millis(61_400),
        clusters_created: 1,
        clusters_left: 0,
        interrupted: false,
        cleanup_failures: Vec::new(),
    };
    let mut report = Report::new(run, outcomes);
    report.peak_memory_bytes = 48 << 20;
    report
}

/// Every event there is, with the moment at which it comes, in seconds.
pub fn events() -> Vec<(f64, Event)> {
    let trial = || "hook-target-unreachable::helm-4::broken".to_owned();
    let step = |step: &str| step.to_owned();
    let phase = |at, trial, phase, waiting_for: &str, left: u64| {
        let waiting_for = waiting_for.to_owned();
        (
            at,
            Event::TrialPhase {
                trial,
                phase,
                waiting_for,
                left: Some(Duration::from_secs(left)),
            },
        )
    };
    let twin = || "hook-target-unreachable::helm-4::twin".to_owned();
    let finished = |trial, outcome| Event::TrialFinished {
        trial,
        outcome: Box::new(outcome),
    };
    vec![
        (
            0.0,
            Event::Note {
                text: "Docker is not installed; it is set up now".to_owned(),
            },
        ),
        (
            0.0,
            Event::StepStarted {
                step: step("Build kubeadm v1.34.4"),
            },
        ),
        (
            0.1,
            Event::StepFinished {
                step: step("Build kubeadm v1.34.4"),
                elapsed: Duration::from_millis(100),
                cached: true,
            },
        ),
        (
            0.2,
            Event::StepStarted {
                step: step("Create cluster rekindle-3f2a"),
            },
        ),
        (
            0.3,
            Event::StepStarted {
                step: step("Build helm v4.3.1"),
            },
        ),
        (
            5.0,
            Event::StepProgress {
                step: step("Create cluster rekindle-3f2a"),
                detail: "Starting control-plane".to_owned(),
            },
        ),
        (
            6.0,
            Event::StepFailed {
                step: step("Build helm v4.3.1"),
                elapsed: Duration::from_millis(5_700),
            },
        ),
        (
            40.0,
            Event::StepFinished {
                step: step("Create cluster rekindle-3f2a"),
                elapsed: Duration::from_millis(39_800),
                cached: false,
            },
        ),
        (40.0, Event::RunStarted { trials: 3 }),
        (40.1, Event::TrialStarted { trial: trial() }),
        (40.1, Event::TrialStarted { trial: twin() }),
        phase(
            40.4,
            trial(),
            "break",
            "Job/keycloak-config to complete, which the engine waits for",
            20,
        ),
        phase(40.4, twin(), "healthy", "Deployment/runtime to be available", 60),
        (
            48.6,
            Event::CauseKnown {
                trial: trial(),
                cause: "hook-target-unreachable".to_owned(),
                after: Duration::from_millis(8_230),
                left: Some(Duration::from_millis(11_910)),
            },
        ),
        (54.4, finished(twin(), outcome(Verdict::Pass, Variant::Twin))),
        phase(60.5, trial(), "remedy", "release openhands to be deployed", 20),
        (75.2, finished(trial(), outcome(Verdict::Pass, Variant::Broken))),
        (
            75.3,
            Event::TrialStarted {
                trial: "sample--undetected::flux-2.9::broken".to_owned(),
            },
        ),
        (
            80.0,
            finished("sample--undetected::flux-2.9::broken".to_owned(), of(Verdict::Undetected)),
        ),
    ]
}
