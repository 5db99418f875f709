//! What a controller says of a release, from its first word to its end.

use serde_json::Value;

use super::stream;
use crate::command::Stream;

/// Conditions that tell how a release fares, in the order in which a person would read them.
const CONDITIONS: [&str; 5] = ["Released", "TestSuccess", "Remediated", "Ready", "Stalled"];

/// Reads one version of a HelmRelease after the other.
#[derive(Debug)]
pub(super) struct Follower {
    generation: i64,
    /// What each condition said last.
    said: Vec<(String, String)>,
    /// Everything that was said of a failure, each once.
    complaints: Vec<String>,
}

impl Follower {
    /// Of the release as it was applied; what was said of earlier generations does not count.
    pub fn new(generation: i64) -> Self {
        Self {
            generation,
            said: Vec::new(),
            complaints: Vec::new(),
        }
    }

    /// What was not said before, as lines: `Released=False InstallFailed: Helm install failed …`.
    pub fn news(&mut self, release: &Value) -> Vec<(Stream, String)> {
        let mut news = Vec::new();
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

    fn concerns(&self, condition: &Value) -> bool {
        let observed = condition.get("observedGeneration").and_then(Value::as_i64);
        observed.is_none_or(|observed| observed >= self.generation)
    }

    /// Whether the controller is done with it: `Some(true)` once it is ready, `Some(false)` once nothing is tried any more.
    pub fn ended(&self, release: &Value) -> Option<bool> {
        let observed = release.pointer("/status/observedGeneration").and_then(Value::as_i64)?;
        if observed < self.generation {
            return None;
        }
        let is_true = |kind: &str| {
            condition(release, kind)
                .filter(|condition| self.concerns(condition))
                .is_some_and(|condition| condition.get("status").and_then(Value::as_str) == Some("True"))
        };
        if is_true("Stalled") {
            Some(false)
        } else if is_true("Ready") {
            Some(true)
        } else {
            None
        }
    }

    /// All that was said of failures, a line each.
    pub fn complaints(&self) -> String {
        self.complaints.join("\n")
    }
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

    fn release(observed: i64, conditions: &[(&str, &str, &str)]) -> Value {
        let conditions: Vec<Value> = conditions
            .iter()
            .map(|(kind, status, message)| json!({"type": kind, "status": status, "reason": "R", "message": message, "observedGeneration": observed}))
            .collect();
        json!({"status": {"observedGeneration": observed, "conditions": conditions}})
    }

    #[test]
    fn a_release_ends_ready_or_stalled() {
        let follower = Follower::new(2);
        assert_eq!(follower.ended(&json!({})), None);
        assert_eq!(
            follower.ended(&release(1, &[("Ready", "True", "")])),
            None,
            "of an earlier generation"
        );
        assert_eq!(follower.ended(&release(2, &[("Ready", "True", "")])), Some(true));
        assert_eq!(follower.ended(&release(2, &[("Ready", "False", "")])), None, "it is tried again");
        let stalled = release(2, &[("Ready", "False", ""), ("Stalled", "True", "")]);
        assert_eq!(follower.ended(&stalled), Some(false));
    }

    #[test]
    fn each_word_is_told_once_and_failures_are_kept() {
        let mut follower = Follower::new(1);
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
