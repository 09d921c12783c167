//! Between template values and JSON: reading (every number a float, as Go decodes into `interface{}`), converting for
//! YAML, and `encoding/json`'s text.

use std::rc::Rc;

use serde_json::{Map, Number};

use super::floats::shortest;
use super::print::bytes_of;
use super::value::{Dict, DictKind, ListKind, Value};

/// How deep a value may nest before it counts as endless.
const DEPTH: usize = 500;

/// Bytes or nodes after which encoding gives up.
const SIZE: usize = 64 * 1024 * 1024;

/// A JSON value as templates see it.
pub(crate) fn from_json(value: &serde_json::Value) -> Value {
    super::stack::grow(|| match value {
        serde_json::Value::Null => Value::Nil,
        serde_json::Value::Bool(flag) => Value::Bool(*flag),
        serde_json::Value::Number(number) => Value::Float(number.as_f64().unwrap_or_default()),
        serde_json::Value::String(text) => Value::text(text),
        serde_json::Value::Array(items) => Value::list(items.iter().map(from_json).collect()),
        serde_json::Value::Object(entries) => Value::Dict(dict(entries, DictKind::Any)),
    })
}

/// A JSON object as a map of the given kind; with `integers`, whole numbers are Go's `int64`.
pub(crate) fn dict_with(entries: &Map<String, serde_json::Value>, kind: DictKind, integers: bool) -> Dict {
    fn value(json: &serde_json::Value) -> Value {
        super::stack::grow(|| match json {
            serde_json::Value::Number(number) => match number.as_i64() {
                Some(whole) => Value::Int64(whole),
                None => from_json(json),
            },
            serde_json::Value::Array(items) => Value::list(items.iter().map(value).collect()),
            serde_json::Value::Object(entries) => Value::Dict(dict_with(entries, DictKind::Any, true)),
            other => from_json(other),
        })
    }
    if !integers {
        return dict(entries, kind);
    }
    Dict::new(kind, entries.iter().map(|(key, json)| (Rc::from(key.as_str()), value(json))).collect())
}

/// A JSON object as a map of the given kind.
pub(crate) fn dict(entries: &Map<String, serde_json::Value>, kind: DictKind) -> Dict {
    Dict::new(kind, entries.iter().map(|(key, value)| (Rc::from(key.as_str()), from_json(value))).collect())
}

/// A template value as JSON; what JSON cannot hold (an endless map, NaN) becomes null.
pub(crate) fn to_json(value: &Value) -> serde_json::Value {
    try_json(value).unwrap_or(serde_json::Value::Null)
}

/// A template value as JSON, or nothing where Go's marshaller would refuse it.
pub(crate) fn try_json(value: &Value) -> Option<serde_json::Value> {
    let mut budget = SIZE / 16;
    json(value, DEPTH, &mut budget)
}

fn json(value: &Value, depth: usize, budget: &mut usize) -> Option<serde_json::Value> {
    *budget = budget.checked_sub(1)?;
    let depth = depth.checked_sub(1)?;
    Some(match value {
        Value::Nil | Value::Null => serde_json::Value::Null,
        Value::Bool(flag) => serde_json::Value::Bool(*flag),
        Value::Int(number) | Value::Int64(number) => serde_json::Value::Number((*number).into()),
        Value::Float(number) => serde_json::Value::Number(float(*number)?),
        Value::Str(text) => {
            *budget = budget.checked_sub(text.bytes().len() / 16)?;
            serde_json::Value::String(replaced(text.bytes()))
        }
        Value::List(list) if matches!(list.kind(), ListKind::NoStrings | ListKind::Nothing) => {
            serde_json::Value::Null
        }
        Value::List(list) if list.kind() == ListKind::Bytes => {
            serde_json::Value::String(super::funcs::encoding::base64_encode(&bytes_of(value)))
        }
        Value::List(list) => {
            let items = list.items().iter().map(|item| super::stack::grow(|| json(item, depth, budget)));
            serde_json::Value::Array(items.collect::<Option<_>>()?)
        }
        Value::Dict(_) if value.is_unmade() => serde_json::Value::Null,
        Value::Dict(dict) => {
            let is_file = dict.kind() == DictKind::Files;
            let entries = dict.entries().into_iter().map(|(key, item)| {
                let item = if is_file { encoded(&item) } else { item };
                Some((key.to_string(), super::stack::grow(|| json(&item, depth, budget))?))
            });
            serde_json::Value::Object(entries.collect::<Option<_>>()?)
        }
        Value::Object(object) if object.refuses_json() => return None,
        Value::Object(object) => json(&object.data(), depth, budget)?,
    })
}

/// A float as it survives the trip through JSON text into YAML: whole numbers are integers there.
fn float(number: f64) -> Option<Number> {
    if !number.is_finite() {
        return None;
    }
    if number.fract() == 0.0 && number.abs() < 1e21 {
        let text = shortest(number, 'f');
        if let Ok(whole) = text.parse::<i64>() {
            return Some(whole.into());
        }
        if let Ok(whole) = text.parse::<u64>() {
            return Some(whole.into());
        }
    }
    Number::from_f64(number)
}

/// How `encoding/json` text looks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    /// `<`, `>` and `&` as escapes.
    pub html: bool,
    /// Two spaces per level.
    pub pretty: bool,
}

/// `encoding/json`'s text of a value, or the reason why there is none.
pub(crate) fn encode(value: &Value, layout: Layout) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    write(&mut out, value, layout, 0)?;
    Ok(out)
}

/// The bytes of a file as JSON has bytes.
fn encoded(content: &Value) -> Value {
    let bytes = match content {
        Value::Str(text) => text.bytes().to_vec(),
        other => bytes_of(other),
    };
    Value::text(&super::funcs::encoding::base64_encode(&bytes))
}

fn newline(out: &mut Vec<u8>, layout: Layout, level: usize) {
    if layout.pretty {
        out.push(b'\n');
        out.extend(std::iter::repeat_n(b' ', level * 2));
    }
}

fn write(out: &mut Vec<u8>, value: &Value, layout: Layout, level: usize) -> Result<(), String> {
    if level > DEPTH || out.len() > SIZE {
        return Err("json: unsupported value: encountered a cycle".to_owned());
    }
    match value {
        Value::Nil | Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(flag) => out.extend_from_slice(flag.to_string().as_bytes()),
        Value::Int(number) | Value::Int64(number) => out.extend_from_slice(number.to_string().as_bytes()),
        Value::Float(number) => out.extend_from_slice(float_text(*number)?.as_bytes()),
        Value::Str(text) => string(out, text.bytes(), layout.html),
        Value::List(list) if matches!(list.kind(), ListKind::NoStrings | ListKind::Nothing) => {
            out.extend_from_slice(b"null")
        }
        Value::List(list) if list.kind() == ListKind::Bytes => {
            string(out, super::funcs::encoding::base64_encode(&bytes_of(value)).as_bytes(), layout.html);
        }
        Value::List(list) => {
            out.push(b'[');
            for (at, item) in list.items().iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                newline(out, layout, level + 1);
                super::stack::grow(|| write(out, item, layout, level + 1))?;
            }
            if !list.items().is_empty() {
                newline(out, layout, level);
            }
            out.push(b']');
        }
        Value::Dict(dict) if dict.kind() == DictKind::Files => {
            let entries = dict.entries().into_iter();
            let entries: Vec<_> = entries.map(|(path, content)| (path, encoded(&content))).collect();
            fields(out, &entries, layout, level)?;
        }
        Value::Dict(_) if value.is_unmade() => out.extend_from_slice(b"null"),
        Value::Dict(dict) => fields(out, &dict.entries(), layout, level)?,
        Value::Object(object) if object.refuses_json() => {
            let unsupported = || format!("json: unsupported type: {}", object.type_name());
            return Err(object.json_refusal().unwrap_or_else(unsupported));
        }
        Value::Object(object) => match object.json_fields() {
            Some(entries) => fields(out, &entries, layout, level)?,
            None => write(out, &object.data(), layout, level)?,
        },
    }
    Ok(())
}

fn fields<K: AsRef<str>>(
    out: &mut Vec<u8>,
    entries: &[(K, Value)],
    layout: Layout,
    level: usize,
) -> Result<(), String> {
    out.push(b'{');
    for (at, (key, item)) in entries.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        newline(out, layout, level + 1);
        string(out, key.as_ref().as_bytes(), layout.html);
        out.extend_from_slice(if layout.pretty { b": " } else { b":" });
        super::stack::grow(|| write(out, item, layout, level + 1))?;
    }
    if !entries.is_empty() {
        newline(out, layout, level);
    }
    out.push(b'}');
    Ok(())
}

fn float_text(number: f64) -> Result<String, String> {
    if !number.is_finite() {
        return Err(format!("json: unsupported value: {}", shortest(number, 'g')));
    }
    let size = number.abs();
    if size != 0.0 && !(1e-6..1e21).contains(&size) {
        let text = shortest(number, 'e');
        return Ok(text.replace("e-0", "e-"));
    }
    Ok(shortest(number, 'f'))
}

fn string(out: &mut Vec<u8>, bytes: &[u8], html: bool) {
    out.push(b'"');
    for chunk in bytes.utf8_chunks() {
        letters(out, chunk.valid(), html);
        // Byte by byte, and not as the letter itself.
        chunk.invalid().iter().for_each(|_| out.extend_from_slice(b"\\ufffd"));
    }
    out.push(b'"');
}

fn letters(out: &mut Vec<u8>, text: &str, html: bool) {
    for letter in text.chars() {
        match letter {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\t' => out.extend_from_slice(b"\\t"),
            '\u{8}' => out.extend_from_slice(b"\\b"),
            '\u{c}' => out.extend_from_slice(b"\\f"),
            '<' | '>' | '&' if html => {
                out.extend_from_slice(format!("\\u{:04x}", u32::from(letter)).as_bytes())
            }
            '\0'..='\u{1f}' | '\u{2028}' | '\u{2029}' => {
                out.extend_from_slice(format!("\\u{:04x}", u32::from(letter)).as_bytes());
            }
            _ => out.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

/// A text as Go's JSON keeps it: every byte that is no letter becomes one.
fn replaced(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        out.push_str(chunk.valid());
        out.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    out
}
