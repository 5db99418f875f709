//! Changes that a JSON document, or any bytes, may have gone through.

use serde_json::{Value, json};

use crate::random::Random;

/// What stands where something else was expected.
fn odd(random: &mut Random) -> Value {
    const TEXTS: &[&str] = &[
        "",
        "/",
        "-",
        "a",
        "None",
        "True",
        "0",
        "-1",
        "99999999999999999999",
        "1Gi",
        "-1s",
        "9999999h",
        "{{",
        "%s",
        "…",
        "\u{0}",
        "0001-01-01T00:00:00Z",
        "-009999-01-02T01:59:59Z",
        "9999-12-30T22:00:00.999999999Z",
        "1970-01-01T00:00:00Z",
        "2026-01-02T03:04:05+14:00",
        "Job",
        "Pod",
        "Secret",
        "http://[::1]:99999/a?b=%zz",
        "sh -c 'while ! curl \"$X\"; do sleep 99999999999; done'",
    ];
    match random.below(12) {
        0 => Value::Null,
        1 => json!(true),
        2 => json!(-1),
        3 => json!(u64::MAX),
        4 => json!(i64::MIN),
        5 => json!(1e300),
        6 => json!([]),
        7 => json!({}),
        8 => json!([[{}], null, "a", {"name": 7}]),
        9 => Value::from("ab\u{e9}".repeat(random.below(5000))),
        _ => Value::from(*random.one(TEXTS)),
    }
}

/// Changes one value somewhere below this one.
pub fn change(value: &mut Value, random: &mut Random) {
    let stop = random.below(6) == 0;
    match value {
        Value::Object(fields) if !fields.is_empty() && !stop => {
            let at = random.below(fields.len());
            let Some(key) = fields.keys().nth(at).cloned() else { return };
            match random.below(12) {
                0 => {
                    fields.remove(&key);
                }
                1 => {
                    let value = fields.remove(&key).unwrap_or_default();
                    let other = fields.keys().next().cloned().unwrap_or_default();
                    fields.insert(other, value);
                }
                _ => change(&mut fields[&key], random),
            }
        }
        Value::Array(items) if !items.is_empty() && !stop => {
            let at = random.below(items.len());
            match random.below(12) {
                0 => {
                    items.remove(at);
                }
                1 => {
                    let again = items[at].clone();
                    items.extend(std::iter::repeat_n(again, random.below(50)));
                }
                _ => change(&mut items[at], random),
            }
        }
        // A number or a text nearly as it was is the more dangerous.
        Value::Number(number) if random.below(2) == 0 => {
            let number = number.as_i64().unwrap_or(0);
            *value = json!(random.one(&[
                0,
                1,
                number.wrapping_neg(),
                number.wrapping_mul(1000),
                number.saturating_sub(1),
                i64::MAX,
                i64::MIN
            ]));
        }
        Value::String(text) if random.below(2) == 0 && !text.is_empty() => {
            let at = text.floor_char_boundary(random.below(text.len()));
            let cut = text.split_off(at);
            if random.below(2) == 0 {
                let word: &str = random.one::<&str>(&[" ", "\n", ":", "\"", "9", "é"]);
                text.push_str(word);
                text.push_str(&cut);
            }
        }
        _ => *value = odd(random),
    }
}

/// Bytes that were right, and are so nearly everywhere still.
pub fn damaged(mut bytes: Vec<u8>, random: &mut Random) -> Vec<u8> {
    const WORDS: &[&[u8]] = &[
        b"\"items\":[",
        b"\nitems:\n- ",
        b"---\n",
        b"==== START logs for container a of pod b/c ====\n",
        b"&a *a",
        b"{",
        b"]",
        b"\"",
        b"\0",
        b"\xff",
    ];
    for _ in 0..=random.below(6) {
        if bytes.is_empty() {
            break;
        }
        let at = random.below(bytes.len());
        match random.below(6) {
            0 => bytes.truncate(at),
            1 => bytes[at] = random.next() as u8,
            2 => drop(bytes.splice(at..at, random.one(WORDS).iter().copied())),
            3 => {
                let end = (at + random.below(200)).min(bytes.len());
                bytes.drain(at..end);
            }
            4 => {
                let end = (at + random.below(2000)).min(bytes.len());
                let again = bytes[at..end].to_vec();
                let to = random.below(bytes.len());
                bytes.splice(to..to, again);
            }
            _ => bytes[at] ^= 1 << random.below(8),
        }
    }
    bytes
}
