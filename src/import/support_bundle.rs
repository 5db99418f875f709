//! Support bundles of Replicated's troubleshoot.
//!
//! A tar.gz with one folder: `cluster-resources/<plural>/<namespace>.json` with the list of a kind (older ones a bare array whose items name
//! no kind), `cluster-resources/<plural>.json` for kinds without a namespace, `<plural>-errors.json` for what could not be collected,
//! `cluster-resources/custom-resources/<plural>.<group>/<namespace>.json`, `cluster-resources/pods/logs/<namespace>/<pod>/<container>.log`
//! and `…-previous.log`. A collector of logs has a folder of its own, `<name>/<pod>/<container>.log`, which newer ones fill with links. What
//! was redacted reads `***HIDDEN***`. Secrets are in it by name only.
//!
//! Tried with bundles that troubleshoot 0.133 wrote of this project's broken trials.

use super::Format;
use super::place::{Hints, Layout, LogPlace, Place, stem};

pub static LAYOUT: Layout = Layout {
    format: Some(Format::SupportBundle),
    place,
};

/// The folders of single collectors. Folders of logs look like this elsewhere, too.
pub static COLLECTED: Layout = Layout {
    format: None,
    place: collected,
};

/// What stands in the place of what was redacted.
pub const HIDDEN: &str = "***HIDDEN***";

/// Folders that are called otherwise than the API calls what is in them.
const PLURALS: &[(&str, &str)] = &[
    ("clusterRoleBindings", "clusterrolebindings"),
    ("ingress", "ingresses"),
    ("limitranges", "limitranges"),
    ("network-policy", "networkpolicies"),
    ("pod-disruption-budgets", "poddisruptionbudgets"),
    ("pvcs", "persistentvolumeclaims"),
    ("pvs", "persistentvolumes"),
    ("resource-quota", "resourcequotas"),
    ("storage-classes", "storageclasses"),
];

/// Folders beside the objects, none of which describes one.
const OTHERS: &[&str] = &["auth-cani-list", "image-pull-secrets", "groups", "resources"];

fn place(parts: &[&str]) -> Option<Place> {
    let at = parts.iter().position(|part| *part == "cluster-resources")?;
    match &parts[at + 1..] {
        ["pods", "logs", namespace, pod, file] => log(Some(namespace), pod, Some(stem(file, &["log"])?)),
        ["custom-resources", crd, file] => {
            let namespace = stem(file, &["json", "yaml"])?;
            Some(objects(Some(namespace), crd.split('.').next().unwrap_or(crd)))
        }
        ["custom-resources", file] => {
            let crd = stem(file, &["json", "yaml"])?;
            Some(objects(None, crd.split('.').next().unwrap_or(crd)))
        }
        [folder, ..] if OTHERS.contains(folder) => Some(Place::Nothing),
        // Some versions have put a kind below another one's errors.
        [folder, file] if folder.ends_with("-errors.json") => Some(Place::Objects(Hints {
            namespace: Some(stem(file, &["json"])?.to_owned()),
            plural: None,
        })),
        [folder, file] => Some(objects(Some(stem(file, &["json"])?), plural(folder))),
        [file] => {
            let name = stem(file, &["json"])?;
            Some(match name.strip_suffix("-errors") {
                Some(of) => Place::Errors {
                    plural: plural(of).to_owned(),
                },
                None if OTHERS.contains(&name) => Place::Nothing,
                None => objects(None, plural(name)),
            })
        }
        _ => Some(Place::Nothing),
    }
}

/// What a collector of logs has put into its own folder. Which namespace its pods are of is not said.
fn collected(parts: &[&str]) -> Option<Place> {
    match parts {
        [.., pod, file] => {
            let name = stem(file, &["log"])?;
            let container = name.strip_suffix("-previous").unwrap_or(name);
            // With one container, the file has the name of the pod.
            let alone = container.contains('-') && !pod.contains('-');
            if alone {
                log(None, container, None).map(|place| mark(place, name))
            } else {
                log(None, pod, Some(name))
            }
        }
        _ => None,
    }
}

fn mark(place: Place, name: &str) -> Place {
    match place {
        Place::Log(log) => Place::Log(LogPlace {
            previous: name.ends_with("-previous"),
            ..log
        }),
        other => other,
    }
}

fn log(namespace: Option<&str>, pod: &str, file: Option<&str>) -> Option<Place> {
    let error = file.and_then(|file| file.strip_suffix("-logs-errors"));
    let previous = file.and_then(|file| file.strip_suffix("-previous"));
    Some(Place::Log(LogPlace {
        namespace: namespace.map(str::to_owned),
        pod: pod.to_owned(),
        container: error.or(previous).or(file).map(str::to_owned),
        previous: previous.is_some(),
        error: error.is_some(),
    }))
}

fn plural(folder: &str) -> &str {
    PLURALS
        .iter()
        .find(|(name, _)| *name == folder)
        .map_or(folder, |(_, plural)| plural)
}

fn objects(namespace: Option<&str>, plural: &str) -> Place {
    Place::Objects(Hints {
        namespace: namespace.map(str::to_owned),
        plural: Some(plural.to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_told_by_their_place() {
        let of = |path: &str| place(&path.split('/').collect::<Vec<_>>());
        let root = "support-bundle-2026-01-02T03_04_05/cluster-resources";
        assert_eq!(of(&format!("{root}/pods/shop.json")), Some(objects(Some("shop"), "pods")));
        assert_eq!(
            of(&format!("{root}/pvcs/shop.json")),
            Some(objects(Some("shop"), "persistentvolumeclaims"))
        );
        assert_eq!(of(&format!("{root}/nodes.json")), Some(objects(None, "nodes")));
        assert_eq!(
            of(&format!("{root}/custom-resources/helmreleases.helm.toolkit.fluxcd.io/shop.json")),
            Some(objects(Some("shop"), "helmreleases"))
        );
        let errors = Place::Errors { plural: "jobs".into() };
        assert_eq!(of(&format!("{root}/jobs-errors.json")), Some(errors));
        assert_eq!(of(&format!("{root}/auth-cani-list/shop.json")), Some(Place::Nothing));
        let Some(Place::Log(log)) = of(&format!("{root}/pods/logs/shop/web-0/web-previous.log")) else {
            panic!()
        };
        assert_eq!((log.container.as_deref(), log.previous, log.error), (Some("web"), true, false));
        let Some(Place::Log(log)) = of(&format!("{root}/pods/logs/shop/web-0/web-logs-errors.log")) else {
            panic!()
        };
        assert_eq!((log.container.as_deref(), log.error), (Some("web"), true));
        assert_eq!(of("bundle/app/web-7f9-x/web.log"), None);
        let of = |path: &str| collected(&path.split('/').collect::<Vec<_>>());
        let Some(Place::Log(log)) = of("bundle/app/web-7f9-x/web.log") else {
            panic!()
        };
        assert_eq!(
            (log.namespace, log.pod.as_str(), log.container.as_deref()),
            (None, "web-7f9-x", Some("web"))
        );
        let Some(Place::Log(log)) = of("bundle/app/web-7f9-x-previous.log") else {
            panic!()
        };
        assert_eq!((log.pod.as_str(), log.container, log.previous), ("web-7f9-x", None, true));
    }
}
