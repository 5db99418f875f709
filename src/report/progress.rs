//! What is under way, and the lines that tell it: right-aligned verb, duration, name.
//!
//! It neither draws nor looks at a clock: `human` gives it the events with their moments and puts the lines on the screen.

use std::time::Duration;

use super::Tally;
use super::text::{Paint, count, cut, cut_middle, pad, pad_left, tame, took, whole, width, wrap};
use crate::events::Event;
use crate::outcome::Verdict;

/// Columns of the verb.
const VERB: usize = 12;
/// Columns of the duration.
const TIME: usize = 7;
/// Columns before the name.
const LEAD: usize = VERB + 1 + TIME + 2;
/// How long a step may take in a log without a sign of life.
const SILENCE: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tone {
    Good,
    Bad,
    Warning,
    Busy,
    Calm,
}

#[derive(Debug)]
struct Item {
    name: String,
    /// What it is at: a phase of a trial, or that a step runs.
    verb: String,
    detail: String,
    trial: bool,
    started: Duration,
    /// The moment at which the deadline of what is waited for passes.
    due: Option<Duration>,
    /// When something about it was last printed.
    said: Duration,
}

/// The state of a run as events tell it. Moments are counted from any one start.
#[derive(Debug)]
pub struct Progress {
    paint: Paint,
    items: Vec<Item>,
    total: Option<(usize, Duration)>,
    tally: Tally,
}

impl Progress {
    pub fn new(paint: Paint) -> Self {
        Self {
            paint,
            items: Vec::new(),
            total: None,
            tally: Tally::default(),
        }
    }

    /// Takes an event and returns the lines that stay. With `columns`, long ones are wrapped; in a log they are not.
    pub fn take(&mut self, event: &Event, now: Duration, columns: Option<usize>) -> Vec<String> {
        match event {
            Event::StepStarted { step } => self.begin(step, "Running", false, now),
            Event::StepProgress { step, detail } => {
                if let Some(item) = self.find(step, false) {
                    item.detail = tame(detail);
                }
            }
            Event::StepFinished { step, elapsed, cached } => {
                self.end(step, false);
                let (verb, tone) = if *cached { ("Cached", Tone::Calm) } else { ("Done", Tone::Good) };
                return self.lines(verb, tone, Some(*elapsed), step, columns);
            }
            Event::StepFailed { step, elapsed } => {
                self.end(step, false);
                return self.lines("FAILED", Tone::Bad, Some(*elapsed), step, columns);
            }
            Event::Note { text } => return self.lines("Note", Tone::Warning, None, text, columns),
            Event::RunStarted { trials } => {
                self.total = Some((*trials, now));
                return self.lines("Starting", Tone::Good, None, &count(*trials, "trial"), columns);
            }
            Event::TrialStarted { trial } => self.begin(trial, "Starting", true, now),
            Event::TrialPhase {
                trial,
                phase,
                waiting_for,
                left,
            } => {
                if let Some(item) = self.find(trial, true) {
                    item.verb = capitalised(phase);
                    item.detail = tame(waiting_for);
                    item.due = left.map(|left| now + left);
                }
            }
            Event::CauseKnown { trial, cause, after, left } => {
                let early = match left {
                    Some(left) if *left >= Duration::from_secs(1) => format!(" (the engine may wait {} more)", whole(*left)),
                    _ => String::new(),
                };
                return self.lines("Known", Tone::Busy, Some(*after), &format!("{trial}: {cause}{early}"), columns);
            }
            Event::TrialFinished { trial, outcome } => {
                self.end(trial, true);
                self.tally.add(outcome.verdict);
                let verdict = outcome.verdict;
                let (verb, tone) = match verdict {
                    Verdict::Pass => ("PASS", Tone::Good),
                    Verdict::FixedUpstream => ("FIXED", Tone::Good),
                    Verdict::NotRun => ("SKIP", Tone::Warning),
                    Verdict::Infra => ("INFRA", Tone::Warning),
                    _ => ("FAIL", Tone::Bad),
                };
                let total = (verdict != Verdict::NotRun).then(|| Duration::from_millis(outcome.total_ms));
                let name = if verdict == Verdict::Pass {
                    trial.clone()
                } else {
                    format!("{trial}  {verdict}")
                };
                return self.lines(verb, tone, total, &name, columns);
            }
        }
        Vec::new()
    }

    /// The lines for what is under way, none wider than `columns`, at most `rows`.
    pub fn live(&self, now: Duration, columns: usize, rows: usize) -> Vec<String> {
        let shown = |item: &Item| match item.name.strip_suffix("::broken") {
            // The broken one is what it is about; only twins are marked where there is little room.
            Some(name) if columns < 110 => name.to_owned(),
            _ => item.name.clone(),
        };
        let names = self.items.iter().map(|item| width(&shown(item))).max().unwrap_or(0);
        // What is waited for is worth as much room as who waits; a short name does not keep room it does not need.
        let names = names.min(columns.saturating_sub(LEAD) * 11 / 20);
        let room = rows.saturating_sub(2).max(1);
        let mut lines: Vec<String> = self
            .items
            .iter()
            .take(room)
            .map(|item| {
                let mut words = cut_middle(&shown(item), names);
                let rest = columns.saturating_sub(LEAD + names + 2);
                if !item.detail.is_empty() || item.due.is_some() {
                    words = format!("{}  {}", pad(&words, names), self.paint.dim(&waits(item, now, rest)));
                }
                self.line(&item.verb, Tone::Busy, Some(now.saturating_sub(item.started)), &words)
            })
            .collect();
        if self.items.len() > room {
            lines.push(format!("{}and {} more", " ".repeat(LEAD), self.items.len() - room));
        }
        if let Some((total, started)) = self.total {
            let done = self.tally.passed + self.tally.failed + self.tally.skipped;
            let words = format!("{done}/{total}  {}", self.tally);
            lines.push(self.line(
                "Trials",
                Tone::Good,
                Some(now.saturating_sub(started)),
                &cut(&words, columns.saturating_sub(LEAD)),
            ));
        }
        lines
    }

    /// Signs of life for a log: a line for each thing of which nothing was heard for half a minute.
    pub fn still(&mut self, now: Duration) -> Vec<String> {
        let mut lines = Vec::new();
        for n in 0..self.items.len() {
            let item = &mut self.items[n];
            if now.saturating_sub(item.said) < SILENCE {
                continue;
            }
            item.said = now;
            let item = &self.items[n];
            let waits = waits(item, now, usize::MAX);
            let words = match (item.trial, waits.is_empty()) {
                (true, false) => format!("{}: {}, {waits}", item.name, item.verb.to_lowercase()),
                (false, false) => format!("{}: {waits}", item.name),
                (_, true) => item.name.clone(),
            };
            lines.push(self.line("Still", Tone::Calm, Some(now.saturating_sub(item.started)), &words));
        }
        lines
    }

    fn begin(&mut self, name: &str, verb: &str, trial: bool, now: Duration) {
        self.items.push(Item {
            name: name.to_owned(),
            verb: verb.to_owned(),
            detail: String::new(),
            trial,
            started: now,
            due: None,
            said: now,
        });
    }

    fn find(&mut self, name: &str, trial: bool) -> Option<&mut Item> {
        self.items.iter_mut().find(|item| item.trial == trial && item.name == name)
    }

    fn end(&mut self, name: &str, trial: bool) {
        // Two steps may bear one name; each end takes one away.
        if let Some(at) = self.items.iter().position(|item| item.trial == trial && item.name == name) {
            self.items.remove(at);
        }
    }

    fn line(&self, verb: &str, tone: Tone, time: Option<Duration>, words: &str) -> String {
        let verb = pad_left(&cut(verb, VERB), VERB);
        let verb = match tone {
            Tone::Good => self.paint.green(&verb),
            Tone::Bad => self.paint.red(&verb),
            Tone::Warning => self.paint.yellow(&verb),
            Tone::Busy => self.paint.cyan(&verb),
            Tone::Calm => self.paint.dim(&verb),
        };
        let time = pad_left(&time.map(took).unwrap_or_default(), TIME);
        format!("{verb} {time}  {words}").trim_end().to_owned()
    }

    /// As [`Self::line`], for lines that stay: wrapped where there is a width.
    fn lines(&self, verb: &str, tone: Tone, time: Option<Duration>, words: &str, columns: Option<usize>) -> Vec<String> {
        let words = tame(words);
        let Some(columns) = columns else {
            // One line each, so that `grep` finds all of it.
            return vec![self.line(verb, tone, time, &words.lines().collect::<Vec<_>>().join(" "))];
        };
        if width(&words) + LEAD <= columns && !words.contains('\n') {
            return vec![self.line(verb, tone, time, &words)];
        }
        let lines = wrap(&words, columns.saturating_sub(LEAD).max(20));
        let first = lines.iter().take(1).map(|line| self.line(verb, tone, time, line));
        let rest = lines.iter().skip(1).map(|line| format!("{}{line}", " ".repeat(LEAD)));
        first.chain(rest).collect()
    }
}

/// What is waited for and the time left; the time is never cut off.
fn waits(item: &Item, now: Duration, columns: usize) -> String {
    let left = match item.due {
        Some(due) => format!("({} left)", whole(due.saturating_sub(now))),
        None => String::new(),
    };
    if left.is_empty() {
        return cut(&item.detail, columns);
    }
    let detail = cut(&item.detail, columns.saturating_sub(width(&left) + 1));
    if detail.is_empty() {
        cut(&left, columns)
    } else {
        format!("{detail} {left}")
    }
}

fn capitalised(word: &str) -> String {
    let mut chars = word.chars();
    chars
        .next()
        .map(|first| first.to_uppercase().chain(chars).collect())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples;

    fn secs(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    /// What a log holds after the run: the lines that stay, and the signs of life between them.
    fn log(paint: Paint) -> String {
        let mut progress = Progress::new(paint);
        let mut lines = Vec::new();
        let mut clock = 0.0;
        for (at, event) in samples::events() {
            while clock < at {
                clock += 1.0;
                lines.extend(progress.still(secs(clock)));
            }
            lines.extend(progress.take(&event, secs(at), None));
        }
        lines.join("\n")
    }

    /// Each event, with what stays and what is under way a second after it.
    fn screens(columns: usize) -> String {
        let mut progress = Progress::new(Paint::PLAIN);
        let mut text = String::new();
        for (at, event) in samples::events() {
            let name = format!("{event:?}");
            let name = name.split_whitespace().next().unwrap_or_default();
            text.push_str(&format!("{at:>5} {name}\n"));
            for line in progress.take(&event, secs(at), Some(columns)) {
                text.push_str(&format!("      |{line}\n"));
            }
            for line in progress.live(secs(at + 1.0), columns, 24) {
                assert!(width(&line) <= columns, "{line}");
                text.push_str(&format!("      >{line}\n"));
            }
        }
        text
    }

    #[test]
    fn a_log() {
        insta::assert_snapshot!(log(Paint::PLAIN));
    }

    #[test]
    fn a_coloured_log_has_the_same_words() {
        let coloured = log(Paint(true));
        assert!(coloured.contains("\u{1b}["));
        assert_eq!(tame(&coloured), log(Paint::PLAIN));
    }

    #[test]
    fn a_terminal_of_80_columns() {
        insta::assert_snapshot!(screens(80));
    }

    #[test]
    fn a_terminal_of_120_columns() {
        insta::assert_snapshot!(screens(120));
    }

    #[test]
    fn a_small_terminal_keeps_its_lines() {
        let mut progress = Progress::new(Paint::PLAIN);
        for n in 0..9 {
            progress.take(
                &Event::TrialStarted {
                    trial: format!("a-scenario-with-a-long-name-{n}::helm-4::broken"),
                },
                secs(0.0),
                None,
            );
        }
        progress.take(&Event::RunStarted { trials: 9 }, secs(0.0), None);
        let lines = progress.live(secs(1.0), 40, 6);
        assert_eq!(lines.len(), 6);
        assert!(lines.iter().all(|line| width(line) <= 40), "{lines:#?}");
        assert!(lines[4].ends_with("and 5 more"), "{lines:#?}");
    }

    #[test]
    fn foreign_text_cannot_touch_the_screen() {
        let mut progress = Progress::new(Paint::PLAIN);
        let note = Event::Note {
            text: "a\u{1b}[2Jb\nc".to_owned(),
        };
        assert_eq!(progress.take(&note, secs(0.0), None), ["        Note          ab c"]);
    }
}
