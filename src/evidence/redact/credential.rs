//! Tells by its name what holds a credential, and by its look what may be one.

/// How sure a name is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Named {
    /// What it holds is a credential.
    Credential,
    /// It holds a credential, or only the name of the Secret that does: `secret`, `existingSecret`, `auth-secret`.
    SecretOrItsName,
}

/// Ends of words. They are glued to others as often as not: `PGPASSWORD`, `authtoken`.
const WORDS: &[&str] = &[
    "password",
    "passwd",
    "passphrase",
    "passcode",
    "pwd",
    "secret",
    "token",
    "apikey",
    "accesskey",
    "privatekey",
    "secretkey",
    "credential",
    "credentials",
    "requirepass",
    "masterauth",
];

/// Words that make a credential of the word `key` behind them.
const KEYS: &[&str] = &[
    "access",
    "account",
    "api",
    "app",
    "auth",
    "client",
    "cookie",
    "crypt",
    "encryption",
    "hmac",
    "jwt",
    "license",
    "master",
    "private",
    "secret",
    "session",
    "shared",
    "signing",
    "ssh",
    "storage",
    "webhook",
];

/// Words behind which a name means something about a credential, and not the credential.
const ABOUT: &[&str] = &[
    "algorithm",
    "annotations",
    "audience",
    "class",
    "count",
    "dir",
    "directory",
    "enabled",
    "endpoint",
    "expiration",
    "expires",
    "expiry",
    "file",
    "format",
    "header",
    "host",
    "issuer",
    "kind",
    "labels",
    "length",
    "limit",
    "manager",
    "minutes",
    "mode",
    "mount",
    "name",
    "names",
    "namespace",
    "path",
    "policy",
    "port",
    "prefix",
    "provider",
    "ref",
    "refs",
    "required",
    "rotation",
    "seconds",
    "selector",
    "size",
    "store",
    "suffix",
    "timeout",
    "ttl",
    "type",
    "uri",
    "url",
    "version",
    "volume",
];

/// Words before `secret` with which it is the name of a Secret at least as often.
const OBJECTS: &[&str] = &[
    "auth",
    "ca",
    "cert",
    "certificate",
    "existing",
    "image",
    "pull",
    "source",
    "target",
    "tls",
];

/// What a field, a variable, a flag or a header of this name holds; nothing where it is no credential.
pub fn named(name: &str) -> Option<Named> {
    // A name that long is none.
    if name.len() > 128 {
        return None;
    }
    // The domain of an annotation says nothing of it.
    let words = words(name.rsplit('/').next().unwrap_or(name));
    let credential = |at: usize| {
        let word = words[at].as_str();
        let key = word == "key" && at > 0 && KEYS.contains(&words[at - 1].as_str());
        key || matches!(word, "pass" | "authorization" | "cookie") || WORDS.iter().any(|end| word.ends_with(end))
    };
    let last = (0..words.len()).rev().find(|at| credential(*at))?;
    if words[last + 1..].iter().any(|word| ABOUT.contains(&word.as_str())) {
        return None;
    }
    let before = last.checked_sub(1).map(|before| words[before].as_str());
    let object = words[last] == "secret" && before.is_none_or(|before| OBJECTS.contains(&before));
    Some(if object { Named::SecretOrItsName } else { Named::Credential })
}

/// The same for a variable in the environment. There a credential is what only sounds like one, too, unless its name says that it is
/// something about one and its value looks like that.
pub fn named_in_environment(name: &str, value: &str) -> bool {
    const PARTS: &[&str] = &[
        "PASSWORD",
        "PASSWD",
        "TOKEN",
        "SECRET",
        "API_KEY",
        "APIKEY",
        "PRIVATE_KEY",
        "CREDENTIAL",
    ];
    match named(name) {
        Some(Named::Credential) => true,
        Some(Named::SecretOrItsName) => !is_name(value),
        None => {
            let upper = name.to_ascii_uppercase();
            let about = words(name).last().is_some_and(|last| ABOUT.contains(&last.as_str()));
            let sounds = PARTS.iter().any(|part| upper.contains(part));
            sounds && !(about && (is_name(value) || value.contains("://") || is_path(value)))
        }
    }
}

/// Whether a value under such a name is one that has to go.
pub fn is_value(named: Named, value: &str) -> bool {
    let other = value.is_empty() || is_reference(value) || is_word(value) || is_path(value) || value.contains("://") || is_replaced(value);
    !other && (named == Named::Credential || !is_name(value))
}

/// Whether it stands for what was taken out before, by us or by whoever printed it.
pub fn is_replaced(value: &str) -> bool {
    let only = |byte: u8, least: usize| value.len() >= least && value.bytes().all(|other| other.eq_ignore_ascii_case(&byte));
    value.starts_with("[redacted") || only(b'*', 3) || only(b'x', 4)
}

/// Whether a value in the middle of prose is one: `token: Xk29…` and not `token: unexpected status`.
pub fn looks_secret(value: &str) -> bool {
    let has = |kind: fn(&u8) -> bool| value.as_bytes().iter().any(kind);
    let letters = has(u8::is_ascii_alphabetic);
    let mixed = has(u8::is_ascii_lowercase) && value.bytes().skip(1).any(|byte| byte.is_ascii_uppercase());
    let marks = value.bytes().any(|byte| {
        matches!(
            byte,
            b'!' | b'#' | b'$' | b'%' | b'&' | b'*' | b'+' | b'?' | b'@' | b'^' | b'~' | b'|'
        )
    });
    value.len() >= 6 && (has(u8::is_ascii_digit) && letters || mixed || marks)
}

/// Whether a value is worth to be searched for everywhere. `postgres` is a password now and then, and the name of a host in each line.
pub fn is_telling(value: &str) -> bool {
    value.len() >= 8
        && !value
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || matches!(byte, b'-' | b'.' | b'_' | b' '))
}

/// Whether it can be the name of an object, with its namespace or without.
pub fn is_name(value: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.' | b'/');
    // A word of random digits is none that anybody gives.
    let random = value.len() >= 16 && !value.contains(['-', '.', '/']) && value.bytes().any(|byte| byte.is_ascii_digit());
    value.bytes().all(allowed) && !random
}

/// `$NAME`, `$(NAME)`, `${NAME}`, `{{ … }}`, `<name>`: what is put in there is not told.
fn is_reference(value: &str) -> bool {
    let variable = |name: &str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.'));
    let between = |open: &str, close: &str| value.strip_prefix(open).and_then(|rest| rest.strip_suffix(close));
    let braces = between("${", "}").map(|inner| inner.trim_end_matches(":?").trim_end_matches(":-"));
    let plain = between("$(", ")").or(braces).or_else(|| value.strip_prefix('$'));
    plain.is_some_and(variable) || between("{{", "}}").is_some() || between("<", ">").is_some_and(|inner| !inner.contains(['<', '>']))
}

fn is_word(value: &str) -> bool {
    [
        "true", "false", "null", "none", "nil", "yes", "no", "~", "{}", "[]", "|", ">", "|-", ">-", "|+",
    ]
    .iter()
    .any(|word| value.eq_ignore_ascii_case(word))
}

/// A path in the places where containers have files; anything else that begins with a slash may be base64.
fn is_path(value: &str) -> bool {
    const ROOTS: &[&str] = &[
        "/app/",
        "/config/",
        "/etc/",
        "/home/",
        "/mnt/",
        "/opt/",
        "/run/",
        "/secrets/",
        "/tmp/",
        "/usr/",
        "/var/",
        "/vault/",
        "./",
    ];
    ROOTS.iter().any(|root| value.starts_with(root)) && !value.contains(['+', '='])
}

/// The words that a name is made of, in lower case: `dbPassword`, `DB_PASSWORD` and `db.password` are `db` and `password`.
fn words(name: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let bytes = name.as_bytes();
    let mut new = true;
    for (at, byte) in bytes.iter().enumerate() {
        if !byte.is_ascii_alphanumeric() {
            new = true;
            continue;
        }
        let before = at.checked_sub(1).map(|before| bytes[before]);
        let next = bytes.get(at + 1);
        let rises = before.is_some_and(|before| before.is_ascii_lowercase() || before.is_ascii_digit());
        let ends = before.is_some_and(|before| before.is_ascii_uppercase()) && next.is_some_and(u8::is_ascii_lowercase);
        new |= byte.is_ascii_uppercase() && (rises || ends);
        if new {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut() {
            word.push(byte.to_ascii_lowercase() as char);
        }
        new = false;
    }
    // `password2` is the second of them.
    for word in &mut words {
        let end = word.trim_end_matches(|c: char| c.is_ascii_digit()).len();
        if end > 0 {
            word.truncate(end);
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_what_is_a_credential() {
        for name in [
            "password",
            "DB_PASSWORD",
            "dbPassword",
            "db.password",
            "PGPASSWORD",
            "--api-key",
            "X-Api-Key",
            "clientSecret",
            "AWS_SECRET_ACCESS_KEY",
            "APIKey",
            "authtoken",
            "MYSQL_PWD",
            "token",
            "accessToken",
            "password2",
            "VAULT_SECRET_ID",
            "AccountKey",
            "password_hash",
            "DB_PASS",
            "Authorization",
            "private_key",
        ] {
            assert_eq!(named(name), Some(Named::Credential), "{name}");
        }
        for name in [
            "secret",
            "existingSecret",
            "auth-secret",
            "imagePullSecret",
            "nginx.ingress.kubernetes.io/auth-tls-secret",
        ] {
            assert_eq!(named(name), Some(Named::SecretOrItsName), "{name}");
        }
        for name in [
            "secretName",
            "passwordFile",
            "max_tokens",
            "tokenExpirationSeconds",
            "TOKEN_URL",
            "secretKeyRef",
            "key",
            "keyPath",
            "author",
            "compass_type",
            "csi.storage.k8s.io/provisioner-secret-name",
            "bypassed",
        ] {
            assert_eq!(named(name), None, "{name}");
        }
    }

    #[test]
    fn a_variable_about_a_credential_keeps_what_looks_like_that() {
        assert!(named_in_environment("DB_PASSWORD", "postgres"));
        assert!(named_in_environment("TOKEN_A", "x"));
        assert!(named_in_environment("SECRET_NAME", "Xy7!kk"));
        assert!(!named_in_environment("SECRET_NAME", "db-login"));
        assert!(!named_in_environment("TOKEN_URL", "https://auth.invalid/token"));
        assert!(!named_in_environment("PASSWORD_FILE", "/run/secrets/p"));
        assert!(!named_in_environment("LEVEL", "debug"));
    }

    #[test]
    fn values_that_only_refer_to_one_stay() {
        for value in [
            "$TOKEN",
            "$(TOKEN)",
            "${TOKEN}",
            "{{ .Values.token }}",
            "<token>",
            "/run/secrets/token",
            "true",
            "https://a.invalid",
            "***",
        ] {
            assert!(!is_value(Named::Credential, value), "{value}");
        }
        for value in ["x", "12345", "${TOKEN:-hunter}", "/8Fk+2s=", "pa$$word", "postgres"] {
            assert!(is_value(Named::Credential, value), "{value}");
        }
        assert!(!is_value(Named::SecretOrItsName, "db-login-2"));
        assert!(is_value(Named::SecretOrItsName, "6f1e8a2b9c4d7e3f"));
    }

    #[test]
    fn prose_is_no_value() {
        assert!(looks_secret("k3yk3yk3y") && looks_secret("AbCdEf") && looks_secret("blue!otter"));
        assert!(!looks_secret("unexpected") && !looks_secret("Unauthorized") && !looks_secret("401"));
    }
}
