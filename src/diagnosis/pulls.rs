//! Images that cannot be pulled, and what the registry, or whoever stands before it, says about that.

use std::borrow::Cow;
use std::sync::LazyLock;

use jiff::Timestamp;
use regex::Regex;
use serde_json::Value;

use super::progress::{Container, concerns, containers, event_text, relevant};
use super::{Citation, cite};
use crate::evidence::manifest::{pod_spec, spec_containers, text};
use crate::evidence::{Evidence, Life};

/// Why an image does not come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The registry does not let this node, or these credentials, have it.
    Unauthorized,
    /// The registry has no such repository, or no such tag in it.
    NotFound,
    /// The registry's name does not resolve on the node.
    NoSuchHost,
    /// Nothing answers at the registry's address.
    NoAnswer,
    /// Anything else: a certificate, a limit, another platform.
    Otherwise,
}

/// One container whose image could not be pulled.
#[derive(Debug)]
pub struct Pull<'a> {
    pub pod: &'a Life,
    pub container: &'a str,
    pub image: &'a str,
    /// `Always`, `IfNotPresent`
    pub policy: &'a str,
    pub refused: Refused,
    /// What was said, as the kubelet passes it on.
    pub words: &'a str,
    /// How often it was tried, as far as events tell.
    pub tries: i64,
    pub since: Timestamp,
}

/// Every container that waits for an image which could not be pulled, with the reason. One whose reason nobody has told yet is left out.
pub fn pulls(evidence: &Evidence) -> Vec<Pull<'_>> {
    relevant(evidence, "Pod")
        .into_iter()
        .flat_map(|pod| containers(pod).map(move |container| (pod, container)))
        .filter(|(_, container)| matches!(container.waiting(), "ErrImagePull" | "ImagePullBackOff"))
        .filter_map(|(pod, container)| pull(evidence, pod, &container))
        .collect()
}

fn pull<'a>(evidence: &'a Evidence, pod: &'a Life, container: &Container<'a>) -> Option<Pull<'a>> {
    let spec = pod_spec(pod.object()).and_then(|spec| spec_containers(spec).find(|of| text(of, "/name") == container.name))?;
    let image = text(spec, "/image");
    let about = |event: &&Life| {
        let said = event_text(event);
        event.text("/reason") == "Failed" && said.contains("ailed to pull image") && said.contains(image) && concerns(event, pod)
    };
    let failures: Vec<&Life> = evidence.events_about(pod).filter(about).collect();
    let told = failures
        .iter()
        .max_by_key(|event| event.versions.last().map(|version| version.at))
        .map(|event| event_text(event));
    // Older kubelets say why only once, in the first of the two states that take turns; the event keeps it.
    let before = pod
        .versions
        .iter()
        .rev()
        .find_map(|version| said_before(&version.object, container.name));
    let (words, refused) = [Some(container.waiting_message()), told, before]
        .into_iter()
        .flatten()
        .find_map(|words| Some((words, refused(words, image)?)))?;
    let tries = failures.iter().map(|event| event.number("/count").unwrap_or(1)).sum();
    Some(Pull {
        pod,
        container: container.name,
        image,
        policy: text(spec, "/imagePullPolicy"),
        refused,
        words,
        tries,
        since: pod.time("/metadata/creationTimestamp").unwrap_or_else(|| pod.first_seen()),
    })
}

/// What an earlier form of the pod says that its container waits for.
fn said_before<'a>(pod: &'a Value, container: &str) -> Option<&'a str> {
    ["/status/initContainerStatuses", "/status/containerStatuses"]
        .iter()
        .filter_map(|pointer| pod.pointer(pointer)?.as_array())
        .flatten()
        .find(|status| text(status, "/name") == container && text(status, "/state/waiting/reason") == "ErrImagePull")
        .map(|status| text(status, "/state/waiting/message"))
}

const NO_SUCH_HOST: &[&str] = &["no such host", "temporary failure in name resolution", "server misbehaving"];
const NO_ANSWER: &[&str] = &[
    "connection refused",
    "connection reset by peer",
    "context deadline exceeded",
    "i/o timeout",
    "network is unreachable",
    "no route to host",
    "request canceled while waiting for connection",
    "tls handshake timeout",
    "unexpected eof",
    "503 service unavailable",
    "502 bad gateway",
];
const UNAUTHORIZED: &[&str] = &[
    "401 unauthorized",
    "403 forbidden",
    "access denied",
    "access forbidden",
    "authentication required",
    "authorization failed",
    "no basic auth credentials",
    "unauthorized:",
    "unauthenticated request",
    "denied: ",
];
const NOT_FOUND: &[&str] = &["manifest unknown", "name unknown", "repository not found", "404 not found"];

/// What the kubelet says itself around the words of others.
static OWN: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r#"^(?:Error: )?(?:ErrImagePull(?:: )?|ImagePullBackOff(?:: )?|Back-off pulling image "[^"]*"(?:: )?|Failed to pull image "[^"]*"(?:: )?)+"#)
        .ok()
});

/// What a message says of a pull; nothing where it says only that it failed.
pub fn refused(words: &str, image: &str) -> Option<Refused> {
    let own = OWN.as_ref()?;
    let mut said = Cow::Borrowed(words.trim());
    while let Some(found) = own.find(&said).filter(|found| !found.is_empty()) {
        said = Cow::Owned(said[found.end()..].trim_start().to_owned());
    }
    if said.is_empty() {
        return None;
    }
    // The image may be called anything.
    let (path, _) = image.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')).unwrap_or((image, ""));
    let (registry, repository) = path.split_once('/').unwrap_or(("", path));
    let mut plain = said.replace(image, "").replace(path, "");
    if !repository.is_empty() && repository.contains(['/', '-']) {
        plain = plain.replace(repository, "");
    }
    let plain = plain.replace(registry, "").to_lowercase();
    let any = |of: &[&str]| of.iter().any(|words| plain.contains(words));
    // Who does not reach the registry has no answer from it, whatever it was about to ask.
    Some(if any(NO_SUCH_HOST) {
        Refused::NoSuchHost
    } else if any(UNAUTHORIZED) {
        Refused::Unauthorized
    } else if any(NO_ANSWER) {
        Refused::NoAnswer
    } else if plain.contains("no match for platform") {
        // It is there, for other machines.
        Refused::Otherwise
    } else if any(NOT_FOUND) || plain.trim_end().ends_with(": not found") || plain.contains("code = notfound") {
        Refused::NotFound
    } else {
        Refused::Otherwise
    })
}

/// The registry that an image comes from.
pub fn registry(image: &str) -> &str {
    let first = image.split('/').next().unwrap_or_default();
    let named = image.contains('/') && (first.contains(['.', ':']) || first == "localhost");
    if named { first } else { "docker.io" }
}

/// That the container waits for its image, in the words of who refused it.
pub fn citation(pull: &Pull<'_>) -> Citation {
    let at = pull.pod.versions.last().map(|version| version.at);
    let words = super::logs::quoted(pull.words);
    cite::observed(
        &pull.pod.reference(),
        format!("container {} waits for its image: {words}", pull.container),
        at,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_registries_and_kubelets_say() {
        let image = "registry.shop.invalid/team/unauthorized:not-found";
        let cases = [
            (
                "failed to pull and unpack image \"registry.shop.invalid/team/unauthorized:not-found\": failed to resolve reference \"registry.shop.invalid/team/unauthorized:not-found\": registry.shop.invalid/team/unauthorized:not-found: not found",
                Some(Refused::NotFound),
            ),
            (
                "rpc error: code = NotFound desc = failed to pull and unpack image \"docker.io/library/web:9\": failed to resolve reference \"docker.io/library/web:9\": docker.io/library/web:9: not found",
                Some(Refused::NotFound),
            ),
            (
                "Back-off pulling image \"registry.shop.invalid/team/unauthorized:not-found\": ErrImagePull: failed to do request: Head \"https://registry.shop.invalid/v2/team/unauthorized/manifests/not-found\": dial tcp: lookup registry.shop.invalid on 172.18.0.1:53: no such host",
                Some(Refused::NoSuchHost),
            ),
            (
                "failed to authorize: failed to fetch anonymous token: Get \"https://auth.shop.invalid/token\": dial tcp 10.0.0.9:443: i/o timeout",
                Some(Refused::NoAnswer),
            ),
            (
                "pull access denied, repository does not exist or may require authorization: server message: insufficient_scope: authorization failed",
                Some(Refused::Unauthorized),
            ),
            (
                "unexpected status from HEAD request to http://localhost:5000/v2/app/manifests/1: 401 Unauthorized",
                Some(Refused::Unauthorized),
            ),
            (
                "Error response from daemon: Get https://registry.shop.invalid/v2/: unauthorized: incorrect username or password",
                Some(Refused::Unauthorized),
            ),
            (
                "tls: failed to verify certificate: x509: certificate signed by unknown authority",
                Some(Refused::Otherwise),
            ),
            ("no match for platform in manifest: not found", Some(Refused::Otherwise)),
            ("Back-off pulling image \"registry.shop.invalid/team/unauthorized:not-found\"", None),
            ("Error: ErrImagePull", None),
            ("", None),
        ];
        for (words, expected) in cases {
            assert_eq!(refused(words, image), expected, "{words}");
        }
    }

    #[test]
    fn where_an_image_comes_from() {
        assert_eq!(registry("web:1"), "docker.io");
        assert_eq!(registry("team/web:1"), "docker.io");
        assert_eq!(registry("localhost:5000/web"), "localhost:5000");
        assert_eq!(registry("ghcr.io/team/web@sha256:00"), "ghcr.io");
    }
}
