//! The Docker engine: the one that runs is used as it is; where none runs, one is installed and started, and stopped again by
//! [`release`].

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::cache::{Lock, lock, try_lock};
use super::error::{ToolchainError, last_line};
use super::host::{System, find_programs, install, require_root};
use super::runtime;
use crate::command::Command;
use crate::events::Events;
use crate::wait::{self, Seen};

const START_SCRIPT: &str = include_str!("../../images/docker/start-dockerd.sh");
const START_DEADLINE: Duration = Duration::from_mins(1);
const STOP_DEADLINE: Duration = Duration::from_secs(30);
const ASK_DEADLINE: Duration = Duration::from_secs(15);
const DEFAULT_ENDPOINT: &str = "unix:///var/run/docker.sock";
const USERS_CONFIG: &str = "/etc/docker/daemon.json";

/// As long as this process lives, it is a user of the engine, and nobody stops it who started it.
static LEASE: Mutex<Option<fs::File>> = Mutex::new(None);

/// An engine that answers.
#[derive(Debug, Clone)]
pub(super) struct Engine {
    pub version: String,
}

impl Engine {
    /// A call of the Docker client.
    pub fn command<S: AsRef<std::ffi::OsStr>>(deadline: Duration, args: impl IntoIterator<Item = S>) -> Command {
        Command::new("docker", deadline).args(args)
    }
}

/// What asking for the engine came to.
#[derive(Debug)]
pub(super) enum Answer {
    Ready(Engine),
    /// It runs and does not let this user in.
    Refuses(String),
    /// It does not run, or not where the client looks.
    Silent(String),
    NoClient,
}

/// Asks the engine that the client is configured for.
pub(super) async fn ask(cancel: &CancellationToken) -> Result<Answer, ToolchainError> {
    let asked = Engine::command(ASK_DEADLINE, ["version", "--format", "{{.Server.Version}}"])
        .run_any_status(cancel)
        .await;
    Ok(match asked {
        Ok(output) if output.status.success() && !output.text().is_empty() => Answer::Ready(Engine { version: output.text() }),
        Ok(output) => {
            let line = output.last_line();
            if line.contains("permission denied") {
                Answer::Refuses(line)
            } else {
                Answer::Silent(line)
            }
        }
        Err(crate::command::CommandError::Start { .. }) => Answer::NoClient,
        Err(crate::command::CommandError::Interrupted { .. }) => return Err(ToolchainError::Interrupted),
        Err(error) => Answer::Silent(last_line(&error)),
    })
}

/// How the engine was started, so that whoever stops it can prove that it is that one.
#[derive(Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(untagged)]
enum Record {
    ByHand { pid: i32, start_time: u64 },
    BySystemd { invocation: String },
}

struct Files {
    dir: PathBuf,
}

impl Files {
    fn below(state: &Path) -> Self {
        Self { dir: state.join("docker") }
    }

    fn record(&self) -> PathBuf {
        self.dir.join("started.json")
    }

    fn log(&self) -> PathBuf {
        self.dir.join("dockerd.log")
    }

    fn users(&self) -> PathBuf {
        self.dir.join("users.lock")
    }

    fn read_record(&self) -> Option<Record> {
        serde_json::from_slice(&fs::read(self.record()).ok()?).ok()
    }
}

/// The engine, installed and started where need be. `packages` are wanted too and installed in the same go.
pub(super) async fn ensure(state: &Path, packages: &[&str], events: &Events, cancel: &CancellationToken) -> Result<Engine, ToolchainError> {
    let files = Files::below(state);
    fs::create_dir_all(&files.dir).map_err(ToolchainError::file("making a folder for the engine's state", &files.dir))?;
    become_user(&files)?;
    if let Answer::Ready(engine) = ask(cancel).await? {
        return Ok(engine);
    }
    let _starting = lock(&files.dir.join("start.lock"), "the Docker engine", None, cancel).await?;
    // Whoever held the lock may have started it.
    match ask(cancel).await? {
        Answer::Ready(engine) => return Ok(engine),
        Answer::Refuses(reason) => return Err(ToolchainError::EngineRefuses { reason }),
        Answer::Silent(reason) => {
            let host = endpoint(cancel).await;
            if host != DEFAULT_ENDPOINT {
                return Err(ToolchainError::EngineElsewhere { host, reason });
            }
        }
        Answer::NoClient => {}
    }
    install_engine(packages, events, cancel).await?;
    let step = events.step("Start the Docker engine");
    let engine = start(&files, cancel).await?;
    step.done();
    Ok(engine)
}

fn become_user(files: &Files) -> Result<(), ToolchainError> {
    let mut lease = LEASE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if lease.is_none() {
        let path = files.users();
        let taken = fs::File::options()
            .create(true)
            .append(true)
            .open(&path)
            .and_then(|file| file.lock_shared().map(|()| file));
        *lease = Some(taken.map_err(ToolchainError::file("taking a share in the engine", &path))?);
    }
    Ok(())
}

async fn endpoint(cancel: &CancellationToken) -> String {
    let asked = Engine::command(ASK_DEADLINE, ["context", "inspect", "--format", "{{.Endpoints.docker.Host}}"])
        .run(cancel)
        .await;
    asked.map_or_else(|_| DEFAULT_ENDPOINT.to_owned(), |output| output.text())
}

async fn install_engine(extra: &[&str], events: &Events, cancel: &CancellationToken) -> Result<(), ToolchainError> {
    let [client, daemon, iptables] = find_programs(["docker", "dockerd", "iptables"], cancel).await?;
    let mut packages = Vec::new();
    if client.is_none() || daemon.is_none() {
        packages.push("docker.io");
    }
    if iptables.is_none() {
        packages.push("iptables");
    }
    if packages.is_empty() {
        return require_root("starting the Docker engine", "start it, or run as root once");
    }
    System::read().may_install("the Docker engine", "Docker")?;
    packages.extend(extra);
    install(&packages, events, cancel).await
}

async fn start(files: &Files, cancel: &CancellationToken) -> Result<Engine, ToolchainError> {
    let missing = runtime::missing_capabilities();
    // systemd's own unit cannot be told another runtime without changing the user's files.
    if missing.is_empty() && Path::new("/run/systemd/system").is_dir() {
        let start = Command::new("systemctl", START_DEADLINE)
            .args(["start", "docker"])
            .run(cancel)
            .await;
        start.map_err(ToolchainError::step("starting the Docker engine with systemd"))?;
        if let Some(invocation) = invocation(cancel).await {
            write_record(files, &Record::BySystemd { invocation })?;
        }
    } else {
        start_by_hand(files, &missing, cancel).await?;
    }
    wait_until_ready(files, cancel).await
}

async fn invocation(cancel: &CancellationToken) -> Option<String> {
    let show = ["show", "docker", "--property", "InvocationID", "--value"];
    let shown = Command::new("systemctl", ASK_DEADLINE).args(show).run(cancel).await.ok()?.text();
    (!shown.is_empty()).then_some(shown)
}

fn write_record(files: &Files, record: &Record) -> Result<(), ToolchainError> {
    let text = serde_json::to_vec(record).unwrap_or_default();
    fs::write(files.record(), text).map_err(ToolchainError::file("recording how the engine was started", files.record()))
}

async fn start_by_hand(files: &Files, missing: &[&str], cancel: &CancellationToken) -> Result<(), ToolchainError> {
    let [daemon, runc] = find_programs(["dockerd", "runc"], cancel).await?;
    let (Some(daemon), Some(runc)) = (daemon, runc) else {
        return Err(ToolchainError::Unsupported {
            what: "dockerd or runc".to_owned(),
            system: System::read().name,
            install: "the Docker engine".to_owned(),
        });
    };
    remove_stale_files();
    let script = files.dir.join("start-dockerd.sh");
    fs::write(&script, START_SCRIPT).map_err(ToolchainError::file("writing a script", &script))?;
    // Only this start's lines may be cited when it fails.
    fs::write(files.log(), "").map_err(ToolchainError::file("emptying the daemon's log", files.log()))?;

    let mut command = Command::new("setsid", Duration::from_secs(20)).args(["--fork", "sh"]).arg(&script);
    command = command.args([files.record(), files.log(), daemon]);
    if !missing.is_empty() {
        command = command
            .arg("--config-file")
            .arg(runtime::install(&files.dir, missing, &runc, Path::new(USERS_CONFIG))?);
    }
    // The daemon calls iptables, containerd and runc by name.
    let find = r#"PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin; echo "$PATH""#;
    let path = Command::new("sh", ASK_DEADLINE).args(["-c", find]).run(cancel).await;
    let path = path.map_err(ToolchainError::step("reading the PATH"))?.text();
    command
        .env("PATH", path)
        .run(cancel)
        .await
        .map_err(ToolchainError::step("starting dockerd"))?;
    Ok(())
}

async fn wait_until_ready(files: &Files, cancel: &CancellationToken) -> Result<Engine, ToolchainError> {
    // A process that is just becoming dockerd looks for a moment as one that has ended.
    let ended = AtomicU32::new(0);
    let ready = wait::until(
        "the Docker engine's answer",
        START_DEADLINE,
        Duration::from_millis(250),
        cancel,
        || async {
            match ask(cancel).await {
                Ok(Answer::Ready(engine)) => Seen::Done(Some(engine)),
                // A daemon that has ended will not answer, however long one waits.
                Ok(_)
                    if files
                        .read_record()
                        .is_some_and(|record| matches!(&record, Record::ByHand { .. }) && !is_alive(&record)) =>
                {
                    match ended.fetch_add(1, Ordering::Relaxed) {
                        0..3 => Seen::NotYet("it may have ended".to_owned()),
                        _ => Seen::Done(None),
                    }
                }
                Ok(Answer::Silent(line) | Answer::Refuses(line)) => Seen::NotYet(line),
                Ok(Answer::NoClient) => Seen::NotYet("there is no Docker client".to_owned()),
                Err(error) => Seen::NotYet(error.to_string()),
            }
        },
    );
    match ready.await {
        Ok(Some(engine)) => Ok(engine),
        Err(wait::WaitError::Interrupted { .. }) => Err(ToolchainError::Interrupted),
        Ok(None) => Err(ToolchainError::EngineEnded {
            log: files.log(),
            last: last_logged(files),
        }),
        Err(wait::WaitError::Deadline { .. }) => Err(ToolchainError::EngineSilent {
            seconds: START_DEADLINE.as_secs(),
            log: files.log(),
            last: last_logged(files),
        }),
    }
}

fn last_logged(files: &Files) -> String {
    let text = fs::read_to_string(files.log()).unwrap_or_default();
    let last = text.lines().rev().find(|line| !line.trim().is_empty());
    last.unwrap_or("(it is empty)").to_owned()
}

/// Removes what a killed engine left that keeps a new one from starting. Each is looked at first: a pid file counts only when the
/// process that it names is another program by now, a socket only when nobody answers.
fn remove_stale_files() {
    let run = Path::new("/var/run");
    for (pid_file, program) in [("docker.pid", "dockerd"), ("docker/containerd/containerd.pid", "containerd")] {
        let path = run.join(pid_file);
        let pid = fs::read_to_string(&path).ok().and_then(|text| text.trim().parse().ok());
        if path.exists() && !pid.is_some_and(|pid| runs(pid, program)) {
            // If it cannot be removed, the daemon says so in its log, which is cited.
            let _ = fs::remove_file(&path);
        }
    }
    for socket in [
        "containerd/containerd.sock",
        "docker/containerd/containerd.sock",
        "docker/containerd/containerd-debug.sock",
    ] {
        let path = run.join(socket);
        if path.exists() && UnixStream::connect(&path).is_err() {
            let _ = fs::remove_file(&path);
        }
    }
}

fn runs(pid: i32, program: &str) -> bool {
    fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == program)
}

/// The 22nd field of `/proc/PID/stat`; the name before it may itself have blanks and brackets.
fn start_time(stat: &str) -> Option<u64> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

/// Whether the very process of the record is still there.
fn is_alive(record: &Record) -> bool {
    let Record::ByHand { pid, start_time: recorded } = record else {
        return false;
    };
    let now = fs::read_to_string(format!("/proc/{pid}/stat"))
        .ok()
        .and_then(|stat| start_time(&stat));
    // A zombie has ended; somebody who reaps nothing is its parent.
    now == Some(*recorded) && fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty())
}

/// Ends the engine if rekindle started it, nobody else uses it through rekindle, and no container runs.
pub(super) async fn release(state: &Path, cancel: &CancellationToken) -> Result<(), ToolchainError> {
    let files = Files::below(state);
    drop(LEASE.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take());
    let Some(record) = files.read_record() else { return Ok(()) };
    let failed = ToolchainError::file("asking who uses the engine", files.users());
    let Some(_alone): Option<Lock> = try_lock(&files.users()).map_err(failed)? else {
        return Ok(());
    };
    let ours = match &record {
        Record::ByHand { .. } => is_alive(&record),
        Record::BySystemd { invocation: recorded } => invocation(cancel).await.as_ref() == Some(recorded),
    };
    if ours {
        let running = Engine::command(ASK_DEADLINE, ["ps", "--quiet"]).run(cancel).await;
        let running = running
            .map_err(ToolchainError::step("asking the engine for running containers"))?
            .text();
        if !running.is_empty() {
            return Ok(());
        }
        stop(&record, cancel).await?;
    }
    fs::remove_file(files.record()).map_err(ToolchainError::file("removing the record of the engine's start", files.record()))
}

async fn stop(record: &Record, cancel: &CancellationToken) -> Result<(), ToolchainError> {
    let Record::ByHand { pid, .. } = record else {
        let stop = Command::new("systemctl", STOP_DEADLINE)
            .args(["stop", "docker.socket", "docker"])
            .run(cancel)
            .await;
        return stop
            .map(drop)
            .map_err(ToolchainError::step("stopping the Docker engine with systemd"));
    };
    if let Some(pid) = Pid::from_raw(*pid) {
        // It may have ended by itself in between: that is what is wanted.
        let _ = rustix::process::kill_process(pid, Signal::TERM);
    }
    wait::until(
        "the end of the Docker engine",
        STOP_DEADLINE,
        Duration::from_millis(100),
        cancel,
        || async {
            if is_alive(record) {
                Seen::NotYet(format!("dockerd (process {pid}) still runs"))
            } else {
                Seen::Done(())
            }
        },
    )
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_times_are_read_past_strange_names() {
        let fields: Vec<String> = (3..=30).map(|n| n.to_string()).collect();
        assert_eq!(start_time(&format!("77 (a) b (c) {}", fields.join(" "))), Some(22));
        assert_eq!(start_time("77 (short) S"), None);
    }

    #[test]
    fn only_the_very_process_of_the_record_counts_as_ours() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let mine = start_time(&fs::read_to_string("/proc/self/stat").unwrap()).unwrap();
        assert!(is_alive(&Record::ByHand { pid, start_time: mine }));
        assert!(!is_alive(&Record::ByHand { pid, start_time: mine + 1 }));
    }

    #[test]
    fn records_read_as_they_are_written() {
        let by_script: Record = serde_json::from_str(r#"{"pid": 12, "start_time": 345}"#).unwrap();
        assert_eq!(by_script, Record::ByHand { pid: 12, start_time: 345 });
        let by_systemd: Record = serde_json::from_str(r#"{"invocation": "abc"}"#).unwrap();
        assert_eq!(
            by_systemd,
            Record::BySystemd {
                invocation: "abc".to_owned()
            }
        );
    }
}
