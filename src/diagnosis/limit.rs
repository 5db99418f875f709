//! The remedy for a limit that was too tight.

use jiff::SignedDuration;

use crate::remedy::Remedy;

/// Raises a limit to at least one and a half times of what was needed, or of the limit itself where the need is not known. Parameters:
/// `at_least`, `budget` and, where it is known, `need`, all in whole seconds.
pub fn raise(kind: &str, what: &str, budget: SignedDuration, need: Option<SignedDuration>) -> Remedy {
    // Half as much again, rounded up: what was just enough once is too little the next time.
    let at_least = (need.unwrap_or(budget).as_millis().unsigned_abs() * 3).div_ceil(2000);
    let remedy = Remedy::new(kind, format!("raise {what} to at least {at_least}s"))
        .with("at_least", format!("{at_least}s"))
        .with("budget", format!("{}s", budget.as_secs()));
    match need {
        Some(need) => remedy.with("need", format!("{}s", need.as_millis().unsigned_abs().div_ceil(1000))),
        None => remedy,
    }
}
