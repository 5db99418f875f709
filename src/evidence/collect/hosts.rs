//! Finds out which hosts the pods of a namespace are told to use.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::Value;
use tokio::sync::mpsc::UnboundedSender;

use crate::evidence::address::{host_of, is_host};
use crate::evidence::declared::addresses_of;
use crate::evidence::manifest::{pod_spec, text};
use crate::evidence::model::Change;

/// A Pod or a ConfigMap as it was seen, before anything is taken out of it.
#[derive(Debug)]
pub struct Seen {
    pub change: Change,
    pub object: Value,
}

/// What pods need looked up.
#[derive(Debug, PartialEq, Eq)]
pub enum Need {
    /// A host that a pod was told of or complained about.
    Host { host: String, pod_uid: String },
    /// The pod has ended and will not use any host any more.
    Over { pod_uid: String },
}

impl Need {
    /// A host that can be looked up: not an address, and not a word that no resolver takes.
    pub fn host(host: &str, pod_uid: &str) -> Option<Self> {
        let host = host_of(host);
        (is_host(&host) && host.parse::<IpAddr>().is_err()).then(|| Self::Host {
            host,
            pod_uid: pod_uid.to_owned(),
        })
    }
}

/// What is known about a namespace, as far as hosts follow from it.
#[derive(Debug)]
pub struct Hosts {
    /// By name.
    config_maps: BTreeMap<String, Value>,
    /// The pods that have not ended, by UID.
    pods: BTreeMap<String, Value>,
    found: UnboundedSender<Need>,
}

impl Hosts {
    pub fn new(found: UnboundedSender<Need>) -> Self {
        Self {
            config_maps: BTreeMap::new(),
            pods: BTreeMap::new(),
            found,
        }
    }

    /// Passes on the hosts that follow from this.
    pub fn see(&mut self, seen: &Seen) {
        match text(&seen.object, "/kind") {
            "ConfigMap" => self.see_config_map(seen),
            _ => self.see_pod(seen),
        }
    }

    /// The two kinds are watched apart, so that a pod may come before the script that it runs.
    fn see_config_map(&mut self, seen: &Seen) {
        // One that went was read; what runs still runs it.
        if seen.change == Change::Deleted {
            return;
        }
        let name = text(&seen.object, "/metadata/name").to_owned();
        let data = seen.object.get("data").cloned().unwrap_or_default();
        let known = self.config_maps.get(&name).and_then(|map| map.get("data"));
        // Leader elections write annotations every few seconds.
        if known == Some(&data) {
            return;
        }
        self.config_maps.insert(name, serde_json::json!({ "data": data }));
        for (uid, pod) in &self.pods {
            self.tell(uid, pod);
        }
    }

    fn see_pod(&mut self, seen: &Seen) {
        let uid = text(&seen.object, "/metadata/uid");
        let finished = seen.change == Change::Deleted || matches!(text(&seen.object, "/status/phase"), "Succeeded" | "Failed");
        if finished {
            self.pods.remove(uid);
            let _ = self.found.send(Need::Over { pod_uid: uid.to_owned() });
        } else {
            self.tell(uid, &seen.object);
            self.pods.insert(uid.to_owned(), seen.object.clone());
        }
    }

    fn tell(&self, uid: &str, pod: &Value) {
        let config_map = |name: &str| self.config_maps.get(name);
        for declared in pod_spec(pod).map_or_else(Vec::new, |spec| addresses_of(spec, &config_map)) {
            if let Some(host) = Need::host(&declared.address.host, uid) {
                let _ = self.found.send(host);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

    use super::*;

    fn needs(found: &mut UnboundedReceiver<Need>) -> Vec<String> {
        std::iter::from_fn(|| found.try_recv().ok())
            .map(|need| match need {
                Need::Host { host, .. } => host,
                Need::Over { pod_uid } => format!("{pod_uid} is over"),
            })
            .collect()
    }

    fn seen(object: Value) -> Seen {
        Seen {
            change: Change::Applied,
            object,
        }
    }

    fn pod(phase: &str) -> Value {
        json!({"kind": "Pod", "metadata": {"name": "gate-x", "uid": "u"}, "status": {"phase": phase}, "spec": {
            "containers": [{
                "name": "gate", "command": ["sh", "/gate/gate.sh"], "volumeMounts": [{"name": "gate"}],
                "env": [{"name": "DB_HOST", "value": "db"}, {"name": "IP", "value": "http://10.0.0.1"}, {"name": "LEVEL", "value": "debug"}],
            }],
            "volumes": [{"name": "gate", "configMap": {"name": "gate"}}],
        }})
    }

    fn script(host: &str) -> Value {
        json!({"kind": "ConfigMap", "metadata": {"name": "gate"}, "data": {"gate.sh": format!("curl -f https://{host}/ready")}})
    }

    #[test]
    fn a_pod_is_read_again_when_its_script_comes() {
        let (sender, mut found) = unbounded_channel();
        let mut known = Hosts::new(sender);
        known.see(&seen(pod("Pending")));
        assert_eq!(needs(&mut found), ["db"]);
        known.see(&seen(script("Ledger.corp.invalid")));
        assert_eq!(needs(&mut found), ["db", "ledger.corp.invalid"]);
        known.see(&seen(script("Ledger.corp.invalid")));
        assert_eq!(needs(&mut found), [""; 0]);
    }

    #[test]
    fn one_that_ended_needs_nothing_more() {
        let (sender, mut found) = unbounded_channel();
        let mut known = Hosts::new(sender);
        known.see(&seen(script("a.invalid")));
        known.see(&seen(pod("Running")));
        known.see(&seen(pod("Failed")));
        assert_eq!(needs(&mut found), ["db", "a.invalid", "u is over"]);
        known.see(&seen(script("b.invalid")));
        assert_eq!(needs(&mut found), [""; 0]);
    }

    #[test]
    fn only_names_can_be_looked_up() {
        assert_eq!(Need::host("", "u"), None);
        assert_eq!(Need::host("10.1.2.3", "u"), None);
        let (host, pod_uid) = ("db.example".to_owned(), "u".to_owned());
        assert_eq!(Need::host("Db.Example.", "u"), Some(Need::Host { host, pod_uid }));
    }
}
