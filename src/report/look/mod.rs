//! What stands on the screen when a live namespace was looked at.

use super::chain::{self, Timing};
use super::text::{Paint, count, tame, wrap};
use crate::diagnosis::Diagnosis;
use crate::evidence::Evidence;

/// The causes; where there is none, what is suspected or at least seen; and what could not be read.
pub fn render(evidence: &Evidence, diagnosis: &Diagnosis, columns: usize, paint: Paint) -> String {
    let mut text = chain::diagnosis(diagnosis, Timing::default(), columns, paint);
    if diagnosis.causes.is_empty() {
        let found = match (diagnosis.suspected.is_empty(), diagnosis.unexplained.is_empty()) {
            (true, true) => "nothing is wrong that could be seen",
            (true, false) => "something is wrong, and its cause is unknown",
            (false, _) => "no cause is certain yet",
        };
        text.push_str(&format!("{found}\n"));
    }
    if !diagnosis.suspected.is_empty() {
        text.push_str("\nsuspected:\n");
        text.push_str(&chain::causes(&diagnosis.suspected, Timing::default(), columns, paint));
    }
    if !evidence.not_readable.is_empty() {
        text.push_str(&format!(
            "\n{} could not be read, so nothing is said of it:\n",
            count(evidence.not_readable.len(), "part")
        ));
        for (what, reason) in &evidence.not_readable {
            for line in wrap(&tame(&format!("{what}: {reason}")), columns.saturating_sub(2)) {
                text.push_str(&format!("  {line}\n"));
            }
        }
    }
    text
}
