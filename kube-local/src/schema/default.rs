//! Defaulting.

use serde_json::Value;

use super::parse::child;
use super::{Additional, FieldError, Node, prune, validate};

fn is_missing(value: &Value, node: &Node) -> bool {
    value.is_null() && !node.nullable
}

/// Fills in defaults, outermost first, so that a default is itself filled in.
pub(crate) fn apply(node: &Node, value: &mut Value) {
    if !node.has_defaults {
        return;
    }
    match value {
        Value::Object(map) => {
            for (name, property) in &node.properties {
                if let Some(default) = &property.default
                    && map.get(name).is_none_or(|value| is_missing(value, property))
                {
                    map.insert(name.clone(), default.clone());
                }
            }
            for (name, value) in map.iter_mut() {
                if let Some(property) = node.properties.get(name) {
                    apply(property, value);
                } else if let Additional::Schema(below) = &node.additional {
                    fill(below, value);
                    apply(below, value);
                }
            }
        }
        Value::Array(items) => {
            let Some(below) = &node.items else { return };
            for item in items {
                fill(below, item);
                apply(below, item);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn fill(node: &Node, value: &mut Value) {
    if let Some(default) = &node.default
        && is_missing(value, node)
    {
        value.clone_from(default);
    }
}

/// Drops fields that are null, cannot be, and have no default.
pub(crate) fn drop_nulls(node: &Node, value: &mut Value) {
    match value {
        Value::Object(map) => map.retain(|name, value| {
            let below = match (node.properties.get(name), &node.additional) {
                (Some(property), _) => property,
                (None, Additional::Schema(below)) => below,
                (None, Additional::Undefined | Additional::Allowed(_)) => return true,
            };
            if is_missing(value, below) && below.default.is_none() {
                return false;
            }
            drop_nulls(below, value);
            true
        }),
        Value::Array(items) => {
            if let Some(below) = &node.items {
                items.iter_mut().for_each(|item| drop_nulls(below, item));
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Defaults have to be valid themselves.
pub(crate) fn check(node: &Node, path: &str, errors: &mut Vec<FieldError>) {
    if let Some(default) = &node.default {
        let at = child(path, "default");
        if path.is_empty() {
            errors.push(FieldError::forbidden(&at, "must not be set at the root"));
            return;
        }
        if !prune::unknown(node, default).is_empty() {
            errors.push(FieldError::invalid(&at, default.clone(), "must not have unknown fields"));
        }
        errors.extend(validate::object(node, default, None).into_iter().map(|error| FieldError {
            path: if error.path == "<nil>" { at.clone() } else { child(&at, &error.path) },
            ..error
        }));
    }
    for (name, below) in &node.properties {
        check(below, &format!("{}[{name}]", child(path, "properties")), errors);
    }
    if let Additional::Schema(below) = &node.additional {
        check(below, &child(path, "additionalProperties"), errors);
    }
    if let Some(below) = &node.items {
        check(below, &child(path, "items"), errors);
    }
}
