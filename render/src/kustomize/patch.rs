//! Patches: strategic merge or JSON 6902, inline or in a file, for one object or for all that a selector selects.

use serde_json::Value as Json;

use super::collection::Collection;
use super::input::{Fields, SELECTOR};
use super::json_patch::{self, Operation};
use super::merge;
use super::node::Node;
use super::read::{self, Unreadable};
use super::resource::Resource;
use super::schema::Schema;
use super::selector::Selector;
use crate::limits::Limits;

/// An entry of `patches` or `patchesJson6902`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Patch {
    pub path: String,
    pub text: String,
    pub target: Option<Selector>,
    pub may_change_name: bool,
    pub may_change_kind: bool,
}

impl Patch {
    pub(crate) const FIELDS: &[&str] = &["path", "patch", "target", "options"];

    pub(crate) fn read(fields: &Fields<'_>) -> Result<Self, String> {
        let options = fields.inner("options", &["allowNameChange", "allowKindChange"], |one| {
            Ok((one.flag("allowNameChange")?, one.flag("allowKindChange")?))
        })?;
        let (may_change_name, may_change_kind) = options.unwrap_or_default();
        Ok(Self {
            path: fields.text("path")?,
            text: fields.text("patch")?,
            target: fields.inner("target", SELECTOR, Fields::selector)?,
            may_change_name,
            may_change_kind,
        })
    }
}

/// What a patch turned out to be.
pub(crate) enum Content {
    Strategic(Vec<Resource>),
    Operations(Vec<Operation>),
}

/// The objects of a text: lists stand for their items, every one has kind and name.
///
/// # Errors
/// When the text is not YAML, or an object lacks kind or name.
pub(crate) fn objects(text: &str, limits: &Limits) -> Result<Vec<Resource>, Unreadable> {
    let mut nodes = std::collections::VecDeque::new();
    for (at, node) in read::documents(text, limits)?.into_iter().enumerate() {
        nodes.push_back((at + 1, node));
    }
    let mut found = Vec::new();
    while let Some((document, node)) = nodes.pop_front() {
        if node.is_empty() {
            continue;
        }
        let unreadable = |reason| Unreadable { document, reason };
        Resource::check(&node).map_err(unreadable)?;
        let is_list = node.get("kind").is_some_and(|kind| kind.raw().ends_with("List"));
        match node.get("items") {
            Some(items) if is_list && items.is_null() => {}
            Some(Node::List(items)) if is_list => {
                nodes.extend(items.iter().map(|item| (document, item.clone())));
            }
            Some(other) if is_list => {
                return Err(unreadable(format!("\"items\" is {}, expected a list", other.kind())));
            }
            _ => found.push(Resource::new(node)),
        }
    }
    Ok(found)
}

/// The operations of a JSON patch in JSON or YAML.
///
/// # Errors
/// When it is none.
pub(crate) fn operations(text: &str, limits: &Limits) -> Result<Vec<Operation>, String> {
    if text.is_empty() {
        return Err("empty json patch operations".to_owned());
    }
    let value: Json = if text.starts_with('[')
        && let Ok(value) = serde_json::from_str(text)
    {
        value
    } else if text.starts_with('[') {
        return Err("the patch begins like JSON and is none".to_owned());
    } else {
        crate::yaml::read::read(text, limits).map_err(|error| error.to_string())?
    };
    json_patch::read(&value)
}

/// Tells what a patch is.
///
/// # Errors
/// When it is neither kind, or both.
pub(crate) fn content(patch: &Patch, text: &str, limits: &Limits) -> Result<Content, String> {
    let strategic = objects(text, limits);
    let json = operations(text, limits);
    match (strategic, json) {
        (Ok(objects), Ok(operations)) if !objects.is_empty() && !operations.is_empty() => {
            Err("illegally qualifies as both an SM and JSON patch".to_owned())
        }
        (Ok(mut objects), _) => {
            for object in &mut objects {
                object.may_change_name = patch.may_change_name;
                object.may_change_kind = patch.may_change_kind;
            }
            Ok(Content::Strategic(objects))
        }
        (Err(_), Ok(operations)) => Ok(Content::Operations(operations)),
        (Err(unreadable), Err(json)) => Err(format!(
            "unable to parse SM or JSON patch: as a strategic merge patch: {}; as a JSON patch: {json}",
            unreadable.reason
        )),
    }
}

/// Applies an entry of `patches`.
///
/// # Errors
/// When the target is missing or ambiguous, or the patch does not apply.
pub(crate) fn apply(
    content: &Content,
    target: Option<&Selector>,
    collection: &mut Collection,
    schema: &Schema,
) -> Result<(), String> {
    match (content, target) {
        (Content::Strategic(patches), Some(target)) => {
            let [patch] = patches.as_slice() else {
                return match patches.len() {
                    0 => Ok(()),
                    _ => Err("multiple strategic merge patches in one entry of \"patches\" may not have a \"target\"".to_owned()),
                };
            };
            let selected = collection.select(target, schema)?;
            apply_to(&selected, patch, collection, schema)
        }
        (Content::Strategic(patches), None) => patches.iter().try_for_each(|patch| {
            let at = collection
                .only(&patch.original_id(schema), schema)
                .map_err(|reason| format!("no resource matches strategic merge patch: {reason}"))?;
            apply_one(&mut collection.all[at], patch, schema)
        }),
        (Content::Operations(_), None) => Err("must specify a target for a JSON patch".to_owned()),
        (Content::Operations(operations), Some(target)) => {
            for at in collection.select(target, schema)? {
                collection.all[at].remember(schema);
                apply_operations(&mut collection.all[at], operations)?;
            }
            Ok(())
        }
    }
}

/// Applies one strategic merge patch to several objects, drops what it deleted, and looks for names given twice.
fn apply_to(
    selected: &[usize],
    patch: &Resource,
    collection: &mut Collection,
    schema: &Schema,
) -> Result<(), String> {
    let ids: Vec<_> = selected.iter().map(|at| collection.all[*at].id(schema)).collect();
    for resource in &mut collection.all {
        let id = resource.id(schema);
        if !ids.contains(&id) {
            continue;
        }
        let mut copy = patch.clone();
        let gvk = resource.gvk();
        for field in ["labels", "annotations"] {
            copy.set_meta_texts(field, patch.meta_texts(field));
        }
        copy.node.set("apiVersion", Node::open(&gvk.api_version()));
        apply_one(resource, &copy, schema)?;
    }
    let all = std::mem::take(&mut collection.all);
    collection.append_all(all.into_iter().filter(|resource| !resource.is_gone()).collect(), schema)
}

/// Applies the patches of `patchesStrategicMerge`.
///
/// # Errors
/// When the target is missing or ambiguous, or the patch does not apply.
pub(crate) fn apply_strategic(
    patches: &[Resource],
    collection: &mut Collection,
    schema: &Schema,
) -> Result<(), String> {
    patches.iter().try_for_each(|patch| {
        let at = collection.only(&patch.original_id(schema), schema)?;
        apply_to(&[at], patch, collection, schema)
    })
}

fn apply_one(resource: &mut Resource, patch: &Resource, schema: &Schema) -> Result<(), String> {
    let (name, namespace) = (resource.name().to_owned(), resource.namespace().to_owned());
    let kind = resource.kind().to_owned();
    if patch.may_change_name || patch.may_change_kind {
        resource.remember(schema);
    }
    let target = std::mem::replace(&mut resource.node, Node::null());
    let merged = merge::merge(target, patch.node.clone(), schema)
        .map_err(|reason| format!("patch of {kind} \"{name}\": {reason}"))?;
    let Some(node) = merged.filter(|node| !node.is_empty()) else { return Ok(()) };
    resource.node = node;
    if !patch.may_change_kind {
        resource.set_kind(&kind);
    }
    if !patch.may_change_name {
        resource.set_meta("name", &name);
    }
    resource.set_namespace(&namespace);
    Ok(())
}

/// Applies the operations of `patchesJson6902`.
///
/// # Errors
/// When one does not apply.
pub(crate) fn apply_json(
    operations: &[Operation],
    target: &Selector,
    collection: &mut Collection,
    schema: &Schema,
) -> Result<(), String> {
    for at in collection.select(target, schema)? {
        apply_operations(&mut collection.all[at], operations)?;
    }
    Ok(())
}

/// Applies operations to an object as kustomize shows it to them: what it was called before stands among its
/// annotations, so that these can be removed where there are no others.
fn apply_operations(resource: &mut Resource, operations: &[Operation]) -> Result<(), String> {
    let label = |reason: String| format!("patch of {} \"{}\": {reason}", resource.kind(), resource.name());
    let mut json = resource.node.to_json().map_err(label)?;
    let history = resource.history();
    if !history.is_empty()
        && let Some(Json::Object(metadata)) = json.get_mut("metadata")
    {
        let annotations = metadata.entry("annotations").or_insert(Json::Null);
        if annotations.is_null() {
            *annotations = Json::Object(serde_json::Map::new());
        }
        if let Json::Object(annotations) = annotations {
            annotations.extend(history.into_iter().map(|(name, text)| (name.to_owned(), Json::String(text))));
        }
    }
    json_patch::apply(&mut json, operations).map_err(label)?;
    let history = resource.history();
    resource.node = Node::from_json(&json);
    let mut annotations = resource.meta_texts("annotations");
    annotations.retain(|(name, _)| !history.iter().any(|(known, _)| known == name));
    resource.set_meta_texts("annotations", annotations);
    Ok(())
}
