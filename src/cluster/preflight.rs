//! What a cluster needs of the machine: each with a number, its limit and the command that cures it.
//!
//! Numbers are read first and judged by pure functions, so that every threshold is tested without a machine that crosses it.

mod read;
#[cfg(test)]
mod tests;

use std::path::Path;

use serde::Serialize;
use tokio_util::sync::CancellationToken;

pub use read::Readings;

use super::journal::Journal;
use super::{ClusterError, Options};

/// What came of one check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Ok,
    /// It works today, and is near a limit or unusual.
    Warn,
    /// A cluster cannot be made like this.
    Fail,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    pub name: &'static str,
    pub verdict: Verdict,
    /// With its unit.
    pub found: String,
    pub limit: String,
    /// A command, or what to do where none does it; only where it is not well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cure: Option<String>,
}

impl Check {
    fn new(name: &'static str, verdict: Verdict, found: impl Into<String>, limit: impl Into<String>, cure: impl Into<String>) -> Self {
        Self {
            name,
            verdict,
            found: found.into(),
            limit: limit.into(),
            cure: (verdict != Verdict::Ok).then(|| cure.into()),
        }
    }
}

const NAME: &str = "cluster name";
const GIB: u64 = 1 << 30;
/// Everything from nothing: packages, builds, images, and a node that unpacks them.
const DISK_COLD: u64 = 10 * GIB;
/// A node that unpacks images which are there already.
const DISK_WARM: u64 = 4 * GIB;
/// A node unpacks some fifty thousand files.
const INODES: u64 = 200_000;
/// A node with the engines idles at 0.7 GiB; six scenarios beside each other and their builds take the rest.
const MEMORY: u64 = 3 * GIB;
/// A pool node: 36 MiB while it is cold, 150 MiB with its kubelet, kube-proxy and two small pods.
const MEMORY_POOL: u64 = GIB / 5;
/// A pool node unpacks the images of scenarios and kube-proxy: 0.7 GiB.
const DISK_POOL: u64 = GIB;
const INODES_POOL: u64 = 10_000;
/// Instances that one node opens: systemd, containerd, kubelet, kube-proxy, the control plane and a dozen pods.
const INSTANCES_NEEDED: u64 = 64;
/// What the control plane's node opens by itself, 27, and what a pool node does that is up, 14: only a large pool needs more than the above.
const INSTANCES_ALONE: u64 = 32;
const INSTANCES_POOL: u64 = 16;
/// Watches that one node sets.
const WATCHES_NEEDED: u64 = 1_500;
/// Memory cgroups that the kernel can number.
const CGROUPS_MAX: u64 = 65_535;
/// Pods and services of one node.
const CGROUPS_NEEDED: u64 = 2_000;
/// Certificates made by a clock that is further off are not valid yet for the other.
const SKEW_SECONDS: i64 = 60;

/// Looks at everything.
pub async fn preflight(options: &Options, cache: &Path, cancel: &CancellationToken) -> Vec<Check> {
    judge(&Readings::take(options, cache, cancel).await)
}

/// The first check that fails, as an error: what stands before every creation. A name that is taken is left to the creation itself, which
/// looks again and has words of its own for it.
///
/// # Errors
/// [`ClusterError::Preflight`].
pub fn require(checks: &[Check]) -> Result<(), ClusterError> {
    let fails = |check: &&Check| check.verdict == Verdict::Fail && check.name != NAME;
    match checks.iter().find(fails) {
        None => Ok(()),
        Some(check) => Err(ClusterError::Preflight {
            check: check.name,
            found: check.found.clone(),
            limit: check.limit.clone(),
            cure: check.cure.clone().unwrap_or_default(),
        }),
    }
}

/// All checks for these numbers, in the order in which they would stop a creation.
pub fn judge(readings: &Readings) -> Vec<Check> {
    let mut checks = vec![engine(readings)];
    checks.extend(space(
        "disk for Docker",
        &readings.docker_disk,
        (readings.cold, readings.pool * DISK_POOL),
        "docker system prune",
    ));
    checks.extend(space(
        "disk for the cache",
        &readings.cache_disk,
        (readings.cold, 0),
        "rekindle clean --all",
    ));
    checks.extend(inodes(readings));
    checks.extend(memory(readings));
    checks.extend(inotify(readings));
    checks.extend(cgroups(readings));
    checks.extend(pools(readings));
    checks.extend(names(readings));
    checks.extend(port(readings));
    checks.extend(clock(readings));
    checks
}

fn engine(readings: &Readings) -> Check {
    const NAME: &str = "Docker engine";
    let wanted = "20.10 or newer, Linux containers";
    match &readings.docker {
        Ok(docker) => {
            let old = version(&docker.server_version) < (20, 10);
            let verdict = if old || docker.os_type != "linux" {
                Verdict::Fail
            } else {
                Verdict::Ok
            };
            let found = format!("{}, {}", docker.server_version, docker.os_type);
            Check::new(NAME, verdict, found, wanted, "install a newer engine: `apt-get install docker.io`")
        }
        // rekindle can install and start it itself on such a machine, so its absence is no reason to refuse.
        Err(reason) if readings.installable => {
            let cure = "nothing to do: `rekindle up` installs and starts it";
            Check::new(NAME, Verdict::Warn, format!("not reachable ({reason})"), wanted, cure)
        }
        Err(reason) => {
            let cure = "start it with `systemctl start docker`, or run rekindle as root on Debian, where it installs Docker itself";
            Check::new(NAME, Verdict::Fail, format!("not reachable ({reason})"), wanted, cure)
        }
    }
}

fn version(text: &str) -> (u64, u64) {
    let mut numbers = text.split('.').map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

fn space(name: &'static str, disk: &Option<read::Disk>, (cold, besides): (bool, u64), cure: &str) -> Option<Check> {
    let disk = disk.as_ref()?;
    let (limit, why) = if cold {
        (DISK_COLD, "images are still to be built")
    } else {
        (DISK_WARM, "images are there")
    };
    let limit = limit + besides;
    let verdict = if disk.free < limit { Verdict::Fail } else { Verdict::Ok };
    let found = format!("{} free in {}", gib(disk.free), disk.path.display());
    let limit = format!("{} ({why})", gib(limit));
    Some(Check::new(name, verdict, found, limit, format!("free some with `{cure}`")))
}

fn inodes(readings: &Readings) -> Option<Check> {
    let disk = readings.docker_disk.as_ref()?;
    // File systems without a fixed number say that they have none.
    let inodes = disk.free_inodes.filter(|_| disk.total_inodes > 0)?;
    let limit = INODES + readings.pool * INODES_POOL;
    let verdict = if inodes < limit { Verdict::Fail } else { Verdict::Ok };
    let found = format!("{inodes} free in {}", disk.path.display());
    Some(Check::new(
        "inodes",
        verdict,
        found,
        limit.to_string(),
        "free some with `docker system prune --volumes`",
    ))
}

fn memory(readings: &Readings) -> Option<Check> {
    let free = readings.memory_available?;
    let limit = MEMORY + readings.pool * MEMORY_POOL;
    let verdict = if free < limit { Verdict::Fail } else { Verdict::Ok };
    let cure = "end other programs or clusters; `docker stats --no-stream` shows what containers use";
    Some(Check::new("memory", verdict, format!("{} available", gib(free)), gib(limit), cure))
}

fn inotify(readings: &Readings) -> Vec<Check> {
    let judged = |name, found: Option<u64>, needed: u64, key: &str, good: u64| {
        let found = found?;
        let verdict = match found {
            found if found < needed => Verdict::Fail,
            // It is enough for one node; other programs of the same user share it.
            found if found < needed * 2 => Verdict::Warn,
            _ => Verdict::Ok,
        };
        let cure = format!("`sysctl -w fs.inotify.{key}={good}`, and the same in /etc/sysctl.d to keep it");
        Some(Check::new(name, verdict, found.to_string(), needed.to_string(), cure))
    };
    let instances = judged(
        "inotify instances",
        readings.inotify_instances,
        INSTANCES_NEEDED.max(INSTANCES_ALONE + readings.pool * INSTANCES_POOL),
        "max_user_instances",
        512,
    );
    let watches = judged(
        "inotify watches",
        readings.inotify_watches,
        WATCHES_NEEDED,
        "max_user_watches",
        65_536,
    );
    instances.into_iter().chain(watches).collect()
}

fn cgroups(readings: &Readings) -> Vec<Check> {
    let mut checks = Vec::new();
    if let Ok(docker) = &readings.docker {
        let found = format!("version {}, driver {}", docker.cgroup_version, docker.cgroup_driver);
        let missing = !docker.memory_limit || !docker.pids_limit;
        let verdict = if missing { Verdict::Fail } else { Verdict::Ok };
        let cure = "boot with `cgroup_enable=memory` on the kernel's command line, or turn on the pids controller";
        checks.push(Check::new("cgroups", verdict, found, "memory and pids can be limited", cure));
    }
    if let Some(used) = readings.memory_cgroups {
        let free = CGROUPS_MAX.saturating_sub(used);
        let verdict = if free < CGROUPS_NEEDED { Verdict::Fail } else { Verdict::Ok };
        let cure = "empty groups pile up when containers die: `echo 3 > /proc/sys/vm/drop_caches` frees them, else reboot";
        let found = format!("{used} of {CGROUPS_MAX} in use");
        checks.push(Check::new("memory cgroups", verdict, found, format!("{CGROUPS_NEEDED} free"), cure));
    }
    checks
}

fn pools(readings: &Readings) -> Option<Check> {
    let docker = readings.docker.as_ref().ok()?;
    let (used, capacity) = (readings.networks?, docker.network_capacity());
    let verdict = if used >= capacity {
        Verdict::Fail
    } else if used + 2 > capacity {
        Verdict::Warn
    } else {
        Verdict::Ok
    };
    let cure = "remove unused ones with `docker network prune`";
    Some(Check::new(
        "networks",
        verdict,
        format!("{used} of {capacity} address ranges in use"),
        "1 free",
        cure,
    ))
}

fn names(readings: &Readings) -> Option<Check> {
    let name = &readings.name;
    let taken = readings.foreign_container.as_ref()?;
    let limit = "no foreign container or cluster of that name";
    Some(match taken {
        None => Check::new(NAME, Verdict::Ok, name.clone(), limit, ""),
        Some(container) => {
            let cure = format!("take another with `--name`, or delete it with `kind delete cluster --name {name}`");
            Check::new(NAME, Verdict::Fail, format!("{name}, taken by container {container}"), limit, cure)
        }
    })
}

fn port(readings: &Readings) -> Option<Check> {
    let (port, taken) = readings.api_port.as_ref()?;
    let verdict = if taken.is_some() { Verdict::Fail } else { Verdict::Ok };
    let found = match taken {
        Some(reason) => format!("{port} ({reason})"),
        None => port.to_string(),
    };
    let cure = format!("leave out `--api-port`, then Docker chooses; `ss -ltnp 'sport = :{port}'` shows who has it");
    Some(Check::new("API port", verdict, found, "free", cure))
}

fn clock(readings: &Readings) -> Option<Check> {
    let skew = readings.clock_skew?;
    let verdict = if skew.abs() > SKEW_SECONDS { Verdict::Fail } else { Verdict::Ok };
    let cure = "set both clocks, for instance with `timedatectl set-ntp true`";
    let found = format!("{} s from Docker's", skew.abs());
    Some(Check::new("clock", verdict, found, format!("{SKEW_SECONDS} s"), cure))
}

fn gib(bytes: u64) -> String {
    // Tenths are enough for a person, and whole numbers make no rounding errors.
    let tenths = bytes / (GIB / 10);
    format!("{}.{} GiB", tenths / 10, tenths % 10)
}

/// The containers that stand in the way of a new cluster of this name: those that no run in the journal accounts for.
pub(super) fn strangers<'a>(containers: &'a [super::docker::Container], journal: &Journal) -> Option<&'a str> {
    let entries = journal.entries().unwrap_or_default();
    let known = |container: &super::docker::Container| entries.iter().any(|entry| super::owner::owns_container(container, entry));
    containers
        .iter()
        .find(|container| !known(container))
        .map(|container| container.name.as_str())
}
