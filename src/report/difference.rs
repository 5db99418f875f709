//! What stands on the screen when two states were compared.

use super::text::{Paint, tame, wrap};
use crate::compare::{Changed, Comparison, How};
use crate::diagnosis::RootCause;

/// How many fields of an object are shown.
const FIELDS: usize = 8;

/// Causes first, then releases, then objects; `-` is gone, `+` has come, `~` has changed.
pub fn render(comparison: &Comparison, columns: usize, paint: Paint) -> String {
    if comparison.is_empty() && comparison.still.is_empty() {
        return "nothing differs\n".to_owned();
    }
    let mut text = String::new();
    let mut line = |mark: String, words: &str| {
        for (n, part) in wrap(&tame(words), columns.saturating_sub(2)).iter().enumerate() {
            let lead = if n == 0 { mark.as_str() } else { " " };
            text.push_str(&format!("{lead} {part}\n"));
        }
    };
    let cause = |cause: &RootCause, state: &str| format!("{} at {}, {state}: {}", cause.slug, cause.subject, cause.statement);
    for gone in &comparison.gone {
        line(paint.green("-"), &cause(gone, "gone"));
    }
    for come in &comparison.come {
        line(paint.red("+"), &cause(come, "new"));
    }
    for still in &comparison.still {
        line(paint.yellow("="), &cause(still, "still there"));
    }
    for release in &comparison.releases {
        line(paint.yellow("~"), &format!("release {release}"));
    }
    for Changed { object, how, fields } in &comparison.objects {
        let mark = match how {
            How::Gone => paint.green("-"),
            How::Come => paint.red("+"),
            How::Changed => paint.yellow("~"),
        };
        line(mark, object);
        for field in fields.iter().take(FIELDS) {
            line(" ".to_owned(), &format!("  {field}"));
        }
        if fields.len() > FIELDS {
            line(" ".to_owned(), &format!("  and {} more", fields.len() - FIELDS));
        }
    }
    if comparison.is_empty() {
        text.push_str("nothing differs\n");
    }
    text
}
