//! What was expected and what was observed, where a verdict is not a pass.

use super::text::{Paint, pad, tame, took_ms, whole_ms, wrap};
use crate::outcome::{ExpectedCause, Outcome, Verdict};

/// What was expected and what was observed, side by side.
pub fn comparison(outcome: &Outcome, columns: usize, paint: Paint) -> String {
    let mut rows: Vec<(&str, Vec<String>, Vec<String>)> = Vec::new();
    let one = |text: &str| vec![text.to_owned()];
    let gave_up = match outcome.break_ms {
        Some(ms) => format!("it gave up after {}", took_ms(ms)),
        None => "it did not give up".to_owned(),
    };
    let found = || match outcome.diagnosis.causes.as_slice() {
        [] => one("no certain cause"),
        causes => causes.iter().map(|cause| format!("{} of {}", cause.slug, cause.subject)).collect(),
    };
    match outcome.verdict {
        Verdict::NotReproduced => rows.push(("engine", one("it breaks as documented"), vec![gave_up])),
        Verdict::WrongFailure => rows.push((
            "engine",
            one("it breaks as documented"),
            vec![gave_up, "with other words".to_owned()],
        )),
        Verdict::Undetected | Verdict::Misdiagnosed => {
            rows.push(("causes", outcome.expected_causes.iter().map(expected).collect(), found()));
            let citing: Vec<String> = outcome.expected_causes.iter().flat_map(|cause| cause.citing.clone()).collect();
            let mut cited: Vec<String> = outcome
                .diagnosis
                .causes
                .iter()
                .flat_map(|cause| &cause.citations)
                .map(|citation| tame(&citation.text))
                .collect();
            cited.sort();
            cited.dedup();
            if !citing.is_empty() && !cited.is_empty() {
                rows.push(("citing", citing, cited));
            }
        }
        Verdict::FalseAlarm => rows.push(("causes", one("none: the twin is healthy"), found())),
        Verdict::NotRemedied => rows.push((
            "remedy",
            one("healthy after the diagnosed remedy"),
            match &outcome.remedy {
                Some(remedy) => vec![format!("{} was applied", remedy.remedy.kind), "not healthy".to_owned()],
                None => one("the scenario has no remedy of the diagnosed kind"),
            },
        )),
        Verdict::Relapsed => rows.push((
            "health",
            vec![match outcome.window_ms {
                Some(ms) => format!("healthy for {}", whole_ms(ms)),
                None => "it stays healthy".to_owned(),
            }],
            one("healthy, and then not"),
        )),
        Verdict::Pass | Verdict::FixedUpstream | Verdict::NotRun | Verdict::Infra => return String::new(),
    }
    let label = 8;
    let half = columns.saturating_sub(label + 2) / 2;
    if half < 24 {
        return stacked(&rows, columns, paint);
    }
    let mut text = format!(
        "{}{}  {}\n",
        pad("", label),
        paint.dim(&pad("expected", half)),
        paint.dim("observed")
    );
    for (name, left, right) in rows {
        let side = |entries: Vec<String>| entries.iter().flat_map(|entry| wrap(&tame(entry), half)).collect::<Vec<_>>();
        let (left, right) = (side(left), side(right));
        for n in 0..left.len().max(right.len()) {
            let cell = |side: &[String]| side.get(n).cloned().unwrap_or_default();
            let label = pad(if n == 0 { name } else { "" }, label);
            let line = format!("{label}{}  {}", pad(&cell(&left), half), cell(&right));
            text.push_str(line.trim_end());
            text.push('\n');
        }
    }
    text
}

fn stacked(rows: &[(&str, Vec<String>, Vec<String>)], columns: usize, paint: Paint) -> String {
    let mut text = String::new();
    for (_, left, right) in rows {
        text.push_str(&labelled("expected", &left.join(", "), columns, paint));
        text.push_str(&labelled("observed", &right.join(", "), columns, paint));
    }
    text
}

fn expected(cause: &ExpectedCause) -> String {
    match &cause.subject {
        Some(subject) => format!("{} of {subject}", cause.slug),
        None => cause.slug.clone(),
    }
}

pub fn labelled(label: &str, words: &str, columns: usize, paint: Paint) -> String {
    let mut text = String::new();
    for (n, line) in wrap(words, columns.saturating_sub(10)).iter().enumerate() {
        let label = pad(if n == 0 { label } else { "" }, 10);
        text.push_str(format!("{}{line}", paint.dim(&label)).trim_end());
        text.push('\n');
    }
    text
}
