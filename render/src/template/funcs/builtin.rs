//! text/template's own functions: comparison, indexing, printing, escaping.

use super::{Answer, Row, exact, variadic};
use crate::template::args::Args;
use crate::template::env::Env;
use crate::template::fault::Fault;
use crate::template::named::{BYTE, named};
use crate::template::printf::{sprint, sprintf, sprintln};
use crate::template::quote::is_printable;
use crate::template::value::{DictKind, List, Text, Value, deep_equal};

pub(super) static TABLE: &[Row] = &[
    exact("not", 1, |_, args| Ok(Value::Bool(!args.any(0).truth()))),
    variadic("eq", 1, |env, args| Ok(Value::Bool(equal(env, args)?))),
    exact("ne", 2, |env, args| Ok(Value::Bool(!equal(env, args)?))),
    exact("lt", 2, |_, args| Ok(Value::Bool(less(args)?))),
    exact("le", 2, |env, args| Ok(Value::Bool(less(args)? || equal(env, args)?))),
    exact("gt", 2, |env, args| Ok(Value::Bool(!(less(args)? || equal(env, args)?)))),
    exact("ge", 2, |_, args| Ok(Value::Bool(!less(args)?))),
    exact("len", 1, length),
    variadic("index", 1, index),
    variadic("print", 0, |_, args| Ok(Value::Str(Text::from(sprint(args.0))))),
    variadic("println", 0, |_, args| Ok(Value::Str(Text::from(sprintln(args.0))))),
    variadic("printf", 1, |env, args| {
        let format = args.string(0)?;
        Ok(Value::Str(Text::from(sprintf(
            format.bytes(),
            args.rest(1),
            env.output_left(),
            env.limits.output_bytes,
        )?)))
    }),
    variadic("html", 0, |_, args| Ok(escaped(args, html))),
    variadic("js", 0, |_, args| Ok(escaped(args, js))),
    variadic("urlquery", 0, |_, args| Ok(Value::text(&query(&shown(args))))),
    variadic("call", 1, |_, args| {
        Err(Fault::message(format!("non-function of type {}", args.any(0).type_name())))
    }),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Basic {
    Bool,
    Int,
    Float,
    Str,
    Complex,
    Other,
}

fn basic(value: &Value) -> Basic {
    match value {
        Value::Bool(_) => Basic::Bool,
        Value::Int(_) | Value::Int64(_) => Basic::Int,
        Value::Float(_) => Basic::Float,
        Value::Str(_) => Basic::Str,
        Value::Object(object) if object.number().is_some() => Basic::Int,
        Value::Object(object) if object.complex().is_some() => Basic::Complex,
        Value::Nil | Value::Null | Value::List(_) | Value::Dict(_) | Value::Object(_) => Basic::Other,
    }
}

fn incompatible(left: &Value, right: &Value) -> Fault {
    Fault::message(format!(
        "incompatible types for comparison: {} and {}",
        left.type_name(),
        right.type_name()
    ))
}

/// `eq`: the first argument equals one of the others.
fn equal(env: &mut Env<'_>, args: Args<'_>) -> Result<bool, Fault> {
    if args.len() < 2 {
        return Err(Fault::message("missing argument for comparison"));
    }
    let left = args.any(0);
    let (output_left, output_max) = (env.output_left(), env.limits.output_bytes);
    // Go prints what it cannot compare with %s.
    let shown = |value: &Value| -> Result<String, Fault> {
        let shown = sprintf(b"%s", std::slice::from_ref(value), output_left, output_max)?;
        Ok(String::from_utf8_lossy(&shown).into_owned())
    };
    for right in args.rest(1) {
        let right = right.clone().settled();
        let truth = match (basic(&left), basic(&right)) {
            (Basic::Int, Basic::Int) => left.whole() == right.whole(),
            (a, b) if a == b && a != Basic::Other => deep_equal(&left, &right),
            (a, b) if a != b => {
                if !left.is_nil() && !right.is_nil() {
                    return Err(incompatible(&left, &right));
                }
                false
            }
            _ => match (left.is_unmade(), right.is_unmade()) {
                _ if !left.is_nil() && !right.is_nil() && left.kind_name() != right.kind_name() => {
                    return Err(Fault::message(format!(
                        "non-comparable types {}: {}, {}: {}",
                        shown(&left)?,
                        left.type_name(),
                        right.type_name(),
                        String::from_utf8_lossy(&crate::template::print::display(&right))
                    )));
                }
                (true, true) => true,
                (true, false) | (false, true) => false,
                (false, false) if matches!(right, Value::Object(_)) => deep_equal(&left, &right),
                (false, false) => {
                    return Err(Fault::message(format!(
                        "non-comparable type {}: {}",
                        shown(&right)?,
                        right.type_name()
                    )));
                }
            },
        };
        if truth {
            return Ok(true);
        }
    }
    Ok(false)
}

fn less(args: Args<'_>) -> Result<bool, Fault> {
    let (left, right) = (args.any(0), args.any(1));
    match (&left, &right) {
        (Value::Float(a), Value::Float(b)) => Ok(a < b),
        (Value::Str(a), Value::Str(b)) => Ok(a < b),
        _ if left.whole().is_some() && right.whole().is_some() => Ok(left.whole() < right.whole()),
        _ => {
            let (a, b) = (basic(&left), basic(&right));
            if a == Basic::Other || b == Basic::Other || a == b {
                return Err(Fault::message("invalid type for comparison"));
            }
            Err(incompatible(&left, &right))
        }
    }
}

fn length(_: &mut Env<'_>, args: Args<'_>) -> Answer {
    let value = args.rest(0).first().cloned().unwrap_or(Value::Nil);
    let length = match &value {
        Value::Str(text) => text.bytes().len(),
        Value::List(list) => list.items().len(),
        Value::Dict(dict) => dict.len(),
        Value::Object(object) => match object.items() {
            Some(items) => items.len(),
            // What a pointer points to is measured.
            None => {
                let name = value.type_name().trim_start_matches('*');
                return Err(Fault::message(format!("len of type {name}")));
            }
        },
        Value::Null => return Err(Fault::message("len of nil pointer")),
        Value::Nil => return Err(Fault::message("reflect: call of reflect.Value.Type on zero Value")),
        Value::Bool(_) | Value::Int(_) | Value::Int64(_) | Value::Float(_) => {
            return Err(Fault::message(format!("len of type {}", value.type_name())));
        }
    };
    Ok(Value::Int(i64::try_from(length).unwrap_or(i64::MAX)))
}

fn position(value: &Value, length: usize, kind: &str) -> Result<usize, Fault> {
    let index = match (value.whole(), value) {
        (Some(index), _) => index,
        (None, Value::Nil | Value::Null) => {
            return Err(Fault::message("cannot index slice/array with nil"));
        }
        (None, other) => {
            return Err(Fault::message(format!("cannot index slice/array with type {}", other.type_name())));
        }
    };
    match usize::try_from(index) {
        Ok(index) if index < length => Ok(index),
        // text/template lets this one pass, and Go's reflection stops it.
        Ok(index) if index == length => Err(Fault::message(format!("reflect: {kind} index out of range"))),
        _ => Err(Fault::message(format!("index out of range: {index}"))),
    }
}

fn index(env: &mut Env<'_>, args: Args<'_>) -> Answer {
    let mut value = args.any(0);
    if value.is_nil() {
        return Err(Fault::message("index of untyped nil"));
    }
    for key in args.rest(1) {
        let key = key.clone().settled();
        value = match &value {
            Value::List(list) => item(list, &key)?,
            Value::Str(text) => letter(text, &key)?,
            Value::Dict(dict) => match &key {
                Value::Str(name) => {
                    env.touch(dict, &name.lossy());
                    dict.get(&name.lossy()).unwrap_or(match dict.kind() {
                        DictKind::Strings | DictKind::NoStrings => Value::text(""),
                        _ => Value::Nil,
                    })
                }
                Value::Nil | Value::Null => {
                    return Err(Fault::message("value is nil; should be of type string"));
                }
                other => {
                    return Err(Fault::message(format!(
                        "value has type {}; should be string",
                        other.type_name()
                    )));
                }
            },
            Value::Object(object) => match object.items() {
                Some(items) => items[position(&key, items.len(), "slice")?].clone(),
                None => {
                    let of = value.type_name().trim_start_matches('*');
                    return Err(Fault::message(format!("can't index item of type {of}")));
                }
            },
            Value::Nil | Value::Null => return Err(Fault::message("index of nil pointer")),
            other => return Err(Fault::message(format!("can't index item of type {}", other.type_name()))),
        };
    }
    Ok(value.element())
}

/// A byte of a text, as the number it is.
fn letter(text: &Text, key: &Value) -> Answer {
    let at = position(key, text.bytes().len(), "string")?;
    Ok(named(i64::from(text.bytes()[at]), &BYTE))
}

fn item(list: &List, key: &Value) -> Answer {
    Ok(list.items()[position(key, list.items().len(), "slice")?].clone())
}

/// What `html`, `js` and `urlquery` are given, as text.
fn shown(args: Args<'_>) -> Vec<u8> {
    match args.0 {
        [Value::Str(text)] => text.bytes().to_vec(),
        values => {
            // Nothing prints here as it does in an action.
            let shown =
                |value: &Value| if value.is_nil() { Value::text("<no value>") } else { value.clone() };
            sprint(&values.iter().map(shown).collect::<Vec<_>>())
        }
    }
}

/// Escaped, but for bytes that are no letters.
fn escaped(args: Args<'_>, escape: fn(&str) -> String) -> Value {
    let mut out = Vec::new();
    for chunk in shown(args).utf8_chunks() {
        out.extend_from_slice(escape(chunk.valid()).as_bytes());
        out.extend_from_slice(chunk.invalid());
    }
    Value::Str(Text::from(out))
}

fn html(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('\'', "&#39;")
        .replace('"', "&#34;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('\0', "\u{FFFD}")
}

fn js(text: &str) -> String {
    let mut out = String::new();
    for letter in text.chars() {
        match letter {
            '\\' => out.push_str("\\\\"),
            '\'' => out.push_str("\\'"),
            '"' => out.push_str("\\\""),
            '<' | '>' | '&' | '=' => out.push_str(&format!("\\u{:04X}", u32::from(letter))),
            ' ' => out.push(letter),
            _ if is_printable(letter) => out.push(letter),
            _ => out.push_str(&format!("\\u{:04X}", u32::from(letter))),
        }
    }
    out
}

/// Go's `url.QueryEscape`.
fn query(text: &[u8]) -> String {
    let mut out = String::new();
    for byte in text.iter().copied() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            b' ' => out.push('+'),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}
