//! # What it detects
//!
//! A container that fails because the key of a Secret that it was given is there and empty.
//!
//! # Why it happens
//!
//! A template looks up what another one has not made yet and renders nothing; a script writes the answer of a request that failed; somebody
//! makes the Secret as a place to fill in later. The reference is satisfied, the pod starts, and the application begins with an empty
//! password.
//!
//! # Evidence
//!
//! The length 0 of the key, the place where the pod refers to it, that the container fails, and a line with which it says what it lacks:
//! the variable, the key or a part of their names with a word for being empty, or that a login was refused where the empty one is a
//! credential. An empty value that nothing fails for is none of it. Something that is unfinished and fills the Secret makes it only suspected.
//!
//! # Remedy
//!
//! `fill-secret-key`: by whoever makes the Secret. Pods see it when they are started again.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::diagnosis::cite;
use crate::diagnosis::hooks::tasks;
use crate::diagnosis::logs::{last, lines, no_progress};
use crate::diagnosis::missing::{MAKERS_OF_SECRETS, Producer, Product};
use crate::diagnosis::progress::{Container, containers, controller, killed, relevant};
use crate::diagnosis::references::is_word_of;
use crate::diagnosis::{Certainty, Citation, Class, Detector, Finding};
use crate::evidence::manifest::{list, pod_spec, spec_containers, text};
use crate::evidence::{Evidence, Life, ObjectRef, PrintedLine};
use crate::remedy::Remedy;

pub const DETECTOR: Detector = Detector {
    slug: "empty-secret-value",
    summary: "a container fails because the key of a Secret that it uses is empty",
    class: Class::Specific,
    remedies: &["fill-secret-key"],
    detect,
};

/// How many of a container's last lines tell why it fails.
const LINES: usize = 20;

/// An empty key that a container uses.
struct Used {
    secret: String,
    key: String,
    /// `env API_KEY`, `volume token`
    origin: String,
    /// What a program may call it: the variable, the key.
    names: Vec<String>,
}

#[derive(Default)]
struct Known {
    keys: BTreeSet<String>,
    citations: Vec<Citation>,
    explains: Vec<ObjectRef>,
    since: Option<jiff::Timestamp>,
}

fn detect(evidence: &Evidence) -> Vec<Finding> {
    let mut found: BTreeMap<(String, String), Known> = BTreeMap::new();
    for pod in relevant(evidence, "Pod") {
        let Some(spec) = pod_spec(pod.object()) else { continue };
        for container in containers(pod).filter(|container| fails(pod, container)) {
            let Some(of) = spec_containers(spec).find(|of| text(of, "/name") == container.name) else {
                continue;
            };
            // One that was started again and has not come to it yet says it of its last run.
            let printed = lines(evidence, pod.uid(), container.name);
            for used in used(evidence, pod, spec, of) {
                let Some(line) = last(printed, LINES).into_iter().rev().find(|line| complains(line, &used)) else {
                    continue;
                };
                let at = (pod.text("/metadata/namespace").to_owned(), used.secret.clone());
                note(found.entry(at).or_default(), evidence, pod, &used, line);
            }
        }
    }
    if found.is_empty() {
        return Vec::new();
    }
    let tasks = tasks(evidence);
    let finding = |((namespace, name), known): ((String, String), Known)| {
        let product = Product {
            kind: "Secret",
            makers: MAKERS_OF_SECRETS,
            namespace: &namespace,
            name: &name,
            exists: true,
        };
        finding(evidence, &product, product.producer(evidence, &tasks, &known.explains), known)
    };
    found.into_iter().map(finding).collect()
}

/// Whether a container ends with an error, or has not come up yet.
fn fails(pod: &Life, container: &Container<'_>) -> bool {
    let ended = container.exit_code().is_some_and(|code| code != 0) && !container.succeeded() && !killed(pod, container);
    if container.running() {
        return pod.condition("Ready") != "True" && (ended || !pod.condition("Ready").is_empty());
    }
    ended
}

/// The empty keys that a container uses.
fn used(evidence: &Evidence, pod: &Life, spec: &Value, container: &Value) -> Vec<Used> {
    let namespace = pod.text("/metadata/namespace");
    let empty = |secret: &str, key: &str| {
        let entry = evidence
            .get("Secret", namespace, secret)
            .and_then(|life| life.object().get("data")?.get(key));
        entry.and_then(|entry| entry.get("length")?.as_u64()) == Some(0)
    };
    let empties = |secret: &str| {
        let data = evidence
            .get("Secret", namespace, secret)
            .and_then(|life| life.object().get("data")?.as_object());
        let keys = data.into_iter().flat_map(|data| data.keys());
        keys.filter(|key| empty(secret, key)).cloned().collect::<Vec<_>>()
    };
    let mut found = Vec::new();
    let mut push = |secret: &str, key: &str, origin: String, name: &str| {
        found.push(Used {
            secret: secret.to_owned(),
            key: key.to_owned(),
            origin,
            names: vec![name.to_owned(), key.to_owned()],
        });
    };
    for variable in list(container, "env") {
        let (name, of) = (text(variable, "/name"), |field: &str| {
            text(variable, &format!("/valueFrom/secretKeyRef/{field}"))
        });
        if empty(of("name"), of("key")) {
            push(of("name"), of("key"), format!("env {name}"), name);
        }
    }
    for source in list(container, "envFrom") {
        let (secret, prefix) = (text(source, "/secretRef/name"), text(source, "/prefix"));
        for key in empties(secret) {
            push(secret, &key, format!("envFrom, variable {prefix}{key}"), &format!("{prefix}{key}"));
        }
    }
    let mounted: BTreeSet<&str> = list(container, "volumeMounts").iter().map(|mount| text(mount, "/name")).collect();
    for volume in list(spec, "volumes")
        .iter()
        .filter(|volume| mounted.contains(text(volume, "/name")))
    {
        let origin = format!("volume {}", text(volume, "/name"));
        let sources = volume.get("projected").map_or(&[][..], |projected| list(projected, "sources"));
        let parts = sources.iter().filter_map(|source| Some((source.get("secret")?, "/name")));
        for (secret, name) in volume.get("secret").map(|secret| (secret, "/secretName")).into_iter().chain(parts) {
            let items = list(secret, "items");
            for key in empties(text(secret, name)) {
                let item = items.iter().find(|item| text(item, "/key") == key);
                if items.is_empty() || item.is_some() {
                    let path = item.map_or(key.as_str(), |item| text(item, "/path"));
                    push(
                        text(secret, name),
                        &key,
                        origin.clone(),
                        path.rsplit('/').next().unwrap_or_default(),
                    );
                }
            }
        }
    }
    found
}

/// Words for something that is not there.
const EMPTY: &[&str] = &[
    "blank",
    "empty",
    "is missing",
    "length 0",
    "missing",
    "must be set",
    "no value",
    "not configured",
    "not found",
    "not provided",
    "not set",
    "not specified",
    "nothing in",
    "null",
    "required",
    "undefined",
    "unset",
    "zero length",
    "zero-length",
];

/// Words with which a login is refused.
const REFUSED: &[&str] = &[
    "401",
    "access denied",
    "authentication failed",
    "authentication failure",
    "bad credentials",
    "incorrect api key",
    "invalid api key",
    "invalid credentials",
    "invalid password",
    "invalid token",
    "login failed",
    "no password supplied",
    "unauthenticated",
    "unauthorized",
    "using password: no",
];

const CREDENTIAL: &[&str] = &["auth", "credential", "key", "pass", "pwd", "secret", "token"];

/// Whether a line says that what this is called is not there, or that somebody was refused for it.
fn complains(line: &PrintedLine, used: &Used) -> bool {
    let lower = line.line.text.to_lowercase();
    let names: Vec<String> = used.names.iter().map(|name| name.to_lowercase()).collect();
    let says = |words: &[&str]| words.iter().any(|word| is_word_of(&lower, word));
    let empty = says(EMPTY);
    let named = names.iter().any(|name| is_word_of(&lower, name));
    if named && (empty || no_progress(line) || lower.contains("invalid")) {
        return true;
    }
    // `JWT secret must not be empty` of JWT_SECRET; a short part of a name stands in any text.
    let part = |name: &String| {
        let mut parts = name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|part| part.len() >= 4);
        parts.any(|part| is_word_of(&lower, part))
    };
    if empty && names.iter().any(part) {
        return true;
    }
    let credential = CREDENTIAL.iter().any(|word| names.iter().any(|name| name.contains(word)));
    credential && says(REFUSED)
}

fn note(known: &mut Known, evidence: &Evidence, pod: &Life, used: &Used, line: &PrintedLine) {
    let (namespace, top) = (pod.text("/metadata/namespace"), controller(evidence, pod));
    let created = pod.time("/metadata/creationTimestamp").unwrap_or_else(|| pod.first_seen());
    known.since = Some(known.since.map_or(created, |since| since.min(created)));
    known.keys.insert(used.key.clone());
    let secret = ObjectRef::new("Secret", Some(namespace), &used.secret);
    let citations = [
        cite::observed(&secret, format!("data.{}: length 0", used.key), None),
        cite::printed(&pod.reference(), line),
        cite::declared(&top, format!("{}: Secret {}, key {}", used.origin, used.secret, used.key)),
    ];
    for citation in citations {
        if !known.citations.contains(&citation) {
            known.citations.push(citation);
        }
    }
    for object in [pod.reference(), top] {
        if !known.explains.contains(&object) {
            known.explains.push(object);
        }
    }
}

fn finding(evidence: &Evidence, secret: &Product<'_>, producer: Option<Producer>, known: Known) -> Finding {
    let subject = ObjectRef::new("Secret", Some(secret.namespace), secret.name);
    let (certainty, why) = match &producer {
        Some(Producer { waits: true, what, .. }) => (Certainty::Suspected, format!("{what} may still fill it")),
        Some(Producer { what, .. }) => (Certainty::Certain, format!("{what} makes it, and changes nothing any more")),
        None => (Certainty::Certain, "nothing that is unfinished mentions it".to_owned()),
    };
    let keys: Vec<&str> = known.keys.iter().map(String::as_str).collect();
    let keys = keys.join(", ");
    let noun = if known.keys.len() == 1 { "key" } else { "keys" };
    let verb = if known.keys.len() == 1 { "is" } else { "are" };
    let sentence = format!("give the {noun} {keys} of Secret {} a value, and start the pods again", secret.name);
    let remedy = Remedy::new("fill-secret-key", sentence)
        .with("name", secret.name)
        .with("namespace", secret.namespace)
        .with("keys", keys.replace(", ", ","));
    Finding {
        slug: DETECTOR.slug,
        statement: format!("the {noun} {keys} of Secret {} {verb} empty", secret.name),
        certainty,
        why,
        since: known.since.unwrap_or(evidence.now),
        citations: known.citations,
        explains: known.explains,
        blames: [
            vec![subject.clone()],
            producer.and_then(|producer| producer.object).into_iter().collect(),
        ]
        .concat(),
        subject,
        remedy: Some(remedy),
        alternatives: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::diagnosis::fixture::*;

    const TOKEN: (&str, &str) = ("empty-secret-value", "Secret/git-token");
    const CRASH: (&str, &str) = ("crash-loop", "Deployment/mirror");

    fn secret(length: u32) -> Value {
        json!({"kind": "Secret", "metadata": {"name": "git-token"}, "data": {"token": {"length": length, "hash": "0a"}, "user": {"length": 5, "hash": "1b"}}})
    }

    fn uses() -> Value {
        json!({"image": "mirror:1", "env": [{"name": "GIT_TOKEN", "valueFrom": {"secretKeyRef": {"name": "git-token", "key": "token"}}}]})
    }

    /// A pod of a live namespace that prints this and crashes, four times.
    fn crashes(container: Value, secret: Value, words: &str) -> Scene {
        let (deployment, set) = deployment("mirror", container, 0);
        let mut scene = Scene::new();
        scene.object(secret).object(deployment).object(set.clone());
        for restarts in 2..6 {
            scene
                .at(i64::from(restarts) * 10_000)
                .object(restarted(pod_of(&set, "p", running()), restarts, 1));
            scene.log_of("mirror-7f9c-p", "mirror", restarts, "mirror 2.1 starts");
            scene.log_of("mirror-7f9c-p", "mirror", restarts, words);
            let waits = pod_of(&set, "p", waiting("CrashLoopBackOff", "back-off"));
            scene.at(i64::from(restarts) * 10_000 + 500).object(restarted(waits, restarts, 1));
        }
        scene
    }

    #[test]
    fn each_way_to_say_it() {
        for words in [
            "FATAL: GIT_TOKEN must be set",
            "sh: 1: GIT_TOKEN: parameter not set or null",
            "error: the token is empty",
            "KeyError: no value for git token",
            "config error: /run/git/token is empty",
            "remote: HTTP Basic: Access denied",
            "curl: (22) The requested URL returned error: 401",
        ] {
            crashes(uses(), secret(0), words).settles_on(&[TOKEN]);
        }
    }

    #[test]
    fn it_cites_the_length_and_the_line() {
        let scene = crashes(uses(), secret(0), "GIT_TOKEN is required");
        let diagnosis = scene.diagnosis();
        let cited: Vec<_> = diagnosis.causes[0]
            .citations
            .iter()
            .map(|citation| citation.text.as_str())
            .collect();
        assert_eq!(
            cited,
            [
                "data.token: length 0",
                "\"GIT_TOKEN is required\"",
                "env GIT_TOKEN: Secret git-token, key token"
            ]
        );
    }

    #[test]
    fn each_place_that_uses_it() {
        let all = json!({"image": "mirror:1", "envFrom": [{"prefix": "GIT_", "secretRef": {"name": "git-token"}}]});
        crashes(all, secret(0), "GIT_token is not set").settles_on(&[TOKEN]);
    }

    #[test]
    fn a_value_that_is_there_and_a_crash_for_something_else_stay_silent() {
        crashes(uses(), secret(40), "GIT_TOKEN is required").settles_on(&[CRASH]);
        crashes(uses(), secret(0), "panic: index out of range").settles_on(&[CRASH]);
        let other = json!({"image": "mirror:1", "env": [{"name": "GIT_USER", "valueFrom": {"secretKeyRef": {"name": "git-token", "key": "user"}}}]});
        crashes(other, secret(0), "the token is empty").settles_on(&[CRASH]);
    }

    #[test]
    fn one_that_nobody_fails_for_is_no_failure() {
        let (deployment, set) = deployment("mirror", uses(), 1);
        let mut scene = Scene::new();
        scene.object(secret(0)).object(deployment).object(set.clone());
        scene.object(as_ready(pod_of(&set, "p", running())));
        scene.log("mirror-7f9c-p", "mirror", "warning: GIT_TOKEN is empty, public repositories only");
        scene.at(9000).object(set);
        assert_eq!(scene.diagnosis(), crate::diagnosis::Diagnosis::default());
    }

    #[test]
    fn one_that_a_running_job_fills_is_only_suspected() {
        let mut scene = crashes(uses(), secret(0), "GIT_TOKEN is required");
        let maker = job(
            "mint",
            json!({"command": ["sh", "-c", "kubectl patch secret git-token -p \"$NEW\""]}),
        );
        scene.object(maker.clone()).object(pod_of(&maker, "m", running()));
        let diagnosis = scene.diagnosis();
        assert_eq!(diagnosis.identity(), []);
        assert_eq!(diagnosis.suspected[0].slug, TOKEN.0);
    }
}
