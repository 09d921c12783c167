//! sprig's defaults and choices.

use super::{Answer, Row, exact, variadic};
use crate::template::args::Args;
use crate::template::env::Env;
use crate::template::value::Value;

pub(super) static TABLE: &[Row] = &[
    variadic("default", 1, |_, args| {
        let given = args.any(1);
        Ok(if args.len() < 2 || is_empty(&given) { args.any(0) } else { given })
    }),
    exact("empty", 1, |_, args| Ok(Value::Bool(is_empty(&args.any(0))))),
    variadic("coalesce", 0, |_, args| {
        Ok(args.0.iter().find(|value| !is_empty(value)).cloned().unwrap_or(Value::Null))
    }),
    variadic("all", 0, |_, args| Ok(Value::Bool(args.0.iter().all(|value| !is_empty(value))))),
    variadic("any", 0, |_, args| Ok(Value::Bool(args.0.iter().any(|value| !is_empty(value))))),
    exact("ternary", 3, ternary),
];

/// sprig's emptiness: the zero value, or nothing in it; a struct is never empty.
pub(crate) fn is_empty(value: &Value) -> bool {
    !value.truth()
}

fn ternary(_: &mut Env<'_>, args: Args<'_>) -> Answer {
    let choice = args.bool(2)?;
    Ok(if choice { args.any(0) } else { args.any(1) })
}
