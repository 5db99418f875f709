//! Draws cause chains: from the symptom that a person sees down to the root cause.
//!
//! ```text
//! HelmRelease openhands/openhands is stalled after 2 attempts
//! └ because  its install timed out after 4m00s waiting for Job keycloak-config
//!   └ because  auth.openhands.invalid does not resolve inside the cluster          ◄ root cause
//!              seen     "curl: (6) Could not resolve host"
//!              remedy   give this Job the in-cluster URL http://keycloak           (hook-target-unreachable)
//!              or       what else would put it right, a line each
//!              sure     nothing answers for that name; known 8.2s after the engine began, 3m52s before it gives up
//! ```

use super::text::{Paint, pad, tame, took_ms, whole_ms, width, wrap};
use crate::diagnosis::{Certainty, Citation, Diagnosis, Link, RootCause};
use crate::evidence::{Basis, ObjectRef};

/// When the diagnosis was right, counted from the engine's start. Absent where a chain is drawn without a run.
#[derive(Debug, Clone, Copy, Default)]
pub struct Timing {
    pub known_ms: Option<u64>,
    /// What the engine still had to wait then.
    pub left_ms: Option<u64>,
    /// Whether it has given up since.
    pub gave_up: bool,
}

/// How many citations are shown per cause: the strongest come first.
const CITATIONS: usize = 4;
/// Longer lines are hard to read, however wide the terminal is.
const WIDEST: usize = 120;
/// What the text keeps of the width, however deep the chain is.
const ROOM: usize = 24;

/// Draws every certain cause; causes with a symptom in common hang below it. Ends with a line break, or is empty.
pub fn diagnosis(diagnosis: &Diagnosis, timing: Timing, columns: usize, paint: Paint) -> String {
    let mut canvas = Canvas::new(timing, columns, paint);
    canvas.draw_all(&diagnosis.causes.iter().collect::<Vec<_>>());
    for link in &diagnosis.unexplained {
        canvas.wrapped(
            "",
            "",
            &format!("{}, and nothing in the evidence explains it", tame(&link.statement)),
            None,
        );
    }
    canvas.text
}

/// Draws some causes, certain or suspected.
pub fn causes(causes: &[RootCause], timing: Timing, columns: usize, paint: Paint) -> String {
    let mut canvas = Canvas::new(timing, columns, paint);
    canvas.draw_all(&causes.iter().collect::<Vec<_>>());
    canvas.text
}

struct Canvas {
    timing: Timing,
    columns: usize,
    /// Too few columns for aligned texts: they hang by two columns instead.
    narrow: bool,
    paint: Paint,
    text: String,
}

impl Canvas {
    fn new(timing: Timing, columns: usize, paint: Paint) -> Self {
        let columns = columns.clamp(20, WIDEST);
        Self {
            timing,
            columns,
            narrow: columns < 60,
            paint,
            text: String::new(),
        }
    }

    fn draw_all(&mut self, causes: &[&RootCause]) {
        self.level(causes, 0, "");
    }

    /// Draws the causes from their link number `depth` on. `rail` is what runs down on the left.
    fn level(&mut self, causes: &[&RootCause], depth: usize, rail: &str) {
        let mut groups: Vec<Vec<&RootCause>> = Vec::new();
        for cause in causes {
            let key = |cause: &RootCause| {
                cause
                    .chain
                    .get(depth)
                    .map(|link| (link.subject.to_string(), link.statement.clone()))
            };
            let mine = key(cause);
            match groups
                .iter_mut()
                .find(|group| mine.is_some() && group.first().and_then(|first| key(first)) == mine)
            {
                Some(group) => group.push(cause),
                None => groups.push(vec![cause]),
            }
        }
        let count = groups.len();
        for (n, group) in groups.into_iter().enumerate() {
            let Some(first) = group.first() else { continue };
            let last = n + 1 == count;
            let (branch, below) = match (depth, last) {
                (0, _) => (String::new(), String::new()),
                (_, true) => (format!("{rail}└ because  "), format!("{rail}  ")),
                (_, false) => (format!("{rail}├ because  "), format!("{rail}│ ")),
            };
            if depth == 0 && n > 0 {
                self.text.push('\n');
            }
            // A chain deeper than the screen is wide goes on at the same column.
            let below = if width(&below) + 11 + ROOM > self.columns && width(rail) > 0 {
                rail.to_owned()
            } else {
                below
            };
            match first.chain.get(depth) {
                Some(link) => {
                    self.link(link, &branch, &below);
                    self.level(&group, depth + 1, &below);
                }
                None => self.root(first, &branch, &below),
            }
        }
    }

    fn link(&mut self, link: &Link, branch: &str, below: &str) {
        let statement = match &link.slug {
            Some(slug) => format!("{} ({slug})", tame(&link.statement)),
            None => tame(&link.statement),
        };
        let hang = self.hang(branch, below);
        self.wrapped(branch, &hang, &statement, None);
    }

    fn root(&mut self, cause: &RootCause, branch: &str, below: &str) {
        let certain = cause.certainty == Certainty::Certain;
        let statement = tame(&cause.statement);
        let hang = self.hang(branch, below);
        // The two marks on the right stand below one another.
        let remedy = cause.remedy.as_ref().map(|remedy| tame(&remedy.sentence));
        let slug = format!("({})", cause.slug);
        let detail = width(&hang) + if self.narrow { 0 } else { 9 };
        let mark = if certain { "◄ root cause" } else { "◄ suspected" };
        let ends = [
            (width(branch) + width(&statement), width(mark)),
            (detail + remedy.as_deref().map_or(0, width), width(&slug)),
        ];
        let column = ends
            .iter()
            .map(|(end, _)| end + 2)
            .max()
            .filter(|column| ends.iter().all(|(_, mark)| column + mark <= self.columns));
        let painted = if certain { self.paint.red(mark) } else { self.paint.yellow(mark) };
        self.wrapped(branch, &hang, &statement, Some((mark, &painted, column)));

        let seen = seen(cause);
        self.detail(&hang, "seen", &seen, None);
        let painted = self.paint.dim(&slug);
        match remedy {
            Some(remedy) => self.detail(&hang, "remedy", &remedy, Some((&slug, &painted, column))),
            None => self.detail(&hang, "page", &format!("rekindle explain {}", cause.slug), None),
        }
        for alternative in &cause.alternatives {
            self.detail(&hang, "or", &tame(&alternative.sentence), None);
        }
        let sure = self.sure(cause);
        self.detail(&hang, if certain { "sure" } else { "unsure" }, &sure, None);
    }

    /// Why it is certain, and how long before the engine gave up that was known: the point of watching.
    fn sure(&self, cause: &RootCause) -> String {
        let mut parts = Vec::new();
        if !cause.why.is_empty() {
            parts.push(tame(&cause.why));
        }
        if cause.certainty == Certainty::Certain
            && let Some(known) = self.timing.known_ms
        {
            let known = took_ms(known);
            let gives_up = if self.timing.gave_up { "gave up" } else { "gives up" };
            parts.push(match self.timing.left_ms {
                Some(left) if left >= 1000 => format!("known {known} after the engine began, {} before it {gives_up}", whole_ms(left)),
                _ => format!("known {known} after the engine began"),
            });
        }
        parts.join("; ")
    }

    fn hang(&self, branch: &str, below: &str) -> String {
        if branch.is_empty() || self.narrow {
            return format!("{below}  ");
        }
        pad(below, width(branch))
    }

    fn detail(&mut self, hang: &str, label: &str, text: &str, mark: Option<(&str, &str, Option<usize>)>) {
        if text.is_empty() {
            return;
        }
        let label = pad(label, 9);
        let first = format!("{hang}{label}");
        let rest = if self.narrow {
            format!("{hang}  ")
        } else {
            pad(hang, width(&first))
        };
        self.wrapped(&first, &rest, text, mark);
    }

    /// Writes a text with different beginnings of its first and its other lines, and a mark at a column behind its last.
    fn wrapped(&mut self, first: &str, rest: &str, text: &str, mark: Option<(&str, &str, Option<usize>)>) {
        let indent = width(first).max(width(rest));
        let mut lines = wrap(text, self.columns.saturating_sub(indent).max(10)).into_iter().peekable();
        let mut lead = first;
        while let Some(line) = lines.next() {
            let plain = format!("{lead}{line}");
            let drawn = self.lead(lead) + &line;
            lead = rest;
            self.text.push_str(drawn.trim_end());
            if let (None, Some((mark, painted, column))) = (lines.peek(), mark) {
                let used = width(&plain);
                match column {
                    Some(column) => self.text.push_str(&format!("{}{painted}", " ".repeat(column - used.min(column)))),
                    None if used + 2 + width(mark) <= self.columns => self.text.push_str(&format!("  {painted}")),
                    // On a line of its own, moved to the left as far as it has to be.
                    None => {
                        let lead: String = rest.chars().take(self.columns.saturating_sub(width(mark))).collect();
                        self.text.push_str(&format!("\n{}{painted}", self.lead(&lead)));
                    }
                }
            }
            self.text.push('\n');
        }
    }

    /// The beginning of a line, its rails and labels dimmed so that the sentences stand out.
    fn lead(&self, lead: &str) -> String {
        if lead.trim().is_empty() {
            lead.to_owned()
        } else {
            self.paint.dim(lead)
        }
    }
}

/// What the cause rests on, shortest form: what was printed or stands in a field, and where, unless that was just named.
fn seen(cause: &RootCause) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut before: Option<&ObjectRef> = None;
    for citation in cause.citations.iter().take(CITATIONS) {
        let object = &citation.object;
        let named = cause.subject.same(object)
            || before.is_some_and(|before| before.same(object))
            || cause.chain.iter().any(|link| link.subject.same(object));
        before = Some(object);
        parts.push(cited(citation, named));
    }
    parts.dedup();
    // More about the same objects is in the report; further objects are worth a look.
    let (shown, rest) = cause.citations.split_at(cause.citations.len().min(CITATIONS));
    let known = |object: &ObjectRef| cause.subject.same(object) || shown.iter().any(|citation| citation.object.same(object));
    match rest.iter().filter(|citation| !known(&citation.object)).count() {
        0 => {}
        more => parts.push(format!("and {more} more")),
    }
    parts.join("; ")
}

fn cited(citation: &Citation, named: bool) -> String {
    let text = tame(&citation.text);
    let place = if named || text.contains(&citation.object.name) {
        String::new()
    } else {
        format!(" ({})", citation.object)
    };
    match citation.basis {
        Basis::Observed | Basis::Declared => format!("{text}{place}"),
        Basis::Inferred => format!("{text}{place} (inferred)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples;

    const TIMING: Timing = Timing {
        known_ms: Some(8_230),
        left_ms: Some(232_000),
        gave_up: false,
    };

    fn drawn(columns: usize) -> String {
        let both = Diagnosis {
            causes: vec![samples::unreachable(), samples::too_short()],
            ..Diagnosis::default()
        };
        let one = causes(&[samples::unreachable()], TIMING, columns, Paint::PLAIN);
        let two = diagnosis(&both, Timing::default(), columns, Paint::PLAIN);
        let suspected = causes(&[samples::suspected()], TIMING, columns, Paint::PLAIN);
        [one, two, suspected].join("\n")
    }

    #[test]
    fn at_40_columns() {
        insta::assert_snapshot!(drawn(40));
    }

    #[test]
    fn at_80_columns() {
        insta::assert_snapshot!(drawn(80));
    }

    #[test]
    fn at_120_columns() {
        insta::assert_snapshot!(drawn(120));
    }

    #[test]
    fn it_keeps_to_the_width_however_deep_it_is() {
        let mut deep = samples::unreachable();
        for n in 0..30 {
            let mut link = deep.chain[1].clone();
            link.statement = format!("step {n} of many, which goes on for a while");
            deep.chain.push(link);
        }
        for columns in [20, 40, 59, 60, 80, 120, 300] {
            let drawn = drawn(columns) + &causes(std::slice::from_ref(&deep), TIMING, columns, Paint::PLAIN);
            for line in drawn.lines().filter(|_| columns >= 40) {
                assert!(width(line) <= columns.min(WIDEST), "{columns}: {line}");
            }
        }
    }

    #[test]
    fn causes_without_a_chain_stand_alone() {
        let mut cause = samples::unreachable();
        cause.chain.clear();
        cause.citations.clear();
        cause.why.clear();
        let drawn = causes(&[cause], Timing::default(), 100, Paint::PLAIN);
        insta::assert_snapshot!(drawn);
        assert_eq!(diagnosis(&Diagnosis::default(), TIMING, 80, Paint::PLAIN), "");
    }

    #[test]
    fn an_object_is_named_once_and_only_if_it_was_not_before() {
        let mut cause = samples::unreachable();
        let mut other = cause.citations[0].clone();
        other.object = ObjectRef::new("Pod", Some("openhands"), "gateway-0");
        other.text = "\"no route\"".to_owned();
        cause.citations = vec![other.clone(), other, cause.citations[0].clone()];
        cause.citations[1].text = "\"still no route\"".to_owned();
        assert_eq!(
            seen(&cause),
            "\"no route\" (Pod/gateway-0); \"still no route\"; \"curl: (6) Could not resolve host: auth.openhands.invalid\" 19 times"
        );
    }

    #[test]
    fn colours_change_nothing_but_colours() {
        let plain = causes(&[samples::unreachable()], TIMING, 80, Paint::PLAIN);
        let coloured = causes(&[samples::unreachable()], TIMING, 80, Paint(true));
        assert!(coloured.contains('\u{1b}'));
        assert_eq!(tame(&coloured), plain);
    }
}
