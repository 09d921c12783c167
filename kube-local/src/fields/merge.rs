//! Changes objects by their schema: merges an applied object into a live one, and removes what an applier gave up.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::compare::{Form, form};
use super::schema::{Expect, Graph, ListRule, MapRule, Rest, Shape, ShapeId, item_element, same_item};
use super::set::{FieldSet, PathElement};

/// Merges `applied` into `live`: what `applied` sets wins, everything else stays.
pub(crate) fn merge(graph: &Graph, id: ShapeId, live: &mut Value, applied: &Value) {
    let shape = graph.shape(id);
    match (form(applied, shape), form(live, shape)) {
        (Form::Map, Form::Map) => merge_maps(graph, shape, live, applied),
        (Form::List, Form::List) => merge_lists(graph, shape, live, applied),
        // Nothing is said about the items, so they stay; an empty value takes the new form.
        (Form::Null, Form::Map | Form::List) if !is_empty(live) => {}
        _ => live.clone_from(applied),
    }
}

fn is_empty(value: &Value) -> bool {
    value.as_object().is_some_and(Map::is_empty) || value.as_array().is_some_and(Vec::is_empty)
}

fn merge_maps(graph: &Graph, shape: &Shape, live: &mut Value, applied: &Value) {
    let (Value::Object(live), Value::Object(applied)) = (live, applied) else { return };
    for (name, value) in applied {
        match live.get_mut(name) {
            Some(old) => merge(graph, graph.field(&shape.map, name).0, old, value),
            None => {
                live.insert(name.clone(), value.clone());
            }
        }
    }
}

/// Merges two lists whose items have path elements. Items of the applied list keep its order; items that only
/// the live list has stay before the first shared item that followed them.
fn merge_lists(graph: &Graph, shape: &Shape, live: &mut Value, applied: &Value) {
    let (Value::Array(live), Value::Array(applied)) = (live, applied) else { return };
    if applied.is_empty() {
        return;
    }
    let element = match &shape.list {
        ListRule::Keyed { element, .. } => Some(*element),
        ListRule::Set | ListRule::Atomic => None,
    };
    // The usual case: the same items in the same order.
    if live.len() == applied.len() && live.iter().zip(applied).all(|(a, b)| same_item(&shape.list, a, b)) {
        if let Some(element) = element {
            live.iter_mut().zip(applied).for_each(|(live, applied)| merge(graph, element, live, applied));
        }
        return;
    }
    let path = |item: &Value| item_element(&shape.list, item).ok();
    let right: Vec<PathElement> = applied.iter().filter_map(path).collect();
    let left: Vec<Option<PathElement>> = live.iter().map(path).collect();
    if right.len() != applied.len() {
        return;
    }
    // Live items by path; duplicates cannot be merged with anything.
    let mut by_path: BTreeMap<&PathElement, Option<usize>> = BTreeMap::new();
    for (i, path) in left.iter().enumerate() {
        if let Some(path) = path {
            by_path.entry(path).and_modify(|at| *at = None).or_insert(Some(i));
        }
    }
    let in_right: BTreeMap<&PathElement, usize> =
        right.iter().enumerate().map(|(i, path)| (path, i)).collect();
    let mut old: Vec<Option<Value>> = live.drain(..).map(Some).collect();
    let mut take_merged = |i: usize| {
        let mut item = applied[i].clone();
        if let (Some(element), Some(Some(at))) = (element, by_path.get(&right[i]))
            && let Some(mut base) = old[*at].take()
        {
            merge(graph, element, &mut base, &applied[i]);
            item = base;
        }
        item
    };
    let mut out = Vec::with_capacity(left.len().max(right.len()));
    // First decide the order, then move the items.
    for step in list_order(&left, &right, &in_right, |path| by_path.contains_key(path)) {
        match step {
            Step::Live(i) => out.push((Some(i), Value::Null)),
            Step::Applied(i) => out.push((None, take_merged(i))),
        }
    }
    live.extend(out.into_iter().map(|(at, item)| match at {
        Some(at) => old[at].take().unwrap_or(Value::Null),
        None => item,
    }));
}

enum Step {
    Live(usize),
    Applied(usize),
}

fn list_order(
    left: &[Option<PathElement>],
    right: &[PathElement],
    in_right: &BTreeMap<&PathElement, usize>,
    in_left: impl Fn(&PathElement) -> bool,
) -> Vec<Step> {
    let mut shared = right.iter().filter(|path| in_left(path));
    let mut next_shared = shared.next();
    let mut taken = vec![false; right.len()];
    let mut steps = Vec::with_capacity(left.len().max(right.len()));
    let (mut l, mut r) = (0, 0);
    while l < left.len() || r < right.len() {
        if let Some(path) = left.get(l) {
            let at = path.as_ref().and_then(|path| in_right.get(path).copied());
            match at {
                None => {
                    steps.push(Step::Live(l));
                    l += 1;
                    continue;
                }
                Some(at) if at == r => {
                    taken[r] = true;
                    steps.push(Step::Applied(r));
                    (l, r) = (l + 1, r + 1);
                    next_shared = shared.next();
                    continue;
                }
                // Shared, but its turn comes elsewhere.
                Some(at) if r < right.len() && next_shared.is_some_and(|next| *next != right[at]) => {
                    l += 1;
                    continue;
                }
                Some(at) if taken[at] => l += 1,
                Some(_) => {}
            }
        }
        if r < right.len() {
            taken[r] = true;
            steps.push(Step::Applied(r));
            if next_shared == Some(&right[r]) {
                next_shared = shared.next();
            }
            r += 1;
        }
    }
    steps
}

/// Removes from `value` what `last` holds and `owned` does not: the fields that an applier no longer applies and
/// that nobody else owns.
pub(crate) fn prune(graph: &Graph, id: ShapeId, value: &mut Value, last: &FieldSet, owned: &FieldSet) {
    let shape = graph.shape(id);
    match (form(value, shape), value) {
        (Form::Map, Value::Object(map)) => {
            for (element, member, below) in last.iter() {
                let PathElement::Field(name) = element else { continue };
                let Some(child) = map.get_mut(&**name) else { continue };
                let (id, named) = graph.field(&shape.map, name);
                let kept_below = owned.below(element);
                // A field of a struct stands for what is below it; a key of a map stands for itself.
                let target = member || named && !below.is_empty();
                let kept = owned.has(element) || named && kept_below.is_some();
                if target && !kept {
                    map.remove(&**name);
                } else if !below.is_empty() {
                    prune_child(graph, id, child, below, kept_below);
                }
            }
        }
        (Form::List, Value::Array(items)) => {
            let element_shape = match &shape.list {
                ListRule::Keyed { element, .. } => Some(*element),
                ListRule::Set | ListRule::Atomic => None,
            };
            items.retain_mut(|item| {
                let Ok(element) = item_element(&shape.list, item) else { return true };
                if last.has(&element) && !owned.has(&element) {
                    return false;
                }
                if let (Some(id), Some(below)) = (element_shape, last.below(&element)) {
                    prune_child(graph, id, item, below, owned.below(&element));
                }
                true
            });
        }
        _ => {}
    }
}

/// What is emptied becomes null where Kubernetes lets it be: in untyped fields, and in typed kinds, which drop it
/// then. A custom kind would refuse the null that a real API server leaves in its typed fields, so they stay empty.
fn prune_child(graph: &Graph, id: ShapeId, child: &mut Value, last: &FieldSet, owned: Option<&FieldSet>) {
    let was_empty = is_empty(child);
    match owned {
        Some(owned) => prune(graph, id, child, last, owned),
        None => prune(graph, id, child, last, &FieldSet::default()),
    }
    if !was_empty && is_empty(child) && graph.shape(id).expect == Expect::Any {
        *child = Value::Null;
    }
}

/// Drops the nulls that typed kinds (the built-in ones, and the metadata of all) do not keep.
pub(crate) fn drop_nulls(graph: &Graph, id: ShapeId, value: &mut Value) {
    let shape = graph.shape(id);
    match value {
        Value::Object(map) => {
            let MapRule::Granular { rest, .. } = &shape.map else { return };
            let typed = matches!(rest, Rest::Named(_));
            map.retain(|name, value| {
                if value.is_null() {
                    return !typed;
                }
                if value.is_object() || value.is_array() {
                    drop_nulls(graph, graph.field(&shape.map, name).0, value);
                }
                true
            });
        }
        Value::Array(items) => {
            if let ListRule::Keyed { element, .. } = &shape.list {
                items.iter_mut().for_each(|item| drop_nulls(graph, *element, item));
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
