//! The program as people call it, without a cluster: exit codes, what goes to which stream, words.

use std::time::Duration;

use rekindle::command::{Command, Output};
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
