//! Lists that are sets or keyed hold each item once; embedded resources say what they are.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::parse::child;
use super::{Additional, FieldError, FieldErrorKind, ListType, Node, old_item};

pub(crate) fn check(
    node: &Node,
    value: &Value,
    old: Option<&Value>,
    path: &str,
    errors: &mut Vec<FieldError>,
) {
    if !node.has_lists || old == Some(value) {
        return;
    }
    match value {
        Value::Object(map) => {
            if node.embedded {
                check_embedded(map, path, errors);
            }
            for (name, value) in map {
                let below = match (node.properties.get(name), &node.additional) {
                    (Some(property), _) => property,
                    (None, Additional::Schema(below)) => below,
                    (None, Additional::Undefined | Additional::Allowed(_)) => continue,
                };
                let old = old.and_then(|old| old.get(name));
                if below.has_lists {
                    let path = match node.properties.contains_key(name) {
                        true => child(path, name),
                        false => format!("{path}[{name}]"),
                    };
                    check(below, value, old, &path, errors);
                }
            }
        }
        Value::Array(items) => {
            match &node.list_type {
                ListType::Atomic => {}
                ListType::Set => duplicates(items, Value::clone, path, errors),
                ListType::Map(keys) => {
                    let odd = items.iter().position(|item| !item.is_object() && !item.is_null());
                    if let Some(i) = odd {
                        let detail = "must be an object for an array of list-type map";
                        errors.push(FieldError::invalid(&format!("{path}[{i}]"), items[i].clone(), detail));
                        return;
                    }
                    let identity = |item: &Value| {
                        let fields =
                            keys.iter().filter_map(|key| Some((key.clone(), item.get(key)?.clone())));
                        Value::Object(fields.collect::<Map<_, _>>())
                    };
                    duplicates(items, identity, path, errors);
                }
            }
            let Some(below) = node.items.as_deref().filter(|below| below.has_lists) else { return };
            for (i, item) in items.iter().enumerate() {
                check(below, item, old_item(node, item, old), &format!("{path}[{i}]"), errors);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn duplicates(items: &[Value], identity: impl Fn(&Value) -> Value, path: &str, errors: &mut Vec<FieldError>) {
    let mut seen = HashSet::with_capacity(items.len());
    let mut told = HashSet::new();
    for (i, item) in items.iter().enumerate() {
        let identity = identity(item);
        let text = identity.to_string();
        if seen.insert(text.clone()) {
            continue;
        }
        if told.insert(text) {
            let path = format!("{path}[{i}]");
            errors.push(FieldError::new(&path, FieldErrorKind::Duplicate, Some(identity), ""));
        }
    }
}

fn check_embedded(map: &Map<String, Value>, path: &str, errors: &mut Vec<FieldError>) {
    for name in ["apiVersion", "kind"] {
        let path = child(path, name);
        match map.get(name) {
            None => errors.push(FieldError::required(&path, "")),
            Some(Value::String(text)) if text.is_empty() => {
                errors.push(FieldError::invalid(&path, "", "must not be empty"));
            }
            Some(Value::String(_)) => {}
            Some(other) => errors.push(FieldError::invalid(&path, other.clone(), "must be a string")),
        }
    }
}
