//! # What it detects
//!
//! A patch in a HelmRelease's post-renderers that would have given a Job the address that it can reach, and that never got to it.
//!
//! # Why it happens
//!
//! In one of three ways, and none of them is an error to anybody. Hooks are not post-rendered: Helm 3 does not do so, and with it Flux up
//! to 2.7. The patch's target is no object of the release, because of a prefix, a namespace that the chart does not write, another kind;
//! a patch with a target that matches nothing is left out silently. Or the patch inserts a variable before the one of the same name: the
//! container has both, and the last one wins.
//!
//! # Evidence
//!
//! The patch in the HelmRelease's `spec.postRenderers`, and the Job as it was applied, which still has the old value; for a hook, that
//! it lacks the label that Flux gives everything which it post-renders; for a target, that nothing in the release record is selected by
//! it. That `status.observedPostRenderersDigest` is set proves nothing: it is a hash of the specification.
//!
//! # Remedy
//!
//! `use-chart-value`: where the chart has one, it works for hooks as well. `right-target` for a target that matches nothing, and
//! `strategic-merge` for an insertion. `post-render-hooks` where the HelmRelease says that hooks are to be left out.

use crate::diagnosis::cite;
use crate::diagnosis::hooks::{Task, tasks};
use crate::diagnosis::supply::judge;
use crate::diagnosis::tries::{Tries, tries};
use crate::diagnosis::vain::{Reason, Vain, post_rendered, vain};
use crate::diagnosis::{Citation, Class, Detector, Finding, attempt};
use crate::evidence::Evidence;
use crate::remedy::Remedy;

pub const DETECTOR: Detector = Detector {
    slug: "post-renderer-no-effect",
    summary: "a post-renderer's patch does not reach the object that it is for",
    class: Class::Specific,
    remedies: &["post-render-hooks", "right-target", "strategic-merge", "use-chart-value"],
    detect,
};

fn detect(evidence: &Evidence) -> Vec<Finding> {
    let mut findings = Vec::new();
    for task in tasks(evidence) {
        for tries in tries(evidence, &task) {
            findings.extend(finding(evidence, &task, &tries));
        }
    }
    findings
}

fn finding(evidence: &Evidence, task: &Task<'_>, tries: &Tries<'_>) -> Option<Finding> {
    let verdict = judge(evidence, task, tries)?;
    let vain = vain(evidence, task, tries)?;
    let attempt = attempt::attempt(evidence)?;
    let (remedy, alternatives) = remedies(task, &vain, without_hooks(&attempt));
    Some(Finding {
        slug: DETECTOR.slug,
        subject: vain.release.clone(),
        statement: statement(&vain),
        certainty: verdict.certainty,
        why: format!("{}, and the patch would give it another address", verdict.why),
        since: attempt.started_at.min(task.created()),
        citations: citations(&attempt, task, tries, &vain),
        // Only as the cause of the Job's trouble with that address, which blames it.
        explains: Vec::new(),
        blames: Vec::new(),
        remedy: Some(remedy),
        alternatives,
    })
}

fn statement(vain: &Vain) -> String {
    let (aim, env) = (vain.patch.aim(), &vain.wish.env);
    match vain.reason {
        Reason::NotPostRendered => format!("the post-renderer's patch of {aim} has no effect, because hooks are not post-rendered here"),
        Reason::NoMatch => format!("the post-renderer's patch has no effect, because its target, {aim}, is no object of the release"),
        Reason::Hidden { .. } => {
            format!("the post-renderer's patch of {aim} has no effect, because it inserts {env} before the one that is there, which wins")
        }
    }
}

fn citations(attempt: &attempt::Attempt<'_>, task: &Task<'_>, tries: &Tries<'_>, vain: &Vain) -> Vec<Citation> {
    let Vain { release, patch, wish, .. } = vain;
    let mut citations = vec![cite::declared(
        release,
        format!(
            "{}: for {}, env {} of {}: {}",
            patch.path,
            patch.aim(),
            wish.env,
            wish.container,
            wish.value
        ),
    )];
    if let Some(declared) = &tries.declared {
        let which = match vain.reason {
            Reason::Hidden { times } => format!(" (the last of {times})"),
            _ => String::new(),
        };
        let text = format!("{}{which}: {}", declared.origin, declared.address);
        citations.push(cite::observed(&task.reference, text, Some(task.latest.first_seen())));
    }
    match vain.reason {
        Reason::NotPostRendered => citations.push(cite::observed(
            &task.reference,
            format!(
                "metadata.labels: no {}, which Flux gives everything that it post-renders",
                crate::diagnosis::post_renderers::ORIGIN
            ),
            Some(task.latest.first_seen()),
        )),
        Reason::NoMatch => {
            let revision = attempt.record.map(|record| record.revision).unwrap_or_default();
            let text = format!("revision {revision} holds no object that is {}", selector(vain));
            citations.push(cite::inferred(release, text));
        }
        Reason::Hidden { .. } => {}
    }
    if let Some((pod, line)) = &tries.line {
        citations.push(cite::printed(&pod.reference(), line));
    }
    let digest = attempt.helm_release.map(|life| life.text("/status/observedPostRenderersDigest"));
    if let Some(digest) = digest.filter(|digest| !digest.is_empty()) {
        let text = format!("status.observedPostRenderersDigest: {digest}, of the specification and not of what was applied");
        citations.push(cite::observed(release, text, None));
    }
    citations
}

/// `kind: Job, name: brew`
fn selector(vain: &Vain) -> String {
    let target = vain.patch.target.as_ref().and_then(serde_json::Value::as_object);
    let fields = target.into_iter().flatten();
    fields
        .map(|(field, value)| format!("{field}: {}", value.as_str().unwrap_or_default()))
        .collect::<Vec<_>>()
        .join(", ")
}

/// Whether the release says that its hooks are to be left out of post-rendering.
fn without_hooks(attempt: &attempt::Attempt<'_>) -> bool {
    attempt
        .helm_release
        .is_some_and(|life| life.text("/spec/postRenderStrategy") == "nohooks")
}

fn remedies(task: &Task<'_>, vain: &Vain, without_hooks: bool) -> (Remedy, Vec<Remedy>) {
    let (kind, name) = (&task.reference.kind, &task.reference.name);
    let wish = &vain.wish;
    let known = |remedy: Remedy| {
        remedy
            .with("kind", kind)
            .with("name", name)
            .with("container", &wish.container)
            .with("env", &wish.env)
            .with("url", &wish.value)
    };
    let value = known(Remedy::new(
        "use-chart-value",
        format!("give {kind} {name} the address {} by a value of the chart", wish.value),
    ));
    let target = || known(Remedy::new("right-target", format!("let the patch's target be {kind} {name}")));
    let merge = || {
        let sentence = format!("merge {} into {kind} {name} by its name instead of inserting it", wish.env);
        known(Remedy::new("strategic-merge", sentence))
    };
    let hooks = || {
        let sentence = "let hooks be post-rendered as well: take away spec.postRenderStrategy";
        known(Remedy::new("post-render-hooks", sentence))
    };
    let is_rendered = task.event.is_none() || post_rendered(task.latest.object());
    match vain.reason {
        Reason::NotPostRendered if without_hooks => (value, vec![hooks()]),
        Reason::NotPostRendered => (value, Vec::new()),
        Reason::NoMatch if is_rendered => (target(), vec![value]),
        // The right target would not help a hook.
        Reason::NoMatch => (value, Vec::new()),
        Reason::Hidden { .. } => (merge(), vec![value]),
    }
}

#[cfg(test)]
mod tests;
