//! What differs between two manifests, by path.

use std::collections::BTreeSet;

use serde_json::Value;

/// One field that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// `spec.template.spec.containers[migrate].image`: entries of lists by their name, where they have one, else by their number.
    pub path: String,
    pub before: Option<Value>,
    pub after: Option<Value>,
}

impl Difference {
    /// `path: before → after`, values cut to what differs.
    pub fn text(&self) -> String {
        let (before, after) = match (&self.before, &self.after) {
            (Some(Value::String(before)), Some(Value::String(after))) => excerpts(before, after),
            (before, after) => (shown(before.as_ref()), shown(after.as_ref())),
        };
        format!("{}: {before} → {after}", self.path)
    }
}

/// How many characters of a value are shown, and how many of those that both have in common before it differs.
const SHOWN: usize = 60;
const COMMON: usize = 20;

fn shown(value: Option<&Value>) -> String {
    match value {
        None => "(none)".to_owned(),
        Some(Value::String(text)) => cut(text),
        Some(value) => cut(&value.to_string()),
    }
}

fn cut(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= SHOWN {
        return if line.is_empty() { "\"\"".to_owned() } else { line };
    }
    line.chars().take(SHOWN).chain(['…']).collect()
}

/// Of long texts the part that differs: their beginnings may be the same for kilobytes.
fn excerpts(before: &str, after: &str) -> (String, String) {
    let same = before.chars().zip(after.chars()).take_while(|(a, b)| a == b).count();
    let short = |text: &str| text.chars().count() <= SHOWN;
    if same <= COMMON || short(before) && short(after) {
        return (cut(before), cut(after));
    }
    let from = |text: &str| {
        let rest: String = text.chars().skip(same - COMMON).collect();
        format!("…{}", cut(&rest))
    };
    (from(before), from(after))
}

/// Everything in which two values differ, in the order of their paths below `path`.
pub fn differences(before: &Value, after: &Value, path: &str) -> Vec<Difference> {
    let mut found = Vec::new();
    compare(Some(before), Some(after), path, &mut found);
    found
}

/// What `wanted` says and `actual` does not have so; what only `actual` has was added by defaults.
pub fn contradictions(actual: &Value, wanted: &Value, path: &str) -> Vec<Difference> {
    let mut found = differences(actual, wanted, path);
    found.retain(|difference| difference.after.is_some());
    found
}

fn compare(before: Option<&Value>, after: Option<&Value>, path: &str, found: &mut Vec<Difference>) {
    if before == after {
        return;
    }
    match (before, after) {
        (Some(Value::Object(one)), Some(Value::Object(other))) => {
            let keys: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
            for key in keys {
                let dotted = if key.contains(['.', '/']) {
                    format!("{path}[{key}]")
                } else {
                    format!("{path}.{key}")
                };
                compare(one.get(key), other.get(key), &dotted, found);
            }
        }
        (Some(Value::Array(one)), Some(Value::Array(other))) => match (names(one), names(other)) {
            (Some(one_names), Some(other_names)) => {
                let mut all = one_names.clone();
                all.extend(other_names.iter().filter(|name| !one_names.contains(name)).copied());
                let of = |items: &'_ [Value], names: &[&str], name: &str| {
                    names
                        .iter()
                        .position(|known| *known == name)
                        .and_then(|index| items.get(index))
                        .cloned()
                };
                let before = found.len();
                for name in all {
                    let (one, other) = (of(one, &one_names, name), of(other, &other_names, name));
                    compare(one.as_ref(), other.as_ref(), &format!("{path}[{name}]"), found);
                }
                // The same entries in another order.
                if found.len() == before {
                    push(
                        Some(&one_names.join(", ").into()),
                        Some(&other_names.join(", ").into()),
                        path,
                        found,
                    );
                }
            }
            _ => {
                for index in 0..one.len().max(other.len()) {
                    compare(one.get(index), other.get(index), &format!("{path}[{index}]"), found);
                }
            }
        },
        _ => push(before, after, path, found),
    }
}

fn push(before: Option<&Value>, after: Option<&Value>, path: &str, found: &mut Vec<Difference>) {
    found.push(Difference {
        path: path.to_owned(),
        before: before.cloned(),
        after: after.cloned(),
    });
}

/// The names of all entries, where each has one of its own.
fn names(items: &[Value]) -> Option<Vec<&str>> {
    let names: Vec<&str> = items
        .iter()
        .map(|item| item.get("name").and_then(Value::as_str))
        .collect::<Option<_>>()?;
    let distinct: BTreeSet<&str> = names.iter().copied().collect();
    (distinct.len() == names.len() && !names.is_empty()).then_some(names)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn texts(before: Value, after: Value) -> Vec<String> {
        differences(&before, &after, "spec").iter().map(Difference::text).collect()
    }

    #[test]
    fn fields_are_found_by_their_path() {
        let before = json!({"a": 1, "b": {"c": [1, 2]}, "labels": {"app.example/x": "y"}});
        let after = json!({"a": 1, "b": {"c": [1, 3, 4]}, "labels": {"app.example/x": "z"}, "d": true});
        assert_eq!(
            texts(before, after),
            [
                "spec.b.c[1]: 2 → 3",
                "spec.b.c[2]: (none) → 4",
                "spec.d: (none) → true",
                "spec.labels[app.example/x]: y → z"
            ]
        );
    }

    #[test]
    fn entries_with_names_are_compared_by_name() {
        let before = json!([{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]);
        let after = json!([{"name": "NEW", "value": "0"}, {"name": "A", "value": "1"}, {"name": "B", "value": ""}]);
        assert_eq!(
            texts(before.clone(), after),
            ["spec[B].value: 2 → \"\"", "spec[NEW]: (none) → {\"name\":\"NEW\",\"value\":\"0\"}"]
        );
        let turned = json!([{"name": "B", "value": "2"}, {"name": "A", "value": "1"}]);
        assert_eq!(texts(before, turned), ["spec: A, B → B, A"]);
    }

    #[test]
    fn a_name_that_is_there_twice_is_no_key() {
        let before = json!([{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]);
        let after = json!([{"name": "A", "value": "1"}, {"name": "A", "value": "3"}]);
        assert_eq!(texts(before, after), ["spec[1].value: 2 → 3"]);
    }

    #[test]
    fn of_long_texts_the_part_that_differs_is_shown() {
        let script = |step: &str| {
            json!(format!(
                "{}\n{step}\n{}",
                "echo the same\n".repeat(90),
                "echo and so on\n".repeat(90)
            ))
        };
        let text = texts(script("migrate up"), script("migrate down")).remove(0);
        assert!(text.contains("migrate up") && text.contains("migrate down"), "{text}");
        assert!(text.chars().count() < 200, "{text}");
    }

    #[test]
    fn what_only_the_cluster_added_contradicts_nothing() {
        let live = json!({"image": "a:1", "imagePullPolicy": "IfNotPresent"});
        assert_eq!(contradictions(&live, &json!({"image": "a:1"}), "c"), []);
        assert_eq!(contradictions(&live, &json!({"image": "a:2"}), "c").len(), 1);
    }
}
