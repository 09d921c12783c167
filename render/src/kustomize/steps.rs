//! The transformers, whether a field of a kustomization asks for them or a configuration object.

use super::collection::Collection;
use super::fields::{Create, FieldSpec};
use super::images::Image;
use super::json_patch::Operation;
use super::names::{self, Namespace};
use super::node::{Node, Tag};
use super::patch::{self, Content};
use super::replacement::Replacement;
use super::resource::Resource;
use super::schema::Schema;
use super::selector::Selector;
use super::sort::SortOptions;
use super::value_add::ValueAdd;

/// One change to all objects of a layer.
pub(crate) enum Step {
    Strategic(Vec<Resource>),
    Patch { content: Content, target: Option<Selector> },
    Namespace { namespace: Namespace, specs: Vec<FieldSpec> },
    Affix { text: String, is_prefix: bool, specs: Vec<FieldSpec> },
    Labels { pairs: Vec<(String, String)>, specs: Vec<FieldSpec> },
    Annotations { pairs: Vec<(String, String)>, specs: Vec<FieldSpec> },
    Json { operations: Vec<Operation>, target: Selector },
    Replicas { name: String, count: i64, specs: Vec<FieldSpec> },
    Image { image: Image, specs: Vec<FieldSpec> },
    Replacements(Vec<Replacement>),
    ValueAdd(ValueAdd),
    Sort(SortOptions),
    Hash,
}

impl Step {
    /// The field of a kustomization that asks for it.
    pub(crate) fn field(&self) -> &'static str {
        match self {
            Self::Strategic(_) => "patchesStrategicMerge",
            Self::Patch { .. } => "patches",
            Self::Namespace { .. } => "namespace",
            Self::Affix { is_prefix: true, .. } => "namePrefix",
            Self::Affix { is_prefix: false, .. } => "nameSuffix",
            Self::Labels { .. } => "labels",
            Self::Annotations { .. } => "commonAnnotations",
            Self::Json { .. } => "patchesJson6902",
            Self::Replicas { .. } => "replicas",
            Self::Image { .. } => "images",
            Self::Replacements(_) => "replacements",
            Self::ValueAdd(_) => "transformers",
            Self::Sort(_) => "sortOptions",
            Self::Hash => "transformers",
        }
    }

    /// kustomize's name for it.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Strategic(_) => "PatchStrategicMergeTransformer",
            Self::Patch { .. } => "PatchTransformer",
            Self::Namespace { .. } => "NamespaceTransformer",
            Self::Affix { is_prefix: true, .. } => "PrefixTransformer",
            Self::Affix { is_prefix: false, .. } => "SuffixTransformer",
            Self::Labels { .. } => "LabelTransformer",
            Self::Annotations { .. } => "AnnotationsTransformer",
            Self::Json { .. } => "PatchJson6902Transformer",
            Self::Replicas { .. } => "ReplicaCountTransformer",
            Self::Image { .. } => "ImageTagTransformer",
            Self::Replacements(_) => "ReplacementTransformer",
            Self::ValueAdd(_) => "ValueAddTransformer",
            Self::Sort(_) => "SortOrderTransformer",
            Self::Hash => "HashTransformer",
        }
    }

    /// Changes the objects.
    ///
    /// # Errors
    /// When it does not apply to them.
    pub(crate) fn apply(&self, collection: &mut Collection, schema: &Schema) -> Result<(), String> {
        match self {
            Self::Strategic(patches) => patch::apply_strategic(patches, collection, schema),
            Self::Patch { content, target } => patch::apply(content, target.as_ref(), collection, schema),
            Self::Namespace { namespace, specs } => namespace.apply(collection, specs, schema),
            Self::Affix { text, is_prefix, specs } => {
                names::affix(collection, text, *is_prefix, specs, schema)
            }
            Self::Labels { pairs, specs } | Self::Annotations { pairs, specs } => {
                mark(collection, pairs, specs)
            }
            Self::Json { operations, target } => patch::apply_json(operations, target, collection, schema),
            Self::Replicas { name, count, specs } => replicas(collection, name, *count, specs, schema),
            Self::Image { image, specs } => image.apply(collection, specs),
            Self::Replacements(all) => all.iter().try_for_each(|one| one.apply(collection, schema)),
            Self::ValueAdd(add) => add.apply(collection, schema),
            Self::Sort(options) => options.apply(collection, schema),
            Self::Hash => names::hash(collection, schema),
        }
    }
}

/// Sets labels or annotations in the fields given.
fn mark(collection: &mut Collection, pairs: &[(String, String)], specs: &[FieldSpec]) -> Result<(), String> {
    let mut pairs = pairs.to_vec();
    pairs.sort();
    for resource in &mut collection.all {
        for (key, value) in &pairs {
            for spec in specs {
                spec.edit(resource, Create::Map, &mut |node| {
                    if !node.is_map() && !node.is_null() {
                        return Err(format!(
                            "expected a map of labels or annotations, found {}",
                            node.kind()
                        ));
                    }
                    node.put(key, Node::text(value));
                    Ok(())
                })?;
            }
        }
    }
    Ok(())
}

fn replicas(
    collection: &mut Collection,
    name: &str,
    count: i64,
    specs: &[FieldSpec],
    schema: &Schema,
) -> Result<(), String> {
    let mut found = false;
    for spec in specs {
        for at in collection.by_any_id(schema, |id| id.name == name && id.gvk.is_selected(&spec.gvk)) {
            found = true;
            let mut write = |node: &mut Node| node.set_scalar(&count.to_string(), Tag::Int);
            spec.edit(&mut collection.all[at], Create::Scalar(Tag::Int), &mut write)?;
        }
    }
    if found {
        return Ok(());
    }
    let kinds: Vec<String> = specs.iter().map(|spec| spec.gvk.to_string()).collect();
    Err(format!(
        "resource with name {name} does not match a config with the following GVK {}",
        kinds.join(" ")
    ))
}
