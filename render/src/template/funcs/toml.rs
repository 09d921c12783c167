//! TOML, as Helm's `toToml` writes it and `fromToml` reads it.

use std::rc::Rc;

use super::calendar::{Instant, Zone, days_from_civil, layout};
use crate::template::floats::shortest;
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
/// What is wrong with it.
pub(crate) fn decode(text: &str) -> Result<Value, String> {
    fn value(toml: &toml::Value) -> Value {
        stack::grow(|| match toml {
            toml::Value::String(text) => Value::text(text),
            toml::Value::Integer(number) => Value::Int64(*number),
            toml::Value::Float(number) => Value::Float(*number),
            toml::Value::Boolean(flag) => Value::Bool(*flag),
            toml::Value::Datetime(moment) => Value::Object(Rc::new(instant(moment))),
            toml::Value::Array(items) => Value::list(items.iter().map(value).collect()),
            toml::Value::Table(entries) => map(entries),
        })
    }
    fn map(entries: &toml::Table) -> Value {
        Value::Dict(entries.iter().map(|(key, item)| (Rc::from(key.as_str()), value(item))).collect())
    }
    text.parse::<toml::Table>()
        .map(|entries| map(&entries))
        .map_err(|problem| format!("toml: {}", problem.message()))
}

/// Go's time of a date, a time of day, or both. What has no offset lies in a zone that is named after what it has, and
/// a time of day in the year 0.
fn instant(moment: &toml::value::Datetime) -> Instant {
    let zone = match (moment.offset, moment.date, moment.time) {
        (Some(toml::value::Offset::Z | toml::value::Offset::Custom { minutes: 0 }), ..) => Zone::utc(),
        (Some(toml::value::Offset::Custom { minutes }), ..) => Zone::fixed(i64::from(minutes) * 60, ""),
        (None, Some(_), Some(_)) => Zone::fixed(0, LOCAL[0].0),
        (None, Some(_), None) => Zone::fixed(0, LOCAL[1].0),
        (None, None, _) => Zone::fixed(0, LOCAL[2].0),
    };
    let days = moment.date.map_or_else(
        || days_from_civil(0, 1, 1),
        |date| days_from_civil(date.year.into(), date.month.into(), date.day.into()),
    );
    let clock = moment
        .time
        .map_or(0, |time| i64::from(time.hour) * 3600 + i64::from(time.minute) * 60 + i64::from(time.second));
    let nanoseconds = moment.time.map_or(0, |time| time.nanosecond);
    Instant { seconds: days * 86_400 + clock - zone.offset, nanoseconds, zone }
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
    let is_table =
        |value: &Value| matches!(value, Value::Dict(_)) && !value.is_unmade() || is_table_list(value);
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
                .filter(|(_, item)| !item.is_unmade())
                .map(|(name, item)| Ok(format!("{} = {}", key(name), inline(item, depth - 1)?)))
                .collect();
            format!("{{{}}}", items?.join(", "))
        }
        Value::Object(object) => match object.instant() {
            Some(moment) => written(&moment),
            None => quoted(&object.print()),
        },
        Value::Nil | Value::Null => return Err("toml: cannot encode array with nil element".to_owned()),
    })
}
