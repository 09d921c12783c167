//! CustomResourceDefinitions from the Rust types.
//!
//! `schemars` and `kube` give a JSON schema; [`polish`] makes it the schema an API server shall see: no
//! `nullable` (Go's optional fields are absent, not null), no empty defaults, no formats Kubernetes does not know,
//! descriptions as running text, and the fields marked with [`crate::schema::REQUIRED`] required.

use std::collections::BTreeMap;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, CustomResourceSubresourceStatus, CustomResourceSubresources,
    CustomResourceValidation, JSONSchemaProps,
};
use kube::CustomResourceExt;
use kube::core::schema::{OptionalEnum, OptionalIntOrString, StructuralSchemaRewriter};
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use schemars::transform::AddNullable;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use crate::schema::REQUIRED;
use crate::{k0rdent, skein};

/// Every CRD of this crate, sorted by name.
pub fn all_crds() -> Vec<CustomResourceDefinition> {
    let mut crds = k0rdent_crds();
    crds.extend(skein_crds());
    crds.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
    crds
}

/// The 22 CRDs of `k0rdent.mirantis.com`.
pub fn k0rdent_crds() -> Vec<CustomResourceDefinition> {
    let mut crds = vec![
        crd::<k0rdent::AccessManagement>(),
        crd::<k0rdent::ClusterAuditPolicy>(),
        with_status_subresource(crd::<k0rdent::ClusterAuthentication>()),
        crd::<k0rdent::ClusterDataSource>(),
        crd::<k0rdent::ClusterDeployment>(),
        crd::<k0rdent::ClusterIPAM>(),
        crd::<k0rdent::ClusterIPAMClaim>(),
        crd::<k0rdent::ClusterTemplate>(),
        crd::<k0rdent::ClusterTemplateChain>(),
        crd::<k0rdent::Credential>(),
        crd::<k0rdent::DataSource>(),
        crd::<k0rdent::Management>(),
        crd::<k0rdent::ManagementBackup>(),
        crd::<k0rdent::MultiClusterService>(),
        with_status_subresource(crd::<k0rdent::ProviderInterface>()),
        crd::<k0rdent::ProviderTemplate>(),
        crd::<k0rdent::Region>(),
        crd::<k0rdent::Release>(),
        crd::<k0rdent::ServiceSet>(),
        crd::<k0rdent::ServiceTemplate>(),
        crd::<k0rdent::ServiceTemplateChain>(),
        crd::<k0rdent::StateManagementProvider>(),
    ];
    for crd in &mut crds {
        annotate(crd, "helm.sh/resource-policy", "keep");
    }
    crds
}

/// The CRDs of `skein.dev`.
pub fn skein_crds() -> Vec<CustomResourceDefinition> {
    let mut control_plane = crd::<skein::HostedControlPlane>();
    // How Cluster API finds out which of its contracts a version of this kind follows.
    let contracts = ["v1beta1", "v1beta2"]
        .map(|contract| (format!("cluster.x-k8s.io/{contract}"), "v1alpha1".to_owned()));
    control_plane.metadata.labels = Some(BTreeMap::from(contracts));
    let mut crds =
        vec![crd::<skein::Edge>(), control_plane, crd::<skein::JoinToken>(), crd::<skein::PriceBook>()];
    for crd in &mut crds {
        annotate(crd, "helm.sh/resource-policy", "keep");
    }
    crds
}

/// Sets an annotation on the definition. `kube`'s own attribute would put it on every new object as well.
fn annotate(crd: &mut CustomResourceDefinition, key: &str, value: &str) {
    crd.metadata.annotations.get_or_insert_default().insert(key.to_owned(), value.to_owned());
}

/// For kinds that have the subresource although their schema has no `status`.
fn with_status_subresource(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    for version in &mut crd.spec.versions {
        version.subresources = Some(CustomResourceSubresources {
            scale: None,
            status: Some(CustomResourceSubresourceStatus(Value::Object(Map::new()))),
        });
    }
    crd
}

fn crd<K: CustomResourceExt + JsonSchema>() -> CustomResourceDefinition {
    let mut crd = K::crd();
    crd.spec.names.list_kind = Some(format!("{}List", crd.spec.names.kind));
    let generator = SchemaSettings::openapi3()
        .with(|settings| {
            settings.inline_subschemas = true;
            settings.meta_schema = None;
        })
        .with_transform(AddNullable::default())
        .with_transform(StructuralSchemaRewriter)
        .with_transform(OptionalEnum)
        .with_transform(OptionalIntOrString)
        .into_generator();
    let mut schema = generator.into_root_schema_for::<K>().to_value();
    polish(&mut schema);
    if let Some(spec) = schema.pointer_mut("/properties/spec").and_then(Value::as_object_mut) {
        // An absent spec decodes to an empty one; the API server shall not write that down.
        spec.remove("default");
    }
    let schema: JSONSchemaProps = serde_json::from_value(schema)
        .expect("the schema of a custom resource is made of keywords JSONSchemaProps has");
    for version in &mut crd.spec.versions {
        version.schema = Some(CustomResourceValidation { open_api_v3_schema: Some(schema.clone()) });
    }
    crd
}

/// Makes a derived schema the one an API server shall see.
fn polish(schema: &mut Value) {
    let Some(object) = schema.as_object_mut() else { return };
    object.remove("nullable");
    object.remove("title");
    if object.get("default").is_some_and(is_empty) {
        object.remove("default");
    }
    if object.get("format").and_then(Value::as_str).is_some_and(|format| format.starts_with("uint")) {
        object.remove("format");
    }
    if let Some(Value::String(description)) = object.get_mut("description") {
        *description = running_text(description);
    }
    for key in ["items", "additionalProperties"] {
        if let Some(inner) = object.get_mut(key) {
            polish(inner);
        }
    }
    let mut required: Vec<Value> = Vec::new();
    if let Some(Value::Object(properties)) = object.get_mut("properties") {
        for (name, property) in properties {
            if property.as_object_mut().and_then(|property| property.remove(REQUIRED)).is_some() {
                required.push(name.clone().into());
            }
            polish(property);
        }
    }
    if let Some(Value::Array(already)) = object.get("required") {
        required.extend(already.iter().cloned());
    }
    if !required.is_empty() {
        required.sort_by(|a, b| a.as_str().cmp(&b.as_str()));
        object.insert("required".to_owned(), required.into());
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// Joins the lines of a doc comment; an empty line stays a paragraph.
fn running_text(text: &str) -> String {
    let paragraphs: Vec<String> = text
        .split("\n\n")
        .map(|paragraph| paragraph.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    paragraphs.join("\n\n").replace('`', "").replace("[super::", "[").replace(['[', ']'], "")
}

/// The text of the file that holds a CRD under `deploy/crds/`.
///
/// # Errors
/// Fails only where a CRD cannot be written as YAML, which none of [`all_crds`] is.
pub fn to_yaml(crd: &CustomResourceDefinition) -> Result<String, serde_saphyr::ser::Error> {
    let json = serde_json::to_value(crd).unwrap_or_default();
    let yaml = serde_saphyr::to_string(&Sorted(&json))?;
    Ok(format!("# Generated from api/src. Change it there, then: SKEIN_BLESS=1 cargo test -p api\n{yaml}"))
}

/// A value whose fields are written in the order of their names, whatever order `serde_json` is built to keep.
struct Sorted<'a>(&'a Value);

impl Serialize for Sorted<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Array(items) => serializer.collect_seq(items.iter().map(Sorted)),
            Value::Object(fields) => {
                let fields: BTreeMap<_, _> =
                    fields.iter().map(|(name, value)| (name, Sorted(value))).collect();
                serializer.collect_map(fields)
            }
            scalar @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => {
                scalar.serialize(serializer)
            }
        }
    }
}
