//! Observed state on its way up.
//!
//! A report is state, not a log: the newest one per unit replaces what was known. After each connection the
//! agent sends everything (`full`), afterwards only the units that changed; sequence numbers and
//! acknowledgements make sure that nothing is missing in between. What is not known is not invented: a hub that
//! cannot hear an agent shows its last report and since when it is silent (invariant 8).

use serde::{Deserialize, Serialize};

use crate::id::{Digest, Generation};
use crate::plan::{ObjectKey, UnitId};
use crate::{Extensions, UnixMillis};

/// What an agent knows of its cluster and of its work on it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Report {
    /// Counts the agent's reports since it started; acknowledged by the receiver.
    pub sequence: u64,
    /// When the agent made it, by its own clock.
    pub at: UnixMillis,
    /// Whether `units` lists all units (else only those that changed since the previous report).
    pub full: bool,
    /// The highest plan the agent has stored durably.
    pub stored: Option<Generation>,
    /// The plan the agent has carried out: all units settled, deployed or failed.
    pub applied: Option<Generation>,
    /// Units in the order of the plan, then those being removed.
    pub units: Vec<UnitReport>,
    /// The cluster, when something about it changed or the report is full.
    pub cluster: Option<ClusterReport>,
    /// Telemetry waiting to be sent.
    pub spool: SpoolReport,
    /// Room for later minor versions.
    pub ext: Extensions,
}

/// The state of a unit; the text forms are k0rdent's `ServiceState.state`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum UnitState {
    /// Waits for a dependency, a hold or its turn.
    Pending,
    /// Being applied, or applied and not healthy yet.
    Provisioning,
    /// Applied and healthy.
    Deployed,
    /// Could not be applied, or did not become healthy in time.
    Failed,
    /// Being removed.
    Deleting,
    /// Removed; reported once.
    Deleted,
}

impl UnitState {
    /// k0rdent's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Provisioning => "Provisioning",
            Self::Deployed => "Deployed",
            Self::Failed => "Failed",
            Self::Deleting => "Deleting",
            Self::Deleted => "Deleted",
        }
    }

    /// Whether the agent's work on the unit came to an end, good or bad.
    pub fn is_settled(self) -> bool {
        matches!(self, Self::Deployed | Self::Failed | Self::Deleted)
    }
}

/// One unit as the agent sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitReport {
    /// Which unit.
    pub id: UnitId,
    /// The version the state speaks of.
    pub version: String,
    /// The template that version came from.
    pub template: String,
    /// The unit hash that was last deployed healthy, if ever.
    pub deployed_hash: Option<Digest>,
    /// Its state.
    pub state: UnitState,
    /// Why it is in that state, for a person; empty when deployed.
    pub message: String,
    /// Since when it is in that state.
    pub since: UnixMillis,
    /// How many times drift was repaired since installation.
    pub drift_repairs: u64,
    /// Objects in the unit.
    pub objects_total: u32,
    /// Objects that are healthy.
    pub objects_ready: u32,
    /// The objects that are not as they should be, at most [`OBJECT_REPORTS_MAX`].
    pub objects: Vec<ObjectReport>,
}

/// Most objects a unit's report lists one by one.
pub const OBJECT_REPORTS_MAX: usize = 32;

/// An object that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectReport {
    /// Which object.
    pub key: ObjectKey,
    /// What it is.
    pub health: ObjectHealth,
    /// Why, for a person.
    pub message: String,
    /// Since when.
    pub since: UnixMillis,
}

/// The health of an object, in the words of kstatus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ObjectHealth {
    /// As desired and working.
    Current,
    /// On its way.
    InProgress,
    /// Failed.
    Failed,
    /// Being deleted.
    Terminating,
    /// Not on the cluster.
    NotFound,
    /// Refused by the API server.
    Refused,
}

/// The agent's cluster.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ClusterReport {
    /// Version of its API server, for example `v1.36.3`; empty while it does not answer.
    pub kubernetes_version: String,
    /// Whether its API server answers.
    pub reachable: bool,
    /// Nodes, and how many of them are ready.
    pub nodes_total: u32,
    /// Ready nodes.
    pub nodes_ready: u32,
    /// Where the edge takes OTLP over gRPC, as `host:port`; empty if nowhere.
    pub otlp_grpc: String,
    /// Where the edge takes OTLP over HTTP, as `host:port`; empty if nowhere.
    pub otlp_http: String,
}

/// Telemetry that waits at the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SpoolReport {
    /// Batches not acknowledged.
    pub items: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Gap records made since the spool exists.
    pub gaps: u64,
    /// Points those gaps stand for.
    pub points_dropped: u64,
}
