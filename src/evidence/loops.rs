//! How long a script goes on asking: the loops around what it connects with, as far as they can be read.

mod words;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use jiff::SignedDuration;
use regex::{Captures, Regex};
use serde_json::Value;

use super::declared::{ConfigMaps, environment};
use super::manifest::{spec_containers, text};
use super::script::{CONNECTS, Part, expand, parts};
use crate::evidence::moment;
use words::words;

/// How long a script goes on asking before it gives up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patience {
    /// How often it asks, where a counter ends its loop.
    pub tries: Option<u64>,
    /// The pause between two tries.
    pub interval: Option<SignedDuration>,
    /// The longest that one try may take, where the command has a limit of its own.
    pub each: Option<SignedDuration>,
    /// After which time it stops, where a clock ends it.
    pub total: Option<SignedDuration>,
    /// `command of gate`, `script gate.sh of ConfigMap ledger-gate`
    pub origin: String,
}

impl Patience {
    /// The time that it waits at the least before it gives up; nothing where it never does, or where that cannot be read.
    pub fn least(&self) -> Option<SignedDuration> {
        let counted = self.tries.zip(self.interval).and_then(|(tries, interval)| times(interval, tries));
        self.total.or(counted)
    }

    /// Whether anything ends it.
    pub fn ends(&self) -> bool {
        self.tries.is_some() || self.total.is_some()
    }
}

/// A duration that many times over; nothing where that is longer than anybody waits.
pub fn times(duration: SignedDuration, times: u64) -> Option<SignedDuration> {
    let milliseconds = i64::try_from(duration.as_millis()).ok()?;
    Some(moment::lasting(SignedDuration::from_millis(
        milliseconds.checked_mul(i64::try_from(times).ok()?)?,
    )))
}

/// How long a container's scripts go on asking this host; where none names it, how long they go on asking at all.
pub fn patience<'a>(spec: &'a Value, container: &str, host: &str, config_maps: ConfigMaps<'a>) -> Option<Patience> {
    let container = spec_containers(spec).find(|found| text(found, "/name") == container)?;
    let environment = environment(container, config_maps);
    let mut found: Vec<(bool, Patience)> = Vec::new();
    for part in parts(spec, container, config_maps) {
        found.extend(of_part(&part, &environment, host));
    }
    let named = found.iter().position(|(named, _)| *named).unwrap_or(0);
    found.into_iter().nth(named).map(|(_, patience)| patience)
}

fn of_part(part: &Part<'_>, environment: &BTreeMap<String, String>, host: &str) -> Vec<(bool, Patience)> {
    let script = part.text.replace("\\\n", " ");
    let lines: Vec<&str> = script.lines().filter(|line| !line.trim_start().starts_with('#')).collect();
    let script = Script::new(lines.join("\n"), environment);
    let mut found = Vec::new();
    for (text, mut patience) in script.waits() {
        patience.origin.clone_from(&part.origin);
        found.push((expand(&text, &script.values).to_lowercase().contains(host), patience));
    }
    found
}

/// A text in a shell's language, with what is known of its variables.
struct Script {
    text: String,
    values: BTreeMap<String, String>,
}

/// `while …; do …; done`
struct Loop {
    keyword: &'static str,
    header: String,
    body: String,
}

const LOOPS: &[&str] = &["for", "until", "while"];

/// A pattern that is compiled at its first use.
macro_rules! pattern {
    ($name:ident, $pattern:expr) => {
        static $name: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new($pattern).ok());
    };
}

pattern!(ASSIGNED, r"^(\w+)=(.*)$");
pattern!(DEFAULTED, r"\$\{(\w+):?=([^}]*)\}");
pattern!(SLEEP, r#"\bsleep\s+("?[^\s;&|)"]+"?)"#);
pattern!(EACH, r#"\s(?:--max-time|--timeout|-m|-T|-w)[=\s]*("?\$?\{?\w+\}?"?)"#);
pattern!(SEQ, r"(?:\$\(|`)\s*seq\s+([^)`]+)[)`]");
pattern!(BRACES, r"\{(\d+)\.\.(\d+)\}");
pattern!(COUNTED, r"\(\(\s*\w+\s*=\s*([^;]+);\s*\w+\s*(<=?)\s*([^;]+);");
pattern!(LISTED, r"^\s*\w+\s+in\s+([^;\n]+)");
pattern!(
    TESTED,
    r#"(?:["']?\$\{?(\w+)\}?["']?\s+-(lt|le|gt|ge|eq)\s+("[^"]*"|[^\s\];&|]+)|\(\(\s*\$?(\w+)\s*(<=?|>=?|==)\s*([^);&|]+))"#
);
pattern!(STEPPED, r"\b(\w+)=\$\(\(\s*\$?\{?(\w+)\}?\s*([+-])\s*([^)]+?)\s*\)\)");
pattern!(EXPR, r#"\b(\w+)=(?:\$\(|`)\s*expr\s+"?\$\{?(\w+)\}?"?\s+([+-])\s+([^)`\s]+)"#);
pattern!(
    BY_ONE,
    r"\(\(\s*(?:(\w+)(\+\+|--)|(\+\+|--)(\w+))\s*\)\)|\blet\s+[\x22']?(\w+)(\+\+|--)"
);
pattern!(BY_SOME, r"\(\(\s*(\w+)\s*([+-])=\s*([^)]+?)\s*\)\)");
pattern!(
    DEADLINE,
    r"\b(\w+)=\$\(\(\s*(?:\$\(\s*date \+%s\s*\)|`date \+%s`|\$?\{?(\w+)\}?)\s*\+\s*([^)]+?)\s*\)\)"
);
pattern!(
    TIMEOUT,
    r#"\btimeout\s+(?:(?:-[ks]\s+\S+|-\S+)\s+)*("?[^\s"]+"?)\s+(?:\S*/)?(?:ba|da|a)?sh\s+-\w*c\b"#
);
pattern!(RETRY, r#"\s--retry[=\s]+("?[^\s"]+"?)"#);
pattern!(RETRY_DELAY, r#"\s--retry-delay[=\s]+("?[^\s"]+"?)"#);
pattern!(RETRY_TOTAL, r#"\s--retry-max-time[=\s]+("?[^\s"]+"?)"#);

fn captured<'t>(pattern: &LazyLock<Option<Regex>>, text: &'t str) -> Option<Captures<'t>> {
    pattern.as_ref()?.captures(text)
}

fn all<'t>(pattern: &'static LazyLock<Option<Regex>>, text: &'t str) -> impl Iterator<Item = Captures<'t>> {
    pattern.as_ref().into_iter().flat_map(|pattern| pattern.captures_iter(text))
}

/// The first of several groups that took part.
fn group<'t>(found: &Captures<'t>, of: &[usize]) -> &'t str {
    of.iter().find_map(|index| found.get(*index)).map_or("", |group| group.as_str())
}

fn connects(text: &str) -> bool {
    let is = |line: &str| CONNECTS.as_ref().is_some_and(|connects| connects.is_match(line));
    text.lines().any(|line| !line.trim_start().starts_with("echo") && is(line))
}

fn bare(text: &str) -> &str {
    text.trim().trim_matches(['"', '\''])
}

impl Script {
    fn new(text: String, environment: &BTreeMap<String, String>) -> Self {
        let mut values = environment.clone();
        let mut own: Vec<&str> = Vec::new();
        for word in words(&text)
            .iter()
            .filter(|word| word.command || text[..word.start].ends_with("export "))
        {
            // A counter is set first and counted up later: what it begins with is meant.
            if let Some(found) = captured(&ASSIGNED, &text[word.start..word.end]) {
                let name = group(&found, &[1]);
                if !own.contains(&name) {
                    own.push(name);
                    let value = expand(bare(group(&found, &[2])), &values);
                    values.insert(name.to_owned(), value);
                }
            }
        }
        for found in all(&DEFAULTED, &text) {
            values
                .entry(group(&found, &[1]).to_owned())
                .or_insert_with(|| bare(group(&found, &[2])).to_owned());
        }
        Self { text, values }
    }

    /// Everything that asks again and again, innermost first.
    fn waits(&self) -> Vec<(String, Patience)> {
        let mut found: Vec<(String, Patience)> = Vec::new();
        for quoted in self.quoted() {
            found.extend(quoted.waits());
        }
        for turned in self.loops() {
            let text = format!("{}\n{}", turned.header, turned.body);
            let inner = found.iter().any(|(inner, _)| text.contains(inner.as_str()));
            if connects(&text) && !inner {
                let patience = self.patience(&turned, &text);
                found.push((text, patience));
            }
        }
        if found.is_empty() {
            found.extend(self.retry());
        }
        // A clock around it all ends it whatever it counts.
        let outer = captured(&TIMEOUT, &self.text).and_then(|found| self.time(group(&found, &[1])));
        for (_, patience) in &mut found {
            patience.total = patience.total.or(outer);
        }
        found
    }

    /// Scripts within this one, as `sh -c '…'` has them.
    fn quoted(&self) -> Vec<Self> {
        let inner = words(&self.text)
            .into_iter()
            .map(|word| self.text[word.start..word.end].to_owned())
            .filter(|word| word.starts_with(['"', '\'']) && word.contains("done"));
        inner
            .map(|word| Self {
                text: bare(&word).to_owned(),
                values: self.values.clone(),
            })
            .collect()
    }

    fn loops(&self) -> Vec<Loop> {
        // The keyword, where its header begins, and from where to where `do` stands once that came.
        type Open = (&'static str, usize, Option<(usize, usize)>);
        let mut open: Vec<Open> = Vec::new();
        let mut found = Vec::new();
        for word in words(&self.text).iter().filter(|word| word.command) {
            match &self.text[word.start..word.end] {
                "do" => {
                    if let Some((.., inside @ None)) = open.last_mut() {
                        *inside = Some((word.start, word.end));
                    }
                }
                "done" => {
                    if let Some((keyword, from, Some((until, body)))) = open.pop() {
                        found.push(Loop {
                            keyword,
                            header: self.text[from..until].to_owned(),
                            body: self.text[body..word.start].to_owned(),
                        });
                    }
                }
                other => {
                    if let Some(keyword) = LOOPS.iter().find(|keyword| **keyword == other) {
                        open.push((keyword, word.end, None));
                    }
                }
            }
        }
        found
    }

    fn patience(&self, turned: &Loop, text: &str) -> Patience {
        let interval = captured(&SLEEP, text).and_then(|found| self.time(group(&found, &[1])));
        let each = text.lines().filter(|line| connects(line)).find_map(|line| {
            let found = captured(&EACH, line)?;
            self.time(group(&found, &[1]))
        });
        let tries = match turned.keyword {
            "for" => self.counted(&turned.header),
            _ => self.tested(turned),
        };
        Patience {
            tries: tries.and_then(|tries| u64::try_from(tries).ok()).filter(|tries| *tries > 0),
            interval,
            each,
            total: self.clock(text),
            origin: String::new(),
        }
    }

    /// How often a `for` turns.
    fn counted(&self, header: &str) -> Option<i64> {
        if let Some(found) = captured(&SEQ, header) {
            let numbers: Vec<Option<i64>> = group(&found, &[1]).split_whitespace().map(|word| self.number(word)).collect();
            return match numbers.as_slice() {
                [last] => *last,
                [Some(first), Some(last)] => Some(last - first + 1),
                [Some(first), Some(step @ 1..), Some(last)] => Some((last - first) / step + 1),
                _ => None,
            };
        }
        if let Some(found) = captured(&BRACES, header) {
            return Some(self.number(&found[2])? - self.number(&found[1])? + 1);
        }
        if let Some(found) = captured(&COUNTED, header) {
            let inclusive = i64::from(found[2].ends_with('='));
            return Some(self.number(&found[3])? - self.number(&found[1])? + inclusive);
        }
        let listed = captured(&LISTED, header)?;
        let words: Vec<&str> = listed[1].split_whitespace().collect();
        let plain = words.iter().all(|word| !word.contains(['$', '*', '`', '{']));
        plain.then(|| i64::try_from(words.len()).ok()).flatten()
    }

    /// How often a `while` or `until` turns by what it counts.
    fn tested(&self, turned: &Loop) -> Option<i64> {
        let text = format!("{}\n{}", turned.header, turned.body);
        all(&TESTED, &text).find_map(|found| {
            let (name, bound) = (group(&found, &[1, 4]), self.number(group(&found, &[3, 6]))?);
            let (step, start) = (step(&text, name, self)?, self.number(self.values.get(name)?)?);
            let range = if step > 0 { bound - start } else { start - bound };
            // `-le 60` goes on for 60 as well, `-gt 60` stops only above it.
            let inclusive = matches!(
                (group(&found, &[2, 5]), step > 0),
                ("le" | "<=" | "gt" | ">", true) | ("ge" | ">=", false)
            );
            let turns = range.checked_div(step.abs())?;
            Some(turns + i64::from(inclusive && step.abs() == 1))
        })
    }

    /// The time after which a clock ends a loop: the shell's own, or one that is read.
    fn clock(&self, text: &str) -> Option<SignedDuration> {
        let own = all(&TESTED, text).find(|found| group(found, &[1, 4]) == "SECONDS");
        if let Some(seconds) = own.and_then(|found| self.number(group(&found, &[3, 6]))) {
            return Some(moment::seconds(seconds));
        }
        all(&DEADLINE, &self.text).find_map(|found| {
            let name = group(&found, &[1]);
            // What is added to itself is a counter.
            let compared = (text.contains("date +%s") || text.contains("SECONDS")) && group(&found, &[2]) != name;
            let meant = [format!("${name}"), format!("${{{name}}}")].iter().any(|used| text.contains(used));
            let seconds = (compared && meant).then(|| self.number(group(&found, &[3]))).flatten()?;
            Some(moment::seconds(seconds))
        })
    }

    /// A command that tries again by itself: `curl --retry 30 --retry-delay 2`.
    fn retry(&self) -> Option<(String, Patience)> {
        let line = self.text.lines().find(|line| connects(line) && captured(&RETRY, line).is_some())?;
        let of = |pattern| captured(pattern, line).map(|found| group(&found, &[1]).to_owned());
        let again = of(&RETRY)
            .and_then(|text| self.number(&text))
            .and_then(|again| u64::try_from(again).ok())?;
        Some((
            line.to_owned(),
            Patience {
                tries: Some(again + 1),
                interval: of(&RETRY_DELAY).and_then(|text| self.time(&text)),
                each: captured(&EACH, line).and_then(|found| self.time(group(&found, &[1]))),
                total: of(&RETRY_TOTAL).and_then(|text| self.time(&text)),
                origin: String::new(),
            },
        ))
    }

    /// `5`, `5s`, `0.5`, `2m`, `"$INTERVAL"`
    fn time(&self, text: &str) -> Option<SignedDuration> {
        let text = expand(bare(text), &self.values);
        let text = bare(&text);
        let (number, unit) = match text.strip_suffix(['s', 'm', 'h']) {
            Some(number) => (number, text.chars().next_back()?),
            None => (text, 's'),
        };
        let seconds: f64 = match number.parse() {
            Ok(seconds) => seconds,
            Err(_) => f64::from(i32::try_from(self.number(number)?).ok()?),
        };
        let factor = match unit {
            'm' => 60.0,
            'h' => 3600.0,
            _ => 1.0,
        };
        SignedDuration::try_from_secs_f64(seconds * factor)
            .ok()
            .filter(|time| !time.is_negative())
            .map(moment::lasting)
    }

    fn number(&self, text: &str) -> Option<i64> {
        self.calculated(text, 0)
    }

    /// Numbers, variables, and sums and products of them, as `$((5 * 60))`.
    fn calculated(&self, text: &str, depth: u32) -> Option<i64> {
        const DEEPEST: u32 = 6;
        let text = bare(text);
        let text = text
            .strip_prefix("$((")
            .and_then(|text| text.strip_suffix("))"))
            .unwrap_or(text)
            .trim();
        if text.is_empty() || depth > DEEPEST {
            return None;
        }
        if let Ok(number) = text.parse() {
            return Some(number);
        }
        type Operation = fn(i64, i64) -> Option<i64>;
        let operations: [(char, Operation); 4] = [
            ('+', i64::checked_add),
            ('-', i64::checked_sub),
            ('*', i64::checked_mul),
            ('/', i64::checked_div),
        ];
        // What binds least is taken apart first; a default within braces is no operation.
        if !text.contains('{') {
            for (sign, operation) in operations {
                if let Some((left, right)) = text.rsplit_once(sign) {
                    return operation(self.calculated(left, depth + 1)?, self.calculated(right, depth + 1)?);
                }
            }
        }
        let expanded = expand(text, &self.values);
        let next = if expanded == text { self.values.get(text)? } else { &expanded };
        self.calculated(next, depth + 1)
    }
}

/// By how much a loop moves its counter.
fn step(text: &str, name: &str, script: &Script) -> Option<i64> {
    let signed = |sign: &str, amount: i64| if sign.starts_with('-') { -amount } else { amount };
    let some = [&STEPPED, &EXPR].into_iter().find_map(|pattern| {
        let found = all(pattern, text).find(|found| &found[1] == name && &found[2] == name)?;
        Some(signed(&found[3], script.number(&found[4])?))
    });
    let added = || {
        let found = all(&BY_SOME, text).find(|found| &found[1] == name)?;
        Some(signed(&found[2], script.number(&found[3])?))
    };
    let one = || {
        let found = all(&BY_ONE, text).find(|found| group(found, &[1, 4, 5]) == name)?;
        Some(signed(group(&found, &[2, 3, 6]), 1))
    };
    some.or_else(added).or_else(one).filter(|step| *step != 0)
}

#[cfg(test)]
mod tests;
