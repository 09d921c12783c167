//! `Release`: the set of templates of one version of k0rdent.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema::{conditions, is_false};

/// The templates of one version.
#[derive(CustomResource, Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "k0rdent.mirantis.com",
    version = "v1beta1",
    kind = "Release",
    doc = "The set of templates of one version.",
    status = "ReleaseStatus",
    derive = "PartialEq",
    derive = "Default",
    attr = "cfg_attr(all(), serde(default))",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.ready",
        description = "All templates are valid"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp",
        description = "Time since the object was made"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseSpec {
    /// Cluster API core.
    pub capi: CoreProviderTemplate,
    /// The controllers.
    pub kcm: CoreProviderTemplate,
    /// Cluster API providers and other optional components.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub providers: Vec<NamedProviderTemplate>,
    /// The part that goes to regions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub regional: Option<CoreProviderTemplate>,
    /// The version.
    pub version: String,
}

/// A ProviderTemplate, by name.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct CoreProviderTemplate {
    /// Name of the ProviderTemplate.
    pub template: String,
}

/// A ProviderTemplate for a named component.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct NamedProviderTemplate {
    /// Name of the component.
    pub name: String,
    /// Name of the ProviderTemplate.
    pub template: String,
}

/// Whether the release can be installed.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseStatus {
    /// What is true of the release.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions")]
    pub conditions: Vec<Condition>,
    /// The metadata.generation this status was computed from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// All templates are valid.
    #[serde(default, skip_serializing_if = "is_false")]
    pub ready: bool,
}
