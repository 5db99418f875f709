//! CoreDNS without an outside, and the proof that the pod that answers is the one that was told so.

use std::time::Duration;

use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::config::COREFILE;

const SELECTOR: &str = "k8s-app=kube-dns";
/// An answer from the same machine takes milliseconds.
const ANSWER: Duration = Duration::from_secs(2);

/// Puts our Corefile where kubeadm would put its own. kubeadm keeps one that is there already, so a pod of CoreDNS never sees another.
///
/// # Errors
/// When the API server does not take it.
pub async fn configure(client: &kube::Client) -> Result<(), kube::Error> {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "kube-system");
    let map: ConfigMap = serde_json::from_value(json!({
        "metadata": { "name": "coredns", "namespace": "kube-system" },
        "data": { "Corefile": COREFILE },
    }))
    .map_err(kube::Error::SerdeError)?;
    match maps.create(&PostParams::default(), &map).await {
        Err(kube::Error::Api(status)) if status.is_already_exists() => {
            let data = json!({ "data": { "Corefile": COREFILE } });
            maps.patch("coredns", &PatchParams::default(), &Patch::Merge(data)).await.map(drop)
        }
        result => result.map(drop),
    }
}

/// One replica is enough for one node, and a probe every second makes it an endpoint as soon as it answers; kubeadm's interval of 10 s
/// makes every pod wait that long when the first probe comes a moment too early. It reaches the API server at the node's own address,
/// because the Service's one leads nowhere until kube-proxy has started, which it does at the same moment.
///
/// Nothing when there is no Deployment yet.
///
/// # Errors
/// When the API server does not take it.
pub async fn slim(client: &kube::Client, node: &str) -> Result<Option<()>, kube::Error> {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), "kube-system");
    let patch = json!({ "spec": {
        "replicas": 1,
        "template": { "spec": { "containers": [{
            "name": "coredns",
            "readinessProbe": { "periodSeconds": 1 },
            "env": [
                { "name": "KUBERNETES_SERVICE_HOST", "value": node },
                { "name": "KUBERNETES_SERVICE_PORT", "value": "6443" },
            ],
        }] } },
    } });
    match deployments
        .patch("coredns", &PatchParams::default(), &Patch::Strategic(patch))
        .await
    {
        Ok(_) => Ok(Some(())),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Asks CoreDNS as a pod would: a name of the cluster must be known, and a name outside must be unknown with authority.
///
/// kubeadm's own configuration would have passed that name on and has no authority to deny it, so the answer tells whose Corefile it is.
/// Says what is missing.
///
/// # Errors
/// When the API server does not answer.
pub async fn fault(client: &kube::Client) -> Result<Option<String>, kube::Error> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), "kube-system");
    let found = pods.list(&ListParams::default().labels(SELECTOR)).await?;
    let ready = |pod: &&Pod| {
        pod.metadata.deletion_timestamp.is_none()
            && pod
                .status
                .as_ref()
                .and_then(|status| status.conditions.as_ref())
                .is_some_and(|conditions| conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True"))
    };
    let Some(name) = found.iter().find(ready).and_then(|pod| pod.metadata.name.clone()) else {
        return Ok(Some(format!("CoreDNS has {} pods, none of them ready", found.items.len())));
    };
    for other in found.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()) {
        if other.metadata.name.as_ref() != Some(&name) {
            return Ok(Some("CoreDNS has more pods than one".to_owned()));
        }
    }
    let mut tunnel = pods.portforward(&name, &[53]).await?;
    let Some(mut stream) = tunnel.take_stream(53) else {
        return Ok(Some("the tunnel to CoreDNS has no stream".to_owned()));
    };
    for (question, wanted, authority) in [
        ("kubernetes.default.svc.cluster.local.", ResponseCode::NoError, true),
        ("rekindle.invalid.", ResponseCode::NXDomain, true),
    ] {
        match tokio::time::timeout(ANSWER, exchange(&mut stream, question)).await {
            Err(_) => return Ok(Some(format!("CoreDNS did not answer for {question}"))),
            Ok(Err(error)) => return Ok(Some(format!("CoreDNS gave no answer for {question} ({error})"))),
            Ok(Ok(answer)) => {
                let (code, told) = (answer.metadata.response_code, answer.metadata.authoritative);
                if code != wanted || told != authority {
                    return Ok(Some(format!("CoreDNS answered {code} for {question} (authoritative: {told})")));
                }
            }
        }
    }
    Ok(None)
}

/// One question over TCP, where each message is preceded by its length.
async fn exchange(stream: &mut (impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin), name: &str) -> std::io::Result<Message> {
    let name = Name::from_ascii(name).map_err(std::io::Error::other)?;
    let mut question = Message::query();
    question.add_query(Query::query(name, RecordType::A));
    let bytes = question.to_vec().map_err(std::io::Error::other)?;
    stream.write_u16(u16::try_from(bytes.len()).map_err(std::io::Error::other)?).await?;
    stream.write_all(&bytes).await?;
    stream.flush().await?;
    let length = stream.read_u16().await?;
    let mut answer = vec![0; usize::from(length)];
    stream.read_exact(&mut answer).await?;
    Message::from_vec(&answer).map_err(std::io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_question_and_its_answer_are_framed() {
        let (mut here, mut there) = tokio::io::duplex(1024);
        let server = tokio::spawn(async move {
            let mut bytes = vec![0; usize::from(there.read_u16().await.unwrap())];
            there.read_exact(&mut bytes).await.unwrap();
            let mut answer = Message::from_vec(&bytes).unwrap().into_response();
            answer.metadata.response_code = ResponseCode::NXDomain;
            answer.metadata.authoritative = true;
            let bytes = answer.to_vec().unwrap();
            there.write_u16(u16::try_from(bytes.len()).unwrap()).await.unwrap();
            there.write_all(&bytes).await.unwrap();
        });
        let answer = exchange(&mut here, "nosuch.invalid.").await.unwrap();
        assert_eq!(answer.metadata.response_code, ResponseCode::NXDomain);
        server.await.unwrap();
    }
}
