//! Whether a schema is structural, with the refusals of Kubernetes.
//!
//! Works on the JSON of the schema, because it asks where something is said and not only what.

use serde_json::{Map, Value};

use super::FieldError;
use super::parse::child;
use super::vocabulary::{flag, keyed, list, object, text};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    Item,
    Field,
}

pub(crate) fn check(schema: &Value, errors: &mut Vec<FieldError>) {
    let mut found = Vec::new();
    if let Value::Object(schema) = schema {
        if flag(schema, "nullable") {
            found.push(FieldError::forbidden("nullable", "nullable cannot be true at the root"));
        }
        node(schema, Level::Root, "", &mut found);
        complete(schema, schema, "", "", &mut found);
    } else {
        found.push(FieldError::required("", ""));
    }
    found.sort_by_key(FieldError::to_string);
    errors.extend(found);
}

fn node(schema: &Map<String, Value>, level: Level, path: &str, errors: &mut Vec<FieldError>) {
    let kind = text(schema, "type");
    types(schema, kind, level, path, errors);

    if kind == "array" && schema.get("items").is_none_or(Value::is_null) {
        errors.push(FieldError::required(&child(path, "items"), "must be specified"));
    }
    if let Some(items) = object(schema, "items") {
        node(items, Level::Item, &child(path, "items"), errors);
    }
    for (name, property) in object(schema, "properties").into_iter().flatten() {
        if let Value::Object(property) = property {
            node(property, Level::Field, &keyed(path, "properties", name), errors);
        }
    }
    match schema.get("additionalProperties") {
        None | Some(Value::Null) => {}
        Some(additional) => {
            let path = child(path, "additionalProperties");
            if level == Level::Root {
                errors.push(FieldError::forbidden(&path, "must not be used at the root"));
            }
            if let Value::Object(additional) = additional {
                node(additional, Level::Field, &path, errors);
            }
        }
    }
    metadata(schema, level, path, errors);
    junctors(schema, path, errors);
}

fn types(schema: &Map<String, Value>, kind: &str, level: Level, path: &str, errors: &mut Vec<FieldError>) {
    let (embedded, preserve, int_or_string) = (
        flag(schema, "x-kubernetes-embedded-resource"),
        flag(schema, "x-kubernetes-preserve-unknown-fields"),
        flag(schema, "x-kubernetes-int-or-string"),
    );
    let at = child(path, "type");
    if embedded && kind != "object" {
        let detail = "must be object if x-kubernetes-embedded-resource is true";
        errors.push(match kind {
            "" => FieldError::required(&at, detail),
            _ => FieldError::invalid(&at, kind, detail),
        });
    } else if kind.is_empty() && !int_or_string && !preserve {
        let detail = match level {
            Level::Root => "must not be empty at the root",
            Level::Item => "must not be empty for specified array items",
            Level::Field => "must not be empty for specified object fields",
        };
        errors.push(FieldError::required(&at, detail));
    }
    if level == Level::Root && !kind.is_empty() && kind != "object" {
        errors.push(FieldError::invalid(&at, kind, "must be object at the root"));
    }
    if int_or_string {
        let detail = "must be false if x-kubernetes-int-or-string is true";
        if preserve {
            let path = child(path, "x-kubernetes-preserve-unknown-fields");
            errors.push(FieldError::invalid(&path, true, detail));
        }
        if embedded {
            errors.push(FieldError::invalid(&child(path, "x-kubernetes-embedded-resource"), true, detail));
        }
    }
    if embedded && schema.contains_key("additionalProperties") {
        let detail = "must not be used if x-kubernetes-embedded-resource is set";
        errors.push(FieldError::forbidden(&child(path, "additionalProperties"), detail));
    }
    if embedded && !preserve && object(schema, "properties").is_none_or(Map::is_empty) {
        let detail = "must not be empty if x-kubernetes-embedded-resource is true without \
                      x-kubernetes-preserve-unknown-fields";
        errors.push(FieldError::required(&child(path, "properties"), detail));
    }
}

fn metadata(schema: &Map<String, Value>, level: Level, path: &str, errors: &mut Vec<FieldError>) {
    let Some(properties) = object(schema, "properties") else { return };
    if level != Level::Root && !flag(schema, "x-kubernetes-embedded-resource") {
        return;
    }
    for name in ["kind", "apiVersion"] {
        if let Some(Value::Object(property)) = properties.get(name)
            && text(property, "type") != "string"
        {
            let at = child(&keyed(path, "properties", name), "type");
            errors.push(FieldError::invalid(&at, text(property, "type"), "must be string"));
        }
    }
    let Some(Value::Object(meta)) = properties.get("metadata") else { return };
    let at = keyed(path, "properties", "metadata");
    if text(meta, "type") != "object" {
        errors.push(FieldError::invalid(&child(&at, "type"), text(meta, "type"), "must be object"));
    }
    if level != Level::Root {
        return;
    }
    let only_names = object(meta, "properties").is_none_or(|properties| {
        properties.keys().all(|name| matches!(name.as_str(), "name" | "generateName"))
    });
    let allowed = ["type", "properties", "description", "default"];
    if !only_names || meta.keys().any(|name| !allowed.contains(&name.as_str())) {
        let detail = "must not specify anything other than name and generateName, but metadata is implicitly \
                      specified";
        errors.push(FieldError::forbidden(&at, detail));
    }
}

const JUNCTORS: [&str; 3] = ["allOf", "anyOf", "oneOf"];

fn junctors(schema: &Map<String, Value>, path: &str, errors: &mut Vec<FieldError>) {
    for name in JUNCTORS {
        for (i, below) in list(schema, name).iter().enumerate() {
            let at = format!("{}[{i}]", child(path, name));
            let whole_is_any_of = name == "anyOf" && is_int_or_string(list(schema, name));
            let Value::Object(below) = below else { continue };
            let first_all_of = name == "allOf" && i == 0 && is_int_or_string(list(below, "anyOf"));
            // Both are how a field says that it takes an integer or a string.
            if whole_is_any_of || first_all_of {
                continue;
            }
            nested(below, &at, errors);
        }
    }
    if let Some(below) = object(schema, "not") {
        nested(below, &child(path, "not"), errors);
    }
}

fn is_int_or_string(list: &[Value]) -> bool {
    let types: Vec<_> = list.iter().filter_map(|item| item.get("type").and_then(Value::as_str)).collect();
    types == ["integer", "string"]
}

/// Inside `allOf` and its like only values may be restricted.
fn nested(schema: &Map<String, Value>, path: &str, errors: &mut Vec<FieldError>) {
    let given = |name: &str| match schema.get(name) {
        None | Some(Value::Null | Value::Bool(false)) => false,
        Some(Value::String(text)) => !text.is_empty(),
        Some(Value::Array(items)) => !items.is_empty(),
        Some(_) => true,
    };
    for (name, detail) in [
        ("type", "must be empty to be structural"),
        ("additionalProperties", "must be undefined to be structural"),
        ("default", "must be undefined to be structural"),
        ("title", "must be empty to be structural"),
        ("description", "must be empty to be structural"),
        ("nullable", "must be false to be structural"),
        ("x-kubernetes-preserve-unknown-fields", "must be false to be structural"),
        ("x-kubernetes-embedded-resource", "must be false to be structural"),
        ("x-kubernetes-int-or-string", "must be false to be structural"),
        ("x-kubernetes-list-map-keys", "must be empty to be structural"),
        ("x-kubernetes-list-type", "must be undefined to be structural"),
        ("x-kubernetes-map-type", "must be undefined to be structural"),
        ("x-kubernetes-validations", "must be empty to be structural"),
    ] {
        if given(name) {
            errors.push(FieldError::forbidden(&child(path, name), detail));
        }
    }
    if let Some(items) = object(schema, "items") {
        nested(items, &child(path, "items"), errors);
    }
    for (name, property) in object(schema, "properties").into_iter().flatten() {
        let at = keyed(path, "properties", name);
        if name == "metadata" {
            errors.push(FieldError::forbidden(&at, "must not be specified in a nested context"));
        }
        if let Value::Object(property) = property {
            nested(property, &at, errors);
        }
    }
    junctors(schema, path, errors);
}

/// What a junctor restricts has to be specified outside of it.
fn complete(
    restriction: &Map<String, Value>,
    schema: &Map<String, Value>,
    path: &str,
    at: &str,
    errors: &mut Vec<FieldError>,
) {
    for name in JUNCTORS {
        for (i, below) in list(restriction, name).iter().enumerate() {
            if let Value::Object(below) = below {
                complete_below(below, schema, path, &format!("{}[{i}]", child(at, name)), errors);
            }
        }
    }
    if let Some(below) = object(restriction, "not") {
        complete_below(below, schema, path, &child(at, "not"), errors);
    }
}

fn complete_below(
    restriction: &Map<String, Value>,
    schema: &Map<String, Value>,
    path: &str,
    at: &str,
    errors: &mut Vec<FieldError>,
) {
    complete(restriction, schema, path, at, errors);
    let mut visit = |below: &Value, specified: Option<&Value>, path: String, at: String| {
        let Value::Object(below) = below else { return };
        match specified {
            Some(Value::Object(specified)) => complete_below(below, specified, &path, &at, errors),
            _ => errors.push(FieldError::required(&path, format!("because it is defined in {at}"))),
        }
    };
    if let Some(items) = restriction.get("items") {
        visit(items, schema.get("items"), child(path, "items"), child(at, "items"));
    }
    for (name, below) in object(restriction, "properties").into_iter().flatten() {
        let specified = object(schema, "properties").and_then(|properties| properties.get(name));
        visit(below, specified, keyed(path, "properties", name), keyed(at, "properties", name));
    }
}
