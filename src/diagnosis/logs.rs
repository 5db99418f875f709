//! What containers print: loops, last words, and whether somebody has gone on.

use std::collections::{BTreeMap, HashMap, HashSet};

use jiff::Timestamp;

use crate::evidence::{Evidence, PrintedLine};

/// A line that a container prints again and again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repeated {
    /// As it was printed last.
    pub text: String,
    pub times: usize,
    pub since: Timestamp,
}

/// What a container printed since the remedy, if there was one, else all of it.
pub fn lines<'a>(evidence: &'a Evidence, pod_uid: &str, container: &str) -> &'a [PrintedLine] {
    let all = evidence.log(pod_uid, container).map_or(&[][..], |log| log.lines.as_slice());
    match evidence.remedy_started {
        Some(remedy) => &all[all.partition_point(|line| line.at < remedy)..],
        None => all,
    }
}

/// How many of the newest lines tell what a container does now.
const RECENT: usize = 50;

/// What the container prints again and again now. Its own words win over the complaints of the tools it calls: those are cited below.
pub fn most_repeated(lines: &[PrintedLine]) -> Option<Repeated> {
    let recent = &lines[lines.len().saturating_sub(RECENT)..];
    let mut counts: BTreeMap<usize, (u64, usize)> = BTreeMap::new();
    let mut first: HashMap<u64, usize> = HashMap::new();
    for (index, line) in recent.iter().enumerate().filter(|(_, line)| !line.line.text.trim().is_empty()) {
        let at = *first.entry(line.shape).or_insert(index);
        counts.entry(at).or_insert((line.shape, 0)).1 += 1;
    }
    let most = counts.values().map(|(_, count)| *count).max().filter(|most| *most >= 2)?;
    let often = |count: usize| count * 10 >= most * 8;
    let (_, (shape, _)) = counts
        .iter()
        .filter(|(_, (_, count))| often(*count))
        .min_by_key(|(at, _)| (recent[**at].complaint.is_some(), **at))?;
    let mut same = lines.iter().filter(|line| line.shape == *shape);
    let since = same.next()?.line.stamp;
    let times = 1 + same.count();
    let text = lines.iter().rev().find(|line| line.shape == *shape)?.line.text.clone();
    Some(Repeated { text, times, since })
}

/// The lines since the latest restart of the container that printed any.
pub fn of_last_run(lines: &[PrintedLine]) -> &[PrintedLine] {
    let restart = lines.last().map_or(0, |line| line.line.restart);
    &lines[lines.partition_point(|line| line.line.restart < restart)..]
}

/// The last lines that are not blank, oldest first.
pub fn last(lines: &[PrintedLine], count: usize) -> Vec<&PrintedLine> {
    let mut last: Vec<_> = lines
        .iter()
        .rev()
        .filter(|line| !line.line.text.trim().is_empty())
        .take(count)
        .collect();
    last.reverse();
    last
}

/// Words with which a program ends because of what it complained about, or says that it tries again: no progress.
const NO_PROGRESS: &[&str] = &[
    " yet",
    "abort",
    "attempt",
    "back off",
    "backoff",
    "cannot",
    "could not",
    "did not",
    "error",
    "exit",
    "fail",
    "fatal",
    "gave up",
    "giving up",
    "never",
    "no answer",
    "not available",
    "not ready",
    "retry",
    "retries",
    "retrying",
    "sleep",
    "time out",
    "timed out",
    "timeout",
    "traceback",
    "unable",
    "unavailable",
    "unreachable",
    "wait",
];

/// Whether a line says that somebody waits, fails or tries again.
pub fn no_progress(line: &PrintedLine) -> bool {
    if line.complaint.is_some() || line.line.text.trim().is_empty() {
        return true;
    }
    let lower = line.line.text.to_lowercase();
    NO_PROGRESS.iter().any(|word| lower.contains(word))
}

/// Whether the container has gone on after the line at this index: it printed something new that is neither part of its loop nor the
/// announcement of its end.
pub fn gone_on(lines: &[&PrintedLine], index: usize) -> bool {
    let before: HashSet<u64> = lines[..=index].iter().map(|line| line.shape).collect();
    lines[index + 1..]
        .iter()
        .any(|line| !before.contains(&line.shape) && !no_progress(line))
}

/// Lines in double quotes, as they are cited, cut to a length that people read.
pub fn quoted(text: &str) -> String {
    const READABLE: usize = 200;
    let text = text.trim();
    if text.chars().count() <= READABLE {
        return format!("\"{text}\"");
    }
    // The ends of a message are stable, its middle can be kilobytes.
    let head: String = text.chars().take(READABLE / 2).collect();
    let tail: String = text.chars().skip(text.chars().count() - READABLE / 2).collect();
    format!("\"{head} … {tail}\"")
}
