//! Strategic merge patch, driven by the same schema as server-side apply: keyed lists merge by their first key,
//! sets merge by value, all other lists are replaced, all maps merge.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::{PatchError, kind_name};
use crate::fields::{Graph, ListRule, MergeSchema, ShapeId};

const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const SET_ORDER: &str = "$setElementOrder/";
const DELETE_PRIMITIVES: &str = "$deleteFromPrimitiveList/";

pub(crate) fn apply(target: &mut Value, patch: &Value, schema: &MergeSchema) -> Result<(), PatchError> {
    let Value::Object(patch) = patch else { return Err(PatchError::NotAnObject { found: kind_name(patch) }) };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(target) = target else { return Ok(()) };
    Merge { graph: &schema.graph }.maps(schema.root, target, patch, "")
}

struct Merge<'a> {
    graph: &'a Graph,
}

impl Merge<'_> {
    fn maps(
        &self,
        id: ShapeId,
        target: &mut Map<String, Value>,
        patch: &Map<String, Value>,
        path: &str,
    ) -> Result<(), PatchError> {
        match patch.get(DIRECTIVE) {
            None => {}
            Some(Value::String(what)) if what == "merge" => {}
            Some(Value::String(what)) if what == "replace" => {
                *target = clean_map(patch);
                return Ok(());
            }
            Some(Value::String(what)) if what == "delete" => {
                target.clear();
                return Ok(());
            }
            Some(value) => return Err(directive(DIRECTIVE, value, path)),
        }
        if let Some(value) = patch.get(RETAIN_KEYS) {
            let keys = as_list(value, RETAIN_KEYS, path)?;
            let keys: HashSet<&str> = keys.iter().filter_map(Value::as_str).collect();
            target.retain(|name, _| keys.contains(name.as_str()));
        }
        for (name, value) in patch {
            if let Some(list) = name.strip_prefix(DELETE_PRIMITIVES) {
                delete_primitives(target, list, value, path)?;
            }
        }
        for (name, value) in patch.iter().filter(|(name, _)| !name.starts_with('$')) {
            self.field(id, target, name, value, patch, path)?;
        }
        // An order may come without a change to the list.
        for (name, order) in patch {
            if let Some(list) = name.strip_prefix(SET_ORDER)
                && !patch.contains_key(list)
                && let Some(Value::Array(items)) = target.get_mut(list)
            {
                let before = items.clone();
                self.reorder(self.child(id, list), items, &before, as_list(order, SET_ORDER, path)?);
            }
        }
        Ok(())
    }

    fn child(&self, id: ShapeId, name: &str) -> ShapeId {
        self.graph.field(&self.graph.shape(id).map, name).0
    }

    fn field(
        &self,
        id: ShapeId,
        target: &mut Map<String, Value>,
        name: &str,
        value: &Value,
        patch: &Map<String, Value>,
        path: &str,
    ) -> Result<(), PatchError> {
        let child = self.child(id, name);
        let path = format!("{path}.{name}");
        match (value, target.get_mut(name)) {
            (Value::Null, _) => {
                target.remove(name);
            }
            (Value::Object(patch), Some(Value::Object(old))) => self.maps(child, old, patch, &path)?,
            (Value::Array(changes), Some(Value::Array(old))) => {
                let before = old.clone();
                self.lists(child, old, changes, &path)?;
                match patch.get(&format!("{SET_ORDER}{name}")) {
                    Some(order) => self.reorder(child, old, &before, as_list(order, SET_ORDER, &path)?),
                    // What a patch names stands in the order of the patch.
                    None => self.reorder(child, old, &before, changes),
                }
            }
            (value, _) => {
                if let Some(clean) = clean(value) {
                    target.insert(name.to_owned(), clean);
                }
            }
        }
        Ok(())
    }

    fn lists(
        &self,
        id: ShapeId,
        old: &mut Vec<Value>,
        changes: &[Value],
        path: &str,
    ) -> Result<(), PatchError> {
        match &self.graph.shape(id).list {
            ListRule::Atomic => *old = changes.iter().filter_map(clean).collect(),
            ListRule::Set => {
                for item in changes {
                    if !old.contains(item) {
                        old.push(item.clone());
                    }
                }
            }
            ListRule::Keyed { keys, element } => {
                let Some((key, _)) = keys.first() else { return Ok(()) };
                self.keyed_lists(key, *element, old, changes, path)?;
            }
        }
        Ok(())
    }

    fn keyed_lists(
        &self,
        key: &str,
        element: ShapeId,
        old: &mut Vec<Value>,
        changes: &[Value],
        path: &str,
    ) -> Result<(), PatchError> {
        let what = |item: &Value| item.get(DIRECTIVE).and_then(Value::as_str).map(str::to_owned);
        if changes.iter().any(|item| what(item).as_deref() == Some("replace")) {
            let kept = changes.iter().filter(|item| what(item).as_deref() != Some("replace"));
            *old = kept.filter_map(clean).collect();
            return Ok(());
        }
        for change in changes {
            let Value::Object(fields) = change else {
                return Err(PatchError::MergeKey { item: change.to_string(), key: key.to_owned() });
            };
            let Some(identity) = fields.get(key) else {
                return Err(PatchError::MergeKey { item: change.to_string(), key: key.to_owned() });
            };
            if what(change).as_deref() == Some("delete") {
                old.retain(|item| item.get(key) != Some(identity));
                continue;
            }
            let found = old.iter_mut().find(|item| item.get(key) == Some(identity));
            match found {
                Some(Value::Object(item)) => {
                    self.maps(element, item, fields, &format!("{path}[{identity}]"))?
                }
                _ => old.push(Value::Object(clean_map(fields))),
            }
        }
        Ok(())
    }

    /// Puts the items that `order` names into that order; items only the server has keep their place relative to
    /// the ones they stood beside.
    fn reorder(&self, id: ShapeId, items: &mut Vec<Value>, before: &[Value], order: &[Value]) {
        let key = match &self.graph.shape(id).list {
            ListRule::Keyed { keys, .. } => keys.first().map(|(key, _)| key.clone()),
            ListRule::Set => None,
            ListRule::Atomic => return,
        };
        let identity = |item: &Value| match &key {
            Some(key) => item.get(&**key).cloned().unwrap_or(Value::Null),
            None => item.clone(),
        };
        let order: Vec<Value> = order.iter().map(identity).collect();
        let before: Vec<Value> = before.iter().map(identity).collect();
        let place = |item: &Value| before.iter().position(|other| *other == identity(item));

        let (mut named, alone): (Vec<Value>, Vec<Value>) =
            items.drain(..).partition(|item| order.contains(&identity(item)));
        named.sort_by_key(|item| order.iter().position(|other| *other == identity(item)));
        let (mut named, mut alone) = (named.into_iter().peekable(), alone.into_iter().peekable());
        loop {
            let alone_first = match (alone.peek(), named.peek()) {
                (Some(a), Some(n)) => matches!((place(a), place(n)), (Some(a), Some(n)) if a < n),
                (Some(_), None) => true,
                (None, Some(_)) => false,
                (None, None) => break,
            };
            items.extend(if alone_first { alone.next() } else { named.next() });
        }
    }
}

fn delete_primitives(
    target: &mut Map<String, Value>,
    list: &str,
    value: &Value,
    path: &str,
) -> Result<(), PatchError> {
    let doomed = as_list(value, DELETE_PRIMITIVES, path)?;
    if let Some(Value::Array(items)) = target.get_mut(list) {
        items.retain(|item| !doomed.contains(item));
    }
    Ok(())
}

fn as_list<'a>(value: &'a Value, name: &str, path: &str) -> Result<&'a [Value], PatchError> {
    value.as_array().map(Vec::as_slice).ok_or_else(|| directive(name, value, path))
}

fn directive(name: &str, value: &Value, path: &str) -> PatchError {
    PatchError::Directive { directive: name.to_owned(), value: value.to_string(), path: path.to_owned() }
}

/// A patch value as new content: without directives and without deletions.
fn clean(value: &Value) -> Option<Value> {
    match value {
        Value::Null => None,
        Value::Object(map) if map.contains_key(DIRECTIVE) => None,
        Value::Object(map) => Some(Value::Object(clean_map(map))),
        Value::Array(items) => Some(Value::Array(items.iter().filter_map(clean).collect())),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => Some(value.clone()),
    }
}

fn clean_map(map: &Map<String, Value>) -> Map<String, Value> {
    map.iter()
        .filter(|(name, _)| !name.starts_with('$'))
        .filter_map(|(name, value)| clean(value).map(|value| (name.clone(), value)))
        .collect()
}
