//! sprig's list functions. A list never changes; each function answers a new one.

use super::defaults::is_empty;
use super::numbers::to_int;
use super::{Answer, Row, exact, variadic};
use crate::template::args::{Args, as_list, nil_dereference};
use crate::template::env::Env;
use crate::template::fault::Fault;
use crate::template::value::{List, ListKind, Value, deep_equal};

pub(super) static TABLE: &[Row] = &[
    variadic("list", 0, make),
    variadic("tuple", 0, make),
    exact("append", 2, push),
    exact("push", 2, push),
    exact("mustAppend", 2, push),
    exact("mustPush", 2, push),
    exact("prepend", 2, prepend),
    exact("mustPrepend", 2, prepend),
    exact("first", 1, |_, args| {
        Ok(args.list(0, "find first on")?.items().first().cloned().unwrap_or(Value::Nil).element())
    }),
    exact("mustFirst", 1, |_, args| {
        Ok(args.list(0, "find first on")?.items().first().cloned().unwrap_or(Value::Nil).element())
    }),
    exact("last", 1, |_, args| {
        Ok(args.list(0, "find last on")?.items().last().cloned().unwrap_or(Value::Nil).element())
    }),
    exact("mustLast", 1, |_, args| {
        Ok(args.list(0, "find last on")?.items().last().cloned().unwrap_or(Value::Nil).element())
    }),
    exact("rest", 1, |_, args| Ok(tail(&args.list(0, "find rest on")?))),
    exact("mustRest", 1, |_, args| Ok(tail(&args.list(0, "find rest on")?))),
    exact("initial", 1, |_, args| Ok(head(&args.list(0, "find initial on")?))),
    exact("mustInitial", 1, |_, args| Ok(head(&args.list(0, "find initial on")?))),
    exact("reverse", 1, |_, args| {
        Ok(Value::list(args.list(0, "find reverse on")?.items().iter().rev().cloned().collect()))
    }),
    exact("mustReverse", 1, |_, args| {
        Ok(Value::list(args.list(0, "find reverse on")?.items().iter().rev().cloned().collect()))
    }),
    exact("compact", 1, compact),
    exact("mustCompact", 1, compact),
    exact("uniq", 1, unique),
    exact("mustUniq", 1, unique),
    variadic("without", 1, without),
    variadic("mustWithout", 1, without),
    exact("has", 2, has),
    exact("mustHas", 2, has),
    variadic("slice", 1, slice),
    variadic("mustSlice", 1, slice),
    variadic("concat", 0, concat),
    exact("chunk", 2, chunk),
    exact("mustChunk", 2, chunk),
];

fn make(_: &mut Env<'_>, args: Args<'_>) -> Answer {
    Ok(Value::list(args.0.iter().cloned().map(Value::settled).collect()))
}

fn push(_: &mut Env<'_>, args: Args<'_>) -> Answer {
    let mut items = args.list(0, "push on")?.items().to_vec();
    items.push(args.any(1));
    Ok(Value::list(items))
}

fn prepend(_: &mut Env<'_>, args: Args<'_>) -> Answer {
    let list = args.list(0, "prepend on")?;
    let mut items = vec![args.any(1)];
    items.extend_from_slice(list.items());
    Ok(Value::list(items))
}

fn tail(list: &List) -> Value {
    match list.items() {
        [] => Value::List(List::new(Vec::new(), ListKind::Nothing)),
        [_, rest @ ..] => Value::list(rest.to_vec()),
    }
}

fn head(list: &List) -> Value {
    match list.items() {
        [] => Value::List(List::new(Vec::new(), ListKind::Nothing)),
        [rest @ .., _] => Value::list(rest.to_vec()),
    }
}

fn compact(_: &mut Env<'_>, args: Args<'_>) -> Answer {
    let list = args.list(0, "compact on")?;
    Ok(Value::list(list.items().iter().filter(|item| !is_empty(item)).cloned().collect()))
}

fn contains(items: &[Value], wanted: &Value) -> bool {
    items.iter().any(|item| deep_equal(wanted, item))
}

fn unique(env: &mut Env<'_>, args: Args<'_>) -> Answer {
    let list = args.list(0, "find uniq on")?;
    let mut out: Vec<Value> = Vec::new();
    for item in list.items() {
        env.step(out.len() as u64)?;
        if !contains(&out, item) {
            out.push(item.clone());
        }
    }
    Ok(Value::list(out))
}

fn without(_: &mut Env<'_>, args: Args<'_>) -> Answer {
    let list = args.list(0, "find without on")?;
    Ok(Value::list(list.items().iter().filter(|item| !contains(args.rest(1), item)).cloned().collect()))
}

fn has(_: &mut Env<'_>, args: Args<'_>) -> Answer {
    if args.any(1).is_nil() {
        return Ok(Value::Bool(false));
    }
    let list = args.list(1, "find has on")?;
    Ok(Value::Bool(contains(list.items(), &args.any(0))))
}

fn slice(_: &mut Env<'_>, args: Args<'_>) -> Answer {
    let Some(list) = as_list(&args.any(0)) else {
        if args.any(0).is_nil() {
            return Err(nil_dereference());
        }
        return Err(Fault::message(format!(
            "list should be type of slice or array but {}",
            args.any(0).kind_name()
        )));
    };
    if list.items().is_empty() {
        return Ok(Value::Null);
    }
    let length = i64::try_from(list.items().len()).unwrap_or(i64::MAX);
    let start = if args.len() > 1 { to_int(&args.any(1)) } else { 0 };
    let end = if args.len() > 2 { to_int(&args.any(2)) } else { length };
    let range = usize::try_from(start).ok().zip(usize::try_from(end).ok());
    let part = range.and_then(|(start, end)| list.items().get(start..end));
    match part {
        Some(part) => Ok(Value::List(List::new(part.to_vec(), list.kind()))),
        None => Err(Fault::message("reflect.Value.Slice: slice index out of bounds")),
    }
}

fn concat(_: &mut Env<'_>, args: Args<'_>) -> Answer {
    let mut items = Vec::new();
    for value in args.0 {
        let value = value.clone().settled();
        let Some(list) = as_list(&value) else {
            if value.is_nil() {
                return Err(nil_dereference());
            }
            return Err(Fault::message(format!("Cannot concat type {} as list", value.kind_name())));
        };
        items.extend_from_slice(list.items());
    }
    Ok(Value::list(items))
}

/// sprig's arithmetic, also for sizes that make no sense.
fn chunk(_: &mut Env<'_>, args: Args<'_>) -> Answer {
    let list = args.list(1, "chunk")?;
    let (size, length) = (args.int(0)?, i64::try_from(list.items().len()).unwrap_or(i64::MAX));
    let out_of_range = || Fault::message("runtime error: makeslice: len out of range");
    let chunks = match usize::try_from(size) {
        Ok(0) => return Err(out_of_range()),
        Ok(size) => list.items().chunks(size).map(|part| Value::list(part.to_vec())).collect(),
        // Sizes below zero follow from sprig's arithmetic: a floor for the count, a remainder for the last chunk.
        Err(_) => match (1 - length).div_euclid(size.saturating_abs()) + 1 {
            0 => Vec::new(),
            1 if length % size != 0 => vec![Value::list(list.items().to_vec())],
            _ => return Err(out_of_range()),
        },
    };
    Ok(Value::List(List::new(chunks, ListKind::Lists)))
}
