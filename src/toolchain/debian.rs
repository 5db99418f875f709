//! Debian root file systems, made by debootstrap with the mirror that the machine's own apt uses.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::cache::{Cache, Look, Progress};
use super::content::{Care, Key};
use super::error::{ToolchainError, last_line};
use super::host::{Mirror, System, find_programs, install, require_disk, require_root};
use crate::command::{Command, CommandError};
use crate::events::Events;

const SCRIPT: &str = include_str!("../../images/debian/root.sh");
const DEADLINE: Duration = Duration::from_mins(30);

/// A root file system: a name and its packages beside the essential ones.
#[derive(Debug)]
pub(super) struct Root {
    pub name: &'static str,
    pub title: &'static str,
    packages: &'static [&'static str],
    /// Packages whose files are taken out again.
    without: &'static [&'static str],
    pub disk: f64,
    pub about: &'static str,
}

/// What kind's own base image installs, without what serves volumes over the network, and what its build brings along: containerd,
/// runc and the network plugins.
pub(super) const NODE: Root = Root {
    name: "debian-node",
    title: "node root file system",
    packages: &[
        "systemd",
        "systemd-sysv",
        "dbus",
        "containerd",
        "runc",
        "containernetworking-plugins",
        "conntrack",
        "iptables",
        "nftables",
        "iproute2",
        "ethtool",
        "socat",
        "util-linux",
        "mount",
        "kmod",
        "libseccomp2",
        "pigz",
        "e2fsprogs",
        "bash",
        "ca-certificates",
        "curl",
        "hostname",
        "jq",
        "procps",
        "tar",
    ],
    without: &[],
    disk: 2.0,
    about: "80 s",
};

/// What hooks of scenarios are written with: loaded into every cluster, and therefore without what only installs packages.
pub(super) const TOOLS: Root = Root {
    name: "debian-tools",
    title: "tools root file system",
    packages: &["ca-certificates", "curl", "jq"],
    without: &[
        "apt",
        "libapt-pkg6.0",
        "gpgv",
        "debian-archive-keyring",
        "dpkg",
        "perl-base",
        "debconf",
        "libstdc++6",
        "e2fsprogs",
        "libext2fs2",
        "logsave",
        "tzdata",
        "adduser",
        "passwd",
        "login",
        "mount",
        "util-linux",
        "util-linux-extra",
        "openssl",
        "libdb5.3",
    ],
    disk: 1.0,
    about: "50 s",
};

fn suite() -> &'static str {
    // The machine's release does not change while it runs, and surveys ask often.
    static SUITE: OnceLock<String> = OnceLock::new();
    SUITE.get_or_init(|| System::read().codename.unwrap_or_else(|| "stable".to_owned()))
}

impl Root {
    /// The hash over everything that decides the content, but for what the mirror serves today.
    pub fn key(&self) -> Key {
        let (packages, without) = (self.packages.join(","), self.without.join(","));
        Key::of([
            ("script", SCRIPT.as_bytes()),
            ("packages", packages.as_bytes()),
            ("without", without.as_bytes()),
            ("suite", suite().as_bytes()),
            ("architecture", std::env::consts::ARCH.as_bytes()),
        ])
    }

    pub fn is_cached(&self, cache: &Cache) -> bool {
        matches!(cache.look(self.name, &self.key(), Care::Quick), Look::Present(_))
    }

    /// The tar file: from the cache, or made.
    pub async fn tar(&self, cache: &Cache, events: &Events, cancel: &CancellationToken) -> Result<PathBuf, ToolchainError> {
        let step = format!("Make the Debian {} {}", suite(), self.title);
        let build = |dir: PathBuf, progress: Progress| async move {
            require_root(&format!("making the {}", self.title), "run as root once, the result is kept")?;
            require_disk(cache.root(), self.disk, &format!("the {}", self.title))?;
            ensure_packages(events, cancel).await?;
            self.build(cache, dir, &progress, cancel).await
        };
        Ok(cache
            .entry((self.name, &self.key(), &step), events, cancel, build)
            .await?
            .join("root.tar"))
    }

    async fn build(&self, cache: &Cache, dir: PathBuf, progress: &Progress, cancel: &CancellationToken) -> Result<(), ToolchainError> {
        let system = System::read();
        let mirror = Mirror::of_this_machine(&system)?;
        let script = dir.join("root.sh");
        std::fs::write(&script, SCRIPT).map_err(ToolchainError::file("writing a script", &script))?;
        // Both root file systems share the downloaded packages, and debootstrap wants them for itself.
        let _packages = cache.lock("debs", Some(progress), cancel).await?;

        let components: Vec<&str> = ["main", "universe"]
            .into_iter()
            .filter(|wanted| mirror.components.iter().any(|component| component == wanted))
            .collect();
        // The namespaces take the mounts along when they end, and they end with the first process in them; that one gets a signal
        // when we are killed.
        let mut command = Command::new("setpriv", DEADLINE)
            .args([
                "--pdeathsig",
                "KILL",
                "unshare",
                "--mount",
                "--pid",
                "--fork",
                "--kill-child",
                "bash",
            ])
            .arg(&script)
            .arg(dir.join("root.tar"))
            .args([
                &mirror.suite,
                &mirror.uri,
                &components.join(","),
                &self.packages.join(","),
                &self.without.join(","),
            ])
            .arg(cache.root().join("debs"));
        if let Some(keyring) = mirror
            .keyring
            .filter(|path| path.extension().is_some_and(|kind| kind == "gpg") && path.exists())
        {
            command = command.arg(keyring);
        }
        let say = progress.clone();
        let made = command.on_line(move |_, line| {
            if let Some(line) = line.strip_prefix("I: ") {
                say.say(line.trim());
            }
        });
        made.run(cancel).await.map_err(|error| match error {
            CommandError::Interrupted { .. } => ToolchainError::Interrupted,
            error => ToolchainError::Debootstrap {
                suite: mirror.suite.clone(),
                last: last_line(&error),
            },
        })?;
        std::fs::remove_file(&script).map_err(ToolchainError::file("removing a script", &script))
    }
}

/// Which of the packages that builds need are not there.
pub(super) async fn missing_packages(cancel: &CancellationToken) -> Result<Vec<&'static str>, ToolchainError> {
    let [debootstrap, unshare, gcc] = find_programs(["debootstrap", "unshare", "gcc"], cancel).await?;
    let mut packages = Vec::new();
    if debootstrap.is_none() {
        packages.push("debootstrap");
    }
    if unshare.is_none() {
        packages.push("util-linux");
    }
    // For pause, which Kubernetes has as a page of C.
    if gcc.is_none() {
        packages.extend(["gcc", "libc6-dev"]);
    }
    Ok(packages)
}

/// Installs what builds need and is not there.
pub(super) async fn ensure_packages(events: &Events, cancel: &CancellationToken) -> Result<(), ToolchainError> {
    let missing = missing_packages(cancel).await?;
    if missing.is_empty() {
        return Ok(());
    }
    System::read().may_install(
        &format!("what the images are built with ({})", missing.join(", ")),
        &missing.join(" "),
    )?;
    install(&missing, events, cancel).await
}
