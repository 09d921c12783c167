//! JSON values as CEL values, typed by the schema.

use std::collections::HashMap;
use std::sync::Arc;

use kube_cel::cel::Value as Cel;
use kube_cel::cel::objects::{Key, Map};
use serde_json::{Number, Value};

use super::format::{What, decode_base64, parse_duration};
use super::{Additional, Kind, Node};

/// A value as the rules of its schema see it; `None` where the schema says nothing.
pub(crate) fn to_cel(node: Option<&Node>, value: &Value) -> Cel {
    match value {
        Value::Null => Cel::Null,
        Value::Bool(value) => Cel::Bool(*value),
        Value::Number(number) => convert_number(node, number),
        Value::String(text) => convert_text(node, text),
        Value::Array(items) => {
            let below = node.and_then(|node| node.items.as_deref());
            Cel::List(Arc::new(items.iter().map(|item| to_cel(below, item)).collect()))
        }
        Value::Object(map) => {
            let mut fields = HashMap::with_capacity(map.len());
            for (name, value) in map {
                // Names of fields are escaped to be identifiers; keys of maps are data.
                let (below, name) =
                    match (node.and_then(|n| n.properties.get(name)), node.map(|n| &n.additional)) {
                        (Some(property), _) => (Some(property), escape(name)),
                        (None, Some(Additional::Schema(below))) => (Some(&**below), name.clone()),
                        (None, Some(Additional::Allowed(true))) => (None, name.clone()),
                        (None, _) => (None, escape(name)),
                    };
                fields.insert(Key::String(Arc::new(name)), to_cel(below, value));
            }
            Cel::Map(Map { map: Arc::new(fields) })
        }
    }
}

fn convert_number(node: Option<&Node>, number: &Number) -> Cel {
    let float = || Cel::Float(number.as_f64().unwrap_or(f64::NAN));
    match (node.map(|node| node.kind), number.as_i64()) {
        (Some(Kind::Number), _) => float(),
        (_, Some(integer)) => Cel::Int(integer),
        (Some(Kind::Integer), None) => match number.as_f64() {
            Some(value) if value.fract() == 0.0 => Cel::Int(value as i64),
            _ => float(),
        },
        (_, None) => float(),
    }
}

fn convert_text(node: Option<&Node>, text: &str) -> Cel {
    let plain = || Cel::String(Arc::new(text.to_owned()));
    let format = node.filter(|node| !node.int_or_string).and_then(|node| node.checks.format.as_ref());
    match format.map(|format| format.what) {
        Some(What::DateTime) => {
            chrono::DateTime::parse_from_rfc3339(text).map_or_else(|_| plain(), Cel::Timestamp)
        }
        Some(What::Date) => chrono::DateTime::parse_from_rfc3339(&format!("{text}T00:00:00Z"))
            .map_or_else(|_| plain(), Cel::Timestamp),
        Some(What::Duration) => match parse_duration(text) {
            Some(nanoseconds) => Cel::Duration(chrono::Duration::nanoseconds(nanoseconds)),
            None => plain(),
        },
        Some(What::Byte) => decode_base64(text).map_or_else(plain, |bytes| Cel::Bytes(Arc::new(bytes))),
        _ => plain(),
    }
}

const RESERVED: [&str; 21] = [
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

/// The identifier by which rules name a field.
pub(crate) fn escape(name: &str) -> String {
    if RESERVED.contains(&name) {
        return format!("__{name}__");
    }
    if name.contains("__") || name.contains(['.', '-', '/']) {
        return name
            .replace("__", "__underscores__")
            .replace('.', "__dot__")
            .replace('-', "__dash__")
            .replace('/', "__slash__");
    }
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped_as_kubernetes_documents_it() {
        for (name, escaped) in [
            ("replicas", "replicas"),
            ("my_field", "my_field"),
            ("my__field", "my__underscores__field"),
            ("x-prop", "x__dash__prop"),
            ("a.b/c", "a__dot__b__slash__c"),
            ("namespace", "__namespace__"),
        ] {
            assert_eq!(escape(name), escaped);
        }
    }
}
