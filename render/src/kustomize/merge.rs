//! Strategic merge patches as kustomize applies them: maps merge, lists of known kinds merge by key with what the
//! patch adds in front, all other lists are replaced, `$patch` deletes and replaces.
//!
//! # Why so literal
//! Lists whose items lack a key, or have it twice, come out of kustomize in ways that follow from its steps and from
//! nothing else. So the steps are the same here.

use super::node::{Node, Scalar, Tag, is_foreign_text};
use super::schema::{Place, Schema};
use crate::template::stack;

/// Where a walk ended: what stands there now, and whether it is what stood there before, changed in place.
struct Outcome {
    node: Option<Node>,
    in_place: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Directive {
    Merge,
    Replace,
    Delete,
}

/// The two sides of a walk.
struct Sides<'n> {
    target: Option<Node>,
    patch: Option<&'n mut Node>,
    /// The target is a copy of the patch: kustomize walks the same node on both sides.
    same: bool,
}

/// Merges `patch` into `target`; nothing is left when the patch deletes it.
///
/// # Errors
/// When the two do not have the same shape, or a directive is unknown.
pub(crate) fn merge(target: Node, mut patch: Node, schema: &Schema) -> Result<Option<Node>, String> {
    let sides = Sides { target: Some(target), patch: Some(&mut patch), same: false };
    Ok(walk(sides, None, schema, "")?.node)
}

fn is_missing(node: Option<&Node>) -> bool {
    node.is_none_or(Node::is_null)
}

fn directive(text: &str) -> Result<Directive, String> {
    match text {
        "merge" => Ok(Directive::Merge),
        "replace" => Ok(Directive::Replace),
        "delete" => Ok(Directive::Delete),
        other => Err(format!("unknown patch strategy '{other}'; known are merge, replace and delete")),
    }
}

/// Finds and removes the directive of a map.
fn map_directive(patch: Option<&mut Node>) -> Result<Directive, String> {
    let Some(patch) = patch else { return Ok(Directive::Merge) };
    if !patch.is_map() {
        return Err(format!("no strategic merge patch strategy for {}", patch.kind()));
    }
    let Some(found) = patch.get("$patch") else { return Ok(Directive::Merge) };
    let found = directive(found.raw())?;
    patch.remove("$patch");
    Ok(found)
}

/// Finds and removes the directive of a list: an item that holds nothing else.
fn list_directive(patch: Option<&mut Node>) -> Result<Directive, String> {
    let Some(patch) = patch else { return Ok(Directive::Merge) };
    let Some(item) = patch.items().iter().find(|item| item.get("$patch").is_some()) else {
        return Ok(Directive::Merge);
    };
    if item.entries().len() > 1 {
        return Ok(Directive::Merge);
    }
    let text = item.get("$patch").map_or("", Node::raw).to_owned();
    let found = directive(&text)?;
    if let Node::List(items) = patch {
        set_element(items, &["$patch".to_owned()], &[text], None)?;
    }
    Ok(found)
}

fn walk(sides: Sides<'_>, place: Option<Place<'_>>, schema: &Schema, path: &str) -> Result<Outcome, String> {
    stack::grow(|| {
        let place = place.or_else(|| {
            [sides.target.as_ref(), sides.patch.as_deref()].into_iter().flatten().find_map(|node| {
                let (version, kind) = (node.get("apiVersion")?.value(), node.get("kind")?.value());
                schema.of(version, kind)
            })
        });
        let first = [sides.target.as_ref(), sides.patch.as_deref()]
            .into_iter()
            .flatten()
            .find(|node| !node.is_null());
        let shape = first.map(std::mem::discriminant);
        for node in [sides.target.as_ref(), sides.patch.as_deref()].into_iter().flatten() {
            if !node.is_null() && Some(std::mem::discriminant(node)) != shape {
                return Err(format!(
                    "wrong node kind at \"{path}\": the patch and its target differ, one has {}",
                    node.kind()
                ));
            }
        }
        match first {
            None | Some(Node::Map(_)) => walk_map(sides, place, schema, path),
            Some(Node::List(_)) => walk_list(sides, place, schema, path),
            Some(Node::Scalar(_)) => Ok(match sides.patch {
                Some(patch) => Outcome { node: Some(patch.clone()), in_place: false },
                None => Outcome { node: sides.target, in_place: true },
            }),
        }
    })
}

fn gone() -> Outcome {
    Outcome { node: None, in_place: false }
}

fn walk_map(
    mut sides: Sides<'_>,
    place: Option<Place<'_>>,
    schema: &Schema,
    path: &str,
) -> Result<Outcome, String> {
    let mut in_place = true;
    if is_missing(sides.target.as_ref()) {
        if map_directive(sides.patch.as_deref_mut()).is_ok_and(|found| found == Directive::Delete) {
            return Ok(gone());
        }
        match (&sides.patch, &sides.target) {
            // A null that was written out stays where the patch does not touch it.
            (None, Some(target)) if !target.raw().is_empty() => {
                return Ok(Outcome { node: sides.target, in_place: true });
            }
            (None, _) => return Ok(gone()),
            (Some(patch), _) if patch.is_null() => return Ok(gone()),
            (Some(patch), _) => {
                sides.target = Some((**patch).clone());
                (sides.same, in_place) = (true, false);
            }
        }
    } else if sides.patch.as_deref().is_some_and(Node::is_null) {
        return Ok(gone());
    } else {
        match map_directive(sides.patch.as_deref_mut())? {
            Directive::Delete => return Ok(gone()),
            Directive::Replace => {
                sides.target = sides.patch.as_deref().cloned();
                (sides.same, in_place) = (true, false);
            }
            Directive::Merge if sides.same => {
                if let Some(target) = &mut sides.target {
                    target.remove("$patch");
                }
            }
            Directive::Merge => {}
        }
    }
    let Some(mut target) = sides.target else { return Ok(gone()) };
    let mut names: Vec<String> = target.entries().iter().map(|(key, _)| key.text.clone()).collect();
    names.extend(sides.patch.iter().flat_map(|patch| patch.entries()).map(|(key, _)| key.text.clone()));
    names.sort();
    names.dedup();
    for name in names {
        let foreign = sides.patch.as_deref().and_then(|patch| {
            patch.entries().iter().find(|(key, _)| key.text == name).map(|(key, _)| key.foreign)
        });
        let inner = Sides {
            target: target.get(&name).cloned(),
            patch: sides.patch.as_deref_mut().and_then(|patch| patch.get_mut(&name)),
            same: sides.same,
        };
        let kept_null = inner.patch.is_none() && inner.target.as_ref().is_some_and(Node::is_null);
        let below = place.as_ref().and_then(|place| schema.below(place, &name));
        let outcome = walk(inner, below, schema, &format!("{path}.{name}"))?;
        match outcome.node {
            Some(node) if node.is_null() && !kept_null => target.remove(&name),
            Some(node) => put(&mut target, &name, node, foreign),
            None => target.remove(&name),
        }
    }
    Ok(Outcome { node: Some(target), in_place })
}

/// Sets a field; a new key is written as the patch writes it. A scalar whose type was still open becomes a text here
/// where YAML 1.1 would read something else: every field of a map that is walked is set anew, patched or not.
fn put(target: &mut Node, name: &str, mut node: Node, foreign: Option<bool>) {
    let is_new = target.get(name).is_none();
    if let Node::Scalar(scalar) = &mut node
        && scalar.tag == Tag::Open
    {
        scalar.quoted |= is_foreign_text(&scalar.text);
    }
    if let Some(known) = target.get_mut(name) {
        *known = node;
    } else {
        target.put(name, node);
    }
    if let (true, Some(foreign), Node::Map(entries)) = (is_new, foreign, target)
        && let Some((key, _)) = entries.last_mut()
    {
        key.foreign = foreign;
    }
}

fn walk_list(
    mut sides: Sides<'_>,
    place: Option<Place<'_>>,
    schema: &Schema,
    path: &str,
) -> Result<Outcome, String> {
    let Some(keys) = place.as_ref().and_then(|place| place.merge_keys().map(<[String]>::to_vec)) else {
        return Ok(match sides.patch {
            Some(patch) => Outcome { node: Some(patch.clone()), in_place: false },
            None => Outcome { node: sides.target, in_place: true },
        });
    };
    let mut in_place = true;
    if is_missing(sides.target.as_ref()) {
        sides.target = sides.patch.as_deref().cloned();
        (sides.same, in_place) = (true, false);
    } else if sides.patch.as_deref().is_some_and(Node::is_null) {
        return Ok(gone());
    } else {
        match list_directive(sides.patch.as_deref_mut())? {
            Directive::Delete => return Ok(gone()),
            Directive::Replace => {
                sides.target = sides.patch.as_deref().cloned();
                (sides.same, in_place) = (true, false);
            }
            Directive::Merge if sides.same => {
                list_directive(sides.target.as_mut())?;
            }
            Directive::Merge => {}
        }
    }
    let Some(Node::List(target)) = sides.target else { return Ok(gone()) };
    let mut empty = Vec::new();
    let has_patch = sides.patch.is_some();
    let patch = match sides.patch {
        Some(Node::List(items)) => items,
        _ => &mut empty,
    };
    let walked = Lists {
        target,
        patch,
        has_patch,
        same: sides.same,
        items: place.as_ref().and_then(Place::items),
        schema,
        path,
    };
    Ok(Outcome { node: Some(Node::List(walked.merge(&keys)?)), in_place })
}

/// Two lists on their way to one.
struct Lists<'n> {
    target: Vec<Node>,
    patch: &'n mut Vec<Node>,
    has_patch: bool,
    same: bool,
    items: Option<Place<'n>>,
    schema: &'n Schema,
    path: &'n str,
}

impl Lists<'_> {
    /// What the keys are in each item, the patch's first, each once.
    fn values(&self, keys: &[String]) -> Vec<Vec<String>> {
        let mut found: Vec<Vec<String>> = Vec::new();
        for item in self.patch.iter().chain(&self.target) {
            let values: Vec<String> = match keys {
                [] => vec![item.raw().to_owned()],
                keys => keys
                    .iter()
                    .map(|key| {
                        item.get(key)
                            .filter(|value| !value.is_empty())
                            .map_or_else(String::new, |value| value.raw().to_owned())
                    })
                    .collect(),
            };
            if !found.contains(&values) {
                found.push(values);
            }
        }
        found
    }

    fn merge(mut self, keys: &[String]) -> Result<Vec<Node>, String> {
        let mut all = self.values(keys);
        let primitive = [String::new()];
        let keys = if keys.is_empty() { &primitive[..] } else { keys };
        if keys.len() > 1 {
            complete(&mut all);
        }
        let mut added: Vec<Node> = Vec::new();
        let mut last_keys: Vec<String> = keys.to_vec();
        for at in 0..all.len() {
            let (valid, values) = valid_keys(&all, &all[at], keys);
            last_keys.clone_from(&valid);
            let Some(mut node) =
                self.walk_item(&valid, &values)?.filter(|node| !node.is_empty() || !is_map_or_null(node))
            else {
                set_element(&mut self.target, &valid, &values, None)?;
                continue;
            };
            for (key, value) in valid.iter().zip(&values) {
                if node.get(key).is_none() && !value.is_empty() {
                    match &mut node {
                        Node::Scalar(scalar) => {
                            *scalar = Scalar { text: value.clone(), tag: Tag::Open, quoted: scalar.quoted }
                        }
                        other => other.put(key, Node::open(value)),
                    }
                }
            }
            set_element(&mut added, &valid, &values, Some(&node))?;
        }
        if all.is_empty() {
            return Ok(self.target);
        }
        append(&mut added, &self.target, &last_keys)?;
        Ok(added)
    }

    /// Walks the items of both sides that have these values.
    fn walk_item(&mut self, keys: &[String], values: &[String]) -> Result<Option<Node>, String> {
        let (keys, values) = valid_keys(&[values.to_vec()], values, keys);
        let at = find_element(&self.target, &keys, &values);
        let patch_at = if self.has_patch { find_element(self.patch, &keys, &values) } else { None };
        let sides = Sides {
            target: at.map(|at| self.target[at].clone()),
            patch: patch_at.and_then(|at| self.patch.get_mut(at)),
            same: self.same,
        };
        let path = format!("{}[{}]", self.path, values.join(","));
        let outcome = walk(sides, self.items.clone(), self.schema, &path)?;
        if let (true, Some(at), Some(node)) = (outcome.in_place, at, &outcome.node) {
            self.target[at].clone_from(node);
        }
        Ok(outcome.node)
    }
}

fn is_map_or_null(node: &Node) -> bool {
    node.is_map() || node.is_null()
}

/// Items that agree where both have a value, and do so somewhere, get each other's values.
fn complete(all: &mut [Vec<String>]) {
    for first in 0..all.len() {
        for second in 0..all.len() {
            if let Some(values) = joined(&all[first], &all[second]) {
                all[first].clone_from(&values);
                all[second] = values;
            }
        }
    }
}

fn joined(first: &[String], second: &[String]) -> Option<Vec<String>> {
    if first.len() != second.len() {
        return None;
    }
    let agree = first.iter().zip(second).all(|(a, b)| a == b || a.is_empty() || b.is_empty());
    let common = first.iter().zip(second).any(|(a, b)| a == b);
    let values = first.iter().zip(second).map(|(a, b)| if a.is_empty() { b.clone() } else { a.clone() });
    (agree && common).then(|| values.collect())
}

/// The keys that any item has a value for, and the values of one item for them.
fn valid_keys(all: &[Vec<String>], values: &[String], keys: &[String]) -> (Vec<String>, Vec<String>) {
    let is_valid = |at: usize| all.iter().any(|values| values.get(at).is_some_and(|value| !value.is_empty()));
    if !(0..keys.len()).any(is_valid) {
        return (keys.to_vec(), values.to_vec());
    }
    let kept = |texts: &[String]| {
        texts.iter().enumerate().filter(|(at, _)| is_valid(*at)).map(|(_, text)| text.clone()).collect()
    };
    (kept(keys), kept(values))
}

/// Position of the first item that has these values.
fn find_element(items: &[Node], keys: &[String], values: &[String]) -> Option<usize> {
    if keys.first().is_none_or(String::is_empty) {
        let value = values.first().map_or("", String::as_str);
        return items.iter().position(|item| item.raw() == value);
    }
    items.iter().position(|item| {
        let mut pairs = keys.iter().zip(values);
        item.is_map() && pairs.all(|(key, value)| item.get(key).is_some_and(|found| found.raw() == value))
    })
}

/// Replaces the items that have these values, or appends; without an element, removes them.
fn set_element(
    items: &mut Vec<Node>,
    keys: &[String],
    values: &[String],
    element: Option<&Node>,
) -> Result<(), String> {
    let by_key = keys.first().is_some_and(|key| !key.is_empty())
        && values.first().is_some_and(|value| !value.is_empty());
    let mut kept = Vec::with_capacity(items.len() + 1);
    let mut replaced = false;
    for item in std::mem::take(items) {
        if item.is_null() || (item.is_map() && item.is_empty()) {
            continue;
        }
        if !item.is_map() && by_key {
            kept.push(item);
            continue;
        }
        if !has_values(&item, keys, values)? {
            if !values.is_empty() {
                kept.push(item);
            }
            continue;
        }
        replaced = true;
        kept.extend(element.cloned());
    }
    *items = kept;
    if let (Some(element), false) = (element.filter(|element| !element.is_null()), replaced) {
        items.push(element.clone());
    }
    Ok(())
}

fn has_values(item: &Node, keys: &[String], values: &[String]) -> Result<bool, String> {
    let mut before = false;
    for (at, key) in keys.iter().enumerate() {
        if let Some(value) = values.get(at) {
            before = match (key.as_str(), item) {
                ("", Node::Scalar(_)) => item.value() == value,
                ("", other) => return Err(format!("a list of single values holds {}", other.kind())),
                (key, Node::Map(_)) => {
                    item.get(key).is_some_and(|found| value.is_empty() || found.raw() == value)
                }
                (_, other) => return Err(format!("a list of maps holds {}", other.kind())),
            };
        }
        if !before {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Appends the items of a list; one that has the keys of another replaces it.
fn append(items: &mut Vec<Node>, more: &[Node], keys: &[String]) -> Result<(), String> {
    for item in more {
        if keys.first().is_none_or(String::is_empty) {
            set_element(items, &[String::new()], &[item.raw().to_owned()], Some(item))?;
            continue;
        }
        let mut values = Vec::new();
        for key in keys {
            if !item.is_map() && !item.is_null() {
                return Err(format!("a list of maps holds {}", item.kind()));
            }
            match item.get(key) {
                Some(value) => values.push(value.raw().to_owned()),
                None => items.push(item.clone()),
            }
        }
        if keys.len() > 1 {
            set_element(items, keys, &values, None)?;
        }
        set_element(items, keys, &values, Some(item))?;
    }
    Ok(())
}
