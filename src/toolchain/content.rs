//! What decides a result, and whether it still is what it was.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

const MANIFEST: &str = "manifest.json";

/// The hash over everything that decides a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key(String);

impl Key {
    /// Names and lengths are hashed too, so that no two lists of parts run together.
    pub fn of<'a>(parts: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Self {
        let mut hash = Sha256::new();
        for (name, bytes) in parts {
            for part in [name.as_bytes(), bytes] {
                hash.update((part.len() as u64).to_le_bytes());
                hash.update(part);
            }
        }
        Self(hex(&hash.finalize()))
    }

    pub fn full(&self) -> &str {
        &self.0
    }

    /// What stands in names of folders and tags.
    pub fn short(&self) -> &str {
        &self.0[..12]
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// SHA-256 of a file, in hexadecimal digits.
pub(super) fn hash_file(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex(&hash.finalize())),
            n => hash.update(&buffer[..n]),
        }
    }
}

/// How closely an entry is compared with its manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Care {
    /// Sizes and times; a file whose time alone differs is hashed.
    Quick,
    /// Every hash.
    Full,
}

#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    key: String,
    files: BTreeMap<PathBuf, Recorded>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Recorded {
    size: u64,
    modified_ns: i128,
    sha256: String,
}

fn files_below(dir: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut open = vec![dir.to_owned()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(&next)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                open.push(entry.path());
            } else if entry.path() != dir.join(MANIFEST) {
                found.push(entry.path());
            }
        }
    }
    Ok(found)
}

fn modified_ns(metadata: &fs::Metadata) -> i128 {
    i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec())
}

/// Writes down what is in a folder.
pub(super) fn record(dir: &Path, key: &Key) -> std::io::Result<()> {
    let mut files = BTreeMap::new();
    for path in files_below(dir)? {
        let metadata = path.metadata()?;
        let recorded = Recorded {
            size: metadata.len(),
            modified_ns: modified_ns(&metadata),
            sha256: hash_file(&path)?,
        };
        files.insert(path.strip_prefix(dir).unwrap_or(&path).to_owned(), recorded);
    }
    let manifest = serde_json::to_vec_pretty(&Manifest { key: key.0.clone(), files })?;
    fs::write(dir.join(MANIFEST), manifest)
}

/// Whether a folder still is what was written down; else the reason, as it stands after its name.
pub(super) fn compare(dir: &Path, key: &Key, care: Care) -> Result<(), String> {
    let text = fs::read(dir.join(MANIFEST)).map_err(|error| format!("has no readable manifest ({error})"))?;
    let manifest: Manifest = serde_json::from_slice(&text).map_err(|error| format!("has a broken manifest ({error})"))?;
    if manifest.key != key.0 {
        return Err(format!("belongs to another key ({})", manifest.key));
    }
    for (name, recorded) in &manifest.files {
        let path = dir.join(name);
        let metadata = path.metadata().map_err(|_| format!("lacks {}", name.display()))?;
        if metadata.len() != recorded.size {
            return Err(format!(
                "has {} bytes in {} instead of {}",
                metadata.len(),
                name.display(),
                recorded.size
            ));
        }
        let same_time = modified_ns(&metadata) == recorded.modified_ns;
        if !(same_time && care == Care::Quick) && hash_file(&path).ok().as_ref() != Some(&recorded.sha256) {
            return Err(format!("has changed in {}", name.display()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_do_not_run_together() {
        assert_ne!(Key::of([("a", &b"bc"[..])]), Key::of([("ab", &b"c"[..])]));
        assert_ne!(Key::of([("a", &b""[..]), ("b", b"")]), Key::of([("a", &b"b"[..])]));
    }
}
