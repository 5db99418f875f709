//! Host names and addresses as they stand in a text.

use std::fmt;
use std::net::IpAddr;

/// A host with what stood around it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// `https`; empty where there was none.
    pub scheme: String,
    pub host: String,
    pub port: Option<u16>,
    /// With its slash; empty where there was none.
    pub path: String,
}

impl Address {
    /// Reads `scheme://user@host:port/path`, and where a bare host is allowed `host` and `host:port`.
    pub fn parse(text: &str, bare_allowed: bool) -> Option<Self> {
        let text = text.trim().trim_matches(['"', '\'']);
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme, rest)) => (scheme.rsplit(':').next().unwrap_or_default(), rest),
            None if bare_allowed => ("", text),
            None => return None,
        };
        let (authority, path) = match rest.find(['/', '?', '#']) {
            Some(index) => rest.split_at(index),
            None => (rest, ""),
        };
        let authority = authority.rsplit('@').next().unwrap_or_default();
        // Several servers in one address are rare; the first stands for all.
        let authority = authority.split(',').next().unwrap_or_default();
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) => (host, Some(port.parse().ok()?)),
            None => (authority, None),
        };
        is_host(host).then(|| Self {
            scheme: scheme.to_owned(),
            host: host.to_lowercase(),
            port,
            path: match path.split(['?', '#']).next().unwrap_or_default() {
                "/" => String::new(),
                path => path.to_owned(),
            },
        })
    }
}

/// Without what stood before an `@` (it may be a password) and behind a `?`.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.scheme.is_empty() {
            write!(f, "{}://", self.scheme)?;
        }
        f.write_str(&self.host)?;
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        f.write_str(&self.path)
    }
}

/// Whether a text can be a host name or an IPv4 address.
pub fn is_host(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 253
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.ends_with(|c: char| c.is_ascii_alphanumeric() || c == '.')
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'))
        && !text.contains("..")
        && (text.parse::<IpAddr>().is_ok() || text.bytes().any(|byte| byte.is_ascii_alphabetic()))
}

/// The host of a `host:port`, in lower case and without a closing dot.
pub fn host_of(target: &str) -> String {
    let host = match target.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => target,
    };
    host.trim_end_matches('.').to_lowercase()
}

/// Whether this is the container's own machine.
pub fn is_loopback(host: &str) -> bool {
    host == "localhost"
        || host.ends_with(".localhost")
        || host
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback() || address.is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Option<(String, String, Option<u16>, String)> {
        Address::parse(text, true).map(|address| (address.scheme, address.host, address.port, address.path))
    }

    #[test]
    fn reads_addresses() {
        let some = |scheme: &str, host: &str, port, path: &str| Some((scheme.to_owned(), host.to_owned(), port, path.to_owned()));
        assert_eq!(parsed("https://auth.x.invalid"), some("https", "auth.x.invalid", None, ""));
        assert_eq!(parsed("http://u:p@kc:8080/realms/a?b"), some("http", "kc", Some(8080), "/realms/a"));
        assert_eq!(
            parsed("jdbc:postgresql://db:5432/app"),
            some("postgresql", "db", Some(5432), "/app")
        );
        assert_eq!(parsed("db"), some("", "db", None, ""));
        assert_eq!(parsed("10.1.2.3:80"), some("", "10.1.2.3", Some(80), ""));
        assert_eq!(parsed("https://auth.${DOMAIN}"), None);
        assert_eq!(parsed("12"), None);
        assert_eq!(parsed("two words"), None);
        assert_eq!(Address::parse("db:5432", false), None);
    }

    #[test]
    fn hosts_of_targets() {
        assert_eq!(host_of("Db.Example.:80"), "db.example");
        assert_eq!(host_of("db"), "db");
    }
}
