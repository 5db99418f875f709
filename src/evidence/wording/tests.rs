//! What real programs print.

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
        (
            "fatal: unable to access 'https://git.x.test/a.git/': Could not resolve host: git.x.test",
            "git.x.test",
        ),
        ("wget: unable to resolve host address ‘queue.internal’", "queue.internal"),
        ("wget: bad address 'broker:5672'", "broker"),
        ("nc: bad address 'broker'", "broker"),
        ("ping: db.example: Name or service not known", "db.example"),
        ("ping: bad address 'db'", "db"),
        ("nc: getaddrinfo for host \"db\" port 5432: Name or service not known", "db"),
        (
            "Ncat: Could not resolve hostname \"db\": Name or service not known. QUITTING.",
            "db",
        ),
        (
            "ssh: Could not resolve hostname git.example: Temporary failure in name resolution",
            "git.example",
        ),
        ("socket.gaierror: [Errno -2] Name or service not known", ""),
        (
            "requests.exceptions.ConnectionError: HTTPSConnectionPool(host='idp.example', port=443): Max retries exceeded with url: / (Caused by NameResolutionError(\"<urllib3.connection.HTTPSConnection object at 0x7f>: Failed to resolve 'idp.example' ([Errno -2] Name or service not known)\"))",
            "idp.example",
        ),
        (
            "HTTPConnectionPool(host='idp', port=80): Max retries exceeded with url: / (Caused by NewConnectionError('<urllib3.connection.HTTPConnection object at 0x7f>: Failed to establish a new connection: [Errno -3] Temporary failure in name resolution'))",
            "idp",
        ),
        (
            "aiohttp: Cannot connect to host idp:80 ssl:default [Name or service not known]",
            "idp",
        ),
        ("Error: getaddrinfo ENOTFOUND queue.example", "queue.example"),
        ("Error: getaddrinfo EAI_AGAIN queue", "queue"),
        ("dial tcp: lookup api.example on 10.96.0.10:53: no such host", "api.example"),
        (
            "Get \"https://api.example/v1\": dial tcp: lookup api.example: no such host",
            "api.example",
        ),
        (
            "dial tcp: lookup api.example on 10.96.0.10:53: read udp 10.1.0.4:4->10.96.0.10:53: i/o timeout",
            "api.example",
        ),
        (
            "Caused by: java.net.UnknownHostException: idp.example: Name or service not known",
            "idp.example",
        ),
        (
            "error sending request: dns error: failed to lookup address information: Name or service not known",
            "",
        ),
        (
            "psql: error: could not translate host name \"pg.example\" to address: Name or service not known",
            "pg.example",
        ),
        ("ERROR 2005 (HY000): Unknown MySQL server host 'maria' (-2)", "maria"),
        ("Could not connect to Redis at cache:6379: Name or service not known", "cache"),
        ("bash: line 1: nowhere.example: Name or service not known", "nowhere.example"),
        ("** server can't find auth.example: NXDOMAIN", "auth.example"),
        ("nslookup: can't resolve 'auth.example'", "auth.example"),
        ("Host auth.example not found: 3(NXDOMAIN)", "auth.example"),
        (
            "php_network_getaddresses: getaddrinfo for db failed: Name or service not known",
            "db",
        ),
        (
            "Failed to open TCP connection to api:80 (getaddrinfo: Name or service not known)",
            "api",
        ),
        (
            "System.Net.Http.HttpRequestException: Name or service not known (api.example:443)",
            "api.example",
        ),
        ("getaddrinfo: nodename nor servname provided, or not known", ""),
    ] {
        assert_eq!(complaint(line), unresolved(host), "{line}");
    }
}

#[test]
fn targets_that_do_not_answer() {
    for (line, target, reason) in [
        (
            "curl: (7) Failed to connect to 10.1.2.3 port 8080 after 0 ms: Couldn't connect to server",
            "10.1.2.3:8080",
            "no answer",
        ),
        (
            "curl: (7) Failed to connect to keycloak port 80: Connection refused",
            "keycloak:80",
            "connection refused",
        ),
        (
            "curl: (28) Failed to connect to a.example port 443 after 3001 ms: Timeout was reached",
            "a.example:443",
            "timed out",
        ),
        ("curl: (28) Connection timed out after 3001 milliseconds", "", "timed out"),
        (
            "curl: (35) OpenSSL SSL_connect: Connection reset by peer in connection to a.example:443",
            "a.example:443",
            "connection reset",
        ),
        (
            "wget: can't connect to remote host (10.1.2.3): Connection refused",
            "10.1.2.3",
            "connection refused",
        ),
        (
            "Connecting to a.example (a.example)|10.1.2.3|:80... failed: Connection refused.",
            "",
            "connection refused",
        ),
        (
            "nc: connect to db port 5432 (tcp) failed: Connection refused",
            "db:5432",
            "connection refused",
        ),
        ("Ncat: Connection refused.", "", "connection refused"),
        (
            "(UNKNOWN) [10.1.2.3] 80 (http) : Connection refused",
            "10.1.2.3:80",
            "connection refused",
        ),
        ("ConnectionRefusedError: [Errno 111] Connection refused", "", "connection refused"),
        (
            "ConnectionRefusedError: [Errno 111] Connect call failed ('10.1.2.3', 5432)",
            "10.1.2.3:5432",
            "connection refused",
        ),
        ("Error: connect ECONNREFUSED 1.2.3.4:80", "1.2.3.4:80", "connection refused"),
        (
            "dial tcp 1.2.3.4:80: connect: connection refused",
            "1.2.3.4:80",
            "connection refused",
        ),
        ("dial tcp 1.2.3.4:80: i/o timeout", "1.2.3.4:80", "timed out"),
        (
            "dial tcp 1.2.3.4:80: connect: network is unreachable",
            "1.2.3.4:80",
            "network unreachable",
        ),
        ("java.net.ConnectException: Connection refused", "", "connection refused"),
        (
            "psql: error: connection to server at \"db\" (10.96.4.5), port 5432 failed: Connection refused",
            "db:5432",
            "connection refused",
        ),
        ("db:5432 - no response", "db:5432", "no response"),
        (
            "ERROR 2003 (HY000): Can't connect to MySQL server on 'maria:3306' (111)",
            "maria:3306",
            "no answer",
        ),
        (
            "Could not connect to Redis at cache:6379: Connection refused",
            "cache:6379",
            "connection refused",
        ),
        (
            "ssh: connect to host git.example port 22: Connection refused",
            "git.example:22",
            "connection refused",
        ),
        (
            "bash: line 1: /dev/tcp/db/5432: Connection refused",
            "db:5432",
            "connection refused",
        ),
        ("Error: P1001: Can't reach database server at `db:5432`", "db:5432", "no answer"),
        (
            "wait-for-it.sh: timeout occurred after waiting 15 seconds for db:5432",
            "db:5432",
            "timed out",
        ),
        (
            "HTTPConnectionPool(host='idp', port=80): Max retries exceeded with url: / (Caused by NewConnectionError('<urllib3.connection.HTTPConnection object at 0x7f>: Failed to establish a new connection: [Errno 111] Connection refused'))",
            "idp:80",
            "connection refused",
        ),
        (
            "error trying to connect: tcp connect error: Connection refused (os error 111)",
            "",
            "connection refused",
        ),
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
    assert_eq!(
        shape("2026-01-02T03:04:05Z trying 0af3c9b1d2"),
        shape("2026-01-02T03:04:15Z trying 9999c9b1d2")
    );
    assert_ne!(shape("creating realm"), shape("creating client"));
}

#[test]
fn a_long_line_is_cut_at_a_character() {
    let line = format!("{}curl: (6) Could not resolve host: x.example", "é".repeat(3000));
    assert_eq!(complaint(&line), unresolved("x.example"));
}
