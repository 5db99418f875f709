//! Markdown to paste into an issue.

use crate::diagnosis::{Diagnosis, RootCause};
use crate::evidence::Basis;
use crate::look::Looked;

/// How many citations are shown per cause: the strongest come first.
const CITATIONS: usize = 6;

/// A heading per namespace, and below it each cause with its chain, what it rests on, and the remedy.
pub fn render(looks: &[Looked]) -> String {
    let mut text = String::new();
    for look in looks {
        let (header, diagnosis) = (&look.evidence.header, &look.diagnosis);
        if looks.len() > 1 && super::nothing(diagnosis) {
            continue;
        }
        text.push_str(&format!(
            "## {}\n\n{}, looked at {:.0} on Kubernetes {}\n\n",
            escaped(&header.namespace),
            header.recorder,
            header.observed_at,
            header.kubernetes_version
        ));
        one(&mut text, diagnosis);
        if !look.evidence.not_readable.is_empty() {
            text.push_str("Not read:\n\n");
            for (what, reason) in &look.evidence.not_readable {
                text.push_str(&format!("- {}: {}\n", escaped(what), escaped(reason)));
            }
            text.push('\n');
        }
    }
    if text.is_empty() {
        text.push_str("Nothing is wrong that could be seen.\n");
    }
    text
}

fn one(text: &mut String, diagnosis: &Diagnosis) {
    if diagnosis.causes.is_empty() {
        text.push_str(&format!("{}\n\n", super::verdict(diagnosis)));
    }
    for (heading, causes) in [("", &diagnosis.causes), ("suspected: ", &diagnosis.suspected)] {
        for found in causes {
            cause(text, heading, found);
        }
    }
    for link in &diagnosis.unexplained {
        text.push_str(&format!(
            "- {}, and nothing in the evidence explains it\n",
            escaped(&link.statement)
        ));
    }
    if !diagnosis.unexplained.is_empty() {
        text.push('\n');
    }
}

fn cause(text: &mut String, heading: &str, cause: &RootCause) {
    text.push_str(&format!("### {heading}`{}` at `{}`\n\n", cause.slug, cause.subject));
    for (depth, statement) in cause.chain.iter().map(|link| &link.statement).chain([&cause.statement]).enumerate() {
        let because = if depth == 0 { "" } else { "because " };
        text.push_str(&format!("{}- {because}{}\n", "  ".repeat(depth), escaped(statement)));
    }
    text.push('\n');
    if !cause.citations.is_empty() {
        text.push_str("| | where | what |\n|---|---|---|\n");
        for citation in cause.citations.iter().take(CITATIONS) {
            let basis = match citation.basis {
                Basis::Observed => "seen",
                Basis::Declared => "declared",
                Basis::Inferred => "inferred",
            };
            text.push_str(&format!("| {basis} | `{}` | {} |\n", citation.object, escaped(&citation.text)));
        }
        text.push('\n');
    }
    if let Some(remedy) = &cause.remedy {
        text.push_str(&format!("Remedy: {}\n\n", escaped(&remedy.sentence)));
    }
    if !cause.why.is_empty() {
        text.push_str(&format!("How sure: {}\n\n", escaped(&cause.why)));
    }
}

/// What would be markup is written as itself.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '\n' | '\r' => out.push(' '),
            '\\' | '`' | '*' | '_' | '<' | '>' | '[' | ']' | '|' | '#' | '@' => {
                out.push('\\');
                out.push(c);
            }
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::escaped;

    #[test]
    fn nothing_that_a_pod_prints_is_markup() {
        assert_eq!(escaped("a|b\n<img> @x `c`"), "a\\|b \\<img\\> \\@x \\`c\\`");
    }
}
