//! `ValueAddTransformer`: one value put into fields, or into paths that stand in fields.

use super::collection::Collection;
use super::fields::split_path;
use super::input::{Fields, SELECTOR};
use super::names::Namespace;
use super::node::{Node, Tag};
use super::schema::Schema;
use super::selector::Selector;

/// A field that gets the value.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub selector: Option<Selector>,
    pub path: String,
    pub position: i64,
}

/// A value and where it goes.
#[derive(Clone, Debug)]
pub(crate) struct ValueAdd {
    pub value: String,
    pub targets: Vec<Target>,
}

impl ValueAdd {
    /// Reads the targets of a configuration.
    ///
    /// # Errors
    /// When one has no path, or a negative position.
    pub(crate) fn targets(fields: &Fields<'_>) -> Result<Vec<Target>, String> {
        fields.each("targets", &["selector", "fieldPath", "filePathPosition"], |one| {
            let target = Target {
                selector: one.inner("selector", SELECTOR, Fields::selector)?,
                path: one.text("fieldPath")?,
                position: one.integer("filePathPosition")?,
            };
            if target.path.is_empty() {
                return Err("fieldPath cannot be empty".to_owned());
            }
            if target.position < 0 {
                return Err(format!("value of filePathPosition ({}) cannot be negative", target.position));
            }
            Ok(target)
        })
    }

    /// Sets the fields.
    ///
    /// # Errors
    /// When a field is not a single value.
    pub(crate) fn apply(&self, collection: &mut Collection, schema: &Schema) -> Result<(), String> {
        for target in &self.targets {
            let selected = match &target.selector {
                None => (0..collection.all.len()).collect(),
                Some(selector) => collection.select(selector, schema)?,
            };
            for at in selected {
                let resource = &mut collection.all[at];
                if target.path == "metadata/namespace" {
                    let namespace = Namespace { name: self.value.clone(), ..Namespace::default() };
                    namespace.set(resource, &[], schema)?;
                } else {
                    let path = split_path(&target.path, '/');
                    self.set(&mut resource.node, &path, target.position)?;
                }
            }
        }
        Ok(())
    }

    fn set(&self, node: &mut Node, path: &[String], position: i64) -> Result<(), String> {
        let Some((first, rest)) = path.split_first() else {
            let new = if position > 0 { self.inserted(node.value(), position) } else { self.value.clone() };
            return node.set_scalar(&new, Tag::Open);
        };
        if !node.is_map() && !node.is_null() {
            return Err(format!("\"{first}\" cannot be looked up in {}", node.kind()));
        }
        if node.get(first).is_none() {
            node.put(first, if rest.is_empty() { Node::open("") } else { Node::Map(Vec::new()) });
        }
        node.get_mut(first).map_or(Ok(()), |field| self.set(field, rest, position))
    }

    /// The value as a part of a path.
    fn inserted(&self, path: &str, position: i64) -> String {
        let absolute = path.starts_with('/');
        let mut parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let at = usize::try_from(position - 1).unwrap_or_default().min(parts.len());
        parts.insert(at, &self.value);
        format!("{}{}", if absolute { "/" } else { "" }, parts.join("/"))
    }
}
