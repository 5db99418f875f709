//! # What it detects
//!
//! A container whose image the registry does not give out to whoever asks.
//!
//! # Why it happens
//!
//! The image is private and the pod names no pull Secret, nor does its ServiceAccount; or it names one that does not exist or whose
//! credentials do not suffice. A pull Secret that merely lies in the namespace is used by nobody.
//!
//! # Evidence
//!
//! The waiting reason `ErrImagePull` or `ImagePullBackOff` with the registry's refusal (401, 403, `pull access denied`, `authorization
//! failed`); the `imagePullSecrets` of the pod, to which the API server has added those of its ServiceAccount; which Secrets of type
//! `kubernetes.io/dockerconfigjson` there are. Docker Hub says the same of a repository that does not exist.
//!
//! # Remedy
//!
//! `reference-pull-secret` where the namespace has one that is not referenced; `create-pull-secret` where it has none; `fix-pull-secret`
//! where one was used.

use crate::diagnosis::attempt::engine_gave_up;
use crate::diagnosis::cite;
use crate::diagnosis::progress::controller;
use crate::diagnosis::pulls::{Pull, Refused, citation, pulls, registry};
use crate::diagnosis::writers::by_hand_in_container;
use crate::diagnosis::{Certainty, Citation, Class, Detector, Finding};
use crate::evidence::manifest::text;
use crate::evidence::{Evidence, Life, ObjectRef};
use crate::remedy::Remedy;

pub const DETECTOR: Detector = Detector {
    slug: "image-pull-unauthorized",
    summary: "a registry refuses an image for want of credentials",
    class: Class::Specific,
    remedies: &["create-pull-secret", "fix-pull-secret", "reference-pull-secret"],
    detect,
};

const TYPES: &[&str] = &["kubernetes.io/dockerconfigjson", "kubernetes.io/dockercfg"];

fn detect(evidence: &Evidence) -> Vec<Finding> {
    let pulls = pulls(evidence).into_iter();
    pulls
        .filter(|pull| pull.refused == Refused::Unauthorized)
        .map(|pull| finding(evidence, &pull))
        .collect()
}

/// The pull Secrets that matter to a pod.
struct Secrets<'a> {
    named: Vec<&'a str>,
    /// Of the named ones those that do not exist.
    absent: Vec<&'a str>,
    /// Those of its namespace that it does not name.
    others: Vec<&'a Life>,
}

fn secrets<'a>(evidence: &'a Evidence, pod: &'a Life) -> Secrets<'a> {
    let namespace = pod.text("/metadata/namespace");
    let names = |life: &'a Life, pointer: &str| {
        let names = life.list(pointer).iter().map(|secret| text(secret, "/name"));
        names.filter(|name| !name.is_empty()).collect::<Vec<_>>()
    };
    let named = names(pod, "/spec/imagePullSecrets");
    let absent = named
        .iter()
        .copied()
        .filter(|name| evidence.watched("Secret") && evidence.get("Secret", namespace, name).is_none())
        .collect();
    let mut others: Vec<&Life> = evidence
        .all("Secret")
        .filter(|secret| secret.text("/metadata/namespace") == namespace && TYPES.contains(&secret.text("/type")))
        .filter(|secret| !named.contains(&secret.name()))
        .collect();
    others.sort_by_key(|secret| secret.name().to_owned());
    Secrets { named, absent, others }
}

fn finding(evidence: &Evidence, pull: &Pull<'_>) -> Finding {
    let subject = controller(evidence, pull.pod);
    let secrets = secrets(evidence, pull.pod);
    let (image, registry) = (pull.image, registry(pull.image));
    let account = match pull.pod.text("/spec/serviceAccountName") {
        "" => "default",
        account => account,
    };
    let (what, remedy) = match (secrets.others.first(), secrets.absent.first(), secrets.named.first()) {
        (Some(other), ..) if secrets.absent.len() == secrets.named.len() => {
            let name = other.name();
            let sentence = format!("name Secret {name} in imagePullSecrets of the pod or of ServiceAccount {account}");
            (
                format!(", and nothing references the pull Secret {name}"),
                Remedy::new("reference-pull-secret", sentence).with("secret", name),
            )
        }
        (_, Some(absent), _) => {
            let sentence = format!("make the pull Secret {absent} with credentials for {registry}");
            (
                format!(", and the pull Secret {absent} does not exist"),
                Remedy::new("create-pull-secret", sentence).with("secret", *absent),
            )
        }
        (_, None, Some(named)) => {
            let sentence = format!("put credentials for {registry} into Secret {named} that may read {image}");
            (
                format!(" with the credentials in Secret {named}"),
                Remedy::new("fix-pull-secret", sentence).with("secret", *named),
            )
        }
        (_, None, None) => {
            let sentence = format!("make a pull Secret for {registry}, and name it in imagePullSecrets");
            (
                ", and the pod has no pull Secret".to_owned(),
                Remedy::new("create-pull-secret", sentence),
            )
        }
    };
    // A Secret that is named and not there may be on its way; nothing else of it can change by itself.
    let (certainty, why) = if engine_gave_up(evidence) {
        (Certainty::Certain, "the engine has given up".to_owned())
    } else if let Some(absent) = secrets.absent.first().filter(|_| pull.tries < 2) {
        (Certainty::Suspected, format!("Secret {absent} may still come"))
    } else {
        (Certainty::Certain, "the registry was asked, and has refused".to_owned())
    };
    Finding {
        slug: DETECTOR.slug,
        statement: format!("{registry} refuses image {image}{what}"),
        certainty,
        why,
        since: pull.since,
        citations: citations(evidence, pull, &subject, &secrets, account),
        explains: vec![pull.pod.reference(), subject.clone()],
        blames: Vec::new(),
        subject,
        remedy: Some(remedy.with("image", image).with("registry", registry).with("account", account)),
        alternatives: Vec::new(),
    }
}

fn citations(evidence: &Evidence, pull: &Pull<'_>, subject: &ObjectRef, secrets: &Secrets<'_>, account: &str) -> Vec<Citation> {
    let pod = pull.pod.reference();
    let mut citations = vec![citation(pull)];
    citations.extend(secrets.others.iter().map(|secret| {
        let text = format!(
            "type: {}, and no imagePullSecrets of the pod or its ServiceAccount name it",
            secret.text("/type")
        );
        cite::observed(&secret.reference(), text, None)
    }));
    citations.push(match secrets.named.as_slice() {
        [] => cite::declared(&pod, "spec.imagePullSecrets: none"),
        named => cite::declared(&pod, format!("spec.imagePullSecrets: {}", named.join(", "))),
    });
    let namespace = pull.pod.text("/metadata/namespace");
    let absent = secrets.absent.iter();
    citations.extend(absent.map(|name| cite::observed(&ObjectRef::new("Secret", Some(namespace), *name), "does not exist", None)));
    if let Some(life) = evidence.get("ServiceAccount", namespace, account)
        && life.list("/imagePullSecrets").is_empty()
    {
        citations.push(cite::declared(&life.reference(), "imagePullSecrets: none"));
    }
    citations.push(cite::declared(subject, format!("image of {}: {}", pull.container, pull.image)));
    citations.extend(by_hand_in_container(evidence, pull.pod, pull.container, "image"));
    citations
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::diagnosis::fixture::*;

    const SLUG: &str = "image-pull-unauthorized";
    const REFUSED: &str = "failed to pull and unpack image \"registry.shop.invalid/web:1\": failed to resolve reference \"registry.shop.invalid/web:1\": unexpected status from HEAD request to https://registry.shop.invalid/v2/web/manifests/1: 401 Unauthorized";

    fn pull_secret(name: &str) -> Value {
        json!({"kind": "Secret", "metadata": {"name": name}, "type": "kubernetes.io/dockerconfigjson", "data": {".dockerconfigjson": "[redacted: 90 bytes, 00]"}})
    }

    fn scene(secrets: &[&str], named: &[&str], message: &str) -> Scene {
        let (deployment, set) = deployment("web", json!({"image": "registry.shop.invalid/web:1"}), 0);
        let mut pod = pod_of(&set, "p", waiting("ErrImagePull", message));
        pod["spec"]["imagePullSecrets"] = named.iter().map(|name| json!({"name": name})).collect();
        let mut scene = Scene::new();
        for secret in secrets {
            scene.object(pull_secret(secret));
        }
        scene.object(deployment).object(set).at(500).object(pod);
        scene
    }

    fn remedy(scene: &Scene) -> Remedy {
        scene.settles_on(&[(SLUG, "Deployment/web")]);
        scene.diagnosis().causes[0].remedy.clone().expect("a remedy")
    }

    #[test]
    fn a_pull_secret_that_nothing_references() {
        let scene = scene(&["regcred"], &[], REFUSED);
        let remedy = remedy(&scene);
        assert_eq!(
            (remedy.kind.as_str(), remedy.parameters["secret"].as_str()),
            ("reference-pull-secret", "regcred")
        );
        let citations = &scene.diagnosis().causes[0].citations;
        assert_eq!(citations[1].object.to_string(), "Secret/regcred");
    }

    #[test]
    fn there_is_none() {
        let mut scene = scene(&[], &[], REFUSED);
        // A Secret of another type is none.
        scene.object(json!({"kind": "Secret", "metadata": {"name": "registry"}, "type": "Opaque"}));
        assert_eq!(remedy(&scene).kind, "create-pull-secret");
    }

    #[test]
    fn the_credentials_are_not_enough() {
        assert_eq!(remedy(&scene(&["regcred", "other"], &["regcred"], REFUSED)).kind, "fix-pull-secret");
    }

    #[test]
    fn a_named_secret_that_does_not_exist_may_still_come() {
        let mut scene = scene(&[], &["regcred"], REFUSED);
        scene.never_certain();
        let pod = json!({"kind": "Pod", "metadata": {"name": "web-7f9c-p"}});
        let mut event = warning(
            &pod,
            "Failed",
            &format!("Failed to pull image \"registry.shop.invalid/web:1\": {REFUSED}"),
        );
        event["count"] = json!(2);
        scene.at(20_000).object(event);
        assert_eq!(remedy(&scene).kind, "create-pull-secret");
    }

    #[test]
    fn what_docker_hub_says_of_a_private_repository() {
        let said = "failed to resolve reference \"docker.io/team/web:1\": pull access denied, repository does not exist or may require authorization: server message: insufficient_scope: authorization failed";
        assert_eq!(remedy(&scene(&[], &[], said)).kind, "create-pull-secret");
    }

    #[test]
    fn a_tag_that_does_not_exist_is_another_cause() {
        let said = "failed to resolve reference \"registry.shop.invalid/web:1\": registry.shop.invalid/web:1: not found";
        assert!(detect(&scene(&["regcred"], &[], said).evidence()).is_empty());
    }
}
