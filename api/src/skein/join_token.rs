//! `JoinToken`: permission for an agent to join. The hub never holds the token's secret.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::CustomResource;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::k0rdent::ClusterDeploymentRef;
use crate::schema::{conditions, is_false, rules};

/// Who may join with the token, how often and until when. What the token itself carries cannot change.
#[derive(CustomResource, Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[kube(
    group = "skein.dev",
    version = "v1alpha1",
    kind = "JoinToken",
    doc = "Permission for an agent to join. Made by `skein token create`; the secret part is only in the token itself.",
    namespaced,
    status = "JoinTokenStatus",
    derive = "PartialEq",
    derive = "Default",
    category = "skein",
    printcolumn(
        name = "Role",
        type_ = "string",
        json_path = ".spec.role",
        description = "What joins: a Region or an Edge"
    ),
    printcolumn(name = "Region", type_ = "string", json_path = ".spec.region", description = "The region"),
    printcolumn(
        name = "Phase",
        type_ = "string",
        json_path = ".status.phase",
        description = "Active, Used, Expired or Revoked"
    ),
    printcolumn(
        name = "Expires",
        type_ = "string",
        json_path = ".spec.notAfter",
        description = "Until when the token can be used"
    ),
    printcolumn(
        name = "Agent",
        type_ = "string",
        json_path = ".status.uses[*].agentId",
        description = "Who joined with the token"
    ),
    printcolumn(
        name = "Refused",
        type_ = "integer",
        json_path = ".status.refused.count",
        description = "How many attempts were refused"
    ),
    printcolumn(
        name = "Why",
        type_ = "string",
        json_path = ".status.refused.lastMessage",
        priority = 1,
        description = "Why the last one was refused"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp",
        description = "Time since the object was made"
    )
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules(&[
    (
        "self.role == oldSelf.role && self.region == oldSelf.region && self.publicKey == oldSelf.publicKey && self.notAfter == oldSelf.notAfter && self.maxUses == oldSelf.maxUses",
        "a token cannot change: revoke it and make another",
    ),
    ("!(has(oldSelf.revoked) && oldSelf.revoked) || (has(self.revoked) && self.revoked)", "a revoked token stays revoked"),
    ("self.role == 'Edge' || !has(self.clusterDeployment)", "clusterDeployment is only for the role Edge"),
    ("self.role == 'Edge' || !has(self.approval)", "approval is only for the role Edge: a Region object is made by hand"),
])))]
pub struct JoinTokenSpec {
    /// Who decides whether a device is let in; whoever has the token is, when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<JoinApproval>,
    /// The ClusterDeployment whose cluster the edge runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_deployment: Option<ClusterDeploymentRef>,
    /// Labels of the Edge that joins; they prevail over those the device asks for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// How many devices may join.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 10_000))]
    pub max_uses: i32,
    /// The name of the agent that joins; its own wish when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = DNS_LABEL), length(max = 63))]
    pub name: Option<String>,
    /// Until when the token can be used (RFC 3339).
    pub not_after: Time,
    /// Public key of the token's secret: Ed25519, 32 bytes in base64.
    #[schemars(regex(pattern = "^[A-Za-z0-9+/]{43}=$"))]
    pub public_key: String,
    /// The region that joins, or whose edge joins.
    #[schemars(regex(pattern = DNS_LABEL), length(max = 63))]
    pub region: String,
    /// The token can no longer be used. Agents that joined with it stay.
    #[serde(default, skip_serializing_if = "is_false")]
    pub revoked: bool,
    /// What joins with the token.
    pub role: JoinRole,
    /// Namespace in which templates of the edge's services are looked up; kcm-system when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template_namespace: Option<String>,
    /// The token's identifier, 16 bytes in hexadecimal; the object's name when absent. Not secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^[0-9a-f]{32}$"))]
    pub token_id: Option<String>,
}

/// Who decides whether a device is let in. One that waits has an Edge with `spec.approved: false`.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules(&[
    (
        "self.policy == 'Automatic' || !(has(self.count) || has(self.from) || has(self.labels) || has(self.sourceCidrs) || has(self.until))",
        "count, from, labels, sourceCidrs and until are only for the policy Automatic",
    ),
    ("!has(self.from) || !has(self.until) || self.from < self.until", "from must be before until"),
])))]
pub struct JoinApproval {
    /// So many devices are let in without a question; others wait. Devices that wait do not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 10_000))]
    pub count: Option<i32>,
    /// Devices that first ask before this moment wait (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Time>,
    /// Devices wait whose Edge would not have all these labels, of the token's and of those they ask for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "labels")]
    pub labels: BTreeMap<String, String>,
    /// Whether a device that meets all conditions is let in without a question. Conditions are held against a device
    /// when it first asks.
    pub policy: ApprovalPolicy,
    /// Devices wait that ask from none of these networks, as the region sees their address: 10.0.0.0/8, 2001:db8::/32.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(regex(pattern = CIDR), length(max = 43)))]
    pub source_cidrs: Vec<String>,
    /// Devices that first ask at this moment or later wait (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Time>,
}

/// Who decides.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ApprovalPolicy {
    /// The conditions; a person decides about those who do not meet them.
    #[default]
    Automatic,
    /// A person.
    Manual,
}

/// An address of IPv4 or IPv6 and the length of a prefix.
const CIDR: &str = "^(([0-9]{1,3}\\.){3}[0-9]{1,3}/([0-9]|[12][0-9]|3[0-2])|[0-9a-fA-F:.]*:[0-9a-fA-F:.]*/([0-9]|[1-9][0-9]|1[01][0-9]|12[0-8]))$";

/// Labels of Kubernetes objects.
fn labels(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 64,
        "additionalProperties": {
            "type": "string", "maxLength": 63, "pattern": "^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$"
        }
    })
}

/// A DNS label (RFC 1123).
const DNS_LABEL: &str = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$";

fn one() -> i32 {
    1
}

impl Default for JoinTokenSpec {
    fn default() -> Self {
        Self {
            approval: None,
            cluster_deployment: None,
            labels: BTreeMap::new(),
            max_uses: one(),
            name: None,
            not_after: Time(jiff::Timestamp::UNIX_EPOCH),
            public_key: String::new(),
            region: String::new(),
            revoked: false,
            role: JoinRole::default(),
            template_namespace: None,
            token_id: None,
        }
    }
}

/// What joins with a token.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum JoinRole {
    /// A regional agent.
    Region,
    /// An edge agent.
    #[default]
    Edge,
}

/// Who used the token.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct JoinTokenStatus {
    /// What is true of the token.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions")]
    pub conditions: Vec<Condition>,
    /// The metadata.generation this status was computed from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Whether the token can be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<JoinTokenPhase>,
    /// Attempts that were refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<RefusedJoins>,
    /// The devices that joined, one entry per key.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["spkiHash"]))]
    pub uses: Vec<JoinTokenUse>,
}

/// Whether a token can be used.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum JoinTokenPhase {
    /// It can.
    #[default]
    Active,
    /// As many devices joined as may.
    Used,
    /// Its time is over.
    Expired,
    /// It was withdrawn.
    Revoked,
}

/// A device that joined.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct JoinTokenUse {
    /// The identity the device got.
    pub agent_id: String,
    /// Why the device was not let in without a question; absent for one that was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<String>,
    /// When the token was bound to the device's key.
    pub bound_at: Time,
    /// SHA-256 of the device's public key (SubjectPublicKeyInfo), in hexadecimal.
    pub spki_hash: String,
}

/// Attempts to join that were refused.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RefusedJoins {
    /// How many.
    pub count: i64,
    /// When the last one was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_at: Option<Time>,
    /// Why the last one was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_message: Option<String>,
}
