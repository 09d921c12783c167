//! `Edge`: one edge agent, on a child cluster or on a device.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Generation, LinkState};
use crate::k0rdent::ClusterDeploymentRef;
use crate::schema::{conditions, is_false, rules};

/// What the edge belongs to. Its labels are those of the object: MultiClusterServices select by them.
#[derive(CustomResource, Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "skein.dev",
    version = "v1alpha1",
    kind = "Edge",
    doc = "One edge agent, on a child cluster or on a device. Made by the hub when the agent joins.",
    namespaced,
    status = "EdgeStatus",
    derive = "PartialEq",
    derive = "Default",
    category = "skein",
    printcolumn(
        name = "Region",
        type_ = "string",
        json_path = ".spec.region",
        description = "The region the edge belongs to"
    ),
    printcolumn(
        name = "Link",
        type_ = "string",
        json_path = ".status.link",
        description = "Up, Down or Unknown"
    ),
    printcolumn(
        name = "Since",
        type_ = "date",
        json_path = ".status.since",
        description = "How long the link has been so"
    ),
    printcolumn(
        name = "Services",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="ServicesInReadyState")].message"#,
        description = "Ready services of all"
    ),
    printcolumn(
        name = "Applied",
        type_ = "string",
        json_path = ".status.generation.applied",
        description = "The generation of the plan the edge has applied"
    ),
    printcolumn(
        name = "Desired",
        type_ = "string",
        json_path = ".status.generation.desired",
        description = "The generation of the newest plan for the edge"
    ),
    printcolumn(
        name = "Approved",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Approved")].reason"#,
        priority = 1,
        description = "Whether a person let the edge in; empty where nobody had to be asked"
    ),
    printcolumn(
        name = "Cluster",
        type_ = "string",
        json_path = ".spec.clusterDeployment.name",
        priority = 1,
        description = "The ClusterDeployment the edge was made for"
    ),
    printcolumn(
        name = "Kubernetes",
        type_ = "string",
        json_path = ".status.kubernetesVersion",
        priority = 1,
        description = "Kubernetes version of the cluster"
    ),
    printcolumn(
        name = "Version",
        type_ = "string",
        json_path = ".status.version",
        priority = 1,
        description = "The agent's version"
    ),
    printcolumn(
        name = "Protocol",
        type_ = "string",
        json_path = ".status.protocol",
        priority = 1,
        description = "The protocol version that the agent speaks"
    ),
    printcolumn(
        name = "Spool",
        type_ = "integer",
        json_path = ".status.spool.items",
        priority = 1,
        description = "Telemetry items that wait at the edge"
    ),
    printcolumn(
        name = "Gaps",
        type_ = "integer",
        json_path = ".status.gaps",
        priority = 1,
        description = "Times telemetry was dropped"
    ),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].message"#,
        priority = 1,
        description = "Why the edge is not ready"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp",
        description = "Time since the object was made"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct EdgeSpec {
    /// Whether a device that waits for approval is let in. Absent where nobody had to be asked; false as long as it waits,
    /// and again to take the approval back. `revoked` tells it no.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved: Option<bool>,
    /// The ClusterDeployment the edge was made for; absent for a device or cluster that enrolled itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-validations" = rules(&[("self == oldSelf", "clusterDeployment is immutable")])))]
    pub cluster_deployment: Option<ClusterDeploymentRef>,
    /// Do not apply new plans for now. What is running is still repaired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<Hold>,
    /// Name of the Region the edge belongs to. With another one it moves there: it is told by the region it is linked to,
    /// now or when it next links, and links to the other one before it leaves.
    #[schemars(length(min = 1, max = 63))]
    pub region: String,
    /// Refuse the agent from now on: its connection is closed and its certificate is not renewed.
    #[serde(default, skip_serializing_if = "is_false")]
    pub revoked: bool,
    /// Namespace in which templates of the edge's services are looked up; kcm-system when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template_namespace: Option<String>,
}

impl EdgeSpec {
    /// Whether the edge is let in, as far as approval goes.
    pub fn is_approved(&self) -> bool {
        self.approved != Some(false)
    }

    /// Whether a person is to say yes or no.
    pub fn waits(&self) -> bool {
        !self.is_approved() && !self.revoked
    }
}

/// A pause in applying new plans.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Hold {
    /// Why, for a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When the pause ends by itself; never when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Time>,
}

/// The edge as the hub sees it. Written when something changes, never per heartbeat.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct EdgeStatus {
    /// The agent's identity, a UUID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<String>,
    /// What is true of the edge: Ready, Approved, Linked, Enrolled, ServicesInReadyState,
    /// AgentCurrent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions")]
    pub conditions: Vec<Condition>,
    /// SHA-256 of the device's public key (SubjectPublicKeyInfo), in hexadecimal: what the device shows of itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// How many times telemetry was dropped since the agent joined.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gaps: Option<i64>,
    /// The generations of the edge's plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<Generation>,
    /// Kubernetes version of the edge's cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubernetes_version: Option<String>,
    /// Features of the hub's protocol version that the agent lacks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub lacks: Vec<String>,
    /// The last time anything was heard of the edge, as of the last change of this status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<Time>,
    /// State of the link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<LinkState>,
    /// The metadata.generation this status was computed from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Addresses on the edge that take OTLP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub otlp: Option<OtlpEndpoints>,
    /// The protocol version that the agent speaks, as MAJOR.MINOR.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// How many services are ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub services: Option<ReadyCount>,
    /// When the link last went up or down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// Telemetry that waits at the edge to be acknowledged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spool: Option<SpoolStatus>,
    /// The services that are not as they should be, with their objects; at most 16, and 8 objects of each. What is well
    /// is in the ServiceSets only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub unsettled: Vec<UnsettledService>,
    /// The agent's version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// A service that is not as it should be, as the edge last told it.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct UnsettledService {
    /// Hash of what was last well; absent when it never was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_deployed_hash: Option<String>,
    /// Why, for a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Name of the release.
    pub name: String,
    /// Namespace of the release.
    pub namespace: String,
    /// The objects that are not as they should be.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub objects: Vec<UnsettledObject>,
    /// How many of its objects are well.
    pub ready: ReadyCount,
    /// Name of its ServiceSet.
    pub service_set: String,
    /// Since when it is in its state.
    pub since: Time,
    /// Its state, in the words of ServiceSet.status.
    pub state: String,
    /// The version the state speaks of.
    pub version: String,
}

/// An object on the edge's cluster that is not as it should be.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct UnsettledObject {
    /// API version.
    pub api_version: String,
    /// Its health, in the words of kstatus; NotFound and Refused besides.
    pub health: String,
    /// Kind.
    pub kind: String,
    /// Why, for a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Name.
    pub name: String,
    /// Namespace; absent for cluster-scoped objects, and where it is that of the release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Since when it is so.
    pub since: Time,
}

/// How many of a number of things are ready.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ReadyCount {
    /// How many are ready.
    pub ready: i32,
    /// How many there are.
    pub total: i32,
}

/// Telemetry that waits at an edge.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct SpoolStatus {
    /// Size in bytes.
    pub bytes: i64,
    /// Number of items.
    pub items: i64,
}

/// Addresses that take OTLP.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct OtlpEndpoints {
    /// Address for gRPC, as host:port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grpc: Option<String>,
    /// Address for HTTP, as host:port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<String>,
}
