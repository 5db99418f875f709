//! Reading the numbers. What cannot be read is left out: a check that cannot look does not stop anybody.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use super::super::docker;
use super::super::journal::Journal;
use super::super::{Options, foreign_filters};
use crate::command::CommandError;

/// All numbers that the checks judge.
#[derive(Debug, Clone)]
pub struct Readings {
    pub name: String,
    /// How many nodes the pool is to have.
    pub pool: u64,
    /// What Docker says of itself, or why it says nothing.
    pub docker: Result<Docker, String>,
    pub docker_disk: Option<Disk>,
    pub cache_disk: Option<Disk>,
    /// There is no node image, and nothing in the cache that one could be made of.
    pub cold: bool,
    pub memory_available: Option<u64>,
    pub inotify_instances: Option<u64>,
    pub inotify_watches: Option<u64>,
    pub memory_cgroups: Option<u64>,
    pub networks: Option<u64>,
    /// The container of somebody else that has the name, if one has.
    pub foreign_container: Option<Option<String>>,
    /// A port that was asked for, and why it is not free.
    pub api_port: Option<(u16, Option<String>)>,
    /// Seconds that Docker's clock is ahead of ours.
    pub clock_skew: Option<i64>,
    /// Root on Debian: rekindle installs Docker itself.
    pub installable: bool,
}

/// A file system.
#[derive(Debug, Clone)]
pub struct Disk {
    pub path: PathBuf,
    pub free: u64,
    pub free_inodes: Option<u64>,
    pub total_inodes: u64,
}

/// The part of `docker info` that matters.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Docker {
    pub server_version: String,
    #[serde(rename = "OSType")]
    pub os_type: String,
    pub docker_root_dir: PathBuf,
    pub cgroup_version: String,
    pub cgroup_driver: String,
    pub memory_limit: bool,
    pub pids_limit: bool,
    pub system_time: String,
    pub default_address_pools: Option<Vec<Pool>>,
}

/// A range that Docker cuts networks from.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Pool {
    base: String,
    size: u32,
}

impl Docker {
    /// How many networks fit into the address pools. Without a configuration these are 172.17 to 172.31 with 16 bits each, and
    /// 192.168 cut into pieces of 20 bits.
    pub fn network_capacity(&self) -> u64 {
        const DEFAULT: u64 = 15 + 16;
        let Some(pools) = self.default_address_pools.as_ref().filter(|pools| !pools.is_empty()) else {
            return DEFAULT;
        };
        pools
            .iter()
            .filter_map(|pool| {
                let prefix: u32 = pool.base.rsplit_once('/')?.1.parse().ok()?;
                Some(1_u64 << pool.size.checked_sub(prefix)?.min(32))
            })
            .sum()
    }
}

impl Readings {
    /// Reads everything, Docker's answers beside each other.
    pub async fn take(options: &Options, cache: &Path, cancel: &CancellationToken) -> Self {
        let asked_at = jiff::Timestamp::now();
        let in_the_way = foreign_filters(options);
        let (info, networks, containers, assembled) = tokio::join!(
            info(cancel),
            count_networks(cancel),
            docker::containers(&in_the_way, cancel),
            has_node_image(cancel)
        );
        let foreign_container = match (containers, Journal::open(&options.state)) {
            (Ok(containers), Ok(journal)) => Some(super::strangers(&containers, &journal).map(str::to_owned)),
            _ => None,
        };
        let skew = |docker: &Docker| {
            let theirs: jiff::Timestamp = docker.system_time.parse().ok()?;
            Some(theirs.as_second() - asked_at.as_second())
        };
        Self {
            name: options.name.clone(),
            pool: options.pool.into(),
            docker_disk: info.as_ref().ok().and_then(|docker| disk(&docker.docker_root_dir)),
            cache_disk: disk(cache),
            cold: !assembled && is_cold(cache),
            memory_available: proc_number("/proc/meminfo", "MemAvailable:", 0).map(|kib| kib * 1024),
            inotify_instances: proc_file("/proc/sys/fs/inotify/max_user_instances"),
            inotify_watches: proc_file("/proc/sys/fs/inotify/max_user_watches"),
            memory_cgroups: proc_number("/proc/cgroups", "memory", 1),
            networks,
            foreign_container,
            api_port: (options.api_port != 0 && !standing(options)).then(|| (options.api_port, taken(options.api_port))),
            clock_skew: info.as_ref().ok().and_then(skew),
            installable: rustix::process::geteuid().is_root() && is_debian(),
            docker: info,
        }
    }
}

async fn info(cancel: &CancellationToken) -> Result<Docker, String> {
    let asked = docker::docker(["info", "--format", "{{json .}}"]).run_any_status(cancel).await;
    let output = match asked {
        Ok(output) => output,
        Err(CommandError::Start { .. }) => return Err("there is no docker command".to_owned()),
        Err(error) => return Err(error.to_string()),
    };
    // Without a daemon the client prints its own half and an error.
    match serde_json::from_slice::<Docker>(&output.stdout) {
        Ok(docker) if !docker.server_version.is_empty() => Ok(docker),
        _ => Err(output.last_line()),
    }
}

/// Whether there is a node image of ours: then the parts that it was made of are not needed any more.
async fn has_node_image(cancel: &CancellationToken) -> bool {
    let asked = docker::docker(["image", "ls", "--quiet", "--filter", "reference=rekindle.local/node"]);
    asked.run(cancel).await.is_ok_and(|output| !output.text().is_empty())
}

async fn count_networks(cancel: &CancellationToken) -> Option<u64> {
    let asked = docker::docker(["network", "ls", "--quiet", "--filter", "driver=bridge"])
        .run(cancel)
        .await;
    u64::try_from(asked.ok()?.text().lines().count()).ok()
}

/// The file system of a folder, or of the nearest one above it that exists.
fn disk(path: &Path) -> Option<Disk> {
    let there = path.ancestors().find(|path| path.exists())?;
    let stat = rustix::fs::statvfs(there).ok()?;
    Some(Disk {
        path: path.to_owned(),
        free: stat.f_bavail.saturating_mul(stat.f_frsize),
        free_inodes: Some(stat.f_favail),
        total_inodes: stat.f_files,
    })
}

fn is_cold(cache: &Path) -> bool {
    let finished = |name: &std::ffi::OsStr| name.to_string_lossy().starts_with("kubernetes-");
    std::fs::read_dir(cache).map_or(true, |entries| !entries.flatten().any(|entry| finished(&entry.file_name())))
}

fn is_debian() -> bool {
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    release
        .lines()
        .any(|line| line == "ID=debian" || line.starts_with("ID_LIKE=") && line.contains("debian"))
}

fn proc_file(path: &str) -> Option<u64> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// The number in a column after the word that a line begins with.
fn proc_number(path: &str, word: &str, column: usize) -> Option<u64> {
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.split_whitespace().next() == Some(word))?;
    line.split_whitespace().nth(column + 1)?.parse().ok()
}

fn taken(port: u16) -> Option<String> {
    std::net::TcpListener::bind(("127.0.0.1", port))
        .err()
        .map(|error| error.to_string())
}

/// The cluster of that name stands already, so the port is its own.
fn standing(options: &Options) -> bool {
    let entries = Journal::open(&options.state)
        .and_then(|journal| journal.entries())
        .unwrap_or_default();
    entries.iter().any(|entry| entry.cluster == options.name)
}
