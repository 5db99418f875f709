//! Replay: what can be said of a recording at any of its moments, without a cluster.

use std::str::FromStr;

use jiff::{SignedDuration, Timestamp};

use crate::diagnosis::moments::{Moment, moments};
use crate::diagnosis::{Detector, Diagnosis, diagnose_with};
use crate::evidence::{EngineStart, Evidence, Fact, Recording};

/// A moment that somebody asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    Time(Timestamp),
    /// So long after the first engine began.
    AfterStart(SignedDuration),
}

/// Reads `12s`, `1m30s`, `8.2s` and `2026-01-02T03:04:05Z`.
impl FromStr for At {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(time) = text.parse() {
            return Ok(Self::Time(time));
        }
        let duration = text.parse::<SignedDuration>().ok().filter(|duration| !duration.is_negative());
        duration.map(Self::AfterStart).ok_or_else(|| {
            format!(
                "`{text}` is no moment; write how long after the engine began, such as 12s or 1m30s, or a time such as 2026-01-02T03:04:05Z"
            )
        })
    }
}

/// Why nothing can be said of a moment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    #[error("no engine began to work in this recording, so that {} cannot be counted; name a time such as {begin}", friendly(*.after))]
    NoEngine { after: SignedDuration, begin: Timestamp },
    #[error("{time} is before this recording begins, at {begin}")]
    Before { time: Timestamp, begin: Timestamp },
    #[error("{time} is after this recording ends, at {end}{}", .after.map(|after| format!(", {} after the engine began", friendly(after))).unwrap_or_default())]
    After {
        time: Timestamp,
        end: Timestamp,
        after: Option<SignedDuration>,
    },
}

fn friendly(duration: SignedDuration) -> String {
    format!("{:#}", duration.round(jiff::Unit::Millisecond).unwrap_or(duration))
}

/// Which moment was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chosen {
    /// The one that was asked for.
    Asked,
    /// The one at which the run took its diagnosis.
    Concluded,
    /// The last one.
    Last,
}

/// A moment of a recording: everything that had been noted by then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefix {
    pub entries: usize,
    pub at: Timestamp,
    pub chosen: Chosen,
}

/// A recording and the detectors that look at it.
#[derive(Debug, Clone, Copy)]
pub struct Replay<'a> {
    pub recording: &'a Recording,
    pub detectors: &'static [&'static Detector],
}

impl Replay<'_> {
    /// When the first engine began, and what it was told.
    pub fn engine_started(&self) -> Option<(Timestamp, &EngineStart)> {
        self.recording.entries.iter().find_map(|entry| match &entry.fact {
            Fact::EngineStarted(start) => Some((entry.at, start)),
            _ => None,
        })
    }

    /// The prefix for a moment; where none is asked for, the one that the run's own diagnosis rests on, else all.
    ///
    /// # Errors
    /// [`ReplayError`], where the recording does not reach to that moment.
    pub fn prefix(&self, at: Option<At>) -> Result<Prefix, ReplayError> {
        let recording = self.recording;
        let begin = recording.header().observed_at;
        let end = recording.entries.last().map_or(begin, |entry| entry.at);
        let start = self.engine_started().map(|(at, _)| at);
        let time = match at {
            None => {
                let conclusion = recording.ending.as_ref().and_then(|ending| ending.conclusion.as_ref());
                let (entries, chosen) = match conclusion {
                    Some(conclusion) => (conclusion.entries.min(recording.entries.len()), Chosen::Concluded),
                    None => (recording.entries.len(), Chosen::Last),
                };
                let at = entries.checked_sub(1).map_or(begin, |last| recording.entries[last].at);
                return Ok(Prefix { entries, at, chosen });
            }
            Some(At::Time(time)) => time,
            Some(At::AfterStart(after)) => match start {
                Some(start) => start.saturating_add(after).unwrap_or(Timestamp::MAX),
                None => return Err(ReplayError::NoEngine { after, begin }),
            },
        };
        if time < begin {
            return Err(ReplayError::Before { time, begin });
        }
        if time > end {
            let after = start.map(|start| end.duration_since(start));
            return Err(ReplayError::After { time, end, after });
        }
        Ok(Prefix {
            entries: recording.entries.partition_point(|entry| entry.at <= time),
            at: time,
            chosen: Chosen::Asked,
        })
    }

    /// What can be said after the first so many entries.
    pub fn diagnosis(&self, entries: usize) -> Diagnosis {
        let mut evidence = Evidence::new(self.recording.header().clone());
        for entry in self.recording.entries.iter().take(entries) {
            evidence.apply(entry);
        }
        diagnose_with(&evidence, self.detectors)
    }

    /// The moments at which the certain causes, or what they rest on, changed within the first so many entries.
    pub fn moments(&self, entries: usize) -> Vec<Moment> {
        let entries = self.recording.entries.get(..entries).unwrap_or(&self.recording.entries);
        moments(self.recording.header(), entries, self.detectors)
    }

    /// What the run itself reported, where its diagnosis is another than the given one. Both are compared as they are written.
    pub fn drift(&self, diagnosis: &Diagnosis) -> Option<Drift> {
        let conclusion = self.recording.ending.as_ref()?.conclusion.as_ref()?;
        if serde_json::to_value(diagnosis).is_ok_and(|now| now == conclusion.diagnosis) {
            return None;
        }
        let reported: Option<Diagnosis> = serde_json::from_value(conclusion.diagnosis.clone()).ok();
        Some(match reported {
            Some(reported) if reported.identity() == diagnosis.identity() => Drift::Words,
            Some(reported) => Drift::Causes(reported.identity()),
            None => Drift::Unreadable,
        })
    }
}

/// How the diagnosis that a run reported differs from what is said of its recording now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Drift {
    /// The same causes, told otherwise.
    Words,
    /// Other causes: these, each with its subject.
    Causes(Vec<(String, String)>),
    /// It is not in a form that can be compared.
    Unreadable,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::diagnosis::detectors::DETECTORS;
    use crate::diagnosis::fixture::*;
    use crate::evidence::recording::{Conclusion, Ending, Preamble};

    /// A hook that misses a Secret, is remedied, and ends well.
    fn recording() -> Recording {
        let job = hook_job(
            "seed",
            "post-install",
            json!({"image": "seed:1", "envFrom": [{"secretRef": {"name": "db-login"}}]}),
        );
        let mut scene = Scene::new();
        scene.at(500).engine(60_000, "hookOnly").at(1000);
        let hook = scene.running_hook(&job, "post-install");
        scene.record("pending-install", vec![hook], vec![]).object(job.clone());
        let missing = "secret \"db-login\" not found";
        scene
            .at(2000)
            .object(pod_of(&job, "a", waiting("CreateContainerConfigError", missing)));
        scene.at(9000).engine_ends(1).at(9500).remedy("create-secret");
        scene.at(9600).object(json!({"kind": "Secret", "metadata": {"name": "db-login"}}));
        scene.at(12_000).object(with_condition(job, "Complete", ""));
        let timeline = scene.timeline();
        Recording {
            preamble: Preamble::new(timeline.header),
            ending: None,
            entries: timeline.entries,
        }
    }

    fn concluded(entries: usize, diagnosis: serde_json::Value) -> Recording {
        let mut recording = recording();
        recording.ending = Some(Ending {
            entries: recording.entries.len(),
            verdict: None,
            conclusion: Some(Conclusion { entries, diagnosis }),
        });
        recording
    }

    fn replay(recording: &Recording) -> Replay<'_> {
        Replay {
            recording,
            detectors: DETECTORS,
        }
    }

    #[test]
    fn moments_are_durations_and_times() {
        for (text, ms) in [
            ("12s", 12_000),
            ("1m30s", 90_000),
            ("8.2s", 8200),
            ("500ms", 500),
            ("0s", 0),
            ("1h", 3_600_000),
        ] {
            assert_eq!(text.parse(), Ok(At::AfterStart(SignedDuration::from_millis(ms))), "{text}");
        }
        assert_eq!(
            "2026-01-02T03:04:05Z".parse(),
            Ok(At::Time("2026-01-02T03:04:05Z".parse().unwrap()))
        );
        for text in ["", "soon", "12", "-3s", "2026-01-02", "50%", "99999999999999999999s"] {
            assert!(text.parse::<At>().unwrap_err().contains("is no moment"), "{text}");
        }
    }

    #[test]
    fn the_moment_is_the_one_of_the_run_unless_another_is_asked_for() {
        let without = recording();
        let all = without.entries.len();
        assert_eq!(
            replay(&without).prefix(None).map(|prefix| (prefix.entries, prefix.chosen)),
            Ok((all, Chosen::Last))
        );
        let with = concluded(5, json!({}));
        assert_eq!(
            replay(&with).prefix(None).map(|prefix| (prefix.entries, prefix.chosen)),
            Ok((5, Chosen::Concluded))
        );
        let entries = |at: &str| replay(&with).prefix(Some(at.parse().unwrap())).map(|prefix| prefix.entries);
        assert_eq!(entries("0s"), Ok(1));
        assert_eq!(entries("499ms"), Ok(1));
        assert_eq!(entries("500ms"), Ok(3));
        assert_eq!(entries("11.5s"), Ok(all));
        assert_eq!(entries("2026-01-02T03:04:05Z"), Ok(0));
        assert_eq!(
            entries("11501ms").unwrap_err().to_string(),
            "2026-01-02T03:04:17.001Z is after this recording ends, at 2026-01-02T03:04:17Z, 11s 500ms after the engine began"
        );
        assert_eq!(
            entries("2026-01-02T03:04:04Z").unwrap_err().to_string(),
            "2026-01-02T03:04:04Z is before this recording begins, at 2026-01-02T03:04:05Z"
        );
        let mut idle = recording();
        idle.entries.retain(|entry| !matches!(entry.fact, Fact::EngineStarted(_)));
        assert_eq!(
            replay(&idle).prefix(Some("12s".parse().unwrap())).unwrap_err().to_string(),
            "no engine began to work in this recording, so that 12s cannot be counted; name a time such as 2026-01-02T03:04:05Z"
        );
    }

    #[test]
    fn each_moment_is_a_prefix() {
        let recording = recording();
        let replay = replay(&recording);
        let slugs: Vec<Vec<String>> = (0..=recording.entries.len())
            .map(|entries| replay.diagnosis(entries).causes.into_iter().map(|cause| cause.slug).collect())
            .collect();
        let known = ["secret-missing".to_owned()];
        assert!(slugs[..4].iter().all(Vec::is_empty));
        assert_eq!(slugs[4..6], [known.to_vec(), known.to_vec()]);
        assert_eq!(slugs.last(), Some(&Vec::new()));
        let moments = replay.moments(recording.entries.len());
        for moment in &moments {
            assert_eq!(replay.diagnosis(moment.entries), moment.diagnosis);
        }
        assert!(moments.len() >= 3, "{moments:?}");
    }

    #[test]
    fn drift_is_what_the_run_said_otherwise() {
        let said = replay(&recording()).diagnosis(5);
        let drift = |reported: serde_json::Value| replay(&concluded(5, reported)).drift(&said);
        let reported = serde_json::to_value(&said).unwrap();
        assert_eq!(drift(reported.clone()), None);
        let mut words = reported.clone();
        words["causes"][0]["statement"] = json!("no Secret db-login is there");
        assert_eq!(drift(words), Some(Drift::Words));
        let mut causes = reported;
        causes["causes"][0]["slug"] = json!("configmap-missing");
        let found = ("configmap-missing".to_owned(), "Secret/db-login".to_owned());
        assert_eq!(drift(causes), Some(Drift::Causes(vec![found])));
        assert_eq!(drift(json!("of another age")), Some(Drift::Unreadable));
        assert_eq!(replay(&recording()).drift(&said), None);
    }
}
