//! Links findings and symptoms by "because": from what a person sees down to the root causes.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::answer::{Diagnosis, Link, RootCause};
use super::attempt::engine_gave_up;
use super::finding::{Certainty, Class, Detector, Finding};
use super::symptoms::Symptoms;
use super::writers::note_operation;
use crate::evidence::{Evidence, ObjectRef};

/// How much later than its effect a cause may be received.
const RECEIPT: SignedDuration = SignedDuration::from_secs(1);

/// What these detectors make of the evidence.
pub fn diagnose_with(evidence: &Evidence, detectors: &[&Detector]) -> Diagnosis {
    let symptoms = Symptoms::of(evidence);
    let found = yielded(merged(evidence, detectors));
    let placed = Placed::of(evidence, &symptoms, found);
    placed.diagnosis(evidence)
}

/// A finding with the class of its detector.
#[derive(Debug, Clone)]
struct Classed {
    class: Class,
    finding: Finding,
}

/// Everything that the detectors say; what is said of one subject several times is one finding.
fn merged(evidence: &Evidence, detectors: &[&Detector]) -> Vec<Classed> {
    let mut merged: BTreeMap<(&str, ObjectRef), Classed> = BTreeMap::new();
    for detector in detectors {
        for mut finding in (detector.detect)(evidence) {
            note_operation(evidence, &mut finding);
            let subject = ObjectRef {
                uid: None,
                ..finding.subject.clone()
            };
            let class = detector.class;
            match merged.get_mut(&(detector.slug, subject.clone())) {
                Some(known) => join(&mut known.finding, finding),
                None => {
                    merged.insert((detector.slug, subject), Classed { class, finding });
                }
            }
        }
    }
    merged.into_values().collect()
}

fn join(known: &mut Finding, other: Finding) {
    if other.certainty > known.certainty {
        known.certainty = other.certainty;
        known.statement = other.statement;
        known.why = other.why;
        if other.remedy.is_some() {
            known.remedy = other.remedy;
            known.alternatives = other.alternatives;
        }
    }
    known.since = known.since.min(other.since);
    let (citations, explains, blames) = (&mut known.citations, &mut known.explains, &mut known.blames);
    citations.extend(
        other
            .citations
            .into_iter()
            .filter(|new| !citations.contains(new))
            .collect::<Vec<_>>(),
    );
    explains.extend(other.explains.into_iter().filter(|new| !explains.contains(new)).collect::<Vec<_>>());
    blames.extend(other.blames.into_iter().filter(|new| !blames.contains(new)).collect::<Vec<_>>());
}

/// Without those that yield: a generic finding to a specific one about the same object, a limit to anything that held it up.
fn yielded(mut found: Vec<Classed>) -> Vec<Classed> {
    let shares = |a: &Finding, b: &Finding| a.explains.iter().any(|object| b.explains.iter().any(|other| object.same(other)));
    let stays: Vec<bool> = found
        .iter()
        .map(|one| {
            one.class == Class::Static
                || !found
                    .iter()
                    .any(|other| other.class != Class::Static && other.class < one.class && shares(&one.finding, &other.finding))
        })
        .collect();
    let mut stays = stays.into_iter();
    found.retain(|_| stays.next().unwrap_or(true));
    found
}

/// Findings with their place below the symptoms.
struct Placed<'a> {
    symptoms: &'a Symptoms,
    found: Vec<Classed>,
    /// For each finding the symptom that it explains directly.
    symptom: Vec<Option<usize>>,
    /// For each finding those that are deeper: what it blames, they explain.
    deeper: Vec<Vec<usize>>,
}

impl<'a> Placed<'a> {
    fn of(evidence: &Evidence, symptoms: &'a Symptoms, found: Vec<Classed>) -> Self {
        let symptom = found.iter().map(|one| deepest(evidence, symptoms, &one.finding)).collect();
        let deeper: Vec<Vec<usize>> = found
            .iter()
            .enumerate()
            .map(|(index, upper)| {
                let below = |(other, lower): &(usize, &Classed)| {
                    *other != index
                        && blames(&upper.finding, &lower.finding)
                        && in_time(evidence, &lower.finding, last_seen(&upper.finding))
                };
                found.iter().enumerate().filter(below).map(|(other, _)| other).collect()
            })
            .collect();
        Self {
            symptoms,
            found,
            symptom,
            deeper,
        }
    }

    /// The chain down to a finding: through whatever blames it, if that leads to a symptom that somebody waits for, else directly.
    fn chain(&self, index: usize, visited: &mut Vec<usize>) -> Option<(usize, Vec<Link>)> {
        visited.push(index);
        let direct = self.symptom[index].map(|symptom| (self.symptoms.top(symptom), self.direct(index, symptom)));
        let mut best = direct;
        for upper in (0..self.found.len()).filter(|upper| self.deeper[*upper].contains(&index)) {
            if visited.contains(&upper) {
                continue;
            }
            if let Some((top, mut links)) = self.chain(upper, visited) {
                links.push(self.link(upper));
                // Symptoms of the release come first: a chain from there says more than one that begins at a pod.
                if best.as_ref().is_none_or(|(known, _)| top < *known) {
                    best = Some((top, links));
                }
            }
        }
        visited.pop();
        best
    }

    /// From the top down to the symptom that a finding explains. What blames the finding and is about a symptom on the way stands there.
    fn direct(&self, index: usize, symptom: usize) -> Vec<Link> {
        let mut links = Vec::new();
        for at in self.symptoms.path(symptom) {
            links.push(self.symptoms.all[at].link());
            let about =
                |upper: &usize| self.symptom[*upper] == Some(at) && self.deeper[*upper].contains(&index) && !self.reaches(index, *upper);
            links.extend((0..self.found.len()).filter(about).map(|upper| self.link(upper)));
        }
        links
    }

    fn link(&self, index: usize) -> Link {
        let finding = &self.found[index].finding;
        Link {
            subject: finding.subject.clone(),
            statement: finding.statement.clone(),
            since: finding.since,
            slug: Some(finding.slug.to_owned()),
        }
    }

    fn diagnosis(self, evidence: &Evidence) -> Diagnosis {
        let mut diagnosis = Diagnosis::default();
        let mut explained: Vec<usize> = Vec::new();
        for (index, one) in self.found.iter().enumerate() {
            let chain = self.chain(index, &mut Vec::new());
            let root = self.root(
                index,
                &one.finding,
                chain.as_ref().map(|(_, links)| links.clone()).unwrap_or_default(),
            );
            let Some((top, links)) = chain else {
                if one.class == Class::Static {
                    diagnosis.advice.push(root);
                }
                continue;
            };
            let certain = one.finding.certainty == Certainty::Certain;
            if certain {
                explained.push(top);
                explained.extend(self.symptom[index].map(|symptom| self.symptoms.top(symptom)));
            }
            if self.is_link(index) {
                continue;
            }
            debug_assert!(!links.is_empty());
            if certain {
                diagnosis.causes.push(root);
            } else {
                diagnosis.suspected.push(root);
            }
        }
        diagnosis.unexplained = self.unexplained(evidence, &explained);
        for roots in [&mut diagnosis.causes, &mut diagnosis.suspected, &mut diagnosis.advice] {
            roots.sort_by(|a, b| (&a.slug, &a.subject).cmp(&(&b.slug, &b.subject)));
        }
        diagnosis
    }

    /// Whether a deeper finding is the cause of this one. Where each is the other's, neither is.
    fn is_link(&self, index: usize) -> bool {
        self.deeper[index].iter().any(|deeper| !self.reaches(*deeper, index))
    }

    fn reaches(&self, from: usize, to: usize) -> bool {
        let mut open = vec![from];
        let mut seen = Vec::new();
        while let Some(at) = open.pop() {
            if at == to {
                return true;
            }
            if !seen.contains(&at) {
                seen.push(at);
                open.extend(&self.deeper[at]);
            }
        }
        false
    }

    fn root(&self, index: usize, finding: &Finding, chain: Vec<Link>) -> RootCause {
        debug_assert!(index < self.found.len());
        RootCause {
            slug: finding.slug.to_owned(),
            subject: finding.subject.clone(),
            statement: finding.statement.clone(),
            certainty: finding.certainty,
            why: finding.why.clone(),
            since: finding.since,
            citations: finding.citations.clone(),
            chain,
            remedy: finding.remedy.clone(),
            alternatives: finding.alternatives.clone(),
        }
    }

    /// Symptoms at the top that have settled and that nothing certain explains, each with what is below it.
    fn unexplained(&self, evidence: &Evidence, explained: &[usize]) -> Vec<Link> {
        let all = &self.symptoms.all;
        let open = |index: usize| !explained.contains(&self.symptoms.top(index));
        // While nobody has given up, and nothing is watched that could, whatever is still on its way is not unknown yet.
        let settled = |index: usize| all[self.symptoms.top(index)].settled && (engine_gave_up(evidence) || all[index].settled);
        (0..all.len())
            .filter(|index| open(*index) && settled(*index))
            .map(|index| all[index].link())
            .collect()
    }
}

/// The deepest symptom that a finding explains and that it can have caused in time; the first of several.
fn deepest(evidence: &Evidence, symptoms: &Symptoms, finding: &Finding) -> Option<usize> {
    let mut best: Option<(usize, usize, usize)> = None;
    for (index, symptom) in symptoms.all.iter().enumerate() {
        if !in_time(evidence, finding, symptom.by) || !finding.explains.iter().any(|object| symptom.concerns(object)) {
            continue;
        }
        let (top, depth) = (symptoms.top(index), symptoms.depth(index));
        let better = best.is_none_or(|(known_top, known_depth, _)| top < known_top || top == known_top && depth > known_depth);
        if better {
            best = Some((top, depth, index));
        }
    }
    best.map(|(_, _, index)| index)
}

/// Whether what was found began by a moment. Of what whoever came later found it is not known since when it is so.
fn in_time(evidence: &Evidence, finding: &Finding, moment: Timestamp) -> bool {
    finding.since <= moment + RECEIPT || evidence.was_found(finding.since)
}

/// When a finding was seen last: a cause that began later than that is none of it.
fn last_seen(finding: &Finding) -> Timestamp {
    let seen = finding.citations.iter().filter_map(|citation| citation.at).max();
    seen.map_or(finding.since, |seen| seen.max(finding.since))
}

/// Whether a finding blames what another explains, or what another is about.
fn blames(upper: &Finding, lower: &Finding) -> bool {
    upper
        .blames
        .iter()
        .any(|object| lower.subject.same(object) || lower.explains.iter().any(|explained| explained.same(object)))
}
