//! Scenarios against engines: one word for each pair.

use std::collections::BTreeMap;

use super::Report;
use super::summary::verdict;
use super::text::{Paint, cut_middle, pad, width};
use crate::outcome::{Outcome, Variant, Verdict};

/// Between two columns.
const GAP: usize = 2;
/// What a scenario's name is cut to at the least.
const NAME: usize = 20;

/// The table; nothing where there is one engine only, or where it would not fit.
pub fn render(report: &Report, columns: usize, paint: Paint) -> String {
    let mut engines: Vec<(&str, &str)> = Vec::new();
    let mut cells: BTreeMap<(&str, &str), Verdict> = BTreeMap::new();
    let mut scenarios: Vec<&str> = Vec::new();
    for outcome in &report.outcomes {
        let (scenario, engine) = (outcome.trial.scenario.as_str(), outcome.trial.engine.as_str());
        match engines.iter_mut().find(|(name, _)| *name == engine) {
            // One that was not run does not know its version.
            Some((_, version)) if version.is_empty() => *version = &outcome.engine_version,
            Some(_) => {}
            None => engines.push((engine, &outcome.engine_version)),
        }
        if !scenarios.contains(&scenario) {
            scenarios.push(scenario);
        }
        let cell = cells.entry((scenario, engine)).or_insert(outcome.verdict);
        *cell = graver(*cell, outcome);
    }
    if engines.len() < 2 {
        return String::new();
    }
    engines.sort_by_key(|(name, _)| crate::engine::NAMES.iter().position(|known| known == name));
    let widths: Vec<usize> = engines
        .iter()
        .map(|(name, version)| {
            let words = cells
                .iter()
                .filter(|((_, engine), _)| engine == name)
                .map(|(_, verdict)| verdict.as_str().len());
            words.chain([width(name), width(version)]).max().unwrap_or(0)
        })
        .collect();
    let right: usize = widths.iter().map(|width| width + GAP).sum();
    let longest = scenarios.iter().map(|name| width(name)).max().unwrap_or(0);
    let lead = longest.min(columns.saturating_sub(right));
    if lead < NAME.min(longest) {
        return String::new();
    }
    let row = |first: String, cells: Vec<(usize, String)>| {
        let mut line = first;
        for ((of, painted), width) in cells.into_iter().zip(&widths) {
            line.push_str(&format!("{}{painted}{}", " ".repeat(GAP), " ".repeat(width.saturating_sub(of))));
        }
        format!("{}\n", line.trim_end())
    };
    let head = |words: Vec<&str>| {
        row(
            pad("", lead),
            words.into_iter().map(|word| (width(word), paint.dim(word))).collect(),
        )
    };
    let mut text = head(engines.iter().map(|(name, _)| *name).collect());
    text.push_str(&head(engines.iter().map(|(_, version)| *version).collect()));
    for scenario in scenarios {
        let of = engines.iter().map(|(engine, _)| match cells.get(&(scenario, *engine)) {
            Some(found) => (found.as_str().len(), verdict(*found, paint)),
            None => (0, String::new()),
        });
        text.push_str(&row(pad(&cut_middle(scenario, lead), lead), of.collect()));
    }
    text
}

/// Of a chart and its twin the worse; where both are as they should be, what is said of the chart.
fn graver(known: Verdict, outcome: &Outcome) -> Verdict {
    let new = outcome.verdict;
    match (known.passed(), new.passed()) {
        (true, true) if outcome.trial.variant == Variant::Broken => new,
        (true, true) => known,
        _ => known.max(new),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples;

    fn report(rows: &[(&str, &str, Variant, Verdict)]) -> Report {
        let sample = samples::passing().remove(0);
        let outcomes = rows.iter().map(|(scenario, engine, variant, verdict)| {
            let mut outcome = sample.clone();
            outcome.trial.scenario = (*scenario).to_owned();
            outcome.trial.engine = (*engine).to_owned();
            outcome.trial.variant = *variant;
            outcome.engine_version = format!("v{}", &engine[5..]);
            outcome.verdict = *verdict;
            outcome
        });
        samples::report(outcomes.collect())
    }

    #[test]
    fn each_pair_has_its_word() {
        use Variant::{Broken, Twin};
        let report = report(&[
            ("ttl-deleted-job", "flux-2.9", Broken, Verdict::FixedUpstream),
            ("ttl-deleted-job", "flux-2.9", Twin, Verdict::Pass),
            ("ttl-deleted-job", "helm-4", Broken, Verdict::Pass),
            ("ttl-deleted-job", "helm-4", Twin, Verdict::FalseAlarm),
            ("a", "helm-4", Broken, Verdict::Undetected),
        ]);
        assert_eq!(
            render(&report, 80, Paint::PLAIN),
            "                 helm-4       flux-2.9\n                 v4           v2.9\na                undetected\n\
             ttl-deleted-job  false-alarm  fixed-upstream\n"
        );
        assert_eq!(render(&report, 40, Paint::PLAIN), "", "too narrow");
    }

    #[test]
    fn one_engine_is_no_matrix() {
        let report = report(&[("a", "helm-4", Variant::Broken, Verdict::Pass)]);
        assert_eq!(render(&report, 80, Paint::PLAIN), "");
    }
}
