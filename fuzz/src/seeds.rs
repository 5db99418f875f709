//! What the targets begin with: inputs that are right, made of the recordings of all scenarios.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::read::MultiGzDecoder;
use rekindle::evidence::{Evidence, Timeline};
use serde_json::{Value, json};

use crate::change::change;
use crate::random::Random;

static FILES: LazyLock<Vec<PathBuf>> = LazyLock::new(|| {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios");
    let scenarios = root.read_dir().into_iter().flatten().flatten();
    let folders = scenarios.filter_map(|scenario| scenario.path().join("recordings").read_dir().ok());
    let mut files: Vec<_> = folders.flatten().flatten().map(|file| file.path()).collect();
    files.sort();
    assert!(!files.is_empty(), "no recordings in {}", root.display());
    files
});

/// The lines of one of the recordings.
pub fn recording(random: &mut Random) -> Vec<u8> {
    let file = random.one(&FILES);
    let packed = std::fs::read(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    unpacked(&packed).unwrap_or_else(|| panic!("{} cannot be unpacked", file.display()))
}

/// What gzip has packed; at most 16 MiB of it.
pub fn unpacked(packed: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    MultiGzDecoder::new(packed).take(16 << 20).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// What is left at the end of one of the recordings, as somebody would have exported it.
pub fn exported(random: &mut Random) -> Vec<u8> {
    let Some((header, entries)) = crate::parsed(&recording(random)) else {
        return Vec::new();
    };
    let namespace = header.namespace.clone();
    let evidence = Evidence::of(&Timeline { header, entries });
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

/// A release record as Helm keeps it, before it is packed.
pub fn release() -> Vec<u8> {
    let manifest = "---\n# Source: a/templates/a.yaml\napiVersion: batch/v1\nkind: Job\nmetadata:\n  name: a\nspec:\n  template:\n    spec:\n      containers:\n      - name: a\n        command: [sh, -c, 'until curl -f $URL; do sleep 5; done']\n---\nkind: Secret\nmetadata: {name: s}\nstringData: {p: quiet-canary}\n";
    let template =
        "{{- if not (lookup \"v1\" \"Secret\" .Release.Namespace (printf \"%s-token\" .Values.a.name)) }}\nkind: Secret\n{{- end }}\n";
    let record = json!({"name": "a", "namespace": "shop", "version": 3, "config": {"a": {"name": "b"}},
        "info": {"status": "failed", "description": "Upgrade \"a\" failed: timed out", "first_deployed": "2026-01-01T00:00:00Z", "last_deployed": "2026-01-01T00:00:00Z"},
        "chart": {"metadata": {"name": "a", "version": "0.1.0"}, "values": {}, "templates": [{"name": "templates/a.yaml", "data": STANDARD.encode(template)}]},
        "manifest": manifest, "hooks": [{"name": "h", "kind": "Job", "path": "a/templates/h.yaml", "manifest": manifest, "events": ["pre-upgrade"], "weight": -5,
            "delete_policies": ["hook-succeeded"], "last_run": {"started_at": "2026-01-01T00:00:01Z", "completed_at": "0001-01-01T00:00:00Z", "phase": "Running"}}]});
    record.to_string().into_bytes()
}
