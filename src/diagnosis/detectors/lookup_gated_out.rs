//! # What it detects
//!
//! A Secret or ConfigMap that the chart would have made, and whose template rendered nothing, because an object that it looks up was not
//! there.
//!
//! # Why it happens
//!
//! A template that asks the cluster for an object with `lookup` is asked once, when the chart is rendered. On a cluster that is being set
//! up, the release that delivers the object comes later. Nothing fails then: the template is empty, and what needs its object waits for
//! something that nobody makes. That the object appears in the end changes nothing, because a chart is rendered again only for a new
//! version, other values, or because somebody asks for it.
//!
//! # Evidence
//!
//! The lookup, by the template that the release record holds, which writes out the name of what is missing; that no rendered object has
//! that name; that the object which is looked up did not exist when the chart was rendered, and since when it does.
//!
//! # Remedy
//!
//! `render-again`, once the object is there. `depends-on` before: the release waits for the one that delivers it.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::diagnosis::attempt::{Attempt, State, attempt};
use crate::diagnosis::cite;
use crate::diagnosis::progress::{controller, relevant};
use crate::diagnosis::references::{CONFIG_MAPS, SECRETS, needed};
use crate::diagnosis::{Certainty, Citation, Class, Detector, Finding};
use crate::evidence::manifest::{pod_spec, text};
use crate::evidence::{Evidence, Life, ObjectRef, ReleaseRecord, TemplateLookup};
use crate::remedy::Remedy;

pub const DETECTOR: Detector = Detector {
    slug: "lookup-gated-out",
    summary: "a template rendered nothing, because an object that it looks up did not exist yet",
    class: Class::Specific,
    remedies: &["depends-on", "render-again"],
    detect,
};

fn detect(evidence: &Evidence) -> Vec<Finding> {
    let found = || {
        let rendering = Rendering::of(evidence)?;
        let findings = absent(evidence).into_iter().filter_map(|(object, needed_by)| {
            let gate = gate(evidence, rendering.record, &object)?;
            Some(finding(&rendering, &object, &needed_by, &gate))
        });
        Some(findings.collect())
    };
    found().unwrap_or_default()
}

/// How the chart was rendered last.
struct Rendering<'a> {
    release: ObjectRef,
    record: &'a ReleaseRecord,
    since: Timestamp,
    /// Whether it will be rendered again, or is just being.
    again: bool,
}

impl<'a> Rendering<'a> {
    /// Also between two runs of the engine: what the last one rendered is what there is.
    fn of(evidence: &'a Evidence) -> Option<Self> {
        let attempt = attempt(evidence);
        let engine = evidence.engine();
        let name = attempt
            .as_ref()
            .map(|attempt| &attempt.release)
            .or(engine.map(|engine| &engine.start.release))?;
        let record = attempt.as_ref().and_then(|attempt| attempt.record);
        let record = record
            .or_else(|| evidence.release(name))
            .filter(|record| !record.lookups.is_empty())?;
        let since = attempt.as_ref().map(|attempt| attempt.started_at);
        Some(Self {
            release: attempt.as_ref().map_or_else(
                || ObjectRef::new("Release", Some(&record.namespace), record.name.clone()),
                Attempt::subject,
            ),
            record,
            // It was so in every attempt of a run, and until the next one has rendered something.
            since: since
                .into_iter()
                .chain(record.first_deployed)
                .chain(engine.map(|engine| engine.started_at))
                .min()?,
            again: attempt.is_some_and(|attempt| attempt.state == State::Running),
        })
    }
}

/// Every Secret and ConfigMap that a pod cannot start without and that does not exist, with where it is needed.
fn absent(evidence: &Evidence) -> BTreeMap<ObjectRef, Citation> {
    let mut absent = BTreeMap::new();
    for pod in relevant(evidence, "Pod") {
        let Some(spec) = pod_spec(pod.object()) else { continue };
        let namespace = pod.text("/metadata/namespace");
        for (kind, fields) in [("ConfigMap", &CONFIG_MAPS), ("Secret", &SECRETS)] {
            for reference in needed(spec, fields) {
                if !evidence.watched(kind) || evidence.get(kind, namespace, &reference.name).is_some() {
                    continue;
                }
                let object = ObjectRef::new(kind, Some(namespace), reference.name.clone());
                let said = format!("{}: {kind} {}", reference.origin, reference.name);
                absent
                    .entry(object)
                    .or_insert_with(|| cite::declared(&controller(evidence, pod), said));
            }
        }
    }
    absent
}

/// The lookup that kept an object from being rendered.
struct Gate<'a> {
    lookup: &'a TemplateLookup,
    reference: ObjectRef,
    /// Since when what is looked up is there, if it has come since.
    come: Option<(&'a Life, Timestamp)>,
}

fn gate<'a>(evidence: &'a Evidence, record: &'a ReleaseRecord, object: &ObjectRef) -> Option<Gate<'a>> {
    if renders(record, object) {
        return None;
    }
    let rendered_at = record.last_deployed.or(record.first_deployed)?;
    record.lookups.iter().find_map(|lookup| {
        // One that keeps what is there asks for the object itself.
        let itself = lookup.kind == object.kind && lookup.name == object.name;
        let seen = evidence.watched(&lookup.kind) && lookup.namespace == evidence.header.namespace;
        if itself || !seen || !writes(lookup, &object.name) {
            return None;
        }
        let reference = ObjectRef::new(lookup.kind.clone(), Some(&lookup.namespace), lookup.name.clone());
        let newest = evidence.get(&lookup.kind, &lookup.namespace, &lookup.name);
        let come = newest.map(|life| (life, life.time("/metadata/creationTimestamp").unwrap_or_else(|| life.first_seen())));
        // The chart is rendered before its record is written.
        let in_time = come.is_some_and(|(_, since)| since < rendered_at);
        (!in_time).then_some(Gate { lookup, reference, come })
    })
}

fn renders(record: &ReleaseRecord, object: &ObjectRef) -> bool {
    let hooks = record.hooks.iter().map(|hook| &hook.manifest);
    let is = |kind: &str, name: &str| kind == object.kind && name == object.name;
    let mut all = record.manifest.iter().chain(hooks);
    all.any(|manifest| is(text(manifest, "/kind"), text(manifest, "/metadata/name")))
}

/// Whether a template writes out a name, or the end of it.
fn writes(lookup: &TemplateLookup, name: &str) -> bool {
    lookup.names.iter().any(|written| match written.strip_prefix('*') {
        Some(end) => name.ends_with(end),
        None => written == name,
    })
}

fn finding(rendering: &Rendering<'_>, object: &ObjectRef, needed_by: &Citation, gate: &Gate<'_>) -> Finding {
    let (lookup, reference) = (gate.lookup, &gate.reference);
    let asked = format!("{} {}", reference.kind, reference.name);
    let made = format!("{} {}", object.kind, object.name);
    let (certainty, why) = if rendering.again {
        (Certainty::Suspected, "the next attempt renders the chart again")
    } else {
        (Certainty::Certain, "a chart is rendered once in an attempt, and none is under way")
    };
    let mut citations = vec![
        cite::declared(
            &rendering.release,
            format!(
                "{}: lookup of {asked} in namespace {}, around {made}",
                lookup.template, lookup.namespace
            ),
        ),
        cite::inferred(
            &rendering.release,
            format!("revision {} holds no {made}", rendering.record.revision),
        ),
    ];
    citations.push(match gate.come {
        Some((life, since)) => {
            let text = format!("metadata.creationTimestamp: {since}, after the chart had been rendered");
            cite::observed(reference, text, Some(life.first_seen()))
        }
        None => cite::inferred(reference, format!("namespace {} has no {asked}", lookup.namespace)),
    });
    citations.push(needed_by.clone());
    let again = Remedy::new("render-again", format!("render the chart again, now that {asked} is there"))
        .with("kind", &reference.kind)
        .with("name", &reference.name);
    let depends = Remedy::new("depends-on", format!("let the release depend on the one that delivers {asked}"))
        .with("kind", &reference.kind)
        .with("name", &reference.name);
    let (remedy, alternatives) = match gate.come {
        Some(_) => (again, vec![depends]),
        None => (depends, Vec::new()),
    };
    let statement = match gate.come {
        Some(_) => format!("{} rendered no {made}, because {asked} came only later", lookup.template),
        None => format!("{} renders no {made}, because {asked} does not exist", lookup.template),
    };
    Finding {
        slug: DETECTOR.slug,
        subject: object.clone(),
        statement,
        certainty,
        why: why.to_owned(),
        since: rendering.since,
        citations,
        // That it is missing is what others say.
        explains: vec![object.clone()],
        blames: vec![reference.clone()],
        remedy: Some(remedy),
        alternatives,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use crate::diagnosis::fixture::*;
    use crate::evidence::{Fact, ReleaseRecord, TemplateLookup};

    const SLUG: &str = "lookup-gated-out";

    fn secret(name: &str) -> Value {
        json!({"kind": "Secret", "metadata": {"name": name}})
    }

    fn lookup(name: &str, names: &[&str]) -> TemplateLookup {
        TemplateLookup {
            template: "templates/token.yaml".into(),
            kind: "Secret".into(),
            namespace: NAMESPACE.into(),
            name: name.into(),
            names: names.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    /// An install whose pod misses the Secret `api-token`, and whose chart has this lookup.
    fn scene(lookup: TemplateLookup, before: &[&str], rendered: &[&str]) -> Scene {
        let container = json!({"image": "app:1", "env": [{"name": "T", "valueFrom": {"secretKeyRef": {"name": "api-token", "key": "t"}}}]});
        let (deployment, set) = deployment("billing", container, 0);
        let mut scene = Scene::new();
        for name in before {
            scene.object(secret(name));
        }
        scene.engine(10_000, "poller").at(100);
        let stamp = Some(scene.stamp());
        let rendered: Vec<Value> = rendered.iter().map(|name| secret(name)).collect();
        scene.push(Fact::Release(Arc::new(ReleaseRecord {
            name: RELEASE.into(),
            namespace: NAMESPACE.into(),
            revision: 1,
            status: "pending-install".into(),
            description: String::new(),
            chart: "store".into(),
            chart_version: "0.1.0".into(),
            first_deployed: stamp,
            last_deployed: stamp,
            hooks: vec![],
            manifest: [vec![deployment.clone()], rendered].concat(),
            lookups: vec![lookup],
            sources: std::collections::BTreeMap::new(),
        })));
        scene.object(deployment).object(set.clone());
        let message = "secret \"api-token\" not found";
        scene
            .at(900)
            .object(pod_of(&set, "p", waiting("CreateContainerConfigError", message)));
        scene
    }

    fn gives_up(scene: &mut Scene) {
        scene.at(10_500).engine_says("context deadline exceeded").engine_ends(1);
    }

    fn slugs(scene: &Scene) -> Vec<String> {
        scene.diagnosis().causes.into_iter().map(|cause| cause.slug).collect()
    }

    #[test]
    fn what_is_looked_up_does_not_exist_and_then_comes() {
        let mut scene = scene(lookup("admin", &["admin", "api-token"]), &[], &[]);
        assert_eq!(slugs(&scene), [] as [&str; 0]);
        gives_up(&mut scene);
        scene.settles_on(&[(SLUG, "Secret/api-token")]);
        let cause = scene.diagnosis().causes.remove(0);
        assert_eq!(
            cause.statement,
            "templates/token.yaml renders no Secret api-token, because Secret admin does not exist"
        );
        assert_eq!(cause.remedy.map(|remedy| remedy.kind).as_deref(), Some("depends-on"));
        scene.at(20_000).object(secret("admin"));
        scene.settles_on(&[(SLUG, "Secret/api-token")]);
        let cause = scene.diagnosis().causes.remove(0);
        assert_eq!(
            cause.statement,
            "templates/token.yaml rendered no Secret api-token, because Secret admin came only later"
        );
        assert_eq!(cause.remedy.map(|remedy| remedy.kind).as_deref(), Some("render-again"));
        assert_eq!(
            cause.chain.last().and_then(|link| link.slug.clone()).as_deref(),
            Some("secret-missing")
        );
    }

    #[test]
    fn a_name_of_which_only_the_end_is_written() {
        let mut scene = scene(lookup("admin", &["*-token"]), &[], &[]);
        gives_up(&mut scene);
        assert_eq!(slugs(&scene), [SLUG]);
    }

    #[test]
    fn other_templates_are_not_to_blame() {
        for (lookup, before, rendered) in [
            // It asks for something that was there.
            (lookup("admin", &["api-token"]), &["admin"][..], &[][..]),
            // It is about another object.
            (lookup("admin", &["mail-token"]), &[], &[]),
            // It keeps what is there.
            (lookup("api-token", &["api-token"]), &[], &[]),
            // It was rendered.
            (lookup("admin", &["api-token"]), &[], &["api-token"]),
        ] {
            let mut scene = scene(lookup, before, rendered);
            gives_up(&mut scene);
            assert_eq!(slugs(&scene), ["secret-missing"]);
        }
    }

    #[test]
    fn a_gate_that_is_closed_on_purpose_hides_nothing_that_is_needed() {
        let mut scene = scene(lookup("admin", &["api-token", "admin"]), &["api-token"], &[]);
        gives_up(&mut scene);
        assert!(!slugs(&scene).contains(&SLUG.to_owned()));
    }
}
