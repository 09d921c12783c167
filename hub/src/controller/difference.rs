//! The smallest merge patch (RFC 7396) that turns one value into another: what is gone becomes null.

use serde_json::{Map, Value};

/// `None` when there is no difference.
pub(super) fn difference(before: &Value, after: &Value) -> Option<Value> {
    match (before, after) {
        (Value::Object(old), Value::Object(new)) => {
            let mut patch = Map::new();
            for key in old.keys().filter(|key| !new.contains_key(*key)) {
                patch.insert(key.clone(), Value::Null);
            }
            for (key, value) in new {
                match old.get(key) {
                    None => {
                        patch.insert(key.clone(), value.clone());
                    }
                    Some(old) => {
                        if let Some(inner) = difference(old, value) {
                            patch.insert(key.clone(), inner);
                        }
                    }
                }
            }
            (!patch.is_empty()).then_some(Value::Object(patch))
        }
        (old, new) => (old != new).then(|| new.clone()),
    }
}

/// As [`difference`], and what only `before` has stays: for objects that others write to as well.
pub(super) fn addition(before: &Value, after: &Value) -> Option<Value> {
    match (before, after) {
        (Value::Object(old), Value::Object(new)) => {
            let patch: Map<_, _> = new
                .iter()
                .filter_map(|(key, value)| {
                    let inner = match old.get(key) {
                        None => Some(value.clone()),
                        Some(old) => addition(old, value),
                    };
                    inner.map(|inner| (key.clone(), inner))
                })
                .collect();
            (!patch.is_empty()).then_some(Value::Object(patch))
        }
        (old, new) => (old != new).then(|| new.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_patch_says_what_changed_and_what_is_gone() {
        let before = json!({"a": 1, "b": {"c": 1, "d": 2}, "e": [1]});
        assert_eq!(difference(&before, &before), None);
        let after = json!({"a": 1, "b": {"c": 3}, "e": [1, 2]});
        assert_eq!(difference(&before, &after), Some(json!({"b": {"c": 3, "d": null}, "e": [1, 2]})));
        assert_eq!(addition(&before, &after), Some(json!({"b": {"c": 3}, "e": [1, 2]})));
        assert_eq!(addition(&before, &json!({"a": 1})), None);
    }
}
