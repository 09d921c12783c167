//! Go's `fmt`: how values print with `%v`, and the verbs of `printf`, their complaints included.

use super::value::{ListKind, Text, Value};
use super::verbs::{Spec, format};

/// The text of a value under `%v`, as an action prints it.
pub(crate) fn display(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    format(&mut out, value, 'v', &Spec::default());
    out
}

/// What an action writes: like [`display`], with `<no value>` for nothing.
pub(crate) fn action_output(value: &Value) -> Vec<u8> {
    match value {
        Value::Nil | Value::Null => b"<no value>".to_vec(),
        Value::Object(object) => object.print().into_bytes(),
        _ => display(value),
    }
}

/// sprig's `strval`.
pub(crate) fn strval(value: &Value) -> Text {
    match value {
        Value::Str(text) => text.clone(),
        Value::List(list) if list.kind() == ListKind::Bytes => Text::from(bytes_of(value)),
        Value::Nil
        | Value::Null
        | Value::Bool(_)
        | Value::Int(_)
        | Value::Int64(_)
        | Value::Float(_)
        | Value::List(_)
        | Value::Dict(_)
        | Value::Object(_) => Text::from(display(value)),
    }
}

/// The bytes of a `[]byte`.
pub(crate) fn bytes_of(value: &Value) -> Vec<u8> {
    let Value::List(list) = value else {
        return Vec::new();
    };
    let byte = |item: &Value| match item {
        Value::Int(byte) => u8::try_from(*byte).unwrap_or_default(),
        _ => 0,
    };
    list.items().iter().map(byte).collect()
}
