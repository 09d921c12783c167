//! How values come together: Helm's coalescing of user values over chart values, of a chart over its subcharts, and of
//! globals. Works on shared maps because Helm's does: a nested global map is the same map in parent and subchart.

use serde_json::{Map, Value as Json};

use super::dependencies::Instance;
use crate::template::value::{Dict, Value};

/// The key whose map every subchart sees.
const GLOBAL: &str = "global";

/// Lays `over` on `base` as Helm lays user values on a chart's: maps merge key by key, a null deletes the key, and
/// nulls of the base vanish.
#[must_use]
pub fn merge_values(base: Json, over: Json) -> Json {
    match (base, over) {
        (Json::Object(base), Json::Object(over)) => Json::Object(merge_maps(base, over)),
        (base, Json::Null) => base,
        (_, over) => over,
    }
}

fn merge_maps(base: Map<String, Json>, over: Map<String, Json>) -> Map<String, Json> {
    let mut out = over;
    for (key, value) in base {
        match out.remove(&key) {
            None => {
                if let Some(value) = without_nulls(value) {
                    out.insert(key, value);
                }
            }
            Some(Json::Null) => {}
            Some(Json::Object(inner)) => {
                let merged = match value {
                    Json::Object(value) => merge_maps(value, inner),
                    _ => inner,
                };
                out.insert(key, Json::Object(merged));
            }
            Some(other) => {
                out.insert(key, other);
            }
        }
    }
    out
}

fn without_nulls(value: Json) -> Option<Json> {
    match value {
        Json::Null => None,
        Json::Object(entries) => Some(Json::Object(
            entries.into_iter().filter_map(|(key, value)| Some((key, without_nulls(value)?))).collect(),
        )),
        other => Some(other),
    }
}

/// A copy that shares nothing with the original.
pub(crate) fn deep_copy(value: &Value) -> Value {
    match value {
        Value::Dict(dict) => Value::Dict(deep_copy_dict(dict)),
        Value::List(list) => Value::List(crate::template::value::List::new(
            list.items().iter().map(deep_copy).collect(),
            list.kind(),
        )),
        other => other.clone(),
    }
}

/// A copy of a map that shares nothing with the original.
pub(crate) fn deep_copy_dict(dict: &Dict) -> Dict {
    let copy = Dict::new(dict.kind(), std::collections::BTreeMap::new());
    for (key, value) in dict.entries() {
        copy.insert(key, crate::template::stack::grow(|| deep_copy(&value)));
    }
    copy
}

/// Helm's `CoalesceValues` (`merge` false) and `MergeValues` (`merge` true, which keeps nulls).
pub(crate) fn coalesce_values(chart: &Instance<'_>, values: &Dict, merge: bool) -> Result<Dict, String> {
    let copy = deep_copy_dict(values);
    coalesce(chart, &copy, merge)?;
    Ok(copy)
}

fn coalesce(chart: &Instance<'_>, into: &Dict, merge: bool) -> Result<(), String> {
    coalesce_own(chart, into, merge);
    for child in &chart.children {
        let inner = match into.get(&child.name) {
            None => {
                let inner = Dict::empty();
                into.insert(child.name.as_str(), Value::Dict(inner.clone()));
                inner
            }
            Some(Value::Dict(inner)) => inner,
            Some(other) => {
                let name = &child.name;
                let kind = other.type_name();
                return Err(format!(
                    "type mismatch on {name}: the values of a subchart must be a map, not {kind}"
                ));
            }
        };
        coalesce_globals(&inner, into);
        coalesce(child, &inner, merge)?;
    }
    Ok(())
}

/// Lays the chart's own defaults under the values.
fn coalesce_own(chart: &Instance<'_>, into: &Dict, merge: bool) {
    for (key, value) in deep_copy_dict(&chart.values).entries() {
        match into.get(&key) {
            Some(Value::Nil | Value::Null) if !merge => into.remove(&key),
            Some(Value::Dict(existing)) => {
                if let Value::Dict(source) = value {
                    let merge = merge || chart.children.iter().any(|child| child.name == key.as_ref());
                    if !merge {
                        clean_nulls(&source);
                    }
                    coalesce_tables(&existing, &source, merge);
                }
            }
            Some(_) => {}
            None if merge => into.insert(key, value),
            None => {
                if let Value::Dict(inner) = &value {
                    clean_nulls(inner);
                }
                if !value.is_nil() {
                    into.insert(key, value);
                }
            }
        }
    }
}

fn clean_nulls(dict: &Dict) {
    for (key, value) in dict.entries() {
        match value {
            Value::Nil | Value::Null => dict.remove(&key),
            Value::Dict(inner) => clean_nulls(&inner),
            _ => {}
        }
    }
}

/// Hands the parent's globals to a subchart; what the parent says wins.
fn coalesce_globals(into: &Dict, parent: &Dict) {
    let globals = match into.get(GLOBAL) {
        None => Dict::empty(),
        Some(Value::Dict(globals)) => globals,
        Some(_) => return,
    };
    let source = match parent.get(GLOBAL) {
        None => Dict::empty(),
        Some(Value::Dict(source)) => source,
        Some(_) => return,
    };
    for (key, value) in source.entries() {
        match (&value, globals.get(&key)) {
            (Value::Dict(table), existing) => {
                // A copy of this level only: the maps below stay shared, as in Helm.
                let copy: Dict = table.entries().into_iter().collect();
                match existing {
                    None => globals.insert(key, Value::Dict(copy)),
                    Some(Value::Dict(existing)) => {
                        coalesce_tables(&copy, &existing, true);
                        globals.insert(key, Value::Dict(copy));
                    }
                    Some(_) => {}
                }
            }
            (_, Some(Value::Dict(_))) => {}
            _ => globals.insert(key, value),
        }
    }
    into.insert(GLOBAL, Value::Dict(globals));
}

/// Helm's `CoalesceTables`: the target wins; without `merge` its nulls delete what the source offers.
pub(crate) fn coalesce_tables(target: &Dict, source: &Dict, merge: bool) {
    let offered: Vec<_> =
        source.entries().into_iter().filter(|(_, value)| !value.is_nil()).map(|(key, _)| key).collect();
    for (key, value) in target.entries() {
        if value.is_nil() {
            source.insert(key, Value::Nil);
        }
    }
    for (key, value) in source.entries() {
        match (target.get(&key), &value) {
            (Some(existing), _) if existing.is_nil() && !merge && offered.contains(&key) => {
                target.remove(&key)
            }
            (None, _) => target.insert(key, value),
            (Some(Value::Dict(existing)), Value::Dict(inner)) if !existing.same(inner) => {
                crate::template::stack::grow(|| coalesce_tables(&existing, inner, merge));
            }
            _ => {}
        }
    }
}

/// The value at a path of keys.
pub(crate) fn at_path(values: &Dict, path: &str) -> Option<Value> {
    let mut value = Value::Dict(values.clone());
    for part in path.split('.') {
        let Value::Dict(dict) = &value else { return None };
        value = dict.get(part)?;
    }
    Some(value)
}
