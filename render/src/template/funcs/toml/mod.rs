//! TOML, as Helm's `toToml` writes it and `fromToml` reads it.

mod cursor;
mod document;
mod scalars;

use super::calendar::{Instant, layout};
use crate::template::floats::shortest;
use crate::template::value::{Dict, Value};

/// Spaces per level of nested tables.
const INDENT: usize = 2;

/// The value as TOML; a map is a document, a single value stands alone.
pub(crate) fn encode(value: &Value) -> Result<String, String> {
    let dict = match value {
        Value::Dict(dict) => dict,
        Value::Bool(_) | Value::Int(_) | Value::Int64(_) | Value::Float(_) | Value::Str(_) => {
            return inline(value, 1);
        }
        Value::Object(object) if object.instant().is_some() => return inline(value, 1),
        Value::Object(object) => return encode(&object.data()),
        Value::List(_) if !is_table_list(value) => return inline(value, 200),
        _ => return Err("toml: top-level values must be Go maps or structs".to_owned()),
    };
    let mut out = String::new();
    table(&mut out, dict, &[], 200)?;
    Ok(out)
}

/// The document as a map.
///
/// # Errors
/// What is wrong with it, in the words of Helm's library.
pub(crate) fn decode(document: &[u8]) -> Result<Value, String> {
    document::read(document)
}

/// The zones of times without an offset, and how times in them are written.
const LOCAL: [(&str, &str); 3] = [
    ("datetime-local", "2006-01-02T15:04:05.999999999"),
    ("date-local", "2006-01-02"),
    ("time-local", "15:04:05.999999999"),
];

fn written(moment: &Instant) -> String {
    let local = LOCAL.iter().find(|(zone, _)| *zone == moment.zone.name.as_ref());
    layout(local.map_or("2006-01-02T15:04:05.999999999Z07:00", |(_, layout)| layout), moment)
}

fn key(name: &str) -> String {
    let bare = !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
    if bare { name.to_owned() } else { quoted(name) }
}

fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            _ if letter.is_ascii_control() => out.push_str(&format!("\\u{:04x}", u32::from(letter))),
            _ => out.push(letter),
        }
    }
    out.push('"');
    out
}

fn is_table_list(value: &Value) -> bool {
    match value {
        Value::List(list) => {
            !list.items().is_empty() && list.items().iter().all(|item| matches!(item, Value::Dict(_)))
        }
        _ => false,
    }
}

fn is_table(value: &Value) -> bool {
    matches!(value, Value::Dict(_)) && !value.is_unmade() || is_table_list(value)
}

fn float(number: f64) -> String {
    let sign = if number.is_sign_negative() { "-" } else { "" };
    if number.is_nan() {
        return format!("{sign}nan");
    }
    if number.is_infinite() {
        return format!("{sign}inf");
    }
    let text = shortest(number, 'g');
    if text.contains(['.', 'e']) { text } else { text + ".0" }
}

fn table(out: &mut String, dict: &Dict, path: &[String], depth: usize) -> Result<(), String> {
    if depth == 0 {
        return Err("toml: the value nests too deep".to_owned());
    }
    let pad = " ".repeat(INDENT * path.len());
    let entries = dict.entries();
    for (name, value) in entries.iter().filter(|(_, value)| !is_table(value) && !value.is_unmade()) {
        out.push_str(&format!("{pad}{} = {}\n", key(name), inline(value, depth - 1)?));
    }
    for (name, value) in entries.iter().filter(|(_, value)| is_table(value)) {
        let mut inner = path.to_vec();
        inner.push(key(name));
        let (title, pad) = (inner.join("."), " ".repeat(INDENT * path.len()));
        match value {
            Value::Dict(dict) => {
                if path.is_empty() && !out.is_empty() {
                    out.push('\n');
                }
                out.push_str(&format!("{pad}[{title}]\n"));
                table(out, dict, &inner, depth - 1)?;
            }
            Value::List(list) => {
                for item in list.items() {
                    if !out.is_empty() {
                        out.push('\n');
                    }
                    out.push_str(&format!("{pad}[[{title}]]\n"));
                    if let Value::Dict(dict) = item {
                        table(out, dict, &inner, depth - 1)?;
                    }
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn inline(value: &Value, depth: usize) -> Result<String, String> {
    if depth == 0 {
        return Err("toml: the value nests too deep".to_owned());
    }
    Ok(match value {
        Value::Bool(flag) => flag.to_string(),
        Value::Int(number) | Value::Int64(number) => number.to_string(),
        Value::Float(number) => float(*number),
        Value::Str(text) => quoted(&text.lossy()),
        Value::List(list) => {
            let items: Result<Vec<String>, String> =
                list.items().iter().map(|item| inline(item, depth - 1)).collect();
            format!("[{}]", items?.join(", "))
        }
        Value::Dict(dict) => {
            // Tables come last, as they do in lines of their own.
            let (tables, plain): (Vec<_>, Vec<_>) =
                dict.entries().into_iter().partition(|(_, item)| is_table(item));
            let mut out = String::from("{");
            for (entries, more) in [(&plain, !tables.is_empty()), (&tables, false)] {
                for (at, (name, item)) in
                    entries.iter().enumerate().filter(|(_, (_, item))| !item.is_unmade())
                {
                    let comma = if more || at + 1 < entries.len() { ", " } else { "" };
                    out.push_str(&format!("{} = {}{comma}", key(name), inline(item, depth - 1)?));
                }
            }
            out + "}"
        }
        Value::Object(object) => match object.instant() {
            Some(moment) => written(&moment),
            None => quoted(&object.print()),
        },
        Value::Nil | Value::Null => return Err("toml: cannot encode array with nil element".to_owned()),
    })
}
