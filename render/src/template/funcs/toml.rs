//! TOML, as Helm's `toToml` writes it and `fromToml` reads it.

use std::rc::Rc;

use crate::template::fault::Fault;
use crate::template::print::shortest;
use crate::template::stack;
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
        _ => return Err("toml: top-level values must be Go maps or structs".to_owned()),
    };
    let mut out = String::new();
    table(&mut out, dict, &[], 200)?;
    Ok(out)
}

/// The document as a map, or what is wrong with it.
///
/// # Errors
/// [`Fault::Unsupported`] for dates: Go reads them as times of several kinds.
pub(crate) fn decode(text: &str) -> Result<Result<Value, String>, Fault> {
    fn value(toml: &toml::Value) -> Result<Value, Fault> {
        stack::grow(|| {
            Ok(match toml {
                toml::Value::String(text) => Value::text(text),
                toml::Value::Integer(number) => Value::Int64(*number),
                toml::Value::Float(number) => Value::Float(*number),
                toml::Value::Boolean(flag) => Value::Bool(*flag),
                toml::Value::Datetime(_) => return Err(Fault::Unsupported("fromToml with dates".to_owned())),
                toml::Value::Array(items) => Value::list(items.iter().map(value).collect::<Result<_, _>>()?),
                toml::Value::Table(entries) => map(entries)?,
            })
        })
    }
    fn map(entries: &toml::Table) -> Result<Value, Fault> {
        let entries = entries.iter().map(|(key, item)| Ok((Rc::from(key.as_str()), value(item)?)));
        Ok(Value::Dict(entries.collect::<Result<Dict, Fault>>()?))
    }
    match text.parse::<toml::Table>() {
        Ok(entries) => map(&entries).map(Ok),
        Err(problem) => Ok(Err(format!("toml: {}", problem.message()))),
    }
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
            _ if letter.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(letter))),
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

fn table(out: &mut String, dict: &Dict, path: &[String], depth: usize) -> Result<(), String> {
    if depth == 0 {
        return Err("toml: the value nests too deep".to_owned());
    }
    let pad = " ".repeat(INDENT * path.len());
    let entries = dict.entries();
    let is_table = |value: &Value| matches!(value, Value::Dict(_)) || is_table_list(value);
    for (name, value) in entries.iter().filter(|(_, value)| !is_table(value) && !value.is_nil()) {
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
        Value::Float(number) => {
            let text = if number.is_finite() {
                shortest(*number, 'g')
            } else {
                shortest(*number, 'g').to_lowercase()
            };
            if text.contains(['.', 'e', 'n']) { text } else { format!("{text}.0") }
        }
        Value::Str(text) => quoted(&text.lossy()),
        Value::List(list) => {
            let items: Result<Vec<String>, String> =
                list.items().iter().map(|item| inline(item, depth - 1)).collect();
            format!("[{}]", items?.join(", "))
        }
        Value::Dict(dict) => {
            let items: Result<Vec<String>, String> = dict
                .entries()
                .iter()
                .map(|(name, item)| Ok(format!("{} = {}", key(name), inline(item, depth - 1)?)))
                .collect();
            format!("{{{}}}", items?.join(", "))
        }
        Value::Object(object) => quoted(&object.print()),
        Value::Nil | Value::Null => return Err("toml: cannot encode array with nil element".to_owned()),
    })
}
