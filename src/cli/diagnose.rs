//! `rekindle diagnose`: what can be said of a namespace as it is now, in any cluster that is named.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::Api;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use super::Context;
use super::failure::Failure;
use super::run::Format;
use super::terminal::put;
use crate::diagnosis::detectors::DETECTORS;
use crate::evidence::{Collector, Header, Recorder, Timeline};
use crate::exit_code::{self, ExitCode};
use crate::report;
use crate::trial::watch::Watch;
use crate::wait::{Seen, WaitError, until};

const EXAMPLES: &str = "\
Examples:
  rekindle diagnose -n openhands --context prod               what is wrong in this namespace, and why
  rekindle diagnose -n openhands --context prod --format json | jq '.causes[].slug'

It only reads, with the rights of the account that the context names: objects, events, Helm's release records and the logs of \
unfinished containers. Values of Secrets are replaced by their length and a hash before anything is looked at.";

/// Nothing new for so long, and the first look is complete.
const QUIET: Duration = Duration::from_millis(400);
/// How long logs and names may take after all objects were listed.
const LOOK_AROUND: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(20);

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct DiagnoseArgs {
    /// The namespace to look at
    #[arg(long, short, value_name = "NAMESPACE", default_value = "default")]
    namespace: String,
    /// The context of the kubeconfig: a cluster is looked at only where it is named
    #[arg(long, value_name = "NAME")]
    context: String,
    /// The kubeconfig [default: as kubectl finds it]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// What to print
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Looks once, and prints what can be said.
pub async fn run(args: &DiagnoseArgs, context: &Context) -> Result<ExitCode, Failure> {
    let client = open(args).await?;
    let unreachable = |error: kube::Error| {
        let message = format!("the cluster of context {} does not answer: {error}", args.context);
        Failure::new(exit_code::CLUSTER, message)
    };
    let version = client.apiserver_version().await.map_err(unreachable)?;
    let namespaces: Api<Namespace> = Api::all(client.clone());
    match namespaces.get_opt(&args.namespace).await {
        Ok(None) => {
            let message = format!("the cluster of context {} has no namespace {}", args.context, args.namespace);
            return Err(Failure::usage(message));
        }
        // Whoever may not read namespaces may still read what is in one.
        Ok(Some(_)) | Err(kube::Error::Api(_)) => {}
        Err(error) => return Err(unreachable(error)),
    }
    let header = Header {
        format: Header::FORMAT,
        recorder: concat!("rekindle ", env!("CARGO_PKG_VERSION")).to_owned(),
        observed_at: Timestamp::now(),
        namespace: args.namespace.clone(),
        kubernetes_version: version.git_version,
        watched: Vec::new(),
        notes: std::collections::BTreeMap::new(),
    };
    let key = crate::trial::key().map_err(|error| Failure::new(exit_code::INTERNAL, format!("there is no randomness: {error}")))?;
    let recorder = Recorder::resume(Timeline::begin(header), key);
    let watch = Watch::start(recorder.clone(), DETECTORS, |_, _| {});
    let collector = Collector::start(&client, &args.namespace, &recorder)
        .await
        .map_err(|error| Failure::new(exit_code::CLUSTER, error.to_string()))?;
    let mut quiet = (recorder.len(), Instant::now());
    let looked = until("the end of the first look", LOOK_AROUND, LOOK, &context.interrupt.cancel, || {
        let (noted, seen) = (recorder.len(), watch.entries());
        if noted != quiet.0 {
            quiet = (noted, Instant::now());
        }
        let done = seen == noted && quiet.1.elapsed() >= QUIET;
        async move {
            if done {
                Seen::Done(())
            } else {
                Seen::NotYet(format!("{seen} of {noted} entries were looked at"))
            }
        }
    });
    if let Err(WaitError::Interrupted { .. }) = looked.await {
        return Err(Failure::new(
            exit_code::INTERRUPTED,
            "it was interrupted before the first look was complete".to_owned(),
        ));
    }
    let diagnosis = watch.conclude();
    drop(collector);
    let text = match args.format {
        Format::Human => {
            let (columns, paint) = (context.terminal.page(), context.terminal.out);
            watch.read(|evidence, _| report::look::render(evidence, &diagnosis, columns, paint))
        }
        Format::Json => super::replay::json(&diagnosis)?,
    };
    put(&text)?;
    Ok(exit_code::PASS)
}

async fn open(args: &DiagnoseArgs) -> Result<Client, Failure> {
    let usable = |error: kube::config::KubeconfigError| Failure::usage(format!("the kubeconfig cannot be used: {error}"));
    let kubeconfig = match &args.kubeconfig {
        Some(path) => Kubeconfig::read_from(path),
        None => Kubeconfig::read(),
    };
    let kubeconfig = kubeconfig.map_err(usable)?;
    let known: Vec<&str> = kubeconfig.contexts.iter().map(|context| context.name.as_str()).collect();
    if !known.contains(&args.context.as_str()) {
        return Err(super::failure::unknown("context", &args.context, known));
    }
    let options = KubeConfigOptions {
        context: Some(args.context.clone()),
        ..KubeConfigOptions::default()
    };
    let config = Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(usable)?;
    Client::try_from(config).map_err(|error| Failure::usage(format!("the context {} cannot be used: {error}", args.context)))
}
