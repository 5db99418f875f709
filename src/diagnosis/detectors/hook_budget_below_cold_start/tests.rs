//! Scenes of hooks that ask for a server without a node.

mod near_misses;

use serde_json::{Value, json};

use crate::diagnosis::diagnose;
use crate::diagnosis::fixture::*;
use crate::diagnosis::pool_fixture::*;
use crate::evidence::{Evidence, Fact};

const SLUG: &str = "hook-budget-below-cold-start";
const HELM_4: &str =
    "Error: INSTALLATION FAILED: failed pre-install: resource Job/shop/seed-keys not ready. status: Failed, message: Job failed";
const HELM_3: &str = "Error: INSTALLATION FAILED: failed pre-install: job seed-keys failed: BackoffLimitExceeded";

/// `for … seq 1 10 … sleep 1`
fn asks(url: &str) -> Value {
    let script = "TRIES=10\nfor i in $(seq 1 \"$TRIES\"); do\n  if curl -sSf -o /dev/null --max-time 3 \"$VAULT_URL/ready\"; then echo up; exit 0; fi\n  \
        echo \"waiting for the vault ($i/$TRIES)\"\n  sleep 1\ndone\necho \"the vault never came up\"\nexit 1";
    json!({"command": ["sh", "-c", script], "env": [{"name": "VAULT_URL", "value": url}]})
}

struct Story {
    scene: Scene,
    job: Value,
    /// What runs the server's pod.
    server: Value,
}

/// A server that no node takes, and a hook that asks for it from 1 s on.
fn begin(container: Value, timeout_ms: u64) -> Story {
    let mut job = hook_job("seed-keys", "pre-install", container);
    job["spec"]["backoffLimit"] = json!(0);
    let mut story = Story {
        scene: Scene::new(),
        job,
        server: json!({"kind": "StatefulSet", "metadata": {"name": "vault"}, "spec": {"template": {
            "metadata": {"labels": {"app": "vault"}},
            "spec": {"containers": [{"name": "vault"}], "nodeSelector": {"pool": "burst"}},
        }}, "status": {}}),
    };
    let (server, scene) = (&story.server, &mut story.scene);
    scene
        .object(node("kind-control-plane", json!({}), ""))
        .object(service("vault-http", "vault", 8200));
    scene.at(300).object(server.clone()).object(unplaced(server, "0", UNFIT));
    if timeout_ms > 0 {
        scene.at(500).engine(timeout_ms, "hookOnly");
        let hook = scene.at(1000).running_hook(&story.job, "pre-install");
        scene.record("pending-install", vec![hook], vec![]);
    }
    scene
        .at(1000)
        .object(story.job.clone())
        .object(failed_scheduling(&unplaced(server, "0", UNFIT), UNFIT));
    scene.at(1400).object(pod_of(&story.job, "x", started(1)));
    story
}

/// A container that began this many seconds after the scene.
fn started(seconds: i64) -> Value {
    json!({"running": {"startedAt": moment(seconds)}})
}

fn moment(seconds: i64) -> String {
    format!("2026-01-02T03:04:{:02}Z", 5 + seconds)
}

fn ended(from: i64, to: i64, code: i32) -> Value {
    json!({"terminated": {"exitCode": code, "reason": "Error", "startedAt": moment(from), "finishedAt": moment(to)}})
}

impl Story {
    fn pod(&self) -> Value {
        unplaced(&self.server, "0", UNFIT)
    }

    fn scale_up(&mut self, at: i64) -> &mut Self {
        let event = starts_node(&self.pod());
        self.scene.at(at).object(event);
        self
    }

    /// Tries from 2 s on, one per second.
    fn tries(&mut self, from: i64, to: i64, complaint: &str) -> &mut Self {
        for turn in from..=to {
            self.scene.at(1000 + turn * 1000);
            if !complaint.is_empty() {
                self.scene.log("seed-keys-x", "seed-keys", complaint);
            }
            self.scene
                .log("seed-keys-x", "seed-keys", &format!("waiting for the vault ({turn}/10)"));
        }
        self
    }

    /// The loop ends, and the Job with it.
    fn fails(&mut self, words: &str) -> &mut Self {
        let job = &self.job;
        self.scene
            .at(12_200)
            .log("seed-keys-x", "seed-keys", "the vault never came up")
            .object(phase(pod_of(job, "x", ended(1, 12, 1)), "Failed"));
        self.scene
            .at(12_400)
            .object(with_condition(job.clone(), "Failed", "BackoffLimitExceeded"));
        if !words.is_empty() {
            self.scene.at(12_600).engine_says(words).engine_ends(1);
        }
        self
    }

    /// The node comes at this moment, and the server is ready 800 ms after it.
    fn node_comes(&mut self, at: i64) -> &mut Self {
        self.scene.at(at).object(node("burst-1", json!({"pool": "burst"}), ""));
        self.scene.at(at + 100).object(placed(&self.server, "0", "burst-1"));
        self.scene.at(at + 800).object(up(&self.server, "0", "burst-1"));
        self
    }

    fn parameter(&self, name: &str) -> String {
        let causes = self.scene.diagnosis().causes;
        let remedy = causes[0].remedy.clone().expect("a remedy");
        remedy.parameters.get(name).cloned().unwrap_or_default()
    }
}

const REFUSED: &str = "curl: (7) Failed to connect to vault-http port 8200 after 0 ms: Could not connect to server";

#[test]
fn a_loop_that_ends_before_the_node_comes() {
    for (url, words) in [
        ("http://vault-http:8200", HELM_4),
        ("http://vault-http.shop:8200", HELM_3),
        ("http://vault-http.shop.svc:8200", HELM_4),
        ("http://vault-http.shop.svc.cluster.local:8200", HELM_3),
    ] {
        let mut story = begin(asks(url), 60_000);
        story.scale_up(3500).tries(3, 10, REFUSED).fails(words);
        let first = story.scene.settles_on(&[(SLUG, "Job/seed-keys")]);
        assert_eq!(first + 3, story.scene.timeline().entries.len(), "at the Job's failure");
        assert!(story.scene.diagnosis().suspected.is_empty() && story.scene.diagnosis().unexplained.is_empty());
        assert_eq!(story.parameter("at_least"), "", "its end was not seen");
        assert!(
            story.scene.diagnosis().causes[0]
                .statement
                .contains("was still not ready after 12s")
        );

        story.node_comes(20_300);
        story.scene.settles_on(&[(SLUG, "Job/seed-keys")]);
        assert_eq!(story.parameter("at_least"), "32s", "half as much again as 20.8 s");
        let parameters = ["job", "below", "interval", "iterations", "timeout_at_least"].map(|name| story.parameter(name));
        assert_eq!(parameters, ["seed-keys", "60s", "1s", "32", ""]);
    }
}

#[test]
fn what_is_said_of_it() {
    let mut story = begin(asks("http://vault-http:8200"), 60_000);
    story.scale_up(1500).tries(1, 10, REFUSED).fails(HELM_4).node_comes(20_300);
    let cause = &story.scene.diagnosis().causes[0];
    assert_eq!(
        cause.statement,
        "Job seed-keys (pre-install hook) gave up after 11s, and pod vault-0 was ready after 20s: node burst-1 registered only 20s after it \
         was created"
    );
    let chain: Vec<_> = cause.chain.iter().map(|link| link.statement.as_str()).collect();
    assert_eq!(
        chain,
        [
            "store: its install failed at Job seed-keys (pre-install hook)",
            "Job seed-keys failed: BackoffLimitExceeded",
            "pod seed-keys-x gave up after 10 tries in 11s: \"waiting for the vault (10/10)\"",
            "pod vault-0 was Pending for 20s, until there was a node for it",
        ]
    );
    let cited: Vec<_> = cause.citations.iter().map(|citation| citation.text.as_str()).collect();
    assert_eq!(
        cited,
        [
            "loop in command of seed-keys: 10 × 1s = 10s, a try at most 3s",
            &format!("event FailedScheduling: {UNFIT}"),
            "event TriggeredScaleUp: pod triggered scale-up: [{burst 0->1 (max: 3)}]",
            "condition Ready: True, 20s after its creation",
            "\"waiting for the vault (10/10)\" 10 times",
            "container seed-keys terminated: exit code 1, after 11s",
            "registered 20s after pod vault-0 was created",
            "env VAULT_URL of seed-keys: http://vault-http:8200, which is Service/vault-http",
            "metadata.annotations[helm.sh/hook]: pre-install",
        ]
    );
    assert_eq!(
        cause.remedy.as_ref().map(|remedy| remedy.sentence.as_str()),
        Some(
            "let the loop of Job seed-keys wait for at least 32s, half as much again as the 21s that it took, and for less than the 60s that it gets"
        )
    );
    assert!(story.scene.diagnosis().unexplained.is_empty());
}

#[test]
fn a_timeout_that_is_too_short_itself_is_said() {
    let mut story = begin(asks("http://vault-http:8200"), 30_000);
    story.scale_up(1500).tries(1, 10, REFUSED).fails(HELM_4).node_comes(20_300);
    assert_eq!(
        (story.parameter("below"), story.parameter("timeout_at_least")),
        ("30s".to_owned(), "40s".to_owned())
    );
    let sentence = story.scene.diagnosis().causes[0].remedy.clone().expect("a remedy").sentence;
    assert!(
        sentence.ends_with("that is too little itself: raise the engine's timeout to at least 40s"),
        "{sentence}"
    );
    // The Job's own deadline counts as well where it is lower.
    let mut story = begin(asks("http://vault-http:8200"), 120_000);
    story.job["spec"]["activeDeadlineSeconds"] = json!(34);
    let job = story.job.clone();
    story.scene.object(job);
    story.scale_up(1500).tries(1, 10, REFUSED).fails(HELM_4).node_comes(20_300);
    assert_eq!(
        (story.parameter("below"), story.parameter("timeout_at_least")),
        ("34s".to_owned(), "40s".to_owned())
    );
}

#[test]
fn a_silent_loop_is_told_by_its_script() {
    let script = "n=0; until curl -sf http://vault-http:8200/ready >/dev/null 2>&1; do n=$((n+1)); [ $n -ge 10 ] && exit 1; sleep 1; done";
    let mut story = begin(json!({"command": ["sh", "-c", script]}), 60_000);
    story.scale_up(1500);
    let job = story.job.clone();
    story.scene.at(11_200).object(phase(pod_of(&job, "x", ended(1, 11, 1)), "Failed"));
    story.scene.at(11_300).object(with_condition(job, "Failed", "BackoffLimitExceeded"));
    story.scene.at(11_500).engine_says(HELM_3).engine_ends(1);
    story.scene.settles_on(&[(SLUG, "Job/seed-keys")]);
    let chain = &story.scene.diagnosis().causes[0].chain;
    assert_eq!(chain[2].statement, "pod seed-keys-x gave up after 10 tries in 10s");
    assert_eq!(chain[3].statement, format!("pod vault-0 is Pending: {UNFIT}"));
    // The same end after 2 s is another one.
    let mut story = begin(json!({"command": ["sh", "-c", script]}), 60_000);
    story.scale_up(1500);
    let job = story.job.clone();
    story.scene.at(3200).object(phase(pod_of(&job, "x", ended(1, 3, 1)), "Failed"));
    story
        .scene
        .at(3300)
        .object(with_condition(job, "Failed", "BackoffLimitExceeded"))
        .at(3500)
        .engine_ends(1);
    story.scene.settles_on(&[("crash-loop", "Job/seed-keys")]);
}

#[test]
fn a_program_of_its_own_is_told_by_what_it_prints() {
    let container = json!({"image": "seeder:3", "env": [{"name": "VAULT_ADDR", "value": "vault-http.shop:8200"}]});
    let mut story = begin(container, 60_000);
    story.scale_up(1500);
    for attempt in 0..6 {
        let line = format!(
            "attempt {} of 6: dial tcp: lookup vault-http.shop on 10.96.0.10:53: no such host",
            attempt + 1
        );
        story.scene.at(2000 + attempt * 1500).log("seed-keys-x", "seed-keys", &line);
    }
    story.fails(HELM_4);
    story.scene.settles_on(&[(SLUG, "Job/seed-keys")]);
    assert!(story.scene.diagnosis().causes[0].citations[0].text.starts_with("\"attempt 6 of 6"));
}

#[test]
fn a_policy_that_takes_the_failed_job_away_hides_nothing() {
    let mut story = begin(asks("http://vault-http:8200"), 60_000);
    let job = story.job.clone();
    let pod = phase(pod_of(&job, "x", ended(1, 12, 1)), "Failed");
    story.scale_up(1500).tries(1, 10, REFUSED);
    story.scene.at(12_200).object(pod.clone()).at(12_500).deleted(pod).deleted(job);
    story.scene.at(12_600).engine_says(HELM_4).engine_ends(1);
    story.scene.settles_on(&[(SLUG, "Job/seed-keys")]);
}

#[test]
fn without_an_engine() {
    let mut story = begin(asks("http://vault-http:8200"), 0);
    story.scale_up(1500).tries(1, 10, REFUSED).fails("").node_comes(20_300);
    story.scene.settles_on(&[(SLUG, "Job/seed-keys")]);
    let cause = &story.scene.diagnosis().causes[0];
    assert_eq!(
        cause.chain[0].statement,
        "Job seed-keys (pre-install hook) failed: BackoffLimitExceeded"
    );
    assert_eq!(story.parameter("below"), "");
}

#[test]
fn seen_only_afterwards() {
    let mut scene = Scene::new();
    let story = begin(asks("http://vault-http:8200"), 0);
    let (job, server) = (story.job.clone(), story.server.clone());
    let mut vault = up(&server, "0", "burst-1");
    vault["metadata"]["creationTimestamp"] = json!(moment(0));
    vault["status"]["conditions"] = json!([
        {"type": "PodScheduled", "status": "True", "lastTransitionTime": moment(20)},
        {"type": "Ready", "status": "True", "lastTransitionTime": moment(22)},
    ]);
    let mut hook = phase(pod_of(&job, "x", ended(1, 12, 1)), "Failed");
    hook["metadata"]["creationTimestamp"] = json!(moment(1));
    let mut failed = with_condition(job, "Failed", "BackoffLimitExceeded");
    failed["metadata"]["creationTimestamp"] = json!(moment(1));
    // Everything is listed in the order of its kinds.
    scene.at(50_000).object(starts_node(&vault)).object(hook).object(vault.clone());
    scene.object(service("vault-http", "vault", 8200)).object(server).object(failed);
    let mut late = node("burst-1", json!({"pool": "burst"}), "");
    late["metadata"]["creationTimestamp"] = json!(moment(19));
    scene.object(late).at(50_100);
    scene.lookup(
        "vault-http",
        crate::evidence::Answer::Addresses {
            addresses: vec!["10.96.4.5".into()],
        },
    );
    scene.settles_on(&[(SLUG, "Job/seed-keys")]);
    let cause = &scene.diagnosis().causes[0];
    assert!(
        cause
            .statement
            .contains("was ready after 22s: node burst-1 registered only 19s after"),
        "{}",
        cause.statement
    );
}

#[test]
fn in_whatever_order_it_is_received() {
    let mut story = begin(asks("http://vault-http:8200"), 60_000);
    story.scale_up(1500).tries(1, 10, "").fails(HELM_4).node_comes(20_300);
    let timeline = story.scene.timeline();
    let expected = [(SLUG.to_owned(), "Job/seed-keys".to_owned())];
    // Watches of different kinds may overtake each other, the engine's own words never do.
    for first in 0..timeline.entries.len() - 1 {
        let mut swapped = timeline.clone();
        let (one, other) = (swapped.entries[first].fact.clone(), swapped.entries[first + 1].fact.clone());
        let movable = |fact: &Fact| matches!(fact, Fact::Object { .. } | Fact::Log(_) | Fact::Release(_));
        if !movable(&one) || !movable(&other) {
            continue;
        }
        swapped.entries[first].fact = other;
        swapped.entries[first + 1].fact = one;
        let mut evidence = Evidence::new(swapped.header.clone());
        for (index, entry) in swapped.entries.iter().enumerate() {
            evidence.apply(entry);
            // Before and after it is the same evidence as in the right order.
            if index == first {
                let identity = diagnose(&evidence).identity();
                assert!(identity.is_empty() || identity == expected, "{first}: {identity:?}");
            }
        }
        assert_eq!(diagnose(&evidence).identity(), expected, "{first}");
    }
}

/// The script as it is documented: it falls through its loop, and fails at the next step.
#[test]
fn the_documented_script() {
    let script = "set -eu\nITERATIONS=10\nINTERVAL=1\nfor i in $(seq 1 \"$ITERATIONS\"); do\n  if curl -sSf -o /dev/null --max-time 3 \\\n      \
        http://gitea-http.shop.svc.cluster.local:3000/api/v1/version; then\n    echo \"gitea api reachable\"\n    break\n  fi\n  \
        echo \"waiting for gitea api ($i/$ITERATIONS)\"\n  sleep \"$INTERVAL\"\ndone\nEXISTING=$(kubectl get secret t -o jsonpath='{.data.token}' || true)\n\
        MINT_OUT=$(curl -sS -X POST \"http://gitea-http.shop.svc.cluster.local:3000/api/v1/users/${GU}/tokens\" -d '{\"name\":\"x\"}')\n\
        TOKEN=$(echo \"$MINT_OUT\" | grep -oE '\"sha1\":\"[^\"]+\"')\nif [ -z \"$TOKEN\" ]; then echo \"FATAL: no sha1 in mint response\"; exit 1; fi";
    let mut story = begin(json!({"command": ["sh", "-c"], "args": [script]}), 60_000);
    story.scene.object(service("gitea-http", "vault", 3000));
    let refused = "curl: (7) Failed to connect to gitea-http.shop.svc.cluster.local port 3000 after 1 ms: Could not connect to server";
    story.scale_up(1500);
    for turn in 1..=10 {
        story.scene.at(1000 + turn * 1000).log("seed-keys-x", "seed-keys", refused);
        let line = format!("waiting for gitea api ({turn}/10)");
        story.scene.log("seed-keys-x", "seed-keys", &line);
    }
    story.scene.at(12_100).log("seed-keys-x", "seed-keys", refused);
    story.fails(HELM_3).node_comes(20_300);
    story.scene.settles_on(&[(SLUG, "Job/seed-keys")]);
    let cited = &story.scene.diagnosis().causes[0].citations;
    assert_eq!(cited[0].text, "loop in command of seed-keys: 10 × 1s = 10s, a try at most 3s");
}
