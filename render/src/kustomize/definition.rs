//! What a kustomization file says.

use serde_json::Value as Json;

use super::config::{Config, NameReference};
use super::fields::FieldSpec;
use super::generate::{Generator, GeneratorOptions};
use super::identity::Gvk;
use super::images::Image;
use super::input::{Fields, Rules};
use super::patch::Patch;
use super::replacement::{self, ReplacementSource};
use super::sort::SortOptions;
use super::variables::Variable;

/// Labels and where they go.
#[derive(Clone, Debug, Default)]
pub(crate) struct Labels {
    pub pairs: Vec<(String, String)>,
    pub selectors: bool,
    pub templates: bool,
    pub fields: Vec<FieldSpec>,
}

/// What a kustomization file says.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kustomization {
    pub is_component: bool,
    pub openapi: Vec<(String, String)>,
    pub name_prefix: String,
    pub name_suffix: String,
    pub namespace: String,
    pub common_labels: Vec<(String, String)>,
    pub labels: Vec<Labels>,
    pub common_annotations: Vec<(String, String)>,
    pub patches_strategic: Vec<String>,
    pub patches_json: Vec<Patch>,
    pub patches: Vec<Patch>,
    pub images: Vec<Image>,
    pub replacements: Vec<ReplacementSource>,
    pub replicas: Vec<(String, i64)>,
    pub variables: Vec<Variable>,
    pub sort: Option<SortOptions>,
    pub resources: Vec<String>,
    pub components: Vec<String>,
    pub crds: Vec<String>,
    pub config_maps: Vec<Generator>,
    pub secrets: Vec<Generator>,
    pub charts: bool,
    pub configurations: Vec<String>,
    pub generators: Vec<String>,
    pub transformers: Vec<String>,
    pub validators: Vec<String>,
    pub metadata: Vec<String>,
}

/// Every field of a kustomization.
const FIELDS: &[&str] = &[
    "apiVersion",
    "kind",
    "metadata",
    "openapi",
    "namePrefix",
    "nameSuffix",
    "namespace",
    "commonLabels",
    "labels",
    "commonAnnotations",
    "patchesStrategicMerge",
    "patchesJson6902",
    "patches",
    "images",
    "imageTags",
    "replacements",
    "replicas",
    "vars",
    "sortOptions",
    "resources",
    "components",
    "crds",
    "bases",
    "configMapGenerator",
    "secretGenerator",
    "helmGlobals",
    "helmCharts",
    "helmChartInflationGenerator",
    "generatorOptions",
    "configurations",
    "generators",
    "transformers",
    "validators",
    "buildMetadata",
];

const STRICT: Rules = Rules { strict: true, coerce: false };

/// Reads a kustomization.
///
/// # Errors
/// When a field is unknown or of the wrong type, or kind and version do not fit.
pub(crate) fn kustomization(value: &Json) -> Result<Kustomization, String> {
    let fields = Fields::of(value, "", STRICT, FIELDS)?;
    fields.inner("metadata", &["name", "namespace", "labels", "annotations"], |_| Ok(()))?;
    if !FIELDS[2..].iter().any(|name| fields.value(name).is_some_and(says_something)) {
        return Err("the kustomization is empty: it names nothing to build".to_owned());
    }
    let is_component = check_type(&fields)?;
    let options = fields.inner("generatorOptions", GeneratorOptions::FIELDS, GeneratorOptions::read)?;
    let generators = |name: &str| -> Result<Vec<Generator>, String> {
        fields.each(name, Generator::FIELDS, |fields| Generator::read(fields, options.as_ref()))
    };
    let mut resources = fields.texts("resources")?;
    resources.extend(fields.texts("bases")?);
    let mut images = fields.each("images", Image::FIELDS, Image::read)?;
    images.extend(fields.each("imageTags", Image::FIELDS, Image::read)?);
    let listed = |name: &str| fields.list(name).map(|list| !list.is_empty());
    Ok(Kustomization {
        is_component,
        openapi: fields.text_map("openapi")?,
        name_prefix: fields.text("namePrefix")?,
        name_suffix: fields.text("nameSuffix")?,
        namespace: fields.text("namespace")?,
        common_labels: fields.text_map("commonLabels")?,
        labels: labels(&fields)?,
        common_annotations: fields.text_map("commonAnnotations")?,
        patches_strategic: fields.texts("patchesStrategicMerge")?,
        patches_json: fields.each("patchesJson6902", Patch::FIELDS, Patch::read)?,
        patches: fields.each("patches", Patch::FIELDS, Patch::read)?,
        images,
        replacements: replacement::sources(&fields)?,
        replicas: fields
            .each("replicas", &["name", "count"], |one| Ok((one.text("name")?, one.integer("count")?)))?,
        variables: fields.each("vars", Variable::FIELDS, Variable::read)?,
        sort: fields.inner("sortOptions", SortOptions::FIELDS, SortOptions::read)?,
        resources,
        components: fields.texts("components")?,
        crds: fields.texts("crds")?,
        config_maps: generators("configMapGenerator")?,
        secrets: generators("secretGenerator")?,
        charts: listed("helmCharts")? || listed("helmChartInflationGenerator")?,
        configurations: fields.texts("configurations")?,
        generators: fields.texts("generators")?,
        transformers: fields.texts("transformers")?,
        validators: fields.texts("validators")?,
        metadata: fields.texts("buildMetadata")?,
    })
}

/// Whether a field's value differs from its absence.
fn says_something(value: &Json) -> bool {
    match value {
        Json::String(text) => !text.is_empty(),
        Json::Null => false,
        Json::Bool(_) | Json::Number(_) | Json::Array(_) | Json::Object(_) => true,
    }
}

fn check_type(fields: &Fields<'_>) -> Result<bool, String> {
    let (kind, version) = (fields.text("kind")?, fields.text("apiVersion")?);
    let wanted = match kind.as_str() {
        "" | "Kustomization" => "kustomize.config.k8s.io/v1beta1",
        "Component" => "kustomize.config.k8s.io/v1alpha1",
        other => return Err(format!("\"kind\" is \"{other}\", it should be Kustomization or Component")),
    };
    if !version.is_empty() && version != wanted {
        let kind = if kind.is_empty() { "Kustomization" } else { kind.as_str() };
        return Err(format!("\"apiVersion\" is \"{version}\", for a {kind} it should be {wanted}"));
    }
    Ok(kind == "Component")
}

fn labels(fields: &Fields<'_>) -> Result<Vec<Labels>, String> {
    fields.each("labels", &["pairs", "includeSelectors", "includeTemplates", "fields"], |one| {
        Ok(Labels {
            pairs: one.text_map("pairs")?,
            selectors: one.flag("includeSelectors")?,
            templates: one.flag("includeTemplates")?,
            fields: one.field_specs("fields")?,
        })
    })
}

/// Reads a file of `configurations`.
///
/// # Errors
/// When a field is unknown or of the wrong type.
pub(crate) fn configuration(value: &Json) -> Result<Config, String> {
    const SECTIONS: &[&str] = &[
        "namePrefix",
        "nameSuffix",
        "namespace",
        "commonLabels",
        "labels",
        "templateLabels",
        "commonAnnotations",
        "nameReference",
        "varReference",
        "images",
        "replicas",
    ];
    let fields = Fields::of(value, "", Rules { strict: true, coerce: true }, SECTIONS)?;
    let reference = |one: &Fields<'_>| -> Result<NameReference, String> {
        Ok(NameReference { gvk: one.gvk()?, fields: one.field_specs("fieldSpecs")? })
    };
    let mut config = Config {
        name_prefix: fields.field_specs("namePrefix")?,
        name_suffix: fields.field_specs("nameSuffix")?,
        namespace: fields.field_specs("namespace")?,
        common_labels: fields.field_specs("commonLabels")?,
        labels: fields.field_specs("labels")?,
        template_labels: fields.field_specs("templateLabels")?,
        common_annotations: fields.field_specs("commonAnnotations")?,
        name_references: fields.each(
            "nameReference",
            &["group", "version", "kind", "fieldSpecs"],
            reference,
        )?,
        variable_references: fields.field_specs("varReference")?,
        images: fields.field_specs("images")?,
        replicas: fields.field_specs("replicas")?,
    };
    config.sort();
    Ok(config)
}

/// Reads a file of `crds`: what the schemas of kinds say of labels, annotations, names and references.
///
/// # Errors
/// When it is no map of definitions.
pub(crate) fn crds(value: &Json) -> Result<Config, String> {
    let Json::Object(definitions) = value else {
        return Err("expected a map of OpenAPI definitions".to_owned());
    };
    let mut config = Config::default();
    for (name, definition) in definitions {
        let properties =
            definition.pointer("/Schema/properties").or_else(|| definition.pointer("/schema/properties"));
        let has = |field: &str| properties.is_some_and(|properties| properties.get(field).is_some());
        if has("kind") && has("apiVersion") && has("metadata") {
            let kind = name.rsplit('.').next().unwrap_or_default();
            let gvk = Gvk { kind: kind.to_owned(), ..Gvk::default() };
            crd_fields(&mut config, &gvk, value, name, &[])?;
        }
    }
    config.sort();
    Ok(config)
}

fn crd_fields(config: &mut Config, gvk: &Gvk, all: &Json, name: &str, path: &[&str]) -> Result<(), String> {
    if path.len() > 64 {
        return Err(format!("the definitions of \"{name}\" refer to each other without end"));
    }
    let definition = all.get(name);
    let schema = definition.and_then(|found| found.get("Schema").or_else(|| found.get("schema")));
    let Some(Json::Object(properties)) = schema.and_then(|schema| schema.get("properties")) else {
        return Ok(());
    };
    for (field, property) in properties {
        let mut path = path.to_vec();
        path.push(field);
        let spec = |path: &[&str]| FieldSpec { gvk: gvk.clone(), path: path.join("/"), create: false };
        let text = |name: &str| property.get(name).and_then(Json::as_str);
        if text("x-kubernetes-annotation").is_some() {
            super::config::merge_one(&mut config.common_annotations, &spec(&path))?;
        }
        if text("x-kubernetes-label-selector").is_some() {
            super::config::merge_one(&mut config.common_labels, &spec(&path))?;
        }
        if text("x-kubernetes-identity").is_some() {
            super::config::merge_one(&mut config.name_prefix, &spec(&path))?;
        }
        if let (Some(version), Some(kind)) =
            (text("x-kubernetes-object-ref-api-version"), text("x-kubernetes-object-ref-kind"))
        {
            let mut path = path.clone();
            path.push(text("x-kubernetes-object-ref-name-key").unwrap_or("name"));
            let target = Gvk { group: String::new(), version: version.to_owned(), kind: kind.to_owned() };
            let reference = NameReference { gvk: target, fields: vec![spec(&path)] };
            config.merge(&Config { name_references: vec![reference], ..Config::default() })?;
        }
        if let Some(target) = text("$ref") {
            crd_fields(config, gvk, all, target, &path)?;
        }
    }
    Ok(())
}
