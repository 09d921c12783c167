//! Field specifications: which field of which kinds a transformer edits, and how to get there.

use super::identity::Gvk;
use super::node::{Node, Scalar, Tag};
use super::resource::Resource;

/// A field of the kinds that are selected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FieldSpec {
    pub gvk: Gvk,
    pub path: String,
    pub create: bool,
}

/// What is put where a field is missing or null.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Create {
    Nothing,
    Map,
    Scalar(Tag),
}

/// Edits what stands at the end of a path.
pub(crate) type Edit<'e> = &'e mut dyn FnMut(&mut Node) -> Result<(), String>;

/// Splits at `separator`; a backslash before it keeps it.
pub(crate) fn split_path(path: &str, separator: char) -> Vec<String> {
    let mut parts: Vec<&str> = path.split(separator).collect();
    if parts.len() > 1 && parts[0].is_empty() {
        parts.remove(0);
    }
    let mut found: Vec<String> = Vec::new();
    for part in parts {
        match found.last_mut() {
            Some(last) if last.ends_with('\\') => {
                last.pop();
                last.push(separator);
                last.push_str(part);
            }
            _ => found.push(part.to_owned()),
        }
    }
    found
}

impl FieldSpec {
    /// Edits the field of an object, if the object is meant and has it, or gets it.
    ///
    /// # Errors
    /// When something on the path is neither map nor list, or the edit fails.
    pub(crate) fn edit(&self, resource: &mut Resource, create: Create, edit: Edit<'_>) -> Result<(), String> {
        if !resource.gvk().is_selected(&self.gvk) {
            return Ok(());
        }
        let path = split_path(&self.path, '/');
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        let create = if self.create { create } else { Create::Nothing };
        walk(&mut resource.node, &path, create, edit)
            .map_err(|reason| format!("considering field '{}' of {}: {reason}", self.path, resource.name()))
    }
}

fn walk(node: &mut Node, path: &[&str], create: Create, edit: Edit<'_>) -> Result<(), String> {
    let Some((first, rest)) = path.split_first() else {
        return edit(node);
    };
    if node.is_null() {
        return Ok(());
    }
    match node {
        Node::List(items) => items.iter_mut().try_for_each(|item| walk(item, path, create, edit)),
        Node::Map(_) => {
            let (name, is_list) = first.strip_suffix("[]").map_or((*first, false), |name| (name, true));
            if name.is_empty() {
                return Err("cannot set or create an empty field name".to_owned());
            }
            let wanted = match create {
                _ if is_list => None,
                Create::Nothing => None,
                _ if !rest.is_empty() => Some(Node::Map(Vec::new())),
                Create::Map => Some(Node::Map(Vec::new())),
                Create::Scalar(tag) => Some(Node::Scalar(Scalar { text: String::new(), tag, quoted: false })),
            };
            match (node.get_mut(name), wanted) {
                (None, None) => Ok(()),
                (Some(field), wanted) if field.is_null() && (wanted.is_some() || is_list) => {
                    *field = wanted.unwrap_or(Node::List(Vec::new()));
                    walk(field, rest, create, edit)
                }
                (Some(field), _) => walk(field, rest, create, edit),
                (None, Some(made)) => {
                    let made = match made {
                        Node::Scalar(scalar) => Node::Scalar(Scalar { tag: Tag::Open, ..scalar }),
                        other => other,
                    };
                    node.put(name, made);
                    node.get_mut(name).map_or(Ok(()), |field| walk(field, rest, create, edit))
                }
            }
        }
        Node::Scalar(_) => Err("expected sequence or mapping node".to_owned()),
    }
}
