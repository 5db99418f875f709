//! Whatever comes in, nothing panics: imports, release records and detectors on inputs that were right once and were changed at random.
//!
//! Each test takes as long as `REKINDLE_MUTATIONS` says, in seconds, or 20: a minute in all. An input follows from its seed: a test that
//! fails prints it, and with it as `REKINDLE_SEED` that input is the first one.

use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rekindle::diagnosis::diagnose;
use rekindle::evidence::{Change, Entry, Evidence, Fact, Header, Recording};
use rekindle::import::{self, Options};
use serde_json::{Value, json};

/// A generator whose numbers follow from its seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut next = self.0;
        next = (next ^ (next >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        next = (next ^ (next >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        next ^ (next >> 31)
    }

    fn below(&mut self, most: usize) -> usize {
        (self.next() % most.max(1) as u64) as usize
    }

    fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "this is no stage; a test target of this kind has no arguments"
)]
fn told(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Tries inputs for some time, each made by `make` from a seed of its own.
fn try_all<T>(make: impl Fn(&mut Random) -> T, tried: impl Fn(&T)) {
    let seed = told("REKINDLE_SEED");
    let until = Instant::now() + Duration::from_secs(told("REKINDLE_MUTATIONS").unwrap_or(20));
    let mut seeds = Random(seed.unwrap_or_else(|| jiff::Timestamp::now().as_nanosecond() as u64));
    let mut inputs = 0u64;
    loop {
        let own = if seed.is_some() && inputs == 0 { seeds.0 } else { seeds.next() };
        let input = make(&mut Random(own));
        let result = catch_unwind(AssertUnwindSafe(|| tried(&input)));
        assert!(result.is_ok(), "REKINDLE_SEED={own} makes it fail again, with the first input");
        inputs += 1;
        if Instant::now() >= until {
            println!("{inputs} inputs");
            return;
        }
    }
}

/// The recordings of all scenarios, packed as they are.
fn recordings() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let scenarios = root.read_dir().expect("the scenarios are there").flatten();
    let folders = scenarios.filter_map(|scenario| scenario.path().join("recordings").read_dir().ok());
    let mut files: Vec<_> = folders.flatten().flatten().map(|file| file.path()).collect();
    files.sort();
    files
}

/// A few recordings at a time, so that neither all are read nor always the same.
struct Corpus {
    files: Vec<PathBuf>,
    read: Mutex<Vec<(PathBuf, Arc<Recording>)>>,
}

impl Corpus {
    fn new() -> Self {
        Self {
            files: recordings(),
            read: Mutex::default(),
        }
    }

    fn one(&self, random: &mut Random) -> Arc<Recording> {
        let file = random.one(&self.files);
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, recording)) = read.iter().find(|(path, _)| path == file) {
            return recording.clone();
        }
        let recording = Arc::new(Recording::read(file).expect("it is a recording"));
        if read.len() > 20 {
            read.remove(0);
        }
        read.push((file.clone(), recording.clone()));
        recording
    }
}

/// What stands where something else was expected.
fn odd(random: &mut Random) -> Value {
    const TEXTS: &[&str] = &[
        "",
        "/",
        "-",
        "a",
        "None",
        "True",
        "0",
        "-1",
        "99999999999999999999",
        "1Gi",
        "-1s",
        "9999999h",
        "{{",
        "%s",
        "…",
        "\u{0}",
        "0001-01-01T00:00:00Z",
        "-009999-01-02T01:59:59Z",
        "9999-12-30T22:00:00.999999999Z",
        "1970-01-01T00:00:00Z",
        "2026-01-02T03:04:05+14:00",
        "Job",
        "Pod",
        "Secret",
        "http://[::1]:99999/a?b=%zz",
        "sh -c 'while ! curl \"$X\"; do sleep 99999999999; done'",
    ];
    match random.below(12) {
        0 => Value::Null,
        1 => json!(true),
        2 => json!(-1),
        3 => json!(u64::MAX),
        4 => json!(i64::MIN),
        5 => json!(1e300),
        6 => json!([]),
        7 => json!({}),
        8 => json!([[{}], null, "a", {"name": 7}]),
        9 => Value::from("ab\u{e9}".repeat(random.below(5000))),
        _ => Value::from(*random.one(TEXTS)),
    }
}

/// Changes one value somewhere below this one.
fn change(value: &mut Value, random: &mut Random) {
    let stop = random.below(6) == 0;
    match value {
        Value::Object(fields) if !fields.is_empty() && !stop => {
            let at = random.below(fields.len());
            let Some(key) = fields.keys().nth(at).cloned() else { return };
            match random.below(12) {
                0 => {
                    fields.remove(&key);
                }
                1 => {
                    let value = fields.remove(&key).unwrap_or_default();
                    let other = fields.keys().next().cloned().unwrap_or_default();
                    fields.insert(other, value);
                }
                _ => change(&mut fields[&key], random),
            }
        }
        Value::Array(items) if !items.is_empty() && !stop => {
            let at = random.below(items.len());
            match random.below(12) {
                0 => {
                    items.remove(at);
                }
                1 => {
                    let again = items[at].clone();
                    items.extend(std::iter::repeat_n(again, random.below(50)));
                }
                _ => change(&mut items[at], random),
            }
        }
        // A number or a text nearly as it was is the more dangerous.
        Value::Number(number) if random.below(2) == 0 => {
            let number = number.as_i64().unwrap_or(0);
            *value = json!(random.one(&[
                0,
                1,
                number.wrapping_neg(),
                number.wrapping_mul(1000),
                number.saturating_sub(1),
                i64::MAX,
                i64::MIN
            ]));
        }
        Value::String(text) if random.below(2) == 0 && !text.is_empty() => {
            let at = text.floor_char_boundary(random.below(text.len()));
            let cut = text.split_off(at);
            if random.below(2) == 0 {
                let word: &str = random.one::<&str>(&[" ", "\n", ":", "\"", "9", "é"]);
                text.push_str(word);
                text.push_str(&cut);
            }
        }
        _ => *value = odd(random),
    }
}

/// Bytes that were right, and are so nearly everywhere still.
fn damaged(mut bytes: Vec<u8>, random: &mut Random) -> Vec<u8> {
    const WORDS: &[&[u8]] = &[
        b"\"items\":[",
        b"\nitems:\n- ",
        b"---\n",
        b"==== START logs for container a of pod b/c ====\n",
        b"&a *a",
        b"{",
        b"]",
        b"\"",
        b"\0",
        b"\xff",
    ];
    for _ in 0..=random.below(6) {
        if bytes.is_empty() {
            break;
        }
        let at = random.below(bytes.len());
        match random.below(6) {
            0 => bytes.truncate(at),
            1 => bytes[at] = random.next() as u8,
            2 => drop(bytes.splice(at..at, random.one(WORDS).iter().copied())),
            3 => {
                let end = (at + random.below(200)).min(bytes.len());
                bytes.drain(at..end);
            }
            4 => {
                let end = (at + random.below(2000)).min(bytes.len());
                let again = bytes[at..end].to_vec();
                let to = random.below(bytes.len());
                bytes.splice(to..to, again);
            }
            _ => bytes[at] ^= 1 << random.below(8),
        }
    }
    bytes
}

/// What is left of a recording, as somebody would have exported it.
fn exported(recording: &Recording, random: &mut Random) -> Vec<u8> {
    let timeline = rekindle::evidence::Timeline {
        header: recording.header().clone(),
        entries: recording.entries.clone(),
    };
    let evidence = Evidence::of(&timeline);
    let mut objects: Vec<Value> = evidence.all_but(&[]).map(|life| life.object().clone()).collect();
    for _ in 0..random.below(4) {
        if !objects.is_empty() {
            let at = random.below(objects.len());
            change(&mut objects[at], random);
        }
    }
    let text = match random.below(4) {
        0 => json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string(),
        1 => {
            let items: String = objects.iter().map(|object| format!("- {object}\n")).collect();
            format!("apiVersion: v1\nitems:\n{items}kind: List\n")
        }
        2 => objects.iter().map(|object| format!("{object:#}\n")).collect(),
        _ => {
            let pod = evidence.all("Pod").next().map(|pod| pod.name().to_owned()).unwrap_or_default();
            let namespace = &recording.header().namespace;
            let list = json!({"apiVersion": "v1", "kind": "PodList", "items": objects});
            format!(
                "{list}\n==== START logs for container main of pod {namespace}/{pod} ====\nwaiting for db\n==== END logs for container main of pod {namespace}/{pod} ====\n"
            )
        }
    };
    if random.below(2) == 0 {
        return text.into_bytes();
    }
    let mut tar = tar::Builder::new(Vec::new());
    for name in [
        "x/cluster-resources/pods/shop.json",
        "y/namespaces/shop/core/events.yaml",
        "shop/p/logs.txt",
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        tar.append_data(&mut header, name, text.as_bytes())
            .expect("it is written to memory");
    }
    tar.into_inner().expect("it is written to memory")
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(bytes).expect("it is written to memory");
    gzip.finish().expect("it is written to memory")
}

fn diagnose_all(bytes: &[u8]) {
    if let Ok(imported) = import::from_bytes(bytes, &Options::new(None, [1; 32])) {
        for timeline in &imported.timelines {
            let _ = diagnose(&Evidence::of(timeline));
        }
    }
}

#[test]
fn imports() {
    let corpus = Corpus::new();
    let make = |random: &mut Random| {
        if random.below(10) == 0 {
            let packed = std::fs::read(random.one(&corpus.files)).expect("it is there");
            return damaged(packed, random);
        }
        let bytes = exported(&corpus.one(random), random);
        let bytes = if random.below(3) == 0 { bytes } else { damaged(bytes, random) };
        match random.below(4) {
            0 => {
                let packed = gzip(&bytes);
                damaged(packed, random)
            }
            1 => gzip(&bytes),
            _ => bytes,
        }
    };
    try_all(make, |bytes| diagnose_all(bytes));
}

#[test]
fn release_records() {
    let manifest = "---\n# Source: a/templates/a.yaml\napiVersion: batch/v1\nkind: Job\nmetadata:\n  name: a\nspec:\n  template:\n    spec:\n      containers:\n      - name: a\n        command: [sh, -c, 'until curl -f $URL; do sleep 5; done']\n---\nkind: Secret\nmetadata: {name: s}\nstringData: {p: quiet-canary}\n";
    let template =
        "{{- if not (lookup \"v1\" \"Secret\" .Release.Namespace (printf \"%s-token\" .Values.a.name)) }}\nkind: Secret\n{{- end }}\n";
    let record = json!({"name": "a", "namespace": "shop", "version": 3, "config": {"a": {"name": "b"}},
        "info": {"status": "failed", "description": "Upgrade \"a\" failed: timed out", "first_deployed": "2026-01-01T00:00:00Z", "last_deployed": "2026-01-01T00:00:00Z"},
        "chart": {"metadata": {"name": "a", "version": "0.1.0"}, "values": {}, "templates": [{"name": "templates/a.yaml", "data": STANDARD.encode(template)}]},
        "manifest": manifest, "hooks": [{"name": "h", "kind": "Job", "path": "a/templates/h.yaml", "manifest": manifest, "events": ["pre-upgrade"], "weight": -5,
            "delete_policies": ["hook-succeeded"], "last_run": {"started_at": "2026-01-01T00:00:01Z", "completed_at": "0001-01-01T00:00:00Z", "phase": "Running"}}]});
    let make = |random: &mut Random| {
        let mut record = record.clone();
        for _ in 0..random.below(4) {
            change(&mut record, random);
        }
        let mut bytes = record.to_string().into_bytes();
        if random.below(2) == 0 {
            bytes = damaged(bytes, random);
        }
        if random.below(4) != 0 {
            bytes = gzip(&bytes);
        }
        if random.below(3) == 0 {
            bytes = damaged(bytes, random);
        }
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "type": "helm.sh/release.v1", "metadata": {"name": "sh.helm.release.v1.a.v3", "namespace": "shop"},
            "data": {"release": STANDARD.encode(STANDARD.encode(bytes))}});
        secret.to_string().into_bytes()
    };
    try_all(make, |bytes| diagnose_all(bytes));
}

#[test]
fn detectors() {
    let corpus = Corpus::new();
    let make = |random: &mut Random| -> (Header, Vec<Entry>) {
        let recording = corpus.one(random);
        let mut entries = recording.entries.clone();
        for _ in 0..=random.below(8) {
            if entries.is_empty() {
                break;
            }
            let at = random.below(entries.len());
            match random.below(8) {
                0 => drop(entries.remove(at)),
                1 => {
                    let other = random.below(entries.len());
                    let (a, b) = (entries[at].at, entries[other].at);
                    entries.swap(at, other);
                    (entries[at].at, entries[other].at) = (a, b);
                }
                2 => entries.truncate(at),
                3 => {
                    if let Fact::Object { change, .. } = &mut entries[at].fact {
                        *change = Change::Deleted;
                    }
                }
                _ => {
                    let mut fact = serde_json::to_value(&entries[at].fact).expect("a fact has a form");
                    // What is no fact any more would not be read from a recording either.
                    change(&mut fact, random);
                    if let Ok(fact) = serde_json::from_value(fact) {
                        entries[at].fact = fact;
                    }
                }
            }
        }
        (recording.header().clone(), entries)
    };
    let tried = |(header, entries): &(Header, Vec<Entry>)| {
        let mut evidence = Evidence::new(header.clone());
        for entry in entries {
            evidence.apply(entry);
        }
        let _ = diagnose(&evidence);
    };
    try_all(make, tried);
}
