//! Finds credentials in any text by what stands around them: `password=…`, `Authorization: Bearer …`, `https://user:…@host`, or by a form
//! that nothing else has, such as a JSON web token.
//!
//! A text that is wrongly taken for a credential costs a word that somebody would have read; one that is missed leaves the cluster. Between
//! both stands what detectors read: a word of prose behind a colon stays (`failed to fetch token: unexpected status`).

use std::borrow::Cow;
use std::ops::Range;
use std::sync::LazyLock;

use aho_corasick::AhoCorasick;
use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use regex::Regex;

use super::credential::{Named, is_replaced, is_value, looks_secret, named};

/// A text without any of these holds no credential. Most have none, and cost one cheap pass.
const HINTS: &[&str] = &[
    "pass",
    "pwd",
    "secret",
    "token",
    "key",
    "auth",
    "cred",
    "cookie",
    "bearer",
    "basic ",
    "sig",
    "://",
    "eyj",
    "akia",
    "asia",
    "ghp_",
    "gho_",
    "ghs_",
    "ghu_",
    "ghr_",
    "github_pat_",
    "glpat-",
    "xox",
    "aiza",
    "ya29.",
    "sk_live",
    "sk-",
    "sg.",
    "npm_",
    "hvs.",
    "dop_v1_",
    "dckr_pat_",
    "pypi-",
    "dapi",
    "webhook",
    "hooks.slack",
    "identified by",
    "mysql",
    "redis",
    "sshpass",
    "curl",
    "login",
    "from-literal",
];

/// Credentials that are told by their form alone, or by the command that they are given to. The group `v` is what has to go.
const FORMS: &[&str] = &[
    r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----(?P<v>(?s:.*?))(?:-----END [A-Z0-9 ]*PRIVATE KEY|\z)",
    r"(?P<v>eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*)*)",
    r"(?P<v>\b(?:AKIA|ASIA)[A-Z0-9]{12,})",
    r"(?P<v>\bgh[pousr]_[A-Za-z0-9]{16,}|\bgithub_pat_[A-Za-z0-9_]{20,}|\bglpat-[A-Za-z0-9_-]{16,}|\bdckr_pat_[A-Za-z0-9_-]{16,})",
    r"(?P<v>\bxox[abeoprs]-[A-Za-z0-9-]{10,}|\bAIza[A-Za-z0-9_-]{30,}|\bya29\.[A-Za-z0-9_-]{16,})",
    r"(?P<v>\b[rs]k_(?:live|test)_[A-Za-z0-9]{10,}|\bsk-[A-Za-z0-9_-]{16,}|\bSG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,})",
    r"(?P<v>\bnpm_[A-Za-z0-9]{30,}|\bhv[sbr]\.[A-Za-z0-9_-]{20,}|\bdop_v1_[a-f0-9]{32,}|\bpypi-[A-Za-z0-9_-]{16,}|\bdapi[a-f0-9]{32})",
    r"hooks\.slack(?:-gov)?\.com/[a-z]+/(?P<v>[A-Za-z0-9/_-]+)",
    r"(?i)\b(?:bearer|basic|negotiate|apikey)(?:[ +]|%20)+(?P<v>[A-Za-z0-9._~+/-]{6,}=*)",
    r#"(?i)\bauthorization\b\\*["']?\s*(?:=>|[:=,])\s*\[?\\*["']?\s*(?:bearer|basic|digest|token|negotiate|apikey|aws4-hmac-sha256)(?:[ +]|%20)+(?P<v>[^\r\n"']+)"#,
    r#"(?i)\b(?:set-)?cookie\\*["']?\s*[:=]\s*\[?\\*["']?(?P<v>[^\r\n"']+=[^\r\n"']+)"#,
    r#"(?i)\bcurl\b[^\n]*?\s(?:-u|--user|--proxy-user)[ =]*["']?[^\s:"']*:(?P<v>[^\s"']+)"#,
    r#"(?i)\bsshpass\s+-p\s*["']?(?P<v>[^\s"']+)"#,
    r#"(?i)\bredis-cli\b[^\n|;&]*?\s-a\s+["']?(?P<v>[^\s"']+)"#,
    r#"(?i)\b(?:mysql|mysqladmin|mysqldump|mariadb|mariadb-admin)\b[^\n|;&]*?\s-p["']?(?P<v>[^\s"']+)"#,
    r#"(?i)\bpass:(?P<v>[^\s"']+)"#,
    r#"(?i)\b(?:identified\s+by|password)\s+'(?P<v>[^'\n]+)'"#,
    r#"(?i)\blogin\s+\S+\s+password\s+(?P<v>\S+)"#,
    r#"(?im)^\s*(?:requirepass|masterauth)\s+["']?(?P<v>[^\s"']+)"#,
    r#"--from-literal[= ]["']?[^=\s]+=(?P<v>[^\s"']+)"#,
];

/// A name, and what stands between it and its value: quotes around the name, and a sign.
const ASSIGNED: &str = r#"(?P<n>[A-Za-z0-9_][A-Za-z0-9_.-]{0,99})(?P<q>\\{0,6}["'`])?\]?(?P<b>[ \t]*)(?P<s>=>|:=|=|:|%3[Dd])(?P<a>[ \t]*)"#;
/// A flag and its value as the next word.
const FLAG: &str = r#"(?:^|[\s"'`=])--?(?P<n>[A-Za-z][A-Za-z0-9-]{1,60})[ \t]+(?P<v>"[^"\n]*"|'[^'\n]*'|[^\s"'`]+)"#;
const ELEMENT: &str = r"<(?P<n>[A-Za-z][A-Za-z0-9_.:-]{0,60})>(?P<v>[^<\n]+)</";
const ENCODED: &str = r"[A-Za-z0-9+/_-]{16,}={0,2}";

struct Patterns {
    hints: AhoCorasick,
    forms: Vec<Regex>,
    assigned: Regex,
    flag: Regex,
    element: Regex,
    encoded: Regex,
}

static PATTERNS: LazyLock<Option<Patterns>> = LazyLock::new(|| {
    Some(Patterns {
        hints: AhoCorasick::builder().ascii_case_insensitive(true).build(HINTS).ok()?,
        forms: FORMS.iter().map(|form| Regex::new(form)).collect::<Result<_, _>>().ok()?,
        assigned: Regex::new(ASSIGNED).ok()?,
        flag: Regex::new(FLAG).ok()?,
        element: Regex::new(ELEMENT).ok()?,
        encoded: Regex::new(ENCODED).ok()?,
    })
});

/// Takes either alphabet's digits after they were made those of the first one, with padding or without.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// How often base64 is looked into: a `kubectl` that prints a Secret with an encoded file in it has two layers.
const LAYERS: usize = 2;

/// Where the credentials of a text are, in order, none within another.
pub fn credentials(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    find(text, LAYERS, &mut found);
    found.sort_by_key(|range: &Range<usize>| (range.start, std::cmp::Reverse(range.end)));
    let mut apart: Vec<Range<usize>> = Vec::new();
    for range in found {
        match apart.last_mut() {
            Some(last) if range.start < last.end => last.end = last.end.max(range.end),
            _ => apart.push(range),
        }
    }
    apart
}

fn find(text: &str, layers: usize, found: &mut Vec<Range<usize>>) {
    let Some(patterns) = PATTERNS.as_ref() else { return };
    if text.len() >= 16 && layers > 0 {
        let blobs = patterns.encoded.find_iter(text);
        found.extend(
            blobs
                .filter(|blob| holds_credentials(blob.as_str(), layers - 1))
                .map(|blob| blob.range()),
        );
    }
    if text.len() < 4 || !patterns.hints.is_match(text) {
        return;
    }
    for form in &patterns.forms {
        for value in form.captures_iter(text).filter_map(|groups| groups.name("v")) {
            // What an authentication scheme is followed by in prose: `Basic authentication`, `Bearer realm=…`.
            let scheme = form.as_str().starts_with(r"(?i)\b(?:bearer");
            let prose = scheme && !looks_secret(value.as_str().trim_end_matches('='));
            if !prose && !value.as_str().trim().is_empty() && !refers(value.as_str()) {
                found.push(value.range());
            }
        }
    }
    urls(text, found);
    for groups in patterns.assigned.captures_iter(text) {
        let (Some(name), Some(whole)) = (groups.name("n"), groups.get(0)) else {
            continue;
        };
        let Some(kind) = named(name.as_str()).or_else(|| query(text, name.range(), name.as_str())) else {
            continue;
        };
        let gap = |group: &str| groups.name(group).is_some_and(|gap| !gap.is_empty());
        let place = Place {
            text,
            name: name.range(),
            quoted: groups.name("q").is_some(),
            sign: groups.name("s").map_or("", |sign| sign.as_str()),
            apart: gap("b") || gap("a"),
            from: whole.end(),
        };
        if let Some(value) = place.value() {
            let held = &text[value.clone()];
            if is_value(kind, held.trim()) {
                found.push(value);
            }
        }
    }
    for pattern in [&patterns.flag, &patterns.element] {
        for groups in pattern.captures_iter(text) {
            let (Some(name), Some(value)) = (groups.name("n"), groups.name("v")) else {
                continue;
            };
            let plain = value.as_str().trim_matches(['"', '\'']);
            let kind = named(name.as_str()).filter(|kind| !plain.starts_with('-') && is_value(*kind, plain));
            if kind.is_some() {
                let from = value.start() + usize::from(plain.len() < value.len());
                found.push(from..from + plain.len());
            }
        }
    }
}

/// Variables in a value are put in later.
fn refers(value: &str) -> bool {
    is_replaced(value) || !is_value(Named::Credential, value.trim_matches(['"', '\'']))
}

/// Parameters of a URL have short names.
fn query(text: &str, name: Range<usize>, parameter: &str) -> Option<Named> {
    let before = text[..name.start].ends_with(['?', '&', ';']);
    let known = ["sig", "signature", "key", "auth", "code", "jwt", "assertion"];
    let last = parameter.rsplit(['-', '_']).next().unwrap_or(parameter);
    let amazon = parameter.to_ascii_lowercase().starts_with("x-amz-") && (last == "Credential" || last == "Signature");
    (before && (amazon || known.iter().any(|known| last.eq_ignore_ascii_case(known)))).then_some(Named::Credential)
}

/// A name with a sign behind it, in its text.
struct Place<'a> {
    text: &'a str,
    name: Range<usize>,
    /// The name stands in quotes.
    quoted: bool,
    sign: &'a str,
    /// There are blanks around the sign.
    apart: bool,
    /// Where what is behind the sign begins.
    from: usize,
}

impl Place<'_> {
    fn value(&self) -> Option<Range<usize>> {
        let rest = &self.text[self.from..];
        // A comparison, a scope, or a sign of something longer.
        if rest.starts_with('=') || self.sign == ":" && (rest.starts_with(':') || rest.starts_with("//")) {
            return None;
        }
        let list = rest.len() - rest.trim_start_matches('[').len();
        if let Some(range) = self.in_quotes(self.from + list) {
            return Some(range);
        }
        let line = rest.lines().next().unwrap_or_default();
        let begins = self.begins_line();
        if self.sign == ":" && !self.quoted {
            if begins && self.apart {
                return self.of_line(line);
            }
            let word = self.word(&[',', ';', ')', ']', '}', '"', '\'', '`']);
            return looks_secret(&self.text[word.clone()]).then_some(word);
        }
        if self.quoted {
            return Some(self.word(&[',', '}', ']']));
        }
        if begins && self.apart && self.text.contains('\n') {
            return Some(self.trimmed(line));
        }
        Some(self.assigned())
    }

    /// Whether nothing but a list's dash stands before the name in its line.
    fn begins_line(&self) -> bool {
        let line = self.text[..self.name.start].rsplit('\n').next().unwrap_or_default();
        line.trim_start().trim_start_matches("- ").trim_matches(['"', '\'', ' ']).is_empty()
    }

    /// The rest of the line, as in YAML; with a sign for it, the block below.
    fn of_line(&self, line: &str) -> Option<Range<usize>> {
        let held = line.trim();
        if matches!(held, "|" | "|-" | "|+" | ">" | ">-" | ">+") {
            return self.block(line);
        }
        // One line is more likely to be prose than YAML; a single word is no prose.
        let prose = !self.text.contains('\n') && held.contains(' ');
        if prose {
            let word = self.word(&[',', ';', ')']);
            return looks_secret(&self.text[word.clone()]).then_some(word);
        }
        Some(self.trimmed(line))
    }

    fn block(&self, line: &str) -> Option<Range<usize>> {
        let indent = |line: &str| line.len() - line.trim_start().len();
        let start = self.text[..self.name.start].rfind('\n').map_or(0, |at| at + 1);
        let own = indent(&self.text[start..]);
        let from = self.from + line.len();
        let mut to = from;
        for below in self.text.get(from + 1..)?.split_inclusive('\n') {
            if !below.trim().is_empty() && indent(below) <= own {
                break;
            }
            to += below.len();
        }
        let held = &self.text[from..=to.min(self.text.len() - 1)];
        let lead = held.len() - held.trim_start().len();
        let range = from + lead..from + held.trim_end().len();
        (range.start < range.end).then_some(range)
    }

    fn trimmed(&self, line: &str) -> Range<usize> {
        let lead = line.len() - line.trim_start().len();
        self.from + lead..self.from + line.trim_end().len()
    }

    /// What stands in quotes there. Where a text was quoted within another one, the quotes have backslashes before them.
    fn in_quotes(&self, at: usize) -> Option<Range<usize>> {
        let rest = &self.text[at..];
        let slashes = rest.len() - rest.trim_start_matches('\\').len();
        let quote = rest[slashes..].chars().next().filter(|quote| matches!(quote, '"' | '\'' | '`'))?;
        let from = at + slashes + 1;
        let bytes = self.text.as_bytes();
        let (mut at, mut before) = (from, 0);
        while let Some(byte) = bytes.get(at) {
            match *byte {
                // What stands behind it means itself.
                b'\\' if slashes == 0 => at += 1,
                b'\\' => before += 1,
                b'\'' if quote == '\'' && bytes.get(at + 1) == Some(&b'\'') => at += 1,
                // Behind more of them than the first quote it belongs to what is quoted.
                byte if byte == quote as u8 && before <= slashes => return Some(from..at - before),
                _ => before = 0,
            }
            at += 1;
        }
        Some(from..self.text.len())
    }

    /// Up to a blank or one of these.
    fn word(&self, ends: &[char]) -> Range<usize> {
        let rest = &self.text[self.from..];
        let end = rest.find(|c: char| c.is_whitespace() || ends.contains(&c)).unwrap_or(rest.len());
        self.from..self.from + rest[..end].trim_end_matches(['.', ':']).len()
    }

    /// What a name is set to: up to a blank, to a quote that began before, or to the next name that something is set to.
    fn assigned(&self) -> Range<usize> {
        let rest = &self.text[self.from..];
        let before = &self.text[..self.name.start];
        let in_query = self.sign.starts_with('%') || before.ends_with(['?', '&']);
        let line = before.rsplit('\n').next().unwrap_or_default();
        let open = ['"', '\'', '`'].map(|quote| (quote, line.matches(quote).count() % 2 == 1));
        for (at, c) in rest.char_indices() {
            let ends = match c {
                c if c.is_whitespace() => true,
                '"' | '\'' | '`' => open.contains(&(c, true)),
                '&' | '#' if in_query => true,
                '%' if self.sign.starts_with('%') => rest[at..].starts_with("%26"),
                ',' | ';' | '&' => sets_another(&rest[at + 1..]),
                _ => false,
            };
            if ends {
                return self.from..self.from + at;
            }
        }
        self.from..self.text.len()
    }
}

/// Whether a text begins with a name that something is set to, as the parts of a connection string do.
fn sets_another(rest: &str) -> bool {
    let rest = rest.trim_start_matches(' ');
    let end = rest.find('=').unwrap_or(rest.len()).min(rest.len());
    let name = &rest[..end];
    rest.len() > end
        && !name.is_empty()
        && name.len() <= 40
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-' | b' '))
}

/// The passwords in URLs, and users that look like a token.
fn urls(text: &str, found: &mut Vec<Range<usize>>) {
    let mut at = 0;
    while let Some(scheme) = text[at..].find("://") {
        let from = at + scheme + 3;
        let rest = &text[from..];
        let mut end = rest
            .find(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '`' | '<' | '>'))
            .unwrap_or(rest.len());
        // Where several URLs stand one behind the other, each has a part of its own.
        if let Some(next) = rest[..end].find("://") {
            end = rest[..next].rfind([',', ';', ' ', '(', '=']).map_or(next, |cut| cut);
        }
        at = from;
        let run = &rest[..end];
        let authority = run.find(['/', '?', '#']).map_or(run, |end| &run[..end]);
        let within = authority.rfind('@');
        let port = authority.rsplit_once(':').map_or("", |(_, port)| port);
        let at_sign = match within {
            // Another one behind it is the path's.
            Some(within) if authority.len() == run.len() || run[authority.len()..].starts_with('/') => Some(within),
            // What comes before the first one cannot be a host and a port.
            _ if within.is_some() || !port.bytes().all(|byte| byte.is_ascii_digit()) => run.rfind('@'),
            _ => None,
        };
        let Some(user_info) = at_sign.map(|end| &run[..end]) else {
            continue;
        };
        let (user, password) = user_info.split_once(':').unwrap_or((user_info, ""));
        if looks_secret(user) && user.len() >= 16 {
            found.push(from..from + user.len());
        }
        if !password.is_empty() && !refers(password) {
            found.push(from + user.len() + 1..from + user_info.len());
        }
    }
}

/// Whether what base64 stands for holds credentials itself.
fn holds_credentials(blob: &str, layers: usize) -> bool {
    let digits: Cow<'_, str> = if blob.contains(['-', '_']) {
        blob.replace('-', "+").replace('_', "/").into()
    } else {
        blob.into()
    };
    let Some(text) = LENIENT
        .decode(digits.as_bytes())
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
    else {
        return false;
    };
    let printable = text.chars().all(|c| !c.is_control() || matches!(c, '\n' | '\r' | '\t'));
    if !printable {
        return false;
    }
    let mut found = Vec::new();
    find(&text, layers, &mut found);
    !found.is_empty()
}
