//! Text for terminals: colours, widths, wrapping, shortening, durations.
//!
//! Widths are measured on plain text; a colour is put on afterwards, so that escape codes never count as columns.

use std::time::Duration;

use owo_colors::OwoColorize as _;
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// Puts colours on, or leaves the text as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paint(pub bool);

impl Paint {
    /// Text as it is: for files, pipes and tests.
    pub const PLAIN: Self = Self(false);

    pub fn bold(self, text: &str) -> String {
        if self.0 { text.bold().to_string() } else { text.to_owned() }
    }

    pub fn dim(self, text: &str) -> String {
        if self.0 { text.dimmed().to_string() } else { text.to_owned() }
    }

    pub fn red(self, text: &str) -> String {
        if self.0 { text.red().bold().to_string() } else { text.to_owned() }
    }

    pub fn green(self, text: &str) -> String {
        if self.0 { text.green().bold().to_string() } else { text.to_owned() }
    }

    pub fn yellow(self, text: &str) -> String {
        if self.0 {
            text.yellow().bold().to_string()
        } else {
            text.to_owned()
        }
    }

    pub fn cyan(self, text: &str) -> String {
        if self.0 { text.cyan().bold().to_string() } else { text.to_owned() }
    }
}

/// How many columns a text takes.
pub fn width(text: &str) -> usize {
    text.width()
}

/// The text, filled up with blanks to `columns` on the right.
pub fn pad(text: &str, columns: usize) -> String {
    format!("{text}{}", " ".repeat(columns.saturating_sub(width(text))))
}

/// The text, filled up with blanks to `columns` on the left.
pub fn pad_left(text: &str, columns: usize) -> String {
    format!("{}{text}", " ".repeat(columns.saturating_sub(width(text))))
}

/// At most `columns` wide; the end is cut off.
pub fn cut(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    match columns {
        0 => String::new(),
        _ => format!("{}…", head(text, columns - 1).trim_end()),
    }
}

/// At most `columns` wide; the middle is cut out, for names whose beginning and end tell most.
pub fn cut_middle(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    if columns < 5 {
        return cut(text, columns);
    }
    let tail = (columns - 1) / 2;
    format!("{}…{}", head(text, columns - 1 - tail), self::tail(text, tail))
}

fn head(text: &str, columns: usize) -> &str {
    let mut used = 0;
    let end = text.char_indices().find(|(_, c)| {
        used += c.width().unwrap_or(0);
        used > columns
    });
    end.map_or(text, |(at, _)| &text[..at])
}

fn tail(text: &str, columns: usize) -> &str {
    let mut used = 0;
    let start = text.char_indices().rev().find(|(_, c)| {
        used += c.width().unwrap_or(0);
        used > columns
    });
    start.map_or(text, |(at, c)| &text[at + c.len_utf8()..])
}

/// Breaks at blanks into lines of at most `columns`. A word that is longer is broken too, behind a `/`, `,` or `-` where there is one.
/// There is always at least one line.
pub fn wrap(text: &str, columns: usize) -> Vec<String> {
    let columns = columns.max(1);
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        let gap = usize::from(!line.is_empty());
        if width(&line) + gap + width(word) <= columns {
            if gap == 1 {
                line.push(' ');
            }
            line.push_str(word);
            continue;
        }
        if !line.is_empty() {
            lines.push(std::mem::take(&mut line));
        }
        let mut rest = word;
        while width(rest) > columns {
            let fits = head(rest, columns);
            // A character that is wider than the column still has to go somewhere.
            let fits = if fits.is_empty() {
                head(rest, 2).len().max(rest.chars().next().map_or(1, char::len_utf8))
            } else {
                fits.rfind(['/', ',', '-', ':']).map_or(fits.len(), |at| at + 1)
            };
            lines.push(rest[..fits].to_owned());
            rest = &rest[fits..];
        }
        rest.clone_into(&mut line);
    }
    if !line.is_empty() || lines.is_empty() {
        lines.push(line);
    }
    lines
}

/// Shortens what a program printed to about `lines` lines: the beginning says what failed, the end says why.
pub fn excerpt(text: &str, lines: usize) -> Vec<String> {
    let all: Vec<&str> = text.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
    let lines = lines.max(3);
    if all.len() <= lines {
        return all.into_iter().map(str::to_owned).collect();
    }
    let first = (lines - 1) / 2;
    let last = lines - 1 - first;
    let mut kept: Vec<String> = all[..first].iter().map(|line| (*line).to_owned()).collect();
    kept.push(format!("… {} more lines …", all.len() - first - last));
    kept.extend(all[all.len() - last..].iter().map(|line| (*line).to_owned()));
    kept
}

/// A printed line in one piece: control characters, which could move the cursor or colour the screen, are taken out.
pub fn tame(text: &str) -> String {
    let mut tamed = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            // A whole colour sequence goes, not only its first character.
            '\u{1b}' if chars.peek() == Some(&'[') => {
                chars.next();
                while chars.next().is_some_and(|c| !c.is_ascii_alphabetic()) {}
            }
            '\n' => tamed.push('\n'),
            '\t' => tamed.push(' '),
            c if c.is_control() => {}
            c => tamed.push(c),
        }
    }
    tamed
}

/// `0.4s`, `8.2s`, `4m00s`, `1h02m`: how long something took.
pub fn took(duration: Duration) -> String {
    let tenths = (duration.as_millis() + 50) / 100;
    if tenths < 600 {
        return format!("{}.{}s", tenths / 10, tenths % 10);
    }
    minutes((duration.as_millis() + 500) / 1000)
}

/// `12s`, `4m00s`, `1h02m`: how long there is still to wait.
pub fn whole(duration: Duration) -> String {
    let seconds = (duration.as_millis() + 500) / 1000;
    if seconds < 60 { format!("{seconds}s") } else { minutes(seconds) }
}

fn minutes(seconds: u128) -> String {
    if seconds < 3600 {
        format!("{}m{:02}s", seconds / 60, seconds % 60)
    } else {
        format!("{}h{:02}m", seconds / 3600, seconds % 3600 / 60)
    }
}

/// As [`took`], of milliseconds in a report.
pub fn took_ms(ms: u64) -> String {
    took(Duration::from_millis(ms))
}

/// As [`whole`], of milliseconds in a report.
pub fn whole_ms(ms: u64) -> String {
    whole(Duration::from_millis(ms))
}

/// `1 trial`, `2 trials`
pub fn count(n: usize, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_well() {
        let ms = |ms| took(Duration::from_millis(ms));
        assert_eq!(
            [ms(0), ms(440), ms(8_249), ms(59_949), ms(59_950), ms(240_000), ms(3_720_000)],
            ["0.0s", "0.4s", "8.2s", "59.9s", "1m00s", "4m00s", "1h02m"]
        );
        assert_eq!(whole(Duration::from_millis(11_600)), "12s");
        assert_eq!(whole(Duration::from_millis(59_600)), "1m00s");
    }

    #[test]
    fn lines_never_exceed_the_width() {
        let text = "the name auth.openhands.invalid does not resolve: https://auth.openhands.invalid/realms/openhands/.well-known";
        for columns in 1..60 {
            let lines = wrap(text, columns);
            assert!(lines.iter().all(|line| width(line) <= columns), "{columns}: {lines:?}");
            assert_eq!(lines.concat().replace(' ', ""), text.replace(' ', ""));
        }
        assert_eq!(wrap("", 10), [""]);
        assert_eq!(wrap("日本", 1).concat(), "日本");
    }

    #[test]
    fn shortening_keeps_both_ends() {
        assert_eq!(cut_middle("hook-target-unreachable::helm-4::broken", 20), "hook-targe…4::broken");
        assert_eq!(cut("keycloak-config", 10), "keycloak-…");
        assert_eq!(cut("日本語", 4), "日…");
        let text = (1..=9).map(|n| n.to_string()).collect::<Vec<_>>().join("\n");
        assert_eq!(excerpt(&text, 5), ["1", "2", "… 5 more lines …", "8", "9"]);
    }

    #[test]
    fn foreign_text_cannot_touch_the_screen() {
        assert_eq!(tame("\u{1b}[31mred\u{1b}[0m\r\u{7}\tend"), "red end");
    }
}
