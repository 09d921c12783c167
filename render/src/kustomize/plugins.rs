//! Objects of the fields `transformers`, `generators` and `validators`: the kinds that kustomize has built in.

use serde_json::Value as Json;

use super::build::Layer;
use super::error::KustomizeError;
use super::fields::FieldSpec;
use super::generate::Generator;
use super::images::Image;
use super::input::{Fields, Rules, SELECTOR};
use super::names::{Namespace, Subjects};
use super::patch::{self, Patch};
use super::replacement;
use super::resource::Resource;
use super::sort::SortOptions;
use super::steps::Step;
use super::value_add::ValueAdd;

const RULES: Rules = Rules { strict: false, coerce: true };

/// A configuration object read as a map of fields.
fn fields(json: &Json) -> Result<Fields<'_>, String> {
    Fields::of(json, "", RULES, &[])
}

/// Refuses what is not built in.
fn check(layer: &Layer<'_, '_>, resource: &Resource) -> Result<(), KustomizeError> {
    if resource.api_version() == "builtin" {
        return Ok(());
    }
    Err(KustomizeError::Unsupported {
        file: layer.file(),
        what: format!("the plugin {} \"{}\"", resource.kind(), resource.name()),
        cure: "only plugins of apiVersion \"builtin\" run here, no programs and containers",
    })
}

fn unknown(layer: &Layer<'_, '_>, resource: &Resource) -> KustomizeError {
    KustomizeError::Unsupported {
        file: layer.file(),
        what: format!("the built-in plugin \"{}\"", resource.kind()),
        cure: "see the list of built-in transformers and generators of kustomize",
    }
}

/// The generator that an object configures: whether it makes Secrets, and what.
pub(crate) fn generator(
    layer: &Layer<'_, '_>,
    resource: &Resource,
) -> Result<(bool, Generator), KustomizeError> {
    check(layer, resource)?;
    let is_secret = match resource.kind() {
        "ConfigMapGenerator" => false,
        "SecretGenerator" => true,
        "HelmChartInflationGenerator" => return Err(layer.charts()),
        _ => return Err(unknown(layer, resource)),
    };
    let read = || -> Result<Generator, String> {
        let json = resource.node.to_json()?;
        let mut made = Generator::read(&fields(&json)?, None)?;
        if made.name.is_empty() {
            resource.name().clone_into(&mut made.name);
        }
        if made.namespace.is_empty() {
            resource.namespace().clone_into(&mut made.namespace);
        }
        Ok(made)
    };
    let made =
        read().map_err(|reason| layer.refuse("generators", format!("{}: {reason}", resource.name())))?;
    Ok((is_secret, made))
}

/// The transformer that an object configures.
pub(crate) fn transformer(layer: &Layer<'_, '_>, resource: &Resource) -> Result<Step, KustomizeError> {
    check(layer, resource)?;
    let place = |reason: String| layer.refuse("transformers", format!("{}: {reason}", resource.name()));
    let json = resource.node.to_json().map_err(place)?;
    let fields = fields(&json).map_err(place)?;
    let specs = || fields.field_specs("fieldSpecs");
    let step = match resource.kind() {
        "NamespaceTransformer" => namespace(&fields).map_err(place)?,
        "PrefixTransformer" => affix(&fields, true).map_err(place)?,
        "SuffixTransformer" => affix(&fields, false).map_err(place)?,
        "LabelTransformer" => {
            Step::Labels { pairs: fields.text_map("labels").map_err(place)?, specs: specs().map_err(place)? }
        }
        "AnnotationsTransformer" => Step::Annotations {
            pairs: fields.text_map("annotations").map_err(place)?,
            specs: specs().map_err(place)?,
        },
        "ImageTagTransformer" => {
            let image =
                fields.inner("imageTag", Image::FIELDS, Image::read).map_err(place)?.unwrap_or_default();
            Step::Image { image, specs: specs().map_err(place)? }
        }
        "ReplicaCountTransformer" => replicas(&fields).map_err(place)?,
        "PatchTransformer" => {
            let read = Patch::read(&fields).map_err(place)?;
            layer.patch_step(&read, "transformers")?
        }
        "PatchJson6902Transformer" => json_patch(layer, &fields)?,
        "PatchStrategicMergeTransformer" => strategic(layer, &fields)?,
        "ReplacementTransformer" => {
            let sources = replacement::sources(&fields).map_err(place)?;
            Step::Replacements(layer.replacements(&sources)?)
        }
        "SortOrderTransformer" => {
            let options =
                fields.inner("sortOptions", SortOptions::FIELDS, SortOptions::read).map_err(place)?;
            Step::Sort(options.unwrap_or(SortOptions { order: "fifo".to_owned(), legacy: None }))
        }
        "ValueAddTransformer" => value_add(layer, &fields)?,
        "HashTransformer" => Step::Hash,
        _ => return Err(unknown(layer, resource)),
    };
    Ok(step)
}

fn namespace(fields: &Fields<'_>) -> Result<Step, String> {
    let name = fields.inner("metadata", &[], |one| one.text("namespace"))?.unwrap_or_default();
    let subjects = match fields.text("setRoleBindingSubjects")?.as_str() {
        "" | "defaultOnly" => Subjects::NamedDefault,
        "allServiceAccounts" => Subjects::ServiceAccounts,
        "none" => Subjects::Nobody,
        other => {
            return Err(format!(
                "invalid value \"{other}\" for setRoleBindingSubjects: must be one of \"defaultOnly\", \"none\" or \"allServiceAccounts\""
            ));
        }
    };
    let namespace = Namespace { name, unset_only: fields.flag("unsetOnly")?, subjects };
    Ok(Step::Namespace { namespace, specs: fields.field_specs("fieldSpecs")? })
}

fn affix(fields: &Fields<'_>, is_prefix: bool) -> Result<Step, String> {
    let specs: Vec<FieldSpec> = fields.field_specs("fieldSpecs")?;
    if fields.value("fieldSpecs").is_none() {
        return Err("fieldSpecs is not expected to be nil".to_owned());
    }
    Ok(Step::Affix { text: fields.text(if is_prefix { "prefix" } else { "suffix" })?, is_prefix, specs })
}

fn replicas(fields: &Fields<'_>) -> Result<Step, String> {
    let read = |one: &Fields<'_>| -> Result<(String, i64), String> {
        Ok((one.text("name")?, one.integer("count")?))
    };
    let (name, count) = fields.inner("replica", &["name", "count"], read)?.unwrap_or_default();
    Ok(Step::Replicas { name, count, specs: fields.field_specs("fieldSpecs")? })
}

fn json_patch(layer: &Layer<'_, '_>, fields: &Fields<'_>) -> Result<Step, KustomizeError> {
    let place = |reason: String| layer.refuse("transformers", reason);
    let patch = Patch {
        path: fields.text("path").map_err(place)?,
        text: fields.text("jsonOp").map_err(place)?,
        target: fields.inner("target", SELECTOR, Fields::selector).map_err(place)?,
        ..Patch::default()
    };
    layer.json_step(&patch, "transformers")
}

fn strategic(layer: &Layer<'_, '_>, fields: &Fields<'_>) -> Result<Step, KustomizeError> {
    let place = |reason: String| layer.refuse("transformers", reason);
    let mut all = layer.strategic_patches(&fields.texts("paths").map_err(place)?)?;
    let text = fields.text("patches").map_err(place)?;
    let inline = patch::objects(&text, layer.limits());
    all.extend(
        inline.map_err(|error| place(format!("patches: document {}: {}", error.document, error.reason)))?,
    );
    if all.is_empty() {
        return Err(place("the patch appears to be empty: give \"paths\" or \"patches\"".to_owned()));
    }
    Ok(Step::Strategic(all))
}

fn value_add(layer: &Layer<'_, '_>, fields: &Fields<'_>) -> Result<Step, KustomizeError> {
    let place = |reason: String| layer.refuse("transformers", reason);
    let mut value = fields.text("value").map_err(place)?.trim().to_owned();
    if value.is_empty() {
        value = layer.folder_name();
    }
    let mut targets = ValueAdd::targets(fields).map_err(place)?;
    let path = fields.text("targetFilePath").map_err(place)?;
    if !path.is_empty() {
        let json = layer.yaml(&path)?;
        let more = self::fields(&json).and_then(|fields| ValueAdd::targets(&fields));
        targets.extend(more.map_err(place)?);
    }
    if targets.is_empty() {
        return Err(place("must specify at least one target".to_owned()));
    }
    Ok(Step::ValueAdd(ValueAdd { value, targets }))
}
