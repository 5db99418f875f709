use super::*;

const GOOD: &str = include_str!("../../../scenarios/hook-target-unreachable/scenario.yaml");

fn load_with(edit: impl Fn(String) -> String) -> Result<Vec<Scenario>, String> {
    let folder = tempfile::tempdir().unwrap();
    let scenario = folder.path().join("hook-target-unreachable");
    std::fs::create_dir_all(scenario.join("chart")).unwrap();
    std::fs::create_dir_all(scenario.join("values")).unwrap();
    std::fs::write(scenario.join("chart/Chart.yaml"), "").unwrap();
    for values in ["twin", "hook-timeout-too-short", "secret-missing", "image-not-loaded", "crash-loop"] {
        std::fs::write(scenario.join(format!("values/{values}.yaml")), "").unwrap();
    }
    std::fs::write(scenario.join("scenario.yaml"), edit(GOOD.to_owned())).unwrap();
    load_all(folder.path()).map_err(|error| error.to_string().rsplit_once("scenario.yaml").unwrap().1.to_owned())
}

#[test]
fn loads_the_scenario_and_its_forms() {
    let scenarios = load_with(|text| text).unwrap();
    let ids: Vec<_> = scenarios.iter().map(|scenario| scenario.id.as_str()).collect();
    assert_eq!(ids.len(), 5, "{ids:?}");
    assert_eq!(scenarios.iter().filter(|scenario| scenario.twin.is_some()).count(), 1);
}

#[test]
fn says_file_line_and_field_of_what_is_wrong() {
    for (from, to, expected) in [
        ("release: openhands", "relaese: openhands", ":4:1: unknown field `relaese`"),
        (
            "window: 5s",
            "window: 5",
            ":11:13: `5` is no duration; write it like 90s, 4m or 1m30s",
        ),
        ("timeout: 17s", "timeout: [30s]", ":10:14: "),
        (
            "chart: chart",
            "chart: chart\nengine: {upgrade: true}",
            ": engine of hook-target-unreachable: `flux-2.7` upgrades or installs as it sees fit; `upgrade` is for Helm",
        ),
        (
            "chart: chart",
            "chart: chrat",
            ":5:8: chart: `chrat/Chart.yaml` is not there; paths are relative to this file",
        ),
        (
            "engines: [helm-3, helm-4, ",
            "engines: [helm-3, helm-5, ",
            ":6:19: engines: there is no engine `helm-5`; there are helm-3, helm-4, flux-2.7, flux-2.9",
        ),
        (
            "timeout: 17s",
            "timeout: 4s",
            "inequalities: in profile fast on helm-3, `keycloakStart < timeout` does not hold with a margin of 3s: 2s against 4s",
        ),
        (
            "observe: afterTimeout",
            "observe: afterTimeuot",
            "observe: profile fast has no duration `afterTimeuot`",
        ),
        (
            "slug: hook-target-unreachable\ntitle",
            "slug: hook-target\ntitle",
            ":1:1: slug: `hook-target` stands in the folder",
        ),
        ("knowable: early", "knowable: soon", "unknown variant"),
        (
            "knowable: early",
            "knowable: early\n  afterwards: [{timeout: 1m}]",
            ":6:11: afterwards of hook-target-unreachable: only objects can be made, changed or deleted here",
        ),
        (
            "knowable: early",
            "knowable: early\n  between: [{delete: {apiVersion: v1, kind: Secret, name: db}}]",
            ":6:11: between of hook-target-unreachable: there is no upgradeFrom after which it could be done",
        ),
        (
            "helm-4: [\"failed post-install\"",
            "helm-9: [\"failed post-install\"",
            ":6:19: expect.engine-fails of hook-target-unreachable holds no words of `helm-4`; write what the engine says",
        ),
    ] {
        assert!(GOOD.contains(from), "{from}");
        let error = load_with(|text| text.replacen(from, to, 1)).unwrap_err();
        assert!(error.contains(expected), "{from} -> {to}: {error}");
    }
}
