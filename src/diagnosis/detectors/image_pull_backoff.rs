//! # What it detects
//!
//! A container whose image cannot be pulled: the registry has no image of this name and tag, its name does not resolve, nothing answers, or
//! it answers with something else than the image.
//!
//! # Why it happens
//!
//! A name or a tag is misspelt, was never pushed, or was removed; a registry is named that this cluster cannot see; or an image that only
//! exists on the machine where it was built is looked for in a registry.
//!
//! # Evidence
//!
//! The waiting reason `ErrImagePull` or `ImagePullBackOff` with the words of the registry, or the newest event `Failed` about the pod where
//! the state does not repeat them; the image and the policy in the specification. A registry that does not answer may do so at the next try;
//! one that has answered has. That it wants credentials is `image-pull-unauthorized`.
//!
//! # Remedy
//!
//! `fix-image-name` where the registry has no such image or there is no such registry; `reach-registry` where nothing answers, or not as it
//! should.

use jiff::SignedDuration;

use crate::diagnosis::attempt::engine_gave_up;
use crate::diagnosis::cite;
use crate::diagnosis::progress::controller;
use crate::diagnosis::pulls::{Pull, Refused, citation, pulls, registry};
use crate::diagnosis::writers::by_hand_in_container;
use crate::diagnosis::{Certainty, Class, Detector, Finding};
use crate::evidence::Evidence;
use crate::remedy::Remedy;

pub const DETECTOR: Detector = Detector {
    slug: "image-pull-backoff",
    summary: "an image cannot be pulled: no such name or tag, or no answer",
    class: Class::Specific,
    remedies: &["fix-image-name", "reach-registry"],
    detect,
};

/// A registry that has not answered for so long, and three times, is not only busy or about to start.
const SILENCE: SignedDuration = SignedDuration::from_secs(20);

fn detect(evidence: &Evidence) -> Vec<Finding> {
    let pulls = pulls(evidence).into_iter();
    pulls
        .filter(|pull| pull.refused != Refused::Unauthorized)
        .map(|pull| finding(evidence, &pull))
        .collect()
}

fn finding(evidence: &Evidence, pull: &Pull<'_>) -> Finding {
    let subject = controller(evidence, pull.pod);
    let (image, registry) = (pull.image, registry(pull.image));
    let reason = match pull.refused {
        Refused::NotFound => format!("{registry} has no such image"),
        Refused::NoSuchHost => format!("{registry} does not resolve on the node"),
        Refused::NoAnswer => format!("nothing answers at {registry}"),
        Refused::Unauthorized | Refused::Otherwise => format!("{registry} or the node refuses it"),
    };
    let (certainty, why) = certainty(evidence, pull);
    let remedy = match pull.refused {
        Refused::NotFound | Refused::NoSuchHost => {
            let sentence = format!("name an image that exists in a registry which the node can see, or load {image} into the node");
            Remedy::new("fix-image-name", sentence)
        }
        _ => Remedy::new("reach-registry", format!("make {registry} give out {image} to the nodes")).with("registry", registry),
    };
    let mut citations = vec![citation(pull)];
    citations.push(cite::declared(&subject, format!("image of {}: {image}", pull.container)));
    citations.extend(by_hand_in_container(evidence, pull.pod, pull.container, "image"));
    if pull.tries > 0 {
        citations.push(cite::observed(
            &pull.pod.reference(),
            format!("event Failed, {} times", pull.tries),
            None,
        ));
    }
    Finding {
        slug: DETECTOR.slug,
        statement: format!("image {image} cannot be pulled: {reason}"),
        certainty,
        why,
        since: pull.since,
        citations,
        explains: vec![pull.pod.reference(), subject.clone()],
        blames: Vec::new(),
        subject,
        remedy: Some(remedy.with("container", pull.container).with("image", image)),
        alternatives: Vec::new(),
    }
}

fn certainty(evidence: &Evidence, pull: &Pull<'_>) -> (Certainty, String) {
    let certain = |why: &str| (Certainty::Certain, why.to_owned());
    if engine_gave_up(evidence) {
        return certain("the engine has given up");
    }
    let waited = evidence.since(pull.since);
    match pull.refused {
        Refused::NotFound => certain("the registry was asked, and has none"),
        Refused::Unauthorized | Refused::Otherwise | Refused::NoSuchHost if pull.tries >= 2 || waited >= SILENCE => {
            certain("it was asked more than once, and nothing in the cluster changes the answer")
        }
        Refused::NoAnswer if pull.tries >= 3 && waited >= SILENCE => certain("it was tried again and again, and nothing has answered"),
        _ => (Certainty::Suspected, "the next try may succeed".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::diagnosis::fixture::*;

    const SLUG: &str = "image-pull-backoff";
    const IMAGE: &str = "registry.shop.invalid/web:1.2";
    const NO_TAG: &str = "failed to resolve reference \"registry.shop.invalid/web:1.2\": registry.shop.invalid/web:1.2: not found";
    const NO_NAME: &str = "failed to do request: Head \"https://registry.shop.invalid/v2/web/manifests/1.2\": dial tcp: lookup registry.shop.invalid on 10.0.0.1:53: no such host";
    const REFUSED: &str = "failed to do request: Head \"https://registry.shop.invalid/v2/web/manifests/1.2\": dial tcp 10.0.0.9:443: connect: connection refused";

    fn scene(reason: &str, message: &str) -> Scene {
        let (deployment, set) = deployment("web", json!({"image": IMAGE}), 0);
        let mut scene = Scene::new();
        scene
            .object(deployment)
            .object(set.clone())
            .at(500)
            .object(pod_of(&set, "p", waiting(reason, message)));
        scene
    }

    fn failed(scene: &mut Scene, message: &str, count: u32) {
        let pod = json!({"kind": "Pod", "metadata": {"name": "web-7f9c-p"}});
        let mut event = warning(&pod, "Failed", &format!("Failed to pull image \"{IMAGE}\": {message}"));
        event["count"] = json!(count);
        scene.object(event);
    }

    #[test]
    fn a_tag_that_the_registry_does_not_have() {
        let scene = scene("ErrImagePull", NO_TAG);
        scene.settles_on(&[(SLUG, "Deployment/web")]);
        let cause = &scene.diagnosis().causes[0];
        assert_eq!(
            cause.statement,
            format!("image {IMAGE} cannot be pulled: registry.shop.invalid has no such image")
        );
        assert_eq!(cause.remedy.as_ref().expect("a remedy").kind, "fix-image-name");
    }

    #[test]
    fn older_kubelets_say_why_in_the_event_alone() {
        let mut scene = scene("ImagePullBackOff", &format!("Back-off pulling image \"{IMAGE}\""));
        scene.never_certain();
        failed(&mut scene, NO_TAG, 1);
        scene.settles_on(&[(SLUG, "Deployment/web")]);
    }

    #[test]
    fn a_registry_whose_name_does_not_resolve() {
        let mut scene = scene("ErrImagePull", NO_NAME);
        failed(&mut scene, NO_NAME, 1);
        scene.never_certain();
        scene.at(15_000);
        failed(&mut scene, NO_NAME, 2);
        scene.settles_on(&[(SLUG, "Deployment/web")]);
        assert!(
            scene.diagnosis().causes[0]
                .statement
                .ends_with("registry.shop.invalid does not resolve on the node")
        );
    }

    #[test]
    fn a_registry_that_starts_late_is_only_suspected() {
        let mut scene = scene("ErrImagePull", REFUSED);
        failed(&mut scene, REFUSED, 1);
        scene.at(15_000);
        failed(&mut scene, REFUSED, 2);
        scene.never_certain();
        assert_eq!(scene.diagnosis().suspected[0].slug, SLUG);
        let (deployment, set) = deployment("web", json!({"image": IMAGE}), 1);
        scene.at(30_000).object(deployment).object(as_ready(pod_of(&set, "p", running())));
        scene.never_certain();
        assert_eq!(scene.diagnosis().suspected, []);
    }

    #[test]
    fn a_registry_that_never_answers() {
        let mut scene = scene("ErrImagePull", REFUSED);
        scene.at(40_000);
        failed(&mut scene, REFUSED, 3);
        scene.settles_on(&[(SLUG, "Deployment/web")]);
        assert_eq!(
            scene.diagnosis().causes[0].remedy.as_ref().expect("a remedy").kind,
            "reach-registry"
        );
    }

    #[test]
    fn a_registry_that_wants_credentials_is_another_cause() {
        let evidence = scene("ErrImagePull", "unexpected status from HEAD request: 401 Unauthorized").evidence();
        assert!(detect(&evidence).is_empty());
    }
}
