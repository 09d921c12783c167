//! `Management`: the installation of k0rdent on the management cluster.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{CompatibilityContracts, ComponentStatus, Core, Provider};
use crate::schema::{conditions, map_of_maps};

/// The desired installation.
#[derive(CustomResource, Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "k0rdent.mirantis.com",
    version = "v1beta1",
    kind = "Management",
    plural = "managements",
    doc = "The installation on the management cluster. There is one, named kcm.",
    status = "ManagementStatus",
    derive = "PartialEq",
    derive = "Default",
    attr = "cfg_attr(all(), serde(default))",
    shortname = "kcm-mgmt",
    shortname = "mgmt",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].status",
        description = "All components are installed"
    ),
    printcolumn(
        name = "Release",
        type_ = "string",
        json_path = ".status.release",
        description = "The Release that is installed"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp",
        description = "Time since the object was made"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct ManagementSpec {
    /// What to remove together with the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cleanup: Option<ManagementCleanup>,
    /// Components every installation has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub core: Option<Core>,
    /// Cluster API providers and other optional components.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub providers: Vec<Provider>,
    /// The Release to install.
    #[schemars(length(min = 1, max = 253))]
    pub release: String,
}

/// What to remove together with the Management object.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ManagementCleanup {
    /// CRDs of Cluster API providers.
    #[serde(default, rename = "capiProviderCRDs", skip_serializing_if = "Option::is_none")]
    pub capi_provider_crds: Option<bool>,
    /// CRDs of k0rdent.
    #[serde(default, rename = "k0rdentCRDs", skip_serializing_if = "Option::is_none")]
    pub k0rdent_crds: Option<bool>,
}

/// The observed installation.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ManagementStatus {
    /// Cluster API providers that work.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub available_providers: Vec<String>,
    /// The ManagementBackup made before an upgrade.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup_name: Option<String>,
    /// Contract versions of the providers.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "map_of_maps")]
    pub capi_contracts: CompatibilityContracts,
    /// State of each component.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub components: BTreeMap<String, ComponentStatus>,
    /// What is true of the installation.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions")]
    pub conditions: Vec<Condition>,
    /// The metadata.generation this status was computed from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The Release that is installed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
}
