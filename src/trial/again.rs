//! How the engine is run again to apply a remedy: over the release that is there, or anew.

use std::collections::BTreeSet;

use crate::engine::Operation;
use crate::evidence::Evidence;
use crate::remedy::{Deed, Plan};

/// What becomes of what the failure left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Again {
    /// Whether the release is uninstalled first.
    pub uninstall: bool,
    pub operation: Operation,
}

/// How to run the engine again after `failed`, with this plan.
pub fn again(evidence: &Evidence, failed: Operation, plan: &Plan, from_scratch: bool) -> Again {
    if from_scratch || plan.uninstall {
        return Again {
            uninstall: true,
            operation: Operation::Install,
        };
    }
    if leaves_nothing(evidence, plan) {
        return Again {
            uninstall: false,
            operation: Operation::Install,
        };
    }
    let over = failed == Operation::Upgrade || upgrade_runs_hooks_again(evidence);
    Again {
        uninstall: !over,
        operation: if over { Operation::Upgrade } else { Operation::Install },
    }
}

/// Whether there is no release that could be upgraded or uninstalled: Helm was refused before it wrote a record, or the plan takes away
/// the records that there are. Flux is asked for the same in the same way, whatever there is.
fn leaves_nothing(evidence: &Evidence, plan: &Plan) -> bool {
    let Some(engine) = evidence.engine().filter(|engine| engine.start.engine.starts_with("helm-")) else {
        return false;
    };
    let goes: BTreeSet<&str> = plan
        .deeds
        .iter()
        .filter_map(|deed| match deed {
            Deed::Delete(object) if object.kind == "Secret" => Some(object.name.as_str()),
            _ => None,
        })
        .collect();
    let (namespace, release) = (&engine.start.namespace, &engine.start.release);
    let mut kept = evidence.revisions(release).filter(|record| {
        let secret = record.storage();
        evidence.get("Secret", namespace, &secret).is_some() && !goes.contains(secret.as_str())
    });
    kept.next().is_none()
}

/// Whether an upgrade runs the hooks again that the failed install ran: else it would report success for work that was never done, and
/// the release has to be installed anew.
fn upgrade_runs_hooks_again(evidence: &Evidence) -> bool {
    let Some(engine) = evidence.engine() else { return true };
    let hooks = evidence
        .release(&engine.start.release)
        .map(|record| record.hooks.as_slice())
        .unwrap_or_default();
    let ran = hooks.iter().filter(|hook| hook.started_at.is_some());
    ran.into_iter().all(|hook| {
        hook.events
            .iter()
            .any(|event| matches!(event.as_str(), "pre-upgrade" | "post-upgrade"))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::diagnosis::fixture::*;
    use crate::scenario::ObjectName;

    const SECRET: &str = "sh.helm.release.v1.store.v1";

    fn scene(with_record: bool) -> Scene {
        let mut scene = Scene::new();
        scene.engine(10_000, "watcher").at(100);
        if with_record {
            scene.record("failed", vec![], vec![]);
            scene.object(json!({"kind": "Secret", "type": "helm.sh/release.v1", "metadata": {"name": SECRET}}));
        }
        scene.engine_ends(1);
        scene
    }

    fn anew(uninstall: bool) -> Again {
        Again {
            uninstall,
            operation: Operation::Install,
        }
    }

    #[test]
    fn what_left_no_record_is_installed_and_not_upgraded() {
        let plan = Plan::default();
        let of = |scene: &Scene, plan: &Plan| again(&scene.evidence(), Operation::Install, plan, false);
        assert_eq!(of(&scene(false), &plan), anew(false));
        assert_eq!(of(&scene(true), &plan).operation, Operation::Upgrade);
        let secret = ObjectName {
            api_version: "v1".to_owned(),
            kind: "Secret".to_owned(),
            name: SECRET.to_owned(),
        };
        let deletes = Plan {
            deeds: vec![Deed::Delete(secret.clone())],
            ..Plan::default()
        };
        assert_eq!(of(&scene(true), &deletes), anew(false));
        let another = Plan {
            deeds: vec![Deed::Delete(ObjectName {
                name: "sh.helm.release.v1.store.v2".to_owned(),
                ..secret
            })],
            ..Plan::default()
        };
        assert_eq!(of(&scene(true), &another).operation, Operation::Upgrade);
    }

    #[test]
    fn a_plan_may_uninstall_it() {
        let plan = Plan {
            uninstall: true,
            ..Plan::default()
        };
        assert_eq!(again(&scene(true).evidence(), Operation::Upgrade, &plan, false), anew(true));
    }
}
