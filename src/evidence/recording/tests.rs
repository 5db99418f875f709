use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::command::Stream;
use crate::evidence::model::{Answer, Change, EngineStart, Fact, Hook, LogLine, ReleaseRecord, Vantage, Writer};

fn preamble() -> Preamble {
    Preamble {
        recorded_at: "2026-01-02T03:05:00Z".parse().unwrap(),
        engines: [("helm-4".to_owned(), "v4.3.1".to_owned())].into(),
        trial: Some(RecordedTrial {
            scenario: "a--b".to_owned(),
            engine: "helm-4".to_owned(),
            variant: "broken".to_owned(),
            profile: "fast".to_owned(),
        }),
        ..Preamble::new(Header {
            format: Header::FORMAT,
            recorder: "rekindle 0.1.0".to_owned(),
            observed_at: "2026-01-02T03:04:05Z".parse().unwrap(),
            namespace: "shop".to_owned(),
            kubernetes_version: "v1.34.4".to_owned(),
            watched: Vec::new(),
            notes: BTreeMap::new(),
        })
    }
}

/// One of each kind of fact.
fn every_fact() -> Vec<Fact> {
    let time: Timestamp = "2026-01-02T03:04:05.123456789Z".parse().unwrap();
    let hook = Hook {
        kind: "Job".into(),
        name: "h".into(),
        events: vec!["post-install".into()],
        weight: -5,
        delete_policies: vec![],
        started_at: Some(time),
        completed_at: None,
        phase: "Running".into(),
        manifest: json!({"z": 1, "a": [null, 1.5, 0.300_000_000_000_000_04, 122.416_294_033_786_58, -3, 18_446_744_073_709_551_615_u64, "\u{e9}\n\"\u{0}"]}),
    };
    let vantage = Vantage::Inside;
    vec![
        Fact::EngineStarted(EngineStart {
            engine: "helm-4".into(),
            version: "v4.3.1".into(),
            operation: "install".into(),
            release: "r".into(),
            namespace: "shop".into(),
            wait: "watcher".into(),
            wait_for_jobs: true,
            timeout_ms: 20_000,
            kustomization: false,
        }),
        Fact::EngineLine {
            stream: Stream::Stderr,
            text: "Error: …".into(),
        },
        Fact::EngineEnded { exit_code: None },
        Fact::EngineEnded { exit_code: Some(1) },
        Fact::Listed {
            kinds: vec!["Pod".into(), "Secret".into()],
        },
        Fact::Object {
            change: Change::Applied,
            object: Arc::new(json!({"kind": "Pod", "metadata": {"name": "p", "uid": "u"}, "b": 0.1, "a": {}})),
            writers: [Writer {
                manager: "kubectl-edit".into(),
                operation: "Update".into(),
                subresource: String::new(),
                time: Some("2026-01-02T03:04:05Z".parse().unwrap()),
                fields: vec!["spec.containers[c].image".into()],
                more: true,
            }]
            .into(),
        },
        Fact::Object {
            change: Change::Deleted,
            object: Arc::new(json!({"kind": "Pod"})),
            writers: Arc::default(),
        },
        Fact::Log(LogLine {
            pod: "p".into(),
            pod_uid: "u".into(),
            container: "c".into(),
            restart: 2,
            stamp: time,
            text: "waiting".into(),
        }),
        Fact::Release(Arc::new(ReleaseRecord {
            name: "r".into(),
            namespace: "shop".into(),
            revision: 3,
            status: "failed".into(),
            description: "d".into(),
            chart: "c".into(),
            chart_version: "0.1.0".into(),
            first_deployed: None,
            last_deployed: Some(time),
            hooks: vec![hook],
            manifest: vec![json!({"kind": "Service"})],
            lookups: Vec::new(),
            sources: std::collections::BTreeMap::new(),
        })),
        Fact::Lookup {
            host: "h".into(),
            vantage,
            tried: vec!["h.svc".into()],
            answer: Answer::Addresses {
                addresses: vec!["10.0.0.1".into()],
            },
        },
        Fact::Lookup {
            host: "h".into(),
            vantage,
            tried: vec![],
            answer: Answer::NoSuchName,
        },
        Fact::Request {
            url: "http://h".into(),
            vantage: Vantage::Outside,
            answer: Answer::Http { status: 503 },
        },
        Fact::Request {
            url: "http://h".into(),
            vantage,
            answer: Answer::Nothing { reason: "refused".into() },
        },
        Fact::Gap {
            kind: "Pod".into(),
            reason: "too old".into(),
        },
        Fact::NotReadable {
            what: "Secret".into(),
            reason: "forbidden".into(),
        },
        Fact::RemedyStarted { kind: "k".into() },
    ]
}

fn recording() -> Recording {
    let preamble = preamble();
    let begin = preamble.header.observed_at;
    let entries: Vec<Entry> = (1_i64..)
        .zip(every_fact())
        .map(|(n, fact)| Entry {
            at: begin + jiff::SignedDuration::from_nanos(n * 1_000_000_007),
            fact,
        })
        .collect();
    Recording {
        preamble,
        ending: Some(Ending {
            entries: entries.len(),
            verdict: Some("pass".to_owned()),
            conclusion: Some(Conclusion {
                entries: 4,
                diagnosis: json!({"causes": []}),
            }),
        }),
        entries,
    }
}

/// The lines of that recording.
fn lines() -> Vec<String> {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("r.rekindle");
    recording().write(&path).unwrap();
    let mut text = String::new();
    std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(std::fs::File::open(&path).unwrap()), &mut text).unwrap();
    text.lines().map(str::to_owned).collect()
}

fn packed(content: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(content).unwrap();
    gzip.finish().unwrap()
}

struct File(TempDir, PathBuf);

fn file(bytes: &[u8]) -> File {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("r.rekindle");
    std::fs::write(&path, bytes).unwrap();
    File(folder, path)
}

/// What is said about a file with these bytes, without its path.
fn said(bytes: &[u8]) -> String {
    let File(_folder, path) = file(bytes);
    let error = Recording::read(&path).unwrap_err().to_string();
    error.strip_prefix(&format!("{} ", path.display())).unwrap().to_owned()
}

fn said_of_lines(lines: &[String]) -> String {
    said(&packed((lines.join("\n") + "\n").as_bytes()))
}

#[test]
fn every_fact_comes_back_as_it_was() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("made/for/it/r.rekindle");
    let written = recording();
    written.write(&path).unwrap();
    let read = Recording::read(&path).unwrap();
    assert_eq!(read, written);
    // The order of fields, which the comparison of objects overlooks.
    assert_eq!(
        serde_json::to_string(&read.entries).unwrap(),
        serde_json::to_string(&written.entries).unwrap()
    );
    let names: Vec<_> = std::fs::read_dir(path.parent().unwrap())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names, ["r.rekindle"]);
}

#[test]
fn the_same_recording_is_the_same_file() {
    let folder = TempDir::new().unwrap();
    let files = ["a", "b"].map(|name| {
        let path = folder.path().join(name);
        recording().write(&path).unwrap();
        std::fs::read(path).unwrap()
    });
    assert_eq!(files[0], files[1]);
}

#[test]
fn the_committed_schema_is_current_and_holds_for_every_line() {
    let schema = schema().unwrap();
    assert!(
        schema == include_str!("../../../docs/recording.schema.json"),
        "docs/recording.schema.json is out of date. Where files that are there cannot be read any more, or older versions cannot read \
         new ones, raise Header::FORMAT; then run `make schema`"
    );
    let schema: Value = serde_json::from_str(&schema).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    for line in lines() {
        assert!(validator.is_valid(&serde_json::from_str(&line).unwrap()), "{line}");
    }
    assert!(!validator.is_valid(&json!({"at": "2026-01-02T03:04:05Z", "fact": "rumour"})));
}

#[test]
fn what_is_no_recording_is_told_in_one_sentence() {
    let folder = TempDir::new().unwrap();
    let missing = folder.path().join("none");
    assert!(
        Recording::read(&missing)
            .unwrap_err()
            .to_string()
            .ends_with("none is not there; name a file that `rekindle run --record` or `rekindle record` wrote")
    );
    assert!(
        Recording::read(folder.path())
            .unwrap_err()
            .to_string()
            .ends_with("is a folder; name one of the recordings in it")
    );
    let foreign = |reason: &str| {
        format!("is no recording of rekindle's: {reason}; recordings are written by `rekindle run --record` and `rekindle record`")
    };
    assert_eq!(said(b""), "is empty; record it again");
    assert_eq!(said(b"# README\n"), foreign("it is not compressed with gzip"));
    assert_eq!(
        said(b"\x1f\x8b\x99\x99 and what not, and on it goes"),
        foreign("it does not unpack")
    );
    assert_eq!(said(&packed(b"hello\n")), foreign("its first line is no JSON"));
    assert_eq!(said(&packed(b"\xff\xfe\n")), foreign("its first line is no JSON"));
    assert_eq!(
        said(&packed(b"{\"kind\": \"List\"}\n")),
        foreign("its first line does not say that it is one")
    );
    assert_eq!(
        said(&packed(b"{\"kind\": \"rekindle-recording\"}\n")),
        foreign("its first line names no format")
    );
    assert_eq!(said(&packed(b"")), "is empty; record it again");
}

#[test]
fn a_newer_format_names_its_writer() {
    let newer = br#"{"kind":"rekindle-recording","format":2,"recorder":"rekindle 3.0.0","unheard":"of"}"#;
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        said(&packed(&[newer.as_slice(), b"\nwhatever follows\n"].concat())),
        format!("has format 2, written by rekindle 3.0.0, and rekindle {version} reads no format above 1; use a newer rekindle")
    );
}

#[test]
fn one_that_was_cut_off_says_how_far_it_goes_and_can_be_had_in_part() {
    let whole = {
        let File(_folder, path) = file(b"");
        recording().write(&path).unwrap();
        std::fs::read(path).unwrap()
    };
    // Wherever it is cut, it is one sentence and no panic.
    for length in 1..whole.len() {
        let words = said(&whole[..length]);
        assert!(words.contains("was cut off") || words.contains("is damaged"), "{length}: {words}");
    }
    let lines = lines();
    let words = said_of_lines(&lines[..4]);
    assert_eq!(
        words,
        "was cut off: 3 entries could be read, up to 2026-01-02T03:04:08.000000021Z; copy or record it again, or take what is there with --partial"
    );
    let mut cut = (lines[..4].join("\n")).into_bytes();
    cut.truncate(cut.len() - 10);
    assert!(said(&packed(&cut)).starts_with("was cut off: 2 entries could be read, up to "));

    let File(_folder, path) = file(&packed((lines[..4].join("\n") + "\n").as_bytes()));
    let (part, error) = Recording::read_part(&path).unwrap();
    assert_eq!((part.entries.as_slice(), part.ending), (&recording().entries[..3], None));
    assert!(error.unwrap().problem.leaves_a_part());
}

#[test]
fn one_that_was_changed_on_its_way_is_damaged() {
    let File(_folder, path) = file(b"");
    recording().write(&path).unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    let checksum = bytes.len() - 8;
    bytes[checksum] ^= 1;
    assert!(said(&bytes).starts_with("is damaged: "), "{}", said(&bytes));

    let mut lines = lines();
    lines.remove(3);
    let words = said_of_lines(&lines);
    assert!(
        words.starts_with("is damaged: it should hold 16 entries; 15 entries could be read, up to "),
        "{words}"
    );
}

#[test]
fn a_wrong_line_is_named() {
    let wrong = |index: usize, line: &str| {
        let mut lines = lines();
        line.clone_into(&mut lines[index]);
        said_of_lines(&lines)
    };
    assert_eq!(
        wrong(
            2,
            r#"{"at":"2026-01-02T03:04:06Z","fact":"engine-line","stream":"stderr","text":"early"}"#
        ),
        "is wrong in line 3: it is of 2026-01-02T03:04:06Z, and stands behind what is of 2026-01-02T03:04:06.000000007Z; record it again"
    );
    assert!(
        wrong(1, r#"{"at":"2026-01-02T03:04:04Z","fact":"remedy-started","kind":"k"}"#)
            .contains("stands behind what is of 2026-01-02T03:04:05Z")
    );
    assert!(wrong(2, "{}").starts_with("is wrong in line 3: missing field"));
    assert!(wrong(2, "").starts_with("is wrong in line 3: EOF while parsing"));
    let deep = format!(
        r#"{{"at":"2026-01-02T03:04:07Z","fact":"object","change":"applied","object":{}{}}}"#,
        "[".repeat(10_000),
        "]".repeat(10_000)
    );
    assert!(
        wrong(2, &deep).starts_with("is wrong in line 3: recursion limit exceeded"),
        "{}",
        wrong(2, &deep)
    );
    assert!(wrong(2, r#"{"at":"2026-01-02T03:04:07Z","fact":"rumour"}"#).contains("unknown variant `rumour`"));
    let mut bytes = lines().join("\n").into_bytes();
    let at = bytes.iter().position(|byte| *byte == b'\n').unwrap() + 5;
    bytes[at] = 0xff;
    bytes.push(b'\n');
    assert_eq!(said(&packed(&bytes)), "is wrong in line 2: byte 5 is not UTF-8; record it again");
    assert!(
        wrong(17, r#"{"end":{"entries":16,"conclusion":{"entries":17,"diagnosis":{}}}}"#)
            .starts_with("is wrong in line 18: the diagnosis rests on more entries than there are")
    );
}

#[test]
fn nothing_may_follow_the_end() {
    let mut lines = lines();
    lines.push(lines[1].clone());
    assert_eq!(said_of_lines(&lines), "goes on after its end with more lines; record it again");
    lines.pop();
    let whole = packed((lines.join("\n") + "\n").as_bytes());
    for more in [b"x".to_vec(), whole.clone()] {
        assert_eq!(
            said(&[whole.clone(), more].concat()),
            "goes on after its end with bytes that are not its own; record it again"
        );
    }
}

#[test]
fn what_unpacks_to_too_much_is_refused_before_it_is_in_memory() {
    let first = lines().remove(0) + "\n";
    let limits = Limits {
        line: 1 << 20,
        bytes: 3 << 20,
        values: 1 << 20,
    };
    let refused = |content: Vec<u8>| {
        let File(_folder, path) = file(&packed(&[first.as_bytes(), &content].concat()));
        let mut reader = Reader::open_within(&path, limits).unwrap();
        let error = loop {
            match reader.next_entry() {
                Ok(entry) => assert!(entry.is_some()),
                Err(error) => break error,
            }
        };
        assert!(reader.held() <= (1 << 20) + 2, "{}", reader.held());
        error.problem.to_string()
    };
    let too = |limit: &str| format!("has more than {limit}; a recording of rekindle's is never that large");
    assert_eq!(refused(vec![b'a'; 64 << 20]), too("1 MiB in one line"));
    let line = |text: &str| format!(r#"{{"at":"2026-01-02T03:04:07Z","fact":"engine-line","stream":"stderr","text":"{text}"}}"#) + "\n";
    assert_eq!(refused(line(&"a".repeat(1 << 19)).repeat(20).into_bytes()), too("3 MiB of text"));
    let values = format!(
        r#"{{"at":"2026-01-02T03:04:07Z","fact":"object","change":"applied","object":[{}0]}}"#,
        "0,".repeat(400_000)
    ) + "\n";
    assert_eq!(refused(values.repeat(3).into_bytes()), too("1 million values"));
}

#[test]
fn an_entry_that_could_not_be_read_again_is_not_written() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("r.rekindle");
    let mut recording = recording();
    recording.entries.push(Entry {
        at: recording.entries.last().unwrap().at,
        fact: Fact::EngineLine {
            stream: Stream::Stdout,
            text: "a".repeat(33 << 20),
        },
    });
    let error = recording.write(&path).unwrap_err().to_string();
    assert!(
        error.ends_with("could not be written: entry 17 is larger than any that can be read"),
        "{error}"
    );
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
