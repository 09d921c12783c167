//! `replacements`: values of one field copied to others.

use serde_json::Value as Json;

use super::collection::Collection;
use super::identity::Id;
use super::input::{Fields, Rules, SELECTOR};
use super::node::Node;
use super::path::{self, Make};
use super::resource::Resource;
use super::schema::Schema;
use super::selector::Selector;

/// Where a replacement is written: here, or in a file.
#[derive(Clone, Debug)]
pub(crate) enum ReplacementSource {
    Path(String),
    Inline(Box<Replacement>),
}

/// How a value is taken apart or put in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    pub delimiter: String,
    pub index: i64,
    pub create: bool,
}

/// Where a value comes from.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    Value(String),
    Field { selector: Box<Selector>, path: String, options: Options },
}

/// Where a value goes.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub select: Option<Selector>,
    pub reject: Vec<Selector>,
    pub paths: Vec<String>,
    pub options: Options,
}

/// One value and where it goes.
#[derive(Clone, Debug)]
pub(crate) struct Replacement {
    pub source: Option<Source>,
    pub targets: Option<Vec<Target>>,
}

const FIELDS: &[&str] = &["path", "source", "targets", "sourceValue"];

/// Reads the field `replacements`.
///
/// # Errors
/// When a field is unknown or of the wrong type.
pub(crate) fn sources(fields: &Fields<'_>) -> Result<Vec<ReplacementSource>, String> {
    fields.each("replacements", FIELDS, |one| {
        let path = one.text("path")?;
        if path.is_empty() {
            return Replacement::read(one).map(|read| ReplacementSource::Inline(Box::new(read)));
        }
        if one.value("source").is_some() || !one.list("targets")?.is_empty() {
            return Err("cannot specify both path and inline replacement".to_owned());
        }
        Ok(ReplacementSource::Path(path))
    })
}

/// Reads a file of replacements: one, or a list.
///
/// # Errors
/// When it is neither, or a field is of the wrong type.
pub(crate) fn file(value: &Json) -> Result<Vec<Replacement>, String> {
    let rules = Rules { strict: false, coerce: true };
    let read = |value: &Json| Replacement::read(&Fields::of(value, "", rules, FIELDS)?);
    match value {
        Json::Array(items) => items.iter().map(read).collect(),
        Json::Object(_) => Ok(vec![read(value)?]),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {
            Err("expected a replacement or a list of replacements".to_owned())
        }
    }
}

fn options(fields: &Fields<'_>) -> Result<Options, String> {
    let read = |one: &Fields<'_>| -> Result<Options, String> {
        Ok(Options {
            delimiter: one.text("delimiter")?,
            index: one.integer("index")?,
            create: one.flag("create")?,
        })
    };
    Ok(fields.inner("options", &["delimiter", "index", "encoding", "create"], read)?.unwrap_or_default())
}

impl Replacement {
    fn read(fields: &Fields<'_>) -> Result<Self, String> {
        const SOURCE: &[&str] = &["group", "version", "kind", "name", "namespace", "fieldPath", "options"];
        let mut source = fields.inner("source", SOURCE, |one| {
            Ok(Source::Field {
                selector: Box::new(one.selector()?),
                path: one.text("fieldPath")?,
                options: options(one)?,
            })
        })?;
        if fields.value("sourceValue").is_some() {
            if source.is_some() {
                return Err("value and resource selectors are mutually exclusive".to_owned());
            }
            source = Some(Source::Value(fields.text("sourceValue")?));
        }
        let targets = fields.each("targets", &["select", "reject", "fieldPaths", "options"], |one| {
            Ok(Target {
                select: one.inner("select", SELECTOR, Fields::selector)?,
                reject: one.each("reject", SELECTOR, Fields::selector)?,
                paths: one.texts("fieldPaths")?,
                options: options(one)?,
            })
        })?;
        Ok(Self { source, targets: fields.value("targets").is_some().then_some(targets) })
    }

    /// Copies the value.
    ///
    /// # Errors
    /// When the source is not exactly one field, or a target has no such field.
    pub(crate) fn apply(&self, collection: &mut Collection, schema: &Schema) -> Result<(), String> {
        let (Some(source), Some(targets)) = (&self.source, &self.targets) else {
            return Err("replacements must specify a source and at least one target".to_owned());
        };
        let value = source.value(collection, schema)?;
        for target in targets {
            target.apply(&value, collection, schema)?;
        }
        Ok(())
    }
}

/// The names of an object, today's and former ones.
fn ids(resource: &Resource, schema: &Schema) -> Vec<Id> {
    // Replacements do not look at scopes.
    let current = Id { cluster: false, ..resource.id(schema) };
    std::iter::once(current).chain(resource.former_ids()).collect()
}

impl Source {
    fn value(&self, collection: &Collection, schema: &Schema) -> Result<Node, String> {
        let (selector, path, options) = match self {
            Self::Value(text) => return Ok(Node::open(text)),
            Self::Field { selector, path, options } => (selector, path, options),
        };
        let wanted = Id {
            gvk: selector.gvk.clone(),
            name: selector.name.clone(),
            namespace: selector.namespace.clone(),
            cluster: false,
        };
        let mut found = collection.all.iter().filter(|one| {
            let current = one.id(schema);
            current.is_selected(&wanted) || ids(one, schema).iter().skip(1).any(|id| id.is_selected(&wanted))
        });
        let source = found.next().ok_or_else(|| format!("nothing selected by {wanted}:{path}"))?;
        if found.next().is_some() {
            return Err(format!("multiple matches for selector {wanted}:{path}"));
        }
        let path = if path.is_empty() { "metadata.name" } else { path };
        let value = path::lookup(&source.node, &path::parts(path))?;
        let value = value.filter(|value| !value.is_empty());
        let value =
            value.ok_or_else(|| format!("fieldPath `{path}` is missing for replacement source {wanted}"))?;
        options.part(value)
    }
}

impl Options {
    /// The part of a value that is asked for.
    fn part(&self, value: &Node) -> Result<Node, String> {
        if self.delimiter.is_empty() {
            return Ok(value.clone());
        }
        let Node::Scalar(scalar) = value else {
            return Err("delimiter option can only be used with scalar nodes".to_owned());
        };
        let part = usize::try_from(self.index).ok().and_then(|at| scalar.text.split(&self.delimiter).nth(at));
        let part = part.ok_or_else(|| {
            format!("options.index {} is out of bounds for value {}", self.index, scalar.text)
        })?;
        let mut taken = scalar.clone();
        part.clone_into(&mut taken.text);
        Ok(Node::Scalar(taken))
    }
}

impl Target {
    fn apply(&self, value: &Node, collection: &mut Collection, schema: &Schema) -> Result<(), String> {
        let Some(select) = &self.select else {
            return Err("target must specify resources to select".to_owned());
        };
        let (selected, rejected) =
            (select.compile()?, self.reject.iter().map(Selector::compile).collect::<Result<Vec<_>, _>>()?);
        let name = ["metadata.name".to_owned()];
        let paths = if self.paths.is_empty() { &name[..] } else { &self.paths };
        for resource in &mut collection.all {
            if !selected.matches_labels(resource) {
                continue;
            }
            let by_labels = self.reject.iter().zip(&rejected).any(|(selector, compiled)| {
                !(selector.labels.is_empty() && selector.annotations.is_empty())
                    && compiled.matches_labels(resource)
            });
            let ids = ids(resource, schema);
            let by_ids = self.reject.iter().zip(&rejected).any(|(selector, compiled)| {
                !selector.names_nothing() && ids.iter().any(|id| compiled.matches_id(id))
            });
            if !by_labels && !by_ids && ids.iter().any(|id| selected.matches_id(id)) {
                for path in paths {
                    self.write(&mut resource.node, path, value)?;
                }
            }
        }
        Ok(())
    }

    fn write(&self, node: &mut Node, path: &str, value: &Node) -> Result<(), String> {
        let make = self.options.create.then(|| Make::like(value));
        let parts = path::parts(path);
        if self.write_inside(node, &parts, value, make).is_ok() {
            return Ok(());
        }
        let verb = if make.is_some() { "find or create" } else { "find" };
        let missing = || format!("unable to {verb} field \"{path}\" in replacement target");
        let found = path::edit_all(node, &parts, make, &mut |field| self.set(field, value));
        match found.map_err(|reason| format!("{}: {reason}", missing()))? {
            0 => Err(missing()),
            _ => Ok(()),
        }
    }

    fn set(&self, field: &mut Node, value: &Node) -> Result<(), String> {
        let mut value = value.clone();
        if !self.options.delimiter.is_empty() {
            if !matches!(field, Node::Scalar(_)) {
                return Err("delimiter option can only be used with scalar nodes".to_owned());
            }
            let mut parts: Vec<&str> = field.raw().split(&self.options.delimiter).collect();
            let text = value.value().to_owned();
            match usize::try_from(self.options.index) {
                Err(_) => parts.insert(0, &text),
                Ok(at) if at >= parts.len() => parts.push(&text),
                Ok(at) => parts[at] = &text,
            }
            let joined = parts.join(&self.options.delimiter);
            match &mut value {
                Node::Scalar(scalar) => scalar.text = joined,
                Node::Map(_) | Node::List(_) => value = Node::open(&joined),
            }
        }
        match field {
            // Only the text is copied: the target keeps its type.
            Node::Scalar(scalar) => value.raw().clone_into(&mut scalar.text),
            other => *other = value,
        }
        Ok(())
    }

    /// Writes into a text that is itself YAML or JSON.
    fn write_inside(
        &self,
        node: &mut Node,
        parts: &[String],
        value: &Node,
        make: Option<Make>,
    ) -> Result<(), String> {
        let limits = crate::limits::Limits::default();
        for end in 1..parts.len() {
            let Ok(Some(Node::Scalar(scalar))) = path::lookup(node, &parts[..end]) else { continue };
            let text = scalar.text.clone();
            let Ok(parsed) = super::read::document(&text, &limits) else { continue };
            let mut inner = parsed.ok_or("nothing inside")?;
            let found = path::edit_all(&mut inner, &parts[end..], make, &mut |field| {
                match field {
                    Node::Scalar(scalar) => value.raw().clone_into(&mut scalar.text),
                    other => *other = value.clone(),
                }
                Ok(())
            })?;
            if found == 0 {
                return Err("unable to find field in structured data".to_owned());
            }
            let written = written(&inner, &text)?;
            path::edit_all(node, &parts[..end], None, &mut |field| {
                if let Node::Scalar(scalar) = field {
                    written.clone_into(&mut scalar.text);
                }
                Ok(())
            })?;
            return Ok(());
        }
        Err("no structured data found in path".to_owned())
    }
}

/// What was YAML or JSON, in the same form again.
fn written(inner: &Node, before: &str) -> Result<String, String> {
    let json = inner.to_json()?;
    if !before.trim_start().starts_with(['{', '[']) {
        return Ok(super::write::to_yaml(inner).trim().to_owned());
    }
    let pretty = before.contains('\n') && before.contains("  ");
    Ok(if pretty { super::generate::go_json_pretty(&json) } else { super::generate::go_json(&json) })
}
