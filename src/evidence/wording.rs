//! What programs print when a connection does not come about.
//!
//! The texts are those of the programs themselves; anything else a line says is for people. Only what is sure is read: a program that
//! waits in words of its own ("waiting for the database") complains about nothing here.

use std::hash::{DefaultHasher, Hasher};
use std::sync::LazyLock;

use regex::Regex;

/// What a printed line complains about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Complaint {
    /// A name has no address; empty where the line does not say which.
    Unresolved { host: String },
    /// A host was found, and nothing listens there, or it cannot be reached. The target is `host`, `host:port` or `address:port`.
    Unreachable { target: Option<String>, reason: String },
}

/// What a pattern means. Named groups: `h` host, `p` port, `r` the reason in the program's words.
#[derive(Clone, Copy)]
enum Meaning {
    Unresolved,
    Unreachable(&'static str),
    /// What the group `r` holds decides.
    Either,
}

/// A line without any of these complains about nothing: one cheap pass for the many lines that are fine.
static PREFILTER: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(concat!(
        r"(?i)resol|hostname|host address|host lookup|unknown.{0,16}host|bad address|not known|refused|timed out|timeout|unreachable",
        r"|no route|no response|no such host|nxdomain|servname|enotfound|eai_again|econnrefused|etimedout|ehostunreach|enetunreach",
        r"|can't (?:connect|reach)|failed to connect|could not connect|couldn't connect|connection reset|name does not resolve|unknownhost",
        r"|address information|no address associated|empty reply|actively|connect call failed|not found: \d",
    ))
    .ok()
});

const UNRESOLVED: &str = "name or service not known|temporary failure in name resolution|nodename nor servname provided|\
    name does not resolve|no address associated with hostname|no such host|name resolution|unknown host|getaddrinfo|not resolve";

/// Most telling first: a pattern that names the host comes before one that does not.
const PATTERNS: &[(Meaning, &str)] = &[
    // curl, git, libcurl in any language; a proxy's name is a host too.
    (
        Meaning::Unresolved,
        r"(?i)could(?: not|n't) resolve (?:host|proxy)(?:name)?:? '?(?P<h>HOST)",
    ),
    (Meaning::Unresolved, r#"(?i)could not resolve hostname "?(?P<h>HOST)"#),
    // GNU wget quotes with typographic marks; BusyBox's wget, nc and ping share one wording.
    (Meaning::Unresolved, r#"unable to resolve host address ['‘"`]?(?P<h>HOST)"#),
    (Meaning::Unresolved, r#"bad address ['‘"`](?P<h>HOST)"#),
    // Go's resolver; the server that was asked may stand between.
    (
        Meaning::Unresolved,
        r"\blookup (?P<h>HOST)(?: on [^ ]+)?: (?:no such host|server misbehaving|Temporary failure|Try again|i/o timeout|.*(?:i/o timeout|no such host|refused))",
    ),
    // Node and what is built on libuv.
    (Meaning::Unresolved, r"getaddrinfo (?:ENOTFOUND|EAI_AGAIN) (?P<h>HOST)"),
    (
        Meaning::Unreachable("connection refused"),
        r"connect ECONNREFUSED (?P<h>HOST)(?::(?P<p>\d+))?",
    ),
    (Meaning::Unreachable("timed out"), r"connect ETIMEDOUT (?P<h>HOST)(?::(?P<p>\d+))?"),
    (
        Meaning::Unreachable("host unreachable"),
        r"connect E(?:HOST|NET)UNREACH (?P<h>HOST)(?::(?P<p>\d+))?",
    ),
    // Python: urllib3 before and after 2.0, aiohttp.
    (Meaning::Unresolved, r"Failed to resolve '(?P<h>HOST)'"),
    (
        Meaning::Either,
        r"HTTPS?ConnectionPool\(host='(?P<h>HOST)', port=(?P<p>\d+)\): (?:Max retries exceeded|Read timed out|Connection).*?(?P<r>\[Errno -?\d+\] [A-Za-z ]+|timed out|$)",
    ),
    (
        Meaning::Either,
        r"Cannot connect to host (?P<h>HOST):(?P<p>\d+) ssl:\S+ \[(?P<r>[^\]]*)",
    ),
    (
        Meaning::Unreachable("connection refused"),
        r"Connect call failed \('(?P<h>HOST)', (?P<p>\d+)",
    ),
    // libpq, its JDBC cousin, Prisma.
    (Meaning::Unresolved, r#"could not translate host name "(?P<h>HOST)" to address"#),
    (
        Meaning::Either,
        r#"connection to server at "(?P<h>HOST)"(?: \([^)]*\))?, port (?P<p>\d+) failed: (?P<r>.+)"#,
    ),
    (Meaning::Unreachable("no response"), r"^(?P<h>HOST):(?P<p>\d+) - no response"),
    (
        Meaning::Unreachable("connection refused"),
        r"Connection to (?P<h>HOST):(?P<p>\d+) refused",
    ),
    (
        Meaning::Unreachable("no answer"),
        r"Can't reach database server at `?(?P<h>HOST)`?:`?(?P<p>\d+)",
    ),
    // MySQL and MariaDB.
    (Meaning::Unresolved, r"Unknown (?:MySQL |MariaDB )?server host '(?P<h>HOST)'"),
    (
        Meaning::Unreachable("no answer"),
        r"Can't connect to (?:MySQL |MariaDB )?server on '(?P<h>HOST?)(?::(?P<p>\d+))?'",
    ),
    // redis-cli.
    (Meaning::Either, r"Could not connect to Redis at (?P<h>HOST):(?P<p>\d+): (?P<r>.+)"),
    // Java.
    (Meaning::Unresolved, r"UnknownHostException: (?P<h>HOST)"),
    (
        Meaning::Either,
        r"(?:Connect(?:Exception)?:? )(?:to|Connect to) (?P<h>HOST):(?P<p>\d+).* failed: (?P<r>.+)",
    ),
    // Ruby, PHP, .NET.
    (
        Meaning::Either,
        r"Failed to open TCP connection to (?P<h>HOST):(?P<p>\d+) \((?P<r>[^)]*)",
    ),
    (
        Meaning::Unresolved,
        r"getaddrinfo (?:for )?(?P<h>HOST)(?: failed)?: (?:Name|Temporary|nodename|No address)",
    ),
    (
        Meaning::Unresolved,
        r"(?:Name or service not known|nodename nor servname provided, or not known|Resource temporarily unavailable) \((?P<h>HOST):\d+\)",
    ),
    (
        Meaning::Unreachable("connection refused"),
        r"Connection refused \((?P<h>HOST):(?P<p>\d+)\)",
    ),
    // nc in its three kinds, ssh, bash's /dev/tcp, ping, resolver tools.
    (Meaning::Either, r#"getaddrinfo for host "(?P<h>HOST)" port \S+: (?P<r>.+)"#),
    (
        Meaning::Either,
        r"connect to (?:host )?(?P<h>HOST)(?: \([^)]*\))? port (?P<p>\d+)(?: \(tcp\))?(?: failed)?: (?P<r>.+)",
    ),
    (Meaning::Unresolved, r"(?P<h>HOST): forward host lookup failed"),
    (Meaning::Either, r"\[(?P<h>[0-9.]+)\] (?P<p>\d+) \([^)]*\) : (?P<r>.+)"),
    (Meaning::Either, r"/dev/tcp/(?P<h>HOST)/(?P<p>\d+): (?P<r>.+)"),
    (
        Meaning::Unresolved,
        r"^(?:ping|ping6|bash|sh|telnet|traceroute|getent|rsync|fping)(?:: line \d+)?: (?:unknown host )?(?P<h>HOST): (?:Name or service not known|Temporary failure in name resolution|No address associated|Name does not resolve|nodename nor servname|Try again)",
    ),
    (Meaning::Unresolved, r"unknown host '?(?P<h>HOST)"),
    (
        Meaning::Unresolved,
        r"(?i)server can't find (?P<h>HOST): (?:NXDOMAIN|SERVFAIL|REFUSED)",
    ),
    (Meaning::Unresolved, r"can't resolve '(?P<h>HOST)'"),
    (Meaning::Unresolved, r"Host (?P<h>HOST) not found: \d"),
    // curl's connections; Go's dial; BusyBox; wait-for-it.
    (
        Meaning::Either,
        r"Failed to connect to (?P<h>HOST) port (?P<p>\d+)(?: after \d+ ms)?: (?P<r>.+)",
    ),
    (
        Meaning::Unreachable("connection reset"),
        r"(?i)connection reset by peer.* in connection to (?P<h>HOST):(?P<p>\d+)",
    ),
    (Meaning::Either, r"dial (?:tcp|udp)[46]? (?P<h>HOST):(?P<p>\d+): (?P<r>.+)"),
    (Meaning::Either, r"can't connect to remote host \((?P<h>HOST)\): (?P<r>.+)"),
    (
        Meaning::Either,
        r"^(?:Connecting to|connect to) (?P<h>HOST)(?:\|[^|]*\|)?:(?P<p>\d+)\.\.\. failed: (?P<r>.+)",
    ),
    (
        Meaning::Unreachable("timed out"),
        r"timeout occurred after waiting \d+ seconds for (?P<h>HOST):(?P<p>\d+)",
    ),
    (Meaning::Unresolved, r"Resolving (?P<h>HOST) \([^)]*\)\.\.\. failed"),
    // URLs in front of a cause.
    (
        Meaning::Either,
        r"(?:error sending request for url \(|(?:Get|Post|Put|Head|Patch|Delete) .?)https?://(?:(?:\[redacted: [^\]]*\]|[^/@\s])*@)?(?P<h>HOST)(?::(?P<p>\d+))?[^ ]* ?.*(?P<r>Connection refused|connection refused|i/o timeout|no such host|dns error.*|deadline exceeded|timed out)",
    ),
    // Nothing says which host: the resolver's own sentences, then the kernel's.
    (
        Meaning::Unresolved,
        r"(?i)name or service not known|temporary failure in name resolution|nodename nor servname provided|name does not resolve|no address associated with hostname|failed to lookup address information|getaddrinfo (?:failed|ENOTFOUND|EAI_AGAIN)|resolving timed out",
    ),
    (
        Meaning::Unreachable("connection refused"),
        r"(?i)connection refused|ECONNREFUSED|actively refused",
    ),
    (
        Meaning::Unreachable("network unreachable"),
        r"(?i)network (?:is )?unreachable|ENETUNREACH",
    ),
    (
        Meaning::Unreachable("no route to host"),
        r"(?i)no route to host|host is unreachable|EHOSTUNREACH",
    ),
    (
        Meaning::Unreachable("connection reset"),
        r"(?i)connection reset by peer|curl: \((?:35|52|56)\)",
    ),
    (
        Meaning::Unreachable("timed out"),
        r"(?i)curl: \(28\)|connection timed out|connect timed out|i/o timeout|ETIMEDOUT|ConnectTimeout|timed out while connecting|connection timeout",
    ),
];

/// A host name or an IPv4 address, or an IPv6 address in brackets.
const HOST: &str = r"(?:[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])";

static COMPILED: LazyLock<Vec<(Meaning, Regex)>> = LazyLock::new(|| {
    PATTERNS
        .iter()
        .filter_map(|(meaning, pattern)| Regex::new(&pattern.replace("HOST", HOST)).ok().map(|regex| (*meaning, regex)))
        .collect()
});

static UNRESOLVED_REASON: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(&format!("(?i){UNRESOLVED}")).ok());

/// Reads the complaint in a line, if it holds one.
pub fn complaint(line: &str) -> Option<Complaint> {
    // The middle of a line can be kilobytes; what matters stands at one of its ends.
    if line.len() > 2 * END {
        let (head, tail) = (
            &line[..line.floor_char_boundary(END)],
            &line[line.ceil_char_boundary(line.len() - END)..],
        );
        return read(tail).or_else(|| read(head));
    }
    read(line)
}

/// How much of either end of a long line is read.
const END: usize = 2048;

fn read(line: &str) -> Option<Complaint> {
    if !PREFILTER.as_ref().is_some_and(|prefilter| prefilter.is_match(line)) {
        return None;
    }
    COMPILED.iter().find_map(|(meaning, regex)| {
        let found = regex.captures(line)?;
        let group = |name: &str| found.name(name).map(|group| group.as_str());
        let host = group("h").map(str::to_owned);
        let target = host.as_ref().map(|host| match group("p") {
            Some(port) => format!("{host}:{port}"),
            None => host.clone(),
        });
        let unreachable = |reason: String| Complaint::Unreachable {
            target: target.clone(),
            reason,
        };
        Some(match meaning {
            Meaning::Unresolved => Complaint::Unresolved {
                host: host.unwrap_or_default(),
            },
            Meaning::Unreachable(reason) => unreachable((*reason).to_owned()),
            Meaning::Either => {
                let reason = group("r").unwrap_or_default().trim();
                if UNRESOLVED_REASON.as_ref().is_some_and(|known| known.is_match(reason)) {
                    Complaint::Unresolved {
                        host: host.unwrap_or_default(),
                    }
                } else {
                    unreachable(plain_reason(reason))
                }
            }
        })
    })
}

/// A number that lines share when they differ only in digits, in long hexadecimal words, and in blanks.
pub fn shape(line: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    for word in line.split_whitespace() {
        let hexadecimal = word.len() >= 8 && word.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
        if hexadecimal {
            hasher.write_u8(b'#');
        } else {
            let mut in_number = false;
            for byte in word.bytes() {
                if byte.is_ascii_digit() {
                    if !in_number {
                        hasher.write_u8(b'#');
                    }
                    in_number = true;
                } else {
                    hasher.write_u8(byte);
                    in_number = false;
                }
            }
        }
        hasher.write_u8(b' ');
    }
    hasher.finish()
}

/// The kernel's reason in one form, whatever the program made of it.
fn plain_reason(reason: &str) -> String {
    let lower = reason.to_lowercase();
    let known: [(&str, &[&str]); 6] = [
        ("connection refused", &["refused"]),
        ("network unreachable", &["network is unreachable", "network unreachable"]),
        ("no route to host", &["no route", "host is unreachable", "host unreachable"]),
        ("connection reset", &["reset"]),
        ("timed out", &["timed out", "timeout", "deadline"]),
        ("no answer", &["connect to server"]),
    ];
    known
        .iter()
        .find(|(_, words)| words.iter().any(|word| lower.contains(word)))
        .map_or_else(|| lower.chars().take(80).collect(), |(plain, _)| (*plain).to_owned())
}

#[cfg(test)]
mod tests;
