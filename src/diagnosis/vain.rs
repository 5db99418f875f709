//! Patches of post-renderers that were to give a Job another address than the one that it does not reach, and did not.

use serde_json::Value;

use super::attempt::{Attempt, attempt};
use super::hooks::Task;
use super::place::{Place, place};
use super::post_renderers::{ORIGIN, Patch, Wish, patches};
use super::tries::{Tries, looked_up};
use crate::evidence::address::Address;
use crate::evidence::manifest::{list, pod_spec, spec_containers, text};
use crate::evidence::{Answer, Evidence, Life, ObjectRef};

/// A patch that would have helped.
#[derive(Debug)]
pub struct Vain {
    /// The HelmRelease that holds it.
    pub release: ObjectRef,
    pub patch: Patch,
    pub wish: Wish,
    pub reason: Reason,
}

/// Why it has no effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Its target is a hook, and this engine does not post-render hooks.
    NotPostRendered,
    /// Its target is no object of the release.
    NoMatch,
    /// The container has the variable twice, and the last one wins.
    Hidden { times: usize },
}

/// The patch that would have given a Job the address that it can reach, if there is one that has no effect.
pub fn vain(evidence: &Evidence, task: &Task<'_>, tries: &Tries<'_>) -> Option<Vain> {
    let env = tries.declared.as_ref()?.env.as_deref()?;
    let attempt = attempt(evidence)?;
    // What was written after the attempt had no part in it.
    let release = attempt.helm_release?.until_or_found(attempt.ended_at.unwrap_or(evidence.now))?;
    let applied = task.latest.object();
    let rendered = rendered(&attempt, task).unwrap_or(applied);
    patches(release.object()).into_iter().find_map(|patch| {
        let concerns = |wish: &Wish| wish.env == env && wish.container == tries.container && helps(evidence, task, tries, &wish.value);
        let wish = patch.wishes(applied).into_iter().find(concerns)?;
        let reason = reason(&attempt, &patch, &wish, task.latest, rendered)?;
        Some(Vain {
            release: attempt.subject(),
            patch,
            wish,
            reason,
        })
    })
}

fn reason(attempt: &Attempt<'_>, patch: &Patch, wish: &Wish, applied: &Life, rendered: &Value) -> Option<Reason> {
    if patch.selects(rendered)? {
        let hook = applied.annotation("helm.sh/hook").is_some();
        if hook && !post_rendered(rendered) {
            return Some(Reason::NotPostRendered);
        }
        let times = entries(applied.object(), wish).len();
        let overwritten = entries(applied.object(), wish).last() != Some(&wish.value.as_str());
        return (times > 1 && overwritten).then_some(Reason::Hidden { times });
    }
    let record = attempt.record?;
    let hooks = record.hooks.iter().map(|hook| &hook.manifest);
    let mut all = record.manifest.iter().chain(hooks);
    all.all(|object| patch.selects(object) == Some(false)).then_some(Reason::NoMatch)
}

/// Whether an object went through the post-renderers of Flux.
pub fn post_rendered(object: &Value) -> bool {
    object
        .pointer("/metadata/labels")
        .is_some_and(|labels| labels.get(ORIGIN).is_some())
}

/// The object of a task as the release record has it: what the chart rendered, and the post-renderers where they were asked.
fn rendered<'a>(attempt: &Attempt<'a>, task: &Task<'_>) -> Option<&'a Value> {
    let record = attempt.record?;
    let (kind, name) = (task.reference.kind.as_str(), task.reference.name.as_str());
    let hook = record.hooks.iter().find(|hook| hook.kind == kind && hook.name == name);
    let of_manifest = || {
        let mut all = record.manifest.iter();
        all.find(|object| text(object, "/kind") == kind && text(object, "/metadata/name") == name)
    };
    hook.map(|hook| &hook.manifest)
        .filter(|manifest| !manifest.is_null())
        .or_else(of_manifest)
}

/// The values that a container's variable was given, in their order.
fn entries<'a>(object: &'a Value, wish: &Wish) -> Vec<&'a str> {
    let container = pod_spec(object).and_then(|spec| spec_containers(spec).find(|of| text(of, "/name") == wish.container));
    let variables = container.map_or(&[][..], |container| list(container, "env"));
    let named = variables.iter().filter(|entry| text(entry, "/name") == wish.env);
    named.map(|entry| text(entry, "/value")).collect()
}

/// Whether an address is another than the one that is not reached, and not known to lead nowhere as well.
fn helps(evidence: &Evidence, task: &Task<'_>, tries: &Tries<'_>, value: &str) -> bool {
    let Some(address) = Address::parse(value, true).filter(|address| address.host != tries.host) else {
        return false;
    };
    match place(evidence, &address.host, task.latest.text("/metadata/namespace")) {
        Place::Itself => false,
        Place::Service { namespace, name } => {
            // An engine that goes back takes the Service away before the Job's story is over.
            let since = attempt(evidence).map(|attempt| attempt.started_at);
            let there = |life: &Life| life.deleted_at.is_none_or(|gone| since.is_some_and(|since| gone >= since));
            evidence.ever_named("Service", &namespace, &name).iter().any(there)
        }
        Place::Outside => looked_up(evidence, &address.host).is_none_or(|look| matches!(look.answer, Answer::Addresses { .. })),
    }
}
