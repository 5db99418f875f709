//! Commands that people copy: broken into lines by the shell's own rules.

use super::text::width;

/// Breaks a command at blanks that stand outside of quotes, with the backslash that a shell wants.
pub fn shell_wrap(command: &str, columns: usize) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    let mut escaped = false;
    for c in command.chars() {
        match (c, quote) {
            (' ', None) if !escaped => {
                words.push(std::mem::take(&mut word));
                continue;
            }
            ('\'' | '"', None) if !escaped => quote = Some(c),
            (c, Some(open)) if c == open && !escaped => quote = None,
            _ => {}
        }
        escaped = c == '\\' && !escaped && quote != Some('\'');
        word.push(c);
    }
    words.push(word);
    let mut lines: Vec<String> = Vec::new();
    for word in units(words) {
        match lines.last_mut() {
            Some(line) if width(line) + 1 + width(&word) + 2 <= columns => {
                line.push(' ');
                line.push_str(&word);
            }
            Some(line) => {
                line.push_str(" \\");
                lines.push(format!("  {word}"));
            }
            None => lines.push(word),
        }
    }
    lines
}

/// An option and its value stay on one line.
fn units(words: Vec<String>) -> Vec<String> {
    let mut units: Vec<String> = Vec::new();
    for word in words {
        match units.last_mut() {
            Some(option) if option.starts_with("--") && !option.contains(['=', ' ']) && !word.starts_with('-') => {
                option.push(' ');
                option.push_str(&word);
            }
            _ => units.push(word),
        }
    }
    units
}

/// As a shell would need it.
pub fn quoted(text: &str) -> String {
    if text.chars().all(|c| c.is_ascii_alphanumeric() || "/-_.+:".contains(c)) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_break_outside_of_quotes() {
        let lines = shell_wrap("helm upgrade r ./chart --set 'a=b c d e f' --wait --timeout 10m", 24);
        assert_eq!(
            lines,
            ["helm upgrade r ./chart \\", "  --set 'a=b c d e f' \\", "  --wait --timeout 10m"]
        );
    }

    #[test]
    fn paths_survive_the_shell() {
        assert_eq!(quoted("/a/b-1.2"), "/a/b-1.2");
        assert_eq!(quoted("/a b/it's"), r"'/a b/it'\''s'");
    }
}
