//! What stands on the screen when a run has ended: what broke and why, what was expected, a table, and one line of numbers.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::chain::{self, Timing};
use super::comparison::{comparison, labelled};
use super::shell::shell_wrap;
use super::text::{Paint, count, cut_middle, excerpt, pad, pad_left, tame, took_ms, whole_ms, width, wrap};
use super::{Report, Tally, matrix};
use crate::outcome::{Outcome, Variant, Verdict};

/// A run with more broken outcomes than this explains only those that did not pass.
const IN_FULL: usize = 12;
/// How many lines of the engine's last words are shown.
const WORDS: usize = 6;
/// Longer lines are hard to read, however wide the terminal is.
pub const WIDEST: usize = 120;

/// The whole summary. `files` are the reports that were written. The numbers stand on a line of their own, the last one.
pub fn render(report: &Report, files: &[PathBuf], columns: usize, quiet: bool, paint: Paint) -> String {
    let columns = columns.min(WIDEST);
    let mut text = String::new();
    let broken = report
        .outcomes
        .iter()
        .filter(|outcome| outcome.trial.variant == Variant::Broken)
        .count();
    let only_failed = quiet || broken > IN_FULL;
    for outcome in &report.outcomes {
        let passed_twin = outcome.trial.variant == Variant::Twin && outcome.verdict.passed();
        let told_in_table = passed_twin || outcome.verdict == Verdict::NotRun || (only_failed && outcome.verdict.passed());
        let unrecorded = outcome.recording.as_ref().is_some_and(|recording| recording.failure.is_some());
        if told_in_table && !unrecorded {
            continue;
        }
        text.push_str(&heading(outcome, columns, paint));
        text.push_str(&details(outcome, columns, paint));
        text.push('\n');
    }
    if !quiet && !report.outcomes.is_empty() {
        text.push_str(&table(report, columns, paint));
        text.push('\n');
        let matrix = matrix::render(report, columns, paint);
        if !matrix.is_empty() {
            text.push_str(&matrix);
            text.push('\n');
        }
    }
    text.push_str(&remarks(report, columns, paint));
    if !files.is_empty() {
        let names: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
        text.push_str(&format!("reports: {}\n", names.join(", ")));
    }
    text.push_str(&recordings(report));
    let tally = report.tally();
    text.push_str(&tally_line(tally, paint));
    text.push('\n');
    text
}

/// How many trials were recorded, and into which folders.
fn recordings(report: &Report) -> String {
    let written = report.outcomes.iter().filter_map(|outcome| outcome.recording.as_ref());
    let written: Vec<_> = written.filter(|recording| recording.failure.is_none()).collect();
    if written.is_empty() {
        return String::new();
    }
    let folders: BTreeSet<_> = written.iter().filter_map(|recording| recording.file.parent()).collect();
    let folders: Vec<_> = folders.iter().map(|folder| folder.display().to_string()).collect();
    format!("recordings: {} in {}\n", written.len(), folders.join(", "))
}

fn tally_line(tally: Tally, paint: Paint) -> String {
    let line = tally.to_string();
    match (tally.failed, tally.skipped) {
        (0, 0) => paint.green(&line),
        (0, _) => paint.yellow(&line),
        _ => paint.red(&line),
    }
}

/// The verdict in its colour.
pub fn verdict(verdict: Verdict, paint: Paint) -> String {
    match verdict {
        Verdict::Pass | Verdict::FixedUpstream => paint.green(verdict.as_str()),
        Verdict::NotRun | Verdict::Infra => paint.yellow(verdict.as_str()),
        _ => paint.red(verdict.as_str()),
    }
}

fn heading(outcome: &Outcome, columns: usize, paint: Paint) -> String {
    let verdict = outcome.verdict;
    rule(outcome, verdict.as_str(), self::verdict(verdict, paint), columns, paint)
}

/// Which trial it is, and at the right a word; `painted` is the word in its colour.
pub fn rule(outcome: &Outcome, word: &str, painted: String, columns: usize, paint: Paint) -> String {
    let trial = &outcome.trial;
    let engine = match outcome.engine_version.as_str() {
        "" => trial.engine.clone(),
        version => format!("{} {version}", trial.engine),
    };
    let left = format!("{}  {engine}  {}", trial.scenario, trial.variant);
    let left = cut_middle(&left, columns.saturating_sub(width(word) + 6));
    let rule = "─".repeat(columns.saturating_sub(width(&left) + width(word) + 6));
    format!("── {} {} {painted}\n", paint.bold(&left), paint.dim(&rule))
}

/// Everything there is to say about one outcome, below its heading.
pub fn details(outcome: &Outcome, columns: usize, paint: Paint) -> String {
    let mut text = String::new();
    if !outcome.verdict.passed() {
        for line in wrap(&tame(&outcome.sentence), columns) {
            text.push_str(&paint.bold(&line));
            text.push('\n');
        }
        text.push_str(&comparison(outcome, columns, paint));
    }
    text.push_str(&engine_words(outcome, columns, paint));
    text.push_str(&causes(outcome, columns, paint));
    text.push_str(&remedy(outcome, columns, paint));
    if let Some(failure) = outcome.recording.as_ref().and_then(|recording| recording.failure.as_ref()) {
        text.push_str(&labelled("recording", &tame(failure), columns, paint));
    }
    text
}

/// What the engine said last.
pub fn engine_words(outcome: &Outcome, columns: usize, paint: Paint) -> String {
    if outcome.engine_words.trim().is_empty() {
        return String::new();
    }
    let mut text = match outcome.break_ms {
        Some(ms) => title(
            &format!("{} gave up after {} with these words:", outcome.trial.engine, took_ms(ms)),
            columns,
            paint,
        ),
        None => title(&format!("{} ended with these words:", outcome.trial.engine), columns, paint),
    };
    for line in excerpt(&tame(&outcome.engine_words), WORDS) {
        // Engines put much into one line; the beginning and the end tell most.
        for piece in wrap(&cut_middle(&line, columns * 3 + 120), columns.saturating_sub(2)) {
            text.push_str(&format!("{} {piece}\n", paint.dim("│")));
        }
    }
    text
}

fn causes(outcome: &Outcome, columns: usize, paint: Paint) -> String {
    let timing = Timing {
        known_ms: outcome.first_correct_ms,
        left_ms: outcome.left_ms,
        gave_up: outcome.break_ms.is_some(),
    };
    let mut text = chain::diagnosis(&outcome.diagnosis, timing, columns, paint);
    if !outcome.verdict.passed() && outcome.diagnosis.causes.is_empty() && !outcome.diagnosis.suspected.is_empty() {
        text.push_str(&title("suspected, never certain:", columns, paint));
        text.push_str(&chain::causes(&outcome.diagnosis.suspected, timing, columns, paint));
    }
    if text.is_empty() {
        return text;
    }
    let words = match (outcome.verdict, outcome.diagnosis.causes.len()) {
        (Verdict::Misdiagnosed | Verdict::FalseAlarm | Verdict::Undetected, _) | (_, 0) => "what was found:",
        (_, 1) => "the cause:",
        _ => "the causes:",
    };
    title(words, columns, paint) + &text
}

fn title(words: &str, columns: usize, paint: Paint) -> String {
    wrap(words, columns).iter().map(|line| format!("{}\n", paint.cyan(line))).collect()
}

/// What was done to put it right, and whether it did.
pub fn remedy(outcome: &Outcome, columns: usize, paint: Paint) -> String {
    let Some(report) = &outcome.remedy else {
        return String::new();
    };
    let words = match (report.healthy, outcome.remedy_ms.map(took_ms), outcome.window_ms.map(whole_ms)) {
        (false, ..) => "the remedy, not healthy after it:".to_owned(),
        (true, Some(took), Some(window)) if outcome.verdict == Verdict::Relapsed => {
            format!("the remedy, healthy after {took}, but not for the {window} it was watched:")
        }
        (true, Some(took), Some(window)) => format!("the remedy, healthy after {took} and for all of the {window} it was watched:"),
        (true, Some(took), None) => format!("the remedy, healthy after {took}:"),
        (true, None, _) => "the remedy, healthy after it:".to_owned(),
    };
    let mut text = title(&words, columns, paint);
    if report.commands.is_empty() {
        text.push_str(&format!("  {}\n", tame(&report.remedy.sentence)));
    }
    for command in &report.commands {
        // Commands are copied by people: wrapped by the shell's own rules, never cut.
        let mut lines = tame(command).lines().map(str::to_owned).collect::<Vec<_>>();
        if let [line] = lines.as_slice() {
            lines = shell_wrap(line, columns.saturating_sub(4));
        }
        for (n, line) in lines.iter().enumerate() {
            text.push_str(&format!("{} {line}\n", paint.dim(if n == 0 { "  $" } else { "   " })));
        }
    }
    text
}

/// What the columns of times are called, and how wide they are.
const LONG: [(&str, usize); 4] = [("broke after", 11), ("known after", 11), ("remedied in", 11), ("total", 6)];
const SHORT: [(&str, usize); 4] = [("broke", 6), ("known", 6), ("mended", 6), ("total", 6)];

/// Scenarios with a row for each engine and variant.
fn table(report: &Report, columns: usize, paint: Paint) -> String {
    let engines = report
        .outcomes
        .iter()
        .map(|outcome| width(&outcome.trial.engine))
        .max()
        .unwrap_or(0)
        .max(6);
    let lead = 2 + engines + 2 + 6 + 2;
    let fits = |heads: &[(&str, usize)], gap: usize| lead + 14 + heads.iter().map(|(_, columns)| columns + gap).sum::<usize>() <= columns;
    let layouts = [(&LONG, 2), (&LONG, 1), (&SHORT, 2), (&SHORT, 1)];
    // Where not even the short heads fit, the times are in the report.
    let (heads, gap): (&[(&str, usize)], usize) = layouts
        .into_iter()
        .find(|(heads, gap)| fits(*heads, *gap))
        .map_or((&[], 0), |(heads, gap)| (heads, gap));
    let mut line = format!("{}{}", pad("", lead), pad("verdict", 14));
    for (head, columns) in heads {
        line.push_str(&pad_left(head, columns + gap));
    }
    let mut text = format!("{}\n", paint.dim(line.trim_end()));
    for trials in report.outcomes.chunk_by(|a, b| a.trial.scenario == b.trial.scenario) {
        let Some(first) = trials.first() else { continue };
        text.push_str(&format!("{}\n", paint.bold(&cut_middle(&first.trial.scenario, columns))));
        let mut engine = "";
        for outcome in trials {
            let named = if outcome.trial.engine == engine {
                ""
            } else {
                &outcome.trial.engine
            };
            engine = &outcome.trial.engine;
            let painted = verdict(outcome.verdict, paint);
            let mut line = format!(
                "  {}  {}  {painted}{}",
                pad(named, engines),
                pad(&outcome.trial.variant.to_string(), 6),
                " ".repeat(14_usize.saturating_sub(outcome.verdict.as_str().len()))
            );
            let total = (outcome.verdict != Verdict::NotRun).then_some(outcome.total_ms);
            let times = [outcome.break_ms, outcome.first_correct_ms, outcome.remedy_ms, total];
            for ((_, columns), ms) in heads.iter().zip(times) {
                line.push_str(&pad_left(&ms.map(took_ms).unwrap_or_default(), columns + gap));
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
    }
    text
}

/// What a person should not overlook.
fn remarks(report: &Report, columns: usize, paint: Paint) -> String {
    let mut text = String::new();
    let mut remark = |label: &str, words: String| {
        for (n, line) in wrap(&tame(&words), columns.saturating_sub(9)).iter().enumerate() {
            let label = if n == 0 { paint.yellow(&pad(label, 9)) } else { pad("", 9) };
            text.push_str(&format!("{label}{line}\n"));
        }
    };
    if report.outcomes.is_empty() {
        remark("note:", "no trial was run".to_owned());
    }
    if report.interrupted {
        remark(
            "note:",
            "the run was interrupted; what had not ended by then was not run".to_owned(),
        );
    }
    for failure in &report.cleanup_failures {
        remark("warning:", failure.clone());
    }
    if report.clusters_left > 0 {
        let left = usize::try_from(report.clusters_left).unwrap_or(usize::MAX);
        remark(
            "warning:",
            format!("{} could not be removed; run `rekindle clean`", count(left, "cluster")),
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::RecordingReport;
    use crate::report::samples;

    fn summary(columns: usize) -> String {
        let files = ["rekindle-report/report.json", "rekindle-report/junit.xml"].map(PathBuf::from);
        render(&samples::report(samples::every_verdict()), &files, columns, false, Paint::PLAIN)
    }

    #[test]
    fn every_verdict_at_80() {
        insta::assert_snapshot!(summary(80));
    }

    #[test]
    fn every_verdict_at_120() {
        insta::assert_snapshot!(summary(120));
    }

    #[test]
    fn every_verdict_at_40() {
        insta::assert_snapshot!(summary(40));
    }

    #[test]
    fn no_line_is_wider_than_the_terminal_but_commands() {
        for columns in [50, 60, 72, 80, 100, 120, 200] {
            for line in summary(columns).lines().filter(|line| !line.starts_with("reports: ")) {
                assert!(width(line) <= columns || line.starts_with("      "), "{columns}: {line}");
            }
        }
    }

    #[test]
    fn the_last_line_is_the_numbers() {
        let mut report = samples::report(samples::passing());
        assert_eq!(
            render(&report, &[], 80, false, Paint::PLAIN).lines().last(),
            Some("2 passed, 0 failed")
        );
        assert_eq!(render(&report, &[], 80, true, Paint::PLAIN), "2 passed, 0 failed\n");
        report.clusters_left = 1;
        report.interrupted = true;
        report
            .cleanup_failures
            .push("the network rekindle could not be removed: it is in use".to_owned());
        insta::assert_snapshot!(render(&report, &[], 80, true, Paint::PLAIN));
    }

    #[test]
    fn recordings_are_counted_and_one_that_failed_is_told() {
        let mut report = samples::report(samples::passing());
        for (outcome, name) in report.outcomes.iter_mut().zip(["a", "b"]) {
            outcome.recording = Some(RecordingReport {
                file: format!("kept/{name}.rekindle").into(),
                failure: None,
            });
        }
        let text = |report: &Report| render(report, &[], 80, true, Paint::PLAIN);
        assert_eq!(text(&report), "recordings: 2 in kept\n2 passed, 0 failed\n");
        let failure = "kept/b.rekindle could not be written: no space left on device";
        report.outcomes[1].recording.as_mut().unwrap().failure = Some(failure.to_owned());
        let text = text(&report);
        assert!(text.contains("recording") && text.contains(failure), "{text}");
        assert!(text.ends_with("recordings: 1 in kept\n2 passed, 0 failed\n"), "{text}");
    }

    #[test]
    fn colours_change_nothing_but_colours() {
        let report = samples::report(samples::every_verdict());
        let coloured = render(&report, &[], 80, false, Paint(true));
        assert!(coloured.contains('\u{1b}'));
        assert_eq!(tame(&coloured), render(&report, &[], 80, false, Paint::PLAIN));
    }
}
