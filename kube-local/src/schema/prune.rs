//! Pruning: fields that the schema does not know are dropped.

use serde_json::Value;

use super::{Additional, Node};

struct Pruner {
    path: String,
    removed: Vec<String>,
}

/// Removes unknown fields and returns their paths, sorted.
pub(crate) fn prune(root: &Node, object: &mut Value) -> Vec<String> {
    let mut pruner = Pruner { path: String::new(), removed: Vec::new() };
    pruner.value(Some(root), true, object);
    pruner.removed.sort();
    pruner.removed
}

const META_FIELDS: [&str; 15] = [
    "annotations",
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generateName",
    "generation",
    "labels",
    "managedFields",
    "name",
    "namespace",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// The paths in a value that is no whole object which the schema does not know.
pub(crate) fn unknown(node: &Node, value: &Value) -> Vec<String> {
    let mut pruner = Pruner { path: String::new(), removed: Vec::new() };
    pruner.value(Some(node), false, &mut value.clone());
    pruner.removed
}

fn is_meta(name: &str) -> bool {
    matches!(name, "apiVersion" | "kind" | "metadata")
}

impl Pruner {
    fn below(&mut self, name: &str, visit: impl FnOnce(&mut Pruner)) {
        let length = self.path.len();
        if !self.path.is_empty() {
            self.path.push('.');
        }
        self.path.push_str(name);
        visit(self);
        self.path.truncate(length);
    }

    fn item(&mut self, index: usize, visit: impl FnOnce(&mut Pruner)) {
        let length = self.path.len();
        self.path.push_str(&format!("[{index}]"));
        visit(self);
        self.path.truncate(length);
    }

    /// The fields that every object's metadata has.
    fn object_meta(&mut self, meta: &mut Value) {
        let Value::Object(meta) = meta else { return };
        meta.retain(|name, _| {
            let known = META_FIELDS.contains(&name.as_str());
            if !known {
                self.below(name, |this| this.removed.push(this.path.clone()));
            }
            known
        });
    }

    /// `node` is `None` below a field of which nothing is known.
    fn value(&mut self, node: Option<&Node>, root: bool, value: &mut Value) {
        let preserve = node.is_some_and(|node| node.preserve_unknown);
        let embedded = root || node.is_some_and(|node| node.embedded);
        match value {
            Value::Object(map) => map.retain(|name, value| {
                if embedded && is_meta(name) {
                    if name == "metadata" {
                        self.below(name, |this| this.object_meta(value));
                    }
                    return true;
                }
                match (node.and_then(|node| node.properties.get(name)), node.map(|node| &node.additional)) {
                    (Some(property), _) => self.below(name, |this| this.value(Some(property), false, value)),
                    (None, Some(Additional::Schema(below))) => {
                        self.below(name, |this| this.value(Some(below), false, value));
                    }
                    (None, Some(Additional::Allowed(true))) => {
                        self.below(name, |this| this.value(None, false, value));
                    }
                    (None, _) if preserve => {}
                    (None, _) => {
                        self.below(name, |this| this.removed.push(this.path.clone()));
                        return false;
                    }
                }
                true
            }),
            Value::Array(items) => {
                let below = node.and_then(|node| node.items.as_deref());
                if preserve && below.is_none() {
                    return;
                }
                for (i, item) in items.iter_mut().enumerate() {
                    self.item(i, |this| this.value(below, false, item));
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
}
