//! Walks over objects that yield field sets: which fields an object sets, and how two objects differ.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};

use serde_json::{Map, Value};

use super::schema::{Expect, Graph, ListRule, MapRule, Rest, Shape, ShapeId, item_element};
use super::set::{FieldSet, PathElement};

/// What a value is treated as.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Leaf,
    Map,
    List,
    /// `null`: takes the form of what it is compared with.
    Null,
}

pub(crate) fn form(value: &Value, shape: &Shape) -> Form {
    match value {
        Value::Null => match shape.expect {
            Expect::String | Expect::Number | Expect::Bool => Form::Leaf,
            Expect::Any | Expect::Map | Expect::List => Form::Null,
        },
        Value::Object(_) => match shape.map {
            MapRule::Atomic => Form::Leaf,
            MapRule::Granular { .. } => Form::Map,
        },
        Value::Array(_) => match shape.list {
            ListRule::Atomic => Form::Leaf,
            ListRule::Set | ListRule::Keyed { .. } => Form::List,
        },
        Value::Bool(_) | Value::Number(_) | Value::String(_) => Form::Leaf,
    }
}

fn is_empty(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => true,
        Some(Value::Object(map)) => map.is_empty(),
        Some(Value::Array(items)) => items.is_empty(),
        Some(Value::Bool(_) | Value::Number(_) | Value::String(_)) => true,
    }
}

/// How `new` differs from `old`.
#[derive(Debug, Default)]
pub(crate) struct Comparison {
    pub(crate) removed: FieldSet,
    pub(crate) modified: FieldSet,
    pub(crate) added: FieldSet,
}

/// Which of the three sets a path itself belongs to.
#[derive(Clone, Copy, Default)]
struct Own {
    removed: bool,
    modified: bool,
    added: bool,
}

impl Comparison {
    fn attach(&mut self, element: PathElement, own: Own, below: Comparison) {
        let Comparison { removed, modified, added } = below;
        let (r, m, a) = (
            own.removed || !removed.is_empty(),
            own.modified || !modified.is_empty(),
            own.added || !added.is_empty(),
        );
        match (r, m, a) {
            (false, false, false) => {}
            (true, false, false) => self.removed.insert(element, own.removed, removed),
            (false, true, false) => self.modified.insert(element, own.modified, modified),
            (false, false, true) => self.added.insert(element, own.added, added),
            _ => {
                self.removed.insert(element.clone(), own.removed, removed);
                self.modified.insert(element.clone(), own.modified, modified);
                self.added.insert(element, own.added, added);
            }
        }
    }
}

/// Compares two objects of one kind.
pub(crate) fn compare(graph: &Graph, root: ShapeId, old: &Value, new: &Value) -> Comparison {
    compare_at(graph, root, Some(old), Some(new)).1
}

fn compare_at(graph: &Graph, id: ShapeId, old: Option<&Value>, new: Option<&Value>) -> (Own, Comparison) {
    let shape = graph.shape(id);
    let (old_form, new_form) = (old.map(|v| form(v, shape)), new.map(|v| form(v, shape)));
    let mut below = Comparison::default();
    let mut own = Own::default();
    let mut walk = |what: Form| {
        let leaf = match what {
            Form::Leaf | Form::Null => true,
            Form::Map | Form::List => is_empty(old) && is_empty(new),
        };
        if leaf {
            match (old, new) {
                (None, _) => own.added = true,
                (_, None) => own.removed = true,
                (Some(old), Some(new)) => own.modified |= old != new,
            }
            return true;
        }
        match what {
            Form::Map => compare_maps(graph, shape, old, new, &mut below),
            Form::List => compare_lists(graph, shape, old, new, &mut below),
            Form::Leaf | Form::Null => {}
        }
        false
    };
    let in_leaf = match (old_form, new_form) {
        (None, None) => true,
        (Some(form), None) | (None | Some(Form::Null), Some(form)) => walk(form),
        (Some(form), Some(Form::Null)) => walk(form),
        (Some(a), Some(b)) if a == b => walk(a),
        (Some(a), Some(b)) => {
            walk(a);
            walk(b)
        }
    };
    if !in_leaf {
        own.added |= old.is_none();
        own.removed |= new.is_none();
    }
    (own, below)
}

fn compare_maps(
    graph: &Graph,
    shape: &Shape,
    old: Option<&Value>,
    new: Option<&Value>,
    out: &mut Comparison,
) {
    let old = old.and_then(Value::as_object);
    let new = new.and_then(Value::as_object);
    let mut visit = |name: &str, old: Option<&Value>, new: Option<&Value>| {
        // Most of an object stays as it was.
        if let (Some(a), Some(b)) = (old, new)
            && !a.is_object()
            && a == b
        {
            return;
        }
        let (id, _) = graph.field(&shape.map, name);
        let (own, below) = compare_at(graph, id, old, new);
        out.attach(PathElement::Field(name.into()), own, below);
    };
    for (name, value) in old.into_iter().flatten() {
        visit(name, Some(value), new.and_then(|new| new.get(name)));
    }
    for (name, value) in new.into_iter().flatten() {
        if !old.is_some_and(|old| old.contains_key(name)) {
            visit(name, None, Some(value));
        }
    }
}

fn compare_lists(
    graph: &Graph,
    shape: &Shape,
    old: Option<&Value>,
    new: Option<&Value>,
    out: &mut Comparison,
) {
    let element = match &shape.list {
        ListRule::Keyed { element, .. } => *element,
        ListRule::Set | ListRule::Atomic => super::schema::ATOMIC,
    };
    let mut items: BTreeMap<PathElement, (Vec<&Value>, Vec<&Value>)> = BTreeMap::new();
    for item in old.and_then(Value::as_array).into_iter().flatten() {
        if let Ok(path) = item_element(&shape.list, item) {
            items.entry(path).or_default().0.push(item);
        }
    }
    for item in new.and_then(Value::as_array).into_iter().flatten() {
        if let Ok(path) = item_element(&shape.list, item) {
            items.entry(path).or_default().1.push(item);
        }
    }
    for (path, (old, new)) in items {
        let (mut own, mut below) = (Own::default(), Comparison::default());
        match (old.len() > 1, new.len() > 1) {
            (false, false) => {
                (own, below) = compare_at(graph, element, old.first().copied(), new.first().copied());
            }
            // Duplicates are owned as one.
            (true, true) => own.modified = old != new,
            (true, false) => {
                if let Some(new) = new.first() {
                    (own, below) = compare_at(graph, element, None, Some(new));
                }
                own.removed = true;
            }
            (false, true) => {
                if let Some(old) = old.first() {
                    (own, below) = compare_at(graph, element, Some(old), None);
                }
                own.added = true;
            }
        }
        out.attach(path, own, below);
    }
}

/// The fields that an object sets, as an applier owns them.
pub(crate) fn field_set(graph: &Graph, root: ShapeId, object: &Value) -> FieldSet {
    field_set_at(graph, root, object).1
}

/// Whether the value is owned as a whole, and what is owned in it.
fn field_set_at(graph: &Graph, id: ShapeId, value: &Value) -> (bool, FieldSet) {
    let shape = graph.shape(id);
    match form(value, shape) {
        Form::Leaf | Form::Null => (true, FieldSet::default()),
        Form::Map => (false, map_field_set(graph, shape, value.as_object())),
        Form::List => (false, list_field_set(graph, shape, value.as_array().map_or(&[], Vec::as_slice))),
    }
}

fn map_field_set(graph: &Graph, shape: &Shape, map: Option<&Map<String, Value>>) -> FieldSet {
    let mut set = FieldSet::default();
    for (name, value) in map.into_iter().flatten() {
        let (id, named) = graph.field(&shape.map, name);
        let (whole, below) = field_set_at(graph, id, value);
        let empty = value.is_null() || value.as_object().is_some_and(Map::is_empty);
        set.insert(PathElement::Field(name.as_str().into()), whole || empty || !named, below);
    }
    set
}

fn list_field_set(graph: &Graph, shape: &Shape, items: &[Value]) -> FieldSet {
    let element = match &shape.list {
        ListRule::Keyed { element, .. } => Some(*element),
        ListRule::Set | ListRule::Atomic => None,
    };
    let mut set = FieldSet::default();
    for item in items {
        let Ok(path) = item_element(&shape.list, item) else { continue };
        let below = match element {
            Some(element) => field_set_at(graph, element, item).1,
            None => FieldSet::default(),
        };
        set.insert(path, true, below);
    }
    set
}

/// Why an applied object cannot be merged, with the path to the place, as Kubernetes words it.
///
/// # Errors
/// One text per fault: a list item without keys, a duplicate, a field that the kind does not have, a value of
/// the wrong type.
pub(crate) fn check(graph: &Graph, root: ShapeId, object: &Value) -> Result<(), Vec<String>> {
    let mut check = Check { graph, path: String::new(), faults: Vec::new() };
    check.value(root, object);
    if check.faults.is_empty() { Ok(()) } else { Err(check.faults) }
}

struct Check<'a> {
    graph: &'a Graph,
    path: String,
    faults: Vec<String>,
}

impl Check<'_> {
    fn fault(&mut self, fault: &str) {
        let colon = if self.path.is_empty() { "" } else { ": " };
        self.faults.push(format!("{}{colon}{fault}", self.path));
    }

    fn below(&mut self, element: impl fmt::Display, visit: impl FnOnce(&mut Self)) {
        let length = self.path.len();
        let _ = write!(self.path, "{element}");
        visit(self);
        self.path.truncate(length);
    }

    fn value(&mut self, id: ShapeId, value: &Value) {
        let shape = self.graph.shape(id);
        if let Some(fault) = type_fault(shape.expect, value) {
            self.fault(&fault);
            return;
        }
        match (value, &shape.map, &shape.list) {
            (Value::Object(map), MapRule::Granular { rest, fields }, _) => {
                for (name, value) in map {
                    let unknown = matches!(rest, Rest::Forbidden) && !fields.contains_key(name.as_str());
                    let scalar = !unknown && !value.is_object() && !value.is_array();
                    let id = self.graph.field(&shape.map, name).0;
                    if scalar && type_fault(self.graph.shape(id).expect, value).is_none() {
                        continue;
                    }
                    self.below(format_args!(".{name}"), |this| match unknown {
                        true => this.fault("field not declared in schema"),
                        false => this.value(id, value),
                    });
                }
            }
            (Value::Object(_), MapRule::Atomic, _) => {
                if let Some(inside) = shape.inside {
                    self.value(inside, value);
                }
            }
            (Value::Array(items), _, ListRule::Atomic) => {
                let Some(inside) = shape.inside else { return };
                for (i, item) in items.iter().enumerate() {
                    self.below(format_args!("[{i}]"), |this| this.value(inside, item));
                }
            }
            (Value::Array(items), _, ListRule::Set | ListRule::Keyed { .. }) => {
                self.items(&shape.list, items)
            }
            (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_), ..) => {}
        }
    }

    fn items(&mut self, rule: &ListRule, items: &[Value]) {
        let mut seen = BTreeSet::new();
        for (i, item) in items.iter().enumerate() {
            let element = match item_element(rule, item) {
                Ok(element) => element,
                Err(why) => return self.fault(&format!("element {i}: {why}")),
            };
            if seen.contains(&element) {
                self.fault(&format!("duplicate entries for key {element}"));
            }
            if let ListRule::Keyed { element: below, .. } = rule {
                self.below(&element, |this| this.value(*below, item));
            }
            seen.insert(element);
        }
    }
}

fn type_fault(expect: Expect, value: &Value) -> Option<String> {
    let go_type = |value: &Value| match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    };
    match (expect, value) {
        (_, Value::Null) | (Expect::Any, _) => None,
        (Expect::String, Value::String(_))
        | (Expect::Number, Value::Number(_))
        | (Expect::Bool, Value::Bool(_))
        | (Expect::Map, Value::Object(_))
        | (Expect::List, Value::Array(_)) => None,
        (Expect::Number, value) => Some(format!("expected numeric (int or float), got {}", go_type(value))),
        (Expect::String, value) => {
            Some(format!("expected string, got &value.valueUnstructured{{Value:{}}}", go_syntax(value)))
        }
        (Expect::Bool, value) => Some(format!("expected boolean, got {value}")),
        (Expect::Map, value) => Some(format!("expected map, got &{{{}}}", go_text(value))),
        (Expect::List, value) => Some(format!("expected list, got &{{{}}}", go_text(value))),
    }
}

/// A value as Go prints it with `%v`.
fn go_text(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(go_text).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => {
            let fields: Vec<_> =
                map.iter().map(|(name, value)| format!("{name}:{}", go_text(value))).collect();
            format!("map[{}]", fields.join(" "))
        }
        Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

/// A value as Go prints it with `%#v`.
fn go_syntax(value: &Value) -> String {
    match value {
        Value::Null => "interface {}(nil)".to_owned(),
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(go_syntax).collect();
            format!("[]interface {{}}{{{}}}", items.join(", "))
        }
        Value::Object(map) => {
            let fields: Vec<_> =
                map.iter().map(|(name, value)| format!("{name:?}:{}", go_syntax(value))).collect();
            format!("map[string]interface {{}}{{{}}}", fields.join(", "))
        }
        Value::Bool(_) | Value::Number(_) | Value::String(_) => value.to_string(),
    }
}
