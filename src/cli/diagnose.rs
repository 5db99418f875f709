//! `rekindle diagnose`: what can be said of a namespace as it is now, in any cluster that is named, or of a file.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{ArgGroup, Args, ValueEnum};
use futures::{StreamExt, stream};
use k8s_openapi::api::core::v1::Namespace;
use kube::Client;
use kube::api::Api;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Config, Error};

use super::Context;
use super::failure::Failure;
use super::terminal::{complain, put};
use crate::evidence::{Names, Recording, scrubbed};
use crate::exit_code::{self, ExitCode};
use crate::import::{self, ImportError};
use crate::look::{self, Looked, Subject};
use crate::report;

const EXAMPLES: &str = "\
Examples:
  rekindle diagnose -n openhands --context prod                  what is wrong in this namespace, and why
  rekindle diagnose -A --context prod                            in every namespace
  rekindle diagnose -n openhands --release web --context prod    with one release
  rekindle diagnose -n openhands --context prod --save FILE      and keep what was seen, for `replay` and `diff`
  rekindle diagnose -n openhands --context prod --format markdown   to paste into an issue
  rekindle diagnose --from bundle.tar.gz                         what somebody has exported

It only reads, with the rights of the account that the context names: objects, events, Helm's release records and the ends of the logs \
of containers that are not well. Values of Secrets are replaced by their length and a hash before anything is looked at. What may not be \
read is listed. It answers with 0 whatever it finds; with --exit-code, with 1 where a cause is certain.";

/// How many namespaces are looked at at once.
const AT_ONCE: usize = 4;
/// How long the cluster may take to say that it is there.
const ANSWER: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Cause chains for people
    #[default]
    Human,
    /// The diagnosis as in report.json
    Json,
    /// To paste into an issue
    Markdown,
    /// Annotations of a GitHub workflow
    Github,
    /// SARIF 2.1.0, for code scanning
    Sarif,
}

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, group(ArgGroup::new("subject")))]
pub struct DiagnoseArgs {
    /// The namespace to look at [default: the context's, as with kubectl]
    #[arg(long, short, value_name = "NAMESPACE")]
    namespace: Option<String>,
    /// Look at every namespace
    #[arg(long, short = 'A', conflicts_with_all = ["namespace", "subject"])]
    all_namespaces: bool,
    /// Only what concerns this Helm release
    #[arg(long, value_name = "NAME", group = "subject")]
    release: Option<String>,
    /// Only what concerns this HelmRelease of Flux's
    #[arg(long, value_name = "NAME", group = "subject")]
    helmrelease: Option<String>,
    /// Only what concerns this Kustomization of Flux's
    #[arg(long, value_name = "NAME", group = "subject")]
    kustomization: Option<String>,
    /// The context of the kubeconfig: a cluster is looked at only where it is named
    #[arg(long, value_name = "NAME", required_unless_present = "from")]
    context: Option<String>,
    /// The kubeconfig [default: as kubectl finds it]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Read what somebody exported instead: a cluster-info dump, what `kubectl get -o yaml` printed, a support bundle, a must-gather, Helm's
    /// storage Secrets, or a recording; a file, a folder, or `-` for standard input
    #[arg(long, value_name = "PATH", conflicts_with_all = ["context", "kubeconfig", "all_namespaces", "save"])]
    from: Option<PathBuf>,
    /// Write what was seen to a file, as `record` does
    #[arg(long, value_name = "FILE", conflicts_with = "all_namespaces")]
    save: Option<PathBuf>,
    /// Put stand-ins in the place of names, the same one for the same name everywhere: of namespaces, objects, hosts, images and labels; in
    /// what is printed and in what is saved
    #[arg(long)]
    redact_names: bool,
    /// What to print
    #[arg(long, short = 'o', visible_alias = "output", value_enum, default_value_t)]
    format: Output,
    /// Answer with 1 where a cause is certain
    #[arg(long)]
    exit_code: bool,
}

/// Which cluster is meant.
#[derive(Debug, Clone)]
pub struct To {
    context: Option<String>,
    kubeconfig: Option<PathBuf>,
    once: bool,
}

impl To {
    /// A context that is named, or the one that a command of the user's takes anyway.
    pub fn new(context: Option<String>, kubeconfig: Option<PathBuf>) -> Self {
        Self {
            context,
            kubeconfig,
            once: false,
        }
    }

    /// Leaves it to whoever asks to ask again where the API is busy: a look has less time than the client would take.
    fn once(self) -> Self {
        Self { once: true, ..self }
    }
}

impl DiagnoseArgs {
    fn subject(&self) -> Option<Subject> {
        let release = self.release.clone().map(Subject::Release);
        let helm_release = || self.helmrelease.clone().map(Subject::HelmRelease);
        let kustomization = || self.kustomization.clone().map(Subject::Kustomization);
        release.or_else(helm_release).or_else(kustomization)
    }
}

/// Looks once, and prints what can be said.
pub async fn run(args: &DiagnoseArgs, context: &Context) -> Result<ExitCode, Failure> {
    let mut looks = match &args.from {
        Some(path) => exported(path, args)?,
        None => live(args, context).await?,
    };
    let subject = args.subject();
    if let Some(subject) = &subject {
        narrow(&mut looks, subject)?;
    }
    if args.redact_names {
        let names = Names::of(looks.iter().map(|look| &look.timeline));
        looks = looks.into_iter().map(|look| look::of(names.timeline(look.timeline))).collect();
        if let Some(subject) = &subject {
            narrow(&mut looks, &subject.renamed(&names))?;
        }
    }
    if let (Some(file), [look]) = (&args.save, looks.as_slice()) {
        Recording::of(&look.timeline, serde_json::to_value(&look.diagnosis).ok()).write(file)?;
    }
    put(&text(args.format, &looks, context)?)?;
    let found = looks.iter().any(|look| !look.diagnosis.causes.is_empty());
    Ok(if args.exit_code && found {
        exit_code::FOUND
    } else {
        exit_code::PASS
    })
}

fn narrow(looks: &mut [Looked], subject: &Subject) -> Result<(), Failure> {
    for look in looks {
        let unknown = |names: Vec<String>| super::failure::unknown(subject.kind(), subject.name(), names.iter().map(String::as_str));
        look.narrow(subject).map_err(unknown)?;
    }
    Ok(())
}

/// What an export holds, each of its namespaces. What it was taken for is told on standard error.
fn exported(path: &Path, args: &DiagnoseArgs) -> Result<Vec<Looked>, Failure> {
    let imported = import::read(path, &import::Options::new(args.namespace.clone(), key()?))?;
    complain(&format!("{} was read as {}", path.display(), imported.format));
    // Names, and what belongs to a release, are found in all that was seen.
    let whole = args.redact_names || args.subject().is_some();
    let looked = |timeline| if whole { look::of(timeline) } else { look::of(timeline).lean() };
    Ok(imported.timelines.map(looked).collect())
}

/// What is to be seen in the cluster that was named.
async fn live(args: &DiagnoseArgs, context: &Context) -> Result<Vec<Looked>, Failure> {
    let target = Target::open(&To::new(args.context.clone(), args.kubeconfig.clone()).once()).await?;
    let version = target.version().await?;
    let looking = async {
        if args.all_namespaces {
            let names = target.in_time(look::namespaces(&target.client)).await?;
            let names = names.map_err(|error| target.refused("its namespaces could not be listed, which -A needs", &error))?;
            let looks = names.into_iter().map(|name| look_at(&target, name, &version));
            stream::iter(looks)
                .buffered(AT_ONCE)
                .collect::<Vec<_>>()
                .await
                .into_iter()
                .collect()
        } else {
            let namespace = args.namespace.clone().unwrap_or_else(|| target.namespace.clone());
            target.check(&namespace).await?;
            Ok(vec![look_at(&target, namespace, &version).await?])
        }
    };
    let interrupted = || Failure::new(exit_code::INTERRUPTED, "it was interrupted before the look was complete".to_owned());
    tokio::select! {
        looks = looking => looks,
        () = context.interrupt.cancel.cancelled() => Err(interrupted()),
    }
}

fn key() -> Result<[u8; 32], Failure> {
    crate::trial::key().map_err(|error| Failure::new(exit_code::INTERNAL, format!("there is no randomness: {error}")))
}

async fn look_at(target: &Target, namespace: String, version: &str) -> Result<Looked, Failure> {
    Ok(look::look(&target.client, &namespace, version, key()?).await)
}

/// The answer in the form that was asked for.
pub fn text(output: Output, looks: &[Looked], context: &Context) -> Result<String, Failure> {
    let (columns, paint) = (context.terminal.page(), context.terminal.out);
    Ok(match (output, looks) {
        (Output::Human, [look]) => report::look::render(&look.evidence, &look.diagnosis, columns, paint),
        (Output::Human, looks) => report::look::many(looks, columns, paint),
        (Output::Json, [look]) => super::replay::json(&look.diagnosis)?,
        (Output::Json, looks) => super::replay::json(&report::look::by_namespace(looks))?,
        (Output::Markdown, looks) => report::look::issue::render(looks),
        (Output::Github, looks) => report::look::github::render(looks),
        (Output::Sarif, looks) => super::replay::json(&report::look::sarif::of(looks))?,
    })
}

impl From<ImportError> for Failure {
    fn from(error: ImportError) -> Self {
        match error {
            ImportError::Recording(error) => error.into(),
            ImportError::Missing { .. } | ImportError::Special { .. } | ImportError::Namespace { .. } => Self::usage(error.to_string()),
            ImportError::Read { .. } => Self::new(exit_code::OUTPUT, error.to_string()),
            ImportError::Foreign { .. } | ImportError::CutOff { .. } => Self::new(exit_code::RECORDING, error.to_string()),
        }
    }
}

/// A cluster that was named.
pub struct Target {
    pub client: Client,
    context: String,
    /// The context's own.
    pub namespace: String,
}

impl Target {
    /// Opens the context.
    ///
    /// # Errors
    /// Where the kubeconfig has no such context, or cannot be used.
    pub async fn open(to: &To) -> Result<Self, Failure> {
        let usable = |error: kube::config::KubeconfigError| {
            // What a helper for credentials has printed may stand in it.
            Failure::usage(format!("the kubeconfig cannot be used: {}", scrubbed(&error.to_string())))
        };
        let kubeconfig = match &to.kubeconfig {
            Some(path) => Kubeconfig::read_from(path),
            None => Kubeconfig::read(),
        };
        let kubeconfig = kubeconfig.map_err(usable)?;
        let named = to.context.as_ref().or(kubeconfig.current_context.as_ref()).cloned();
        let context = named.ok_or_else(|| Failure::usage("the kubeconfig has no current context").hint("name one with --context"))?;
        let known: Vec<&str> = kubeconfig.contexts.iter().map(|context| context.name.as_str()).collect();
        if !known.contains(&context.as_str()) {
            return Err(super::failure::unknown("context", &context, known));
        }
        let options = KubeConfigOptions {
            context: Some(context.clone()),
            ..KubeConfigOptions::default()
        };
        let mut config = Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(usable)?;
        config.default_retry &= !to.once;
        let namespace = config.default_namespace.clone();
        let client = Client::try_from(config).map_err(|error| Failure::usage(format!("the context {context} cannot be used: {error}")))?;
        Ok(Self {
            client,
            context,
            namespace,
        })
    }

    /// What it answers, if it does so in time.
    async fn in_time<T>(&self, asked: impl Future<Output = T>) -> Result<T, Failure> {
        let answered = tokio::time::timeout(ANSWER, asked).await;
        answered.map_err(|_| {
            let seconds = ANSWER.as_secs();
            let context = &self.context;
            Failure::new(
                exit_code::CLUSTER,
                format!("the cluster of context {context} did not answer within {seconds}s"),
            )
        })
    }

    /// The version of its API server. Whoever may not ask for it may still look.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn version(&self) -> Result<String, Failure> {
        match self.in_time(self.client.apiserver_version()).await? {
            Ok(version) => Ok(version.git_version),
            Err(Error::Api(_)) => Ok("of an unknown version".to_owned()),
            Err(error) => Err(self.unreachable(&error)),
        }
    }

    /// Fails where there is no such namespace. Whoever may not read namespaces may still read what is in one.
    ///
    /// # Errors
    /// When it does not exist, or the cluster does not answer.
    pub async fn check(&self, namespace: &str) -> Result<(), Failure> {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        match self.in_time(namespaces.get_opt(namespace)).await? {
            Ok(None) => Err(Failure::usage(format!(
                "the cluster of context {} has no namespace {namespace}",
                self.context
            ))),
            Ok(Some(_)) | Err(Error::Api(_)) => Ok(()),
            Err(error) => Err(self.unreachable(&error)),
        }
    }

    fn unreachable(&self, error: &Error) -> Failure {
        self.refused("it does not answer", error)
    }

    fn refused(&self, what: &str, error: &Error) -> Failure {
        Failure::new(
            exit_code::CLUSTER,
            format!("the cluster of context {}: {what}: {}", self.context, scrubbed(&error.to_string())),
        )
    }
}
