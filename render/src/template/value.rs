//! The values a template works with: Go's `interface{}` as text/template and sprig see it.
//!
//! Maps are shared and mutable (`set` changes the map every holder sees), lists are immutable, strings are bytes
//! (`b64dec` and `.Files.Get` may yield anything). Two nils exist because Go has two: [`Value::Nil`] is "no value"
//! (a field of it is again nothing), [`Value::Null`] is a nil interface found in a map or list (a field of it is
//! an error). A pipeline turns the second into the first.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::object::Object;

/// A Go string: any bytes, usually UTF-8.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Text(Rc<[u8]>);

impl Text {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The text with every byte that is no letter replaced by U+FFFD.
    pub(crate) fn lossy(&self) -> std::borrow::Cow<'_, str> {
        lossy(&self.0)
    }
}

/// Bytes as text, every one that is no letter replaced by U+FFFD: Go reads them one by one, where Rust's own reading
/// takes the beginning of a letter that breaks off as one.
pub(crate) fn lossy(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return text.into();
    }
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    text.into()
}

impl std::fmt::Debug for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.lossy())
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self(Rc::from(text.as_bytes()))
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self(Rc::from(text.into_bytes()))
    }
}

impl From<Vec<u8>> for Text {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Rc::from(bytes))
    }
}

impl From<&[u8]> for Text {
    fn from(bytes: &[u8]) -> Self {
        Self(Rc::from(bytes))
    }
}

/// The element type of a list, which `typeOf` and `deepEqual` see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ListKind {
    Any,
    Strings,
    /// A nil `[]string`.
    NoStrings,
    /// A nil `[]interface {}`.
    Nothing,
    Ints,
    Bytes,
    Lists,
    /// `[]map[string]interface {}`
    Dicts,
}

/// An immutable list.
#[derive(Clone, Debug)]
pub(crate) struct List {
    items: Rc<Vec<Value>>,
    kind: ListKind,
}

impl List {
    pub(crate) fn new(items: Vec<Value>, kind: ListKind) -> Self {
        Self { items: Rc::new(items), kind }
    }

    pub(crate) fn items(&self) -> &[Value] {
        &self.items
    }

    pub(crate) fn kind(&self) -> ListKind {
        self.kind
    }
}

/// What a map is in Go, which decides about missing keys and methods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DictKind {
    /// `map[string]interface {}`
    Any,
    /// `map[string]string`
    Strings,
    /// Helm's `common.Values`
    Values,
    /// Helm's `engine.files`
    Files,
    /// A nil `map[string]interface {}`.
    Nothing,
    /// A nil `map[string]string`.
    NoStrings,
}

/// A map, shared by all who hold it; `kind` is how this holder sees it.
#[derive(Clone, Debug)]
pub(crate) struct Dict {
    entries: Rc<RefCell<BTreeMap<Rc<str>, Value>>>,
    kind: DictKind,
}

impl Dict {
    pub(crate) fn new(kind: DictKind, entries: BTreeMap<Rc<str>, Value>) -> Self {
        Self { entries: Rc::new(RefCell::new(entries)), kind }
    }

    pub(crate) fn empty() -> Self {
        Self::new(DictKind::Any, BTreeMap::new())
    }

    /// The same map seen as another type.
    pub(crate) fn seen_as(&self, kind: DictKind) -> Self {
        Self { entries: Rc::clone(&self.entries), kind }
    }

    pub(crate) fn kind(&self) -> DictKind {
        self.kind
    }

    pub(crate) fn same(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.entries, &other.entries)
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.borrow().len()
    }

    pub(crate) fn get(&self, key: &str) -> Option<Value> {
        self.entries.borrow().get(key).cloned()
    }

    pub(crate) fn contains(&self, key: &str) -> bool {
        self.entries.borrow().contains_key(key)
    }

    pub(crate) fn insert(&self, key: impl Into<Rc<str>>, value: Value) {
        self.entries.borrow_mut().insert(key.into(), value);
    }

    pub(crate) fn remove(&self, key: &str) {
        self.entries.borrow_mut().remove(key);
    }

    /// The entries as they are now, in key order.
    pub(crate) fn entries(&self) -> Vec<(Rc<str>, Value)> {
        self.entries.borrow().iter().map(|(key, value)| (Rc::clone(key), value.clone())).collect()
    }
}

impl FromIterator<(Rc<str>, Value)> for Dict {
    fn from_iter<I: IntoIterator<Item = (Rc<str>, Value)>>(entries: I) -> Self {
        Self::new(DictKind::Any, entries.into_iter().collect())
    }
}

/// One value.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    /// No value at all (Go's zero `reflect.Value`, an untyped nil).
    Nil,
    /// A nil interface found where a value was looked up.
    Null,
    Bool(bool),
    /// Go `int`.
    Int(i64),
    /// Go `int64`.
    Int64(i64),
    Float(f64),
    Str(Text),
    List(List),
    Dict(Dict),
    /// A Go struct with fields and methods.
    Object(Rc<dyn Object>),
}

impl Value {
    /// A `[]byte`.
    pub(crate) fn bytes(bytes: &[u8]) -> Self {
        let items = bytes.iter().map(|byte| Self::Int((*byte).into())).collect();
        Self::List(List::new(items, ListKind::Bytes))
    }

    pub(crate) fn text(text: &str) -> Self {
        Self::Str(Text::from(text))
    }

    pub(crate) fn list(items: Vec<Value>) -> Self {
        Self::List(List::new(items, ListKind::Any))
    }

    pub(crate) fn strings<T: Into<Text>>(items: impl IntoIterator<Item = T>) -> Self {
        Self::List(List::new(
            items.into_iter().map(|item| Self::Str(item.into())).collect(),
            ListKind::Strings,
        ))
    }

    pub(crate) fn is_nil(&self) -> bool {
        matches!(self, Self::Nil | Self::Null)
    }

    /// Whether it is nothing at all, or a list or map that was never made.
    pub(crate) fn is_unmade(&self) -> bool {
        match self {
            Self::List(list) => matches!(list.kind(), ListKind::NoStrings | ListKind::Nothing),
            Self::Dict(dict) => matches!(dict.kind(), DictKind::Nothing | DictKind::NoStrings),
            other => other.is_nil(),
        }
    }

    /// The whole number, whatever the name of its type.
    pub(crate) fn whole(&self) -> Option<i64> {
        match self {
            Self::Int(number) | Self::Int64(number) => Some(*number),
            Self::Object(object) => object.number(),
            _ => None,
        }
    }

    /// What a map or list element looks like when it is looked up.
    pub(crate) fn element(self) -> Self {
        match self {
            Self::Nil => Self::Null,
            other => other,
        }
    }

    /// What is left of a value at the end of a pipeline.
    pub(crate) fn settled(self) -> Self {
        match self {
            Self::Null => Self::Nil,
            other => other,
        }
    }

    /// text/template's truth: not the zero value, not empty.
    pub(crate) fn truth(&self) -> bool {
        match self {
            Self::Nil | Self::Null => false,
            Self::Bool(value) => *value,
            Self::Int(value) | Self::Int64(value) => *value != 0,
            Self::Float(value) => *value != 0.0,
            Self::Str(value) => !value.bytes().is_empty(),
            Self::List(value) => !value.items().is_empty(),
            Self::Dict(value) => value.len() != 0,
            Self::Object(value) => {
                value.number() != Some(0)
                    && value.complex() != Some((0.0, 0.0))
                    && value.items().is_none_or(|items| !items.is_empty())
            }
        }
    }

    /// Go's name of the type (`%T`).
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Self::Nil => "<nil>",
            Self::Null => "interface {}",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Int64(_) => "int64",
            Self::Float(_) => "float64",
            Self::Str(_) => "string",
            Self::List(list) => match list.kind() {
                ListKind::Any | ListKind::Nothing => "[]interface {}",
                ListKind::Strings | ListKind::NoStrings => "[]string",
                ListKind::Ints => "[]int",
                ListKind::Bytes => "[]uint8",
                ListKind::Lists => "[][]interface {}",
                ListKind::Dicts => "[]map[string]interface {}",
            },
            Self::Dict(dict) => match dict.kind() {
                DictKind::Any | DictKind::Nothing => "map[string]interface {}",
                DictKind::Strings | DictKind::NoStrings => "map[string]string",
                DictKind::Values => "common.Values",
                DictKind::Files => "engine.files",
            },
            Self::Object(object) => object.type_name(),
        }
    }

    /// Go's name of the kind (`reflect.Kind`).
    pub(crate) fn kind_name(&self) -> &'static str {
        match self {
            Self::Nil | Self::Null => "invalid",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Int64(_) => "int64",
            Self::Float(_) => "float64",
            Self::Str(_) => "string",
            Self::List(_) => "slice",
            Self::Dict(_) => "map",
            Self::Object(object) => object.kind_name(),
        }
    }
}

/// Nodes compared before two values count as different: only values that contain themselves are that large.
const COMPARE_NODES: usize = 4_000_000;

/// Go's `reflect.DeepEqual`, types included.
pub(crate) fn deep_equal(left: &Value, right: &Value) -> bool {
    let mut budget = COMPARE_NODES;
    equal(left, right, &mut budget, 500)
}

fn equal(left: &Value, right: &Value, budget: &mut usize, depth: usize) -> bool {
    if depth == 0 || *budget == 0 {
        return false;
    }
    *budget -= 1;
    match (left, right) {
        (Value::Nil | Value::Null, Value::Nil | Value::Null) => true,
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::Int(a), Value::Int(b)) | (Value::Int64(a), Value::Int64(b)) => a == b,
        (Value::Float(a), Value::Float(b)) => a == b,
        (Value::Str(a), Value::Str(b)) => a == b,
        (Value::List(a), Value::List(b)) => {
            let same = Rc::ptr_eq(&a.items, &b.items);
            a.kind == b.kind
                && (same
                    || a.items.len() == b.items.len()
                        && a.items.iter().zip(b.items.iter()).all(|(a, b)| equal(a, b, budget, depth - 1)))
        }
        (Value::Dict(a), Value::Dict(b)) => {
            let entries = |a: &Dict, b: &Dict, budget: &mut usize| {
                a.entries()
                    .iter()
                    .zip(b.entries())
                    .all(|((ka, va), (kb, vb))| *ka == kb && equal(va, &vb, budget, depth - 1))
            };
            a.same(b) || (a.kind() == b.kind() && a.len() == b.len() && entries(a, b, budget))
        }
        (Value::Object(a), Value::Object(b)) => {
            Rc::ptr_eq(a, b) || (a.type_name() == b.type_name() && a.print() == b.print())
        }
        (
            Value::Nil
            | Value::Null
            | Value::Bool(_)
            | Value::Int(_)
            | Value::Int64(_)
            | Value::Float(_)
            | Value::Str(_)
            | Value::List(_)
            | Value::Dict(_)
            | Value::Object(_),
            _,
        ) => false,
    }
}
