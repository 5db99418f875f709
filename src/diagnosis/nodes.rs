//! Which nodes a pod's specification asks for, and which of them would take it.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::evidence::Life;
use crate::evidence::manifest::{list, text};

/// One thing that a pod asks of its node's labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    pub key: String,
    /// `In`, `NotIn`, `Exists`, `DoesNotExist`, `Gt`, `Lt`
    pub operator: String,
    pub values: Vec<String>,
    /// `spec.nodeSelector`, `spec.affinity.nodeAffinity`
    pub origin: &'static str,
}

const SELECTOR: &str = "spec.nodeSelector";
const AFFINITY: &str = "spec.affinity.nodeAffinity";

impl Requirement {
    /// The value that it asks for, as it is written; several are separated by commas.
    pub fn value(&self) -> String {
        self.values.join(",")
    }

    /// `disk=ssd`, `disk in (nvme, ssd)`, `disk`, `not disk`
    pub fn describe(&self) -> String {
        let key = &self.key;
        match (self.operator.as_str(), self.values.as_slice()) {
            ("Exists", _) => key.clone(),
            ("DoesNotExist", _) => format!("not {key}"),
            ("Gt", values) => format!("{key} > {}", values.join(", ")),
            ("Lt", values) => format!("{key} < {}", values.join(", ")),
            ("NotIn", values) => format!("{key} not in ({})", values.join(", ")),
            (_, [value]) => format!("{key}={value}"),
            (_, values) => format!("{key} in ({})", values.join(", ")),
        }
    }

    fn holds(&self, node: &Life) -> bool {
        let own = match self.key.as_str() {
            // The one field that affinities know.
            "metadata.name" => Some(node.name()),
            key => label(node, key),
        };
        let among = |own: &str| self.values.iter().any(|value| value == own);
        let number = |text: &str| text.parse::<i64>().ok();
        let compared = || number(own?).zip(number(self.values.first()?));
        match self.operator.as_str() {
            "In" => own.is_some_and(among),
            "NotIn" => !own.is_some_and(among),
            "Exists" => own.is_some(),
            "DoesNotExist" => own.is_none(),
            "Gt" => compared().is_some_and(|(own, bound)| own > bound),
            "Lt" => compared().is_some_and(|(own, bound)| own < bound),
            _ => false,
        }
    }

    /// Whether a label of another value would do.
    fn can_be_fixed(&self) -> bool {
        self.operator == "In"
    }
}

/// A label of a node.
pub fn label<'a>(node: &'a Life, key: &str) -> Option<&'a str> {
    node.at("/metadata/labels")?.get(key)?.as_str()
}

/// What a pod asks of nodes: everything in `all`, and everything in at least one of the `terms`, if there are any.
#[derive(Debug, Default)]
pub struct Wish<'a> {
    all: Vec<Requirement>,
    terms: Vec<Vec<Requirement>>,
    tolerations: &'a [Value],
}

impl<'a> Wish<'a> {
    pub fn of(spec: &'a Value) -> Self {
        let selector = spec.get("nodeSelector").and_then(Value::as_object);
        let all = selector.into_iter().flatten().map(|(key, value)| Requirement {
            key: key.clone(),
            operator: "In".to_owned(),
            values: vec![value.as_str().unwrap_or_default().to_owned()],
            origin: SELECTOR,
        });
        let affinity = spec.pointer("/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution");
        let terms = affinity.map_or(&[][..], |affinity| list(affinity, "nodeSelectorTerms"));
        let of_term = |term: &Value| {
            let both = list(term, "matchExpressions").iter().chain(list(term, "matchFields"));
            let requirement = |expression: &Value| Requirement {
                key: text(expression, "/key").to_owned(),
                operator: text(expression, "/operator").to_owned(),
                values: list(expression, "values")
                    .iter()
                    .filter_map(Value::as_str)
                    .map(str::to_owned)
                    .collect(),
                origin: AFFINITY,
            };
            both.map(requirement).collect::<Vec<_>>()
        };
        Self {
            all: all.collect(),
            // A term that asks for nothing matches nothing.
            terms: terms.iter().map(of_term).filter(|term| !term.is_empty()).collect(),
            tolerations: list(spec, "tolerations"),
        }
    }

    fn requirements(&self) -> impl Iterator<Item = &Requirement> {
        self.all.iter().chain(self.terms.iter().flatten())
    }

    /// Whether a node has the labels that are asked for, this requirement aside.
    fn selects(&self, node: &Life, without: Option<&Requirement>) -> bool {
        let holds = |requirement: &&Requirement| Some(*requirement) == without || requirement.holds(node);
        self.all.iter().all(|requirement| holds(&requirement))
            && (self.terms.is_empty() || self.terms.iter().any(|term| term.iter().all(|requirement| holds(&requirement))))
    }

    /// The nodes that have all the labels that are asked for.
    pub fn selected<'n>(&self, nodes: &[&'n Life]) -> Vec<&'n Life> {
        nodes.iter().copied().filter(|node| self.selects(node, None)).collect()
    }

    /// The requirement because of which no node is selected: one that no node fulfils, else one without which some node would do.
    pub fn unsatisfied(&self, nodes: &[&Life]) -> Option<&Requirement> {
        if nodes.iter().any(|node| self.selects(node, None)) {
            return None;
        }
        let nobodys = self
            .requirements()
            .find(|requirement| !nodes.iter().any(|node| requirement.holds(node)) && !is_usual(&requirement.key));
        let decisive = || {
            self.requirements()
                .find(|requirement| nodes.iter().any(|node| self.selects(node, Some(requirement))))
        };
        nobodys.or_else(decisive).or_else(|| self.requirements().next())
    }

    /// The value of this requirement's key that would help: that of a node which would take the pod with it, the one nearest to what is
    /// asked for.
    pub fn available<'n>(&self, requirement: &Requirement, nodes: &[&'n Life]) -> Option<&'n str> {
        if !requirement.can_be_fixed() {
            return None;
        }
        let wanted = requirement.values.first().map_or("", String::as_str);
        let nearest = |only_willing: bool| {
            let willing = |node: &&&Life| !only_willing || self.selects(node, Some(requirement)) && self.untolerated(node).is_empty();
            let values = nodes.iter().filter(willing).filter_map(|node| label(node, &requirement.key));
            // Of two that are as near as each other the first by name, so that the answer does not change.
            values.min_by_key(|value| (strsim::levenshtein(wanted, value), *value))
        };
        nearest(true).or_else(|| nearest(false))
    }

    /// The taints of a node that keep the pod away, with their effect.
    pub fn untolerated<'n>(&self, node: &'n Life) -> Vec<Taint<'n>> {
        let taints = node.list("/spec/taints").iter().map(|taint| Taint {
            key: text(taint, "/key"),
            value: text(taint, "/value"),
            effect: text(taint, "/effect"),
        });
        taints
            .filter(|taint| matches!(taint.effect, "NoSchedule" | "NoExecute"))
            .filter(|taint| !self.tolerations.iter().any(|toleration| tolerates(toleration, taint)))
            .collect()
    }
}

/// A taint of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taint<'a> {
    pub key: &'a str,
    pub value: &'a str,
    pub effect: &'a str,
}

impl Taint<'_> {
    /// Whether it goes away by itself: Kubernetes, a cloud or an autoscaler sets it for as long as something lasts.
    pub fn passes(&self) -> bool {
        passes(self.key)
    }
}

/// Whether a taint of this key goes away by itself.
pub fn passes(key: &str) -> bool {
    const PASSING: &[&str] = &[
        "DeletionCandidateOfClusterAutoscaler",
        "ToBeDeletedByClusterAutoscaler",
        "node.cilium.io/agent-not-ready",
        "node.cloudprovider.kubernetes.io/shutdown",
        "node.cloudprovider.kubernetes.io/uninitialized",
    ];
    key.starts_with("node.kubernetes.io/") || PASSING.contains(&key)
}

fn tolerates(toleration: &Value, taint: &Taint<'_>) -> bool {
    let (key, effect) = (text(toleration, "/key"), text(toleration, "/effect"));
    let exists = text(toleration, "/operator") == "Exists";
    (key == taint.key || key.is_empty() && exists)
        && (effect.is_empty() || effect == taint.effect)
        && (exists || text(toleration, "/value") == taint.value)
}

/// Labels that every node has: who asks for them besides others did not get those wrong.
fn is_usual(key: &str) -> bool {
    matches!(key, "kubernetes.io/os" | "kubernetes.io/arch")
}

/// How many nodes have which value of a label: `pool: blue (2), red (1); 3 without`.
pub fn spread(nodes: &[&Life], key: &str) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for value in nodes.iter().filter_map(|node| label(node, key)) {
        *counts.entry(value).or_default() += 1;
    }
    let without = nodes.len() - counts.values().sum::<usize>();
    let values: Vec<String> = counts.iter().map(|(value, count)| format!("{value} ({count})")).collect();
    match (values.is_empty(), without) {
        (true, _) => format!("none of {} nodes has the label {key}", nodes.len()),
        (false, 0) => format!("label {key} of the nodes: {}", values.join(", ")),
        (false, without) => format!("label {key} of the nodes: {}; {without} without", values.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use jiff::Timestamp;
    use serde_json::json;

    use super::*;
    use crate::evidence::Version;

    fn node(name: &str, labels: &Value, taints: &Value) -> Life {
        let object = json!({"kind": "Node", "metadata": {"name": name, "labels": labels}, "spec": {"taints": taints}});
        Life {
            versions: vec![Version {
                at: Timestamp::UNIX_EPOCH,
                object: Arc::new(object),
                writers: Arc::default(),
            }],
            deleted_at: None,
        }
    }

    #[test]
    fn names_what_no_node_has() {
        let nodes = [
            node("a", &json!({"kubernetes.io/os": "linux", "pool": "blue", "zone": "1"}), &json!([])),
            node("b", &json!({"kubernetes.io/os": "linux", "pool": "green", "zone": "2"}), &json!([])),
        ];
        let nodes: Vec<&Life> = nodes.iter().collect();
        let spec = json!({"nodeSelector": {"kubernetes.io/os": "linux", "pool": "blau"}});
        let wish = Wish::of(&spec);
        let found = wish.unsatisfied(&nodes).expect("a requirement");
        assert_eq!(
            (found.describe().as_str(), wish.available(found, &nodes)),
            ("pool=blau", Some("blue"))
        );
        // Each is there, and no node has both.
        let spec = json!({"nodeSelector": {"pool": "blue", "zone": "2"}});
        let wish = Wish::of(&spec);
        let found = wish.unsatisfied(&nodes).expect("a requirement");
        assert_eq!(
            (found.describe().as_str(), wish.available(found, &nodes)),
            ("pool=blue", Some("green"))
        );
        let spec = json!({"nodeSelector": {"pool": "green"}});
        assert_eq!(Wish::of(&spec).unsatisfied(&nodes), None);
    }

    #[test]
    fn affinities_are_terms_of_which_one_has_to_hold() {
        let nodes = [node("a", &json!({"gen": "7"}), &json!([]))];
        let nodes: Vec<&Life> = nodes.iter().collect();
        let affinity = |terms: Value| json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}});
        let holds = |terms: Value| Wish::of(&affinity(terms)).unsatisfied(&nodes).is_none();
        let gt = |bound: &str| json!({"matchExpressions": [{"key": "gen", "operator": "Gt", "values": [bound]}]});
        let exists = json!({"matchExpressions": [{"key": "gpu", "operator": "Exists"}]});
        assert!(holds(json!([exists.clone(), gt("6")])));
        assert!(!holds(json!([exists.clone(), gt("7")])));
        assert!(holds(
            json!([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["a"]}]}])
        ));
        assert!(holds(json!([{"matchExpressions": [{"key": "gpu", "operator": "DoesNotExist"}]}])));
        let spec = affinity(json!([exists]));
        let wish = Wish::of(&spec);
        let found = wish.unsatisfied(&nodes).expect("a requirement");
        assert_eq!((found.describe().as_str(), wish.available(found, &nodes)), ("gpu", None));
    }

    #[test]
    fn taints_and_what_tolerates_them() {
        let tainted = node(
            "a",
            &json!({}),
            &json!([{"key": "team", "value": "red", "effect": "NoSchedule"}, {"key": "soft", "effect": "PreferNoSchedule"}]),
        );
        let left = |tolerations: Value| Wish::of(&json!({"tolerations": tolerations})).untolerated(&tainted).len();
        assert_eq!(left(json!([])), 1);
        assert_eq!(
            left(json!([{"key": "team", "operator": "Equal", "value": "red", "effect": "NoSchedule"}])),
            0
        );
        assert_eq!(left(json!([{"key": "team", "value": "blue"}])), 1);
        assert_eq!(left(json!([{"key": "team", "operator": "Exists", "effect": "NoExecute"}])), 1);
        assert_eq!(left(json!([{"operator": "Exists"}])), 0);
        assert!(passes("node.kubernetes.io/not-ready") && !passes("node-role.kubernetes.io/control-plane"));
    }

    #[test]
    fn of_the_values_there_are_a_node_that_takes_the_pod_has_the_best() {
        let nodes = [
            node("a", &json!({"pool": "gpu-b"}), &json!([{"key": "lease", "effect": "NoSchedule"}])),
            node("b", &json!({"pool": "general"}), &json!([])),
        ];
        let nodes: Vec<&Life> = nodes.iter().collect();
        let spec = json!({"nodeSelector": {"pool": "gpu-a"}});
        let wish = Wish::of(&spec);
        let found = wish.unsatisfied(&nodes).expect("a requirement");
        assert_eq!(wish.available(found, &nodes), Some("general"));
        assert_eq!(wish.available(found, &nodes[..1]), Some("gpu-b"));
        assert_eq!(spread(&nodes, "pool"), "label pool of the nodes: general (1), gpu-b (1)");
        assert_eq!(spread(&nodes, "disk"), "none of 2 nodes has the label disk");
    }
}
