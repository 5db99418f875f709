//! Must-gather folders, as `oc adm must-gather` and `oc adm inspect` write them.
//!
//! Below a folder for the image that gathered: `namespaces/<namespace>/<group>/<plural>.yaml` with the list of a kind, or a folder
//! `<plural>/` with one file for each object; `cluster-scoped-resources/<group>/…` likewise; `namespaces/<namespace>/pods/<pod>/<pod>.yaml`
//! and `…/<container>/<container>/logs/{current,previous}.log`, with the kubelet's time stamps. The group without a name is called `core`.
//! In the place of each value of a Secret stands how many bytes it has.
//!
//! Written after the documentation of the format; no file of a real cluster was at hand.

use super::Format;
use super::place::{Hints, Layout, LogPlace, Place, stem};

pub static LAYOUT: Layout = Layout {
    format: Some(Format::MustGather),
    place,
};

const ENDINGS: &[&str] = &["yaml", "json"];

fn place(parts: &[&str]) -> Option<Place> {
    let scope = parts
        .iter()
        .position(|part| matches!(*part, "namespaces" | "cluster-scoped-resources"))?;
    match (parts[scope], &parts[scope + 1..]) {
        ("namespaces", [namespace, below @ ..]) => in_namespace(namespace, below),
        (_, [_group, file]) => Some(objects(None, stem(file, ENDINGS)?)),
        (_, [_group, plural, _file]) => Some(objects(None, plural)),
        _ => None,
    }
}

fn in_namespace(namespace: &str, below: &[&str]) -> Option<Place> {
    match below {
        ["pods", pod, container, _, "logs", file] => {
            // Some carry `insecure` in their name: where the kubelet's certificate could not be checked.
            let previous = match file.strip_suffix(".log")? {
                "current" | "current.insecure" => false,
                "previous" | "previous.insecure" => true,
                _ => return Some(Place::Nothing),
            };
            Some(Place::Log(LogPlace {
                namespace: Some(namespace.to_owned()),
                pod: (*pod).to_owned(),
                container: Some((*container).to_owned()),
                previous,
                error: false,
            }))
        }
        ["pods", _pod, file] => Some(single(namespace, stem(file, ENDINGS).map(|_| "pods"))),
        // Health, metrics and versions of containers.
        ["pods", ..] => Some(Place::Nothing),
        [_group, file] => Some(objects(Some(namespace), stem(file, ENDINGS)?)),
        [_group, plural, _file] => Some(objects(Some(namespace), plural)),
        // The namespace itself.
        [file] => Some(single(namespace, stem(file, ENDINGS).map(|_| "namespaces"))),
        _ => None,
    }
}

fn objects(namespace: Option<&str>, plural: &str) -> Place {
    Place::Objects(Hints {
        namespace: namespace.map(str::to_owned),
        plural: Some(plural.to_owned()),
    })
}

fn single(namespace: &str, plural: Option<&str>) -> Place {
    plural.map_or(Place::Nothing, |plural| objects(Some(namespace), plural))
}

/// How long a value of a Secret is that was left out.
pub fn left_out(value: &str) -> Option<u64> {
    value.strip_suffix(" bytes long")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_told_by_their_place() {
        let of = |path: &str| place(&path.split('/').collect::<Vec<_>>());
        let root = "must-gather.local.1/quay-io-x-sha256-abc";
        assert_eq!(
            of(&format!("{root}/namespaces/shop/core/configmaps.yaml")),
            Some(objects(Some("shop"), "configmaps"))
        );
        assert_eq!(
            of(&format!("{root}/namespaces/shop/apps/deployments/web.yaml")),
            Some(objects(Some("shop"), "deployments"))
        );
        assert_eq!(
            of(&format!("{root}/cluster-scoped-resources/core/nodes/a.yaml")),
            Some(objects(None, "nodes"))
        );
        let log = LogPlace {
            namespace: Some("shop".into()),
            pod: "web-0".into(),
            container: Some("web".into()),
            previous: true,
            error: false,
        };
        assert_eq!(
            of(&format!("{root}/namespaces/shop/pods/web-0/web/web/logs/previous.log")),
            Some(Place::Log(log))
        );
        assert_eq!(
            of(&format!("{root}/namespaces/shop/pods/web-0/web/web/healthz/index")),
            Some(Place::Nothing)
        );
        assert_eq!(of("event-filter.html"), None);
        assert_eq!(left_out("24 bytes long"), Some(24));
        assert_eq!(left_out("long"), None);
    }
}
