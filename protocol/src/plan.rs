//! The complete desired state of one agent.
//!
//! A plan travels in three layers, so that a small change costs a small transfer and nothing is trusted
//! before it is verified:
//!
//! ```text
//! SignedPlan  header bytes + hub signature        always sent whole, about 200 bytes
//!   -> PlanBody (a blob, by digest)               units and the digest of each object
//!        -> object blobs (by digest)              canonical JSON of one Kubernetes object
//! ```
//!
//! The signature covers the header, the header names the body's digest, the body names every object's
//! digest: whoever carries a plan can withhold it but cannot alter it (invariant 4). Blobs the receiver lacks
//! travel compressed against the version it already has (see `BlobPart`).

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::id::{AgentId, Digest, Generation};
use crate::{Extensions, UnixMillis};

/// Tag of the extension of a [`PlanHeader`] that tells of which trace the plan is a part: trace id (16 bytes),
/// span id (8), flags (1), as in W3C Trace Context. Present only where the hub exports traces; it decides nothing.
pub const ORIGIN: u16 = 1;

/// What the hub signs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanHeader {
    /// The only agent that may obey this plan.
    pub agent: AgentId,
    /// Its place in the order of plans for that agent.
    pub generation: Generation,
    /// The digest of the encoded [`PlanBody`].
    pub body: Digest,
    /// When the hub made it.
    pub issued_at: UnixMillis,
    /// After this moment the plan must not be begun any more; an applied plan stays in force.
    pub not_after: Option<UnixMillis>,
    /// Room for later minor versions; known is [`ORIGIN`].
    pub ext: Extensions,
}

impl PlanHeader {
    /// The content of [`ORIGIN`].
    pub fn origin(&self) -> Option<&[u8]> {
        self.ext.iter().find(|(tag, _)| *tag == ORIGIN).map(|(_, bytes)| bytes.as_ref())
    }
}

/// A plan as it travels: the encoded [`PlanHeader`] and the hub's signature over it.
///
/// The bytes that were signed are kept as they came, so that they verify after any number of hops.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SignedPlan {
    /// The encoded header.
    pub header: Bytes,
    /// Which of the hub's plan-signing keys signed.
    pub key_id: KeyId,
    /// Ed25519 signature (64 bytes) over [`SIGNING_CONTEXT`] and the header.
    pub signature: Bytes,
}

/// Most bytes of an encoded [`PlanHeader`].
const HEADER_BYTES_MAX: usize = 64 * 1024;

impl SignedPlan {
    /// The header as it claims to be, without a look at the signature: for telling what was refused or whose story
    /// it is a part of, never for deciding. `None` if it does not decode.
    pub fn claimed(&self) -> Option<PlanHeader> {
        crate::codec::decode::<PlanHeader>(&self.header, HEADER_BYTES_MAX).ok()
    }
}

/// Prefix of what is signed, so that a plan signature can never be mistaken for another kind of signature.
pub const SIGNING_CONTEXT: &[u8] = b"skein plan v1\0";

/// The first eight bytes of the BLAKE3 hash of a plan-signing public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct KeyId(pub [u8; 8]);

/// Everything an agent is to have on its cluster.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PlanBody {
    /// The units, in the order of (priority, id) in which they are begun.
    pub units: Vec<Unit>,
    /// Configuration of the agent itself by name, for example the price book (`prices`), as JSON text.
    pub settings: BTreeMap<String, String>,
    /// Room for later minor versions.
    pub ext: Extensions,
}

/// Names one unit: the service set that asks for it and the release inside that set.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct UnitId {
    /// Namespace of the `ServiceSet` at the hub.
    pub set_namespace: String,
    /// Name of the `ServiceSet` at the hub.
    pub set_name: String,
    /// Namespace of the release on the target cluster.
    pub namespace: String,
    /// Name of the release.
    pub name: String,
}

impl std::fmt::Display for UnitId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}:{}/{}", self.set_namespace, self.set_name, self.namespace, self.name)
    }
}

/// How a service was described.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum UnitKind {
    /// A Helm chart, rendered at the hub.
    Helm,
    /// A kustomization, built at the hub.
    Kustomize,
    /// Raw manifests.
    Resources,
}

/// What happens when the live object differs from the bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DriftMode {
    /// Put back at once and counted.
    Repair,
    /// Reported only; put back when the unit's content changes.
    Report,
    /// Applied once, then left alone.
    Once,
}

/// What happens to the objects of a unit that left the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Removal {
    /// Deleted, in reverse order of installation.
    Prune,
    /// Left on the cluster, no longer owned.
    Leave,
}

/// One service release inside a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unit {
    /// Its name.
    pub id: UnitId,
    /// How it was described.
    pub kind: UnitKind,
    /// The `ServiceTemplate` it came from.
    pub template: String,
    /// The template's version; reported back as it is.
    pub version: String,
    /// Digest over release identity, values and objects; reported back as `lastDeployedHash`.
    pub hash: Digest,
    /// Units with a lower number are begun first.
    pub priority: i32,
    /// Units that must be deployed before this one is begun.
    pub depends_on: Vec<UnitId>,
    /// The objects in installation order.
    pub objects: Vec<ObjectEntry>,
    /// Helm hooks in the order (event, weight, name).
    pub hooks: Vec<HookEntry>,
    /// Create the release's namespace when it is missing.
    pub create_namespace: bool,
    /// Take over objects that another manager owns instead of failing.
    pub take_ownership: bool,
    /// What to do about drift.
    pub drift: DriftMode,
    /// What to do when the unit leaves the plan.
    pub removal: Removal,
    /// How long the unit may take to become healthy before it is reported failed, in milliseconds.
    pub timeout_ms: u64,
    /// Room for later minor versions.
    pub ext: Extensions,
}

/// Names one object on a cluster.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectKey {
    /// API group, empty for core.
    pub group: String,
    /// API version without the group.
    pub version: String,
    /// Kind.
    pub kind: String,
    /// Namespace; empty for cluster-scoped kinds, and for namespaced ones that leave it to the release.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl std::fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { group, kind, namespace, name, .. } = self;
        let dot = if group.is_empty() { "" } else { "." };
        let slash = if namespace.is_empty() { "" } else { "/" };
        write!(f, "{kind}{dot}{group} {namespace}{slash}{name}")
    }
}

/// An object of a unit and the address of its content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectEntry {
    /// Which object.
    pub key: ObjectKey,
    /// The digest of its canonical JSON (sorted keys, no white space).
    pub digest: Digest,
}

/// A moment in a release's life at which hooks run (Helm's names).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum HookEvent {
    /// Before the first installation.
    PreInstall,
    /// After the first installation.
    PostInstall,
    /// Before an upgrade.
    PreUpgrade,
    /// After an upgrade.
    PostUpgrade,
    /// Before removal.
    PreDelete,
    /// After removal.
    PostDelete,
    /// Before a rollback.
    PreRollback,
    /// After a rollback.
    PostRollback,
    /// On demand.
    Test,
}

/// When a hook's object is deleted (Helm's names).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum HookDeletion {
    /// Before the hook is run again.
    BeforeCreation,
    /// When it succeeded.
    Succeeded,
    /// When it failed.
    Failed,
}

/// A hook of a unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookEntry {
    /// The object that is run.
    pub object: ObjectEntry,
    /// When it runs.
    pub events: Vec<HookEvent>,
    /// Lower weights run first.
    pub weight: i64,
    /// When its object is deleted.
    pub deletion: Vec<HookDeletion>,
}

impl PlanBody {
    /// Every blob the plan needs, each once, in order of first use.
    pub fn digests(&self) -> impl Iterator<Item = Digest> + '_ {
        let mut seen = std::collections::BTreeSet::new();
        self.units
            .iter()
            .flat_map(|unit| {
                unit.objects
                    .iter()
                    .chain(unit.hooks.iter().map(|hook| &hook.object))
                    .map(|entry| entry.digest)
            })
            .filter(move |digest| seen.insert(*digest))
    }
}
