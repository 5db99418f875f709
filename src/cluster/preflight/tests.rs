use super::read::{Disk, Docker};
use super::*;

fn good() -> Readings {
    let disk = |path: &str| {
        Some(Disk {
            path: path.into(),
            free: 50 * GIB,
            free_inodes: Some(1_000_000),
            total_inodes: 2_000_000,
        })
    };
    Readings {
        name: "rekindle".into(),
        pool: 0,
        docker: Ok(Docker {
            server_version: "20.10.24+dfsg1".into(),
            os_type: "linux".into(),
            cgroup_version: "1".into(),
            cgroup_driver: "cgroupfs".into(),
            memory_limit: true,
            pids_limit: true,
            ..Docker::default()
        }),
        docker_disk: disk("/var/lib/docker"),
        cache_disk: disk("/cache"),
        cold: false,
        memory_available: Some(20 * GIB),
        inotify_instances: Some(128),
        inotify_watches: Some(16_384),
        memory_cgroups: Some(100),
        networks: Some(2),
        foreign_container: Some(None),
        api_port: None,
        clock_skew: Some(0),
        installable: false,
    }
}

fn failing(change: impl FnOnce(&mut Readings)) -> Vec<Check> {
    let mut readings = good();
    change(&mut readings);
    judge(&readings).into_iter().filter(|check| check.verdict != Verdict::Ok).collect()
}

#[test]
fn a_good_machine_has_nothing_to_cure() {
    assert_eq!(failing(|_| {}), []);
    assert!(judge(&good()).iter().all(|check| check.cure.is_none()));
    assert!(require(&judge(&good())).is_ok());
}

#[test]
fn each_shortage_is_named_with_number_limit_and_cure() {
    let one = |name: &str, change: fn(&mut Readings)| {
        let checks = failing(change);
        assert_eq!(checks.len(), 1, "{name}: {checks:?}");
        assert_eq!((checks[0].name, checks[0].verdict), (name, Verdict::Fail));
        assert!(checks[0].cure.as_ref().is_some_and(|cure| cure.contains('`')), "{checks:?}");
        let sentence = require(&checks).unwrap_err().to_string();
        assert!(
            sentence.contains(&checks[0].found) && sentence.contains(&checks[0].limit),
            "{sentence}"
        );
    };
    one("Docker engine", |r| r.docker.as_mut().unwrap().server_version = "19.03.1".into());
    one("disk for Docker", |r| r.docker_disk.as_mut().unwrap().free = 4 * GIB - 1);
    one("disk for the cache", |r| r.cache_disk.as_mut().unwrap().free = GIB);
    one("inodes", |r| r.docker_disk.as_mut().unwrap().free_inodes = Some(1000));
    one("memory", |r| r.memory_available = Some(3 * GIB - 1));
    one("inotify instances", |r| r.inotify_instances = Some(8));
    one("inotify watches", |r| r.inotify_watches = Some(500));
    one("cgroups", |r| r.docker.as_mut().unwrap().memory_limit = false);
    one("memory cgroups", |r| r.memory_cgroups = Some(64_000));
    one("networks", |r| r.networks = Some(31));
    one("API port", |r| r.api_port = Some((6443, Some("address in use".into()))));
    one("clock", |r| r.clock_skew = Some(-3600));
}

#[test]
fn a_taken_name_is_shown_here_and_refused_by_the_creation() {
    let checks = failing(|r| r.foreign_container = Some(Some("rekindle-control-plane".into())));
    assert_eq!((checks[0].name, checks[0].verdict), (NAME, Verdict::Fail));
    assert!(require(&checks).is_ok());
}

#[test]
fn a_cold_machine_needs_more_disk() {
    let checks = failing(|r| {
        r.cold = true;
        r.docker_disk.as_mut().unwrap().free = 9 * GIB;
    });
    assert!(
        checks[0].found.starts_with("9.0 GiB free in /var/lib/docker") && checks[0].limit.starts_with("10.0 GiB"),
        "{checks:?}"
    );
}

#[test]
fn the_usual_limits_of_a_small_machine_are_enough() {
    // A bare Debian: one node works with these.
    assert_eq!(failing(|r| (r.inotify_instances, r.inotify_watches) = (Some(128), Some(8192))), []);
    assert_eq!(failing(|r| r.inotify_instances = Some(100))[0].verdict, Verdict::Warn);
}

#[test]
fn every_pool_node_needs_something_more() {
    let limits = |pool| {
        let readings = Readings { pool, ..good() };
        let checks = judge(&readings);
        let limit = |name| checks.iter().find(|check| check.name == name).unwrap().limit.clone();
        ["memory", "disk for Docker", "disk for the cache", "inodes", "inotify instances"].map(limit)
    };
    assert_eq!(
        limits(0),
        [
            "3.0 GiB",
            "4.0 GiB (images are there)",
            "4.0 GiB (images are there)",
            "200000",
            "64"
        ]
    );
    assert_eq!(
        limits(2),
        [
            "3.4 GiB",
            "6.0 GiB (images are there)",
            "4.0 GiB (images are there)",
            "220000",
            "64"
        ]
    );
    assert_eq!(limits(8)[4], "160");
}

#[test]
fn a_missing_engine_stops_only_where_it_cannot_be_installed() {
    let silent = |r: &mut Readings| r.docker = Err("no daemon".into());
    assert_eq!(failing(silent)[0].verdict, Verdict::Fail);
    let checks = failing(|r| {
        silent(r);
        r.installable = true;
    });
    assert_eq!(checks[0].verdict, Verdict::Warn);
    assert!(require(&checks).is_ok());
}

#[test]
fn docker_s_address_pools_are_counted() {
    let mut docker = Docker::default();
    assert_eq!(docker.network_capacity(), 31);
    docker.default_address_pools = Some(serde_json::from_str(r#"[{"Base":"10.10.0.0/16","Size":24}]"#).unwrap());
    assert_eq!(docker.network_capacity(), 256);
}
