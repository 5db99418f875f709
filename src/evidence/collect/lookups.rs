//! Asks the cluster's own resolver for the hosts that pods are told to use.
//!
//! A hook that waits in silence says nothing about the name it waits for; the resolver does. The question goes to CoreDNS over TCP through
//! the API server, in the order in which a pod's own resolver would ask: nothing is created in the cluster for it.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, Client};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, sleep_until, timeout};

use super::hosts::Need;
use crate::evidence::model::{Answer, Fact, Vantage};
use crate::evidence::recorder::Recorder;

/// How soon a name that was not found is asked for again, and from the fourth time on.
const AGAIN: Duration = Duration::from_secs(1);
const LATER: Duration = Duration::from_secs(10);
/// How many hosts are looked up in one namespace at the most.
const HOSTS: usize = 50;
const DEADLINE: Duration = Duration::from_secs(3);

/// After how many failures of the resolver in a row a host is left alone.
const FAILURES: u32 = 5;

#[derive(Default)]
struct Asked {
    pods: HashSet<String>,
    times: u32,
    failures: u32,
    /// It has addresses, or cannot be asked for: nothing new is to be expected.
    settled: bool,
    next: Option<Instant>,
}

/// Looks up each host, again and again as long as it is not found and somebody may need it.
pub async fn look_up(client: Client, namespace: String, recorder: Recorder, mut needs: UnboundedReceiver<Need>) {
    let resolver = Resolver::new(client, &namespace);
    let mut asked: BTreeMap<String, Asked> = BTreeMap::new();
    // Lines of a pod may come after its end.
    let mut over: HashSet<String> = HashSet::new();
    loop {
        let next = asked.values().filter_map(|asked| asked.next).min();
        tokio::select! {
            need = needs.recv() => {
                match need {
                    None => return,
                    Some(Need::Over { pod_uid }) => {
                        for asked in asked.values_mut() {
                            asked.pods.remove(&pod_uid);
                        }
                        over.insert(pod_uid);
                    }
                    Some(Need::Host { host, pod_uid }) if !over.contains(&pod_uid) => {
                        if asked.len() < HOSTS || asked.contains_key(&host) {
                            let asked = asked.entry(host).or_default();
                            asked.pods.insert(pod_uid);
                            // The pod that asked before may have ended; the next one of its Job asks again.
                            if asked.next.is_none() && !asked.settled {
                                asked.next = Some(Instant::now());
                            }
                        }
                    }
                    Some(Need::Host { .. }) => {}
                }
                continue;
            }
            () = due(next) => {}
        }
        let now = Instant::now();
        let due: Vec<String> = asked
            .iter()
            .filter(|(_, asked)| asked.next.is_some_and(|next| next <= now))
            .map(|(host, _)| host.clone())
            .collect();
        for host in due {
            let Some(asked) = asked.get_mut(&host) else { continue };
            if asked.pods.is_empty() {
                asked.next = None;
                continue;
            }
            match resolver.resolve(&host).await {
                Ok((tried, answer)) => {
                    asked.times += 1;
                    asked.failures = 0;
                    asked.settled = answer != Answer::NoSuchName;
                    let wait = if asked.times < 4 { AGAIN } else { LATER };
                    asked.next = (!asked.settled).then(|| Instant::now() + wait);
                    recorder.record(Fact::Lookup {
                        host,
                        vantage: Vantage::Inside,
                        tried,
                        answer,
                    });
                }
                // A resolver that is restarted is back soon; one failure says nothing about the other hosts.
                Err(reason) => {
                    asked.failures += 1;
                    asked.settled = asked.failures >= FAILURES;
                    asked.next = (!asked.settled).then(|| Instant::now() + AGAIN * asked.failures);
                    if asked.failures == 1 {
                        recorder.record(Fact::NotReadable {
                            what: "the cluster's resolver".to_owned(),
                            reason,
                        });
                    }
                }
            }
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "woken by the clock or by a new host, whichever comes first")]
async fn due(next: Option<Instant>) {
    match next {
        Some(next) => sleep_until(next).await,
        None => std::future::pending().await,
    }
}

/// The cluster's own resolver, asked as a pod of this namespace would.
pub struct Resolver {
    pods: Api<Pod>,
    namespace: String,
}

impl Resolver {
    pub fn new(client: Client, namespace: &str) -> Self {
        Self {
            pods: Api::namespaced(client, "kube-system"),
            namespace: namespace.to_owned(),
        }
    }

    /// Asks for the names that a pod's resolver would ask for, until one is found.
    pub async fn resolve(&self, host: &str) -> Result<(Vec<String>, Answer), String> {
        let mut tried = Vec::new();
        for name in search_list(host, &self.namespace) {
            let answer = timeout(DEADLINE, self.ask(&name))
                .await
                .map_err(|_| "it does not answer".to_owned())??;
            tried.push(name);
            if let Some(addresses) = answer {
                return Ok((tried, Answer::Addresses { addresses }));
            }
        }
        Ok((tried, Answer::NoSuchName))
    }

    /// The addresses of exactly this name; `None` where there is no such name.
    async fn ask(&self, name: &str) -> Result<Option<Vec<String>>, String> {
        let text = |error: &dyn std::fmt::Display| error.to_string();
        let servers = self
            .pods
            .list(&ListParams::default().labels("k8s-app=kube-dns"))
            .await
            .map_err(|error| text(&error))?;
        let server = servers
            .items
            .iter()
            .filter(|pod| pod.status.as_ref().is_some_and(|status| status.phase.as_deref() == Some("Running")))
            .find_map(|pod| pod.metadata.name.clone())
            .ok_or("no CoreDNS pod is running")?;
        let mut forward = self.pods.portforward(&server, &[53]).await.map_err(|error| text(&error))?;
        let mut stream = forward.take_stream(53).ok_or("its port was not forwarded")?;

        let mut message = Message::new(1, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = true;
        message.add_query(Query::query(Name::from_ascii(name).map_err(|error| text(&error))?, RecordType::A));
        let bytes = message.to_vec().map_err(|error| text(&error))?;
        let length = u16::try_from(bytes.len()).map_err(|error| text(&error))?;
        stream
            .write_all(&[&length.to_be_bytes()[..], &bytes].concat())
            .await
            .map_err(|error| text(&error))?;
        let length = stream.read_u16().await.map_err(|error| text(&error))?;
        let mut bytes = vec![0; length.into()];
        stream.read_exact(&mut bytes).await.map_err(|error| text(&error))?;
        let answer = Message::from_vec(&bytes).map_err(|error| text(&error))?;
        match answer.metadata.response_code {
            ResponseCode::NoError => {
                let addresses: Vec<_> = answer
                    .answers
                    .iter()
                    .filter_map(|record| match &record.data {
                        RData::A(address) => Some(address.0.to_string()),
                        _ => None,
                    })
                    .collect();
                // A name without addresses helps nobody who wants to connect.
                Ok((!addresses.is_empty()).then_some(addresses))
            }
            ResponseCode::NXDomain => Ok(None),
            other => Err(format!("it answers {other} for {name}")),
        }
    }
}

/// The names that a pod's resolver tries, as the kubelet configures it (`ndots:5`, three search domains).
fn search_list(host: &str, namespace: &str) -> Vec<String> {
    let absolute = format!("{}.", host.trim_end_matches('.'));
    if host.ends_with('.') {
        return vec![absolute];
    }
    let searched = [
        format!("{namespace}.svc.cluster.local"),
        "svc.cluster.local".to_owned(),
        "cluster.local".to_owned(),
    ]
    .into_iter()
    .map(|domain| format!("{host}.{domain}."));
    if host.matches('.').count() >= 5 {
        std::iter::once(absolute).chain(searched).collect()
    } else {
        searched.chain([absolute]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn searches_as_a_pod_does() {
        assert_eq!(
            search_list("db", "a"),
            ["db.a.svc.cluster.local.", "db.svc.cluster.local.", "db.cluster.local.", "db."]
        );
        assert_eq!(search_list("db.", "a"), ["db."]);
        assert_eq!(search_list("a.b.c.d.e.f", "a")[0], "a.b.c.d.e.f.");
    }
}
