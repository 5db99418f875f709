//! What `up`, `down`, `clean` and `doctor` have in common: progress while they work, one answer at the end, and their exit codes.

use std::future::Future;

use super::failure::Failure;
use super::terminal::put;
use super::up::ProvisionError;
use super::{Context, clean, doctor, down, up};
use crate::cluster::ClusterError;
use crate::events::Events;
use crate::exit_code::{self, ExitCode};
use crate::report::human::{Mode, Reporter};
use crate::toolchain::ToolchainError;

pub async fn up(args: &up::Args, context: &Context) -> Result<ExitCode, Failure> {
    let toolchain = context.toolchain(args.node_image.clone());
    answer(context, |events| async move {
        up::run(args, &toolchain, &events, &context.interrupt.cancel).await
    })
    .await
}

pub async fn down(args: &down::Args, context: &Context) -> Result<ExitCode, Failure> {
    let toolchain = context.toolchain(None);
    answer(context, |events| async move {
        down::run(args, &toolchain, &events, &context.interrupt.cancel).await
    })
    .await
}

pub async fn clean(args: &clean::Args, context: &Context) -> Result<ExitCode, Failure> {
    let toolchain = context.toolchain(None);
    answer(context, |events| async move {
        clean::run(args, &toolchain, &events, &context.interrupt.cancel).await
    })
    .await
}

pub async fn doctor(args: &doctor::Args, context: &Context) -> Result<ExitCode, Failure> {
    let examination = doctor::run(args, &context.toolchain(None), &context.interrupt.cancel).await;
    put(&format!("{}\n", examination.text.trim_end()))?;
    Ok(if examination.well { exit_code::PASS } else { exit_code::RESOURCES })
}

/// Shows the progress of a command, and then what it answers.
async fn answer<F>(context: &Context, command: impl FnOnce(Events) -> F) -> Result<ExitCode, Failure>
where
    F: Future<Output = Result<String, ProvisionError>>,
{
    let answer = with_progress(context, command).await?;
    put(&format!("{answer}\n"))?;
    Ok(exit_code::PASS)
}

/// Shows progress while something is done; everything of it stands there when this returns.
pub async fn with_progress<F, T, E>(context: &Context, work: impl FnOnce(Events) -> F) -> Result<T, Failure>
where
    F: Future<Output = Result<T, E>>,
    Failure: From<E>,
{
    let (events, receiver) = Events::channel();
    context.interrupt.tell(&events);
    let terminal = context.terminal;
    let reporter = Reporter::start(receiver, Mode::detect(false, terminal.dumb), terminal.err);
    let done = work(events).await;
    reporter.finish().await;
    Ok(done?)
}

impl From<ProvisionError> for Failure {
    fn from(error: ProvisionError) -> Self {
        let exit = match &error {
            ProvisionError::Toolchain(error) => of_toolchain(error),
            ProvisionError::Cluster(error) => of_cluster(error),
            ProvisionError::Flux(_) => exit_code::CLUSTER,
        };
        Self::new(exit, error.to_string())
    }
}

fn of_toolchain(error: &ToolchainError) -> ExitCode {
    match error {
        ToolchainError::NotRoot { .. }
        | ToolchainError::Unsupported { .. }
        | ToolchainError::EngineElsewhere { .. }
        | ToolchainError::EngineRefuses { .. }
        | ToolchainError::EngineEnded { .. }
        | ToolchainError::EngineSilent { .. } => exit_code::DOCKER,
        ToolchainError::Disk { .. } => exit_code::RESOURCES,
        ToolchainError::Interrupted => exit_code::INTERRUPTED,
        _ => exit_code::TOOLCHAIN,
    }
}

fn of_cluster(error: &ClusterError) -> ExitCode {
    match error {
        ClusterError::Name { .. } => exit_code::USAGE,
        ClusterError::Foreign { .. } | ClusterError::NotOurs { .. } => exit_code::FOREIGN,
        ClusterError::Docker { .. } | ClusterError::DockerAnswer { .. } => exit_code::DOCKER,
        ClusterError::Addresses { .. } | ClusterError::Preflight { .. } => exit_code::RESOURCES,
        ClusterError::Twice { first, .. } => of_cluster(first),
        error if error.interrupted() => exit_code::INTERRUPTED,
        _ => exit_code::CLUSTER,
    }
}
