//! How the fields of a kind merge: which lists are sets or keyed, which maps and lists change as a whole.
//!
//! A schema is a graph of shapes, because types share and contain themselves. A shape answers for a value of
//! any JSON kind, so that an object that breaks its schema still merges in a defined way.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;

use super::builtin;
use super::set::PathElement;

/// How the fields of one kind merge.
#[derive(Clone, Debug)]
pub struct MergeSchema {
    pub(crate) graph: Arc<Graph>,
    pub(crate) root: ShapeId,
    /// What a new object of the kind holds before any field is set: those parents belong to nobody.
    pub(crate) zero: Arc<Value>,
}

pub(crate) type ShapeId = u32;

#[derive(Debug, Default)]
pub(crate) struct Graph {
    pub(crate) shapes: Vec<Shape>,
}

/// How a value merges, whatever it turns out to be.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    pub(crate) map: MapRule,
    pub(crate) list: ListRule,
    /// What the value has to be, where that is known.
    pub(crate) expect: Expect,
    /// What is known about the inside of a value that merges as a whole: a map's own shape, a list's items.
    pub(crate) inside: Option<ShapeId>,
}

impl Shape {
    /// A value that is owned and replaced as a whole.
    pub(crate) fn whole(expect: Expect) -> Shape {
        Shape { map: MapRule::Atomic, list: ListRule::Atomic, expect, inside: None }
    }

    /// A map that merges by its keys, and nothing else.
    pub(crate) fn map_of(rest: Rest, expect: Expect) -> Shape {
        let map = MapRule::Granular { fields: HashMap::new(), rest };
        Shape { map, list: ListRule::Atomic, expect, inside: None }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expect {
    Any,
    String,
    Number,
    Bool,
    Map,
    List,
}

#[derive(Clone, Debug)]
pub(crate) enum MapRule {
    /// Owned and replaced as a whole.
    Atomic,
    /// Owned and merged by field.
    Granular { fields: HashMap<Box<str>, ShapeId>, rest: Rest },
}

/// The fields that a granular map does not name.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Rest {
    /// Fields of a struct whose names are not listed here.
    Named(ShapeId),
    /// Keys of a map: each is owned itself, besides what is in it.
    Keyed(ShapeId),
    /// There are none; an applied object that has one is refused.
    Forbidden,
}

#[derive(Clone, Debug)]
pub(crate) enum ListRule {
    /// Owned and replaced as a whole.
    Atomic,
    /// Items are owned by value.
    Set,
    /// Items are owned by the values of these fields (each with its default) and merged by `element`.
    Keyed { keys: Vec<(Box<str>, Option<Value>)>, element: ShapeId },
}

impl Graph {
    pub(crate) fn add(&mut self, shape: Shape) -> ShapeId {
        self.shapes.push(shape);
        (self.shapes.len() - 1) as ShapeId
    }

    pub(crate) fn shape(&self, id: ShapeId) -> &Shape {
        &self.shapes[id as usize]
    }

    /// The shape of a field; the flag says whether the field is one of a struct (and not a key of a map).
    pub(crate) fn field(&self, rule: &MapRule, name: &str) -> (ShapeId, bool) {
        match rule {
            MapRule::Atomic => (DEDUCED, false),
            MapRule::Granular { fields, rest } => match (fields.get(name), rest) {
                (Some(id), _) => (*id, true),
                (None, Rest::Named(id)) => (*id, true),
                (None, Rest::Keyed(id)) => (*id, false),
                (None, Rest::Forbidden) => (DEDUCED, false),
            },
        }
    }
}

/// Every graph starts with these three.
pub(crate) const DEDUCED: ShapeId = 0;
pub(crate) const STRUCT: ShapeId = 1;
pub(crate) const ATOMIC: ShapeId = 2;

impl Graph {
    pub(crate) fn new() -> Graph {
        let mut graph = Graph::default();
        graph.add(Shape::map_of(Rest::Keyed(DEDUCED), Expect::Any));
        graph.add(Shape::map_of(Rest::Named(STRUCT), Expect::Any));
        graph.add(Shape::whole(Expect::Any));
        graph
    }
}

/// The path element of a list item; `Err` says why it has none.
pub(crate) fn item_element(rule: &ListRule, item: &Value) -> Result<PathElement, String> {
    match rule {
        ListRule::Atomic => Err("invalid indexing of non-associative list".to_owned()),
        ListRule::Set => match item {
            Value::Null => {
                Err("associative list without keys has an element that's an explicit null".to_owned())
            }
            Value::Array(_) => Err("not supported: associative list with lists as elements".to_owned()),
            Value::Object(_) => {
                Err("associative list without keys has an element that's a map type".to_owned())
            }
            Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(PathElement::Value(item.clone())),
        },
        ListRule::Keyed { keys, .. } => {
            let Value::Object(fields) = item else {
                let what = if item.is_null() { "a null element" } else { "non-map elements" };
                return Err(format!("associative list with keys may not have {what}"));
            };
            let mut found = Vec::with_capacity(keys.len());
            for (key, default) in keys {
                if let Some(value) = fields.get(&**key).or(default.as_ref()) {
                    found.push((key.clone(), value.clone()));
                }
            }
            if found.is_empty() {
                let names: Vec<_> = keys.iter().map(|(key, _)| format!("{key:?}")).collect();
                return Err(format!(
                    "associative list with keys has an element that omits all key fields [{}] \
                     (and doesn't have default values for any key fields)",
                    names.join(" ")
                ));
            }
            found.sort_by(|a, b| a.0.cmp(&b.0));
            Ok(PathElement::Key(found))
        }
    }
}

/// Whether two list items have the same path element, without making it.
pub(crate) fn same_item(rule: &ListRule, a: &Value, b: &Value) -> bool {
    match rule {
        ListRule::Atomic => false,
        ListRule::Set => !a.is_object() && !a.is_array() && !a.is_null() && a == b,
        ListRule::Keyed { keys, .. } => {
            let (Value::Object(a), Value::Object(b)) = (a, b) else { return false };
            let mut known = false;
            keys.iter().all(|(key, default)| {
                let (a, b) = (a.get(&**key).or(default.as_ref()), b.get(&**key).or(default.as_ref()));
                known |= a.is_some();
                a == b
            }) && known
        }
    }
}

impl MergeSchema {
    /// How the fields of a built-in kind merge; a kind that is not known merges by its values alone.
    pub fn builtin(group: &str, kind: &str) -> MergeSchema {
        builtin::schema(group, kind)
    }

    /// How the fields of a custom kind merge, from its `openAPIV3Schema`.
    pub fn from_structural(open_api_v3_schema: &Value) -> MergeSchema {
        let mut graph = Graph::new();
        let root = structural(&mut graph, open_api_v3_schema, true);
        MergeSchema { graph: Arc::new(graph), root, zero: Arc::new(Value::Object(serde_json::Map::new())) }
    }

    /// The fields by which the items of the list at `path` are told apart, if it is a keyed list.
    #[cfg(test)]
    pub(crate) fn list_keys(&self, path: &[&str]) -> Vec<String> {
        let mut id = self.root;
        for name in path {
            let shape = self.graph.shape(id);
            id = match &shape.list {
                ListRule::Keyed { element, .. } if *name == "[]" => *element,
                ListRule::Keyed { .. } | ListRule::Set | ListRule::Atomic => {
                    self.graph.field(&shape.map, name).0
                }
            };
        }
        match &self.graph.shape(id).list {
            ListRule::Keyed { keys, .. } => keys.iter().map(|(key, _)| key.to_string()).collect(),
            ListRule::Set => vec!["=".to_owned()],
            ListRule::Atomic => Vec::new(),
        }
    }
}

/// The shape of the `metadata` that every object has.
pub(crate) fn object_meta(graph: &mut Graph) -> ShapeId {
    let text = graph.add(Shape::whole(Expect::String));
    let number = graph.add(Shape::whole(Expect::Number));
    let any_list = graph.add(Shape::whole(Expect::List));
    let texts = graph.add(Shape::map_of(Rest::Keyed(text), Expect::Map));
    let set = graph.add(Shape { list: ListRule::Set, ..Shape::whole(Expect::List) });
    let owners = ListRule::Keyed { keys: vec![("uid".into(), Some(Value::from("")))], element: ATOMIC };
    let owners = graph.add(Shape { list: owners, ..Shape::whole(Expect::List) });
    let fields = [
        ("annotations", texts),
        ("creationTimestamp", text),
        ("deletionGracePeriodSeconds", number),
        ("deletionTimestamp", text),
        ("finalizers", set),
        ("generateName", text),
        ("generation", number),
        ("labels", texts),
        ("managedFields", any_list),
        ("name", text),
        ("namespace", text),
        ("ownerReferences", owners),
        ("resourceVersion", text),
        ("selfLink", text),
        ("uid", text),
    ];
    let fields = fields.into_iter().map(|(name, id)| (name.into(), id)).collect();
    graph.add(Shape { map: MapRule::Granular { fields, rest: Rest::Forbidden }, ..Shape::whole(Expect::Map) })
}

fn structural(graph: &mut Graph, schema: &Value, root: bool) -> ShapeId {
    let flag = |name: &str| schema.get(name).and_then(Value::as_bool).unwrap_or(false);
    let text = |name: &str| schema.get(name).and_then(Value::as_str);
    let preserve = flag("x-kubernetes-preserve-unknown-fields");
    let embedded = flag("x-kubernetes-embedded-resource");
    let expect = match text("type") {
        _ if flag("x-kubernetes-int-or-string") => Expect::Any,
        Some("object") => Expect::Map,
        Some("array") => Expect::List,
        Some("string") => Expect::String,
        Some("integer" | "number") => Expect::Number,
        Some("boolean") => Expect::Bool,
        _ => Expect::Any,
    };
    let list = structural_list(graph, schema);
    let mut fields: HashMap<Box<str>, ShapeId> = HashMap::new();
    if let Some(Value::Object(properties)) = schema.get("properties") {
        for (name, property) in properties {
            if !((root || embedded) && name == "metadata") {
                fields.insert(name.as_str().into(), structural(graph, property, false));
            }
        }
    }
    if root || embedded {
        let scalar = graph.add(Shape::whole(Expect::String));
        fields.insert("apiVersion".into(), scalar);
        fields.insert("kind".into(), scalar);
        let metadata = object_meta(graph);
        fields.insert("metadata".into(), metadata);
    }
    let rest = match schema.get("additionalProperties") {
        Some(Value::Object(_)) => Rest::Keyed(structural(graph, &schema["additionalProperties"], false)),
        Some(Value::Bool(true)) => Rest::Keyed(DEDUCED),
        _ if preserve || expect == Expect::Any => Rest::Keyed(DEDUCED),
        _ => Rest::Forbidden,
    };
    let map = MapRule::Granular { fields, rest };
    let items = schema.get("items").filter(|_| matches!(list, ListRule::Atomic));
    let inside = items.map(|items| structural(graph, items, false));
    if text("x-kubernetes-map-type") == Some("atomic") {
        let inside = Some(graph.add(Shape { map, list, expect, inside }));
        return graph.add(Shape { inside, ..Shape::whole(expect) });
    }
    graph.add(Shape { map, list, expect, inside })
}

fn structural_list(graph: &mut Graph, schema: &Value) -> ListRule {
    match schema.get("x-kubernetes-list-type").and_then(Value::as_str) {
        Some("set") => ListRule::Set,
        Some("map") => {
            let items = schema.get("items").unwrap_or(&Value::Null);
            let element = structural(graph, items, false);
            let names = schema.get("x-kubernetes-list-map-keys").and_then(Value::as_array);
            let keys = names.into_iter().flatten().filter_map(Value::as_str);
            let default = |key: &str| items.get("properties")?.get(key)?.get("default").cloned();
            ListRule::Keyed { keys: keys.map(|key| (key.into(), default(key))).collect(), element }
        }
        _ => ListRule::Atomic,
    }
}
