//! sprig's map functions. `set`, `unset` and the merges change the map they are given, as in Go.

use std::rc::Rc;

use super::defaults::is_empty;
use super::{Answer, Row, exact, variadic};
use crate::template::args::Args;
use crate::template::env::Env;
use crate::template::fault::Fault;
use crate::template::print::strval;
use crate::template::value::{Dict, DictKind, List, Value};

pub(super) static TABLE: &[Row] = &[
    variadic("dict", 0, make),
    exact("get", 2, |_, args| {
        Ok(args.dict(0)?.get(&args.utf8(1)?).map_or_else(|| Value::text(""), Value::element))
    }),
    exact("set", 3, |_, args| {
        let dict = args.dict(0)?;
        if args.any(0).is_unmade() {
            return Err(Fault::message("assignment to entry in nil map"));
        }
        dict.insert(args.utf8(1)?, args.any(2));
        Ok(Value::Dict(dict))
    }),
    exact("unset", 2, |_, args| {
        let dict = args.dict(0)?;
        dict.remove(&args.utf8(1)?);
        Ok(Value::Dict(dict))
    }),
    exact("hasKey", 2, |_, args| Ok(Value::Bool(args.dict(0)?.contains(&args.utf8(1)?)))),
    variadic("pluck", 1, |_, args| {
        let key = args.utf8(0)?;
        let mut found = Vec::new();
        for at in 1..args.len() {
            found.extend(args.dict(at)?.get(&key));
        }
        Ok(Value::list(found))
    }),
    variadic("keys", 0, |_, args| {
        let mut keys = Vec::new();
        for at in 0..args.len() {
            keys.extend(args.dict(at)?.entries().into_iter().map(|(key, _)| key.to_string()));
        }
        Ok(Value::strings(keys))
    }),
    exact("values", 1, |_, args| {
        Ok(Value::list(args.dict(0)?.entries().into_iter().map(|(_, value)| value).collect()))
    }),
    variadic("pick", 1, |_, args| {
        let dict = args.dict(0)?;
        let mut out = Vec::new();
        for at in 1..args.len() {
            let key = args.utf8(at)?;
            out.extend(dict.get(&key).map(|value| (Rc::from(key), value)));
        }
        Ok(Value::Dict(out.into_iter().collect()))
    }),
    variadic("omit", 1, |_, args| {
        let out: Dict = args.dict(0)?.entries().into_iter().collect();
        for at in 1..args.len() {
            out.remove(&args.utf8(at)?);
        }
        Ok(Value::Dict(out))
    }),
    variadic("merge", 1, |env, args| merge(env, args, false)),
    variadic("mustMerge", 1, |env, args| merge(env, args, false)),
    variadic("mergeOverwrite", 1, |env, args| merge(env, args, true)),
    variadic("mustMergeOverwrite", 1, |env, args| merge(env, args, true)),
    exact("deepCopy", 1, copy),
    exact("mustDeepCopy", 1, copy),
    variadic("dig", 0, dig),
];

fn make(_: &mut Env<'_>, args: Args<'_>) -> Answer {
    let dict = Dict::empty();
    for pair in args.0.chunks(2) {
        if let Some(key) = pair.first() {
            let value = pair.get(1).cloned().map_or_else(|| Value::text(""), Value::settled);
            dict.insert(strval(key).lossy().into_owned(), value);
        }
    }
    Ok(Value::Dict(dict))
}

fn merge(env: &mut Env<'_>, args: Args<'_>, overwrite: bool) -> Answer {
    let target = args.dict(0)?;
    for at in 1..args.len() {
        merge_into(env, &target, &args.dict(at)?, overwrite, 0)?;
    }
    Ok(Value::Dict(target))
}

/// `mergo`'s merge. Maps merge key by key, and a map given from the source is shared, not copied. Otherwise the source
/// wins where the target has nothing (or something empty) and, with `overwrite`, always; a nil wins only then.
fn merge_into(
    env: &mut Env<'_>,
    target: &Dict,
    source: &Dict,
    overwrite: bool,
    depth: usize,
) -> Result<(), Fault> {
    if depth > env.limits.nesting_depth {
        return Err(Fault::Limit { name: "nesting_depth", maximum: env.limits.nesting_depth as u64 });
    }
    if target.same(source) {
        return Ok(());
    }
    for (key, value) in source.entries() {
        env.step(1)?;
        if value.is_nil() {
            if overwrite {
                target.insert(key, value);
            }
            continue;
        }
        let existing = target.get(&key);
        if let (Some(Value::Dict(inner)), Value::Dict(from)) = (&existing, &value) {
            merge_into(env, inner, from, overwrite, depth + 1)?;
            if inner.len() > 0 {
                continue;
            }
        }
        if overwrite || existing.as_ref().is_none_or(is_empty) {
            target.insert(key, value);
        }
    }
    Ok(())
}

fn copy(env: &mut Env<'_>, args: Args<'_>) -> Answer {
    let value = args.any(0);
    if value.is_nil() {
        return Err(Fault::message("reflect: call of reflect.Value.Type on zero Value"));
    }
    deep_copy(env, &value, 0)
}

fn deep_copy(env: &mut Env<'_>, value: &Value, depth: usize) -> Answer {
    if depth > env.limits.nesting_depth {
        return Err(Fault::Limit { name: "nesting_depth", maximum: env.limits.nesting_depth as u64 });
    }
    env.step(1)?;
    Ok(match value {
        Value::List(list) => {
            let items =
                list.items().iter().map(|item| deep_copy(env, item, depth + 1)).collect::<Result<_, _>>()?;
            Value::List(List::new(items, list.kind()))
        }
        Value::Dict(dict) => {
            let copy = Dict::new(dict.kind(), std::collections::BTreeMap::new());
            for (key, item) in dict.entries() {
                copy.insert(key, deep_copy(env, &item, depth + 1)?);
            }
            Value::Dict(copy)
        }
        Value::Object(object) => object.copied().unwrap_or_else(|| value.clone()),
        other => other.clone(),
    })
}

fn dig(_: &mut Env<'_>, args: Args<'_>) -> Answer {
    if args.len() < 3 {
        return Err(Fault::message("dig needs at least three arguments"));
    }
    let (last, before) = (args.len() - 1, args.len() - 2);
    let mut value = args.any(last);
    let mut dict = table(&value)?;
    for at in 0..before {
        let key = args.any(at);
        if !matches!(key, Value::Str(_)) {
            let text = format!("interface conversion: interface {{}} is {}, not string", nil_aware(&key));
            return Err(Fault::message(text));
        }
    }
    for at in 0..before {
        if at > 0 {
            dict = table(&value)?;
        }
        match dict.get(&args.utf8(at)?) {
            Some(found) => value = found,
            None => return Ok(args.any(before)),
        }
    }
    Ok(value)
}

/// What `dig` can look into.
fn table(value: &Value) -> Result<Dict, Fault> {
    match value {
        Value::Dict(dict) if dict.kind() == DictKind::Any => Ok(dict.clone()),
        _ => {
            let found = nil_aware(value);
            let text =
                format!("interface conversion: interface {{}} is {found}, not map[string]interface {{}}");
            Err(Fault::message(text))
        }
    }
}

fn nil_aware(value: &Value) -> &'static str {
    if value.is_nil() { "nil" } else { value.type_name() }
}
