//! Sets of owned fields (`fieldsV1`), and JSON pointers into the objects they speak of.
//!
//! A set names items of lists by their keys or values, a pointer by their position. What a position means is not in
//! the set, so a pointer through a list speaks of all its items.

use serde_json::{Map, Value};

/// The set without these fields, as text that is equal for equal sets; `None` if it is no set.
pub(crate) fn without(set: &str, pointers: &[String]) -> Option<String> {
    let mut set: Map<String, Value> = serde_json::from_str(set).ok()?;
    for pointer in pointers {
        remove(&mut set, &segments(pointer));
    }
    serde_json::to_string(&set).ok()
}

/// The parts of a JSON pointer (RFC 6901).
fn segments(pointer: &str) -> Vec<String> {
    pointer.split('/').skip(1).map(|segment| segment.replace("~1", "/").replace("~0", "~")).collect()
}

fn remove(set: &mut Map<String, Value>, path: &[String]) {
    let Some((first, rest)) = path.split_first() else { return };
    let field = format!("f:{first}");
    let position = first == "-" || first == "*" || first.bytes().all(|byte| byte.is_ascii_digit());
    let is_item = |key: &str| ["k:", "v:", "i:"].iter().any(|mark| key.starts_with(mark));
    let meant: Vec<String> =
        set.keys().filter(|key| **key == field || (position && is_item(key))).cloned().collect();
    for key in meant {
        let emptied = match set.get_mut(&key) {
            Some(Value::Object(inner)) if !rest.is_empty() => {
                remove(inner, rest);
                inner.is_empty()
            }
            _ => rest.is_empty(),
        };
        // Whoever loses the last field of a parent loses the parent.
        if emptied {
            set.remove(&key);
        }
    }
}

/// Gives `object` the values that `live` has at these pointers.
pub(crate) fn keep(object: &mut Value, live: &Value, pointers: &[String]) {
    for pointer in pointers {
        let Some(value) = live.pointer(pointer) else { continue };
        if let Some(place) = object.pointer_mut(pointer) {
            place.clone_from(value);
        } else if let Some((parent, _)) = pointer.rsplit_once('/')
            && let Some(Value::Object(parent)) = object.pointer_mut(parent)
            && let Some(name) = segments(pointer).pop()
        {
            parent.insert(name, value.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn left(set: &Value, pointers: &[&str]) -> Value {
        let pointers: Vec<String> = pointers.iter().map(|pointer| (*pointer).to_owned()).collect();
        serde_json::from_str(&without(&set.to_string(), &pointers).unwrap()).unwrap()
    }

    #[test]
    fn a_field_goes_with_parents_that_it_leaves_empty() {
        let set =
            json!({"f:metadata": {"f:labels": {"f:a/b": {}}}, "f:spec": {"f:replicas": {}, "f:paused": {}}});
        let rest = json!({"f:metadata": {"f:labels": {"f:a/b": {}}}, "f:spec": {"f:paused": {}}});
        assert_eq!(left(&set, &["/spec/replicas"]), rest);
        assert_eq!(left(&set, &["/spec/replicas", "/spec/paused", "/metadata/labels/a~1b"]), json!({}));
        assert_eq!(left(&set, &["/spec/absent", "/status", "", "spec"]), set);
    }

    #[test]
    fn a_position_means_all_items() {
        let item = |name: &str| format!("k:{{\"name\":\"{name}\"}}");
        let set = json!({"f:containers": {item("a"): {".": {}, "f:image": {}}, item("b"): {"f:image": {}}}});
        assert_eq!(left(&set, &["/containers/0/image"]), json!({"f:containers": {item("a"): {".": {}}}}));
        assert_eq!(left(&set, &["/containers/*"]), json!({}));
        assert!(without("[]", &[]).is_none());
    }

    #[test]
    fn live_values_are_kept_where_both_have_the_place() {
        let mut object = json!({"spec": {"replicas": 1, "list": [1, 2]}});
        let live = json!({"spec": {"replicas": 7, "list": [1, 9], "added": true}, "status": {"x": 1}});
        let pointers = ["/spec/replicas", "/spec/list/1", "/spec/added", "/status/x", "/spec/none", "bad"];
        keep(&mut object, &live, &pointers.map(str::to_owned));
        assert_eq!(object, json!({"spec": {"replicas": 7, "list": [1, 9], "added": true}}));
    }
}
