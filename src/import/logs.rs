//! The ends of logs, and when their lines were printed.

use std::collections::VecDeque;

use jiff::Timestamp;

use super::place::LogPlace;
use crate::evidence::{LogLine, moment};

/// The last lines that are kept of one log, and the most bytes of them: as much as a live look reads.
pub const LINES: usize = 400;
pub const BYTES: usize = 256 << 10;

/// The end of a log.
#[derive(Debug)]
pub struct Tail {
    pub place: LogPlace,
    lines: VecDeque<Box<str>>,
    bytes: usize,
}

impl Tail {
    pub fn new(place: LogPlace) -> Self {
        Self {
            place,
            lines: VecDeque::new(),
            bytes: 0,
        }
    }

    /// Takes in the next line.
    pub fn push(&mut self, line: &[u8]) {
        let line = String::from_utf8_lossy(line);
        self.bytes += line.len();
        self.lines.push_back(line.into());
        while self.lines.len() > LINES || self.bytes > BYTES {
            let Some(first) = self.lines.pop_front() else { break };
            self.bytes -= first.len();
        }
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().map(AsRef::as_ref)
    }

    /// The latest stamp of the kubelet's.
    pub fn latest(&self) -> Option<Timestamp> {
        self.lines().filter_map(|line| Some(stamped(line)?.0)).max()
    }

    /// The lines with their times, and whether the kubelet's stamps told them. Where they did not, a line that begins with a time was
    /// printed then; one that does not was printed after the line before it, and by `latest` at all events.
    pub fn stamped(&self, template: &LogLine, latest: Timestamp) -> (Vec<LogLine>, bool) {
        let line = |stamp: Timestamp, text: &str| LogLine {
            stamp,
            text: text.trim_end().to_owned(),
            ..template.clone()
        };
        let kubelet = self
            .lines()
            .find(|line| !line.is_empty())
            .is_some_and(|line| stamped(line).is_some());
        if kubelet {
            let lines = self.lines().filter_map(|text| stamped(text).map(|(stamp, text)| line(stamp, text)));
            return (lines.collect(), true);
        }
        let first = self.lines().find_map(begins_with_time);
        let mut stamp = first.unwrap_or(latest).min(latest);
        let lines = self.lines().map(|text| {
            stamp = begins_with_time(text).map_or(stamp, |own| own.min(latest)).max(stamp);
            line(stamp, text)
        });
        (lines.collect(), false)
    }
}

/// The kubelet's stamp, which always has nine digits behind the point, and what was printed then.
fn stamped(line: &str) -> Option<(Timestamp, &str)> {
    let (stamp, text) = line.split_once(' ').unwrap_or((line, ""));
    let (_, fraction) = stamp.split_once('.')?;
    let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
    (digits == 9).then(|| Some((moment::parse(stamp)?, text)))?
}

fn begins_with_time(line: &str) -> Option<Timestamp> {
    let word = line.split(' ').next()?;
    // Anything shorter is no full time with its zone.
    (word.len() >= "2026-01-02T03:04:05Z".len()).then(|| moment::parse(word))?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tail(lines: &[&str]) -> Tail {
        let place = LogPlace {
            namespace: None,
            pod: "p".into(),
            container: None,
            previous: false,
            error: false,
        };
        let mut tail = Tail::new(place);
        for line in lines {
            tail.push(line.as_bytes());
        }
        tail
    }

    fn told(lines: &[&str], latest: &str) -> (Vec<(String, String)>, bool) {
        let template = LogLine {
            pod: "p".into(),
            pod_uid: "u".into(),
            container: "c".into(),
            restart: 0,
            stamp: Timestamp::UNIX_EPOCH,
            text: String::new(),
        };
        let (lines, kubelet) = tail(lines).stamped(&template, latest.parse().unwrap());
        let lines = lines.into_iter().map(|line| (line.stamp.to_string(), line.text)).collect();
        (lines, kubelet)
    }

    fn pairs(lines: &[(&str, &str)]) -> Vec<(String, String)> {
        lines
            .iter()
            .map(|(stamp, text)| ((*stamp).to_owned(), (*text).to_owned()))
            .collect()
    }

    #[test]
    fn the_kubelets_stamps_are_told_from_those_of_a_program() {
        let kubelet = ["2026-01-02T03:04:05.100000000Z hello", "2026-01-02T03:04:06.000000001Z "];
        let expected = pairs(&[("2026-01-02T03:04:05.1Z", "hello"), ("2026-01-02T03:04:06.000000001Z", "")]);
        assert_eq!(told(&kubelet, "2026-01-02T04:00:00Z"), (expected, true));
        let own = ["start", "2026-01-02T03:04:05Z hello", "  at x", "2026-01-02T09:04:05Z late", "end"];
        let expected = pairs(&[
            ("2026-01-02T03:04:05Z", "start"),
            ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z hello"),
            ("2026-01-02T03:04:05Z", "  at x"),
            ("2026-01-02T04:00:00Z", "2026-01-02T09:04:05Z late"),
            ("2026-01-02T04:00:00Z", "end"),
        ]);
        assert_eq!(told(&own, "2026-01-02T04:00:00Z"), (expected, false));
        let none = told(&["a", "b"], "2026-01-02T04:00:00Z");
        assert_eq!(none.0, pairs(&[("2026-01-02T04:00:00Z", "a"), ("2026-01-02T04:00:00Z", "b")]));
    }

    #[test]
    fn only_the_end_is_kept() {
        let many: Vec<String> = (0..1000).map(|n| format!("line {n}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let short = tail(&many);
        assert_eq!((short.lines().count(), short.lines().next()), (LINES, Some("line 600")));
        let long = "x".repeat(8 << 10);
        let long = tail(&vec![long.as_str(); 100]);
        assert!(long.bytes() <= BYTES && long.lines().count() == 32);
        let broken = {
            let mut tail = tail(&[]);
            tail.push(b"a\xff");
            tail
        };
        assert_eq!(broken.lines().next(), Some("a\u{fffd}"));
    }
}
