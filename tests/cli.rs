//! The program as people call it, without a cluster: exit codes, what goes to which stream, words.

use std::path::PathBuf;
use std::time::Duration;

use rekindle::command::{Command, Output};
use rekindle::evidence::recording::Preamble;
use rekindle::evidence::{Header, Recording};
use tokio_util::sync::CancellationToken;

async fn rekindle(args: &[&str]) -> Output {
    let command = Command::new(env!("CARGO_BIN_EXE_rekindle"), Duration::from_secs(20)).args(args);
    let command = command.dir(env!("CARGO_MANIFEST_DIR")).env_remove("NO_COLOR");
    command.run_any_status(&CancellationToken::new()).await.unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[tokio::test]
async fn help_teaches() {
    let output = rekindle(&["--help"]).await;
    assert!(output.status.success());
    let text = output.text();
    for words in ["Examples:", "rekindle explain", "REKINDLE_CACHE"] {
        assert!(text.contains(words), "{words} is missing in:\n{text}");
    }
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
}

#[tokio::test]
async fn wrong_arguments_exit_with_usage_and_name_what_is_near() {
    let cases: [(&[&str], &str); 6] = [
        (&["run", "hook-target-unreachabel"], "did you mean `hook-target-unreachable`?"),
        (&["run", "--engine", "helm4"], "did you mean `helm-4`?"),
        (&["run", "--profile", "fst"], "did you mean `fast`?"),
        (&["explain", "hook-target-unreachabel"], "did you mean `hook-target-unreachable`?"),
        (&["list", "--scenarios", "no-such-folder"], "no-such-folder"),
        (&["rnu"], "unrecognized subcommand 'rnu'"),
    ];
    for (args, words) in cases {
        let output = rekindle(args).await;
        let stderr = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {stderr}");
        assert!(stderr.starts_with("error: ") && stderr.contains(words), "{args:?}: {stderr}");
        assert!(output.stdout.is_empty(), "{args:?}");
        assert!(!stderr.contains('\u{1b}'), "{args:?}: {stderr}");
    }
}

#[tokio::test]
async fn the_list_is_for_people_and_for_programs() {
    let table = rekindle(&["list"]).await;
    assert!(table.text().contains("hook-target-unreachable"), "{}", table.text());
    let json = rekindle(&["list", "--format", "json"]).await;
    let entries: serde_json::Value = serde_json::from_str(&json.text()).unwrap();
    assert_eq!(
        entries[0]["id"].as_str(),
        table.text().lines().nth(1).and_then(|line| line.split(' ').next())
    );
}

#[tokio::test]
async fn a_reader_that_leaves_early_is_no_error() {
    let exe = env!("CARGO_BIN_EXE_rekindle");
    let script = format!("set -o pipefail; '{exe}' schema report | head -n 1");
    let output = Command::new("bash", Duration::from_secs(20))
        .args(["-c", &script])
        .run(&CancellationToken::new())
        .await
        .unwrap();
    assert_eq!(output.text(), "{");
    assert_eq!(stderr(&output), "");
}

#[tokio::test]
async fn colours_only_where_they_are_wanted() {
    assert!(!rekindle(&["list"]).await.text().contains('\u{1b}'));
    assert!(rekindle(&["list", "--color", "always"]).await.text().contains('\u{1b}'));
}

#[tokio::test]
async fn every_failure_that_is_listed_can_be_explained() {
    let json = rekindle(&["list", "--format", "json"]).await;
    let entries: Vec<serde_json::Value> = serde_json::from_str(&json.text()).unwrap();
    for entry in entries {
        let id = entry["id"].as_str().unwrap();
        let output = rekindle(&["explain", id]).await;
        assert!(output.status.success(), "{id}: {}", stderr(&output));
        assert!(output.text().contains("Symptom"), "{id}:\n{}", output.text());
    }
}

/// A recording of a Job whose pod misses a Secret, in a folder of its own.
fn recorded() -> (tempfile::TempDir, PathBuf) {
    let at = |seconds: i64| "2026-01-02T03:04:05Z".parse::<jiff::Timestamp>().unwrap() + jiff::SignedDuration::from_secs(seconds);
    let header = Header {
        format: Header::FORMAT,
        recorder: "rekindle 0.1.0".to_owned(),
        observed_at: at(0),
        namespace: "shop".to_owned(),
        kubernetes_version: "v1.34.4".to_owned(),
        watched: vec!["Secret".to_owned()],
        notes: std::collections::BTreeMap::new(),
    };
    let engine = serde_json::json!({"at": at(1), "fact": "engine-started", "engine": "helm-4", "version": "v4.3.1", "operation": "install", "release": "store",
        "namespace": "shop", "wait": "watcher", "wait_for_jobs": true, "timeout_ms": 20_000});
    let template = serde_json::json!({"spec": {"containers": [{"name": "seed", "env": [{"name": "P", "valueFrom": {"secretKeyRef": {"name": "db-login", "key": "p"}}}]}]}});
    let job = serde_json::json!({"at": at(2), "fact": "object", "change": "applied", "object": {"kind": "Job", "metadata":
        {"name": "seed", "namespace": "shop", "uid": "j", "annotations": {"helm.sh/hook": "post-install"}}, "spec": {"template": template}, "status": {"active": 1}}});
    let pod = serde_json::json!({"at": at(9), "fact": "object", "change": "applied", "object": {"kind": "Pod", "metadata":
        {"name": "seed-x", "namespace": "shop", "uid": "p", "ownerReferences": [{"kind": "Job", "name": "seed", "uid": "j"}]}, "spec": template["spec"],
        "status": {"phase": "Pending", "containerStatuses": [{"name": "seed", "restartCount": 0, "state": {"waiting": {"reason": "CreateContainerConfigError", "message": "secret \"db-login\" not found"}}}]}}});
    let ended = serde_json::json!({"at": at(22), "fact": "engine-ended", "exit_code": 1});
    let recording = Recording {
        preamble: Preamble::new(header),
        entries: [engine, job, pod, ended]
            .map(|entry| serde_json::from_value(entry).unwrap())
            .to_vec(),
        ending: None,
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("seed.rekindle");
    recording.write(&path).unwrap();
    (folder, path)
}

#[tokio::test]
async fn a_recording_is_diagnosed_at_any_moment() {
    let (_folder, path) = recorded();
    let file = path.to_str().unwrap();
    let end = rekindle(&["replay", file]).await;
    assert!(end.status.success(), "{}", stderr(&end));
    for words in [
        "namespace shop, recorded",
        "at its end (4 of 4 entries)",
        "Secret db-login does not exist",
        "◄ root cause",
        "known 8.0s after the engine began, 13s",
    ] {
        assert!(end.text().contains(words), "{words} is missing in:\n{}", end.text());
    }
    let json = rekindle(&["replay", file, "--format", "json"]).await;
    let diagnosis: serde_json::Value = serde_json::from_str(&json.text()).unwrap();
    assert_eq!(diagnosis["causes"][0]["slug"], "secret-missing");

    let early = rekindle(&["replay", file, "--at", "7.9s"]).await;
    assert!(early.text().contains("no cause is certain"), "{}", early.text());
    let early = rekindle(&["replay", file, "--at", "8s", "--format", "json"]).await;
    assert!(early.text().contains("CreateContainerConfigError"));
    let moments = rekindle(&["replay", file, "--moments"]).await;
    let lines: Vec<String> = moments.text().lines().skip(2).map(str::to_owned).collect();
    assert_eq!(
        lines,
        [
            "    0.0s  helm-4 begins to install store",
            "    8.0s  known: secret-missing at Secret/db-login",
            "   21.0s  the engine gives up, exit code 1",
        ]
    );
    let json = rekindle(&["replay", file, "--moments", "--format", "json"]).await;
    let moments: serde_json::Value = serde_json::from_str(&json.text()).unwrap();
    assert_eq!(
        (&moments[1]["after_ms"], &moments[1]["entries"]),
        (&serde_json::json!(8000), &serde_json::json!(3))
    );
}

#[tokio::test]
async fn names_can_be_left_out_of_all_that_is_said() {
    let (folder, path) = recorded();
    let file = path.to_str().unwrap();
    let saved = folder.path().join("saved.rekindle");
    let saved = saved.to_str().unwrap();
    std::fs::copy(file, saved).unwrap();
    let cases: [&[&str]; 6] = [
        &["replay", file, "--redact-names"],
        &["replay", file, "--redact-names", "--format", "json"],
        &["replay", file, "--redact-names", "--moments"],
        &["diff", file, saved, "--redact-names", "--format", "json"],
        &["diagnose", "--from", file, "--redact-names"],
        &["diagnose", "--from", file, "--redact-names", "--format", "sarif"],
    ];
    for args in cases {
        let output = rekindle(args).await;
        assert!(output.status.success(), "{args:?}: {}", stderr(&output));
        let text = output.text();
        assert!(text.contains("secret-missing"), "{args:?}:\n{text}");
        for name in ["db-login", "seed", "shop"] {
            assert!(!text.contains(name), "{args:?}: {name} in\n{text}");
        }
    }
}

#[tokio::test]
async fn moments_that_a_recording_does_not_reach_are_wrong_arguments() {
    let (_folder, path) = recorded();
    for (at, words) in [
        ("soon", "`soon` is no moment; write how long after the engine began"),
        (
            "2026-01-02T03:04:04Z",
            "2026-01-02T03:04:04Z is before this recording begins, at 2026-01-02T03:04:05Z",
        ),
        (
            "1m",
            "2026-01-02T03:05:06Z is after this recording ends, at 2026-01-02T03:04:27Z, 21s after the engine began",
        ),
    ] {
        let output = rekindle(&["replay", path.to_str().unwrap(), "--at", at]).await;
        assert_eq!(output.status.code(), Some(2), "{at}: {}", stderr(&output));
        assert!(stderr(&output).contains(words), "{at}: {}", stderr(&output));
    }
}

#[tokio::test]
async fn what_is_no_whole_recording_is_refused_with_one_sentence() {
    use std::io::Write as _;
    let (folder, path) = recorded();
    let whole = std::fs::read(&path).unwrap();
    let packed = |text: &[u8]| {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(text).unwrap();
        gzip.finish().unwrap()
    };
    let first = |format: u32| {
        format!(
            "{{\"kind\":\"rekindle-recording\",\"format\":{format},\"recorder\":\"rekindle 9.0.0\",\"observed_at\":\"2026-01-02T03:04:05Z\",\"namespace\":\"n\",\"kubernetes_version\":\"v1\",\"watched\":[],\"recorded_at\":\"2026-01-02T03:04:05Z\"}}\n"
        )
    };
    let with = |line: &str| packed(format!("{}{line}\n", first(1)).as_bytes());
    let cases: [(&str, Vec<u8>, u8, &str); 9] = [
        ("cut", whole[..whole.len() / 2].to_vec(), 10, "was cut off: "),
        (
            "trailing",
            [whole.as_slice(), b"more"].concat(),
            10,
            "goes on after its end with bytes that are not its own",
        ),
        ("empty", Vec::new(), 10, "is empty; record it again"),
        (
            "foreign",
            b"PK\x03\x04".to_vec(),
            10,
            "is no recording of rekindle's: it is not compressed with gzip",
        ),
        ("newer", packed(first(2).as_bytes()), 10, "has format 2, written by rekindle 9.0.0"),
        (
            "bytes",
            packed(&[first(1).as_bytes(), b"\"\xff\"\n"].concat()),
            10,
            "is wrong in line 2: byte 2 is not UTF-8",
        ),
        (
            "order",
            with("{\"at\":\"2025-01-02T03:04:05Z\",\"fact\":\"remedy-started\",\"kind\":\"k\"}"),
            10,
            "stands behind what is of 2026-01-02T03:04:05Z",
        ),
        (
            "rumour",
            with("{\"at\":\"2026-01-02T03:04:05Z\",\"fact\":\"rumour\"}"),
            10,
            "is wrong in line 2: unknown variant `rumour`",
        ),
        (
            "bomb",
            packed(&[first(1).as_bytes(), &vec![b'['; 40 << 20]].concat()),
            10,
            "has more than 32 MiB in one line",
        ),
    ];
    for (name, bytes, code, words) in cases {
        let file = folder.path().join(name);
        std::fs::write(&file, bytes).unwrap();
        let output = rekindle(&["replay", file.to_str().unwrap()]).await;
        let stderr = stderr(&output);
        assert_eq!(output.status.code(), Some(i32::from(code)), "{name}: {stderr}");
        assert!(
            stderr.starts_with("error: ") && stderr.contains(words) && stderr.lines().count() == 1,
            "{name}: {stderr}"
        );
        assert!(output.stdout.is_empty(), "{name}");
    }
    for (file, words) in [
        ("none", "none is not there; name a file that"),
        (".", "is a folder; name one of the recordings in it"),
    ] {
        let output = rekindle(&["replay", folder.path().join(file).to_str().unwrap()]).await;
        assert_eq!(output.status.code(), Some(2), "{file}");
        assert!(stderr(&output).contains(words), "{}", stderr(&output));
    }
}

#[tokio::test]
async fn a_part_of_a_recording_is_diagnosed_where_that_is_asked_for() {
    let (folder, path) = recorded();
    let mut text = String::new();
    std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(std::fs::File::open(&path).unwrap()), &mut text).unwrap();
    let cut = folder.path().join("cut");
    let mut gzip = flate2::write::GzEncoder::new(std::fs::File::create(&cut).unwrap(), flate2::Compression::fast());
    let part: Vec<&str> = text.lines().take(4).collect();
    std::io::Write::write_all(&mut gzip, (part.join("\n") + "\n{\"at\":").as_bytes()).unwrap();
    gzip.finish().unwrap();
    let output = rekindle(&["replay", cut.to_str().unwrap(), "--partial"]).await;
    assert!(output.status.success());
    assert!(
        stderr(&output).contains("was cut off: 3 entries could be read, up to 2026-01-02T03:04:14Z"),
        "{}",
        stderr(&output)
    );
    assert!(output.text().contains("Secret db-login does not exist"), "{}", output.text());
}

#[tokio::test]
async fn a_step_of_what_is_not_lit_says_how_to_begin_and_makes_nothing() {
    let state = tempfile::tempdir().unwrap();
    let folder = state.path().to_string_lossy().into_owned();
    for step in ["diagnose", "remedy", "verify", "clean"] {
        let output = rekindle(&["reproduce", "ttl-deleted-job", "--step", step, "--state", &folder]).await;
        let stderr = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{step}: {stderr}");
        assert!(
            stderr.contains("ttl-deleted-job is not lit on the cluster rekindle; begin with `rekindle reproduce ttl-deleted-job`"),
            "{step}: {stderr}"
        );
        assert!(std::fs::read_dir(state.path()).unwrap().next().is_none(), "{step}");
    }
    let cases: [(&[&str], &str); 3] = [
        (
            &["reproduce", "ttl-deleted-jb", "--state", &folder],
            "did you mean `ttl-deleted-job`?",
        ),
        (
            &["reproduce", "ttl-deleted-job", "--engine", "helm-5", "--state", &folder],
            "did you mean `helm-",
        ),
        (&["reproduce", "ttl-deleted-job", "--step", "mend"], "invalid value 'mend'"),
    ];
    for (args, words) in cases {
        let output = rekindle(args).await;
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(stderr(&output).contains(words), "{args:?}: {}", stderr(&output));
    }
}
