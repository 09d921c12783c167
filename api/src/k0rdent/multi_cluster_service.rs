//! `MultiClusterService`: services on every cluster that a selector matches.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector, Time};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ServiceSpec, ServiceState, ServiceUpgradePaths};
use crate::schema::{conditions, label_selector};
use crate::skein::{RolloutSpec, RolloutStatus};

/// Which services run on which clusters.
#[derive(CustomResource, Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "k0rdent.mirantis.com",
    version = "v1beta1",
    kind = "MultiClusterService",
    doc = "Services on every cluster that a selector matches.",
    status = "MultiClusterServiceStatus",
    derive = "PartialEq",
    derive = "Default",
    attr = "cfg_attr(all(), serde(default))",
    shortname = "mcs",
    printcolumn(
        name = "Clusters",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="ClusterInReadyState")].message"#,
        description = "Ready clusters of those that match"
    ),
    printcolumn(
        name = "provider",
        type_ = "string",
        json_path = ".spec.serviceSpec.provider.name",
        description = "The StateManagementProvider"
    ),
    printcolumn(
        name = "self-management",
        type_ = "boolean",
        json_path = ".spec.serviceSpec.provider.selfManagement",
        description = "The services go to the management cluster"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp",
        description = "Time since the object was made"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct MultiClusterServiceSpec {
    /// Selects clusters by their labels. An empty selector selects none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "label_selector")]
    pub cluster_selector: Option<LabelSelector>,
    /// MultiClusterServices that must be deployed on a cluster before this one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<String>,
    /// Leave the services on a cluster that the selector no longer matches.
    #[serde(default)]
    pub keep_services_on_selector_mismatch: bool,
    /// How changes of serviceSpec reach the clusters; all of them at once when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<RolloutSpec>,
    /// The services.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_spec: Option<ServiceSpec>,
}

/// Where the services are.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct MultiClusterServiceStatus {
    /// What is true of the object.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions")]
    pub conditions: Vec<Condition>,
    /// The clusters the selector matches.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub matching_clusters: Vec<MatchingCluster>,
    /// The metadata.generation this status was computed from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// How far the rollout is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<RolloutStatus>,
    /// State of the services.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<ServiceState>,
    /// Upgrades that template chains offer for the services.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services_upgrade_paths: Vec<ServiceUpgradePaths>,
}

/// A cluster the selector matches.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct MatchingCluster {
    /// API version of the cluster's object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_version: Option<String>,
    /// All services are deployed on the cluster.
    #[serde(default)]
    #[schemars(extend("x-skein-required" = true))]
    pub deployed: bool,
    /// A part of the object, as a field path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field_path: Option<String>,
    /// Kind of the cluster's object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// When `deployed` last changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_transition_time: Option<Time>,
    /// Why the services are not deployed, for a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Name of the cluster's object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Namespace of the cluster's object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Why the services are not deployed, as one CamelCase word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The cluster belongs to a region other than the management cluster.
    #[serde(default)]
    #[schemars(extend("x-skein-required" = true))]
    pub regional: bool,
    /// The version of the object that was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_version: Option<String>,
    /// UID of the cluster's object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
}
