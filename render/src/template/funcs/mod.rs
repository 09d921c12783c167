//! The functions a chart may call, by name. One file per family; a family lists its functions in a table.

pub(crate) mod builtin;
pub(crate) mod certificates;
pub(crate) mod crypto;
pub(crate) mod dates;
mod decimals;
pub(crate) mod defaults;
pub(crate) mod dicts;
pub(crate) mod encoding;
pub(crate) mod files;
pub(crate) mod helm;
pub(crate) mod lists;
pub(crate) mod numbers;
pub(crate) mod paths;
pub(crate) mod reflection;
pub(crate) mod regexes;
pub(crate) mod semver;
pub(crate) mod strings;
mod sveltos;
pub(crate) mod toml;
pub(crate) mod urls;
pub(crate) mod words;

use std::collections::HashMap;
use std::sync::OnceLock;

use super::args::Args;
use super::env::Env;
use super::fault::Fault;
use super::value::Value;

/// What a function answers.
pub(crate) type Answer = Result<Value, Fault>;

/// A function as templates call it.
#[derive(Debug)]
pub(crate) struct Function {
    pub name: &'static str,
    pub least: usize,
    pub most: usize,
    pub run: Run,
}

/// How a function runs.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Run {
    /// All arguments are evaluated first.
    Plain(fn(&mut Env<'_>, Args<'_>) -> Answer),
    /// `and`, `or`: evaluation stops at the first argument with this truth.
    ShortCircuit {
        stops_on: bool,
    },
    Include,
    Tpl,
}

/// A row of a family's table: exact number of arguments.
pub(crate) const fn exact(
    name: &'static str,
    count: usize,
    run: fn(&mut Env<'_>, Args<'_>) -> Answer,
) -> Function {
    Function { name, least: count, most: count, run: Run::Plain(run) }
}

/// A row of a family's table: at least so many arguments.
pub(crate) const fn variadic(
    name: &'static str,
    least: usize,
    run: fn(&mut Env<'_>, Args<'_>) -> Answer,
) -> Function {
    Function { name, least, most: usize::MAX, run: Run::Plain(run) }
}

static SPECIAL: [Function; 4] = [
    Function { name: "and", least: 1, most: usize::MAX, run: Run::ShortCircuit { stops_on: false } },
    Function { name: "or", least: 1, most: usize::MAX, run: Run::ShortCircuit { stops_on: true } },
    Function { name: "include", least: 2, most: 2, run: Run::Include },
    Function { name: "tpl", least: 2, most: 2, run: Run::Tpl },
];

static FAMILIES: [&[Function]; 18] = [
    &SPECIAL,
    builtin::TABLE,
    certificates::TABLE,
    crypto::TABLE,
    dates::TABLE,
    defaults::TABLE,
    dicts::TABLE,
    encoding::TABLE,
    helm::TABLE,
    lists::TABLE,
    numbers::TABLE,
    paths::TABLE,
    regexes::TABLE,
    reflection::TABLE,
    semver::TABLE,
    strings::TABLE,
    sveltos::TABLE,
    urls::TABLE,
];

/// The function of that name.
pub(crate) fn find(name: &str) -> Option<&'static Function> {
    static INDEX: OnceLock<HashMap<&'static str, &'static Function>> = OnceLock::new();
    let index = INDEX.get_or_init(|| {
        FAMILIES.iter().flat_map(|family| family.iter()).map(|function| (function.name, function)).collect()
    });
    index.get(name).copied()
}
