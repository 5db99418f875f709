//! Whatever is wrong with a bundle, there is one sentence or a partial answer.

use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;

use super::super::{Format, ImportError, Limits, Options, from_bytes, read};
use super::story::{NAMESPACE, archive, diagnosed, folder, gzip, imported, imported_from, lists, missing, named, options, typed, yaml};

fn error<T: std::fmt::Debug>(imported: Result<T, ImportError>) -> String {
    imported.unwrap_err().to_string()
}

/// One file, with the pods of the story.
fn pods() -> (String, String) {
    let (_, api_version, kind, items) = lists().remove(7);
    (format!("dump/{NAMESPACE}/pods.json"), typed(api_version, kind, &items).to_string())
}

fn within(limits: Limits) -> Options {
    Options { limits, ..options() }
}

#[test]
fn what_is_no_bundle_is_said_in_one_sentence() {
    for bytes in [
        &b""[..],
        b"hello\nworld\n",
        b"\x7fELF\x02\x01\x01\0\0",
        b"{}",
        b"[]",
        b"[1, 2]",
        b"null",
        b"{\"a\": \"b\"}",
        b"a: b\n",
        b"apiVersion: v1\nkind: \n",
    ] {
        let error = error(imported(bytes));
        assert!(
            error.contains("holds nothing that can be diagnosed") && !error.contains('\n'),
            "{error}"
        );
    }
    let error = |path: &Path| self::error(imported_from(path));
    assert!(error(Path::new("/nowhere/at-all")).contains("is not there; name"));
    assert!(error(Path::new("/dev/zero")).contains("is neither a file nor a folder"));
    assert!(error(tempfile::tempdir().unwrap().path()).contains("no file in it was read"));
    let folder = folder(&[("notes.txt".into(), "hello".into())]);
    assert!(error(folder.path()).contains("one file, which describes no object"));
}

#[test]
fn half_an_archive_tells_what_it_holds() {
    let mut files = vec![pods()];
    // What does not compress, so that half of the bytes are half of the files.
    let noise: String = (0..60_000u64)
        .map(|n| format!("{:x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
        .collect();
    files.push((format!("dump/{NAMESPACE}/orders-7f9c-x/logs.txt"), noise));
    let whole = archive(&files);
    for end in [whole.len() / 2, whole.len() - 20] {
        let part = imported(&whole[..end]).unwrap();
        let (evidence, _) = diagnosed(&part);
        assert_eq!(evidence.all("Pod").count(), 2);
        assert!(missing(&evidence).contains("it was cut off"), "{}", missing(&evidence));
    }
    assert!(error(imported(&whole[..12])).contains("was cut off or damaged before anything could be read"));
    let mut damaged = whole.clone();
    damaged[30..60].fill(0xff);
    assert!(imported(&damaged).is_err());
    // Unpacked, the archive itself ends too soon.
    let mut tar = Vec::new();
    std::io::copy(&mut flate2::read::GzDecoder::new(whole.as_slice()), &mut tar).unwrap();
    let (evidence, _) = diagnosed(&imported(&tar[..tar.len() / 2]).unwrap());
    assert!(missing(&evidence).contains("what comes after"), "{}", missing(&evidence));
}

#[test]
fn half_a_file_tells_what_it_holds() {
    let (_, text) = pods();
    let (evidence, _) = diagnosed(&imported(&text.as_bytes()[..text.len() - 200]).unwrap());
    assert_eq!(evidence.all("Pod").count(), 1);
    // What is not in half a list may have been in the other half.
    assert!(!evidence.watched("Pod"));
    assert!(missing(&evidence).contains("it was cut off"));
    let list = json!({"apiVersion": "v1", "kind": "List", "items": named(&lists(), &["pods"])});
    let text = yaml(&list);
    let (evidence, _) = diagnosed(&imported(&text.as_bytes()[..text.len() - 200]).unwrap());
    assert_eq!(evidence.all("Pod").count(), 1);
}

#[test]
fn a_bomb_is_left_alone() {
    // A file of zeros, and one of what looks like a list without an end.
    for unit in ["\0", "{\"items\":[", "[", "- ", "items:\n- a: b\n", "a"] {
        let mut bomb = GzEncoder::new(Vec::new(), Compression::best());
        let chunk = unit.repeat((256 << 10) / unit.len());
        for _ in 0..12 {
            bomb.write_all(chunk.as_bytes()).unwrap();
        }
        let limits = Limits {
            small: 256 << 10,
            ..Limits::default()
        };
        let error = error(from_bytes(&bomb.finish().unwrap(), &within(limits)));
        assert!(
            error.contains("unpacks to more than 400 times its size") || error.contains("nothing that can be diagnosed"),
            "{error}"
        );
    }
    let small = Limits {
        bytes: 64 << 10,
        ..Limits::default()
    };
    let files = [
        pods(),
        ("dump/x.json".to_owned(), " ".repeat(1 << 20)),
        ("dump/y.json".to_owned(), String::new()),
    ];
    let (evidence, _) = diagnosed(&from_bytes(&archive(&files), &within(small)).unwrap().into());
    assert!(missing(&evidence).contains("it unpacks to more than"), "{}", missing(&evidence));
    let (evidence, _) = diagnosed(&read(folder(&files).path(), &within(small)).unwrap().into());
    assert!(missing(&evidence).contains("it unpacks to more than"), "{}", missing(&evidence));
    let few = Limits {
        entries: 1,
        ..Limits::default()
    };
    let (evidence, _) = diagnosed(&from_bytes(&archive(&files), &within(few)).unwrap().into());
    assert!(missing(&evidence).contains("there are too many files"));
    let little = Limits {
        kept: 60,
        ..Limits::default()
    };
    let (evidence, _) = diagnosed(&from_bytes(&archive(&files), &within(little)).unwrap().into());
    assert!(missing(&evidence).contains("too large together"));
}

/// An archive with one entry of this kind beside the pods.
fn with_entry(kind: tar::EntryType, name: &[u8], content: &[u8]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.as_old_mut().name[..name.len().min(100)].copy_from_slice(&name[..name.len().min(100)]);
    header.set_entry_type(kind);
    header.set_size(content.len() as u64);
    header.set_cksum();
    tar.append(&header, content).unwrap();
    let (name, text) = pods();
    let mut header = tar::Header::new_gnu();
    header.set_size(text.len() as u64);
    tar.append_data(&mut header, name, text.as_bytes()).unwrap();
    gzip(&tar.into_inner().unwrap())
}

#[test]
fn nothing_is_followed_out_of_a_bundle() {
    use tar::EntryType as Kind;
    for (kind, name, said) in [
        (Kind::Symlink, "a.json", "links are not followed"),
        (Kind::Link, "a.json", "links are not followed"),
        (Kind::Char, "a.json", "neither a file nor a folder"),
        (Kind::Fifo, "a.json", "neither a file nor a folder"),
        (Kind::Regular, "../a.json", "leads out of the bundle"),
        (Kind::Regular, "/etc/a.json", "the path of a machine"),
        (Kind::Regular, &"a/".repeat(48), "too deep"),
    ] {
        let (evidence, _) = diagnosed(&imported(&with_entry(kind, name.as_bytes(), b"")).unwrap());
        assert_eq!(evidence.all("Pod").count(), 2);
        assert!(missing(&evidence).contains(said), "{kind:?}: {}", missing(&evidence));
    }
    // A name of a megabyte.
    let long = with_entry(Kind::GNULongName, b"././@LongLink", &vec![b'a'; 1 << 20]);
    assert!(error(imported(&long)).contains("longer than names are"));

    let outside = folder(&[("pods.json".into(), pods().1)]);
    let bundle = folder(&[("a.yaml".into(), yaml(&named(&lists(), &["events"])[0]))]);
    symlink(outside.path(), bundle.path().join("link")).unwrap();
    symlink(bundle.path(), bundle.path().join("circle")).unwrap();
    symlink("/dev/zero", bundle.path().join("zero.json")).unwrap();
    // This one is read at its own place.
    symlink("a.yaml", bundle.path().join("same.yaml")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        bundle.path().join("pipe.json"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    let (evidence, _) = diagnosed(&imported_from(bundle.path()).unwrap());
    assert_eq!((evidence.all("Event").count(), evidence.all("Pod").count()), (1, 0));
    assert!(
        missing(&evidence).contains("circle and 2 others: links are not followed"),
        "{}",
        missing(&evidence)
    );
    assert!(missing(&evidence).contains("pipe.json: it is neither a file nor a folder"));
}

#[test]
fn of_two_files_or_objects_with_one_name_one_counts() {
    let mut second = pods();
    second.1 = second.1.replace("db-login", "other");
    let (evidence, _) = diagnosed(&imported(&archive(&[pods(), second])).unwrap());
    assert!(missing(&evidence).contains("another file of that name"));
    assert!(evidence.all("Pod").any(|pod| pod.object().to_string().contains("db-login")));
    // The latest of an object that stands in several files.
    let mut pod = named(&lists(), &["pods"]).remove(0);
    let older = pod.to_string();
    pod["metadata"]["resourceVersion"] = json!("10");
    pod["status"]["phase"] = json!("Running");
    for text in [format!("{older}{pod}"), format!("{pod}{older}")] {
        let (evidence, _) = diagnosed(&imported(text.as_bytes()).unwrap());
        assert_eq!(evidence.all("Pod").count(), 1);
        assert_eq!(evidence.all("Pod").next().unwrap().text("/status/phase"), "Running");
    }
}

#[test]
fn a_schema_from_the_future_is_kept_apart() {
    let mut pod = named(&lists(), &["pods"]).remove(0);
    pod["apiVersion"] = json!("v2");
    let event = &named(&lists(), &["events"])[0];
    let (evidence, _) = diagnosed(&imported(format!("{pod}{event}").as_bytes()).unwrap());
    assert_eq!(evidence.all("Pod").count(), 0);
    assert!(
        missing(&evidence).contains("Pod billing-7f9c-x of v2: this rekindle knows v1"),
        "{}",
        missing(&evidence)
    );
    // The same in a list that names the kind.
    let (_, _, kind, items) = lists().remove(7);
    let text = format!("{}{event}", typed("v2", kind, &items));
    let (evidence, _) = diagnosed(&imported(text.as_bytes()).unwrap());
    assert!(
        missing(&evidence).contains("and another one: this rekindle knows v1"),
        "{}",
        missing(&evidence)
    );
    assert!(!evidence.watched("Pod"));
}

#[test]
fn lines_and_objects_of_any_size_are_bounded() {
    let mut pod = named(&lists(), &["pods"]).remove(1);
    let fields: serde_json::Map<_, _> = (0..100_000).map(|n| (format!("f:a{n}"), json!({}))).collect();
    pod["metadata"]["managedFields"] = json!([{"manager": "m", "time": "2026-01-02T03:03:00Z", "fieldsV1": fields}]);
    let of = "container orders of pod shop/orders-7f9c-x ====";
    let line = "y".repeat(1 << 20);
    for pod in [pod.to_string(), yaml(&pod)] {
        let text = format!("{pod}\n==== START logs for {of}\n{line}\nlast\n==== END logs for {of}\n");
        let (evidence, _) = diagnosed(&imported(text.as_bytes()).unwrap());
        assert_eq!(evidence.all("Pod").count(), 1);
        let (_, log) = evidence.logs_of("uid-orders-7f9c-x").next().unwrap();
        let lengths: Vec<_> = log.lines.iter().map(|line| line.line.text.len()).collect();
        assert_eq!(lengths, [8 << 10, 4]);
    }
    let small = Limits {
        object: 4 << 10,
        ..Limits::default()
    };
    let event = &named(&lists(), &["events"])[0];
    pod["metadata"]["annotations"] = json!({"long": "x".repeat(8 << 10)});
    for text in [format!("{pod}{event}"), format!("{}---\n{}", yaml(&pod), yaml(event))] {
        let (evidence, _) = diagnosed(&from_bytes(text.as_bytes(), &within(small)).unwrap().into());
        assert_eq!((evidence.all("Pod").count(), evidence.all("Event").count()), (0, 1));
        assert!(
            missing(&evidence).contains("larger than Kubernetes keeps one") || text.starts_with("apiV"),
            "{}",
            missing(&evidence)
        );
    }
}

#[test]
fn bytes_that_are_no_text_spoil_nothing_else() {
    let (name, text) = pods();
    let mut bytes = text.into_bytes();
    let at = bytes.windows(8).position(|window| window == b"db-login").unwrap();
    bytes[at] = 0xff;
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("dump").join(NAMESPACE)).unwrap();
    std::fs::write(folder.path().join(&name), &bytes).unwrap();
    std::fs::write(folder.path().join("b.json"), [0xff, 0xfe, 0x00]).unwrap();
    let imported = imported_from(folder.path()).unwrap();
    assert_eq!(imported.format, Format::ClusterDump);
    assert_eq!(diagnosed(&imported).0.all("Pod").count(), 2);
}

#[test]
fn an_item_that_cannot_be_read_spoils_no_other() {
    let (_, text) = pods();
    let text = text.replacen("\"items\":[", "\"items\":[{\"kind\":\"Pod\",\"metadata\":7},{bad},", 1);
    let (evidence, _) = diagnosed(&imported(text.as_bytes()).unwrap());
    assert_eq!(evidence.all("Pod").count(), 2);
    assert!(
        missing(&evidence).contains("and another one: it cannot be read as JSON or YAML"),
        "{}",
        missing(&evidence)
    );
}
