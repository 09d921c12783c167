//! `ServiceTemplate`: a chart, a Kustomize folder or manifests that make a service.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{ChartRef, HelmOptions, HelmSpec, SourceSpec};
use crate::schema::{any, conditions, rules};

const ONE_CONTENT: &str = "Helm, Kustomize and Resources are mutually exclusive.";

/// Where the content comes from: exactly one of helm, kustomize and resources. It cannot change.
#[derive(CustomResource, Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "k0rdent.mirantis.com",
    version = "v1beta1",
    kind = "ServiceTemplate",
    doc = "A chart, a Kustomize folder or manifests that make a service.",
    namespaced,
    status = "ServiceTemplateStatus",
    derive = "PartialEq",
    derive = "Default",
    attr = "cfg_attr(all(), serde(default))",
    shortname = "svctmpl",
    printcolumn(
        name = "valid",
        type_ = "boolean",
        json_path = ".status.valid",
        description = "The template can be used"
    ),
    printcolumn(
        name = "validationError",
        type_ = "string",
        json_path = ".status.validationError",
        priority = 1,
        description = "Why it cannot be used"
    ),
    printcolumn(
        name = "description",
        type_ = "string",
        json_path = ".status.description",
        priority = 1,
        description = "The chart's description"
    )
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules(&[
    ("self == oldSelf", "Spec is immutable"),
    ("has(self.helm) ? (!has(self.kustomize) && !has(self.resources)): true", ONE_CONTENT),
    ("has(self.kustomize) ? (!has(self.helm) && !has(self.resources)): true", ONE_CONTENT),
    ("has(self.resources) ? (!has(self.kustomize) && !has(self.helm)): true", ONE_CONTENT),
    (
        "has(self.helm) || has(self.kustomize) || has(self.resources)",
        "One of Helm, Kustomize, or Resources must be specified.",
    ),
])))]
pub struct ServiceTemplateSpec {
    /// A Helm chart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub helm: Option<HelmSpec>,
    /// Helm options of every service made from the template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub helm_options: Option<HelmOptions>,
    /// Kubernetes versions the service works with, as a constraint on semantic versions.
    #[serde(default, rename = "k8sConstraint", skip_serializing_if = "Option::is_none")]
    pub k8s_constraint: Option<String>,
    /// A Kustomize folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kustomize: Option<SourceSpec>,
    /// Plain manifests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<SourceSpec>,
    /// The version of the service, for template chains.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// What was found in the content.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ServiceTemplateStatus {
    /// The object that serves the chart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chart_ref: Option<ChartRef>,
    /// The chart's version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chart_version: Option<String>,
    /// The chart's default values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "any")]
    pub config: Option<Value>,
    /// The chart's description.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Kubernetes versions the service works with.
    #[serde(default, rename = "k8sConstraint", skip_serializing_if = "Option::is_none")]
    pub k8s_constraint: Option<String>,
    /// The metadata.generation this status was computed from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// ConfigMap with the schema of the chart's values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema_config_map_name: Option<String>,
    /// The source the content was taken from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_status: Option<SourceStatus>,
    /// The template can be used.
    pub valid: bool,
    /// Why the template cannot be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_error: Option<String>,
}

/// The source a template's content was taken from.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct SourceStatus {
    /// The content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact: Option<Artifact>,
    /// What is true of the source.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions")]
    pub conditions: Vec<Condition>,
    /// Kind of the source.
    pub kind: String,
    /// Name of the source.
    pub name: String,
    /// Namespace of the source.
    pub namespace: String,
    /// The metadata.generation of the source that was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

/// A Flux artifact: fetched content, by digest.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Artifact {
    /// Digest of the content, as algorithm:hex.
    #[schemars(regex(pattern = "^[a-z0-9]+(?:[.+_-][a-z0-9]+)*:[a-zA-Z0-9=_-]+$"))]
    pub digest: String,
    /// When the content was fetched.
    pub last_update_time: Time,
    /// What the source says about the content.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// Where the content is kept.
    pub path: String,
    /// The source's name for the content, such as a commit or a chart version.
    pub revision: String,
    /// Size of the content in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<i64>,
    /// Where the content is served.
    pub url: String,
}
