//! `ClusterIPAMClaim` and `ClusterIPAM`: addresses for clusters.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::schema::{any, conditions, int, is_false, rules};

/// The addresses a cluster asks for.
#[derive(CustomResource, Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "k0rdent.mirantis.com",
    version = "v1beta1",
    kind = "ClusterIPAMClaim",
    plural = "clusteripamclaims",
    doc = "A cluster's claim for addresses.",
    namespaced,
    status = "ClusterIPAMClaimStatus",
    derive = "PartialEq",
    derive = "Default",
    attr = "cfg_attr(all(), serde(default))",
    printcolumn(
        name = "bound",
        type_ = "string",
        json_path = ".status.bound",
        description = "Addresses are assigned"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp",
        description = "Time since the object was made"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct ClusterIPAMClaimSpec {
    /// The ClusterDeployment the addresses are for. It cannot change once it is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-validations" = rules(&[(
        "oldSelf == '' || self == oldSelf",
        "Cluster reference is immutable once set",
    )])))]
    pub cluster: Option<String>,
    /// The ClusterIPAM that holds the addresses. It cannot change once it is set.
    #[serde(default, rename = "clusterIPAMRef", skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-validations" = rules(&[(
        "oldSelf == '' || self == oldSelf",
        "ClusterIPAM reference is immutable once set",
    )])))]
    pub cluster_ipam_ref: Option<String>,
    /// Addresses for the control plane's endpoint and services.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_network: Option<AddressSpaceSpec>,
    /// Addresses that are reached from outside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_network: Option<AddressSpaceSpec>,
    /// Addresses for nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_network: Option<AddressSpaceSpec>,
    /// Who assigns the addresses.
    pub provider: IpamProvider,
}

/// Who assigns addresses.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum IpamProvider {
    /// The Cluster API in-cluster IPAM provider.
    #[default]
    InCluster,
    /// Infoblox.
    IpamInfoblox,
}

/// A range of addresses, or single ones.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct AddressSpaceSpec {
    /// The range in CIDR notation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cidr: Option<String>,
    /// The gateway of the network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<String>,
    /// Single addresses, or ranges such as 10.0.0.1-10.0.0.9.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ip_addresses: Vec<String>,
    /// Length of the network prefix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "int")]
    pub prefix: Option<i64>,
}

/// Whether the claim is met.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ClusterIPAMClaimStatus {
    /// Addresses are assigned.
    #[serde(default)]
    #[schemars(extend("x-skein-required" = true))]
    pub bound: bool,
    /// What is true of the claim.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions")]
    pub conditions: Vec<Condition>,
}

/// The addresses of a claim.
#[derive(CustomResource, Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "k0rdent.mirantis.com",
    version = "v1beta1",
    kind = "ClusterIPAM",
    plural = "clusteripams",
    doc = "Addresses assigned to a ClusterIPAMClaim.",
    namespaced,
    status = "ClusterIPAMStatus",
    derive = "PartialEq",
    derive = "Default",
    attr = "cfg_attr(all(), serde(default))",
    printcolumn(
        name = "phase",
        type_ = "string",
        json_path = ".status.phase",
        description = "Pending or Bound"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp",
        description = "Time since the object was made"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct ClusterIPAMSpec {
    /// The claim. It cannot change once it is set.
    #[serde(default, rename = "clusterIPAMClaimRef", skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-validations" = rules(&[(
        "oldSelf == '' || self == oldSelf",
        "Claim reference is immutable once set",
    )])))]
    pub cluster_ipam_claim_ref: Option<String>,
    /// Who assigns the addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<IpamProvider>,
}

/// What the provider assigned.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ClusterIPAMStatus {
    /// Whether addresses are assigned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<ClusterIPAMPhase>,
    /// What the provider assigned, in its own terms.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub provider_data: Vec<ClusterIPAMProviderData>,
}

/// Whether addresses are assigned.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClusterIPAMPhase {
    /// Not yet.
    #[default]
    Pending,
    /// Yes.
    Bound,
}

/// What a provider assigned for one network.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ClusterIPAMProviderData {
    /// The assignment, in the provider's own terms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "any")]
    pub config: Option<Value>,
    /// Which network it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The assignment is complete.
    #[serde(default, skip_serializing_if = "is_false")]
    pub ready: bool,
}
