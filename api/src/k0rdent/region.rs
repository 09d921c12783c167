//! `Region`: a place with its own regional agent, where child clusters run.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{CompatibilityContracts, ComponentStatus, Core, Provider};
use crate::schema::{conditions, is_false, map_of_maps, rules};
use crate::skein::{Generation, LinkState};

/// The desired region. With neither kubeConfig nor clusterDeployment, it is one whose agent dials in.
#[derive(CustomResource, Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "k0rdent.mirantis.com",
    version = "v1beta1",
    kind = "Region",
    doc = "A place with its own regional agent, where child clusters run.",
    status = "RegionStatus",
    derive = "PartialEq",
    derive = "Default",
    attr = "cfg_attr(all(), serde(default))",
    shortname = "rgn",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].status",
        description = "The region is ready"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp",
        description = "Time since the object was made"
    ),
    printcolumn(
        name = "Link",
        type_ = "string",
        json_path = ".status.agent.link",
        priority = 1,
        description = "The link to the regional agent"
    ),
    printcolumn(
        name = "Since",
        type_ = "date",
        json_path = ".status.agent.since",
        priority = 1,
        description = "How long the link has been so"
    ),
    printcolumn(
        name = "Applied",
        type_ = "string",
        json_path = ".status.agent.generation.applied",
        priority = 1,
        description = "The generation of the plan the region has applied"
    ),
    printcolumn(
        name = "Desired",
        type_ = "string",
        json_path = ".status.agent.generation.desired",
        priority = 1,
        description = "The generation of the newest plan"
    ),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.agent.message",
        priority = 1,
        description = "What the region waits for"
    )
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules(&[
    (
        "!(has(self.kubeConfig) && has(self.clusterDeployment))",
        "at most one of kubeConfig or clusterDeployment may be set",
    ),
    ("!has(self.lost) || !self.lost || has(self.standby)", "a lost region needs a standby that takes over its edges"),
])))]
pub struct RegionSpec {
    /// The ClusterDeployment whose cluster is the region. It cannot change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-validations" = rules(&[("self == oldSelf", "clusterDeployment is immutable")])))]
    pub cluster_deployment: Option<ClusterDeploymentRef>,
    /// Components every region has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub core: Option<Core>,
    /// Secret in the system namespace with a kubeconfig of the region. It cannot change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-validations" = rules(&[("self == oldSelf", "kubeConfig is immutable")])))]
    pub kube_config: Option<KubeConfigRef>,
    /// The region is lost: its standby serves its edges until this is false again.
    #[serde(default, skip_serializing_if = "is_false")]
    pub lost: bool,
    /// Cluster API providers of the region.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub providers: Vec<Provider>,
    /// Name of another Region that its edges may link to while this one does not answer. They are told beforehand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub standby: Option<String>,
}

/// A ClusterDeployment in any namespace.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ClusterDeploymentRef {
    /// Name of the ClusterDeployment.
    pub name: String,
    /// Namespace of the ClusterDeployment.
    pub namespace: String,
}

/// A Secret with a kubeconfig.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct KubeConfigRef {
    /// The key inside the Secret; value or value.yaml when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The Secret's name.
    pub name: String,
}

/// The observed region.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RegionStatus {
    /// The regional agent and its link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<RegionAgent>,
    /// Cluster API providers that work in the region.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub available_providers: Vec<String>,
    /// Contract versions of the providers.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "map_of_maps")]
    pub capi_contracts: CompatibilityContracts,
    /// State of each component.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub components: BTreeMap<String, ComponentStatus>,
    /// What is true of the region.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions")]
    pub conditions: Vec<Condition>,
    /// The metadata.generation this status was computed from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

/// A regional agent as the hub sees it. Written only when something changes, never per heartbeat.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RegionAgent {
    /// Addresses where edges of the region find the agent, as host:port.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<String>,
    /// The generations of the region's plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<Generation>,
    /// The agent's identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// State of the link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<LinkState>,
    /// Features of the hub's protocol version that the agent lacks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lacks: Vec<String>,
    /// What the region waits for, for a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The protocol version that the agent speaks, as MAJOR.MINOR.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// When the link last went up or down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// The agent's version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}
