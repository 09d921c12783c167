//! Typed access to the arguments of a function, with text/template's complaints about wrong types.

use super::fault::Fault;
use super::value::{Dict, List, ListKind, Text, Value};

/// The arguments of one call.
#[derive(Clone, Copy)]
pub(crate) struct Args<'a>(pub &'a [Value]);

impl<'a> Args<'a> {
    pub(crate) fn len(self) -> usize {
        self.0.len()
    }

    /// The argument as an `interface{}`; a nil is [`Value::Nil`].
    pub(crate) fn any(self, at: usize) -> Value {
        self.0.get(at).cloned().unwrap_or(Value::Nil).settled()
    }

    /// The arguments from `at` on.
    pub(crate) fn rest(self, at: usize) -> &'a [Value] {
        self.0.get(at..).unwrap_or_default()
    }

    fn raw(self, at: usize) -> &'a Value {
        self.0.get(at).unwrap_or(&Value::Nil)
    }

    fn wrong(self, at: usize, expected: &str) -> Fault {
        match self.raw(at) {
            Value::Nil => Fault::Type(format!("invalid value; expected {expected}")),
            other => {
                Fault::Type(format!("wrong type for value; expected {expected}; got {}", other.type_name()))
            }
        }
    }

    pub(crate) fn string(self, at: usize) -> Result<Text, Fault> {
        match self.raw(at) {
            Value::Str(text) => Ok(text.clone()),
            _ => Err(self.wrong(at, "string")),
        }
    }

    /// The argument as text, invalid UTF-8 replaced.
    pub(crate) fn utf8(self, at: usize) -> Result<String, Fault> {
        Ok(self.string(at)?.lossy().into_owned())
    }

    pub(crate) fn int(self, at: usize) -> Result<i64, Fault> {
        match self.raw(at) {
            Value::Int(value) => Ok(*value),
            _ => Err(self.wrong(at, "int")),
        }
    }

    pub(crate) fn bool(self, at: usize) -> Result<bool, Fault> {
        match self.raw(at) {
            Value::Bool(value) => Ok(*value),
            _ => Err(self.wrong(at, "bool")),
        }
    }

    /// A `map[string]interface {}`; no value at all is an empty map, as Go's nil map is.
    pub(crate) fn dict(self, at: usize) -> Result<Dict, Fault> {
        use super::value::DictKind;
        match self.raw(at) {
            Value::Dict(dict)
                if matches!(dict.kind(), DictKind::Any | DictKind::Values | DictKind::Nothing) =>
            {
                Ok(dict.clone())
            }
            Value::Nil => Ok(Dict::empty()),
            _ => Err(self.wrong(at, "map[string]interface {}")),
        }
    }

    /// Any list; `doing` completes sprig's "Cannot ... on type".
    pub(crate) fn list(self, at: usize, doing: &str) -> Result<List, Fault> {
        as_list(self.raw(at)).ok_or_else(|| {
            let value = self.any(at);
            if value.is_nil() {
                nil_dereference()
            } else {
                Fault::message(format!("Cannot {doing} type {}", value.kind_name()))
            }
        })
    }

    /// A `[]interface {}` parameter.
    pub(crate) fn any_list(self, at: usize) -> Result<Vec<Value>, Fault> {
        match self.raw(at) {
            Value::List(list) if matches!(list.kind(), ListKind::Any | ListKind::Nothing) => {
                Ok(list.items().to_vec())
            }
            Value::Nil => Ok(Vec::new()),
            _ => Err(self.wrong(at, "[]interface {}")),
        }
    }
}

/// What becomes of a function that asks for the type of nothing: Go's `reflect.TypeOf(nil)` has no kind.
pub(crate) fn nil_dereference() -> Fault {
    Fault::message("runtime error: invalid memory address or nil pointer dereference")
}

/// The value as a list, if its kind is slice.
pub(crate) fn as_list(value: &Value) -> Option<List> {
    match value {
        Value::List(list) => Some(list.clone()),
        Value::Object(object) => object.items().map(|items| List::new(items, ListKind::Strings)),
        Value::Nil
        | Value::Null
        | Value::Bool(_)
        | Value::Int(_)
        | Value::Int64(_)
        | Value::Float(_)
        | Value::Str(_)
        | Value::Dict(_) => None,
    }
}
