//! What the engine attempted last, and how that stands.

use jiff::{SignedDuration, Timestamp};

use crate::evidence::{Engine, Evidence, Life, ObjectRef, ReleaseRecord, moment};

/// How an attempt stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Running,
    Failed,
    Succeeded,
}

/// The engine's latest attempt at a release; in a live namespace the one that the release record tells of.
#[derive(Debug)]
pub struct Attempt<'a> {
    pub release: String,
    pub namespace: String,
    /// `install` or `upgrade`
    pub operation: String,
    pub state: State,
    pub started_at: Timestamp,
    pub ended_at: Option<Timestamp>,
    /// What the engine gives to each wait, where it is known.
    pub timeout: Option<SignedDuration>,
    pub waits_for_resources: bool,
    pub wait_for_jobs: bool,
    pub record: Option<&'a ReleaseRecord>,
    pub engine: Option<&'a Engine>,
    /// Flux's own object, where its helm-controller is the engine.
    pub helm_release: Option<&'a Life>,
    /// Flux's own object, where its kustomize-controller is the engine.
    pub kustomization: Option<&'a Life>,
}

impl Attempt<'_> {
    /// What a person looks at: Flux's object, or the release.
    pub fn subject(&self) -> ObjectRef {
        match self.flux() {
            Some(life) => ObjectRef::new(life.text("/kind"), Some(life.text("/metadata/namespace")), life.name()),
            None => ObjectRef::new("Release", Some(&self.namespace), &self.release),
        }
    }

    /// Flux's own object: a HelmRelease or a Kustomization.
    pub fn flux(&self) -> Option<&Life> {
        self.helm_release.or(self.kustomization)
    }

    /// All that the engine said about its end: what it printed, the record's description, Flux's conditions.
    pub fn words(&self) -> String {
        let mut words = Vec::new();
        if let Some(engine) = self.engine {
            words.push(engine.error());
        }
        if let Some(record) = self.record.filter(|record| record.status == "failed") {
            words.push(record.description.clone());
        }
        if let Some(life) = self.flux() {
            for condition in ["Released", "Healthy", "Ready", "Stalled"] {
                if let Some(message) = life.condition_object(condition).and_then(|found| found.get("message")?.as_str()) {
                    words.push(message.to_owned());
                }
            }
        }
        words.retain(|text| !text.trim().is_empty());
        words.join("\n")
    }

    /// Whether the engine's words are those of a wait that ran out or saw a failure, not of a refusal by the API server.
    pub fn ended_in_a_wait(&self) -> bool {
        let words = self.words();
        let refused = ["is invalid", "failed to create typed patch", "forbidden", "no matches for kind"];
        const WAITS: &[&str] = &[
            "not ready. status",
            "failed early due to stalled",
            "BackoffLimitExceeded",
            "DeadlineExceeded",
        ];
        WAITS.iter().chain(TIME_RAN_OUT).any(|wait| words.contains(wait))
            || self.took_its_time() && !refused.iter().any(|refusal| words.contains(refusal))
    }

    /// Whether the engine's words are those of a wait that ran out.
    pub fn says_time_ran_out(&self) -> bool {
        let words = self.words();
        TIME_RAN_OUT.iter().any(|wait| words.contains(wait))
    }

    /// Whether the engine's words are those of a hook that failed: `failed post-install: …`, `pre-upgrade hooks failed: …`.
    pub fn says_hook_failed(&self) -> bool {
        let words = self.words();
        ["failed pre-", "failed post-", " hooks failed: "]
            .iter()
            .any(|hook| words.contains(hook))
    }

    /// Whether it ended no earlier than one whole wait takes.
    pub fn took_its_time(&self) -> bool {
        self.ended_at
            .zip(self.timeout)
            .is_some_and(|(end, timeout)| end.duration_since(self.started_at) + SignedDuration::from_secs(1) >= timeout)
    }

    /// Whether a Job of the release that is gone keeps the engine from its end. Helm 4's watcher misses every object that it watches;
    /// the wait that Helm 3 has, and Helm 4 and Flux as `legacy`, asks for Jobs only where it was told to. Flux's poller takes a Job that
    /// was there and has gone for one that is done.
    pub fn misses_jobs(&self) -> bool {
        let wait = self.engine.map(|engine| engine.start.wait.as_str());
        self.waits_for_resources && wait != Some("poller") && (self.wait_for_jobs || wait == Some("watcher"))
    }
}

/// Words of engines whose time ran out: Helm 3, Flux, and both of them and Helm 4.
const TIME_RAN_OUT: &[&str] = &["timed out waiting", "timeout waiting", "deadline exceeded"];

/// The latest attempt since the remedy began, if there was one.
pub fn attempt(evidence: &Evidence) -> Option<Attempt<'_>> {
    let horizon = evidence.remedy_started;
    if let Some(engine) = evidence.engine() {
        if horizon.is_some_and(|horizon| engine.started_at < horizon) {
            return None;
        }
        return Some(of_engine(evidence, engine));
    }
    of_record(evidence, horizon).or_else(|| of_objects(evidence, horizon))
}

fn of_engine<'a>(evidence: &'a Evidence, engine: &'a Engine) -> Attempt<'a> {
    let start = &engine.start;
    let state = if engine.running() {
        State::Running
    } else if engine.failed() {
        State::Failed
    } else {
        State::Succeeded
    };
    Attempt {
        release: start.release.clone(),
        namespace: start.namespace.clone(),
        operation: start.operation.clone(),
        state,
        started_at: engine.started_at,
        ended_at: engine.end.as_ref().map(|end| end.at),
        timeout: Some(start.timeout()),
        waits_for_resources: start.waits_for_resources(),
        wait_for_jobs: start.wait_for_jobs,
        record: Some(engine)
            .filter(|_| !start.kustomization)
            .and_then(|engine| own_record(evidence, engine)),
        engine: Some(engine),
        helm_release: Some(&start.release)
            .filter(|_| !start.kustomization)
            .and_then(|name| helm_release(evidence, name)),
        kustomization: Some(&start.release)
            .filter(|_| start.kustomization)
            .and_then(|name| evidence.get("Kustomization", &start.namespace, name)),
    }
}

/// The record of what this run of the engine attempted.
fn own_record<'a>(evidence: &'a Evidence, engine: &Engine) -> Option<&'a ReleaseRecord> {
    let start = &engine.start;
    let tolerance = SignedDuration::from_secs(1);
    // What was written before this run began belongs to an earlier one.
    evidence
        .release_received(&start.release)
        .filter(|(at, _)| *at + tolerance >= engine.started_at)?;
    attempted(evidence, &start.release)
}

/// The newest record of a release that is none of going back.
fn attempted<'a>(evidence: &'a Evidence, release: &str) -> Option<&'a ReleaseRecord> {
    evidence.revisions(release).find(|record| !goes_back(record))
}

/// An engine that goes back after a failure writes a revision of its own for that: `Rollback to 1`, or, where the going back fails, `Release
/// "x" failed: …` where an upgrade that fails says `Upgrade "x" failed: …`. An install that fails says the same, and was deployed first then.
fn goes_back(record: &ReleaseRecord) -> bool {
    record.status == "pending-rollback"
        || record.description.starts_with("Rollback ")
        || record.description.starts_with("Release \"") && record.first_deployed != record.last_deployed
}

/// Without an engine that was watched, the record of the release that did not succeed speaks for it.
fn of_record(evidence: &Evidence, horizon: Option<Timestamp>) -> Option<Attempt<'_>> {
    let (at, record) = evidence
        .releases
        .values()
        .filter(|(at, _)| horizon.is_none_or(|horizon| *at >= horizon))
        .filter(|(_, record)| {
            evidence
                .release(&record.name)
                .is_some_and(|newest| newest.revision == record.revision)
        })
        .filter(|(_, record)| record.status == "failed" || record.status.starts_with("pending-"))
        .max_by_key(|(at, record)| (record.last_deployed, *at))?;
    let failed = record.status == "failed";
    let helm_release = helm_release(evidence, &record.name);
    let waits = helm_release.is_some_and(|life| {
        life.object()
            .pointer("/spec/install/disableWait")
            .and_then(serde_json::Value::as_bool)
            != Some(true)
    });
    Some(Attempt {
        release: record.name.clone(),
        namespace: record.namespace.clone(),
        operation: if record.revision > 1 { "upgrade" } else { "install" }.to_owned(),
        state: if failed { State::Failed } else { State::Running },
        started_at: record.last_deployed.or(record.first_deployed).unwrap_or(*at),
        ended_at: failed.then_some(*at),
        timeout: helm_release.map(|life| life.text("/spec/timeout").parse().unwrap_or(SignedDuration::from_mins(5))),
        waits_for_resources: waits || record.description.contains("not ready. status"),
        wait_for_jobs: waits,
        record: Some(record),
        engine: None,
        helm_release,
        kustomization: None,
    })
}

/// Without a record that tells of a failure, the object of Flux's that is not ready speaks for itself; first one that waits for others.
fn of_objects(evidence: &Evidence, horizon: Option<Timestamp>) -> Option<Attempt<'_>> {
    let unready = |life: &&Life| {
        let since = condition_time(life, "Ready");
        life.condition("Ready") == "False" && horizon.zip(since).is_none_or(|(horizon, since)| since >= horizon)
    };
    let mut all: Vec<&Life> = ["HelmRelease", "Kustomization"]
        .iter()
        .flat_map(|kind| evidence.all(kind))
        .filter(unready)
        .collect();
    all.sort_by_key(|life| reason(life) != DEPENDENCY_NOT_READY);
    all.first().map(|life| of_flux(evidence, life))
}

/// The reason that both controllers give while a dependency is not ready.
pub const DEPENDENCY_NOT_READY: &str = "DependencyNotReady";

/// The reason of the condition Ready; empty where there is none.
pub fn reason(life: &Life) -> &str {
    let ready = life.condition_object("Ready");
    ready.and_then(|found| found.get("reason")?.as_str()).unwrap_or_default()
}

/// What the condition Ready says.
pub fn message(life: &Life) -> &str {
    let ready = life.condition_object("Ready");
    ready.and_then(|found| found.get("message")?.as_str()).unwrap_or_default()
}

fn condition_time(life: &Life, kind: &str) -> Option<Timestamp> {
    moment::parse(life.condition_object(kind)?.get("lastTransitionTime")?.as_str()?)
}

/// What Flux attempted for one of its objects, as far as the object and its record tell.
pub fn of_flux<'a>(evidence: &'a Evidence, life: &'a Life) -> Attempt<'a> {
    let kustomization = life.text("/kind") == "Kustomization";
    let release = ["/status/history/0/name", "/spec/releaseName", "/metadata/name"]
        .iter()
        .map(|pointer| life.text(pointer))
        .find(|name| !kustomization && !name.is_empty())
        .unwrap_or(life.name());
    let record = attempted(evidence, release).filter(|_| !kustomization);
    let state = match life.condition("Ready") {
        "True" => State::Succeeded,
        "False" => State::Failed,
        _ => State::Running,
    };
    let told = |pointer: &str| life.at(pointer).and_then(serde_json::Value::as_bool) == Some(true);
    let waits = if kustomization {
        told("/spec/wait")
    } else {
        !told("/spec/install/disableWait")
    };
    Attempt {
        release: release.to_owned(),
        namespace: life.text("/metadata/namespace").to_owned(),
        operation: match record {
            _ if kustomization => "reconciliation",
            Some(record) if record.revision > 1 => "upgrade",
            _ => "install",
        }
        .to_owned(),
        state,
        started_at: record.and_then(|record| record.last_deployed).unwrap_or_else(|| life.first_seen()),
        ended_at: condition_time(life, "Ready").filter(|_| state != State::Running),
        timeout: Some(life.text("/spec/timeout").parse().unwrap_or(SignedDuration::from_mins(5))),
        waits_for_resources: waits || !life.list("/spec/healthChecks").is_empty(),
        wait_for_jobs: waits,
        record,
        engine: None,
        helm_release: Some(life).filter(|_| !kustomization),
        kustomization: Some(life).filter(|_| kustomization),
    }
}

fn helm_release<'a>(evidence: &'a Evidence, release: &str) -> Option<&'a Life> {
    evidence
        .all("HelmRelease")
        .find(|life| life.name() == release || life.text("/spec/releaseName") == release || life.text("/status/history/0/name") == release)
}

/// Whether an engine is at work and has not given up yet: what is missing may still come within its patience.
pub fn engine_is_patient(evidence: &Evidence) -> bool {
    attempt(evidence).is_some_and(|attempt| attempt.state == State::Running)
}

/// Whether the latest attempt failed.
pub fn engine_gave_up(evidence: &Evidence) -> bool {
    attempt(evidence).is_some_and(|attempt| attempt.state == State::Failed)
}

/// `20s`, `4m00s`, `1h05m`
pub fn duration(duration: SignedDuration) -> String {
    let seconds = duration.as_secs().max(0);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h{:02}m", seconds / 3600, seconds % 3600 / 60),
    }
}
