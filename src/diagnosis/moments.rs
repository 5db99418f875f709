//! What can be said while evidence comes in: the diagnosis after every few entries, and the moments at which it changed.
//!
//! A live trial and the replay of its recording go through the same [`Course`]: what it says rests on the entries taken in so far and on
//! nothing else.

use std::time::Duration;

use jiff::Timestamp;

use super::{Detector, Diagnosis, diagnose_with};
use crate::evidence::{Entry, Evidence, Header};

/// How long entries are gathered before they are looked at together.
pub const TOGETHER: Duration = Duration::from_millis(30);

/// From when on a diagnosis held.
#[derive(Debug, Clone)]
pub struct Moment {
    /// When it was known here.
    pub known_at: Timestamp,
    /// At the most so long after the entry of the timeline that made it knowable: the time since the oldest entry that had not been
    /// looked at before.
    pub lag: Duration,
    /// How many entries it rests on.
    pub entries: usize,
    pub diagnosis: Diagnosis,
}

/// Evidence that grows, and what can be said of it.
#[derive(Debug)]
pub struct Course {
    detectors: &'static [&'static Detector],
    header: Header,
    evidence: Evidence,
    entries: usize,
    /// A moment for every change of the certain causes or of what they rest on, the first with none.
    moments: Vec<Moment>,
    latest: Diagnosis,
    /// What was taken to be the answer, if something was.
    concluded: Option<Moment>,
}

impl Course {
    /// Nothing is known yet; `now` is when somebody began to look.
    pub fn new(header: Header, detectors: &'static [&'static Detector], now: Timestamp) -> Self {
        Self {
            detectors,
            evidence: Evidence::new(header.clone()),
            header,
            entries: 0,
            moments: vec![Moment {
                known_at: now,
                lag: Duration::ZERO,
                entries: 0,
                diagnosis: Diagnosis::default(),
            }],
            latest: Diagnosis::default(),
            concluded: None,
        }
    }

    /// Takes in what is new, and says anew what can be said. `now` tells when that has been said.
    pub fn take(&mut self, news: &[Entry], now: impl FnOnce() -> Timestamp) {
        for entry in news {
            self.evidence.apply(entry);
        }
        self.entries += news.len();
        self.latest = diagnose_with(&self.evidence, self.detectors);
        // What a cause rests on may grow while the cause stays: that is a moment of its own.
        if self.moments.last().is_none_or(|last| last.diagnosis.causes != self.latest.causes) {
            let known_at = now();
            let oldest = news.first().map_or(known_at, |entry| entry.at);
            self.moments.push(Moment {
                known_at,
                lag: Duration::try_from(known_at.duration_since(oldest)).unwrap_or_default(),
                ..self.moment()
            });
        }
    }

    fn moment(&self) -> Moment {
        Moment {
            known_at: self.evidence.now,
            lag: Duration::ZERO,
            entries: self.entries,
            diagnosis: self.latest.clone(),
        }
    }

    /// What was taken in was changed since: says of each moment anew what can be said, and takes in what has come besides. `all` are the
    /// entries from the first on.
    pub fn retake(&mut self, all: &[Entry], now: impl FnOnce() -> Timestamp) {
        let mut evidence = Evidence::new(self.header.clone());
        let mut taken = 0;
        let mut moments: Vec<&mut Moment> = self.moments.iter_mut().chain(&mut self.concluded).collect();
        moments.sort_by_key(|moment| moment.entries);
        for moment in moments.into_iter().filter(|moment| moment.entries > 0) {
            for entry in all.iter().take(moment.entries).skip(taken) {
                evidence.apply(entry);
            }
            taken = moment.entries;
            moment.diagnosis = diagnose_with(&evidence, self.detectors);
        }
        for entry in all.iter().take(self.entries).skip(taken) {
            evidence.apply(entry);
        }
        self.evidence = evidence;
        self.take(all.get(self.entries..).unwrap_or_default(), now);
    }

    pub fn evidence(&self) -> &Evidence {
        &self.evidence
    }

    /// How many entries were taken in.
    pub fn entries(&self) -> usize {
        self.entries
    }

    /// What can be said now.
    pub fn latest(&self) -> &Diagnosis {
        &self.latest
    }

    /// All changes of the certain causes so far.
    pub fn moments(&self) -> &[Moment] {
        &self.moments
    }

    /// Takes what can be said now for the answer.
    pub fn conclude(&mut self) -> &Moment {
        let moment = self.moment();
        self.concluded.insert(moment)
    }

    /// What was taken for the answer.
    pub fn concluded(&self) -> Option<&Moment> {
        self.concluded.as_ref()
    }
}

/// The changes over a timeline that has ended, looked at as a live trial does: what came within [`TOGETHER`] at once.
pub fn moments(header: &Header, entries: &[Entry], detectors: &'static [&'static Detector]) -> Vec<Moment> {
    let mut course = Course::new(header.clone(), detectors, header.observed_at);
    let mut rest = entries;
    while let Some(first) = rest.first() {
        let together = rest.partition_point(|entry| entry.at.duration_since(first.at).unsigned_abs() <= TOGETHER);
        let (news, later) = rest.split_at(together.max(1));
        let last = news.last().map_or(first.at, |entry| entry.at);
        course.take(news, || last);
        rest = later;
    }
    course.moments
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::diagnosis::detectors::DETECTORS;
    use crate::diagnosis::fixture::*;

    /// A Job that misses a Secret, and prints a word on its way.
    fn scene(word: &str) -> Scene {
        let job = hook_job(
            "seed",
            "post-install",
            json!({"image": "seed:1", "env": [{"name": "P", "valueFrom": {"secretKeyRef": {"name": "db-login", "key": "p"}}}]}),
        );
        let mut scene = Scene::new();
        scene.engine(60_000, "hookOnly").at(100);
        let hook = scene.running_hook(&job, "post-install");
        scene.record("pending-install", vec![hook], vec![]).object(job.clone());
        scene.at(1000).object(pod_of(&job, "a", waiting("ContainerCreating", word)));
        let missing = format!("secret \"db-login\" not found {word}");
        scene
            .at(2000)
            .object(pod_of(&job, "a", waiting("CreateContainerConfigError", &missing)));
        scene.at(2010).log("seed-a", "seed", "nothing");
        scene.at(9000).engine_ends(1);
        scene
    }

    fn course(entries: &[Entry], header: &Header, together: usize) -> Course {
        let mut course = Course::new(header.clone(), DETECTORS, header.observed_at);
        for news in entries.chunks(together) {
            let last = news.last().unwrap().at;
            course.take(news, || last);
        }
        course
    }

    #[test]
    fn what_is_said_rests_on_the_entries_and_not_on_how_they_came() {
        let timeline = scene("").timeline();
        let all = timeline.entries.len();
        let [one, some, whole] = [1, 3, all].map(|together| course(&timeline.entries, &timeline.header, together).latest().clone());
        assert_eq!(one.identity(), [("secret-missing".to_owned(), "Secret/db-login".to_owned())]);
        assert_eq!((&one, &one), (&some, &whole));
        for moment in course(&timeline.entries, &timeline.header, 1).moments() {
            let prefix = course(&timeline.entries[..moment.entries], &timeline.header, all);
            assert_eq!((prefix.latest(), prefix.evidence().now), (&moment.diagnosis, moment.known_at));
        }
    }

    #[test]
    fn entries_of_one_look_are_looked_at_together() {
        let timeline = scene("").timeline();
        let moments = moments(&timeline.header, &timeline.entries, DETECTORS);
        assert_eq!(moments[0].entries, 0);
        // The line came 10 ms later, and so belongs to the same look as the pod.
        assert_eq!(
            (moments[1].entries, moments[1].diagnosis.causes.len()),
            (timeline.entries.len() - 1, 1)
        );
    }

    #[test]
    fn what_was_rewritten_is_said_anew_of_each_moment() {
        let (before, after) = (scene("canary").timeline(), scene("[redacted]").timeline());
        let mut course = course(&before.entries[..before.entries.len() - 1], &before.header, 1);
        course.conclude();
        let known = course.moments().len();
        let text = |course: &Course| format!("{:?} {:?}", course.moments(), course.concluded());
        assert!(text(&course).contains("canary"));
        course.retake(&after.entries, || Timestamp::UNIX_EPOCH);
        assert!(!text(&course).contains("canary") && text(&course).contains("not found [redacted]"));
        assert!(course.moments().len() >= known);
        let whole = self::course(&after.entries, &after.header, 1);
        assert_eq!((course.latest(), course.evidence().now), (whole.latest(), whole.evidence().now));
        assert_eq!(course.concluded().unwrap().entries, before.entries.len() - 1);
    }
}
