//! Results that are kept under the hash of everything that decides their content.
//!
//! An entry is a folder `<name>-<key>` with a manifest. It is made in a temporary folder beside it and renamed when complete, so that a
//! folder of that name is always a whole one. Who makes an entry holds a lock file; the kernel lets go of it when its holder dies,
//! which is how remains of a killed build are told from a build under way. An entry that no longer matches its manifest is removed and
//! made again, and a note says so: it can be had again, and nobody wants to be asked.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use super::error::ToolchainError;
use crate::events::{Event, Events};
use crate::wait::{self, Seen};

const MANIFEST: &str = "manifest.json";
/// Longer than any build: a second process waits for the first one's result.
const PATIENCE: Duration = Duration::from_secs(3600);

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

/// What a look at an entry found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Look {
    Present(PathBuf),
    Absent,
    /// The reason, as it stands after the entry's name.
    Corrupt(String),
}

/// How closely an entry is compared with its manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Care {
    /// Sizes and times; a file whose time alone differs is hashed.
    Quick,
    /// Every hash.
    Full,
}

/// Held while an entry is made, or as long as something else must not happen twice.
#[derive(Debug)]
pub(super) struct Lock(#[allow(dead_code, reason = "the kernel holds the lock as long as the file is open")] File);

/// Says what a step is at, from wherever its lines come.
#[derive(Clone)]
pub(super) struct Progress {
    events: Events,
    step: String,
}

impl Progress {
    pub fn new(events: &Events, step: &str) -> Self {
        Self { events: events.clone(), step: step.to_owned() }
    }

    pub fn say(&self, detail: impl Into<String>) {
        self.events.send(Event::StepProgress { step: self.step.clone(), detail: detail.into() });
    }
}

/// The folder of all entries.
#[derive(Debug, Clone)]
pub(super) struct Cache {
    root: PathBuf,
}

impl Cache {
    /// Opens the folder and removes what builds left there that no longer live.
    pub fn open(root: &Path) -> Result<Self, ToolchainError> {
        let cache = Self { root: root.to_owned() };
        let locks = cache.locks();
        fs::create_dir_all(&locks).map_err(ToolchainError::file("making the cache folder", &locks))?;
        // Build tools are told these paths while they work elsewhere.
        let cache = Self { root: root.canonicalize().map_err(ToolchainError::file("opening the cache", root))? };
        let entries = fs::read_dir(&cache.root).map_err(ToolchainError::file("reading the cache", root))?;
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let Some(owner) = name.strip_prefix(".building-").and_then(|rest| rest.rsplit_once('.')).map(|(owner, _)| owner) else {
                continue;
            };
            if let Ok(Some(_dead)) = try_lock(&cache.lock_path(owner)) {
                // What cannot be removed now is tried again at the next start.
                let _ = fs::remove_dir_all(entry.path());
            }
        }
        Ok(cache)
    }

    /// Without changing anything, for surveys.
    pub fn peek(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    fn locks(&self) -> PathBuf {
        self.root.join("locks")
    }

    fn lock_path(&self, owner: &str) -> PathBuf {
        self.locks().join(format!("{owner}.lock"))
    }

    /// Where an entry is or would be.
    pub fn path(&self, name: &str, key: &Key) -> PathBuf {
        self.root.join(format!("{name}-{}", key.short()))
    }

    /// What is there under this key.
    pub fn look(&self, name: &str, key: &Key, care: Care) -> Look {
        let path = self.path(name, key);
        if !path.exists() {
            return Look::Absent;
        }
        match compare(&path, key, care) {
            Ok(()) => Look::Present(path),
            Err(reason) => Look::Corrupt(reason),
        }
    }

    /// Waits for the lock `owner`, saying so.
    pub async fn lock(&self, owner: &str, progress: Option<&Progress>, cancel: &CancellationToken) -> Result<Lock, ToolchainError> {
        lock(&self.lock_path(owner), owner, progress, cancel).await
    }

    /// The entry under this key: the one that is there, or what `build` puts into the folder that it is given.
    pub async fn entry<F, Fut>(
        &self,
        (name, key, step): (&str, &Key, &str),
        events: &Events,
        cancel: &CancellationToken,
        build: F,
    ) -> Result<PathBuf, ToolchainError>
    where
        F: FnOnce(PathBuf, Progress) -> Fut,
        Fut: Future<Output = Result<(), ToolchainError>>,
    {
        if let Look::Present(path) = self.look(name, key, Care::Quick) {
            events.step(step).cached();
            return Ok(path);
        }
        let running = events.step(step);
        let progress = Progress::new(events, step);
        let owner = format!("{name}-{}", key.short());
        let _held = self.lock(&owner, Some(&progress), cancel).await?;
        match self.look(name, key, Care::Quick) {
            Look::Present(path) => {
                running.cached();
                return Ok(path);
            }
            Look::Corrupt(reason) => {
                let path = self.path(name, key);
                events.note(format!("the cached {name} in {} {reason}: it is removed and made again", path.display()));
                fs::remove_dir_all(&path).map_err(ToolchainError::file("removing a corrupt cache entry", &path))?;
            }
            Look::Absent => {}
        }
        let building = tempfile::Builder::new()
            .prefix(&format!(".building-{owner}."))
            .tempdir_in(&self.root)
            .map_err(ToolchainError::file("making a folder to build in", &self.root))?;
        build(building.path().to_owned(), progress.clone()).await?;
        progress.say("recording what was made");
        let (from, to, key) = (building.path().to_owned(), self.path(name, key), key.clone());
        let recorded = tokio::task::spawn_blocking(move || record(&from, &key)).await;
        recorded.map_err(std::io::Error::other).flatten().map_err(ToolchainError::file("recording a cache entry", building.path()))?;
        fs::rename(building.path(), &to).map_err(ToolchainError::file("moving a finished cache entry into its place", &to))?;
        // It is no longer where its guard would remove it.
        let _ = building.keep();
        running.done();
        Ok(to)
    }
}

/// Waits until nobody else holds the lock file.
pub(super) async fn lock(
    path: &Path,
    what: &str,
    progress: Option<&Progress>,
    cancel: &CancellationToken,
) -> Result<Lock, ToolchainError> {
    let waited_for = format!("the end of another rekindle's work on {what}");
    let held = wait::until(&waited_for, PATIENCE, Duration::from_millis(200), cancel, || {
        let attempt = try_lock(path);
        async {
            match attempt {
                Ok(Some(lock)) => Seen::Done(Ok(lock)),
                Ok(None) => {
                    let seen = format!("waiting for another rekindle that works on {what}");
                    if let Some(progress) = progress {
                        progress.say(&seen);
                    }
                    Seen::NotYet(seen)
                }
                Err(error) => Seen::Done(Err(error)),
            }
        }
    });
    held.await?.map_err(ToolchainError::file("locking", path))
}

/// The lock, or none if somebody holds it.
pub(super) fn try_lock(path: &Path) -> std::io::Result<Option<Lock>> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let file = File::options().create(true).append(true).open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(Lock(file))),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
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

fn record(dir: &Path, key: &Key) -> std::io::Result<()> {
    let mut files = BTreeMap::new();
    for path in files_below(dir)? {
        let metadata = path.metadata()?;
        let recorded = Recorded { size: metadata.len(), modified_ns: modified_ns(&metadata), sha256: hash_file(&path)? };
        files.insert(path.strip_prefix(dir).unwrap_or(&path).to_owned(), recorded);
    }
    let manifest = serde_json::to_vec_pretty(&Manifest { key: key.0.clone(), files })?;
    fs::write(dir.join(MANIFEST), manifest)
}

fn compare(dir: &Path, key: &Key, care: Care) -> Result<(), String> {
    let text = fs::read(dir.join(MANIFEST)).map_err(|error| format!("has no readable manifest ({error})"))?;
    let manifest: Manifest = serde_json::from_slice(&text).map_err(|error| format!("has a broken manifest ({error})"))?;
    if manifest.key != key.0 {
        return Err(format!("belongs to another key ({})", manifest.key));
    }
    for (name, recorded) in &manifest.files {
        let path = dir.join(name);
        let metadata = path.metadata().map_err(|_| format!("lacks {}", name.display()))?;
        if metadata.len() != recorded.size {
            return Err(format!("has {} bytes in {} instead of {}", metadata.len(), name.display(), recorded.size));
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

    fn key(text: &str) -> Key {
        Key::of([("text", text.as_bytes())])
    }

    async fn make(cache: &Cache, key: &Key, content: &'static str) -> Result<PathBuf, ToolchainError> {
        let build = |dir: PathBuf, _| async move { fs::write(dir.join("file"), content).map_err(ToolchainError::file("writing", dir)) };
        cache.entry(("thing", key, "Make a thing"), &Events::silent(), &CancellationToken::new(), build).await
    }

    #[test]
    fn parts_do_not_run_together() {
        assert_ne!(Key::of([("a", &b"bc"[..])]), Key::of([("ab", &b"c"[..])]));
        assert_ne!(Key::of([("a", &b""[..]), ("b", b"")]), Key::of([("a", &b"b"[..])]));
    }

    #[tokio::test]
    async fn a_second_call_finds_the_first_result() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path()).unwrap();
        let first = make(&cache, &key("a"), "one").await.unwrap();
        let second = make(&cache, &key("a"), "two").await.unwrap();
        assert_eq!((first.clone(), fs::read_to_string(second.join("file")).unwrap()), (second, "one".to_owned()));
        assert_eq!(cache.look("thing", &key("b"), Care::Quick), Look::Absent);
    }

    #[tokio::test]
    async fn a_failed_build_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path()).unwrap();
        let build = |dir: PathBuf, _| async move {
            fs::write(dir.join("half"), "x").unwrap();
            Err(ToolchainError::Interrupted)
        };
        assert!(cache.entry(("thing", &key("a"), "Make"), &Events::silent(), &CancellationToken::new(), build).await.is_err());
        let left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["locks"]);
    }

    #[tokio::test]
    async fn what_no_longer_matches_is_named_and_made_again() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path()).unwrap();
        let path = make(&cache, &key("a"), "one").await.unwrap();
        for damage in ["longer than before", "two"] {
            fs::write(path.join("file"), damage).unwrap();
            assert!(matches!(cache.look("thing", &key("a"), Care::Quick), Look::Corrupt(reason) if reason.contains("file")));
        }
        make(&cache, &key("a"), "one").await.unwrap();
        assert_eq!(cache.look("thing", &key("a"), Care::Full), Look::Present(path.clone()));
        fs::remove_file(path.join("file")).unwrap();
        assert_eq!(cache.look("thing", &key("a"), Care::Quick), Look::Corrupt("lacks file".to_owned()));
    }

    #[test]
    fn remains_of_the_dead_go_and_of_the_living_stay() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path()).unwrap();
        let (dead, alive) = (dir.path().join(".building-a-0123.xyz"), dir.path().join(".building-b-4567.xyz"));
        fs::create_dir(&dead).unwrap();
        fs::create_dir(&alive).unwrap();
        let _held = try_lock(&cache.lock_path("b-4567")).unwrap().unwrap();
        Cache::open(dir.path()).unwrap();
        assert_eq!((dead.exists(), alive.exists()), (false, true));
    }
}
