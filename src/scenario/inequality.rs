//! The inequalities that make a failure happen, checked when a scenario is loaded.
//!
//! `keycloakStart < timeout`, `timeout < 40 * importStep + keycloakStart`: sums of durations, named or written out, each with a whole
//! factor. The left side has to be smaller by at least [`MARGIN`], so that a slow machine does not turn one failure into another.

use std::collections::BTreeMap;
use std::time::Duration;

use super::duration::{Span, human};

/// How much smaller the left side has to be.
pub const MARGIN: Duration = Duration::from_secs(3);

/// One inequality as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inequality {
    text: String,
    smaller: Vec<(u32, Term)>,
    larger: Vec<(u32, Term)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Term {
    Named(String),
    Written(Duration),
}

impl Inequality {
    /// Reads `a + 2 * b < c`.
    ///
    /// # Errors
    /// With what was expected where.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (smaller, larger) = text
            .split_once('<')
            .ok_or_else(|| format!("`{text}` is no inequality; write it like `keycloakStart + 5s < timeout`"))?;
        Ok(Self {
            text: text.trim().to_owned(),
            smaller: sum(smaller)?,
            larger: sum(larger)?,
        })
    }

    /// Whether it holds with these durations.
    ///
    /// # Errors
    /// With the numbers, or the name that is not there.
    pub fn check(&self, durations: &BTreeMap<String, Duration>) -> Result<(), String> {
        let value = |terms: &[(u32, Term)]| -> Result<Duration, String> {
            terms.iter().try_fold(Duration::ZERO, |total, (factor, term)| {
                let duration = match term {
                    Term::Written(duration) => *duration,
                    Term::Named(name) => *durations.get(name).ok_or_else(|| {
                        let known: Vec<_> = durations.keys().map(String::as_str).collect();
                        format!(
                            "`{}` names `{name}`, and there is no such duration; there are {}",
                            self.text,
                            known.join(", ")
                        )
                    })?,
                };
                Ok(total + duration * *factor)
            })
        };
        let (smaller, larger) = (value(&self.smaller)?, value(&self.larger)?);
        if smaller + MARGIN <= larger {
            return Ok(());
        }
        Err(format!(
            "`{}` does not hold with a margin of {}: {} against {}",
            self.text,
            human(MARGIN),
            human(smaller),
            human(larger)
        ))
    }
}

fn sum(side: &str) -> Result<Vec<(u32, Term)>, String> {
    side.split('+')
        .map(|part| {
            let part = part.trim();
            let (factor, term) = match part.split_once('*') {
                Some((factor, term)) => (
                    factor
                        .trim()
                        .parse()
                        .map_err(|_| format!("`{part}`: the factor has to be a whole number"))?,
                    term.trim(),
                ),
                None => (1, part),
            };
            if term.starts_with(|c: char| c.is_ascii_digit()) {
                return Ok((factor, Term::Written(Span::parse(term)?.0)));
            }
            let name = |c: char| c.is_ascii_alphanumeric() || c == '_';
            if term.is_empty() || !term.chars().all(name) {
                return Err(format!("`{part}` is neither the name of a duration nor a duration"));
            }
            Ok((factor, Term::Named(term.to_owned())))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<(), String> {
        let durations = BTreeMap::from([("start", 3), ("step", 1), ("timeout", 20)].map(|(n, s)| (n.to_owned(), Duration::from_secs(s))));
        Inequality::parse(text)?.check(&durations)
    }

    #[test]
    fn holds_with_a_margin() {
        check("start < timeout").unwrap();
        check("timeout < start + 20 * step").unwrap();
        check("start + 14s < timeout").unwrap();
        assert_eq!(
            check("start + 15s < timeout").unwrap_err(),
            "`start + 15s < timeout` does not hold with a margin of 3s: 18s against 20s"
        );
    }

    #[test]
    fn says_what_is_wrong_with_it() {
        for (text, part) in [
            ("start", "is no inequality"),
            ("strat < timeout", "there is no such duration; there are start, step, timeout"),
            ("x * step < timeout", "the factor has to be a whole number"),
            ("start < ", "is neither the name of a duration"),
            ("3q < timeout", "`3q` is no duration"),
        ] {
            let error = check(text).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }
}
