//! `ProviderTemplate`: a chart that installs a component of k0rdent or a Cluster API provider.

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{ChartRef, HelmSpec};
use crate::schema::{any, rules};

/// Where the chart comes from and what it brings. It cannot change.
#[derive(CustomResource, Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "k0rdent.mirantis.com",
    version = "v1beta1",
    kind = "ProviderTemplate",
    doc = "A chart that installs a component of k0rdent or a Cluster API provider.",
    status = "ProviderTemplateStatus",
    derive = "PartialEq",
    derive = "Default",
    attr = "cfg_attr(all(), serde(default))",
    shortname = "providertmpl",
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
    ("!has(self.helm.chartSource)", ".spec.helm.chartSource is not supported for ProviderTemplates"),
])))]
pub struct ProviderTemplateSpec {
    /// Provider contract versions by Cluster API contract version, several joined by underscores.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub capi_contracts: BTreeMap<String, String>,
    /// Where the chart comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub helm: Option<HelmSpec>,
    /// Cluster API providers the chart brings; the chart's annotation when absent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub providers: Vec<String>,
}

/// What was found in the chart.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ProviderTemplateStatus {
    /// Provider contract versions by Cluster API contract version.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub capi_contracts: BTreeMap<String, String>,
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
    /// The metadata.generation this status was computed from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Cluster API providers the chart brings.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub providers: Vec<String>,
    /// ConfigMap with the schema of the chart's values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema_config_map_name: Option<String>,
    /// The template can be used.
    pub valid: bool,
    /// Why the template cannot be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_error: Option<String>,
}
