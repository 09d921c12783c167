//! Reading and writing untyped objects by path. Absent and mistyped steps read as `None`.

use serde_json::{Map, Value, json};

/// The value at a path of field names.
pub(crate) fn at<'a>(object: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(object, |value, step| value.get(*step))
}

/// The string at a path.
pub(crate) fn text<'a>(object: &'a Value, path: &[&str]) -> Option<&'a str> {
    at(object, path)?.as_str()
}

/// The integer at a path.
pub(crate) fn integer(object: &Value, path: &[&str]) -> Option<i64> {
    at(object, path)?.as_i64()
}

/// The array at a path; empty where there is none.
pub(crate) fn items<'a>(object: &'a Value, path: &[&str]) -> &'a [Value] {
    at(object, path).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// `metadata.name`, empty where it is absent.
pub(crate) fn name(object: &Value) -> &str {
    text(object, &["metadata", "name"]).unwrap_or_default()
}

/// `metadata.namespace`, empty where it is absent.
pub(crate) fn namespace(object: &Value) -> &str {
    text(object, &["metadata", "namespace"]).unwrap_or_default()
}

/// `metadata.uid`, empty where it is absent.
pub(crate) fn uid(object: &Value) -> &str {
    text(object, &["metadata", "uid"]).unwrap_or_default()
}

/// Whether the object is being deleted.
pub(crate) fn deleting(object: &Value) -> bool {
    at(object, &["metadata", "deletionTimestamp"]).is_some_and(|value| !value.is_null())
}

/// The finalizers of the object.
pub(crate) fn finalizers(object: &Value) -> Vec<&str> {
    items(object, &["metadata", "finalizers"]).iter().filter_map(Value::as_str).collect()
}

/// Writes a value at a path and makes the objects in between.
pub(crate) fn set(object: &mut Value, path: &[&str], value: Value) {
    let Some((last, steps)) = path.split_last() else {
        *object = value;
        return;
    };
    let mut here = object;
    for step in steps {
        if !here.is_object() {
            *here = json!({});
        }
        let Some(map) = here.as_object_mut() else { return };
        here = map.entry((*step).to_owned()).or_insert_with(|| json!({}));
    }
    if !here.is_object() {
        *here = json!({});
    }
    if let Some(map) = here.as_object_mut() {
        map.insert((*last).to_owned(), value);
    }
}

/// Writes a default: only where nothing, or null, stands at the path.
pub(crate) fn set_default(object: &mut Value, path: &[&str], value: Value) {
    if at(object, path).is_none_or(Value::is_null) {
        set(object, path, value);
    }
}

/// Removes what stands at a path and returns it.
pub(crate) fn remove(object: &mut Value, path: &[&str]) -> Option<Value> {
    let (last, steps) = path.split_last()?;
    let mut here = object;
    for step in steps {
        here = here.get_mut(*step)?;
    }
    here.as_object_mut()?.remove(*last)
}

/// Copies what stands at a path of `from`, absence included.
pub(crate) fn copy(from: &Value, to: &mut Value, path: &[&str]) {
    match at(from, path) {
        Some(value) => set(to, path, value.clone()),
        None => {
            remove(to, path);
        }
    }
}

/// The mutable map of the object's metadata, made when absent.
pub(crate) fn metadata(object: &mut Value) -> &mut Map<String, Value> {
    if !object.is_object() {
        *object = json!({});
    }
    let map = object.as_object_mut().expect("the value was just made an object");
    let metadata = map.entry("metadata").or_insert_with(|| json!({}));
    if !metadata.is_object() {
        *metadata = json!({});
    }
    metadata.as_object_mut().expect("metadata was just made an object")
}

/// Removes one finalizer; true when it was there.
pub(crate) fn remove_finalizer(object: &mut Value, finalizer: &str) -> bool {
    let metadata = metadata(object);
    let Some(Value::Array(list)) = metadata.get_mut("finalizers") else { return false };
    let before = list.len();
    list.retain(|one| one.as_str() != Some(finalizer));
    let removed = list.len() < before;
    if list.is_empty() {
        metadata.remove("finalizers");
    }
    removed
}
