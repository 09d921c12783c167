//! Canonical JSON: sorted keys, no white space. Equal objects give equal bytes, whatever order a chart or a map had.

use bytes::Bytes;
use serde_json::Value;

/// The canonical bytes of a value.
pub fn canonical(value: &Value) -> Bytes {
    let mut text = String::new();
    write(value, &mut text);
    Bytes::from(text)
}

fn write(value: &Value, text: &mut String) {
    match value {
        Value::Object(map) => {
            let mut keys: Vec<_> = map.iter().collect();
            keys.sort_by(|one, other| one.0.cmp(other.0));
            text.push('{');
            for (index, (key, value)) in keys.into_iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                scalar(&Value::String(key.clone()), text);
                text.push(':');
                write(value, text);
            }
            text.push('}');
        }
        Value::Array(list) => {
            text.push('[');
            for (index, value) in list.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                write(value, text);
            }
            text.push(']');
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => scalar(value, text),
    }
}

fn scalar(value: &Value, text: &mut String) {
    text.push_str(&value.to_string());
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn keys_are_sorted_at_every_depth() {
        let value: Value = serde_json::from_str(r#"{ "b": [ {"z":1,"a":"\"ü"} ], "a": null }"#).unwrap();
        assert_eq!(canonical(&value), r#"{"a":null,"b":[{"a":"\"ü","z":1}]}"#.as_bytes());
        assert_eq!(canonical(&json!({})), "{}");
    }
}
