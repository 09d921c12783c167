//! sprig's arithmetic. Integers wrap as Go's do; conversions are `spf13/cast`'s: what cannot be converted is zero.

use super::{Answer, Row, decimals, exact, variadic};
use crate::template::args::Args;
use crate::template::env::Env;
use crate::template::fault::Fault;
use crate::template::value::{List, ListKind, Value};
use crate::yaml::resolve::{Scalar, parse_integer};

pub(super) static TABLE: &[Row] = &[
    exact("atoi", 1, |_, args| Ok(Value::Int(args.utf8(0)?.parse().unwrap_or(0)))),
    exact("int64", 1, |_, args| Ok(Value::Int64(to_int(&args.any(0))))),
    exact("int", 1, |_, args| Ok(Value::Int(to_int(&args.any(0))))),
    exact("float64", 1, |_, args| Ok(Value::Float(to_float(&args.any(0))))),
    exact("toDecimal", 1, |_, args| {
        let text = String::from_utf8_lossy(&crate::template::print::display(&args.any(0))).into_owned();
        Ok(Value::Int64(i64::from_str_radix(&text, 8).unwrap_or(0)))
    }),
    variadic("seq", 0, sequence),
    exact("until", 1, |env, args| {
        let count = args.int(0)?;
        steps(env, 0, count, if count < 0 { -1 } else { 1 }).map(ints)
    }),
    exact("untilStep", 3, |env, args| steps(env, args.int(0)?, args.int(1)?, args.int(2)?).map(ints)),
    exact("add1", 1, |_, args| Ok(Value::Int64(to_int(&args.any(0)).wrapping_add(1)))),
    variadic("add", 0, |_, args| {
        Ok(Value::Int64(args.0.iter().fold(0_i64, |sum, value| sum.wrapping_add(to_int(value)))))
    }),
    exact("sub", 2, |_, args| Ok(Value::Int64(to_int(&args.any(0)).wrapping_sub(to_int(&args.any(1)))))),
    exact("div", 2, |_, args| divide(args, i64::wrapping_div)),
    exact("mod", 2, |_, args| divide(args, i64::wrapping_rem)),
    variadic("mul", 1, |_, args| {
        Ok(Value::Int64(
            args.rest(1)
                .iter()
                .fold(to_int(&args.any(0)), |product, value| product.wrapping_mul(to_int(value))),
        ))
    }),
    exact("add1f", 1, |_, args| Ok(Value::Float(decimals::add(to_float(&args.any(0)), 1.0)))),
    variadic("addf", 0, |_, args| Ok(fold(0.0, args.0, decimals::add))),
    variadic("subf", 1, |_, args| Ok(fold(to_float(&args.any(0)), args.rest(1), decimals::sub))),
    variadic("divf", 1, |_, args| {
        if args.rest(1).iter().any(|value| to_float(value) == 0.0) {
            return Err(Fault::message("decimal division by 0"));
        }
        Ok(fold(to_float(&args.any(0)), args.rest(1), decimals::div))
    }),
    variadic("mulf", 1, |_, args| Ok(fold(to_float(&args.any(0)), args.rest(1), decimals::mul))),
    variadic("biggest", 1, |_, args| Ok(extreme(args, i64::max))),
    variadic("max", 1, |_, args| Ok(extreme(args, i64::max))),
    variadic("min", 1, |_, args| Ok(extreme(args, i64::min))),
    variadic("maxf", 1, |_, args| Ok(fold(to_float(&args.any(0)), args.rest(1), f64::max))),
    variadic("minf", 1, |_, args| Ok(fold(to_float(&args.any(0)), args.rest(1), f64::min))),
    exact("ceil", 1, |_, args| Ok(Value::Float(to_float(&args.any(0)).ceil()))),
    exact("floor", 1, |_, args| Ok(Value::Float(to_float(&args.any(0)).floor()))),
    Row { name: "round", least: 2, most: usize::MAX, run: super::Run::Plain(round) },
    exact("randInt", 2, |env, args| {
        let (least, most) = (args.int(0)?, args.int(1)?);
        let span = most.checked_sub(least).filter(|span| *span > 0);
        let span = span.ok_or_else(|| Fault::message("invalid argument to Intn"))?;
        let bytes = env.random(8);
        let word = bytes.iter().fold(0_u64, |word, byte| (word << 8) | u64::from(*byte));
        let offset = i64::try_from(word % span.unsigned_abs()).unwrap_or(0);
        Ok(Value::Int(least + offset))
    }),
];

/// A float as an integer; what does not fit is the smallest one, as Go answers on common machines.
#[allow(clippy::cast_possible_truncation)] // truncation is the conversion asked for
fn truncated(value: f64) -> i64 {
    const BOUND: f64 = 9_223_372_036_854_775_808.0;
    if (-BOUND..BOUND).contains(&value) { value as i64 } else { i64::MIN }
}

#[allow(clippy::cast_precision_loss)] // Go's conversion loses it too
fn widened(value: i64) -> f64 {
    value as f64
}

/// `cast.ToInt64`.
pub(crate) fn to_int(value: &Value) -> i64 {
    match value {
        Value::Int(number) | Value::Int64(number) => *number,
        Value::Float(number) => truncated(*number),
        Value::Bool(flag) => i64::from(*flag),
        Value::Str(text) => int_text(&text.lossy()),
        Value::Object(object) => object.number().unwrap_or(0),
        Value::Nil | Value::Null | Value::List(_) | Value::Dict(_) => 0,
    }
}

/// A text as an integer in Go's notation (`0x10`, and `010` is eight); a fraction of zeros is dropped.
fn int_text(text: &str) -> i64 {
    let whole = match text.split_once('.') {
        Some((whole, zeros)) if !zeros.is_empty() && zeros.bytes().all(|byte| byte == b'0') => whole,
        _ => text,
    };
    let joined = |pair: &[u8]| pair == b"__";
    let loose = whole.ends_with('_') || whole.starts_with('_') || whole.as_bytes().windows(2).any(joined);
    let plain = if loose { whole.to_owned() } else { whole.replace('_', "") };
    match parse_integer(&plain) {
        Some(Scalar::Int(number)) => number,
        _ => 0,
    }
}

/// `cast.ToFloat64`.
pub(crate) fn to_float(value: &Value) -> f64 {
    match value {
        Value::Int(number) | Value::Int64(number) => widened(*number),
        Value::Float(number) => *number,
        Value::Bool(flag) => f64::from(u8::from(*flag)),
        Value::Str(text) => text.lossy().parse().unwrap_or(0.0),
        Value::Object(object) => object.number().map_or(0.0, widened),
        Value::Nil | Value::Null | Value::List(_) | Value::Dict(_) => 0.0,
    }
}

fn divide(args: Args<'_>, operation: fn(i64, i64) -> i64) -> Answer {
    let divisor = to_int(&args.any(1));
    if divisor == 0 {
        return Err(Fault::message("runtime error: integer divide by zero"));
    }
    Ok(Value::Int64(operation(to_int(&args.any(0)), divisor)))
}

fn fold(first: f64, rest: &[Value], operation: fn(f64, f64) -> f64) -> Value {
    Value::Float(rest.iter().fold(first, |value, next| operation(value, to_float(next))))
}

fn extreme(args: Args<'_>, pick: fn(i64, i64) -> i64) -> Value {
    Value::Int64(args.rest(1).iter().fold(to_int(&args.any(0)), |best, value| pick(best, to_int(value))))
}

fn round(_: &mut Env<'_>, args: Args<'_>) -> Answer {
    let places = args.int(1)?;
    let threshold = if args.len() > 2 { to_float(&args.any(2)) } else { 0.5 };
    let scale = 10_f64.powf(widened(places));
    let scaled = scale * to_float(&args.any(0));
    let rounded = if scaled.fract() >= threshold { scaled.ceil() } else { scaled.floor() };
    Ok(Value::Float(rounded / scale))
}

/// Numbers from `start` towards `stop`.
fn steps(env: &mut Env<'_>, start: i64, stop: i64, step: i64) -> Result<Vec<i64>, Fault> {
    let runs = if stop < start { step < 0 } else { step > 0 };
    if !runs {
        return Ok(Vec::new());
    }
    let count = (stop.abs_diff(start)).div_ceil(step.unsigned_abs());
    env.step(count)?;
    env.charge(usize::try_from(count).unwrap_or(usize::MAX).saturating_mul(32))?;
    let mut out = Vec::new();
    let mut at = start;
    while (step > 0 && at < stop) || (step < 0 && at > stop) {
        out.push(at);
        match at.checked_add(step) {
            Some(next) => at = next,
            None => break,
        }
    }
    Ok(out)
}

fn ints(numbers: Vec<i64>) -> Value {
    Value::List(List::new(numbers.into_iter().map(Value::Int).collect(), ListKind::Ints))
}

fn sequence(env: &mut Env<'_>, args: Args<'_>) -> Answer {
    let numbers = (0..args.len()).map(|at| args.int(at)).collect::<Result<Vec<_>, _>>()?;
    let (start, end, step) = match numbers.as_slice() {
        [end] => (1, *end, if *end < 1 { -1 } else { 1 }),
        [start, end] => (*start, *end, if end < start { -1 } else { 1 }),
        [start, step, end] => (*start, *end, *step),
        _ => return Ok(Value::text("")),
    };
    let towards = if end < start { -1 } else { 1 };
    if numbers.len() == 3 && end < start && step > 0 {
        return Ok(Value::text(""));
    }
    let numbers = steps(env, start, end.saturating_add(towards), step)?;
    Ok(Value::text(&numbers.iter().map(i64::to_string).collect::<Vec<_>>().join(" ")))
}
