//! A thousand secrets, each planted where people leave them, and none of them in anything that comes out.
//!
//! They go in as they do in life: from the API, from everything that can be imported, and from an engine; they are looked for in all that
//! the program prints and writes, as they are and in base64, in quotes and in URLs. The shortest have four characters. Such a one is taken
//! out where its name or what stands around it tells what it is; it is looked for elsewhere only from six characters on, because shorter
//! words stand everywhere (`true`, `8080`), so the short ones are planted in the first kind of place alone.

mod api;
#[path = "canaries/planted.rs"]
mod planted;

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::path::Path;

use aho_corasick::AhoCorasick;
use api::{Api, listed, rekindle, well};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use planted::World;
use rekindle::command::Stream;
use rekindle::evidence::{Change, Fact, Header, LogLine, Recorder, Recording};
use serde_json::{Value, json};

const MANY: usize = 1000;

/// Every form in which a canary would still be one, with the canary.
struct Watch {
    forms: AhoCorasick,
    of: Vec<String>,
    written: Vec<String>,
}

impl Watch {
    fn new(canaries: &[String]) -> Self {
        let (mut of, mut written) = (Vec::new(), Vec::new());
        for canary in canaries {
            let json = Value::from(canary.as_str()).to_string();
            let escaped: String = canary
                .bytes()
                .map(|byte| match byte {
                    b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
                    byte => format!("%{byte:02X}"),
                })
                .collect();
            let mut forms = BTreeSet::from([canary.clone(), json.trim_matches('"').to_owned(), escaped, canary.replace('\\', "")]);
            if canary.len() >= 6 {
                for before in 0..3 {
                    let padded = [&[0; 2][..before], canary.as_bytes()].concat();
                    let digits = (before * 8).div_ceil(6)..padded.len() * 8 / 6;
                    forms.insert(STANDARD.encode(&padded)[digits.clone()].to_owned());
                    forms.insert(URL_SAFE.encode(&padded)[digits].to_owned());
                }
            }
            for form in forms {
                of.push(canary.clone());
                written.push(form);
            }
        }
        let forms = AhoCorasick::new(&written).expect("they fit into an automaton");
        Self { forms, of, written }
    }

    /// Fails with the canaries that a text holds, also where it was broken into lines or its marks were escaped.
    fn check(&self, what: &str, text: &str, found: &mut BTreeSet<String>) {
        let joined: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        for text in [text, &joined, &text.replace('\\', "")] {
            for hit in self.forms.find_iter(text) {
                let (canary, form) = (&self.of[hit.pattern()], &self.written[hit.pattern()]);
                let from = text.floor_char_boundary(hit.start().saturating_sub(60));
                let to = text.ceil_char_boundary((hit.end() + 30).min(text.len()));
                found.insert(format!("{what}: {canary} as {form}: …{}…", &text[from..to]));
            }
        }
    }
}

fn unpacked(path: &Path) -> String {
    let mut text = String::new();
    let file = fs::File::open(path).expect("it was written");
    flate2::read::GzDecoder::new(file).read_to_string(&mut text).expect("it is gzip");
    text
}

fn verdict(found: &BTreeSet<String>) {
    let shown: Vec<&String> = found.iter().take(40).collect();
    assert!(found.is_empty(), "{} leaks, such as {shown:#?}", found.len());
}

async fn printed(args: &[&str]) -> String {
    let output = rekindle(args.iter().map(|arg| (*arg).to_owned()).collect()).await;
    assert!(matches!(output.status.code(), Some(0 | 1)), "{args:?}: {}", api::stderr(&output));
    output.text() + &api::stderr(&output)
}

/// What the API would answer for each list and log.
fn answers(world: &World, path: &str, query: &str) -> api::Answer {
    if let Some(answer) = well(path) {
        return answer;
    }
    if let Some(pod) = path
        .strip_prefix("/api/v1/namespaces/shop/pods/")
        .and_then(|rest| rest.strip_suffix("/log"))
    {
        let lines = world.logs.iter().find(|(name, _)| name == pod).map(|(_, lines)| lines.as_slice());
        if query.contains("previous=true") || lines.is_none() {
            return api::status(404, "NotFound", "there is none");
        }
        let stamped: String = lines
            .unwrap_or_default()
            .iter()
            .map(|line| format!("2026-01-02T03:04:05.000000001Z {line}\n"))
            .collect();
        return api::Answer::Raw(200, "content-type: text/plain\r\n", stamped.into_bytes());
    }
    match listed(path) {
        // The API's own words can hold what somebody has put into a name.
        Some("resourcequotas") => api::status(403, "Forbidden", &world.refusal),
        Some(plural) => api::list(&world.items(plural)),
        None => api::status(404, "NotFound", "there is nothing here"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn none_comes_out_of_a_look() {
    let world = World::new(MANY);
    let watch = Watch::new(&world.canaries);
    let served = world.clone();
    let api = Api::serve(&world.token, move |path, query| answers(&served, path, query)).await;
    let mut found = BTreeSet::new();
    let (before, after) = (api.file("before.rekindle"), api.file("after.rekindle"));
    for format in ["human", "json", "markdown", "github", "sarif"] {
        for scope in [&["-n", "shop"][..], &["-A"]] {
            let output = api.diagnose(&[scope, &["--format", format]].concat()).await;
            let text = output.text() + &api::stderr(&output);
            assert!(output.status.success() && text.contains("secret-missing"), "{text}");
            watch.check(&format!("diagnose --format {format} {scope:?}"), &text, &mut found);
        }
    }
    for file in [&before, &after] {
        let output = api.diagnose(&["--save", &file.to_string_lossy()]).await;
        watch.check("diagnose --save", &output.text(), &mut found);
        let text = unpacked(file);
        assert!(text.contains("[redacted: ") && text.contains("\"fact\":\"release\"") && text.contains("\"fact\":\"log\""));
        watch.check("the recording", &text, &mut found);
    }
    let (before, after) = (before.to_string_lossy(), after.to_string_lossy());
    for args in [
        &["replay", &*before][..],
        &["replay", &*before, "--format", "json"],
        &["replay", &*before, "--moments"],
        &["replay", &*before, "--moments", "--format", "json"],
        &["diff", &*before, &*after],
        &["diff", &*before, &*after, "--format", "json"],
    ] {
        watch.check(&args.join(" "), &printed(args).await, &mut found);
    }
    verdict(&found);
}

#[tokio::test(flavor = "multi_thread")]
async fn none_comes_out_of_an_import() {
    let world = World::new(MANY);
    let watch = Watch::new(&world.canaries);
    let folder = tempfile::tempdir().expect("there is room for it");
    let mut found = BTreeSet::new();
    for (name, files) in world.exports() {
        let root = folder.path().join(name);
        for (file, text) in files {
            let path = root.join(file);
            fs::create_dir_all(path.parent().expect("it has one")).expect("there is room for it");
            fs::write(path, text).expect("there is room for it");
        }
        // One file alone is given as that.
        let only = fs::read_dir(&root)
            .expect("it was made")
            .flatten()
            .map(|entry| entry.path())
            .collect::<Vec<_>>();
        let from = match only.as_slice() {
            [file] if file.is_file() => file.clone(),
            _ => root,
        };
        // How it is printed does not depend on where it came from.
        let formats: &[&str] = if name == "kubectl get" {
            &["human", "json", "markdown", "github", "sarif"]
        } else {
            &["human"]
        };
        for format in formats {
            let text = printed(&["diagnose", "--from", &from.to_string_lossy(), "--format", format]).await;
            watch.check(&format!("{name} as {format}"), &text, &mut found);
        }
        let imported =
            rekindle::import::read(&from, &rekindle::import::Options::new(None, [5; 32])).unwrap_or_else(|error| panic!("{error}"));
        let text = serde_json::to_string(&imported.timelines.collect::<Vec<_>>()).expect("timelines have a form");
        watch.check(&format!("{name}, the timelines"), &text, &mut found);
        watch.check(&format!("{name}, what is missing"), &format!("{:?}", imported.missing), &mut found);
    }
    verdict(&found);
}

#[test]
fn none_comes_out_of_a_recording() {
    let world = World::new(MANY);
    let watch = Watch::new(&world.canaries);
    let mut found = BTreeSet::new();
    let header = Header::begin("shop", "2026-01-02T03:04:05Z".parse().expect("it is a time"));
    let recorder = Recorder::new(header, [5; 32]);
    // What is printed comes first, as in life: nothing is known then.
    for (pod, lines) in &world.logs {
        for text in lines {
            recorder.record(Fact::Log(LogLine {
                pod: pod.clone(),
                pod_uid: format!("uid-{pod}"),
                container: "main".to_owned(),
                restart: 0,
                stamp: "2026-01-02T03:04:05Z".parse().expect("it is a time"),
                text: text.clone(),
            }));
            recorder.record(Fact::EngineLine {
                stream: Stream::Stderr,
                text: text.clone(),
            });
        }
    }
    recorder.record(Fact::NotReadable {
        what: "ResourceQuota".to_owned(),
        reason: world.refusal.clone(),
    });
    for object in world.objects() {
        recorder.record_object(Change::Applied, object);
    }
    let folder = tempfile::tempdir().expect("there is room for it");
    let file = folder.path().join("all.rekindle");
    Recording::of(&recorder.timeline(), None)
        .write(&file)
        .unwrap_or_else(|error| panic!("{error}"));
    watch.check("the recording", &unpacked(&file), &mut found);
    verdict(&found);

    // One that was written without any of this is redacted when it is read.
    let raw = folder.path().join("raw.rekindle");
    let mut gzip = flate2::write::GzEncoder::new(fs::File::create(&raw).expect("there is room for it"), flate2::Compression::fast());
    let at = "2026-01-02T03:04:05Z";
    let first = json!({"kind": "rekindle-recording", "format": 1, "recorder": "x", "observed_at": at, "namespace": "shop", "kubernetes_version": "v1",
        "watched": [], "recorded_at": at});
    writeln!(gzip, "{first}").expect("there is room for it");
    let mut entries = 0;
    let objects = world
        .objects()
        .into_iter()
        .map(|object| json!({"at": at, "fact": "object", "change": "applied", "object": object}));
    let lines = world.logs.iter().flat_map(|(pod, lines)| {
        lines.iter().map(move |text| json!({"at": at, "fact": "log", "pod": pod, "pod_uid": format!("uid-{pod}"), "container": "main", "stamp": at, "text": text}))
    });
    // A release record stands decoded in it.
    for entry in objects.filter(|entry| entry["object"]["type"] != "helm.sh/release.v1").chain(lines) {
        writeln!(gzip, "{entry}").expect("there is room for it");
        entries += 1;
    }
    writeln!(gzip, "{}", json!({"end": {"entries": entries}})).expect("there is room for it");
    gzip.finish().expect("there is room for it");
    let imported = rekindle::import::read(&raw, &rekindle::import::Options::new(None, [5; 32])).unwrap_or_else(|error| panic!("{error}"));
    let text = serde_json::to_string(&imported.timelines.collect::<Vec<_>>()).expect("timelines have a form");
    watch.check("a recording without redaction", &text, &mut found);
    verdict(&found);
}
