//! Tools that are built from their Go modules, one folder with a `go.mod` and a `go.sum` each.
//!
//! A new one is a folder under `images/` and an entry here. The version stands in `go.mod` and nowhere else.

mod pinned;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::cache::{Cache, Look, Progress};
use super::content::{Care, Key};
use super::error::{ToolchainError, last_line};
use crate::command::{Command, CommandError};
use crate::events::Events;
pub(super) use pinned::*;

const BUILD_DEADLINE: Duration = Duration::from_hours(1);
const FLAGS: &str = "-mod=readonly -buildvcs=false";

/// What a built tool runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RunsOn {
    /// The machine itself.
    Host,
    /// A container, whatever the machine is.
    Linux,
}

/// Commands of one Go module.
#[derive(Debug)]
pub(super) struct GoTool {
    /// Name of the cache entry.
    pub name: &'static str,
    /// What a person reads.
    pub title: &'static str,
    module: &'static str,
    go_mod: &'static str,
    go_sum: &'static str,
    /// Name of the binary and its package.
    commands: &'static [(&'static str, &'static str)],
    runs_on: RunsOn,
    /// The linker's `-X` settings for a version.
    stamp: fn(&str) -> Vec<String>,
    /// How to ask the binary for its version, where a wrong answer would break something later; empty where it cannot be asked.
    version_args: &'static [&'static str],
    /// What its modules and its build take on the disk at most, in gigabytes.
    pub disk: f64,
    /// How long it takes on two cores, for people.
    pub about: &'static str,
}

/// The Go on this machine.
#[derive(Debug, Clone)]
pub(super) struct Go {
    program: PathBuf,
    /// "go1.26.0 amd64"
    identity: String,
}

impl Go {
    /// Asks the Go at `program` who it is.
    pub async fn at(program: PathBuf, cancel: &CancellationToken) -> Result<Self, ToolchainError> {
        let asked = Command::new(&program, Duration::from_mins(1))
            .args(["env", "GOVERSION", "GOHOSTARCH"])
            .run(cancel)
            .await;
        let identity = asked
            .map_err(ToolchainError::step("asking Go for its version"))?
            .text()
            .replace('\n', " ");
        Ok(Self { program, identity })
    }

    fn command(&self, tool: &GoTool, dir: &Path, deadline: Duration) -> Command {
        let command = Command::new(&self.program, deadline)
            .dir(dir)
            .env("CGO_ENABLED", "0")
            .env("GOFLAGS", FLAGS)
            // A workspace in a folder above would decide the versions.
            .env("GOWORK", "off")
            .env_remove("GOARCH");
        match tool.runs_on {
            RunsOn::Host => command.env_remove("GOOS"),
            RunsOn::Linux => command.env("GOOS", "linux"),
        }
    }
}

impl GoTool {
    /// The name of its first binary.
    pub fn binary(&self) -> &'static str {
        self.commands.first().map_or(self.name, |(name, _)| name)
    }

    /// The version that `go.mod` requires.
    pub fn version(&self) -> &'static str {
        self.required(self.module)
    }

    /// The version of another module that `go.mod` requires.
    pub fn required(&self, module: &str) -> &'static str {
        let words: Vec<&'static str> = self.go_mod.split_whitespace().collect();
        words
            .windows(2)
            .find(|pair| pair[0] == module && pair[1].starts_with('v'))
            .map_or("v0.0.0", |pair| pair[1])
    }

    fn linker_flags(&self) -> String {
        (self.stamp)(self.version())
            .into_iter()
            .fold("-s -w".to_owned(), |flags, stamp| format!("{flags} -X {stamp}"))
    }

    /// The hash over everything that decides the binaries. Without Go there is nothing to hash it with.
    pub fn key(&self, go: Option<&Go>) -> Key {
        let commands = format!("{:?} {:?}", self.commands, self.runs_on);
        Key::of([
            ("go.mod", self.go_mod.as_bytes()),
            ("go.sum", self.go_sum.as_bytes()),
            ("flags", FLAGS.as_bytes()),
            ("linker", self.linker_flags().as_bytes()),
            ("commands", commands.as_bytes()),
            ("go", go.map_or("", |go| &go.identity).as_bytes()),
        ])
    }

    /// Whether it is in the cache.
    pub fn is_cached(&self, cache: &Cache, go: Option<&Go>) -> bool {
        matches!(cache.look(self.name, &self.key(go), Care::Quick), Look::Present(_))
    }

    /// The folder with the binaries: from the cache, or built.
    pub async fn binaries(
        &self,
        cache: &Cache,
        go: Option<&Go>,
        events: &Events,
        cancel: &CancellationToken,
    ) -> Result<PathBuf, ToolchainError> {
        let step = format!("Build {} {}", self.title, self.version());
        let build = |dir: PathBuf, progress: Progress| async move {
            let go = go.ok_or_else(|| ToolchainError::NoGo {
                what: self.title.to_owned(),
            })?;
            super::host::require_disk(cache.root(), self.disk, &format!("the build of {}", self.title))?;
            self.build(go, &dir, &progress, cancel).await
        };
        Ok(cache
            .entry((self.name, &self.key(go), &step), events, cancel, build)
            .await?
            .join("bin"))
    }

    async fn build(&self, go: &Go, dir: &Path, progress: &Progress, cancel: &CancellationToken) -> Result<(), ToolchainError> {
        let (module, bin) = (dir.join("module"), dir.join("bin"));
        for folder in [&module, &bin] {
            fs::create_dir(folder).map_err(ToolchainError::file("making a folder to build in", folder))?;
        }
        for (name, text) in [("go.mod", self.go_mod), ("go.sum", self.go_sum)] {
            fs::write(module.join(name), text).map_err(ToolchainError::file("writing a Go module", module.join(name)))?;
        }
        let packages = || self.commands.iter().map(|(_, package)| *package);

        let say = progress.clone();
        let downloads = go
            .command(self, &module, BUILD_DEADLINE)
            .args(["list", "-deps"])
            .args(packages())
            .on_line(move |_, line| {
                if let Some(module) = line.strip_prefix("go: downloading ") {
                    say.say(format!("downloading {module}"));
                }
            });
        let listed = downloads.run(cancel).await.map_err(|error| self.failed(&error))?;
        let total = listed.text().lines().count();

        let (say, compiled) = (progress.clone(), AtomicUsize::new(0));
        let build = go
            .command(self, &module, BUILD_DEADLINE)
            .args(["build", "-v", "-trimpath", "-ldflags", &self.linker_flags(), "-o"])
            .arg(bin.join(""))
            .args(packages())
            // What Go has compiled before is not printed; "of" is therefore an upper bound.
            .on_line(move |_, package| {
                let n = compiled.fetch_add(1, Ordering::Relaxed) + 1;
                say.say(format!("{n} of at most {total} packages, {package}"));
            });
        build.run(cancel).await.map_err(|error| self.failed(&error))?;

        for (name, package) in self.commands {
            let (made, wanted) = (bin.join(binary_name(package)), bin.join(name));
            if made != wanted {
                fs::rename(&made, &wanted).map_err(ToolchainError::file("naming a built binary", &made))?;
            }
        }
        fs::remove_dir_all(&module).map_err(ToolchainError::file("removing a folder", &module))?;
        self.check_version(&bin, cancel).await
    }

    async fn check_version(&self, bin: &Path, cancel: &CancellationToken) -> Result<(), ToolchainError> {
        let Some((name, _)) = self.commands.first().filter(|_| !self.version_args.is_empty()) else {
            return Ok(());
        };
        let asked = Command::new(bin.join(name), Duration::from_secs(30))
            .args(self.version_args)
            .run(cancel)
            .await;
        let found = asked
            .map_err(ToolchainError::step(format!("asking the {name} just built for its version")))?
            .text();
        if found.contains(self.version().trim_start_matches('v')) {
            return Ok(());
        }
        Err(ToolchainError::Stamp {
            what: (*name).to_owned(),
            found,
            expected: self.version().to_owned(),
        })
    }

    fn failed(&self, error: &CommandError) -> ToolchainError {
        let what = format!("{} {}", self.title, self.version());
        let all = match error {
            CommandError::Interrupted { .. } => return ToolchainError::Interrupted,
            CommandError::Failed { output, .. } => String::from_utf8_lossy(&output.stderr).into_owned(),
            other => other.to_string(),
        };
        let line_with = |signs: &[&str]| {
            all.lines()
                .find(|line| signs.iter().any(|sign| line.contains(sign)))
                .map(|line| line.trim().to_owned())
        };
        if let Some(line) = line_with(&["checksum mismatch", "SECURITY ERROR", "missing go.sum entry"]) {
            return ToolchainError::ModuleRefused { what, line };
        }
        if let Some(line) = line_with(&[
            "dial tcp",
            "no such host",
            "i/o timeout",
            "proxyconnect",
            "connection refused",
            "TLS handshake",
        ]) {
            return ToolchainError::ModulesUnreachable { what, line };
        }
        ToolchainError::Build {
            what,
            line: last_line(error),
        }
    }

    /// Where Go keeps the sources of this tool's module, or of another `version` of it; downloaded if need be, verified by Go.
    pub async fn sources(
        &self,
        version: &str,
        go: Option<&Go>,
        scratch: &Path,
        cancel: &CancellationToken,
    ) -> Result<PathBuf, ToolchainError> {
        self.sources_of(self.module, version, go, scratch, cancel).await
    }

    /// The same for another module that it works with.
    pub async fn sources_of(
        &self,
        module: &str,
        version: &str,
        go: Option<&Go>,
        scratch: &Path,
        cancel: &CancellationToken,
    ) -> Result<PathBuf, ToolchainError> {
        let go = go.ok_or_else(|| ToolchainError::NoGo {
            what: self.title.to_owned(),
        })?;
        let download = go
            .command(self, scratch, Duration::from_mins(10))
            .args(["mod", "download", "-json"]);
        let output = download
            .arg(format!("{module}@{version}"))
            .run(cancel)
            .await
            .map_err(|error| self.failed(&error))?;
        serde_json::from_slice(&output.stdout)
            .map(|downloaded: Downloaded| downloaded.dir)
            .map_err(|error| ToolchainError::Build {
                what: format!("the sources of {}", self.title),
                line: error.to_string(),
            })
    }
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Downloaded {
    dir: PathBuf,
}

/// What `go build` calls the binary of a package: its last element that is no major version.
fn binary_name(package: &str) -> &str {
    let is_major = |part: &&str| {
        part.strip_prefix('v')
            .is_some_and(|n| !n.is_empty() && n.bytes().all(|byte| byte.is_ascii_digit()))
    };
    package.rsplit('/').find(|part| !is_major(part)).unwrap_or(package)
}

#[cfg(test)]
mod tests {
    use super::pinned::*;
    use super::*;
    use crate::toolchain::version::numbers;

    #[test]
    fn versions_come_from_go_mod() {
        for tool in [
            KIND,
            HELM_3,
            HELM_4,
            KUBECTL,
            KUBERNETES,
            ETCD,
            COREDNS,
            HELM_CONTROLLER_1_4,
            HELM_CONTROLLER_1_6,
            KUSTOMIZE_CONTROLLER,
        ] {
            assert!(
                numbers(tool.version()).is_some_and(|numbers| numbers != (0, 0)),
                "{}: {}",
                tool.name,
                tool.version()
            );
            assert!(
                tool.go_sum.contains(&format!("{} {} h1:", tool.module, tool.version())),
                "{} is not in its go.sum",
                tool.name
            );
        }
    }

    #[test]
    fn kubernetes_is_stamped_as_kubeadm_wants_it() {
        let flags = KUBERNETES.linker_flags();
        assert!(
            flags.contains("version.gitVersion=v1.") && flags.contains("gitMajor=1 ") && flags.contains("gitTreeState=clean"),
            "{flags}"
        );
    }

    #[test]
    fn binaries_are_named_as_go_names_them() {
        assert_eq!(
            (binary_name("go.etcd.io/etcd/server/v3"), binary_name("helm.sh/helm/v4/cmd/helm")),
            ("server", "helm")
        );
    }
}
