//! # What it detects
//!
//! A release that is not even rendered, because a post-renderer of its HelmRelease fails.
//!
//! # Why it happens
//!
//! A patch is a text within a text, and nothing reads it before the controller applies it: its indentation is wrong, so that it is neither
//! an object nor a list of operations; or it has no target and names an object that the chart does not render. Or the chart renders one
//! object twice, which Helm alone accepts and kustomize does not. Such an attempt leaves no release behind, so it counts for no retry: the
//! controller tries again for ever, with longer and longer breaks, and never says that it has stalled.
//!
//! # Evidence
//!
//! The words of the engine, `error while running post render on files: …`, by their ends; the patch in `spec.postRenderers`, where one
//! can be told, and for one that cannot be read, the line at which it ends to make sense.
//!
//! # Remedy
//!
//! `valid-patch`, with where it stands. `render-once` for an object that is there twice.

use std::sync::LazyLock;

use regex::Regex;

use crate::diagnosis::attempt::{Attempt, State, attempt};
use crate::diagnosis::cite;
use crate::diagnosis::logs::quoted;
use crate::diagnosis::post_renderers::{Form, Patch, patches};
use crate::diagnosis::{Certainty, Citation, Class, Detector, Finding};
use crate::evidence::Evidence;
use crate::remedy::Remedy;

pub const DETECTOR: Detector = Detector {
    slug: "post-renderer-malformed",
    summary: "a post-renderer fails, so that nothing is rendered at all",
    class: Class::Specific,
    remedies: &["render-once", "valid-patch"],
    detect,
};

/// How Helm begins to tell of a post-renderer that failed; what follows is the post-renderer's own.
const FAILED: &str = "error while running post render on files: ";

fn detect(evidence: &Evidence) -> Vec<Finding> {
    let Some(attempt) = attempt(evidence).filter(|attempt| attempt.state == State::Failed) else {
        return Vec::new();
    };
    let words = attempt.words();
    let Some(said) = words.find(FAILED).map(|at| &words[at..]) else {
        return Vec::new();
    };
    // The message may hold the whole patch; the next one begins with what failed.
    let said = said[FAILED.len()..].split("\nHelm ").next().unwrap_or_default();
    vec![finding(&attempt, said)]
}

/// What is wrong.
#[derive(Debug, PartialEq, Eq)]
enum Fault {
    Unreadable,
    NoMatch { object: String },
    Twice { object: String },
    Other,
}

static NO_MATCH: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r#"no matches for Id ([^\s;:]+)"#).ok());
static TWICE: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"may not add resource with an already registered id: (\S+)").ok());

fn fault(said: &str) -> Fault {
    let found = |pattern: &LazyLock<Option<Regex>>| Some(readable(pattern.as_ref()?.captures(said)?.get(1)?.as_str()));
    if said.contains("unable to parse SM or JSON patch") {
        Fault::Unreadable
    } else if let Some(object) = found(&TWICE) {
        Fault::Twice { object }
    } else if let Some(object) = found(&NO_MATCH) {
        Fault::NoMatch { object }
    } else {
        Fault::Other
    }
}

/// `Job brew` of kustomize's `Job.v1.batch/brew.[noNs]`.
fn readable(id: &str) -> String {
    let (kind, name) = id.split_once('/').unwrap_or(("", id));
    let kind = kind.split('.').next().unwrap_or_default();
    let name = name.rsplit_once('.').map_or(name, |(name, _)| name);
    format!("{kind} {name}").trim().to_owned()
}

fn finding(attempt: &Attempt<'_>, said: &str) -> Finding {
    let subject = attempt.subject();
    let fault = fault(said);
    let all = attempt.helm_release.map(|life| patches(life.object())).unwrap_or_default();
    let patch = guilty(&all, &fault, said);
    let place = patch.map_or("spec.postRenderers", |patch| patch.path.as_str());
    let statement = match &fault {
        Fault::Unreadable => format!("the patch {place} is neither a part of an object nor a list of operations"),
        Fault::NoMatch { object } => format!("the patch {place} is for {object}, which the chart does not render"),
        Fault::Twice { object } => format!("the chart renders {object} twice, which a post-renderer does not accept"),
        Fault::Other => "a post-renderer fails".to_owned(),
    };
    let remedy = match &fault {
        Fault::Unreadable => Remedy::new(
            "valid-patch",
            format!("write {place} as YAML that is one object or a list of operations"),
        ),
        Fault::NoMatch { object } => Remedy::new(
            "valid-patch",
            format!("let {place} name an object that the chart renders, instead of {object}"),
        ),
        Fault::Twice { object } => Remedy::new("render-once", format!("let the chart render {object} once")).with("object", object),
        Fault::Other => Remedy::new("valid-patch", format!("put {place} right")),
    };
    Finding {
        slug: DETECTOR.slug,
        statement,
        certainty: Certainty::Certain,
        why: "nothing is applied before it has been rendered, and each attempt renders the same".to_owned(),
        since: attempt.started_at,
        citations: citations(attempt, said, patch),
        explains: vec![subject.clone()],
        blames: Vec::new(),
        subject,
        remedy: Some(remedy.with("path", place)),
        alternatives: Vec::new(),
    }
}

/// The patch that is meant: the one that cannot be read, or the only one that names the object.
fn guilty<'a>(all: &'a [Patch], fault: &Fault, said: &str) -> Option<&'a Patch> {
    match fault {
        Fault::Unreadable => {
            let mut unreadable = all.iter().filter(|patch| matches!(patch.form, Form::Unreadable { .. }));
            unreadable.next()
        }
        Fault::NoMatch { object } => all.iter().find(|patch| patch.target.is_none() && patch.aim() == *object),
        Fault::Twice { .. } => None,
        Fault::Other => match all {
            [one] if said.contains("patch") || said.contains("operation") => Some(one),
            _ => None,
        },
    }
}

fn citations(attempt: &Attempt<'_>, said: &str, patch: Option<&Patch>) -> Vec<Citation> {
    let subject = attempt.subject();
    let mut citations = vec![cite::observed(&subject, quoted(&format!("{FAILED}{said}")), attempt.ended_at)];
    citations.extend(patch.map(|patch| {
        let text = match &patch.form {
            Form::Unreadable { fault } => format!("{}: {fault}", patch.path),
            _ => format!("{}: for {}", patch.path, patch.aim()),
        };
        cite::declared(&subject, text)
    }));
    let failures = attempt.helm_release.and_then(|life| life.number("/status/failures"));
    if let Some(failures) = failures.filter(|_| attempt.record.is_none()) {
        let text = format!("status.failures: {failures}, and no release was recorded");
        citations.push(cite::observed(&subject, text, None));
    }
    citations
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::diagnosis::fixture::*;

    const SLUG: &str = "post-renderer-malformed";

    fn release(patch: &str) -> Value {
        json!({
            "kind": "HelmRelease", "metadata": {"name": RELEASE}, "status": {"failures": 3},
            "spec": {"postRenderers": [{"kustomize": {"patches": [{"target": {"kind": "Job"}, "patch": "kind: Job\nmetadata: {name: a}"}, {"patch": patch}]}}]},
        })
    }

    fn scene(patch: &str, words: &str) -> Scene {
        let mut scene = Scene::new();
        scene.object(release(patch)).engine(10_000, "poller").at(900);
        scene.engine_says(&format!(
            "Released=False InstallFailed: Helm install failed for release a/store with chart store@0.1.0: {words}"
        ));
        scene.at(4000).engine_ends(1);
        scene
    }

    fn cited(scene: &Scene) -> Vec<String> {
        scene.diagnosis().causes[0]
            .citations
            .iter()
            .map(|citation| citation.text.clone())
            .collect()
    }

    #[test]
    fn a_patch_that_is_no_yaml() {
        let broken = "kind: Job\nmetadata:\n  name: brew\n spec: {}\n";
        let words = "error while running post render on files: trouble configuring builtin PatchTransformer with config: `\npatch: |-\n  kind: Job\n`: unable to parse SM or JSON patch from [patch: \"kind: Job\"]";
        let scene = scene(broken, words);
        scene.settles_on(&[(SLUG, "HelmRelease/store")]);
        let cause = &scene.diagnosis().causes[0];
        assert_eq!(
            cause.statement,
            "the patch spec.postRenderers[0].kustomize.patches[1] is neither a part of an object nor a list of operations"
        );
        let cited = cited(&scene);
        assert!(cited[0].starts_with("\"error while running post render on files: ") && cited[0].ends_with("[patch: \"kind: Job\"]\""));
        assert!(
            cited[1].starts_with("spec.postRenderers[0].kustomize.patches[1]: line 4"),
            "{}",
            cited[1]
        );
        assert_eq!(cited[2], "status.failures: 3, and no release was recorded");
    }

    #[test]
    fn a_patch_for_nothing() {
        let patch = "apiVersion: batch/v1\nkind: Job\nmetadata: {name: brew}\n";
        let words = "error while running post render on files: no resource matches strategic merge patch \"Job.v1.batch/brew.[noNs]\": no matches for Id Job.v1.batch/brew.[noNs]; failed to find unique target for patch Job.v1.batch/brew.[noNs]";
        let scene = scene(patch, words);
        scene.settles_on(&[(SLUG, "HelmRelease/store")]);
        let cause = &scene.diagnosis().causes[0];
        assert_eq!(
            cause.statement,
            "the patch spec.postRenderers[0].kustomize.patches[1] is for Job brew, which the chart does not render"
        );
        assert_eq!(cause.remedy.as_ref().map(|remedy| remedy.kind.as_str()), Some("valid-patch"));
    }

    #[test]
    fn an_object_that_is_rendered_twice() {
        let words = "error while running post render on files: accumulating resources: accumulation err='merging resources from 'helm-output.yaml': may not add resource with an already registered id: ConfigMap.v1.[noGrp]/a.b.[noNs]': must build at directory: not a valid directory";
        let scene = scene("kind: Job\nmetadata: {name: brew}\n", words);
        scene.settles_on(&[(SLUG, "HelmRelease/store")]);
        let cause = &scene.diagnosis().causes[0];
        assert_eq!(
            cause.statement,
            "the chart renders ConfigMap a.b twice, which a post-renderer does not accept"
        );
        assert_eq!(cause.remedy.as_ref().map(|remedy| remedy.kind.as_str()), Some("render-once"));
    }

    #[test]
    fn what_the_api_server_says_of_a_patched_object_is_something_else() {
        let scene = scene(
            "kind: Job\nmetadata: {name: brew}\n",
            "Job.batch \"brew\" is invalid: spec.template: Required value",
        );
        scene.never_certain();
    }
}
