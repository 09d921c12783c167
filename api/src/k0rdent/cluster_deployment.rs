//! `ClusterDeployment`: one child cluster and the services on it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{ClusterIPAMClaimSpec, ServiceSpec, ServiceState, ServiceUpgradePaths};
use crate::schema::{any, conditions, is_false, yes};

/// The desired child cluster.
#[derive(CustomResource, Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[kube(
    group = "k0rdent.mirantis.com",
    version = "v1beta1",
    kind = "ClusterDeployment",
    doc = "A child cluster, made from a ClusterTemplate, and the services on it.",
    namespaced,
    status = "ClusterDeploymentStatus",
    derive = "PartialEq",
    derive = "Default",
    shortname = "clusterd",
    shortname = "cld",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].status"#,
        description = "The cluster and its services are ready"
    ),
    printcolumn(
        name = "Services",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="ServicesInReadyState")].message"#,
        description = "Ready services of all"
    ),
    printcolumn(
        name = "Template",
        type_ = "string",
        json_path = ".spec.template",
        description = "The ClusterTemplate"
    ),
    printcolumn(
        name = "Messages",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].message"#,
        description = "Why the cluster is not ready"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp",
        description = "Time since the object was made"
    ),
    printcolumn(
        name = "DryRun",
        type_ = "string",
        json_path = ".spec.dryRun",
        priority = 1,
        description = "The template is only validated"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct ClusterDeploymentSpec {
    /// The ClusterAuditPolicy for the cluster's API server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit_policy: Option<String>,
    /// Delete load balancers and volumes of the cluster before the cluster itself.
    #[serde(default, skip_serializing_if = "is_false")]
    pub cleanup_on_deletion: bool,
    /// The ClusterAuthentication for the cluster's API server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_auth: Option<String>,
    /// Helm values for the ClusterTemplate's chart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "any")]
    pub config: Option<Value>,
    /// The Credential that gives access to the infrastructure and says in which region the cluster runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
    /// The DataSource that stores the cluster's state instead of etcd.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_source: Option<String>,
    /// Validate the template and the configuration, and make nothing.
    #[serde(default, skip_serializing_if = "is_false")]
    pub dry_run: bool,
    /// Addresses for the cluster from a ClusterIPAM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipam_claim: Option<ClusterIPAMClaimType>,
    /// Give the credentials to the cluster, for its cloud controllers.
    #[serde(default = "yes")]
    pub propagate_credentials: bool,
    /// The services on the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_spec: Option<ServiceSpec>,
    /// The ClusterTemplate in the same namespace.
    #[schemars(length(min = 1, max = 253))]
    pub template: String,
}

impl Default for ClusterDeploymentSpec {
    fn default() -> Self {
        Self {
            audit_policy: None,
            cleanup_on_deletion: false,
            cluster_auth: None,
            config: None,
            credential: None,
            data_source: None,
            dry_run: false,
            ipam_claim: None,
            propagate_credentials: yes(),
            service_spec: None,
            template: String::new(),
        }
    }
}

/// The ClusterIPAMClaim of a cluster: one that exists, or one to be made.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ClusterIPAMClaimType {
    /// Name of a claim that exists.
    #[serde(default, rename = "ref", skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// The claim to make.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spec: Option<ClusterIPAMClaimSpec>,
}

/// The observed child cluster.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ClusterDeploymentStatus {
    /// ClusterTemplates the cluster can be upgraded to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub available_upgrades: Vec<String>,
    /// What is true of the cluster.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions")]
    pub conditions: Vec<Condition>,
    /// Kubernetes version of the cluster.
    #[serde(default, rename = "k8sVersion", skip_serializing_if = "Option::is_none")]
    pub k8s_version: Option<String>,
    /// The metadata.generation this status was computed from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The region the cluster runs in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The services on the cluster, also those of MultiClusterServices.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<ServiceState>,
    /// Upgrades that template chains offer for the services.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services_upgrade_paths: Vec<ServiceUpgradePaths>,
}
