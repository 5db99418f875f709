//! What stands on the screen, or in a file, when namespaces were looked at.

pub mod github;
pub mod issue;
pub mod sarif;

use std::collections::BTreeMap;

use super::chain::{self, Timing};
use super::text::{Paint, count, tame, wrap};
use crate::diagnosis::Diagnosis;
use crate::evidence::Evidence;
use crate::look::Looked;

/// What one look cannot know.
const UNSEEN: &str = "An engine that is refused before it makes anything leaves nothing behind: run it as `rekindle watch -- helm …` to have \
    its words looked at, too.";

/// The causes; where there is none, what is suspected or at least seen; and what could not be read.
pub fn render(evidence: &Evidence, diagnosis: &Diagnosis, columns: usize, paint: Paint) -> String {
    let mut text = chain::diagnosis(diagnosis, Timing::default(), columns, paint);
    if diagnosis.causes.is_empty() {
        text.push_str(&format!("{}\n", verdict(diagnosis)));
    }
    if nothing(diagnosis) && evidence.engines.is_empty() {
        for line in wrap(UNSEEN, columns) {
            text.push_str(&format!("{}\n", paint.dim(&line)));
        }
    }
    if !diagnosis.suspected.is_empty() {
        text.push_str("\nsuspected:\n");
        text.push_str(&chain::causes(&diagnosis.suspected, Timing::default(), columns, paint));
    }
    if !evidence.not_readable.is_empty() {
        text.push_str(&format!(
            "\n{} could not be read, so that a cause that shows only there is not excluded:\n",
            count(evidence.not_readable.len(), "part")
        ));
        for line in unread(&evidence.not_readable) {
            for line in wrap(&tame(&line), columns.saturating_sub(2)) {
                text.push_str(&format!("  {line}\n"));
            }
        }
    }
    text
}

/// What could not be read, a line each; what an account may not list is one line, because the API's words differ only in the kind.
fn unread(parts: &[(String, String)]) -> Vec<String> {
    let account = |reason: &str| {
        let (_, rest) = reason.split_once(" is forbidden: User \"")?;
        rest.split_once("\" cannot list resource ").map(|(account, _)| account.to_owned())
    };
    let mut forbidden: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    let mut lines = Vec::new();
    for (what, reason) in parts {
        match account(reason) {
            Some(account) => forbidden.entry(account).or_default().push(what),
            None => lines.push(format!("{what}: {reason}")),
        }
    }
    for (account, mut kinds) in forbidden {
        kinds.sort_unstable();
        lines.push(format!("{}: {account} may not list them", kinds.join(", ")));
    }
    lines
}

/// Several namespaces: what is wrong first, each below its name, then how many are well. What may not be read is the same in each, and is
/// told once.
pub fn many(looks: &[Looked], columns: usize, paint: Paint) -> String {
    let (well, ill): (Vec<_>, Vec<_>) = looks.iter().partition(|look| nothing(&look.diagnosis));
    let mut text = String::new();
    for look in &ill {
        text.push_str(&format!("{}\n", paint.bold(&look.evidence.header.namespace)));
        let mut own = look.evidence.clone();
        own.not_readable.clear();
        text.push_str(&render(&own, &look.diagnosis, columns, paint));
        text.push('\n');
    }
    text.push_str(&match (ill.len(), well.len()) {
        (0, _) => format!("nothing is wrong that could be seen in {}\n", count(well.len(), "namespace")),
        (_, 0) => String::new(),
        (_, n) => format!("nothing is wrong that could be seen in {}\n", count(n, "other namespace")),
    });
    let mut unread: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for look in looks {
        for (what, reason) in &look.evidence.not_readable {
            *unread.entry((what, reason)).or_default() += 1;
        }
    }
    if !unread.is_empty() {
        text.push_str("\nnot read, so that a cause that shows only there is not excluded:\n");
        for ((what, reason), n) in unread {
            let line = format!("{what}: {reason} (in {})", count(n, "namespace"));
            for line in wrap(&tame(&line), columns.saturating_sub(2)) {
                text.push_str(&format!("  {line}\n"));
            }
        }
    }
    text
}

/// The diagnoses by namespace, for programs.
pub fn by_namespace(looks: &[Looked]) -> BTreeMap<&str, &Diagnosis> {
    looks
        .iter()
        .map(|look| (look.evidence.header.namespace.as_str(), &look.diagnosis))
        .collect()
}

/// What there is to say where no cause is certain.
fn verdict(diagnosis: &Diagnosis) -> &'static str {
    match (diagnosis.suspected.is_empty(), diagnosis.unexplained.is_empty()) {
        (true, true) => "nothing is wrong that could be seen",
        (true, false) => "something is wrong, and its cause is unknown",
        (false, _) => "no cause is certain yet",
    }
}

fn nothing(diagnosis: &Diagnosis) -> bool {
    diagnosis.causes.is_empty() && diagnosis.suspected.is_empty() && diagnosis.unexplained.is_empty()
}

#[cfg(test)]
mod tests {
    use super::unread;

    #[test]
    fn what_an_account_may_not_list_is_one_line() {
        let refused = |kind: &str, resource: &str| {
            let words =
                format!("{resource} is forbidden: User \"v\" cannot list resource \"{resource}\" in API group \"\" at the cluster scope");
            (kind.to_owned(), words)
        };
        let parts = [
            refused("Secret", "secrets"),
            ("log of pod p, container c".to_owned(), "it is gone".to_owned()),
            refused("Node", "nodes"),
        ];
        assert_eq!(
            unread(&parts),
            ["log of pod p, container c: it is gone", "Node, Secret: v may not list them"]
        );
    }
}
