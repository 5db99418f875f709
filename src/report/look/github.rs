//! Annotations of a GitHub workflow: a line each, which the log of a step turns into a note on the run.

use crate::diagnosis::RootCause;
use crate::look::Looked;

/// Certain causes as errors, suspected ones as warnings, and what nobody knows the cause of as a warning, too.
pub fn render(looks: &[Looked]) -> String {
    let mut text = String::new();
    for look in looks {
        let namespace = &look.evidence.header.namespace;
        for (level, causes) in [("error", &look.diagnosis.causes), ("warning", &look.diagnosis.suspected)] {
            for cause in causes {
                text.push_str(&annotation(level, &cause.slug, &sentence(namespace, cause)));
            }
        }
        for link in &look.diagnosis.unexplained {
            let words = format!("{namespace}: {}, and nothing in the evidence explains it", link.statement);
            text.push_str(&annotation("warning", "unknown", &words));
        }
    }
    text
}

fn sentence(namespace: &str, cause: &RootCause) -> String {
    let remedy = cause.remedy.as_ref().map(|remedy| format!("; remedy: {}", remedy.sentence));
    format!("{namespace}: {}, {}{}", cause.subject, cause.statement, remedy.unwrap_or_default())
}

/// `::error title=secret-missing::…`, with what would end a property or the line written out as the runner reads it back.
fn annotation(level: &str, title: &str, message: &str) -> String {
    let data = |text: &str| text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    let property = |text: &str| data(text).replace(':', "%3A").replace(',', "%2C");
    format!("::{level} title={}::{}\n", property(title), data(message))
}

#[cfg(test)]
mod tests {
    use super::annotation;

    #[test]
    fn nothing_in_a_message_ends_it() {
        assert_eq!(
            annotation("error", "a:b,c", "100% of\nit: x"),
            "::error title=a%3Ab%2Cc::100%25 of%0Ait: x\n"
        );
    }
}
