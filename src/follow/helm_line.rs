//! What a Helm command line asks for, as far as it matters to somebody who watches it.

use std::time::Duration;

use crate::scenario::duration::Span;

/// A Helm command that changes a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HelmLine {
    /// `install` or `upgrade`
    pub operation: String,
    /// `upgrade --install`: an install where there is no release of that name.
    pub or_install: bool,
    /// Absent where Helm is to make up a name.
    pub release: Option<String>,
    pub namespace: Option<String>,
    pub context: Option<String>,
    pub kubeconfig: Option<String>,
    /// Helm's default is five minutes.
    pub timeout: Duration,
    /// `--wait` without a value, or with one.
    pub wait: Option<String>,
    pub wait_for_jobs: bool,
    /// `--atomic`, `--rollback-on-failure`: both wait as well.
    pub rollback_on_failure: bool,
}

/// Helm's own default.
const TIMEOUT: Duration = Duration::from_mins(5);

/// Flags that take no word after them; all others do, unless they have an `=`. From `helm install --help` and `helm upgrade --help` of
/// Helm 3.22 and 4.3.
const ALONE: &[&str] = &[
    "atomic",
    "cleanup-on-fail",
    "create-namespace",
    "debug",
    "dependency-update",
    "devel",
    "disable-openapi-validation",
    "dry-run",
    "enable-dns",
    "force",
    "force-conflicts",
    "force-replace",
    "generate-name",
    "help",
    "hide-notes",
    "hide-secret",
    "insecure-skip-tls-verify",
    "install",
    "kube-insecure-skip-tls-verify",
    "no-hooks",
    "pass-credentials",
    "plain-http",
    "render-subchart-notes",
    "replace",
    "reset-then-reuse-values",
    "reset-values",
    "reuse-values",
    "rollback-on-failure",
    "server-side",
    "skip-crds",
    "skip-schema-validation",
    "take-ownership",
    "verify",
    "wait",
    "wait-for-jobs",
];
const SHORT_ALONE: &[char] = &['g', 'h', 'i'];

impl HelmLine {
    /// Reads the words after `helm`; nothing where they do not install or upgrade.
    pub fn read(words: &[String]) -> Option<Self> {
        let mut line = Self {
            operation: String::new(),
            or_install: false,
            release: None,
            namespace: None,
            context: None,
            kubeconfig: None,
            timeout: TIMEOUT,
            wait: None,
            wait_for_jobs: false,
            rollback_on_failure: false,
        };
        let (mut places, mut generated) = (Vec::new(), false);
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let Some(flag) = word.strip_prefix('-').filter(|flag| !flag.is_empty()) else {
                places.push(word.as_str());
                continue;
            };
            let (name, joined) = match flag.strip_prefix('-') {
                Some(long) => long.split_once('=').map_or((long, None), |(name, value)| (name, Some(value))),
                None => short(flag),
            };
            let alone = ALONE.contains(&name) || name.len() == 1 && name.chars().all(|c| SHORT_ALONE.contains(&c));
            let value = match joined {
                Some(value) => Some(value),
                None if alone => None,
                None => Some(words.next()?.as_str()),
            };
            let on = value != Some("false");
            match name {
                "n" | "namespace" => line.namespace = value.map(str::to_owned),
                "kube-context" => line.context = value.map(str::to_owned),
                "kubeconfig" => line.kubeconfig = value.map(str::to_owned),
                "timeout" => line.timeout = value.and_then(|value| Span::parse(value).ok()).map_or(TIMEOUT, |span| span.0),
                "wait" => line.wait = on.then(|| value.unwrap_or("true").to_owned()),
                "wait-for-jobs" => line.wait_for_jobs = on,
                "atomic" | "rollback-on-failure" => line.rollback_on_failure = on,
                "g" | "generate-name" => generated = on,
                "i" | "install" => line.or_install = on,
                _ => {}
            }
        }
        let operation = *places.first().filter(|verb| matches!(**verb, "install" | "upgrade"))?;
        operation.clone_into(&mut line.operation);
        line.release = places.get(1).filter(|_| !generated).map(|name| (*name).to_owned());
        Some(line)
    }

    /// How it waits, in the words of an [`crate::evidence::EngineStart`]. Helm 4 waits as watcher where it is told only to wait, and for
    /// hooks alone where it is told nothing.
    pub fn waits(&self, major: u32) -> &'static str {
        let wait = self.wait.as_deref().or(self.rollback_on_failure.then_some("true"));
        match (major, wait) {
            (_, None | Some("hookOnly")) => "hookOnly",
            (3, Some(_)) | (_, Some("legacy")) => "legacy",
            (_, Some(_)) => "watcher",
        }
    }
}

/// `-n name`, `-nname`, `-n=name`; of several letters at once the first that takes a value ends them.
fn short(flag: &str) -> (&str, Option<&str>) {
    let rest = flag.trim_start_matches(SHORT_ALONE);
    if rest.is_empty() {
        return (&flag[..1], None);
    }
    let end = rest.char_indices().nth(1).map_or(rest.len(), |(end, _)| end);
    let (name, value) = rest.split_at(end);
    (name, (!value.is_empty()).then(|| value.strip_prefix('=').unwrap_or(value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Option<HelmLine> {
        HelmLine::read(&line.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn what_helm_is_told_is_read_as_helm_reads_it() {
        let line = read("upgrade --install -n shop web ./chart -f a.yaml --set a=b --wait --timeout 4m --kube-context=prod").unwrap();
        assert_eq!(
            (line.operation.as_str(), line.release.as_deref(), line.namespace.as_deref()),
            ("upgrade", Some("web"), Some("shop"))
        );
        assert_eq!(
            (line.timeout, line.context.as_deref(), line.waits(3), line.waits(4)),
            (Duration::from_mins(4), Some("prod"), "legacy", "watcher")
        );
        let line = read("--debug --namespace=a install -if x.yaml web ch --atomic").unwrap();
        assert_eq!(
            (line.release.as_deref(), line.waits(4), line.timeout),
            (Some("web"), "watcher", Duration::from_mins(5))
        );
        let line = read("install web ch --wait=legacy -nshop --wait-for-jobs").unwrap();
        assert_eq!(
            (line.waits(4), line.namespace.as_deref(), line.wait_for_jobs),
            ("legacy", Some("shop"), true)
        );
        assert_eq!(read("install web ch").unwrap().waits(4), "hookOnly");
        assert_eq!(read("install -g ch").unwrap().release, None);
    }

    #[test]
    fn other_commands_are_not_watched() {
        for line in ["list -A", "version", "", "uninstall web", "install -n"] {
            assert_eq!(read(line), None, "{line}");
        }
    }
}
