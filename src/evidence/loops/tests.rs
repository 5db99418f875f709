//! Scripts as people write them.

use serde_json::json;

use super::*;

/// Tries, interval, limit of one try, and total, in seconds.
type Read = Option<(Option<u64>, Option<i64>, Option<i64>, Option<i64>)>;

fn read(script: &str, env: &Value) -> Read {
    let spec = json!({"containers": [{"name": "c", "command": ["sh", "-c", script], "env": env}]});
    let found = patience(&spec, "c", "srv", &|_| None)?;
    let seconds = |time: Option<SignedDuration>| time.map(|time| time.as_secs());
    Some((found.tries, seconds(found.interval), seconds(found.each), seconds(found.total)))
}

fn plain(script: &str) -> Read {
    read(script, &json!([]))
}

#[test]
fn loops_that_count() {
    let sixty = Some((Some(60), Some(5), None, None));
    for script in [
        "for i in $(seq 1 60); do\n  curl -sf http://srv && exit 0\n  echo \"waiting ($i/60)\"\n  sleep 5\ndone\nexit 1",
        "for n in {1..60}; do if wget -q http://srv; then break; fi; sleep 5; done",
        "for ((i=0; i<60; i++)); do curl -sf http://srv && break; sleep 5; done",
        "i=0\nwhile ! curl -sf http://srv; do\n i=$((i+1))\n [ $i -ge 60 ] && exit 1\n sleep 5\ndone",
        "i=0; until curl -sf http://srv; do i=$((i + 1)); if [ \"$i\" -eq 60 ]; then echo giving up; exit 1; fi; sleep 5s; done",
        "n=1; while [ $n -le 60 ]; do nc -z srv 80 && exit 0; n=`expr $n + 1`; sleep 5; done; exit 1",
        "left=60; while [ \"$left\" -gt 0 ]; do curl -f http://srv && exit 0; left=$((left - 1)); sleep 5; done; exit 1",
        "waited=0; until curl -s http://srv; do sleep 5; waited=$((waited+5)); [ $waited -lt 300 ] || exit 1; done",
        "t=0; while (( t < 60 )); do curl -s http://srv && exit; ((t++)); sleep 5; done; exit 1",
    ] {
        assert_eq!(plain(script), sixty, "{script}");
    }
    let listed = "for i in 1 2 3; do curl -f http://srv && exit 0; sleep 0.5; done; exit 1";
    assert_eq!(plain(listed), Some((Some(3), Some(0), None, None)));
}

#[test]
fn variables_and_the_limit_of_one_try() {
    let script = "ITERATIONS=${TRIES:-60}\nINTERVAL=\"${PAUSE:-5}\"\n# for i in $(seq 1 2); do curl http://srv; done\nfor i in $(seq 1 \"$ITERATIONS\"); do\n  \
        if curl -sSf -o /dev/null --max-time 3 \\\n    http://srv:3000/api/v1/version; then\n    echo \"reachable\"; break\n  fi\n  \
        echo \"waiting for the api ($i/$ITERATIONS) until done\"\n  sleep \"$INTERVAL\"\ndone\nTOKEN=$(curl -s http://srv:3000/token)";
    assert_eq!(plain(script), Some((Some(60), Some(5), Some(3), None)));
    let env = json!([{"name": "TRIES", "value": "12"}, {"name": "PAUSE", "value": "1"}]);
    assert_eq!(read(script, &env), Some((Some(12), Some(1), Some(3), None)));
    let product = "MAX=$((5 * 60))\nn=0\nwhile [ $n -lt $MAX ]; do curl http://srv && exit; n=$((n+1)); sleep 1; done; exit 1";
    assert_eq!(plain(product), Some((Some(300), Some(1), None, None)));
}

#[test]
fn clocks() {
    for script in [
        "while [ $SECONDS -lt 300 ]; do curl -f http://srv && exit 0; sleep 5; done; exit 1",
        "end=$(( $(date +%s) + 300 ))\nuntil curl -f http://srv; do [ $(date +%s) -gt $end ] && exit 1; sleep 5; done",
        "WAIT=300\nend=$((SECONDS + WAIT))\nwhile [ $SECONDS -lt $end ]; do curl -f http://srv && exit 0; sleep 5; done; exit 1",
        "timeout 300 sh -c 'until curl -sf http://srv; do sleep 5; done'",
        "timeout -s INT 5m bash -c \"until curl -sf http://srv; do sleep 5; done\"",
    ] {
        let total = plain(script).and_then(|(.., total)| total);
        assert_eq!(total, Some(300), "{script}");
    }
}

#[test]
fn without_an_end_or_without_a_loop() {
    let endless = patience_of("until curl -sf http://srv; do echo not yet; sleep 2; done");
    assert_eq!(endless.as_ref().map(|found| (found.ends(), found.least())), Some((false, None)));
    assert_eq!(plain("curl -f http://srv"), None);
    assert_eq!(plain("for f in *.sql; do echo $f; done"), None);
    assert_eq!(
        plain("curl -f --retry 59 --retry-delay 5 --retry-connrefused http://srv"),
        Some((Some(60), Some(5), None, None))
    );
}

fn patience_of(script: &str) -> Option<Patience> {
    let spec = json!({"containers": [{"name": "c", "args": [script]}]});
    patience(&spec, "c", "srv", &|_| None)
}

#[test]
fn of_several_loops_the_one_that_asks_the_host() {
    let script = "for i in $(seq 1 9); do curl -f http://other && break; sleep 1; done\nH=http://srv\n\
        for i in $(seq 1 20); do curl -f $H && break; sleep 3; done";
    assert_eq!(plain(script), Some((Some(20), Some(3), None, None)));
    assert_eq!(
        patience_of(script).and_then(|found| found.least()),
        Some(SignedDuration::from_secs(60))
    );
}

#[test]
fn a_mounted_script_counts() {
    let map = json!({"data": {"wait.sh": "#!/bin/sh\nfor i in $(seq 30); do curl -f http://srv && exit 0; sleep 2; done; exit 1"}});
    let spec = json!({
        "initContainers": [{"name": "gate", "command": ["sh", "/gate/wait.sh"], "volumeMounts": [{"name": "v", "mountPath": "/gate"}]}],
        "volumes": [{"name": "v", "configMap": {"name": "scripts"}}],
    });
    let found = patience(&spec, "gate", "srv", &|name| (name == "scripts").then_some(&map));
    assert_eq!(
        found.map(|found| (found.least(), found.origin)),
        Some((
            Some(SignedDuration::from_secs(60)),
            "script wait.sh of ConfigMap scripts".to_owned()
        ))
    );
}
