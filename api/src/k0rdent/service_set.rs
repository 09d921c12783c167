//! `ServiceSet`: the services one ClusterDeployment or MultiClusterService puts on one cluster.

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{HelmAction, HelmOptions, ServiceState, StateManagementProviderConfig, ValuesFrom};
use crate::schema::{conditions, is_false, object_reference};

/// The services for one cluster, with everything resolved.
#[derive(CustomResource, Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "k0rdent.mirantis.com",
    version = "v1beta1",
    kind = "ServiceSet",
    doc = "The services that one ClusterDeployment or MultiClusterService puts on one cluster. Written by the hub.",
    namespaced,
    status = "ServiceSetStatus",
    derive = "PartialEq",
    derive = "Default",
    attr = "cfg_attr(all(), serde(default))",
    printcolumn(
        name = "cluster",
        type_ = "string",
        json_path = ".spec.cluster",
        description = "The cluster"
    ),
    printcolumn(
        name = "multiClusterServer",
        type_ = "string",
        json_path = ".spec.multiClusterService",
        description = "The MultiClusterService the services come from"
    ),
    printcolumn(
        name = "Services",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="ServicesInReadyState")].message"#,
        description = "Ready services of all"
    ),
    printcolumn(
        name = "provider",
        type_ = "string",
        json_path = ".spec.provider.name",
        description = "The StateManagementProvider"
    ),
    printcolumn(
        name = "self-management",
        type_ = "boolean",
        json_path = ".spec.provider.selfManagement",
        description = "The services go to the management cluster"
    ),
    printcolumn(
        name = "age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp",
        description = "Time since the object was made"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct ServiceSetSpec {
    /// Name of the cluster in the same namespace.
    pub cluster: String,
    /// The MultiClusterService the services come from; absent when they come from the ClusterDeployment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub multi_cluster_service: Option<String>,
    /// The StateManagementProvider that carries the services out.
    pub provider: StateManagementProviderConfig,
    /// The services.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<ServiceWithValues>,
}

/// One service with its template and values resolved.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ServiceWithValues {
    /// Install (the default) or Uninstall the Helm release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub helm_action: Option<HelmAction>,
    /// Helm options of the service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub helm_options: Option<HelmOptions>,
    /// The release's name.
    pub name: String,
    /// The namespace of the target cluster the release goes into.
    pub namespace: String,
    /// The ServiceTemplate.
    pub template: String,
    /// Helm values as YAML text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub values: Option<String>,
    /// ConfigMaps and Secrets that hold more values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values_from: Vec<ValuesFrom>,
    /// The version of the service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// What the cluster's agent reported.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ServiceSetStatus {
    /// The cluster's object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "object_reference")]
    pub cluster: Option<ObjectReference>,
    /// What is true of the services.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions")]
    pub conditions: Vec<Condition>,
    /// All services are deployed.
    #[serde(default)]
    #[schemars(extend("x-skein-required" = true))]
    pub deployed: bool,
    /// State of the provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<ProviderState>,
    /// State of each service.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<ServiceState>,
}

/// State of the provider that carries the services out.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ProviderState {
    /// It works.
    #[serde(default, skip_serializing_if = "is_false")]
    pub ready: bool,
    /// It is told to do nothing.
    #[serde(default, skip_serializing_if = "is_false")]
    pub suspended: bool,
}
