//! One file per detector, one line each in the sorted list.

mod configmap_missing;
mod crash_loop;
mod crd_missing;
mod dependency_not_ready;
mod dependency_ready_too_early;
mod depends_on_drift;
mod depends_on_missing;
mod duplicate_env;
mod empty_secret_value;
mod healthcheck_on_removed_job;
mod hook_budget_below_cold_start;
mod hook_target_unreachable;
mod hook_timeout_too_short;
mod image_not_loaded;
mod image_pull_backoff;
mod image_pull_unauthorized;
mod init_blocked;
mod install_remediation_loop;
mod job_before_its_secret;
mod job_template_immutable;
mod lookup_gated_out;
mod node_selector_unsatisfiable;
mod oom_killed;
mod post_renderer_malformed;
mod post_renderer_no_effect;
mod probe_path_wrong;
mod probe_too_tight;
mod pvc_unbound;
mod quota_exceeded;
mod rbac_forbidden;
mod rbac_subresource_missing;
mod release_pending_lock;
mod release_stalled;
mod resource_not_owned;
mod rollout_timeout_too_short;
mod run_as_non_root_named_user;
mod secret_key_missing;
mod secret_missing;
mod selector_immutable;
mod service_account_missing;
mod service_without_endpoints;
mod stale_release_secret;
mod substitution_missing;
mod test_failed;
mod ttl_deleted_job;
mod uninstall_timeout;
mod upgrade_rollback_loop;
mod values_not_templated;

use super::Detector;

/// Every detector, sorted by slug.
pub const DETECTORS: &[&Detector] = &[
    &configmap_missing::DETECTOR,
    &crash_loop::DETECTOR,
    &crd_missing::DETECTOR,
    &dependency_not_ready::DETECTOR,
    &dependency_ready_too_early::DETECTOR,
    &depends_on_drift::DETECTOR,
    &depends_on_missing::DETECTOR,
    &duplicate_env::DETECTOR,
    &empty_secret_value::DETECTOR,
    &healthcheck_on_removed_job::DETECTOR,
    &hook_budget_below_cold_start::DETECTOR,
    &hook_target_unreachable::DETECTOR,
    &hook_timeout_too_short::DETECTOR,
    &image_not_loaded::DETECTOR,
    &image_pull_backoff::DETECTOR,
    &image_pull_unauthorized::DETECTOR,
    &init_blocked::DETECTOR,
    &install_remediation_loop::DETECTOR,
    &job_before_its_secret::DETECTOR,
    &job_template_immutable::DETECTOR,
    &lookup_gated_out::DETECTOR,
    &node_selector_unsatisfiable::DETECTOR,
    &oom_killed::DETECTOR,
    &post_renderer_malformed::DETECTOR,
    &post_renderer_no_effect::DETECTOR,
    &probe_path_wrong::DETECTOR,
    &probe_too_tight::DETECTOR,
    &pvc_unbound::DETECTOR,
    &quota_exceeded::DETECTOR,
    &rbac_forbidden::DETECTOR,
    &rbac_subresource_missing::DETECTOR,
    &release_pending_lock::DETECTOR,
    &release_stalled::DETECTOR,
    &resource_not_owned::DETECTOR,
    &rollout_timeout_too_short::DETECTOR,
    &run_as_non_root_named_user::DETECTOR,
    &secret_key_missing::DETECTOR,
    &secret_missing::DETECTOR,
    &selector_immutable::DETECTOR,
    &service_account_missing::DETECTOR,
    &service_without_endpoints::DETECTOR,
    &stale_release_secret::DETECTOR,
    &substitution_missing::DETECTOR,
    &test_failed::DETECTOR,
    &ttl_deleted_job::DETECTOR,
    &uninstall_timeout::DETECTOR,
    &upgrade_rollback_loop::DETECTOR,
    &values_not_templated::DETECTOR,
];

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    const HEADINGS: [&str; 4] = ["# What it detects", "# Why it happens", "# Evidence", "# Remedy"];

    fn folder() -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("src/diagnosis/detectors")
    }

    #[test]
    fn the_list_is_sorted_and_each_slug_is_there_once() {
        let slugs: Vec<_> = DETECTORS.iter().map(|detector| detector.slug).collect();
        let mut sorted = slugs.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(slugs, sorted);
    }

    #[test]
    fn each_listed_slug_has_a_file_with_the_headings_and_tests() {
        for detector in DETECTORS {
            let path = folder().join(format!("{}.rs", detector.slug.replace('-', "_")));
            let source = fs::read_to_string(&path).unwrap_or_default();
            let headings: Vec<_> = source
                .lines()
                .filter_map(|line| line.strip_prefix("//! "))
                .filter(|line| line.starts_with("# "))
                .collect();
            assert_eq!(headings, HEADINGS, "{}", path.display());
            assert!(source.contains("#[cfg(test)]"), "{} has no tests", path.display());
        }
    }

    #[test]
    fn each_file_is_listed() {
        let listed = |name: &str| DETECTORS.iter().any(|detector| detector.slug.replace('-', "_") == name);
        for entry in fs::read_dir(folder()).expect("the folder of this file") {
            let path = entry.expect("an entry").path();
            let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
            assert!(name == "mod" || listed(name), "{} is not listed", path.display());
        }
    }

    #[test]
    fn remedies_are_sorted_kinds() {
        for detector in DETECTORS {
            assert!(detector.remedies.is_sorted() && !detector.remedies.is_empty(), "{}", detector.slug);
            assert!(!detector.summary.ends_with('.'), "{}", detector.slug);
        }
    }
}
