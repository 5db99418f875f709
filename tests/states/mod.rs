//! Live states: manifests without any engine, looked at with the program as a person would on a cluster that is not ours.
//!
//! A broken state has to be diagnosed with exactly the causes that it expects, and with no other one at any look; a healthy one, which is
//! the near miss, with none at any look, until it has settled and once more after that.

use std::path::{Path, PathBuf};
use std::time::Duration;

use kube::config::Kubeconfig;
use libtest_mimic::Failed;
use rekindle::command::Command;
use rekindle::diagnosis::Diagnosis;
use rekindle::report::chain;
use rekindle::report::text::Paint;
use rekindle::scenario::State;
use rekindle::trial::LiveState;
use rekindle::wait::{Seen, until};
use tokio_util::sync::CancellationToken;

/// Where the states of the repository are.
pub const STATES: &str = "tests/states";
/// What the last look at each state saw. Those beside the states were copied from here.
const RECORDINGS: &str = "target/recordings/states";
/// How long one look may take.
const LOOK: Duration = Duration::from_secs(30);
/// From the end of one look to the next.
const AGAIN: Duration = Duration::from_secs(1);

/// Looks until everything has been seen that is expected.
pub async fn judge(state: &State, live: &LiveState, kubeconfig: &Path, cancel: &CancellationToken) -> Result<(), Failed> {
    let context = Kubeconfig::read_from(kubeconfig)?
        .current_context
        .ok_or("the kubeconfig has no current context")?;
    let what = if state.is_healthy() {
        format!("{state} to settle without any cause")
    } else {
        format!("{state} to be diagnosed as {}", state.expects.join(" and "))
    };
    let look = || async {
        // Asked before the look: what it shows is then at least as settled.
        let unsettled = live.unsettled();
        let diagnosis = match diagnosis(state, &live.namespace, kubeconfig, &context, cancel).await {
            Ok(diagnosis) => diagnosis,
            Err(error) => return Seen::Done(Err(error)),
        };
        let found: Vec<&str> = diagnosis.causes.iter().map(|cause| cause.slug.as_str()).collect();
        let foreign = found.iter().any(|slug| !state.expects.iter().any(|expected| expected == slug));
        if foreign || found.len() > state.expects.len() {
            return Seen::Done(Err(Failed::from(format!(
                "instead of {what}, this was said:\n{}",
                told(&diagnosis)
            ))));
        }
        if unsettled.is_empty() || !state.is_healthy() && state.settled.is_empty() {
            if found == state.expects {
                return Seen::Done(Ok(()));
            }
            return Seen::NotYet(told(&diagnosis));
        }
        Seen::NotYet(format!("{}\n{}", unsettled.join(", "), told(&diagnosis)))
    };
    until(&what, state.deadline, AGAIN, cancel, look).await?
}

/// What the program says of a namespace, asked as a person does; what it saw is kept.
async fn diagnosis(
    state: &State,
    namespace: &str,
    kubeconfig: &Path,
    context: &str,
    cancel: &CancellationToken,
) -> Result<Diagnosis, Failed> {
    let folder = PathBuf::from(RECORDINGS).join(&state.slug);
    std::fs::create_dir_all(&folder)?;
    let output = Command::new(env!("CARGO_BIN_EXE_rekindle"), LOOK)
        .args(["diagnose", "--namespace", namespace, "--context", context, "--format", "json"])
        .arg("--kubeconfig")
        .arg(kubeconfig)
        .arg("--save")
        .arg(folder.join(format!("{}.rekindle", state.name)))
        .run(cancel)
        .await?;
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn told(diagnosis: &Diagnosis) -> String {
    match chain::diagnosis(diagnosis, chain::Timing::default(), 100, Paint(false)) {
        text if text.trim().is_empty() => "nothing is wrong".to_owned(),
        text => text,
    }
}
