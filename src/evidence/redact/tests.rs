use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::*;

#[test]
fn a_secret_value_is_replaced_wherever_it_turns_up() {
    let mut redactor = Redactor::new([7; 32]);
    let mut secret =
        json!({"kind": "Secret", "metadata": {"name": "s"}, "data": {"password": STANDARD.encode("canary-1234"), "on": "MQ=="}});
    redactor.object(&mut secret);
    assert_eq!(secret["data"]["password"]["length"], 11);
    assert_eq!(secret["data"]["on"]["length"], 1);
    let mut pod = json!({"kind": "Pod", "spec": {"containers": [{"args": ["--url=http://admin:canary-1234@db"], "env": [
        {"name": "DB_PASSWORD", "value": "canary-5678"}, {"name": "MODE", "value": "1"}]}]}});
    redactor.object(&mut pod);
    let log = redactor.text(&format!(
        "token={} or canary-1234, then canary-5678",
        STANDARD.encode("canary-1234")
    ));
    for text in [secret.to_string(), pod.to_string(), log] {
        assert!(
            !text.contains("canary") && !text.contains(&STANDARD.encode("canary-1234")),
            "{text}"
        );
    }
    assert_eq!(pod["spec"]["containers"][0]["env"][1]["value"], "1");
}

#[test]
fn an_object_keeps_its_name_when_a_secret_holds_the_same_word() {
    let mut redactor = Redactor::new([7; 32]);
    redactor.learn(b"parcels", None);
    let mut pod = json!({"kind": "Pod", "metadata": {"name": "parcels-x", "labels": {"app": "parcels"}}, "spec": {"containers": [
        {"name": "parcels", "args": ["--login=parcels"]}]}});
    redactor.object(&mut pod);
    assert_eq!(pod["metadata"]["name"], "parcels-x");
    assert_eq!(pod["metadata"]["labels"]["app"], "parcels");
    assert!(!pod["spec"]["containers"][0]["args"][0].as_str().unwrap().contains("parcels"));
}

#[test]
fn hashes_compare_within_a_collection_only() {
    let hash = |key| Redactor::new([key; 32]).stands_for(b"canary");
    assert_eq!(hash(1), hash(1));
    assert_ne!(hash(1), hash(2));
}

fn clean(text: &str) -> String {
    let clean = Redactor::new([7; 32]).text(text);
    let mut out = String::new();
    let mut rest = clean.as_str();
    while let Some((before, after)) = rest.split_once("[redacted: ") {
        out.push_str(before);
        out.push('*');
        rest = after.split_once(']').map_or("", |(_, after)| after);
    }
    out + rest
}

#[test]
fn a_credential_is_told_by_what_stands_around_it() {
    for (text, expected) in [
        (
            "level=info user=app password=quiet took=3ms",
            "level=info user=app password=* took=3ms",
        ),
        (
            "{\"user\":\"app\",\"token\":\"a\\\"b c\",\"n\":3}",
            "{\"user\":\"app\",\"token\":\"*\",\"n\":3}",
        ),
        ("{\\\"secret\\\":\\\"a b\\\",\\\"n\\\":3}", "{\\\"secret\\\":\\\"*\\\",\\\"n\\\":3}"),
        ("> Authorization: Bearer abc.def", "> Authorization: Bearer *"),
        (
            "curl -H 'X-Api-Key: k3y-k3y' http://a.invalid/x",
            "curl -H 'X-Api-Key: *' http://a.invalid/x",
        ),
        ("postgres://app:p%40ss@db.shop:5432/app", "postgres://app:*@db.shop:5432/app"),
        ("redis://:p#ss/w@cache:6379/0", "redis://:*@cache:6379/0"),
        ("amqp://a:b@h1:5672,amqp://c:d@h2:5672", "amqp://a:*@h1:5672,amqp://c:*@h2:5672"),
        (
            "GET https://a.invalid/x?page=2&access_token=ab%2Fc&size=1 401",
            "GET https://a.invalid/x?page=2&access_token=*&size=1 401",
        ),
        (
            "Server=db,1433;User Id=sa;Password=a;Encrypt=true",
            "Server=db,1433;User Id=sa;Password=*;Encrypt=true",
        ),
        ("db:\n  password: a b\n  host: db\n", "db:\n  password: *\n  host: db\n"),
        (
            "key:\n  privateKey: |\n    abc\n    def\n  host: db\n",
            "key:\n  privateKey: |\n    *\n  host: db\n",
        ),
        ("db.password = a\ndb.host = db\n", "db.password = *\ndb.host = db\n"),
        ("run --password quiet --level debug", "run --password * --level debug"),
        ("mysql -h db -u root -pquiet -e 'select 1'", "mysql -h db -u root -p* -e 'select 1'"),
        ("<db><password>quiet</password></db>", "<db><password>*</password></db>"),
        (
            "redirect=https%3A%2F%2Fa%3Ftoken%3Dquiet%26x",
            "redirect=https%3A%2F%2Fa%3Ftoken%3D*%26x",
        ),
    ] {
        assert_eq!(clean(text), expected);
    }
}

#[test]
fn what_detectors_read_stays() {
    for text in [
        "failed to authorize: failed to fetch anonymous token: unexpected status from GET request to https://r.invalid/token?scope=a: 401 Unauthorized",
        "MountVolume.SetUp failed for volume \"v\" : secret \"db-login\" not found",
        "couldn't find key password in Secret shop/db-login",
        "FATAL: password authentication failed for user \"app\"",
        "Error: secret \"db-login\" not found",
        "secrets \"db-login\" is forbidden: User \"system:serviceaccount:shop:web\" cannot get resource \"secrets\" in API group \"\" in the namespace \"shop\"",
        "until curl -sf \"$KC/health\" --header \"Authorization: Bearer $TOKEN\"; do sleep 1; done",
        "psql postgres://$USER:$PASSWORD@db.shop.svc:5432/app",
        "http://kc:8080/realms/a?email=a@b.invalid",
        "www-authenticate: Bearer realm=\"https://auth.invalid/token\",service=\"r.invalid\"",
        "Basic authentication is not supported",
        "tokenExpirationSeconds: 3600",
        "existingSecret: db-login",
        "password: ${PASSWORD}",
        "--token-file /var/run/secrets/token --password-file=/etc/p",
        "image sha256:4bcff63911fcb4448bd4fdacec207030997caf25e9bea4045fa6c8c44de311d1",
        "Back-off restarting failed container keycloak-config in pod keycloak-config-6jglt_shop(0f6c2a57-5d6c-4e38-9a53-6a6c2d1b7b11)",
    ] {
        assert_eq!(clean(text), text);
    }
}

#[test]
fn a_key_that_is_printed_line_by_line_goes() {
    let mut redactor = Redactor::new([7; 32]);
    let mut line = |text: &str| {
        let mut text = text.to_owned();
        redactor.line("p/c".to_owned(), &mut text);
        text
    };
    assert_eq!(line("-----BEGIN PRIVATE KEY-----"), "-----BEGIN PRIVATE KEY-----");
    assert!(line("quiet").starts_with("[redacted"));
    line("-----END PRIVATE KEY-----");
    assert_eq!(line("quiet"), "quiet");
    // The end of one whose beginning was not read.
    assert!(line("MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj").starts_with("[redacted"));
}
