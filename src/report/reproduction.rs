//! What stands on the screen after a step of `rekindle reproduce`.

use super::shell::quoted;
use super::summary::{WIDEST, details, engine_words, remedy, rule, verdict};
use super::text::{Paint, pad, width};
use crate::cluster;
use crate::outcome::Verdict;
use crate::reproduce::{Place, Reached, Session};

/// What the engine said, and not why.
pub fn broken(session: &Session, columns: usize, paint: Paint) -> String {
    let columns = columns.min(WIDEST);
    heading(session, columns, paint) + &engine_words(&session.kept.outcome, columns, paint) + "\n"
}

/// All that is known of it.
pub fn known(session: &Session, columns: usize, paint: Paint) -> String {
    let columns = columns.min(WIDEST);
    heading(session, columns, paint) + &details(&session.kept.outcome, columns, paint) + "\n"
}

/// What was done about it, and what that came to.
pub fn remedied(session: &Session, columns: usize, paint: Paint) -> String {
    let outcome = &session.kept.outcome;
    if !outcome.verdict.passed() {
        return known(session, columns, paint);
    }
    let columns = columns.min(WIDEST);
    heading(session, columns, paint) + &remedy(outcome, columns, paint) + "\n"
}

fn heading(session: &Session, columns: usize, paint: Paint) -> String {
    let outcome = &session.kept.outcome;
    let (word, painted) = match (outcome.verdict, session.reached) {
        (Verdict::Pass, Reached::Begun | Reached::Broken) => ("broken", paint.red("broken")),
        (Verdict::Pass, Reached::Remedied) => ("remedied", paint.green("remedied")),
        (other, _) => (other.as_str(), verdict(other, paint)),
    };
    rule(outcome, word, painted, columns, paint)
}

/// Where it stands, how to look at it, and which steps come next. `diagnosed`: whether the cause was told.
pub fn next(session: &Session, place: &Place, diagnosed: bool, paint: Paint) -> String {
    let scenario = &session.kept.outcome.trial.scenario;
    let named = cluster::named(&session.cluster);
    let mut text = format!(
        "It stays as it is, in namespace {} of the cluster {}. To look at it:\n\n",
        session.kept.namespace, session.cluster
    );
    let path = |path: &std::path::Path| quoted(&path.display().to_string());
    text.push_str(&format!("  export KUBECONFIG={}\n", path(&place.kubeconfig())));
    text.push_str(&format!("  rekindle replay {}\n\nTo go on:\n\n", path(&place.recording())));
    let steps: &[(&str, &str)] = match session.reached {
        Reached::Begun | Reached::Broken if diagnosed => &[("remedy", "apply the diagnosed remedy")],
        Reached::Begun | Reached::Broken => &[("diagnose", "say why it is broken"), ("remedy", "apply the diagnosed remedy")],
        Reached::Remedied => &[("verify", "watch that it stays healthy")],
        Reached::Verified => &[],
    };
    let commands: Vec<(String, &str)> = steps
        .iter()
        .chain(&[("clean", "remove all of it")])
        .map(|(step, what)| (format!("rekindle reproduce {scenario}{named} --step {step}"), *what))
        .collect();
    let widest = commands.iter().map(|(command, _)| width(command)).max().unwrap_or(0);
    for (command, what) in commands {
        text.push_str(&format!("  {}  {}\n", pad(&command, widest), paint.dim(what)));
    }
    text
}
