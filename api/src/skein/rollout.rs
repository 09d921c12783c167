//! `MultiClusterService.spec.rollout` and `.status.rollout`: how a new revision of the services reaches a fleet.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, MicroTime, Time};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::schema::label_selector;

/// A number of clusters, or a share of them.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(untagged)]
pub enum Amount {
    /// So many.
    Number(i64),
    /// A share, such as `10%`.
    Share(String),
}

/// How a new revision of the services reaches the clusters: in waves, each only so far at a time.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RolloutSpec {
    /// The failed clusters, as a number or a share, at which the revision is given up. Never above maxUnavailable,
    /// which stops a rollout anyway. A share is one of the clusters of all waves so far, as everywhere here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "amount")]
    pub abort_on_failure: Option<Amount>,
    /// What to do about clusters that are away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub away: Option<AwaySpec>,
    /// How long a connected cluster may take before it counts as failed, such as 10m. Time away does not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "duration")]
    pub deadline: Option<String>,
    /// How long a cluster must fail before it counts as failed, such as 30s; 10s when absent. Being well for a shorter
    /// while in between does not begin that anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "duration")]
    pub failure_grace: Option<String>,
    /// How many clusters may be unavailable at once because of the rollout; 25% when absent, at least one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "amount")]
    pub max_unavailable: Option<Amount>,
    /// Whether clusters get the last completed revision again when a revision is given up.
    #[serde(default)]
    pub on_abort: OnAbort,
    /// The failed clusters, as a number or a share, at which the rollout pauses. Never above maxUnavailable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "amount")]
    pub pause_on_failure: Option<Amount>,
    /// The waves, in order. Clusters that no wave takes are the last one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 64),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub waves: Vec<WaveSpec>,
}

/// Clusters that get a new revision together.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct WaveSpec {
    /// At most so many of the clusters that the selector takes, as a number or a share of all clusters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "amount")]
    pub edges: Option<Amount>,
    /// Manual: the next wave waits for a person to promote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<Gate>,
    /// In place of the rollout's own maxUnavailable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "amount")]
    pub max_unavailable: Option<Amount>,
    /// Its name.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// Selects clusters that no earlier wave took; all of them when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "label_selector")]
    pub selector: Option<LabelSelector>,
    /// How long all of its clusters must have been ready before the next wave begins, such as 30m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "duration")]
    pub soak_time: Option<String>,
}

/// What a wave waits for once it is done.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Gate {
    /// A person.
    #[default]
    Manual,
}

/// What becomes of clusters when a revision is given up.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnAbort {
    /// They get the last completed revision again.
    #[default]
    Rollback,
    /// They keep what they have.
    Stop,
}

/// What to do about clusters that are away: neither failed nor done.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct AwaySpec {
    /// After how long away a cluster is waited for no more, such as 48h; 24h when absent. It gets the revision when it
    /// is back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "duration")]
    pub deadline: Option<String>,
    /// How many clusters may be away without anybody waiting for them, as a number or a share; 25% when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "amount_or_none")]
    pub max: Option<Amount>,
}

/// How far a rollout is.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RolloutStatus {
    /// Clusters that are away and do not have the revision.
    #[serde(default)]
    pub away: i64,
    /// The time that counts for clusters on their way, also after the hub was started anew; 256 of them at most.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clocks: Vec<RolloutClock>,
    /// The last revision that reached all clusters: what an abort leads back to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_revision: Option<String>,
    /// Clusters that failed with the revision.
    #[serde(default)]
    pub failed: i64,
    /// The newest value of the annotation skein.dev/rollout that was carried out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handled: Option<String>,
    /// What happens, for a person.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// When something is due without anybody doing anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Time>,
    /// What it is at.
    #[serde(default)]
    pub phase: RolloutPhase,
    /// Clusters where all services of the revision are deployed.
    #[serde(default)]
    pub ready: i64,
    /// Why, as one CamelCase word.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// The revision of spec.serviceSpec that is being rolled out; while rolling back the one given up.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub revision: String,
    /// Since when it is at this phase and wave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// Clusters in all.
    #[serde(default)]
    pub total: i64,
    /// Clusters that were given the revision; while rolling back those that have the former one.
    #[serde(default)]
    pub updated: i64,
    /// Clusters that wait for their turn.
    #[serde(default)]
    pub waiting: i64,
    /// Name of the wave.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub wave: String,
    /// Its number, from 1.
    #[serde(default)]
    pub wave_number: i64,
    /// How many waves there are.
    #[serde(default)]
    pub waves: i64,
}

/// What time counts for a cluster that was given a revision and is not ready with it.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct RolloutClock {
    /// Since when it is away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub away: Option<MicroTime>,
    /// Since when it fails no more; too short a while to count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calm: Option<MicroTime>,
    /// Since when it would be connected, had it never been away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connected: Option<MicroTime>,
    /// Since when it fails, but for moments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing: Option<MicroTime>,
    /// When it was given the revision.
    pub given: MicroTime,
    /// The revision.
    pub revision: String,
    /// Namespace and name of its ServiceSet.
    pub set: String,
}

/// What a rollout is at.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RolloutPhase {
    /// Clusters of the wave get the revision.
    #[default]
    Progressing,
    /// Nobody gets anything until somebody says so.
    Paused,
    /// The wave is done, and must stay so for a while.
    Soaking,
    /// The wave is done, and a person must promote.
    WaitingForGate,
    /// All clusters have the revision, but for those that are away too long.
    Completed,
    /// The revision was given up.
    Aborted,
    /// Clusters get the last completed revision again.
    RollingBack,
}

/// A number from 1 or a share from 1% to 100%.
fn amount(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "x-kubernetes-int-or-string": true,
        "anyOf": [{"type": "integer"}, {"type": "string"}],
        "minimum": 1,
        "pattern": "^([1-9]|[1-9][0-9]|100)%$"
    })
}

/// The same, or none.
fn amount_or_none(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "x-kubernetes-int-or-string": true,
        "anyOf": [{"type": "integer"}, {"type": "string"}],
        "minimum": 0,
        "pattern": "^([0-9]|[1-9][0-9]|100)%$"
    })
}

/// A Go duration.
fn duration(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "maxLength": 32, "pattern": "^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$"})
}
