//! What rekindle has made on this machine, written down before it is made.
//!
//! One file per run under `state/journal`. Whether the run is alive is an `flock` on a file beside it, never a process id: the kernel
//! frees the lock however the process ends, and a number cannot be taken over by a stranger.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::config;
use super::lock::{Lock, take};

/// The format of an entry. A newer rekindle may write another; an older one then leaves it alone and says so.
const SCHEMA: u32 = 1;

/// Why the journal could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    #[error("the journal file {} could not be {doing} ({source}): check the permissions and free space of its folder", path.display())]
    Io {
        doing: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },
    #[error(
        "the journal entry {} is not readable ({reason}): look for what it named with `docker ps -a --filter network=rekindle-{run_id}`, then delete the file",
        path.display()
    )]
    Damaged { path: PathBuf, run_id: String, reason: String },
    #[error("the journal entry {} has format {found}, and this rekindle knows {SCHEMA}: use the rekindle that wrote it", path.display())]
    Schema { path: PathBuf, found: u32 },
}

/// How far a run's cluster has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// It is being made; what exists of it is not usable yet.
    Creating,
    /// It belongs to the run that made it and ends with it.
    Up,
    /// It was made to be kept: only `down` and `clean` remove it.
    Standing,
    /// It is paused until the next run uses it, or `down` and `clean` remove it.
    Parked,
    /// It is being removed.
    Removing,
}

impl Phase {
    /// Whether it outlives the processes that use it.
    pub fn stays(self) -> bool {
        matches!(self, Self::Standing | Self::Parked)
    }
}

/// One run: everything that was or will be made for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub schema: u32,
    pub run_id: String,
    pub cluster: String,
    pub network: String,
    /// The names of the node containers, known before they exist because kind derives them from the cluster's name. The first is the
    /// control plane, the others are the nodes of the pool.
    pub nodes: Vec<String>,
    /// Anonymous volumes of the node containers, noted before the containers that name them are removed.
    #[serde(default)]
    pub volumes: Vec<String>,
    pub kubeconfig: PathBuf,
    pub node_image: String,
    /// What it was made by; see [`config::recipe`].
    #[serde(default)]
    pub recipe: String,
    /// SHA-256 of the cluster's CA certificate, once it exists.
    #[serde(default)]
    pub ca_sha256: Option<String>,
    /// References of the images that were loaded into the control plane's node; a pool node gets them when it is leased.
    #[serde(default)]
    pub loaded: Vec<String>,
    /// Images that the control plane's node has from archives: those of the engines, which no pod of a scenario runs.
    #[serde(default)]
    pub archived: Vec<String>,
    pub created_at: jiff::Timestamp,
    pub phase: Phase,
}

impl Entry {
    /// An entry for a cluster that does not exist yet, with so many nodes in its pool.
    pub fn new(run_id: String, cluster: &str, pool: u32, node_image: &str, kubeconfig: PathBuf) -> Self {
        Self {
            schema: SCHEMA,
            network: format!("rekindle-{run_id}"),
            nodes: config::node_names(cluster, pool),
            volumes: Vec::new(),
            cluster: cluster.to_owned(),
            kubeconfig,
            node_image: node_image.to_owned(),
            recipe: config::recipe(),
            ca_sha256: None,
            loaded: Vec::new(),
            archived: Vec::new(),
            created_at: jiff::Timestamp::now(),
            phase: Phase::Creating,
            run_id,
        }
    }

    /// The node that is there from the beginning.
    pub fn control_plane(&self) -> &str {
        self.nodes.first().map_or("", String::as_str)
    }

    /// The nodes of the pool.
    pub fn pool(&self) -> &[String] {
        self.nodes.get(1..).unwrap_or_default()
    }
}

/// A short random name for a run: ten characters that are valid in names of containers, networks and labels.
///
/// # Errors
/// When the kernel gives no random bytes.
pub fn new_run_id() -> std::io::Result<String> {
    let mut bytes = [0_u8; 5];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The journal of one state folder.
#[derive(Debug, Clone)]
pub struct Journal {
    dir: PathBuf,
}

impl Journal {
    /// Opens the journal and makes its folder where it is missing.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn open(state: &Path) -> Result<Self, JournalError> {
        let dir = state.join("journal");
        std::fs::create_dir_all(&dir).map_err(|source| io("made", &dir, source))?;
        Ok(Self { dir })
    }

    /// All entries, oldest first.
    ///
    /// # Errors
    /// When one of them cannot be read or understood: what it names might exist, so it is not passed over.
    pub fn entries(&self) -> Result<Vec<Entry>, JournalError> {
        let listed = std::fs::read_dir(&self.dir).map_err(|source| io("listed", &self.dir, source))?;
        let mut entries = Vec::new();
        for file in listed {
            let path = file.map_err(|source| io("listed", &self.dir, source))?.path();
            if path.extension().is_some_and(|extension| extension == "json")
                && let Some(entry) = self.read(&path)?
            {
                entries.push(entry);
            }
        }
        entries.sort_by(|a, b| (a.created_at, &a.run_id).cmp(&(b.created_at, &b.run_id)));
        Ok(entries)
    }

    /// The entry of one run, or nothing when it is gone.
    ///
    /// # Errors
    /// When it is there and cannot be read or understood.
    pub fn entry(&self, run_id: &str) -> Result<Option<Entry>, JournalError> {
        self.read(&self.path(run_id))
    }

    fn read(&self, path: &Path) -> Result<Option<Entry>, JournalError> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(source) if source.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(io("read", path, source)),
        };
        let damaged = |reason: String| JournalError::Damaged {
            path: path.to_owned(),
            run_id: path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
            reason,
        };
        let value: serde_json::Value = serde_json::from_str(&text).map_err(|error| damaged(error.to_string()))?;
        match value.get("schema").and_then(serde_json::Value::as_u64) {
            Some(found) if found != u64::from(SCHEMA) => {
                return Err(JournalError::Schema {
                    path: path.to_owned(),
                    found: u32::try_from(found).unwrap_or(u32::MAX),
                });
            }
            _ => {}
        }
        serde_json::from_value(value).map(Some).map_err(|error| damaged(error.to_string()))
    }

    /// Writes an entry so that a reader sees the old one or the new one, also after a power cut.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn write(&self, entry: &Entry) -> Result<(), JournalError> {
        let path = self.path(&entry.run_id);
        let temporary = self.dir.join(format!(".{}.new", entry.run_id));
        let write = || -> std::io::Result<()> {
            let mut text = serde_json::to_vec_pretty(entry)?;
            text.push(b'\n');
            let mut file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&temporary)?;
            file.write_all(&text)?;
            file.sync_all()?;
            std::fs::rename(&temporary, &path)?;
            File::open(&self.dir)?.sync_all()
        };
        write().map_err(|source| io("written", &path, source))
    }

    /// Forgets a run, last of all: its entry, then its locks.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn remove(&self, run_id: &str) -> Result<(), JournalError> {
        for path in [self.path(run_id), self.maker_lock(run_id), self.lock_path(run_id)] {
            match std::fs::remove_file(&path) {
                Ok(()) => {}
                Err(source) if source.kind() == std::io::ErrorKind::NotFound => {}
                Err(source) => return Err(io("removed", &path, source)),
            }
        }
        Ok(())
    }

    /// Takes a run's lock for this process alone, as its owner or as the one that clears up after it; nothing when somebody holds it.
    ///
    /// # Errors
    /// When the lock file cannot be made or locked.
    pub fn claim(&self, run_id: &str) -> Result<Option<Lock>, JournalError> {
        take(&self.lock_path(run_id), File::try_lock)
    }

    /// Takes part in a run as one of several users of its cluster; nothing when somebody holds it alone.
    ///
    /// # Errors
    /// When the lock file cannot be made or locked.
    pub fn join(&self, run_id: &str) -> Result<Option<Lock>, JournalError> {
        take(&self.lock_path(run_id), File::try_lock_shared)
    }

    /// The right to create: one cluster at a time, because kind's own creations disturb each other. Nothing when somebody else creates.
    ///
    /// # Errors
    /// When the lock file cannot be made or locked.
    pub fn creation(&self) -> Result<Option<Lock>, JournalError> {
        take(&self.dir.join("create.lock"), File::try_lock)
    }

    /// The file that kind and its children keep locked while they live, also when their parent was killed.
    pub fn maker_lock(&self, run_id: &str) -> PathBuf {
        self.dir.join(format!("{run_id}.maker"))
    }

    /// Whether a process that makes this run's cluster is still there.
    ///
    /// # Errors
    /// When the lock file cannot be locked.
    pub fn being_made(&self, run_id: &str) -> Result<bool, JournalError> {
        let path = self.maker_lock(run_id);
        Ok(path.exists() && take(&path, File::try_lock)?.is_none())
    }

    fn path(&self, run_id: &str) -> PathBuf {
        self.dir.join(format!("{run_id}.json"))
    }

    fn lock_path(&self, run_id: &str) -> PathBuf {
        self.dir.join(format!("{run_id}.lock"))
    }
}

pub(super) fn io(doing: &'static str, path: &Path, source: std::io::Error) -> JournalError {
    JournalError::Io {
        doing,
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn journal() -> (tempfile::TempDir, Journal) {
        let state = tempfile::tempdir().unwrap();
        let journal = Journal::open(state.path()).unwrap();
        (state, journal)
    }

    fn entry(run_id: &str) -> Entry {
        Entry::new(run_id.to_owned(), "rekindle", 0, "kindest/node:v1.34.4", "kubeconfig".into())
    }

    #[test]
    fn an_entry_comes_back_as_it_was_written_and_is_gone_when_removed() {
        let (_state, journal) = journal();
        let mut written = entry("aa11");
        written.ca_sha256 = Some("00".into());
        written.phase = Phase::Standing;
        journal.write(&written).unwrap();
        assert_eq!(journal.entries().unwrap(), [written.clone()]);
        let _lock = journal.claim("aa11").unwrap().unwrap();
        journal.remove("aa11").unwrap();
        assert!(journal.entries().unwrap().is_empty());
        assert_eq!(std::fs::read_dir(&journal.dir).unwrap().count(), 0);
    }

    #[test]
    fn a_write_that_was_cut_off_leaves_the_old_entry() {
        let (_state, journal) = journal();
        journal.write(&entry("aa11")).unwrap();
        std::fs::write(journal.dir.join(".aa11.new"), "{\"schema\": 1, \"run_").unwrap();
        assert_eq!(journal.entries().unwrap().len(), 1);
        journal.write(&entry("aa11")).unwrap();
        assert!(!journal.dir.join(".aa11.new").exists());
    }

    #[test]
    fn a_damaged_entry_is_named_and_not_passed_over() {
        let (_state, journal) = journal();
        std::fs::write(journal.dir.join("bb22.json"), "{").unwrap();
        let error = journal.entries().unwrap_err().to_string();
        assert!(error.contains("bb22.json") && error.contains("network=rekindle-bb22"), "{error}");
        std::fs::write(journal.dir.join("bb22.json"), "{\"schema\": 7}").unwrap();
        assert!(matches!(journal.entries(), Err(JournalError::Schema { found: 7, .. })));
    }

    #[test]
    fn a_claimed_run_is_alive_and_a_dropped_claim_is_not() {
        let (_state, journal) = journal();
        let owner = journal.claim("aa11").unwrap().unwrap();
        assert!(journal.claim("aa11").unwrap().is_none());
        assert!(journal.join("aa11").unwrap().is_none());
        owner.share().unwrap();
        let user = journal.join("aa11").unwrap().unwrap();
        assert!(journal.claim("aa11").unwrap().is_none());
        assert!(!owner.alone().unwrap());
        drop(user);
        assert!(owner.alone().unwrap());
        drop(owner);
        assert!(journal.claim("aa11").unwrap().is_some());
    }

    #[tokio::test]
    async fn a_lock_that_another_process_holds_is_seen_and_freed_by_its_death() {
        use crate::command::Command;
        use crate::wait::{Seen, until};
        use std::time::Duration;
        let (_state, journal) = journal();
        let path = journal.maker_lock("aa11");
        let cancel = tokio_util::sync::CancellationToken::new();
        let holder = {
            let (path, cancel) = (path.clone(), cancel.clone());
            tokio::spawn(async move {
                let command = Command::new("flock", Duration::from_secs(60)).arg("--no-fork").arg(path);
                command.args(["sleep", "60"]).run_any_status(&cancel).await
            })
        };
        let watch = tokio_util::sync::CancellationToken::new();
        for wanted in [true, false] {
            until(
                "the other process",
                Duration::from_secs(20),
                Duration::from_millis(20),
                &watch,
                async || {
                    if journal.being_made("aa11").unwrap() == wanted {
                        Seen::Done(())
                    } else {
                        Seen::NotYet(format!("not {wanted}"))
                    }
                },
            )
            .await
            .unwrap();
            cancel.cancel();
        }
        assert!(holder.await.unwrap().is_err());
    }

    #[test]
    fn run_ids_are_short_and_differ() {
        let (a, b) = (new_run_id().unwrap(), new_run_id().unwrap());
        assert_ne!(a, b);
        assert!(a.len() == 10 && a.chars().all(|c| c.is_ascii_hexdigit()));
    }
}
