//! Names, tags and digests of images.

use regex::Regex;

use super::collection::Collection;
use super::fields::{Create, FieldSpec};
use super::input::Fields;
use super::node::{Node, Tag};

/// What an image becomes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Image {
    pub name: String,
    pub new_name: String,
    pub new_tag: String,
    pub tag_suffix: String,
    pub digest: String,
}

impl Image {
    pub(crate) const FIELDS: &[&str] = &["name", "newName", "newTag", "tagSuffix", "digest"];

    pub(crate) fn read(fields: &Fields<'_>) -> Result<Self, String> {
        Ok(Self {
            name: fields.text("name")?,
            new_name: fields.text("newName")?,
            new_tag: fields.text("newTag")?,
            tag_suffix: fields.text("tagSuffix")?,
            digest: fields.text("digest")?,
        })
    }

    /// Changes the images of all objects: in every list of containers, and in the fields given.
    ///
    /// # Errors
    /// When a field is not a single value, or the name is no expression.
    pub(crate) fn apply(&self, collection: &mut Collection, specs: &[FieldSpec]) -> Result<(), String> {
        let pattern = format!("^{}(:[a-zA-Z0-9_.{{}}-]*)?(@sha256:[a-zA-Z0-9_.{{}}-]*)?$", self.name);
        let pattern = Regex::new(&pattern)
            .map_err(|error| format!("the image name \"{}\" is malformed: {error}", self.name))?;
        let mut set = |node: &mut Node| self.set(node, &pattern);
        for resource in collection.all.iter_mut().filter(|one| one.kind() != "CustomResourceDefinition") {
            containers(&mut resource.node, &mut set)?;
        }
        for resource in collection.all.iter_mut().filter(|one| one.kind() != "CustomResourceDefinition") {
            for spec in specs {
                spec.edit(resource, Create::Nothing, &mut set)?;
            }
        }
        Ok(())
    }

    fn set(&self, node: &mut Node, pattern: &Regex) -> Result<(), String> {
        if !matches!(node, Node::Scalar(_)) {
            return Err(format!("expected an image, found {}", node.kind()));
        }
        if !pattern.is_match(node.raw()) {
            return Ok(());
        }
        let (name, mut tag, mut digest) = split(node.raw());
        let mut name = if self.new_name.is_empty() { name.to_owned() } else { self.new_name.clone() };
        if !self.new_tag.is_empty() {
            (tag, digest) = (self.new_tag.clone(), self.digest.clone());
        } else if !self.digest.is_empty() {
            (tag, digest) = (String::new(), self.digest.clone());
        } else if !self.tag_suffix.is_empty() {
            tag.push_str(&self.tag_suffix);
            digest.clear();
        }
        for (sign, part) in [(':', tag), ('@', digest)] {
            if !part.is_empty() {
                name.push(sign);
                name.push_str(&part);
            }
        }
        node.set_scalar(&name, Tag::Open)
    }
}

/// Visits the images of every list called `containers` or `initContainers`, wherever it stands.
fn containers(node: &mut Node, set: &mut dyn FnMut(&mut Node) -> Result<(), String>) -> Result<(), String> {
    crate::template::stack::grow(|| match node {
        Node::Scalar(_) => Ok(()),
        Node::List(items) => items.iter_mut().try_for_each(|item| containers(item, set)),
        Node::Map(entries) => {
            for (key, value) in entries {
                containers(value, set)?;
                let Node::List(items) = value else { continue };
                if !matches!(key.text.as_str(), "containers" | "initContainers") {
                    continue;
                }
                for item in items.iter_mut().filter(|item| !item.is_null()) {
                    if !item.is_map() {
                        return Err(format!("\"{}\" holds {}, expected maps", key.text, item.kind()));
                    }
                    if let Some(image) = item.get_mut("image") {
                        set(image)?;
                    }
                }
            }
            Ok(())
        }
    })
}

/// Name, tag and digest of an image. A colon before the first slash belongs to the registry.
fn split(image: &str) -> (&str, String, String) {
    let from = image.find('/').unwrap_or(0);
    let (at, colon) =
        (image[from..].find('@').map(|at| at + from), image[from..].find(':').map(|at| at + from));
    match (at, colon) {
        (None, None) => (image, String::new(), String::new()),
        (Some(at), colon) if colon.is_none_or(|colon| at < colon) => {
            (&image[..at], String::new(), image[at + 1..].to_owned())
        }
        (Some(at), Some(colon)) => {
            (&image[..colon], image[colon + 1..at].to_owned(), image[at + 1..].to_owned())
        }
        (_, Some(colon)) => (&image[..colon], image[colon + 1..].to_owned(), String::new()),
        (Some(at), None) => (&image[..at], String::new(), image[at + 1..].to_owned()),
    }
}
