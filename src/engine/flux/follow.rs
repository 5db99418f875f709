//! What a controller says of a release, from its first word to its end.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::stream;
use crate::command::Stream;

/// Conditions that tell how a release fares, in the order in which a person would read them.
const CONDITIONS: [&str; 6] = ["Released", "TestSuccess", "Remediated", "Healthy", "Ready", "Stalled"];

/// So many failures in a row of a release that is tried for ever, and whoever follows it has seen enough.
const ENOUGH: i64 = 3;

/// Reads one version of a HelmRelease after the other.
#[derive(Debug)]
pub(super) struct Follower {
    generation: i64,
    /// What the controller was asked to try again under; what it said before it took note of that does not count.
    token: Option<String>,
    /// How long somebody bears to be told the same refusal.
    patience: Duration,
    /// What the controller has been saying since then, where nothing is attempted meanwhile.
    refused: Option<(String, Instant)>,
    /// What each condition said last.
    said: Vec<(String, String)>,
    /// Everything that was said of a failure, each once.
    complaints: Vec<String>,
}

impl Follower {
    /// Of the release as it was applied; what was said of earlier generations does not count.
    pub fn new(generation: i64, token: Option<String>, patience: Duration) -> Self {
        Self {
            generation,
            token,
            patience,
            refused: None,
            said: Vec::new(),
            complaints: Vec::new(),
        }
    }

    /// What was not said before, as lines: `Released=False InstallFailed: Helm install failed …`.
    pub fn news(&mut self, release: &Value) -> Vec<(Stream, String)> {
        let mut news = Vec::new();
        if !self.heard(release) {
            return news;
        }
        for kind in CONDITIONS {
            let Some(condition) = condition(release, kind).filter(|condition| self.concerns(condition)) else {
                continue;
            };
            let field = |name: &str| condition.get(name).and_then(Value::as_str).unwrap_or_default();
            let line = format!("{kind}={} {}: {}", field("status"), field("reason"), field("message"));
            let known = self.said.iter().any(|(of, text)| of == kind && *text == line);
            if known {
                continue;
            }
            self.said.retain(|(of, _)| of != kind);
            self.said.push((kind.to_owned(), line.clone()));
            let failed = match kind {
                "Stalled" => field("status") == "True",
                "Remediated" => false,
                _ => field("status") == "False",
            };
            if failed && !self.complaints.iter().any(|known| known == field("message")) {
                self.complaints.push(field("message").to_owned());
            }
            news.push((stream(failed), line));
        }
        news
    }

    /// Whether the controller knows what it was asked.
    fn heard(&self, release: &Value) -> bool {
        let handled = release.pointer("/status/lastHandledReconcileAt").and_then(Value::as_str);
        self.token.is_none() || handled == self.token.as_deref()
    }

    fn concerns(&self, condition: &Value) -> bool {
        let observed = condition.get("observedGeneration").and_then(Value::as_i64);
        observed.is_none_or(|observed| observed >= self.generation)
    }

    /// Whether the controller is done with it: `Some(true)` once it is ready, `Some(false)` once nothing is tried any more; also where it
    /// says for the whole timeout that it does not even begin, or tries in vain for ever.
    pub fn ended(&mut self, release: &Value, now: Instant) -> Option<bool> {
        if !self.heard(release) {
            return None;
        }
        let observed = release.pointer("/status/observedGeneration").and_then(Value::as_i64);
        let of = |kind: &str| {
            condition(release, kind)
                .filter(|condition| self.concerns(condition))
                .map(|condition| (text(condition, "status"), text(condition, "reason"), text(condition, "message")))
        };
        let is_true = |kind: &str| of(kind).is_some_and(|(status, ..)| status == "True");
        if observed.is_some_and(|observed| observed >= self.generation) {
            if is_true("Stalled") {
                return Some(false);
            } else if is_true("Ready") {
                return Some(true);
            }
        }
        let number = |pointer: &str| release.pointer(pointer).and_then(Value::as_i64);
        let failures = number("/status/failures").unwrap_or_default();
        // Those of an earlier generation are forgotten once the newest one is attempted.
        let current = number("/status/lastAttemptedGeneration").is_none_or(|attempted| attempted >= self.generation);
        if current && failures >= ENOUGH && (tries_for_ever(release) || leaves_nothing(release)) {
            return Some(false);
        }
        match of("Ready") {
            Some(("False", reason, _)) if TRIED.contains(&reason) => Some(false),
            Some(("False", reason, message)) if !ATTEMPTED.contains(&reason) => {
                let said = message.to_owned();
                let since = self
                    .refused
                    .take()
                    .filter(|(known, _)| *known == said)
                    .map_or(now, |(_, since)| since);
                self.refused = Some((said, since));
                (now.duration_since(since) >= self.patience).then_some(false)
            }
            _ => {
                self.refused = None;
                None
            }
        }
    }

    /// What the controller said last, where it could not even get what it was to install: the artifact is the harness's own.
    pub fn unfetched(&self) -> Option<String> {
        let ready = self.said.iter().find(|(of, _)| of == "Ready")?;
        let (_, said) = ready
            .1
            .split_once("False ArtifactFailed: ")
            .or_else(|| ready.1.split_once("False SourceNotReady: "))?;
        Some(said.to_owned())
    }

    /// All that was said of failures, a line each.
    pub fn complaints(&self) -> String {
        self.complaints.join("\n")
    }
}

/// Reasons that tell of an attempt; another one may follow.
const ATTEMPTED: [&str; 5] = ["InstallFailed", "UpgradeFailed", "RollbackFailed", "UninstallFailed", "TestFailed"];

/// Reasons that tell of a Kustomization's attempt; the next one comes only after its interval.
const TRIED: [&str; 4] = ["BuildFailed", "HealthCheckFailed", "PruneFailed", "ReconciliationFailed"];

/// Whether failed attempts are followed by others without an end.
fn tries_for_ever(release: &Value) -> bool {
    ["install", "upgrade"].iter().any(|action| {
        let retries = release.pointer(&format!("/spec/{action}/remediation/retries"));
        retries.and_then(Value::as_i64).is_some_and(|retries| retries < 0)
    })
}

/// Whether attempts fail before there is a release, as where it does not render: they count for no retry, and so have no end either.
fn leaves_nothing(release: &Value) -> bool {
    let number = |field: &str| {
        release
            .pointer(&format!("/status/{field}"))
            .and_then(Value::as_i64)
            .unwrap_or_default()
    };
    let recorded = release.pointer("/status/history/0/status").and_then(Value::as_str);
    recorded != Some("failed") && number("failures") - number("installFailures") - number("upgradeFailures") >= ENOUGH
}

fn text<'a>(condition: &'a Value, field: &str) -> &'a str {
    condition.get(field).and_then(Value::as_str).unwrap_or_default()
}

fn condition<'a>(release: &'a Value, kind: &str) -> Option<&'a Value> {
    let conditions = release.pointer("/status/conditions")?.as_array()?;
    conditions
        .iter()
        .find(|condition| condition.get("type").and_then(Value::as_str) == Some(kind))
}

/// How it stands, for somebody who waits for it.
pub(super) fn status(release: &Value) -> String {
    let message = condition(release, "Ready").and_then(|condition| condition.get("message")?.as_str());
    message.map_or_else(|| "its controller has not said anything of it".to_owned(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn release(observed: i64, conditions: &[(&str, &str, &str)]) -> Value {
        let conditions: Vec<Value> = conditions
            .iter()
            .map(|(kind, status, message)| json!({"type": kind, "status": status, "reason": "R", "message": message, "observedGeneration": observed}))
            .collect();
        json!({"status": {"observedGeneration": observed, "conditions": conditions}})
    }

    #[test]
    fn a_release_ends_ready_or_stalled() {
        let now = Instant::now();
        let ended = |release: &Value| Follower::new(2, None, MINUTE).ended(release, now);
        assert_eq!(ended(&json!({})), None);
        assert_eq!(ended(&release(1, &[("Ready", "True", "")])), None, "of an earlier generation");
        assert_eq!(ended(&release(2, &[("Ready", "True", "")])), Some(true));
        assert_eq!(ended(&release(2, &[("Ready", "False", "")])), None, "it is tried again");
        let stalled = release(2, &[("Ready", "False", ""), ("Stalled", "True", "")]);
        assert_eq!(ended(&stalled), Some(false));
    }

    #[test]
    fn what_does_not_begin_for_the_whole_timeout_has_ended() {
        let begin = Instant::now();
        let mut follower = Follower::new(1, None, MINUTE);
        let waits = release(1, &[("Ready", "False", "dependency 'a/b' is not ready")]);
        assert_eq!(follower.ended(&waits, begin), None);
        assert_eq!(follower.ended(&waits, begin + MINUTE / 2), None);
        assert_eq!(follower.ended(&waits, begin + MINUTE), Some(false));
        // Whenever something else is said, patience begins anew.
        let mut follower = Follower::new(1, None, MINUTE);
        assert_eq!(follower.ended(&waits, begin), None);
        assert_eq!(follower.ended(&release(1, &[("Ready", "Unknown", "")]), begin + MINUTE / 2), None);
        assert_eq!(follower.ended(&waits, begin + MINUTE), None);
        // An attempt that failed is followed by another.
        let mut failed = waits;
        failed["status"]["conditions"][0]["reason"] = json!("InstallFailed");
        assert_eq!(follower.ended(&failed, begin + MINUTE * 9), None);
    }

    #[test]
    fn what_could_not_be_fetched_is_told_apart() {
        let mut follower = Follower::new(1, None, MINUTE);
        let mut object = release(1, &[("Ready", "False", "computed digest doesn't match")]);
        follower.news(&object);
        assert_eq!(follower.unfetched(), None);
        object["status"]["conditions"][0]["reason"] = json!("ArtifactFailed");
        follower.news(&object);
        assert_eq!(follower.unfetched().as_deref(), Some("computed digest doesn't match"));
    }

    #[test]
    fn who_tries_for_ever_is_left_after_some_failures() {
        let mut object = release(1, &[("Ready", "False", "")]);
        object["status"]["conditions"][0]["reason"] = json!("InstallFailed");
        object["status"]["failures"] = json!(ENOUGH);
        object["status"]["installFailures"] = json!(ENOUGH);
        let ended = |object: &Value| Follower::new(1, None, MINUTE).ended(object, Instant::now());
        assert_eq!(ended(&object), None);
        object["spec"] = json!({"install": {"remediation": {"retries": -1}}});
        assert_eq!(ended(&object), Some(false));
        // What left no release counts towards no retries.
        object["spec"] = json!({"install": {"remediation": {"retries": 1}}});
        assert_eq!(ended(&object), None);
        object["status"]["installFailures"] = json!(0);
        assert_eq!(ended(&object), Some(false));
    }

    #[test]
    fn who_leaves_no_release_is_left_after_some_failures() {
        let mut object = release(1, &[("Ready", "False", "")]);
        object["status"]["conditions"][0]["reason"] = json!("InstallFailed");
        object["status"]["failures"] = json!(ENOUGH);
        let ended = |object: &Value| Follower::new(1, None, MINUTE).ended(object, Instant::now());
        assert_eq!(ended(&object), Some(false));
        // Counted ones have an end of their own.
        object["status"]["installFailures"] = json!(1);
        assert_eq!(ended(&object), None);
        object["status"]["failures"] = json!(ENOUGH + 1);
        assert_eq!(ended(&object), Some(false));
        object["status"]["lastAttemptedGeneration"] = json!(0);
        assert_eq!(ended(&object), None, "of an earlier generation");
        object["status"]["lastAttemptedGeneration"] = json!(1);
        object["status"]["history"] = json!([{"status": "failed"}]);
        assert_eq!(ended(&object), None);
    }

    #[test]
    fn before_a_request_is_heard_nothing_counts() {
        let mut follower = Follower::new(1, Some("now".to_owned()), MINUTE);
        let mut stalled = release(1, &[("Stalled", "True", "exceeded")]);
        assert_eq!((follower.news(&stalled).len(), follower.ended(&stalled, Instant::now())), (0, None));
        stalled["status"]["lastHandledReconcileAt"] = json!("now");
        assert_eq!(
            (follower.news(&stalled).len(), follower.ended(&stalled, Instant::now())),
            (1, Some(false))
        );
    }

    #[test]
    fn each_word_is_told_once_and_failures_are_kept() {
        let mut follower = Follower::new(1, None, MINUTE);
        let first = release(
            1,
            &[
                ("Released", "False", "Helm install failed"),
                ("Ready", "Unknown", "Running 'install'"),
            ],
        );
        assert_eq!(
            follower.news(&first),
            [
                (Stream::Stderr, "Released=False R: Helm install failed".to_owned()),
                (Stream::Stdout, "Ready=Unknown R: Running 'install'".to_owned())
            ]
        );
        assert_eq!(follower.news(&first), []);
        let last = release(
            1,
            &[
                ("Released", "False", "Helm install failed"),
                ("Stalled", "True", "Failed to install after 2 attempt(s)"),
            ],
        );
        assert_eq!(follower.news(&last).len(), 1);
        assert_eq!(follower.complaints(), "Helm install failed\nFailed to install after 2 attempt(s)");
    }
}
