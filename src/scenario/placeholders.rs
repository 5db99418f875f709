//! What stands in `${…}` in manifests: where images are, durations, the namespace.

use serde_json::Value;

/// Puts what `values` holds in the place of its path in `${…}`. What it does not hold stays as it is: Flux has names of its own there.
pub fn filled(text: &str, values: &Value) -> String {
    let mut filled = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        filled.push_str(before);
        let held = after.split_once('}').and_then(|(name, after)| {
            let value = values.pointer(&format!("/{}", name.replace('.', "/")))?;
            Some((value.as_str().map_or_else(|| value.to_string(), str::to_owned), after))
        });
        match held {
            Some((value, after)) => {
                filled.push_str(&value);
                rest = after;
            }
            None => {
                filled.push_str("${");
                rest = after;
            }
        }
    }
    filled.push_str(rest);
    filled
}

/// The same in every text of a value.
pub fn filled_in(value: &Value, values: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(filled(text, values)),
        Value::Array(items) => items.iter().map(|item| filled_in(item, values)).collect(),
        Value::Object(fields) => fields.iter().map(|(key, value)| (key.clone(), filled_in(value, values))).collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_is_known_is_filled_in() {
        let values = json!({"namespace": "shop", "durations": {"start": 4}});
        assert_eq!(
            filled("a ${namespace} b ${durations.start}s ${SECRET_DOMAIN} ${", &values),
            "a shop b 4s ${SECRET_DOMAIN} ${"
        );
    }
}
