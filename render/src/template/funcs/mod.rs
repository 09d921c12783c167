//! The functions a chart may call, by name. One file per family; a family lists its functions in a table.

pub(crate) mod builtin;
pub(crate) mod calendar;
pub(crate) mod certificates;
pub(crate) mod constraint;
pub(crate) mod crypto;
pub(crate) mod dates;
mod decimals;
pub(crate) mod defaults;
mod delimited;
pub(crate) mod dicts;
pub(crate) mod durations;
pub(crate) mod encoding;
pub(crate) mod files;
pub(crate) mod helm;
mod instants;
pub(crate) mod json_errors;
pub(crate) mod lists;
pub(crate) mod numbers;
pub(crate) mod parsed_time;
pub(crate) mod paths;
mod pem;
pub(crate) mod reflection;
pub(crate) mod regexes;
pub(crate) mod semver;
pub(crate) mod signatures;
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
    /// Go types of its parameters, see [`signatures`].
    pub parameters: &'static str,
}

/// A row of a family's table.
#[derive(Debug)]
pub(crate) struct Row {
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
) -> Row {
    Row { name, least: count, most: count, run: Run::Plain(run) }
}

/// A row of a family's table: at least so many arguments.
pub(crate) const fn variadic(
    name: &'static str,
    least: usize,
    run: fn(&mut Env<'_>, Args<'_>) -> Answer,
) -> Row {
    Row { name, least, most: usize::MAX, run: Run::Plain(run) }
}

static SPECIAL: [Row; 4] = [
    Row { name: "and", least: 1, most: usize::MAX, run: Run::ShortCircuit { stops_on: false } },
    Row { name: "or", least: 1, most: usize::MAX, run: Run::ShortCircuit { stops_on: true } },
    Row { name: "include", least: 2, most: 2, run: Run::Include },
    Row { name: "tpl", least: 2, most: 2, run: Run::Tpl },
];

static FAMILIES: [&[Row]; 17] = [
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
    urls::TABLE,
];

/// Whose templates they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// A chart's: what Helm does not know is not defined.
    Helm,
    /// Values over cluster objects: Helm's functions and those of [`sveltos`].
    Sveltos,
}

type Index = HashMap<&'static str, Function>;

/// The function of that name.
pub(crate) fn find(name: &str, dialect: Dialect) -> Option<&'static Function> {
    static HELM: OnceLock<Index> = OnceLock::new();
    static SVELTOS: OnceLock<Index> = OnceLock::new();
    let helm = HELM.get_or_init(|| index(FAMILIES.into_iter().flatten()));
    match dialect {
        Dialect::Helm => helm.get(name),
        Dialect::Sveltos => {
            SVELTOS.get_or_init(|| index(sveltos::TABLE)).get(name).or_else(|| helm.get(name))
        }
    }
}

fn index<'r>(rows: impl IntoIterator<Item = &'r Row>) -> Index {
    let rows = rows.into_iter().map(|row| {
        let Row { name, least, most, run } = *row;
        (name, Function { name, least, most, run, parameters: signatures::parameters(name) })
    });
    rows.collect()
}
