//! What roles and their bindings allow, as far as they can be read.

use serde_json::Value;

use super::denials::{Denial, User};
use crate::evidence::manifest::{list, text};
use crate::evidence::{Evidence, Life};

/// A binding that gives the one who was refused a role where it was refused.
#[derive(Debug)]
pub struct Grant<'a> {
    pub binding: &'a Life,
    /// `Role`, `ClusterRole`
    pub role_kind: &'a str,
    pub role_name: &'a str,
    /// Nothing where it could not be read, or does not exist.
    pub role: Option<&'a Life>,
}

impl Grant<'_> {
    /// Whether both were there at once.
    fn exists(&self) -> bool {
        self.binding.exists() && self.role.is_some_and(Life::exists)
    }

    /// `Role agent`
    pub fn title(&self) -> String {
        format!("{} {}", self.role_kind, self.role_name)
    }

    fn rules(&self) -> &[Value] {
        self.role.map_or(&[], |role| role.list("/rules"))
    }
}

/// What was ever bound to the one who was refused, where it was refused.
pub fn grants<'a>(evidence: &'a Evidence, denial: &Denial) -> Vec<Grant<'a>> {
    let mut found = Vec::new();
    for kind in ["ClusterRoleBinding", "RoleBinding"] {
        for binding in evidence.ever(kind) {
            let namespace = binding.text("/metadata/namespace");
            let counts = kind == "ClusterRoleBinding" || denial.namespace.as_deref() == Some(namespace);
            if !counts || !binding.list("/subjects").iter().any(|subject| is(&denial.user, subject, namespace)) {
                continue;
            }
            let (role_kind, role_name) = (binding.text("/roleRef/kind"), binding.text("/roleRef/name"));
            let at = if role_kind == "Role" { namespace } else { "" };
            found.push(Grant {
                binding,
                role_kind,
                role_name,
                role: evidence.ever_named(role_kind, at, role_name).last(),
            });
        }
    }
    found
}

/// Whether a subject of a binding is this user.
fn is(user: &User, subject: &Value, own: &str) -> bool {
    let (kind, name) = (text(subject, "/kind"), text(subject, "/name"));
    match (kind, user) {
        ("ServiceAccount", User::ServiceAccount { namespace, name: account }) => {
            let of = match text(subject, "/namespace") {
                "" => own,
                namespace => namespace,
            };
            name == account && of == namespace
        }
        ("User", User::Other(user)) => name == user,
        ("User", User::ServiceAccount { namespace, name: account }) => name == format!("system:serviceaccount:{namespace}:{account}"),
        ("Group", User::ServiceAccount { namespace, .. }) => {
            matches!(name, "system:serviceaccounts" | "system:authenticated")
                || name.strip_prefix("system:serviceaccounts:") == Some(namespace)
        }
        ("Group", User::Other(_)) => name == "system:authenticated",
        _ => false,
    }
}

/// Whether what is bound now allows what was refused then.
pub fn allowed_now(grants: &[Grant<'_>], denial: &Denial) -> bool {
    grants
        .iter()
        .filter(|grant| grant.exists())
        .any(|grant| grant.rules().iter().any(|rule| allows(rule, denial)))
}

/// Whether something that allowed it has been taken away before this moment: then the refusal is a consequence of that.
pub fn taken_away<'a, 'b>(grants: &'b [Grant<'a>], denial: &Denial, by: jiff::Timestamp) -> Option<&'b Grant<'a>> {
    let gone = |life: &Life| life.deleted_at.is_some_and(|gone| gone <= by);
    grants
        .iter()
        .filter(|grant| gone(grant.binding) || grant.role.is_some_and(gone))
        .find(|grant| grant.rules().iter().any(|rule| allows(rule, denial)))
}

/// The role that allows something of the resource itself, where it was a subresource that was refused.
pub fn allows_resource<'a, 'b>(grants: &'b [Grant<'a>], denial: &Denial) -> Option<&'b Grant<'a>> {
    denial.subresource.as_ref()?;
    let of_resource = |rule: &Value| {
        let any_verb = !list(rule, "verbs").is_empty();
        any_verb && holds(rule, "apiGroups", &[&denial.group, "*"]) && holds(rule, "resources", &[&denial.resource])
    };
    grants
        .iter()
        .filter(|grant| grant.exists())
        .find(|grant| grant.rules().iter().any(of_resource))
}

/// The role to which the missing rule is best added: the first that is bound and can be read, one of the namespace's own before others.
pub fn best_role<'a, 'b>(grants: &'b [Grant<'a>]) -> Option<&'b Grant<'a>> {
    let mut bound: Vec<&Grant<'_>> = grants.iter().filter(|grant| grant.exists()).collect();
    bound.sort_by_key(|grant| (grant.role_kind != "Role", grant.role_name));
    bound.into_iter().next()
}

fn allows(rule: &Value, denial: &Denial) -> bool {
    if !holds(rule, "verbs", &[&denial.verb, "*"]) {
        return false;
    }
    if let Some(path) = &denial.path {
        let urls = list(rule, "nonResourceURLs").iter().filter_map(Value::as_str);
        return urls
            .into_iter()
            .any(|url| url == path || url.strip_suffix('*').is_some_and(|start| path.starts_with(start)));
    }
    // One that names objects allows these; whether it was one of them that was refused, the words do not tell.
    let whole = list(rule, "resourceNames").is_empty();
    let subresources = denial.subresource.as_ref().map(|subresource| format!("*/{subresource}"));
    let what = denial.what();
    let resources: Vec<&str> = [Some(what.as_str()), Some("*"), subresources.as_deref()]
        .into_iter()
        .flatten()
        .collect();
    whole && holds(rule, "apiGroups", &[&denial.group, "*"]) && holds(rule, "resources", &resources)
}

/// Whether a list of a rule holds one of these.
fn holds(rule: &Value, key: &str, any: &[&str]) -> bool {
    list(rule, key).iter().filter_map(Value::as_str).any(|entry| any.contains(&entry))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::diagnosis::denials::denials;
    use crate::diagnosis::fixture::*;

    fn denial(what: &str) -> Denial {
        let text =
            format!(r#"User "system:serviceaccount:shop:agent" cannot get resource "{what}" in API group "batch" in the namespace "shop""#);
        denials(&text).pop().unwrap()
    }

    fn bound(subjects: Value, rules: Value) -> Scene {
        let mut scene = Scene::new();
        scene.object(json!({"kind": "Role", "metadata": {"name": "agent"}, "rules": rules}));
        let role = json!({"kind": "Role", "name": "agent"});
        scene.object(json!({"kind": "RoleBinding", "metadata": {"name": "agent"}, "subjects": subjects, "roleRef": role}));
        scene
    }

    fn account() -> Value {
        json!([{"kind": "ServiceAccount", "name": "agent"}])
    }

    fn jobs(resources: &[&str]) -> Value {
        json!([{"apiGroups": ["batch"], "resources": resources, "verbs": ["get", "list"]}])
    }

    fn allowed(scene: &Scene, what: &str) -> bool {
        let (evidence, denial) = (scene.evidence(), denial(what));
        allowed_now(&grants(&evidence, &denial), &denial)
    }

    #[test]
    fn a_resource_is_not_its_subresource() {
        let scene = bound(account(), jobs(&["jobs"]));
        assert!(allowed(&scene, "jobs") && !allowed(&scene, "jobs/status"));
        let (evidence, denial) = (scene.evidence(), denial("jobs/status"));
        assert_eq!(allows_resource(&grants(&evidence, &denial), &denial).unwrap().title(), "Role agent");
        for resources in [&["jobs/status"][..], &["*/status"], &["*"]] {
            assert!(allowed(&bound(account(), jobs(resources)), "jobs/status"), "{resources:?}");
        }
        assert!(!allowed(&bound(account(), jobs(&["*/status"])), "jobs"));
    }

    #[test]
    fn who_is_meant() {
        for (subject, meant) in [
            (json!({"kind": "ServiceAccount", "name": "agent", "namespace": "shop"}), true),
            (json!({"kind": "ServiceAccount", "name": "agent", "namespace": "lab"}), false),
            (json!({"kind": "Group", "name": "system:serviceaccounts:shop"}), true),
            (json!({"kind": "Group", "name": "system:serviceaccounts:lab"}), false),
            (json!({"kind": "User", "name": "system:serviceaccount:shop:agent"}), true),
            (json!({"kind": "User", "name": "agent"}), false),
        ] {
            assert_eq!(allowed(&bound(json!([subject]), jobs(&["jobs"])), "jobs"), meant, "{subject}");
        }
    }

    #[test]
    fn names_other_verbs_and_other_groups_do_not_help() {
        let rule = |field: &str, value: Value| {
            let mut rules = jobs(&["jobs"]);
            rules[0][field] = value;
            bound(account(), rules)
        };
        assert!(!allowed(&rule("verbs", json!(["create"])), "jobs"));
        assert!(!allowed(&rule("apiGroups", json!([""])), "jobs"));
        assert!(!allowed(&rule("resourceNames", json!(["one"])), "jobs"));
        assert!(allowed(&rule("verbs", json!(["*"])), "jobs"));
    }

    #[test]
    fn what_was_taken_away() {
        let mut scene = bound(account(), jobs(&["jobs"]));
        let denial = denial("jobs");
        assert!(taken_away(&grants(&scene.evidence(), &denial), &denial, scene.stamp()).is_none());
        scene.at(3000).deleted(json!({"kind": "RoleBinding", "metadata": {"name": "agent"}, "subjects": account(), "roleRef": {"kind": "Role", "name": "agent"}}));
        let evidence = scene.evidence();
        let grants = grants(&evidence, &denial);
        assert!(taken_away(&grants, &denial, scene.stamp()).is_some() && !allowed_now(&grants, &denial));
    }
}
