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
    (Meaning::Unresolved, r"(?i)could(?: not|n't) resolve (?:host|proxy)(?:name)?:? '?(?P<h>HOST)"),
    (Meaning::Unresolved, r#"(?i)could not resolve hostname "?(?P<h>HOST)"#),
    // GNU wget quotes with typographic marks; BusyBox's wget, nc and ping share one wording.
    (Meaning::Unresolved, r#"unable to resolve host address ['‘"`]?(?P<h>HOST)"#),
    (Meaning::Unresolved, r#"bad address ['‘"`](?P<h>HOST)"#),
    // Go's resolver; the server that was asked may stand between.
    (Meaning::Unresolved, r"\blookup (?P<h>HOST)(?: on [^ ]+)?: (?:no such host|server misbehaving|Temporary failure|Try again|i/o timeout|.*(?:i/o timeout|no such host|refused))"),
    // Node and what is built on libuv.
    (Meaning::Unresolved, r"getaddrinfo (?:ENOTFOUND|EAI_AGAIN) (?P<h>HOST)"),
    (Meaning::Unreachable("connection refused"), r"connect ECONNREFUSED (?P<h>HOST)(?::(?P<p>\d+))?"),
    (Meaning::Unreachable("timed out"), r"connect ETIMEDOUT (?P<h>HOST)(?::(?P<p>\d+))?"),
    (Meaning::Unreachable("host unreachable"), r"connect E(?:HOST|NET)UNREACH (?P<h>HOST)(?::(?P<p>\d+))?"),
    // Python: urllib3 before and after 2.0, aiohttp.
    (Meaning::Unresolved, r"Failed to resolve '(?P<h>HOST)'"),
    (Meaning::Either, r"HTTPS?ConnectionPool\(host='(?P<h>HOST)', port=(?P<p>\d+)\): (?:Max retries exceeded|Read timed out|Connection).*?(?P<r>\[Errno -?\d+\] [A-Za-z ]+|timed out|$)"),
    (Meaning::Either, r"Cannot connect to host (?P<h>HOST):(?P<p>\d+) ssl:\S+ \[(?P<r>[^\]]*)"),
    (Meaning::Unreachable("connection refused"), r"Connect call failed \('(?P<h>HOST)', (?P<p>\d+)"),
    // libpq, its JDBC cousin, Prisma.
    (Meaning::Unresolved, r#"could not translate host name "(?P<h>HOST)" to address"#),
    (Meaning::Either, r#"connection to server at "(?P<h>HOST)"(?: \([^)]*\))?, port (?P<p>\d+) failed: (?P<r>.+)"#),
    (Meaning::Unreachable("no response"), r"^(?P<h>HOST):(?P<p>\d+) - no response"),
    (Meaning::Unreachable("connection refused"), r"Connection to (?P<h>HOST):(?P<p>\d+) refused"),
    (Meaning::Unreachable("no answer"), r"Can't reach database server at `?(?P<h>HOST)`?:`?(?P<p>\d+)"),
    // MySQL and MariaDB.
    (Meaning::Unresolved, r"Unknown (?:MySQL |MariaDB )?server host '(?P<h>HOST)'"),
    (Meaning::Unreachable("no answer"), r"Can't connect to (?:MySQL |MariaDB )?server on '(?P<h>HOST?)(?::(?P<p>\d+))?'"),
    // redis-cli.
    (Meaning::Either, r"Could not connect to Redis at (?P<h>HOST):(?P<p>\d+): (?P<r>.+)"),
    // Java.
    (Meaning::Unresolved, r"UnknownHostException: (?P<h>HOST)"),
    (Meaning::Either, r"(?:Connect(?:Exception)?:? )(?:to|Connect to) (?P<h>HOST):(?P<p>\d+).* failed: (?P<r>.+)"),
    // Ruby, PHP, .NET.
    (Meaning::Either, r"Failed to open TCP connection to (?P<h>HOST):(?P<p>\d+) \((?P<r>[^)]*)"),
    (Meaning::Unresolved, r"getaddrinfo (?:for )?(?P<h>HOST)(?: failed)?: (?:Name|Temporary|nodename|No address)"),
    (Meaning::Unresolved, r"(?:Name or service not known|nodename nor servname provided, or not known|Resource temporarily unavailable) \((?P<h>HOST):\d+\)"),
    (Meaning::Unreachable("connection refused"), r"Connection refused \((?P<h>HOST):(?P<p>\d+)\)"),
    // nc in its three kinds, ssh, bash's /dev/tcp, ping, resolver tools.
    (Meaning::Either, r#"getaddrinfo for host "(?P<h>HOST)" port \S+: (?P<r>.+)"#),
    (Meaning::Either, r"connect to (?:host )?(?P<h>HOST)(?: \([^)]*\))? port (?P<p>\d+)(?: \(tcp\))?(?: failed)?: (?P<r>.+)"),
    (Meaning::Unresolved, r"(?P<h>HOST): forward host lookup failed"),
    (Meaning::Either, r"\[(?P<h>[0-9.]+)\] (?P<p>\d+) \([^)]*\) : (?P<r>.+)"),
    (Meaning::Either, r"/dev/tcp/(?P<h>HOST)/(?P<p>\d+): (?P<r>.+)"),
    (Meaning::Unresolved, r"^(?:ping|ping6|bash|sh|telnet|traceroute|getent|rsync|fping)(?:: line \d+)?: (?:unknown host )?(?P<h>HOST): (?:Name or service not known|Temporary failure in name resolution|No address associated|Name does not resolve|nodename nor servname|Try again)"),
    (Meaning::Unresolved, r"unknown host '?(?P<h>HOST)"),
    (Meaning::Unresolved, r"(?i)server can't find (?P<h>HOST): (?:NXDOMAIN|SERVFAIL|REFUSED)"),
    (Meaning::Unresolved, r"can't resolve '(?P<h>HOST)'"),
    (Meaning::Unresolved, r"Host (?P<h>HOST) not found: \d"),
    // curl's connections; Go's dial; BusyBox; wait-for-it.
    (Meaning::Either, r"Failed to connect to (?P<h>HOST) port (?P<p>\d+)(?: after \d+ ms)?: (?P<r>.+)"),
    (Meaning::Unreachable("connection reset"), r"(?i)connection reset by peer.* in connection to (?P<h>HOST):(?P<p>\d+)"),
    (Meaning::Either, r"dial (?:tcp|udp)[46]? (?P<h>HOST):(?P<p>\d+): (?P<r>.+)"),
    (Meaning::Either, r"can't connect to remote host \((?P<h>HOST)\): (?P<r>.+)"),
    (Meaning::Either, r"^(?:Connecting to|connect to) (?P<h>HOST)(?:\|[^|]*\|)?:(?P<p>\d+)\.\.\. failed: (?P<r>.+)"),
    (Meaning::Unreachable("timed out"), r"timeout occurred after waiting \d+ seconds for (?P<h>HOST):(?P<p>\d+)"),
    (Meaning::Unresolved, r"Resolving (?P<h>HOST) \([^)]*\)\.\.\. failed"),
    // URLs in front of a cause.
    (Meaning::Either, r"(?:error sending request for url \(|(?:Get|Post|Put|Head|Patch|Delete) .?)https?://(?:[^/@\s]*@)?(?P<h>HOST)(?::(?P<p>\d+))?[^ ]* ?.*(?P<r>Connection refused|connection refused|i/o timeout|no such host|dns error.*|deadline exceeded|timed out)"),
    // Nothing says which host: the resolver's own sentences, then the kernel's.
    (
        Meaning::Unresolved,
        r"(?i)name or service not known|temporary failure in name resolution|nodename nor servname provided|name does not resolve|no address associated with hostname|failed to lookup address information|getaddrinfo (?:failed|ENOTFOUND|EAI_AGAIN)|resolving timed out",
    ),
    (Meaning::Unreachable("connection refused"), r"(?i)connection refused|ECONNREFUSED|actively refused"),
    (Meaning::Unreachable("network unreachable"), r"(?i)network (?:is )?unreachable|ENETUNREACH"),
    (Meaning::Unreachable("no route to host"), r"(?i)no route to host|host is unreachable|EHOSTUNREACH"),
    (Meaning::Unreachable("connection reset"), r"(?i)connection reset by peer|curl: \((?:35|52|56)\)"),
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
        let (head, tail) = (&line[..line.floor_char_boundary(END)], &line[line.ceil_char_boundary(line.len() - END)..]);
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
        let unreachable = |reason: String| Complaint::Unreachable { target: target.clone(), reason };
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
mod tests {
    use super::*;

    fn unresolved(host: &str) -> Option<Complaint> {
        Some(Complaint::Unresolved { host: host.to_owned() })
    }

    fn unreachable(target: &str, reason: &str) -> Option<Complaint> {
        Some(Complaint::Unreachable {
            target: (!target.is_empty()).then(|| target.to_owned()),
            reason: reason.to_owned(),
        })
    }

    #[test]
    fn every_pattern_compiles() {
        assert!(PREFILTER.is_some() && UNRESOLVED_REASON.is_some());
        assert_eq!(COMPILED.len(), PATTERNS.len());
    }

    #[test]
    fn names_that_do_not_resolve() {
        for (line, host) in [
            ("curl: (6) Could not resolve host: auth.openhands.invalid", "auth.openhands.invalid"),
            ("fatal: unable to access 'https://git.x.test/a.git/': Could not resolve host: git.x.test", "git.x.test"),
            ("wget: unable to resolve host address ‘queue.internal’", "queue.internal"),
            ("wget: bad address 'broker:5672'", "broker"),
            ("nc: bad address 'broker'", "broker"),
            ("ping: db.example: Name or service not known", "db.example"),
            ("ping: bad address 'db'", "db"),
            ("nc: getaddrinfo for host \"db\" port 5432: Name or service not known", "db"),
            ("Ncat: Could not resolve hostname \"db\": Name or service not known. QUITTING.", "db"),
            ("ssh: Could not resolve hostname git.example: Temporary failure in name resolution", "git.example"),
            ("socket.gaierror: [Errno -2] Name or service not known", ""),
            (
                "requests.exceptions.ConnectionError: HTTPSConnectionPool(host='idp.example', port=443): Max retries exceeded with url: / (Caused by NameResolutionError(\"<urllib3.connection.HTTPSConnection object at 0x7f>: Failed to resolve 'idp.example' ([Errno -2] Name or service not known)\"))",
                "idp.example",
            ),
            (
                "HTTPConnectionPool(host='idp', port=80): Max retries exceeded with url: / (Caused by NewConnectionError('<urllib3.connection.HTTPConnection object at 0x7f>: Failed to establish a new connection: [Errno -3] Temporary failure in name resolution'))",
                "idp",
            ),
            ("aiohttp: Cannot connect to host idp:80 ssl:default [Name or service not known]", "idp"),
            ("Error: getaddrinfo ENOTFOUND queue.example", "queue.example"),
            ("Error: getaddrinfo EAI_AGAIN queue", "queue"),
            ("dial tcp: lookup api.example on 10.96.0.10:53: no such host", "api.example"),
            ("Get \"https://api.example/v1\": dial tcp: lookup api.example: no such host", "api.example"),
            ("dial tcp: lookup api.example on 10.96.0.10:53: read udp 10.1.0.4:4->10.96.0.10:53: i/o timeout", "api.example"),
            ("Caused by: java.net.UnknownHostException: idp.example: Name or service not known", "idp.example"),
            ("error sending request: dns error: failed to lookup address information: Name or service not known", ""),
            ("psql: error: could not translate host name \"pg.example\" to address: Name or service not known", "pg.example"),
            ("ERROR 2005 (HY000): Unknown MySQL server host 'maria' (-2)", "maria"),
            ("Could not connect to Redis at cache:6379: Name or service not known", "cache"),
            ("bash: line 1: nowhere.example: Name or service not known", "nowhere.example"),
            ("** server can't find auth.example: NXDOMAIN", "auth.example"),
            ("nslookup: can't resolve 'auth.example'", "auth.example"),
            ("Host auth.example not found: 3(NXDOMAIN)", "auth.example"),
            ("php_network_getaddresses: getaddrinfo for db failed: Name or service not known", "db"),
            ("Failed to open TCP connection to api:80 (getaddrinfo: Name or service not known)", "api"),
            ("System.Net.Http.HttpRequestException: Name or service not known (api.example:443)", "api.example"),
            ("getaddrinfo: nodename nor servname provided, or not known", ""),
        ] {
            assert_eq!(complaint(line), unresolved(host), "{line}");
        }
    }

    #[test]
    fn targets_that_do_not_answer() {
        for (line, target, reason) in [
            ("curl: (7) Failed to connect to 10.1.2.3 port 8080 after 0 ms: Couldn't connect to server", "10.1.2.3:8080", "no answer"),
            ("curl: (7) Failed to connect to keycloak port 80: Connection refused", "keycloak:80", "connection refused"),
            ("curl: (28) Failed to connect to a.example port 443 after 3001 ms: Timeout was reached", "a.example:443", "timed out"),
            ("curl: (28) Connection timed out after 3001 milliseconds", "", "timed out"),
            ("curl: (35) OpenSSL SSL_connect: Connection reset by peer in connection to a.example:443", "a.example:443", "connection reset"),
            ("wget: can't connect to remote host (10.1.2.3): Connection refused", "10.1.2.3", "connection refused"),
            ("Connecting to a.example (a.example)|10.1.2.3|:80... failed: Connection refused.", "", "connection refused"),
            ("nc: connect to db port 5432 (tcp) failed: Connection refused", "db:5432", "connection refused"),
            ("Ncat: Connection refused.", "", "connection refused"),
            ("(UNKNOWN) [10.1.2.3] 80 (http) : Connection refused", "10.1.2.3:80", "connection refused"),
            ("ConnectionRefusedError: [Errno 111] Connection refused", "", "connection refused"),
            ("ConnectionRefusedError: [Errno 111] Connect call failed ('10.1.2.3', 5432)", "10.1.2.3:5432", "connection refused"),
            ("Error: connect ECONNREFUSED 1.2.3.4:80", "1.2.3.4:80", "connection refused"),
            ("dial tcp 1.2.3.4:80: connect: connection refused", "1.2.3.4:80", "connection refused"),
            ("dial tcp 1.2.3.4:80: i/o timeout", "1.2.3.4:80", "timed out"),
            ("dial tcp 1.2.3.4:80: connect: network is unreachable", "1.2.3.4:80", "network unreachable"),
            ("java.net.ConnectException: Connection refused", "", "connection refused"),
            (
                "psql: error: connection to server at \"db\" (10.96.4.5), port 5432 failed: Connection refused",
                "db:5432",
                "connection refused",
            ),
            ("db:5432 - no response", "db:5432", "no response"),
            ("ERROR 2003 (HY000): Can't connect to MySQL server on 'maria:3306' (111)", "maria:3306", "no answer"),
            ("Could not connect to Redis at cache:6379: Connection refused", "cache:6379", "connection refused"),
            ("ssh: connect to host git.example port 22: Connection refused", "git.example:22", "connection refused"),
            ("bash: line 1: /dev/tcp/db/5432: Connection refused", "db:5432", "connection refused"),
            ("Error: P1001: Can't reach database server at `db:5432`", "db:5432", "no answer"),
            ("wait-for-it.sh: timeout occurred after waiting 15 seconds for db:5432", "db:5432", "timed out"),
            (
                "HTTPConnectionPool(host='idp', port=80): Max retries exceeded with url: / (Caused by NewConnectionError('<urllib3.connection.HTTPConnection object at 0x7f>: Failed to establish a new connection: [Errno 111] Connection refused'))",
                "idp:80",
                "connection refused",
            ),
            ("error trying to connect: tcp connect error: Connection refused (os error 111)", "", "connection refused"),
        ] {
            assert_eq!(complaint(line), unreachable(target, reason), "{line}");
        }
    }

    #[test]
    fn ordinary_lines_complain_about_nothing() {
        for line in [
            "Waiting for Keycloak to be ready...",
            "listening on 0.0.0.0:8080",
            "resolved 14 dependencies",
            "hostname: keycloak-0",
            "session timeout set to 30s",
            "timeout: 4m",
            "request refused by policy",
            "user alice not found: creating",
            "connected to database at db:5432",
            "",
        ] {
            assert_eq!(complaint(line), None, "{line}");
        }
    }

    #[test]
    fn lines_of_a_loop_have_one_shape() {
        assert_eq!(shape("attempt 9/60: waiting"), shape("attempt 10/60:  waiting"));
        assert_eq!(shape("2026-01-02T03:04:05Z trying 0af3c9b1d2"), shape("2026-01-02T03:04:15Z trying 9999c9b1d2"));
        assert_ne!(shape("creating realm"), shape("creating client"));
    }

    #[test]
    fn a_long_line_is_cut_at_a_character() {
        let line = format!("{}curl: (6) Could not resolve host: x.example", "é".repeat(3000));
        assert_eq!(complaint(&line), unresolved("x.example"));
    }
}
