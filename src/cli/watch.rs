//! `rekindle watch`: runs or follows an engine, shows what it waits for, and names the cause as soon as it is certain.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{ArgGroup, Args};
use jiff::Timestamp;
use tokio::sync::mpsc::unbounded_channel;

use super::Context;
use super::diagnose::{Target, To};
use super::failure::Failure;
use super::terminal::complain;
use crate::command::{Command, Stream};
use crate::evidence::{EngineStart, Header, Recorder, Recording};
use crate::exit_code::{self, ExitCode};
use crate::follow::helm_line::HelmLine;
use crate::follow::{Follow, FollowError, Followed, Told};
use crate::look::Subject;
use crate::report::chain::{self, Timing};
use crate::report::text::{tame, wrap};
use crate::scenario::duration::Span;

const EXAMPLES: &str = "\
Examples:
  rekindle watch -- helm upgrade --install web ./chart -n shop --wait   Helm as always, and beside it why it waits
  rekindle watch --stop-when-hopeless -- helm install …                 end a wait that cannot succeed
  rekindle watch --helmrelease web -n shop --context prod               what Flux is doing with it
  rekindle watch --release web -n shop --context prod                   a release that somebody else is installing

What Helm prints and its exit code are its own; rekindle writes to standard error, with `rekindle:` before each line. It only reads.";

/// How long a command may take beyond its own timeout: each hook gets that anew.
const DEADLINE: Duration = Duration::from_hours(6);
/// How long the question for Helm's version may take.
const ASKED: Duration = Duration::from_secs(20);

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, group(ArgGroup::new("followed").required(true)))]
pub struct WatchArgs {
    /// Follow this Helm release
    #[arg(long, value_name = "NAME", group = "followed", requires = "context")]
    release: Option<String>,
    /// Follow this HelmRelease of Flux's
    #[arg(long, value_name = "NAME", group = "followed", requires = "context")]
    helmrelease: Option<String>,
    /// Follow this Kustomization of Flux's
    #[arg(long, value_name = "NAME", group = "followed", requires = "context")]
    kustomization: Option<String>,
    /// The namespace [default: the context's, or the command's own]
    #[arg(long, short, value_name = "NAMESPACE")]
    namespace: Option<String>,
    /// The context of the kubeconfig [default: the one that the command uses]
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// The kubeconfig [default: as kubectl finds it]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// End the wait once it cannot succeed any more
    #[arg(long)]
    stop_when_hopeless: bool,
    /// How long to follow what somebody else runs
    #[arg(long, value_name = "TIME", default_value = "30m", value_parser = Span::parse)]
    timeout: Span,
    /// Write what was seen to a file, as `record` does
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// Helm, and what it is told
    #[arg(last = true, value_name = "COMMAND", group = "followed")]
    command: Vec<String>,
}

/// Follows to the end; answers with the engine's own exit code where there is one.
pub async fn run(args: WatchArgs, context: &Context) -> Result<ExitCode, Failure> {
    let (told, mut news) = unbounded_channel();
    let (columns, paint) = (context.terminal.page(), context.terminal.err);
    let telling = tokio::spawn(async move {
        while let Some(told) = news.recv().await {
            say(&told, columns, paint);
        }
    });
    let followed = match args.command.split_first() {
        Some((program, words)) => helm(&args, program, words, told, context).await?,
        None => subject(&args, told, context).await?,
    };
    // The follower was the last to tell; what it told stands there before the end does.
    let _ = telling.await;
    if let Some(file) = &args.save {
        Recording::of(&followed.timeline, serde_json::to_value(&followed.diagnosis).ok()).write(file)?;
    }
    conclude(&followed, columns, context);
    if let Some(unfinished) = followed.unfinished {
        return Err(Failure::new(exit_code::CLUSTER, unfinished));
    }
    let failed = if followed.succeeded { exit_code::PASS } else { exit_code::FOUND };
    let own = followed.exit_code.and_then(|code| u8::try_from(code).ok());
    Ok(own.map_or(failed, |code| ExitCode { code, ..failed }))
}

async fn subject(args: &WatchArgs, told: tokio::sync::mpsc::UnboundedSender<Told>, context: &Context) -> Result<Followed, Failure> {
    let subject = None
        .or_else(|| args.release.clone().map(Subject::Release))
        .or_else(|| args.helmrelease.clone().map(Subject::HelmRelease))
        .or_else(|| args.kustomization.clone().map(Subject::Kustomization))
        .ok_or_else(|| Failure::usage("there is nothing to follow"))?;
    let target = Target::open(&To::new(args.context.clone(), args.kubeconfig.clone())).await?;
    let namespace = args.namespace.clone().unwrap_or_else(|| target.namespace.clone());
    target.check(&namespace).await?;
    let follow = follow(args, &target, &namespace, told).await?;
    Ok(follow.subject(&subject, args.timeout.0, &context.interrupt.cancel).await?)
}

async fn helm(
    args: &WatchArgs,
    program: &str,
    words: &[String],
    told: tokio::sync::mpsc::UnboundedSender<Told>,
    context: &Context,
) -> Result<Followed, Failure> {
    let is_helm = Path::new(program)
        .file_name()
        .is_some_and(|name| name.to_string_lossy().contains("helm"));
    let line = HelmLine::read(words).filter(|_| is_helm).ok_or_else(|| {
        Failure::usage("the command is neither `helm install` nor `helm upgrade`")
            .hint("to follow something else, use --release, --helmrelease or --kustomization")
    })?;
    let release = line
        .release
        .clone()
        .ok_or_else(|| Failure::usage("the release has no name: whoever is to be followed needs one; do not use --generate-name"))?;
    let cancel = &context.interrupt.cancel;
    let asked = Command::new(program, ASKED).args(["version", "--short"]).run(cancel).await;
    let version = asked.map_err(|error| Failure::usage(error.to_string()))?.text();
    let version = version.split('+').next().unwrap_or_default().to_owned();
    let major = if version.starts_with("v3") { 3 } else { 4 };
    let named = args.context.clone().or_else(|| line.context.clone());
    let kubeconfig = args.kubeconfig.clone().or_else(|| line.kubeconfig.clone().map(PathBuf::from));
    let target = Target::open(&To::new(named, kubeconfig)).await?;
    let namespace = line
        .namespace
        .clone()
        .or_else(|| args.namespace.clone())
        .unwrap_or_else(|| target.namespace.clone());
    let follow = follow(args, &target, &namespace, told).await?;
    let start = EngineStart {
        engine: format!("helm-{major}"),
        version,
        operation: line.operation.clone(),
        release,
        namespace,
        wait: line.waits(major).to_owned(),
        wait_for_jobs: line.wait_for_jobs,
        timeout_ms: u64::try_from(line.timeout.as_millis()).unwrap_or(u64::MAX),
        kustomization: false,
    };
    let command = Command::new(program, DEADLINE).args(words);
    Ok(follow.command(start, line.or_install, command, print, cancel).await?)
}

async fn follow(
    args: &WatchArgs,
    target: &Target,
    namespace: &str,
    told: tokio::sync::mpsc::UnboundedSender<Told>,
) -> Result<Follow, Failure> {
    let header = Header {
        kubernetes_version: target.version().await?,
        ..Header::begin(namespace, Timestamp::now())
    };
    let key = crate::trial::key().map_err(|error| Failure::new(exit_code::INTERNAL, format!("there is no randomness: {error}")))?;
    Ok(Follow {
        client: target.client.clone(),
        namespace: namespace.to_owned(),
        recorder: Recorder::new(header, key),
        told,
        stop_when_hopeless: args.stop_when_hopeless,
    })
}

/// What the engine prints goes where it would have gone.
fn print(stream: Stream, text: &str) {
    // Nobody reading any more is for the engine to notice, and it does not.
    let _ = match stream {
        Stream::Stdout => writeln!(std::io::stdout(), "{text}"),
        Stream::Stderr => writeln!(std::io::stderr(), "{text}"),
    };
}

fn say(told: &Told, columns: usize, paint: crate::report::text::Paint) {
    let columns = columns.saturating_sub(PREFIX.len());
    let text = match told {
        Told::Waiting(lines) => lines.iter().map(|line| tame(line)).collect::<Vec<_>>().join(", because "),
        Told::Mended => "what was wrong is so no more".to_owned(),
        Told::Certain {
            diagnosis,
            known_after,
            left,
        } => {
            let ms = |duration: &jiff::SignedDuration| u64::try_from(duration.as_millis()).ok();
            let timing = Timing {
                known_ms: known_after.as_ref().and_then(ms),
                left_ms: left.as_ref().and_then(ms),
                gave_up: false,
            };
            prefixed(&chain::diagnosis(diagnosis, timing, columns, paint));
            return;
        }
    };
    prefixed(&wrap(&text, columns).join("\n"));
}

const PREFIX: &str = "rekindle: ";

fn prefixed(text: &str) {
    for line in text.lines() {
        complain(format!("{PREFIX}{line}").trim_end());
    }
}

fn conclude(followed: &Followed, columns: usize, context: &Context) {
    if followed.stopped {
        prefixed("it could not succeed any more, and was ended");
    }
    if followed.succeeded || !followed.diagnosis.causes.is_empty() && followed.stopped {
        return;
    }
    prefixed(&crate::report::look::render(
        &followed.evidence,
        &followed.diagnosis,
        columns.saturating_sub(PREFIX.len()),
        context.terminal.err,
    ));
}

impl From<FollowError> for Failure {
    fn from(error: FollowError) -> Self {
        let exit = match &error {
            FollowError::Collect(_) => exit_code::CLUSTER,
            FollowError::Command(_) => exit_code::USAGE,
            FollowError::Interrupted => exit_code::INTERRUPTED,
        };
        Self::new(exit, error.to_string())
    }
}
