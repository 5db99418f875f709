//! Renders the Markdown of a scenario's page for a terminal: headings, paragraphs, lists, tables and code, and no more than that.

use super::text::{Paint, tame, wrap};

/// Longer lines are hard to read, however wide the terminal is.
const WIDEST: usize = 100;

/// The page, wrapped. Code and tables are kept as they stand.
pub fn render(page: &str, columns: usize, paint: Paint) -> String {
    let columns = columns.min(WIDEST);
    let mut out = Out {
        text: String::new(),
        columns,
        paint,
    };
    let mut block = Block::default();
    let mut fence = false;
    for line in tame(page).lines() {
        if line.trim_start().starts_with("```") {
            out.flush(&mut block);
            fence = !fence;
            continue;
        }
        if fence {
            out.text.push_str(format!("    {line}").trim_end());
            out.text.push('\n');
            continue;
        }
        let trimmed = line.trim();
        let indent = line.len() - line.trim_start().len();
        if trimmed.is_empty() {
            out.flush(&mut block);
            out.gap();
        } else if let Some(heading) = trimmed.strip_prefix('#') {
            out.flush(&mut block);
            out.gap();
            out.heading(heading);
        } else if trimmed.starts_with('|') {
            out.flush(&mut block);
            out.text.push_str(&format!("{trimmed}\n"));
        } else if let Some((bullet, words)) = bullet(trimmed) {
            out.flush(&mut block);
            block = Block {
                first: format!("{}{bullet} ", " ".repeat(indent)),
                words: words.to_owned(),
            };
        } else {
            if !block.words.is_empty() {
                block.words.push(' ');
            }
            block.words.push_str(trimmed);
        }
    }
    out.flush(&mut block);
    let mut text = out.text.trim_end().to_owned();
    text.push('\n');
    text
}

/// A paragraph or an entry of a list that is being read.
#[derive(Default)]
struct Block {
    /// What stands before its first line.
    first: String,
    words: String,
}

struct Out {
    text: String,
    columns: usize,
    paint: Paint,
}

impl Out {
    fn flush(&mut self, block: &mut Block) {
        let block = std::mem::take(block);
        if block.words.is_empty() {
            return;
        }
        let indent = block.first.chars().count();
        let text = links(&block.words);
        let mut code = false;
        let mut strong = false;
        for (n, line) in wrap(&text, self.columns.saturating_sub(indent)).iter().enumerate() {
            let lead = if n == 0 { block.first.clone() } else { " ".repeat(indent) };
            let line = self.inline(line, &mut code, &mut strong);
            self.text.push_str(&format!("{lead}{line}\n"));
        }
    }

    /// An empty line, unless there is one.
    fn gap(&mut self) {
        if !self.text.is_empty() && !self.text.ends_with("\n\n") {
            self.text.push('\n');
        }
    }

    fn heading(&mut self, rest: &str) {
        let top = !rest.starts_with('#');
        let words = rest.trim_start_matches('#').trim();
        let words = if top { words.to_uppercase() } else { words.to_owned() };
        for line in wrap(&words, self.columns) {
            let line = if top { self.paint.bold(&line) } else { self.paint.cyan(&line) };
            self.text.push_str(&format!("{line}\n"));
        }
    }

    /// Colours `code` and **strong**, whose marks stay where there are no colours. Both may go on over the end of a line.
    fn inline(&self, line: &str, code: &mut bool, strong: &mut bool) -> String {
        if !self.paint.0 {
            return line.to_owned();
        }
        let mut text = String::new();
        for (n, part) in line.split('`').enumerate() {
            if n > 0 {
                *code = !*code;
            }
            if *code {
                text.push_str(&self.paint.yellow(part));
                continue;
            }
            for (n, part) in part.split("**").enumerate() {
                if n > 0 {
                    *strong = !*strong;
                }
                text.push_str(&if *strong { self.paint.bold(part) } else { part.to_owned() });
            }
        }
        text
    }
}

/// `- words`, `* words`, `1. words`: the mark and the words.
fn bullet(line: &str) -> Option<(&str, &str)> {
    let (mark, words) = line.split_once(' ')?;
    let number = mark
        .strip_suffix('.')
        .is_some_and(|n| !n.is_empty() && n.chars().all(|c| c.is_ascii_digit()));
    match mark {
        "-" | "*" | "+" => Some(("•", words)),
        _ if number => Some((mark, words)),
        _ => None,
    }
}

/// `[words](address)` becomes `words (address)`.
fn links(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(open) = rest.find('[') {
        let found = rest[open..].find("](").and_then(|middle| {
            let close = rest[open + middle..].find(')')?;
            Some((open + middle, open + middle + close))
        });
        let Some((middle, close)) = found else { break };
        let (words, address) = (&rest[open + 1..middle], &rest[middle + 2..close]);
        out.push_str(&rest[..open]);
        out.push_str(&if words == address {
            words.to_owned()
        } else {
            format!("{words} ({address})")
        });
        rest = &rest[close + 1..];
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# hook-target-unreachable\n## Symptom\nThe `HelmRelease` is **stalled** after two attempts, and nothing in its \
        message says why, which is what makes this one expensive.\n\n- one entry that is long enough to be wrapped at sixty columns, twice\n  and \
        goes on here\n- two\n\n1. first\n2. second\n\n```sh\nkubectl get hr   -A\n\necho\n```\n## Source\nSee [the issue](https://example.invalid/1) and \
        [x].\n\n| a | b |\n|---|---|\n| 1 | 2 |\n";

    #[test]
    fn a_page() {
        insta::assert_snapshot!(render(PAGE, 60, Paint::PLAIN));
    }

    #[test]
    fn colours_take_the_place_of_the_marks() {
        let page = render("a `b c` **d\ne** f", 8, Paint(true));
        assert_eq!(tame(&page), "a b c\nd e\nf\n");
    }
}
