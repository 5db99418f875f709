//! The only place that spawns processes.
//!
//! Every child gets a process group of its own, a deadline, and an end when the run is cancelled: kind has no signal handler and a Helm
//! that outlives its caller keeps installing.

use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio_util::sync::CancellationToken;

/// How long a child that was asked to end may take before it is killed.
const GRACE: Duration = Duration::from_secs(5);
/// How much of each stream is kept for the caller and for the error message, in bytes; the end is kept, where tools put the reason.
const KEEP: usize = 4 << 20;

/// Why a child process did not do what it was started for.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    #[error("{program} could not be started: {source}")]
    Start { program: String, source: std::io::Error },
    #[error("{program} did not finish within {}s and was ended; its last line was: {last}", deadline.as_secs())]
    Deadline { program: String, deadline: Duration, last: String },
    #[error("{program} was ended because the run was interrupted")]
    Interrupted { program: String },
    #[error("{program} failed ({status}): {last}")]
    Failed {
        program: String,
        status: ExitStatus,
        last: String,
        output: Box<Output>,
    },
}

/// What a finished child left behind.
#[derive(Debug, Clone)]
pub struct Output {
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    pub elapsed: Duration,
}

impl Output {
    /// Standard output as text, without the final line break.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim_end().to_owned()
    }

    /// The last line that says something: of standard error, else of standard output.
    pub fn last_line(&self) -> String {
        [&self.stderr, &self.stdout]
            .into_iter()
            .find_map(|bytes| {
                String::from_utf8_lossy(bytes)
                    .lines()
                    .rev()
                    .map(str::trim)
                    .find(|line| !line.is_empty())
                    .map(str::to_owned)
            })
            .unwrap_or_else(|| "it printed nothing".to_owned())
    }
}

/// Which of the child's streams a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    Stdout,
    Stderr,
}

type LineSink = Arc<dyn Fn(Stream, &str) + Send + Sync>;

/// A child process to be: program, arguments, environment, deadline.
#[derive(Clone)]
pub struct Command {
    program: OsString,
    args: Vec<OsString>,
    envs: Vec<(OsString, Option<OsString>)>,
    dir: Option<PathBuf>,
    stdin: Option<Stdin>,
    stdout_file: Option<PathBuf>,
    deadline: Duration,
    lines: Option<LineSink>,
    kill: Option<CancellationToken>,
    stop: Option<CancellationToken>,
}

#[derive(Clone)]
enum Stdin {
    Bytes(Vec<u8>),
    File(PathBuf),
}

impl Command {
    /// A command with a deadline; there is no default, because everything that waits says for how long.
    pub fn new(program: impl AsRef<OsStr>, deadline: Duration) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            args: Vec::new(),
            envs: Vec::new(),
            dir: None,
            stdin: None,
            stdout_file: None,
            deadline,
            lines: None,
            kill: None,
            stop: None,
        }
    }

    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    pub fn env(mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.envs.push((key.as_ref().to_owned(), Some(value.as_ref().to_owned())));
        self
    }

    pub fn env_remove(mut self, key: impl AsRef<OsStr>) -> Self {
        self.envs.push((key.as_ref().to_owned(), None));
        self
    }

    pub fn dir(mut self, dir: impl AsRef<Path>) -> Self {
        self.dir = Some(dir.as_ref().to_owned());
        self
    }

    pub fn stdin_bytes(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = Some(Stdin::Bytes(bytes.into()));
        self
    }

    pub fn stdin_file(mut self, path: impl AsRef<Path>) -> Self {
        self.stdin = Some(Stdin::File(path.as_ref().to_owned()));
        self
    }

    /// Standard output goes to this file and is not kept.
    pub fn stdout_file(mut self, path: impl AsRef<Path>) -> Self {
        self.stdout_file = Some(path.as_ref().to_owned());
        self
    }

    /// Calls `sink` for every line the child prints, as it prints it.
    pub fn on_line(mut self, sink: impl Fn(Stream, &str) + Send + Sync + 'static) -> Self {
        self.lines = Some(Arc::new(sink));
        self
    }

    /// The program and its arguments as one would type them.
    pub fn display(&self) -> String {
        std::iter::once(&self.program)
            .chain(&self.args)
            .map(|word| {
                let word = word.to_string_lossy();
                let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+{}".contains(c);
                if !word.is_empty() && word.chars().all(plain) {
                    word.into_owned()
                } else {
                    format!("'{}'", word.replace('\'', r"'\''"))
                }
            })
            .collect::<Vec<_>>()
            .join(" ")
    }

    /// Runs to the end; a status other than 0 is an error.
    ///
    /// # Errors
    /// See [`CommandError`]; the child and its whole process group are gone when this returns.
    pub async fn run(self, cancel: &CancellationToken) -> Result<Output, CommandError> {
        let program = self.name();
        let output = self.run_any_status(cancel).await?;
        if output.status.success() {
            return Ok(output);
        }
        Err(CommandError::Failed {
            program,
            status: output.status,
            last: output.last_line(),
            output: Box::new(output),
        })
    }

    /// Once this is cancelled the child is killed and cannot do anything about it: its status says so, and that is no error.
    pub fn killed_by(mut self, kill: &CancellationToken) -> Self {
        self.kill = Some(kill.clone());
        self
    }

    /// Once this is cancelled the child is asked to end, as by Ctrl-C: how it does that is its own affair, and no error.
    pub fn stopped_by(mut self, stop: &CancellationToken) -> Self {
        self.stop = Some(stop.clone());
        self
    }

    /// Runs to the end; the status is for the caller to judge.
    ///
    /// # Errors
    /// [`CommandError::Start`], [`CommandError::Deadline`] or [`CommandError::Interrupted`].
    pub async fn run_any_status(self, cancel: &CancellationToken) -> Result<Output, CommandError> {
        let cancel = cancel.clone();
        let program = self.name();
        tokio::task::spawn_blocking(move || self.run_blocking(&cancel))
            .await
            .unwrap_or_else(|_| {
                Err(CommandError::Start {
                    program,
                    source: std::io::Error::other("its watcher died"),
                })
            })
    }

    fn name(&self) -> String {
        Path::new(&self.program)
            .file_name()
            .unwrap_or(&self.program)
            .to_string_lossy()
            .into_owned()
    }

    #[allow(clippy::disallowed_methods, reason = "the only place that spawns")]
    fn run_blocking(self, cancel: &CancellationToken) -> Result<Output, CommandError> {
        let program = self.name();
        let failed_to_start = |source| CommandError::Start {
            program: program.clone(),
            source,
        };
        let (stdout_read, stdout_write) = std::io::pipe().map_err(failed_to_start)?;
        let (stderr_read, stderr_write) = std::io::pipe().map_err(failed_to_start)?;

        let mut expression = duct::cmd(&self.program, &self.args).stderr_file(stderr_write).unchecked();
        expression = match &self.stdout_file {
            Some(path) => {
                // Nobody writes into the pipe then; as long as we hold its end, its reader waits.
                drop(stdout_write);
                expression.stdout_path(path)
            }
            None => expression.stdout_file(stdout_write),
        };
        expression = match self.stdin {
            Some(Stdin::Bytes(ref bytes)) => expression.stdin_bytes(bytes.clone()),
            Some(Stdin::File(ref path)) => expression.stdin_path(path),
            None => expression.stdin_null(),
        };
        if let Some(dir) = &self.dir {
            expression = expression.dir(dir);
        }
        for (key, value) in &self.envs {
            expression = match value {
                Some(value) => expression.env(key, value),
                None => expression.env_remove(key),
            };
        }
        expression = expression.before_spawn(|command| {
            std::os::unix::process::CommandExt::process_group(command, 0);
            end_with_parent(command);
            Ok(())
        });

        let started = Instant::now();
        let handle = expression.start().map_err(failed_to_start)?;
        // The expression keeps the write ends of the pipes; the readers see their end only once it is gone.
        drop(expression);
        let readers = [(Stream::Stdout, stdout_read), (Stream::Stderr, stderr_read)].map(|(stream, pipe)| {
            let sink = self.lines.clone();
            let kept = Arc::new(Mutex::new(Vec::new()));
            let into = kept.clone();
            (kept, std::thread::spawn(move || read_lines(stream, pipe, &into, sink.as_ref())))
        });

        let group = handle.pids().first().and_then(|pid| Pid::from_raw(i32::try_from(*pid).ok()?));
        let end = |signal| {
            if let Some(group) = group {
                // It may be gone already: that is what is wanted.
                let _ = kill_process_group(group, signal);
            }
        };
        let mut reason = None;
        let mut stopped = None;
        let status = loop {
            match handle.wait_timeout(Duration::from_millis(25)) {
                Ok(Some(output)) => break output.status,
                Ok(None) => {}
                Err(source) => return Err(CommandError::Start { program, source }),
            }
            if self.kill.as_ref().is_some_and(CancellationToken::is_cancelled) {
                end(Signal::KILL);
            }
            if self.stop.as_ref().is_some_and(CancellationToken::is_cancelled) {
                match stopped {
                    None => {
                        stopped = Some(Instant::now());
                        end(Signal::INT);
                    }
                    Some(since) if since.elapsed() > GRACE => end(Signal::KILL),
                    Some(_) => {}
                }
            }
            match &reason {
                None if cancel.is_cancelled() => reason = Some((Instant::now(), true)),
                None if started.elapsed() > self.deadline => reason = Some((Instant::now(), false)),
                None => continue,
                Some((since, _)) => {
                    if since.elapsed() > GRACE {
                        end(Signal::KILL);
                    }
                    continue;
                }
            }
            end(Signal::TERM);
        };
        if reason.is_some() {
            // Grandchildren may hold the pipes open.
            end(Signal::KILL);
        }
        let [stdout, stderr] = readers.map(|(kept, thread)| {
            let _ = thread.join();
            std::mem::take(&mut *kept.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
        });
        let output = Output {
            status,
            stdout,
            stderr,
            elapsed: started.elapsed(),
        };
        match reason {
            Some((_, true)) => Err(CommandError::Interrupted { program }),
            Some((_, false)) => Err(CommandError::Deadline {
                program,
                deadline: self.deadline,
                last: output.last_line(),
            }),
            None => Ok(output),
        }
    }
}

/// Gives the terminal to a program, such as a shell, until the user ends it. It is in our process group: what the user types is for it.
///
/// # Errors
/// When it does not start.
#[allow(clippy::disallowed_methods, reason = "the only place that spawns")]
pub fn hand_over(program: &OsStr, envs: &[(&str, OsString)]) -> std::io::Result<()> {
    let none: [&OsStr; 0] = [];
    let expression = envs
        .iter()
        .fold(duct::cmd(program, none), |expression, (key, value)| expression.env(key, value));
    expression.unchecked().run().map(drop)
}

/// A SIGKILL of ours is nobody's order to go on: Helm would install, and kind create, what no one waits for any more.
#[cfg(target_os = "linux")]
fn end_with_parent(command: &mut std::process::Command) {
    use std::os::unix::process::CommandExt;
    // SAFETY: the closure runs between fork and exec and makes one system call that is safe there; it allocates nothing.
    unsafe {
        command.pre_exec(|| rustix::process::set_parent_process_death_signal(Some(Signal::TERM)).map_err(std::io::Error::from));
    }
}

#[cfg(not(target_os = "linux"))]
fn end_with_parent(_command: &mut std::process::Command) {}

fn read_lines(stream: Stream, pipe: impl Read, into: &Mutex<Vec<u8>>, sink: Option<&LineSink>) {
    let mut reader = BufReader::new(pipe);
    let mut line = Vec::new();
    loop {
        line.clear();
        // A line without an end is cut: no tool may fill our memory.
        match reader.by_ref().take(1 << 20).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        if let Some(sink) = sink {
            sink(stream, String::from_utf8_lossy(&line).trim_end());
        }
        let mut kept = into.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        kept.extend_from_slice(&line);
        if kept.len() > KEEP {
            let excess = kept.len() - KEEP;
            kept.drain(..excess);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str, deadline: Duration) -> Command {
        Command::new("sh", deadline).args(["-c", script])
    }

    #[tokio::test]
    async fn keeps_both_streams_and_the_status() {
        let output = sh("echo out; echo err >&2; exit 3", Duration::from_secs(10))
            .run_any_status(&CancellationToken::new())
            .await
            .unwrap();
        assert_eq!(
            (output.text().as_str(), output.last_line().as_str(), output.status.code()),
            ("out", "err", Some(3))
        );
    }

    #[tokio::test]
    async fn a_deadline_ends_the_whole_group_and_says_the_last_line() {
        let started = Instant::now();
        let error = sh("echo waiting; sleep 60 & sleep 60", Duration::from_millis(300))
            .run(&CancellationToken::new())
            .await
            .unwrap_err();
        assert!(
            matches!(&error, CommandError::Deadline { last, .. } if last == "waiting"),
            "{error}"
        );
        assert!(started.elapsed() < Duration::from_secs(10));
    }

    #[tokio::test]
    async fn cancelling_ends_it() {
        let cancel = CancellationToken::new();
        cancel.cancel();
        assert!(matches!(
            sh("sleep 60", Duration::from_secs(60)).run(&cancel).await,
            Err(CommandError::Interrupted { .. })
        ));
    }

    #[tokio::test]
    async fn a_missing_program_is_named() {
        let error = Command::new("no-such-program-here", Duration::from_secs(1))
            .run(&CancellationToken::new())
            .await
            .unwrap_err();
        assert!(
            error.to_string().starts_with("no-such-program-here could not be started"),
            "{error}"
        );
    }
}
