//! The loop in which a container of a Job asks for something: how long it goes on, and how that ended.

use std::sync::LazyLock;

use jiff::{SignedDuration, Timestamp};
use regex::Regex;
use serde_json::Value;

use super::attempt::duration;
use super::hooks::Task;
use super::logs::{Repeated, gone_on, lines, most_repeated, no_progress, of_last_run};
use super::progress::{Container, JobState, containers, killed};
use super::references::declared_patience;
use super::tries::began;
use crate::evidence::loops::Patience;
use crate::evidence::manifest::text;
use crate::evidence::{Evidence, Life, PrintedLine, moment};

/// How a wait stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The container runs.
    Waits,
    /// It ended by itself, without success.
    GaveUp { code: i64, at: Timestamp },
    /// Somebody ended it: the deadline of its Job, or who deleted it.
    CutOff { at: Timestamp },
}

/// The loop of a container in its last run.
#[derive(Debug)]
pub struct Wait<'a> {
    pub pod: &'a Life,
    pub container: &'a str,
    /// The line that it prints again and again.
    pub repeated: Option<Repeated>,
    /// `(12, 60)`, where that line counts.
    pub counter: Option<(u64, u64)>,
    /// What its script says.
    pub patience: Option<Patience>,
    pub began: Timestamp,
    /// When it asked last, as far as it says so.
    pub last_try: Timestamp,
    pub ending: Ending,
    /// Whether it printed something after its last try that is no part of its loop.
    pub gone_on: bool,
}

/// The API's times are whole seconds.
const PRECISION: SignedDuration = SignedDuration::from_secs(1);

impl<'a> Wait<'a> {
    /// The wait of a container for a host; nothing where there is no sign that it waits.
    pub fn of(evidence: &'a Evidence, task: &Task<'a>, container: &str, host: &str) -> Option<Self> {
        let (pod, status) = task.pods.iter().rev().find_map(|pod| {
            let of = containers(pod).find(|status| status.name == container)?;
            (of.running() || of.ended().is_some()).then_some((*pod, of))
        })?;
        let printed = of_last_run(lines(evidence, pod.uid(), container));
        let (repeated, counter) = told(printed);
        let patience = declared_patience(evidence, task.latest, container, host);
        if repeated.is_none() && patience.is_none() {
            return None;
        }
        let began = began(pod, container);
        let ending = ending(evidence, task, pod, &status, printed)?;
        let asked = printed
            .iter()
            .rposition(|line| line.complaint.is_some() || repeated.as_ref().is_some_and(|repeated| repeated.text == line.line.text));
        let last_try = match (asked, ending) {
            (Some(index), _) => printed[index].line.stamp,
            (None, Ending::Waits) => evidence.now,
            // The pause after the last try is over when the container ends.
            (None, Ending::GaveUp { at, .. } | Ending::CutOff { at }) => {
                at - patience.as_ref().and_then(|patience| patience.interval).unwrap_or_default()
            }
        };
        let all: Vec<&PrintedLine> = printed.iter().collect();
        Some(Self {
            pod,
            container: status.name,
            repeated,
            counter,
            patience,
            began,
            last_try: last_try.max(began),
            ending,
            gone_on: asked.is_some_and(|index| gone_on(&all, index)),
        })
    }

    /// Until now, or until it ended.
    pub fn until(&self, now: Timestamp) -> Timestamp {
        match self.ending {
            Ending::Waits => now,
            Ending::GaveUp { at, .. } | Ending::CutOff { at } => at,
        }
    }

    /// How long it waited, or has waited until now.
    pub fn waited(&self, now: Timestamp) -> SignedDuration {
        self.until(now).duration_since(self.began)
    }

    /// How often it tried, as far as that is known.
    pub fn tries(&self) -> Option<u64> {
        let printed = self.repeated.as_ref().and_then(|repeated| u64::try_from(repeated.times).ok());
        let read = || self.patience.as_ref().filter(|_| self.is_spent())?.tries;
        self.counter
            .map(|(_, all)| all)
            .filter(|_| self.is_spent())
            .or(printed)
            .or_else(read)
    }

    /// The pause between two tries.
    pub fn interval(&self) -> Option<SignedDuration> {
        let read = self.patience.as_ref().and_then(|patience| patience.interval);
        read.filter(|interval| interval.is_positive()).or_else(|| {
            let repeated = self.repeated.as_ref()?;
            let gaps = i32::try_from(repeated.times).ok()?.checked_sub(1).filter(|gaps| *gaps > 0)?;
            Some(self.last_try.duration_since(repeated.since) / gaps)
        })
    }

    /// Whether something is known to end it, if nothing else does.
    pub fn is_bounded(&self) -> bool {
        self.counter.is_some() || self.patience.as_ref().is_some_and(Patience::ends)
    }

    /// Whether it ended because its loop did, and not before.
    pub fn is_spent(&self) -> bool {
        let Ending::GaveUp { at, .. } = self.ending else { return false };
        if let Some((tried, of)) = self.counter {
            // Some count from 0.
            return tried + 1 >= of;
        }
        let patience = self.patience.as_ref();
        match patience.and_then(Patience::least) {
            Some(least) => {
                // Not every script sleeps after its last try.
                let pause = patience.and_then(|patience| patience.interval).unwrap_or_default();
                at.duration_since(self.began) + PRECISION >= least - pause
            }
            None => self.repeated.as_ref().is_some_and(|repeated| repeated.times >= 3),
        }
    }

    /// `60 × 5s = 5m00s`, as its script says.
    pub fn budget(&self) -> Option<String> {
        let patience = self.patience.as_ref()?;
        let each = patience
            .each
            .map(|each| format!(", a try at most {}", plain(each)))
            .unwrap_or_default();
        match (patience.tries, patience.interval, patience.total) {
            (_, _, Some(total)) => Some(format!("{}{each}", duration(total))),
            (Some(tries), Some(interval), None) => {
                let least = patience.least().map(|least| format!(" = {}", duration(least))).unwrap_or_default();
                Some(format!("{tries} × {}{least}{each}", plain(interval)))
            }
            (Some(tries), None, None) => Some(format!("{tries} tries{each}")),
            (None, ..) => None,
        }
    }
}

/// `5s`, `0.5s`
fn plain(pause: SignedDuration) -> String {
    match pause.as_millis() % 1000 {
        0 => format!("{}s", pause.as_secs()),
        _ => format!("{}s", pause.as_secs_f64()),
    }
}

fn ending(evidence: &Evidence, task: &Task<'_>, pod: &Life, container: &Container<'_>, printed: &[PrintedLine]) -> Option<Ending> {
    let ended = container.ended().filter(|_| !container.running());
    let stated = ended.and_then(|ended| moment::parse(ended.get("finishedAt")?.as_str()?));
    let finished = stated.or_else(|| seen_ended(pod, container.name));
    let last_line = printed.last().map(|line| line.line.stamp);
    let over = || {
        let left = pod.time("/metadata/deletionTimestamp").or(pod.deleted_at);
        finished.or(left).unwrap_or(evidence.now).max(last_line.unwrap_or(Timestamp::MIN))
    };
    if matches!(task.state(), JobState::Failed { reason, .. } if reason == "DeadlineExceeded") {
        return Some(Ending::CutOff { at: over() });
    }
    let Some(ended) = ended else {
        let gone = !pod.exists() || !task.latest.exists();
        return Some(if gone { Ending::CutOff { at: over() } } else { Ending::Waits });
    };
    let code = container.exit_code().filter(|code| *code != 0)?;
    if killed(pod, container) {
        return Some(Ending::CutOff { at: over() });
    }
    // What was killed for its memory did not give up.
    (text(ended, "/reason") != "OOMKilled").then(|| Ending::GaveUp { code, at: over() })
}

/// When a container of a pod was first seen to have ended.
fn seen_ended(pod: &Life, container: &str) -> Option<Timestamp> {
    let ended = |object: &Value| {
        ["/status/initContainerStatuses", "/status/containerStatuses"]
            .iter()
            .filter_map(|pointer| object.pointer(pointer)?.as_array())
            .flatten()
            .any(|status| text(status, "/name") == container && status.pointer("/state/terminated").is_some())
    };
    pod.versions.iter().find(|version| ended(&version.object)).map(|version| version.at)
}

static COUNTER: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"(\d+)\s*(?:/|\bout of\b|\bof\b)\s*(\d+)").ok());

/// The line that says that the container waits, and what it counts.
fn told(printed: &[PrintedLine]) -> (Option<Repeated>, Option<(u64, u64)>) {
    let Some(repeated) = most_repeated(printed) else {
        return (None, None);
    };
    let Some(last) = printed.iter().rev().find(|line| line.line.text == repeated.text) else {
        return (None, None);
    };
    let counted = |line: &PrintedLine| {
        let found = COUNTER.as_ref()?.captures_iter(&line.line.text).last()?;
        Some((found[1].parse::<u64>().ok()?, found[2].parse::<u64>().ok()?))
    };
    let mut same = printed.iter().rev().filter(|line| line.shape == last.shape);
    let (newest, before) = (same.next().and_then(counted), same.next().and_then(counted));
    // What does not count up towards the same end is a date or a share.
    let counter = newest
        .zip(before)
        .filter(|((now, of), (then, before))| of == before && now > then && now <= of)
        .map(|(newest, _)| newest);
    let waits = no_progress(last) || counter.is_some();
    (waits.then_some(repeated), counter)
}
