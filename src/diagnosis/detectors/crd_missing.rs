//! # What it detects
//!
//! A chart with an object of a kind that nobody has defined, and that no known release delivers.
//!
//! # Why it happens
//!
//! The chart was written for clusters that have an operator, and this one has none, or an older one. Definitions of kinds are the cluster's
//! and not the chart's: `crds/` of another chart, a repository that installs operators first. Nothing of the release is applied, not even a
//! record is written, because the engine asks what the kind is called in the API before it begins.
//!
//! # Evidence
//!
//! The words `no matches for kind "X" in version "g/v1"`; that no release of which a record is known defines the kind. Where one does, it only
//! is not there yet, and that is `depends-on-missing`. Kinds of Kubernetes itself are left out: a version that is not served was removed.
//!
//! # Remedy
//!
//! `install-crd`: the definition, from whoever makes it. Else `gate-custom-resource`: leave the object out where the kind is not known.

use std::collections::BTreeSet;

use crate::diagnosis::no_matches::{Said, Supplier, Unserved, finding, refused, supplier};
use crate::diagnosis::{Certainty, Class, Detector, Finding, cite};
use crate::evidence::Evidence;
use crate::remedy::Remedy;

pub const DETECTOR: Detector = Detector {
    slug: "crd-missing",
    summary: "a chart has an object of a kind that nobody has defined",
    class: Class::Specific,
    remedies: &["gate-custom-resource", "install-crd"],
    detect,
};

fn detect(evidence: &Evidence) -> Vec<Finding> {
    let Some((attempt, unserved)) = refused(evidence) else {
        return Vec::new();
    };
    let of_kind = |unserved: &Unserved| {
        let supplier = supplier(evidence, &attempt, unserved);
        let (certainty, why) = match &supplier {
            Supplier::Release(_) => return None,
            Supplier::Gone(record) => (
                Certainty::Certain,
                format!(
                    "release {}, which defines it, was there before, so somebody has taken the definition away",
                    record.name
                ),
            ),
            Supplier::Nobody => (Certainty::Certain, "no release that is known defines it".to_owned()),
            Supplier::Unknown(release) => (
                Certainty::Suspected,
                format!("HelmRelease {} is not ready, and could define it", release.name()),
            ),
        };
        let (kind, title) = (&unserved.kind, unserved.title());
        let objects: Vec<&str> = unserved.objects.iter().map(|object| object.name.as_str()).collect();
        let named = if objects.is_empty() {
            String::new()
        } else {
            format!(" {}", objects.join(", "))
        };
        let parameters = |remedy: Remedy| {
            remedy
                .with("kind", kind)
                .with("group", &unserved.group)
                .with("version", &unserved.version)
        };
        let install = Remedy::new("install-crd", format!("install the definition of {title}, from whoever makes it"));
        let gate = Remedy::new(
            "gate-custom-resource",
            format!("leave {kind}{named} out of the chart where the cluster does not know the kind"),
        );
        let looked = match supplier {
            Supplier::Gone(record) => format!("release {} defines it, and was deployed before this began", record.name),
            _ => looked(evidence, &attempt.release),
        };
        Some(finding(
            &attempt,
            unserved,
            Said {
                slug: DETECTOR.slug,
                statement: format!("the chart has {kind}{named}, and the cluster knows no {title}"),
                certainty,
                why,
                citations: vec![cite::inferred(&attempt.subject(), looked)],
                remedy: parameters(install),
                alternatives: vec![parameters(gate)],
            },
        ))
    };
    unserved.iter().filter_map(of_kind).collect()
}

/// Where a definition was looked for.
fn looked(evidence: &Evidence, release: &str) -> String {
    let others = evidence
        .releases
        .keys()
        .map(|(name, _)| name.as_str())
        .filter(|name| *name != release);
    let others: BTreeSet<&str> = others.collect();
    match others.len() {
        0 => "no other release is known in this namespace".to_owned(),
        _ => format!(
            "none of the releases {} defines it",
            others.into_iter().collect::<Vec<_>>().join(", ")
        ),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::diagnosis::fixture::*;

    const SLUG: &str = "crd-missing";

    fn words(kind: &str, version: &str) -> String {
        format!(
            "Error: INSTALLATION FAILED: unable to build kubernetes objects from release manifest: resource mapping not found for name: \"ledger\" \
             namespace: \"\" from \"\": no matches for kind \"{kind}\" in version \"{version}\""
        )
    }

    fn refused(words: &str) -> Scene {
        let mut scene = Scene::new();
        scene.engine(10_000, "watcher").at(300).engine_says(words);
        scene.engine_says("ensure CRDs are installed first").engine_ends(1);
        scene
    }

    #[test]
    fn a_kind_that_nobody_defines_is_missing() {
        for words in [
            words("ServiceMonitor", "monitoring.coreos.com/v1"),
            words("ServiceMonitor", "monitoring.coreos.com/v1").replace('"', "\\\""),
        ] {
            let scene = refused(&words);
            scene.settles_on(&[(SLUG, "ServiceMonitor/ledger")]);
            let cause = &scene.diagnosis().causes[0];
            assert_eq!(
                cause.statement,
                "the chart has ServiceMonitor ledger, and the cluster knows no ServiceMonitor of monitoring.coreos.com/v1"
            );
            assert_eq!(cause.citations[1].text, "no other release is known in this namespace");
        }
        refused("no matches for kind \"Gateway\" in version \"gateway.networking.k8s.io/v1\"")
            .settles_on(&[(SLUG, "CustomResourceDefinition/Gateway.gateway.networking.k8s.io")]);
    }

    #[test]
    fn a_removed_version_of_kubernetes_own_is_another_story() {
        for version in ["policy/v1beta1", "networking.k8s.io/v1beta1", "v2"] {
            refused(&words("PodSecurityPolicy", version)).never_certain();
        }
    }

    #[test]
    fn a_release_that_has_not_begun_could_define_it() {
        let mut scene = Scene::new();
        scene.object(json!({"kind": "HelmRelease", "metadata": {"name": "operators"}, "status": {"conditions": []}}));
        scene.engine(10_000, "poller").at(300);
        scene
            .engine_says(&words("ServiceMonitor", "monitoring.coreos.com/v1"))
            .engine_ends(1);
        scene.never_certain();
        assert_eq!(scene.diagnosis().suspected.len(), 1);
        // It is ready, and has brought something else.
        scene.at(900).object(json!({
            "kind": "HelmRelease", "metadata": {"name": "operators"}, "status": {"conditions": [{"type": "Ready", "status": "True"}]},
        }));
        scene.settles_on(&[(SLUG, "ServiceMonitor/ledger")]);
    }
}
