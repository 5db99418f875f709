//! What can go wrong while a machine is set up, each in one sentence that says what to do.

use std::path::PathBuf;

use crate::command::CommandError;
use crate::wait::WaitError;

/// Why the toolchain could not be prepared.
#[derive(Debug, thiserror::Error)]
pub enum ToolchainError {
    #[error("{what} needs root, and this is another user: {cure}")]
    NotRoot { what: String, cure: &'static str },
    #[error("{what} is missing and can be installed by itself on Debian and Ubuntu only, not on {system}: install {install} and run again")]
    Unsupported { what: String, system: String, install: String },
    #[error("the Docker engine at {host} does not answer ({reason}): start it, or choose another one with `docker context use`")]
    EngineElsewhere { host: String, reason: String },
    #[error("the Docker engine runs but refuses this user ({reason}): join the group `docker` or run as root")]
    EngineRefuses { reason: String },
    #[error("the Docker engine ended as soon as it was started; the last line of {} is: {last}", log.display())]
    EngineEnded { log: PathBuf, last: String },
    #[error("the Docker engine did not answer within {seconds}s after it was started; the last line of {} is: {last}", log.display())]
    EngineSilent { seconds: u64, log: PathBuf, last: String },
    #[error("apt-get could not install {packages} ({last}): check the network and the apt sources, or install them by hand")]
    Apt { packages: String, last: String },
    #[error("no Debian mirror was found in the apt sources under {}: add one, debootstrap takes it from there", path.display())]
    NoMirror { path: PathBuf },
    #[error("{} has {free:.1} GB free and {what} needs about {need:.0} GB: free some space there, or point the cache elsewhere", path.display())]
    Disk { path: PathBuf, free: f64, need: f64, what: String },
    #[error("{what} must be built and there is no `go` on the PATH: install Go, or put a fitting {what} on the PATH")]
    NoGo { what: String },
    #[error("a module of {what} does not match its checksum and was refused ({line}): a proxy altered it, or go.sum is wrong")]
    ModuleRefused { what: String, line: String },
    #[error("the modules of {what} could not be downloaded ({line}): check the network and GOPROXY")]
    ModulesUnreachable { what: String, line: String },
    #[error("go could not build {what}: {line}")]
    Build { what: String, line: String },
    #[error("{what} was built but answers {found:?} for its version instead of {expected}: its version could not be stamped in")]
    Stamp { what: String, found: String, expected: String },
    #[error("debootstrap could not make a Debian {suite} root file system: {last}")]
    Debootstrap { suite: String, last: String },
    #[error(
        "kubeadm asks for the image {image}, which is none of what is built here ({built}): the versions in images/ do not fit together"
    )]
    ForeignComponent { image: String, built: String },
    #[error("the node image {image} is not in the Docker engine and could not be pulled ({last}): build or load it first")]
    NoNodeImage { image: String, last: String },
    #[error("{image} is no kind node image: {reason}")]
    NotANodeImage { image: String, reason: String },
    #[error("the standin was neither found as a static binary beside {} nor is there a source tree to build it from", exe.display())]
    NoStandin { exe: PathBuf },
    #[error("the standin at {} is {megabytes} MB, more than the 20 MB that may be loaded into every cluster", path.display())]
    LargeStandin { path: PathBuf, megabytes: u64 },
    #[error("{doing} failed at {}: {source}", path.display())]
    File {
        doing: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{doing} failed: {source}")]
    Step { doing: String, source: CommandError },
    #[error(transparent)]
    Wait(#[from] WaitError),
    #[error("the set-up was interrupted; what was complete is kept and the next start goes on from there")]
    Interrupted,
}

impl ToolchainError {
    /// For `map_err` on file operations.
    pub(super) fn file(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { doing, path, source }
    }

    /// For `map_err` on commands: an interruption is not that command's failure.
    pub(super) fn step(doing: impl Into<String>) -> impl FnOnce(CommandError) -> Self {
        let doing = doing.into();
        move |source| match source {
            CommandError::Interrupted { .. } => Self::Interrupted,
            source => Self::Step { doing, source },
        }
    }

    /// Whether this only says that the run was cancelled.
    #[must_use]
    pub fn is_interruption(&self) -> bool {
        matches!(self, Self::Interrupted | Self::Wait(WaitError::Interrupted { .. }))
    }
}

/// The last line that says something, or what the error itself says.
pub(super) fn last_line(error: &CommandError) -> String {
    match error {
        CommandError::Failed { last, .. } => last.clone(),
        other => other.to_string(),
    }
}
