//! `kubectl cluster-info dump`: a folder, or everything on standard output one after the other.
//!
//! With `--output-directory` each namespace is a folder of lists and of one `logs.txt` for each pod; without, the same lists come one
//! after the other, and between them the logs in blocks with a line before and behind. The lists are typed (`PodList`), and their items
//! name no kind. It holds the nodes, and of each namespace its events, replication controllers, Services, DaemonSets, Deployments,
//! ReplicaSets, pods and the current logs, which have no time stamps. Jobs, StatefulSets, ConfigMaps and Secrets are not in it.

use super::Format;
use super::place::{Hints, Layout, LogPlace, Place, stem};

pub static LAYOUT: Layout = Layout {
    format: Some(Format::ClusterDump),
    place,
};

/// The files of a namespace, with the plural that the API has for what they list.
const LISTS: &[(&str, &str)] = &[
    ("daemonsets", "daemonsets"),
    ("deployments", "deployments"),
    ("events", "events"),
    ("pods", "pods"),
    ("replicasets", "replicasets"),
    ("replication-controllers", "replicationcontrollers"),
    ("services", "services"),
];

const ENDINGS: &[&str] = &["json", "yaml", "txt"];

fn place(parts: &[&str]) -> Option<Place> {
    match parts {
        [.., namespace, _pod, "logs.txt"] => Some(Place::Objects(Hints {
            namespace: Some((*namespace).to_owned()),
            plural: None,
        })),
        [.., namespace, file] => {
            let name = stem(file, ENDINGS)?;
            let (_, plural) = LISTS.iter().find(|(of, _)| *of == name)?;
            Some(Place::Objects(Hints {
                namespace: Some((*namespace).to_owned()),
                plural: Some((*plural).to_owned()),
            }))
        }
        _ => None,
    }
}

/// Whose log begins with this line.
pub fn log_begins(line: &str) -> Option<LogPlace> {
    let (container, pod) = line.strip_prefix("==== START logs for container ")?.split_once(" of pod ")?;
    let (namespace, pod) = pod.trim_end().strip_suffix(" ====")?.split_once('/')?;
    Some(LogPlace {
        namespace: Some(namespace.to_owned()),
        pod: pod.to_owned(),
        container: Some(container.to_owned()),
        previous: false,
        error: false,
    })
}

/// Whether a log ends with this line.
pub fn log_ends(line: &str) -> bool {
    line.starts_with("==== END logs for container ") && line.trim_end().ends_with(" ====")
}

/// What stands in a log's place where the API did not give it.
pub fn log_error(line: &str) -> Option<&str> {
    ["Create log request error: ", "Request log error: "]
        .iter()
        .find_map(|prefix| line.strip_prefix(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_logs_are_told_by_their_place() {
        let hints = |namespace: &str, plural: Option<&str>| {
            Some(Place::Objects(Hints {
                namespace: Some(namespace.to_owned()),
                plural: plural.map(str::to_owned),
            }))
        };
        assert_eq!(place(&["dump", "shop", "pods.json"]), hints("shop", Some("pods")));
        assert_eq!(
            place(&["shop", "replication-controllers.yaml"]),
            hints("shop", Some("replicationcontrollers"))
        );
        assert_eq!(place(&["shop", "web-0", "logs.txt"]), hints("shop", None));
        assert_eq!(place(&["shop", "secrets.yaml"]), None);
        assert_eq!(place(&["pods.yaml"]), None);
    }

    #[test]
    fn a_log_stands_between_two_lines() {
        let log = log_begins("==== START logs for container init of pod shop/web-0 ====\n").unwrap();
        assert_eq!(
            (log.namespace.as_deref(), log.pod.as_str(), log.container.as_deref()),
            (Some("shop"), "web-0", Some("init"))
        );
        assert!(log_ends("==== END logs for container init of pod shop/web-0 ===="));
        assert!(log_begins("==== START logs for nobody ====").is_none());
    }
}
