//! What the API server says to whom it refuses something for want of a right, in the words that everybody passes on.

use std::sync::LazyLock;

use regex::Regex;

/// One right that somebody lacks.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Denial {
    pub user: User,
    pub verb: String,
    /// Without its subresource; empty where it is a path.
    pub resource: String,
    pub subresource: Option<String>,
    pub group: String,
    /// Nothing where it is asked for in the whole cluster.
    pub namespace: Option<String>,
    /// A path of the API server that is no resource, such as `/metrics`.
    pub path: Option<String>,
}

/// Who lacks it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum User {
    ServiceAccount { namespace: String, name: String },
    Other(String),
}

impl User {
    /// Those that the API server knows by something else than rights that people give: somebody without credentials, and nodes.
    fn of(name: &str) -> Option<Self> {
        if name == "system:anonymous" || name.starts_with("system:node:") {
            return None;
        }
        let account = name
            .strip_prefix("system:serviceaccount:")
            .and_then(|account| account.split_once(':'));
        Some(match account {
            Some((namespace, name)) => Self::ServiceAccount {
                namespace: namespace.to_owned(),
                name: name.to_owned(),
            },
            None => Self::Other(name.to_owned()),
        })
    }
}

impl std::fmt::Display for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::ServiceAccount { name, .. } => write!(f, "ServiceAccount {name}"),
            Self::Other(name) => write!(f, "User {name}"),
        }
    }
}

impl Denial {
    /// `jobs/status`, `/metrics`
    pub fn what(&self) -> String {
        match (&self.path, &self.subresource) {
            (Some(path), _) => path.clone(),
            (None, Some(subresource)) => format!("{}/{subresource}", self.resource),
            (None, None) => self.resource.clone(),
        }
    }

    /// `in namespace shop`
    pub fn place(&self) -> String {
        match (&self.namespace, &self.path) {
            (Some(namespace), _) => format!("in namespace {namespace}"),
            (None, None) => "in the whole cluster".to_owned(),
            (None, Some(_)) => "of the API server".to_owned(),
        }
    }
}

// Logs quote what others have quoted: there may be any number of backslashes before a mark, or none of both.
static DENIED: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(concat!(
        r#"User \\*["']?(?P<user>[^\s"'\\]+)\\*["']? cannot (?P<verb>[a-z*]+) (?:"#,
        r#"resource \\*["'](?P<resource>[^\s"'\\]+)\\*["'] in API group \\*["'](?P<group>[^\s"'\\]*)\\*["']"#,
        r#"|path \\*["'](?P<path>[^\s"'\\]+)\\*["']"#,
        // Until Kubernetes 1.11, and by some authorizers still.
        r#"|(?P<old>[a-z][a-z0-9./-]*)"#,
        r#")(?: in the namespace \\*["'](?P<namespace>[^\s"'\\]+)\\*["']| (?P<wide>at the cluster scope))?"#,
    ))
    .ok()
});

/// Every right that a text says somebody lacks, each once.
pub fn denials(text: &str) -> Vec<Denial> {
    // Most lines say nothing of the kind, and the pattern is long.
    if !text.contains(" cannot ") {
        return Vec::new();
    }
    let mut found = Vec::new();
    for captures in DENIED.iter().flat_map(|pattern| pattern.captures_iter(text)) {
        let part = |name: &str| captures.name(name).map(|part| part.as_str());
        let placed = part("namespace").is_some() || part("wide").is_some();
        let (resource, group) = match (part("resource"), part("path"), part("old")) {
            (Some(resource), _, _) => (resource, part("group").unwrap_or_default()),
            (None, Some(_), _) => ("", ""),
            // Without a place it is a sentence of somebody else's.
            (None, None, Some(old)) if placed => old.split_once('.').unwrap_or((old, "")),
            _ => continue,
        };
        let Some(user) = part("user").and_then(User::of) else { continue };
        let (resource, subresource) = match resource.split_once('/') {
            Some((resource, subresource)) => (resource, Some(subresource.to_owned())),
            None => (resource, None),
        };
        let denial = Denial {
            user,
            verb: part("verb").unwrap_or_default().to_owned(),
            resource: resource.to_owned(),
            subresource,
            group: group.to_owned(),
            namespace: part("namespace").map(str::to_owned),
            path: part("path").map(str::to_owned),
        };
        if !found.contains(&denial) {
            found.push(denial);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> Vec<String> {
        let told = |denial: Denial| {
            format!(
                "{} {} {} {} {}",
                denial.user,
                denial.verb,
                denial.what(),
                denial.group,
                denial.place()
            )
        };
        denials(text).into_iter().map(told).collect()
    }

    #[test]
    fn the_pattern_compiles() {
        assert!(DENIED.is_some());
    }

    #[test]
    fn each_form_of_it() {
        let kubectl = r#"Error from server (Forbidden): jobs.batch "run-1" is forbidden: User "system:serviceaccount:lab:agent" cannot get resource "jobs/status" in API group "batch" in the namespace "lab""#;
        assert_eq!(said(kubectl), ["ServiceAccount agent get jobs/status batch in namespace lab"]);
        let json = r#"{"level":"error","error":"nodes is forbidden: User \"system:serviceaccount:lab:agent\" cannot list resource \"nodes\" in API group \"\" at the cluster scope"}"#;
        assert_eq!(said(json), ["ServiceAccount agent list nodes  in the whole cluster"]);
        let twice = json.replace('\\', r"\\\");
        assert_eq!(said(&twice), said(json));
        let path = r#"forbidden: User "jane" cannot get path "/metrics""#;
        assert_eq!(said(path), ["User jane get /metrics  of the API server"]);
        let old =
            r#"deployments.apps is forbidden: User "system:serviceaccount:lab:agent" cannot list deployments.apps in the namespace "lab""#;
        assert_eq!(said(old), ["ServiceAccount agent list deployments apps in namespace lab"]);
    }

    #[test]
    fn two_in_one_text_and_one_that_is_said_twice() {
        let a = r#"User "system:serviceaccount:lab:agent" cannot get resource "pods" in API group "" in the namespace "lab""#;
        let b = a.replace("get", "list");
        assert_eq!(said(&format!("{a}; {b}; {a}")).len(), 2);
    }

    #[test]
    fn other_words_are_no_denials() {
        for text in [
            r#"User "system:anonymous" cannot get resource "pods" in API group "" in the namespace "lab""#,
            r#"pods "x" is forbidden: exceeded quota: compute, requested: cpu=1, used: cpu=1, limited: cpu=1"#,
            "User jane cannot log in",
            "the User cannot be found in the namespace",
            "403 Forbidden",
        ] {
            assert_eq!(said(text), [] as [&str; 0], "{text}");
        }
    }
}
