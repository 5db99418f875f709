//! Looks at what every broken trial has come to, as somebody would who comes on that day: with `diagnose`, with `watch`, and at what the usual
//! tools export of it. Wanted with `REKINDLE_LOOKS=1`: it makes a trial some seconds longer.
//!
//! Whoever looks is told what whoever had watched knows; or less, where it is known what is missing; and never something else.

#[path = "../less/mod.rs"]
mod less;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use kube::config::Kubeconfig;
use rekindle::command::Command;
use rekindle::diagnosis::Diagnosis;
use rekindle::evidence::{Recording, Timeline};
use rekindle::import;
use rekindle::look::{self, Looked, Subject};
use rekindle::outcome::judge;
use rekindle::trial::{Broken, Onlooker};
use tokio_util::sync::CancellationToken;

/// What has to be set for it, and a support-bundle program of troubleshoot's, where there is one.
const WANTED: &str = "REKINDLE_LOOKS";
const SUPPORT_BUNDLE: &str = "REKINDLE_SUPPORT_BUNDLE";
/// What was seen and exported, by trial: where a look found something else, that is what its reason is found by.
const FOLDER: &str = "target/looks";
/// How long a program may take on a busy machine.
const PROGRAM: Duration = Duration::from_mins(2);
/// How long something is followed that never ends, as the tries of an engine that is told to go on.
const FOLLOWED: &str = "20s";
const KINDS: &str = "configmaps,cronjobs.batch,daemonsets.apps,deployments.apps,endpointslices.discovery.k8s.io,events,jobs.batch,limitranges,\
    persistentvolumeclaims,pods,replicasets.apps,resourcequotas,rolebindings.rbac.authorization.k8s.io,roles.rbac.authorization.k8s.io,secrets,\
    serviceaccounts,services,statefulsets.apps";
const FLUX: &str = ",helmreleases.helm.toolkit.fluxcd.io,kustomizations.kustomize.toolkit.fluxcd.io";
/// What the support-bundle program is to collect: what it always does, and of this namespace alone.
const SPEC: &str = "apiVersion: troubleshoot.sh/v1beta2\nkind: SupportBundle\nmetadata: {name: look}\nspec:\n  collectors:\n    - clusterInfo: {}\n    \
    - clusterResources: {namespaces: [NAMESPACE], ignoreRBAC: true}\n    - logs: {namespace: NAMESPACE, name: pods/logs, selector: []}\n";

type Asked = Result<Looked, String>;

/// What came of each way to look.
#[derive(Debug, Default)]
struct Tally {
    same: u32,
    less: Vec<String>,
}

/// Looks in every way, and notes what is wrong by trial.
#[derive(Debug)]
pub struct Looks {
    kubectl: PathBuf,
    bundler: Option<PathBuf>,
    tallies: Mutex<BTreeMap<&'static str, Tally>>,
    wrong: Mutex<BTreeMap<String, Vec<String>>>,
}

impl Looks {
    /// Nothing where they are not wanted.
    pub fn wanted(kubectl: &Path) -> Option<Self> {
        std::env::var_os(WANTED)?;
        Some(Self {
            kubectl: kubectl.to_owned(),
            bundler: std::env::var_os(SUPPORT_BUNDLE).map(PathBuf::from),
            tallies: Mutex::default(),
            wrong: Mutex::default(),
        })
    }

    /// What was wrong with the looks at one trial.
    pub fn wrong(&self, trial: &str) -> Vec<String> {
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        wrong.remove(trial).unwrap_or_default()
    }

    /// How much each way tells, as a table, and below it what tells less.
    pub fn table(&self) -> String {
        let tallies = self.tallies.lock().unwrap_or_else(PoisonError::into_inner);
        let mut table = format!("{:<20} {:>5} {:>5}\n", "looked at with", "same", "less");
        for (way, tally) in tallies.iter() {
            table.push_str(&format!("{way:<20} {:>5} {:>5}\n", tally.same, tally.less.len()));
        }
        for (way, tally) in tallies.iter() {
            tally.less.iter().for_each(|line| table.push_str(&format!("{way}: {line}\n")));
        }
        table
    }

    async fn ways(&self, broken: &Broken<'_>) -> Result<(), String> {
        let folder = Path::new(FOLDER).join(broken.trial.to_string().replace("::", "--"));
        // What was seen there before is of another run.
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let kubeconfig = Kubeconfig::read_from(broken.kubeconfig).map_err(|error| error.to_string())?;
        let at = At {
            broken,
            folder: &folder,
            context: kubeconfig.current_context.unwrap_or_default(),
        };
        self.judge(broken, "diagnose", false, at.diagnose().await?);
        self.judge(broken, "watch", false, at.watch().await?);
        let list = at.kubectl_get(&self.kubectl).await?;
        self.judge(broken, "kubectl get", true, at.import(&list)?);
        let dump = at.cluster_dump(&self.kubectl).await?;
        self.judge(broken, "cluster-info dump", true, at.import(&dump)?);
        if let Subject::Release(_) | Subject::HelmRelease(_) = broken.subject
            && let Some(records) = at.helm_storage(&self.kubectl).await?
        {
            self.judge(broken, "Helm's Secrets", true, at.import(&records)?);
        }
        if let Some(bundler) = &self.bundler {
            let bundle = at.support_bundle(bundler).await?;
            self.judge(broken, "support bundle", true, at.import(&bundle)?);
        }
        Ok(())
    }

    /// An export may lack what it says it lacks; a look only what is known.
    fn judge(&self, broken: &Broken<'_>, way: &'static str, export: bool, looked: Looked) {
        let (trial, found) = (broken.trial.to_string(), names(&looked.diagnosis));
        let mut tallies = self.tallies.lock().unwrap_or_else(PoisonError::into_inner);
        let tally = tallies.entry(way).or_default();
        if judge::exactly(broken.causes, &looked.diagnosis) {
            tally.same += 1;
            return;
        }
        let lacks = &looked.evidence.not_readable;
        let excused = less::is_known(&broken.trial.scenario, broken.causes, &looked.diagnosis)
            || export && !lacks.is_empty() && on_the_way(broken, &looked.diagnosis);
        if excused {
            tally.less.push(format!("{trial}: [{found}]"));
        } else {
            self.note(&trial, format!("{way} found [{found}]"));
        }
    }

    fn note(&self, trial: &str, words: String) {
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        wrong.entry(trial.to_owned()).or_default().push(words);
    }
}

impl Onlooker for Looks {
    fn look<'a>(&'a self, broken: Broken<'a>) -> BoxFuture<'a, ()> {
        async move {
            if let Err(reason) = self.ways(&broken).await {
                self.note(&broken.trial.to_string(), reason);
            }
        }
        .boxed()
    }
}

/// Where the deepest cause is not to be seen, what it led to may be.
fn on_the_way(broken: &Broken<'_>, found: &Diagnosis) -> bool {
    let story = serde_json::to_string(&broken.diagnosis.causes).unwrap_or_default();
    let expected = |slug: &str| broken.trial.scenario == slug || broken.causes.iter().any(|expected| expected.slug == slug);
    let mut causes = found.causes.iter();
    causes.all(|cause| expected(&cause.slug) || story.contains(&cause.subject.name))
}

fn names(diagnosis: &Diagnosis) -> String {
    let causes = diagnosis.causes.iter().map(|cause| format!("{} at {}", cause.slug, cause.subject));
    causes.collect::<Vec<_>>().join(", ")
}

/// One broken trial, and a folder for what is exported of it.
struct At<'a> {
    broken: &'a Broken<'a>,
    folder: &'a Path,
    context: String,
}

impl At<'_> {
    fn program(&self, program: &Path, arguments: &[&str]) -> Command {
        Command::new(program, PROGRAM)
            .args(arguments)
            .arg("--kubeconfig")
            .arg(self.broken.kubeconfig)
    }

    /// With a kubeconfig and a context that are named.
    async fn rekindle(&self, arguments: &[&str], file: &str) -> Asked {
        let file = self.folder.join(file);
        let command = self
            .program(Path::new(env!("CARGO_BIN_EXE_rekindle")), arguments)
            .args(["--namespace", self.broken.namespace, "--context", &self.context, "--save"])
            .arg(&file);
        // That it has found something is no failure, and neither is that what it follows goes on.
        let output = command
            .run_any_status(&CancellationToken::new())
            .await
            .map_err(|error| error.to_string())?;
        let recording = Recording::read(&file).map_err(|error| format!("{error}: {}", String::from_utf8_lossy(&output.stderr)))?;
        let header = recording.header().clone();
        Ok(look::of(Timeline {
            header,
            entries: recording.entries,
        }))
    }

    async fn diagnose(&self) -> Asked {
        self.rekindle(&["diagnose"], "diagnose.rekindle").await
    }

    async fn watch(&self) -> Asked {
        let (option, name) = match &self.broken.subject {
            Subject::Release(name) => ("--release", name),
            Subject::HelmRelease(name) => ("--helmrelease", name),
            Subject::Kustomization(name) => ("--kustomization", name),
        };
        // What an uninstall or a refusal has left no record of cannot be followed to an end.
        self.rekindle(
            &["watch", option, name, "--stop-when-hopeless", "--timeout", FOLLOWED],
            "watch.rekindle",
        )
        .await
    }

    async fn kubectl(&self, kubectl: &Path, arguments: &[&str]) -> Result<Vec<u8>, String> {
        let output = self.program(kubectl, arguments).run(&CancellationToken::new()).await;
        Ok(output.map_err(|error| error.to_string())?.stdout)
    }

    fn write(&self, name: &str, content: &[u8]) -> Result<(), String> {
        let file = self.folder.join(name);
        let folder = file.parent().unwrap_or(self.folder);
        fs::create_dir_all(folder)
            .and_then(|()| fs::write(&file, content))
            .map_err(|error| error.to_string())
    }

    /// The lists of all kinds that kubectl knows, in two files.
    async fn kubectl_get(&self, kubectl: &Path) -> Result<PathBuf, String> {
        let flux = !matches!(self.broken.subject, Subject::Release(_));
        let kinds = format!("{KINDS}{}", if flux { FLUX } else { "" });
        let list = self
            .kubectl(kubectl, &["get", &kinds, "-o", "yaml", "-n", self.broken.namespace])
            .await?;
        self.write("get/all.yaml", &list)?;
        let nodes = self.kubectl(kubectl, &["get", "nodes", "-o", "json"]).await?;
        self.write("get/nodes.json", &nodes)?;
        Ok(self.folder.join("get"))
    }

    async fn cluster_dump(&self, kubectl: &Path) -> Result<PathBuf, String> {
        let dump = self.folder.join("dump");
        let folder = dump.to_string_lossy();
        let namespaces = ["--namespaces", self.broken.namespace, "--output-directory", &folder];
        self.kubectl(kubectl, &[&["cluster-info", "dump"], namespaces.as_slice()].concat())
            .await?;
        Ok(dump)
    }

    /// Nothing where there is no record.
    async fn helm_storage(&self, kubectl: &Path) -> Result<Option<PathBuf>, String> {
        let arguments = ["get", "secrets", "-l", "owner=helm", "-o", "yaml", "-n", self.broken.namespace];
        let list = self.kubectl(kubectl, &arguments).await?;
        if !String::from_utf8_lossy(&list).contains("helm.sh/release.v1") {
            return Ok(None);
        }
        self.write("storage.yaml", &list)?;
        Ok(Some(self.folder.join("storage.yaml")))
    }

    async fn support_bundle(&self, bundler: &Path) -> Result<PathBuf, String> {
        self.write("spec.yaml", SPEC.replace("NAMESPACE", self.broken.namespace).as_bytes())?;
        let bundle = self.folder.join("bundle.tar.gz");
        let command = self
            .program(bundler, &["--interactive=false"])
            .arg("--output")
            .arg(&bundle)
            .arg(self.folder.join("spec.yaml"));
        // It tells by its status what its own analysers think.
        let output = command
            .run_any_status(&CancellationToken::new())
            .await
            .map_err(|error| error.to_string())?;
        if bundle.exists() {
            return Ok(bundle);
        }
        Err(format!(
            "the support-bundle program wrote nothing: {}",
            String::from_utf8_lossy(&output.stderr)
        ))
    }

    fn import(&self, path: &Path) -> Asked {
        let options = import::Options::new(Some(self.broken.namespace.to_owned()), [1; 32]);
        let mut imported = import::read(path, &options).map_err(|error| error.to_string())?;
        let timeline = imported.timelines.next().ok_or("nothing was imported")?;
        Ok(look::of(timeline))
    }
}
