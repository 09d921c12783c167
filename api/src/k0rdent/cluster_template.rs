//! `ClusterTemplate`: a chart that makes a cluster.

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{ChartRef, HelmSpec};
use crate::schema::{any, rules};

/// Where the chart comes from and what it needs. It cannot change: make a new template for a new version.
#[derive(CustomResource, Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "k0rdent.mirantis.com",
    version = "v1beta1",
    kind = "ClusterTemplate",
    doc = "A chart that makes a cluster.",
    namespaced,
    status = "ClusterTemplateStatus",
    derive = "PartialEq",
    derive = "Default",
    attr = "cfg_attr(all(), serde(default))",
    shortname = "clustertmpl",
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
    ("!has(self.helm.chartSource)", ".spec.helm.chartSource is not supported for ClusterTemplates"),
])))]
pub struct ClusterTemplateSpec {
    /// Where the chart comes from.
    pub helm: HelmSpec,
    /// Kubernetes version of the clusters; the chart's annotation when absent.
    #[serde(default, rename = "k8sVersion", skip_serializing_if = "Option::is_none")]
    pub k8s_version: Option<String>,
    /// Contract versions the chart needs, by provider; the chart's annotations when absent.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub provider_contracts: BTreeMap<String, String>,
    /// Cluster API providers the chart needs; the chart's annotation when absent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub providers: Vec<String>,
}

/// What was found in the chart.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ClusterTemplateStatus {
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
    /// Kubernetes version of the clusters.
    #[serde(default, rename = "k8sVersion", skip_serializing_if = "Option::is_none")]
    pub k8s_version: Option<String>,
    /// The metadata.generation this status was computed from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Contract versions the chart needs, by provider.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub provider_contracts: BTreeMap<String, String>,
    /// Cluster API providers the chart needs.
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
