//! `.name` on a value: methods first, then struct fields, then map keys, as text/template looks.

use super::args::Args;
use super::env::Env;
use super::fault::Fault;
use super::funcs::files;
use super::value::{Dict, DictKind, List, ListKind, Value};

/// What a method takes, a letter for each argument; nothing where the name is no method whose types are known.
pub(crate) fn parameters(receiver: &Value, name: &str) -> Option<&'static str> {
    match receiver {
        Value::Dict(dict) if dict.kind() == DictKind::Files => match name {
            "Get" | "GetBytes" | "Glob" | "Lines" => Some("s"),
            "AsConfig" | "AsSecrets" => Some(""),
            _ => None,
        },
        Value::Dict(dict) if dict.kind() == DictKind::Values => match name {
            "Table" | "PathValue" => Some("s"),
            "AsMap" | "YAML" => Some(""),
            _ => None,
        },
        Value::Object(object) if name == "Has" && object.items().is_some() => Some("s"),
        Value::Object(object) => object.parameters(name),
        _ => None,
    }
}

/// The field or the method's result.
pub(crate) fn get(
    env: &mut Env<'_>,
    receiver: &Value,
    name: &str,
    arguments: &[Value],
) -> Result<Value, Fault> {
    match receiver {
        Value::Nil => Ok(Value::Nil),
        Value::Null => Err(Fault::message(format!("nil pointer evaluating interface {{}}.{name}"))),
        Value::Dict(dict) => entry(env, receiver, dict, name, arguments),
        Value::Object(object) => {
            if let Some(result) = object.call(name, arguments) {
                return result;
            }
            match object.field(name) {
                Some(_) if !arguments.is_empty() => {
                    Err(Fault::message(format!("{name} has arguments but cannot be invoked as function")))
                }
                Some(value) => Ok(value),
                None => Err(no_field(receiver, name)),
            }
        }
        Value::Bool(_)
        | Value::Int(_)
        | Value::Int64(_)
        | Value::Float(_)
        | Value::Str(_)
        | Value::List(_) => Err(no_field(receiver, name)),
    }
}

fn no_field(receiver: &Value, name: &str) -> Fault {
    let of = match receiver {
        Value::Object(_) | Value::Dict(_) => receiver.type_name(),
        // Values of charts stand in interfaces, and that is the type text/template names.
        _ => "interface {}",
    };
    Fault::message(format!("can't evaluate field {name} in type {of}"))
}

/// The fault of a field asked of what parentheses, a variable or dot hold, elements of loops aside: that is out of its
/// interface, and named by its own type.
pub(super) fn of_settled(receiver: &Value, name: &str, fault: Fault) -> Fault {
    match (&fault, receiver) {
        (
            Fault::Message(text),
            Value::Str(_)
            | Value::Bool(_)
            | Value::Float(_)
            | Value::Int(_)
            | Value::Int64(_)
            | Value::List(_),
        ) if text.starts_with("can't evaluate field ") => {
            Fault::message(format!("can't evaluate field {name} in type {}", receiver.type_name()))
        }
        _ => fault,
    }
}

fn entry(
    env: &mut Env<'_>,
    receiver: &Value,
    dict: &Dict,
    name: &str,
    arguments: &[Value],
) -> Result<Value, Fault> {
    match dict.kind() {
        DictKind::Files => {
            if let Some(result) = files::method(env, dict, name, Args(arguments)) {
                return result;
            }
        }
        DictKind::Values => {
            if let Some(result) = values_method(receiver, dict, name, Args(arguments)) {
                return result;
            }
        }
        DictKind::Any | DictKind::Strings | DictKind::Nothing | DictKind::NoStrings => {}
    }
    if !arguments.is_empty() {
        return Err(Fault::message(format!("{name} is not a method but has arguments")));
    }
    env.touch(dict, name);
    if env.strict_keys && !dict.contains(name) {
        return Err(Fault::message(format!("map has no entry for key {name:?}")));
    }
    Ok(match (dict.get(name), dict.kind()) {
        (Some(value), _) => value.element(),
        (None, DictKind::Strings | DictKind::NoStrings) => Value::text(""),
        (None, DictKind::Files) => Value::List(List::new(Vec::new(), ListKind::Bytes)),
        (None, DictKind::Any | DictKind::Values | DictKind::Nothing) => Value::Null,
    })
}

/// The methods of Helm's `common.Values`.
fn values_method(
    receiver: &Value,
    dict: &Dict,
    name: &str,
    arguments: Args<'_>,
) -> Option<Result<Value, Fault>> {
    Some(match name {
        "AsMap" => Ok(Value::Dict(dict.clone().seen_as(DictKind::Any))),
        "YAML" => Ok(Value::text(&crate::yaml::emit::to_yaml(&super::json::to_json(receiver)))),
        "Table" => arguments.string(0).and_then(|path| {
            let found = table(dict, path.lossy().split('.')).map_err(Fault::Method)?;
            Ok(Value::Dict(found.seen_as(DictKind::Values)))
        }),
        "PathValue" => arguments.string(0).and_then(|path| {
            let path = path.lossy();
            if path.is_empty() {
                return Err(Fault::Method("YAML path cannot be empty".to_owned()));
            }
            let (tables, key) =
                path.rsplit_once('.').map_or((None, path.as_ref()), |(tables, key)| (Some(tables), key));
            let found = tables.map_or_else(|| Ok(dict.clone()), |tables| table(dict, tables.split('.')));
            // Whichever part is missing, Helm names the last one, and a map is no value.
            match found.ok().and_then(|found| found.get(key)) {
                Some(Value::Dict(inner)) if inner.kind() == DictKind::Any => None,
                found => found,
            }
            .ok_or_else(|| Fault::Method(format!("{key:?} is not a value")))
        }),
        _ => return None,
    })
}

/// The map at a path.
fn table<'p>(dict: &Dict, path: impl Iterator<Item = &'p str>) -> Result<Dict, String> {
    let mut table = dict.clone();
    for part in path {
        table = match table.get(part) {
            Some(Value::Dict(inner)) => inner,
            _ => return Err(format!("{part:?} is not a table")),
        };
    }
    Ok(table)
}
