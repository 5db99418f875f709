//! # What it detects
//!
//! A program that does not get on because its ServiceAccount, or the user of an engine, lacks a right in the cluster.
//!
//! # Why it happens
//!
//! The chart makes no Role, or one that forgets a verb, a resource or an API group; the binding names an account that is called otherwise
//! or lives elsewhere; the pod runs as `default`; the right is given in one namespace and needed in another or in the whole cluster.
//!
//! # Evidence
//!
//! The API server's words `User "…" cannot VERB resource "R" in API group "G" …` in the last lines of a container that ended with an error,
//! again and again in one that goes on, be it ready or not, in an event, or in what the engine says in the end; the roles that are bound to
//! the account, as far as they can be read. A refusal after which the program has gone on, one that the roles allow by now, and one after a role was taken away
//! are none of it.
//!
//! # Remedy
//!
//! `grant-rule`: exactly the rule that was missing, in the role that is bound already, or in a new one.

use crate::diagnosis::refused::refused;
use crate::diagnosis::rights::findings;
use crate::diagnosis::{Class, Detector, Finding};
use crate::evidence::Evidence;

pub const DETECTOR: Detector = Detector {
    slug: "rbac-forbidden",
    summary: "a program lacks a right in the cluster",
    class: Class::Specific,
    remedies: &["grant-rule"],
    detect,
};

fn detect(evidence: &Evidence) -> Vec<Finding> {
    let mut refused = refused(evidence);
    refused.retain(|one| !one.lacks_subresource());
    findings(evidence, DETECTOR.slug, refused)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::diagnosis::fixture::*;

    const CLEANER: (&str, &str) = (DETECTOR.slug, "ServiceAccount/cleaner");
    const WORDS: &str = r#"Error from server (Forbidden): pods is forbidden: User "system:serviceaccount:shop:cleaner" cannot list resource "pods" in API group "" in the namespace "shop""#;

    fn account() -> Value {
        json!({"kind": "ServiceAccount", "metadata": {"name": "cleaner"}})
    }

    fn role(verbs: &[&str]) -> Value {
        json!({"kind": "Role", "metadata": {"name": "cleaner"}, "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": verbs}]})
    }

    fn binding() -> Value {
        json!({"kind": "RoleBinding", "metadata": {"name": "cleaner"}, "subjects": [{"kind": "ServiceAccount", "name": "cleaner", "namespace": "shop"}],
            "roleRef": {"kind": "Role", "name": "cleaner"}})
    }

    /// A Job of a live namespace that prints this and fails for good.
    fn fails(lines: &[&str]) -> Scene {
        let job = job("clean", json!({"image": "tools:1"}));
        let mut scene = Scene::new();
        scene
            .object(account())
            .object(job.clone())
            .object(pod_of(&job, "a", running()))
            .at(500);
        for line in lines {
            scene.log("clean-a", "clean", line);
        }
        scene.at(900).object(phase(pod_of(&job, "a", terminated(1)), "Failed"));
        scene.object(with_condition(job, "Failed", "BackoffLimitExceeded"));
        scene
    }

    #[test]
    fn an_account_without_any_role() {
        let scene = fails(&["cleaning", WORDS]);
        assert_eq!(scene.diagnosis().identity(), [(CLEANER.0.to_owned(), CLEANER.1.to_owned())]);
        let cause = &scene.diagnosis().causes[0];
        assert_eq!(cause.statement, "ServiceAccount cleaner may not list pods in namespace shop");
        assert_eq!(
            cause.remedy.as_ref().unwrap().sentence,
            "bind a Role with the rule {apiGroups: [\"\"], resources: [\"pods\"], verbs: [\"list\"]} to ServiceAccount cleaner in namespace shop"
        );
        let cited: Vec<_> = cause.citations.iter().map(|citation| citation.text.as_str()).collect();
        assert!(cited[0].contains("cannot list resource"), "{cited:?}");
        assert_eq!(cited[1..], ["no RoleBinding in namespace shop names it"]);
    }

    #[test]
    fn a_role_that_forgets_a_verb() {
        let mut scene = fails(&[WORDS]);
        scene.object(role(&["get"])).object(binding());
        assert_eq!(scene.diagnosis().identity(), [(CLEANER.0.to_owned(), CLEANER.1.to_owned())]);
        let cause = &scene.diagnosis().causes[0];
        assert_eq!(
            cause.remedy.as_ref().unwrap().sentence,
            "add the rule {apiGroups: [\"\"], resources: [\"pods\"], verbs: [\"list\"]} to Role cleaner"
        );
        assert!(cause.citations.iter().any(|citation| citation.text == "rules: get of pods"));
    }

    #[test]
    fn several_rights_of_one_account_are_one_cause() {
        let delete = WORDS.replace("list", "delete");
        let secrets = WORDS.replace("\"pods\"", "\"secrets\"");
        let scene = fails(&[WORDS, &delete, &secrets]);
        let diagnosis = scene.diagnosis();
        assert_eq!(diagnosis.identity(), [(CLEANER.0.to_owned(), CLEANER.1.to_owned())]);
        assert_eq!(
            diagnosis.causes[0].statement,
            "ServiceAccount cleaner may not delete and list pods in namespace shop, nor list secrets in namespace shop"
        );
    }

    #[test]
    fn what_is_said_again_and_again_counts_while_it_runs() {
        let (deployment, set) = deployment("watcher", json!({"image": "w:1"}), 0);
        let mut scene = Scene::new();
        scene.object(account()).object(deployment).object(set.clone());
        let mut pod = pod_of(&set, "p", running());
        pod["status"]["conditions"] = json!([{"type": "Ready", "status": "False"}]);
        scene.object(pod.clone());
        scene.object(warning(
            &pod,
            "Unhealthy",
            "Readiness probe failed: HTTP probe failed with statuscode: 500",
        ));
        let words = WORDS.replace(
            "Error from server (Forbidden): ",
            "E1203 reflector.go:147] failed to list *v1.Pod: ",
        );
        scene.at(1000).log("watcher-7f9c-p", "watcher", &words);
        scene.never_certain();
        scene.at(3000).log("watcher-7f9c-p", "watcher", &words);
        scene.settles_on(&[CLEANER]);
    }

    #[test]
    fn the_engine_and_an_event_say_it_too() {
        let mut scene = Scene::new();
        scene.engine(10_000, "watcher").at(800);
        scene.engine_says(r#"Error: INSTALLATION FAILED: roles.rbac.authorization.k8s.io is forbidden: User "deployer" cannot create resource "roles" in API group "rbac.authorization.k8s.io" in the namespace "shop""#);
        scene.engine_ends(1);
        scene.settles_on(&[(DETECTOR.slug, "User/deployer")]);
        let (deployment, set) = deployment("watcher", json!({"image": "w:1"}), 0);
        let mut scene = Scene::new();
        let stuck = pod_of(&set, "p", waiting("CreateContainerError", "x"));
        scene.object(account()).object(deployment).object(set).object(stuck.clone());
        scene.object(warning(&stuck, "AttachFailed", WORDS));
        assert_eq!(scene.diagnosis().identity(), [(CLEANER.0.to_owned(), CLEANER.1.to_owned())]);
    }

    #[test]
    fn what_went_on_what_is_allowed_now_and_what_was_taken_away_stay_silent() {
        let crash = [("crash-loop".to_owned(), "Job/clean".to_owned())];
        let scene = fails(&[WORDS, "metrics are off", "listening on 8080", "panic: no queue"]);
        assert_eq!(scene.diagnosis().identity(), crash);
        let mut scene = fails(&[WORDS]);
        scene.object(role(&["list"])).object(binding());
        assert_eq!(scene.diagnosis().identity(), crash);
        let mut scene = Scene::new();
        scene
            .object(role(&["list"]))
            .object(binding())
            .at(100)
            .deleted(role(&["list"]))
            .deleted(binding());
        for entry in fails(&[WORDS]).timeline().entries {
            scene.at(1000).push(entry.fact);
        }
        // The line's own stamp is earlier than that.
        assert_eq!(scene.diagnosis().identity(), crash);
    }

    #[test]
    fn an_account_that_is_gone_has_lost_its_rights_with_it() {
        let mut scene = fails(&[WORDS]);
        scene.deleted(account());
        assert_eq!(scene.diagnosis().identity(), [("crash-loop".to_owned(), "Job/clean".to_owned())]);
    }

    #[test]
    fn what_a_program_prints_of_its_error_is_no_progress() {
        let java = ["\tat io.fabric8.Client.list(Client.java:7)", "\t... 12 more"];
        let go = ["goroutine 1 [running]:", "main.main()", "\t/app/main.go:12 +0x1d", "shutting down"];
        for frames in [&java[..], &go] {
            let lines: Vec<&str> = [WORDS].iter().chain(frames).copied().collect();
            assert_eq!(
                fails(&lines).diagnosis().identity(),
                [(CLEANER.0.to_owned(), CLEANER.1.to_owned())],
                "{lines:?}"
            );
        }
    }

    #[test]
    fn a_pod_that_is_ready_and_goes_on_asking() {
        let (deployment, set) = deployment("watcher", json!({"image": "w:1"}), 1);
        let mut scene = Scene::new();
        scene.object(account()).object(deployment).object(set.clone());
        scene.object(as_ready(pod_of(&set, "p", running())));
        for at in [1000, 3000, 9000] {
            scene.at(at).log("watcher-7f9c-p", "watcher", WORDS);
            scene.log("watcher-7f9c-p", "watcher", "GET /healthz 200");
        }
        scene.settles_on(&[CLEANER]);
        let diagnosis = scene.diagnosis();
        assert_eq!(
            diagnosis.causes[0].chain[0].statement,
            "pod watcher-7f9c-p is ready, and asks in vain to list pods in namespace shop"
        );
        // Somebody gives it the right.
        scene.at(12_000).object(role(&["list"])).object(binding());
        assert_eq!(scene.diagnosis().identity(), []);
    }

    #[test]
    fn a_pod_that_is_ready_all_the_same_is_well() {
        let (deployment, set) = deployment("watcher", json!({"image": "w:1"}), 1);
        let mut scene = Scene::new();
        scene
            .object(deployment)
            .object(set.clone())
            .object(as_ready(pod_of(&set, "p", running())));
        for at in [1000, 2000, 3000] {
            scene.at(at).log("watcher-7f9c-p", "watcher", WORDS);
        }
        scene.never_certain();
    }

    #[test]
    fn a_role_that_the_engine_has_not_applied_yet_makes_it_suspected() {
        let job = hook_job("clean", "post-install", json!({"image": "tools:1"}));
        let mut scene = Scene::new();
        scene.engine(20_000, "watcher").at(100);
        let hook = scene.running_hook(&job, "post-install");
        scene.record("pending-install", vec![hook], vec![role(&["list"]), binding()]);
        scene
            .object(account())
            .object(job.clone())
            .object(pod_of(&job, "a", running()))
            .at(500);
        for at in [600, 1600, 2600] {
            scene.at(at).log("clean-a", "clean", WORDS);
        }
        scene.never_certain();
        assert_eq!(scene.diagnosis().suspected[0].slug, DETECTOR.slug);
    }
}
