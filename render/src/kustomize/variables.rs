//! `vars`: values of fields that stand as `$(NAME)` in others.

use std::collections::BTreeMap;

use super::collection::Collection;
use super::config::Config;
use super::fields::Create;
use super::identity::{Gvk, Id};
use super::input::Fields;
use super::node::{Node, Scalar, Tag};
use super::path;
use super::schema::Schema;

/// A name for a field of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Variable {
    pub name: String,
    pub gvk: Gvk,
    pub object: String,
    pub namespace: String,
    pub field: String,
}

impl Variable {
    pub(crate) const FIELDS: &[&str] = &["name", "objref", "fieldref"];

    pub(crate) fn read(fields: &Fields<'_>) -> Result<Self, String> {
        const OBJECT: &[&str] = &["apiVersion", "group", "version", "kind", "name", "namespace"];
        let object = fields.inner("objref", OBJECT, |one| {
            let mut gvk = one.gvk()?;
            let api_version = one.text("apiVersion")?;
            match api_version.split('/').collect::<Vec<_>>().as_slice() {
                [""] => {}
                [version] => gvk.version = (*version).to_owned(),
                [group, version] => {
                    (gvk.group, gvk.version) = ((*group).to_owned(), (*version).to_owned());
                }
                _ => {}
            }
            Ok((gvk, one.text("name")?, one.text("namespace")?))
        })?;
        let (gvk, object, namespace) = object.unwrap_or_default();
        let field =
            fields.inner("fieldref", &["fieldPath"], |one| one.text("fieldPath"))?.unwrap_or_default();
        let field = if field.is_empty() { "metadata.name".to_owned() } else { field };
        Ok(Self { name: fields.text("name")?, gvk, object, namespace, field })
    }
}

/// The variables of a layer, by name.
pub(crate) type Variables = BTreeMap<String, Variable>;

/// Adds variables, and marks the objects that they read from.
///
/// # Errors
/// When a name is taken, or an object is ambiguous.
pub(crate) fn declare(
    known: &mut Variables,
    new: &[Variable],
    collection: &mut Collection,
    schema: &Schema,
) -> Result<(), String> {
    for variable in new {
        let wanted = Id {
            gvk: variable.gvk.clone(),
            name: variable.object.clone(),
            namespace: variable.namespace.clone(),
            cluster: false,
        };
        let found = collection.by_any_id(schema, |id| {
            if wanted.namespace.is_empty() { wanted.same_kind_and_name(id) } else { wanted.is(id) }
        });
        match found.as_slice() {
            [] => {}
            [at] => collection.all[*at].variables.push(variable.name.clone()),
            several => {
                let count = several.len();
                return Err(format!(
                    "found {count} resId matches for var \"{}\" (unable to disambiguate): name the namespace",
                    variable.name
                ));
            }
        }
    }
    new.iter().try_for_each(|variable| add(known, variable))
}

/// Adds one variable.
///
/// # Errors
/// When its name is taken.
pub(crate) fn add(known: &mut Variables, variable: &Variable) -> Result<(), String> {
    if known.contains_key(&variable.name) {
        return Err(format!("var '{}' already encountered", variable.name));
    }
    known.insert(variable.name.clone(), variable.clone());
    Ok(())
}

/// Puts the values of variables where they stand.
///
/// # Errors
/// When a variable has no value, or a field does not take one.
pub(crate) fn resolve(
    variables: &Variables,
    collection: &mut Collection,
    config: &Config,
) -> Result<(), String> {
    let mut values: BTreeMap<&str, Option<Scalar>> = BTreeMap::new();
    for variable in variables.values() {
        let source = collection.all.iter().find(|one| one.variables.contains(&variable.name));
        let source = source.ok_or_else(|| {
            format!("var '{}' cannot be mapped to a field in the set of known resources", variable.name)
        })?;
        let parts = path::lookup_parts(&variable.field);
        let found = path::lookup(&source.node, &parts)?.ok_or_else(|| {
            format!(
                "the field \"{}\" of var '{}' was not found in the corresponding resource",
                variable.field, variable.name
            )
        })?;
        let value = match found {
            Node::Scalar(scalar) => Some(typed(scalar)?),
            Node::Map(_) | Node::List(_) => None,
        };
        values.insert(&variable.name, value);
    }
    if values.is_empty() {
        return Ok(());
    }
    for resource in &mut collection.all {
        for spec in &config.variable_references {
            spec.edit(resource, Create::Nothing, &mut |node| substitute(node, &values))?;
        }
    }
    Ok(())
}

/// The value as Go holds it: numbers lose what they were written like.
fn typed(scalar: &Scalar) -> Result<Scalar, String> {
    let made = |text: String, tag: Tag| Scalar { text, tag, quoted: false };
    let misfit = || format!("the value \"{}\" cannot be read", scalar.text);
    Ok(match scalar.tag {
        Tag::Int => made(scalar.text.parse::<i64>().map_err(|_| misfit())?.to_string(), Tag::Int),
        Tag::Float => {
            let value: f64 = scalar.text.parse().map_err(|_| misfit())?;
            made(crate::template::floats::shortest(value, 'f'), Tag::Float)
        }
        Tag::Bool => made(scalar.text.to_ascii_lowercase(), Tag::Bool),
        Tag::Text | Tag::Null | Tag::Time | Tag::Binary | Tag::Open => made(scalar.text.clone(), Tag::Text),
    })
}

fn is_text(node: &Node) -> bool {
    matches!(node, Node::Scalar(Scalar { tag: Tag::Text | Tag::Open, .. }))
}

fn substitute(node: &mut Node, values: &BTreeMap<&str, Option<Scalar>>) -> Result<(), String> {
    if node.is_null() {
        return Ok(());
    }
    match node {
        Node::Scalar(_) => {
            if is_text(node) {
                expand(node, values);
            }
        }
        Node::Map(entries) => {
            for (key, value) in entries {
                if key.foreign {
                    return Err(format!("invalid map key: \"{}\" is not a text", key.text));
                }
                if is_text(value) {
                    expand(value, values);
                }
            }
        }
        Node::List(items) => {
            for item in items {
                if !is_text(item) {
                    return Err("invalid value type expect a string".to_owned());
                }
                expand(item, values);
            }
        }
    }
    Ok(())
}

fn expand(node: &mut Node, values: &BTreeMap<&str, Option<Scalar>>) {
    let input = node.raw().to_owned();
    let mut out = String::new();
    let mut rest = input.as_str();
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let Some(next) = after.chars().next() else {
            out.push('$');
            rest = "";
            break;
        };
        match (next, after.find(')')) {
            ('$', _) => {
                out.push('$');
                rest = &after[1..];
            }
            ('(', Some(end)) => {
                let name = &after[1..end];
                match values.get(name) {
                    Some(Some(value)) if at == 0 && out.is_empty() && input.len() == name.len() + 3 => {
                        *node = Node::Scalar(value.clone());
                        return;
                    }
                    Some(Some(value)) => out.push_str(&value.text),
                    _ => out.push_str(&format!("$({name})")),
                }
                rest = &after[end + 1..];
            }
            (next, _) => {
                out.push('$');
                out.push(next);
                rest = &after[next.len_utf8()..];
            }
        }
    }
    out.push_str(rest);
    *node = Node::text(&out);
}
