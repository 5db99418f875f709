//! # What it detects
//!
//! A hook, or another Job, that waits for an address which does not exist inside the cluster: the name does not resolve there, or
//! nothing answers at it.
//!
//! # Why it happens
//!
//! One value is both the address that browsers use and the one that the Job connects to. The public name lives in a DNS zone or behind
//! a gateway that pods cannot see, least of all while the release that would make it answer is being installed. The engine waits for
//! the hook, the hook waits for the address, and the engine's timeout is all that anybody gets to read.
//!
//! # Evidence
//!
//! The Job and its hook event; the line that it prints again and again; the complaint of the program that cannot connect, or, where
//! the script hides it, what the cluster's own resolver says about the addresses that the container was given; where that address
//! comes from; and that it answers outside, where somebody asked. A name that a Service could still supply while something progresses
//! is only suspected.
//!
//! # Remedy
//!
//! `use-in-cluster-url`: this Job alone gets the address of the Service inside the cluster.

use crate::diagnosis::address::{Place, declared_service, place};
use crate::diagnosis::attempt::{attempt, engine_gave_up, engine_is_patient};
use crate::diagnosis::cite;
use crate::diagnosis::hooks::{Task, tasks};
use crate::diagnosis::logs::{lines, most_repeated, quoted};
use crate::diagnosis::progress::{JobState, ready, relevant};
use crate::diagnosis::references::mentions;
use crate::diagnosis::services::{Backing, Wanted, backing, in_cluster_address};
use crate::diagnosis::tries::{Miss, Tries, asked, looked_up, tries};
use crate::diagnosis::{Certainty, Citation, Class, Detector, Finding};
use crate::evidence::{Answer, Evidence, ObjectRef, Vantage};
use crate::remedy::Remedy;

pub const DETECTOR: Detector = Detector {
    slug: "hook-target-unreachable",
    summary: "a hook waits for an address that does not exist inside the cluster",
    class: Class::Specific,
    remedies: &["use-in-cluster-url"],
    detect,
};

fn detect(evidence: &Evidence) -> Vec<Finding> {
    let mut findings = Vec::new();
    for task in tasks(evidence) {
        for tries in tries(evidence, &task) {
            findings.extend(finding(evidence, &task, &tries));
        }
    }
    findings
}

fn finding(evidence: &Evidence, task: &Task<'_>, tries: &Tries<'_>) -> Option<Finding> {
    let verdict = judge(evidence, task, tries)?;
    Some(Finding {
        slug: DETECTOR.slug,
        subject: task.reference.clone(),
        statement: statement(tries),
        certainty: verdict.certainty,
        why: verdict.why,
        since: task.created().min(tries.first),
        citations: citations(evidence, task, tries),
        explains: task.explains(),
        blames: verdict.blames,
        remedy: Some(remedy(evidence, task, tries)),
    })
}

fn statement(tries: &Tries<'_>) -> String {
    match &tries.miss {
        Miss::Unresolved => format!("{} does not resolve inside the cluster", tries.host),
        Miss::Unreachable { reason } => {
            let mut letters = reason.chars();
            let reason: String = letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).collect();
            format!("{} does not answer inside the cluster ({reason})", tries.target)
        }
    }
}

struct Verdict {
    certainty: Certainty,
    why: String,
    blames: Vec<ObjectRef>,
}

impl Verdict {
    fn certain(why: impl Into<String>) -> Self {
        Self {
            certainty: Certainty::Certain,
            why: why.into(),
            blames: Vec::new(),
        }
    }

    fn suspected(why: impl Into<String>) -> Self {
        Self {
            certainty: Certainty::Suspected,
            ..Self::certain(why)
        }
    }

    fn blaming(self, blames: Vec<ObjectRef>) -> Self {
        Self { blames, ..self }
    }
}

fn judge(evidence: &Evidence, task: &Task<'_>, tries: &Tries<'_>) -> Option<Verdict> {
    let namespace = task.latest.text("/metadata/namespace");
    let over = engine_gave_up(evidence) || matches!(task.state(), JobState::Failed { .. });
    match place_of(evidence, &tries.host, namespace) {
        Place::Itself => None,
        Place::Outside => Some(outside(evidence, tries, over)),
        Place::Service { namespace, name } => Some(inside(evidence, task, tries, &namespace, &name)),
    }
}

/// Where the host is; a name from outside that resolves to a Service's address is that Service.
fn place_of(evidence: &Evidence, host: &str, namespace: &str) -> Place {
    let first = place(evidence, host, namespace);
    if first != Place::Outside {
        return first;
    }
    match looked_up(evidence, host).map(|look| &look.answer) {
        Some(Answer::Addresses { addresses }) => addresses
            .iter()
            .map(|address| place(evidence, address, namespace))
            .find(|found| *found != Place::Outside)
            .unwrap_or(Place::Outside),
        _ => Place::Outside,
    }
}

fn outside(evidence: &Evidence, tries: &Tries<'_>, over: bool) -> Verdict {
    let host = &tries.host;
    if !tries.sure {
        return Verdict::suspected("the container does not say which of its addresses it waits for");
    }
    if let Some(object) = may_publish(evidence, host) {
        return Verdict::suspected(format!("{object} may still publish {host}"));
    }
    let spans = tries.last.duration_since(tries.first).as_millis();
    let often = match (&tries.miss, tries.transient) {
        (Miss::Unresolved, false) => tries.times >= 2 || spans >= 1000,
        // A resolver that is busy and a server that restarts are back within moments.
        _ => tries.times >= 3 && spans >= 2000,
    };
    match (over, often) {
        (true, _) => Verdict::certain(format!("it was tried until the end, and nothing in the cluster supplies {host}")),
        (false, true) => Verdict::certain(format!("nothing in the cluster supplies {host}, and it was tried {} times", tries.times)),
        (false, false) => Verdict::suspected("it was tried too few times yet"),
    }
}

/// How long an object counts as still being set up after its last change.
const SETTLES_MS: i128 = 5000;

/// Something that may still make a name known: a record for a DNS controller, or an entry that is only just being set up.
fn may_publish(evidence: &Evidence, host: &str) -> Option<ObjectRef> {
    const NOT_THESE: &[&str] = &["ConfigMap", "Event", "Job", "Pod", "ReplicaSet", "Secret", "Deployment", "StatefulSet", "HelmRelease"];
    evidence.all_but(NOT_THESE).find_map(|life| {
        let kind = life.text("/kind");
        let annotated = life
            .object()
            .pointer("/metadata/annotations")
            .and_then(serde_json::Value::as_object)
            .into_iter()
            .flatten()
            .any(|(key, value)| key.starts_with("external-dns.") && value.as_str().is_some_and(|value| value.contains(host)));
        let publishes = kind == "DNSEndpoint" || life.text("/spec/type") == "ExternalName";
        let entry = matches!(kind, "Ingress" | "HTTPRoute" | "TLSRoute" | "Gateway" | "VirtualService" | "IngressRoute");
        let changed = life.versions.last().map_or(life.first_seen(), |version| version.at);
        let fresh = evidence.since(changed).as_millis() < SETTLES_MS && engine_is_patient(evidence);
        (annotated || publishes && mentions(life.object(), host) || entry && fresh && mentions(life.object(), host))
            .then(|| life.reference())
    })
}

fn inside(evidence: &Evidence, task: &Task<'_>, tries: &Tries<'_>, namespace: &str, name: &str) -> Verdict {
    // As long as an engine waits, what a Service lacks may come: this is how every slow start looks.
    let patient = engine_is_patient(evidence);
    let sure = |why: String| if patient || !tries.sure { Verdict::suspected(why) } else { Verdict::certain(why) };
    let Some(service) = evidence.get("Service", namespace, name) else {
        return match supplier(evidence, task, namespace, name) {
            Some(supplier) => Verdict::suspected(supplier),
            None if tries.times < 2 && !engine_gave_up(evidence) => Verdict::suspected("it was tried too few times yet"),
            None => sure(format!("there is no Service {name} in namespace {namespace}, and nothing is left that would make one")),
        };
    };
    match backing(evidence, service) {
        Backing::Ready => Verdict::suspected(format!("Service {name} has a ready endpoint now")),
        Backing::Coming(why) => Verdict::suspected(why),
        Backing::Stuck(pods) => sure(format!("every pod behind Service {name} is stuck")).blaming(pods),
        Backing::Empty => sure(format!("nothing stands behind Service {name}")).blaming(vec![service.reference()]),
    }
}

/// What may still make a Service that does not exist.
fn supplier(evidence: &Evidence, task: &Task<'_>, namespace: &str, name: &str) -> Option<String> {
    if namespace != evidence.header.namespace && namespace != task.latest.text("/metadata/namespace") && !evidence.watched("Namespace") {
        return Some(format!("namespace {namespace} was not watched"));
    }
    if declared_service(evidence, name).is_some() {
        return Some(format!("Service {name} belongs to the release and was not applied yet"));
    }
    let patient = engine_is_patient(evidence);
    let rolling = ["Deployment", "StatefulSet", "DaemonSet"]
        .iter()
        .flat_map(|kind| relevant(evidence, kind))
        .find(|workload| patient && !ready(workload));
    if let Some(workload) = rolling {
        return Some(format!("{} is still rolling out", workload.reference()));
    }
    let producer = tasks(evidence).into_iter().find(|other| {
        other.reference != task.reference && matches!(other.state(), JobState::Running) && mentions(other.latest.object(), name)
    });
    producer.map(|producer| format!("{} has not ended and mentions it", producer.title()))
}

fn citations(evidence: &Evidence, task: &Task<'_>, tries: &Tries<'_>) -> Vec<Citation> {
    let mut citations = Vec::new();
    match task.latest.annotation("helm.sh/hook") {
        Some(event) => citations.push(cite::declared(&task.reference, format!("metadata.annotations[helm.sh/hook]: {event}"))),
        None => citations.push(cite::declared(&task.reference, format!("kind: {}", task.reference.kind))),
    }
    if let Some(pod) = task.pods.last()
        && let Some(repeated) = most_repeated(lines(evidence, pod.uid(), &tries.container))
    {
        let text = format!("{}, {} times", quoted(&repeated.text), repeated.times);
        citations.push(cite::observed(&pod.reference(), text, Some(repeated.since)));
    }
    if let Some((pod, line)) = &tries.line {
        citations.push(cite::printed(pod, line));
    }
    if let Some(declared) = &tries.declared {
        citations.push(cite::declared(&task.reference, format!("{}: {}", declared.origin, declared.address)));
    }
    if let Some(look) = looked_up(evidence, &tries.host) {
        let said = match &look.answer {
            Answer::NoSuchName => "no such name".to_owned(),
            Answer::Addresses { addresses } => addresses.join(", "),
            Answer::Nothing { reason } => reason.clone(),
            Answer::Http { status } => status.to_string(),
        };
        let text = format!("lookup of {} inside the cluster: {said}", tries.host);
        citations.push(cite::observed(&task.reference, text, Some(look.since)));
    }
    if let Some((_, look)) = asked(evidence, &tries.host, Vantage::Outside)
        && let Answer::Http { status } = look.answer
    {
        let text = format!("{} answers outside the cluster: HTTP {status}", tries.host);
        citations.push(cite::observed(&task.reference, text, Some(look.since)));
    }
    citations
}

fn remedy(evidence: &Evidence, task: &Task<'_>, tries: &Tries<'_>) -> Remedy {
    let env = tries.declared.as_ref().and_then(|declared| declared.env.clone());
    let pod_lines = task.pods.last().map(|pod| lines(evidence, pod.uid(), &tries.container)).unwrap_or_default();
    let mut hints: Vec<String> = vec![env.clone().unwrap_or_default(), tries.host.clone()];
    hints.push(most_repeated(pod_lines).map(|repeated| repeated.text).unwrap_or_default());
    hints.extend([tries.container.clone(), task.reference.name.clone()]);
    let release = attempt(evidence).map(|attempt| attempt.release).unwrap_or_default();
    let url = in_cluster_address(
        evidence,
        &Wanted {
            namespace: task.latest.text("/metadata/namespace"),
            release: &release,
            hints,
            address: tries.declared.as_ref().map(|declared| &declared.address),
        },
    );
    let sentence = match &url {
        Some(url) => format!("give this {} the in-cluster URL {url}", task.reference.kind),
        None => format!("give this {} an address that exists inside the cluster instead of {}", task.reference.kind, tries.host),
    };
    let mut remedy = Remedy::new("use-in-cluster-url", sentence)
        .with("job", &task.reference.name)
        .with("container", &tries.container)
        .with("host", &tries.host);
    if let Some(env) = env {
        remedy = remedy.with("env", env);
    }
    if let Some(url) = url {
        remedy = remedy.with("url", url);
    }
    remedy
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::diagnosis::fixture::*;

    const SLUG: &str = "hook-target-unreachable";

    /// A hook that asks for a public URL, beside a Service that would answer.
    fn begin(container: &Value, event: &str) -> (Scene, Value) {
        let job = hook_job("realm-setup", event, container.clone());
        let mut scene = Scene::new();
        scene.engine(20_000, "hookOnly");
        let (deployment, set) = deployment("identity", json!({"image": "identity:1"}), 1);
        let pod = as_ready(pod_of(&set, "abcde", running()));
        scene.at(200).object(deployment).object(set).object(pod).object(service("identity", "identity", 80));
        let hooks = vec![scene.at(1000).running_hook(&job, event)];
        scene.record("pending-install", hooks, vec![service("identity", "identity", 80)]).object(job.clone());
        (scene, job)
    }

    fn asks() -> Value {
        json!({
            "command": ["sh", "-c", "until curl -sS \"$IDENTITY_URL/health\"; do echo waiting for identity; sleep 1; done"],
            "env": [{"name": "IDENTITY_URL", "value": "https://login.shop.invalid"}],
        })
    }

    fn loops(scene: &mut Scene, pod: &str, complaint: &str, times: i64) {
        for turn in 0..times {
            scene.at(2000 + turn * 1000);
            if !complaint.is_empty() {
                scene.log(pod, "realm-setup", complaint);
            }
            scene.log(pod, "realm-setup", "waiting for identity");
        }
    }

    #[test]
    fn a_loop_on_a_public_name_is_certain_after_the_second_try() {
        let (mut scene, job) = begin(&asks(), "post-install");
        scene.at(1500).object(pod_of(&job, "x", running())).answers_outside("https://login.shop.invalid/");
        loops(&mut scene, "realm-setup-x", "curl: (6) Could not resolve host: login.shop.invalid", 6);
        let first = scene.settles_on(&[(SLUG, "Job/realm-setup")]);
        let diagnoses = scene.diagnoses();
        let suspected: Vec<_> = diagnoses[first - 1].suspected.iter().map(|cause| cause.slug.clone()).collect();
        assert_eq!(suspected, [SLUG]);

        let cause = &scene.diagnosis().causes[0];
        assert_eq!(cause.statement, "login.shop.invalid does not resolve inside the cluster");
        let chain: Vec<_> = cause.chain.iter().map(|link| link.statement.as_str()).collect();
        assert_eq!(
            chain,
            [
                "the install of store is waiting for Job realm-setup (post-install hook)",
                "pod realm-setup-x printed \"waiting for identity\" 6 times",
            ]
        );
        let cited: Vec<_> = cause.citations.iter().map(|citation| citation.text.as_str()).collect();
        assert!(cited.contains(&"\"curl: (6) Could not resolve host: login.shop.invalid\""), "{cited:?}");
        assert!(cited.contains(&"env IDENTITY_URL of realm-setup: https://login.shop.invalid"), "{cited:?}");
        assert!(cited.contains(&"login.shop.invalid answers outside the cluster: HTTP 200"), "{cited:?}");
        let remedy = cause.remedy.as_ref().expect("a remedy");
        assert_eq!(remedy.parameters["url"], "http://identity");
        assert_eq!(remedy.parameters["env"], "IDENTITY_URL");
    }

    #[test]
    fn it_stays_after_the_engine_gave_up_and_took_the_job_away() {
        let (mut scene, job) = begin(&asks(), "post-install");
        let pod = pod_of(&job, "x", running());
        scene.at(1500).object(pod.clone());
        loops(&mut scene, "realm-setup-x", "curl: (6) Could not resolve host: login.shop.invalid", 3);
        scene.at(21_000).deleted(pod).deleted(job);
        scene.at(21_100).engine_says("Error: INSTALLATION FAILED: failed post-install: timed out waiting for the condition").engine_ends(1);
        scene.settles_on(&[(SLUG, "Job/realm-setup")]);
        let cause = &scene.diagnosis().causes[0];
        assert_eq!(
            cause.chain[0].statement,
            "store: its install timed out after 20s waiting for Job realm-setup (post-install hook)"
        );
        assert_eq!(scene.diagnosis().unexplained, []);
        let without = scene.diagnosis_with(&[]);
        assert_eq!(without.causes, []);
        assert_eq!(without.unexplained.len(), 2);
    }

    #[test]
    fn a_silent_loop_is_told_by_lookups() {
        let container = json!({
            "command": ["sh", "-c", "while ! curl -sf ${BROKER}/ready >/dev/null 2>&1; do echo still waiting; sleep 1; done"],
            "env": [{"name": "BROKER", "value": "http://broker.example.net:8161"}],
        });
        let (mut scene, job) = begin(&container, "pre-install");
        scene.at(1500).object(pod_of(&job, "x", running()));
        loops(&mut scene, "realm-setup-x", "", 3);
        assert_eq!(scene.diagnosis().identity(), []);
        scene.at(5000).lookup("broker.example.net", Answer::NoSuchName);
        scene.at(6000).lookup("broker.example.net", Answer::NoSuchName).log("realm-setup-x", "realm-setup", "still waiting");
        scene.settles_on(&[(SLUG, "Job/realm-setup")]);
    }

    #[test]
    fn a_declared_name_that_is_not_connected_to_is_innocent() {
        // The public address is only written into a realm; what is waited for is on its way.
        let container = json!({
            "command": ["sh", "-c", "until curl -sf http://cart; do echo waiting for cart; sleep 1; done; configure --public $PUBLIC_URL"],
            "env": [{"name": "PUBLIC_URL", "value": "https://www.shop.invalid"}],
        });
        let (mut scene, job) = begin(&container, "post-install");
        scene.at(1500).object(pod_of(&job, "x", running()));
        loops(&mut scene, "realm-setup-x", "", 3);
        scene.at(8000).lookup("www.shop.invalid", Answer::NoSuchName);
        scene.at(9500).lookup("www.shop.invalid", Answer::NoSuchName);
        scene.never_certain();
    }

    #[test]
    fn an_address_that_refuses_is_certain_after_several_tries() {
        let container = json!({"image": "migrate:2", "env": [{"name": "DATABASE_URL", "value": "postgres://u:p@10.200.0.9:5432/app"}]});
        let (mut scene, job) = begin(&container, "pre-install");
        scene.at(1500).object(pod_of(&job, "x", running()));
        for turn in 0..4 {
            scene.at(2000 + turn * 1000).log("realm-setup-x", "realm-setup", "dial tcp 10.200.0.9:5432: connect: connection refused");
        }
        scene.settles_on(&[(SLUG, "Job/realm-setup")]);
        let cause = &scene.diagnosis().causes[0];
        assert_eq!(cause.statement, "10.200.0.9:5432 does not answer inside the cluster (Connection refused)");
        assert!(cause.citations.iter().all(|citation| !citation.text.contains("u:p")), "no password is cited");
    }

    #[test]
    fn exits_because_of_it_count_over_the_pods_of_a_job() {
        let container = json!({"image": "python:3", "args": ["migrate.py"], "env": [{"name": "IDP", "value": "https://idp.corp.example/"}]});
        let (mut scene, job) = begin(&container, "pre-install");
        for (turn, suffix) in [(0, "a"), (1, "b")] {
            scene.at(2000 + turn * 11_000).object(pod_of(&job, suffix, running()));
            let pod = format!("realm-setup-{suffix}");
            scene.at(3000 + turn * 11_000).log(&pod, "realm-setup", "Traceback (most recent call last):");
            scene.log(&pod, "realm-setup", "HTTPSConnectionPool(host='idp.corp.example', port=443): Max retries exceeded with url: / (Caused by NameResolutionError(\"<x>: Failed to resolve 'idp.corp.example' ([Errno -2] Name or service not known)\"))");
            scene.object(phase(pod_of(&job, suffix, terminated(1)), "Failed"));
        }
        scene.at(16_000).object(with_condition(job, "Failed", "BackoffLimitExceeded")).engine_ends(1);
        scene.settles_on(&[(SLUG, "Job/realm-setup")]);
        let chain = &scene.diagnosis().causes[0].chain;
        assert_eq!(chain[1].statement, "Job realm-setup failed: BackoffLimitExceeded");
    }

    #[test]
    fn a_service_that_comes_up_slowly_is_never_certain() {
        let container = json!({"command": ["sh", "-c", "until wget -q http://catalog:8080; do sleep 1; done"]});
        let (mut scene, job) = begin(&container, "post-install");
        let (deployment_, set) = deployment("catalog", json!({"image": "catalog:1"}), 0);
        scene.at(1500).object(pod_of(&job, "x", running()));
        for turn in 0..3 {
            scene.at(2000 + turn * 1000).log("realm-setup-x", "realm-setup", "wget: bad address 'catalog:8080'");
        }
        scene.at(5000).object(deployment_).object(set.clone()).object(service("catalog", "catalog", 8080));
        scene.object(pod_of(&set, "p", running()));
        for turn in 0..3 {
            scene.at(6000 + turn * 1000).log("realm-setup-x", "realm-setup", "wget: can't connect to remote host (10.96.4.5): Connection refused");
        }
        scene.at(9000).object(as_ready(pod_of(&set, "p", running())));
        scene.at(9500).log("realm-setup-x", "realm-setup", "configured").object(phase(pod_of(&job, "x", terminated(0)), "Succeeded"));
        scene.at(9600).object(with_condition(job, "Complete", "")).at(9900).engine_ends(0);
        scene.never_certain();
        assert_eq!(scene.diagnosis(), crate::diagnosis::Diagnosis::default());
    }

    #[test]
    fn an_old_complaint_followed_by_progress_is_over() {
        let (mut scene, job) = begin(&asks(), "post-install");
        scene.at(1500).object(pod_of(&job, "x", running()));
        scene.at(2000).log("realm-setup-x", "realm-setup", "curl: (6) Could not resolve host: login.shop.invalid");
        scene.at(2500).log("realm-setup-x", "realm-setup", "identity is there, creating the realm");
        scene.at(9000).log("realm-setup-x", "realm-setup", "creating clients");
        scene.never_certain();
        assert_eq!(scene.diagnosis().suspected.iter().filter(|cause| cause.slug == SLUG).count(), 0);
    }

    #[test]
    fn a_service_whose_pods_crash_leads_to_them() {
        let container = json!({"command": ["sh", "-c", "until nc -z ledger 5432; do echo waiting for ledger; sleep 1; done"]});
        let (mut scene, job) = begin(&container, "post-install");
        let (deployment_, set) = deployment("ledger", json!({"image": "ledger:1"}), 0);
        scene.object(deployment_).object(set.clone()).object(service("ledger", "ledger", 5432));
        let crashing = |times| restarted(pod_of(&set, "p", waiting("CrashLoopBackOff", "back-off 20s")), times, 3);
        scene.at(1400).object(crashing(1)).at(1500).object(pod_of(&job, "x", running()));
        for turn in 0..4 {
            scene.at(2000 + turn * 1000).log("realm-setup-x", "realm-setup", "nc: connect to ledger port 5432 (tcp) failed: Connection refused");
            scene.log("realm-setup-x", "realm-setup", "waiting for ledger");
        }
        scene.at(20_000).object(crashing(2)).at(21_000).engine_says("timed out waiting for the condition").engine_ends(1);
        scene.settles_on(&[("crash-loop", "Deployment/ledger")]);
        let slugs: Vec<_> = scene.diagnosis().causes[0].chain.iter().filter_map(|link| link.slug.clone()).collect();
        assert_eq!(slugs, [SLUG]);
    }
}
