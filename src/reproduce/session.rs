//! What a reproduction leaves on disk between its steps.
//!
//! It lies in the folder of the cluster that it stands in, and so goes with that cluster. It is written before anything is made.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use kube::config::Kubeconfig;
use serde::{Deserialize, Serialize};

use crate::cluster::lock::{self, Lock};
use crate::cluster::{self, JournalError};
use crate::evidence::recording::RecordingError;
use crate::evidence::{Recording, Timeline};
use crate::run::Standing;
use crate::trial::kept::Kept;
use crate::trial::preamble;
use crate::whole::WholeFile;

/// The format of the file.
const SCHEMA: u32 = 1;

/// Why a session could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    #[error("the file {} of the reproduction could not be {doing} ({source}): check the permissions and free space of its folder", path.display())]
    File {
        doing: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("the file {} of the reproduction is not readable ({reason}): remove the cluster with `rekindle down`, and begin anew", path.display())]
    Damaged { path: PathBuf, reason: String },
    #[error("the reproduction in {} has format {found}, and this rekindle knows {SCHEMA}: use the rekindle that made it", path.display())]
    Schema { path: PathBuf, found: u32 },
    #[error(transparent)]
    Recording(#[from] RecordingError),
    #[error(transparent)]
    Lock(#[from] JournalError),
}

/// How far a reproduction has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reached {
    /// It is being lit; if nobody is at it, that was cut off.
    Begun,
    Broken,
    Remedied,
    Verified,
}

/// One reproduction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Session {
    pub schema: u32,
    pub cluster: String,
    pub run_id: String,
    /// Whether the cluster was made or woken for it, and goes with it.
    pub own_cluster: bool,
    /// Where kubectl and the engine are.
    pub path: Vec<PathBuf>,
    pub reached: Reached,
    pub kept: Kept,
}

impl Session {
    pub fn begin(standing: &Standing, kept: Kept) -> Self {
        let (cluster, tools) = (&standing.cluster, &standing.tools);
        let engine = tools.engines.get(&kept.outcome.trial.engine).map(|engine| engine.binary.as_path());
        let mut path: Vec<PathBuf> = engine
            .into_iter()
            .chain([tools.kubectl.as_path()])
            .filter_map(Path::parent)
            .map(Path::to_owned)
            .collect();
        path.dedup();
        Self {
            schema: SCHEMA,
            cluster: cluster.name.clone(),
            run_id: cluster.run_id.clone(),
            own_cluster: cluster.unclaimed(),
            path,
            reached: Reached::Begun,
            kept,
        }
    }
}

/// Where the files of one reproduction are: one scenario on one cluster.
#[derive(Debug, Clone)]
pub struct Place {
    all: PathBuf,
    folder: PathBuf,
}

impl Place {
    pub fn of(state: &Path, cluster: &str, scenario: &str) -> Self {
        let all = cluster::folder(state, cluster).join("reproduce");
        Self {
            folder: all.join(scenario),
            all,
        }
    }

    /// Everything noted so far, as `rekindle replay` reads it.
    pub fn recording(&self) -> PathBuf {
        self.folder.join("recording.rekindle")
    }

    /// The cluster's kubeconfig, with the namespace of the reproduction as its default.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.join("kubeconfig")
    }

    fn session(&self) -> PathBuf {
        self.folder.join("session.json")
    }

    /// The right to take a step; nothing while another process takes one.
    ///
    /// # Errors
    /// When the folder cannot be used.
    pub fn turn(&self) -> Result<Option<Lock>, SessionError> {
        std::fs::create_dir_all(&self.all).map_err(|source| failed("made", &self.all, source))?;
        let name = self.folder.file_name().unwrap_or_default().to_string_lossy();
        Ok(lock::take(&self.all.join(format!("{name}.lock")), File::try_lock)?)
    }

    /// The session, if there is one.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn load(&self) -> Result<Option<Session>, SessionError> {
        let path = self.session();
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(source) if source.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(failed("read", &path, source)),
        };
        let damaged = |error: serde_json::Error| SessionError::Damaged {
            path: path.clone(),
            reason: error.to_string(),
        };
        let value: serde_json::Value = serde_json::from_str(&text).map_err(damaged)?;
        match value
            .get("schema")
            .and_then(serde_json::Value::as_u64)
            .and_then(|found| u32::try_from(found).ok())
        {
            Some(found) if found != SCHEMA => Err(SessionError::Schema { path, found }),
            _ => Ok(Some(serde_json::from_value(value).map_err(damaged)?)),
        }
    }

    /// Writes the session; nobody else may read it.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn save(&self, session: &Session) -> Result<(), SessionError> {
        std::fs::create_dir_all(&self.folder).map_err(|source| failed("made", &self.folder, source))?;
        let path = self.session();
        let text = serde_json::to_vec_pretty(session).map_err(|error| failed("written", &path, error.into()))?;
        private(&path, &text)
    }

    /// Writes down what was noted, and how to look at the cluster.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn save_all(&self, session: &Session, timeline: Timeline, cluster: &Path) -> Result<(), SessionError> {
        let preamble = preamble(&session.kept.outcome, timeline.header);
        let recording = Recording {
            preamble,
            entries: timeline.entries,
            ending: None,
        };
        recording.write(&self.recording())?;
        let mut kubeconfig = Kubeconfig::read_from(cluster).map_err(|error| SessionError::Damaged {
            path: cluster.to_owned(),
            reason: error.to_string(),
        })?;
        for context in kubeconfig.contexts.iter_mut().filter_map(|named| named.context.as_mut()) {
            context.namespace = Some(session.kept.namespace.clone());
        }
        let path = self.kubeconfig();
        // JSON is YAML, too.
        let text = serde_json::to_vec_pretty(&kubeconfig).map_err(|error| failed("written", &path, error.into()))?;
        private(&path, &text)?;
        self.save(session)
    }

    /// What was noted so far.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn timeline(&self) -> Result<Timeline, SessionError> {
        let recording = Recording::read(&self.recording())?;
        Ok(Timeline {
            header: recording.preamble.header,
            entries: recording.entries,
        })
    }

    /// Forgets it.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn remove(&self) -> Result<(), SessionError> {
        match std::fs::remove_dir_all(&self.folder) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(failed("removed", &self.folder, source)),
            _ => Ok(()),
        }
    }

    /// The scenarios of the other reproductions on the same cluster.
    pub fn others(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.all).into_iter().flatten().filter_map(Result::ok);
        let mut others: Vec<String> = entries
            .filter(|entry| entry.path() != self.folder && entry.path().join("session.json").is_file())
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        others.sort();
        others
    }
}

fn private(path: &Path, bytes: &[u8]) -> Result<(), SessionError> {
    let write = || {
        let mut file = WholeFile::private(path)?;
        file.write_all(bytes)?;
        file.keep()
    };
    write().map_err(|source| failed("written", path, source))
}

fn failed(doing: &'static str, path: &Path, source: std::io::Error) -> SessionError {
    SessionError::File {
        doing,
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::{Outcome, Profile, TrialId, Variant};

    fn session(scenario: &str) -> Session {
        let id = TrialId {
            scenario: scenario.to_owned(),
            engine: "helm-4".to_owned(),
            variant: Variant::Broken,
            profile: Profile::Fast,
        };
        Session {
            schema: SCHEMA,
            cluster: "x".to_owned(),
            run_id: "aa11".to_owned(),
            own_cluster: true,
            path: vec!["/bin".into()],
            reached: Reached::Broken,
            kept: Kept::of("ns-1", Outcome::not_run(id, Vec::new(), "not yet".to_owned())),
        }
    }

    #[test]
    fn what_was_saved_is_there_for_the_next_step_and_for_nobody_else() {
        use std::os::unix::fs::PermissionsExt as _;
        let state = tempfile::tempdir().unwrap();
        let place = Place::of(state.path(), "x", "a");
        assert_eq!(place.load().unwrap(), None);
        place.save(&session("a")).unwrap();
        assert_eq!(place.load().unwrap(), Some(session("a")));
        let mode = std::fs::metadata(place.session()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let other = Place::of(state.path(), "x", "b");
        assert_eq!(other.others(), ["a"]);
        assert!(place.others().is_empty());
        place.remove().unwrap();
        place.remove().unwrap();
        assert_eq!(place.load().unwrap(), None);
    }

    #[test]
    fn a_step_is_taken_by_one_process_at_a_time() {
        let state = tempfile::tempdir().unwrap();
        let place = Place::of(state.path(), "x", "a");
        let turn = place.turn().unwrap();
        assert!(turn.is_some() && place.turn().unwrap().is_none());
        assert!(Place::of(state.path(), "x", "b").turn().unwrap().is_some());
        drop(turn);
        assert!(place.turn().unwrap().is_some());
    }

    #[test]
    fn what_cannot_be_read_is_one_sentence() {
        let state = tempfile::tempdir().unwrap();
        let place = Place::of(state.path(), "x", "a");
        place.save(&session("a")).unwrap();
        std::fs::write(place.session(), "{\"schema\": 1, \"cluster\": 5}").unwrap();
        let error = place.load().unwrap_err().to_string();
        assert!(error.contains("is not readable (") && error.contains("`rekindle down`"), "{error}");
        std::fs::write(place.session(), "{\"schema\": 2}").unwrap();
        assert!(matches!(place.load(), Err(SessionError::Schema { found: 2, .. })));
        std::fs::write(place.session(), "").unwrap();
        assert!(matches!(place.load(), Err(SessionError::Damaged { .. })));
    }

    #[test]
    fn the_kubeconfig_has_the_namespace_and_the_credentials() {
        let state = tempfile::tempdir().unwrap();
        let cluster = state.path().join("kubeconfig");
        let yaml = "apiVersion: v1\nkind: Config\ncurrent-context: kind-x\ncontexts: [{name: kind-x, context: {cluster: kind-x, user: u}}]\n\
                    clusters: [{name: kind-x, cluster: {server: 'https://127.0.0.1:1'}}]\nusers: [{name: u, user: {client-key-data: a2V5}}]\n";
        std::fs::write(&cluster, yaml).unwrap();
        let place = Place::of(state.path(), "x", "a");
        let header = crate::evidence::Header {
            format: 1,
            recorder: "test".to_owned(),
            observed_at: jiff::Timestamp::UNIX_EPOCH,
            namespace: "ns-1".to_owned(),
            kubernetes_version: String::new(),
            watched: Vec::new(),
            notes: std::collections::BTreeMap::new(),
        };
        place.save_all(&session("a"), Timeline::begin(header.clone()), &cluster).unwrap();
        let kubeconfig: serde_json::Value = serde_json::from_slice(&std::fs::read(place.kubeconfig()).unwrap()).unwrap();
        assert_eq!(kubeconfig["contexts"][0]["context"]["namespace"], "ns-1");
        assert_eq!(kubeconfig["users"][0]["user"]["client-key-data"], "a2V5");
        assert_eq!(place.timeline().unwrap().header, header);
    }
}
