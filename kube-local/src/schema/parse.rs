//! Turns an `openAPIV3Schema` into the tree that the other modules walk.

use regex::Regex;
use serde_json::{Map, Number, Value};

use super::format::Format;
use super::rule::Rule;
use super::{Additional, Bound, Checks, FieldError, Kind, ListType, Node};

pub(crate) fn child(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// Parses a schema; what is wrong with its patterns and rules goes to `errors`.
pub(crate) fn root(schema: &Value, errors: &mut Vec<FieldError>) -> Node {
    node(schema, None, "", errors)
}

fn node(schema: &Value, uncorrelated: Option<&str>, path: &str, errors: &mut Vec<FieldError>) -> Node {
    let Value::Object(schema) = schema else { return Node::default() };
    let flag = |name: &str| schema.get(name).and_then(Value::as_bool).unwrap_or(false);
    let mut node = Node {
        kind: kind(schema),
        nullable: flag("nullable"),
        default: schema.get("default").cloned().filter(|default| !default.is_null()),
        preserve_unknown: flag("x-kubernetes-preserve-unknown-fields"),
        embedded: flag("x-kubernetes-embedded-resource"),
        int_or_string: flag("x-kubernetes-int-or-string"),
        list_type: list_type(schema),
        ..Node::default()
    };
    node.checks = checks(schema, node.kind, path, errors);
    if let Some(Value::Object(properties)) = schema.get("properties") {
        for (name, property) in properties {
            let path = format!("{}[{name}]", child(path, "properties"));
            node.properties.insert(name.clone(), self::node(property, uncorrelated, &path, errors));
        }
    }
    node.additional = match schema.get("additionalProperties") {
        None | Some(Value::Null) => Additional::Undefined,
        Some(Value::Bool(allowed)) => Additional::Allowed(*allowed),
        Some(below) => {
            let path = child(path, "additionalProperties");
            Additional::Schema(Box::new(self::node(below, uncorrelated, &path, errors)))
        }
    };
    if let Some(items) = schema.get("items").filter(|items| !items.is_null()) {
        // Only the items of keyed lists have an old self.
        let keyed = matches!(node.list_type, ListType::Map(_));
        let uncorrelated = uncorrelated.or(if keyed { None } else { Some(path) });
        node.items = Some(Box::new(self::node(items, uncorrelated, &child(path, "items"), errors)));
    }
    let rules = schema.get("x-kubernetes-validations").and_then(Value::as_array);
    for (i, rule) in rules.into_iter().flatten().enumerate() {
        let path = format!("{}[{i}]", child(path, "x-kubernetes-validations"));
        node.rules.extend(Rule::parse(rule, &node, uncorrelated, &path, errors));
    }
    sum_up(&mut node);
    node
}

fn sum_up(node: &mut Node) {
    let (mut rules, mut lists) =
        (!node.rules.is_empty(), node.list_type != ListType::Atomic || node.embedded);
    let mut defaults = false;
    let additional = match &node.additional {
        Additional::Schema(below) => Some(&**below),
        Additional::Undefined | Additional::Allowed(_) => None,
    };
    for below in node.properties.values().chain(additional).chain(node.items.as_deref()) {
        rules |= below.has_rules;
        lists |= below.has_lists;
        defaults |= below.has_defaults || below.default.is_some();
    }
    (node.has_rules, node.has_lists, node.has_defaults) = (rules, lists, defaults);
}

fn kind(schema: &Map<String, Value>) -> Kind {
    match schema.get("type").and_then(Value::as_str) {
        Some("object") => Kind::Object,
        Some("array") => Kind::Array,
        Some("string") => Kind::String,
        Some("integer") => Kind::Integer,
        Some("number") => Kind::Number,
        Some("boolean") => Kind::Boolean,
        _ => Kind::Any,
    }
}

fn list_type(schema: &Map<String, Value>) -> ListType {
    match schema.get("x-kubernetes-list-type").and_then(Value::as_str) {
        Some("set") => ListType::Set,
        Some("map") => {
            let keys = schema.get("x-kubernetes-list-map-keys").and_then(Value::as_array);
            let keys = keys.into_iter().flatten().filter_map(|key| key.as_str().map(str::to_owned));
            ListType::Map(keys.collect())
        }
        _ => ListType::Atomic,
    }
}

fn checks(schema: &Map<String, Value>, kind: Kind, path: &str, errors: &mut Vec<FieldError>) -> Checks {
    let count = |name: &str| schema.get(name).and_then(Value::as_u64);
    let number = |name: &str| match schema.get(name) {
        Some(Value::Number(number)) => Some(number.clone()),
        _ => None,
    };
    let bound = |name: &str, exclusive: &str| {
        let exclusive = schema.get(exclusive).and_then(Value::as_bool).unwrap_or(false);
        number(name).map(|value: Number| Bound { value, exclusive })
    };
    let texts = |name: &str| -> Vec<String> {
        let list = schema.get(name).and_then(Value::as_array);
        list.into_iter().flatten().filter_map(|text| text.as_str().map(str::to_owned)).collect()
    };
    let nested = |name: &str, errors: &mut Vec<FieldError>| -> Vec<Node> {
        let list = schema.get(name).and_then(Value::as_array);
        let list = list.into_iter().flatten().enumerate();
        list.map(|(i, below)| node(below, None, &format!("{}[{i}]", child(path, name)), errors)).collect()
    };
    Checks {
        required: texts("required"),
        one_of_values: schema.get("enum").and_then(Value::as_array).cloned().unwrap_or_default(),
        format: schema.get("format").and_then(Value::as_str).and_then(|name| Format::parse(name, kind)),
        pattern: pattern(schema, path, errors),
        length_min: count("minLength"),
        length_max: count("maxLength"),
        minimum: bound("minimum", "exclusiveMinimum"),
        maximum: bound("maximum", "exclusiveMaximum"),
        multiple_of: number("multipleOf"),
        items_min: count("minItems"),
        items_max: count("maxItems"),
        properties_min: count("minProperties"),
        properties_max: count("maxProperties"),
        all_of: nested("allOf", errors),
        any_of: nested("anyOf", errors),
        one_of: nested("oneOf", errors),
        not: schema.get("not").map(|below| Box::new(node(below, None, &child(path, "not"), errors))),
    }
}

fn pattern(schema: &Map<String, Value>, path: &str, errors: &mut Vec<FieldError>) -> Option<Regex> {
    let pattern = schema.get("pattern").and_then(Value::as_str).filter(|pattern| !pattern.is_empty())?;
    match Regex::new(pattern) {
        Ok(regex) => Some(regex),
        Err(error) => {
            // What is wrong, without the drawing of where.
            let text = error.to_string();
            let problem = text.lines().last().unwrap_or_default().trim_start_matches("error: ");
            let detail = format!("must be a valid regular expression, but isn't: {problem}");
            errors.push(FieldError::invalid(&child(path, "pattern"), pattern, detail));
            None
        }
    }
}
