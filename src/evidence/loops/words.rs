//! The words of a shell script.

/// A word of a script, and whether a command begins there.
pub struct Word {
    pub start: usize,
    pub end: usize,
    pub command: bool,
}

/// Words after which another command begins.
const LEADS: &[&str] = &["!", "do", "elif", "else", "if", "then", "time", "until", "while", "{"];

pub fn words(script: &str) -> Vec<Word> {
    let mut words = Vec::new();
    let mut command = true;
    let mut letters = script.char_indices().peekable();
    while let Some(&(start, letter)) = letters.peek() {
        match letter {
            '\n' | ';' | '&' | '|' | '(' | ')' => {
                command = true;
                letters.next();
            }
            letter if letter.is_whitespace() => {
                letters.next();
            }
            '#' => while letters.next_if(|(_, letter)| *letter != '\n').is_some() {},
            _ => {
                let end = word_end(script, start);
                while letters.next_if(|(at, _)| *at < end).is_some() {}
                words.push(Word { start, end, command });
                command = command && LEADS.contains(&&script[start..end]);
            }
        }
    }
    words
}

/// Where a word ends: at the first blank or operator that is neither quoted nor within `$(…)`.
fn word_end(script: &str, start: usize) -> usize {
    let mut quote = None;
    let mut depth = 0_usize;
    let mut before = ' ';
    for (at, letter) in script[start..].char_indices() {
        match (quote, letter) {
            (Some(open), _) if letter == open && before != '\\' => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') if before != '\\' => quote = Some(letter),
            (None, '(') if before == '$' || depth > 0 => depth += 1,
            (None, ')') if depth > 0 => depth -= 1,
            (None, ';' | '&' | '|' | '(' | ')') if depth == 0 => return start + at,
            (None, _) if letter.is_whitespace() && depth == 0 => return start + at,
            _ => {}
        }
        before = letter;
    }
    script.len()
}
