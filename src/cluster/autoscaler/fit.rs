//! Whether a pod would run on a node that does not exist yet: what the real cluster-autoscaler asks the scheduler's own filters.
//!
//! Two of them decide here, in the scheduler's order: taints, then selector and required affinity. A pool node is as large as the
//! machine, so what a pod requests is not weighed against it.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{NodeSelectorRequirement, NodeSelectorTerm, Pod, PodSpec, Taint, Toleration};

/// A node as it will be.
#[derive(Debug, Clone, PartialEq)]
pub struct Template {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub taint: Taint,
}

impl Template {
    /// The next node of a pool: what kubelet and kind put on every node, the label of the run, label and taint of the lease.
    pub fn of(name: &str, run: (&str, &str), lease: (&str, &str)) -> Self {
        // As Go names them, and with it the kubelet.
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        let labels = [
            ("kubernetes.io/hostname", name),
            ("kubernetes.io/os", "linux"),
            ("kubernetes.io/arch", architecture),
            ("beta.kubernetes.io/os", "linux"),
            ("beta.kubernetes.io/arch", architecture),
            run,
            lease,
        ];
        let own = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
        Self {
            name: name.to_owned(),
            labels: labels.into_iter().map(own).collect(),
            taint: Taint {
                key: lease.0.to_owned(),
                value: Some(lease.1.to_owned()),
                effect: "NoSchedule".to_owned(),
                time_added: None,
            },
        }
    }
}

/// Whether the scheduler has looked at a pod and found no node for it.
pub fn is_unschedulable(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    pod.metadata.deletion_timestamp.is_none()
        && pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_none())
        && conditions.into_iter().flatten().any(|condition| {
            condition.type_ == "PodScheduled" && condition.status == "False" && condition.reason.as_deref() == Some("Unschedulable")
        })
}

/// Why a pod would not run on the node, in the words of the scheduler's filter that says so first (Kubernetes 1.34); nothing where it
/// would.
pub fn misfit(pod: &PodSpec, template: &Template) -> Option<&'static str> {
    let tolerations = pod.tolerations.as_deref().unwrap_or_default();
    if !tolerations.iter().any(|toleration| tolerates(toleration, &template.taint)) {
        return Some("node(s) had untolerated taint(s)");
    }
    let selected = pod
        .node_selector
        .iter()
        .flatten()
        .all(|(key, value)| template.labels.get(key) == Some(value));
    let affinity = pod.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    let required = affinity.and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref());
    let attracted = required.is_none_or(|required| required.node_selector_terms.iter().any(|term| matches_term(term, template)));
    (!selected || !attracted).then_some("node(s) didn't match Pod's node affinity/selector")
}

fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let exists = toleration.operator.as_deref() == Some("Exists");
    let effect = given(&toleration.effect).is_none_or(|effect| effect == taint.effect);
    let key = match given(&toleration.key) {
        Some(key) => key == taint.key,
        None => exists,
    };
    effect && key && (exists || toleration.value.clone().unwrap_or_default() == taint.value.clone().unwrap_or_default())
}

/// A term with nothing in it matches nothing.
fn matches_term(term: &NodeSelectorTerm, template: &Template) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    let name = BTreeMap::from([("metadata.name".to_owned(), template.name.clone())]);
    (!expressions.is_empty() || !fields.is_empty())
        && expressions.iter().all(|wanted| matches(wanted, &template.labels))
        && fields.iter().all(|wanted| matches(wanted, &name))
}

fn matches(wanted: &NodeSelectorRequirement, labels: &BTreeMap<String, String>) -> bool {
    let found = labels.get(&wanted.key);
    let values = wanted.values.as_deref().unwrap_or_default();
    let numbers = || {
        let found: i64 = found?.parse().ok()?;
        let limit: i64 = values.first()?.parse().ok()?;
        Some((found, limit))
    };
    match wanted.operator.as_str() {
        "In" => found.is_some_and(|found| values.contains(found)),
        "NotIn" => found.is_none_or(|found| !values.contains(found)),
        "Exists" => found.is_some(),
        "DoesNotExist" => found.is_none(),
        "Gt" => numbers().is_some_and(|(found, limit)| found > limit),
        "Lt" => numbers().is_some_and(|(found, limit)| found < limit),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const TAINT: Option<&str> = Some("node(s) had untolerated taint(s)");
    const AFFINITY: Option<&str> = Some("node(s) didn't match Pod's node affinity/selector");

    fn judged(spec: Value) -> Option<&'static str> {
        let template = Template::of("x-worker", ("rekindle.dev/run-id", "aa11"), ("rekindle.dev/pool", "mine"));
        misfit(&serde_json::from_value(spec).unwrap(), &template)
    }

    fn affine(term: Value) -> Option<&'static str> {
        judged(json!({
            "containers": [],
            "tolerations": [{ "operator": "Exists" }],
            "affinity": { "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": [term] } } },
        }))
    }

    #[test]
    fn a_pod_that_selects_and_tolerates_fits() {
        let toleration = json!({ "key": "rekindle.dev/pool", "value": "mine", "effect": "NoSchedule" });
        assert_eq!(
            judged(json!({ "containers": [], "nodeSelector": { "rekindle.dev/pool": "mine" }, "tolerations": [toleration] })),
            None
        );
        // Not every pod says where it wants to be.
        assert_eq!(judged(json!({ "containers": [], "tolerations": [toleration] })), None);
    }

    #[test]
    fn the_taint_is_looked_at_first() {
        for tolerations in [
            json!([]),
            json!([{ "key": "rekindle.dev/pool", "value": "other" }]),
            json!([{ "key": "rekindle.dev/pool", "operator": "Exists", "effect": "NoExecute" }]),
            json!([{ "key": "another", "operator": "Exists" }]),
        ] {
            let pod = json!({ "containers": [], "nodeSelector": { "nowhere": "x" }, "tolerations": tolerations });
            assert_eq!(judged(pod), TAINT, "{tolerations}");
        }
        for tolerations in [
            json!([{ "operator": "Exists" }]),
            json!([{ "key": "rekindle.dev/pool", "operator": "Exists" }]),
        ] {
            let pod = |selector: &str| json!({ "containers": [], "nodeSelector": { selector: "mine" }, "tolerations": tolerations });
            assert_eq!(judged(pod("rekindle.dev/pool")), None);
            assert_eq!(judged(pod("nowhere")), AFFINITY);
        }
    }

    #[test]
    fn every_operator_of_a_required_affinity_is_understood() {
        let by = |key: &str, operator: &str, values: &[&str]| {
            affine(json!({ "matchExpressions": [{ "key": key, "operator": operator, "values": values }] }))
        };
        for (key, operator, values) in [
            ("rekindle.dev/pool", "In", &["other", "mine"][..]),
            ("rekindle.dev/pool", "NotIn", &["other"]),
            ("nowhere", "NotIn", &["x"]),
            ("kubernetes.io/os", "Exists", &[]),
            ("nowhere", "DoesNotExist", &[]),
        ] {
            assert_eq!(by(key, operator, values), None, "{key} {operator}");
        }
        for (key, operator, values) in [
            ("rekindle.dev/pool", "In", &["other"][..]),
            ("nowhere", "Exists", &[]),
            ("kubernetes.io/os", "DoesNotExist", &[]),
            ("kubernetes.io/os", "Gt", &["3"]),
            ("kubernetes.io/os", "Resembles", &["linux"]),
        ] {
            assert_eq!(by(key, operator, values), AFFINITY, "{key} {operator}");
        }
        let labels = BTreeMap::from([("size".to_owned(), "4".to_owned())]);
        let sized = |operator: &str, limit: &str| {
            let wanted = json!({ "key": "size", "operator": operator, "values": [limit] });
            matches(&serde_json::from_value(wanted).unwrap(), &labels)
        };
        assert!(sized("Gt", "3") && sized("Lt", "5") && !sized("Gt", "4") && !sized("Lt", "x"));
        let named = |name: &str| affine(json!({ "matchFields": [{ "key": "metadata.name", "operator": "In", "values": [name] }] }));
        assert_eq!(named("x-worker"), None);
        assert_eq!(named("y-worker"), AFFINITY);
        assert_eq!(affine(json!({})), AFFINITY);
    }

    #[test]
    fn only_what_the_scheduler_gave_up_on_is_unschedulable() {
        let pod = |node: Option<&str>, status: &str, reason: &str| -> Pod {
            serde_json::from_value(json!({
                "spec": { "containers": [], "nodeName": node },
                "status": { "conditions": [{ "type": "PodScheduled", "status": status, "reason": reason }] },
            }))
            .unwrap()
        };
        assert!(is_unschedulable(&pod(None, "False", "Unschedulable")));
        assert!(!is_unschedulable(&pod(None, "False", "SchedulingGated")));
        assert!(!is_unschedulable(&pod(Some("x"), "True", "")));
        let mut leaving = pod(None, "False", "Unschedulable");
        leaving.metadata.deletion_timestamp = Some(serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap());
        assert!(!is_unschedulable(&leaving));
        assert!(!is_unschedulable(&Pod::default()));
    }
}
