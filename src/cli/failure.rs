//! What a command ends with when it cannot do what was asked for.

use std::fmt;

use super::terminal;
use crate::exit_code::{self, ExitCode};
use crate::report::WriteError;
use crate::report::text::Paint;

/// An error for a person: one sentence, perhaps what to do about it, and the exit code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub exit: ExitCode,
    pub message: String,
    pub hint: Option<String>,
}

impl Failure {
    pub fn new(exit: ExitCode, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
            hint: None,
        }
    }

    /// A wrong argument.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(exit_code::USAGE, message)
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Puts it on standard error.
    pub fn print(&self, paint: Paint) {
        terminal::complain(&format!("{} {}", paint.red("error:"), self.message));
        if let Some(hint) = &self.hint {
            terminal::complain(&format!("{} {hint}", paint.cyan(" hint:")));
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

impl From<WriteError> for Failure {
    fn from(error: WriteError) -> Self {
        Self::new(exit_code::OUTPUT, error.to_string()).hint("name another folder with --report")
    }
}

/// The known name that looks most like the one that was given, if any does.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(name, candidate), candidate))
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// `there is no scenario `x`; did you mean `y`?`, as a wrong argument.
pub fn unknown<'a>(what: &str, name: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> Failure {
    if let Some(nearest) = nearest(name, known.clone()) {
        return Failure::usage(format!("there is no {what} `{name}`; did you mean `{nearest}`?"));
    }
    let mut known: Vec<&str> = known.into_iter().collect();
    known.sort_unstable();
    known.dedup();
    let message = format!("there is no {what} `{name}`");
    match known.len() {
        0 => Failure::usage(message),
        1..=8 => Failure::usage(format!("{message}; there is {}", known.join(", "))),
        _ => Failure::usage(message).hint("`rekindle list` shows what there is"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_offered() {
        let known = ["helm-3", "helm-4", "flux-2.9"];
        assert_eq!(
            unknown("engine", "hlm-4", known).message,
            "there is no engine `hlm-4`; did you mean `helm-4`?"
        );
        assert_eq!(
            unknown("engine", "argo", known).message,
            "there is no engine `argo`; there is flux-2.9, helm-3, helm-4"
        );
        assert_eq!(unknown("engine", "argo", []).message, "there is no engine `argo`");
    }
}
