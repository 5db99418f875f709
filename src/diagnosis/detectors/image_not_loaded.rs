//! # What it detects
//!
//! A container whose image is not on the node, and which may not be pulled (`imagePullPolicy: Never`).
//!
//! # Why it happens
//!
//! Images for kind are built on the machine and have to be loaded into the nodes. One that was not loaded, or was loaded under another
//! tag or another name, is not there: `app:dev` and `localhost/app:dev` are two names.
//!
//! # Evidence
//!
//! The container's waiting reason `ErrImageNeverPull` with its message; the image and the policy in the specification; the names of
//! the images that the node says it has, made comparable (`app:1` is `docker.io/library/app:1`).
//!
//! # Remedy
//!
//! `use-loaded-image` where the node has the same repository under another tag or prefix; else `load-image`.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::diagnosis::cite;
use crate::diagnosis::progress::{Container, containers, controller, relevant};
use crate::diagnosis::writers::by_hand_in_container;
use crate::diagnosis::{Certainty, Class, Detector, Finding};
use crate::evidence::manifest::{pod_spec, spec_containers, text};
use crate::evidence::{Evidence, Life};
use crate::remedy::Remedy;

pub const DETECTOR: Detector = Detector {
    slug: "image-not-loaded",
    summary: "an image that may not be pulled is not on the node",
    class: Class::Specific,
    remedies: &["load-image", "use-loaded-image"],
    detect,
};

const NEVER: &str = "is not present with pull policy of Never";

fn detect(evidence: &Evidence) -> Vec<Finding> {
    relevant(evidence, "Pod")
        .into_iter()
        .flat_map(|pod| containers(pod).map(move |container| (pod, container)))
        .filter(|(_, container)| container.waiting() == "ErrImageNeverPull" || container.waiting_message().contains(NEVER))
        .map(|(pod, container)| finding(evidence, pod, &container))
        .collect()
}

fn finding(evidence: &Evidence, pod: &Life, container: &Container<'_>) -> Finding {
    let subject = controller(evidence, pod);
    let image = pod_spec(pod.object())
        .and_then(|spec| spec_containers(spec).find(|of| text(of, "/name") == container.name))
        .map_or_else(|| text(container.status, "/image"), |of| text(of, "/image"));
    let node = pod.text("/spec/nodeName");
    let loaded = evidence.get("Node", "", node).map(names).unwrap_or_default();
    let near = nearest(image, &loaded, &used(evidence));
    let seen = pod.versions.last().map(|version| version.at);
    let mut citations = vec![
        cite::observed(
            &pod.reference(),
            format!(
                "container {} waits: {}: {}",
                container.name,
                container.waiting(),
                container.waiting_message()
            ),
            seen,
        ),
        cite::declared(&subject, format!("image of {}: {image}, imagePullPolicy: Never", container.name)),
    ];
    citations.extend(by_hand_in_container(evidence, pod, container.name, "image"));
    if let Some(node) = evidence.get("Node", "", node) {
        let text = match &near {
            Some(near) => format!("status.images has {near}, and not {image}"),
            None => format!("status.images has no {image}"),
        };
        citations.push(cite::observed(&node.reference(), text, None));
    }
    let remedy = match &near {
        Some(near) => Remedy::new("use-loaded-image", format!("use the image {near}, which the node has")).with("loaded", near),
        None => Remedy::new("load-image", format!("load the image {image} into the node")),
    };
    Finding {
        slug: DETECTOR.slug,
        statement: format!("image {image} is not on the node and may not be pulled"),
        certainty: Certainty::Certain,
        why: "with the policy Never nothing brings it there".to_owned(),
        since: pod.time("/metadata/creationTimestamp").unwrap_or_else(|| pod.first_seen()),
        citations,
        explains: vec![pod.reference(), subject.clone()],
        blames: Vec::new(),
        subject,
        remedy: Some(remedy.with("container", container.name).with("image", image)),
        alternatives: Vec::new(),
    }
}

/// The images that other containers run with: of several that fit, one of them is the current one.
fn used(evidence: &Evidence) -> BTreeSet<(String, String)> {
    let running = evidence.all("Pod").flat_map(|pod| {
        let at_work = |name: &str| containers(pod).any(|status| status.name == name && (status.running() || status.succeeded()));
        let specs = pod_spec(pod.object()).into_iter().flat_map(spec_containers);
        specs
            .filter(move |of| at_work(text(of, "/name")))
            .map(|of| parts(text(of, "/image")))
    });
    running.collect()
}

/// The names of the images that a node has.
fn names(node: &Life) -> BTreeSet<String> {
    node.list("/status/images")
        .iter()
        .filter_map(|image| image.get("names")?.as_array())
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}

/// The parts of an image's name: registry and path, and tag or digest.
fn parts(image: &str) -> (String, String) {
    let (name, digest) = image.split_once('@').map_or((image, None), |(name, digest)| (name, Some(digest)));
    let (path, tag) = match name.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') => (path, tag),
        _ => (name, "latest"),
    };
    let first = path.split('/').next().unwrap_or_default();
    let has_registry = path.contains('/') && (first.contains(['.', ':']) || first == "localhost");
    let path = match (has_registry, path.contains('/')) {
        (true, _) => path.to_owned(),
        (false, true) => format!("docker.io/{path}"),
        (false, false) => format!("docker.io/library/{path}"),
    };
    (path, digest.unwrap_or(tag).to_owned())
}

/// Of the images on the node the one that was probably meant: the same repository with another tag, or the same last name elsewhere.
fn nearest(image: &str, loaded: &BTreeSet<String>, used: &BTreeSet<(String, String)>) -> Option<String> {
    let (path, tag) = parts(image);
    let last = path.rsplit('/').next().unwrap_or_default();
    let candidates = loaded.iter().filter(|name| !name.contains('@')).map(|name| (name, parts(name)));
    let rank = |(of, with): &(String, String)| match (of == &path, of.rsplit('/').next() == Some(last), with == &tag) {
        // Already there under this very name: then it was not missing for want of a name.
        (true, _, true) => None,
        (true, ..) => Some(1),
        (false, true, true) => Some(0),
        (false, true, false) => Some(2),
        _ => None,
    };
    let fitting = candidates.filter_map(|(name, parts)| Some((rank(&parts)?, !used.contains(&parts), name)));
    let (_, _, name) = fitting.min()?;
    Some(short(name))
}

/// As people write it: without what is understood by itself.
fn short(name: &str) -> String {
    let name = name
        .strip_prefix("docker.io/library/")
        .or_else(|| name.strip_prefix("docker.io/"))
        .unwrap_or(name);
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::diagnosis::fixture::*;

    const SLUG: &str = "image-not-loaded";

    fn scene(image: &str, loaded: &[&str]) -> Scene {
        let (deployment, set) = deployment("worker", json!({"image": image, "imagePullPolicy": "Never"}), 0);
        let mut pod = pod_of(
            &set,
            "p",
            waiting("ErrImageNeverPull", &format!("Container image \"{image}\" {NEVER}")),
        );
        pod["spec"]["nodeName"] = json!("kind-control-plane");
        let mut scene = Scene::new();
        scene.object(json!({"kind": "Node", "metadata": {"name": "kind-control-plane"}, "status": {"images": [{"names": loaded}]}}));
        scene.engine(9000, "").at(200).object(deployment).object(set).at(500).object(pod);
        scene
    }

    fn remedy(scene: &Scene) -> Remedy {
        scene.diagnosis().causes[0].remedy.clone().expect("a remedy")
    }

    #[test]
    fn another_tag_of_it_is_on_the_node() {
        let scene = scene(
            "worker:dev",
            &["docker.io/library/worker:1.2", "docker.io/library/worker@sha256:00"],
        );
        scene.settles_on(&[(SLUG, "Deployment/worker")]);
        assert_eq!(remedy(&scene).kind, "use-loaded-image");
        assert_eq!(remedy(&scene).parameters["loaded"], "worker:1.2");
    }

    #[test]
    fn the_same_name_stands_under_another_prefix() {
        assert_eq!(
            remedy(&scene("worker:dev", &["localhost/worker:dev", "docker.io/library/other:dev"])).parameters["loaded"],
            "localhost/worker:dev"
        );
    }

    #[test]
    fn nothing_like_it_is_there() {
        assert_eq!(remedy(&scene("worker:dev", &["docker.io/library/coworker:dev"])).kind, "load-image");
    }

    #[test]
    fn of_several_tags_the_one_that_is_in_use_is_meant() {
        let mut scene = scene("worker:dev", &["worker:1.2", "worker:1.3"]);
        let (other, set) = deployment("leader", json!({"image": "docker.io/library/worker:1.3"}), 1);
        scene
            .object(other)
            .object(set.clone())
            .object(as_ready(pod_of(&set, "q", running())));
        assert_eq!(remedy(&scene).parameters["loaded"], "worker:1.3");
    }

    #[test]
    fn names_are_compared_in_full() {
        assert_eq!(parts("worker"), parts("docker.io/library/worker:latest"));
        assert_eq!(parts("team/worker:1"), parts("docker.io/team/worker:1"));
        assert_ne!(parts("localhost/worker:1"), parts("worker:1"));
        assert_eq!(parts("registry:5000/a/b").0, "registry:5000/a/b");
    }

    #[test]
    fn an_image_that_is_still_pulled_is_not_meant() {
        let (deployment, set) = deployment("worker", json!({"image": "worker:dev"}), 0);
        let mut scene = Scene::new();
        scene
            .object(deployment)
            .object(set.clone())
            .object(pod_of(&set, "p", waiting("ContainerCreating", "")));
        scene.never_certain();
    }
}
