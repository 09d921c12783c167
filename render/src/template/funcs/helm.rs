//! What Helm adds to sprig: YAML, `required`, `fail`, `lookup`.

use super::{Answer, Row, encoding, exact};
use crate::limits::Limits;
use crate::template::args::Args;
use crate::template::env::Env;
use crate::template::fault::Fault;
use crate::template::json::{Layout, encode, from_json, try_json};
use crate::template::pretty::to_pretty_yaml;
use crate::template::value::{Dict, DictKind, List, ListKind, Value};
use crate::yaml::{emit, read};

pub(super) static TABLE: &[Row] = &[
    exact("toYaml", 1, |_, args| Ok(to_yaml(args, emit::to_yaml).unwrap_or_else(|| Value::text("")))),
    exact("mustToYaml", 1, |_, args| {
        to_yaml(args, emit::to_yaml)
            .ok_or_else(|| Fault::message("error marshaling into JSON: unsupported value"))
    }),
    exact("toYamlPretty", 1, |_, args| {
        to_pretty_yaml(&args.any(0)).map(|text| Value::text(&text)).map_err(Fault::Message)
    }),
    exact("fromYaml", 1, |env, args| {
        let text = args.utf8(0)?;
        env.step(text.len() as u64 / 16)?;
        Ok(object(
            read::read(&text, env.limits).map_err(|error| format!("error converting YAML to JSON: {error}")),
        ))
    }),
    exact("fromYamlArray", 1, |env, args| {
        let text = args.utf8(0)?;
        env.step(text.len() as u64 / 16)?;
        Ok(array(
            read::read(&text, env.limits).map_err(|error| format!("error converting YAML to JSON: {error}")),
        ))
    }),
    exact("fromJson", 1, |_, args| {
        Ok(match encoding::parse(&args.string(0)?) {
            Ok((Value::Nil, None)) => Value::Dict(Dict::empty().seen_as(DictKind::Nothing)),
            Ok((Value::Dict(dict), problem)) => {
                if let Some(problem) = problem {
                    dict.insert("Error", Value::text(&problem));
                }
                Value::Dict(dict)
            }
            // The number itself was too large.
            Ok((Value::Nil, Some(_))) => {
                error_object(&mismatch(&Value::Float(0.0), "map[string]interface {}"))
            }
            Ok((other, _)) => error_object(&mismatch(&other, "map[string]interface {}")),
            Err(problem) => error_object(&problem),
        })
    }),
    exact("fromJsonArray", 1, |_, args| {
        Ok(match encoding::parse(&args.string(0)?) {
            Ok((Value::Nil, None)) => Value::List(List::new(Vec::new(), ListKind::Nothing)),
            Ok((Value::List(list), None)) => Value::List(list),
            Ok((Value::List(_), Some(problem))) => Value::list(vec![Value::text(&problem)]),
            Ok((Value::Nil, Some(_))) => {
                Value::list(vec![Value::text(&mismatch(&Value::Float(0.0), "[]interface {}"))])
            }
            Ok((other, _)) => Value::list(vec![Value::text(&mismatch(&other, "[]interface {}"))]),
            Err(problem) => Value::list(vec![Value::text(&problem)]),
        })
    }),
    exact("toToml", 1, |_, args| {
        Ok(Value::text(&super::toml::encode(&some(args)?).unwrap_or_else(|problem| problem)))
    }),
    exact("mustToToml", 1, |_, args| {
        super::toml::encode(&some(args)?).map(|text| Value::text(&text)).map_err(Fault::Message)
    }),
    exact("fromToml", 1, |env, args| {
        let text = args.string(0)?;
        env.step(text.bytes().len() as u64 / 16)?;
        Ok(super::toml::decode(text.bytes()).unwrap_or_else(|problem| error_object(&problem)))
    }),
    exact("required", 2, |_, args| {
        let (warning, value) = (args.utf8(0)?, args.any(1));
        let missing = value.is_nil() || matches!(&value, Value::Str(text) if text.bytes().is_empty());
        if missing { Err(Fault::Refused(warning)) } else { Ok(value) }
    }),
    exact("fail", 1, |_, args| Err(Fault::Refused(args.utf8(0)?))),
    exact("lookup", 4, lookup),
    exact("getHostByName", 1, |_, args| args.string(0).map(|_| Value::text(""))),
    exact("hello", 0, |_, _| Ok(Value::text("Hello!"))),
];

fn to_yaml(args: Args<'_>, emit: fn(&serde_json::Value) -> String) -> Option<Value> {
    let value = args.any(0);
    let mut json = try_json(&value)?;
    if holds_controls(&json) {
        // The library writes JSON and reads that as YAML, which knows no such letters and folds lines at others.
        let text = encode(&value, Layout { html: true, pretty: false }).ok()?;
        json = read::read(&String::from_utf8_lossy(&text), &Limits::default()).ok()?;
    }
    let text = emit(&json);
    Some(Value::text(text.strip_suffix('\n').unwrap_or(&text)))
}

/// Whether a text in it holds letters that JSON writes as they are and YAML does not read so.
fn holds_controls(value: &serde_json::Value) -> bool {
    let text =
        |text: &str| text.contains(|letter| matches!(letter, '\u{7f}'..='\u{9f}' | '\u{fffe}' | '\u{ffff}'));
    match value {
        serde_json::Value::String(found) => text(found),
        serde_json::Value::Array(items) => items.iter().any(holds_controls),
        serde_json::Value::Object(entries) => {
            entries.iter().any(|(key, value)| text(key) || holds_controls(value))
        }
        serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::Number(_) => false,
    }
}

fn json_kind(value: &Value) -> &'static str {
    match value {
        Value::Bool(_) => "bool",
        Value::Int(_) | Value::Int64(_) | Value::Float(_) => "number",
        Value::Str(_) => "string",
        Value::List(_) => "array",
        Value::Nil | Value::Null | Value::Dict(_) | Value::Object(_) => "object",
    }
}

fn mismatch(value: &Value, target: &str) -> String {
    format!("json: cannot unmarshal {} into Go value of type {target}", json_kind(value))
}

fn error_object(problem: &str) -> Value {
    let dict = Dict::empty();
    dict.insert("Error", Value::text(problem));
    Value::Dict(dict)
}

fn decoding(value: &Value, target: &str) -> String {
    format!("error unmarshaling JSON: while decoding JSON: {}", mismatch(value, target))
}

/// Helm's `fromYaml`: errors are an entry of the map.
fn object(parsed: Result<serde_json::Value, String>) -> Value {
    match parsed.map(|value| from_json(&value)) {
        Ok(Value::Nil) => Value::Dict(Dict::empty()),
        Ok(Value::Dict(dict)) => Value::Dict(dict),
        Ok(other) => error_object(&decoding(&other, "map[string]interface {}")),
        Err(problem) => error_object(&problem),
    }
}

/// Helm's `fromYamlArray`: an error is the only item.
fn array(parsed: Result<serde_json::Value, String>) -> Value {
    match parsed.map(|value| from_json(&value)) {
        Ok(Value::Nil) => Value::list(Vec::new()),
        Ok(Value::List(list)) => Value::List(list),
        Ok(other) => Value::list(vec![Value::text(&decoding(&other, "[]interface {}"))]),
        Err(problem) => Value::list(vec![Value::text(&problem)]),
    }
}

fn lookup(env: &mut Env<'_>, args: Args<'_>) -> Answer {
    let (version, kind, namespace, name) = (args.utf8(0)?, args.utf8(1)?, args.utf8(2)?, args.utf8(3)?);
    env.used_lookup = true;
    let found = from_json(&env.lookup.get(&version, &kind, &namespace, &name));
    Ok(if found.is_nil() { Value::Dict(Dict::empty()) } else { found })
}

/// Of nothing Go can tell no type.
fn some(args: Args<'_>) -> Result<Value, Fault> {
    match args.any(0) {
        nothing if nothing.is_nil() => {
            Err(Fault::message("reflect: call of reflect.Value.Type on zero Value"))
        }
        value => Ok(value),
    }
}
