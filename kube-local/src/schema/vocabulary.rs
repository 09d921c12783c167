//! Which words a schema may use, with the refusals of Kubernetes: keywords, list and map types, rules.
//!
//! Works on the JSON of the schema. What passes here is asked next whether it is structural.

use serde_json::{Map, Value};

use super::parse::child;
use super::{FieldError, FieldErrorKind};

pub(crate) fn check(schema: &Value, errors: &mut Vec<FieldError>) {
    let Value::Object(schema) = schema else {
        errors.push(FieldError::required("", ""));
        return;
    };
    if flag(schema, "nullable") {
        errors.push(FieldError::forbidden("nullable", "nullable cannot be true at the root"));
    }
    node(schema, "", errors);
}

pub(crate) fn flag(schema: &Map<String, Value>, name: &str) -> bool {
    schema.get(name).and_then(Value::as_bool).unwrap_or(false)
}

pub(crate) fn text<'a>(schema: &'a Map<String, Value>, name: &str) -> &'a str {
    schema.get(name).and_then(Value::as_str).unwrap_or("")
}

pub(crate) fn object<'a>(schema: &'a Map<String, Value>, name: &str) -> Option<&'a Map<String, Value>> {
    schema.get(name).and_then(Value::as_object)
}

pub(crate) fn list<'a>(schema: &'a Map<String, Value>, name: &str) -> &'a [Value] {
    schema.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

pub(crate) fn keyed(path: &str, name: &str, key: &str) -> String {
    format!("{}[{key}]", child(path, name))
}

fn node(schema: &Map<String, Value>, path: &str, errors: &mut Vec<FieldError>) {
    let kind = text(schema, "type");
    unsupported(schema, path, errors);
    one_of(
        kind,
        &["array", "boolean", "integer", "number", "object", "string"],
        &child(path, "type"),
        errors,
    );
    list_type(schema, kind, path, errors);
    map_type(schema, kind, path, errors);
    for (i, rule) in list(schema, "x-kubernetes-validations").iter().enumerate() {
        let path = format!("{}[{i}]", child(path, "x-kubernetes-validations"));
        rule_texts(schema, rule, &path, errors);
    }
    let additional = schema.get("additionalProperties");
    if let Some(additional) = additional.filter(|value| !value.is_null() && **value != Value::Bool(true))
        && !object(schema, "properties").is_none_or(Map::is_empty)
        && (additional.is_object() || *additional == Value::Bool(false))
    {
        let detail = "additionalProperties and properties are mutual exclusive";
        errors.push(FieldError::forbidden(&child(path, "additionalProperties"), detail));
    }
    for name in ["items", "additionalProperties", "not"] {
        if let Some(below) = object(schema, name) {
            node(below, &child(path, name), errors);
        }
    }
    for (name, property) in object(schema, "properties").into_iter().flatten() {
        if let Value::Object(property) = property {
            node(property, &keyed(path, "properties", name), errors);
        }
    }
    for name in ["allOf", "anyOf", "oneOf"] {
        for (i, below) in list(schema, name).iter().enumerate() {
            if let Value::Object(below) = below {
                node(below, &format!("{}[{i}]", child(path, name)), errors);
            }
        }
    }
}

fn one_of(value: &str, known: &[&str], path: &str, errors: &mut Vec<FieldError>) {
    if !value.is_empty() && !known.contains(&value) {
        let quoted: Vec<_> = known.iter().map(|name| format!("{name:?}")).collect();
        let detail = format!("supported values: {}", quoted.join(", "));
        errors.push(FieldError::new(path, FieldErrorKind::NotSupported, Some(value.into()), detail));
    }
}

fn unsupported(schema: &Map<String, Value>, path: &str, errors: &mut Vec<FieldError>) {
    for name in ["id", "additionalItems", "patternProperties", "definitions", "dependencies", "$ref"] {
        if schema.get(name).is_some_and(|value| !value.is_null()) {
            errors.push(FieldError::forbidden(&child(path, name), format!("{name} is not supported")));
        }
    }
    if flag(schema, "uniqueItems") {
        let detail = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        errors.push(FieldError::forbidden(&child(path, "uniqueItems"), detail));
    }
    if schema.get("items").is_some_and(Value::is_array) {
        let detail = "items must be a schema object and not an array";
        errors.push(FieldError::forbidden(&child(path, "items"), detail));
    }
    if schema.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(false)) {
        let path = child(path, "x-kubernetes-preserve-unknown-fields");
        errors.push(FieldError::invalid(&path, false, "must be true or undefined"));
    }
}

fn list_type(schema: &Map<String, Value>, kind: &str, path: &str, errors: &mut Vec<FieldError>) {
    let list_type = text(schema, "x-kubernetes-list-type");
    let at = child(path, "x-kubernetes-list-type");
    one_of(list_type, &["atomic", "set", "map"], &at, errors);
    let keys = list(schema, "x-kubernetes-list-map-keys");
    let at_keys = child(path, "x-kubernetes-list-map-keys");
    if !list_type.is_empty() && kind != "array" {
        let (at, detail) = (child(path, "type"), "must be array if x-kubernetes-list-type is specified");
        errors.push(match kind {
            "" => FieldError::required(&at, detail),
            _ => FieldError::invalid(&at, kind, detail),
        });
    }
    if !keys.is_empty() && list_type != "map" {
        let at = child(path, "x-kubernetes-list-type");
        let detail = "must be map if x-kubernetes-list-map-keys is non-empty";
        errors.push(match list_type {
            "" => FieldError::required(&at, detail),
            _ => FieldError::invalid(&at, list_type, detail),
        });
    }
    let items = object(schema, "items");
    if list_type == "set" {
        set_items(items, path, errors);
    }
    if list_type != "map" {
        return;
    }
    if keys.is_empty() {
        errors.push(FieldError::required(&at_keys, "must not be empty if x-kubernetes-list-type is map"));
    }
    let Some(items) = items else {
        let detail = "must have a schema if x-kubernetes-list-type is map";
        errors.push(FieldError::required(&child(path, "items"), detail));
        return;
    };
    if text(items, "type") != "object" {
        let detail = "must be object if parent array's x-kubernetes-list-type is map";
        errors.push(FieldError::invalid(&child(path, "items.type"), text(items, "type"), detail));
    }
    if flag(items, "nullable") {
        let detail = "cannot be nullable when x-kubernetes-list-type is map";
        errors.push(FieldError::forbidden(&child(path, "items.nullable"), detail));
    }
    map_keys(items, keys, path, errors);
}

fn set_items(items: Option<&Map<String, Value>>, path: &str, errors: &mut Vec<FieldError>) {
    let Some(items) = items else { return };
    let detail = "must be atomic as item of a list with x-kubernetes-list-type=set";
    if text(items, "type") == "array" && !matches!(text(items, "x-kubernetes-list-type"), "" | "atomic") {
        errors.push(FieldError::invalid(&child(path, "items.x-kubernetes-list-type"), Value::Null, detail));
    }
    if text(items, "type") == "object" && text(items, "x-kubernetes-map-type") != "atomic" {
        errors.push(FieldError::invalid(&child(path, "items.x-kubernetes-map-type"), Value::Null, detail));
    }
    if flag(items, "nullable") {
        let detail = "cannot be nullable when x-kubernetes-list-type is set";
        errors.push(FieldError::forbidden(&child(path, "items.nullable"), detail));
    }
}

fn map_keys(items: &Map<String, Value>, keys: &[Value], path: &str, errors: &mut Vec<FieldError>) {
    let at_keys = child(path, "x-kubernetes-list-map-keys");
    let below = child(path, "items");
    let mut seen: Vec<&str> = Vec::new();
    for key in keys.iter().filter_map(Value::as_str) {
        let all = Value::Array(keys.to_vec());
        let property = object(items, "properties").and_then(|properties| properties.get(key));
        let Some(Value::Object(property)) = property else {
            errors.push(FieldError::invalid(&at_keys, all, "entries must all be names of item properties"));
            continue;
        };
        if seen.contains(&key) {
            errors.push(FieldError::invalid(&at_keys, all, "must not contain duplicate entries"));
        }
        seen.push(key);
        let at = keyed(&below, "properties", key);
        if matches!(text(property, "type"), "array" | "object") {
            let detail = "must be a scalar type if parent array's x-kubernetes-list-type is map";
            errors.push(FieldError::invalid(&child(&at, "type"), text(items, "type"), detail));
        }
        let required = list(items, "required").iter().any(|name| name == key);
        if !required && property.get("default").is_none_or(Value::is_null) {
            let detail = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a \
                          required property";
            errors.push(FieldError::required(&child(&at, "default"), detail));
        }
        if flag(property, "nullable") {
            let detail = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable";
            errors.push(FieldError::forbidden(&child(&at, "nullable"), detail));
        }
    }
}

fn map_type(schema: &Map<String, Value>, kind: &str, path: &str, errors: &mut Vec<FieldError>) {
    let map_type = text(schema, "x-kubernetes-map-type");
    if map_type.is_empty() {
        return;
    }
    if kind != "object" {
        let (at, detail) = (child(path, "type"), "must be object if x-kubernetes-map-type is specified");
        errors.push(match kind {
            "" => FieldError::required(&at, detail),
            _ => FieldError::invalid(&at, kind, detail),
        });
    }
    one_of(map_type, &["atomic", "granular"], &child(path, "x-kubernetes-map-type"), errors);
}

fn rule_texts(schema: &Map<String, Value>, rule: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let given = |name: &str| rule.get(name).and_then(Value::as_str);
    let empty = |name: &str| given(name).is_some_and(|text| !text.is_empty() && text.trim().is_empty());
    let broken = |name: &str| given(name).is_some_and(|text| text.trim().contains(['\n', '\r']));
    let at = |name: &str| child(path, name);
    let value = |name: &str| given(name).unwrap_or_default().to_owned();
    if given("rule").is_none_or(|text| text.trim().is_empty()) {
        errors.push(FieldError::required(&at("rule"), "rule is not specified"));
    }
    if empty("message") {
        errors.push(FieldError::invalid(&at("message"), value("message"), "must be non-empty if specified"));
    } else if broken("message") {
        errors.push(FieldError::invalid(&at("message"), value("message"), "must not contain line breaks"));
    } else if broken("rule") && given("message").is_none_or(str::is_empty) {
        let detail = "message must be specified if rule contains line breaks";
        errors.push(FieldError::required(&at("message"), detail));
    }
    if empty("messageExpression") {
        let detail = "messageExpression must be non-empty if specified";
        errors.push(FieldError::required(&at("messageExpression"), detail));
    }
    if empty("fieldPath") {
        errors.push(FieldError::invalid(
            &at("fieldPath"),
            value("fieldPath"),
            "must be non-empty if specified",
        ));
    } else if broken("fieldPath") {
        errors.push(FieldError::invalid(
            &at("fieldPath"),
            value("fieldPath"),
            "must not contain line breaks",
        ));
    }
    if given("fieldPath").is_some_and(|path| !path.trim().is_empty() && !names_field(schema, path.trim())) {
        errors.push(FieldError::invalid(&at("fieldPath"), value("fieldPath"), "must be a valid path"));
    }
    let reasons = ["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];
    one_of(&value("reason"), &reasons, &at("reason"), errors);
}

/// Whether a path such as `.limits['cpu.max']` names a field of the schema.
fn names_field(schema: &Map<String, Value>, path: &str) -> bool {
    let mut rest = path;
    let mut at = schema;
    while !rest.is_empty() {
        let name;
        if let Some(quoted) = rest.strip_prefix("['") {
            let Some((quoted, after)) = quoted.split_once("']") else { return false };
            (name, rest) = (quoted, after);
        } else {
            let Some(dotted) = rest.strip_prefix('.') else { return false };
            let end = dotted.find(['.', '[']).unwrap_or(dotted.len());
            (name, rest) = dotted.split_at(end);
        }
        let property = object(at, "properties").and_then(|properties| object(properties, name));
        match property.or_else(|| object(at, "additionalProperties")) {
            Some(below) => at = below,
            None => return false,
        }
    }
    true
}
