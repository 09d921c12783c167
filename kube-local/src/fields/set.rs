//! Sets of field paths, and their JSON form `fieldsV1`.
//!
//! A set is a trie: each level holds path elements in order, and each element says whether the path that ends
//! there is in the set and which longer paths are. `fieldsV1` is the same trie as JSON: `f:name` a field,
//! `k:{...}` a list item by its keys, `v:...` a list item by its value, `i:n` a list item by its position, and
//! `.` the path itself.

use std::cmp::Ordering;
use std::fmt::{self, Write as _};

use serde_json::{Map, Value};

/// One step of a path into an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathElement {
    /// A field of a map.
    Field(Box<str>),
    /// An item of a keyed list, by the values of its keys in order of their names.
    Key(Vec<(Box<str>, Value)>),
    /// An item of a set, by its value.
    Value(Value),
    /// An item of a list, by its position.
    Index(u64),
}

impl PathElement {
    /// The element that a `fieldsV1` member name stands for; `None` when it is not one.
    fn parse(text: &str) -> Option<PathElement> {
        let (kind, rest) = text.split_once(':')?;
        match kind {
            "f" => Some(PathElement::Field(rest.into())),
            "k" => {
                let keys: Map<String, Value> = serde_json::from_str(rest).ok()?;
                let mut keys: Vec<_> = keys.into_iter().map(|(k, v)| (k.into_boxed_str(), v)).collect();
                keys.sort_by(|a, b| a.0.cmp(&b.0));
                Some(PathElement::Key(keys))
            }
            "v" => serde_json::from_str(rest).ok().map(PathElement::Value),
            "i" => rest.parse().ok().map(PathElement::Index),
            _ => None,
        }
    }

    fn emit(&self) -> String {
        match self {
            PathElement::Field(name) => format!("f:{name}"),
            PathElement::Key(keys) => {
                let mut text = String::from("k:{");
                for (i, (name, value)) in keys.iter().enumerate() {
                    let comma = if i == 0 { "" } else { "," };
                    let _ = write!(text, "{comma}{}:{value}", Value::from(&**name));
                }
                text.push('}');
                text
            }
            PathElement::Value(value) => format!("v:{value}"),
            PathElement::Index(index) => format!("i:{index}"),
        }
    }

    fn rank(&self) -> u8 {
        match self {
            PathElement::Field(_) => 0,
            PathElement::Key(_) => 1,
            PathElement::Value(_) => 2,
            PathElement::Index(_) => 3,
        }
    }
}

impl PartialOrd for PathElement {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for PathElement {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (PathElement::Field(a), PathElement::Field(b)) => a.cmp(b),
            (PathElement::Key(a), PathElement::Key(b)) => {
                for ((name_a, value_a), (name_b, value_b)) in a.iter().zip(b) {
                    let order = name_a.cmp(name_b).then_with(|| compare_values(value_a, value_b));
                    if order != Ordering::Equal {
                        return order;
                    }
                }
                a.len().cmp(&b.len())
            }
            (PathElement::Value(a), PathElement::Value(b)) => compare_values(a, b),
            (PathElement::Index(a), PathElement::Index(b)) => a.cmp(b),
            (a, b) => a.rank().cmp(&b.rank()),
        }
    }
}

/// A total order over JSON values that agrees with `==`: by kind first, then by content.
fn compare_values(a: &Value, b: &Value) -> Ordering {
    fn rank(value: &Value) -> u8 {
        match value {
            Value::Number(_) => 0,
            Value::String(_) => 1,
            Value::Bool(_) => 2,
            Value::Array(_) => 3,
            Value::Object(_) => 4,
            Value::Null => 5,
        }
    }
    match (a, b) {
        (Value::String(a), Value::String(b)) => a.cmp(b),
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::Number(x), Value::Number(y)) => match (x.as_i64(), y.as_i64()) {
            (Some(x), Some(y)) => x.cmp(&y),
            _ => {
                let order = x.as_f64().unwrap_or(0.0).total_cmp(&y.as_f64().unwrap_or(0.0));
                order.then_with(|| if x == y { Ordering::Equal } else { a.to_string().cmp(&b.to_string()) })
            }
        },
        (Value::Array(_), Value::Array(_)) | (Value::Object(_), Value::Object(_)) => {
            if a == b {
                Ordering::Equal
            } else {
                a.to_string().cmp(&b.to_string())
            }
        }
        (a, b) => rank(a).cmp(&rank(b)),
    }
}

/// As Kubernetes writes a path in messages: `.spec.containers[name="web"].image`.
impl fmt::Display for PathElement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PathElement::Field(name) => write!(f, ".{name}"),
            PathElement::Key(keys) => {
                f.write_str("[")?;
                for (i, (name, value)) in keys.iter().enumerate() {
                    write!(f, "{}{name}={value}", if i == 0 { "" } else { "," })?;
                }
                f.write_str("]")
            }
            PathElement::Value(value) => write!(f, "[={value}]"),
            PathElement::Index(index) => write!(f, "[{index}]"),
        }
    }
}

/// What a set says about one path element.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Node {
    member: bool,
    children: FieldSet,
}

/// A set of field paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSet {
    nodes: Vec<(PathElement, Node)>,
}

impl FieldSet {
    /// Whether no path is in the set.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Reads the `fieldsV1` form. Members that are no path elements are skipped, as nothing can be owned by them.
    pub fn parse(fields_v1: &Value) -> FieldSet {
        let Value::Object(members) = fields_v1 else { return FieldSet::default() };
        let mut set = FieldSet { nodes: Vec::with_capacity(members.len()) };
        for (name, below) in members {
            if name == "." {
                continue;
            }
            let Some(element) = PathElement::parse(name) else { continue };
            let children = FieldSet::parse(below);
            let member = children.is_empty() || below.get(".").is_some();
            set.insert_node(element, Node { member, children });
        }
        set
    }

    /// Writes the `fieldsV1` form.
    pub fn emit(&self) -> Value {
        Value::Object(self.emit_map())
    }

    fn emit_map(&self) -> Map<String, Value> {
        let mut map = Map::new();
        for (element, node) in &self.nodes {
            let mut below = node.children.emit_map();
            if node.member && !below.is_empty() {
                below.insert(".".to_owned(), Value::Object(Map::new()));
            }
            map.insert(element.emit(), Value::Object(below));
        }
        map
    }

    fn position(&self, element: &PathElement) -> Result<usize, usize> {
        // Walks insert in order, so the end is the usual place.
        match self.nodes.last() {
            Some((last, _)) if last < element => Err(self.nodes.len()),
            None => Err(0),
            Some(_) => self.nodes.binary_search_by(|(other, _)| other.cmp(element)),
        }
    }

    fn insert_node(&mut self, element: PathElement, node: Node) {
        if !node.member && node.children.is_empty() {
            return;
        }
        match self.position(&element) {
            Ok(at) => {
                let old = &mut self.nodes[at].1;
                old.member |= node.member;
                old.children = old.children.union(&node.children);
            }
            Err(at) => self.nodes.insert(at, (element, node)),
        }
    }

    /// Adds the path `element`, and below it `children`.
    pub(crate) fn insert(&mut self, element: PathElement, member: bool, children: FieldSet) {
        self.insert_node(element, Node { member, children });
    }

    fn node(&self, element: &PathElement) -> Option<&Node> {
        if self.nodes.is_empty() {
            return None;
        }
        self.nodes.binary_search_by(|(other, _)| other.cmp(element)).ok().map(|at| &self.nodes[at].1)
    }

    /// Whether the path of this one element is in the set.
    pub fn has(&self, element: &PathElement) -> bool {
        self.node(element).is_some_and(|node| node.member)
    }

    /// The paths below `element`.
    pub fn below(&self, element: &PathElement) -> Option<&FieldSet> {
        self.node(element).map(|node| &node.children).filter(|children| !children.is_empty())
    }

    /// The elements at this level: each with whether it is in the set itself, and what is below it.
    pub fn iter(&self) -> impl Iterator<Item = (&PathElement, bool, &FieldSet)> {
        self.nodes.iter().map(|(element, node)| (element, node.member, &node.children))
    }

    /// The paths in either set.
    #[must_use]
    pub fn union(&self, other: &FieldSet) -> FieldSet {
        if self.is_empty() {
            return other.clone();
        }
        if other.is_empty() {
            return self.clone();
        }
        let mut nodes = Vec::with_capacity(self.nodes.len().max(other.nodes.len()));
        let (mut left, mut right) = (self.nodes.iter().peekable(), other.nodes.iter().peekable());
        loop {
            let order = match (left.peek(), right.peek()) {
                (Some((a, _)), Some((b, _))) => a.cmp(b),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => break,
            };
            match order {
                Ordering::Less => nodes.extend(left.next().cloned()),
                Ordering::Greater => nodes.extend(right.next().cloned()),
                Ordering::Equal => {
                    if let (Some((element, a)), Some((_, b))) = (left.next(), right.next()) {
                        let children = a.children.union(&b.children);
                        nodes.push((element.clone(), Node { member: a.member || b.member, children }));
                    }
                }
            }
        }
        FieldSet { nodes }
    }

    /// The paths in this set that are not in `other`. A path stays when only a shorter or longer one is there.
    #[must_use]
    pub fn difference(&self, other: &FieldSet) -> FieldSet {
        if other.is_empty() {
            return self.clone();
        }
        self.combine(other, true, |a, b| (a.member && !b.member, a.children.difference(&b.children)))
    }

    /// The paths in both sets.
    #[must_use]
    pub fn intersection(&self, other: &FieldSet) -> FieldSet {
        if other.is_empty() {
            return FieldSet::default();
        }
        self.combine(other, false, |a, b| (a.member && b.member, a.children.intersection(&b.children)))
    }

    fn combine(
        &self,
        other: &FieldSet,
        keep_alone: bool,
        both: impl Fn(&Node, &Node) -> (bool, FieldSet),
    ) -> FieldSet {
        let mut nodes = Vec::new();
        for (element, node) in &self.nodes {
            match other.node(element) {
                Some(there) => {
                    let (member, children) = both(node, there);
                    if member || !children.is_empty() {
                        nodes.push((element.clone(), Node { member, children }));
                    }
                }
                None if keep_alone => nodes.push((element.clone(), node.clone())),
                None => {}
            }
        }
        FieldSet { nodes }
    }

    /// Whether the two sets share a path.
    pub fn intersects(&self, other: &FieldSet) -> bool {
        !other.is_empty()
            && self.nodes.iter().any(|(element, node)| {
                other.node(element).is_some_and(|there| {
                    node.member && there.member || node.children.intersects(&there.children)
                })
            })
    }

    /// Whether every path of this set is in `other`.
    pub fn is_subset(&self, other: &FieldSet) -> bool {
        self.nodes.iter().all(|(element, node)| match other.node(element) {
            Some(there) => (!node.member || there.member) && node.children.is_subset(&there.children),
            None => false,
        })
    }

    /// All paths in message form, shorter before longer, in order.
    pub fn paths(&self) -> Vec<String> {
        fn walk(set: &FieldSet, prefix: &str, out: &mut Vec<String>) {
            // Kubernetes lists the paths that end on this level first.
            for (element, node) in &set.nodes {
                if node.member {
                    out.push(format!("{prefix}{element}"));
                }
            }
            for (element, node) in &set.nodes {
                if !node.children.is_empty() {
                    walk(&node.children, &format!("{prefix}{element}"), out);
                }
            }
        }
        let mut out = Vec::new();
        walk(self, "", &mut out);
        out
    }

    /// Takes out the path made of these field names (only that path, not the ones below it).
    pub(crate) fn remove_fields(&mut self, path: &[&str]) {
        let Some((first, rest)) = path.split_first() else { return };
        let Ok(at) = self.nodes.binary_search_by(|(other, _)| match other {
            PathElement::Field(name) => (**name).cmp(first),
            PathElement::Key(_) | PathElement::Value(_) | PathElement::Index(_) => Ordering::Greater,
        }) else {
            return;
        };
        let node = &mut self.nodes[at].1;
        if rest.is_empty() {
            node.member = false;
        } else {
            node.children.remove_fields(rest);
        }
        if !node.member && node.children.is_empty() {
            self.nodes.remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn set(value: Value) -> FieldSet {
        FieldSet::parse(&value)
    }

    #[test]
    fn fields_v1_survives_a_round_trip() {
        let value = json!({
            "f:metadata": {"f:labels": {".": {}, "f:app": {}}, "f:finalizers": {"v:\"a/b\"": {}}},
            "f:spec": {
                "f:containers": {"k:{\"name\":\"web\"}": {".": {}, "f:image": {},
                    "f:ports": {"k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}}}},
                "f:list": {"i:0": {}}
            }
        });
        assert_eq!(set(value.clone()).emit(), value);
    }

    #[test]
    fn what_is_not_a_path_element_is_skipped() {
        assert_eq!(set(json!({"x": {}, "k:{": {}, "f:a": {}, "q:1": {}})).emit(), json!({"f:a": {}}));
        assert!(set(json!([1])).is_empty());
    }

    #[test]
    fn set_algebra_distinguishes_a_path_from_the_paths_below_it() {
        let a = set(json!({"f:a": {".": {}, "f:b": {}}, "f:c": {}}));
        let b = set(json!({"f:a": {"f:b": {}, "f:d": {}}}));
        assert_eq!(a.union(&b).emit(), json!({"f:a": {".": {}, "f:b": {}, "f:d": {}}, "f:c": {}}));
        assert_eq!(a.difference(&b).emit(), json!({"f:a": {}, "f:c": {}}));
        assert_eq!(b.difference(&a).emit(), json!({"f:a": {"f:d": {}}}));
        assert_eq!(a.intersection(&b).emit(), json!({"f:a": {"f:b": {}}}));
        assert!(a.intersects(&b));
        assert!(!set(json!({"f:a": {}})).intersects(&b));
    }

    #[test]
    fn paths_read_as_in_kubernetes_messages() {
        let s = set(
            json!({"f:spec": {"f:replicas": {}, "f:c": {"k:{\"name\":\"x\",\"n\":1}": {".": {}, "f:i": {}}},
            "f:s": {"v:\"q\"": {}}}}),
        );
        assert_eq!(
            s.paths(),
            [".spec.replicas", ".spec.c[n=1,name=\"x\"]", ".spec.c[n=1,name=\"x\"].i", ".spec.s[=\"q\"]"]
        );
    }

    #[test]
    fn removing_a_path_leaves_the_paths_below_it() {
        let mut s = set(json!({"f:metadata": {".": {}, "f:name": {}, "f:labels": {"f:a": {}}}}));
        s.remove_fields(&["metadata"]);
        s.remove_fields(&["metadata", "name"]);
        s.remove_fields(&["metadata", "missing"]);
        assert_eq!(s.emit(), json!({"f:metadata": {"f:labels": {"f:a": {}}}}));
    }
}
