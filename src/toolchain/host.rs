//! What kind of machine this is, and what may be installed on it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::error::{ToolchainError, last_line};
use crate::command::{Command, CommandError};
use crate::events::Events;

use super::cache::Progress;

const GIGABYTE: f64 = 1e9;

/// The machine's distribution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct System {
    /// As people call it: "Debian GNU/Linux 12 (bookworm)".
    pub name: String,
    pub codename: Option<String>,
    debian_like: bool,
}

impl System {
    /// Reads `/etc/os-release`; a machine without one is of no known kind.
    pub fn read() -> Self {
        Self::parse(&fs::read_to_string("/etc/os-release").unwrap_or_default())
    }

    fn parse(text: &str) -> Self {
        let value = |key: &str| {
            let line = text.lines().find_map(|line| line.trim().strip_prefix(key)?.strip_prefix('='))?;
            let bare = line.trim().trim_matches(['"', '\'']);
            (!bare.is_empty()).then(|| bare.to_owned())
        };
        let ids = format!("{} {}", value("ID").unwrap_or_default(), value("ID_LIKE").unwrap_or_default());
        Self {
            name: value("PRETTY_NAME").unwrap_or_else(|| std::env::consts::OS.to_owned()),
            codename: value("VERSION_CODENAME"),
            debian_like: ids.split_whitespace().any(|id| id == "debian" || id == "ubuntu"),
        }
    }

    /// Whether packages may be installed here by apt-get, or the sentence that says why not.
    pub fn may_install(&self, what: &str, install: &str) -> Result<(), ToolchainError> {
        if !self.debian_like {
            return Err(ToolchainError::Unsupported {
                what: what.to_owned(),
                system: self.name.clone(),
                install: install.to_owned(),
            });
        }
        require_root(what, "run as root once, or have an administrator install it")
    }
}

/// An error unless this is root.
pub(super) fn require_root(what: &str, cure: &'static str) -> Result<(), ToolchainError> {
    if rustix::process::geteuid().is_root() {
        Ok(())
    } else {
        Err(ToolchainError::NotRoot {
            what: what.to_owned(),
            cure,
        })
    }
}

/// Where programs are, in the order asked; the folders of system programs count even where the user's PATH lacks them.
pub(super) async fn find_programs<const N: usize>(
    names: [&str; N],
    cancel: &CancellationToken,
) -> Result<[Option<PathBuf>; N], ToolchainError> {
    let script = r#"PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin; for name; do command -v "$name" || echo; done"#;
    let output = Command::new("sh", Duration::from_secs(10))
        .args(["-c", script, "sh"])
        .args(names)
        .run(cancel)
        .await;
    let text = output.map_err(ToolchainError::step("looking for programs on the PATH"))?.text();
    let mut lines = text.lines();
    Ok(names.map(|_| lines.next().filter(|line| line.starts_with('/')).map(PathBuf::from)))
}

/// Installs packages with apt-get. The caller has asked [`System::may_install`].
pub(super) async fn install(packages: &[&str], events: &Events, cancel: &CancellationToken) -> Result<(), ToolchainError> {
    let name = format!("Install {}", packages.join(", "));
    let step = events.step(&name);
    let progress = Progress::new(events, &name);
    let apt = |args: &[&str], minutes: u64| {
        let progress = progress.clone();
        Command::new("apt-get", Duration::from_mins(minutes))
            .env("DEBIAN_FRONTEND", "noninteractive")
            .args(["-o", "DPkg::Lock::Timeout=300", "-o", "Dpkg::Use-Pty=0"])
            .args(args)
            .on_line(move |_, line| {
                if !line.trim().is_empty() {
                    progress.say(line.trim());
                }
            })
            .run(cancel)
    };
    let failed = |error: CommandError| match error {
        CommandError::Interrupted { .. } => ToolchainError::Interrupted,
        error => ToolchainError::Apt {
            packages: packages.join(", "),
            last: last_line(&error),
        },
    };
    apt(&["update"], 5).await.map_err(failed)?;
    let install: Vec<&str> = ["install", "--yes", "--no-install-recommends"]
        .iter()
        .chain(packages)
        .copied()
        .collect();
    apt(&install, 20).await.map_err(failed)?;
    step.done();
    Ok(())
}

/// Where debootstrap gets its packages from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mirror {
    pub uri: String,
    pub suite: String,
    pub components: Vec<String>,
    pub keyring: Option<PathBuf>,
}

impl Mirror {
    /// The first apt source that serves the machine's own release.
    pub fn of_this_machine(system: &System) -> Result<Self, ToolchainError> {
        Self::below(Path::new("/etc/apt"), system)
    }

    fn below(apt: &Path, system: &System) -> Result<Self, ToolchainError> {
        let mut files = vec![apt.join("sources.list")];
        let mut parts: Vec<PathBuf> = fs::read_dir(apt.join("sources.list.d"))
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .collect();
        parts.sort();
        files.extend(parts);
        files
            .iter()
            .filter_map(|path| {
                let text = fs::read_to_string(path).ok()?;
                match path.extension()?.to_str()? {
                    "list" => Some(one_line_sources(&text)),
                    "sources" => Some(deb822_sources(&text)),
                    _ => None,
                }
            })
            .flatten()
            .find(|mirror| {
                system.codename.as_ref().is_none_or(|codename| *codename == mirror.suite)
                    && mirror.components.iter().any(|component| component == "main")
                    && (mirror.uri.starts_with("http") || mirror.uri.starts_with("file:"))
            })
            .ok_or_else(|| ToolchainError::NoMirror { path: apt.to_owned() })
    }
}

/// `deb [signed-by=/path] uri suite component…`, one per line.
fn one_line_sources(text: &str) -> Vec<Mirror> {
    let parse = |line: &str| {
        let rest = line.trim().strip_prefix("deb")?.strip_prefix([' ', '\t'])?.trim_start();
        let (options, rest) = match rest.strip_prefix('[') {
            Some(bracketed) => bracketed.split_once(']')?,
            None => ("", rest),
        };
        let mut words = rest.split('#').next()?.split_whitespace().map(str::to_owned);
        let keyring = options
            .split_whitespace()
            .find_map(|option| option.strip_prefix("signed-by="))
            .map(PathBuf::from);
        Some(Mirror {
            uri: words.next()?,
            suite: words.next()?,
            components: words.collect(),
            keyring,
        })
    };
    text.lines().filter_map(parse).collect()
}

/// Stanzas of `Key: value` lines; each may name several addresses and suites.
fn deb822_sources(text: &str) -> Vec<Mirror> {
    let without_comments: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let mut found = Vec::new();
    for stanza in without_comments.split(|line| line.trim().is_empty()) {
        let words = |key: &str| -> Vec<String> {
            let mut inside = false;
            let mut words = Vec::new();
            for line in stanza {
                let value = if line.starts_with([' ', '\t']) {
                    line
                } else {
                    let Some((name, value)) = line.split_once(':') else { continue };
                    inside = name.trim().eq_ignore_ascii_case(key);
                    value
                };
                if inside {
                    words.extend(value.split_whitespace().map(str::to_owned));
                }
            }
            words
        };
        let enabled = !words("Enabled").iter().any(|word| word.eq_ignore_ascii_case("no"));
        if !enabled || !words("Types").iter().any(|word| word == "deb") {
            continue;
        }
        // A key may stand in the stanza itself instead of a file.
        let keyring = words("Signed-By").into_iter().find(|word| word.starts_with('/')).map(PathBuf::from);
        for uri in words("URIs") {
            for suite in words("Suites") {
                let (uri, keyring) = (uri.clone(), keyring.clone());
                found.push(Mirror {
                    uri,
                    suite,
                    components: words("Components"),
                    keyring,
                });
            }
        }
    }
    found
}

/// An error when `path` has less than `need` gigabytes for `what`.
pub(super) fn require_disk(path: &Path, need: f64, what: &str) -> Result<(), ToolchainError> {
    let Some(existing) = path.ancestors().find(|path| path.exists()) else {
        return Ok(());
    };
    let Ok(stat) = rustix::fs::statvfs(existing) else { return Ok(()) };
    #[allow(clippy::cast_precision_loss, reason = "a figure for people, in gigabytes")]
    let free = stat.f_bavail as f64 * stat.f_frsize as f64 / GIGABYTE;
    if free >= need {
        Ok(())
    } else {
        Err(ToolchainError::Disk {
            path: existing.to_owned(),
            free,
            need,
            what: what.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_debian_and_its_descendants_from_others() {
        let debian = System::parse("PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nID=debian\nVERSION_CODENAME=bookworm\n");
        assert!(debian.debian_like && debian.codename.as_deref() == Some("bookworm"));
        assert!(System::parse("ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n").debian_like);
        let fedora = System::parse("PRETTY_NAME='Fedora 44'\nID=fedora\n");
        assert_eq!(
            fedora.may_install("the Docker engine", "Docker").unwrap_err().to_string(),
            "the Docker engine is missing and can be installed by itself on Debian and Ubuntu only, not on Fedora 44: install Docker and run again"
        );
    }

    #[test]
    fn reads_both_formats_of_apt_sources() {
        let list = "# comment\ndeb-src http://a.invalid/debian bookworm main\n\
                    deb [arch=amd64 signed-by=/k.gpg] http://a.invalid/debian bookworm main contrib # here\n";
        let expected = Mirror {
            uri: "http://a.invalid/debian".to_owned(),
            suite: "bookworm".to_owned(),
            components: vec!["main".to_owned(), "contrib".to_owned()],
            keyring: Some("/k.gpg".into()),
        };
        assert_eq!(one_line_sources(list), std::slice::from_ref(&expected));
        let stanzas = "Types: deb\n# an old one\nURIs: http://a.invalid/debian\nSuites: bookworm bookworm-updates\n\
                       Components: main\n contrib\nSigned-By: /k.gpg\n\nTypes: deb\nEnabled: no\nURIs: http://b.invalid\nSuites: x\n";
        let found = deb822_sources(stanzas);
        assert_eq!(
            (&found[0], found[1].suite.as_str(), found.len()),
            (&expected, "bookworm-updates", 2)
        );
    }

    #[test]
    fn takes_the_mirror_of_the_machines_own_release() {
        let apt = tempfile::tempdir().unwrap();
        let system = System::parse("ID=debian\nVERSION_CODENAME=bookworm\n");
        assert!(matches!(Mirror::below(apt.path(), &system), Err(ToolchainError::NoMirror { .. })));
        fs::create_dir(apt.path().join("sources.list.d")).unwrap();
        fs::write(apt.path().join("sources.list.d/a.list"), "deb http://tools.invalid nodistro main\n").unwrap();
        fs::write(
            apt.path().join("sources.list.d/b.sources"),
            "Types: deb\nURIs: http://a.invalid/debian\nSuites: bookworm\nComponents: main\n",
        )
        .unwrap();
        assert_eq!(Mirror::below(apt.path(), &system).unwrap().uri, "http://a.invalid/debian");
    }

    #[test]
    fn a_full_disk_is_named_with_numbers() {
        let error = require_disk(Path::new("/"), 1e12, "the node image").unwrap_err().to_string();
        assert!(error.contains("GB free and the node image needs about 1000000000000 GB"), "{error}");
    }
}
